/* code: image -> functions (bounds and names), and one function -> instructions,
 * basic blocks, edges, callees. The only user of a disassembler.
 *
 * Finding functions decodes nothing; a body is decoded on demand by a
 * decoder, of which each thread has its own. */
#ifndef BK_CODE_H
#define BK_CODE_H

#include "image/image.h"

/* How the bounds of a function became known, best first. */
enum bk_bound_source { BK_BOUND_SYMBOL, BK_BOUND_NEXT_SYMBOL, BK_BOUND_EH_FRAME, BK_BOUND_EXIDX };

struct bk_function {
    uint64_t addr; /* Thumb bit cleared */
    uint64_t size; /* bytes, > 0, inside its section, ends before the next function begins */
    bool thumb;
    enum bk_bound_source bound;
    size_t n_names;           /* aliases of one address are one function; 0 in stripped files */
    const char *const *names; /* global before weak before local, then shorter, then alphabetical */
};

/* All functions of an image, sorted by address. Immutable. */
struct bk_functions {
    const struct bk_image *image;
    size_t n;
    const struct bk_function *v;
    /* Symbols and ranges that give no function (outside any code section, size past the section's end and cut,
     * overlapping, ...): counted, one sample message each in troubles. */
    size_t n_cut, n_dropped;
};

/* The image must outlive the result. Symbols of kind FUNC first (their size, or up to the next symbol or
 * section end when 0 or absurd), then unwind ranges no symbol covers. A symbol named *.cold or *.cold.N is a piece, not a function:
 * it ends its neighbour but is no entry of its own; PLT stubs are none either. */
BK_MUST_CHECK int bk_functions_find(struct bk_functions **out, const struct bk_image *img, struct bk_error *err);
void bk_functions_free(struct bk_functions *f);
/* Index of the function that contains `addr`, or SIZE_MAX. */
size_t bk_functions_at(const struct bk_functions *f, uint64_t addr);
/* The name of the source function: compiler clone suffixes (.isra.N, .constprop.N, .part.N, .lto_priv.N, .llvm.N, ...) cut
 * off. Returns the length of the prefix of `name` that is the label. */
size_t bk_source_name_len(const char *name);

/* ---- instructions ----------------------------------------------------- */

enum bk_operand_kind { BK_OP_REG, BK_OP_IMM, BK_OP_MEM, BK_OP_FP, BK_OP_OTHER };

/* Structured operand, never parsed from printed text. Register names are static strings. */
struct bk_operand {
    enum bk_operand_kind kind;
    const char *reg; /* REG: its name. MEM: base register or NULL. OTHER: a short static name of what it is, or NULL */
    const char *index; /* MEM: index register or NULL */
    int32_t scale;     /* MEM: 1 where there is none */
    int64_t value;     /* IMM: value, sign-extended from its width. MEM: displacement. OTHER: its number */
    double fp;         /* FP */
};

enum {
    BK_INSN_CALL = 1 << 0, /* branch with link */
    BK_INSN_JUMP = 1 << 1, /* any branch that is no call */
    BK_INSN_COND = 1 << 2, /* may fall through (conditional jump, predicated return) */
    BK_INSN_RET = 1 << 3,
    BK_INSN_STOP = 1 << 4,   /* never continues: ud2, hlt, trap, udf */
    BK_INSN_TARGET = 1 << 5, /* `target` is known */
    BK_INSN_DELAY = 1 << 6   /* MIPS: the next instruction still runs */
};

#define BK_MAX_OPERANDS 24

struct bk_insn {
    uint64_t addr;
    uint64_t target;      /* of a direct branch or call, Thumb bit cleared */
    const char *mnemonic; /* lower case, with its condition and size suffix, as the disassembler names it */
    const struct bk_operand *operands;
    uint8_t n_operands, size; /* size in bytes */
    uint16_t flags;           /* BK_INSN_* */
};

struct bk_block {
    uint32_t first, n; /* instructions [first, first + n) of the body, n > 0 */
};
struct bk_edge {
    uint32_t from, to; /* blocks */
};

/* One decoded function. Owned by its decoder, valid until the next call on it. */
struct bk_body {
    const struct bk_function *function;
    enum bk_arch arch;
    size_t n_insns;
    const struct bk_insn *insns; /* linear address order */
    size_t n_blocks;
    const struct bk_block *blocks; /* address order; block 0 is the entry */
    size_t n_edges;
    const struct bk_edge *edges; /* sorted by from, then to; no duplicates; tail jumps out are callees */
    size_t n_callees;
    const uint64_t *callees; /* sorted, distinct addresses of direct calls and tail jumps */
    uint64_t bytes_code;     /* bytes decoded as instructions */
    uint64_t bytes_data;     /* literal pools, jump tables, padding */
    uint64_t bytes_bad;      /* bytes that could not be decoded; the three sum to function->size */
};

struct bk_decoder; /* one per thread */
BK_MUST_CHECK int bk_decoder_new(struct bk_decoder **out, const struct bk_functions *f, struct bk_error *err);
void bk_decoder_free(struct bk_decoder *d);
/* Decodes function `i`. Undecodable bytes are skipped by the architecture's smallest step and counted, never an error. At most
 * BK_MAX_INSNS instructions: the rest counts as bytes_bad. Fails only for want of memory. */
#define BK_MAX_INSNS (1u << 20)
BK_MUST_CHECK int bk_decoder_body(const struct bk_body **out, struct bk_decoder *d, size_t i, struct bk_error *err);

#endif
