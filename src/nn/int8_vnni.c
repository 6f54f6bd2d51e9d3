/* Products in eight bits with AVX-512 VNNI: vpdpbusd adds four products of u8 and i8 to each of 16 sums, without saturation. */
#include "nn/nn_int.h"

#include <immintrin.h>
#include <string.h>

enum { LANES = BK_INT8_LANES };

#define INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

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

static float largest(const float *a, size_t k)
{
    __m512 max0 = _mm512_setzero_ps(), max1 = max0;
    size_t p = 0;
    for (; p + 2 * LANES <= k; p += 2 * LANES) {
        max0 = _mm512_max_ps(_mm512_abs_ps(_mm512_loadu_ps(a + p)), max0);
        max1 = _mm512_max_ps(_mm512_abs_ps(_mm512_loadu_ps(a + p + LANES)), max1);
    }
    for (; p < k; p += LANES)
        max0 = _mm512_max_ps(_mm512_abs_ps(_mm512_maskz_loadu_ps(first_lanes(k - p), a + p)), max0);
    return _mm512_reduce_max_ps(_mm512_max_ps(max0, max1));
}

static void quantise(uint8_t *q, const float *a, size_t lda, size_t m, size_t k)
{
    const size_t row = bk_int8_row(k), k4 = row - sizeof(float);
    /* the packs interleave quarters of their operands */
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i lowest = _mm512_set1_epi8(-127), sign = _mm512_set1_epi8(-128);
    for (size_t i = 0; i < m; i++, q += row, a += lda) {
        const float range = bk_int8_range(largest(a, k));
        const __m512 factor = _mm512_set1_ps(bk_int8_factor(range));
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
        memcpy(q + k4, &range, sizeof range);
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
    bool own; /* range of each row, behind its groups */
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
#define RESULT(i)                                                                                                      \
    if ((i) < mr) {                                                                                                    \
        s##i##_0 = times(_mm512_cvtepi32_ps(s##i##_0), scale0);                                                        \
        s##i##_1 = nv > 1 ? times(_mm512_cvtepi32_ps(s##i##_1), scale1) : zero;                                        \
        s##i##_2 = nv > 2 ? times(_mm512_cvtepi32_ps(s##i##_2), scale2) : zero;                                        \
    }
#define RANGE(i)                                                                                                       \
    if ((i) < mr) {                                                                                                    \
        const __m512 range = _mm512_castsi512_ps(_mm512_set1_epi32(four_bytes(AT((i) % mr))));                         \
        s##i##_0 = times(_mm512_castsi512_ps(s##i##_0), range);                                                        \
        s##i##_1 = times(_mm512_castsi512_ps(s##i##_1), range);                                                        \
        s##i##_2 = times(_mm512_castsi512_ps(s##i##_2), range);                                                        \
    }
#define STORE(i)                                                                                                       \
    if ((i) < mr) {                                                                                                    \
        float *c = at->c + (size_t)(i)*at->ldc;                                                                        \
        _mm512_storeu_si512(c, s##i##_0);                                                                              \
        if (nv > 1)                                                                                                    \
            _mm512_storeu_si512(c + LANES, s##i##_1);                                                                  \
        if (nv > 2)                                                                                                    \
            _mm512_storeu_si512(c + 2 * LANES, s##i##_2);                                                              \
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

INLINE __m512i times(__m512 x, __m512 y)
{
    return _mm512_castps_si512(_mm512_mul_ps(x, y));
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
        EACH_ROW(RESULT)                                                                                               \
        if (at->own) {                                                                                                 \
            EACH_ROW(RANGE)                                                                                            \
        }                                                                                                              \
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

static void product(float *c, size_t ldc, size_t m, struct bk_int8_rows a, const struct bk_int8_weights *w)
{
    const struct bk_int8_view view = bk_int8_view(w);
    const size_t vectors = bk_padded(w->n) / LANES;
    struct place at = {.ldc = ldc,
                       .row = a.ld,
                       .groups = view.groups,
                       .panel = view.panel,
                       .scale = view.scale,
                       .start = view.start,
                       .own = a.own};
    for (size_t j = 0, wide; j < vectors; j += wide) {
        wide = bk_int8_panel(vectors - j);
        /* tiles of nearly one height, so that none is too low for the pipeline */
        const size_t n_tiles = (m + tallest[wide - 1] - 1) / tallest[wide - 1];
        size_t i = 0;
        for (size_t t = 0; t < n_tiles; t++) {
            const size_t rows = (m - i) / (n_tiles - t);
            at.c = c + i * ldc + j * LANES;
            at.q = a.q + i * at.row;
            tiles[wide - 1][rows - 1](&at);
            i += rows;
        }
        at.panel += at.groups * wide * 4 * LANES;
        at.scale += wide * LANES;
        at.start += wide * LANES;
    }
}

/* ---- the GRU ------------------------------------------------------------ */

/* A function in pieces: both halves of the table of each coefficient. */
struct pieces {
    __m512 end, scale, low[3], high[3];
};

static struct pieces tanh_pieces(void)
{
    struct pieces p = {.end = _mm512_set1_ps(BK_PIECES_END), .scale = _mm512_set1_ps(BK_PIECES_SCALE)};
    for (size_t k = 0; k < 3; k++) {
        p.low[k] = _mm512_loadu_ps(bk_pieces[k]);
        p.high[k] = _mm512_loadu_ps(bk_pieces[k] + LANES);
    }
    return p;
}

static struct pieces sigmoid_pieces(void)
{
    struct pieces p = tanh_pieces();
    p.end = _mm512_set1_ps(2 * BK_PIECES_END);
    p.scale = _mm512_set1_ps(BK_PIECES_SCALE / 2);
    for (size_t k = 0; k < 3; k++) {
        const __m512 by = _mm512_set1_ps(k == 0 ? 0.5f : k == 1 ? 0.25f : 0.125f);
        const __m512 plus = _mm512_set1_ps(k == 0 ? 0.5f : 0);
        p.low[k] = _mm512_fmadd_ps(p.low[k], by, plus); /* times a power of two: nothing to round */
        p.high[k] = _mm512_fmadd_ps(p.high[k], by, plus);
    }
    return p;
}

INLINE __m512 by_pieces(__m512 x, const struct pieces *p)
{
    enum { SMALLER_SIZE = 2 }; /* the sign stays that of x */
    const __m512 y = _mm512_range_ps(x, p->end, SMALLER_SIZE);
    const __m512i i = _mm512_castps_si512(_mm512_fmadd_ps(y, p->scale, _mm512_set1_ps(BK_ROUND)));
    const __m512 c2 = _mm512_permutex2var_ps(p->low[2], i, p->high[2]);
    const __m512 c1 = _mm512_permutex2var_ps(p->low[1], i, p->high[1]);
    const __m512 c0 = _mm512_permutex2var_ps(p->low[0], i, p->high[0]);
    return _mm512_fmadd_ps(_mm512_fmadd_ps(c2, y, c1), y, c0);
}

INLINE void store_bytes(uint8_t *to, __m512 x)
{
    const __m512 y = _mm512_fmadd_ps(x, _mm512_set1_ps(127), _mm512_set1_ps(BK_ROUND + 128));
    _mm_storeu_si128((void *)to, _mm512_cvtepi32_epi8(_mm512_castps_si512(y)));
}

/* c + what is said of the word */
INLINE __m512 with_word(const float *c, const uint16_t *x)
{
    const __m512i word = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)x));
    return _mm512_add_ps(_mm512_loadu_ps(c), _mm512_castsi512_ps(_mm512_slli_epi32(word, 16)));
}

/* Columns of words that come soon: rows of a large table in no order, which no processor foresees. */
enum { SOON = 4 };

static void gates(float *gate, uint8_t *rh, struct bk_columns xw, const uint32_t *word, const float *state, size_t rows,
                  size_t w)
{
    const struct pieces sigmoid = sigmoid_pieces();
    for (size_t i = 0; i < rows; i++, gate += 2 * w, rh += w, state += w) {
        const uint16_t *x = xw.brief + word[i] * xw.ld;
        if (i + SOON < rows) /* of the candidate too */
            for (size_t j = 0; j < 3 * w; j += 32)
                _mm_prefetch(xw.brief + word[i + SOON] * xw.ld + j, _MM_HINT_T0);
        for (size_t j = 0; j < w; j += LANES) {
            const __m512 r = by_pieces(with_word(gate + j, x + j), &sigmoid);
            store_bytes(rh + j, _mm512_mul_ps(r, _mm512_loadu_ps(state + j)));
        }
        for (size_t j = w; j < 2 * w; j += LANES)
            _mm512_storeu_ps(gate + j, by_pieces(with_word(gate + j, x + j), &sigmoid));
    }
}

static void next_state(uint8_t *h, size_t ldh, float *state, const float *cand, const float *gate, struct bk_columns xw,
                       const uint32_t *word, size_t rows, size_t w)
{
    const struct pieces tanh = tanh_pieces();
    for (size_t i = 0; i < rows; i++, h += ldh, state += w, cand += w, gate += 2 * w) {
        const uint16_t *x = xw.brief + word[i] * xw.ld;
        for (size_t j = 0; j < w; j += LANES) {
            const __m512 c = by_pieces(with_word(cand + j, x + j), &tanh);
            const __m512 before = _mm512_loadu_ps(state + j), z = _mm512_loadu_ps(gate + w + j);
            const __m512 next = _mm512_fmadd_ps(z, _mm512_sub_ps(before, c), c);
            _mm512_storeu_ps(state + j, next);
            store_bytes(h + j, next);
        }
    }
}

/* ---- attention ---------------------------------------------------------- */

static void tanh_bytes(uint8_t *y, const float *x, size_t n)
{
    const struct pieces tanh = tanh_pieces();
    for (size_t i = 0; i < n; i += LANES)
        store_bytes(y + i, by_pieces(_mm512_loadu_ps(x + i), &tanh));
}

enum { HOPS = 10 /* of attention at once: they come by the ten */ };

/* Hops [0, mr) of nv vectors of columns, the last with those of `tail`. */
INLINE void sums_tile(const size_t mr, const size_t nv, __mmask16 tail, float *f, size_t u, const float *att,
                      size_t ldatt, const uint8_t *h, size_t ldh, const uint32_t *row, size_t shift, size_t k)
{
    __m512 sum[HOPS][2];
    UNROLL
    for (size_t i = 0; i < mr; i++)
        sum[i][0] = sum[i][1] = _mm512_setzero_ps();
    for (size_t p = 0; p < k; p++) {
        const size_t x = row[p] + shift;
        __m512 y[2];
        UNROLL
        for (size_t v = 0; v < nv; v++) {
            const __m512i q = _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)(h + x * ldh + v * LANES)));
            y[v] = _mm512_cvtepi32_ps(_mm512_sub_epi32(q, _mm512_set1_epi32(128)));
        }
        UNROLL
        for (size_t i = 0; i < mr; i++) {
            const __m512 by = _mm512_set1_ps(att[x * ldatt + i]);
            UNROLL
            for (size_t v = 0; v < nv; v++)
                sum[i][v] = _mm512_fmadd_ps(y[v], by, sum[i][v]);
        }
    }
    UNROLL
    for (size_t i = 0; i < mr; i++) {
        UNROLL
        for (size_t v = 0; v < nv; v++)
            _mm512_mask_storeu_ps(f + i * u + v * LANES, v + 1 < nv ? 0xffff : tail,
                                  _mm512_mul_ps(sum[i][v], _mm512_set1_ps(1 / 127.0f)));
    }
}

static void sums(float *f, size_t r, size_t u, const float *att, size_t ldatt, const uint8_t *h, size_t ldh,
                 const uint32_t *row, size_t shift, size_t k)
{
    for (size_t hop = 0; hop < r; hop += r - hop >= HOPS ? HOPS : 1)
        for (size_t j = 0; j < u; j += 2 * LANES) {
            float *to = f + hop * u + j;
            if (r - hop >= HOPS && u - j > LANES)
                sums_tile(HOPS, 2, first_lanes(u - j - LANES), to, u, att + hop, ldatt, h + j, ldh, row, shift, k);
            else if (r - hop >= HOPS)
                sums_tile(HOPS, 1, first_lanes(u - j), to, u, att + hop, ldatt, h + j, ldh, row, shift, k);
            else if (u - j > LANES)
                sums_tile(1, 2, first_lanes(u - j - LANES), to, u, att + hop, ldatt, h + j, ldh, row, shift, k);
            else
                sums_tile(1, 1, first_lanes(u - j), to, u, att + hop, ldatt, h + j, ldh, row, shift, k);
        }
}

const struct bk_int8_kernels bk_int8_vnni = {
    .quantise = quantise, .product = product, .gates = gates, .state = next_state, .tanh = tanh_bytes, .sums = sums};
