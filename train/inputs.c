/* inputs: functions of a data set as a model looks at them. */
#include "inputs.h"

#include <stdlib.h>
#include <string.h>

void bk_inputs_done(struct bk_inputs *in)
{
    if (!in)
        return;
    free(in->v);
    free(in->ids);
    free(in->forms);
    free(in->neutral);
    free(in->hash);
    free(in->weight);
    free(in->kind);
    *in = (struct bk_inputs){0};
}

/* What the texts of a data set are to a model, and room for all inputs. */
struct making {
    const struct bk_dataset *d;
    const struct bk_model *m;
    uint32_t *words, *forms, *neutral; /* by id in the data set: id in the model, BK_STR_NONE */
    float *idf;                        /* by item */
    uint32_t unknown[BK_ARCH_COUNT];   /* the word for what is not known */
};

/* *map: by id in `from` the id in `to`. */
static int map_texts(uint32_t **map, const struct bk_strtab *from, const struct bk_strtab *to, struct bk_error *err)
{
    const uint32_t n = bk_strtab_count(from);
    *map = bk_calloc((size_t)n + 1, sizeof **map);
    if (!*map)
        return bk_fail_nomem(err, n * sizeof **map);
    for (uint32_t i = 0; i < n; i++) {
        const char *s = bk_strtab_str(from, i);
        (*map)[i] = bk_strtab_find(to, s, strlen(s));
    }
    return BK_OK;
}

static int map_all(struct making *k, struct bk_error *err)
{
    const struct bk_dataset *d = k->d;
    const struct bk_model *m = k->m;
    int rc = BK_OK;
    if (bk_encoder_has(&m->cfg, BK_BRANCH_SEQUENCE)) {
        rc = map_texts(&k->words, d->words, m->words, err);
        for (int a = BK_ARCH_NONE + 1; a < BK_ARCH_COUNT; a++)
            k->unknown[a] = bk_strtab_find(m->words, bk_word_unknown(a), strlen(bk_word_unknown(a)));
    }
    if (!rc && bk_encoder_has(&m->cfg, BK_BRANCH_GRAPH)) {
        if (!d->has_graph)
            return bk_fail(err, BK_EMISMATCH, BK_NO_OFFSET, "a data set without graphs, which the model looks at");
        rc = map_texts(&k->forms, d->forms, m->forms, err);
        if (!rc)
            rc = map_texts(&k->neutral, d->neutral_forms, m->forms, err);
    }
    if (!rc && bk_encoder_has(&m->cfg, BK_BRANCH_SKETCH)) {
        if (!d->has_items)
            return bk_fail(err, BK_EMISMATCH, BK_NO_OFFSET, "a data set without items, which the model looks at");
        k->idf = bk_calloc(d->n_items + 1, sizeof *k->idf);
        rc = k->idf ? BK_OK : bk_fail_nomem(err, d->n_items * sizeof *k->idf);
        for (size_t i = 0; i < d->n_items && !rc; i++)
            k->idf[i] = bk_idf_of(&m->idf, d->items[i].hash);
    }
    return rc;
}

static size_t seen_words(const struct bk_model *m, const struct bk_data_func *f)
{
    return f->n_words < m->cfg.net.max_insns ? f->n_words : m->cfg.net.max_insns;
}

/* Room for what the branches look at of all functions. */
static int reserve(struct bk_inputs *in, const struct making *k, const uint32_t *funcs, size_t n, struct bk_error *err)
{
    const struct bk_encoder_config *c = &k->m->cfg;
    size_t words = 0, insns = 0, items = 0;
    for (size_t i = 0; i < n; i++) {
        const struct bk_data_func *f = &k->d->v[funcs[i]];
        words += bk_encoder_has(c, BK_BRANCH_SEQUENCE) ? seen_words(k->m, f) : 0;
        insns += bk_encoder_has(c, BK_BRANCH_GRAPH) ? f->n_words : 0;
        items += bk_encoder_has(c, BK_BRANCH_SKETCH) ? f->n_items : 0;
    }
    in->v = bk_calloc(n + 1, sizeof *in->v);
    in->ids = bk_calloc(words + 1, sizeof *in->ids);
    in->forms = bk_calloc(insns + 1, sizeof *in->forms);
    in->neutral = bk_calloc(insns + 1, sizeof *in->neutral);
    in->hash = bk_calloc(items + 1, sizeof *in->hash);
    in->weight = bk_calloc(items + 1, sizeof *in->weight);
    in->kind = bk_calloc(items + 1, sizeof *in->kind);
    if (in->v && in->ids && in->forms && in->neutral && in->hash && in->weight && in->kind)
        return BK_OK;
    return bk_fail_nomem(err, (words + 2 * insns) * sizeof *in->ids + items * 16);
}

/* Where the next function's begin in the arrays. */
struct place {
    size_t ids, insns, items;
};

static int make_words(struct bk_inputs *in, struct place *at, size_t i, const struct making *k, uint32_t func,
                      struct bk_error *err)
{
    const struct bk_data_func *f = &k->d->v[func];
    const uint32_t unknown = k->unknown[bk_data_arch(k->d, func)];
    const size_t n = seen_words(k->m, f);
    if (unknown == BK_STR_NONE)
        return bk_fail(err, BK_EMISMATCH, BK_NO_OFFSET, "the model has no words of %s",
                       bk_arch_name(bk_data_arch(k->d, func)));
    uint32_t *ids = in->ids + at->ids;
    for (size_t j = 0; j < n; j++) {
        const uint32_t id = k->words[f->words[j]];
        in->n_unknown += id == BK_STR_NONE;
        ids[j] = id == BK_STR_NONE ? unknown : id;
    }
    in->n_seen += n;
    in->v[i].words = (struct bk_seq){ids, n};
    at->ids += n;
    return BK_OK;
}

static void make_graph(struct bk_inputs *in, struct place *at, size_t i, const struct making *k, uint32_t func)
{
    const struct bk_data_func *f = &k->d->v[func];
    uint32_t *forms = in->forms + at->insns, *neutral = in->neutral + at->insns;
    size_t unknown = 0;
    for (size_t j = 0; j < f->n_words; j++) {
        forms[j] = k->forms[f->forms[j]];
        neutral[j] = k->neutral[k->d->neutral[f->forms[j]]];
        unknown += forms[j] == BK_STR_NONE;
    }
    if (!bk_encoder_has(&k->m->cfg, BK_BRANCH_SEQUENCE)) {
        in->n_seen += f->n_words;
        in->n_unknown += unknown;
    }
    in->v[i].graph = (struct bk_graph){.n_nodes = f->n_kept_blocks,
                                       .n_edges = f->n_edges,
                                       .insns = f->block_words,
                                       .forms = forms,
                                       .neutral = neutral,
                                       .edges = f->edges,
                                       .n_insns = f->n_insns,
                                       .n_callees = f->n_callees};
    at->insns += f->n_words;
}

static void make_items(struct bk_inputs *in, struct place *at, size_t i, const struct making *k, uint32_t func)
{
    const struct bk_data_func *f = &k->d->v[func];
    uint64_t *hash = in->hash + at->items;
    float *weight = in->weight + at->items;
    uint8_t *kind = in->kind + at->items;
    for (size_t j = 0; j < f->n_items; j++) {
        hash[j] = k->d->items[f->items[j]].hash;
        kind[j] = (uint8_t)k->d->items[f->items[j]].kind;
        weight[j] = k->idf[f->items[j]];
    }
    in->v[i].items = (struct bk_item_seq){.hash = hash, .kind = kind, .weight = weight, .n = f->n_items};
    at->items += f->n_items;
}

int bk_inputs_make(struct bk_inputs *out, const struct bk_dataset *d, const uint32_t *funcs, size_t n,
                   const struct bk_model *m, struct bk_error *err)
{
    struct making k = {.d = d, .m = m};
    struct place at = {0};
    *out = (struct bk_inputs){.n = n};
    int rc = map_all(&k, err);
    if (!rc)
        rc = reserve(out, &k, funcs, n, err);
    for (size_t i = 0; i < n && !rc; i++) {
        if (bk_encoder_has(&m->cfg, BK_BRANCH_SEQUENCE))
            rc = make_words(out, &at, i, &k, funcs[i], err);
        if (bk_encoder_has(&m->cfg, BK_BRANCH_GRAPH))
            make_graph(out, &at, i, &k, funcs[i]);
        if (bk_encoder_has(&m->cfg, BK_BRANCH_SKETCH))
            make_items(out, &at, i, &k, funcs[i]);
    }
    free(k.words);
    free(k.forms);
    free(k.neutral);
    free(k.idf);
    if (rc)
        bk_inputs_done(out);
    return rc;
}
