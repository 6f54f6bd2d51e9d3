/* Targets of table jumps, where the table is readable and plainly bounded: an unsigned comparison with a constant
 * just before the jump. Marks tables that lie in the code as data. */
#include "code/code_int.h"

#include <string.h>

#define LOOK_BACK 16   /* instructions from the jump to the branch to "default" */
#define LOOK_FAR  256  /* to where a loop found the table's address */
#define MAX_CASES 1024 /* of one table */

struct table {
    uint64_t addr;  /* of the first entry */
    uint64_t base;  /* what entries count from; 0 for absolute addresses */
    uint64_t n;     /* entries */
    unsigned width; /* bytes of an entry */
    unsigned scale; /* entries count in these units */
    bool is_signed;
};

static bool push_case(struct bk_decoder *d, uint64_t from, uint64_t to)
{
    if (to < d->begin || to >= d->end || d->cases.n >= BK_MAX_INSNS)
        return true;
    if (!BK_GROW(d->cases))
        return false;
    d->cases.v[d->cases.n++] = (struct jump_case){from, to};
    return true;
}

static bool is(const struct bk_insn *insn, const char *mnemonic)
{
    return !strcmp(insn->mnemonic, mnemonic);
}

static bool same(const char *a, const char *b)
{
    return a && b && !strcmp(a, b);
}

static bool entry_at(uint64_t *out, struct bk_decoder *d, const struct table *t, uint64_t i)
{
    if (d->entries_left == 0)
        return false;
    d->entries_left--;
    size_t avail = 0;
    const uint8_t *p = bk_image_bytes(d->functions->image, t->addr + i * t->width, &avail);
    if (!p || avail < t->width)
        return false;
    struct bk_cursor c = bk_cursor_at(p, avail, 0, d->functions->image->big_endian);
    uint64_t v = t->width == 1   ? bk_read_u8(&c)
                 : t->width == 2 ? bk_read_u16(&c)
                 : t->width == 4 ? bk_read_u32(&c)
                                 : bk_read_u64(&c);
    unsigned shift = 64 - 8 * t->width;
    if (t->is_signed && shift > 0)
        v = (uint64_t)((int64_t)(v << shift) >> shift);
    *out = t->base + v * t->scale;
    return true;
}

static bool push_table(struct bk_decoder *d, uint64_t from, const struct table *t)
{
    bool thumb = d->thumb;
    uint64_t to;
    for (uint64_t i = 0; i < t->n && entry_at(&to, d, t, i); i++)
        if (!push_case(d, from, thumb ? to & ~UINT64_C(1) : to))
            return false;
    return true;
}

/* The conditional branches that leave for "default" when the index is above (inclusive: not below) the constant. */
struct leave {
    const char *mnemonic;
    bool inclusive;
};
static const struct leave leaves[] = {{"ja", false}, {"jae", true},   {"bhi", false},  {"bhi.w", false},
                                      {"bhs", true}, {"bhs.w", true}, {"b.hi", false}, {"b.hs", true}};

static bool compares(const struct bk_insn *insn)
{
    static const char *const names[] = {"cmp", "cmp.w", "sub", "subs"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (is(insn, names[i]))
            return true;
    return false;
}

/* The constant of the comparison at most 4 before instruction i, plus one. */
static bool find_compare(uint64_t *n, const struct bk_decoder *d, size_t i)
{
    const struct bk_insn *v = d->insns.v;
    for (size_t k = i, stop = i > 4 ? i - 4 : 0; k-- > stop;) {
        if (v[k].flags & (BK_INSN_JUMP | BK_INSN_RET | BK_INSN_CALL))
            return false;
        if (!compares(&v[k]))
            continue;
        if (v[k].n_operands < 2)
            return false;
        const struct bk_operand *last = &v[k].operands[v[k].n_operands - 1];
        if (last->kind != BK_OP_IMM || last->value < 0 || last->value >= MAX_CASES)
            return false;
        *n = (uint64_t)last->value + 1;
        return true;
    }
    return false;
}

/* How many cases the jump i has, from the branch before it that leaves for "default" and its comparison. *at: that branch. */
static bool find_bound(uint64_t *n, size_t *at, const struct bk_decoder *d, size_t i)
{
    const struct bk_insn *v = d->insns.v;
    for (size_t k = i, stop = i > LOOK_BACK ? i - LOOK_BACK : 0; k-- > stop;) {
        if (!(v[k].flags & BK_INSN_JUMP))
            continue;
        for (size_t j = 0; j < sizeof leaves / sizeof *leaves; j++) {
            if (!is(&v[k], leaves[j].mnemonic))
                continue;
            *at = k;
            if (!find_compare(n, d, k))
                return false;
            *n -= leaves[j].inclusive;
            return true;
        }
        return false;
    }
    return false;
}

/* ---- ARM -------------------------------------------------------------- */

/* tbb/tbh [pc, x]: the table follows; it ends at the latest where its first target begins. */
static bool thumb_table(struct bk_decoder *d, const struct bk_insn *insn, unsigned width, uint64_t bound)
{
    struct table t = {.addr = insn->addr + 4, .base = insn->addr + 4, .n = bound, .width = width, .scale = 2};
    uint64_t lowest = d->end, n = 0, to;
    while ((bound == 0 || n < bound) && n < MAX_CASES && t.addr + n * width < lowest && entry_at(&to, d, &t, n)) {
        if (to < lowest)
            lowest = to;
        n++;
    }
    t.n = n;
    bk_decoder_mark_data(d, t.addr, n * width);
    return push_table(d, insn->addr, &t);
}

/* addls pc, pc, x, lsl #2: each entry is a branch instruction; ldrls pc, [pc, x, lsl #2]: an address. Behind both stands the branch to
 * "default", then the first entry. */
static bool arm_predicated(struct bk_decoder *d, size_t i)
{
    const struct bk_insn *insn = &d->insns.v[i];
    const struct bk_operand *op = insn->operands;
    struct table t = {.addr = insn->addr + 8, .width = 4, .scale = 1};
    if (!same(op[1].reg, "pc") || !find_compare(&t.n, d, i))
        return true;
    if (op[1].kind == BK_OP_MEM) {
        if (!op[1].index || op[1].scale != 4)
            return true;
        bk_decoder_mark_data(d, t.addr, t.n * 4);
        return push_table(d, insn->addr, &t);
    }
    for (uint64_t k = 0; insn->n_operands == 3 && k < t.n; k++)
        if (!push_case(d, insn->addr, t.addr + 4 * k))
            return false;
    return true;
}

/* adr t, table; ldr x, [t, x, lsl #2]; add t, t, x; bx t (or add pc, t, x): distances from the table. */
static bool arm_relative(struct bk_decoder *d, size_t i)
{
    const struct bk_insn *v = d->insns.v;
    struct table t = {.width = 4, .scale = 1, .is_signed = true};
    const char *base = NULL;
    bool loads = false;
    size_t at;
    if (!find_bound(&t.n, &at, d, i))
        return true;
    for (size_t k = at + 1; k < i; k++) {
        const struct bk_operand *op = v[k].operands;
        bool adr = is(&v[k], "adr") || is(&v[k], "adr.w"), add = is(&v[k], "add") && v[k].n_operands == 3;
        if (add && !same(op[1].reg, "pc"))
            add = false;
        if ((adr && v[k].n_operands == 2) || add) {
            base = op[0].reg;
            t.addr = t.base = ((v[k].addr + (d->thumb ? 4 : 8)) & ~UINT64_C(3)) + (uint64_t)op[adr ? 1 : 2].value;
        } else if (v[k].n_operands == 2 && op[1].kind == BK_OP_MEM && op[1].index && op[1].scale == 4) {
            loads = same(op[1].reg, base);
        }
    }
    if (!loads)
        return true;
    bk_decoder_mark_data(d, t.addr, t.n * 4);
    return push_table(d, v[i].addr, &t);
}

static bool arm_switch(struct bk_decoder *d, size_t i)
{
    const struct bk_insn *insn = &d->insns.v[i];
    const struct bk_operand *op = insn->operands;
    uint64_t n = 0;
    size_t at;
    if (is(insn, "tbb") || is(insn, "tbh")) {
        if (insn->n_operands != 1 || !same(op[0].reg, "pc"))
            return true;
        if (!find_bound(&n, &at, d, i))
            n = 0;
        return thumb_table(d, insn, is(insn, "tbb") ? 1 : 2, n);
    }
    if (insn->n_operands >= 2 && (is(insn, "addls") || is(insn, "ldrls")))
        return d->thumb || arm_predicated(d, i);
    return arm_relative(d, i);
}

/* ---- AArch64 ---------------------------------------------------------- */

/* adrp t, page; add t, t, #low; ldrb w, [t, x]; adr b, first; add b, b, w, sxtb #2; br b. Distances from `first`, or from the table where
 * there is none, in units of the shift: 4 but for words. GCC extends the sign (its last operand is a w register), clang does not. */
static bool arm64_switch(struct bk_decoder *d, size_t i)
{
    const struct bk_insn *v = d->insns.v;
    struct table t = {.width = 0};
    uint64_t page = 0, first = 0;
    size_t at;
    if (!find_bound(&t.n, &at, d, i))
        return true;
    for (size_t k = at + 1; k < i; k++) {
        const struct bk_operand *op = v[k].operands;
        if (is(&v[k], "adrp"))
            page = (uint64_t)op[1].value;
        else if (is(&v[k], "adr"))
            first = (uint64_t)op[1].value;
        else if (is(&v[k], "add") && v[k].n_operands == 3 && op[2].kind == BK_OP_IMM && t.width == 0)
            t.addr = page + (uint64_t)op[2].value;
        else if (v[k].n_operands == 2 && op[1].kind == BK_OP_MEM && op[1].index)
            t.width = is(&v[k], "ldrb") ? 1 : is(&v[k], "ldrh") ? 2 : is(&v[k], "ldr") || is(&v[k], "ldrsw") ? 4 : 0;
        else if (is(&v[k], "add") && v[k].n_operands == 3 && op[2].kind == BK_OP_REG)
            t.is_signed = op[2].reg[0] == 'w';
    }
    if (t.width == 0 || page == 0 || t.addr == 0)
        return true;
    t.base = first ? first : t.addr;
    t.is_signed |= t.width == 4;
    t.scale = first ? 4 : 1;
    return push_table(d, v[i].addr, &t);
}

/* ---- x86 -------------------------------------------------------------- */

/* jmp [x * w + table]: absolute addresses. */
static bool x86_absolute(struct bk_decoder *d, size_t i, unsigned width)
{
    const struct bk_insn *insn = &d->insns.v[i];
    const struct bk_operand *op = insn->operands;
    struct table t = {.width = width, .scale = 1};
    size_t at;
    if (op->reg || !op->index || op->scale != (int32_t)width || !find_bound(&t.n, &at, d, i))
        return true;
    t.addr = width == 4 ? (uint32_t)op->value : (uint64_t)op->value;
    return push_table(d, insn->addr, &t);
}

/* The address that "lea reg, [rip + x]" put in `reg` before instruction i, where nothing else writes it in between. 0: not known. */
static uint64_t rip_address(const struct bk_decoder *d, size_t i, const char *reg)
{
    const struct bk_insn *v = d->insns.v;
    for (size_t k = i, stop = i > LOOK_FAR ? i - LOOK_FAR : 0; k-- > stop;) {
        const struct bk_operand *op = v[k].operands;
        if (v[k].n_operands == 0 || op[0].kind != BK_OP_REG || !same(op[0].reg, reg))
            continue;
        if (is(&v[k], "lea") && v[k].n_operands == 2 && same(op[1].reg, "rip"))
            return v[k].addr + v[k].size + (uint64_t)op[1].value;
        if (!is(&v[k], "cmp") && !is(&v[k], "test") && !is(&v[k], "push"))
            return 0;
    }
    return 0;
}

/* lea t, [rip + table]; movsxd x, [t + x * 4]; add x, t; jmp x: distances from the table. Unoptimised code says mov x, [x4 + t]. */
static bool amd64_relative(struct bk_decoder *d, size_t i)
{
    const struct bk_insn *v = d->insns.v;
    struct table t = {.width = 4, .scale = 1, .is_signed = true};
    size_t at;
    if (!find_bound(&t.n, &at, d, i))
        return true;
    for (size_t k = i; k-- > at + 1;) {
        const struct bk_operand *op = v[k].operands;
        bool load =
            v[k].n_operands == 2 && op[1].kind == BK_OP_MEM && op[1].index && (is(&v[k], "movsxd") || is(&v[k], "mov"));
        if (!load)
            continue;
        t.addr = rip_address(d, k, op[1].reg);
        if (t.addr == 0)
            t.addr = rip_address(d, k, op[1].index);
        t.base = t.addr;
        return t.addr == 0 || push_table(d, v[i].addr, &t);
    }
    return true;
}

bool bk_switch_find(struct bk_decoder *d, size_t i)
{
    const struct bk_insn *insn = &d->insns.v[i];
    switch (d->body.arch) {
    case BK_ARCH_ARM:
        return arm_switch(d, i);
    case BK_ARCH_ARM64:
        return arm64_switch(d, i);
    case BK_ARCH_AMD64:
    case BK_ARCH_I386:
        if (insn->n_operands != 1)
            return true;
        if (insn->operands[0].kind == BK_OP_MEM)
            return x86_absolute(d, i, d->body.arch == BK_ARCH_AMD64 ? 8 : 4);
        return d->body.arch == BK_ARCH_I386 || amd64_relative(d, i);
    default:
        return true;
    }
}
