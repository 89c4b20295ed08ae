#!/usr/bin/env python3
"""Draws where the agent's time goes while it scrapes 200 targets × 1,000 series every second: docs/flamegraph.svg.

Wants `perf`, and the harness that `run.py` wants. `STARLING` is an agent built with frame pointers, else one is built.
"""

import collections
import html
import os
import pathlib
import re
import subprocess
import sys
import time

import cases
import run

PICTURE = run.ROOT / "docs/flamegraph.svg"
CASE = next(case for case in cases.CURVES if case.name == "interval-1s")
WARM_SECONDS, WINDOW_SECONDS, RECORDED_SECONDS = 12, 26, 20
WIDTH, ROW, LETTER = 1200, 16, 6.6
# What is narrower would not be seen.
LEAST_PERCENT = 0.15
HASHES = re.compile(r"::h[0-9a-f]{16}\b")


def main():
    harness = pathlib.Path(os.environ.get("BENCH", run.ROOT / "../shared/bench")).resolve()
    if not (harness / "bench.py").exists():
        print(f"skipped: no measuring harness at {harness}")
        return
    starling = build()
    run.prepare(harness)
    recorded = record(starling)
    root = fold(recorded)
    PICTURE.write_text(picture(root))
    print(f"{PICTURE}: {root.samples:,} samples")


def build():
    if "STARLING" in os.environ:
        return pathlib.Path(os.environ["STARLING"]).resolve()
    folder = run.ROOT / "target/flamegraph"
    own = {"RUSTFLAGS": "-C force-frame-pointers=yes", "CARGO_TARGET_DIR": str(folder), "CARGO_PROFILE_RELEASE_STRIP": "none"}
    subprocess.run(["cargo", "build", "--release"], cwd=run.ROOT, check=True, env={**os.environ, **own})
    return folder / "release/starling"


def record(starling):
    """The stacks of the steady state, as `perf script` writes them."""
    measuring = run.start(CASE, cases.STARLING, starling, WARM_SECONDS, WINDOW_SECONDS)
    time.sleep(WARM_SECONDS + 3)
    data = run.HOME / "perf.data"
    perf = ["perf", "record", "--quiet", "--freq=1999", "--event=cpu-clock", "--call-graph=fp", f"--pid={pid_of(starling)}",
            f"--output={data}", "--", "sleep", str(RECORDED_SECONDS)]
    subprocess.run(perf, check=True)
    measuring.wait()
    script = ["perf", "script", f"--input={data}", "--fields=ip,sym", "--demangle"]
    return subprocess.run(script, check=True, capture_output=True, text=True).stdout


def pid_of(starling):
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if command[:2] == [str(starling).encode(), b"run"] and any(str(run.HOME).encode() in word for word in command):
            return folder.name
    sys.exit("the agent does not run")


class Frame:
    def __init__(self, name):
        self.name, self.samples, self.above = name, 0, {}


def fold(script):
    root = Frame("all")
    for block in script.split("\n\n"):
        lines = [line.split(None, 1) for line in block.splitlines() if line.strip()]
        # Outermost first.
        names = [shown(line[1]) if len(line) > 1 else "[unknown]" for line in reversed(lines)]
        names = [name for n, name in enumerate(names) if name and (n == 0 or name != names[n - 1])]
        if not names:
            continue
        frame = root
        root.samples += 1
        for name in names:
            frame = frame.above.setdefault(name, Frame(name))
            frame.samples += 1
    return root


def shown(symbol):
    """`<starling::scrape::read::Reader as …>::read` as it is, without what the compiler adds."""
    return HASHES.sub("", symbol.strip()).replace("{{closure}}", "{closure}")


def picture(root):
    boxes, deepest = [], 0
    waiting = collections.deque([(root, 0.0, 0)])
    while waiting:
        frame, left, depth = waiting.popleft()
        boxes.append((frame, left, depth))
        deepest = max(deepest, depth)
        for child in sorted(frame.above.values(), key=lambda child: child.name):
            if 100 * child.samples >= LEAST_PERCENT * root.samples:
                waiting.append((child, left, depth + 1))
            left += child.samples
    height = (deepest + 1) * ROW
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="monospace" font-size="11">',
             '<style>rect { stroke: white; stroke-width: 0.5 } text { pointer-events: none }</style>']
    for frame, left, depth in boxes:
        x, width = WIDTH * left / root.samples, WIDTH * frame.samples / root.samples
        y = height - (depth + 1) * ROW
        letters = int((width - 4) / LETTER)
        text = frame.name if len(frame.name) <= letters else frame.name[: letters - 1] + "…"
        label = f'<text x="{x + 2:.1f}" y="{y + 12}">{html.escape(text)}</text>' if letters > 3 else ""
        title = f"{frame.name}: {100 * frame.samples / root.samples:.2f} %"
        lines.append(f'<g><title>{html.escape(title)}</title><rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{ROW}" '
                     f'fill="{colour(frame.name)}"/>{label}</g>')
    return "\n".join([*lines, "</svg>", ""])


def colour(name):
    """Ours, the runtime and the network below it, other crates and the standard library, the kernel."""
    if "starling::" in name:
        return "#f4a261"
    if any(part in name for part in ("tokio", "hyper", "reqwest", "h2::", "mio::")):
        return "#8ecae6"
    return "#c9d6a3" if "::" in name else "#d9c2d6"


if __name__ == "__main__":
    main()
