/* What dataset.c (building) hands to dataset_file.c (the file and its reader). */
#ifndef BK_DATASET_INT_H
#define BK_DATASET_INT_H

#include "train.h"

struct out_file { /* strings by id */
    uint32_t path, member, project, version, compiler, level, arch;
    uint64_t hash;
};

struct out_func {
    uint32_t label, name, file;
    uint32_t source; /* string id of its source file, BK_STR_NONE: not known */
    uint32_t n_blocks, n_insns, n_words, n_immediates;
    uint64_t addr, bytes_bad;
    uint64_t hash;     /* of all its words as text */
    size_t ids;        /* its n_words ids begin here in data_out.ids */
    size_t immediates; /* its n_immediates values begin here in data_out.immediates */
    bool dropped;
};

struct out_label { /* strings by id */
    uint32_t project, name;
    uint32_t source; /* BK_STR_NONE: not known */
};

/* A data set on its way to a file. Functions are in their final order, the dropped ones still among them. */
struct data_out {
    struct bk_strtab *words, *strings;
    struct {
        struct out_file *v;
        size_t n, cap;
    } files;
    struct {
        struct out_func *v;
        size_t n, cap;
    } funcs;
    struct {
        uint32_t *v;
        size_t n, cap;
    } ids;
    struct {
        int64_t *v;
        size_t n, cap;
    } immediates;
    struct {
        struct out_label *v; /* by label; only those that a kept function has are written */
        size_t n, cap;
    } labels;
};

/* Writes the kept functions and counts what is written of labels, words, immediates and sources into `info`, whose other
 * counts go into the file; info->hash is the file's. */
BK_MUST_CHECK int bk_data_write(struct bk_dataset_info *info, const char *path, const struct data_out *o,
                                struct bk_error *err);

#endif
