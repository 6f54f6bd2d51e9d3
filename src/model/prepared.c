/* A network's weights laid out for products. */
#include "model/net_int.h"

#include <stdlib.h>
#include <string.h>

size_t bk_word_columns(const struct bk_net_config *c)
{
    return 2 * direction_columns(c) + (has_q(c) ? bk_padded(c->n) : 0);
}

/* Whether a weight is laid out in eight bits. */
static bool in_int8(const struct bk_prepared *w, int width)
{
    return w->precision == BK_INT8 && width != FULL;
}

/* Bytes of a weight laid out, whole cache lines. */
static size_t panel_bytes(const struct bk_prepared *w, const struct bk_weights *x, int width)
{
#ifndef BK_REAL_DOUBLE
    if (in_int8(w, width))
        return bk_int8_size(x->k, x->n);
#endif
    (void)w;
    (void)width;
    return bk_padded(bk_weights_size(x->k, x->n)) * sizeof(bk_real);
}

int bk_prepared_new(struct bk_prepared **out, const struct bk_net_config *cfg, enum bk_precision precision,
                    bool backward, struct bk_error *err)
{
    *out = NULL;
    int rc = bk_net_config_check(cfg, err);
    if (rc)
        return rc;
    struct bk_prepared *w = calloc(1, sizeof *w);
    if (!w)
        return bk_fail_nomem(err, sizeof *w);
    const struct bk_net_config *c = &w->cfg;
    w->cfg = *cfg;
    w->at = bk_net_layout(cfg);
    w->precision = precision;
    w->backward = backward;
    size_t s = cfg->u / 2, n = 0, joint = cfg->d * bk_word_columns(cfg), gates = s * 2 * bk_padded(s);
#define WEIGHTS_COUNT(field, inner, columns, present, width)                                                           \
    if (present) {                                                                                                     \
        w->field = (struct bk_weights){.k = inner, .n = columns};                                                      \
        n += panel_bytes(w, &w->field, width);                                                                         \
    }
    NET_WEIGHTS(WEIGHTS_COUNT)
#undef WEIGHTS_COUNT
    w->panels = bk_alloc_large(n, 1);
    w->joint_words = bk_calloc(joint, sizeof *w->joint_words);
    w->joint_gates = bk_calloc(2 * gates, sizeof *w->joint_gates);
    w->bias = bk_calloc(bk_word_columns(cfg), sizeof *w->bias);
    if (!w->panels || !w->joint_words || !w->joint_gates || !w->bias) {
        bk_prepared_free(w);
        return bk_fail_nomem(err, n + (joint + 2 * gates) * sizeof *w->joint_words);
    }
    uint8_t *next = w->panels;
#define WEIGHTS_PLACE(field, inner, columns, present, width)                                                           \
    if (present) {                                                                                                     \
        if (in_int8(w, width))                                                                                         \
            w->field.int8 = next;                                                                                      \
        else                                                                                                           \
            w->field.panels = (bk_real *)(void *)next;                                                                 \
        next += panel_bytes(w, &w->field, width);                                                                      \
    }
    NET_WEIGHTS(WEIGHTS_PLACE)
#undef WEIGHTS_PLACE
    *out = w;
    return BK_OK;
}

void bk_prepared_free(struct bk_prepared *w)
{
    if (!w)
        return;
    free(w->panels);
    free(w->joint_words);
    free(w->joint_gates);
    free(w->bias);
    free(w);
}

/* One direction's [x, h] W and bias: the x half into columns of the words' joint matrix, the h half of the gates into
 * `gates` (s x 2 w). What the padding lies in stays zero. */
static void join_direction(struct bk_prepared *w, bk_real *gates, const bk_real *params, const struct direction *r)
{
    size_t d = w->cfg.d, s = w->cfg.u / 2, pad = bk_padded(s), cols = bk_word_columns(&w->cfg);
    const bk_real *gate = params + r->gate, *cand = params + r->cand;
    bk_real *joint = w->joint_words + r->word_column, *bias = w->bias + r->word_column;
    for (size_t i = 0; i < d; i++) {
        memcpy(joint + i * cols, gate + i * 2 * s, s * sizeof *joint);
        memcpy(joint + i * cols + pad, gate + i * 2 * s + s, s * sizeof *joint);
        memcpy(joint + i * cols + 2 * pad, cand + i * s, s * sizeof *joint);
    }
    memcpy(bias, params + r->gate_bias, s * sizeof *bias);
    memcpy(bias + pad, params + r->gate_bias + s, s * sizeof *bias);
    memcpy(bias + 2 * pad, params + r->cand_bias, s * sizeof *bias);
    for (size_t i = 0; i < s; i++) {
        memcpy(gates + i * 2 * pad, gate + (d + i) * 2 * s, s * sizeof *gates);
        memcpy(gates + i * 2 * pad + pad, gate + (d + i) * 2 * s + s, s * sizeof *gates);
    }
}

static void join(struct bk_prepared *w, const bk_real *params)
{
    const struct bk_net_config *c = &w->cfg;
    size_t cols = bk_word_columns(c), column = 2 * direction_columns(c);
    for (int reverse = 0; reverse < 2; reverse++) {
        const struct direction r = bk_net_direction(c, &w->at, reverse);
        join_direction(w, w->joint_gates + (reverse ? c->u / 2 * 2 * bk_padded(c->u / 2) : 0), params, &r);
    }
    if (!has_q(c))
        return;
    for (size_t j = 0; j < c->n; j++) {
        for (size_t i = 0; i < c->d; i++)
            w->joint_words[i * cols + column + j] = params[w->at.sff + j * (c->d + c->u) + i];
        w->bias[column + j] = params[w->at.sff_bias + j];
    }
}

/* op(b), rows ldb apart, goes into a weights' panels. */
struct source {
    struct bk_weights *to;
    enum bk_op t;
    const bk_real *b;
    size_t ldb;
};

/* Weights of so many numbers do not stay in the caches from one use to the next: then half the bytes are worth widening. */
enum { LARGE = 65536 };

static void pack_one(void *ctx, size_t item, unsigned worker)
{
    const struct source *x = (const struct source *)ctx + item;
    struct bk_weights *to = x->to;
    (void)worker;
    if (to->k == 0)
        return;
#ifndef BK_REAL_DOUBLE
    if (to->int8) {
        bk_int8_pack((void *)(uintptr_t)to->int8, x->t, x->b, x->ldb, to->k, to->n);
        return;
    }
#endif
    bk_real *room = (bk_real *)(uintptr_t)to->panels;
    uint16_t *half = (uint16_t *)(void *)room;
    to->half = to->k * to->n >= LARGE && bk_weights_pack_half(half, x->t, x->b, x->ldb, to->k, to->n) ? half : NULL;
    if (!to->half)
        bk_weights_pack(room, x->t, x->b, x->ldb, to->k, to->n);
}

void bk_prepare(struct bk_prepared *w, const bk_real *params, unsigned threads)
{
    const struct bk_net_config *c = &w->cfg;
    size_t s = c->u / 2, d = c->d, gates = 2 * bk_padded(s), ru = (size_t)c->r * c->u, o = fused_size(c);
    const bk_real *fw = w->joint_gates, *bw = fw + s * gates;
    const bk_real *fw_cand = params + w->at.fw_cand + d * s, *bw_cand = params + w->at.bw_cand + d * s;
    w->params = params;
    join(w, params);
    const struct source sources[] = {
        {&w->dense1, BK_T, params + w->at.dense1, ru}, /* the largest first */
        {&w->dense1_back, BK_N, params + w->at.dense1, ru},
        {&w->dense2, BK_T, params + w->at.dense2, c->e},
        {&w->dense2_back, BK_N, params + w->at.dense2, c->e},
        {&w->right1, BK_T, params + w->at.right1, ru},
        {&w->right1_back, BK_N, params + w->at.right1, ru},
        {&w->right2, BK_T, params + w->at.right2, c->e},
        {&w->right2_back, BK_N, params + w->at.right2, c->e},
        {&w->words, BK_N, w->joint_words, bk_word_columns(c)},
        {&w->fw_gate, BK_N, fw, gates},
        {&w->bw_gate, BK_N, bw, gates},
        {&w->fw_cand, BK_N, fw_cand, s},
        {&w->bw_cand, BK_N, bw_cand, s},
        {&w->fw_gate_back, BK_T, fw, gates},
        {&w->bw_gate_back, BK_T, bw, gates},
        {&w->fw_cand_back, BK_T, fw_cand, s},
        {&w->bw_cand_back, BK_T, bw_cand, s},
        {&w->ws1, BK_T, params + w->at.ws1, c->u},
        {&w->ws1_back, BK_N, params + w->at.ws1, c->u},
        {&w->ws2, BK_T, params + w->at.ws2, c->a},
        {&w->ws2_back, BK_N, params + w->at.ws2, c->a},
        {&w->sff, BK_T, params + w->at.sff + d, d + c->u},
        {&w->linear, BK_T, params + w->at.linear, o},
        {&w->linear_back, BK_N, params + w->at.linear, o},
    };
    bk_par_for(sizeof sources / sizeof *sources, threads, pack_one, (void *)(uintptr_t)sources);
}

void bk_prepared_words(bk_real *xw, const struct bk_prepared *w, const bk_real *x, size_t n)
{
    size_t cols = bk_word_columns(&w->cfg);
    for (size_t i = 0; i < n; i++)
        memcpy(xw + i * cols, w->bias, cols * sizeof *xw);
    bk_product(xw, cols, &w->words, n, x, w->cfg.d, true);
}
