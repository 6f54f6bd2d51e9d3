/* The call graph of a side with its reverse, and the items of both under common numbers. */
#include "match/match_int.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void lists_done(struct lists *l)
{
    free(l->first);
    free(l->v);
}

static bool lists_alloc(struct lists *l, size_t n, size_t n_values)
{
    l->n = n;
    l->first = bk_calloc(n + 1, sizeof *l->first);
    l->v = bk_calloc(n_values, sizeof *l->v);
    return l->first && l->v;
}

/* ---- calls ------------------------------------------------------------ */

/* Who calls each of `n` nodes. */
static bool reverse(struct lists *out, const struct lists *l, size_t n)
{
    size_t n_values = l->first[l->n];
    if (!lists_alloc(out, n, n_values))
        return false;
    for (size_t i = 0; i < n_values; i++)
        out->first[l->v[i] + 1]++;
    for (size_t i = 0; i < n; i++)
        out->first[i + 1] += out->first[i];
    for (size_t i = 0; i < l->n; i++)
        for (size_t k = l->first[i]; k < l->first[i + 1]; k++)
            out->v[out->first[l->v[k]]++] = (uint32_t)i;
    memmove(out->first + 1, out->first, n * sizeof *out->first); /* each stands at its end, the next one's begin */
    out->first[0] = 0;
    return true;
}

static float weight_of(size_t degree)
{
    return 1 / log2f(2 + (float)degree);
}

int bk_match_graph_init(struct graph *g, const struct bk_match_side *s, size_t n_imports, struct bk_error *err)
{
    size_t n_calls = s->first_call[s->n];
    *g = (struct graph){.n = s->n, .n_nodes = s->n + n_imports};
    g->callee_weight = bk_calloc(g->n_nodes, sizeof(float));
    g->caller_weight = bk_calloc(s->n, sizeof(float));
    g->weight = bk_calloc(s->n, sizeof(float));
    if (!g->callee_weight || !g->caller_weight || !g->weight || !lists_alloc(&g->callees, s->n, n_calls))
        return bk_fail_nomem(err, n_calls * sizeof(uint32_t));
    memcpy(g->callees.first, s->first_call, (s->n + 1) * sizeof *s->first_call);
    if (n_calls > 0)
        memcpy(g->callees.v, s->calls, n_calls * sizeof *s->calls);
    if (!reverse(&g->callers, &g->callees, g->n_nodes))
        return bk_fail_nomem(err, n_calls * sizeof(uint32_t));
    for (size_t i = 0; i < g->n_nodes; i++)
        g->callee_weight[i] = weight_of(list_size(&g->callers, i));
    for (size_t i = 0; i < g->n; i++)
        g->caller_weight[i] = weight_of(list_size(&g->callees, i));
    for (size_t i = 0; i < g->n; i++) {
        for (size_t k = g->callees.first[i]; k < g->callees.first[i + 1]; k++)
            g->weight[i] += g->callee_weight[g->callees.v[k]];
        for (size_t k = g->callers.first[i]; k < g->callers.first[i + 1]; k++)
            g->weight[i] += g->caller_weight[g->callers.v[k]];
    }
    return BK_OK;
}

void bk_match_graph_done(struct graph *g)
{
    lists_done(&g->callees);
    lists_done(&g->callers);
    free(g->callee_weight);
    free(g->caller_weight);
    free(g->weight);
}

/* ---- items ------------------------------------------------------------ */

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static bool number_items(struct lists *out, const struct bk_match_side *s, const uint64_t *known, size_t n_known)
{
    if (!lists_alloc(out, s->n, s->first_item[s->n]))
        return false;
    memcpy(out->first, s->first_item, (s->n + 1) * sizeof *s->first_item);
    for (size_t i = 0; i < s->first_item[s->n]; i++) {
        const uint64_t *at = bsearch(&s->items[i], known, n_known, sizeof *known, by_value);
        out->v[i] = (uint32_t)(at - known);
    }
    return true;
}

static float *sum_weights(const struct lists *l, const float *weight)
{
    float *sum = bk_calloc(l->n, sizeof *sum);
    for (size_t i = 0; sum && i < l->n; i++)
        for (size_t k = l->first[i]; k < l->first[i + 1]; k++)
            sum[i] += weight[l->v[k]];
    return sum;
}

int bk_match_items_init(struct items *x, const struct bk_match_side *a, const struct bk_match_side *b,
                        struct bk_error *err)
{
    size_t n_a = a->first_item[a->n], n = n_a + b->first_item[b->n], n_known = 0;
    *x = (struct items){0};
    uint64_t *known = bk_calloc(n, sizeof *known);
    x->weight = bk_calloc(n, sizeof *x->weight);
    if (!known || !x->weight) {
        free(known);
        return bk_fail_nomem(err, n * sizeof *known);
    }
    if (n_a > 0)
        memcpy(known, a->items, n_a * sizeof *known);
    if (n > n_a)
        memcpy(known + n_a, b->items, (n - n_a) * sizeof *known);
    if (n > 0)
        qsort(known, n, sizeof *known, by_value);
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && known[end] == known[i];)
            end++;
        float idf = logf((float)(a->n + b->n + 1) / (float)(end - i));
        x->weight[n_known] = idf * idf;
        known[n_known++] = known[i];
    }
    bool fine = number_items(&x->a, a, known, n_known) && number_items(&x->b, b, known, n_known);
    free(known);
    x->sum_a = fine ? sum_weights(&x->a, x->weight) : NULL;
    x->sum_b = fine ? sum_weights(&x->b, x->weight) : NULL;
    return x->sum_a && x->sum_b ? BK_OK : bk_fail_nomem(err, n * sizeof(uint32_t));
}

void bk_match_items_done(struct items *x)
{
    lists_done(&x->a);
    lists_done(&x->b);
    free(x->weight);
    free(x->sum_a);
    free(x->sum_b);
}
