/* Splits and pairs: properties that hold for any seed. */
#include "toy_dataset.h"

static uint8_t *parts(const struct bk_dataset *d, struct bk_split s)
{
    uint8_t *p = malloc(d->n);
    memset(p, 0xee, d->n);
    assert_int_equal(bk_split_parts(p, d, &s, NULL), BK_OK);
    for (size_t i = 0; i < d->n; i++)
        assert_in_range(p[i], BK_PART_TRAIN, BK_PART_TEST);
    return p;
}

/* Units of each part; every unit on one side. `kind`: which key is the unit. */
static void count_units(size_t n[3], const struct toy *t, const uint8_t *part, enum bk_split_by by)
{
    memset(n, 0, 3 * sizeof *n);
    for (size_t i = 0; i < t->d.n; i++) {
        bool first = true;
        for (size_t j = 0; j < i; j++) {
            const struct bk_data_label *a = &t->labels[t->funcs[i].label], *b = &t->labels[t->funcs[j].label];
            bool same = by == BK_SPLIT_FUNCTION ? t->funcs[i].key == t->funcs[j].key
                        : by == BK_SPLIT_SOURCE ? a->key == b->key
                        : by == BK_SPLIT_FILE   ? a->source_key == b->source_key
                                                : a->project_key == b->project_key;
            if (same)
                assert_int_equal(part[i], part[j]);
            first &= !same;
        }
        n[part[i]] += first;
    }
}

static void proportions_are_exact(void **state)
{
    (void)state;
    struct toy *t = toy_new(100, 3, true, 10, 1);
    t->funcs[5].key = t->funcs[77].key; /* one binary function under two numbers */
    size_t n_keys = t->d.n - 1;
    assert_int_equal(t->d.n, 300);
    for (uint64_t seed = 0; seed < 5; seed++) {
        size_t n[3];
        uint8_t *p = parts(&t->d, (struct bk_split){BK_SPLIT_SOURCE, 4, 0, 1, seed});
        count_units(n, t, p, BK_SPLIT_SOURCE);
        assert_true(n[0] == 80 && n[1] == 0 && n[2] == 20);
        free(p);
        p = parts(&t->d, (struct bk_split){BK_SPLIT_SOURCE, 2, 0, 1, seed}); /* rounded to the nearest */
        count_units(n, t, p, BK_SPLIT_SOURCE);
        assert_true(n[0] == 67 && n[1] == 0 && n[2] == 33);
        free(p);
        p = parts(&t->d, (struct bk_split){BK_SPLIT_SOURCE, 14, 3, 3, seed});
        count_units(n, t, p, BK_SPLIT_SOURCE);
        assert_true(n[0] == 70 && n[1] == 15 && n[2] == 15);
        free(p);
        p = parts(&t->d, (struct bk_split){BK_SPLIT_PROJECT, 5, 3, 2, seed});
        count_units(n, t, p, BK_SPLIT_PROJECT);
        assert_true(n[0] == 5 && n[1] == 3 && n[2] == 2);
        free(p);
        p = parts(&t->d, (struct bk_split){BK_SPLIT_FILE, 2, 1, 1, seed}); /* 90 labels in 30 files, 10 alone */
        count_units(n, t, p, BK_SPLIT_FILE);
        assert_true(n[0] == 20 && n[1] == 10 && n[2] == 10);
        free(p);
        p = parts(&t->d, (struct bk_split){BK_SPLIT_FUNCTION, 4, 0, 1, seed});
        count_units(n, t, p, BK_SPLIT_FUNCTION);
        assert_true(n[0] == (n_keys * 4 + 2) / 5 && n[1] == 0 && n[0] + n[2] == n_keys);
        free(p);
    }
    toy_free(t);
}

static void seed_decides(void **state)
{
    (void)state;
    struct toy *t = toy_new(100, 3, true, 10, 1);
    struct bk_split s = {BK_SPLIT_SOURCE, 1, 0, 1, 1};
    uint8_t *a = parts(&t->d, s), *again = parts(&t->d, s);
    s.seed = 2;
    uint8_t *b = parts(&t->d, s);
    assert_memory_equal(a, again, t->d.n);
    size_t moved = 0;
    for (size_t i = 0; i < t->d.n; i++)
        moved += a[i] != b[i];
    assert_in_range(moved, t->d.n / 4, t->d.n * 3 / 4); /* about a half; seeds are fixed, so is the number */
    free(a);
    free(again);
    free(b);
    toy_free(t);
}

/* The same functions in another order, labels numbered otherwise: each goes where it went. */
static void order_does_not_matter(void **state)
{
    (void)state;
    for (int by = BK_SPLIT_FUNCTION; by <= BK_SPLIT_FILE; by++) {
        struct toy *t = toy_new(40, 3, true, 10, 1), *u = toy_new(40, 3, true, 10, 1);
        for (size_t i = 0; i < t->d.n; i++) {
            u->funcs[i] = t->funcs[t->d.n - 1 - i];
            u->funcs[i].label = 39 - u->funcs[i].label;
        }
        for (size_t l = 0; l < 40; l++)
            u->labels[l] = t->labels[39 - l];
        struct bk_split s = {(enum bk_split_by)by, 14, 3, 3, 11};
        uint8_t *a = parts(&t->d, s), *b = parts(&u->d, s);
        for (size_t i = 0; i < t->d.n; i++)
            assert_int_equal(a[i], b[t->d.n - 1 - i]);
        free(a);
        free(b);
        toy_free(t);
        toy_free(u);
    }
}

static void senseless_splits_are_refused(void **state)
{
    (void)state;
    struct toy *t = toy_new(4, 2, false, 1, 1);
    uint8_t p[8];
    assert_int_equal(bk_split_parts(p, &t->d, &(struct bk_split){BK_SPLIT_SOURCE, 0, 0, 0, 1}, NULL), BK_EINVAL);
    assert_int_equal(bk_split_parts(p, &t->d, &(struct bk_split){BK_SPLIT_SOURCE, UINT32_MAX, 0, 1, 1}, NULL),
                     BK_EINVAL);
    assert_int_equal(bk_split_parts(p, &t->d, &(struct bk_split){(enum bk_split_by)7, 4, 0, 1, 1}, NULL), BK_EINVAL);
    toy_free(t);
}

static void groups_hold_one_part(void **state)
{
    (void)state;
    struct toy *t = toy_new(50, 3, true, 5, 1);
    uint8_t *p = parts(&t->d, (struct bk_split){BK_SPLIT_FUNCTION, 1, 0, 1, 3});
    struct bk_group g;
    assert_int_equal(bk_group_init(&g, &t->d, p, BK_PART_TEST, 4, NULL), BK_OK);
    size_t want = 0, labels = 0, largest = 0;
    for (size_t i = 0; i < t->d.n; i++)
        want += p[i] == BK_PART_TEST && t->funcs[i].n_blocks >= 4;
    assert_int_equal(g.n, want);
    for (size_t k = 0; k < g.n; k++) {
        assert_int_equal(p[g.v[k]], BK_PART_TEST);
        assert_true(t->funcs[g.v[k]].n_blocks >= 4);
        for (size_t o = 0; o < g.n; o++) {
            bool inside = o >= g.begin[k] && o < g.end[k];
            assert_true(inside == (t->funcs[g.v[o]].label == t->funcs[g.v[k]].label));
            assert_true(o == k || g.v[o] != g.v[k]);
        }
        labels += g.begin[k] == k;
        largest = g.end[k] - g.begin[k] > largest ? g.end[k] - g.begin[k] : largest;
    }
    assert_int_equal(g.n_labels, labels);
    assert_int_equal(g.max_label, largest);
    bk_group_done(&g);
    free(p);
    toy_free(t);
}

/* Every possible partner comes up, about equally often; nothing else ever does. */
static void partners_are_drawn_uniformly(void **state)
{
    (void)state;
    struct toy *t = toy_new(4, 5, false, 1, 1);
    struct bk_group g;
    assert_int_equal(bk_group_init(&g, &t->d, NULL, BK_PART_TRAIN, 0, NULL), BK_OK);
    struct bk_rng rng;
    bk_rng_seed(&rng, 5, 0);
    const size_t k = 7; /* in the second label: positions 5 .. 9 */
    size_t similar[20] = {0}, dissimilar[20] = {0};
    for (size_t i = 0; i < 60000; i++) {
        similar[bk_group_similar(&g, k, &rng)]++;
        dissimilar[bk_group_dissimilar(&g, k, &rng)]++;
    }
    for (size_t i = 0; i < 20; i++) {
        bool own = i >= 5 && i < 10;
        assert_in_range(similar[i], own && i != k ? 14500 : 0, own && i != k ? 15500 : 0);
        assert_in_range(dissimilar[i], own ? 0 : 3700, own ? 0 : 4300);
    }
    bk_group_done(&g);
    toy_free(t);
}

static void no_partner_no_pair(void **state)
{
    (void)state;
    struct bk_rng rng;
    bk_rng_seed(&rng, 5, 0);
    struct bk_group g;
    struct bk_pairs pairs;
    struct toy *alone = toy_new(3, 1, false, 1, 1), *one_label = toy_new(1, 4, false, 1, 1);
    assert_int_equal(bk_group_init(&g, &alone->d, NULL, BK_PART_TRAIN, 0, NULL), BK_OK);
    assert_true(bk_group_similar(&g, 1, &rng) == SIZE_MAX);
    assert_int_equal(bk_pairs_fixed(&pairs, &g, 0, 1, NULL), BK_OK);
    assert_int_equal(pairs.n, 0);
    bk_pairs_done(&pairs);
    bk_group_done(&g);
    assert_int_equal(bk_group_init(&g, &one_label->d, NULL, BK_PART_TRAIN, 0, NULL), BK_OK);
    assert_true(bk_group_dissimilar(&g, 1, &rng) == SIZE_MAX);
    assert_int_equal(bk_pairs_fixed(&pairs, &g, 0, 1, NULL), BK_OK);
    assert_int_equal(pairs.n, 0);
    bk_pairs_done(&pairs);
    bk_group_done(&g);
    toy_free(alone);
    toy_free(one_label);
}

static void fixed_pairs(void **state)
{
    (void)state;
    struct toy *t = toy_new(50, 3, true, 5, 1);
    struct bk_group g;
    assert_int_equal(bk_group_init(&g, &t->d, NULL, BK_PART_TRAIN, 0, NULL), BK_OK);
    struct bk_pairs p, again, other, few;
    assert_int_equal(bk_pairs_fixed(&p, &g, 0, 9, NULL), BK_OK);
    assert_int_equal(bk_pairs_fixed(&again, &g, 0, 9, NULL), BK_OK);
    assert_int_equal(bk_pairs_fixed(&other, &g, 0, 10, NULL), BK_OK);
    assert_int_equal(bk_pairs_fixed(&few, &g, 21, 9, NULL), BK_OK);
    size_t with_partner = 0, differ = 0;
    for (size_t k = 0; k < g.n; k++)
        with_partner += g.end[k] - g.begin[k] > 1;
    assert_true(with_partner < g.n);
    assert_int_equal(p.n, 2 * with_partner);
    for (size_t i = 0; i < p.n; i++) {
        const struct bk_pair *x = &p.v[i];
        assert_true(x->similar == (i % 2 == 0));
        assert_true(x->a != x->b);
        assert_int_equal(x->a, p.v[i & ~(size_t)1].a);
        assert_true(x->similar == (t->funcs[g.v[x->a]].label == t->funcs[g.v[x->b]].label));
        assert_true(x->a == again.v[i].a && x->b == again.v[i].b);
        differ += x->b != other.v[i].b;
    }
    assert_true(differ > p.n / 3);
    assert_int_equal(few.n, 22);
    for (size_t i = 0; i < few.n; i += 2)
        for (size_t j = 0; j < i; j += 2)
            assert_true(few.v[i].a != few.v[j].a);
    bk_pairs_done(&p);
    bk_pairs_done(&again);
    bk_pairs_done(&other);
    bk_pairs_done(&few);
    bk_group_done(&g);
    toy_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(proportions_are_exact), cmocka_unit_test(seed_decides),
        cmocka_unit_test(order_does_not_matter), cmocka_unit_test(senseless_splits_are_refused),
        cmocka_unit_test(groups_hold_one_part),  cmocka_unit_test(partners_are_drawn_uniformly),
        cmocka_unit_test(no_partner_no_pair),    cmocka_unit_test(fixed_pairs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
