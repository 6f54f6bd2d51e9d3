/* Rows of the packed batch, and the GRU over them. */
#include "nn/nn_int.h"

#include <string.h>

void bk_exp(bk_real *y, const bk_real *x, size_t n)
{
    bk_kernels()->exp(y, x, n);
}

void bk_tanh(bk_real *y, const bk_real *x, size_t n)
{
    bk_kernels()->tanh(y, x, n);
}

void bk_sigmoid(bk_real *y, const bk_real *x, size_t n)
{
    bk_kernels()->sigmoid(y, x, n);
}

void bk_rows_gather(bk_real *out, const bk_real *table, const uint32_t *index, size_t m, size_t cols)
{
    for (size_t i = 0; i < m; i++)
        memcpy(out + i * cols, table + index[i] * cols, cols * sizeof *out);
}

void bk_rows_scatter_add(bk_real *table, const bk_real *in, const uint32_t *index, size_t m, size_t cols)
{
    const struct bk_kernels *k = bk_kernels();
    for (size_t i = 0; i < m; i++)
        k->add(table + index[i] * cols, in + i * cols, cols);
}

void bk_rows_sum(bk_real *out, const bk_real *in, size_t m, size_t cols)
{
    const struct bk_kernels *k = bk_kernels();
    for (size_t i = 0; i < m; i++)
        k->add(out, in + i * cols, cols);
}

/* The state before step `at`, copied from the rows of the neighbouring step; zero where a function begins. */
static void load_prev(const struct bk_gru *g, const struct bk_packing *pk, size_t at, const bk_real *h, size_t ldh)
{
    size_t s = g->s, active = bk_packing_active(pk, at), have = 0;
    bk_real *prev = g->prev + pk->row[at] * s;
    if (g->reverse ? at + 1 < pk->t : at > 0) {
        size_t from = g->reverse ? at + 1 : at - 1;
        have = bk_packing_active(pk, from);
        have = have < active ? have : active;
        for (size_t i = 0; i < have; i++)
            memcpy(prev + i * s, h + (pk->row[from] + i) * ldh, s * sizeof *prev);
    }
    memset(prev + have * s, 0, (active - have) * s * sizeof *prev);
}

void bk_gru_forward(const struct bk_gru *g, const struct bk_packing *pk, bk_real *h, size_t ldh)
{
    const struct bk_kernels *k = bk_kernels();
    size_t s = g->s;
    for (size_t step = 0; step < pk->t; step++) {
        size_t at = g->reverse ? pk->t - 1 - step : step, row = pk->row[at], n = bk_packing_active(pk, at);
        bk_real *gate = g->gate + row * 2 * s, *cand = g->cand + row * s;
        bk_real *prev = g->prev + row * s, *rh = g->rh + row * s;
        load_prev(g, pk, at, h, ldh);
        bk_gemm(BK_N, BK_N, n, 2 * s, s, 1, prev, s, g->wg, 2 * s, 1, gate, 2 * s);
        k->gru_gates(gate, rh, prev, n, s);
        bk_gemm(BK_N, BK_N, n, s, s, 1, rh, s, g->wc, s, 1, cand, s);
        k->gru_state(h + row * ldh, ldh, gate, cand, prev, n, s);
    }
}

static void transpose(bk_real *out, const bk_real *in, size_t rows, size_t cols)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j++)
            out[j * rows + i] = in[i * cols + j];
}

/* carry and drh of b rows, and both weights transposed: small products are fastest untransposed. */
size_t bk_gru_scratch(size_t s, size_t b)
{
    return 2 * b * s + 3 * s * s;
}

void bk_gru_backward(const struct bk_gru *g, const struct bk_packing *pk, const bk_real *dh, size_t lddh, bk_real *dwg,
                     bk_real *dwc, bk_real *scratch)
{
    const struct bk_kernels *k = bk_kernels();
    size_t s = g->s;
    bk_real *carry = scratch, *drh = carry + pk->b * s, *wgt = drh + pk->b * s, *wct = wgt + 2 * s * s;
    transpose(wgt, g->wg, s, 2 * s);
    transpose(wct, g->wc, s, s);
    memset(carry, 0, pk->b * s * sizeof *carry);
    for (size_t step = 0; step < pk->t; step++) {
        size_t at = g->reverse ? step : pk->t - 1 - step, row = pk->row[at], n = bk_packing_active(pk, at);
        bk_real *gate = g->gate + row * 2 * s, *cand = g->cand + row * s;
        const bk_real *prev = g->prev + row * s;
        k->gru_state_back(carry, gate, cand, dh + row * lddh, lddh, prev, n, s);
        bk_gemm(BK_N, BK_N, n, s, s, 1, cand, s, wct, s, 0, drh, s);
        k->gru_gates_back(carry, gate, drh, prev, n, s);
        bk_gemm(BK_N, BK_N, n, s, 2 * s, 1, gate, 2 * s, wgt, s, 1, carry, s);
    }
    bk_gemm(BK_T, BK_N, s, 2 * s, pk->m, 1, g->prev, s, g->gate, 2 * s, 1, dwg, 2 * s);
    bk_gemm(BK_T, BK_N, s, s, pk->m, 1, g->rh, s, g->cand, s, 1, dwc, s);
}
