/* Matching by surroundings: small files whose right answers are plain to see, and one score worked out by hand. */
#include "match/match.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define DIM  4
#define MANY 400

/* A side being written: functions in order, each with the axis its vector points along, then its calls and items. */
struct written {
    struct bk_match_side side;
    float vectors[MANY * DIM];
    uint32_t image[MANY], calls[MANY * 4];
    size_t first_call[MANY + 1], first_item[MANY + 1];
    uint64_t items[MANY * 4];
};

static void begin(struct written *w)
{
    memset(w, 0, sizeof *w);
    w->side = (struct bk_match_side){.vectors = w->vectors,
                                     .image = w->image,
                                     .first_call = w->first_call,
                                     .calls = w->calls,
                                     .first_item = w->first_item,
                                     .items = w->items};
}

static size_t function(struct written *w, unsigned axis)
{
    size_t i = w->side.n++;
    w->vectors[i * DIM + axis] = 1;
    w->first_call[i + 1] = w->first_call[i];
    w->first_item[i + 1] = w->first_item[i];
    return i;
}

/* Of the function written last, in ascending order. */
static void calls(struct written *w, size_t node)
{
    w->calls[w->first_call[w->side.n]++] = (uint32_t)node;
}

static void has(struct written *w, uint64_t item)
{
    w->items[w->first_item[w->side.n]++] = item;
}

static struct bk_match_ranks ranked(const struct written *a, const struct written *b, size_t n_imports, size_t k,
                                    unsigned threads)
{
    struct bk_match_ranks r;
    struct bk_hit *hits = calloc(a->side.n * k + 1, sizeof *hits);
    assert_int_equal(bk_scan_top(hits, a->vectors, a->side.n, b->vectors, b->side.n, DIM, k, NULL, NULL, 1, NULL),
                     BK_OK);
    struct bk_match_task t = {
        .a = a->side, .b = b->side, .dim = DIM, .n_imports = n_imports, .hits = hits, .k = k, .threads = threads};
    assert_int_equal(bk_match_by_context(&r, &t, NULL), BK_OK);
    free(hits);
    return r;
}

static void vectors_alone_are_the_hits(void **state)
{
    (void)state;
    static const struct bk_hit hits[] = {{3, .9f}, {1, .5f}, {0, .7f}, {2, .7f}};
    struct bk_match_task t = {.a = {.n = 2}, .hits = hits, .k = 2};
    struct bk_match_ranks r;
    assert_int_equal(bk_match_by_vector(&r, &t, NULL), BK_OK);
    assert_int_equal(r.n, 2);
    for (size_t i = 0; i < 4; i++) {
        const struct bk_match_pair *p = &r.of[i / 2].v[i % 2];
        assert_int_equal(p->answer, hits[i].index);
        assert_true(p->score == hits[i].score && p->rank_score == hits[i].score);
    }
    bk_match_ranks_done(&r);
}

/* Twins 0 and 1 have one vector; in B they stand the other way round. `tell` writes what tells them apart. */
static void check_twins(void (*tell)(struct written *w, unsigned twin), size_t n_imports, size_t n_before)
{
    static struct written a, b;
    begin(&a);
    begin(&b);
    for (unsigned i = 0; i < n_before; i++) {
        function(&a, i + 1);
        function(&b, i + 1);
    }
    for (unsigned twin = 0; twin < 2; twin++) {
        function(&a, 0);
        tell(&a, twin);
        function(&b, 0);
        tell(&b, 1 - twin);
    }
    struct bk_match_ranks r = ranked(&a, &b, n_imports, 2, 1);
    for (uint32_t twin = 0; twin < 2; twin++) {
        const struct bk_match_pair *best = &r.of[n_before + twin].v[0];
        assert_int_equal(best->answer, n_before + 1 - twin);
        assert_true(best->score == 1 && best->rank_score > 1);
    }
    bk_match_ranks_done(&r);
}

static void by_item(struct written *w, unsigned twin)
{
    has(w, 1000 + twin);
}
static void by_import(struct written *w, unsigned twin)
{
    calls(w, 4 + twin); /* two twins and two before them */
}
static void by_callee(struct written *w, unsigned twin)
{
    calls(w, twin); /* one of the two before them */
}

static void twins_are_told_apart(void **state)
{
    (void)state;
    check_twins(by_item, 0, 2);
    check_twins(by_import, 2, 2);
    check_twins(by_callee, 0, 2);
}

static void by_caller(void **state)
{
    (void)state;
    static struct written a, b;
    begin(&a);
    begin(&b);
    function(&a, 0);
    function(&a, 0);
    function(&b, 0);
    function(&b, 0);
    for (unsigned i = 0; i < 2; i++) {
        function(&a, 1 + i);
        calls(&a, i);
        function(&b, 1 + i);
        calls(&b, 1 - i);
    }
    struct bk_match_ranks r = ranked(&a, &b, 0, 2, 1);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(r.of[i].v[0].answer, 1 - i);
        assert_int_equal(r.of[i].n_neighbours, 1);
        assert_int_equal(r.of[i].v[0].n_neighbours_matched, 1);
        assert_int_equal(r.of[i].v[1].n_neighbours_matched, 0);
    }
    bk_match_ranks_done(&r);
}

/* Twins each behind a function of its own, in A in one image, in B too or in two. */
static void check_order(bool parted)
{
    static struct written a, b;
    begin(&a);
    begin(&b);
    static const unsigned order_a[] = {1, 0, 2, 0}, order_b[] = {2, 0, 1, 0};
    for (size_t i = 0; i < 4; i++) {
        function(&a, order_a[i]);
        function(&b, order_b[i]);
        b.image[i] = parted && i % 2; /* not ascending, and asked about equality alone */
    }
    struct bk_match_ranks r = ranked(&a, &b, 0, 2, 1);
    assert_int_equal(r.of[1].v[0].answer, parted ? 1 : 3);
    assert_int_equal(r.of[3].v[0].answer, 1);
    assert_int_equal(r.of[3].v[0].in_order, !parted);
    bk_match_ranks_done(&r);
}

static void by_order_within_an_image(void **state)
{
    (void)state;
    check_order(false);
    check_order(true);
}

/* Function 0 calls import 0, which many others call, and import 1, which none does; one candidate has the one, the other the other. */
static void common_callees_count_little(void **state)
{
    (void)state;
    static struct written a, b;
    const size_t n = 12;
    begin(&a);
    begin(&b);
    function(&a, 0);
    calls(&a, n);
    calls(&a, n + 1);
    function(&b, 0);
    calls(&b, n);
    function(&b, 0);
    calls(&b, n + 1);
    for (size_t i = 2; i < n; i++) {
        function(&b, 1);
        calls(&b, n);
    }
    for (size_t i = 1; i < n; i++) {
        function(&a, 1);
        calls(&a, n);
    }
    struct bk_match_ranks r = ranked(&a, &b, 2, 2, 1);
    assert_int_equal(r.of[0].v[0].answer, 1);
    bk_match_ranks_done(&r);
}

/* The scan offers one candidate, the wrong one; the matched caller offers the right one. */
static void neighbours_propose(void **state)
{
    (void)state;
    static struct written a, b;
    begin(&a);
    begin(&b);
    function(&a, 0);
    a.vectors[0] = .8f; /* the callee: nearer to function 0 of B than to function 1, whom the caller calls */
    a.vectors[1] = .6f;
    has(&a, 7);
    function(&a, 2);
    calls(&a, 0);
    function(&b, 0);
    function(&b, 1);
    has(&b, 7);
    function(&b, 2);
    calls(&b, 1);
    struct bk_match_ranks r = ranked(&a, &b, 0, 1, 1);
    assert_int_equal(r.of[0].n, 2);
    assert_int_equal(r.of[0].v[0].answer, 1);
    assert_true(r.of[0].v[0].score == .6f);
    assert_int_equal(r.of[0].v[0].n_neighbours_matched, 1);
    assert_int_equal(r.of[0].v[0].n_shared_items, 1);
    bk_match_ranks_done(&r);
}

/* A callee that one function calls weighs 1 / log2(3) = .63093, and the pair has no other neighbour: .63093 / (.63093 + .3). */
static void a_score_by_hand(void **state)
{
    (void)state;
    static struct written a, b;
    begin(&a);
    begin(&b);
    function(&a, 0);
    calls(&a, 1);
    function(&b, 0);
    calls(&b, 1);
    struct bk_match_ranks r = ranked(&a, &b, 1, 1, 1);
    float rank_score = r.of[0].v[0].rank_score;
    assert_true(rank_score > 1.67774f && rank_score < 1.67777f);
    bk_match_ranks_done(&r);
}

static void one_to_one(void **state)
{
    (void)state;
    /* by hand: 1 takes 0 at .9, so that 0 has to take 2 at .6 and 2 goes without: its only other candidate is 0 */
    static const struct bk_hit hits[] = {{0, .8f}, {2, .6f}, {0, .9f}, {1, .2f}, {0, .7f}, {2, .5f}};
    struct bk_match_task t = {.a = {.n = 3}, .hits = hits, .k = 2};
    struct bk_match_ranks r;
    assert_int_equal(bk_match_by_vector(&r, &t, NULL), BK_OK);
    assert_int_equal(bk_match_one_to_one(&r, 3, NULL), BK_OK);
    assert_int_equal(r.of[0].n, 1);
    assert_int_equal(r.of[0].v[0].answer, 2);
    assert_int_equal(r.of[1].n, 1);
    assert_int_equal(r.of[1].v[0].answer, 0);
    assert_int_equal(r.of[2].n, 0);
    bk_match_ranks_done(&r);
}

/* Random files: whatever the number of threads the same bytes, in order, the hits all there, and one to one no answer twice. */
static void random_files(void **state)
{
    (void)state;
    static struct written side[2];
    struct bk_rng rng;
    bk_rng_seed(&rng, 1, 0);
    for (size_t s = 0; s < 2; s++) {
        begin(&side[s]);
        for (size_t i = 0; i < MANY; i++) {
            function(&side[s], (unsigned)bk_rng_below(&rng, DIM));
            side[s].image[i] = (uint32_t)(i / 100);
            for (size_t k = 0, node = bk_rng_below(&rng, 150); k < 3; k++, node += 1 + bk_rng_below(&rng, 130))
                calls(&side[s], node);
            for (size_t k = 0, item = bk_rng_below(&rng, 150); k < 3; k++, item += 1 + bk_rng_below(&rng, 50))
                has(&side[s], item);
        }
    }
    struct bk_match_ranks one = ranked(&side[0], &side[1], 20, 10, 1), more = ranked(&side[0], &side[1], 20, 10, 5);
    for (size_t i = 0; i < MANY; i++) {
        assert_true(one.of[i].n >= 10);
        assert_int_equal(one.of[i].n, more.of[i].n);
        for (size_t j = 0; j < one.of[i].n; j++) {
            const struct bk_match_pair *p = &one.of[i].v[j], *q = &more.of[i].v[j];
            assert_true(p->answer == q->answer && p->rank_score == q->rank_score && p->in_order == q->in_order);
            assert_true(j == 0 || p[-1].rank_score >= p->rank_score);
            assert_true(p->n_neighbours_matched <= one.of[i].n_neighbours && p->n_shared_items <= one.of[i].n_items);
        }
    }
    bool taken[MANY] = {false};
    size_t answered = 0;
    assert_int_equal(bk_match_one_to_one(&one, MANY, NULL), BK_OK);
    for (size_t i = 0; i < MANY; i++) {
        if (!one.of[i].n)
            continue;
        assert_false(taken[one.of[i].v[0].answer]);
        taken[one.of[i].v[0].answer] = true;
        answered++;
    }
    assert_true(answered > MANY / 10);
    bk_match_ranks_done(&one);
    bk_match_ranks_done(&more);
}

static void nothing_to_match(void **state)
{
    (void)state;
    static struct written a, b;
    begin(&a);
    begin(&b);
    struct bk_match_ranks r = ranked(&a, &b, 0, 0, 1);
    assert_int_equal(r.n, 0);
    assert_int_equal(bk_match_one_to_one(&r, 0, NULL), BK_OK);
    bk_match_ranks_done(&r);
    function(&a, 0);
    r = ranked(&a, &b, 0, 0, 1);
    assert_int_equal(r.of[0].n, 0);
    bk_match_ranks_done(&r);
    bk_match_ranks_done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_alone_are_the_hits),
        cmocka_unit_test(twins_are_told_apart),
        cmocka_unit_test(by_caller),
        cmocka_unit_test(by_order_within_an_image),
        cmocka_unit_test(common_callees_count_little),
        cmocka_unit_test(neighbours_propose),
        cmocka_unit_test(a_score_by_hand),
        cmocka_unit_test(one_to_one),
        cmocka_unit_test(random_files),
        cmocka_unit_test(nothing_to_match),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
