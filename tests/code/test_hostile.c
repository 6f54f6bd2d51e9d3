/* Images no linker makes: built in memory, without a file. */
#include "fixture.h"

#include <stdlib.h>
#include <string.h>

#define BASE UINT64_C(0x10000)

struct made {
    struct bk_image image;
    struct bk_section section;
    struct bk_span span;
    uint8_t *bytes;
};

/* An image that is one code section of `size` bytes. */
static void make_image(struct made *m, enum bk_arch arch, size_t size)
{
    *m = (struct made){0};
    m->bytes = malloc(size);
    assert_non_null(m->bytes);
    memset(m->bytes, 0, size);
    m->section =
        (struct bk_section){.name = ".text", .addr = BASE, .size = size, .data = m->bytes, .alloc = true, .exec = true};
    m->span = (struct bk_span){BASE, BASE + size, 0};
    m->image = (struct bk_image){.path = "made", .arch = arch, .n_sections = 1, .sections = &m->section};
    m->image.spans = &m->span;
    m->image.n_spans = m->image.n_code_spans = 1;
}

static struct bk_functions *find(const struct bk_image *img)
{
    struct bk_functions *f = NULL;
    assert_int_equal(bk_functions_find(&f, img, NULL), BK_OK);
    for (size_t i = 0; i < f->n; i++) {
        assert_true(f->v[i].size > 0);
        assert_true(f->v[i].addr >= BASE);
        assert_true(bk_range_inside(f->v[i].addr - BASE, f->v[i].size, img->sections[0].size));
        if (i > 0)
            assert_true(f->v[i].addr - f->v[i - 1].addr >= f->v[i - 1].size);
    }
    return f;
}

static struct bk_symbol function_at(const char *name, uint64_t offset, uint64_t size)
{
    return (struct bk_symbol){.name = name, .addr = BASE + offset, .size = size, .kind = BK_SYM_FUNC, .global = true};
}

static void test_absurd_symbols(void **state)
{
    (void)state;
    struct made m;
    make_image(&m, BK_ARCH_AMD64, 100);
    struct bk_symbol s[] = {
        function_at("before", (uint64_t)-8, 16), /* outside: dropped */
        function_at("huge", 0, UINT64_C(1) << 63),
        function_at("inside", 10, 50),
        function_at("wraps", 20, UINT64_MAX - 5),
        function_at("zero", 30, 0),
        function_at("last", 99, 1),
        function_at("behind", 100, 4),
        function_at("nowhere", 40, 4),
    };
    s[7].section = BK_NO_SECTION;
    m.image.symbols = s;
    m.image.n_symbols = sizeof s / sizeof *s;
    struct bk_functions *f = find(&m.image);
    assert_int_equal(f->n, 5);
    assert_int_equal(f->n_dropped, 3);
    assert_int_equal(f->n_cut, 3); /* huge, inside, wraps */
    static const uint64_t sizes[] = {10, 10, 10, 69, 1};
    for (size_t i = 0; i < f->n; i++)
        assert_int_equal(f->v[i].size, sizes[i]);
    assert_int_equal(f->v[0].bound, BK_BOUND_NEXT_SYMBOL);
    assert_int_equal(f->v[1].bound, BK_BOUND_SYMBOL);
    bk_functions_free(f);
    free(m.bytes);
}

/* Where a size is not known: an unwind range of the same start, the next start, a global label or an object end the function. */
static void test_bounds(void **state)
{
    (void)state;
    struct made m;
    make_image(&m, BK_ARCH_I386, 100);
    struct bk_symbol s[] = {
        function_at("ranged", 0, 0),  function_at("labelled", 20, 0), function_at("label", 28, 0),
        function_at("local", 22, 0),  function_at("open", 50, 0),     function_at("f", 80, 4),
        function_at("f.cold", 90, 6), function_at("g.cold", 96, 0),
    };
    s[2].kind = BK_SYM_OTHER;
    s[3].kind = BK_SYM_OTHER;
    s[3].global = false;
    m.image.symbols = s;
    m.image.n_symbols = sizeof s / sizeof *s;
    const struct bk_unwind u[] = {
        {BASE, 7, false}, {BASE + 60, 10, false}, {BASE + 81, 2, false}, {BASE + 91, 1, false}};
    m.image.unwinds = u;
    m.image.n_unwinds = 4;
    m.image.entry = BASE + 75;
    struct bk_functions *f = find(&m.image);
    static const struct {
        uint64_t offset, size;
        enum bk_bound_source bound;
    } want[] = {
        {0, 7, BK_BOUND_EH_FRAME},   {20, 8, BK_BOUND_NEXT_SYMBOL}, {50, 10, BK_BOUND_NEXT_SYMBOL},
        {60, 10, BK_BOUND_EH_FRAME}, {75, 5, BK_BOUND_NEXT_SYMBOL}, {80, 4, BK_BOUND_SYMBOL},
    };
    assert_int_equal(f->n, sizeof want / sizeof *want);
    for (size_t i = 0; i < f->n; i++) {
        assert_int_equal(f->v[i].addr, BASE + want[i].offset);
        assert_int_equal(f->v[i].size, want[i].size);
        assert_int_equal(f->v[i].bound, want[i].bound);
    }
    bk_functions_free(f);
    free(m.bytes);
}

/* Very many symbols at one address, and as many functions that all claim the rest of the section. */
static void test_many_symbols(void **state)
{
    (void)state;
    const size_t n = 400000;
    struct made m;
    make_image(&m, BK_ARCH_AMD64, n);
    struct bk_symbol *s = bk_calloc(n, sizeof *s);
    assert_non_null(s);
    for (size_t i = 0; i < n; i++)
        s[i] = function_at(i % 3 ? "b" : "ac", 0, n);
    m.image.symbols = s;
    m.image.n_symbols = n;
    struct bk_functions *f = find(&m.image);
    assert_int_equal(f->n, 1);
    assert_int_equal(f->v[0].n_names, 2);
    assert_string_equal(f->v[0].names[0], "b"); /* the shorter first */
    assert_int_equal(f->v[0].size, n);
    bk_functions_free(f);
    for (size_t i = 0; i < n; i++)
        s[i] = function_at("a", i, n - i);
    f = find(&m.image);
    assert_int_equal(f->n, n);
    assert_int_equal(f->n_cut, n - 1);
    bk_functions_free(f);
    free(s);
    free(m.bytes);
}

static const struct bk_body *decode(struct bk_decoder **d, struct bk_functions **f, struct made *m)
{
    static struct bk_symbol s;
    s = function_at("f", 0, m->section.size);
    m->image.symbols = &s;
    m->image.n_symbols = 1;
    *f = find(&m->image);
    assert_int_equal(bk_decoder_new(d, *f, NULL), BK_OK);
    const struct bk_body *body = NULL;
    assert_int_equal(bk_decoder_body(&body, *d, 0, NULL), BK_OK);
    assert_int_equal(body->bytes_code + body->bytes_data + body->bytes_bad, m->section.size);
    return body;
}

static void release(struct bk_decoder *d, struct bk_functions *f, struct made *m)
{
    bk_decoder_free(d);
    bk_functions_free(f);
    free(m->bytes);
}

/* Any bytes at all give a body that holds together; the same twice. */
static void test_random_bytes(void **state)
{
    (void)state;
    struct bk_rng rng;
    bk_rng_seed(&rng, 1, 0);
    for (unsigned round = 0; round < 120; round++) {
        enum bk_arch arch = (enum bk_arch)(1 + round % (BK_ARCH_COUNT - 1));
        struct made m;
        make_image(&m, arch, 1 + bk_rng_below(&rng, 4000));
        for (size_t i = 0; i < m.section.size; i++)
            m.bytes[i] = (uint8_t)bk_rng_u64(&rng);
        m.image.code_big_endian = m.image.big_endian = round / 6 % 2;
        struct bk_symbol s = function_at("f", 0, m.section.size);
        s.thumb = round / 12 % 2;
        m.image.symbols = &s;
        m.image.n_symbols = 1;
        struct bk_functions *f = find(&m.image);
        struct bk_decoder *d;
        assert_int_equal(bk_decoder_new(&d, f, NULL), BK_OK);
        const struct bk_body *body;
        assert_int_equal(bk_decoder_body(&body, d, 0, NULL), BK_OK);
        check_body(body);
        size_t n_insns = body->n_insns, n_edges = body->n_edges;
        assert_int_equal(bk_decoder_body(&body, d, 0, NULL), BK_OK);
        assert_int_equal(body->n_insns, n_insns);
        assert_int_equal(body->n_edges, n_edges);
        release(d, f, &m);
    }
}

/* One instruction more than there may be. */
static void test_too_many_insns(void **state)
{
    (void)state;
    struct made m;
    struct bk_decoder *d;
    struct bk_functions *f;
    make_image(&m, BK_ARCH_AMD64, BK_MAX_INSNS + 5);
    memset(m.bytes, 0xc3, m.section.size);
    const struct bk_body *body = decode(&d, &f, &m);
    assert_int_equal(body->n_insns, BK_MAX_INSNS);
    assert_int_equal(body->n_blocks, BK_MAX_INSNS);
    assert_int_equal(body->bytes_bad, 5);
    release(d, f, &m);
}

/* A32 ldm r0, {r0-r15} over and over: operands are bounded too. */
static void test_too_many_operands(void **state)
{
    (void)state;
    struct made m;
    struct bk_decoder *d;
    struct bk_functions *f;
    make_image(&m, BK_ARCH_ARM, (size_t)4 * 300000);
    for (size_t i = 0; i < m.section.size; i += 4)
        memcpy(m.bytes + i, "\xff\xff\x90\xe8", 4);
    const struct bk_body *body = decode(&d, &f, &m);
    assert_int_equal(body->insns[0].n_operands, 17);
    assert_true(body->n_insns < 300000 && body->n_insns >= (size_t)4 * BK_MAX_INSNS / 17);
    assert_int_equal(body->bytes_bad, m.section.size - 4 * body->n_insns);
    release(d, f, &m);
}

/* tbb over and over, each "table" reaching far: reading tables is bounded. */
static void test_too_many_tables(void **state)
{
    (void)state;
    struct made m;
    struct bk_decoder *d;
    struct bk_functions *f;
    make_image(&m, BK_ARCH_ARM, 1 << 20);
    for (size_t i = 0; i < m.section.size; i += 4)
        memcpy(m.bytes + i, "\xdf\xe8\x10\xf0", 4); /* tbh [pc, r0, lsl #1] */
    const struct bk_mark mark = {BASE, BK_MARK_T32};
    m.image.marks = &mark;
    m.image.n_marks = 1;
    const struct bk_body *body = decode(&d, &f, &m);
    assert_int_equal(body->n_insns, m.section.size / 4);
    assert_string_equal(body->insns[0].mnemonic, "tbh");
    release(d, f, &m);
}

/* A function that the mapping symbols call data has no instruction. */
static void test_all_data(void **state)
{
    (void)state;
    struct made m;
    struct bk_decoder *d;
    struct bk_functions *f;
    make_image(&m, BK_ARCH_ARM64, 64);
    const struct bk_mark mark = {BASE, BK_MARK_DATA};
    m.image.marks = &mark;
    m.image.n_marks = 1;
    const struct bk_body *body = decode(&d, &f, &m);
    assert_int_equal(body->n_insns, 0);
    assert_int_equal(body->n_blocks, 0);
    assert_int_equal(body->bytes_data, 64);
    release(d, f, &m);
}

static void test_no_decoder(void **state)
{
    (void)state;
    struct made m;
    make_image(&m, BK_ARCH_NONE, 16);
    struct bk_functions *f = find(&m.image);
    struct bk_decoder *d = NULL;
    assert_int_equal(bk_decoder_new(&d, f, NULL), BK_EUNSUPPORTED);
    assert_null(d);
    release(d, f, &m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_absurd_symbols),  cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_many_symbols),    cmocka_unit_test(test_random_bytes),
        cmocka_unit_test(test_too_many_insns),  cmocka_unit_test(test_too_many_operands),
        cmocka_unit_test(test_too_many_tables), cmocka_unit_test(test_all_data),
        cmocka_unit_test(test_no_decoder),
    };
    return cmocka_run_group_tests_name("hostile", tests, NULL, NULL);
}
