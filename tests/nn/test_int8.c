/* Eight bits: products against the same quantisation in double, the loops beside them against libm, the GRU against that in float, and
 * every kernel of this processor against the plain one, bit by bit. */
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

/* One shape, all kernels: bytes and numbers agree with double, bits with each other, and nothing beside C is written. Without `own` the
 * same bytes stand for numbers of range 1. */
static void one_shape(size_t m, size_t k, size_t n, bool own, enum bk_op op)
{
    const size_t lda = k + 3, columns = bk_padded(n), ldc = columns + 5, row = bk_int8_row(k),
                 ldw = (op == BK_T ? k : n) + 2;
    const size_t sizes[] = {m * lda, (op == BK_T ? n : k) * ldw, m * ldc};
    float *a = bk_calloc(sizes[0], sizeof *a), *w = bk_calloc(sizes[1], sizeof *w), *c[2] = {0}, *before;
    uint8_t *q[2] = {0};
    long *qw = bk_calloc(k * n, sizeof *qw);
    double *scale = bk_calloc(n, sizeof *scale);
    void *packed = aligned_alloc(64, bk_int8_size(k, n));
    before = bk_calloc(sizes[2], sizeof *before);
    assert_true(a && w && qw && scale && packed && before);
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
        kernels[v]->quantise(q[v], a, lda, m, k);
        kernels[v]->product(c[v], ldc, m, (struct bk_int8_rows){q[v], row, own}, packed);
        assert_memory_equal(q[v], q[0], m * row);
        assert_memory_equal(c[v], c[0], sizes[2] * sizeof **c);
    }
    float *d = bk_calloc(sizes[2], sizeof *d); /* row by row */
    assert_non_null(d);
    memcpy(d, before, sizes[2] * sizeof *d);
    for (size_t i = 0; i < m; i++)
        bk_int8_product(d + i * ldc, ldc, 1, (struct bk_int8_rows){q[0] + i * row, row, own}, packed);
    assert_memory_equal(d, c[0], sizes[2] * sizeof *d);
    free(d);
    const size_t down = op == BK_T ? 1 : ldw, right = op == BK_T ? ldw : 1;
    const struct bk_int8_view view = bk_int8_view(packed);
    bool close;
    for (size_t j = 0; j < n; j++) {
        double top = largest(w + j * right, k, down);
        scale[j] = top / 127 / 127;
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
        double top = largest(a + i * lda, k, 1);
        for (size_t p = 0; p < k; p++) {
            long have = (long)q[0][i * row + p] - 128, want = nearest((double)a[i * lda + p], top, &close);
            assert_true(have == want || (close && labs(have - want) == 1));
        }
        for (size_t j = 0; j < ldc; j++) {
            double unit = j < n ? scale[j] * (own ? top : 1) : 0;
            double sum = 0; /* of whole numbers, exact */
            for (size_t p = 0; j < n && p < k; p++)
                sum += (double)(q[0][i * row + p] - 128) * (double)qw[p * n + j];
            double want = j < columns ? sum * unit : (double)before[i * ldc + j];
            /* well below one unit of the sum */
            assert_true(fabs((double)c[0][i * ldc + j] - want) <= 3e-7 * fabs(want));
        }
    }
    for (size_t v = 0; v < n_kernels; v++) {
        free(c[v]);
        free(q[v]);
    }
    free(a);
    free(w);
    free(before);
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
                one_shape(m, ks[i], ns[j], turn % 3 == 0, turn % 5 < 2 ? BK_T : BK_N);
    one_shape(64, 50, 100, false, BK_N);
    one_shape(130, 2000, 20, true, BK_T);
}

/* What every kernel makes of numbers that are no ordinary ones; by the contract, not by what one of them does. The range is 127. */
static void test_ends_of_the_line(void **state)
{
    enum { K = 70 };
    const float in[] = {NAN, FLT_TRUE_MIN, -FLT_MIN, 127, -127, 0, 0.5f, 1.5f, -0.5f, -2.5f, 126.6f, -126.6f};
    const int want[] = {-127, 0, 0, 127, -127, 0, 0, 2, 0, -2, 127, -127};
    enum { N = sizeof in / sizeof *in };
    (void)state;
    for (size_t v = 0; v < n_kernels; v++)
        for (size_t shift = 0; shift + N <= K; shift++) {
            float a[K] = {0};
            _Alignas(4) uint8_t q[K + 16];
            memcpy(a + shift, in, sizeof in);
            kernels[v]->quantise(q, a, K, 1, K);
            for (size_t p = 0; p < K; p++)
                assert_int_equal((int)q[p] - 128, p >= shift && p < shift + N ? want[p - shift] : 0);
        }
}

/* Rows by their own maximum: zeros and what is next to them give zeros, NaN does not count, the smallest range that counts works. */
static void test_own_range(void **state)
{
    enum { K = 37, N = 19, M = 5 };
    float a[M * K] = {0}, w[K * N], c[M * 32];
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
        const size_t row = bk_int8_row(K);
        kernels[v]->quantise(q, a, K, M, K);
        for (size_t i = 0; i < M * 32; i++)
            c[i] = NAN;
        kernels[v]->product(c, 32, M, (struct bk_int8_rows){q, row, true}, (const struct bk_int8_weights *)packed);
        for (size_t i = 0; i < 2 * 32; i++)
            assert_true(c[i] == 0);
        for (size_t p = 0; p < K; p++) {
            assert_int_equal(q[2 * row + p], p % 2 ? 255 : 128);
            assert_int_equal(q[3 * row + p], p == 20 || p == 33 ? 1 : 128 + 64);
            assert_int_equal(q[4 * row + p], p % 2 ? 255 : 1);
        }
        for (size_t i = 2 * 32; i < M * 32; i++)
            assert_true(isfinite(c[i]) || i >= 4 * 32);
    }
}

/* A column of zeros, a product over nothing, and the deepest sum: 65536 products of the largest numbers fit. */
static void test_edges(void **state)
{
    enum { K = BK_INT8_MAX_K };
    float *ones = bk_calloc(K, sizeof *ones), c[BK_PAD] = {5, 6}, w[2] = {0, -3}, a = 0.5f;
    void *packed = aligned_alloc(64, bk_int8_size(K, 1));
    uint8_t *q = malloc(bk_int8_row(K));
    const struct bk_int8_rows rows = {q, 0, true};
    (void)state;
    assert_true(ones && packed && q);
    bk_int8_pack(packed, BK_N, w, 2, 1, 2);
    bk_int8_quantise(q, &a, 1, 1, 1);
    bk_int8_product(c, BK_PAD, 1, rows, packed);
    assert_true(c[0] == 0 && fabsf(c[1] + 1.5f) < 1e-6f);
    bk_int8_pack(packed, BK_N, w, 2, 0, 2);
    bk_int8_quantise(q, &a, 1, 1, 0);
    bk_int8_product(c, BK_PAD, 1, rows, packed);
    assert_true(c[0] == 0 && c[1] == 0);
    for (size_t v = 0; v < n_kernels; v++)
        for (int sign = -1; sign <= 1; sign += 2) {
            for (size_t p = 0; p < K; p++)
                ones[p] = 1;
            bk_int8_pack(packed, BK_N, ones, 1, K, 1);
            for (size_t p = 0; p < K; p++)
                ones[p] = (float)sign;
            kernels[v]->quantise(q, ones, K, 1, K);
            kernels[v]->product(c, BK_PAD, 1, rows, packed);
            assert_true(fabs((double)c[0] - sign * (double)K) < 1e-6 * K);
        }
    free(ones);
    free(packed);
    free(q);
}

/* ---- the loops beside them ------------------------------------------------ */

/* Bytes of tanh over the line and off it: within half a step and what the pieces may be off. */
static void test_tanh(void **state)
{
    enum { N = 4096 };
    float x[N];
    uint8_t q[2][N];
    (void)state;
    for (size_t i = 0; i < N; i++)
        x[i] = (float)i * (12.0f / N) - 6;
    x[0] = INFINITY, x[1] = -INFINITY, x[2] = FLT_MAX, x[3] = -0.0f, x[4] = FLT_TRUE_MIN;
    for (size_t v = 0; v < n_kernels; v++) {
        kernels[v]->tanh(q[v], x, N);
        for (size_t i = 0; i < N; i++)
            assert_true(fabs(q[v][i] - 128 - 127 * tanh((double)x[i])) < 0.5 + 127 * 2.6e-4);
        assert_memory_equal(q[v], q[0], sizeof q[v]);
    }
}

/* One step against libm: numbers within what the pieces may be off, bytes those of the numbers, and all kernels alike. */
static void test_cell(void **state)
{
    enum { W = 2 * BK_PAD, ROWS = 9, WORDS = 5, COLS = 3 * W + 1, LDH = W + 7 };
    const uint32_t word[ROWS] = {4, 0, 1, 2, 3, 4, 4, 0, 2};
    float full[WORDS * COLS], gate[ROWS * 2 * W], cand[ROWS * W], old[ROWS * W], z[2][ROWS * 2 * W], s[2][ROWS * W];
    uint16_t brief[WORDS * COLS];
    uint8_t rh[2][ROWS * W], h[2][ROWS * LDH];
    (void)state;
    fill(full, WORDS * COLS, 1);
    fill(gate, ROWS * 2 * W, 2);
    fill(cand, ROWS * W, 3);
    fill(old, ROWS * W, 4);
    for (size_t i = 0; i < ROWS * 2 * W; i++)
        gate[i] *= 12;
    for (size_t i = 0; i < ROWS * W; i++)
        cand[i] *= 6;
    bk_brief(brief, full, WORDS * COLS);
    for (size_t i = 0; i < WORDS * COLS; i++) {
        const uint32_t bits = (uint32_t)brief[i] << 16;
        memcpy(&full[i], &bits, sizeof bits);
    }
    const struct bk_columns xw = {NULL, brief, COLS};
    for (size_t v = 0; v < n_kernels; v++) {
        memcpy(z[v], gate, sizeof gate);
        memcpy(s[v], old, sizeof old);
        memset(h[v], 99, sizeof h[v]);
        kernels[v]->gates(z[v], rh[v], xw, word, s[v], ROWS, W);
        kernels[v]->state(h[v], LDH, s[v], cand, z[v], bk_columns_from(xw, 2 * W), word, ROWS, W);
        assert_memory_equal(rh[v], rh[0], sizeof rh[v]);
        assert_memory_equal(h[v], h[0], sizeof h[v]);
        assert_memory_equal(s[v], s[0], sizeof s[v]);
        for (size_t i = 0; i < ROWS; i++) {
            for (size_t j = 0; j < W; j++) {
                const float *x = full + word[i] * COLS + j;
                const size_t at = i * W + j, g = i * 2 * W + j;
                double r = 1 / (1 + exp(-(double)gate[g] - (double)x[0])), was = (double)old[at];
                double keep = 1 / (1 + exp(-(double)gate[g + W] - (double)x[W]));
                double want = keep * was + (1 - keep) * tanh((double)cand[at] + (double)x[2 * W]);
                assert_true(fabs((double)z[v][g + W] - keep) < 1.3e-4);
                assert_true(fabs(rh[v][at] - 128 - 127 * r * was) < 0.5 + 127 * 1.3e-4);
                assert_true(fabs((double)s[v][at] - want) < 2 * 1.3e-4 + 2.6e-4);
                assert_true(fabs(h[v][i * LDH + j] - 128 - 127 * (double)s[v][at]) < 0.5 + 1e-4);
            }
            for (size_t j = W; j < LDH; j++)
                assert_int_equal(h[v][i * LDH + j], 99);
        }
    }
}

/* Sums of states, weighted, for numbers of hops and columns that fill registers and that do not. */
static void test_sums(void **state)
{
    enum { POSITIONS = 13, FUNCTIONS = 3, MOST = 33, LDH = 48 };
    uint32_t row[POSITIONS];
    float att[POSITIONS * FUNCTIONS * MOST], f[2][MOST * MOST + 1];
    uint8_t h[POSITIONS * FUNCTIONS * LDH];
    (void)state;
    fill(att, sizeof att / sizeof *att, 5);
    for (size_t i = 0; i < sizeof h; i++)
        h[i] = (uint8_t)(1 + i * 37 % 255);
    for (size_t p = 0; p < POSITIONS; p++)
        row[p] = (uint32_t)(p * FUNCTIONS);
    for (size_t r = 1; r <= 21; r += 4)
        for (size_t u = 2; u <= MOST; u += 5)
            for (size_t v = 0; v < n_kernels; v++) {
                f[v][r * u] = 7;
                kernels[v]->sums(f[v], r, u, att, MOST, h, LDH, row, 2, POSITIONS);
                assert_true(f[v][r * u] == 7);
                assert_memory_equal(f[v], f[0], r * u * sizeof **f);
                for (size_t i = 0; i < r * u; i++) {
                    double want = 0;
                    for (size_t p = 0; p < POSITIONS; p++)
                        want += (double)att[(row[p] + 2) * MOST + i / u] * (h[(row[p] + 2) * LDH + i % u] - 128) / 127;
                    assert_true(fabs((double)f[v][i] - want) < 1e-5);
                }
            }
}

/* Functions of one to five words, both directions, against the GRU in float: what eight bits may be off, and no direction writes over
 * the numbers of the one before. */
static void test_gru(void **state)
{
    enum { S = 18, W = 32, B = 4, STEPS = 5, M = 12, WORDS = 7, COLS = 6 * W, LDH = 64 };
    const uint32_t row[STEPS + 1] = {0, 4, 7, 9, 11, 12}, word[M] = {0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4};
    const struct bk_packing pk = {.b = B, .t = STEPS, .m = M, .row = row};
    float weights[2][S * 2 * W], xw[WORDS * COLS], gate[B * 2 * W], cand[B * W], rh[B * W], own[B * W], h[M * LDH];
    uint16_t brief[WORDS * COLS];
    uint8_t bytes[M * LDH];
    (void)state;
    float *panels = bk_calloc(bk_weights_size(S, 2 * W), sizeof *panels);
    float *cand_panels = bk_calloc(bk_weights_size(S, S), sizeof *cand_panels);
    void *gate8 = aligned_alloc(64, bk_int8_size(S, 2 * W)), *cand8 = aligned_alloc(64, bk_int8_size(S, S));
    assert_true(panels && cand_panels && gate8 && cand8);
    fill(weights[0], S * 2 * W, 8);
    fill(weights[1], S * S, 9);
    fill(xw, WORDS * COLS, 10);
    bk_brief(brief, xw, WORDS * COLS);
    bk_weights_pack(panels, BK_N, weights[0], 2 * W, S, 2 * W);
    bk_weights_pack(cand_panels, BK_N, weights[1], S, S, S);
    bk_int8_pack(gate8, BK_N, weights[0], 2 * W, S, 2 * W);
    bk_int8_pack(cand8, BK_N, weights[1], S, S, S);
    for (int reverse = 0; reverse < 2; reverse++) {
        struct bk_gru g = {.s = S,
                           .reverse = reverse,
                           .wg = {.k = S, .n = 2 * W, .panels = panels, .int8 = gate8},
                           .wc = {.k = S, .n = S, .panels = cand_panels, .int8 = cand8},
                           .word = word,
                           .gate = gate,
                           .cand = cand,
                           .rh = rh};
        const size_t column = reverse ? S : 0, columns = reverse ? 3 * W : 0;
        bk_int8_gru_forward(&g, &pk, bytes + column, LDH, (struct bk_columns){NULL, brief + columns, COLS}, own);
        g.wg.int8 = g.wc.int8 = NULL;
        bk_gru_forward(&g, &pk, h + column, LDH, (struct bk_columns){xw + columns, NULL, COLS});
    }
    for (size_t i = 0; i < M; i++)
        for (size_t j = 0; j < 2 * S; j++)
            assert_true(fabs((bytes[i * LDH + j] - 128) / 127.0 - (double)h[i * LDH + j]) < 0.02);
    free(panels);
    free(cand_panels);
    free(gate8);
    free(cand8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),    cmocka_unit_test(test_ends_of_the_line),
        cmocka_unit_test(test_own_range), cmocka_unit_test(test_edges),
        cmocka_unit_test(test_tanh),      cmocka_unit_test(test_cell),
        cmocka_unit_test(test_sums),      cmocka_unit_test(test_gru),
    };
    find_kernels();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
