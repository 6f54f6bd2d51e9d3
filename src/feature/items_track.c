/* What an instruction makes of the registers whose values are known, and what it thereby says. */
#include "feature/items_int.h"

#include <string.h>

static const struct value unknown = {0, UNKNOWN, false}, on_stack = {0, STACK, false};

/* ---- items ------------------------------------------------------------ */

static bool begins_with(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* A number of 32 bits is the same item signed and unsigned. */
static void add_number(struct tracker *t, enum bk_item_kind kind, int64_t v)
{
    uint8_t bytes[8];
    if (v > INT32_MAX && v <= UINT32_MAX)
        v -= INT64_C(1) << 32;
    if (v == 0 || (kind == BK_ITEM_IMMEDIATE && (v == 1 || v == -1)))
        return;
    for (unsigned i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)((uint64_t)v >> (8 * i));
    bk_item_add(t, kind, bytes, sizeof bytes);
}

/* Cuts off what differs by libc and its options: "__isoc99_sscanf", "__printf_chk" and "open64" are "sscanf",
 * "printf" and "open". */
static size_t plain_name(const char **name)
{
    size_t n = strnlen(*name, BK_ITEM_TEXT_MAX);
    if (n > 9 && begins_with(*name, "__isoc") && (*name)[8] == '_') {
        *name += 9;
        n -= 9;
    } else if (n > 6 && begins_with(*name, "__") && memcmp(*name + n - 4, "_chk", 4) == 0) {
        *name += 2;
        n -= 6;
    }
    if (n > 2 && memcmp(*name + n - 2, "64", 2) == 0 && (*name)[n - 3] >= 'a' && (*name)[n - 3] <= 'z')
        n -= 2;
    return n;
}

/* Whether there is an import. The canaries that guard the stack are the compiler's, and no item; nor is what is none in a linked file. */
static bool add_import(struct tracker *t, uint64_t addr)
{
    const struct bk_import *import = bk_image_import_at(t->img, addr);
    if (import && !import->inside && !begins_with(import->name, "__stack_chk_")) {
        const char *name = import->name;
        size_t n = plain_name(&name);
        bk_item_add(t, BK_ITEM_IMPORT, name, n);
    }
    return import != NULL;
}

/* Length of the string at `addr`, 0 when there is none; *out is where its bytes are. */
static size_t string_at(const char **out, const struct bk_image *img, uint64_t addr)
{
    const struct bk_section *s = bk_image_section_at(img, addr);
    if (s == NULL || s->data == NULL || s->write || s->exec)
        return 0;
    const uint8_t *p = s->data + (addr - s->addr);
    size_t left = (size_t)(s->size - (addr - s->addr)), n = 0;
    while (n < left && n < BK_ITEM_TEXT_MAX && ((p[n] >= ' ' && p[n] <= '~') || (p[n] >= '\t' && p[n] <= '\r')))
        n++;
    bool ends = n == BK_ITEM_TEXT_MAX || (n < left && p[n] == 0);
    *out = (const char *)p;
    return ends && n >= BK_ITEM_TEXT_MIN ? n : 0;
}

static void add_string(struct tracker *t, uint64_t addr)
{
    const char *text;
    size_t n = string_at(&text, t->img, addr);
    if (n > 0)
        bk_item_add(t, BK_ITEM_STRING, text, n);
}

/* The function has the address of something. */
static void add_address(struct tracker *t, uint64_t addr)
{
    if (!add_import(t, addr))
        add_string(t, addr);
}

/* ---- constants and addresses ------------------------------------------ */

static size_t first_field_behind(const struct bk_image *img, uint64_t addr)
{
    size_t lo = 0, hi = img->n_code_fields;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (img->code_fields[mid] <= addr)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* Whether a relocation of an object is for some part of the instruction. */
static bool has_field(const struct tracker *t)
{
    return t->field < t->img->n_code_fields && t->img->code_fields[t->field] <= t->insn->addr + t->insn->size;
}

static bool in_section(const struct tracker *t, uint64_t v)
{
    return bk_image_section_at(t->img, v & t->mask) != NULL;
}

static bool is_place(const struct tracker *t, uint64_t v)
{
    return in_section(t, v) || bk_image_import_at(t->img, v & t->mask);
}

/* A number in the code that ends in front of `end`: an address in an executable that cannot move, if it can be one;
 * in an object, if a relocation is for it. */
static struct value constant(const struct tracker *t, uint64_t v, uint64_t end)
{
    const struct bk_image *img = t->img;
    size_t field = img->n_code_fields > 0 ? first_field_behind(img, end - 1) : 0;
    bool relocated = field < img->n_code_fields && img->code_fields[field] == end;
    return (struct value){v, relocated || (img->fixed && in_section(t, v)) ? ADDRESS : NUMBER, false};
}

static struct value immediate(const struct tracker *t, int64_t v)
{
    return constant(t, (uint64_t)v, t->insn->addr + t->insn->size);
}

/* ---- registers -------------------------------------------------------- */

static unsigned reg_number(const struct tracker *t, const char *name)
{
    return name ? t->isa->reg(name) : NO_REG;
}

/* What the program counter reads as; of ARM `aligned` where it is the base of an address. */
static uint64_t pc_value(const struct tracker *t, bool aligned)
{
    if (t->body->arch != BK_ARCH_ARM)
        return t->insn->addr + t->insn->size;
    uint64_t pc = t->insn->addr + (t->body->function->thumb ? 4 : 8);
    return aligned ? pc & ~UINT64_C(3) : pc;
}

static struct value read_reg(const struct tracker *t, const char *name, bool as_base)
{
    unsigned n = reg_number(t, name);
    if (n >= ITEM_REGS)
        return unknown;
    if (n == t->isa->pc)
        return (struct value){pc_value(t, as_base), ADDRESS, false};
    if (n == t->isa->zero)
        return (struct value){0, NUMBER, false};
    return t->regs.v[n];
}

/* The register's value is part of something longer now. */
static void consume(struct tracker *t, const char *name)
{
    unsigned n = reg_number(t, name);
    if (n < ITEM_REGS)
        t->regs.v[n].pending = false;
}

void bk_track_put(struct tracker *t, unsigned n, struct value v)
{
    struct value *r = &t->regs.v[n];
    if (r->pending && r->known == NUMBER)
        add_number(t, BK_ITEM_IMMEDIATE, (int64_t)r->v);
    else if (r->pending)
        add_string(t, r->v);
    *r = v;
    t->regs.live = (t->regs.live & ~(UINT64_C(1) << n)) | (uint64_t)(v.known != UNKNOWN) << n;
}

/* The number of the register that a write to `name` changes, NO_REG where that is none of interest: the stack
 * pointer stays what it is. */
static unsigned target_reg(const struct tracker *t, const char *name)
{
    unsigned n = reg_number(t, name) & ~(unsigned)REG_NARROW;
    return n < ITEM_REGS && n != t->isa->sp ? n : NO_REG;
}

static void write_reg(struct tracker *t, const char *name, struct value v)
{
    unsigned n = target_reg(t, name);
    if (n == NO_REG)
        return;
    if (reg_number(t, name) & REG_NARROW)
        v = unknown;
    if (n == t->isa->gp && v.known == UNKNOWN) /* taken back from the stack behind a call */
        return;
    if (v.known == ADDRESS)
        v.v &= t->mask;
    bk_track_put(t, n, v);
}

static void write_all(struct tracker *t, size_t n)
{
    for (size_t i = 0; i < n && i < t->insn->n_operands; i++)
        if (t->insn->operands[i].kind == BK_OP_REG)
            write_reg(t, t->insn->operands[i].reg, unknown);
}

static void forget(struct tracker *t, uint64_t kept)
{
    for (uint64_t m = t->regs.live & ~kept; m != 0; m &= m - 1)
        bk_track_put(t, (unsigned)__builtin_ctzll(m), unknown);
}

/* ---- memory ----------------------------------------------------------- */

static struct value sum(struct value a, struct value b, bool subtract)
{
    if (a.known == STACK || (b.known == STACK && !subtract))
        return on_stack;
    if (a.known == UNKNOWN || b.known < NUMBER || (subtract && b.known == ADDRESS))
        return unknown;
    bool address = a.known == ADDRESS || b.known == ADDRESS;
    return (struct value){subtract ? a.v - b.v : a.v + b.v, address ? ADDRESS : NUMBER, false};
}

/* Whether the displacement alone is an address. */
static bool is_absolute(const struct tracker *t, int64_t disp)
{
    return t->img->fixed ? in_section(t, (uint64_t)disp) : has_field(t) && is_place(t, (uint64_t)disp);
}

/* The address of a memory operand. */
static struct value address_of(const struct tracker *t, const struct bk_operand *op)
{
    struct value base = read_reg(t, op->reg, true), disp = {(uint64_t)op->value, NUMBER, false};
    if (base.known != ADDRESS && is_absolute(t, op->value))
        return (struct value){disp.v & t->mask, ADDRESS, false};
    if (op->reg == NULL)
        return on_stack; /* of a thread or a segment */
    if (op->index) {
        struct value index = read_reg(t, op->index, false);
        if (index.known < NUMBER || op->scale != 1)
            return base.known == ADDRESS || base.known == STACK || has_field(t) ? on_stack : unknown;
        base = sum(base, index, false);
    }
    struct value at = sum(base, disp, false);
    at.v &= t->mask;
    if (at.known == NUMBER && t->img->fixed && in_section(t, at.v))
        at.known = ADDRESS;
    return at.known == UNKNOWN && has_field(t) ? on_stack : at;
}

/* What the GOT of MIPS has for data near an address: an instruction adds the rest. */
static bool is_page(const struct tracker *t, uint64_t v)
{
    return t->isa->gp != NO_REG && (v & 0xffff) == 0;
}

/* The word of `size` bytes at a known address, if no program changes it: a literal, or what a table of addresses
 * says. */
static struct value load(const struct tracker *t, uint64_t addr, size_t size)
{
    const struct bk_section *s = bk_image_section_at(t->img, addr);
    if (s == NULL || s->data == NULL || bk_image_import_at(t->img, addr))
        return unknown;
    bool literal = s->exec && t->isa->literals;
    bool table = begins_with(s->name, ".got") || begins_with(s->name, ".data.rel.ro");
    if ((!literal && !table) || !bk_range_inside(addr - s->addr, size, s->size))
        return unknown;
    struct bk_cursor c = bk_cursor_at(s->data, (size_t)s->size, (size_t)(addr - s->addr), t->img->big_endian);
    uint64_t v = size == 8 ? bk_read_u64(&c) : (uint64_t)(int32_t)bk_read_u32(&c);
    if (table)
        return is_page(t, v) || is_place(t, v) ? (struct value){v & t->mask, ADDRESS, false} : unknown;
    struct value word = constant(t, v, addr + size);
    word.pending = word.known == NUMBER;
    return word;
}

/* Bytes that the instruction, a load of a word, takes to its first register. */
static size_t load_size(const struct tracker *t)
{
    const char *reg = t->insn->operands[0].reg;
    switch (t->body->arch) {
    case BK_ARCH_AMD64:
        return reg[0] == 'r' && reg[strlen(reg) - 1] != 'd' ? 8 : 4;
    case BK_ARCH_ARM64:
        return reg[0] == 'x' ? 8 : 4;
    case BK_ARCH_MIPS64:
        return strcmp(t->insn->mnemonic, "ld") == 0 ? 8 : 4;
    default:
        return 4;
    }
}

/* What a memory operand says. A string that begins inside of what its base is the address of is none of its own. */
static void visit_memory(struct tracker *t, const struct bk_operand *op, enum bk_item_kind kind)
{
    struct value at = t->at = address_of(t, op);
    if (at.known == ADDRESS) {
        struct value base = read_reg(t, op->reg, true);
        const char *text;
        consume(t, op->reg);
        consume(t, op->index);
        if (base.known == ADDRESS && string_at(&text, t->img, base.v) > 0)
            add_import(t, at.v);
        else
            add_address(t, at.v);
    } else if (at.known != STACK) {
        add_number(t, kind, op->value);
    } else if (t->isa->literals) {
        t->spoken_for = true; /* how far a store or load moves the stack pointer */
    }
}

/* ---- instructions ----------------------------------------------------- */

/* How far left the constant of an instruction of AArch64 belongs: MOVZ, MOVN and MOVK say in bits 21 and 22 which 16
 * bits are meant, ADD, SUB and comparisons in bit 22 that it is the upper 12 of 24. */
static unsigned shift_of(const struct tracker *t)
{
    size_t avail;
    const uint8_t *p = t->body->arch == BK_ARCH_ARM64 ? bk_image_bytes(t->img, t->insn->addr, &avail) : NULL;
    if (p == NULL || avail < 4)
        return 0;
    if ((p[3] & 0x1f) == 0x12 && (p[2] & 0x80))
        return (unsigned)(p[2] >> 5 & 3) * 16;
    return (p[3] & 0x1f) == 0x11 && (p[2] & 0xc0) == 0x40 ? 12 : 0;
}

static struct value move_from_memory(struct tracker *t, const char *dst, const struct bk_operand *src)
{
    struct value at = src->kind == BK_OP_MEM ? t->at : (struct value){(uint64_t)src->value, ADDRESS, false};
    if (at.known != ADDRESS || t->isa->reg(dst) >= ITEM_REGS)
        return unknown;
    struct value v = load(t, at.v, load_size(t));
    if (v.known == ADDRESS && !is_page(t, v.v))
        v.pending = !add_import(t, v.v & t->mask);
    return v;
}

static void move(struct tracker *t, bool complement)
{
    const struct bk_operand *dst = &t->insn->operands[0], *src = &t->insn->operands[1];
    struct value v = unknown;
    if (t->insn->n_operands < 2 || dst->kind != BK_OP_REG)
        return;
    if (src->kind == BK_OP_REG && !complement) {
        v = read_reg(t, src->reg, false);
        v.pending = v.pending && v.known == ADDRESS;
    } else if (src->kind == BK_OP_MEM || (src->kind == BK_OP_IMM && t->insn->mnemonic[0] == 'l')) {
        v = move_from_memory(t, dst->reg, src);
    } else if (src->kind == BK_OP_IMM) {
        uint64_t imm = (uint64_t)src->value << shift_of(t);
        v = immediate(t, (int64_t)(complement ? ~imm : imm));
        v.pending = t->spoken_for = v.known == NUMBER && t->isa->literals;
    }
    write_reg(t, dst->reg, v);
}

static void take_address(struct tracker *t, bool whole)
{
    const struct bk_operand *dst = &t->insn->operands[0], *src = &t->insn->operands[1];
    struct value v = unknown;
    if (t->insn->n_operands < 2 || dst->kind != BK_OP_REG)
        return;
    if (src->kind == BK_OP_MEM) {
        v = t->at;
    } else if (src->kind == BK_OP_IMM) {
        uint64_t base = t->body->arch == BK_ARCH_ARM ? pc_value(t, true) : 0;
        v = (struct value){(base + (uint64_t)src->value) & t->mask, ADDRESS, false};
        if (whole)
            add_address(t, v.v);
    }
    write_reg(t, dst->reg, v);
}

/* A value made of others: it is an address, or still half of a constant. */
static void write_made(struct tracker *t, const char *dst, struct value v)
{
    if (v.known == NUMBER && t->img->fixed && in_section(t, v.v))
        v.known = ADDRESS;
    v.pending = v.known == NUMBER || !add_import(t, v.v & t->mask);
    t->spoken_for = true;
    write_reg(t, dst, v);
}

/* Addition, subtraction, and the OR that puts a lower half to an upper one. */
static void combine(struct tracker *t, enum act act)
{
    const struct bk_operand *op = t->insn->operands, *last = op + t->insn->n_operands - 1;
    if (t->insn->n_operands < 2 || t->insn->n_operands > 3 || op->kind != BK_OP_REG)
        return;
    const struct bk_operand *first = t->insn->n_operands == 3 ? op + 1 : op;
    struct value a = first->kind == BK_OP_REG ? read_reg(t, first->reg, false) : unknown, b = unknown;
    if (last->kind == BK_OP_IMM)
        b = immediate(t, (int64_t)((uint64_t)last->value << shift_of(t)));
    else if (last->kind == BK_OP_REG)
        b = read_reg(t, last->reg, false);
    struct value v = sum(a, b, act == ACT_SUB);
    if (act == ACT_OR)
        v.v = a.v | b.v;
    if (v.known == ADDRESS || (v.known == NUMBER && a.pending && last->kind == BK_OP_IMM)) {
        consume(t, first->reg);
        consume(t, last->kind == BK_OP_REG ? last->reg : NULL);
        write_made(t, op->reg, v);
        return;
    }
    t->spoken_for = v.known == STACK;
    write_reg(t, op->reg, v);
}

/* Whether the upper half of an address in an executable that cannot move may be `v`: 32 KB either way are still to
 * come. */
static bool is_upper_half(const struct bk_image *img, uint64_t v)
{
    if (!img->fixed || img->n_spans == 0)
        return false;
    const struct bk_span *code = img->spans, *data = img->spans + img->n_code_spans, *end = img->spans + img->n_spans;
    uint64_t low = data < end && (code == data || data->addr < code->addr) ? data->addr : code->addr;
    uint64_t high = code < data ? data[-1].end : 0;
    if (data < end && end[-1].end > high)
        high = end[-1].end;
    return v + 0x8000 >= low && v < high + 0x8000;
}

/* The upper half alone; the lower one is still to come. */
static void move_high(struct tracker *t)
{
    const struct bk_operand *op = t->insn->operands;
    if (t->insn->n_operands != 2 || op[1].kind != BK_OP_IMM)
        return;
    uint64_t v = (uint64_t)(int32_t)((uint32_t)op[1].value << 16);
    bool address = has_field(t) || is_upper_half(t->img, v & t->mask);
    t->spoken_for = true;
    write_reg(t, op->reg, (struct value){v, address ? ADDRESS : NUMBER, !address});
}

static void keep_rest(struct tracker *t)
{
    const struct bk_operand *op = t->insn->operands;
    if (t->insn->n_operands < 2 || op[0].kind != BK_OP_REG || op[1].kind != BK_OP_IMM)
        return;
    struct value v = read_reg(t, op->reg, false);
    if (v.known < NUMBER) {
        write_reg(t, op->reg, unknown);
        return;
    }
    unsigned shift = t->body->arch == BK_ARCH_ARM ? 16 : shift_of(t); /* MOVT: the upper half */
    v.v = (v.v & ~(UINT64_C(0xffff) << shift)) | ((uint64_t)op[1].value & 0xffff) << shift;
    consume(t, op->reg);
    write_made(t, op->reg, v);
}

/* A call of the next instruction puts its address on the stack, from where i386 takes it. */
static void pop(struct tracker *t)
{
    const struct bk_insn *insn = t->insn;
    bool called = insn > t->body->insns && (insn[-1].flags & BK_INSN_CALL) && insn[-1].target == insn->addr;
    if (insn->operands[0].kind == BK_OP_REG)
        write_reg(t, insn->operands[0].reg, (struct value){insn->addr, called ? ADDRESS : UNKNOWN, false});
}

static void perform(struct tracker *t, enum act act)
{
    switch (act) {
    case ACT_WRITE:
    case ACT_BIC:
        write_all(t, 1);
        break;
    case ACT_MULTI:
        write_all(t, BK_MAX_OPERANDS);
        break;
    case ACT_CLOBBER:
        write_all(t, 1);
        forget(t, t->isa->kept);
        break;
    case ACT_MOVE:
    case ACT_NOT:
        move(t, act == ACT_NOT);
        break;
    case ACT_LEA:
    case ACT_PAGE:
        take_address(t, act == ACT_LEA);
        break;
    case ACT_ADD:
    case ACT_SUB:
    case ACT_OR:
        combine(t, act);
        break;
    case ACT_HIGH:
        move_high(t);
        break;
    case ACT_KEEP:
        keep_rest(t);
        break;
    case ACT_POP:
        pop(t);
        break;
    case ACT_READ:
    case ACT_NONE:
    case ACT_CMN:
    case ACT_BIT:
        break;
    }
}

/* Without the target of a jump or call. */
static size_t n_operands(const struct bk_insn *insn)
{
    return insn->n_operands - (insn->flags & BK_INSN_TARGET ? 1u : 0);
}

/* What the operands say by themselves. */
static void visit_operands(struct tracker *t, enum act act)
{
    for (size_t i = 0, n = n_operands(t->insn); i < n; i++) {
        const struct bk_operand *op = &t->insn->operands[i];
        if (op->kind == BK_OP_MEM)
            visit_memory(t, op, act == ACT_LEA ? BK_ITEM_IMMEDIATE : BK_ITEM_DISPLACEMENT);
        else if (op->kind == BK_OP_IMM && act != ACT_PAGE && immediate(t, op->value).known == ADDRESS)
            add_address(t, (uint64_t)op->value & t->mask);
    }
}

/* Constants, once it is known that they are part of nothing longer. Those of 8 and 16 bits count as unsigned, since
 * other processors have them in whole registers. */
static void visit_immediates(struct tracker *t, enum act act)
{
    int64_t v[BK_MAX_OPERANDS];
    size_t n = bk_insn_immediates(v, t->img, t->insn), size = t->insn->operands[0].size;
    bool narrow = bk_word_prefix(t->body->arch) == 'X' && (size == 1 || size == 2);
    unsigned shift = n > 0 ? shift_of(t) : 0;
    for (size_t i = 0; i < n; i++) {
        v[i] = (int64_t)((uint64_t)v[i] << shift);
        if (act == ACT_SUB || act == ACT_CMN)
            v[i] = (int64_t)(0 - (uint64_t)v[i]);
        else if (act == ACT_BIC || act == ACT_NOT)
            v[i] = ~v[i];
        else if (act == ACT_BIT) /* but the sign, for which others have no mask */
            v[i] = v[i] == 31 || v[i] == 63 ? 0 : (int64_t)(UINT64_C(1) << (v[i] & 63));
        else if (narrow)
            v[i] &= size == 1 ? 0xff : 0xffff;
        add_number(t, BK_ITEM_IMMEDIATE, v[i]);
    }
}

/* The register, by number, to which a function of i386 puts its return address before it returns: mov r, [esp]; ret. */
static unsigned thunk_reg(const struct tracker *t)
{
    size_t avail;
    if (t->body->arch != BK_ARCH_I386 || !(t->insn->flags & BK_INSN_TARGET))
        return NO_REG;
    const uint8_t *p = bk_image_bytes(t->img, t->insn->target, &avail);
    bool thunk = p && avail >= 4 && p[0] == 0x8b && (p[1] & 0xc7) == 0x04 && p[2] == 0x24 && p[3] == 0xc3;
    return thunk ? p[1] >> 3 & 7 : NO_REG;
}

/* A call changes registers once its delay slot, if it has one, is through. */
static void finish_call(struct tracker *t)
{
    bool call = t->insn->flags & BK_INSN_CALL, delayed = t->insn->flags & BK_INSN_DELAY;
    if (t->call_pending || (call && !delayed))
        forget(t, t->isa->kept);
    t->call_pending = call && delayed;
    unsigned thunk = call ? thunk_reg(t) : NO_REG;
    if (thunk != NO_REG)
        bk_track_put(t, thunk, (struct value){t->insn->addr + t->insn->size, ADDRESS, false});
}

/* ---- what an instruction is ------------------------------------------- */

/* What is remembered of the instructions of one key: the act, and of those that are plain, so that their operands
 * need no second look, the register that they write and the one whose value it takes, if any. */
enum {
    MEANING_KNOWN = 1,
    MEANING_PLAIN = 2,
    MEANING_IMM = 4, /* has constants */
    MEANING_ACT = 3, /* these begin at bits */
    MEANING_TO = 8,
    MEANING_FROM = 16
};

static uint32_t read_meaning(const struct tracker *t)
{
    const struct bk_insn *insn = t->insn;
    const struct bk_operand *op = insn->operands;
    bool goes = insn->flags & (BK_INSN_CALL | BK_INSN_JUMP | BK_INSN_RET), memory = false, constant = false;
    enum act act = t->isa->act(insn->mnemonic);
    if (goes && act != ACT_BIT)
        act = ACT_READ;
    for (size_t i = 0, n = n_operands(insn); i < n; i++) {
        memory |= op[i].kind == BK_OP_MEM;
        constant |= op[i].kind == BK_OP_IMM;
    }
    if (act == ACT_NONE)
        return MEANING_KNOWN | MEANING_PLAIN | NO_REG << MEANING_TO | NO_REG << MEANING_FROM;
    uint32_t meaning = MEANING_KNOWN | (constant ? MEANING_IMM : 0) | (uint32_t)act << MEANING_ACT;
    unsigned to = NO_REG, from = NO_REG;
    if (act != ACT_READ && act != ACT_BIT && insn->n_operands > 0 && op[0].kind == BK_OP_REG)
        to = target_reg(t, op[0].reg);
    if (act == ACT_MOVE && insn->n_operands == 2 && op[1].kind == BK_OP_REG)
        from = reg_number(t, op[1].reg);
    bool copies = from < ITEM_REGS && to != NO_REG && !(reg_number(t, op[0].reg) & REG_NARROW);
    bool special = to == t->isa->gp || (copies && (from == t->isa->pc || from == t->isa->zero));
    if (memory || constant || special || (act != ACT_READ && act != ACT_WRITE && !copies))
        return meaning;
    return meaning | MEANING_PLAIN | to << MEANING_TO | (copies ? from : NO_REG) << MEANING_FROM;
}

static uint32_t meaning_of(const struct tracker *t)
{
    if (t->memo == NULL || t->insn->key == 0)
        return read_meaning(t);
    uint32_t *known = &t->memo[t->insn->key];
    if (*known == 0)
        *known = read_meaning(t);
    return *known;
}

static void visit(struct tracker *t, uint32_t meaning)
{
    enum act act = (enum act)(meaning >> MEANING_ACT & 31);
    t->spoken_for = false;
    visit_operands(t, act);
    if (t->insn->n_operands > 0)
        perform(t, act);
    else if (act == ACT_CLOBBER)
        forget(t, t->isa->kept);
    if ((meaning & MEANING_IMM) && !t->spoken_for)
        visit_immediates(t, act);
}

static void visit_plain(struct tracker *t, uint32_t meaning)
{
    unsigned to = meaning >> MEANING_TO & 255, from = meaning >> MEANING_FROM;
    if (to == NO_REG)
        return;
    struct value v = from == NO_REG ? unknown : t->regs.v[from];
    v.pending = v.pending && v.known == ADDRESS;
    bk_track_put(t, to, v);
}

void bk_track_insn(struct tracker *t)
{
    const struct bk_insn *insn = t->insn;
    uint32_t meaning = meaning_of(t);
    while (t->field < t->img->n_code_fields && t->img->code_fields[t->field] <= insn->addr)
        t->field++;
    if (meaning & MEANING_PLAIN)
        visit_plain(t, meaning);
    else
        visit(t, meaning);
    const struct bk_function *f = t->body->function;
    if ((insn->flags & BK_INSN_TARGET) && insn->target - f->addr >= f->size)
        add_import(t, insn->target);
    if (t->call_pending || (insn->flags & BK_INSN_CALL))
        finish_call(t);
}

void bk_track_begin(struct tracker *t)
{
    uint64_t begin = t->body->function->addr;
    t->memo = bk_memo_ids(t->body, BK_MEMO_ITEMS, t->isa);
    t->mask = t->isa->word == 8 ? UINT64_MAX : UINT32_MAX;
    t->field = first_field_behind(t->img, begin);
    bk_track_put(t, t->isa->sp, on_stack);
    if (t->isa->gp != NO_REG)
        bk_track_put(t, t->isa->gp, on_stack); /* until it is known */
    if (t->isa->entry != NO_REG)
        bk_track_put(t, t->isa->entry, (struct value){begin, ADDRESS, false});
}

void bk_track_end(struct tracker *t)
{
    forget(t, 0);
}
