/* Calibration: isotonic fits and reliability against scikit-learn, a class against distributions known in closed form, and the pairs
 * of a whole data set against all there are. */
#include "../base/temp_dir.h"
#include "judge.h"
#include "toy_dataset.h"

#include <math.h>

struct golden_fit {
    const char *name;
    double y[25], w[25], fit[25];
};
#include "golden_calibration.h"

static void isotonic_like_scikit_learn(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof golden_fits / sizeof *golden_fits; i++) {
        double y[25];
        memcpy(y, golden_fits[i].y, sizeof y);
        bk_metric_isotonic(y, golden_fits[i].w, 25);
        for (size_t k = 0; k < 25; k++)
            if (fabs(y[k] - golden_fits[i].fit[k]) > 1e-9 * (1 + fabs(y[k])))
                fail_msg("%s: %zu is %.12g, expected %.12g", golden_fits[i].name, k, y[k], golden_fits[i].fit[k]);
    }
}

static void reliability_like_scikit_learn(void **state)
{
    (void)state;
    struct bk_reliability r = {.ece = 0};
    for (size_t i = 0; i < 200; i++)
        bk_reliability_add(&r, golden_probability[i], golden_right[i]);
    bk_reliability_end(&r);
    assert_memory_equal(r.n, golden_n, sizeof r.n);
    for (size_t b = 0; b < 10; b++)
        assert_true(fabs(r.predicted[b] - golden_predicted[b]) < 1e-12 && fabs(r.right[b] - golden_share[b]) < 1e-12);
    assert_true(fabs(r.ece - golden_ece) < 1e-12);
}

/* ---- one class ------------------------------------------------------------- */

/* The logistic distribution: scores at evenly spread quantiles, and its tail. */
static float *logistic(size_t n, double mean, double width)
{
    float *v = calloc(n, sizeof *v);
    for (size_t i = 0; i < n; i++) {
        double u = ((double)((i * 7919) % n) + 0.5) / (double)n;
        v[i] = (float)(mean + width * log(u / (1 - u)));
    }
    return v;
}

static double logistic_tail(double x, double mean, double width)
{
    return 1 / (1 + exp((x - mean) / width));
}

#define N_WRONG ((size_t)1 << 20)
#define N_RIGHT 50000

static void fits_known_distributions(void **state)
{
    (void)state;
    float *wrong = logistic(N_WRONG, 0, 0.05), *right = logistic(N_RIGHT, 0.4, 0.05);
    struct bk_calibration c = {0};
    struct bk_calibration_class *k = &c.v[3];
    bk_calibration_fit(k, wrong, N_WRONG, right, N_RIGHT, 2);
    assert_int_equal(bk_calibration_check(&c, NULL), BK_OK);
    assert_in_range(k->n, 17, 20); /* halves from 1 to 8 of 2^20 */
    for (double s = 0; s < 0.5; s += 0.013) {
        double tail = bk_calibration_tail(&c, 3, (float)s), want = logistic_tail(s, 0, 0.05);
        if (fabs(log(tail / want)) > 0.06)
            fail_msg("tail at %g: %g, expected %g", s, tail, want);
    }
    /* where nothing was seen: the tail of the logistic is an exponential, and so is ours */
    assert_true(fabs(log(bk_calibration_tail(&c, 3, 0.9F) / logistic_tail(0.9, 0, 0.05))) < 0.5);
    for (uint32_t i = 4; i < k->n; i++) { /* below, right pairs are too rare to be seen */
        bool end = i + 1 == k->n;
        double from = (double)k->score[i], to = end ? 0 : (double)k->score[i + 1];
        double r = logistic_tail(from, 0.4, 0.05) - (end ? 0 : logistic_tail(to, 0.4, 0.05));
        double w = logistic_tail(from, 0, 0.05) - (end ? 0 : logistic_tail(to, 0, 0.05));
        double odds = 2 * r / w, p = odds / (odds + 99);
        assert_true(fabs((double)k->odds[i] - log(odds)) < 0.12);
        assert_true(fabs(bk_calibration_probability(&c, 3, nextafterf(k->score[i] + 2e-6F, 1), 100) - p) < 0.03);
    }
    free(wrong);
    free(right);
}

/* Wrong pairs of equal vectors: their share is told as it is, and a score of 1 is not beyond it. */
static void an_atom_at_one(void **state)
{
    (void)state;
    float *wrong = logistic(20000, 0, 0.05), right[100];
    for (size_t i = 0; i < 300; i++)
        wrong[i * 3] = i % 2 ? 0.99999993F : 1.0000001F; /* as rounding leaves them */
    for (size_t i = 0; i < 100; i++)
        right[i] = 1;
    struct bk_calibration c = {0};
    bk_calibration_fit(&c.v[0], wrong, 20000, right, 100, 1);
    assert_int_equal(bk_calibration_check(&c, NULL), BK_OK);
    assert_true(fabs(bk_calibration_tail(&c, 0, 1) - 0.015) < 1e-6);
    assert_true(fabs(bk_calibration_tail(&c, 0, 0.9999999F) - 0.015) < 1e-6);
    free(wrong);
}

/* Scores that say nothing, or say the contrary, give a probability that does not fall. */
static void a_bad_model_is_told(void **state)
{
    (void)state;
    float *wrong = logistic(20000, 0.2, 0.05), *right = logistic(5000, 0, 0.05);
    struct bk_calibration c = {0};
    bk_calibration_fit(&c.v[0], wrong, 20000, right, 5000, 1);
    assert_int_equal(bk_calibration_check(&c, NULL), BK_OK);
    for (uint32_t i = 0; i < c.v[0].n; i++)
        assert_true(fabs((double)c.v[0].odds[i]) < 0.01);
    assert_true(fabs(bk_calibration_probability(&c, 0, 0.4F, 50) - 0.02) < 1e-3);
    free(wrong);
    free(right);
}

static void too_few_pairs(void **state)
{
    (void)state;
    float *wrong = logistic(1000, 0, 0.05), right[8] = {0.5F}, all[1000] = {0};
    struct bk_calibration_class k;
    bk_calibration_fit(&k, wrong, 1000, right, 8, 1);
    assert_true(k.n >= 2);
    bk_calibration_fit(&k, wrong, 999, right, 8, 1);
    assert_int_equal(k.n, 0);
    bk_calibration_fit(&k, wrong, 1000, right, 7, 1);
    assert_int_equal(k.n, 0);
    bk_calibration_fit(&k, all, 1000, right, 8, 1); /* one score for all */
    assert_int_equal(k.n, 0);
    free(wrong);
}

/* ---- a data set ------------------------------------------------------------ */

/* A small SAFE with random weights that knows every word of the data set, saved at `path`. */
static void save_model(const struct toy *t, const char *path, bool compat)
{
    struct bk_model m = {.kind = "safe",
                         .archs = 1u << BK_ARCH_AMD64 | 1u << BK_ARCH_ARM,
                         .provenance = "{}",
                         .split_by = BK_SPLIT_SOURCE,
                         .split_parts = {1, 1, 1},
                         .split_seed = 3,
                         .dataset_hash = t->d.info.hash};
    struct bk_rng rng;
    bk_rng_seed(&rng, 17, 0);
    assert_true(bk_encoder_config_default(&m.cfg, "safe"));
    m.cfg.net.d = m.cfg.net.u = m.cfg.net.a = m.cfg.net.n = 8;
    m.cfg.net.e = m.cfg.net.max_insns = 12;
    m.cfg.net.compat_safe = compat;
    struct bk_strtab *words = bk_strtab_new();
    bk_strtab_intern(words, "", 0);
    bk_strtab_intern(words, bk_word_unknown(BK_ARCH_AMD64), strlen(bk_word_unknown(BK_ARCH_AMD64)));
    bk_strtab_intern(words, bk_word_unknown(BK_ARCH_ARM), strlen(bk_word_unknown(BK_ARCH_ARM)));
    for (uint32_t i = 0; i < bk_strtab_count(t->words); i++)
        bk_strtab_intern(words, bk_strtab_str(t->words, i), strlen(bk_strtab_str(t->words, i)));
    size_t n = (size_t)bk_strtab_count(words) * m.cfg.net.d;
    float *vectors = calloc(n, sizeof *vectors), *params = calloc(bk_net_n_params(&m.cfg.net), sizeof *params);
    for (size_t i = m.cfg.net.d; i < n; i++)
        vectors[i] = (float)(bk_rng_unit(&rng) - 0.5);
    bk_net_init(params, &m.cfg.net, &rng);
    m.words = words;
    m.word_vectors = vectors;
    m.params = params;
    assert_int_equal(bk_model_save(&m, path, false, NULL), BK_OK);
    bk_strtab_free(words);
    free(vectors);
    free(params);
}

/* 600 labels; every third function is ARM code. */
static struct toy *two_families(void)
{
    struct toy *t = toy_new(600, 3, false, 4, 12);
    t->files = realloc(t->files, 2 * sizeof *t->files);
    t->files[1] = t->files[0];
    t->files[1].arch = BK_ARCH_ARM;
    t->d.files = t->files;
    t->d.n_files = 2;
    for (size_t i = 0; i < t->d.n; i++)
        t->funcs[i].file = toy_key("arch", i) % 3 == 0;
    return t;
}

/* Pairs of unlike labels in the validation part, by looking at each. */
static void plain_pairs(size_t n[BK_CALIBRATION_CLASSES], const struct toy *t)
{
    const struct bk_split split = {BK_SPLIT_SOURCE, 1, 1, 1, 3};
    uint8_t *part = calloc(t->d.n, 1);
    assert_int_equal(bk_split_parts(part, &t->d, &split, NULL), BK_OK);
    memset(n, 0, BK_CALIBRATION_CLASSES * sizeof *n);
    for (size_t i = 0; i < t->d.n; i++)
        for (size_t k = 0; k < i; k++)
            if (part[i] == BK_PART_VALIDATION && part[k] == BK_PART_VALIDATION &&
                t->funcs[i].label != t->funcs[k].label) {
                uint32_t blocks =
                    t->funcs[i].n_blocks < t->funcs[k].n_blocks ? t->funcs[i].n_blocks : t->funcs[k].n_blocks;
                n[(t->funcs[i].file != t->funcs[k].file ? 5 : 0) + (blocks == 1 ? 0 : blocks < 5 ? 1 : 2)]++;
            }
    free(part);
}

static void whole_data_set(void **state)
{
    struct toy *t = two_families();
    char *path = temp_path(state, "m"), *out[2] = {temp_path(state, "a"), temp_path(state, "b")};
    save_model(t, path, false);
    struct bk_model *m, *again;
    struct bk_error err;
    assert_int_equal(bk_model_open(&m, path, &err), BK_OK);
    assert_null(m->calibration);
    struct bk_calibrate_report r;
    uint8_t *bytes[2];
    size_t size[2], n[BK_CALIBRATION_CLASSES];
    for (unsigned i = 0; i < 2; i++) {
        const struct bk_calibrate_options opt = {.pairs = 100000, .seed = 5, .threads = 1 + 2 * i};
        assert_int_equal(bk_calibrate(&r, out[i], m, &t->d, &opt, &err), BK_OK);
        bytes[i] = read_file(out[i], &size[i]);
    }
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(bytes[0], bytes[1], size[0]);
    plain_pairs(n, t);
    assert_int_equal(r.n_functions, 600);
    assert_true(r.classes[1][2].wrong > 20000); /* more than one stream of random numbers */
    for (size_t c = 0; c < BK_CALIBRATION_CLASSES; c++) {
        const struct bk_calibrate_class *k = &r.classes[c / 5][c % 5];
        assert_int_equal(k->wrong, n[c]);
        assert_int_equal(k->fitted, n[c] > 0);
    }
    assert_int_equal(bk_model_open(&again, out[0], &err), BK_OK);
    assert_non_null(again->calibration);
    struct bk_calibrated worth;
    assert_true(bk_calibrated(&worth, again, BK_ARCH_AMD64, BK_ARCH_ARM, 3, 300, 0.5F, 10));
    assert_true(worth.expected_false == 9 * bk_calibration_tail(again->calibration, 6, 0.5F));
    assert_true(worth.probability == bk_calibration_probability(again->calibration, 6, 0.5F, 10));
    assert_false(bk_calibrated(&worth, again, BK_ARCH_AMD64, BK_ARCH_ARM, 60, 60, 0.5F, 10)); /* no pair of that size */
    assert_true(isnan(worth.probability) && isnan(worth.expected_false));
    assert_false(bk_calibrated(&worth, m, BK_ARCH_AMD64, BK_ARCH_ARM, 3, 300, 0.5F, 10));
    bk_model_close(again);
    bk_model_close(m);
    for (int i = 0; i < 2; i++) {
        free(bytes[i]);
        free(out[i]);
    }
    free(path);
    toy_free(t);
}

/* The wrong answers with at most 10 expected false matches, query by query. */
static double plain_judgement(const struct bk_trial *t, const struct bk_model *m)
{
    const struct bk_judge_options opt = {.threads = 1};
    struct bk_scorer scorer;
    assert_int_equal(bk_scorer_init(&scorer, t, &(struct bk_subject){.model = m}, &opt, NULL), BK_OK);
    bool *related = calloc(t->n_builds, sizeof *related);
    double n_false = 0;
    for (size_t q = 0; q < t->axes[BK_AXIS_XM].n; q++) {
        const struct bk_anchor *a = &t->axes[BK_AXIS_XM].v[q];
        uint32_t members[200] = {a->match};
        bk_trial_wrong(members + 1, 199, t, BK_AXIS_XM, a->query, related);
        for (size_t i = 0; i < 200; i++) {
            const struct bk_data_func *f = &t->d->v[t->g.v[a->query]], *o = &t->d->v[t->g.v[members[i]]];
            struct bk_calibrated c;
            float score;
            bk_scorer_scores(&score, &scorer, NULL, a->query, &members[i], 1);
            assert_true(bk_calibrated(&c, m, t->d->files[f->file].arch, t->d->files[o->file].arch, f->n_blocks,
                                      o->n_blocks, score, 200));
            n_false += i && c.expected_false <= 10;
        }
    }
    free(related);
    bk_scorer_done(&scorer);
    return n_false;
}

/* On the very functions it was fitted on, expected and observed false matches agree; the bins hold every pair. */
static void judged_on_its_own_part(void **state)
{
    struct toy *t = two_families();
    char *path = temp_path(state, "m");
    save_model(t, path, false);
    struct bk_model *m;
    struct bk_error err;
    struct bk_calibrate_report r;
    const struct bk_calibrate_options opt = {.pairs = 100000, .seed = 5};
    const struct bk_trial_options ask = {.split = {BK_SPLIT_SOURCE, 1, 1, 1, 3}, .validation = true, .seed = 2};
    struct bk_trial *trial;
    struct bk_calibration_judged j[2][BK_AXIS_COUNT];
    assert_int_equal(bk_model_open(&m, path, &err), BK_OK);
    assert_int_equal(bk_trial_draw(&trial, &t->d, &ask, &err), BK_OK);
    assert_int_equal(bk_judge_calibration(j[0], trial, m, 50, 1, &err), BK_EMISMATCH);
    assert_string_equal(err.message, "the model has no calibration");
    assert_int_equal(bk_calibrate(&r, path, m, &t->d, &opt, &err), BK_OK);
    bk_model_close(m);
    assert_int_equal(bk_model_open(&m, path, &err), BK_OK);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(bk_judge_calibration(j[i], trial, m, 200, 1 + 2 * i, &err), BK_OK);
    assert_memory_equal(j[0], j[1], sizeof j[0]);
    const struct bk_calibration_judged *x = &j[0][BK_AXIS_XM];
    assert_int_equal(x->queries, 600);
    assert_int_equal(x->n_uncalibrated, 0);
    const size_t pools[] = {200};
    const struct bk_judge_options ranks = {.pools = pools, .n_pools = 1};
    struct bk_judged judged;
    assert_int_equal(bk_judge(&judged, trial, &(struct bk_subject){.model = m}, &ranks, &err), BK_OK);
    size_t pairs = 0, best = 0;
    double right = 0, first = 0;
    for (size_t b = 0; b < BK_RELIABILITY_BINS; b++) {
        pairs += x->pairs.n[b];
        best += x->best.n[b];
        right += x->pairs.right[b] * (double)x->pairs.n[b];
        first += x->best.right[b] * (double)x->best.n[b];
    }
    assert_int_equal(pairs, 600 * 200);
    assert_int_equal(best, 600);
    assert_true(fabs(right - 600) < 1e-6);
    assert_true(fabs(first - 600 * judged.axes[BK_AXIS_XM].pools[0].recall_at_1.value) < 1e-6);
    assert_true(x->pairs.ece < 0.01);
    bk_judged_done(&judged);
    double n_false = plain_judgement(trial, m);
    assert_true(fabs(x->observed[4] - n_false / 600) < 1e-9 && x->expected[4] == 10);
    for (size_t k = 2; k < BK_FALSE_STEPS; k++)
        if (!(fabs(x->observed[k] - x->expected[k]) < 0.3 * x->expected[k]))
            fail_msg("%g false matches observed, %g expected", x->observed[k], x->expected[k]);
    assert_int_equal(j[0][BK_AXIS_XO].queries, 0);
    assert_int_equal(bk_judge_calibration(j[0], trial, m, 1, 1, &err), BK_EINVAL);
    assert_int_equal(bk_judge_calibration(j[0], trial, m, 601, 1, &err), BK_EINVAL);
    bk_trial_free(trial);
    bk_model_close(m);
    free(path);
    toy_free(t);
}

static void what_cannot_be_calibrated(void **state)
{
    struct toy *t = two_families();
    char *path = temp_path(state, "m");
    struct bk_model *m;
    struct bk_error err;
    struct bk_calibrate_report r;
    struct bk_calibrate_options opt = {.seed = 5, .pairs = 1000};
    save_model(t, path, true);
    assert_int_equal(bk_model_open(&m, path, &err), BK_OK);
    assert_int_equal(bk_calibrate(&r, path, m, &t->d, &opt, &err), BK_EINVAL);
    assert_non_null(strstr(err.message, "sides"));
    bk_model_close(m);
    save_model(t, path, false);
    assert_int_equal(bk_model_open(&m, path, &err), BK_OK);
    t->d.info.hash++;
    assert_int_equal(bk_calibrate(&r, path, m, &t->d, &opt, &err), BK_EMISMATCH);
    opt.split = (struct bk_split){BK_SPLIT_SOURCE, 580, 10, 10, 3};
    assert_int_equal(bk_calibrate(&r, path, m, &t->d, &opt, &err), BK_EINVAL);
    assert_string_equal(err.message, "no class of 30 functions has enough pairs");
    bk_model_close(m);
    free(path);
    toy_free(t);
}

#define IN_DIR(f) cmocka_unit_test_setup_teardown(f, temp_dir_setup, temp_dir_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(isotonic_like_scikit_learn),
        cmocka_unit_test(reliability_like_scikit_learn),
        cmocka_unit_test(fits_known_distributions),
        cmocka_unit_test(an_atom_at_one),
        cmocka_unit_test(a_bad_model_is_told),
        cmocka_unit_test(too_few_pairs),
        IN_DIR(whole_data_set),
        IN_DIR(judged_on_its_own_part),
        IN_DIR(what_cannot_be_calibrated),
    };
    return cmocka_run_group_tests_name("train_calibrate", tests, NULL, NULL);
}
