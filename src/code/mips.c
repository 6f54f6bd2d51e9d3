/* MIPS: flow and operands. Branches have a delay slot. */
#include "code/code_int.h"

#include <string.h>

#define DELAYED_COND (BK_INSN_JUMP | BK_INSN_COND | BK_INSN_DELAY)

static uint16_t flow(unsigned id)
{
    switch (id) {
    case MIPS_INS_B:
    case MIPS_INS_J:
    case MIPS_INS_JR:
        return BK_INSN_JUMP | BK_INSN_DELAY;
    case MIPS_INS_BEQ:
    case MIPS_INS_BEQL:
    case MIPS_INS_BEQZ:
    case MIPS_INS_BGEZ:
    case MIPS_INS_BGEZL:
    case MIPS_INS_BGTZ:
    case MIPS_INS_BGTZL:
    case MIPS_INS_BLEZ:
    case MIPS_INS_BLEZL:
    case MIPS_INS_BLTZ:
    case MIPS_INS_BLTZL:
    case MIPS_INS_BNE:
    case MIPS_INS_BNEL:
    case MIPS_INS_BNEZ:
    case MIPS_INS_BC1F:
    case MIPS_INS_BC1FL:
    case MIPS_INS_BC1T:
    case MIPS_INS_BC1TL:
        return DELAYED_COND;
    case MIPS_INS_BAL:
    case MIPS_INS_BGEZAL:
    case MIPS_INS_BGEZALL:
    case MIPS_INS_BLTZAL:
    case MIPS_INS_BLTZALL:
    case MIPS_INS_JAL:
    case MIPS_INS_JALR:
    case MIPS_INS_JALX:
        return BK_INSN_CALL | BK_INSN_DELAY;
    case MIPS_INS_ERET:
    case MIPS_INS_DERET:
        return BK_INSN_RET;
    case MIPS_INS_BREAK:
        return BK_INSN_STOP;
    default:
        return 0;
    }
}

static bool is_reg(const cs_mips_op *op, mips_reg reg)
{
    return op->type == MIPS_OP_REG && op->reg == reg;
}

/* Branches whose registers say more than their name: jr $ra, jalr $zero, beq $x, $x. */
static void refine(struct bk_insn *insn, const cs_insn *in)
{
    const cs_mips *m = &in->detail->mips;
    const cs_mips_op *op = m->operands;
    switch (in->id) {
    case MIPS_INS_JALR:
        if (m->op_count == 2 && is_reg(&op[0], MIPS_REG_ZERO))
            insn->flags = BK_INSN_JUMP | BK_INSN_DELAY;
        break;
    case MIPS_INS_JR:
        if (m->op_count == 1 && is_reg(&op[0], MIPS_REG_RA))
            insn->flags = BK_INSN_RET | BK_INSN_DELAY;
        break;
    case MIPS_INS_BEQ:
    case MIPS_INS_BEQL:
        if (m->op_count == 3 && op[0].type == MIPS_OP_REG && is_reg(&op[1], op[0].reg))
            insn->flags &= (uint16_t)~BK_INSN_COND;
        break;
    case MIPS_INS_BEQZ:
    case MIPS_INS_BGEZ:
        if (m->op_count == 2 && is_reg(&op[0], MIPS_REG_ZERO))
            insn->flags &= (uint16_t)~BK_INSN_COND;
        break;
    default:
        break;
    }
}

static void set_target(struct bk_insn *insn, const cs_insn *in, bool wide)
{
    const cs_mips *m = &in->detail->mips;
    if (!(insn->flags & (BK_INSN_JUMP | BK_INSN_CALL)) || m->op_count == 0)
        return;
    const cs_mips_op *last = &m->operands[m->op_count - 1];
    if (last->type != MIPS_OP_IMM)
        return;
    uint64_t to = (uint64_t)last->imm;
    if (in->id == MIPS_INS_J || in->id == MIPS_INS_JAL ||
        in->id == MIPS_INS_JALX) /* within 256 MiB of the delay slot */
        to = ((in->address + 4) & ~UINT64_C(0xfffffff)) | (to & 0xfffffff);
    insn->target = wide ? to : (uint32_t)to;
    insn->flags |= BK_INSN_TARGET;
}

/* Bytes that an instruction with a memory operand accesses there, at most where it loads or stores a part of a word. */
static uint8_t access_size(unsigned id)
{
    switch (id) {
    case MIPS_INS_LB:
    case MIPS_INS_LBU:
    case MIPS_INS_SB:
        return 1;
    case MIPS_INS_LH:
    case MIPS_INS_LHU:
    case MIPS_INS_SH:
        return 2;
    case MIPS_INS_LW:
    case MIPS_INS_LWU:
    case MIPS_INS_LWL:
    case MIPS_INS_LWR:
    case MIPS_INS_LL:
    case MIPS_INS_LWC1:
    case MIPS_INS_SW:
    case MIPS_INS_SWL:
    case MIPS_INS_SWR:
    case MIPS_INS_SC:
    case MIPS_INS_SWC1:
        return 4;
    case MIPS_INS_LD:
    case MIPS_INS_LDL:
    case MIPS_INS_LDR:
    case MIPS_INS_LLD:
    case MIPS_INS_LDC1:
    case MIPS_INS_SD:
    case MIPS_INS_SDL:
    case MIPS_INS_SDR:
    case MIPS_INS_SCD:
    case MIPS_INS_SDC1:
        return 8;
    default:
        return 0;
    }
}

/* What the name says of the width of floating-point operand `i`: of cvt.d.w the first suffix is the result's, the last the
 * source's. 0: nothing. */
static uint8_t fp_size(const char *name, unsigned i)
{
    bool compares = strncmp(name, "c.", 2) == 0; /* c.lt.d */
    const char *dot = i == 0 && !compares ? strchr(name, '.') : strrchr(name, '.');
    if (dot)
        return dot[1] == 's' || dot[1] == 'w' ? 4 : dot[1] == 'd' || dot[1] == 'l' ? 8 : 0;
    size_t n = strlen(name);
    if (n < 4 || strcmp(name + n - 2, "c1") != 0) /* lwc1, ldc1, mtc1, mfhc1, dmtc1, ... */
        return 0;
    return name[0] == 'd' || name[1] == 'd' ? 8 : 4;
}

static uint8_t reg_size(const struct reading *r, unsigned reg, unsigned i)
{
    if (reg >= MIPS_REG_F0 && reg <= MIPS_REG_F31)
        return fp_size(r->in->mnemonic, i);
    if (reg >= MIPS_REG_W0 && reg <= MIPS_REG_W31)
        return 16;
    return reg >= MIPS_REG_0 && reg <= MIPS_REG_31 ? (r->wide ? 8 : 4) : 0;
}

void bk_mips_read(struct reading *r)
{
    const cs_mips *m = &r->in->detail->mips;
    struct bk_insn *insn = r->insn;
    insn->flags = flow(r->in->id);
    refine(insn, r->in);
    set_target(insn, r->in, r->in->address > UINT32_MAX);
    if (r->in->id == MIPS_INS_NOP)
        insn->flags |= INSN_PAD;
    for (unsigned i = 0; i < m->op_count; i++) {
        const cs_mips_op *op = &m->operands[i];
        if (op->type == MIPS_OP_REG)
            bk_reading_reg(r, op->reg)->size = reg_size(r, op->reg, i);
        else if (op->type == MIPS_OP_IMM)
            bk_reading_imm(r, op->imm);
        else if (op->type == MIPS_OP_MEM)
            bk_reading_mem(r, op->mem.base, 0, 1, op->mem.disp)->size = access_size(r->in->id);
        else
            bk_reading_other(r, NULL, 0);
    }
}

/* ---- keys ------------------------------------------------------------- */

bool bk_mips_key(struct insn_key *k, const uint8_t *p, size_t left, uint64_t addr, bool big_endian)
{
    uint32_t word = bk_key_word(p, big_endian), op = word >> 26, rs = word >> 21 & 31, rt = word >> 16 & 31;
    if (left < 4 || addr % 4 != 0)
        return false;
    *k = (struct insn_key){.lo = word, .hi = 4, .size = 4};
    bool bc1 = op == 0x11 && rs == 8;
    /* bltz to bgezl, bltzal to bgezall; beq, bne, blez, bgtz and their likely forms */
    if ((op == 1 && (rt & 0xc) == 0) || (op >= 4 && op <= 7) || (op >= 0x14 && op <= 0x17) || bc1) {
        k->lo &= ~UINT64_C(0xffff);
        k->moves = MOVES_LAST;
        k->target = addr + 4 + (uint64_t)(bk_key_signed(word, 16) * 4);
        k->value = (int64_t)k->target;
        if (addr <= UINT32_MAX)
            k->target = (uint32_t)k->target;
        return true;
    }
    /* What counts from its address otherwise: j, jal, jalx, branches on other coprocessors and on vectors, those of release 6. */
    return !(op == 1 || op == 2 || op == 3 || op == 0x08 || (op == 0x11 && rs > 7) || op == 0x12 ||
             ((op == 0x10 || op == 0x13) && rs == 8) || op == 0x18 || op == 0x1d || op == 0x32 || op == 0x36 ||
             op == 0x3a || op == 0x3b || op == 0x3e);
}
