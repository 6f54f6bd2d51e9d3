/* train: the training loop.
 *
 * A batch is embedded in shards of fixed composition; a shard is one item for the workers, its gradients are a block of its own, and
 * the blocks are added in their order. So the number of threads never changes a number. */
#include "inputs.h"
#include "learn.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SHARD_FUNCTIONS 64
#define MAX_BATCH       65536 /* pairs */
#define REPORT_SECONDS  0.2   /* between two calls of progress */

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
