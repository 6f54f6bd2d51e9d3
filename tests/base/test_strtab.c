/* Words to dense ids and back. */
#include "base/base.h"
#include "cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void ids_are_dense_and_stable(void **state)
{
    (void)state;
    enum { N = 50000 };
    struct bk_strtab *t = bk_strtab_new();
    char word[32];
    for (int round = 0; round < 2; round++)
        for (uint32_t i = 0; i < N; i++) {
            int n = snprintf(word, sizeof word, "X_mov_%u", (unsigned)i);
            assert_int_equal(bk_strtab_intern(t, word, (size_t)n), i);
        }
    assert_int_equal(bk_strtab_count(t), N);
    for (uint32_t i = 0; i < N; i++) {
        int n = snprintf(word, sizeof word, "X_mov_%u", (unsigned)i);
        assert_int_equal(bk_strtab_find(t, word, (size_t)n), i);
        assert_string_equal(bk_strtab_str(t, i), word);
    }
    assert_int_equal(bk_strtab_find(t, "X_mov_", 6), BK_STR_NONE);
    assert_int_equal(bk_strtab_find(t, "X_mov_50000", 11), BK_STR_NONE);
    assert_null(bk_strtab_str(t, N));
    assert_null(bk_strtab_str(t, BK_STR_NONE));
    assert_int_equal(bk_strtab_count(t), N);
    bk_strtab_free(t);
}

static void length_counts_not_nul(void **state)
{
    (void)state;
    struct bk_strtab *t = bk_strtab_new();
    assert_int_equal(bk_strtab_find(t, "", 0), BK_STR_NONE);
    assert_int_equal(bk_strtab_intern(t, "abcd", 2), 0);
    assert_string_equal(bk_strtab_str(t, 0), "ab");
    assert_int_equal(bk_strtab_intern(t, "abcd", 3), 1);
    assert_int_equal(bk_strtab_intern(t, NULL, 0), 2);
    assert_string_equal(bk_strtab_str(t, 2), "");
    assert_int_equal(bk_strtab_find(t, "", 0), 2);
    assert_int_equal(bk_strtab_intern(t, "ab\0c", 4), 3);
    assert_int_equal(bk_strtab_intern(t, "ab\0d", 4), 4);
    assert_int_equal(bk_strtab_find(t, "ab", 2), 0);
    assert_memory_equal(bk_strtab_str(t, 4), "ab\0d", 5);
    bk_strtab_free(t);
    bk_strtab_free(NULL);
}

static void strings_stay_where_they_are(void **state)
{
    (void)state;
    struct bk_strtab *t = bk_strtab_new();
    char source[] = "first";
    assert_int_equal(bk_strtab_intern(t, source, 5), 0);
    const char *before = bk_strtab_str(t, 0);
    source[0] = 'F';
    for (uint32_t i = 1; i < 5000; i++)
        assert_int_equal(bk_strtab_intern(t, (const char *)&i, sizeof i), i);
    assert_ptr_equal(bk_strtab_str(t, 0), before);
    assert_string_equal(before, "first");
    bk_strtab_free(t);
}

/* ---- over an index ------------------------------------------------------ */

#define N_INDEXED 300

/* Words and their index in memory of just their size, so that the sanitizers see a step beyond it. */
struct indexed {
    struct bk_strtab *table;
    uint8_t *strings, *index;
    size_t n_strings, n_index;
};

static struct indexed indexed_new(uint32_t n)
{
    struct indexed x = {.table = bk_strtab_new()};
    struct bk_error err;
    char word[32];
    for (uint32_t i = 0; i < n; i++) {
        int len = i ? snprintf(word, sizeof word, "X_mov_%u", (unsigned)i * 7919) : 0;
        assert_int_equal(bk_strtab_intern(x.table, word, (size_t)len), i);
        x.n_strings += (size_t)len + 1;
    }
    x.strings = malloc(x.n_strings);
    for (size_t i = 0, at = 0; i < n; at += bk_strtab_len(x.table, (uint32_t)i) + 1, i++)
        memcpy(x.strings + at, bk_strtab_str(x.table, (uint32_t)i), bk_strtab_len(x.table, (uint32_t)i) + 1);
    assert_int_equal(bk_strtab_index(&x.index, &x.n_index, x.table, &err), BK_OK);
    return x;
}

static void indexed_free(struct indexed *x)
{
    bk_strtab_free(x->table);
    free(x->strings);
    free(x->index);
}

static int open_indexed(struct bk_strtab **out, const struct indexed *x, struct bk_error *err)
{
    return bk_strtab_open(out, bk_cursor_at(x->strings, x->n_strings, 0, false),
                          bk_cursor_at(x->index, x->n_index, 0, false), err);
}

/* What opens answers as the table does that it was made of. */
static int same_answers(const struct indexed *x)
{
    struct bk_strtab *t;
    struct bk_error err;
    int rc = open_indexed(&t, x, &err);
    if (rc) {
        assert_null(t);
        return rc;
    }
    assert_int_equal(bk_strtab_count(t), bk_strtab_count(x->table));
    for (uint32_t i = 0; i < bk_strtab_count(t); i++) {
        const char *s = bk_strtab_str(x->table, i);
        assert_string_equal(bk_strtab_str(t, i), s);
        assert_int_equal(bk_strtab_len(t, i), strlen(s));
        assert_int_equal(bk_strtab_find(t, s, strlen(s)), i);
    }
    assert_int_equal(bk_strtab_find(t, "X_mov_1", 7), BK_STR_NONE);
    assert_int_equal(bk_strtab_find(t, "X_mov_7919", 9), BK_STR_NONE);
    assert_null(bk_strtab_str(t, bk_strtab_count(t)));
    bk_strtab_free(t);
    return BK_OK;
}

static void index_answers_as_the_table(void **state)
{
    (void)state;
    for (uint32_t n = 1; n < 40; n++) {
        struct indexed x = indexed_new(n);
        assert_int_equal(same_answers(&x), BK_OK);
        indexed_free(&x);
    }
    struct indexed x = indexed_new(20000);
    assert_int_equal(same_answers(&x), BK_OK);
    indexed_free(&x);
}

static void put(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

static uint32_t get(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Whatever a number of the index is changed to: it is refused, or it changed nothing (the tag of a free slot). */
static void lies_in_an_index_are_refused(void **state)
{
    (void)state;
    struct indexed x = indexed_new(N_INDEXED);
    const uint32_t wrong[] = {0, 1, N_INDEXED - 1, N_INDEXED, 0x7fffffff, 0x80000000, BK_STR_NONE - 1, BK_STR_NONE};
    size_t harmless = 0, tried = 0;
    for (size_t at = 0; at < x.n_index; at += 4)
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
            uint32_t old = get(x.index + at);
            if (wrong[i] == old)
                continue;
            put(x.index + at, wrong[i]);
            int rc = same_answers(&x);
            put(x.index + at, old);
            tried++;
            harmless += rc == BK_OK;
            assert_true(rc == BK_OK || rc == BK_EFORMAT);
            assert_true(rc != BK_OK || at >= 8 + 4 * N_INDEXED);
        }
    assert_true(harmless > 0 && harmless < tried / 2);
    struct bk_strtab *t;
    struct bk_error err;
    for (size_t n = 0; n < x.n_index; n++) {
        uint8_t *part = malloc(n + 1);
        memcpy(part, x.index, n);
        assert_int_equal(
            bk_strtab_open(&t, bk_cursor_at(x.strings, x.n_strings, 0, false), bk_cursor_at(part, n, 0, false), &err),
            BK_EFORMAT);
        free(part);
    }
    indexed_free(&x);
}

/* No slot is free: the search for what is not there ends all the same. */
static void a_full_index_ends_a_search(void **state)
{
    (void)state;
    struct indexed x = indexed_new(2000);
    uint8_t *slots = x.index + 8 + 4 * 2000;
    for (uint32_t i = 0; i < get(x.index + 4); i++)
        if (get(slots + 8 * i + 4) == BK_STR_NONE)
            put(slots + 8 * i + 4, 5);
    assert_int_equal(same_answers(&x), BK_OK);
    indexed_free(&x);
}

static void strings_must_fit_their_index(void **state)
{
    (void)state;
    struct bk_error err;
    struct bk_strtab *t;
    struct indexed x = indexed_new(N_INDEXED);
    x.strings[x.n_strings - 1] = 'x'; /* the last has no NUL */
    assert_int_equal(open_indexed(&t, &x, &err), BK_EFORMAT);
    x.strings[x.n_strings - 1] = 0;
    x.strings[x.n_strings - 3] = 0; /* a NUL inside */
    assert_int_equal(open_indexed(&t, &x, &err), BK_EFORMAT);
    indexed_free(&x);
    x = indexed_new(N_INDEXED);
    x.n_strings--;
    assert_int_equal(open_indexed(&t, &x, &err), BK_EFORMAT);
    indexed_free(&x);
}

/* Index and strings agree, but two of the strings are one. */
static void equal_strings_are_refused(void **state)
{
    (void)state;
    struct bk_error err;
    struct bk_strtab *t;
    struct indexed x = indexed_new(3); /* "", X_mov_7919, X_mov_15838 */
    memcpy(x.strings, "\0ab\0ab", 7);
    x.n_strings = 7;
    put(x.index + 8, 1);
    put(x.index + 12, 4);
    put(x.index + 16, 7);
    uint64_t hash[] = {bk_hash64("", 0), bk_hash64("ab", 2), bk_hash64("ab", 2)};
    uint32_t n_slots = get(x.index + 4);
    memset(x.index + 20, 0xff, 8 * n_slots);
    for (uint32_t id = 0; id < 3; id++) {
        uint32_t i = (uint32_t)hash[id] & (n_slots - 1);
        while (get(x.index + 20 + 8 * i + 4) != BK_STR_NONE)
            i = (i + 1) & (n_slots - 1);
        put(x.index + 20 + 8 * i, (uint32_t)(hash[id] >> 32));
        put(x.index + 20 + 8 * i + 4, id);
    }
    assert_int_equal(open_indexed(&t, &x, &err), BK_EFORMAT);
    assert_non_null(strstr(err.message, "strings 2 and 1 are one"));
    indexed_free(&x);
}

static void a_nul_inside_has_no_index(void **state)
{
    (void)state;
    struct bk_error err;
    uint8_t *index;
    size_t size;
    struct bk_strtab *t = bk_strtab_new();
    assert_int_equal(bk_strtab_intern(t, "a\0b", 3), 0);
    assert_int_equal(bk_strtab_index(&index, &size, t, &err), BK_ELIMIT);
    assert_null(index);
    bk_strtab_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_dense_and_stable),     cmocka_unit_test(length_counts_not_nul),
        cmocka_unit_test(strings_stay_where_they_are),  cmocka_unit_test(index_answers_as_the_table),
        cmocka_unit_test(lies_in_an_index_are_refused), cmocka_unit_test(a_full_index_ends_a_search),
        cmocka_unit_test(strings_must_fit_their_index), cmocka_unit_test(equal_strings_are_refused),
        cmocka_unit_test(a_nul_inside_has_no_index),
    };
    return cmocka_run_group_tests_name("base_strtab", tests, NULL, NULL);
}
