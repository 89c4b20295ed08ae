#!/usr/bin/env bash
# Builds the binary of a release: linked against an old glibc, telling its commit, and with the same
# bytes wherever it is built. Argument: the target triple.
set -euo pipefail
triple=$1
glibc_max=2.28

cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$(pwd)
target=${CARGO_TARGET_DIR:-$root/target}
tools=$target/tools
bash packaging/tools.sh link
# A compiler can't ask git. What was changed since the commit is no part of it, and told.
: "${STARLING_REVISION:=$(git describe --always --abbrev=12 --exclude='*' --dirty=+changes 2>/dev/null || true)}"
if [ -z "$STARLING_REVISION" ]; then
  echo "packaging/release.sh: no git here, and no STARLING_REVISION: the binary will not tell its commit" >&2
  STARLING_REVISION=unknown
fi
export STARLING_REVISION

# Where the sources lie is no part of the program. The last that fits wins.
cargo_home=${CARGO_HOME:-$HOME/.cargo}
export CARGO_ENCODED_RUSTFLAGS CFLAGS
CARGO_ENCODED_RUSTFLAGS=$(printf '%s\x1f' "--remap-path-prefix=$cargo_home=/cargo" \
  "--remap-path-prefix=$root=/starling" "--remap-path-prefix=$target=/starling/target")
CARGO_ENCODED_RUSTFLAGS=${CARGO_ENCODED_RUSTFLAGS%$'\x1f'}
CFLAGS="-ffile-prefix-map=$cargo_home=/cargo -ffile-prefix-map=$root=/starling -ffile-prefix-map=$target=/starling/target"
unset RUSTFLAGS

PATH=$tools/python/bin:$PATH cargo zigbuild --release --locked --target "$triple.$glibc_max"

binary=$target/$triple/release/starling
for place in "$cargo_home" "$root" "$target"; do
  if grep -qaF "$place/" "$binary"; then
    echo "$binary: tells where it was built ($place), and would differ elsewhere" >&2
    exit 1
  fi
done
