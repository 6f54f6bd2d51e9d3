/* The public calls, through include/ alone: error structs, ranges, options.
 *
 *     test_api OBJECT MODEL    OBJECT: armhf, functions collatz and find; MODEL: random weights, knows armhf
 */
#include "binkin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *object_path, *model_path;

struct world {
    struct bk_binary *b;
    struct bk_model *m;
    size_t collatz, find;
};

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    *state = w;
    return !w || bk_binary_open(&w->b, object_path, NULL) || bk_model_load(&w->m, model_path, NULL) ||
           bk_binary_find(&w->collatz, NULL, w->b, "collatz", NULL) ||
           bk_binary_find(&w->find, NULL, w->b, "find", NULL);
}

static int tear_down(void **state)
{
    struct world *w = *state;
    bk_binary_close(w->b);
    bk_model_free(w->m);
    free(w);
    return 0;
}

/* What a call leaves of a struct that held garbage: strings that end, one line. */
static void check_error(const struct bk_error *err, int code)
{
    char line[600];
    assert_int_equal(err->code, code);
    assert_non_null(memchr(err->file, 0, sizeof err->file));
    assert_non_null(memchr(err->message, 0, sizeof err->message));
    assert_true(strlen(err->message) > 0);
    assert_null(strchr(bk_error_format(line, sizeof line, err), '\n'));
}

static void test_errors_of_a_struct_of_garbage(void **state)
{
    struct world *w = *state;
    struct bk_error err;
    struct bk_binary *b = w->b;
    struct bk_model *m = w->m;
    struct bk_function_stats stats;
    size_t i = 1000000;
    float v[400];
    memset(&err, 0xee, sizeof err);
    assert_int_equal(bk_binary_open(&b, "/nonexistent", &err), BK_EIO);
    check_error(&err, BK_EIO);
    assert_string_equal(err.file, "/nonexistent");
    assert_null(b);
    memset(&err, 0xee, sizeof err);
    assert_int_equal(bk_model_load(&m, object_path, &err), BK_EFORMAT);
    check_error(&err, BK_EFORMAT);
    assert_null(m);
    memset(&err, 0xee, sizeof err);
    assert_int_equal(bk_binary_stats(&stats, w->b, 1, SIZE_MAX, 1, &err), BK_EINVAL);
    check_error(&err, BK_EINVAL);
    memset(&err, 0xee, sizeof err);
    assert_int_equal(bk_embed(v, NULL, w->m, w->b, &i, 1, NULL, &err), BK_EINVAL);
    check_error(&err, BK_EINVAL);
    memset(&err, 0xee, sizeof err);
    assert_int_equal(bk_binary_find(&i, NULL, w->b, "0x7", &err), BK_ENOTFOUND);
    check_error(&err, BK_ENOTFOUND);
    assert_string_equal(err.file, object_path);
}

static void test_ends_take_null(void **state)
{
    (void)state;
    bk_binary_close(NULL);
    bk_model_free(NULL);
    bk_matches_free(NULL);
}

static void test_functions_and_members(void **state)
{
    struct world *w = *state;
    struct bk_function_info f;
    struct bk_member_info m;
    struct bk_function_stats s[2];
    assert_int_equal(bk_binary_n_members(w->b), 1);
    bk_binary_member(&m, w->b, 0);
    assert_string_equal(m.arch, "armhf");
    assert_string_equal(m.kind, "object");
    assert_int_equal(m.n_functions, 2);
    assert_null(m.member);
    bk_binary_function(&f, w->b, w->find);
    assert_string_equal(f.names[0], "find");
    assert_string_equal(f.bound, "symbol");
    bk_binary_function(&f, w->b, 2);
    assert_null(f.name);
    assert_int_equal(bk_binary_stats(s, w->b, 0, 2, 0, NULL), BK_OK);
    for (size_t i = 0; i < 2; i++) {
        bk_binary_function(&f, w->b, i);
        assert_int_equal(s[i].bytes_code + s[i].bytes_data + s[i].bytes_bad, f.size);
        assert_true(s[i].n_blocks > 1);
    }
}

static void test_find_all_counts_beyond_its_room(void **state)
{
    struct world *w = *state;
    char addr[32];
    size_t out[1] = {99};
    struct bk_function_info f;
    bk_binary_function(&f, w->b, w->find);
    snprintf(addr, sizeof addr, "0x%llX", (unsigned long long)(f.addr + f.size - 1));
    assert_int_equal(bk_binary_find_all(out, 1, w->b, addr), 1);
    assert_int_equal(out[0], w->find);
    assert_int_equal(bk_binary_find_all(NULL, 0, w->b, "find"), 1);
    assert_int_equal(bk_binary_find_all(out, 1, w->b, "fin"), 0);
    assert_int_equal(bk_binary_find_all(out, 1, w->b, "0x"), 0);
    assert_int_equal(bk_binary_find_all(out, 1, w->b, ""), 0);
}

struct seen {
    size_t n, stop_at, last_block;
};

static int see(void *ctx, uint64_t addr, const char *word, size_t block)
{
    struct seen *s = ctx;
    assert_true(addr >= 0x100000);
    assert_memory_equal(word, "A_", 2);
    assert_true(block >= s->last_block);
    s->last_block = block;
    return ++s->n == s->stop_at ? 42 : 0;
}

static void test_words_stop_when_told(void **state)
{
    struct world *w = *state;
    struct bk_function_stats stats;
    struct seen all = {0}, some = {.stop_at = 3};
    assert_int_equal(bk_binary_stats(&stats, w->b, w->find, 1, 1, NULL), BK_OK);
    assert_int_equal(bk_binary_words(w->b, w->find, see, &all, NULL), BK_OK);
    assert_int_equal(all.n, stats.n_insns);
    assert_int_equal(all.last_block + 1, stats.n_blocks);
    assert_int_equal(bk_binary_words(w->b, w->find, see, &some, NULL), 42);
    assert_int_equal(some.n, 3);
}

static void test_vectors_follow_the_list(void **state)
{
    struct world *w = *state;
    struct bk_model_info info;
    bk_model_describe(&info, w->m);
    assert_string_equal(info.archs, "armhf");
    assert_int_equal(info.dim, 200);
    float v[3][200], unknown[3], score;
    const size_t list[] = {w->find, w->collatz, w->find};
    assert_int_equal(bk_embed(v[0], unknown, w->m, w->b, list, 3, NULL, NULL), BK_OK);
    assert_memory_equal(v[0], v[2], sizeof v[0]);
    assert_memory_not_equal(v[0], v[1], sizeof v[0]);
    double length = 0, dot = 0;
    for (size_t i = 0; i < info.dim; i++) {
        length += (double)v[0][i] * (double)v[0][i];
        dot += (double)v[0][i] * (double)v[1][i];
    }
    assert_true(length > 1 - 1e-5 && length < 1 + 1e-5);
    assert_true(unknown[0] == 0);
    assert_int_equal(bk_compare(&score, w->m, w->b, w->find, w->b, w->collatz, NULL, NULL), BK_OK);
    assert_true((double)score - dot < 1e-5 && dot - (double)score < 1e-5);
}

/* Without a calibration in the model the cosine stands alone. */
static void test_score_without_calibration(void **state)
{
    struct world *w = *state;
    struct bk_score s;
    struct bk_model_info info;
    float score;
    bk_model_describe(&info, w->m);
    assert_false(info.calibrated);
    assert_int_equal(bk_compare(&score, w->m, w->b, w->find, w->b, w->collatz, NULL, NULL), BK_OK);
    assert_int_equal(bk_score_describe(&s, w->m, w->b, w->find, w->b, w->collatz, 7, NULL, NULL), BK_OK);
    assert_true(s.cosine == score);
    assert_true(s.probability != s.probability && s.expected_false != s.expected_false);
}

static void test_match_takes_part_lists(void **state)
{
    struct world *w = *state;
    struct bk_matches *m;
    struct bk_match_options opt = {
        .k = 7, .truth = true, .only_a = &w->find, .n_only_a = 1, .only_b = &w->collatz, .n_only_b = 1};
    assert_int_equal(bk_match(&m, w->m, w->b, w->b, &opt, NULL), BK_OK);
    assert_int_equal(m->n, 1); /* k is cut to the pool */
    assert_int_equal(m->v[0].query, w->find);
    assert_int_equal(m->v[0].answer, w->collatz);
    assert_int_equal(m->v[0].right, -1); /* no candidate is called find */
    assert_int_equal(m->n_judged, 0);
    bk_matches_free(m);
    opt.only_b = NULL;
    assert_int_equal(bk_match(&m, w->m, w->b, w->b, &opt, NULL), BK_OK);
    assert_int_equal(m->n, 2);
    assert_int_equal(m->v[0].answer, w->find);
    assert_int_equal(m->v[0].right, 1);
    assert_int_equal(m->v[1].right, 0);
    assert_int_equal(m->n_judged, 1);
    assert_true(m->recall_at_1 == 1 && m->mrr_at_10 == 1);
    bk_matches_free(m);
}

static void test_match_says_what_it_rests_on(void **state)
{
    struct world *w = *state;
    struct bk_matches *m;
    struct bk_match_options opt = {.truth = true};
    assert_int_equal(bk_match(&m, w->m, w->b, w->b, &opt, NULL), BK_OK);
    assert_int_equal(m->n, 2);
    for (size_t i = 0; i < m->n; i++) {
        const struct bk_match_answer *v = &m->v[i];
        assert_int_equal(v->right, 1);
        assert_true(v->in_order && v->rank_score > v->score);
        assert_true(v->n_shared_items == v->n_items && v->n_neighbours_matched == v->n_neighbours);
    }
    bk_matches_free(m);
    opt.no_neighbours = true;
    assert_int_equal(bk_match(&m, w->m, w->b, w->b, &opt, NULL), BK_OK);
    for (size_t i = 0; i < m->n; i++)
        assert_true(m->v[i].rank_score == m->v[i].score && !m->v[i].in_order && m->v[i].n_items == 0);
    bk_matches_free(m);
}

static void test_match_one_to_one(void **state)
{
    struct world *w = *state;
    struct bk_matches *m;
    struct bk_error err;
    const size_t both[] = {w->find, w->collatz};
    struct bk_match_options opt = {
        .one_to_one = true, .only_a = both, .n_only_a = 2, .only_b = &w->find, .n_only_b = 1};
    assert_int_equal(bk_match(&m, w->m, w->b, w->b, &opt, NULL), BK_OK);
    assert_int_equal(m->n_queries, 2);
    assert_int_equal(m->n, 1); /* find answers itself, and nobody is left for collatz */
    assert_int_equal(m->v[0].query, w->find);
    bk_matches_free(m);
    opt.k = 2;
    assert_int_equal(bk_match(&m, w->m, w->b, w->b, &opt, &err), BK_EINVAL);
    assert_null(m);
    check_error(&err, BK_EINVAL);
}

static void test_match_of_nothing(void **state)
{
    struct world *w = *state;
    struct bk_matches *m;
    struct bk_match_options opt = {.min_blocks = 1000, .truth = true};
    assert_int_equal(bk_match(&m, w->m, w->b, w->b, &opt, NULL), BK_OK);
    assert_int_equal(m->n, 0);
    assert_int_equal(m->n_queries, 0);
    assert_int_equal(m->n_left_out_a, 2);
    assert_true(m->recall_at_1 == 0);
    bk_matches_free(m);
}

static void count_up(void *ctx, const char *what, size_t done, size_t total)
{
    (void)what;
    size_t *calls = ctx;
    assert_true(done <= total);
    ++*calls;
}

static void test_progress_is_told(void **state)
{
    struct world *w = *state;
    struct bk_matches *m;
    size_t calls = 0;
    struct bk_match_options opt = {.embed = {.progress = count_up, .progress_ctx = &calls}};
    assert_int_equal(bk_match(&m, w->m, w->b, w->b, &opt, NULL), BK_OK);
    assert_true(calls >= 2);
    bk_matches_free(m);
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    object_path = argv[1];
    model_path = argv[2];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_errors_of_a_struct_of_garbage),
        cmocka_unit_test(test_ends_take_null),
        cmocka_unit_test(test_functions_and_members),
        cmocka_unit_test(test_find_all_counts_beyond_its_room),
        cmocka_unit_test(test_words_stop_when_told),
        cmocka_unit_test(test_vectors_follow_the_list),
        cmocka_unit_test(test_score_without_calibration),
        cmocka_unit_test(test_match_takes_part_lists),
        cmocka_unit_test(test_match_says_what_it_rests_on),
        cmocka_unit_test(test_match_one_to_one),
        cmocka_unit_test(test_match_of_nothing),
        cmocka_unit_test(test_progress_is_told),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
