/* vectors: the word-vector file. The layout is in doc/format.md. */
#include "learn.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

bool bk_split_equal(const struct bk_split *a, const struct bk_split *b)
{
    return a->by == b->by && a->train == b->train && a->validation == b->validation && a->test == b->test &&
           a->seed == b->seed;
}

void bk_vectors_done(struct bk_vectors *v)
{
    if (!v)
        return;
    bk_strtab_free(v->words);
    free(v->v);
    free(v->counts);
    free(v->options);
    *v = (struct bk_vectors){0};
}

static int read_config(struct bk_vectors *v, const struct bk_pack *p, struct bk_error *err)
{
    struct bk_cursor c;
    int rc = bk_pack_entry(&c, p, "config", err);
    if (rc)
        return rc;
    const char *tokens = bk_read_str(&c);
    uint32_t version = bk_read_u32(&c);
    bool has_tokens = !c.failed;
    const char *archs = bk_read_str(&c);
    v->dim = bk_read_u32(&c);
    uint32_t split = bk_read_u32(&c), by = bk_read_u32(&c);
    v->all_functions = split == 0;
    v->split.train = bk_read_u32(&c);
    v->split.validation = bk_read_u32(&c);
    v->split.test = bk_read_u32(&c);
    v->split.seed = bk_read_u64(&c);
    v->dataset_hash = bk_read_u64(&c);
    if (has_tokens && (rc = bk_tokens_check("word vectors", tokens, version, err)))
        return rc;
    if (c.failed || split > 1 || by > BK_SPLIT_FILE)
        return bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, "config: cut off or out of range");
    v->split.by = (enum bk_split_by)by;
    if (!bk_arch_list_parse(&v->archs, archs))
        return bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, "config: architectures \"%.64s\" are not known", archs);
    return BK_OK;
}

static int read_table(struct bk_vectors *v, const struct bk_pack *p, struct bk_error *err)
{
    struct bk_cursor c, counts;
    int rc = bk_pack_entry(&c, p, "vocabulary", err);
    if (rc || (rc = bk_vocabulary_read(&v->words, c, err)))
        return rc;
    size_t n = bk_strtab_count(v->words);
    if ((rc = bk_pack_entry(&counts, p, "counts", err)) || (rc = bk_pack_entry(&c, p, "word_vectors", err)) ||
        (rc = bk_floats_check(c, "word_vectors", n, v->dim, err)))
        return rc;
    if (v->dim == 0 || counts.size != n * 8)
        return bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, "counts: %zu bytes for %zu words", counts.size, n);
    v->counts = bk_calloc(n, sizeof *v->counts);
    v->v = bk_calloc(n * v->dim, sizeof *v->v);
    if (!v->counts || !v->v)
        return bk_fail_nomem(err, n * v->dim * sizeof *v->v);
    for (size_t i = 0; i < n; i++)
        v->counts[i] = bk_read_u64(&counts);
    if ((rc = bk_floats_read(v->v, c, "word_vectors", n * v->dim, err)))
        return rc;
    for (size_t i = 0; i < v->dim; i++)
        if (v->v[i] != 0)
            return bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, "word_vectors: row 0, the padding, is not zero");
    for (int a = BK_ARCH_NONE + 1; a < BK_ARCH_COUNT; a++) {
        const char *unknown = bk_word_unknown(a);
        if (v->archs >> a & 1 && bk_strtab_find(v->words, unknown, strlen(unknown)) == BK_STR_NONE)
            return bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, "vocabulary: no word %s, but made for %s", unknown,
                           bk_arch_name(a));
    }
    return BK_OK;
}

static int read_options(struct bk_vectors *v, const struct bk_pack *p, struct bk_error *err)
{
    struct bk_cursor c;
    int rc = bk_pack_entry(&c, p, "options", err);
    if (rc)
        return rc;
    json_t *j = json_loadb((const char *)c.data, c.size, 0, NULL);
    if (!json_is_object(j)) {
        json_decref(j);
        return bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, "options: not a JSON object");
    }
    json_decref(j);
    v->options = strndup((const char *)c.data, c.size);
    return v->options ? BK_OK : bk_fail_nomem(err, c.size);
}

static int read_pack(struct bk_vectors *out, const struct bk_pack *p, struct bk_error *err)
{
    out->hash = bk_pack_hash(p);
    int rc = read_config(out, p, err);
    if (!rc)
        rc = read_table(out, p, err);
    if (!rc)
        rc = read_options(out, p, err);
    if (rc)
        bk_vectors_done(out);
    return rc;
}

int bk_vectors_open(struct bk_vectors *out, const char *path, struct bk_error *err)
{
    struct bk_pack *p;
    *out = (struct bk_vectors){0};
    int rc = bk_pack_open(&p, path, BK_WORD_KIND, BK_WORD_MAJOR, err);
    if (!rc) {
        rc = read_pack(out, p, err);
        bk_pack_close(p);
    }
    if (rc)
        bk_error_file(err, path, NULL);
    return rc;
}

int bk_vectors_open_bytes(struct bk_vectors *out, const uint8_t *data, size_t size, struct bk_error *err)
{
    struct bk_pack *p;
    *out = (struct bk_vectors){0};
    int rc = bk_pack_open_bytes(&p, data, size, BK_WORD_KIND, BK_WORD_MAJOR, err);
    if (rc)
        return rc;
    rc = read_pack(out, p, err);
    bk_pack_close(p);
    return rc;
}

/* ---- writing ------------------------------------------------------------ */

static void put(uint8_t **p, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++)
        *(*p)++ = (uint8_t)(v >> 8 * i);
}

static size_t write_config(uint8_t buf[256], const struct bk_vectors *v)
{
    char archs[BK_ARCH_LIST_MAX];
    bk_arch_list(archs, v->archs);
    uint8_t *p = (uint8_t *)stpcpy((char *)buf, BK_TOKENS_NAME) + 1;
    put(&p, BK_TOKENS_VERSION, 4);
    p = (uint8_t *)stpcpy((char *)p, archs) + 1;
    put(&p, v->dim, 4);
    put(&p, !v->all_functions, 4);
    put(&p, v->split.by, 4);
    put(&p, v->split.train, 4);
    put(&p, v->split.validation, 4);
    put(&p, v->split.test, 4);
    put(&p, v->split.seed, 8);
    put(&p, v->dataset_hash, 8);
    return (size_t)(p - buf);
}

int bk_vectors_save(const struct bk_vectors *v, const char *path, struct bk_error *err)
{
    struct bk_pack_writer *w = NULL;
    uint8_t config[256], *words = NULL, *numbers = NULL, *counts = NULL;
    size_t n = bk_strtab_count(v->words), config_size = write_config(config, v), words_size, numbers_size;
    int rc = bk_vocabulary_write(&words, &words_size, v->words, err);
    if (!rc)
        rc = bk_floats_write(&numbers, &numbers_size, "word_vectors", v->v, n * v->dim, false, err);
    if (!rc && !(counts = bk_calloc(n, 8)))
        rc = bk_fail_nomem(err, n * 8);
    if (!rc) {
        uint8_t *p = counts;
        for (size_t i = 0; i < n; i++)
            put(&p, v->counts[i], 8);
        rc = bk_pack_create(&w, path, BK_WORD_KIND, BK_WORD_MAJOR, BK_WORD_MINOR, err);
    }
    if (!rc) {
        if ((rc = bk_pack_add(w, "config", config, config_size, err)) ||
            (rc = bk_pack_add(w, "vocabulary", words, words_size, err)) ||
            (rc = bk_pack_add(w, "counts", counts, n * 8, err)) ||
            (rc = bk_pack_add(w, "word_vectors", numbers, numbers_size, err)) ||
            (rc = bk_pack_add(w, "options", v->options, strlen(v->options), err)))
            bk_pack_abort(w);
        else
            rc = bk_pack_commit(w, err);
    }
    free(words);
    free(numbers);
    free(counts);
    if (rc)
        bk_error_file(err, path, NULL);
    return rc;
}

int bk_vectors_check(const struct bk_vectors *v, const struct bk_dataset *d, const struct bk_split *split,
                     uint32_t archs, struct bk_error *err)
{
    if (archs & ~v->archs) {
        char lacks[BK_ARCH_LIST_MAX];
        bk_arch_list(lacks, archs & ~v->archs);
        return bk_fail(err, BK_EMISMATCH, BK_NO_OFFSET, "word vectors lack %s", lacks);
    }
    if (v->all_functions)
        return BK_OK;
    if (v->dataset_hash != d->info.hash)
        return bk_fail(err, BK_EMISMATCH, BK_NO_OFFSET, "word vectors were made from a part of another data set");
    if (!bk_split_equal(&v->split, split))
        return bk_fail(err, BK_EMISMATCH, BK_NO_OFFSET,
                       "word vectors were made from the training part of another split (%u:%u:%u, seed %llu)",
                       v->split.train, v->split.validation, v->split.test, (unsigned long long)v->split.seed);
    return BK_OK;
}
