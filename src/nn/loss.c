/* Losses over the shared embeddings of a batch, Adam, and the average of weights. */
#include "nn/nn_int.h"

#include <math.h>
#include <string.h>

double bk_cosine_loss(bk_real *df, bk_real *cosines, const bk_real *f, size_t o, const uint32_t *left,
                      const uint32_t *right, const int8_t *y, size_t n_pairs)
{
    const struct bk_kernels *k = bk_kernels();
    double loss = 0;
    for (size_t i = 0; i < n_pairs; i++) {
        const bk_real *a = f + left[i] * o, *b = f + right[i] * o;
        double aa = (double)k->dot(a, a, o), bb = (double)k->dot(b, b, o);
        bool known = aa != 0 && bb != 0; /* what is no number stays none */
        double inv = known ? 1 / (sqrt(aa) * sqrt(bb)) : 0;
        double c = known ? (double)k->dot(a, b, o) * inv : 0, miss = c - y[i];
        loss += miss * miss;
        if (cosines)
            cosines[i] = (bk_real)c;
        if (!known)
            continue;
        bk_real *da = df + left[i] * o, *db = df + right[i] * o;
        k->axpy(da, (bk_real)(2 * miss * inv), b, o);
        k->axpy(da, (bk_real)(-2 * miss * c / aa), a, o);
        k->axpy(db, (bk_real)(2 * miss * inv), a, o);
        k->axpy(db, (bk_real)(-2 * miss * c / bb), b, o);
    }
    return loss;
}

double bk_dot_loss(bk_real *df, const bk_real *f, size_t o, const uint32_t *left, const uint32_t *right,
                   const int8_t *y, size_t n_pairs)
{
    const struct bk_kernels *k = bk_kernels();
    double loss = 0;
    for (size_t i = 0; i < n_pairs; i++) {
        size_t a = left[i] * 2 * o, b = right[i] * 2 * o + o;
        double miss = (double)k->dot(f + a, f + b, o) - y[i];
        loss += miss * miss;
        k->axpy(df + a, (bk_real)(2 * miss), f + b, o);
        k->axpy(df + b, (bk_real)(2 * miss), f + a, o);
    }
    return loss;
}

size_t bk_contrast_scratch(size_t n_pairs, size_t o)
{
    return 3 * n_pairs * o + 2 * n_pairs * n_pairs + n_pairs;
}

static bool masked(const uint32_t *label, size_t i, size_t j)
{
    return i != j && label[i] == label[j];
}

/* Adds (softmax - 1) / 2 to row (step_j 1) or column i of ds; returns -log softmax_ii / 2. e: n scratch. */
static double half_entropy(bk_real *ds, bk_real *e, const bk_real *s, const uint32_t *label, size_t n, size_t i,
                           size_t base, size_t step)
{
    bk_real top = s[base + i * step];
    for (size_t j = 0; j < n; j++)
        if (!masked(label, i, j) && s[base + j * step] > top)
            top = s[base + j * step];
    for (size_t j = 0; j < n; j++)
        e[j] = s[base + j * step] - top;
    bk_real own = e[i];
    bk_exp(e, e, n);
    double sum = 0;
    for (size_t j = 0; j < n; j++)
        if (!masked(label, i, j))
            sum += (double)e[j];
    for (size_t j = 0; j < n; j++)
        if (!masked(label, i, j))
            ds[base + j * step] += (bk_real)((double)e[j] / sum / 2);
    ds[base + i * step] -= (bk_real)0.5;
    return (log(sum) - (double)own) / 2;
}

double bk_contrast_loss(bk_real *df, const bk_real *f, size_t o, const uint32_t *anchor, const uint32_t *positive,
                        const uint32_t *label, size_t n_pairs, double temperature, bk_real *scratch)
{
    size_t n = n_pairs;
    bk_real *a = scratch, *p = a + n * o, *dy = p + n * o, *s = dy + n * o, *ds = s + n * n, *e = ds + n * n;
    bk_real inv = (bk_real)(1 / temperature);
    for (size_t i = 0; i < n; i++) {
        bk_unit_forward(a + i * o, f + anchor[i] * o, o);
        bk_unit_forward(p + i * o, f + positive[i] * o, o);
    }
    bk_gemm(BK_N, BK_T, n, n, o, a, o, p, o, false, s, n);
    for (size_t i = 0; i < n * n; i++)
        s[i] *= inv;
    memset(ds, 0, n * n * sizeof *ds);
    double loss = 0;
    for (size_t i = 0; i < n; i++) {
        loss += half_entropy(ds, e, s, label, n, i, i * n, 1);
        loss += half_entropy(ds, e, s, label, n, i, i, n);
    }
    for (size_t i = 0; i < n * n; i++)
        ds[i] *= inv;
    bk_gemm(BK_N, BK_N, n, o, n, ds, n, p, o, false, dy, o);
    for (size_t i = 0; i < n; i++) {
        const bk_real *x = f + anchor[i] * o;
        bk_unit_backward(df + anchor[i] * o, dy + i * o, a + i * o, sqrt((double)bk_kernels()->dot(x, x, o)), o);
    }
    bk_gemm(BK_T, BK_N, n, o, n, ds, n, a, o, false, dy, o);
    for (size_t i = 0; i < n; i++) {
        const bk_real *x = f + positive[i] * o;
        bk_unit_backward(df + positive[i] * o, dy + i * o, p + i * o, sqrt((double)bk_kernels()->dot(x, x, o)), o);
    }
    return loss;
}

void bk_memory_push(struct bk_memory *m, const bk_real *f, const uint32_t *label, size_t n)
{
    for (size_t i = n > m->cap ? n - m->cap : 0; i < n; i++) {
        bk_unit_forward(m->f + m->next * m->o, f + i * m->o, m->o);
        m->label[m->next] = label[i];
        m->next = (m->next + 1) % m->cap;
        m->n += m->n < m->cap;
    }
}

/* What an anchor is compared with: the n rows of the batch, then those of the memory. */
struct compared {
    const bk_real *f;
    const uint32_t *label;
    size_t n, all, o;
    const struct bk_memory *memory; /* NULL: all is n */
    bk_real *u, *du;                /* n x o: the rows of f made unit; scratch */
    bk_real *s;                     /* n x all: cosines, then the gradient of each */
};

size_t bk_labels_scratch(size_t n, size_t n_memory, size_t o)
{
    return 2 * n * o + n * (n + n_memory);
}

static struct compared compare(const bk_real *f, size_t o, const uint32_t *label, size_t n,
                               const struct bk_memory *memory, bk_real *scratch)
{
    struct compared c = {f, label, n, n + (memory ? memory->n : 0), o, memory, scratch, NULL, NULL};
    c.du = c.u + n * o;
    c.s = c.du + n * o;
    for (size_t i = 0; i < n; i++)
        bk_unit_forward(c.u + i * o, f + i * o, o);
    bk_gemm(BK_N, BK_T, n, n, o, c.u, o, c.u, o, false, c.s, c.all);
    if (memory)
        bk_gemm(BK_N, BK_T, n, memory->n, o, c.u, o, memory->f, o, false, c.s + n, c.all);
    return c;
}

static void compare_back(bk_real *df, const struct compared *c)
{
    const size_t n = c->n, o = c->o;
    bk_gemm(BK_N, BK_N, n, o, n, c->s, c->all, c->u, o, false, c->du, o);
    bk_gemm(BK_T, BK_N, n, o, n, c->s, c->all, c->u, o, true, c->du, o);
    if (c->memory)
        bk_gemm(BK_N, BK_N, n, o, c->memory->n, c->s + n, c->all, c->memory->f, o, true, c->du, o);
    for (size_t i = 0; i < n; i++) {
        const bk_real *x = c->f + i * o;
        bk_unit_backward(df + i * o, c->du + i * o, c->u + i * o, sqrt((double)bk_kernels()->dot(x, x, o)), o);
    }
}

static bool same_label(const struct compared *c, size_t i, size_t j)
{
    return c->label[i] == (j < c->n ? c->label[j] : c->memory->label[j - c->n]);
}

static bool positive(const struct compared *c, size_t i, size_t j)
{
    return i != j && same_label(c, i, j);
}

static size_t positives_of(const struct compared *c, size_t i)
{
    size_t count = 0;
    for (size_t j = 0; j < c->all; j++)
        count += positive(c, i, j);
    return count;
}

/* Row i of c->s, over the temperature, becomes its gradient. Returns the loss of anchor i. */
static double supcon_row(const struct compared *c, size_t i)
{
    bk_real *s = c->s + i * c->all;
    const size_t positives = positives_of(c, i);
    if (!positives) {
        memset(s, 0, c->all * sizeof *s);
        return 0;
    }
    const double share = 1 / (double)positives;
    bk_real top = s[i ? 0 : 1];
    for (size_t j = 0; j < c->all; j++)
        if (j != i && s[j] > top)
            top = s[j];
    double own = 0, sum = 0;
    for (size_t j = 0; j < c->all; j++) {
        s[j] -= top;
        if (positive(c, i, j))
            own += (double)s[j];
    }
    bk_exp(s, s, c->all);
    s[i] = 0;
    for (size_t j = 0; j < c->all; j++)
        sum += (double)s[j];
    for (size_t j = 0; j < c->all; j++)
        s[j] = (bk_real)((double)s[j] / sum - (positive(c, i, j) ? share : 0));
    return log(sum) - own * share;
}

double bk_supcon_loss(bk_real *df, const bk_real *f, size_t o, const uint32_t *label, size_t n,
                      const struct bk_memory *memory, double temperature, bk_real *scratch)
{
    const struct compared c = compare(f, o, label, n, memory, scratch);
    const bk_real inv = (bk_real)(1 / temperature);
    double loss = 0;
    for (size_t i = 0; i < n * c.all; i++)
        c.s[i] *= inv;
    for (size_t i = 0; i < n; i++)
        loss += supcon_row(&c, i);
    for (size_t i = 0; i < n * c.all; i++)
        c.s[i] *= inv;
    compare_back(df, &c);
    return loss;
}

/* Row i of c->s becomes its gradient. Returns the loss of anchor i. */
static double triplet_row(const struct compared *c, size_t i, double margin)
{
    bk_real *s = c->s + i * c->all;
    size_t hardest = i;
    for (size_t j = 0; j < c->all; j++)
        if (!same_label(c, i, j) && (hardest == i || s[j] > s[hardest]))
            hardest = j;
    const double worst = (double)s[hardest];
    double loss = 0, violations = 0;
    for (size_t j = 0; j < c->all; j++) {
        double miss = hardest != i && positive(c, i, j) ? margin - (double)s[j] + worst : 0;
        bool counts = !(miss <= 0); /* what is no number stays none */
        loss += counts ? miss : 0;
        violations += counts;
        s[j] = counts ? -1 : 0;
    }
    s[hardest] += (bk_real)violations;
    return loss;
}

double bk_triplet_loss(bk_real *df, const bk_real *f, size_t o, const uint32_t *label, size_t n,
                       const struct bk_memory *memory, double margin, bk_real *scratch)
{
    const struct compared c = compare(f, o, label, n, memory, scratch);
    double loss = 0;
    for (size_t i = 0; i < n; i++)
        loss += triplet_row(&c, i, margin);
    compare_back(df, &c);
    return loss;
}

void bk_adam(bk_real *params, bk_real *m, bk_real *v, bk_real *const *grads, size_t n_grads, size_t first, size_t n,
             uint64_t step, double rate)
{
    const bk_real rates[2] = {(bk_real)(rate / (1 - pow(0.9, (double)step))),
                              (bk_real)(1 / sqrt(1 - pow(0.999, (double)step)))};
    bk_kernels()->adam(params, m, v, grads, n_grads, first, n, rates);
}

void bk_average(bk_real *average, const bk_real *params, size_t first, size_t n, uint64_t step, double decay)
{
    const double begun = (1 + (double)step) / (10 + (double)step);
    const bk_real share = (bk_real)(1 - (decay < begun ? decay : begun));
    for (size_t i = first; i < first + n; i++)
        average[i] += share * (params[i] - average[i]);
}
