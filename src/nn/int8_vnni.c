/* Products in eight bits with AVX-512 VNNI: vpdpbusd adds four products of u8 and i8 to each of 16 sums, without saturation. */
#include "nn/nn_int.h"

#include <immintrin.h>
#include <string.h>

enum { LANES = BK_INT8_LANES };

#define INLINE static inline __attribute__((always_inline))

static __mmask16 first_lanes(size_t n)
{
    return (__mmask16)(n < LANES ? (1u << n) - 1 : 0xffff);
}

/* ---- rows to bytes ------------------------------------------------------ */

/* The conversion makes INT_MIN of NaN and of what is too small, and min takes its second operand where one is NaN. */
INLINE __m512i rounded(__m512 x, __m512 factor)
{
    return _mm512_cvtps_epi32(_mm512_min_ps(_mm512_set1_ps(127), _mm512_mul_ps(x, factor)));
}

static void quantise(uint8_t *q, const float *a, size_t lda, size_t m, size_t k, float range)
{
    const size_t row = bk_int8_row(k), k4 = row - sizeof(float);
    /* the packs interleave quarters of their operands */
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i lowest = _mm512_set1_epi8(-127), sign = _mm512_set1_epi8(-128);
    for (size_t i = 0; i < m; i++, q += row, a += lda) {
        float top = range;
        if (range == 0) {
            __m512 max0 = _mm512_setzero_ps(), max1 = max0;
            size_t p = 0;
            for (; p + 2 * LANES <= k; p += 2 * LANES) {
                max0 = _mm512_max_ps(_mm512_abs_ps(_mm512_loadu_ps(a + p)), max0);
                max1 = _mm512_max_ps(_mm512_abs_ps(_mm512_loadu_ps(a + p + LANES)), max1);
            }
            for (; p < k; p += LANES)
                max0 = _mm512_max_ps(_mm512_abs_ps(_mm512_maskz_loadu_ps(first_lanes(k - p), a + p)), max0);
            top = _mm512_reduce_max_ps(_mm512_max_ps(max0, max1));
        }
        const float step = bk_int8_step(top);
        const __m512 factor = _mm512_set1_ps(bk_int8_factor(top));
        for (size_t p = 0; p < k; p += 4 * LANES) {
            __m512i x[4];
            if (p + 4 * LANES <= k) {
                for (size_t v = 0; v < 4; v++)
                    x[v] = rounded(_mm512_loadu_ps(a + p + v * LANES), factor);
            } else {
                for (size_t v = 0; v < 4; v++) {
                    const size_t left = k - p > v * LANES ? k - p - v * LANES : 0;
                    x[v] = rounded(_mm512_maskz_loadu_ps(first_lanes(left), a + (left ? p + v * LANES : 0)), factor);
                }
            }
            __m512i b = _mm512_packs_epi16(_mm512_packs_epi32(x[0], x[1]), _mm512_packs_epi32(x[2], x[3]));
            b = _mm512_xor_si512(_mm512_max_epi8(b, lowest), sign);
            b = _mm512_permutexvar_epi32(order, b);
            if (p + 4 * LANES <= k4)
                _mm512_storeu_si512(q + p, b);
            else
                _mm512_mask_storeu_epi8(q + p, ((__mmask64)1 << (k4 - p)) - 1, b);
        }
        memcpy(q + k4, &step, sizeof step);
    }
}

/* ---- product ------------------------------------------------------------ */

struct place {
    float *c;
    size_t ldc;
    const uint8_t *q;
    size_t row; /* bytes */
    size_t groups;
    const int8_t *panel;
    const float *scale;
    const int32_t *start;
    bool add;
    __mmask16 last; /* columns of the last vector */
};

INLINE int32_t four_bytes(const uint8_t *p)
{
    int32_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

/* The sums are variables with names, since gcc keeps an array of them in memory. X is said for each row of a tile. */
#define EACH_ROW(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13)
#define PICK(i, v)                                                                                                     \
    ((i) == 1    ? s1_##v                                                                                              \
     : (i) == 2  ? s2_##v                                                                                              \
     : (i) == 3  ? s3_##v                                                                                              \
     : (i) == 4  ? s4_##v                                                                                              \
     : (i) == 5  ? s5_##v                                                                                              \
     : (i) == 6  ? s6_##v                                                                                              \
     : (i) == 7  ? s7_##v                                                                                              \
     : (i) == 8  ? s8_##v                                                                                              \
     : (i) == 9  ? s9_##v                                                                                              \
     : (i) == 10 ? s10_##v                                                                                             \
                 : s11_##v)

/* Every third row has a pointer, and those between are one and two distances away: so few registers hold all addresses. */
#define AT(r)                                                                                                          \
    (((r) / 3 == 0 ? q0 : (r) / 3 == 1 ? q1 : (r) / 3 == 2 ? q2 : (r) / 3 == 3 ? q3 : q4) + (size_t)((r) % 3) * row)

#define BEGIN(i)                                                                                                       \
    __m512i s##i##_0 = (i) < mr ? first0 : zero, s##i##_1 = (i) < mr ? first1 : zero,                                  \
            s##i##_2 = (i) < mr ? first2 : zero;
#define ADD(i)                                                                                                         \
    if ((i) < rows) {                                                                                                  \
        if ((i) % mr == 0) {                                                                                           \
            const int8_t *w = panel + (skip + (i) / mr) * nv * 4 * LANES;                                              \
            w0 = _mm512_load_si512(w);                                                                                 \
            w1 = nv > 1 ? _mm512_load_si512(w + 4 * LANES) : zero;                                                     \
            w2 = nv > 2 ? _mm512_load_si512(w + 8 * LANES) : zero;                                                     \
        }                                                                                                              \
        const __m512i x = _mm512_set1_epi32(four_bytes(AT((i) % mr) + 4 * (skip + (i) / mr)));                         \
        s##i##_0 = _mm512_dpbusd_epi32(s##i##_0, x, w0);                                                               \
        if (nv > 1)                                                                                                    \
            s##i##_1 = _mm512_dpbusd_epi32(s##i##_1, x, w1);                                                           \
        if (nv > 2)                                                                                                    \
            s##i##_2 = _mm512_dpbusd_epi32(s##i##_2, x, w2);                                                           \
    }
#define FOLD(i)                                                                                                        \
    if ((i) < half) {                                                                                                  \
        s##i##_0 = _mm512_add_epi32(s##i##_0, PICK((i) + half, 0));                                                    \
        s##i##_1 = _mm512_add_epi32(s##i##_1, PICK((i) + half, 1));                                                    \
        s##i##_2 = _mm512_add_epi32(s##i##_2, PICK((i) + half, 2));                                                    \
    }
/* All of C is read before any of it is written: a masked store delays every load that its whole vector overlaps. */
#define RESULT(i)                                                                                                      \
    if ((i) < mr) {                                                                                                    \
        const float *c = at->c + (size_t)(i)*at->ldc;                                                                  \
        const __m512 by = _mm512_castsi512_ps(_mm512_set1_epi32(four_bytes(AT((i) % mr))));                            \
        s##i##_0 = result(c, s##i##_0, _mm512_mul_ps(scale0, by), nv == 1 ? old & at->last : old);                     \
        if (nv > 1)                                                                                                    \
            s##i##_1 = result(c + LANES, s##i##_1, _mm512_mul_ps(scale1, by), nv == 2 ? old & at->last : old);         \
        if (nv > 2)                                                                                                    \
            s##i##_2 = result(c + 2 * LANES, s##i##_2, _mm512_mul_ps(scale2, by), old & at->last);                     \
    }
#define STORE(i)                                                                                                       \
    if ((i) < mr) {                                                                                                    \
        float *c = at->c + (size_t)(i)*at->ldc;                                                                        \
        _mm512_mask_storeu_epi32(c, nv == 1 ? at->last : 0xffff, s##i##_0);                                            \
        if (nv > 1)                                                                                                    \
            _mm512_mask_storeu_epi32(c + LANES, nv == 2 ? at->last : 0xffff, s##i##_1);                                \
        if (nv > 2)                                                                                                    \
            _mm512_mask_storeu_epi32(c + 2 * LANES, at->last, s##i##_2);                                               \
    }
#define ADVANCE(n)                                                                                                     \
    do {                                                                                                               \
        panel += (n)*nv * 4 * LANES;                                                                                   \
        q0 += 4 * (n);                                                                                                 \
        q1 += 4 * (n);                                                                                                 \
        q2 += 4 * (n);                                                                                                 \
        q3 += 4 * (n);                                                                                                 \
        q4 += 4 * (n);                                                                                                 \
    } while (0)

INLINE __m512i result(const float *c, __m512i sum, __m512 by, __mmask16 old)
{
    const __m512 x = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), by);
    __m512i y = _mm512_castps_si512(_mm512_add_ps(_mm512_maskz_loadu_ps(old, c), x));
    __asm__ volatile("" : "+v"(y)); /* or gcc begins all rows before it ends one, and spills */
    return y;
}

typedef void tile_fn(const struct place *at);
/* MR rows by NV vectors of C. Two vpdpbusd begin in a cycle and take five: few sums are split into chains, over every second or
 * fourth group. The pointers end at the steps of their rows. A macro, since branches on constants are gone before any compiler
 * or sanitizer works on them. */
#define TILE(MR, NV)                                                                                                   \
    static void tile_##MR##_##NV(const struct place *at)                                                               \
    {                                                                                                                  \
        enum { mr = MR, nv = NV, chains = mr * nv <= 3 ? 4 : mr * nv <= 6 ? 2 : 1, unroll = chains > 1 ? 1 : 2 };      \
        const size_t row = at->row;                                                                                    \
        const uint8_t *q0 = at->q, *q1 = q0 + 3 * row, *q2 = q1 + 3 * row, *q3 = q2 + 3 * row, *q4 = q3 + 3 * row;     \
        const int8_t *panel = at->panel;                                                                               \
        const __m512i zero = _mm512_setzero_si512();                                                                   \
        __m512i w0 = zero, w1 = zero, w2 = zero;                                                                       \
        const __m512i first0 = _mm512_load_si512(at->start),                                                           \
                      first1 = nv > 1 ? _mm512_load_si512(at->start + LANES) : zero,                                   \
                      first2 = nv > 2 ? _mm512_load_si512(at->start + 2 * LANES) : zero;                               \
        EACH_ROW(BEGIN)                                                                                                \
        size_t left = at->groups;                                                                                      \
        for (; left >= (size_t)(chains * unroll); left -= (size_t)(chains * unroll)) {                                 \
            enum { rows = mr * chains };                                                                               \
            {                                                                                                          \
                enum { skip = 0 };                                                                                     \
                EACH_ROW(ADD)                                                                                          \
            }                                                                                                          \
            if (unroll > 1) {                                                                                          \
                enum { skip = 1 };                                                                                     \
                EACH_ROW(ADD)                                                                                          \
            }                                                                                                          \
            ADVANCE(chains *unroll);                                                                                   \
        }                                                                                                              \
        for (; left > 0; left--) {                                                                                     \
            enum { rows = mr, skip = 0 };                                                                              \
            EACH_ROW(ADD)                                                                                              \
            ADVANCE(1);                                                                                                \
        }                                                                                                              \
        if (chains == 4) {                                                                                             \
            enum { half = 2 * mr };                                                                                    \
            EACH_ROW(FOLD)                                                                                             \
        }                                                                                                              \
        if (chains > 1) {                                                                                              \
            enum { half = mr };                                                                                        \
            EACH_ROW(FOLD)                                                                                             \
        }                                                                                                              \
        const __m512 scale0 = _mm512_load_ps(at->scale), scale1 = nv > 1 ? _mm512_load_ps(at->scale + LANES) : scale0, \
                     scale2 = nv > 2 ? _mm512_load_ps(at->scale + 2 * LANES) : scale0;                                 \
        const __mmask16 old = at->add ? 0xffff : 0;                                                                    \
        EACH_ROW(RESULT)                                                                                               \
        EACH_ROW(STORE)                                                                                                \
    }
#define NINE(nv)                                                                                                       \
    TILE(1, nv) TILE(2, nv) TILE(3, nv) TILE(4, nv) TILE(5, nv) TILE(6, nv) TILE(7, nv) TILE(8, nv) TILE(9, nv)
#define FIVE(nv) TILE(10, nv) TILE(11, nv) TILE(12, nv) TILE(13, nv) TILE(14, nv)
NINE(1)
FIVE(1)
NINE(2)
FIVE(2)
NINE(3)
#define NAMES_NINE(nv)                                                                                                 \
    tile_1_##nv, tile_2_##nv, tile_3_##nv, tile_4_##nv, tile_5_##nv, tile_6_##nv, tile_7_##nv, tile_8_##nv, tile_9_##nv
#define NAMES_FIVE(nv) tile_10_##nv, tile_11_##nv, tile_12_##nv, tile_13_##nv, tile_14_##nv
static tile_fn *const tiles[3][14] = {{NAMES_NINE(1), NAMES_FIVE(1)}, {NAMES_NINE(2), NAMES_FIVE(2)}, {NAMES_NINE(3)}};
/* Rows at most: with the vectors of a panel and a broadcast the sums fill the 32 registers. */
static const size_t tallest[3] = {14, 14, 9};

static void product(float *c, size_t ldc, size_t m, const uint8_t *q, const struct bk_int8_weights *w, bool add)
{
    const struct bk_int8_view view = bk_int8_view(w);
    const size_t vectors = (w->n + LANES - 1) / LANES;
    struct place at = {.ldc = ldc,
                       .row = bk_int8_row(w->k),
                       .groups = view.groups,
                       .panel = view.panel,
                       .scale = view.scale,
                       .start = view.start,
                       .add = add};
    for (size_t j = 0, wide; j < vectors; j += wide) {
        wide = bk_int8_panel(vectors - j);
        at.last = first_lanes(w->n - (j + wide - 1) * LANES);
        /* tiles of nearly one height, so that none is too low for the pipeline */
        const size_t n_tiles = (m + tallest[wide - 1] - 1) / tallest[wide - 1];
        size_t i = 0;
        for (size_t t = 0; t < n_tiles; t++) {
            const size_t rows = (m - i) / (n_tiles - t);
            at.c = c + i * ldc + j * LANES;
            at.q = q + i * at.row;
            tiles[wide - 1][rows - 1](&at);
            i += rows;
        }
        at.panel += at.groups * wide * 4 * LANES;
        at.scale += wide * LANES;
        at.start += wide * LANES;
    }
}

const struct bk_int8_kernels bk_int8_vnni = {.quantise = quantise, .product = product};
