/* model: a function's words, graph and items -> vector. The networks of MFFA-Net (Li et al. 2023, doi 10.1038/s41598-023-31280-w) and SAFE
 * (Massarelli et al. 2019, arXiv 1811.05296), and the file that carries one: token rules, vocabulary,
 * weights, provenance.
 *
 * Dims, fixed once: B functions of a batch, T words of one function, M words of all B together (packed, never padded), V words of
 * the vocabulary, D word vector (100), U recurrent state, both ways together (100), A attention depth (250), R hops
 * (10), E dense layer (2000), N outputs of a branch (100), O numbers of the function vector (N or 2N). Matrices are row-major.
 *
 * All of the network is written over bk_real: float in the library, double where tests check gradients. */
#ifndef BK_MODEL_H
#define BK_MODEL_H

#include "feature/feature.h"
#include "nn/nn.h"

/* ---- the network ------------------------------------------------------ */

/* How P (SAFE branch) and Q (fused semantic features) become the function vector f; MFFA-Net section
 * "attention feature fusion", whose formulas did not survive: each is a reading of its words.
 * C = Q P^T (N x N); row_softmax over each row. X(id, name) */
#define BK_AFFS(X)                                                                                                     \
    X(BK_AFF_MATRIX, "matrix")     /* f = (row_softmax(C) P) (+) (row_softmax(C^T) Q) */                               \
    X(BK_AFF_RESIDUAL, "residual") /* f = (P + row_softmax(C) P) (+) (Q + row_softmax(C^T) Q) */                       \
    X(BK_AFF_GATE, "gate")         /* f = (w_P * P) (+) (w_Q * Q), w = N softmax of C's column (P) and row (Q) sums */ \
    X(BK_AFF_NONE, "none")         /* f = P (+) Q */                                                                   \
    X(BK_AFF_P, "p")               /* f = P: this is SAFE */                                                           \
    X(BK_AFF_Q, "q")               /* f = Q */

enum bk_aff {
#define BK_AFF_ENUM(id, name) id,
    BK_AFFS(BK_AFF_ENUM)
#undef BK_AFF_ENUM
        BK_AFF_COUNT
};

struct bk_net_config {
    uint32_t d, u, a, r, e, n;
    uint32_t max_insns; /* words beyond this are not seen */
    enum bk_aff aff;
    bool aff_scale;  /* C times 1/sqrt(N) */
    bool aff_norm;   /* P and Q brought to unit length before the fusion */
    bool aff_linear; /* f = W f + b, 2N -> N, behind the fusion */
    /* As SAFE's released program, not its paper: the sides of a pair have dense layers of their own, and the attention goes over
     * max_insns positions of every function, those behind its end with state and score 0. */
    bool compat_safe;
};
/* The paper's sizes. `kind` is "mffa" (with "none+norm", the reading that did best in a trial: doc/results.md) or "safe". False:
 * unknown kind. */
bool bk_net_config_default(struct bk_net_config *out, const char *kind);
/* "none", "residual+scale+norm+linear", ...: the value of the `aff` switch. BK_EINVAL names the bad part. */
BK_MUST_CHECK int bk_net_config_set_aff(struct bk_net_config *cfg, const char *text, struct bk_error *err);
void bk_net_config_aff(char out[64], const struct bk_net_config *cfg); /* the text back */
/* Refuses zero, odd U and sizes over sane limits (also of files). */
BK_MUST_CHECK int bk_net_config_check(const struct bk_net_config *cfg, struct bk_error *err);
size_t bk_net_outputs(const struct bk_net_config *cfg); /* O */
/* S, vectors that a function has: 1, or 2 where it is another as the left one and as the right one of a pair. */
size_t bk_net_sides(const struct bk_net_config *cfg);

/* The trainable tensors live in one block; this list, made from one X-macro in net.c, alone says where. */
struct bk_tensor {
    const char *name;
    size_t rows, cols; /* cols 1: a vector */
    size_t offset;     /* in numbers from the start of the block */
};
#define BK_NET_MAX_TENSORS 24
size_t bk_net_tensors(struct bk_tensor out[BK_NET_MAX_TENSORS], const struct bk_net_config *cfg);
size_t bk_net_n_params(const struct bk_net_config *cfg);
/* Glorot-uniform matrices, zero biases, gate bias 1 (the TensorFlow 1 GRU cell). */
void bk_net_init(bk_real *params, const struct bk_net_config *cfg, struct bk_rng *rng);

/* One function as input: `n` ids into the word matrix, only the first max_insns are read. n == 0 gives the zero vector. */
struct bk_seq {
    const uint32_t *ids;
    size_t n;
};

/* The weights laid out for products. Immutable between two bk_prepare(); shared by threads. `backward`: for training too. */
struct bk_prepared;
/* Of the products that embed: those of the network but for the input halves. Training is in full. */
enum bk_precision { BK_FULL, BK_INT8, BK_PRECISION_COUNT };
BK_MUST_CHECK int bk_prepared_new(struct bk_prepared **out, const struct bk_net_config *cfg,
                                  enum bk_precision precision, bool backward, struct bk_error *err);
void bk_prepared_free(struct bk_prepared *w);
/* Lays out `params`, which must live as long as they are used here. */
void bk_prepare(struct bk_prepared *w, const bk_real *params, unsigned threads);
/* What the network makes of a word alone, the input halves of the GRU and of SFF: bk_word_columns() numbers for each of the `n` vectors
 * x (n x D). */
size_t bk_word_columns(const struct bk_net_config *cfg);
void bk_prepared_words(bk_real *xw, const struct bk_prepared *w, const bk_real *x, size_t n);

/* Scratch and activations of one shard; reused from batch to batch, grows as needed. One per thread. */
struct bk_pass;
BK_MUST_CHECK int bk_pass_new(struct bk_pass **out, const struct bk_net_config *cfg, struct bk_error *err);
void bk_pass_free(struct bk_pass *p);
/* f (B x S O, the left vector first) of `b` functions; words: V x D word vectors, `n_words` = V, ids checked against it (BK_EINVAL).
 * `penalty`, NULL allowed, receives sum over the functions of weight ||A A^T - I||_F^2, A (R x T) the attention of the function and
 * weight (B) how often it counts, NULL: once. Keeps the activations for one bk_pass_backward() when `keep`. The vector of a function
 * does not depend on the others of the batch. */
BK_MUST_CHECK int bk_pass_forward(struct bk_pass *p, bk_real *f, const struct bk_prepared *w, const bk_real *words,
                                  size_t n_words, const struct bk_seq *seqs, size_t b, bool keep, const bk_real *weight,
                                  double *penalty, struct bk_error *err);
/* The same over words whose columns are at hand: word `id` of `n_words` has row row[id] of xw. */
BK_MUST_CHECK int bk_pass_embed(struct bk_pass *p, bk_real *f, const struct bk_prepared *w, struct bk_columns xw,
                                const uint32_t *row, size_t n_words, const struct bk_seq *seqs, size_t b,
                                struct bk_error *err);
/* The gradient of the word vectors: rows of D numbers for the distinct ids of a batch; valid until the pass is used again. */
struct bk_word_grads {
    size_t n;
    const uint32_t *ids;
    const bk_real *v;
};
/* Adds to `grads` (one block like params) the gradient of sum(df * f) + penalty_scale * penalty; `words`, NULL where they are not
 * trained, receives theirs. `w` as forward had it, prepared for backward. */
void bk_pass_backward(struct bk_pass *p, bk_real *grads, struct bk_word_grads *words, const struct bk_prepared *w,
                      const bk_real *df, double penalty_scale);

/* ---- the graph branch --------------------------------------------------- */

/* A function as the graph of its basic blocks -> N numbers, by rounds of messages along and against its edges:
 *   h = tanh(bias + sum over the distinct forms of a block of log(1 + how often) * their row of the table)
 *   rounds times: h = cell(messages, h), a message being W h of the block at the other end, W that of the edge's slot
 *   self-attention over the blocks, and of its heads beside the sizes of the function one dense layer.
 * A slot is a kind of control flow (fall-through and not taken; taken, jump and case), along the edge or against it.
 *
 * F rows of the table: forms and neutral forms of instructions, s numbers of a block's state, r heads of depth a. */
struct bk_graph_config {
    uint32_t forms, s, rounds, a, r, n; /* forms: F, n: N */
    uint32_t max_nodes;                 /* blocks beyond this are not seen, nor are edges to them */
};
/* s 64, 5 rounds, a 64, r 6, n 128, 512 nodes. */
void bk_graph_config_default(struct bk_graph_config *out, uint32_t forms);
/* Refuses zero and sizes over sane limits (also of files). */
BK_MUST_CHECK int bk_graph_config_check(const struct bk_graph_config *cfg, struct bk_error *err);

/* As those of the network: one block, its tensors. */
#define BK_GRAPH_MAX_TENSORS 11
size_t bk_graph_tensors(struct bk_tensor out[BK_GRAPH_MAX_TENSORS], const struct bk_graph_config *cfg);
size_t bk_graph_n_params(const struct bk_graph_config *cfg);
/* The table uniform in +-0.1, else as bk_net_init(). */
void bk_graph_init(bk_real *params, const struct bk_graph_config *cfg, struct bk_rng *rng);

/* One function as input; nothing is owned. n_nodes == 0 gives the zero vector. */
struct bk_graph {
    uint32_t n_nodes, n_edges;
    const uint16_t *insns; /* n_nodes: instructions of each block, maybe none; the blocks follow each other */
    /* Of each of these instructions the rows of the table of its form and of its neutral form, BK_STR_NONE: the table has none; NULL: none at all. */
    const uint32_t *forms, *neutral;
    const struct bk_graph_edge *edges; /* n_edges */
    /* Of the whole function, not only of the blocks that are kept. Its callers do not count: they are known only where all of its file is
     * decoded. */
    uint32_t n_insns, n_callees;
};

/* As struct bk_prepared and bk_prepare(). */
struct bk_graph_prepared;
BK_MUST_CHECK int bk_graph_prepared_new(struct bk_graph_prepared **out, const struct bk_graph_config *cfg,
                                        bool backward, struct bk_error *err);
void bk_graph_prepared_free(struct bk_graph_prepared *w);
void bk_graph_prepare(struct bk_graph_prepared *w, const bk_real *params);

/* As struct bk_pass: scratch and activations of one shard. */
struct bk_graph_pass;
BK_MUST_CHECK int bk_graph_pass_new(struct bk_graph_pass **out, const struct bk_graph_config *cfg,
                                    struct bk_error *err);
void bk_graph_pass_free(struct bk_graph_pass *p);
/* f (B x N) of `b` functions. BK_EINVAL: the id of an instruction that is seen lies beyond the table, an edge leads to no block or is of no
 * kind; BK_ELIMIT: too much at once; f is not written then. Keeps the activations for one bk_graph_pass_backward() when `keep`. The
 * vector of a function does not depend on the others of the batch. */
BK_MUST_CHECK int bk_graph_pass_forward(struct bk_graph_pass *p, bk_real *f, const struct bk_graph_prepared *w,
                                        const struct bk_graph *graphs, size_t b, bool keep, struct bk_error *err);
/* Adds to `grads` (one block like params) the gradient of sum(df * f). `w` as forward had it, prepared for backward. */
void bk_graph_pass_backward(struct bk_graph_pass *p, bk_real *grads, const struct bk_graph_prepared *w,
                            const bk_real *df);

/* ---- the encoder: branches joined --------------------------------------- */

/* What a function can be looked at as: its sequence of words (the network above), its graph, and a sketch of its items, those rare things that
 * it holds (struct bk_item). X(id, name) */
#define BK_BRANCH_NAMES(X)                                                                                             \
    X(BK_BRANCH_SEQUENCE, "sequence")                                                                                  \
    X(BK_BRANCH_GRAPH, "graph")                                                                                        \
    X(BK_BRANCH_SKETCH, "sketch")

enum bk_branch {
#define BK_BRANCH_ENUM(id, name) id,
    BK_BRANCH_NAMES(BK_BRANCH_ENUM)
#undef BK_BRANCH_ENUM
        BK_BRANCH_COUNT
};

/* What an encoder can be kept from seeing, to find out what it is worth. X(id, name) */
#define BK_SIGHT_NAMES(X)                                                                                              \
    X(BK_SIGHT_FORMS, "forms")           /* of instructions */                                                         \
    X(BK_SIGHT_NEUTRAL, "neutral-forms") /* the same without the processor */                                          \
    X(BK_SIGHT_EDGES, "edges")                                                                                         \
    X(BK_SIGHT_CALLEES, "callees")       /* their number */                                                            \
    X(BK_SIGHT_IMMEDIATES, "immediates") /* kinds of items, in the order of enum bk_item_kind */                       \
    X(BK_SIGHT_DISPLACEMENTS, "displacements")                                                                         \
    X(BK_SIGHT_STRINGS, "strings")                                                                                     \
    X(BK_SIGHT_IMPORTS, "imports")

enum bk_sight {
#define BK_SIGHT_ENUM(id, name) id,
    BK_SIGHT_NAMES(BK_SIGHT_ENUM)
#undef BK_SIGHT_ENUM
        BK_SIGHT_COUNT
};

/* One branch alone gives its vector as it is. Of several each is brought to unit length, and they lie one behind the other, in the order of
 * the enum, each times its weight: by attention over the branches (bk_branches_forward()), or all alike. */
struct bk_encoder_config {
    unsigned branches;        /* bit 1 << enum bk_branch */
    unsigned hidden;          /* bit 1 << enum bk_sight: not looked at */
    bool attention;           /* false: plain concatenation */
    struct bk_net_config net; /* of the branches that are there */
    struct bk_graph_config graph;
    uint32_t sketch; /* numbers of the sketch, even */
};
/* Kinds: "mffa" and "safe" (the sequence alone, in the papers' sizes), "graph" (graph and sketch), "fused" (all; its sequence branch is
 * MFFA-Net with fewer heads, a smaller dense layer and the first 100 words). graph.forms is left 0. False: unknown kind. */
bool bk_encoder_config_default(struct bk_encoder_config *out, const char *kind);
/* "sequence,graph": the bits; 0: a part is no branch, or there twice. */
unsigned bk_branches_parse(const char *text);
void bk_branches_text(char out[64], unsigned branches);
/* "edges,strings": likewise. */
unsigned bk_sights_parse(const char *text);
void bk_sights_text(char out[128], unsigned sights);
static inline bool bk_encoder_has(const struct bk_encoder_config *c, enum bk_branch branch)
{
    return c->branches >> branch & 1;
}
/* Refuses no branch at all, what a branch refuses, and SAFE's program beside another branch. */
BK_MUST_CHECK int bk_encoder_config_check(const struct bk_encoder_config *cfg, struct bk_error *err);
size_t bk_encoder_outputs(const struct bk_encoder_config *cfg); /* O */
size_t bk_encoder_sides(const struct bk_encoder_config *cfg);   /* S, as bk_net_sides() */

/* As those of the network: one block, the tensors of the branches and of what joins them. */
#define BK_ENCODER_MAX_TENSORS (BK_NET_MAX_TENSORS + BK_GRAPH_MAX_TENSORS + 3)
size_t bk_encoder_tensors(struct bk_tensor out[BK_ENCODER_MAX_TENSORS], const struct bk_encoder_config *cfg);
size_t bk_encoder_n_params(const struct bk_encoder_config *cfg);
void bk_encoder_init(bk_real *params, const struct bk_encoder_config *cfg, struct bk_rng *rng);

/* Items of a function, each once; nothing is owned. */
struct bk_item_seq {
    const uint64_t *hash;
    const uint8_t *kind; /* enum bk_item_kind */
    const float *weight; /* idf */
    size_t n;
};
/* One function as input: what the branches there are look at. */
struct bk_input {
    struct bk_seq words;
    struct bk_graph graph;
    struct bk_item_seq items;
};

/* As struct bk_prepared and bk_prepare(). */
struct bk_encoder_prepared;
BK_MUST_CHECK int bk_encoder_prepared_new(struct bk_encoder_prepared **out, const struct bk_encoder_config *cfg,
                                          enum bk_precision precision, bool backward, struct bk_error *err);
void bk_encoder_prepared_free(struct bk_encoder_prepared *w);
void bk_encoder_prepare(struct bk_encoder_prepared *w, const bk_real *params, unsigned threads);
/* The sequence branch's weights, NULL where it is not there. */
const struct bk_prepared *bk_encoder_sequence(const struct bk_encoder_prepared *w);

/* As struct bk_pass. */
struct bk_encoder_pass;
BK_MUST_CHECK int bk_encoder_pass_new(struct bk_encoder_pass **out, const struct bk_encoder_config *cfg,
                                      struct bk_error *err);
void bk_encoder_pass_free(struct bk_encoder_pass *p);
/* f (B x S O) of `b` functions. The words of the sequence branch: word vectors with a penalty as for bk_pass_forward(), or columns at hand as
 * for bk_pass_embed() where `xw` is not NULL. */
struct bk_encoder_words {
    const bk_real *vectors; /* V x D */
    const struct bk_columns *xw;
    const uint32_t *row;
    size_t n; /* V */
    const bk_real *weight;
    double *penalty; /* NULL allowed; 0 without a sequence branch */
};
BK_MUST_CHECK int bk_encoder_forward(struct bk_encoder_pass *p, bk_real *f, const struct bk_encoder_prepared *w,
                                     const struct bk_encoder_words *words, const struct bk_input *inputs, size_t b,
                                     bool keep, struct bk_error *err);
/* As bk_pass_backward(); word_grads is left as it is without a sequence branch. */
void bk_encoder_backward(struct bk_encoder_pass *p, bk_real *grads, struct bk_word_grads *word_grads,
                         const struct bk_encoder_prepared *w, const bk_real *df, double penalty_scale);

/* ---- what a score is worth (calibration.c) -------------------------------- */

/* Basic blocks of a function: 1, 2 to 4, 5 to 9, 10 to 49, 50 and more. */
#define BK_CALIBRATION_SIZES 5
size_t bk_size_class(size_t blocks);

/* Pairs are told apart by whether their architectures are of one family, and by the size of the smaller function. */
#define BK_CALIBRATION_CLASSES (2 * BK_CALIBRATION_SIZES) /* of one family: the sizes; then of two */
size_t bk_calibration_class(enum bk_arch a, enum bk_arch b, size_t blocks_a, size_t blocks_b);

/* Scores are looked at in steps of a millionth: nearer ones are the same, as are those of equal vectors. NaN: -1. */
float bk_calibration_score(float score);

/* Of one class. A knot is a score that wrong pairs were seen to reach; `tail` falls from 1 by half or more from knot to knot (less to the
 * last). */
#define BK_CALIBRATION_KNOTS 32
struct bk_calibration_class {
    uint32_t n;                        /* knots; 0: too few pairs to tell, else 2 or more */
    float score[BK_CALIBRATION_KNOTS]; /* rising */
    float tail[BK_CALIBRATION_KNOTS];  /* P(score >= this one | wrong), falling, above 0 */
    /* ln of how often a right pair is of this class and scores from here to the next knot (the last: or more), to how often a wrong
     * one does and is; never falling, in [-100, 100]. */
    float odds[BK_CALIBRATION_KNOTS];
};
struct bk_calibration {
    struct bk_calibration_class v[BK_CALIBRATION_CLASSES];
};
/* The share of wrong pairs of the class that score at least so high: exponential between knots, and beyond the last as in front of it.
 * NaN: the class has no knots. */
double bk_calibration_tail(const struct bk_calibration *c, size_t cls, float score);
/* That the pair is right, where one of `pool` > 0 candidates is, by this score alone; never falls with the score. NaN as above. */
double bk_calibration_probability(const struct bk_calibration *c, size_t cls, float score, size_t pool);
/* Counts, bounds, rising and falling as said: BK_EFORMAT names the class. */
BK_MUST_CHECK int bk_calibration_check(const struct bk_calibration *c, struct bk_error *err);

struct bk_calibrated {
    double probability;    /* that this is the right pair, where one of the pool's candidates is the right answer */
    double expected_false; /* wrong answers at least as good among the others of the pool */
};
struct bk_model;
/* False, and both NaN: the model has no calibration, or none for such pairs. */
bool bk_calibrated(struct bk_calibrated *out, const struct bk_model *m, enum bk_arch arch_a, enum bk_arch arch_b,
                   size_t blocks_a, size_t blocks_b, float score, size_t pool);

/* ---- the model file --------------------------------------------------- */

/* How rare items are: of those here ln((1 + L) / (1 + labels that hold it)) + 1 over the L labels that training saw; `other` for any other. */
struct bk_idf {
    size_t n;
    const uint64_t *hash; /* n, rising */
    const float *weight;  /* n */
    float other;
};
float bk_idf_of(const struct bk_idf *idf, uint64_t hash);

/* Immutable once open; shared by threads. Words and their vectors stay in the mapped file, and of the vectors nothing is looked
 * at before it is asked for. */
struct bk_model {
    char kind[8]; /* "mffa", "safe", "graph", "fused" */
    struct bk_encoder_config cfg;
    uint32_t archs; /* bit 1 << enum bk_arch: architectures it was trained for */
    /* With a sequence branch, else NULL. */
    const struct bk_strtab *words; /* the vocabulary, V ids; 0 is padding, the empty word */
    const float *word_vectors;     /* V x D in memory, row 0 zero; NULL: in the file, ask bk_model_vectors */
    const struct bk_strtab *forms; /* with a graph branch: forms and neutral forms, row by row of its table */
    struct bk_idf idf;             /* with a sketch */
    const float *params;
    const char *provenance; /* JSON object: data, split, seed, commands, scores; never NULL */
    /* How its data set was divided, so that judging can take the part the training never saw. */
    uint32_t split_by;       /* enum bk_split_by */
    uint32_t split_parts[3]; /* train : validation : test */
    uint64_t split_seed;
    uint64_t dataset_hash;
    uint64_t hash;                            /* of the file; two models never mix in silence */
    const struct bk_calibration *calibration; /* NULL: none */
    struct bk_model_cache *cache;             /* what embedding prepares at first use; NULL: prepared for each call */
    void *owner;
};
BK_MUST_CHECK int bk_model_open(struct bk_model **out, const char *path, struct bk_error *err);
/* The caller keeps `data` until close. */
BK_MUST_CHECK int bk_model_open_bytes(struct bk_model **out, const uint8_t *data, size_t size, struct bk_error *err);
void bk_model_close(struct bk_model *m);
/* Writes a model file; `half` stores word vectors and weights as IEEE binary16, BK_ELIMIT where one is too large for it.
 * `m` is only read; what is not finite is refused. */
BK_MUST_CHECK int bk_model_save(const struct bk_model *m, const char *path, bool half, struct bk_error *err);

/* Writes the file that `m` was opened from again, every entry as it is, with `c` as its calibration. A calibration is of the scores of one
 * file: bk_model_save() writes none. */
BK_MUST_CHECK int bk_model_save_calibrated(const struct bk_model *m, const struct bk_calibration *c, const char *path,
                                           struct bk_error *err);

/* Word vectors (n x D) of `ids`. BK_EINVAL: an id that is no word; BK_EFORMAT: a number of the file is not finite. Thread-safe. */
BK_MUST_CHECK int bk_model_vectors(float *out, const struct bk_model *m, const uint32_t *ids, size_t n,
                                   struct bk_error *err);

/* Makes inputs of decoded functions; one per thread. */
struct bk_input_reader;
struct bk_input_reader *bk_input_reader_new(const struct bk_model *m); /* NULL: no memory */
void bk_input_reader_free(struct bk_input_reader *r);
/* What the model looks at of `body`, which is of `img`; it lives as long as the reader. *known and *unknown, of what it looks at the words, or
 * without a sequence branch the forms, that are in the model's vocabulary and that are not. BK_EMISMATCH: no vocabulary for the architecture. */
BK_MUST_CHECK int bk_input_read(struct bk_input *out, size_t *known, size_t *unknown, struct bk_input_reader *r,
                                const struct bk_image *img, const struct bk_body *body, struct bk_error *err);

/* BK_INT8 where it is wanted and pays: without the instructions for it full precision is faster. */
enum bk_precision bk_model_precision(bool int8);
struct bk_model_cache *bk_model_cache_new(void); /* NULL: no memory */
void bk_model_cache_free(struct bk_model_cache *c);
/* Unit vectors (n x O) of n functions: those of a function depend neither on `threads` nor on the other functions. A function without
 * anything that the branches look at gives the zero vector. Of two sides it is the left one. `progress`, NULL allowed, is called now and then on the calling thread. */
typedef void bk_model_progress(void *ctx, size_t done, size_t total);
BK_MUST_CHECK int bk_model_embed(float *out, const struct bk_model *m, const struct bk_input *inputs, size_t n,
                                 enum bk_precision precision, unsigned threads, bk_model_progress *progress, void *ctx,
                                 struct bk_error *err);

/* The two vectors with which each function enters a pair in training: n x 2O, O numbers as the left one, O as the right one. The score of
 * the pair (a, b) is the dot product of a's left and b's right, in every form: the cosine, where both are the unit vector, and the raw
 * product of the two heads in that of SAFE's program. Else as bk_model_embed(). */
BK_MUST_CHECK int bk_model_embed_pairs(float *out, const struct bk_model *m, const struct bk_input *inputs, size_t n,
                                       enum bk_precision precision, unsigned threads, bk_model_progress *progress,
                                       void *ctx, struct bk_error *err);

/* ---- parts of files that models and word-vector files have in common --- */

/* IEEE binary16, to the nearest, ties to even. Too large becomes infinite, not a number stays so. */
uint16_t bk_half_from_float(float x);
float bk_half_to_float(uint16_t h);

/* A vocabulary: u32 count, then each word with its NUL, in order of id; id 0 is the empty word. Refuses duplicates, words longer
 * than BK_WORD_MAX and what is left over. What is written is on the heap. */
BK_MUST_CHECK int bk_vocabulary_read(struct bk_strtab **out, struct bk_cursor c, struct bk_error *err);
BK_MUST_CHECK int bk_vocabulary_write(uint8_t **out, size_t *size, const struct bk_strtab *words, struct bk_error *err);
/* rows x cols numbers of an entry that holds exactly those, as f32 or as binary16 (told by its size), on the heap. Refuses
 * what is not finite; `name` is for messages. */
BK_MUST_CHECK int bk_floats_check(struct bk_cursor c, const char *name, size_t rows, size_t cols, struct bk_error *err);
BK_MUST_CHECK int bk_floats_read(float *out, struct bk_cursor c, const char *name, size_t n, struct bk_error *err);
BK_MUST_CHECK int bk_floats_write(uint8_t **out, size_t *size, const char *name, const float *v, size_t n, bool half,
                                  struct bk_error *err);
/* "amd64,armhf" from bits and back; false: an architecture this program does not know, or none at all. */
#define BK_ARCH_LIST_MAX 64
void bk_arch_list(char out[BK_ARCH_LIST_MAX], uint32_t archs);
bool bk_arch_list_parse(uint32_t *archs, const char *text);
/* BK_EMISMATCH unless name and version are those of this program's token rules; `what` begins the message. */
BK_MUST_CHECK int bk_tokens_check(const char *what, const char *name, uint32_t version, struct bk_error *err);

#endif
