/* binkin dataset: labelled binaries -> one data-set file. */
#include "cli.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_DEPTH 32

struct labels {
    const char *project, *version, *compiler, *level;
};

/* Inputs found so far; each string of an entry is its own allocation. */
struct inputs {
    struct bk_labelled_file *v;
    size_t n, cap;
    struct labels given; /* by options: win over the layout */
    size_t n_outside;    /* files of walked directories that have no labels */
    int status;
};

/* ---- labels ----------------------------------------------------------------- */

static void inputs_free(struct inputs *in)
{
    for (size_t i = 0; i < in->n; i++) {
        const char *strings[] = {in->v[i].path, in->v[i].project, in->v[i].version, in->v[i].compiler, in->v[i].level};
        for (size_t k = 0; k < CLI_COUNT(strings); k++) {
            union {
                const char *in;
                char *out;
            } own = {strings[k]};
            free(own.out);
        }
    }
    free(in->v);
}

static void add(struct inputs *in, const char *path, const struct labels *l)
{
    if (in->n == in->cap) {
        size_t cap = in->cap ? 2 * in->cap : 64;
        void *v = reallocarray(in->v, cap, sizeof *in->v);
        if (!v) {
            in->status = cli_complain("out of memory");
            return;
        }
        in->v = v;
        in->cap = cap;
    }
    struct bk_labelled_file *f = &in->v[in->n++];
    f->path = strdup(path);
    f->project = strdup(l->project ? l->project : "-");
    f->version = strdup(l->version ? l->version : "-");
    f->compiler = strdup(l->compiler ? l->compiler : "-");
    f->level = strdup(l->level ? l->level : "-");
    if (f->path && f->project && f->version && f->compiler && f->level)
        return;
    in->status = cli_complain("out of memory");
}

/* "openssl-3.0.20": cut at the last '-' before a digit. */
static bool split_project(struct labels *l, char *text)
{
    for (char *p = text + strlen(text); p > text + 1;) {
        p--;
        if (*p != '-' || !isdigit((unsigned char)p[1]))
            continue;
        *p = 0;
        l->project = text;
        l->version = p + 1;
        return true;
    }
    return false;
}

/* "amd64-gcc-12-O0": architecture, compiler with its version, level. */
static bool split_build(struct labels *l, char *text)
{
    char *first = strchr(text, '-'), *last = strrchr(text, '-');
    if (!first || last == first || last[1] != 'O' || !last[2] || last[3])
        return false;
    *last = 0;
    l->compiler = first + 1;
    l->level = last + 1;
    return true;
}

/* Labels from the layout ROOT/PROJECT-VERSION/ARCH-COMPILER-VERSION-LEVEL/.../file; `path` is taken apart. */
static bool labels_of_path(struct labels *l, char *path)
{
    char *slash;
    while ((slash = strrchr(path, '/')) && slash > path) {
        *slash = 0;
        char *build = strrchr(path, '/');
        if (!build)
            return false;
        char *project = build + 1;
        if (!split_build(l, build + 1))
            continue;
        *build = 0;
        project = strrchr(path, '/');
        return split_project(l, project ? project + 1 : path);
    }
    return false;
}

/* Adds a file by its place in the layout and the options; false when it has no project. */
static bool add_labelled(struct inputs *in, const char *path)
{
    struct labels l = {0};
    char *real = realpath(path, NULL);
    if (!real) {
        in->status = cli_complain("%s: %s", path, strerror(errno));
        return true;
    }
    if (!labels_of_path(&l, real))
        l = (struct labels){0};
    l.project = in->given.project ? in->given.project : l.project;
    l.version = in->given.version ? in->given.version : l.version;
    l.compiler = in->given.compiler ? in->given.compiler : l.compiler;
    l.level = in->given.level ? in->given.level : l.level;
    if (l.project)
        add(in, path, &l);
    free(real);
    return l.project != NULL;
}

/* ---- directories -------------------------------------------------------------- */

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int no_dots(const struct dirent *d)
{
    return d->d_name[0] != '.';
}

/* Takes the regular files below `dir`; symbolic links are not followed, so that no file is taken twice. */
static void walk(struct inputs *in, const char *dir, int depth)
{
    struct dirent **names;
    int n = depth < MAX_DEPTH ? scandir(dir, &names, no_dots, by_name) : -1;
    if (n < 0) {
        in->status = cli_complain("%s: %s", dir, depth < MAX_DEPTH ? strerror(errno) : "directories too deep");
        return;
    }
    for (int i = 0; i < n; i++) {
        char *path;
        struct stat st;
        if (asprintf(&path, "%s/%s", dir, names[i]->d_name) < 0)
            in->status = cli_complain("out of memory");
        else {
            if (lstat(path, &st) != 0)
                in->status = cli_complain("%s: %s", path, strerror(errno));
            else if (S_ISDIR(st.st_mode))
                walk(in, path, depth + 1);
            else if (S_ISREG(st.st_mode) && !add_labelled(in, path))
                in->n_outside++;
            free(path);
        }
        free(names[i]);
    }
    free(names);
}

static void add_operand(struct inputs *in, const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0)
        in->status = cli_complain("%s: %s", path, strerror(errno));
    else if (S_ISDIR(st.st_mode))
        walk(in, path, 0);
    else if (!add_labelled(in, path))
        in->status = cli_complain("%s: not in PROJECT-VERSION/ARCH-COMPILER-VERSION-LEVEL/, and no --project", path);
}

/* ---- manifest: path, project, version, compiler, level, tab between --------------- */

/* A relative path of the manifest starts from where the manifest is. */
static char *manifest_path(const char *manifest, const char *path)
{
    char *out;
    const char *slash = strrchr(manifest, '/');
    int n = slash && path[0] != '/' ? asprintf(&out, "%.*s/%s", (int)(slash - manifest), manifest, path)
                                    : asprintf(&out, "%s", path);
    return n < 0 ? NULL : out;
}

static void manifest_line(struct inputs *in, const char *manifest, size_t number, char *line)
{
    char *field[5], *rest = line;
    size_t n = 0;
    line[strcspn(line, "\r\n")] = 0;
    if (!*line || *line == '#')
        return;
    while (n < 5 && rest)
        field[n++] = strsep(&rest, "\t");
    if (n < 5 || rest || !*field[0] || !*field[1]) {
        in->status = cli_complain("%s: line %zu: expected path, project, version, compiler, level with tabs between",
                                  manifest, number);
        return;
    }
    char *path = manifest_path(manifest, field[0]);
    struct labels l = {field[1], field[2], field[3], field[4]};
    if (path)
        add(in, path, &l);
    else
        in->status = cli_complain("out of memory");
    free(path);
}

static void read_manifest(struct inputs *in, const char *manifest)
{
    char *line = NULL;
    size_t cap = 0;
    FILE *f = fopen(manifest, "r");
    if (!f) {
        in->status = cli_complain("%s: %s", manifest, strerror(errno));
        return;
    }
    for (size_t number = 1; getline(&line, &cap, f) >= 0; number++)
        manifest_line(in, manifest, number, line);
    if (ferror(f))
        in->status = cli_complain("%s: %s", manifest, strerror(errno));
    free(line);
    fclose(f);
}

/* ---- the command -------------------------------------------------------------------- */

struct trouble_ctx {
    struct cli_bar *bar;
    int status;
};

static void on_trouble(void *ctx, const struct bk_error *err)
{
    struct trouble_ctx *t = ctx;
    cli_bar_clear(t->bar);
    t->status = cli_trouble(err);
}

void cli_dataset_info(const struct bk_dataset_info *d, const char *path, bool json, int *status)
{
    const struct {
        const char *key, *text;
        uint64_t value;
    } rows[] = {
        {"files", "files", d->n_files},
        {"failed_files", "files that could not be used", d->n_failed_files},
        {"functions", "functions kept", d->n_functions},
        {"labels", "source functions (project and name)", d->n_labels},
        {"merged", "names that are an alias of another", d->n_merged},
        {"shared", "functions whose words another source function has too", d->n_shared},
        {"duplicates", "left out: same words, same source function", d->n_duplicates},
        {"unnamed", "left out: without a name", d->n_unnamed},
        {"short", "left out: too short", d->n_short},
        {"words", "distinct words", d->n_words},
        {"word_total", "words in all", d->n_word_total},
        {"partial", "functions not decoded in full", d->n_partial},
        {"bytes_bad", "bytes in them that could not be decoded", d->bytes_bad},
    };
    char hash[24], safe[512];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)d->hash);
    json_t *o = json ? cli_json_record() : NULL;
    if (json)
        json_object_set_new(o, "file", cli_json_text(path));
    else
        printf("%s\n", cli_printable(safe, sizeof safe, path));
    for (size_t i = 0; i < CLI_COUNT(rows); i++) {
        if (json)
            json_object_set_new(o, rows[i].key, json_integer((json_int_t)rows[i].value));
        else
            printf("  %-54s %12llu\n", rows[i].text, (unsigned long long)rows[i].value);
    }
    if (json) {
        json_object_set_new(o, "hash", json_string(hash));
        cli_json(o, status);
    } else {
        printf("  %-50s %16s\n", "hash", hash);
    }
}

static int build(struct inputs *in, const char *out, struct bk_dataset_options *opt, bool json)
{
    struct cli_bar bar = {0};
    struct trouble_ctx troubles = {&bar, in->status};
    struct bk_dataset_info info;
    struct bk_error err = {0};
    if (in->n_outside)
        cli_note("%zu files outside PROJECT-VERSION/ARCH-COMPILER-VERSION-LEVEL/ were left out", in->n_outside);
    if (!in->n)
        return cli_complain("dataset: no labelled file");
    opt->progress = cli_progress;
    opt->progress_ctx = &bar;
    opt->trouble = on_trouble;
    opt->trouble_ctx = &troubles;
    int rc = bk_dataset_build(&info, out, in->v, in->n, opt, &err);
    cli_bar_clear(&bar);
    if (rc)
        return cli_trouble(&err);
    cli_dataset_info(&info, out, json, &troubles.status);
    return troubles.status;
}

static int run(const struct cli_command *cmd, int argc, char **argv)
{
    struct inputs in = {0};
    struct bk_dataset_options opt = {0};
    const char *out = NULL, *manifest = NULL;
    bool json = false;
    const struct cli_option options[] = {
        {"output", 'o', CLI_TEXT, &out, "FILE", "the data-set file to write (required)"},
        {"manifest", 0, CLI_TEXT, &manifest, "TSV",
         "take the files of this table: path, project, version, compiler, level, with tabs between; a relative path "
         "starts from the table's directory"},
        {"project", 0, CLI_TEXT, &in.given.project, "NAME", "label all FILEs with this project"},
        {"version", 0, CLI_TEXT, &in.given.version, "V", "... with this version of it"},
        {"compiler", 0, CLI_TEXT, &in.given.compiler, "NAME", "... with this compiler, for example gcc-12"},
        {"level", 0, CLI_TEXT, &in.given.level, "LEVEL", "... with this optimisation level, for example O2"},
        {"min-insns", 0, CLI_SIZE, &opt.min_insns, "N", "leave out functions of fewer instructions (default: 1)"},
        {"keep-duplicates", 0, CLI_FLAG, &opt.keep_duplicates, NULL,
         "keep identical word sequences of one source function, which otherwise are kept once"},
        CLI_OPT_THREADS(&opt.threads),
        CLI_OPT_JSON(&json),
    };
    int first;
    switch (cli_parse(&first, cmd, argc, argv, options, CLI_COUNT(options), 0, 0)) {
    case CLI_HELPED:
        return EXIT_FINE;
    case CLI_BAD:
        return EXIT_TROUBLE;
    }
    if (!out)
        return cli_complain("dataset: -o FILE says where to write, and is missing");
    if (manifest)
        read_manifest(&in, manifest);
    for (int i = first; i < argc; i++)
        add_operand(&in, argv[i]);
    int status = build(&in, out, &opt, json);
    inputs_free(&in);
    return status;
}

const struct cli_command cli_dataset = {
    .name = "dataset",
    .run = run,
    .summary = "Make a data-set file for training and judging, from binaries with names.",
    .operands = "-o FILE FILE|DIRECTORY...",
    .about = "Labels come from the place of a file,\n"
             "  ROOT/PROJECT-VERSION/ARCH-COMPILER-VERSION-LEVEL/file\n"
             "  data/openssl-3.0.20/amd64-gcc-12-O0/libcrypto.so.3\n"
             "or from the options, or from a table. Directories are walked.",
    .example = "  binkin dataset -o openssl.data data/openssl-3.0.20\n"
               "  binkin dataset -o zlib.data --project zlib --version 1.3 --compiler clang-14 --level O2 libz.a",
};
