/* Private to store: the inner loop of the scan, compiled once for each instruction set. */
#ifndef BK_STORE_INT_H
#define BK_STORE_INT_H

#include "store/store.h"

enum {
    BK_SCAN_VECTORS = 3, /* of queries in one panel at most */
    BK_SCAN_MAX_ROWS = 9
};

/* One block of the product: `rows` rows of the pool against a panel of queries, one query a lane. */
struct bk_scan_block {
    const float *panel; /* dim x queries, aligned to a vector */
    const float *pool;  /* the first row; the others follow at distance dim */
    const float *worst; /* one a query */
    size_t dim;
    float *scores;    /* out: rows x queries, aligned to a vector */
    uint64_t *beyond; /* out, one a row: bit q where not (scores[.][q] <= worst[q]) */
};

/* score = fma(pool[d], query[d], score) from 0, d rising: the same bits in every table that has the instruction. One
 * without it rounds the product, then the sum. */
struct bk_scan_kernel {
    size_t lanes, rows;
    void (*compare[BK_SCAN_VECTORS])(const struct bk_scan_block *b); /* [v - 1]: v vectors of queries */
};

extern const struct bk_scan_kernel bk_scan_kernel_plain;
#if defined(__x86_64__)
extern const struct bk_scan_kernel bk_scan_kernel_avx2, bk_scan_kernel_avx512;
#endif
const struct bk_scan_kernel *bk_scan_kernel(enum bk_cpu cpu);

/* bk_scan_top with the kernels of the caller's choice. */
BK_MUST_CHECK int bk_scan_top_by(const struct bk_scan_kernel *kernel, struct bk_hit *hits, const float *queries,
                                 size_t n_queries, const float *pool, size_t n_pool, size_t dim, size_t k,
                                 bk_scan_allow *allow, const void *ctx, unsigned threads, struct bk_error *err);

#endif
