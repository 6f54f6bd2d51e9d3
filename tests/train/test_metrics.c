/* Metrics against scikit-learn's answers, and ranks against the definition. */
#include "../base/cmocka_all.h"
#include "train.h"

#include <math.h>

struct golden {
    const char *name;
    size_t n;
    float score[60];
    bool similar[60];
    double auc, ap;
};
#include "golden_metrics.h"

static void like_scikit_learn(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++) {
        const struct golden *g = &goldens[i];
        double auc, ap;
        assert_int_equal(bk_metric_auc_ap(&auc, &ap, g->score, g->similar, g->n, NULL), BK_OK);
        if (fabs(auc - g->auc) > 1e-12 || fabs(ap - g->ap) > 1e-12)
            fail_msg("%s: AUC %.15f, AP %.15f, expected %.15f, %.15f", g->name, auc, ap, g->auc, g->ap);
    }
}

/* Neither measure may see in which order the pairs come. */
static void order_does_not_matter(void **state)
{
    (void)state;
    const struct golden *g = &goldens[1];
    float score[60];
    bool similar[60];
    for (size_t shift = 1; shift < g->n; shift++) {
        for (size_t i = 0; i < g->n; i++) {
            score[i] = g->score[(i * 7 + shift) % g->n];
            similar[i] = g->similar[(i * 7 + shift) % g->n];
        }
        double auc, ap;
        assert_int_equal(bk_metric_auc_ap(&auc, &ap, score, similar, g->n, NULL), BK_OK);
        assert_true(fabs(auc - g->auc) < 1e-12 && fabs(ap - g->ap) < 1e-12);
    }
}

static void needs_both_classes(void **state)
{
    (void)state;
    const float score[3] = {0.1F, 0.2F, 0.3F};
    double auc, ap;
    assert_int_equal(bk_metric_auc_ap(&auc, &ap, score, (const bool[]){1, 1, 1}, 3, NULL), BK_EINVAL);
    assert_int_equal(bk_metric_auc_ap(&auc, &ap, score, (const bool[]){0, 0, 0}, 3, NULL), BK_EINVAL);
    assert_int_equal(bk_metric_auc_ap(&auc, &ap, score, NULL, 0, NULL), BK_EINVAL);
    const float nan_score[3] = {0.1F, NAN, 0.3F};
    struct bk_error err;
    assert_int_equal(bk_metric_auc_ap(&auc, &ap, nan_score, (const bool[]){0, 1, 0}, 3, &err), BK_EINVAL);
    assert_string_equal(err.message, "a score is no number");
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

static void recall_and_reciprocal_rank(void **state)
{
    (void)state;
    struct bk_rank_sum s = {0};
    const size_t ranks[] = {1, 2, 10, 11, 1000, 1};
    for (size_t i = 0; i < 6; i++)
        bk_rank_add(&s, ranks[i]);
    assert_int_equal(s.n, 6);
    assert_int_equal(s.at_1, 2);
    assert_int_equal(s.at_10, 4);
    assert_true(fabs(s.reciprocal - (1 + 0.5 + 0.1 + 0 + 0 + 1)) < 1e-12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(like_scikit_learn), cmocka_unit_test(order_does_not_matter),
                                       cmocka_unit_test(needs_both_classes), cmocka_unit_test(ties_rank_last),
                                       cmocka_unit_test(recall_and_reciprocal_rank)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
