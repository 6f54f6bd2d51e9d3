/* eval: a model, or the plain baseline, judged on one part of a data set. */
#include "model/model.h"
#include "train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_POOLS       8
#define DEFAULT_QUERIES 1000

/* ---- the two kinds of score -------------------------------------------- */

/* Baseline: the words of a function with their counts, as a sparse vector. */
struct bag {
    size_t begin; /* into judge.counts */
    uint32_t n;
    double norm;
};
struct word_count {
    uint32_t word, count;
};

/* Scores functions of one group, named by their position in it. Either vectors or bags are there. */
struct judge {
    const struct bk_dataset *d;
    const struct bk_group *g;
    float *vectors; /* g->n x dim, unit length */
    size_t dim;
    struct bag *bags; /* g->n */
    struct word_count *counts;
};

/* Eight sums side by side, so that the compiler may use wide registers without changing the order of additions. */
static float dot(const float *a, const float *b, size_t n)
{
    float lane[8] = {0}, sum = 0;
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (size_t k = 0; k < 8; k++)
            lane[k] += a[i + k] * b[i + k];
    for (; i < n; i++)
        sum += a[i] * b[i];
    for (size_t k = 0; k < 8; k++)
        sum += lane[k];
    return sum;
}

/* Scores of `query` with others[0..n). `dense`: one number a word of the data set, all zero before and after. */
static void judge_scores(float *score, const struct judge *j, uint32_t *dense, size_t query, const uint32_t *others,
                         size_t n)
{
    if (j->vectors) {
        for (size_t i = 0; i < n; i++)
            score[i] = dot(j->vectors + query * j->dim, j->vectors + others[i] * j->dim, j->dim);
        return;
    }
    const struct bag *q = &j->bags[query];
    for (size_t k = 0; k < q->n; k++)
        dense[j->counts[q->begin + k].word] = j->counts[q->begin + k].count;
    for (size_t i = 0; i < n; i++) {
        const struct bag *o = &j->bags[others[i]];
        uint64_t sum = 0;
        for (size_t k = 0; k < o->n; k++)
            sum += (uint64_t)dense[j->counts[o->begin + k].word] * j->counts[o->begin + k].count;
        score[i] = (float)((double)sum / (q->norm * o->norm));
    }
    for (size_t k = 0; k < q->n; k++)
        dense[j->counts[q->begin + k].word] = 0;
}

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static int make_bags(struct judge *j, struct bk_error *err)
{
    size_t total = 0;
    for (size_t i = 0; i < j->g->n; i++)
        total += j->d->v[j->g->v[i]].n_words;
    j->bags = bk_calloc(j->g->n + 1, sizeof *j->bags);
    j->counts = bk_calloc(total + 1, sizeof *j->counts);
    if (!j->bags || !j->counts)
        return bk_fail_nomem(err, total * sizeof *j->counts);
    size_t end = 0;
    for (size_t i = 0; i < j->g->n; i++) {
        const struct bk_data_func *f = &j->d->v[j->g->v[i]];
        uint32_t ids[BK_DATA_MAX_WORDS];
        memcpy(ids, f->words, f->n_words * sizeof *ids);
        qsort(ids, f->n_words, sizeof *ids, by_number);
        struct bag *b = &j->bags[i];
        b->begin = end;
        uint64_t squares = 0;
        for (size_t k = 0, same; k < f->n_words; k += same) {
            for (same = 1; k + same < f->n_words && ids[k + same] == ids[k];)
                same++;
            j->counts[end++] = (struct word_count){ids[k], (uint32_t)same};
            squares += (uint64_t)same * same;
        }
        b->n = (uint32_t)(end - b->begin);
        b->norm = sqrt((double)squares);
    }
    return BK_OK;
}

/* ---- vectors ----------------------------------------------------------- */

void bk_words_map(uint32_t *map, const struct bk_dataset *d, const struct bk_strtab *vocabulary)
{
    for (uint32_t i = 0; i < bk_strtab_count(d->words); i++) {
        const char *s = bk_strtab_str(d->words, i);
        map[i] = bk_strtab_find(vocabulary, s, strlen(s));
    }
}

/* The model's input for each function of the group. */
struct inputs {
    uint32_t *ids, *map;
    struct bk_seq *seqs;
    uint64_t n_words, n_unknown; /* of the words the model sees */
};

static void inputs_done(struct inputs *in)
{
    free(in->ids);
    free(in->map);
    free(in->seqs);
}

static int make_inputs(struct inputs *in, const struct judge *j, const struct bk_model *m, struct bk_error *err)
{
    const struct bk_dataset *d = j->d;
    size_t total = 0;
    for (size_t i = 0; i < j->g->n; i++)
        total += d->v[j->g->v[i]].n_words;
    in->ids = bk_calloc(total + 1, sizeof *in->ids);
    in->map = bk_calloc((size_t)bk_strtab_count(d->words) + 1, sizeof *in->map);
    in->seqs = bk_calloc(j->g->n + 1, sizeof *in->seqs);
    if (!in->ids || !in->map || !in->seqs)
        return bk_fail_nomem(err, total * sizeof *in->ids);
    bk_words_map(in->map, d, m->words);
    uint32_t *at = in->ids;
    for (size_t i = 0; i < j->g->n; i++) {
        const struct bk_data_func *f = &d->v[j->g->v[i]];
        enum bk_arch arch = bk_data_arch(d, j->g->v[i]);
        const char *name = bk_word_unknown(arch);
        uint32_t unknown = bk_strtab_find(m->words, name, strlen(name));
        if (!(m->archs & (1u << arch)) || unknown == BK_STR_NONE)
            return bk_fail(err, BK_EMISMATCH, BK_NO_OFFSET, "the model was not trained for %s", bk_arch_name(arch));
        size_t n = f->n_words < m->net.max_insns ? f->n_words : m->net.max_insns;
        in->seqs[i] = (struct bk_seq){at, n};
        for (size_t k = 0; k < n; k++) {
            uint32_t id = in->map[f->words[k]];
            in->n_unknown += id == BK_STR_NONE;
            *at++ = id == BK_STR_NONE ? unknown : id;
        }
        in->n_words += n;
    }
    return BK_OK;
}

struct progress {
    bk_progress_fn *fn;
    void *ctx;
};

static void embed_progress(void *ctx, size_t done, size_t total)
{
    struct progress *p = ctx;
    p->fn(p->ctx, "embedding", done, total);
}

static int make_vectors(struct bk_eval_result *r, struct judge *j, const struct bk_model *m,
                        const struct bk_eval_options *opt, struct bk_error *err)
{
    struct inputs in = {0};
    int rc = make_inputs(&in, j, m, err);
    size_t size;
    j->dim = bk_net_outputs(&m->net);
    if (!rc) {
        j->vectors = bk_mul_size(&size, j->g->n, j->dim) ? bk_calloc(size + 1, sizeof *j->vectors) : NULL;
        rc = j->vectors ? BK_OK : bk_fail_nomem(err, j->g->n * j->dim * sizeof *j->vectors);
    }
    if (!rc) {
        struct progress p = {opt->progress, opt->ctx};
        double start = bk_now();
        rc = bk_model_embed(j->vectors, m, in.seqs, j->g->n, bk_model_precision(opt->int8), opt->threads,
                            p.fn ? embed_progress : NULL, &p, err);
        r->seconds_embedding = bk_now() - start;
        r->functions_per_second = r->seconds_embedding > 0 ? (double)j->g->n / r->seconds_embedding : 0;
        r->unknown_words = in.n_words ? (double)in.n_unknown / (double)in.n_words : 0;
    }
    inputs_done(&in);
    return rc;
}

/* ---- pairs ------------------------------------------------------------- */

void bk_pairs_score(float *score, const struct bk_pairs *p, const float *vectors, size_t dim)
{
    for (size_t i = 0; i < p->n; i++)
        score[i] = dot(vectors + p->v[i].a * dim, vectors + p->v[i].b * dim, dim);
}

static int judge_pairs(struct bk_eval_result *r, const struct judge *j, const struct bk_eval_options *opt,
                       struct bk_error *err)
{
    struct bk_pairs p;
    int rc = bk_pairs_fixed(&p, j->g, opt->max_pairs, opt->seed, err);
    if (rc)
        return rc;
    float *score = bk_calloc(p.n + 1, sizeof *score);
    bool *similar = bk_calloc(p.n + 1, sizeof *similar);
    uint32_t *dense = bk_calloc((size_t)bk_strtab_count(j->d->words) + 1, sizeof *dense);
    if (!score || !similar || !dense) {
        rc = bk_fail_nomem(err, p.n * sizeof *score);
    } else {
        if (j->vectors)
            bk_pairs_score(score, &p, j->vectors, j->dim);
        for (size_t i = 0; i < p.n; i++) {
            if (!j->vectors)
                judge_scores(&score[i], j, dense, p.v[i].a, &p.v[i].b, 1);
            similar[i] = p.v[i].similar;
        }
        r->n_pairs = p.n;
        rc = p.n ? bk_metric_auc_ap(&r->auc, &r->ap, score, similar, p.n, err)
                 : bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "no function of the part has a partner in it");
    }
    free(score);
    free(similar);
    free(dense);
    bk_pairs_done(&p);
    return rc;
}

/* ---- pools ------------------------------------------------------------- */

struct pool_scratch {  /* of one thread */
    uint32_t *order;   /* 0 .. n-1; put back after each query */
    uint32_t *swapped; /* whom each step swapped with */
    uint32_t *members; /* wrong answers, then the right one */
    uint32_t *dense;   /* see judge_scores */
    float *score;      /* of the members */
};

struct pool_run {
    const struct judge *j;
    size_t pool; /* candidates, the right one among them */
    uint64_t seed;
    const uint32_t *queries; /* positions in the group */
    size_t *rank;            /* by query */
    struct pool_scratch *scratch;
};

/* Draws `want` functions of other labels than the query's without replacement: Fisher-Yates steps over a standing order, undone
 * afterwards, so that a draw depends on the query alone. */
static void draw_wrong(uint32_t *out, size_t want, const struct bk_group *g, size_t query, struct pool_scratch *s,
                       struct bk_rng *rng)
{
    size_t steps = 0;
    for (size_t got = 0; got < want; steps++) {
        size_t with = steps + bk_rng_below(rng, g->n - steps);
        uint32_t who = s->order[with];
        s->order[with] = s->order[steps];
        s->order[steps] = who;
        s->swapped[steps] = (uint32_t)with;
        if (who < g->begin[query] || who >= g->end[query])
            out[got++] = who;
    }
    while (steps-- > 0) {
        uint32_t who = s->order[steps];
        s->order[steps] = s->order[s->swapped[steps]];
        s->order[s->swapped[steps]] = who;
    }
}

static void ask(void *ctx, size_t item, unsigned worker)
{
    struct pool_run *run = ctx;
    struct pool_scratch *s = &run->scratch[worker];
    size_t query = run->queries[item], n_wrong = run->pool - 1;
    struct bk_rng rng;
    bk_rng_seed(&rng, run->seed, ((uint64_t)item + 1) << 32 | BK_STREAM_POOLS);
    s->members[n_wrong] = (uint32_t)bk_group_similar(run->j->g, query, &rng);
    draw_wrong(s->members, n_wrong, run->j->g, query, s, &rng);
    judge_scores(s->score, run->j, s->dense, query, s->members, run->pool);
    run->rank[item] = bk_rank_of(s->score[n_wrong], s->score, n_wrong);
}

static void scratch_free(struct pool_scratch *s, unsigned threads)
{
    for (unsigned i = 0; s && i < threads; i++) {
        free(s[i].order);
        free(s[i].swapped);
        free(s[i].members);
        free(s[i].dense);
        free(s[i].score);
    }
    free(s);
}

static struct pool_scratch *scratch_new(const struct judge *j, unsigned threads)
{
    struct pool_scratch *s = bk_calloc(threads, sizeof *s);
    size_t n = j->g->n + 1;
    bool ok = s != NULL;
    for (unsigned i = 0; ok && i < threads; i++) {
        s[i].order = bk_calloc(n, sizeof *s[i].order);
        s[i].swapped = bk_calloc(n, sizeof *s[i].swapped);
        s[i].members = bk_calloc(n, sizeof *s[i].members);
        s[i].score = bk_calloc(n, sizeof *s[i].score);
        s[i].dense = bk_calloc((size_t)bk_strtab_count(j->d->words) + 1, sizeof *s[i].dense);
        ok = s[i].order && s[i].swapped && s[i].members && s[i].score && s[i].dense;
        for (size_t k = 0; ok && k < n; k++)
            s[i].order[k] = (uint32_t)k;
    }
    if (ok)
        return s;
    scratch_free(s, threads);
    return NULL;
}

/* Functions with a partner, drawn without replacement; *n of them at most. NULL: no memory. */
static uint32_t *draw_queries(size_t *n, const struct bk_group *g, uint64_t seed)
{
    uint32_t *v = bk_calloc(g->n + 1, sizeof *v);
    if (!v)
        return NULL;
    size_t have = 0;
    for (size_t k = 0; k < g->n; k++)
        if (g->end[k] - g->begin[k] > 1)
            v[have++] = (uint32_t)k;
    struct bk_rng rng;
    bk_rng_seed(&rng, seed, BK_STREAM_QUERIES);
    bk_rng_shuffle_u32(&rng, v, have);
    *n = have < *n ? have : *n;
    return v;
}

static int judge_pools(struct bk_eval_result *r, const struct judge *j, const struct bk_eval_options *opt,
                       struct bk_error *err)
{
    unsigned threads = bk_par_threads(opt->threads);
    size_t n = opt->max_queries ? opt->max_queries : DEFAULT_QUERIES;
    uint32_t *queries = draw_queries(&n, j->g, opt->seed);
    struct pool_run run = {.j = j, .seed = opt->seed, .queries = queries};
    run.scratch = scratch_new(j, threads);
    run.rank = bk_calloc(n + 1, sizeof *run.rank);
    int rc = queries && run.scratch && run.rank ? BK_OK : bk_fail_nomem(err, threads * j->g->n * 16);
    size_t largest = j->g->n - j->g->max_label + 1; /* wrong answers that every query has, and the right one */
    for (size_t k = 0; k < opt->n_pools && !rc; k++) {
        run.pool = opt->pools[k] < largest ? opt->pools[k] : largest;
        if (opt->progress)
            opt->progress(opt->ctx, "pools", k, opt->n_pools);
        bk_par_for(n, threads, ask, &run);
        struct bk_rank_sum sum = {0};
        for (size_t i = 0; i < n; i++)
            bk_rank_add(&sum, run.rank[i]);
        double count = n ? (double)n : 1;
        r->pools[k] = (struct bk_eval_pool){.pool = run.pool,
                                            .queries = n,
                                            .recall_at_1 = (double)sum.at_1 / count,
                                            .recall_at_10 = (double)sum.at_10 / count,
                                            .mrr_at_10 = sum.reciprocal / count};
    }
    r->n_pools = opt->n_pools;
    scratch_free(run.scratch, threads);
    free(run.rank);
    free(queries);
    return rc;
}

/* ---- the whole --------------------------------------------------------- */

/* The split asked for, or the one the model was trained under. */
static int find_split(struct bk_split *out, const struct bk_dataset *d, const struct bk_model *m,
                      const struct bk_eval_options *opt, struct bk_error *err)
{
    *out = opt->split;
    if (opt->split.train || opt->split.validation || opt->split.test)
        return BK_OK;
    if (!m)
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "the baseline has no split of its own: name one");
    if (m->dataset_hash != d->info.hash)
        return bk_fail(err, BK_EMISMATCH, BK_NO_OFFSET,
                       "the model was trained on another data set (%016llx, this is %016llx): name a split",
                       (unsigned long long)m->dataset_hash, (unsigned long long)d->info.hash);
    *out = (struct bk_split){(enum bk_split_by)m->split_by, m->split_parts[0], m->split_parts[1], m->split_parts[2],
                             m->split_seed};
    return BK_OK;
}

static int check_options(const struct bk_eval_options *opt, struct bk_error *err)
{
    if (opt->n_pools > MAX_POOLS)
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "%zu pool sizes, at most %d", opt->n_pools, MAX_POOLS);
    for (size_t i = 0; i < opt->n_pools; i++)
        if (opt->pools[i] < 2)
            return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "a pool of %zu has no wrong answer", opt->pools[i]);
    return BK_OK;
}

static int judge_group(struct bk_eval_result *r, const struct bk_dataset *d, const struct bk_model *m,
                       const struct bk_group *g, const struct bk_eval_options *opt, struct bk_error *err)
{
    struct judge j = {.d = d, .g = g};
    r->n_functions = g->n;
    int rc = g->n_labels < 2
                 ? bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "the part has %zu functions of %zu labels", g->n, g->n_labels)
                 : BK_OK;
    if (!rc)
        rc = m ? make_vectors(r, &j, m, opt, err) : make_bags(&j, err);
    if (!rc)
        rc = judge_pairs(r, &j, opt, err);
    if (!rc)
        rc = judge_pools(r, &j, opt, err);
    free(j.vectors);
    free(j.bags);
    free(j.counts);
    return rc;
}

int bk_eval(struct bk_eval_result *out, const struct bk_dataset *d, const struct bk_model *m,
            const struct bk_eval_options *opt, struct bk_error *err)
{
    bk_error_clear(err);
    *out = (struct bk_eval_result){0};
    struct bk_split split;
    int rc = check_options(opt, err);
    if (!rc)
        rc = find_split(&split, d, m, opt, err);
    if (rc)
        return rc;
    uint8_t *part = bk_calloc(d->n + 1, 1);
    if (!part)
        return bk_fail_nomem(err, d->n);
    struct bk_group g = {0};
    rc = bk_split_parts(part, d, &split, err);
    if (!rc)
        rc = bk_group_init(&g, d, part, opt->validation ? BK_PART_VALIDATION : BK_PART_TEST, opt->min_blocks, err);
    if (!rc)
        rc = judge_group(out, d, m, &g, opt, err);
    bk_group_done(&g);
    free(part);
    return rc;
}
