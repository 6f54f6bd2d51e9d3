/* Sections, symbols, mapping symbols and unwind ranges against readelf's printed answers. */
#include "image_test.h"

#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const *arguments; /* paths of what the native compiler built: see meson.build */

/* ---- shared objects of every processor -------------------------------- */

static void shared_object(void **state)
{
    const char *arch = *state;
    struct bk_image_file *f = test_open_fixture(test_name("kin.%s.so", arch));
    char *text = test_fixture_text(test_name("kin.%s.so.txt", arch));
    assert_int_equal(f->n_images, 1);
    const struct bk_image *img = &f->images[0];
    assert_int_equal(img->arch, strcmp(arch, "mipsel") == 0 ? BK_ARCH_MIPS : bk_arch_parse(arch));
    assert_int_equal(img->kind, BK_IMAGE_SHARED);
    assert_int_equal(img->big_endian, strcmp(arch, "mips") == 0 || strcmp(arch, "mips64") == 0);
    assert_true(img->has_symtab);
    test_check_sections(img, text);
    test_check_symbols(img, text);
    test_check_unwinds(img, text);
    test_touch(f);
    free(text);
    bk_image_file_close(f);
}

/* Without section headers: functions of .dynsym, bytes and unwind ranges stay what they were. */
static void without_section_headers(void **state)
{
    size_t size;
    struct bk_image_file *whole = test_open_fixture(test_name("kin.%s.so", (const char *)*state));
    uint8_t *bytes = test_fixture(test_name("kin.%s.so", (const char *)*state), &size);
    bool wide = bytes[4] == 2;
    memset(bytes + (wide ? 40 : 32), 0, wide ? 8 : 4); /* e_shoff */
    memset(bytes + (wide ? 60 : 48), 0, 4);            /* e_shnum, e_shstrndx */
    struct bk_image_file *f;
    struct bk_error err;
    assert_int_equal(bk_image_file_parse(&f, "bare", bytes, size, &err), BK_OK);
    assert_int_equal(f->n_troubles, 0);
    const struct bk_image *a = &whole->images[0], *b = &f->images[0];
    assert_false(b->has_symtab);
    size_t n_global = 0, avail_a, avail_b;
    for (size_t i = 0; i < a->n_symbols; i++) {
        const struct bk_symbol *s = &a->symbols[i];
        if (!s->global || s->kind != BK_SYM_FUNC)
            continue;
        const struct bk_symbol *t = test_find_symbol(b, s->addr, s->name);
        assert_non_null(t);
        assert_true(t->dynamic && t->size == s->size && t->thumb == s->thumb);
        const uint8_t *x = bk_image_bytes(a, s->addr, &avail_a), *y = bk_image_bytes(b, s->addr, &avail_b);
        assert_true(x && y && avail_b >= s->size);
        assert_memory_equal(x, y, s->size);
        n_global++;
    }
    assert_true(n_global >= 5);
    assert_true(b->n_unwinds > 0);
    assert_int_equal(a->n_unwinds, b->n_unwinds);
    for (size_t i = 0; i < a->n_unwinds; i++)
        assert_true(a->unwinds[i].addr == b->unwinds[i].addr && a->unwinds[i].size == b->unwinds[i].size);
    test_touch(f);
    bk_image_file_close(f);
    bk_image_file_close(whole);
    free(bytes);
}

/* Every defined function of kin.c is Thumb code but two; exidx entries of the same functions agree. */
static void thumb_bits(void **state)
{
    (void)state;
    struct bk_image_file *f = test_open_fixture("kin.armhf.o");
    const struct bk_image *img = &f->images[0];
    enum bk_mark_kind mark;
    size_t n = 0;
    for (size_t i = 0; i < img->n_symbols; i++) {
        const struct bk_symbol *s = &img->symbols[i];
        if (s->kind != BK_SYM_FUNC)
            continue;
        assert_int_equal(s->thumb, strncmp(s->name, "a32_", 4) != 0);
        assert_int_equal(s->addr & 1, 0);
        assert_true(bk_image_mark_at(&mark, img, s->addr));
        assert_int_equal(mark, s->thumb ? BK_MARK_T32 : BK_MARK_A32);
        for (size_t k = 0; k < img->n_unwinds; k++)
            if (img->unwinds[k].addr == s->addr) {
                assert_int_equal(img->unwinds[k].thumb, s->thumb);
                n++;
            }
    }
    assert_int_equal(n, 10);
    bk_image_file_close(f);
}

/* ---- what the native compiler makes ----------------------------------- */

static void check_native(const char *binary, const char *text_path, enum bk_image_kind kind)
{
    struct bk_image_file *f = test_open(binary);
    size_t n;
    char *text = (char *)test_read(text_path, &n);
    text = realloc(text, n + 1);
    text[n] = '\0';
    assert_int_equal(f->images[0].kind, kind);
    test_check_sections(&f->images[0], text);
    test_check_symbols(&f->images[0], text);
    if (kind != BK_IMAGE_OBJECT)
        test_check_unwinds(&f->images[0], text);
    test_touch(f);
    free(text);
    bk_image_file_close(f);
}

static void native_program(void **state)
{
    (void)state;
    check_native(arguments[1], arguments[2], BK_IMAGE_EXEC);
}

static void native_library(void **state)
{
    (void)state;
    check_native(arguments[3], arguments[4], BK_IMAGE_SHARED);
}

static void native_object(void **state)
{
    (void)state;
    check_native(arguments[5], arguments[6], BK_IMAGE_OBJECT);
}

static void more_than_65536_sections(void **state)
{
    (void)state;
    struct bk_image_file *f = test_open(arguments[7]);
    const struct bk_image *img = &f->images[0];
    size_t n = 0;
    assert_true(img->n_sections > 66000);
    for (size_t i = 0; i < img->n_symbols; i++) {
        const struct bk_symbol *s = &img->symbols[i];
        if (s->kind != BK_SYM_FUNC)
            continue;
        const struct bk_section *in = &img->sections[s->section];
        assert_int_equal(strncmp(in->name, ".text.", 6), 0);
        assert_string_equal(in->name + 6, s->name); /* each function in the section of its name */
        assert_ptr_equal(bk_image_section_at(img, s->addr), in);
        n++;
    }
    assert_int_equal(n, 66000);
    bk_image_file_close(f);
}

/* ---- made-up files ---------------------------------------------------- */

static void overlapping_sections(void **state)
{
    (void)state;
    static const uint8_t code[64] = {0xc3};
    const struct test_section v[] = {
        {".wide", SHT_PROGBITS, .flags = SHF_ALLOC, .addr = 0x1000, .size = 64, .data = code},
        {".low", SHT_PROGBITS, .flags = SHF_ALLOC | SHF_EXECINSTR, .addr = 0x1010, .size = 16, .data = code},
        {".high", SHT_PROGBITS, .flags = SHF_ALLOC | SHF_EXECINSTR, .addr = 0x1018, .size = 16, .data = code},
        {".tbss", SHT_NOBITS, .flags = SHF_ALLOC | SHF_WRITE | SHF_TLS, .addr = 0x1000, .size = 0x1000},
        {".last", SHT_NOBITS, .flags = SHF_ALLOC, .addr = UINT64_MAX - 4, .size = 100},
    };
    static const struct {
        uint64_t addr;
        const char *name;
    } expect[] = {
        {0x0fff, NULL},    {0x1000, ".wide"}, {0x100f, ".wide"},      {0x1010, ".low"},
        {0x101f, ".low"},  {0x1020, ".high"}, {0x1027, ".high"},      {0x1028, ".wide"},
        {0x103f, ".wide"}, {0x1040, NULL},    {UINT64_MAX - 5, NULL}, {UINT64_MAX - 1, ".last"},
    };
    size_t size;
    uint8_t *bytes = test_build(&size, ET_EXEC, EM_X86_64, v, sizeof v / sizeof *v);
    struct bk_image_file *f;
    struct bk_error err;
    assert_int_equal(bk_image_file_parse(&f, "x", bytes, size, &err), BK_OK);
    for (size_t i = 0; i < sizeof expect / sizeof *expect; i++) {
        const struct bk_section *s = bk_image_section_at(&f->images[0], expect[i].addr);
        assert_int_equal(s != NULL, expect[i].name != NULL);
        if (s)
            assert_string_equal(s->name, expect[i].name);
    }
    bk_image_file_close(f);
    free(bytes);
}

static void arch_names(void **state)
{
    (void)state;
    for (int a = BK_ARCH_NONE + 1; a < BK_ARCH_COUNT; a++)
        assert_int_equal(bk_arch_parse(bk_arch_name((enum bk_arch)a)), a);
    assert_int_equal(bk_arch_parse("vax"), BK_ARCH_NONE);
    assert_string_equal(bk_arch_name(BK_ARCH_NONE), "none");
}

/* Files one.s and two.s, each ".file \"one.c\"" with a local and a global function, assembled (files-one.o), linked by ld -r (files.o) and
 * ld -N (files.elf): whose a global symbol is stands in the object of one file alone. */
static void source_files(void **state)
{
    static const struct {
        const char *file, *symbol, *source;
    } expected[] = {
        {"files-one.o", "local_one", "one.c"}, {"files-one.o", "global_one", "one.c"},
        {"files.o", "local_one", "one.c"},     {"files.o", "local_two", "two.c"},
        {"files.o", "global_one", NULL},       {"files.o", "global_two", NULL},
        {"files.elf", "local_one", "one.c"},   {"files.elf", "local_two", "two.c"},
        {"files.elf", "global_one", NULL},     {"files.elf", "global_two", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        struct bk_image_file *f = test_open_fixture(expected[i].file);
        const struct bk_image *img = &f->images[0];
        size_t k = 0;
        while (k < img->n_symbols && strcmp(img->symbols[k].name, expected[i].symbol) != 0)
            k++;
        assert_true(k < img->n_symbols);
        if (expected[i].source)
            assert_string_equal(img->symbols[k].file, expected[i].source);
        else
            assert_null(img->symbols[k].file);
        bk_image_file_close(f);
    }
}

int main(int argc, char **argv)
{
    if (argc != 8)
        return 2;
    arguments = (const char *const *)argv;
    struct CMUnitTest tests[2 * N_ARCHS + 8];
    char names[2 * N_ARCHS][64];
    size_t n = 0;
    for (size_t i = 0; i < N_ARCHS; i++) {
        union {
            const char *in;
            void *out;
        } arch = {test_archs[i]};
        snprintf(names[n], sizeof names[n], "shared object of %s", test_archs[i]);
        tests[n] = (struct CMUnitTest){names[n], shared_object, NULL, NULL, arch.out};
        n++;
        snprintf(names[n], sizeof names[n], "without section headers, %s", test_archs[i]);
        tests[n] = (struct CMUnitTest){names[n], without_section_headers, NULL, NULL, arch.out};
        n++;
    }
    const struct CMUnitTest more[] = {
        cmocka_unit_test(thumb_bits),           cmocka_unit_test(native_program),
        cmocka_unit_test(native_library),       cmocka_unit_test(native_object),
        cmocka_unit_test(overlapping_sections), cmocka_unit_test(more_than_65536_sections),
        cmocka_unit_test(arch_names),           cmocka_unit_test(source_files),
    };
    memcpy(tests + n, more, sizeof more);
    return _cmocka_run_group_tests("elf", tests, sizeof tests / sizeof *tests, NULL, NULL);
}
