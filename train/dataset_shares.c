/* dataset_shares: how many functions of a data set have each value of a label. */
#include "train.h"

#include <stdlib.h>
#include <string.h>

struct shared {
    const char *value;
    uint32_t label;
};

static int by_value(const void *a, const void *b)
{
    const struct shared *x = a, *y = b;
    int order = strcmp(x->value, y->value);
    return order ? order : (x->label > y->label) - (x->label < y->label);
}

static const char *value_of(const struct bk_data_file *f, enum bk_dataset_label by)
{
    switch (by) {
    case BK_DATASET_COMPILER:
        return f->compiler;
    case BK_DATASET_LEVEL:
        return f->level;
    case BK_DATASET_PROJECT:
        return f->project;
    case BK_DATASET_ARCH:
        break;
    }
    return bk_arch_name(f->arch);
}

int bk_dataset_shares(struct bk_dataset_share **out, size_t *n, const struct bk_dataset *d, enum bk_dataset_label by,
                      struct bk_error *err)
{
    bk_error_clear(err);
    *out = NULL;
    *n = 0;
    struct shared *v = bk_calloc(d->n + 1, sizeof *v);
    if (!v)
        return bk_fail_nomem(err, d->n * sizeof *v);
    for (size_t i = 0; i < d->n; i++)
        v[i] = (struct shared){value_of(&d->files[d->v[i].file], by), d->v[i].label};
    qsort(v, d->n, sizeof *v, by_value);
    struct {
        struct bk_dataset_share *v;
        size_t n, cap;
    } shares = {0};
    for (size_t i = 0; i < d->n; i++) {
        bool new_value = !i || strcmp(v[i].value, v[i - 1].value) != 0;
        if (new_value && !BK_GROW(shares)) {
            free(shares.v);
            free(v);
            return bk_fail_nomem(err, shares.n * sizeof *shares.v);
        }
        if (new_value)
            shares.v[shares.n++] = (struct bk_dataset_share){.value = v[i].value};
        shares.v[shares.n - 1].n_functions++;
        shares.v[shares.n - 1].n_labels += new_value || v[i].label != v[i - 1].label;
    }
    free(v);
    *out = shares.v;
    *n = shares.n;
    return BK_OK;
}
