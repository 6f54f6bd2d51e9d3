/* inputs: functions of a data set as a model looks at them; what training and judging share. */
#ifndef BK_INPUTS_H
#define BK_INPUTS_H

#include "model/model.h"
#include "train.h"

struct bk_inputs {
    size_t n;
    struct bk_input *v;
    size_t n_seen,
        n_unknown; /* words of the sequence branch that the model looks at; without one, forms of the graph's */
    /* What `v` points at. */
    uint32_t *ids, *forms, *neutral;
    uint64_t *hash;
    float *weight;
    uint8_t *kind;
};
/* v[i] is function funcs[i] of `d`, which must live as long. Of `m` only the configuration, words, forms and idf are looked at. BK_EMISMATCH: the
 * model has no words of an architecture, or the data set lacks what a branch looks at. */
BK_MUST_CHECK int bk_inputs_make(struct bk_inputs *out, const struct bk_dataset *d, const uint32_t *funcs, size_t n,
                                 const struct bk_model *m, struct bk_error *err);
void bk_inputs_done(struct bk_inputs *in);

#endif
