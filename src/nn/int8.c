/* Eight bits: packing, the plain kernels that say what every other must give bit by bit, the choice, and the GRU. */
#include "nn/nn_int.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum { LANES = BK_INT8_LANES };

/* i = 16 does not occur. */
const float bk_pieces[3][32] = {
    {0.00000000e+00f,  -5.25675155e-03f, -2.50222217e-02f, -1.00455675e-02f, 8.14800486e-02f,  2.34160855e-01f,
     4.05844837e-01f,  5.63323796e-01f,  6.91508234e-01f,  7.88317621e-01f,  8.57900083e-01f,  9.06223476e-01f,
     9.38954294e-01f,  9.60706472e-01f,  9.74947214e-01f,  9.84157026e-01f,  9.84157026e-01f,  -9.84157026e-01f,
     -9.74947214e-01f, -9.60706472e-01f, -9.38954294e-01f, -9.06223476e-01f, -8.57900083e-01f, -7.88317621e-01f,
     -6.91508234e-01f, -5.63323796e-01f, -4.05844837e-01f, -2.34160855e-01f, -8.14800486e-02f, 1.00455675e-02f,
     2.50222217e-02f,  5.25675155e-03f},
    {9.94771779e-01f, 1.06517577e+00f, 1.16239548e+00f, 1.12609994e+00f, 9.47459757e-01f, 7.13261247e-01f,
     4.97249752e-01f, 3.29502851e-01f, 2.11177379e-01f, 1.32350698e-01f, 8.16748515e-02f, 4.98440750e-02f,
     3.01650111e-02f, 1.81362610e-02f, 1.08463382e-02f, 6.45786570e-03f, 6.45786570e-03f, 6.45786570e-03f,
     1.08463382e-02f, 1.81362610e-02f, 3.01650111e-02f, 4.98440750e-02f, 8.16748515e-02f, 1.32350698e-01f,
     2.11177379e-01f, 3.29502851e-01f, 4.97249752e-01f, 7.13261247e-01f, 9.47459757e-01f, 1.12609994e+00f,
     1.16239548e+00f, 1.06517577e+00f},
    {0.00000000e+00f,  -2.55942881e-01f, -3.76091212e-01f, -3.54466051e-01f, -2.67163873e-01f, -1.77263573e-01f,
     -1.09272100e-01f, -6.45798966e-02f, -3.72640826e-02f, -2.12136284e-02f, -1.19850179e-02f, -6.74233120e-03f,
     -3.78393219e-03f, -2.12077796e-03f, -1.18774048e-03f, -6.64914434e-04f, -6.64914434e-04f, 6.64914434e-04f,
     1.18774048e-03f,  2.12077796e-03f,  3.78393219e-03f,  6.74233120e-03f,  1.19850179e-02f,  2.12136284e-02f,
     3.72640826e-02f,  6.45798966e-02f,  1.09272100e-01f,  1.77263573e-01f,  2.67163873e-01f,  3.54466051e-01f,
     3.76091212e-01f,  2.55942881e-01f}};

static size_t up(size_t n, size_t unit)
{
    return (n + unit - 1) / unit * unit;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

size_t bk_int8_row(size_t k)
{
    return up(k, 4) + sizeof(float);
}

/* ---- plain kernels ------------------------------------------------------ */

/* q + 128 for q = x to nearest even in [-127, 127]. */
static inline uint8_t biased(float x)
{
    x = x > -127.0f ? x : -127.0f; /* NaN too */
    x = x < 127.0f ? x : 127.0f;
    return (uint8_t)bits_of(x + (BK_ROUND + 128));
}

static void quantise(uint8_t *restrict q, const float *restrict a, size_t lda, size_t m, size_t k)
{
    for (size_t i = 0; i < m; i++, q += bk_int8_row(k), a += lda) {
        float top = 0;
        for (size_t p = 0; p < k; p++)
            top = fabsf(a[p]) > top ? fabsf(a[p]) : top;
        const float range = bk_int8_range(top), factor = bk_int8_factor(range);
        for (size_t p = 0; p < k; p++)
            q[p] = biased(a[p] * factor);
        memset(q + k, 128, up(k, 4) - k);
        memcpy(q + up(k, 4), &range, sizeof range);
    }
}

static void product(float *c, size_t ldc, size_t m, struct bk_int8_rows a, const struct bk_int8_weights *w)
{
    const struct bk_int8_view v = bk_int8_view(w);
    const size_t vectors = bk_padded(w->n) / LANES;
    const int8_t *panel = v.panel;
    for (size_t j = 0, wide; j < vectors; j += wide, panel += 4 * v.groups * wide * LANES) {
        wide = bk_int8_panel(vectors - j);
        for (size_t i = 0; i < m; i++)
            for (size_t u = 0; u < wide; u++) {
                const uint8_t *q = a.q + i * a.ld;
                int32_t sum[LANES];
                memcpy(sum, v.start + (j + u) * LANES, sizeof sum);
                for (size_t g = 0; g < v.groups; g++) {
                    const int8_t *x = panel + (g * wide + u) * 4 * LANES;
                    const uint8_t *y = q + 4 * g;
                    for (size_t l = 0; l < LANES; l++)
                        sum[l] += y[0] * x[4 * l] + y[1] * x[4 * l + 1] + y[2] * x[4 * l + 2] + y[3] * x[4 * l + 3];
                }
                float range = 1, *to = c + i * ldc + (j + u) * LANES;
                if (a.own)
                    memcpy(&range, q + 4 * v.groups, sizeof range);
                for (size_t l = 0; l < LANES; l++)
                    to[l] = (float)sum[l] * v.scale[(j + u) * LANES + l] * range;
            }
    }
}

static inline float tanh_by_pieces(float x)
{
    const float y = copysignf(fminf(fabsf(x), BK_PIECES_END), x);
    const uint32_t i = bits_of(fmaf(y, BK_PIECES_SCALE, BK_ROUND)) % 32;
    return fmaf(fmaf(bk_pieces[2][i], y, bk_pieces[1][i]), y, bk_pieces[0][i]);
}

/* Coefficients first, and then the polynomial, as vectors do it. */
static inline float sigmoid_by_pieces(float x)
{
    const float y = copysignf(fminf(fabsf(x), 2 * BK_PIECES_END), x);
    const uint32_t i = bits_of(fmaf(y, BK_PIECES_SCALE / 2, BK_ROUND)) % 32;
    return fmaf(fmaf(bk_pieces[2][i] / 8, y, bk_pieces[1][i] / 4), y, bk_pieces[0][i] / 2 + 0.5f);
}

static inline uint8_t unit_byte(float x)
{
    return (uint8_t)bits_of(fmaf(x, 127, BK_ROUND + 128));
}

static inline float from_brief(uint16_t x)
{
    const uint32_t bits = (uint32_t)x << 16;
    float y;
    memcpy(&y, &bits, sizeof y);
    return y;
}

static void gates(float *gate, uint8_t *rh, struct bk_columns xw, const uint32_t *word, const float *state, size_t rows,
                  size_t w)
{
    for (size_t i = 0; i < rows; i++, gate += 2 * w, rh += w, state += w) {
        const uint16_t *x = xw.brief + word[i] * xw.ld;
        for (size_t j = 0; j < w; j++) {
            rh[j] = unit_byte(sigmoid_by_pieces(gate[j] + from_brief(x[j])) * state[j]);
            gate[w + j] = sigmoid_by_pieces(gate[w + j] + from_brief(x[w + j]));
        }
    }
}

static void next_state(uint8_t *h, size_t ldh, float *state, const float *cand, const float *gate, struct bk_columns xw,
                       const uint32_t *word, size_t rows, size_t w)
{
    for (size_t i = 0; i < rows; i++, h += ldh, state += w, cand += w, gate += 2 * w) {
        const uint16_t *x = xw.brief + word[i] * xw.ld;
        for (size_t j = 0; j < w; j++) {
            const float c = tanh_by_pieces(cand[j] + from_brief(x[j]));
            state[j] = fmaf(gate[w + j], state[j] - c, c);
            h[j] = unit_byte(state[j]);
        }
    }
}

static void tanh_bytes(uint8_t *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = unit_byte(tanh_by_pieces(x[i]));
}

static void sums(float *f, size_t r, size_t u, const float *att, size_t ldatt, const uint8_t *h, size_t ldh,
                 const uint32_t *row, size_t shift, size_t k)
{
    for (size_t hop = 0; hop < r; hop++)
        for (size_t j = 0; j < u; j++) {
            float sum = 0;
            for (size_t p = 0; p < k; p++) {
                const size_t x = row[p] + shift;
                sum = fmaf((float)(h[x * ldh + j] - 128), att[x * ldatt + hop], sum);
            }
            f[hop * u + j] = sum * (1 / 127.0f);
        }
}

const struct bk_int8_kernels bk_int8_plain = {
    .quantise = quantise, .product = product, .gates = gates, .state = next_state, .tanh = tanh_bytes, .sums = sums};

const struct bk_int8_kernels *bk_int8_kernels(void)
{
#ifdef BK_NN_X86
    if (bk_cpu() >= BK_CPU_AVX512 && __builtin_cpu_supports("avx512vnni"))
        return &bk_int8_vnni;
#endif
    return &bk_int8_plain;
}

bool bk_int8_fast(void)
{
    return bk_int8_kernels() != &bk_int8_plain;
}

size_t bk_int8_size(size_t k, size_t n)
{
    return sizeof(struct bk_int8_weights) + bk_padded(n) * (sizeof(float) + sizeof(int32_t) + up(k, 4));
}

void bk_int8_pack(void *out, enum bk_op t, const float *w, size_t ldw, size_t k, size_t n)
{
    assert(k <= BK_INT8_MAX_K && (uintptr_t)out % 64 == 0);
    memset(out, 0, bk_int8_size(k, n));
    struct bk_int8_weights *head = out;
    head->k = k;
    head->n = n;
    const struct bk_int8_view v = bk_int8_view(head);
    float *scale = (float *)(head + 1);
    int32_t *start = (int32_t *)(scale + bk_padded(n));
    int8_t *panel = (int8_t *)(start + bk_padded(n));
    const size_t down = t == BK_T ? 1 : ldw, right = t == BK_T ? ldw : 1, vectors = bk_padded(n) / LANES;
    for (size_t j = 0, wide; j < vectors; j += wide, panel += 4 * v.groups * wide * LANES) {
        wide = bk_int8_panel(vectors - j);
        for (size_t col = j * LANES; col < smaller(n, (j + wide) * LANES); col++) {
            const float *x = w + col * right;
            float top = 0;
            for (size_t p = 0; p < k; p++)
                top = fabsf(x[p * down]) > top ? fabsf(x[p * down]) : top;
            const float range = bk_int8_range(top), factor = bk_int8_factor(range);
            int8_t *to = panel + (col - j * LANES) * 4;
            int32_t sum = 0;
            for (size_t p = 0; p < k; p++) {
                int q = biased(x[p * down] * factor) - 128;
                to[p / 4 * 4 * wide * LANES + p % 4] = (int8_t)q;
                sum += q;
            }
            scale[col] = range / (127 * 127);
            start[col] = -128 * sum;
        }
    }
}

void bk_int8_quantise(uint8_t *q, const float *a, size_t lda, size_t m, size_t k)
{
    bk_int8_kernels()->quantise(q, a, lda, m, k);
}

void bk_int8_product(float *c, size_t ldc, size_t m, struct bk_int8_rows a, const void *packed)
{
    bk_int8_kernels()->product(c, ldc, m, a, packed);
}

/* Functions that begin have the state zero, and products with it are zero. */
void bk_int8_gru_forward(const struct bk_gru *g, const struct bk_packing *pk, uint8_t *h, size_t ldh,
                         struct bk_columns xw, float *state)
{
    const struct bk_int8_kernels *k = bk_int8_kernels();
    const size_t w = bk_padded(g->s);
    assert(xw.brief && !g->prev);
    uint8_t *rh = (uint8_t *)g->rh, *prev = NULL;
    for (size_t step = 0, before = 0; step < pk->t; step++) {
        const size_t at = g->reverse ? pk->t - 1 - step : step, n = bk_packing_active(pk, at);
        const uint32_t *word = g->word + pk->row[at];
        before = smaller(before, n);
        memset(state + before * w, 0, (n - before) * w * sizeof *state);
        memset(g->gate + before * 2 * w, 0, (n - before) * 2 * w * sizeof *g->gate);
        k->product(g->gate, 2 * w, before, (struct bk_int8_rows){prev, ldh, false}, g->wg.int8);
        k->gates(g->gate, rh, xw, word, state, n, w);
        k->product(g->cand, w, n, (struct bk_int8_rows){rh, w, false}, g->wc.int8);
        prev = h + pk->row[at] * ldh;
        k->state(prev, ldh, state, g->cand, g->gate, bk_columns_from(xw, 2 * w), word, n, w);
        before = n;
    }
}
