/* train: what data sets, training and judging share among themselves. The public face is
 * include/binkin_train.h.
 *
 * A data set is read whole into memory and is immutable then. Its functions are numbered from 0 in the order of
 * the input files, inside a file by address; everything drawn or split names them by that number. */
#ifndef BK_TRAIN_H
#define BK_TRAIN_H

#include "binkin_train.h"
#include "feature/feature.h"

/* ---- data set (dataset.c builds, dataset_file.c writes and reads) ----------------- */

/* Words of one function that are kept; `n_insns` tells the real number. */
#define BK_DATA_MAX_WORDS BK_MAX_SEEN
/* Items of one function that are kept, the first ones. */
#define BK_DATA_MAX_ITEMS BK_MAX_SEEN_ITEMS

#define BK_DATA_MAJOR 1
#define BK_DATA_MINOR 2

/* One image: an input file, or one member of an input archive. Strings belong to the data set. */
struct bk_data_file {
    const char *path, *member; /* member NULL: a plain file */
    const char *project, *version, *compiler, *level;
    enum bk_arch arch;
    uint64_t hash; /* bk_hash64 of the file's bytes (of the archive's) */
};

/* What counts as one source function: a (project, name), or several where they were seen to be aliases of one address
 * somewhere in the project; two functions of unlike labels are never known aliases. */
struct bk_data_label {
    const char *project, *name; /* of several names the one met first */
    const char *source;         /* its source file, of several the one met first; NULL: not known */
    uint64_t key, project_key;  /* hashes of the strings: name the label and the project independent of any order */
    uint64_t source_key;        /* hash of project and source; of a label without source its own key */
};

struct bk_data_func {
    uint32_t label, file;  /* into labels, files */
    const char *name;      /* full, as the symbol table has it */
    uint64_t addr;         /* the binary function is (files[file].hash, member, addr) */
    uint64_t key;          /* hash of that */
    uint32_t n_blocks;     /* basic blocks */
    uint32_t n_insns;      /* instructions, those beyond BK_DATA_MAX_WORDS too */
    uint32_t n_words;      /* kept words, 1 .. BK_DATA_MAX_WORDS */
    const uint32_t *words; /* ids into the data set's words, linear address order */
    uint32_t n_immediates;
    const uint32_t *immediates; /* numbers of the data set's immediates, in the order of the instructions */
    /* The graph; NULL and 0 where the data set has none. */
    const uint32_t *forms;           /* n_words ids into the data set's forms, of the words' instructions */
    uint32_t n_kept_blocks, n_edges; /* kept: those that begin among the kept words */
    const uint16_t
        *block_words; /* words in each kept block, > 0; the blocks follow each other, so that the sum is n_words */
    const struct bk_graph_edge *edges; /* between kept blocks; by from, then to, which occur together once */
    uint32_t n_callees,
        n_callers;    /* distinct addresses it calls directly; functions of its image that so call its address */
    uint32_t n_items; /* 0 .. BK_DATA_MAX_ITEMS */
    const uint32_t
        *items; /* numbers of the data set's items, each once, in the order in which the function first names them */
};

struct bk_dataset {
    struct bk_dataset_info info;
    size_t n, n_labels, n_files;
    const struct bk_data_func *v;
    const struct bk_data_label *labels;
    const struct bk_data_file *files;
    const struct bk_strtab *words; /* every word of every function, in order of first use; no word is unknown here */
    bool has_immediates;           /* false: a file of format 1.0, which says nothing of them */
    size_t n_immediates;
    const int64_t *immediates; /* every value of every function, each once */
    bool has_graph; /* false: a file older than format 1.2, which says nothing of forms, blocks, edges, calls */
    const struct bk_strtab *forms,
        *neutral_forms;      /* every form of every function; what bk_form_neutral makes of them, each once */
    const uint32_t *neutral; /* by form: the id of its neutral form */
    bool has_items;          /* false: a file that says nothing of them */
    size_t n_items;
    const struct bk_item *items; /* every item of every function, each hash once */
    void *owner;
};
static inline enum bk_arch bk_data_arch(const struct bk_dataset *d, size_t i)
{
    return d->files[d->v[i].file].arch;
}
/* bk_dataset_open over bytes (they may go when it returns); for tests and fuzzing. */
BK_MUST_CHECK int bk_dataset_open_bytes(struct bk_dataset **out, const uint8_t *data, size_t size,
                                        struct bk_error *err);

/* ---- splits and pairs (split.c) ---------------------------------------- */

enum bk_part { BK_PART_TRAIN, BK_PART_VALIDATION, BK_PART_TEST };

/* The part of each function into part[0 .. d->n). The units (functions, labels, projects) are ranked by a hash of seed and key and
 * cut at the exact proportions, rounded to whole units: independent of the order of functions. BK_EINVAL: all parts zero. */
BK_MUST_CHECK int bk_split_parts(uint8_t *part, const struct bk_dataset *d, const struct bk_split *s,
                                 struct bk_error *err);
/* The place of a key in the random order of a seed: XXH3-64 of both as little-endian u64, seed first. */
uint64_t bk_key_rank(uint64_t seed, uint64_t key);

/* Functions that pairs are drawn among, grouped by label. */
struct bk_group {
    size_t n;
    uint32_t *v;     /* n functions, sorted by label, then number */
    uint32_t *begin; /* v[begin[k] .. end[k]) are the functions with the label of v[k], k itself among them */
    uint32_t *end;
    size_t n_labels, max_label; /* distinct labels, functions of the largest one */
};
/* The functions of part `which` (`part` NULL: all of the data set) with at least `min_blocks` basic blocks. */
BK_MUST_CHECK int bk_group_init(struct bk_group *out, const struct bk_dataset *d, const uint8_t *part,
                                enum bk_part which, uint32_t min_blocks, struct bk_error *err);
void bk_group_done(struct bk_group *g);
/* A partner of v[k], as a position in v: same label and not k, or another label. SIZE_MAX: there is none. Uniform. */
size_t bk_group_similar(const struct bk_group *g, size_t k, struct bk_rng *rng);
size_t bk_group_dissimilar(const struct bk_group *g, size_t k, struct bk_rng *rng);

struct bk_pair {
    uint32_t a, b; /* positions in the group's v */
    bool similar;
};
struct bk_pairs {
    size_t n;
    struct bk_pair *v; /* heap, end with bk_pairs_done() */
};
/* One similar and one dissimilar pair, in this order, for each function that has both partners; at most `max`
 * pairs (0: all) of functions drawn without replacement. Fixed by seed. */
BK_MUST_CHECK int bk_pairs_fixed(struct bk_pairs *out, const struct bk_group *g, size_t max, uint64_t seed,
                                 struct bk_error *err);
void bk_pairs_done(struct bk_pairs *p);

/* Streams of bk_rng_seed, so that one seed never draws the same numbers for two uses. */
enum bk_stream {
    BK_STREAM_PAIRS = 0x70,
    BK_STREAM_QUERIES,          /* and one more for each axis */
    BK_STREAM_BOOTSTRAP = 0x80, /* resample i: (i + 1) << 32 beside it */
    BK_STREAM_MINHASH,
    BK_STREAM_RIGHT,          /* of function k: (k + 1) << 32 beside it */
    BK_STREAM_WRONG,          /* of chunk c of class i: (c * classes + i + 1) << 32 beside it */
    BK_STREAM_TRAINER = 0x100 /* and up */
};

/* ---- metrics (metrics.c) ----------------------------------------------- */

/* One pair of a group of pairs with a common anchor, which is resampled as a whole. */
struct bk_scored {
    float score;
    uint32_t anchor;
    bool similar;
};
/* Best score first. BK_EINVAL: one class is empty, or a score is no number. */
BK_MUST_CHECK int bk_metric_sort(struct bk_scored *v, size_t n, struct bk_error *err);
/* Area under the ROC curve (Mann-Whitney, a tie counts half) and average precision (sum of (R_i - R_i-1) P_i over distinct scores,
 * no interpolation) of sorted pairs; a pair counts weight[anchor] times (NULL: once). Each class must have some weight. */
void bk_metric_auc_ap(double *auc, double *ap, const struct bk_scored *v, size_t n, const uint32_t *weight);
/* The two curves of sorted pairs; see bk_judged_axis. */
BK_MUST_CHECK int bk_metric_curves(struct bk_curve *roc, struct bk_curve *precision_recall, const struct bk_scored *v,
                                   size_t n, struct bk_error *err);

/* The rank of `right` among `wrong[0..n)`, 1 = best, ties against it: a model that gives one score to all ranks last. */
size_t bk_rank_of(float right, const float *wrong, size_t n);
/* Means over queries of one right answer each. Recall@k: share of ranks <= k; MRR@10: 1/rank, nDCG@10: 1/log2(1 + rank), both 0
 * beyond 10. Query i counts weight[i] times (NULL: once); the sum of weights is not 0. */
enum { BK_RECALL_1, BK_RECALL_10, BK_MRR_10, BK_NDCG_10, BK_RANK_METRICS };
void bk_metric_ranks(double out[BK_RANK_METRICS], const size_t *rank, size_t n, const uint32_t *weight);

/* Recall@k at each k where it grows, at k = 1 and at k = pool; n > 0. */
BK_MUST_CHECK int bk_metric_recall_curve(struct bk_curve *out, const size_t *rank, size_t n, size_t pool,
                                         struct bk_error *err);

/* The percentile `p` (0 .. 1) of sorted numbers, linear between neighbours; n > 0. */
double bk_percentile(const double *sorted, size_t n, double p);
/* The bootstrap: `n_figures` figures of a sample of n, by fn(ctx, out, weight), and their intervals. weight[i] says how often item i was
 * drawn, NULL once each. The same for any number of threads. */
typedef void bk_resample_fn(const void *ctx, double *out, const uint32_t *weight);
BK_MUST_CHECK int bk_bootstrap(struct bk_figure *out, size_t n_figures, size_t n, uint64_t seed, unsigned threads,
                               bk_resample_fn *fn, const void *ctx, struct bk_error *err);

/* The rising sequence nearest to y in squares weighted by w > 0, in place (isotonic regression). */
void bk_metric_isotonic(double *y, const double *w, size_t n);
/* Adds one pair; bk_reliability_end() turns sums into means. */
void bk_reliability_add(struct bk_reliability *r, double probability, bool right);
void bk_reliability_end(struct bk_reliability *r);

/* ---- calibration (calibrate.c) ------------------------------------------- */

struct bk_calibration_class;
/* One class from scores of wrong and right pairs, both left rounded and sorted. `prior`: how much oftener right pairs are of the class than
 * wrong ones. Without 1,000 wrong pairs of more than one score and 8 right ones it has no knots. */
void bk_calibration_fit(struct bk_calibration_class *out, float *wrong, size_t n_wrong, float *right, size_t n_right,
                        double prior);

/* ---- vectors (score.c), also of the validation part while training ------ */

/* Scores of pairs from the vectors of g->v[i], row i of `vectors`: `sides` (1 or 2) of dim floats, the left one first; see
 * bk_model_embed_pairs(). */
void bk_pairs_score(float *score, const struct bk_pairs *p, const float *vectors, size_t dim, size_t sides);

#endif
