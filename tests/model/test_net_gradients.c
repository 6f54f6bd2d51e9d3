/* Every gradient against signed central differences, in double, tensor by tensor and number by number: each reading and modifier
 * of AFF, under the cosine loss with the penalty and under the contrast loss. argv[1]: golden.bin, whose networks and batches it borrows. */
#include "../base/cmocka_all.h"
#include "golden.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *golden_path;

/* Anchors are the functions 0, 1, 3, their partners 2, 4, 0; the first and the last share a label. */
static double contrast_loss(const struct net_case *c, bk_real *grads, bk_real *word_grads)
{
    static const uint32_t anchor[3] = {0, 1, 3}, positive[3] = {2, 4, 0}, label[3] = {5, 6, 5};
    struct bk_error err;
    struct bk_word_grads words;
    bk_real *f = bk_calloc(c->b * c->o, sizeof *f), *df = bk_calloc(c->b * c->o, sizeof *df);
    bk_real *scratch = bk_calloc(bk_contrast_scratch(3, c->o), sizeof *scratch);
    assert_true(f && df && scratch);
    bk_prepare(c->prepared, c->params, 1);
    assert_int_equal(
        bk_pass_forward(c->pass, f, c->prepared, c->words, c->n_words, c->seqs, c->b, grads != NULL, NULL, NULL, &err),
        BK_OK);
    double loss = bk_contrast_loss(df, f, c->o, anchor, positive, label, 3, 0.3, scratch);
    if (grads) {
        bk_pass_backward(c->pass, grads, &words, c->prepared, df, 0);
        net_case_spread(c, word_grads, &words);
    }
    free(f);
    free(df);
    free(scratch);
    return loss;
}

static double pair_loss(const struct net_case *c, bk_real *grads, bk_real *word_grads)
{
    return net_case_loss(c, NULL, NULL, grads, word_grads);
}

typedef double loss_fn(const struct net_case *c, bk_real *grads, bk_real *word_grads);

/* grads: those of the n numbers w of the case, all called `name`. */
static void check_numbers(const struct net_case *c, loss_fn *loss, bk_real *w, const bk_real *grads, size_t n,
                          const char *name)
{
    const double h = 1e-5;
    double largest = 0;
    for (size_t i = 0; i < n; i++) {
        bk_real was = w[i];
        w[i] = was + h;
        double up = loss(c, NULL, NULL);
        w[i] = was - h;
        double down = loss(c, NULL, NULL);
        w[i] = was;
        assert_near(grads[i], (up - down) / (2 * h), 2e-7, name, i);
        largest = fmax(largest, fabs(grads[i]));
    }
    if (!(largest > 1e-6))
        fail_msg("%s: no gradient to speak of", name);
}

static void check_gradients(const struct net_case *c, loss_fn *loss)
{
    bk_real *grads = bk_calloc(c->n_params, sizeof *grads);
    bk_real *word_grads = bk_calloc(c->n_words * c->cfg.d, sizeof *word_grads);
    assert_true(grads && word_grads);
    loss(c, grads, word_grads);
    for (size_t k = 0; k < c->n_tensors; k++) {
        const struct bk_tensor *t = &c->tensors[k];
        check_numbers(c, loss, c->params + t->offset, grads + t->offset, t->rows * t->cols, t->name);
    }
    check_numbers(c, loss, c->words, word_grads, c->n_words * c->cfg.d, "words");
    free(grads);
    free(word_grads);
}

static void test_aff(void **state)
{
    const char *aff = *state;
    struct golden g;
    struct net_case c;
    golden_open(&g, golden_path);
    net_case_load(&c, &g, aff);
    check_gradients(&c, pair_loss);
    if (!c.cfg.compat_safe)
        check_gradients(&c, contrast_loss);
    net_case_free(&c);
    golden_close(&g);
}

/* Readings with modifiers that the file lacks. */
static void test_more(void **state)
{
    struct golden g;
    struct net_case c;
    golden_open(&g, golden_path);
    net_case_load(&c, &g, "none");
    net_case_change(&c, *state);
    check_gradients(&c, pair_loss);
    check_gradients(&c, contrast_loss);
    net_case_free(&c);
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
    static const char *const more[] = {"matrix+norm",
                                       "matrix+linear",
                                       "residual+scale",
                                       "residual+norm",
                                       "gate+norm",
                                       "gate+linear",
                                       "none+norm",
                                       "none+linear",
                                       "p+norm+linear",
                                       "q+norm",
                                       "q+linear",
                                       "matrix+scale+norm+linear",
                                       "gate+scale+norm+linear"};
    enum { N = sizeof cases / sizeof *cases, MORE = sizeof more / sizeof *more };
    struct CMUnitTest tests[N + MORE];
    golden_path = argc > 1 ? argv[1] : "golden.bin";
    for (size_t i = 0; i < N; i++)
        tests[i] = (struct CMUnitTest){cases[i], test_aff, NULL, NULL, (void *)(uintptr_t)cases[i]};
    for (size_t i = 0; i < MORE; i++)
        tests[N + i] = (struct CMUnitTest){more[i], test_more, NULL, NULL, (void *)(uintptr_t)more[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
