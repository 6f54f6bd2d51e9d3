/* x86: flow and operands. */
#include "code/code_int.h"

static uint16_t flow(unsigned id)
{
    switch (id) {
    case X86_INS_CALL:
    case X86_INS_LCALL:
        return BK_INSN_CALL;
    case X86_INS_JMP:
    case X86_INS_LJMP:
        return BK_INSN_JUMP;
    case X86_INS_JAE:
    case X86_INS_JA:
    case X86_INS_JBE:
    case X86_INS_JB:
    case X86_INS_JCXZ:
    case X86_INS_JECXZ:
    case X86_INS_JRCXZ:
    case X86_INS_JE:
    case X86_INS_JGE:
    case X86_INS_JG:
    case X86_INS_JLE:
    case X86_INS_JL:
    case X86_INS_JNE:
    case X86_INS_JNO:
    case X86_INS_JNP:
    case X86_INS_JNS:
    case X86_INS_JO:
    case X86_INS_JP:
    case X86_INS_JS:
    case X86_INS_LOOP:
    case X86_INS_LOOPE:
    case X86_INS_LOOPNE:
    case X86_INS_XBEGIN: /* goes to its operand when the transaction aborts */
        return BK_INSN_JUMP | BK_INSN_COND;
    case X86_INS_RET:
    case X86_INS_RETF:
    case X86_INS_RETFQ:
    case X86_INS_IRET:
    case X86_INS_IRETD:
    case X86_INS_IRETQ:
    case X86_INS_SYSRET:
    case X86_INS_SYSEXIT:
        return BK_INSN_RET;
    case X86_INS_UD0:
    case X86_INS_UD2:
    case X86_INS_UD2B:
    case X86_INS_HLT:
        return BK_INSN_STOP;
    default:
        return 0;
    }
}

static bool is_padding(const cs_insn *in)
{
    const cs_x86 *x = &in->detail->x86;
    switch (in->id) {
    case X86_INS_NOP:
    case X86_INS_INT3:
        return true;
    case X86_INS_LEA: /* lea esi, [esi + 0] and its longer forms, before the long nop */
        return x->op_count == 2 && x->operands[1].type == X86_OP_MEM && x->operands[1].mem.disp == 0 &&
               (unsigned)x->operands[1].mem.base == (unsigned)x->operands[0].reg &&
               (x->operands[1].mem.index == X86_REG_INVALID || x->operands[1].mem.index == X86_REG_EIZ ||
                x->operands[1].mem.index == X86_REG_RIZ);
    case X86_INS_XCHG:
    case X86_INS_MOV:
        return in->size <= 3 && x->op_count == 2 && x->operands[0].type == X86_OP_REG &&
               x->operands[1].type == X86_OP_REG && x->operands[0].reg == x->operands[1].reg;
    default:
        return false;
    }
}

static int64_t sign_extend(int64_t value, unsigned bytes)
{
    unsigned shift = bytes >= 1 && bytes < 8 ? 64 - 8 * bytes : 0;
    return (int64_t)((uint64_t)value << shift) >> shift;
}

void bk_x86_read(struct reading *r)
{
    const cs_x86 *x = &r->in->detail->x86;
    struct bk_insn *insn = r->insn;
    insn->flags = flow(r->in->id);
    if (is_padding(r->in))
        insn->flags |= INSN_PAD;
    bool branch = insn->flags & (BK_INSN_CALL | BK_INSN_JUMP);
    for (unsigned i = 0; i < x->op_count; i++) {
        const cs_x86_op *op = &x->operands[i];
        switch (op->type) {
        case X86_OP_REG:
            bk_reading_reg(r, op->reg);
            break;
        case X86_OP_IMM:
            if (branch) { /* a far branch has selector and offset: no address */
                bk_reading_imm(r, op->imm);
                if (x->op_count == 1) {
                    insn->target = (uint64_t)op->imm;
                    insn->flags |= BK_INSN_TARGET;
                }
            } else {
                bk_reading_imm(r, sign_extend(op->imm, op->size));
            }
            break;
        case X86_OP_MEM: {
            bool index = op->mem.index != X86_REG_INVALID;
            bk_reading_mem(r, op->mem.base, op->mem.index, index ? op->mem.scale : 1, op->mem.disp);
            break;
        }
        default:
            bk_reading_other(r, NULL, 0);
        }
    }
}
