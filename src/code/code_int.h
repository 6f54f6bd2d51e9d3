/* What the files of code share. The decoder sweeps a function once in address order (decode.c), asking the architecture's file for
 * the meaning of each instruction and switch.c for the targets of indirect jumps; then blocks.c makes the graph. */
#ifndef BK_CODE_INT_H
#define BK_CODE_INT_H

#include "code/code.h"

#include <capstone/capstone.h>

/* ---- functions -------------------------------------------------------- */

struct piece { /* *.cold: the part of some function that was moved away */
    uint64_t begin, end;
};
struct functions {
    struct bk_functions pub; /* first: a bk_functions is one of these */
    struct bk_arena *arena;  /* arrays of names */
    struct {
        struct bk_function *v;
        size_t n, cap;
    } list;
    struct {
        struct piece *v; /* sorted, disjoint */
        size_t n, cap;
    } pieces;
};
bool bk_in_piece(const struct bk_functions *f, uint64_t addr);

/* ---- decoding --------------------------------------------------------- */

/* Private bits of bk_insn.flags, cleared before a body is handed out. */
enum {
    INSN_PAD = 1 << 12,   /* does nothing, as padding between code does */
    INSN_GAP = 1 << 13,   /* data follows: nothing falls through */
    INSN_LEADER = 1 << 14 /* some branch of the function goes here */
};

struct bk_operands {
    struct bk_operand *v;
    size_t n, cap;
};

/* What an architecture's file says of one instruction: flags, target, operands, and the literal it loads. */
struct reading {
    csh cs;
    const cs_insn *in;
    struct bk_insn *insn;   /* addr, size, mnemonic are set; flags and counts are 0 */
    struct bk_operand *ops; /* BK_MAX_OPERANDS free */
    uint64_t literal;       /* address and */
    uint32_t literal_size;  /* bytes of a pc-relative literal; 0: none */
};
typedef void isa_read(struct reading *r);
isa_read bk_x86_read, bk_arm_read, bk_thumb_read, bk_arm64_read, bk_mips_read;
/* An instruction capstone 4 does not know but whose flow matters. `word` is the encoding. */
bool bk_arm64_read_word(struct bk_insn *insn, uint32_t word);

/* The next free operand, zeroed but for kind and scale 1; a scratch one is given back when all are used. */
struct bk_operand *bk_reading_operand(struct reading *r, enum bk_operand_kind kind);
void bk_reading_reg(struct reading *r, unsigned reg);
void bk_reading_imm(struct reading *r, int64_t value);
void bk_reading_mem(struct reading *r, unsigned base, unsigned index, int32_t scale, int64_t disp);
void bk_reading_other(struct reading *r, const char *what, int64_t number);

struct jump_case {
    uint64_t from, to; /* addresses: an indirect jump of the function, one of its targets */
};

struct bk_decoder {
    struct bk_body body;
    const struct bk_functions *functions;
    const struct isa *isa;
    csh cs;
    cs_insn *in;
    cs_mode mode;
    unsigned it_left; /* instructions that capstone still believes inside a Thumb IT block */
    struct bk_strtab *mnemonics;

    /* The function at hand. */
    const uint8_t *data; /* its bytes, `avail` of them in the file */
    uint64_t begin, end, avail;
    bool thumb;
    /* One byte for two bytes of the function, set where an instruction reads a literal or a jump table. Only
     * used where the image has no mapping symbols. */
    uint8_t *literals;
    size_t literals_cap;
    bool find_literals;
    size_t entries_left; /* of jump tables, that may still be read */

    struct {
        struct bk_insn *v;
        size_t n, cap;
    } insns;
    struct bk_operands operands;
    struct {
        struct bk_block *v;
        size_t n, cap;
    } blocks;
    struct {
        struct bk_edge *v;
        size_t n, cap;
    } edges;
    struct {
        uint64_t *v;
        size_t n, cap;
    } callees;
    struct {
        struct jump_case *v;
        size_t n, cap;
    } cases;
};

/* Marks [addr, addr + size) of the function as data still to come. */
void bk_decoder_mark_data(struct bk_decoder *d, uint64_t addr, uint64_t size);
/* Index of the instruction at `addr`, SIZE_MAX when none starts there. */
size_t bk_decoder_insn_at(const struct bk_decoder *d, uint64_t addr);

/* Adds the targets of the indirect jump insns.v[i], if it is a table jump that is understood. False: no memory. */
bool bk_switch_find(struct bk_decoder *d, size_t i);
/* Drops padding, fills blocks, edges and callees of the body. False: no memory. */
bool bk_blocks_build(struct bk_decoder *d);

#endif
