#!/usr/bin/env bash
# Makes the Debian root that the hosts of the fleet test are laid over, and prints its path. What a
# plain VM has, an exporter, and Avahi, which one of them runs; nothing of Starling's. It is made anew
# when this file changes.
set -eu

suite=bookworm
packages=(systemd systemd-sysv dbus iproute2 ca-certificates curl procps
  prometheus-node-exporter avahi-daemon avahi-utils libfaketime)
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$here/../../target/appliance"
folder=$(cd "$here/../../target/appliance" && pwd)
root=$folder/root-$(sha256sum "$here/root.sh" | cut -c1-12)

exec 9>"$folder/root.lock"
flock 9
if [ ! -d "$root" ]; then
  rm -rf "$folder"/root-*
  scratch=$root.new
  # dbus and networkd run on every VM; Avahi is started where it is wanted. Each host gets a machine
  # id of its own at its first start.
  mmdebstrap --quiet --variant=minbase --include="$(IFS=,; echo "${packages[*]}")" \
    --customize-hook='systemctl --root "$1" enable systemd-networkd.service' \
    --customize-hook='systemctl --root "$1" disable avahi-daemon.service avahi-daemon.socket' \
    --customize-hook='mkdir -p "$1/var/log/journal" && : >"$1/etc/machine-id"' \
    "$suite" "$scratch" >&2
  mv "$scratch" "$root"
fi
echo "$root"
