#!/usr/bin/env bash
# Counts the instructions and the allocations of each stage of a scrape, and fails where one takes more
# than bounds.tsv says. Counts are the same on a busy machine, times are not. What is counted is the
# difference between two runs of different length, so that making the data does not count.
#
#   UPDATE=1   writes what was counted into bounds.tsv
#   ONLY=NAME  that stage alone, shown and not judged
set -eu
cd "$(dirname "$0")/../.."
bounds=benches/stages/bounds.tsv
# More than this beside the bound is a regression; so much less, and the bound is out of date.
tolerance_percent=5
few=2
many=10

# The dependencies are those of every debug build; ours is optimised as in a release, as far as this
# program uses it: half a minute instead of many.
program=$(cargo rustc --quiet --message-format=json --bench stages -- -C opt-level=3 -C codegen-units=1 |
  jq -r 'select(.reason == "compiler-artifact" and .target.name == "stages") | .executable')
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Instructions, then allocations, of so many rounds.
counted() {
  local out="$scratch/$1.$2"
  valgrind --quiet --tool=callgrind --compress-strings=no --callgrind-out-file="$out" "$program" count "$1" "$2"
  awk -v FS='[=: ]+' '
    $1 == "summary" || $1 == "totals" { instructions = $2 }
    $1 == "cfn" { counts = $2 ~ /^(malloc|calloc|realloc|memalign|posix_memalign|aligned_alloc)$/ }
    $1 == "calls" && counts { allocations += $2 }
    END { printf "%.0f %.0f\n", instructions, allocations }' "$out"
}

# A line of the table for the stage $1 of $2 samples.
row() {
  local few_instructions few_allocations many_instructions many_allocations
  read -r few_instructions few_allocations < <(counted "$1" "$few")
  read -r many_instructions many_allocations < <(counted "$1" "$many")
  awk -v name="$1" -v samples="$2" -v rounds=$((many - few)) \
    -v instructions=$((many_instructions - few_instructions)) \
    -v allocations=$((many_allocations - few_allocations)) 'BEGIN {
      printf "%s\t%d\t%.1f\t%.1f\n", name, samples, instructions / rounds / samples, allocations / rounds }'
}

"$program" list | grep -E "^${ONLY:-.*} " >"$scratch/stages"
export -f row counted
export program scratch few many
# shellcheck disable=SC2016 # It is expanded by that shell.
xargs --arg-file="$scratch/stages" --max-lines=1 --max-procs="$(nproc)" bash -c 'row "$@" >"$scratch/row.$1"' row
while read -r name _; do cat "$scratch/row.$name"; done <"$scratch/stages" >"$scratch/table"

if [ -n "${UPDATE:-}" ]; then
  { sed '/^[^#]/d' "$bounds" && cat "$scratch/table"; } >"$scratch/bounds"
  cp "$scratch/bounds" "$bounds"
fi
awk -v FS='\t' -v tolerance="$tolerance_percent" -v judges="${ONLY:+no}" '
  BEGIN { printf "%-22s %8s %22s %22s\n", "stage", "samples", "instructions a sample", "allocations a round" }
  /^#/ { next }
  FNR == NR { instructions[$1] = $3; allocations[$1] = $4; next }
  {
    said = ""
    if (judges != "no") {
      if (!($1 in instructions)) said = "has no bound"
      else if ($3 > instructions[$1] * (1 + tolerance / 100)) said = "over " instructions[$1]
      else if ($4 > allocations[$1] + 0.5) said = "allocates more than " allocations[$1]
      else if ($3 < instructions[$1] * (1 - tolerance / 100)) note = 1
      if (said != "") failed = 1
    }
    printf "%-22s %8d %22.1f %22.1f  %s\n", $1, $2, $3, $4, said
    samples_of[$1] = $2
    allocations_of[$1] = $4
  }
  END {
    # Whatever the table says: nothing is allocated for each sample, but buffers for hundreds.
    grown = allocations_of["scrape-10000"] - allocations_of["scrape-100"]
    if (judges != "no" && grown > (samples_of["scrape-10000"] - samples_of["scrape-100"]) / 100) {
      print "known series allocate: " grown " more for 10,000 than for 100"
      failed = 1
    }
    if (note) print "faster than its bound by more than " tolerance " %: UPDATE=1 bash benches/stages/count.sh"
    exit failed
  }' "$bounds" "$scratch/table"
