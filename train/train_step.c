/* One step of training.
 *
 * A batch is embedded in shards of fixed composition; a shard is one item for the workers, its gradients are a block of its own, and
 * the blocks are added in their order. So the number of threads never changes a number. */
#include "trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- one batch ------------------------------------------------------------------ */

static const struct bk_input *batch_input(const struct trainer *t, size_t i)
{
    return &t->train_in.v[t->func[i]];
}

/* About what a function costs. */
static size_t cost(const struct bk_input *in)
{
    return in->words.n + 4 * in->graph.n_nodes;
}

static int by_cost(const void *x, const void *y, void *ctx)
{
    uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;
    size_t na = cost(batch_input(ctx, a)), nb = cost(batch_input(ctx, b));
    return na != nb ? (na < nb) - (na > nb) : (a > b) - (a < b);
}

/* Deals the functions of the batch, the dearest first, to shards of about equal work. */
static int deal(struct trainer *t, struct bk_error *err)
{
    size_t n = t->n_funcs;
    t->n_shards = (n + SHARD_FUNCTIONS - 1) / SHARD_FUNCTIONS;
    for (size_t i = 0; i < t->n_shards; i++) {
        struct shard *s = &t->shard[i];
        int rc = s->pass ? BK_OK : new_shard(t, s, err);
        if (rc)
            return rc;
        t->grads[i] = s->grads;
        s->n = 0;
    }
    for (size_t i = 0; i < n; i++)
        t->order[i] = (uint32_t)i;
    qsort_r(t->order, n, sizeof *t->order, by_cost, t);
    for (size_t i = 0; i < n; i++) {
        struct shard *s = &t->shard[i % t->n_shards];
        s->at[s->n] = t->order[i];
        s->weight[s->n] = t->weight[t->order[i]];
        s->in[s->n++] = *batch_input(t, t->order[i]);
    }
    return BK_OK;
}

static void forward(void *ctx, size_t item, unsigned worker)
{
    struct trainer *t = ctx;
    struct shard *s = &t->shard[item];
    (void)worker;
    const struct bk_encoder_words words = {.vectors = words_of(t, t->state.params),
                                           .n = t->vectors.words ? bk_strtab_count(t->vectors.words) : 0,
                                           .weight = s->weight,
                                           .penalty = &s->penalty};
    s->rc = bk_encoder_forward(s->pass, s->f, t->prepared, &words, s->in, s->n, true, &s->err);
    for (size_t i = 0; i < s->n && !s->rc; i++)
        memcpy(t->f + s->at[i] * t->row, s->f + i * t->row, t->row * sizeof(float));
}

static void backward(void *ctx, size_t item, unsigned worker)
{
    struct trainer *t = ctx;
    struct shard *s = &t->shard[item];
    (void)worker;
    for (size_t i = 0; i < s->n; i++)
        memcpy(s->df + i * t->row, t->df + s->at[i] * t->row, t->row * sizeof(float));
    bk_encoder_backward(s->pass, s->grads, trains_words(t) ? &s->words : NULL, t->prepared, s->df, t->penalty_scale);
}

/* Adds what the shards found for their words, shard after shard. No function has the padding word, which stays zero. */
static void add_word_grads(struct trainer *t)
{
    size_t d = t->model.cfg.net.d;
    for (size_t i = 0; i < t->n_shards; i++) {
        const struct bk_word_grads *g = &t->shard[i].words;
        for (size_t k = 0; k < g->n; k++)
            for (size_t j = 0; j < d; j++)
                t->word_grads[g->ids[k] * d + j] += g->v[k * d + j];
    }
}

static size_t ranges(size_t n)
{
    return (n + BK_ADAM_RANGE - 1) / BK_ADAM_RANGE;
}

/* The encoder's ranges, whose gradients lie in the shards' blocks, then those of the words. */
static void adam(void *ctx, size_t item, unsigned worker)
{
    struct trainer *t = ctx;
    struct bk_trainer_state *s = &t->state;
    bool words = item >= ranges(t->n_net);
    size_t from = words ? t->n_net : 0, n = words ? s->n_params - t->n_net : t->n_net;
    size_t first = (item - (words ? ranges(t->n_net) : 0)) * BK_ADAM_RANGE, left = n - first;
    (void)worker;
    bk_adam(s->params + from, s->moment1 + from, s->moment2 + from, words ? &t->word_grads : t->grads,
            words ? 1 : t->n_shards, first, left < BK_ADAM_RANGE ? left : BK_ADAM_RANGE, s->steps, t->rate);
}

/* The penalty counts every function once; under compat the right side of each pair. */
static void weigh(struct trainer *t)
{
    const bool compat = t->model.cfg.net.compat_safe;
    for (size_t i = 0; i < t->n_funcs; i++)
        t->weight[i] = !compat;
    for (size_t i = 0; compat && i < t->batch.n_pairs; i++)
        t->weight[t->batch.right[i]]++;
}

/* The loss of the batch, its gradient into df. */
static double loss_of(struct trainer *t)
{
    const struct bk_batch *b = &t->batch;
    memset(t->df, 0, t->n_funcs * t->row * sizeof(float));
    switch (t->loss) {
    case LOSS_CONTRASTIVE:
        return bk_contrast_loss(t->df, t->f, t->o, b->left, b->right, t->label, b->n_anchors, t->opt.temperature,
                                t->scratch);
    case LOSS_SUPCON:
        return bk_supcon_loss(t->df, t->f, t->o, t->label, t->n_funcs, &t->memory, t->opt.temperature, t->scratch);
    case LOSS_TRIPLET:
        return bk_triplet_loss(t->df, t->f, t->o, t->label, t->n_funcs, &t->memory, t->opt.margin, t->scratch);
    default:
        return t->model.cfg.net.compat_safe
                   ? bk_dot_loss(t->df, t->f, t->o, b->left, b->right, b->y, b->n_pairs)
                   : bk_cosine_loss(t->df, NULL, t->f, t->o, b->left, b->right, b->y, b->n_pairs);
    }
}

/* Forward, loss, backward, Adam. The penalty ||A A^T - I||_F is one norm over the attention of the whole batch, as in SAFE's
 * program: its square is the sum over the functions, and its gradient needs the sum first. */
int bk_trainer_step(struct trainer *t, double *loss, double *penalty, struct bk_error *err)
{
    for (size_t i = 0; i < t->n_funcs; i++)
        t->label[i] = t->train.begin[t->func[i]];
    weigh(t);
    int rc = deal(t, err);
    if (rc)
        return rc;
    bk_encoder_prepare(t->prepared, t->state.params, t->opt.threads);
    bk_par_for(t->n_shards, t->opt.threads, forward, t);
    double squares = 0;
    for (size_t i = 0; i < t->n_shards; i++) {
        if (t->shard[i].rc) {
            if (err)
                *err = t->shard[i].err;
            return t->shard[i].rc;
        }
        squares += t->shard[i].penalty;
    }
    *penalty = sqrt(squares);
    t->penalty_scale = squares > 0 && !t->opt.no_penalty ? 0.5 / *penalty : 0;
    *loss = loss_of(t);
    if (!isfinite(*loss) || !isfinite(*penalty))
        return bk_fail(err, BK_ELIMIT, BK_NO_OFFSET,
                       "epoch %u, batch %zu: the loss is no number; a lower rate may help", t->state.epoch + 1,
                       t->n_batches + 1);
    bk_par_for(t->n_shards, t->opt.threads, backward, t);
    if (trains_words(t))
        add_word_grads(t);
    t->state.steps++;
    bk_par_for(ranges(t->n_net) + ranges(t->state.n_params - t->n_net), t->opt.threads, adam, t);
    return BK_OK;
}

