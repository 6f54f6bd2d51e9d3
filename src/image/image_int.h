/* What the .c files of this room share: one file being read, and the ELF
 * reader's picture of one object between its steps (elf.c -> reloc.c -> unwind.c). */
#ifndef BK_IMAGE_INT_H
#define BK_IMAGE_INT_H

#include "image/image.h"

#include <elf.h> /* its numbers only, never its structs */

/* ---- one file being read ---------------------------------------------- */

struct image_reader {
    const char *path; /* in the arena */
    struct bk_arena *arena;
    struct {
        struct bk_image *v;
        size_t n, cap;
    } images;
    struct {
        struct bk_error *v;
        size_t n, cap;
    } troubles;
    size_t n_more_troubles; /* beyond BK_MAX_TROUBLES */
};

/* A range of the file that is one object: the whole file or a member of an archive. */
struct image_source {
    const char *member; /* in the arena, or NULL */
    const uint8_t *data;
    size_t size;
    uint64_t base; /* where it begins in the file */
};

/* Each parser appends the images it finds to the reader; on failure `err` has code, offset in the file and cause, not the file's name. */
typedef int image_parser(struct image_reader *rd, const struct image_source *src, struct bk_error *err);
BK_MUST_CHECK int bk_image_parse_elf(struct image_reader *rd, const struct image_source *src, struct bk_error *err);
BK_MUST_CHECK int bk_image_parse_archive(struct image_reader *rd, const struct image_source *src, struct bk_error *err);
/* Picks the parser by the magic bytes. Within an archive (src->member not NULL) archives are refused. */
BK_MUST_CHECK int bk_image_parse_any(struct image_reader *rd, const struct image_source *src, struct bk_error *err);

/* Notes what did not end the reading; `offset` counts from the start of the source, or is BK_NO_OFFSET. Only what is kept is formatted. */
void bk_image_trouble(struct image_reader *rd, const struct image_source *src, int code, uint64_t offset,
                      const char *fmt, ...) BK_PRINTF(5, 6);
/* The same of an error that is already filled in, its offset already one of the file. */
void bk_image_trouble_error(struct image_reader *rd, const struct image_source *src, const struct bk_error *e);

/* Fills spans of an image whose sections stand. */
BK_MUST_CHECK int bk_image_index_sections(struct image_reader *rd, struct bk_image *img, struct bk_error *err);

/* ---- one ELF object --------------------------------------------------- */

struct elf_section {
    uint64_t flags, addr, offset, size, entsize, align;
    uint32_t name, type, link, info;
};

struct elf_segment {
    uint64_t offset, vaddr, filesz, memsz;
    uint32_t type, flags;
};

/* The string at `offset` of a string table, NULL when it is not inside or does not end there. */
struct elf_strings {
    const char *v;
    size_t end; /* offsets below `end` begin a string that ends */
};

struct elf_symtab {
    uint64_t offset; /* of entry 0, from the start of the source */
    size_t n;
    struct elf_strings names; /* version suffixes cut off */
    uint64_t xindex;          /* offset of the SHT_SYMTAB_SHNDX words */
    size_t n_xindex;
    bool dynamic;
};

struct elf_symbol {
    uint32_t name;
    uint8_t type, bind, other;
    uint32_t section; /* ELF section number or SHN_*, extended numbers resolved */
    bool reserved;    /* section is an SHN_* number */
    uint64_t value, size;
    uint64_t at; /* offset of this entry */
};

struct elf_reloc {
    uint64_t offset, at; /* in the target, an address in a linked file; of this entry in the file */
    uint32_t symbol;
    uint8_t types[2]; /* MIPS n64: two more operations on the value of the first */
    uint32_t type;
    int64_t addend;
    bool has_addend;
};

/* What relocations need of a symbol of .symtab in a relocatable object. */
enum {
    ELF_SYM_THUMB = 1 << 0,
    ELF_SYM_LOCAL = 1 << 1,
    ELF_SYM_FUNC = 1 << 2,    /* a function defined here: its state, A32 or T32, is known */
    ELF_SYM_GP_DISP = 1 << 3, /* MIPS _gp_disp: the distance from here to the global pointer */
};

struct elf {
    struct image_reader *rd;
    const struct image_source *src;
    struct bk_image img; /* being built; sections below are its sections */
    bool is64, big_endian;
    uint16_t type, machine;
    uint32_t flags;
    size_t n_sh;             /* 0: no section header table */
    struct elf_section *sh;  /* sh[0] is the null section; img.sections[i - 1] is sh[i] when n_sh > 0 */
    struct bk_section *sect; /* img.sections, writable while building; n_sh + 1 places */
    size_t n_ph;
    struct elf_segment *ph;
    size_t symtab, dynsym; /* section indices, 0: none */
    struct elf_symtab
        dynamic_symbols; /* of a linked file, by its dynamic section; n is right only if the hash table counts all */
    /* Relocatable objects only. */
    size_t n_syms; /* entries of .symtab */
    uint64_t *sym_value;
    uint8_t *sym_bits;
    uint64_t extern_base, got_base; /* symbol i, when undefined, has the address extern_base + 16 i */
    uint64_t gp;                    /* MIPS global pointer */
};

static inline struct bk_cursor elf_cursor(const struct elf *e, uint64_t offset)
{
    return bk_cursor_at(e->src->data, e->src->size, (size_t)offset, e->big_endian);
}
/* An address, offset or size in the file's class. */
static inline uint64_t elf_word(const struct elf *e, struct bk_cursor *c)
{
    return e->is64 ? bk_read_u64(c) : bk_read_u32(c);
}
static inline uint64_t elf_addr_mask(const struct elf *e)
{
    return e->is64 ? UINT64_MAX : UINT32_MAX;
}
static inline int64_t elf_sign_extend(uint64_t v, unsigned bits)
{
    uint64_t sign = 1ull << (bits - 1);
    v &= sign | (sign - 1);
    return (int64_t)((v ^ sign) - sign);
}

/* O(1) plus the search for the table's last NUL. */
struct elf_strings bk_elf_strings_of(const uint8_t *data, size_t size);
static inline const char *elf_string(const struct elf_strings *s, uint64_t offset)
{
    return offset < s->end ? s->v + offset : NULL;
}

/* The entries of the dynamic section, from its segment; empty without one. */
struct bk_cursor bk_elf_dynamic(const struct elf *e);
/* The last value that they give `tag`, 0 without one. */
uint64_t bk_elf_dynamic_value(const struct elf *e, uint64_t tag);
/* File offset of a loaded address; false when no segment's file bytes hold it. */
bool bk_elf_file_offset(uint64_t *out, const struct elf *e, uint64_t addr);

/* symbols.c: fills img.symbols, img.marks, in relocatable objects sym_value and sym_bits, in others dynamic_symbols. */
BK_MUST_CHECK int bk_elf_read_symbols(struct elf *e, struct bk_error *err);
/* Entry `i`, whose bytes the caller has checked to be inside the file. */
struct elf_symbol bk_elf_symbol(const struct elf *e, const struct elf_symtab *t, size_t i);
bool bk_elf_is_undefined(const struct elf *e, const struct elf_symbol *s);
static inline size_t elf_symbol_size(const struct elf *e)
{
    return e->is64 ? 24 : 16;
}
/* reloc.c: gives alloc sections of a relocatable object their addresses; then, with symbols read, applies relocations to copies. */
void bk_elf_layout(struct elf *e);
BK_MUST_CHECK int bk_elf_relocate(struct elf *e, struct bk_error *err);
/* The relocation entry at `offset` of the file; fields past its end are 0. */
struct elf_reloc bk_elf_reloc(const struct elf *e, uint64_t offset, bool has_addend);
/* imports.c: fills img.imports and img.forwards, once the sections stand and the symbols are read. */
BK_MUST_CHECK int bk_elf_read_imports(struct elf *e, struct bk_error *err);
/* The same file: marks the imports of every image that another one of the reader defines. */
BK_MUST_CHECK int bk_image_mark_inside(struct image_reader *rd, struct bk_error *err);
/* unwind.c: fills img.unwinds. */
BK_MUST_CHECK int bk_elf_read_unwinds(struct elf *e, struct bk_error *err);

#endif
