/* Reader of tests/fixtures/net/golden.bin (layout in make_golden.py beside it) and the cases in it; for tests alone. */
#ifndef BK_TEST_GOLDEN_H
#define BK_TEST_GOLDEN_H

#include "model/model.h"

struct golden {
    struct bk_map map;
};

void golden_open(struct golden *g, const char *path);
void golden_close(struct golden *g);
/* The `count` numbers of a record, on the heap; NULL when it is not there. */
double *golden_find(const struct golden *g, size_t *count, const char *fmt, ...) BK_PRINTF(3, 4);

/* A network and a batch. */
struct net_case {
    struct bk_net_config cfg;
    size_t n_params, o, n_words, b, n_pairs;
    bk_real *params, *words;
    struct bk_seq seqs[8];
    uint32_t *left, *right;
    int8_t *y;
    struct bk_tensor tensors[BK_NET_MAX_TENSORS];
    size_t n_tensors;
    struct bk_prepared *prepared;
    struct bk_pass *pass;
};
/* A small case of the file; `name` is the aff text too. */
void net_case_load(struct net_case *c, const struct golden *g, const char *name);
/* The same batch under another aff, with weights drawn from (-1, 1). */
void net_case_change(struct net_case *c, const char *aff);
void net_case_free(struct net_case *c);
/* sum (cos - y)^2 + sqrt(penalty). f (b x o), penalty and grads (n_params, added to) may be NULL. */
double net_case_loss(const struct net_case *c, bk_real *f, double *penalty, bk_real *grads);

/* |a - b| <= tol * (1 + |b|), or the test fails and says which. */
void assert_near(double a, double b, double tol, const char *what, size_t index);

#endif
