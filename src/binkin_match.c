/* The matching half of the facade: for each function of A its nearest of B. */
#include "binkin_int.h"
#include "store/store.h"

#include <stdlib.h>

#define TRUTH_RANKS 10 /* ranks that recall and MRR look at */

/* One side of a match: the functions that take part, and their vectors. */
struct side {
    const struct bk_binary *b;
    size_t *list; /* n functions */
    size_t n, n_left_out;
    float *vectors; /* n x dim */
    double unknown;
};

static void side_done(struct side *s)
{
    free(s->list);
    free(s->vectors);
}

/* Keeps what has enough blocks and any words at all. */
static void side_filter(struct side *s, struct inputs *in, size_t min_blocks)
{
    size_t kept = 0;
    double words = 0, unknown = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (in->n_blocks[i] < min_blocks || !in->seqs[i].n)
            continue;
        words += (double)in->seqs[i].n;
        unknown += in->n_unknown[i];
        in->seqs[kept] = in->seqs[i];
        s->list[kept++] = s->list[i];
    }
    s->n_left_out = s->n - kept;
    s->n = kept;
    s->unknown = words > 0 ? unknown / words : 0;
}

static int side_read(struct side *s, const struct bk_model *m, const struct bk_binary *b, const size_t *only,
                     size_t n_only, const struct bk_match_options *opt, struct bk_error *err)
{
    size_t dim = bk_net_outputs(&m->net);
    *s = (struct side){.b = b, .n = only ? n_only : bk_binary_n_functions(b)};
    s->list = bk_calloc(s->n, sizeof *s->list);
    if (!s->list)
        return bk_fail_nomem(err, s->n * sizeof *s->list);
    for (size_t i = 0; i < s->n; i++)
        s->list[i] = only ? only[i] : i;
    struct inputs in;
    int rc = bk_inputs_read(&in, m, b, s->list, s->n, &opt->embed, err);
    if (!rc) {
        side_filter(s, &in, opt->min_blocks);
        s->vectors = bk_calloc(s->n * dim, sizeof *s->vectors);
        rc = s->vectors ? bk_inputs_embed(s->vectors, &in, s->n, &opt->embed, err)
                        : bk_fail_nomem(err, s->n * dim * sizeof *s->vectors);
    }
    bk_inputs_done(&in);
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

/* Scores the answers that stand in `hits` (`ranks` a query) by names, and marks the `k` shown ones. */
static int judge(struct result *r, const struct side *a, const struct side *b, const struct bk_hit *hits, size_t ranks,
                 size_t k, struct bk_error *err)
{
    struct bk_strtab *names = pool_names(b);
    if (!names)
        return bk_fail(err, BK_ENOMEM, BK_NO_OFFSET, "no memory for the names of %zu functions", b->n);
    size_t at_1 = 0, at_10 = 0;
    double mrr = 0;
    for (size_t q = 0; q < a->n; q++) {
        const struct bk_function *f = function_at(a->b, a->list[q]);
        if (!known_name(names, f))
            continue;
        size_t best = SIZE_MAX;
        for (size_t i = 0; i < ranks; i++) {
            bool right = name_in_common(f, function_at(b->b, b->list[hits[q * ranks + i].index]));
            if (right && best == SIZE_MAX)
                best = i;
            if (i < k)
                r->v[q * k + i].right = right;
        }
        r->head.n_judged++;
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

/* Ranks the candidates `b` for each query of `a`. */
static int rank_sides(struct bk_matches **out, const struct side *a, const struct side *b, size_t dim,
                      const struct bk_match_options *opt, struct bk_error *err)
{
    size_t k = smaller(opt->k, b->n), ranks = opt->truth && k < TRUTH_RANKS ? smaller(TRUTH_RANKS, b->n) : k;
    size_t n_hits, n_shown, size;
    if (b->n >= UINT32_MAX || !bk_mul_size(&n_hits, a->n, ranks) || !bk_mul_size(&n_shown, a->n, k) ||
        !bk_mul_size(&size, n_shown, sizeof(struct bk_match_answer)) ||
        !bk_add_size(&size, size, sizeof(struct result)))
        return bk_fail(err, BK_ELIMIT, BK_NO_OFFSET, "%zu answers for each of %zu functions are too many", k, a->n);
    struct bk_hit *hits = bk_calloc(n_hits, sizeof *hits);
    struct result *r = calloc(1, size);
    int rc = hits && r ? BK_OK : bk_fail_nomem(err, size);
    if (!rc && n_hits)
        rc = bk_scan_top(hits, a->vectors, a->n, b->vectors, b->n, dim, ranks, NULL, NULL, opt->embed.threads, err);
    if (!rc) {
        r->head = (struct bk_matches){
            .n = n_shown,
            .v = r->v,
            .n_queries = a->n,
            .n_pool = b->n,
            .n_left_out_a = a->n_left_out,
            .n_left_out_b = b->n_left_out,
            .unknown_a = a->unknown,
            .unknown_b = b->unknown,
        };
        for (size_t i = 0; i < n_shown; i++) {
            const struct bk_hit *h = &hits[i / k * ranks + i % k];
            r->v[i] = (struct bk_match_answer){a->list[i / k], b->list[h->index], .score = h->score,
                                               .rank = (unsigned)(i % k + 1), .right = -1};
        }
        if (opt->truth)
            rc = judge(r, a, b, hits, ranks, k, err);
    }
    free(hits);
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
    struct side sa, sb = {0};
    o.k = o.k ? o.k : 1;
    o.min_blocks = o.min_blocks ? o.min_blocks : 1;
    *out = NULL;
    int rc = side_read(&sa, m, a, o.only_a, o.n_only_a, &o, err);
    if (!rc)
        rc = side_read(&sb, m, b, o.only_b, o.n_only_b, &o, err);
    if (!rc)
        rc = rank_sides(out, &sa, &sb, bk_net_outputs(&m->net), &o, err);
    side_done(&sa);
    side_done(&sb);
    return rc;
}

void bk_matches_free(struct bk_matches *m)
{
    free(m); /* the head of a struct result */
}
