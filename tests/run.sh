#!/usr/bin/env bash
# What `make test` runs. What is judged by when things happen runs in calm, what only computes does
# not, so that two cores are done in time; each in its order, and what ran beside is shown after it.
set -eu
cd "$(dirname "$0")/.."
mkdir -p target
log=target/beside.log
outcome=0

# Called by their names below.
# shellcheck disable=SC2317
tests() { cargo test --no-fail-fast "$@"; }

# The judge of gateways has bounds that a busy machine keeps, and would keep the hosts of below from
# theirs. The stages' instructions are counted, however long they take.
# shellcheck disable=SC2317
gateways_and_counts() {
  local outcome=0
  tests --test=gateways || outcome=1
  bash benches/stages/count.sh || outcome=1
  return "$outcome"
}

# Floods and cuts come late: hosts, beside this, are held to the tightest bounds at first.
# shellcheck disable=SC2317
judged_and_rest() {
  local outcome=0
  tests --test=judged || outcome=1
  tests "${rest[@]/#/--test=}" || outcome=1
  return "$outcome"
}

# Commands beside each other, the last of them shown as it goes.
beside() {
  local commands=("$@") started=() number command
  for number in "${!commands[@]}"; do
    read -ra command <<<"${commands[number]}"
    if ((number == $# - 1)); then
      "${command[@]}" || outcome=1
    else
      "${command[@]}" >"$log.$number" 2>&1 &
      started+=($!)
    fi
  done
  for number in "${!started[@]}"; do
    wait "${started[number]}" || outcome=1
    cat "$log.$number"
  done
}

# What is started here ends with it.
trap 'jobs -p | xargs --no-run-if-empty kill 2>/dev/null || true' EXIT

bash tests/setup.sh
# From nothing, all is compiled a minute sooner when nothing is kept for the next time.
[ -d "${CARGO_TARGET_DIR:-target}/debug/incremental" ] || export CARGO_INCREMENTAL=0
# While the compiler runs: what wraps packages, and the root that hosts are laid over.
{
  bash packaging/tools.sh wrap
  [ "$(id -u)" -ne 0 ] || bash tests/appliance/root.sh
} >"$log" 2>&1 &
preparing=$!
cargo test --no-run
wait "$preparing" || { cat "$log" && exit 1; }

# What wraps packages and what mostly waits, beside what computes.
beside gateways_and_counts 'tests --test=appliance --test=integration' \
  'tests --lib --bins --test=tidy --test=conformance --test=simulation --test=api --test=browser'
# What is judged by the clock: it mostly waits, for boots and for time to pass, and so finds the
# machine free. All that is left in Cargo.toml, so that none is forgotten.
mapfile -t rest < <(sed -n '/^\[\[test\]\]/{n;s/^name = "\(.*\)"/\1/p}' Cargo.toml |
  grep -vxE 'appliance|tidy|conformance|simulation|api|browser|hosts|integration|gateways|judged')
beside 'tests --test=hosts' judged_and_rest
exit "$outcome"
