#!/usr/bin/env bash
# The fleet test with the packages of a release, which are built first, and the table of what was
# measured, as docs/clustering.md has it. As root, on a machine with nothing else to do.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

bash tests/setup.sh
bash packaging/tools.sh
packages=${CARGO_TARGET_DIR:-$PWD/target}/packages/fleet
for version in 0.1.0 0.1.1; do
  bash packaging/build.sh deb --version "$version" --out "$packages"
done
STARLING_PACKAGES=$packages STARLING_MEASURE=1 cargo test --test hosts -- \
  --exact a_fleet_of_real_systems_bears_what_befalls_it --nocapture
