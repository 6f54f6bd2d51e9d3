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
    const char *file;         /* source file, of the first name that has one (bk_symbol.file); NULL: not known */
};

/* All functions of an image, sorted by address. Immutable. */
struct bk_functions {
    const struct bk_image *image;
    size_t n;
    const struct bk_function *v;
    size_t n_cut;     /* functions and ranges made shorter: they ran past their section or into the next function */
    size_t n_dropped; /* function symbols outside any code section: they give no function */
};

/* The image must outlive the result. Symbols of kind FUNC first: their size; where it is 0 or absurd, that of the unwind
 * range of the same address, or else up to the next function, unwind range, object or global symbol, or the section's
 * end. Then unwind ranges that no symbol covers, then the entry point (bound next-symbol) where neither does. A symbol named *.cold or
 * *.cold.N is a piece, not a function: it ends its neighbour but is no entry of its own (in a stripped file it looks
 * like any function); PLT stubs (sections .plt, .plt.got, .plt.sec, .iplt, .MIPS.stubs) are none either. Functions do not
 * overlap: one that runs into the next is cut. Near-linear in symbols. */
BK_MUST_CHECK int bk_functions_find(struct bk_functions **out, const struct bk_image *img, struct bk_error *err);
void bk_functions_free(struct bk_functions *f);
/* Index of the function that contains `addr`, or SIZE_MAX. */
size_t bk_functions_at(const struct bk_functions *f, uint64_t addr);
/* The name of the source function: compiler clone suffixes (.isra.N, .constprop.N, .part.N, .lto_priv.N, .llvm.N, .N, ...) cut
 * off, all of them. Returns the length of the prefix of `name` that is the label. */
size_t bk_source_name_len(const char *name);

/* ---- instructions ----------------------------------------------------- */

/* IMM: of a direct branch or call the absolute target; of x86 otherwise the value sign-extended from the operand's own width (mov eax,
 * 0xffffffff is -1, and so is xor al, 0xff); of AArch64 adr, adrp and literal loads the absolute address; of A32 and T32 adr
 * the distance; else as encoded, sign-extended. OTHER: conditions that no mnemonic tells ("eq" of csel), coprocessor numbers
 * ("p", "c"), "sysreg", "barrier", "prefetch", ... */
enum bk_operand_kind { BK_OP_REG, BK_OP_IMM, BK_OP_MEM, BK_OP_FP, BK_OP_OTHER };

/* Structured operand, never parsed from printed text. Register names are static strings, lower case, without sigil. In the order of
 * Intel syntax on x86, of the vendor's elsewhere. A register list is its registers one by one. Left out: shifts and
 * extensions of a register operand, write-back, lanes and arrangements of vectors, x86 segments and broadcast. */
struct bk_operand {
    enum bk_operand_kind kind;
    uint8_t
        size; /* REG: its width in bytes, of a vector what the arrangement takes of it. MEM: bytes accessed. 0: none, or not known */
    int32_t scale;   /* MEM: factor of the index: 1, 2, 4, 8; ARM [r0, r1, lsl #2] gives 4; negative when subtracted */
    const char *reg; /* REG: its name. MEM: base register or NULL. OTHER: a short static name of what it is, or NULL */
    const char *index; /* MEM: index register or NULL */
    int64_t value;     /* IMM: value. MEM: displacement. OTHER: its number */
    double fp;         /* FP */
};

enum {
    BK_INSN_CALL = 1 << 0, /* branch with link; does not end a block */
    BK_INSN_JUMP = 1 << 1, /* any branch that is no call */
    BK_INSN_COND = 1 << 2, /* may fall through (conditional jump, predicated return) */
    BK_INSN_RET = 1 << 3,
    BK_INSN_STOP = 1 << 4,   /* never continues: ud2, hlt, trap, udf */
    BK_INSN_TARGET = 1 << 5, /* `target` is known */
    BK_INSN_DELAY = 1 << 6,  /* MIPS: the next instruction still runs */
    BK_INSN_MOVES = 1 << 7   /* the last operand is an IMM whose value `key` does not tell */
};

#define BK_MAX_OPERANDS 24 /* of one instruction; what a longer register list has beyond is left out */

struct bk_insn {
    uint64_t addr;
    uint64_t target;      /* of a direct branch or call, Thumb bit cleared */
    const char *mnemonic; /* lower case, with its condition and size suffix, as the disassembler names it */
    const struct bk_operand *operands;
    /* Instructions of one decoder that have the same key have the same mnemonic and operands, but for what BK_INSN_MOVES says. 0:
     * none. Which instructions have one is the decoder's choice. */
    uint32_t key;
    uint8_t n_operands, size; /* size in bytes */
    uint16_t flags;           /* BK_INSN_* */
};

struct bk_block {
    uint32_t first, n; /* instructions [first, first + n) of the body, n > 0 */
};
/* How control goes over an edge. Where two ways join the same blocks the kind that stands first here is the edge's. */
enum bk_edge_kind {
    BK_EDGE_FALL, /* into the next block, no jump standing between: a branch goes there, or a predicated return does not return */
    BK_EDGE_TAKEN,     /* a conditional jump jumps */
    BK_EDGE_NOT_TAKEN, /* a conditional jump falls through */
    BK_EDGE_JUMP,      /* an unconditional jump */
    BK_EDGE_CASE       /* one case of a table jump */
};
#define BK_EDGE_KINDS 5
struct bk_edge {
    uint32_t from, to; /* blocks */
    enum bk_edge_kind kind;
};

/* A block ends behind a JUMP, RET or STOP (and its delay slot), before a branch target, and where data follows. Edges: to the targets of
 * jumps inside the function, to the next block where control falls through, and to the cases of a table jump where
 * the table could be read and a comparison just before bounds it. An indirect jump that is not understood has none.
 * Padding is data, not code: nops (and int3) that no branch goes to, behind an instruction that never continues or up to the
 * function's end; a function that is nothing but nops keeps them. A function may have no instruction at all. */

/* A number for each key, for whoever reads the bodies of a decoder to keep what it found out about the instructions of that
 * key; one for each of the uses that stand side by side. The decoder only makes room: what is new is 0. A reader that finds another
 * owner than itself begins with zeros. */
enum bk_memo_use { BK_MEMO_WORDS, BK_MEMO_FORMS, BK_MEMO_NEUTRAL_FORMS, BK_MEMO_ITEMS, BK_MEMO_USES };
struct bk_memo {
    const void *owner;
    uint32_t *v; /* `n`, more than the largest key */
    size_t n;
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
    const struct bk_edge *edges; /* sorted by from, then to, which occur together once; tail jumps out are callees */
    size_t n_callees;
    const uint64_t *callees; /* sorted, distinct addresses of direct calls and tail jumps; own cold pieces are none */
    uint64_t bytes_code;     /* bytes decoded as instructions */
    uint64_t bytes_data;     /* literal pools, jump tables, padding */
    uint64_t bytes_bad;      /* bytes that could not be decoded; the three sum to function->size */
    struct bk_memo *memo;    /* BK_MEMO_USES; NULL: there are no keys */
};

struct bk_decoder; /* one per thread */
BK_MUST_CHECK int bk_decoder_new(struct bk_decoder **out, const struct bk_functions *f, struct bk_error *err);
void bk_decoder_free(struct bk_decoder *d);
/* Decodes function `i`. Undecodable bytes are skipped by the architecture's smallest step (x86 1, T32 2, others 4) and counted, never
 * an error. At most BK_MAX_INSNS instructions and four times as many operands: the rest counts as bytes_bad. ARM and AArch64 data between
 * code is told by mapping symbols; where there are none, by the loads and table jumps that read it. Fails only for want of memory. */
#define BK_MAX_INSNS (1u << 20)
BK_MUST_CHECK int bk_decoder_body(const struct bk_body **out, struct bk_decoder *d, size_t i, struct bk_error *err);

#endif
