/* score: how like two functions are, by a model's vectors or by a baseline's features. */
#include "inputs.h"
#include "judge.h"

#include <stdlib.h>
#include <string.h>

/* Eight sums side by side, so that the compiler may use wide registers without changing the order of additions. */
static float dot(const float *a, const float *b, size_t n)
{
    float lane[8] = {0}, sum = 0;
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (size_t k = 0; k < 8; k++)
            lane[k] += a[i + k] * b[i + k];
    for (; i < n; i++)
        sum += a[i] * b[i];
    for (size_t k = 0; k < 8; k++)
        sum += lane[k];
    return sum;
}

void bk_pairs_score(float *score, const struct bk_pairs *p, const float *vectors, size_t dim, size_t sides)
{
    const float *right = vectors + (sides - 1) * dim;
    for (size_t i = 0; i < p->n; i++)
        score[i] = dot(vectors + p->v[i].a * sides * dim, right + p->v[i].b * sides * dim, dim);
}

/* ---- vectors of a model -------------------------------------------------- */

static int check_archs(const struct bk_trial *t, const struct bk_model *m, struct bk_error *err)
{
    for (size_t k = 0; k < t->g.n; k++) {
        const enum bk_arch arch = bk_data_arch(t->d, t->g.v[k]);
        if (!(m->archs & (1u << arch)))
            return bk_fail(err, BK_EMISMATCH, BK_NO_OFFSET, "the model was not trained for %s", bk_arch_name(arch));
    }
    return BK_OK;
}

static void embed_progress(void *ctx, size_t done, size_t total)
{
    const struct bk_judge_options *opt = ctx;
    opt->progress(opt->ctx, "embedding", done, total);
}

static int make_vectors(struct bk_scorer *s, const struct bk_trial *t, const struct bk_model *m,
                        const struct bk_judge_options *opt, struct bk_error *err)
{
    struct bk_inputs in = {0};
    struct bk_judge_options progress = *opt;
    int rc = check_archs(t, m, err);
    if (!rc)
        rc = bk_inputs_make(&in, t->d, t->g.v, t->g.n, m, err);
    size_t size;
    s->dim = bk_encoder_outputs(&m->cfg);
    s->row = s->dim * bk_encoder_sides(&m->cfg);
    s->right = s->row - s->dim;
    if (!rc) {
        s->vectors = bk_mul_size(&size, t->g.n, s->row) ? bk_calloc(size + 1, sizeof *s->vectors) : NULL;
        rc = s->vectors ? BK_OK : bk_fail_nomem(err, t->g.n * s->row * sizeof *s->vectors);
    }
    if (!rc)
        rc = (s->right ? bk_model_embed_pairs : bk_model_embed)(s->vectors, m, in.v, t->g.n,
                                                                bk_model_precision(opt->int8), opt->threads,
                                                                opt->progress ? embed_progress : NULL, &progress, err);
    s->unknown_words = in.n_unknown ? (double)in.n_unknown / (double)in.n_seen : 0;
    bk_inputs_done(&in);
    return rc;
}

/* ---- one interface to all ------------------------------------------------ */

int bk_scorer_init(struct bk_scorer *out, const struct bk_trial *t, const struct bk_subject *subject,
                   const struct bk_judge_options *opt, struct bk_error *err)
{
    *out = (struct bk_scorer){0};
    double start = bk_now();
    int rc = subject->model                             ? make_vectors(out, t, subject->model, opt, err)
             : subject->baseline == BK_BASELINE_MINHASH ? bk_minhash(&out->signatures, t, opt->threads, err)
                                                        : bk_rows_new(&out->rows, t, subject->baseline, err);
    out->seconds = bk_now() - start;
    return rc;
}

void bk_scorer_done(struct bk_scorer *s)
{
    free(s->vectors);
    free(s->signatures);
    bk_rows_free(s->rows);
    *s = (struct bk_scorer){0};
}

size_t bk_scorer_scratch(const struct bk_scorer *s)
{
    return s->rows ? s->rows->n_features : 0;
}

static void rows_scores(float *score, const struct bk_rows *r, float *scratch, uint32_t query, const uint32_t *others,
                        size_t n)
{
    for (size_t k = r->begin[query]; k < r->begin[query + 1]; k++)
        scratch[r->feature[k]] = r->weight[k];
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        for (size_t k = r->begin[others[i]]; k < r->begin[others[i] + 1]; k++)
            sum += (double)scratch[r->feature[k]] * (double)r->weight[k];
        score[i] = (float)sum;
    }
    for (size_t k = r->begin[query]; k < r->begin[query + 1]; k++)
        scratch[r->feature[k]] = 0;
}

static void signature_scores(float *score, const uint32_t *signatures, uint32_t query, const uint32_t *others, size_t n)
{
    const uint32_t *q = signatures + (size_t)query * BK_MINHASHES;
    for (size_t i = 0; i < n; i++) {
        const uint32_t *o = signatures + (size_t)others[i] * BK_MINHASHES;
        uint32_t equal = 0;
        for (size_t k = 0; k < BK_MINHASHES; k++)
            equal += q[k] == o[k];
        score[i] = (float)equal / BK_MINHASHES;
    }
}

void bk_scorer_scores(float *score, const struct bk_scorer *s, float *scratch, uint32_t query, const uint32_t *others,
                      size_t n)
{
    if (s->rows) {
        rows_scores(score, s->rows, scratch, query, others, n);
    } else if (s->signatures) {
        signature_scores(score, s->signatures, query, others, n);
    } else {
        for (size_t i = 0; i < n; i++)
            score[i] = dot(s->vectors + query * s->row, s->vectors + others[i] * s->row + s->right, s->dim);
    }
}
