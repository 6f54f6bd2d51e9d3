#!/bin/sh
# The command line over real binaries, made here from the sources of src/base at two levels. Speaks TAP.
#   cli.sh PART BINKIN MAKE_MODEL SOURCE_ROOT CC...    PART: use (of files and a model), learn (data sets, training, judging)
set -u
export LC_ALL=C NO_COLOR=1
unset BINKIN_MODEL
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
. "$(dirname "$0")/../wrapped.sh"
part=$1
shift
binkin=$(wrapped "$1") make_model=$(wrapped "$2") source=$3
shift 3
cc="$*"
# nm, objdump and the like of a cross compiler
tools=$($cc -print-prog-name=objdump)
[ "$tools" = objdump ] || PATH=$(dirname "$tools"):$PATH
# what the binaries made here are, and how a function of theirs begins at -O0
case $($cc -dumpmachine) in
aarch64-*) arch=arm64 word='V_stp_x29,x30,' ;;
*) arch=amd64 word='X_push_rbp$' ;;
esac
cd "$work" || exit 1
n=0

# run ARGS...: binkin with them; $rc, out, err
run() {
    "$binkin" "$@" >out 2>err
    rc=$?
}
has() { grep -q -e "$1" out; }
tells() { grep -q -e "$1" err; }
quiet() { [ ! -s err ]; }
# Every line of stderr names the program; hints how to go on may follow.
lines_clear() { ! grep -v -e '^binkin: ' -e '^Try ' -e '^Usage: ' err >unclear; }
# out: JSON Lines that all say their schema but the last $1
json() { python3 -m json.tool --json-lines out >/dev/null 2>>err && [ "$(grep -c '"schema":1' out)" -eq $(($(wc -l <out) - $1)) ]; }
oracle() { python3 "$source/tests/cli/oracle.py" "$@" >out 2>err; }

# try NAME COMMAND...: one test
try() {
    n=$((n + 1)) name=$1
    shift
    : >out
    : >err
    if "$@"; then
        echo "ok $n - $name"
    else
        echo "not ok $n - $name"
        head -n 5 out err | cut -c 1-300 | sed 's/^/# /'
    fi
}

make_binaries() {
    for level in O0 O2; do
        mkdir -p "objects-$level" || return 1
        for c in "$source"/src/base/*.c; do
            o=objects-$level/$(basename "$c" .c).o
            $cc -w -std=c11 -D_GNU_SOURCE -I"$source/src" -I"$source/include" -fPIC -$level -c "$c" -o "$o" 2>err || return 1
        done
        ar rcs base-$level.a objects-$level/*.o 2>err || return 1
        $cc -shared -o base-$level.so objects-$level/*.o 2>err || return 1
    done
    cat >one.c <<'END'
static __attribute__((noinline)) int helper(int x) { return x > 3 ? x * 5 : x - 1; }
int one(int x) { for (int i = 0; i < x; i++) x += helper(i); return x; }
END
    sed 's/one/two/; s/x > 3/x < 9/' one.c >two.c
    $cc -w -O0 -c one.c 2>err && $cc -w -O0 -c two.c 2>err && ar rcs twice.a one.o two.o 2>err
    cp "$source/tests/fixtures/cli/kin-armhf.o" arm.o
}

# ---- help, version, wrong use ------------------------------------------------

commands="info functions embed compare match dataset train_i2v train_model train_calibrate eval"
words() { echo "$1" | tr _ ' '; }

help_main() { run --help && [ "$rc" = 0 ] && has '^Example:' && quiet && run help && has '^Usage:' && run -h && has '^Usage:'; }
help_lists() { run --help && for c in $commands; do has "^  $(words "$c") " || return 1; done; }
help_of() {
    # shellcheck disable=SC2046
    run $(words "$1") --help && [ "$rc" = 0 ] && quiet && has '^Usage: binkin ' && has '^Options:' && has '^Example:' &&
        cp out first && run help $(words "$1") && cmp -s out first
}
options_in_man() { # of --help in the page, and of the page in --help
    # shellcheck disable=SC2046
    run $(words "$1") --help
    page=$source/man/binkin-$(echo "$1" | sed 's/_.*//').1
    sed -n '/^Options:/,/^Example:/s/^  \(-.,\|   \) --\([a-z-]*\).*/\2/p' out | sort >in_help
    case $1 in
    train_i2v) sed '/^\.Ss Options of train model/,$d' "$page" ;;
    train_model) sed '1,/^\.Ss Options of train model/d; /^\.Ss Options of train calibrate/,$d' "$page" ;;
    train_calibrate) sed '1,/^\.Ss Options of train calibrate/d' "$page" ;;
    *) cat "$page" ;;
    esac | sed -n 's/^\.It .*Fl Fl \([a-z-]*\).*/\1/p' | sort >in_man
    [ -s in_help ] && diff in_help in_man >err
}
man_lint() { # pages that refer to one another need not be installed yet
    command -v mandoc >/dev/null || return 0
    mandoc -Tlint "$source"/man/*.1 | grep -v 'referenced manual not found' >err
    quiet
}
version() { run --version && [ "$rc" = 0 ] && has '^binkin [0-9]*\.[0-9]*\.[0-9]* (.' && cp out first && run version && cmp -s out first; }
wrong() { # TEXT ARGS...: exit 2, TEXT on stderr, nothing on stdout
    text=$1
    shift
    run "$@"
    [ "$rc" = 2 ] && tells "$text" && [ ! -s out ]
}

# ---- info, functions -----------------------------------------------------------

info_archive() { run info base-O0.a && [ "$rc" = 0 ] && quiet && has "archive of $(ar t base-O0.a | wc -l) objects" && has "$arch object" && has ' 0 bad$'; }
info_json() { run info --json base-O0.a base-O0.so && [ "$rc" = 0 ] && json 0 && [ "$(wc -l <out)" -eq $(($(ar t base-O0.a | wc -l) + 1)) ] && has '"kind":"shared"'; }
info_model() { run info random.bkm && [ "$rc" = 0 ] && has 'model mffa' && has "for $arch" && run info --json random.bkm && json 0; }
functions_text() { run functions base-O0.so && [ "$rc" = 0 ] && quiet && has ' symbol  *bk_read_u8$'; }
functions_stripped() { strip -o stripped.so base-O0.so && run functions stripped.so && [ "$rc" = 0 ] && has ' eh_frame  *-$'; }
functions_words() { run functions --words base-O0.so:bk_read_u8 && [ "$rc" = 0 ] && has "^ *0x[0-9a-f]*  $word" && run functions --words --json base-O0.so:bk_read_u8 && json 0; }
several_files() { run functions --json base-O0.so base-O2.so && [ "$rc" = 0 ] && json 0 && has '"file":"base-O0.so"' && has '"file":"base-O2.so"'; }

# ---- FILE:NAME ----------------------------------------------------------------------

address_of() { "$binkin" functions --json "$1" | sed -n 's/.*"addr":"\(0x[0-9a-f]*\)".*/\1/p'; }
by_name() { run functions base-O0.so:bk_read_u16 && [ "$rc" = 0 ] && [ "$(wc -l <out)" = 3 ]; }
by_address() {
    at=$(address_of base-O0.so:bk_read_u16)
    run functions base-O0.so:"$at" && has ' bk_read_u16$' && run functions base-O0.so:"$(printf '0x%x' $((at + 1)))" && has ' bk_read_u16$'
}
by_member() { run functions twice.a:two.o:helper && [ "$rc" = 0 ] && [ "$(grep -c helper out)" = 1 ] && has 'two.o: helper'; }
by_clone() { objcopy --redefine-sym one=one.isra.0 one.o clone.o && run functions clone.o:one && [ "$rc" = 0 ] && has ' one.isra.0$'; }
many_of_a_name() { run functions --json twice.a:helper && [ "$rc" = 0 ] && json 0 && [ "$(wc -l <out)" = 2 ]; }
many_said() { run compare twice.a:helper twice.a:helper && [ "$rc" = 0 ] && tells 'names 2 functions, the first (0x' && has similar; }
whole_path_wins() { cp base-O0.so base-O0.so:bk_read_u16 && run functions base-O0.so:bk_read_u16 && [ "$(wc -l <out)" -gt 20 ]; rm -f base-O0.so:bk_read_u16; [ "$(wc -l <out)" -gt 20 ]; }

# ---- embed, compare, match -------------------------------------------------------------

embed_text() { run embed base-O0.so:bk_read_u8 && [ "$rc" = 0 ] && quiet && [ "$(wc -w <out)" = 202 ]; }
embed_threads() { run embed --json -t 1 base-O0.so && cp out first && run embed --json -t 5 base-O0.so && cmp -s out first; }
compare_same() { run compare base-O0.so:bk_read_u8 base-O0.a:bk_read_u8 && [ "$rc" = 0 ] && quiet && has '  similar (threshold 0.5)'; }
compare_below() { run compare --threshold 1.5 base-O0.so:bk_read_u8 base-O0.so:bk_read_u16; [ "$rc" = 1 ] && quiet && has 'not similar (threshold 1.5)'; }
compare_json() { run compare --json base-O0.so:bk_read_u8 base-O2.so:bk_read_u8; [ "$rc" -lt 2 ] && json 0 && has '"similar":' && has '"probability":null' && has '"expected_false":null'; }
compare_uncalibrated() { run compare base-O0.so:bk_read_u8 base-O0.a:bk_read_u8 && has 'the model is not calibrated for such pairs$'; }
match_self() { # the answer is the function itself, or one of the same words
    run match --truth --min-blocks 1 base-O0.so base-O0.so && [ "$rc" = 0 ] && quiet || return 1
    grep 'wrong$' out >odd
    while read -r addr name _ score _; do
        [ "$score" = 1.0000 ] || { echo "$addr $name $score" >>err; return 1; }
    done <odd
    has 'right$' && [ "$(wc -l <odd)" -le 6 ]
}
match_answers() { run match -k 3 --json base-O0.so:bk_read_u8 base-O2.so && [ "$rc" = 0 ] && json 0 && [ "$(wc -l <out)" = 3 ] && has '"rank":3'; }
match_threshold() { run match --threshold 1.5 base-O0.so base-O2.so && [ "$rc" = 0 ] && has 'answers below 1.5 not shown'; }
match_truth_json() { run match --truth --json base-O0.so base-O2.so && [ "$rc" = 0 ] && json 1 && tail -n 1 out | grep -q '"min_blocks":5}$'; }
match_plain() { run match --json base-O0.so base-O2.so && [ "$rc" = 0 ] && json 0 && ! has right; }
match_same() { # two members alike: neither is the answer
    cp one.o other.o && ar rcs alike.a one.o other.o 2>err && run match --min-blocks 1 --truth one.o alike.a && [ "$rc" = 0 ] && has ' 1 of 2  *-  ' &&
        ! has ' 1\.0000 ' && run match --min-blocks 1 --json one.o alike.a && json 0 && has '"probability":null,"expected_false":null,"same":2,'
}
match_evidence() { # only where neighbours count
    run match base-O0.so base-O2.so && [ "$rc" = 0 ] && has 'SCORE    FALSE    CALLS      ITEMS  ORDER' || return 1
    run match --json base-O0.so base-O2.so && [ "$rc" = 0 ] && json 0 && has '"rank_score":.*"items":[1-9].*"items_shared":[1-9].*"in_order":' || return 1
    for args in "--no-neighbours base-O0.so" base-O0.so:bk_read_u8; do
        run match $args base-O2.so && [ "$rc" = 0 ] && ! has CALLS && run match --json $args base-O2.so && ! has rank_score || return 1
    done
}
match_one_to_one() { # every answer once
    run match --one-to-one --json base-O0.a base-O2.so && [ "$rc" = 0 ] && json 0 || return 1
    sed 's/.*"answer":{[^}]*"addr":\("[^"]*"\).*/\1/' out | sort | uniq -d >twice
    [ ! -s twice ] && [ -s out ]
}
match_names_unseen() { # other names, same answers
    # functions only: a renamed _GLOBAL_OFFSET_TABLE_ would be one more thing to find a place for
    nm -P --defined-only base-O2.a | awk '$2 ~ /^[Tt]$/ { print $1, "zz_" $1 }' | sort -u >renames
    objcopy --redefine-syms=renames base-O2.a renamed.a
    for b in base-O2.a renamed.a; do
        run match -k 2 --json base-O0.a $b && [ "$rc" = 0 ] || return 1
        sed 's/"file":"[^"]*",//g; s/"names":\[[^]]*\]//g' out >"answers-$b"
    done
    cmp answers-base-O2.a answers-renamed.a >err
}
one_core() { # the first that may be used; -t 0 means the cores that may be used
    core=$(taskset -pc $$ | sed 's/.*: //; s/[-,].*//')
    run match -k 3 --json -t 2 base-O0.a base-O2.so && [ "$rc" = 0 ] && cp out first || return 1
    for t in 0 3; do
        taskset -c "$core" "$binkin" match -k 3 --json -t $t base-O0.a base-O2.so >out 2>err && cmp first out >>err || return 1
    done
}
match_empty() { run match --min-blocks 1000000 base-O0.so base-O2.so; [ "$rc" = 2 ] && tells 'no function to match; --min-blocks'; }
environment_missing() { BINKIN_MODEL=/nonexistent "$binkin" embed base-O0.so >out 2>err; [ $? = 2 ] && tells '^binkin: /nonexistent: '; }

# ---- little memory ---------------------------------------------------------------------------

# limited KB ARGS...: the same answer as without a limit, or status 2 and a line that says what there was no memory for
limited() {
    kb=$1
    shift
    (
        # shellcheck disable=SC3045 # those of Debian have it
        ulimit -v "$kb" && exec "$binkin" "$@"
    ) >out 2>err
    rc=$?
    case $rc in
    0) cmp -s out whole || echo "$kb KB: another answer" >>err ;;
    2) lines_clear && tells 'memory' || echo "$kb KB: memory is not named" >>err ;;
    127) [ ! -s out ] && tells 'shared libraries\|shared object' ;; # before main()
    *) false ;;
    esac || { echo "$kb KB: status $rc" >>err; return 1; }
    ! tells ' KB: '
}
little_memory() { # ARGS...
    "$binkin" "$@" >whole 2>err || return 1
    failed=0
    for kb in $(seq 20000 5000 400000); do
        limited "$kb" "$@" || return 1
        [ $rc = 0 ] || failed=$((failed + 1))
    done
    [ $failed -gt 0 ] && [ $rc = 0 ]
}

# ---- bad input ------------------------------------------------------------------------------

one_trouble() { [ "$rc" = 2 ] && [ "$(wc -l <err)" = 1 ] && lines_clear; }
missing_among_many() { run functions base-O0.so missing.so base-O2.so; one_trouble && tells '^binkin: missing.so: ' && has '^base-O0.so' && has '^base-O2.so'; }
truncated() { head -c 5000 base-O0.so >cut.so && run info cut.so base-O0.so; [ "$rc" = 2 ] && lines_clear && tells '^binkin: cut.so: .*at offset 0x' && has '^base-O0.so'; }
not_elf() { echo 'int main;' >text.c && run embed text.c base-O0.so:bk_read_u8; one_trouble && tells '^binkin: text.c: ' && has bk_read_u8; }
empty_file() { : >empty && run info empty; one_trouble && tells '^binkin: empty: '; }
directory() { run info .; one_trouble && tells '^binkin: \.: '; }
strange_name() { run functions "$(printf 'no\033[31m\nsuch')"; one_trouble; }
strange_symbol() { # shown as \x1b; JSON escapes it by itself
    objcopy --redefine-sym one="$(printf 'o\033[31mn')" one.o strange.o && run functions strange.o && [ "$rc" = 0 ] &&
        has 'o.x1b\[31mn$' && ! grep -q "$(printf '\033')" out && run functions --json strange.o && json 0
}
foreign_model() { head -c 4000 base-O0.so >foreign.bkm && run match -m foreign.bkm base-O0.so base-O2.so; one_trouble && tells '^binkin: foreign.bkm: '; }
corrupt_model() { # one byte of its middle
    cp random.bkm corrupt.bkm && printf '\377\376' | dd of=corrupt.bkm bs=1 seek=100000 conv=notrunc 2>/dev/null
    run embed -m corrupt.bkm base-O0.so
    one_trouble && tells '^binkin: corrupt.bkm: '
}
cut_model() { head -c 100000 random.bkm >cut.bkm && run embed -m cut.bkm base-O0.so; one_trouble && tells '^binkin: cut.bkm: '; }
untrained_arch() { run embed arm.o base-O0.so:bk_read_u8; one_trouble && tells "^binkin: arm.o: .*armhf.*$arch" && has bk_read_u8; }
untrained_match() { run match arm.o base-O0.so; one_trouble && tells "^binkin: arm.o: .*armhf.*$arch"; }
untrained_functions() { run functions --json arm.o && [ "$rc" = 0 ] && json 0 && has '"arch":"armhf"' && has '"find"'; }
no_function() { run functions base-O0.so:nothing_of_the_name; one_trouble && tells 'no function nothing_of_the_name'; }
no_address() { run functions base-O0.so:0xffffffffffffff; one_trouble && tells 'no function at 0xffffffffffffff'; }
full_disk() { [ -c /dev/full ] || return 0; "$binkin" functions base-O0.so >/dev/full 2>err; [ $? = 2 ] && tells 'standard output'; }

# ---- dataset, train, eval ---------------------------------------------------------------------

layout() {
    for level in O0 O2; do
        mkdir -p "data/binkin-0.1/$arch-gcc-12-$level" && cp base-$level.a "data/binkin-0.1/$arch-gcc-12-$level/libbase.a"
        printf "data/binkin-0.1/$arch-gcc-12-%s/libbase.a\tbinkin\t0.1\tgcc-12\t%s\n" $level $level
    done >table.tsv
    echo hello >data/README
}
dataset_layout() { layout && run dataset -o layout.data data && [ "$rc" = 0 ] && has '  files  *2$' && [ "$(cat err)" = "1 files outside PROJECT-VERSION/ARCH-COMPILER-VERSION-LEVEL/ were left out" ]; }
dataset_manifest() { run dataset --json -o table.data --manifest table.tsv && [ "$rc" = 0 ] && quiet && json 0 && cmp layout.data table.data >err; }
dataset_labels_count() { sed 's/gcc-12/gcc-13/2' table.tsv >other.tsv && run dataset -o other.data --manifest other.tsv && [ "$rc" = 0 ] && ! cmp -s layout.data other.data; }
dataset_options() { run dataset -o o.data --project binkin base-O0.a && [ "$rc" = 0 ] && has '  files  *1$'; }
dataset_inside() { (cd data/binkin-0.1 && "$binkin" dataset -o ../../inside.data $arch-gcc-12-O0 $arch-gcc-12-O2 >../../out 2>../../err) && run info inside.data && has 'functions kept'; }
dataset_unlabelled() { run dataset -o no.data base-O0.a; [ "$rc" = 2 ] && tells '^binkin: base-O0.a: .*--project' && [ ! -e no.data ]; }
dataset_bad_file() { echo 'int x;' >data/binkin-0.1/$arch-gcc-12-O0/text.c && run dataset -o bad.data data; rm data/binkin-0.1/$arch-gcc-12-O0/text.c; [ "$rc" = 2 ] && tells '^binkin: .*/text.c: ' && has 'labels say  *1$'; }
dataset_bad_table() { printf 'a\tb\n' >bad.tsv && run dataset -o no.data --manifest bad.tsv; [ "$rc" = 2 ] && tells '^binkin: bad.tsv: line 1: ' && [ ! -e no.data ]; }
# header TAB rows: the same files with the columns that the first line names
columns() {
    printf '#level\tsha256\tfile\tpath\tarch\tproject\tversion\tcompiler\n'
    for level in O0 O2; do
        path=data/binkin-0.1/$arch-gcc-12-$level/libbase.a
        printf '%s\t%s\tlibbase.a\t%s\t%s\tbinkin\t0.1\tgcc-12\n' $level "$(sha256sum <$path | cut -d' ' -f1)" $path "$arch"
    done
}
dataset_columns() { columns >columns.tsv && run dataset -o columns.data --manifest columns.tsv && [ "$rc" = 0 ] && quiet && cmp layout.data columns.data >err; }
# refused, counted, and the rest is written
dataset_refused() { run dataset -o refused.data --manifest refused.tsv; [ "$rc" = 2 ] && has '  files  *2$' && has 'labels say  *1$' && tells "$1" && tells '^1 of 2 files are not in refused.data$' && run info refused.data && has 'labels say  *1$'; }
dataset_wrong_arch() { columns | sed "2s/\t$arch\t/\tmips64el\t/" >refused.tsv && dataset_refused 'libbase.a(.*): little-endian code for .*mips64el'; }
dataset_wrong_sum() { columns | sed '3s/\t[0-9a-f]\{60\}/\t012301230123012301230123012301230123012301230123012301230123/' >refused.tsv && dataset_refused 'libbase.a: its SHA-256 is'; }
dataset_missing() { columns | sed '3s/libbase.a\t'"$arch"'/nothing.a\t'"$arch"'/' >refused.tsv && dataset_refused 'nothing.a: '; }
dataset_wrong_folder() { mkdir -p wrong/binkin-0.1/mips-gcc-12-O0 && cp base-O0.a wrong/binkin-0.1/mips-gcc-12-O0 && run dataset -o wrong.data wrong data; [ "$rc" = 2 ] && has '  files  *3$' && has 'labels say  *1$' && tells 'its label says mips$'; }
dataset_info() { run info layout.data && [ "$rc" = 0 ] && quiet && has '^  architecture ' && has "^    $arch  " && has '^    gcc-12 ' && has '^    O2 ' && has '^    binkin ' && has 'functions with immediates  *[1-9]' && has 'forms of instructions  *[1-9]' && has 'edges between basic blocks  *[1-9]' && has 'distinct items  *[1-9]' && has 'functions with items  *[1-9]' && has 'source file is known  *[1-9]' && run info --json layout.data && json 0 && has '"by_level":\[{"value":"O0",'; }
dataset_by_file() { run train i2v -o f.words --min-count 1 --epochs 1 --split file --parts 1:1:1 layout.data && [ "$rc" = 0 ] && run eval --baseline counts --pool 5 --split file --parts 1:1:1 layout.data && [ "$rc" = 0 ]; }
train_words() { run train i2v -o t.words --min-count 1 --epochs 1 layout.data && [ "$rc" = 0 ] && quiet && has 'word vectors'; }
train_words_json() { run train i2v --json -o t2.words --min-count 1 --epochs 1 -t 3 layout.data && json 0 && cmp t.words t2.words >err; }
insns=40
[ -z "${MESON_EXE_WRAPPER-}" ] || insns=15 # emulated: the same steps over shorter functions
model_args="--words t.words --epochs 4 --batch 50 --max-insns $insns --pairs 100 layout.data"
# shellcheck disable=SC2086
train_model() { run train model -o whole.bkm $model_args && [ "$rc" = 0 ] && [ "$(grep -c '^epoch ' err)" = 4 ] && has 'validation AUC' && [ -e whole.bkm ]; }
# shellcheck disable=SC2086
train_json() { run train model --json -o j.bkm -t 3 $model_args && json 0 && [ "$(wc -l <out)" = 4 ] && cmp whole.bkm j.bkm >>err; }
# shellcheck disable=SC2086
train_switches() { run train model --json --vectors random --compat safe --no-penalty -o s.bkm $model_args && json 0 && grep -q '"seconds_total"' out && run info s.bkm && has '"compat": "safe"' && has '"vectors": "random"' && has '"penalty": false'; }
train_bad_switch() { run train model --compat gemini -o no.bkm --words t.words layout.data; one_trouble && tells 'compat "gemini"' && [ ! -e no.bkm ]; }
# shellcheck disable=SC2086
train_interrupted() { oracle interrupt stopped.bkm stopped.bkm.ckpt "$binkin" train model -o stopped.bkm ${model_args#--words t.words --epochs 4} --words t.words --epochs 4; }
# shellcheck disable=SC2086
train_resumed() { run train model --resume -o stopped.bkm $model_args && [ "$rc" = 0 ] && cmp whole.bkm stopped.bkm >err; }
train_foreign() { run train model -o f.bkm --words base-O0.so layout.data; one_trouble && tells '^binkin: base-O0.so: ' && [ ! -e f.bkm ]; }
train_half() { # shellcheck disable=SC2086
    run train model --half -o half.bkm $model_args && [ "$rc" = 0 ] && [ "$(wc -c <half.bkm)" -lt $(($(wc -c <whole.bkm) * 6 / 10)) ]; }
calibrate() { run train calibrate -m whole.bkm -o cal.bkm --parts 1:8:1 layout.data && [ "$rc" = 0 ] && quiet && has '^cal.bkm: calibrated on ' && has ' left out$' && run info cal.bkm && has 'calibrated: it says' && run info whole.bkm && has 'not calibrated'; }
calibrate_json() { run train calibrate --json -t 3 -m whole.bkm -o cal3.bkm --parts 1:8:1 layout.data && json 0 && has '"fitted":true' && cmp cal.bkm cal3.bkm >err; }
calibrate_in_place() { cp whole.bkm place.bkm && run train calibrate -m place.bkm --parts 1:8:1 layout.data && cmp cal.bkm place.bkm >err; }
calibrate_judged() {
    run train calibrate --judge --json -m cal.bkm --parts 1:1:8 --pool 20 --queries 50 --plot reliable layout.data && json 0 && has '"queries":50,' && has '"ece":' && [ -s reliable/reliability.svg ] && [ -s reliable/reliability.png ] &&
        run train calibrate --judge -m cal.bkm --parts 1:1:8 --pool 20 --queries 50 layout.data && has '; ECE 0' && has 'observed '
}
calibrate_judge_none() { run train calibrate --judge -m whole.bkm --pool 20 layout.data; one_trouble && tells '^binkin: whole.bkm: the model has no calibration'; }
compare_calibrated() {
    run compare -m cal.bkm --pool 50 --threshold -1 base-O0.so:bk_pack_open base-O2.so:bk_pack_open && [ "$rc" = 0 ] && has 'probability [0-9].* where one of 50 candidates is right; ' &&
        run compare -m cal.bkm --json --threshold -1 base-O0.so:bk_pack_open base-O2.so:bk_pack_open && json 0 && has '"probability":[01]' && has '"expected_false":[0-9]' && has "\"pool\":$("$binkin" functions --json base-O2.so | wc -l),"
}
eval_model() { run eval -m whole.bkm --pool 5 layout.data && [ "$rc" = 0 ] && has '^  whole.bkm  *0\.[0-9]* (0\.[0-9]*-[01]\.[0-9]*)' && has '^  @5 '; }
eval_json() { run eval --json -m whole.bkm --pool 5 --pool 10 layout.data && json 0 && has '"pool":10'; }
# A record for each axis and subject; what cannot be judged is named.
eval_axes() {
    run eval --json -m whole.bkm --baseline counts --baseline minhash --axis XO --axis XA --pool 5 --pool 10000 layout.data && json 0 &&
        [ "$(wc -l <out)" = 6 ] && [ "$(grep -c '"axis":"XO".*"skipped_pools":\[{"pool":10000,' out)" = 3 ] &&
        [ "$(grep -c '"axis":"XA".*"skipped":"no pair"' out)" = 3 ]
}
eval_skips() { run eval --baseline counts --axis XO --axis XA --pool 10000 layout.data && [ "$rc" = 0 ] && has '^XA: skipped: no pair among ' && has '^  XO @10,000: skipped: [0-9]* candidates$'; }
eval_nothing() { run eval --baseline counts --axis XA layout.data; one_trouble && tells 'has a right answer on any axis'; }
eval_baselines() {
    run eval --baseline counts --baseline tfidf-words --baseline tfidf-opcodes --baseline tfidf-immediates --baseline tfidf --baseline minhash --min-blocks 2 --identical opcodes --unseen --pool 5 layout.data
    [ "$rc" = 0 ] && has ' of 2 basic blocks or more.* seen in training left out; matches of identical opcodes not drawn' && ! has 'default'
}
eval_trial() { # asked again, it gives the same but for the time it took
    run eval --json --baseline counts --axis XO --axis XM --seed 3 --pool 5 --write-trial t.jsonl layout.data && json 0 && cp out first &&
        run eval --json --baseline counts --trial t.jsonl --pool 5 layout.data && json 0 &&
        sed 's/"seconds_embedding.*_per_second":[^,]*,//' first >a && sed 's/"seconds_embedding.*_per_second":[^,]*,//' out >b && cmp a b >>err && [ -s a ]
}
eval_trial_twice() { wrong 'says axes, queries' eval --trial t.jsonl --axis XO layout.data; }
eval_trial_broken() { sed 2d t.jsonl >cut.jsonl && run eval --baseline counts --trial cut.jsonl layout.data; one_trouble && tells '^binkin: cut.jsonl: .* lines of axis XO'; }
eval_other_split() {
    run train i2v -o o.words --min-count 1 --epochs 1 --parts 6:2:2 layout.data && run train model -o other.bkm --words o.words --epochs 1 --max-insns 15 --pairs 50 --parts 6:2:2 layout.data &&
        run eval -m whole.bkm -m other.bkm layout.data; one_trouble && tells 'other.bkm was trained under another split than whole.bkm' &&
        run eval -m whole.bkm -m other.bkm --parts 8:1:1 --pool 5 layout.data && [ "$rc" = 0 ] && tells '^other.bkm was .*may have seen' && ! tells 'whole.bkm was'
}
eval_plot() { # without gnuplot: its package is named
    run eval -m whole.bkm --baseline counts --axis XO --axis XM --pool 5 --plot plots layout.data
    if command -v gnuplot >/dev/null; then
        [ "$rc" = 0 ] && quiet && for picture in XO XM loss; do
            grep -q '</svg>' plots/$picture.svg && [ "$(head -c 4 plots/$picture.png | tail -c 3)" = PNG ] || return 1
        done && grep -q 'whole.bkm' plots/loss.svg && grep -q 'counts' plots/XO.svg
    else
        one_trouble && tells 'gnuplot-nox'
    fi
}
eval_plot_broken() {
    mkdir -p fake && printf '#!/bin/sh\necho "line 0: out of ink" >&2\nexit 1\n' >fake/gnuplot && chmod +x fake/gnuplot
    PATH=$work/fake:$PATH run eval --baseline counts --plot plots layout.data
    one_trouble && tells '^binkin: --plot: gnuplot failed: line 0: out of ink$'
}
eval_plot_missing() { PATH=$work/nowhere run eval --baseline counts --plot plots layout.data; one_trouble && tells 'gnuplot-nox'; }
eval_foreign() { run eval -m whole.bkm base-O0.so; one_trouble && tells '^binkin: base-O0.so: '; }
calibrated_matches() {
    run match --json -m cal.bkm base-O0.so base-O2.so && [ "$rc" = 0 ] && has '"probability":[0-9]' && has '"expected_false":[0-9]' &&
        run match -m cal.bkm base-O0.so base-O2.so && [ "$rc" = 0 ] && grep -q '  0\.[0-9]*  *[0-9][0-9.e+-]*  *[0-9]*/' out
}
trained_matches() { run match --truth -m whole.bkm base-O0.so base-O2.so && [ "$rc" = 0 ] && has 'right at rank 1'; }

# ---- a graph model: of the same and of one source for four processors ----------------------------------

samples() { # what else is in its data set
    cat table.tsv
    for a in amd64 i386 arm64 armhf; do printf '%s\tsample\t1\tgcc-12\tO2\n' "$source/tests/fixtures/items/sample.$a.o"; done
}
graph_args="--kind graph --min-forms 2 --sketch 64 --variants 2 --batch 32 --epochs 3 kin.data"
# shellcheck disable=SC2086
graph_train() { samples >kin.tsv && run dataset -o kin.data --manifest kin.tsv && run train model --json -o graph.bkm $graph_args && json 0 && [ "$(wc -l <out)" = 3 ] && [ -e graph.bkm ]; }
# shellcheck disable=SC2086
graph_words() { wrong 'word vectors for a model without a sequence' train model -o no.bkm --words t.words $graph_args && [ ! -e no.bkm ]; }
fused_no_words() { wrong 'kind fused needs word vectors' train model -o no.bkm --kind fused kin.data && [ ! -e no.bkm ]; }
graph_branches() { wrong 'branches "graph,words" are not some of those of kind graph' train model -o no.bkm --kind graph --branches graph,words kin.data && [ ! -e no.bkm ]; }
graph_info() {
    run info graph.bkm && [ "$rc" = 0 ] && quiet && has '^  model graph of graph,sketch, for .*arm64' && has '[1-9][0-9]* forms, [1-9][0-9]* items of known rarity' && ! has 'fusion' && ! has ' words' && ! has '"aff"' &&
        run info --json graph.bkm && json 0 && has '"branches":"graph,sketch"' && has '"forms":[1-9]' && has '"items":[1-9]' && ! has '"words"' && ! has '"aff"'
}
graph_info_others() { run info whole.bkm && has '^  model mffa, fusion none+norm, for ' && has ' words by the rules safe/1, the first ' && ! has ' forms' && run info --json whole.bkm && has '"branches":"sequence"' && ! has '"items"'; }
graph_embed() { # a function of each processor, and the same bytes for any number of threads
    for a in i386 arm64; do
        run embed --json -m graph.bkm "$source/tests/fixtures/items/sample.$a.o" && json 0 && [ "$(wc -l <out)" -gt 5 ] || return 1
    done
    run embed -t 1 -m graph.bkm base-O0.so && cp out one && run embed -t 3 -m graph.bkm base-O0.so && cmp one out >>err
}
graph_match() {
    run match --truth -m graph.bkm base-O0.so base-O2.so && [ "$rc" = 0 ] && has 'right at rank 1' &&
        run match --truth -m graph.bkm "$source/tests/fixtures/items/sample.i386.o" "$source/tests/fixtures/items/sample.arm64.o" && [ "$rc" = 0 ] && has 'right at rank 1'
}
graph_compare() { run compare -m graph.bkm base-O0.so:bk_read_u8 base-O0.so:bk_read_u8 && [ "$rc" = 0 ] && has '1\.0*'; }
graph_untrained() { run embed -m graph.bkm "$source/tests/fixtures/items/sample.mips64.so"; one_trouble && tells '^binkin: .*mips64'; }
graph_eval() { run eval --json -m graph.bkm --pool 5 kin.data && json 0 && has '"pool":5'; }

# ---- the tests, in order --------------------------------------------------------------------------

try "binaries are made" make_binaries
try "a random model is made of their words" "$make_model" random.bkm base-O0.so base-O2.so twice.a
export BINKIN_MODEL="$work/random.bkm"

if [ "$part" = use ]; then
    try "--help of the program" help_main
    try "--help lists every command" help_lists
    for c in $commands; do
        try "$(words "$c"): --help has usage, options and an example; help says the same" help_of "$c"
        try "$(words "$c"): options of --help are those of the man page" options_in_man "$c"
        # shellcheck disable=SC2046
        try "$(words "$c"): an unknown option is refused with a hint" wrong "^Try 'binkin $(words "$c") --help'" $(words "$c") --no-such-thing
    done
    try "man pages are clean" man_lint
    try "version" version
    try "no command" wrong 'no command'
    try "unknown command" wrong "unknown command 'mtach'" mtach
    try "train alone lists its commands" wrong 'train model' train
    try "a mistyped option is guessed" wrong 'did you mean --min-blocks' match --min-bloks 3 a b
    try "a value that is no number" wrong 'expected a whole number' match -k x a b
    try "a negative number" wrong 'expected a whole number' match -k -3 a b
    try "a number too large" wrong 'expected a whole number' match --threads 99999999999 a b
    try "a value where none belongs" wrong 'takes no value' match --truth=1 a b
    try "a missing value" wrong 'needs a value' match base-O0.so base-O2.so -k
    try "too few operands" wrong 'an operand is missing' match base-O0.so
    try "too many operands" wrong '3 operands are too many' match a b c
    try "bad parts" wrong 'for example 8:1:1' eval --parts 8:1 x
    try "bad split" wrong 'function, source, file or project' eval --split folder x
    try "bad axis" wrong 'there is XO, XC' eval --axis XY x
    try "bad baseline" wrong 'there is counts' eval --baseline safe x
    try "bad filter" wrong 'there is keep, words' eval --identical all x
    try "no output named" wrong 'dataset: -o FILE' dataset base-O0.a

    try "info: an archive" info_archive
    try "info: JSON" info_json
    try "info: a model" info_model
    try "functions: text" functions_text
    try "functions: addresses, sizes and names are those of nm" oracle nm "$binkin" base-O2.so
    try "functions: instructions are those of objdump" oracle insns "$binkin" base-O2.so bk_pack_commit
    try "functions: a stripped file" functions_stripped
    try "functions: --words" functions_words
    try "functions: several files, JSON" several_files
    try "FILE:NAME" by_name
    try "FILE:0xADDRESS, also inside a function" by_address
    try "FILE:MEMBER:NAME" by_member
    try "FILE:NAME finds a compiler's clone" by_clone
    try "several functions of a name are all listed" many_of_a_name
    try "several functions of a name: compare says which it takes" many_said
    try "a path that exists as a whole wins" whole_path_wins

    try "embed: text" embed_text
    try "embed: the number of threads changes nothing" embed_threads
    try "embed: a NumPy file" oracle npy "$binkin" base-O0.so
    try "compare: the same function" compare_same
    try "compare: below the threshold exits 1" compare_below
    try "compare: JSON" compare_json
    try "compare: what the score is worth is not known" compare_uncalibrated
    try "compare: the score is the inner product of the vectors" oracle compare "$binkin" base-O0.so bk_read_u8 bk_pack_open
    try "compare: whole files are sent to match" wrong 'binkin match' compare base-O0.so base-O2.so
    try "match: a file against itself" match_self
    try "match: -k" match_answers
    try "match: --threshold" match_threshold
    try "match: --truth --json closes with its object" match_truth_json
    try "match: figures of --truth worked out from the vectors" oracle truth "$binkin" base-O0.so base-O2.so 5
    try "match: the same with every function" oracle truth "$binkin" base-O0.a base-O2.so 1
    try "match: without --truth no verdict" match_plain
    try "match: what each row rests on" match_evidence
    for file in base-O0.so base-O2.so base-O0.a base-O2.a; do
        try "match: callers and callees by objdump, $file" oracle neighbours "$binkin" $file
    done
    try "match: answers that nothing tells apart" match_same
    try "match: --one-to-one" match_one_to_one
    try "match: --one-to-one has one answer" wrong 'one to one is one answer, not 3' match --one-to-one -k 3 base-O0.so base-O2.so
    try "match: names are not looked at" match_names_unseen
    try "match: the same bytes on one core" one_core
    try "match: nothing left to match" match_empty
    try "\$BINKIN_MODEL is used, and missed" environment_missing

    if [ -n "${CLI_LITTLE_MEMORY-}" ] && [ -z "${MESON_EXE_WRAPPER-}" ]; then
        for threads in 1 2 40; do
            try "little memory: match, threads $threads" little_memory match -t $threads base-O0.a base-O2.a
        done
        try "little memory: embed" little_memory embed -t 3 base-O0.so
    fi

    try "a missing file among many" missing_among_many
    try "a truncated ELF" truncated
    try "not an ELF" not_elf
    try "an empty file" empty_file
    try "a directory" directory
    try "control characters of a name stay off the terminal" strange_name
    try "control characters of a symbol stay off the terminal" strange_symbol
    try "a foreign model" foreign_model
    try "a corrupted model" corrupt_model
    try "a cut model" cut_model
    try "embed: an architecture the model was not trained for" untrained_arch
    try "match: an architecture the model was not trained for" untrained_match
    try "functions: needs no model for any architecture" untrained_functions
    try "no function of the name" no_function
    try "no function at the address" no_address
    try "a full disk is told" full_disk
else
    try "dataset: labels from the layout" dataset_layout
    try "dataset: a table says the same" dataset_manifest
    try "dataset: ... and one with named columns" dataset_columns
    try "dataset: a label of another architecture" dataset_wrong_arch
    try "dataset: ... in the layout" dataset_wrong_folder
    try "dataset: another SHA-256" dataset_wrong_sum
    try "dataset: a table with a missing file" dataset_missing
    try "dataset: what is in it, by label" dataset_info
    try "dataset: divided by source file" dataset_by_file
    try "dataset: labels are part of the file" dataset_labels_count
    try "dataset: labels from options" dataset_options
    try "dataset: labels from where the directory really is" dataset_inside
    try "dataset: a file without labels" dataset_unlabelled
    try "dataset: a bad file among good ones" dataset_bad_file
    try "dataset: a bad table" dataset_bad_table
    try "train i2v" train_words
    try "train i2v: the number of threads changes nothing; JSON" train_words_json
    try "train model: a line an epoch" train_model
    try "train model: the number of threads changes nothing; JSON" train_json
    try "train model: the switches of the paper's ablations" train_switches
    try "train model: an unknown program to be like" train_bad_switch
    try "train model: SIGINT leaves the checkpoint" train_interrupted
    try "train model: --resume ends at the same bytes" train_resumed
    try "train model: foreign word vectors" train_foreign
    try "train model: --half" train_half
    try "train calibrate: a table, and a model that knows it" calibrate
    try "train calibrate: the number of threads changes nothing; JSON" calibrate_json
    try "train calibrate: the model's own file" calibrate_in_place
    try "train calibrate: judged, with its diagram" calibrate_judged
    try "train calibrate: nothing to judge" calibrate_judge_none
    try "train calibrate: --judge writes nothing" wrong 'writes no model' train calibrate --judge -o x.bkm -m cal.bkm layout.data
    try "compare: probability and expected false matches" compare_calibrated
    try "eval" eval_model
    try "eval: JSON" eval_json
    try "eval: axes, and what is skipped, in JSON" eval_axes
    try "eval: what is skipped is named" eval_skips
    try "eval: nothing to judge" eval_nothing
    try "eval: baselines and filters" eval_baselines
    try "eval: a trial asked again" eval_trial
    try "eval: a trial and what it says already" eval_trial_twice
    try "eval: a trial without one of its lines" eval_trial_broken
    try "eval: models of two splits" eval_other_split
    try "eval: pictures" eval_plot
    try "eval: gnuplot fails" eval_plot_broken
    [ -n "${MESON_EXE_WRAPPER-}" ] || try "eval: no gnuplot" eval_plot_missing
    try "eval: not a data set" eval_foreign
    try "match with the trained model" trained_matches
    try "match: what scores are worth" calibrated_matches
    try "train model: kind graph" graph_train
    try "train model: kind graph looks at no words" graph_words
    try "train model: kind fused looks at words" fused_no_words
    try "train model: branches" graph_branches
    try "info: a graph model" graph_info
    try "info: a model of words" graph_info_others
    try "embed with a graph model: several processors, any number of threads" graph_embed
    try "match with a graph model" graph_match
    try "compare with a graph model" graph_compare
    try "embed with a graph model: an architecture it was not trained for" graph_untrained
    try "eval: a graph model" graph_eval
fi
echo "1..$n"
