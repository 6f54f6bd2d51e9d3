/* Batches of labels: every label once a pass, its functions distinct, builds as unlike as asked, projects kept apart, all of it from
 * (seed, epoch, batch). */
#include "learn.h"
#include "toy_dataset.h"

#include <math.h>

enum { ARCHS = 3, COMPILERS = 2, LEVELS = 3, BUILDS = ARCHS * COMPILERS * LEVELS };
static const unsigned values[3] = {ARCHS, COMPILERS, LEVELS};

/* File b is build b: the digits of b are architecture, compiler, level. */
static void build_digits(unsigned digit[3], uint32_t b)
{
    digit[0] = b % ARCHS;
    digit[1] = b / ARCHS % COMPILERS;
    digit[2] = b / ARCHS / COMPILERS;
}

struct setting {
    struct toy *t;
    struct bk_group g;
};

static struct setting setting_new(size_t n_labels, size_t mean, bool uneven, size_t projects)
{
    static const enum bk_arch arch[ARCHS] = {BK_ARCH_MIPS, BK_ARCH_AMD64, BK_ARCH_ARM64};
    static const char *const compiler[COMPILERS] = {"gcc-12", "clang-14"}, *const level[LEVELS] = {"O0", "O2", "Os"};
    struct setting s = {.t = toy_new(n_labels, mean, uneven, projects, 4)};
    free(s.t->files);
    s.t->files = calloc(BUILDS, sizeof *s.t->files);
    for (uint32_t b = 0; b < BUILDS; b++) {
        unsigned digit[3];
        build_digits(digit, b);
        s.t->files[b] =
            (struct bk_data_file){.compiler = compiler[digit[1]], .level = level[digit[2]], .arch = arch[digit[0]]};
    }
    s.t->d.files = s.t->files;
    s.t->d.n_files = BUILDS;
    for (size_t i = 0; i < s.t->d.n; i++)
        s.t->funcs[i].file = (uint32_t)(toy_key("build", i) % BUILDS);
    assert_int_equal(bk_group_init(&s.g, &s.t->d, NULL, BK_PART_TRAIN, 0, NULL), BK_OK);
    return s;
}

static void setting_done(struct setting *s)
{
    bk_group_done(&s->g);
    toy_free(s->t);
}

static struct bk_sampler sampler_of(const struct setting *s, struct bk_sampler_options o)
{
    struct bk_sampler out;
    struct bk_error err;
    if (bk_sampler_init(&out, &s->t->d, &s->g, &o, &err))
        fail_msg("%s", err.message);
    return out;
}

static const struct bk_data_func *func_at(const struct setting *s, uint32_t position)
{
    return &s->t->funcs[s->g.v[position]];
}

static bool same_words(const struct bk_data_func *a, const struct bk_data_func *b)
{
    return a->n_words == b->n_words && memcmp(a->words, b->words, a->n_words * sizeof *a->words) == 0;
}

/* Functions of a label that are unlike all before them. */
static size_t distinct_of(const struct setting *s, uint32_t label)
{
    size_t n = 0;
    for (size_t i = 0; i < s->t->d.n; i++) {
        bool first = s->t->funcs[i].label == label;
        for (size_t j = 0; first && j < i; j++)
            first = s->t->funcs[j].label != label || !same_words(&s->t->funcs[i], &s->t->funcs[j]);
        n += first;
    }
    return n;
}

/* What holds of any batch; adds 1 to visits[] of each label in it and returns how many those are. */
static size_t check_batch(const struct bk_sampler *b, const struct setting *s, unsigned *visits)
{
    size_t n_labels = 0;
    for (size_t i = 0, n; i < b->n; i += n, n_labels++) {
        const uint32_t label = b->label[i];
        for (size_t j = 0; j < i; j++)
            assert_int_not_equal(b->label[j], label);
        for (n = 0; i + n < b->n && b->label[i + n] == label; n++) {
            assert_int_equal(func_at(s, b->func[i + n])->label, label);
            for (size_t j = i; j < i + n; j++)
                assert_false(same_words(func_at(s, b->func[i + n]), func_at(s, b->func[j])));
        }
        const size_t distinct = distinct_of(s, label);
        assert_int_equal(n, distinct < b->opt.functions ? distinct : b->opt.functions);
        visits[label]++;
    }
    return n_labels;
}

static void test_pass(void **state)
{
    enum { LABELS = 90, P = 16 };
    struct setting s = setting_new(LABELS, 4, true, 5);
    unsigned visits[LABELS] = {0};
    (void)state;
    for (size_t i = 2; i < s.t->d.n;
         i++) { /* a third of the labels is one function again and again, a third two by turns */
        const size_t before = i - s.t->funcs[i].label % 3;
        if (s.t->funcs[i].label == s.t->funcs[before].label)
            s.t->funcs[i].words = s.t->funcs[before].words;
    }
    struct bk_sampler b = sampler_of(&s, (struct bk_sampler_options){.labels = P, .functions = 3, .seed = 5});
    size_t least = P, most = 0, drawn = 0, eligible = 0, alike = 0;
    for (size_t i = 0; i < b.epoch_batches; i++) {
        bk_sampler_draw(&b, 0, i);
        size_t n = check_batch(&b, &s, visits);
        least = n < least ? n : least;
        most = n > most ? n : most;
        drawn += n;
    }
    for (uint32_t l = 0; l < LABELS; l++) {
        const size_t distinct = distinct_of(&s, l), functions = 1 + l % 7;
        assert_int_equal(visits[l], distinct > 1);
        eligible += distinct > 1;
        alike += functions > 1 && distinct == 1;
    }
    assert_true(alike > 0);
    assert_int_equal(drawn, eligible);
    assert_int_equal(b.epoch_batches, (eligible + P - 1) / P);
    assert_true(most <= P && most - least <= 1);
    bk_sampler_done(&b);
    setting_done(&s);
}

/* 40 labels of 4 functions: a pass is 5 batches of 8 x 2. */
static void test_epoch_length(void **state)
{
    static const size_t expect[][2] = {{0, 5}, {1, 1}, {48, 3}, {49, 4}, {80, 5}, {81, 6}, {200, 13}};
    enum { LABELS = 40 };
    struct setting s = setting_new(LABELS, 4, false, 5);
    (void)state;
    for (size_t k = 0; k < sizeof expect / sizeof *expect; k++) {
        struct bk_sampler b = sampler_of(
            &s, (struct bk_sampler_options){.labels = 8, .functions = 2, .epoch_functions = expect[k][0], .seed = 5});
        unsigned visits[LABELS] = {0};
        size_t batches = 0;
        assert_int_equal(b.epoch_batches, expect[k][1]);
        for (unsigned epoch = 0; epoch < 10; epoch++)
            for (size_t i = 0; i < b.epoch_batches; i++) {
                bk_sampler_draw(&b, epoch, i);
                assert_int_equal(check_batch(&b, &s, visits), 8);
                batches++;
                for (size_t l = 0; l < LABELS; l++) /* all epochs together go through pass after pass */
                    assert_in_range(visits[l], batches / 5, (batches + 4) / 5);
            }
        bk_sampler_done(&b);
    }
    setting_done(&s);
}

static void test_whole_set_in_one_batch(void **state)
{
    enum { LABELS = 5 };
    struct setting s = setting_new(LABELS, 3, false, 2);
    unsigned visits[LABELS] = {0};
    (void)state;
    struct bk_sampler b =
        sampler_of(&s, (struct bk_sampler_options){.labels = SIZE_MAX, .functions = SIZE_MAX, .epochs = 1});
    bk_sampler_draw(&b, 0, 0);
    assert_int_equal(b.epoch_batches, 1);
    assert_int_equal(b.n, s.t->d.n);
    assert_int_equal(check_batch(&b, &s, visits), LABELS);
    bk_sampler_done(&b);
    setting_done(&s);
}

/* The batch is that of its number, whatever was drawn before; another epoch, batch or seed is another batch. */
static void test_drawn_from_numbers(void **state)
{
    struct setting s = setting_new(60, 4, true, 5);
    struct bk_sampler_options o = {
        .labels = 8, .functions = 3, .epoch_functions = 64, .cross_from = 0.2, .cross_to = 0.8, .epochs = 9, .seed = 5};
    struct bk_sampler a = sampler_of(&s, o), b = sampler_of(&s, o);
    (void)state;
    o.seed = 6;
    struct bk_sampler c = sampler_of(&s, o);
    assert_true(a.epoch_batches > 2);
    for (unsigned epoch = 0; epoch < 9; epoch++)
        for (size_t i = 0; i < a.epoch_batches; i++) {
            bk_sampler_draw(&a, epoch, i);
            bk_sampler_draw(&b, 8 - epoch, a.epoch_batches - 1 - i);
            bk_sampler_draw(&c, epoch, i);
            const bool middle = epoch == 4 && i == a.epoch_batches - 1 - i;
            assert_true(middle == (a.n == b.n && memcmp(a.func, b.func, a.n * sizeof *a.func) == 0));
            assert_true(a.n != c.n || memcmp(a.func, c.func, a.n * sizeof *a.func) != 0);
            bk_sampler_draw(&b, epoch, i);
            assert_int_equal(a.n, b.n);
            assert_memory_equal(a.func, b.func, a.n * sizeof *a.func);
            assert_memory_equal(a.label, b.label, a.n * sizeof *a.label);
        }
    bk_sampler_done(&a);
    bk_sampler_done(&b);
    bk_sampler_done(&c);
    setting_done(&s);
}

/* Two labels stand in one of two orders, but their functions are drawn anew by every epoch and every seed: 288 ways, 40 draws. */
static void test_functions_drawn_anew(void **state)
{
    enum { DRAWS = 40 };
    struct setting s = setting_new(2, 4, false, 2);
    (void)state;
    for (int by_seed = 0; by_seed < 2; by_seed++) {
        uint32_t drawn[DRAWS][4];
        size_t new = 0;
        for (unsigned k = 0; k < DRAWS; k++) {
            bool seen = false;
            struct bk_sampler b =
                sampler_of(&s, (struct bk_sampler_options){.labels = 2, .functions = 2, .seed = by_seed ? k : 5});
            bk_sampler_draw(&b, by_seed ? 0 : k, 0);
            assert_int_equal(b.n, 4);
            memcpy(drawn[k], b.func, sizeof drawn[k]);
            for (unsigned j = 0; j < k; j++)
                seen |= memcmp(drawn[j], drawn[k], sizeof drawn[k]) == 0;
            new += !seen;
            bk_sampler_done(&b);
        }
        assert_true(new > DRAWS / 2);
    }
    setting_done(&s);
}

/* Values of an axis among the functions of a label, or among the drawn ones. */
static size_t count_values(const struct setting *s, const uint32_t *position, size_t n, unsigned axis)
{
    bool seen[BUILDS] = {false};
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned digit[3];
        build_digits(digit, func_at(s, position[i])->file);
        count += !seen[digit[axis]];
        seen[digit[axis]] = true;
    }
    return count;
}

/* Cross 1: as many architectures as the label has or as are drawn; where it was built in every way, as many of everything. */
static void test_cross_is_all(void **state)
{
    enum { LABELS = 50 };
    static const size_t functions[] = {2, 3, 5};
    (void)state;
    for (int every = 0; every < 2; every++) {
        struct setting s = setting_new(LABELS, every ? BUILDS : 4, !every, 5);
        unsigned visits[LABELS] = {0};
        for (size_t i = 0; every && i < s.t->d.n; i++)
            s.t->funcs[i].file = (uint32_t)(i % BUILDS);
        for (size_t k = 0; k < 3; k++) {
            struct bk_sampler b =
                sampler_of(&s, (struct bk_sampler_options){
                                   .labels = LABELS, .functions = functions[k], .cross_from = 1, .cross_to = 1});
            bk_sampler_draw(&b, 0, 0);
            check_batch(&b, &s, visits);
            for (size_t i = 0, n; i < b.n; i += n) {
                const uint32_t first = s.g.begin[b.func[i]], end = s.g.end[b.func[i]];
                uint32_t all[64];
                for (n = 0; i + n < b.n && b.label[i + n] == b.label[i];)
                    n++;
                for (uint32_t at = first; at < end; at++)
                    all[at - first] = at;
                for (unsigned axis = 0; axis < (every ? 3 : 1); axis++) {
                    const size_t there = count_values(&s, all, end - first, axis);
                    assert_int_equal(count_values(&s, b.func + i, n, axis), there < n ? there : n);
                    assert_true(!every || there == values[axis]);
                }
            }
            bk_sampler_done(&b);
        }
        setting_done(&s);
    }
}

/* Four functions, of which one differs from the others along one axis, two drawn. The first is the odd one in 1 of 4 draws; else the
 * second is with cross + (1 - cross) / 3. Cross is 0, .5 and 1 in the three epochs, and 1 after them; of the other three each comes as often as any. */
static void test_cross_rises(void **state)
{
    enum { LABELS = 5000 };
    static const double cross[4] = {0, 0.5, 1, 1};
    struct setting s = setting_new(LABELS, 4, false, 5);
    (void)state;
    for (unsigned axis = 0; axis < 3; axis++) {
        const uint32_t odd[3] = {1, ARCHS, ARCHS * COMPILERS};
        for (size_t i = 0; i < s.t->d.n; i++)
            s.t->funcs[i].file = i % 4 == 2 ? odd[axis] : 0;
        struct bk_sampler b = sampler_of(
            &s, (struct bk_sampler_options){
                    .labels = LABELS, .functions = 2, .cross_from = 0, .cross_to = 1, .epochs = 3, .seed = axis});
        for (unsigned epoch = 0; epoch < 4; epoch++) {
            double count[4] = {0};
            const double share = 0.25 + 0.75 * (cross[epoch] + (1 - cross[epoch]) / 3);
            bk_sampler_draw(&b, epoch, 0);
            assert_int_equal(b.n, 2 * LABELS);
            for (size_t i = 0; i < b.n; i++)
                count[s.g.v[b.func[i]] % 4]++;
            for (int k = 0; k < 4; k++) {
                double p = k == 2 ? share : (2 - share) / 3;
                assert_true(fabs(count[k] - p * LABELS) <= 4.5 * sqrt(LABELS * p * (1 - p)));
            }
        }
        bk_sampler_done(&b);
    }
    setting_done(&s);
}

static size_t of_project(const struct bk_sampler *b, const struct setting *s, uint64_t key)
{
    size_t n = 0;
    for (size_t i = 0; i < b->n; i++)
        n += (i == 0 || b->label[i] != b->label[i - 1]) && s->t->labels[b->label[i]].project_key == key;
    return n;
}

/* One project has three labels of four, or half of them, or all. */
static void test_projects(void **state)
{
    enum { LABELS = 400, P = 17 };
    static const size_t quarters[] = {3, 2, 4};
    (void)state;
    for (size_t k = 0; k < 3; k++) {
        struct setting s = setting_new(LABELS, 3, false, 7);
        unsigned visits[LABELS] = {0};
        const uint64_t large = toy_key("project", 99);
        size_t others = LABELS;
        for (size_t l = 0; l < LABELS; l++)
            if (l % 4 < quarters[k]) {
                s.t->labels[l].project_key = large;
                others--;
            }
        struct bk_sampler b = sampler_of(&s, (struct bk_sampler_options){.labels = P, .functions = 2, .seed = k});
        for (size_t i = 0; i < b.epoch_batches; i++) {
            bk_sampler_draw(&b, 0, i);
            const size_t n = check_batch(&b, &s, visits), n_large = of_project(&b, &s, large);
            others -= n - n_large;
            assert_true(n_large <= (n + 1) / 2 || others == 0);
            assert_true(quarters[k] != 3 || n_large >= n / 2);
        }
        for (size_t l = 0; l < LABELS; l++)
            assert_int_equal(visits[l], 1);
        bk_sampler_done(&b);
        setting_done(&s);
    }
}

static void test_refusals(void **state)
{
    static const struct bk_sampler_options wrong[] = {
        {.labels = 1, .functions = 2},
        {.labels = 2, .functions = 1},
        {.labels = 2, .functions = 2, .cross_from = -0.1},
        {.labels = 2, .functions = 2, .cross_to = 1.1},
        {.labels = 2, .functions = 2, .cross_to = NAN},
    };
    const struct bk_sampler_options right = {.labels = 2, .functions = 2};
    struct bk_sampler b;
    struct bk_error err;
    struct setting s = setting_new(2, 2, false, 1);
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(bk_sampler_init(&b, &s.t->d, &s.g, &wrong[i], &err), BK_EINVAL);
    assert_int_equal(bk_sampler_init(&b, &s.t->d, &s.g, &right, &err), BK_OK);
    bk_sampler_done(&b);
    s.t->funcs[1].words = s.t->funcs[0].words; /* of label 0 one function is left */
    assert_int_equal(bk_sampler_init(&b, &s.t->d, &s.g, &right, &err), BK_EINVAL);
    assert_string_equal(err.message, "of 4 functions to train on 1 labels have two of unlike words, and 2 such labels "
                                     "are the least");
    setting_done(&s);
    s = setting_new(0, 2, false, 1);
    assert_int_equal(bk_sampler_init(&b, &s.t->d, &s.g, &right, &err), BK_EINVAL);
    setting_done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pass),
        cmocka_unit_test(test_epoch_length),
        cmocka_unit_test(test_whole_set_in_one_batch),
        cmocka_unit_test(test_drawn_from_numbers),
        cmocka_unit_test(test_functions_drawn_anew),
        cmocka_unit_test(test_cross_is_all),
        cmocka_unit_test(test_cross_rises),
        cmocka_unit_test(test_projects),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
