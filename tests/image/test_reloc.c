/* Relocated bytes against what a linker writes when it puts everything at the same addresses, and loads through
 * the global offset table against the symbol that each must reach. */
#include "image_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Tables that linkers rewrite; their ranges are compared instead. */
static bool linker_rewrites(const char *name)
{
    return strcmp(name, ".eh_frame") == 0 || strncmp(name, ".ARM.ex", 7) == 0 || strncmp(name, ".note", 5) == 0 ||
           strncmp(name, ".MIPS", 5) == 0 || strcmp(name, ".reginfo") == 0;
}

static void as_the_linker_writes(void **state)
{
    const char *arch = *state;
    struct bk_image_file *object = test_open_fixture(test_name("kin.%s.o", arch));
    struct bk_image_file *linked = test_open_fixture(test_name("kin.%s.linked", arch));
    const struct bk_image *a = &object->images[0], *b = &linked->images[0];
    size_t n = 0;
    assert_int_equal(a->kind, BK_IMAGE_OBJECT);
    assert_int_equal(b->kind, BK_IMAGE_EXEC);
    assert_false(b->has_symtab);
    assert_int_equal(a->n_relocs_unknown, 0);
    assert_true(a->n_relocs_applied > 40);
    for (size_t i = 0; i < a->n_sections; i++) {
        const struct bk_section *s = &a->sections[i];
        if (!s->alloc || s->size == 0 || linker_rewrites(s->name))
            continue;
        const struct bk_section *t = test_section_named(b, s->name);
        assert_non_null(t);
        assert_int_equal(s->addr, t->addr);
        assert_int_equal(s->size, t->size);
        assert_int_equal(s->data == NULL, t->data == NULL);
        if (s->data)
            assert_memory_equal(s->data, t->data, s->size);
        n++;
    }
    assert_true(n >= 5);
    assert_true(a->n_unwinds >= 7);
    for (size_t i = 0; i < a->n_unwinds; i++) {
        size_t k = 0;
        while (k < b->n_unwinds && b->unwinds[k].addr != a->unwinds[i].addr)
            k++;
        assert_true(k < b->n_unwinds);
        assert_int_equal(a->unwinds[i].size, b->unwinds[k].size);
    }
    bk_image_file_close(object);
    bk_image_file_close(linked);
}

/* ---- loads through the GOT -------------------------------------------- */

static uint64_t load(const uint8_t *p, size_t size, bool big_endian)
{
    struct bk_cursor c = bk_cursor_at(p, size, 0, big_endian);
    return size == 8 ? bk_read_u64(&c) : bk_read_u32(&c);
}

struct got_load {
    const struct bk_image *img;
    const char *type;  /* of the relocation */
    uint64_t place;    /* its address */
    const uint8_t *at; /* the relocated bytes there */
    int64_t addend;
    uint64_t page; /* arm64: of the ADRP before */
};

/* The address of the slot that an instruction loads from; 0: this relocation is no such load. */
static uint64_t slot_address(struct got_load *l)
{
    const struct bk_section *got = test_section_named(l->img, ".got");
    uint32_t word = (uint32_t)load(l->at, 4, l->img->code_big_endian);
    if (strstr(l->type, "GOTPCREL"))
        return l->place + (uint64_t)(int64_t)(int32_t)word - (uint64_t)l->addend;
    if (strcmp(l->type, "R_386_GOT32X") == 0 || strcmp(l->type, "R_386_GOT32") == 0)
        return got->addr + word;
    if (strcmp(l->type, "R_ARM_GOT_PREL") == 0)
        return (uint32_t)(l->place + word - (uint64_t)l->addend);
    if (strcmp(l->type, "R_AARCH64_ADR_GOT_PAGE") == 0) {
        int64_t pages = (int64_t)((uint64_t)(word >> 5 & 0x7ffff) << 45) >> 43 | (word >> 29 & 3);
        l->page = (l->place & ~0xfffull) + (uint64_t)pages * 4096;
        return 0;
    }
    if (strcmp(l->type, "R_AARCH64_LD64_GOT_LO12_NC") == 0)
        return l->page + (word >> 10 & 0xfff) * 8;
    if (strcmp(l->type, "R_MIPS_CALL16") == 0 || strcmp(l->type, "R_MIPS_GOT_DISP") == 0 ||
        strcmp(l->type, "R_MIPS_GOT16") == 0)
        return got->addr + 0x7ff0 + (uint64_t)(int16_t)word;
    return 0;
}

/* "offset info type value name [+ addend]" of `readelf -rW`; the addend of REL is what the file's bytes hold. */
static bool parse_relocation(const char *line, unsigned long long *offset, char *type, char *name, int64_t *addend)
{
    char sign = '+', text[256];
    unsigned long long a = 0;
    snprintf(text, sizeof text, "%.*s", (int)strcspn(line, "\n"), line);
    int n = sscanf(text, "%llx %*x %63s %*x %127s %c %llx", offset, type, name, &sign, &a);
    *addend = sign == '-' ? -(int64_t)a : (int64_t)a;
    return n >= 3 && strncmp(type, "R_", 2) == 0;
}

static void loads_reach_their_symbol(void **state)
{
    const char *arch = *state;
    size_t size, n = 0;
    struct bk_image_file *f = test_open_fixture(test_name("kin.%s.pic.o", arch));
    uint8_t *file = test_fixture(test_name("kin.%s.pic.o", arch), &size);
    char *text = test_fixture_text(test_name("kin.%s.pic.rel", arch)), section[128] = "";
    struct got_load l = {.img = &f->images[0]};
    const struct bk_section *got = test_section_named(l.img, ".got");
    assert_non_null(got);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        char type[64], name[128];
        unsigned long long offset;
        if (sscanf(line, "Relocation section '.rel%127[^']", section) == 1)
            continue;
        if (!parse_relocation(line, &offset, type, name, &l.addend) || strncmp(strchr(section, '.'), ".text", 5) != 0)
            continue;
        const struct bk_section *s = test_section_named(l.img, strchr(section, '.'));
        l.type = type;
        l.place = s->addr + offset;
        l.at = s->data + offset;
        if (strcmp(type, "R_ARM_GOT_PREL") == 0)
            l.addend = (int32_t)load(file + s->file_offset + offset, 4, false);
        uint64_t slot = slot_address(&l);
        if (slot == 0 || name[0] == '.') /* a section's symbol: its page, not its address */
            continue;
        const struct bk_symbol *symbol = test_symbol_named(l.img, name);
        if (strcmp(type, "R_MIPS_GOT16") == 0 && !symbol->global)
            continue;
        assert_in_range(slot, got->addr, got->addr + got->size - 1);
        size_t word =
            bk_arch_parse(arch) == BK_ARCH_AMD64 || l.img->arch == BK_ARCH_ARM64 || l.img->arch == BK_ARCH_MIPS64 ? 8
                                                                                                                  : 4;
        uint64_t held = load(got->data + (slot - got->addr), word, l.img->big_endian);
        assert_int_equal(held, symbol->addr | (symbol->thumb ? 1 : 0));
        n++;
    }
    assert_true(n >= 3);
    bk_image_file_close(f);
    free(file);
    free(text);
}

/* ---- the rest of the contract ----------------------------------------- */

static void nothing_overlaps(void **state)
{
    for (size_t k = 0; k < 2; k++) {
        char name[64];
        snprintf(name, sizeof name, k ? "kin.%s.pic.o" : "kin.%s.o", (const char *)*state);
        struct bk_image_file *f = test_open_fixture(name);
        const struct bk_image *img = &f->images[0];
        for (size_t i = 0; i < img->n_sections; i++) {
            const struct bk_section *a = &img->sections[i];
            assert_true(!a->alloc || a->size == 0 || a->addr >= 0x100000);
            for (size_t j = 0; j < i; j++) {
                const struct bk_section *b = &img->sections[j];
                if (a->alloc && b->alloc && a->size > 0 && b->size > 0)
                    assert_true(a->addr + a->size <= b->addr || b->addr + b->size <= a->addr);
            }
        }
        size_t externs = 0;
        for (size_t i = 0; i < img->n_symbols; i++) {
            if (img->symbols[i].kind != BK_SYM_EXTERN)
                continue;
            externs++;
            assert_int_equal(img->symbols[i].section, BK_NO_SECTION);
            assert_null(bk_image_section_at(img, img->symbols[i].addr));
            assert_true(i == 0 || img->symbols[i - 1].addr < img->symbols[i].addr);
        }
        assert_true(externs >= 3);
        bk_image_file_close(f);
    }
}

int main(void)
{
    static const struct {
        const char *name;
        CMUnitTestFunction test;
    } kinds[] = {
        {"as the linker writes", as_the_linker_writes},
        {"loads reach their symbol", loads_reach_their_symbol},
        {"nothing overlaps", nothing_overlaps},
    };
    struct CMUnitTest tests[3 * N_ARCHS];
    char names[3 * N_ARCHS][64];
    for (size_t i = 0; i < 3 * N_ARCHS; i++) {
        union {
            const char *in;
            void *out;
        } arch = {test_archs[i / 3]};
        snprintf(names[i], sizeof names[i], "%s, %s", kinds[i % 3].name, arch.in);
        tests[i] = (struct CMUnitTest){names[i], kinds[i % 3].test, NULL, NULL, arch.out};
    }
    return _cmocka_run_group_tests("reloc", tests, sizeof tests / sizeof *tests, NULL, NULL);
}
