/* What a decoder remembers of instructions never shows: with and without it, bodies are the same. */
#include "fixture.h"

#include "code/code_int.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BASE UINT64_C(0x10000)

static void check_operands(const struct bk_insn *a, const struct bk_insn *b)
{
    assert_int_equal(a->n_operands, b->n_operands);
    for (size_t k = 0; k < a->n_operands; k++) {
        const struct bk_operand *x = &a->operands[k], *y = &b->operands[k];
        if (x->kind != y->kind || x->value != y->value || x->scale != y->scale || x->reg != y->reg ||
            x->size != y->size || x->index != y->index || memcmp(&x->fp, &y->fp, sizeof x->fp) != 0)
            fail_msg("operand %zu of %s at 0x%llx: %lld, not %lld", k, b->mnemonic, (unsigned long long)b->addr,
                     (long long)x->value, (long long)y->value);
    }
}

static void check_same(const struct bk_body *a, const struct bk_body *b)
{
    for (size_t i = 0; i < a->n_insns && i < b->n_insns; i++) {
        const struct bk_insn *x = &a->insns[i], *y = &b->insns[i];
        if (x->addr != y->addr || x->size != y->size || strcmp(x->mnemonic, y->mnemonic) != 0 ||
            x->target != y->target || (x->flags & ~BK_INSN_MOVES) != y->flags)
            fail_msg("%s at 0x%llx, not %s at 0x%llx", x->mnemonic, (unsigned long long)x->addr, y->mnemonic,
                     (unsigned long long)y->addr);
        check_operands(x, y);
        assert_int_equal(y->key, 0);
    }
    assert_int_equal(a->n_insns, b->n_insns);
    assert_int_equal(a->n_blocks, b->n_blocks);
    assert_int_equal(a->n_edges, b->n_edges);
    assert_int_equal(a->n_callees, b->n_callees);
    assert_int_equal(a->bytes_code, b->bytes_code);
    assert_int_equal(a->bytes_data, b->bytes_data);
    if (a->n_blocks > 0)
        assert_memory_equal(a->blocks, b->blocks, a->n_blocks * sizeof *a->blocks);
    if (a->n_edges > 0)
        assert_memory_equal(a->edges, b->edges, a->n_edges * sizeof *a->edges);
    if (a->n_callees > 0)
        assert_memory_equal(a->callees, b->callees, a->n_callees * sizeof *a->callees);
}

/* One key stands for one mnemonic and one list of operands, but for the last where that moves. */
struct first_seen {
    struct {
        struct bk_insn insn;
        struct bk_operand ops[BK_MAX_OPERANDS];
    } * v;
    size_t n;
};

static void check_keys(struct first_seen *seen, const struct bk_body *body)
{
    for (size_t i = 0; i < body->n_insns; i++) {
        const struct bk_insn *insn = &body->insns[i];
        if (insn->key == 0)
            continue;
        assert_true(insn->key < body->memo[BK_MEMO_WORDS].n);
        if (insn->key >= seen->n) {
            size_t before = seen->n;
            seen->n = 2 * (size_t)insn->key;
            seen->v = realloc(seen->v, seen->n * sizeof *seen->v);
            assert_non_null(seen->v);
            memset(seen->v + before, 0, (seen->n - before) * sizeof *seen->v);
        }
        struct bk_insn *first = &seen->v[insn->key].insn;
        struct bk_operand *ops = seen->v[insn->key].ops, *last = &ops[insn->n_operands - 1];
        if (!first->mnemonic) {
            *first = *insn;
            if (insn->n_operands > 0)
                memcpy(ops, insn->operands, insn->n_operands * sizeof *ops);
        }
        first->operands = ops; /* they move */
        if (insn->flags & BK_INSN_MOVES)
            last->value = insn->operands[insn->n_operands - 1].value;
        assert_string_equal(first->mnemonic, insn->mnemonic);
        check_operands(first, insn);
    }
}

/* Compares all functions; returns how many instructions were remembered. */
static size_t check_functions(const struct bk_functions *f)
{
    struct bk_decoder *cached, *fresh;
    struct first_seen seen = {0};
    assert_int_equal(bk_decoder_new(&cached, f, NULL), BK_OK);
    assert_int_equal(bk_decoder_new(&fresh, f, NULL), BK_OK);
    fresh->cache.max = 0;
    for (size_t i = 0; i < f->n; i++) {
        const struct bk_body *a, *b;
        assert_int_equal(bk_decoder_body(&a, cached, i, NULL), BK_OK);
        assert_int_equal(bk_decoder_body(&b, fresh, i, NULL), BK_OK);
        check_same(a, b);
        check_keys(&seen, a);
    }
    size_t n = cached->cache.entries.n;
    assert_int_equal(fresh->cache.entries.n, 0);
    assert_true(n <= cached->cache.max);
    bk_decoder_free(cached);
    bk_decoder_free(fresh);
    free(seen.v);
    return n;
}

static void check_file(const char *path)
{
    struct bk_image_file *file;
    struct bk_functions *f;
    assert_int_equal(bk_image_file_open(&file, path, NULL), BK_OK);
    assert_int_equal(bk_functions_find(&f, &file->images[0], NULL), BK_OK);
    assert_true(check_functions(f) > 0);
    bk_functions_free(f);
    bk_image_file_close(file);
}

static void test_fixtures(void **state)
{
    (void)state;
    DIR *dir = opendir(fixture_dir);
    assert_non_null(dir);
    unsigned n = 0;
    for (struct dirent *e; (e = readdir(dir));) {
        size_t len = strlen(e->d_name);
        if (len < 3 || (strcmp(e->d_name + len - 2, ".o") != 0 && strcmp(e->d_name + len - 4, ".elf") != 0))
            continue;
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", fixture_dir, e->d_name);
        check_file(path);
        n++;
    }
    closedir(dir);
    assert_true(n > 10);
}

/* Large programs, as far as they are installed. */
static void test_libraries(void **state)
{
    (void)state;
    static const char *const paths[] = {
        "/usr/lib/x86_64-linux-gnu/libcrypto.so.3", "/usr/lib/x86_64-linux-gnu/libc.so.6",
        "/usr/i686-linux-gnu/lib/libc.so.6",        "/usr/arm-linux-gnueabihf/lib/libc.so.6",
        "/usr/aarch64-linux-gnu/lib/libc.so.6",     "/usr/mipsel-linux-gnu/lib/libc.so.6",
    };
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (access(paths[i], R_OK) == 0)
            check_file(paths[i]);
}

/* ---- made code ---------------------------------------------------------- */

/* One function of these bytes. */
static size_t check_bytes(enum bk_arch arch, bool thumb, bool big_endian, uint64_t base, const uint8_t *bytes, size_t n)
{
    struct bk_section section = {.name = ".text", .addr = base, .size = n, .data = bytes, .alloc = true, .exec = true};
    struct bk_span span = {base, base + n, 0};
    struct bk_symbol symbol = {
        .name = "f", .addr = base, .size = n, .kind = BK_SYM_FUNC, .global = true, .thumb = thumb};
    struct bk_image img = {.path = "made", .arch = arch, .n_sections = 1, .sections = &section};
    img.spans = &span;
    img.n_spans = img.n_code_spans = 1;
    img.symbols = &symbol;
    img.n_symbols = 1;
    img.big_endian = img.code_big_endian = big_endian;
    struct bk_functions *f;
    assert_int_equal(bk_functions_find(&f, &img, NULL), BK_OK);
    assert_int_equal(f->n, 1);
    size_t remembered = check_functions(f);
    bk_functions_free(f);
    return remembered;
}

/* x86: every opcode of a map with all kinds of ModRM, behind a prefix: first as it is, then with other bytes behind, both at other
 * addresses. */
static void check_x86(enum bk_arch arch, const char *prefix, size_t n_prefix)
{
    enum { SLOT = 18, MODRMS = 32, N = 256 * MODRMS, TIMES = 3 };
    static const uint8_t rm[] = {0, 4, 5, 7};
    uint8_t *bytes = malloc((size_t)SLOT * N * TIMES);
    assert_non_null(bytes);
    memset(bytes, 0x90, (size_t)SLOT * N * TIMES);
    for (unsigned t = 0; t < TIMES; t++) {
        for (unsigned i = 0; i < N; i++) {
            uint8_t *p = bytes + (size_t)SLOT * (t * N + i);
            memcpy(p, prefix, n_prefix);
            p[n_prefix] = (uint8_t)(i / MODRMS);
            p[n_prefix + 1] = (uint8_t)((i & 3) << 6 | (i & 4 ? 7 : 0) << 3 | rm[i >> 3 & 3]);
            for (unsigned k = 0; k < 8; k++)
                p[n_prefix + 2 + k] = (uint8_t)((t == 1 ? 0x83 : 0x11) * (k + 1));
        }
    }
    check_bytes(arch, false, false, BASE + 1, bytes, (size_t)SLOT * N * TIMES);
    free(bytes);
}

static void test_x86_opcodes(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
    } prefixes[] = {{"", 0},         {"\x0f", 1},         {"\x0f\x38", 2},     {"\x0f\x3a", 2},    {"\x66", 1},
                    {"\xf3", 1},     {"\x66\x0f", 2},     {"\xf3\x0f", 2},     {"\xf2\x0f", 2},    {"\x48", 1},
                    {"\x4d", 1},     {"\x48\x0f", 2},     {"\xc5\xf8", 2},     {"\xc5\xfd", 2},    {"\xc4\xe2\x7d", 3},
                    {"\xc4\xe3", 2}, {"\x62\xf1\x7c", 3}, {"\x62\xf2\xfd", 3}, {"\x66\x48\x0f", 3}};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        check_x86(BK_ARCH_AMD64, prefixes[i].bytes, prefixes[i].n);
        if (i < 9)
            check_x86(BK_ARCH_I386, prefixes[i].bytes, prefixes[i].n);
    }
}

static void store(uint8_t *p, uint32_t word, bool thumb, bool big_endian)
{
    for (unsigned i = 0; i < 4; i++)
        p[i] = (uint8_t)(word >> 8 * (big_endian ? 3 - i : i));
    if (!thumb || big_endian)
        return;
    uint8_t first[2] = {p[2], p[3]}; /* the first half is the upper one */
    memcpy(p + 2, p, 2);
    memcpy(p, first, 2);
}

/* Every upper half of a word with a few lower ones, twice, the second time at another address. */
static void test_words(void **state)
{
    (void)state;
    static const struct {
        enum bk_arch arch;
        bool thumb, big_endian;
        uint64_t base;
    } cases[] = {
        {BK_ARCH_ARM, false, false, BASE},       {BK_ARCH_ARM, false, true, BASE},
        {BK_ARCH_ARM, true, false, BASE},        {BK_ARCH_ARM, true, false, BASE + 2},
        {BK_ARCH_ARM, true, true, BASE},         {BK_ARCH_ARM, false, false, BASE + 1},
        {BK_ARCH_ARM, false, false, 0xff000000}, {BK_ARCH_ARM64, false, false, BASE},
        {BK_ARCH_ARM64, false, true, BASE},      {BK_ARCH_ARM64, false, false, UINT64_C(0xffffff8000000fe0)},
        {BK_ARCH_MIPS, false, false, BASE},      {BK_ARCH_MIPS, false, true, 0xbfc00000},
        {BK_ARCH_MIPS64, false, false, BASE},    {BK_ARCH_MIPS64, false, true, UINT64_C(0x120000ffc)},
    };
    enum { N = 1 << 14, TIMES = 2 };
    uint8_t *bytes = malloc((size_t)4 * N * TIMES + 4 * TIMES);
    assert_non_null(bytes);
    struct bk_rng rng;
    bk_rng_seed(&rng, 7, 0);
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        for (unsigned part = 0; part < 16; part++) {
            uint32_t low = part % 4 == 0 ? 0 : (uint32_t)bk_rng_u64(&rng) & 0xffff;
            size_t used = 0;
            for (unsigned t = 0; t < TIMES; t++) {
                for (uint32_t i = 0; i < N; i++, used += 4)
                    store(bytes + used, (i * 4 + part / 4) << 16 | (low & (t ? 0xffff : 0xfffc)), cases[c].thumb,
                          cases[c].big_endian);
                if (cases[c].thumb) { /* a nop, so that the next round is two bytes off */
                    store(bytes + used, 0xbf00bf00, true, cases[c].big_endian);
                    used += 2;
                }
            }
            check_bytes(cases[c].arch, cases[c].thumb, cases[c].big_endian, cases[c].base, bytes, used);
        }
    }
    free(bytes);
}

/* Any bytes at all, of few different kinds so that they repeat. */
static void test_random(void **state)
{
    (void)state;
    enum { SIZE = 1 << 15, POOL = 500 };
    uint8_t *bytes = malloc(SIZE);
    assert_non_null(bytes);
    struct bk_rng rng;
    bk_rng_seed(&rng, 3, 0);
    for (unsigned round = 0; round < 200; round++) {
        uint32_t pool[POOL];
        for (size_t i = 0; i < POOL; i++)
            pool[i] = (uint32_t)bk_rng_u64(&rng);
        for (size_t i = 0; i < SIZE / 4; i++)
            memcpy(bytes + 4 * i, &pool[bk_rng_below(&rng, POOL)], 4);
        enum bk_arch arch = (enum bk_arch)(1 + round % (BK_ARCH_COUNT - 1));
        check_bytes(arch, round / 6 % 2, round / 12 % 2, BASE + 2 * (round / 24 % 2), bytes, SIZE);
    }
    free(bytes);
}

/* A program with more different instructions than are remembered. */
static void test_bounded(void **state)
{
    (void)state;
    enum { N = 100000 };
    uint8_t *bytes = malloc((size_t)2 * 5 * N);
    assert_non_null(bytes);
    for (uint32_t i = 0; i < 2 * N; i++) {
        uint8_t *p = bytes + (size_t)5 * i;
        uint32_t v = i % N;
        p[0] = 0xb8; /* mov eax, v */
        for (unsigned k = 0; k < 4; k++)
            p[1 + k] = (uint8_t)(v >> 8 * k);
    }
    size_t remembered = check_bytes(BK_ARCH_AMD64, false, false, BASE, bytes, (size_t)2 * 5 * N);
    assert_true(remembered > 50000 && remembered < N);
    free(bytes);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    fixture_dir = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fixtures), cmocka_unit_test(test_libraries), cmocka_unit_test(test_x86_opcodes),
        cmocka_unit_test(test_words),    cmocka_unit_test(test_random),    cmocka_unit_test(test_bounded),
    };
    return cmocka_run_group_tests_name("cache", tests, NULL, NULL);
}
