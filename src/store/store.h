/* store: embeddings -> nearest neighbours. Exact scan by inner product of
 * unit vectors (cosine), in memory. */
#ifndef BK_STORE_H
#define BK_STORE_H

#include "base/base.h"

struct bk_hit {
    uint32_t index; /* row of the pool */
    float score;    /* cosine, [-1, 1] */
};

/* For each of n_queries rows of `queries` (n_queries x dim, unit length), the best `k` of `pool` (n_pool x dim, unit
 * length), best first, ties by lower index, into hits[q * k .. q * k + k). k <= n_pool; k == n_pool ranks everything. A
 * score outside [-1, 1] by rounding is brought back; one that is no number (NaN in a row) counts as -1. `allow`, NULL
 * allowed, may veto a candidate: it is asked by several threads at once and only about candidates that would get in;
 * where fewer than k are allowed the rest has index UINT32_MAX and score -1. The sum of an inner product runs over its
 * dimensions in order, each step one fused multiply-add: the result depends neither on `threads` nor on the processor's
 * vector width. A processor without fused multiply-add (x86 before 2013) rounds each product too, which can move a
 * score in its last bits. */
typedef bool bk_scan_allow(const void *ctx, size_t query, size_t candidate);
BK_MUST_CHECK int bk_scan_top(struct bk_hit *hits, const float *queries, size_t n_queries, const float *pool,
                              size_t n_pool, size_t dim, size_t k, bk_scan_allow *allow, const void *ctx,
                              unsigned threads, struct bk_error *err);

/* How many rows of the pool have a vector that equals the best answer's to within a cosine of 1e-6, that answer among them, into
 * n_same[q]; of hits as bk_scan_top() gave them, UINT32_MAX: 0. Where it is not 1 nothing tells the answers apart. */
BK_MUST_CHECK int bk_scan_same(uint32_t *n_same, const struct bk_hit *hits, size_t n_queries, size_t k,
                               const float *pool, size_t n_pool, size_t dim, unsigned threads, struct bk_error *err);

#endif
