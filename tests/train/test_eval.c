/* Judging: the baseline against a plain computation over all pairs, a network against its own vectors. */
#include "model/model.h"
#include "toy_dataset.h"

#include <math.h>

static const struct bk_split half = {BK_SPLIT_SOURCE, 1, 0, 1, 3};

/* Cosine of token counts, straight from the definition. */
static double plain_cosine(const struct toy *t, uint32_t a, uint32_t b)
{
    double dot = 0, aa = 0, bb = 0;
    for (uint32_t w = 0; w < bk_strtab_count(t->words); w++) {
        double x = 0, y = 0;
        for (size_t i = 0; i < t->funcs[a].n_words; i++)
            x += t->funcs[a].words[i] == w;
        for (size_t i = 0; i < t->funcs[b].n_words; i++)
            y += t->funcs[b].words[i] == w;
        dot += x * y;
        aa += x * x;
        bb += y * y;
    }
    return dot / (sqrt(aa) * sqrt(bb));
}

static struct bk_group test_part(const struct toy *t, uint32_t min_blocks)
{
    struct bk_group g;
    uint8_t *part = malloc(t->d.n);
    assert_int_equal(bk_split_parts(part, &t->d, &half, NULL), BK_OK);
    assert_int_equal(bk_group_init(&g, &t->d, part, BK_PART_TEST, min_blocks, NULL), BK_OK);
    free(part);
    return g;
}

/* All pairs of positive and negative scores, the definition of the AUC. */
static double plain_auc(const double *score, const struct bk_pairs *p)
{
    double right = 0, all = 0;
    for (size_t i = 0; i < p->n; i++)
        for (size_t j = 0; j < p->n; j++)
            if (p->v[i].similar && !p->v[j].similar) {
                all++;
                right += score[i] > score[j] ? 1 : (score[i] == score[j] ? 0.5 : 0);
            }
    return right / all;
}

/* Two functions a label: the only right answer and all wrong ones are known, so a pool of the whole part draws nothing. */
static void baseline_is_the_definition(void **state)
{
    (void)state;
    struct toy *t = toy_new(120, 2, false, 4, 16);
    struct bk_group g = test_part(t, 0);
    assert_int_equal(g.n, 120);
    struct bk_pairs p;
    assert_int_equal(bk_pairs_fixed(&p, &g, 0, 21, NULL), BK_OK);
    double *score = calloc(p.n, sizeof *score);
    for (size_t i = 0; i < p.n; i++)
        score[i] = (float)plain_cosine(t, g.v[p.v[i].a], g.v[p.v[i].b]);
    struct bk_rank_sum sum = {0};
    for (size_t q = 0; q < g.n; q++) {
        size_t rank = 1, right = g.begin[q] == q ? q + 1 : q - 1;
        for (size_t o = 0; o < g.n; o++)
            rank += o != q && o != right &&
                    (float)plain_cosine(t, g.v[q], g.v[o]) >= (float)plain_cosine(t, g.v[q], g.v[right]);
        bk_rank_add(&sum, rank);
    }
    const size_t pools[] = {10, 100000};
    struct bk_eval_options opt = {.split = half, .pools = pools, .n_pools = 2, .seed = 21, .threads = 2};
    struct bk_eval_result r;
    assert_int_equal(bk_eval(&r, &t->d, NULL, &opt, NULL), BK_OK);
    assert_int_equal(r.n_functions, 120);
    assert_int_equal(r.n_pairs, p.n);
    assert_true(r.auc > 0.6 && r.auc < 1);
    assert_true(fabs(r.auc - plain_auc(score, &p)) < 1e-9);
    assert_int_equal(r.n_pools, 2);
    assert_int_equal(r.pools[0].pool, 10);
    assert_int_equal(r.pools[1].pool, 119); /* cut: the part without the query */
    assert_int_equal(r.pools[1].queries, 120);
    assert_true(r.pools[1].recall_at_1 < 1);
    assert_true(fabs(r.pools[1].recall_at_1 - (double)sum.at_1 / 120) < 1e-9);
    assert_true(fabs(r.pools[1].recall_at_10 - (double)sum.at_10 / 120) < 1e-9);
    assert_true(fabs(r.pools[1].mrr_at_10 - sum.reciprocal / 120) < 1e-9);
    assert_true(r.pools[0].recall_at_1 >= r.pools[1].recall_at_1);
    free(score);
    bk_pairs_done(&p);
    bk_group_done(&g);
    toy_free(t);
}

/* One score for all must not look like an answer. */
static void constant_scores_find_nothing(void **state)
{
    (void)state;
    struct toy *t = toy_new(60, 3, false, 4, 4);
    memset(t->ids, 0, t->d.n * 4 * sizeof *t->ids);
    const size_t pools[] = {12};
    struct bk_eval_options opt = {.split = half, .pools = pools, .n_pools = 1, .seed = 1};
    struct bk_eval_result r;
    assert_int_equal(bk_eval(&r, &t->d, NULL, &opt, NULL), BK_OK);
    assert_true(r.auc == 0.5 && r.ap == 0.5);
    assert_true(r.pools[0].recall_at_1 == 0 && r.pools[0].recall_at_10 == 0 && r.pools[0].mrr_at_10 == 0);
    toy_free(t);
}

static void same_for_any_threads(void **state)
{
    (void)state;
    struct toy *t = toy_new(120, 4, true, 4, 16);
    const size_t pools[] = {5, 50};
    struct bk_eval_result r[2];
    for (unsigned i = 0; i < 2; i++) {
        struct bk_eval_options opt = {.split = half,
                                      .pools = pools,
                                      .n_pools = 2,
                                      .seed = 8,
                                      .min_blocks = 3,
                                      .max_queries = 40,
                                      .max_pairs = 100,
                                      .threads = 1 + 3 * i};
        assert_int_equal(bk_eval(&r[i], &t->d, NULL, &opt, NULL), BK_OK);
        assert_int_equal(r[i].n_pairs, 100);
        assert_int_equal(r[i].pools[0].queries, 40);
    }
    assert_memory_equal(&r[0], &r[1], sizeof r[0]);
    struct bk_group g = test_part(t, 3);
    assert_int_equal(r[0].n_functions, g.n);
    bk_group_done(&g);
    toy_free(t);
}

static void senseless_requests_are_refused(void **state)
{
    (void)state;
    struct toy *t = toy_new(60, 3, false, 4, 4);
    struct bk_eval_result r;
    struct bk_error err;
    struct bk_eval_options opt = {.split = {BK_SPLIT_SOURCE, 1, 0, 0, 1}};
    assert_int_equal(bk_eval(&r, &t->d, NULL, &opt, &err), BK_EINVAL);
    assert_string_equal(err.message, "the part has 0 functions of 0 labels");
    opt = (struct bk_eval_options){.seed = 1};
    assert_int_equal(bk_eval(&r, &t->d, NULL, &opt, &err), BK_EINVAL);
    assert_string_equal(err.message, "the baseline has no split of its own: name one");
    const size_t pools[9] = {1, 2, 2, 2, 2, 2, 2, 2, 2};
    opt = (struct bk_eval_options){.split = half, .pools = pools, .n_pools = 1};
    assert_int_equal(bk_eval(&r, &t->d, NULL, &opt, NULL), BK_EINVAL);
    opt.n_pools = 9;
    assert_int_equal(bk_eval(&r, &t->d, NULL, &opt, NULL), BK_EINVAL);
    toy_free(t);
}

/* ---- a network --------------------------------------------------------- */

/* A small SAFE with random weights that knows every second word of the data set. */
struct small_model {
    struct bk_model m;
    struct bk_strtab *words;
    float *vectors, *params;
};

static struct small_model *model_new(const struct toy *t)
{
    struct small_model *s = calloc(1, sizeof *s);
    assert_true(bk_net_config_default(&s->m.net, "safe"));
    s->m.net.d = 8;
    s->m.net.u = 8;
    s->m.net.a = 6;
    s->m.net.r = 2;
    s->m.net.e = 12;
    s->m.net.n = 10;
    s->m.net.max_insns = 12;
    strcpy(s->m.kind, "safe");
    s->m.archs = 1u << BK_ARCH_AMD64;
    s->words = bk_strtab_new();
    bk_strtab_intern(s->words, "", 0);
    bk_strtab_intern(s->words, bk_word_unknown(BK_ARCH_AMD64), strlen(bk_word_unknown(BK_ARCH_AMD64)));
    bk_strtab_intern(s->words, bk_word_unknown(BK_ARCH_ARM), strlen(bk_word_unknown(BK_ARCH_ARM)));
    for (uint32_t i = bk_strtab_count(t->words); i-- > 0;)
        if (i % 2)
            bk_strtab_intern(s->words, bk_strtab_str(t->words, i), strlen(bk_strtab_str(t->words, i)));
    size_t n = (size_t)bk_strtab_count(s->words) * s->m.net.d;
    s->vectors = calloc(n, sizeof *s->vectors);
    struct bk_rng rng;
    bk_rng_seed(&rng, 17, 0);
    for (size_t i = s->m.net.d; i < n; i++)
        s->vectors[i] = (float)(bk_rng_unit(&rng) - 0.5);
    s->params = calloc(bk_net_n_params(&s->m.net), sizeof *s->params);
    bk_net_init(s->params, &s->m.net, &rng);
    s->m.words = s->words;
    s->m.word_vectors = s->vectors;
    s->m.params = s->params;
    s->m.split_by = half.by;
    s->m.split_parts[0] = half.train;
    s->m.split_parts[2] = half.test;
    s->m.split_seed = half.seed;
    s->m.dataset_hash = t->d.info.hash;
    return s;
}

static void model_free(struct small_model *s)
{
    bk_strtab_free(s->words);
    free(s->vectors);
    free(s->params);
    free(s);
}

/* The vector of each function of the group, word by word through the model's vocabulary. */
static float *plain_vectors(double *unknown, const struct toy *t, const struct bk_group *g, const struct bk_model *m)
{
    size_t dim = bk_net_outputs(&m->net), seen = 0;
    float *v = calloc(g->n * dim, sizeof *v);
    *unknown = 0;
    for (size_t k = 0; k < g->n; k++) {
        uint32_t ids[64];
        const struct bk_data_func *f = &t->funcs[g->v[k]];
        for (size_t i = 0; i < f->n_words; i++) {
            const char *word = bk_strtab_str(t->words, f->words[i]);
            ids[i] = bk_strtab_find(m->words, word, strlen(word));
            if (i < m->net.max_insns)
                *unknown += ids[i] == BK_STR_NONE;
            if (ids[i] == BK_STR_NONE)
                ids[i] = 1;
        }
        seen += f->n_words < m->net.max_insns ? f->n_words : m->net.max_insns;
        struct bk_seq seq = {ids, f->n_words};
        assert_int_equal(bk_model_embed(v + k * dim, m, &seq, 1, BK_FULL, 1, NULL, NULL, NULL), BK_OK);
    }
    *unknown /= (double)seen;
    return v;
}

static void network_is_judged_by_its_vectors(void **state)
{
    (void)state;
    struct toy *t = toy_new(80, 2, false, 4, 16);
    t->d.info.hash = 0xabcd;
    struct small_model *s = model_new(t);
    struct bk_group g = test_part(t, 0);
    double unknown;
    float *v = plain_vectors(&unknown, t, &g, &s->m);
    struct bk_pairs p;
    assert_int_equal(bk_pairs_fixed(&p, &g, 0, 4, NULL), BK_OK);
    size_t dim = bk_net_outputs(&s->m.net);
    double *score = calloc(p.n, sizeof *score);
    for (size_t i = 0; i < p.n; i++)
        for (size_t k = 0; k < dim; k++)
            score[i] += (double)v[p.v[i].a * dim + k] * v[p.v[i].b * dim + k];
    const size_t pools[] = {20};
    struct bk_eval_options opt = {.pools = pools, .n_pools = 1, .seed = 4}; /* the model's own split */
    struct bk_eval_result r;
    assert_int_equal(bk_eval(&r, &t->d, &s->m, &opt, NULL), BK_OK);
    assert_int_equal(r.n_functions, g.n);
    assert_true(unknown > 0.2 && unknown < 0.8);
    assert_true(fabs(r.unknown_words - unknown) < 1e-12);
    assert_true(fabs(r.auc - plain_auc(score, &p)) < 2e-3); /* a rounding may swap two near scores */
    assert_true(r.functions_per_second > 0);
    free(score);
    free(v);
    bk_pairs_done(&p);
    bk_group_done(&g);
    model_free(s);
    toy_free(t);
}

static void foreign_model_is_refused(void **state)
{
    (void)state;
    struct toy *t = toy_new(80, 2, false, 4, 16);
    struct small_model *s = model_new(t);
    struct bk_eval_result r;
    struct bk_error err;
    struct bk_eval_options opt = {.seed = 4};
    s->m.dataset_hash = 1;
    assert_int_equal(bk_eval(&r, &t->d, &s->m, &opt, &err), BK_EMISMATCH);
    assert_non_null(strstr(err.message, "another data set"));
    opt.split = half;
    assert_int_equal(bk_eval(&r, &t->d, &s->m, &opt, &err), BK_OK);
    t->files[0].arch = BK_ARCH_ARM;
    assert_int_equal(bk_eval(&r, &t->d, &s->m, &opt, &err), BK_EMISMATCH);
    assert_string_equal(err.message, "the model was not trained for armhf");
    model_free(s);
    toy_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(baseline_is_the_definition),
                                       cmocka_unit_test(constant_scores_find_nothing),
                                       cmocka_unit_test(same_for_any_threads),
                                       cmocka_unit_test(senseless_requests_are_refused),
                                       cmocka_unit_test(network_is_judged_by_its_vectors),
                                       cmocka_unit_test(foreign_model_is_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
