/* nn: the arithmetic of the networks over packed batches.
 *
 * A batch of functions is sorted by length, longest first, and packed time-major: the rows of step t are the words
 * number t of the functions still running, which are a prefix of the batch. No row is padding, recurrent products
 * shrink with the batch, and both directions of a recurrence use one layout.
 *
 * Every op has its forward and its backward side by side. Backward adds to gradients (names in d...) unless the
 * comment says otherwise. Matrices are row-major; ld is the distance of rows. Nothing here allocates: outputs and
 * scratch are the caller's. Nothing here uses threads: the caller shards.
 *
 * bk_real is float in the library and double in the build that checks gradients. */
#ifndef BK_NN_H
#define BK_NN_H

#include "base/base.h"

#ifdef BK_REAL_DOUBLE /* the test build that checks gradients */
typedef double bk_real;
#else
typedef float bk_real;
#endif

/* ---- products ----------------------------------------------------------- */

/* Columns are made up to a multiple of this, so that rows are whole vectors on every processor. */
#define BK_PAD 16
static inline size_t bk_padded(size_t n)
{
    return (n + BK_PAD - 1) / BK_PAD * BK_PAD;
}

enum bk_op { BK_N, BK_T }; /* a matrix as it is, or transposed */
/* C (m x n) = op(A) (m x k) op(B) (k x n), added to C when `add`. A row of C depends neither on the other rows nor on their number. */
void bk_gemm(enum bk_op ta, enum bk_op tb, size_t m, size_t n, size_t k, const bk_real *a, size_t lda, const bk_real *b,
             size_t ldb, bool add, bk_real *c, size_t ldc);

/* The right-hand side of many products, laid out once: k x n. */
struct bk_weights {
    size_t k, n;
    const bk_real *panels; /* bk_weights_size() numbers */
    const uint16_t *half;  /* in binary16 instead, by bk_weights_pack_half(), or NULL */
    const void *int8;      /* in eight bits instead, by bk_int8_pack(), or NULL */
};
static inline size_t bk_weights_size(size_t k, size_t n)
{
    return k * bk_padded(n);
}
/* Lays out op(B), k x n. */
void bk_weights_pack(bk_real *panels, enum bk_op t, const bk_real *b, size_t ldb, size_t k, size_t n);
/* The same in binary16, bk_weights_size() numbers: half the memory, and products of the same bits (of a NaN: a NaN). False: a
 * number is not, bit for bit, one of binary16, or nothing is gained (this processor cannot widen such numbers, or bk_real is
 * double); what lies in the panels then means nothing. */
bool bk_weights_pack_half(uint16_t *panels, enum bk_op t, const bk_real *b, size_t ldb, size_t k, size_t n);
/* C (m x bk_padded(n), the columns from n on zero) = A (m x k) W, added to C when `add`, but never with weights in eight bits. */
void bk_product(bk_real *c, size_t ldc, const struct bk_weights *w, size_t m, const bk_real *a, size_t lda, bool add);
/* States of a batch, rows ld apart: numbers, or beside weights in eight bits bytes. */
struct bk_states {
    const bk_real *h;
    const uint8_t *int8; /* where h is NULL; see bk_int8_gru_forward() */
    size_t ld;
};
/* C = rows [from, from + m) of the states times W. */
void bk_states_product(bk_real *c, size_t ldc, const struct bk_weights *w, struct bk_states x, size_t from, size_t m);

/* ---- elementwise -------------------------------------------------------- */

/* y may be x. In float: relative error below 4e-7 (a few units in the last place) on the whole line. exp is cut to
 * [-87.3, 88.3], so it gives neither 0 nor infinity. In double: libm. */
void bk_exp(bk_real *y, const bk_real *x, size_t n);
void bk_tanh(bk_real *y, const bk_real *x, size_t n);
void bk_sigmoid(bk_real *y, const bk_real *x, size_t n);

/* ---- columns of words ----------------------------------------------------- */

/* What the network makes of each word alone, rows `ld` apart: in full, or as the upper halves of floats (bfloat16), which is precision
 * enough beside products in eight bits and half the memory to walk through. */
struct bk_columns {
    const bk_real *full;
    const uint16_t *brief; /* where full is NULL */
    size_t ld;
};
static inline struct bk_columns bk_columns_from(struct bk_columns x, size_t column)
{
    return (struct bk_columns){x.full ? x.full + column : NULL, x.full ? NULL : x.brief + column, x.ld};
}
#ifndef BK_REAL_DOUBLE
/* To the nearest, ties to even; finite numbers only. */
void bk_brief(uint16_t *y, const float *x, size_t n);
#endif

/* ---- packing ------------------------------------------------------------ */

struct bk_packing {
    size_t b;            /* functions, each with at least one word, longest first */
    size_t t;            /* steps: words of the longest */
    size_t m;            /* rows: words of all together */
    const uint32_t *row; /* t + 1 of them: step s has the rows [row[s], row[s + 1]), function i of it is row[s] + i */
};
static inline size_t bk_packing_active(const struct bk_packing *pk, size_t step)
{
    return pk->row[step + 1] - pk->row[step];
}

/* ---- GRU, one direction; the cell of TensorFlow 1 ----------------------- */

/*   [rg, z] = sigmoid([x, h] Wg + bg),  c = tanh([x, rg * h] Wc + bc),  h' = z * h + (1 - z) * c
 * The state has s numbers, w = bk_padded(s) columns: rg | z lie in 2 w columns, z from w on. What depends on x alone depends
 * on the word alone: it is computed once for each distinct word, and so is its gradient. What stands in the columns beyond s is
 * finite and never read as a result. */
struct bk_gru {
    size_t s;
    bool reverse;             /* from the last word to the first */
    struct bk_weights wg, wc; /* s -> 2 w, s -> s: the parts of Wg and Wc that meet h */
    const uint32_t *word;     /* m: row -> word */
    /* Where backward follows these have the m rows of the batch and are kept; else b rows, used again at each step, and prev is NULL. */
    bk_real *gate; /* x 2 w. Forward: [rg, z]; backward: gradient before the sigmoid */
    bk_real *cand; /* x w. Forward: c; backward: gradient before the tanh */
    bk_real *rh;   /* x w: rg * the state before */
    bk_real *prev; /* x w: the state before the step */
};
/* xw: words x [x Wg + bg | x Wc + bc], 3 w columns laid out like gate and cand. h: m rows of s numbers, ldh apart; w columns of each
 * row are written. */
void bk_gru_forward(const struct bk_gru *g, const struct bk_packing *pk, bk_real *h, size_t ldh, struct bk_columns xw);
/* back_g (2 w -> s) and back_c (s -> s) are wg and wc transposed. dh is the gradient of h; dwg (s x 2s), dwc (s x s), dxw like xw in full.
 * scratch: bk_gru_scratch() numbers. */
void bk_gru_backward(const struct bk_gru *g, const struct bk_weights *back_g, const struct bk_weights *back_c,
                     const struct bk_packing *pk, bk_real *dwg, bk_real *dwc, bk_real *dxw, size_t lddxw,
                     const bk_real *dh, size_t lddh, bk_real *scratch);
static inline size_t bk_gru_scratch(size_t s, size_t b)
{
    return 2 * b * bk_padded(s);
}

/* ---- self-attention ----------------------------------------------------- */

/*   A = softmax over the positions of a function (Ws2 tanh(Ws1 H^T)),  F = A H
 * Masked by construction unless `cover` says otherwise: padded positions have no rows. Rows of z are bk_padded(a) apart, those of att bk_padded(r). */
struct bk_attention {
    size_t u, a, r;
    struct bk_weights ws1, ws2; /* u -> a, a -> r: Ws1^T, Ws2^T */
    bool keep;                  /* backward follows */
    bk_real *z;                 /* tanh(H Ws1^T): m rows where kept, else BK_ATTENTION_ROWS */
    bk_real *att;               /* m rows: A^T */
    bk_real *gram;              /* b x r x r: A A^T - I of each function, kept; NULL: no penalty wanted */
    const bk_real *weight;      /* b: how often the penalty counts each function; NULL: once */
    /* Where the padding is not masked: positions of every function, pk->t or more; those behind its end have the state 0, and so the
     * score 0. pad: b rows like those of att, what each of them gets. cover 0: masked, pad is not there. */
    size_t cover;
    bk_real *pad;
};
#define BK_ATTENTION_ROWS 256
/* f: b x (r u), row k of F at f + k u, functions bk_padded(r u) apart. Returns the penalty, sum of weight ||A A^T - I||_F^2, or 0.
 * scratch: bk_attention_scratch(). */
double bk_attention_forward(const struct bk_attention *at, const struct bk_packing *pk, bk_real *f, struct bk_states h,
                            bk_real *scratch);
/* back1 (a -> u) and back2 (r -> a) are Ws1 and Ws2. Adds to dh (rows like those of h) the gradient through F and penalty_scale times
 * that of the penalty (0: gram may be NULL). df like f. */
void bk_attention_backward(const struct bk_attention *at, const struct bk_weights *back1,
                           const struct bk_weights *back2, const struct bk_packing *pk, bk_real *dws1, bk_real *dws2,
                           bk_real *dh, const bk_real *df, struct bk_states h, double penalty_scale, bk_real *scratch);
size_t bk_attention_scratch(const struct bk_attention *at, const struct bk_packing *pk);

/* ---- graphs -------------------------------------------------------------- */

/* Nodes are packed like words: row pk->row[s] + i is node s of function i, the function with the most nodes comes first, and self-attention
 * pools nodes as it pools words. The states of a round of messages are
 *   columns   x = h W, bk_product(): for each kind of edge and each way along it (a slot) its own bk_padded(s) columns
 *   messages  bk_sparse_forward() over the edges: `from` * slots + slot is a row of x, read with ldx = bk_padded(s)
 *   states    bk_cell_forward()
 *
 * A sparse matrix S: row i has weight[k] in column id[k] for k in [begin[i], begin[i + 1]), maybe none; an id may stand there twice. */
struct bk_sparse {
    size_t rows;
    const uint32_t *begin; /* rows + 1 */
    const uint32_t *id;
    const bk_real *weight; /* NULL: 1 each */
};
/* y (rows of bk_padded(n), ldy apart, the columns from n on zero) = bias + S x. x: a row of n numbers for each id, ldx apart. bias: n numbers,
 * NULL: 0. A row of y is summed in the order of its entries and depends on nothing else. */
void bk_sparse_forward(bk_real *y, size_t ldy, const struct bk_sparse *s, const bk_real *x, size_t ldx,
                       const bk_real *bias, size_t n);
/* dx += S^T dy; the rows without an id are not touched. dbias, NULL allowed, += the sum of the rows of dy. */
void bk_sparse_backward(bk_real *dx, size_t ldx, bk_real *dbias, const struct bk_sparse *s, const bk_real *dy,
                        size_t ldy, size_t n);

/*   [rg, z] = sigmoid([x, h] Wg + bg),  c = tanh([x, rg * h] Wc + bc),  h' = z * h + (1 - z) * c
 * The cell of the GRU above for any rows at once: x are their messages, h their states. As there w = bk_padded(s), rg | z lie in 2 w
 * columns, and what stands beyond s is finite and never read as a result. */
struct bk_cell {
    size_t in, s;
    struct bk_weights wx;     /* in -> 3 w: the parts of Wg (rg | z) and Wc that meet x */
    struct bk_weights wg, wc; /* s -> 2 w, s -> s: those that meet h */
    const bk_real *bias;      /* 3 w: rg | z | c */
    bool keep;                /* backward follows */
    /* Where kept, one row each for those of h, else BK_CELL_ROWS. */
    bk_real *gate; /* x 2 w. Forward: [rg, z]; backward: gradient before the sigmoid */
    bk_real *cand; /* x w. Forward: c; backward: gradient before the tanh */
    bk_real *rh;   /* x w: rg * h */
};
#define BK_CELL_ROWS 128
/* next, h: m rows of w. x: m rows, ldx apart. next is not h. scratch: bk_cell_scratch(). */
void bk_cell_forward(const struct bk_cell *c, size_t m, bk_real *next, const bk_real *h, const bk_real *x, size_t ldx,
                     bk_real *scratch);
struct bk_cell_back {
    struct bk_weights xg, xc, g,
        c; /* 2 w -> in, s -> in, 2 w -> s, s -> s: the two parts of wx, wg and wc, each transposed */
    bk_real *dgate, *dgate_bias; /* (in + s) x 2 s, 2 s: Wg, x above h, and bg */
    bk_real *dcand, *dcand_bias; /* (in + s) x s, s: Wc and bc */
};
/* dh: on entry the gradient of next, in the end that of h. dx: m rows of bk_padded(in), overwritten. Gradients of weights are added to, so that
 * rounds share them. */
void bk_cell_backward(const struct bk_cell *c, const struct bk_cell_back *back, size_t m, bk_real *dh, bk_real *dx,
                      const bk_real *h, const bk_real *x, size_t ldx, bk_real *scratch);
static inline size_t bk_cell_scratch(size_t s)
{
    return BK_CELL_ROWS * 3 * bk_padded(s);
}

/* Count-sketch of a sparse vector (Charikar et al. 2002, in the block form of Kane and Nelson 2014): item k adds weight[k] / sqrt 2, with a sign
 * each, to one number of either half of y. Places and signs are bits of its hash, which must be spread evenly over 64 bits. The dot
 * product of two sketches is that of the vectors in the mean over the hashes, with variance
 * (|x|^2 |y|^2 + (x . y)^2 - 2 sum x_i^2 y_i^2) / n. y: n numbers, n even; the same bits on every processor. */
void bk_sketch(bk_real *y, size_t n, const uint64_t *hash, const bk_real *weight, size_t count);

/* ---- dense -------------------------------------------------------------- */

/* y (b rows of bk_padded(w->n)) = [relu] (x (b x w->k, ldx apart) W + bias). bias: w->n numbers. */
void bk_dense_forward(bk_real *y, const bk_real *x, size_t ldx, const struct bk_weights *w, const bk_real *bias,
                      size_t b, bool relu);
/* y: what forward gave. dy (like y) is overwritten by the gradient before the relu. dw: out x in. back (out -> in) is W^T; dx,
 * rows bk_padded(in) apart, is overwritten (not added to). */
void bk_dense_backward(bk_real *dx, bk_real *dw, bk_real *dbias, bk_real *dy, const bk_real *y, const bk_real *x,
                       size_t ldx, const struct bk_weights *back, size_t b, bool relu);

/* ---- semantic feature fusion (MFFA-Net) --------------------------------- */

/*   Q = max over the positions i of a function of tanh(W (x_i (+) h_i) + bias)
 * The x half of the product depends on the word alone: xw has it, bias included, for each word. Rows of q and arg are
 * bk_padded(n) apart. */
struct bk_sff {
    size_t d, u, n;
    struct bk_weights wh; /* u -> n: the h half of W, transposed */
    struct bk_columns xw; /* words x bk_padded(n) */
    const uint32_t *word; /* m: row -> word */
    uint32_t *arg;        /* b rows: the row that gave the maximum; NULL: no backward follows */
};
void bk_sff_forward(const struct bk_sff *s, const struct bk_packing *pk, bk_real *q, struct bk_states h,
                    bk_real *scratch);
/* w: n x (d + u). x: words x d, rows ldx apart, as those of its gradient dx, which may be NULL. dq is the gradient of q, and q what
 * forward gave. */
void bk_sff_backward(const struct bk_sff *s, const struct bk_packing *pk, bk_real *dw, bk_real *dbias, bk_real *dh,
                     bk_real *dx, const bk_real *dq, const bk_real *q, const bk_real *w, const bk_real *x, size_t ldx,
                     struct bk_states h);
size_t bk_sff_scratch(const struct bk_sff *s, const struct bk_packing *pk);

/* ---- attention feature fusion (MFFA-Net): two vectors of n to 2n --------- */

/* The readings that fuse; "p" and "q" alone need no op. C = scale q p^T.
 *   NONE      f = p (+) q
 *   MATRIX    f = (row_softmax(C) p) (+) (row_softmax(C^T) q)
 *   RESIDUAL  f = (p + row_softmax(C) p) (+) (q + row_softmax(C^T) q)
 *   GATE      f = (n softmax(column sums of C) * p) (+) (n softmax(row sums of C) * q) */
enum bk_fusion { BK_FUSION_NONE, BK_FUSION_MATRIX, BK_FUSION_RESIDUAL, BK_FUSION_GATE };
/* f: 2n numbers. scratch: 2n. */
void bk_fusion_forward(bk_real *f, const bk_real *p, const bk_real *q, size_t n, enum bk_fusion how, double scale,
                       bk_real *scratch);
void bk_fusion_backward(bk_real *dp, bk_real *dq, const bk_real *df, const bk_real *p, const bk_real *q, size_t n,
                        enum bk_fusion how, double scale, bk_real *scratch);

/* Attention over the branches of a network: vectors of unit length, of sizes of their own, that lie one behind the other in a row of x.
 *   f = w_1 b_1 (+) ... (+) w_k b_k,  w = sqrt(softmax_k(u_k . b_k + c_k))
 * So f has unit length as well. A branch that is zero keeps its weight and leaves f that much shorter. */
struct bk_branches {
    size_t k;
    const size_t *n; /* k sizes */
};
/* f: b rows like x, ld apart. u: a number for each of a row. c: k. weight: b rows of k, for backward. */
void bk_branches_forward(bk_real *f, bk_real *weight, const struct bk_branches *br, size_t b, const bk_real *x,
                         size_t ld, const bk_real *u, const bk_real *c);
/* dx, df: rows like x. scratch: k. */
void bk_branches_backward(bk_real *dx, bk_real *du, bk_real *dc, const bk_real *df, const bk_real *weight,
                          const struct bk_branches *br, size_t b, const bk_real *x, size_t ld, const bk_real *u,
                          bk_real *scratch);

/* y = x / |x|; the zero vector stays. Returns |x|. y may be x. */
double bk_unit_forward(bk_real *y, const bk_real *x, size_t n);
/* dx += gradient; y and norm as forward gave them. Nothing where norm is 0. */
void bk_unit_backward(bk_real *dx, const bk_real *dy, const bk_real *y, double norm, size_t n);

/* ---- losses over shared embeddings ---------------------------------------- */

/* Pair i is the rows left[i] and right[i] of f; a row may stand in any number of pairs, so each distinct function
 * of a batch is embedded once. y[i]: +1 similar, -1 dissimilar. Returns sum over the pairs of (cos - y)^2 and adds its
 * gradient to df (like f). The cosine with a zero vector is 0 and has no gradient. cosines, NULL allowed, receives them. */
double bk_cosine_loss(bk_real *df, bk_real *cosines, const bk_real *f, size_t o, const uint32_t *left,
                      const uint32_t *right, const int8_t *y, size_t n_pairs);

/* The loss of SAFE's program: the two sides of a pair have vectors of their own, rows of f are 2 o numbers, a function as the left one and as
 * the right one. Returns sum over the pairs of (left . right - y)^2 and adds its gradient to df (like f). */
double bk_dot_loss(bk_real *df, const bk_real *f, size_t o, const uint32_t *left, const uint32_t *right,
                   const int8_t *y, size_t n_pairs);

/* In-batch contrast. Row anchor[i] of f belongs to row positive[i], and the other positives of the batch are its negatives, but for
 * those with label[j] == label[i]. With S_ij = cos(anchor i, positive j) / temperature returns
 * sum over i of (-log row_softmax(S)_ii - log column_softmax(S)_ii) / 2 and adds its gradient to df. scratch:
 * bk_contrast_scratch() numbers. */
double bk_contrast_loss(bk_real *df, const bk_real *f, size_t o, const uint32_t *anchor, const uint32_t *positive,
                        const uint32_t *label, size_t n_pairs, double temperature, bk_real *scratch);
size_t bk_contrast_scratch(size_t n_pairs, size_t o);

/* Rows of former batches, so that a batch meets more labels than it holds: at most `cap` rows of o numbers, each of unit length or
 * zero, and their labels. The buffers are the caller's. */
struct bk_memory {
    bk_real *f; /* cap x o */
    uint32_t *label;
    size_t o, cap;
    size_t n;    /* rows it holds */
    size_t next; /* the row that the next one takes: once all are taken, that of the oldest */
};
/* Keeps the n rows of f, brought to unit length, in place of the oldest; of more than `cap` the last ones. */
void bk_memory_push(struct bk_memory *m, const bk_real *f, const uint32_t *label, size_t n);

/* Several rows of f to a label: each row is an anchor, P(i) the other rows of its label, s the cosines. n rows of o numbers; both return the loss
 * and add its gradient to df. The rows of `memory` (NULL: none) are positives and negatives like the others, but no anchors, and get no
 * gradient. Rows without a positive are no anchors, but negatives of the others; a zero vector has no gradient.
 * scratch: bk_labels_scratch() numbers, n_memory being the rows that the memory holds.
 *
 * Supervised contrast (Khosla et al. 2020, equation 2): the sum over the anchors i of
 *   -1 / |P(i)| sum over p in P(i) of log(exp(s_ip / temperature) / sum over a != i of exp(s_ia / temperature)). */
double bk_supcon_loss(bk_real *df, const bk_real *f, size_t o, const uint32_t *label, size_t n,
                      const struct bk_memory *memory, double temperature, bk_real *scratch);
/* Triplets with the hardest negative: the sum over i and p in P(i) of max(0, margin - s_ip + max_a s_ia), a over the rows of other
 * labels, the first of equals. Without any the loss is 0. */
double bk_triplet_loss(bk_real *df, const bk_real *f, size_t o, const uint32_t *label, size_t n,
                       const struct bk_memory *memory, double margin, bk_real *scratch);
size_t bk_labels_scratch(size_t n, size_t n_memory, size_t o);

/* ---- Adam (Kingma and Ba 2015): beta .9 and .999, epsilon 1e-8, bias-corrected ---- */

/* One step, number `step` (from 1), over the numbers [first, first + n) of flat blocks. The gradient is the sum of the
 * `n_grads` blocks in their order, one a shard; they are left zero, ready for the next batch. To use threads, give
 * each item a fixed range (BK_ADAM_RANGE numbers), so that the result does not depend on their number. */
#define BK_ADAM_RANGE 65536
void bk_adam(bk_real *params, bk_real *m, bk_real *v, bk_real *const *grads, size_t n_grads, size_t first, size_t n,
             uint64_t step, double rate);

/* Moving average of weights, after step number `step` (from 1), over the numbers [first, first + n); ranges as with Adam:
 *   average = d average + (1 - d) params,  d = min(decay, (1 + step) / (10 + step))
 * so that what the weights began as is soon forgotten. Before the first step `average` is a copy of them. */
void bk_average(bk_real *average, const bk_real *params, size_t first, size_t n, uint64_t step, double decay);

/* ---- int8 products: C = A W with A and W in eight bits, in float builds only ---- */

#ifndef BK_REAL_DOUBLE
/* W is packed once; column j has its own scale: w = q max_i |w_ij| / 127. A is quantised row by row: q = a 127 / range, rounded to
 * nearest even. The range is 1 where the rows are states or tanh, else the row's own maximum of |a|. A product is
 *   c_ij = (float)(sum_p q_ip q_pj) * scale_j [* range_i],  scale_j = max_i |w_ij| / 127^2,
 * each * rounded by itself and the sum exact. A row of C depends on its row of A alone. k is at most BK_INT8_MAX_K. Every instruction
 * set makes the same bits, of the GRU below too.
 *
 * NaN is quantised like -range and does not count in a maximum; where infinity is the maximum the row of C means nothing. A row or
 * column with no number beyond 2^-119 counts as zero. */
#define BK_INT8_MAX_K 65536

/* Packed weights: one block that can be copied, but not taken to a processor of the other byte order. */
size_t bk_int8_size(size_t k, size_t n); /* bytes, a multiple of 64 */
/* op(w) is k x n; out is aligned to 64 bytes. */
void bk_int8_pack(void *out, enum bk_op t, const float *w, size_t ldw, size_t k, size_t n);

/* Rows of A, ld bytes apart: q + 128 of k numbers and whatever up to a multiple of 4. Where each has its `own` range that follows
 * as a float, else it is 1. */
struct bk_int8_rows {
    const uint8_t *q;
    size_t ld;
    bool own;
};
/* Writes m rows with their own ranges, bk_int8_row() bytes each. */
void bk_int8_quantise(uint8_t *q, const float *a, size_t lda, size_t m, size_t k);
size_t bk_int8_row(size_t k);
/* C (m x bk_padded(n), the columns from n on zero) = A W. */
void bk_int8_product(float *c, size_t ldc, size_t m, struct bk_int8_rows a, const void *packed);

/* The GRU beside them: bk_gru_forward() with states in eight bits, q + 128 with range 1, where no backward follows. tanh and the sigmoid
 * are within 2.6e-4 and 1.3e-4, a thirtieth of an eight-bit step, and xw is in brief. h: m rows of bytes, ldh apart; bk_padded(s) of
 * each row are written, those from s on mean nothing. state: b x bk_padded(s) scratch. */
void bk_int8_gru_forward(const struct bk_gru *g, const struct bk_packing *pk, uint8_t *h, size_t ldh,
                         struct bk_columns xw, float *state);

/* This processor has the instructions with which it is faster than float. Without them the results are the same. */
bool bk_int8_fast(void);
#endif

#endif
