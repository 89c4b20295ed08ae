#!/usr/bin/env bash
# Installs what the tests run beside the agent: real servers and a real browser from Debian's
# packages, and the accessibility rules that the page is held to.
set -eu

packages=(prometheus prometheus-node-exporter openssl python3 python3-venv python3-yaml python3-snappy curl
  jq iproute2 nftables faketime avahi-daemon avahi-utils dbus chromium chromium-driver
  mmdebstrap systemd-container lintian rpm rpmlint shellcheck valgrind)
missing=()
for package in "${packages[@]}"; do
  dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
    missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  as_root=()
  [ "$(id -u)" -eq 0 ] || as_root=(sudo)
  echo "installing: ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

axe=axe-core-4.14.1
axe_sha512=1477dafa598d8d065f273d6af302aa203c02e83131707b7fa648cd41bd3d6b734f8c22a0dab86ee6a6f64b8afbe804b214d36db85a2826965edfb3a0b9d546b5
folder=$(dirname "$0")/../target/$axe
if [ ! -f "$folder/axe.min.js" ]; then
  echo "fetching: $axe"
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  curl -fsSL -o "$scratch/$axe.tgz" "https://registry.npmjs.org/axe-core/-/$axe.tgz"
  echo "$axe_sha512  $scratch/$axe.tgz" | sha512sum --check --quiet
  mkdir -p "$folder"
  tar xf "$scratch/$axe.tgz" -C "$folder" --strip-components=1 package/axe.min.js package/LICENSE
fi

# Its judge of user data only. Not installed: what is would take over the next boot of this machine.
folder=$(dirname "$0")/../target/cloud-init
if [ ! -d "$folder/usr" ]; then
  echo "fetching: cloud-init"
  mkdir -p "$folder"
  (cd "$folder" && apt-get download -qq cloud-init && dpkg --extract cloud-init_*.deb .)
fi

bash "$(dirname "$0")/servers.sh" >/dev/null
