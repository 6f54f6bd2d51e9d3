/* Between items.c (the set, and how blocks follow each other), items_track.c (what an instruction makes of the
 * registers) and items_isa.c (the processors). */
#ifndef BK_ITEMS_INT_H
#define BK_ITEMS_INT_H

#include "feature/feature_int.h"

/* ---- processors ------------------------------------------------------- */

/* What an instruction does with the registers that it names, as far as addresses and constants are made of it. */
enum act {
    ACT_WRITE,   /* its first operand takes something unknown, if it is a register */
    ACT_READ,    /* nothing is written */
    ACT_NONE,    /* a hint, whose operands mean nothing */
    ACT_MULTI,   /* all its registers take something unknown */
    ACT_CLOBBER, /* so do its first and those that a call may change */
    ACT_MOVE,    /* first = second: register, constant, or word in memory */
    ACT_NOT,     /* first = ~second */
    ACT_LEA,     /* first = address of the second */
    ACT_PAGE,    /* the same, of which something is still to come */
    ACT_ADD,     /* first = first + second, or second + third */
    ACT_SUB,     /* the same with - */
    ACT_OR,      /* first = second | third */
    ACT_HIGH,    /* first = second << 16 */
    ACT_KEEP,    /* 16 bits of the first = second */
    ACT_POP,     /* first = top of the stack */
    ACT_CMN,     /* compares with the negative of its constant */
    ACT_BIC,     /* writes its first operand; its constant is meant complemented */
    ACT_BIT      /* jumps by the bit that its constant names */
};

#define ITEM_REGS  33 /* general registers, numbered as the processor does; 32: the zero register of AArch64, rip */
#define NO_REG     64
#define REG_NARROW 128 /* a bit: the name is that of 8 or 16 bits of the register */

struct item_isa {
    unsigned (*reg)(const char *name); /* a number; NO_REG for what is no general register */
    enum act (*act)(const char *mnemonic);
    uint64_t kept; /* registers that a call leaves alone, one bit each */
    uint8_t sp, pc, zero, gp;
    uint8_t entry; /* holds the function's own address when it begins */
    uint8_t word;  /* bytes of an address */
    bool literals; /* constants lie between code, and some take two instructions */
};
const struct item_isa *bk_item_isa(enum bk_arch arch);

/* ---- values ----------------------------------------------------------- */

enum known {
    UNKNOWN,
    STACK,  /* some distance from the stack pointer or from a known address: what lies there is no field of anything */
    NUMBER, /* and what follows: the value is known */
    ADDRESS /* where the file is loaded as it says, or the distance of two such places */
};

/* Pending is what says nothing yet: a NUMBER that may be the half of one, an ADDRESS that others may count from. It
 * is an item once the register takes something else, unless it became part of a longer constant or another address
 * before. */
struct value {
    uint64_t v;
    uint8_t known; /* enum known */
    bool pending;
};

struct registers {
    uint64_t live; /* one bit each: not UNKNOWN */
    struct value v[ITEM_REGS];
};

struct tracker {
    struct bk_items *out;
    const struct bk_image *img;
    const struct bk_body *body;
    const struct item_isa *isa;
    uint32_t *memo;             /* by key of an instruction: what read_meaning() says; NULL: none */
    uint64_t mask;              /* of an address */
    const struct bk_insn *insn; /* at hand */
    size_t field;               /* the first of img->code_fields behind the beginning of `insn` */
    struct registers regs;
    struct value at;   /* of `insn` the address of its memory operand */
    bool spoken_for;   /* the constants of `insn` are part of an address or of a longer constant */
    bool call_pending; /* a call whose delay slot is still to come */
    bool no_memory;
};
void bk_track_begin(struct tracker *t);
void bk_track_insn(struct tracker *t);
/* Gives a register another value; what was pending in it is an item now. */
void bk_track_put(struct tracker *t, unsigned reg, struct value v);
void bk_track_end(struct tracker *t);

/* ---- the set ---------------------------------------------------------- */

void bk_item_add(struct tracker *t, enum bk_item_kind kind, const void *data, size_t size);

#endif
