/* Products. A stripe is a few vectors of columns of B, laid out so that the inner loop reads it front to back; its sums stay in
 * registers while the rows of A are broadcast from where they are. This file is compiled once for each instruction set,
 * with BK_PRODUCTS naming the table it defines. Each number of C is one chain of fused multiply-adds over k in order: it
 * depends neither on the other rows nor on their number. */
#include "nn/nn_int.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#if defined(__AVX512F__)
enum { VECTOR_BYTES = 64, REGISTERS = 32 };
#elif defined(__AVX2__)
enum { VECTOR_BYTES = 32, REGISTERS = 16 };
#elif defined(__aarch64__)
enum { VECTOR_BYTES = 16, REGISTERS = 32 };
#else
enum { VECTOR_BYTES = 16, REGISTERS = 16 };
#endif

enum {
    LANES = VECTOR_BYTES / sizeof(bk_real),
    WIDE = 4, /* vectors of a stripe at most */
    STRIPE = WIDE * LANES,
    DEEP = 128,     /* of k at a time: a stripe of that depth stays in the caches near the core */
    TALL = 48,      /* rows of A that meet a block of stripes before the next rows come */
    FEW = 4,        /* rows of A for which weights are not widened beforehand */
    PACKED = 16384, /* numbers of B that are laid out or widened at a time */
    SHARED = 65536  /* numbers of B that all rows of A meet before the next: they stay in the second-level cache */
};

/* Numbers of any alignment. */
typedef bk_real lanes __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(bk_real)), may_alias));

#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

/* sum += row * x, rounded once where the processor can. Said outright, since a compiler that may choose does not choose alike for every
 * number of rows. */
#if defined(__AVX512F__) && defined(BK_REAL_DOUBLE)
#define FUSE(sum, row, x) ((sum) = (lanes)_mm512_fmadd_pd((__m512d)(row), _mm512_set1_pd(x), (__m512d)(sum)))
#elif defined(__AVX512F__)
#define FUSE(sum, row, x) ((sum) = (lanes)_mm512_fmadd_ps((__m512)(row), _mm512_set1_ps(x), (__m512)(sum)))
#elif defined(__AVX2__) && defined(BK_REAL_DOUBLE)
#define FUSE(sum, row, x) ((sum) = (lanes)_mm256_fmadd_pd((__m256d)(row), _mm256_set1_pd(x), (__m256d)(sum)))
#elif defined(__AVX2__)
#define FUSE(sum, row, x) ((sum) = (lanes)_mm256_fmadd_ps((__m256)(row), _mm256_set1_ps(x), (__m256)(sum)))
#elif defined(__aarch64__) && defined(BK_REAL_DOUBLE)
#define FUSE(sum, row, x) ((sum) = (lanes)vfmaq_n_f64((float64x2_t)(sum), (float64x2_t)(row), x))
#elif defined(__aarch64__)
#define FUSE(sum, row, x) ((sum) = (lanes)vfmaq_n_f32((float32x4_t)(sum), (float32x4_t)(row), x))
#else
#define FUSE(sum, row, x) ((sum) += (row) * (x))
#endif

/* Where the processor widens binary16 by itself: whole vectors from there and to there. */
#if defined(__AVX512F__) && !defined(BK_REAL_DOUBLE)
#define WIDEN(half)     ((lanes)_mm512_cvtph_ps(_mm256_loadu_si256((const void *)(half))))
#define NARROW(half, x) _mm256_storeu_si256((void *)(half), _mm512_cvtps_ph((__m512)(x), _MM_FROUND_TO_NEAREST_INT))
#elif defined(__AVX2__) && !defined(BK_REAL_DOUBLE)
#define WIDEN(half)     ((lanes)_mm256_cvtph_ps(_mm_loadu_si128((const void *)(half))))
#define NARROW(half, x) _mm_storeu_si128((void *)(half), _mm256_cvtps_ph((__m256)(x), _MM_FROUND_TO_NEAREST_INT))
#elif defined(__aarch64__) && !defined(BK_REAL_DOUBLE)
#define WIDEN(half)     ((lanes)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(half))))
#define NARROW(half, x) vst1_u16(half, vreinterpret_u16_f16(vcvt_f16_f32((float32x4_t)(x))))
#endif

/* Which row of op(A)'s columns and of B comes p-th: p itself, or where `row` sends it. */
struct walk {
    const uint32_t *row;
    size_t shift;
};

/* Rows of A at once: as many as leave registers for the stripe's vectors and the broadcast. */
#define ROWS(nv) ((REGISTERS - (nv)-1) / (nv) < 12 ? (REGISTERS - (nv)-1) / (nv) : 12)

/* C's rows [0, mr) of nv vectors of a stripe whose rows are ldb apart, the last with `tail` columns when it is `cut`. */
static inline __attribute__((always_inline)) void tile(const int mr, const int nv, const bool cut, const bool jump,
                                                       struct walk walk, size_t tail, size_t k, const bk_real *a,
                                                       size_t rs, size_t cs, const bk_real *b, size_t ldb, bool add,
                                                       bk_real *c, size_t ldc)
{
    lanes sum[12][WIDE];
    bk_real part[LANES] = {0};
    const int whole = cut ? nv - 1 : nv;
    UNROLL
    for (int i = 0; i < mr; i++) {
        UNROLL
        for (int v = 0; v < nv; v++) {
            if (!add) {
                sum[i][v] = (lanes){0};
            } else if (v < whole) {
                sum[i][v] = *(const lanes *)(c + (size_t)i * ldc + v * LANES);
            } else {
                for (size_t l = 0; l < tail; l++)
                    part[l] = c[(size_t)i * ldc + (size_t)v * LANES + l];
                sum[i][v] = *(const lanes *)part;
            }
        }
    }
    for (size_t p = 0; p < k; p++) {
        lanes row[WIDE];
        size_t at = jump ? walk.row[p] + walk.shift : p;
        UNROLL
        for (int v = 0; v < nv; v++)
            row[v] = *(const lanes *)(b + at * ldb + (size_t)v * LANES);
        UNROLL
        for (int i = 0; i < mr; i++) {
            bk_real x = a[(size_t)i * rs + at * cs];
            UNROLL
            for (int v = 0; v < nv; v++)
                FUSE(sum[i][v], row[v], x);
        }
    }
    UNROLL
    for (int i = 0; i < mr; i++) {
        UNROLL
        for (int v = 0; v < nv; v++) {
            if (v < whole) {
                *(lanes *)(c + (size_t)i * ldc + v * LANES) = sum[i][v];
            } else {
                *(lanes *)part = sum[i][v];
                for (size_t l = 0; l < tail; l++)
                    c[(size_t)i * ldc + (size_t)v * LANES + l] = part[l];
            }
        }
    }
}

static inline __attribute__((always_inline)) void stripe(const int mr, const int nv, const bool cut, const bool jump,
                                                         struct walk walk, size_t tail, size_t m, size_t k,
                                                         const bk_real *a, size_t rs, size_t cs, const bk_real *b,
                                                         size_t ldb, bool add, bk_real *c, size_t ldc)
{
    const int half = mr / 2 > 2 ? mr / 2 : 2;
    size_t i = 0;
    for (; i + (size_t)mr <= m; i += (size_t)mr)
        tile(mr, nv, cut, jump, walk, tail, k, a + i * rs, rs, cs, b, ldb, add, c + i * ldc, ldc);
    for (; i + (size_t)half <= m; i += (size_t)half)
        tile(half, nv, cut, jump, walk, tail, k, a + i * rs, rs, cs, b, ldb, add, c + i * ldc, ldc);
    for (; i < m; i++)
        tile(1, nv, cut, jump, walk, tail, k, a + i * rs, rs, cs, b, ldb, add, c + i * ldc, ldc);
}

typedef void stripe_fn(size_t tail, size_t m, size_t k, const bk_real *a, size_t rs, size_t cs, const bk_real *b,
                       size_t ldb, bool add, bk_real *c, size_t ldc);

#define STRIPE_FN(nv, cut)                                                                                             \
    static void stripe_##nv##_##cut(size_t tail, size_t m, size_t k, const bk_real *a, size_t rs, size_t cs,           \
                                    const bk_real *b, size_t ldb, bool add, bk_real *c, size_t ldc)                    \
    {                                                                                                                  \
        stripe(ROWS(nv), nv, cut, false, (struct walk){0}, tail, m, k, a, rs, cs, b, ldb, add, c, ldc);                \
    }
STRIPE_FN(1, 0)
STRIPE_FN(2, 0)
STRIPE_FN(3, 0)
STRIPE_FN(4, 0)
STRIPE_FN(1, 1)
STRIPE_FN(2, 1)
STRIPE_FN(3, 1)
STRIPE_FN(4, 1)
static stripe_fn *const stripes[2][WIDE] = {{stripe_1_0, stripe_2_0, stripe_3_0, stripe_4_0},
                                            {stripe_1_1, stripe_2_1, stripe_3_1, stripe_4_1}};

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Columns of the stripe that begins at column j of n. */
static size_t stripe_width(size_t n, size_t j)
{
    return smaller(STRIPE, bk_padded(n) - j);
}

/* One stripe: columns [0, have) of op(B), then zeros up to `width`. */
static void pack_stripe(bk_real *out, enum bk_op t, const bk_real *b, size_t ldb, size_t k, size_t have, size_t width)
{
    enum { SQUARE = 16 }; /* rows at a time, so that both sides of a transposition stay in the cache */
    for (size_t from = 0; from < k; from += SQUARE) {
        size_t end = smaller(k, from + SQUARE);
        if (t == BK_T)
            for (size_t j = 0; j < have; j++)
                for (size_t p = from; p < end; p++)
                    out[p * width + j] = b[j * ldb + p];
        for (size_t p = from; p < end; p++) {
            if (t == BK_N)
                memcpy(out + p * width, b + p * ldb, have * sizeof *out);
            memset(out + p * width + have, 0, (width - have) * sizeof *out);
        }
    }
}

static void pack(bk_real *out, enum bk_op t, const bk_real *b, size_t ldb, size_t k, size_t n)
{
    for (size_t j = 0; j < bk_padded(n); j += STRIPE) {
        size_t width = stripe_width(n, j), have = j < n ? smaller(width, n - j) : 0;
        pack_stripe(out, t, t == BK_T ? b + j * ldb : b + j, ldb, k, have, width);
        out += k * width;
    }
}

struct product {
    size_t m, n, rs, cs, ldc;
    const bk_real *a;
    bk_real *c;
};

/* Columns [from, to) of C += A's columns [p, p + deep) times rows [p, p + deep) of `panels`, whose stripes are k deep and begin with
 * the one of column `from`. */
static void block(const struct product *x, size_t from, size_t to, size_t p, size_t deep, const bk_real *panels,
                  size_t k, size_t skip, bool add)
{
    for (size_t i = 0; i < x->m; i += TALL)
        for (size_t j = from; j < to; j += STRIPE) {
            size_t columns = smaller(STRIPE, x->n - j), nv = (columns + LANES - 1) / LANES, tail = columns % LANES;
            size_t width = stripe_width(x->n, j);
            stripes[tail != 0][nv - 1](tail, smaller(TALL, x->m - i), deep, x->a + i * x->rs + p * x->cs, x->rs, x->cs,
                                       panels + k * (j - from) + skip * width, width, add, x->c + i * x->ldc + j,
                                       x->ldc);
        }
}

/* Columns of C at a time when B has `deep` rows and `numbers` of it may be in use; whole stripes, padded or not. */
static size_t at_a_time(size_t numbers, size_t deep)
{
    const size_t step = bk_padded(STRIPE);
    return deep && numbers / deep > step ? numbers / deep / step * step : step;
}

static struct product product_of(enum bk_op t, size_t m, size_t n, const bk_real *a, size_t lda, bk_real *c, size_t ldc)
{
    return (struct product){
        .m = m, .n = n, .rs = t == BK_T ? 1 : lda, .cs = t == BK_T ? lda : 1, .ldc = ldc, .a = a, .c = c};
}

static void gemm_panels(enum bk_op t, size_t m, size_t n, size_t k, const bk_real *a, size_t lda, const bk_real *panels,
                        bool add, bk_real *c, size_t ldc)
{
    const struct product x = product_of(t, m, n, a, lda, c, ldc);
    size_t p = 0;
    do { /* once where k is 0 */
        size_t deep = smaller(DEEP, k - p), wide = at_a_time(SHARED, deep);
        for (size_t j = 0; j < n; j += wide)
            block(&x, j, smaller(n, j + wide), p, deep, panels + k * j, k, p, add || p > 0);
        p += deep;
    } while (p < k);
}

static void gemm(enum bk_op ta, enum bk_op tb, size_t m, size_t n, size_t k, const bk_real *a, size_t lda,
                 const bk_real *b, size_t ldb, bool add, bk_real *c, size_t ldc)
{
    _Alignas(64) bk_real panels[PACKED];
    const struct product x = product_of(ta, m, n, a, lda, c, ldc);
    size_t p = 0;
    do {
        size_t deep = smaller(DEEP, k - p), wide = at_a_time(PACKED, deep);
        for (size_t j = 0; j < n; j += wide) {
            size_t to = smaller(n, j + wide);
            pack(panels, tb, tb == BK_T ? b + j * ldb + p : b + p * ldb + j, ldb, deep, to - j);
            block(&x, j, to, p, deep, panels, deep, 0, add || p > 0);
        }
        p += deep;
    } while (p < k);
}

/* ---- weights in binary16 ---- */

#ifdef WIDEN
/* `n` numbers, whole vectors. False: one of them is not a binary16 number. */
static bool narrow(uint16_t *out, const bk_real *in, size_t n)
{
    typedef int32_t bits __attribute__((vector_size(VECTOR_BYTES)));
    bits lost = {0};
    int32_t any = 0;
    for (size_t i = 0; i < n; i += LANES) {
        lanes x = *(const lanes *)(in + i);
        NARROW(out + i, x);
        lost |= (bits)x ^ (bits)WIDEN(out + i);
    }
    for (size_t l = 0; l < LANES; l++)
        any |= lost[l];
    return any == 0;
}

static void widen(bk_real *out, const uint16_t *in, size_t n)
{
    for (size_t i = 0; i < n; i += LANES)
        *(lanes *)(out + i) = WIDEN(in + i);
}

static bool pack_half(uint16_t *out, enum bk_op t, const bk_real *b, size_t ldb, size_t k, size_t n)
{
    enum { PART = 32 }; /* rows at a time */
    _Alignas(64) bk_real part[PART * STRIPE];
    for (size_t j = 0; j < bk_padded(n); j += STRIPE) {
        size_t width = stripe_width(n, j), have = j < n ? smaller(width, n - j) : 0;
        for (size_t p = 0; p < k; p += PART) {
            size_t rows = smaller(PART, k - p);
            pack_stripe(part, t, t == BK_T ? b + j * ldb + p : b + p * ldb + j, ldb, rows, have, width);
            if (!narrow(out, part, rows * width))
                return false;
            out += rows * width;
        }
    }
    return true;
}

/* One row of C in one stripe: weights are widened on their way to the sums, and asked for early, since the processor's own looking
 * ahead ends with each page. */
static inline __attribute__((always_inline)) void half_sums(const int nv, size_t k, const bk_real *a,
                                                            const uint16_t *panel, bool add, bk_real *c)
{
    enum { AHEAD = 1024, LINE = 32 }; /* numbers */
    lanes sum[WIDE];
    UNROLL
    for (int v = 0; v < nv; v++)
        sum[v] = add ? *(const lanes *)(c + v * LANES) : (lanes){0};
    for (size_t p = 0; p < k; p++, panel += nv * LANES) {
        UNROLL
        for (int v = 0; v < nv; v++) {
            FUSE(sum[v], WIDEN(panel + v * LANES), a[p]);
            if (v * LANES % LINE == 0)
                __builtin_prefetch(panel + v * LANES + AHEAD);
        }
    }
    UNROLL
    for (int v = 0; v < nv; v++)
        *(lanes *)(c + v * LANES) = sum[v];
}

#define HALF_FN(nv)                                                                                                    \
    static void half_##nv(size_t k, const bk_real *a, const uint16_t *panel, bool add, bk_real *c)                     \
    {                                                                                                                  \
        half_sums(nv, k, a, panel, add, c);                                                                            \
    }
HALF_FN(1)
HALF_FN(2)
HALF_FN(3)
HALF_FN(4)
typedef void half_fn(size_t k, const bk_real *a, const uint16_t *panel, bool add, bk_real *c);
static half_fn *const halves[WIDE] = {half_1, half_2, half_3, half_4};

/* Rows one after the other meet a stripe while it is in the second-level cache. */
static void few_rows(const struct product *x, size_t k, const uint16_t *panels, bool add)
{
    for (size_t j = 0; j < x->n; j += STRIPE)
        for (size_t i = 0; i < x->m; i++)
            halves[stripe_width(x->n, j) / LANES - 1](k, x->a + i * x->rs, panels + k * j, add, x->c + i * x->ldc + j);
}

/* Parts of the panels are widened once and meet all rows. */
static void many_rows(const struct product *x, size_t k, const uint16_t *panels, bool add)
{
    _Alignas(64) bk_real part[PACKED];
    size_t p = 0;
    do {
        size_t deep = smaller(DEEP, k - p), wide = at_a_time(PACKED, deep);
        for (size_t j = 0; j < x->n; j += wide) {
            size_t to = smaller(x->n, j + wide);
            for (size_t from = j; from < to; from += STRIPE) {
                size_t width = stripe_width(x->n, from);
                widen(part + deep * (from - j), panels + k * from + p * width, deep * width);
            }
            block(x, j, to, p, deep, part, deep, 0, add || p > 0);
        }
        p += deep;
    } while (p < k);
}

static void gemm_half(size_t m, size_t n, size_t k, const bk_real *a, size_t lda, const uint16_t *panels, bool add,
                      bk_real *c, size_t ldc)
{
    const struct product x = product_of(BK_N, m, n, a, lda, c, ldc);
    if (m <= FEW)
        few_rows(&x, k, panels, add);
    else
        many_rows(&x, k, panels, add);
}
#endif

/* ---- sums over rows ---- */

/* Hops of attention at once: they come by the ten. */
#define HOPS 5

#define SUMS_FN(nv, cut)                                                                                               \
    static void sums_##nv##_##cut(struct walk walk, size_t tail, size_t m, size_t k, const bk_real *a, size_t lda,     \
                                  const bk_real *b, size_t ldb, bk_real *c, size_t ldc)                                \
    {                                                                                                                  \
        stripe(HOPS, nv, cut, true, walk, tail, m, k, a, 1, lda, b, ldb, false, c, ldc);                               \
    }
SUMS_FN(1, 0)
SUMS_FN(2, 0)
SUMS_FN(3, 0)
SUMS_FN(4, 0)
SUMS_FN(1, 1)
SUMS_FN(2, 1)
SUMS_FN(3, 1)
SUMS_FN(4, 1)

typedef void sums_fn(struct walk walk, size_t tail, size_t m, size_t k, const bk_real *a, size_t lda, const bk_real *b,
                     size_t ldb, bk_real *c, size_t ldc);
static sums_fn *const all_sums[2][WIDE] = {{sums_1_0, sums_2_0, sums_3_0, sums_4_0},
                                           {sums_1_1, sums_2_1, sums_3_1, sums_4_1}};

static void sums(bk_real *c, size_t ldc, size_t m, size_t n, const bk_real *a, size_t lda, const bk_real *b, size_t ldb,
                 const uint32_t *row, size_t shift, size_t k)
{
    const struct walk walk = {row, shift};
    for (size_t j = 0; j < n; j += STRIPE) {
        size_t columns = smaller(STRIPE, n - j), tail = columns % LANES;
        all_sums[tail != 0][(columns + LANES - 1) / LANES - 1](walk, tail, m, k, a, lda, b + j, ldb, c + j, ldc);
    }
}

const struct bk_products BK_PRODUCTS = {
    .pack = pack,
    .gemm_panels = gemm_panels,
#ifdef WIDEN
    .pack_half = pack_half,
    .gemm_half = gemm_half,
#endif
    .gemm = gemm,
    .sums = sums,
};
