/* The data-set reader over any bytes; what it accepts is split and grouped, and all that a function holds is looked at. */
#include "seal_pack.h"
#include "train/train.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t walk_graph(const struct bk_dataset *d, const struct bk_data_func *f)
{
    size_t sum = 0, words = 0;
    for (size_t k = 0; k < f->n_words; k++)
        sum += strlen(bk_strtab_str(d->forms, f->forms[k])) +
               strlen(bk_strtab_str(d->neutral_forms, d->neutral[f->forms[k]]));
    for (size_t k = 0; k < f->n_kept_blocks; k++)
        words += f->block_words[k];
    for (size_t k = 0; k < f->n_edges; k++)
        sum += f->block_words[f->edges[k].from] + f->block_words[f->edges[k].to];
    if (words != f->n_words)
        abort();
    return sum;
}

static size_t walk_items(const struct bk_dataset *d, const struct bk_data_func *f)
{
    size_t sum = 0;
    for (size_t k = 0; k < f->n_items; k++)
        sum += d->items[f->items[k]].kind;
    if (f->n_items > BK_DATA_MAX_ITEMS || sum > f->n_items * (BK_ITEM_KINDS - 1))
        abort();
    return sum;
}

static void use(const struct bk_dataset *d)
{
    size_t letters = 0;
    for (size_t i = 0; i < d->n; i++)
        for (size_t k = 0; k < d->v[i].n_words; k++)
            letters += strlen(bk_strtab_str(d->words, d->v[i].words[k]));
    for (size_t i = 0; i < d->n; i++)
        for (size_t k = 0; k < d->v[i].n_immediates; k++)
            letters += (size_t)d->immediates[d->v[i].immediates[k]];
    for (size_t i = 0; i < d->n && d->has_graph; i++)
        letters += walk_graph(d, &d->v[i]);
    for (size_t i = 0; i < d->n; i++)
        letters += walk_items(d, &d->v[i]);
    struct bk_dataset_share *shares;
    size_t n_shares;
    if (!bk_dataset_shares(&shares, &n_shares, d, (enum bk_dataset_label)(letters % 4), NULL))
        free(shares);
    uint8_t *part = malloc(d->n);
    struct bk_split split = {(enum bk_split_by)(letters / 4 % 4), 1, 0, 1, letters};
    struct bk_group group;
    if (part && !bk_split_parts(part, d, &split, NULL) && !bk_group_init(&group, d, part, BK_PART_TEST, 2, NULL))
        bk_group_done(&group);
    free(part);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = size ? malloc(size) : NULL;
    if (!copy)
        return 0;
    memcpy(copy, data, size);
    seal_pack(copy, size);
    struct bk_dataset *d;
    struct bk_error err;
    if (!bk_dataset_open_bytes(&d, copy, size, &err))
        use(d);
    bk_dataset_close(d);
    free(copy);
    return 0;
}
