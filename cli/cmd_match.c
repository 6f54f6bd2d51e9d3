/* binkin match: for each function of A its nearest in B. */
#include "cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LABEL 48 /* columns of a function's label */

struct matching {
    struct bk_match_options opt;
    const struct cli_target *a, *b;
    double threshold; /* answers below are not shown */
    bool json;
};

static bool by_context(const struct matching *x)
{
    return x->a->whole && x->b->whole && !x->opt.no_neighbours;
}

/* ---- text -------------------------------------------------------------------- */

static void label(char *out, size_t size, const struct bk_binary *b, size_t i)
{
    struct bk_function_info f;
    char name[MAX_LABEL];
    bk_binary_function(&f, b, i);
    cli_function_label(name, sizeof name, b, i);
    snprintf(out, size, "%#llx %s", (unsigned long long)f.addr, f.n_names ? name : "-");
}

static const char *verdict(int right, bool color)
{
    switch (right) {
    case 1:
        return color ? "\033[32mright\033[0m" : "right";
    case 0:
        return color ? "\033[31mwrong\033[0m" : "wrong";
    }
    return "-";
}

static size_t widest(const struct bk_matches *m, const struct bk_binary *b, bool queries)
{
    char text[MAX_LABEL + 24];
    size_t width = 8;
    for (size_t i = 0; i < m->n; i++) {
        label(text, sizeof text, b, queries ? m->v[i].query : m->v[i].answer);
        width = strlen(text) > width ? strlen(text) : width;
    }
    return width;
}

static void show_summary(const struct matching *x, const struct bk_matches *m, size_t shown)
{
    printf("\n%zu queries against %zu candidates", m->n_queries, m->n_pool);
    if (x->opt.min_blocks > 1)
        printf(", functions of %zu basic blocks or more", x->opt.min_blocks);
    printf(" (%zu and %zu left out)\n", m->n_left_out_a, m->n_left_out_b);
    if (shown < m->n)
        printf("%zu answers below %g not shown\n", m->n - shown, x->threshold);
    if (m->unknown_a > 0 || m->unknown_b > 0)
        printf("words the model does not know: %.1f %% and %.1f %%\n", 100 * m->unknown_a, 100 * m->unknown_b);
    if (!x->opt.truth)
        return;
    double n = (double)m->n_judged;
    printf("%zu queries have a name in common with a candidate; by these names\n", m->n_judged);
    printf("  right at rank 1: %.0f (%.1f %%), within 10: %.0f (%.1f %%), MRR@10 %.3f\n", m->recall_at_1 * n,
           100 * m->recall_at_1, m->recall_at_10 * n, 100 * m->recall_at_10, m->mrr_at_10);
}

/* The score, but where nothing tells the answer from other candidates their number in its place. */
static void score_text(char *out, size_t size, const struct bk_match_answer *v)
{
    if (v->n_same > 1)
        snprintf(out, size, "1 of %zu", v->n_same);
    else
        snprintf(out, size, "%.4f", (double)v->score);
}

/* Wrong answers as good that are to be expected, "-" without a calibration. */
static void false_text(char *out, size_t size, const struct bk_match_answer *v)
{
    if (isnan(v->expected_false))
        snprintf(out, size, "-");
    else
        snprintf(out, size, "%.2g", v->expected_false);
}

/* What the order rests on beside the score: matched callers and callees, items in common, the place in the file. */
static void evidence(char *out, size_t size, const struct matching *x, const struct bk_match_answer *v)
{
    char calls[24], items[24];
    snprintf(calls, sizeof calls, "%zu/%zu", v->n_neighbours_matched, v->n_neighbours);
    snprintf(items, sizeof items, "%zu/%zu", v->n_shared_items, v->n_items);
    out[0] = 0;
    if (by_context(x))
        snprintf(out, size, "  %7s  %9s  %5s", calls, items, v->in_order ? "yes" : "-");
}

static void show_text(const struct matching *x, const struct bk_matches *m)
{
    const struct bk_binary *a = x->a->binary, *b = x->b->binary;
    char query[MAX_LABEL + 24], answer[MAX_LABEL + 24], rests_on[80], score[32], wrong[32];
    int wide_a = (int)widest(m, a, true), wide_b = x->opt.truth ? (int)widest(m, b, false) : 0;
    bool color = cli_color(stdout);
    size_t shown = 0;
    printf("%-*s  %4s  %8s  %7s%s  %-*s%s\n", wide_a, "QUERY", "RANK", "SCORE", "FALSE",
           by_context(x) ? "    CALLS      ITEMS  ORDER" : "", wide_b, "ANSWER", x->opt.truth ? "  BY NAME" : "");
    for (size_t i = 0; i < m->n; i++) {
        const struct bk_match_answer *v = &m->v[i];
        if ((double)v->score < x->threshold)
            continue;
        shown++;
        label(query, sizeof query, a, v->query);
        label(answer, sizeof answer, b, v->answer);
        evidence(rests_on, sizeof rests_on, x, v);
        score_text(score, sizeof score, v);
        false_text(wrong, sizeof wrong, v);
        printf("%-*s  %4u  %8s  %7s%s  %-*s%s%s\n", wide_a, v->rank == 1 ? query : "", v->rank, score, wrong, rests_on,
               wide_b, answer, x->opt.truth ? "  " : "", x->opt.truth ? verdict(v->right, color) : "");
    }
    show_summary(x, m, shown);
}

/* ---- JSON --------------------------------------------------------------------- */

static void show_json(const struct matching *x, const struct bk_matches *m, int *status)
{
    for (size_t i = 0; i < m->n; i++) {
        const struct bk_match_answer *v = &m->v[i];
        if ((double)v->score < x->threshold)
            continue;
        json_t *o = cli_json_record();
        json_object_set_new(o, "query", cli_json_function(x->a->binary, v->query));
        json_object_set_new(o, "rank", json_integer(v->rank));
        json_object_set_new(o, "score", json_real((double)v->score));
        json_object_set_new(o, "probability", cli_json_number(v->probability));
        json_object_set_new(o, "expected_false", cli_json_number(v->expected_false));
        json_object_set_new(o, "same", json_integer((json_int_t)v->n_same));
        if (by_context(x)) {
            json_object_set_new(o, "rank_score", json_real((double)v->rank_score));
            json_object_set_new(o, "neighbours", json_integer((json_int_t)v->n_neighbours));
            json_object_set_new(o, "neighbours_matched", json_integer((json_int_t)v->n_neighbours_matched));
            json_object_set_new(o, "items", json_integer((json_int_t)v->n_items));
            json_object_set_new(o, "items_shared", json_integer((json_int_t)v->n_shared_items));
            json_object_set_new(o, "in_order", json_boolean(v->in_order));
        }
        json_object_set_new(o, "answer", cli_json_function(x->b->binary, v->answer));
        if (x->opt.truth)
            json_object_set_new(o, "right", v->right < 0 ? json_null() : json_boolean(v->right));
        cli_json(o, status);
    }
    if (!x->opt.truth)
        return;
    cli_json(json_pack("{s:I, s:I, s:f, s:f, s:f, s:I}", "queries", (json_int_t)m->n_judged, "pool",
                       (json_int_t)m->n_pool, "recall_at_1", m->recall_at_1, "recall_at_10", m->recall_at_10,
                       "mrr_at_10", m->mrr_at_10, "min_blocks", (json_int_t)x->opt.min_blocks),
             status);
}

/* ---- the command ----------------------------------------------------------------- */

static int match(struct matching *x, const struct bk_model *model)
{
    int status = EXIT_FINE;
    struct bk_matches *m;
    struct bk_error err = {0};
    struct cli_bar bar = {0};
    x->opt.embed.progress = cli_progress;
    x->opt.embed.progress_ctx = &bar;
    x->opt.only_a = x->a->whole ? NULL : x->a->functions;
    x->opt.n_only_a = x->a->n;
    x->opt.only_b = x->b->whole ? NULL : x->b->functions;
    x->opt.n_only_b = x->b->n;
    int rc = bk_match(&m, model, x->a->binary, x->b->binary, &x->opt, &err);
    cli_bar_clear(&bar);
    if (rc)
        return cli_trouble(&err);
    if (x->json)
        show_json(x, m, &status);
    else
        show_text(x, m);
    const struct cli_target *empty = !m->n_queries ? x->a : !m->n_pool ? x->b : NULL;
    if (empty)
        status = cli_complain("%s: no function to match%s", bk_binary_path(empty->binary),
                              empty->n ? "; --min-blocks left all out" : "");
    bk_matches_free(m);
    return status;
}

static int run(const struct cli_command *cmd, int argc, char **argv)
{
    struct cli_target a = {0}, b = {0};
    struct matching x = {.a = &a, .b = &b, .threshold = -1};
    const char *model_path = NULL;
    const struct cli_option options[] = {
        CLI_OPT_MODEL(&model_path),
        {"answers", 'k', CLI_SIZE, &x.opt.k, "N", "show the best N answers of each query (default: 1)"},
        {"min-blocks", 0, CLI_SIZE, &x.opt.min_blocks, "N",
         "leave out functions of fewer basic blocks, on both sides (default: 5 with --truth, else 1)"},
        {"threshold", 0, CLI_REAL, &x.threshold, "X", "do not show answers that score below X"},
        {"truth", 0, CLI_FLAG, &x.opt.truth, NULL,
         "judge the answers by symbol names, which the matching itself never looks at"},
        {"no-neighbours", 0, CLI_FLAG, &x.opt.no_neighbours, NULL, "rank by the vectors alone"},
        {"one-to-one", 0, CLI_FLAG, &x.opt.one_to_one, NULL, "let each function of B answer one of A at most"},
        CLI_OPT_INT8(&x.opt.embed.int8),
        CLI_OPT_ANY_ARCH(&x.opt.embed.any_arch),
        CLI_OPT_THREADS(&x.opt.embed.threads),
        CLI_OPT_JSON(&x.json),
    };
    int first, status = EXIT_FINE;
    struct bk_model *model;
    struct bk_error err = {0};
    switch (cli_parse(&first, cmd, argc, argv, options, CLI_COUNT(options), 2, 2)) {
    case CLI_HELPED:
        return EXIT_FINE;
    case CLI_BAD:
        return EXIT_TROUBLE;
    }
    if (!x.opt.min_blocks)
        x.opt.min_blocks = x.opt.truth ? 5 : 1;
    if (bk_model_load(&model, model_path, &err))
        return cli_trouble(&err);
    bool open_a = cli_target_open(&a, argv[first], &status), open_b = cli_target_open(&b, argv[first + 1], &status);
    if (open_a && open_b && match(&x, model) != EXIT_FINE)
        status = EXIT_TROUBLE;
    cli_target_close(&a);
    cli_target_close(&b);
    bk_model_free(model);
    return status;
}

const struct cli_command cli_match = {
    .name = "match",
    .run = run,
    .summary = "For each function of A, find the most similar functions of B.",
    .operands = "A[:FUNCTION] B[:FUNCTION]",
    .about = "A and B may be built by other compilers, at other levels, for other processors.\n"
             "Between whole files, what surrounds a function ranks its answers too: each row then says how\n"
             "many of its callers, callees and imports are matched with those of the answer, how many of its\n"
             "constants, field offsets and strings the answer has, and whether they follow in the same order.\n"
             "With --truth a query is judged when some candidate has a name in common with it\n"
             "(aliases count, clone suffixes like .isra.0 do not), and --json closes with one object:\n"
             "queries (judged ones), pool (candidates), recall_at_1, recall_at_10, mrr_at_10, min_blocks.",
    .example = "  binkin match --truth /usr/lib/x86_64-linux-gnu/libz.a /usr/lib/x86_64-linux-gnu/libz.so.1\n"
               "  binkin match -k 5 --threshold 0.9 firmware.elf:0x8a40 libssl.a",
};
