/* Trials: right and wrong answers against the definition of their axis, filters, and the file. */
#include "../base/temp_dir.h"
#include "judge.h"
#include "toy_dataset.h"

#include <math.h>

static const struct bk_split all = {BK_SPLIT_SOURCE, 0, 0, 1, 1};

/* ---- builds ------------------------------------------------------------------ */

#define N_BUILDS 8
static const struct bk_data_file builds[N_BUILDS] = {
    {.arch = BK_ARCH_AMD64, .compiler = "gcc-12", .level = "O0", .version = "1"},
    {.arch = BK_ARCH_AMD64, .compiler = "gcc-12", .level = "O2", .version = "1"},
    {.arch = BK_ARCH_AMD64, .compiler = "gcc-12", .level = "O2", .version = "2"},
    {.arch = BK_ARCH_AMD64, .compiler = "clang-14", .level = "O2", .version = "1"},
    {.arch = BK_ARCH_I386, .compiler = "gcc-12", .level = "O2", .version = "1"},
    {.arch = BK_ARCH_ARM, .compiler = "gcc-12", .level = "O2", .version = "1"},
    {.arch = BK_ARCH_ARM64, .compiler = "gcc-12", .level = "O2", .version = "1"},
    {.arch = BK_ARCH_MIPS64, .compiler = "gcc-12", .level = "O0", .version = "1"},
};
/* By hand: the pairs of builds that an axis relates, in one project and, beside them, across projects. */
static const struct {
    const char *same, *across;
} related[BK_AXIS_COUNT] = {
    [BK_AXIS_XO] = {"01", "02"},
    [BK_AXIS_XC] = {"03 13", "23"},
    [BK_AXIS_XB] = {"14 56", "24"},
    [BK_AXIS_XA] = {"15 16 45 46 07", "25 26"},
};

static bool named(const char *pairs, size_t a, size_t b)
{
    const char name[3] = {(char)('0' + (a < b ? a : b)), (char)('0' + (a < b ? b : a)), 0};
    return strstr(pairs, name);
}

static bool expected(enum bk_axis axis, size_t a, size_t b, bool one_project)
{
    return axis == BK_AXIS_XM || named(related[axis].same, a, b) || (!one_project && named(related[axis].across, a, b));
}

/* Each label in all builds, labels in turn of two projects. */
static struct toy *built_toy(size_t n_labels)
{
    struct toy *t = toy_new(n_labels, N_BUILDS, false, 2, 8);
    t->files = realloc(t->files, 2 * N_BUILDS * sizeof *t->files);
    for (size_t i = 0; i < 2 * (size_t)N_BUILDS; i++) {
        t->files[i] = builds[i % N_BUILDS];
        t->files[i].project = i < N_BUILDS ? "even" : "odd";
    }
    for (size_t i = 0; i < t->d.n; i++)
        t->funcs[i].file = (uint32_t)(t->funcs[i].label % 2 * N_BUILDS + i % N_BUILDS);
    t->d.files = t->files;
    t->d.n_files = 2 * (size_t)N_BUILDS;
    t->d.info.hash = 0xabcdef;
    return t;
}

/* The functions of the trial in the order doc/format.md gives, worked out anew; positions of the group. */
static void plain_ring(uint32_t *ring, const struct bk_trial *t)
{
    uint64_t *rank = calloc(t->g.n, sizeof *rank);
    for (uint32_t k = 0; k < t->g.n; k++) {
        uint64_t key = t->d->v[t->g.v[k]].key;
        uint8_t bytes[16];
        for (int i = 0; i < 8; i++) {
            bytes[i] = (uint8_t)(t->opt.seed >> (8 * i));
            bytes[8 + i] = (uint8_t)(key >> (8 * i));
        }
        rank[k] = bk_hash64(bytes, 16);
        uint32_t at = k;
        for (; at > 0 && rank[ring[at - 1]] > rank[k]; at--)
            ring[at] = ring[at - 1];
        ring[at] = k;
    }
    free(rank);
}

static size_t build_of(const struct bk_trial *t, size_t k)
{
    return t->d->v[t->g.v[k]].file % N_BUILDS;
}

static bool may_answer(const struct bk_trial *t, enum bk_axis axis, size_t a, size_t b)
{
    bool one_project = t->d->v[t->g.v[a]].file / N_BUILDS == t->d->v[t->g.v[b]].file / N_BUILDS;
    return expected(axis, build_of(t, a), build_of(t, b), one_project);
}

static uint32_t label_of(const struct bk_trial *t, size_t k)
{
    return t->d->v[t->g.v[k]].label;
}

static void check_anchor(const struct bk_trial *t, enum bk_axis axis, const struct bk_anchor *v, const uint32_t *ring)
{
    size_t q = v->query, at = 0, n = 0;
    assert_true(q != v->match && label_of(t, q) == label_of(t, v->match) && may_answer(t, axis, q, v->match));
    uint32_t *wrong = calloc(t->g.n, sizeof *wrong);
    bool *row = calloc(t->n_builds, sizeof *row);
    bk_trial_wrong(wrong, v->n_wrong, t, axis, q, row);
    while (ring[at] != q)
        at++;
    for (size_t i = 1; i < t->g.n; i++) {
        uint32_t who = ring[(at + i) % t->g.n];
        if (label_of(t, who) == label_of(t, q) || !may_answer(t, axis, q, who))
            continue;
        assert_true(n < v->n_wrong);
        assert_int_equal(wrong[n++], who);
    }
    assert_int_equal(n, v->n_wrong);
    free(wrong);
    free(row);
}

static void answers_are_those_of_the_axis(void **state)
{
    (void)state;
    struct toy *toy = built_toy(40);
    const struct bk_trial_options opt = {.split = all, .axes = 31, .queries = 30, .pairs = 101, .seed = 5};
    struct bk_trial *t;
    struct bk_trial_info info;
    assert_int_equal(bk_trial_draw(&t, &toy->d, &opt, NULL), BK_OK);
    bk_trial_describe(&info, t);
    assert_int_equal(info.n_functions, 320);
    uint32_t *ring = calloc(t->g.n, sizeof *ring);
    plain_ring(ring, t);
    for (enum bk_axis a = 0; a < BK_AXIS_COUNT; a++) {
        size_t matched = 0;
        for (size_t b = 0; b < N_BUILDS; b++)
            for (size_t c = 0; c < N_BUILDS; c++)
                if (c != b && expected(a, b, c, true)) {
                    matched += 40;
                    break;
                }
        assert_int_equal(info.axes[a].n_matched, matched);
        assert_int_equal(info.axes[a].queries, 30);
        assert_int_equal(info.axes[a].pairs, 102); /* whole anchors */
        for (size_t i = 0; i < t->axes[a].n; i++) {
            check_anchor(t, a, &t->axes[a].v[i], ring);
            for (size_t k = 0; k < i; k++)
                assert_int_not_equal(t->axes[a].v[i].query, t->axes[a].v[k].query);
        }
    }
    free(ring);
    bk_trial_free(t);
    toy_free(toy);
}

/* Five standard deviations of a share. */
static void right_answers_are_uniform(void **state)
{
    (void)state;
    struct toy *toy = built_toy(300);
    const struct bk_trial_options opt = {.split = all, .pairs = 100000, .seed = 5};
    struct bk_trial *t;
    assert_int_equal(bk_trial_draw(&t, &toy->d, &opt, NULL), BK_OK);
    const struct bk_trial_axis *x = &t->axes[BK_AXIS_XM];
    assert_int_equal(x->n, 300 * N_BUILDS);
    double n[N_BUILDS] = {0};
    for (size_t i = 0; i < x->n; i++)
        n[(x->v[i].match + N_BUILDS - x->v[i].query % N_BUILDS) % N_BUILDS]++;
    assert_true(n[0] == 0);
    for (size_t k = 1; k < N_BUILDS; k++)
        assert_true(fabs(n[k] / (double)x->n - 1.0 / 7) < 5 * sqrt(1.0 / 7 * 6 / 7 / (double)x->n));
    bk_trial_free(t);
    toy_free(toy);
}

static bool same_anchors(const struct bk_trial *a, const struct bk_trial *b)
{
    for (size_t x = 0; x < BK_AXIS_COUNT; x++)
        if (a->axes[x].n != b->axes[x].n || a->axes[x].n_matched != b->axes[x].n_matched ||
            (a->axes[x].n && memcmp(a->axes[x].v, b->axes[x].v, a->axes[x].n * sizeof *a->axes[x].v) != 0))
            return false;
    return true;
}

/* An axis is drawn alike whatever other axes are asked; another seed draws others. */
static void seed_decides(void **state)
{
    (void)state;
    struct toy *toy = built_toy(40);
    struct bk_trial_options opt = {.split = all, .axes = 1u << BK_AXIS_XA, .seed = 5};
    struct bk_trial *t[4];
    for (size_t i = 0; i < 4; i++) {
        opt.axes = i == 3 ? 31 : opt.axes;
        opt.seed = i == 2 ? 6 : 5;
        assert_int_equal(bk_trial_draw(&t[i], &toy->d, &opt, NULL), BK_OK);
    }
    assert_true(same_anchors(t[0], t[1]));
    assert_false(same_anchors(t[0], t[2]));
    const struct bk_trial_axis *one = &t[0]->axes[BK_AXIS_XA], *among = &t[3]->axes[BK_AXIS_XA];
    assert_int_equal(one->n, among->n);
    assert_memory_equal(one->v, among->v, one->n * sizeof *one->v);
    for (size_t i = 0; i < 4; i++)
        bk_trial_free(t[i]);
    toy_free(toy);
}

/* ---- filters ------------------------------------------------------------------ */

/* Label 0 has functions 0 to 3: 1 has the words of 0, 2 its opcodes, 3 other opcodes. Label 1 has 4 and 5 of the same words. */
static struct toy *similar_toy(void)
{
    static const char *const words[6][2] = {{"X_mov_eax,1", "X_ret"}, {"X_mov_eax,1", "X_ret"}, {"V_mov_w0,1", "V_ret"},
                                            {"X_add_eax,1", "X_ret"}, {"X_nop", "X_ret"},       {"X_nop", "X_ret"}};
    struct toy *t = toy_new(2, 4, false, 2, 2);
    for (size_t i = 0; i < 6; i++) {
        for (size_t w = 0; w < 2; w++)
            t->ids[2 * i + w] = bk_strtab_intern(t->words, words[i][w], strlen(words[i][w]));
        t->funcs[i].n_blocks = 1;
    }
    t->d.n = 6;
    return t;
}

static void identical_answers_are_not_drawn(void **state)
{
    (void)state;
    struct toy *toy = similar_toy();
    const char *const right[BK_IDENTICAL_COUNT][6] = {
        {"123", "023", "013", "012", "5", "4"}, {"23", "23", "013", "012", "", ""}, {"3", "3", "3", "012", "", ""}};
    for (enum bk_identical what = 0; what < BK_IDENTICAL_COUNT; what++) {
        const struct bk_trial_options opt = {.split = all, .identical = what, .seed = 1};
        struct bk_trial *t;
        assert_int_equal(bk_trial_draw(&t, &toy->d, &opt, NULL), BK_OK);
        for (uint32_t q = 0; q < 6; q++)
            for (uint32_t m = 0; m < 6; m++)
                assert_int_equal(bk_trial_matches(t, BK_AXIS_XM, q, m), strchr(right[what][q], '0' + (int)m) != NULL);
        assert_int_equal(t->axes[BK_AXIS_XM].n_matched, what == BK_IDENTICAL_KEEP ? 6 : 4);
        bk_trial_free(t);
    }
    toy_free(toy);
}

/* Every function with a twin in another label that has the same words. */
static void seen_functions_are_left_out(void **state)
{
    (void)state;
    struct toy *toy = toy_new(60, 4, false, 4, 8);
    const struct bk_split split = {BK_SPLIT_SOURCE, 1, 0, 1, 3};
    uint8_t part[240];
    for (size_t i = 0; i < 240; i++)
        if (toy->funcs[i].label % 2 == 0 && i % 4 < 2)
            toy->funcs[i + 4].words = toy->funcs[i].words;
    assert_int_equal(bk_split_parts(part, &toy->d, &split, NULL), BK_OK);
    size_t seen = 0, judged = 0;
    for (size_t i = 0; i < 240; i++) {
        if (part[i] != BK_PART_TEST || toy->funcs[i].n_blocks < 3)
            continue;
        judged++;
        size_t twin = toy->funcs[i].label % 2 ? i - 4 : i + 4;
        seen += i % 4 < 2 && part[twin] == BK_PART_TRAIN;
    }
    assert_true(seen > 10 && seen < judged - 10);
    for (int unseen = 0; unseen < 2; unseen++) {
        const struct bk_trial_options opt = {.split = split, .min_blocks = 3, .unseen = unseen, .seed = 1};
        struct bk_trial *t;
        struct bk_trial_info info;
        assert_int_equal(bk_trial_draw(&t, &toy->d, &opt, NULL), BK_OK);
        bk_trial_describe(&info, t);
        assert_int_equal(info.n_seen, unseen ? seen : 0);
        assert_int_equal(info.n_functions, judged - info.n_seen);
        bk_trial_free(t);
    }
    toy_free(toy);
}

static void a_key_names_one_function(void **state)
{
    (void)state;
    struct toy *toy = toy_new(20, 4, false, 4, 8);
    toy->funcs[9].key = toy->funcs[11].key = toy->funcs[3].key;
    const struct bk_trial_options opt = {.split = all, .seed = 1};
    struct bk_trial *t;
    struct bk_trial_info info;
    assert_int_equal(bk_trial_draw(&t, &toy->d, &opt, NULL), BK_OK);
    bk_trial_describe(&info, t);
    assert_int_equal(info.n_twice, 2);
    assert_int_equal(info.n_functions, 78);
    bk_trial_free(t);
    toy_free(toy);
}

static void a_part_without_labels_is_refused(void **state)
{
    (void)state;
    struct toy *toy = toy_new(60, 3, false, 4, 4);
    struct bk_trial *t;
    struct bk_error err;
    const struct bk_trial_options opt = {.split = {BK_SPLIT_SOURCE, 1, 0, 0, 1}};
    assert_int_equal(bk_trial_draw(&t, &toy->d, &opt, &err), BK_EINVAL);
    assert_string_equal(err.message, "the test part has 0 functions of 0 labels");
    assert_null(t);
    toy_free(toy);
}

/* ---- the file ------------------------------------------------------------------ */

static void a_trial_comes_back(void **state)
{
    char *path = temp_path(state, "t");
    struct toy *toy = built_toy(40);
    const struct bk_trial_options opt = {.split = {BK_SPLIT_PROJECT, 0, 1, 0, UINT64_MAX},
                                         .validation = true,
                                         .axes = 31,
                                         .queries = 30,
                                         .pairs = 100,
                                         .min_blocks = 2,
                                         .identical = BK_IDENTICAL_OPCODES,
                                         .unseen = true,
                                         .seed = UINT64_MAX - 1};
    struct bk_trial *t, *back;
    struct bk_trial_info a, b;
    assert_int_equal(bk_trial_draw(&t, &toy->d, &opt, NULL), BK_OK);
    assert_int_equal(bk_trial_save(t, path, NULL), BK_OK);
    assert_int_equal(bk_trial_load(&back, path, &toy->d, NULL), BK_OK);
    bk_trial_describe(&a, t);
    bk_trial_describe(&b, back);
    assert_int_equal(a.n_functions, b.n_functions);
    assert_int_equal(a.n_seen, b.n_seen);
    assert_int_equal(b.options.seed, UINT64_MAX - 1);
    assert_true(b.options.split.seed == UINT64_MAX && b.options.split.by == BK_SPLIT_PROJECT);
    assert_true(same_anchors(t, back) && t->axes[BK_AXIS_XA].n > 0);
    size_t size;
    char *first = (char *)read_file(path, &size);
    assert_int_equal(bk_trial_save(back, path, NULL), BK_OK);
    char *second = (char *)read_file(path, &size);
    assert_string_equal(first, second);
    free(path);
    free(first);
    free(second);
    bk_trial_free(t);
    bk_trial_free(back);
    toy_free(toy);
}

/* A sound file with one text replaced by another. */
static void broken_trials_are_refused(void **state)
{
    char *path = temp_path(state, "t");
    struct toy *toy = built_toy(40);
    const struct bk_trial_options opt = {.split = all, .axes = 1u << BK_AXIS_XO, .queries = 5, .pairs = 10, .seed = 1};
    struct bk_trial *t;
    struct bk_error err;
    assert_int_equal(bk_trial_draw(&t, &toy->d, &opt, NULL), BK_OK);
    assert_int_equal(bk_trial_save(t, path, NULL), BK_OK);
    size_t length;
    char *good = (char *)read_file(path, &length), query[64], match[64];
    const struct bk_anchor *v = &t->axes[BK_AXIS_XO].v[0];
    snprintf(query, sizeof query, "%016llx", (unsigned long long)toy->funcs[t->g.v[v->query]].key);
    snprintf(match, sizeof match, "%016llx", (unsigned long long)toy->funcs[t->g.v[v->match]].key);
    const struct {
        const char *from, *to;
        int code;
        const char *says;
    } cases[] = {
        {"{\"binkin_trial\":1", "{\"binkin_trial\":2", BK_EUNSUPPORTED, "a trial of format 2"},
        {"{\"binkin_trial\":1", "{\"binkin\":1", BK_EFORMAT, "line 1: not the head of a trial"},
        {"{\"binkin_trial\":1", "[\"binkin_trial\":1", BK_EFORMAT, "line 1: no JSON object"},
        {"0000000000abcdef", "0000000000abcdee", BK_EMISMATCH, "drawn from another data set"},
        {"\"source\"", "\"sauce\"", BK_EFORMAT, "line 1: a field of the head"},
        {"[0,0,1]", "[0,0,-1]", BK_EFORMAT, "line 1: a field of the head"},
        {"[0,0,1]", "[0,0,0]", BK_EINVAL, "a split of 0:0:0"},
        {"\"test\"", "\"rest\"", BK_EFORMAT, "line 1: a field of the head"},
        {"\"keep\"", "\"kept\"", BK_EFORMAT, "line 1: a field of the head"},
        {"\"min_blocks\":1", "\"min_blocks\":4294967296", BK_EFORMAT, "line 1: a field of the head"},
        {"{\"XO\":5}", "{\"XO\":6}", BK_ETRUNCATED, "5 lines of axis XO, the head says 6"},
        {"{\"XO\":5}", "{\"XY\":5}", BK_EFORMAT, "line 1: a field of the head"},
        {"{\"XO\":5}", "{}", BK_EFORMAT, "line 1: a field of the head"},
        {"{\"axis\":\"XO\"", "{\"axis\":\"XC\"", BK_EFORMAT, "line 2: no axis of the head"},
        {"{\"axis\":\"XO\"", "\"axis\"", BK_EFORMAT, "line 2: no JSON object"},
        {query, "0123456789abcdef", BK_EFORMAT, "line 2: names no function of the part"},
        {query, "0123456789ABCDEF", BK_EFORMAT, "line 2: names no function of the part"},
        {query, match, BK_EFORMAT, "line 2: no query and right answer of axis XO"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *at = strstr(good, cases[i].from), *bad = calloc(1, 1 << 20);
        assert_non_null(at);
        int n = snprintf(bad, 1 << 20, "%.*s%s%s", (int)(at - good), good, cases[i].to, at + strlen(cases[i].from));
        write_file(path, bad, (size_t)n);
        struct bk_trial *none;
        assert_int_equal(bk_trial_load(&none, path, &toy->d, &err), cases[i].code);
        if (!strstr(err.message, cases[i].says) || strcmp(err.file, path) != 0)
            fail_msg("'%s' as '%s': %s: %s", cases[i].from, cases[i].to, err.file, err.message);
        assert_null(none);
        free(bad);
    }
    for (size_t size = 0; size + 1 < length; size += 7) { /* cut anywhere */
        struct bk_trial *none;
        write_file(path, good, size);
        assert_int_not_equal(bk_trial_load(&none, path, &toy->d, NULL), BK_OK);
    }
    free(path);
    free(good);
    bk_trial_free(t);
    toy_free(toy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_those_of_the_axis),
        cmocka_unit_test(right_answers_are_uniform),
        cmocka_unit_test(seed_decides),
        cmocka_unit_test(identical_answers_are_not_drawn),
        cmocka_unit_test(seen_functions_are_left_out),
        cmocka_unit_test(a_key_names_one_function),
        cmocka_unit_test(a_part_without_labels_is_refused),
        cmocka_unit_test_setup_teardown(a_trial_comes_back, temp_dir_setup, temp_dir_teardown),
        cmocka_unit_test_setup_teardown(broken_trials_are_refused, temp_dir_setup, temp_dir_teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
