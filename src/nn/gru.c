/* The GRU over a packed batch. */
#include "nn/nn_int.h"

#include <string.h>

/* Keeps the states before: those of the first `before` rows are in h, the others are zero. */
static void keep_states(bk_real *prev, const bk_real *h, size_t ldh, size_t before, size_t rows, size_t w)
{
    for (size_t i = 0; i < before; i++)
        memcpy(prev + i * w, h + i * ldh, w * sizeof *prev);
    memset(prev + before * w, 0, (rows - before) * w * sizeof *prev);
}

void bk_gru_forward(const struct bk_gru *g, const struct bk_packing *pk, bk_real *h, size_t ldh, struct bk_columns xw)
{
    const struct bk_kernels *k = bk_kernels();
    size_t w = bk_padded(g->s);
    for (size_t step = 0; step < pk->t; step++) {
        size_t at = g->reverse ? pk->t - 1 - step : step, row = pk->row[at], n = bk_packing_active(pk, at);
        size_t last = g->reverse ? at + 1 : at - 1; /* the step before, if there is one */
        size_t before = step == 0 ? 0 : g->reverse ? bk_packing_active(pk, last) : n, kept = g->prev ? row : 0;
        const bk_real *prev = step == 0 ? h : h + pk->row[last] * ldh;
        bk_real *gate = g->gate + kept * 2 * w, *cand = g->cand + kept * w, *rh = g->rh + kept * w;
        if (g->prev)
            keep_states(g->prev + kept * w, prev, ldh, before, n, w);
        bk_product(gate, 2 * w, &g->wg, before, prev, ldh, false);
        k->gru_gates(gate, rh, xw, g->word + row, prev, ldh, before, n, w);
        bk_product(cand, w, &g->wc, before, rh, w, false);
        k->gru_state(h + row * ldh, ldh, cand, gate, bk_columns_from(xw, 2 * w), g->word + row, prev, ldh, before, n,
                     w);
    }
}

void bk_gru_backward(const struct bk_gru *g, const struct bk_weights *back_g, const struct bk_weights *back_c,
                     const struct bk_packing *pk, bk_real *dwg, bk_real *dwc, bk_real *dxw, size_t lddxw,
                     const bk_real *dh, size_t lddh, bk_real *scratch)
{
    const struct bk_kernels *k = bk_kernels();
    size_t s = g->s, w = bk_padded(s);
    bk_real *carry = scratch, *drh = carry + pk->b * w;
    memset(carry, 0, pk->b * w * sizeof *carry);
    for (size_t step = 0; step < pk->t; step++) {
        size_t at = g->reverse ? step : pk->t - 1 - step, row = pk->row[at], n = bk_packing_active(pk, at);
        bk_real *gate = g->gate + row * 2 * w, *cand = g->cand + row * w;
        const bk_real *prev = g->prev + row * w;
        k->gru_state_back(carry, gate, cand, dh + row * lddh, lddh, prev, n, w);
        bk_product(drh, w, back_c, n, cand, w, false);
        k->gru_gates_back(carry, gate, drh, prev, n, w);
        bk_product(carry, w, back_g, n, gate, 2 * w, true);
        k->gru_unload(dxw, lddxw, gate, cand, g->word + row, n, w);
    }
    bk_gemm(BK_T, BK_N, s, s, pk->m, g->prev, w, g->gate, 2 * w, true, dwg, 2 * s);
    bk_gemm(BK_T, BK_N, s, s, pk->m, g->prev, w, g->gate + w, 2 * w, true, dwg + s, 2 * s);
    bk_gemm(BK_T, BK_N, s, s, pk->m, g->rh, w, g->cand, w, true, dwc, s);
}
