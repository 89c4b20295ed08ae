#!/usr/bin/env bash
# What `make test` runs. Packages and real systems mostly wait, for boots and for time to pass, so they
# are tested beside all the rest, and shown after it.
set -eu
cd "$(dirname "$0")/.."
beside=(appliance hosts)
log=target/beside.log

mkdir -p target
bash tests/setup.sh
# While the compiler runs: what wraps packages, and the root that hosts are laid over.
{
  bash packaging/tools.sh wrap
  [ "$(id -u)" -ne 0 ] || bash tests/appliance/root.sh
} >"$log" 2>&1 &
preparing=$!
cargo test --no-run
wait "$preparing" || { cat "$log" && exit 1; }

cargo test --no-fail-fast "${beside[@]/#/--test=}" >"$log" 2>&1 &
testing=$!
trap 'kill "$testing" 2>/dev/null || true' EXIT
# All that Cargo.toml names, so that none is forgotten.
mapfile -t others < <(sed -n '/^\[\[test\]\]/{n;s/^name = "\(.*\)"/\1/p}' Cargo.toml |
  grep -vxF "$(printf '%s\n' "${beside[@]}")")
outcome=0
cargo test --no-fail-fast --lib --bins "${others[@]/#/--test=}" || outcome=1
wait "$testing" || outcome=1
cat "$log"
exit "$outcome"
