/* One step of training.
 *
 * A batch is embedded in shards of fixed composition; a shard is one item for the workers, its gradients are a block of its own, and
 * the blocks are added in their order. So the number of threads never changes a number. */
#include "trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- one batch ------------------------------------------------------------------ */

static int shard_new(struct trainer *t, struct shard *s, struct bk_error *err)
{
    s->grads = bk_calloc(t->n_net, sizeof *s->grads);
    s->at = bk_calloc(SHARD_FUNCTIONS, sizeof *s->at);
    s->in = bk_calloc(SHARD_FUNCTIONS, sizeof *s->in);
    s->weight = bk_calloc(SHARD_FUNCTIONS, sizeof *s->weight);
    s->f = bk_calloc(SHARD_FUNCTIONS * t->row, sizeof *s->f);
    s->df = bk_calloc(SHARD_FUNCTIONS * t->row, sizeof *s->df);
    s->changed = bk_arena_new();
    if (!s->grads || !s->at || !s->in || !s->weight || !s->f || !s->df || !s->changed)
        return bk_fail_nomem(err, t->n_net * sizeof *s->grads);
    return bk_encoder_pass_new(&s->pass, &t->model.cfg, err);
}

void bk_shard_done(struct shard *s)
{
    bk_encoder_pass_free(s->pass);
    bk_arena_free(s->changed);
    free(s->grads);
    free(s->at);
    free(s->in);
    free(s->weight);
    free(s->f);
    free(s->df);
}

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
        int rc = s->pass ? BK_OK : shard_new(t, s, err);
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

/* A copy that lives until the shard's next batch. */
static void *copy(struct shard *s, const void *v, size_t n, size_t size)
{
    void *p = bk_arena_alloc(s->changed, n, size);
    if (p && n)
        memcpy(p, v, n * size);
    return p;
}

static bool mask(struct shard *s, struct bk_graph *g, const struct bk_train_options *o, struct bk_rng *rng)
{
    size_t n = 0;
    for (uint32_t i = 0; i < g->n_nodes; i++)
        n += g->insns[i];
    uint32_t *forms = copy(s, g->forms, n, sizeof *forms), *neutral = copy(s, g->neutral, n, sizeof *neutral);
    if (!forms || !neutral)
        return false;
    bk_mask_forms(forms, n, o->mask_forms, rng);
    bk_mask_blocks(forms, neutral, g->insns, g->n_nodes, o->drop_blocks, rng);
    g->forms = forms;
    g->neutral = neutral;
    return true;
}

static bool drop(struct shard *s, struct bk_item_seq *items, const struct bk_train_options *o, struct bk_rng *rng)
{
    uint32_t *left = bk_arena_alloc(s->changed, items->n, sizeof *left);
    uint64_t *hash = copy(s, items->hash, items->n, sizeof *hash);
    uint8_t *kind = copy(s, items->kind, items->n, sizeof *kind);
    float *weight = copy(s, items->weight, items->n, sizeof *weight);
    if (!left || !hash || !kind || !weight)
        return false;
    for (size_t i = 0; i < items->n; i++)
        left[i] = (uint32_t)i;
    const size_t n = bk_drop_items(left, items->n, o->drop_items, rng);
    for (size_t i = 0; i < n; i++) {
        hash[i] = items->hash[left[i]];
        kind[i] = items->kind[left[i]];
        weight[i] = items->weight[left[i]];
    }
    *items = (struct bk_item_seq){.hash = hash, .kind = kind, .weight = weight, .n = n};
    return true;
}

/* Makes the functions of the shard less than they are, so that the model does not rest on single forms, blocks or items. */
static bool augment(const struct trainer *t, struct shard *s)
{
    const struct bk_train_options *o = &t->opt;
    bk_arena_reset(s->changed);
    bool done = true;
    for (size_t i = 0; i < s->n && done; i++) {
        struct bk_rng rng;
        bk_augment_seed(&rng, o->seed, (uint32_t)t->state.steps, t->train.v[t->func[s->at[i]]]);
        if (o->mask_forms > 0 || o->drop_blocks > 0)
            done = mask(s, &s->in[i].graph, o, &rng);
        if (done && o->drop_items > 0)
            done = drop(s, &s->in[i].items, o, &rng);
    }
    return done;
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
    if (!augment(t, s)) {
        s->rc = bk_fail_nomem(&s->err, 0);
        return;
    }
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
    if (s->average)
        bk_average(s->average + from, s->params + from, first, left < BK_ADAM_RANGE ? left : BK_ADAM_RANGE, s->steps,
                   t->opt.average);
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
    if (t->memory.cap)
        bk_memory_push(&t->memory, t->f, t->label, t->n_funcs);
    t->state.steps++;
    t->rate = strcmp(t->opt.schedule, "cosine") == 0
                  ? bk_rate_cosine(t->opt.rate, t->state.steps, t->n_steps, t->opt.warm_up)
                  : t->opt.rate;
    bk_par_for(ranges(t->n_net) + ranges(t->state.n_params - t->n_net), t->opt.threads, adam, t);
    return BK_OK;
}
