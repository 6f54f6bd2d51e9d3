#!/bin/sh
# The examples run, and say what is so. Speaks TAP.
#   examples.sh OBJECT MODEL WALK EMBED MATCH
set -u
export LC_ALL=C
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
. "$(dirname "$0")/../wrapped.sh"
object=$1 walk=$(wrapped "$3") embed=$(wrapped "$4") match=$(wrapped "$5")
export BINKIN_MODEL="$2"
n=0

# try NAME EXPECTED COMMAND...: exit 0, and each line of EXPECTED (a basic regular expression) in what it prints
try() {
    n=$((n + 1)) name=$1 expected=$2
    shift 2
    if out=$("$@" 2>&1) && echo "$out" | grep -q -x -e "$expected"; then
        echo "ok $n - $name"
    else
        echo "not ok $n - $name"
        echo "$out" | sed 's/^/# /'
    fi
}
refuse() { ! "$@"; }

# Sizes are those that nm -S tells: 34 and 46 bytes.
try "walk lists the functions" '0x100000 34 bytes, [0-9]* blocks, [0-9]* instructions: collatz' "$walk" "$object"
try "walk prints words" '  block 0  0x1000[0-9a-f]*  A_.*' "$walk" "$object" find
try "walk says what is not there" 'walk: .*: no function nothing' refuse "$walk" "$object" nothing
try "embed: a function and itself" '200 numbers each, score 1.0000' "$embed" "$object" find find
try "match: a file and itself" 'find	1.0000	find' "$match" "$object" "$object"
try "match says what is missing" 'match: /nonexistent: .*' refuse "$match" "$object" /nonexistent
echo "1..$n"
