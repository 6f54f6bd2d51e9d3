/* The network against PyTorch: forward, penalty, loss, every gradient, ten steps of Adam. Compiled in double and, with
 * wider tolerances, in float. argv[1]: golden.bin. */
#include "../base/cmocka_all.h"
#include "golden.h"

#include <math.h>
#include <stdlib.h>

#ifdef BK_REAL_DOUBLE
static const double tol = 1e-11;
#else
static const double tol = 2e-5;
#endif

static const char *golden_path;

static void check_case(const char *name)
{
    struct golden g;
    struct net_case c;
    size_t n;
    golden_open(&g, golden_path);
    net_case_load(&c, &g, name);
    bk_real *f = bk_calloc(c.b * c.sides * c.o, sizeof *f), *grads = bk_calloc(c.n_params, sizeof *grads);
    bk_real *word_grads = bk_calloc(c.n_words * c.cfg.d, sizeof *word_grads);
    assert_true(f && grads && word_grads);
    double penalty, loss = net_case_loss(&c, f, &penalty, grads, word_grads);

    double *expect = golden_find(&g, &n, "%s/f", name);
    assert_int_equal(n, c.b * c.sides * c.o);
    for (size_t i = 0; i < n; i++)
        assert_near((double)f[i], expect[i], tol, "f", i);
    free(expect);
    expect = golden_find(&g, &n, "%s/penalty", name);
    assert_near(penalty, expect[0], tol, "penalty", 0);
    free(expect);
    expect = golden_find(&g, &n, "%s/loss", name);
    assert_near(loss, expect[0], tol, "loss", 0);
    free(expect);
    for (size_t k = 0; k < c.n_tensors; k++) {
        const struct bk_tensor *t = &c.tensors[k];
        expect = golden_find(&g, &n, "%s/grad/%s", name, t->name);
        assert_int_equal(n, t->rows * t->cols);
        for (size_t i = 0; i < n; i++)
            assert_near((double)grads[t->offset + i], expect[i], 5 * tol, t->name, i);
        free(expect);
    }
    expect = golden_find(&g, &n, "%s/grad_words", name);
    assert_int_equal(n, c.n_words * c.cfg.d);
    for (size_t i = 0; i < n; i++)
        assert_near((double)word_grads[i], expect[i], 5 * tol, "words", i);
    free(expect);
    free(word_grads);

#ifdef BK_REAL_DOUBLE /* in float, the direction of a gradient near zero is noise, and Adam's step has no length but its rate */
    bk_real *m = bk_calloc(c.n_params, sizeof *m), *v = bk_calloc(c.n_params, sizeof *v);
    assert_non_null(m);
    assert_non_null(v);
    for (uint64_t step = 1; step <= 10; step++) {
        if (step > 1)
            net_case_loss(&c, NULL, NULL, grads, NULL);
        bk_adam(c.params, m, v, &grads, 1, 0, c.n_params, step, 0.001);
    }
    for (size_t k = 0; k < c.n_tensors; k++) {
        const struct bk_tensor *t = &c.tensors[k];
        expect = golden_find(&g, &n, "%s/adam/%s", name, t->name);
        assert_int_equal(n, t->rows * t->cols);
        for (size_t i = 0; i < n; i++)
            assert_near(c.params[t->offset + i], expect[i], 1e-9, t->name, i);
        free(expect);
    }
    free(m);
    free(v);
#endif
    free(f);
    free(grads);
    net_case_free(&c);
    golden_close(&g);
}

static void test_case(void **state)
{
    check_case(*state);
}

/* formula() of make_golden.py */
static void formula(bk_real *out, uint64_t number, size_t count, double limit)
{
    for (uint64_t i = 0; i < count; i++) {
        uint64_t h = (i * 2654435761u + number * 40503 + 12345) & UINT32_MAX;
        h = ((h ^ (h >> 15)) * 2246822519u) & UINT32_MAX;
        h = h ^ (h >> 13);
        out[i] = (bk_real)(((double)h / 4294967296.0 * 2 - 1) * limit);
    }
}

static void test_paper_size(void **state)
{
    enum { N_WORDS = 500, B = 4 };
    struct golden g;
    struct bk_net_config cfg;
    struct bk_tensor tensors[BK_NET_MAX_TENSORS];
    struct bk_prepared *prepared;
    struct bk_pass *pass;
    struct bk_error err;
    struct bk_seq seqs[B];
    uint32_t *ids[B];
    size_t n;
    (void)state;
    golden_open(&g, golden_path);
    assert_true(bk_net_config_default(&cfg, "mffa"));
    assert_int_equal(bk_net_config_set_aff(&cfg, "none", &err), BK_OK);
    bk_real *params = bk_calloc(bk_net_n_params(&cfg), sizeof *params);
    bk_real *words = bk_calloc((size_t)N_WORDS * cfg.d, sizeof *words);
    bk_real *f = bk_calloc(B * bk_net_outputs(&cfg), sizeof *f);
    assert_true(params && words && f);
    for (size_t k = 0, count = bk_net_tensors(tensors, &cfg); k < count; k++)
        formula(params + tensors[k].offset, k, tensors[k].rows * tensors[k].cols,
                tensors[k].cols == 1 ? 0.1 : sqrt(6 / (double)(tensors[k].rows + tensors[k].cols)));
    formula(words, 100, (size_t)N_WORDS * cfg.d, 1);
    for (size_t j = 0; j < cfg.d; j++)
        words[j] = 0;
    for (size_t i = 0; i < B; i++) {
        double *v = golden_find(&g, &n, "paper/seq/%zu", i);
        assert_non_null(v);
        ids[i] = bk_calloc(n, sizeof *ids[i]);
        assert_non_null(ids[i]);
        for (size_t t = 0; t < n; t++)
            ids[i][t] = (uint32_t)v[t];
        seqs[i] = (struct bk_seq){ids[i], n};
        free(v);
    }
    double penalty;
    assert_int_equal(bk_prepared_new(&prepared, &cfg, BK_FULL, false, &err), BK_OK);
    bk_prepare(prepared, params, 1);
    assert_int_equal(bk_pass_new(&pass, &cfg, &err), BK_OK);
    assert_int_equal(bk_pass_forward(pass, f, prepared, words, N_WORDS, seqs, B, false, NULL, &penalty, &err), BK_OK);
    double *expect = golden_find(&g, &n, "paper/f");
    assert_int_equal(n, B * bk_net_outputs(&cfg));
    for (size_t i = 0; i < n; i++)
        assert_near((double)f[i], expect[i], tol, "f", i);
    free(expect);
    expect = golden_find(&g, &n, "paper/penalty");
    assert_near(penalty, expect[0], tol, "penalty", 0);
    free(expect);
    bk_pass_free(pass);
    bk_prepared_free(prepared);
    for (size_t i = 0; i < B; i++)
        free(ids[i]);
    free(params);
    free(words);
    free(f);
    golden_close(&g);
}

static void test_contrast(void **state)
{
    struct golden g;
    size_t count, o, n;
    uint32_t index[3][8];
    static const char *const names[3] = {"anchor", "positive", "label"};
    (void)state;
    golden_open(&g, golden_path);
    double *dims = golden_find(&g, &n, "contrast/dims"), *temperature = golden_find(&g, &n, "contrast/temperature");
    assert_true(dims && temperature);
    count = (size_t)dims[0];
    o = (size_t)dims[1];
    for (size_t k = 0; k < 3; k++) {
        double *v = golden_find(&g, &n, "contrast/%s", names[k]);
        assert_int_equal(n, count);
        for (size_t i = 0; i < n; i++)
            index[k][i] = (uint32_t)v[i];
        free(v);
    }
    double *f = golden_find(&g, &n, "contrast/f"), *loss = golden_find(&g, &count, "contrast/loss");
    double *grad = golden_find(&g, &n, "contrast/grad");
    bk_real *x = bk_calloc(n, sizeof *x), *dx = bk_calloc(n, sizeof *dx);
    count = (size_t)dims[0];
    bk_real *scratch = bk_calloc(bk_contrast_scratch(count, o), sizeof *scratch);
    assert_true(f && loss && grad && x && dx && scratch);
    for (size_t i = 0; i < n; i++)
        x[i] = (bk_real)f[i];
    assert_near(bk_contrast_loss(dx, x, o, index[0], index[1], index[2], count, temperature[0], scratch), loss[0], tol,
                "contrast loss", 0);
    for (size_t i = 0; i < n; i++)
        assert_near((double)dx[i], grad[i], 5 * tol, "contrast gradient", i);
    free(dims);
    free(temperature);
    free(f);
    free(loss);
    free(grad);
    free(x);
    free(dx);
    free(scratch);
    golden_close(&g);
}

int main(int argc, char **argv)
{
    static const char *const cases[] = {"matrix",
                                        "residual",
                                        "gate",
                                        "none",
                                        "p",
                                        "q",
                                        "matrix+scale",
                                        "gate+scale",
                                        "residual+scale+norm+linear",
                                        "none+norm+linear",
                                        "compat:p",
                                        "compat:none+norm",
                                        "compat:matrix+linear",
                                        "compat:q"};
    enum { N = sizeof cases / sizeof *cases };
    struct CMUnitTest tests[N + 2];
    golden_path = argc > 1 ? argv[1] : "golden.bin";
    for (size_t i = 0; i < N; i++)
        tests[i] = (struct CMUnitTest){cases[i], test_case, NULL, NULL, (void *)(uintptr_t)cases[i]};
    tests[N] = (struct CMUnitTest)cmocka_unit_test(test_paper_size);
    tests[N + 1] = (struct CMUnitTest)cmocka_unit_test(test_contrast);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
