/* Blocks, edges, callees and flags of functions written by hand, whose graph stands beside their source. */
#include "fixture.h"

#include <string.h>

struct graph {
    const char *name;
    const char *blocks;  /* "offset+instructions ..." */
    const char *edges;   /* "from>to and a letter of kinds ..." */
    const char *callees; /* names */
    uint64_t data;       /* bytes */
};

/* Fall, taken, not taken, jump, case. */
static const char kinds[BK_EDGE_KINDS + 1] = "ftnjc";

static void add(char *out, size_t size, const char *fmt, ...) BK_PRINTF(3, 4);
static void add(char *out, size_t size, const char *fmt, ...)
{
    size_t n = strlen(out);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(out + n, size - n, fmt, ap);
    va_end(ap);
}

static void check_graph(struct fixture *f, const struct graph *g)
{
    size_t i = fixture_find(f, g->name);
    if (i == SIZE_MAX)
        fail_msg("no function %s", g->name);
    const struct bk_body *body = fixture_body(f, i);
    char blocks[256] = "", edges[256] = "", callees[256] = "";
    for (size_t b = 0; b < body->n_blocks; b++)
        add(blocks, sizeof blocks, "%s%llx+%u", b ? " " : "",
            (unsigned long long)(body->insns[body->blocks[b].first].addr - body->function->addr), body->blocks[b].n);
    for (size_t e = 0; e < body->n_edges; e++)
        add(edges, sizeof edges, "%s%u>%u%c", e ? " " : "", body->edges[e].from, body->edges[e].to,
            kinds[body->edges[e].kind]);
    for (size_t k = 0; k < body->n_callees; k++) {
        size_t to = bk_functions_at(f->functions, body->callees[k]);
        assert_true(to != SIZE_MAX);
        add(callees, sizeof callees, "%s%s", k ? " " : "", f->functions->v[to].names[0]);
    }
    print_message("# %s\n", g->name);
    assert_string_equal(blocks, g->blocks);
    assert_string_equal(edges, g->edges);
    assert_string_equal(callees, g->callees);
    assert_int_equal(body->bytes_data, g->data);
    assert_int_equal(body->bytes_bad, 0);
}

static void check_graphs(const char *file, const struct graph *g, size_t n)
{
    struct fixture f;
    fixture_open(&f, file);
    assert_int_equal(f.functions->n, n);
    for (size_t i = 0; i < n; i++)
        check_graph(&f, &g[i]);
    fixture_close(&f);
}

static void test_amd64(void **state)
{
    (void)state;
    static const struct graph g[] = {
        {"diamond", "0+2 4+2 8+1 a+1", "0>1n 0>2t 1>3j 2>3f", "", 0},
        {"padded", "0+2 5+2 9+1", "0>1j 1>1t 1>2n", "", 4},
        {"traps", "0+3 9+1 b+1", "0>1n 0>2t", "diamond", 0},
        {"tail", "0+3 9+1", "0>1n", "diamond padded", 0},
        {"locked", "0+1 2+2 7+1 9+1", "0>1t 1>0t 1>2n 2>1t 2>3n", "", 0},
        {"table", "0+2 5+5 18+2 1b+2 1e+2", "0>1n 0>4t 1>2c 1>3c", "", 0},
    };
    check_graphs("flow-amd64.o", g, sizeof g / sizeof *g);
}

static void test_armhf(void **state)
{
    (void)state;
    static const struct graph g[] = {
        {"a32_predicated", "0+2 8+2 10+2", "0>1f 1>2f", "a32_leaf", 4},
        {"a32_leaf", "0+1", "", "", 0},
        {"a32_table", "0+2 8+1 c+1 10+1 14+2 1c+2 24+1", "0>1n 0>2c 0>3c 1>6j 2>4j 3>5j", "", 0},
        {"a32_words", "0+2 8+1 14+2 1c+1 20+1", "0>1n 0>2c 0>3c 1>4j 3>4f", "", 8},
        {"t32_it", "0+3 6+3 e+1 12+1", "0>1f 1>2n 1>3t 2>3f", "t32_table", 0},
        {"t32_table", "0+2 4+1 c+2 10+2 14+1 16+1 18+1", "0>1n 0>6t 1>2c 1>3c 1>4c 4>5n 4>6t 5>6f", "", 4},
        {"t32_literals", "0+4", "", "", 16},
    };
    check_graphs("flow-armhf.o", g, sizeof g / sizeof *g);
}

static void test_arm64(void **state)
{
    (void)state;
    static const struct graph g[] = {
        {"branches", "0+2 8+1 c+1 10+1 14+1", "0>1n 0>4t 1>2n 1>4t 2>0t 2>3n", "signed", 0},
        {"signed", "0+4 10+1", "", "branches", 0},
        {"pool", "0+3", "", "", 8},
    };
    check_graphs("flow-arm64.o", g, sizeof g / sizeof *g);
}

static void test_mipsel(void **state)
{
    (void)state;
    static const struct graph g[] = {
        {"delayed", "0+3 c+3 18+2", "0>1n 0>2t 1>2f", "other", 0},
        {"other", "0+2 8+2 18+4", "0>0t 0>1n 1>2j", "delayed", 8},
        {"slot", "0+1 4+3 10+2", "0>1n 0>2t 1>1j", "", 0},
    };
    check_graphs("flow-mipsel.o", g, sizeof g / sizeof *g);
}

static const struct bk_insn *insn_at(const struct bk_body *body, uint64_t offset)
{
    for (size_t i = 0; i < body->n_insns; i++)
        if (body->insns[i].addr == body->function->addr + offset)
            return &body->insns[i];
    fail_msg("no instruction at +0x%llx", (unsigned long long)offset);
    return NULL;
}

/* Flags, mnemonics and operands of a few instructions. */
static void test_insns(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, "flow-armhf.o");
    const struct bk_body *body = fixture_body(&f, fixture_find(&f, "a32_predicated"));
    const struct bk_insn *insn = insn_at(body, 4);
    assert_string_equal(insn->mnemonic, "bxeq");
    assert_int_equal(insn->flags, BK_INSN_RET | BK_INSN_COND);
    insn = insn_at(body, 0xc);
    assert_string_equal(insn->mnemonic, "popne");
    assert_int_equal(insn->flags, BK_INSN_RET | BK_INSN_COND);
    assert_int_equal(insn->n_operands, 2);
    assert_string_equal(insn->operands[0].reg, "r4");
    assert_string_equal(insn->operands[1].reg, "pc");
    insn = insn_at(body, 0x10);
    assert_int_equal(insn->operands[1].kind, BK_OP_MEM);
    assert_string_equal(insn->operands[1].reg, "pc");
    assert_int_equal(insn->operands[1].value, 0);
    body = fixture_body(&f, fixture_find(&f, "a32_words"));
    insn = insn_at(body, 4);
    assert_int_equal(insn->flags, BK_INSN_JUMP | BK_INSN_COND);
    assert_int_equal(insn->operands[1].scale, 4);
    assert_string_equal(insn->operands[1].index, "r0");
    body = fixture_body(&f, fixture_find(&f, "t32_it"));
    assert_string_equal(insn_at(body, 4)->mnemonic, "bxeq");
    fixture_close(&f);

    fixture_open(&f, "flow-amd64.o");
    body = fixture_body(&f, fixture_find(&f, "table"));
    insn = insn_at(body, 0xe); /* movsxd rax, dword ptr [rdx + rdi * 4] */
    assert_string_equal(insn->mnemonic, "movsxd");
    assert_string_equal(insn->operands[1].reg, "rdx");
    assert_string_equal(insn->operands[1].index, "rdi");
    assert_int_equal(insn->operands[1].scale, 4);
    fixture_close(&f);

    fixture_open(&f, "flow-arm64.o");
    body = fixture_body(&f, fixture_find(&f, "pool"));
    insn = insn_at(body, 4); /* csel x0, x1, x2, ne */
    assert_int_equal(insn->n_operands, 4);
    assert_int_equal(insn->operands[3].kind, BK_OP_OTHER);
    assert_string_equal(insn->operands[3].reg, "ne");
    body = fixture_body(&f, fixture_find(&f, "signed"));
    assert_int_equal(insn_at(body, 12)->flags, BK_INSN_RET);
    fixture_close(&f);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    fixture_dir = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_amd64),  cmocka_unit_test(test_armhf), cmocka_unit_test(test_arm64),
        cmocka_unit_test(test_mipsel), cmocka_unit_test(test_insns),
    };
    return cmocka_run_group_tests_name("flow", tests, NULL, NULL);
}
