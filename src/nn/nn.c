/* The choice of the loops, and the calls that are nothing but one of them. */
#include "nn/nn_int.h"

#include <string.h>

const struct bk_kernels *bk_kernels(void)
{
    switch (bk_cpu()) {
#ifdef BK_NN_X86
    case BK_CPU_AVX512:
        return &bk_kernels_avx512;
    case BK_CPU_AVX2:
        return &bk_kernels_avx2;
#endif
    default:
        return &bk_kernels_plain;
    }
}

void bk_gemm(enum bk_op ta, enum bk_op tb, size_t m, size_t n, size_t k, const bk_real *a, size_t lda, const bk_real *b,
             size_t ldb, bool add, bk_real *c, size_t ldc)
{
    bk_kernels()->products->gemm(ta, tb, m, n, k, a, lda, b, ldb, add, c, ldc);
}

void bk_weights_pack(bk_real *panels, enum bk_op t, const bk_real *b, size_t ldb, size_t k, size_t n)
{
    bk_kernels()->products->pack(panels, t, b, ldb, k, n);
}

bool bk_weights_pack_half(uint16_t *panels, enum bk_op t, const bk_real *b, size_t ldb, size_t k, size_t n)
{
    const struct bk_products *products = bk_kernels()->products;
    return products->pack_half && products->pack_half(panels, t, b, ldb, k, n);
}

#ifndef BK_REAL_DOUBLE
/* Rows go in groups, so that what they are in eight bits lies on the stack. */
static void product_int8(float *c, size_t ldc, const struct bk_weights *w, size_t m, const float *a, size_t lda,
                         bool add)
{
    enum { ROOM = 2 * BK_INT8_MAX_K };
    _Alignas(64) uint8_t q[ROOM];
    size_t group = ROOM / bk_int8_row(w->k);
    for (size_t i = 0; i < m; i += group) {
        size_t n = m - i < group ? m - i : group;
        bk_int8_quantise(q, a + i * lda, lda, n, w->k, w->range);
        bk_int8_product_quantised(c + i * ldc, ldc, n, q, w->int8, add);
    }
}
#endif

void bk_product(bk_real *c, size_t ldc, const struct bk_weights *w, size_t m, const bk_real *a, size_t lda, bool add)
{
#ifndef BK_REAL_DOUBLE
    if (w->int8) {
        product_int8(c, ldc, w, m, a, lda, add);
        return;
    }
#endif
    const struct bk_products *products = bk_kernels()->products;
    if (w->half)
        products->gemm_half(m, bk_padded(w->n), w->k, a, lda, w->half, add, c, ldc);
    else
        products->gemm_panels(BK_N, m, bk_padded(w->n), w->k, a, lda, w->panels, add, c, ldc);
}

#ifndef BK_REAL_DOUBLE
void bk_brief(uint16_t *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        y[i] = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    }
}
#endif

void bk_states_product(bk_real *c, size_t ldc, const struct bk_weights *w, struct bk_states x, size_t from, size_t m)
{
#ifndef BK_REAL_DOUBLE
    if (x.int8) {
        bk_int8_product_quantised(c, ldc, m, x.int8 + from * bk_int8_row(w->k), w->int8, false);
        return;
    }
#endif
    bk_product(c, ldc, w, m, x.h + from * x.ld, x.ld, false);
}

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
