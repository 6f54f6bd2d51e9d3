/* Many functions to unit vectors: batches of like length on threads. */
#include "model/model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A batch: functions of like length, cut at either limit; fixed numbers, so that results do not depend on threads. */
#define BATCH_FUNCTIONS 64
#define BATCH_WORDS     16384

struct order { /* an input by what is seen of it */
    const uint32_t *ids;
    size_t n, index;
};

static int by_content(const void *x, const void *y)
{
    const struct order *a = x, *b = y;
    if (a->n != b->n)
        return a->n < b->n ? -1 : 1;
    int c = a->n ? memcmp(a->ids, b->ids, a->n * sizeof *a->ids) : 0;
    return c ? c : a->index < b->index ? -1 : a->index > b->index;
}

struct worker {
    struct bk_pass *pass;
    float *f; /* BATCH_FUNCTIONS x O */
    int rc;
    struct bk_error err;
};

struct embedding {
    const struct bk_model *m;
    float *out;
    const struct order *order; /* distinct inputs, `n_unique` */
    const size_t *begin;       /* batch i is order[begin[i] .. begin[i + 1]) */
    size_t first;              /* batch of item 0 */
    size_t o;
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

static void embed_batch(void *ctx, size_t item, unsigned worker)
{
    const struct embedding *e = ctx;
    struct worker *w = &e->workers[worker];
    size_t first = e->begin[e->first + item], n = e->begin[e->first + item + 1] - first;
    struct bk_seq seqs[BATCH_FUNCTIONS];
    if (w->rc)
        return;
    if (!w->pass) {
        w->f = bk_calloc(BATCH_FUNCTIONS * e->o, sizeof(float));
        w->rc = w->f ? bk_pass_new(&w->pass, &e->m->net, &w->err)
                     : bk_fail_nomem(&w->err, BATCH_FUNCTIONS * e->o * sizeof(float));
        if (w->rc)
            return;
    }
    for (size_t i = 0; i < n; i++)
        seqs[i] = (struct bk_seq){e->order[first + i].ids, e->order[first + i].n};
    w->rc = bk_pass_forward(w->pass, w->f, e->m->params, e->m->word_vectors, bk_strtab_count(e->m->words), seqs, n,
                            false, NULL, &w->err);
    for (size_t i = 0; i < n && !w->rc; i++) {
        if (!normalise(w->f + i * e->o, e->o))
            w->rc = bk_fail(&w->err, BK_EFORMAT, BK_NO_OFFSET, "the model's weights give a vector that is not finite");
        memcpy(e->out + e->order[first + i].index * e->o, w->f + i * e->o, e->o * sizeof(float));
    }
}

/* Cuts order[0 .. n) into batches; `begin` has room for n + 1. Returns their number. */
static size_t cut_batches(size_t *begin, const struct order *order, size_t n)
{
    size_t batches = 0, words = 0;
    begin[0] = 0;
    for (size_t i = 0; i < n; i++) {
        if (i > begin[batches] && (i - begin[batches] == BATCH_FUNCTIONS || words + order[i].n > BATCH_WORDS)) {
            begin[++batches] = i;
            words = 0;
        }
        words += order[i].n;
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
        bk_pass_free(e->workers[i].pass);
        free(e->workers[i].f);
    }
    free(e->workers);
    return rc;
}

int bk_model_embed(float *out, const struct bk_model *m, const struct bk_seq *seqs, size_t n, unsigned threads,
                   bk_model_progress *progress, void *ctx, struct bk_error *err)
{
    if (n == 0)
        return BK_OK;
    struct order *order = bk_calloc(n, sizeof *order);
    size_t *begin = bk_calloc(n + 1, sizeof *begin), *same = bk_calloc(n, sizeof *same);
    int rc = order && begin && same ? BK_OK : bk_fail_nomem(err, n * sizeof *order);
    uint32_t v = bk_strtab_count(m->words);
    for (size_t i = 0; i < n && !rc; i++) {
        size_t len = seqs[i].n < m->net.max_insns ? seqs[i].n : m->net.max_insns;
        order[i] = (struct order){seqs[i].ids, len, i};
        for (size_t k = 0; k < len && !rc; k++)
            if (seqs[i].ids[k] >= v)
                rc = bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "function %zu: word id %u of %u", i, seqs[i].ids[k], v);
    }
    if (!rc) {
        struct embedding e = {.m = m, .out = out, .order = order, .begin = begin, .o = bk_net_outputs(&m->net)};
        qsort(order, n, sizeof *order, by_content);
        size_t unique = 0;
        for (size_t i = 0; i < n; i++) { /* same[x]: the input that gets the vector x shares */
            size_t index = order[i].index;
            bool repeats = unique && order[unique - 1].n == order[i].n &&
                           (order[i].n == 0 ||
                            memcmp(order[unique - 1].ids, order[i].ids, order[i].n * sizeof *order[i].ids) == 0);
            same[index] = repeats ? order[unique - 1].index : index;
            if (!repeats)
                order[unique++] = order[i];
        }
        rc = run_batches(&e, cut_batches(begin, order, unique), threads, progress, ctx, unique, err);
        for (size_t i = 0; i < n && !rc; i++)
            if (same[i] != i)
                memcpy(out + i * e.o, out + same[i] * e.o, e.o * sizeof(float));
    }
    free(order);
    free(begin);
    free(same);
    return rc;
}
