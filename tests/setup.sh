#!/usr/bin/env bash
# Installs what the tests run beside the agent: real servers from Debian's packages.
set -eu

packages=(prometheus prometheus-node-exporter python3 python3-venv python3-yaml python3-snappy curl
  jq iproute2 nftables faketime avahi-daemon avahi-utils dbus)
missing=()
for package in "${packages[@]}"; do
  dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
    missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)
echo "installing: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
