/* The learning rate against PyTorch's schedulers, and beyond the last step. */
#include "../base/cmocka_all.h"
#include "learn.h"

#include <math.h>

struct golden {
    double rate;
    uint64_t steps, warmup;
    double expect[20]; /* of steps 1 .. steps */
};
#include "golden_schedule.h"

static void test_golden(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof goldens / sizeof *goldens; k++) {
        const struct golden *g = &goldens[k];
        for (uint64_t s = 1; s <= g->steps; s++) {
            double rate = bk_rate_cosine(g->rate, s, g->steps, g->warmup);
            if (!(fabs(rate / g->expect[s - 1] - 1) < 1e-12))
                fail_msg("case %zu, step %u: %.17g, expected %.17g", k, (unsigned)s, rate, g->expect[s - 1]);
        }
        assert_true(bk_rate_cosine(g->rate, g->steps + 7, g->steps, g->warmup) == g->rate * 0.01);
    }
}

/* A training that ends before the rate is reached. */
static void test_all_warmup(void **state)
{
    (void)state;
    for (uint64_t s = 1; s <= 4; s++)
        assert_true(bk_rate_cosine(1, s, 4, 8) == (double)s / 8);
    assert_true(bk_rate_cosine(1, 4, 4, 4) == 1);
    assert_true(bk_rate_cosine(1, 9, 4, 8) == 0.01);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden), cmocka_unit_test(test_all_warmup)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
