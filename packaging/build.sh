#!/usr/bin/env bash
# Makes the packages: lays out what goes in, then lets cargo-deb and cargo-generate-rpm wrap it as
# Cargo.toml says. `make deb rpm` and the tests come through here. docs/packages.md tells the rest.
set -euo pipefail

usage() {
  cat <<'USAGE'
usage: packaging/build.sh deb|rpm|all [--arch amd64|arm64] [--version X.Y.Z] [--out DIR]
                          [--debug | --binary FILE] [--native FILE]

  --arch     what the package is for (default: this host's)
  --version  the package's version (default: that of Cargo.toml)
  --out      where the packages go (default: target/packages)
  --debug    wrap target/debug/starling, stripped and quickly compressed: for tests, not to be given away
  --binary   wrap this release binary instead of building one
  --native   a starling that runs on this host, for the man pages of another architecture

The revision that the binary tells, and the date of every file, are those of the commit;
STARLING_REVISION and SOURCE_DATE_EPOCH say them where there is no git.
USAGE
}

die() {
  echo "packaging/build.sh: $*" >&2
  exit 2
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cargo_target=${CARGO_TARGET_DIR:-$root/target}
case $(uname -m) in
  aarch64) host=arm64 ;;
  *) host=amd64 ;;
esac

what='' arch=$host version='' out=$cargo_target/packages debug='' binary='' native=''
while [ $# -gt 0 ]; do
  case $1 in
    deb | rpm | all) what=$1 ;;
    --debug) debug=yes ;;
    --arch | --version | --out | --binary | --native)
      [ $# -gt 1 ] || die "\`$1\` wants a value"
      declare "${1#--}=$2"
      shift
      ;;
    -h | --help) usage && exit ;;
    *) usage >&2 && die "unknown argument \`$1\`" ;;
  esac
  shift
done
[ -n "$what" ] || { usage >&2 && die "which package? \`deb\`, \`rpm\` or \`all\`"; }
case $arch in
  amd64) triple=x86_64-unknown-linux-gnu rpm_arch=x86_64 ;;
  arm64) triple=aarch64-unknown-linux-gnu rpm_arch=aarch64 ;;
  *) die "unknown architecture \`$arch\`: expected amd64 or arm64" ;;
esac
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$root"
: "${version:=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)}"
[[ $version =~ ^[0-9][0-9A-Za-z.~+]*$ ]] || die "\`$version\` is no version: expected digits, letters, \`.\`, \`~\` and \`+\`"

# One commit, one date; a tree without git has that of its changelog.
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct 2>/dev/null || date -r CHANGELOG.md +%s)}"
export SOURCE_DATE_EPOCH LC_ALL=C TZ=UTC

# The binary: built for an old glibc, or the one that was named.
if [ -n "$debug" ]; then
  binary=${binary:-$cargo_target/debug/starling}
elif [ -z "$binary" ]; then
  bash packaging/release.sh "$triple"
  binary=$cargo_target/$triple/release/starling
fi
[ -f "$binary" ] || die "no binary at $binary; build it first"
[ -n "$debug" ] || bash packaging/glibc.sh "$binary"
if [ -z "$native" ]; then
  [ "$arch" = "$host" ] || die "\`--arch $arch\` on a host of $host wants \`--native\`: a starling that runs here"
  native=$binary
fi

# A folder for this run alone, so that several may run at once.
mkdir -p "$cargo_target"
work=$(mktemp -d "$cargo_target/packaging.XXXXXX")
trap 'rm -rf "$work"' EXIT
stage=$work/$triple/release/package
mkdir -p "$stage"/{man,completions}

cp "$binary" "$stage/starling"
[ -z "$debug" ] || strip --strip-unneeded "$stage/starling"
"$native" man --dir "$stage/man"
gzip -9n "$stage"/man/*
for shell in bash zsh fish; do
  "$native" completions "$shell" >"$stage/completions/$shell"
done
cp -r examples systemd packaging LICENSE CHANGELOG.md "$stage/"
mv "$stage/CHANGELOG.md" "$stage/changelog.md"
bash packaging/changelog.sh "$version" >"$stage/changelog.deb"
python3 packaging/notices.py "$triple" >"$stage/notices.txt"
gzip -9n "$stage/notices.txt" "$stage/changelog.md" "$stage/changelog.deb"

# One date for all: that of a checkout is no part of what is built.
find "$work" -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +

tool() {
  local name=$1
  if [ -x "$cargo_target/tools/bin/$name" ]; then
    echo "$cargo_target/tools/bin/$name"
  else
    command -v "$name" || die "no $name: run packaging/tools.sh"
  fi
}

make_deb() {
  local package=$out/starling_$version-1_$arch.deb cargo_deb
  cargo_deb=$(tool cargo-deb)
  CARGO_TARGET_DIR=$work "$cargo_deb" --no-build --no-strip --no-dbgsym --locked --target "$triple" \
    --deb-version "$version-1" ${debug:+--fast} ${debug:+--compress-system -Z gz} --output "$package" >/dev/null
  echo "$package: $(stat -c %s "$package") bytes"
}

make_rpm() {
  local package=$out/starling-$version-1.$rpm_arch.rpm cargo_generate_rpm compression=xz
  [ -z "$debug" ] || compression=gzip
  cargo_generate_rpm=$(tool cargo-generate-rpm)
  "$cargo_generate_rpm" --target-dir "$work" --target "$triple" --arch "$rpm_arch" --auto-req builtin \
    --payload-compress "$compression" --set-metadata "version = \"${version}\"" --output "$package"
  echo "$package: $(stat -c %s "$package") bytes"
}

case $what in
  deb | all) make_deb ;;
esac
case $what in
  rpm | all) make_rpm ;;
esac
