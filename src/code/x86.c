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
            bk_reading_reg(r, op->reg)->size = op->size;
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
            struct bk_operand *m =
                bk_reading_mem(r, op->mem.base, op->mem.index, index ? op->mem.scale : 1, op->mem.disp);
            m->size = r->in->id == X86_INS_LEA ? 0 : op->size;
            break;
        }
        default:
            bk_reading_other(r, NULL, 0);
        }
    }
}

/* ---- keys ------------------------------------------------------------- */

/* What follows an opcode byte, one letter each: '.' nothing; m ModRM; b, w, z, v an immediate of 1, 2, 2 or 4, 2 to 8 bytes; B, Z
 * ModRM and such an immediate; g, G the groups f6 and f7, where the ModRM says whether one follows; r, R the distance of
 * a branch, 1 or 4 bytes; x: not to be remembered. Where this is wrong, an instruction stays out of the cache. */
static const char one_byte[] = "mmmmbz..mmmmbz.x"
                               "mmmmbz..mmmmbz.."
                               "mmmmbzx.mmmmbzx."
                               "mmmmbzx.mmmmbzx."
                               "................"
                               "................"
                               "..xmxxxxzZbB...."
                               "rrrrrrrrrrrrrrrr"
                               "BZxBmmmmmmmmmmmm"
                               "..........x....."
                               "xxxx....bz......"
                               "bbbbbbbbvvvvvvvv"
                               "BBw.xxBZx.w..b.."
                               "mmmmbb..mmmmmmmm"
                               "rrrrbbbbRRxr...."
                               "x.xx..gG......mm";
static const char two_bytes[] = "mmmmx.....x.xm.x" /* behind 0f */
                                "mmmmmmmmmmmmmmmm"
                                "mmmmmmmmmmmmmmmm"
                                "........xxxxxxxx"
                                "mmmmmmmmmmmmmmmm"
                                "mmmmmmmmmmmmmmmm"
                                "mmmmmmmmmmmmmmmm"
                                "BBBBmmm.mmxxmmmm"
                                "RRRRRRRRRRRRRRRR"
                                "mmmmmmmmmmmmmmmm"
                                "...mBmxx...mBmmm"
                                "mmmmmmmmmmBmmmmm"
                                "mmBmBBBm........"
                                "mmmmmmmmmmmmmmmm"
                                "mmmmmmmmmmmmmmmm"
                                "mmmmmmmmmmmmmmmm";

static bool is_prefix(uint8_t b)
{
    return b == 0x66 || b == 0xf2 || b == 0xf3 || b == 0xf0 || b == 0x2e || b == 0x36 || b == 0x3e || b == 0x26 ||
           b == 0x64 || b == 0x65;
}

struct layout {
    unsigned size;
    unsigned field, field_size; /* what moves; size 0: nothing */
    enum moves moves;
};

/* Of ModRM, SIB and displacement at p[i]. */
static unsigned skip_modrm(struct layout *l, const uint8_t *p, unsigned i)
{
    unsigned mod = p[i] >> 6, rm = p[i] & 7;
    i++;
    if (mod == 3)
        return i;
    if (mod == 0 && rm == 5) { /* relative to rip, or an address */
        *l = (struct layout){.field = i, .field_size = 4, .moves = MOVES_DISP};
        return i + 4;
    }
    unsigned base = rm;
    if (rm == 4)
        base = p[i++] & 7;
    return i + (mod == 1 ? 1 : mod == 2 || base == 5 ? 4 : 0);
}

/* The opcode at p[*i], which it leaves behind; 'x' where there is none to be remembered. */
static char opcode(const uint8_t *p, unsigned *i, bool wide)
{
    unsigned map = 0;
    uint8_t b = p[*i];
    if ((b == 0xc5 || b == 0xc4 || b == 0x62) && (wide || p[*i + 1] >= 0xc0)) { /* VEX, EVEX */
        map = b == 0xc5 ? 1 : b == 0xc4 ? p[*i + 1] & 0x1f : p[*i + 1] & 7;
        *i += b == 0xc5 ? 2 : b == 0xc4 ? 3 : 4;
        b = p[(*i)++];
        if (map == 1 && two_bytes[b] == 'R')
            return 'm';
        return map == 1 ? two_bytes[b] : map == 2 ? 'm' : map == 3 ? 'B' : 'x';
    }
    ++*i;
    if (b != 0x0f)
        return one_byte[b];
    b = p[(*i)++];
    if (b != 0x38 && b != 0x3a)
        return two_bytes[b];
    ++*i;
    return b == 0x38 ? 'm' : 'B';
}

/* Guesses at the instruction in 16 bytes. False: it is not to be remembered. */
static bool lay_out(struct layout *l, const uint8_t *p, bool wide)
{
    unsigned i = 0;
    bool narrow = false;
    *l = (struct layout){0};
    for (; i < 4 && is_prefix(p[i]); i++)
        narrow |= p[i] == 0x66;
    bool rex_w = wide && (p[i] & 0xf8) == 0x48;
    if (wide && (p[i] & 0xf0) == 0x40)
        i++;
    const uint8_t *at = p + i;
    char what = opcode(p, &i, wide);
    unsigned z = narrow && !rex_w ? 2 : 4;
    switch (what) {
    case 'm':
    case 'B':
    case 'Z':
    case 'g':
    case 'G':
        if (*at == 0xc7 && p[i] == 0xf8) /* xbegin */
            return false;
        bool tests = (p[i] >> 3 & 7) < 2;
        i = skip_modrm(l, p, i);
        i += what == 'B' || (what == 'g' && tests) ? 1 : what == 'Z' || (what == 'G' && tests) ? z : 0;
        break;
    case 'b':
        i += 1;
        break;
    case 'w':
        i += 2;
        break;
    case 'z':
        i += z;
        break;
    case 'v':
        i += rex_w ? 8 : z;
        break;
    case 'r':
    case 'R':
        *l = (struct layout){.field = i, .field_size = what == 'r' ? 1 : 4, .moves = MOVES_LAST};
        i += l->field_size;
        if (narrow)
            return false;
        break;
    case 'x':
        return false;
    default:
        break;
    }
    l->size = i;
    return i <= 15;
}

static uint64_t load(const uint8_t *p)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < 8; i++)
        v |= (uint64_t)p[i] << 8 * i;
    return v;
}

static bool make_key(struct insn_key *k, const uint8_t *p, size_t left, uint64_t addr, bool wide)
{
    struct layout l;
    if (!lay_out(&l, p, wide) || l.size > left)
        return false;
    *k = (struct insn_key){.moves = l.moves, .size = (uint8_t)l.size};
    k->lo = load(p);
    k->hi = load(p + 8);
    if (l.field_size > 0) {
        unsigned at = 8 * l.field, shift = 64 - 8 * l.field_size;
        uint64_t field = at < 64 ? k->lo >> at : k->hi >> (at - 64), ones = ~UINT64_C(0) >> shift;
        if (at < 64 && at > shift)
            field |= k->hi << (64 - at);
        k->value = (int64_t)(field << shift) >> shift;
        if (at < 64)
            k->lo &= ~(ones << at);
        if (at >= 64)
            k->hi &= ~(ones << (at - 64));
        else if (at > shift)
            k->hi &= ~(ones >> (64 - at));
    }
    if (l.moves == MOVES_LAST) {
        k->target = addr + l.size + (uint64_t)k->value;
        if (!wide)
            k->target = (uint32_t)k->target;
        k->value = (int64_t)k->target;
    }
    unsigned bits = 8 * l.size;
    k->lo &= bits < 64 ? ~(~UINT64_C(0) << bits) : ~UINT64_C(0);
    k->hi &= bits > 64 ? ~(~UINT64_C(0) << (bits - 64)) : 0;
    k->hi |= (uint64_t)l.size << 56; /* the sixteenth byte: instructions have fifteen at most */
    return true;
}

bool bk_amd64_key(struct insn_key *k, const uint8_t *p, size_t left, uint64_t addr, bool big_endian)
{
    (void)big_endian;
    return make_key(k, p, left, addr, true);
}

bool bk_i386_key(struct insn_key *k, const uint8_t *p, size_t left, uint64_t addr, bool big_endian)
{
    (void)big_endian;
    return make_key(k, p, left, addr, false);
}
