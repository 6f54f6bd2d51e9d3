/* Errors, checked sizes, arena and byte cursor. */
#include "base/base.h"
#include "cmocka_all.h"

#include <stdlib.h>
#include <string.h>

/* ---- errors ---------------------------------------------------------- */

static void error_is_filled(void **state)
{
    (void)state;
    struct bk_error err = {0};
    bk_error_file(&err, "a.o", NULL);
    assert_int_equal(bk_fail(&err, BK_EFORMAT, 16, "section %d\n\x1b[31m", 3), BK_EFORMAT);
    assert_int_equal(err.code, BK_EFORMAT);
    assert_int_equal(err.offset, 16);
    assert_string_equal(err.file, "a.o");
    assert_string_equal(err.message, "section 3??[31m");
    assert_int_equal(bk_fail(NULL, BK_EIO, 0, "nobody listens"), BK_EIO);
    bk_error_file(NULL, "a.o", NULL);
}

static void error_is_formatted(void **state)
{
    (void)state;
    struct bk_error err = {0};
    char line[64];
    bk_fail(&err, BK_EIO, BK_NO_OFFSET, "gone");
    assert_string_equal(bk_error_format(line, sizeof line, &err), "gone");
    bk_error_file(&err, "lib.a", "x.o");
    err.offset = 255;
    assert_string_equal(bk_error_format(line, sizeof line, &err), "lib.a(x.o): gone (at offset 0xff)");
    assert_string_equal(bk_error_format(line, 6, &err), "lib.a");
    err = (struct bk_error){.code = BK_ENOMEM, .offset = BK_NO_OFFSET};
    assert_string_equal(bk_error_format(line, sizeof line, &err), "out of memory");
    assert_string_equal(bk_strerror(BK_OK), "success");
    assert_string_equal(bk_strerror(BK_ECANCELLED), "cancelled");
    assert_string_equal(bk_strerror(1), "unknown error");
}

static void long_path_keeps_its_end(void **state)
{
    (void)state;
    struct bk_error err = {0};
    char path[600];
    memset(path, 'd', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    memcpy(path + sizeof path - 7, "/lib.a", 6);
    bk_error_file(&err, path, "member.o");
    assert_int_equal(strlen(err.file), sizeof err.file - 1);
    assert_memory_equal(err.file, "...ddd", 6);
    assert_string_equal(err.file + strlen(err.file) - 16, "/lib.a(member.o)");
    /* exactly as long as there is room: nothing cut */
    path[sizeof err.file - 1] = '\0';
    bk_error_file(&err, path, NULL);
    assert_string_equal(err.file, path);
    /* one more: cut */
    path[sizeof err.file - 1] = 'd';
    path[sizeof err.file] = '\0';
    bk_error_file(&err, path, NULL);
    assert_int_equal(strlen(err.file), sizeof err.file - 1);
    assert_memory_equal(err.file, "...ddd", 6);
    bk_error_file(&err, "a\nb", "\x1b[2J");
    assert_string_equal(err.file, "a?b(?[2J)");
}

/* ---- sizes and memory ------------------------------------------------- */

static void sizes_are_checked(void **state)
{
    (void)state;
    size_t v;
    assert_true(bk_add_size(&v, SIZE_MAX - 1, 1));
    assert_true(v == SIZE_MAX);
    assert_false(bk_add_size(&v, SIZE_MAX, 1));
    assert_true(bk_mul_size(&v, SIZE_MAX / 3, 3));
    assert_false(bk_mul_size(&v, SIZE_MAX / 3 + 1, 3));
    assert_true(bk_range_inside(0, 0, 0));
    assert_true(bk_range_inside(4, 6, 10));
    assert_false(bk_range_inside(4, 7, 10));
    assert_false(bk_range_inside(11, 0, 10));
    assert_false(bk_range_inside(UINT64_MAX, 2, 10));
    assert_false(bk_range_inside(2, UINT64_MAX, 10));
    assert_null(bk_calloc(SIZE_MAX / 2, 3));
    void *nothing = bk_calloc(0, 8);
    assert_non_null(nothing);
    free(nothing);
    assert_null(bk_alloc_large(SIZE_MAX / 2, 3));
    for (size_t size = 0; size < 9 << 20; size = 3 * size + 40) {
        uint8_t *large = bk_alloc_large(size, 1);
        assert_non_null(large);
        assert_int_equal((uintptr_t)large % 64, 0);
        memset(large, 1, size);
        free(large);
    }
}

static void array_grows(void **state)
{
    (void)state;
    struct {
        uint64_t *v;
        size_t n, cap;
    } a = {0};
    for (uint64_t i = 0; i < 10000; i++) {
        assert_true(BK_GROW(a));
        a.v[a.n++] = i;
    }
    for (uint64_t i = 0; i < 10000; i++)
        assert_int_equal(a.v[i], i);
    uint64_t *before = a.v;
    assert_false(bk_grow(&a.v, &a.cap, SIZE_MAX / 4, sizeof *a.v));
    assert_ptr_equal(a.v, before);
    assert_int_equal(a.v[9999], 9999);
    free(a.v);
}

static void arena_gives_zeroed_aligned_memory(void **state)
{
    (void)state;
    struct bk_arena *a = bk_arena_new();
    assert_non_null(a);
    void *first = bk_arena_alloc(a, 1, 1);
    bk_arena_reset(a);
    for (int round = 0; round < 3; round++) {
        for (size_t size = 0; size < 9000; size = size * 5 / 4 + 1) {
            unsigned char *p = bk_arena_alloc(a, size, 1);
            assert_non_null(p);
            assert_int_equal((uintptr_t)p % 16, 0);
            for (size_t i = 0; i < size; i++)
                assert_int_equal(p[i], 0);
            memset(p, 0xee, size);
            if (size == 0)
                assert_ptr_equal(p, first); /* the memory is used again */
        }
        bk_arena_reset(a);
    }
    assert_null(bk_arena_alloc(a, SIZE_MAX, 1));
    assert_null(bk_arena_alloc(a, SIZE_MAX / 2, 3));
    bk_arena_free(a);
    bk_arena_free(NULL);
}

static void arena_objects_do_not_overlap(void **state)
{
    (void)state;
    enum { N = 3000 };
    struct bk_arena *a = bk_arena_new();
    uint32_t *v[N];
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < N; i++) {
            v[i] = bk_arena_alloc(a, 1 + i % 40, sizeof **v);
            assert_non_null(v[i]);
            for (uint32_t j = 0; j < 1 + i % 40; j++)
                v[i][j] = i;
        }
        for (uint32_t i = 0; i < N; i++)
            for (uint32_t j = 0; j < 1 + i % 40; j++)
                assert_int_equal(v[i][j], i);
        bk_arena_reset(a);
    }
    bk_arena_free(a);
}

static void arena_holds_strings(void **state)
{
    (void)state;
    struct bk_arena *a = bk_arena_new();
    assert_string_equal(bk_arena_strndup(a, "function", 4), "func");
    assert_string_equal(bk_arena_strndup(a, NULL, 0), "");
    assert_string_equal(bk_arena_printf(a, "%s-%d", "O", 3), "O-3");
    char *longer = bk_arena_printf(a, "%9000d", 7);
    assert_int_equal(strlen(longer), 9000);
    bk_arena_free(a);
}

/* ---- cursor ----------------------------------------------------------- */

static void numbers_in_both_orders(void **state)
{
    (void)state;
    static const uint8_t b[] = {0x80, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 0xf0};
    struct bk_cursor c = bk_cursor_at(b, sizeof b, 0, false);
    assert_int_equal(bk_read_u8(&c), 0x80);
    assert_int_equal(bk_read_u16(&c), 0x0201);
    assert_int_equal(bk_read_u32(&c), 0x06050403);
    assert_int_equal(bk_read_u64(&c), 0xf00d0c0b0a090807u);
    assert_false(c.failed);
    c = bk_cursor_at(b, sizeof b, 0, true);
    assert_int_equal(bk_read_u8(&c), 0x80);
    assert_int_equal(bk_read_u16(&c), 0x0102);
    assert_int_equal(bk_read_u32(&c), 0x03040506);
    assert_int_equal(bk_read_u64(&c), 0x0708090a0b0c0df0u);
    assert_false(c.failed);
    assert_int_equal(c.pos, sizeof b);
}

/* A heap copy of exactly `size` bytes, so that the sanitizer sees one byte too many. */
static struct bk_cursor exact_cursor(uint8_t **owner, const void *data, size_t size)
{
    *owner = malloc(size ? size : 1);
    memcpy(*owner, data, size);
    return bk_cursor_at(*owner, size, 0, false);
}

static void cut_record_fails_and_sticks(void **state)
{
    (void)state;
    static const uint8_t b[15] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    for (size_t size = 0; size <= sizeof b; size++) {
        uint8_t *owner;
        struct bk_cursor c = exact_cursor(&owner, b, size);
        bk_read_u8(&c);
        bk_read_u16(&c);
        bk_read_u32(&c);
        uint64_t last = bk_read_u64(&c);
        assert_int_equal(c.failed, size < sizeof b);
        assert_int_equal(last, size < sizeof b ? 0 : 0x0101010101010101u);
        if (c.failed) { /* also where a smaller read would fit */
            assert_int_equal(bk_read_u8(&c), 0);
            assert_null(bk_read_bytes(&c, 0));
            assert_null(bk_read_str(&c));
            assert_int_equal(bk_read_uleb(&c), 0);
            assert_true(c.failed);
        }
        free(owner);
    }
}

static void cursor_starts_inside(void **state)
{
    (void)state;
    static const uint8_t b[4] = {1, 2, 3, 4};
    assert_false(bk_cursor_at(b, 4, 4, false).failed);
    assert_true(bk_cursor_at(b, 4, 5, false).failed);
    assert_true(bk_cursor_at(b, 4, SIZE_MAX, false).failed);
    struct bk_cursor c = bk_cursor_at(NULL, 0, 0, false);
    assert_non_null(bk_read_bytes(&c, 0));
    assert_false(c.failed);
    bk_read_u8(&c);
    assert_true(c.failed);
    c = bk_cursor_at(b, 4, 2, false);
    assert_ptr_equal(bk_read_bytes(&c, 2), b + 2);
    c = bk_cursor_at(b, 4, 2, false);
    assert_null(bk_read_bytes(&c, SIZE_MAX - 1));
    assert_true(c.failed);
}

static void strings_need_their_nul(void **state)
{
    (void)state;
    uint8_t *owner;
    struct bk_cursor c = exact_cursor(&owner, "ab\0\0cd", 6);
    assert_string_equal(bk_read_str(&c), "ab");
    assert_string_equal(bk_read_str(&c), "");
    assert_int_equal(c.pos, 4);
    assert_null(bk_read_str(&c));
    assert_true(c.failed);
    free(owner);
}

struct leb_case {
    const char *bytes;
    size_t n;
    bool fails;
    uint64_t u; /* bits of the value */
};

static void check_leb(const struct leb_case *v, size_t n, bool is_signed)
{
    for (size_t i = 0; i < n; i++) {
        uint8_t *owner;
        struct bk_cursor c = exact_cursor(&owner, v[i].bytes, v[i].n);
        uint64_t got = is_signed ? (uint64_t)bk_read_sleb(&c) : bk_read_uleb(&c);
        if (c.failed != v[i].fails || got != v[i].u)
            fail_msg("case %zu: %llx, failed %d", i, (unsigned long long)got, c.failed);
        assert_true(v[i].fails || c.pos == v[i].n);
        free(owner);
    }
}
#define LEB(s, value)                                                                                                  \
    {                                                                                                                  \
        s, sizeof s - 1, false, (uint64_t)(value)                                                                      \
    }
#define BAD_LEB(s)                                                                                                     \
    {                                                                                                                  \
        s, sizeof s - 1, true, 0                                                                                       \
    }
#define FF9 "\xff\xff\xff\xff\xff\xff\xff\xff\xff"
#define Z9  "\x80\x80\x80\x80\x80\x80\x80\x80\x80"

/* Figures 22 and 23 of the DWARF 5 standard, then the edges of 64 bits. */
static void leb_unsigned(void **state)
{
    (void)state;
    static const struct leb_case v[] = {
        LEB("\x02", 2),
        LEB("\x7f", 127),
        LEB("\x80\x01", 128),
        LEB("\x81\x01", 129),
        LEB("\x82\x01", 130),
        LEB("\xb9\x64", 12857),
        LEB(FF9 "\x01", UINT64_MAX),
        LEB(Z9 "\x01", 1ull << 63),
        LEB(Z9 "\x00", 0),
        LEB("\x81" Z9 "\x80\x80\x00", 1),
        BAD_LEB(FF9 "\x02"),
        BAD_LEB(FF9 "\x03"),
        BAD_LEB(Z9 "\x7f"),
        BAD_LEB(Z9 "\x80\x01"),
        BAD_LEB(""),
        BAD_LEB("\x80"),
        BAD_LEB(FF9),
    };
    check_leb(v, sizeof v / sizeof *v, false);
}

static void leb_signed(void **state)
{
    (void)state;
    static const struct leb_case v[] = {
        LEB("\x02", 2),
        LEB("\x7e", -2),
        LEB("\xff\x00", 127),
        LEB("\x81\x7f", -127),
        LEB("\x80\x01", 128),
        LEB("\x80\x7f", -128),
        LEB("\x81\x01", 129),
        LEB("\xff\x7e", -129),
        LEB("\x7f", -1),
        LEB("\x40", -64),
        LEB("\x3f", 63),
        LEB(FF9 "\x00", INT64_MAX),
        LEB(Z9 "\x7f", INT64_MIN),
        LEB(FF9 "\x7f", -1),
        LEB(FF9 "\xff\xff\x7f", -1),
        LEB("\x81" Z9 "\x80\x00", 1),
        BAD_LEB(FF9 "\x01"),
        BAD_LEB(Z9 "\x3f"),
        BAD_LEB(Z9 "\x40"),
        BAD_LEB(FF9 "\xff\x00"),
        BAD_LEB(FF9 "\x80\x7f"),
        BAD_LEB("\xff"),
    };
    check_leb(v, sizeof v / sizeof *v, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(error_is_filled),
        cmocka_unit_test(error_is_formatted),
        cmocka_unit_test(long_path_keeps_its_end),
        cmocka_unit_test(sizes_are_checked),
        cmocka_unit_test(array_grows),
        cmocka_unit_test(arena_gives_zeroed_aligned_memory),
        cmocka_unit_test(arena_objects_do_not_overlap),
        cmocka_unit_test(arena_holds_strings),
        cmocka_unit_test(numbers_in_both_orders),
        cmocka_unit_test(cut_record_fails_and_sticks),
        cmocka_unit_test(cursor_starts_inside),
        cmocka_unit_test(strings_need_their_nul),
        cmocka_unit_test(leb_unsigned),
        cmocka_unit_test(leb_signed),
    };
    return cmocka_run_group_tests_name("base_bytes", tests, NULL, NULL);
}
