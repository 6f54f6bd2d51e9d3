/* Many functions to unit vectors: batches of like length on threads. */
#include "model/net_int.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A batch: functions of like length, cut at either limit; fixed numbers, so that results do not depend on threads. */
#define BATCH_FUNCTIONS 128
#define BATCH_WORDS     16384

struct order { /* an input by what is seen of it */
    struct bk_input in;
    size_t index;
};

static int by_bytes(const void *a, size_t size_a, const void *b, size_t size_b)
{
    if (size_a != size_b)
        return size_a < size_b ? -1 : 1;
    return size_a ? memcmp(a, b, size_a) : 0;
}

static size_t graph_insns(const struct bk_graph *g)
{
    size_t n = 0;
    for (uint32_t i = 0; i < g->n_nodes; i++)
        n += g->insns[i];
    return n;
}

static int by_graph(const struct bk_graph *a, const struct bk_graph *b)
{
    const uint32_t sizes_a[] = {a->n_nodes, a->n_insns, a->n_callees},
                   sizes_b[] = {b->n_nodes, b->n_insns, b->n_callees};
    const size_t insns_a = graph_insns(a), insns_b = graph_insns(b);
    int c = by_bytes(sizes_a, sizeof sizes_a, sizes_b, sizeof sizes_b);
    if (!c)
        c = by_bytes(a->forms, insns_a * sizeof *a->forms, b->forms, insns_b * sizeof *b->forms);
    if (!c)
        c = by_bytes(a->neutral, insns_a * sizeof *a->neutral, b->neutral, insns_b * sizeof *b->neutral);
    if (!c)
        c = by_bytes(a->insns, a->n_nodes * sizeof *a->insns, b->insns, b->n_nodes * sizeof *b->insns);
    return c ? c : by_bytes(a->edges, a->n_edges * sizeof *a->edges, b->edges, b->n_edges * sizeof *b->edges);
}

static int by_items(const struct bk_item_seq *a, const struct bk_item_seq *b)
{
    int c = by_bytes(a->hash, a->n * sizeof *a->hash, b->hash, b->n * sizeof *b->hash);
    return c ? c : by_bytes(a->kind, a->n, b->kind, b->n); /* weights follow from hashes */
}

/* Shorter ones first. */
static int by_input(const struct bk_input *a, const struct bk_input *b)
{
    int c = by_bytes(a->words.ids, a->words.n * sizeof *a->words.ids, b->words.ids, b->words.n * sizeof *b->words.ids);
    if (!c)
        c = by_graph(&a->graph, &b->graph);
    return c ? c : by_items(&a->items, &b->items);
}

static int by_content(const void *x, const void *y)
{
    const struct order *a = x, *b = y;
    int c = by_input(&a->in, &b->in);
    return c ? c : a->index < b->index ? -1 : a->index > b->index;
}

/* ---- weights, prepared at first use ------------------------------------- */

struct bk_model_cache {
    struct bk_once once[BK_PRECISION_COUNT];
    struct bk_encoder_prepared *w[BK_PRECISION_COUNT];
};

enum bk_precision bk_model_precision(bool int8)
{
    return int8 && bk_int8_fast() ? BK_INT8 : BK_FULL;
}

struct bk_model_cache *bk_model_cache_new(void)
{
    return calloc(1, sizeof(struct bk_model_cache));
}

void bk_model_cache_free(struct bk_model_cache *c)
{
    if (!c)
        return;
    for (int i = 0; i < BK_PRECISION_COUNT; i++)
        bk_encoder_prepared_free(c->w[i]);
    free(c);
}

struct preparation {
    const struct bk_model *m;
    struct bk_encoder_prepared **out;
    enum bk_precision precision;
    unsigned threads;
    int rc;
    struct bk_error *err;
};

static bool prepare(void *ctx)
{
    struct preparation *p = ctx;
    p->rc = bk_encoder_prepared_new(p->out, &p->m->cfg, p->precision, false, p->err);
    if (!p->rc)
        bk_encoder_prepare(*p->out, p->m->params, p->threads);
    return !p->rc;
}

/* *own is what the caller frees: a model without cache is prepared for one call. */
static int prepared_of(const struct bk_encoder_prepared **out, struct bk_encoder_prepared **own,
                       const struct bk_model *m, enum bk_precision precision, unsigned threads, struct bk_error *err)
{
    struct preparation p = {.m = m,
                            .out = m->cache ? &m->cache->w[precision] : own,
                            .precision = precision,
                            .threads = threads,
                            .err = err};
    *own = NULL;
    if (m->cache)
        bk_once(&m->cache->once[precision], prepare, &p);
    else
        prepare(&p);
    *out = *p.out;
    return p.rc;
}

/* ---- the words of a call ------------------------------------------------- */

/* Each distinct word is looked up and multiplied once; there are none without a sequence branch. */
struct words {
    uint32_t *row; /* V of them: word -> row of xw */
    uint32_t *ids; /* of the rows */
    size_t n;
    float *full; /* n x bk_word_columns(), in one of the two forms */
    uint16_t *brief;
    const struct bk_model *m;
    const struct bk_prepared *w;
    int *rc; /* of each part */
    struct bk_error *err;
};

enum { WORDS_PART = 512 };

static uint32_t n_words(const struct bk_model *m)
{
    return m->words ? bk_strtab_count(m->words) : 0;
}

static size_t word_parts(const struct words *x)
{
    return (x->n + WORDS_PART - 1) / WORDS_PART;
}

static void multiply_part(void *ctx, size_t item, unsigned worker)
{
    const struct words *x = ctx;
    size_t from = item * WORDS_PART, n = x->n - from < WORDS_PART ? x->n - from : WORDS_PART, d = x->m->cfg.net.d;
    (void)worker;
    size_t cols = bk_word_columns(&x->m->cfg.net), room = n * d + (x->brief ? n * cols : 0);
    float *vectors = bk_calloc(room, sizeof *vectors), *to = x->full ? x->full + from * cols : vectors + n * d;
    x->rc[item] = vectors ? bk_model_vectors(vectors, x->m, x->ids + from, n, &x->err[item])
                          : bk_fail_nomem(&x->err[item], room * sizeof *vectors);
    if (!x->rc[item]) {
        bk_prepared_words(to, x->w, vectors, n);
        if (x->brief)
            bk_brief(x->brief + from * cols, to, n * cols);
    }
    free(vectors);
}

static void words_done(struct words *x)
{
    free(x->row);
    free(x->ids);
    free(x->full);
    free(x->brief);
    free(x->rc);
    free(x->err);
}

/* Numbers the distinct words of order[0 .. n), all of them in the vocabulary. */
static int number_words(struct words *x, const struct order *order, size_t n, struct bk_error *err)
{
    size_t v = bk_strtab_count(x->m->words), sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += order[i].in.words.n;
    x->row = bk_alloc_large(v, sizeof *x->row);
    x->ids = bk_alloc_large(sum < v ? sum : v, sizeof *x->ids);
    if (!x->row || !x->ids)
        return bk_fail_nomem(err, v * sizeof *x->row);
    memset(x->row, 0xff, v * sizeof *x->row);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < order[i].in.words.n; k++) {
            uint32_t id = order[i].in.words.ids[k];
            if (x->row[id] == UINT32_MAX) {
                x->ids[x->n] = id;
                x->row[id] = (uint32_t)x->n++;
            }
        }
    return BK_OK;
}

static int multiply_words(struct words *x, enum bk_precision precision, unsigned threads, struct bk_error *err)
{
    size_t parts = word_parts(x), cols = bk_word_columns(&x->m->cfg.net), bytes;
    if (!bk_mul_size(&bytes, x->n, cols * sizeof *x->full))
        return bk_fail_nomem(err, SIZE_MAX);
    if (precision == BK_INT8)
        x->brief = aligned_alloc(64, (bytes / 2 + 127) / 64 * 64);
    else
        x->full = aligned_alloc(64, bytes + 64);
    x->rc = bk_calloc(parts, sizeof *x->rc);
    x->err = bk_calloc(parts, sizeof *x->err);
    if (!(x->full || x->brief) || !x->rc || !x->err)
        return bk_fail_nomem(err, bytes);
    bk_par_for(parts, threads, multiply_part, x);
    for (size_t i = 0; i < parts; i++)
        if (x->rc[i]) {
            if (err)
                *err = x->err[i];
            return x->rc[i];
        }
    return BK_OK;
}

/* ---- batches --------------------------------------------------------------- */

struct worker {
    struct bk_encoder_pass *pass;
    float *f; /* BATCH_FUNCTIONS x S O */
    int rc;
    struct bk_error err;
};

struct embedding {
    const struct bk_model *m;
    const struct bk_encoder_prepared *w;
    struct words words;
    float *out;
    const struct order *order; /* distinct inputs */
    const size_t *begin;       /* batch i is order[begin[i] .. begin[i + 1]) */
    size_t first;              /* batch of item 0 */
    size_t o;
    bool pairs; /* rows of out as for bk_model_embed_pairs */
    struct worker *workers;
};

static bool normalise(float *v, size_t n)
{
    double s = 0;
    for (size_t i = 0; i < n; i++)
        s += (double)v[i] * v[i];
    if (!isfinite(s))
        return false;
    double scale = s > 0 ? 1 / sqrt(s) : 0;
    for (size_t i = 0; i < n; i++)
        v[i] = (float)(v[i] * scale);
    return true;
}

/* The row that leaves of what the network gave for one function; false: it is not finite. */
static bool leave(float *out, const struct embedding *e, float *f)
{
    size_t o = e->o;
    bool raw = e->pairs && bk_encoder_sides(&e->m->cfg) == 2, finite = raw || normalise(f, o);
    memcpy(out, f, (raw ? 2 : 1) * o * sizeof *out);
    if (e->pairs && !raw)
        memcpy(out + o, f, o * sizeof *out);
    for (size_t i = 0; raw && i < 2 * o; i++)
        finite &= isfinite(f[i]) != 0;
    return finite;
}

static void embed_batch(void *ctx, size_t item, unsigned worker)
{
    const struct embedding *e = ctx;
    struct worker *w = &e->workers[worker];
    size_t first = e->begin[e->first + item], n = e->begin[e->first + item + 1] - first;
    struct bk_input inputs[BATCH_FUNCTIONS];
    const size_t row = (e->pairs ? 2 : 1) * e->o, given = bk_encoder_sides(&e->m->cfg) * e->o;
    const struct bk_columns xw = {e->words.full, e->words.brief, bk_word_columns(&e->m->cfg.net)};
    const struct bk_encoder_words words = {.xw = &xw, .row = e->words.row, .n = n_words(e->m)};
    if (w->rc)
        return;
    if (!w->pass) {
        w->f = bk_calloc(BATCH_FUNCTIONS * given, sizeof(float));
        w->rc = w->f ? bk_encoder_pass_new(&w->pass, &e->m->cfg, &w->err)
                     : bk_fail_nomem(&w->err, BATCH_FUNCTIONS * given * sizeof(float));
        if (w->rc)
            return;
    }
    for (size_t i = 0; i < n; i++)
        inputs[i] = e->order[first + i].in;
    w->rc = bk_encoder_forward(w->pass, w->f, e->w, &words, inputs, n, false, &w->err);
    for (size_t i = 0; i < n && !w->rc; i++)
        if (!leave(e->out + e->order[first + i].index * row, e, w->f + i * given))
            w->rc = bk_fail(&w->err, BK_EFORMAT, BK_NO_OFFSET, "the model's weights give a vector that is not finite");
}

/* Cuts order[0 .. n) into batches; `begin` has room for n + 1. Returns their number. */
static size_t cut_batches(size_t *begin, const struct order *order, size_t n)
{
    size_t batches = 0, words = 0;
    begin[0] = 0;
    for (size_t i = 0; i < n; i++) {
        if (i > begin[batches] &&
            (i - begin[batches] == BATCH_FUNCTIONS || words + order[i].in.words.n > BATCH_WORDS)) {
            begin[++batches] = i;
            words = 0;
        }
        words += order[i].in.words.n;
    }
    if (n)
        begin[++batches] = n;
    return batches;
}

static int run_batches(struct embedding *e, size_t n_batches, unsigned threads, bk_model_progress *progress, void *ctx,
                       size_t n_unique, struct bk_error *err)
{
    threads = bk_par_threads(threads);
    e->workers = bk_calloc(threads, sizeof *e->workers);
    if (!e->workers)
        return bk_fail_nomem(err, threads * sizeof *e->workers);
    int rc = BK_OK;
    size_t step = progress ? 8 * (size_t)threads : n_batches; /* batches between two reports */
    unsigned fpu = bk_fpu_flush_denormals();
    for (e->first = 0; e->first < n_batches && !rc; e->first += step) {
        size_t n = n_batches - e->first < step ? n_batches - e->first : step;
        bk_par_for(n, threads, embed_batch, e);
        for (unsigned i = 0; i < threads && !rc; i++)
            if ((rc = e->workers[i].rc) && err)
                *err = e->workers[i].err;
        if (progress && !rc)
            progress(ctx, e->begin[e->first + n], n_unique);
    }
    bk_fpu_restore(fpu);
    for (unsigned i = 0; i < threads; i++) {
        bk_encoder_pass_free(e->workers[i].pass);
        free(e->workers[i].f);
    }
    free(e->workers);
    return rc;
}

/* Leaves one of equal inputs (n, sorted) and returns how many are left; same[x] is the input whose vector x shares. */
static size_t join_equal(size_t *same, struct order *order, size_t n)
{
    size_t unique = 0;
    for (size_t i = 0; i < n; i++) {
        size_t index = order[i].index;
        bool repeats = unique && by_input(&order[unique - 1].in, &order[i].in) == 0;
        same[index] = repeats ? order[unique - 1].index : index;
        if (!repeats)
            order[unique++] = order[i];
    }
    return unique;
}

static int embed_distinct(float *out, bool pairs, const struct bk_model *m, const struct order *order, size_t n,
                          size_t *begin, enum bk_precision precision, unsigned threads, bk_model_progress *progress,
                          void *ctx, struct bk_error *err)
{
    struct embedding e = {.m = m, .words.m = m, .out = out, .pairs = pairs, .order = order, .begin = begin};
    struct bk_encoder_prepared *own;
    e.o = bk_encoder_outputs(&m->cfg);
    int rc = prepared_of(&e.w, &own, m, precision, threads, err);
    if (!rc && bk_encoder_has(&m->cfg, BK_BRANCH_SEQUENCE)) {
        e.words.w = bk_encoder_sequence(e.w);
        rc = number_words(&e.words, order, n, err);
        if (!rc)
            rc = multiply_words(&e.words, precision, threads, err);
    }
    if (!rc)
        rc = run_batches(&e, cut_batches(begin, order, n), threads, progress, ctx, n, err);
    words_done(&e.words);
    bk_encoder_prepared_free(own);
    return rc;
}

/* What the model looks at of function `i`. */
static int admit(struct order *out, const struct bk_model *m, const struct bk_input *in, size_t i, struct bk_error *err)
{
    *out = (struct order){.index = i};
    if (bk_encoder_has(&m->cfg, BK_BRANCH_SEQUENCE)) {
        const size_t seen = m->cfg.net.max_insns;
        out->in.words = (struct bk_seq){in->words.ids, in->words.n < seen ? in->words.n : seen};
        for (size_t k = 0; k < out->in.words.n; k++)
            if (in->words.ids[k] >= n_words(m))
                return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "function %zu: word id %u of %u", i, in->words.ids[k],
                               n_words(m));
    }
    if (bk_encoder_has(&m->cfg, BK_BRANCH_GRAPH))
        out->in.graph = in->graph;
    if (bk_encoder_has(&m->cfg, BK_BRANCH_SKETCH))
        out->in.items = in->items;
    return BK_OK;
}

static int embed(float *out, bool pairs, const struct bk_model *m, const struct bk_input *inputs, size_t n,
                 enum bk_precision precision, unsigned threads, bk_model_progress *progress, void *ctx,
                 struct bk_error *err)
{
    if (n == 0)
        return BK_OK;
    struct order *order = bk_calloc(n, sizeof *order);
    size_t *begin = bk_calloc(n + 1, sizeof *begin), *same = bk_calloc(n, sizeof *same);
    int rc = order && begin && same ? BK_OK : bk_fail_nomem(err, n * sizeof *order);
    for (size_t i = 0; i < n && !rc; i++)
        rc = admit(&order[i], m, &inputs[i], i, err);
    if (!rc) {
        qsort(order, n, sizeof *order, by_content);
        rc = embed_distinct(out, pairs, m, order, join_equal(same, order, n), begin, precision, threads, progress, ctx,
                            err);
        for (size_t i = 0, row = (pairs ? 2 : 1) * bk_encoder_outputs(&m->cfg); i < n && !rc; i++)
            if (same[i] != i)
                memcpy(out + i * row, out + same[i] * row, row * sizeof(float));
    }
    free(order);
    free(begin);
    free(same);
    return rc;
}

int bk_model_embed(float *out, const struct bk_model *m, const struct bk_input *inputs, size_t n,
                   enum bk_precision precision, unsigned threads, bk_model_progress *progress, void *ctx,
                   struct bk_error *err)
{
    return embed(out, false, m, inputs, n, precision, threads, progress, ctx, err);
}

int bk_model_embed_pairs(float *out, const struct bk_model *m, const struct bk_input *inputs, size_t n,
                         enum bk_precision precision, unsigned threads, bk_model_progress *progress, void *ctx,
                         struct bk_error *err)
{
    return embed(out, true, m, inputs, n, precision, threads, progress, ctx, err);
}
