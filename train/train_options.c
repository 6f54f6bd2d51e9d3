/* What a training is asked for, and how a model tells of it. */
#include "trainer.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_BATCH 65536 /* pairs or functions */

/* ---- options --------------------------------------------------------------- */

static const char *const loss_names[LOSS_COUNT] = {"pairs", "contrastive", "supcon", "triplet"};

/* The number of `value` among the names; BK_EINVAL: it is none of them. */
static int choose(int *out, const char *what, const char *value, const char *const *names, int n, struct bk_error *err)
{
    char known[96];
    size_t at = 0;
    for (int i = 0; i < n; i++) {
        if (strcmp(value, names[i]) == 0) {
            *out = i;
            return BK_OK;
        }
        at += (size_t)snprintf(known + at, sizeof known - at, "%s%s", i ? ", " : "", names[i]);
    }
    return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "train: %s \"%.32s\" is none of %s", what, value, known);
}

/* The switches that are words. */
static int check_words(struct trainer *t, struct bk_error *err)
{
    static const char *const vectors[] = {"frozen", "trainable", "random"}, *const compat[] = {"none", "safe"},
                             *const join[] = {"attention", "concat"}, *const schedule[] = {"constant", "cosine"};
    const struct bk_train_options *o = &t->opt;
    int loss = 0, other;
    int rc = choose(&loss, "loss", o->loss, loss_names, LOSS_COUNT, err);
    t->loss = (enum loss)loss;
    if (!rc)
        rc = choose(&other, "vectors", o->vectors, vectors, 3, err);
    if (!rc)
        rc = choose(&other, "compat", o->compat, compat, 2, err);
    if (!rc)
        rc = choose(&other, "join", o->join, join, 2, err);
    if (!rc)
        rc = choose(&other, "schedule", o->schedule, schedule, 2, err);
    if (!rc && strcmp(o->compat, "safe") == 0 && t->loss != LOSS_PAIRS)
        rc = bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "train: compat safe has the loss pairs and no other");
    return rc;
}

static bool inside(double x, double low, double high)
{
    return x >= low && x <= high;
}

static int check_numbers(const struct trainer *t, struct bk_error *err)
{
    const struct bk_train_options *o = &t->opt;
    if (o->batch < 2 || o->batch > MAX_BATCH || o->batch % 2 || !(o->rate > 0 && o->rate < 1) ||
        !(o->temperature > 0 && o->temperature < 1000))
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "train: an even batch from 2 to %d, rate and temperature above 0",
                       MAX_BATCH);
    if (!inside(o->margin, 0, 2) || !inside(o->average, 0, 0.999999) || !inside(o->cross_from, 0, 1) ||
        !inside(o->cross_to, 0, 1) || !inside(o->mask_forms, 0, 1) || !inside(o->drop_blocks, 0, 1) ||
        !inside(o->drop_items, 0, 1))
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET,
                       "train: average, cross, mask and drop lie between 0 and 1, margin between 0 and 2");
    if (over_labels(t) && (o->variants < 2 || o->variants > o->batch / 2))
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "train: variants from 2 to half the batch");
    return BK_OK;
}

/* What a training is by default: for the kinds of the papers as they have it. */
static void fill(struct bk_train_options *o)
{
    o->kind = o->kind ? o->kind : "mffa";
    const bool own = strcmp(o->kind, "graph") == 0 || strcmp(o->kind, "fused") == 0;
    o->loss = o->loss ? o->loss : own ? "supcon" : "pairs";
    const bool labels = strcmp(o->loss, "supcon") == 0 || strcmp(o->loss, "triplet") == 0;
    o->epochs = o->epochs ? o->epochs : 50;
    o->batch = o->batch ? o->batch : labels ? 512 : 250;
    o->variants = o->variants ? o->variants : 4;
    o->rate = o->rate != 0 ? o->rate : 0.001;
    o->temperature = o->temperature != 0 ? o->temperature : labels ? 0.07 : 0.1;
    o->margin = o->margin != 0 ? o->margin : 0.2;
    o->schedule = o->schedule ? o->schedule : own ? "cosine" : "constant";
    o->vectors = o->vectors ? o->vectors : "frozen";
    o->compat = o->compat ? o->compat : "none";
    o->join = o->join ? o->join : "attention";
    o->min_forms = o->min_forms ? o->min_forms : 8;
    if (!o->split.train && !o->split.validation && !o->split.test)
        o->split = (struct bk_split){BK_SPLIT_SOURCE, 8, 1, 1, o->split.seed};
}

/* The configuration that the options ask for. */
static int configure(struct trainer *t, struct bk_error *err)
{
    const struct bk_train_options *o = &t->opt;
    struct bk_encoder_config *c = &t->model.cfg;
    if (!bk_encoder_config_default(c, o->kind))
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "train: kind \"%.32s\" is none of mffa, safe, graph, fused",
                       o->kind);
    const unsigned usual = c->branches;
    const enum bk_aff own = c->net.aff;
    snprintf(t->model.kind, sizeof t->model.kind, "%s", o->kind);
    c->branches = o->branches ? bk_branches_parse(o->branches) : usual;
    if (c->branches == 0 || (c->branches & ~usual))
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "train: branches \"%.48s\" are not some of those of kind %s",
                       o->branches, o->kind);
    c->hidden = o->without ? bk_sights_parse(o->without) : 0;
    if (o->without && !c->hidden)
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "train: \"%.64s\" are not features of functions", o->without);
    if (!has_branch(t, BK_BRANCH_SEQUENCE) && (o->aff || o->max_insns))
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "train: aff and max_insns are of a sequence branch, here is none");
    c->attention = strcmp(o->join, "attention") == 0;
    c->sketch = !has_branch(t, BK_BRANCH_SKETCH) ? 0 : o->sketch ? o->sketch : c->sketch;
    c->graph.s = o->states ? o->states : c->graph.s;
    c->graph.n = !has_branch(t, BK_BRANCH_GRAPH) ? 0 : o->outputs ? o->outputs : c->graph.n;
    c->net.max_insns = o->max_insns ? o->max_insns : c->net.max_insns;
    c->net.compat_safe = strcmp(o->compat, "safe") == 0;
    int rc = o->aff ? bk_net_config_set_aff(&c->net, o->aff, err) : BK_OK;
    if (!rc && strcmp(o->kind, "safe") == 0 && c->net.aff != own)
        rc = bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "train: kind safe has no attention feature fusion to choose");
    return rc;
}

int bk_trainer_options(struct trainer *t, const struct bk_train_options *opt, struct bk_error *err)
{
    t->opt = *opt;
    fill(&t->opt);
    int rc = check_words(t, err);
    if (!rc)
        rc = check_numbers(t, err);
    return rc ? rc : configure(t, err);
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

static json_t *json_of_split(const struct bk_split *s)
{
    return json_pack("{ss si si si so}", "by", bk_split_name(s->by), "train", (int)s->train, "validation",
                     (int)s->validation, "test", (int)s->test, "seed", json_u64(s->seed));
}

/* What only some trainings have is there only with them. */
static void add_rest(json_t *j, const struct trainer *t)
{
    const struct bk_train_options *o = &t->opt;
    const bool own = strcmp(o->kind, "graph") == 0 || strcmp(o->kind, "fused") == 0;
    char branches[64];
    if (own) {
        bk_branches_text(branches, t->model.cfg.branches);
        json_object_set_new(j, "branches", json_string(branches));
        json_object_set_new(j, "without", json_string(o->without ? o->without : ""));
        json_object_set_new(j, "join", json_string(o->join));
        json_object_set_new(j, "min_forms", json_integer(o->min_forms));
        json_object_set_new(j, "states", json_integer(t->model.cfg.graph.s));
        json_object_set_new(j, "outputs", json_integer(t->model.cfg.graph.n));
        json_object_set_new(j, "sketch", json_integer(t->model.cfg.sketch));
        json_object_set_new(j, "mask_forms", json_real(o->mask_forms));
        json_object_set_new(j, "drop_blocks", json_real(o->drop_blocks));
        json_object_set_new(j, "drop_items", json_real(o->drop_items));
    }
    if (over_labels(t)) {
        json_object_set_new(j, "variants", json_integer(o->variants));
        json_object_set_new(j, "margin", json_real(o->margin));
        json_object_set_new(j, "memory", json_integer(o->memory));
        json_object_set_new(j, "cross", json_pack("[f, f]", o->cross_from, o->cross_to));
    }
    if (strcmp(o->schedule, "constant") != 0 || over_labels(t)) /* both count on the last epoch */
        json_object_set_new(j, "last_epoch", json_integer(o->epochs));
    if (strcmp(o->schedule, "constant") != 0)
        json_object_set_new(j, "warm_up", json_integer(o->warm_up));
    if (o->average > 0)
        json_object_set_new(j, "average", json_real(o->average));
}

/* All that decides the numbers of a training, but for how long it goes on where that does not. */
static json_t *options_json(const struct trainer *t)
{
    const struct bk_train_options *o = &t->opt;
    char aff[64];
    bk_net_config_aff(aff, &t->model.cfg.net);
    const bool words = has_branch(t, BK_BRANCH_SEQUENCE);
    json_t *j = json_pack(
        "{ss ss* so* so si sf ss sf ss ss so so s{so so so}}", "kind", o->kind, "aff", words ? aff : NULL, "max_insns",
        words ? json_integer(t->model.cfg.net.max_insns) : NULL, "pairs_per_epoch", json_u64(o->pairs_per_epoch),
        "batch", (int)o->batch, "rate", o->rate, "loss", o->loss, "temperature", o->temperature, "schedule",
        o->schedule, "compat", o->compat, "seed", json_u64(o->seed), "split", json_of_split(&o->split), "dataset",
        "hash", json_hash(t->d->info.hash), "functions", json_u64(t->d->n), "labels", json_u64(t->d->n_labels));
    if (!j)
        return NULL;
    if (words) {
        json_object_set_new(j, "vectors", json_string(o->vectors));
        json_object_set_new(j, "penalty", json_boolean(!o->no_penalty));
        json_object_set_new(j, "i2v",
                            json_pack("{so so}", "hash", json_hash(t->vectors.hash), "options",
                                      json_loads(t->vectors.options, 0, NULL)));
    }
    add_rest(j, t);
    return j;
}

static json_t *json_score(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

char *bk_trainer_provenance(const struct trainer *t)
{
    const struct bk_trainer_state *s = &t->state;
    char version[32], tokens[32], archs[BK_ARCH_LIST_MAX];
    snprintf(version, sizeof version, "binkin %d.%d.%d", BK_VERSION_MAJOR, BK_VERSION_MINOR, BK_VERSION_PATCH);
    snprintf(tokens, sizeof tokens, "%s/%d", BK_TOKENS_NAME, BK_TOKENS_VERSION);
    bk_arch_list(archs, t->model.archs);
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

int bk_trainer_hash(struct trainer *t, struct bk_error *err)
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
