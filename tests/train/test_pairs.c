/* Training pairs: labels right, every function an anchor, drawn anew each epoch from (seed, epoch), dissimilar partners uniform. */
#include "learn.h"
#include "toy_dataset.h"

#include <math.h>

static struct bk_group group_of(const struct toy *t)
{
    struct bk_group g;
    struct bk_error err;
    assert_int_equal(bk_group_init(&g, &t->d, NULL, BK_PART_TRAIN, 0, &err), BK_OK);
    return g;
}

static bool same_label(const struct bk_group *g, uint32_t a, uint32_t b)
{
    return g->begin[a] == g->begin[b];
}

static void check_batch(const struct bk_batch *b, const struct bk_group *g)
{
    assert_int_equal(b->n_pairs, 2 * b->n_anchors);
    assert_true(b->n_funcs >= 2 * b->n_anchors && b->n_funcs <= 3 * b->n_anchors);
    for (size_t i = 0; i < b->n_pairs; i++) {
        assert_true(b->left[i] < b->n_anchors && b->right[i] < b->n_funcs);
        uint32_t x = b->func[b->left[i]], y = b->func[b->right[i]];
        assert_int_equal(b->y[i], i < b->n_anchors ? 1 : -1);
        assert_int_equal(b->left[i], i % b->n_anchors);
        assert_true(same_label(g, x, y) == (b->y[i] > 0));
        assert_int_not_equal(x, y);
    }
}

static void test_one_pass(void **state)
{
    (void)state;
    struct toy *t = toy_new(40, 3, true, 1, 4);
    struct bk_group g = group_of(t);
    struct bk_epoch e;
    struct bk_batch b = {0};
    struct bk_error err;
    size_t eligible = 0;
    for (size_t k = 0; k < g.n; k++)
        eligible += g.end[k] - g.begin[k] > 1;
    assert_true(eligible < g.n); /* the set has functions without a partner */
    assert_int_equal(bk_epoch_init(&e, &g, 0, 5, 0, &err), BK_OK);
    assert_int_equal(e.n, eligible);
    unsigned *seen = calloc(g.n, sizeof *seen);
    for (size_t at = 0; at < e.n; at += 16) {
        size_t n = e.n - at < 16 ? e.n - at : 16;
        assert_int_equal(bk_batch_draw(&b, &e, at, n, &err), BK_OK);
        assert_int_equal(b.n_anchors, n);
        check_batch(&b, &g);
        for (size_t i = 0; i < n; i++)
            seen[b.func[i]]++;
    }
    for (size_t k = 0; k < g.n; k++)
        assert_int_equal(seen[k], g.end[k] - g.begin[k] > 1);
    free(seen);
    bk_batch_done(&b);
    bk_epoch_done(&e);
    bk_group_done(&g);
    toy_free(t);
}

static void test_epochs_differ(void **state)
{
    (void)state;
    struct toy *t = toy_new(30, 4, false, 1, 4);
    struct bk_group g = group_of(t);
    struct bk_epoch a, b, c;
    struct bk_error err;
    assert_int_equal(bk_epoch_init(&a, &g, 0, 5, 3, &err), BK_OK);
    assert_int_equal(bk_epoch_init(&b, &g, 0, 5, 3, &err), BK_OK);
    assert_int_equal(bk_epoch_init(&c, &g, 0, 5, 4, &err), BK_OK);
    assert_memory_equal(a.anchor, b.anchor, a.n * sizeof *a.anchor);
    assert_memory_equal(a.partner, b.partner, a.n * sizeof *a.partner);
    assert_memory_not_equal(a.anchor, c.anchor, a.n * sizeof *a.anchor);
    size_t same = 0; /* partners, anchor by anchor */
    for (size_t i = 0; i < a.n; i++)
        for (size_t j = 0; j < c.n; j++)
            same += a.anchor[i] == c.anchor[j] && a.partner[i] == c.partner[j];
    assert_true(same > a.n / 6 && same < a.n / 2); /* one in three by chance */
    bk_epoch_done(&a);
    bk_epoch_done(&b);
    bk_epoch_done(&c);
    bk_group_done(&g);
    toy_free(t);
}

static void test_epoch_length(void **state)
{
    (void)state;
    struct toy *t = toy_new(10, 3, false, 1, 4);
    struct bk_group g = group_of(t);
    struct bk_epoch e;
    struct bk_error err;
    assert_int_equal(bk_epoch_init(&e, &g, 200, 5, 0, &err), BK_OK);
    assert_int_equal(e.n, 100);
    unsigned *seen = calloc(g.n, sizeof *seen);
    for (size_t i = 0; i < e.n; i++)
        seen[e.anchor[i]]++;
    for (size_t k = 0; k < g.n; k++)
        assert_in_range(seen[k], 3, 4); /* 100 over 30: whole passes, then a part of one */
    free(seen);
    bk_epoch_done(&e);
    assert_int_equal(bk_epoch_init(&e, &g, 7, 5, 0, &err), BK_OK);
    assert_int_equal(e.n, 4);
    bk_epoch_done(&e);
    bk_group_done(&g);
    toy_free(t);
}

/* The other function of a dissimilar pair is any function of another label, as often as any other: a chi-square over many epochs. */
static void test_dissimilar_uniform(void **state)
{
    (void)state;
    struct toy *t = toy_new(8, 2, false, 1, 4);
    struct bk_group g = group_of(t);
    struct bk_batch b = {0};
    struct bk_error err;
    double count[16][16] = {{0}}, draws[16] = {0}, chi = 0;
    for (unsigned epoch = 0; epoch < 3000; epoch++) {
        struct bk_epoch e;
        assert_int_equal(bk_epoch_init(&e, &g, 0, 1, epoch, &err), BK_OK);
        assert_int_equal(bk_batch_draw(&b, &e, 0, e.n, &err), BK_OK);
        for (size_t i = b.n_anchors; i < b.n_pairs; i++) {
            count[b.func[b.left[i]]][b.func[b.right[i]]]++;
            draws[b.func[b.left[i]]]++;
        }
        bk_epoch_done(&e);
    }
    for (uint32_t x = 0; x < 16; x++)
        for (uint32_t y = 0; y < 16; y++) {
            double expect = same_label(&g, x, y) ? 0 : draws[x] / 14;
            if (expect == 0)
                assert_true(count[x][y] == 0);
            else
                chi += (count[x][y] - expect) * (count[x][y] - expect) / expect;
        }
    /* 16 * 13 degrees of freedom: mean 208, standard deviation 20 */
    assert_true(chi < 208 + 5 * 20);
    bk_batch_done(&b);
    bk_group_done(&g);
    toy_free(t);
}

static void test_lonely_batch(void **state)
{
    (void)state;
    struct toy *t = toy_new(5, 3, false, 1, 4);
    struct bk_group g = group_of(t);
    struct bk_epoch e;
    struct bk_batch b = {0};
    struct bk_error err;
    assert_int_equal(bk_epoch_init(&e, &g, 0, 5, 0, &err), BK_OK);
    for (size_t at = 0; at < e.n; at++) { /* one anchor: no other label in the batch */
        assert_int_equal(bk_batch_draw(&b, &e, at, 1, &err), BK_OK);
        assert_int_equal(b.n_funcs, 3);
        check_batch(&b, &g);
    }
    bk_batch_done(&b);
    bk_epoch_done(&e);
    bk_group_done(&g);
    toy_free(t);
}

static void test_nothing_to_pair(void **state)
{
    (void)state;
    struct bk_epoch e;
    struct bk_error err;
    struct toy *one = toy_new(1, 5, false, 1, 4), *alone = toy_new(9, 1, false, 1, 4);
    struct bk_group g = group_of(one), h = group_of(alone);
    assert_int_equal(bk_epoch_init(&e, &g, 0, 5, 0, &err), BK_EINVAL);
    assert_int_equal(bk_epoch_init(&e, &h, 0, 5, 0, &err), BK_EINVAL);
    bk_group_done(&g);
    bk_group_done(&h);
    toy_free(one);
    toy_free(alone);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_pass),     cmocka_unit_test(test_epochs_differ),
        cmocka_unit_test(test_epoch_length), cmocka_unit_test(test_dissimilar_uniform),
        cmocka_unit_test(test_lonely_batch), cmocka_unit_test(test_nothing_to_pair),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
