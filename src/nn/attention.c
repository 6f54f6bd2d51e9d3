/* Self-attention of SAFE (Massarelli et al. 2019, section 4.2) after Lin et al. 2017, and dense layers. */
#include "nn/nn_int.h"

#include <float.h>
#include <math.h>
#include <string.h>

static size_t chunk_rows(const struct bk_packing *pk, size_t from)
{
    return pk->m - from < BK_ATTENTION_ROWS ? pk->m - from : BK_ATTENTION_ROWS;
}

/* The rows of function i, contiguous. */
static void rows_of(bk_real *out, const bk_real *in, size_t ld, const struct bk_packing *pk, size_t i, size_t t,
                    size_t cols)
{
    for (size_t at = 0; at < t; at++)
        memcpy(out + at * cols, in + (pk->row[at] + i) * ld, cols * sizeof *out);
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
    size_t u = at->u, a = bk_padded(at->a), r = bk_padded(at->r), sums = pk->t * (2 * u + 2 * r) + r;
    size_t forward = pk->b * r > BK_ATTENTION_ROWS * (a + 1) ? pk->b * r : BK_ATTENTION_ROWS * (a + 1);
    size_t backward = pk->m * r + BK_ATTENTION_ROWS * (a + bk_padded(u)) + sums;
    return at->keep && backward > forward ? backward : forward;
}

/* Padded positions of a function of t words that the softmax covers. */
static size_t behind(const struct bk_attention *at, size_t t)
{
    return at->cover > t ? at->cover - t : 0;
}

/* Their score is 0: raises the maxima in `top` to it and leaves exp(0 - maximum) in pad. */
static void pads_exp(const struct bk_attention *at, const struct bk_packing *pk, size_t r, bk_real *top)
{
    for (size_t i = 0, t = pk->t; i < pk->b; i++) {
        t = shrink_length(pk, t, i);
        for (size_t j = i * r; j < (i + 1) * r; j++) {
            if (behind(at, t) && top[j] < 0)
                top[j] = 0;
            at->pad[j] = behind(at, t) ? -top[j] : 0;
        }
    }
    bk_exp(at->pad, at->pad, pk->b * r);
}

/* sum (b rows of r) += what they have. */
static void pads_sum(const struct bk_attention *at, const struct bk_packing *pk, size_t r, bk_real *sum)
{
    for (size_t i = 0, t = pk->t; i < pk->b; i++) {
        t = shrink_length(pk, t, i);
        for (size_t j = i * r; j < (i + 1) * r; j++)
            sum[j] += (bk_real)behind(at, t) * at->pad[j];
    }
}

/* gram += their part of A A^T. pad: of the function. */
static void pads_gram(bk_real *gram, const bk_real *pad, size_t r, size_t count)
{
    for (size_t j = 0; j < r; j++)
        for (size_t l = 0; l < r; l++)
            gram[j * r + l] += (bk_real)count * pad[j] * pad[l];
}

/* Their part of the sum over the positions of A dA, with dA = c A^T gram: they have no state, F gives them no gradient. */
static void pads_back(bk_real *sum, const bk_real *gram, const bk_real *pad, size_t r, size_t count, bk_real c)
{
    for (size_t j = 0; j < r; j++)
        for (size_t l = 0; l < r; l++)
            sum[j] += (bk_real)count * c * pad[j] * pad[l] * gram[l * r + j];
}

/* att: the scores on entry. Element k of the prefix of each step belongs to one (function, hop) pair, so the reductions over
 * positions are elementwise over the steps. r: numbers of a row. */
static void softmax_over_steps(const struct bk_attention *of, const struct bk_packing *pk, size_t r, bk_real *stat)
{
    const struct bk_kernels *k = bk_kernels();
    bk_real *att = of->att;
    memcpy(stat, att, pk->b * r * sizeof *stat);
    for (size_t at = 1; at < pk->t; at++)
        k->max(stat, att + pk->row[at] * r, bk_packing_active(pk, at) * r);
    if (of->cover)
        pads_exp(of, pk, r, stat);
    for (size_t at = 0; at < pk->t; at++)
        k->sub(att + pk->row[at] * r, stat, bk_packing_active(pk, at) * r);
    k->exp(att, att, pk->m * r);
    memset(stat, 0, pk->b * r * sizeof *stat);
    for (size_t at = 0; at < pk->t; at++)
        k->add(stat, att + pk->row[at] * r, bk_packing_active(pk, at) * r);
    if (of->cover)
        pads_sum(of, pk, r, stat);
    k->inverse(stat, pk->b * r);
    if (of->cover)
        k->mul(of->pad, stat, pk->b * r);
    for (size_t at = 0; at < pk->t; at++)
        k->mul(att + pk->row[at] * r, stat, bk_packing_active(pk, at) * r);
}

/* Scores from z, n rows before the tanh. */
static void scores_of(bk_real *scores, const struct bk_attention *at, bk_real *z, size_t n, bk_real *scratch)
{
    size_t a_cols = bk_padded(at->a), r_cols = bk_padded(at->r);
#ifndef BK_REAL_DOUBLE
    if (at->ws2.int8) {
        uint8_t *q = (uint8_t *)scratch;
        bk_int8_kernels()->tanh(q, z, n * a_cols);
        bk_int8_product(scores, r_cols, n, (struct bk_int8_rows){q, a_cols, false}, at->ws2.int8);
        return;
    }
#endif
    (void)scratch;
    bk_tanh(z, z, n * a_cols);
    bk_product(scores, r_cols, &at->ws2, n, z, a_cols, false);
}

/* F of function i, of t words. */
static void weighted_sums(bk_real *f, const struct bk_attention *at, const struct bk_packing *pk, struct bk_states h,
                          size_t i, size_t t)
{
    size_t u = at->u, r = at->r, r_cols = bk_padded(r);
#ifndef BK_REAL_DOUBLE
    if (h.int8) {
        bk_int8_kernels()->sums(f, r, u, at->att, r_cols, h.int8, h.ld, pk->row, i, t);
        return;
    }
#endif
    bk_kernels()->products->sums(f, u, r, u, at->att, r_cols, h.h, h.ld, pk->row, i, t);
}

static double weight_of(const struct bk_attention *at, size_t i)
{
    return at->weight ? (double)at->weight[i] : 1;
}

double bk_attention_forward(const struct bk_attention *at, const struct bk_packing *pk, bk_real *f, struct bk_states h,
                            bk_real *scratch)
{
    size_t u = at->u, r = at->r, a_cols = bk_padded(at->a), r_cols = bk_padded(r);
    const struct bk_kernels *k = bk_kernels();
    for (size_t from = 0; from < pk->m; from += BK_ATTENTION_ROWS) {
        size_t n = chunk_rows(pk, from);
        bk_real *z = at->z + (at->keep ? from * a_cols : 0);
        bk_states_product(z, a_cols, &at->ws1, h, from, n);
        scores_of(at->att + from * r_cols, at, z, n, scratch);
    }
    softmax_over_steps(at, pk, r_cols, scratch);

    double penalty = 0;
    for (size_t i = 0, t = pk->t; i < pk->b; i++) {
        t = shrink_length(pk, t, i);
        weighted_sums(f + i * bk_padded(r * u), at, pk, h, i, t);
        if (!at->gram)
            continue;
        bk_real *gram = at->gram + i * r * r;
        k->products->sums(gram, r, r, r, at->att, r_cols, at->att, r_cols, pk->row, i, t);
        if (at->cover)
            pads_gram(gram, at->pad + i * r_cols, r, behind(at, t));
        for (size_t j = 0; j < r; j++)
            gram[j * r + j] -= 1;
        const double weight = weight_of(at, i);
        for (size_t j = 0; j < r * r; j++)
            penalty += weight * (double)gram[j] * (double)gram[j];
    }
    return penalty;
}

/* ds (m rows like att): the gradient of the scores; dh += att^T df. */
static void attention_back_sums(const struct bk_attention *at, const struct bk_packing *pk, bk_real *ds, bk_real *dh,
                                const bk_real *df, struct bk_states h, double penalty_scale, bk_real *scratch)
{
    size_t u = at->u, r = at->r, r_cols = bk_padded(r);
    const struct bk_kernels *k = bk_kernels();
    bk_real *hi = scratch, *dhi = hi + pk->t * u, *ai = dhi + pk->t * u, *dai = ai + pk->t * r, *sum = dai + pk->t * r;
    for (size_t i = 0, t = pk->t; i < pk->b; i++) {
        t = shrink_length(pk, t, i);
        const bk_real *dfi = df + i * bk_padded(r * u), *gram = at->gram ? at->gram + i * r * r : NULL;
        const bk_real scale = (bk_real)(4 * penalty_scale * weight_of(at, i));
        rows_of(hi, h.h, h.ld, pk, i, t, u);
        rows_of(ai, at->att, r_cols, pk, i, t, r);
        memset(dai, 0, t * r * sizeof *dai);
        memset(sum, 0, r * sizeof *sum);
        if (gram && scale != 0) {
            bk_gemm(BK_N, BK_N, t, r, r, ai, r, gram, r, false, dai, r);
            for (size_t j = 0; j < t * r; j++)
                dai[j] *= scale;
            if (at->cover)
                pads_back(sum, gram, at->pad + i * r_cols, r, behind(at, t), scale);
        }
        bk_gemm(BK_N, BK_T, t, r, u, hi, u, dfi, u, true, dai, r);
        bk_gemm(BK_N, BK_N, t, u, r, ai, r, dfi, u, false, dhi, u);
        for (size_t s = 0; s < t; s++)
            for (size_t j = 0; j < r; j++)
                sum[j] += ai[s * r + j] * dai[s * r + j];
        for (size_t s = 0; s < t; s++) {
            bk_real *out = ds + (pk->row[s] + i) * r_cols;
            for (size_t j = 0; j < r; j++)
                out[j] = ai[s * r + j] * (dai[s * r + j] - sum[j]);
            k->add(dh + (pk->row[s] + i) * h.ld, dhi + s * u, u);
        }
    }
}

void bk_attention_backward(const struct bk_attention *at, const struct bk_weights *back1,
                           const struct bk_weights *back2, const struct bk_packing *pk, bk_real *dws1, bk_real *dws2,
                           bk_real *dh, const bk_real *df, struct bk_states h, double penalty_scale, bk_real *scratch)
{
    size_t u = at->u, a = at->a, r = at->r, a_cols = bk_padded(a), r_cols = bk_padded(r), u_cols = bk_padded(u);
    const struct bk_kernels *k = bk_kernels();
    bk_real *ds = scratch, *dz = ds + pk->m * r_cols, *dx = dz + BK_ATTENTION_ROWS * a_cols;
    attention_back_sums(at, pk, ds, dh, df, h, penalty_scale, dx + BK_ATTENTION_ROWS * u_cols);
    for (size_t from = 0; from < pk->m; from += BK_ATTENTION_ROWS) {
        size_t n = chunk_rows(pk, from);
        const bk_real *z = at->z + from * a_cols, *s = ds + from * r_cols;
        bk_gemm(BK_T, BK_N, r, a, n, s, r_cols, z, a_cols, true, dws2, a);
        bk_product(dz, a_cols, back2, n, s, r_cols, false);
        k->tanh_back(dz, z, n * a_cols);
        bk_gemm(BK_T, BK_N, a, u, n, dz, a_cols, h.h + from * h.ld, h.ld, true, dws1, u);
        bk_product(dx, u_cols, back1, n, dz, a_cols, false);
        for (size_t i = 0; i < n; i++)
            k->add(dh + (from + i) * h.ld, dx + i * u_cols, u);
    }
}

void bk_dense_forward(bk_real *y, const bk_real *x, size_t ldx, const struct bk_weights *w, const bk_real *bias,
                      size_t b, bool relu)
{
    size_t ldy = bk_padded(w->n);
    bk_product(y, ldy, w, b, x, ldx, false);
    bk_kernels()->bias(y, ldy, bias, b, w->n, relu);
}

void bk_dense_backward(bk_real *dx, bk_real *dw, bk_real *dbias, bk_real *dy, const bk_real *y, const bk_real *x,
                       size_t ldx, const struct bk_weights *back, size_t b, bool relu)
{
    const struct bk_kernels *k = bk_kernels();
    size_t in = back->n, out = back->k, ldy = bk_padded(out);
    if (relu)
        k->relu_back(dy, y, b * ldy);
    for (size_t i = 0; i < b; i++)
        k->add(dbias, dy + i * ldy, out);
    bk_gemm(BK_T, BK_N, out, in, b, dy, ldy, x, ldx, true, dw, in);
    bk_product(dx, bk_padded(in), back, b, dy, ldy, false);
}
