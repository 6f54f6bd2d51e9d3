/* Semantic feature fusion and attention feature fusion of MFFA-Net (Li et al. 2023). */
#include "nn/nn_int.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* Whole steps whose products are made together: at least this many rows, unless the batch ends. */
enum { SFF_ROWS = 256 };

size_t bk_sff_scratch(const struct bk_sff *s, const struct bk_packing *pk)
{
    return (SFF_ROWS + pk->b) * bk_padded(s->n);
}

/* tanh grows with its argument, so the maximum is taken before it. */
void bk_sff_forward(const struct bk_sff *s, const struct bk_packing *pk, bk_real *q, struct bk_states h,
                    bk_real *scratch)
{
    const struct bk_kernels *k = bk_kernels();
    size_t n = bk_padded(s->n);
#ifdef BK_REAL_DOUBLE
    const bk_real lowest = -DBL_MAX;
#else
    const bk_real lowest = -FLT_MAX;
#endif
    for (size_t i = 0; i < pk->b * n; i++)
        q[i] = lowest;
    if (s->arg)
        memset(s->arg, 0, pk->b * n * sizeof *s->arg);
    for (size_t at = 0; at < pk->t;) {
        size_t first = pk->row[at], end = at;
        while (end < pk->t && pk->row[end] - first < SFF_ROWS)
            end++;
        bk_states_product(scratch, n, &s->wh, h, first, pk->row[end] - first);
        for (; at < end; at++)
            k->sff_max(q, s->arg, scratch + (pk->row[at] - first) * n, s->xw, s->word + pk->row[at], pk->row[at],
                       bk_packing_active(pk, at), n);
    }
    k->tanh(q, q, pk->b * n);
}

/* One position alone receives the gradient of each output. */
void bk_sff_backward(const struct bk_sff *s, const struct bk_packing *pk, bk_real *dw, bk_real *dbias, bk_real *dh,
                     bk_real *dx, const bk_real *dq, const bk_real *q, const bk_real *w, const bk_real *x, size_t ldx,
                     struct bk_states h)
{
    const struct bk_kernels *k = bk_kernels();
    size_t d = s->d, u = s->u, ldq = bk_padded(s->n);
    for (size_t i = 0; i < pk->b; i++)
        for (size_t j = 0; j < s->n; j++) {
            bk_real g = dq[i * ldq + j] * (1 - q[i * ldq + j] * q[i * ldq + j]);
            size_t row = s->arg[i * ldq + j];
            bk_real *dwj = dw + j * (d + u);
            dbias[j] += g;
            k->axpy(dwj, g, x + s->word[row] * ldx, d);
            k->axpy(dwj + d, g, h.h + row * h.ld, u);
            k->axpy(dh + row * h.ld, g, w + j * (d + u) + d, u);
            if (dx)
                k->axpy(dx + s->word[row] * ldx, g, w + j * (d + u), d);
        }
}

/* f = n softmax(c x) * x; w: n scratch, receives the softmax. */
static void gate_forward(bk_real *f, bk_real *w, const bk_real *x, size_t n, bk_real c)
{
    const struct bk_kernels *k = bk_kernels();
    bk_real top = c * x[0], sum = 0;
    for (size_t j = 0; j < n; j++) {
        w[j] = c * x[j];
        top = w[j] > top ? w[j] : top;
    }
    for (size_t j = 0; j < n; j++)
        w[j] -= top;
    k->exp(w, w, n);
    for (size_t j = 0; j < n; j++)
        sum += w[j];
    for (size_t j = 0; j < n; j++) {
        w[j] /= sum;
        f[j] = (bk_real)n * w[j] * x[j];
    }
}

/* Returns the gradient of c. f: n scratch. */
static bk_real gate_backward(bk_real *dx, bk_real *f, bk_real *w, const bk_real *df, const bk_real *x, size_t n,
                             bk_real c)
{
    gate_forward(f, w, x, n, c);
    bk_real mean = 0, dc = 0;
    for (size_t j = 0; j < n; j++)
        mean += df[j] * f[j];
    for (size_t j = 0; j < n; j++) {
        bk_real dlogit = df[j] * f[j] - w[j] * mean;
        dx[j] += (bk_real)n * w[j] * df[j] + c * dlogit;
        dc += dlogit * x[j];
    }
    return dc;
}

static bk_real total(const bk_real *x, size_t n)
{
    bk_real sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    return sum;
}

void bk_fusion_forward(bk_real *f, const bk_real *p, const bk_real *q, size_t n, enum bk_fusion how, double scale,
                       bk_real *scratch)
{
    const struct bk_kernels *k = bk_kernels();
    bk_real c = (bk_real)scale;
    switch (how) {
    case BK_FUSION_NONE:
        memcpy(f, p, n * sizeof *f);
        memcpy(f + n, q, n * sizeof *f);
        break;
    case BK_FUSION_MATRIX:
    case BK_FUSION_RESIDUAL:
        k->mix(f, p, q, n, c, scratch);
        k->mix(f + n, q, p, n, c, scratch);
        if (how == BK_FUSION_RESIDUAL) {
            k->add(f, p, n);
            k->add(f + n, q, n);
        }
        break;
    case BK_FUSION_GATE: /* column j of C sums to scale p_j sum(q), row i to scale q_i sum(p) */
        gate_forward(f, scratch, p, n, c * total(q, n));
        gate_forward(f + n, scratch, q, n, c * total(p, n));
        break;
    }
}

void bk_fusion_backward(bk_real *dp, bk_real *dq, const bk_real *df, const bk_real *p, const bk_real *q, size_t n,
                        enum bk_fusion how, double scale, bk_real *scratch)
{
    const struct bk_kernels *k = bk_kernels();
    bk_real c = (bk_real)scale;
    if (how == BK_FUSION_NONE || how == BK_FUSION_RESIDUAL) {
        k->add(dp, df, n);
        k->add(dq, df + n, n);
    }
    if (how == BK_FUSION_MATRIX || how == BK_FUSION_RESIDUAL) {
        k->mix_back(dp, dq, df, p, q, n, c, scratch);
        k->mix_back(dq, dp, df + n, q, p, n, c, scratch);
    }
    if (how == BK_FUSION_GATE) {
        bk_real dcp = gate_backward(dp, scratch, scratch + n, df, p, n, c * total(q, n));
        bk_real dcq = gate_backward(dq, scratch, scratch + n, df + n, q, n, c * total(p, n));
        for (size_t j = 0; j < n; j++) {
            dq[j] += c * dcp;
            dp[j] += c * dcq;
        }
    }
}

/* w = softmax(s), square-rooted. */
static void branch_weights(bk_real *w, size_t k)
{
    bk_real top = w[0], sum = 0;
    for (size_t j = 1; j < k; j++)
        top = w[j] > top ? w[j] : top;
    for (size_t j = 0; j < k; j++)
        w[j] -= top;
    bk_exp(w, w, k);
    for (size_t j = 0; j < k; j++)
        sum += w[j];
    for (size_t j = 0; j < k; j++)
        w[j] = (bk_real)sqrt((double)(w[j] / sum));
}

void bk_branches_forward(bk_real *f, bk_real *weight, const struct bk_branches *br, size_t b, const bk_real *x,
                         size_t ld, const bk_real *u, const bk_real *c)
{
    const struct bk_kernels *k = bk_kernels();
    for (size_t i = 0; i < b; i++) {
        bk_real *w = weight + i * br->k;
        for (size_t j = 0, at = 0; j < br->k; at += br->n[j++])
            w[j] = k->dot(u + at, x + i * ld + at, br->n[j]) + c[j];
        branch_weights(w, br->k);
        for (size_t j = 0, at = 0; j < br->k; at += br->n[j++])
            for (size_t l = at; l < at + br->n[j]; l++)
                f[i * ld + l] = w[j] * x[i * ld + l];
    }
}

/* d w_j / d s_l = w_j (delta_jl - w_l^2) / 2 */
void bk_branches_backward(bk_real *dx, bk_real *du, bk_real *dc, const bk_real *df, const bk_real *weight,
                          const struct bk_branches *br, size_t b, const bk_real *x, size_t ld, const bk_real *u,
                          bk_real *scratch)
{
    const struct bk_kernels *k = bk_kernels();
    for (size_t i = 0; i < b; i++) {
        const bk_real *w = weight + i * br->k, *xi = x + i * ld, *dfi = df + i * ld;
        bk_real *ds = scratch, sum = 0;
        for (size_t j = 0, at = 0; j < br->k; at += br->n[j++]) {
            ds[j] = k->dot(dfi + at, xi + at, br->n[j]) * w[j] / 2;
            sum += ds[j];
        }
        for (size_t j = 0, at = 0; j < br->k; at += br->n[j++]) {
            ds[j] -= w[j] * w[j] * sum;
            dc[j] += ds[j];
            k->axpy(du + at, ds[j], xi + at, br->n[j]);
            k->axpy(dx + i * ld + at, ds[j], u + at, br->n[j]);
            k->axpy(dx + i * ld + at, w[j], dfi + at, br->n[j]);
        }
    }
}

double bk_unit_forward(bk_real *y, const bk_real *x, size_t n)
{
    double norm = sqrt((double)bk_kernels()->dot(x, x, n));
    bk_real inv = (bk_real)(norm > 0 ? 1 / norm : 0);
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] * inv;
    return norm;
}

void bk_unit_backward(bk_real *dx, const bk_real *dy, const bk_real *y, double norm, size_t n)
{
    const struct bk_kernels *k = bk_kernels();
    if (!(norm > 0))
        return;
    bk_real inv = (bk_real)(1 / norm), along = k->dot(y, dy, n);
    k->axpy(dx, inv, dy, n);
    k->axpy(dx, -inv * along, y, n);
}
