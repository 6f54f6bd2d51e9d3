/* The vector loops of every instruction set this processor has, against libm, and losses and Adam on inputs worked by hand. */
#include "nn/nn_int.h"

#include "../base/cmocka_all.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct bk_kernels *tables[3];
static size_t n_tables;

static void find_tables(void)
{
    tables[n_tables++] = &bk_kernels_plain;
#ifdef BK_NN_X86
    if (bk_cpu() >= BK_CPU_AVX2)
        tables[n_tables++] = &bk_kernels_avx2;
    if (bk_cpu() >= BK_CPU_AVX512)
        tables[n_tables++] = &bk_kernels_avx512;
#endif
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

/* Relative error of `fn` on [low, high] and its negative powers of two; `odd` lengths exercise the tails. */
static double worst(void (*fn)(bk_real *, const bk_real *, size_t), double (*ref)(double), double low, double high)
{
    enum { N = 200003 };
    double worst = 0;
    bk_real *x = bk_calloc(N, sizeof *x), *y = bk_calloc(N, sizeof *y);
    assert_true(x && y);
    for (size_t i = 0; i < N; i++)
        x[i] = (bk_real)(i < N / 2 ? low + (high - low) * (double)i / (N / 2)
                                   : ldexp(i % 2 ? high : low, -(int)(i % 60)) * (1 + (double)i / N) / 2);
    fn(y, x, N);
    for (size_t i = 0; i < N; i++) {
        double r = ref((double)x[i]);
        if (r != 0)
            worst = fmax(worst, fabs((double)y[i] - r) / fabs(r));
    }
    free(x);
    free(y);
    return worst;
}

static void test_functions(void **state)
{
    (void)state;
#ifdef BK_REAL_DOUBLE
    const double limit = 1e-15;
#else
    const double limit = 4e-7;
#endif
    for (size_t k = 0; k < n_tables; k++) {
        assert_true(worst(tables[k]->exp, exp, -87, 88) < limit);
        assert_true(worst(tables[k]->tanh, tanh, -15, 15) < limit);
        assert_true(worst(tables[k]->sigmoid, sigmoid, -87, 87) < limit);
    }
}

static void test_ends_of_the_line(void **state)
{
    (void)state;
    for (size_t k = 0; k < n_tables; k++) {
        bk_real x[6] = {-1e30f, 1e30f, -INFINITY, INFINITY, 0, NAN}, y[6];
        tables[k]->tanh(y, x, 6);
        assert_true(y[0] == -1 && y[1] == 1 && y[2] == -1 && y[3] == 1 && y[4] == 0 && isnan(y[5]));
        tables[k]->sigmoid(y, x, 6);
        assert_true(y[0] < 1e-37f && y[0] >= 0 && y[1] == 1 && y[3] == 1 && y[4] == (bk_real)0.5 && isnan(y[5]));
        tables[k]->exp(y, x, 6);
        assert_true(y[0] < 1e-37f && y[0] >= 0 && y[1] > 1e38f && y[4] == 1 && isnan(y[5]));
    }
}

/* All tables make the same of random rows, but for rounding. */
static void test_tables_agree(void **state)
{
    enum { S = 16, ROWS = 7, BEFORE = 5, N = S * ROWS * 3 };
    struct bk_rng rng;
    bk_real in[7][N], first[7][N];
    (void)state;
    for (size_t k = 0; k < n_tables; k++) {
        const struct bk_kernels *t = tables[k];
        uint32_t word[ROWS] = {2, 0, 1, 2, 2, 1, 0}, arg[N] = {0};
        const uint32_t begin[ROWS + 1] = {0, 2, 2, 5, 6, 7, 8, 9}, id[9] = {3, 0, 1, 1, 6, 5, 2, 0, 4};
        bk_rng_seed(&rng, 9, 0);
        for (size_t a = 0; a < 7; a++)
            for (size_t i = 0; i < N; i++)
                in[a][i] = (bk_real)(2 * bk_rng_unit(&rng) - 1);
        const struct bk_sparse entries = {ROWS, begin, id, in[6]}, edges = {ROWS, begin, id, NULL};
        const struct bk_columns xw = {in[6], NULL, 3 * S + 2}, sff = {in[3], NULL, 2 * S};
        t->gru_gates(in[0], in[1], xw, word, in[2], S + 1, BEFORE, ROWS, S);
        t->gru_state(in[3], S + 3, in[4], in[0], bk_columns_from(xw, 2 * S), word, in[2], S + 1, BEFORE, ROWS, S);
        t->gru_state_back(in[1], in[0], in[4], in[3], S + 3, in[2], ROWS, S);
        t->gru_gates_back(in[1], in[0], in[5], in[2], ROWS, S);
        t->gru_unload(in[3], 3 * S + 2, in[0], in[4], word, ROWS, S);
        t->sff_max(in[5], arg, in[2], sff, word, 100, ROWS, S);
        t->sff_max(in[2], NULL, in[5], sff, word, 0, ROWS, S);
        t->sparse(in[4], S + 2, &entries, in[5], S, S);
        t->sparse_back(in[5], S + 1, &edges, in[4], S + 2, S);
        t->bias(in[1], S + 2, in[0], ROWS, S, false);
        t->bias(in[1], S + 2, in[0], ROWS, S, true);
        t->mix(in[4], in[0], in[1], 2 * S + 1, (bk_real)0.7, in[2]);
        t->mix_back(in[4], in[5], in[3], in[0], in[1], 2 * S + 1, (bk_real)0.7, in[2]);
        for (size_t i = 0; i < ROWS * S; i++)
            assert_true(arg[i] == 0 || arg[i] == 100 + i / S);
        in[0][0] += t->dot(in[1], in[2], 77);
        if (k == 0)
            memcpy(first, in, sizeof in);
        for (size_t a = 0; a < 7; a++)
            for (size_t i = 0; i < N; i++)
                assert_true(fabs((double)(in[a][i] - first[a][i])) < 4e-5);
    }
}

/* Columns in brief: how numbers are rounded, and the loop that reads them against the one that reads them in full. */
static void test_brief(void **state)
{
    (void)state;
#ifndef BK_REAL_DOUBLE
    enum { S = 16, ROWS = 9, WORDS = 5 };
    static const float known[][2] = {
        {1, 1}, {1.00390625f, 1}, {1.01171875f, 1.015625f}, {-3.1415927f, -3.140625f}, {0, 0}};
    struct bk_rng rng;
    bk_rng_seed(&rng, 5, 0);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) { /* ties go to even */
        uint16_t y;
        bk_brief(&y, known[i], 1);
        uint32_t bits = (uint32_t)y << 16;
        assert_memory_equal(&bits, &known[i][1], sizeof bits);
    }
    for (size_t k = 0; k < n_tables; k++) {
        float full[WORDS * S], x[ROWS * S], best[2][ROWS * S];
        uint16_t brief[WORDS * S];
        const uint32_t word[ROWS] = {4, 0, 1, 2, 3, 4, 4, 0, 2};
        for (size_t i = 0; i < WORDS * S; i++)
            full[i] = (float)(4 * bk_rng_unit(&rng) - 2);
        for (size_t i = 0; i < ROWS * S; i++)
            x[i] = (float)(16 * bk_rng_unit(&rng) - 8), best[0][i] = best[1][i] = (float)(2 * bk_rng_unit(&rng) - 1);
        bk_brief(brief, full, WORDS * S);
        for (int b = 0; b < 2; b++)
            tables[k]->sff_max(best[b], NULL, x, (struct bk_columns){b ? NULL : full, b ? brief : NULL, S}, word, 0,
                               ROWS, S);
        for (size_t i = 0; i < ROWS * S; i++)
            assert_true(fabsf(best[0][i] - best[1][i]) <= 2.0f / 256);
    }
#endif
}

/* Products of every shape of A, B and C against sums in double, those of whole panels with the padding zero; a row alone has the bits it
 * has among others. */
static void product_case(const struct bk_products *t, size_t m, size_t n, size_t k, enum bk_op ta, enum bk_op tb,
                         bool add)
{
    size_t lda = (ta == BK_T ? m : k) + 3, ldb = (tb == BK_T ? k : n) + 1, ldc = bk_padded(n) + 2;
    bk_real *a = bk_calloc((m + k) * lda, sizeof *a), *b = bk_calloc((n + k) * ldb, sizeof *b);
    bk_real *c = bk_calloc(m * ldc, sizeof *c), *d = bk_calloc(m * ldc, sizeof *d);
    bk_real *panels = bk_calloc(bk_weights_size(k, n) + 1, sizeof *panels);
    struct bk_rng rng;
    assert_true(a && b && c && d && panels);
    bk_rng_seed(&rng, m * 1000003 + n * 1009 + k, 0);
    for (size_t i = 0; i < (m + k) * lda; i++)
        a[i] = (bk_real)(2 * bk_rng_unit(&rng) - 1);
    for (size_t i = 0; i < (n + k) * ldb; i++)
        b[i] = (bk_real)(2 * bk_rng_unit(&rng) - 1);
    for (size_t i = 0; i < m * ldc; i++)
        c[i] = d[i] = 7;
    t->gemm(ta, tb, m, n, k, a, lda, b, ldb, add, c, ldc);
    t->pack(panels, tb, b, ldb, k, n);
    t->gemm_panels(ta, m, bk_padded(n), k, a, lda, panels, false, d, ldc);
    const double tol = sizeof(bk_real) == 8 ? 1e-12 : 1e-4;
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < ldc; j++) {
            double sum = 0;
            for (size_t p = 0; p < k && j < n; p++)
                sum += (double)(ta == BK_T ? a[p * lda + i] : a[i * lda + p]) *
                       (double)(tb == BK_T ? b[j * ldb + p] : b[p * ldb + j]);
            assert_true(fabs((double)c[i * ldc + j] - (j >= n ? 7 : add ? 7 + sum : sum)) < tol);
            assert_true(fabs((double)d[i * ldc + j] - (j >= bk_padded(n) ? 7 : sum)) < tol);
        }
    for (size_t i = 0; i < m; i++) {
        bk_real alone[600];
        assert_true(bk_padded(n) <= 600);
        t->gemm_panels(ta, 1, bk_padded(n), k, ta == BK_T ? a + i : a + i * lda, lda, panels, false, alone, 600);
        assert_memory_equal(alone, d + i * ldc, bk_padded(n) * sizeof *alone);
    }
    free(a);
    free(b);
    free(c);
    free(d);
    free(panels);
}

/* Rows chosen by a list, among rows wide enough for whole vectors. */
static void sums_case(const struct bk_products *t, size_t m, size_t n, size_t k)
{
    enum { LD = 128, ROWS = 200, SHIFT = 3 };
    bk_real *a = bk_calloc(ROWS * LD, sizeof *a), *b = bk_calloc(ROWS * LD, sizeof *b),
            *c = bk_calloc(m * n, sizeof *c);
    uint32_t row[ROWS];
    struct bk_rng rng;
    assert_true(a && b && c && k < ROWS);
    bk_rng_seed(&rng, m * 1009 + n, k);
    for (size_t i = 0; i < ROWS * LD; i++)
        a[i] = (bk_real)(2 * bk_rng_unit(&rng) - 1), b[i] = (bk_real)(2 * bk_rng_unit(&rng) - 1);
    for (size_t p = 0; p < k; p++)
        row[p] = (uint32_t)bk_rng_below(&rng, ROWS - SHIFT);
    t->sums(c, n, m, n, a, LD, b, LD, row, SHIFT, k);
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            double sum = 0;
            for (size_t p = 0; p < k; p++)
                sum += (double)a[(row[p] + SHIFT) * LD + i] * (double)b[(row[p] + SHIFT) * LD + j];
            assert_true(fabs((double)c[i * n + j] - sum) < (sizeof(bk_real) == 8 ? 1e-12 : 2e-5));
        }
    free(a);
    free(b);
    free(c);
}

static void test_products(void **state)
{
    static const size_t shapes[][3] = {{1, 1, 1},     {2, 17, 3},    {13, 100, 50}, {64, 50, 50},
                                       {7, 250, 100}, {29, 10, 250}, {50, 33, 513}, {5, 513, 70},
                                       {3, 64, 0},    {25, 48, 257}, {12, 16, 31},  {6, 65, 1000}};
    (void)state;
    for (size_t k = 0; k < n_tables; k++) {
        sums_case(tables[k]->products, 10, 100, 57);
        sums_case(tables[k]->products, 3, 17, 1);
        sums_case(tables[k]->products, 12, 112, 150);
    }
    for (size_t k = 0; k < n_tables; k++)
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
            for (int how = 0; how < 8; how++)
                product_case(tables[k]->products, shapes[i][0], shapes[i][1], shapes[i][2], how & 1 ? BK_T : BK_N,
                             how & 2 ? BK_T : BK_N, how & 4);
}

#ifndef BK_REAL_DOUBLE
/* A finite number of binary16, every exponent as likely as the others, zeros and subnormal ones among them. */
static float half_number(struct bk_rng *rng)
{
    uint64_t r = bk_rng_u64(rng);
    int mantissa = (int)(r % 1024), exponent = (int)(r / 1024 % 31);
    return ldexpf((float)(exponent ? mantissa + 1024 : mantissa), (exponent ? exponent : 1) - 25) * (r >> 63 ? -1 : 1);
}

/* With subnormal floats flushed, as embedding has it. qemu 7.2 flushes those of binary16 as well, which processors do not (Intel SDM,
 * VCVTPH2PS): where tools/test-cpus says that it emulates one, they are not flushed. */
static unsigned flush(bool wanted)
{
    return wanted && !getenv("BINKIN_CPU_EXPECTED") ? bk_fpu_flush_denormals() : 0;
}
static void unflush(bool wanted, unsigned fpu)
{
    if (wanted && !getenv("BINKIN_CPU_EXPECTED"))
        bk_fpu_restore(fpu);
}

/* Weights in 16 bits give the bits of those in full, whatever stands in C, whether or not subnormal floats are flushed. */
static void half_case(const struct bk_products *t, size_t m, size_t n, size_t k, enum bk_op op, bool add)
{
    size_t lda = k + 3, ldb = (op == BK_T ? k : n) + 1, cols = bk_padded(n), ldc = cols + 2;
    float *a = bk_calloc(m * lda + 1, sizeof *a), *b = bk_calloc((n + k) * ldb, sizeof *b);
    float *c = bk_calloc(m * ldc, sizeof *c), *d = bk_calloc(m * ldc, sizeof *d);
    float *panels = bk_calloc(bk_weights_size(k, n) + 1, sizeof *panels);
    uint16_t *half = bk_calloc(bk_weights_size(k, n) + 1, sizeof *half);
    struct bk_rng rng;
    assert_true(a && b && c && d && panels && half);
    bk_rng_seed(&rng, m * 1000003 + n * 1009 + k, 1);
    for (size_t i = 0; i < m * lda; i++)
        a[i] = (float)(2 * bk_rng_unit(&rng) - 1);
    for (size_t i = 0; i < (n + k) * ldb; i++)
        b[i] = half_number(&rng);
    for (size_t i = 0; i < m * ldc; i++)
        c[i] = d[i] = (float)i / 7;
    unsigned fpu = flush(add);
    t->pack(panels, op, b, ldb, k, n);
    assert_true(t->pack_half(half, op, b, ldb, k, n));
    t->gemm_panels(BK_N, m, cols, k, a, lda, panels, add, c, ldc);
    t->gemm_half(m, cols, k, a, lda, half, add, d, ldc);
    unflush(add, fpu);
    assert_memory_equal(c, d, m * ldc * sizeof *c);
    free(a);
    free(b);
    free(c);
    free(d);
    free(panels);
    free(half);
}

static void test_half_products(void **state)
{
    static const size_t shapes[][2] = {{1, 1},  {17, 3},    {33, 50},   {48, 31},
                                       {64, 0}, {100, 128}, {113, 257}, {250, 129}};
    static const size_t rows[] = {1, 2, 3, 4, 5, 6, 7, 13, 48, 50, 101};
    (void)state;
    for (size_t v = 0; v < n_tables; v++)
        for (size_t i = 0; tables[v]->products->pack_half && i < sizeof shapes / sizeof *shapes; i++)
            for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
                for (int how = 0; how < 4; how++)
                    half_case(tables[v]->products, rows[r], shapes[i][0], shapes[i][1], how & 1 ? BK_T : BK_N, how & 2);
}

static float from_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* One number at any place decides whether the weights fit; what fits is what binary16 has, bit for bit. */
static void test_half_fits(void **state)
{
    enum { K = 40, N = 70 };
    const struct {
        float x;
        bool fits;
    } cases[] = {{0.0f, true},
                 {-0.0f, true},
                 {65504, true},
                 {0x1p-14f, true},
                 {0x1.ff8p-15f, true},
                 {-0x1p-24f, true},
                 {INFINITY, true},
                 {-INFINITY, true},
                 {from_bits(0x7fc02000), true},
                 {from_bits(0xffffe000), true},
                 {0x1.002p0f, false},
                 {1 / 3.0f, false},
                 {65520, false},
                 {-1e30f, false},
                 {0x1.ffcp-15f, false},
                 {0x1.8p-24f, false},
                 {0x1p-25f, false},
                 {from_bits(1), false},
                 {from_bits(0x80000001), false},
                 {from_bits(0x7fc00001), false},
                 {from_bits(0x7f802000), false}};
    float b[K * N];
    uint16_t half[K * 80];
    struct bk_rng rng;
    (void)state;
    assert_int_equal(bk_weights_size(K, N), K * 80);
    bk_rng_seed(&rng, 4, 0);
    for (size_t i = 0; i < K * N; i++)
        b[i] = half_number(&rng);
    for (size_t v = 0; v < n_tables; v++)
        for (size_t i = 0; tables[v]->products->pack_half && i < sizeof cases / sizeof *cases; i++)
            for (size_t at = i; at < K * N; at += 97)
                for (int flushed = 0; flushed < 2; flushed++) {
                    float kept = b[at], one[K] = {0}, c[80];
                    one[at / N] = 1;
                    b[at] = cases[i].x;
                    unsigned fpu = flush(flushed);
                    bool fits = tables[v]->products->pack_half(half, BK_N, b, N, K, N);
                    unflush(flushed, fpu);
                    assert_int_equal(fits, cases[i].fits);
                    b[at] = kept;
                    if (!fits)
                        continue;
                    tables[v]->products->gemm_half(1, 80, K, one, K, half, false, c, 80); /* that row of the weights */
                    assert_true(isnan(cases[i].x) ? isnan(c[at % N]) : c[at % N] == cases[i].x);
                }
}

/* The calls of everybody: they take the best table's panels, or say that there are none. */
static void test_half_weights(void **state)
{
    enum { K = 50, N = 20, M = 7, LD = 32 };
    float a[M * K], b[K * N], panels[K * LD], c[M * LD], d[M * LD];
    uint16_t half[K * LD];
    struct bk_rng rng;
    (void)state;
    bk_rng_seed(&rng, 4, 0);
    for (size_t i = 0; i < M * K; i++)
        a[i] = (float)bk_rng_unit(&rng);
    for (size_t i = 0; i < K * N; i++)
        b[i] = half_number(&rng);
    bool packed = bk_weights_pack_half(half, BK_N, b, N, K, N);
    assert_int_equal(packed, bk_kernels()->products->pack_half != NULL);
    if (!packed)
        return;
    bk_weights_pack(panels, BK_N, b, N, K, N);
    bk_product(c, LD, &(struct bk_weights){.k = K, .n = N, .panels = panels}, M, a, K, false);
    bk_product(d, LD, &(struct bk_weights){.k = K, .n = N, .half = half}, M, a, K, false);
    assert_memory_equal(c, d, sizeof c);
}
#endif

static void test_cosine_loss_by_hand(void **state)
{
    /* (3,4).(4,3) = 24/25; the third vector is zero */
    const bk_real f[6] = {3, 4, 4, 3, 0, 0};
    bk_real df[6] = {0}, cosines[3];
    const uint32_t left[3] = {0, 0, 2}, right[3] = {1, 2, 2};
    const int8_t y[3] = {1, -1, 1};
    (void)state;
    double loss = bk_cosine_loss(df, cosines, f, 2, left, right, y, 3);
    assert_true(fabs(loss - (0.04 * 0.04 + 1 + 1)) < 1e-6);
    assert_true(fabs((double)cosines[0] - 0.96) < 1e-6 && cosines[1] == 0 && cosines[2] == 0);
    /* d cos / d f0 = f1 / 25 - 0.96 f0 / 25 */
    assert_true(fabs((double)df[0] - 2 * -0.04 * (4 - 0.96 * 3) / 25) < 1e-7);
    assert_true(fabs((double)df[1] - 2 * -0.04 * (3 - 0.96 * 4) / 25) < 1e-7);
    assert_true(df[4] == 0 && df[5] == 0);
    /* What is no number, or has no length that is one, is not taken for a zero vector. */
    for (int i = 0; i < 2; i++) {
        const bk_real bad[4] = {3, 4, (bk_real)(i ? INFINITY : NAN), 1};
        assert_true(isnan(bk_cosine_loss(df, NULL, bad, 2, left, right, y, 1)));
    }
}

/* Left of the first and right of the second row: (1,2).(7,8) = 23, wanted 1. */
static void test_dot_loss_by_hand(void **state)
{
    const bk_real f[8] = {1, 2, 3, 4, 5, 6, 7, 8}, expect[8] = {308, 352, 0, 0, 0, 0, 44, 88};
    bk_real df[8] = {0};
    const uint32_t left = 0, right = 1;
    const int8_t y = 1;
    (void)state;
    assert_true(bk_dot_loss(df, f, 2, &left, &right, &y, 1) == 22 * 22);
    for (size_t i = 0; i < 8; i++)
        assert_true(df[i] == expect[i]);
}

/* With every pair of one label nothing is left to tell apart; a zero vector has no gradient. */
static void test_contrast_edges(void **state)
{
    const bk_real f[8] = {1, 2, -2, 1, 0, 0, 3, 1};
    const uint32_t anchor[2] = {0, 2}, positive[2] = {1, 3}, same[2] = {4, 4}, other[2] = {4, 5};
    bk_real df[8] = {0}, scratch[64];
    (void)state;
    assert_true(bk_contrast_scratch(2, 2) <= 64);
    assert_true(bk_contrast_loss(df, f, 2, anchor, positive, same, 2, 0.1, scratch) == 0);
    for (size_t i = 0; i < 8; i++)
        assert_true(df[i] == 0);
    assert_true(bk_contrast_loss(df, f, 2, anchor, positive, other, 2, 0.1, scratch) > 0);
    assert_true(df[4] == 0 && df[5] == 0 && df[0] != 0);
}

/* Ranges and shards do not change a bit, gradients are left zero, and the first step is the rate with the gradient's sign. */
static void test_adam(void **state)
{
    enum { N = 3000 };
    struct bk_rng rng;
    (void)state;
    bk_real *at[8];
    for (size_t i = 0; i < 8; i++)
        assert_non_null(at[i] = bk_calloc(N, sizeof *at[i]));
    bk_real *p1 = at[0], *m1 = at[1], *v1 = at[2], *p2 = at[3], *m2 = at[4], *v2 = at[5], *grads[2] = {at[6], at[7]};
    bk_rng_seed(&rng, 1, 0);
    for (uint64_t step = 1; step <= 3; step++) {
        for (int run = 0; run < 2; run++) {
            bk_rng_seed(&rng, step, 5);
            for (size_t i = 0; i < N; i++) {
                grads[0][i] = (bk_real)(bk_rng_unit(&rng) - 0.25);
                grads[1][i] = (bk_real)(bk_rng_unit(&rng) - 0.75);
            }
            if (run == 0) {
                bk_adam(p1, m1, v1, grads, 2, 0, N, step, 0.001);
            } else {
                bk_adam(p2, m2, v2, grads, 2, 1024, N - 1024, step, 0.001);
                bk_adam(p2, m2, v2, grads, 2, 0, 1024, step, 0.001);
            }
            for (size_t i = 0; i < N; i++)
                assert_true(grads[0][i] == 0 && grads[1][i] == 0);
        }
        assert_memory_equal(p1, p2, N * sizeof *p1);
        for (size_t i = 0; step == 1 && i < N; i++)
            assert_true(m1[i] == 0 || fabs(fabs((double)p1[i]) - 0.001) < 1e-5 + 1e-9 / fabs((double)m1[i]));
        for (size_t i = 0; step == 1 && i < N; i++)
            assert_true(m1[i] == 0 || (m1[i] > 0) == (p1[i] < 0));
    }
    for (size_t i = 0; i < 8; i++)
        free(at[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_functions),
        cmocka_unit_test(test_ends_of_the_line),
        cmocka_unit_test(test_tables_agree),
        cmocka_unit_test(test_cosine_loss_by_hand),
        cmocka_unit_test(test_dot_loss_by_hand),
        cmocka_unit_test(test_contrast_edges),
        cmocka_unit_test(test_adam),
        cmocka_unit_test(test_products),
        cmocka_unit_test(test_brief),
#ifndef BK_REAL_DOUBLE
        cmocka_unit_test(test_half_products),
        cmocka_unit_test(test_half_fits),
        cmocka_unit_test(test_half_weights),
#endif
    };
    find_tables();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
