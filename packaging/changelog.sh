#!/usr/bin/env bash
# CHANGELOG.md's newest version as a Debian changelog. Argument: the version of the package.
set -euo pipefail
version=$1
maintainer=$(sed -n 's/^maintainer = "\(.*\)"$/\1/p' Cargo.toml)

# The paragraphs below the first `## `, each as one point of the list, folded for 79 columns.
points() {
  awk '/^## / { n++; next } n == 1' CHANGELOG.md |
    awk -v RS= '{ gsub(/\n/, " "); gsub(/[`*]/, ""); print }' |
    while read -r paragraph; do
      fold -s -w 74 <<<"$paragraph" | sed -e "1s/^/$1/" -e "2,\$s/^/$2/" -e 's/ *$//'
    done
}

echo "starling ($version-1) stable; urgency=medium"
echo
points '  * ' '    '
echo
echo " -- $maintainer  $(date -u -R -d "@$SOURCE_DATE_EPOCH")"
