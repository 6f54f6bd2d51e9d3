/* same: which rows of a pool nothing tells apart. */
#include "store/store.h"

#include <math.h>
#include <stdlib.h>

#define NEAR 1e-6 /* below a cosine of 1 */
/* Unit vectors of a cosine of 1 - NEAR are sqrt(2 NEAR) apart, and so at most are their projections on any unit vector; with room for
 * rounding. */
#define WINDOW 1.5e-3

struct place {
    double key; /* projection on the diagonal */
    uint32_t row;
};

struct same {
    uint32_t *n_same;
    const struct bk_hit *hits;
    const float *pool;
    size_t n_pool, dim, k;
    struct place *sorted; /* n_pool, by key */
    uint32_t *at;         /* where each row stands there */
};

static void project(void *ctx, size_t row, unsigned worker)
{
    (void)worker;
    struct same *s = ctx;
    double sum = 0;
    for (size_t d = 0; d < s->dim; d++)
        sum += (double)s->pool[row * s->dim + d];
    s->sorted[row] = (struct place){sum / sqrt((double)s->dim), (uint32_t)row};
}

static int by_key(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

static bool near(const struct same *s, uint32_t a, uint32_t b)
{
    const float *x = s->pool + a * s->dim, *y = s->pool + b * s->dim;
    double sum = 0;
    for (size_t d = 0; d < s->dim; d++)
        sum += (double)x[d] * (double)y[d];
    return sum >= 1 - NEAR;
}

static void count(void *ctx, size_t query, unsigned worker)
{
    (void)worker;
    struct same *s = ctx;
    uint32_t row = s->hits[query * s->k].index;
    s->n_same[query] = row != UINT32_MAX;
    if (row == UINT32_MAX)
        return;
    size_t at = s->at[row];
    double key = s->sorted[at].key;
    for (size_t i = at; i > 0 && key - s->sorted[i - 1].key <= WINDOW; i--)
        s->n_same[query] += near(s, row, s->sorted[i - 1].row);
    for (size_t i = at + 1; i < s->n_pool && s->sorted[i].key - key <= WINDOW; i++)
        s->n_same[query] += near(s, row, s->sorted[i].row);
}

int bk_scan_same(uint32_t *n_same, const struct bk_hit *hits, size_t n_queries, size_t k, const float *pool,
                 size_t n_pool, size_t dim, unsigned threads, struct bk_error *err)
{
    struct same s = {.n_same = n_same, .hits = hits, .pool = pool, .n_pool = n_pool, .dim = dim, .k = k};
    s.sorted = bk_calloc(n_pool + 1, sizeof *s.sorted);
    s.at = bk_calloc(n_pool + 1, sizeof *s.at);
    int rc = s.sorted && s.at ? BK_OK : bk_fail_nomem(err, n_pool * sizeof *s.sorted);
    if (!rc) {
        bk_par_for(n_pool, threads, project, &s);
        qsort(s.sorted, n_pool, sizeof *s.sorted, by_key);
        for (size_t i = 0; i < n_pool; i++)
            s.at[s.sorted[i].row] = (uint32_t)i;
        bk_par_for(n_queries, threads, count, &s);
    }
    free(s.sorted);
    free(s.at);
    return rc;
}
