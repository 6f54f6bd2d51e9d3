/* feature: a decoded function -> what a model may see of it.
 *
 * The token rules live here and nowhere else. One rule set exists, `safe`: the whole instruction is one word
 * (Massarelli et al. 2019; doc/tokens.md). Any change that alters one word of one golden file raises
 * BK_TOKENS_VERSION; models and data sets store name and version, and a mismatch is refused. */
#ifndef BK_FEATURE_H
#define BK_FEATURE_H

#include "code/code.h"

#define BK_TOKENS_NAME    "safe"
#define BK_TOKENS_VERSION 1

/* Bytes of the longest word with its NUL; a longer one is cut and ends in '~'. */
#define BK_WORD_MAX 192

/* The letter of an architecture's words: X (amd64, i386), A (armhf), V (arm64), M (mips, mips64). */
char bk_word_prefix(enum bk_arch arch);
/* "X_UNK" and its like: the word that stands for one the vocabulary has not. */
const char *bk_word_unknown(enum bk_arch arch);
/* "X_EOF": stands five times after each function in the i2v stream. */
const char *bk_word_end(enum bk_arch arch);
/* Writes the word of one instruction, NUL-terminated, and returns its length. */
size_t bk_word_write(char out[BK_WORD_MAX], enum bk_arch arch, const struct bk_insn *insn);
/* The mnemonic inside a word that bk_word_write wrote, without the architecture's prefix: "mov" of "X_mov_eax,[rbp*1+-8]",
 * "rep_movsb" of "X_rep_movsb_[rdi*1+0],[rsi*1+0]". *opcode points into `word` and has no NUL of its own; its length is
 * returned, 0 for any other text (the unknown and end words, padding). */
size_t bk_word_opcode(const char **opcode, const char *word);

/* The immediates of one instruction of `img` into `out`, their number returned: its integer operands that stand for no
 * address. Left out: targets of branches and calls, adr, adrp and literal loads of ARM and AArch64, what a
 * relocation of an object is for, and in an executable of fixed address values inside its allocated sections. */
size_t bk_insn_immediates(int64_t out[BK_MAX_OPERANDS], const struct bk_image *img, const struct bk_insn *insn);

/* Bytes of the longest form with its NUL. */
#define BK_FORM_MAX 192

/* Writes the form of one instruction, NUL-terminated, and returns its length: the word without registers and numbers, but with
 * widths in bytes, "X_mov_r4,m4" (doc/features.md). It follows from the instruction's key where that is not 0. */
size_t bk_form_write(char out[BK_FORM_MAX], enum bk_arch arch, const struct bk_insn *insn);
/* Writes what is left of a form, any text at all, without the processor, "N_load_4", and returns its length; "N_other" where nothing
 * is known of it. */
size_t bk_form_neutral(char out[BK_FORM_MAX], const char *form);

/* A function as the sequence models see it: ids of its words in linear address order. */
struct bk_word_seq {
    uint32_t *v; /* heap, `n` used of `cap`; free with bk_word_seq_done() */
    size_t n, cap;
    size_t n_unknown;
};
/* Zero-initialise once, reuse for many functions. The ids found stay with the body's decoder, so that a word is made once: `words`
 * must live as long as that decoder is used for it. */
void bk_word_seq_done(struct bk_word_seq *s);
/* Ids from `words`; a word that is not there becomes the id of bk_word_unknown(arch), and is counted. At most
 * `max` words (0: all). BK_EMISMATCH when `words` lacks the architecture's unknown word. */
BK_MUST_CHECK int bk_word_seq_find(struct bk_word_seq *out, const struct bk_strtab *words, const struct bk_body *body,
                                   size_t max, struct bk_error *err);
/* The same, but new words are added to `words`. */
BK_MUST_CHECK int bk_word_seq_intern(struct bk_word_seq *out, struct bk_strtab *words, const struct bk_body *body,
                                     size_t max, struct bk_error *err);

/* An edge of a function's graph, between blocks that data sets and models keep. */
struct bk_graph_edge {
    uint16_t from, to, kind; /* enum bk_edge_kind */
};

/* Instructions of a function, from its beginning, that data sets keep and models look at. */
#define BK_MAX_SEEN 1000
/* Likewise of its items. */
#define BK_MAX_SEEN_ITEMS 1000

/* The graphs of functions, one behind the other: of each basic block that begins among the instructions that are seen how many of those it
 * has, and the edges between these blocks. */
struct bk_graph_seq {
    struct {
        uint16_t *v;
        size_t n, cap;
    } blocks;
    struct {
        struct bk_graph_edge *v; /* numbers of blocks are those of the function */
        size_t n, cap;
    } edges;
};
/* Zero-initialise once; reuse with n = 0. */
void bk_graph_seq_done(struct bk_graph_seq *s);
/* Adds those of `body` among its first `max` instructions (at most 65535). Fails only for want of memory. */
BK_MUST_CHECK int bk_graph_seq_add(struct bk_graph_seq *out, const struct bk_body *body, size_t max,
                                   struct bk_error *err);

/* A function as the graph models see its instructions: two ids each, in linear address order. */
struct bk_form_seq {
    uint32_t *v;       /* heap, `n` used of `cap`; free with bk_form_seq_done() */
    uint32_t *neutral; /* likewise, `n` of `neutral_cap` */
    size_t n, cap, neutral_cap;
    size_t n_unknown; /* of the forms in v */
};
/* As a bk_word_seq: zero-initialise once, and `forms` must live as long as the body's decoder is used for it. */
void bk_form_seq_done(struct bk_form_seq *s);
/* Ids from `forms`, where forms and neutral forms stand side by side: of the form to v, of its neutral form to `neutral`, each
 * BK_STR_NONE when it is not there; at most `max` (0: all). Fails only for want of memory. */
BK_MUST_CHECK int bk_form_seq_find(struct bk_form_seq *out, const struct bk_strtab *forms, const struct bk_body *body,
                                   size_t max, struct bk_error *err);
/* The ids of forms to v, new ones being added to `forms`; what is in `neutral` means nothing. */
BK_MUST_CHECK int bk_form_seq_intern(struct bk_form_seq *out, struct bk_strtab *forms, const struct bk_body *body,
                                     size_t max, struct bk_error *err);

/* What a function holds that few others hold. */
enum bk_item_kind {
    BK_ITEM_IMMEDIATE,    /* a constant, none of -1, 0, 1, made alike for all processors (doc/features.md) */
    BK_ITEM_DISPLACEMENT, /* of a memory operand, not 0: from a pointer, not from the stack or a known address */
    BK_ITEM_STRING, /* a text in read-only data that it refers to: BK_ITEM_TEXT_MIN or more printable bytes and a NUL */
    BK_ITEM_IMPORT  /* a function or datum of another file that it calls, jumps to, loads or takes the address of */
};
#define BK_ITEM_KINDS    4
#define BK_ITEM_TEXT_MIN 4
#define BK_ITEM_TEXT_MAX 256 /* bytes of a text or name that count; of a longer one the first */
#define BK_MAX_ITEMS     65536

struct bk_item {
    uint64_t
        hash; /* XXH3-64 of the text, the plain name, or the number as int64 in little-endian, plus kind * BK_ITEM_SALT */
    enum bk_item_kind kind;
};
#define BK_ITEM_SALT UINT64_C(0x9e3779b97f4a7c15)

/* The items of a function, each once, in the order in which its instructions name them. */
struct bk_items {
    struct bk_item *v; /* heap, `n` used of `cap`; free with bk_items_done() */
    size_t n, cap;
    struct bk_items_scratch *scratch;
};
/* Zero-initialise once, reuse for many functions. */
void bk_items_done(struct bk_items *items);
/* The items of all instructions of `body`, which is of `img`; the first BK_MAX_ITEMS. Fails only for want of memory. */
BK_MUST_CHECK int bk_items_read(struct bk_items *out, const struct bk_image *img, const struct bk_body *body,
                                struct bk_error *err);

#endif
