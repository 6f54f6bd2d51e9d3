/* match: what vectors propose for each function of a file A among those of a file B -> answers, by what surrounds the functions too.
 *
 * Pairs that are each other's best answer are taken for matched; a pair whose callers, callees, imports and neighbours in the file
 * are matched with one another, or that shares rare items, gains on its rivals; and so on in rounds, until no pair changes. Names
 * of functions are not known here. The same bytes whatever the number of threads. */
#ifndef BK_MATCH_H
#define BK_MATCH_H

#include "base/base.h"
#include "store/store.h"

#define BK_MATCH_CANDIDATES 50 /* of the scan for each function of A; with fewer, right answers are missed */
#define BK_MATCH_NONE       UINT32_MAX

/* One file. The arrays are the caller's and are only read. */
struct bk_match_side {
    size_t n;        /* functions, in the order of their images and addresses */
    float *vectors;  /* n x dim, unit length */
    uint32_t *image; /* n: in which image each lies, ascending */
    /* What function i calls or jumps to: calls[first_call[i]] up to calls[first_call[i + 1]], ascending, each once. Below n: a
     * function of this side; n + j: import j. */
    size_t *first_call; /* n + 1 */
    uint32_t *calls;
    /* Hashes of its items, in the same way. */
    size_t *first_item; /* n + 1 */
    uint64_t *items;
};

struct bk_match_task {
    struct bk_match_side a, b;
    size_t dim;
    size_t n_imports;          /* numbered alike on both sides */
    const struct bk_hit *hits; /* of bk_scan_top: `k` for each function of A, best first */
    size_t k;
    unsigned threads; /* 0: one per core */
};

/* A candidate and what it rests on. */
struct bk_match_pair {
    uint32_t answer;               /* function of B */
    float score;                   /* cosine */
    float item_score;              /* items in common, weighed by how rare they are, as a share of all that both have */
    float rank_score;              /* cosine and surroundings: what the order rests on */
    uint32_t n_neighbours_matched; /* callers, callees and imports of the query that answer to those of the answer */
    uint32_t n_shared_items;
    bool in_order; /* the function before or behind it in the file is matched with that before or behind the answer */
};

/* Candidates of each function of A, best first; ties by score, then by lower number. */
struct bk_match_ranks {
    size_t n; /* functions of A */
    struct {
        struct bk_match_pair *v;
        size_t n, cap;                /* n: k or more */
        size_t n_neighbours, n_items; /* of the function: callers, callees and imports; items. 0 by vector alone */
    } * of;
};
/* By vectors alone: the hits as they are. Only a.n, hits and k of the task are used. End with bk_match_ranks_done() also on failure. */
BK_MUST_CHECK int bk_match_by_vector(struct bk_match_ranks *out, const struct bk_match_task *t, struct bk_error *err);
/* By the surroundings too. */
BK_MUST_CHECK int bk_match_by_context(struct bk_match_ranks *out, const struct bk_match_task *t, struct bk_error *err);
void bk_match_ranks_done(struct bk_match_ranks *r);
/* Leaves each function of A one candidate or none and none of the `n_b` of B to two: the best pair of all first. */
BK_MUST_CHECK int bk_match_one_to_one(struct bk_match_ranks *r, size_t n_b, struct bk_error *err);

#endif
