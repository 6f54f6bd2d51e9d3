/* The ops of graphs, the count-sketch, the branches and the losses over labels: against PyTorch, every gradient against central
 * differences (in double), and by their properties. argv[1]: graph.bin. */
#include "../base/cmocka_all.h"
#include "nn/nn.h"
#include "records.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifdef BK_REAL_DOUBLE
static const double tol = 1e-11;
#else
static const double tol = 2e-5;
#endif

static const char *golden_path;
static struct golden golden;
static struct bk_arena *arena; /* of a test */

static int set_up(void **state)
{
    (void)state;
    golden_open(&golden, golden_path);
    assert_non_null(arena = bk_arena_new());
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    golden_close(&golden);
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

static bk_real *find_reals(size_t *n, const char *prefix, const char *name)
{
    double *v = golden_find(&golden, n, "%s%s", prefix, name);
    if (!v)
        fail_msg("no record %s%s", prefix, name);
    bk_real *out = reals(*n);
    for (size_t i = 0; i < *n; i++)
        out[i] = (bk_real)v[i];
    free(v);
    return out;
}

static void assert_golden(const bk_real *x, size_t count, double limit, const char *prefix, const char *name)
{
    size_t n;
    double *v = golden_find(&golden, &n, "%s%s", prefix, name);
    assert_non_null(v);
    assert_int_equal(n, count);
    for (size_t i = 0; i < n; i++)
        assert_near((double)x[i], v[i], limit, name, i);
    free(v);
}

static void random_reals(bk_real *x, size_t n, struct bk_rng *rng, double limit)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (bk_real)((2 * bk_rng_unit(rng) - 1) * limit);
}

/* grads: of the loss, for each of the n numbers w. In float, differences say nothing. */
static void check_numbers(double (*loss)(void *ctx), void *ctx, bk_real *w, const bk_real *grads, size_t n,
                          const char *name)
{
#ifdef BK_REAL_DOUBLE
    const double h = 1e-5;
    double largest = 0;
    for (size_t i = 0; i < n; i++) {
        bk_real was = w[i];
        w[i] = was + h;
        double up = loss(ctx);
        w[i] = was - h;
        double down = loss(ctx);
        w[i] = was;
        assert_near(grads[i], (up - down) / (2 * h), 2e-7, name, i);
        largest = fmax(largest, fabs(grads[i]));
    }
    if (!(largest > 1e-6))
        fail_msg("%s: no gradient to speak of", name);
#else
    (void)loss, (void)ctx, (void)w, (void)grads, (void)n, (void)name;
#endif
}

/* ---- a network of all the ops, and batches ---- */

enum { TABLE, BIAS, SLOT, GATE, GATE_BIAS, CAND, CAND_BIAS, WS1, WS2, TENSORS };
static const char *const names[TENSORS] = {"table", "bias",      "slot", "gate", "gate.bias",
                                           "cand",  "cand.bias", "ws1",  "ws2"};

struct net {
    size_t forms, s, slots, a, r, rounds;
    bk_real *w[TENSORS], *grad[TENSORS];
    size_t size[TENSORS];
};

static void net_make(struct net *n, const size_t dims[6])
{
    *n = (struct net){dims[0], dims[1], dims[2], dims[3], dims[4], dims[5], {0}, {0}, {0}};
    const size_t s = n->s, sizes[TENSORS] = {n->forms * s, s, s * n->slots * s, 4 * s * s,  2 * s,
                                             2 * s * s,    s, n->a * s,         n->r * n->a};
    for (size_t k = 0; k < TENSORS; k++) {
        n->size[k] = sizes[k];
        n->w[k] = reals(sizes[k]);
        n->grad[k] = reals(sizes[k]);
    }
}

/* Entries and edges in no order: (function, node, form), (function, from, to, slot). */
struct raw {
    size_t functions, n_bag, n_edges;
    const uint32_t *nodes;
    uint32_t (*bag)[3];
    const bk_real *weight;
    uint32_t (*edge)[4];
};

struct batch {
    struct bk_packing pk;
    struct bk_sparse bag, edges;
};

/* The functions [first, first + b) of raw, which come with the most nodes first. */
static void pack(struct batch *out, const struct raw *raw, size_t first, size_t b, size_t slots)
{
    const uint32_t *nodes = raw->nodes + first;
    uint32_t *row = take(nodes[0] + 1, sizeof *row);
    for (size_t at = 0; at < nodes[0]; at++) {
        row[at + 1] = row[at];
        for (size_t i = 0; i < b; i++)
            row[at + 1] += nodes[i] > at;
    }
    const size_t m = row[nodes[0]];
    out->pk = (struct bk_packing){b, nodes[0], m, row};
    uint32_t *begin[2] = {take(m + 1, sizeof **begin), take(m + 1, sizeof **begin)};
    uint32_t *id[2] = {take(raw->n_bag, sizeof **id), take(raw->n_edges, sizeof **id)};
    bk_real *weight = reals(raw->n_bag);
    for (size_t at = 0; at < nodes[0]; at++)
        for (size_t i = 0, v = row[at]; v < row[at + 1]; i++, v++) {
            uint32_t *end = begin[0] + v + 1;
            *end = begin[0][v];
            for (size_t e = 0; e < raw->n_bag; e++)
                if (raw->bag[e][0] == first + i && raw->bag[e][1] == at) {
                    weight[*end] = raw->weight[e];
                    id[0][(*end)++] = raw->bag[e][2];
                }
            end = begin[1] + v + 1;
            *end = begin[1][v];
            for (size_t e = 0; e < raw->n_edges; e++)
                if (raw->edge[e][0] == first + i && raw->edge[e][2] == at)
                    id[1][(*end)++] = (uint32_t)((row[raw->edge[e][1]] + i) * slots + raw->edge[e][3]);
        }
    out->bag = (struct bk_sparse){m, begin[0], id[0], weight};
    out->edges = (struct bk_sparse){m, begin[1], id[1], NULL};
}

static struct bk_weights packed(enum bk_op t, const bk_real *b, size_t ldb, size_t k, size_t n)
{
    bk_real *panels = reals(bk_weights_size(k, n));
    bk_weights_pack(panels, t, b, ldb, k, n);
    return (struct bk_weights){.k = k, .n = n, .panels = panels};
}

/* k x (parts n) -> k x (parts bk_padded(n)), into out, rows ld apart. */
static void spread(bk_real *out, size_t ld, const bk_real *w, size_t k, size_t parts, size_t n)
{
    for (size_t i = 0; i < k; i++)
        for (size_t p = 0; p < parts; p++)
            memcpy(out + i * ld + p * bk_padded(n), w + (i * parts + p) * n, n * sizeof *out);
}

/* What the network keeps from forward to backward. */
struct pass {
    struct bk_cell *cell; /* of each round */
    struct bk_cell_back back;
    struct bk_attention at;
    struct bk_weights slot, slot_back, back1, back2;
    bk_real **h, **msg; /* states before each round and in the end; messages */
    bk_real *x, *scratch;
};

static void pass_make(struct pass *p, const struct net *n, const struct batch *b, bool keep)
{
    const size_t s = n->s, w = bk_padded(s), m = b->pk.m, kept = keep ? m : BK_CELL_ROWS;
    bk_real *joint = reals(s * 3 * w), *gate = reals(s * 2 * w), *slot = reals(s * n->slots * w), *bias = reals(3 * w);
    spread(joint, 3 * w, n->w[GATE], s, 2, s);
    spread(joint + 2 * w, 3 * w, n->w[CAND], s, 1, s);
    spread(gate, 2 * w, n->w[GATE] + 2 * s * s, s, 2, s);
    spread(slot, n->slots * w, n->w[SLOT], s, n->slots, s);
    spread(bias, 2 * w, n->w[GATE_BIAS], 1, 2, s);
    spread(bias + 2 * w, w, n->w[CAND_BIAS], 1, 1, s);
    p->slot = packed(BK_N, slot, n->slots * w, s, n->slots * w);
    p->slot_back = packed(BK_T, slot, n->slots * w, n->slots * w, s);
    p->cell = take(n->rounds, sizeof *p->cell);
    p->h = take(n->rounds + 1, sizeof *p->h);
    p->msg = take(n->rounds, sizeof *p->msg);
    for (size_t k = 0; k <= n->rounds; k++) {
        p->h[k] = reals(m * w);
        p->msg[k] = reals(m * w);
        p->cell[k] = (struct bk_cell){.in = s, .s = s, .bias = bias, .keep = keep};
        p->cell[k].wx = packed(BK_N, joint, 3 * w, s, 3 * w);
        p->cell[k].wg = packed(BK_N, gate, 2 * w, s, 2 * w);
        p->cell[k].wc = packed(BK_N, n->w[CAND] + s * s, s, s, s);
        p->cell[k].gate = reals(kept * 2 * w);
        p->cell[k].cand = reals(kept * w);
        p->cell[k].rh = reals(kept * w);
    }
    p->back = (struct bk_cell_back){.xg = packed(BK_T, joint, 3 * w, 2 * w, s),
                                    .xc = packed(BK_T, joint + 2 * w, 3 * w, s, s),
                                    .g = packed(BK_T, gate, 2 * w, 2 * w, s),
                                    .c = packed(BK_T, n->w[CAND] + s * s, s, s, s),
                                    .dgate = n->grad[GATE],
                                    .dgate_bias = n->grad[GATE_BIAS],
                                    .dcand = n->grad[CAND],
                                    .dcand_bias = n->grad[CAND_BIAS]};
    p->at = (struct bk_attention){.u = s, .a = n->a, .r = n->r, .keep = true};
    p->at.ws1 = packed(BK_T, n->w[WS1], s, s, n->a);
    p->at.ws2 = packed(BK_T, n->w[WS2], n->a, n->a, n->r);
    p->back1 = packed(BK_N, n->w[WS1], s, n->a, s);
    p->back2 = packed(BK_N, n->w[WS2], n->a, n->r, n->a);
    p->at.z = reals((m + BK_ATTENTION_ROWS) * bk_padded(n->a));
    p->at.att = reals(m * bk_padded(n->r));
    p->x = reals(m * n->slots * w);
    p->scratch = reals(bk_cell_scratch(s) + bk_attention_scratch(&p->at, &b->pk));
}

static void forward(const struct net *n, const struct batch *b, struct pass *p, bk_real *f)
{
    const size_t w = bk_padded(n->s), m = b->pk.m, ldx = n->slots * w;
    bk_sparse_forward(p->h[0], w, &b->bag, n->w[TABLE], n->s, n->w[BIAS], n->s);
    bk_tanh(p->h[0], p->h[0], m * w);
    for (size_t k = 0; k < n->rounds; k++) {
        bk_product(p->x, ldx, &p->slot, m, p->h[k], w, false);
        bk_sparse_forward(p->msg[k], w, &b->edges, p->x, w, NULL, w);
        bk_cell_forward(&p->cell[k], m, p->h[k + 1], p->h[k], p->msg[k], w, p->scratch);
    }
    bk_attention_forward(&p->at, &b->pk, f, (struct bk_states){p->h[n->rounds], NULL, w}, p->scratch);
}

static void backward(const struct net *n, const struct batch *b, struct pass *p, const bk_real *df)
{
    const size_t s = n->s, w = bk_padded(s), m = b->pk.m, ldx = n->slots * w;
    bk_real *dh = reals(m * w), *dmsg = reals(m * w);
    bk_attention_backward(&p->at, &p->back1, &p->back2, &b->pk, n->grad[WS1], n->grad[WS2], dh, df,
                          (struct bk_states){p->h[n->rounds], NULL, w}, 0, p->scratch);
    for (size_t k = n->rounds; k-- > 0;) {
        bk_cell_backward(&p->cell[k], &p->back, m, dh, dmsg, p->h[k], p->msg[k], w, p->scratch);
        memset(p->x, 0, m * ldx * sizeof *p->x);
        bk_sparse_backward(p->x, w, NULL, &b->edges, dmsg, w, w);
        bk_product(dh, w, &p->slot_back, m, p->x, ldx, true);
        for (size_t slot = 0; slot < n->slots; slot++)
            bk_gemm(BK_T, BK_N, s, s, m, p->h[k], w, p->x + slot * w, ldx, true, n->grad[SLOT] + slot * s,
                    n->slots * s);
    }
    for (size_t i = 0; i < m * w; i++)
        dh[i] *= 1 - p->h[0][i] * p->h[0][i];
    bk_sparse_backward(n->grad[TABLE], s, n->grad[BIAS], &b->bag, dh, w, s);
}

/* ---- the network against PyTorch ---- */

struct problem {
    struct net net;
    struct batch batch;
    const bk_real *coef; /* the loss is the sum of coef f */
};

static uint32_t *find_ids(size_t *n, const char *prefix, const char *name)
{
    const bk_real *v = find_reals(n, prefix, name);
    uint32_t *out = take(*n, sizeof *out);
    for (size_t i = 0; i < *n; i++)
        out[i] = (uint32_t)v[i];
    return out;
}

static void problem_load(struct problem *p)
{
    size_t n, dims[6];
    struct raw raw;
    const uint32_t *d = find_ids(&n, "graph/", "dims");
    for (size_t i = 0; i < 6; i++)
        dims[i] = d[i];
    net_make(&p->net, dims);
    for (size_t k = 0; k < TENSORS; k++) {
        p->net.w[k] = find_reals(&n, "graph/param/", names[k]);
        assert_int_equal(n, p->net.size[k]);
    }
    raw.nodes = find_ids(&raw.functions, "graph/", "nodes");
    raw.edge = (uint32_t(*)[4])find_ids(&n, "graph/", "edge");
    raw.n_edges = n / 4;
    const bk_real *bag = find_reals(&n, "graph/", "bag");
    raw.n_bag = n / 4;
    uint32_t(*entry)[3] = take(raw.n_bag, sizeof *entry);
    bk_real *weight = reals(raw.n_bag);
    for (size_t i = 0; i < n; i++)
        if (i % 4 == 3)
            weight[i / 4] = bag[i];
        else
            entry[i / 4][i % 4] = (uint32_t)bag[i];
    raw.bag = entry;
    raw.weight = weight;
    pack(&p->batch, &raw, 0, raw.functions, dims[2]);
    p->coef = find_reals(&n, "graph/", "coef");
    assert_int_equal(n, p->batch.pk.b * p->net.r * p->net.s);
}

/* f: b x (r s), dense. */
static double problem_run(struct problem *p, bk_real *f, bool back)
{
    const size_t b = p->batch.pk.b, o = p->net.r * p->net.s, ld = bk_padded(o);
    bk_real *out = reals(b * ld), *df = reals(b * ld);
    struct pass pass;
    double loss = 0;
    pass_make(&pass, &p->net, &p->batch, true);
    forward(&p->net, &p->batch, &pass, out);
    for (size_t i = 0; i < b * o; i++) {
        f[i] = out[i / o * ld + i % o];
        df[i / o * ld + i % o] = p->coef[i];
        loss += (double)p->coef[i] * (double)f[i];
    }
    if (back)
        backward(&p->net, &p->batch, &pass, df);
    return loss;
}

static void test_graph_golden(void **state)
{
    struct problem p;
    (void)state;
    problem_load(&p);
    const size_t n = p.batch.pk.b * p.net.r * p.net.s;
    bk_real *f = reals(n);
    problem_run(&p, f, true);
    assert_golden(f, n, tol, "graph/", "f");
    for (size_t k = 0; k < TENSORS; k++)
        assert_golden(p.net.grad[k], p.net.size[k], 5 * tol, "graph/grad/", names[k]);
}

static double problem_loss(void *ctx)
{
    struct bk_arena *outer = arena;
    assert_non_null(arena = bk_arena_new());
    struct problem *p = ctx;
    double loss = problem_run(p, reals(p->batch.pk.b * p->net.r * p->net.s), false);
    bk_arena_free(arena);
    arena = outer;
    return loss;
}

static void test_graph_gradients(void **state)
{
    struct problem p;
    (void)state;
    problem_load(&p);
    problem_run(&p, reals(p.batch.pk.b * p.net.r * p.net.s), true);
    for (size_t k = 0; k < TENSORS; k++)
        check_numbers(problem_loss, &p, p.net.w[k], p.net.grad[k], p.net.size[k], names[k]);
}

/* ---- properties of graphs ---- */

/* Functions of many, few and one node, some without edges; every node of the first has an edge to its last. */
static void random_graphs(struct raw *raw, const struct net *n, struct bk_rng *rng)
{
    enum { FUNCTIONS = 7, BAG = 2000, EDGES = 900 };
    static const uint32_t nodes[FUNCTIONS] = {301, 130, 9, 9, 2, 1, 1};
    uint32_t(*bag)[3] = take(BAG, sizeof *bag), (*edge)[4] = take(EDGES + nodes[0], sizeof *edge);
    bk_real *weight = reals(BAG);
    for (size_t i = 0; i < BAG; i++) {
        bag[i][0] = (uint32_t)bk_rng_below(rng, FUNCTIONS - 1); /* the last has nothing */
        bag[i][1] = (uint32_t)bk_rng_below(rng, nodes[bag[i][0]]);
        bag[i][2] = (uint32_t)bk_rng_below(rng, n->forms);
    }
    random_reals(weight, BAG, rng, 1);
    for (size_t i = 0; i < EDGES + nodes[0]; i++) {
        uint32_t function = i < EDGES ? (uint32_t)bk_rng_below(rng, 4) : 0;
        edge[i][0] = function;
        edge[i][1] = i < EDGES ? (uint32_t)bk_rng_below(rng, nodes[function]) : (uint32_t)(i - EDGES);
        edge[i][2] = i < EDGES ? (uint32_t)bk_rng_below(rng, nodes[function]) : nodes[0] - 1;
        edge[i][3] = (uint32_t)bk_rng_below(rng, n->slots);
    }
    *raw = (struct raw){FUNCTIONS, BAG, EDGES + nodes[0], nodes, bag, weight, edge};
}

/* A function has the same bits alone and among others, with and without what backward needs. */
static void test_function_alone(void **state)
{
    const size_t dims[6] = {50, 20, 4, 9, 3, 3}, o = dims[4] * dims[1], ld = bk_padded(o);
    struct net net;
    struct raw raw;
    struct batch batch;
    struct pass pass;
    struct bk_rng rng;
    (void)state;
    bk_rng_seed(&rng, 11, 0);
    net_make(&net, dims);
    for (size_t k = 0; k < TENSORS; k++)
        random_reals(net.w[k], net.size[k], &rng, 0.4);
    random_graphs(&raw, &net, &rng);
    bk_real *all = reals(raw.functions * ld), *one = reals(ld);
    pack(&batch, &raw, 0, raw.functions, net.slots);
    assert_true(batch.pk.m > 3 * BK_CELL_ROWS);
    pass_make(&pass, &net, &batch, true);
    forward(&net, &batch, &pass, all);
    for (size_t i = 0; i < raw.functions; i++)
        for (int keep = 0; keep < 2; keep++) {
            pack(&batch, &raw, i, 1, net.slots);
            pass_make(&pass, &net, &batch, keep);
            forward(&net, &batch, &pass, one);
            assert_memory_equal(one, all + i * ld, o * sizeof *one);
            for (size_t j = 0; j < o; j++)
                assert_true(isfinite((double)one[j]));
        }
}

/* More nodes than the cell takes at once. */
static void test_large_gradients(void **state)
{
    const size_t dims[6] = {6, 3, 2, 2, 2, 2};
    struct problem p;
    struct raw raw;
    struct bk_rng rng;
    (void)state;
    bk_rng_seed(&rng, 12, 0);
    net_make(&p.net, dims);
    for (size_t k = 0; k < TENSORS; k++)
        random_reals(p.net.w[k], p.net.size[k], &rng, 0.6);
    random_graphs(&raw, &p.net, &rng);
    pack(&p.batch, &raw, 0, raw.functions, p.net.slots);
    const size_t n = raw.functions * p.net.r * p.net.s;
    bk_real *coef = reals(n);
    random_reals(coef, n, &rng, 1);
    p.coef = coef;
    problem_run(&p, reals(n), true);
    for (size_t k = 0; k < TENSORS; k++)
        check_numbers(problem_loss, &p, p.net.w[k], p.net.grad[k], p.net.size[k], names[k]);
}

/* Rows of no entry, of one, and of thousands; padding and rows that nobody names. */
static void test_sparse(void **state)
{
    enum { N = 21, W = 32, LDX = N + 2, LDY = W + 1, IDS = 40, HUB = 5000 };
    struct bk_rng rng;
    uint32_t begin[] = {0, 0, 1, 1 + HUB, 1 + HUB}, *id = take(1 + HUB, sizeof *id);
    bk_real *x = reals(IDS * LDX), *weight = reals(1 + HUB), *y = reals(4 * LDY), *dx = reals(IDS * LDX);
    bk_real *bias = reals(N), dbias[N] = {0};
    (void)state;
    bk_rng_seed(&rng, 3, 0);
    random_reals(x, IDS * LDX, &rng, 1);
    random_reals(weight, 1 + HUB, &rng, 1);
    random_reals(bias, N, &rng, 1);
    for (size_t e = 0; e <= HUB; e++)
        id[e] = (uint32_t)bk_rng_below(&rng, IDS - 1);
    for (int how = 0; how < 4; how++) {
        const struct bk_sparse s = {4, begin, id, how & 1 ? weight : NULL};
        for (size_t i = 0; i < 4 * LDY; i++)
            y[i] = 7;
        bk_sparse_forward(y, LDY, &s, x, LDX, how & 2 ? bias : NULL, N);
        for (size_t i = 0; i < 4; i++)
            for (size_t j = 0; j < LDY; j++) {
                double sum = j < N && how & 2 ? (double)bias[j] : 0;
                for (size_t e = begin[i]; j < N && e < begin[i + 1]; e++)
                    sum += (how & 1 ? (double)weight[e] : 1) * (double)x[id[e] * LDX + j];
                assert_near((double)y[i * LDY + j], j >= W ? 7 : sum, begin[i + 1] - begin[i] > 1 ? 50 * tol : tol, "y",
                            i);
                assert_true(j < N || j >= W || y[i * LDY + j] == 0);
            }
        /* <S x, y> = <x, S^T y>, and what is added to stays */
        for (size_t i = 0; i < IDS * LDX; i++)
            dx[i] = 3;
        bk_sparse_backward(dx, LDX, how & 2 ? dbias : NULL, &s, y, LDY, N);
        double left = 0, right = 0;
        for (size_t i = 0; i < 4; i++)
            for (size_t j = 0; j < N; j++)
                left += (double)(y[i * LDY + j] - (how & 2 ? bias[j] : 0)) * (double)y[i * LDY + j];
        for (size_t i = 0; i < IDS; i++)
            for (size_t j = 0; j < LDX; j++)
                if (i == IDS - 1 || j >= N)
                    assert_true(dx[i * LDX + j] == 3);
                else
                    right += (double)(dx[i * LDX + j] - 3) * (double)x[i * LDX + j];
        assert_near(right, left, 10 * tol, "product", 0);
        for (size_t j = 0; how == 2 && j < N; j++)
            assert_near((double)dbias[j], (double)(y[j] + y[LDY + j] + y[2 * LDY + j] + y[3 * LDY + j]), tol, "dbias",
                        j);
    }
    bk_sparse_forward(y, LDY, &(struct bk_sparse){0, begin, id, NULL}, x, LDX, NULL, N);
}

/* ---- count-sketch ---- */

static void test_sketch_golden(void **state)
{
    size_t n, count;
    (void)state;
    const size_t size = (size_t)find_reals(&n, "sketch/", "n")[0];
    double *halves = golden_find(&golden, &n, "sketch/hash");
    const bk_real *weight = find_reals(&count, "sketch/", "weight");
    uint64_t *hash = take(count, sizeof *hash);
    bk_real *y = reals(size);
    assert_int_equal(n, 2 * count);
    for (size_t i = 0; i < count; i++)
        hash[i] = (uint64_t)halves[2 * i] << 32 | (uint64_t)halves[2 * i + 1];
    free(halves);
    bk_sketch(y, size, hash, weight, count);
    assert_golden(y, size, sizeof(bk_real) == 4 ? 0 : 1e-6, "sketch/", "y"); /* the record was made in float */
    bk_sketch(y, size, NULL, NULL, 0);
    for (size_t j = 0; j < size; j++)
        assert_true(y[j] == 0);
    bk_real one[2] = {0}, w = 3; /* each half has one number */
    bk_sketch(one, 2, &(uint64_t){1}, &w, 1);
    assert_near((double)one[0], -3 * sqrt(0.5), 1e-7, "sketch", 0);
    assert_near((double)one[1], 3 * sqrt(0.5), 1e-7, "sketch", 1);
}

static double dot(const bk_real *a, const bk_real *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

/* Two sparse vectors over ITEMS items under many hashes: mean and variance of the sketches' dot product are those of the theory, and the error of
 * their cosine halves when n grows fourfold. */
static void test_sketch_theory(void **state)
{
    enum { ITEMS = 60, TRIALS = 4000, LARGEST = 512 };
    static const size_t sizes[3] = {32, 128, LARGEST};
    bk_real x[ITEMS] = {0}, y[ITEMS] = {0}, sx[LARGEST], sy[LARGEST];
    uint64_t hash[ITEMS];
    struct bk_rng rng;
    double both = 0, error[3] = {0};
    (void)state;
    bk_rng_seed(&rng, 21, 0);
    random_reals(x, 40, &rng, 2);
    random_reals(y + 20, 40, &rng, 2);
    memcpy(y + 30, x + 30, 10 * sizeof *y); /* shared, as found in kin */
    x[35] = y[35] = 4;
    for (size_t i = 0; i < ITEMS; i++)
        both += pow((double)x[i] * (double)y[i], 2);
    const double xx = dot(x, x, ITEMS), yy = dot(y, y, ITEMS), xy = dot(x, y, ITEMS), cosine = xy / sqrt(xx * yy);
    for (size_t k = 0; k < 3; k++) {
        const double variance = (xx * yy + xy * xy - 2 * both) / (double)sizes[k];
        double sum = 0, squares = 0;
        for (size_t t = 0; t < TRIALS; t++) {
            for (size_t i = 0; i < ITEMS; i++)
                hash[i] = bk_rng_u64(&rng);
            bk_sketch(sx, sizes[k], hash, x, ITEMS);
            bk_sketch(sy, sizes[k], hash, y, ITEMS);
            double miss = dot(sx, sy, sizes[k]) - xy;
            sum += miss;
            squares += miss * miss;
            double lengths = sqrt(dot(sx, sx, sizes[k]) * dot(sy, sy, sizes[k]));
            error[k] += pow(dot(sx, sy, sizes[k]) / lengths - cosine, 2) / TRIALS;
        }
        assert_true(fabs(sum / TRIALS) < 4 * sqrt(variance / TRIALS));
        assert_true(fabs(squares / TRIALS / variance - 1) < 0.12);
        assert_true(error[k] < (1 + cosine * cosine) / (double)sizes[k]);
    }
    assert_true(fabs(sqrt(error[0] / error[1]) - 2) < 0.2 && fabs(sqrt(error[1] / error[2]) - 2) < 0.2);
}

/* ---- branches ---- */

struct branches {
    struct bk_branches br;
    size_t b, total, n[3];
    bk_real *x, *u, *c, *coef, *f, *weight;
};

static double branches_loss(void *ctx)
{
    struct branches *p = ctx;
    bk_branches_forward(p->f, p->weight, &p->br, p->b, p->x, p->total, p->u, p->c);
    return dot(p->f, p->coef, p->b * p->total);
}

static void test_branches(void **state)
{
    struct branches p = {.br = {3, p.n}};
    size_t n;
    (void)state;
    const bk_real *sizes = find_reals(&n, "branches/", "sizes");
    for (size_t k = 0; k < 3; k++)
        p.total += p.n[k] = (size_t)sizes[k];
    p.x = find_reals(&n, "branches/", "x");
    p.b = n / p.total;
    p.u = find_reals(&n, "branches/", "u");
    p.c = find_reals(&n, "branches/", "c");
    p.coef = find_reals(&n, "branches/", "coef");
    p.f = reals(p.b * p.total);
    p.weight = reals(p.b * 3);
    bk_real *dx = reals(p.b * p.total), *du = reals(p.total), *dc = reals(3), scratch[3];
    branches_loss(&p);
    assert_golden(p.f, p.b * p.total, tol, "branches/", "f");
    bk_branches_backward(dx, du, dc, p.coef, p.weight, &p.br, p.b, p.x, p.total, p.u, scratch);
    assert_golden(dx, p.b * p.total, 5 * tol, "branches/grad/", "x");
    assert_golden(du, p.total, 5 * tol, "branches/grad/", "u");
    assert_golden(dc, 3, 5 * tol, "branches/grad/", "c");
    check_numbers(branches_loss, &p, p.x, dx, p.b * p.total, "x");
    check_numbers(branches_loss, &p, p.u, du, p.total, "u");
    check_numbers(branches_loss, &p, p.c, dc, 3, "c");
    for (size_t i = 0; i < p.b; i++) { /* of the third row a branch is zero */
        double length = sqrt(dot(p.f + i * p.total, p.f + i * p.total, p.total));
        double missing = i == 2 ? pow((double)p.weight[i * 3], 2) : 0;
        assert_near(length, sqrt(1 - missing), tol, "length", i);
    }
    p.c[1] = 1e6; /* one branch alone */
    branches_loss(&p);
    for (size_t i = 0; i < p.b; i++)
        assert_near(dot(p.f + i * p.total + p.n[0], p.f + i * p.total + p.n[0], p.n[1]), 1, tol, "alone", i);
}

/* ---- losses over labels ---- */

typedef double labels_fn(bk_real *df, const bk_real *f, size_t o, const uint32_t *label, size_t n,
                         const struct bk_memory *memory, double parameter, bk_real *scratch);

struct labels {
    labels_fn *loss;
    size_t n, o;
    bk_real *f, *scratch;
    double parameter;
    uint32_t *label;
    struct bk_memory *memory;
};

static double labels_loss(void *ctx)
{
    const struct labels *p = ctx;
    bk_real df[64] = {0};
    return p->loss(df, p->f, p->o, p->label, p->n, p->memory, p->parameter, p->scratch);
}

static struct bk_memory memory_new(size_t o, size_t cap)
{
    return (struct bk_memory){.f = reals(cap * o), .label = take(cap, sizeof(uint32_t)), .o = o, .cap = cap};
}

static void check_labels(labels_fn *loss, struct bk_memory *memory, const char *prefix)
{
    struct labels p = {.loss = loss, .memory = memory};
    size_t n;
    const bk_real *dims = find_reals(&n, "labels/", "dims");
    p.n = (size_t)dims[0];
    p.o = (size_t)dims[1];
    p.f = find_reals(&n, "labels/", "f");
    p.label = find_ids(&n, "labels/", "label");
    assert_int_equal(n, p.n);
    p.parameter = (double)find_reals(&n, prefix, "parameter")[0];
    p.scratch = reals(bk_labels_scratch(p.n, memory ? memory->n : 0, p.o));
    bk_real *df = reals(p.n * p.o);
    bk_real value = (bk_real)p.loss(df, p.f, p.o, p.label, p.n, memory, p.parameter, p.scratch);
    assert_golden(&value, 1, tol, prefix, "loss");
    assert_golden(df, p.n * p.o, 5 * tol, prefix, "grad");
    check_numbers(labels_loss, &p, p.f, df, p.n * p.o, prefix);
}

static void test_labels_golden(void **state)
{
    (void)state;
    check_labels(bk_supcon_loss, NULL, "supcon/");
    check_labels(bk_triplet_loss, NULL, "triplet/");
}

/* The batch itself is pushed first, so that a row which stayed too long, or fell out too early, shows in the loss. */
static void test_memory_golden(void **state)
{
    size_t n, rows, o = (size_t)find_reals(&n, "labels/", "dims")[1];
    const bk_real *batch = find_reals(&n, "labels/", "f"), *past = find_reals(&n, "labels/", "memory");
    const uint32_t *batch_label = find_ids(&n, "labels/", "label"), *label = find_ids(&rows, "labels/", "memory_label");
    struct bk_memory memory = memory_new(o, rows);
    (void)state;
    check_labels(bk_supcon_loss, &memory, "supcon/");
    bk_memory_push(&memory, batch, batch_label, n);
    bk_memory_push(&memory, past, label, 1);
    bk_memory_push(&memory, past + o, label + 1, rows - 1);
    assert_int_equal(memory.n, rows);
    check_labels(bk_supcon_loss, &memory, "supcon_memory/");
    check_labels(bk_triplet_loss, &memory, "triplet_memory/");
}

/* The memory holds the last rows that were pushed, whatever the pushes were, at unit length. */
static void test_memory_is_a_queue(void **state)
{
    enum { O = 3, CAP = 10, ROWS = 60 };
    struct bk_memory m = memory_new(O, CAP);
    struct bk_rng rng;
    uint32_t label[ROWS];
    bk_real *f = reals(ROWS * O);
    (void)state;
    bk_rng_seed(&rng, 4, 0);
    random_reals(f, ROWS * O, &rng, 2);
    for (uint32_t i = 0; i < ROWS; i++)
        label[i] = i;
    for (size_t at = 0, step = 0; at + step <= ROWS; at += step, step = (step * 5 + 3) % 14) {
        bk_memory_push(&m, f + at * O, label + at, step);
        const size_t end = at + step, expect = end < CAP ? end : CAP;
        assert_int_equal(m.n, expect);
        bool seen[ROWS] = {false};
        for (size_t i = 0; i < m.n; i++) {
            const bk_real *row = m.f + i * O, *from = f + m.label[i] * O;
            assert_true(m.label[i] + expect >= end && m.label[i] < end && !seen[m.label[i]]);
            seen[m.label[i]] = true;
            assert_near(dot(row, row, O), 1, tol, "length", i);
            assert_near(dot(row, from, O), sqrt(dot(from, from, O)), tol, "direction", i);
        }
    }
}

/* Nobody alike: no loss; all alike: no negative; zero vectors have no gradient; what is no number stays none. */
static void test_labels_edges(void **state)
{
    static labels_fn *const losses[2] = {bk_supcon_loss, bk_triplet_loss};
    const bk_real f[8] = {1, 2, -2, 1, 0, 0, 3, 1};
    const uint32_t other[4] = {4, 5, 6, 7}, same[4] = {4, 4, 4, 4}, pairs[4] = {4, 5, 5, 4};
    struct bk_memory m = memory_new(2, 4);
    (void)state;
    for (int k = 0; k < 2; k++) {
        bk_real df[8] = {0}, scratch[64], bad[8];
        assert_true(bk_labels_scratch(4, 4, 2) <= 64);
        assert_true(losses[k](df, f, 2, other, 4, NULL, 0.5, scratch) == 0);
        assert_true(losses[k](df, f, 2, same, 1, NULL, 0.5, scratch) == 0);
        for (size_t i = 0; i < 8; i++)
            assert_true(df[i] == 0);
        double all = losses[k](df, f, 2, same, 4, NULL, 0.5, scratch);
        assert_true(k == 0 ? all > 0 : all == 0);
        memset(df, 0, sizeof df);
        assert_true(losses[k](df, f, 2, pairs, 4, NULL, 0.5, scratch) > 0);
        assert_true(df[0] != 0 && df[4] == 0 && df[5] == 0);
        memcpy(bad, f, sizeof bad);
        bad[3] = NAN;
        assert_true(isnan(losses[k](df, bad, 2, pairs, 4, NULL, 0.5, scratch)));

        /* one row and a memory that has its label and another one: an anchor like any other */
        m.n = m.next = 0;
        bk_memory_push(&m, f, pairs + 2, 2);
        assert_true(losses[k](df, f + 6, 2, same, 1, &m, 0.5, scratch) > 0);
    }
}

/* ---- averages ---- */

/* NumPy's numbers; and parts of the range, in any order, are the whole. */
static void test_average(void **state)
{
    size_t n_params, n_y;
    const double decay = (double)find_reals(&n_y, "average/", "decay")[0];
    const bk_real *params = find_reals(&n_params, "average/", "params"), *y = find_reals(&n_y, "average/", "y");
    const size_t n = n_params - n_y;
    bk_real *whole = reals(n), *parts = reals(n);
    (void)state;
    memcpy(whole, params, n * sizeof *whole);
    memcpy(parts, params, n * sizeof *parts);
    for (uint64_t step = 1; step <= n_y / n; step++) {
        bk_average(whole, params + step * n, 0, n, step, decay);
        bk_average(parts, params + step * n, 2, n - 2, step, decay);
        bk_average(parts, params + step * n, 0, 2, step, decay);
        assert_memory_equal(whole, parts, n * sizeof *whole);
        for (size_t i = 0; i < n; i++)
            assert_near((double)whole[i], (double)y[(step - 1) * n + i], tol, "average", i);
    }
}

int main(int argc, char **argv)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_graph_golden),  CASE(test_graph_gradients), CASE(test_function_alone),    CASE(test_large_gradients),
        CASE(test_sparse),        CASE(test_sketch_golden),   CASE(test_sketch_theory),     CASE(test_branches),
        CASE(test_labels_golden), CASE(test_memory_golden),   CASE(test_memory_is_a_queue), CASE(test_labels_edges),
        CASE(test_average),
    };
    golden_path = argc > 1 ? argv[1] : "graph.bin";
    return cmocka_run_group_tests(tests, NULL, NULL);
}
