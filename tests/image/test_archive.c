/* Archives written by GNU and BSD tools against `ar t`, and archives made up of good and bad members. */
#include "image_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check_names(const char *fixture)
{
    size_t size;
    struct bk_image_file *f = test_open_fixture(fixture);
    uint8_t *file = test_fixture(fixture, &size);
    char *text = test_fixture_text("names.txt");
    size_t n = 0;
    for (char *name = strtok(text, "\n"); name; name = strtok(NULL, "\n")) {
        assert_true(n < f->n_images);
        const struct bk_image *img = &f->images[n];
        assert_string_equal(img->member, name);
        const struct bk_symbol *s = test_symbol_named(img, test_name("member_%zu", n));
        assert_int_equal(s->kind, BK_SYM_FUNC);
        /* Offsets count from the start of the archive. */
        const struct bk_section *text_section = test_section_named(img, ".text");
        assert_true(bk_range_inside(text_section->file_offset, text_section->size, size));
        assert_memory_equal(file + text_section->file_offset, text_section->data, text_section->size);
        n++;
    }
    assert_int_equal(n, f->n_images);
    test_touch(f);
    bk_image_file_close(f);
    free(file);
    free(text);
}

static void gnu_archive(void **state)
{
    (void)state;
    check_names("names.gnu.a");
}

static void bsd_archive(void **state)
{
    (void)state;
    check_names("names.bsd.a");
}

static void thin_archive_is_refused(void **state)
{
    (void)state;
    size_t size;
    uint8_t *bytes = test_fixture("names.thin.a", &size);
    struct bk_image_file *f;
    struct bk_error err;
    assert_int_equal(bk_image_file_parse(&f, "t.a", bytes, size, &err), BK_EUNSUPPORTED);
    assert_non_null(strstr(err.message, "thin archive"));
    free(bytes);
}

/* ---- made up ---------------------------------------------------------- */

struct maker {
    uint8_t *v;
    size_t n;
};

static void append(struct maker *m, const void *data, size_t n)
{
    m->v = realloc(m->v, m->n + n + 1);
    assert_non_null(m->v);
    memcpy(m->v + m->n, data, n);
    m->n += n;
}

static void append_member(struct maker *m, const char *name, const void *data, size_t n)
{
    char header[61];
    snprintf(header, sizeof header, "%-16s%-12d%-6d%-6d%-8s%-10zu`\n", name, 0, 0, 0, "644", n);
    append(m, header, 60);
    append(m, data, n);
    if (n & 1)
        append(m, "\n", 1);
}

static void bad_members_do_not_end_the_reading(void **state)
{
    (void)state;
    size_t size, archive_size;
    uint8_t *object = test_fixture("kin.amd64.o", &size), *archive = test_fixture("names.gnu.a", &archive_size);
    struct maker m = {0};
    append(&m, "!<arch>\n", 8);
    append_member(&m, "readme.txt/", "hello", 5);
    size_t nested = m.n + 60;
    append_member(&m, "nested.a/", archive, archive_size);
    append_member(&m, "empty.o/", "", 0);
    size_t cut = m.n + 60;
    append_member(&m, "cut.o/", object, size / 2);
    append_member(&m, "good.o/", object, size);
    struct bk_image_file *f;
    struct bk_error err;
    assert_int_equal(bk_image_file_parse(&f, "dir/x.a", m.v, m.n, &err), BK_OK);
    assert_int_equal(f->n_images, 1);
    assert_string_equal(f->images[0].member, "good.o");
    assert_int_equal(f->n_troubles, 4);
    assert_string_equal(f->troubles[0].file, "dir/x.a(readme.txt)");
    assert_int_equal(f->troubles[0].code, BK_EFORMAT);
    assert_int_equal(f->troubles[0].offset, 68);
    assert_string_equal(f->troubles[1].file, "dir/x.a(nested.a)");
    assert_int_equal(f->troubles[1].code, BK_EUNSUPPORTED);
    assert_int_equal(f->troubles[1].offset, nested);
    assert_string_equal(f->troubles[2].file, "dir/x.a(empty.o)");
    assert_string_equal(f->troubles[3].file, "dir/x.a(cut.o)");
    assert_int_equal(f->troubles[3].code, BK_ETRUNCATED);
    assert_int_equal(f->troubles[3].offset, cut + 40); /* the field that points past the end */
    test_touch(f);
    bk_image_file_close(f);
    free(m.v);
    free(object);
    free(archive);
}

static void no_good_member_is_an_error(void **state)
{
    (void)state;
    struct maker m = {0};
    struct bk_image_file *f;
    struct bk_error err;
    append(&m, "!<arch>\n", 8);
    assert_int_equal(bk_image_file_parse(&f, "x.a", m.v, m.n, &err), BK_EFORMAT);
    assert_string_equal(err.message, "an archive without members");
    assert_string_equal(err.file, "x.a");
    append_member(&m, "readme.txt/", "hello", 5);
    assert_int_equal(bk_image_file_parse(&f, "x.a", m.v, m.n, &err), BK_EFORMAT);
    assert_string_equal(err.file, "x.a(readme.txt)");
    free(m.v);
}

/* 100 bad members: 64 places, the last of which counts the rest. */
static void troubles_are_capped(void **state)
{
    (void)state;
    size_t size;
    uint8_t *object = test_fixture("kin.i386.o", &size);
    struct maker m = {0};
    append(&m, "!<arch>\n", 8);
    append_member(&m, "good.o/", object, size);
    for (int i = 0; i < 100; i++)
        append_member(&m, "text/", "x", 1);
    struct bk_image_file *f;
    struct bk_error err;
    assert_int_equal(bk_image_file_parse(&f, "x.a", m.v, m.n, &err), BK_OK);
    assert_int_equal(f->n_troubles, BK_MAX_TROUBLES);
    assert_string_equal(f->troubles[BK_MAX_TROUBLES - 1].message, "and 37 more troubles");
    bk_image_file_close(f);
    free(m.v);
    free(object);
}

static void damaged_headers(void **state)
{
    (void)state;
    size_t size;
    uint8_t *object = test_fixture("kin.amd64.o", &size);
    static const struct {
        size_t at;
        const char *bytes;
        int code;
    } damage[] = {
        {58, "xx", BK_EFORMAT},            /* end mark */
        {48, "12a       ", BK_EFORMAT},    /* size */
        {48, "          ", BK_EFORMAT},    /* size */
        {48, "9999999999", BK_ETRUNCATED}, /* size */
    };
    for (size_t i = 0; i < sizeof damage / sizeof *damage; i++) {
        struct maker m = {0};
        append(&m, "!<arch>\n", 8);
        append_member(&m, "first.o/", object, size);
        size_t second = m.n;
        append_member(&m, "second.o/", object, size);
        memcpy(m.v + second + damage[i].at, damage[i].bytes, strlen(damage[i].bytes));
        struct bk_image_file *f;
        struct bk_error err;
        assert_int_equal(bk_image_file_parse(&f, "x.a", m.v, m.n, &err), BK_OK);
        assert_int_equal(f->n_images, 1);
        assert_int_equal(f->n_troubles, 1);
        assert_int_equal(f->troubles[0].code, damage[i].code);
        assert_int_equal(f->troubles[0].offset, second);
        bk_image_file_close(f);
        free(m.v);
    }
    free(object);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gnu_archive),
        cmocka_unit_test(bsd_archive),
        cmocka_unit_test(thin_archive_is_refused),
        cmocka_unit_test(bad_members_do_not_end_the_reading),
        cmocka_unit_test(no_good_member_is_an_error),
        cmocka_unit_test(troubles_are_capped),
        cmocka_unit_test(damaged_headers),
    };
    return cmocka_run_group_tests_name("archive", tests, NULL, NULL);
}
