/* Imports against readelf and objdump (tests/fixtures/items/make.py), with and without section headers, and in
 * objects against their symbols. */
#include "image_test.h"

#include <stdlib.h>
#include <string.h>

#define ITEMS FIXTURES "/../items/"

static const char *const linked[] = {"amd64.so", "amd64.elf", "i386.so",   "i386.elf",   "armhf.so", "armhf.elf",
                                     "arm64.so", "arm64.elf", "mipsel.so", "mipsel.elf", "mips64.so"};

static void check_listed(const struct bk_image *img, const char *name)
{
    unsigned long long addr;
    char want[64];
    size_t n = 0;
    FILE *f = fopen(test_name(ITEMS "sample.%s.txt", name), "r");
    assert_non_null(f);
    while (fscanf(f, "%llx %63s", &addr, want) == 2) {
        const struct bk_import *import = bk_image_import_at(img, addr);
        const char *got = import ? import->name : NULL;
        if (got == NULL || strcmp(got, want) != 0)
            fail_msg("sample.%s: %s at 0x%llx is %s", name, want, addr, got ? got : "missing");
        n++;
    }
    fclose(f);
    assert_true(n >= 6);
    assert_int_equal(img->n_imports, n);
}

static void as_the_tools_list(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof linked / sizeof *linked; i++) {
        struct bk_image_file *f = test_open(test_name(ITEMS "sample.%s", linked[i]));
        check_listed(&f->images[0], linked[i]);
        assert_int_equal(f->images[0].fixed, strstr(linked[i], ".elf") != NULL);
        bk_image_file_close(f);
    }
}

/* Header fields of 2 bytes at `offset` of an ELF64 or ELF32 file, set to 0: the number of section headers and which
 * names them. */
static void forget_sections(uint8_t *data)
{
    bool is64 = data[4] == 2;
    memset(data + (is64 ? 40 : 32), 0, is64 ? 8 : 4);
    memset(data + (is64 ? 58 : 46), 0, 6);
}

static void without_section_headers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof linked / sizeof *linked; i++) {
        size_t size;
        struct bk_image_file *f;
        uint8_t *data = test_read(test_name(ITEMS "sample.%s", linked[i]), &size);
        forget_sections(data);
        assert_int_equal(bk_image_file_parse(&f, linked[i], data, size, NULL), BK_OK);
        assert_int_equal(f->n_troubles, 0);
        check_listed(&f->images[0], linked[i]);
        bk_image_file_close(f);
        free(data);
    }
}

static void objects_import_what_they_do_not_define(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ARCHS; i++) {
        struct bk_image_file *f = test_open_fixture(test_name("kin.%s.o", test_archs[i]));
        const struct bk_image *img = &f->images[0];
        size_t n = 0;
        for (size_t k = 0; k < img->n_symbols; k++) {
            const struct bk_symbol *s = &img->symbols[k];
            const struct bk_import *import = bk_image_import_at(img, s->addr);
            const char *name = import ? import->name : NULL;
            if (s->kind == BK_SYM_EXTERN)
                assert_string_equal(name, s->name);
            else
                assert_null(name);
            n += s->kind == BK_SYM_EXTERN;
        }
        assert_true(n >= 3);
        assert_int_equal(img->n_imports, n);
        bk_image_file_close(f);
    }
}

/* By member and name, in any order of addresses. */
static void members_import_what_no_other_defines(void **state)
{
    (void)state;
    char member[64], name[64];
    size_t n = 0;
    struct bk_image_file *f = test_open(ITEMS "archive.a");
    FILE *list = fopen(ITEMS "archive.a.txt", "r");
    assert_int_equal(f->n_images, 2);
    assert_non_null(list);
    while (fscanf(list, "%63s %63s", member, name) == 2) {
        const struct bk_image *img = &f->images[strcmp(f->images[0].member, member) == 0 ? 0 : 1];
        assert_string_equal(img->member, member);
        const struct bk_import *import = bk_image_import_at(img, test_symbol_named(img, name)->addr);
        assert_string_equal(import->name, name);
        assert_false(import->inside);
        n++;
    }
    fclose(list);
    assert_int_equal(n, 3);
    size_t inside = 0;
    for (size_t i = 0; i < 2; i++)
        for (size_t k = 0; k < f->images[i].n_imports; k++)
            inside += f->images[i].imports[k].inside;
    assert_int_equal(f->images[0].n_imports + f->images[1].n_imports - inside, n);
    assert_true(inside > 0);
    bk_image_file_close(f);
}

/* A function of its own that a shared object calls through its PLT is none: kin.c exports all that it defines. */
static void own_functions_are_none(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ARCHS; i++) {
        struct bk_image_file *f = test_open_fixture(test_name("kin.%s.so", test_archs[i]));
        const struct bk_image *img = &f->images[0];
        assert_true(img->n_imports >= 3);
        for (size_t k = 0; k < img->n_imports; k++) {
            assert_true(strncmp(img->imports[k].name, "ext_", 4) == 0);
            assert_true(k == 0 || img->imports[k - 1].addr < img->imports[k].addr);
        }
        bk_image_file_close(f);
    }
}

/* Calls between its functions that other files may replace, through stubs, as `objdump -d` names these. */
static void own_functions_are_reached(void **state)
{
    static const struct {
        const char *arch;
        uint64_t first; /* stubs of same_section, other_section and tail, 16 bytes each */
    } files[] = {{"amd64", 0x8e0}, {"i386", 0x7c0}, {"arm64", 0x900}};
    static const char *const called[] = {"same_section", "other_section", "tail"};
    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct bk_image_file *f = test_open_fixture(test_name("kin.%s.so", files[i].arch));
        const struct bk_image *img = &f->images[0];
        for (size_t k = 0; k < 3; k++) {
            uint64_t stub = files[i].first + 16 * k, target = bk_image_forward(img, stub);
            assert_true(target != stub);
            bool found = false;
            for (size_t s = 0; s < img->n_symbols; s++)
                found |= img->symbols[s].addr == target && strcmp(img->symbols[s].name, called[k]) == 0;
            assert_true(found);
        }
        assert_true(bk_image_forward(img, files[i].first + 48) == files[i].first + 48); /* ext_call */
        bk_image_file_close(f);
    }
}

/* The value of tag `tag` in the dynamic section of sample.amd64.so. */
static uint8_t *dynamic_value(uint8_t *data, size_t size, uint64_t tag)
{
    struct bk_image_file *f;
    assert_int_equal(bk_image_file_parse(&f, "whole", data, size, NULL), BK_OK);
    const struct bk_section *s = test_section_named(&f->images[0], ".dynamic");
    assert_non_null(s);
    size_t at = (size_t)s->file_offset, n = (size_t)s->size / 16;
    bk_image_file_close(f);
    for (size_t i = 0; i < n; i++, at += 16)
        if (bk_read_u64(&(struct bk_cursor){.data = data, .size = size, .pos = at}) == tag)
            return data + at + 8;
    fail_msg("no tag %d", (int)tag);
    return NULL;
}

static void tables_outside_the_file(void **state)
{
    static const uint64_t tags[] = {
        2, 8, 23, 7, 6, 5, 10}; /* sizes of .rela.plt and .rela.dyn, both, symbols, strings, their size */
    (void)state;
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++) {
        size_t size;
        struct bk_image_file *f;
        uint8_t *data = test_read(ITEMS "sample.amd64.so", &size);
        uint8_t *value = dynamic_value(data, size, tags[i]);
        memset(value + 2, 0xff, 5);
        assert_int_equal(bk_image_file_parse(&f, "far", data, size, NULL), BK_OK);
        assert_int_equal(f->n_troubles, 1);
        assert_non_null(strstr(f->troubles[0].message, "dynamic"));
        assert_non_null(strstr(f->troubles[0].message, "outside the file"));
        test_touch(f);
        bk_image_file_close(f);
        free(data);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_the_tools_list),
        cmocka_unit_test(without_section_headers),
        cmocka_unit_test(objects_import_what_they_do_not_define),
        cmocka_unit_test(members_import_what_no_other_defines),
        cmocka_unit_test(own_functions_are_none),
        cmocka_unit_test(own_functions_are_reached),
        cmocka_unit_test(tables_outside_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
