/* Random numbers: the published generator, and no bias on top of it. */
#include "base/base.h"
#include "cmocka_all.h"

/* First outputs of the authors' C code (prng.di.unimi.it) from the state 1, 2, 3, 4. */
static void is_xoshiro256starstar(void **state)
{
    (void)state;
    static const uint64_t want[] = {11520u,
                                    0u,
                                    1509978240u,
                                    1215971899390074240u,
                                    1216172134540287360u,
                                    607988272756665600u,
                                    16172922978634559625u,
                                    8476171486693032832u,
                                    10595114339597558777u,
                                    2904607092377533576u};
    struct bk_rng r = {{1, 2, 3, 4}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        assert_int_equal(bk_rng_u64(&r), want[i]);
}

static void seeds_and_streams_differ(void **state)
{
    (void)state;
    enum { N = 32 };
    uint64_t first[N * N];
    for (uint64_t seed = 0; seed < N; seed++)
        for (uint64_t stream = 0; stream < N; stream++) {
            struct bk_rng r, again;
            bk_rng_seed(&r, seed, stream);
            bk_rng_seed(&again, seed, stream);
            assert_memory_equal(&r, &again, sizeof r);
            first[seed * N + stream] = bk_rng_u64(&r);
        }
    for (size_t i = 0; i < N * N; i++)
        for (size_t j = 0; j < i; j++)
            assert_true(first[i] != first[j]);
}

/* With n = 3/4 of 2^64, a plain remainder would give the lowest third half of all draws. */
static void below_has_no_bias(void **state)
{
    (void)state;
    enum { DRAWS = 30000 };
    struct bk_rng r;
    bk_rng_seed(&r, 1, 0);
    uint64_t n = 3ull << 62;
    unsigned third[3] = {0};
    for (int i = 0; i < DRAWS; i++) {
        uint64_t v = bk_rng_below(&r, n);
        assert_true(v < n);
        third[v >> 62]++;
    }
    for (int i = 0; i < 3; i++) /* 6 standard deviations */
        assert_in_range(third[i], 10000 - 490, 10000 + 490);
}

static void below_reaches_all(void **state)
{
    (void)state;
    struct bk_rng r;
    bk_rng_seed(&r, 2, 0);
    unsigned count[7] = {0};
    for (int i = 0; i < 70000; i++)
        count[bk_rng_below(&r, 7)]++;
    for (int i = 0; i < 7; i++)
        assert_in_range(count[i], 10000 - 560, 10000 + 560);
    for (int i = 0; i < 100; i++)
        assert_int_equal(bk_rng_below(&r, 1), 0);
    struct bk_rng same = r;
    assert_int_equal(bk_rng_below(&r, UINT64_MAX), bk_rng_u64(&same));
}

static void unit_is_half_open_and_even(void **state)
{
    (void)state;
    struct bk_rng r;
    bk_rng_seed(&r, 3, 0);
    double sum = 0, squares = 0;
    enum { N = 100000 };
    for (int i = 0; i < N; i++) {
        double v = bk_rng_unit(&r);
        assert_true(v >= 0 && v < 1);
        sum += v;
        squares += v * v;
    }
    assert_true(sum / N > 0.494 && sum / N < 0.506);
    assert_true(squares / N > 0.327 && squares / N < 0.340);
}

static void shuffle_makes_every_order(void **state)
{
    (void)state;
    struct bk_rng r;
    bk_rng_seed(&r, 4, 0);
    unsigned count[27] = {0};
    for (int i = 0; i < 60000; i++) {
        uint32_t v[3] = {0, 1, 2};
        bk_rng_shuffle_u32(&r, v, 3);
        count[v[0] * 9 + v[1] * 3 + v[2]]++;
    }
    static const unsigned orders[6] = {5, 7, 11, 15, 19, 21}; /* 012 021 102 120 201 210 */
    unsigned total = 0;
    for (int i = 0; i < 6; i++) {
        assert_in_range(count[orders[i]], 10000 - 550, 10000 + 550);
        total += count[orders[i]];
    }
    assert_int_equal(total, 60000);
    bk_rng_shuffle_u32(&r, NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_xoshiro256starstar),      cmocka_unit_test(seeds_and_streams_differ),
        cmocka_unit_test(below_has_no_bias),          cmocka_unit_test(below_reaches_all),
        cmocka_unit_test(unit_is_half_open_and_even), cmocka_unit_test(shuffle_makes_every_order),
    };
    return cmocka_run_group_tests_name("base_rng", tests, NULL, NULL);
}
