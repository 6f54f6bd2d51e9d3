/* split: the parts of a data set, and pairs inside a part. */
#include "train.h"

#include <stdlib.h>
#include <string.h>

/* ---- parts ------------------------------------------------------------- */

struct unit {
    uint64_t rank, key;
    uint32_t item; /* function, label */
};

static int by_rank(const void *a, const void *b)
{
    const struct unit *x = a, *y = b;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return (x->item > y->item) - (x->item < y->item);
}

uint64_t bk_key_rank(uint64_t seed, uint64_t key)
{
    uint8_t bytes[16];
    for (int i = 0; i < 8; i++) {
        bytes[i] = (uint8_t)(seed >> (8 * i));
        bytes[8 + i] = (uint8_t)(key >> (8 * i));
    }
    return bk_hash64(bytes, sizeof bytes);
}

/* n * share / total, rounded to the nearest whole unit; n < 2^32 and shares below MAX_SHARE cannot overflow. */
#define MAX_SHARE 1000000u
static size_t cut_at(size_t n, uint64_t share, uint64_t total)
{
    return (size_t)((n * share * 2 + total) / (2 * total));
}

/* Ranks `n` units (the same key more than once is one unit) and writes the part of each item. */
static void cut_units(uint8_t *part_of_item, struct unit *u, size_t n, const struct bk_split *s)
{
    qsort(u, n, sizeof *u, by_rank);
    size_t n_keys = 0;
    for (size_t i = 0; i < n; i++)
        n_keys += !i || u[i].key != u[i - 1].key;
    uint64_t total = (uint64_t)s->train + s->validation + s->test;
    size_t end_train = cut_at(n_keys, s->train, total);
    size_t end_validation = cut_at(n_keys, (uint64_t)s->train + s->validation, total);
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        at += i && u[i].key != u[i - 1].key;
        part_of_item[u[i].item] =
            at < end_train ? BK_PART_TRAIN : (at < end_validation ? BK_PART_VALIDATION : BK_PART_TEST);
    }
}

static uint64_t label_unit(const struct bk_data_label *l, enum bk_split_by by)
{
    return by == BK_SPLIT_PROJECT ? l->project_key : by == BK_SPLIT_FILE ? l->source_key : l->key;
}

int bk_split_parts(uint8_t *part, const struct bk_dataset *d, const struct bk_split *s, struct bk_error *err)
{
    if (!s->train && !s->validation && !s->test)
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "a split of 0:0:0 has no parts");
    if (s->train > MAX_SHARE || s->validation > MAX_SHARE || s->test > MAX_SHARE)
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "a part of a split is over %u", MAX_SHARE);
    if ((unsigned)s->by > BK_SPLIT_FILE)
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "unknown kind of split %d", (int)s->by);
    bool by_function = s->by == BK_SPLIT_FUNCTION;
    size_t n = by_function ? d->n : d->n_labels;
    struct unit *u = bk_calloc(n ? n : 1, sizeof *u);
    uint8_t *part_of_label = bk_calloc(d->n_labels ? d->n_labels : 1, 1);
    if (!u || !part_of_label) {
        free(u);
        free(part_of_label);
        return bk_fail_nomem(err, n * sizeof *u);
    }
    for (size_t i = 0; i < n; i++) {
        uint64_t key = by_function ? d->v[i].key : label_unit(&d->labels[i], s->by);
        u[i] = (struct unit){bk_key_rank(s->seed, key), key, (uint32_t)i};
    }
    cut_units(by_function ? part : part_of_label, u, n, s);
    for (size_t i = 0; i < d->n && !by_function; i++)
        part[i] = part_of_label[d->v[i].label];
    free(u);
    free(part_of_label);
    return BK_OK;
}

/* ---- groups ------------------------------------------------------------ */

static int group_alloc(struct bk_group *g, size_t n, struct bk_error *err)
{
    g->v = bk_calloc(n + 1, sizeof *g->v);
    g->begin = bk_calloc(n + 1, sizeof *g->begin);
    g->end = bk_calloc(n + 1, sizeof *g->end);
    if (g->v && g->begin && g->end)
        return BK_OK;
    bk_group_done(g);
    return bk_fail_nomem(err, 3 * n * sizeof *g->v);
}

int bk_group_init(struct bk_group *g, const struct bk_dataset *d, const uint8_t *part, enum bk_part which,
                  uint32_t min_blocks, struct bk_error *err)
{
    *g = (struct bk_group){0};
    uint32_t *count = bk_calloc(d->n_labels + 1, sizeof *count); /* by label, then where its next function goes */
    if (!count)
        return bk_fail_nomem(err, d->n_labels * sizeof *count);
    for (size_t i = 0; i < d->n; i++)
        count[d->v[i].label] += (!part || part[i] == which) && d->v[i].n_blocks >= min_blocks;
    for (size_t l = 0; l < d->n_labels; l++) {
        size_t n = count[l];
        g->n_labels += n > 0;
        g->max_label = n > g->max_label ? n : g->max_label;
        count[l] = (uint32_t)g->n;
        g->n += n;
    }
    int rc = group_alloc(g, g->n, err);
    if (rc) {
        free(count);
        return rc;
    }
    for (size_t i = 0; i < d->n; i++)
        if ((!part || part[i] == which) && d->v[i].n_blocks >= min_blocks)
            g->v[count[d->v[i].label]++] = (uint32_t)i;
    free(count);
    for (size_t first = 0, end; first < g->n; first = end) {
        for (end = first + 1; end < g->n && d->v[g->v[end]].label == d->v[g->v[first]].label;)
            end++;
        for (size_t k = first; k < end; k++) {
            g->begin[k] = (uint32_t)first;
            g->end[k] = (uint32_t)end;
        }
    }
    return BK_OK;
}

void bk_group_done(struct bk_group *g)
{
    free(g->v);
    free(g->begin);
    free(g->end);
    *g = (struct bk_group){0};
}

size_t bk_group_similar(const struct bk_group *g, size_t k, struct bk_rng *rng)
{
    size_t n = g->end[k] - g->begin[k];
    if (n < 2)
        return SIZE_MAX;
    size_t at = g->begin[k] + bk_rng_below(rng, n - 1);
    return at + (at >= k); /* k itself is skipped */
}

size_t bk_group_dissimilar(const struct bk_group *g, size_t k, struct bk_rng *rng)
{
    size_t own = g->end[k] - g->begin[k];
    if (own == g->n)
        return SIZE_MAX;
    size_t at = bk_rng_below(rng, g->n - own);
    return at < g->begin[k] ? at : at + own;
}

/* ---- fixed pairs ------------------------------------------------------- */

int bk_pairs_fixed(struct bk_pairs *out, const struct bk_group *g, size_t max, uint64_t seed, struct bk_error *err)
{
    *out = (struct bk_pairs){0};
    uint32_t *who = bk_calloc(g->n + 1, sizeof *who);
    if (!who)
        return bk_fail_nomem(err, g->n * sizeof *who);
    size_t n = 0;
    for (size_t k = 0; k < g->n; k++)
        if (g->end[k] - g->begin[k] > 1 && g->n_labels > 1)
            who[n++] = (uint32_t)k;
    struct bk_rng rng;
    bk_rng_seed(&rng, seed, BK_STREAM_PAIRS);
    if (max && n > (max + 1) / 2) {
        bk_rng_shuffle_u32(&rng, who, n);
        n = (max + 1) / 2;
    }
    out->v = bk_calloc(2 * n + 1, sizeof *out->v);
    if (!out->v) {
        free(who);
        return bk_fail_nomem(err, 2 * n * sizeof *out->v);
    }
    for (size_t i = 0; i < n; i++) {
        uint32_t k = who[i];
        out->v[2 * i] = (struct bk_pair){k, (uint32_t)bk_group_similar(g, k, &rng), true};
        out->v[2 * i + 1] = (struct bk_pair){k, (uint32_t)bk_group_dissimilar(g, k, &rng), false};
    }
    out->n = 2 * n;
    free(who);
    return BK_OK;
}

void bk_pairs_done(struct bk_pairs *p)
{
    free(p->v);
    *p = (struct bk_pairs){0};
}
