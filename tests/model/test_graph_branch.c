/* The graph branch: against PyTorch, every gradient against central differences (in double), and by its properties. argv[1]:
 * graph_branch.bin. Compiled in float and in double. */
#include "../base/cmocka_all.h"
#include "golden.h"
#include "model/graph_int.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef BK_REAL_DOUBLE
static const double tol = 1e-11;
#else
static const double tol = 2e-5;
#endif

static const char *golden_path;
static struct bk_arena *arena; /* of a test */

static int set_up(void **state)
{
    (void)state;
    assert_non_null(arena = bk_arena_new());
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    bk_arena_free(arena);
    return 0;
}

static void *take(size_t n, size_t size)
{
    void *p = bk_arena_alloc(arena, n + 1, size);
    assert_non_null(p);
    return p;
}

static bk_real *reals(size_t n)
{
    return take(n, sizeof(bk_real));
}

/* A branch with weights, and functions. */
struct world {
    struct bk_graph_config cfg;
    struct bk_tensor tensors[BK_GRAPH_MAX_TENSORS];
    size_t n_tensors, n_params, b;
    bk_real *params, *coef; /* coef: b x n, the loss is the sum of coef f */
    struct bk_graph *graphs;
};

static void world_init(struct world *w, size_t b)
{
    w->n_tensors = bk_graph_tensors(w->tensors, &w->cfg);
    w->n_params = bk_graph_n_params(&w->cfg);
    w->b = b;
    w->params = reals(w->n_params);
    w->coef = reals(b * w->cfg.n);
    w->graphs = take(b, sizeof *w->graphs);
}

/* f (b x n) and, when not NULL, the gradient of the sum of coef f, by a pass of its own. */
static void run(const struct world *w, bk_real *f, bk_real *grads, const bk_real *coef, const struct bk_graph *graphs,
                size_t b)
{
    struct bk_error err;
    struct bk_graph_prepared *prepared;
    struct bk_graph_pass *pass;
    assert_int_equal(bk_graph_prepared_new(&prepared, &w->cfg, grads != NULL, &err), BK_OK);
    assert_int_equal(bk_graph_pass_new(&pass, &w->cfg, &err), BK_OK);
    bk_graph_prepare(prepared, w->params);
    assert_int_equal(bk_graph_pass_forward(pass, f, prepared, graphs, b, grads != NULL, &err), BK_OK);
    if (grads)
        bk_graph_pass_backward(pass, grads, prepared, coef);
    bk_graph_pass_free(pass);
    bk_graph_prepared_free(prepared);
}

/* ---- against PyTorch ---- */

static void world_load(struct world *w, const struct golden *g)
{
    size_t n, b;
    const uint32_t *d = golden_ids(arena, g, &n, "branch", "dims");
    w->cfg = (struct bk_graph_config){
        .forms = d[0], .s = d[1], .rounds = d[2], .a = d[3], .r = d[4], .n = d[5], .max_nodes = d[6]};
    const bk_real *coef = golden_reals(arena, g, &b, "branch", "coef");
    world_init(w, b / w->cfg.n);
    memcpy(w->coef, coef, b * sizeof *coef);
    for (size_t k = 0; k < w->n_tensors; k++) {
        const struct bk_tensor *t = &w->tensors[k];
        const bk_real *v = golden_reals(arena, g, &n, "branch/param", t->name);
        assert_int_equal(n, t->rows * t->cols);
        memcpy(w->params + t->offset, v, n * sizeof *v);
    }
    for (size_t i = 0; i < w->b; i++) {
        char prefix[32];
        snprintf(prefix, sizeof prefix, "branch/%zu", i);
        w->graphs[i] = golden_graph(arena, g, prefix);
    }
}

static void test_golden(void **state)
{
    struct golden g;
    struct world w;
    (void)state;
    golden_open(&g, golden_path);
    world_load(&w, &g);
    bk_real *f = reals(w.b * w.cfg.n), *grads = reals(w.n_params);
    run(&w, f, grads, w.coef, w.graphs, w.b);
    assert_golden(&g, f, w.b * w.cfg.n, tol, "branch", "f");
    for (size_t k = 0; k < w.n_tensors; k++)
        assert_golden(&g, grads + w.tensors[k].offset, w.tensors[k].rows * w.tensors[k].cols, 5 * tol, "branch/grad",
                      w.tensors[k].name);
    golden_close(&g);
}

#ifdef BK_REAL_DOUBLE
static double loss_of(const struct world *w, bk_real *f)
{
    double loss = 0;
    run(w, f, NULL, NULL, w->graphs, w->b);
    for (size_t i = 0; i < w->b * w->cfg.n; i++)
        loss += w->coef[i] * f[i];
    return loss;
}

static void check_tensor(const struct world *w, const struct bk_tensor *t, const bk_real *grads, bk_real *f)
{
    const double h = 1e-5;
    double largest = 0;
    for (size_t i = t->offset; i < t->offset + t->rows * t->cols; i++) {
        bk_real was = w->params[i];
        w->params[i] = was + h;
        double up = loss_of(w, f);
        w->params[i] = was - h;
        double down = loss_of(w, f);
        w->params[i] = was;
        assert_near(grads[i], (up - down) / (2 * h), 2e-7, t->name, i - t->offset);
        largest = fmax(largest, fabs(grads[i]));
    }
    if (!(largest > 1e-6))
        fail_msg("%s: no gradient to speak of", t->name);
}

static void test_gradients(void **state)
{
    struct golden g;
    struct world w;
    (void)state;
    golden_open(&g, golden_path);
    world_load(&w, &g);
    bk_real *f = reals(w.b * w.cfg.n), *grads = reals(w.n_params);
    run(&w, f, grads, w.coef, w.graphs, w.b);
    for (size_t k = 0; k < w.n_tensors; k++)
        check_tensor(&w, &w.tensors[k], grads, f);
    golden_close(&g);
}
#endif

/* ---- properties ---- */

enum { MAX_NODES = 300, FORMS = 50, MANY = 10000, B = 12 };

/* Blocks of 0 to 6 instructions, an eighth of the forms unknown; on average three edges for two blocks. */
static struct bk_graph random_graph(size_t nodes, struct bk_rng *rng)
{
    size_t n = 0, edges = nodes > 1 ? nodes + nodes / 2 : 0;
    uint16_t *insns = take(nodes, sizeof *insns);
    uint32_t *forms = take(6 * nodes, sizeof *forms), *neutral = take(6 * nodes, sizeof *neutral);
    struct bk_graph_edge *e = take(edges, sizeof *e);
    for (size_t i = 0; i < nodes; i++)
        n += insns[i] = (uint16_t)bk_rng_below(rng, 7);
    for (size_t i = 0; i < n; i++) {
        forms[i] = bk_rng_below(rng, 8) ? (uint32_t)bk_rng_below(rng, FORMS) : BK_STR_NONE;
        neutral[i] = bk_rng_below(rng, 8) ? (uint32_t)bk_rng_below(rng, FORMS) : BK_STR_NONE;
    }
    for (size_t i = 0; i < edges; i++)
        e[i] = (struct bk_graph_edge){(uint16_t)bk_rng_below(rng, nodes), (uint16_t)bk_rng_below(rng, nodes),
                                      (uint16_t)bk_rng_below(rng, BK_EDGE_KINDS)};
    return (struct bk_graph){
        (uint32_t)nodes, (uint32_t)edges, insns, forms, neutral, e, (uint32_t)n, (uint32_t)bk_rng_below(rng, 30)};
}

/* Long enough together for several groups; one is cut, two have no blocks. */
static void world_random(struct world *w)
{
    static const size_t nodes[B] = {3, 0, 1, MANY, 40, 299, 7, 3, 0, 200, 12, 1};
    struct bk_rng rng;
    w->cfg = (struct bk_graph_config){
        .forms = FORMS, .s = 21, .rounds = 3, .a = 10, .r = 3, .n = 18, .max_nodes = MAX_NODES};
    world_init(w, B);
    bk_rng_seed(&rng, 7, 0);
    bk_graph_init(w->params, &w->cfg, &rng);
    for (size_t i = 0; i < B * w->cfg.n; i++)
        w->coef[i] = (bk_real)(2 * bk_rng_unit(&rng) - 1);
    for (size_t i = 0; i < B; i++)
        w->graphs[i] = random_graph(nodes[i], &rng);
}

static void test_alone_as_in_batch(void **state)
{
    struct world w;
    (void)state;
    world_random(&w);
    const size_t n = w.cfg.n;
    bk_real *f = reals(B * n), *kept = reals(B * n), *one = reals(n), *grads = reals(w.n_params);
    bk_real *sum = reals(w.n_params);
    run(&w, f, NULL, NULL, w.graphs, B);
    run(&w, kept, grads, w.coef, w.graphs, B);
    assert_memory_equal(f, kept, B * n * sizeof *f);
    for (size_t i = 0; i < B; i++) {
        double length = 0;
        run(&w, one, NULL, NULL, &w.graphs[i], 1);
        assert_memory_equal(one, f + i * n, n * sizeof *one);
        run(&w, one, sum, w.coef + i * n, &w.graphs[i], 1);
        assert_memory_equal(one, f + i * n, n * sizeof *one);
        for (size_t j = 0; j < n; j++)
            length += fabs((double)one[j]);
        assert_true(w.graphs[i].n_nodes ? length > 1e-3 : length == 0);
    }
    for (size_t i = 0; i < w.n_params; i++)
        assert_near((double)grads[i], (double)sum[i], 5 * tol, "gradients add up over functions", i);
}

static void test_order(void **state)
{
    struct world w;
    struct bk_graph turned[B];
    (void)state;
    world_random(&w);
    const size_t n = w.cfg.n;
    bk_real *f = reals(B * n), *back = reals(B * n);
    for (size_t i = 0; i < B; i++)
        turned[i] = w.graphs[B - 1 - i];
    run(&w, f, NULL, NULL, w.graphs, B);
    run(&w, back, NULL, NULL, turned, B);
    for (size_t i = 0; i < B; i++)
        assert_memory_equal(back + i * n, f + (B - 1 - i) * n, n * sizeof *f);
}

/* A pass that was used for larger and smaller batches, kept and not, gives what a new one gives. */
static void test_pass_again(void **state)
{
    struct world w;
    struct bk_error err;
    struct bk_graph_prepared *prepared;
    struct bk_graph_pass *pass;
    (void)state;
    world_random(&w);
    const size_t n = w.cfg.n;
    bk_real *f = reals(B * n), *again = reals(B * n), *grads = reals(w.n_params), *more = reals(w.n_params);
    run(&w, f, grads, w.coef, w.graphs, B);
    assert_int_equal(bk_graph_prepared_new(&prepared, &w.cfg, true, &err), BK_OK);
    assert_int_equal(bk_graph_pass_new(&pass, &w.cfg, &err), BK_OK);
    bk_graph_prepare(prepared, w.params);
    for (size_t b = 1; b <= B; b++)
        for (int keep = 0; keep < 2; keep++) {
            assert_int_equal(bk_graph_pass_forward(pass, again, prepared, w.graphs, b, keep, &err), BK_OK);
            assert_memory_equal(again, f, b * n * sizeof *f);
        }
    bk_graph_pass_backward(pass, more, prepared, w.coef);
    assert_memory_equal(more, grads, w.n_params * sizeof *more);
    bk_graph_pass_backward(pass, more, prepared, w.coef); /* nothing is kept any more */
    assert_memory_equal(more, grads, w.n_params * sizeof *more);
    bk_graph_pass_free(pass);
    bk_graph_prepared_free(prepared);
}

static void assert_same(const struct world *w, const struct bk_graph *a, const struct bk_graph *b, bool same)
{
    bk_real *fa = reals(w->cfg.n), *fb = reals(w->cfg.n);
    run(w, fa, NULL, NULL, a, 1);
    run(w, fb, NULL, NULL, b, 1);
    assert_int_equal(memcmp(fa, fb, w->cfg.n * sizeof *fa) == 0, same);
}

static struct bk_graph_edge *copy_edges(struct bk_graph *g)
{
    struct bk_graph_edge *e = take(g->n_edges, sizeof *e);
    memcpy(e, g->edges, g->n_edges * sizeof *e);
    g->edges = e;
    return e;
}

static uint32_t *copy_ids(const uint32_t **ids, size_t n)
{
    uint32_t *copy = take(n, sizeof *copy);
    memcpy(copy, *ids, n * sizeof *copy);
    *ids = copy;
    return copy;
}

/* What lies behind the last block that is seen does not count, be it nonsense; what lies before does. */
static void test_cut(void **state)
{
    struct world w;
    size_t seen = 0;
    (void)state;
    world_random(&w);
    struct bk_graph g = w.graphs[3];
    uint32_t *forms = copy_ids(&g.forms, g.n_insns);
    struct bk_graph_edge *e = copy_edges(&g);
    assert_int_equal(g.n_nodes, MANY);
    for (size_t i = 0; i < MAX_NODES; i++)
        seen += g.insns[i];
    for (size_t i = seen; i < g.n_insns; i++)
        forms[i] = FORMS + 1000;
    for (size_t i = 0; i < g.n_edges; i++)
        if (e[i].from >= MAX_NODES || e[i].to >= MAX_NODES)
            e[i] = (struct bk_graph_edge){MANY - 1, MAX_NODES, BK_EDGE_JUMP};
    assert_same(&w, &w.graphs[3], &g, true);
    forms[seen - 1] = forms[seen - 1] == 1 ? 2 : 1;
    assert_same(&w, &w.graphs[3], &g, false);
}

/* An edge counts by its direction and the group of its kind. */
static void test_edges(void **state)
{
    struct world w;
    (void)state;
    world_random(&w);
    struct bk_graph a = w.graphs[4], b = a;
    struct bk_graph_edge *ea = copy_edges(&a), *eb = copy_edges(&b);
    static const bool second[BK_EDGE_KINDS] = {[BK_EDGE_TAKEN] = true, [BK_EDGE_JUMP] = true, [BK_EDGE_CASE] = true};
    for (unsigned ka = 0; ka < BK_EDGE_KINDS; ka++)
        for (unsigned kb = 0; kb < BK_EDGE_KINDS; kb++) {
            ea[5] = (struct bk_graph_edge){1, 2, (uint16_t)ka};
            eb[5] = (struct bk_graph_edge){1, 2, (uint16_t)kb};
            assert_same(&w, &a, &b, second[ka] == second[kb]);
            eb[5] = (struct bk_graph_edge){2, 1, (uint16_t)kb};
            assert_same(&w, &a, &b, false);
        }
}

/* A function is no other one when its blocks are numbered backwards. */
static void test_renumbered(void **state)
{
    struct world w;
    (void)state;
    world_random(&w);
    const struct bk_graph *g = &w.graphs[4];
    struct bk_graph turned = *g;
    uint16_t *insns = take(g->n_nodes, sizeof *insns);
    uint32_t *forms = copy_ids(&turned.forms, g->n_insns), *neutral = copy_ids(&turned.neutral, g->n_insns);
    struct bk_graph_edge *e = copy_edges(&turned);
    const uint16_t last = (uint16_t)(g->n_nodes - 1);
    turned.insns = insns;
    for (size_t i = 0, end = g->n_insns, from = 0; i < g->n_nodes; i++) {
        insns[last - i] = g->insns[i];
        end -= g->insns[i];
        for (size_t k = 0; k < g->insns[i]; k++, from++) {
            forms[end + k] = g->forms[from];
            neutral[end + k] = g->neutral[from];
        }
    }
    for (size_t i = 0; i < g->n_edges; i++)
        e[i] = (struct bk_graph_edge){(uint16_t)(last - e[i].from), (uint16_t)(last - e[i].to), e[i].kind};
    bk_real *fa = reals(w.cfg.n), *fb = reals(w.cfg.n);
    run(&w, fa, NULL, NULL, g, 1);
    run(&w, fb, NULL, NULL, &turned, 1);
    for (size_t i = 0; i < w.cfg.n; i++)
        assert_near((double)fb[i], (double)fa[i], tol, "renumbered", i);
}

/* Unknown instructions are as none; the sizes still count. */
static void test_all_unknown(void **state)
{
    struct world w;
    (void)state;
    world_random(&w);
    struct bk_graph a = w.graphs[6], b = a, c = a;
    memset(copy_ids(&a.forms, a.n_insns), 0xff, a.n_insns * sizeof *a.forms);
    memset(copy_ids(&a.neutral, a.n_insns), 0xff, a.n_insns * sizeof *a.neutral);
    b.insns = take(b.n_nodes, sizeof *b.insns);
    b.forms = b.neutral = NULL;
    assert_same(&w, &a, &b, true);
    assert_same(&w, &a, &c, false);
    b.n_insns++;
    assert_same(&w, &a, &b, false);
}

static void test_sizes(void **state)
{
    struct world w;
    (void)state;
    world_random(&w);
    struct bk_graph a = w.graphs[6], b = a;
    b.n_callees++;
    assert_same(&w, &a, &b, false);
}

/* No functions, and functions without blocks: nothing to write, zero vectors, and no gradient. */
static void test_nothing(void **state)
{
    struct world w;
    struct bk_error err;
    struct bk_graph_prepared *prepared;
    struct bk_graph_pass *pass;
    const struct bk_graph empty[2] = {{.n_insns = 9, .n_callees = 1}, {0}};
    (void)state;
    world_random(&w);
    bk_real *f = reals(2 * w.cfg.n), *grads = reals(w.n_params), *none = reals(w.n_params);
    assert_int_equal(bk_graph_prepared_new(&prepared, &w.cfg, true, &err), BK_OK);
    assert_int_equal(bk_graph_pass_new(&pass, &w.cfg, &err), BK_OK);
    bk_graph_prepare(prepared, w.params);
    for (size_t b = 0; b <= 2; b += 2) {
        for (size_t i = 0; i < 2 * w.cfg.n; i++)
            f[i] = 7;
        assert_int_equal(bk_graph_pass_forward(pass, f, prepared, empty, b, true, &err), BK_OK);
        for (size_t i = 0; i < 2 * w.cfg.n; i++)
            assert_true(f[i] == (b ? 0 : 7));
        bk_graph_pass_backward(pass, grads, prepared, w.coef);
        assert_memory_equal(grads, none, w.n_params * sizeof *grads);
    }
    bk_graph_pass_free(pass);
    bk_graph_prepared_free(prepared);
}

static void assert_refused(const struct world *w, const struct bk_graph *graphs, size_t b, const char *message)
{
    struct bk_error err;
    struct bk_graph_prepared *prepared;
    struct bk_graph_pass *pass;
    bk_real f[B * 18];
    assert_int_equal(w->cfg.n, 18);
    for (size_t i = 0; i < B * 18; i++)
        f[i] = 7;
    assert_int_equal(bk_graph_prepared_new(&prepared, &w->cfg, false, &err), BK_OK);
    assert_int_equal(bk_graph_pass_new(&pass, &w->cfg, &err), BK_OK);
    bk_graph_prepare(prepared, w->params);
    assert_int_equal(bk_graph_pass_forward(pass, f, prepared, graphs, b, false, &err), BK_EINVAL);
    assert_string_equal(err.message, message);
    for (size_t i = 0; i < B * 18; i++)
        assert_true(f[i] == 7);
    assert_int_equal(bk_graph_pass_forward(pass, f, prepared, w->graphs, B, false, &err), BK_OK);
    bk_graph_pass_free(pass);
    bk_graph_prepared_free(prepared);
}

static void test_bad_input(void **state)
{
    struct world w;
    struct bk_graph bad[2];
    (void)state;
    world_random(&w);
    bad[0] = w.graphs[0];
    bad[1] = w.graphs[4];
    copy_ids(&bad[1].forms, bad[1].n_insns)[3] = FORMS;
    assert_refused(&w, bad, 2, "form 3 of function 1 has id 50, the table ends at 50");
    bad[1] = w.graphs[4];
    copy_ids(&bad[1].neutral, bad[1].n_insns)[0] = BK_STR_NONE - 1;
    assert_refused(&w, bad, 2, "neutral form 0 of function 1 has id 4294967294, the table ends at 50");
    bad[1] = w.graphs[4];
    copy_edges(&bad[1])[2] = (struct bk_graph_edge){0, 40, BK_EDGE_FALL};
    assert_refused(&w, bad, 2, "edge 2 of function 1 goes from 0 to 40 of 40 blocks");
    copy_edges(&bad[1])[2] = (struct bk_graph_edge){65535, 1, BK_EDGE_FALL};
    assert_refused(&w, bad, 2, "edge 2 of function 1 goes from 65535 to 1 of 40 blocks");
    copy_edges(&bad[1])[2] = (struct bk_graph_edge){0, 1, BK_EDGE_KINDS};
    assert_refused(&w, bad, 2, "edge 2 of function 1 is of kind 5, which is none");
}

static void test_config(void **state)
{
    struct bk_graph_config cfg;
    struct bk_error err;
    (void)state;
    bk_graph_config_default(&cfg, 1000);
    assert_int_equal(bk_graph_config_check(&cfg, &err), BK_OK);
    uint32_t *const sizes[] = {&cfg.forms, &cfg.s, &cfg.rounds, &cfg.a, &cfg.r, &cfg.n, &cfg.max_nodes};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint32_t was = *sizes[i];
        *sizes[i] = 0;
        assert_int_equal(bk_graph_config_check(&cfg, &err), BK_ELIMIT);
        *sizes[i] = UINT32_MAX;
        assert_int_equal(bk_graph_config_check(&cfg, &err), BK_ELIMIT);
        *sizes[i] = was;
    }
    cfg.forms = 1 << 20; /* each size allowed, together too many numbers */
    cfg.s = 512;
    assert_int_equal(bk_graph_config_check(&cfg, &err), BK_ELIMIT);
    struct bk_graph_pass *pass;
    struct bk_graph_prepared *prepared;
    assert_int_equal(bk_graph_pass_new(&pass, &cfg, &err), BK_ELIMIT);
    assert_null(pass);
    assert_int_equal(bk_graph_prepared_new(&prepared, &cfg, true, &err), BK_ELIMIT);
    assert_null(prepared);
}

static double largest_of(const bk_real *v, size_t n)
{
    bk_real largest = 0;
    for (size_t i = 0; i < n; i++) {
        bk_real x = v[i] < 0 ? -v[i] : v[i];
        largest = x > largest ? x : largest;
    }
    return (double)largest;
}

/* table, message, cell with its biases, attention and the dense layer; bounds of what is drawn. */
static void test_init(void **state)
{
    struct bk_graph_config cfg;
    struct bk_tensor t[BK_GRAPH_MAX_TENSORS];
    struct bk_rng rng;
    (void)state;
    bk_graph_config_default(&cfg, 1000);
    assert_int_equal(bk_graph_n_params(&cfg),
                     1000 * 64 + 64 + 4 * 64 * 64 + 128 * 192 + 192 + 64 * 64 + 6 * 64 + 128 * (6 * 64 + 4) + 128);
    bk_real *params = reals(bk_graph_n_params(&cfg));
    bk_rng_seed(&rng, 1, 0);
    bk_graph_init(params, &cfg, &rng);
    size_t n = bk_graph_tensors(t, &cfg);
    assert_int_equal(n, BK_GRAPH_MAX_TENSORS);
    for (size_t k = 0; k < n; k++) {
        double limit = strcmp(t[k].name, "graph.table") == 0 ? 0.1 : sqrt(6.0 / (double)(t[k].rows + t[k].cols));
        double largest = largest_of(params + t[k].offset, t[k].rows * t[k].cols);
        if (t[k].cols == 1)
            assert_true(largest == (strcmp(t[k].name, "graph.cell.gate.bias") == 0));
        else
            assert_true(largest <= limit * (1 + 1e-6) && largest > 0.9 * limit);
    }
}

int main(int argc, char **argv)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_golden),
#ifdef BK_REAL_DOUBLE
        CASE(test_gradients),
#endif
        CASE(test_alone_as_in_batch),
        CASE(test_order),
        CASE(test_pass_again),
        CASE(test_cut),
        CASE(test_edges),
        CASE(test_renumbered),
        CASE(test_all_unknown),
        CASE(test_sizes),
        CASE(test_nothing),
        CASE(test_bad_input),
        CASE(test_config),
        CASE(test_init),
    };
    golden_path = argc > 1 ? argv[1] : "graph_branch.bin";
    return cmocka_run_group_tests(tests, NULL, NULL);
}
