/* Symbol tables: .symtab and .dynsym by section, or .dynsym by the dynamic section where there are no section headers. */
#include "image/image_int.h"

#include <stdlib.h>
#include <string.h>

/* Names longer than this draw on one allowance, so that a million symbols that share one endless
 * name cannot cost a million readings of it. */
#define LONG_NAME       1024
#define LONG_NAME_TOTAL (64u << 20)

struct ordered_mark {
    struct bk_mark mark;
    size_t order; /* in the file: of two at one address the later one counts */
};

struct reader {
    struct elf *e;
    struct {
        struct bk_symbol *v;
        size_t n, cap;
    } symbols;
    struct {
        struct ordered_mark *v;
        size_t n, cap;
    } marks;
    size_t long_names_left; /* bytes */
    const char *file;       /* source file of the local symbols that follow, NULL: not known */
    size_t n_files;         /* of the table so far */
};

/* ---- tables ----------------------------------------------------------- */

/* The string table with every "@VERSION" cut off: in place when there is none, else one copy with each '@' a NUL. */
static int cut_versions(struct elf *e, struct elf_strings *s, struct bk_error *err)
{
    if (s->end == 0 || memchr(s->v, '@', s->end) == NULL)
        return BK_OK;
    char *copy = bk_arena_strndup(e->rd->arena, s->v, s->end);
    if (copy == NULL)
        return bk_fail_nomem(err, s->end);
    for (char *at = copy; (at = memchr(at, '@', s->end - (size_t)(at - copy))) != NULL;)
        *at = '\0';
    s->v = copy;
    return BK_OK;
}

/* The table of section `i`, whose troubles leave it empty. */
static int table_of_section(struct elf_symtab *t, struct elf *e, size_t i, struct bk_error *err)
{
    const struct elf_section *s = &e->sh[i];
    *t = (struct elf_symtab){.offset = s->offset, .dynamic = s->type == SHT_DYNSYM};
    if (s->entsize != elf_symbol_size(e)) {
        bk_image_trouble(e->rd, e->src, BK_EFORMAT, s->offset, "symbol table %s: entries of %llu bytes, not %zu",
                         t->dynamic ? ".dynsym" : ".symtab", (unsigned long long)s->entsize, elf_symbol_size(e));
        return BK_OK;
    }
    if (s->link == 0 || s->link >= e->n_sh || e->sh[s->link].type != SHT_STRTAB) {
        bk_image_trouble(e->rd, e->src, BK_EFORMAT, s->offset, "symbol table %s: section %u is not its string table",
                         t->dynamic ? ".dynsym" : ".symtab", s->link);
        return BK_OK;
    }
    t->n = (size_t)(s->size / s->entsize);
    const struct elf_section *names = &e->sh[s->link];
    if (names->size > 0) /* the offset of one outside the file is not to be followed */
        t->names = bk_elf_strings_of(e->src->data + names->offset, (size_t)names->size);
    for (size_t k = 1; k < e->n_sh; k++) {
        if (e->sh[k].type != SHT_SYMTAB_SHNDX || e->sh[k].link != i)
            continue;
        t->xindex = e->sh[k].offset;
        t->n_xindex = (size_t)(e->sh[k].size / 4);
    }
    return cut_versions(e, &t->names, err);
}

bool bk_elf_file_offset(uint64_t *out, const struct elf *e, uint64_t addr)
{
    for (size_t i = 0; i < e->n_ph; i++) {
        const struct elf_segment *p = &e->ph[i];
        if (p->type == PT_LOAD && addr >= p->vaddr && addr - p->vaddr < p->filesz) {
            *out = p->offset + (addr - p->vaddr);
            return true;
        }
    }
    return false;
}

/* Number of symbols by DT_GNU_HASH: one past the end of the chain of the highest bucket. */
static size_t count_by_gnu_hash(const struct elf *e, uint64_t offset)
{
    struct bk_cursor c = elf_cursor(e, offset);
    uint32_t n_buckets = bk_read_u32(&c), first = bk_read_u32(&c), n_bloom = bk_read_u32(&c);
    (void)bk_read_u32(&c); /* bloom shift */
    (void)bk_read_bytes(&c, (size_t)n_bloom * (e->is64 ? 8 : 4));
    uint32_t last = 0;
    for (uint32_t i = 0; i < n_buckets && !c.failed; i++) {
        uint32_t b = bk_read_u32(&c);
        last = b > last ? b : last;
    }
    if (c.failed || last < first)
        return c.failed ? 0 : first;
    (void)bk_read_bytes(&c, (size_t)(last - first) * 4);
    while (!c.failed && !(bk_read_u32(&c) & 1))
        last++;
    return c.failed ? 0 : (size_t)last + 1;
}

static int table_of_dynamic(struct elf_symtab *t, struct elf *e, struct bk_error *err)
{
    uint64_t symtab = bk_elf_dynamic_value(e, DT_SYMTAB), strtab = bk_elf_dynamic_value(e, DT_STRTAB), at;
    uint64_t strsz = bk_elf_dynamic_value(e, DT_STRSZ), hash = bk_elf_dynamic_value(e, DT_HASH);
    uint64_t gnu_hash = bk_elf_dynamic_value(e, DT_GNU_HASH);
    *t = (struct elf_symtab){.dynamic = true};
    if (symtab == 0 || strtab == 0)
        return BK_OK;
    size_t n = 0;
    if (hash && bk_elf_file_offset(&at, e, hash)) {
        struct bk_cursor h = elf_cursor(e, at);
        (void)bk_read_u32(&h); /* number of buckets */
        n = bk_read_u32(&h);   /* of chains: one a symbol */
    } else if (gnu_hash && bk_elf_file_offset(&at, e, gnu_hash)) {
        n = count_by_gnu_hash(e, at);
    }
    if (!bk_elf_file_offset(&t->offset, e, symtab) || !bk_elf_file_offset(&at, e, strtab) ||
        !bk_range_inside(at, strsz, e->src->size) ||
        !bk_range_inside(t->offset, (uint64_t)n * elf_symbol_size(e), e->src->size)) {
        bk_image_trouble(e->rd, e->src, BK_EFORMAT, BK_NO_OFFSET, "the dynamic symbol table lies outside the file");
        return BK_OK;
    }
    t->n = n;
    t->names = bk_elf_strings_of(e->src->data + at, (size_t)strsz);
    return cut_versions(e, &t->names, err);
}

/* ---- entries ---------------------------------------------------------- */

struct elf_symbol bk_elf_symbol(const struct elf *e, const struct elf_symtab *t, size_t i)
{
    struct elf_symbol s = {.at = t->offset + i * elf_symbol_size(e)};
    struct bk_cursor c = elf_cursor(e, s.at);
    s.name = bk_read_u32(&c);
    if (!e->is64) {
        s.value = bk_read_u32(&c);
        s.size = bk_read_u32(&c);
    }
    uint8_t info = bk_read_u8(&c);
    s.type = info & 15;
    s.bind = info >> 4;
    s.other = bk_read_u8(&c);
    s.section = bk_read_u16(&c);
    if (e->is64) {
        s.value = bk_read_u64(&c);
        s.size = bk_read_u64(&c);
    }
    s.reserved = s.section >= SHN_LORESERVE;
    if (s.section == SHN_XINDEX && i < t->n_xindex) {
        struct bk_cursor x = elf_cursor(e, t->xindex + i * 4);
        s.section = bk_read_u32(&x);
        s.reserved = false;
    }
    return s;
}

static bool is_function(const struct elf *e, const struct elf_symbol *s)
{
    return s->type == STT_FUNC || s->type == STT_GNU_IFUNC || (s->type == STT_ARM_TFUNC && e->machine == EM_ARM);
}

static bool is_thumb(const struct elf *e, const struct elf_symbol *s)
{
    return e->machine == EM_ARM && is_function(e, s) && ((s->value & 1) || s->type == STT_ARM_TFUNC);
}

static bool is_mips(const struct elf *e)
{
    return e->img.arch == BK_ARCH_MIPS || e->img.arch == BK_ARCH_MIPS64;
}

/* Tentative definitions, which the linker places: for us as good as undefined, but data. */
static bool is_common(const struct elf *e, const struct elf_symbol *s)
{
    if (!s->reserved)
        return false;
    return s->section == SHN_COMMON ||
           (is_mips(e) && (s->section == SHN_MIPS_SCOMMON || s->section == SHN_MIPS_ACOMMON)) ||
           (e->machine == EM_X86_64 && s->section == 0xff02); /* SHN_X86_64_LCOMMON */
}

bool bk_elf_is_undefined(const struct elf *e, const struct elf_symbol *s)
{
    return s->section == SHN_UNDEF || (s->reserved && is_mips(e) && s->section == SHN_MIPS_SUNDEFINED);
}

/* The section an entry is defined in, NULL for undefined, absolute and bad numbers. Only with section headers. */
static const struct bk_section *section_of(const struct elf *e, const struct elf_symbol *s)
{
    return !s->reserved && s->section > 0 && s->section < e->n_sh ? &e->sect[s->section - 1] : NULL;
}

/* Address without the Thumb bit; in a relocatable object where the layout puts it. */
static uint64_t address_of(const struct elf *e, const struct elf_symbol *s, size_t i)
{
    uint64_t value = is_thumb(e, s) ? s->value & ~1ull : s->value;
    if (e->type != ET_REL)
        return value;
    if (bk_elf_is_undefined(e, s) || is_common(e, s))
        return e->extern_base + 16 * (uint64_t)i;
    const struct bk_section *in = section_of(e, s);
    return (value + (in ? in->addr : 0)) & elf_addr_mask(e);
}

static void note_for_relocations(struct elf *e, const struct elf_symbol *s, size_t i, const char *name)
{
    uint64_t value = address_of(e, s, i);
    uint8_t bits = 0;
    bits |= s->bind == STB_LOCAL ? ELF_SYM_LOCAL : 0;
    bits |= is_thumb(e, s) ? ELF_SYM_THUMB : 0;
    bits |= is_function(e, s) && section_of(e, s) ? ELF_SYM_FUNC : 0;
    if (bk_elf_is_undefined(e, s) && name) {
        if (strcmp(name, "_GLOBAL_OFFSET_TABLE_") == 0)
            value = e->got_base;
        if (is_mips(e) && strcmp(name, "__gnu_local_gp") == 0)
            value = e->gp;
        if (is_mips(e) && strcmp(name, "_gp_disp") == 0)
            bits |= ELF_SYM_GP_DISP;
    }
    e->sym_value[i] = i == 0 ? 0 : value;
    e->sym_bits[i] = i == 0 ? ELF_SYM_LOCAL : bits;
}

/* $a, $t, $d, $x, each also with a ".suffix". */
static bool mark_kind(enum bk_mark_kind *out, const struct elf *e, const struct elf_symbol *s, const char *name)
{
    bool arm = e->img.arch == BK_ARCH_ARM, a64 = e->img.arch == BK_ARCH_ARM64;
    if ((!arm && !a64) || s->bind != STB_LOCAL || s->type != STT_NOTYPE || name[0] != '$' || name[1] == '\0' ||
        (name[2] != '\0' && name[2] != '.'))
        return false;
    switch (name[1]) {
    case 'd':
        *out = BK_MARK_DATA;
        return true;
    case 'a':
        *out = BK_MARK_A32;
        return arm;
    case 't':
        *out = BK_MARK_T32;
        return arm;
    case 'x':
        *out = BK_MARK_A64;
        return a64;
    default:
        return false;
    }
}

static int add_mark(struct reader *r, enum bk_mark_kind kind, uint64_t addr, const struct bk_section *in,
                    struct bk_error *err)
{
    /* A mark at the very end says nothing here and would speak for the next section. */
    if (in && (!in->alloc || addr < in->addr || addr - in->addr >= in->size))
        return BK_OK;
    if (!BK_GROW(r->marks))
        return bk_fail_nomem(err, r->marks.n * sizeof *r->marks.v);
    r->marks.v[r->marks.n] = (struct ordered_mark){{addr, kind}, r->marks.n};
    r->marks.n++;
    return BK_OK;
}

/* Whether a function can be where it says it is; else a trouble. Clears a size that runs past the section. */
static bool plausible_function(struct reader *r, const struct elf_symbol *s, const struct bk_section *in,
                               struct bk_symbol *sym)
{
    struct elf *e = r->e;
    if (is_mips(e) && ((s->other & 0xc0) == 0x80 || (s->other & 0xf0) == 0xf0)) {
        bk_image_trouble(e->rd, e->src, BK_EUNSUPPORTED, s->at, "function %.64s is MIPS16 or microMIPS code",
                         sym->name);
        return false;
    }
    if (in == NULL)
        return true;
    if (sym->addr < in->addr || sym->addr - in->addr >= in->size) {
        bk_image_trouble(e->rd, e->src, BK_EFORMAT, s->at, "function %.64s at 0x%llx is not inside its section %.32s",
                         sym->name, (unsigned long long)s->value, in->name);
        return false;
    }
    if (sym->size > in->size - (sym->addr - in->addr)) {
        bk_image_trouble(e->rd, e->src, BK_EFORMAT, s->at,
                         "function %.64s: 0x%llx bytes run past the end of its section %.32s; size not used", sym->name,
                         (unsigned long long)s->size, in->name);
        sym->size = 0;
    }
    return true;
}

/* The entry's name, NULL (with a trouble where one is due) when it has none that can be used. */
static const char *name_of(struct reader *r, const struct elf_symtab *t, const struct elf_symbol *s)
{
    struct elf *e = r->e;
    const char *name = elf_string(&t->names, s->name);
    if (name == NULL) {
        bk_image_trouble(e->rd, e->src, BK_EFORMAT, s->at, "a symbol's name at 0x%x is not in the string table",
                         s->name);
        return NULL;
    }
    if (strnlen(name, LONG_NAME + 1) > LONG_NAME) {
        size_t n = strnlen(name, r->long_names_left + 1);
        if (n > r->long_names_left) {
            bk_image_trouble(e->rd, e->src, BK_ELIMIT, s->at, "a symbol's name is too long");
            return NULL;
        }
        r->long_names_left -= n;
    }
    return name[0] ? name : NULL;
}

static enum bk_symbol_kind kind_of(const struct elf *e, const struct elf_symbol *s)
{
    if (bk_elf_is_undefined(e, s))
        return BK_SYM_EXTERN;
    if (is_function(e, s))
        return BK_SYM_FUNC;
    return s->type == STT_OBJECT || s->type == STT_COMMON || is_common(e, s) ? BK_SYM_OBJECT : BK_SYM_OTHER;
}

/* From here on symbols are of the source file that this entry names; one without a name ends those of the file before. */
static void begin_file(struct reader *r, const struct elf_symtab *t, const struct elf_symbol *s)
{
    const char *name = elf_string(&t->names, s->name);
    bool useful = name && name[0] && strnlen(name, LONG_NAME + 1) <= LONG_NAME;
    r->file = useful ? name : NULL;
    r->n_files++;
}

static const char *file_of(const struct reader *r, const struct elf_symbol *s)
{
    return s->bind == STB_LOCAL || (r->e->type == ET_REL && r->n_files == 1) ? r->file : NULL;
}

/* Keeps entry `i` as a symbol or a mark, or leaves it out. */
static int take_entry(struct reader *r, const struct elf_symtab *t, const struct elf_symbol *s, size_t i,
                      const char *name, struct bk_error *err)
{
    struct elf *e = r->e;
    enum bk_mark_kind mark;
    const struct bk_section *in = section_of(e, s);
    if (in == NULL && e->n_sh == 0)
        in = bk_image_section_at(&e->img, s->value);
    if (in == NULL && !s->reserved && s->section != SHN_UNDEF && e->n_sh > 0) {
        bk_image_trouble(e->rd, e->src, BK_EFORMAT, s->at, "symbol %.64s: there is no section %u", name, s->section);
        return BK_OK;
    }
    uint64_t addr = address_of(e, s, i);
    if (mark_kind(&mark, e, s, name))
        return add_mark(r, mark, addr, in, err);
    if ((in && !in->alloc) || (bk_elf_is_undefined(e, s) && e->type != ET_REL) ||
        (s->type == STT_TLS && !bk_elf_is_undefined(e, s)))
        return BK_OK;
    struct bk_symbol sym = {.name = name,
                            .file = file_of(r, s),
                            .addr = addr,
                            .size = s->size,
                            .kind = kind_of(e, s),
                            .section = BK_NO_SECTION,
                            .global = s->bind != STB_LOCAL,
                            .weak = s->bind == STB_WEAK,
                            .dynamic = t->dynamic,
                            .thumb = is_thumb(e, s)};
    if (sym.kind == BK_SYM_EXTERN)
        sym.size = 0;
    if (sym.kind == BK_SYM_FUNC && !plausible_function(r, s, in, &sym))
        return BK_OK;
    if (in && addr >= in->addr && addr - in->addr <= in->size)
        sym.section = (uint32_t)(in - e->sect);
    if (!BK_GROW(r->symbols))
        return bk_fail_nomem(err, r->symbols.n * sizeof *r->symbols.v);
    r->symbols.v[r->symbols.n++] = sym;
    return BK_OK;
}

static int read_table(struct reader *r, const struct elf_symtab *t, bool note, struct bk_error *err)
{
    r->file = NULL;
    r->n_files = 0;
    for (size_t i = 0; i < t->n; i++) {
        struct elf_symbol s = bk_elf_symbol(r->e, t, i);
        if (s.type == STT_FILE)
            begin_file(r, t, &s);
        bool named = i > 0 && s.type != STT_SECTION && s.type != STT_FILE;
        const char *name = named ? name_of(r, t, &s) : NULL;
        if (note)
            note_for_relocations(r->e, &s, i, name);
        int rc = name ? take_entry(r, t, &s, i, name, err) : BK_OK;
        if (rc != BK_OK)
            return rc;
    }
    return BK_OK;
}

/* ---- results ---------------------------------------------------------- */

#define ORDER(a, b)                                                                                                    \
    if ((a) != (b))                                                                                                    \
    return (a) < (b) ? -1 : 1

/* By address and name; of one pair the best first: from .symtab, a function, with a size, global. */
static int symbol_order(const void *a, const void *b)
{
    const struct bk_symbol *x = a, *y = b;
    ORDER(x->addr, y->addr);
    int by_name = strcmp(x->name, y->name);
    if (by_name)
        return by_name;
    ORDER(x->dynamic, y->dynamic);
    ORDER(x->kind, y->kind);
    ORDER(y->size, x->size);
    ORDER(y->global, x->global);
    ORDER(x->weak, y->weak);
    ORDER(x->section, y->section);
    ORDER(x->thumb, y->thumb);
    return 0;
}

static int mark_order(const void *a, const void *b)
{
    const struct ordered_mark *x = a, *y = b;
    ORDER(x->mark.addr, y->mark.addr);
    ORDER(x->order, y->order);
    return 0;
}

static int finish_symbols(struct reader *r, struct bk_error *err)
{
    struct bk_symbol *v = r->symbols.v;
    size_t kept = 0;
    if (r->symbols.n > 0)
        qsort(v, r->symbols.n, sizeof *v, symbol_order);
    for (size_t i = 0; i < r->symbols.n; i++)
        if (kept == 0 || v[kept - 1].addr != v[i].addr || strcmp(v[kept - 1].name, v[i].name) != 0)
            v[kept++] = v[i];
    struct bk_symbol *out = bk_arena_alloc(r->e->rd->arena, kept, sizeof *out);
    if (out == NULL)
        return bk_fail_nomem(err, kept * sizeof *out);
    if (kept > 0)
        memcpy(out, v, kept * sizeof *out);
    r->e->img.symbols = out;
    r->e->img.n_symbols = kept;
    return BK_OK;
}

static int finish_marks(struct reader *r, struct bk_error *err)
{
    struct ordered_mark *v = r->marks.v;
    struct bk_mark *out = bk_arena_alloc(r->e->rd->arena, r->marks.n, sizeof *out);
    size_t kept = 0;
    if (out == NULL)
        return bk_fail_nomem(err, r->marks.n * sizeof *out);
    if (r->marks.n > 0)
        qsort(v, r->marks.n, sizeof *v, mark_order);
    for (size_t i = 0; i < r->marks.n; i++) {
        if (kept > 0 && out[kept - 1].addr == v[i].mark.addr)
            kept--;
        out[kept++] = v[i].mark;
    }
    r->e->img.marks = out;
    r->e->img.n_marks = kept;
    return BK_OK;
}

static int prepare_notes(struct elf *e, struct bk_error *err)
{
    e->sym_value = bk_arena_alloc(e->rd->arena, e->n_syms, sizeof *e->sym_value);
    e->sym_bits = bk_arena_alloc(e->rd->arena, e->n_syms, sizeof *e->sym_bits);
    if (e->sym_value == NULL || e->sym_bits == NULL)
        return bk_fail_nomem(err, e->n_syms * sizeof *e->sym_value);
    return BK_OK;
}

static int read_tables(struct reader *r, struct bk_error *err)
{
    struct elf *e = r->e;
    struct elf_symtab t;
    int rc = BK_OK;
    if (e->symtab) {
        rc = table_of_section(&t, e, e->symtab, err);
        e->img.has_symtab = t.n > 0;
        if (rc == BK_OK && e->type == ET_REL) {
            e->n_syms = t.n;
            rc = prepare_notes(e, err);
        }
        if (rc == BK_OK)
            rc = read_table(r, &t, e->type == ET_REL, err);
    }
    if (rc == BK_OK && e->type != ET_REL)
        rc = table_of_dynamic(&e->dynamic_symbols, e, err);
    if (rc != BK_OK || e->type == ET_REL || (e->n_sh > 0 && e->dynsym == 0))
        return rc;
    t = e->dynamic_symbols;
    rc = e->dynsym ? table_of_section(&t, e, e->dynsym, err) : BK_OK;
    return rc == BK_OK ? read_table(r, &t, false, err) : rc;
}

int bk_elf_read_symbols(struct elf *e, struct bk_error *err)
{
    struct reader r = {.e = e, .long_names_left = LONG_NAME_TOTAL};
    int rc = read_tables(&r, err);
    if (rc == BK_OK)
        rc = finish_symbols(&r, err);
    if (rc == BK_OK)
        rc = finish_marks(&r, err);
    free(r.symbols.v);
    free(r.marks.v);
    return rc;
}
