/* judge: what the files of judging (trial.c, trial_file.c, score.c, baseline.c, judge.c) share. */
#ifndef BK_JUDGE_H
#define BK_JUDGE_H

#include "model/model.h"
#include "train.h"

/* ---- trial (trial.c draws, trial_file.c writes and reads) ---------------- */

/* What a file was built by; strings as ids, so that two builds compare by numbers. No padding: it is a key. */
struct bk_build {
    uint32_t arch, compiler, level, project, version;
};
/* Whether a function built by `b` may answer a query built by `a`. The version is looked at inside one project only: a wrong answer of
 * another project has none to agree with. */
bool bk_build_related(enum bk_axis axis, const struct bk_build *a, const struct bk_build *b);

/* A query and its right answer, as positions in the group. */
struct bk_anchor {
    uint32_t query, match;
    uint32_t n_wrong; /* functions of other labels whose build is related to the query's; never 0 */
};
struct bk_trial_axis {
    bool asked;
    size_t *total;    /* functions whose build is related to each of the builds */
    size_t n_matched; /* see bk_trial_axis_info */
    size_t n, cap;
    struct bk_anchor *v; /* n; the first min(n, options.queries) are asked of pools */
};
struct bk_trial {
    const struct bk_dataset *d; /* borrowed */
    struct bk_trial_options opt;
    uint8_t *part;     /* of all functions of the data set; BK_PART_NONE: left out */
    struct bk_group g; /* those that are judged */
    uint32_t *build;   /* of each, into builds */
    struct bk_build *builds;
    size_t n_builds;
    uint32_t *ring;     /* the group in the order of bk_key_rank, g.n */
    uint32_t *ring_at;  /* where in the ring each position stands */
    uint64_t *sequence; /* hash of each one's words or opcodes; NULL unless `identical` compares them */
    size_t n_seen, n_twice;
    struct bk_trial_axis axes[BK_AXIS_COUNT];
};
enum { BK_PART_NONE = 3 };

/* A trial of `opt` without anchors. */
BK_MUST_CHECK int bk_trial_new(struct bk_trial **out, const struct bk_dataset *d, const struct bk_trial_options *opt,
                               struct bk_error *err);
/* bk_trial_load over bytes, for fuzzing. */
BK_MUST_CHECK int bk_trial_load_bytes(struct bk_trial **out, const uint8_t *data, size_t size,
                                      const struct bk_dataset *d, struct bk_error *err);
/* Whether `match` may be the right answer of `query`. */
bool bk_trial_matches(const struct bk_trial *t, enum bk_axis axis, size_t query, size_t match);
size_t bk_trial_n_wrong(const struct bk_trial *t, enum bk_axis axis, size_t query);
/* The first `n` wrong answers (n <= n_wrong): those that follow the query in the ring. `related`: n_builds, scratch. */
void bk_trial_wrong(uint32_t *out, size_t n, const struct bk_trial *t, enum bk_axis axis, size_t query, bool *related);
static inline size_t bk_trial_queries(const struct bk_trial *t, enum bk_axis axis)
{
    return t->axes[axis].n < t->opt.queries ? t->axes[axis].n : t->opt.queries;
}

/* ---- scores (score.c: vectors of a model; baseline.c: features) ---------- */

/* Scores functions of a trial's group, named by their positions. One of the three is there. */
struct bk_scorer {
    float *vectors; /* g.n rows of `row` numbers: dim as the left one of a pair, from `right` on dim as the right one */
    size_t dim, row, right;
    struct bk_rows *rows; /* sparse, unit length */
    uint32_t *signatures; /* g.n x BK_MINHASHES */
    double unknown_words, seconds;
};
#define BK_MINHASHES 128

BK_MUST_CHECK int bk_scorer_init(struct bk_scorer *out, const struct bk_trial *t, const struct bk_subject *subject,
                                 const struct bk_judge_options *opt, struct bk_error *err);
void bk_scorer_done(struct bk_scorer *s);
/* Numbers a thread needs as scratch for scores, all zero before and after. */
size_t bk_scorer_scratch(const struct bk_scorer *s);
void bk_scorer_scores(float *score, const struct bk_scorer *s, float *scratch, uint32_t query, const uint32_t *others,
                      size_t n);

/* Sparse rows: of function i the entries begin[i] .. begin[i + 1), features rising. */
struct bk_rows {
    size_t n, n_features;
    size_t *begin; /* n + 1 */
    uint32_t *feature;
    float *weight;
};
/* The weights of a baseline that is a cosine; of each function of the group a row of length 1, or 0 where it has no feature. */
BK_MUST_CHECK int bk_rows_new(struct bk_rows **out, const struct bk_trial *t, enum bk_baseline baseline,
                              struct bk_error *err);
void bk_rows_free(struct bk_rows *r);
BK_MUST_CHECK int bk_minhash(uint32_t **out, const struct bk_trial *t, unsigned threads, struct bk_error *err);

#endif
