"""The tables of docs/performance.md: what was measured, and how it stands beside its bounds."""

import json
import os
import pathlib
import statistics

import cases

PAGE = pathlib.Path(__file__).resolve().parent.parent.parent / "docs/performance.md"
BEGIN, END = "<!-- bench-peers: begin -->", "<!-- bench-peers: end -->"
NONE = "–"
OVER = "**over**"
WHOLE_PERCENT, RELABELLED_PERCENT = 97, 85


def results(path):
    """What is there already; a line that was cut off by the end of a run counts for nothing."""
    found = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def write(path, identity, version):
    """Prints the tables, and puts them into the page."""
    # Of each case those of the longest windows, of Starling those of the present build.
    runs = {}
    for result in results(path):
        name, agent, _, build, *seconds = result["key"]
        if agent == cases.STARLING and build != identity:
            continue
        best = runs.setdefault((name, agent), {})
        best.setdefault(tuple(reversed(seconds)), []).append(result)
    medians = {key: Median(best[max(best)]) for key, best in runs.items()}
    versions = {agent: version(agent) for agent in (cases.VMAGENT, cases.PROMETHEUS)}
    parts = [peers(medians, versions), load(medians), *(curve(medians, *row) for row in TABLES), down(medians), noise(medians)]
    text = "\n\n".join(part for part in parts if part)
    print(text)
    page = PAGE.read_text()
    if BEGIN not in page or END not in page:
        raise SystemExit(f"{PAGE}: has no place for the tables")
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    fresh = PAGE.with_suffix(".new")
    fresh.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")
    os.replace(fresh, PAGE)


class Median:
    """Of the results of one agent in one case."""

    def __init__(self, runs):
        self.runs = runs

    def __getitem__(self, name):
        return statistics.median(run[name] for run in self.runs)


def table(head, rows):
    if not rows:
        return ""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def shown(value, digits):
    return f"{value:,.{digits}f}"


def is_whole(median, case):
    """Nothing was left out, but for what the edges of a window cut off, and what rules drop."""
    delivered = RELABELLED_PERCENT if case.form == "relabelled" else WHOLE_PERCENT
    return median["scrapes_pct"] >= WHOLE_PERCENT and median["delivered_pct"] >= delivered


def peers(medians, versions):
    rows = []
    for case in (case for case in cases.CASES if case.table == "peers" and (case.name, cases.STARLING) in medians):
        found = {agent: medians[case.name, agent] for agent in cases.ALL if (case.name, agent) in medians}
        # A single target is scraped too seldom: the edges of the window are most of it.
        is_alone = case.scenario["targets"] == 1
        keeps_up = is_alone or is_whole(found[cases.STARLING], case)
        name = case.shown if keeps_up else f"{case.shown} (**does not keep up**)"
        for of, (field, title, digits) in cases.RESULTS.items():
            if of == "cpu" and is_alone:
                continue
            # One that is still starting when the window ends has sent nothing.
            values = {agent: median[field] for agent, median in found.items() if median["samples_per_s"] or of == "rss"}
            ratio = values.get(cases.STARLING, 0) / values[cases.VMAGENT] if cases.VMAGENT in values else None
            figures = [shown(values[agent], digits) if agent in values else NONE for agent in cases.ALL]
            bound = next((bound for bound in case.bounds if bound.of == of), None)
            rows.append([name, title, *figures, shown(ratio, 2) if ratio is not None else NONE,
                         judged(bound, ratio, values.get(cases.STARLING), keeps_up)])
            name = ""
    if not rows:
        return ""
    head = ["scenario", "", "Starling", f"vmagent {versions[cases.VMAGENT]}", f"Prometheus {versions[cases.PROMETHEUS]}",
            "ratio to vmagent", "wanted"]
    over = sum(OVER in row[-1] for row in rows)
    return table(head, rows) + f"\n\n{over or 'None'} of the bounds {'is' if over == 1 else 'are'} not kept."


def judged(bound, ratio, own, keeps_up):
    if bound is None:
        return ""
    reached = ratio if bound.beside else own
    is_kept = keeps_up and reached is not None and reached <= bound.most
    return f"≤ {bound.most:g}{' ×' if bound.beside else ''}: {'ok' if is_kept else OVER}"


def load(medians):
    rows = []
    for case in cases.LOADS:
        for agent in case.agents:
            if median := medians.get((case.name, agent)):
                rows.append([case.shown, agent, "yes" if is_whole(median, case) else "**no**", shown(median["scrapes_pct"], 0), shown(median["delivered_pct"], 0),
                             shown(median["cpu_pct"], 0), shown(median["rss_mb"], 0)])
    head = ["samples a second offered", "agent", "keeps up", "scraped %", "delivered %", "CPU % of its core", "memory, MB"]
    return titled("### More and more on one core", table(head, rows))


TABLES = [
    ("targets", "### By number of targets", "targets (100 series each, every 15 s)"),
    ("series", "### By series of a target", "series of each of 10 targets (every 5 s)"),
    ("destinations", "### By number of destinations", "destinations that want the same (scenario A)"),
    ("interval", "### By interval", "interval (200 targets × 1,000 series)"),
]


def curve(medians, name, title, head):
    rows = []
    for case in (case for case in cases.CURVES if case.table == name):
        if median := medians.get((case.name, cases.STARLING)):
            per_scrape = median["cpu_us_per_scraped"] * case.scenario["series"]
            rows.append([case.shown, shown(median["cpu_us_per_scraped"], 2), shown(per_scrape, 0), shown(median["cpu_pct"], 1),
                         shown(median["rss_mb"], 1), shown(median["rss_bytes_per_series"], 0)])
    return titled(title, table([head, "CPU, µs a sample scraped", "µs a scrape", "CPU % of its core", "memory, MB", "bytes a series"], rows))


def down(medians):
    rows = []
    for case in (case for case in cases.CURVES if case.table == "down"):
        for agent in case.agents:
            if median := medians.get((case.name, agent)):
                scraped = median["expected_per_s"] * median["scrapes_pct"] / 100
                rows.append([agent, shown(median["cpu_us_per_scraped"], 2), shown(median["rss_mb"], 0), shown(median["rss_growth_mb_per_min"], 1),
                             shown(median["nonnet_write_mb_per_s"] * 1e6 / scraped, 1)])
    head = ["agent", "CPU, µs a sample scraped", "memory, MB", "… growing, MB a minute", "written to disk, bytes a sample"]
    return titled("### While no receiver answers (scenario A)", table(head, rows))


def noise(medians):
    runs = [run for median in medians.values() for run in median.runs]
    if not runs:
        return ""
    others = statistics.median(run["others_cpu_pct"] for run in runs)
    speeds = [run["calib_ns"] for run in runs]
    windows = sorted({run["key"][-1] for run in runs})
    return (f"{len(runs)} measurements with windows of {' or '.join(map(str, windows))} s or whole intervals above. Beside them the rest of the "
            f"machine took {others:.0f} % of one core (median; {max(run['others_cpu_pct'] for run in runs):.0f} % at most), and a "
            f"fixed loop on the agent's core took between {min(speeds):.0f} and {max(speeds):.0f} ns a round.")


def titled(title, text):
    return f"{title}\n\n{text}" if text else ""
