/* What a model looks at of a decoded function. */
#include "model/model.h"

#include <stdlib.h>
#include <string.h>

struct bk_input_reader {
    const struct bk_model *m;
    struct bk_arena *arena;
    struct bk_word_seq words;
    struct bk_form_seq forms;
    struct bk_graph_seq graph;
    struct bk_items items;
};

struct bk_input_reader *bk_input_reader_new(const struct bk_model *m)
{
    struct bk_input_reader *r = bk_calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->m = m;
    r->arena = bk_arena_new();
    if (r->arena)
        return r;
    free(r);
    return NULL;
}

void bk_input_reader_free(struct bk_input_reader *r)
{
    if (!r)
        return;
    bk_arena_free(r->arena);
    bk_word_seq_done(&r->words);
    bk_form_seq_done(&r->forms);
    bk_graph_seq_done(&r->graph);
    bk_items_done(&r->items);
    free(r);
}

/* A copy of n rows that lives as long as the reader; false: no memory. */
static bool keep(void *out, struct bk_input_reader *r, const void *v, size_t n, size_t size)
{
    void *copy = n ? bk_arena_alloc(r->arena, n, size) : NULL;
    if (n && !copy)
        return false;
    if (n)
        memcpy(copy, v, n * size);
    memcpy(out, &copy, sizeof copy);
    return true;
}

static int read_words(struct bk_seq *out, struct bk_input_reader *r, const struct bk_body *body, struct bk_error *err)
{
    const int rc = bk_word_seq_find(&r->words, r->m->words, body, r->m->cfg.net.max_insns, err);
    if (rc)
        return rc;
    out->n = r->words.n;
    return keep(&out->ids, r, r->words.v, r->words.n, sizeof *r->words.v) ? BK_OK : bk_fail_nomem(err, out->n);
}

static int read_graph(struct bk_graph *out, struct bk_input_reader *r, const struct bk_body *body, struct bk_error *err)
{
    struct bk_graph_seq *g = &r->graph;
    struct bk_form_seq *f = &r->forms;
    g->blocks.n = g->edges.n = 0;
    int rc = bk_graph_seq_add(g, body, BK_MAX_SEEN, err);
    if (!rc)
        rc = bk_form_seq_find(f, r->m->forms, body, BK_MAX_SEEN, err);
    if (rc)
        return rc;
    out->n_nodes = (uint32_t)g->blocks.n;
    out->n_edges = (uint32_t)g->edges.n;
    out->n_insns = (uint32_t)body->n_insns;
    out->n_callees = (uint32_t)body->n_callees;
    bool kept = keep(&out->insns, r, g->blocks.v, g->blocks.n, sizeof *g->blocks.v) &&
                keep(&out->edges, r, g->edges.v, g->edges.n, sizeof *g->edges.v) &&
                keep(&out->forms, r, f->v, f->n, sizeof *f->v) &&
                keep(&out->neutral, r, f->neutral, f->n, sizeof *f->neutral);
    return kept ? BK_OK : bk_fail_nomem(err, f->n * sizeof *f->v);
}

static int read_items(struct bk_item_seq *out, struct bk_input_reader *r, const struct bk_image *img,
                      const struct bk_body *body, struct bk_error *err)
{
    const int rc = bk_items_read(&r->items, img, body, err);
    const size_t n = r->items.n < BK_MAX_SEEN_ITEMS ? r->items.n : BK_MAX_SEEN_ITEMS;
    if (rc || !n)
        return rc;
    uint64_t *hash = bk_arena_alloc(r->arena, n, sizeof *hash);
    float *weight = bk_arena_alloc(r->arena, n, sizeof *weight);
    uint8_t *kind = bk_arena_alloc(r->arena, n, sizeof *kind);
    if (!hash || !weight || !kind)
        return bk_fail_nomem(err, n * sizeof *hash);
    for (size_t i = 0; i < n; i++) {
        hash[i] = r->items.v[i].hash;
        kind[i] = (uint8_t)r->items.v[i].kind;
        weight[i] = bk_idf_of(&r->m->idf, hash[i]);
    }
    *out = (struct bk_item_seq){.hash = hash, .kind = kind, .weight = weight, .n = n};
    return BK_OK;
}

int bk_input_read(struct bk_input *out, size_t *known, size_t *unknown, struct bk_input_reader *r,
                  const struct bk_image *img, const struct bk_body *body, struct bk_error *err)
{
    const struct bk_encoder_config *c = &r->m->cfg;
    int rc = BK_OK;
    *out = (struct bk_input){0};
    *known = *unknown = 0;
    if (bk_encoder_has(c, BK_BRANCH_GRAPH)) {
        rc = read_graph(&out->graph, r, body, err);
        *unknown = r->forms.n_unknown;
        *known = r->forms.n - r->forms.n_unknown;
    }
    if (!rc && bk_encoder_has(c, BK_BRANCH_SEQUENCE)) {
        rc = read_words(&out->words, r, body, err);
        *unknown = r->words.n_unknown;
        *known = r->words.n - r->words.n_unknown;
    }
    if (!rc && bk_encoder_has(c, BK_BRANCH_SKETCH))
        rc = read_items(&out->items, r, img, body, err);
    return rc;
}
