/* Properties of the network: counts of PAPER's sizes, what a batch may not change, bad input, the aff text. Compiled in
 * float and in double. */
#include "../base/cmocka_all.h"
#include "golden.h"
#include "model/net_int.h"
#include "nn/nn_int.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifdef BK_REAL_DOUBLE
static const double tol = 1e-12;
#else
static const double tol = 3e-6;
#endif

enum { N_WORDS = 60, B = 9 };

struct world {
    struct bk_net_config cfg;
    size_t n_params, o; /* o: of all sides */
    bk_real *params, *words, *f, *df;
    struct bk_prepared *prepared;
    uint32_t ids[B][64];
    struct bk_seq seqs[B];
};

/* aff behind "compat:" gives the form of SAFE's program. */
static void world_init(struct world *w, const char *aff)
{
    static const size_t lengths[B] = {12, 1, 0, 33, 64, 2, 40, 12, 7};
    struct bk_rng rng;
    struct bk_error err;
    w->cfg = (struct bk_net_config){.d = 20, .u = 18, .a = 23, .r = 5, .e = 31, .n = 14, .max_insns = 40};
    w->cfg.compat_safe = strncmp(aff, "compat:", 7) == 0;
    assert_int_equal(bk_net_config_set_aff(&w->cfg, aff + (w->cfg.compat_safe ? 7 : 0), &err), BK_OK);
    w->n_params = bk_net_n_params(&w->cfg);
    w->o = bk_net_outputs(&w->cfg) * bk_net_sides(&w->cfg);
    w->params = bk_calloc(w->n_params, sizeof *w->params);
    w->words = bk_calloc((size_t)N_WORDS * w->cfg.d, sizeof *w->words);
    w->f = bk_calloc(B * w->o, sizeof *w->f);
    w->df = bk_calloc(B * w->o, sizeof *w->df);
    assert_true(w->params && w->words && w->f && w->df);
    assert_int_equal(bk_prepared_new(&w->prepared, &w->cfg, BK_FULL, true, &err), BK_OK);
    bk_rng_seed(&rng, 3, 0);
    bk_net_init(w->params, &w->cfg, &rng);
    for (size_t i = w->cfg.d; i < (size_t)N_WORDS * w->cfg.d; i++)
        w->words[i] = (bk_real)(2 * bk_rng_unit(&rng) - 1);
    for (size_t i = 0; i < B * w->o; i++)
        w->df[i] = (bk_real)(2 * bk_rng_unit(&rng) - 1);
    for (size_t i = 0; i < B; i++) {
        for (size_t t = 0; t < lengths[i]; t++)
            w->ids[i][t] = (uint32_t)bk_rng_below(&rng, N_WORDS);
        w->seqs[i] = (struct bk_seq){w->ids[i], lengths[i]};
    }
}

static void world_done(struct world *w)
{
    bk_prepared_free(w->prepared);
    free(w->params);
    free(w->words);
    free(w->f);
    free(w->df);
}

/* f and, when not NULL, the gradient of sum(df * f) + 0.3 penalty. */
static void pass_once(const struct world *w, bk_real *f, bk_real *grads, const bk_real *df, const struct bk_seq *seqs,
                      size_t b)
{
    struct bk_pass *p;
    struct bk_error err;
    double penalty;
    assert_int_equal(bk_pass_new(&p, &w->cfg, &err), BK_OK);
    bk_prepare(w->prepared, w->params, 1);
    assert_int_equal(
        bk_pass_forward(p, f, w->prepared, w->words, N_WORDS, seqs, b, grads != NULL, NULL, &penalty, &err), 0);
    if (grads)
        bk_pass_backward(p, grads, NULL, w->prepared, df, 0.3);
    bk_pass_free(p);
}

static void assert_all_near(const bk_real *a, const bk_real *b, size_t n, const char *what)
{
    for (size_t i = 0; i < n; i++)
        assert_near((double)a[i], (double)b[i], tol, what, i);
}

static const char *const affs[] = {"none",     "matrix",   "residual+scale+norm+linear", "gate+scale", "p", "q",
                                   "compat:p", "compat:q", "compat:residual+norm+linear"};
enum { N_AFFS = sizeof affs / sizeof *affs };

static void test_alone_as_in_batch(void **state)
{
    (void)state;
    for (size_t k = 0; k < N_AFFS; k++) {
        struct world w;
        world_init(&w, affs[k]);
        bk_real *one = bk_calloc(w.o, sizeof *one), *grads = bk_calloc(w.n_params, sizeof *grads);
        bk_real *sum = bk_calloc(w.n_params, sizeof *sum);
        assert_true(one && grads && sum);
        pass_once(&w, w.f, grads, w.df, w.seqs, B);
        for (size_t i = 0; i < B; i++) {
            pass_once(&w, one, sum, w.df + i * w.o, &w.seqs[i], 1);
            assert_memory_equal(one, w.f + i * w.o, w.o * sizeof *one);
        }
        assert_all_near(sum, grads, w.n_params, "gradients add up over functions");
        free(one);
        free(grads);
        free(sum);
        world_done(&w);
    }
}

/* Scores far apart make each row of A one position, so that A A^T holds zeros and ones: the softmax neither overflows
 * nor fades. */
static void test_sharp_attention(void **state)
{
    struct world w;
    struct bk_pass *p;
    struct bk_error err;
    struct bk_tensor t[BK_NET_MAX_TENSORS];
    double penalty;
    (void)state;
    world_init(&w, "p");
    for (size_t k = 0, n = bk_net_tensors(t, &w.cfg); k < n; k++)
        for (size_t i = 0; strcmp(t[k].name, "attention.ws2") == 0 && i < t[k].rows * t[k].cols; i++)
            w.params[t[k].offset + i] *= (bk_real)1e6;
    assert_int_equal(bk_pass_new(&p, &w.cfg, &err), BK_OK);
    bk_prepare(w.prepared, w.params, 1);
    assert_int_equal(bk_pass_forward(p, w.f, w.prepared, w.words, N_WORDS, w.seqs, B, false, NULL, &penalty, &err),
                     BK_OK);
    assert_true(fabs(penalty - round(penalty)) < 1e-3);
    bk_pass_free(p);
    world_done(&w);
}

/* The same where padding is not masked: a hop with no score above 0 looks at the n padded positions alike and gives 1/n on the diagonal and
 * beside every other such hop. */
static void test_sharp_attention_padded(void **state)
{
    struct world w;
    struct bk_pass *p;
    struct bk_error err;
    struct bk_tensor t[BK_NET_MAX_TENSORS];
    size_t padded = 0;
    (void)state;
    world_init(&w, "compat:p");
    for (size_t k = 0, n = bk_net_tensors(t, &w.cfg); k < n; k++)
        for (size_t i = 0; strcmp(t[k].name, "attention.ws2") == 0 && i < t[k].rows * t[k].cols; i++)
            w.params[t[k].offset + i] *= (bk_real)1e6;
    assert_int_equal(bk_pass_new(&p, &w.cfg, &err), BK_OK);
    bk_prepare(w.prepared, w.params, 1);
    for (size_t i = 0; i < B; i++) {
        double penalty, off = 1, n = w.seqs[i].n < w.cfg.max_insns ? (double)(w.cfg.max_insns - w.seqs[i].n) : 1;
        assert_int_equal(
            bk_pass_forward(p, w.f, w.prepared, w.words, N_WORDS, &w.seqs[i], 1, false, NULL, &penalty, &err), BK_OK);
        size_t hops = 0;
        for (size_t q = 0; q <= w.cfg.r; q++) {
            double rest = penalty - (double)q * (1 - 1 / n) * (1 - 1 / n) - (double)(q * q - q) / (n * n);
            if (fabs(rest - round(rest)) < off) {
                off = fabs(rest - round(rest));
                hops = q;
            }
        }
        assert_true(off < 1e-4);
        padded += n > 1 ? hops : 0;
    }
    assert_true(padded > 0);
    bk_pass_free(p);
    world_done(&w);
}

static void test_order(void **state)
{
    struct world w;
    struct bk_seq turned[B];
    (void)state;
    world_init(&w, "residual");
    bk_real *f = bk_calloc(B * w.o, sizeof *f), *df = bk_calloc(B * w.o, sizeof *df);
    bk_real *g1 = bk_calloc(w.n_params, sizeof *g1), *g2 = bk_calloc(w.n_params, sizeof *g2);
    assert_true(f && df && g1 && g2);
    for (size_t i = 0; i < B; i++) {
        turned[i] = w.seqs[(i + 4) % B];
        memcpy(df + i * w.o, w.df + (i + 4) % B * w.o, w.o * sizeof *df);
    }
    pass_once(&w, w.f, g1, w.df, w.seqs, B);
    pass_once(&w, f, g2, df, turned, B);
    for (size_t i = 0; i < B; i++)
        assert_all_near(f + i * w.o, w.f + (i + 4) % B * w.o, w.o, "order");
    assert_all_near(g2, g1, w.n_params, "order of gradients");
    free(f);
    free(df);
    free(g1);
    free(g2);
    world_done(&w);
}

static void test_long_is_cut(void **state)
{
    struct world w;
    (void)state;
    world_init(&w, "none");
    bk_real *f = bk_calloc(w.o, sizeof *f);
    assert_non_null(f);
    struct bk_seq cut = {w.ids[4], w.cfg.max_insns}, shorter = {w.ids[4], w.cfg.max_insns - 1};
    pass_once(&w, w.f, NULL, NULL, &w.seqs[4], 1);
    pass_once(&w, f, NULL, NULL, &cut, 1);
    assert_memory_equal(f, w.f, w.o * sizeof *f);
    pass_once(&w, f, NULL, NULL, &shorter, 1);
    assert_memory_not_equal(f, w.f, w.o * sizeof *f);
    free(f);
    world_done(&w);
}

static void test_empty(void **state)
{
    (void)state;
    for (size_t k = 0; k < N_AFFS; k++) {
        struct world w;
        struct bk_seq none[2] = {{NULL, 0}, {NULL, 0}};
        world_init(&w, affs[k]);
        bk_real *grads = bk_calloc(w.n_params, sizeof *grads);
        assert_non_null(grads);
        w.f[0] = w.f[w.o] = 7;
        pass_once(&w, w.f, grads, w.df, none, 2);
        for (size_t i = 0; i < 2 * w.o; i++)
            assert_true(w.f[i] == 0);
        for (size_t i = 0; i < w.n_params; i++)
            assert_true(grads[i] == 0);
        pass_once(&w, NULL, grads, NULL, NULL, 0);
        pass_once(&w, w.f, NULL, NULL, w.seqs, B); /* function 2 has no words */
        for (size_t i = 0; i < w.o; i++)
            assert_true(w.f[2 * w.o + i] == 0);
        free(grads);
        world_done(&w);
    }
}

/* Functions that fill all positions have nothing that a mask would hide; with the same weights on both sides the form of SAFE's
 * program gives them the vector of the clean form, and any shorter one another. */
static void test_compat_without_padding(void **state)
{
    (void)state;
    struct world clean, compat;
    struct bk_tensor from[BK_NET_MAX_TENSORS], to[BK_NET_MAX_TENSORS];
    world_init(&clean, "none+norm");
    world_init(&compat, "compat:none+norm");
    size_t n_from = bk_net_tensors(from, &clean.cfg), n_to = bk_net_tensors(to, &compat.cfg);
    assert_int_equal(n_to, n_from + 4);
    memcpy(compat.words, clean.words, (size_t)N_WORDS * clean.cfg.d * sizeof *clean.words);
    for (size_t k = 0; k < n_to; k++) {
        char name[32]; /* without ".right" */
        const char *right = strstr(to[k].name, ".right");
        snprintf(name, sizeof name, "%.*s%s", (int)(right ? right - to[k].name : 31), to[k].name,
                 right ? right + 6 : "");
        for (size_t i = 0; i < n_from; i++)
            if (strcmp(name, from[i].name) == 0)
                memcpy(compat.params + to[k].offset, clean.params + from[i].offset,
                       to[k].rows * to[k].cols * sizeof *clean.params);
    }
    pass_once(&clean, clean.f, NULL, NULL, clean.seqs, B);
    pass_once(&compat, compat.f, NULL, NULL, clean.seqs, B);
    for (size_t i = 0; i < B; i++)
        for (size_t side = 0; side < 2; side++) {
            const bk_real *a = compat.f + (2 * i + side) * clean.o, *b = clean.f + i * clean.o;
            if (clean.seqs[i].n >= clean.cfg.max_insns || clean.seqs[i].n == 0)
                assert_all_near(a, b, clean.o, "no padding");
            else
                assert_memory_not_equal(a, b, clean.o * sizeof *a);
        }
    world_done(&clean);
    world_done(&compat);
}

/* One pass used again and again, for batches that grow and shrink, gives to the bit what a new one gives. */
static void test_deterministic(void **state)
{
    struct world w;
    struct bk_pass *p;
    struct bk_error err;
    (void)state;
    world_init(&w, "matrix+scale");
    bk_real *f = bk_calloc(B * w.o, sizeof *f), *g1 = bk_calloc(w.n_params, sizeof *g1);
    bk_real *g2 = bk_calloc(w.n_params, sizeof *g2);
    assert_true(f && g1 && g2);
    assert_int_equal(bk_pass_new(&p, &w.cfg, &err), BK_OK);
    bk_prepare(w.prepared, w.params, 1);
    for (size_t b = 1; b <= B; b += 2) {
        size_t n = b == 5 ? 1 : b;
        memset(g1, 0, w.n_params * sizeof *g1);
        memset(g2, 0, w.n_params * sizeof *g2);
        assert_int_equal(bk_pass_forward(p, f, w.prepared, w.words, N_WORDS, w.seqs, n, true, NULL, NULL, &err), BK_OK);
        bk_pass_backward(p, g1, NULL, w.prepared, w.df, 0.3);
        pass_once(&w, w.f, g2, w.df, w.seqs, n);
        assert_memory_equal(f, w.f, n * w.o * sizeof *f);
        assert_memory_equal(g1, g2, w.n_params * sizeof *g1);
    }
    bk_pass_free(p);
    free(f);
    free(g1);
    free(g2);
    world_done(&w);
}

/* A dense layer beyond the caches is laid out in 16 bits where each of its weights fits, and nobody sees it: the vectors have the bits that
 * they have in full, alone as in the batch. A weight of a unit that never wakes keeps the layer in full. */
static void test_half_weights(void **state)
{
    enum { E = 300, DEAD = 37 };
    struct world w;
    struct bk_error err;
    bk_real full[B * 28], half[B * 28], alone[28];
    (void)state;
    world_init(&w, "none");
    bk_prepared_free(w.prepared);
    free(w.params);
    w.cfg.e = E, w.cfg.u = 40, w.cfg.r = 6;
    w.params = bk_calloc(bk_net_n_params(&w.cfg), sizeof *w.params);
    assert_true(w.params && w.o == 28);
    assert_int_equal(bk_prepared_new(&w.prepared, &w.cfg, BK_FULL, false, &err), BK_OK);
    struct bk_rng rng;
    bk_rng_seed(&rng, 8, 0);
    bk_net_init(w.params, &w.cfg, &rng);
    for (size_t i = 0; i < bk_net_n_params(&w.cfg); i++)
        w.params[i] = (bk_real)(rint((double)w.params[i] * 2048) / 2048);
    const struct layout at = bk_net_layout(&w.cfg);
    w.params[at.dense1_bias + DEAD] = -1000;
    bk_real *unseen = &w.params[at.dense1 + DEAD * w.cfg.r * w.cfg.u + 11];
    for (int turn = 0; turn < 2; turn++) { /* a layout may give way to the other and back */
        *unseen = 0x1p-20f + 1;
        pass_once(&w, full, NULL, NULL, w.seqs, B);
        assert_null(w.prepared->dense1.half);
        *unseen = 1;
        pass_once(&w, half, NULL, NULL, w.seqs, B);
        assert_int_equal(w.prepared->dense1.half != NULL, bk_kernels()->products->pack_half != NULL);
        assert_null(w.prepared->dense2.half); /* small */
        assert_memory_equal(half, full, sizeof full);
    }
    for (size_t i = 0; i < B; i++) {
        pass_once(&w, alone, NULL, NULL, &w.seqs[i], 1);
        assert_memory_equal(alone, half + i * w.o, sizeof alone);
    }
    world_done(&w);
}

static void test_bad_ids(void **state)
{
    struct world w;
    struct bk_pass *p;
    struct bk_error err;
    uint32_t ids[3] = {1, N_WORDS, 2};
    struct bk_seq seqs[2];
    (void)state;
    world_init(&w, "none");
    seqs[0] = w.seqs[0];
    seqs[1] = (struct bk_seq){ids, 3};
    assert_int_equal(bk_pass_new(&p, &w.cfg, &err), BK_OK);
    bk_prepare(w.prepared, w.params, 1);
    assert_int_equal(bk_pass_forward(p, w.f, w.prepared, w.words, N_WORDS, seqs, 2, true, NULL, NULL, &err), BK_EINVAL);
    assert_non_null(strstr(err.message, "word 1 of function 1"));
    ids[1] = N_WORDS - 1;
    assert_int_equal(bk_pass_forward(p, w.f, w.prepared, w.words, N_WORDS, seqs, 2, true, NULL, NULL, &err), BK_OK);
    bk_pass_free(p);
    world_done(&w);
}

static size_t count_of(const struct bk_net_config *cfg, const char *prefix)
{
    struct bk_tensor t[BK_NET_MAX_TENSORS];
    size_t n = bk_net_tensors(t, cfg), sum = 0;
    for (size_t i = 0; i < n; i++)
        if (strncmp(t[i].name, prefix, strlen(prefix)) == 0)
            sum += t[i].rows * t[i].cols;
    return sum;
}

/* The numbers of the papers. */
static void test_counts(void **state)
{
    struct bk_net_config safe, mffa;
    struct bk_error err;
    (void)state;
    assert_true(bk_net_config_default(&safe, "safe"));
    assert_true(bk_net_config_default(&mffa, "mffa"));
    assert_false(bk_net_config_default(&(struct bk_net_config){0}, "other"));
    assert_int_equal(count_of(&safe, "gru."), 45300);
    assert_int_equal(count_of(&safe, "attention."), 27500);
    assert_int_equal(count_of(&safe, "dense."), 2202100);
    assert_int_equal(bk_net_n_params(&safe), 2274900);
    assert_int_equal(bk_net_outputs(&safe), 100);
    for (int aff = 0; aff < BK_AFF_COUNT; aff++) {
        mffa.aff = (enum bk_aff)aff;
        size_t expect = aff == BK_AFF_P ? 2274900 : aff == BK_AFF_Q ? 45300 + 20100 : 2274900 + 20100;
        assert_int_equal(bk_net_n_params(&mffa), expect);
        assert_int_equal(bk_net_outputs(&mffa), aff == BK_AFF_P || aff == BK_AFF_Q ? 100 : 200);
    }
    assert_int_equal(bk_net_config_set_aff(&mffa, "residual+linear", &err), BK_OK);
    assert_int_equal(bk_net_n_params(&mffa), 2274900 + 20100 + 200 * 100 + 100);
    assert_int_equal(bk_net_outputs(&mffa), 100);
    safe.compat_safe = true;
    assert_int_equal(count_of(&safe, "dense."), 2 * 2202100);
    assert_int_equal(bk_net_n_params(&safe), 2274900 + 2202100);
    assert_int_equal(bk_net_outputs(&safe), 100);
    assert_int_equal(bk_net_sides(&safe), 2);
}

/* The tensors fill the block without gap or overlap, and begin as they should. */
static void test_tensors_and_init(void **state)
{
    struct world w;
    struct bk_tensor t[BK_NET_MAX_TENSORS];
    size_t at = 0;
    (void)state;
    world_init(&w, "residual+linear");
    size_t n = bk_net_tensors(t, &w.cfg);
    for (size_t k = 0; k < n; k++) {
        assert_int_equal(t[k].offset, at);
        at += t[k].rows * t[k].cols;
        bool gate_bias = strstr(t[k].name, "gate.bias") != NULL, bias = strstr(t[k].name, "bias") != NULL;
        double limit = sqrt(6 / (double)(t[k].rows + t[k].cols)), largest = 0;
        for (size_t i = t[k].offset; i < at; i++)
            if (bias)
                assert_true(w.params[i] == (gate_bias ? 1 : 0));
            else
                largest = fmax(largest, fabs((double)w.params[i]));
        if (!bias)
            assert_true(largest <= limit && largest > 0.9 * limit);
    }
    assert_int_equal(at, w.n_params);
    world_done(&w);
}

static void test_aff_text(void **state)
{
    static const char *const good[] = {"matrix", "residual+scale+norm+linear", "gate+norm", "none+linear", "p",
                                       "q+norm"};
    static const char *const bad[] = {"",        "Matrix",         "none+",     "none+scale",
                                      "p+scale", "gate+norm+norm", "gate norm", "+norm"};
    struct bk_net_config cfg;
    struct bk_error err;
    char text[64];
    (void)state;
    assert_true(bk_net_config_default(&cfg, "mffa"));
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(bk_net_config_set_aff(&cfg, good[i], &err), BK_OK);
        bk_net_config_aff(text, &cfg);
        assert_string_equal(text, good[i]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(bk_net_config_set_aff(&cfg, bad[i], &err), BK_EINVAL);
        bk_net_config_aff(text, &cfg);
        assert_string_equal(text, "q+norm"); /* as before */
    }
}

static void test_config_check(void **state)
{
    struct bk_net_config good, c;
    (void)state;
    assert_true(bk_net_config_default(&good, "mffa"));
    assert_int_equal(bk_net_config_check(&good, NULL), BK_OK);
    for (int k = 0; k < 11; k++) {
        c = good;
        uint32_t *sizes[7] = {&c.d, &c.u, &c.a, &c.r, &c.e, &c.n, &c.max_insns};
        if (k < 7)
            *sizes[k] = 0;
        else if (k == 7)
            c.u = 99;
        else if (k == 8)
            c.aff = BK_AFF_COUNT;
        else if (k == 9)
            c.e = UINT32_MAX;
        else
            c.r = 256, c.u = 4096, c.e = 65536;
        assert_int_not_equal(bk_net_config_check(&c, NULL), BK_OK);
        struct bk_pass *p;
        assert_int_not_equal(bk_pass_new(&p, &c, NULL), BK_OK);
        assert_null(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alone_as_in_batch),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_sharp_attention),
        cmocka_unit_test(test_sharp_attention_padded),
        cmocka_unit_test(test_long_is_cut),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_compat_without_padding),
        cmocka_unit_test(test_deterministic),
        cmocka_unit_test(test_half_weights),
        cmocka_unit_test(test_bad_ids),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_tensors_and_init),
        cmocka_unit_test(test_aff_text),
        cmocka_unit_test(test_config_check),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
