/* Shared by the tests of this room: fixtures, references printed by readelf, files made up byte by byte. */
#ifndef BK_IMAGE_TEST_H
#define BK_IMAGE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "image/image.h"

#define N_ARCHS 7
extern const char *const test_archs[N_ARCHS];

/* A file's bytes on the heap, so that tools see every step outside. Free with free(). */
uint8_t *test_read(const char *path, size_t *size);
uint8_t *test_fixture(const char *name, size_t *size); /* of tests/fixtures/image */
char *test_fixture_text(const char *name);             /* NUL-terminated */
/* Opens a fixture; fails the test unless it gives images and no troubles. */
struct bk_image_file *test_open(const char *path);
struct bk_image_file *test_open_fixture(const char *name);
/* printf into a static buffer. */
const char *test_name(const char *fmt, ...) BK_PRINTF(1, 2);

const struct bk_symbol *test_find_symbol(const struct bk_image *img, uint64_t addr, const char *name);
const struct bk_symbol *test_symbol_named(const struct bk_image *img, const char *name);
const struct bk_section *test_section_named(const struct bk_image *img, const char *name);

/* What `readelf -SsW`, --debug-dump=frames and -uW printed must be exactly what the image has. */
void test_check_sections(const struct bk_image *img, const char *text);
void test_check_symbols(const struct bk_image *img, const char *text);
void test_check_unwinds(const struct bk_image *img, const char *text);

/* Reads every byte and pointer that an opened file offers, and checks what image.h promises. */
void test_touch(const struct bk_image_file *f);
/* Parses bytes that may be anything: they must come back as a good file or as an error with a cause. */
int test_parse_anything(const uint8_t *data, size_t size);

/* A 64-bit little-endian ELF file built from parts; section 0 and .shstrtab are added. */
struct test_section {
    const char *name;
    uint32_t type, link, info;
    uint64_t flags, addr, size, entsize; /* size: of data, or of memory for NOBITS */
    const void *data;
};
uint8_t *test_build(size_t *size, uint16_t type, uint16_t machine, const struct test_section *v, size_t n);
void test_put(uint8_t *at, unsigned size, uint64_t value); /* little-endian */

#endif
