/* binkin train calibrate: what a model's scores are worth, fitted and judged. */
#include "cli.h"

static const char *const family_names[2] = {"one", "two"};

struct calibrating {
    struct bk_calibrate_options opt;
    const char *model_path, *out, *dataset, *plot_dir;
    size_t pool, queries;
    bool judge, json;
    struct bk_model *m;
    struct bk_dataset *d;
    struct cli_bar bar;
};

/* ---- fitting ---------------------------------------------------------------- */

static void show_fit(const struct calibrating *c, const struct bk_calibrate_report *r)
{
    char safe[512];
    printf("%s: calibrated on %zu functions of the validation part\n  families  blocks  wrong pairs  right pairs  tail "
           "seen to\n",
           cli_printable(safe, sizeof safe, c->out), r->n_functions);
    for (size_t f = 0; f < 2; f++) {
        for (size_t s = 0; s < BK_SIZE_CLASSES; s++) {
            const struct bk_calibrate_class *k = &r->classes[f][s];
            printf("  %-8s  %-6s  %11zu  %11zu  ", family_names[f], cli_size_names[s], k->wrong, k->right);
            if (k->fitted)
                printf("%12.2g\n", k->rarest);
            else
                printf("too few: left out\n");
        }
    }
}

static void fit_json(const struct calibrating *c, const struct bk_calibrate_report *r, int *status)
{
    json_t *o = cli_json_record(), *classes = json_array();
    json_object_set_new(o, "file", cli_json_text(c->out));
    json_object_set_new(o, "functions", json_integer((json_int_t)r->n_functions));
    for (size_t f = 0; f < 2; f++) {
        for (size_t s = 0; s < BK_SIZE_CLASSES; s++) {
            const struct bk_calibrate_class *k = &r->classes[f][s];
            json_array_append_new(classes, json_pack("{s:i, s:s, s:I, s:I, s:b, s:o}", "families", (int)f + 1, "blocks",
                                                     cli_size_names[s], "wrong", (json_int_t)k->wrong, "right",
                                                     (json_int_t)k->right, "fitted", (int)k->fitted, "rarest",
                                                     k->fitted ? json_real(k->rarest) : json_null()));
        }
    }
    json_object_set_new(o, "classes", classes);
    cli_json(o, status);
}

static int fit(struct calibrating *c)
{
    int status = EXIT_FINE;
    struct bk_calibrate_report r;
    struct bk_error err = {0};
    c->opt.progress = cli_progress;
    c->opt.ctx = &c->bar;
    int rc = bk_calibrate(&r, c->out, c->m, c->d, &c->opt, &err);
    cli_bar_clear(&c->bar);
    if (rc)
        return cli_trouble(&err);
    if (c->json)
        fit_json(c, &r, &status);
    else
        show_fit(c, &r);
    return status;
}

/* ---- judging ---------------------------------------------------------------- */

static json_t *reliability_json(const struct bk_reliability *r)
{
    json_t *bins = json_array();
    for (size_t i = 0; i < BK_RELIABILITY_BINS; i++)
        json_array_append_new(bins, json_pack("{s:I, s:o, s:o}", "n", (json_int_t)r->n[i], "predicted",
                                              r->n[i] ? json_real(r->predicted[i]) : json_null(), "right",
                                              r->n[i] ? json_real(r->right[i]) : json_null()));
    return json_pack("{s:f, s:o}", "ece", r->ece, "bins", bins);
}

static void judged_json(const struct calibrating *c, const struct bk_trial_info *info, enum bk_axis a,
                        const struct bk_calibration_judged *x, int *status)
{
    json_t *o = cli_json_record(), *false_matches = json_array();
    json_object_set_new(o, "axis", json_string(bk_axis_name(a)));
    json_object_set_new(o, "part", json_string("test"));
    json_object_set_new(o, "split", json_string(bk_split_name(info->options.split.by)));
    json_object_set_new(
        o, "parts",
        json_sprintf("%u:%u:%u", info->options.split.train, info->options.split.validation, info->options.split.test));
    json_object_set_new(o, "functions", json_integer((json_int_t)info->n_functions));
    json_object_set_new(o, "pool", json_integer((json_int_t)c->pool));
    json_object_set_new(o, "queries", json_integer((json_int_t)x->queries));
    json_object_set_new(o, "uncalibrated", json_integer((json_int_t)x->n_uncalibrated));
    json_object_set_new(o, "pairs", reliability_json(&x->pairs));
    json_object_set_new(o, "best", reliability_json(&x->best));
    for (size_t k = 0; k < BK_FALSE_STEPS; k++)
        json_array_append_new(false_matches,
                              json_pack("{s:f, s:f}", "expected", x->expected[k], "observed", x->observed[k]));
    json_object_set_new(o, "false_matches", false_matches);
    cli_json(o, status);
}

static void show_judged(const struct calibrating *c, enum bk_axis a, const struct bk_calibration_judged *x)
{
    printf("%s: %s; %zu queries, %zu candidates each", bk_axis_name(a), bk_axis_about(a), x->queries, c->pool);
    printf("; ECE %.4f of all pairs, %.3f of the best answers\n", x->pairs.ece, x->best.ece);
    if (x->n_uncalibrated)
        printf("  %zu pairs are of classes without calibration and left out\n", x->n_uncalibrated);
    printf("  all pairs     probability     right   best answers  probability     right\n");
    for (size_t i = 0; i < BK_RELIABILITY_BINS; i++) {
        const struct bk_reliability *r = &x->pairs, *b = &x->best;
        printf("  %10zu  %11.3f  %8.3f  %13zu  %11.3f  %8.3f\n", r->n[i], r->predicted[i], r->right[i], b->n[i],
               b->predicted[i], b->right[i]);
    }
    printf("  false matches of a query: expected");
    for (size_t k = 0; k < BK_FALSE_STEPS; k++)
        printf("  %7g", x->expected[k]);
    printf("\n                             observed");
    for (size_t k = 0; k < BK_FALSE_STEPS; k++)
        printf("  %7.3g", x->observed[k]);
    printf("\n\n");
}

/* A line of one axis, and its points; NaN-free. */
struct line {
    double x[BK_RELIABILITY_BINS], y[BK_RELIABILITY_BINS];
    size_t n;
    char title[64];
};

static void reliability_line(struct line *out, const char *name, const struct bk_reliability *r)
{
    out->n = 0;
    for (size_t i = 0; i < BK_RELIABILITY_BINS; i++) {
        if (r->n[i]) {
            out->x[out->n] = r->predicted[i];
            out->y[out->n++] = r->right[i];
        }
    }
    snprintf(out->title, sizeof out->title, "%s  %.4f", name, r->ece);
}

static void false_line(struct line *out, const char *name, const struct bk_calibration_judged *x)
{
    out->n = 0;
    for (size_t k = 0; k < BK_FALSE_STEPS; k++) {
        if (x->observed[k] > 0) { /* the axes are logarithmic */
            out->x[out->n] = x->expected[k];
            out->y[out->n++] = x->observed[k];
        }
    }
    snprintf(out->title, sizeof out->title, "%s", name);
}

static bool plot(const struct calibrating *c, const struct bk_calibration_judged judged[BK_AXIS_COUNT])
{
    static const struct line ideal[3] = {{{0, 1}, {0, 1}, 2, "as it should be"},
                                         {{0, 1}, {0, 1}, 2, "as it should be"},
                                         {{0.001, 10}, {0.001, 10}, 2, "as it should be"}};
    struct line lines[3][BK_AXIS_COUNT];
    struct cli_series series[3][BK_AXIS_COUNT + 1];
    size_t n = 0;
    for (enum bk_axis a = 0; a < BK_AXIS_COUNT; a++) {
        if (!judged[a].queries)
            continue;
        reliability_line(&lines[0][n], bk_axis_name(a), &judged[a].pairs);
        reliability_line(&lines[1][n], bk_axis_name(a), &judged[a].best);
        false_line(&lines[2][n++], bk_axis_name(a), &judged[a]);
    }
    for (size_t p = 0; p < 3; p++) {
        for (size_t i = 0; i < n; i++)
            series[p][i] = (struct cli_series){lines[p][i].title, lines[p][i].x, lines[p][i].y, lines[p][i].n};
        series[p][n] = (struct cli_series){ideal[p].title, ideal[p].x, ideal[p].y, ideal[p].n};
    }
    const struct cli_panel panels[3] = {{.title = "all pairs (ECE)",
                                         .x_label = "probability",
                                         .y_label = "share of right ones",
                                         .unit_y = true,
                                         .series = series[0],
                                         .n = n + 1},
                                        {.title = "best answers (ECE)",
                                         .x_label = "probability",
                                         .y_label = "share of right ones",
                                         .unit_y = true,
                                         .series = series[1],
                                         .n = n + 1},
                                        {.title = "false matches of a query",
                                         .x_label = "expected",
                                         .y_label = "observed",
                                         .log_x = true,
                                         .log_y = true,
                                         .series = series[2],
                                         .n = n + 1}};
    char title[64];
    snprintf(title, sizeof title, "reliability, pools of %zu", c->pool);
    return cli_plot(c->plot_dir, "reliability", title, panels, 3);
}

static bool draw(struct bk_trial **out, struct calibrating *c, struct bk_error *err)
{
    struct bk_trial_options ask = {.split = c->opt.split,
                                   .axes = (1u << BK_AXIS_COUNT) - 1,
                                   .queries = c->queries,
                                   .pairs = 2,
                                   .seed = c->opt.seed};
    if (!ask.split.train && !ask.split.validation && !ask.split.test && bk_model_split(&ask.split, c->m, c->d, err))
        return false;
    return bk_trial_draw(out, c->d, &ask, err) == BK_OK;
}

static int judge(struct calibrating *c)
{
    int status = EXIT_FINE;
    struct bk_calibration_judged judged[BK_AXIS_COUNT];
    struct bk_trial *trial = NULL;
    struct bk_trial_info info;
    struct bk_error err = {0};
    if (c->plot_dir && !cli_plot_ready(c->plot_dir))
        return EXIT_TROUBLE;
    if (!draw(&trial, c, &err) || bk_judge_calibration(judged, trial, c->m, c->pool, c->opt.threads, &err)) {
        bk_trial_free(trial);
        if (!*err.file)
            snprintf(err.file, sizeof err.file, "%s", c->model_path);
        return cli_trouble(&err);
    }
    bk_trial_describe(&info, trial);
    for (enum bk_axis a = 0; a < BK_AXIS_COUNT; a++) {
        if (judged[a].queries && c->json)
            judged_json(c, &info, a, &judged[a], &status);
        else if (judged[a].queries)
            show_judged(c, a, &judged[a]);
    }
    if (c->plot_dir && !plot(c, judged))
        status = EXIT_TROUBLE;
    bk_trial_free(trial);
    return status;
}

/* ---- the command ------------------------------------------------------------- */

static int calibrate(struct calibrating *c)
{
    struct bk_error err = {0};
    if (bk_model_load(&c->m, c->model_path, &err))
        return cli_trouble(&err);
    int status = bk_dataset_open(&c->d, c->dataset, &err) ? cli_trouble(&err) : c->judge ? judge(c) : fit(c);
    bk_dataset_close(c->d);
    bk_model_free(c->m);
    return status;
}

static int run(const struct cli_command *cmd, int argc, char **argv)
{
    struct calibrating c = {
        .opt = {.seed = 1, .split = {.by = BK_SPLIT_SOURCE, .seed = 1}}, .pool = 1000, .queries = 1000};
    const struct cli_option options[] = {
        {"model", 'm', CLI_TEXT, &c.model_path, "FILE", "the model (required)"},
        {"output", 'o', CLI_TEXT, &c.out, "FILE", "the model with its calibration (default: the model's own file)"},
        {"pairs", 0, CLI_SIZE, &c.opt.pairs, "N", "wrong pairs drawn of each class (default: 8388608)"},
        {"judge", 0, CLI_FLAG, &c.judge, NULL,
         "fit nothing: judge what the model says on the test part, by pools of candidates"},
        {"pool", 0, CLI_SIZE, &c.pool, "N", "with --judge: candidates a query, one of them right (default: 1000)"},
        {"queries", 0, CLI_SIZE, &c.queries, "N", "with --judge: queries of an axis (default: 1000)"},
        {"plot", 0, CLI_TEXT, &c.plot_dir, "DIR",
         "with --judge: draw the reliability diagram into DIR as SVG and PNG; needs gnuplot"},
        {"split", 0, CLI_SPLIT_BY, &c.opt.split.by, "BY", "with --parts: function, source (default), file or project"},
        {"parts", 0, CLI_PARTS, &c.opt.split, "T:V:E",
         "parts for training, validation and test (default: as the model was trained)"},
        {"split-seed", 0, CLI_U64, &c.opt.split.seed, "N", "with --parts: draws the parts (default: 1)"},
        {"seed", 0, CLI_U64, &c.opt.seed, "N", "draws the pairs, or queries and pools (default: 1)"},
        CLI_OPT_THREADS(&c.opt.threads),
        CLI_OPT_JSON(&c.json),
    };
    int first;
    switch (cli_parse(&first, cmd, argc, argv, options, CLI_COUNT(options), 1, 1)) {
    case CLI_HELPED:
        return EXIT_FINE;
    case CLI_BAD:
        return EXIT_TROUBLE;
    }
    if (!c.model_path)
        return cli_complain("train calibrate: -m FILE names the model, and is missing");
    if (c.judge && c.out)
        return cli_complain("train calibrate: --judge writes no model, -o makes no sense");
    if (!c.judge && c.plot_dir)
        return cli_complain("train calibrate: --plot draws what --judge finds");
    c.dataset = argv[first];
    c.out = c.out ? c.out : c.model_path;
    return calibrate(&c);
}

const struct cli_command cli_train_calibrate = {
    .name = "train calibrate",
    .run = run,
    .summary = "Fit what a model's scores are worth: how likely a pair is right, how many false matches to expect.",
    .operands = "-m FILE DATASET",
    .about = "Fitted on the validation part of the data set, from pairs of unlike and of like functions, by families\n"
             "of processors and size. The model's file is written again with it; nothing else of it changes.",
    .example = "  binkin train calibrate -m openssl.bkm openssl.data\n"
               "  binkin train calibrate --judge --plot plots -m openssl.bkm openssl.data",
};
