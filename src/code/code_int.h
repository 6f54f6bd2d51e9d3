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
    bool wide;              /* 64-bit MIPS */
    uint64_t literal;       /* address and */
    uint32_t literal_size;  /* bytes of a pc-relative literal; 0: none */
};
typedef void isa_read(struct reading *r);
isa_read bk_x86_read, bk_arm_read, bk_thumb_read, bk_arm64_read, bk_mips_read;
/* An instruction capstone 4 does not know but whose flow matters. `word` is the encoding. */
bool bk_arm64_read_word(struct bk_insn *insn, uint32_t word);

/* The next free operand, zeroed but for kind and scale 1; a scratch one is given back when all are used. */
struct bk_operand *bk_reading_operand(struct reading *r, enum bk_operand_kind kind);
struct bk_operand *bk_reading_reg(struct reading *r, unsigned reg);
void bk_reading_imm(struct reading *r, int64_t value);
struct bk_operand *bk_reading_mem(struct reading *r, unsigned base, unsigned index, int32_t scale, int64_t disp);
void bk_reading_other(struct reading *r, const char *what, int64_t number);

/* ---- instructions met before (cache.c) -------------------------------- */

/* What of an instruction its bytes do not tell, because it counts from the instruction's address. */
enum moves {
    MOVES_NOT,  /* nothing: the bytes are all */
    MOVES_LAST, /* the value of the last operand, and the target of a branch */
    MOVES_DISP /* the displacement of the one memory operand: the field is left out though it counts from nothing, since it differs
                 * each time where it is relative to the program counter */
};
struct insn_key {
    uint64_t lo, hi; /* the bytes without the moving field; hi also tells size and mode */
    int64_t value;   /* what moves, as the operand has it, and */
    uint64_t target; /* as bk_insn.target has it, if it is a branch */
    enum moves moves;
    uint8_t size; /* bytes */
};
/* The key of the instruction at `p`, of which `left` bytes follow; 16 can be read. False: one not to be remembered. */
typedef bool isa_key(struct insn_key *k, const uint8_t *p, size_t left, uint64_t addr, bool big_endian);
isa_key bk_amd64_key, bk_i386_key, bk_arm_key, bk_thumb_key, bk_arm64_key, bk_mips_key;

static inline uint32_t bk_key_half(const uint8_t *p, bool big_endian)
{
    return big_endian ? (uint32_t)p[0] << 8 | p[1] : (uint32_t)p[1] << 8 | p[0];
}
static inline uint32_t bk_key_word(const uint8_t *p, bool big_endian)
{
    uint32_t a = bk_key_half(p, big_endian), b = bk_key_half(p + 2, big_endian);
    return big_endian ? a << 16 | b : b << 16 | a;
}
/* The lowest bits as a signed number. */
static inline int64_t bk_key_signed(uint32_t word, unsigned bits)
{
    return (int64_t)((uint64_t)word << (64 - bits)) >> (64 - bits);
}

struct cached {
    uint64_t lo, hi;
    const char *mnemonic;
    const struct bk_operand *operands;
    uint32_t literal; /* from LITERAL_BASE of the address, unless it moves */
    uint16_t flags;
    uint8_t size, n_operands, literal_size;
    uint8_t moving; /* operand that holds the key's value, counted from 1; 0: none */
};
#define LITERAL_BASE(addr) ((addr) & ~UINT64_C(3)) /* what the literal of an ARM load counts from, but for a constant */

struct insn_cache {
    uint32_t *slots; /* numbers of entries by open addressing, 0: free; at most half full */
    size_t n_slots;
    struct {
        struct cached *v; /* number - 1 */
        size_t n, cap;
    } entries;
    struct bk_arena *arena; /* operands */
    size_t max;             /* entries; whatever comes later stays out */
};
/* NULL: not there. Valid until the next bk_cache_add(). */
const struct cached *bk_cache_find(const struct insn_cache *c, const struct insn_key *k);
/* Takes in what was read under the key. Its number from 1 on; 0: it stays out. */
uint32_t bk_cache_add(struct insn_cache *c, const struct insn_key *k, const struct reading *r);
void bk_cache_done(struct insn_cache *c);

/* ---- the decoder ------------------------------------------------------ */

struct jump_case {
    uint64_t from, to; /* addresses: an indirect jump of the function, one of its targets */
};

/* Memory for what Capstone does not check. `refused`: bytes that the heap did not have, so that what Capstone made is not to be used. */
struct reserve {
    _Alignas(16) uint8_t bytes[32 << 10]; /* an x86 handle takes 20,072, those of the others less */
    size_t used, refused;
};

struct bk_decoder {
    struct bk_body body;
    const struct bk_functions *functions;
    const struct isa *isa;
    csh cs;
    cs_insn *in;
    cs_mode mode;
    unsigned it_left; /* instructions that capstone still believes inside a Thumb IT block */
    struct reserve reserve;
    struct bk_strtab *mnemonics;
    struct insn_cache cache;
    struct bk_memo memo[BK_MEMO_USES];

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
    struct bk_operands operands; /* those that the cache does not hold */
    size_t n_operands;           /* of all instructions */
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
