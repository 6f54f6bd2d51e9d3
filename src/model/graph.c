/* The graph branch: configuration, which tensors there are, and its weights laid out for products. */
#include "model/graph_int.h"

#include <stdlib.h>
#include <string.h>

/* ---- configuration ------------------------------------------------------ */

void bk_graph_config_default(struct bk_graph_config *out, uint32_t forms)
{
    *out = (struct bk_graph_config){.forms = forms, .s = 64, .rounds = 5, .a = 64, .r = 6, .n = 128, .max_nodes = 512};
}

int bk_graph_config_check(const struct bk_graph_config *cfg, struct bk_error *err)
{
    const struct {
        const char *name;
        uint32_t value, limit;
    } sizes[] = {{"forms", cfg->forms, 1 << 20},
                 {"s", cfg->s, 1024},
                 {"rounds", cfg->rounds, 64},
                 {"a", cfg->a, 4096},
                 {"r", cfg->r, 256},
                 {"n", cfg->n, 4096},
                 {"max_nodes", cfg->max_nodes, 65536}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i].value == 0 || sizes[i].value > sizes[i].limit)
            return bk_fail(err, BK_ELIMIT, BK_NO_OFFSET, "graph branch size %s is %u, allowed are 1 to %u",
                           sizes[i].name, sizes[i].value, sizes[i].limit);
    if (bk_graph_n_params(cfg) > (size_t)1 << 28)
        return bk_fail(err, BK_ELIMIT, BK_NO_OFFSET, "graph branch of %zu numbers, allowed are %zu",
                       bk_graph_n_params(cfg), (size_t)1 << 28);
    return BK_OK;
}

/* ---- tensors ------------------------------------------------------------- */

struct graph_layout bk_graph_layout(const struct bk_graph_config *c)
{
    size_t s = c->s, at = 0;
    struct graph_layout l = {0};
#define GRAPH_LAYOUT_PLACE(field, name, rows, cols, init)                                                              \
    l.field = at;                                                                                                      \
    at += (size_t)(rows) * (cols);
    GRAPH_TENSORS(GRAPH_LAYOUT_PLACE)
#undef GRAPH_LAYOUT_PLACE
    l.total = at;
    return l;
}

size_t bk_graph_tensors(struct bk_tensor out[BK_GRAPH_MAX_TENSORS], const struct bk_graph_config *c)
{
    const struct graph_layout l = bk_graph_layout(c);
    size_t s = c->s, n = 0;
#define GRAPH_TENSOR_ENTRY(field, text, r, k, init)                                                                    \
    out[n++] = (struct bk_tensor){.name = text, .rows = r, .cols = k, .offset = l.field};
    GRAPH_TENSORS(GRAPH_TENSOR_ENTRY)
#undef GRAPH_TENSOR_ENTRY
    return n;
}

size_t bk_graph_n_params(const struct bk_graph_config *cfg)
{
    return bk_graph_layout(cfg).total;
}

void bk_graph_init(bk_real *params, const struct bk_graph_config *c, struct bk_rng *rng)
{
    const struct graph_layout l = bk_graph_layout(c);
    size_t s = c->s;
#define GRAPH_TENSOR_INIT(field, name, rows, cols, init) bk_tensor_init(params + l.field, rows, cols, init, rng);
    GRAPH_TENSORS(GRAPH_TENSOR_INIT)
#undef GRAPH_TENSOR_INIT
}

/* ---- weights laid out ------------------------------------------------------ */

int bk_graph_prepared_new(struct bk_graph_prepared **out, const struct bk_graph_config *cfg, bool backward,
                          struct bk_error *err)
{
    *out = NULL;
    int rc = bk_graph_config_check(cfg, err);
    if (rc)
        return rc;
    struct bk_graph_prepared *w = calloc(1, sizeof *w);
    if (!w)
        return bk_fail_nomem(err, sizeof *w);
    const struct bk_graph_config *c = &w->cfg;
    const size_t s = cfg->s, pad = bk_padded(s), joint = s * (GRAPH_SLOTS + 5) * pad + 3 * pad;
    size_t n = joint;
    w->cfg = *cfg;
    w->at = bk_graph_layout(cfg);
    w->backward = backward;
#define GRAPH_WEIGHTS_COUNT(field, inner, columns, present, op, matrix, ld)                                            \
    if (present) {                                                                                                     \
        w->field = (struct bk_weights){.k = inner, .n = columns};                                                      \
        n += bk_weights_size(w->field.k, w->field.n);                                                                  \
    }
    GRAPH_WEIGHTS(GRAPH_WEIGHTS_COUNT)
#undef GRAPH_WEIGHTS_COUNT
    bk_real *next = w->numbers = bk_alloc_large(n, sizeof *w->numbers);
    if (!next) {
        bk_graph_prepared_free(w);
        return bk_fail_nomem(err, n * sizeof *w->numbers);
    }
    memset(next, 0, joint * sizeof *next);
    w->joint_message = next;
    w->joint_input = w->joint_message + s * GRAPH_SLOTS * pad;
    w->joint_gate = w->joint_input + s * 3 * pad;
    w->joint_bias = w->joint_gate + s * 2 * pad;
    next += joint;
#define GRAPH_WEIGHTS_PLACE(field, inner, columns, present, op, matrix, ld)                                            \
    w->field.panels = next;                                                                                            \
    next += bk_weights_size(w->field.k, w->field.n);
    GRAPH_WEIGHTS(GRAPH_WEIGHTS_PLACE)
#undef GRAPH_WEIGHTS_PLACE
    *out = w;
    return BK_OK;
}

void bk_graph_prepared_free(struct bk_graph_prepared *w)
{
    if (!w)
        return;
    free(w->numbers);
    free(w);
}

/* Column p s + j of each of `rows` rows goes to column p pad + j: rows of `parts` vectors become rows of padded ones, ld apart. The padding
 * stays zero. */
static void spread(bk_real *to, size_t ld, const bk_real *from, size_t rows, size_t parts, size_t s)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t p = 0; p < parts; p++)
            memcpy(to + i * ld + p * bk_padded(s), from + (i * parts + p) * s, s * sizeof *to);
}

void bk_graph_prepare(struct bk_graph_prepared *w, const bk_real *params)
{
    const struct bk_graph_config *c = &w->cfg;
    const struct graph_layout *at = &w->at;
    const size_t s = c->s, pad = bk_padded(s);
    w->params = params;
    for (size_t k = 0; k < GRAPH_SLOTS; k++)
        spread(w->joint_message + k * pad, GRAPH_SLOTS * pad, params + at->message + k * s * s, s, 1, s);
    spread(w->joint_input, 3 * pad, params + at->gate, s, 2, s);
    spread(w->joint_input + 2 * pad, 3 * pad, params + at->cand, s, 1, s);
    spread(w->joint_gate, 2 * pad, params + at->gate + s * 2 * s, s, 2, s);
    spread(w->joint_bias, 2 * pad, params + at->gate_bias, 1, 2, s);
    spread(w->joint_bias + 2 * pad, pad, params + at->cand_bias, 1, 1, s);
#define GRAPH_WEIGHTS_PACK(field, inner, columns, present, op, matrix, ld)                                             \
    if (present)                                                                                                       \
        bk_weights_pack((bk_real *)(uintptr_t)w->field.panels, op, matrix, ld, inner, columns);
    GRAPH_WEIGHTS(GRAPH_WEIGHTS_PACK)
#undef GRAPH_WEIGHTS_PACK
}
