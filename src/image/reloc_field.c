/* Relocation types of each processor, and how their values sit in the bytes. Numbers and formulas from the
 * ELF supplements: System V ABI for i386, x86-64 and MIPS; ELF for the Arm Architecture; ELF for the Arm 64-bit Architecture. */
#include "image/reloc_int.h"

#include <string.h>

/* ---- tables ----------------------------------------------------------- */

static const struct reloc_rule amd64_rules[] = {
    {R_X86_64_NONE, CALC_NONE, FIELD_NONE},
    {R_X86_64_64, CALC_ABS, FIELD_64},
    {R_X86_64_PC32, CALC_PC, FIELD_32},
    {R_X86_64_GOT32, CALC_SLOT_FROM_GOT, FIELD_32},
    {R_X86_64_PLT32, CALC_PC, FIELD_32},
    {R_X86_64_GOTPCREL, CALC_SLOT_PC, FIELD_32},
    {R_X86_64_32, CALC_ABS, FIELD_32},
    {R_X86_64_32S, CALC_ABS, FIELD_32},
    {R_X86_64_16, CALC_ABS, FIELD_16},
    {R_X86_64_PC16, CALC_PC, FIELD_16},
    {R_X86_64_8, CALC_ABS, FIELD_8},
    {R_X86_64_PC8, CALC_PC, FIELD_8},
    {R_X86_64_DTPMOD64, CALC_NONE, FIELD_NONE},
    {R_X86_64_DTPOFF64, CALC_NONE, FIELD_NONE},
    {R_X86_64_TPOFF64, CALC_NONE, FIELD_NONE},
    {R_X86_64_TLSGD, CALC_NONE, FIELD_NONE},
    {R_X86_64_TLSLD, CALC_NONE, FIELD_NONE},
    {R_X86_64_DTPOFF32, CALC_NONE, FIELD_NONE},
    {R_X86_64_GOTTPOFF, CALC_NONE, FIELD_NONE},
    {R_X86_64_TPOFF32, CALC_NONE, FIELD_NONE},
    {R_X86_64_PC64, CALC_PC, FIELD_64},
    {R_X86_64_GOTOFF64, CALC_FROM_GOT, FIELD_64},
    {R_X86_64_GOTPC32, CALC_GOT_BASE_PC, FIELD_32},
    {R_X86_64_GOT64, CALC_SLOT_FROM_GOT, FIELD_64},
    {R_X86_64_GOTPCREL64, CALC_SLOT_PC, FIELD_64},
    {R_X86_64_GOTPC64, CALC_GOT_BASE_PC, FIELD_64},
    {R_X86_64_PLTOFF64, CALC_FROM_GOT, FIELD_64},
    {R_X86_64_SIZE32, CALC_NONE, FIELD_NONE},
    {R_X86_64_SIZE64, CALC_NONE, FIELD_NONE},
    {R_X86_64_GOTPC32_TLSDESC, CALC_NONE, FIELD_NONE},
    {R_X86_64_TLSDESC_CALL, CALC_NONE, FIELD_NONE},
    {R_X86_64_GOTPCRELX, CALC_SLOT_PC, FIELD_32},
    {R_X86_64_REX_GOTPCRELX, CALC_SLOT_PC, FIELD_32},
};

static const struct reloc_rule i386_rules[] = {
    {R_386_NONE, CALC_NONE, FIELD_NONE},
    {R_386_32, CALC_ABS, FIELD_32},
    {R_386_PC32, CALC_PC, FIELD_32},
    {R_386_GOT32, CALC_I386_SLOT, FIELD_32},
    {R_386_PLT32, CALC_PC, FIELD_32},
    {R_386_GOTOFF, CALC_FROM_GOT, FIELD_32},
    {R_386_GOTPC, CALC_GOT_BASE_PC, FIELD_32},
    {R_386_TLS_TPOFF, CALC_NONE, FIELD_NONE},
    {R_386_TLS_IE, CALC_NONE, FIELD_NONE},
    {R_386_TLS_GOTIE, CALC_NONE, FIELD_NONE},
    {R_386_TLS_LE, CALC_NONE, FIELD_NONE},
    {R_386_TLS_GD, CALC_NONE, FIELD_NONE},
    {R_386_TLS_LDM, CALC_NONE, FIELD_NONE},
    {R_386_16, CALC_ABS, FIELD_16},
    {R_386_PC16, CALC_PC, FIELD_16},
    {R_386_8, CALC_ABS, FIELD_8},
    {R_386_PC8, CALC_PC, FIELD_8},
    {R_386_TLS_LDO_32, CALC_NONE, FIELD_NONE},
    {R_386_TLS_IE_32, CALC_NONE, FIELD_NONE},
    {R_386_TLS_LE_32, CALC_NONE, FIELD_NONE},
    {R_386_SIZE32, CALC_NONE, FIELD_NONE},
    {R_386_TLS_GOTDESC, CALC_NONE, FIELD_NONE},
    {R_386_TLS_DESC_CALL, CALC_NONE, FIELD_NONE},
    {R_386_GOT32X, CALC_I386_SLOT, FIELD_32},
};

static const struct reloc_rule arm_rules[] = {
    {R_ARM_NONE, CALC_NONE, FIELD_NONE},
    {R_ARM_PC24, CALC_PC, FIELD_A32_BRANCH},
    {R_ARM_ABS32, CALC_ABS_THUMB, FIELD_32},
    {R_ARM_REL32, CALC_PC_THUMB, FIELD_32},
    {R_ARM_ABS16, CALC_ABS, FIELD_16},
    {R_ARM_ABS8, CALC_ABS, FIELD_8},
    {R_ARM_THM_PC22, CALC_PC, FIELD_T32_BL},
    {R_ARM_GOTOFF, CALC_FROM_GOT, FIELD_32},
    {R_ARM_GOTPC, CALC_GOT_BASE_PC, FIELD_32},
    {R_ARM_GOT32, CALC_SLOT_FROM_GOT, FIELD_32},
    {R_ARM_PLT32, CALC_PC, FIELD_A32_BRANCH},
    {R_ARM_CALL, CALC_PC, FIELD_A32_BRANCH},
    {R_ARM_JUMP24, CALC_PC, FIELD_A32_BRANCH},
    {R_ARM_THM_JUMP24, CALC_PC, FIELD_T32_BW},
    {R_ARM_TARGET1, CALC_ABS_THUMB, FIELD_32}, /* on Linux what ABS32 is */
    {R_ARM_V4BX, CALC_NONE, FIELD_NONE},
    {R_ARM_TARGET2, CALC_SLOT_PC, FIELD_32}, /* on Linux what GOT_PREL is */
    {R_ARM_PREL31, CALC_PC_THUMB, FIELD_PREL31},
    {R_ARM_MOVW_ABS_NC, CALC_ABS_THUMB, FIELD_A32_MOVW},
    {R_ARM_MOVT_ABS, CALC_ABS, FIELD_A32_MOVT},
    {R_ARM_MOVW_PREL_NC, CALC_PC_THUMB, FIELD_A32_MOVW},
    {R_ARM_MOVT_PREL, CALC_PC, FIELD_A32_MOVT},
    {R_ARM_THM_MOVW_ABS_NC, CALC_ABS_THUMB, FIELD_T32_MOVW},
    {R_ARM_THM_MOVT_ABS, CALC_ABS, FIELD_T32_MOVT},
    {R_ARM_THM_MOVW_PREL_NC, CALC_PC_THUMB, FIELD_T32_MOVW},
    {R_ARM_THM_MOVT_PREL, CALC_PC, FIELD_T32_MOVT},
    {R_ARM_THM_JUMP19, CALC_PC, FIELD_T32_B19},
    {R_ARM_ABS32_NOI, CALC_ABS, FIELD_32},
    {R_ARM_REL32_NOI, CALC_PC, FIELD_32},
    {R_ARM_TLS_GOTDESC, CALC_NONE, FIELD_NONE},
    {R_ARM_TLS_CALL, CALC_NONE, FIELD_NONE},
    {R_ARM_TLS_DESCSEQ, CALC_NONE, FIELD_NONE},
    {R_ARM_THM_TLS_CALL, CALC_NONE, FIELD_NONE},
    {R_ARM_GOT_PREL, CALC_SLOT_PC, FIELD_32},
    {R_ARM_THM_PC11, CALC_PC, FIELD_T32_B11},
    {R_ARM_THM_PC9, CALC_PC, FIELD_T32_B8},
    {R_ARM_TLS_GD32, CALC_NONE, FIELD_NONE},
    {R_ARM_TLS_LDM32, CALC_NONE, FIELD_NONE},
    {R_ARM_TLS_LDO32, CALC_NONE, FIELD_NONE},
    {R_ARM_TLS_IE32, CALC_NONE, FIELD_NONE},
    {R_ARM_TLS_LE32, CALC_NONE, FIELD_NONE},
};

static const struct reloc_rule arm64_rules[] = {
    {R_AARCH64_NONE, CALC_NONE, FIELD_NONE},
    {256, CALC_NONE, FIELD_NONE}, /* another NONE, withdrawn */
    {R_AARCH64_ABS64, CALC_ABS, FIELD_64},
    {R_AARCH64_ABS32, CALC_ABS, FIELD_32},
    {R_AARCH64_ABS16, CALC_ABS, FIELD_16},
    {R_AARCH64_PREL64, CALC_PC, FIELD_64},
    {R_AARCH64_PREL32, CALC_PC, FIELD_32},
    {R_AARCH64_PREL16, CALC_PC, FIELD_16},
    {R_AARCH64_MOVW_UABS_G0, CALC_ABS, FIELD_A64_MOVW0},
    {R_AARCH64_MOVW_UABS_G0_NC, CALC_ABS, FIELD_A64_MOVW0},
    {R_AARCH64_MOVW_UABS_G1, CALC_ABS, FIELD_A64_MOVW1},
    {R_AARCH64_MOVW_UABS_G1_NC, CALC_ABS, FIELD_A64_MOVW1},
    {R_AARCH64_MOVW_UABS_G2, CALC_ABS, FIELD_A64_MOVW2},
    {R_AARCH64_MOVW_UABS_G2_NC, CALC_ABS, FIELD_A64_MOVW2},
    {R_AARCH64_MOVW_UABS_G3, CALC_ABS, FIELD_A64_MOVW3},
    {R_AARCH64_LD_PREL_LO19, CALC_PC, FIELD_A64_19},
    {R_AARCH64_ADR_PREL_LO21, CALC_PC, FIELD_A64_ADR},
    {R_AARCH64_ADR_PREL_PG_HI21, CALC_PAGE_PC, FIELD_A64_ADRP},
    {R_AARCH64_ADR_PREL_PG_HI21_NC, CALC_PAGE_PC, FIELD_A64_ADRP},
    {R_AARCH64_ADD_ABS_LO12_NC, CALC_ABS, FIELD_A64_ADD},
    {R_AARCH64_LDST8_ABS_LO12_NC, CALC_ABS, FIELD_A64_ADD},
    {R_AARCH64_TSTBR14, CALC_PC, FIELD_A64_14},
    {R_AARCH64_CONDBR19, CALC_PC, FIELD_A64_19},
    {R_AARCH64_JUMP26, CALC_PC, FIELD_A64_26},
    {R_AARCH64_CALL26, CALC_PC, FIELD_A64_26},
    {R_AARCH64_LDST16_ABS_LO12_NC, CALC_ABS, FIELD_A64_LDST16},
    {R_AARCH64_LDST32_ABS_LO12_NC, CALC_ABS, FIELD_A64_LDST32},
    {R_AARCH64_LDST64_ABS_LO12_NC, CALC_ABS, FIELD_A64_LDST64},
    {R_AARCH64_LDST128_ABS_LO12_NC, CALC_ABS, FIELD_A64_LDST128},
    {R_AARCH64_GOTREL64, CALC_FROM_GOT, FIELD_64},
    {R_AARCH64_GOTREL32, CALC_FROM_GOT, FIELD_32},
    {R_AARCH64_GOT_LD_PREL19, CALC_SLOT_SUM_PC, FIELD_A64_19},
    {R_AARCH64_ADR_GOT_PAGE, CALC_SLOT_SUM_PAGE_PC, FIELD_A64_ADRP},
    {R_AARCH64_LD64_GOT_LO12_NC, CALC_SLOT_SUM, FIELD_A64_LDST64},
    {R_AARCH64_LD64_GOTPAGE_LO15, CALC_SLOT_SUM_PAGE_GOT, FIELD_A64_LD64_15},
    {314, CALC_PC, FIELD_32}, /* R_AARCH64_PLT32, newer than some <elf.h> */
};

static const struct reloc_rule mips_rules[] = {
    {R_MIPS_NONE, CALC_NONE, FIELD_NONE},
    {R_MIPS_16, CALC_ABS, FIELD_MIPS_16},
    {R_MIPS_32, CALC_ABS, FIELD_32},
    {R_MIPS_REL32, CALC_ABS, FIELD_32},
    {R_MIPS_26, CALC_ABS, FIELD_MIPS_26},
    {R_MIPS_HI16, CALC_MIPS_HI, FIELD_MIPS_HI},
    {R_MIPS_LO16, CALC_MIPS_LO, FIELD_MIPS_LO},
    {R_MIPS_GPREL16, CALC_GP, FIELD_MIPS_16},
    {R_MIPS_LITERAL, CALC_GP, FIELD_MIPS_16},
    {R_MIPS_GOT16, CALC_MIPS_GOT16, FIELD_MIPS_16},
    {R_MIPS_PC16, CALC_PC, FIELD_MIPS_PC16},
    {R_MIPS_CALL16, CALC_MIPS_SLOT, FIELD_MIPS_16},
    {R_MIPS_GPREL32, CALC_GP, FIELD_32},
    {R_MIPS_64, CALC_ABS, FIELD_64},
    {R_MIPS_GOT_DISP, CALC_MIPS_SLOT, FIELD_MIPS_16},
    {R_MIPS_GOT_PAGE, CALC_MIPS_SLOT_PAGE, FIELD_MIPS_16},
    {R_MIPS_GOT_OFST, CALC_MIPS_OFFSET_PAGE, FIELD_MIPS_16},
    {R_MIPS_GOT_HI16, CALC_MIPS_SLOT, FIELD_MIPS_HI},
    {R_MIPS_GOT_LO16, CALC_MIPS_SLOT, FIELD_MIPS_LO},
    {R_MIPS_SUB, CALC_SUB, FIELD_64},
    {R_MIPS_HIGHER, CALC_ABS, FIELD_MIPS_HIGHER},
    {R_MIPS_HIGHEST, CALC_ABS, FIELD_MIPS_HIGHEST},
    {R_MIPS_CALL_HI16, CALC_MIPS_SLOT, FIELD_MIPS_HI},
    {R_MIPS_CALL_LO16, CALC_MIPS_SLOT, FIELD_MIPS_LO},
    {R_MIPS_JALR, CALC_NONE, FIELD_NONE}, /* a hint: this register call could be direct */
    {R_MIPS_TLS_DTPMOD32, CALC_NONE, FIELD_NONE},
    {R_MIPS_TLS_DTPREL32, CALC_NONE, FIELD_NONE},
    {R_MIPS_TLS_DTPMOD64, CALC_NONE, FIELD_NONE},
    {R_MIPS_TLS_DTPREL64, CALC_NONE, FIELD_NONE},
    {R_MIPS_TLS_GD, CALC_NONE, FIELD_NONE},
    {R_MIPS_TLS_LDM, CALC_NONE, FIELD_NONE},
    {R_MIPS_TLS_DTPREL_HI16, CALC_NONE, FIELD_NONE},
    {R_MIPS_TLS_DTPREL_LO16, CALC_NONE, FIELD_NONE},
    {R_MIPS_TLS_GOTTPREL, CALC_NONE, FIELD_NONE},
    {R_MIPS_TLS_TPREL32, CALC_NONE, FIELD_NONE},
    {R_MIPS_TLS_TPREL64, CALC_NONE, FIELD_NONE},
    {R_MIPS_TLS_TPREL_HI16, CALC_NONE, FIELD_NONE},
    {R_MIPS_TLS_TPREL_LO16, CALC_NONE, FIELD_NONE},
    {60, CALC_PC, FIELD_MIPS_PC21}, /* R_MIPS_PC21_S2 */
    {61, CALC_PC, FIELD_MIPS_PC26}, /* R_MIPS_PC26_S2 */
    {248, CALC_PC, FIELD_32},       /* R_MIPS_PC32 */
};

#define RULES(v) v, sizeof v / sizeof *v

void bk_reloc_table_init(struct reloc_table *t, enum bk_arch arch, bool is64)
{
    static const struct {
        enum bk_arch arch;
        const struct reloc_rule *rules;
        size_t n;
    } tables[] = {
        {BK_ARCH_AMD64, RULES(amd64_rules)}, {BK_ARCH_I386, RULES(i386_rules)}, {BK_ARCH_ARM, RULES(arm_rules)},
        {BK_ARCH_ARM64, RULES(arm64_rules)}, {BK_ARCH_MIPS, RULES(mips_rules)}, {BK_ARCH_MIPS64, RULES(mips_rules)},
    };
    memset(t, 0, sizeof *t);
    if (arch == BK_ARCH_ARM64 && !is64)
        return; /* ILP32 has numbers of its own */
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        if (tables[i].arch != arch)
            continue;
        t->rules = tables[i].rules;
        for (size_t k = 0; k < tables[i].n; k++)
            t->by_type[tables[i].rules[k].type] = (uint8_t)(k + 1);
    }
    if (arch == BK_ARCH_ARM64)
        for (size_t type = R_AARCH64_TLSGD_ADR_PREL21; type <= R_AARCH64_TLSLD_LDST128_DTPREL_LO12_NC; type++)
            t->by_type[type] = 1; /* thread-local: as the first rule, NONE */
}

const struct reloc_rule *bk_reloc_rule_of(const struct reloc_table *t, uint32_t type)
{
    return type < sizeof t->by_type && t->by_type[type] ? &t->rules[t->by_type[type] - 1] : NULL;
}

/* ---- bits ------------------------------------------------------------- */

size_t bk_reloc_field_size(enum reloc_field field)
{
    switch (field) {
    case FIELD_NONE:
        return 0;
    case FIELD_8:
        return 1;
    case FIELD_16:
    case FIELD_T32_B11:
    case FIELD_T32_B8:
        return 2;
    case FIELD_64:
        return 8;
    default:
        return 4;
    }
}

static uint64_t load(const uint8_t *in, size_t size, bool big_endian)
{
    uint64_t v = 0;
    for (size_t i = 0; i < size; i++)
        v = v << 8 | in[big_endian ? i : size - 1 - i];
    return v;
}

void bk_reloc_store(uint8_t *out, size_t size, uint64_t value, bool big_endian)
{
    for (size_t i = 0; i < size; i++)
        out[big_endian ? size - 1 - i : i] = (uint8_t)(value >> (8 * i));
}

static bool is_data(enum reloc_field field)
{
    return field <= FIELD_PREL31;
}

static bool is_t32_pair(enum reloc_field field)
{
    return field == FIELD_T32_BL || field == FIELD_T32_BW || field == FIELD_T32_B19 || field == FIELD_T32_MOVW ||
           field == FIELD_T32_MOVT;
}

/* An instruction or word; a T32 pair as first halfword << 16 | second. */
static uint64_t load_field(const struct reloc_place *p, enum reloc_field field)
{
    bool big = is_data(field) ? p->data_big_endian : p->code_big_endian;
    if (is_t32_pair(field))
        return load(p->read, 2, big) << 16 | load(p->read + 2, 2, big);
    return load(p->read, bk_reloc_field_size(field), big);
}

static void store_field(const struct reloc_place *p, enum reloc_field field, uint64_t v)
{
    bool big = is_data(field) ? p->data_big_endian : p->code_big_endian;
    if (is_t32_pair(field)) {
        bk_reloc_store(p->write, 2, v >> 16, big);
        bk_reloc_store(p->write + 2, 2, v, big);
    } else {
        bk_reloc_store(p->write, bk_reloc_field_size(field), v, big);
    }
}

static bool fits_signed(uint64_t v, unsigned bits)
{
    return (uint64_t)elf_sign_extend(v, bits) == v;
}

/* Bits [low, low + n) of v. */
static uint64_t bits(uint64_t v, unsigned low, unsigned n)
{
    return v >> low & ((1ull << n) - 1);
}

/* `insn` with bits [low, low + n) taken from the low bits of v. */
static uint64_t put(uint64_t insn, unsigned low, unsigned n, uint64_t v)
{
    uint64_t mask = ((1ull << n) - 1) << low;
    return (insn & ~mask) | (v << low & mask);
}

/* BL, BLX and B.W: S:I1:I2:imm10:imm11:0 with I = NOT(J EOR S). */
static int64_t t32_branch_addend(uint64_t insn)
{
    uint64_t s = bits(insn, 26, 1), i1 = !(bits(insn, 13, 1) ^ s), i2 = !(bits(insn, 11, 1) ^ s);
    return elf_sign_extend(s << 24 | i1 << 23 | i2 << 22 | bits(insn, 16, 10) << 12 | bits(insn, 0, 11) << 1, 25);
}

static uint64_t t32_branch_put(uint64_t insn, uint64_t v)
{
    uint64_t s = bits(v, 24, 1);
    insn = put(put(insn, 26, 1, s), 16, 10, v >> 12);
    insn = put(put(insn, 13, 1, !bits(v, 23, 1) ^ s), 11, 1, !bits(v, 22, 1) ^ s);
    return put(insn, 0, 11, v >> 1);
}

static int64_t a32_branch_addend(uint64_t insn)
{
    int64_t half = insn >> 28 == 15 ? (int64_t)bits(insn, 24, 1) * 2 : 0; /* BLX reaches halfwords */
    return elf_sign_extend(insn << 2, 26) + half;
}

int64_t bk_reloc_read_addend(const struct reloc_place *p, enum reloc_field field)
{
    uint64_t v = load_field(p, field);
    switch (field) {
    case FIELD_8:
        return elf_sign_extend(v, 8);
    case FIELD_16:
        return elf_sign_extend(v, 16);
    case FIELD_32:
        return elf_sign_extend(v, 32);
    case FIELD_64:
        return (int64_t)v;
    case FIELD_PREL31:
        return elf_sign_extend(v, 31);
    case FIELD_A32_BRANCH:
        return a32_branch_addend(v);
    case FIELD_A32_MOVW:
    case FIELD_A32_MOVT:
        return elf_sign_extend(bits(v, 16, 4) << 12 | bits(v, 0, 12), 16);
    case FIELD_T32_BL:
    case FIELD_T32_BW:
        return t32_branch_addend(v);
    case FIELD_T32_B19:
        return elf_sign_extend(bits(v, 26, 1) << 20 | bits(v, 11, 1) << 19 | bits(v, 13, 1) << 18 |
                                   bits(v, 16, 6) << 12 | bits(v, 0, 11) << 1,
                               21);
    case FIELD_T32_B11:
        return elf_sign_extend(bits(v, 0, 11) << 1, 12);
    case FIELD_T32_B8:
        return elf_sign_extend(bits(v, 0, 8) << 1, 9);
    case FIELD_T32_MOVW:
    case FIELD_T32_MOVT:
        return elf_sign_extend(bits(v, 16, 4) << 12 | bits(v, 26, 1) << 11 | bits(v, 12, 3) << 8 | bits(v, 0, 8), 16);
    case FIELD_MIPS_26:
        return elf_sign_extend(v << 2, 28);
    case FIELD_MIPS_HI:
    case FIELD_MIPS_LO:
    case FIELD_MIPS_16:
        return elf_sign_extend(v, 16);
    case FIELD_MIPS_PC16:
        return elf_sign_extend(v << 2, 18);
    case FIELD_MIPS_PC21:
        return elf_sign_extend(v << 2, 23);
    case FIELD_MIPS_PC26:
        return elf_sign_extend(v << 2, 28);
    default:
        return 0; /* these processors write their addends into the relocation */
    }
}

static bool write_a32_branch(const struct reloc_place *p, uint64_t insn, uint64_t v)
{
    bool blx = insn >> 28 == 15, bl = insn >> 24 == 0xeb;
    if (p->to_function && p->to_thumb && bl)
        blx = true;
    else if (p->to_function && !p->to_thumb && blx)
        blx = false;
    if (!fits_signed(v, 26) || (v & (blx ? 1 : 3)))
        return false;
    if (blx)
        insn = 0xfa000000 | bits(v, 1, 1) << 24 | bits(v, 2, 24);
    else
        insn = put(insn >> 28 == 15 ? 0xeb000000 : insn, 0, 24, v >> 2);
    store_field(p, FIELD_A32_BRANCH, insn);
    return true;
}

/* BL to an A32 function becomes BLX, whose offset counts from the word that holds its PC; and the reverse. */
static bool write_t32_bl(const struct reloc_place *p, uint64_t insn, uint64_t v)
{
    bool blx = !bits(insn, 12, 1);
    if (p->to_function)
        blx = !p->to_thumb;
    if (blx)
        v = (v + 3) & ~3ull;
    if (!fits_signed(v, 25) || (v & 1))
        return false;
    store_field(p, FIELD_T32_BL, t32_branch_put(put(insn, 12, 1, !blx), v));
    return true;
}

static bool write_arm(const struct reloc_place *p, enum reloc_field field, uint64_t insn, uint64_t v)
{
    switch (field) {
    case FIELD_A32_BRANCH:
        return write_a32_branch(p, insn, v);
    case FIELD_T32_BL:
        return write_t32_bl(p, insn, v);
    case FIELD_A32_MOVT:
        v >>= 16;
        /* fallthrough */
    case FIELD_A32_MOVW:
        store_field(p, field, put(put(insn, 16, 4, v >> 12), 0, 12, v));
        return true;
    case FIELD_T32_MOVT:
        v >>= 16;
        /* fallthrough */
    case FIELD_T32_MOVW:
        store_field(p, field, put(put(put(put(insn, 16, 4, v >> 12), 26, 1, v >> 11), 12, 3, v >> 8), 0, 8, v));
        return true;
    case FIELD_T32_BW:
        if (!fits_signed(v, 25) || (v & 1))
            return false;
        store_field(p, field, t32_branch_put(insn, v));
        return true;
    case FIELD_T32_B19:
        if (!fits_signed(v, 21) || (v & 1))
            return false;
        insn = put(put(put(insn, 26, 1, v >> 20), 11, 1, v >> 19), 13, 1, v >> 18);
        store_field(p, field, put(put(insn, 16, 6, v >> 12), 0, 11, v >> 1));
        return true;
    case FIELD_T32_B11:
    case FIELD_T32_B8:
        if (!fits_signed(v, field == FIELD_T32_B11 ? 12 : 9) || (v & 1))
            return false;
        store_field(p, field, put(insn, 0, field == FIELD_T32_B11 ? 11 : 8, v >> 1));
        return true;
    default:
        return false;
    }
}

/* A signed value in units of 1 << shift at bits [low, low + n). */
static bool write_scaled(const struct reloc_place *p, enum reloc_field field, uint64_t insn, uint64_t v, unsigned shift,
                         unsigned low, unsigned n)
{
    if (!fits_signed(v, n + shift) || (v & ((1ull << shift) - 1)))
        return false;
    store_field(p, field, put(insn, low, n, v >> shift));
    return true;
}

/* The low `n` bits of an address in units of 1 << shift. */
static bool write_low(const struct reloc_place *p, enum reloc_field field, uint64_t insn, uint64_t v, unsigned n,
                      unsigned shift)
{
    if (v & ((1ull << shift) - 1))
        return false;
    store_field(p, field, put(insn, 10, 12, bits(v, 0, n) >> shift));
    return true;
}

static bool write_arm64(const struct reloc_place *p, enum reloc_field field, uint64_t insn, uint64_t v)
{
    switch (field) {
    case FIELD_A64_26:
        return write_scaled(p, field, insn, v, 2, 0, 26);
    case FIELD_A64_19:
        return write_scaled(p, field, insn, v, 2, 5, 19);
    case FIELD_A64_14:
        return write_scaled(p, field, insn, v, 2, 5, 14);
    case FIELD_A64_ADRP:
        v = (uint64_t)((int64_t)v >> 12);
        /* fallthrough */
    case FIELD_A64_ADR:
        if (!fits_signed(v, 21))
            return false;
        store_field(p, field, put(put(insn, 29, 2, v), 5, 19, v >> 2));
        return true;
    case FIELD_A64_ADD:
        return write_low(p, field, insn, v, 12, 0);
    case FIELD_A64_LDST16:
        return write_low(p, field, insn, v, 12, 1);
    case FIELD_A64_LDST32:
        return write_low(p, field, insn, v, 12, 2);
    case FIELD_A64_LDST64:
        return write_low(p, field, insn, v, 12, 3);
    case FIELD_A64_LDST128:
        return write_low(p, field, insn, v, 12, 4);
    case FIELD_A64_LD64_15:
        return write_low(p, field, insn, v, 15, 3);
    case FIELD_A64_MOVW0:
    case FIELD_A64_MOVW1:
    case FIELD_A64_MOVW2:
    case FIELD_A64_MOVW3:
        store_field(p, field, put(insn, 5, 16, v >> (16 * (field - FIELD_A64_MOVW0))));
        return true;
    default:
        return false;
    }
}

static bool write_mips(const struct reloc_place *p, enum reloc_field field, uint64_t insn, uint64_t v)
{
    switch (field) {
    case FIELD_MIPS_26: /* keeps the 256 MB region of the delay slot */
        if ((v & 3) || ((v ^ (p->address + 4)) & 0xf0000000))
            return false;
        store_field(p, field, put(insn, 0, 26, v >> 2));
        return true;
    case FIELD_MIPS_HI:
        store_field(p, field, put(insn, 0, 16, (v + 0x8000) >> 16));
        return true;
    case FIELD_MIPS_HIGHER:
        store_field(p, field, put(insn, 0, 16, (v + 0x80008000ull) >> 32));
        return true;
    case FIELD_MIPS_HIGHEST:
        store_field(p, field, put(insn, 0, 16, (v + 0x800080008000ull) >> 48));
        return true;
    case FIELD_MIPS_LO:
        store_field(p, field, put(insn, 0, 16, v));
        return true;
    case FIELD_MIPS_16:
        return write_scaled(p, field, insn, p->wide ? v : (uint64_t)elf_sign_extend(v, 32), 0, 0, 16);
    case FIELD_MIPS_PC16:
        return write_scaled(p, field, insn, v, 2, 0, 16);
    case FIELD_MIPS_PC21:
        return write_scaled(p, field, insn, v, 2, 0, 21);
    case FIELD_MIPS_PC26:
        return write_scaled(p, field, insn, v, 2, 0, 26);
    default:
        return false;
    }
}

bool bk_reloc_write(const struct reloc_place *p, enum reloc_field field, uint64_t value)
{
    uint64_t old = load_field(p, field);
    switch (field) {
    case FIELD_NONE:
        return true;
    case FIELD_32:
        if (p->wide && value > UINT32_MAX && !fits_signed(value, 32))
            return false;
        /* fallthrough */
    case FIELD_8:
    case FIELD_16:
    case FIELD_64:
        store_field(p, field, value);
        return true;
    case FIELD_PREL31:
        store_field(p, field, put(old, 0, 31, value));
        return true;
    default:
        break;
    }
    if (field <= FIELD_T32_MOVT)
        return write_arm(p, field, old, value);
    return field <= FIELD_A64_MOVW3 ? write_arm64(p, field, old, value) : write_mips(p, field, old, value);
}
