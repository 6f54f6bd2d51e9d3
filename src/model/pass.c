/* The way of a shard through the ops of nn, forward and backward. */
#include "model/net_int.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Distance of rows of the states: the second direction's whole vectors begin at column s. */
static size_t state_columns(const struct bk_net_config *c)
{
    return bk_padded(c->u / 2 + bk_padded(c->u / 2));
}

/* X(field, numbers): every array of bk_real that a pass of b functions and m rows needs; distinct words are no more than rows. k is m
 * where the activations are kept for backward, else 0. fw and bw are the directions, xw is what depends on the word
 * alone, h the states, numbers or bytes; gradients of activations begin with d. Rows of functions are padded; from y and q on all of
 * them are there for each of the s sides, one after the other. */
#define PASS_BUFFERS(X)                                                                                                \
    X(x, own * c->d) /* vectors of the distinct words */                                                               \
    X(dx, k * c->d)                                                                                                    \
    X(xw, own *bk_word_columns(c))                                                                                     \
    X(dwx, c->d * 6 * w * (k > 0))                                                                                     \
    X(dxw, k * 6 * w)                                                                                                  \
    X(fw_gate, larger(k, b) * 2 * w)                                                                                   \
    X(fw_cand, larger(k, b) * w)                                                                                       \
    X(fw_rh, larger(k, b) * w)                                                                                         \
    X(fw_prev, k *w)                                                                                                   \
    X(bw_gate, larger(k, b) * 2 * w)                                                                                   \
    X(bw_cand, larger(k, b) * w)                                                                                       \
    X(bw_rh, larger(k, b) * w)                                                                                         \
    X(bw_prev, k *w)                                                                                                   \
    X(h, m *state_columns(c))                                                                                          \
    X(dh, k *state_columns(c))                                                                                         \
    X(z, larger(k, BK_ATTENTION_ROWS) * bk_padded(c->a))                                                               \
    X(att, m *bk_padded(c->r))                                                                                         \
    X(gram, b * c->r * c->r)                                                                                           \
    X(pad, b *bk_padded(c->r))                                                                                         \
    X(weight, b)                                                                                                       \
    X(f, b *bk_padded((size_t)c->r * c->u))                                                                            \
    X(df, s *bk *bk_padded((size_t)c->r * c->u))                                                                       \
    X(y, s *b *bk_padded(c->e))                                                                                        \
    X(dy, s *bk *bk_padded(c->e))                                                                                      \
    X(p, s *b *bk_padded(c->n))                                                                                        \
    X(dp, s *bk *bk_padded(c->n))                                                                                      \
    X(q, s *b *bk_padded(c->n))                                                                                        \
    X(dq, s *bk *bk_padded(c->n))                                                                                      \
    X(unit_p, s *b *bk_padded(c->n))                                                                                   \
    X(unit_q, s *b *bk_padded(c->n))                                                                                   \
    X(dunit_p, s *bk *bk_padded(c->n))                                                                                 \
    X(dunit_q, s *bk *bk_padded(c->n))                                                                                 \
    X(norm_p, s *b)                                                                                                    \
    X(norm_q, s *b)                                                                                                    \
    X(fused, s *b *bk_padded(fused_size(c)))                                                                           \
    X(dfused, s *bk *bk_padded(fused_size(c)))                                                                         \
    X(out, s *b *bk_padded(bk_net_outputs(c)))                                                                         \
    X(dout, s *bk *bk_padded(bk_net_outputs(c)))                                                                       \
    X(scratch, scratch_size(c, b, m, k > 0))

/* X(field, numbers): the arrays of uint32_t. */
#define PASS_INDEXES(X)                                                                                                \
    X(order, b)                 /* packed place -> place in seqs; those without words come last */                     \
    X(length, b)                /* words of the functions packed together */                                           \
    X(arg, bk *bk_padded(c->n)) /* of struct bk_sff */                                                                 \
    X(word, m)                  /* row -> distinct word, or row of the columns at hand */                              \
    X(distinct, own)            /* distinct word -> id */                                                              \
    X(row, c->max_insns + 1)    /* of struct bk_packing */                                                             \
    X(count, c->max_insns + 1)  /* functions of a length */

struct bk_pass {
    struct bk_net_config cfg;
    struct layout at;
    struct bk_packing pk;
    size_t n; /* functions whose branches are done: the first rows of f and q */
    size_t n_distinct;
    bool kept;
    size_t cap_b, cap_m, cap_own; /* what the arrays hold */
    bool cap_keep;
    bk_real *numbers; /* one allocation for all PASS_BUFFERS, one for all PASS_INDEXES */
    uint32_t *indexes;
    uint32_t *slot; /* word id -> distinct word + 1, n_slots of them; all 0 between passes */
    size_t n_slots;
#define PASS_BUFFER_FIELD(field, size) bk_real *field;
    PASS_BUFFERS(PASS_BUFFER_FIELD)
#undef PASS_BUFFER_FIELD
#define PASS_INDEX_FIELD(field, size) uint32_t *field;
    PASS_INDEXES(PASS_INDEX_FIELD)
#undef PASS_INDEX_FIELD
};

enum {
    PASS_MAX_FUNCTIONS = 1 << 20,
    GROUP = 32 /* functions whose states stay in the second-level cache from one op to the next */
};

/* ---- the ops of a pass ------------------------------------------------------ */

static struct bk_gru gru_of(const struct bk_pass *p, const struct bk_prepared *w, bool reverse)
{
    return (struct bk_gru){.s = p->cfg.u / 2,
                           .reverse = reverse,
                           .wg = reverse ? w->bw_gate : w->fw_gate,
                           .wc = reverse ? w->bw_cand : w->fw_cand,
                           .word = p->word,
                           .gate = reverse ? p->bw_gate : p->fw_gate,
                           .cand = reverse ? p->bw_cand : p->fw_cand,
                           .rh = reverse ? p->bw_rh : p->fw_rh,
                           .prev = !p->kept  ? NULL
                                   : reverse ? p->bw_prev
                                             : p->fw_prev};
}

static struct bk_attention attention_of(const struct bk_pass *p, const struct bk_prepared *w, bool with_gram)
{
    return (struct bk_attention){.u = p->cfg.u,
                                 .a = p->cfg.a,
                                 .r = p->cfg.r,
                                 .ws1 = w->ws1,
                                 .ws2 = w->ws2,
                                 .keep = p->kept,
                                 .z = p->z,
                                 .att = p->att,
                                 .weight = p->weight,
                                 .cover = p->cfg.compat_safe ? p->cfg.max_insns : 0,
                                 .pad = p->pad,
                                 .gram = with_gram ? p->gram : NULL};
}

static struct bk_sff sff_of(const struct bk_pass *p, const struct bk_prepared *w, struct bk_columns xw)
{
    return (struct bk_sff){.d = p->cfg.d,
                           .u = p->cfg.u,
                           .n = p->cfg.n,
                           .wh = w->sff,
                           .xw = bk_columns_from(xw, 2 * direction_columns(&p->cfg)),
                           .word = p->word,
                           .arg = p->kept ? p->arg : NULL};
}

/* The ops of a pass run one after the other and share one scratch. */
static size_t scratch_size(const struct bk_net_config *c, size_t b, size_t m, bool keep)
{
    const struct bk_packing pk = {.b = b, .t = c->max_insns, .m = m};
    const struct bk_attention at = {.u = c->u, .a = c->a, .r = c->r, .keep = keep};
    const struct bk_sff sff = {.d = c->d, .u = c->u, .n = c->n};
    size_t n = larger(bk_gru_scratch(c->u / 2, b), 2 * (size_t)c->n);
    return larger(n, larger(bk_attention_scratch(&at, &pk), bk_sff_scratch(&sff, &pk)));
}

/* ---- memory ------------------------------------------------------------------ */

/* Arrays begin on cache lines. `own`: distinct words of the pass itself. */
static int reserve(struct bk_pass *p, size_t b, size_t m, size_t own, bool keep, struct bk_error *err)
{
    const struct bk_net_config *c = &p->cfg;
    size_t w = bk_padded(c->u / 2), s = bk_net_sides(c), numbers = 0, indexes = 0;
    if (b <= p->cap_b && m <= p->cap_m && own <= p->cap_own && keep <= p->cap_keep)
        return BK_OK;
    b = larger(b, p->cap_b);
    m = larger(m <= p->cap_m ? m : m + m / 4, p->cap_m);
    own = own || p->cap_own ? m : 0;
    keep = keep || p->cap_keep;
    p->cap_b = p->cap_m = p->cap_own = 0;
    free(p->numbers);
    free(p->indexes);
    p->numbers = NULL;
    p->indexes = NULL;
    size_t k = keep ? m : 0, bk = keep ? b : 0;
#define PASS_COUNT_NUMBERS(field, size) numbers += bk_padded(size);
#define PASS_COUNT_INDEXES(field, size) indexes += bk_padded(size);
    PASS_BUFFERS(PASS_COUNT_NUMBERS)
    PASS_INDEXES(PASS_COUNT_INDEXES)
    p->numbers = aligned_alloc(64, numbers * sizeof *p->numbers);
    p->indexes = aligned_alloc(64, indexes * sizeof *p->indexes);
    if (!p->numbers || !p->indexes)
        return bk_fail_nomem(err, numbers * sizeof *p->numbers + indexes * sizeof *p->indexes);
    bk_real *next = p->numbers;
    uint32_t *next_index = p->indexes;
#define PASS_PLACE_NUMBERS(field, size)                                                                                \
    p->field = next;                                                                                                   \
    next += bk_padded(size);
#define PASS_PLACE_INDEXES(field, size)                                                                                \
    p->field = next_index;                                                                                             \
    next_index += bk_padded(size);
    PASS_BUFFERS(PASS_PLACE_NUMBERS)
    PASS_INDEXES(PASS_PLACE_INDEXES)
    p->cap_b = b;
    p->cap_m = m;
    p->cap_own = own;
    p->cap_keep = keep;
    return BK_OK;
}

int bk_pass_new(struct bk_pass **out, const struct bk_net_config *cfg, struct bk_error *err)
{
    *out = NULL;
    int rc = bk_net_config_check(cfg, err);
    if (rc)
        return rc;
    struct bk_pass *p = calloc(1, sizeof *p);
    if (!p)
        return bk_fail_nomem(err, sizeof *p);
    p->cfg = *cfg;
    p->at = bk_net_layout(cfg);
    *out = p;
    return BK_OK;
}

void bk_pass_free(struct bk_pass *p)
{
    if (!p)
        return;
    free(p->numbers);
    free(p->indexes);
    free(p->slot);
    free(p);
}

/* ---- packing ------------------------------------------------------------------- */

static size_t seen(const struct bk_pass *p, const struct bk_seq *seq)
{
    return seq->n < p->cfg.max_insns ? seq->n : p->cfg.max_insns;
}

/* Checks the input before anything is written, and makes room for it. */
static int admit(struct bk_pass *p, const struct bk_seq *seqs, size_t b, size_t n_words, bool own, bool keep,
                 struct bk_error *err)
{
    size_t m = 0;
    if (b > PASS_MAX_FUNCTIONS)
        return bk_fail(err, BK_ELIMIT, BK_NO_OFFSET, "a shard of %zu functions, at most %d go at once", b,
                       PASS_MAX_FUNCTIONS);
    for (size_t i = 0; i < b; i++) {
        size_t t = seen(p, &seqs[i]);
        for (size_t at = 0; at < t; at++)
            if (seqs[i].ids[at] >= n_words)
                return bk_fail(err, BK_EINVAL, BK_NO_OFFSET,
                               "word %zu of function %zu has id %u, the vocabulary ends at %zu", at, i, seqs[i].ids[at],
                               n_words);
        m += t;
    }
    if (m > UINT32_MAX / 2)
        return bk_fail(err, BK_ELIMIT, BK_NO_OFFSET, "a shard of %zu words, at most %u go at once", m, UINT32_MAX / 2);
    if (own && n_words > p->n_slots) {
        uint32_t *slot = bk_calloc(n_words, sizeof *slot);
        if (!slot)
            return bk_fail_nomem(err, n_words * sizeof *slot);
        free(p->slot);
        p->slot = slot;
        p->n_slots = n_words;
    }
    return reserve(p, b, m, own ? m : 0, keep, err);
}

struct bk_packing bk_pack_rows(uint32_t *order, uint32_t *row, uint32_t *count, const uint32_t *length, size_t from,
                               size_t b, size_t max)
{
    size_t active = 0;
    memset(count, 0, (max + 1) * sizeof *count);
    for (size_t i = 0; i < b; i++)
        count[length[i]]++;
    struct bk_packing pk = {.b = b - count[0], .row = row};
    row[0] = 0;
    for (size_t at = 0, left = pk.b; at < max && left > 0; at++) { /* functions longer than `at` words */
        pk.m += left;
        pk.t = at + 1;
        row[at + 1] = (uint32_t)pk.m;
        left -= count[at + 1];
    }
    for (size_t t = max + 1; t-- > 0;) { /* counts become first places */
        size_t n = count[t];
        count[t] = (uint32_t)active;
        active += n;
    }
    for (size_t i = 0; i < b; i++)
        order[count[length[i]]++] = (uint32_t)(from + i);
    return pk;
}

static void pack(struct bk_pass *p, const struct bk_seq *seqs, size_t from, size_t b)
{
    for (size_t i = 0; i < b; i++)
        p->length[i] = (uint32_t)seen(p, &seqs[from + i]);
    p->pk = bk_pack_rows(p->order + p->n, p->row, p->count, p->length, from, b, p->cfg.max_insns);
}

/* Numbers the distinct words: p->word and p->distinct. */
static void find_distinct(struct bk_pass *p, const struct bk_seq *seqs)
{
    p->n_distinct = 0;
    for (size_t i = 0; i < p->pk.b; i++) {
        const struct bk_seq *seq = &seqs[p->order[p->n + i]];
        for (size_t at = 0, t = seen(p, seq); at < t; at++) {
            uint32_t id = seq->ids[at];
            if (p->slot[id] == 0) {
                p->distinct[p->n_distinct++] = id;
                p->slot[id] = (uint32_t)p->n_distinct;
            }
            p->word[p->row[at] + i] = p->slot[id] - 1;
        }
    }
    for (size_t i = 0; i < p->n_distinct; i++)
        p->slot[p->distinct[i]] = 0;
}

/* p->word where the columns of each word are at hand. */
static void find_rows(struct bk_pass *p, const struct bk_seq *seqs, const uint32_t *row)
{
    for (size_t i = 0; i < p->pk.b; i++) {
        const struct bk_seq *seq = &seqs[p->order[p->n + i]];
        for (size_t at = 0, t = seen(p, seq); at < t; at++)
            p->word[p->row[at] + i] = row[seq->ids[at]];
    }
}

/* ---- from P and Q to the function vector ------------------------------------ */

static enum bk_fusion fusion_of(const struct bk_net_config *c)
{
    return c->aff == BK_AFF_MATRIX     ? BK_FUSION_MATRIX
           : c->aff == BK_AFF_RESIDUAL ? BK_FUSION_RESIDUAL
           : c->aff == BK_AFF_GATE     ? BK_FUSION_GATE
                                       : BK_FUSION_NONE;
}

static double cross_scale(const struct bk_net_config *c)
{
    return c->aff_scale ? 1 / sqrt((double)c->n) : 1;
}

static void units(bk_real *unit, bk_real *norm, const bk_real *x, size_t b, size_t n)
{
    for (size_t i = 0, ld = bk_padded(n); i < b; i++)
        norm[i] = (bk_real)bk_unit_forward(unit + i * ld, x + i * ld, n);
}

static void units_backward(bk_real *dx, const bk_real *dunit, const bk_real *unit, const bk_real *norm, size_t b,
                           size_t n)
{
    size_t ld = bk_padded(n);
    memset(dx, 0, b * ld * sizeof *dx);
    for (size_t i = 0; i < b; i++)
        bk_unit_backward(dx + i * ld, dunit + i * ld, unit + i * ld, (double)norm[i], n);
}

/* p->p and p->q to p->out, packed order, one side after the other. */
static void fuse_forward(struct bk_pass *p, const struct bk_prepared *w)
{
    const struct bk_net_config *c = &p->cfg;
    size_t b = p->n * bk_net_sides(c), n = c->n, ld = bk_padded(n), ldf = bk_padded(fused_size(c));
    const bk_real *in_p = p->p, *in_q = p->q;
    if (c->aff_norm && has_p(c)) {
        units(p->unit_p, p->norm_p, p->p, b, n);
        in_p = p->unit_p;
    }
    if (c->aff_norm && has_q(c)) {
        units(p->unit_q, p->norm_q, p->q, b, n);
        in_q = p->unit_q;
    }
    bk_real *fused = c->aff_linear ? p->fused : p->out; /* without the layer both have rows of one length */
    for (size_t i = 0; i < b; i++)
        if (has_p(c) && has_q(c))
            bk_fusion_forward(fused + i * ldf, in_p + i * ld, in_q + i * ld, n, fusion_of(c), cross_scale(c),
                              p->scratch);
        else
            memcpy(fused + i * ldf, (has_p(c) ? in_p : in_q) + i * ld, n * sizeof *fused);
    if (c->aff_linear)
        bk_dense_forward(p->out, fused, ldf, &w->linear, w->params + p->at.linear_bias, b, false);
}

/* p->dout to p->dp and p->dq, which are overwritten. */
static void fuse_backward(struct bk_pass *p, bk_real *grads, const struct bk_prepared *w)
{
    const struct bk_net_config *c = &p->cfg;
    size_t b = p->n * bk_net_sides(c), n = c->n, ld = bk_padded(n), ldf = bk_padded(fused_size(c));
    const bk_real *dfused = p->dout;
    if (c->aff_linear) {
        bk_dense_backward(p->dfused, grads + p->at.linear, grads + p->at.linear_bias, p->dout, p->out, p->fused, ldf,
                          &w->linear_back, b, false);
        dfused = p->dfused;
    }
    bk_real *dp = c->aff_norm ? p->dunit_p : p->dp, *dq = c->aff_norm ? p->dunit_q : p->dq;
    const bk_real *in_p = c->aff_norm ? p->unit_p : p->p, *in_q = c->aff_norm ? p->unit_q : p->q;
    memset(dp, 0, b * ld * sizeof *dp);
    memset(dq, 0, b * ld * sizeof *dq);
    for (size_t i = 0; i < b; i++)
        if (has_p(c) && has_q(c))
            bk_fusion_backward(dp + i * ld, dq + i * ld, dfused + i * ldf, in_p + i * ld, in_q + i * ld, n,
                               fusion_of(c), cross_scale(c), p->scratch);
        else
            memcpy((has_p(c) ? dp : dq) + i * ld, dfused + i * ldf, n * sizeof *dp);
    if (c->aff_norm && has_p(c))
        units_backward(p->dp, dp, p->unit_p, p->norm_p, b, n);
    if (c->aff_norm && has_q(c))
        units_backward(p->dq, dq, p->unit_q, p->norm_q, b, n);
}

/* ---- forward and backward ----------------------------------------------------- */

/* Both directions, from the columns of words xw. */
static struct bk_states recur(struct bk_pass *p, const struct bk_prepared *w, struct bk_columns xw)
{
    size_t ld = state_columns(&p->cfg);
    bool int8 = w->precision == BK_INT8;
    uint8_t *bytes = (uint8_t *)p->h;
    for (int reverse = 0; reverse < 2; reverse++) {
        const struct direction r = bk_net_direction(&p->cfg, &p->at, reverse);
        const struct bk_gru gru = gru_of(p, w, reverse);
        const struct bk_columns x = bk_columns_from(xw, r.word_column);
#ifndef BK_REAL_DOUBLE
        if (int8) {
            bk_int8_gru_forward(&gru, &p->pk, bytes + r.column, ld, x, p->scratch);
            continue;
        }
#endif
        bk_gru_forward(&gru, &p->pk, p->h + r.column, ld, x);
    }
    return (struct bk_states){.h = int8 ? NULL : p->h, .int8 = int8 ? bytes : NULL, .ld = ld};
}

/* From the packed functions, whose words have their columns in xw, to the next rows of f and q. */
static void branches(struct bk_pass *p, const struct bk_prepared *w, struct bk_columns xw, double *penalty)
{
    const struct bk_net_config *c = &p->cfg;
    const struct bk_states states = recur(p, w, xw);
    if (has_p(c)) {
        const struct bk_attention at = attention_of(p, w, p->kept || penalty);
        double sum =
            bk_attention_forward(&at, &p->pk, p->f + p->n * bk_padded((size_t)c->r * c->u), states, p->scratch);
        if (penalty)
            *penalty = sum;
    }
    if (has_q(c)) {
        const struct bk_sff sff = sff_of(p, w, xw);
        bk_sff_forward(&sff, &p->pk, p->q + p->n * bk_padded(c->n), states, p->scratch);
    }
    p->n += p->pk.b;
}

/* The dense layers of one side: f to p. */
static void dense_forward(struct bk_pass *p, const struct bk_prepared *w, size_t side)
{
    size_t b = p->n, ldy = bk_padded(p->cfg.e);
    const bk_real *bias1 = w->params + (side ? p->at.right1_bias : p->at.dense1_bias);
    const bk_real *bias2 = w->params + (side ? p->at.right2_bias : p->at.dense2_bias);
    bk_real *y = p->y + side * b * ldy, *out = p->p + side * b * bk_padded(p->cfg.n);
    bk_dense_forward(y, p->f, bk_padded(w->dense1.k), side ? &w->right1 : &w->dense1, bias1, b, true);
    bk_dense_forward(out, y, ldy, side ? &w->right2 : &w->dense2, bias2, b, false);
}

/* Gradient of p to the one of f, which each side has for itself. */
static void dense_backward(struct bk_pass *p, bk_real *grads, const struct bk_prepared *w, size_t side)
{
    size_t b = p->n, ldy = bk_padded(p->cfg.e), ldp = bk_padded(p->cfg.n), ldf = bk_padded(w->dense1.k);
    const struct layout *at = &p->at;
    bk_real *y = p->y + side * b * ldy, *dy = p->dy + side * b * ldy;
    bk_dense_backward(dy, grads + (side ? at->right2 : at->dense2), grads + (side ? at->right2_bias : at->dense2_bias),
                      p->dp + side * b * ldp, p->p + side * b * ldp, y, ldy, side ? &w->right2_back : &w->dense2_back,
                      b, false);
    bk_dense_backward(p->df + side * b * ldf, grads + (side ? at->right1 : at->dense1),
                      grads + (side ? at->right1_bias : at->dense1_bias), dy, y, p->f, ldf,
                      side ? &w->right1_back : &w->dense1_back, b, true);
}

/* From f and q to the vectors, in the order of the caller. */
static void vectors(struct bk_pass *p, bk_real *f, const struct bk_prepared *w)
{
    const struct bk_net_config *c = &p->cfg;
    size_t b = p->n, o = bk_net_outputs(c), sides = bk_net_sides(c), all = b * bk_padded(c->n);
    for (size_t side = 0; side < sides && has_p(c); side++)
        dense_forward(p, w, side);
    if (has_q(c) && sides == 2)
        memcpy(p->q + all, p->q, all * sizeof *p->q);
    fuse_forward(p, w);
    for (size_t side = 0; side < sides; side++)
        for (size_t i = 0; i < b; i++)
            memcpy(f + (p->order[i] * sides + side) * o, p->out + (side * b + i) * bk_padded(o), o * sizeof *f);
}

int bk_pass_forward(struct bk_pass *p, bk_real *f, const struct bk_prepared *w, const bk_real *words, size_t n_words,
                    const struct bk_seq *seqs, size_t b, bool keep, const bk_real *weight, double *penalty,
                    struct bk_error *err)
{
    const struct bk_net_config *c = &p->cfg;
    p->kept = false;
    int rc = admit(p, seqs, b, n_words, true, keep, err);
    if (rc)
        return rc;
    if (penalty)
        *penalty = 0;
    if (b == 0)
        return BK_OK;
    memset(f, 0, b * bk_net_sides(c) * bk_net_outputs(c) * sizeof *f);
    p->n = 0;
    pack(p, seqs, 0, b);
    if (p->pk.b == 0)
        return BK_OK;
    p->kept = keep;
    for (size_t i = 0; i < p->pk.b; i++)
        p->weight[i] = weight ? weight[p->order[i]] : 1;
    find_distinct(p, seqs);
    for (size_t i = 0; i < p->n_distinct; i++)
        memcpy(p->x + i * c->d, words + p->distinct[i] * (size_t)c->d, c->d * sizeof *p->x);
    bk_prepared_words(p->xw, w, p->x, p->n_distinct);
    branches(p, w, (struct bk_columns){p->xw, NULL, bk_word_columns(c)}, penalty);
    vectors(p, f, w);
    return BK_OK;
}

int bk_pass_embed(struct bk_pass *p, bk_real *f, const struct bk_prepared *w, struct bk_columns xw, const uint32_t *row,
                  size_t n_words, const struct bk_seq *seqs, size_t b, struct bk_error *err)
{
    p->kept = false;
    int rc = admit(p, seqs, b, n_words, false, false, err);
    if (rc || b == 0)
        return rc;
    memset(f, 0, b * bk_net_sides(&p->cfg) * bk_net_outputs(&p->cfg) * sizeof *f);
    p->n = 0;
    for (size_t from = 0; from < b; from += GROUP) {
        pack(p, seqs, from, b - from < GROUP ? b - from : GROUP);
        find_rows(p, seqs, row);
        branches(p, w, xw, NULL);
    }
    vectors(p, f, w);
    return BK_OK;
}

/* Columns [0, n) of each row of `joint`, rows ld apart, are added to the rows of dw, lddw apart. */
static void add_columns(bk_real *dw, size_t lddw, const bk_real *joint, size_t ld, size_t rows, size_t n)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < n; j++)
            dw[i * lddw + j] += joint[i * ld + j];
}

/* Gradients of the gates are summed for each distinct word before they meet it. dx: of the words, added to; NULL: not wanted. */
static void gru_backward(struct bk_pass *p, bk_real *grads, bk_real *dx, const struct bk_prepared *w)
{
    const struct bk_net_config *c = &p->cfg;
    size_t d = c->d, s = c->u / 2, pad = bk_padded(s), cols = 6 * pad, v = p->n_distinct, ldh = state_columns(c);
    memset(p->dxw, 0, v * cols * sizeof *p->dxw);
    for (int reverse = 0; reverse < 2; reverse++) {
        const struct direction r = bk_net_direction(c, &p->at, reverse);
        const struct bk_gru gru = gru_of(p, w, reverse);
        bk_gru_backward(&gru, reverse ? &w->bw_gate_back : &w->fw_gate_back,
                        reverse ? &w->bw_cand_back : &w->fw_cand_back, &p->pk, grads + r.gate + d * 2 * s,
                        grads + r.cand + d * s, p->dxw + r.word_column, cols, p->dh + r.column, ldh, p->scratch);
    }
    bk_gemm(BK_T, BK_N, d, cols, v, p->x, d, p->dxw, cols, false, p->dwx, cols);
    if (dx)
        bk_gemm(BK_N, BK_T, v, d, cols, p->dxw, cols, w->joint_words, bk_word_columns(c), true, dx, d);
    for (int reverse = 0; reverse < 2; reverse++) {
        const struct direction r = bk_net_direction(c, &p->at, reverse);
        const bk_real *dwx = p->dwx + r.word_column, *dxw = p->dxw + r.word_column;
        add_columns(grads + r.gate, 2 * s, dwx, cols, d, s);
        add_columns(grads + r.gate + s, 2 * s, dwx + pad, cols, d, s);
        add_columns(grads + r.cand, s, dwx + 2 * pad, cols, d, s);
        add_columns(grads + r.gate_bias, 0, dxw, cols, v, s);
        add_columns(grads + r.gate_bias + s, 0, dxw + pad, cols, v, s);
        add_columns(grads + r.cand_bias, 0, dxw + 2 * pad, cols, v, s);
    }
}

/* dout to dq and df; where there are two sides the gradients of what they share add up. */
static void vectors_backward(struct bk_pass *p, bk_real *grads, const struct bk_prepared *w)
{
    const struct bk_net_config *c = &p->cfg;
    size_t q = p->n * bk_padded(c->n), f = p->n * bk_padded((size_t)c->r * c->u), sides = bk_net_sides(c);
    fuse_backward(p, grads, w);
    for (size_t side = 0; side < sides && has_p(c); side++)
        dense_backward(p, grads, w, side);
    if (sides == 2 && has_q(c))
        add_columns(p->dq, q, p->dq + q, q, 1, q);
    if (sides == 2 && has_p(c))
        add_columns(p->df, f, p->df + f, f, 1, f);
}

void bk_pass_backward(struct bk_pass *p, bk_real *grads, struct bk_word_grads *words, const struct bk_prepared *w,
                      const bk_real *df, double penalty_scale)
{
    const struct bk_net_config *c = &p->cfg;
    size_t o = bk_net_outputs(c), b = p->pk.b, sides = bk_net_sides(c);
    bk_real *dx = words ? p->dx : NULL;
    if (words)
        *words = (struct bk_word_grads){p->kept ? p->n_distinct : 0, p->distinct, dx};
    if (!p->kept)
        return;
    for (size_t side = 0; side < sides; side++)
        for (size_t i = 0; i < b; i++)
            memcpy(p->dout + (side * b + i) * bk_padded(o), df + (p->order[i] * sides + side) * o, o * sizeof *df);
    const struct bk_states states = {.h = p->h, .ld = state_columns(c)};
    vectors_backward(p, grads, w);
    if (dx)
        memset(dx, 0, p->n_distinct * c->d * sizeof *dx);
    memset(p->dh, 0, p->pk.m * state_columns(c) * sizeof *p->dh);
    if (has_q(c)) {
        const struct bk_sff sff = sff_of(p, w, (struct bk_columns){p->xw, NULL, bk_word_columns(c)});
        bk_sff_backward(&sff, &p->pk, grads + p->at.sff, grads + p->at.sff_bias, p->dh, dx, p->dq, p->q,
                        w->params + p->at.sff, p->x, c->d, states);
    }
    if (has_p(c)) {
        const struct bk_attention at = attention_of(p, w, true);
        bk_attention_backward(&at, &w->ws1_back, &w->ws2_back, &p->pk, grads + p->at.ws1, grads + p->at.ws2, p->dh,
                              p->df, states, penalty_scale, p->scratch);
    }
    gru_backward(p, grads, dx, w);
    p->kept = false; /* the activations became gradients in place */
}
