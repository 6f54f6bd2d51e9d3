/* Private to model: the tensors of a network in their block. */
#ifndef BK_NET_INT_H
#define BK_NET_INT_H

#include "model/model.h"

static inline size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static inline bool has_p(const struct bk_net_config *c)
{
    return c->aff != BK_AFF_Q;
}
static inline bool has_q(const struct bk_net_config *c)
{
    return c->aff != BK_AFF_P;
}
static inline bool has_cross(const struct bk_net_config *c)
{
    return c->aff == BK_AFF_MATRIX || c->aff == BK_AFF_RESIDUAL || c->aff == BK_AFF_GATE;
}
/* Whether the right side of a pair has dense layers of its own. */
static inline bool has_right(const struct bk_net_config *c)
{
    return c->compat_safe && has_p(c);
}
/* Numbers of the fused vector, before the linear layer. */
static inline size_t fused_size(const struct bk_net_config *c)
{
    return has_p(c) && has_q(c) ? 2 * (size_t)c->n : c->n;
}

/* How a tensor begins: uniform in Glorot's limits or, where few of its many rows are summed, in +-0.1; or one number. */
enum init { INIT_GLOROT, INIT_TENTH, INIT_ZERO, INIT_ONE };
void bk_tensor_init(bk_real *w, size_t rows, size_t cols, enum init how, struct bk_rng *rng);

/* X(field, name, rows, cols, initial value, whether the network has it); s = u / 2. Matrices of the GRU are the paper's
 * [x, h] W: the first d rows meet x, the others h. The others are W of W x, row for row of the output. */
#define NET_TENSORS(X)                                                                                                 \
    X(fw_gate, "gru.forward.gate", c->d + s, 2 * s, INIT_GLOROT, true)                                                 \
    X(fw_gate_bias, "gru.forward.gate.bias", 2 * s, 1, INIT_ONE, true)                                                 \
    X(fw_cand, "gru.forward.candidate", c->d + s, s, INIT_GLOROT, true)                                                \
    X(fw_cand_bias, "gru.forward.candidate.bias", s, 1, INIT_ZERO, true)                                               \
    X(bw_gate, "gru.backward.gate", c->d + s, 2 * s, INIT_GLOROT, true)                                                \
    X(bw_gate_bias, "gru.backward.gate.bias", 2 * s, 1, INIT_ONE, true)                                                \
    X(bw_cand, "gru.backward.candidate", c->d + s, s, INIT_GLOROT, true)                                               \
    X(bw_cand_bias, "gru.backward.candidate.bias", s, 1, INIT_ZERO, true)                                              \
    X(ws1, "attention.ws1", c->a, c->u, INIT_GLOROT, has_p(c))                                                         \
    X(ws2, "attention.ws2", c->r, c->a, INIT_GLOROT, has_p(c))                                                         \
    X(dense1, "dense.wo1", c->e, (size_t)c->r * c->u, INIT_GLOROT, has_p(c))                                           \
    X(dense1_bias, "dense.wo1.bias", c->e, 1, INIT_ZERO, has_p(c))                                                     \
    X(dense2, "dense.wo2", c->n, c->e, INIT_GLOROT, has_p(c))                                                          \
    X(dense2_bias, "dense.wo2.bias", c->n, 1, INIT_ZERO, has_p(c))                                                     \
    X(right1, "dense.wo1.right", c->e, (size_t)c->r * c->u, INIT_GLOROT, has_right(c))                                 \
    X(right1_bias, "dense.wo1.right.bias", c->e, 1, INIT_ZERO, has_right(c))                                           \
    X(right2, "dense.wo2.right", c->n, c->e, INIT_GLOROT, has_right(c))                                                \
    X(right2_bias, "dense.wo2.right.bias", c->n, 1, INIT_ZERO, has_right(c))                                           \
    X(sff, "sff.w", c->n, c->d + c->u, INIT_GLOROT, has_q(c))                                                          \
    X(sff_bias, "sff.bias", c->n, 1, INIT_ZERO, has_q(c))                                                              \
    X(linear, "aff.linear", c->n, fused_size(c), INIT_GLOROT, c->aff_linear)                                           \
    X(linear_bias, "aff.linear.bias", c->n, 1, INIT_ZERO, c->aff_linear)

/* Where each tensor begins in the block; unset where the network lacks it. */
struct layout {
#define LAYOUT_FIELD(field, name, rows, cols, init, present) size_t field;
    NET_TENSORS(LAYOUT_FIELD)
#undef LAYOUT_FIELD
    size_t total;
};

struct layout bk_net_layout(const struct bk_net_config *c);

/* Sorts the functions [from, from + b) by length, longest first and otherwise as given, and numbers their rows. length: b of them, those of
 * length 0 have no place in the packing and come last. order: packed place -> function. row, count: max + 1 numbers, no length is over max.
 * `row` is the packing's. */
struct bk_packing bk_pack_rows(uint32_t *order, uint32_t *row, uint32_t *count, const uint32_t *length, size_t from,
                               size_t b, size_t max);

/* One direction of the GRU: offsets in the block, and its first column in the states and among the columns of a word. */
struct direction {
    size_t gate, gate_bias, cand, cand_bias;
    size_t column, word_column;
};
static inline size_t direction_columns(const struct bk_net_config *c)
{
    return 3 * bk_padded(c->u / 2);
}
static inline struct direction bk_net_direction(const struct bk_net_config *c, const struct layout *l, bool reverse)
{
    return (struct direction){.gate = reverse ? l->bw_gate : l->fw_gate,
                              .gate_bias = reverse ? l->bw_gate_bias : l->fw_gate_bias,
                              .cand = reverse ? l->bw_cand : l->fw_cand,
                              .cand_bias = reverse ? l->bw_cand_bias : l->fw_cand_bias,
                              .column = reverse ? c->u / 2 : 0,
                              .word_column = reverse ? direction_columns(c) : 0};
}

/* X(field, inner, columns, whether it is there, how narrow its numbers may be): the right-hand sides of products; s = u / 2. Those of
 * backward are the transposed. */
enum { INT8, FULL = -1 };
#define NET_WEIGHTS(X)                                                                                                 \
    X(words, c->d, bk_word_columns(c), true, FULL)                                                                     \
    X(fw_gate, s, 2 * bk_padded(s), true, INT8)                                                                        \
    X(fw_cand, s, s, true, INT8)                                                                                       \
    X(bw_gate, s, 2 * bk_padded(s), true, INT8)                                                                        \
    X(bw_cand, s, s, true, INT8)                                                                                       \
    X(ws1, c->u, c->a, has_p(c), INT8)                                                                                 \
    X(ws2, c->a, c->r, has_p(c), INT8)                                                                                 \
    X(dense1, (size_t)c->r * c->u, c->e, has_p(c), INT8)                                                               \
    X(dense2, c->e, c->n, has_p(c), INT8)                                                                              \
    X(right1, (size_t)c->r * c->u, c->e, has_right(c), INT8)                                                           \
    X(right2, c->e, c->n, has_right(c), INT8)                                                                          \
    X(sff, c->u, c->n, has_q(c), INT8)                                                                                 \
    X(linear, fused_size(c), c->n, c->aff_linear, FULL)                                                                \
    X(fw_gate_back, 2 * bk_padded(s), s, w->backward, FULL)                                                            \
    X(fw_cand_back, s, s, w->backward, FULL)                                                                           \
    X(bw_gate_back, 2 * bk_padded(s), s, w->backward, FULL)                                                            \
    X(bw_cand_back, s, s, w->backward, FULL)                                                                           \
    X(ws1_back, c->a, c->u, w->backward &&has_p(c), FULL)                                                              \
    X(ws2_back, c->r, c->a, w->backward &&has_p(c), FULL)                                                              \
    X(dense1_back, c->e, (size_t)c->r * c->u, w->backward && has_p(c), FULL)                                           \
    X(dense2_back, c->n, c->e, w->backward &&has_p(c), FULL)                                                           \
    X(right1_back, c->e, (size_t)c->r * c->u, w->backward && has_right(c), FULL)                                       \
    X(right2_back, c->n, c->e, w->backward &&has_right(c), FULL)                                                       \
    X(linear_back, c->n, fused_size(c), w->backward && c->aff_linear, FULL)

struct bk_prepared {
    struct bk_net_config cfg;
    struct layout at;
    enum bk_precision precision;
    bool backward;
    const bk_real *params;
    bk_real *bias;        /* of a word's columns */
    uint8_t *panels;      /* of all weights below; those that are not there have k 0 */
    bk_real *joint_words; /* d x columns of a word: the x halves side by side, before they are laid out */
    bk_real *joint_gates; /* of both directions s x 2 w: the h half of the gates */
#define WEIGHTS_FIELD(field, inner, columns, present, width) struct bk_weights field;
    NET_WEIGHTS(WEIGHTS_FIELD)
#undef WEIGHTS_FIELD
};

#endif
