/* The encoder: against PyTorch, every gradient of every set of branches against central differences (in double), and by its properties.
 * argv[1]: encoder.bin. Compiled in float and in double. */
#include "../base/cmocka_all.h"
#include "golden.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef BK_REAL_DOUBLE
static const double tol = 1e-11;
#else
static const double tol = 2e-5;
#endif

enum { B = 5, SEQUENCE = 1u << BK_BRANCH_SEQUENCE, GRAPH = 1u << BK_BRANCH_GRAPH, SKETCH = 1u << BK_BRANCH_SKETCH };
static const double penalty_scale = 0.3; /* as in make_encoder.py */

static const char *golden_path;
static struct bk_arena *arena; /* of a test */

static int set_up(void **state)
{
    (void)state;
    assert_non_null(arena = bk_arena_new());
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    bk_arena_free(arena);
    return 0;
}

static void *take(size_t n, size_t size)
{
    void *p = bk_arena_alloc(arena, n + 1, size);
    assert_non_null(p);
    memset(p, 0, (n + 1) * size);
    return p;
}

static bk_real *reals(size_t n)
{
    return take(n, sizeof(bk_real));
}

/* An encoder with weights, and functions: 1 has no words, blocks and items, 3 no items; of the others 2 has more words and 3 more blocks
 * than are seen. */
struct world {
    struct bk_encoder_config cfg;
    struct bk_tensor tensors[BK_ENCODER_MAX_TENSORS];
    size_t n_tensors, n_params, o, n_words;
    bk_real *params, *words, *coef; /* coef: b x o, the loss is the sum of coef f, and the penalty */
    struct bk_input in[B];
};

static struct bk_input find_input(const struct golden *g, size_t i)
{
    char prefix[32];
    size_t n;
    struct bk_input in = {0};
    snprintf(prefix, sizeof prefix, "encoder/%zu", i);
    in.words.ids = golden_ids(arena, g, &in.words.n, prefix, "words");
    in.graph = golden_graph(arena, g, prefix);
    const uint32_t *low = golden_ids(arena, g, &n, prefix, "low"), *high = golden_ids(arena, g, &n, prefix, "high"),
                   *kinds = golden_ids(arena, g, &n, prefix, "kind");
    const bk_real *weights = golden_reals(arena, g, &n, prefix, "weight");
    uint64_t *hash = take(n, sizeof *hash);
    uint8_t *kind = take(n, sizeof *kind);
    float *weight = take(n, sizeof *weight);
    for (size_t k = 0; k < n; k++) {
        hash[k] = (uint64_t)high[k] << 32 | low[k];
        kind[k] = (uint8_t)kinds[k];
        weight[k] = (float)weights[k];
    }
    in.items = (struct bk_item_seq){.hash = hash, .kind = kind, .weight = weight, .n = n};
    return in;
}

static void world_load(struct world *w, unsigned branches, bool attention)
{
    struct golden g;
    struct bk_error err;
    struct bk_rng rng;
    size_t n;
    golden_open(&g, golden_path);
    const uint32_t *d = golden_ids(arena, &g, &n, "encoder", "dims");
    assert_int_equal(n, 15);
    *w = (struct world){
        .cfg = {.branches = branches,
                .attention = attention,
                .net = {.d = d[1], .u = d[2], .a = d[3], .r = d[4], .e = d[5], .n = d[6], .max_insns = d[7]},
                .graph =
                    {.forms = d[8], .s = d[9], .rounds = d[10], .a = d[11], .r = d[12], .n = d[13], .max_nodes = d[14]},
                .sketch = d[0]}};
    assert_int_equal(bk_net_config_set_aff(&w->cfg.net, "none+norm", &err), BK_OK);
    w->n_tensors = bk_encoder_tensors(w->tensors, &w->cfg);
    w->n_params = bk_encoder_n_params(&w->cfg);
    w->o = bk_encoder_outputs(&w->cfg);
    w->params = reals(w->n_params);
    w->words = golden_reals(arena, &g, &n, "encoder", "words");
    w->n_words = n / w->cfg.net.d;
    for (size_t k = 0; k < w->n_tensors; k++) {
        const struct bk_tensor *t = &w->tensors[k];
        const bk_real *v = golden_reals(arena, &g, &n, "encoder/param", t->name);
        assert_true(n >= t->rows * t->cols); /* those that join fewer branches are smaller */
        memcpy(w->params + t->offset, v, t->rows * t->cols * sizeof *v);
    }
    for (size_t i = 0; i < B; i++)
        w->in[i] = find_input(&g, i);
    w->coef = reals(B * w->o);
    bk_rng_seed(&rng, 5, branches);
    for (size_t i = 0; i < B * w->o; i++)
        w->coef[i] = (bk_real)(2 * bk_rng_unit(&rng) - 1);
    golden_close(&g);
}

/* word_grads (n_words x d) += g. */
static void spread(const struct world *w, bk_real *word_grads, const struct bk_word_grads *g)
{
    const size_t d = w->cfg.net.d;
    for (size_t i = 0; i < g->n; i++)
        for (size_t k = 0; k < d; k++)
            word_grads[g->ids[i] * d + k] += g->v[i * d + k];
}

/* f (b x o) and, when not NULL, the gradients of the loss, by a pass of its own; returns the penalty. */
static double run(const struct world *w, bk_real *f, bk_real *grads, bk_real *word_grads, const bk_real *coef,
                  const struct bk_input *in, size_t b)
{
    struct bk_error err;
    struct bk_encoder_prepared *prepared;
    struct bk_encoder_pass *pass;
    struct bk_word_grads found = {0};
    double penalty = 7;
    const struct bk_encoder_words words = {.vectors = w->words, .n = w->n_words, .penalty = &penalty};
    assert_int_equal(bk_encoder_prepared_new(&prepared, &w->cfg, BK_FULL, grads != NULL, &err), BK_OK);
    assert_int_equal(bk_encoder_pass_new(&pass, &w->cfg, &err), BK_OK);
    bk_encoder_prepare(prepared, w->params, 1);
    assert_int_equal(bk_encoder_forward(pass, f, prepared, &words, in, b, grads != NULL, &err), BK_OK);
    if (grads) {
        bk_encoder_backward(pass, grads, &found, prepared, coef, penalty_scale);
        spread(w, word_grads, &found);
    }
    bk_encoder_pass_free(pass);
    bk_encoder_prepared_free(prepared);
    return penalty;
}

/* ---- against PyTorch ---- */

static void against_golden(bool attention)
{
    const char *join = attention ? "attention" : "concat", *of_grads = attention ? "attention/grad" : "concat/grad";
    struct golden g;
    struct world w;
    size_t n;
    world_load(&w, SEQUENCE | GRAPH | SKETCH, attention);
    golden_open(&g, golden_path);
    const bk_real *coef = golden_reals(arena, &g, &n, join, "coef");
    assert_int_equal(n, B * w.o);
    bk_real *f = reals(B * w.o), *grads = reals(w.n_params), *word_grads = reals(w.n_words * w.cfg.net.d);
    bk_real penalty = (bk_real)run(&w, f, grads, word_grads, coef, w.in, B);
    assert_golden(&g, f, B * w.o, tol, join, "f");
    assert_golden(&g, &penalty, 1, 5 * tol, join, "penalty");
    assert_golden(&g, word_grads, w.n_words * w.cfg.net.d, 5 * tol, join, "grad_words");
    for (size_t k = 0; k < w.n_tensors; k++)
        assert_golden(&g, grads + w.tensors[k].offset, w.tensors[k].rows * w.tensors[k].cols, 5 * tol, of_grads,
                      w.tensors[k].name);
    golden_close(&g);
}

static void test_golden(void **state)
{
    (void)state;
    against_golden(true);
    against_golden(false);
}

/* ---- by central differences ---- */

#ifdef BK_REAL_DOUBLE
static double loss_of(const struct world *w, bk_real *f)
{
    double loss = penalty_scale * run(w, f, NULL, NULL, NULL, w->in, B);
    for (size_t i = 0; i < B * w->o; i++)
        loss += w->coef[i] * f[i];
    return loss;
}

/* grads: those of the n numbers v of the world, all called `name`. */
static void check_numbers(const struct world *w, bk_real *v, const bk_real *grads, size_t n, const char *name)
{
    const double h = 1e-5;
    double largest = 0;
    bk_real *f = reals(B * w->o);
    for (size_t i = 0; i < n; i++) {
        bk_real was = v[i];
        v[i] = was + h;
        double up = loss_of(w, f);
        v[i] = was - h;
        double down = loss_of(w, f);
        v[i] = was;
        assert_near(grads[i], (up - down) / (2 * h), 2e-7, name, i);
        largest = fmax(largest, fabs(grads[i]));
    }
    if (!(largest > 1e-6))
        fail_msg("%s: no gradient to speak of", name);
}

static void test_gradients(void **state)
{
    static const struct {
        unsigned branches;
        bool attention;
    } sets[] = {{SEQUENCE | GRAPH | SKETCH, true},
                {SEQUENCE | GRAPH | SKETCH, false},
                {SEQUENCE | GRAPH, true},
                {SEQUENCE | SKETCH, true},
                {GRAPH | SKETCH, true},
                {GRAPH | SKETCH, false},
                {SEQUENCE, true},
                {GRAPH, true},
                {SKETCH, false}};
    (void)state;
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        struct world w;
        world_load(&w, sets[i].branches, sets[i].attention);
        const size_t n_words = w.n_words * w.cfg.net.d;
        bk_real *f = reals(B * w.o), *grads = reals(w.n_params), *word_grads = reals(n_words);
        run(&w, f, grads, word_grads, w.coef, w.in, B);
        for (size_t k = 0; k < w.n_tensors; k++) {
            const struct bk_tensor *t = &w.tensors[k];
            check_numbers(&w, w.params + t->offset, grads + t->offset, t->rows * t->cols, t->name);
        }
        if (sets[i].branches & SEQUENCE)
            check_numbers(&w, w.words, word_grads, n_words, "words");
    }
}
#endif

/* ---- branches ---- */

static double length_of(const bk_real *f, size_t n)
{
    double s = 0;
    for (size_t i = 0; i < n; i++)
        s += (double)f[i] * (double)f[i];
    return sqrt(s);
}

/* Several branches give a unit vector; of one that has nothing to look at its share is missing, which plain concatenation makes 1 of k. */
static void test_length(void **state)
{
    (void)state;
    for (int attention = 0; attention < 2; attention++) {
        struct world w;
        world_load(&w, SEQUENCE | GRAPH | SKETCH, attention);
        bk_real *f = reals(B * w.o);
        run(&w, f, NULL, NULL, NULL, w.in, B);
        for (size_t i = 0; i < B; i++) {
            const struct bk_input *in = &w.in[i];
            const size_t k = (in->words.n > 0) + (in->graph.n_nodes > 0) + (in->items.n > 0);
            const double length = length_of(f + i * w.o, w.o);
            if (k == 3 || k == 0)
                assert_near(length, k == 3, 10 * tol, "length", i);
            else if (attention)
                assert_true(length > 0.1 && length < 0.99);
            else
                assert_near(length, sqrt((double)k / 3), 10 * tol, "length", i);
        }
    }
}

static void test_lacks_something(void **state)
{
    struct world w;
    (void)state;
    world_load(&w, SEQUENCE | GRAPH | SKETCH, true);
    const size_t places[] = {0, bk_net_outputs(&w.cfg.net), bk_net_outputs(&w.cfg.net) + w.cfg.graph.n, w.o};
    for (size_t lacks = 0; lacks < 3; lacks++) {
        struct bk_input in = w.in[0];
        bk_real *f = reals(w.o), *grads = reals(w.n_params), *word_grads = reals(w.n_words * w.cfg.net.d);
        if (lacks == BK_BRANCH_SEQUENCE)
            in.words = (struct bk_seq){0};
        else if (lacks == BK_BRANCH_GRAPH)
            in.graph = (struct bk_graph){0};
        else
            in.items = (struct bk_item_seq){0};
        run(&w, f, grads, word_grads, w.coef, &in, 1);
        for (size_t k = 0; k < 3; k++)
            assert_true((length_of(f + places[k], places[k + 1] - places[k]) > 0) == (k != lacks));
        for (size_t i = 0; i < w.n_params; i++)
            assert_true(isfinite(grads[i]));
    }
}

static void test_batch(void **state)
{
    struct world w;
    (void)state;
    world_load(&w, SEQUENCE | GRAPH | SKETCH, true);
    const size_t n_words = w.n_words * w.cfg.net.d;
    bk_real *f = reals(B * w.o), *kept = reals(B * w.o), *one = reals(w.o), *grads = reals(w.n_params);
    bk_real *sum = reals(w.n_params), *word_grads = reals(n_words), *word_sum = reals(n_words);
    double penalty = run(&w, f, NULL, NULL, NULL, w.in, B), penalties = 0;
    run(&w, kept, grads, word_grads, w.coef, w.in, B);
    assert_memory_equal(f, kept, B * w.o * sizeof *f);
    for (size_t i = 0; i < B; i++) {
        penalties += run(&w, one, sum, word_sum, w.coef + i * w.o, &w.in[i], 1);
        assert_memory_equal(one, f + i * w.o, w.o * sizeof *one);
    }
    assert_near(penalty, penalties, 5 * tol, "penalty", 0);
    for (size_t i = 0; i < w.n_params; i++)
        assert_near((double)grads[i], (double)sum[i], 5 * tol, "gradients add up over functions", i);
    for (size_t i = 0; i < n_words; i++)
        assert_near((double)word_grads[i], (double)word_sum[i], 5 * tol, "gradients of words add up", i);
}

/* One branch alone is that branch: vectors, penalty and gradients bit for bit. */
static void test_sequence_alone(void **state)
{
    struct world w;
    struct bk_error err;
    struct bk_prepared *prepared;
    struct bk_pass *pass;
    struct bk_seq seqs[B];
    struct bk_word_grads found;
    double penalty;
    (void)state;
    world_load(&w, SEQUENCE, true);
    const size_t n_words = w.n_words * w.cfg.net.d;
    bk_real *f = reals(B * w.o), *grads = reals(w.n_params), *word_grads = reals(n_words);
    bk_real *g = reals(B * w.o), *own = reals(w.n_params), *own_words = reals(n_words);
    for (size_t i = 0; i < B; i++)
        seqs[i] = w.in[i].words;
    assert_int_equal(bk_prepared_new(&prepared, &w.cfg.net, BK_FULL, true, &err), BK_OK);
    assert_int_equal(bk_pass_new(&pass, &w.cfg.net, &err), BK_OK);
    bk_prepare(prepared, w.params, 1);
    assert_int_equal(bk_pass_forward(pass, g, prepared, w.words, w.n_words, seqs, B, true, NULL, &penalty, &err),
                     BK_OK);
    bk_pass_backward(pass, own, &found, prepared, w.coef, penalty_scale);
    spread(&w, own_words, &found);
    assert_true(run(&w, f, grads, word_grads, w.coef, w.in, B) == penalty && penalty > 0);
    assert_int_equal(w.n_params, bk_net_n_params(&w.cfg.net));
    assert_memory_equal(f, g, B * w.o * sizeof *f);
    assert_memory_equal(grads, own, w.n_params * sizeof *grads);
    assert_memory_equal(word_grads, own_words, n_words * sizeof *grads);
    bk_pass_free(pass);
    bk_prepared_free(prepared);
}

static void test_graph_alone(void **state)
{
    struct world w;
    struct bk_error err;
    struct bk_graph_prepared *prepared;
    struct bk_graph_pass *pass;
    struct bk_graph graphs[B];
    (void)state;
    world_load(&w, GRAPH, true);
    bk_real *f = reals(B * w.o), *grads = reals(w.n_params), *no_words = reals(w.n_words * w.cfg.net.d);
    bk_real *g = reals(B * w.o), *own = reals(w.n_params);
    for (size_t i = 0; i < B; i++)
        graphs[i] = w.in[i].graph;
    assert_int_equal(bk_graph_prepared_new(&prepared, &w.cfg.graph, true, &err), BK_OK);
    assert_int_equal(bk_graph_pass_new(&pass, &w.cfg.graph, &err), BK_OK);
    bk_graph_prepare(prepared, w.params);
    assert_int_equal(bk_graph_pass_forward(pass, g, prepared, graphs, B, true, &err), BK_OK);
    bk_graph_pass_backward(pass, own, prepared, w.coef);
    assert_true(run(&w, f, grads, no_words, w.coef, w.in, B) == 0);
    assert_memory_equal(f, g, B * w.o * sizeof *f);
    assert_memory_equal(grads, own, w.n_params * sizeof *grads);
    bk_graph_pass_free(pass);
    bk_graph_prepared_free(prepared);
}

/* What a branch that is not there would look at changes nothing. */
static void test_looks_at_its_own(void **state)
{
    (void)state;
    for (unsigned branches = 1; branches < 8; branches++) {
        struct world w;
        struct bk_input less[B] = {{{0}, {0}, {0}}};
        world_load(&w, branches, true);
        for (size_t i = 0; i < B; i++) {
            if (branches & SEQUENCE)
                less[i].words = w.in[i].words;
            if (branches & GRAPH)
                less[i].graph = w.in[i].graph;
            if (branches & SKETCH)
                less[i].items = w.in[i].items;
        }
        bk_real *f = reals(B * w.o), *g = reals(B * w.o);
        run(&w, f, NULL, NULL, NULL, w.in, B);
        run(&w, g, NULL, NULL, NULL, less, B);
        assert_memory_equal(f, g, B * w.o * sizeof *f);
    }
}

/* A pass that was used for larger and smaller batches gives what a new one gives; a bad input is refused and leaves it fit for use. */
static void test_pass_again(void **state)
{
    struct world w;
    struct bk_error err;
    struct bk_encoder_prepared *prepared;
    struct bk_encoder_pass *pass;
    (void)state;
    world_load(&w, SEQUENCE | GRAPH | SKETCH, true);
    const struct bk_encoder_words words = {.vectors = w.words, .n = w.n_words};
    bk_real *f = reals(B * w.o), *again = reals(B * w.o);
    const uint32_t beyond = (uint32_t)w.n_words, forms = w.cfg.graph.forms, no_form[3] = {forms, forms, forms};
    struct bk_input bad[2] = {w.in[0], w.in[2]};
    run(&w, f, NULL, NULL, NULL, w.in, B);
    assert_int_equal(bk_encoder_prepared_new(&prepared, &w.cfg, BK_FULL, true, &err), BK_OK);
    assert_int_equal(bk_encoder_pass_new(&pass, &w.cfg, &err), BK_OK);
    bk_encoder_prepare(prepared, w.params, 1);
    for (size_t round = 0; round < 2; round++) {
        for (size_t b = round ? B : 0; round ? b-- > 0 : b++ < B;) {
            assert_int_equal(bk_encoder_forward(pass, again, prepared, &words, w.in, b, b % 2, &err), BK_OK);
            assert_memory_equal(again, f, b * w.o * sizeof *f);
        }
        bad[0] = w.in[0];
        bad[0].words = (struct bk_seq){&beyond, 1};
        assert_int_equal(bk_encoder_forward(pass, again, prepared, &words, bad, 2, true, &err), BK_EINVAL);
        bad[0] = w.in[0];
        bad[0].graph.forms = bad[0].graph.neutral = no_form;
        assert_int_equal(bk_encoder_forward(pass, again, prepared, &words, bad, 2, true, &err), BK_EINVAL);
        bk_real *none = reals(w.n_params), *zero = reals(w.n_params);
        bk_encoder_backward(pass, none, NULL, prepared, w.coef, 0); /* nothing is kept of it */
        assert_memory_equal(none, zero, w.n_params * sizeof *none);
    }
    bk_encoder_pass_free(pass);
    bk_encoder_prepared_free(prepared);
}

/* ---- configuration ---- */

static void test_names(void **state)
{
    static const char *const none[] = {"",      ",", "sequence,", ",graph", "graph,graph", "words", "graph sketch",
                                       "graphs"};
    char text[64];
    (void)state;
    for (unsigned branches = 1; branches < 8; branches++) {
        bk_branches_text(text, branches);
        assert_int_equal(bk_branches_parse(text), branches);
    }
    assert_string_equal(text, "sequence,graph,sketch");
    assert_int_equal(bk_branches_parse("sketch,sequence"), SKETCH | SEQUENCE);
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        assert_int_equal(bk_branches_parse(none[i]), 0);
}

static void test_config(void **state)
{
    static const struct {
        const char *kind;
        unsigned branches;
        size_t o; /* P and Q of 100, graph of 128, sketch of 256 */
    } kinds[] = {{"mffa", SEQUENCE, 200},
                 {"safe", SEQUENCE, 100},
                 {"graph", GRAPH | SKETCH, 384},
                 {"fused", SEQUENCE | GRAPH | SKETCH, 584}};
    struct bk_encoder_config c;
    struct bk_error err;
    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        assert_true(bk_encoder_config_default(&c, kinds[i].kind));
        c.graph.forms = c.branches & GRAPH ? 10 : 0;
        assert_int_equal(bk_encoder_config_check(&c, &err), BK_OK);
        assert_int_equal(c.branches, kinds[i].branches);
        assert_int_equal(bk_encoder_outputs(&c), kinds[i].o);
        assert_int_equal(bk_encoder_sides(&c), 1);
    }
    assert_false(bk_encoder_config_default(&c, "gnn"));
    assert_true(bk_encoder_config_default(&c, "fused"));
    assert_int_equal(bk_encoder_config_check(&c, &err), BK_ELIMIT); /* no forms */
    c.graph.forms = 10;
    const struct bk_encoder_config good = c;
    const uint32_t sketches[] = {0, 3, 4098, UINT32_MAX};
    for (size_t i = 0; i < 4; i++) {
        c.sketch = sketches[i];
        assert_int_equal(bk_encoder_config_check(&c, &err), BK_ELIMIT);
    }
    c.branches = SEQUENCE | GRAPH; /* of what is not there nothing counts */
    assert_int_equal(bk_encoder_config_check(&c, &err), BK_OK);
    c = good;
    c.branches = 0;
    assert_int_equal(bk_encoder_config_check(&c, &err), BK_EINVAL);
    c.branches = 8 | GRAPH;
    assert_int_equal(bk_encoder_config_check(&c, &err), BK_EINVAL);
    c = good;
    c.net.compat_safe = true;
    assert_int_equal(bk_encoder_config_check(&c, &err), BK_EINVAL);
    struct bk_encoder_pass *pass;
    struct bk_encoder_prepared *prepared;
    assert_int_equal(bk_encoder_pass_new(&pass, &c, &err), BK_EINVAL);
    assert_null(pass);
    assert_int_equal(bk_encoder_prepared_new(&prepared, &c, BK_FULL, true, &err), BK_EINVAL);
    assert_null(prepared);
}

/* The tensors lie one behind the other without a gap, and begin as said: all kinds of items and all branches count alike. */
static void test_tensors(void **state)
{
    struct world w;
    struct bk_rng rng;
    (void)state;
    for (unsigned branches = 1; branches < 8; branches++) {
        world_load(&w, branches, true);
        size_t at = 0;
        bk_rng_seed(&rng, 1, 0);
        bk_encoder_init(w.params, &w.cfg, &rng);
        for (size_t k = 0; k < w.n_tensors; k++) {
            const struct bk_tensor *t = &w.tensors[k];
            const bool kinds = strcmp(t->name, "sketch.kinds") == 0, join = strncmp(t->name, "join.", 5) == 0;
            assert_int_equal(t->offset, at);
            at += t->rows * t->cols;
            for (size_t i = t->offset; (kinds || join) && i < at; i++)
                assert_true(w.params[i] == kinds);
        }
        assert_int_equal(at, w.n_params);
    }
}

int main(int argc, char **argv)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_golden),
#ifdef BK_REAL_DOUBLE
        CASE(test_gradients),
#endif
        CASE(test_length),      CASE(test_lacks_something),  CASE(test_batch),      CASE(test_sequence_alone),
        CASE(test_graph_alone), CASE(test_looks_at_its_own), CASE(test_pass_again), CASE(test_names),
        CASE(test_config),      CASE(test_tensors),
    };
    golden_path = argc > 1 ? argv[1] : "encoder.bin";
    return cmocka_run_group_tests(tests, NULL, NULL);
}
