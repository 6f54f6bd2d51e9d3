/* Exact neighbours by blocked products. The queries of a group are packed once, lanes of one vector being queries, into
 * panels that fit the first-level cache; a tile of the pool, in place as the caller has it, goes past all panels of the
 * group while it lies in the second-level cache. Whoever does not get into the best k is turned away a vector at a
 * time, and who may is looked at only between products. */
#include "store/store_int.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_GROUP 480         /* queries of one group at most, whole panels; 384 KB of vectors of the usual 200 */
#define TILE      (64 * 1024) /* bytes of the pool in one tile, about; the group lies beside it in the cache */
#define BATCH     4           /* blocks compared before their candidates are looked at */
#define LINE      64          /* bytes that memory moves at once; a vector at most */

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

/* A hit as a number: the better, the greater; of equal scores that with the lower index. NOTHING, which stands for a
 * candidate that is not there, is worse than any row of the pool, ABOVE better. */
#define NOTHING ((uint64_t)0x407fffff << 32)
#define ABOVE   UINT64_MAX

static inline uint64_t key_of(struct bk_hit hit)
{
    uint32_t bits;
    memcpy(&bits, &hit.score, sizeof bits);
    bits ^= -(bits >> 31) | (uint32_t)1 << 31; /* turns a negative number over */
    return (uint64_t)bits << 32 | (UINT32_MAX - hit.index);
}

static inline struct bk_hit hit_of(uint64_t key)
{
    struct bk_hit hit = {.index = UINT32_MAX - (uint32_t)key};
    uint32_t bits = (uint32_t)(key >> 32);
    bits ^= ((bits >> 31) - 1) | (uint32_t)1 << 31;
    memcpy(&hit.score, &bits, sizeof bits);
    return hit;
}

/* heap[1] is the least of heap[1..slots), the children of i are 2i and 2i + 1, and slots a power of two: so a key sinks
 * to the bottom without a branch that depends on keys. */
static inline void replace_least(uint64_t *heap, size_t slots, uint64_t key)
{
    size_t i = 1;
    for (size_t child = 2; child < slots; child = 2 * i) {
        child += heap[child + 1] < heap[child];
        const uint64_t other = heap[child];
        heap[i] = other < key ? other : key;
        key = other < key ? key : other;
        i = child;
    }
    heap[i] = key;
}

/* k that are not there, filled up with what never leaves. */
static void begin(uint64_t *heap, size_t slots, size_t k)
{
    for (size_t i = 1; i < slots; i++)
        heap[i] = i <= k ? NOTHING : ABOVE;
}

static void finish(struct bk_hit *hits, uint64_t *heap, size_t slots, size_t k)
{
    while (k-- > 0) {
        hits[k] = hit_of(heap[1]);
        replace_least(heap, slots, ABOVE);
    }
}

/* ---- the scan --------------------------------------------------------- */

struct scan {
    const struct bk_scan_kernel *kernel;
    struct bk_hit *hits;
    const float *queries, *pool;
    size_t n_queries, n_pool, dim, k;
    size_t group, tile, slots; /* queries, rows, of the heap of one query */
    bk_scan_allow *allow;
    const void *allow_ctx;
    struct scratch *scratch; /* one a worker */
    float *floats;           /* what the scratch points into */
    uint64_t *heaps;
    const float *ragged; /* the rows after the last whole block, filled up to one */
};

struct scratch {
    size_t first, n; /* queries of the group at hand */
    float *packed;   /* its panels */
    uint64_t *heaps;
    float *scores; /* of a batch, block by block as the kernels leave them */
    uint64_t beyond[BATCH * BK_SCAN_MAX_ROWS];
    float worst[MAX_GROUP]; /* who is not above need not be looked at */
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

/* Brings rounding back into [-1, 1]; what is no number becomes the worst, and -0, which equals 0, becomes that. */
static inline float cosine(float x)
{
    return (x > 1 ? 1 : x >= -1 ? x : -1) + 0.0f;
}

/* Not a number lets everything through: below k there is room for all. */
static inline float worst_of(const uint64_t *heap)
{
    return heap[1] == NOTHING ? NAN : hit_of(heap[1]).score;
}

/* Row `row` of the pool to query `q` of the group. */
static inline void offer(const struct scan *s, struct scratch *w, size_t q, size_t row, float score)
{
    uint64_t *heap = w->heaps + q * s->slots;
    const uint64_t key = key_of((struct bk_hit){.index = (uint32_t)row, .score = cosine(score)});
    if (key < heap[1] || (s->allow && !s->allow(s->allow_ctx, w->first + q, row)))
        return;
    replace_least(heap, s->slots, key);
    w->worst[q] = worst_of(heap);
}

/* The rows [row, row + n_rows), just compared with the panel that begins with query q of the group. Those without a
 * candidate are sorted out first, as a branch for each would be guessed wrong too often. */
static void offer_batch(const struct scan *s, struct scratch *w, size_t q, size_t width, size_t row, size_t n_rows)
{
    const uint64_t queries = UINT64_MAX >> (64 - least(w->n - q, width));
    uint8_t some[BATCH * BK_SCAN_MAX_ROWS];
    size_t n_some = 0;
    for (size_t r = 0; r < n_rows; r++) {
        some[n_some] = (uint8_t)r;
        n_some += (w->beyond[r] & queries) != 0;
    }
    for (size_t i = 0; i < n_some; i++) {
        const size_t r = some[i];
        for (uint64_t bits = w->beyond[r] & queries; bits; bits &= bits - 1) {
            const size_t lane = (size_t)__builtin_ctzll(bits);
            offer(s, w, q + lane, row + r, w->scores[r * width + lane]);
        }
    }
}

/* One block: the rows at `row` against the panel of `vectors` vectors that begins with query q. Meanwhile a part of the
 * block that is a tile ahead comes into the cache; the panels of a full group get all of it between them. */
static void compare_block(const struct scan *s, const struct bk_scan_block *b, size_t q, size_t vectors, size_t row)
{
    const size_t ahead = row + s->tile, rows = s->kernel->rows, numbers = rows * s->dim;
    if (ahead + rows <= s->n_pool) {
        const float *part = s->pool + ahead * s->dim + numbers * q / MAX_GROUP;
        for (size_t i = 0; i < numbers * vectors * s->kernel->lanes / MAX_GROUP; i += LINE / sizeof *part)
            __builtin_prefetch(part + i, 0, 2);
    }
    s->kernel->compare[vectors - 1](b);
}

/* The group against the rows [row, end) of the pool. */
static void compare_tile(const struct scan *s, struct scratch *w, size_t row, size_t end)
{
    const size_t rows = s->kernel->rows;
    struct bk_scan_block b = {.dim = s->dim, .panel = w->packed};
    for (size_t q = 0, vectors, width; q < w->n; q += width, b.panel += width * s->dim) {
        vectors = panel_vectors(s, w->n - q);
        width = vectors * s->kernel->lanes;
        b.worst = w->worst + q;
        for (size_t r = row, stop; r < end; r = stop) {
            stop = least(r + BATCH * rows, end);
            for (size_t i = r; i < stop; i += rows) {
                b.pool = stop - i < rows ? s->ragged : s->pool + i * s->dim;
                b.scores = w->scores + (i - r) * width;
                b.beyond = w->beyond + (i - r);
                compare_block(s, &b, q, vectors, i);
            }
            offer_batch(s, w, q, width, r, stop - r);
        }
    }
}

static void scan_group(void *ctx, size_t item, unsigned worker)
{
    const struct scan *s = ctx;
    struct scratch *w = &s->scratch[worker];
    w->first = item * s->group;
    w->n = least(s->n_queries - w->first, s->group);
    for (size_t q = 0, width; q < w->n; q += width) {
        width = panel_vectors(s, w->n - q) * s->kernel->lanes;
        pack(w->packed + q * s->dim, s, w->first + q, least(w->n - q, width), width);
    }
    for (size_t q = 0; q < w->n; q++) {
        begin(w->heaps + q * s->slots, s->slots, s->k);
        w->worst[q] = NAN;
    }
    for (size_t row = 0; row < s->n_pool; row += s->tile)
        compare_tile(s, w, row, least(s->n_pool, row + s->tile));
    for (size_t q = 0; q < w->n; q++)
        finish(s->hits + (w->first + q) * s->k, w->heaps + q * s->slots, s->slots, s->k);
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
    return (float *)(((uintptr_t)p + LINE - 1) / LINE * LINE);
}

/* For each worker a group of packed queries, a batch of scores and the heaps; for all the ragged rows. */
static int make_scratch(struct scan *s, size_t workers, struct bk_error *err)
{
    const size_t rows = s->kernel->rows, ragged = s->n_pool % rows;
    size_t each, n, keys;
    if (!bk_mul_size(&each, s->dim, s->group) ||
        !bk_add_size(&each, each, BATCH * rows * BK_SCAN_VECTORS * s->kernel->lanes) ||
        !bk_mul_size(&n, each, workers) || !bk_add_size(&n, n, rows * s->dim) ||
        !bk_add_size(&n, n, LINE / sizeof(float)) || !bk_mul_size(&keys, s->slots, s->group * workers))
        return bk_fail_nomem(err, SIZE_MAX);
    s->scratch = bk_calloc(workers, sizeof *s->scratch);
    s->floats = bk_calloc(n, sizeof *s->floats);
    s->heaps = bk_calloc(keys, sizeof *s->heaps);
    if (s->scratch == NULL || s->floats == NULL || s->heaps == NULL)
        return bk_fail_nomem(err, s->heaps == NULL ? keys * sizeof *s->heaps : n * sizeof *s->floats);
    float *next = aligned(s->floats);
    for (size_t i = 0; i < workers; i++, next += each)
        s->scratch[i] = (struct scratch){
            .packed = next, .scores = next + s->group * s->dim, .heaps = s->heaps + i * s->group * s->slots};
    s->ragged = next;
    if (ragged > 0)
        memcpy(next, s->pool + (s->n_pool - ragged) * s->dim, ragged * s->dim * sizeof *next);
    return BK_OK;
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
    struct scan s = {.kernel = kernel,
                     .hits = hits,
                     .queries = queries,
                     .pool = pool,
                     .n_queries = n_queries,
                     .n_pool = n_pool,
                     .dim = dim,
                     .k = k,
                     .group = group_size(kernel, n_queries, threads),
                     .tile = (TILE / (kernel->rows * (dim + 1) * sizeof *pool) + 1) * kernel->rows,
                     .slots = 2,
                     .allow = allow,
                     .allow_ctx = ctx};
    while (s.slots <= k)
        s.slots *= 2;
    const size_t n_groups = (n_queries + s.group - 1) / s.group;
    const int rc = make_scratch(&s, least(threads, n_groups), err);
    if (rc == BK_OK)
        bk_par_for(n_groups, threads, scan_group, &s);
    free(s.heaps);
    free(s.floats);
    free(s.scratch);
    return rc;
}

int bk_scan_top(struct bk_hit *hits, const float *queries, size_t n_queries, const float *pool, size_t n_pool,
                size_t dim, size_t k, bk_scan_allow *allow, const void *ctx, unsigned threads, struct bk_error *err)
{
    return bk_scan_top_by(bk_scan_kernel(bk_cpu()), hits, queries, n_queries, pool, n_pool, dim, k, allow, ctx, threads,
                          err);
}
