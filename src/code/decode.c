/* The decoder: one linear sweep over a function, data left out. */
#include "code/code_int.h"

#include <stdlib.h>
#include <string.h>

/* Operands of one function: bounds its memory where a hostile file is nothing but register lists. */
#define MAX_OPERANDS ((size_t)4 * BK_MAX_INSNS)
/* Instructions that a decoder remembers: some 10 MB. The common ones come early, so that the first are kept. */
#define MAX_CACHED (1u << 16)
/* Entries of jump tables read in one function: bounds the time where it is nothing but table jumps. */
#define MAX_ENTRIES (1u << 16)

struct isa {
    cs_arch arch;
    cs_mode mode, thumb_mode;
    uint8_t step; /* bytes skipped over what cannot be decoded */
    isa_read *read;
    isa_key *key;
    bool literals; /* data lies between code */
};

static const struct isa isas[BK_ARCH_COUNT] = {
    [BK_ARCH_AMD64] = {CS_ARCH_X86, CS_MODE_64, 0, 1, bk_x86_read, bk_amd64_key, false},
    [BK_ARCH_I386] = {CS_ARCH_X86, CS_MODE_32, 0, 1, bk_x86_read, bk_i386_key, false},
    [BK_ARCH_ARM] = {CS_ARCH_ARM, CS_MODE_ARM | CS_MODE_V8, CS_MODE_THUMB | CS_MODE_V8, 4, bk_arm_read, bk_arm_key,
                     true},
    [BK_ARCH_ARM64] = {CS_ARCH_ARM64, CS_MODE_ARM, 0, 4, bk_arm64_read, bk_arm64_key, true},
    [BK_ARCH_MIPS] = {CS_ARCH_MIPS, CS_MODE_MIPS32, 0, 4, bk_mips_read, bk_mips_key, false},
    [BK_ARCH_MIPS64] = {CS_ARCH_MIPS, CS_MODE_MIPS64, 0, 4, bk_mips_read, bk_mips_key, false},
};

/* ---- operands --------------------------------------------------------- */

struct bk_operand *bk_reading_operand(struct reading *r, enum bk_operand_kind kind)
{
    /* One beyond the last is scratch: what does not fit is written there and not counted. */
    struct bk_operand *op = &r->ops[r->insn->n_operands];
    if (r->insn->n_operands < BK_MAX_OPERANDS)
        r->insn->n_operands++;
    *op = (struct bk_operand){.kind = kind, .scale = 1};
    return op;
}

static const char *reg_name(const struct reading *r, unsigned reg)
{
    return reg ? cs_reg_name(r->cs, reg) : NULL;
}

struct bk_operand *bk_reading_reg(struct reading *r, unsigned reg)
{
    const char *name = reg_name(r, reg);
    struct bk_operand *op = bk_reading_operand(r, name ? BK_OP_REG : BK_OP_OTHER);
    op->reg = name;
    return op;
}

void bk_reading_imm(struct reading *r, int64_t value)
{
    bk_reading_operand(r, BK_OP_IMM)->value = value;
}

struct bk_operand *bk_reading_mem(struct reading *r, unsigned base, unsigned index, int32_t scale, int64_t disp)
{
    struct bk_operand *op = bk_reading_operand(r, BK_OP_MEM);
    op->reg = reg_name(r, base);
    op->index = reg_name(r, index);
    op->scale = scale;
    op->value = disp;
    return op;
}

void bk_reading_other(struct reading *r, const char *what, int64_t number)
{
    struct bk_operand *op = bk_reading_operand(r, BK_OP_OTHER);
    op->reg = what;
    op->value = number;
}

/* Makes room for one more instruction; operands move, so the instructions that point at them are set anew. */
static bool reserve(struct bk_decoder *d)
{
    if (d->insns.n == d->insns.cap && !BK_GROW(d->insns))
        return false;
    size_t need = d->operands.n + BK_MAX_OPERANDS + 1;
    if (need <= d->operands.cap)
        return true;
    uintptr_t before = (uintptr_t)d->operands.v, size = d->operands.n * sizeof *d->operands.v;
    if (!bk_grow((void **)&d->operands.v, &d->operands.cap, need, sizeof *d->operands.v))
        return false;
    for (size_t i = 0; i < d->insns.n; i++) {
        uintptr_t at = (uintptr_t)d->insns.v[i].operands - before;
        if (at < size) /* not those of the cache */
            d->insns.v[i].operands = d->operands.v + at / sizeof *d->operands.v;
    }
    return true;
}

/* ---- capstone's memory ------------------------------------------------ */

/* Capstone 4 does not look whether there was memory: not when it opens a handle (its registers), nor at the handle's first
 * instruction (a table of numbers), nor for the copy of an alias's text in AArch64 and MIPS. Asking beforehand promises
 * nothing where other threads allocate too, so its allocations do not fail: what the heap refuses comes from the decoder's
 * reserve, and whoever called then says that there is no memory. */
static _Thread_local struct reserve *in_use; /* of the decoder that this thread is in Capstone for */

static void *from_reserve(size_t size)
{
    struct reserve *r = in_use;
    if (!r || size > sizeof r->bytes - r->used)
        return NULL;
    void *p = r->bytes + r->used;
    size_t rounded = (size + 15) & ~(size_t)15;
    r->used = rounded < sizeof r->bytes - r->used ? r->used + rounded : sizeof r->bytes;
    r->refused += size;
    return memset(p, 0, size);
}

static void *capstone_malloc(size_t size)
{
    void *p = malloc(size);
    return p ? p : from_reserve(size);
}

static void *capstone_calloc(size_t n, size_t size)
{
    size_t total;
    void *p = bk_calloc(n, size);
    return p || !bk_mul_size(&total, n, size) ? p : from_reserve(total);
}

static void capstone_free(void *p)
{
    const struct reserve *r = in_use;
    if (!r || (uintptr_t)p - (uintptr_t)r->bytes >= sizeof r->bytes)
        free(p);
}

/* For the whole process, as Capstone has it: to whoever else uses it these are malloc and free. */
static bool set_capstone_memory(void *ctx)
{
    (void)ctx;
    cs_opt_mem mem = {capstone_malloc, capstone_calloc, realloc, capstone_free, vsnprintf};
    return cs_option(0, CS_OPT_MEM, (size_t)&mem) == CS_ERR_OK;
}

/* One instruction into d->in. Its size in bytes; 0: none; -1: no memory, and what is in d->in means nothing. */
static int disassemble(struct bk_decoder *d, const uint8_t *p, size_t n, uint64_t addr)
{
    size_t left = n;
    in_use = &d->reserve;
    bool done = cs_disasm_iter(d->cs, &p, &left, &addr, d->in);
    in_use = NULL;
    return d->reserve.refused > 0 ? -1 : done ? (int)(n - left) : 0;
}

/* ---- capstone's state ------------------------------------------------- */

/* Capstone keeps the state of a Thumb IT block from call to call; where the sweep leaves one early, nops use it up. */
static void leave_it_block(struct bk_decoder *d)
{
    for (; d->it_left > 0; d->it_left--) {
        static const uint8_t nop[] = {0x00, 0xbf}, nop_be[] = {0xbf, 0x00};
        disassemble(d, d->mode & CS_MODE_BIG_ENDIAN ? nop_be : nop, sizeof nop, 0);
    }
}

static void set_thumb(struct bk_decoder *d, bool thumb)
{
    thumb = thumb && d->isa->thumb_mode != 0;
    if (thumb == d->thumb)
        return;
    leave_it_block(d);
    d->thumb = thumb;
    d->mode = (d->mode & CS_MODE_BIG_ENDIAN) | (thumb ? d->isa->thumb_mode : d->isa->mode);
    cs_option(d->cs, CS_OPT_MODE, d->mode);
}

static void count_it_block(struct bk_decoder *d)
{
    if (d->it_left > 0)
        d->it_left--;
    if (d->thumb &&
        d->in->id == ARM_INS_IT) /* also inside a block, against the rules: capstone then piles one on the other */
        d->it_left += (unsigned)strlen(d->in->mnemonic) - 1; /* "it", "itt", "ite", ... */
}

/* ---- the sweep -------------------------------------------------------- */

void bk_decoder_mark_data(struct bk_decoder *d, uint64_t addr, uint64_t size)
{
    if (!d->find_literals || addr < d->begin || addr >= d->end)
        return;
    uint64_t from = (addr - d->begin) / 2, to = size < d->end - addr ? addr - d->begin + size : d->end - d->begin;
    memset(d->literals + from, 1, (size_t)((to + 1) / 2 - from));
}

size_t bk_decoder_insn_at(const struct bk_decoder *d, uint64_t addr)
{
    size_t lo = 0, hi = d->insns.n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (d->insns.v[mid].addr < addr)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < d->insns.n && d->insns.v[lo].addr == addr ? lo : SIZE_MAX;
}

static uint32_t word_at(const struct bk_decoder *d, uint64_t pc)
{
    struct bk_cursor c = bk_cursor_at(d->data, d->avail, pc - d->begin, false);
    return bk_read_u32(&c);
}

/* Puts down what is known under the key. */
static void recall(struct bk_decoder *d, uint64_t pc, const struct insn_key *k, const struct cached *e)
{
    struct bk_insn *insn = &d->insns.v[d->insns.n];
    *insn = (struct bk_insn){.addr = pc,
                             .mnemonic = e->mnemonic,
                             .operands = e->operands,
                             .key = k->moves == MOVES_DISP ? 0 : (uint32_t)(e - d->cache.entries.v) + 1,
                             .n_operands = e->n_operands,
                             .size = e->size,
                             .flags = e->flags};
    uint64_t literal = (uint32_t)(LITERAL_BASE(pc) + e->literal);
    if (e->moving > 0) {
        struct bk_operand *ops = d->operands.v + d->operands.n;
        memcpy(ops, e->operands, e->n_operands * sizeof *ops);
        ops[e->moving - 1].value = k->value;
        insn->operands = ops;
        d->operands.n += e->n_operands;
        if (k->moves == MOVES_LAST) {
            insn->flags |= BK_INSN_MOVES;
            literal = (uint64_t)k->value;
        }
        if (insn->flags & BK_INSN_TARGET)
            insn->target = k->target;
    }
    if (e->literal_size > 0)
        bk_decoder_mark_data(d, literal, e->literal_size);
    d->n_operands += e->n_operands;
    d->insns.n++;
}

/* Decodes at `pc`, not past `limit`; `key`: what to remember it by, or NULL. The size of the instruction, 0 when there is none, -1
 * without memory. */
static int decode_anew(struct bk_decoder *d, uint64_t pc, uint64_t limit, const struct insn_key *key)
{
    struct bk_insn *insn = &d->insns.v[d->insns.n];
    *insn = (struct bk_insn){.addr = pc, .operands = d->operands.v + d->operands.n};
    int size = disassemble(d, d->data + (pc - d->begin), limit - pc < 16 ? limit - pc : 16, pc);
    if (size < 0)
        return -1;
    if (size > 0) {
        count_it_block(d);
        insn->size = (uint8_t)size;
        uint32_t id = bk_strtab_intern(d->mnemonics, d->in->mnemonic, strlen(d->in->mnemonic));
        if (id == BK_STR_NONE)
            return -1;
        insn->mnemonic = bk_strtab_str(d->mnemonics, id);
        struct reading r = {.cs = d->cs,
                            .in = d->in,
                            .insn = insn,
                            .ops = d->operands.v + d->operands.n,
                            .wide = d->functions->image->arch == BK_ARCH_MIPS64};
        (d->thumb ? bk_thumb_read : d->isa->read)(&r);
        d->operands.n += insn->n_operands;
        d->n_operands += insn->n_operands;
        if (r.literal_size > 0)
            bk_decoder_mark_data(d, r.literal, r.literal_size);
        uint32_t number = key ? bk_cache_add(&d->cache, key, &r) : 0;
        if (number > 0 && key->moves != MOVES_DISP) {
            insn->key = number;
            insn->flags |= key->moves == MOVES_LAST ? BK_INSN_MOVES : 0;
        }
    } else if (d->isa->arch == CS_ARCH_ARM64 && limit - pc >= 4 && bk_arm64_read_word(insn, word_at(d, pc))) {
        insn->size = 4;
    } else {
        leave_it_block(d);
        return 0;
    }
    d->insns.n++;
    return insn->size;
}

/* The key of the instruction at `pc`. False: it has none. */
static bool find_key(struct insn_key *key, const struct bk_decoder *d, uint64_t pc, uint64_t limit)
{
    if (d->it_left > 0) /* means something else in an IT block, and capstone has to see it */
        return false;
    isa_key *of = d->thumb ? bk_thumb_key : d->isa->key;
    const uint8_t *p = d->data + (pc - d->begin);
    if (limit - pc >= 16)
        return of(key, p, 16, pc, d->mode & CS_MODE_BIG_ENDIAN);
    uint8_t padded[16] = {0};
    memcpy(padded, p, limit - pc);
    return of(key, padded, limit - pc, pc, d->mode & CS_MODE_BIG_ENDIAN);
}

static int decode_one(struct bk_decoder *d, uint64_t pc, uint64_t limit)
{
    struct insn_key key;
    if (!reserve(d))
        return -1;
    bool has_key = find_key(&key, d, pc, limit);
    const struct cached *e = has_key ? bk_cache_find(&d->cache, &key) : NULL;
    if (!e)
        return decode_anew(d, pc, limit, has_key ? &key : NULL);
    recall(d, pc, &key, e);
    return key.size;
}

/* Mapping symbols from the function's begin on: where the next one is and what holds until then. */
struct mark_walk {
    const struct bk_mark *next, *end;
    enum bk_mark_kind kind;
};

static struct mark_walk marks_at(const struct bk_image *img, uint64_t addr, enum bk_mark_kind kind)
{
    if (img->n_marks == 0)
        return (struct mark_walk){NULL, NULL, kind};
    size_t lo = 0, hi = img->n_marks;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (img->marks[mid].addr <= addr)
            lo = mid + 1;
        else
            hi = mid;
    }
    return (struct mark_walk){img->marks + lo, img->marks + img->n_marks, kind};
}

static bool begin_function(struct bk_decoder *d, const struct bk_function *fn, struct mark_walk *walk)
{
    const struct bk_image *img = d->functions->image;
    size_t avail = 0;
    d->data = bk_image_bytes(img, fn->addr, &avail);
    d->begin = fn->addr;
    d->end = fn->addr + fn->size;
    d->avail = !d->data ? 0 : avail < fn->size ? avail : fn->size;
    d->insns.n = d->operands.n = d->n_operands = d->blocks.n = d->edges.n = d->callees.n = d->cases.n = 0;
    d->entries_left = MAX_ENTRIES;
    d->reserve.used = d->reserve.refused = 0;
    leave_it_block(d);
    enum bk_mark_kind kind = fn->thumb ? BK_MARK_T32 : BK_MARK_A32;
    bool marked = bk_image_mark_at(&kind, img, fn->addr);
    *walk = marks_at(img, fn->addr, kind);
    if (!marked)
        walk->next = walk->end;
    d->find_literals = d->isa->literals && !marked;
    if (!d->find_literals)
        return true;
    size_t n = d->avail / 2 + 1;
    if (!bk_grow((void **)&d->literals, &d->literals_cap, n, 1))
        return false;
    memset(d->literals, 0, n);
    return true;
}

static void skip_data(struct bk_decoder *d, uint64_t size)
{
    d->body.bytes_data += size;
    if (d->insns.n > 0)
        d->insns.v[d->insns.n - 1].flags |= INSN_GAP;
}

static bool sweep(struct bk_decoder *d, const struct bk_function *fn)
{
    struct mark_walk walk;
    if (!begin_function(d, fn, &walk))
        return false;
    uint64_t pc = d->begin, end = d->begin + d->avail;
    while (pc < end && d->insns.n < BK_MAX_INSNS && d->n_operands < MAX_OPERANDS) {
        while (walk.next < walk.end && walk.next->addr <= pc)
            walk.kind = walk.next++->kind;
        uint64_t limit = walk.next < walk.end && walk.next->addr < end ? walk.next->addr : end;
        if (walk.kind == BK_MARK_DATA) {
            skip_data(d, limit - pc);
            pc = limit;
            continue;
        }
        set_thumb(d, walk.kind == BK_MARK_T32);
        uint64_t step = d->thumb ? 2 : d->isa->step;
        if (step > limit - pc)
            step = limit - pc;
        if (d->find_literals && d->literals[(pc - d->begin) / 2]) {
            skip_data(d, step);
            pc += step;
            continue;
        }
        int size = decode_one(d, pc, limit);
        if (size < 0)
            return false;
        if (size == 0) {
            d->body.bytes_bad += step;
            pc += step;
            continue;
        }
        d->body.bytes_code += (uint64_t)size;
        pc += (uint64_t)size;
        uint16_t flags = d->insns.v[d->insns.n - 1].flags;
        if ((flags & BK_INSN_JUMP) && !(flags & BK_INSN_TARGET) && !bk_switch_find(d, d->insns.n - 1))
            return false;
    }
    d->body.bytes_bad += d->end - pc;
    return true;
}

/* ---- life ------------------------------------------------------------- */

/* Sorts the table of implicit x86 registers, which Capstone 4 does in place at the first x86 instruction of a process, without
 * a lock (X86_insn_reg_intel); a thread that searches it meanwhile loses the eax of `and eax, 1`. Nothing else in it changes. */
static bool sort_capstone_registers(void *ctx)
{
    static const uint8_t and_eax[] = {0x25, 1, 0, 0, 0};
    return disassemble(ctx, and_eax, sizeof and_eax, 0) > 0;
}

/* Opens the handle and makes it allocate all that it will keep. */
static int open_capstone(struct bk_decoder *d, struct bk_error *err)
{
    static const uint8_t zeros[4], nop[] = {0x1f, 0x20, 0x03, 0xd5}, nop_be[] = {0xd5, 0x03, 0x20, 0x1f};
    static struct bk_once memory_set, sorted;
    if (!bk_once(&memory_set, set_capstone_memory, NULL))
        return bk_fail(err, BK_EUNSUPPORTED, BK_NO_OFFSET, "capstone takes no allocator");
    in_use = &d->reserve;
    cs_err e = cs_open(d->isa->arch, d->mode, &d->cs);
    if (e == CS_ERR_OK) {
        cs_option(d->cs, CS_OPT_DETAIL, CS_OPT_ON);
        d->in = cs_malloc(d->cs);
    }
    in_use = NULL;
    if (e != CS_ERR_OK && e != CS_ERR_MEM)
        return bk_fail(err, BK_EUNSUPPORTED, BK_NO_OFFSET, "capstone: %s", cs_strerror(e));
    const uint8_t *p = d->isa->arch != CS_ARCH_ARM64 ? zeros : d->mode & CS_MODE_BIG_ENDIAN ? nop_be : nop;
    if (!d->in)
        return bk_fail_nomem(err, sizeof *d->in);
    if (d->isa->arch == CS_ARCH_X86)
        bk_once(&sorted, sort_capstone_registers, d);
    disassemble(d, p, sizeof zeros, 0);
    return d->reserve.refused == 0 ? BK_OK : bk_fail_nomem(err, d->reserve.refused);
}

int bk_decoder_new(struct bk_decoder **out, const struct bk_functions *f, struct bk_error *err)
{
    *out = NULL;
    const struct bk_image *img = f->image;
    if ((unsigned)img->arch >= BK_ARCH_COUNT || !isas[img->arch].read)
        return bk_fail(err, BK_EUNSUPPORTED, BK_NO_OFFSET, "no decoder for the architecture");
    struct bk_decoder *d = bk_calloc(1, sizeof *d);
    if (!d)
        return bk_fail_nomem(err, sizeof *d);
    d->functions = f;
    d->isa = &isas[img->arch];
    bool swapped = img->code_big_endian && d->isa->arch != CS_ARCH_X86; /* x86 has one order, whatever a file says */
    d->mode = d->isa->mode | (swapped ? CS_MODE_BIG_ENDIAN : 0);
    d->cache.max = MAX_CACHED;
    d->mnemonics = bk_strtab_new();
    int rc = d->mnemonics ? open_capstone(d, err) : bk_fail_nomem(err, sizeof *d);
    if (rc)
        bk_decoder_free(d);
    else
        *out = d;
    return rc;
}

void bk_decoder_free(struct bk_decoder *d)
{
    if (!d)
        return;
    in_use = &d->reserve;
    if (d->in)
        cs_free(d->in, 1);
    if (d->cs)
        cs_close(&d->cs);
    in_use = NULL;
    bk_strtab_free(d->mnemonics);
    bk_cache_done(&d->cache);
    for (size_t i = 0; i < BK_MEMO_USES; i++)
        free(d->memo[i].v);
    free(d->literals);
    free(d->insns.v);
    free(d->operands.v);
    free(d->blocks.v);
    free(d->edges.v);
    free(d->callees.v);
    free(d->cases.v);
    free(d);
}

/* Room for the keys there are now. */
static bool grow_memos(struct bk_decoder *d)
{
    for (struct bk_memo *m = d->memo; m < d->memo + BK_MEMO_USES; m++) {
        size_t before = m->n;
        if (!bk_grow((void **)&m->v, &m->n, d->cache.entries.n + 1, sizeof *m->v))
            return false;
        if (m->n > before)
            memset(m->v + before, 0, (m->n - before) * sizeof *m->v);
    }
    return true;
}

int bk_decoder_body(const struct bk_body **out, struct bk_decoder *d, size_t i, struct bk_error *err)
{
    *out = NULL;
    if (i >= d->functions->n)
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "function %zu of %zu", i, d->functions->n);
    const struct bk_function *fn = &d->functions->v[i];
    d->body = (struct bk_body){.function = fn, .arch = d->functions->image->arch, .memo = d->memo};
    if (!sweep(d, fn) || !bk_blocks_build(d) || !grow_memos(d))
        return bk_fail_nomem(err, d->insns.cap * sizeof *d->insns.v);
    d->body.n_insns = d->insns.n;
    d->body.insns = d->insns.v;
    d->body.n_blocks = d->blocks.n;
    d->body.blocks = d->blocks.v;
    d->body.n_edges = d->edges.n;
    d->body.edges = d->edges.v;
    d->body.n_callees = d->callees.n;
    d->body.callees = d->callees.v;
    *out = &d->body;
    return BK_OK;
}
