/* What tests of training share. */
#ifndef BK_TEST_TRAINING_H
#define BK_TEST_TRAINING_H

#include "../base/temp_dir.h"
#include "learn.h"
#include "planted.h"

#define MAX_EPOCHS 16

struct seen {
    struct bk_train_epoch epoch[MAX_EPOCHS];
    size_t n, n_progress;
};

static inline void on_epoch(void *ctx, const struct bk_train_epoch *e)
{
    struct seen *s = ctx;
    s->epoch[s->n++] = *e;
}

static inline void on_progress(void *ctx, const char *what, size_t done, size_t total)
{
    struct seen *s = ctx;
    assert_true(done <= total);
    assert_non_null(strstr(what, "loss"));
    s->n_progress++;
}

/* Word vectors of the whole set at "v". */
static inline char *make_vectors(void **state, const struct bk_dataset *d)
{
    char *path = temp_path(state, "v");
    struct bk_error err;
    struct bk_i2v_options opt = {.dim = 16, .window = 3, .min_count = 1, .epochs = 4, .subsample = -1, .seed = 1};
    assert_int_equal(bk_i2v_train(NULL, path, d, &opt, &err), BK_OK);
    return path;
}

static inline struct bk_train_options small_options(struct seen *s)
{
    return (struct bk_train_options){.kind = "mffa",
                                     .aff = "q", /* the small branch: these tests are about the loop */
                                     .epochs = 2,
                                     .batch = 32,
                                     .seed = 3,
                                     .threads = 2,
                                     .split = {BK_SPLIT_SOURCE, 3, 1, 1, 2},
                                     .on_epoch = on_epoch,
                                     .progress = on_progress,
                                     .ctx = s};
}

static inline int train(const struct bk_dataset *d, const char *vectors, const char *out, struct bk_train_options opt,
                        struct bk_error *err)
{
    *err = (struct bk_error){0};
    return bk_train(out, d, vectors, &opt, err);
}

static inline void assert_same_file(const char *a, const char *b)
{
    size_t n, m;
    uint8_t *x = read_file(a, &n), *y = read_file(b, &m);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n);
    free(x);
    free(y);
}

#endif
