/* Relocatable objects: where sections lie, and relocations applied to copies of them.
 *
 * Each processor has a table of relocation types, and each type is a formula (enum calc) and the place in
 * the instruction or word that takes its value (enum field). S symbol, A addend, P place, GOT the global offset table's
 * base, slot(x) the address of its entry that holds x, gp the MIPS global pointer, page(x) x without its low 12 bits. */
#include "image/reloc_int.h"

#include <stdlib.h>
#include <string.h>

/* ---- layout ----------------------------------------------------------- */

#define LAYOUT_BASE  0x100000u
#define LAYOUT_ALIGN 16u
#define MAX_ALIGN    65536u

static uint64_t align_up(uint64_t v, uint64_t align)
{
    return (v + align - 1) & ~(align - 1);
}

/* Gives section `i` the next address, or takes it out of memory when there is no room left in the address space. */
static void place_section(struct elf *e, size_t i, uint64_t *next)
{
    const struct elf_section *s = &e->sh[i];
    struct bk_section *out = &e->sect[i - 1];
    uint64_t limit = e->is64 ? 1ull << 46 : 1ull << 31;
    uint64_t align =
        s->align > LAYOUT_ALIGN && s->align <= MAX_ALIGN && (s->align & (s->align - 1)) == 0 ? s->align : LAYOUT_ALIGN;
    uint64_t addr = align_up(*next, align);
    if (addr > limit || out->size > limit - addr) {
        bk_image_trouble(e->rd, e->src, BK_ELIMIT, BK_NO_OFFSET,
                         "section %zu (%.64s): no address space for 0x%llx bytes", i, out->name,
                         (unsigned long long)out->size);
        out->alloc = false;
        return;
    }
    out->addr = addr;
    *next = addr + out->size;
}

enum layer { LAYER_CODE, LAYER_DATA, LAYER_SMALL, LAYER_BSS };

static enum layer layer_of(const struct elf *e, size_t i)
{
    const struct bk_section *s = &e->sect[i - 1];
    bool mips = e->img.arch == BK_ARCH_MIPS || e->img.arch == BK_ARCH_MIPS64;
    if (mips && (e->sh[i].flags & SHF_MIPS_GPREL))
        return LAYER_SMALL;
    if (s->data == NULL)
        return LAYER_BSS;
    return s->exec ? LAYER_CODE : LAYER_DATA;
}

/* Places all sections of one layer; returns how many there are. */
static size_t place_layer(struct elf *e, enum layer layer, uint64_t *next)
{
    size_t n = 0;
    for (size_t i = 1; i < e->n_sh; i++) {
        if (!e->sect[i - 1].alloc || layer_of(e, i) != layer)
            continue;
        place_section(e, i, next);
        n++;
    }
    return n;
}

void bk_elf_layout(struct elf *e)
{
    uint64_t next = LAYOUT_BASE;
    place_layer(e, LAYER_CODE, &next);
    place_layer(e, LAYER_DATA, &next);
    e->extern_base = align_up(next, LAYOUT_ALIGN);
    size_t n = e->symtab ? (size_t)(e->sh[e->symtab].size / (e->is64 ? 24 : 16)) : 0;
    next = e->extern_base + LAYOUT_ALIGN * n;
    /* The MIPS global pointer reaches 32 KB either way: over the GOT alone, or with small data in front of it. */
    bool small = place_layer(e, LAYER_SMALL, &next) > 0;
    e->got_base = align_up(next, LAYOUT_ALIGN);
    e->gp = e->got_base + (small ? 0 : 0x7ff0);
    /* A slot for each relocation that could be: none is shorter than a slot, so the file's size is enough. */
    next = e->got_base + align_up(e->src->size, LAYOUT_ALIGN);
    place_layer(e, LAYER_BSS, &next);
}

/* ---- one pass over all relocations ------------------------------------ */

enum phase { PHASE_COLLECT, PHASE_APPLY };

struct relocator {
    struct elf *e;
    struct reloc_table table;
    enum phase phase;
    struct {
        uint64_t *v; /* what GOT slots hold: collected, then sorted without duplicates */
        size_t n, cap;
    } got;
    struct {
        uint64_t *v;
        size_t n, cap;
    } code_fields; /* as in bk_image */
    bool no_memory;
    size_t entries_left, copy_left; /* allowances of one file, against sections that share their bytes */
    /* MIPS REL: per symbol the addend of the nearest LO16 further on in section `lo_section[symbol]`. */
    int16_t *lo;
    uint32_t *lo_section;
};

static int u64_order(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static unsigned slot_size(const struct elf *e)
{
    return e->is64 || e->img.arch == BK_ARCH_AMD64 ? 8 : 4;
}

/* slot(value). While collecting, notes that it is wanted. */
static uint64_t got_slot(struct relocator *r, uint64_t value)
{
    value &= elf_addr_mask(r->e);
    if (r->phase == PHASE_COLLECT) {
        if (BK_GROW(r->got))
            r->got.v[r->got.n++] = value;
        else
            r->no_memory = true;
        return r->e->got_base;
    }
    const uint64_t *at = r->got.n ? bsearch(&value, r->got.v, r->got.n, sizeof *at, u64_order) : NULL;
    return r->e->got_base + (at ? (uint64_t)(at - r->got.v) * slot_size(r->e) : 0);
}

struct elf_reloc bk_elf_reloc(const struct elf *e, uint64_t offset, bool has_addend)
{
    struct elf_reloc r = {.at = offset, .has_addend = has_addend};
    struct bk_cursor c = elf_cursor(e, r.at);
    r.offset = elf_word(e, &c);
    if (e->img.arch == BK_ARCH_MIPS64 && e->is64) {
        r.symbol = bk_read_u32(&c);
        (void)bk_read_u8(&c); /* special symbol of the second operation; always none */
        r.types[1] = bk_read_u8(&c);
        r.types[0] = bk_read_u8(&c);
        r.type = bk_read_u8(&c);
    } else {
        uint64_t info = elf_word(e, &c);
        r.symbol = (uint32_t)(e->is64 ? info >> 32 : info >> 8);
        r.type = (uint32_t)(e->is64 ? info & UINT32_MAX : info & 0xff);
    }
    if (r.has_addend) {
        uint64_t a = elf_word(e, &c);
        r.addend = elf_sign_extend(a, e->is64 ? 64 : 32);
    }
    return r;
}

/* ---- formulas --------------------------------------------------------- */

struct operands {
    uint64_t s, p;
    int64_t a;
    uint8_t bits;            /* ELF_SYM_* */
    const uint8_t *original; /* the place before any change */
    size_t before;           /* bytes of the section in front of it */
};

static uint64_t mips_page(uint64_t v)
{
    return (v + 0x8000) & ~0xffffull;
}

/* i386: `mov foo@GOT, %reg` without a base register takes the slot's address, with one its distance from the base. */
static bool i386_no_base(const struct operands *o)
{
    return o->before > 0 && (o->original[-1] & 0xc7) == 0x05;
}

static uint64_t evaluate(struct relocator *r, enum reloc_calc calc, const struct operands *o)
{
    const uint64_t got = r->e->got_base, gp = r->e->gp, sa = o->s + (uint64_t)o->a, p = o->p, a = (uint64_t)o->a;
    const uint64_t thumb = o->bits & ELF_SYM_THUMB ? 1 : 0;
    switch (calc) {
    case CALC_NONE:
        return 0;
    case CALC_ABS:
        return sa;
    case CALC_ABS_THUMB:
        return sa | thumb;
    case CALC_PC:
        return sa - p;
    case CALC_PC_THUMB:
        return (sa | thumb) - p;
    case CALC_PAGE_PC:
        return (sa & ~0xfffull) - (p & ~0xfffull);
    case CALC_FROM_GOT:
        return (sa | thumb) - got;
    case CALC_GOT_BASE_PC:
        return got + a - p;
    case CALC_SLOT_PC:
        return got_slot(r, o->s | thumb) + a - p;
    case CALC_SLOT_FROM_GOT:
        return got_slot(r, o->s | thumb) + a - got;
    case CALC_I386_SLOT:
        return got_slot(r, o->s) + a - (i386_no_base(o) ? 0 : got);
    case CALC_SLOT_SUM:
        return got_slot(r, sa);
    case CALC_SLOT_SUM_PC:
        return got_slot(r, sa) - p;
    case CALC_SLOT_SUM_PAGE_PC:
        return (got_slot(r, sa) & ~0xfffull) - (p & ~0xfffull);
    case CALC_SLOT_SUM_PAGE_GOT:
        return got_slot(r, sa) - (got & ~0xfffull);
    case CALC_MIPS_HI:
        return o->bits & ELF_SYM_GP_DISP ? gp + a - p : sa;
    case CALC_MIPS_LO:
        return o->bits & ELF_SYM_GP_DISP ? gp + a - p + 4 : sa;
    case CALC_GP:
        return sa - gp;
    case CALC_MIPS_GOT16:
        return got_slot(r, o->bits & ELF_SYM_LOCAL ? mips_page(sa) : o->s) - gp;
    case CALC_MIPS_SLOT:
        return got_slot(r, sa) - gp;
    case CALC_MIPS_SLOT_PAGE:
        return got_slot(r, mips_page(sa)) - gp;
    case CALC_MIPS_OFFSET_PAGE:
        return sa - mips_page(sa);
    case CALC_SUB:
        return o->s - a;
    }
    return 0;
}

/* MIPS REL splits an addend over a HI16 or local GOT16 and the next LO16 of the same symbol. Entries are walked backwards, so that the LO16 was met before. */
static void pair_mips_addend(struct relocator *r, size_t section, const struct elf_reloc *en, enum reloc_field field,
                             struct operands *o)
{
    if (field == FIELD_MIPS_LO) {
        r->lo[en->symbol] = (int16_t)o->a;
        r->lo_section[en->symbol] = (uint32_t)section;
        return;
    }
    bool local_got = en->type == R_MIPS_GOT16 && (o->bits & ELF_SYM_LOCAL);
    if (field != FIELD_MIPS_HI && !local_got)
        return;
    o->a = (int64_t)((uint64_t)o->a << 16) + (r->lo_section[en->symbol] == section ? r->lo[en->symbol] : 0);
}

static bool apply_entry(struct relocator *r, size_t section, const struct elf_reloc *en, struct bk_section *target,
                        const uint8_t *original)
{
    struct elf *e = r->e;
    const struct reloc_rule *rule = bk_reloc_rule_of(&r->table, en->type);
    if (rule == NULL)
        return false;
    if (rule->calc == CALC_NONE)
        return true;
    if (!bk_range_inside(en->offset, bk_reloc_field_size(rule->field), target->size))
        return false;
    struct operands o = {.s = e->sym_value[en->symbol],
                         .p = target->addr + en->offset,
                         .a = en->addend,
                         .bits = e->sym_bits[en->symbol],
                         .original = original + en->offset,
                         .before = (size_t)en->offset};
    struct reloc_place place = {.read = o.original,
                                .data_big_endian = e->big_endian,
                                .code_big_endian = e->img.code_big_endian,
                                .address = o.p,
                                .wide = e->is64,
                                .to_function = o.bits & ELF_SYM_FUNC,
                                .to_thumb = o.bits & ELF_SYM_THUMB};
    if (!en->has_addend) {
        o.a = bk_reloc_read_addend(&place, rule->field);
        if (r->lo)
            pair_mips_addend(r, section, en, rule->field, &o);
    }
    uint64_t value = evaluate(r, rule->calc, &o);
    for (size_t k = 0; k < 2 && en->types[k]; k++) {
        rule = bk_reloc_rule_of(&r->table, en->types[k]);
        if (rule == NULL)
            return false;
        o.s = 0;
        o.bits = 0;
        o.a = (int64_t)value;
        value = evaluate(r, rule->calc, &o);
    }
    if (!bk_range_inside(en->offset, bk_reloc_field_size(rule->field), target->size))
        return false;
    if (r->phase == PHASE_COLLECT)
        return true;
    place.write = (uint8_t *)(uintptr_t)target->data + en->offset; /* our own copy */
    return bk_reloc_write(&place, rule->field, value);
}

/* ---- sections --------------------------------------------------------- */

/* Whether relocation section `i` is one to be applied; troubles are told once, while applying. */
static bool usable(struct relocator *r, size_t i)
{
    struct elf *e = r->e;
    const struct elf_section *s = &e->sh[i];
    size_t entsize = (e->is64 ? 16 : 8) + (s->type == SHT_RELA ? (e->is64 ? 8 : 4) : 0);
    const char *why = NULL;
    if ((s->type != SHT_REL && s->type != SHT_RELA) || s->size == 0)
        return false;
    if (s->info == 0 || s->info >= e->n_sh)
        why = "there is no section that they are for";
    else if (!e->sect[s->info - 1].alloc || e->sect[s->info - 1].data == NULL)
        return false;
    else if (s->link != e->symtab || e->symtab == 0)
        why = "their symbol table is not .symtab";
    else if (s->entsize != entsize)
        why = "their entries have an odd size";
    else if (s->size / entsize > r->entries_left)
        why = "more of them than the file has room for";
    if (why && r->phase == PHASE_APPLY)
        bk_image_trouble(e->rd, e->src, BK_EFORMAT, s->offset, "relocations of section %zu: %s", i, why);
    if (why == NULL)
        r->entries_left -= (size_t)(s->size / entsize);
    return why == NULL;
}

/* Puts a copy that may be changed in the place of a section's bytes, once. */
static bool make_copy(struct relocator *r, size_t i)
{
    struct elf *e = r->e;
    struct bk_section *t = &e->sect[i - 1];
    if (t->data != e->src->data + e->sh[i].offset)
        return true;
    if (t->size > r->copy_left) {
        bk_image_trouble(e->rd, e->src, BK_ELIMIT, e->sh[i].offset, "section %zu overlaps others and is not relocated",
                         i);
        return false;
    }
    uint8_t *copy = bk_arena_alloc(e->rd->arena, (size_t)t->size, 1);
    if (copy == NULL) {
        r->no_memory = true;
        return false;
    }
    memcpy(copy, t->data, (size_t)t->size);
    r->copy_left -= (size_t)t->size;
    t->data = copy;
    return true;
}

static bool entry_inside(struct relocator *r, const struct elf_reloc *en, const struct bk_section *target)
{
    struct elf *e = r->e;
    bool symbol_ok = en->symbol < e->n_syms, place_ok = en->offset < target->size;
    if (symbol_ok && place_ok)
        return true;
    if (r->phase == PHASE_APPLY && !symbol_ok)
        bk_image_trouble(e->rd, e->src, BK_EFORMAT, en->at, "a relocation of symbol %u, of which there are %zu",
                         en->symbol, e->n_syms);
    else if (r->phase == PHASE_APPLY)
        bk_image_trouble(e->rd, e->src, BK_EFORMAT, en->at,
                         "a relocation at 0x%llx, outside its section of 0x%llx bytes", (unsigned long long)en->offset,
                         (unsigned long long)target->size);
    return false;
}

static void note_code_field(struct relocator *r, const struct elf_reloc *en, const struct bk_section *target)
{
    const struct reloc_rule *rule = bk_reloc_rule_of(&r->table, en->type);
    size_t size = rule && rule->calc != CALC_NONE ? bk_reloc_field_size(rule->field) : 4; /* as those nearly all are */
    if (BK_GROW(r->code_fields))
        r->code_fields.v[r->code_fields.n++] = target->addr + en->offset + size;
    else
        r->no_memory = true;
}

static void walk_section(struct relocator *r, size_t i)
{
    struct elf *e = r->e;
    if (!usable(r, i))
        return;
    const struct elf_section *s = &e->sh[i];
    struct bk_section *target = &e->sect[s->info - 1];
    const uint8_t *original = e->src->data + e->sh[s->info].offset;
    size_t n = (size_t)(s->size / s->entsize);
    if (r->phase == PHASE_APPLY && !make_copy(r, s->info)) {
        e->img.n_relocs_unknown += n;
        return;
    }
    for (size_t k = 0; k < n && !r->no_memory; k++) {
        size_t at = s->type == SHT_REL ? n - 1 - k : k;
        struct elf_reloc en = bk_elf_reloc(e, s->offset + at * s->entsize, s->type == SHT_RELA);
        bool inside = entry_inside(r, &en, target), done = inside && apply_entry(r, i, &en, target, original);
        if (r->phase == PHASE_APPLY && inside && target->exec)
            note_code_field(r, &en, target);
        if (r->phase == PHASE_APPLY && done)
            e->img.n_relocs_applied++;
        else if (r->phase == PHASE_APPLY)
            e->img.n_relocs_unknown++;
    }
}

static void walk_all(struct relocator *r, enum phase phase)
{
    r->phase = phase;
    r->entries_left = r->e->src->size / 8;
    r->copy_left = r->e->src->size;
    for (size_t i = 1; i < r->e->n_sh && !r->no_memory; i++)
        walk_section(r, i);
}

/* Sorts what the slots hold and makes the section of them. */
static bool make_got(struct relocator *r)
{
    struct elf *e = r->e;
    unsigned size = slot_size(e);
    size_t n = 0;
    if (r->got.n == 0)
        return true;
    qsort(r->got.v, r->got.n, sizeof *r->got.v, u64_order);
    for (size_t i = 0; i < r->got.n; i++)
        if (n == 0 || r->got.v[n - 1] != r->got.v[i])
            r->got.v[n++] = r->got.v[i];
    r->got.n = n;
    uint8_t *data = bk_arena_alloc(e->rd->arena, n, size);
    if (data == NULL)
        return false;
    for (size_t i = 0; i < n; i++)
        bk_reloc_store(data + i * size, size, r->got.v[i], e->big_endian);
    e->sect[e->n_sh - 1] = (struct bk_section){
        .name = ".got", .addr = e->got_base, .size = n * size, .data = data, .alloc = true, .write = true};
    e->img.n_sections = e->n_sh;
    return true;
}

static bool keep_code_fields(struct relocator *r)
{
    uint64_t *v = r->code_fields.v;
    size_t n = r->code_fields.n;
    uint64_t *out = bk_arena_alloc(r->e->rd->arena, n, sizeof *out);
    if (out == NULL)
        return false;
    if (n > 0) {
        qsort(v, n, sizeof *v, u64_order);
        memcpy(out, v, n * sizeof *out);
    }
    r->e->img.n_code_fields = n;
    r->e->img.code_fields = out;
    return true;
}

int bk_elf_relocate(struct elf *e, struct bk_error *err)
{
    struct relocator r = {.e = e};
    if (e->n_syms == 0)
        e->symtab = 0; /* relocations then have nothing to refer to */
    bk_reloc_table_init(&r.table, e->img.arch, e->is64);
    if (e->img.arch == BK_ARCH_MIPS || e->img.arch == BK_ARCH_MIPS64) {
        r.lo = bk_calloc(e->n_syms, sizeof *r.lo);
        r.lo_section = bk_calloc(e->n_syms, sizeof *r.lo_section);
        r.no_memory = r.lo == NULL || r.lo_section == NULL;
    }
    walk_all(&r, PHASE_COLLECT);
    if (!r.no_memory && !make_got(&r))
        r.no_memory = true;
    walk_all(&r, PHASE_APPLY);
    if (!r.no_memory && !keep_code_fields(&r))
        r.no_memory = true;
    free(r.got.v);
    free(r.code_fields.v);
    free(r.lo);
    free(r.lo_section);
    return r.no_memory ? bk_fail_nomem(err, e->src->size) : BK_OK;
}
