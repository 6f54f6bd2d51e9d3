/* The network of MFFA-Net and SAFE: which tensors there are, and the way of a shard through the ops of nn. */
#include "model/model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- configuration ------------------------------------------------------ */

static const char *const aff_names[] = {
#define AFF_NAME(id, name) name,
    BK_AFFS(AFF_NAME)
#undef AFF_NAME
};

bool bk_net_config_default(struct bk_net_config *out, const char *kind)
{
    *out = (struct bk_net_config){.d = 100, .u = 100, .a = 250, .r = 10, .e = 2000, .n = 100, .max_insns = 150};
    if (strcmp(kind, "mffa") == 0) {
        out->aff = BK_AFF_NONE;
        out->aff_norm = true;
    } else if (strcmp(kind, "safe") == 0) {
        out->aff = BK_AFF_P;
    } else {
        return false;
    }
    return true;
}

static bool has_p(const struct bk_net_config *c)
{
    return c->aff != BK_AFF_Q;
}
static bool has_q(const struct bk_net_config *c)
{
    return c->aff != BK_AFF_P;
}
static bool has_cross(const struct bk_net_config *c)
{
    return c->aff == BK_AFF_MATRIX || c->aff == BK_AFF_RESIDUAL || c->aff == BK_AFF_GATE;
}
/* Numbers of the fused vector, before the linear layer. */
static size_t fused_size(const struct bk_net_config *c)
{
    return has_p(c) && has_q(c) ? 2 * (size_t)c->n : c->n;
}

size_t bk_net_outputs(const struct bk_net_config *c)
{
    return c->aff_linear ? c->n : fused_size(c);
}

static bool same_part(const char *part, size_t n, const char *name)
{
    return strlen(name) == n && memcmp(part, name, n) == 0;
}

int bk_net_config_set_aff(struct bk_net_config *cfg, const char *text, struct bk_error *err)
{
    struct bk_net_config c = *cfg;
    size_t n = strcspn(text, "+"), found = BK_AFF_COUNT;
    for (size_t i = 0; i < BK_AFF_COUNT; i++)
        if (same_part(text, n, aff_names[i]))
            found = i;
    if (found == BK_AFF_COUNT)
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "aff \"%.*s\" is none of matrix, residual, gate, none, p, q",
                       (int)(n < 40 ? n : 40), text);
    c.aff = (enum bk_aff)found;
    c.aff_scale = c.aff_norm = c.aff_linear = false;
    for (const char *part = text + n; *part == '+'; part += n) {
        part++;
        n = strcspn(part, "+");
        bool *flag = same_part(part, n, "scale")    ? &c.aff_scale
                     : same_part(part, n, "norm")   ? &c.aff_norm
                     : same_part(part, n, "linear") ? &c.aff_linear
                                                    : NULL;
        if (!flag || *flag)
            return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "aff modifier \"%.*s\" is %s", (int)(n < 40 ? n : 40), part,
                           flag ? "there twice" : "none of scale, norm, linear");
        *flag = true;
    }
    if (c.aff_scale && !has_cross(&c))
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "aff \"%s\" has no cross matrix to scale", aff_names[found]);
    *cfg = c;
    return BK_OK;
}

void bk_net_config_aff(char out[64], const struct bk_net_config *cfg)
{
    snprintf(out, 64, "%s%s%s%s", aff_names[cfg->aff], cfg->aff_scale ? "+scale" : "", cfg->aff_norm ? "+norm" : "",
             cfg->aff_linear ? "+linear" : "");
}

int bk_net_config_check(const struct bk_net_config *cfg, struct bk_error *err)
{
    const struct {
        const char *name;
        uint32_t value, limit;
    } sizes[] = {{"d", cfg->d, 4096},
                 {"u", cfg->u, 4096},
                 {"a", cfg->a, 4096},
                 {"r", cfg->r, 256},
                 {"e", cfg->e, 65536},
                 {"n", cfg->n, 4096},
                 {"max_insns", cfg->max_insns, 65536}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i].value == 0 || sizes[i].value > sizes[i].limit)
            return bk_fail(err, BK_ELIMIT, BK_NO_OFFSET, "network size %s is %u, allowed are 1 to %u", sizes[i].name,
                           sizes[i].value, sizes[i].limit);
    if (cfg->u % 2)
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "network size u is %u, but two directions share it evenly",
                       cfg->u);
    if ((unsigned)cfg->aff >= BK_AFF_COUNT)
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "aff number %u is unknown", (unsigned)cfg->aff);
    if (cfg->aff_scale && !has_cross(cfg))
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "aff \"%s\" has no cross matrix to scale", aff_names[cfg->aff]);
    if (bk_net_n_params(cfg) > (size_t)1 << 28)
        return bk_fail(err, BK_ELIMIT, BK_NO_OFFSET, "network of %zu numbers, allowed are %zu", bk_net_n_params(cfg),
                       (size_t)1 << 28);
    return BK_OK;
}

/* ---- tensors ------------------------------------------------------------- */

enum init { INIT_GLOROT, INIT_ZERO, INIT_ONE };

/* X(field, name, rows, cols, initial value, whether the network has it); s = u / 2. Matrices of the GRU are the paper's
 * [x, h] W: the first d rows meet x, the others h. The others are W of W x, row for row of the output. */
#define NET_TENSORS(X)                                                                                                 \
    X(fw_gate, "gru.forward.gate", c->d + s, 2 * s, INIT_GLOROT, true)                                                 \
    X(fw_gate_bias, "gru.forward.gate.bias", 2 * s, 1, INIT_ONE, true)                                                 \
    X(fw_cand, "gru.forward.candidate", c->d + s, s, INIT_GLOROT, true)                                                \
    X(fw_cand_bias, "gru.forward.candidate.bias", s, 1, INIT_ZERO, true)                                               \
    X(bw_gate, "gru.backward.gate", c->d + s, 2 * s, INIT_GLOROT, true)                                                \
    X(bw_gate_bias, "gru.backward.gate.bias", 2 * s, 1, INIT_ONE, true)                                                \
    X(bw_cand, "gru.backward.candidate", c->d + s, s, INIT_GLOROT, true)                                               \
    X(bw_cand_bias, "gru.backward.candidate.bias", s, 1, INIT_ZERO, true)                                              \
    X(ws1, "attention.ws1", c->a, c->u, INIT_GLOROT, has_p(c))                                                         \
    X(ws2, "attention.ws2", c->r, c->a, INIT_GLOROT, has_p(c))                                                         \
    X(dense1, "dense.wo1", c->e, (size_t)c->r * c->u, INIT_GLOROT, has_p(c))                                           \
    X(dense1_bias, "dense.wo1.bias", c->e, 1, INIT_ZERO, has_p(c))                                                     \
    X(dense2, "dense.wo2", c->n, c->e, INIT_GLOROT, has_p(c))                                                          \
    X(dense2_bias, "dense.wo2.bias", c->n, 1, INIT_ZERO, has_p(c))                                                     \
    X(sff, "sff.w", c->n, c->d + c->u, INIT_GLOROT, has_q(c))                                                          \
    X(sff_bias, "sff.bias", c->n, 1, INIT_ZERO, has_q(c))                                                              \
    X(linear, "aff.linear", c->n, fused_size(c), INIT_GLOROT, c->aff_linear)                                           \
    X(linear_bias, "aff.linear.bias", c->n, 1, INIT_ZERO, c->aff_linear)

/* Where each tensor begins in the block; unset where the network lacks it. */
struct layout {
#define LAYOUT_FIELD(field, name, rows, cols, init, present) size_t field;
    NET_TENSORS(LAYOUT_FIELD)
#undef LAYOUT_FIELD
    size_t total;
};

static struct layout layout_of(const struct bk_net_config *c)
{
    size_t s = c->u / 2, at = 0;
    struct layout l = {0};
#define LAYOUT_PLACE(field, name, rows, cols, init, present)                                                           \
    if (present) {                                                                                                     \
        l.field = at;                                                                                                  \
        at += (size_t)(rows) * (cols);                                                                                 \
    }
    NET_TENSORS(LAYOUT_PLACE)
#undef LAYOUT_PLACE
    l.total = at;
    return l;
}

size_t bk_net_tensors(struct bk_tensor out[BK_NET_MAX_TENSORS], const struct bk_net_config *c)
{
    const struct layout l = layout_of(c);
    size_t s = c->u / 2, n = 0;
#define TENSOR_ENTRY(field, text, r, k, init, present)                                                                 \
    if (present)                                                                                                       \
        out[n++] = (struct bk_tensor){.name = text, .rows = r, .cols = k, .offset = l.field};
    NET_TENSORS(TENSOR_ENTRY)
#undef TENSOR_ENTRY
    return n;
}

size_t bk_net_n_params(const struct bk_net_config *cfg)
{
    return layout_of(cfg).total;
}

static void init_tensor(bk_real *w, size_t rows, size_t cols, enum init how, struct bk_rng *rng)
{
    double limit = sqrt(6.0 / (double)(rows + cols)); /* Glorot and Bengio 2010, equation 16 */
    for (size_t i = 0; i < rows * cols; i++)
        w[i] = how == INIT_GLOROT ? (bk_real)((2 * bk_rng_unit(rng) - 1) * limit) : (bk_real)(how == INIT_ONE);
}

void bk_net_init(bk_real *params, const struct bk_net_config *c, struct bk_rng *rng)
{
    const struct layout l = layout_of(c);
    size_t s = c->u / 2;
#define TENSOR_INIT(field, name, rows, cols, init, present)                                                            \
    if (present)                                                                                                       \
        init_tensor(params + l.field, rows, cols, init, rng);
    NET_TENSORS(TENSOR_INIT)
#undef TENSOR_INIT
}

/* ---- a pass --------------------------------------------------------------- */

/* What each distinct word is multiplied into at once: [gate | candidate] of both directions of the GRU, then the x half of SFF. */
static size_t word_columns(const struct bk_net_config *c)
{
    return 3 * (size_t)c->u + (has_q(c) ? c->n : 0);
}

/* X(field, numbers): every array of bk_real that a pass of b functions and m rows needs; distinct words are no more than rows.
 * fw and bw are the directions, xw is what depends on the word alone; gradients of activations begin with d. */
#define PASS_BUFFERS(X)                                                                                                \
    X(x, m *(c->d + 1)) /* distinct words, each with a 1 behind it that meets the bias */                              \
    X(wx, (c->d + 1) * word_columns(c))                                                                                \
    X(xw, m *word_columns(c))                                                                                          \
    X(dwx, (c->d + 1) * 6 * s)                                                                                         \
    X(dxw, m * 6 * s)                                                                                                  \
    X(fw_gate, m * 2 * s)                                                                                              \
    X(fw_cand, m *s)                                                                                                   \
    X(fw_prev, m *s)                                                                                                   \
    X(fw_rh, m *s)                                                                                                     \
    X(bw_gate, m * 2 * s)                                                                                              \
    X(bw_cand, m *s)                                                                                                   \
    X(bw_prev, m *s)                                                                                                   \
    X(bw_rh, m *s)                                                                                                     \
    X(h, m * c->u)                                                                                                     \
    X(dh, m * c->u)                                                                                                    \
    X(z, m * c->a)                                                                                                     \
    X(att, m * c->r)                                                                                                   \
    X(gram, b * c->r * c->r)                                                                                           \
    X(f, b * c->r * c->u)                                                                                              \
    X(df, b * c->r * c->u)                                                                                             \
    X(y, b * c->e)                                                                                                     \
    X(dy, b * c->e)                                                                                                    \
    X(p, b * c->n)                                                                                                     \
    X(dp, b * c->n)                                                                                                    \
    X(q, b * c->n)                                                                                                     \
    X(dq, b * c->n)                                                                                                    \
    X(unit_p, b * c->n)                                                                                                \
    X(unit_q, b * c->n)                                                                                                \
    X(dunit_p, b * c->n)                                                                                               \
    X(dunit_q, b * c->n)                                                                                               \
    X(norm_p, b)                                                                                                       \
    X(norm_q, b)                                                                                                       \
    X(fused, b *fused_size(c))                                                                                         \
    X(dfused, b *fused_size(c))                                                                                        \
    X(out, b *bk_net_outputs(c))                                                                                       \
    X(dout, b *bk_net_outputs(c))                                                                                      \
    X(scratch, scratch_size(c, b, m))

/* X(field, numbers): the arrays of uint32_t. */
#define PASS_INDEXES(X)                                                                                                \
    X(order, b)                /* packed place -> place in seqs; those without words come last */                      \
    X(arg, b * c->n)           /* of struct bk_sff */                                                                  \
    X(word, m)                 /* row -> distinct word */                                                              \
    X(distinct, m)             /* distinct word -> id */                                                               \
    X(row, c->max_insns + 1)   /* of struct bk_packing */                                                              \
    X(count, c->max_insns + 1) /* functions of a length */

struct bk_pass {
    struct bk_net_config cfg;
    struct layout at;
    struct bk_packing pk;
    size_t n_distinct;
    bool kept;
    size_t cap_b, cap_m; /* what the arrays hold */
    bk_real *numbers;    /* one allocation for all PASS_BUFFERS, one for all PASS_INDEXES */
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

enum { PASS_MAX_FUNCTIONS = 1 << 20 };

static struct bk_attention attention_of(const struct bk_pass *p, const bk_real *params, bool with_gram)
{
    return (struct bk_attention){.u = p->cfg.u,
                                 .a = p->cfg.a,
                                 .r = p->cfg.r,
                                 .ws1 = params + p->at.ws1,
                                 .ws2 = params + p->at.ws2,
                                 .z = p->z,
                                 .att = p->att,
                                 .gram = with_gram ? p->gram : NULL};
}

static struct bk_sff sff_of(const struct bk_pass *p, const bk_real *params)
{
    return (struct bk_sff){.d = p->cfg.d,
                           .u = p->cfg.u,
                           .n = p->cfg.n,
                           .w = params + p->at.sff,
                           .xw = p->xw + 3 * p->cfg.u,
                           .ldxw = word_columns(&p->cfg),
                           .word = p->word,
                           .arg = p->arg};
}

/* One direction of the GRU, so that both go one way. */
struct direction {
    size_t gate, gate_bias, cand, cand_bias; /* offsets in the block */
    size_t column, word_column;              /* of h, of xw */
    struct bk_gru gru;
};

static struct direction direction_of(const struct bk_pass *p, const bk_real *params, bool reverse)
{
    size_t s = p->cfg.u / 2, d = p->cfg.d;
    struct direction r = {.gate = reverse ? p->at.bw_gate : p->at.fw_gate,
                          .gate_bias = reverse ? p->at.bw_gate_bias : p->at.fw_gate_bias,
                          .cand = reverse ? p->at.bw_cand : p->at.fw_cand,
                          .cand_bias = reverse ? p->at.bw_cand_bias : p->at.fw_cand_bias,
                          .column = reverse ? s : 0,
                          .word_column = reverse ? 3 * s : 0};
    r.gru = (struct bk_gru){.s = s,
                            .reverse = reverse,
                            .wg = params + r.gate + d * 2 * s,
                            .wc = params + r.cand + d * s,
                            .word = p->word,
                            .gate = reverse ? p->bw_gate : p->fw_gate,
                            .cand = reverse ? p->bw_cand : p->fw_cand,
                            .prev = reverse ? p->bw_prev : p->fw_prev,
                            .rh = reverse ? p->bw_rh : p->fw_rh};
    return r;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* The ops of a pass run one after the other and share one scratch. */
static size_t scratch_size(const struct bk_net_config *c, size_t b, size_t m)
{
    const struct bk_packing pk = {.b = b, .t = c->max_insns, .m = m};
    const struct bk_attention at = {.u = c->u, .a = c->a, .r = c->r};
    const struct bk_sff sff = {.d = c->d, .u = c->u, .n = c->n};
    size_t n = larger(bk_gru_scratch(c->u / 2, b), 2 * (size_t)c->n);
    return larger(n, larger(bk_attention_scratch(&at, &pk), bk_sff_scratch(&sff, &pk)));
}

/* Arrays begin on cache lines. */
static size_t padded(size_t n)
{
    return (n + 15) / 16 * 16;
}

static int reserve(struct bk_pass *p, size_t b, size_t m, struct bk_error *err)
{
    const struct bk_net_config *c = &p->cfg;
    size_t s = c->u / 2, n = 0, k = 0;
    if (b <= p->cap_b && m <= p->cap_m)
        return BK_OK;
    b = larger(b, p->cap_b);
    m = larger(m <= p->cap_m ? m : m + m / 4, p->cap_m);
    p->cap_b = p->cap_m = 0;
    free(p->numbers);
    free(p->indexes);
    p->numbers = NULL;
    p->indexes = NULL;
#define PASS_COUNT_NUMBERS(field, size) n += padded(size);
#define PASS_COUNT_INDEXES(field, size) k += padded(size);
    PASS_BUFFERS(PASS_COUNT_NUMBERS)
    PASS_INDEXES(PASS_COUNT_INDEXES)
    p->numbers = aligned_alloc(64, n * sizeof *p->numbers);
    p->indexes = aligned_alloc(64, k * sizeof *p->indexes);
    if (!p->numbers || !p->indexes)
        return bk_fail_nomem(err, n * sizeof *p->numbers + k * sizeof *p->indexes);
    bk_real *next = p->numbers;
    uint32_t *next_index = p->indexes;
#define PASS_PLACE_NUMBERS(field, size)                                                                                \
    p->field = next;                                                                                                   \
    next += padded(size);
#define PASS_PLACE_INDEXES(field, size)                                                                                \
    p->field = next_index;                                                                                             \
    next_index += padded(size);
    PASS_BUFFERS(PASS_PLACE_NUMBERS)
    PASS_INDEXES(PASS_PLACE_INDEXES)
    p->cap_b = b;
    p->cap_m = m;
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
    p->at = layout_of(cfg);
    bk_blas_single_thread();
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

static size_t seen(const struct bk_pass *p, const struct bk_seq *seq)
{
    return seq->n < p->cfg.max_insns ? seq->n : p->cfg.max_insns;
}

/* Checks the input before anything is written, and makes room for it. */
static int admit(struct bk_pass *p, const struct bk_seq *seqs, size_t b, size_t n_words, struct bk_error *err)
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
    if (n_words > p->n_slots) {
        uint32_t *slot = bk_calloc(n_words, sizeof *slot);
        if (!slot)
            return bk_fail_nomem(err, n_words * sizeof *slot);
        free(p->slot);
        p->slot = slot;
        p->n_slots = n_words;
    }
    return reserve(p, b, m, err);
}

/* Sorts by length, longest first and otherwise as given, numbers the rows and finds the distinct words. */
static void pack(struct bk_pass *p, const struct bk_seq *seqs, size_t b)
{
    size_t max = p->cfg.max_insns, active = 0;
    memset(p->count, 0, (max + 1) * sizeof *p->count);
    for (size_t i = 0; i < b; i++)
        p->count[seen(p, &seqs[i])]++;
    p->pk = (struct bk_packing){.b = b - p->count[0], .row = p->row};
    p->row[0] = 0;
    for (size_t at = 0, left = p->pk.b; at < max && left > 0; at++) { /* functions longer than `at` words */
        p->pk.m += left;
        p->pk.t = at + 1;
        p->row[at + 1] = (uint32_t)p->pk.m;
        left -= p->count[at + 1];
    }
    for (size_t t = max + 1; t-- > 0;) { /* counts become first places */
        size_t n = p->count[t];
        p->count[t] = (uint32_t)active;
        active += n;
    }
    for (size_t i = 0; i < b; i++)
        p->order[p->count[seen(p, &seqs[i])]++] = (uint32_t)i;

    p->n_distinct = 0;
    for (size_t i = 0; i < p->pk.b; i++) {
        const struct bk_seq *seq = &seqs[p->order[i]];
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

/* The x half of one GRU tensor (d x n), and its bias below, into columns of the joint (d + 1) x cols matrix; and back. */
static void place(bk_real *joint, size_t cols, const bk_real *w, const bk_real *bias, size_t d, size_t n)
{
    for (size_t i = 0; i < d; i++)
        memcpy(joint + i * cols, w + i * n, n * sizeof *w);
    memcpy(joint + d * cols, bias, n * sizeof *bias);
}

static void add_back(bk_real *dw, bk_real *dbias, const bk_real *joint, size_t cols, size_t d, size_t n)
{
    for (size_t i = 0; i < d; i++)
        for (size_t j = 0; j < n; j++)
            dw[i * n + j] += joint[i * cols + j];
    for (size_t j = 0; j < n; j++)
        dbias[j] += joint[d * cols + j];
}

/* xw = [x, 1] wx: one product for all that depends on the word alone. */
static void words_forward(struct bk_pass *p, const bk_real *params, const bk_real *words)
{
    const struct bk_net_config *c = &p->cfg;
    size_t d = c->d, s = c->u / 2, n = c->n, cols = word_columns(c), v = p->n_distinct;
    for (size_t i = 0; i < v; i++) {
        memcpy(p->x + i * (d + 1), words + p->distinct[i] * d, d * sizeof *p->x);
        p->x[i * (d + 1) + d] = 1;
    }
    for (int reverse = 0; reverse < 2; reverse++) {
        const struct direction r = direction_of(p, params, reverse);
        place(p->wx + r.word_column, cols, params + r.gate, params + r.gate_bias, d, 2 * s);
        place(p->wx + r.word_column + 2 * s, cols, params + r.cand, params + r.cand_bias, d, s);
    }
    if (has_q(c)) {
        const bk_real *w = params + p->at.sff;
        for (size_t j = 0; j < n; j++) {
            for (size_t i = 0; i < d; i++)
                p->wx[i * cols + 6 * s + j] = w[j * (d + c->u) + i];
            p->wx[d * cols + 6 * s + j] = params[p->at.sff_bias + j];
        }
    }
    bk_gemm(BK_N, BK_N, v, cols, d + 1, 1, p->x, d + 1, p->wx, cols, 0, p->xw, cols);
}

static void gru_forward(struct bk_pass *p, const bk_real *params)
{
    for (int reverse = 0; reverse < 2; reverse++) {
        const struct direction r = direction_of(p, params, reverse);
        bk_gru_forward(&r.gru, &p->pk, p->h + r.column, p->cfg.u, p->xw + r.word_column, word_columns(&p->cfg));
    }
}

/* Gradients of the gates are summed for each distinct word before they meet it. */
static void gru_backward(struct bk_pass *p, bk_real *grads, const bk_real *params)
{
    size_t d = p->cfg.d, s = p->cfg.u / 2, cols = 6 * s, v = p->n_distinct;
    memset(p->dxw, 0, v * cols * sizeof *p->dxw);
    for (int reverse = 0; reverse < 2; reverse++) {
        const struct direction r = direction_of(p, params, reverse);
        bk_gru_backward(&r.gru, &p->pk, grads + r.gate + d * 2 * s, grads + r.cand + d * s, p->dxw + r.word_column,
                        cols, p->dh + r.column, p->cfg.u, p->scratch);
    }
    bk_gemm(BK_T, BK_N, d + 1, cols, v, 1, p->x, d + 1, p->dxw, cols, 0, p->dwx, cols);
    for (int reverse = 0; reverse < 2; reverse++) {
        const struct direction r = direction_of(p, params, reverse);
        add_back(grads + r.gate, grads + r.gate_bias, p->dwx + r.word_column, cols, d, 2 * s);
        add_back(grads + r.cand, grads + r.cand_bias, p->dwx + r.word_column + 2 * s, cols, d, s);
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
    for (size_t i = 0; i < b; i++)
        norm[i] = (bk_real)bk_unit_forward(unit + i * n, x + i * n, n);
}

static void units_backward(bk_real *dx, const bk_real *dunit, const bk_real *unit, const bk_real *norm, size_t b,
                           size_t n)
{
    memset(dx, 0, b * n * sizeof *dx);
    for (size_t i = 0; i < b; i++)
        bk_unit_backward(dx + i * n, dunit + i * n, unit + i * n, (double)norm[i], n);
}

/* p->p and p->q to p->out, packed order. */
static void fuse_forward(struct bk_pass *p, const bk_real *params)
{
    const struct bk_net_config *c = &p->cfg;
    size_t b = p->pk.b, n = c->n, w = fused_size(c);
    const bk_real *in_p = p->p, *in_q = p->q;
    if (c->aff_norm && has_p(c)) {
        units(p->unit_p, p->norm_p, p->p, b, n);
        in_p = p->unit_p;
    }
    if (c->aff_norm && has_q(c)) {
        units(p->unit_q, p->norm_q, p->q, b, n);
        in_q = p->unit_q;
    }
    bk_real *fused = c->aff_linear ? p->fused : p->out;
    if (has_p(c) && has_q(c))
        for (size_t i = 0; i < b; i++)
            bk_fusion_forward(fused + i * w, in_p + i * n, in_q + i * n, n, fusion_of(c), cross_scale(c), p->scratch);
    else
        memcpy(fused, has_p(c) ? in_p : in_q, b * n * sizeof *fused);
    if (c->aff_linear)
        bk_dense_forward(p->out, fused, params + p->at.linear, params + p->at.linear_bias, b, w, n, false);
}

/* p->dout to p->dp and p->dq, which are overwritten. */
static void fuse_backward(struct bk_pass *p, bk_real *grads, const bk_real *params)
{
    const struct bk_net_config *c = &p->cfg;
    size_t b = p->pk.b, n = c->n, w = fused_size(c);
    const bk_real *dfused = p->dout;
    if (c->aff_linear) {
        bk_dense_backward(p->dfused, grads + p->at.linear, grads + p->at.linear_bias, p->dout, p->out, p->fused,
                          params + p->at.linear, b, w, n, false);
        dfused = p->dfused;
    }
    bk_real *dp = c->aff_norm ? p->dunit_p : p->dp, *dq = c->aff_norm ? p->dunit_q : p->dq;
    if (has_p(c) && has_q(c)) {
        const bk_real *in_p = c->aff_norm ? p->unit_p : p->p, *in_q = c->aff_norm ? p->unit_q : p->q;
        memset(dp, 0, b * n * sizeof *dp);
        memset(dq, 0, b * n * sizeof *dq);
        for (size_t i = 0; i < b; i++)
            bk_fusion_backward(dp + i * n, dq + i * n, dfused + i * w, in_p + i * n, in_q + i * n, n, fusion_of(c),
                               cross_scale(c), p->scratch);
    } else {
        memcpy(has_p(c) ? dp : dq, dfused, b * n * sizeof *dp);
    }
    if (c->aff_norm && has_p(c))
        units_backward(p->dp, dp, p->unit_p, p->norm_p, b, n);
    if (c->aff_norm && has_q(c))
        units_backward(p->dq, dq, p->unit_q, p->norm_q, b, n);
}

/* ---- forward and backward ----------------------------------------------------- */

int bk_pass_forward(struct bk_pass *p, bk_real *f, const bk_real *params, const bk_real *words, size_t n_words,
                    const struct bk_seq *seqs, size_t b, bool keep, double *penalty, struct bk_error *err)
{
    const struct bk_net_config *c = &p->cfg;
    size_t n = c->n, o = bk_net_outputs(c);
    p->kept = false;
    int rc = admit(p, seqs, b, n_words, err);
    if (rc)
        return rc;
    if (penalty)
        *penalty = 0;
    if (b == 0)
        return BK_OK;
    memset(f, 0, b * o * sizeof *f);
    pack(p, seqs, b);
    if (p->pk.b == 0)
        return BK_OK;
    p->kept = keep;

    words_forward(p, params, words);
    gru_forward(p, params);
    if (has_p(c)) {
        const struct bk_attention at = attention_of(p, params, keep || penalty);
        double sum = bk_attention_forward(&at, &p->pk, p->f, p->h, p->scratch);
        if (penalty)
            *penalty = sum;
        bk_dense_forward(p->y, p->f, params + p->at.dense1, params + p->at.dense1_bias, p->pk.b, (size_t)c->r * c->u,
                         c->e, true);
        bk_dense_forward(p->p, p->y, params + p->at.dense2, params + p->at.dense2_bias, p->pk.b, c->e, n, false);
    }
    if (has_q(c)) {
        const struct bk_sff sff = sff_of(p, params);
        bk_sff_forward(&sff, &p->pk, p->q, p->h, p->scratch);
    }
    fuse_forward(p, params);
    for (size_t i = 0; i < p->pk.b; i++)
        memcpy(f + p->order[i] * o, p->out + i * o, o * sizeof *f);
    return BK_OK;
}

void bk_pass_backward(struct bk_pass *p, bk_real *grads, const bk_real *params, const bk_real *df, double penalty_scale)
{
    const struct bk_net_config *c = &p->cfg;
    size_t o = bk_net_outputs(c), b = p->pk.b;
    if (!p->kept)
        return;
    p->kept = false; /* the activations become gradients in place */
    for (size_t i = 0; i < b; i++)
        memcpy(p->dout + i * o, df + p->order[i] * o, o * sizeof *df);
    fuse_backward(p, grads, params);
    memset(p->dh, 0, p->pk.m * c->u * sizeof *p->dh);
    if (has_q(c)) {
        const struct bk_sff sff = sff_of(p, params);
        bk_sff_backward(&sff, &p->pk, grads + p->at.sff, grads + p->at.sff_bias, p->dh, p->dq, p->q, p->x, c->d + 1,
                        p->h);
    }
    if (has_p(c)) {
        const struct bk_attention at = attention_of(p, params, true);
        bk_dense_backward(p->dy, grads + p->at.dense2, grads + p->at.dense2_bias, p->dp, p->p, p->y,
                          params + p->at.dense2, b, c->e, c->n, false);
        bk_dense_backward(p->df, grads + p->at.dense1, grads + p->at.dense1_bias, p->dy, p->y, p->f,
                          params + p->at.dense1, b, (size_t)c->r * c->u, c->e, true);
        bk_attention_backward(&at, &p->pk, grads + p->at.ws1, grads + p->at.ws2, p->dh, p->df, p->h, penalty_scale,
                              p->scratch);
    }
    gru_backward(p, grads, params);
}
