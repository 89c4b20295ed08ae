"""What is measured beside the peers, and what must come of it. Data alone: `run.py` measures, `page.py` tells."""

import dataclasses
import math

STARLING, VMAGENT, PROMETHEUS = "starling", "vmagent", "prometheus"
SERIES_OF_A = {"kind": "node", "series": 1000, "interval": 5, "variants": 16}


@dataclasses.dataclass(frozen=True)
class Bound:
    """Of Starling's median, divided by that of `beside` in the same run unless that is None."""

    of: str  # A column of RESULTS below.
    most: float
    beside: str | None = VMAGENT


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    shown: str
    scenario: dict
    agents: tuple = (STARLING, VMAGENT)
    form: str = "plain"  # Of the agent's configuration: a key of run.py's FORMS.
    bounds: tuple = ()
    table: str = "peers"
    is_quick: bool = True

    def seconds(self, least_warm, least_window):
        """Warm-up and window: whole intervals, as a target has its turn once in each."""
        interval = self.scenario["interval"]
        whole = lambda seconds: interval * math.ceil(seconds / interval)
        # Labels are made once a series, so that the first scrapes of many take a core for a while.
        start = self.scenario["targets"] * self.scenario["series"] / 100_000
        return whole(max(least_warm, start, interval * 1.5)), whole(max(least_window, interval))


# The name in the harness's results, how it is shown, and with how many digits.
RESULTS = {
    "cpu": ("cpu_us_per_sample", "CPU, µs a sample", 2),
    "rss": ("rss_mb", "memory, MB", 0),
    "wire": ("wire_bytes_per_sample", "wire, bytes a sample", 1),
}

ALL = (STARLING, VMAGENT, PROMETHEUS)
PEERS = [
    Case("A", "A: 200 targets × 1,000 series every 5 s", {**SERIES_OF_A, "targets": 200}, ALL,
         bounds=(Bound("cpu", 0.33), Bound("rss", 0.45), Bound("wire", 20, None))),
    Case("F", "F: one target of 1,000 series every 15 s", {**SERIES_OF_A, "targets": 1, "interval": 15}, ALL,
         bounds=(Bound("rss", 10, None),)),
    Case("C", "C: 20 × 50,000 every 10 s",
         {"kind": "kube", "targets": 20, "series": 50000, "interval": 10, "variants": 3}, ALL,
         bounds=(Bound("cpu", 0.33), Bound("rss", 0.9))),
    Case("D", "D: A, a tenth of the series renamed at each scrape",
         {**SERIES_OF_A, "targets": 200, "variants": 96, "churn": 10}, ALL, bounds=(Bound("cpu", 0.42),)),
    Case("B", "B: 1,000 × 200 every 5 s", {"kind": "app", "targets": 1000, "series": 200, "interval": 5, "variants": 16},
         ALL, bounds=(Bound("cpu", 0.35),)),
    Case("A-relabelled", "A with `metric_relabel_configs`", {**SERIES_OF_A, "targets": 200}, ALL, "relabelled",
         bounds=(Bound("cpu", 0.30),)),
    Case("A-zstd", "A by zstd", {**SERIES_OF_A, "targets": 200}, form="zstd", bounds=(Bound("wire", 6, None),)),
    Case("A-rw2", "A by remote write 2.0", {**SERIES_OF_A, "targets": 200}, (STARLING, PROMETHEUS), "rw2",
         bounds=(Bound("wire", 12, None),)),
]


def load(samples_per_second, agents, interval=2):
    """E: what is offered grows until it is too much. Every 2 s or every second, as each target takes the fleet two open files."""
    targets = round(samples_per_second * interval / 1000)
    scenario = {**SERIES_OF_A, "targets": targets, "interval": interval}
    return Case(f"E-{samples_per_second // 1000}k", f"{samples_per_second / 1e6:.1f} M", scenario, agents,
                table="load", is_quick=samples_per_second in (1_000_000, 2_500_000))


LOADS = [load(600_000, (VMAGENT,)), load(1_000_000, (STARLING, VMAGENT)), load(1_600_000, (STARLING, VMAGENT)),
         load(2_500_000, (STARLING,)), load(3_500_000, (STARLING,)), load(4_500_000, (STARLING,)),
         load(7_000_000, (STARLING,), 1)]


def curve(table, shown, scenario, form="plain", agents=(STARLING,), is_quick=False):
    name = f"{table}-{shown}".replace(" ", "").replace(",", "")
    return Case(name, shown, scenario, agents, form, (), table, is_quick)


def small(targets, series, interval):
    """Of the farm's kinds `kube` alone has as many series as one asks for, and is made a few times only: the farm holds
    all bodies."""
    kind, variants = ("app", 16) if series <= 1000 else ("kube", 3)
    return {"kind": kind, "targets": targets, "series": series, "interval": interval, "variants": variants}


CURVES = [
    *(curve("targets", f"{n:,}", small(n, 100, 15), is_quick=n in (10, 1000)) for n in (10, 100, 1_000, 9_900)),
    *(curve("series", f"{n:,}", small(10, n, 5), is_quick=n in (10, 10_000)) for n in (1, 10, 100, 1_000, 10_000, 100_000)),
    *(curve("destinations", f"{n}", {**SERIES_OF_A, "targets": 200}, f"destinations-{n}", is_quick=n == 4)
      for n in (1, 2, 3, 4)),
    *(curve("interval", f"{n} s", {**SERIES_OF_A, "targets": 200, "interval": n}, is_quick=n == 1) for n in (1, 5, 15, 60)),
    curve("down", "nobody listens", {**SERIES_OF_A, "targets": 200}, "down", (STARLING, VMAGENT), True),
]

CASES = PEERS + LOADS + CURVES
