/* i2v: planted synonyms become neighbours, the vocabulary is as promised, threads change nothing, bad files are refused. */
#include "../base/temp_dir.h"
#include "i2v.c" /* itself: a step for each instruction set is private to it */
#include "planted.h"

#include <math.h>

static struct bk_vectors train(void **state, const struct bk_dataset *d, struct bk_i2v_options opt, const char *name)
{
    char *path = temp_path(state, name);
    struct bk_error err = {0};
    struct bk_vectors v;
    struct bk_i2v_report report;
    assert_int_equal(bk_i2v_train(&report, path, d, &opt, &err), BK_OK);
    assert_true(report.words_read > 0 && report.words_per_second > 0);
    assert_int_equal(bk_vectors_open(&v, path, &err), BK_OK);
    assert_int_equal(report.n_words, bk_strtab_count(v.words));
    free(path);
    return v;
}

static uint32_t id_of(const struct bk_vectors *v, const char *word)
{
    return bk_strtab_find(v->words, word, strlen(word));
}

static double cosine(const struct bk_vectors *v, uint32_t a, uint32_t b)
{
    double ab = 0, aa = 0, bb = 0;
    for (uint32_t k = 0; k < v->dim; k++) {
        double x = v->v[a * v->dim + k], y = v->v[b * v->dim + k];
        ab += x * y;
        aa += x * x;
        bb += y * y;
    }
    return ab / sqrt(aa * bb);
}

/* The share of synonyms among the two nearest neighbours of every planted word, among words of its processor. */
static double synonyms_found(const struct bk_vectors *v, char prefix)
{
    size_t right = 0;
    for (size_t c = 0; c < PLANTED_CONCEPTS; c++)
        for (size_t s = 0; s < PLANTED_SYNONYMS; s++) {
            char word[32];
            uint32_t self = id_of(v, planted_word(word, prefix, c, s)), best[2] = {0, 0};
            double score[2] = {-2, -2};
            assert_true(self != BK_STR_NONE);
            for (uint32_t i = 1; i < bk_strtab_count(v->words); i++) {
                if (i == self || bk_strtab_str(v->words, i)[0] != prefix || v->counts[i] == 0)
                    continue;
                double x = cosine(v, self, i);
                if (x > score[0]) {
                    score[1] = score[0];
                    best[1] = best[0];
                    score[0] = x;
                    best[0] = i;
                } else if (x > score[1]) {
                    score[1] = x;
                    best[1] = i;
                }
            }
            char concept[32];
            snprintf(concept, sizeof concept, "%c_c%zu_s", prefix, c);
            for (int k = 0; k < 2; k++)
                right += strncmp(bk_strtab_str(v->words, best[k]), concept, strlen(concept)) == 0;
        }
    return (double)right / (PLANTED_CONCEPTS * PLANTED_SYNONYMS * 2);
}

static void test_synonyms(void **state)
{
    struct planted *p = planted_new(400, 4, 2, 7);
    struct bk_vectors v = train(
        state, &p->d, (struct bk_i2v_options){.dim = 32, .window = 3, .epochs = 4, .subsample = -1, .seed = 1}, "v");
    double x = synonyms_found(&v, 'X'), a = synonyms_found(&v, 'A');
    print_message("synonyms among the two nearest: X %.3f, A %.3f\n", x, a);
    assert_true(x > 0.9 && a > 0.9); /* by chance: 2 of 120 */
    bk_vectors_done(&v);
    planted_free(p);
}

static void test_vocabulary(void **state)
{
    struct planted *p = planted_new(100, 2, 2, 3);
    size_t n_words = bk_strtab_count(p->d.words), n_x = 0;
    uint64_t *count = calloc(n_words, sizeof *count), total = 0;
    for (size_t i = 0; i < p->d.n; i++) {
        total += p->d.v[i].n_words + 5;
        n_x += bk_data_arch(&p->d, i) == BK_ARCH_AMD64;
        for (size_t k = 0; k < p->d.v[i].n_words; k++)
            count[p->d.v[i].words[k]]++;
    }
    struct bk_vectors v = train(state, &p->d, (struct bk_i2v_options){.dim = 8, .min_count = 45, .epochs = 1}, "v");
    assert_string_equal(bk_strtab_str(v.words, 0), "");
    assert_string_equal(bk_strtab_str(v.words, 1), "X_UNK");
    assert_string_equal(bk_strtab_str(v.words, 2), "A_UNK");
    assert_int_equal(v.counts[0], 0);
    assert_int_equal(v.counts[id_of(&v, "X_EOF")], 5 * n_x);
    assert_int_equal(v.counts[id_of(&v, "A_EOF")], 5 * (p->d.n - n_x));
    uint64_t sum = 0, rare = 0;
    for (uint32_t i = 0; i < bk_strtab_count(v.words); i++)
        sum += v.counts[i];
    assert_int_equal(sum, total);
    for (uint32_t i = 3; i + 1 < bk_strtab_count(v.words); i++) {
        assert_true(v.counts[i] >= v.counts[i + 1]);
        if (v.counts[i] == v.counts[i + 1])
            assert_true(strcmp(bk_strtab_str(v.words, i), bk_strtab_str(v.words, i + 1)) < 0);
    }
    for (uint32_t i = 0; i < n_words; i++) {
        uint32_t id = id_of(&v, bk_strtab_str(p->d.words, i));
        assert_true((id != BK_STR_NONE) == (count[i] >= 45));
        if (id != BK_STR_NONE)
            assert_int_equal(v.counts[id], count[i]);
        else
            rare += count[i];
    }
    assert_true(rare > 0);
    assert_int_equal(v.counts[1] + v.counts[2], rare);
    bk_vectors_done(&v);

    v = train(state, &p->d, (struct bk_i2v_options){.dim = 8, .min_count = 1, .epochs = 1, .max_words = 10}, "v");
    assert_int_equal(bk_strtab_count(v.words), 3 + 10);
    bk_vectors_done(&v);
    free(count);
    planted_free(p);
}

static void test_duplicates_read_once(void **state)
{
    struct planted *p = planted_new(50, 2, 1, 3);
    for (size_t i = 1; i < p->d.n; i += 2) { /* the second function of a label repeats the first */
        p->funcs[i].words = p->funcs[i - 1].words;
        p->funcs[i].n_words = p->funcs[i - 1].n_words;
    }
    struct bk_vectors v = train(state, &p->d, (struct bk_i2v_options){.dim = 8, .min_count = 1, .epochs = 1}, "v");
    assert_int_equal(v.counts[id_of(&v, "X_EOF")], 5 * 50);
    bk_vectors_done(&v);
    planted_free(p);
}

static void test_only_training_part(void **state)
{
    struct planted *p = planted_new(60, 2, 1, 3);
    struct bk_split split = {BK_SPLIT_SOURCE, 4, 1, 1, 9}, other = {BK_SPLIT_SOURCE, 4, 1, 1, 8};
    struct bk_i2v_options opt = {.dim = 8, .min_count = 1, .epochs = 1, .split = &split};
    uint8_t part[120];
    struct bk_error err = {0};
    size_t n_train = 0;
    assert_int_equal(bk_split_parts(part, &p->d, &split, &err), BK_OK);
    for (size_t i = 0; i < p->d.n; i++)
        n_train += part[i] == BK_PART_TRAIN;
    struct bk_vectors v = train(state, &p->d, opt, "v");
    assert_int_equal(v.counts[id_of(&v, "X_EOF")], 5 * n_train);
    uint32_t amd64 = 1u << BK_ARCH_AMD64, arm = 1u << BK_ARCH_ARM;
    assert_int_equal(bk_vectors_check(&v, &p->d, &split, amd64, &err), BK_OK);
    assert_int_equal(bk_vectors_check(&v, &p->d, &other, amd64, &err), BK_EMISMATCH);
    assert_int_equal(bk_vectors_check(&v, &p->d, &split, amd64 | arm, &err), BK_EMISMATCH);
    assert_non_null(strstr(err.message, "armhf"));
    p->d.info.hash++;
    assert_int_equal(bk_vectors_check(&v, &p->d, &split, amd64, &err), BK_EMISMATCH);
    bk_vectors_done(&v);
    opt.split = NULL;
    v = train(state, &p->d, opt, "v");
    assert_int_equal(bk_vectors_check(&v, &p->d, &other, amd64, &err), BK_OK);
    bk_vectors_done(&v);
    planted_free(p);
}

static void test_threads(void **state)
{
    struct planted *p = planted_new(120, 3, 2, 5);
    uint8_t *first = NULL;
    size_t first_size = 0;
    for (unsigned threads = 1; threads <= 3; threads++) {
        struct bk_i2v_options opt = {.dim = 20, .min_count = 2, .epochs = 2, .seed = 11, .threads = threads};
        struct bk_vectors v = train(state, &p->d, opt, "v");
        bk_vectors_done(&v);
        char *path = temp_path(state, "v");
        size_t size;
        uint8_t *bytes = read_file(path, &size);
        if (!first) {
            first = bytes;
            first_size = size;
        } else {
            assert_int_equal(size, first_size);
            assert_memory_equal(bytes, first, size);
            free(bytes);
        }
        free(path);
    }
    free(first);
    planted_free(p);
}

static void test_seed_matters(void **state)
{
    struct planted *p = planted_new(50, 2, 1, 5);
    struct bk_vectors a = train(state, &p->d, (struct bk_i2v_options){.dim = 8, .epochs = 1, .seed = 1}, "a");
    struct bk_vectors b = train(state, &p->d, (struct bk_i2v_options){.dim = 8, .epochs = 1, .seed = 2}, "b");
    assert_memory_not_equal(a.v, b.v, bk_strtab_count(a.words) * 8 * sizeof(float));
    bk_vectors_done(&a);
    bk_vectors_done(&b);
    planted_free(p);
}

/* Whatever byte of the file is wrong or missing, opening it fails or gives something whole; never a crash. */
static void test_damaged(void **state)
{
    struct planted *p = planted_new(20, 2, 1, 5);
    struct bk_vectors v = train(state, &p->d, (struct bk_i2v_options){.dim = 4, .epochs = 1, .max_words = 20}, "v");
    bk_vectors_done(&v);
    char *path = temp_path(state, "v");
    size_t size;
    uint8_t *bytes = read_file(path, &size);
    struct bk_error err;
    for (size_t i = 0; i < size; i++) {
        uint8_t *part = malloc(i + 1); /* of its very size, so that a sanitizer sees one byte too far */
        memcpy(part, bytes, i);
        assert_int_not_equal(bk_vectors_open_bytes(&v, part, i, &err), BK_OK);
        free(part);
    }
    assert_int_equal(bk_vectors_open_bytes(&v, bytes, size, &err), BK_OK);
    bk_vectors_done(&v);
    free(bytes);
    free(path);
    planted_free(p);
}

static void test_bad_options(void **state)
{
    struct planted *p = planted_new(5, 2, 1, 5);
    struct bk_error err;
    char *path = temp_path(state, "never");
    const struct bk_i2v_options bad[] = {{.dim = 100000}, {.negatives = 64}, {.rate = -1}, {.subsample = NAN}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(bk_i2v_train(NULL, path, &p->d, &bad[i], &err), BK_EINVAL);
    p->d.n = 0;
    assert_int_equal(bk_i2v_train(NULL, path, &p->d, NULL, &err), BK_EINVAL);
    assert_null(fopen(path, "rb"));
    free(path);
    planted_free(p);
}

#define ROWS 20
#define MOST 112

/* A step by its definition, in double. */
static void plain_step(double in[ROWS][MOST], double out[TARGETS][MOST], const size_t *context, size_t n, size_t stride,
                       double label, double rate, const float *weight)
{
    double step[CONTEXTS][TARGETS], was_in[ROWS][MOST], was_out[TARGETS][MOST];
    memcpy(was_in, in, sizeof was_in);
    memcpy(was_out, out, sizeof was_out);
    for (size_t c = 0; c < n; c++)
        for (size_t k = 0; k < TARGETS; k++) {
            double f = 0;
            for (size_t i = 0; i < stride; i++)
                f += in[context[c]][i] * out[k][i];
            step[c][k] = ((k == 0 ? label : 0) - 1 / (1 + exp(-f))) * rate * (double)weight[k];
        }
    for (size_t c = 0; c < n; c++)
        for (size_t k = 0; k < TARGETS; k++)
            for (size_t i = 0; i < stride; i++) {
                in[context[c]][i] += step[c][k] * was_out[k][i];
                out[k][i] += step[c][k] * was_in[context[c]][i];
            }
}

/* A step does what it says, and every instruction set to the last bit the same. */
static void test_steps(void **state)
{
    (void)state;
    step_fn *steps[3] = {step_any};
    size_t n_steps = 1;
#if defined(__x86_64__)
    if (bk_cpu() >= BK_CPU_AVX2)
        steps[n_steps++] = step_avx2;
    if (bk_cpu() >= BK_CPU_AVX512)
        steps[n_steps++] = step_avx512;
#endif
    static _Alignas(64) float in[3][ROWS][MOST], out[3][TARGETS][MOST];
    static double plain_in[ROWS][MOST], plain_out[TARGETS][MOST];
    float sigmoid[SIGMOID_N + 1];
    fill_sigmoid(sigmoid);
    struct bk_rng rng;
    bk_rng_seed(&rng, 3, 1);
    for (int trial = 0; trial < 400; trial++) {
        size_t stride = LANES * (1 + bk_rng_below(&rng, MOST / LANES)), context[CONTEXTS];
        struct group g = {.n_in = 1 + bk_rng_below(&rng, CONTEXTS), .label = (float)bk_rng_below(&rng, 2)};
        for (size_t k = 0; k < TARGETS; k++) {
            g.weight[k] = k ? (float)bk_rng_below(&rng, 3) : 1;
            for (size_t i = 0; i < stride; i++)
                plain_out[k][i] = out[0][k][i] = (float)(bk_rng_unit(&rng) - 0.5);
        }
        for (size_t r = 0; r < ROWS; r++)
            for (size_t i = 0; i < stride; i++)
                plain_in[r][i] = in[0][r][i] = (float)(bk_rng_unit(&rng) - 0.5);
        for (size_t s = 1; s < n_steps; s++) {
            memcpy(in[s], in[0], sizeof in[0]);
            memcpy(out[s], out[0], sizeof out[0]);
        }
        for (size_t c = 0; c < g.n_in; c++)
            context[c] = (trial % 2 ? c : 0) + bk_rng_below(&rng, trial % 2 ? 1 : ROWS); /* some twice */
        for (size_t s = 0; s < n_steps; s++) {
            for (size_t c = 0; c < g.n_in; c++)
                g.in[c] = in[s][context[c]];
            for (size_t k = 0; k < TARGETS; k++)
                g.out[k] = out[s][k];
            steps[s](&g, stride, 0.1f, sigmoid);
            assert_memory_equal(in[s], in[0], sizeof in[0]);
            assert_memory_equal(out[s], out[0], sizeof out[0]);
        }
        if (trial % 2 == 0) /* a row met twice moves between its meetings */
            continue;
        plain_step(plain_in, plain_out, context, g.n_in, stride, (double)g.label, (double)0.1f, g.weight);
        for (size_t i = 0; i < stride; i++) {
            for (size_t r = 0; r < ROWS; r++)
                assert_true(fabs((double)in[0][r][i] - plain_in[r][i]) < 2e-3);
            for (size_t k = 0; k < TARGETS; k++)
                assert_true(fabs((double)out[0][k][i] - plain_out[k][i]) < 4e-3);
        }
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, temp_dir_setup, temp_dir_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steps),  TEST(test_synonyms), TEST(test_vocabulary),   TEST(test_duplicates_read_once),
        TEST(test_only_training_part), TEST(test_threads),  TEST(test_seed_matters), TEST(test_damaged),
        TEST(test_bad_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
