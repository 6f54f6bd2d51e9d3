#include "image_test.h"

#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const test_archs[N_ARCHS] = {"amd64", "i386", "armhf", "arm64", "mips", "mipsel", "mips64"};

/* ---- files ------------------------------------------------------------ */

uint8_t *test_read(const char *path, size_t *size)
{
    struct bk_map map;
    struct bk_error err;
    assert_int_equal(bk_map_open(&map, path, &err), BK_OK);
    uint8_t *copy = malloc(map.size ? map.size : 1);
    assert_non_null(copy);
    memcpy(copy, map.data, map.size);
    *size = map.size;
    bk_map_close(&map);
    return copy;
}

const char *test_name(const char *fmt, ...)
{
    static char buffer[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(buffer, sizeof buffer, fmt, ap);
    va_end(ap);
    return buffer;
}

uint8_t *test_fixture(const char *name, size_t *size)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", FIXTURES, name);
    return test_read(path, size);
}

char *test_fixture_text(const char *name)
{
    size_t n;
    char *text = (char *)test_fixture(name, &n);
    text = realloc(text, n + 1);
    assert_non_null(text);
    text[n] = '\0';
    return text;
}

struct bk_image_file *test_open(const char *path)
{
    struct bk_image_file *f;
    struct bk_error err = {0};
    if (bk_image_file_open(&f, path, &err) != BK_OK)
        fail_msg("%s: %s", path, err.message);
    if (f->n_troubles > 0)
        fail_msg("%s: %s", path, f->troubles[0].message);
    return f;
}

struct bk_image_file *test_open_fixture(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", FIXTURES, name);
    return test_open(path);
}

/* ---- lookups ---------------------------------------------------------- */

static size_t first_symbol_at(const struct bk_image *img, uint64_t addr)
{
    size_t low = 0, high = img->n_symbols;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (img->symbols[mid].addr < addr)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

const struct bk_symbol *test_find_symbol(const struct bk_image *img, uint64_t addr, const char *name)
{
    for (size_t i = first_symbol_at(img, addr); i < img->n_symbols && img->symbols[i].addr == addr; i++)
        if (strcmp(img->symbols[i].name, name) == 0)
            return &img->symbols[i];
    return NULL;
}

const struct bk_symbol *test_symbol_named(const struct bk_image *img, const char *name)
{
    for (size_t i = 0; i < img->n_symbols; i++)
        if (strcmp(img->symbols[i].name, name) == 0)
            return &img->symbols[i];
    fail_msg("no symbol %s", name);
    return NULL;
}

const struct bk_section *test_section_named(const struct bk_image *img, const char *name)
{
    for (size_t i = 0; i < img->n_sections; i++)
        if (strcmp(img->sections[i].name, name) == 0)
            return &img->sections[i];
    return NULL;
}

/* ---- references ------------------------------------------------------- */

static const char *next_line(const char *at)
{
    const char *end = strchr(at, '\n');
    return end ? end + 1 : at + strlen(at);
}

void test_check_sections(const struct bk_image *img, const char *text)
{
    size_t seen = 0;
    for (const char *at = text; *at; at = next_line(at)) {
        char name[128];
        unsigned long long addr, offset, size;
        unsigned i;
        if (sscanf(at, " [%u] %127s %*s %llx %llx %llx", &i, name, &addr, &offset, &size) != 5 || i == 0)
            continue;
        assert_in_range(i, 1, img->n_sections);
        const struct bk_section *s = &img->sections[i - 1];
        assert_string_equal(s->name, name);
        assert_int_equal(s->size, size);
        assert_int_equal(s->file_offset, offset);
        if (img->kind != BK_IMAGE_OBJECT)
            assert_int_equal(s->addr, addr);
        seen++;
    }
    const struct bk_section *last = &img->sections[img->n_sections - 1];
    bool made_up = img->kind == BK_IMAGE_OBJECT && strcmp(last->name, ".got") == 0 && last->file_offset == 0;
    assert_int_equal(seen, img->n_sections - made_up);
}

struct readelf_symbol {
    unsigned index;
    unsigned long long value, size;
    char type[16], bind[16], section[16], name[2048];
};

/* "  12: 00000574 23 FUNC GLOBAL DEFAULT [<other>: 8] 10 leaf@V" */
static bool parse_symbol(struct readelf_symbol *s, const char *line)
{
    char size[32];
    int used = 0;
    s->name[0] = '\0';
    if (sscanf(line, " %u: %llx %31s %15s %15s %*s%n", &s->index, &s->value, size, s->type, s->bind, &used) != 5 ||
        used == 0)
        return false;
    s->size = strtoull(size, NULL, 0);
    const char *rest = line + used;
    while (*rest == ' ')
        rest++;
    if (*rest == '[')
        rest = strchr(rest, ']') + 1;
    const char *end = strchr(rest, '\n');
    int width = (int)(end ? (size_t)(end - rest) : strlen(rest));
    char tail[2100];
    snprintf(tail, sizeof tail, "%.*s", width, rest);
    if (sscanf(tail, " %15s %2047s", s->section, s->name) < 1)
        return false;
    s->name[strcspn(s->name, "@")] = '\0';
    return true;
}

static bool is_mark(const struct bk_image *img, const struct readelf_symbol *s, enum bk_mark_kind *kind)
{
    static const char letters[] = "atxd";
    if (img->arch != BK_ARCH_ARM && img->arch != BK_ARCH_ARM64)
        return false;
    if (s->name[0] != '$' || s->name[1] == '\0' || strchr(letters, s->name[1]) == NULL ||
        (s->name[2] != '\0' && s->name[2] != '.'))
        return false;
    *kind = (enum bk_mark_kind)(strchr(letters, s->name[1]) - letters);
    return strcmp(s->type, "NOTYPE") == 0;
}

static void check_mark(const struct bk_image *img, uint64_t addr, enum bk_mark_kind kind)
{
    enum bk_mark_kind got = BK_MARK_DATA;
    assert_true(bk_image_mark_at(&got, img, addr));
    assert_int_equal(got, kind);
}

static void check_symbol(const struct bk_image *img, const struct readelf_symbol *s, uint64_t addr, bool *seen)
{
    bool func = strcmp(s->type, "FUNC") == 0 || strcmp(s->type, "IFUNC") == 0;
    bool thumb = img->arch == BK_ARCH_ARM && func && (addr & 1);
    const struct bk_symbol *got = test_find_symbol(img, thumb ? addr - 1 : addr, s->name);
    if (got == NULL)
        fail_msg("symbol %s at 0x%llx is missing", s->name, (unsigned long long)addr);
    seen[got - img->symbols] = true;
    if (strcmp(s->section, "UND") == 0) {
        assert_int_equal(got->kind, BK_SYM_EXTERN);
        return;
    }
    assert_int_equal(got->size, s->size);
    assert_int_equal(got->thumb, thumb);
    assert_int_equal(got->global, strcmp(s->bind, "LOCAL") != 0);
    assert_int_equal(got->weak, strcmp(s->bind, "WEAK") == 0);
    assert_int_equal(got->kind, func ? BK_SYM_FUNC : strcmp(s->type, "OBJECT") == 0 ? BK_SYM_OBJECT : BK_SYM_OTHER);
}

void test_check_symbols(const struct bk_image *img, const char *text)
{
    bool *seen = calloc(img->n_symbols + 1, sizeof *seen);
    size_t n_marks = 0;
    for (const char *at = text; *at; at = next_line(at)) {
        struct readelf_symbol s;
        enum bk_mark_kind mark;
        if (!parse_symbol(&s, at) || s.name[0] == '\0' || strcmp(s.type, "SECTION") == 0 ||
            strcmp(s.type, "FILE") == 0 || strcmp(s.type, "TLS") == 0)
            continue;
        bool undefined = strcmp(s.section, "UND") == 0, object = img->kind == BK_IMAGE_OBJECT;
        if (undefined && !object)
            continue;
        size_t section = strtoul(s.section, NULL, 10);
        uint64_t addr = s.value + (object && section > 0 ? img->sections[section - 1].addr : 0);
        if (undefined)
            addr = test_symbol_named(img, s.name)->addr;
        if (!is_mark(img, &s, &mark)) {
            check_symbol(img, &s, addr, seen);
        } else if (section > 0 && img->sections[section - 1].alloc &&
                   addr < img->sections[section - 1].addr + img->sections[section - 1].size) {
            check_mark(img, addr, mark);
            n_marks++;
        }
    }
    for (size_t i = 0; i < img->n_symbols; i++)
        if (!seen[i])
            fail_msg("symbol %s is not in readelf's list", img->symbols[i].name);
    assert_int_equal(n_marks, img->n_marks);
    free(seen);
}

static const struct bk_unwind *unwind_at(const struct bk_image *img, uint64_t addr)
{
    for (size_t i = 0; i < img->n_unwinds; i++)
        if (img->unwinds[i].addr == addr)
            return &img->unwinds[i];
    fail_msg("no unwind range at 0x%llx", (unsigned long long)addr);
    return NULL;
}

void test_check_unwinds(const struct bk_image *img, const char *text)
{
    size_t n = 0;
    for (const char *at = text; *at; at = next_line(at)) {
        unsigned long long begin, end, scratch;
        if (*at == '\n') /* sscanf would go on to the next line */
            continue;
        if (sscanf(at, "%llx %llx %llx FDE cie=%llx pc=%llx..%llx", &scratch, &scratch, &scratch, &scratch, &begin,
                   &end) == 6) {
            assert_int_equal(unwind_at(img, begin)->size, end - begin);
            n++;
        } else if (strncmp(at, "0x", 2) == 0 && sscanf(at, "%llx", &begin) == 1) {
            if (bk_image_section_at(img, begin) == NULL) /* the entry that ends the table */
                continue;
            assert_int_equal(unwind_at(img, begin)->size, 0);
            n++;
        }
    }
    assert_int_equal(n, img->n_unwinds);
}

/* ---- any file --------------------------------------------------------- */

static volatile uint8_t sink;

static void touch_image(const struct bk_image *img)
{
    enum bk_mark_kind mark;
    size_t avail;
    assert_true(img->arch > BK_ARCH_NONE && img->arch < BK_ARCH_COUNT);
    for (size_t i = 0; i < img->n_sections; i++) {
        const struct bk_section *s = &img->sections[i];
        assert_non_null(s->name);
        if (s->data && s->size > 0)
            sink ^= s->data[0] ^ s->data[s->size / 2] ^ s->data[s->size - 1];
        if (s->alloc && s->size > 0)
            assert_non_null(bk_image_section_at(img, s->addr));
    }
    for (size_t i = 0; i < img->n_symbols; i++) {
        const struct bk_symbol *s = &img->symbols[i];
        assert_true(s->name[0] != '\0');
        assert_true(s->section == BK_NO_SECTION || s->section < img->n_sections);
        if (i > 0) {
            const struct bk_symbol *before = s - 1;
            assert_true(before->addr < s->addr || (before->addr == s->addr && strcmp(before->name, s->name) < 0));
        }
        if (s->kind == BK_SYM_FUNC && s->section != BK_NO_SECTION) {
            const struct bk_section *in = &img->sections[s->section];
            assert_true(s->addr >= in->addr && bk_range_inside(s->addr - in->addr, s->size, in->size));
        }
        const uint8_t *bytes = bk_image_bytes(img, s->addr, &avail);
        if (bytes)
            sink ^= bytes[0] ^ bytes[avail - 1];
        (void)bk_image_mark_at(&mark, img, s->addr);
    }
    for (size_t i = 0; i < img->n_unwinds; i++) {
        assert_true(i == 0 || img->unwinds[i - 1].addr < img->unwinds[i].addr);
        const struct bk_section *in = bk_image_section_at(img, img->unwinds[i].addr);
        assert_true(in && in->exec);
    }
    for (size_t i = 1; i < img->n_marks; i++)
        assert_true(img->marks[i - 1].addr < img->marks[i].addr);
    for (size_t i = 0; i < img->n_imports; i++) {
        assert_true(img->imports[i].name[0] != '\0');
        assert_true(i == 0 || img->imports[i - 1].addr < img->imports[i].addr);
    }
    for (size_t i = 1; i < img->n_forwards; i++)
        assert_true(img->forwards[i - 1].addr < img->forwards[i].addr);
}

void test_touch(const struct bk_image_file *f)
{
    assert_true(f->n_images > 0);
    assert_true(f->n_troubles <= BK_MAX_TROUBLES);
    for (size_t i = 0; i < f->n_images; i++)
        touch_image(&f->images[i]);
    for (size_t i = 0; i < f->n_troubles; i++) {
        assert_true(f->troubles[i].code < 0);
        assert_true(f->troubles[i].message[0] && f->troubles[i].file[0]);
    }
}

int test_parse_anything(const uint8_t *data, size_t size)
{
    struct bk_image_file *f;
    struct bk_error err = {0};
    int rc = bk_image_file_parse(&f, "made-up", data, size, &err);
    if (rc == BK_OK) {
        test_touch(f);
    } else {
        assert_null(f);
        assert_int_equal(err.code, rc);
        assert_true(err.message[0] != '\0');
        assert_int_equal(strncmp(err.file, "made-up", 7), 0);
        assert_true(err.offset == BK_NO_OFFSET || err.offset <= size);
    }
    bk_image_file_close(f);
    return rc;
}

/* ---- files made up ---------------------------------------------------- */

void test_put(uint8_t *at, unsigned size, uint64_t value)
{
    for (unsigned i = 0; i < size; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

static void put_section_header(uint8_t *h, uint32_t name, const struct test_section *s, uint64_t offset)
{
    test_put(h, 4, name);
    test_put(h + 4, 4, s->type);
    test_put(h + 8, 8, s->flags);
    test_put(h + 16, 8, s->addr);
    test_put(h + 24, 8, offset);
    test_put(h + 32, 8, s->size);
    test_put(h + 40, 4, s->link);
    test_put(h + 44, 4, s->info);
    test_put(h + 48, 8, 1);
    test_put(h + 56, 8, s->entsize);
}

uint8_t *test_build(size_t *size, uint16_t type, uint16_t machine, const struct test_section *v, size_t n)
{
    size_t names = 1, data = 0;
    for (size_t i = 0; i < n; i++) {
        names += strlen(v[i].name) + 1;
        data += v[i].data ? v[i].size : 0;
    }
    size_t shoff = 64 + data + names, total = shoff + 64 * (n + 2);
    uint8_t *out = calloc(1, total);
    assert_non_null(out);
    memcpy(out, "\177ELF\2\1\1", 7);
    test_put(out + 16, 2, type);
    test_put(out + 18, 2, machine);
    test_put(out + 20, 4, 1);
    test_put(out + 40, 8, shoff);
    test_put(out + 52, 2, 64);
    test_put(out + 58, 2, 64);
    test_put(out + 60, 2, n + 2);
    test_put(out + 62, 2, n + 1);
    size_t at = 64, name = 1;
    for (size_t i = 0; i < n; i++) {
        put_section_header(out + shoff + 64 * (i + 1), (uint32_t)name, &v[i], at);
        strcpy((char *)out + 64 + data + name, v[i].name);
        name += strlen(v[i].name) + 1;
        if (v[i].data && v[i].size > 0)
            memcpy(out + at, v[i].data, v[i].size);
        at += v[i].data ? v[i].size : 0;
    }
    const struct test_section strings = {.type = SHT_STRTAB, .size = names};
    put_section_header(out + shoff + 64 * (n + 1), 0, &strings, 64 + data);
    *size = total;
    return out;
}
