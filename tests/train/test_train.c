/* Training: it learns what is planted, threads and interruptions change no byte, and what does not belong together is refused. */
#include "inputs.h"
#include "training.h"

#include <jansson.h>
#include <math.h>

/* Of two functions of unseen labels the model tells the kin: in both losses, and with the whole of both networks. */
static void test_learns(void **state)
{
    static const struct {
        const char *kind, *aff, *loss, *vectors, *compat;
        double rate, auc;
    } how[] = {{"mffa", "none", "pairs", "frozen", "none", 0.001, 0.7},
               {"safe", NULL, "pairs", "frozen", "none", 0.001, 0.55},
               {"mffa", "q", "contrastive", "frozen", "none", 0.003, 0.95},
               {"mffa", "q", "contrastive", "random", "none", 0.003, 0.7},
               {"safe", NULL, "pairs", "trainable", "safe", 0.001, 0.55},
               {"mffa", "none+norm", "pairs", "frozen", "safe", 0.001, 0.55}};
    struct planted *p = planted_new(150, 3, 2, 21);
    char *vectors = make_vectors(state, &p->d), *out = temp_path(state, "m");
    for (size_t i = 0; i < sizeof how / sizeof *how; i++) {
        struct seen seen = {0};
        struct bk_error err;
        struct bk_model *m;
        struct bk_train_options opt = small_options(&seen);
        opt.kind = how[i].kind;
        opt.aff = how[i].aff;
        opt.loss = how[i].loss;
        opt.vectors = how[i].vectors;
        opt.compat = how[i].compat;
        opt.rate = how[i].rate;
        opt.epochs = 4;
        assert_int_equal(train(&p->d, vectors, out, opt, &err), BK_OK);
        assert_int_equal(seen.n, 4);
        double best = 0;
        for (size_t e = 0; e < 4; e++) {
            assert_int_equal(seen.epoch[e].epoch, e + 1);
            assert_true(seen.epoch[e].best == (seen.epoch[e].validation_auc > best));
            best = fmax(best, seen.epoch[e].validation_auc);
        }
        print_message("%s %s %s compat %s: loss %.3f to %.3f, validation AUC %.3f\n", how[i].kind, how[i].loss,
                      how[i].vectors, how[i].compat, seen.epoch[0].loss, seen.epoch[3].loss, best);
        assert_true(seen.epoch[3].loss < 0.9 * seen.epoch[0].loss);
        assert_true(best > how[i].auc);
        assert_int_equal(bk_model_open(&m, out, &err), BK_OK);
        assert_string_equal(m->kind, how[i].kind);
        assert_int_equal(m->archs, 1u << BK_ARCH_AMD64 | 1u << BK_ARCH_ARM);
        assert_true(m->dataset_hash == 21 && m->split_by == BK_SPLIT_SOURCE && m->split_parts[0] == 3);
        json_t *j = json_loads(m->provenance, 0, NULL);
        assert_true(fabs(json_real_value(json_object_get(j, "validation_auc")) - best) < 1e-6);
        assert_int_equal(json_integer_value(json_object_get(j, "epochs")), 4);
        assert_int_equal(json_array_size(json_object_get(j, "history")), 4);
        assert_string_equal(json_string_value(json_object_get(json_object_get(j, "training"), "loss")), how[i].loss);
        assert_true(m->cfg.net.compat_safe == (strcmp(how[i].compat, "safe") == 0));
        json_decref(j);
        bk_model_close(m);
    }
    free(vectors);
    free(out);
    planted_free(p);
}

/* (score - y)^2 of a pair whose functions gave the rows x and y: the cosine, or the product of left and right. */
static double pair_loss(const float *x, const float *y, size_t o, bool compat, int want)
{
    double xy = 0, xx = 0, yy = 0;
    for (size_t k = 0; k < o; k++) {
        double a = (double)x[k], b = (double)(compat ? y[o + k] : y[k]);
        xy += a * b;
        xx += a * a;
        yy += b * b;
    }
    double miss = (compat ? xy : xy / sqrt(xx * yy)) - want;
    return miss * miss;
}

/* The sharded batch against the same batch as one: its penalty is one norm over all its attention, under compat over the right sides of its
 * pairs; its loss the mean over its pairs. */
static void first_batch(void **state, bool compat)
{
    struct planted *p = planted_new(60, 4, 1, 22);
    char *vectors = make_vectors(state, &p->d), *out = temp_path(state, "m");
    struct seen seen = {0};
    struct bk_error err;
    struct bk_train_options opt = small_options(&seen);
    opt.kind = "safe";
    opt.aff = NULL;
    opt.batch = 200; /* 200 functions: four shards */
    opt.pairs_per_epoch = 200;
    opt.epochs = 1;
    opt.rate = 1e-12; /* the weights stay at their start */
    opt.compat = compat ? "safe" : NULL;
    opt.max_insns = 25; /* some have padding, some not: their penalties are far apart */
    assert_int_equal(train(&p->d, vectors, out, opt, &err), BK_OK);
    assert_int_equal(seen.epoch[0].pairs, 200);

    struct bk_vectors v;
    struct bk_group g;
    struct bk_epoch e;
    struct bk_batch b = {0};
    struct bk_model *m;
    uint8_t *part = calloc(p->d.n, 1);
    uint32_t func[200];
    struct bk_seq seq[200];
    struct bk_inputs in;
    assert_int_equal(bk_model_open(&m, out, &err), BK_OK);
    assert_int_equal(bk_vectors_open(&v, vectors, &err), BK_OK);
    assert_int_equal(bk_split_parts(part, &p->d, &opt.split, &err), BK_OK);
    assert_int_equal(bk_group_init(&g, &p->d, part, BK_PART_TRAIN, 0, &err), BK_OK);
    assert_int_equal(bk_epoch_init(&e, &g, 200, opt.seed, 0, &err), BK_OK);
    assert_int_equal(bk_batch_draw(&b, &e, 0, 100, &err), BK_OK);
    assert_int_equal(b.n_funcs, 200);
    for (size_t i = 0; i < 200; i++)
        func[i] = g.v[b.func[i]];
    assert_int_equal(bk_inputs_make(&in, &p->d, func, 200, m, &err), BK_OK);
    for (size_t i = 0; i < 200; i++)
        seq[i] = in.v[i].words;
    struct bk_pass *pass;
    struct bk_prepared *w;
    size_t o = bk_net_outputs(&m->cfg.net), row = o * bk_net_sides(&m->cfg.net);
    float *f = calloc(200, row * sizeof *f), weight[200] = {0};
    double penalty, loss = 0;
    assert_int_equal(row, compat ? 2 * o : o);
    for (size_t i = 0; i < b.n_pairs; i++)
        weight[b.right[i]]++;
    assert_int_equal(bk_pass_new(&pass, &m->cfg.net, &err), BK_OK);
    assert_int_equal(bk_prepared_new(&w, &m->cfg.net, BK_FULL, false, &err), BK_OK);
    bk_prepare(w, m->params, 1);
    assert_int_equal(bk_pass_forward(pass, f, w, v.v, bk_strtab_count(v.words), seq, 200, false, compat ? weight : NULL,
                                     &penalty, &err),
                     BK_OK);
    for (size_t i = 0; i < b.n_pairs; i++)
        loss += pair_loss(f + b.left[i] * row, f + b.right[i] * row, o, compat, b.y[i]);
    assert_true(fabs(seen.epoch[0].penalty - sqrt(penalty)) < 1e-7 * sqrt(penalty));
    assert_true(fabs(seen.epoch[0].loss - loss / 200) < 1e-5);
    bk_pass_free(pass);
    bk_prepared_free(w);
    bk_batch_done(&b);
    bk_epoch_done(&e);
    bk_group_done(&g);
    bk_vectors_done(&v);
    bk_model_close(m);
    bk_inputs_done(&in);
    free(f);
    free(part);
    free(vectors);
    free(out);
    planted_free(p);
}

static void test_first_batch(void **state)
{
    first_batch(state, false);
}

static void test_first_batch_compat(void **state)
{
    first_batch(state, true);
}

/* The best AUC that is told, from the model, which is of that epoch, and the definition: the share of (similar, dissimilar) pairs of pairs in
 * the right order. */
static void test_validation(void **state)
{
    struct planted *p = planted_new(60, 2, 2, 30);
    char *vectors = make_vectors(state, &p->d), *out = temp_path(state, "m");
    size_t later = 0;
    for (int compat = 0; compat < 2; compat++) {
        struct seen seen = {0};
        struct bk_error err;
        struct bk_model *m;
        struct bk_group g;
        struct bk_pairs pairs;
        struct bk_train_options opt = small_options(&seen);
        struct bk_inputs in;
        uint8_t *part = calloc(p->d.n, 1);
        opt.aff = "none";
        opt.compat = compat ? "safe" : NULL;
        opt.vectors = "trainable";
        opt.epochs = 6;
        opt.rate = 0.02; /* up and down */
        assert_int_equal(train(&p->d, vectors, out, opt, &err), BK_OK);
        double best = 0;
        for (size_t e = 0; e < seen.n; e++)
            best = fmax(best, seen.epoch[e].validation_auc);
        later += seen.epoch[seen.n - 1].validation_auc < best;
        assert_int_equal(bk_model_open(&m, out, &err), BK_OK);
        assert_int_equal(bk_split_parts(part, &p->d, &opt.split, &err), BK_OK);
        assert_int_equal(bk_group_init(&g, &p->d, part, BK_PART_VALIDATION, 0, &err), BK_OK);
        assert_int_equal(bk_pairs_fixed(&pairs, &g, 0, opt.seed, &err), BK_OK);
        assert_int_equal(bk_inputs_make(&in, &p->d, g.v, g.n, m, &err), BK_OK);
        size_t o = bk_net_outputs(&m->cfg.net);
        float *row = calloc(g.n, 2 * o * sizeof *row);
        double *score = calloc(pairs.n, sizeof *score), right = 0, all = 0;
        assert_int_equal(bk_model_embed_pairs(row, m, in.v, g.n, BK_FULL, 1, NULL, NULL, &err), BK_OK);
        for (size_t i = 0; i < pairs.n; i++)
            for (size_t k = 0; k < o; k++)
                score[i] += (double)row[pairs.v[i].a * 2 * o + k] * (double)row[pairs.v[i].b * 2 * o + o + k];
        for (size_t i = 0; i < pairs.n; i++)
            for (size_t j = 0; j < pairs.n; j++)
                if (pairs.v[i].similar && !pairs.v[j].similar) {
                    right += score[i] > score[j] ? 1 : score[i] < score[j] ? 0 : 0.5;
                    all++;
                }
        assert_true(all > 100 && fabs(best - right / all) < 1e-3);
        bk_pairs_done(&pairs);
        bk_group_done(&g);
        bk_model_close(m);
        bk_inputs_done(&in);
        free(part);
        free(row);
        free(score);
    }
    assert_true(later > 0);
    free(vectors);
    free(out);
    planted_free(p);
}

/* Frozen, the model has i2v's vectors to the bit. Trainable ones begin there, random ones at another place with the same mean square; both
 * move, but for the padding and words that no training function has. */
static void test_vectors(void **state)
{
    static const char *const how[] = {"frozen", "trainable", "random"};
    struct planted *p = planted_new(60, 2, 2, 27);
    char *vectors = make_vectors(state, &p->d), *out = temp_path(state, "m");
    struct bk_error err;
    struct bk_vectors v;
    assert_int_equal(bk_vectors_open(&v, vectors, &err), BK_OK);
    size_t n = bk_strtab_count(v.words);
    for (size_t i = 0; i < 3; i++)
        for (int moved = 0; moved < 2; moved++) {
            struct seen seen = {0};
            struct bk_train_options opt = small_options(&seen);
            struct bk_model *m;
            double squares = 0, i2v = 0, largest = 0, steps = 0;
            opt.aff = "none";
            opt.vectors = how[i];
            opt.rate = moved ? 0.001 : 1e-12;
            assert_int_equal(train(&p->d, vectors, out, opt, &err), BK_OK);
            assert_int_equal(bk_model_open(&m, out, &err), BK_OK);
            assert_non_null(strstr(m->provenance, how[i]));
            for (uint32_t w = 0; w < n; w++) {
                float x[16], length = 0;
                assert_int_equal(bk_model_vectors(x, m, &w, 1, &err), BK_OK);
                if (i == 0)
                    assert_memory_equal(x, v.v + w * 16, sizeof x);
                for (size_t k = 0; k < 16; k++) {
                    double from = (double)v.v[w * 16 + k], to = (double)x[k];
                    squares += to * to;
                    i2v += from * from;
                    largest = fmax(largest, fabs(to - from));
                    steps += fabs(to - from) > 1e-4;
                    length += x[k] * x[k];
                }
                assert_true((w == 0) == (length == 0));
            }
            if (i == 1)
                assert_true(moved ? steps > 0.5 * (double)n * 16 && largest < 0.1 : largest < 1e-6);
            if (i == 2)
                assert_true(largest > 0.1 && fabs(squares / i2v - 1) < 0.15);
            bk_model_close(m);
        }
    bk_vectors_done(&v);
    free(vectors);
    free(out);
    planted_free(p);
}

/* The penalty falls where it is trained on, and hardly else; a network without attention has none to leave out. */
static void test_no_penalty(void **state)
{
    struct planted *p = planted_new(60, 2, 2, 28);
    char *vectors = make_vectors(state, &p->d), *out = temp_path(state, "m");
    struct bk_error err;
    struct seen seen = {0};
    for (int aff = 0; aff < 2; aff++)
        for (int without = 0; without < 2; without++) {
            struct bk_train_options opt = small_options(&seen);
            opt.aff = aff ? "p" : "q";
            opt.epochs = 3;
            opt.no_penalty = without;
            assert_int_equal(train(&p->d, vectors, out, opt, &err), BK_OK);
        }
    const struct bk_train_epoch *q = seen.epoch, *with = q + 6, *without = with + 3;
    for (size_t i = 0; i < 3; i++)
        assert_true(q[i].penalty == 0 && q[3 + i].penalty == 0 && q[i].loss == q[3 + i].loss);
    double fall = with[0].penalty - with[2].penalty, other = without[0].penalty - without[2].penalty;
    assert_true(fall > 0.05 && other < fall / 3);
    free(vectors);
    free(out);
    planted_free(p);
}

/* Weights that leave the numbers behind: the trouble names the place, no model is written, and the epochs before are as good as ever. */
static void test_diverges(void **state)
{
    struct planted *p = planted_new(60, 2, 2, 29);
    char *vectors = make_vectors(state, &p->d), *out = temp_path(state, "m"), *straight = temp_path(state, "straight");
    struct bk_error err;
    struct seen seen = {0};
    struct bk_train_options opt = small_options(&seen);
    opt.kind = "safe";
    opt.aff = NULL;
    opt.compat = "safe"; /* dot products have no bound */
    opt.rate = 0.99;
    opt.pairs_per_epoch = 32; /* a batch an epoch */
    opt.epochs = MAX_EPOCHS;
    assert_int_equal(train(&p->d, vectors, out, opt, &err), BK_ELIMIT);
    size_t whole = seen.n;
    char place[32];
    snprintf(place, sizeof place, "epoch %zu: ", whole + 1);
    assert_true(whole > 0 && whole < MAX_EPOCHS && strstr(err.message, place) && strstr(err.message, "rate"));
    assert_null(fopen(out, "rb"));
    opt.epochs = (unsigned)whole;
    assert_int_equal(train(&p->d, vectors, straight, opt, &err), BK_OK);
    opt.resume = true;
    assert_int_equal(train(&p->d, vectors, out, opt, &err), BK_OK);
    assert_same_file(out, straight);

    opt = small_options(&seen);
    opt.loss = "contrastive";
    opt.temperature = 1e-39; /* cosines over it are infinite */
    assert_int_equal(train(&p->d, vectors, out, opt, &err), BK_ELIMIT);
    assert_non_null(strstr(err.message, "epoch 1, batch 1: the loss is no number"));
    free(vectors);
    free(out);
    free(straight);
    planted_free(p);
}

static void test_threads(void **state)
{
    struct planted *p = planted_new(60, 2, 2, 23);
    char *vectors = make_vectors(state, &p->d), *one = temp_path(state, "one"), *other = temp_path(state, "other");
    struct bk_error err;
    for (unsigned threads = 1; threads <= 3; threads++) {
        struct seen seen = {0};
        struct bk_train_options opt = small_options(&seen);
        opt.batch = 160; /* three shards */
        opt.aff = "none";
        opt.compat = "safe";
        opt.vectors = "trainable";
        opt.threads = threads;
        assert_int_equal(train(&p->d, vectors, threads == 1 ? one : other, opt, &err), BK_OK);
        if (threads > 1)
            assert_same_file(one, other);
    }
    free(vectors);
    free(one);
    free(other);
    planted_free(p);
}

static void test_resume(void **state)
{
    struct planted *p = planted_new(60, 2, 2, 24);
    char *vectors = make_vectors(state, &p->d), *straight = temp_path(state, "straight"),
         *twice = temp_path(state, "twice");
    char *checkpoint = temp_path(state, "twice.ckpt");
    struct bk_error err;
    struct seen seen = {0};
    struct bk_train_options opt = small_options(&seen);
    opt.epochs = 4;
    opt.vectors = "trainable";
    assert_int_equal(train(&p->d, vectors, straight, opt, &err), BK_OK);
    opt.epochs = 2;
    assert_int_equal(train(&p->d, vectors, twice, opt, &err), BK_OK);
    opt.epochs = 4;
    opt.threads = 1;
    opt.resume = true;
    assert_int_equal(train(&p->d, vectors, twice, opt, &err), BK_OK);
    assert_int_equal(seen.n, 8);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(seen.epoch[4 + i].epoch, i + 1);
        assert_true(seen.epoch[4 + i].loss == seen.epoch[i].loss && seen.epoch[4 + i].pairs == seen.epoch[i].pairs);
        assert_true(seen.epoch[4 + i].validation_auc == seen.epoch[i].validation_auc);
    }
    double seconds = 0; /* those of the first run count in the second */
    for (size_t i = 4; i < 8; i++) {
        seconds += seen.epoch[i].seconds;
        assert_true(seen.epoch[i].seconds > 0 && fabs(seen.epoch[i].seconds_total - seconds) < 1e-9);
    }
    assert_same_file(straight, twice);
    /* Done already: the model is written again, nothing is trained. */
    assert_int_equal(train(&p->d, vectors, twice, opt, &err), BK_OK);
    assert_int_equal(seen.n, 8);
    assert_same_file(straight, twice);
    opt.epochs = 3;
    assert_int_equal(train(&p->d, vectors, twice, opt, &err), BK_EMISMATCH);

    opt.epochs = 5;
    const struct bk_train_options good = opt;
    struct bk_train_options bad[9] = {good, good, good, good, good, good, good, good, good};
    bad[6].vectors = "random";
    bad[7].no_penalty = true;
    bad[8].compat = "safe";
    bad[0].seed++;
    bad[1].batch = 64;
    bad[2].split.seed++;
    bad[3].aff = "none";
    bad[4].loss = "contrastive";
    bad[5].pairs_per_epoch = 100;
    for (size_t i = 0; i < 9; i++)
        assert_int_equal(train(&p->d, vectors, twice, bad[i], &err), BK_EMISMATCH);
    p->d.info.hash++;
    assert_int_equal(train(&p->d, vectors, twice, good, &err), BK_EMISMATCH);
    p->d.info.hash--;
    assert_int_equal(seen.n, 8);

    size_t size;
    uint8_t *bytes = read_file(checkpoint, &size);
    write_file(checkpoint, bytes, size / 2);
    assert_int_not_equal(train(&p->d, vectors, twice, good, &err), BK_OK);
    assert_non_null(strstr(err.file, "twice.ckpt"));
    remove(checkpoint);
    assert_int_equal(train(&p->d, vectors, twice, good, &err), BK_EIO);
    free(bytes);
    free(vectors);
    free(straight);
    free(twice);
    free(checkpoint);
    planted_free(p);
}

static void test_refuses(void **state)
{
    struct planted *p = planted_new(20, 2, 2, 25);
    char *vectors = make_vectors(state, &p->d), *out = temp_path(state, "m"), *x_only = temp_path(state, "x");
    struct bk_error err;
    struct seen seen = {0};
    const struct bk_train_options good = small_options(&seen);
    struct bk_train_options bad[10] = {good, good, good, good, good, good, good, good, good, good};
    bad[7].vectors = "thawed";
    bad[8].compat = "gemini";
    bad[9].compat = "safe"; /* with another loss */
    bad[9].loss = "contrastive";
    bad[0].kind = "gnn";
    bad[1].aff = "nope";
    bad[2].kind = "safe"; /* with aff "q" */
    bad[3].loss = "hinge";
    bad[4].batch = 31;
    bad[5].rate = -1;
    bad[6].temperature = NAN;
    for (size_t i = 0; i < 10; i++)
        assert_int_equal(train(&p->d, vectors, out, bad[i], &err), BK_EINVAL);
    assert_int_equal(train(&p->d, out, out, good, &err), BK_EIO);
    /* Vectors of one processor, functions of two. */
    struct planted *x = planted_new(20, 2, 1, 25);
    struct bk_i2v_options opt = {.dim = 16, .epochs = 1};
    assert_int_equal(bk_i2v_train(NULL, x_only, &x->d, &opt, &err), BK_OK);
    assert_int_equal(train(&p->d, x_only, out, good, &err), BK_EMISMATCH);
    assert_int_equal(seen.n, 0);
    assert_null(fopen(out, "rb"));
    planted_free(x);
    planted_free(p);
    free(vectors);
    free(out);
    free(x_only);
}

/* No validation part: the last epoch is the model, and its AUC null. */
static void test_no_validation(void **state)
{
    struct planted *p = planted_new(30, 2, 1, 26);
    char *vectors = make_vectors(state, &p->d), *out = temp_path(state, "m");
    struct bk_error err;
    struct bk_model *m;
    struct seen seen = {0};
    struct bk_train_options opt = small_options(&seen);
    opt.split = (struct bk_split){BK_SPLIT_FUNCTION, 1, 0, 0, 0};
    assert_int_equal(train(&p->d, vectors, out, opt, &err), BK_OK);
    assert_true(seen.n == 2 && seen.epoch[1].best && isnan(seen.epoch[1].validation_auc));
    assert_int_equal(bk_model_open(&m, out, &err), BK_OK);
    assert_non_null(strstr(m->provenance, "\"validation_auc\":null"));
    bk_model_close(m);
    planted_free(p);
    free(vectors);
    free(out);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, temp_dir_setup, temp_dir_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_learns),  TEST(test_first_batch), TEST(test_first_batch_compat), TEST(test_validation),
        TEST(test_vectors), TEST(test_no_penalty),  TEST(test_diverges),           TEST(test_threads),
        TEST(test_resume),  TEST(test_refuses),     TEST(test_no_validation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
