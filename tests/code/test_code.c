/* Functions and instructions against listings that objdump and readelf made (fixtures/code/make.py). */
#include "fixture.h"

#include <stdlib.h>
#include <string.h>

struct row { /* of a listing */
    char kind;
    uint64_t addr, number; /* size, or target */
    char name[64];
};
struct listing {
    struct row *v;
    size_t n, cap;
};

static struct listing read_listing(const char *name)
{
    char path[4096], line[256];
    snprintf(path, sizeof path, "%s/%s.ref", fixture_dir, name);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    struct listing l = {0};
    while (fgets(line, sizeof line, f)) {
        assert_true(BK_GROW(l));
        struct row *r = &l.v[l.n++];
        *r = (struct row){0};
        unsigned long long addr, number;
        assert_true(sscanf(line, "%c %llx %llx %63s", &r->kind, &addr, &number, r->name) >= 3);
        r->addr = addr;
        r->number = number;
    }
    fclose(f);
    return l;
}

static const struct row *find_row(const struct listing *l, const char *kinds, uint64_t addr)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->v[i].addr == addr && strchr(kinds, l->v[i].kind))
            return &l->v[i];
    return NULL;
}

/* Each F row is a name of a function with those bounds, and there are no others. */
static void check_functions(const struct fixture *f, const struct listing *l)
{
    size_t named = 0, listed = 0;
    for (size_t i = 0; i < l->n; i++) {
        if (l->v[i].kind == 'P')
            assert_int_equal(bk_functions_at(f->functions, l->v[i].addr), SIZE_MAX);
        if (l->v[i].kind != 'F')
            continue;
        listed++;
        size_t k = fixture_find(f, l->v[i].name);
        if (k == SIZE_MAX)
            fail_msg("no function %s", l->v[i].name);
        const struct bk_function *fn = &f->functions->v[k];
        assert_int_equal(fn->addr, l->v[i].addr);
        assert_int_equal(fn->size, l->v[i].number);
        assert_int_equal(fn->bound, BK_BOUND_SYMBOL);
        assert_int_equal(bk_functions_at(f->functions, fn->addr), k);
        assert_int_equal(bk_functions_at(f->functions, fn->addr + fn->size - 1), k);
    }
    for (size_t k = 0; k < f->functions->n; k++)
        named += f->functions->v[k].n_names;
    assert_int_equal(named, listed);
    assert_int_equal(f->functions->n_cut + f->functions->n_dropped, 0);
}

static bool has_callee(const struct bk_body *body, uint64_t addr)
{
    for (size_t i = 0; i < body->n_callees; i++)
        if (body->callees[i] == addr)
            return true;
    return false;
}

/* Every instruction of the listing in [addr, addr + size) and no other; only padding (N) may be missing, and counts as data. */
static void check_listing(const struct bk_body *body, const struct listing *l)
{
    uint64_t begin = body->function->addr, end = begin + body->function->size, data = 0;
    size_t next = 0;
    for (size_t i = 0; i < l->n; i++) {
        const struct row *r = &l->v[i];
        if (r->addr < begin || r->addr >= end)
            continue;
        if (r->kind == 'D')
            data += r->number;
        if (r->kind == 'C')
            assert_true(has_callee(body, r->number));
        if (r->kind != 'I' && r->kind != 'N')
            continue;
        bool here = next < body->n_insns && body->insns[next].addr == r->addr;
        if (!here && r->kind == 'N') {
            data += r->number;
            continue;
        }
        if (!here || body->insns[next].size != r->number)
            fail_msg("instruction at 0x%llx", (unsigned long long)r->addr);
        bool call = body->insns[next].flags & BK_INSN_CALL, direct = body->insns[next].flags & BK_INSN_TARGET;
        const struct row *c = find_row(l, "C", r->addr);
        assert_int_equal(call && direct, c != NULL);
        if (c)
            assert_int_equal(body->insns[next].target, c->number);
        next++;
    }
    assert_int_equal(next, body->n_insns);
    assert_int_equal(body->bytes_data, data);
    assert_int_equal(body->bytes_bad, 0);
}

static size_t block_with(const struct bk_body *body, uint64_t addr)
{
    for (size_t b = 0; b < body->n_blocks; b++) {
        const struct bk_block *block = &body->blocks[b];
        if (addr >= body->insns[block->first].addr && addr <= body->insns[block->first + block->n - 1].addr)
            return b;
    }
    fail_msg("no block has 0x%llx", (unsigned long long)addr);
    return SIZE_MAX;
}

static const struct bk_edge *edge_between(const struct bk_body *body, size_t from, size_t to)
{
    for (size_t e = 0; e < body->n_edges; e++)
        if (body->edges[e].from == from && body->edges[e].to == to)
            return &body->edges[e];
    return NULL;
}

/* Each jump of the listing inside the function is an edge of its kind, and there are no other such edges. Returns their number. */
static size_t check_edges(const struct bk_body *body, const struct listing *l)
{
    uint64_t begin = body->function->addr, end = begin + body->function->size;
    size_t listed = 0, n = 0;
    for (size_t i = 0; i < l->n; i++) {
        const struct row *r = &l->v[i];
        if ((r->kind != 'J' && r->kind != 'B') || r->addr < begin || r->addr >= end)
            continue;
        size_t from = block_with(body, r->addr);
        const struct bk_edge *next = edge_between(body, from, from + 1);
        assert_true(r->kind == 'J' || (next && next->kind == BK_EDGE_NOT_TAKEN));
        if (r->number < begin || r->number >= end)
            continue; /* a tail jump, or one to the cold piece */
        const struct bk_edge *e = edge_between(body, from, block_with(body, r->number));
        assert_non_null(e);
        assert_int_equal(e->kind, r->kind == 'J' ? BK_EDGE_JUMP : BK_EDGE_TAKEN);
        listed++;
    }
    for (size_t e = 0; e < body->n_edges; e++)
        n += body->edges[e].kind == BK_EDGE_JUMP || body->edges[e].kind == BK_EDGE_TAKEN;
    assert_int_equal(n, listed);
    return n;
}

static void check_file(const char *name)
{
    char file[64];
    snprintf(file, sizeof file, "%s.elf", name);
    struct fixture f;
    fixture_open(&f, file);
    struct listing l = read_listing(name);
    check_functions(&f, &l);
    size_t n_edges = 0;
    for (size_t i = 0; i < f.functions->n; i++) {
        check_listing(fixture_body(&f, i), &l);
        n_edges += check_edges(fixture_body(&f, i), &l);
    }
    assert_true(n_edges >= 5);
    free(l.v);
    fixture_close(&f);
}

/* Without symbols the same functions come from the unwind tables (and the dynamic symbols), and decode the same. */
static void check_stripped(const char *name, bool exact)
{
    char file[64];
    snprintf(file, sizeof file, "%s.elf", name);
    struct fixture a, b;
    fixture_open(&a, file);
    snprintf(file, sizeof file, "%s-stripped.elf", name);
    fixture_open(&b, file);
    struct listing l = read_listing(name);
    for (size_t i = 0; i < a.functions->n; i++) {
        const struct bk_function *fa = &a.functions->v[i];
        size_t k = bk_functions_at(b.functions, fa->addr);
        if (k == SIZE_MAX)
            fail_msg("no function at 0x%llx", (unsigned long long)fa->addr);
        const struct bk_function *fb = &b.functions->v[k];
        assert_int_equal(fb->addr, fa->addr);
        assert_int_equal(fb->thumb, fa->thumb);
        if (exact)
            assert_int_equal(fb->size, fa->size);
        else /* up to the next start: alignment behind it */
            assert_true(fb->size >= fa->size && fb->size < fa->size + 8);
        size_t n = fixture_body(&a, i)->n_insns;
        const struct bk_body *body = fixture_body(&b, k);
        assert_int_equal(body->n_insns, n);
        if (exact)
            check_listing(body, &l);
    }
    free(l.v);
    fixture_close(&a);
    fixture_close(&b);
}

#define FILE_TEST(id, name)                                                                                            \
    static void test_##id(void **state)                                                                                \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        check_file(name);                                                                                              \
    }
#define STRIPPED_TEST(id, name, exact)                                                                                 \
    static void test_##id##_stripped(void **state)                                                                     \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        check_stripped(name, exact);                                                                                   \
    }
FILE_TEST(amd64, "amd64")
FILE_TEST(amd64_exec, "amd64-exec")
FILE_TEST(i386, "i386")
FILE_TEST(a32, "armhf-a32")
FILE_TEST(t32, "armhf-t32")
FILE_TEST(arm64, "arm64")
FILE_TEST(mipsel, "mipsel")
FILE_TEST(mips, "mips")
STRIPPED_TEST(amd64, "amd64", true)
STRIPPED_TEST(amd64_exec, "amd64-exec", true)
STRIPPED_TEST(i386, "i386", true)
STRIPPED_TEST(a32, "armhf-a32", false)
STRIPPED_TEST(t32, "armhf-t32", false)
STRIPPED_TEST(arm64, "arm64", true)
STRIPPED_TEST(mipsel, "mipsel", true)

static void test_aliases(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, "amd64.elf");
    size_t i = fixture_find(&f, "forward");
    const struct bk_function *fn = &f.functions->v[i];
    assert_int_equal(fn->n_names, 3); /* global, shorter first; then weak */
    assert_string_equal(fn->names[0], "forward");
    assert_string_equal(fn->names[1], "same_code");
    assert_string_equal(fn->names[2], "also_same");
    fixture_close(&f);
}

/* The rare path lies in a piece: a jump there is neither edge nor callee. */
static void test_cold_piece(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, "amd64-exec.elf");
    size_t i = fixture_find(&f, "careful");
    assert_int_equal(fixture_find(&f, "careful.cold"), SIZE_MAX);
    const struct bk_body *body = fixture_body(&f, i);
    assert_int_equal(body->n_callees, 0);
    fixture_close(&f);
}

/* A stripped file: calls to another library go to stubs, which are no functions. */
static void test_stubs(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, "amd64-stripped.elf");
    size_t stubs = 0;
    for (size_t i = 0; i < f.image->n_sections; i++) {
        const struct bk_section *s = &f.image->sections[i];
        if (strncmp(s->name, ".plt", 4) != 0)
            continue;
        stubs++;
        for (uint64_t a = s->addr; a < s->addr + s->size; a++)
            assert_int_equal(bk_functions_at(f.functions, a), SIZE_MAX);
    }
    assert_true(stubs > 0);
    fixture_close(&f);
}

static void test_source_names(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"main", "main"},
        {"f.isra.0", "f"},
        {"f.constprop.12", "f"},
        {"f.part.3.cold", "f"},
        {"f.cold.1", "f"},
        {"f.isra.0.constprop.1.part.2", "f"},
        {"f.lto_priv.0", "f"},
        {"f.llvm.1234567890", "f"},
        {"f.localalias", "f"},
        {"f.0", "f"},
        {"f.avx2", "f"},
        {"f.arch_x86_64_v3", "f"},
        {"f.other", "f.other"},
        {"f.cold2", "f.cold2"},
        {"main._omp_fn.0", "main._omp_fn"},
        {".isra.0", ".isra"},
        {".cold", ".cold"},
        {"", ""},
        {".", "."},
        {"a.", "a."},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = bk_source_name_len(cases[i][0]);
        assert_int_equal(n, strlen(cases[i][1]));
        assert_memory_equal(cases[i][0], cases[i][1], n);
    }
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    fixture_dir = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_amd64),
        cmocka_unit_test(test_amd64_exec),
        cmocka_unit_test(test_i386),
        cmocka_unit_test(test_a32),
        cmocka_unit_test(test_t32),
        cmocka_unit_test(test_arm64),
        cmocka_unit_test(test_mipsel),
        cmocka_unit_test(test_mips),
        cmocka_unit_test(test_amd64_stripped),
        cmocka_unit_test(test_amd64_exec_stripped),
        cmocka_unit_test(test_i386_stripped),
        cmocka_unit_test(test_a32_stripped),
        cmocka_unit_test(test_t32_stripped),
        cmocka_unit_test(test_arm64_stripped),
        cmocka_unit_test(test_mipsel_stripped),
        cmocka_unit_test(test_aliases),
        cmocka_unit_test(test_cold_piece),
        cmocka_unit_test(test_stubs),
        cmocka_unit_test(test_source_names),
    };
    return cmocka_run_group_tests_name("code", tests, NULL, NULL);
}
