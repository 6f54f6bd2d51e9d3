/* ARM, A32 and T32: flow and operands. */
#include "code/code_int.h"

static bool is_reg(const cs_arm_op *op, unsigned reg)
{
    return op->type == ARM_OP_REG && (unsigned)op->reg == reg;
}

/* Instructions that compute and write their first operand: with pc there, they jump. */
static bool writes_first(unsigned id)
{
    switch (id) {
    case ARM_INS_MOV:
    case ARM_INS_MVN:
    case ARM_INS_ADD:
    case ARM_INS_ADC:
    case ARM_INS_SUB:
    case ARM_INS_SBC:
    case ARM_INS_RSB:
    case ARM_INS_RSC:
    case ARM_INS_AND:
    case ARM_INS_ORR:
    case ARM_INS_EOR:
    case ARM_INS_BIC:
    case ARM_INS_LSL:
    case ARM_INS_LSR:
    case ARM_INS_ASR:
    case ARM_INS_ROR:
    case ARM_INS_RRX:
    case ARM_INS_LDR:
        return true;
    default:
        return false;
    }
}

static uint16_t flow_to_pc(const cs_insn *in)
{
    const cs_arm *a = &in->detail->arm;
    if (in->id == ARM_INS_LDR) {
        bool pops = a->op_count >= 2 && a->operands[1].type == ARM_OP_MEM && a->operands[1].mem.base == ARM_REG_SP &&
                    a->writeback;
        return pops ? BK_INSN_RET : BK_INSN_JUMP;
    }
    bool from_lr = a->op_count >= 2 && is_reg(&a->operands[1], ARM_REG_LR) &&
                   (in->id == ARM_INS_MOV || (in->id == ARM_INS_SUB && a->update_flags));
    return from_lr ? BK_INSN_RET : BK_INSN_JUMP;
}

static bool list_has_pc(const cs_arm *a, unsigned from)
{
    for (unsigned i = from; i < a->op_count; i++)
        if (is_reg(&a->operands[i], ARM_REG_PC))
            return true;
    return false;
}

/* Flow of an instruction that is not predicated. */
static uint16_t flow(const cs_insn *in)
{
    const cs_arm *a = &in->detail->arm;
    switch (in->id) {
    case ARM_INS_B:
    case ARM_INS_TBB:
    case ARM_INS_TBH:
        return BK_INSN_JUMP;
    case ARM_INS_CBZ:
    case ARM_INS_CBNZ:
        return BK_INSN_JUMP | BK_INSN_COND;
    case ARM_INS_BL:
    case ARM_INS_BLX:
        return BK_INSN_CALL;
    case ARM_INS_BX:
    case ARM_INS_BXJ:
        return a->op_count == 1 && is_reg(&a->operands[0], ARM_REG_LR) ? BK_INSN_RET : BK_INSN_JUMP;
    case ARM_INS_POP:
        return list_has_pc(a, 0) ? BK_INSN_RET : 0;
    case ARM_INS_LDM:
    case ARM_INS_LDMDA:
    case ARM_INS_LDMDB:
    case ARM_INS_LDMIB:
        return list_has_pc(a, 1) ? BK_INSN_RET : 0;
    case ARM_INS_RFEDA:
    case ARM_INS_RFEDB:
    case ARM_INS_RFEIA:
    case ARM_INS_RFEIB:
        return BK_INSN_RET;
    case ARM_INS_UDF:
    case ARM_INS_TRAP:
    case ARM_INS_HLT:
        return BK_INSN_STOP;
    default:
        if (a->op_count > 0 && is_reg(&a->operands[0], ARM_REG_PC) && writes_first(in->id))
            return flow_to_pc(in);
        return 0;
    }
}

static bool is_padding(const cs_insn *in)
{
    const cs_arm *a = &in->detail->arm;
    if (in->id == ARM_INS_NOP)
        return true;
    if (in->id == ARM_INS_MOV) /* mov r0, r0; mov r8, r8; the halfword 0 is movs r0, r0 */
        return a->op_count == 2 && a->operands[0].type == ARM_OP_REG &&
               is_reg(&a->operands[1], (unsigned)a->operands[0].reg) && a->operands[1].shift.type == ARM_SFT_INVALID;
    return in->id == ARM_INS_AND && in->size == 4 && !(in->bytes[0] | in->bytes[1] | in->bytes[2] | in->bytes[3]);
}

static void read_operand(struct reading *r, const cs_arm_op *op)
{
    switch (op->type) {
    case ARM_OP_REG:
        bk_reading_reg(r, (unsigned)op->reg);
        break;
    case ARM_OP_IMM:
        bk_reading_imm(r, op->subtracted ? -(int64_t)op->imm : op->imm); /* [r1], #-4 */
        break;
    case ARM_OP_MEM: {
        int32_t scale = 1;
        if (op->mem.index != ARM_REG_INVALID) {
            scale = op->shift.type == ARM_SFT_LSL && op->shift.value < 31 ? 1 << op->shift.value : 1;
            if (op->subtracted || op->mem.scale < 0)
                scale = -scale;
        }
        bk_reading_mem(r, op->mem.base, op->mem.index, scale, op->mem.disp);
        break;
    }
    case ARM_OP_FP:
        bk_reading_operand(r, BK_OP_FP)->fp = op->fp;
        break;
    case ARM_OP_CIMM:
        bk_reading_other(r, "c", op->imm);
        break;
    case ARM_OP_PIMM:
        bk_reading_other(r, "p", op->imm);
        break;
    case ARM_OP_SETEND:
        bk_reading_other(r, op->setend == ARM_SETEND_BE ? "be" : "le", op->setend);
        break;
    case ARM_OP_SYSREG:
        bk_reading_other(r, "sysreg", op->reg);
        break;
    default:
        bk_reading_other(r, NULL, 0);
    }
}

/* Bytes that a load reads at its pc-relative address; 0: it is no load. */
static uint32_t load_size(const cs_insn *in)
{
    switch (in->id) {
    case ARM_INS_LDR:
    case ARM_INS_LDRB:
    case ARM_INS_LDRSB:
    case ARM_INS_LDRH:
    case ARM_INS_LDRSH:
        return 4;
    case ARM_INS_LDRD:
        return 8;
    case ARM_INS_VLDR: {
        unsigned reg = (unsigned)in->detail->arm.operands[0].reg;
        return reg >= ARM_REG_S0 && reg <= ARM_REG_S31 ? 4 : 8;
    }
    default:
        return 0;
    }
}

static void find_literal(struct reading *r, bool thumb)
{
    const cs_arm *a = &r->in->detail->arm;
    uint32_t size = load_size(r->in);
    for (unsigned i = 1; size > 0 && i < a->op_count; i++) {
        const arm_op_mem *m = &a->operands[i].mem;
        if (a->operands[i].type == ARM_OP_MEM && m->base == ARM_REG_PC && m->index == ARM_REG_INVALID) {
            uint64_t pc = (r->in->address + (thumb ? 4 : 8)) & ~UINT64_C(3);
            r->literal = (uint32_t)(pc + (uint64_t)(int64_t)m->disp);
            r->literal_size = size;
        }
    }
}

static void read(struct reading *r, bool thumb)
{
    const cs_arm *a = &r->in->detail->arm;
    struct bk_insn *insn = r->insn;
    insn->flags = flow(r->in);
    bool predicated = a->cc != ARM_CC_AL && a->cc != ARM_CC_INVALID && r->in->id != ARM_INS_IT;
    if (predicated && (insn->flags & (BK_INSN_JUMP | BK_INSN_RET)))
        insn->flags |= BK_INSN_COND;
    if (predicated && (insn->flags & BK_INSN_STOP))
        insn->flags = 0;
    if (is_padding(r->in))
        insn->flags |= INSN_PAD;
    for (unsigned i = 0; i < a->op_count; i++)
        read_operand(r, &a->operands[i]);
    const cs_arm_op *last = a->op_count > 0 ? &a->operands[a->op_count - 1] : NULL;
    bool direct = r->in->id == ARM_INS_B || r->in->id == ARM_INS_BL || r->in->id == ARM_INS_BLX ||
                  r->in->id == ARM_INS_CBZ || r->in->id == ARM_INS_CBNZ;
    if (direct && last && last->type == ARM_OP_IMM) {
        insn->target = (uint32_t)last->imm & ~UINT32_C(1);
        insn->flags |= BK_INSN_TARGET;
    }
    find_literal(r, thumb);
}

void bk_arm_read(struct reading *r)
{
    read(r, false);
}

void bk_thumb_read(struct reading *r)
{
    read(r, true);
}
