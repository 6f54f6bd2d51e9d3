/* Exact neighbours by blocked products. A group of queries goes through the pool together: each tile of the pool is
 * packed once, lanes of one vector being rows of the pool, and stays in the cache while all queries of the group are
 * compared with it. The sum of one inner product runs over its dimensions in order, in every build for every
 * processor, so scores depend neither on threads nor on the machine. */
#include "store/store.h"

#include <stdlib.h>
#include <string.h>

#define LANES     16 /* rows of the pool in one vector */
#define AT_ONCE   4  /* queries whose sums are kept in registers together */
#define TILE      64 /* rows of the pool in one tile; a multiple of LANES. 64 x 200 floats lie in the second-level cache */
#define MAX_GROUP 128 /* queries of one group at most: packing a tile costs about as much as comparing eight */

typedef float lanes __attribute__((vector_size(LANES * sizeof(float))));

/* scores[q][lane] = inner product of query q and row `lane` of `packed` (dim x LANES), q < AT_ONCE. */
typedef void compare_fn(float scores[AT_ONCE][LANES], const float *const queries[AT_ONCE], const float *packed,
                        size_t dim);

static inline __attribute__((always_inline)) void
compare(float scores[AT_ONCE][LANES], const float *const queries[AT_ONCE], const float *packed, size_t dim)
{
    lanes sum[AT_ONCE] = {{0}};
    for (size_t d = 0; d < dim; d++) {
        lanes rows;
        memcpy(&rows, packed + d * LANES, sizeof rows);
        for (size_t q = 0; q < AT_ONCE; q++)
            sum[q] += rows * queries[q][d];
    }
    memcpy(scores, sum, sizeof sum);
}

static void compare_any(float scores[AT_ONCE][LANES], const float *const queries[AT_ONCE], const float *packed,
                        size_t dim)
{
    compare(scores, queries, packed, dim);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void
compare_avx2(float scores[AT_ONCE][LANES], const float *const queries[AT_ONCE], const float *packed, size_t dim)
{
    compare(scores, queries, packed, dim);
}

__attribute__((target("avx512f"))) static void
compare_avx512(float scores[AT_ONCE][LANES], const float *const queries[AT_ONCE], const float *packed, size_t dim)
{
    compare(scores, queries, packed, dim);
}

static compare_fn *fastest_compare(void)
{
    if (__builtin_cpu_supports("avx512f"))
        return compare_avx512;
    return __builtin_cpu_supports("avx2") ? compare_avx2 : compare_any;
}
#else
static compare_fn *fastest_compare(void)
{
    return compare_any;
}
#endif

/* ---- the best k of one query ------------------------------------------ */

/* Fills up in order of index; once it holds k, a heap with the worst on top. */
struct best {
    struct bk_hit *v; /* k of the caller's */
    size_t n, k;
};

static bool worse(const struct bk_hit *a, const struct bk_hit *b)
{
    return a->score < b->score || (a->score == b->score && a->index > b->index);
}

static int better_first(const void *pa, const void *pb)
{
    const struct bk_hit *a = pa, *b = pb;
    return worse(b, a) ? -1 : worse(a, b);
}

static void sift_down(struct bk_hit *v, size_t n, size_t i)
{
    struct bk_hit x = v[i];
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && worse(&v[child + 1], &v[child]))
            child++;
        if (!worse(&v[child], &x))
            break;
        v[i] = v[child];
    }
    v[i] = x;
}

/* Candidates come in order of index, so one that only equals the worst never displaces it. */
static inline bool has_room_for(const struct best *b, float score)
{
    return b->n < b->k || score > b->v[0].score;
}

static void add(struct best *b, struct bk_hit hit)
{
    if (b->n == b->k) {
        b->v[0] = hit;
        sift_down(b->v, b->k, 0);
        return;
    }
    b->v[b->n++] = hit;
    if (b->n == b->k)
        for (size_t i = b->k / 2; i-- > 0;)
            sift_down(b->v, b->k, i);
}

static void finish(struct best *b)
{
    qsort(b->v, b->n, sizeof *b->v, better_first);
    for (; b->n < b->k; b->n++)
        b->v[b->n] = (struct bk_hit){.index = UINT32_MAX, .score = -1};
}

/* ---- the scan --------------------------------------------------------- */

struct scan {
    struct bk_hit *hits;
    const float *queries, *pool;
    size_t n_queries, n_pool, dim, k, group;
    bk_scan_allow *allow;
    const void *allow_ctx;
    compare_fn *compare;
    struct scratch *scratch; /* one a worker */
};

struct scratch {
    float *packed; /* TILE / LANES blocks of dim x LANES */
    struct best best[MAX_GROUP];
};

/* Rows [first, first + n) of the pool into `packed`; missing rows of the last block are zeros. */
static void pack(float *packed, const struct scan *s, size_t first, size_t n)
{
    for (size_t block = 0; block * LANES < n; block++) {
        float *to = packed + block * LANES * s->dim;
        for (size_t lane = 0; lane < LANES; lane++) {
            size_t row = block * LANES + lane;
            const float *from = s->pool + (first + row) * s->dim;
            for (size_t d = 0; d < s->dim; d++)
                to[d * LANES + lane] = row < n ? from[d] : 0;
        }
    }
}

/* Brings rounding back into [-1, 1]; what is no number becomes the worst. */
static inline float cosine(float x)
{
    return x > 1 ? 1 : x >= -1 ? x : -1;
}

static void offer(const struct scan *s, struct best *best, size_t query, const float scores[LANES], size_t first,
                  size_t n)
{
    for (size_t lane = 0; lane < n; lane++) {
        float score = cosine(scores[lane]);
        if (!has_room_for(best, score))
            continue;
        size_t candidate = first + lane;
        if (s->allow == NULL || s->allow(s->allow_ctx, query, candidate))
            add(best, (struct bk_hit){.index = (uint32_t)candidate, .score = score});
    }
}

/* Queries [first, first + n) against rows [row, row + n_rows), packed. */
static void compare_tile(const struct scan *s, struct scratch *w, size_t first, size_t n, size_t row, size_t n_rows)
{
    for (size_t q = 0; q < n; q += AT_ONCE) {
        const float *queries[AT_ONCE];
        size_t n_here = n - q < AT_ONCE ? n - q : AT_ONCE;
        for (size_t i = 0; i < AT_ONCE; i++) /* the last stands in for those that are missing */
            queries[i] = s->queries + (first + q + (i < n_here ? i : n_here - 1)) * s->dim;
        for (size_t r = 0; r < n_rows; r += LANES) {
            float scores[AT_ONCE][LANES];
            s->compare(scores, queries, w->packed + r * s->dim, s->dim);
            for (size_t i = 0; i < n_here; i++)
                offer(s, &w->best[q + i], first + q + i, scores[i], row + r, n_rows - r < LANES ? n_rows - r : LANES);
        }
    }
}

static void scan_group(void *ctx, size_t item, unsigned worker)
{
    const struct scan *s = ctx;
    struct scratch *w = &s->scratch[worker];
    size_t first = item * s->group;
    size_t n = s->n_queries - first < s->group ? s->n_queries - first : s->group;
    for (size_t q = 0; q < n; q++)
        w->best[q] = (struct best){.v = s->hits + (first + q) * s->k, .k = s->k};
    for (size_t row = 0; row < s->n_pool; row += TILE) {
        size_t n_rows = s->n_pool - row < TILE ? s->n_pool - row : TILE;
        pack(w->packed, s, row, n_rows);
        compare_tile(s, w, first, n, row, n_rows);
    }
    for (size_t q = 0; q < n; q++)
        finish(&w->best[q]);
}

/* Large enough to pay for the packing, small enough that every thread has some. */
static size_t group_size(size_t n_queries, unsigned threads)
{
    size_t fair = n_queries / (2 * (size_t)threads);
    return fair < AT_ONCE ? AT_ONCE : fair > MAX_GROUP ? MAX_GROUP : fair;
}

int bk_scan_top(struct bk_hit *hits, const float *queries, size_t n_queries, const float *pool, size_t n_pool,
                size_t dim, size_t k, bk_scan_allow *allow, const void *ctx, unsigned threads, struct bk_error *err)
{
    if (k > n_pool)
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "%zu neighbours asked of a pool of %zu", k, n_pool);
    if (n_pool >= UINT32_MAX)
        return bk_fail(err, BK_ELIMIT, BK_NO_OFFSET, "a pool of %zu rows is over the limit of 2^32 - 2", n_pool);
    if (n_queries == 0 || k == 0)
        return BK_OK;
    threads = bk_par_threads(threads);
    size_t tile;
    if (!bk_mul_size(&tile, dim, TILE) || !bk_mul_size(&tile, tile, threads))
        return bk_fail_nomem(err, SIZE_MAX);
    struct scratch *scratch = bk_calloc(threads, sizeof *scratch);
    float *packed = bk_calloc(tile, sizeof *packed);
    int rc = BK_OK;
    if (scratch == NULL || packed == NULL) {
        rc = bk_fail_nomem(err, tile * sizeof *packed);
    } else {
        for (unsigned i = 0; i < threads; i++)
            scratch[i].packed = packed + i * (tile / threads);
        struct scan s = {.hits = hits,
                         .queries = queries,
                         .pool = pool,
                         .n_queries = n_queries,
                         .n_pool = n_pool,
                         .dim = dim,
                         .k = k,
                         .group = group_size(n_queries, threads),
                         .allow = allow,
                         .allow_ctx = ctx,
                         .compare = fastest_compare(),
                         .scratch = scratch};
        bk_par_for((n_queries + s.group - 1) / s.group, threads, scan_group, &s);
    }
    free(packed);
    free(scratch);
    return rc;
}
