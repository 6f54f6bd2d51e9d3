/* The graph of a function, as far as data sets keep it and models look at it. */
#include "feature/feature_int.h"

#include <stdlib.h>

void bk_graph_seq_done(struct bk_graph_seq *s)
{
    if (s == NULL)
        return;
    free(s->blocks.v);
    free(s->edges.v);
    *s = (struct bk_graph_seq){0};
}

int bk_graph_seq_add(struct bk_graph_seq *out, const struct bk_body *body, size_t max, struct bk_error *err)
{
    const size_t seen = max < body->n_insns ? max : body->n_insns;
    size_t kept = 0;
    for (; kept < body->n_blocks && body->blocks[kept].first < seen; kept++) {
        const struct bk_block *b = &body->blocks[kept];
        if (!BK_GROW(out->blocks))
            return bk_fail_nomem(err, out->blocks.n);
        out->blocks.v[out->blocks.n++] = (uint16_t)(b->n < seen - b->first ? b->n : seen - b->first);
    }
    for (size_t i = 0; i < body->n_edges; i++) {
        const struct bk_edge *e = &body->edges[i];
        if (e->from >= kept || e->to >= kept)
            continue;
        if (!BK_GROW(out->edges))
            return bk_fail_nomem(err, out->edges.n);
        out->edges.v[out->edges.n++] = (struct bk_graph_edge){(uint16_t)e->from, (uint16_t)e->to, (uint16_t)e->kind};
    }
    return BK_OK;
}
