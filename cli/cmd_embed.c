/* binkin embed: vectors of functions. */
#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct embedding {
    struct bk_embed_options opt;
    const struct bk_model *model;
    size_t dim;
    bool json;
    FILE *npy;     /* rows go there instead of to stdout, or NULL */
    size_t n_rows; /* written to it */
};

/* ---- NumPy's file: a header of fixed size, then rows of float32 ------------ */

#define NPY_HEADER 128

static bool npy_header(FILE *f, size_t rows, size_t dim)
{
    unsigned char head[NPY_HEADER] = "\x93NUMPY\x01";
    char text[NPY_HEADER - 10];
    int n = snprintf(text, sizeof text, "{'descr': '<f4', 'fortran_order': False, 'shape': (%zu, %zu), }", rows, dim);
    memset(head + 10, ' ', sizeof text);
    memcpy(head + 10, text, (size_t)n);
    head[8] = NPY_HEADER - 10;
    head[NPY_HEADER - 1] = '\n';
    return fwrite(head, sizeof head, 1, f) == 1;
}

static bool npy_floats(FILE *f, const float *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, &v[i], sizeof u);
        const unsigned char bytes[4] = {(unsigned char)u, (unsigned char)(u >> 8), (unsigned char)(u >> 16),
                                        (unsigned char)(u >> 24)};
        if (fwrite(bytes, sizeof bytes, 1, f) != 1)
            return false;
    }
    return true;
}

/* ---- one function ----------------------------------------------------------- */

static void show_json(const struct embedding *e, const struct bk_binary *b, size_t i, const float *v, float unknown,
                      int *status)
{
    json_t *o = cli_json_record(), *more = cli_json_function(b, i);
    json_object_update(o, more);
    json_decref(more);
    json_object_set_new(o, "unknown_words", json_real((double)unknown));
    if (e->npy) {
        json_object_set_new(o, "row", json_integer((json_int_t)e->n_rows));
    } else {
        json_t *vector = json_array();
        for (size_t k = 0; k < e->dim; k++)
            json_array_append_new(vector, json_real((double)v[k]));
        json_object_set_new(o, "vector", vector);
    }
    cli_json(o, status);
}

static void show_text(const struct embedding *e, const struct bk_binary *b, size_t i, const float *v)
{
    char name[512];
    struct bk_function_info f;
    bk_binary_function(&f, b, i);
    printf("%#llx\t%s", (unsigned long long)f.addr, cli_function_label(name, sizeof name, b, i));
    for (size_t k = 0; k < e->dim && !e->npy; k++)
        printf("%c%.6g", k ? ' ' : '\t', (double)v[k]);
    if (e->npy)
        printf("\t%zu", e->n_rows);
    putchar('\n');
}

/* Functions embedded at once: their vectors are most of what there is in memory. Equal functions of one part are embedded
 * once, and those of like length together; parts this large lose little of either. */
#define PART ((size_t)1 << 18)

struct part {
    struct cli_bar bar;
    size_t before, total;
};

static void part_progress(void *ctx, const char *what, size_t done, size_t total)
{
    struct part *p = ctx;
    (void)total;
    cli_progress(&p->bar, what, p->before + done, p->total);
}

static void show_part(struct embedding *e, const struct cli_target *t, size_t first, size_t n, const float *v,
                      const float *unknown, int *status)
{
    for (size_t i = 0; i < n && *status == EXIT_FINE; i++) {
        const float *row = v + i * e->dim;
        if (e->json)
            show_json(e, t->binary, t->functions[first + i], row, unknown[i], status);
        else
            show_text(e, t->binary, t->functions[first + i], row);
        if (e->npy && !npy_floats(e->npy, row, e->dim))
            return; /* seen by ferror */
        e->n_rows++;
    }
}

static int embed_target(struct embedding *e, const struct cli_target *t)
{
    int status = EXIT_FINE;
    struct bk_error err = {0};
    if (!t->n)
        return cli_complain("%s: no functions: neither symbols nor unwind ranges tell of any",
                            bk_binary_path(t->binary));
    size_t room = t->n < PART ? t->n : PART;
    float *v = calloc(room, e->dim * sizeof *v), *unknown = calloc(room, sizeof *unknown);
    struct part part = {.bar.label = bk_binary_path(t->binary), .total = t->n};
    e->opt.progress = part_progress;
    e->opt.progress_ctx = &part;
    if (!v || !unknown)
        status = cli_complain("%s: no memory for %zu bytes", bk_binary_path(t->binary), room * e->dim * sizeof *v);
    for (; part.before < t->n && status == EXIT_FINE; part.before += room) {
        size_t n = t->n - part.before < room ? t->n - part.before : room;
        int rc = bk_embed(v, unknown, e->model, t->binary, t->functions + part.before, n, &e->opt, &err);
        cli_bar_clear(&part.bar);
        if (rc)
            status = cli_trouble(&err);
        show_part(e, t, part.before, n, v, unknown, &status);
    }
    free(v);
    free(unknown);
    return status;
}

/* Writes the header anew, now that the rows are counted. */
static int npy_close(struct embedding *e, const char *path)
{
    bool failed = ferror(e->npy) || fseek(e->npy, 0, SEEK_SET) != 0 || !npy_header(e->npy, e->n_rows, e->dim);
    if (fclose(e->npy) == 0 && !failed)
        return EXIT_FINE;
    int why = errno;
    remove(path);
    return cli_complain("%s: could not be written: %s", path, strerror(why));
}

static int embed_all(struct embedding *e, const char *out, int n, char **files)
{
    int status = EXIT_FINE;
    if (out) {
        e->npy = fopen(out, "wb");
        if (!e->npy)
            return cli_complain("%s: %s", out, strerror(errno));
        npy_header(e->npy, 0, e->dim);
    }
    for (int i = 0; i < n; i++) {
        struct cli_target t;
        if (!cli_target_open(&t, files[i], &status))
            continue;
        if (embed_target(e, &t) != EXIT_FINE)
            status = EXIT_TROUBLE;
        cli_target_close(&t);
    }
    if (e->npy && npy_close(e, out) != EXIT_FINE)
        status = EXIT_TROUBLE;
    return status;
}

static int run(const struct cli_command *cmd, int argc, char **argv)
{
    struct embedding e = {0};
    const char *model_path = NULL, *out = NULL;
    const struct cli_option options[] = {
        CLI_OPT_MODEL(&model_path),
        {"output", 'o', CLI_TEXT, &out, "FILE.npy",
         "write the vectors there, as a NumPy array of float32, and print the number of its row for each function"},
        CLI_OPT_INT8(&e.opt.int8),
        CLI_OPT_ANY_ARCH(&e.opt.any_arch),
        CLI_OPT_THREADS(&e.opt.threads),
        CLI_OPT_JSON(&e.json),
    };
    int first;
    struct bk_model *model;
    struct bk_model_info info;
    struct bk_error err = {0};
    switch (cli_parse(&first, cmd, argc, argv, options, CLI_COUNT(options), 1, 0)) {
    case CLI_HELPED:
        return EXIT_FINE;
    case CLI_BAD:
        return EXIT_TROUBLE;
    }
    if (bk_model_load(&model, model_path, &err))
        return cli_trouble(&err);
    bk_model_describe(&info, model);
    e.model = model;
    e.dim = info.dim;
    int status = embed_all(&e, out, argc - first, argv + first);
    bk_model_free(model);
    return status;
}

const struct cli_command cli_embed = {
    .name = "embed",
    .run = run,
    .summary = "Print the vector of each function; the inner product of two vectors is their score.",
    .operands = "FILE[:FUNCTION]...",
    .about = "A line of text holds address, name and numbers, separated by tabs.",
    .example = "  binkin embed --json libfoo.so | jq -c '[.names[0], .vector[0:3]]'\n"
               "  binkin embed -o vectors.npy libfoo.so > rows.txt",
};
