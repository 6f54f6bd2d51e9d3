/* learn: what i2v.c, pairs.c, train.c and checkpoint.c share. */
#ifndef BK_LEARN_H
#define BK_LEARN_H

#include "model/model.h"
#include "train.h"

/* ---- word vectors (i2v.c writes, vectors.c reads) ------------------------ */

#define BK_WORD_KIND  "word"
#define BK_WORD_MAJOR 1
#define BK_WORD_MINOR 0

/* A word-vector file in memory. */
struct bk_vectors {
    uint32_t archs;          /* bit 1 << enum bk_arch: architectures whose words it read */
    uint32_t dim;            /* D */
    struct bk_strtab *words; /* V: 0 padding, then the unknown words, then by falling count */
    float *v;                /* V x D, row 0 zero */
    uint64_t *counts;        /* V, as often as the stream held it */
    char *options;           /* JSON object */
    bool all_functions;      /* made without a split */
    struct bk_split split;   /* else: only its training part was read */
    uint64_t dataset_hash;
    uint64_t hash; /* of the file */
};
BK_MUST_CHECK int bk_vectors_open(struct bk_vectors *out, const char *path, struct bk_error *err);
BK_MUST_CHECK int bk_vectors_open_bytes(struct bk_vectors *out, const uint8_t *data, size_t size, struct bk_error *err);
void bk_vectors_done(struct bk_vectors *v); /* of a zeroed or opened one */
BK_MUST_CHECK int bk_vectors_save(const struct bk_vectors *v, const char *path, struct bk_error *err);
/* BK_EMISMATCH when using these vectors would show a model functions outside the training part of `split` of `d`, or when they
 * lack an architecture of `archs`. */
BK_MUST_CHECK int bk_vectors_check(const struct bk_vectors *v, const struct bk_dataset *d, const struct bk_split *split,
                                   uint32_t archs, struct bk_error *err);
bool bk_split_equal(const struct bk_split *a, const struct bk_split *b);

/* ---- what a model knows besides weights (vocabulary.c) --------------------- */

/* The empty text, every neutral form of the data set, and the forms that at least `min_labels` labels of the group hold. The caller frees
 * *out, also after a failure. */
BK_MUST_CHECK int bk_forms_learn(struct bk_strtab **out, const struct bk_dataset *d, const struct bk_group *g,
                                 uint32_t min_labels, struct bk_error *err);
/* Of the items that most labels of the group hold, two or more, at most 32,768. */
BK_MUST_CHECK int bk_idf_learn(struct bk_idf *out, const struct bk_dataset *d, const struct bk_group *g,
                               struct bk_error *err);
void bk_idf_done(struct bk_idf *idf);

/* ---- training pairs (pairs.c) -------------------------------------------- */

/* The pairs of one epoch: `n` anchors in shuffled order, each with a similar partner, as positions in the group. Anchors are taken
 * pass by pass over all functions that have a partner, each pass shuffled anew. */
struct bk_epoch {
    const struct bk_group *group;
    size_t n;
    uint32_t *anchor, *partner;
    struct bk_rng rng; /* draws the dissimilar ones, batch by batch */
};
/* `pairs` 0: one pass; else that many pairs, two for each anchor, rounded up. All of it follows from (seed, epoch). BK_EINVAL: no
 * function has both partners. */
BK_MUST_CHECK int bk_epoch_init(struct bk_epoch *out, const struct bk_group *g, uint64_t pairs, uint64_t seed,
                                unsigned epoch, struct bk_error *err);
void bk_epoch_done(struct bk_epoch *e);

/* Functions of one batch and their pairs. A dissimilar partner is the anchor or partner of another random anchor of
 * the batch with another label, so that n anchors cost 2 n functions; only where the batch has no other label is one drawn from
 * the whole group. */
struct bk_batch {
    size_t n_funcs, n_pairs, n_anchors;
    uint32_t *func;         /* positions in the group: the anchors, their partners, any extra ones */
    uint32_t *left, *right; /* pairs of positions in func: all similar ones, then all dissimilar ones */
    int8_t *y;              /* +1 similar, -1 dissimilar */
    uint32_t *choice;       /* scratch */
    size_t cap;             /* anchors there is room for */
};
/* Anchors [first, first + n) of the epoch; batches are drawn in order. `b` zeroed before the first call. */
BK_MUST_CHECK int bk_batch_draw(struct bk_batch *b, struct bk_epoch *e, size_t first, size_t n, struct bk_error *err);
void bk_batch_done(struct bk_batch *b);

/* ---- checkpoints (checkpoint.c) ------------------------------------------- */

#define BK_CKPT_KIND  "ckpt"
#define BK_CKPT_MAJOR 1
#define BK_CKPT_MINOR 1

struct bk_history {
    double loss, penalty, auc; /* auc NaN: no validation pairs */
};
/* A training between two epochs: what resuming needs and nothing else. */
struct bk_trainer_state {
    size_t n_params;
    float *params, *moment1, *moment2, *best; /* n_params each, the caller's */
    uint64_t options_hash;                    /* of everything that decides the numbers: options, data set, vectors */
    uint64_t steps, pairs;
    double seconds;             /* that the epochs took; decides nothing */
    unsigned epoch, best_epoch; /* epochs done; the best one, counted from 1 */
    struct bk_history *history; /* `epoch` entries, heap, the caller's */
};
BK_MUST_CHECK int bk_checkpoint_save(const struct bk_trainer_state *s, const char *path, struct bk_error *err);
/* Fills `s`, whose blocks of n_params stand; BK_EMISMATCH when the file's options hash is not s->options_hash. */
BK_MUST_CHECK int bk_checkpoint_load(struct bk_trainer_state *s, const char *path, struct bk_error *err);

/* Streams of bk_rng_seed; pairs of epoch e use BK_STREAM_EPOCH + e, slice q of i2v BK_STREAM_SLICE + q. */
enum { BK_STREAM_WEIGHTS = BK_STREAM_TRAINER, BK_STREAM_VECTORS, BK_STREAM_VALIDATION, BK_STREAM_WORDS };
#define BK_STREAM_EPOCH   (1ull << 32)
#define BK_STREAM_SHUFFLE (1ull << 40)
#define BK_STREAM_SLICE   (1ull << 48)

#endif
