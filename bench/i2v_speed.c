/* The C half of bench/i2v_speed.
 *
 *   i2v_speed words DATA             the functions of a data set, one a line, their words between spaces
 *   i2v_speed train STREAM THREADS SEED
 *                                    trains on such lines; one JSON line of figures, then one line a word: it and its vector */
#include "learn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int print_words(const char *path, struct bk_error *err)
{
    struct bk_dataset *d;
    int rc = bk_dataset_open(&d, path, err);
    if (rc)
        return rc;
    for (size_t i = 0; i < d->n; i++)
        for (size_t w = 0; w < d->v[i].n_words; w++)
            printf("%s%c", bk_strtab_str(d->words, d->v[i].words[w]), w + 1 < d->v[i].n_words ? ' ' : '\n');
    bk_dataset_close(d);
    return BK_OK;
}

/* A data set in memory: files[0] is amd64, files[1] armhf, by the first letter of a line. */
static int read_stream(struct bk_dataset *d, const char *path, struct bk_error *err)
{
    static const struct bk_data_file files[2] = {{.arch = BK_ARCH_AMD64}, {.arch = BK_ARCH_ARM}};
    struct bk_strtab *words = bk_strtab_new();
    struct bk_data_func *funcs = NULL;
    uint32_t *ids = NULL;
    size_t n = 0, n_ids = 0, cap_funcs = 0, cap_ids = 0, size = 0;
    char *line = NULL;
    FILE *f = fopen(path, "r");
    bool good = f && words;
    for (ssize_t length; good && (length = getline(&line, &size, f)) > 0; n++) {
        size_t first = n_ids;
        good = bk_grow((void **)&funcs, &cap_funcs, n + 1, sizeof *funcs);
        for (char *rest, *w = strtok_r(line, " \n", &rest); w && good; w = strtok_r(NULL, " \n", &rest)) {
            good = bk_grow((void **)&ids, &cap_ids, n_ids + 1, sizeof *ids);
            if (good)
                good = (ids[n_ids++] = bk_strtab_intern(words, w, strlen(w))) != BK_STR_NONE;
        }
        if (good)
            funcs[n] = (struct bk_data_func){.file = line[0] == 'A', .n_words = (uint32_t)(n_ids - first)};
    }
    if (f)
        fclose(f);
    free(line);
    if (!good) {
        free(funcs);
        free(ids);
        bk_strtab_free(words);
        return bk_fail(err, BK_EIO, BK_NO_OFFSET, "%s: cannot be read", path);
    }
    for (size_t i = 0, at = 0; i < n; at += funcs[i++].n_words)
        funcs[i].words = ids + at;
    *d = (struct bk_dataset){.n = n, .n_files = 2, .v = funcs, .files = files, .words = words};
    return BK_OK;
}

struct clock {
    double first, last; /* when the progress of training was told */
};

static void note_time(void *ctx, const char *what, size_t done, size_t total)
{
    struct clock *c = ctx;
    (void)what;
    (void)total;
    c->last = bk_now();
    if (done == 0)
        c->first = c->last;
}

static int train(const char *stream, unsigned threads, uint64_t seed, struct bk_error *err)
{
    struct bk_dataset d;
    int rc = read_stream(&d, stream, err);
    if (rc)
        return rc;
    char out[] = "/tmp/i2v_speed.XXXXXX";
    int fd = mkstemp(out);
    struct clock clock = {0};
    struct bk_i2v_options opt = {.threads = threads, .seed = seed, .progress = note_time, .progress_ctx = &clock};
    struct bk_i2v_report report;
    struct bk_vectors v = {0};
    rc = fd < 0 ? bk_fail(err, BK_EIO, BK_NO_OFFSET, "%s: cannot be made", out)
                : bk_i2v_train(&report, out, &d, &opt, err);
    if (!rc)
        rc = bk_vectors_open(&v, out, err);
    if (!rc) {
        printf("{\"words\":%llu,\"train_seconds\":%.3f,\"seconds\":%.3f}\n", (unsigned long long)report.words_read,
               clock.last - clock.first, report.seconds);
        for (uint32_t i = 0; i < bk_strtab_count(v.words); i++) {
            if (v.counts[i] == 0)
                continue;
            printf("%s", bk_strtab_str(v.words, i));
            for (uint32_t k = 0; k < v.dim; k++)
                printf(" %.9g", (double)v.v[(size_t)i * v.dim + k]);
            printf("\n");
        }
    }
    if (fd >= 0) {
        close(fd);
        unlink(out);
    }
    bk_vectors_done(&v);
    return rc;
}

int main(int argc, char **argv)
{
    struct bk_error err = {0};
    int rc;
    if (argc == 3 && strcmp(argv[1], "words") == 0)
        rc = print_words(argv[2], &err);
    else if (argc == 5 && strcmp(argv[1], "train") == 0)
        rc = train(argv[2], (unsigned)atoi(argv[3]), strtoull(argv[4], NULL, 10), &err);
    else {
        fprintf(stderr, "usage: i2v_speed words DATA | i2v_speed train STREAM THREADS SEED\n");
        return 2;
    }
    if (rc)
        fprintf(stderr, "%s\n", err.message);
    return rc ? 2 : 0;
}
