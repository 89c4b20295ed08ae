#!/usr/bin/env bash
# Servers that are newer than this Debian's, out of its packages for the next ones, unpacked into a
# folder and not installed: a Prometheus that knows native histograms and remote write 2.0, and a
# VictoriaMetrics that takes zstd. Prints the folder, with `usr/bin` and the libraries they want in it.
set -eu

mirror=http://deb.debian.org/debian
packages=(prometheus victoria-metrics libzstd1)
mkdir -p "$(dirname "$0")/../target"
folder=$(cd "$(dirname "$0")/../target" && pwd)/servers

exec 9>"$folder.lock"
flock 9
if [ ! -x "$folder/usr/bin/victoria-metrics" ]; then
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  mkdir -p "$scratch/lists/partial" "$scratch/cache/archives/partial" "$scratch/root"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror sid main" \
    >"$scratch/sources.list"
  # Nothing of this is seen by the apt of the system, nor does it ask what is installed.
  options=(-qq -o "Dir::Etc::sourcelist=$scratch/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::lists=$scratch/lists" -o "Dir::Cache=$scratch/cache"
    -o Dir::State::status=/dev/null -o APT::Sandbox::User=root)
  apt-get "${options[@]}" update >&2
  (cd "$scratch" && apt-get "${options[@]}" download "${packages[@]}" >&2)
  for package in "$scratch"/*.deb; do
    dpkg --extract "$package" "$scratch/root"
  done
  # Tools beside the servers; only these are run.
  keep=(prometheus victoria-metrics vmagent)
  for file in "$scratch"/root/usr/bin/*; do
    [[ " ${keep[*]} " == *" ${file##*/} "* ]] || rm "$file"
  done
  # Not every server names its version itself.
  (cd "$scratch" && ls -- *.deb) >"$scratch/root/packages"
  rm -rf "$folder" "$scratch/root/usr/share"
  mv "$scratch/root" "$folder"
fi
echo "$folder"
