/* trainer: what train.c (the whole), train_options.c (what is asked) and train_step.c (a batch) share. */
#ifndef BK_TRAINER_H
#define BK_TRAINER_H

#include "inputs.h"
#include "learn.h"

#include <string.h>

#define SHARD_FUNCTIONS 64

/* A part of a batch that one worker takes. */
struct shard {
    struct bk_encoder_pass *pass;
    float *grads; /* of the encoder, zero between batches */
    struct bk_word_grads words;
    size_t n;
    uint32_t *at;             /* which functions of the batch */
    struct bk_input *in;      /* the same as input */
    struct bk_arena *changed; /* what augmentation made of them */
    float *weight;            /* how often the penalty counts each */
    float *f, *df;            /* n x row */
    double penalty;
    int rc;
    struct bk_error err;
};

enum loss { LOSS_PAIRS, LOSS_CONTRASTIVE, LOSS_SUPCON, LOSS_TRIPLET, LOSS_COUNT };

struct trainer {
    const struct bk_dataset *d;
    struct bk_train_options opt; /* defaults filled in */
    enum loss loss;
    struct bk_vectors vectors; /* empty without a sequence branch */
    struct bk_model model;     /* what is made, but for its numbers */
    struct bk_strtab *forms;   /* the model's */
    struct bk_encoder_prepared *prepared;
    struct bk_group train, validation;
    struct bk_inputs train_in, validation_in; /* by position in the groups */
    struct bk_pairs pairs;                    /* of the validation part */
    size_t o;                                 /* numbers of a function vector */
    size_t row;                               /* of all vectors that a function has */
    size_t n_net; /* trained numbers of the encoder; those of the word vectors follow, where they are trained */

    struct bk_trainer_state state;
    float **grads;     /* the shards' blocks, in order */
    float *word_grads; /* V x D, where word vectors are trained */
    struct shard *shard;
    size_t n_shards, max_shards;
    struct bk_batch batch;     /* of the losses over pairs */
    struct bk_sampler sampler; /* of those over labels */
    size_t n_funcs;            /* of the batch */
    const uint32_t *func;      /* as positions in the training part */
    uint32_t *label;           /* each one's */
    float *f, *df;             /* vectors of the batch and their gradient */
    float *weight;             /* as in the shards */
    float *scratch;            /* of the loss */
    struct bk_memory memory;   /* former batches of this epoch */
    uint32_t *order;           /* functions of the batch by length */
    double penalty_scale, rate;
    size_t n_batches; /* done in this epoch */
    uint64_t n_steps; /* of the whole training */

    double begun; /* this run */
    uint64_t pairs_begun;
};

static inline bool over_labels(const struct trainer *t)
{
    return t->loss == LOSS_SUPCON || t->loss == LOSS_TRIPLET;
}
static inline bool has_branch(const struct trainer *t, enum bk_branch branch)
{
    return bk_encoder_has(&t->model.cfg, branch);
}
static inline bool trains_words(const struct trainer *t)
{
    return has_branch(t, BK_BRANCH_SEQUENCE) && strcmp(t->opt.vectors, "frozen") != 0;
}
/* The word vectors that go with such weights. */
static inline const float *words_of(const struct trainer *t, const float *params)
{
    return trains_words(t) ? params + t->n_net : t->vectors.v;
}

/* ---- what is asked (train_options.c) ---------------------------------------- */

/* Fills in the defaults, and the model's kind and configuration. */
BK_MUST_CHECK int bk_trainer_options(struct trainer *t, const struct bk_train_options *opt, struct bk_error *err);
/* Of all that decides the numbers of a training, into its state. */
BK_MUST_CHECK int bk_trainer_hash(struct trainer *t, struct bk_error *err);
/* The model's provenance, on the heap; NULL: no memory. Nothing in it depends on time, threads or place. */
char *bk_trainer_provenance(const struct trainer *t);

/* ---- a step (train_step.c) ---------------------------------------------------- */

/* Forward, loss, backward, Adam for the functions of the batch at hand. */
BK_MUST_CHECK int bk_trainer_step(struct trainer *t, double *loss, double *penalty, struct bk_error *err);
void bk_shard_done(struct shard *s);

#endif
