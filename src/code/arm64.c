/* AArch64: flow and operands. */
#include "code/code_int.h"

#include <string.h>

static uint16_t flow(const cs_insn *in)
{
    arm64_cc cc = in->detail->arm64.cc;
    switch (in->id) {
    case ARM64_INS_B:
        return cc == ARM64_CC_INVALID || cc == ARM64_CC_AL || cc == ARM64_CC_NV ? BK_INSN_JUMP
                                                                                : BK_INSN_JUMP | BK_INSN_COND;
    case ARM64_INS_BR:
        return BK_INSN_JUMP;
    case ARM64_INS_CBZ:
    case ARM64_INS_CBNZ:
    case ARM64_INS_TBZ:
    case ARM64_INS_TBNZ:
        return BK_INSN_JUMP | BK_INSN_COND;
    case ARM64_INS_BL:
    case ARM64_INS_BLR:
        return BK_INSN_CALL;
    case ARM64_INS_RET:
    case ARM64_INS_ERET:
    case ARM64_INS_DRPS:
        return BK_INSN_RET;
    case ARM64_INS_BRK:
    case ARM64_INS_HLT:
        return BK_INSN_STOP;
    default:
        return 0;
    }
}

static const char *const cc_names[] = {NULL, "eq", "ne", "hs", "lo", "mi", "pl", "vs", "vc",
                                       "hi", "ls", "ge", "lt", "gt", "le", "al", "nv"};

/* Bytes that an operand takes of its register: of a vector the arrangement's, or one element's. */
static uint8_t reg_size(const cs_arm64_op *op)
{
    static const uint8_t elements[] = {[ARM64_VESS_B] = 1, [ARM64_VESS_H] = 2, [ARM64_VESS_S] = 4, [ARM64_VESS_D] = 8};
    unsigned reg = op->reg;
    if (op->vector_index >= 0 && op->vess > ARM64_VESS_INVALID && op->vess <= ARM64_VESS_D)
        return elements[op->vess];
    if (op->vas == ARM64_VAS_8B || op->vas == ARM64_VAS_4H || op->vas == ARM64_VAS_2S || op->vas == ARM64_VAS_1D)
        return 8;
    if ((reg >= ARM64_REG_X0 && reg <= ARM64_REG_X28) || (reg >= ARM64_REG_D0 && reg <= ARM64_REG_D31) ||
        reg == ARM64_REG_X29 || reg == ARM64_REG_X30 || reg == ARM64_REG_SP || reg == ARM64_REG_XZR)
        return 8;
    if ((reg >= ARM64_REG_W0 && reg <= ARM64_REG_W30) || (reg >= ARM64_REG_S0 && reg <= ARM64_REG_S31) ||
        reg == ARM64_REG_WSP || reg == ARM64_REG_WZR)
        return 4;
    if ((reg >= ARM64_REG_V0 && reg <= ARM64_REG_V31) || (reg >= ARM64_REG_Q0 && reg <= ARM64_REG_Q31))
        return 16;
    return reg >= ARM64_REG_H0 && reg <= ARM64_REG_H31 ? 2 : reg >= ARM64_REG_B0 && reg <= ARM64_REG_B31 ? 1 : 0;
}

/* Bytes that a load, store or atomic instruction accesses, behind the operands read so far: by the suffix of its name, else
 * as wide as the register just before, twice where it takes a pair. ld1 to st4 take all their registers; ld1r and its like
 * one element of each, which nothing here tells. */
static uint8_t access_size(const struct reading *r)
{
    const char *name = r->in->mnemonic, *end = name + strlen(name) - 1;
    unsigned n = r->insn->n_operands - 1u, all = 0; /* without the memory operand itself */
    bool plain = strncmp(name, "ld", 2) == 0 || strncmp(name, "st", 2) == 0;
    if ((!plain && strncmp(name, "cas", 3) != 0 && strncmp(name, "swp", 3) != 0) || n == 0)
        return 0;
    if (plain && name[2] >= '1' && name[2] <= '4') {
        for (unsigned i = 0; i < n; i++)
            all += r->ops[i].size;
        return *end == 'r' ? 0 : (uint8_t)all;
    }
    bool pair = plain ? *end == 'p' || strcmp(name, "ldpsw") == 0 : strncmp(name, "casp", 4) == 0;
    unsigned one = *end == 'b' ? 1 : *end == 'h' ? 2 : *end == 'w' ? 4 : r->ops[n - 1].size;
    return (uint8_t)(pair ? 2 * one : one);
}

static void read_operand(struct reading *r, const cs_arm64_op *op)
{
    switch (op->type) {
    case ARM64_OP_REG:
        bk_reading_reg(r, op->reg)->size = reg_size(op);
        break;
    case ARM64_OP_IMM:
        bk_reading_imm(r, op->imm);
        break;
    case ARM64_OP_MEM: {
        bool shifted = op->mem.index != ARM64_REG_INVALID && op->shift.type == ARM64_SFT_LSL && op->shift.value < 8;
        struct bk_operand *m =
            bk_reading_mem(r, op->mem.base, op->mem.index, shifted ? 1 << op->shift.value : 1, op->mem.disp);
        m->size = access_size(r);
        break;
    }
    case ARM64_OP_FP:
        bk_reading_operand(r, BK_OP_FP)->fp = op->fp;
        break;
    case ARM64_OP_CIMM:
        bk_reading_other(r, "c", op->imm);
        break;
    case ARM64_OP_REG_MRS:
    case ARM64_OP_REG_MSR:
        bk_reading_other(r, "sysreg", (int64_t)op->reg);
        break;
    case ARM64_OP_PSTATE:
        bk_reading_other(r, "pstate", op->pstate);
        break;
    case ARM64_OP_SYS:
        bk_reading_other(r, "sys", op->sys);
        break;
    case ARM64_OP_PREFETCH:
        bk_reading_other(r, "prefetch", op->prefetch);
        break;
    case ARM64_OP_BARRIER:
        bk_reading_other(r, "barrier", op->barrier);
        break;
    default:
        bk_reading_other(r, NULL, 0);
    }
}

static uint32_t load_size(const cs_insn *in)
{
    const cs_arm64 *a = &in->detail->arm64;
    if (a->op_count != 2 || a->operands[0].type != ARM64_OP_REG || a->operands[1].type != ARM64_OP_IMM)
        return 0;
    if (in->id == ARM64_INS_LDRSW)
        return 4;
    if (in->id != ARM64_INS_LDR)
        return 0;
    unsigned reg = a->operands[0].reg;
    if (reg >= ARM64_REG_Q0 && reg <= ARM64_REG_Q31)
        return 16;
    bool word = (reg >= ARM64_REG_W0 && reg <= ARM64_REG_W30) || (reg >= ARM64_REG_S0 && reg <= ARM64_REG_S31);
    return word || reg == ARM64_REG_WZR ? 4 : 8;
}

void bk_arm64_read(struct reading *r)
{
    const cs_arm64 *a = &r->in->detail->arm64;
    struct bk_insn *insn = r->insn;
    insn->flags = flow(r->in);
    if (r->in->id == ARM64_INS_NOP)
        insn->flags |= INSN_PAD;
    for (unsigned i = 0; i < a->op_count; i++)
        read_operand(r, &a->operands[i]);
    if (a->op_count > 0 && (insn->flags & (BK_INSN_CALL | BK_INSN_JUMP))) {
        const cs_arm64_op *last = &a->operands[a->op_count - 1];
        if (last->type == ARM64_OP_IMM) {
            insn->target = (uint64_t)last->imm;
            insn->flags |= BK_INSN_TARGET;
        }
    } else if (a->cc != ARM64_CC_INVALID && a->cc < sizeof cc_names / sizeof *cc_names) {
        bk_reading_other(r, cc_names[a->cc], a->cc); /* csel and its like: no other operand says when */
    }
    r->literal_size = load_size(r->in);
    if (r->literal_size > 0)
        r->literal = (uint64_t)a->operands[1].imm;
}

/* Branches with pointer authentication, Arm ARM C4.1.4 "Unconditional branch (register)". */
bool bk_arm64_read_word(struct bk_insn *insn, uint32_t word)
{
    static const struct {
        uint32_t mask, value;
        const char *mnemonic;
        uint16_t flags;
    } known[] = {
        {0xffffffff, 0xd65f0bff, "retaa", BK_INSN_RET},   {0xffffffff, 0xd65f0fff, "retab", BK_INSN_RET},
        {0xffffffff, 0xd69f0bff, "eretaa", BK_INSN_RET},  {0xffffffff, 0xd69f0fff, "eretab", BK_INSN_RET},
        {0xfffffc1f, 0xd61f081f, "braaz", BK_INSN_JUMP},  {0xfffffc1f, 0xd61f0c1f, "brabz", BK_INSN_JUMP},
        {0xfffffc00, 0xd71f0800, "braa", BK_INSN_JUMP},   {0xfffffc00, 0xd71f0c00, "brab", BK_INSN_JUMP},
        {0xfffffc1f, 0xd63f081f, "blraaz", BK_INSN_CALL}, {0xfffffc1f, 0xd63f0c1f, "blrabz", BK_INSN_CALL},
        {0xfffffc00, 0xd73f0800, "blraa", BK_INSN_CALL},  {0xfffffc00, 0xd73f0c00, "blrab", BK_INSN_CALL},
        {0xffff0000, 0x00000000, "udf", BK_INSN_STOP},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if ((word & known[i].mask) == known[i].value) {
            insn->mnemonic = known[i].mnemonic;
            insn->flags = known[i].flags;
            return true;
        }
    }
    return false;
}

/* ---- keys ------------------------------------------------------------- */

static void moves(struct insn_key *k, uint64_t from, int64_t distance, uint32_t field)
{
    k->lo &= ~(uint64_t)field;
    k->moves = MOVES_LAST;
    k->target = from + (uint64_t)distance;
    k->value = (int64_t)k->target;
}

bool bk_arm64_key(struct insn_key *k, const uint8_t *p, size_t left, uint64_t addr, bool big_endian)
{
    uint32_t word = bk_key_word(p, big_endian);
    if (left < 4 || addr % 4 != 0)
        return false;
    *k = (struct insn_key){.lo = word, .hi = 4, .size = 4};
    int64_t imm19 = bk_key_signed(word >> 5, 19) * 4;
    if ((word & 0x7c000000) == 0x14000000) /* b, bl */
        moves(k, addr, bk_key_signed(word, 26) * 4, 0x03ffffff);
    else if ((word & 0xfe000000) == 0x54000000 || (word & 0x7e000000) == 0x34000000) /* b.cond, cbz, cbnz */
        moves(k, addr, imm19, 0x00ffffe0);
    else if ((word & 0x7e000000) == 0x36000000) /* tbz, tbnz */
        moves(k, addr, bk_key_signed(word >> 5, 14) * 4, 0x0007ffe0);
    else if ((word & 0x3b000000) == 0x18000000) /* load of a literal */
        moves(k, addr, imm19, 0x00ffffe0);
    else if ((word & 0x9f000000) == 0x10000000) /* adr */
        moves(k, addr, imm19 + (word >> 29 & 3), 0x60ffffe0);
    else if ((word & 0x9f000000) == 0x90000000) /* adrp */
        moves(k, addr & ~UINT64_C(0xfff), (imm19 + (word >> 29 & 3)) * 4096, 0x60ffffe0);
    return true;
}
