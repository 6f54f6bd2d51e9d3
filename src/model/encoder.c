/* The encoder: the branches of a function, joined. */
#include "model/graph_int.h"

#include <stdlib.h>
#include <string.h>

/* ---- configuration ------------------------------------------------------ */

static const char *const branch_names[] = {
#define BRANCH_NAME(id, name) name,
    BK_BRANCH_NAMES(BRANCH_NAME)
#undef BRANCH_NAME
};

enum {
    SEQUENCE = 1u << BK_BRANCH_SEQUENCE,
    GRAPH = 1u << BK_BRANCH_GRAPH,
    SKETCH = 1u << BK_BRANCH_SKETCH,
    ALL = (1u << BK_BRANCH_COUNT) - 1
};

bool bk_encoder_config_default(struct bk_encoder_config *out, const char *kind)
{
    const bool fused = strcmp(kind, "fused") == 0, graph = strcmp(kind, "graph") == 0;
    *out = (struct bk_encoder_config){.branches = fused ? ALL : graph ? GRAPH | SKETCH : SEQUENCE, .attention = true};
    if (!graph && !bk_net_config_default(&out->net, fused ? "mffa" : kind))
        return false;
    if (fused) {
        out->net.a = 100;
        out->net.r = 5;
        out->net.e = 500;
        out->net.max_insns = 100;
    }
    if (fused || graph) {
        bk_graph_config_default(&out->graph, 0);
        out->sketch = 256;
    }
    return true;
}

static const char *const sight_names[] = {
#define SIGHT_NAME(id, name) name,
    BK_SIGHT_NAMES(SIGHT_NAME)
#undef SIGHT_NAME
};

/* A list of names, each once; 0: it is none. */
static unsigned parse_list(const char *text, const char *const *names, size_t n_names)
{
    unsigned bits = 0;
    for (;; text++) {
        const size_t n = strcspn(text, ",");
        unsigned bit = 0;
        for (size_t i = 0; i < n_names; i++)
            if (strlen(names[i]) == n && memcmp(names[i], text, n) == 0)
                bit = 1u << i;
        if (bit == 0 || bits & bit)
            return 0;
        bits |= bit;
        text += n;
        if (!*text)
            return bits;
    }
}

static void write_list(char *out, size_t size, unsigned bits, const char *const *names, size_t n_names)
{
    size_t at = 0;
    out[0] = 0;
    for (size_t i = 0; i < n_names; i++)
        if (bits >> i & 1)
            at += (size_t)snprintf(out + at, size - at, "%s%s", at ? "," : "", names[i]);
}

unsigned bk_branches_parse(const char *text)
{
    return parse_list(text, branch_names, BK_BRANCH_COUNT);
}

void bk_branches_text(char out[64], unsigned branches)
{
    write_list(out, 64, branches, branch_names, BK_BRANCH_COUNT);
}

unsigned bk_sights_parse(const char *text)
{
    return parse_list(text, sight_names, BK_SIGHT_COUNT);
}

void bk_sights_text(char out[128], unsigned sights)
{
    write_list(out, 128, sights, sight_names, BK_SIGHT_COUNT);
}

int bk_encoder_config_check(const struct bk_encoder_config *c, struct bk_error *err)
{
    if (c->branches == 0 || c->branches > ALL)
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "branches %#x are none of a model", c->branches);
    if (c->hidden >> BK_SIGHT_COUNT)
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "hidden features %#x, which no model sees", c->hidden);
    int rc = BK_OK;
    if (c->branches & SEQUENCE)
        rc = bk_net_config_check(&c->net, err);
    if (!rc && c->branches & GRAPH)
        rc = bk_graph_config_check(&c->graph, err);
    if (!rc && c->branches & SKETCH && (c->sketch == 0 || c->sketch % 2 || c->sketch > 4096))
        rc = bk_fail(err, BK_ELIMIT, BK_NO_OFFSET, "sketch of %u numbers, allowed are even ones up to 4096", c->sketch);
    if (!rc && c->branches != SEQUENCE && c->branches & SEQUENCE && c->net.compat_safe)
        rc = bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "SAFE's program has no branch but the sequence");
    return rc;
}

/* ---- sizes and tensors ---------------------------------------------------- */

/* The branches that are there, in order: their sizes, which are those of a row. */
struct row {
    size_t k, n[BK_BRANCH_COUNT], total;
    size_t at[BK_BRANCH_COUNT]; /* by enum bk_branch: where it begins */
};

static struct row row_of(const struct bk_encoder_config *c)
{
    const size_t sizes[BK_BRANCH_COUNT] = {c->branches & SEQUENCE ? bk_net_outputs(&c->net) : 0, c->graph.n, c->sketch};
    struct row r = {0};
    for (size_t i = 0; i < BK_BRANCH_COUNT; i++) {
        if (!(c->branches >> i & 1))
            continue;
        r.at[i] = r.total;
        r.n[r.k++] = sizes[i];
        r.total += sizes[i];
    }
    return r;
}

size_t bk_encoder_outputs(const struct bk_encoder_config *c)
{
    return row_of(c).total;
}

size_t bk_encoder_sides(const struct bk_encoder_config *c)
{
    return c->branches & SEQUENCE ? bk_net_sides(&c->net) : 1;
}

/* X(field, name, rows, initial value, whether it is there): the vectors of the encoder itself, behind those of the branches. */
#define ENCODER_TENSORS(X)                                                                                             \
    X(kinds, "sketch.kinds", BK_ITEM_KINDS, INIT_ONE, c->branches &SKETCH)                                             \
    X(attention, "join.attention", row_of(c).total, INIT_ZERO, joins(c))                                               \
    X(bias, "join.attention.bias", row_of(c).k, INIT_ZERO, joins(c))

/* Whether it learns what each branch counts. */
static bool joins(const struct bk_encoder_config *c)
{
    return c->attention && row_of(c).k > 1;
}

struct encoder_layout {
    size_t graph; /* where its block begins; that of the sequence is the first */
#define ENCODER_LAYOUT_FIELD(field, name, rows, init, present) size_t field;
    ENCODER_TENSORS(ENCODER_LAYOUT_FIELD)
#undef ENCODER_LAYOUT_FIELD
    size_t total;
};

static struct encoder_layout layout_of(const struct bk_encoder_config *c)
{
    struct encoder_layout l = {0};
    l.graph = c->branches & SEQUENCE ? bk_net_n_params(&c->net) : 0;
    size_t at = l.graph + (c->branches & GRAPH ? bk_graph_n_params(&c->graph) : 0);
#define ENCODER_LAYOUT_PLACE(field, name, rows, init, present)                                                         \
    l.field = at;                                                                                                      \
    at += (present) ? rows : 0;
    ENCODER_TENSORS(ENCODER_LAYOUT_PLACE)
#undef ENCODER_LAYOUT_PLACE
    l.total = at;
    return l;
}

size_t bk_encoder_tensors(struct bk_tensor out[BK_ENCODER_MAX_TENSORS], const struct bk_encoder_config *c)
{
    const struct encoder_layout l = layout_of(c);
    size_t n = c->branches & SEQUENCE ? bk_net_tensors(out, &c->net) : 0;
    if (c->branches & GRAPH) {
        const size_t graph = bk_graph_tensors(out + n, &c->graph);
        for (size_t i = n; i < n + graph; i++)
            out[i].offset += l.graph;
        n += graph;
    }
#define ENCODER_TENSOR_ENTRY(field, text, r, init, present)                                                            \
    if (present)                                                                                                       \
        out[n++] = (struct bk_tensor){.name = text, .rows = r, .cols = 1, .offset = l.field};
    ENCODER_TENSORS(ENCODER_TENSOR_ENTRY)
#undef ENCODER_TENSOR_ENTRY
    return n;
}

size_t bk_encoder_n_params(const struct bk_encoder_config *c)
{
    return layout_of(c).total;
}

void bk_encoder_init(bk_real *params, const struct bk_encoder_config *c, struct bk_rng *rng)
{
    const struct encoder_layout l = layout_of(c);
    if (c->branches & SEQUENCE)
        bk_net_init(params, &c->net, rng);
    if (c->branches & GRAPH)
        bk_graph_init(params + l.graph, &c->graph, rng);
#define ENCODER_TENSOR_INIT(field, name, rows, init, present)                                                          \
    if (present)                                                                                                       \
        bk_tensor_init(params + l.field, rows, 1, init, rng);
    ENCODER_TENSORS(ENCODER_TENSOR_INIT)
#undef ENCODER_TENSOR_INIT
}

/* ---- weights laid out ------------------------------------------------------ */

struct bk_encoder_prepared {
    struct bk_encoder_config cfg;
    struct encoder_layout at;
    struct bk_prepared *sequence;
    struct bk_graph_prepared *graph;
    const bk_real *params;
};

int bk_encoder_prepared_new(struct bk_encoder_prepared **out, const struct bk_encoder_config *cfg,
                            enum bk_precision precision, bool backward, struct bk_error *err)
{
    *out = NULL;
    int rc = bk_encoder_config_check(cfg, err);
    if (rc)
        return rc;
    struct bk_encoder_prepared *w = calloc(1, sizeof *w);
    if (!w)
        return bk_fail_nomem(err, sizeof *w);
    w->cfg = *cfg;
    w->at = layout_of(cfg);
    if (cfg->branches & SEQUENCE)
        rc = bk_prepared_new(&w->sequence, &cfg->net, precision, backward, err);
    if (!rc && cfg->branches & GRAPH)
        rc = bk_graph_prepared_new(&w->graph, &cfg->graph, backward, err);
    if (rc)
        bk_encoder_prepared_free(w);
    else
        *out = w;
    return rc;
}

void bk_encoder_prepared_free(struct bk_encoder_prepared *w)
{
    if (!w)
        return;
    bk_prepared_free(w->sequence);
    bk_graph_prepared_free(w->graph);
    free(w);
}

void bk_encoder_prepare(struct bk_encoder_prepared *w, const bk_real *params, unsigned threads)
{
    w->params = params;
    if (w->sequence)
        bk_prepare(w->sequence, params, threads);
    if (w->graph)
        bk_graph_prepare(w->graph, params + w->at.graph);
}

const struct bk_prepared *bk_encoder_sequence(const struct bk_encoder_prepared *w)
{
    return w->sequence;
}

/* ---- a pass ------------------------------------------------------------------ */

/* X(field, numbers): every array of bk_real that a pass of b functions needs. `out` are the branches' vectors one behind the other, function
 * after function for each branch; sketches those of each kind of item. */
#define ENCODER_BUFFERS(X)                                                                                             \
    X(out, b *row.total)                                                                                               \
    X(dout, b *row.total)                                                                                              \
    X(unit, b *row.total)                                                                                              \
    X(dunit, b *row.total)                                                                                             \
    X(norm, b *row.k)                                                                                                  \
    X(weight, b *row.k)                                                                                                \
    X(sketches, b *BK_ITEM_KINDS * c->sketch)                                                                          \
    X(plain, row.total + BK_BRANCH_COUNT) /* zeros: what attention is where it is not learned */                       \
    X(dplain, row.total + BK_BRANCH_COUNT)

struct bk_encoder_pass {
    struct bk_encoder_config cfg;
    struct encoder_layout at;
    struct row row;
    struct bk_pass *sequence;
    struct bk_graph_pass *graph;
    size_t b, cap;
    bk_real *numbers; /* all of ENCODER_BUFFERS */
    struct bk_seq *seqs;
    struct bk_graph *graphs;
    struct {
        uint64_t *hash;
        bk_real *weight;
        size_t cap;
    } items; /* of one kind of a function */
#define ENCODER_BUFFER_FIELD(field, size) bk_real *field;
    ENCODER_BUFFERS(ENCODER_BUFFER_FIELD)
#undef ENCODER_BUFFER_FIELD
};

int bk_encoder_pass_new(struct bk_encoder_pass **out, const struct bk_encoder_config *cfg, struct bk_error *err)
{
    *out = NULL;
    int rc = bk_encoder_config_check(cfg, err);
    if (rc)
        return rc;
    struct bk_encoder_pass *p = calloc(1, sizeof *p);
    if (!p)
        return bk_fail_nomem(err, sizeof *p);
    p->cfg = *cfg;
    p->at = layout_of(cfg);
    p->row = row_of(cfg);
    if (cfg->branches & SEQUENCE)
        rc = bk_pass_new(&p->sequence, &cfg->net, err);
    if (!rc && cfg->branches & GRAPH)
        rc = bk_graph_pass_new(&p->graph, &cfg->graph, err);
    if (rc)
        bk_encoder_pass_free(p);
    else
        *out = p;
    return rc;
}

void bk_encoder_pass_free(struct bk_encoder_pass *p)
{
    if (!p)
        return;
    bk_pass_free(p->sequence);
    bk_graph_pass_free(p->graph);
    free(p->numbers);
    free(p->seqs);
    free(p->graphs);
    free(p->items.hash);
    free(p->items.weight);
    free(p);
}

static int reserve(struct bk_encoder_pass *p, size_t b, struct bk_error *err)
{
    const struct bk_encoder_config *c = &p->cfg;
    const struct row row = p->row;
    if (b <= p->cap)
        return BK_OK;
    size_t numbers = 0;
    p->cap = 0;
    free(p->numbers);
    free(p->seqs);
    free(p->graphs);
#define ENCODER_COUNT(field, size) numbers += bk_padded(size);
    ENCODER_BUFFERS(ENCODER_COUNT)
#undef ENCODER_COUNT
    p->numbers = bk_calloc(numbers, sizeof *p->numbers);
    p->seqs = bk_calloc(b, sizeof *p->seqs);
    p->graphs = bk_calloc(b, sizeof *p->graphs);
    if (!p->numbers || !p->seqs || !p->graphs)
        return bk_fail_nomem(err, numbers * sizeof *p->numbers);
    bk_real *next = p->numbers;
#define ENCODER_PLACE(field, size)                                                                                     \
    p->field = next;                                                                                                   \
    next += bk_padded(size);
    ENCODER_BUFFERS(ENCODER_PLACE)
#undef ENCODER_PLACE
    p->cap = b;
    return BK_OK;
}

static bool sees_not(const struct bk_encoder_config *c, unsigned sight)
{
    return c->hidden >> sight & 1;
}

/* ---- the sketch ---------------------------------------------------------------- */

/* The items of one kind as bk_sketch() wants them; their number. */
static size_t items_of(struct bk_encoder_pass *p, const struct bk_item_seq *items, unsigned kind)
{
    const bool hidden = sees_not(&p->cfg, BK_SIGHT_IMMEDIATES + kind);
    size_t n = 0;
    for (size_t i = 0; i < items->n && !hidden; i++) {
        if (items->kind[i] != kind)
            continue;
        p->items.hash[n] = items->hash[i];
        p->items.weight[n++] = (bk_real)items->weight[i];
    }
    return n;
}

static int sketch_forward(struct bk_encoder_pass *p, const bk_real *kinds, const struct bk_input *inputs, size_t b,
                          struct bk_error *err)
{
    const size_t n = p->cfg.sketch;
    bk_real *out = p->out + p->row.at[BK_BRANCH_SKETCH] * b;
    for (size_t i = 0; i < b; i++) {
        size_t room = inputs[i].items.n, old = p->items.cap;
        if (!bk_grow((void **)&p->items.hash, &old, room, sizeof *p->items.hash) ||
            !bk_grow((void **)&p->items.weight, &p->items.cap, room, sizeof *p->items.weight))
            return bk_fail_nomem(err, room * sizeof *p->items.hash);
        bk_real *y = out + i * n;
        memset(y, 0, n * sizeof *y);
        for (unsigned kind = 0; kind < BK_ITEM_KINDS; kind++) {
            bk_real *s = p->sketches + (i * BK_ITEM_KINDS + kind) * n;
            bk_sketch(s, n, p->items.hash, p->items.weight, items_of(p, &inputs[i].items, kind));
            for (size_t j = 0; j < n; j++)
                y[j] += kinds[kind] * s[j];
        }
    }
    return BK_OK;
}

static void sketch_backward(const struct bk_encoder_pass *p, bk_real *dkinds)
{
    const size_t n = p->cfg.sketch;
    const bk_real *dout = p->dout + p->row.at[BK_BRANCH_SKETCH] * p->b;
    for (size_t i = 0; i < p->b; i++)
        for (size_t kind = 0; kind < BK_ITEM_KINDS; kind++) {
            const bk_real *s = p->sketches + (i * BK_ITEM_KINDS + kind) * n;
            double sum = 0;
            for (size_t j = 0; j < n; j++)
                sum += (double)s[j] * (double)dout[i * n + j];
            dkinds[kind] += (bk_real)sum;
        }
}

/* ---- joining --------------------------------------------------------------------- */

static struct bk_branches branches_of(const struct bk_encoder_pass *p)
{
    return (struct bk_branches){.k = p->row.k, .n = p->row.n};
}

static void join_forward(struct bk_encoder_pass *p, bk_real *f, const bk_real *params)
{
    const struct bk_branches br = branches_of(p);
    const size_t ld = p->row.total;
    const bool learned = joins(&p->cfg);
    for (size_t j = 0, at = 0; j < br.k; at += br.n[j++])
        for (size_t i = 0; i < p->b; i++)
            p->norm[i * br.k + j] =
                (bk_real)bk_unit_forward(p->unit + i * ld + at, p->out + at * p->b + i * br.n[j], br.n[j]);
    bk_branches_forward(f, p->weight, &br, p->b, p->unit, ld, learned ? params + p->at.attention : p->plain,
                        learned ? params + p->at.bias : p->plain);
}

static void join_backward(struct bk_encoder_pass *p, bk_real *grads, const bk_real *params, const bk_real *df)
{
    const struct bk_branches br = branches_of(p);
    const size_t ld = p->row.total;
    const bool learned = joins(&p->cfg);
    bk_real scratch[BK_BRANCH_COUNT];
    memset(p->dunit, 0, p->b * ld * sizeof *p->dunit);
    memset(p->dout, 0, p->b * ld * sizeof *p->dout);
    bk_branches_backward(p->dunit, learned ? grads + p->at.attention : p->dplain,
                         learned ? grads + p->at.bias : p->dplain + ld, df, p->weight, &br, p->b, p->unit, ld,
                         learned ? params + p->at.attention : p->plain, scratch);
    for (size_t j = 0, at = 0; j < br.k; at += br.n[j++])
        for (size_t i = 0; i < p->b; i++)
            bk_unit_backward(p->dout + at * p->b + i * br.n[j], p->dunit + i * ld + at, p->unit + i * ld + at,
                             (double)p->norm[i * br.k + j], br.n[j]);
}

/* ---- forward and backward ----------------------------------------------------------- */

static int sequence_forward(struct bk_encoder_pass *p, bk_real *out, const struct bk_prepared *w,
                            const struct bk_encoder_words *words, const struct bk_input *inputs, size_t b, bool keep,
                            struct bk_error *err)
{
    for (size_t i = 0; i < b; i++)
        p->seqs[i] = inputs[i].words;
    if (words->xw)
        return bk_pass_embed(p->sequence, out, w, *words->xw, words->row, words->n, p->seqs, b, err);
    return bk_pass_forward(p->sequence, out, w, words->vectors, words->n, p->seqs, b, keep, words->weight,
                           words->penalty, err);
}

static struct bk_graph seen_graph(const struct bk_encoder_config *c, struct bk_graph g)
{
    if (sees_not(c, BK_SIGHT_FORMS))
        g.forms = NULL;
    if (sees_not(c, BK_SIGHT_NEUTRAL))
        g.neutral = NULL;
    if (sees_not(c, BK_SIGHT_EDGES))
        g.n_edges = 0;
    if (sees_not(c, BK_SIGHT_CALLEES))
        g.n_callees = 0;
    return g;
}

static int graph_forward(struct bk_encoder_pass *p, bk_real *out, const struct bk_graph_prepared *w,
                         const struct bk_input *inputs, size_t b, bool keep, struct bk_error *err)
{
    for (size_t i = 0; i < b; i++)
        p->graphs[i] = seen_graph(&p->cfg, inputs[i].graph);
    return bk_graph_pass_forward(p->graph, out, w, p->graphs, b, keep, err);
}

int bk_encoder_forward(struct bk_encoder_pass *p, bk_real *f, const struct bk_encoder_prepared *w,
                       const struct bk_encoder_words *words, const struct bk_input *inputs, size_t b, bool keep,
                       struct bk_error *err)
{
    const size_t *at = p->row.at;
    const bool alone = p->row.k == 1;
    int rc = reserve(p, b, err);
    p->b = 0;
    if (words->penalty)
        *words->penalty = 0;
    if (!rc && p->sequence)
        rc = sequence_forward(p, alone ? f : p->out + at[BK_BRANCH_SEQUENCE] * b, w->sequence, words, inputs, b, keep,
                              err);
    if (!rc && p->graph)
        rc = graph_forward(p, alone ? f : p->out + at[BK_BRANCH_GRAPH] * b, w->graph, inputs, b, keep, err);
    if (!rc && p->cfg.branches & SKETCH)
        rc = sketch_forward(p, w->params + p->at.kinds, inputs, b, err);
    if (rc || b == 0)
        return rc;
    p->b = b;
    if (!alone)
        join_forward(p, f, w->params);
    else if (p->cfg.branches & SKETCH)
        memcpy(f, p->out, b * p->row.total * sizeof *f);
    return BK_OK;
}

void bk_encoder_backward(struct bk_encoder_pass *p, bk_real *grads, struct bk_word_grads *word_grads,
                         const struct bk_encoder_prepared *w, const bk_real *df, double penalty_scale)
{
    const size_t *at = p->row.at, b = p->b;
    const bool alone = p->row.k == 1;
    if (b == 0)
        return;
    if (!alone)
        join_backward(p, grads, w->params, df);
    else if (p->cfg.branches & SKETCH)
        memcpy(p->dout, df, b * p->row.total * sizeof *df);
    if (p->sequence)
        bk_pass_backward(p->sequence, grads, word_grads, w->sequence, alone ? df : p->dout + at[BK_BRANCH_SEQUENCE] * b,
                         penalty_scale);
    if (p->graph)
        bk_graph_pass_backward(p->graph, grads + p->at.graph, w->graph, alone ? df : p->dout + at[BK_BRANCH_GRAPH] * b);
    if (p->cfg.branches & SKETCH)
        sketch_backward(p, grads + p->at.kinds);
}
