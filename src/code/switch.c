/* Targets of table jumps, where the table is readable and plainly bounded: an unsigned comparison with a constant
 * just before the jump. Marks tables that lie in the code as data. */
#include "code/code_int.h"

#include <string.h>

#define LOOK_BACK 16   /* instructions from the jump to the comparison */
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

/* The n of a comparison "cmp x, #n-1" at most LOOK_BACK before instruction i whose next instruction is a conditional branch
 * named `leave`, or which is followed by instruction i directly when leave is NULL. *at: the branch or i. */
static bool find_bound(uint64_t *n, size_t *at, const struct bk_decoder *d, size_t i, const char *const *leave)
{
    const struct bk_insn *v = d->insns.v;
    for (size_t k = i, stop = i > LOOK_BACK ? i - LOOK_BACK : 0; k-- > stop;) {
        if (!is(&v[k], "cmp") && !is(&v[k], "cmp.w")) {
            if ((v[k].flags & BK_INSN_JUMP) && !(v[k].flags & BK_INSN_COND))
                return false;
            continue;
        }
        const struct bk_operand *op = v[k].operands;
        if (v[k].n_operands != 2 || op[1].kind != BK_OP_IMM || op[1].value < 0 || op[1].value >= MAX_CASES)
            return false;
        *n = (uint64_t)op[1].value + 1;
        *at = i;
        if (!leave)
            return true;
        for (size_t j = k + 1; j < i; j++) {
            if (!(v[j].flags & BK_INSN_JUMP))
                continue;
            *at = j;
            for (; *leave; leave++)
                if (is(&v[j], *leave))
                    return true;
            return false;
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

static bool arm_switch(struct bk_decoder *d, size_t i)
{
    const struct bk_insn *insn = &d->insns.v[i];
    const struct bk_operand *op = insn->operands;
    uint64_t n = 0;
    size_t at;
    if (is(insn, "tbb") || is(insn, "tbh")) {
        if (insn->n_operands != 1 || !same(op[0].reg, "pc"))
            return true;
        static const char *const leave[] = {"bhi", "bhi.w", "bhs", "bhs.w", NULL};
        if (!find_bound(&n, &at, d, i, leave))
            n = 0;
        return thumb_table(d, insn, is(insn, "tbb") ? 1 : 2, n);
    }
    if (d->thumb || insn->n_operands < 2 || !find_bound(&n, &at, d, i, NULL))
        return true;
    if (is(insn, "addls") && insn->n_operands == 3 && same(op[1].reg, "pc") && op[2].kind == BK_OP_REG) {
        for (uint64_t k = 0; k < n; k++) /* pc + x * 4: each entry is a branch instruction */
            if (!push_case(d, insn->addr, insn->addr + 8 + 4 * k))
                return false;
        return true;
    }
    if (is(insn, "ldrls") && op[1].kind == BK_OP_MEM && same(op[1].reg, "pc") && op[1].index && op[1].scale == 4) {
        struct table t = {.addr = insn->addr + 8, .n = n, .width = 4, .scale = 1};
        bk_decoder_mark_data(d, t.addr, n * 4);
        return push_table(d, insn->addr, &t);
    }
    return true;
}

/* ---- x86 -------------------------------------------------------------- */

static const char *const above[] = {"ja", NULL};

/* jmp [x * w + table]: absolute addresses. */
static bool x86_absolute(struct bk_decoder *d, size_t i, unsigned width)
{
    const struct bk_insn *insn = &d->insns.v[i];
    const struct bk_operand *op = insn->operands;
    struct table t = {.width = width, .scale = 1};
    size_t at;
    if (op->reg || !op->index || op->scale != (int32_t)width || !find_bound(&t.n, &at, d, i, above))
        return true;
    t.addr = width == 4 ? (uint32_t)op->value : (uint64_t)op->value;
    return push_table(d, insn->addr, &t);
}

/* lea t, [rip + table]; movsxd x, [t + x * 4]; add x, t; jmp x: distances from the table. */
static bool amd64_relative(struct bk_decoder *d, size_t i)
{
    const struct bk_insn *v = d->insns.v;
    struct table t = {.width = 4, .scale = 1, .is_signed = true};
    size_t at;
    if (!find_bound(&t.n, &at, d, i, above))
        return true;
    bool loads = false;
    for (size_t k = at + 1; k < i; k++) {
        const struct bk_operand *op = v[k].operands;
        if (v[k].n_operands != 2 || op[1].kind != BK_OP_MEM)
            continue;
        if (is(&v[k], "lea") && same(op[1].reg, "rip"))
            t.addr = t.base = v[k].addr + v[k].size + (uint64_t)op[1].value;
        else if ((is(&v[k], "movsxd") || is(&v[k], "mov")) && op[1].reg && op[1].index)
            loads = true;
    }
    return !loads || t.addr == 0 || push_table(d, v[i].addr, &t);
}

bool bk_switch_find(struct bk_decoder *d, size_t i)
{
    const struct bk_insn *insn = &d->insns.v[i];
    switch (d->body.arch) {
    case BK_ARCH_ARM:
        return arm_switch(d, i);
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
