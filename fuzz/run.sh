#!/usr/bin/env bash
# Runs every fuzz target for the given number of seconds. What it finds is kept in fuzz/corpus.
set -eu
cd "$(dirname "$0")/.."

seconds=${1:-60}
# The sanitizers are nightly flags; so that any toolchain will do, it is told to take them.
export RUSTC_BOOTSTRAP=1
cargo fuzz --version >/dev/null 2>&1 || cargo install --locked cargo-fuzz
for target in exposition openmetrics protobuf config outbox_frame remote_write_answer remote_write_kept \
  remote_write_pushed discovery alloy vmagent; do
  mkdir -p "fuzz/corpus/$target"
  cargo fuzz run "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
    -max_total_time="$seconds" -timeout=5 -rss_limit_mb=1024 -max_len=4096
done
