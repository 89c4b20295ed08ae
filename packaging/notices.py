#!/usr/bin/env python3
"""Writes the licences and notices of everything that is linked into the binary, to standard output.

Argument: the target triple. The crates are those that Cargo.lock resolves for it, without what only
builds or tests use; the texts are those in their sources. It fails, naming the crate, where a licence
is none that deny.toml allows, or where there is no text. The same input gives the same bytes.
"""

import html
import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
TEXT_NAMES = re.compile(r"(licen[cs]e|copying|notice|unlicense|copyright)", re.IGNORECASE)
# Below these are fixtures, and crates' own tools.
FOLDERS_SKIPPED = {"tests", "test", "testdata", "benches", "examples", "fuzz", "ci", ".github", "doc", "docs"}
SUFFIXES_SKIPPED = {".rs", ".py", ".toml", ".json", ".yml", ".yaml", ".c", ".h", ".sh", ".html", ".el"}
# Texts that are there and do not hold here, with the reason.
TEXTS_SKIPPED = {
    ("zstd-sys", "zstd/COPYING"): "the GPL, to which zstd/LICENSE (BSD) is the alternative chosen",
}
# Crates under the MIT licence whose text stays in their repository, as their packages leave it out.
TEXTS_LEFT_OUT = {"base64-simd", "vsimd"}
# A longer text than any licence is: something else has such a name.
TEXT_BYTES_MAX = 200_000


def main(triple):
    allowed = set(re.findall(r'"([^"]+)"', section("deny.toml", "allow = [", "]")))
    texts, crates, faults = {}, [], []
    for package in linked(triple):
        name = f"{package['name']} {package['version']}"
        licence = spdx(package)
        if not is_allowed(licence, allowed):
            faults.append(f"{name}: the licence `{licence}` is none that deny.toml allows")
            continue
        found = texts_of(package)
        if not found and "Apache-2.0" in re.split(r"[ ()]+", licence):
            found = [(ROOT / "LICENSE").read_text(encoding="utf-8")]
        if not found and licence == "MIT" and package["name"] in TEXTS_LEFT_OUT:
            found = [mit(f"the authors of {package['name']}, {package['repository']}")]
        if not found:
            faults.append(f"{name}: no text of its licence `{licence}` in {package['manifest_path']}'s folder")
            continue
        crates.append((package, licence, sorted({number_of(text, texts) for text in found})))
    if faults:
        sys.exit("packaging/notices.py:\n  " + "\n  ".join(faults))
    write(crates, texts)


def mit(holders):
    return (ROOT / "packaging/MIT.txt").read_text(encoding="utf-8").format(holders=holders)


def linked(triple):
    """The packages whose code is in the binary, sorted; the agent itself is none of them."""
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", triple]
    made = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    metadata = json.loads(made.stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = metadata["resolve"]["root"]
    seen, waiting = set(), [root]
    while waiting:
        now = waiting.pop()
        if now in seen:
            continue
        seen.add(now)
        for dependency in nodes[now]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                waiting.append(dependency["pkg"])
    return sorted((packages[one] for one in seen - {root}), key=lambda one: (one["name"], one["version"]))


def spdx(package):
    """The licence in today's form: a slash has meant OR."""
    return re.sub(r"\s*/\s*", " OR ", package["license"] or "none")


def is_allowed(licence, allowed):
    def judge(match):
        word = match.group(0)
        return word.lower() if word in ("AND", "OR") else str(word in allowed)

    # Nothing is left for `eval` but True, False, and, or, and brackets.
    terms = re.sub(r"[A-Za-z0-9.+-]+(?: WITH [A-Za-z0-9.+-]+)?", judge, licence)
    if not re.fullmatch(r"(True|False|and|or|[() ])+", terms):
        return False
    return eval(terms)  # noqa: S307


def texts_of(package):
    folder = pathlib.Path(package["manifest_path"]).parent
    named = {folder / package["license_file"]} if package["license_file"] else set()
    for path in folder.rglob("*"):
        place = path.relative_to(folder)
        if (
            TEXT_NAMES.match(path.name)
            and path.is_file()
            and path.suffix not in SUFFIXES_SKIPPED
            and not FOLDERS_SKIPPED.intersection(place.parts)
            and (package["name"], place.as_posix()) not in TEXTS_SKIPPED
        ):
            named.add(path)
    texts = []
    for path in sorted(named):
        if path.stat().st_size > TEXT_BYTES_MAX:
            sys.exit(f"packaging/notices.py: {path}: more than {TEXT_BYTES_MAX} bytes; what is it?")
        text = path.read_text(encoding="utf-8", errors="replace")
        # Some packers leave a link's target where the link was.
        if len(text) > 100:
            texts.append(text)
    return texts


def number_of(text, texts):
    """The same words are one text, however their lines are broken."""
    words = " ".join(text.split())
    return texts.setdefault(words, (len(texts) + 1, text))[0]


def section(file, opening, closing):
    text = (ROOT / file).read_text(encoding="utf-8")
    return text.split(opening, 1)[1].split(closing, 1)[0]


def write(crates, texts):
    print("Third-party notices of Starling\n===============================\n")
    print("The program contains the crates below and Rust's standard library. The numbers name the texts\nthat follow.\n")
    for package, licence, numbers in crates:
        print(f"{package['name']} {package['version']}: {licence} [{', '.join(map(str, numbers))}]")
    print("\nUnder the Mozilla Public License 2.0, unchanged; their source is at the address beside them:\n")
    for package, licence, _ in crates:
        if "MPL-2.0" in licence and " OR " not in licence:
            name, version = package["name"], package["version"]
            print(f"{name} {version}: https://crates.io/api/v1/crates/{name}/{version}/download")
    for number, text in sorted(texts.values()):
        print(f"\n\n[{number}]\n{'-' * 79}\n")
        print("\n".join(line.rstrip() for line in text.strip("\n").splitlines()))
    print(f"\n\nRust's standard library\n{'-' * 79}\n")
    print(standard_library())


def standard_library():
    """What the toolchain says of itself; a toolchain without documents is told of in a sentence."""
    sysroot = subprocess.run(["rustc", "--print", "sysroot"], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    page = pathlib.Path(sysroot.stdout.decode().strip()) / "share/doc/rust/COPYRIGHT-library.html"
    if not page.exists():
        return (
            "Copyright The Rust Project Developers (see https://thanks.rust-lang.org), under MIT or\n"
            "Apache-2.0, both of which are among the texts above."
        )
    text = re.sub(r"(?s)<(style|title).*?</\1>", "", page.read_text(encoding="utf-8"))
    text = html.unescape(re.sub(r"<[^>]+>", "", text))
    lines = [line.strip() for line in text.splitlines()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
