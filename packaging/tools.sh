#!/usr/bin/env bash
# Installs, below target/tools, what makes packages: `wrap` for what wraps them (the tests need that,
# too), `link` for what links a release against an old glibc, nothing for both. Versions are pinned, as
# a package's bytes depend on them.
set -euo pipefail
cargo_deb=3.8.0
cargo_generate_rpm=0.21.1

cd "$(dirname "${BASH_SOURCE[0]}")/.."
tools=${CARGO_TARGET_DIR:-target}/tools
mkdir -p "$tools"
tools=$(cd "$tools" && pwd)
exec 9>"$tools/lock"
flock 9

# Not optimised, as they would take twice as long to build; but for what goes over every byte. The
# default features of cargo-deb are a compressor and debug symbols: `xz` is there anyway.
wrap() {
  export CARGO_PROFILE_DEV_DEBUG=0 CARGO_INCREMENTAL=0
  local optimised=() crate
  for crate in rpm sha1 sha2 sha3 keccak md-5 digest block-buffer generic-array flate2 miniz_oxide crc32fast \
    liblzma-sys; do
    optimised+=(--config "profile.dev.package.$crate.opt-level=3")
  done
  install_tool cargo-deb "$cargo_deb" --no-default-features
  install_tool cargo-generate-rpm "$cargo_generate_rpm" "${optimised[@]}"
  rm -rf "$tools/build"
}

install_tool() {
  local name=$1 version=$2
  shift 2
  if ! "$tools/bin/$name" --version 2>/dev/null | grep -qF "$version"; then
    echo "installing: $name $version"
    cargo install --debug --locked --quiet --root "$tools" --target-dir "$tools/build" "$name@$version" "$@"
  fi
}

link() {
  [ ! -f "$tools/python/requirements" ] || ! cmp -s packaging/requirements.txt "$tools/python/requirements" ||
    return 0
  echo "installing: $(grep -v '^#' packaging/requirements.txt | tr '\n' ' ')"
  rm -rf "$tools/python"
  python3 -m venv "$tools/python"
  "$tools/python/bin/pip" install --quiet --disable-pip-version-check --requirement packaging/requirements.txt
  cp packaging/requirements.txt "$tools/python/requirements"
}

case ${1:-both} in
  wrap) wrap ;;
  link) link ;;
  both) wrap && link ;;
  *) echo "packaging/tools.sh: \`$1\`: expected wrap or link" >&2 && exit 2 ;;
esac
