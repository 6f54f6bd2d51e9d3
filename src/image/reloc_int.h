/* Between reloc.c (which relocation, which value) and reloc_field.c (which bits of which word). */
#ifndef BK_RELOC_INT_H
#define BK_RELOC_INT_H

#include "image/image_int.h"

/* How a value comes about; letters as in reloc.c. */
enum reloc_calc {
    CALC_NONE,              /* says nothing of an address here: bytes stay */
    CALC_ABS,               /* S + A */
    CALC_ABS_THUMB,         /* (S + A) | T */
    CALC_PC,                /* S + A - P */
    CALC_PC_THUMB,          /* ((S + A) | T) - P */
    CALC_PAGE_PC,           /* page(S + A) - page(P) */
    CALC_FROM_GOT,          /* ((S + A) | T) - GOT */
    CALC_GOT_BASE_PC,       /* GOT + A - P */
    CALC_SLOT_PC,           /* slot(S) + A - P */
    CALC_SLOT_FROM_GOT,     /* slot(S) + A - GOT */
    CALC_I386_SLOT,         /* the same, or slot(S) + A where no base register is added */
    CALC_SLOT_SUM,          /* slot(S + A) */
    CALC_SLOT_SUM_PC,       /* slot(S + A) - P */
    CALC_SLOT_SUM_PAGE_PC,  /* page(slot(S + A)) - page(P) */
    CALC_SLOT_SUM_PAGE_GOT, /* slot(S + A) - page(GOT) */
    CALC_MIPS_HI,           /* S + A; of _gp_disp gp + A - P */
    CALC_MIPS_LO,           /* S + A; of _gp_disp gp + A - P + 4 */
    CALC_GP,                /* S + A - gp */
    CALC_MIPS_GOT16,        /* slot(S) - gp; of a local symbol slot(64 KB page of S + A) - gp */
    CALC_MIPS_SLOT,         /* slot(S + A) - gp */
    CALC_MIPS_SLOT_PAGE,    /* slot(64 KB page of S + A) - gp */
    CALC_MIPS_OFFSET_PAGE,  /* S + A - its 64 KB page */
    CALC_SUB,               /* S - A */
};

/* What part of the bytes takes it. */
enum reloc_field {
    FIELD_NONE,
    FIELD_8,
    FIELD_16,
    FIELD_32,
    FIELD_64,
    FIELD_PREL31,     /* low 31 bits */
    FIELD_A32_BRANCH, /* B, BL, BLX: 24 bits of words */
    FIELD_A32_MOVW,   /* low half in 4 + 12 bits */
    FIELD_A32_MOVT,   /* high half */
    FIELD_T32_BL,     /* BL, BLX: 25 bits */
    FIELD_T32_BW,     /* B.W: the same without change of state */
    FIELD_T32_B19,    /* B<cond>.W */
    FIELD_T32_B11,
    FIELD_T32_B8,
    FIELD_T32_MOVW,
    FIELD_T32_MOVT,
    FIELD_A64_26,     /* B, BL */
    FIELD_A64_19,     /* B.cond, CBZ, LDR literal: bits 5.. */
    FIELD_A64_14,     /* TBZ */
    FIELD_A64_ADR,    /* 21 bits, split */
    FIELD_A64_ADRP,   /* the same, of pages */
    FIELD_A64_ADD,    /* low 12 bits, bits 10.. */
    FIELD_A64_LDST16, /* low 12 bits in units of the access */
    FIELD_A64_LDST32,
    FIELD_A64_LDST64,
    FIELD_A64_LDST128,
    FIELD_A64_LD64_15, /* low 15 bits in units of 8 */
    FIELD_A64_MOVW0,   /* 16 bits of MOVZ, MOVK */
    FIELD_A64_MOVW1,
    FIELD_A64_MOVW2,
    FIELD_A64_MOVW3,
    FIELD_MIPS_26,
    FIELD_MIPS_HI, /* high half, rounded for a signed low half */
    FIELD_MIPS_LO,
    FIELD_MIPS_16, /* signed, must fit */
    FIELD_MIPS_HIGHER,
    FIELD_MIPS_HIGHEST,
    FIELD_MIPS_PC16,
    FIELD_MIPS_PC21,
    FIELD_MIPS_PC26,
};

struct reloc_rule {
    uint16_t type; /* R_* of the processor */
    uint8_t calc, field;
};

/* Relocation types of one processor, found by number. */
struct reloc_table {
    const struct reloc_rule *rules;
    uint8_t by_type[1024]; /* index + 1 */
};
void bk_reloc_table_init(struct reloc_table *t, enum bk_arch arch, bool is64);
const struct reloc_rule *bk_reloc_rule_of(const struct reloc_table *t, uint32_t type);

struct reloc_place {
    const uint8_t *read; /* the bytes before any change */
    uint8_t *write;
    bool data_big_endian, code_big_endian;
    bool wide;                  /* 64-bit file: a 32-bit field must hold the value; otherwise it wraps */
    uint64_t address;           /* of the place */
    bool to_function, to_thumb; /* ARM: the target's state, when it is a function of this object */
};
size_t bk_reloc_field_size(enum reloc_field field); /* bytes */
/* The addend that a REL place holds. */
int64_t bk_reloc_read_addend(const struct reloc_place *p, enum reloc_field field);
/* False, and nothing written, when the value does not fit. */
bool bk_reloc_write(const struct reloc_place *p, enum reloc_field field, uint64_t value);
void bk_reloc_store(uint8_t *out, size_t size, uint64_t value, bool big_endian);

#endif
