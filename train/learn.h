/* learn: what training is made of: i2v.c, pairs.c, sampler.c, schedule.c, augment.c, train.c and checkpoint.c share it. */
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

/* ---- batches of labels (sampler.c), for the losses over labels ------------- */

struct bk_sampler_options {
    size_t labels, functions;    /* P and K: labels of a batch, functions of a label; at least 2 each */
    uint64_t epoch_functions;    /* of an epoch, made up to whole batches; 0: each label once */
    double cross_from, cross_to; /* in [0, 1]: cross of the first epoch and of the last one, linear between them */
    unsigned epochs;
    uint64_t seed;
};
/* Draws batches of up to P labels x K functions. Of functions of a label that have the same words only the first counts; a label with
 * two left can be drawn.
 * - A pass visits each label once, in random order, in batches of the same number of labels, give or take one. Epochs go through
 *   pass after pass, each going on where the one before ended, so that short ones leave nothing out.
 * - The labels of one project are at most half of a batch (rounded up), as long as the pass has labels of others left.
 * - Of a label K functions are drawn, or all that it has. The first is any; each further one comes, with probability cross, from an
 *   architecture that was not drawn yet for this label, of these with the same probability from such a compiler, of these from
 *   such a level: where there is one.
 * All of a batch follows from seed, epoch and its number there, whatever was drawn before it. */
struct bk_sampler {
    const struct bk_dataset *d;
    const struct bk_group *group;
    struct bk_sampler_options opt;
    size_t n_labels;
    uint64_t epoch_batches;
    /* The batch drawn last: functions as positions in the group, those of a label together, and the label that the data set gives to each. */
    size_t n;
    uint32_t *func, *label;

    uint32_t *begin, *v; /* label l: the functions v[begin[l] .. begin[l + 1]) */
    uint32_t *project;   /* of each label */
    uint32_t (*axis)[3]; /* of each file: numbers of its architecture, compiler and level */
    size_t n_projects, pass_batches;
    uint64_t pass;          /* that is laid out: */
    uint32_t *order;        /* its labels, batch after batch */
    uint32_t *taken, *rest; /* scratch: labels of each project in a batch; functions of a label that are not drawn */
};
/* Data set and group must outlive it. BK_EINVAL: the options lie outside their range, or there are no two labels to draw. */
BK_MUST_CHECK int bk_sampler_init(struct bk_sampler *out, const struct bk_dataset *d, const struct bk_group *g,
                                  const struct bk_sampler_options *opt, struct bk_error *err);
void bk_sampler_done(struct bk_sampler *s);
/* Batch number `batch` < s->epoch_batches of an epoch (from 0). */
void bk_sampler_draw(struct bk_sampler *s, unsigned epoch, uint64_t batch);

/* ---- learning rate (schedule.c) -------------------------------------------- */

/* The rate of step number `step` (from 1) of `steps`: it rises in a straight line to `rate` at step `warmup`, then falls along half a
 * cosine (Loshchilov and Hutter 2017) to 1 % of it at the last step, and stays there. */
double bk_rate_cosine(double rate, uint64_t step, uint64_t steps, uint64_t warmup);

/* ---- augmentation (augment.c): in place, on the caller's copy --------------- */

/* The random numbers of one function (its number in the data set) in one step. */
void bk_augment_seed(struct bk_rng *rng, uint64_t seed, uint32_t step, uint32_t function);
/* Each form becomes BK_STR_NONE with probability p, as one that the vocabulary has not; neutral forms stay. */
void bk_mask_forms(uint32_t *forms, size_t n, double p, struct bk_rng *rng);
/* Both ids of each instruction of a block become BK_STR_NONE with probability p, of the whole block or of none of it. forms, neutral: one id
 * for each instruction, block after block, as many as the sum of block_insns. */
void bk_mask_blocks(uint32_t *forms, uint32_t *neutral, const uint16_t *block_insns, size_t n_blocks, double p,
                    struct bk_rng *rng);
/* Leaves each item out with probability p; the others move up in their order. Returns how many are left. */
size_t bk_drop_items(uint32_t *items, size_t n, double p, struct bk_rng *rng);

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
    float *average;                           /* likewise; NULL: weights are not averaged */
    uint64_t options_hash;                    /* of everything that decides the numbers: options, data set, vectors */
    uint64_t steps, pairs;
    double seconds;             /* that the epochs took; decides nothing */
    unsigned epoch, best_epoch; /* epochs done; the best one, counted from 1 */
    struct bk_history *history; /* `epoch` entries, heap, the caller's */
};
BK_MUST_CHECK int bk_checkpoint_save(const struct bk_trainer_state *s, const char *path, struct bk_error *err);
/* Fills `s`, whose blocks of n_params stand; BK_EMISMATCH when the file's options hash is not s->options_hash. */
BK_MUST_CHECK int bk_checkpoint_load(struct bk_trainer_state *s, const char *path, struct bk_error *err);

/* Streams of bk_rng_seed; pairs of epoch e use BK_STREAM_EPOCH + e, slice q of i2v BK_STREAM_SLICE + q, pass q of the sampler
 * BK_STREAM_PASS + q and its batch q, counted through all epochs, BK_STREAM_BATCH + q; BK_STREAM_AUGMENT: see bk_augment_seed(). */
enum { BK_STREAM_WEIGHTS = BK_STREAM_TRAINER, BK_STREAM_VECTORS, BK_STREAM_VALIDATION, BK_STREAM_WORDS };
#define BK_STREAM_EPOCH   (1ull << 32)
#define BK_STREAM_SHUFFLE (1ull << 40)
#define BK_STREAM_SLICE   (1ull << 48)
#define BK_STREAM_PASS    (1ull << 52)
#define BK_STREAM_BATCH   (1ull << 56)
#define BK_STREAM_AUGMENT (1ull << 63)

#endif
