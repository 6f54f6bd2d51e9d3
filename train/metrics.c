/* metrics: what a list of scores is worth, and how sure that is. */
#include "train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define RESAMPLES 1000

/* ---- pairs ------------------------------------------------------------- */

static int best_first(const void *a, const void *b)
{
    float x = ((const struct bk_scored *)a)->score, y = ((const struct bk_scored *)b)->score;
    return (x < y) - (x > y);
}

int bk_metric_sort(struct bk_scored *v, size_t n, struct bk_error *err)
{
    size_t similar = 0;
    for (size_t i = 0; i < n; i++) {
        if (isnan(v[i].score))
            return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "a score is no number");
        similar += v[i].similar;
    }
    if (!similar || similar == n)
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "%zu similar and %zu dissimilar pairs: both are needed", similar,
                       n - similar);
    qsort(v, n, sizeof *v, best_first);
    return BK_OK;
}

/* Adds what the pairs of one score weigh, from v[i] on; returns the first pair of the next score. */
static size_t step(double *similar, double *dissimilar, const struct bk_scored *v, size_t n, size_t i,
                   const uint32_t *weight)
{
    float score = v[i].score;
    for (; i < n && v[i].score == score; i++)
        *(v[i].similar ? similar : dissimilar) += weight ? weight[v[i].anchor] : 1;
    return i;
}

void bk_metric_auc_ap(double *auc, double *ap, const struct bk_scored *v, size_t n, const uint32_t *weight)
{
    double tp = 0, fp = 0; /* what the pairs at or above the score weigh */
    double area = 0, precision = 0;
    for (size_t i = 0; i < n;) {
        double similar = 0, dissimilar = 0;
        i = step(&similar, &dissimilar, v, n, i, weight);
        area += dissimilar * (tp + 0.5 * similar);
        tp += similar;
        fp += dissimilar;
        precision += similar > 0 ? similar * (tp / (tp + fp)) : 0;
    }
    *auc = area / (tp * fp);
    *ap = precision / tp;
}

/* A picture shows no more, and a point for each of a million pairs would swell it. */
static void curve_add(struct bk_curve *c, double x, double y, bool end)
{
    const double apart = 1.0 / 500;
    if (end || !c->n || fabs(x - c->x[c->n - 1]) >= apart || fabs(y - c->y[c->n - 1]) >= apart) {
        c->x[c->n] = x;
        c->y[c->n++] = y;
    }
}

static bool curve_alloc(struct bk_curve *c, size_t n)
{
    *c = (struct bk_curve){.x = bk_calloc(n, sizeof *c->x), .y = bk_calloc(n, sizeof *c->y)};
    return c->x && c->y;
}

int bk_metric_curves(struct bk_curve *roc, struct bk_curve *precision_recall, const struct bk_scored *v, size_t n,
                     struct bk_error *err)
{
    bool room = curve_alloc(roc, n + 2);
    if (!curve_alloc(precision_recall, n + 2) || !room)
        return bk_fail_nomem(err, 4 * n * sizeof *roc->x);
    double tp = 0, fp = 0, all_similar = 0;
    for (size_t i = 0; i < n; i++)
        all_similar += v[i].similar;
    double all_dissimilar = (double)n - all_similar;
    curve_add(roc, 0, 0, true);
    for (size_t i = 0; i < n;) {
        i = step(&tp, &fp, v, n, i, NULL);
        bool end = i == n || !precision_recall->n;
        curve_add(roc, fp / all_dissimilar, tp / all_similar, i == n);
        curve_add(precision_recall, tp / all_similar, tp / (tp + fp), end);
    }
    return BK_OK;
}

/* ---- ranks ------------------------------------------------------------- */

size_t bk_rank_of(float right, const float *wrong, size_t n)
{
    size_t rank = 1;
    for (size_t i = 0; i < n; i++)
        rank += !(wrong[i] < right);
    return rank;
}

void bk_metric_ranks(double out[BK_RANK_METRICS], const size_t *rank, size_t n, const uint32_t *weight)
{
    double sum[BK_RANK_METRICS] = {0}, total = 0;
    for (size_t i = 0; i < n; i++) {
        double w = weight ? weight[i] : 1;
        total += w;
        if (rank[i] > 10)
            continue;
        sum[BK_RECALL_1] += rank[i] == 1 ? w : 0;
        sum[BK_RECALL_10] += w;
        sum[BK_MRR_10] += w / (double)rank[i];
        sum[BK_NDCG_10] += w / log2(1 + (double)rank[i]);
    }
    for (size_t k = 0; k < BK_RANK_METRICS; k++)
        out[k] = sum[k] / total;
}

static int by_rank(const void *a, const void *b)
{
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x > y) - (x < y);
}

int bk_metric_recall_curve(struct bk_curve *out, const size_t *rank, size_t n, size_t pool, struct bk_error *err)
{
    size_t *sorted = bk_calloc(n, sizeof *sorted);
    if (!curve_alloc(out, n + 2) || !sorted) {
        free(sorted);
        return bk_fail_nomem(err, 3 * n * sizeof *sorted);
    }
    memcpy(sorted, rank, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, by_rank);
    if (sorted[0] > 1)
        curve_add(out, 1, 0, true);
    for (size_t i = 0; i < n; i++)
        if (i + 1 == n || sorted[i + 1] != sorted[i])
            curve_add(out, (double)sorted[i], (double)(i + 1) / (double)n, true);
    if (sorted[n - 1] < pool)
        curve_add(out, (double)pool, 1, true);
    free(sorted);
    return BK_OK;
}

/* ---- probabilities ------------------------------------------------------- */

/* Pools blocks of equal numbers while they fall. */
void bk_metric_isotonic(double *y, const double *w, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        double sum = y[i] * w[i], weight = w[i];
        size_t first = i;
        while (first > 0 && y[first - 1] * weight > sum) { /* y[first - 1] is the mean of its block */
            double mean = y[first - 1];
            for (; first > 0 && y[first - 1] == mean; first--) {
                sum += mean * w[first - 1];
                weight += w[first - 1];
            }
        }
        for (size_t k = first; k <= i && first < i; k++)
            y[k] = sum / weight;
    }
}

void bk_reliability_add(struct bk_reliability *r, double probability, bool right)
{
    size_t bin = 0;
    while (bin + 1 < BK_RELIABILITY_BINS && probability > (double)(bin + 1) / BK_RELIABILITY_BINS)
        bin++;
    r->n[bin]++;
    r->predicted[bin] += probability;
    r->right[bin] += right;
}

void bk_reliability_end(struct bk_reliability *r)
{
    double n = 0;
    r->ece = 0;
    for (size_t i = 0; i < BK_RELIABILITY_BINS; i++) {
        n += (double)r->n[i];
        r->ece += fabs(r->predicted[i] - r->right[i]);
        if (r->n[i]) {
            r->predicted[i] /= (double)r->n[i];
            r->right[i] /= (double)r->n[i];
        }
    }
    r->ece = n > 0 ? r->ece / n : 0;
}

/* ---- intervals --------------------------------------------------------- */

struct bootstrap {
    bk_resample_fn *fn;
    const void *ctx;
    size_t n, n_figures;
    uint64_t seed;
    double *drawn;     /* RESAMPLES x n_figures */
    uint32_t **weight; /* of a thread, n numbers */
};

static void resample(void *ctx, size_t item, unsigned worker)
{
    struct bootstrap *b = ctx;
    uint32_t *weight = b->weight[worker];
    struct bk_rng rng;
    bk_rng_seed(&rng, b->seed, ((uint64_t)item + 1) << 32 | BK_STREAM_BOOTSTRAP);
    memset(weight, 0, b->n * sizeof *weight);
    for (size_t i = 0; i < b->n; i++)
        weight[bk_rng_below(&rng, b->n)]++;
    b->fn(b->ctx, b->drawn + item * b->n_figures, weight);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bk_percentile(const double *sorted, size_t n, double p)
{
    double at = p * (double)(n - 1);
    size_t below = (size_t)at, above = below + 1 < n ? below + 1 : below;
    return sorted[below] + (at - (double)below) * (sorted[above] - sorted[below]);
}

static void intervals(struct bk_figure *out, const struct bootstrap *b, double value[])
{
    double sorted[RESAMPLES];
    b->fn(b->ctx, value, NULL);
    for (size_t k = 0; k < b->n_figures; k++) {
        for (size_t i = 0; i < RESAMPLES; i++)
            sorted[i] = b->drawn[i * b->n_figures + k];
        qsort(sorted, RESAMPLES, sizeof *sorted, by_size);
        out[k] = (struct bk_figure){value[k], bk_percentile(sorted, RESAMPLES, 0.025),
                                    bk_percentile(sorted, RESAMPLES, 0.975)};
    }
}

int bk_bootstrap(struct bk_figure *out, size_t n_figures, size_t n, uint64_t seed, unsigned threads, bk_resample_fn *fn,
                 const void *ctx, struct bk_error *err)
{
    threads = bk_par_threads(threads);
    struct bootstrap b = {.fn = fn, .ctx = ctx, .n = n, .n_figures = n_figures, .seed = seed};
    double *value = bk_calloc(n_figures, sizeof *value);
    b.drawn = bk_calloc(RESAMPLES, n_figures * sizeof *b.drawn);
    b.weight = bk_calloc(threads, sizeof *b.weight);
    bool room = value && b.drawn && b.weight;
    for (unsigned i = 0; room && i < threads; i++)
        room = (b.weight[i] = bk_calloc(n, sizeof **b.weight)) != NULL;
    if (room) {
        bk_par_for(RESAMPLES, threads, resample, &b);
        intervals(out, &b, value);
    }
    for (unsigned i = 0; b.weight && i < threads; i++)
        free(b.weight[i]);
    free(b.weight);
    free(b.drawn);
    free(value);
    return room ? BK_OK : bk_fail_nomem(err, n * threads * sizeof **b.weight);
}
