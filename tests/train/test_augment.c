/* Augmentation: nothing at 0, all at 1, shares between them, whole blocks, and the same numbers from the same (seed, step, function). */
#include "../base/cmocka_all.h"
#include "learn.h"

#include <math.h>
#include <string.h>

enum { N = 20000 };
static uint32_t forms[N], neutral[N], again[N];

static void fill(void)
{
    for (uint32_t i = 0; i < N; i++) {
        forms[i] = again[i] = i;
        neutral[i] = N + i;
    }
}

static struct bk_rng rng_of(uint32_t step, uint32_t function)
{
    struct bk_rng rng;
    bk_augment_seed(&rng, 7, step, function);
    return rng;
}

static void assert_share(size_t count, size_t n, double p)
{
    double sigma = sqrt((double)n * p * (1 - p));
    assert_true(fabs((double)count - (double)n * p) <= 4.5 * sigma);
}

static const double shares[] = {0, 0.02, 0.3, 1};

static void test_forms(void **state)
{
    (void)state;
    for (uint32_t k = 0; k < 4; k++) {
        struct bk_rng rng = rng_of(k, 1);
        size_t masked = 0;
        fill();
        bk_mask_forms(forms, N - 1, shares[k], &rng);
        for (uint32_t i = 0; i < N - 1; i++) {
            masked += forms[i] == BK_STR_NONE;
            assert_true(forms[i] == BK_STR_NONE || forms[i] == i);
        }
        assert_share(masked, N - 1, shares[k]);
        assert_int_equal(forms[N - 1], N - 1);
    }
}

static void test_blocks(void **state)
{
    enum { BLOCKS = 4000 };
    static uint16_t insns[BLOCKS];
    (void)state;
    for (size_t b = 0; b < BLOCKS; b++)
        insns[b] = (uint16_t)(1 + b * 7 % 5); /* 12,000 instructions */
    for (uint32_t k = 0; k < 4; k++) {
        struct bk_rng rng = rng_of(k, 2);
        size_t masked = 0, at = 0;
        fill();
        bk_mask_blocks(forms, neutral, insns, BLOCKS, shares[k], &rng);
        for (size_t b = 0; b < BLOCKS; b++) {
            const bool hidden = forms[at] == BK_STR_NONE;
            masked += hidden;
            for (size_t end = at + insns[b]; at < end; at++) {
                assert_int_equal(forms[at], hidden ? BK_STR_NONE : at);
                assert_int_equal(neutral[at], hidden ? BK_STR_NONE : N + at);
            }
        }
        assert_share(masked, BLOCKS, shares[k]);
        for (; at < N; at++)
            assert_true(forms[at] == at && neutral[at] == N + at);
    }
}

static void test_items(void **state)
{
    (void)state;
    for (uint32_t k = 0; k < 4; k++) {
        struct bk_rng rng = rng_of(k, 3);
        fill();
        const size_t left = bk_drop_items(forms, N, shares[k], &rng);
        assert_share(N - left, N, shares[k]);
        for (size_t i = 0; i < left; i++)
            assert_true(forms[i] < N && (i == 0 || forms[i] > forms[i - 1]));
        assert_true(left == 0 || forms[left - 1] > N - 1000); /* from all over the list, not its beginning */
    }
}

static void test_seeds(void **state)
{
    (void)state;
    fill();
    struct bk_rng rng = rng_of(4, 5);
    bk_mask_forms(forms, N, 0.5, &rng);
    rng = rng_of(4, 5);
    bk_mask_forms(again, N, 0.5, &rng);
    assert_memory_equal(forms, again, sizeof forms);
    for (uint32_t k = 0; k < 2; k++) { /* another function, another step: as often the same as by chance */
        size_t same = 0;
        fill();
        rng = rng_of(4, 5);
        bk_mask_forms(forms, N, 0.5, &rng);
        rng = rng_of(4 + k, 6 - k);
        bk_mask_forms(again, N, 0.5, &rng);
        for (size_t i = 0; i < N; i++)
            same += forms[i] == again[i];
        assert_share(same, N, 0.5);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_items),
        cmocka_unit_test(test_seeds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
