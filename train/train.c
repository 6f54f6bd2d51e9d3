/* train: the training loop.
 *
 * A batch is embedded in shards of fixed composition; a shard is one item for the workers, its gradients are a block of its own, and
 * the blocks are added in their order. So the number of threads never changes a number. */
#include "learn.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SHARD_FUNCTIONS 64
#define MAX_BATCH       65536 /* pairs */
#define REPORT_SECONDS  0.2   /* between two calls of progress */

/* A part of a batch that one worker takes. */
struct shard {
    struct bk_pass *pass;
    float *grads; /* of the network, zero between batches */
    struct bk_word_grads words;
    size_t n;
    uint32_t *at;       /* which functions of the batch */
    struct bk_seq *seq; /* the same as input */
    float *weight;      /* how often the penalty counts each */
    float *f, *df;      /* n x row */
    double penalty;
    int rc;
    struct bk_error err;
};

struct trainer {
    const struct bk_dataset *d;
    struct bk_train_options opt; /* defaults filled in */
    struct bk_vectors vectors;
    struct bk_net_config net;
    struct bk_prepared *prepared;
    uint32_t archs; /* of the functions trained on */
    struct bk_group train, validation;
    struct bk_pairs pairs; /* of the validation part */
    uint32_t *ids;
    struct bk_seq *seq; /* by number in the data set; functions of the test part are empty */
    size_t o;           /* numbers of a function vector */
    size_t row;         /* of all vectors that a function has */
    size_t n_net;       /* trained numbers of the network; those of the word vectors follow, where they are trained */

    struct bk_trainer_state state;
    float **grads;     /* the shards' blocks, in order */
    float *word_grads; /* V x D, where word vectors are trained */
    struct shard *shard;
    size_t n_shards, max_shards;
    struct bk_batch batch;
    float *f, *df;            /* vectors of the batch and their gradient */
    float *weight;            /* as in the shards */
    float *contrast;          /* scratch of the contrastive loss */
    uint32_t *contrast_label; /* label of each anchor */
    uint32_t *order;          /* functions of the batch by length */
    double penalty_scale;
    size_t n_batches; /* done in this epoch */

    double begun; /* this run */
    uint64_t pairs_begun;
};

/* ---- options --------------------------------------------------------------- */

static bool contrastive(const struct trainer *t)
{
    return strcmp(t->opt.loss, "contrastive") == 0;
}

static bool trains_words(const struct trainer *t)
{
    return strcmp(t->opt.vectors, "frozen") != 0;
}

/* The word vectors that go with such weights. */
static const float *words_of(const struct trainer *t, const float *params)
{
    return trains_words(t) ? params + t->n_net : t->vectors.v;
}

/* The switches that are words: each is one of those that it may be. */
static int check_words(const struct bk_train_options *o, struct bk_error *err)
{
    if (strcmp(o->loss, "pairs") != 0 && strcmp(o->loss, "contrastive") != 0)
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "train: loss \"%.32s\" is neither pairs nor contrastive", o->loss);
    if (strcmp(o->vectors, "frozen") != 0 && strcmp(o->vectors, "trainable") != 0 && strcmp(o->vectors, "random") != 0)
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "train: vectors \"%.32s\" are none of frozen, trainable, random",
                       o->vectors);
    if (strcmp(o->compat, "none") != 0 && strcmp(o->compat, "safe") != 0)
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "train: compat \"%.32s\" is neither none nor safe", o->compat);
    if (strcmp(o->compat, "safe") == 0 && strcmp(o->loss, "pairs") != 0)
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "train: compat safe has the loss pairs and no other");
    return BK_OK;
}

static int fill_options(struct trainer *t, const struct bk_train_options *opt, struct bk_error *err)
{
    struct bk_train_options *o = &t->opt;
    *o = *opt;
    o->kind = o->kind ? o->kind : "mffa";
    o->max_insns = o->max_insns ? o->max_insns : 150;
    o->epochs = o->epochs ? o->epochs : 50;
    o->batch = o->batch ? o->batch : 250;
    o->rate = o->rate != 0 ? o->rate : 0.001;
    o->loss = o->loss ? o->loss : "pairs";
    o->temperature = o->temperature != 0 ? o->temperature : 0.1;
    o->vectors = o->vectors ? o->vectors : "frozen";
    o->compat = o->compat ? o->compat : "none";
    if (!o->split.train && !o->split.validation && !o->split.test)
        o->split = (struct bk_split){BK_SPLIT_SOURCE, 8, 1, 1, o->split.seed};
    if (o->batch < 2 || o->batch > MAX_BATCH || o->batch % 2 || !(o->rate > 0 && o->rate < 1) ||
        !(o->temperature > 0 && o->temperature < 1000))
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET,
                       "train: an even batch from 2 to %d pairs, rate and temperature above 0", MAX_BATCH);
    int rc = check_words(o, err);
    if (rc)
        return rc;
    if (!bk_net_config_default(&t->net, o->kind))
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "train: kind \"%.32s\" is neither mffa nor safe", o->kind);
    enum bk_aff own = t->net.aff;
    rc = o->aff ? bk_net_config_set_aff(&t->net, o->aff, err) : BK_OK;
    if (!rc && strcmp(o->kind, "safe") == 0 && t->net.aff != own)
        rc = bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "train: kind safe has no attention feature fusion to choose");
    t->net.max_insns = o->max_insns;
    t->net.compat_safe = strcmp(o->compat, "safe") == 0;
    return rc;
}

/* A JSON integer, or text where 63 bits do not hold it. */
static json_t *json_u64(uint64_t v)
{
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)v);
    return v <= INT64_MAX ? json_integer((json_int_t)v) : json_string(text);
}

static json_t *json_hash(uint64_t v)
{
    char text[24];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)v);
    return json_string(text);
}

/* All that decides the numbers of a training, but for how long it goes on. */
static json_t *options_json(const struct trainer *t)
{
    const struct bk_train_options *o = &t->opt;
    char aff[64];
    bk_net_config_aff(aff, &t->net);
    return json_pack("{ss ss si so si sf ss sf ss sb ss so s{ss si si si so} s{so so so so} s{so so}}", "kind", o->kind,
                     "aff", aff, "max_insns", (int)o->max_insns, "pairs_per_epoch", json_u64(o->pairs_per_epoch),
                     "batch", (int)o->batch, "rate", o->rate, "loss", o->loss, "temperature", o->temperature, "vectors",
                     o->vectors, "penalty", !o->no_penalty, "compat", o->compat, "seed", json_u64(o->seed), "split",
                     "by", bk_split_name(o->split.by), "train", (int)o->split.train, "validation",
                     (int)o->split.validation, "test", (int)o->split.test, "seed", json_u64(o->split.seed), "dataset",
                     "hash", json_hash(t->d->info.hash), "functions", json_u64(t->d->n), "labels",
                     json_u64(t->d->n_labels), "words", json_u64(bk_strtab_count(t->d->words)), "i2v", "hash",
                     json_hash(t->vectors.hash), "options", json_loads(t->vectors.options, 0, NULL));
}

static json_t *json_score(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

/* The model's provenance, on the heap. Nothing in it depends on time, threads or place. */
static char *provenance(const struct trainer *t)
{
    const struct bk_trainer_state *s = &t->state;
    char version[32], tokens[32], archs[BK_ARCH_LIST_MAX];
    snprintf(version, sizeof version, "binkin %d.%d.%d", BK_VERSION_MAJOR, BK_VERSION_MINOR, BK_VERSION_PATCH);
    snprintf(tokens, sizeof tokens, "%s/%d", BK_TOKENS_NAME, BK_TOKENS_VERSION);
    bk_arch_list(archs, t->archs);
    json_t *history = json_array();
    for (unsigned i = 0; i < s->epoch; i++)
        json_array_append_new(history, json_pack("{so so so}", "loss", json_score(s->history[i].loss), "penalty",
                                                 json_score(s->history[i].penalty), "validation_auc",
                                                 json_score(s->history[i].auc)));
    json_t *j = json_pack("{ss ss ss so si si so so so so so}", "program", version, "tokens", tokens, "archs", archs,
                          "training", options_json(t), "epochs", (int)s->epoch, "best_epoch", (int)s->best_epoch,
                          "validation_auc", json_score(s->history[s->best_epoch - 1].auc), "pairs", json_u64(s->pairs),
                          "train_functions", json_u64(t->train.n), "validation_functions", json_u64(t->validation.n),
                          "history", history);
    char *text = j ? json_dumps(j, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(j);
    return text;
}

static int hash_options(struct trainer *t, struct bk_error *err)
{
    json_t *j = options_json(t);
    char *text = j ? json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(j);
    if (!text)
        return bk_fail_nomem(err, 1024);
    t->state.options_hash = bk_hash64(text, strlen(text));
    free(text);
    return BK_OK;
}

/* ---- setting up --------------------------------------------------------------- */

/* Ids of every training and validation function, as much as the network sees. */
static int make_inputs(struct trainer *t, const uint8_t *part, struct bk_error *err)
{
    const struct bk_dataset *d = t->d;
    size_t total = 0, at = 0;
    uint32_t unknown[BK_ARCH_COUNT], *map = bk_calloc((size_t)bk_strtab_count(d->words) + 1, sizeof *map);
    for (size_t i = 0; i < d->n; i++)
        if (part[i] != BK_PART_TEST)
            total += d->v[i].n_words < t->net.max_insns ? d->v[i].n_words : t->net.max_insns;
    t->ids = bk_calloc(total + 1, sizeof *t->ids);
    t->seq = bk_calloc(d->n + 1, sizeof *t->seq);
    if (!map || !t->ids || !t->seq) {
        free(map);
        return bk_fail_nomem(err, total * sizeof *t->ids);
    }
    bk_words_map(map, d, t->vectors.words);
    for (int a = BK_ARCH_NONE + 1; a < BK_ARCH_COUNT; a++)
        unknown[a] = bk_strtab_find(t->vectors.words, bk_word_unknown(a), strlen(bk_word_unknown(a)));
    for (size_t i = 0; i < d->n; i++) {
        if (part[i] == BK_PART_TEST)
            continue;
        size_t n = d->v[i].n_words < t->net.max_insns ? d->v[i].n_words : t->net.max_insns;
        t->seq[i] = (struct bk_seq){t->ids + at, n};
        for (size_t k = 0; k < n; k++) {
            uint32_t id = map[d->v[i].words[k]];
            t->ids[at++] = id != BK_STR_NONE ? id : unknown[bk_data_arch(d, i)];
        }
    }
    free(map);
    return BK_OK;
}

static int divide(struct trainer *t, struct bk_error *err)
{
    const struct bk_dataset *d = t->d;
    uint8_t *part = bk_calloc(d->n + 1, 1);
    uint32_t seen = 0;
    if (!part)
        return bk_fail_nomem(err, d->n);
    int rc = bk_split_parts(part, d, &t->opt.split, err);
    for (size_t i = 0; i < d->n && !rc; i++) {
        seen |= part[i] != BK_PART_TEST ? 1u << bk_data_arch(d, i) : 0;
        t->archs |= part[i] == BK_PART_TRAIN ? 1u << bk_data_arch(d, i) : 0;
    }
    if (!rc)
        rc = bk_vectors_check(&t->vectors, d, &t->opt.split, seen, err);
    if (!rc)
        rc = bk_group_init(&t->train, d, part, BK_PART_TRAIN, 0, err);
    if (!rc)
        rc = bk_group_init(&t->validation, d, part, BK_PART_VALIDATION, 0, err);
    if (!rc)
        rc = bk_pairs_fixed(&t->pairs, &t->validation, 0, t->opt.seed, err);
    if (!rc)
        rc = make_inputs(t, part, err);
    free(part);
    return rc;
}

static int new_shard(struct trainer *t, struct shard *s, struct bk_error *err)
{
    s->grads = bk_calloc(t->n_net, sizeof *s->grads);
    s->at = bk_calloc(SHARD_FUNCTIONS, sizeof *s->at);
    s->seq = bk_calloc(SHARD_FUNCTIONS, sizeof *s->seq);
    s->weight = bk_calloc(SHARD_FUNCTIONS, sizeof *s->weight);
    s->f = bk_calloc(SHARD_FUNCTIONS * t->row, sizeof *s->f);
    s->df = bk_calloc(SHARD_FUNCTIONS * t->row, sizeof *s->df);
    if (!s->grads || !s->at || !s->seq || !s->weight || !s->f || !s->df)
        return bk_fail_nomem(err, t->n_net * sizeof *s->grads);
    return bk_pass_new(&s->pass, &t->net, err);
}

/* Word vectors to begin with: those of i2v, or uniform ones with their mean square. The padding word stays zero. */
static void start_words(struct trainer *t)
{
    size_t d = t->net.d, n = t->state.n_params - t->n_net;
    float *to = t->state.params + t->n_net;
    struct bk_rng rng;
    double squares = 0;
    for (size_t i = 0; i < n; i++)
        squares += (double)t->vectors.v[i] * (double)t->vectors.v[i];
    double limit = sqrt(3 * squares / (double)n);
    bk_rng_seed(&rng, t->opt.seed, BK_STREAM_WORDS);
    for (size_t i = d; i < n; i++)
        to[i] = strcmp(t->opt.vectors, "random") == 0 ? (float)((2 * bk_rng_unit(&rng) - 1) * limit) : t->vectors.v[i];
}

static int start(struct trainer *t, struct bk_error *err)
{
    struct bk_trainer_state *s = &t->state;
    size_t words = trains_words(t) ? (size_t)bk_strtab_count(t->vectors.words) * t->net.d : 0;
    size_t anchors = t->opt.batch / 2, funcs = 3 * anchors;
    t->n_net = bk_net_n_params(&t->net);
    size_t n = s->n_params = t->n_net + words;
    t->o = bk_net_outputs(&t->net);
    t->row = t->o * bk_net_sides(&t->net);
    t->max_shards = (funcs + SHARD_FUNCTIONS - 1) / SHARD_FUNCTIONS;
    s->params = bk_calloc(n, sizeof(float));
    s->moment1 = bk_calloc(n, sizeof(float));
    s->moment2 = bk_calloc(n, sizeof(float));
    s->best = bk_calloc(n, sizeof(float));
    t->shard = bk_calloc(t->max_shards, sizeof *t->shard);
    t->grads = bk_calloc(t->max_shards, sizeof *t->grads);
    t->word_grads = bk_calloc(words + 1, sizeof(float));
    t->f = bk_calloc(funcs * t->row, sizeof(float));
    t->df = bk_calloc(funcs * t->row, sizeof(float));
    t->weight = bk_calloc(funcs, sizeof(float));
    t->order = bk_calloc(funcs, sizeof *t->order);
    t->contrast_label = bk_calloc(anchors, sizeof *t->contrast_label);
    t->contrast = contrastive(t) ? bk_calloc(bk_contrast_scratch(anchors, t->o), sizeof(float)) : NULL;
    if (!s->params || !s->moment1 || !s->moment2 || !s->best || !t->shard || !t->grads || !t->word_grads || !t->f ||
        !t->df || !t->weight || !t->order || !t->contrast_label || (contrastive(t) && !t->contrast))
        return bk_fail_nomem(err, n * sizeof(float));
    struct bk_rng rng;
    bk_rng_seed(&rng, t->opt.seed, BK_STREAM_WEIGHTS);
    bk_net_init(s->params, &t->net, &rng);
    if (words)
        start_words(t);
    int rc = bk_prepared_new(&t->prepared, &t->net, BK_FULL, true, err);
    return rc ? rc : hash_options(t, err);
}

/* ---- one batch ------------------------------------------------------------------ */

static const struct bk_seq *batch_seq(const struct trainer *t, size_t i)
{
    return &t->seq[t->train.v[t->batch.func[i]]];
}

static int by_length(const void *x, const void *y, void *ctx)
{
    uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;
    size_t na = batch_seq(ctx, a)->n, nb = batch_seq(ctx, b)->n;
    return na != nb ? (na < nb) - (na > nb) : (a > b) - (a < b);
}

/* Deals the functions of the batch, longest first, to shards of about equal work. */
static int deal(struct trainer *t, struct bk_error *err)
{
    size_t n = t->batch.n_funcs;
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
    qsort_r(t->order, n, sizeof *t->order, by_length, t);
    for (size_t i = 0; i < n; i++) {
        struct shard *s = &t->shard[i % t->n_shards];
        s->at[s->n] = t->order[i];
        s->weight[s->n] = t->weight[t->order[i]];
        s->seq[s->n++] = *batch_seq(t, t->order[i]);
    }
    return BK_OK;
}

static void forward(void *ctx, size_t item, unsigned worker)
{
    struct trainer *t = ctx;
    struct shard *s = &t->shard[item];
    (void)worker;
    s->rc = bk_pass_forward(s->pass, s->f, t->prepared, words_of(t, t->state.params), bk_strtab_count(t->vectors.words),
                            s->seq, s->n, true, s->weight, &s->penalty, &s->err);
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
    bk_pass_backward(s->pass, s->grads, trains_words(t) ? &s->words : NULL, t->prepared, s->df, t->penalty_scale);
}

/* Adds what the shards found for their words, shard after shard. No function has the padding word, which stays zero. */
static void add_word_grads(struct trainer *t)
{
    size_t d = t->net.d;
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

/* The network's ranges, whose gradients lie in the shards' blocks, then those of the words. */
static void adam(void *ctx, size_t item, unsigned worker)
{
    struct trainer *t = ctx;
    struct bk_trainer_state *s = &t->state;
    bool words = item >= ranges(t->n_net);
    size_t from = words ? t->n_net : 0, n = words ? s->n_params - t->n_net : t->n_net;
    size_t first = (item - (words ? ranges(t->n_net) : 0)) * BK_ADAM_RANGE, left = n - first;
    (void)worker;
    bk_adam(s->params + from, s->moment1 + from, s->moment2 + from, words ? &t->word_grads : t->grads,
            words ? 1 : t->n_shards, first, left < BK_ADAM_RANGE ? left : BK_ADAM_RANGE, s->steps, t->opt.rate);
}

/* The penalty counts every function once; under compat the right side of each pair. */
static void weigh(struct trainer *t)
{
    const struct bk_batch *b = &t->batch;
    for (size_t i = 0; i < b->n_funcs; i++)
        t->weight[i] = !t->net.compat_safe;
    for (size_t i = 0; i < b->n_pairs && t->net.compat_safe; i++)
        t->weight[b->right[i]]++;
}

/* The loss of the batch, its gradient into df. */
static double loss_of(struct trainer *t)
{
    const struct bk_batch *b = &t->batch;
    memset(t->df, 0, b->n_funcs * t->row * sizeof(float));
    if (t->net.compat_safe)
        return bk_dot_loss(t->df, t->f, t->o, b->left, b->right, b->y, b->n_pairs);
    if (!contrastive(t))
        return bk_cosine_loss(t->df, NULL, t->f, t->o, b->left, b->right, b->y, b->n_pairs);
    for (size_t i = 0; i < b->n_anchors; i++)
        t->contrast_label[i] = t->train.begin[b->func[i]];
    return bk_contrast_loss(t->df, t->f, t->o, b->left, b->right, t->contrast_label, b->n_anchors, t->opt.temperature,
                            t->contrast);
}

/* Forward, loss, backward, Adam. The penalty ||A A^T - I||_F is one norm over the attention of the whole batch, as in SAFE's
 * program: its square is the sum over the functions, and its gradient needs the sum first. */
static int train_batch(struct trainer *t, double *loss, double *penalty, struct bk_error *err)
{
    weigh(t);
    int rc = deal(t, err);
    if (rc)
        return rc;
    bk_prepare(t->prepared, t->state.params, t->opt.threads);
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

/* ---- one epoch ------------------------------------------------------------------ */

static void as_model(struct bk_model *m, const struct trainer *t, const float *params)
{
    *m = (struct bk_model){.net = t->net,
                           .archs = t->archs,
                           .words = t->vectors.words,
                           .word_vectors = words_of(t, params),
                           .params = params,
                           .split_by = t->opt.split.by,
                           .split_parts = {t->opt.split.train, t->opt.split.validation, t->opt.split.test},
                           .split_seed = t->opt.split.seed,
                           .dataset_hash = t->d->info.hash};
    snprintf(m->kind, sizeof m->kind, "%s", t->opt.kind);
}

/* The last step of an epoch has no loss behind it that would tell. */
static int diverged(const struct trainer *t, struct bk_error *err)
{
    return bk_fail(err, BK_ELIMIT, BK_NO_OFFSET,
                   "epoch %u: its last batch left weights that give no numbers; a lower rate may help",
                   t->state.epoch + 1);
}

static bool all_finite(const float *v, size_t n)
{
    bool finite = true;
    for (size_t i = 0; i < n; i++)
        finite &= isfinite(v[i]) != 0;
    return finite;
}

/* AUC over the fixed pairs of the validation part; NaN where it has none. */
static int validate(struct trainer *t, double *auc, struct bk_error *err)
{
    size_t n = t->validation.n, sides = bk_net_sides(&t->net);
    *auc = NAN;
    if (t->pairs.n == 0)
        return BK_OK;
    struct bk_model m;
    as_model(&m, t, t->state.params);
    float *vectors = bk_calloc(n, t->row * sizeof *vectors), *score = bk_calloc(t->pairs.n, sizeof *score);
    struct bk_seq *seq = bk_calloc(n, sizeof *seq);
    struct bk_scored *scored = bk_calloc(t->pairs.n, sizeof *scored);
    int rc = vectors && score && seq && scored ? BK_OK : bk_fail_nomem(err, n * t->row * sizeof *vectors);
    if (!rc) {
        for (size_t i = 0; i < n; i++)
            seq[i] = t->seq[t->validation.v[i]];
        rc = (sides == 2 ? bk_model_embed_pairs : bk_model_embed)(vectors, &m, seq, n, BK_FULL, t->opt.threads, NULL,
                                                                  NULL, err);
        if (!rc)
            bk_pairs_score(score, &t->pairs, vectors, t->o, sides);
        if (rc == BK_EFORMAT || (!rc && !all_finite(score, t->pairs.n)))
            rc = diverged(t, err);
    }
    if (!rc) {
        for (size_t i = 0; i < t->pairs.n; i++)
            scored[i] = (struct bk_scored){.score = score[i], .similar = t->pairs.v[i].similar};
        rc = bk_metric_sort(scored, t->pairs.n, err);
    }
    if (!rc) {
        double ap;
        bk_metric_auc_ap(auc, &ap, scored, t->pairs.n, NULL);
    }
    free(vectors);
    free(score);
    free(seq);
    free(scored);
    return rc;
}

/* Seconds this run still takes after `done` of `total` pairs of the epoch, at its pace so far. */
static double seconds_left(const struct trainer *t, uint64_t done, uint64_t total)
{
    uint64_t run = t->state.pairs - t->pairs_begun + done;
    uint64_t left = total * (t->opt.epochs - t->state.epoch) - done;
    return run ? (bk_now() - t->begun) / (double)run * (double)left : 0;
}

static void report_progress(const struct trainer *t, double loss, uint64_t done, uint64_t total)
{
    char what[96];
    unsigned long left = (unsigned long)seconds_left(t, done, total);
    snprintf(what, sizeof what, "epoch %u/%u, loss %.4f, %lu:%02lu:%02lu left", t->state.epoch + 1, t->opt.epochs, loss,
             left / 3600, left / 60 % 60, left % 60);
    t->opt.progress(t->opt.ctx, what, done, total);
}

/* The batches of one epoch; means over them into *h. */
static int train_epoch(struct trainer *t, struct bk_history *h, uint64_t *pairs, struct bk_error *err)
{
    struct bk_epoch e;
    int rc = bk_epoch_init(&e, &t->train, t->opt.pairs_per_epoch, t->opt.seed, t->state.epoch, err);
    double loss_sum = 0, penalty_sum = 0, reported = bk_now();
    size_t anchors = t->opt.batch / 2, n_losses = 0;
    *pairs = 0;
    t->n_batches = 0;
    for (size_t at = 0; at < e.n && !rc; at += anchors) {
        double loss = 0, penalty = 0;
        rc = bk_batch_draw(&t->batch, &e, at, e.n - at < anchors ? e.n - at : anchors, err);
        if (!rc)
            rc = train_batch(t, &loss, &penalty, err);
        if (rc)
            break;
        loss_sum += loss;
        penalty_sum += penalty;
        n_losses += contrastive(t) ? t->batch.n_anchors : t->batch.n_pairs;
        t->n_batches++;
        *pairs += t->batch.n_pairs;
        if (t->opt.progress && bk_now() - reported >= REPORT_SECONDS) {
            reported = bk_now();
            report_progress(t, loss_sum / (double)n_losses, *pairs, 2 * e.n);
        }
    }
    if (!rc) {
        h->loss = loss_sum / (double)n_losses;
        h->penalty = penalty_sum / (double)t->n_batches;
    }
    bk_epoch_done(&e);
    return rc;
}

static void report_epoch(const struct trainer *t, const struct bk_history *h, uint64_t pairs, double seconds)
{
    const struct bk_trainer_state *s = &t->state;
    struct bk_train_epoch e = {.epoch = s->epoch,
                               .n_epochs = t->opt.epochs,
                               .loss = h->loss,
                               .penalty = h->penalty,
                               .validation_auc = h->auc,
                               .best = s->best_epoch == s->epoch,
                               .pairs = s->pairs,
                               .seconds = seconds,
                               .seconds_total = s->seconds,
                               .pairs_per_second = seconds > 0 ? (double)pairs / seconds : 0,
                               .seconds_left = seconds_left(t, 0, pairs)};
    t->opt.on_epoch(t->opt.ctx, &e);
}

static int one_epoch(struct trainer *t, const char *checkpoint, struct bk_error *err)
{
    struct bk_trainer_state *s = &t->state;
    const size_t n = s->n_params;
    double begun = bk_now();
    struct bk_history h;
    uint64_t pairs;
    int rc = train_epoch(t, &h, &pairs, err);
    if (!rc)
        rc = all_finite(s->params, n) && all_finite(s->moment1, n) && all_finite(s->moment2, n) ? BK_OK
                                                                                                : diverged(t, err);
    if (!rc)
        rc = validate(t, &h.auc, err);
    if (rc)
        return rc;
    struct bk_history *history = realloc(s->history, (s->epoch + (size_t)1) * sizeof *history);
    if (!history)
        return bk_fail_nomem(err, (s->epoch + (size_t)1) * sizeof *history);
    s->history = history;
    /* Without validation pairs the last epoch is the model. */
    if (s->epoch == 0 || isnan(h.auc) || h.auc > history[s->best_epoch - 1].auc) {
        memcpy(s->best, s->params, s->n_params * sizeof(float));
        s->best_epoch = s->epoch + 1;
    }
    history[s->epoch++] = h;
    s->pairs += pairs;
    double seconds = bk_now() - begun;
    s->seconds += seconds;
    if ((rc = bk_checkpoint_save(s, checkpoint, err)))
        return rc;
    if (t->opt.on_epoch)
        report_epoch(t, &h, pairs, seconds);
    return BK_OK;
}

/* ---- the whole ------------------------------------------------------------------- */

static int run(struct trainer *t, const char *out_path, struct bk_error *err)
{
    struct bk_trainer_state *s = &t->state;
    char *checkpoint;
    if (asprintf(&checkpoint, "%s%s", t->opt.checkpoint ? t->opt.checkpoint : out_path,
                 t->opt.checkpoint ? "" : ".ckpt") < 0)
        return bk_fail_nomem(err, strlen(out_path) + 6);
    int rc = t->opt.resume ? bk_checkpoint_load(s, checkpoint, err) : BK_OK;
    if (!rc && s->epoch > t->opt.epochs)
        rc = bk_fail(err, BK_EMISMATCH, BK_NO_OFFSET, "the checkpoint has done %u epochs, %u were asked for", s->epoch,
                     t->opt.epochs);
    t->begun = bk_now();
    t->pairs_begun = s->pairs;
    unsigned fpu = bk_fpu_flush_denormals(); /* attention makes denormals by the million, each ten times as slow */
    while (!rc && s->epoch < t->opt.epochs)
        rc = one_epoch(t, checkpoint, err);
    bk_fpu_restore(fpu);
    free(checkpoint);
    return rc;
}

static int save(const struct trainer *t, const char *path, struct bk_error *err)
{
    struct bk_model m;
    as_model(&m, t, t->state.best);
    char *text = provenance(t);
    if (!text)
        return bk_fail_nomem(err, 4096);
    m.provenance = text;
    int rc = bk_model_save(&m, path, t->opt.half, err);
    free(text);
    return rc;
}

static void release(struct trainer *t)
{
    struct bk_trainer_state *s = &t->state;
    for (size_t i = 0; t->shard && i < t->max_shards; i++) {
        bk_pass_free(t->shard[i].pass);
        free(t->shard[i].grads);
        free(t->shard[i].at);
        free(t->shard[i].seq);
        free(t->shard[i].weight);
        free(t->shard[i].f);
        free(t->shard[i].df);
    }
    void *const blocks[] = {s->params,         s->moment1, s->moment2, s->best,       t->ids,    t->seq,   t->shard,
                            t->grads,          t->f,       t->df,      t->word_grads, t->weight, t->order, t->contrast,
                            t->contrast_label, s->history};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        free(blocks[i]);
    bk_prepared_free(t->prepared);
    bk_batch_done(&t->batch);
    bk_pairs_done(&t->pairs);
    bk_group_done(&t->train);
    bk_group_done(&t->validation);
    bk_vectors_done(&t->vectors);
    free(t);
}

int bk_train(const char *out_path, const struct bk_dataset *d, const char *i2v_path, const struct bk_train_options *opt,
             struct bk_error *err)
{
    bk_error_clear(err);
    struct trainer *t = calloc(1, sizeof *t);
    if (!t)
        return bk_fail_nomem(err, sizeof *t);
    t->d = d;
    int rc = fill_options(t, opt, err);
    if (!rc)
        rc = bk_vectors_open(&t->vectors, i2v_path, err);
    if (!rc) {
        t->net.d = t->vectors.dim;
        rc = bk_net_config_check(&t->net, err);
    }
    if (!rc)
        rc = divide(t, err);
    if (!rc)
        rc = start(t, err);
    if (!rc)
        rc = run(t, out_path, err);
    if (!rc)
        rc = save(t, out_path, err);
    release(t);
    return rc;
}
