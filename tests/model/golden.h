/* The cases in tests/fixtures/net/golden.bin, and what the other files there have in common; for tests alone. */
#ifndef BK_TEST_GOLDEN_H
#define BK_TEST_GOLDEN_H

#include "../nn/records.h"
#include "model/model.h"

/* A network and a batch. */
struct net_case {
    struct bk_net_config cfg;
    size_t n_params, o, sides, n_words, b, n_pairs;
    bk_real *params, *words;
    struct bk_seq seqs[8];
    uint32_t *left, *right;
    int8_t *y;
    struct bk_tensor tensors[BK_NET_MAX_TENSORS];
    size_t n_tensors;
    struct bk_prepared *prepared;
    struct bk_pass *pass;
};
/* A small case of the file; `name` is the aff text too, behind "compat:" where the network is that of SAFE's program. */
void net_case_load(struct net_case *c, const struct golden *g, const char *name);
/* The same batch under another aff, with weights drawn from (-1, 1). */
void net_case_change(struct net_case *c, const char *aff);
void net_case_free(struct net_case *c);
/* sum (score - y)^2 + sqrt(penalty), the cosine or, under compat, the dot product and the penalty of the right functions. f (b x sides o),
 * penalty, grads (n_params, added to) and word_grads (n_words x d, only with grads) may be NULL. */
double net_case_loss(const struct net_case *c, bk_real *f, double *penalty, bk_real *grads, bk_real *word_grads);
/* word_grads (n_words x d) = g, zero elsewhere. */
void net_case_spread(const struct net_case *c, bk_real *word_grads, const struct bk_word_grads *g);

/* The record PREFIX/NAME, which must be there, in the arena. */
bk_real *golden_reals(struct bk_arena *a, const struct golden *g, size_t *n, const char *prefix, const char *name);
uint32_t *golden_ids(struct bk_arena *a, const struct golden *g, size_t *n, const char *prefix, const char *name);
/* A function of make_graph_branch.py: the records PREFIX/insns, forms, neutral, edges and sizes. */
struct bk_graph golden_graph(struct bk_arena *a, const struct golden *g, const char *prefix);
/* x is the record PREFIX/NAME, up to `limit`. */
void assert_golden(const struct golden *g, const bk_real *x, size_t count, double limit, const char *prefix,
                   const char *name);

#endif
