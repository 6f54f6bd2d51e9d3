/* A data set with a plan in it, made in memory. A label is a walk over concepts, each mostly followed by one of the next few; a function
 * of the label says each concept by one of its synonyms, the words of its processor. So synonyms stand in like contexts, and
 * functions of one label are like each other beneath their words. */
#ifndef BK_TEST_PLANTED_H
#define BK_TEST_PLANTED_H

#include "../base/cmocka_all.h"
#include "train.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLANTED_CONCEPTS 40
#define PLANTED_SYNONYMS 3
#define PLANTED_LONGEST  40

struct planted {
    struct bk_dataset d;
    struct bk_data_func *funcs;
    struct bk_data_label *labels;
    struct bk_data_file files[2]; /* amd64, armhf */
    struct bk_strtab *words;
    uint32_t *ids;
};

static inline const char *planted_word(char out[32], char prefix, size_t concept, size_t synonym)
{
    snprintf(out, 32, "%c_c%zu_s%zu", prefix, concept, synonym);
    return out;
}

/* `each` functions of every label for each of `archs` (1 or 2) processors. */
static inline struct planted *planted_new(size_t n_labels, size_t each, size_t archs, uint64_t seed)
{
    struct planted *p = calloc(1, sizeof *p);
    size_t n = 0, n_ids = 0, total = n_labels * each * archs;
    struct bk_rng rng;
    bk_rng_seed(&rng, seed, 1);
    p->labels = calloc(n_labels, sizeof *p->labels);
    p->funcs = calloc(total, sizeof *p->funcs);
    p->ids = calloc(total * PLANTED_LONGEST, sizeof *p->ids);
    p->files[0].arch = BK_ARCH_AMD64;
    p->files[1].arch = BK_ARCH_ARM;
    p->words = bk_strtab_new();
    for (size_t l = 0; l < n_labels; l++) {
        size_t walk[PLANTED_LONGEST], length = 15 + bk_rng_below(&rng, PLANTED_LONGEST - 15);
        for (size_t i = 0; i < length; i++)
            walk[i] = i && bk_rng_below(&rng, 10) ? (walk[i - 1] + 1 + bk_rng_below(&rng, 3)) % PLANTED_CONCEPTS
                                                  : bk_rng_below(&rng, PLANTED_CONCEPTS);
        p->labels[l].key = bk_hash64(&l, sizeof l);
        p->labels[l].project_key = 1;
        for (size_t k = 0; k < each * archs; k++, n++) {
            uint32_t *ids = p->ids + n_ids;
            for (size_t i = 0; i < length; i++) {
                char word[32];
                planted_word(word, k % archs ? 'A' : 'X', walk[i], bk_rng_below(&rng, PLANTED_SYNONYMS));
                ids[i] = bk_strtab_intern(p->words, word, strlen(word));
            }
            p->funcs[n] = (struct bk_data_func){.label = (uint32_t)l,
                                                .file = (uint32_t)(k % archs),
                                                .key = bk_hash64(&n, sizeof n),
                                                .n_blocks = 5,
                                                .n_insns = (uint32_t)length,
                                                .n_words = (uint32_t)length,
                                                .words = ids};
            n_ids += length;
        }
    }
    p->d = (struct bk_dataset){.n = n,
                               .n_labels = n_labels,
                               .n_files = archs,
                               .v = p->funcs,
                               .labels = p->labels,
                               .files = p->files,
                               .words = p->words};
    p->d.info.hash = seed;
    return p;
}

static inline void planted_free(struct planted *p)
{
    free(p->labels);
    free(p->funcs);
    free(p->ids);
    bk_strtab_free(p->words);
    free(p);
}

#endif
