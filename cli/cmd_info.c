/* binkin info: what a file holds, and how much of its code could be decoded. Models and data sets tell of themselves. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

struct totals {
    uint64_t size, code, data, bad;
};

static struct totals sum(const struct bk_function_stats *stats, size_t first, size_t n)
{
    struct totals t = {0};
    for (size_t i = first; i < first + n; i++) {
        t.code += stats[i].bytes_code;
        t.data += stats[i].bytes_data;
        t.bad += stats[i].bytes_bad;
    }
    t.size = t.code + t.data + t.bad;
    return t;
}

static void print_json(const struct bk_binary *b, const struct bk_member_info *m, const struct totals *t, int *status)
{
    json_t *o = cli_json_record();
    json_object_set_new(o, "file", cli_json_text(bk_binary_path(b)));
    if (m->member)
        json_object_set_new(o, "member", cli_json_text(m->member));
    json_object_set_new(o, "arch", cli_json_text(m->arch));
    json_object_set_new(o, "endian", json_string(m->big_endian ? "big" : "little"));
    json_object_set_new(o, "kind", json_string(m->kind));
    json_object_set_new(o, "stripped", json_boolean(m->stripped));
    const struct {
        const char *key;
        uint64_t value;
    } numbers[] = {
        {"sections", m->n_sections},   {"symbols", m->n_symbols},   {"unwinds", m->n_unwinds},
        {"functions", m->n_functions}, {"bounds_cut", m->n_cut},    {"bounds_dropped", m->n_dropped},
        {"code_bytes", m->code_bytes}, {"function_bytes", t->size}, {"bytes_decoded", t->code},
        {"bytes_data", t->data},       {"bytes_bad", t->bad},
    };
    for (size_t i = 0; i < CLI_COUNT(numbers); i++)
        json_object_set_new(o, numbers[i].key, json_integer((json_int_t)numbers[i].value));
    cli_json(o, status);
}

static void print_text(const struct bk_member_info *m, const struct totals *t)
{
    char name[256];
    if (m->member)
        printf("  %s\n", cli_printable(name, sizeof name, m->member));
    const char *in = m->member ? "    " : "  ";
    printf("%s%s %s, %s-endian%s\n", in, m->arch, m->kind, m->big_endian ? "big" : "little",
           m->stripped ? ", stripped" : "");
    printf("%s%zu sections, %zu symbols, %zu unwind ranges, %zu functions\n", in, m->n_sections, m->n_symbols,
           m->n_unwinds, m->n_functions);
    if (m->n_cut || m->n_dropped)
        printf("%s%zu bounds cut to their section, %zu symbols or ranges that give no function\n", in, m->n_cut,
               m->n_dropped);
    printf("%s%llu bytes of code, %llu in functions: %llu decoded, %llu data, %llu bad\n", in,
           (unsigned long long)m->code_bytes, (unsigned long long)t->size, (unsigned long long)t->code,
           (unsigned long long)t->data, (unsigned long long)t->bad);
}

static int show_binary(const char *path, unsigned threads, bool json)
{
    int status = EXIT_FINE;
    struct cli_target t;
    struct bk_error err = {0};
    if (!cli_target_open(&t, path, &status))
        return status;
    const struct bk_binary *b = t.binary;
    size_t n = bk_binary_n_functions(b), n_members = bk_binary_n_members(b);
    struct bk_function_stats *stats = calloc(n ? n : 1, sizeof *stats);
    if (!stats)
        status = cli_complain("out of memory");
    else if (bk_binary_stats(stats, b, 0, n, threads, &err))
        status = cli_trouble(&err);
    else {
        char name[512];
        if (!json)
            printf("%s\n", cli_printable(name, sizeof name, bk_binary_path(b)));
        struct bk_member_info m;
        bk_binary_member(&m, b, 0);
        if (!json && m.member) {
            struct totals all = sum(stats, 0, n);
            printf("  archive of %zu objects, %zu functions: %llu bytes decoded, %llu data, %llu bad\n", n_members, n,
                   (unsigned long long)all.code, (unsigned long long)all.data, (unsigned long long)all.bad);
        }
        for (size_t i = 0; i < n_members; i++) {
            bk_binary_member(&m, b, i);
            struct totals of = sum(stats, m.first_function, m.n_functions);
            if (json)
                print_json(b, &m, &of, &status);
            else
                print_text(&m, &of);
        }
    }
    free(stats);
    cli_target_close(&t);
    return status;
}

/* ---- files of our own ------------------------------------------------------ */

/* What a model has no branch for is not told. */
static void print_model_json(const char *path, const struct bk_model_info *i, const char *hash, int *status)
{
    json_t *o = cli_json_record();
    json_object_set_new(o, "file", cli_json_text(path));
    json_object_set_new(o, "model", cli_json_text(i->kind));
    json_object_set_new(o, "branches", cli_json_text(i->branches));
    if (*i->aff)
        json_object_set_new(o, "aff", cli_json_text(i->aff));
    json_object_set_new(o, "tokens", cli_json_text(i->tokens));
    json_object_set_new(o, "archs", cli_json_text(i->archs));
    json_object_set_new(o, "dim", json_integer((json_int_t)i->dim));
    if (i->n_words)
        json_object_set_new(o, "words", json_integer((json_int_t)i->n_words));
    if (i->n_forms)
        json_object_set_new(o, "forms", json_integer((json_int_t)i->n_forms));
    if (strstr(i->branches, "sketch"))
        json_object_set_new(o, "items", json_integer((json_int_t)i->n_items));
    json_object_set_new(o, "params", json_integer((json_int_t)i->n_params));
    json_object_set_new(o, "max_insns", json_integer(i->max_insns));
    json_object_set_new(o, "calibrated", json_boolean(i->calibrated));
    json_object_set_new(o, "hash", json_string(hash));
    json_object_set_new(o, "provenance", json_loads(i->provenance, 0, NULL));
    cli_json(o, status);
}

static void print_model_text(const char *path, const struct bk_model_info *i, const char *hash)
{
    char safe[512];
    printf("%s\n  model %s", cli_printable(safe, sizeof safe, path), i->kind);
    if (strcmp(i->branches, "sequence") != 0)
        printf(" of %s", i->branches);
    if (*i->aff)
        printf(", fusion %s", i->aff);
    printf(", for %s\n  %zu numbers a function, %zu trainable", i->archs, i->dim, i->n_params);
    if (i->n_words)
        printf(", %zu words by the rules %s", i->n_words, i->tokens);
    if (i->n_forms)
        printf(", %zu forms", i->n_forms);
    if (strstr(i->branches, "sketch"))
        printf(", %zu items of known rarity", i->n_items);
    if (i->max_insns)
        printf(", the first %u instructions", i->max_insns);
    printf("\n  %s", i->calibrated ? "calibrated: it says what a score is worth"
                                   : "not calibrated: its scores are cosines alone");
    json_t *made = json_loads(i->provenance, 0, NULL);
    json_object_del(made, "history"); /* a line an epoch: left to --json */
    char *text = made ? json_dumps(made, JSON_INDENT(2) | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(9)) : NULL;
    printf("\n  hash %s\n  made by %s\n", hash, text ? text : "?");
    free(text);
    json_decref(made);
}

static int show_model(const char *path, bool json)
{
    int status = EXIT_FINE;
    struct bk_model *m;
    struct bk_model_info i;
    struct bk_error err = {0};
    char hash[24];
    if (bk_model_load(&m, path, &err))
        return cli_trouble(&err);
    bk_model_describe(&i, m);
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)i.hash);
    if (json)
        print_model_json(path, &i, hash, &status);
    else
        print_model_text(path, &i, hash);
    bk_model_free(m);
    return status;
}

static int show_dataset(const char *path, bool json)
{
    int status = EXIT_FINE;
    struct bk_dataset *d;
    struct bk_dataset_info i;
    struct bk_error err = {0};
    if (bk_dataset_open(&d, path, &err))
        return cli_trouble(&err);
    bk_dataset_describe(&i, d);
    cli_dataset_info(&i, d, path, json, &status);
    bk_dataset_close(d);
    return status;
}

static int show_file(const char *path, unsigned threads, bool json)
{
    char head[12] = "";
    FILE *f = fopen(path, "rb");
    size_t n = f ? fread(head, 1, sizeof head, f) : 0;
    if (f)
        fclose(f);
    if (n == sizeof head && memcmp(head, "BINKIN\r\nmodl", n) == 0)
        return show_model(path, json);
    if (n == sizeof head && memcmp(head, "BINKIN\r\ndata", n) == 0)
        return show_dataset(path, json);
    return show_binary(path, threads, json);
}

static int run(const struct cli_command *cmd, int argc, char **argv)
{
    bool json = false;
    unsigned threads = 0;
    const struct cli_option options[] = {CLI_OPT_THREADS(&threads), CLI_OPT_JSON(&json)};
    int first, status = EXIT_FINE;
    switch (cli_parse(&first, cmd, argc, argv, options, CLI_COUNT(options), 1, 0)) {
    case CLI_HELPED:
        return EXIT_FINE;
    case CLI_BAD:
        return EXIT_TROUBLE;
    }
    for (int i = first; i < argc; i++)
        if (show_file(argv[i], threads, json) != EXIT_FINE)
            status = EXIT_TROUBLE;
    return status;
}

const struct cli_command cli_info = {
    .name = "info",
    .run = run,
    .summary = "Say what binaries hold: architecture, kind, functions, how much could be decoded.",
    .operands = "FILE...",
    .about = "FILE is an ELF executable, shared object or object file, or an archive of objects (.a).\n"
             "Bytes in functions are decoded instructions, data between them (literal pools, jump\n"
             "tables, padding) or bad: bytes that no instruction could be made of. Of a model or data\n"
             "set it says what it was made from, of a model also what it looks at.",
    .example = "  binkin info /usr/lib/x86_64-linux-gnu/libz.a",
};
