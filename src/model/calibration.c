/* What a score is worth: how often wrong pairs reach it, and how likely a right one has. */
#include "model/model.h"

#include <math.h>

/* Knots whose slope goes on beyond the last. */
#define LAST_KNOTS 4
#define MOST_ODDS  100.0F /* as a logarithm; no fit comes near it */

size_t bk_size_class(size_t blocks)
{
    static const size_t from[BK_CALIBRATION_SIZES] = {0, 2, 5, 10, 50};
    size_t c = BK_CALIBRATION_SIZES - 1;
    while (blocks < from[c])
        c--;
    return c;
}

size_t bk_calibration_class(enum bk_arch a, enum bk_arch b, size_t blocks_a, size_t blocks_b)
{
    size_t size = bk_size_class(blocks_a < blocks_b ? blocks_a : blocks_b);
    return bk_arch_related(a, b) ? size : BK_CALIBRATION_SIZES + size;
}

float bk_calibration_score(float score)
{
    double s = score >= -1 ? score : -1; /* NaN too */
    return (float)(nearbyint((s > 1 ? 1 : s) * 1e6) / 1e6);
}

/* ln of the tail on the line through knots `a` and `b`. */
static double along(const struct bk_calibration_class *k, uint32_t a, uint32_t b, float score)
{
    double at = ((double)score - (double)k->score[a]) / ((double)k->score[b] - (double)k->score[a]);
    double from = log((double)k->tail[a]), to = log((double)k->tail[b]);
    return from + at * (to - from);
}

double bk_calibration_tail(const struct bk_calibration *c, size_t cls, float score)
{
    const struct bk_calibration_class *k = &c->v[cls];
    if (!k->n)
        return NAN;
    score = bk_calibration_score(score);
    if (score <= k->score[0])
        return 1;
    uint32_t last = k->n - 1, above = 1;
    if (score > k->score[last]) {
        uint32_t from = last < LAST_KNOTS ? 0 : last - LAST_KNOTS + 1;
        return exp(along(k, from, last, score));
    }
    while (score > k->score[above])
        above++;
    return exp(along(k, above - 1, above, score));
}

double bk_calibration_probability(const struct bk_calibration *c, size_t cls, float score, size_t pool)
{
    const struct bk_calibration_class *k = &c->v[cls];
    if (!k->n)
        return NAN;
    score = bk_calibration_score(score);
    uint32_t at = k->n - 1;
    while (at > 0 && score < k->score[at])
        at--;
    return 1 / (1 + (double)(pool - 1) * exp(-(double)k->odds[at]));
}

static bool knot_fits(const struct bk_calibration_class *k, uint32_t j)
{
    bool sane = fabsf(k->odds[j]) <= MOST_ODDS && fabsf(k->score[j]) <= 1 && k->tail[j] > 0 && k->tail[j] <= 1;
    return sane &&
           (!j || (k->score[j] > k->score[j - 1] && k->tail[j] < k->tail[j - 1] && k->odds[j] >= k->odds[j - 1]));
}

int bk_calibration_check(const struct bk_calibration *c, struct bk_error *err)
{
    for (size_t i = 0; i < BK_CALIBRATION_CLASSES; i++) {
        const struct bk_calibration_class *k = &c->v[i];
        bool good = k->n != 1 && k->n <= BK_CALIBRATION_KNOTS;
        for (uint32_t j = 0; good && j < k->n; j++)
            good = knot_fits(k, j);
        if (!good)
            return bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, "calibration: class %zu is not monotone, or out of bounds",
                           i);
    }
    return BK_OK;
}

bool bk_calibrated(struct bk_calibrated *out, const struct bk_model *m, enum bk_arch arch_a, enum bk_arch arch_b,
                   size_t blocks_a, size_t blocks_b, float score, size_t pool)
{
    size_t cls = bk_calibration_class(arch_a, arch_b, blocks_a, blocks_b);
    *out = (struct bk_calibrated){NAN, NAN};
    if (!m->calibration || !m->calibration->v[cls].n)
        return false;
    out->probability = bk_calibration_probability(m->calibration, cls, score, pool);
    out->expected_false = (double)(pool - 1) * bk_calibration_tail(m->calibration, cls, score);
    return true;
}
