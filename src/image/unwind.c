/* Ranges of functions from unwind tables: .eh_frame (Linux Standard Base, "Exception Frames") and .ARM.exidx
 * (Exception Handling ABI for the Arm Architecture). Both are what a stripped file still has. */
#include "image/image_int.h"

#include <stdlib.h>
#include <string.h>

/* Pointer encodings: format in the low half, what it is relative to above it. */
enum {
    PE_ABSPTR = 0x00,
    PE_ULEB = 0x01,
    PE_UDATA2 = 0x02,
    PE_UDATA4 = 0x03,
    PE_UDATA8 = 0x04,
    PE_SIGNED = 0x08,
    PE_SLEB = 0x09,
    PE_SDATA2 = 0x0a,
    PE_SDATA4 = 0x0b,
    PE_SDATA8 = 0x0c,
    PE_PCREL = 0x10,
    PE_TEXTREL = 0x20,
    PE_DATAREL = 0x30,
    PE_ALIGNED = 0x50,
    PE_INDIRECT = 0x80,
    PE_OMIT = 0xff,
};

#define MAX_AUGMENTATION 16 /* characters; real ones have at most six */

/* A piece of unwind table: its bytes (relocated in objects) and where they are in memory and in the file. */
struct region {
    const uint8_t *data;
    size_t size;
    uint64_t addr, offset;
    bool ends_at_zero; /* the table ends at its terminator, not with the region */
};

struct unwinder {
    struct elf *e;
    struct {
        struct bk_unwind *v;
        size_t n, cap;
    } out;
    size_t left; /* bytes of tables that may still be read: sections of a sound file do not overlap */
    uint64_t text_base, data_base;
    bool no_memory;
};

/* ---- ranges ----------------------------------------------------------- */

static bool has_thumb_function(const struct bk_image *img, uint64_t addr)
{
    size_t low = 0, high = img->n_symbols;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (img->symbols[mid].addr < addr)
            low = mid + 1;
        else
            high = mid;
    }
    for (size_t i = low; i < img->n_symbols && i < low + 16 && img->symbols[i].addr == addr; i++)
        if (img->symbols[i].thumb)
            return true;
    return false;
}

static void add_range(struct unwinder *u, uint64_t addr, uint64_t size)
{
    const struct bk_image *img = &u->e->img;
    struct bk_unwind w = {.addr = addr, .size = size};
    enum bk_mark_kind mark;
    if (img->arch == BK_ARCH_ARM) {
        w.addr &= ~1ull;
        w.thumb = (addr & 1) || (bk_image_mark_at(&mark, img, w.addr) && mark == BK_MARK_T32) ||
                  has_thumb_function(img, w.addr);
    }
    if (BK_GROW(u->out))
        u->out.v[u->out.n++] = w;
    else
        u->no_memory = true;
}

/* Whether [addr, addr + size) is code of one section. */
static bool is_code(const struct unwinder *u, uint64_t addr, uint64_t size)
{
    const struct bk_section *s = bk_image_section_at(&u->e->img, addr);
    return s && s->exec && size <= s->size - (addr - s->addr);
}

/* ---- .eh_frame -------------------------------------------------------- */

static uint64_t read_format(const struct unwinder *u, struct bk_cursor *c, unsigned format)
{
    switch (format) {
    case PE_ABSPTR:
    case PE_SIGNED:
        return elf_word(u->e, c);
    case PE_ULEB:
        return bk_read_uleb(c);
    case PE_SLEB:
        return (uint64_t)bk_read_sleb(c);
    case PE_UDATA2:
        return bk_read_u16(c);
    case PE_SDATA2:
        return (uint64_t)elf_sign_extend(bk_read_u16(c), 16);
    case PE_UDATA4:
        return bk_read_u32(c);
    case PE_SDATA4:
        return (uint64_t)elf_sign_extend(bk_read_u32(c), 32);
    case PE_UDATA8:
    case PE_SDATA8:
        return bk_read_u64(c);
    default:
        c->failed = true;
        return 0;
    }
}

static uint64_t follow_pointer(const struct unwinder *u, struct bk_cursor *c, uint64_t at)
{
    size_t avail;
    const uint8_t *bytes = bk_image_bytes(&u->e->img, at, &avail);
    struct bk_cursor target = bk_cursor_at(bytes ? bytes : (const uint8_t *)"", bytes ? avail : 0, 0, u->e->big_endian);
    uint64_t v = elf_word(u->e, &target);
    c->failed |= target.failed;
    return v;
}

/* A pointer in encoding `enc`; a bad encoding sets c->failed. */
static uint64_t read_pointer(const struct unwinder *u, const struct region *r, struct bk_cursor *c, uint8_t enc)
{
    unsigned relative = enc & 0x70;
    uint64_t base = 0;
    if (relative == PE_ALIGNED) {
        size_t word = u->e->is64 ? 8 : 4;
        (void)bk_read_bytes(c, (size_t)(-(r->addr + c->pos) & (word - 1)));
        return elf_word(u->e, c);
    }
    if (relative == PE_PCREL)
        base = r->addr + c->pos;
    else if (relative == PE_TEXTREL)
        base = u->text_base;
    else if (relative == PE_DATAREL)
        base = u->data_base;
    else if (relative != 0)
        c->failed = true;
    uint64_t v = (read_format(u, c, enc & 15) + base) & elf_addr_mask(u->e);
    return enc & PE_INDIRECT ? follow_pointer(u, c, v) : v;
}

/* One record: its length, and where its body (behind length and id) lies. */
struct record {
    size_t at, id_at, end;
    uint64_t id; /* 0: a CIE; else the distance back from id_at to the CIE */
    bool zero;   /* the terminator */
};

static bool read_record(struct record *out, const struct unwinder *u, const struct region *r, size_t at)
{
    struct bk_cursor c = bk_cursor_at(r->data, r->size, at, u->e->big_endian);
    uint64_t length = bk_read_u32(&c);
    bool wide = length == UINT32_MAX;
    if (wide)
        length = bk_read_u64(&c);
    *out = (struct record){.at = at, .id_at = c.pos, .end = c.pos, .zero = length == 0};
    if (c.failed || !bk_range_inside(c.pos, length, r->size))
        return false;
    if (length == 0)
        return true;
    out->end = c.pos + (size_t)length;
    out->id = wide ? bk_read_u64(&c) : bk_read_u32(&c);
    return !c.failed && c.pos <= out->end;
}

/* The pointer encoding that a CIE gives its FDEs; false when it cannot be made out. */
static bool read_cie(uint8_t *enc, const struct unwinder *u, const struct region *r, size_t at)
{
    struct record rec;
    if (!read_record(&rec, u, r, at) || rec.zero || rec.id != 0)
        return false;
    struct bk_cursor c = bk_cursor_at(r->data, rec.end, rec.id_at, u->e->big_endian);
    (void)bk_read_bytes(&c, rec.id_at - at == 12 ? 8 : 4); /* the id */
    uint8_t version = bk_read_u8(&c);
    size_t room = c.failed ? 0 : rec.end - c.pos;
    const char *augmentation = (const char *)r->data + c.pos;
    size_t n = strnlen(augmentation, room < MAX_AUGMENTATION ? room : MAX_AUGMENTATION);
    if (n == room || n == MAX_AUGMENTATION || (version != 1 && version != 3 && version != 4))
        return false;
    (void)bk_read_bytes(&c, n + 1);
    *enc = PE_ABSPTR;
    if (strcmp(augmentation, "eh") == 0)
        (void)elf_word(u->e, &c);
    if (version == 4)
        (void)bk_read_u16(&c); /* sizes of addresses and of segment selectors */
    (void)bk_read_uleb(&c);    /* code alignment */
    (void)bk_read_sleb(&c);    /* data alignment */
    if (version == 1)
        (void)bk_read_u8(&c); /* return address register */
    else
        (void)bk_read_uleb(&c);
    if (augmentation[0] != 'z')
        return !c.failed;
    (void)bk_read_uleb(&c); /* length of what follows */
    for (const char *a = augmentation + 1; *a && !c.failed; a++) {
        uint8_t personality;
        if (*a == 'R') {
            *enc = bk_read_u8(&c);
            break;
        }
        if (*a == 'P') {
            personality = bk_read_u8(&c);
            if (personality != PE_OMIT)
                (void)read_pointer(u, r, &c, personality & ~PE_INDIRECT);
        } else if (*a == 'L') {
            (void)bk_read_u8(&c);
        } else if (*a != 'S' && *a != 'B' && *a != 'G') {
            break; /* unknown: the length lets a reader skip it, but no encoding can follow */
        }
    }
    return !c.failed && *enc != PE_OMIT;
}

static void eh_trouble(const struct unwinder *u, const struct region *r, size_t at, const char *what)
{
    bk_image_trouble(u->e->rd, u->e->src, BK_EFORMAT, r->offset + at, "call-frame table: %s", what);
}

static void take_fde(struct unwinder *u, const struct region *r, const struct record *rec, uint8_t enc)
{
    struct bk_cursor c = bk_cursor_at(r->data, rec->end, rec->id_at, u->e->big_endian);
    (void)bk_read_bytes(&c, rec->id_at - rec->at == 12 ? 8 : 4);
    uint64_t begin = read_pointer(u, r, &c, enc);
    uint64_t size = read_format(u, &c, enc & 15) & elf_addr_mask(u->e);
    if (c.failed)
        eh_trouble(u, r, rec->at, "a range that is cut off or encoded in an unknown way");
    else if (size == 0)
        return; /* what the linker leaves of a discarded function */
    else if (!is_code(u, begin, size))
        bk_image_trouble(u->e->rd, u->e->src, BK_EFORMAT, r->offset + rec->at,
                         "call-frame table: range 0x%llx + 0x%llx is not inside a code section",
                         (unsigned long long)begin, (unsigned long long)size);
    else
        add_range(u, begin, size);
}

static void read_eh_frame(struct unwinder *u, const struct region *r)
{
    size_t cie = SIZE_MAX; /* whose encoding is `enc` */
    uint8_t enc = PE_OMIT;
    bool good = false;
    struct record rec;
    for (size_t at = 0; at < r->size && !u->no_memory; at = rec.end) {
        if (r->size - at < 4)
            return; /* padding */
        if (!read_record(&rec, u, r, at)) {
            eh_trouble(u, r, at, "a record runs past its end; the rest is not read");
            return;
        }
        if (rec.zero && r->ends_at_zero)
            return;
        if (rec.zero || rec.id == 0)
            continue;
        if (rec.id > rec.id_at) {
            eh_trouble(u, r, at, "a range whose CIE lies outside");
            continue;
        }
        if (cie != rec.id_at - (size_t)rec.id) {
            cie = rec.id_at - (size_t)rec.id;
            good = read_cie(&enc, u, r, cie);
            if (!good)
                eh_trouble(u, r, cie, "a CIE that cannot be read; its ranges are not used");
        }
        if (good)
            take_fde(u, r, &rec, enc);
    }
}

/* ---- .ARM.exidx ------------------------------------------------------- */

#define EXIDX_CANTUNWIND 1

static void read_exidx(struct unwinder *u, const struct region *r)
{
    struct elf *e = u->e;
    struct bk_cursor c = bk_cursor_at(r->data, r->size, 0, e->big_endian);
    for (size_t at = 0; at + 8 <= r->size && !u->no_memory; at += 8) {
        uint32_t first = bk_read_u32(&c), second = bk_read_u32(&c);
        uint64_t addr = (r->addr + at + (uint64_t)elf_sign_extend(first, 31)) & elf_addr_mask(e);
        if (!(first & 0x80000000) && is_code(u, addr & ~1ull, 1)) {
            add_range(u, addr, 0);
            continue;
        }
        /* The linker closes the table with an entry at the end of the code. */
        if (second == EXIDX_CANTUNWIND && !(first & 0x80000000) && addr > 0 && is_code(u, addr - 1, 1))
            continue;
        bk_image_trouble(e->rd, e->src, BK_EFORMAT, r->offset + at,
                         "exception index: an entry for 0x%llx, which is not inside a code section",
                         (unsigned long long)addr);
    }
}

/* ---- where the tables are --------------------------------------------- */

typedef void table_reader(struct unwinder *u, const struct region *r);

static void read_region(struct unwinder *u, const struct region *r, table_reader *read)
{
    if (r->size > u->left) {
        bk_image_trouble(u->e->rd, u->e->src, BK_ELIMIT, r->offset, "unwind tables overlap; the rest is not read");
        return;
    }
    u->left -= r->size;
    read(u, r);
}

/* Sections that `read` understands; returns how many there are. */
static size_t read_unwind_sections(struct unwinder *u, bool exidx)
{
    struct elf *e = u->e;
    size_t n = 0;
    for (size_t i = 1; i < e->n_sh; i++) {
        const struct bk_section *s = &e->sect[i - 1];
        if (!s->alloc || s->data == NULL)
            continue;
        bool is_exidx = e->machine == EM_ARM && e->sh[i].type == SHT_ARM_EXIDX;
        if (exidx ? !is_exidx : is_exidx || strcmp(s->name, ".eh_frame") != 0)
            continue;
        n++;
        struct region r = {s->data, (size_t)s->size, s->addr, e->sh[i].offset, false};
        read_region(u, &r, exidx ? read_exidx : read_eh_frame);
    }
    return n;
}

static const struct elf_segment *find_segment(const struct elf *e, uint32_t type)
{
    for (size_t i = 0; i < e->n_ph; i++)
        if (e->ph[i].type == type && bk_range_inside(e->ph[i].offset, e->ph[i].filesz, e->src->size))
            return &e->ph[i];
    return NULL;
}

/* .eh_frame_hdr: version 1, encodings of three things, the first of which is the address of .eh_frame. */
static void read_eh_frame_segment(struct unwinder *u)
{
    struct elf *e = u->e;
    const struct elf_segment *p = find_segment(e, PT_GNU_EH_FRAME);
    if (p == NULL || p->filesz == 0)
        return;
    struct region hdr = {e->src->data + p->offset, (size_t)p->filesz, p->vaddr, p->offset, false};
    struct bk_cursor c = bk_cursor_at(hdr.data, hdr.size, 0, e->big_endian);
    uint8_t version = bk_read_u8(&c), enc = bk_read_u8(&c);
    (void)bk_read_u16(&c); /* encodings of the search table */
    uint64_t addr = enc == PE_OMIT ? 0 : read_pointer(u, &hdr, &c, enc);
    const struct bk_section *s = bk_image_section_at(&e->img, addr);
    if (c.failed || version != 1 || s == NULL || s->data == NULL) {
        bk_image_trouble(e->rd, e->src, BK_EFORMAT, p->offset, "the call-frame header does not lead to a table");
        return;
    }
    size_t skip = (size_t)(addr - s->addr);
    struct region r = {s->data + skip, (size_t)s->size - skip, addr, s->file_offset - e->src->base + skip, true};
    read_region(u, &r, read_eh_frame);
}

static void read_exidx_segment(struct unwinder *u)
{
    struct elf *e = u->e;
    const struct elf_segment *p = e->machine == EM_ARM ? find_segment(e, PT_ARM_EXIDX) : NULL;
    if (p == NULL)
        return;
    struct region r = {e->src->data + p->offset, (size_t)p->filesz, p->vaddr, p->offset, false};
    read_region(u, &r, read_exidx);
}

static void find_bases(struct unwinder *u)
{
    struct elf *e = u->e;
    u->data_base = e->got_base;
    for (size_t i = 0; i < e->img.n_sections; i++) {
        if (u->text_base == 0 && strcmp(e->sect[i].name, ".text") == 0)
            u->text_base = e->sect[i].addr;
    }
    struct bk_cursor c = bk_elf_dynamic(e);
    for (uint64_t tag = elf_word(e, &c); tag != DT_NULL && !c.failed; tag = elf_word(e, &c)) {
        uint64_t value = elf_word(e, &c);
        if (tag == DT_PLTGOT)
            u->data_base = value;
    }
}

/* ---- result ----------------------------------------------------------- */

static int unwind_order(const void *a, const void *b)
{
    const struct bk_unwind *x = a, *y = b;
    if (x->addr != y->addr)
        return x->addr < y->addr ? -1 : 1;
    if (x->size != y->size)
        return x->size > y->size ? -1 : 1;
    return (int)y->thumb - (int)x->thumb;
}

static int finish(struct unwinder *u, struct bk_error *err)
{
    struct bk_unwind *v = u->out.v;
    size_t kept = 0;
    if (u->out.n > 0)
        qsort(v, u->out.n, sizeof *v, unwind_order);
    for (size_t i = 0; i < u->out.n; i++)
        if (kept == 0 || v[kept - 1].addr != v[i].addr)
            v[kept++] = v[i];
    struct bk_unwind *out = bk_arena_alloc(u->e->rd->arena, kept, sizeof *out);
    if (out == NULL)
        return bk_fail_nomem(err, kept * sizeof *out);
    if (kept > 0)
        memcpy(out, v, kept * sizeof *out);
    u->e->img.unwinds = out;
    u->e->img.n_unwinds = kept;
    return BK_OK;
}

int bk_elf_read_unwinds(struct elf *e, struct bk_error *err)
{
    struct unwinder u = {.e = e, .left = e->src->size};
    find_bases(&u);
    if (read_unwind_sections(&u, false) == 0)
        read_eh_frame_segment(&u);
    if (read_unwind_sections(&u, true) == 0)
        read_exidx_segment(&u);
    int rc = u.no_memory ? bk_fail_nomem(err, u.out.n * sizeof *u.out.v) : finish(&u, err);
    free(u.out.v);
    return rc;
}
