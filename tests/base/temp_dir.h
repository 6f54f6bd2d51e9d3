/* A folder of one test's own, and whole files in it. */
#ifndef BK_TEST_TEMP_DIR_H
#define BK_TEST_TEMP_DIR_H

#include "cmocka_all.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct temp_dir {
    char path[256];
};

static inline int temp_dir_setup(void **state)
{
    struct temp_dir *d = malloc(sizeof *d);
    const char *base = getenv("TMPDIR");
    snprintf(d->path, sizeof d->path, "%s/bk_test_XXXXXX", base ? base : "/tmp");
    *state = d;
    return mkdtemp(d->path) ? 0 : -1;
}

static inline int temp_dir_teardown(void **state)
{
    struct temp_dir *d = *state;
    DIR *dir = opendir(d->path);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        char name[1024];
        snprintf(name, sizeof name, "%s/%s", d->path, e->d_name);
        remove(name);
    }
    closedir(dir);
    rmdir(d->path);
    free(d);
    return 0;
}

static inline size_t temp_dir_count(const struct temp_dir *d)
{
    size_t n = 0;
    DIR *dir = opendir(d->path);
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));)
        n += e->d_name[0] != '.';
    closedir(dir);
    return n;
}

/* The path of `name` in the folder; free() it. */
static inline char *temp_path(void **state, const char *name)
{
    char *p;
    assert_true(asprintf(&p, "%s/%s", ((struct temp_dir *)*state)->path, name) > 0);
    return p;
}

static inline void write_file(const char *path, const void *data, size_t size)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

/* free() the result. */
static inline uint8_t *read_file(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    *size = (size_t)ftell(f);
    rewind(f);
    uint8_t *p = malloc(*size + 1);
    assert_int_equal(fread(p, 1, *size, f), *size);
    p[*size] = 0;
    fclose(f);
    return p;
}

#endif
