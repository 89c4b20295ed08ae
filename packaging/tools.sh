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

# Optimised a little: a fifth of the time to build, and wrapping is quick enough.
wrap() {
  export CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off \
    CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_DEBUG=0
  local tool version
  for tool in "cargo-deb $cargo_deb" "cargo-generate-rpm $cargo_generate_rpm"; do
    read -r tool version <<<"$tool"
    if ! "$tools/bin/$tool" --version 2>/dev/null | grep -qF "$version"; then
      echo "installing: $tool $version"
      cargo install --locked --quiet --root "$tools" --target-dir "$tools/build" "$tool@$version"
    fi
  done
  rm -rf "$tools/build"
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
