/* Files that are cut off, damaged, absurd or made to hurt: each must come back as an image or as an error with a
 * cause, and never take more memory than a small multiple of its size. */
#include "image_test.h"

#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- memory ----------------------------------------------------------- */

/* The linker sends every allocation here (--wrap). The sum of all requests bounds what was ever held. */
static size_t requested;

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);

void *__wrap_malloc(size_t n)
{
    requested += n;
    return __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    requested += n * size;
    return __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
    requested += n;
    return __real_realloc(p, n);
}

static int parse_within_memory(const uint8_t *data, size_t size)
{
    requested = 0;
    int rc = test_parse_anything(data, size);
    if (requested > 32 * size + (64 << 10))
        fail_msg("%zu bytes asked for, of a file of %zu", requested, size);
    return rc;
}

/* ---- damage ----------------------------------------------------------- */

static const char *const fixtures[] = {"kin.amd64.o",      "kin.armhf.so", "kin.mips64.pic.o", "kin.i386.pic.o",
                                       "kin.arm64.linked", "names.gnu.a",  "names.bsd.a"};
#define N_FIXTURES (sizeof fixtures / sizeof *fixtures)

/* A prefix in a block of its own size, so that a tool sees one byte too many being read. */
static void every_prefix(void **state)
{
    (void)state;
    for (size_t k = 0; k < N_FIXTURES; k++) {
        size_t size, n_good = 0;
        uint8_t *whole = test_fixture(fixtures[k], &size);
        for (size_t n = 0; n < size; n++) {
            uint8_t *cut = malloc(n ? n : 1);
            memcpy(cut, whole, n);
            n_good += parse_within_memory(cut, n) == BK_OK;
            free(cut);
        }
        /* Section headers end an ELF file: every prefix of one is an error. */
        if (strstr(fixtures[k], ".a") == NULL || strstr(fixtures[k], ".arm"))
            assert_int_equal(n_good, 0);
        free(whole);
    }
}

static void try_byte(uint8_t *bytes, size_t size, size_t at, uint8_t value)
{
    uint8_t was = bytes[at];
    bytes[at] = value;
    (void)parse_within_memory(bytes, size);
    bytes[at] = was;
}

/* Every value of every byte of the first headers, of one ELF file of each class and one archive; telling values of
 * every byte of all the rest. */
static void every_byte(void **state)
{
    (void)state;
    for (size_t k = 0; k < N_FIXTURES; k++) {
        size_t size, whole_headers = k == 0 || k == 1 || k == 5 ? 68 : 0;
        uint8_t *bytes = test_fixture(fixtures[k], &size);
        for (size_t at = 0; at < whole_headers; at++)
            for (unsigned v = 0; v < 256; v++)
                try_byte(bytes, size, at, (uint8_t)v);
        for (size_t at = whole_headers; at < size; at++) {
            try_byte(bytes, size, at, 0xff);
            try_byte(bytes, size, at, (uint8_t)(bytes[at] + 1));
        }
        free(bytes);
    }
}

static void random_damage(void **state)
{
    (void)state;
    struct bk_rng rng;
    bk_rng_seed(&rng, 2, 0);
    for (size_t k = 0; k < N_FIXTURES; k++) {
        size_t size;
        uint8_t *whole = test_fixture(fixtures[k], &size), *bytes = malloc(size);
        for (int i = 0; i < 1500; i++) {
            memcpy(bytes, whole, size);
            for (uint64_t n = 1 + bk_rng_below(&rng, 16); n > 0; n--)
                bytes[bk_rng_below(&rng, size)] = (uint8_t)bk_rng_u64(&rng);
            (void)parse_within_memory(bytes, size);
        }
        free(bytes);
        free(whole);
    }
}

/* ---- errors say where and why ----------------------------------------- */

static void header_errors(void **state)
{
    (void)state;
    static const struct {
        size_t at, size;
        uint64_t value;
        int code;
        uint64_t offset;
        const char *says;
    } cases[] = {
        {0, 4, 0, BK_EFORMAT, 0, "neither an ELF file nor an ar archive"},
        {4, 1, 3, BK_EFORMAT, 4, "ELF class 3"},
        {5, 1, 3, BK_EFORMAT, 5, "byte order 3"},
        {5, 1, 2, BK_EFORMAT, 16, "ELF type 256"},
        {16, 2, ET_CORE, BK_EUNSUPPORTED, 16, "core dump"},
        {18, 2, EM_RISCV, BK_EUNSUPPORTED, 18, "machine 243 (RISC-V)"},
        {18, 2, 0x7777, BK_EUNSUPPORTED, 18, "machine 30583"},
        {18, 2, EM_386, BK_EFORMAT, 4, "64-bit file for machine 3"},
        {40, 8, 1u << 30, BK_ETRUNCATED, 40, "lies outside"},
        {40, 8, UINT64_MAX, BK_ETRUNCATED, 40, "lies outside"},
        {58, 2, 40, BK_EFORMAT, 58, "section headers of 40 bytes"},
        {60, 2, 0xfeff, BK_ETRUNCATED, 60, "run past"},
        {40, 8, 0, BK_EFORMAT, 0, "neither sections nor segments"},
    };
    size_t size;
    uint8_t *whole = test_fixture("kin.amd64.o", &size), *bytes = malloc(size);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bk_image_file *f;
        struct bk_error err = {0};
        memcpy(bytes, whole, size);
        test_put(bytes + cases[i].at, (unsigned)cases[i].size, cases[i].value);
        assert_int_equal(bk_image_file_parse(&f, "dir/a.o", bytes, size, &err), cases[i].code);
        assert_null(f);
        assert_string_equal(err.file, "dir/a.o");
        assert_int_equal(err.offset, cases[i].offset);
        if (strstr(err.message, cases[i].says) == NULL)
            fail_msg("\"%s\" does not say \"%s\"", err.message, cases[i].says);
    }
    free(bytes);
    free(whole);
}

static void a_missing_file(void **state)
{
    (void)state;
    struct bk_image_file *f;
    struct bk_error err = {0};
    assert_int_equal(bk_image_file_open(&f, FIXTURES "/no-such-file", &err), BK_EIO);
    assert_null(f);
    assert_non_null(strstr(err.file, "no-such-file"));
    assert_int_equal(bk_image_file_open(&f, FIXTURES, &err), BK_EIO);
    bk_image_file_close(NULL);
}

/* ---- absurd symbols and sections -------------------------------------- */

static void put_symbol(uint8_t *at, uint32_t name, uint8_t info, uint16_t section, uint64_t value, uint64_t size)
{
    test_put(at, 4, name);
    at[4] = info;
    at[5] = 0;
    test_put(at + 6, 2, section);
    test_put(at + 8, 8, value);
    test_put(at + 16, 8, size);
}

#define FUNC ((STB_GLOBAL << 4) | STT_FUNC)

static void absurd_symbols(void **state)
{
    (void)state;
    static const uint8_t code[64] = {0xc3};
    static const char names[] = "\0good\0outside\0toolong\0nosection\0good@@V1";
    uint8_t table[24 * 9] = {0};
    put_symbol(table + 24, 1, FUNC, 1, 0x1000, 16);
    put_symbol(table + 48, 6, FUNC, 1, 0x9000, 16);      /* not in its section */
    put_symbol(table + 72, 14, FUNC, 1, 0x1010, 0x1000); /* runs past it */
    put_symbol(table + 96, 22, FUNC, 77, 0x1000, 1);     /* there is no section 77 */
    put_symbol(table + 120, 9999, FUNC, 1, 0x1000, 1);   /* no such name */
    put_symbol(table + 144, 32, FUNC, 1, 0x1000, 16);    /* the first again, with a version */
    put_symbol(table + 168, 1, FUNC, 1, 0x1020, 0);      /* no size */
    put_symbol(table + 192, 1, FUNC, 0, 0x1030, 0);      /* undefined */
    const struct test_section v[] = {
        {".text", SHT_PROGBITS, .flags = SHF_ALLOC | SHF_EXECINSTR, .addr = 0x1000, .size = 64, .data = code},
        {".symtab", SHT_SYMTAB, .link = 3, .entsize = 24, .size = sizeof table, .data = table},
        {".strtab", SHT_STRTAB, .size = sizeof names, .data = names},
        {".far", SHT_PROGBITS, .flags = SHF_ALLOC, .addr = 0x4000, .size = 1u << 30},
    };
    size_t size;
    uint8_t *bytes = test_build(&size, ET_EXEC, EM_X86_64, v, 4);
    struct bk_image_file *f;
    struct bk_error err;
    assert_int_equal(bk_image_file_parse(&f, "x", bytes, size, &err), BK_OK);
    const struct bk_image *img = &f->images[0];
    assert_int_equal(img->n_symbols, 3);
    assert_true(img->symbols[0].addr == 0x1000 && img->symbols[0].size == 16);
    assert_string_equal(img->symbols[0].name, "good");
    assert_true(img->symbols[1].addr == 0x1010 && img->symbols[1].size == 0);
    assert_string_equal(img->symbols[1].name, "toolong");
    assert_true(img->symbols[2].addr == 0x1020 && img->symbols[2].size == 0);
    static const struct {
        uint64_t entry;
        const char *says;
    } troubles[] = {{2, "not inside its section"}, {3, "run past"}, {4, "no section 77"}, {5, "string table"}};
    assert_int_equal(f->n_troubles, 5);
    assert_non_null(strstr(f->troubles[0].message, ".far")); /* a section outside the file */
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(f->troubles[i + 1].offset, 64 + 64 + 24 * troubles[i].entry);
        assert_non_null(strstr(f->troubles[i + 1].message, troubles[i].says));
    }
    bk_image_file_close(f);
    free(bytes);
}

/* A great many symbols that all begin in one long name, all at one address. */
static void shared_endless_name(void **state)
{
    (void)state;
    enum { N = 100000, LENGTH = 1 << 20 };
    static const uint8_t code[64] = {0xc3};
    char *names = malloc(LENGTH);
    uint8_t *table = calloc(N, 24);
    memset(names, 'a', LENGTH);
    names[0] = names[LENGTH - 1] = '\0';
    for (uint32_t i = 1; i < N; i++)
        put_symbol(table + 24 * (size_t)i, 1 + i % 16, FUNC, 1, 0x1000, 1);
    const struct test_section v[] = {
        {".text", SHT_PROGBITS, .flags = SHF_ALLOC | SHF_EXECINSTR, .addr = 0x1000, .size = 64, .data = code},
        {".symtab", SHT_SYMTAB, .link = 3, .entsize = 24, .size = 24 * N, .data = table},
        {".strtab", SHT_STRTAB, .size = LENGTH, .data = names},
    };
    size_t size;
    uint8_t *bytes = test_build(&size, ET_EXEC, EM_X86_64, v, 3);
    assert_int_equal(parse_within_memory(bytes, size), BK_OK);
    free(bytes);
    free(table);
    free(names);
}

/* Many sections that all claim the same bytes: as unwind tables, as targets of relocations, as relocations. */
static void shared_bytes(void **state)
{
    (void)state;
    enum { N = 2000, BYTES = 1 << 16 };
    uint8_t *zeros = calloc(1, BYTES);
    struct test_section *v = calloc(N + 3, sizeof *v);
    v[0] = (struct test_section){".symtab", SHT_SYMTAB, .link = 2, .entsize = 24, .size = BYTES, .data = zeros};
    v[1] = (struct test_section){".strtab", SHT_STRTAB, .size = 1, .data = zeros};
    v[2] = (struct test_section){".text", SHT_PROGBITS, .flags = SHF_ALLOC | SHF_EXECINSTR, .size = 1, .data = zeros};
    for (uint32_t i = 0; i < N; i++)
        v[i + 3] = i % 2 ? (struct test_section){".rela", SHT_RELA, .link = 1, .info = i + 3, .entsize = 24, .size = 0}
                         : (struct test_section){".eh_frame", SHT_PROGBITS, .flags = SHF_ALLOC, .size = 0};
    size_t size;
    uint8_t *bytes = test_build(&size, ET_REL, EM_X86_64, v, N + 3);
    uint8_t *headers = bytes + size - 64 * (N + 5);
    for (size_t i = 4; i < N + 4; i++) {
        test_put(headers + 64 * i + 24, 8, 64);
        test_put(headers + 64 * i + 32, 8, BYTES / 24 * 24);
    }
    assert_int_equal(parse_within_memory(bytes, size), BK_OK);
    free(bytes);
    free(v);
    free(zeros);
}

/* .bss of any size takes no memory; what has no address any more is left out. */
static void endless_bss(void **state)
{
    (void)state;
    static const uint8_t code[16] = {0xc3};
    const struct test_section v[] = {
        {".bss", SHT_NOBITS, .flags = SHF_ALLOC | SHF_WRITE, .size = 1ull << 45},
        {".bss.more", SHT_NOBITS, .flags = SHF_ALLOC | SHF_WRITE, .size = UINT64_MAX},
        {".text", SHT_PROGBITS, .flags = SHF_ALLOC | SHF_EXECINSTR, .size = 16, .data = code},
    };
    size_t size;
    uint8_t *bytes = test_build(&size, ET_REL, EM_X86_64, v, 3);
    assert_int_equal(parse_within_memory(bytes, size), BK_OK);
    struct bk_image_file *f;
    struct bk_error err;
    assert_int_equal(bk_image_file_parse(&f, "x", bytes, size, &err), BK_OK);
    assert_int_equal(f->images[0].sections[2].addr, 0x100000);
    assert_true(f->images[0].sections[0].alloc);
    assert_false(f->images[0].sections[1].alloc);
    assert_int_equal(f->n_troubles, 1);
    assert_int_equal(f->troubles[0].code, BK_ELIMIT);
    bk_image_file_close(f);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_prefix),        cmocka_unit_test(every_byte),     cmocka_unit_test(random_damage),
        cmocka_unit_test(header_errors),       cmocka_unit_test(a_missing_file), cmocka_unit_test(absurd_symbols),
        cmocka_unit_test(shared_endless_name), cmocka_unit_test(shared_bytes),   cmocka_unit_test(endless_bss),
    };
    return cmocka_run_group_tests_name("bad input", tests, NULL, NULL);
}
