/* Products in eight bits against the same quantisation in double, and every kernel of this processor against the plain one. */
#include "nn/nn_int.h"

#include "../base/cmocka_all.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct bk_int8_kernels *kernels[2];
static size_t n_kernels;

static void find_kernels(void)
{
    kernels[n_kernels++] = &bk_int8_plain;
    if (bk_int8_fast())
        kernels[n_kernels++] = bk_int8_kernels();
}

static void fill(float *x, size_t n, uint64_t seed)
{
    struct bk_rng rng;
    bk_rng_seed(&rng, seed, 0);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(2 * bk_rng_unit(&rng) - 1);
}

static double largest(const float *x, size_t n, size_t step)
{
    double top = 0;
    for (size_t i = 0; i < n; i++)
        top = fmax(top, fabs((double)x[i * step]));
    return top;
}

/* The nearest whole number of 1/127 of `range`. The kernels multiply in float, so a number may sit on the other side of a half there:
 * such are told by *close. */
static long nearest(double x, double range, bool *close)
{
    double y = range > 0 ? x * 127 / range : 0;
    *close = fabs(fabs(y - trunc(y)) - 0.5) < 1e-4;
    return lrint(fmin(fmax(y, -127), 127));
}

/* One shape, all kernels: bytes and numbers agree with double, bits with each other, and nothing beside C is written. */
static void one_shape(size_t m, size_t k, size_t n, float range, bool add, enum bk_op op)
{
    const size_t lda = k + 3, ldc = n + 5, row = bk_int8_row(k), ldw = (op == BK_T ? k : n) + 2;
    const size_t sizes[] = {m * lda, (op == BK_T ? n : k) * ldw, m * ldc};
    float *a = bk_calloc(sizes[0], sizeof *a), *w = bk_calloc(sizes[1], sizeof *w), *c[2] = {0}, *before;
    uint8_t *q[2] = {0}, *scratch = malloc(bk_int8_scratch(m, k));
    long *qw = bk_calloc(k * n, sizeof *qw);
    double *scale = bk_calloc(n, sizeof *scale);
    void *packed = aligned_alloc(64, bk_int8_size(k, n));
    before = bk_calloc(sizes[2], sizeof *before);
    assert_true(a && w && scratch && qw && scale && packed && before);
    assert_int_equal(bk_int8_size(k, n) % 64, 0);
    fill(a, sizes[0], m + k);
    fill(w, sizes[1], n + k);
    fill(before, sizes[2], 7);
    bk_int8_pack(packed, op, w, ldw, k, n);
    for (size_t v = 0; v < n_kernels; v++) {
        c[v] = bk_calloc(sizes[2], sizeof **c);
        q[v] = malloc(m * row);
        assert_true(c[v] && q[v]);
        memcpy(c[v], before, sizes[2] * sizeof **c);
        kernels[v]->quantise(q[v], a, lda, m, k, range);
        kernels[v]->product(c[v], ldc, m, q[v], packed, add);
        assert_memory_equal(q[v], q[0], m * row);
        assert_memory_equal(c[v], c[0], sizes[2] * sizeof **c);
    }
    /* whole, in two steps and row by row */
    for (size_t way = 0; way < 3; way++) {
        float *d = bk_calloc(sizes[2], sizeof *d);
        assert_non_null(d);
        memcpy(d, before, sizes[2] * sizeof *d);
        if (way == 0)
            bk_int8_product(d, ldc, m, a, lda, range, packed, add, scratch);
        if (way == 1)
            bk_int8_product_quantised(d, ldc, m, q[0], packed, add);
        for (size_t i = 0; way == 2 && i < m; i++)
            bk_int8_product(d + i * ldc, ldc, 1, a + i * lda, lda, range, packed, add, scratch);
        assert_memory_equal(d, c[0], sizes[2] * sizeof *d);
        free(d);
    }
    const size_t down = op == BK_T ? 1 : ldw, right = op == BK_T ? ldw : 1;
    const struct bk_int8_view view = bk_int8_view(packed);
    bool close;
    for (size_t j = 0; j < n; j++) {
        double top = largest(w + j * right, k, down);
        scale[j] = top / 127;
        assert_true(fabs((double)view.scale[j] - scale[j]) <= 2e-7 * scale[j]);
        /* where the columns of a panel lie */
        size_t vectors = (n + 15) / 16, begin = 0, wide = bk_int8_panel(vectors);
        for (; begin + wide <= j / 16; wide = bk_int8_panel(vectors - begin))
            begin += wide;
        for (size_t p = 0; p < k; p++) {
            long have = view.panel[begin * 16 * 4 * view.groups + p / 4 * wide * 64 + (j - begin * 16) * 4 + p % 4];
            long want = nearest((double)w[p * down + j * right], top, &close);
            assert_true(have == want || (close && labs(have - want) == 1));
            qw[p * n + j] = have;
        }
    }
    for (size_t i = 0; i < m; i++) {
        double top = range > 0 ? (double)range : largest(a + i * lda, k, 1);
        for (size_t p = 0; p < k; p++) {
            long have = (long)q[0][i * row + p] - 128, want = nearest((double)a[i * lda + p], top, &close);
            assert_true(have == want || (close && labs(have - want) == 1));
        }
        for (size_t j = 0; j < ldc; j++) {
            double old = (double)before[i * ldc + j], unit = j < n ? scale[j] * top / 127 : 0;
            double sum = 0; /* of whole numbers, exact */
            for (size_t p = 0; j < n && p < k; p++)
                sum += (double)(q[0][i * row + p] - 128) * (double)qw[p * n + j];
            double want = j < n ? (add ? old : 0) + sum * unit : old;
            /* well below one unit of the sum */
            assert_true(fabs((double)c[0][i * ldc + j] - want) <= 3e-7 * (fabs(old) + fabs((double)sum * unit)));
        }
    }
    for (size_t v = 0; v < n_kernels; v++) {
        free(c[v]);
        free(q[v]);
    }
    free(a);
    free(w);
    free(before);
    free(scratch);
    free(qw);
    free(scale);
    free(packed);
}

static void test_shapes(void **state)
{
    const size_t ks[] = {1, 3, 50, 64, 253}, ns[] = {1, 10, 16, 17, 48, 100, 250};
    size_t turn = 0;
    (void)state;
    for (size_t i = 0; i < sizeof ks / sizeof *ks; i++)
        for (size_t j = 0; j < sizeof ns / sizeof *ns; j++)
            for (size_t m = 1; m <= 13; m++, turn++)
                one_shape(m, ks[i], ns[j], turn % 3 == 0 ? 0.0f : 0.75f, turn % 2, turn % 5 < 2 ? BK_T : BK_N);
    one_shape(64, 50, 100, 1, true, BK_N);
    one_shape(300, 2000, 20, 0, false, BK_T); /* more rows than a block */
}

/* What every kernel makes of numbers that are no ordinary ones; by the contract, not by what one of them does. */
static void test_ends_of_the_line(void **state)
{
    enum { K = 70 };
    const float in[] = {2, -2, 1e30f, -1e30f,     INFINITY,   -INFINITY,   NAN,         FLT_TRUE_MIN, -FLT_MIN,
                        1, -1, 0,     0.5f / 127, 1.5f / 127, -0.5f / 127, -2.5f / 127, 126.6f / 127, -126.6f / 127};
    const int want[] = {127, -127, 127, -127, 127, -127, -127, 0, 0, 127, -127, 0, 0, 2, 0, -2, 127, -127};
    enum { N = sizeof in / sizeof *in };
    (void)state;
    for (size_t v = 0; v < n_kernels; v++)
        for (size_t shift = 0; shift + N <= K; shift++) {
            float a[K] = {0};
            _Alignas(4) uint8_t q[K + 16];
            memcpy(a + shift, in, sizeof in);
            kernels[v]->quantise(q, a, K, 1, K, 1);
            for (size_t p = 0; p < K; p++)
                assert_int_equal((int)q[p] - 128, p >= shift && p < shift + N ? want[p - shift] : 0);
        }
}

/* Rows by their own maximum: zeros and what is next to them give zeros, NaN does not count, the smallest range that counts works. */
static void test_own_range(void **state)
{
    enum { K = 37, N = 19, M = 5 };
    float a[M * K] = {0}, w[K * N], c[M * N];
    _Alignas(64) uint8_t packed[64 + 32 * 8 + 32 * 40];
    _Alignas(4) uint8_t q[M * 64];
    (void)state;
    assert_int_equal(bk_int8_size(K, N), sizeof packed);
    fill(w, K * N, 3);
    bk_int8_pack(packed, BK_N, w, N, K, N);
    for (size_t p = 0; p < K; p++) {
        a[1 * K + p] = p % 2 ? 0x1p-120f : -FLT_TRUE_MIN;
        a[2 * K + p] = p % 2 ? 0x1p-118f : 0;
        a[3 * K + p] = p == 20 ? NAN : p == 33 ? -4 : 2;
        a[4 * K + p] = p % 2 ? FLT_MAX : -FLT_MAX;
    }
    for (size_t v = 0; v < n_kernels; v++) {
        kernels[v]->quantise(q, a, K, M, K, 0);
        for (size_t i = 0; i < M * N; i++)
            c[i] = NAN;
        kernels[v]->product(c, N, M, q, (const struct bk_int8_weights *)packed, false);
        for (size_t i = 0; i < 2 * N; i++)
            assert_true(c[i] == 0);
        const size_t row = bk_int8_row(K);
        for (size_t p = 0; p < K; p++) {
            assert_int_equal(q[2 * row + p], p % 2 ? 255 : 128);
            assert_int_equal(q[3 * row + p], p == 20 || p == 33 ? 1 : 128 + 64);
            assert_int_equal(q[4 * row + p], p % 2 ? 255 : 1);
        }
        for (size_t i = 2 * N; i < M * N; i++)
            assert_true(isfinite(c[i]) || i >= 4 * N);
    }
}

/* A column of zeros, a product over nothing, and the deepest sum: 65536 products of the largest numbers fit. */
static void test_edges(void **state)
{
    enum { K = BK_INT8_MAX_K };
    float *ones = bk_calloc(K, sizeof *ones), c[2] = {5, 6}, w[2] = {0, -3}, a = 0.5f;
    void *packed = aligned_alloc(64, bk_int8_size(K, 1)), *scratch = malloc(bk_int8_scratch(1, K));
    (void)state;
    assert_true(ones && packed && scratch);
    bk_int8_pack(packed, BK_N, w, 2, 1, 2);
    bk_int8_product(c, 2, 1, &a, 1, 0, packed, true, scratch);
    assert_true(c[0] == 5 && c[1] == 4.5f);
    bk_int8_pack(packed, BK_N, w, 2, 0, 2);
    bk_int8_product(c, 2, 1, &a, 1, 1, packed, true, scratch);
    assert_true(c[0] == 5 && c[1] == 4.5f);
    bk_int8_product(c, 2, 1, &a, 1, 0, packed, false, scratch);
    assert_true(c[0] == 0 && c[1] == 0);
    for (size_t v = 0; v < n_kernels; v++)
        for (int sign = -1; sign <= 1; sign += 2) {
            for (size_t p = 0; p < K; p++)
                ones[p] = 1;
            bk_int8_pack(packed, BK_N, ones, 1, K, 1);
            for (size_t p = 0; p < K; p++)
                ones[p] = (float)sign;
            kernels[v]->quantise(scratch, ones, K, 1, K, 1);
            kernels[v]->product(c, 1, 1, scratch, packed, false);
            assert_true(fabs((double)c[0] - sign * (double)K) < 1e-6 * K);
        }
    free(ones);
    free(packed);
    free(scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_ends_of_the_line),
        cmocka_unit_test(test_own_range),
        cmocka_unit_test(test_edges),
    };
    find_kernels();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
