/* Graphs: sparse products, the gated cell of a round of messages, and the count-sketch of items. */
#include "nn/nn_int.h"

#include <assert.h>
#include <math.h>
#include <string.h>

void bk_sparse_forward(bk_real *y, size_t ldy, const struct bk_sparse *s, const bk_real *x, size_t ldx,
                       const bk_real *bias, size_t n)
{
    for (size_t i = 0; i < s->rows; i++) {
        memset(y + i * ldy, 0, bk_padded(n) * sizeof *y);
        if (bias)
            memcpy(y + i * ldy, bias, n * sizeof *y);
    }
    bk_kernels()->sparse(y, ldy, s, x, ldx, n);
}

void bk_sparse_backward(bk_real *dx, size_t ldx, bk_real *dbias, const struct bk_sparse *s, const bk_real *dy,
                        size_t ldy, size_t n)
{
    const struct bk_kernels *k = bk_kernels();
    for (size_t i = 0; dbias && i < s->rows; i++)
        k->add(dbias, dy + i * ldy, n);
    k->sparse_back(dx, ldx, s, dy, ldy, n);
}

/* The kernels of the GRU take what x gives from the row of a word; here each row has its own. */
static void each_its_own(uint32_t word[BK_CELL_ROWS])
{
    for (uint32_t i = 0; i < BK_CELL_ROWS; i++)
        word[i] = i;
}

static size_t cell_rows(size_t m, size_t from)
{
    return m - from < BK_CELL_ROWS ? m - from : BK_CELL_ROWS;
}

void bk_cell_forward(const struct bk_cell *c, size_t m, bk_real *next, const bk_real *h, const bk_real *x, size_t ldx,
                     bk_real *scratch)
{
    const struct bk_kernels *k = bk_kernels();
    const size_t w = bk_padded(c->s);
    const struct bk_columns xw = {.full = scratch, .ld = 3 * w};
    uint32_t word[BK_CELL_ROWS];
    each_its_own(word);
    for (size_t from = 0; from < m; from += BK_CELL_ROWS) {
        const size_t n = cell_rows(m, from), kept = c->keep ? from : 0;
        const bk_real *prev = h + from * w;
        bk_real *gate = c->gate + kept * 2 * w, *cand = c->cand + kept * w, *rh = c->rh + kept * w;
        bk_product(scratch, 3 * w, &c->wx, n, x + from * ldx, ldx, false);
        k->bias(scratch, 3 * w, c->bias, n, 3 * w, false);
        bk_product(gate, 2 * w, &c->wg, n, prev, w, false);
        k->gru_gates(gate, rh, xw, word, prev, w, n, n, w);
        bk_product(cand, w, &c->wc, n, rh, w, false);
        k->gru_state(next + from * w, w, cand, gate, bk_columns_from(xw, 2 * w), word, prev, w, n, n, w);
    }
}

/* gate and cand: the gradients before sigmoid and tanh, of m rows. */
static void cell_weights_back(const struct bk_cell *c, const struct bk_cell_back *back, size_t m, const bk_real *h,
                              const bk_real *x, size_t ldx)
{
    const struct bk_kernels *k = bk_kernels();
    const size_t in = c->in, s = c->s, w = bk_padded(s);
    for (size_t half = 0; half < 2; half++) {
        const bk_real *g = c->gate + half * w;
        bk_real *d = back->dgate + half * s;
        bk_gemm(BK_T, BK_N, in, s, m, x, ldx, g, 2 * w, true, d, 2 * s);
        bk_gemm(BK_T, BK_N, s, s, m, h, w, g, 2 * w, true, d + in * 2 * s, 2 * s);
        for (size_t i = 0; i < m; i++)
            k->add(back->dgate_bias + half * s, g + i * 2 * w, s);
    }
    bk_gemm(BK_T, BK_N, in, s, m, x, ldx, c->cand, w, true, back->dcand, s);
    bk_gemm(BK_T, BK_N, s, s, m, c->rh, w, c->cand, w, true, back->dcand + in * s, s);
    for (size_t i = 0; i < m; i++)
        k->add(back->dcand_bias, c->cand + i * w, s);
}

void bk_cell_backward(const struct bk_cell *c, const struct bk_cell_back *back, size_t m, bk_real *dh, bk_real *dx,
                      const bk_real *h, const bk_real *x, size_t ldx, bk_real *scratch)
{
    const struct bk_kernels *k = bk_kernels();
    const size_t w = bk_padded(c->s), lddx = bk_padded(c->in);
    bk_real *drh = scratch, *none = drh + BK_CELL_ROWS * w;
    assert(c->keep);
    memset(none, 0, w * sizeof *none);
    for (size_t from = 0; from < m; from += BK_CELL_ROWS) {
        const size_t n = cell_rows(m, from);
        bk_real *gate = c->gate + from * 2 * w, *cand = c->cand + from * w, *carry = dh + from * w;
        const bk_real *prev = h + from * w;
        k->gru_state_back(carry, gate, cand, none, 0, prev, n, w);
        bk_product(drh, w, &back->c, n, cand, w, false);
        k->gru_gates_back(carry, gate, drh, prev, n, w);
        bk_product(carry, w, &back->g, n, gate, 2 * w, true);
        bk_product(dx + from * lddx, lddx, &back->xg, n, gate, 2 * w, false);
        bk_product(dx + from * lddx, lddx, &back->xc, n, cand, w, true);
    }
    cell_weights_back(c, back, m, h, x, ldx);
}

/* Neither fused nor reordered, whatever the processor: nothing is multiplied before the sums are there. */
void bk_sketch(bk_real *y, size_t n, const uint64_t *hash, const bk_real *weight, size_t count)
{
    const size_t half = n / 2;
    assert(n % 2 == 0);
    memset(y, 0, n * sizeof *y);
    for (size_t i = 0; i < count; i++)
        for (size_t part = 0; part < 2; part++) {
            uint32_t bits = (uint32_t)(hash[i] >> 32 * part);
            size_t at = part * half + (size_t)((uint64_t)(bits >> 1) * half >> 31);
            y[at] += bits & 1 ? -weight[i] : weight[i];
        }
    for (size_t j = 0; j < n; j++)
        y[j] *= (bk_real)M_SQRT1_2;
}
