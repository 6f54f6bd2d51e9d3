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

static uint8_t reg_size(unsigned reg)
{
    if ((reg >= ARM_REG_R0 && reg <= ARM_REG_R12) || (reg >= ARM_REG_S0 && reg <= ARM_REG_S31) || reg == ARM_REG_SP ||
        reg == ARM_REG_LR || reg == ARM_REG_PC)
        return 4;
    return reg >= ARM_REG_D0 && reg <= ARM_REG_D31 ? 8 : reg >= ARM_REG_Q0 && reg <= ARM_REG_Q15 ? 16 : 0;
}

/* Bytes that an instruction with a memory operand accesses there. */
static uint8_t access_size(const struct reading *r)
{
    switch (r->in->id) {
    case ARM_INS_LDRB:
    case ARM_INS_LDRBT:
    case ARM_INS_LDRSB:
    case ARM_INS_LDRSBT:
    case ARM_INS_LDREXB:
    case ARM_INS_LDAB:
    case ARM_INS_LDAEXB:
    case ARM_INS_STRB:
    case ARM_INS_STRBT:
    case ARM_INS_STREXB:
    case ARM_INS_STLB:
    case ARM_INS_STLEXB:
    case ARM_INS_SWPB:
    case ARM_INS_TBB:
        return 1;
    case ARM_INS_LDRH:
    case ARM_INS_LDRHT:
    case ARM_INS_LDRSH:
    case ARM_INS_LDRSHT:
    case ARM_INS_LDREXH:
    case ARM_INS_LDAH:
    case ARM_INS_LDAEXH:
    case ARM_INS_STRH:
    case ARM_INS_STRHT:
    case ARM_INS_STREXH:
    case ARM_INS_STLH:
    case ARM_INS_STLEXH:
    case ARM_INS_TBH:
        return 2;
    case ARM_INS_LDR:
    case ARM_INS_LDRT:
    case ARM_INS_LDREX:
    case ARM_INS_LDA:
    case ARM_INS_LDAEX:
    case ARM_INS_STR:
    case ARM_INS_STRT:
    case ARM_INS_STREX:
    case ARM_INS_STL:
    case ARM_INS_STLEX:
    case ARM_INS_SWP:
        return 4;
    case ARM_INS_LDRD:
    case ARM_INS_LDREXD:
    case ARM_INS_LDAEXD:
    case ARM_INS_STRD:
    case ARM_INS_STREXD:
    case ARM_INS_STLEXD:
        return 8;
    case ARM_INS_VLDR:
    case ARM_INS_VSTR:
        return r->ops[0].size;
    default:
        return 0;
    }
}

static void read_operand(struct reading *r, const cs_arm_op *op)
{
    switch (op->type) {
    case ARM_OP_REG:
        bk_reading_reg(r, (unsigned)op->reg)->size = reg_size((unsigned)op->reg);
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
        bk_reading_mem(r, op->mem.base, op->mem.index, scale, op->mem.disp)->size = access_size(r);
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

/* ---- keys ------------------------------------------------------------- */

static void branches(struct insn_key *k, uint64_t pc, int64_t distance)
{
    k->moves = MOVES_LAST;
    k->value = (int32_t)(uint32_t)(pc + (uint64_t)distance);
    k->target = (uint32_t)k->value & ~UINT32_C(1);
}

bool bk_arm_key(struct insn_key *k, const uint8_t *p, size_t left, uint64_t addr, bool big_endian)
{
    uint32_t word = bk_key_word(p, big_endian);
    if (left < 4 || addr % 4 != 0)
        return false;
    *k = (struct insn_key){.lo = word, .hi = 4, .size = 4};
    if ((word & 0x0e000000) != 0x0a000000) /* b, bl, blx */
        return true;
    int64_t distance = bk_key_signed(word, 24) * 4;
    if (word >> 28 == 0xf)
        distance += word >> 23 & 2;
    k->lo = word & 0xff000000;
    branches(k, addr + 8, distance);
    return true;
}

/* b.w, b<cond>.w, bl, blx: T3 and T4 of B, T1 and T2 of BL in the Arm ARM. */
static bool wide_branch(struct insn_key *k, uint32_t first, uint32_t second, uint64_t addr)
{
    int64_t s = first >> 10 & 1, j1 = second >> 13 & 1, j2 = second >> 11 & 1, distance;
    uint64_t pc = addr + 4;
    if ((second & 0x5000) == 0) { /* b<cond>.w; conditions 14 and 15 are barriers and the like */
        if ((first >> 6 & 0xf) >= 14)
            return false;
        distance =
            -s * (1 << 20) + (j2 << 19) + (j1 << 18) + ((int64_t)(first & 0x3f) << 12) + (int64_t)(second & 0x7ff) * 2;
        k->lo = (uint64_t)(first & 0xfbc0) << 16 | (second & 0xd000);
    } else {
        distance = -s * (1 << 24) + ((j1 ^ s ^ 1) << 23) + ((j2 ^ s ^ 1) << 22) + ((int64_t)(first & 0x3ff) << 12) +
                   (int64_t)(second & 0x7ff) * 2;
        k->lo = (uint64_t)(first & 0xf800) << 16 | (second & 0xd000);
        if ((second & 0xd000) == 0xc000) { /* blx; an odd one is none */
            pc &= ~UINT64_C(3);
            k->lo |= second & 1;
        }
    }
    branches(k, pc, distance);
    return true;
}

bool bk_thumb_key(struct insn_key *k, const uint8_t *p, size_t left, uint64_t addr, bool big_endian)
{
    uint32_t first = bk_key_half(p, big_endian), second = bk_key_half(p + 2, big_endian);
    bool wide = first >> 11 >= 0x1d;
    if (left < (wide ? 4 : 2) || addr % 2 != 0)
        return false;
    *k = (struct insn_key){.hi = 0x100 | (wide ? 4 : 2), .size = wide ? 4 : 2};
    if (wide) {
        k->lo = (uint64_t)first << 16 | second;
        return (first & 0xf800) != 0xf000 || !(second & 0x8000) || wide_branch(k, first, second, addr);
    }
    k->lo = first;
    if ((first & 0xff00) == 0xbf00)
        return (first & 0xf) == 0; /* an IT block begins: capstone has to see it */
    if ((first & 0xf000) == 0xd000 && (first >> 8 & 0xf) < 14) {
        k->lo = first & 0xff00;
        branches(k, addr + 4, bk_key_signed(first, 8) * 2);
    } else if ((first & 0xf800) == 0xe000) {
        k->lo = first & 0xf800;
        branches(k, addr + 4, bk_key_signed(first, 11) * 2);
    } else if ((first & 0xf500) == 0xb100) { /* cbz, cbnz */
        k->lo = first & 0xfd07;
        branches(k, addr + 4, (first >> 3 & 0x1f) * 2 + (first >> 3 & 0x40));
    }
    return true;
}
