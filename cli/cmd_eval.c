/* binkin eval: judge a model, or the untrained baseline, on a data set. */
#include "cli.h"

struct judging {
    struct bk_eval_options opt;
    const char *dataset;
    bool json, baseline;
};

static void show_json(const struct judging *j, const struct bk_eval_result *r, int *status)
{
    json_t *o = cli_json_record(), *pools = json_array();
    json_object_set_new(o, "dataset", cli_json_text(j->dataset));
    json_object_set_new(o, "baseline", json_boolean(j->baseline));
    json_object_set_new(o, "part", json_string(j->opt.validation ? "validation" : "test"));
    json_object_set_new(o, "min_blocks", json_integer(j->opt.min_blocks));
    json_object_set_new(o, "functions", json_integer((json_int_t)r->n_functions));
    json_object_set_new(o, "pairs", json_integer((json_int_t)r->n_pairs));
    json_object_set_new(o, "auc", json_real(r->auc));
    json_object_set_new(o, "ap", json_real(r->ap));
    json_object_set_new(o, "unknown_words", json_real(r->unknown_words));
    for (size_t i = 0; i < r->n_pools; i++) {
        const struct bk_eval_pool *p = &r->pools[i];
        json_array_append_new(pools, json_pack("{s:I, s:I, s:f, s:f, s:f}", "pool", (json_int_t)p->pool, "queries",
                                               (json_int_t)p->queries, "recall_at_1", p->recall_at_1, "recall_at_10",
                                               p->recall_at_10, "mrr_at_10", p->mrr_at_10));
    }
    json_object_set_new(o, "pools", pools);
    json_object_set_new(o, "seconds_embedding", json_real(r->seconds_embedding));
    json_object_set_new(o, "functions_per_second", json_real(r->functions_per_second));
    cli_json(o, status);
}

static void show_text(const struct judging *j, const struct bk_eval_result *r)
{
    char safe[512];
    printf("%s, %s part", cli_printable(safe, sizeof safe, j->dataset), j->opt.validation ? "validation" : "test");
    if (j->opt.min_blocks > 1)
        printf(", functions of %u basic blocks or more", j->opt.min_blocks);
    printf(", %s\n", j->baseline ? "baseline: cosine of word counts" : "by the model");
    printf("  %zu functions, %zu pairs: AUC %.4f, AP %.4f\n", r->n_functions, r->n_pairs, r->auc, r->ap);
    for (size_t i = 0; i < r->n_pools; i++) {
        const struct bk_eval_pool *p = &r->pools[i];
        printf("  pool %zu, %zu queries: Recall@1 %.4f, Recall@10 %.4f, MRR@10 %.4f\n", p->pool, p->queries,
               p->recall_at_1, p->recall_at_10, p->mrr_at_10);
    }
    printf("  unknown words %.2f %%", 100 * r->unknown_words);
    printf("; embedding took %.1f s, %.0f functions a second (%s)\n", r->seconds_embedding, r->functions_per_second,
           bk_instructions());
}

static int judge(struct judging *j, const char *model_path)
{
    int status = EXIT_FINE;
    struct bk_dataset *d = NULL;
    struct bk_model *m = NULL;
    struct bk_eval_result r;
    struct bk_error err = {0};
    struct cli_bar bar = {0};
    j->opt.progress = cli_progress;
    j->opt.ctx = &bar;
    int rc = bk_dataset_open(&d, j->dataset, &err);
    if (!rc && !j->baseline)
        rc = bk_model_load(&m, model_path, &err);
    if (!rc)
        rc = bk_eval(&r, d, m, &j->opt, &err);
    cli_bar_clear(&bar);
    if (rc)
        status = cli_trouble(&err);
    else if (j->json)
        show_json(j, &r, &status);
    else
        show_text(j, &r);
    bk_model_free(m);
    bk_dataset_close(d);
    return status;
}

static int run(const struct cli_command *cmd, int argc, char **argv)
{
    struct judging j = {.opt = {.seed = 1, .min_blocks = 1}};
    struct cli_sizes pools = {0};
    const size_t default_pools[] = {100, 1000};
    const char *model_path = NULL;
    struct bk_split split = {.by = BK_SPLIT_SOURCE, .seed = 1};
    const struct cli_option options[] = {
        CLI_OPT_MODEL(&model_path),
        {"baseline", 0, CLI_FLAG, &j.baseline, NULL, "judge the cosine of word counts instead of a model"},
        {"split", 0, CLI_SPLIT_BY, &split.by, "BY", "with --parts: function, source (default), file or project"},
        {"parts", 0, CLI_PARTS, &split, "T:V:E",
         "parts for training, validation and test (default: as the model was trained; 8:1:1 for the baseline)"},
        {"split-seed", 0, CLI_U64, &split.seed, "N", "with --parts: draws the parts (default: 1)"},
        {"validation", 0, CLI_FLAG, &j.opt.validation, NULL, "judge the validation part, not the test part"},
        {"pool", 0, CLI_SIZES, &pools, "N",
         "candidates a query, one of them right; may be given up to 8 times (default: 100 and 1000)"},
        {"queries", 0, CLI_SIZE, &j.opt.max_queries, "N", "queries for each pool (default: 1000)"},
        {"pairs", 0, CLI_SIZE, &j.opt.max_pairs, "N",
         "pairs for AUC and AP (default: one similar and one dissimilar for each function)"},
        {"min-blocks", 0, CLI_UNSIGNED, &j.opt.min_blocks, "N",
         "leave out functions of fewer basic blocks (default: 1)"},
        {"seed", 0, CLI_U64, &j.opt.seed, "N", "draws pairs, queries and pools (default: 1)"},
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
    bool own = split.train || split.validation || split.test;
    if (j.baseline && !own) {
        split.train = 8;
        split.validation = split.test = 1;
        own = true;
    }
    if (own)
        j.opt.split = split;
    j.dataset = argv[first];
    j.opt.pools = pools.n ? pools.v : default_pools;
    j.opt.n_pools = pools.n ? pools.n : CLI_COUNT(default_pools);
    return judge(&j, model_path);
}

const struct cli_command cli_eval = {
    .name = "eval",
    .run = run,
    .summary = "Judge a model on a data set: AUC and AP of balanced pairs, Recall and MRR at given pools.",
    .operands = "DATASET",
    .about = "Judged is the part that training never saw, as the model file remembers it.",
    .example = "  binkin eval -m openssl.bkm --pool 100 --pool 1000 openssl.data\n"
               "  binkin eval --baseline --split source --parts 8:1:1 openssl.data",
};
