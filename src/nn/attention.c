/* Self-attention of SAFE (Massarelli et al. 2019, section 4.2) after Lin et al. 2017, and dense layers. */
#include "nn/nn_int.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* Rows that go through the a-wide hidden layer at a time, so that they stay in the cache between its products. */
enum { CHUNK = 512 };

static size_t chunk_rows(const struct bk_packing *pk, size_t from)
{
    return pk->m - from < CHUNK ? pk->m - from : CHUNK;
}

/* The rows of function i, contiguous. */
static void rows_of(bk_real *out, const bk_real *in, const struct bk_packing *pk, size_t i, size_t t, size_t cols)
{
    for (size_t at = 0; at < t; at++)
        memcpy(out + at * cols, in + (pk->row[at] + i) * cols, cols * sizeof *out);
}

/* Words of function i, given those of function i - 1 (no fewer). */
static size_t shrink_length(const struct bk_packing *pk, size_t t, size_t i)
{
    while (t > 0 && bk_packing_active(pk, t - 1) <= i)
        t--;
    return t;
}

size_t bk_attention_scratch(const struct bk_attention *at, const struct bk_packing *pk)
{
    return 2 * pk->t * (at->u + at->r) + pk->m * at->r + pk->b * at->r + CHUNK * at->a + at->a * at->r;
}

/* att: the scores on entry. Element k of the prefix of each step belongs to one (function, hop) pair, so the reductions over
 * positions are elementwise over the steps. */
static void softmax_over_steps(bk_real *att, const struct bk_packing *pk, size_t r, bk_real *stat)
{
    const struct bk_kernels *k = bk_kernels();
    memcpy(stat, att, pk->b * r * sizeof *stat);
    for (size_t at = 1; at < pk->t; at++)
        k->max(stat, att + pk->row[at] * r, bk_packing_active(pk, at) * r);
    for (size_t at = 0; at < pk->t; at++)
        k->sub(att + pk->row[at] * r, stat, bk_packing_active(pk, at) * r);
    k->exp(att, att, pk->m * r);
    memset(stat, 0, pk->b * r * sizeof *stat);
    for (size_t at = 0; at < pk->t; at++)
        k->add(stat, att + pk->row[at] * r, bk_packing_active(pk, at) * r);
    k->inverse(stat, pk->b * r);
    for (size_t at = 0; at < pk->t; at++)
        k->mul(att + pk->row[at] * r, stat, bk_packing_active(pk, at) * r);
}

double bk_attention_forward(const struct bk_attention *at, const struct bk_packing *pk, bk_real *f, const bk_real *h,
                            bk_real *scratch)
{
    size_t u = at->u, a = at->a, r = at->r;
    const struct bk_kernels *k = bk_kernels();
    for (size_t from = 0; from < pk->m; from += CHUNK) {
        size_t n = chunk_rows(pk, from);
        bk_real *z = at->z + from * a;
        bk_gemm(BK_N, BK_T, n, a, u, 1, h + from * u, u, at->ws1, u, 0, z, a);
        k->tanh(z, z, n * a);
        bk_gemm(BK_N, BK_T, n, r, a, 1, z, a, at->ws2, a, 0, at->att + from * r, r);
    }
    softmax_over_steps(at->att, pk, r, scratch);

    bk_real *hi = scratch, *ai = hi + pk->t * u;
    double penalty = 0;
    for (size_t i = 0, t = pk->t; i < pk->b; i++) {
        t = shrink_length(pk, t, i);
        rows_of(hi, h, pk, i, t, u);
        rows_of(ai, at->att, pk, i, t, r);
        bk_gemm(BK_T, BK_N, r, u, t, 1, ai, r, hi, u, 0, f + i * r * u, u);
        if (!at->gram)
            continue;
        bk_real *gram = at->gram + i * r * r;
        bk_gemm(BK_T, BK_N, r, r, t, 1, ai, r, ai, r, 0, gram, r);
        for (size_t j = 0; j < r; j++)
            gram[j * r + j] -= 1;
        for (size_t j = 0; j < r * r; j++)
            penalty += (double)gram[j] * (double)gram[j];
    }
    return penalty;
}

/* ds (m x r): the gradient of the scores; dh += att^T df. */
static void attention_back_sums(const struct bk_attention *at, const struct bk_packing *pk, bk_real *ds, bk_real *dh,
                                const bk_real *df, const bk_real *h, double penalty_scale, bk_real *scratch)
{
    size_t u = at->u, r = at->r;
    const struct bk_kernels *k = bk_kernels();
    bk_real *hi = scratch, *dhi = hi + pk->t * u, *ai = dhi + pk->t * u, *dai = ai + pk->t * r, *sum = dai + pk->t * r;
    for (size_t i = 0, t = pk->t; i < pk->b; i++) {
        t = shrink_length(pk, t, i);
        const bk_real *dfi = df + i * r * u;
        rows_of(hi, h, pk, i, t, u);
        rows_of(ai, at->att, pk, i, t, r);
        bk_gemm(BK_N, BK_T, t, r, u, 1, hi, u, dfi, u, 0, dai, r);
        if (at->gram && penalty_scale != 0)
            bk_gemm(BK_N, BK_N, t, r, r, (bk_real)(4 * penalty_scale), ai, r, at->gram + i * r * r, r, 1, dai, r);
        bk_gemm(BK_N, BK_N, t, u, r, 1, ai, r, dfi, u, 0, dhi, u);
        memset(sum, 0, r * sizeof *sum);
        for (size_t s = 0; s < t; s++)
            for (size_t j = 0; j < r; j++)
                sum[j] += ai[s * r + j] * dai[s * r + j];
        for (size_t s = 0; s < t; s++) {
            bk_real *out = ds + (pk->row[s] + i) * r;
            for (size_t j = 0; j < r; j++)
                out[j] = ai[s * r + j] * (dai[s * r + j] - sum[j]);
            k->add(dh + (pk->row[s] + i) * u, dhi + s * u, u);
        }
    }
}

void bk_attention_backward(const struct bk_attention *at, const struct bk_packing *pk, bk_real *dws1, bk_real *dws2,
                           bk_real *dh, const bk_real *df, const bk_real *h, double penalty_scale, bk_real *scratch)
{
    size_t u = at->u, a = at->a, r = at->r;
    const struct bk_kernels *k = bk_kernels();
    bk_real *ds = scratch, *dz = ds + pk->m * r, *rest = dz + CHUNK * a;
    attention_back_sums(at, pk, ds, dh, df, h, penalty_scale, rest);
    for (size_t from = 0; from < pk->m; from += CHUNK) {
        size_t n = chunk_rows(pk, from);
        const bk_real *z = at->z + from * a, *s = ds + from * r;
        bk_gemm(BK_T, BK_N, r, a, n, 1, s, r, z, a, 1, dws2, a);
        bk_gemm(BK_N, BK_N, n, a, r, 1, s, r, at->ws2, a, 0, dz, a);
        k->tanh_back(dz, z, n * a);
        bk_gemm(BK_T, BK_N, a, u, n, 1, dz, a, h + from * u, u, 1, dws1, u);
        bk_gemm(BK_N, BK_N, n, u, a, 1, dz, a, at->ws1, u, 1, dh + from * u, u);
    }
}

void bk_dense_forward(bk_real *y, const bk_real *x, const bk_real *w, const bk_real *bias, size_t b, size_t in,
                      size_t out, bool relu)
{
    for (size_t i = 0; i < b; i++)
        memcpy(y + i * out, bias, out * sizeof *y);
    bk_gemm(BK_N, BK_T, b, out, in, 1, x, in, w, in, 1, y, out);
    if (relu)
        bk_kernels()->relu(y, b * out);
}

void bk_dense_backward(bk_real *dx, bk_real *dw, bk_real *dbias, bk_real *dy, const bk_real *y, const bk_real *x,
                       const bk_real *w, size_t b, size_t in, size_t out, bool relu)
{
    const struct bk_kernels *k = bk_kernels();
    if (relu)
        k->relu_back(dy, y, b * out);
    for (size_t i = 0; i < b; i++)
        k->add(dbias, dy + i * out, out);
    bk_gemm(BK_T, BK_N, out, in, b, 1, dy, out, x, in, 1, dw, in);
    bk_gemm(BK_N, BK_N, b, in, out, 1, dy, out, w, in, 0, dx, in);
}
