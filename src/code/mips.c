/* MIPS: flow and operands. Branches have a delay slot. */
#include "code/code_int.h"

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
            bk_reading_reg(r, op->reg);
        else if (op->type == MIPS_OP_IMM)
            bk_reading_imm(r, op->imm);
        else if (op->type == MIPS_OP_MEM)
            bk_reading_mem(r, op->mem.base, 0, 1, op->mem.disp);
        else
            bk_reading_other(r, NULL, 0);
    }
}
