/* Baselines: tf-idf against scikit-learn, MinHash against the index it estimates. */
#include "../base/cmocka_all.h"
#include "judge.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "golden_baseline.h"

#define N (N_TRAIN + N_JUDGED)

/* The documents as functions of one file: words of five opcodes, in an order of their own. */
struct documents {
    struct bk_data_func funcs[N];
    struct bk_data_label labels[N];
    struct bk_data_file file;
    struct bk_dataset d;
    struct bk_trial t;
    uint32_t ids[N][256], immediates[N][256];
    int64_t values[N_IMMEDIATES];
    uint8_t part[N];
};

static uint32_t repeat(uint32_t *out, const unsigned *count, uint32_t n_kinds)
{
    uint32_t n = 0;
    bool more = true;
    for (unsigned round = 0; more; round++) { /* one of each kind, then the second of each, ... */
        more = false;
        for (uint32_t k = n_kinds; k-- > 0;) {
            if (count[k] > round)
                out[n++] = k;
            more |= count[k] > round;
        }
    }
    return n;
}

static struct documents *documents_new(bool trained)
{
    struct documents *s = calloc(1, sizeof *s);
    struct bk_strtab *words = bk_strtab_new();
    for (unsigned w = 0; w < N_WORDS; w++) {
        char word[32]; /* the opcode without its architecture is the feature */
        snprintf(word, sizeof word, "%c_op%c_r%u", w % 2 ? 'X' : 'V', 'a' + (int)(w % N_OPCODES), w);
        bk_strtab_intern(words, word, strlen(word));
    }
    for (uint32_t i = 0; i < N; i++) {
        s->labels[i].key = i;
        s->funcs[i] =
            (struct bk_data_func){.label = i,
                                  .n_blocks = 1,
                                  .words = s->ids[i],
                                  .n_words = repeat(s->ids[i], word_counts[i], N_WORDS),
                                  .immediates = s->immediates[i],
                                  .n_immediates = repeat(s->immediates[i], immediate_counts[i], N_IMMEDIATES)};
        s->part[i] = i >= N_TRAIN ? BK_PART_TEST : trained ? BK_PART_TRAIN : BK_PART_VALIDATION;
    }
    s->file.arch = BK_ARCH_AMD64;
    s->d = (struct bk_dataset){.n = N,
                               .n_labels = N,
                               .n_files = 1,
                               .v = s->funcs,
                               .labels = s->labels,
                               .files = &s->file,
                               .words = words,
                               .has_immediates = true,
                               .n_immediates = N_IMMEDIATES,
                               .immediates = s->values};
    s->t.d = &s->d;
    s->t.part = s->part;
    assert_int_equal(bk_group_init(&s->t.g, &s->d, s->part, BK_PART_TEST, 1, NULL), BK_OK);
    assert_int_equal(s->t.g.n, N_JUDGED);
    return s;
}

static void documents_free(struct documents *s)
{
    bk_group_done(&s->t.g);
    bk_strtab_free((struct bk_strtab *)(uintptr_t)s->d.words);
    free(s);
}

static void compare(bool trained, enum bk_baseline baseline, const double expected[N_JUDGED][N_JUDGED])
{
    struct documents *s = documents_new(trained);
    struct bk_scorer scorer;
    const struct bk_subject subject = {NULL, baseline};
    const struct bk_judge_options opt = {.threads = 1};
    assert_int_equal(bk_scorer_init(&scorer, &s->t, &subject, &opt, NULL), BK_OK);
    float *scratch = calloc(bk_scorer_scratch(&scorer) + 1, sizeof *scratch), score[N_JUDGED];
    uint32_t all[N_JUDGED];
    for (uint32_t i = 0; i < N_JUDGED; i++)
        all[i] = i;
    for (uint32_t q = 0; q < N_JUDGED; q++) {
        bk_scorer_scores(score, &scorer, scratch, q, all, N_JUDGED);
        for (uint32_t i = 0; i < N_JUDGED; i++)
            if (!(fabs((double)score[i] - expected[q][i]) < 1e-6))
                fail_msg("%s: %u with %u is %.9f, expected %.9f", bk_baseline_name(baseline), q, i, (double)score[i],
                         expected[q][i]);
    }
    free(scratch);
    bk_scorer_done(&scorer);
    documents_free(s);
}

static void cosines_like_scikit_learn(void **state)
{
    (void)state;
    compare(true, BK_BASELINE_COUNTS, expected_counts);
    compare(true, BK_BASELINE_TFIDF_WORDS, expected_words);
    compare(true, BK_BASELINE_TFIDF_OPCODES, expected_opcodes);
    compare(true, BK_BASELINE_TFIDF_IMMEDIATES, expected_immediates);
    compare(true, BK_BASELINE_TFIDF, expected_both);
}

static void frequencies_of_all_where_nothing_trained(void **state)
{
    (void)state;
    compare(false, BK_BASELINE_TFIDF, expected_both_untrained);
}

/* Four standard deviations of a share of 128 trials; one seed, so it holds always or never. */
static void minhash_estimates_jaccard(void **state)
{
    (void)state;
    struct documents *s = documents_new(true);
    struct bk_scorer scorer;
    const struct bk_subject subject = {NULL, BK_BASELINE_MINHASH};
    const struct bk_judge_options opt = {.threads = 2};
    assert_int_equal(bk_scorer_init(&scorer, &s->t, &subject, &opt, NULL), BK_OK);
    for (uint32_t a = 0; a < N_JUDGED; a++) {
        for (uint32_t b = 0; b < N_JUDGED; b++) {
            double common = 0, all = 0;
            float score;
            for (unsigned w = 0; w < N_WORDS; w++) {
                bool in_a = word_counts[N_TRAIN + a][w], in_b = word_counts[N_TRAIN + b][w];
                common += in_a && in_b;
                all += in_a || in_b;
            }
            double jaccard = common / all;
            bk_scorer_scores(&score, &scorer, NULL, a, &b, 1);
            assert_true(fabs((double)score - jaccard) <= 4 * sqrt(jaccard * (1 - jaccard) / BK_MINHASHES));
        }
    }
    bk_scorer_done(&scorer);
    documents_free(s);
}

static void immediates_are_missed(void **state)
{
    (void)state;
    struct documents *s = documents_new(true);
    struct bk_scorer scorer;
    struct bk_error err;
    const enum bk_baseline needs[] = {BK_BASELINE_TFIDF, BK_BASELINE_TFIDF_IMMEDIATES};
    const struct bk_judge_options opt = {.threads = 1};
    s->d.has_immediates = false;
    for (size_t i = 0; i < 2; i++) {
        const struct bk_subject subject = {NULL, needs[i]};
        assert_int_equal(bk_scorer_init(&scorer, &s->t, &subject, &opt, &err), BK_EMISMATCH);
        assert_non_null(strstr(err.message, "says nothing of immediates"));
        bk_scorer_done(&scorer);
    }
    const struct bk_subject words = {NULL, BK_BASELINE_TFIDF_WORDS};
    assert_int_equal(bk_scorer_init(&scorer, &s->t, &words, &opt, &err), BK_OK);
    bk_scorer_done(&scorer);
    documents_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cosines_like_scikit_learn), cmocka_unit_test(frequencies_of_all_where_nothing_trained),
        cmocka_unit_test(minhash_estimates_jaccard), cmocka_unit_test(immediates_are_missed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
