/* Lists of candidates: made of hits, ordered, and brought down to one for each. */
#include "match/match_int.h"

#include <stdlib.h>
#include <string.h>

void bk_match_ranks_done(struct bk_match_ranks *r)
{
    for (size_t i = 0; r->of && i < r->n; i++)
        free(r->of[i].v);
    free(r->of);
    *r = (struct bk_match_ranks){0};
}

int bk_match_by_vector(struct bk_match_ranks *out, const struct bk_match_task *t, struct bk_error *err)
{
    *out = (struct bk_match_ranks){.n = t->a.n, .of = bk_calloc(t->a.n, sizeof *out->of)};
    if (!out->of)
        return bk_fail_nomem(err, t->a.n * sizeof *out->of);
    for (size_t i = 0; i < t->a.n; i++) {
        struct bk_match_pair *v = bk_calloc(t->k, sizeof *v);
        if (!v)
            return bk_fail_nomem(err, t->k * sizeof *v);
        for (size_t j = 0; j < t->k; j++) {
            const struct bk_hit *h = &t->hits[i * t->k + j];
            v[j] = (struct bk_match_pair){.answer = h->index, .score = h->score, .rank_score = h->score};
        }
        out->of[i].v = v;
        out->of[i].n = out->of[i].cap = t->k;
    }
    return BK_OK;
}

static int better_first(const void *a, const void *b)
{
    const struct bk_match_pair *x = a, *y = b;
    if (x->rank_score != y->rank_score)
        return x->rank_score > y->rank_score ? -1 : 1;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return x->answer < y->answer ? -1 : x->answer > y->answer;
}

void bk_match_sort(struct bk_match_ranks *r)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->of[i].n > 0)
            qsort(r->of[i].v, r->of[i].n, sizeof *r->of[i].v, better_first);
}

struct bid { /* of query `a` for one of its candidates */
    float rank_score;
    uint32_t a, slot;
};

static int higher_first(const void *a, const void *b)
{
    const struct bid *x = a, *y = b;
    if (x->rank_score != y->rank_score)
        return x->rank_score > y->rank_score ? -1 : 1;
    if (x->a != y->a)
        return x->a < y->a ? -1 : 1;
    return x->slot < y->slot ? -1 : x->slot > y->slot;
}

int bk_match_one_to_one(struct bk_match_ranks *r, size_t n_b, struct bk_error *err)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n; i++)
        n += r->of[i].n;
    struct bid *bids = bk_calloc(n, sizeof *bids);
    bool *taken = bk_calloc(n_b, sizeof *taken), *served = bk_calloc(r->n, sizeof *served);
    int rc = bids && taken && served ? BK_OK : bk_fail_nomem(err, n * sizeof *bids);
    n = 0;
    for (size_t i = 0; i < r->n && !rc; i++)
        for (size_t j = 0; j < r->of[i].n; j++)
            bids[n++] = (struct bid){r->of[i].v[j].rank_score, (uint32_t)i, (uint32_t)j};
    if (n > 0)
        qsort(bids, n, sizeof *bids, higher_first);
    for (size_t i = 0; i < n; i++) {
        struct bk_match_pair *v = r->of[bids[i].a].v;
        struct bk_match_pair pair = v[bids[i].slot];
        if (served[bids[i].a] || taken[pair.answer])
            continue;
        served[bids[i].a] = taken[pair.answer] = true;
        r->of[bids[i].a].n = 1;
        v[0] = pair;
    }
    for (size_t i = 0; i < r->n && !rc; i++)
        if (!served[i])
            r->of[i].n = 0;
    free(bids);
    free(taken);
    free(served);
    return rc;
}
