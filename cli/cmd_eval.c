/* binkin eval: judge models and untrained baselines on a data set. */
#include "cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SUBJECTS (2 * CLI_MAX_TEXTS)
#define BASELINES    "counts, tfidf-words, tfidf-opcodes, tfidf-immediates, tfidf, minhash"

struct subject {
    struct bk_subject s;
    struct bk_model *model; /* NULL: a baseline */
    const char *path;       /* of the model, as given; NULL: the default one */
    char name[64];          /* in tables and pictures */
    struct bk_judged judged;
};

struct judging {
    struct bk_trial_options ask;
    struct bk_judge_options opt;
    const char *dataset, *trial_path, *write_path, *plot_dir;
    struct cli_texts models;
    enum bk_baseline baselines[CLI_MAX_TEXTS];
    size_t n_baselines;
    bool json;
    struct bk_dataset *d;
    struct bk_trial *trial;
    struct bk_trial_info info;
    struct subject subjects[MAX_SUBJECTS];
    size_t n;
    struct cli_bar bar;
};

static bool axis_skipped(const struct judging *j, enum bk_axis a)
{
    return j->info.axes[a].pairs == 0;
}

/* ---- JSON: a record for each subject and axis ------------------------------ */

static json_t *u64_json(uint64_t v)
{
    return v <= INT64_MAX ? json_integer((json_int_t)v) : json_sprintf("%llu", (unsigned long long)v);
}

static void put_figure(json_t *o, const char *key, const struct bk_figure *f)
{
    char interval[32];
    snprintf(interval, sizeof interval, "%s_interval", key);
    json_object_set_new(o, key, json_real(f->value));
    json_object_set_new(o, interval, json_pack("[f, f]", f->low, f->high));
}

static json_t *pool_json(const struct bk_judged_pool *p)
{
    json_t *o = json_pack("{s:I, s:I}", "pool", (json_int_t)p->pool, "queries", (json_int_t)p->queries),
           *sizes = json_array();
    put_figure(o, "recall_at_1", &p->recall_at_1);
    put_figure(o, "recall_at_10", &p->recall_at_10);
    put_figure(o, "mrr_at_10", &p->mrr_at_10);
    put_figure(o, "ndcg_at_10", &p->ndcg_at_10);
    for (size_t c = 0; c < BK_SIZE_CLASSES; c++)
        json_array_append_new(sizes, json_pack("{s:s, s:I, s:o}", "blocks", cli_size_names[c], "queries",
                                               (json_int_t)p->sizes[c].queries, "recall_at_1",
                                               p->sizes[c].queries ? json_real(p->sizes[c].recall_at_1) : json_null()));
    json_object_set_new(o, "sizes", sizes);
    return o;
}

static void put_filters(json_t *o, const struct judging *j)
{
    const struct bk_trial_options *t = &j->info.options;
    json_object_set_new(o, "part", json_string(t->validation ? "validation" : "test"));
    json_object_set_new(o, "split", json_string(bk_split_name(t->split.by)));
    json_object_set_new(o, "parts", json_sprintf("%u:%u:%u", t->split.train, t->split.validation, t->split.test));
    json_object_set_new(o, "split_seed", u64_json(t->split.seed));
    json_object_set_new(o, "min_blocks", json_integer(t->min_blocks));
    json_object_set_new(o, "identical", json_string(bk_identical_name(t->identical)));
    json_object_set_new(o, "unseen", json_boolean(t->unseen));
    json_object_set_new(o, "left_out_seen", json_integer((json_int_t)j->info.n_seen));
    json_object_set_new(o, "left_out_twice", json_integer((json_int_t)j->info.n_twice));
    json_object_set_new(o, "seed", u64_json(t->seed));
    json_object_set_new(o, "functions", json_integer((json_int_t)j->info.n_functions));
}

/* The share of right pairs found where at most so many of the wrong ones are. */
static double found_at(const struct bk_curve *roc, double wrong)
{
    double found = 0;
    for (size_t i = 0; i < roc->n && roc->x[i] <= wrong; i++)
        found = roc->y[i];
    return found;
}

static void put_scores(json_t *o, const struct bk_judged_axis *x)
{
    json_t *pools = json_array(), *skipped = json_array();
    put_figure(o, "auc", &x->auc);
    put_figure(o, "ap", &x->ap);
    json_object_set_new(o, "found_at_1_percent_false", json_real(found_at(&x->roc, 0.01)));
    for (size_t p = 0; p < x->n_pools; p++) {
        if (x->pools[p].queries)
            json_array_append_new(pools, pool_json(&x->pools[p]));
        else
            json_array_append_new(skipped, json_pack("{s:I, s:I}", "pool", (json_int_t)x->pools[p].pool, "candidates",
                                                     (json_int_t)x->pools[p].most));
    }
    json_object_set_new(o, "pools", pools);
    json_object_set_new(o, "skipped_pools", skipped);
}

static void show_json(const struct judging *j, const struct subject *s, enum bk_axis a, int *status)
{
    json_t *o = cli_json_record();
    json_object_set_new(o, "dataset", cli_json_text(j->dataset));
    json_object_set_new(o, "subject", cli_json_text(s->name));
    json_object_set_new(o, "baseline", s->model ? json_null() : json_string(bk_baseline_name(s->s.baseline)));
    json_object_set_new(o, "axis", json_string(bk_axis_name(a)));
    put_filters(o, j);
    json_object_set_new(o, "matched", json_integer((json_int_t)j->info.axes[a].n_matched));
    json_object_set_new(o, "queries", json_integer((json_int_t)j->info.axes[a].queries));
    json_object_set_new(o, "pairs", json_integer((json_int_t)j->info.axes[a].pairs));
    json_object_set_new(o, "unknown_words", json_real(s->judged.unknown_words));
    json_object_set_new(o, "seconds_embedding", json_real(s->judged.seconds));
    json_object_set_new(o, "functions_per_second", json_real(s->judged.functions_per_second));
    if (axis_skipped(j, a))
        json_object_set_new(o, "skipped", json_string("no pair"));
    else
        put_scores(o, &s->judged.axes[a]);
    cli_json(o, status);
}

/* ---- text: a block for each axis, a row for each subject -------------------- */

/* 12345 as "12,345". */
static const char *grouped(char out[32], size_t n)
{
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%zu", n), at = 0;
    for (int i = 0; i < len; i++) {
        if (i && (len - i) % 3 == 0)
            out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = 0;
    return out;
}

static int name_width(const struct judging *j)
{
    int width = 12;
    for (size_t i = 0; i < j->n; i++)
        width = (int)strlen(j->subjects[i].name) > width ? (int)strlen(j->subjects[i].name) : width;
    return width;
}

static void show_filters(const struct judging *j)
{
    const struct bk_trial_options *t = &j->info.options;
    char safe[512], n[32];
    printf("%s, %s part of a split by %s %u:%u:%u (seed %llu); drawn with seed %llu\n",
           cli_printable(safe, sizeof safe, j->dataset), t->validation ? "validation" : "test",
           bk_split_name(t->split.by), t->split.train, t->split.validation, t->split.test,
           (unsigned long long)t->split.seed, (unsigned long long)t->seed);
    printf("%s functions of %u basic block%s or more", grouped(n, j->info.n_functions), t->min_blocks,
           t->min_blocks == 1 ? "" : "s");
    if (j->info.n_twice)
        printf(", %s given twice left out", grouped(n, j->info.n_twice));
    if (t->unseen)
        printf(", %s seen in training left out", grouped(n, j->info.n_seen));
    else
        printf(", those seen in training kept");
    if (t->identical == BK_IDENTICAL_KEEP)
        printf("; identical matches kept\n");
    else
        printf("; matches of identical %s not drawn\n", bk_identical_name(t->identical));
}

static void show_subjects(const struct judging *j)
{
    for (size_t i = 0; i < j->n; i++) {
        const struct subject *s = &j->subjects[i];
        printf("  %-*s ", name_width(j), s->name);
        if (s->model)
            printf(" %.2f %% unknown words; embedding took %.1f s, %.0f functions a second (%s)\n",
                   100 * s->judged.unknown_words, s->judged.seconds, s->judged.functions_per_second, bk_instructions());
        else
            printf(" not trained: %s; took %.1f s\n", bk_baseline_about(s->s.baseline), s->judged.seconds);
    }
}

static void show_figure(const struct bk_figure *f)
{
    printf("  %.3f (%.3f-%.3f)", f->value, f->low, f->high);
}

/* Recall@1 of queries of few and of many basic blocks. */
static void show_sizes(const struct judging *j, enum bk_axis a, size_t p)
{
    const struct bk_size_class *classes = j->subjects[0].judged.axes[a].pools[p].sizes;
    int width[BK_SIZE_CLASSES];
    char text[64];
    printf("  %-*s  Recall@1 by basic blocks (queries):", name_width(j), "");
    for (size_t c = 0; c < BK_SIZE_CLASSES; c++) {
        width[c] = snprintf(text, sizeof text, "%s (%zu)", cli_size_names[c], classes[c].queries);
        printf("  %s", text);
    }
    printf("\n");
    for (size_t i = 0; i < j->n; i++) {
        const struct bk_size_class *r = j->subjects[i].judged.axes[a].pools[p].sizes;
        printf("  %-*s  %35s", name_width(j), j->subjects[i].name, "");
        for (size_t c = 0; c < BK_SIZE_CLASSES; c++) {
            snprintf(text, sizeof text, "%.3f", r[c].recall_at_1);
            printf("  %*s", width[c], r[c].queries ? text : "none");
        }
        printf("\n");
    }
}

static void show_pool(const struct judging *j, enum bk_axis a, size_t p)
{
    const struct bk_judged_pool *first = &j->subjects[0].judged.axes[a].pools[p];
    size_t queries = j->info.axes[a].queries;
    char n[32], m[32], pool[40];
    snprintf(pool, sizeof pool, "@%s", grouped(n, first->pool));
    if (!first->queries) {
        printf("  %s %s: skipped: %s candidates\n", bk_axis_name(a), pool, grouped(n, first->most));
        return;
    }
    if (first->queries < queries)
        printf("  %s %s: %s of %s queries, the others have too few candidates\n", bk_axis_name(a), pool,
               grouped(n, first->queries), grouped(m, queries));
    printf("  %-*s  %-19s  %-19s  %-19s  %s\n", name_width(j), pool, "Recall@1", "Recall@10", "MRR@10", "nDCG@10");
    for (size_t i = 0; i < j->n; i++) {
        const struct bk_judged_pool *r = &j->subjects[i].judged.axes[a].pools[p];
        printf("  %-*s", name_width(j), j->subjects[i].name);
        show_figure(&r->recall_at_1);
        show_figure(&r->recall_at_10);
        show_figure(&r->mrr_at_10);
        show_figure(&r->ndcg_at_10);
        printf("\n");
    }
    show_sizes(j, a, p);
}

static void show_axis(const struct judging *j, enum bk_axis a)
{
    const struct bk_trial_axis_info *x = &j->info.axes[a];
    char n[32], pairs[32], text[64];
    if (axis_skipped(j, a)) {
        printf("\n%s: skipped: no pair among %s functions (%s)\n", bk_axis_name(a), grouped(n, j->info.n_functions),
               bk_axis_about(a));
        return;
    }
    printf("\n%s: %s; %s functions have a right answer\n", bk_axis_name(a), bk_axis_about(a), grouped(n, x->n_matched));
    snprintf(text, sizeof text, "%s pairs", grouped(pairs, x->pairs));
    printf("  %-*s  %-19s  %s\n", name_width(j), text, "AUC", "AP");
    for (size_t i = 0; i < j->n; i++) {
        printf("  %-*s", name_width(j), j->subjects[i].name);
        show_figure(&j->subjects[i].judged.axes[a].auc);
        show_figure(&j->subjects[i].judged.axes[a].ap);
        printf("\n");
    }
    for (size_t p = 0; p < j->opt.n_pools; p++)
        show_pool(j, a, p);
}

static void show(const struct judging *j, int *status)
{
    if (!j->json) {
        show_filters(j);
        show_subjects(j);
    }
    for (enum bk_axis a = 0; a < BK_AXIS_COUNT; a++) {
        if (!j->info.axes[a].asked)
            continue;
        for (size_t i = 0; i < j->n && j->json; i++)
            show_json(j, &j->subjects[i], a, status);
        if (!j->json)
            show_axis(j, a);
    }
}

/* ---- pictures --------------------------------------------------------------- */

static bool plot_axis(const struct judging *j, enum bk_axis a)
{
    struct cli_series series[3][MAX_SUBJECTS];
    char titles[3][MAX_SUBJECTS][96], title[128], recall[64] = "Recall@k";
    struct cli_panel panels[3] = {
        {"ROC (AUC)", "false positive rate", "true positive rate", false, true, false, series[0], j->n},
        {"precision-recall (AP)", "recall", "precision", false, true, false, series[1], j->n},
        {recall, "k", "recall", true, true, false, series[2], j->n}};
    for (size_t i = 0; i < j->n; i++) {
        const struct subject *s = &j->subjects[i];
        const struct bk_judged_axis *x = &s->judged.axes[a];
        const struct bk_curve *curves[3] = {&x->roc, &x->precision_recall, &x->recall_at_k};
        double at_1 = x->recall_at_k.n && x->recall_at_k.x[0] == 1 ? x->recall_at_k.y[0] : 0;
        const double value[3] = {x->auc.value, x->ap.value, at_1};
        for (size_t p = 0; p < 3; p++) {
            snprintf(titles[p][i], sizeof titles[p][i], "%s  %.3f", s->name, value[p]);
            series[p][i] = (struct cli_series){titles[p][i], curves[p]->x, curves[p]->y, curves[p]->n};
        }
    }
    const struct bk_curve *last = &j->subjects[0].judged.axes[a].recall_at_k;
    if (last->n)
        snprintf(recall, sizeof recall, "Recall@k of %.0f (Recall@1)", last->x[last->n - 1]);
    snprintf(title, sizeof title, "%s: %s", bk_axis_name(a), bk_axis_about(a));
    return cli_plot(j->plot_dir, bk_axis_name(a), title, panels, last->n ? 3 : 2);
}

/* The numbers of `key` over the epochs of a model's training; NULL: it says nothing of them. */
static double *history(const struct bk_model *m, const char *key, size_t *n)
{
    struct bk_model_info info;
    bk_model_describe(&info, m);
    json_t *j = json_loads(info.provenance, 0, NULL), *list = json_object_get(j, "history");
    *n = json_array_size(list);
    double *v = calloc(*n + 1, sizeof *v);
    for (size_t i = 0; v && i < *n; i++) {
        json_t *x = json_object_get(json_array_get(list, i), key);
        v[i] = json_is_number(x) ? json_number_value(x) : NAN;
    }
    json_decref(j);
    return v;
}

/* Of all models that remember their training. */
static bool plot_loss(const struct judging *j)
{
    struct cli_series series[2][MAX_SUBJECTS];
    static const char *const keys[2] = {"loss", "validation_auc"};
    struct cli_panel panels[2] = {{"training loss", "epoch", "mean loss of a pair", false, false, false, series[0], 0},
                                  {"validation", "epoch", "AUC", false, false, false, series[1], 0}};
    double *held[3 * MAX_SUBJECTS];
    size_t n_held = 0;
    for (size_t i = 0; i < j->n; i++) {
        size_t n = 0;
        for (size_t p = 0; p < 2 && j->subjects[i].model; p++) {
            double *y = history(j->subjects[i].model, keys[p], &n);
            held[n_held++] = y;
        }
        if (!n)
            continue;
        double *x = calloc(n, sizeof *x);
        held[n_held++] = x;
        for (size_t e = 0; x && e < n; e++)
            x[e] = (double)(e + 1);
        for (size_t p = 0; p < 2; p++)
            if (x && held[n_held - 3 + p])
                series[p][panels[p].n++] = (struct cli_series){j->subjects[i].name, x, held[n_held - 3 + p], n};
    }
    bool fine = !panels[0].n || cli_plot(j->plot_dir, "loss", "training", panels, 2);
    while (n_held > 0)
        free(held[--n_held]);
    return fine;
}

static bool plot(const struct judging *j)
{
    bool fine = true;
    for (enum bk_axis a = 0; a < BK_AXIS_COUNT && fine; a++)
        if (!axis_skipped(j, a))
            fine = plot_axis(j, a);
    return fine && plot_loss(j);
}

/* ---- who is judged ------------------------------------------------------------ */

static void name_subject(struct subject *s)
{
    const char *slash = s->path ? strrchr(s->path, '/') : NULL;
    const char *name = !s->model ? bk_baseline_name(s->s.baseline) : slash ? slash + 1 : s->path ? s->path : "default";
    cli_printable(s->name, sizeof s->name, name);
}

static bool trouble(const struct bk_error *err)
{
    cli_trouble(err);
    return false;
}

/* The same where the error may be the subject's and names no file. */
static bool trouble_of(struct bk_error *err, const struct subject *s)
{
    if (!*err->file)
        snprintf(err->file, sizeof err->file, "%s", s->path ? s->path : s->name);
    return trouble(err);
}

static bool load_model(struct judging *j, const char *path)
{
    struct subject *s = &j->subjects[j->n];
    struct bk_error err = {0};
    if (bk_model_load(&s->model, path, &err))
        return trouble(&err);
    j->n++;
    s->s.model = s->model;
    s->path = path;
    name_subject(s);
    return true;
}

static bool load_subjects(struct judging *j)
{
    for (size_t i = 0; i < j->models.n; i++)
        if (!load_model(j, j->models.v[i]))
            return false;
    for (size_t i = 0; i < j->n_baselines; i++) {
        struct subject *s = &j->subjects[j->n++];
        s->s.baseline = j->baselines[i];
        name_subject(s);
    }
    return j->n || load_model(j, NULL);
}

static bool same_split(const struct bk_split *a, const struct bk_split *b)
{
    return a->by == b->by && a->train == b->train && a->validation == b->validation && a->test == b->test &&
           a->seed == b->seed;
}

/* The split that was asked for; else that of the models, which must agree; else 8:1:1 by source. */
static bool choose_split(struct judging *j)
{
    struct bk_split *split = &j->ask.split, own;
    struct bk_error err = {0};
    if (split->train || split->validation || split->test)
        return true;
    for (size_t i = 0; i < j->models.n || i < (size_t)(j->n && j->subjects[0].model); i++) {
        if (bk_model_split(&own, j->subjects[i].model, j->d, &err))
            return trouble_of(&err, &j->subjects[i]);
        if (i && !same_split(&own, split)) {
            cli_complain("%s was trained under another split than %s: name one by --parts", j->subjects[i].name,
                         j->subjects[0].name);
            return false;
        }
        *split = own;
    }
    if (!split->train && !split->validation && !split->test)
        *split = (struct bk_split){split->by, 8, 1, 1, split->seed};
    return true;
}

/* ---- the whole ------------------------------------------------------------------ */

/* A model that was trained on what is asked knows the answers. */
static void note_leaks(const struct judging *j)
{
    struct bk_split own;
    for (size_t i = 0; i < j->n; i++) {
        const struct subject *s = &j->subjects[i];
        if (s->model && !bk_model_split(&own, s->model, j->d, NULL) && !same_split(&own, &j->info.options.split))
            cli_note("%s was trained under another split of this data set: it may have seen what is asked", s->name);
    }
}

static bool make_trial(struct judging *j)
{
    struct bk_error err = {0};
    int rc;
    if (j->trial_path)
        rc = bk_trial_load(&j->trial, j->trial_path, j->d, &err);
    else if (choose_split(j))
        rc = bk_trial_draw(&j->trial, j->d, &j->ask, &err);
    else
        return false;
    if (!rc && j->write_path)
        rc = bk_trial_save(j->trial, j->write_path, &err);
    if (rc)
        return trouble(&err);
    bk_trial_describe(&j->info, j->trial);
    note_leaks(j);
    return true;
}

static bool judge_all(struct judging *j)
{
    struct bk_error err = {0};
    j->opt.progress = cli_progress;
    j->opt.ctx = &j->bar;
    size_t i = 0;
    for (; i < j->n; i++) {
        j->bar.label = j->subjects[i].name;
        if (bk_judge(&j->subjects[i].judged, j->trial, &j->subjects[i].s, &j->opt, &err))
            break;
    }
    cli_bar_clear(&j->bar);
    return i == j->n || trouble_of(&err, &j->subjects[i]);
}

static int judge(struct judging *j)
{
    struct bk_error err = {0};
    int status = EXIT_TROUBLE;
    if (j->plot_dir && !cli_plot_ready(j->plot_dir))
        return status;
    if (bk_dataset_open(&j->d, j->dataset, &err))
        return cli_trouble(&err);
    if (load_subjects(j) && make_trial(j) && judge_all(j)) {
        status = EXIT_FINE;
        show(j, &status);
        if (j->plot_dir && !plot(j))
            status = EXIT_TROUBLE;
    }
    for (size_t i = 0; i < j->n; i++) {
        bk_judged_done(&j->subjects[i].judged);
        bk_model_free(j->subjects[i].model);
    }
    bk_trial_free(j->trial);
    bk_dataset_close(j->d);
    return status;
}

static bool parse_baselines(struct judging *j, const struct cli_texts *names)
{
    for (size_t i = 0; i < names->n; i++) {
        if (!bk_baseline_parse(&j->baselines[i], names->v[i])) {
            cli_complain("eval: --baseline %s: there is " BASELINES, names->v[i]);
            return false;
        }
    }
    j->n_baselines = names->n;
    return true;
}

static bool parse_axes(struct bk_trial_options *ask, const struct cli_texts *axes)
{
    for (size_t i = 0; i < axes->n; i++) {
        enum bk_axis a;
        if (!bk_axis_parse(&a, axes->v[i])) {
            cli_complain("eval: --axis %s: there is XO, XC, XB, XA and XM", axes->v[i]);
            return false;
        }
        ask->axes |= 1u << a;
    }
    return true;
}

/* What a trial says by itself must not be said again. */
static bool drawn_twice(const struct bk_trial_options *ask)
{
    return ask->axes || ask->split.train || ask->split.validation || ask->split.test || ask->validation ||
           ask->queries || ask->pairs || ask->min_blocks || ask->identical || ask->unseen || ask->seed != 1;
}

static int run(const struct cli_command *cmd, int argc, char **argv)
{
    struct judging j = {.ask = {.seed = 1, .split = {.by = BK_SPLIT_SOURCE, .seed = 1}}};
    struct cli_sizes pools = {0};
    struct cli_texts axes = {0}, baselines = {0};
    const size_t default_pools[] = {100, 1000, 10000};
    const char *identical = "keep";
    const struct cli_option options[] = {
        {"model", 'm', CLI_TEXTS, &j.models, "FILE",
         "judge this model; may be given several times (default: $BINKIN_MODEL, else the one that came with binkin)"},
        {"baseline", 0, CLI_TEXTS, &baselines, "NAME",
         "judge scores that need no training; may be given several times: " BASELINES},
        {"axis", 0, CLI_TEXTS, &axes, "AXIS",
         "how the build of the right answer differs from the query's: XO level, XC compiler, XB word size, XA "
         "architecture, XM anything (default); may be given several times"},
        {"pool", 0, CLI_SIZES, &pools, "N",
         "candidates a query, one of them right; may be given up to 8 times (default: 100, 1000 and 10000)"},
        {"queries", 0, CLI_SIZE, &j.ask.queries, "N", "queries of an axis (default: 1000)"},
        {"pairs", 0, CLI_SIZE, &j.ask.pairs, "N",
         "pairs of an axis for AUC and AP, half of them similar (default: 20000)"},
        {"split", 0, CLI_SPLIT_BY, &j.ask.split.by, "BY", "with --parts: function, source (default), file or project"},
        {"parts", 0, CLI_PARTS, &j.ask.split, "T:V:E",
         "parts for training, validation and test (default: as the models were trained; 8:1:1 for baselines alone)"},
        {"split-seed", 0, CLI_U64, &j.ask.split.seed, "N", "with --parts: draws the parts (default: 1)"},
        {"validation", 0, CLI_FLAG, &j.ask.validation, NULL, "judge the validation part, not the test part"},
        {"min-blocks", 0, CLI_UNSIGNED, &j.ask.min_blocks, "N",
         "leave out functions of fewer basic blocks (default: 1)"},
        {"identical", 0, CLI_TEXT, &identical, "WHAT",
         "right answers that are the query over again: keep (default), or draw none of the same words, opcodes"},
        {"unseen", 0, CLI_FLAG, &j.ask.unseen, NULL,
         "leave out functions whose words stand, in their order, in the training part too"},
        {"seed", 0, CLI_U64, &j.ask.seed, "N", "draws queries, right answers and pools (default: 1)"},
        {"trial", 0, CLI_TEXT, &j.trial_path, "FILE", "ask what this file says in place of drawing it"},
        {"write-trial", 0, CLI_TEXT, &j.write_path, "FILE", "write what is asked, so that others can ask the same"},
        {"plot", 0, CLI_TEXT, &j.plot_dir, "DIR",
         "draw ROC, precision-recall and Recall@k of each axis, and the loss of the models' trainings, into DIR as SVG "
         "and PNG; needs gnuplot"},
        CLI_OPT_INT8(&j.opt.int8),
        CLI_OPT_THREADS(&j.opt.threads),
        CLI_OPT_JSON(&j.json),
    };
    int first;
    switch (cli_parse(&first, cmd, argc, argv, options, CLI_COUNT(options), 1, 1)) {
    case CLI_HELPED:
        return EXIT_FINE;
    case CLI_BAD:
        return EXIT_TROUBLE;
    }
    if (!parse_axes(&j.ask, &axes) || !parse_baselines(&j, &baselines))
        return EXIT_TROUBLE;
    if (!bk_identical_parse(&j.ask.identical, identical))
        return cli_complain("eval: --identical %s: there is keep, words and opcodes", identical);
    if (j.trial_path && drawn_twice(&j.ask))
        return cli_complain("eval: --trial says axes, queries, pairs, split, filters and seed by itself");
    j.dataset = argv[first];
    j.opt.pools = pools.n ? pools.v : default_pools;
    j.opt.n_pools = pools.n ? pools.n : CLI_COUNT(default_pools);
    return judge(&j);
}

const struct cli_command cli_eval = {
    .name = "eval",
    .run = run,
    .summary = "Judge models and baselines on a data set: AUC and AP of balanced pairs, ranks in given pools.",
    .operands = "DATASET",
    .about = "Judged is the part that training never saw, as the model file remembers it. All subjects of a run\n"
             "get the same queries, right answers and pools. Behind each figure stands its 95 % interval.",
    .example = "  binkin eval -m openssl.bkm openssl.data\n"
               "  binkin eval -m a.bkm -m b.bkm --baseline tfidf --axis XO --axis XA --plot plots openssl.data\n"
               "  binkin eval --baseline counts --split project --parts 8:1:1 --min-blocks 5 openssl.data",
};
