/* The way of a shard of graphs through the ops of nn, forward and backward. */
#include "model/graph_int.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What the arrays of a pass hold. */
struct room {
    size_t b, m, bag, links; /* functions, nodes, entries of their bags, two links for each edge */
    bool keep;               /* the activations of each round, for backward */
};

/* X(field, numbers): every array of bk_real that a pass needs; k is m where the activations are kept, else 0. x are the columns of a round's
 * messages, msg their sums, f the heads, in what the dense layer sees. Gradients of activations begin with d; that of x takes its place. */
#define GRAPH_BUFFERS(X)                                                                                               \
    X(weight, n->bag) /* of the entries of bags */                                                                     \
    X(h, (k ? k * (c->rounds + 1) : 2 * m) * pad)                                                                      \
    X(x, m *GRAPH_SLOTS *pad)                                                                                          \
    X(msg, larger(k * c->rounds, m) * pad)                                                                             \
    X(gate, larger(k * c->rounds, BK_CELL_ROWS) * 2 * pad)                                                             \
    X(cand, larger(k * c->rounds, BK_CELL_ROWS) * pad)                                                                 \
    X(rh, larger(k * c->rounds, BK_CELL_ROWS) * pad)                                                                   \
    X(dh, k *pad)                                                                                                      \
    X(dmsg, k *pad)                                                                                                    \
    X(z, larger(k, BK_ATTENTION_ROWS) * bk_padded(c->a))                                                               \
    X(att, m *bk_padded(c->r))                                                                                         \
    X(f, n->b *heads)                                                                                                  \
    X(df, bk *heads)                                                                                                   \
    X(in, n->b *bk_padded(graph_inputs(c)))                                                                            \
    X(din, bk *bk_padded(graph_inputs(c)))                                                                             \
    X(out, n->b *bk_padded(c->n))                                                                                      \
    X(dout, bk *bk_padded(c->n))                                                                                       \
    X(scratch, scratch_size(c, n))

/* X(field, numbers): the arrays of uint32_t. The bags and the links are those of the nodes, row for row, as struct bk_sparse has them. */
#define GRAPH_INDEXES(X)                                                                                               \
    X(order, n->b)           /* packed place -> place in graphs; those without nodes come last */                      \
    X(length, n->b)          /* nodes of the functions packed together */                                              \
    X(place, n->b)           /* by packed place: the first instruction of the node at hand */                          \
    X(row, c->max_nodes + 1) /* of struct bk_packing */                                                                \
    X(count, c->max_nodes + 1)                                                                                         \
    X(bag_begin, m + 1)                                                                                                \
    X(bag_id, n->bag)                                                                                                  \
    X(link_begin, m + 2)                                                                                               \
    X(link_id, n->links) /* node * slots + slot that a message comes from */

struct bk_graph_pass {
    struct bk_graph_config cfg;
    struct graph_layout at;
    struct bk_packing pk;
    bool kept;
    struct room room;
    bk_real *numbers; /* one allocation for all GRAPH_BUFFERS, one for all GRAPH_INDEXES */
    uint32_t *indexes;
    uint32_t *times; /* F: how often a node has a form; all 0 between nodes */
#define GRAPH_BUFFER_FIELD(field, size) bk_real *field;
    GRAPH_BUFFERS(GRAPH_BUFFER_FIELD)
#undef GRAPH_BUFFER_FIELD
#define GRAPH_INDEX_FIELD(field, size) uint32_t *field;
    GRAPH_INDEXES(GRAPH_INDEX_FIELD)
#undef GRAPH_INDEX_FIELD
};

enum {
    GRAPH_MAX_FUNCTIONS = 1 << 20,
    GRAPH_MAX_ROWS = 1 << 28, /* nodes, instructions or edges of a shard */
    GROUP_NODES = 512         /* whose states stay in the second-level cache from one op to the next */
};

/* ---- the ops of a pass ------------------------------------------------------ */

/* The states before round k. */
static bk_real *states(const struct bk_graph_pass *p, size_t k)
{
    return p->h + (p->kept ? k : k % 2) * p->pk.m * bk_padded(p->cfg.s);
}

static bk_real *messages(const struct bk_graph_pass *p, size_t k)
{
    return p->msg + (p->kept ? k : 0) * p->pk.m * bk_padded(p->cfg.s);
}

static struct bk_cell cell_of(const struct bk_graph_pass *p, const struct bk_graph_prepared *w, size_t k)
{
    const size_t s = p->cfg.s, kept = p->kept ? k * p->pk.m * bk_padded(s) : 0;
    return (struct bk_cell){.in = s,
                            .s = s,
                            .wx = w->input,
                            .wg = w->gate,
                            .wc = w->cand,
                            .bias = w->joint_bias,
                            .keep = p->kept,
                            .gate = p->gate + 2 * kept,
                            .cand = p->cand + kept,
                            .rh = p->rh + kept};
}

static struct bk_attention attention_of(const struct bk_graph_pass *p, const struct bk_graph_prepared *w)
{
    return (struct bk_attention){.u = p->cfg.s,
                                 .a = p->cfg.a,
                                 .r = p->cfg.r,
                                 .ws1 = w->ws1,
                                 .ws2 = w->ws2,
                                 .keep = p->kept,
                                 .z = p->z,
                                 .att = p->att};
}

static struct bk_sparse bags_of(const struct bk_graph_pass *p)
{
    return (struct bk_sparse){p->pk.m, p->bag_begin, p->bag_id, p->weight};
}

static struct bk_sparse links_of(const struct bk_graph_pass *p)
{
    return (struct bk_sparse){p->pk.m, p->link_begin, p->link_id, NULL};
}

/* ---- memory ------------------------------------------------------------------ */

/* The ops of a pass run one after the other and share one scratch. */
static size_t scratch_size(const struct bk_graph_config *c, const struct room *n)
{
    const struct bk_packing pk = {.b = n->b, .t = c->max_nodes, .m = n->m};
    const struct bk_attention at = {.u = c->s, .a = c->a, .r = c->r, .keep = n->keep};
    return larger(bk_cell_scratch(c->s), bk_attention_scratch(&at, &pk));
}

/* Room for at least `need`. Arrays begin on cache lines. */
static int reserve(struct bk_graph_pass *p, const struct room *need, struct bk_error *err)
{
    const struct bk_graph_config *c = &p->cfg;
    const struct room old = p->room, *n = &p->room;
    if (need->b <= old.b && need->m <= old.m && need->bag <= old.bag && need->links <= old.links &&
        need->keep <= old.keep)
        return BK_OK;
    free(p->numbers);
    free(p->indexes);
    p->numbers = NULL;
    p->indexes = NULL;
    p->room = (struct room){.b = larger(need->b + need->b / 4, old.b),
                            .m = larger(need->m + need->m / 4, old.m),
                            .bag = larger(need->bag + need->bag / 4, old.bag),
                            .links = larger(need->links + need->links / 4, old.links),
                            .keep = need->keep || old.keep};
    size_t pad = bk_padded(c->s), heads = bk_padded((size_t)c->r * c->s), numbers = 0, indexes = 0;
    size_t m = n->m, k = n->keep ? m : 0, bk = n->keep ? n->b : 0;
#define GRAPH_COUNT_NUMBERS(field, size) numbers += bk_padded(size);
#define GRAPH_COUNT_INDEXES(field, size) indexes += bk_padded(size);
    GRAPH_BUFFERS(GRAPH_COUNT_NUMBERS)
    GRAPH_INDEXES(GRAPH_COUNT_INDEXES)
    p->numbers = bk_alloc_large(numbers, sizeof *p->numbers);
    p->indexes = bk_alloc_large(indexes, sizeof *p->indexes);
    if (!p->numbers || !p->indexes) {
        p->room = (struct room){0};
        return bk_fail_nomem(err, numbers * sizeof *p->numbers + indexes * sizeof *p->indexes);
    }
    bk_real *next = p->numbers;
    uint32_t *next_index = p->indexes;
#define GRAPH_PLACE_NUMBERS(field, size)                                                                               \
    p->field = next;                                                                                                   \
    next += bk_padded(size);
#define GRAPH_PLACE_INDEXES(field, size)                                                                               \
    p->field = next_index;                                                                                             \
    next_index += bk_padded(size);
    GRAPH_BUFFERS(GRAPH_PLACE_NUMBERS)
    GRAPH_INDEXES(GRAPH_PLACE_INDEXES)
    return BK_OK;
}

int bk_graph_pass_new(struct bk_graph_pass **out, const struct bk_graph_config *cfg, struct bk_error *err)
{
    *out = NULL;
    int rc = bk_graph_config_check(cfg, err);
    if (rc)
        return rc;
    struct bk_graph_pass *p = calloc(1, sizeof *p);
    uint32_t *times = bk_calloc(cfg->forms, sizeof *times);
    if (!p || !times) {
        free(p);
        free(times);
        return bk_fail_nomem(err, sizeof *p + cfg->forms * sizeof *times);
    }
    p->cfg = *cfg;
    p->at = bk_graph_layout(cfg);
    p->times = times;
    *out = p;
    return BK_OK;
}

void bk_graph_pass_free(struct bk_graph_pass *p)
{
    if (!p)
        return;
    free(p->numbers);
    free(p->indexes);
    free(p->times);
    free(p);
}

/* ---- what is seen of the input --------------------------------------------------- */

static size_t seen_nodes(const struct bk_graph_pass *p, const struct bk_graph *g)
{
    return g->n_nodes < p->cfg.max_nodes ? g->n_nodes : p->cfg.max_nodes;
}

static size_t seen_insns(const struct bk_graph_pass *p, const struct bk_graph *g)
{
    size_t n = 0;
    for (size_t i = 0; i < seen_nodes(p, g); i++)
        n += g->insns[i];
    return n;
}

static int check_ids(const struct bk_graph_pass *p, const uint32_t *ids, size_t n, const char *what, size_t function,
                     struct bk_error *err)
{
    for (size_t i = 0; ids && i < n; i++)
        if (ids[i] >= p->cfg.forms && ids[i] != BK_STR_NONE)
            return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "%s %zu of function %zu has id %u, the table ends at %u", what,
                           i, function, ids[i], p->cfg.forms);
    return BK_OK;
}

static int check_edges(const struct bk_graph *g, size_t function, struct bk_error *err)
{
    for (size_t i = 0; i < g->n_edges; i++) {
        const struct bk_graph_edge *e = &g->edges[i];
        if (e->from >= g->n_nodes || e->to >= g->n_nodes)
            return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "edge %zu of function %zu goes from %u to %u of %u blocks", i,
                           function, e->from, e->to, g->n_nodes);
        if (e->kind >= BK_EDGE_KINDS)
            return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "edge %zu of function %zu is of kind %u, which is none", i,
                           function, e->kind);
    }
    return BK_OK;
}

/* Checks the input before anything is written. */
static int admit(const struct bk_graph_pass *p, const struct bk_graph *graphs, size_t b, struct bk_error *err)
{
    size_t nodes = 0, insns = 0, edges = 0;
    if (b > GRAPH_MAX_FUNCTIONS)
        return bk_fail(err, BK_ELIMIT, BK_NO_OFFSET, "a shard of %zu functions, at most %d go at once", b,
                       GRAPH_MAX_FUNCTIONS);
    for (size_t i = 0; i < b; i++) {
        size_t n = seen_insns(p, &graphs[i]);
        int rc = check_ids(p, graphs[i].forms, n, "form", i, err);
        if (!rc)
            rc = check_ids(p, graphs[i].neutral, n, "neutral form", i, err);
        if (!rc)
            rc = check_edges(&graphs[i], i, err);
        if (rc)
            return rc;
        nodes += seen_nodes(p, &graphs[i]);
        insns += n;
        edges += graphs[i].n_edges;
    }
    if (nodes > GRAPH_MAX_ROWS || insns > GRAPH_MAX_ROWS || edges > GRAPH_MAX_ROWS)
        return bk_fail(err, BK_ELIMIT, BK_NO_OFFSET,
                       "a shard of %zu blocks, %zu instructions and %zu edges, at most %d of each go at once", nodes,
                       insns, edges, GRAPH_MAX_ROWS);
    return BK_OK;
}

/* Where the functions end that go together with the first of the `b`, and what room they need: all of them where they are kept. */
static size_t group(struct room *need, const struct bk_graph_pass *p, const struct bk_graph *graphs, size_t b,
                    bool keep)
{
    *need = (struct room){.keep = keep};
    for (; need->b < b; need->b++) {
        const struct bk_graph *g = &graphs[need->b];
        size_t nodes = seen_nodes(p, g);
        if (!keep && need->b > 0 && (need->b == GROUP_NODES || need->m + nodes > GROUP_NODES))
            break;
        need->m += nodes;
        need->bag += 2 * seen_insns(p, g);
        need->links += 2 * (size_t)g->n_edges;
    }
    return need->b;
}

/* ---- packing ------------------------------------------------------------------- */

static size_t count_form(struct bk_graph_pass *p, size_t n, const uint32_t *ids, size_t insn)
{
    const uint32_t id = ids ? ids[insn] : BK_STR_NONE;
    if (id == BK_STR_NONE)
        return n;
    if (p->times[id]++ == 0)
        p->bag_id[n++] = id;
    return n;
}

/* Writes the bag of the instructions [first, last) behind the first n entries; returns where it ends. */
static size_t fill_bag(struct bk_graph_pass *p, size_t n, const struct bk_graph *g, size_t first, size_t last)
{
    size_t end = n;
    for (size_t i = first; i < last; i++) {
        end = count_form(p, end, g->forms, i);
        end = count_form(p, end, g->neutral, i);
    }
    for (; n < end; n++) {
        p->weight[n] = (bk_real)log1p(p->times[p->bag_id[n]]);
        p->times[p->bag_id[n]] = 0;
    }
    return end;
}

static void fill_bags(struct bk_graph_pass *p, const struct bk_graph *graphs)
{
    size_t n = 0;
    memset(p->place, 0, p->pk.b * sizeof *p->place);
    p->bag_begin[0] = 0;
    for (size_t at = 0; at < p->pk.t; at++)
        for (size_t i = 0; i < bk_packing_active(&p->pk, at); i++) {
            const struct bk_graph *g = &graphs[p->order[i]];
            n = fill_bag(p, n, g, p->place[i], p->place[i] + g->insns[at]);
            p->place[i] += g->insns[at];
            p->bag_begin[p->row[at] + i + 1] = (uint32_t)n;
        }
}

/* The two links of each edge of packed function i: counted, or placed where `place` says that those of their node go on. */
static void link_function(struct bk_graph_pass *p, const struct bk_graph *g, size_t i, uint32_t *count, uint32_t *place)
{
    const size_t nodes = seen_nodes(p, g);
    for (size_t k = 0; k < g->n_edges; k++) {
        const struct bk_graph_edge *e = &g->edges[k];
        if (e->from >= nodes || e->to >= nodes)
            continue;
        const size_t from = p->row[e->from] + i, to = p->row[e->to] + i;
        if (count) {
            count[to]++;
            count[from]++;
        } else {
            p->link_id[place[to]++] = (uint32_t)(from * GRAPH_SLOTS + graph_slot(e->kind, false));
            p->link_id[place[from]++] = (uint32_t)(to * GRAPH_SLOTS + graph_slot(e->kind, true));
        }
    }
}

/* The links of each node in the order of its function's edges. What is counted lies two ahead of where it will begin, so that placing, one
 * ahead, leaves begin right. */
static void fill_links(struct bk_graph_pass *p, const struct bk_graph *graphs)
{
    uint32_t *begin = p->link_begin;
    memset(begin, 0, (p->pk.m + 2) * sizeof *begin);
    for (size_t i = 0; i < p->pk.b; i++)
        link_function(p, &graphs[p->order[i]], i, begin + 2, NULL);
    for (size_t v = 0; v < p->pk.m; v++)
        begin[v + 2] += begin[v + 1];
    for (size_t i = 0; i < p->pk.b; i++)
        link_function(p, &graphs[p->order[i]], i, NULL, begin + 1);
}

static void pack(struct bk_graph_pass *p, const struct bk_graph *graphs, size_t b)
{
    for (size_t i = 0; i < b; i++)
        p->length[i] = (uint32_t)seen_nodes(p, &graphs[i]);
    p->pk = bk_pack_rows(p->order, p->row, p->count, p->length, 0, b, p->cfg.max_nodes);
    fill_bags(p, graphs);
    fill_links(p, graphs);
}

/* ---- forward and backward ----------------------------------------------------- */

static void write_extras(bk_real out[GRAPH_EXTRAS], const struct bk_graph *g)
{
    const uint32_t sizes[GRAPH_EXTRAS] = {g->n_nodes, g->n_edges, g->n_insns, g->n_callees};
    for (size_t k = 0; k < GRAPH_EXTRAS; k++)
        out[k] = (bk_real)(log1p(sizes[k]) / 8);
}

/* The states of all nodes after the rounds. */
static struct bk_states exchange(struct bk_graph_pass *p, const struct bk_graph_prepared *w)
{
    const size_t s = p->cfg.s, pad = bk_padded(s), m = p->pk.m;
    const struct bk_sparse bags = bags_of(p), links = links_of(p);
    bk_real *h = states(p, 0);
    bk_sparse_forward(h, pad, &bags, w->params + p->at.table, s, w->params + p->at.bias, s);
    bk_tanh(h, h, m * pad);
    for (size_t k = 0; k < p->cfg.rounds; k++) {
        const struct bk_cell cell = cell_of(p, w, k);
        h = states(p, k);
        bk_product(p->x, GRAPH_SLOTS * pad, &w->message, m, h, pad, false);
        bk_sparse_forward(messages(p, k), pad, &links, p->x, pad, NULL, pad);
        bk_cell_forward(&cell, m, states(p, k + 1), h, messages(p, k), pad, p->scratch);
    }
    return (struct bk_states){.h = states(p, p->cfg.rounds), .ld = pad};
}

/* The packed functions to their rows of f. */
static void run_group(struct bk_graph_pass *p, bk_real *f, const struct bk_graph_prepared *w,
                      const struct bk_graph *graphs)
{
    const struct bk_graph_config *c = &p->cfg;
    const size_t b = p->pk.b, heads = (size_t)c->r * c->s, in = bk_padded(graph_inputs(c));
    const struct bk_attention at = attention_of(p, w);
    const struct bk_states h = exchange(p, w);
    bk_attention_forward(&at, &p->pk, p->f, h, p->scratch);
    for (size_t i = 0; i < b; i++) {
        memcpy(p->in + i * in, p->f + i * bk_padded(heads), heads * sizeof *p->in);
        write_extras(p->in + i * in + heads, &graphs[p->order[i]]);
    }
    bk_dense_forward(p->out, p->in, in, &w->dense, w->params + p->at.dense_bias, b, false);
    for (size_t i = 0; i < b; i++)
        memcpy(f + p->order[i] * (size_t)c->n, p->out + i * bk_padded(c->n), c->n * sizeof *f);
}

int bk_graph_pass_forward(struct bk_graph_pass *p, bk_real *f, const struct bk_graph_prepared *w,
                          const struct bk_graph *graphs, size_t b, bool keep, struct bk_error *err)
{
    const size_t n = p->cfg.n;
    p->kept = false;
    int rc = admit(p, graphs, b, err);
    if (rc || b == 0)
        return rc;
    memset(f, 0, b * n * sizeof *f);
    for (size_t from = 0; from < b;) {
        struct room need;
        const size_t count = group(&need, p, graphs + from, b - from, keep);
        rc = reserve(p, &need, err);
        if (rc)
            return rc;
        pack(p, graphs + from, count);
        p->kept = keep && p->pk.b > 0;
        if (p->pk.b > 0)
            run_group(p, f + from * n, w, graphs + from);
        from += count;
    }
    return BK_OK;
}

/* df to the gradient of the last states, dh. */
static void pool_backward(struct bk_graph_pass *p, bk_real *grads, const struct bk_graph_prepared *w, const bk_real *df)
{
    const struct bk_graph_config *c = &p->cfg;
    const size_t b = p->pk.b, heads = (size_t)c->r * c->s, in = bk_padded(graph_inputs(c)), pad = bk_padded(c->s);
    const struct bk_attention at = attention_of(p, w);
    const struct bk_states h = {.h = states(p, c->rounds), .ld = pad};
    for (size_t i = 0; i < b; i++)
        memcpy(p->dout + i * bk_padded(c->n), df + p->order[i] * (size_t)c->n, c->n * sizeof *df);
    bk_dense_backward(p->din, grads + p->at.dense, grads + p->at.dense_bias, p->dout, p->out, p->in, in, &w->dense_back,
                      b, false);
    for (size_t i = 0; i < b; i++)
        memcpy(p->df + i * bk_padded(heads), p->din + i * in, heads * sizeof *p->df);
    memset(p->dh, 0, p->pk.m * pad * sizeof *p->dh);
    bk_attention_backward(&at, &w->ws1_back, &w->ws2_back, &p->pk, grads + p->at.ws1, grads + p->at.ws2, p->dh, p->df,
                          h, 0, p->scratch);
}

/* dh of the states after round k to that of those before it. */
static void round_backward(struct bk_graph_pass *p, bk_real *grads, const struct bk_graph_prepared *w, size_t k)
{
    const size_t s = p->cfg.s, pad = bk_padded(s), m = p->pk.m, ldx = GRAPH_SLOTS * pad;
    const struct bk_sparse links = links_of(p);
    const struct bk_cell cell = cell_of(p, w, k);
    const struct bk_cell_back back = {.xg = w->input_gate_back,
                                      .xc = w->input_cand_back,
                                      .g = w->gate_back,
                                      .c = w->cand_back,
                                      .dgate = grads + p->at.gate,
                                      .dgate_bias = grads + p->at.gate_bias,
                                      .dcand = grads + p->at.cand,
                                      .dcand_bias = grads + p->at.cand_bias};
    bk_cell_backward(&cell, &back, m, p->dh, p->dmsg, states(p, k), messages(p, k), pad, p->scratch);
    memset(p->x, 0, m * ldx * sizeof *p->x);
    bk_sparse_backward(p->x, pad, NULL, &links, p->dmsg, pad, pad);
    bk_product(p->dh, pad, &w->message_back, m, p->x, ldx, true);
    for (size_t slot = 0; slot < GRAPH_SLOTS; slot++)
        bk_gemm(BK_T, BK_N, s, s, m, states(p, k), pad, p->x + slot * pad, ldx, true,
                grads + p->at.message + slot * s * s, s);
}

void bk_graph_pass_backward(struct bk_graph_pass *p, bk_real *grads, const struct bk_graph_prepared *w,
                            const bk_real *df)
{
    const size_t s = p->cfg.s, pad = bk_padded(s);
    const struct bk_sparse bags = bags_of(p);
    if (!p->kept)
        return;
    pool_backward(p, grads, w, df);
    for (size_t k = p->cfg.rounds; k-- > 0;)
        round_backward(p, grads, w, k);
    const bk_real *h = states(p, 0);
    for (size_t i = 0; i < p->pk.m * pad; i++)
        p->dh[i] *= 1 - h[i] * h[i];
    bk_sparse_backward(grads + p->at.table, s, grads + p->at.bias, &bags, p->dh, pad, s);
    p->kept = false; /* the activations became gradients in place */
}
