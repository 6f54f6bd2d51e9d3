/* What the two halves of the facade share: binkin.c (files, vectors) and binkin_match.c (matching). */
#ifndef BK_BINKIN_INT_H
#define BK_BINKIN_INT_H

#include "base/base.h"
#include "binkin.h"
#include "code/code.h"
#include "feature/feature.h"
#include "image/image.h"
#include "match/match.h"
#include "model/model.h"

struct bk_binary {
    struct bk_image_file *file;
    struct bk_functions **members; /* one an image */
    size_t *first;                 /* n_images + 1: number of the first function of each member */
};

static inline size_t n_members(const struct bk_binary *b)
{
    return b->file->n_images;
}

/* The member that function `i` belongs to. */
static inline size_t member_of(const struct bk_binary *b, size_t i)
{
    size_t low = 0, high = n_members(b);
    while (high - low > 1) {
        size_t mid = low + (high - low) / 2;
        if (b->first[mid] <= i)
            low = mid;
        else
            high = mid;
    }
    return low;
}

static inline const struct bk_function *function_at(const struct bk_binary *b, size_t i)
{
    size_t m = member_of(b, i);
    return &b->members[m]->v[i - b->first[m]];
}

/* Whether one of its names is `name` (`len` bytes); of_source: without its clone suffix. */
bool bk_has_name(const struct bk_function *f, const char *name, size_t len, bool of_source);

/* What happens to the `i`-th decoded function of a list; worker-private scratch is the callee's. */
typedef int body_fn(void *ctx, size_t i, unsigned worker, const struct bk_body *body, struct bk_error *err);

/* The functions of a list as a model sees them. Zero-initialised but for `also`. */
struct inputs {
    const struct bk_model *model;
    body_fn *also; /* NULL allowed: sees each body too */
    void *also_ctx;
    struct bk_input *v; /* n; what they point at is the readers' */
    size_t *n_known, *n_unknown, *n_blocks;
    struct bk_input_reader **reader; /* one a worker */
    unsigned n_workers;
    const struct bk_binary *binary;
    const size_t *list;
};
/* Decodes the functions of `list`; end with bk_binary_inputs_done() also on failure. */
BK_MUST_CHECK int bk_binary_inputs_read(struct inputs *in, const struct bk_model *m, const struct bk_binary *b,
                                        const size_t *list, size_t n, const struct bk_embed_options *opt,
                                        struct bk_error *err);
/* Vectors of the first `n`, n x outputs of the model. */
BK_MUST_CHECK int bk_binary_inputs_embed(float *out, const struct inputs *in, size_t n,
                                         const struct bk_embed_options *opt, struct bk_error *err);
void bk_binary_inputs_done(struct inputs *in);

/* What is around each function of a binary: whom it calls, and its items. */
struct around {
    const struct bk_binary *b;
    struct bk_around_function *of; /* one a function */
    struct bk_arena **arena;       /* one a worker, as the scratch */
    struct bk_items *scratch;
    unsigned n_workers;
};
/* End with bk_around_done() also on failure. */
BK_MUST_CHECK int bk_around_init(struct around *x, const struct bk_binary *b, unsigned threads, struct bk_error *err);
void bk_around_done(struct around *x);
/* For `also` of a struct inputs whose list is all functions of the binary. */
body_fn bk_around_body;
/* All but the vectors of a side whose functions are list[0..n), ascending. `imports` numbers their names. End with
 * bk_around_side_done() also on failure. */
BK_MUST_CHECK int bk_around_side(struct bk_match_side *out, const struct around *x, const size_t *list, size_t n,
                                 struct bk_strtab *imports, struct bk_error *err);
void bk_around_side_done(struct bk_match_side *s);

#endif
