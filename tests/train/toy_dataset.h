/* A data set made in memory: what splits, pairs and judging look at, without a file. */
#ifndef BK_TEST_TOY_DATASET_H
#define BK_TEST_TOY_DATASET_H

#include "../base/cmocka_all.h"
#include "train.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct toy {
    struct bk_dataset d;
    struct bk_data_func *funcs;
    struct bk_data_label *labels;
    struct bk_data_file *files;
    struct bk_strtab *words;
    uint32_t *ids;
};

static inline uint64_t toy_key(const char *what, uint64_t i)
{
    char text[64];
    snprintf(text, sizeof text, "%s %llu", what, (unsigned long long)i);
    return bk_hash64(text, strlen(text));
}

/* Label l has 1 + l % (2 * mean - 1) functions when `uneven`, else `mean`; labels are spread over `projects`,
 * three of a row being of one source file but the last few, whose file is not known. Every function
 * has `words_each` words, of which the first quarter follows from its label. One file: amd64. */
static inline struct toy *toy_new(size_t n_labels, size_t mean, bool uneven, size_t projects, size_t words_each)
{
    struct toy *t = calloc(1, sizeof *t);
    t->labels = calloc(n_labels, sizeof *t->labels);
    t->funcs = calloc(n_labels * 2 * mean, sizeof *t->funcs);
    t->ids = calloc(n_labels * 2 * mean * words_each + 1, sizeof *t->ids);
    t->files = calloc(1, sizeof *t->files);
    t->files[0] = (struct bk_data_file){
        .path = "toy", .project = "toy", .version = "1", .compiler = "gcc-12", .level = "O2", .arch = BK_ARCH_AMD64};
    t->words = bk_strtab_new();
    size_t n = 0;
    for (size_t l = 0; l < n_labels; l++) {
        t->labels[l].key = toy_key("label", l);
        t->labels[l].project_key = toy_key("project", l % projects);
        t->labels[l].source_key = l + 10 < n_labels ? toy_key("source", l / 3) : t->labels[l].key;
        for (size_t k = 0; k < (uneven ? 1 + l % (2 * mean - 1) : mean); k++, n++) {
            struct bk_data_func *f = &t->funcs[n];
            uint32_t *ids = t->ids + n * words_each;
            for (size_t w = 0; w < words_each; w++) {
                char word[64];
                size_t of = w < words_each / 4 ? l : 1000 + l * 1000 + k;
                snprintf(word, sizeof word, "X_w%u", (unsigned)(toy_key("word", of * 64 + w) % 101));
                ids[w] = bk_strtab_intern(t->words, word, strlen(word));
            }
            *f = (struct bk_data_func){.label = (uint32_t)l,
                                       .key = toy_key("function", n),
                                       .n_blocks = (uint32_t)(1 + n % 9),
                                       .n_words = (uint32_t)words_each,
                                       .words = ids};
        }
    }
    t->d = (struct bk_dataset){.n = n,
                               .n_labels = n_labels,
                               .n_files = 1,
                               .v = t->funcs,
                               .labels = t->labels,
                               .files = t->files,
                               .words = t->words};
    return t;
}

static inline void toy_free(struct toy *t)
{
    free(t->labels);
    free(t->funcs);
    free(t->files);
    free(t->ids);
    bk_strtab_free(t->words);
    free(t);
}

#endif
