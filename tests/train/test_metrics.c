/* Metrics against scikit-learn's answers, and ranks against the definition. */
#include "../base/cmocka_all.h"
#include "train.h"

#include <math.h>
#include <stdlib.h>

struct golden {
    const char *name;
    size_t n;
    float score[60];
    bool similar[60];
    uint32_t weight[60];
    double auc, ap, weighted_auc, weighted_ap;
};
struct golden_ranks { /* 12 queries, 30 candidates, the first is right */
    const char *name;
    float score[12][30];
    double expected[BK_RANK_METRICS];
};
#include "golden_metrics.h"

/* The pairs in an order that the metrics must not see. */
static void sorted(struct bk_scored out[60], const struct golden *g, size_t shift)
{
    for (size_t i = 0; i < g->n; i++) {
        size_t from = (i * 7 + shift) % g->n;
        out[i] = (struct bk_scored){g->score[from], (uint32_t)from, g->similar[from]};
    }
    assert_int_equal(bk_metric_sort(out, g->n, NULL), BK_OK);
}

static void like_scikit_learn(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++) {
        const struct golden *g = &goldens[i];
        for (size_t shift = 0; shift < g->n; shift += 13) {
            struct bk_scored v[60];
            double auc, ap;
            sorted(v, g, shift);
            bk_metric_auc_ap(&auc, &ap, v, g->n, NULL);
            if (fabs(auc - g->auc) > 1e-12 || fabs(ap - g->ap) > 1e-12)
                fail_msg("%s: AUC %.15f, AP %.15f, expected %.15f, %.15f", g->name, auc, ap, g->auc, g->ap);
            bk_metric_auc_ap(&auc, &ap, v, g->n, g->weight);
            if (fabs(auc - g->weighted_auc) > 1e-12 || fabs(ap - g->weighted_ap) > 1e-12)
                fail_msg("%s, weighted: AUC %.15f, AP %.15f, expected %.15f, %.15f", g->name, auc, ap, g->weighted_auc,
                         g->weighted_ap);
        }
    }
}

static void needs_both_classes(void **state)
{
    (void)state;
    struct bk_scored v[3] = {{0.1F, 0, true}, {0.2F, 1, true}, {0.3F, 2, true}};
    struct bk_error err;
    assert_int_equal(bk_metric_sort(v, 3, &err), BK_EINVAL);
    assert_string_equal(err.message, "3 similar and 0 dissimilar pairs: both are needed");
    assert_int_equal(bk_metric_sort(v, 0, NULL), BK_EINVAL);
    for (size_t i = 0; i < 3; i++)
        v[i].similar = false;
    assert_int_equal(bk_metric_sort(v, 3, NULL), BK_EINVAL);
    v[0].similar = true;
    v[1].score = NAN;
    assert_int_equal(bk_metric_sort(v, 3, &err), BK_EINVAL);
    assert_string_equal(err.message, "a score is no number");
}

static double area_below(const struct bk_curve *c)
{
    double area = 0;
    for (size_t i = 1; i < c->n; i++) {
        assert_true(c->x[i] >= c->x[i - 1]);
        area += (c->x[i] - c->x[i - 1]) * (c->y[i] + c->y[i - 1]) / 2;
    }
    return area;
}

/* The area below the ROC curve is the AUC; the other curve ends at full recall and the share of similar pairs. */
static void curves_hold_the_figures(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++) {
        const struct golden *g = &goldens[i];
        struct bk_scored v[60];
        struct bk_curve roc, pr;
        double similar = 0;
        sorted(v, g, 0);
        for (size_t k = 0; k < g->n; k++)
            similar += g->similar[k];
        assert_int_equal(bk_metric_curves(&roc, &pr, v, g->n, NULL), BK_OK);
        assert_true(roc.x[0] == 0 && roc.y[0] == 0 && roc.x[roc.n - 1] == 1 && roc.y[roc.n - 1] == 1);
        assert_true(fabs(area_below(&roc) - g->auc) < 1e-12);
        assert_true(pr.x[pr.n - 1] == 1 && fabs(pr.y[pr.n - 1] - similar / (double)g->n) < 1e-12);
        free(roc.x);
        free(roc.y);
        free(pr.x);
        free(pr.y);
    }
}

static void recall_curve_grows_where_ranks_are(void **state)
{
    (void)state;
    struct bk_curve c;
    const size_t rank[] = {3, 1, 40, 3};
    const double x[] = {1, 3, 40, 100}, y[] = {0.25, 0.75, 1, 1};
    assert_int_equal(bk_metric_recall_curve(&c, rank, 4, 100, NULL), BK_OK);
    assert_int_equal(c.n, 4);
    assert_memory_equal(c.x, x, sizeof x);
    assert_memory_equal(c.y, y, sizeof y);
    free(c.x);
    free(c.y);
    assert_int_equal(bk_metric_recall_curve(&c, &rank[2], 1, 40, NULL), BK_OK);
    assert_int_equal(c.n, 2);
    assert_true(c.x[0] == 1 && c.y[0] == 0 && c.x[1] == 40 && c.y[1] == 1);
    free(c.x);
    free(c.y);
}

static void ties_rank_last(void **state)
{
    (void)state;
    const float wrong[5] = {0.9F, 0.5F, 0.5F, 0.1F, -0.3F};
    assert_int_equal(bk_rank_of(1.0F, wrong, 5), 1);
    assert_int_equal(bk_rank_of(0.9F, wrong, 5), 2);
    assert_int_equal(bk_rank_of(0.6F, wrong, 5), 2);
    assert_int_equal(bk_rank_of(0.5F, wrong, 5), 4);
    assert_int_equal(bk_rank_of(-1.0F, wrong, 5), 6);
    assert_int_equal(bk_rank_of(NAN, wrong, 5), 6);
    assert_int_equal(bk_rank_of(0.5F, (const float[]){NAN}, 1), 2);
}

static void ranks_like_scikit_learn(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof golden_ranks / sizeof *golden_ranks; i++) {
        const struct golden_ranks *g = &golden_ranks[i];
        size_t rank[24];
        uint32_t weight[24];
        double plain[BK_RANK_METRICS], weighted[BK_RANK_METRICS];
        for (size_t q = 0; q < 12; q++) { /* weights are repetitions */
            rank[q] = rank[12 + q] = bk_rank_of(g->score[q][0], &g->score[q][1], 29);
            weight[q] = 2;
            weight[12 + q] = 0;
        }
        rank[23] = 1;
        bk_metric_ranks(plain, rank, 12, NULL);
        bk_metric_ranks(weighted, rank, 24, weight);
        for (size_t k = 0; k < BK_RANK_METRICS; k++)
            if (fabs(plain[k] - g->expected[k]) > 1e-12 || fabs(weighted[k] - g->expected[k]) > 1e-12)
                fail_msg("%s: metric %zu is %.15f, weighted %.15f, expected %.15f", g->name, k, plain[k], weighted[k],
                         g->expected[k]);
    }
}

static void percentiles_like_numpy(void **state)
{
    (void)state;
    const double p[5] = {0, 0.025, 0.5, 0.975, 1};
    for (size_t i = 0; i < 5; i++)
        assert_true(fabs(bk_percentile(golden_sorted, 40, p[i]) - golden_percentiles[i]) < 1e-12);
    assert_true(bk_percentile(golden_sorted, 1, 0.975) == golden_sorted[0]);
}

static void share_of_marked(const void *ctx, double *out, const uint32_t *weight)
{
    const bool *marked = ctx;
    double sum = 0;
    for (size_t i = 0; i < 400; i++)
        sum += marked[i] ? (weight ? weight[i] : 1) : 0;
    out[0] = sum / 400;
}

/* The interval of a share is that of the normal approximation: 1.96 sqrt(p (1 - p) / n) on both sides. */
static void bootstrap_of_a_share(void **state)
{
    (void)state;
    bool marked[400];
    for (size_t i = 0; i < 400; i++)
        marked[i] = i % 5 == 0;
    struct bk_figure f[3];
    const unsigned threads[3] = {1, 4, 1};
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(bk_bootstrap(&f[i], 1, 400, i < 2 ? 1 : 2, threads[i], share_of_marked, marked, NULL), BK_OK);
    double half = 1.96 * sqrt(0.2 * 0.8 / 400);
    assert_true(fabs(f[0].value - 0.2) < 1e-12);
    assert_true(fabs(f[0].value - f[0].low - half) < 0.15 * half && fabs(f[0].high - f[0].value - half) < 0.15 * half);
    assert_memory_equal(&f[0], &f[1], sizeof f[0]);
    assert_memory_not_equal(&f[0], &f[2], sizeof f[0]); /* another seed */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(like_scikit_learn),       cmocka_unit_test(needs_both_classes),
        cmocka_unit_test(curves_hold_the_figures), cmocka_unit_test(recall_curve_grows_where_ranks_are),
        cmocka_unit_test(ties_rank_last),          cmocka_unit_test(ranks_like_scikit_learn),
        cmocka_unit_test(percentiles_like_numpy),  cmocka_unit_test(bootstrap_of_a_share)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
