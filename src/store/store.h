/* store: embeddings -> nearest neighbours. Exact scan by inner product of
 * unit vectors (cosine), in memory. */
#ifndef BK_STORE_H
#define BK_STORE_H

#include "base/base.h"

struct bk_hit {
    uint32_t index; /* row of the pool */
    float score;    /* cosine, [-1, 1] */
};

/* For each of n_queries rows of `queries` (n_queries x dim, unit length), the best `k` of `pool` (n_pool x dim, unit length), best
 * first, ties by lower index, into hits[q * k .. q * k + k). k <= n_pool; k == n_pool ranks everything. `allow` (n_queries x n_pool bits are not
 * stored: a callback) may veto a candidate, NULL allows all; where fewer than k are allowed the rest has index UINT32_MAX.
 * The result does not depend on `threads`. */
typedef bool bk_scan_allow(const void *ctx, size_t query, size_t candidate);
BK_MUST_CHECK int bk_scan_top(struct bk_hit *hits, const float *queries, size_t n_queries, const float *pool,
                              size_t n_pool, size_t dim, size_t k, bk_scan_allow *allow, const void *ctx,
                              unsigned threads, struct bk_error *err);

#endif
