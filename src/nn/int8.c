/* Products in eight bits: packing, the plain kernel that says what every other must give bit by bit, and the choice. */
#include "nn/nn_int.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum { LANES = BK_INT8_LANES, BLOCK = 1 << 18 /* bytes of quantised rows that stay in the second-level cache */ };

static size_t up(size_t n, size_t unit)
{
    return (n + unit - 1) / unit * unit;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t bk_int8_row(size_t k)
{
    return up(k, 4) + sizeof(float);
}

/* q + 128 for q = x to nearest even in [-127, 127]: the sum has that number in its low bits. */
static inline uint8_t biased(float x)
{
    x = x > -127.0f ? x : -127.0f; /* NaN too */
    x = x < 127.0f ? x : 127.0f;
    x += 12582912.0f + 128.0f;
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint8_t)bits;
}

static void quantise(uint8_t *restrict q, const float *restrict a, size_t lda, size_t m, size_t k, float range)
{
    for (size_t i = 0; i < m; i++, q += bk_int8_row(k), a += lda) {
        float top = range;
        if (range == 0)
            for (size_t p = 0; p < k; p++)
                top = fabsf(a[p]) > top ? fabsf(a[p]) : top;
        float factor = bk_int8_factor(top), step = bk_int8_step(top);
        for (size_t p = 0; p < k; p++)
            q[p] = biased(a[p] * factor);
        memset(q + k, 128, up(k, 4) - k);
        memcpy(q + up(k, 4), &step, sizeof step);
    }
}

static void product(float *c, size_t ldc, size_t m, const uint8_t *q, const struct bk_int8_weights *w, bool add)
{
    const struct bk_int8_view v = bk_int8_view(w);
    const size_t vectors = up(w->n, LANES) / LANES, row = bk_int8_row(w->k);
    const int8_t *panel = v.panel;
    for (size_t j = 0, wide; j < vectors; j += wide, panel += 4 * v.groups * wide * LANES) {
        wide = bk_int8_panel(vectors - j);
        for (size_t i = 0; i < m; i++)
            for (size_t u = 0; u < wide; u++) {
                int32_t sum[LANES];
                memcpy(sum, v.start + (j + u) * LANES, sizeof sum);
                for (size_t g = 0; g < v.groups; g++) {
                    const int8_t *x = panel + (g * wide + u) * 4 * LANES;
                    const uint8_t *y = q + i * row + 4 * g;
                    for (size_t l = 0; l < LANES; l++)
                        sum[l] += y[0] * x[4 * l] + y[1] * x[4 * l + 1] + y[2] * x[4 * l + 2] + y[3] * x[4 * l + 3];
                }
                float step, *to = c + i * ldc + (j + u) * LANES;
                memcpy(&step, q + i * row + 4 * v.groups, sizeof step);
                const float *scale = v.scale + (j + u) * LANES;
                for (size_t l = 0; l < LANES && (j + u) * LANES + l < w->n; l++)
                    to[l] = (add ? to[l] : 0.0f) + (float)sum[l] * (scale[l] * step);
            }
    }
}

const struct bk_int8_kernels bk_int8_plain = {.quantise = quantise, .product = product};

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
    return sizeof(struct bk_int8_weights) + up(n, LANES) * (sizeof(float) + sizeof(int32_t) + up(k, 4));
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
    int32_t *start = (int32_t *)(scale + up(n, LANES));
    int8_t *panel = (int8_t *)(start + up(n, LANES));
    const size_t down = t == BK_T ? 1 : ldw, right = t == BK_T ? ldw : 1, vectors = up(n, LANES) / LANES;
    for (size_t j = 0, wide; j < vectors; j += wide, panel += 4 * v.groups * wide * LANES) {
        wide = bk_int8_panel(vectors - j);
        for (size_t col = j * LANES; col < smaller(n, (j + wide) * LANES); col++) {
            const float *x = w + col * right;
            float top = 0;
            for (size_t p = 0; p < k; p++)
                top = fabsf(x[p * down]) > top ? fabsf(x[p * down]) : top;
            const float factor = bk_int8_factor(top);
            int8_t *to = panel + (col - j * LANES) * 4;
            int32_t sum = 0;
            for (size_t p = 0; p < k; p++) {
                int q = biased(x[p * down] * factor) - 128;
                to[p / 4 * 4 * wide * LANES + p % 4] = (int8_t)q;
                sum += q;
            }
            scale[col] = bk_int8_step(top);
            start[col] = -128 * sum;
        }
    }
}

void bk_int8_quantise(uint8_t *q, const float *a, size_t lda, size_t m, size_t k, float range)
{
    bk_int8_kernels()->quantise(q, a, lda, m, k, range);
}

void bk_int8_end_rows(uint8_t *q, size_t m, size_t k)
{
    const float step = bk_int8_step(1);
    const size_t k4 = up(k, 4), row = bk_int8_row(k);
    for (size_t i = 0; i < m; i++, q += row) {
        memset(q + k, 128, k4 - k);
        memcpy(q + k4, &step, sizeof step);
    }
}

/* Rows at a time: all panels meet them before the next rows come. */
static size_t block_rows(size_t k)
{
    size_t rows = BLOCK / bk_int8_row(k);
    return rows > 64 ? rows : 64;
}

void bk_int8_product_quantised(float *c, size_t ldc, size_t m, const uint8_t *q, const void *packed, bool add)
{
    const struct bk_int8_weights *w = packed;
    const struct bk_int8_kernels *kernels = bk_int8_kernels();
    const size_t rows = block_rows(w->k), row = bk_int8_row(w->k);
    for (size_t i = 0; i < m; i += rows)
        kernels->product(c + i * ldc, ldc, smaller(rows, m - i), q + i * row, w, add);
}

void bk_int8_product(float *c, size_t ldc, size_t m, const float *a, size_t lda, float range, const void *packed,
                     bool add, void *scratch)
{
    const struct bk_int8_weights *w = packed;
    const struct bk_int8_kernels *kernels = bk_int8_kernels();
    const size_t rows = block_rows(w->k);
    for (size_t i = 0; i < m; i += rows) {
        kernels->quantise(scratch, a + i * lda, lda, smaller(rows, m - i), w->k, range);
        kernels->product(c + i * ldc, ldc, smaller(rows, m - i), scratch, w, add);
    }
}

size_t bk_int8_scratch(size_t m, size_t k)
{
    return smaller(m, block_rows(k)) * bk_int8_row(k);
}
