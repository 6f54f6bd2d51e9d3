/* What the .c files of this room share: a side with its graph made ready for questions. */
#ifndef BK_MATCH_INT_H
#define BK_MATCH_INT_H

#include "match/match.h"

/* Lists of numbers: list i is v[first[i]] up to v[first[i + 1]], ascending, each once. */
struct lists {
    size_t n;
    size_t *first; /* n + 1 */
    uint32_t *v;
};
static inline bool list_has(const struct lists *l, size_t i, uint32_t value)
{
    size_t lo = l->first[i], hi = l->first[i + 1];
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (l->v[mid] < value)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < l->first[i + 1] && l->v[lo] == value;
}
static inline size_t list_size(const struct lists *l, size_t i)
{
    return l->first[i + 1] - l->first[i];
}

/* A side as a graph. Nodes: its functions, then the imports. A node that many call, or that calls many, says little of each. */
struct graph {
    size_t n, n_nodes;
    struct lists callees, callers; /* of functions; of all nodes */
    float *callee_weight;          /* n_nodes: as a callee */
    float *caller_weight;          /* n: as a caller */
    float *weight;                 /* n: sum over the neighbours of each function */
};
BK_MUST_CHECK int bk_match_graph_init(struct graph *g, const struct bk_match_side *s, size_t n_imports,
                                      struct bk_error *err);
void bk_match_graph_done(struct graph *g);

/* Items of both sides under common numbers. */
struct items {
    struct lists a, b;
    float *weight;        /* of each item: squared inverse document frequency over both sides */
    float *sum_a, *sum_b; /* of the weights of each function's items */
};
BK_MUST_CHECK int bk_match_items_init(struct items *x, const struct bk_match_side *a, const struct bk_match_side *b,
                                      struct bk_error *err);
void bk_match_items_done(struct items *x);

/* Orders the candidates of each function: best first. */
void bk_match_sort(struct bk_match_ranks *r);

#endif
