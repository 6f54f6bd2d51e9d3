/* The inner loop of the scan. This file is compiled once for each instruction set with BK_SCAN_KERNEL naming the table
 * it defines. A block of sums stays in registers: each vector of queries that is loaded meets all rows, each number of
 * the pool all vectors. */
#include "store/store_int.h"

#include <string.h>

#if defined(__aarch64__)
#include <arm_neon.h>
#elif defined(__AVX__)
#include <immintrin.h>
#endif

#if defined(__clang__)
#define UNROLL     _Pragma("clang loop unroll(full)")
#define UNROLL_TWO _Pragma("clang loop unroll_count(2)")
#else
#define UNROLL     _Pragma("GCC unroll 16")
#define UNROLL_TWO _Pragma("GCC unroll 2")
#endif
#define INLINE static inline __attribute__((always_inline))

/* LANES and ROWS, so that the sums of three vectors, the vectors and one number of the pool fill the registers;
 * fused(), one rounding where the processor can; splat(); not_at_most(), bit i where not (a[i] <= b[i]). */
#if defined(__AVX512F__)

enum { LANES = 16, ROWS = 9 };
typedef __m512 lanes;

INLINE lanes fused(lanes a, lanes b, lanes c)
{
    return _mm512_fmadd_ps(a, b, c);
}
INLINE lanes splat(float x)
{
    return _mm512_set1_ps(x);
}
INLINE unsigned not_at_most(lanes a, lanes b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_NLE_UQ);
}

#elif defined(__FMA__)

enum { LANES = 8, ROWS = 4 };
typedef __m256 lanes;

INLINE lanes fused(lanes a, lanes b, lanes c)
{
    return _mm256_fmadd_ps(a, b, c);
}
INLINE lanes splat(float x)
{
    return _mm256_set1_ps(x);
}
INLINE unsigned not_at_most(lanes a, lanes b)
{
    return (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_NLE_UQ));
}

#else

enum { LANES = 4 };
typedef float lanes __attribute__((vector_size(LANES * sizeof(float))));

#if defined(__aarch64__)
enum { ROWS = 8 };
INLINE lanes fused(lanes a, lanes b, lanes c)
{
    return vfmaq_f32(c, a, b);
}
#else
enum { ROWS = 3 };
INLINE lanes fused(lanes a, lanes b, lanes c)
{
    return a * b + c;
}
#endif
INLINE lanes splat(float x)
{
    return (lanes){x, x, x, x};
}
INLINE unsigned not_at_most(lanes a, lanes b)
{
    unsigned bits = 0;
    for (unsigned i = 0; i < LANES; i++)
        bits |= (unsigned)!(a[i] <= b[i]) << i;
    return bits;
}

#endif

INLINE void compare(const size_t vectors, const struct bk_scan_block *b)
{
    lanes sum[ROWS][BK_SCAN_VECTORS];
    const float *panel = b->panel, *pool = b->pool;
    const size_t dim = b->dim;
    UNROLL
    for (size_t r = 0; r < ROWS; r++) {
        UNROLL
        for (size_t v = 0; v < vectors; v++)
            sum[r][v] = splat(0);
    }
    /* By two: counting takes turns from the multiply-adds. By four clang spills. */
    UNROLL_TWO
    for (size_t d = 0; d < dim; d++, panel += vectors * LANES, pool++) {
        lanes query[BK_SCAN_VECTORS];
        UNROLL
        for (size_t v = 0; v < vectors; v++)
            memcpy(&query[v], panel + v * LANES, sizeof query[v]);
        UNROLL
        for (size_t r = 0; r < ROWS; r++) {
            lanes x = splat(pool[r * dim]);
            UNROLL
            for (size_t v = 0; v < vectors; v++)
                sum[r][v] = fused(x, query[v], sum[r][v]);
        }
    }
    lanes worst[BK_SCAN_VECTORS];
    UNROLL
    for (size_t v = 0; v < vectors; v++)
        memcpy(&worst[v], b->worst + v * LANES, sizeof worst[v]);
    UNROLL
    for (size_t r = 0; r < ROWS; r++) {
        uint64_t beyond = 0;
        UNROLL
        for (size_t v = 0; v < vectors; v++) {
            memcpy(b->scores + (r * vectors + v) * LANES, &sum[r][v], sizeof sum[r][v]);
            beyond |= (uint64_t)not_at_most(sum[r][v], worst[v]) << v * LANES;
        }
        b->beyond[r] = beyond;
    }
}

static void compare1(const struct bk_scan_block *b)
{
    compare(1, b);
}

static void compare2(const struct bk_scan_block *b)
{
    compare(2, b);
}

static void compare3(const struct bk_scan_block *b)
{
    compare(3, b);
}

const struct bk_scan_kernel BK_SCAN_KERNEL = {.lanes = LANES, .rows = ROWS, .compare = {compare1, compare2, compare3}};
