/* judge: one subject's answers to a trial, and what they are worth. */
#include "judge.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- asking ---------------------------------------------------------------- */

struct scratch { /* of one thread */
    bool *related;
    uint32_t *members; /* wrong answers, then the right one */
    float *score;      /* of the members */
    float *dense;      /* see bk_scorer_scores */
};

/* One axis while it is judged. */
struct asking {
    const struct bk_trial *t;
    enum bk_axis axis;
    const struct bk_scorer *scorer;
    const struct bk_judge_options *opt;
    size_t n, n_queries;     /* anchors */
    size_t largest;          /* wrong answers of the largest pool, or as many as any query has */
    struct bk_scored *pairs; /* 2 n: each anchor with its right answer and its first wrong one */
    size_t *rank;            /* n_pools x n_queries; 0: the query has too few candidates */
    struct scratch *scratch; /* by thread */
};

static void ask(void *ctx, size_t item, unsigned worker)
{
    struct asking *a = ctx;
    struct scratch *s = &a->scratch[worker];
    const struct bk_anchor *anchor = &a->t->axes[a->axis].v[item];
    size_t n = item >= a->n_queries ? 1 : anchor->n_wrong < a->largest ? anchor->n_wrong : a->largest;
    bk_trial_wrong(s->members, n, a->t, a->axis, anchor->query, s->related);
    s->members[n] = anchor->match;
    bk_scorer_scores(s->score, a->scorer, s->dense, anchor->query, s->members, n + 1);
    a->pairs[2 * item] = (struct bk_scored){s->score[n], (uint32_t)item, true};
    a->pairs[2 * item + 1] = (struct bk_scored){s->score[0], (uint32_t)item, false};
    for (size_t p = 0; p < a->opt->n_pools && item < a->n_queries; p++) {
        size_t wrong = a->opt->pools[p] - 1;
        a->rank[p * a->n_queries + item] = wrong <= anchor->n_wrong ? bk_rank_of(s->score[n], s->score, wrong) : 0;
    }
}

static bool scratch_init(struct scratch *s, const struct asking *a)
{
    s->related = bk_calloc(a->t->n_builds + 1, sizeof *s->related);
    s->members = bk_calloc(a->largest + 1, sizeof *s->members);
    s->score = bk_calloc(a->largest + 1, sizeof *s->score);
    s->dense = bk_calloc(bk_scorer_scratch(a->scorer) + 1, sizeof *s->dense);
    return s->related && s->members && s->score && s->dense;
}

static void asking_done(struct asking *a, unsigned threads)
{
    for (unsigned i = 0; a->scratch && i < threads; i++) {
        free(a->scratch[i].related);
        free(a->scratch[i].members);
        free(a->scratch[i].score);
        free(a->scratch[i].dense);
    }
    free(a->scratch);
    free(a->pairs);
    free(a->rank);
}

static int asking_init(struct asking *a, unsigned threads, struct bk_error *err)
{
    size_t most = 1, wanted = 1;
    for (size_t i = 0; i < a->n_queries; i++)
        most = a->t->axes[a->axis].v[i].n_wrong > most ? a->t->axes[a->axis].v[i].n_wrong : most;
    for (size_t p = 0; p < a->opt->n_pools; p++)
        wanted = a->opt->pools[p] - 1 > wanted ? a->opt->pools[p] - 1 : wanted;
    a->largest = wanted < most ? wanted : most;
    a->pairs = bk_calloc(2 * a->n + 1, sizeof *a->pairs);
    a->rank = bk_calloc(a->opt->n_pools * a->n_queries + 1, sizeof *a->rank);
    a->scratch = bk_calloc(threads, sizeof *a->scratch);
    bool room = a->pairs && a->rank && a->scratch;
    for (unsigned i = 0; room && i < threads; i++)
        room = scratch_init(&a->scratch[i], a);
    return room ? BK_OK : bk_fail_nomem(err, a->n * sizeof *a->pairs + threads * a->largest * 8);
}

/* ---- pairs ----------------------------------------------------------------- */

struct sorted {
    const struct bk_scored *v;
    size_t n;
};

static void resample_pairs(const void *ctx, double *out, const uint32_t *weight)
{
    const struct sorted *s = ctx;
    bk_metric_auc_ap(&out[0], &out[1], s->v, s->n, weight);
}

static int judge_pairs(struct bk_judged_axis *x, struct asking *a, struct bk_error *err)
{
    struct sorted s = {a->pairs, 2 * a->n};
    struct bk_figure figures[2];
    int rc = bk_metric_sort(a->pairs, s.n, err);
    if (!rc)
        rc = bk_bootstrap(figures, 2, a->n, a->t->opt.seed, a->opt->threads, resample_pairs, &s, err);
    if (!rc)
        rc = bk_metric_curves(&x->roc, &x->precision_recall, s.v, s.n, err);
    if (rc)
        return rc;
    x->pairs = s.n;
    x->auc = figures[0];
    x->ap = figures[1];
    return BK_OK;
}

/* ---- pools ----------------------------------------------------------------- */

struct ranks {
    const size_t *v;
    size_t n;
};

static void resample_ranks(const void *ctx, double *out, const uint32_t *weight)
{
    const struct ranks *r = ctx;
    bk_metric_ranks(out, r->v, r->n, weight);
}

_Static_assert(BK_SIZE_CLASSES == BK_CALIBRATION_SIZES, "judged and calibrated by the same sizes");

static void add_size(struct bk_judged_pool *p, uint32_t blocks, size_t rank)
{
    struct bk_size_class *c = &p->sizes[bk_size_class(blocks)];
    c->recall_at_1 += ((double)(rank == 1) - c->recall_at_1) / (double)++c->queries; /* a running mean */
}

/* The figures of pool `p`; `rank` is left with the ranks of its queries, one after the other. */
static int judge_pool(struct bk_judged_pool *out, const struct asking *a, size_t p, struct bk_error *err)
{
    const struct bk_trial *t = a->t;
    size_t *rank = a->rank + p * a->n_queries;
    *out = (struct bk_judged_pool){.pool = a->opt->pools[p], .least = SIZE_MAX};
    for (size_t i = 0; i < a->n_queries; i++) {
        const struct bk_anchor *v = &t->axes[a->axis].v[i];
        size_t candidates = (size_t)v->n_wrong + 1;
        out->most = candidates > out->most ? candidates : out->most;
        out->least = candidates < out->least ? candidates : out->least;
        if (!rank[i])
            continue;
        add_size(out, t->d->v[t->g.v[v->query]].n_blocks, rank[i]);
        rank[out->queries++] = rank[i];
    }
    if (!out->queries)
        return BK_OK;
    struct ranks r = {rank, out->queries};
    struct bk_figure f[BK_RANK_METRICS];
    int rc = bk_bootstrap(f, BK_RANK_METRICS, r.n, t->opt.seed, a->opt->threads, resample_ranks, &r, err);
    if (rc)
        return rc;
    out->recall_at_1 = f[BK_RECALL_1];
    out->recall_at_10 = f[BK_RECALL_10];
    out->mrr_at_10 = f[BK_MRR_10];
    out->ndcg_at_10 = f[BK_NDCG_10];
    return BK_OK;
}

/* Recall at each k where it grows, and at both ends, of the largest pool that was judged. */
static int recall_curve(struct bk_judged_axis *x, struct asking *a, struct bk_error *err)
{
    size_t best = SIZE_MAX;
    for (size_t p = 0; p < x->n_pools; p++)
        if (x->pools[p].queries && (best == SIZE_MAX || x->pools[p].pool > x->pools[best].pool))
            best = p;
    if (best == SIZE_MAX)
        return BK_OK;
    size_t n = x->pools[best].queries;
    return bk_metric_recall_curve(&x->recall_at_k, a->rank + best * a->n_queries, n, x->pools[best].pool, err);
}

/* ---- the whole ------------------------------------------------------------- */

static int judge_axis(struct bk_judged_axis *x, struct asking *a, struct bk_error *err)
{
    unsigned threads = bk_par_threads(a->opt->threads);
    a->n = a->t->axes[a->axis].n;
    a->n_queries = bk_trial_queries(a->t, a->axis);
    int rc = asking_init(a, threads, err);
    if (!rc) {
        bk_par_for(a->n, threads, ask, a);
        rc = judge_pairs(x, a, err);
    }
    x->n_pools = a->opt->n_pools;
    for (size_t p = 0; p < x->n_pools && !rc; p++)
        rc = judge_pool(&x->pools[p], a, p, err);
    if (!rc)
        rc = recall_curve(x, a, err);
    asking_done(a, threads);
    return rc;
}

static int check(const struct bk_trial *t, const struct bk_judge_options *opt, struct bk_error *err)
{
    size_t anchors = 0;
    if (opt->n_pools > BK_MAX_POOLS)
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "%zu pool sizes, at most %d", opt->n_pools, BK_MAX_POOLS);
    for (size_t i = 0; i < opt->n_pools; i++)
        if (opt->pools[i] < 2)
            return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "a pool of %zu has no wrong answer", opt->pools[i]);
    for (size_t a = 0; a < BK_AXIS_COUNT; a++)
        anchors += t->axes[a].n;
    return anchors ? BK_OK
                   : bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "none of %zu functions has a right answer on any axis asked",
                             t->g.n);
}

int bk_judge(struct bk_judged *out, const struct bk_trial *t, const struct bk_subject *subject,
             const struct bk_judge_options *opt, struct bk_error *err)
{
    bk_error_clear(err);
    *out = (struct bk_judged){0};
    struct bk_scorer scorer = {0};
    int rc = check(t, opt, err);
    if (!rc)
        rc = bk_scorer_init(&scorer, t, subject, opt, err);
    out->unknown_words = scorer.unknown_words;
    out->seconds = scorer.seconds;
    out->functions_per_second = scorer.seconds > 0 ? (double)t->g.n / scorer.seconds : 0;
    for (enum bk_axis a = 0; a < BK_AXIS_COUNT && !rc; a++) {
        struct asking asking = {.t = t, .axis = a, .scorer = &scorer, .opt = opt};
        if (opt->progress)
            opt->progress(opt->ctx, "judging", a, BK_AXIS_COUNT);
        if (t->axes[a].n)
            rc = judge_axis(&out->axes[a], &asking, err);
    }
    bk_scorer_done(&scorer);
    if (rc)
        bk_judged_done(out);
    return rc;
}

void bk_judged_done(struct bk_judged *j)
{
    for (size_t a = 0; a < BK_AXIS_COUNT; a++) {
        struct bk_curve *curves[] = {&j->axes[a].roc, &j->axes[a].precision_recall, &j->axes[a].recall_at_k};
        for (size_t k = 0; k < 3; k++) {
            free(curves[k]->x);
            free(curves[k]->y);
        }
    }
    *j = (struct bk_judged){0};
}
