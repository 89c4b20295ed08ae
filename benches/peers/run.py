#!/usr/bin/env python3
"""Measures Starling and its peers one by one, beside the same fake fleet and the same receiver.

The harness that does it lies beside this repository and is no part of it; where it is absent this says
so and ends well. Each result is a line of target/bench-peers/results.jsonl: what is there already is not
measured again, so that a run that was broken off goes on. Then `page.py` makes the tables of them.

    QUICK=1         about ten minutes instead of an hour and a half
    ONLY=A,F        these cases (cases.py) or tables of them
    MINUTES=30      no measurement begins after that
    REPEAT=3        measurements of each of the first table; the medians are told
    STARLING=path   the agent; else the release build, which is made first
    BENCH=path      the harness; else ../shared/bench
    ANEW=1          forgets the results so far
"""

import hashlib
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

import cases
import page

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
HOME = ROOT / "target/bench-peers"
RESULTS = HOME / "results.jsonl"
# Of the latest measurement.
OUTCOME = HOME / "outcome.jsonl"
SERVERS = ROOT / "target/servers"
# The largest fleet: a socket that listens and one that is connected for each target.
FILES_MAX = 20_000
# Bodies are made, and all is started and ended.
START_SECONDS_MAX = 120


def main():
    harness = pathlib.Path(os.environ.get("BENCH", ROOT / "../shared/bench")).resolve()
    if not (harness / "bench.py").exists():
        print(f"skipped: no measuring harness at {harness}")
        return
    is_quick = os.environ.get("QUICK", "0") not in ("", "0")
    repeat = int(os.environ.get("REPEAT", "1" if is_quick else "3"))
    warm, window = (10, 15) if is_quick else (20, 40)
    deadline = time.monotonic() + 60 * float(os.environ.get("MINUTES", "15" if is_quick else "120"))
    starling = build()
    prepare(harness)
    if os.environ.get("ANEW", "0") not in ("", "0"):
        RESULTS.unlink(missing_ok=True)
    identity = hashlib.sha256(starling.read_bytes()).hexdigest()[:16]
    for case, agent, number in plan(chosen(is_quick), repeat):
        key = [case.name, agent, number, identity if agent == cases.STARLING else version(agent), warm, window]
        if any(result["key"] == key for result in page.results(RESULTS)):
            continue
        if time.monotonic() > deadline:
            print("stopped: the time is over; the next run goes on from here")
            break
        measure(case, agent, key, starling)
    page.write(RESULTS, identity, version)


def build():
    """The agent that is measured."""
    if "STARLING" in os.environ:
        return pathlib.Path(os.environ["STARLING"]).resolve()
    subprocess.run(["cargo", "build", "--release"], cwd=ROOT, check=True)
    return ROOT / "target/release/starling"


def prepare(harness):
    """A copy of the harness that knows our scenarios, and the peers."""
    subprocess.run(["bash", ROOT / "tests/servers.sh"], check=True, stdout=subprocess.DEVNULL)
    HOME.mkdir(parents=True, exist_ok=True)
    shutil.copy(harness / "bench.py", HOME)
    for folder in ("templates", "bodies", "starbench"):
        shutil.copytree(harness / folder, HOME / folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("target"))
    if not (HOME / "starbench/target/release/starbench").exists():
        subprocess.run(["cargo", "build", "--release"], cwd=HOME / "starbench", check=True)
    scenarios = {case.name: case.scenario for case in cases.CASES}
    (HOME / "scenarios.json").write_text(json.dumps(scenarios))
    limit = max(FILES_MAX, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    except (ValueError, PermissionError):
        print(f"note: fewer than {FILES_MAX:,} open files are allowed, large fleets will not start")


def chosen(is_quick):
    """`ONLY` may name what a quick run leaves out."""
    only = [name for name in os.environ.get("ONLY", "").split(",") if name]
    if only:
        return [case for case in cases.CASES if case.name in only or case.table in only]
    return [case for case in cases.CASES if case.is_quick or not is_quick]


def plan(chosen_cases, repeat):
    """Interleaved, so that what the machine does beside falls on all agents; what has bounds first."""
    for number in range(repeat):
        for case in chosen_cases:
            for agent in case.agents:
                is_repeated = case.table == "peers" and agent != cases.PROMETHEUS
                if number == 0 or is_repeated:
                    yield case, agent, number


def version(agent):
    """Of the package that it is out of: `1.145.0`."""
    package = {cases.VMAGENT: "victoria-metrics", cases.PROMETHEUS: "prometheus"}[agent]
    packages = SERVERS / "packages"
    found = re.search(rf"^{package}_([0-9.]+)", packages.read_text() if packages.exists() else "", re.MULTILINE)
    return found[1] if found else ""


def program(agent):
    return str(SERVERS / "usr/bin" / agent)


def libraries():
    return {"LD_LIBRARY_PATH": str(SERVERS / "usr/lib/x86_64-linux-gnu")}


def measure(case, agent, key, starling):
    warm, window = case.seconds(*key[-2:])
    print(f"{time.strftime('%H:%M:%S')} {case.name} {agent} #{key[2] + 1}", flush=True)
    running = start(case, agent, starling, warm, window)
    try:
        status = running.wait(START_SECONDS_MAX + warm + window)
    except subprocess.TimeoutExpired:
        # As by Ctrl-C: it ends what it has started.
        running.send_signal(signal.SIGINT)
        running.wait()
        status = "it takes too long"
    if status != 0:
        print(f"failed: {case.name} {agent}: {status}")
        return
    with RESULTS.open("a") as file:
        file.write(json.dumps({"key": key, **json.loads(OUTCOME.read_text())}) + "\n")


def start(case, agent, starling, warm, window):
    """The harness, on its way to writing `OUTCOME`."""
    description = HOME / f"{agent}-{case.form}.json"
    description.write_text(json.dumps(describe(agent, case.form, starling)))
    OUTCOME.unlink(missing_ok=True)
    command = [sys.executable, HOME / "bench.py", "run", "--agent", description, "--scenario", case.name, "--warmup", str(warm),
               "--window", str(window), "--out", OUTCOME, "--workdir", HOME / "work"]
    return subprocess.Popen(command)


def describe(agent, form, starling):
    """Command and configuration of an agent, in the words of the harness."""
    down = "http://127.0.0.1:9/api/v1/write"
    url = down if form == "down" else "$remote_write_url"
    if agent == cases.VMAGENT:
        # It takes the address as a flag, and zstd is what it does unless it is told not to.
        command = [program(agent), "-promscrape.config=$config", f"-remoteWrite.url={url}", "-remoteWrite.tmpDataPath=$data",
                   "-httpListenAddr=127.0.0.1:$port", "-loggerLevel=ERROR"]
        if form != "zstd":
            command.append("-remoteWrite.forcePromProto")
        template = "vmagent-relabel.yml" if form == "relabelled" else "vmagent.yml"
        return {"name": agent, "cmd": command, "env": libraries(), "config_template": f"templates/{template}"}
    template = {"relabelled": "prometheus-relabel.yml", "rw2": "prometheus-rw2.yml"}.get(form, "prometheus.yml")
    text = (HOME / "templates" / template).read_text()
    if form == "zstd":
        text = text.rstrip() + "\n    x_compression: zstd\n"
    elif form == "down":
        text = text.replace("$remote_write_url", down)
    elif form.startswith("destinations-"):
        head = text[: text.index("remote_write:")]
        count = int(form.removeprefix("destinations-"))
        text = head + "remote_write:\n" + "".join(f"  - name: d{n}\n    url: $remote_write_url\n" for n in range(count))
    own = HOME / "templates" / f"{agent}-{form}.yml"
    own.write_text(text)
    if agent == cases.PROMETHEUS:
        command = [program(agent), "--agent", "--config.file=$config", "--storage.agent.path=$data",
                   "--web.listen-address=127.0.0.1:$port", "--log.level=error"]
    else:
        command = [str(starling), "run", "--config.file=$config", "--storage.path=$data",
                   "--web.listen-address=127.0.0.1:$port", "--log.level=warn"]
    return {"name": agent, "cmd": command, "config_template": str(own)}


if __name__ == "__main__":
    main()
