/* The matching half of the facade: for each function of A its nearest of B. */
#include "binkin_int.h"
#include "store/store.h"

#include <stdlib.h>

#define TRUTH_RANKS 10 /* ranks that recall and MRR look at */

/* One side of a match: the functions that take part, and their vectors. */
struct side {
    const struct bk_binary *b;
    size_t *list, *blocks; /* n functions, and how many basic blocks each has */
    size_t n, n_left_out;
    double unknown;
    struct bk_match_side m; /* vectors, and what surrounds them where that counts */
};

static void side_done(struct side *s)
{
    free(s->list);
    free(s->blocks);
    free(s->m.vectors);
    bk_around_side_done(&s->m);
}

/* Keeps what has enough blocks and any words at all. */
static void side_filter(struct side *s, struct inputs *in, size_t min_blocks)
{
    size_t kept = 0;
    double words = 0, unknown = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (in->n_blocks[i] < min_blocks || !in->n_blocks[i])
            continue;
        words += (double)(in->n_known[i] + in->n_unknown[i]);
        unknown += (double)in->n_unknown[i];
        in->v[kept] = in->v[i];
        s->blocks[kept] = in->n_blocks[i];
        s->list[kept++] = s->list[i];
    }
    s->n_left_out = s->n - kept;
    s->n = kept;
    s->unknown = words > 0 ? unknown / words : 0;
}

/* `imports`: numbers the names of what the functions call; NULL: surroundings do not count. */
static int side_read(struct side *s, const struct bk_model *m, const struct bk_binary *b, const size_t *only,
                     size_t n_only, const struct bk_match_options *opt, struct bk_strtab *imports, struct bk_error *err)
{
    size_t dim = bk_encoder_outputs(&m->cfg);
    *s = (struct side){.b = b, .n = only ? n_only : bk_binary_n_functions(b)};
    s->list = bk_calloc(s->n, sizeof *s->list);
    s->blocks = bk_calloc(s->n, sizeof *s->blocks);
    if (!s->list || !s->blocks)
        return bk_fail_nomem(err, s->n * sizeof *s->list);
    for (size_t i = 0; i < s->n; i++)
        s->list[i] = only ? only[i] : i;
    struct around around = {0};
    struct inputs in = {.also = imports ? bk_around_body : NULL, .also_ctx = &around};
    int rc = imports ? bk_around_init(&around, b, opt->embed.threads, err) : BK_OK;
    if (!rc)
        rc = bk_binary_inputs_read(&in, m, b, s->list, s->n, &opt->embed, err);
    if (!rc)
        side_filter(s, &in, opt->min_blocks);
    if (!rc && imports)
        rc = bk_around_side(&s->m, &around, s->list, s->n, imports, err);
    s->m.n = s->n;
    s->m.vectors = bk_calloc(s->n * dim, sizeof *s->m.vectors);
    if (!rc)
        rc = s->m.vectors ? bk_binary_inputs_embed(s->m.vectors, &in, s->n, &opt->embed, err)
                          : bk_fail_nomem(err, s->n * dim * sizeof *s->m.vectors);
    bk_binary_inputs_done(&in);
    bk_around_done(&around);
    return rc;
}

struct result { /* what a struct bk_matches is the head of */
    struct bk_matches head;
    struct bk_match_answer v[];
};

/* Source names that any candidate has. */
static struct bk_strtab *pool_names(const struct side *pool)
{
    struct bk_strtab *t = bk_strtab_new();
    for (size_t i = 0; t && i < pool->n; i++) {
        const struct bk_function *f = function_at(pool->b, pool->list[i]);
        for (size_t k = 0; k < f->n_names; k++) {
            if (bk_strtab_intern(t, f->names[k], bk_source_name_len(f->names[k])) != BK_STR_NONE)
                continue;
            bk_strtab_free(t);
            return NULL;
        }
    }
    return t;
}

static bool known_name(const struct bk_strtab *names, const struct bk_function *f)
{
    for (size_t k = 0; k < f->n_names; k++)
        if (bk_strtab_find(names, f->names[k], bk_source_name_len(f->names[k])) != BK_STR_NONE)
            return true;
    return false;
}

static bool name_in_common(const struct bk_function *f, const struct bk_function *g)
{
    for (size_t k = 0; k < f->n_names; k++)
        if (bk_has_name(g, f->names[k], bk_source_name_len(f->names[k]), true))
            return true;
    return false;
}

/* Scores the answers by names, and marks those shown. */
static int judge(struct result *r, const struct side *a, const struct side *b, const struct bk_match_ranks *ranks,
                 struct bk_error *err)
{
    struct bk_strtab *names = pool_names(b);
    if (!names)
        return bk_fail(err, BK_ENOMEM, BK_NO_OFFSET, "no memory for the names of %zu functions", b->n);
    size_t at_1 = 0, at_10 = 0, row = 0;
    double mrr = 0;
    for (size_t q = 0; q < a->n; q++) {
        const struct bk_function *f = function_at(a->b, a->list[q]);
        size_t best = SIZE_MAX;
        bool known = known_name(names, f);
        for (size_t i = 0; i < ranks->of[q].n; i++) {
            bool shown = row < r->head.n && r->v[row].query == a->list[q];
            bool right = known && name_in_common(f, function_at(b->b, b->list[ranks->of[q].v[i].answer]));
            if (right && best == SIZE_MAX)
                best = i;
            if (shown)
                r->v[row++].right = known ? right : -1;
        }
        r->head.n_judged += known;
        at_1 += best == 0;
        if (best < TRUTH_RANKS) {
            at_10++;
            mrr += 1.0 / (double)(best + 1);
        }
    }
    bk_strtab_free(names);
    if (r->head.n_judged) {
        r->head.recall_at_1 = (double)at_1 / (double)r->head.n_judged;
        r->head.recall_at_10 = (double)at_10 / (double)r->head.n_judged;
        r->head.mrr_at_10 = mrr / (double)r->head.n_judged;
    }
    return BK_OK;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* The candidates of each function of `a` in order; `least` of them, or as many as there are. */
static int rank_sides(struct bk_match_ranks *out, const struct side *a, const struct side *b, size_t dim, size_t least,
                      size_t n_imports, const struct bk_match_options *opt, struct bk_error *err)
{
    bool alone = !a->m.first_call;
    if (least < BK_MATCH_CANDIDATES && (!alone || opt->one_to_one))
        least = BK_MATCH_CANDIDATES;
    size_t k = smaller(least, b->n), n_hits;
    if (a->n >= BK_MATCH_NONE || b->n >= BK_MATCH_NONE || !bk_mul_size(&n_hits, a->n, k))
        return bk_fail(err, BK_ELIMIT, BK_NO_OFFSET, "%zu answers for each of %zu functions are too many", k, a->n);
    struct bk_hit *hits = bk_calloc(n_hits, sizeof *hits);
    struct bk_match_task t = {
        .a = a->m, .b = b->m, .dim = dim, .n_imports = n_imports, .hits = hits, .k = k, .threads = opt->embed.threads};
    int rc = hits ? BK_OK : bk_fail_nomem(err, n_hits * sizeof *hits);
    if (!rc && n_hits)
        rc = bk_scan_top(hits, a->m.vectors, a->n, b->m.vectors, b->n, dim, k, NULL, NULL, opt->embed.threads, err);
    if (!rc)
        rc = alone ? bk_match_by_vector(out, &t, err) : bk_match_by_context(out, &t, err);
    if (!rc && opt->one_to_one)
        rc = bk_match_one_to_one(out, b->n, err);
    free(hits);
    return rc;
}

static struct bk_match_answer answer_of(const struct side *a, const struct side *b, const struct bk_match_ranks *ranks,
                                        size_t q, size_t i)
{
    const struct bk_match_pair *p = &ranks->of[q].v[i];
    return (struct bk_match_answer){
        .query = a->list[q],
        .answer = b->list[p->answer],
        .score = p->score,
        .rank_score = p->rank_score,
        .n_neighbours = ranks->of[q].n_neighbours,
        .n_items = ranks->of[q].n_items,
        .n_neighbours_matched = p->n_neighbours_matched,
        .n_shared_items = p->n_shared_items,
        .in_order = p->in_order,
        .rank = (unsigned)i + 1,
        .right = -1,
    };
}

static enum bk_arch arch_of(const struct side *s, size_t i)
{
    return s->b->file->images[member_of(s->b, s->list[i])].arch;
}

/* What the scores of the answers are worth, and which of them nothing tells apart. */
static int weigh(struct result *r, const struct bk_model *m, const struct side *a, const struct side *b,
                 const struct bk_match_ranks *ranks, const struct bk_match_options *opt, struct bk_error *err)
{
    const size_t n = r->head.n;
    struct bk_hit *best = bk_calloc(n, sizeof *best);
    uint32_t *same = bk_calloc(n, sizeof *same);
    int rc = best && same ? BK_OK : bk_fail_nomem(err, n * sizeof *best);
    for (size_t q = 0, row = 0; q < a->n && !rc; q++)
        for (size_t i = 0; i < smaller(opt->k, ranks->of[q].n); i++, row++) {
            const uint32_t j = ranks->of[q].v[i].answer;
            struct bk_calibrated worth;
            best[row] = (struct bk_hit){.index = j, .score = r->v[row].score};
            bk_calibrated(&worth, m, arch_of(a, q), arch_of(b, j), a->blocks[q], b->blocks[j], r->v[row].score, b->n);
            r->v[row].probability = worth.probability;
            r->v[row].expected_false = worth.expected_false;
        }
    if (!rc && n)
        rc = bk_scan_same(same, best, n, 1, b->m.vectors, b->n, bk_encoder_outputs(&m->cfg), opt->embed.threads, err);
    for (size_t i = 0; i < n && !rc; i++)
        r->v[i].n_same = same[i];
    free(best);
    free(same);
    return rc;
}

/* The first `k` candidates of each query as answers. */
static int answer(struct bk_matches **out, const struct bk_model *m, const struct side *a, const struct side *b,
                  const struct bk_match_ranks *ranks, const struct bk_match_options *opt, struct bk_error *err)
{
    size_t n = 0, size;
    for (size_t q = 0; q < a->n; q++)
        n += smaller(opt->k, ranks->of[q].n);
    struct result *r =
        bk_mul_size(&size, n, sizeof *r->v) && bk_add_size(&size, size, sizeof *r) ? calloc(1, size) : NULL;
    if (!r)
        return bk_fail_nomem(err, n * sizeof *r->v);
    r->head = (struct bk_matches){
        .n = n,
        .v = r->v,
        .n_queries = a->n,
        .n_pool = b->n,
        .n_left_out_a = a->n_left_out,
        .n_left_out_b = b->n_left_out,
        .unknown_a = a->unknown,
        .unknown_b = b->unknown,
    };
    n = 0;
    for (size_t q = 0; q < a->n; q++)
        for (size_t i = 0; i < smaller(opt->k, ranks->of[q].n); i++)
            r->v[n++] = answer_of(a, b, ranks, q, i);
    int rc = weigh(r, m, a, b, ranks, opt, err);
    if (!rc && opt->truth)
        rc = judge(r, a, b, ranks, err);
    if (rc) {
        free(r);
        return rc;
    }
    *out = &r->head;
    return BK_OK;
}

int bk_match(struct bk_matches **out, const struct bk_model *m, const struct bk_binary *a, const struct bk_binary *b,
             const struct bk_match_options *opt, struct bk_error *err)
{
    bk_error_clear(err);
    struct bk_match_options o = opt ? *opt : (struct bk_match_options){0};
    struct side sa = {0}, sb = {0};
    struct bk_match_ranks ranks = {0};
    o.k = o.k ? o.k : 1;
    o.min_blocks = o.min_blocks ? o.min_blocks : 1;
    *out = NULL;
    if (o.one_to_one && o.k > 1)
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "one to one is one answer, not %zu", o.k);
    bool alone = o.no_neighbours || o.only_a || o.only_b;
    struct bk_strtab *imports = alone ? NULL : bk_strtab_new();
    int rc = alone || imports ? BK_OK : bk_fail_nomem(err, sizeof o);
    if (!rc)
        rc = side_read(&sa, m, a, o.only_a, o.n_only_a, &o, imports, err);
    if (!rc)
        rc = side_read(&sb, m, b, o.only_b, o.n_only_b, &o, imports, err);
    if (!rc)
        rc = rank_sides(&ranks, &sa, &sb, bk_encoder_outputs(&m->cfg), o.truth && o.k < TRUTH_RANKS ? TRUTH_RANKS : o.k,
                        imports ? bk_strtab_count(imports) : 0, &o, err);
    if (!rc)
        rc = answer(out, m, &sa, &sb, &ranks, &o, err);
    bk_match_ranks_done(&ranks);
    bk_strtab_free(imports);
    side_done(&sa);
    side_done(&sb);
    return rc;
}

void bk_matches_free(struct bk_matches *m)
{
    free(m); /* the head of a struct result */
}
