/* Private to model: the tensors of the graph branch in their block, and its weights laid out for products. */
#ifndef BK_GRAPH_INT_H
#define BK_GRAPH_INT_H

#include "model/net_int.h"

/* A message goes through the slot of its edge: one of two kinds of control flow, along the edge or against it. */
enum { GRAPH_SLOTS = 4 };
static inline size_t graph_slot(unsigned kind, bool against)
{
    return (kind == BK_EDGE_FALL || kind == BK_EDGE_NOT_TAKEN ? 0u : 2u) + against;
}

/* Sizes of the function that stand beside its pooled nodes: of x, log(1 + x) / 8, which is about 0 to 1. */
enum { GRAPH_EXTRAS = 4 };
static inline size_t graph_inputs(const struct bk_graph_config *c) /* of the dense layer */
{
    return (size_t)c->r * c->s + GRAPH_EXTRAS;
}

/* X(field, name, rows, cols, initial value); s = c->s. Rows [k s, (k + 1) s) of the message matrix are W of h W in slot k; those of the
 * cell are [x, h] W as in NET_TENSORS, x the messages. A node sums rows of the table. The others are W of W x, row for row of the output. */
#define GRAPH_TENSORS(X)                                                                                               \
    X(table, "graph.table", c->forms, s, INIT_TENTH)                                                                   \
    X(bias, "graph.table.bias", s, 1, INIT_ZERO)                                                                       \
    X(message, "graph.message", GRAPH_SLOTS *s, s, INIT_GLOROT)                                                        \
    X(gate, "graph.cell.gate", 2 * s, 2 * s, INIT_GLOROT)                                                              \
    X(gate_bias, "graph.cell.gate.bias", 2 * s, 1, INIT_ONE)                                                           \
    X(cand, "graph.cell.candidate", 2 * s, s, INIT_GLOROT)                                                             \
    X(cand_bias, "graph.cell.candidate.bias", s, 1, INIT_ZERO)                                                         \
    X(ws1, "graph.attention.ws1", c->a, s, INIT_GLOROT)                                                                \
    X(ws2, "graph.attention.ws2", c->r, c->a, INIT_GLOROT)                                                             \
    X(dense, "graph.dense", c->n, graph_inputs(c), INIT_GLOROT)                                                        \
    X(dense_bias, "graph.dense.bias", c->n, 1, INIT_ZERO)

/* Where each tensor begins in the block. */
struct graph_layout {
#define GRAPH_LAYOUT_FIELD(field, name, rows, cols, init) size_t field;
    GRAPH_TENSORS(GRAPH_LAYOUT_FIELD)
#undef GRAPH_LAYOUT_FIELD
    size_t total;
};
struct graph_layout bk_graph_layout(const struct bk_graph_config *c);

/* X(field, inner, columns, whether it is there, op, matrix, distance of its rows): the right-hand sides of products, made of op(matrix);
 * s = c->s, pad = bk_padded(s). Those of backward are the transposed. */
#define GRAPH_WEIGHTS(X)                                                                                               \
    X(message, s, GRAPH_SLOTS *pad, true, BK_N, w->joint_message, GRAPH_SLOTS *pad)                                    \
    X(input, s, 3 * pad, true, BK_N, w->joint_input, 3 * pad)                                                          \
    X(gate, s, 2 * pad, true, BK_N, w->joint_gate, 2 * pad)                                                            \
    X(cand, s, s, true, BK_N, params + at->cand + s * s, s)                                                            \
    X(ws1, s, c->a, true, BK_T, params + at->ws1, s)                                                                   \
    X(ws2, c->a, c->r, true, BK_T, params + at->ws2, c->a)                                                             \
    X(dense, graph_inputs(c), c->n, true, BK_T, params + at->dense, graph_inputs(c))                                   \
    X(message_back, GRAPH_SLOTS *pad, s, w->backward, BK_T, w->joint_message, GRAPH_SLOTS *pad)                        \
    X(input_gate_back, 2 * pad, s, w->backward, BK_T, w->joint_input, 3 * pad)                                         \
    X(input_cand_back, s, s, w->backward, BK_T, w->joint_input + 2 * pad, 3 * pad)                                     \
    X(gate_back, 2 * pad, s, w->backward, BK_T, w->joint_gate, 2 * pad)                                                \
    X(cand_back, s, s, w->backward, BK_T, params + at->cand + s * s, s)                                                \
    X(ws1_back, c->a, s, w->backward, BK_N, params + at->ws1, s)                                                       \
    X(ws2_back, c->r, c->a, w->backward, BK_N, params + at->ws2, c->a)                                                 \
    X(dense_back, c->n, graph_inputs(c), w->backward, BK_N, params + at->dense, graph_inputs(c))

struct bk_graph_prepared {
    struct bk_graph_config cfg;
    struct graph_layout at;
    bool backward;
    const bk_real *params;
    bk_real *numbers;       /* all that follows lies in it */
    bk_real *joint_message; /* s x slots pad: the slots side by side */
    bk_real *joint_input;   /* s x 3 pad: the parts of gate and candidate that meet x */
    bk_real *joint_gate;    /* s x 2 pad: that of the gate that meets h */
    bk_real *joint_bias;    /* 3 pad: of gate and candidate */
#define GRAPH_WEIGHTS_FIELD(field, inner, columns, present, op, matrix, ld) struct bk_weights field;
    GRAPH_WEIGHTS(GRAPH_WEIGHTS_FIELD)
#undef GRAPH_WEIGHTS_FIELD
};

#endif
