/* Judging: a baseline against a plain computation over all pairs, a network against its own vectors. */
#include "judge.h"
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

static struct bk_trial *draw(const struct toy *t, const struct bk_trial_options *opt)
{
    struct bk_trial *trial;
    assert_int_equal(bk_trial_draw(&trial, &t->d, opt, NULL), BK_OK);
    return trial;
}

static const struct bk_subject counts = {NULL, BK_BASELINE_COUNTS};

/* Two functions a label: the only right answer and all wrong ones are known, so a pool of the whole part draws nothing. */
static void baseline_is_the_definition(void **state)
{
    (void)state;
    struct toy *t = toy_new(120, 2, false, 4, 16);
    const struct bk_trial_options ask = {.split = half, .seed = 21};
    struct bk_trial *trial = draw(t, &ask);
    const struct bk_group *g = &trial->g;
    assert_int_equal(g->n, 120);
    size_t rank[120], at_1[BK_SIZE_CLASSES] = {0}, in_class[BK_SIZE_CLASSES] = {0};
    for (size_t q = 0; q < 120; q++) {
        size_t right = g->begin[q] == q ? q + 1 : q - 1;
        rank[q] = 1;
        for (size_t o = 0; o < 120; o++)
            rank[q] += o != q && o != right &&
                       (float)plain_cosine(t, g->v[q], g->v[o]) >= (float)plain_cosine(t, g->v[q], g->v[right]);
        uint32_t blocks = t->funcs[g->v[q]].n_blocks; /* 1 to 9 */
        size_t c = blocks == 1 ? 0 : blocks < 5 ? 1 : 2;
        in_class[c]++;
        at_1[c] += rank[q] == 1;
    }
    double expected[BK_RANK_METRICS];
    bk_metric_ranks(expected, rank, 120, NULL);
    const size_t pools[] = {10, 119, 120};
    const struct bk_judge_options opt = {.pools = pools, .n_pools = 3, .threads = 2};
    struct bk_judged r;
    assert_int_equal(bk_judge(&r, trial, &counts, &opt, NULL), BK_OK);
    const struct bk_judged_axis *x = &r.axes[BK_AXIS_XM];
    const struct bk_judged_pool *whole = &x->pools[1];
    assert_int_equal(x->pairs, 240);
    assert_int_equal(x->n_pools, 3);
    assert_int_equal(whole->queries, 120);
    assert_true(whole->recall_at_1.value < 1);
    assert_true(fabs(whole->recall_at_1.value - expected[BK_RECALL_1]) < 1e-9);
    assert_true(fabs(whole->recall_at_10.value - expected[BK_RECALL_10]) < 1e-9);
    assert_true(fabs(whole->mrr_at_10.value - expected[BK_MRR_10]) < 1e-9);
    assert_true(fabs(whole->ndcg_at_10.value - expected[BK_NDCG_10]) < 1e-9);
    assert_true(whole->recall_at_1.low < whole->recall_at_1.value &&
                whole->recall_at_1.value < whole->recall_at_1.high);
    for (size_t c = 0; c < BK_SIZE_CLASSES; c++) {
        assert_int_equal(whole->sizes[c].queries, in_class[c]);
        if (in_class[c])
            assert_true(fabs(whole->sizes[c].recall_at_1 - (double)at_1[c] / (double)in_class[c]) < 1e-9);
    }
    assert_int_equal(x->pools[2].queries, 0); /* one more than there are */
    assert_int_equal(x->pools[2].most, 119);
    assert_int_equal(x->pools[2].least, 119);
    assert_true(x->recall_at_k.x[x->recall_at_k.n - 1] == 119);
    bk_judged_done(&r);
    bk_trial_free(trial);
    toy_free(t);
}

/* AUC over the trial's own pairs: each query with its right answer and with the first wrong one. */
static double auc_of_pairs(const struct bk_trial *trial, double (*score)(const void *, uint32_t, uint32_t),
                           const void *ctx)
{
    const struct bk_trial_axis *x = &trial->axes[BK_AXIS_XM];
    double *right = calloc(x->n, sizeof *right), *wrong = calloc(x->n, sizeof *wrong), good = 0;
    bool *row = calloc(trial->n_builds, sizeof *row);
    for (size_t i = 0; i < x->n; i++) {
        uint32_t first;
        bk_trial_wrong(&first, 1, trial, BK_AXIS_XM, x->v[i].query, row);
        right[i] = score(ctx, x->v[i].query, x->v[i].match);
        wrong[i] = score(ctx, x->v[i].query, first);
    }
    for (size_t i = 0; i < x->n; i++)
        for (size_t k = 0; k < x->n; k++)
            good += right[i] > wrong[k] ? 1 : (right[i] == wrong[k] ? 0.5 : 0);
    good /= (double)x->n * (double)x->n;
    free(right);
    free(wrong);
    free(row);
    return good;
}

struct toy_group {
    const struct toy *t;
    const struct bk_group *g;
};

static double count_score(const void *ctx, uint32_t a, uint32_t b)
{
    const struct toy_group *tg = ctx;
    return (float)plain_cosine(tg->t, tg->g->v[a], tg->g->v[b]);
}

/* Pairs and pools of a trial, small ones being parts of large ones. */
static void pairs_and_pools_are_those_of_the_trial(void **state)
{
    (void)state;
    struct toy *t = toy_new(120, 3, false, 4, 16);
    const struct bk_trial_options ask = {.split = half, .seed = 9, .queries = 70};
    struct bk_trial *trial = draw(t, &ask);
    const size_t pools[] = {10, 60};
    const struct bk_judge_options opt = {.pools = pools, .n_pools = 2, .threads = 1};
    struct bk_judged r;
    assert_int_equal(bk_judge(&r, trial, &counts, &opt, NULL), BK_OK);
    const struct toy_group tg = {t, &trial->g};
    double auc = auc_of_pairs(trial, count_score, &tg);
    assert_true(auc > 0.6 && auc < 1);
    assert_true(fabs(r.axes[BK_AXIS_XM].auc.value - auc) < 1e-9);
    assert_true(r.axes[BK_AXIS_XM].auc.low < auc && auc < r.axes[BK_AXIS_XM].auc.high);
    for (size_t p = 0; p < 2; p++) {
        double reciprocal = 0;
        bool related[1];
        for (size_t i = 0; i < 70; i++) {
            const struct bk_anchor *v = &trial->axes[BK_AXIS_XM].v[i];
            uint32_t wrong[59];
            size_t rank = 1;
            bk_trial_wrong(wrong, pools[p] - 1, trial, BK_AXIS_XM, v->query, related);
            for (size_t k = 0; k < pools[p] - 1; k++)
                rank += count_score(&tg, v->query, wrong[k]) >= count_score(&tg, v->query, v->match);
            reciprocal += rank <= 10 ? 1.0 / (double)rank : 0;
        }
        assert_true(fabs(r.axes[BK_AXIS_XM].pools[p].mrr_at_10.value - reciprocal / 70) < 1e-9);
    }
    bk_judged_done(&r);
    bk_trial_free(trial);
    toy_free(t);
}

/* One score for all must not look like an answer. */
static void constant_scores_find_nothing(void **state)
{
    (void)state;
    struct toy *t = toy_new(60, 3, false, 4, 4);
    memset(t->ids, 0, t->d.n * 4 * sizeof *t->ids);
    const size_t pools[] = {12};
    const struct bk_trial_options ask = {.split = half, .seed = 1};
    struct bk_trial *trial = draw(t, &ask);
    const struct bk_judge_options opt = {.pools = pools, .n_pools = 1};
    for (enum bk_baseline b = 0; b < BK_BASELINE_COUNT; b++) {
        t->d.has_immediates = true;
        const struct bk_subject subject = {NULL, b};
        struct bk_judged r;
        assert_int_equal(bk_judge(&r, trial, &subject, &opt, NULL), BK_OK);
        const struct bk_judged_axis *x = &r.axes[BK_AXIS_XM];
        assert_true(x->auc.value == 0.5 && x->ap.value == 0.5 && x->auc.low == 0.5 && x->auc.high == 0.5);
        assert_true(x->pools[0].recall_at_1.value == 0 && x->pools[0].recall_at_10.value == 0);
        assert_true(x->pools[0].mrr_at_10.value == 0 && x->pools[0].ndcg_at_10.value == 0);
        bk_judged_done(&r);
    }
    bk_trial_free(trial);
    toy_free(t);
}

static void same_curve(const struct bk_curve *a, const struct bk_curve *b)
{
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->x, b->x, a->n * sizeof *a->x);
    assert_memory_equal(a->y, b->y, a->n * sizeof *a->y);
}

static void same_for_any_threads(void **state)
{
    (void)state;
    struct toy *t = toy_new(120, 4, true, 4, 16);
    const size_t pools[] = {50, 5};
    const struct bk_trial_options ask = {.split = half, .seed = 8, .min_blocks = 3, .queries = 40, .pairs = 100};
    struct bk_trial *trial = draw(t, &ask);
    const enum bk_baseline subjects[] = {BK_BASELINE_COUNTS, BK_BASELINE_MINHASH};
    for (size_t s = 0; s < 2; s++) {
        const struct bk_subject subject = {NULL, subjects[s]};
        struct bk_judged r[2];
        for (unsigned i = 0; i < 2; i++) {
            const struct bk_judge_options opt = {.pools = pools, .n_pools = 2, .threads = 1 + 3 * i};
            assert_int_equal(bk_judge(&r[i], trial, &subject, &opt, NULL), BK_OK);
        }
        const struct bk_judged_axis *a = &r[0].axes[BK_AXIS_XM], *b = &r[1].axes[BK_AXIS_XM];
        assert_int_equal(a->pairs, 100);
        assert_int_equal(a->pools[0].queries, 40);
        assert_memory_equal(&a->auc, &b->auc, sizeof a->auc);
        assert_memory_equal(&a->ap, &b->ap, sizeof a->ap);
        assert_memory_equal(a->pools, b->pools, sizeof a->pools);
        same_curve(&a->roc, &b->roc);
        same_curve(&a->precision_recall, &b->precision_recall);
        same_curve(&a->recall_at_k, &b->recall_at_k);
        bk_judged_done(&r[0]);
        bk_judged_done(&r[1]);
    }
    bk_trial_free(trial);
    toy_free(t);
}

/* An axis without pairs is left empty beside one that has some, and alone is an error. */
static void axes_without_pairs(void **state)
{
    (void)state;
    struct toy *t = toy_new(60, 3, false, 4, 4);
    struct bk_trial_options ask = {.split = half, .seed = 1, .axes = 1u << BK_AXIS_XB | 1u << BK_AXIS_XM};
    struct bk_trial *trial = draw(t, &ask);
    const struct bk_judge_options opt = {.threads = 1};
    struct bk_judged r;
    struct bk_error err;
    assert_int_equal(bk_judge(&r, trial, &counts, &opt, NULL), BK_OK);
    assert_int_equal(r.axes[BK_AXIS_XB].pairs, 0);
    assert_true(r.axes[BK_AXIS_XM].pairs > 0);
    bk_judged_done(&r);
    bk_trial_free(trial);
    ask.axes = 1u << BK_AXIS_XB;
    trial = draw(t, &ask);
    assert_int_equal(bk_judge(&r, trial, &counts, &opt, &err), BK_EINVAL);
    assert_string_equal(err.message, "none of 90 functions has a right answer on any axis asked");
    bk_trial_free(trial);
    toy_free(t);
}

static void senseless_requests_are_refused(void **state)
{
    (void)state;
    struct toy *t = toy_new(60, 3, false, 4, 4);
    const struct bk_trial_options ask = {.split = half, .seed = 1};
    struct bk_trial *trial = draw(t, &ask);
    struct bk_judged r;
    const size_t pools[9] = {1, 2, 2, 2, 2, 2, 2, 2, 2};
    struct bk_judge_options opt = {.pools = pools, .n_pools = 1};
    assert_int_equal(bk_judge(&r, trial, &counts, &opt, NULL), BK_EINVAL);
    opt.n_pools = 9;
    assert_int_equal(bk_judge(&r, trial, &counts, &opt, NULL), BK_EINVAL);
    bk_trial_free(trial);
    toy_free(t);
}

/* ---- a network --------------------------------------------------------- */

/* A small SAFE with random weights that knows every second word of the data set. */
struct small_model {
    struct bk_model m;
    struct bk_strtab *words;
    float *vectors, *params;
};

static struct small_model *model_new(const struct toy *t, bool compat)
{
    struct small_model *s = calloc(1, sizeof *s);
    assert_true(bk_encoder_config_default(&s->m.cfg, "safe"));
    s->m.cfg.net.d = 8;
    s->m.cfg.net.u = 8;
    s->m.cfg.net.a = 6;
    s->m.cfg.net.r = 2;
    s->m.cfg.net.e = 12;
    s->m.cfg.net.n = 10;
    s->m.cfg.net.max_insns = 12;
    s->m.cfg.net.compat_safe = compat;
    strcpy(s->m.kind, "safe");
    s->m.archs = 1u << BK_ARCH_AMD64;
    s->words = bk_strtab_new();
    bk_strtab_intern(s->words, "", 0);
    bk_strtab_intern(s->words, bk_word_unknown(BK_ARCH_AMD64), strlen(bk_word_unknown(BK_ARCH_AMD64)));
    bk_strtab_intern(s->words, bk_word_unknown(BK_ARCH_ARM), strlen(bk_word_unknown(BK_ARCH_ARM)));
    for (uint32_t i = bk_strtab_count(t->words); i-- > 0;)
        if (i % 2)
            bk_strtab_intern(s->words, bk_strtab_str(t->words, i), strlen(bk_strtab_str(t->words, i)));
    size_t n = (size_t)bk_strtab_count(s->words) * s->m.cfg.net.d;
    s->vectors = calloc(n, sizeof *s->vectors);
    struct bk_rng rng;
    bk_rng_seed(&rng, 17, 0);
    for (size_t i = s->m.cfg.net.d; i < n; i++)
        s->vectors[i] = (float)(bk_rng_unit(&rng) - 0.5);
    s->params = calloc(bk_net_n_params(&s->m.cfg.net), sizeof *s->params);
    bk_net_init(s->params, &s->m.cfg.net, &rng);
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

/* Both vectors of each function of the group, word by word through the model's vocabulary. */
static float *plain_vectors(double *unknown, const struct toy *t, const struct bk_group *g, const struct bk_model *m)
{
    size_t dim = bk_net_outputs(&m->cfg.net), seen = 0;
    float *v = calloc(g->n * 2 * dim, sizeof *v);
    *unknown = 0;
    for (size_t k = 0; k < g->n; k++) {
        uint32_t ids[64];
        const struct bk_data_func *f = &t->funcs[g->v[k]];
        for (size_t i = 0; i < f->n_words; i++) {
            const char *word = bk_strtab_str(t->words, f->words[i]);
            ids[i] = bk_strtab_find(m->words, word, strlen(word));
            if (i < m->cfg.net.max_insns)
                *unknown += ids[i] == BK_STR_NONE;
            if (ids[i] == BK_STR_NONE)
                ids[i] = 1;
        }
        seen += f->n_words < m->cfg.net.max_insns ? f->n_words : m->cfg.net.max_insns;
        const struct bk_input in = {.words = {ids, f->n_words}};
        assert_int_equal(bk_model_embed_pairs(v + k * 2 * dim, m, &in, 1, BK_FULL, 1, NULL, NULL, NULL), BK_OK);
    }
    *unknown /= (double)seen;
    return v;
}

struct plain {
    const float *v;
    size_t dim;
};

static double vector_score(const void *ctx, uint32_t a, uint32_t b)
{
    const struct plain *p = ctx;
    double sum = 0;
    for (size_t k = 0; k < p->dim; k++)
        sum += (double)p->v[a * 2 * p->dim + k] * p->v[b * 2 * p->dim + p->dim + k];
    return sum;
}

static void judged_by_vectors(bool compat)
{
    struct toy *t = toy_new(80, 2, false, 4, 16);
    t->d.info.hash = 0xabcd;
    struct small_model *s = model_new(t, compat);
    struct bk_trial_options ask = {.seed = 4};
    assert_int_equal(bk_model_split(&ask.split, &s->m, &t->d, NULL), BK_OK);
    struct bk_trial *trial = draw(t, &ask);
    double unknown;
    const struct plain p = {plain_vectors(&unknown, t, &trial->g, &s->m), bk_net_outputs(&s->m.cfg.net)};
    const struct bk_judge_options opt = {.threads = 1};
    const struct bk_subject subject = {.model = &s->m};
    struct bk_judged r;
    assert_int_equal(bk_judge(&r, trial, &subject, &opt, NULL), BK_OK);
    assert_true(unknown > 0.2 && unknown < 0.8);
    assert_true(fabs(r.unknown_words - unknown) < 1e-12);
    double auc = auc_of_pairs(trial, vector_score, &p);
    assert_true(fabs(r.axes[BK_AXIS_XM].auc.value - auc) < 2e-3); /* a rounding may swap two near scores */
    assert_true(r.functions_per_second > 0);
    bk_judged_done(&r);
    free((float *)(uintptr_t)p.v);
    bk_trial_free(trial);
    model_free(s);
    toy_free(t);
}

static void network_is_judged_by_its_vectors(void **state)
{
    (void)state;
    judged_by_vectors(false);
    judged_by_vectors(true); /* a left and a right vector */
}

static void foreign_model_is_refused(void **state)
{
    (void)state;
    struct toy *t = toy_new(80, 2, false, 4, 16);
    struct small_model *s = model_new(t, false);
    struct bk_trial_options ask = {.split = half, .seed = 4};
    const struct bk_subject subject = {.model = &s->m};
    const struct bk_judge_options opt = {.threads = 1};
    struct bk_split split;
    struct bk_judged r;
    struct bk_error err;
    s->m.dataset_hash = 1;
    assert_int_equal(bk_model_split(&split, &s->m, &t->d, &err), BK_EMISMATCH);
    assert_non_null(strstr(err.message, "another data set"));
    struct bk_trial *trial = draw(t, &ask);
    assert_int_equal(bk_judge(&r, trial, &subject, &opt, &err), BK_OK);
    bk_judged_done(&r);
    t->files[0].arch = BK_ARCH_ARM;
    assert_int_equal(bk_judge(&r, trial, &subject, &opt, &err), BK_EMISMATCH);
    assert_string_equal(err.message, "the model was not trained for armhf");
    bk_trial_free(trial);
    model_free(s);
    toy_free(t);
}

static void a_vector_that_is_no_number_is_refused(void **state)
{
    (void)state;
    struct toy *t = toy_new(80, 2, false, 4, 16);
    struct small_model *s = model_new(t, false);
    struct bk_trial_options ask = {.split = half, .seed = 4};
    const struct bk_subject subject = {.model = &s->m};
    const struct bk_judge_options opt = {.threads = 1};
    struct bk_judged r;
    struct bk_error err;
    for (size_t i = 0; i < bk_net_n_params(&s->m.cfg.net); i++)
        s->params[i] = NAN;
    struct bk_trial *trial = draw(t, &ask);
    assert_int_equal(bk_judge(&r, trial, &subject, &opt, &err), BK_EFORMAT);
    assert_non_null(strstr(err.message, "not finite"));
    bk_trial_free(trial);
    model_free(s);
    toy_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(baseline_is_the_definition),
                                       cmocka_unit_test(pairs_and_pools_are_those_of_the_trial),
                                       cmocka_unit_test(constant_scores_find_nothing),
                                       cmocka_unit_test(same_for_any_threads),
                                       cmocka_unit_test(axes_without_pairs),
                                       cmocka_unit_test(senseless_requests_are_refused),
                                       cmocka_unit_test(network_is_judged_by_its_vectors),
                                       cmocka_unit_test(foreign_model_is_refused),
                                       cmocka_unit_test(a_vector_that_is_no_number_is_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
