#include "golden.h"
#include "../base/cmocka_all.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint32_t *find_u32(const struct golden *g, size_t *count, const char *name, const char *what)
{
    double *v = golden_find(g, count, "%s/%s", name, what);
    assert_non_null(v);
    size_t n = *count;
    uint32_t *out = bk_calloc(n + 1, sizeof *out);
    assert_non_null(out);
    for (size_t i = 0; i < n; i++)
        out[i] = (uint32_t)v[i];
    free(v);
    return out;
}

#define COMPAT "compat:"

static void set_aff(struct net_case *c, const char *aff)
{
    struct bk_error err;
    c->cfg.compat_safe = strncmp(aff, COMPAT, strlen(COMPAT)) == 0;
    assert_int_equal(bk_net_config_set_aff(&c->cfg, aff + (c->cfg.compat_safe ? strlen(COMPAT) : 0), &err), BK_OK);
    c->sides = bk_net_sides(&c->cfg);
    c->n_params = bk_net_n_params(&c->cfg);
    c->o = bk_net_outputs(&c->cfg);
    c->n_tensors = bk_net_tensors(c->tensors, &c->cfg);
    c->params = bk_calloc(c->n_params, sizeof *c->params);
    assert_non_null(c->params);
    assert_int_equal(bk_prepared_new(&c->prepared, &c->cfg, BK_FULL, true, &err), BK_OK);
    assert_int_equal(bk_pass_new(&c->pass, &c->cfg, &err), BK_OK);
}

void net_case_load(struct net_case *c, const struct golden *g, const char *name)
{
    size_t n;
    memset(c, 0, sizeof *c);
    double *dims = golden_find(g, &n, "%s/dims", name);
    assert_non_null(dims);
    c->cfg = (struct bk_net_config){.d = (uint32_t)dims[0],
                                    .u = (uint32_t)dims[1],
                                    .a = (uint32_t)dims[2],
                                    .r = (uint32_t)dims[3],
                                    .e = (uint32_t)dims[4],
                                    .n = (uint32_t)dims[5],
                                    .max_insns = (uint32_t)dims[6]};
    free(dims);
    set_aff(c, name);
    double *words = golden_find(g, &n, "%s/words", name);
    c->words = bk_calloc(n, sizeof *c->words);
    assert_true(words && c->words);
    c->n_words = n / c->cfg.d;
    for (size_t i = 0; i < n; i++)
        c->words[i] = (bk_real)words[i];
    free(words);
    for (c->b = 0; c->b < 5; c->b++) {
        char what[16];
        snprintf(what, sizeof what, "seq/%zu", c->b);
        const uint32_t *ids = find_u32(g, &n, name, what);
        c->seqs[c->b] = (struct bk_seq){ids, n};
    }
    c->left = find_u32(g, &n, name, "left");
    c->right = find_u32(g, &n, name, "right");
    c->n_pairs = n;
    double *y = golden_find(g, &n, "%s/y", name);
    c->y = bk_calloc(n, 1);
    assert_non_null(c->y);
    for (size_t i = 0; i < n; i++)
        c->y[i] = (int8_t)y[i];
    free(y);
    for (size_t k = 0; k < c->n_tensors; k++) {
        const struct bk_tensor *t = &c->tensors[k];
        double *w = golden_find(g, &n, "%s/param/%s", name, t->name);
        if (!w || n != t->rows * t->cols)
            fail_msg("%s: tensor %s is not in the file with this size", name, t->name);
        for (size_t i = 0; i < n; i++)
            c->params[t->offset + i] = (bk_real)w[i];
        free(w);
    }
}

void net_case_change(struct net_case *c, const char *aff)
{
    struct bk_rng rng;
    free(c->params);
    bk_prepared_free(c->prepared);
    bk_pass_free(c->pass);
    set_aff(c, aff);
    bk_rng_seed(&rng, 4, 0);
    for (size_t i = 0; i < c->n_params; i++)
        c->params[i] = (bk_real)(2 * bk_rng_unit(&rng) - 1);
}

void net_case_free(struct net_case *c)
{
    bk_prepared_free(c->prepared);
    bk_pass_free(c->pass);
    for (size_t i = 0; i < c->b; i++)
        free((void *)(uintptr_t)c->seqs[i].ids);
    free(c->left);
    free(c->right);
    free(c->y);
    free(c->params);
    free(c->words);
}

void net_case_spread(const struct net_case *c, bk_real *word_grads, const struct bk_word_grads *g)
{
    size_t d = c->cfg.d;
    memset(word_grads, 0, c->n_words * d * sizeof *word_grads);
    for (size_t i = 0; i < g->n; i++)
        memcpy(word_grads + g->ids[i] * d, g->v + i * d, d * sizeof *word_grads);
}

double net_case_loss(const struct net_case *c, bk_real *f, double *penalty, bk_real *grads, bk_real *word_grads)
{
    struct bk_error err;
    struct bk_word_grads words;
    double sum = 0;
    bk_real weight[8] = {0};
    size_t row = c->sides * c->o;
    bk_real *out = bk_calloc(c->b * row, sizeof *out), *df = bk_calloc(c->b * row, sizeof *df);
    assert_non_null(out);
    assert_non_null(df);
    for (size_t i = 0; i < c->n_pairs; i++)
        weight[c->right[i]]++;
    bk_prepare(c->prepared, c->params, 1);
    assert_int_equal(bk_pass_forward(c->pass, out, c->prepared, c->words, c->n_words, c->seqs, c->b, grads != NULL,
                                     c->cfg.compat_safe ? weight : NULL, &sum, &err),
                     BK_OK);
    double loss = sqrt(sum);
    if (c->cfg.compat_safe)
        loss += bk_dot_loss(df, out, c->o, c->left, c->right, c->y, c->n_pairs);
    else
        loss += bk_cosine_loss(df, NULL, out, c->o, c->left, c->right, c->y, c->n_pairs);
    if (grads)
        bk_pass_backward(c->pass, grads, word_grads ? &words : NULL, c->prepared, df, sum > 0 ? 0.5 / sqrt(sum) : 0);
    if (word_grads)
        net_case_spread(c, word_grads, &words);
    if (f)
        memcpy(f, out, c->b * row * sizeof *f);
    if (penalty)
        *penalty = sum;
    free(out);
    free(df);
    return loss;
}

static double *find(const struct golden *g, size_t *n, const char *prefix, const char *name)
{
    double *v = golden_find(g, n, "%s/%s", prefix, name);
    if (!v)
        fail_msg("no record %s/%s", prefix, name);
    return v;
}

static void *take(struct bk_arena *a, size_t n, size_t size)
{
    void *p = bk_arena_alloc(a, n + 1, size);
    assert_non_null(p);
    return p;
}

bk_real *golden_reals(struct bk_arena *a, const struct golden *g, size_t *n, const char *prefix, const char *name)
{
    double *v = find(g, n, prefix, name);
    bk_real *out = take(a, *n, sizeof *out);
    for (size_t i = 0; i < *n; i++)
        out[i] = (bk_real)v[i];
    free(v);
    return out;
}

uint32_t *golden_ids(struct bk_arena *a, const struct golden *g, size_t *n, const char *prefix, const char *name)
{
    double *v = find(g, n, prefix, name);
    uint32_t *out = take(a, *n, sizeof *out);
    for (size_t i = 0; i < *n; i++)
        out[i] = (uint32_t)v[i];
    free(v);
    return out;
}

struct bk_graph golden_graph(struct bk_arena *a, const struct golden *g, const char *prefix)
{
    size_t n, m;
    struct bk_graph out = {0};
    const uint32_t *insns = golden_ids(a, g, &n, prefix, "insns"), *edges = golden_ids(a, g, &m, prefix, "edges");
    uint16_t *counts = take(a, n, sizeof *counts);
    struct bk_graph_edge *e = take(a, m / 3, sizeof *e);
    for (size_t k = 0; k < n; k++)
        counts[k] = (uint16_t)insns[k];
    for (size_t k = 0; k < m / 3; k++)
        e[k] = (struct bk_graph_edge){(uint16_t)edges[3 * k], (uint16_t)edges[3 * k + 1], (uint16_t)edges[3 * k + 2]};
    out.n_nodes = (uint32_t)n;
    out.n_edges = (uint32_t)(m / 3);
    out.insns = counts;
    out.edges = e;
    out.forms = golden_ids(a, g, &n, prefix, "forms");
    out.neutral = golden_ids(a, g, &n, prefix, "neutral");
    const uint32_t *sizes = golden_ids(a, g, &n, prefix, "sizes");
    out.n_insns = sizes[0];
    out.n_callees = sizes[1];
    return out;
}

void assert_golden(const struct golden *g, const bk_real *x, size_t count, double limit, const char *prefix,
                   const char *name)
{
    size_t n;
    double *v = find(g, &n, prefix, name);
    assert_int_equal(n, count);
    for (size_t i = 0; i < n; i++)
        assert_near((double)x[i], v[i], limit, name, i);
    free(v);
}
