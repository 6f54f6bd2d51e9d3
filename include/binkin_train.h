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
    const char *project, *version, *compiler, *level; /* "openssl", "3.0.20", "gcc-12", "O2" */
    const char *arch;   /* NULL: the file's own; else a file of another (Debian's name) is refused */
    const char *sha256; /* NULL, or what the file's bytes must have, in hexadecimal */
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
    bool has_immediates;                     /* false: a file of format 1.0 */
    size_t n_immediates;                     /* distinct values */
    size_t n_with_immediates;                /* functions that have one */
    bool has_graph;                          /* false: a file older than format 1.2 */
    size_t n_forms;                          /* distinct forms of instructions */
    size_t n_edges;                          /* between kept basic blocks */
    bool has_items;                          /* false: a file older than format 1.2 */
    size_t n_items;                          /* distinct constants, displacements, strings and imported names */
    size_t n_with_items;                     /* functions that have one */
    size_t n_sources;                        /* distinct (project, source file) */
    size_t n_with_source;                    /* labels whose source file is known */
    uint64_t hash;
};
/* Builds a data-set file of every named function: its label, where it is, its words and immediates, its basic blocks with the forms
 * of their instructions, its edges and calls, and its items. Names of one
 * project that share an address in any of its files are one label. A file that cannot be read or is not what its labels say is told to
 * `trouble` and counted in n_failed_files. Fails only when nothing at all could be read or written. */
BK_API BK_MUST_CHECK int bk_dataset_build(struct bk_dataset_info *info, const char *out_path,
                                          const struct bk_labelled_file *files, size_t n,
                                          const struct bk_dataset_options *opt, struct bk_error *err);
struct bk_dataset;
BK_API BK_MUST_CHECK int bk_dataset_open(struct bk_dataset **out, const char *path, struct bk_error *err);
BK_API void bk_dataset_close(struct bk_dataset *d);
BK_API void bk_dataset_describe(struct bk_dataset_info *out, const struct bk_dataset *d);

/* What the functions of a data set are divided into by one kind of label. */
enum bk_dataset_label { BK_DATASET_ARCH, BK_DATASET_COMPILER, BK_DATASET_LEVEL, BK_DATASET_PROJECT };
struct bk_dataset_share {
    const char *value; /* lives as long as the data set */
    size_t n_functions, n_labels;
};
/* *out: *n shares in the order of the bytes of `value`, to be freed with free(). Each function is in one of them. */
BK_API BK_MUST_CHECK int bk_dataset_shares(struct bk_dataset_share **out, size_t *n, const struct bk_dataset *d,
                                           enum bk_dataset_label by, struct bk_error *err);

/* ---- splits ----------------------------------------------------------- */

/* What never stands on two sides: FUNCTION a binary function (the paper's; variants of one source function then sit on both
 * sides), SOURCE a source function, that is a (project, name), PROJECT a project, FILE a source file of a project; a source
 * function whose file is not known stands alone there, as by SOURCE. Models store these numbers. */
enum bk_split_by { BK_SPLIT_FUNCTION, BK_SPLIT_SOURCE, BK_SPLIT_PROJECT, BK_SPLIT_FILE, BK_SPLIT_BY_COUNT };
BK_API const char *bk_split_name(enum bk_split_by by); /* "function", "source", "project", "file" */
BK_API bool bk_split_parse(enum bk_split_by *out, const char *name);
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
struct bk_train_options { /* zeros: the defaults named */
    const char *kind;     /* "mffa" */
    const char *branches; /* of kinds "graph" and "fused": some of "sequence,graph,sketch"; NULL: the kind's */
    const char *
        without; /* of "forms,neutral-forms,edges,callees,immediates,displacements,strings,imports" what is not looked at */
    const char *join;         /* of several branches: "attention" or "concat"; NULL: attention */
    uint32_t sketch;          /* numbers of the sketch, even; 256 */
    uint32_t states;          /* numbers of a block's state in the graph branch; 64 */
    uint32_t outputs;         /* of the graph branch; 128 */
    uint32_t min_forms;       /* labels that hold a form which the model knows; 8 */
    const char *aff;          /* NULL: the kind's default */
    uint32_t max_insns;       /* that the sequence branch sees; 0: the kind's, 150, of "fused" 100 */
    unsigned epochs;          /* 50 */
    uint64_t pairs_per_epoch; /* 0: one similar and one dissimilar for each training function, or each label once */
    unsigned batch;           /* 250 pairs; of the losses over labels 512 functions */
    double rate;              /* 0.001 */
    /* "pairs" (the paper's), "contrastive" (every other partner of a batch is a negative); over batches of labels with several functions
     * each "supcon" (supervised contrast), "triplet" (with the hardest negative). NULL: pairs, of "graph" and "fused" supcon. The losses
     * over labels count two functions as a pair. */
    const char *loss;
    double temperature; /* of the contrasts; 0.1, over labels 0.07 */
    double margin;      /* of triplets; 0.2 */
    unsigned variants;  /* functions of a label in a batch; 4 */
    uint32_t memory;    /* functions of former batches that labels are contrasted with; 0 */
    /* Probability that the next function of a label comes from an architecture, compiler and level not drawn yet for it: in the first epoch
     * and in the last. */
    double cross_from, cross_to;
    double mask_forms, drop_blocks, drop_items; /* probabilities that training hides a form, a block, an item */
    const char
        *schedule;    /* "constant", "cosine" (from rate to 1 % of it); NULL: constant, of "graph" and "fused" cosine */
    unsigned warm_up; /* of cosine: steps over which the rate rises at first; 0 */
    double average;   /* the model is a moving average of the weights with this decay; 0: none */
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
/* The epoch with the best validation AUC becomes the model at out_path. i2v_path: NULL without a sequence branch, else word vectors. */
BK_API BK_MUST_CHECK int bk_train(const char *out_path, const struct bk_dataset *d, const char *i2v_path,
                                  const struct bk_train_options *opt, struct bk_error *err);

/* ---- judging: what is asked -------------------------------------------- */

/* How the build of the right answer differs from that of the query. A build is architecture, compiler (its version is part of
 * the name), level, project and version. X(id, name, what it says) */
#define BK_AXES(X)                                                                                                     \
    X(BK_AXIS_XO, "XO", "same architecture, compiler and version, other level")                                        \
    X(BK_AXIS_XC, "XC", "same architecture and version, other compiler, any level")                                    \
    X(BK_AXIS_XB, "XB", "same family, compiler, level and version, other word size")                                   \
    X(BK_AXIS_XA, "XA", "other family of processors, same compiler, level and version")                                \
    X(BK_AXIS_XM, "XM", "any other build")

enum bk_axis {
#define BK_AXIS_ENUM(id, name, about) id,
    BK_AXES(BK_AXIS_ENUM)
#undef BK_AXIS_ENUM
        BK_AXIS_COUNT
};
BK_API const char *bk_axis_name(enum bk_axis axis);
BK_API const char *bk_axis_about(enum bk_axis axis);
BK_API bool bk_axis_parse(enum bk_axis *out, const char *name);

/* Which right answers are not drawn, for being the query over again: none, those of its sequence of words, of opcodes. */
enum bk_identical { BK_IDENTICAL_KEEP, BK_IDENTICAL_WORDS, BK_IDENTICAL_OPCODES, BK_IDENTICAL_COUNT };
BK_API const char *bk_identical_name(enum bk_identical identical); /* "keep", "words", "opcodes" */
BK_API bool bk_identical_parse(enum bk_identical *out, const char *name);

struct bk_trial_options {
    struct bk_split split;
    bool validation; /* ask about the validation part in place of the test part */
    unsigned axes;   /* bit 1 << enum bk_axis; 0: XM */
    size_t queries;  /* of an axis that are asked of pools; 0: 1,000 */
    size_t pairs;    /* of an axis for AUC and AP, half of them similar; 0: 20,000 */
    uint32_t min_blocks;
    enum bk_identical identical;
    bool unseen; /* leave out functions whose words stand, in their order, in the training part too */
    uint64_t seed;
};

/* What is asked of every subject: queries and their right answers, drawn from the data set alone. The wrong answers of a query
 * follow from the seed (doc/format.md), those of a small pool being the first of a large one. */
struct bk_trial;
/* The data set stays the caller's and must outlive the trial. BK_EINVAL: the part has no two labels. */
BK_API BK_MUST_CHECK int bk_trial_draw(struct bk_trial **out, const struct bk_dataset *d,
                                       const struct bk_trial_options *opt, struct bk_error *err);
/* A file of JSON Lines that names each query and its right answer; loading it needs the same data set (BK_EMISMATCH). */
BK_API BK_MUST_CHECK int bk_trial_save(const struct bk_trial *t, const char *path, struct bk_error *err);
BK_API BK_MUST_CHECK int bk_trial_load(struct bk_trial **out, const char *path, const struct bk_dataset *d,
                                       struct bk_error *err);
BK_API void bk_trial_free(struct bk_trial *t);

struct bk_trial_axis_info {
    bool asked;
    size_t n_matched; /* functions that have a right answer on this axis */
    size_t queries;   /* drawn of them for pools */
    size_t pairs;     /* drawn of them for AUC and AP; queries are among them */
};
struct bk_trial_info {
    struct bk_trial_options options; /* with the defaults filled in */
    size_t n_functions;              /* of the part, after the filters */
    size_t n_seen;                   /* left out by `unseen` */
    size_t n_twice;                  /* left out: the same bytes at the same place as one that is kept */
    struct bk_trial_axis_info axes[BK_AXIS_COUNT];
};
BK_API void bk_trial_describe(struct bk_trial_info *out, const struct bk_trial *t);

/* The split that a model was trained under. BK_EMISMATCH: it was trained on another data set. */
BK_API BK_MUST_CHECK int bk_model_split(struct bk_split *out, const struct bk_model *m, const struct bk_dataset *d,
                                        struct bk_error *err);

/* ---- judging: who answers ---------------------------------------------- */

/* Scores without training. X(id, name, what it says). tf-idf is cosine of (1 + ln tf) (ln((1 + N) / (1 + df)) + 1), df counted over the N
 * functions of the training part, over the whole data set where that is empty. */
#define BK_BASELINES(X)                                                                                                \
    X(BK_BASELINE_COUNTS, "counts", "cosine of word counts")                                                           \
    X(BK_BASELINE_TFIDF_WORDS, "tfidf-words", "tf-idf over words")                                                     \
    X(BK_BASELINE_TFIDF_OPCODES, "tfidf-opcodes", "tf-idf over opcodes")                                               \
    X(BK_BASELINE_TFIDF_IMMEDIATES, "tfidf-immediates", "tf-idf over immediates")                                      \
    X(BK_BASELINE_TFIDF, "tfidf", "tf-idf over opcodes and immediates")                                                \
    X(BK_BASELINE_MINHASH, "minhash", "share of equal minima of 128 hashes over the set of words")

enum bk_baseline {
#define BK_BASELINE_ENUM(id, name, about) id,
    BK_BASELINES(BK_BASELINE_ENUM)
#undef BK_BASELINE_ENUM
        BK_BASELINE_COUNT
};
BK_API const char *bk_baseline_name(enum bk_baseline baseline);
BK_API const char *bk_baseline_about(enum bk_baseline baseline);
BK_API bool bk_baseline_parse(enum bk_baseline *out, const char *name);

struct bk_subject {
    const struct bk_model *model; /* NULL: the baseline */
    enum bk_baseline baseline;
};
#define BK_MAX_POOLS 8
struct bk_judge_options {
    const size_t *pools; /* candidates of a query, one of them right: at least 2 */
    size_t n_pools;      /* at most BK_MAX_POOLS */
    bool int8;           /* embed with products in eight bits */
    unsigned threads;
    bk_progress_fn *progress;
    void *ctx;
};
/* A figure and the middle 95 % of what 1,000 resamples with replacement make of it (of queries, of anchors of pairs). */
struct bk_figure {
    double value, low, high;
};
/* Basic blocks of the query: 1, 2 to 4, 5 to 9, 10 to 49, 50 and more. */
#define BK_SIZE_CLASSES 5
struct bk_size_class {
    size_t queries;
    double recall_at_1;
};
struct bk_judged_pool {
    size_t pool;
    size_t queries;     /* those that have so many candidates; 0: none has, and nothing below is set */
    size_t most, least; /* candidates of a query, the right one among them, over all queries of the axis */
    struct bk_figure recall_at_1, recall_at_10, mrr_at_10, ndcg_at_10;
    struct bk_size_class sizes[BK_SIZE_CLASSES];
};
struct bk_curve { /* both ends are there, other points at most a 500th apart */
    size_t n;
    double *x, *y; /* heap */
};
struct bk_judged_axis {
    size_t pairs; /* 0: skipped, nothing else is set */
    struct bk_figure auc, ap;
    size_t n_pools;
    struct bk_judged_pool pools[BK_MAX_POOLS]; /* as they were asked for */
    struct bk_curve roc;                       /* false positive rate, true positive rate */
    struct bk_curve precision_recall;          /* recall, precision */
    struct bk_curve recall_at_k;               /* k, recall, of the largest pool that was judged */
};
struct bk_judged {
    double unknown_words; /* share of the words seen that the model's vocabulary lacks; 0 for a baseline */
    double seconds, functions_per_second; /* embedding, or making the baseline's features */
    struct bk_judged_axis axes[BK_AXIS_COUNT];
};
/* The same numbers whatever `threads`. BK_EMISMATCH: an architecture the model was not trained for, or a data set without the
 * immediates the baseline needs; BK_EFORMAT: a vector that is not finite; BK_EINVAL: no pair on any axis asked. */
BK_API BK_MUST_CHECK int bk_judge(struct bk_judged *out, const struct bk_trial *t, const struct bk_subject *subject,
                                  const struct bk_judge_options *opt, struct bk_error *err);
BK_API void bk_judged_done(struct bk_judged *j);

/* ---- calibration: what a score is worth --------------------------------- */

struct bk_calibrate_options { /* zeros: the defaults named */
    struct bk_split split;    /* all zero parts: the model's own */
    size_t pairs;             /* wrong pairs drawn of a class, at most as many as there are; 0: 8,388,608 */
    uint64_t seed;
    unsigned threads;
    bk_progress_fn *progress;
    void *ctx;
};
struct bk_calibrate_class { /* of pairs: one family of processors or two, by the blocks of the smaller function */
    size_t wrong, right;    /* pairs it is fitted from */
    bool fitted;            /* false: they are too few, and scores of such pairs stay cosines */
    double rarest;          /* the share of wrong pairs at the last knot; beyond it the tail is extrapolated */
};
struct bk_calibrate_report {
    size_t n_functions;                                    /* of the validation part */
    struct bk_calibrate_class classes[2][BK_SIZE_CLASSES]; /* one family, two */
};
/* Fits, on the validation part, how often pairs of unlike and of like functions reach a score, and writes the model's file again with
 * that in it. BK_EINVAL: no class has enough pairs, or the two sides of the model's pairs differ (compat). BK_EMISMATCH: as
 * bk_model_split(), bk_judge(). */
BK_API BK_MUST_CHECK int bk_calibrate(struct bk_calibrate_report *report, const char *out_path,
                                      const struct bk_model *m, const struct bk_dataset *d,
                                      const struct bk_calibrate_options *opt, struct bk_error *err);

#define BK_RELIABILITY_BINS 10 /* (0, .1], (.1, .2], ...; 0 is in the first */
struct bk_reliability {
    size_t n[BK_RELIABILITY_BINS];
    double predicted[BK_RELIABILITY_BINS],
        right[BK_RELIABILITY_BINS]; /* mean probability, share of right ones; 0 where n is */
    double ece;                     /* expected calibration error: mean of |predicted - right| over all pairs */
};
#define BK_FALSE_STEPS 5
struct bk_calibration_judged {   /* of one axis */
    size_t queries;              /* that have a pool so large; 0: nothing else is set */
    size_t n_uncalibrated;       /* pairs of classes without calibration, left out below */
    struct bk_reliability pairs; /* each query with each candidate of its pool */
    struct bk_reliability
        best; /* each query with its best candidate, which is another question than the probability answers */
    /* Wrong candidates of a query whose expected false matches are at most so many, and how many there were on the mean. */
    double expected[BK_FALSE_STEPS], observed[BK_FALSE_STEPS];
};
/* The model's calibration on the queries and pools of `pool` candidates of a trial. BK_EMISMATCH: the model has none, or as bk_judge(). */
BK_API BK_MUST_CHECK int bk_judge_calibration(struct bk_calibration_judged out[BK_AXIS_COUNT], const struct bk_trial *t,
                                              const struct bk_model *m, size_t pool, unsigned threads,
                                              struct bk_error *err);

#ifdef __cplusplus
}
#endif
#endif
