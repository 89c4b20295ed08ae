#!/usr/bin/env bash
# What `make test` runs. What is judged by when things happen runs in calm, what only computes does
# not, so that two cores are done in time; each in its order, and what ran beside is shown after it.
set -eu
cd "$(dirname "$0")/.."
mkdir -p target
log=target/beside.log
outcome=0

# Sets of tests beside each other, the last of them shown as it goes.
beside() {
  local sets=("$@") testing=() set one
  for set in "${sets[@]::$#-1}"; do
    read -ra one <<<"$set"
    cargo test --no-fail-fast "${one[@]}" >"$log.${#testing[@]}" 2>&1 &
    testing+=($!)
  done
  # shellcheck disable=SC2064
  trap "kill ${testing[*]} 2>/dev/null || true" EXIT
  read -ra one <<<"${sets[-1]}"
  cargo test --no-fail-fast "${one[@]}" || outcome=1
  for set in "${!testing[@]}"; do
    wait "${testing[$set]}" || outcome=1
    cat "$log.$set"
  done
  trap - EXIT
}

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

bash benches/stages/count.sh || outcome=1

# What wraps packages and what mostly waits, beside what computes. The judge of gateways has bounds that
# a busy machine keeps, and would keep the hosts of below from theirs.
beside '--test=gateways' '--test=appliance --test=integration' \
  '--lib --bins --test=tidy --test=conformance --test=simulation --test=api --test=browser'
# What is judged by the clock: it mostly waits, for boots and for time to pass, and so finds the
# machine free. All that is left in Cargo.toml, so that none is forgotten.
mapfile -t rest < <(sed -n '/^\[\[test\]\]/{n;s/^name = "\(.*\)"/\1/p}' Cargo.toml |
  grep -vxE 'appliance|tidy|conformance|simulation|api|browser|hosts|integration|gateways')
beside '--test=hosts' "${rest[*]/#/--test=}"
exit "$outcome"
