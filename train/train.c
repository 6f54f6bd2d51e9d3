/* train: the training loop. train_options.c says what is asked, train_step.c takes one step. */
#include "trainer.h"

#include <math.h>
#include <stdlib.h>

#define REPORT_SECONDS 0.2    /* between two calls of progress */
#define MAX_PAIRS      100000 /* that validation scores; the losses of the papers take one and one for each function */

/* ---- setting up --------------------------------------------------------------- */

/* What the model knows besides weights, and the functions as it then looks at them. */
static int learn_inputs(struct trainer *t, struct bk_error *err)
{
    struct bk_model *m = &t->model;
    int rc = BK_OK;
    m->words = t->vectors.words;
    if (has_branch(t, BK_BRANCH_GRAPH)) {
        if (!t->d->has_graph)
            return bk_fail(err, BK_EMISMATCH, BK_NO_OFFSET, "a data set without graphs, which kind %s looks at",
                           m->kind);
        rc = bk_forms_learn(&t->forms, t->d, &t->train, t->opt.min_forms, err);
        m->forms = t->forms;
        m->cfg.graph.forms = rc ? 0 : bk_strtab_count(t->forms);
    }
    if (!rc && has_branch(t, BK_BRANCH_SKETCH)) {
        if (!t->d->has_items)
            return bk_fail(err, BK_EMISMATCH, BK_NO_OFFSET, "a data set without items, which kind %s looks at",
                           m->kind);
        rc = bk_idf_learn(&m->idf, t->d, &t->train, err);
    }
    if (!rc)
        rc = bk_encoder_config_check(&m->cfg, err);
    if (!rc)
        rc = bk_inputs_make(&t->train_in, t->d, t->train.v, t->train.n, m, err);
    if (!rc)
        rc = bk_inputs_make(&t->validation_in, t->d, t->validation.v, t->validation.n, m, err);
    return rc;
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
        t->model.archs |= part[i] == BK_PART_TRAIN ? 1u << bk_data_arch(d, i) : 0;
    }
    if (!rc && has_branch(t, BK_BRANCH_SEQUENCE))
        rc = bk_vectors_check(&t->vectors, d, &t->opt.split, seen, err);
    if (!rc)
        rc = bk_group_init(&t->train, d, part, BK_PART_TRAIN, 0, err);
    if (!rc)
        rc = bk_group_init(&t->validation, d, part, BK_PART_VALIDATION, 0, err);
    if (!rc)
        rc = bk_pairs_fixed(&t->pairs, &t->validation, t->loss == LOSS_PAIRS ? 0 : MAX_PAIRS, t->opt.seed, err);
    if (!rc)
        rc = learn_inputs(t, err);
    free(part);
    return rc;
}

/* Word vectors to begin with: those of i2v, or uniform ones with their mean square. The padding word stays zero. */
static void start_words(struct trainer *t)
{
    size_t d = t->model.cfg.net.d, n = t->state.n_params - t->n_net;
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

/* Room for batches of so many functions. */
static int start_batches(struct trainer *t, size_t funcs, struct bk_error *err)
{
    const size_t scratch = over_labels(t)                ? bk_labels_scratch(funcs, t->opt.memory, t->o)
                           : t->loss == LOSS_CONTRASTIVE ? bk_contrast_scratch(t->opt.batch / 2, t->o)
                                                         : 0;
    t->max_shards = (funcs + SHARD_FUNCTIONS - 1) / SHARD_FUNCTIONS;
    t->shard = bk_calloc(t->max_shards, sizeof *t->shard);
    t->grads = bk_calloc(t->max_shards, sizeof *t->grads);
    t->f = bk_calloc(funcs * t->row, sizeof(float));
    t->df = bk_calloc(funcs * t->row, sizeof(float));
    t->weight = bk_calloc(funcs, sizeof(float));
    t->order = bk_calloc(funcs, sizeof *t->order);
    t->label = bk_calloc(funcs, sizeof *t->label);
    t->scratch = bk_calloc(scratch + 1, sizeof(float));
    t->memory = (struct bk_memory){.o = t->o, .cap = over_labels(t) ? t->opt.memory : 0};
    t->memory.f = bk_calloc(t->memory.cap * t->o + 1, sizeof(float));
    t->memory.label = bk_calloc(t->memory.cap + 1, sizeof *t->memory.label);
    if (t->shard && t->grads && t->f && t->df && t->weight && t->order && t->label && t->scratch && t->memory.f &&
        t->memory.label)
        return BK_OK;
    return bk_fail_nomem(err, 2 * funcs * t->row * sizeof(float));
}

static int start_sampler(struct trainer *t, struct bk_error *err)
{
    const struct bk_train_options *o = &t->opt;
    const struct bk_sampler_options s = {.labels = o->batch / o->variants,
                                         .functions = o->variants,
                                         .epoch_functions = 2 * o->pairs_per_epoch,
                                         .cross_from = o->cross_from,
                                         .cross_to = o->cross_to,
                                         .epochs = o->epochs,
                                         .seed = o->seed};
    return bk_sampler_init(&t->sampler, t->d, &t->train, &s, err);
}

static int start(struct trainer *t, struct bk_error *err)
{
    struct bk_trainer_state *s = &t->state;
    size_t words = trains_words(t) ? (size_t)bk_strtab_count(t->vectors.words) * t->model.cfg.net.d : 0;
    t->n_net = bk_encoder_n_params(&t->model.cfg);
    size_t n = s->n_params = t->n_net + words;
    t->o = bk_encoder_outputs(&t->model.cfg);
    t->row = t->o * bk_encoder_sides(&t->model.cfg);
    s->params = bk_calloc(n, sizeof(float));
    s->moment1 = bk_calloc(n, sizeof(float));
    s->moment2 = bk_calloc(n, sizeof(float));
    s->best = bk_calloc(n, sizeof(float));
    s->average = t->opt.average > 0 ? bk_calloc(n, sizeof(float)) : NULL;
    t->word_grads = bk_calloc(words + 1, sizeof(float));
    if (!s->params || !s->moment1 || !s->moment2 || !s->best || (t->opt.average > 0 && !s->average) || !t->word_grads)
        return bk_fail_nomem(err, n * sizeof(float));
    struct bk_rng rng;
    bk_rng_seed(&rng, t->opt.seed, BK_STREAM_WEIGHTS);
    bk_encoder_init(s->params, &t->model.cfg, &rng);
    if (words)
        start_words(t);
    if (s->average)
        memcpy(s->average, s->params, n * sizeof(float));
    int rc = bk_encoder_prepared_new(&t->prepared, &t->model.cfg, BK_FULL, true, err);
    if (!rc)
        rc = start_batches(t, over_labels(t) ? t->opt.batch : 3 * (t->opt.batch / 2), err);
    if (!rc && over_labels(t))
        rc = start_sampler(t, err);
    return rc ? rc : bk_trainer_hash(t, err);
}

/* ---- one epoch ------------------------------------------------------------------ */

/* The weights that are judged and kept. */
static const float *judged(const struct trainer *t)
{
    return t->state.average ? t->state.average : t->state.params;
}

static struct bk_model as_model(const struct trainer *t, const float *params)
{
    struct bk_model m = t->model;
    m.word_vectors = words_of(t, params);
    m.params = params;
    m.split_by = t->opt.split.by;
    m.split_parts[0] = t->opt.split.train;
    m.split_parts[1] = t->opt.split.validation;
    m.split_parts[2] = t->opt.split.test;
    m.split_seed = t->opt.split.seed;
    m.dataset_hash = t->d->info.hash;
    return m;
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
    size_t n = t->validation.n, sides = bk_encoder_sides(&t->model.cfg);
    *auc = NAN;
    if (t->pairs.n == 0)
        return BK_OK;
    const struct bk_model m = as_model(t, judged(t));
    float *vectors = bk_calloc(n, t->row * sizeof *vectors), *score = bk_calloc(t->pairs.n, sizeof *score);
    struct bk_scored *scored = bk_calloc(t->pairs.n, sizeof *scored);
    int rc = vectors && score && scored ? BK_OK : bk_fail_nomem(err, n * t->row * sizeof *vectors);
    if (!rc) {
        rc = (sides == 2 ? bk_model_embed_pairs : bk_model_embed)(vectors, &m, t->validation_in.v, n, BK_FULL,
                                                                  t->opt.threads, NULL, NULL, err);
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

/* What an epoch's batches are drawn from, and how far it is. */
struct epoch {
    struct bk_epoch pairs; /* of the losses over pairs */
    uint64_t n_batches;
    uint64_t done, total; /* pairs; two functions of a loss over labels count as one */
    size_t n_losses;      /* that the loss is the sum of */
    double loss, penalty;
    double reported;
};

static int begin_epoch(struct epoch *e, struct trainer *t, struct bk_error *err)
{
    *e = (struct epoch){.reported = bk_now()};
    t->n_batches = 0;
    t->memory.n = t->memory.next = 0;
    if (over_labels(t)) {
        e->n_batches = t->sampler.epoch_batches;
        e->total = e->n_batches * (t->opt.batch / 2);
        return BK_OK;
    }
    const size_t anchors = t->opt.batch / 2;
    int rc = bk_epoch_init(&e->pairs, &t->train, t->opt.pairs_per_epoch, t->opt.seed, t->state.epoch, err);
    e->n_batches = (e->pairs.n + anchors - 1) / anchors;
    e->total = 2 * e->pairs.n;
    return rc;
}

static int draw(struct epoch *e, struct trainer *t, struct bk_error *err)
{
    if (over_labels(t)) {
        bk_sampler_draw(&t->sampler, t->state.epoch, t->n_batches);
        t->func = t->sampler.func;
        t->n_funcs = t->sampler.n;
        e->done += t->n_funcs / 2;
        e->n_losses += t->n_funcs;
        return BK_OK;
    }
    const size_t anchors = t->opt.batch / 2, at = t->n_batches * anchors;
    int rc = bk_batch_draw(&t->batch, &e->pairs, at, e->pairs.n - at < anchors ? e->pairs.n - at : anchors, err);
    t->func = t->batch.func;
    t->n_funcs = t->batch.n_funcs;
    e->done += t->batch.n_pairs;
    e->n_losses += t->loss == LOSS_CONTRASTIVE ? t->batch.n_anchors : t->batch.n_pairs;
    return rc;
}

/* The batches of one epoch; means over them into *h. */
static int train_epoch(struct trainer *t, struct bk_history *h, uint64_t *pairs, struct bk_error *err)
{
    struct epoch e;
    int rc = begin_epoch(&e, t, err);
    t->n_steps = e.n_batches * t->opt.epochs;
    while (t->n_batches < e.n_batches && !rc) {
        double loss = 0, penalty = 0;
        rc = draw(&e, t, err);
        if (!rc)
            rc = bk_trainer_step(t, &loss, &penalty, err);
        if (rc)
            break;
        e.loss += loss;
        e.penalty += penalty;
        t->n_batches++;
        if (t->opt.progress && bk_now() - e.reported >= REPORT_SECONDS) {
            e.reported = bk_now();
            report_progress(t, e.loss / (double)e.n_losses, e.done, e.total);
        }
    }
    if (!rc) {
        h->loss = e.loss / (double)e.n_losses;
        h->penalty = e.penalty / (double)t->n_batches;
    }
    *pairs = e.done;
    bk_epoch_done(&e.pairs);
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
        memcpy(s->best, judged(t), s->n_params * sizeof(float));
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
    struct bk_model m = as_model(t, t->state.best);
    char *text = bk_trainer_provenance(t);
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
    for (size_t i = 0; t->shard && i < t->max_shards; i++)
        bk_shard_done(&t->shard[i]);
    void *const blocks[] = {s->params, s->moment1, s->moment2, s->best,     s->average,     s->history,
                            t->shard,  t->grads,   t->f,       t->df,       t->word_grads,  t->weight,
                            t->order,  t->label,   t->scratch, t->memory.f, t->memory.label};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        free(blocks[i]);
    bk_encoder_prepared_free(t->prepared);
    bk_sampler_done(&t->sampler);
    bk_batch_done(&t->batch);
    bk_pairs_done(&t->pairs);
    bk_inputs_done(&t->train_in);
    bk_inputs_done(&t->validation_in);
    bk_group_done(&t->train);
    bk_group_done(&t->validation);
    bk_strtab_free(t->forms);
    bk_idf_done(&t->model.idf);
    bk_vectors_done(&t->vectors);
    free(t);
}

/* Word vectors, where the model looks at words. */
static int open_vectors(struct trainer *t, const char *path, struct bk_error *err)
{
    if (!has_branch(t, BK_BRANCH_SEQUENCE))
        return path ? bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "train: word vectors for a model without a sequence branch")
                    : BK_OK;
    if (!path)
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "train: kind %s needs word vectors", t->opt.kind);
    int rc = bk_vectors_open(&t->vectors, path, err);
    if (rc)
        return rc;
    t->model.cfg.net.d = t->vectors.dim;
    return bk_net_config_check(&t->model.cfg.net, err);
}

int bk_train(const char *out_path, const struct bk_dataset *d, const char *i2v_path, const struct bk_train_options *opt,
             struct bk_error *err)
{
    bk_error_clear(err);
    struct trainer *t = calloc(1, sizeof *t);
    if (!t)
        return bk_fail_nomem(err, sizeof *t);
    t->d = d;
    int rc = bk_trainer_options(t, opt, err);
    if (!rc)
        rc = open_vectors(t, i2v_path, err);
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
