/* The GRU over a packed batch. */
#include "nn/nn_int.h"

#include <string.h>

/* State before the first word of functions [from, active) of step `at`. */
static void begin(const struct bk_gru *g, const struct bk_packing *pk, size_t at, size_t from)
{
    size_t active = bk_packing_active(pk, at);
    if (from < active)
        memset(g->prev + (pk->row[at] + from) * g->s, 0, (active - from) * g->s * sizeof *g->prev);
}

void bk_gru_forward(const struct bk_gru *g, const struct bk_packing *pk, bk_real *h, size_t ldh, const bk_real *xw,
                    size_t ldxw)
{
    const struct bk_kernels *k = bk_kernels();
    size_t s = g->s;
    begin(g, pk, g->reverse ? pk->t - 1 : 0, 0);
    for (size_t step = 0; step < pk->t; step++) {
        size_t at = g->reverse ? pk->t - 1 - step : step, row = pk->row[at], n = bk_packing_active(pk, at);
        size_t next = g->reverse ? at - 1 : at + 1, going_on = 0;
        bk_real *gate = g->gate + row * 2 * s, *cand = g->cand + row * s;
        bk_real *prev = g->prev + row * s, *rh = g->rh + row * s, *next_prev = NULL;
        if (step + 1 < pk->t) {
            size_t active = bk_packing_active(pk, next);
            going_on = n < active ? n : active;
            next_prev = g->prev + pk->row[next] * s;
            begin(g, pk, next, going_on);
        }
        k->gru_load(gate, cand, xw, ldxw, g->word + row, n, s);
        bk_gemm(BK_N, BK_N, n, 2 * s, s, 1, prev, s, g->wg, 2 * s, 1, gate, 2 * s);
        k->gru_gates(gate, rh, prev, n, s);
        bk_gemm(BK_N, BK_N, n, s, s, 1, rh, s, g->wc, s, 1, cand, s);
        k->gru_state(h + row * ldh, ldh, next_prev, going_on, gate, cand, prev, n, s);
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

void bk_gru_backward(const struct bk_gru *g, const struct bk_packing *pk, bk_real *dwg, bk_real *dwc, bk_real *dxw,
                     size_t lddxw, const bk_real *dh, size_t lddh, bk_real *scratch)
{
    enum { CHUNK = 512 }; /* rows of a weight gradient at a time: short sums are the faster products */
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
        k->gru_unload(dxw, lddxw, gate, cand, g->word + row, n, s);
    }
    for (size_t from = 0; from < pk->m; from += CHUNK) {
        size_t n = pk->m - from < CHUNK ? pk->m - from : CHUNK;
        bk_gemm(BK_T, BK_N, s, 2 * s, n, 1, g->prev + from * s, s, g->gate + from * 2 * s, 2 * s, 1, dwg, 2 * s);
        bk_gemm(BK_T, BK_N, s, s, n, 1, g->rh + from * s, s, g->cand + from * s, s, 1, dwc, s);
    }
}
