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
    /* of planted_graphs() */
    struct bk_strtab *forms, *neutral_forms;
    uint32_t *form_ids, *neutral, *item_ids;
    uint16_t *block_words;
    struct bk_graph_edge *edges;
    struct bk_item *items;
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
    for (size_t i = 0; i < 2; i++)
        p->files[i] =
            (struct bk_data_file){.project = "p", .version = "1", .compiler = "gcc", .level = i ? "O2" : "O0"};
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

/* Graphs and items for all functions: of each word its concept as form and, of eight kinds, as neutral form; a block every five words,
 * which falls into the next and jumps back as its first concept says; and of four items that only its label has, and one that all have, each
 * with a chance of three in four. */
enum { PLANTED_BLOCK = 5, PLANTED_BLOCKS = PLANTED_LONGEST / PLANTED_BLOCK, PLANTED_ITEMS = 5 };

static inline void planted_forms(struct planted *p, struct bk_data_func *f, uint32_t *ids)
{
    for (size_t k = 0; k < f->n_words; k++) {
        char text[32], *end;
        snprintf(text, sizeof text, "%s", bk_strtab_str(p->words, f->words[k]));
        const size_t concept = strtoul(text + 3, &end, 10);
        ids[k] = bk_strtab_intern(p->forms, text, (size_t)(end - text));
        snprintf(text, sizeof text, "N_n%zu", concept % 8);
        p->neutral[ids[k]] = bk_strtab_intern(p->neutral_forms, text, strlen(text));
    }
    f->forms = ids;
}

static inline void planted_blocks(struct planted *p, struct bk_data_func *f, uint16_t *words,
                                  struct bk_graph_edge *edges)
{
    f->n_kept_blocks = (f->n_words + PLANTED_BLOCK - 1) / PLANTED_BLOCK;
    for (uint32_t i = 0; i < f->n_kept_blocks; i++) {
        const uint16_t from = (uint16_t)i, target = (uint16_t)(p->neutral[f->forms[i * PLANTED_BLOCK]] % (i + 1));
        words[i] = (uint16_t)(i + 1 < f->n_kept_blocks ? PLANTED_BLOCK : f->n_words - i * PLANTED_BLOCK);
        edges[f->n_edges++] = (struct bk_graph_edge){from, target, BK_EDGE_TAKEN};
        if (i + 1 < f->n_kept_blocks)
            edges[f->n_edges++] = (struct bk_graph_edge){from, (uint16_t)(i + 1), BK_EDGE_NOT_TAKEN};
    }
    f->block_words = words;
    f->edges = edges;
}

static inline void planted_graphs(struct planted *p)
{
    const size_t n = p->d.n, n_items = 4 * p->d.n_labels + 1;
    struct bk_rng rng;
    bk_rng_seed(&rng, 3, 3);
    p->forms = bk_strtab_new();
    p->neutral_forms = bk_strtab_new();
    p->form_ids = calloc(n * PLANTED_LONGEST, sizeof *p->form_ids);
    p->neutral = calloc(2 * PLANTED_CONCEPTS, sizeof *p->neutral);
    p->block_words = calloc(n * PLANTED_BLOCKS, sizeof *p->block_words);
    p->edges = calloc(n * 2 * PLANTED_BLOCKS, sizeof *p->edges);
    p->items = calloc(n_items, sizeof *p->items);
    p->item_ids = calloc(n * PLANTED_ITEMS, sizeof *p->item_ids);
    for (size_t i = 0; i < n_items; i++)
        p->items[i] = (struct bk_item){.hash = bk_hash64(&i, sizeof i), .kind = (enum bk_item_kind)(i % BK_ITEM_KINDS)};
    for (size_t i = 0; i < n; i++) {
        struct bk_data_func *f = &p->funcs[i];
        uint32_t *items = p->item_ids + i * PLANTED_ITEMS;
        planted_forms(p, f, p->form_ids + i * PLANTED_LONGEST);
        planted_blocks(p, f, p->block_words + i * PLANTED_BLOCKS, p->edges + i * 2 * PLANTED_BLOCKS);
        f->n_callees = f->label % 3;
        for (uint32_t k = 0; k < PLANTED_ITEMS; k++)
            if (bk_rng_below(&rng, 4))
                items[f->n_items++] = k < 4 ? 4 * f->label + k : (uint32_t)n_items - 1;
        f->items = items;
    }
    p->d.has_graph = p->d.has_items = true;
    p->d.forms = p->forms;
    p->d.neutral_forms = p->neutral_forms;
    p->d.neutral = p->neutral;
    p->d.n_items = n_items;
    p->d.items = p->items;
}

static inline void planted_free(struct planted *p)
{
    bk_strtab_free(p->forms);
    bk_strtab_free(p->neutral_forms);
    free(p->form_ids);
    free(p->neutral);
    free(p->block_words);
    free(p->edges);
    free(p->items);
    free(p->item_ids);
    free(p->labels);
    free(p->funcs);
    free(p->ids);
    bk_strtab_free(p->words);
    free(p);
}

#endif
