/* pairs: what one epoch of training looks at. */
#include "learn.h"

#include <stdlib.h>

/* Positions that have both partners. Returns their number. */
static size_t eligible(uint32_t *out, const struct bk_group *g)
{
    size_t n = 0;
    for (size_t k = 0; k < g->n; k++) {
        size_t same = g->end[k] - g->begin[k];
        if (same > 1 && same < g->n)
            out[n++] = (uint32_t)k;
    }
    return n;
}

int bk_epoch_init(struct bk_epoch *out, const struct bk_group *g, uint64_t pairs, uint64_t seed, unsigned epoch,
                  struct bk_error *err)
{
    *out = (struct bk_epoch){.group = g};
    uint32_t *pass = bk_calloc(g->n ? g->n : 1, sizeof *pass);
    if (!pass)
        return bk_fail_nomem(err, g->n * sizeof *pass);
    size_t n_pass = eligible(pass, g);
    if (n_pass == 0) {
        free(pass);
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET,
                       "none of %zu functions to train on has another of its label and one of another label", g->n);
    }
    uint64_t n = pairs ? pairs / 2 + pairs % 2 : n_pass;
    out->anchor = n < UINT32_MAX ? bk_calloc(n, sizeof *out->anchor) : NULL;
    out->partner = n < UINT32_MAX ? bk_calloc(n, sizeof *out->partner) : NULL;
    if (!out->anchor || !out->partner) {
        free(pass);
        bk_epoch_done(out);
        return bk_fail_nomem(err, n * sizeof *out->anchor);
    }
    bk_rng_seed(&out->rng, seed, BK_STREAM_EPOCH + epoch);
    out->n = n;
    for (size_t at = 0; at < n; at++) {
        if (at % n_pass == 0)
            bk_rng_shuffle_u32(&out->rng, pass, n_pass);
        out->anchor[at] = pass[at % n_pass];
        out->partner[at] = (uint32_t)bk_group_similar(g, out->anchor[at], &out->rng);
    }
    free(pass);
    return BK_OK;
}

void bk_epoch_done(struct bk_epoch *e)
{
    if (!e)
        return;
    free(e->anchor);
    free(e->partner);
    *e = (struct bk_epoch){0};
}

static bool reserve(struct bk_batch *b, size_t n)
{
    if (n <= b->cap)
        return true;
    bk_batch_done(b);
    b->func = bk_calloc(n, 3 * sizeof *b->func);
    b->left = bk_calloc(n, 2 * sizeof *b->left);
    b->right = bk_calloc(n, 2 * sizeof *b->right);
    b->y = bk_calloc(n, 2 * sizeof *b->y);
    b->choice = bk_calloc(n, sizeof *b->choice);
    b->cap = n;
    if (b->func && b->left && b->right && b->y && b->choice)
        return true;
    bk_batch_done(b);
    return false;
}

/* The other function of anchor i's dissimilar pair, as a position in b->func. */
static uint32_t draw_dissimilar(struct bk_batch *b, struct bk_epoch *e, size_t i)
{
    const uint32_t *begin = e->group->begin;
    size_t n = b->n_anchors, n_choice = 0;
    for (size_t j = 0; j < n; j++)
        if (begin[b->func[j]] != begin[b->func[i]])
            b->choice[n_choice++] = (uint32_t)j;
    if (n_choice) {
        uint32_t other = b->choice[bk_rng_below(&e->rng, n_choice)];
        return bk_rng_below(&e->rng, 2) ? other : (uint32_t)n + other;
    }
    b->func[b->n_funcs] = (uint32_t)bk_group_dissimilar(e->group, b->func[i], &e->rng);
    return (uint32_t)b->n_funcs++;
}

int bk_batch_draw(struct bk_batch *b, struct bk_epoch *e, size_t first, size_t n, struct bk_error *err)
{
    if (!reserve(b, n))
        return bk_fail_nomem(err, n * 3 * sizeof *b->func);
    b->n_anchors = n;
    b->n_funcs = b->n_pairs = 2 * n;
    for (size_t i = 0; i < n; i++) {
        b->func[i] = e->anchor[first + i];
        b->func[n + i] = e->partner[first + i];
        b->left[i] = b->left[n + i] = (uint32_t)i;
        b->right[i] = (uint32_t)(n + i);
        b->y[i] = 1;
        b->y[n + i] = -1;
    }
    for (size_t i = 0; i < n; i++)
        b->right[n + i] = draw_dissimilar(b, e, i);
    return BK_OK;
}

void bk_batch_done(struct bk_batch *b)
{
    if (!b)
        return;
    free(b->func);
    free(b->left);
    free(b->right);
    free(b->y);
    free(b->choice);
    *b = (struct bk_batch){0};
}
