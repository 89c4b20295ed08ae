#!/usr/bin/env bash
# Runs every fuzz target for the given number of seconds. What it finds is kept in fuzz/corpus.
set -eu
cd "$(dirname "$0")/.."

seconds=${1:-60}
cargo fuzz --version >/dev/null 2>&1 || cargo install --locked cargo-fuzz
for target in exposition openmetrics config outbox_frame; do
  mkdir -p "fuzz/corpus/$target"
  cargo +nightly fuzz run "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
    -max_total_time="$seconds" -timeout=5 -rss_limit_mb=1024 -max_len=4096
done
