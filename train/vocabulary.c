/* vocabulary: what a model takes over from its training part besides weights: forms, and how rare items are. */
#include "learn.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ITEMS 32768 /* of which a model knows how rare they are: those that most labels hold */

/* ---- forms --------------------------------------------------------------- */

/* In how many labels of the group each form stands. */
static int count_forms(uint32_t **count, const struct bk_dataset *d, const struct bk_group *g, struct bk_error *err)
{
    const size_t n = bk_strtab_count(d->forms);
    uint32_t *last = bk_calloc(n + 1, sizeof *last);
    *count = bk_calloc(n + 1, sizeof **count);
    if (!last || !*count) {
        free(last);
        return bk_fail_nomem(err, n * sizeof *last);
    }
    for (size_t k = 0; k < g->n; k++) {
        const struct bk_data_func *f = &d->v[g->v[k]];
        for (size_t j = 0; j < f->n_words; j++) {
            if (last[f->forms[j]] == f->label + 1)
                continue;
            last[f->forms[j]] = f->label + 1;
            (*count)[f->forms[j]]++;
        }
    }
    free(last);
    return BK_OK;
}

static int add_text(struct bk_strtab *t, const char *s, struct bk_error *err)
{
    return bk_strtab_intern(t, s, strlen(s)) == BK_STR_NONE ? bk_fail_nomem(err, strlen(s)) : BK_OK;
}

int bk_forms_learn(struct bk_strtab **out, const struct bk_dataset *d, const struct bk_group *g, uint32_t min_labels,
                   struct bk_error *err)
{
    uint32_t *count = NULL;
    struct bk_strtab *t = *out = bk_strtab_new();
    int rc = t ? add_text(t, "", err) : bk_fail_nomem(err, sizeof(void *));
    for (uint32_t i = 0; i < bk_strtab_count(d->neutral_forms) && !rc; i++)
        rc = add_text(t, bk_strtab_str(d->neutral_forms, i), err);
    if (!rc)
        rc = count_forms(&count, d, g, err);
    for (uint32_t i = 0; i < bk_strtab_count(d->forms) && !rc; i++)
        if (count[i] >= min_labels)
            rc = add_text(t, bk_strtab_str(d->forms, i), err);
    free(count);
    return rc;
}

/* ---- items --------------------------------------------------------------- */

struct rarity {
    uint64_t hash;
    uint32_t labels;
};

static int by_labels(const void *x, const void *y)
{
    const struct rarity *a = x, *b = y;
    if (a->labels != b->labels)
        return a->labels > b->labels ? -1 : 1;
    return a->hash < b->hash ? -1 : a->hash > b->hash;
}

static int by_hash(const void *x, const void *y)
{
    const struct rarity *a = x, *b = y;
    return a->hash < b->hash ? -1 : a->hash > b->hash;
}

/* In how many labels of the group each item stands. */
static int count_items(struct rarity *r, const struct bk_dataset *d, const struct bk_group *g, struct bk_error *err)
{
    uint32_t *last = bk_calloc(d->n_items + 1, sizeof *last);
    if (!last)
        return bk_fail_nomem(err, d->n_items * sizeof *last);
    for (size_t i = 0; i < d->n_items; i++)
        r[i].hash = d->items[i].hash;
    for (size_t k = 0; k < g->n; k++) {
        const struct bk_data_func *f = &d->v[g->v[k]];
        for (size_t j = 0; j < f->n_items; j++) {
            if (last[f->items[j]] == f->label + 1)
                continue;
            last[f->items[j]] = f->label + 1;
            r[f->items[j]].labels++;
        }
    }
    free(last);
    return BK_OK;
}

static float rarity_weight(size_t n_labels, uint32_t labels)
{
    return (float)(log((1 + (double)n_labels) / (1 + (double)labels)) + 1);
}

int bk_idf_learn(struct bk_idf *out, const struct bk_dataset *d, const struct bk_group *g, struct bk_error *err)
{
    struct rarity *r = bk_calloc(d->n_items + 1, sizeof *r);
    *out = (struct bk_idf){0};
    int rc = r ? count_items(r, d, g, err) : bk_fail_nomem(err, d->n_items * sizeof *r);
    size_t n = 0;
    if (!rc) {
        qsort(r, d->n_items, sizeof *r, by_labels);
        while (n < d->n_items && n < MAX_ITEMS && r[n].labels > 1)
            n++;
        qsort(r, n, sizeof *r, by_hash);
    }
    uint64_t *hash = bk_calloc(n + 1, sizeof *hash);
    float *weight = bk_calloc(n + 1, sizeof *weight);
    if (!rc && (!hash || !weight))
        rc = bk_fail_nomem(err, n * sizeof *hash);
    for (size_t i = 0; i < n && !rc; i++) {
        hash[i] = r[i].hash;
        weight[i] = rarity_weight(g->n_labels, r[i].labels);
    }
    free(r);
    *out = (struct bk_idf){.n = n, .hash = hash, .weight = weight, .other = rarity_weight(g->n_labels, 1)};
    return rc;
}

void bk_idf_done(struct bk_idf *idf)
{
    free((void *)(uintptr_t)idf->hash);
    free((void *)(uintptr_t)idf->weight);
    *idf = (struct bk_idf){0};
}
