/* metrics: what a list of scores is worth. */
#include "train.h"

#include <math.h>
#include <stdlib.h>

struct scored {
    float score;
    bool similar;
};

static int best_first(const void *a, const void *b)
{
    float x = ((const struct scored *)a)->score, y = ((const struct scored *)b)->score;
    return (x < y) - (x > y);
}

int bk_metric_auc_ap(double *auc, double *ap, const float *score, const bool *similar, size_t n, struct bk_error *err)
{
    struct scored *v = bk_calloc(n ? n : 1, sizeof *v);
    if (!v)
        return bk_fail_nomem(err, n * sizeof *v);
    size_t n_pos = 0;
    bool numbers = true;
    for (size_t i = 0; i < n; i++) {
        v[i] = (struct scored){score[i], similar[i]};
        n_pos += similar[i];
        numbers &= !isnan(score[i]);
    }
    size_t n_neg = n - n_pos;
    if (!numbers || !n_pos || !n_neg) {
        free(v);
        return numbers ? bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "%zu similar and %zu dissimilar pairs: both are needed",
                                 n_pos, n_neg)
                       : bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "a score is no number");
    }
    qsort(v, n, sizeof *v, best_first);
    /* One step a distinct score; `tp`, `fp` count the pairs at or above it. */
    size_t tp = 0, fp = 0;
    double area = 0, precision = 0;
    for (size_t i = 0; i < n;) {
        size_t pos = 0, neg = 0, j = i;
        for (; j < n && v[j].score == v[i].score; j++)
            *(v[j].similar ? &pos : &neg) += 1;
        area += (double)neg * ((double)tp + 0.5 * (double)pos);
        tp += pos;
        fp += neg;
        precision += (double)pos * ((double)tp / (double)(tp + fp));
        i = j;
    }
    free(v);
    *auc = area / ((double)n_pos * (double)n_neg);
    *ap = precision / (double)n_pos;
    return BK_OK;
}

void bk_rank_add(struct bk_rank_sum *s, size_t rank)
{
    s->n++;
    s->at_1 += rank <= 1;
    s->at_10 += rank <= 10;
    if (rank <= 10)
        s->reciprocal += 1.0 / (double)rank;
}

size_t bk_rank_of(float right, const float *wrong, size_t n)
{
    size_t rank = 1;
    for (size_t i = 0; i < n; i++)
        rank += !(wrong[i] < right);
    return rank;
}
