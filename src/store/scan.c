/* Exact neighbours by blocked products. The queries of a group are packed once, lanes of one vector being queries, into
 * panels that fit the first-level cache; a tile of the pool, in place as the caller has it, goes past all panels of the
 * group while it lies in the second-level cache. Whoever does not get into the best k is turned away a vector at a
 * time. */
#include "store/store_int.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_GROUP 240          /* queries of one group at most, whole panels; 192 KB of vectors of the usual 200 */
#define TILE      (128 * 1024) /* bytes of the pool in one tile, about; the group lies beside it in the cache */
#define ALIGN     64

const struct bk_scan_kernel *bk_scan_kernel(enum bk_cpu cpu)
{
#if defined(__x86_64__)
    if (cpu == BK_CPU_AVX512)
        return &bk_scan_kernel_avx512;
    if (cpu == BK_CPU_AVX2)
        return &bk_scan_kernel_avx2;
#endif
    (void)cpu;
    return &bk_scan_kernel_plain;
}

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
    const struct bk_scan_kernel *kernel;
    struct bk_hit *hits;
    const float *queries, *pool;
    size_t n_queries, n_pool, dim, k;
    size_t group, tile;  /* queries, rows */
    const float *ragged; /* the rows after the last whole block, filled up to one */
    bk_scan_allow *allow;
    const void *allow_ctx;
    struct scratch *scratch; /* one a worker */
};

struct scratch {
    float *packed; /* the panels of a group */
    struct best best[MAX_GROUP];
    float worst[MAX_GROUP]; /* who is not above need not be looked at */
    struct bk_scan_block block;
};

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Vectors in the panel that begins where `left` queries are still to come. */
static size_t panel_vectors(const struct scan *s, size_t left)
{
    return least((left + s->kernel->lanes - 1) / s->kernel->lanes, BK_SCAN_VECTORS);
}

/* Queries [first, first + n) as one panel of `width` lanes; missing ones are zeros. */
static void pack(float *panel, const struct scan *s, size_t first, size_t n, size_t width)
{
    for (size_t lane = 0; lane < width; lane++) {
        const float *from = s->queries + (first + lane) * s->dim;
        for (size_t d = 0; d < s->dim; d++)
            panel[d * width + lane] = lane < n ? from[d] : 0;
    }
}

/* Brings rounding back into [-1, 1]; what is no number becomes the worst. */
static inline float cosine(float x)
{
    return x > 1 ? 1 : x >= -1 ? x : -1;
}

/* Not a number lets everything through: below k there is room for all. */
static float worst_of(const struct best *b)
{
    return b->n < b->k ? NAN : b->v[0].score;
}

/* Row r of the block, `row` of the pool, for the panel of n queries that begins with the group's `first`. */
static void offer(const struct scan *s, struct scratch *w, size_t group, size_t first, size_t n, size_t r, size_t row)
{
    for (uint64_t bits = w->block.beyond[r]; bits; bits &= bits - 1) {
        size_t lane = (size_t)__builtin_ctzll(bits);
        if (lane >= n)
            return;
        struct best *best = &w->best[first + lane];
        float score = cosine(w->block.scores[r][lane]);
        if (!has_room_for(best, score) || (s->allow && !s->allow(s->allow_ctx, group + first + lane, row)))
            continue;
        add(best, (struct bk_hit){.index = (uint32_t)row, .score = score});
        w->worst[first + lane] = worst_of(best);
    }
}

/* The n queries of a group, from `group` on, against the rows [row, end) of the pool. */
static void compare_tile(const struct scan *s, struct scratch *w, size_t group, size_t n, size_t row, size_t end)
{
    const size_t rows = s->kernel->rows;
    struct bk_scan_block *b = &w->block;
    b->dim = s->dim;
    b->panel = w->packed;
    for (size_t q = 0, vectors, width; q < n; q += width, b->panel += width * s->dim) {
        vectors = panel_vectors(s, n - q);
        width = vectors * s->kernel->lanes;
        b->worst = w->worst + q;
        for (size_t r = row; r < end; r += rows) {
            size_t n_rows = least(end - r, rows);
            b->pool = n_rows < rows ? s->ragged : s->pool + r * s->dim;
            if (s->kernel->compare[vectors - 1](b))
                for (size_t i = 0; i < n_rows; i++)
                    offer(s, w, group, q, least(n - q, width), i, r + i);
        }
    }
}

static void scan_group(void *ctx, size_t item, unsigned worker)
{
    const struct scan *s = ctx;
    struct scratch *w = &s->scratch[worker];
    const size_t group = item * s->group, n = least(s->n_queries - group, s->group), lanes = s->kernel->lanes;
    for (size_t q = 0, width; q < n; q += width) {
        width = panel_vectors(s, n - q) * lanes;
        pack(w->packed + q * s->dim, s, group + q, least(n - q, width), width);
    }
    for (size_t q = 0; q < MAX_GROUP; q++) {
        w->best[q] = (struct best){.v = q < n ? s->hits + (group + q) * s->k : NULL, .k = s->k};
        w->worst[q] = q < n ? NAN : INFINITY;
    }
    for (size_t row = 0; row < s->n_pool; row += s->tile)
        compare_tile(s, w, group, n, row, least(s->n_pool, row + s->tile));
    for (size_t q = 0; q < n; q++)
        finish(&w->best[q]);
}

/* Few enough queries for the cache, whole panels, and as many groups as give every thread the same work. */
static size_t group_size(const struct bk_scan_kernel *kernel, size_t n_queries, unsigned threads)
{
    const size_t panel = BK_SCAN_VECTORS * kernel->lanes, unit = n_queries < panel * threads ? kernel->lanes : panel;
    size_t groups = (n_queries + MAX_GROUP - 1) / MAX_GROUP;
    groups = (groups + threads - 1) / threads * threads;
    const size_t fair = (n_queries + groups - 1) / groups;
    return (fair + unit - 1) / unit * unit;
}

static float *aligned(float *p)
{
    return (float *)(((uintptr_t)p + ALIGN - 1) / ALIGN * ALIGN);
}

int bk_scan_top_by(const struct bk_scan_kernel *kernel, struct bk_hit *hits, const float *queries, size_t n_queries,
                   const float *pool, size_t n_pool, size_t dim, size_t k, bk_scan_allow *allow, const void *ctx,
                   unsigned threads, struct bk_error *err)
{
    if (k > n_pool)
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "%zu neighbours asked of a pool of %zu", k, n_pool);
    if (n_pool >= UINT32_MAX)
        return bk_fail(err, BK_ELIMIT, BK_NO_OFFSET, "a pool of %zu rows is over the limit of 2^32 - 2", n_pool);
    if (n_queries == 0 || k == 0)
        return BK_OK;
    threads = bk_par_threads(threads);
    const size_t group = group_size(kernel, n_queries, threads);
    const size_t n_groups = (n_queries + group - 1) / group, workers = least(threads, n_groups);
    /* a block of ragged rows, then a group of packed queries for each worker */
    size_t packed_size, size;
    if (!bk_mul_size(&packed_size, dim, group) || !bk_mul_size(&size, packed_size, workers) ||
        !bk_add_size(&size, size, kernel->rows * dim) || !bk_add_size(&size, size, ALIGN / sizeof(float)))
        return bk_fail_nomem(err, SIZE_MAX);
    struct scratch *scratch = bk_calloc(workers, sizeof *scratch);
    float *memory = bk_calloc(size, sizeof *memory);
    int rc = BK_OK;
    if (scratch == NULL || memory == NULL) {
        rc = bk_fail_nomem(err, size * sizeof *memory);
    } else {
        float *packed = aligned(memory), *ragged = packed + workers * packed_size;
        for (size_t i = 0; i < workers; i++)
            scratch[i].packed = packed + i * packed_size;
        const size_t n_ragged = n_pool % kernel->rows;
        if (n_ragged > 0)
            memcpy(ragged, pool + (n_pool - n_ragged) * dim, n_ragged * dim * sizeof *pool);
        const size_t blocks = TILE / (kernel->rows * (dim + 1) * sizeof *pool);
        struct scan s = {.kernel = kernel,
                         .hits = hits,
                         .queries = queries,
                         .pool = pool,
                         .n_queries = n_queries,
                         .n_pool = n_pool,
                         .dim = dim,
                         .k = k,
                         .group = group,
                         .tile = (blocks + 1) * kernel->rows,
                         .ragged = ragged,
                         .allow = allow,
                         .allow_ctx = ctx,
                         .scratch = scratch};
        bk_par_for(n_groups, threads, scan_group, &s);
    }
    free(memory);
    free(scratch);
    return rc;
}

int bk_scan_top(struct bk_hit *hits, const float *queries, size_t n_queries, const float *pool, size_t n_pool,
                size_t dim, size_t k, bk_scan_allow *allow, const void *ctx, unsigned threads, struct bk_error *err)
{
    return bk_scan_top_by(bk_scan_kernel(bk_cpu()), hits, queries, n_queries, pool, n_pool, dim, k, allow, ctx, threads,
                          err);
}
