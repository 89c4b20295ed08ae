#!/usr/bin/env bash
# Fails if a binary would not run on the oldest system the packages are for: if it wants a newer glibc
# than 2.28 (RHEL 8; Debian 11 has 2.31, Ubuntu 20.04 too), or a library beside glibc's own.
set -euo pipefail
glibc_max=2.28
libraries='libc.so.6 libm.so.6 libpthread.so.0 libdl.so.2 librt.so.1 ld-linux-x86-64.so.2 ld-linux-aarch64.so.1'

binary=$1
versions=$(readelf --wide --version-info "$binary" 2>/dev/null | grep -o 'GLIBC_[0-9.]*' | sort -uV) || true
newest=${versions##*$'\n'}
[ -n "$newest" ] || { echo "$binary: no glibc symbols found; is it a dynamic ELF binary?" >&2; exit 1; }
if [ "$(printf '%s\n' "$newest" "GLIBC_$glibc_max" | sort -V | tail -n 1)" != "GLIBC_$glibc_max" ]; then
  echo "$binary: wants $newest, but may want GLIBC_$glibc_max at most:" >&2
  readelf --wide --dyn-syms "$binary" | grep -F "@$newest" >&2 || true
  exit 1
fi
for library in $(readelf --wide --dynamic "$binary" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
  case " $libraries " in
    *" $library "*) ;;
    *) echo "$binary: wants $library, which is not glibc's own" >&2; exit 1 ;;
  esac
done
echo "$binary: wants $newest at most, and glibc's own libraries only"
