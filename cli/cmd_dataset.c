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
    const char *project, *version, *compiler, *level, *arch, *sha256;
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
        const char *strings[] = {in->v[i].path,  in->v[i].project, in->v[i].version, in->v[i].compiler,
                                 in->v[i].level, in->v[i].arch,    in->v[i].sha256};
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

static const char *copy(struct inputs *in, const char *s)
{
    const char *out = strdup(s);
    if (!out)
        in->status = cli_complain("out of memory");
    return out;
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
    *f = (struct bk_labelled_file){.path = copy(in, path),
                                   .project = copy(in, l->project ? l->project : "-"),
                                   .version = copy(in, l->version ? l->version : "-"),
                                   .compiler = copy(in, l->compiler ? l->compiler : "-"),
                                   .level = copy(in, l->level ? l->level : "-"),
                                   .arch = l->arch ? copy(in, l->arch) : NULL,
                                   .sha256 = l->sha256 ? copy(in, l->sha256) : NULL};
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
    *first = *last = 0;
    l->arch = text;
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
    if (!real) { /* who reads it says why, and counts it */
        add(in, path, &l);
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
                add(in, path, &(struct labels){0});
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
        add(in, path, &(struct labels){0});
    else if (S_ISDIR(st.st_mode))
        walk(in, path, 0);
    else if (!add_labelled(in, path))
        in->status = cli_complain("%s: not in PROJECT-VERSION/ARCH-COMPILER-VERSION-LEVEL/, and no --project", path);
}

/* ---- manifest: a file a line, with tabs between the columns ------------------------- */

enum column { PATH, PROJECT, VERSION, COMPILER, LEVEL, ARCH, SHA256, N_COLUMNS };
static const char *const column_names[N_COLUMNS] = {"path",  "project", "version", "compiler",
                                                    "level", "arch",    "sha256"};

struct table {
    const char *path;
    size_t line;
    size_t n;             /* columns, those of other names among them */
    size_t at[N_COLUMNS]; /* where each stands, SIZE_MAX: nowhere */
};
#define MAX_COLUMNS 64

static size_t split_line(char *field[MAX_COLUMNS + 1], char *line)
{
    size_t n = 0;
    for (char *rest = line; rest && n <= MAX_COLUMNS;)
        field[n++] = strsep(&rest, "\t");
    return n;
}

/* A comment that names the columns "path" and "project" says which columns there are. */
static void table_header(struct table *t, char *line)
{
    char *field[MAX_COLUMNS + 1];
    size_t n = split_line(field, line + strspn(line, "# ")), at[N_COLUMNS];
    for (size_t c = 0; c < N_COLUMNS; c++) {
        at[c] = SIZE_MAX;
        for (size_t i = 0; i < n; i++)
            if (!strcmp(field[i], column_names[c]))
                at[c] = i;
    }
    if (at[PATH] == SIZE_MAX || at[PROJECT] == SIZE_MAX)
        return;
    t->n = n;
    memcpy(t->at, at, sizeof at);
}

/* A relative path of the manifest starts from where the manifest is. */
static char *manifest_path(const char *manifest, const char *path)
{
    char *out;
    const char *slash = strrchr(manifest, '/');
    int n = slash && path[0] != '/' ? asprintf(&out, "%.*s/%s", (int)(slash - manifest), manifest, path)
                                    : asprintf(&out, "%s", path);
    return n < 0 ? NULL : out;
}

static void table_row(struct inputs *in, const struct table *t, char *line)
{
    char *field[MAX_COLUMNS + 1];
    const char *value[N_COLUMNS];
    size_t n = split_line(field, line);
    for (size_t c = 0; c < N_COLUMNS; c++)
        value[c] = n == t->n && t->at[c] < n && *field[t->at[c]] ? field[t->at[c]] : NULL;
    if (n != t->n || !value[PATH] || !value[PROJECT]) {
        in->status = cli_complain(
            "%s: line %zu: expected %zu columns with tabs between (%s), path and project not empty", t->path, t->line,
            t->n, t->n == 5 ? "path, project, version, compiler, level" : "as the first line says");
        return;
    }
    char *path = manifest_path(t->path, value[PATH]);
    struct labels l = {value[PROJECT], value[VERSION], value[COMPILER], value[LEVEL], value[ARCH], value[SHA256]};
    if (path)
        add(in, path, &l);
    else
        in->status = cli_complain("out of memory");
    free(path);
}

static void read_manifest(struct inputs *in, const char *manifest)
{
    struct table t = {.path = manifest, .n = 5, .at = {0, 1, 2, 3, 4, SIZE_MAX, SIZE_MAX}};
    char *line = NULL;
    size_t cap = 0;
    FILE *f = fopen(manifest, "r");
    if (!f) {
        in->status = cli_complain("%s: %s", manifest, strerror(errno));
        return;
    }
    while (getline(&line, &cap, f) >= 0) {
        t.line++;
        line[strcspn(line, "\r\n")] = 0;
        if (*line == '#')
            table_header(&t, line);
        else if (*line)
            table_row(in, &t, line);
    }
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

static const struct {
    const char *key, *text;
    enum bk_dataset_label by;
} shares[] = {{"by_arch", "architecture", BK_DATASET_ARCH},
              {"by_compiler", "compiler", BK_DATASET_COMPILER},
              {"by_level", "level", BK_DATASET_LEVEL},
              {"by_project", "project", BK_DATASET_PROJECT}};

/* What the set is made of by each label: into `o`, or as text when it is NULL. */
static void dataset_shares(json_t *o, const struct bk_dataset *d, int *status)
{
    for (size_t i = 0; i < CLI_COUNT(shares); i++) {
        struct bk_dataset_share *v;
        size_t n;
        struct bk_error err = {0};
        char safe[256];
        if (bk_dataset_shares(&v, &n, d, shares[i].by, &err)) {
            *status = cli_trouble(&err);
            return;
        }
        json_t *rows = o ? json_array() : NULL;
        if (!o)
            printf("  %-24s %12s %20s\n", shares[i].text, "functions", "source functions");
        for (size_t k = 0; k < n; k++) {
            if (o)
                json_array_append_new(rows,
                                      json_pack("{s:o, s:I, s:I}", "value", cli_json_text(v[k].value), "functions",
                                                (json_int_t)v[k].n_functions, "labels", (json_int_t)v[k].n_labels));
            else
                printf("    %-22s %12zu %20zu\n", cli_printable(safe, sizeof safe, v[k].value), v[k].n_functions,
                       v[k].n_labels);
        }
        if (o)
            json_object_set_new(o, shares[i].key, rows);
        free(v);
    }
}

void cli_dataset_info(const struct bk_dataset_info *d, const struct bk_dataset *set, const char *path, bool json,
                      int *status)
{
    const struct {
        const char *key, *text;
        uint64_t value;
        bool known; /* false: to no file of so old a format */
    } rows[] = {
        {"files", "files", d->n_files, true},
        {"failed_files", "files that could not be used, or are not what their labels say", d->n_failed_files, true},
        {"functions", "functions kept", d->n_functions, true},
        {"labels", "source functions (project and name)", d->n_labels, true},
        {"merged", "names that are an alias of another", d->n_merged, true},
        {"shared", "functions whose words another source function has too", d->n_shared, true},
        {"duplicates", "left out: same words, same source function", d->n_duplicates, true},
        {"unnamed", "left out: without a name", d->n_unnamed, true},
        {"short", "left out: too short", d->n_short, true},
        {"words", "distinct words", d->n_words, true},
        {"word_total", "words in all", d->n_word_total, true},
        {"partial", "functions not decoded in full", d->n_partial, true},
        {"bytes_bad", "bytes in them that could not be decoded", d->bytes_bad, true},
        {"sources", "source files", d->n_sources, true},
        {"with_source", "source functions whose source file is known", d->n_with_source, true},
        {"immediates", "distinct immediates", d->n_immediates, d->has_immediates},
        {"with_immediates", "functions with immediates", d->n_with_immediates, d->has_immediates},
        {"forms", "distinct forms of instructions", d->n_forms, d->has_graph},
        {"edges", "edges between basic blocks", d->n_edges, d->has_graph},
        {"items", "distinct items", d->n_items, d->has_items},
        {"with_items", "functions with items", d->n_with_items, d->has_items},
    };
    char hash[24], safe[512];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)d->hash);
    json_t *o = json ? cli_json_record() : NULL;
    if (json)
        json_object_set_new(o, "file", cli_json_text(path));
    else
        printf("%s\n", cli_printable(safe, sizeof safe, path));
    for (size_t i = 0; i < CLI_COUNT(rows); i++) {
        if (!rows[i].known)
            continue;
        if (json)
            json_object_set_new(o, rows[i].key, json_integer((json_int_t)rows[i].value));
        else
            printf("  %-62s %12llu\n", rows[i].text, (unsigned long long)rows[i].value);
    }
    if (set)
        dataset_shares(o, set, status);
    if (json) {
        json_object_set_new(o, "hash", json_string(hash));
        cli_json(o, status);
    } else {
        printf("  %-58s %16s\n", "hash", hash);
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
    cli_dataset_info(&info, NULL, out, json, &troubles.status);
    if (info.n_failed_files)
        cli_note("%zu of %zu files are not in %s", info.n_failed_files, info.n_files, out);
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
         "take the files of this table: path, project, version, compiler, level, with tabs between, or the columns "
         "that "
         "its line #path... names, of which arch and sha256 are checked; a relative path starts from its directory"},
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
    int status = in.status; /* a table that cannot be read in full would make a smaller set of it */
    for (int i = first; i < argc; i++)
        add_operand(&in, argv[i]);
    if (status == EXIT_FINE)
        status = build(&in, out, &opt, json);
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
             "or from the options, or from a table. Directories are walked. A file whose code is for another\n"
             "architecture than its label says, or whose SHA-256 is another, is refused and counted.",
    .example = "  binkin dataset -o openssl.data data/openssl-3.0.20\n"
               "  binkin dataset -o zlib.data --project zlib --version 1.3 --compiler clang-14 --level O2 libz.a",
};
