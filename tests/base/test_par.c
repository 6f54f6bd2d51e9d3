/* Threads and the floating-point state they run under. */
#include "base/base.h"
#include "cmocka_all.h"

#include <float.h>
#include <stdatomic.h>
#include <stdlib.h>

struct count {
    unsigned *visits;  /* by item, not atomic: an item taken twice is a race for the sanitizer to see */
    unsigned *scratch; /* by worker */
    unsigned threads;
    atomic_uint bad_workers;
};

static void count_item(void *ctx, size_t item, unsigned worker)
{
    struct count *c = ctx;
    if (worker >= c->threads)
        atomic_fetch_add(&c->bad_workers, 1);
    else
        c->scratch[worker]++;
    c->visits[item]++;
}

static void each_item_once(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 2, 7, 8, 9, 1000, 20000};
    for (unsigned threads = 1; threads <= 8; threads++)
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            size_t n = sizes[s], total = 0;
            unsigned scratch[8] = {0};
            struct count c = {calloc(n + 1, sizeof(unsigned)), scratch, threads, 0};
            bk_par_for(n, threads, count_item, &c);
            for (size_t i = 0; i < n; i++)
                assert_int_equal(c.visits[i], 1);
            assert_int_equal(c.visits[n], 0);
            assert_int_equal(c.bad_workers, 0);
            for (unsigned w = 0; w < 8; w++)
                total += scratch[w];
            assert_int_equal(total, n);
            free(c.visits);
        }
}

struct meet {
    atomic_uint here;
};

/* Every item waits for all the others, so it ends only if as many threads run as there are items. */
static void wait_for_all(void *ctx, size_t item, unsigned worker)
{
    (void)item;
    (void)worker;
    struct meet *m = ctx;
    atomic_fetch_add(&m->here, 1);
    while (atomic_load(&m->here) < 4)
        ;
}

static void threads_run_together(void **state)
{
    (void)state;
    struct meet m = {0};
    bk_par_for(4, 4, wait_for_all, &m);
    assert_int_equal(m.here, 4);
}

static void inner_item(void *ctx, size_t item, unsigned worker)
{
    (void)worker;
    ((unsigned *)ctx)[item] += 1;
}

static void outer_item(void *ctx, size_t item, unsigned worker)
{
    (void)worker;
    bk_par_for(50, 2, inner_item, (unsigned *)ctx + 50 * item);
}

static void loops_nest(void **state)
{
    (void)state;
    unsigned v[4 * 50] = {0};
    bk_par_for(4, 3, outer_item, v);
    for (size_t i = 0; i < 200; i++)
        assert_int_equal(v[i], 1);
}

static void thread_count_is_bounded(void **state)
{
    (void)state;
    assert_in_range(bk_par_threads(0), 1, 256);
    assert_int_equal(bk_par_threads(1), 1);
    assert_int_equal(bk_par_threads(256), 256);
    assert_int_equal(bk_par_threads(100000), 256);
}

static int once_calls; /* plain: a second caller at the same time is a race for the sanitizer to see */

static bool prepare(void *ctx)
{
    if (++once_calls < 3) /* as if memory were short twice */
        return false;
    *(int *)ctx = 42;
    return true;
}

static void use_prepared(void *ctx, size_t item, unsigned worker)
{
    (void)worker;
    static struct bk_once once;
    static int once_result;
    while (!bk_once(&once, prepare, &once_result))
        ;
    ((int *)ctx)[item] = once_result;
}

static void prepares_once(void **state)
{
    (void)state;
    int v[100];
    bk_par_for(100, 8, use_prepared, v);
    assert_int_equal(once_calls, 3);
    for (int i = 0; i < 100; i++)
        assert_int_equal(v[i], 42);
}

static void halve_smallest(void *ctx, size_t item, unsigned worker)
{
    (void)worker;
    volatile float smallest = FLT_MIN;
    ((float *)ctx)[item] = smallest / 2;
}

static void workers_flush_as_their_caller(void **state)
{
    (void)state;
    float v[64];
    bk_par_for(64, 4, halve_smallest, v);
    for (int i = 0; i < 64; i++)
        assert_true(v[i] > 0);
    unsigned before = bk_fpu_flush_denormals();
    volatile float mine = FLT_MIN;
    mine = mine / 2;
    bk_par_for(64, 4, halve_smallest, v);
    bk_fpu_restore(before);
    for (int i = 0; i < 64; i++)
        assert_true(v[i] == mine);
#if defined(__SSE__) || defined(__aarch64__)
    assert_true(mine == 0);
#endif
    mine = FLT_MIN;
    mine = mine / 2;
    assert_true(mine > 0);
}

static void clock_goes_forward(void **state)
{
    (void)state;
    double a = bk_now(), b = bk_now();
    assert_true(a > 0 && b >= a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_item_once),     cmocka_unit_test(threads_run_together),
        cmocka_unit_test(loops_nest),         cmocka_unit_test(thread_count_is_bounded),
        cmocka_unit_test(prepares_once),      cmocka_unit_test(workers_flush_as_their_caller),
        cmocka_unit_test(clock_goes_forward),
    };
    return cmocka_run_group_tests_name("base_par", tests, NULL, NULL);
}
