/* Rounds of matching: who is matched decides what surroundings say, and what they say decides who is matched. */
#include "match/match_int.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ROUNDS   10
#define MAX_PROPOSED 64  /* candidates of a function that its neighbours propose, beside those of the scan */
#define MAX_FAMILY   256 /* pairs of neighbours that one matched pair proposes at most: more say nothing of each */

/* What surroundings add to the cosine at most. These and those below were tuned on pairs of curl, sqlite, lua and expat alone
 * (doc/results.md): each may be half or twice as large without much change. */
#define CALLS 1.0f
#define ITEMS 1.0f
#define ORDER 0.5f
/* Added to what a function has, so that the one caller or item of a small one does not count as much as all of a large one's. */
#define FEW_CALLS 0.3f
#define FEW_ITEMS 5.0f
/* A matched pair scores so much, and so much more than either's next. */
#define LEAST  0.4f
#define MARGIN 0.02f

struct rounds {
    const struct bk_match_task *t;
    struct bk_match_ranks *r;
    struct graph a, b;
    struct items items;
    uint32_t *mate_a, *mate_b; /* the matched partner, or BK_MATCH_NONE */
    uint32_t *before, *behind; /* of each function of A the nearest matched one of its image */
};

/* ---- what surrounds a pair ---------------------------------------------- */

static float cosine(const float *v, const float *w, size_t dim)
{
    float sum = 0;
    for (size_t i = 0; i < dim; i++)
        sum = fmaf(v[i], w[i], sum);
    return sum >= -1 ? fminf(sum, 1) : -1; /* as bk_scan_top */
}

/* The node of B that answers to node `x` of A. */
static uint32_t partner(const struct rounds *s, uint32_t x)
{
    return x < s->a.n ? s->mate_a[x] : (uint32_t)(s->b.n + (x - s->a.n));
}

/* Neighbours of the pair that are matched with one another, as a share of all that both have. */
static float calls_in_common(struct bk_match_pair *p, const struct rounds *s, uint32_t f)
{
    const struct graph *a = &s->a, *b = &s->b;
    uint32_t g = p->answer, n = 0;
    float sum = 0;
    for (size_t k = a->callees.first[f]; k < a->callees.first[f + 1]; k++) {
        uint32_t x = a->callees.v[k], y = partner(s, x);
        if (y == BK_MATCH_NONE || !list_has(&b->callees, g, y))
            continue;
        sum += sqrtf(a->callee_weight[x] * b->callee_weight[y]);
        n++;
    }
    for (size_t k = a->callers.first[f]; k < a->callers.first[f + 1]; k++) {
        uint32_t x = a->callers.v[k], y = s->mate_a[x];
        if (y == BK_MATCH_NONE || !list_has(&b->callers, g, y))
            continue;
        sum += sqrtf(a->caller_weight[x] * b->caller_weight[y]);
        n++;
    }
    p->n_neighbours_matched = n;
    return sum / sqrtf((a->weight[f] + FEW_CALLS) * (b->weight[g] + FEW_CALLS));
}

static float items_in_common(struct bk_match_pair *p, const struct items *x, uint32_t f)
{
    size_t i = x->a.first[f], j = x->b.first[p->answer];
    float sum = 0;
    p->n_shared_items = 0;
    while (i < x->a.first[f + 1] && j < x->b.first[p->answer + 1]) {
        uint32_t v = x->a.v[i], w = x->b.v[j];
        if (v == w) {
            sum += x->weight[v];
            p->n_shared_items++;
        }
        i += v <= w;
        j += w <= v;
    }
    return sum / sqrtf((x->sum_a[f] + FEW_ITEMS) * (x->sum_b[p->answer] + FEW_ITEMS));
}

/* How near the answer is to where it should be, seen from a matched neighbour `x` of the query: 1 is the very place. */
static float place_from(const struct rounds *s, uint32_t f, uint32_t g, uint32_t x)
{
    if (x == BK_MATCH_NONE)
        return 0;
    uint32_t y = s->mate_a[x];
    if (s->t->b.image[y] != s->t->b.image[g] || y == g)
        return 0;
    int64_t off = ((int64_t)g - (int64_t)y) - ((int64_t)f - (int64_t)x);
    return 1 / (1 + (float)llabs(off));
}

static float order_in_common(struct bk_match_pair *p, const struct rounds *s, uint32_t f)
{
    float before = place_from(s, f, p->answer, s->before[f]), behind = place_from(s, f, p->answer, s->behind[f]);
    p->in_order = before == 1 || behind == 1;
    return (before + behind) / 2;
}

static void score_query(void *ctx, size_t f, unsigned worker)
{
    (void)worker;
    struct rounds *s = ctx;
    for (size_t j = 0; j < s->r->of[f].n; j++) {
        struct bk_match_pair *p = &s->r->of[f].v[j];
        p->rank_score = p->score + ITEMS * p->item_score + CALLS * calls_in_common(p, s, (uint32_t)f) +
                        ORDER * order_in_common(p, s, (uint32_t)f);
    }
}

static void begin_query(void *ctx, size_t f, unsigned worker)
{
    (void)worker;
    struct rounds *s = ctx;
    s->r->of[f].n_neighbours = list_size(&s->a.callees, f) + list_size(&s->a.callers, f);
    s->r->of[f].n_items = list_size(&s->items.a, f);
    for (size_t j = 0; j < s->r->of[f].n; j++)
        s->r->of[f].v[j].item_score = items_in_common(&s->r->of[f].v[j], &s->items, (uint32_t)f);
}

/* ---- who is matched ------------------------------------------------------ */

struct bests { /* of one function */
    float best, second;
    uint32_t who; /* lowest of equals */
};

static void bid(struct bests *b, float score, uint32_t who)
{
    if (score > b->best) {
        b->second = b->best;
        b->best = score;
        b->who = who;
    } else if (score > b->second) {
        b->second = score;
    }
}

static struct bests *no_bests(size_t n)
{
    struct bests *v = bk_calloc(n, sizeof *v);
    for (size_t i = 0; v && i < n; i++)
        v[i] = (struct bests){-INFINITY, -INFINITY, BK_MATCH_NONE};
    return v;
}

/* Matches whom each other prefer, with some distance to the next; *changed counts. */
static int match_mutual(size_t *changed, struct rounds *s, struct bk_error *err)
{
    struct bests *a = no_bests(s->a.n), *b = no_bests(s->b.n);
    int rc = a && b ? BK_OK : bk_fail_nomem(err, (s->a.n + s->b.n) * sizeof *a);
    for (uint32_t f = 0; f < s->a.n && !rc; f++)
        for (size_t j = 0; j < s->r->of[f].n; j++) {
            const struct bk_match_pair *p = &s->r->of[f].v[j];
            bid(&a[f], p->rank_score, p->answer);
            bid(&b[p->answer], p->rank_score, f);
        }
    *changed = 0;
    for (uint32_t g = 0; g < s->b.n && !rc; g++)
        s->mate_b[g] = BK_MATCH_NONE;
    for (uint32_t f = 0; f < s->a.n && !rc; f++) {
        uint32_t g = a[f].who, mate = BK_MATCH_NONE;
        if (g != BK_MATCH_NONE && b[g].who == f && a[f].best >= LEAST &&
            a[f].best - fmaxf(a[f].second, b[g].second) >= MARGIN) {
            mate = g;
            s->mate_b[g] = f;
        }
        *changed += mate != s->mate_a[f];
        s->mate_a[f] = mate;
    }
    free(a);
    free(b);
    return rc;
}

static void look_around(struct rounds *s)
{
    const uint32_t *image = s->t->a.image;
    uint32_t last = BK_MATCH_NONE;
    for (uint32_t f = 0; f < s->a.n; f++) {
        s->before[f] = last != BK_MATCH_NONE && image[last] == image[f] ? last : BK_MATCH_NONE;
        last = s->mate_a[f] != BK_MATCH_NONE ? f : last;
    }
    last = BK_MATCH_NONE;
    for (uint32_t f = (uint32_t)s->a.n; f-- > 0;) {
        s->behind[f] = last != BK_MATCH_NONE && image[last] == image[f] ? last : BK_MATCH_NONE;
        last = s->mate_a[f] != BK_MATCH_NONE ? f : last;
    }
}

/* ---- whom the matched propose --------------------------------------------- */

static int propose(struct rounds *s, uint32_t f, uint32_t g, struct bk_error *err)
{
    if (s->mate_a[f] != BK_MATCH_NONE && s->mate_b[g] != BK_MATCH_NONE)
        return BK_OK;
    size_t n = s->r->of[f].n, dim = s->t->dim;
    for (size_t j = 0; j < n; j++)
        if (s->r->of[f].v[j].answer == g)
            return BK_OK;
    if (n >= s->t->k + MAX_PROPOSED)
        return BK_OK;
    if (!BK_GROW(s->r->of[f]))
        return bk_fail_nomem(err, n * sizeof *s->r->of[f].v);
    struct bk_match_pair *p = &s->r->of[f].v[s->r->of[f].n++];
    *p = (struct bk_match_pair){.answer = g};
    p->score = cosine(s->t->a.vectors + f * dim, s->t->b.vectors + g * dim, dim);
    p->item_score = items_in_common(p, &s->items, f);
    return BK_OK;
}

/* Each of the functions in list `i` of `x` for each in list `j` of `y`. */
static int propose_lists(struct rounds *s, const struct lists *x, size_t i, const struct lists *y, size_t j,
                         struct bk_error *err)
{
    int rc = BK_OK;
    if (list_size(x, i) * list_size(y, j) > MAX_FAMILY)
        return BK_OK;
    for (size_t k = x->first[i]; k < x->first[i + 1] && x->v[k] < s->a.n; k++)
        for (size_t l = y->first[j]; l < y->first[j + 1] && y->v[l] < s->b.n && !rc; l++)
            rc = propose(s, x->v[k], y->v[l], err);
    return rc;
}

static int propose_all(struct rounds *s, struct bk_error *err)
{
    const uint32_t *in_a = s->t->a.image, *in_b = s->t->b.image;
    int rc = BK_OK;
    for (uint32_t f = 0; f < s->a.n && !rc; f++) {
        uint32_t g = s->mate_a[f];
        if (g == BK_MATCH_NONE)
            continue;
        rc = propose_lists(s, &s->a.callees, f, &s->b.callees, g, err);
        if (!rc)
            rc = propose_lists(s, &s->a.callers, f, &s->b.callers, g, err);
        if (!rc && f > 0 && g > 0 && in_a[f - 1] == in_a[f] && in_b[g - 1] == in_b[g])
            rc = propose(s, f - 1, g - 1, err);
        if (!rc && f + 1 < s->a.n && g + 1 < s->b.n && in_a[f + 1] == in_a[f] && in_b[g + 1] == in_b[g])
            rc = propose(s, f + 1, g + 1, err);
    }
    return rc;
}

/* ---- the whole -------------------------------------------------------------- */

static int rounds_init(struct rounds *s, struct bk_error *err)
{
    const struct bk_match_task *t = s->t;
    s->mate_a = bk_calloc(t->a.n, sizeof(uint32_t));
    s->mate_b = bk_calloc(t->b.n, sizeof(uint32_t));
    s->before = bk_calloc(t->a.n, sizeof(uint32_t));
    s->behind = bk_calloc(t->a.n, sizeof(uint32_t));
    if (!s->mate_a || !s->mate_b || !s->before || !s->behind)
        return bk_fail_nomem(err, (t->a.n + t->b.n) * sizeof(uint32_t));
    memset(s->mate_a, 0xff, t->a.n * sizeof(uint32_t)); /* BK_MATCH_NONE */
    memset(s->mate_b, 0xff, t->b.n * sizeof(uint32_t));
    int rc = bk_match_graph_init(&s->a, &t->a, t->n_imports, err);
    if (!rc)
        rc = bk_match_graph_init(&s->b, &t->b, t->n_imports, err);
    return rc ? rc : bk_match_items_init(&s->items, &t->a, &t->b, err);
}

static void rounds_done(struct rounds *s)
{
    bk_match_graph_done(&s->a);
    bk_match_graph_done(&s->b);
    bk_match_items_done(&s->items);
    free(s->mate_a);
    free(s->mate_b);
    free(s->before);
    free(s->behind);
}

int bk_match_by_context(struct bk_match_ranks *out, const struct bk_match_task *t, struct bk_error *err)
{
    struct rounds s = {.t = t, .r = out};
    size_t changed = 1;
    int rc = bk_match_by_vector(out, t, err);
    if (!rc)
        rc = rounds_init(&s, err);
    if (!rc)
        bk_par_for(t->a.n, t->threads, begin_query, &s);
    for (int round = 0; round < MAX_ROUNDS && changed > 0 && !rc; round++) {
        look_around(&s);
        bk_par_for(t->a.n, t->threads, score_query, &s);
        rc = match_mutual(&changed, &s, err);
        if (!rc)
            rc = propose_all(&s, err);
    }
    if (!rc) {
        look_around(&s);
        bk_par_for(t->a.n, t->threads, score_query, &s);
        bk_match_sort(out);
    }
    rounds_done(&s);
    return rc;
}
