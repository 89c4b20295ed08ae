#!/usr/bin/env python3
"""Measures gateways beside each other: 100,000 samples a second are pushed through Starling, through three
of it, and through vmagent, into the harness's receiver.

The harness lies beside this repository and is no part of it; where it is absent this says so and ends well.
An agent that scrapes the harness's fleet is the sender, so that what is pushed is what is pushed in earnest:
requests of 2,000 samples. The gateway has a core of its own, the others share the other.

    STARLING=path   the agent; else the release build
    BENCH=path      the harness; else ../shared/bench
    SECONDS=40      measured, after half as long to warm up
    ONLY=vmagent    one of starling, three, vmagent
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
HOME = ROOT / "target/bench-peers"
SERVERS = ROOT / "target/servers"
FLEET = {"targets": 200, "series": 1000, "interval": 2}
PORT = 26000
CORE_OF_GATEWAYS, CORE_OF_OTHERS = "1", "0"
START_SECONDS_MAX = 60
TICKS = os.sysconf("SC_CLK_TCK")


def main():
    harness = pathlib.Path(os.environ.get("BENCH", ROOT / "../shared/bench")).resolve()
    if not (harness / "bench.py").exists():
        print(f"skipped: no measuring harness at {harness}")
        return
    tool = HOME / "starbench/target/release/starbench"
    if not tool.exists():
        sys.exit("run `make bench-peers` first: it builds the harness")
    starling = pathlib.Path(os.environ.get("STARLING", ROOT / "target/release/starling")).resolve()
    print("| gateway | samples/s | CPU, µs a sample | memory, MB | bytes a series | answered within, p50 / p99 | wire, bytes a sample |")
    print("|---|---|---|---|---|---|---|")
    for name in ["starling", "three", "vmagent"]:
        if os.environ.get("ONLY", name) == name:
            measure(name, tool, starling)


def measure(name, tool, starling):
    work = HOME / "work-gateway"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    with contextlib.ExitStack() as ends:
        start = lambda *args, **settings: ends.enter_context(running(work, *args, **settings))
        sink, farm = PORT, PORT + 1
        start("farm", tool, "farm", "--targets", FLEET["targets"], "--series", FLEET["series"], "--kind", "node", "--variants", 16,
              "--churn", 0, "--base-port", PORT + 100, "--ctl-port", farm, "--gzip", 1, cwd=HOME)
        start("sink", tool, "sink", "--port", sink, "--verify", 0, "--delay", 0, "--dump", "", cwd=HOME)
        until(lambda: get(sink, "/stats"))
        until(lambda: get(farm, "/stats"))
        into = f"http://127.0.0.1:{sink}/api/v1/write"
        gateways, pushed_to = GATEWAYS[name](start, work, starling, into)
        for number, url in enumerate(pushed_to):
            sender(start, work, starling, number, len(pushed_to), url)
        seconds = float(os.environ.get("SECONDS", 40))
        time.sleep(seconds / 2)
        before = look(sink, gateways, len(pushed_to))
        time.sleep(seconds)
        after = look(sink, gateways, len(pushed_to))
        tell(name, before, after)


@contextlib.contextmanager
def running(work, name, program, *args, core=CORE_OF_OTHERS, env=None, cwd=None):
    log = open(work / f"{name}.log", "w")
    command = ["taskset", "-c", core, str(program), *map(str, args)]
    process = subprocess.Popen(command, stdout=log, stderr=log, env=env, cwd=cwd)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def one_starling(start, work, starling, into):
    process = start("gateway", starling, "run", f"--config.file={gateway_config(work, 0, into)}", f"--storage.path={work}/gateway",
                    f"--web.listen-address=127.0.0.1:{PORT + 10}", core=CORE_OF_GATEWAYS)
    until(lambda: get(PORT + 10, "/-/ready"))
    return [process.pid], [gateway_url(0)]


def three_starlings(start, work, starling, into):
    (work / "secret").write_text("bench" * 10)
    peers = ",".join(f"127.0.0.1:{PORT + 20 + n}" for n in range(3))
    pids = []
    for n in range(3):
        process = start(f"gateway{n}", starling, "run", f"--config.file={gateway_config(work, n, into)}", f"--storage.path={work}/gateway{n}",
                        f"--web.listen-address=127.0.0.1:{PORT + 10 + n}", "--cluster.enabled", f"--cluster.node-name=g{n}",
                        f"--cluster.peers={peers}", f"--cluster.listen-address=127.0.0.1:{PORT + 20 + n}",
                        f"--cluster.secret-file={work}/secret", core=CORE_OF_GATEWAYS)
        pids.append(process.pid)
    for n in range(3):
        until(lambda: get(PORT + 10 + n, "/-/ready"))
    return pids, [gateway_url(n) for n in range(3)]


def one_vmagent(start, work, _starling, into):
    library = next(SERVERS.glob("usr/lib/*-linux-gnu"))
    process = start("gateway", SERVERS / "usr/bin/vmagent", f"-remoteWrite.url={into}", f"-remoteWrite.tmpDataPath={work}/vmagent",
                    f"-httpListenAddr=127.0.0.1:{PORT + 30}", "-remoteWrite.forcePromProto",
                    core=CORE_OF_GATEWAYS, env={**os.environ, "LD_LIBRARY_PATH": str(library), "GOMAXPROCS": "1"})
    until(lambda: get(PORT + 30, "/health"))
    return [process.pid], [gateway_url(0)]


GATEWAYS = {"starling": one_starling, "three": three_starlings, "vmagent": one_vmagent}


def gateway_url(n):
    return f"http://127.0.0.1:{PORT + 30 + n}/api/v1/write"


def gateway_config(work, n, into):
    file = work / f"gateway{n}.yml"
    file.write_text(f"gateway: {{ metrics: {{ listen_address: '127.0.0.1:{PORT + 30 + n}' }} }}\nremote_write: [{{ url: '{into}' }}]\n")
    return file


def sender(start, work, starling, number, count, url):
    """Scrapes every `count`th target, and pushes as Prometheus does."""
    targets = [f"127.0.0.1:{PORT + 100 + n}" for n in range(FLEET["targets"]) if n % count == number]
    file = work / f"sender{number}.yml"
    file.write_text(json.dumps({
        "global": {"scrape_interval": f"{FLEET['interval']}s"},
        "scrape_configs": [{"job_name": "node", "static_configs": [{"targets": targets}]}],
        "remote_write": [{"url": url, "queue_config": {"max_samples_per_send": 2000}}],
    }))
    start(f"sender{number}", starling, "run", f"--config.file={file}", f"--storage.path={work}/sender{number}",
          f"--web.listen-address=127.0.0.1:{PORT + 40 + number}")


def look(sink, gateways, senders):
    answered = {}
    for number in range(senders):
        for le, count in re.findall(r'starling_outbox_request_duration_seconds_bucket\{.*?le="(.*?)".*?\} (\d+)', get(PORT + 40 + number, "/metrics")):
            answered[float(le)] = answered.get(float(le), 0) + int(count)
    return {"at": time.monotonic(), "sink": json.loads(get(sink, "/stats")), "cpu": sum(map(cpu, gateways)),
            "memory": sum(map(memory, gateways)), "answered": answered}


def tell(name, before, after):
    seconds = after["at"] - before["at"]
    grown = lambda key: after["sink"][key] - before["sink"][key]
    samples = grown("samples")
    answered = {le: count - before["answered"].get(le, 0) for le, count in after["answered"].items()}
    all_requests = max(answered.values())
    within = lambda share: next((le for le, count in sorted(answered.items()) if count >= share * all_requests), float("inf"))
    cpu_us = (after["cpu"] - before["cpu"]) / samples * 1e6
    series = FLEET["targets"] * FLEET["series"]
    print(f"| {name} | {samples / seconds:,.0f} | {cpu_us:.2f} | {after['memory'] / 1e6:.0f} | {after['memory'] / series:.0f} "
          f"| {within(0.5) * 1000:.0f} / {within(0.99) * 1000:.0f} ms | {grown('wire_bytes') / samples:.1f} |", flush=True)


def cpu(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory(pid):
    return int(re.search(r"Rss:\s+(\d+)", pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text())[1]) * 1024


def get(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return answer.read().decode()


def until(is_done):
    end = time.monotonic() + START_SECONDS_MAX
    while True:
        try:
            return is_done()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


if __name__ == "__main__":
    main()
