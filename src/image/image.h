/* image: the bytes of a file -> sections, symbols, imports, unwind ranges.
 *
 * One file gives one image, or one image per member of an `ar` archive. An
 * image is immutable once open and may be read by many threads. All
 * pointers inside live until bk_image_file_close().
 *
 * Addresses. Executables and shared objects keep their own. In a relocatable object every allocated
 * section is laid out at an address of its own (from 0x100000 up, never overlapping: code, data, then
 * one address for every undefined symbol (kind BK_SYM_EXTERN), small data of MIPS, a made-up section ".got"
 * when loads go through one, then .bss), and relocations of allocated sections are applied to a copy, so that a decoder sees
 * real call targets and loads. Relocations of a type this room does not know, or whose value does not fit,
 * leave the bytes alone and are counted; those that say nothing of an address (thread-local offsets, hints)
 * leave the bytes alone and count as applied.
 *
 * A file without a section header table gets its sections from its loaded segments. */
#ifndef BK_IMAGE_H
#define BK_IMAGE_H

#include "base/base.h"

/* X(id, name, bits): names as Debian spells them */
#define BK_ARCHS(X)                                                                                                    \
    X(BK_ARCH_AMD64, "amd64", 64)                                                                                      \
    X(BK_ARCH_I386, "i386", 32)                                                                                        \
    X(BK_ARCH_ARM, "armhf", 32) /* A32 and T32 */                                                                      \
    X(BK_ARCH_ARM64, "arm64", 64)                                                                                      \
    X(BK_ARCH_MIPS, "mips", 32)                                                                                        \
    X(BK_ARCH_MIPS64, "mips64", 64)

enum bk_arch {
    BK_ARCH_NONE,
#define BK_ARCH_ENUM(id, name, bits) id,
    BK_ARCHS(BK_ARCH_ENUM)
#undef BK_ARCH_ENUM
        BK_ARCH_COUNT
};
const char *bk_arch_name(enum bk_arch arch);  /* "none" for anything else */
enum bk_arch bk_arch_parse(const char *name); /* BK_ARCH_NONE when unknown */
/* Whether code of the two is of one family, whatever the word size: x86, ARM, MIPS. */
bool bk_arch_related(enum bk_arch a, enum bk_arch b);

enum bk_image_kind { BK_IMAGE_EXEC, BK_IMAGE_SHARED, BK_IMAGE_OBJECT };

struct bk_section {
    const char *name;
    uint64_t addr, size;  /* bytes */
    uint64_t file_offset; /* from the start of the file (of the archive, for a member); 0 for the made-up .got */
    const uint8_t *data;  /* `size` bytes, relocated in objects; NULL when the file holds none (.bss) */
    bool alloc, exec, write;
};

enum bk_symbol_kind { BK_SYM_FUNC, BK_SYM_OBJECT, BK_SYM_OTHER, BK_SYM_EXTERN };

struct bk_symbol {
    const char *name; /* never NULL nor empty; version suffix "@..." cut off */
    /* Source file, as the symbol table names it in front of a local symbol; in a relocatable object of one source
     * file of global symbols too. NULL: not known. */
    const char *file;
    uint64_t addr; /* Thumb bit cleared */
    uint64_t size; /* bytes, 0 when the file does not say */
    enum bk_symbol_kind kind;
    uint32_t section; /* index into sections, BK_NO_SECTION for externs and absolutes */
    bool global, weak;
    bool dynamic; /* from .dynsym (a name in both tables appears once, from .symtab) */
    bool thumb;
};
#define BK_NO_SECTION UINT32_MAX

/* ARM and AArch64 mapping symbols: from `addr` on the section holds this. */
enum bk_mark_kind { BK_MARK_A32, BK_MARK_T32, BK_MARK_A64, BK_MARK_DATA };
struct bk_mark {
    uint64_t addr;
    enum bk_mark_kind kind;
};

/* A code range from .eh_frame (exact) or .ARM.exidx (start known, size 0: until the next start; a linker
 * merges neighbours that unwind alike, so one start may stand for several functions). The Thumb bit comes
 * from mapping and function symbols: without any it is not known, and false. */
struct bk_unwind {
    uint64_t addr, size;
    bool thumb;
};

/* Addresses [addr, end) belong to this section. */
struct bk_span {
    uint64_t addr, end;
    uint32_t section;
};

/* A place that stands for a function or datum of some other file: a call to `addr`, a load from it, or its address. */
struct bk_import {
    uint64_t addr;    /* Thumb bit cleared */
    const char *name; /* never empty; version suffix "@..." cut off */
    bool inside;      /* another member of the same archive defines it: once they are linked it is no import */
};

/* A place of a linked file that stands for a function of the file itself, so that another file may put its own there: a stub
 * that calls go through, or the word that it jumps through. */
struct bk_forward {
    uint64_t addr;
    uint64_t target; /* the function; Thumb bit cleared in both */
};

struct bk_image {
    const char *path;   /* as given */
    const char *member; /* member of an archive, or NULL */
    enum bk_arch arch;
    enum bk_image_kind kind;
    bool fixed;           /* an executable that runs at its own addresses and no others */
    bool big_endian;      /* of data */
    bool code_big_endian; /* of instructions: AArch64 and BE8 ARM keep them little-endian */
    uint64_t entry;       /* 0 when there is none; Thumb bit kept in entry_thumb */
    bool entry_thumb;
    size_t n_sections; /* allocated and not; index 0 is a real one, the ELF null section is dropped */
    const struct bk_section *sections;
    size_t n_symbols; /* sorted by address, then name; no pair twice; mapping symbols, sections, files and symbols
                       * of sections that are not allocated left out */
    const struct bk_symbol *symbols;
    size_t n_marks; /* sorted by address */
    const struct bk_mark *marks;
    size_t n_unwinds; /* sorted by address, no duplicates */
    const struct bk_unwind *unwinds;
    size_t n_relocs_applied, n_relocs_unknown;
    /* Of a relocatable object: where each field of code ends that a relocation is for, applied or not; sorted. */
    size_t n_code_fields;
    const uint64_t *code_fields;
    bool has_symtab; /* false: stripped */
    /* Sorted by address, one for each. Of a linked file what its dynamic relocations (of MIPS: its GOT) fill in from elsewhere:
     * the words that take the address of an undefined symbol, what is copied from another file, and the stubs that jump
     * through such a word, all in sections of PLT stubs, or in any code where there are no section headers. Of a relocatable object
     * its undefined symbols, but of a member of an archive those that no other member defines. */
    size_t n_imports;
    const struct bk_import *imports;
    size_t n_forwards; /* sorted by address, one for each; 0 in a relocatable object */
    const struct bk_forward *forwards;
    /* For bk_image_section_at: allocated sections cut so that none overlap, those of code first. */
    size_t n_spans, n_code_spans;
    const struct bk_span *spans;
};

/* A file and what it holds. */
struct bk_image_file {
    const char *path;
    size_t n_images;
    const struct bk_image *images;
    /* Troubles that did not end the reading: a member that is no object, a symbol table that points outside
     * the file, ... one entry each with file, offset and cause; at most BK_MAX_TROUBLES, the last says how many more. */
    size_t n_troubles;
    const struct bk_error *troubles;
};
#define BK_MAX_TROUBLES 64

/* Opens an ELF file or an archive of them. Fails (BK_EFORMAT, BK_ETRUNCATED, BK_EUNSUPPORTED, BK_EIO) when not one
 * image comes of it; err then has file, offset and cause. Never allocates more than a small multiple of the file. */
BK_MUST_CHECK int bk_image_file_open(struct bk_image_file **out, const char *path, struct bk_error *err);
/* The same over bytes that the caller keeps alive until close; `path` is for messages. */
BK_MUST_CHECK int bk_image_file_parse(struct bk_image_file **out, const char *path, const uint8_t *data, size_t size,
                                      struct bk_error *err);
void bk_image_file_close(struct bk_image_file *f);

/* The section that holds `addr`, or NULL. O(log n). */
const struct bk_section *bk_image_section_at(const struct bk_image *img, uint64_t addr);
/* What the mapping symbols say about `addr`: the last mark at or before it in its section. False where there is none. */
bool bk_image_mark_at(enum bk_mark_kind *out, const struct bk_image *img, uint64_t addr);
/* The import at `addr`, NULL when there is none. O(log n). */
const struct bk_import *bk_image_import_at(const struct bk_image *img, uint64_t addr);
/* Where the stub or word at `addr` leads inside the file; `addr` itself when it is neither. O(log n). */
uint64_t bk_image_forward(const struct bk_image *img, uint64_t addr);
/* Whether the section, by its name, holds stubs that jump to functions of other files and nothing else. */
bool bk_section_is_plt(const struct bk_section *s);
/* Up to `size` bytes in place at `addr`; *avail says how many really follow in that section. NULL: none. */
const uint8_t *bk_image_bytes(const struct bk_image *img, uint64_t addr, size_t *avail);

#endif
