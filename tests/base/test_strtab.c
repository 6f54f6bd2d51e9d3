/* Words to dense ids and back. */
#include "base/base.h"
#include "cmocka_all.h"

#include <stdio.h>
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_dense_and_stable),
        cmocka_unit_test(length_counts_not_nul),
        cmocka_unit_test(strings_stay_where_they_are),
    };
    return cmocka_run_group_tests_name("base_strtab", tests, NULL, NULL);
}
