#!/bin/sh
# What the library shows: headers that stand alone, exactly their calls exported, a versioned soname. Speaks TAP.
#   surface.sh SOURCE_ROOT LIBRARY VERSION CC...
set -u
export LC_ALL=C
source=$1 library=$2 version=$3
shift 3
cc="$*"
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
n=0

try() {
    n=$((n + 1)) name=$1
    shift
    if "$@" >"$work/out" 2>&1; then
        echo "ok $n - $name"
    else
        echo "not ok $n - $name"
        head -n 20 "$work/out" | sed 's/^/# /'
    fi
}

# compile COMPILER... HEADER: the header alone, and twice
compile() {
    for header in "$@"; do :; done
    printf '#include <%s>\n#include <%s>\n' "$header" "$header" >"$work/alone.src"
    set -- "$@" end
    flags=
    while [ "$2" != end ]; do
        flags="$flags $1"
        shift
    done
    # shellcheck disable=SC2086
    $flags -Wall -Wextra -Wpedantic -Wshadow -Werror -I"$source/include" -fsyntax-only "$work/alone.src"
}

declared() { # names behind BK_API in the headers
    python3 -c '
import re, sys
text = "".join(re.sub(r"/\*.*?\*/", "", open(p).read(), flags=re.S) for p in sys.argv[1:])
text = re.sub(r"^\s*#.*$", "", text, flags=re.M)
print("\n".join(sorted(set(re.findall(r"\bBK_API\b[^;(]*?\b(bk_\w+)\s*\(", text)))))' "$source"/include/*.h
}

exported() { nm -D --defined-only "$library" | awk '{ print $3 }' | sed 's/@.*//' | sort -u; }

# An instrumented library also exports what its instruments need.
surface() {
    declared >"$work/declared"
    exported | grep -v -e '^__' -e '^_init$' -e '^_fini$' >"$work/exported"
    [ "$(wc -l <"$work/declared")" -gt 20 ] && diff "$work/declared" "$work/exported"
}

soname() { readelf -d "$library" | grep -F "soname: [libbinkin.so.${version%%.*}]"; }
file_version() { [ "$(basename "$library")" = "libbinkin.so.$version" ]; }

header_version() {
    for part in MAJOR MINOR PATCH; do
        sed -n "s/^#define BK_VERSION_$part  *\([0-9]*\)$/\1/p" "$source/include/binkin.h"
    done | paste -s -d . | grep -qx "$version"
}

for header in binkin.h binkin_error.h binkin_train.h; do
    # shellcheck disable=SC2086
    try "$header alone, as C11" compile $cc -std=c11 -x c $header
    if command -v g++ >/dev/null; then
        try "$header alone, as C++11" compile g++ -std=c++11 -x c++ $header
    fi
done
try "exported is what the headers declare, and nothing else" surface
try "the soname has the major version" soname
try "the file has the whole version" file_version
try "the headers have the version of the build" header_version
echo "1..$n"
