/* Training and judging, apart from the way a user's file goes.
 *
 * labelled binaries -> data set -> i2v word vectors -> model -> scores; each arrow is one call
 * and each thing between is one file. Same inputs and seed give the same bytes, whatever
 * the number of threads. */
#ifndef BINKIN_TRAIN_H
#define BINKIN_TRAIN_H

#include "binkin.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- data set --------------------------------------------------------- */

struct bk_labelled_file {
    const char *path;
    const char *project, *version, *compiler,
        *level; /* "openssl", "3.0.20", "gcc-12", "O2"; the architecture is the file's own */
};
struct bk_dataset_options {
    unsigned threads;
    size_t min_insns;     /* shorter functions are left out; 0: 1 */
    bool keep_duplicates; /* default: identical word sequences of one (project, name) are kept once */
    bk_progress_fn *progress;
    void *progress_ctx;
    void (*trouble)(void *ctx, const struct bk_error *err); /* a file that could not be used; the rest goes on */
    void *trouble_ctx;
};
struct bk_dataset_info {
    size_t n_files, n_failed_files;          /* inputs; those of which nothing could be used */
    size_t n_functions;                      /* kept */
    size_t n_duplicates, n_unnamed, n_short; /* left out */
    size_t n_labels;                         /* distinct (project, name), aliases of one address counted once */
    size_t n_merged;                         /* names that stand under another's label, being its alias */
    size_t n_shared;                         /* kept functions whose word sequence another label has too */
    size_t n_words;                          /* distinct words */
    uint64_t n_word_total;                   /* kept words, at most 1,000 a function */
    size_t n_partial;                        /* kept functions with bytes that could not be decoded */
    uint64_t bytes_bad;                      /* those bytes */
    uint64_t hash;
};
/* Builds a data-set file of every named function: its label, where it is, its words. Names of one project that share an
 * address in any of its files are one label. Fails only when nothing at all could be read or written. */
BK_API BK_MUST_CHECK int bk_dataset_build(struct bk_dataset_info *info, const char *out_path,
                                          const struct bk_labelled_file *files, size_t n,
                                          const struct bk_dataset_options *opt, struct bk_error *err);
struct bk_dataset;
BK_API BK_MUST_CHECK int bk_dataset_open(struct bk_dataset **out, const char *path, struct bk_error *err);
BK_API void bk_dataset_close(struct bk_dataset *d);
BK_API void bk_dataset_describe(struct bk_dataset_info *out, const struct bk_dataset *d);

/* ---- splits ----------------------------------------------------------- */

/* What never stands on two sides: FUNCTION a binary function (the paper's; variants of one source function then sit on both
 * sides), SOURCE a source function, that is a (project, name), PROJECT a project. */
enum bk_split_by { BK_SPLIT_FUNCTION, BK_SPLIT_SOURCE, BK_SPLIT_PROJECT };
struct bk_split {
    enum bk_split_by by;
    unsigned train, validation, test; /* parts, for example 14:3:3 */
    uint64_t seed;
};

/* ---- i2v -------------------------------------------------------------- */

struct bk_i2v_options { /* zeros: the defaults named */
    uint32_t dim;       /* 100 */
    uint32_t window;    /* 8 */
    uint32_t min_count; /* 8; with a cap below, the commonest words win */
    uint32_t max_words; /* 0: no cap */
    uint32_t negatives; /* 5 */
    uint32_t epochs;    /* 5 */
    double rate;        /* 0.025, falling linearly to a ten-thousandth of itself */
    double subsample;   /* 1e-3; negative: none */
    uint64_t seed;
    unsigned threads;
    const struct bk_split *split; /* NULL: all functions; else only the training part is read */
    bk_progress_fn *progress;
    void *progress_ctx;
};
struct bk_i2v_report {
    size_t n_words;
    uint64_t words_read;
    double seconds, words_per_second;
};
BK_API BK_MUST_CHECK int bk_i2v_train(struct bk_i2v_report *report, const char *out_path, const struct bk_dataset *d,
                                      const struct bk_i2v_options *opt, struct bk_error *err);

/* ---- model training --------------------------------------------------- */

struct bk_train_epoch { /* given after each epoch */
    unsigned epoch, n_epochs;
    double loss;    /* mean over the epoch's pairs, without the penalty */
    double penalty; /* mean ||A A^T - I||_F of its batches */
    double validation_auc;
    bool best;
    uint64_t pairs; /* since the beginning */
    double seconds, pairs_per_second, seconds_left;
    double seconds_total; /* of all epochs so far, those before the training was resumed too */
};
struct bk_train_options {     /* zeros: the defaults named */
    const char *kind;         /* "mffa" */
    const char *aff;          /* NULL: the kind's default */
    uint32_t max_insns;       /* 150 */
    unsigned epochs;          /* 50 */
    uint64_t pairs_per_epoch; /* 0: one similar and one dissimilar for each training function */
    unsigned batch;           /* 250 pairs */
    double rate;              /* 0.001 */
    const char *loss;         /* "pairs" (the paper's), "contrastive" (every other partner of a batch is a negative) */
    double temperature;       /* of the contrastive loss; 0.1 */
    /* Of words: "frozen", as i2v left them; "trainable", trained further; "random", drawn anew in the scale of i2v's, and trained. */
    const char *vectors;
    bool no_penalty; /* the loss without ||A A^T - I||_F, which is told nevertheless */
    /* "none"; "safe": as SAFE's released program. The sides of a pair have dense layers of their own, padding takes part in the softmax,
     * the score is the dot product, the penalty that of the right sides. */
    const char *compat;
    uint64_t seed;
    unsigned threads;
    struct bk_split split;  /* all zero parts: by source, 8:1:1 ... the CLI names its own default */
    const char *checkpoint; /* NULL: out_path + ".ckpt"; written every epoch */
    bool resume;            /* go on from the checkpoint, bit for bit as if never stopped */
    bool half;              /* store the model as binary16 */
    void (*on_epoch)(void *ctx, const struct bk_train_epoch *e);
    bk_progress_fn *progress; /* within an epoch: what = "epoch 3/50, loss 0.1234, 12:34 left", done, total pairs */
    void *ctx;
};
/* Trains with the paper's pairs and loss; the epoch with the best validation AUC becomes the model at out_path. */
BK_API BK_MUST_CHECK int bk_train(const char *out_path, const struct bk_dataset *d, const char *i2v_path,
                                  const struct bk_train_options *opt, struct bk_error *err);

/* ---- judging ---------------------------------------------------------- */

struct bk_eval_options {
    struct bk_split split; /* all zero parts: the model's own, from its provenance */
    bool validation;       /* judge the validation part in place of the test part */
    const size_t *pools;   /* candidates a query, one of them right */
    size_t n_pools;
    size_t max_queries;  /* 0: 1,000 */
    size_t max_pairs;    /* balanced pairs for AUC and AP, 0: one similar and one dissimilar for each function */
    uint32_t min_blocks; /* 0: 1 */
    uint64_t seed;       /* draws pairs, queries and pools */
    bool int8;           /* embed with products in eight bits */
    unsigned threads;
    bk_progress_fn *progress;
    void *ctx;
};
struct bk_eval_pool {
    size_t pool, queries; /* pool cut to what the part holds */
    double recall_at_1, recall_at_10, mrr_at_10;
};
struct bk_eval_result {
    size_t n_functions, n_pairs;
    double auc, ap;
    double unknown_words; /* share of words the vocabulary lacks */
    size_t n_pools;
    struct bk_eval_pool pools[8];
    double seconds_embedding, functions_per_second;
};
/* `m` NULL judges the baseline: cosine of token counts (log(1 + count) times idf is not used; plain counts). */
BK_API BK_MUST_CHECK int bk_eval(struct bk_eval_result *out, const struct bk_dataset *d, const struct bk_model *m,
                                 const struct bk_eval_options *opt, struct bk_error *err);

#ifdef __cplusplus
}
#endif
#endif
