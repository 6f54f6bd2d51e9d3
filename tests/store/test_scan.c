/* Neighbours against a scan in double, written the plain way. Rows of small integers make every inner product exact in
 * float, so that answers must agree to the last index. Each table of kernels that the processor can run is tried. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "store/store_int.h"

static struct bk_rng rng(uint64_t seed)
{
    struct bk_rng r;
    bk_rng_seed(&r, seed, 0);
    return r;
}

/* n x dim of -1, 0, 1, scaled by a power of two so that no inner product leaves [-1, 1]. Many ties. */
static float *grid(struct bk_rng *r, size_t n, size_t dim)
{
    float unit = 1;
    while ((double)unit * unit * (double)dim > 1)
        unit /= 2;
    float *v = malloc(n * dim * sizeof *v);
    assert_non_null(v);
    for (size_t i = 0; i < n * dim; i++)
        v[i] = unit * (float)((int)bk_rng_below(r, 3) - 1);
    return v;
}

static float *unit_rows(struct bk_rng *r, size_t n, size_t dim)
{
    float *v = malloc(n * dim * sizeof *v);
    assert_non_null(v);
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        for (size_t d = 0; d < dim; d++) {
            v[i * dim + d] = (float)(bk_rng_unit(r) - 0.5);
            sum += (double)v[i * dim + d] * v[i * dim + d];
        }
        for (size_t d = 0; d < dim; d++)
            v[i * dim + d] /= (float)sqrt(sum);
    }
    return v;
}

static double inner(const float *a, const float *b, size_t dim)
{
    double sum = 0;
    for (size_t d = 0; d < dim; d++)
        sum += (double)a[d] * b[d];
    return sum;
}

/* The place of `candidate` among the allowed: how many stand before it. */
static size_t place(const double *scores, size_t n_pool, const bool *vetoed, size_t candidate)
{
    size_t before = 0;
    for (size_t i = 0; i < n_pool; i++)
        before += !vetoed[i] && (scores[i] > scores[candidate] || (scores[i] == scores[candidate] && i < candidate));
    return before;
}

static bool veto_some(const void *ctx, size_t query, size_t candidate)
{
    size_t modulus = *(const size_t *)ctx;
    return (query + candidate) % modulus == 0;
}

/* Every answer of one case, checked against the plain scan. */
static void check_kernel(const struct bk_scan_kernel *kernel, size_t n_queries, size_t n_pool, size_t dim, size_t k,
                         size_t modulus, unsigned threads)
{
    struct bk_rng r = rng(n_queries * 7 + n_pool);
    float *queries = grid(&r, n_queries, dim), *pool = grid(&r, n_pool, dim);
    struct bk_hit *hits = calloc(n_queries * k, sizeof *hits);
    double *scores = calloc(n_pool, sizeof *scores);
    bool *vetoed = calloc(n_pool, sizeof *vetoed);
    assert_int_equal(bk_scan_top_by(kernel, hits, queries, n_queries, pool, n_pool, dim, k, modulus ? veto_some : NULL,
                                    &modulus, threads, NULL),
                     BK_OK);
    for (size_t q = 0; q < n_queries; q++) {
        size_t allowed = 0;
        for (size_t i = 0; i < n_pool; i++) {
            scores[i] = inner(queries + q * dim, pool + i * dim, dim);
            vetoed[i] = modulus && !veto_some(&modulus, q, i);
            allowed += !vetoed[i];
        }
        for (size_t rank = 0; rank < k; rank++) {
            struct bk_hit h = hits[q * k + rank];
            if (rank >= allowed) {
                assert_int_equal(h.index, UINT32_MAX);
                continue;
            }
            assert_true(h.index < n_pool && !vetoed[h.index]);
            assert_true((double)h.score == scores[h.index]);
            assert_int_equal(place(scores, n_pool, vetoed, h.index), rank);
        }
    }
    free(queries);
    free(pool);
    free(hits);
    free(scores);
    free(vetoed);
}

static void check_exact(size_t n_queries, size_t n_pool, size_t dim, size_t k, size_t modulus, unsigned threads)
{
    for (enum bk_cpu cpu = BK_CPU_PLAIN; cpu <= bk_cpu(); cpu++)
        check_kernel(bk_scan_kernel(cpu), n_queries, n_pool, dim, k, modulus, threads);
}

static void agrees_with_the_plain_scan(void **state)
{
    (void)state;
    static const size_t pools[] = {1, 2, 15, 16, 17, 63, 64, 65, 130}, queries[] = {1, 3, 4, 5, 129};
    for (size_t i = 0; i < sizeof pools / sizeof *pools; i++)
        for (size_t j = 0; j < sizeof queries / sizeof *queries; j++) {
            check_exact(queries[j], pools[i], 1 + (i * 5 + j) % 33, 1, 0, 2);
            check_exact(queries[j], pools[i], 12, pools[i] < 10 ? pools[i] : 10, 0, 2);
        }
    check_exact(70, 1000, 100, 10, 0, 2);
    check_exact(2, 300, 200, 7, 0, 1);
    check_exact(500, 100, 7, 3, 0, 1);  /* groups that differ in size */
    check_exact(60, 3000, 3, 12, 0, 1); /* more tiles than one, nearly all ties */
    check_exact(50, 99, 257, 99, 0, 3);
}

/* Numbers of any sign whose exponents differ widely, so that sums cancel and fall below normal numbers. */
static float *wild_rows(struct bk_rng *r, size_t n, size_t dim)
{
    float *v = malloc(n * dim * sizeof *v);
    assert_non_null(v);
    for (size_t i = 0; i < n * dim; i++)
        v[i] = ldexpf((float)(bk_rng_unit(r) - 0.5), -(int)bk_rng_below(r, i % 5 ? 14 : 80)) / 16;
    return v;
}

/* What store_int.h promises, by the fmaf of libc. */
static float promised(const float *a, const float *b, size_t dim, bool fused)
{
    float sum = 0;
    for (size_t d = 0; d < dim; d++)
        sum = fused ? fmaf(b[d], a[d], sum) : sum + b[d] * a[d];
    return sum > 1 ? 1 : sum < -1 ? -1 : sum;
}

static bool has_fused(enum bk_cpu cpu)
{
#if defined(__aarch64__)
    (void)cpu;
    return true;
#else
    return cpu >= BK_CPU_AVX2;
#endif
}

static void every_table_gives_the_promised_bits(void **state)
{
    (void)state;
    static const size_t dims[] = {1, 7, 200, 257}, queries[] = {1, 15, 16, 17, 47, 48, 49, 101};
    enum { N = 39 };
    struct bk_rng r = rng(3);
    for (size_t i = 0; i < 4 * 8 * 2; i++) {
        const size_t dim = dims[i % 4], n = queries[i / 4 % 8];
        float *(*make)(struct bk_rng *, size_t, size_t) = i / 32 ? wild_rows : unit_rows;
        float *q = make(&r, n, dim), *pool = make(&r, N, dim);
        struct bk_hit *hits = calloc(n * N, sizeof *hits);
        for (enum bk_cpu cpu = BK_CPU_PLAIN; cpu <= bk_cpu(); cpu++) {
            assert_int_equal(bk_scan_top_by(bk_scan_kernel(cpu), hits, q, n, pool, N, dim, N, NULL, NULL, 1, NULL),
                             BK_OK);
            for (size_t j = 0; j < n * N; j++) {
                const float *a = q + j / N * dim, *b = pool + hits[j].index * dim;
                assert_true(hits[j].score == promised(a, b, dim, has_fused(cpu)));
            }
        }
        free(q);
        free(pool);
        free(hits);
    }
}

static void ranks_the_whole_pool(void **state)
{
    (void)state;
    check_exact(9, 257, 20, 257, 0, 2);
    check_exact(3, 1, 4, 1, 0, 2);
}

static void never_answers_with_a_vetoed_candidate(void **state)
{
    (void)state;
    check_exact(40, 200, 10, 5, 3, 2);
    check_exact(40, 200, 10, 200, 2, 2); /* fewer allowed than asked for */
    check_exact(6, 30, 10, 4, 1000, 1);  /* none at all */
}

struct seen {
    const float *queries, *pool;
    size_t dim, k, asked;
};

/* Allows all, and holds who asks to asking only where fewer than k of the rows before are as good. */
static bool would_get_in(const void *ctx, size_t query, size_t candidate)
{
    struct seen *s = *(struct seen *const *)ctx;
    const double score = inner(s->queries + query * s->dim, s->pool + candidate * s->dim, s->dim);
    size_t as_good = 0;
    for (size_t i = 0; i < candidate; i++)
        as_good += inner(s->queries + query * s->dim, s->pool + i * s->dim, s->dim) >= score;
    assert_true(as_good < s->k);
    s->asked++;
    return true;
}

static void asks_only_about_who_would_get_in(void **state)
{
    (void)state;
    enum { Q = 20, N = 400, DIM = 30, K = 6 };
    struct bk_rng r = rng(4);
    float *queries = grid(&r, Q, DIM), *pool = grid(&r, N, DIM);
    struct bk_hit hits[Q * K];
    for (enum bk_cpu cpu = BK_CPU_PLAIN; cpu <= bk_cpu(); cpu++) {
        struct seen seen = {queries, pool, DIM, K, 0}, *ctx = &seen;
        assert_int_equal(
            bk_scan_top_by(bk_scan_kernel(cpu), hits, queries, Q, pool, N, DIM, K, would_get_in, &ctx, 1, NULL), BK_OK);
        assert_true(seen.asked >= Q * K);
    }
    free(queries);
    free(pool);
}

static void scores_are_close_to_double(void **state)
{
    (void)state;
    enum { Q = 50, N = 700, DIM = 200, K = 20 };
    struct bk_rng r = rng(1);
    float *queries = unit_rows(&r, Q, DIM), *pool = unit_rows(&r, N, DIM);
    static struct bk_hit hits[Q * K];
    for (enum bk_cpu cpu = BK_CPU_PLAIN; cpu <= bk_cpu(); cpu++) {
        assert_int_equal(bk_scan_top_by(bk_scan_kernel(cpu), hits, queries, Q, pool, N, DIM, K, NULL, NULL, 2, NULL),
                         BK_OK);
        for (size_t q = 0; q < Q; q++) {
            size_t above = 0; /* candidates clearly better than the last answer */
            for (size_t i = 0; i < N; i++)
                above += inner(queries + q * DIM, pool + i * DIM, DIM) > hits[q * K + K - 1].score + 1e-5;
            assert_true(above < K);
            for (size_t rank = 0; rank < K; rank++) {
                struct bk_hit h = hits[q * K + rank];
                assert_true(fabs(h.score - inner(queries + q * DIM, pool + h.index * DIM, DIM)) < 1e-5);
            }
        }
    }
    free(queries);
    free(pool);
}

static void threads_do_not_matter(void **state)
{
    (void)state;
    enum { Q = 333, N = 500, DIM = 100, K = 9 };
    struct bk_rng r = rng(2);
    float *queries = unit_rows(&r, Q, DIM), *pool = unit_rows(&r, N, DIM);
    static struct bk_hit one[Q * K], many[Q * K];
    assert_int_equal(bk_scan_top(one, queries, Q, pool, N, DIM, K, NULL, NULL, 1, NULL), BK_OK);
    for (unsigned threads = 2; threads < 9; threads += 3) {
        memset(many, 0xff, sizeof many);
        assert_int_equal(bk_scan_top(many, queries, Q, pool, N, DIM, K, NULL, NULL, threads, NULL), BK_OK);
        assert_memory_equal(one, many, sizeof one);
    }
    /* Nor does the company: a query asked alone gets the same. */
    assert_int_equal(bk_scan_top(many, queries + 200 * DIM, 1, pool, N, DIM, K, NULL, NULL, 1, NULL), BK_OK);
    assert_memory_equal(one + 200 * K, many, K * sizeof *one);
    free(queries);
    free(pool);
}

static bool is_a_query(const void *ctx, size_t query, size_t candidate)
{
    (void)candidate;
    assert_true(query < *(const size_t *)ctx);
    return true;
}

static void what_is_no_number_ranks_last(void **state)
{
    (void)state;
    const float query[2] = {1, 0};
    float pool[5][2] = {{NAN, 0}, {0, 1}, {1, 0}, {0, NAN}, {-0.5f, 0}};
    struct bk_hit hits[5];
    static const uint32_t order[5] = {2, 1, 4, 0, 3};
    static const float scores[5] = {1, 0, -0.5f, -1, -1};
    const float nothing[2] = {NAN, NAN};
    const size_t n = 1;
    for (enum bk_cpu cpu = BK_CPU_PLAIN; cpu <= bk_cpu(); cpu++) {
        const struct bk_scan_kernel *kernel = bk_scan_kernel(cpu);
        assert_int_equal(bk_scan_top_by(kernel, hits, query, 1, &pool[0][0], 5, 2, 5, is_a_query, &n, 1, NULL), BK_OK);
        for (size_t i = 0; i < 5; i++) {
            assert_int_equal(hits[i].index, order[i]);
            assert_true(hits[i].score == scores[i]);
        }
        assert_int_equal(bk_scan_top_by(kernel, hits, nothing, 1, &pool[0][0], 5, 2, 2, NULL, NULL, 1, NULL), BK_OK);
        assert_int_equal(hits[0].index, 0);
        assert_int_equal(hits[1].index, 1);
    }
}

/* A product too small for a float is -0 where the sum is one step, and equals 0. */
static void zeros_of_either_sign_tie(void **state)
{
    (void)state;
    const float query = 1e-30f, pool[3] = {-1e-30f, 1e-30f, -1e-30f};
    struct bk_hit hits[3];
    for (enum bk_cpu cpu = BK_CPU_PLAIN; cpu <= bk_cpu(); cpu++) {
        assert_int_equal(bk_scan_top_by(bk_scan_kernel(cpu), hits, &query, 1, pool, 3, 1, 3, NULL, NULL, 1, NULL),
                         BK_OK);
        for (uint32_t i = 0; i < 3; i++) {
            assert_int_equal(hits[i].index, i);
            assert_true(hits[i].score == 0);
        }
    }
}

static void scores_stay_cosines(void **state)
{
    (void)state;
    const float row[2] = {1.0000001f, 0}, opposite[2] = {-1.0000001f, 0};
    struct bk_hit hit;
    assert_int_equal(bk_scan_top(&hit, row, 1, row, 1, 2, 1, NULL, NULL, 1, NULL), BK_OK);
    assert_true(hit.score == 1);
    assert_int_equal(bk_scan_top(&hit, row, 1, opposite, 1, 2, 1, NULL, NULL, 1, NULL), BK_OK);
    assert_true(hit.score == -1);
}

static void refuses_and_shrugs(void **state)
{
    (void)state;
    const float row[2] = {1, 0};
    struct bk_hit hit = {.index = 77};
    struct bk_error err;
    assert_int_equal(bk_scan_top(&hit, row, 1, row, 1, 2, 2, NULL, NULL, 1, &err), BK_EINVAL);
    assert_string_equal(err.message, "2 neighbours asked of a pool of 1");
    assert_int_equal(bk_scan_top(&hit, row, 1, row, UINT32_MAX, 2, 1, NULL, NULL, 1, &err), BK_ELIMIT);
    assert_int_equal(bk_scan_top(&hit, NULL, 0, row, 1, 2, 1, NULL, NULL, 1, NULL), BK_OK);
    assert_int_equal(bk_scan_top(NULL, row, 1, NULL, 0, 2, 0, NULL, NULL, 1, NULL), BK_OK);
    assert_int_equal(hit.index, 77);
}

/* Rows in groups that nothing tells apart, some a hair beside, against the plain count. */
static void counts_what_nothing_tells_apart(void **state)
{
    (void)state;
    enum { N = 600, DIM = 24, K = 3 };
    struct bk_rng r = rng(31);
    float *pool = unit_rows(&r, N, DIM);
    for (size_t i = 0; i < N;
         i++) { /* a third of the rows are one of ten; every other one of these 2e-6 or 5e-7 away from it */
        if (bk_rng_below(&r, 3))
            continue;
        float *row = pool + i * DIM, turn = (float)(bk_rng_below(&r, 4) < 2 ? 0 : bk_rng_below(&r, 2) ? 7e-3 : 3e-3);
        memcpy(row, pool + bk_rng_below(&r, 10) * DIM, DIM * sizeof *row);
        float x = row[0], y = row[1];
        row[0] = x - turn * y;
        row[1] = y + turn * x;
    }
    struct bk_hit hits[N * K];
    uint32_t n_same[2][N];
    assert_int_equal(bk_scan_top(hits, pool, N, pool, N, DIM, K, NULL, NULL, 2, NULL), BK_OK);
    hits[5 * K].index = UINT32_MAX;
    for (unsigned t = 0; t < 2; t++)
        assert_int_equal(bk_scan_same(n_same[t], hits, N, K, pool, N, DIM, 1 + 2 * t, NULL), BK_OK);
    assert_memory_equal(n_same[0], n_same[1], sizeof n_same[0]);
    size_t many = 0;
    for (size_t q = 0; q < N; q++) {
        uint32_t expected = 0, best = hits[q * K].index;
        for (size_t i = 0; i < N && best != UINT32_MAX; i++)
            expected += i == best || inner(pool + best * DIM, pool + i * DIM, DIM) >= 1 - 1e-6;
        assert_int_equal(n_same[0][q], expected);
        many += expected > 1;
    }
    assert_true(many > N / 6);
    free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_plain_scan),
        cmocka_unit_test(ranks_the_whole_pool),
        cmocka_unit_test(scores_are_close_to_double),
        cmocka_unit_test(never_answers_with_a_vetoed_candidate),
        cmocka_unit_test(asks_only_about_who_would_get_in),
        cmocka_unit_test(threads_do_not_matter),
        cmocka_unit_test(what_is_no_number_ranks_last),
        cmocka_unit_test(zeros_of_either_sign_tie),
        cmocka_unit_test(scores_stay_cosines),
        cmocka_unit_test(refuses_and_shrugs),
        cmocka_unit_test(every_table_gives_the_promised_bits),
        cmocka_unit_test(counts_what_nothing_tells_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
