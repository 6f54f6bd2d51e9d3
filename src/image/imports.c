/* What a file takes from others, by address. In a linked file a word (GOT slot) takes the address of a function or
 * datum of another file when it is loaded, and a stub (PLT) jumps through the slot; which slot is whose its dynamic
 * relocations say, or on MIPS the order of the GOT. Which slot a stub goes through its instructions say: the order
 * of stubs differs by linker. */
#include "image/image_int.h"

#include <stdlib.h>
#include <string.h>

/* A slot, stub or undefined symbol. Where it leads: a function of the file itself, or by `name` out of it. */
struct place {
    uint64_t addr, target;
    const char *name; /* NULL: to `target` */
};

struct imports {
    struct elf *e;
    struct {
        struct place *v;
        size_t n, cap;
    } list;
};

static int by_address(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->addr != y->addr)
        return x->addr < y->addr ? -1 : 1;
    if (x->name != y->name)
        return x->name < y->name ? -1 : 1; /* all names lie in one table */
    return x->target < y->target ? -1 : x->target > y->target;
}

static int push(struct imports *m, struct place place, struct bk_error *err)
{
    if (!BK_GROW(m->list))
        return bk_fail_nomem(err, m->list.n * sizeof *m->list.v);
    place.addr &= elf_addr_mask(m->e);
    m->list.v[m->list.n++] = place;
    return BK_OK;
}

static int push_import(struct imports *m, uint64_t addr, const char *name, struct bk_error *err)
{
    return push(m, (struct place){.addr = addr, .name = name}, err);
}

/* Sorts, and keeps the first of each address. */
static void sort(struct imports *m)
{
    size_t kept = 0;
    if (m->list.n > 0)
        qsort(m->list.v, m->list.n, sizeof *m->list.v, by_address);
    for (size_t i = 0; i < m->list.n; i++)
        if (kept == 0 || m->list.v[kept - 1].addr != m->list.v[i].addr)
            m->list.v[kept++] = m->list.v[i];
    m->list.n = kept;
}

/* The entry at `addr` of a sorted list, whatever its kind: all begin with their address. */
static const void *entry_at(const void *v, size_t n, size_t size, uint64_t addr)
{
    const char *base = v;
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (*(const uint64_t *)(const void *)(base + mid * size) < addr)
            lo = mid + 1;
        else
            hi = mid;
    }
    const char *entry = base + lo * size;
    return lo < n && *(const uint64_t *)(const void *)entry == addr ? entry : NULL;
}

/* ---- slots ------------------------------------------------------------ */

/* Relocation types that write the address of a symbol into a word, and those that copy a symbol of another file to
 * one of this. */
static const struct slot_types {
    uint16_t fill[4], copy;
} slot_types[BK_ARCH_COUNT] = {
    [BK_ARCH_AMD64] = {{R_X86_64_GLOB_DAT, R_X86_64_JUMP_SLOT, R_X86_64_64, R_X86_64_32}, R_X86_64_COPY},
    [BK_ARCH_I386] = {{R_386_GLOB_DAT, R_386_JMP_SLOT, R_386_32}, R_386_COPY},
    [BK_ARCH_ARM] = {{R_ARM_GLOB_DAT, R_ARM_JUMP_SLOT, R_ARM_ABS32}, R_ARM_COPY},
    [BK_ARCH_ARM64] = {{R_AARCH64_GLOB_DAT, R_AARCH64_JUMP_SLOT, R_AARCH64_ABS64}, R_AARCH64_COPY},
    [BK_ARCH_MIPS] = {{R_MIPS_JUMP_SLOT, R_MIPS_REL32}, R_MIPS_COPY},
    [BK_ARCH_MIPS64] = {{R_MIPS_JUMP_SLOT, R_MIPS_REL32}, R_MIPS_COPY},
};

static bool fills(const struct slot_types *t, uint32_t type)
{
    for (size_t i = 0; i < sizeof t->fill / sizeof *t->fill; i++)
        if (type != 0 && t->fill[i] == type)
            return true;
    return false;
}

/* Entry `i` of the dynamic symbol table, false where it lies outside the file or has no name. */
static bool symbol_at(struct elf_symbol *s, const char **name, const struct elf *e, uint64_t i)
{
    const struct elf_symtab *t = &e->dynamic_symbols;
    if (i == 0 || i > UINT32_MAX ||
        !bk_range_inside(t->offset + i * elf_symbol_size(e), elf_symbol_size(e), e->src->size))
        return false;
    *s = bk_elf_symbol(e, t, (size_t)i);
    *name = elf_string(&t->names, s->name);
    return *name && **name;
}

/* Of a function of the file, without the Thumb bit. */
static uint64_t own_address(const struct elf *e, uint64_t value)
{
    return e->img.arch == BK_ARCH_ARM ? value & ~UINT64_C(1) : value;
}

static int add_relocations(struct imports *m, uint64_t addr, uint64_t size, bool has_addend, struct bk_error *err)
{
    const struct elf *e = m->e;
    const struct slot_types *types = &slot_types[e->img.arch];
    size_t entry = (e->is64 ? 16 : 8) + (has_addend ? (e->is64 ? 8 : 4) : 0);
    uint64_t at;
    if (size == 0)
        return BK_OK;
    if (!bk_elf_file_offset(&at, e, addr) || !bk_range_inside(at, size, e->src->size)) {
        bk_image_trouble(e->rd, e->src, BK_EFORMAT, BK_NO_OFFSET,
                         "the dynamic relocations at 0x%llx lie outside the file", (unsigned long long)addr);
        return BK_OK;
    }
    int rc = BK_OK;
    for (uint64_t i = 0; i < size / entry && rc == BK_OK; i++) {
        struct elf_reloc r = bk_elf_reloc(e, at + i * entry, has_addend);
        struct elf_symbol s;
        const char *name;
        if ((!fills(types, r.type) && r.type != types->copy) || !symbol_at(&s, &name, e, r.symbol))
            continue;
        if (r.type == types->copy || bk_elf_is_undefined(e, &s))
            rc = push_import(m, r.offset, name, err);
        else if (s.type == STT_FUNC)
            rc = push(m, (struct place){.addr = r.offset, .target = own_address(e, s.value)}, err);
    }
    return rc;
}

/* The last symbols of the table have the last words of the GOT, in the same order; the value of an undefined one is
 * its stub. */
static int add_mips_got(struct imports *m, struct bk_error *err)
{
    const struct elf *e = m->e;
    uint64_t first = bk_elf_dynamic_value(e, DT_MIPS_GOTSYM), end = bk_elf_dynamic_value(e, DT_MIPS_SYMTABNO);
    uint64_t got = bk_elf_dynamic_value(e, DT_PLTGOT), n_local = bk_elf_dynamic_value(e, DT_MIPS_LOCAL_GOTNO);
    unsigned word = e->is64 ? 8 : 4;
    struct elf_symbol s;
    const char *name;
    int rc = BK_OK;
    for (uint64_t i = first; i < end && rc == BK_OK && i * elf_symbol_size(e) < e->src->size; i++) {
        if (!symbol_at(&s, &name, e, i) || !bk_elf_is_undefined(e, &s))
            continue;
        rc = push_import(m, got + (n_local + i - first) * word, name, err);
        if (rc == BK_OK && s.value != 0)
            rc = push_import(m, s.value, name, err);
    }
    return rc;
}

static int add_slots(struct imports *m, struct bk_error *err)
{
    const struct elf *e = m->e;
    int rc = add_relocations(m, bk_elf_dynamic_value(e, DT_RELA), bk_elf_dynamic_value(e, DT_RELASZ), true, err);
    if (rc == BK_OK)
        rc = add_relocations(m, bk_elf_dynamic_value(e, DT_REL), bk_elf_dynamic_value(e, DT_RELSZ), false, err);
    if (rc == BK_OK)
        rc = add_relocations(m, bk_elf_dynamic_value(e, DT_JMPREL), bk_elf_dynamic_value(e, DT_PLTRELSZ),
                             bk_elf_dynamic_value(e, DT_PLTREL) == DT_RELA, err);
    if (rc == BK_OK && (e->img.arch == BK_ARCH_MIPS || e->img.arch == BK_ARCH_MIPS64))
        rc = add_mips_got(m, err);
    return rc;
}

/* ---- stubs ------------------------------------------------------------ */

bool bk_section_is_plt(const struct bk_section *s)
{
    static const char *const names[] = {".plt", ".plt.got", ".plt.sec", ".plt.bnd", ".iplt", ".MIPS.stubs"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(s->name, names[i]) == 0)
            return true;
    return false;
}

/* Code from `c` on, the address of its first byte, and what the base register of i386 stubs holds. Each reader tells
 * the address of the slot that a stub beginning there jumps through; false: it is none. Reads past the end give
 * zeros, which are no stub. */
struct stub {
    struct bk_cursor c;
    uint64_t addr, got;
};
typedef bool stub_reader(uint64_t *slot, struct stub *s);

/* [endbr64 | endbr32] [bnd] jmp *slot(%rip) | *slot | *slot(%ebx) */
static bool read_x86_stub(uint64_t *slot, struct stub *s, bool wide)
{
    size_t start = s->c.pos;
    uint32_t endbr = bk_read_u32(&s->c);
    if (endbr != (wide ? 0xfa1e0ff3 : 0xfb1e0ff3))
        s->c.pos = start;
    size_t jump = s->c.pos;
    if (bk_read_u8(&s->c) != 0xf2)
        s->c.pos = jump;
    uint16_t opcode = bk_read_u16(&s->c);
    uint64_t disp = (uint64_t)(int32_t)bk_read_u32(&s->c);
    uint64_t base = wide ? s->addr + (s->c.pos - start) : opcode == 0xa3ff ? s->got : 0;
    *slot = base + disp;
    return opcode == 0x25ff || (opcode == 0xa3ff && !wide);
}

static bool read_amd64_stub(uint64_t *slot, struct stub *s)
{
    return read_x86_stub(slot, s, true);
}

static bool read_i386_stub(uint64_t *slot, struct stub *s)
{
    bool is_stub = read_x86_stub(slot, s, false);
    *slot &= UINT32_MAX;
    return is_stub;
}

/* [bx pc and a T32 instruction never reached;] add ip, pc, #a; add ip, ip, #b; [once more;] ldr pc, [ip, #c]! */
static bool read_arm_stub(uint64_t *slot, struct stub *s)
{
    uint64_t pc = s->addr + 8;
    uint32_t word = bk_read_u32(&s->c);
    if ((s->c.big_endian ? word >> 16 : word & 0xffff) == 0x4778) {
        word = bk_read_u32(&s->c);
        pc += 4;
    }
    if ((word & 0xfffff000) != 0xe28fc000)
        return false;
    uint32_t ip = (uint32_t)pc;
    for (int i = 0; i < 3 && (word & 0xfff0f000) == 0xe280c000; i++) {
        uint32_t turn = word >> 7 & 30, field = word & 0xff;
        ip += turn ? field >> turn | field << (32 - turn) : field;
        word = bk_read_u32(&s->c);
    }
    *slot = (uint32_t)(ip + (word & 0xfff));
    return (word & 0xfffff000) == 0xe5bcf000;
}

/* [bti c] adrp x16, page; ldr x17, [x16, #low] */
static bool read_arm64_stub(uint64_t *slot, struct stub *s)
{
    uint64_t page = s->addr & ~UINT64_C(0xfff);
    uint32_t word = bk_read_u32(&s->c), load;
    if (word == 0xd503245f) {
        word = bk_read_u32(&s->c);
        page = (s->addr + 4) & ~UINT64_C(0xfff);
    }
    load = bk_read_u32(&s->c);
    page += (uint64_t)elf_sign_extend((uint64_t)(word >> 5 & 0x7ffff) << 2 | (word >> 29 & 3), 21) << 12;
    *slot = page + ((load >> 10 & 0xfff) << 3);
    return (word & 0x9f00001f) == 0x90000010 && (load & 0xffc003ff) == 0xf9400211;
}

/* Of executables that are not position-independent: lui $15, high; lw | ld $25, low($15) */
static bool read_mips_stub(uint64_t *slot, struct stub *s)
{
    uint32_t high = bk_read_u32(&s->c), load = bk_read_u32(&s->c);
    *slot = (uint64_t)elf_sign_extend((uint64_t)high << 16, 32) + (uint64_t)elf_sign_extend(load, 16);
    return high >> 16 == 0x3c0f && (load >> 16 == 0x8df9 || load >> 16 == 0xddf9);
}

static const struct {
    stub_reader *read;
    uint8_t align; /* of stubs */
} stub_kinds[BK_ARCH_COUNT] = {
    [BK_ARCH_AMD64] = {read_amd64_stub, 8}, [BK_ARCH_I386] = {read_i386_stub, 8},
    [BK_ARCH_ARM] = {read_arm_stub, 4},     [BK_ARCH_ARM64] = {read_arm64_stub, 8},
    [BK_ARCH_MIPS] = {read_mips_stub, 8},   [BK_ARCH_MIPS64] = {read_mips_stub, 8},
};

/* Adds the stubs of one section that go through one of the first `n_slots` places, which are sorted. */
static int add_stubs(struct imports *m, const struct bk_section *in, size_t n_slots, uint64_t got, struct bk_error *err)
{
    const struct elf *e = m->e;
    unsigned align = stub_kinds[e->img.arch].align;
    int rc = BK_OK;
    for (uint64_t at = -in->addr & (align - 1); at < in->size && rc == BK_OK; at += align) {
        struct stub s = {bk_cursor_at(in->data, (size_t)in->size, (size_t)at, e->img.code_big_endian), in->addr + at,
                         got};
        uint64_t slot;
        if (!stub_kinds[e->img.arch].read(&slot, &s) || s.c.failed)
            continue;
        const struct place *through = entry_at(m->list.v, n_slots, sizeof *through, slot & elf_addr_mask(e));
        if (through)
            rc = push(m, (struct place){s.addr, through->target, through->name}, err);
    }
    return rc;
}

static int add_all_stubs(struct imports *m, struct bk_error *err)
{
    const struct elf *e = m->e;
    uint64_t got = bk_elf_dynamic_value(e, DT_PLTGOT);
    size_t left = e->src->size, n_slots = m->list.n; /* left: against sections that share their bytes */
    int rc = BK_OK;
    for (size_t i = 0; i < e->img.n_sections && rc == BK_OK; i++) {
        const struct bk_section *s = &e->img.sections[i];
        if (!s->exec || s->data == NULL || (e->n_sh > 0 && !bk_section_is_plt(s)))
            continue;
        if (s->size > left) {
            bk_image_trouble(e->rd, e->src, BK_ELIMIT, s->file_offset - e->src->base,
                             "section %.64s overlaps others and its stubs are not read", s->name);
            continue;
        }
        left -= (size_t)s->size;
        rc = add_stubs(m, s, n_slots, got, err);
    }
    return rc;
}

/* ---- the whole -------------------------------------------------------- */

static int add_externs(struct imports *m, struct bk_error *err)
{
    const struct bk_image *img = &m->e->img;
    int rc = BK_OK;
    for (size_t i = 0; i < img->n_symbols && rc == BK_OK; i++)
        if (img->symbols[i].kind == BK_SYM_EXTERN)
            rc = push_import(m, img->symbols[i].addr, img->symbols[i].name, err);
    return rc;
}

static int collect(struct imports *m, struct bk_error *err)
{
    if (m->e->type == ET_REL)
        return add_externs(m, err);
    int rc = add_slots(m, err);
    sort(m);
    return rc == BK_OK && m->list.n > 0 ? add_all_stubs(m, err) : rc;
}

/* Parts what leads out of the file from what stays in it. */
static int hand_over(struct imports *m, struct bk_error *err)
{
    struct bk_image *img = &m->e->img;
    size_t n_imports = 0;
    for (size_t i = 0; i < m->list.n; i++)
        n_imports += m->list.v[i].name != NULL;
    struct bk_import *imports = bk_arena_alloc(m->e->rd->arena, n_imports, sizeof *imports);
    struct bk_forward *forwards = bk_arena_alloc(m->e->rd->arena, m->list.n - n_imports, sizeof *forwards);
    if (!imports || !forwards)
        return bk_fail_nomem(err, m->list.n * sizeof *imports);
    for (size_t i = 0; i < m->list.n; i++) {
        const struct place *p = &m->list.v[i];
        if (p->name)
            imports[img->n_imports++] = (struct bk_import){.addr = p->addr, .name = p->name};
        else
            forwards[img->n_forwards++] = (struct bk_forward){p->addr, p->target};
    }
    img->imports = imports;
    img->forwards = forwards;
    return BK_OK;
}

int bk_elf_read_imports(struct elf *e, struct bk_error *err)
{
    struct imports m = {.e = e};
    int rc = collect(&m, err);
    sort(&m);
    if (rc == BK_OK)
        rc = hand_over(&m, err);
    free(m.list.v);
    return rc;
}

/* ---- archives ---------------------------------------------------------- */

static int by_hash(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Of the first bytes: a file may give one endless name to any number of imports. */
static uint64_t name_hash(const char *name)
{
    return bk_hash64(name, strnlen(name, 1024));
}

/* Hashes, sorted, of the names that the images define for each other: as names they could take many times the size of the file. NULL:
 * no memory. */
static uint64_t *defined_names(size_t *n, const struct image_reader *rd)
{
    size_t room = 1;
    for (size_t i = 0; i < rd->images.n; i++)
        room += rd->images.v[i].n_symbols;
    uint64_t *v = bk_calloc(room, sizeof *v);
    *n = 0;
    for (size_t i = 0; i < rd->images.n && v; i++)
        for (size_t k = 0; k < rd->images.v[i].n_symbols; k++) {
            const struct bk_symbol *s = &rd->images.v[i].symbols[k];
            if (s->global && s->kind != BK_SYM_EXTERN)
                v[(*n)++] = name_hash(s->name);
        }
    if (v)
        qsort(v, *n, sizeof *v, by_hash);
    return v;
}

static int mark_inside(struct bk_image *img, struct bk_arena *arena, const uint64_t *defined, size_t n,
                       struct bk_error *err)
{
    struct bk_import *marked = bk_arena_alloc(arena, img->n_imports, sizeof *marked);
    if (marked == NULL)
        return bk_fail_nomem(err, img->n_imports * sizeof *marked);
    for (size_t i = 0; i < img->n_imports; i++) {
        uint64_t hash = name_hash(img->imports[i].name);
        marked[i] = img->imports[i];
        marked[i].inside = bsearch(&hash, defined, n, sizeof hash, by_hash) != NULL;
    }
    img->imports = marked;
    return BK_OK;
}

int bk_image_mark_inside(struct image_reader *rd, struct bk_error *err)
{
    size_t n;
    uint64_t *defined = defined_names(&n, rd);
    int rc = defined ? BK_OK : bk_fail_nomem(err, rd->images.n * sizeof *defined);
    for (size_t i = 0; i < rd->images.n && rc == BK_OK; i++)
        rc = mark_inside(&rd->images.v[i], rd->arena, defined, n, err);
    free(defined);
    return rc;
}

const struct bk_import *bk_image_import_at(const struct bk_image *img, uint64_t addr)
{
    return entry_at(img->imports, img->n_imports, sizeof *img->imports, addr);
}

uint64_t bk_image_forward(const struct bk_image *img, uint64_t addr)
{
    const struct bk_forward *found = entry_at(img->forwards, img->n_forwards, sizeof *found, addr);
    return found ? found->target : addr;
}
