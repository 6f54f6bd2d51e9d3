/* The exact scan against the most that this processor's multiply-adds allow: 10,000 x 10,000 random unit vectors of 200
 * numbers, the best 10 of each. Multiply-adds that never leave the registers, scan, multiply-adds again and, where the
 * build found one, the same product by a BLAS, which selects nothing, take turns; the peak of a round is the mean before
 * and after its scan. One JSON line a number of threads: GFLOP/s, median of the rounds. Arguments: queries, rows, dim,
 * k, none of which must be given. */
#include "base/base.h"
#include "peak.h"
#include "store/store.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef BENCH_OPENBLAS
#include <cblas.h>
#endif

enum { ROUNDS = 11 };

static float *unit_rows(size_t n, size_t dim, uint64_t seed)
{
    struct bk_rng rng;
    bk_rng_seed(&rng, seed, 0);
    float *v = bk_alloc_large(n * dim, sizeof *v);
    for (size_t i = 0; v && i < n; i++) {
        double sum = 0;
        for (size_t d = 0; d < dim; d++) {
            double x = 0; /* nearly normal, so that directions are even */
            for (int j = 0; j < 4; j++)
                x += bk_rng_unit(&rng) - 0.5;
            v[i * dim + d] = (float)x;
            sum += x * x;
        }
        for (size_t d = 0; d < dim; d++)
            v[i * dim + d] /= (float)sqrt(sum);
    }
    return v;
}

struct bench {
    float *queries, *pool, *product; /* product: NULL without a BLAS */
    struct bk_hit *hits;
    size_t n_queries, n_pool, dim, k;
};

static double scan(const struct bench *b, unsigned threads)
{
    struct bk_error err;
    double begun = bk_now();
    if (bk_scan_top(b->hits, b->queries, b->n_queries, b->pool, b->n_pool, b->dim, b->k, NULL, NULL, threads, &err)) {
        fprintf(stderr, "%s\n", err.message);
        exit(2);
    }
    return 2e-9 * (double)b->n_queries * (double)b->n_pool * (double)b->dim / (bk_now() - begun);
}

/* Sleeps afterwards: for some time idle threads of OpenBLAS do not, and would disturb what comes next. */
static double blas(const struct bench *b, unsigned threads)
{
#ifdef BENCH_OPENBLAS
    openblas_set_num_threads((int)threads);
    double begun = bk_now();
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)b->n_queries, (int)b->n_pool, (int)b->dim, 1, b->queries,
                (int)b->dim, b->pool, (int)b->dim, 0, b->product, (int)b->n_pool);
    const double seconds = bk_now() - begun;
    nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
    return 2e-9 * (double)b->n_queries * (double)b->n_pool * (double)b->dim / seconds;
#else
    (void)b;
    (void)threads;
    return 0;
#endif
}

static int by_value(const void *pa, const void *pb)
{
    const double *a = pa, *b = pb;
    return (*a > *b) - (*a < *b);
}

static void measure(const struct bench *b, unsigned threads)
{
    double ours[ROUNDS], top[ROUNDS], share[ROUNDS], peer[ROUNDS];
    scan(b, threads); /* pages, clock, threads of the BLAS */
    blas(b, threads);
    for (int i = 0; i < ROUNDS; i++) {
        const double before = peak_rate(peak_float(), threads);
        ours[i] = scan(b, threads);
        top[i] = (before + peak_rate(peak_float(), threads)) / 2;
        peer[i] = blas(b, threads);
        share[i] = ours[i] / top[i];
    }
    qsort(ours, ROUNDS, sizeof *ours, by_value);
    qsort(top, ROUNDS, sizeof *top, by_value);
    qsort(share, ROUNDS, sizeof *share, by_value);
    qsort(peer, ROUNDS, sizeof *peer, by_value);
    const int mid = ROUNDS / 2, last = ROUNDS - 1;
    printf("{\"row\":\"scan\",\"queries\":%zu,\"rows\":%zu,\"dim\":%zu,\"k\":%zu,\"cpu\":\"%s\",\"threads\":%u,"
           "\"ours\":%.1f,\"ours_spread\":[%.1f,%.1f],\"peak\":%.1f,\"peak_spread\":[%.1f,%.1f],\"share\":%.3f,"
           "\"share_spread\":[%.3f,%.3f]",
           b->n_queries, b->n_pool, b->dim, b->k, bk_cpu_name(bk_cpu()), threads, ours[mid], ours[0], ours[last],
           top[mid], top[0], top[last], share[mid], share[0], share[last]);
#ifdef BENCH_OPENBLAS
    const char *config = openblas_get_config(); /* "OpenBLAS 0.3.21 ..." */
    const char *end = strchr(config, ' ') ? strchr(strchr(config, ' ') + 1, ' ') : NULL;
    printf(",\"peer\":\"%.*s sgemm, no selection\",\"peer_value\":%.1f,\"peer_spread\":[%.1f,%.1f],\"ratio\":%.3f",
           end ? (int)(end - config) : 8, config, peer[mid], peer[0], peer[last], ours[mid] / peer[mid]);
#endif
    puts("}");
}

int main(int argc, char **argv)
{
    size_t number[4] = {10000, 10000, 200, 10};
    for (int i = 1; i < argc && i <= 4; i++)
        number[i - 1] = strtoul(argv[i], NULL, 10);
    struct bench b = {.n_queries = number[0], .n_pool = number[1], .dim = number[2], .k = number[3]};
    b.queries = unit_rows(b.n_queries, b.dim, 1);
    b.pool = unit_rows(b.n_pool, b.dim, 2);
    b.hits = bk_calloc(b.n_queries * b.k, sizeof *b.hits);
#ifdef BENCH_OPENBLAS
    b.product = bk_alloc_large(b.n_queries * b.n_pool, sizeof *b.product);
#else
    b.product = bk_alloc_large(1, sizeof *b.product);
#endif
    if (!b.queries || !b.pool || !b.hits || !b.product) {
        fputs("no memory\n", stderr);
        return 2;
    }
    for (unsigned threads = 1; threads <= 2; threads++)
        measure(&b, threads);
    free(b.queries);
    free(b.pool);
    free(b.hits);
    free(b.product);
    return 0;
}
