/* binkin compare: the score of two functions. */
#include "cli.h"

#include <math.h>

/* The one function that a target names; a trouble is printed. */
static bool one_function(size_t *out, const struct cli_target *t, const char *text)
{
    if (t->whole && t->n != 1) {
        cli_complain("%s: holds %zu functions; name one (FILE:NAME, FILE:0xADDRESS), or use 'binkin match A B' for "
                     "whole files",
                     text, t->n);
        return false;
    }
    *out = t->functions[0];
    if (t->n > 1) {
        struct bk_function_info f;
        bk_binary_function(&f, t->binary, *out);
        cli_note("binkin: %s: names %zu functions, the first (0x%llx) is taken; 'binkin functions %s' lists them", text,
                 t->n, (unsigned long long)f.addr, text);
    }
    return true;
}

struct asked {
    double threshold;
    size_t pool; /* 0: the functions of B */
    bool json;
};

static void show_worth(const struct bk_score *s, size_t pool)
{
    if (isnan(s->probability))
        printf("        what that is worth is not known: the model is not calibrated for such pairs\n");
    else
        printf("        probability %.3g where one of %zu candidates is right; %.2g wrong ones as good expected\n",
               s->probability, pool, s->expected_false);
}

static int show(const struct cli_target *a, size_t fa, const struct cli_target *b, size_t fb, const struct bk_score *s,
                const struct asked *asked)
{
    int status = (double)s->cosine >= asked->threshold ? EXIT_FINE : EXIT_NO;
    size_t pool = asked->pool ? asked->pool : bk_binary_n_functions(b->binary);
    if (asked->json) {
        json_t *o = cli_json_record();
        json_object_set_new(o, "a", cli_json_function(a->binary, fa));
        json_object_set_new(o, "b", cli_json_function(b->binary, fb));
        json_object_set_new(o, "score", json_real((double)s->cosine));
        json_object_set_new(o, "threshold", json_real(asked->threshold));
        json_object_set_new(o, "similar", json_boolean(status == EXIT_FINE));
        json_object_set_new(o, "pool", json_integer((json_int_t)pool));
        json_object_set_new(o, "probability", cli_json_number(s->probability));
        json_object_set_new(o, "expected_false", cli_json_number(s->expected_false));
        cli_json(o, &status);
    } else {
        printf("%.4f  %s (threshold %g)\n", (double)s->cosine, status == EXIT_FINE ? "similar" : "not similar",
               asked->threshold);
        show_worth(s, pool);
    }
    return status;
}

static int compare(const struct bk_model *model, char **texts, const struct bk_embed_options *opt,
                   const struct asked *asked)
{
    int status = EXIT_FINE;
    struct cli_target a = {0}, b = {0};
    struct bk_error err = {0};
    size_t fa, fb;
    struct bk_score score;
    bool open_a = cli_target_open(&a, texts[0], &status), open_b = cli_target_open_second(&b, &a, texts[1], &status);
    bool one_a = open_a && one_function(&fa, &a, texts[0]), one_b = open_b && one_function(&fb, &b, texts[1]);
    if (!one_a || !one_b)
        status = EXIT_TROUBLE;
    else if (bk_score_describe(&score, model, a.binary, fa, b.binary, fb, asked->pool, opt, &err))
        status = cli_trouble(&err);
    else {
        int said = show(&a, fa, &b, fb, &score, asked);
        status = status == EXIT_FINE ? said : status;
    }
    cli_target_close(&b);
    cli_target_close(&a);
    return status;
}

static int run(const struct cli_command *cmd, int argc, char **argv)
{
    struct bk_embed_options opt = {0};
    const char *model_path = NULL;
    struct asked asked = {.threshold = 0.5};
    const struct cli_option options[] = {
        CLI_OPT_MODEL(&model_path),
        {"threshold", 0, CLI_REAL, &asked.threshold, "X", "call a score of X or more similar (default: 0.5)"},
        {"pool", 0, CLI_SIZE, &asked.pool, "N",
         "candidates that the second function was found among (default: the functions of its file)"},
        CLI_OPT_ANY_ARCH(&opt.any_arch),
        CLI_OPT_JSON(&asked.json),
    };
    int first;
    struct bk_model *model;
    struct bk_error err = {0};
    switch (cli_parse(&first, cmd, argc, argv, options, CLI_COUNT(options), 2, 2)) {
    case CLI_HELPED:
        return EXIT_FINE;
    case CLI_BAD:
        return EXIT_TROUBLE;
    }
    if (bk_model_load(&model, model_path, &err))
        return cli_trouble(&err);
    int status = compare(model, argv + first, &opt, &asked);
    bk_model_free(model);
    return status;
}

const struct cli_command cli_compare = {
    .name = "compare",
    .run = run,
    .summary = "Score two functions: the cosine of their vectors, 1 for the same direction.",
    .operands = "FILE:FUNCTION FILE:FUNCTION",
    .about = "With a calibrated model also how likely they are the same function, where the file of the second\n"
             "holds it, and how many wrong ones of that file are expected to score as high.\n"
             "Exit status: 0 similar, 1 not similar, 2 trouble.",
    .example = "  binkin compare libz.so.1:adler32 libz.a:adler32\n"
               "  binkin compare --threshold 0.8 old.so:0x1a40 new.so:0x1b20",
};
