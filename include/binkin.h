/* Binkin: finds the kin of a binary function.
 *
 *     struct bk_model *model;
 *     struct bk_binary *a, *b;
 *     struct bk_error err;
 *     if (bk_model_load(&model, NULL, &err) || bk_binary_open(&a, "libz.a", &err) ||
 *         bk_binary_open(&b, "libz.so.1", &err)) { ... }
 *     struct bk_matches *m;
 *     bk_match(&m, model, a, b, NULL, &err);
 *
 * The way of the data is bytes -> functions -> vectors -> scores. A bk_binary
 * is an opened file (ELF, or an archive of ELF objects): its functions are
 * numbered from 0 over all members. A bk_model turns a function into a unit vector; the
 * score of two functions is the inner product (cosine) of their vectors, 1 for the same direction.
 *
 * Binaries and models are immutable once open and may be shared by threads. What a
 * call returns through its first argument belongs to the caller, who ends it with the
 * call named beside it; those take NULL. Strings inside belong to the object.
 * Every call that can fail returns BK_OK or a negative code (binkin_error.h). */
#ifndef BINKIN_H
#define BINKIN_H

#include "binkin_error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BK_VERSION_MAJOR 0
#define BK_VERSION_MINOR 1
#define BK_VERSION_PATCH 0
BK_API const char *bk_version(void); /* "0.1.0" */
/* The instruction set that the loops use on this machine: "plain", "avx2", "avx512". */
BK_API const char *bk_instructions(void);

/* ---- models ----------------------------------------------------------- */

struct bk_model;
/* `path` NULL: $BINKIN_MODEL, else the installed default, else models/ of the source tree the library was built in. */
BK_API BK_MUST_CHECK int bk_model_load(struct bk_model **out, const char *path, struct bk_error *err);
BK_API void bk_model_free(struct bk_model *m);

struct bk_model_info {
    const char *kind;                 /* "mffa", "safe", "graph", "fused" */
    const char *tokens;               /* "safe/1": token rules and their version */
    const char *provenance;           /* JSON object */
    char branches[64];                /* "sequence,graph,sketch": what it looks at */
    char aff[64];                     /* with a sequence: the reading of attention feature fusion */
    char archs[64];                   /* "amd64, armhf": trained for these */
    size_t dim;                       /* numbers of a function vector */
    size_t n_words, n_forms, n_items; /* it knows: words of sequences, forms of instructions, how rare items are */
    size_t n_params;
    uint32_t max_insns; /* of a function, the first so many are looked at */
    bool calibrated;    /* it knows what its scores are worth */
    uint64_t hash;      /* of the file */
};
BK_API void bk_model_describe(struct bk_model_info *out, const struct bk_model *m);

/* ---- binaries --------------------------------------------------------- */

struct bk_binary;
/* Reads the file and finds its functions; decodes nothing yet. */
BK_API BK_MUST_CHECK int bk_binary_open(struct bk_binary **out, const char *path, struct bk_error *err);
BK_API void bk_binary_close(struct bk_binary *b);
BK_API const char *bk_binary_path(const struct bk_binary *b); /* as given */
/* Troubles that did not keep the file from being read: bad members, cut symbols, ... */
BK_API size_t bk_binary_n_troubles(const struct bk_binary *b);
BK_API const struct bk_error *bk_binary_trouble(const struct bk_binary *b, size_t i);

struct bk_member_info { /* one image: the file itself or a member of an archive */
    const char *member; /* NULL for a plain file */
    const char *arch;   /* "amd64", "i386", "armhf", "arm64", "mips", "mips64" */
    const char *kind;   /* "executable", "shared", "object" */
    bool big_endian, stripped;
    size_t n_sections, n_symbols, n_unwinds;
    size_t first_function, n_functions; /* its functions are [first_function, first_function + n_functions) */
    size_t n_cut, n_dropped; /* function symbols and ranges that were cut to their section, or gave no function */
    uint64_t code_bytes;     /* size of its code sections */
};
BK_API size_t bk_binary_n_members(const struct bk_binary *b);
BK_API void bk_binary_member(struct bk_member_info *out, const struct bk_binary *b, size_t i);

struct bk_function_info {
    const char *name;         /* first of names, or NULL */
    const char *const *names; /* n_names aliases */
    size_t n_names;
    uint64_t addr, size; /* bytes */
    const char *arch;
    const char *bound; /* "symbol", "next-symbol", "eh_frame", "exidx": how its bounds are known */
    size_t member;
};
BK_API size_t bk_binary_n_functions(const struct bk_binary *b);
BK_API void bk_binary_function(struct bk_function_info *out, const struct bk_binary *b, size_t i);
/* The functions called `what`: a name (any alias; where no function has it, the name a compiler's clone was made from: "f" finds
 * "f.isra.0"), or "0x1234", an address in it. "MEMBER:" in front looks in that member of an archive only.
 * Writes the first `cap` indices, returns how many there are. */
BK_API size_t bk_binary_find_all(size_t *out, size_t cap, const struct bk_binary *b, const char *what);
/* The first of them, BK_ENOTFOUND when there is none; *n_found, NULL allowed, says how many there are. */
BK_API BK_MUST_CHECK int bk_binary_find(size_t *out, size_t *n_found, const struct bk_binary *b, const char *what,
                                        struct bk_error *err);

struct bk_function_stats {
    size_t n_insns, n_blocks, n_edges, n_callees;
    uint64_t bytes_code, bytes_data, bytes_bad; /* sum: the function's size; bad: could not be decoded */
};
/* Decodes functions [first, first + n) into out[0..n). */
BK_API BK_MUST_CHECK int bk_binary_stats(struct bk_function_stats *out, const struct bk_binary *b, size_t first,
                                         size_t n, unsigned threads, struct bk_error *err);
/* Calls `fn` with each instruction of function i: its address, its word by the token rules, its block. A
 * nonzero return stops and is returned. */
typedef int bk_insn_fn(void *ctx, uint64_t addr, const char *word, size_t block);
BK_API BK_MUST_CHECK int bk_binary_words(const struct bk_binary *b, size_t i, bk_insn_fn *fn, void *ctx,
                                         struct bk_error *err);

/* ---- vectors and scores ----------------------------------------------- */

typedef void bk_progress_fn(void *ctx, const char *what, size_t done, size_t total);

struct bk_embed_options { /* zero-initialised: defaults */
    unsigned threads;     /* 0: one per core */
    bool int8;            /* with AVX-512 VNNI multiply in eight bits: half the time, vectors nearly the same */
    bool any_arch;        /* embed architectures the model was not trained for, instead of refusing */
    bk_progress_fn *progress;
    void *progress_ctx;
};
/* Unit vectors (n x dim floats) of the functions whose indices are given. BK_EMISMATCH, with the
 * architecture in the message, when the model was not trained for one of them. `unknown`, NULL allowed, gets each function's share
 * of words the vocabulary lacks. */
BK_API BK_MUST_CHECK int bk_embed(float *out, float *unknown, const struct bk_model *m, const struct bk_binary *b,
                                  const size_t *functions, size_t n, const struct bk_embed_options *opt,
                                  struct bk_error *err);
/* Cosine of two functions, [-1, 1]. */
BK_API BK_MUST_CHECK int bk_compare(float *score, const struct bk_model *m, const struct bk_binary *a, size_t fa,
                                    const struct bk_binary *b, size_t fb, const struct bk_embed_options *opt,
                                    struct bk_error *err);

struct bk_score {
    float cosine;
    /* What it is worth by the model's calibration; both NaN where the model has none, or none for pairs of such architectures and sizes.
     * That the two are right, where B holds the right answer among `pool` candidates; wrong ones among the others that would be as good. */
    double probability, expected_false;
};
/* bk_compare() with what the score is worth. `pool` 0: the number of functions of B. */
BK_API BK_MUST_CHECK int bk_score_describe(struct bk_score *out, const struct bk_model *m, const struct bk_binary *a,
                                           size_t fa, const struct bk_binary *b, size_t fb, size_t pool,
                                           const struct bk_embed_options *opt, struct bk_error *err);

struct bk_match_options { /* zero-initialised: defaults */
    struct bk_embed_options embed;
    size_t k;          /* answers a query, 0: 1 */
    size_t min_blocks; /* functions with fewer basic blocks are left out on both sides; 0: 1 */
    bool truth;        /* score by symbol names; names are not looked at before the answers stand */
    const size_t *only_a,
        *only_b; /* NULL: all functions; else these n_only_a of A are asked, these n_only_b of B are candidates */
    size_t n_only_a, n_only_b;
    /* Where both files take part whole, what surrounds the functions ranks them too: matched callers and callees, imports, order in the
     * file, items in common. This ranks by vectors alone, as is done where only_a or only_b is given. */
    bool no_neighbours;
    bool
        one_to_one; /* each function of B answers one of A at most, so that some of A have no answer; k must be 0 or 1 */
};
struct bk_match_answer {
    size_t query, answer; /* functions of A and B */
    float score;          /* cosine */
    float rank_score;     /* what the order rests on: the cosine and what surroundings add; the cosine without them */
    /* Callers, callees and imports of the query that take part, and how many of them are matched with one of the answer. */
    size_t n_neighbours, n_neighbours_matched;
    size_t n_items,
        n_shared_items; /* constants, field offsets and strings of the query; those that the answer has too */
    /* What the score is worth, as in struct bk_score, the pool being the candidates. */
    double probability, expected_false;
    /* Candidates whose vector is the answer's, that answer among them. With more than one the score says nothing of which it is, however near
     * to 1. */
    size_t n_same;
    bool in_order; /* the functions before them, or those behind them, in their files are matched and as far away */
    unsigned rank; /* 1 = best */
    int right;     /* with truth: 1 a name in common, 0 none, -1 no candidate has a name of the query; else -1 */
};
/* Names in common are names of the source: aliases count, clone suffixes (.isra.0, .part.1, ...) do not. The rank of a
 * query is that of the best answer with a name in common. */
struct bk_matches {
    size_t n;
    const struct bk_match_answer *v;             /* grouped by query, in order of rank */
    size_t n_queries, n_pool;                    /* functions of A that were asked, of B that were candidates */
    size_t n_left_out_a, n_left_out_b;           /* by min_blocks, empty functions */
    double unknown_a, unknown_b;                 /* share of the words that the model's vocabulary lacks */
    size_t n_judged;                             /* with truth: queries that have a name in common with a candidate */
    double recall_at_1, recall_at_10, mrr_at_10; /* over n_judged */
};
BK_API BK_MUST_CHECK int bk_match(struct bk_matches **out, const struct bk_model *m, const struct bk_binary *a,
                                  const struct bk_binary *b, const struct bk_match_options *opt, struct bk_error *err);
BK_API void bk_matches_free(struct bk_matches *m);

#ifdef __cplusplus
}
#endif
#endif
