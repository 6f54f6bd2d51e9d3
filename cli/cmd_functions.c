/* binkin functions: the functions of a file, their bounds and names, and on demand their words. */
#include "cli.h"

#include <stdlib.h>

struct listing {
    unsigned threads;
    bool json, words;
};

struct word_list {
    json_t *words; /* JSON: filled */
    size_t block;  /* text: of the last word printed */
};

static int word_json(void *ctx, uint64_t addr, const char *word, size_t block)
{
    struct word_list *w = ctx;
    json_t *o = json_object();
    json_object_set_new(o, "addr", cli_json_addr(addr));
    json_object_set_new(o, "word", cli_json_text(word));
    json_object_set_new(o, "block", json_integer((json_int_t)block));
    return json_array_append_new(w->words, o) ? BK_ENOMEM : BK_OK;
}

static int word_text(void *ctx, uint64_t addr, const char *word, size_t block)
{
    struct word_list *w = ctx;
    char safe[256];
    if (block != w->block)
        putchar('\n');
    w->block = block;
    printf("    %#10llx  %s\n", (unsigned long long)addr, cli_printable(safe, sizeof safe, word));
    return BK_OK;
}

static int show_json(const struct listing *l, const struct bk_binary *b, size_t i, const struct bk_function_stats *s)
{
    int status = EXIT_FINE;
    struct bk_function_info f;
    struct bk_error err = {0};
    bk_binary_function(&f, b, i);
    json_t *o = cli_json_record(), *more = cli_json_function(b, i);
    json_object_update(o, more);
    json_decref(more);
    json_object_set_new(o, "bound", json_string(f.bound));
    const struct {
        const char *key;
        uint64_t value;
    } numbers[] = {
        {"blocks", s->n_blocks},
        {"edges", s->n_edges},
        {"insns", s->n_insns},
        {"callees", s->n_callees},
        {"bytes_decoded", s->bytes_code},
        {"bytes_data", s->bytes_data},
        {"bytes_bad", s->bytes_bad},
    };
    for (size_t k = 0; k < CLI_COUNT(numbers); k++)
        json_object_set_new(o, numbers[k].key, json_integer((json_int_t)numbers[k].value));
    if (l->words) {
        struct word_list w = {.words = json_array()};
        if (bk_binary_words(b, i, word_json, &w, &err))
            status = cli_trouble(&err);
        json_object_set_new(o, "words", w.words);
    }
    cli_json(o, &status);
    return status;
}

static int show_text(const struct listing *l, const struct bk_binary *b, size_t i, const struct bk_function_stats *s)
{
    struct bk_function_info f;
    struct bk_member_info m;
    struct bk_error err = {0};
    char text[512], bad[48] = "";
    bk_binary_function(&f, b, i);
    bk_binary_member(&m, b, f.member);
    if (s->bytes_bad)
        snprintf(bad, sizeof bad, "  (%llu bytes bad)", (unsigned long long)s->bytes_bad);
    printf("%#10llx %8llu %6zu %7zu  %-11s", (unsigned long long)f.addr, (unsigned long long)f.size, s->n_blocks,
           s->n_insns, f.bound);
    if (m.member)
        printf("  %s:", cli_printable(text, sizeof text, m.member));
    for (size_t k = 0; k < f.n_names; k++)
        printf("%s%s", k ? ", " : m.member ? " " : "  ", cli_printable(text, sizeof text, f.names[k]));
    printf("%s%s\n", f.n_names ? "" : "  -", bad);
    if (!l->words)
        return EXIT_FINE;
    struct word_list w = {0};
    int rc = bk_binary_words(b, i, word_text, &w, &err);
    putchar('\n');
    return rc ? cli_trouble(&err) : EXIT_FINE;
}

static int list_target(const struct listing *l, const struct cli_target *t)
{
    int status = EXIT_FINE;
    const struct bk_binary *b = t->binary;
    struct bk_error err = {0};
    char path[512];
    if (!l->json)
        printf("%s\n%10s %8s %6s %7s  %-11s  %s\n", cli_printable(path, sizeof path, bk_binary_path(b)), "ADDRESS",
               "SIZE", "BLOCKS", "INSNS", "BOUND", "NAMES");
    if (!t->n) {
        status = cli_complain("%s: no functions: neither symbols nor unwind ranges tell of any", bk_binary_path(b));
        return status;
    }
    struct bk_function_stats *stats = calloc(t->n, sizeof *stats);
    if (!stats)
        return cli_complain("out of memory");
    for (size_t i = 0; i < (t->whole ? 1 : t->n) && status == EXIT_FINE; i++)
        if (bk_binary_stats(stats + i, b, t->functions[i], t->whole ? t->n : 1, l->threads, &err))
            status = cli_trouble(&err);
    for (size_t i = 0; i < t->n && status == EXIT_FINE; i++)
        status = (l->json ? show_json : show_text)(l, b, t->functions[i], &stats[i]);
    free(stats);
    return status;
}

static int run(const struct cli_command *cmd, int argc, char **argv)
{
    struct listing l = {0};
    const struct cli_option options[] = {
        {"words", 'w', CLI_FLAG, &l.words, NULL, "print each instruction as the word that models read, block by block"},
        CLI_OPT_THREADS(&l.threads),
        CLI_OPT_JSON(&l.json),
    };
    int first, status = EXIT_FINE;
    switch (cli_parse(&first, cmd, argc, argv, options, CLI_COUNT(options), 1, 0)) {
    case CLI_HELPED:
        return EXIT_FINE;
    case CLI_BAD:
        return EXIT_TROUBLE;
    }
    for (int i = first; i < argc; i++) {
        struct cli_target t;
        if (!cli_target_open(&t, argv[i], &status))
            continue;
        if (list_target(&l, &t) != EXIT_FINE)
            status = EXIT_TROUBLE;
        cli_target_close(&t);
    }
    return status;
}

const struct cli_command cli_functions = {
    .name = "functions",
    .run = run,
    .summary = "List functions: address, size, blocks, instructions, names, and how their bounds are known.",
    .operands = "FILE[:FUNCTION]...",
    .about = "FUNCTION is a name or 0xADDRESS; all functions of that name are listed. In an archive\n"
             "FILE:MEMBER:FUNCTION looks in one member.",
    .example = "  binkin functions --words /usr/lib/x86_64-linux-gnu/libz.a:adler32\n"
               "  binkin functions --json libfoo.so | jq -r 'select(.blocks >= 50) | .names[0]'",
};
