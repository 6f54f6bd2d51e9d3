/* ELF: header, segments, sections. Numbers come from the cursor, one field at a time; nothing is cast. */
#include "image/image_int.h"

#include <stdlib.h>
#include <string.h>

/* ---- machines --------------------------------------------------------- */

static const struct {
    uint16_t machine;
    const char *name;
} other_machines[] = {
    {EM_M32, "AT&T WE 32100"},
    {EM_SPARC, "SPARC"},
    {EM_68K, "Motorola 68000"},
    {EM_PARISC, "PA-RISC"},
    {EM_SPARC32PLUS, "SPARC V8+"},
    {EM_PPC, "PowerPC"},
    {EM_PPC64, "64-bit PowerPC"},
    {EM_S390, "IBM S/390"},
    {EM_SH, "SuperH"},
    {EM_SPARCV9, "64-bit SPARC"},
    {EM_IA_64, "Itanium"},
    {EM_AVR, "AVR"},
    {EM_XTENSA, "Xtensa"},
    {EM_MSP430, "MSP430"},
    {EM_TRICORE, "TriCore"},
    {EM_ARC_COMPACT, "ARC"},
    {EM_ARCV2, "ARCv2"},
    {164, "Hexagon"},
    {EM_MICROBLAZE, "MicroBlaze"},
    {EM_CUDA, "NVIDIA CUDA"},
    {EM_AMDGPU, "AMD GPU"},
    {EM_RISCV, "RISC-V"},
    {EM_BPF, "Linux BPF"},
    {EM_CSKY, "C-SKY"},
    {258, "LoongArch"}, /* newer than some <elf.h> */
    {0x9026, "Alpha"},
};

static int refuse_machine(const struct elf *e, struct bk_error *err)
{
    const char *name = "of a kind unknown here";
    for (size_t i = 0; i < sizeof other_machines / sizeof *other_machines; i++)
        if (other_machines[i].machine == e->machine)
            name = other_machines[i].name;
    return bk_fail(err, BK_EUNSUPPORTED, e->src->base + 18, "code for machine %u (%s)", e->machine, name);
}

static int find_arch(struct elf *e, struct bk_error *err)
{
    enum bk_arch arch = BK_ARCH_NONE;
    e->img.code_big_endian = e->big_endian;
    switch (e->machine) {
    case EM_X86_64: /* the x32 ABI is the same code in a 32-bit file */
        arch = BK_ARCH_AMD64;
        break;
    case EM_386:
        arch = e->is64 ? BK_ARCH_NONE : BK_ARCH_I386;
        break;
    case EM_ARM:
        arch = e->is64 ? BK_ARCH_NONE : BK_ARCH_ARM;
        if (e->flags & EF_ARM_BE8)
            e->img.code_big_endian = false;
        break;
    case EM_AARCH64:
        arch = BK_ARCH_ARM64;
        e->img.code_big_endian = false;
        break;
    case EM_MIPS:
    case EM_MIPS_RS3_LE:
        arch = e->is64 || (e->flags & EF_MIPS_ABI2) ? BK_ARCH_MIPS64 : BK_ARCH_MIPS; /* ABI2 is n32 */
        break;
    default:
        return refuse_machine(e, err);
    }
    if (arch == BK_ARCH_NONE)
        return bk_fail(err, BK_EFORMAT, e->src->base + 4, "a 64-bit file for machine %u, which has 32 bits",
                       e->machine);
    if (e->big_endian && (arch == BK_ARCH_AMD64 || arch == BK_ARCH_I386))
        return bk_fail(err, BK_EFORMAT, e->src->base + 5, "a big-endian file for x86");
    if ((arch == BK_ARCH_MIPS || arch == BK_ARCH_MIPS64) && (e->flags & 0x02000000))
        return bk_fail(err, BK_EUNSUPPORTED, e->src->base + 18, "microMIPS code");
    e->img.arch = arch;
    return BK_OK;
}

/* ---- header ----------------------------------------------------------- */

struct header {
    uint64_t phoff, shoff;
    uint32_t phnum, shnum, shstrndx;
    uint16_t phentsize, shentsize;
};

static int read_header(struct elf *e, struct header *h, struct bk_error *err)
{
    uint64_t base = e->src->base;
    const uint8_t *id = e->src->data;
    if (e->src->size < EI_NIDENT)
        return bk_fail(err, BK_ETRUNCATED, base + e->src->size, "cut off within the ELF header");
    if (id[EI_CLASS] != ELFCLASS32 && id[EI_CLASS] != ELFCLASS64)
        return bk_fail(err, BK_EFORMAT, base + EI_CLASS, "ELF class %u is neither 32 nor 64 bit", id[EI_CLASS]);
    if (id[EI_DATA] != ELFDATA2LSB && id[EI_DATA] != ELFDATA2MSB)
        return bk_fail(err, BK_EFORMAT, base + EI_DATA, "byte order %u is neither little nor big", id[EI_DATA]);
    if (id[EI_VERSION] != EV_CURRENT)
        return bk_fail(err, BK_EFORMAT, base + EI_VERSION, "ELF version %u", id[EI_VERSION]);
    e->is64 = id[EI_CLASS] == ELFCLASS64;
    e->big_endian = e->img.big_endian = id[EI_DATA] == ELFDATA2MSB;
    struct bk_cursor c = elf_cursor(e, EI_NIDENT);
    e->type = bk_read_u16(&c);
    e->machine = bk_read_u16(&c);
    (void)bk_read_u32(&c); /* version */
    e->img.entry = elf_word(e, &c);
    h->phoff = elf_word(e, &c);
    h->shoff = elf_word(e, &c);
    e->flags = bk_read_u32(&c);
    (void)bk_read_u16(&c); /* size of this header */
    h->phentsize = bk_read_u16(&c);
    h->phnum = bk_read_u16(&c);
    h->shentsize = bk_read_u16(&c);
    h->shnum = bk_read_u16(&c);
    h->shstrndx = bk_read_u16(&c);
    if (c.failed)
        return bk_fail(err, BK_ETRUNCATED, base + e->src->size, "cut off within the ELF header");
    switch (e->type) {
    case ET_REL:
        e->img.kind = BK_IMAGE_OBJECT;
        break;
    case ET_EXEC:
        e->img.kind = BK_IMAGE_EXEC;
        break;
    case ET_DYN:
        e->img.kind = BK_IMAGE_SHARED;
        break;
    case ET_CORE:
        return bk_fail(err, BK_EUNSUPPORTED, base + 16, "a core dump");
    default:
        return bk_fail(err, BK_EFORMAT, base + 16, "ELF type %u is no executable, shared or relocatable file", e->type);
    }
    return find_arch(e, err);
}

/* ---- section headers -------------------------------------------------- */

static size_t section_header_size(const struct elf *e)
{
    return e->is64 ? 64 : 40;
}

static struct elf_section read_section_header(const struct elf *e, uint64_t offset)
{
    struct elf_section s;
    struct bk_cursor c = elf_cursor(e, offset);
    s.name = bk_read_u32(&c);
    s.type = bk_read_u32(&c);
    s.flags = elf_word(e, &c);
    s.addr = elf_word(e, &c);
    s.offset = elf_word(e, &c);
    s.size = elf_word(e, &c);
    s.link = bk_read_u32(&c);
    s.info = bk_read_u32(&c);
    s.align = elf_word(e, &c);
    s.entsize = elf_word(e, &c);
    return s;
}

/* Where the header's 16 bits do not hold a count, section 0 does. */
static int resolve_extended(struct elf *e, struct header *h, struct bk_error *err)
{
    if (h->shoff == 0) {
        h->shnum = 0;
        return BK_OK;
    }
    if (h->shentsize != section_header_size(e))
        return bk_fail(err, BK_EFORMAT, e->src->base + (e->is64 ? 58 : 46), "section headers of %u bytes each, not %zu",
                       h->shentsize, section_header_size(e));
    if (!bk_range_inside(h->shoff, h->shentsize, e->src->size))
        return bk_fail(err, BK_ETRUNCATED, e->src->base + (e->is64 ? 40 : 32),
                       "the section header table at 0x%llx lies outside the %zu bytes there are: cut off?",
                       (unsigned long long)h->shoff, e->src->size);
    struct elf_section zero = read_section_header(e, h->shoff);
    if (h->shnum == 0)
        h->shnum = zero.size > UINT32_MAX ? UINT32_MAX : (uint32_t)zero.size;
    if (h->shstrndx == SHN_XINDEX)
        h->shstrndx = zero.link;
    if (h->phnum == PN_XNUM)
        h->phnum = zero.info;
    if (!bk_range_inside(h->shoff, (uint64_t)h->shnum * h->shentsize, e->src->size))
        return bk_fail(err, BK_ETRUNCATED, e->src->base + (e->is64 ? 60 : 48),
                       "%u section headers at 0x%llx run past the %zu bytes there are: cut off?", h->shnum,
                       (unsigned long long)h->shoff, e->src->size);
    return BK_OK;
}

struct elf_strings bk_elf_strings_of(const uint8_t *data, size_t size)
{
    const uint8_t *last = size > 0 ? memrchr(data, 0, size) : NULL;
    return (struct elf_strings){(const char *)data, last ? (size_t)(last - data) + 1 : 0};
}

static bool inside_file(const struct elf *e, const struct elf_section *s)
{
    return bk_range_inside(s->offset, s->size, e->src->size);
}

static struct elf_strings section_names(const struct elf *e, const struct header *h)
{
    if (h->shstrndx == 0 || h->shstrndx >= e->n_sh)
        return (struct elf_strings){"", 0};
    const struct elf_section *s = &e->sh[h->shstrndx];
    if (s->type == SHT_NOBITS || !inside_file(e, s))
        return (struct elf_strings){"", 0};
    return bk_elf_strings_of(e->src->data + s->offset, (size_t)s->size);
}

static void fill_section(struct elf *e, size_t i, const struct elf_strings *names, uint64_t header_offset)
{
    struct elf_section *s = &e->sh[i];
    struct bk_section *out = &e->sect[i - 1];
    const char *name = elf_string(names, s->name);
    *out = (struct bk_section){.name = name ? name : "",
                               .addr = s->addr,
                               .size = s->size,
                               .file_offset = e->src->base + s->offset,
                               .alloc = s->flags & SHF_ALLOC,
                               .exec = s->flags & SHF_EXECINSTR,
                               .write = s->flags & SHF_WRITE};
    if (name == NULL && s->type != SHT_NULL)
        bk_image_trouble(e->rd, e->src, BK_EFORMAT, header_offset, "section %zu: its name is not in the string table",
                         i);
    if (s->type == SHT_NOBITS && (s->flags & SHF_TLS))
        out->alloc = false; /* takes no address: what follows overlays it */
    if (s->type == SHT_NOBITS || s->type == SHT_NULL || s->size == 0)
        return;
    if (inside_file(e, s)) {
        out->data = e->src->data + s->offset;
        return;
    }
    bk_image_trouble(e->rd, e->src, BK_ETRUNCATED, header_offset,
                     "section %zu (%.64s): 0x%llx bytes at 0x%llx lie outside the file", i, out->name,
                     (unsigned long long)s->size, (unsigned long long)s->offset);
    s->size = 0; /* no later step reads it */
}

static int read_sections(struct elf *e, const struct header *h, struct bk_error *err)
{
    e->n_sh = h->shnum;
    if (e->n_sh == 0)
        return BK_OK;
    e->sh = bk_arena_alloc(e->rd->arena, e->n_sh, sizeof *e->sh);
    e->sect = bk_arena_alloc(e->rd->arena, e->n_sh, sizeof *e->sect); /* one more than needed: a made-up .got */
    if (e->sh == NULL || e->sect == NULL)
        return bk_fail_nomem(err, e->n_sh * (sizeof *e->sh + sizeof *e->sect));
    for (size_t i = 0; i < e->n_sh; i++)
        e->sh[i] = read_section_header(e, h->shoff + i * section_header_size(e));
    struct elf_strings names = section_names(e, h);
    for (size_t i = 1; i < e->n_sh; i++) {
        fill_section(e, i, &names, h->shoff + i * section_header_size(e));
        if (e->sh[i].type == SHT_SYMTAB && e->symtab == 0)
            e->symtab = i;
        if (e->sh[i].type == SHT_DYNSYM && e->dynsym == 0)
            e->dynsym = i;
    }
    e->img.n_sections = e->n_sh - 1;
    e->img.sections = e->sect;
    return BK_OK;
}

/* ---- segments --------------------------------------------------------- */

static int read_segments(struct elf *e, const struct header *h, struct bk_error *err)
{
    size_t entsize = e->is64 ? 56 : 32;
    if (h->phoff == 0 || h->phnum == 0)
        return BK_OK;
    if (h->phentsize != entsize)
        return bk_fail(err, BK_EFORMAT, e->src->base + (e->is64 ? 54 : 42), "program headers of %u bytes each, not %zu",
                       h->phentsize, entsize);
    if (!bk_range_inside(h->phoff, (uint64_t)h->phnum * entsize, e->src->size))
        return bk_fail(err, BK_ETRUNCATED, e->src->base + (e->is64 ? 32 : 28),
                       "%u program headers at 0x%llx run past the %zu bytes there are: cut off?", h->phnum,
                       (unsigned long long)h->phoff, e->src->size);
    e->ph = bk_arena_alloc(e->rd->arena, h->phnum, sizeof *e->ph);
    if (e->ph == NULL)
        return bk_fail_nomem(err, h->phnum * sizeof *e->ph);
    e->n_ph = h->phnum;
    for (size_t i = 0; i < e->n_ph; i++) {
        struct elf_segment *p = &e->ph[i];
        struct bk_cursor c = elf_cursor(e, h->phoff + i * entsize);
        p->type = bk_read_u32(&c);
        if (e->is64)
            p->flags = bk_read_u32(&c);
        p->offset = elf_word(e, &c);
        p->vaddr = elf_word(e, &c);
        (void)elf_word(e, &c); /* physical address */
        p->filesz = elf_word(e, &c);
        p->memsz = elf_word(e, &c);
        if (!e->is64)
            p->flags = bk_read_u32(&c);
        if (p->filesz == 0)
            p->offset = 0; /* of nothing, so it may have been anything */
        if (p->type != PT_LOAD || bk_range_inside(p->offset, p->filesz, e->src->size))
            continue;
        bk_image_trouble(e->rd, e->src, BK_ETRUNCATED, h->phoff + i * entsize,
                         "segment %zu: 0x%llx bytes at 0x%llx lie outside the file", i, (unsigned long long)p->filesz,
                         (unsigned long long)p->offset);
        p->offset = p->filesz = p->memsz = 0;
    }
    return BK_OK;
}

/* Without section headers each loaded segment is a section, and one more for what lies behind its file bytes. */
static int sections_from_segments(struct elf *e, struct bk_error *err)
{
    size_t n = 0;
    for (size_t i = 0; i < e->n_ph; i++)
        n += e->ph[i].type == PT_LOAD;
    e->sect = bk_arena_alloc(e->rd->arena, 2 * n, sizeof *e->sect);
    if (e->sect == NULL)
        return bk_fail_nomem(err, 2 * n * sizeof *e->sect);
    size_t used = 0;
    for (size_t i = 0; i < e->n_ph; i++) {
        const struct elf_segment *p = &e->ph[i];
        if (p->type != PT_LOAD)
            continue;
        struct bk_section s = {.name = p->flags & PF_X ? "(code segment)" : "(segment)",
                               .addr = p->vaddr,
                               .size = p->filesz,
                               .file_offset = e->src->base + p->offset,
                               .data = e->src->data + p->offset,
                               .alloc = true,
                               .exec = p->flags & PF_X,
                               .write = p->flags & PF_W};
        if (p->filesz > 0)
            e->sect[used++] = s;
        if (p->memsz <= p->filesz)
            continue;
        s.addr += p->filesz;
        s.size = p->memsz - p->filesz;
        s.data = NULL;
        e->sect[used++] = s;
    }
    e->img.n_sections = used;
    e->img.sections = e->sect;
    return BK_OK;
}

/* ---- the dynamic section ---------------------------------------------- */

struct bk_cursor bk_elf_dynamic(const struct elf *e)
{
    for (size_t i = 0; i < e->n_ph; i++) {
        const struct elf_segment *p = &e->ph[i];
        if (p->type == PT_DYNAMIC && bk_range_inside(p->offset, p->filesz, e->src->size))
            return bk_cursor_at(e->src->data, (size_t)(p->offset + p->filesz), (size_t)p->offset, e->big_endian);
    }
    return bk_cursor_at(e->src->data, 0, 0, e->big_endian);
}

uint64_t bk_elf_dynamic_value(const struct elf *e, uint64_t tag)
{
    uint64_t found = 0;
    struct bk_cursor c = bk_elf_dynamic(e);
    for (uint64_t t = elf_word(e, &c); t != DT_NULL && !c.failed; t = elf_word(e, &c)) {
        uint64_t value = elf_word(e, &c);
        found = t == tag ? value : found;
    }
    return found;
}

/* A position-independent executable is a shared object that says so, or that asks for an interpreter and has no name of its own. */
static bool is_pie(const struct elf *e)
{
    bool interp = false;
    for (size_t i = 0; i < e->n_ph; i++)
        interp |= e->ph[i].type == PT_INTERP;
    bool pie = bk_elf_dynamic_value(e, DT_FLAGS_1) & DF_1_PIE;
    return pie || (interp && bk_elf_dynamic_value(e, DT_SONAME) == 0);
}

/* ---- the whole -------------------------------------------------------- */

static int read_contents(struct elf *e, const struct header *h, struct bk_error *err)
{
    int rc = read_segments(e, h, err);
    if (rc == BK_OK)
        rc = read_sections(e, h, err);
    if (rc == BK_OK && e->n_sh == 0 && (e->n_ph == 0 || e->type == ET_REL))
        return bk_fail(err, BK_EFORMAT, e->src->base,
                       e->n_ph == 0 ? "an ELF header with neither sections nor segments"
                                    : "a relocatable object without sections");
    if (rc == BK_OK && e->n_sh == 0)
        rc = sections_from_segments(e, err);
    if (rc != BK_OK)
        return rc;
    if (e->type == ET_DYN && is_pie(e))
        e->img.kind = BK_IMAGE_EXEC;
    e->img.fixed = e->type == ET_EXEC;
    if (e->type == ET_REL)
        bk_elf_layout(e);
    else
        rc = bk_image_index_sections(e->rd, &e->img, err);
    if (rc == BK_OK)
        rc = bk_elf_read_symbols(e, err);
    if (rc == BK_OK && e->type == ET_REL)
        rc = bk_elf_relocate(e, err);
    if (rc == BK_OK && e->type == ET_REL)
        rc = bk_image_index_sections(e->rd, &e->img, err);
    if (rc == BK_OK)
        rc = bk_elf_read_imports(e, err);
    return rc == BK_OK ? bk_elf_read_unwinds(e, err) : rc;
}

int bk_image_parse_elf(struct image_reader *rd, const struct image_source *src, struct bk_error *err)
{
    struct elf e = {.rd = rd, .src = src, .img = {.path = rd->path, .member = src->member}};
    struct header h = {0};
    int rc = read_header(&e, &h, err);
    if (rc == BK_OK)
        rc = resolve_extended(&e, &h, err);
    if (rc == BK_OK)
        rc = read_contents(&e, &h, err);
    if (rc != BK_OK)
        return rc;
    if (e.img.arch == BK_ARCH_ARM) {
        e.img.entry_thumb = e.img.entry & 1;
        e.img.entry &= ~1ull;
    }
    if (e.type == ET_REL)
        e.img.entry = 0;
    if (!BK_GROW(rd->images))
        return bk_fail_nomem(err, sizeof e.img);
    rd->images.v[rd->images.n++] = e.img;
    return BK_OK;
}
