/* Private to nn: the vector loops of kernel.c, compiled once for each instruction set and chosen at run time. */
#ifndef BK_NN_INT_H
#define BK_NN_INT_H

#include "nn/nn.h"

struct bk_products;
struct bk_kernels {
    const struct bk_products *products;

    void (*exp)(bk_real *y, const bk_real *x, size_t n);
    void (*tanh)(bk_real *y, const bk_real *x, size_t n);
    void (*sigmoid)(bk_real *y, const bk_real *x, size_t n);

    bk_real (*dot)(const bk_real *a, const bk_real *b, size_t n);
    void (*axpy)(bk_real *y, bk_real c, const bk_real *x, size_t n); /* y += c x */
    void (*add)(bk_real *y, const bk_real *x, size_t n);             /* y += x */
    void (*sub)(bk_real *y, const bk_real *x, size_t n);             /* y -= x */
    void (*mul)(bk_real *y, const bk_real *x, size_t n);             /* y *= x */
    void (*max)(bk_real *y, const bk_real *x, size_t n);             /* y = max(y, x) */
    void (*inverse)(bk_real *y, size_t n);                           /* y = 1 / y */

    /* Rows of one step; names as in struct bk_gru, w = bk_padded(s). `before` of the rows have a state before, prev; for the others it is
     * zero, and so is what the products gave. gate: on entry the product, then [rg, z]. */
    void (*gru_gates)(bk_real *gate, bk_real *rh, struct bk_columns xw, const uint32_t *word, const bk_real *prev,
                      size_t ldprev, size_t before, size_t rows, size_t w);
    /* xw: of the candidate. cand: on entry the product, then c. */
    void (*gru_state)(bk_real *h, size_t ldh, bk_real *cand, const bk_real *gate, struct bk_columns xw,
                      const uint32_t *word, const bk_real *prev, size_t ldprev, size_t before, size_t rows, size_t w);
    void (*gru_state_back)(bk_real *carry, bk_real *gate, bk_real *cand, const bk_real *dh, size_t lddh,
                           const bk_real *prev, size_t rows, size_t w);
    void (*gru_gates_back)(bk_real *carry, bk_real *gate, const bk_real *drh, const bk_real *prev, size_t rows,
                           size_t w);
    /* dxw of each row's word += [gate | cand] */
    void (*gru_unload)(bk_real *dxw, size_t lddxw, const bk_real *gate, const bk_real *cand, const uint32_t *word,
                       size_t rows, size_t w);

    void (*sparse)(bk_real *y, size_t ldy, const struct bk_sparse *s, const bk_real *x, size_t ldx,
                   size_t n); /* y += S x */
    void (*sparse_back)(bk_real *dx, size_t ldx, const struct bk_sparse *s, const bk_real *dy, size_t ldy, size_t n);

    void (*tanh_back)(bk_real *dz, const bk_real *z, size_t n); /* dz *= 1 - z^2 */
    /* rows of y, ldy apart: y = y + bias, then relu where wanted */
    void (*bias)(bk_real *y, size_t ldy, const bk_real *bias, size_t rows, size_t n, bool relu);
    void (*relu_back)(bk_real *dy, const bk_real *y, size_t n);
    /* best = max(best, s + xw[word]) over rows of n numbers; arg, NULL allowed, becomes `first` + row where it grew */
    void (*sff_max)(bk_real *best, uint32_t *arg, const bk_real *s, struct bk_columns xw, const uint32_t *word,
                    uint32_t first, size_t rows, size_t n);
    /* out_i = sum_j w_ij x_j, w_i = softmax_j(scale y_i x_j); e: n scratch */
    void (*mix)(bk_real *out, const bk_real *x, const bk_real *y, size_t n, bk_real scale, bk_real *e);
    void (*mix_back)(bk_real *dx, bk_real *dy, const bk_real *dout, const bk_real *x, const bk_real *y, size_t n,
                     bk_real scale, bk_real *e);
    void (*adam)(bk_real *params, bk_real *m, bk_real *v, bk_real *const *grads, size_t n_grads, size_t first, size_t n,
                 const bk_real rate[2]); /* rate / (1 - beta1^t), 1 / sqrt(1 - beta2^t) */
};

/* gemm.c; as in nn.h */
struct bk_products {
    void (*pack)(bk_real *panels, enum bk_op t, const bk_real *b, size_t ldb, size_t k, size_t n);
    void (*gemm_panels)(enum bk_op t, size_t m, size_t n, size_t k, const bk_real *a, size_t lda, const bk_real *panels,
                        bool add, bk_real *c, size_t ldc);
    /* The same panels in binary16, for n padded. NULL in double and where the processor has no instruction to widen them. */
    bool (*pack_half)(uint16_t *panels, enum bk_op t, const bk_real *b, size_t ldb, size_t k, size_t n);
    void (*gemm_half)(size_t m, size_t n, size_t k, const bk_real *a, size_t lda, const uint16_t *panels, bool add,
                      bk_real *c, size_t ldc);
    void (*gemm)(enum bk_op ta, enum bk_op tb, size_t m, size_t n, size_t k, const bk_real *a, size_t lda,
                 const bk_real *b, size_t ldb, bool add, bk_real *c, size_t ldc);
    /* C (m x n) = sum over p < k of (row x of A)^T (row x of B), x = row[p] + shift. Of a row of B whole vectors are read, beyond n. */
    void (*sums)(bk_real *c, size_t ldc, size_t m, size_t n, const bk_real *a, size_t lda, const bk_real *b, size_t ldb,
                 const uint32_t *row, size_t shift, size_t k);
};

extern const struct bk_kernels bk_kernels_plain;
extern const struct bk_products bk_products_plain;
#ifdef BK_NN_X86
extern const struct bk_kernels bk_kernels_avx2, bk_kernels_avx512;
extern const struct bk_products bk_products_avx2, bk_products_avx512;
#endif
/* The best table this processor can run. */
const struct bk_kernels *bk_kernels(void);

#ifndef BK_REAL_DOUBLE
/* Packed int8 weights. After the header, with k4 = k up to a multiple of 4 and n16 = bk_padded(n): scale of n16 columns;
 * -128 times the sum of n16 columns, where sums over activations stored as q + 128 begin; panels of bk_int8_panel()
 * vectors of 16 columns. A panel has, for each 4 rows, for each vector, for each column, those 4 numbers. */
struct bk_int8_weights {
    uint64_t k, n;
    uint8_t zero[48];
};
enum { BK_INT8_LANES = BK_PAD };
/* Vectors of the next panel when `left` have none yet. */
static inline size_t bk_int8_panel(size_t left)
{
    return left == 3 ? 3 : left < 2 ? left : 2;
}
struct bk_int8_view {
    size_t groups; /* of 4 rows */
    const float *scale;
    const int32_t *start;
    const int8_t *panel;
};
static inline struct bk_int8_view bk_int8_view(const struct bk_int8_weights *w)
{
    const size_t n16 = bk_padded(w->n);
    const float *scale = (const float *)(w + 1);
    const int32_t *start = (const int32_t *)(scale + n16);
    return (struct bk_int8_view){(w->k + 3) / 4, scale, start, (const int8_t *)(start + n16)};
}
/* The range of a row or column whose largest number that is, and what its numbers are multiplied by. */
static inline float bk_int8_range(float top)
{
    return top > 0x1p-119f ? top : 0.0f;
}
static inline float bk_int8_factor(float range)
{
    return range > 0 ? 127.0f / range : 0.0f;
}

/* tanh in pieces: c[0][i] + c[1][i] x + c[2][i] x^2 for |x| cut to BK_PIECES_END, where i is the whole number nearest to
 * BK_PIECES_SCALE x, modulo 32. Each piece is the parabola of least error. sigmoid(x) = 1/2 + tanh(x / 2) / 2. */
#define BK_PIECES_END   4.5f
#define BK_PIECES_SCALE 3.44422221f
extern const float bk_pieces[3][32];
/* Added to a small number this rounds it to a whole one and leaves that in the low bits. */
#define BK_ROUND 12582912.0f

/* Here w is a multiple of BK_PAD, and xw is in brief. Bytes are q + 128 with range 1. */
struct bk_int8_kernels {
    void (*quantise)(uint8_t *q, const float *a, size_t lda, size_t m, size_t k);
    void (*product)(float *c, size_t ldc, size_t m, struct bk_int8_rows a, const struct bk_int8_weights *w);
    /* Rows of one step. gate: on entry the product; its columns from w on become z. rh: rows of w bytes. */
    void (*gates)(float *gate, uint8_t *rh, struct bk_columns xw, const uint32_t *word, const float *state, size_t rows,
                  size_t w);
    /* xw: of the candidate. cand: the product. state, rows of w, becomes the next, and h its bytes. */
    void (*state)(uint8_t *h, size_t ldh, float *state, const float *cand, const float *gate, struct bk_columns xw,
                  const uint32_t *word, size_t rows, size_t w);
    void (*tanh)(uint8_t *y, const float *x, size_t n); /* n: a multiple of BK_PAD */
    /* F (r x u, dense) = sum over p < k of (row x of att)^T (row x of the states h), x = row[p] + shift. bk_padded(u) bytes of each
     * row are read. */
    void (*sums)(float *f, size_t r, size_t u, const float *att, size_t ldatt, const uint8_t *h, size_t ldh,
                 const uint32_t *row, size_t shift, size_t k);
};
extern const struct bk_int8_kernels bk_int8_plain;
#ifdef BK_NN_X86
extern const struct bk_int8_kernels bk_int8_vnni;
#endif
/* The best that this processor can run. */
const struct bk_int8_kernels *bk_int8_kernels(void);
#endif

#endif
