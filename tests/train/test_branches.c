/* Training of graph and fused models: it learns what is planted, threads and interruptions change no byte, what does not belong together is
 * refused, and a function of a data set is looked at as the function of the file. argv[1]: many_items.o. */
#include "inputs.h"
#include "training.h"

#include <math.h>

static const char *many_items;

static struct planted *planted_with_graphs(size_t labels, size_t each, size_t archs, uint64_t seed)
{
    struct planted *p = planted_new(labels, each, archs, seed);
    planted_graphs(p);
    return p;
}

static struct bk_train_options branch_options(struct seen *s, const char *kind)
{
    struct bk_train_options opt = small_options(s);
    opt.kind = kind;
    opt.aff = NULL;
    opt.min_forms = 2;
    opt.sketch = 64;
    opt.variants = 2;
    return opt;
}

static const char *words_for(const char *kind, const char *vectors)
{
    return strcmp(kind, "graph") == 0 ? NULL : vectors;
}

/* Of two functions of unseen labels the model tells the kin, whatever branches it has, however they are joined, under every loss. */
static void test_learns(void **state)
{
    static const struct {
        const char *kind, *branches, *join, *loss;
        double fall, auc;
    } how[] = {{"graph", NULL, NULL, NULL, 0.7, 0.9},       {"graph", "graph", NULL, "triplet", 0.9, 0.8},
               {"graph", "sketch", NULL, "supcon", 1, 0.9}, {"graph", NULL, "concat", "contrastive", 0.9, 0.9},
               {"fused", NULL, NULL, NULL, 0.7, 0.9},       {"fused", "sequence,graph", "concat", "pairs", 0.95, 0.6}};
    struct planted *p = planted_with_graphs(60, 2, 2, 41);
    char *vectors = make_vectors(state, &p->d), *out = temp_path(state, "m");
    for (size_t i = 0; i < sizeof how / sizeof *how; i++) {
        struct seen seen = {0};
        struct bk_error err;
        struct bk_model *m;
        struct bk_train_options opt = branch_options(&seen, how[i].kind);
        opt.branches = how[i].branches;
        opt.join = how[i].join;
        opt.loss = how[i].loss;
        opt.rate = 0.003;
        opt.epochs = 4;
        assert_int_equal(train(&p->d, words_for(how[i].kind, vectors), out, opt, &err), BK_OK);
        assert_int_equal(seen.n, 4);
        double best = 0;
        for (size_t e = 0; e < 4; e++)
            best = fmax(best, seen.epoch[e].validation_auc);
        print_message("# %s %s %s: loss %.3f to %.3f, validation AUC %.3f\n", how[i].kind,
                      how[i].branches ? how[i].branches : "all", how[i].loss ? how[i].loss : "supcon",
                      seen.epoch[0].loss, seen.epoch[3].loss, best);
        assert_true(seen.epoch[3].loss <= how[i].fall * seen.epoch[0].loss);
        assert_true(best > how[i].auc);
        assert_int_equal(bk_model_open(&m, out, &err), BK_OK);
        assert_string_equal(m->kind, how[i].kind);
        assert_int_equal(m->archs, 1u << BK_ARCH_AMD64 | 1u << BK_ARCH_ARM);
        if (how[i].branches)
            assert_int_equal(m->cfg.branches, bk_branches_parse(how[i].branches));
        assert_true(m->cfg.attention == !how[i].join);
        assert_true(!m->words == !bk_encoder_has(&m->cfg, BK_BRANCH_SEQUENCE));
        assert_true(!m->forms == !bk_encoder_has(&m->cfg, BK_BRANCH_GRAPH));
        assert_true(!m->idf.n == !bk_encoder_has(&m->cfg, BK_BRANCH_SKETCH));
        assert_true(!strstr(m->provenance, "\"aff\"") == !m->words);
        bk_model_close(m);
    }
    free(vectors);
    free(out);
    planted_free(p);
}

/* All that draws at random or remembers, in two shards and more. */
static struct bk_train_options everything(struct seen *s)
{
    struct bk_train_options opt = branch_options(s, "fused");
    opt.batch = 80;
    opt.vectors = "trainable";
    opt.memory = 50;
    opt.average = 0.8;
    opt.warm_up = 2;
    opt.cross_to = 0.9;
    opt.mask_forms = 0.1;
    opt.drop_blocks = 0.1;
    opt.drop_items = 0.2;
    return opt;
}

static void test_threads(void **state)
{
    struct planted *p = planted_with_graphs(60, 2, 2, 42);
    char *vectors = make_vectors(state, &p->d), *one = temp_path(state, "one"), *other = temp_path(state, "other");
    struct bk_error err;
    for (unsigned threads = 1; threads <= 2; threads++) {
        struct seen seen = {0};
        struct bk_train_options opt = everything(&seen);
        opt.threads = threads;
        assert_int_equal(train(&p->d, vectors, threads == 1 ? one : other, opt, &err), BK_OK);
    }
    assert_same_file(one, other);
    free(vectors);
    free(one);
    free(other);
    planted_free(p);
}

struct keeper { /* keeps the checkpoint of an epoch */
    unsigned epoch;
    const char *checkpoint, *kept;
};

static void keep_checkpoint(void *ctx, const struct bk_train_epoch *e)
{
    const struct keeper *k = ctx;
    size_t n;
    if (e->epoch != k->epoch)
        return;
    uint8_t *bytes = read_file(k->checkpoint, &n);
    write_file(k->kept, bytes, n);
    free(bytes);
}

/* A training that ended after its second epoch of four, and one that did not. */
static void test_resume(void **state)
{
    static const char *const losses[] = {"supcon", "triplet"};
    struct planted *p = planted_with_graphs(60, 2, 2, 43);
    char *vectors = make_vectors(state, &p->d), *straight = temp_path(state, "straight"),
         *checkpoint = temp_path(state, "straight.ckpt"), *kept = temp_path(state, "kept"),
         *out = temp_path(state, "m");
    for (size_t i = 0; i < 2; i++) {
        struct keeper k = {2, checkpoint, kept};
        struct seen seen = {0};
        struct bk_error err;
        struct bk_train_options opt = everything(&seen);
        opt.loss = losses[i];
        opt.epochs = 4;
        opt.on_epoch = keep_checkpoint;
        opt.progress = NULL;
        opt.ctx = &k;
        assert_int_equal(train(&p->d, vectors, straight, opt, &err), BK_OK);
        opt.on_epoch = on_epoch;
        opt.ctx = &seen;
        opt.checkpoint = kept;
        opt.resume = true;
        struct bk_train_options bad[9] = {opt, opt, opt, opt, opt, opt, opt, opt, opt};
        bad[0].average = 0.9;
        bad[1].memory = 51;
        bad[2].branches = "graph,sketch,sequence";
        bad[2].join = "concat";
        bad[3].drop_items = 0.3;
        bad[4].epochs = 5; /* cross and the rate count on the last one */
        bad[5].variants = 4;
        bad[6].warm_up = 3;
        bad[7].min_forms = 3;
        bad[8].average = 0;
        for (size_t b = 0; b < 9; b++)
            assert_int_equal(train(&p->d, vectors, out, bad[b], &err), BK_EMISMATCH);
        assert_int_equal(seen.n, 0);
        assert_int_equal(train(&p->d, vectors, out, opt, &err), BK_OK);
        assert_int_equal(seen.n, 2);
        assert_int_equal(seen.epoch[0].epoch, 3);
        assert_same_file(straight, out);
    }
    free(vectors);
    free(straight);
    free(checkpoint);
    free(kept);
    free(out);
    planted_free(p);
}

/* The switches count: each gives other weights than a training without it. */
static void test_switches(void **state)
{
    struct planted *p = planted_with_graphs(30, 2, 2, 44);
    char *plain = temp_path(state, "plain"), *out = temp_path(state, "m");
    struct bk_error err;
    struct bk_model *a, *b;
    struct seen seen = {0};
    const struct bk_train_options opt = branch_options(&seen, "graph");
    struct bk_train_options other[8] = {opt, opt, opt, opt, opt, opt, opt, opt};
    other[0].memory = 30;
    other[1].average = 0.8;
    other[2].warm_up = 3;
    other[3].cross_from = 1;
    other[4].mask_forms = 0.1;
    other[5].drop_blocks = 0.1;
    other[6].drop_items = 0.1;
    other[7].schedule = "constant";
    assert_int_equal(train(&p->d, NULL, plain, opt, &err), BK_OK);
    assert_int_equal(bk_model_open(&a, plain, &err), BK_OK);
    for (size_t i = 0; i < 8; i++) {
        seen.n = 0;
        assert_int_equal(train(&p->d, NULL, out, other[i], &err), BK_OK);
        assert_int_equal(bk_model_open(&b, out, &err), BK_OK);
        assert_int_equal(bk_encoder_n_params(&a->cfg), bk_encoder_n_params(&b->cfg));
        if (memcmp(a->params, b->params, bk_encoder_n_params(&a->cfg) * sizeof *a->params) == 0)
            fail_msg("switch %zu changes nothing", i);
        bk_model_close(b);
    }
    bk_model_close(a);
    free(plain);
    free(out);
    planted_free(p);
}

static void test_refuses(void **state)
{
    enum { BAD = 22 };
    struct planted *p = planted_with_graphs(20, 2, 2, 45);
    char *vectors = make_vectors(state, &p->d), *out = temp_path(state, "m");
    struct bk_error err;
    struct seen seen = {0};
    const struct bk_train_options good = branch_options(&seen, "graph");
    struct bk_train_options bad[BAD];
    for (size_t i = 0; i < BAD; i++)
        bad[i] = good;
    bad[0].branches = "graph,words";
    bad[1].branches = "graph,graph";
    bad[2].compat = "safe"; /* with a loss over labels */
    bad[3].branches = "";
    bad[4].join = "sum";
    bad[5].schedule = "linear";
    bad[6].aff = "q";
    bad[7].max_insns = 50;
    bad[8].average = 1;
    bad[9].average = -0.1;
    bad[10].margin = 2.1;
    bad[11].cross_from = 1.1;
    bad[12].cross_to = -1;
    bad[13].mask_forms = NAN;
    bad[14].drop_blocks = 1.5;
    bad[15].drop_items = -0.5;
    bad[16].compat = "safe"; /* with other branches */
    bad[16].kind = "fused";
    bad[16].loss = "pairs";
    bad[17].kind = "gnn";
    bad[18].batch = 31;
    bad[19].rate = 1;
    bad[20].temperature = -1;
    bad[21].loss = "hinge";
    for (size_t i = 0; i < BAD; i++)
        if (train(&p->d, words_for(bad[i].kind, vectors), out, bad[i], &err) != BK_EINVAL)
            fail_msg("option %zu is taken, or \"%s\"", i, err.message);
    assert_int_equal(seen.n, 0);
    assert_null(fopen(out, "rb"));
    free(vectors);
    free(out);
    planted_free(p);
}

static void test_refuses_with_reason(void **state)
{
    struct planted *p = planted_with_graphs(20, 2, 2, 45);
    char *vectors = make_vectors(state, &p->d), *out = temp_path(state, "m");
    struct bk_error err;
    struct seen seen = {0};
    const struct bk_train_options good = branch_options(&seen, "graph");
    for (unsigned variants = 1; variants < 20; variants += 16) { /* of a batch of 32 */
        struct bk_train_options few = good;
        few.variants = variants;
        assert_int_equal(train(&p->d, NULL, out, few, &err), BK_EINVAL);
        assert_string_equal(err.message, "train: variants from 2 to half the batch");
    }
    for (int safe = 0; safe < 2; safe++) { /* the branches of another kind */
        struct bk_train_options other = good;
        other.kind = safe ? "safe" : "graph";
        other.branches = "sequence,graph";
        assert_int_equal(train(&p->d, vectors, out, other, &err), BK_EINVAL);
        assert_non_null(strstr(err.message, "are not some of those of kind"));
    }
    struct bk_train_options odd = good;
    odd.sketch = 63;
    assert_int_equal(train(&p->d, NULL, out, odd, &err), BK_ELIMIT);
    assert_int_equal(seen.n, 0);
    free(vectors);
    free(out);
    planted_free(p);
}

/* What the branches look at must be there, and nothing else is taken. */
static void test_refuses_data(void **state)
{
    struct planted *p = planted_with_graphs(20, 2, 2, 45), *no_graphs = planted_new(20, 2, 2, 45);
    char *vectors = make_vectors(state, &p->d), *out = temp_path(state, "m");
    struct bk_error err;
    struct seen seen = {0};
    const struct bk_train_options good = branch_options(&seen, "graph");
    assert_int_equal(train(&p->d, vectors, out, good, &err), BK_EINVAL);
    assert_string_equal(err.message, "train: word vectors for a model without a sequence branch");
    assert_int_equal(train(&p->d, NULL, out, branch_options(&seen, "fused"), &err), BK_EINVAL);
    assert_string_equal(err.message, "train: kind fused needs word vectors");
    assert_int_equal(train(&no_graphs->d, NULL, out, good, &err), BK_EMISMATCH);
    assert_string_equal(err.message, "a data set without graphs, which kind graph looks at");
    p->d.has_items = false;
    assert_int_equal(train(&p->d, NULL, out, good, &err), BK_EMISMATCH);
    assert_string_equal(err.message, "a data set without items, which kind graph looks at");
    p->d.has_items = true;
    assert_int_equal(seen.n, 0);
    assert_null(fopen(out, "rb"));
    assert_int_equal(train(&p->d, NULL, out, good, &err), BK_OK);
    free(vectors);
    free(out);
    planted_free(p);
    planted_free(no_graphs);
}

/* Half of the labels are of one project and one processor, half of another. The part that validates has a processor that training never saw:
 * it is judged by neutral forms, items and unknown words; the model is for the other processor alone. */
static void test_unseen_arch(void **state)
{
    static const char *const kinds[] = {"graph", "fused"};
    struct planted *p = planted_with_graphs(40, 4, 1, 46);
    char *out = temp_path(state, "m");
    p->d.n_files = 2;
    for (size_t i = 0; i < p->d.n; i++) {
        p->funcs[i].file = p->funcs[i].label % 2;
        p->labels[p->funcs[i].label].project_key = 1 + p->funcs[i].label % 2;
    }
    bk_strtab_intern(p->words, "A_UNK", 5);
    char *vectors = make_vectors(state, &p->d);
    for (size_t i = 0; i < 2; i++) {
        struct bk_error err;
        struct bk_model *m;
        struct seen seen = {0};
        struct bk_train_options opt = branch_options(&seen, kinds[i]);
        opt.split = (struct bk_split){BK_SPLIT_PROJECT, 1, 1, 0, 0};
        assert_int_equal(train(&p->d, words_for(kinds[i], vectors), out, opt, &err), BK_OK);
        assert_true(seen.epoch[0].validation_auc > 0.5);
        assert_int_equal(bk_model_open(&m, out, &err), BK_OK);
        assert_true(m->archs == 1u << BK_ARCH_AMD64 || m->archs == 1u << BK_ARCH_ARM);
        bk_model_close(m);
    }
    free(vectors);
    free(out);
    planted_free(p);
}

/* ---- inputs ------------------------------------------------------------------ */

/* A model that knows every second word, form and item of a data set. */
struct half_known {
    struct bk_model m;
    struct bk_strtab *words, *forms;
    uint64_t *hash;
    float *weight;
};

static void intern(struct bk_strtab *t, const char *s)
{
    assert_int_not_equal(bk_strtab_intern(t, s, strlen(s)), BK_STR_NONE);
}

static int by_value(const void *x, const void *y)
{
    uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;
    return a < b ? -1 : a > b;
}

static struct half_known half_known(const struct bk_dataset *d)
{
    struct half_known h = {.words = bk_strtab_new(), .forms = bk_strtab_new()};
    size_t n = 0;
    assert_true(bk_encoder_config_default(&h.m.cfg, "fused"));
    intern(h.words, "");
    intern(h.forms, "");
    for (int a = BK_ARCH_NONE + 1; a < BK_ARCH_COUNT; a++)
        intern(h.words, bk_word_unknown(a));
    for (uint32_t i = 0; i < bk_strtab_count(d->words); i += 2)
        intern(h.words, bk_strtab_str(d->words, i));
    for (uint32_t i = 0; i < bk_strtab_count(d->neutral_forms); i += 2)
        intern(h.forms, bk_strtab_str(d->neutral_forms, i));
    for (uint32_t i = 0; i < bk_strtab_count(d->forms); i += 2)
        intern(h.forms, bk_strtab_str(d->forms, i));
    h.hash = calloc(d->n_items + 1, sizeof *h.hash);
    h.weight = calloc(d->n_items + 1, sizeof *h.weight);
    for (size_t i = 0; i < d->n_items; i += 2)
        h.hash[n++] = d->items[i].hash;
    qsort(h.hash, n, sizeof *h.hash, by_value);
    for (size_t i = 0; i < n; i++)
        h.weight[i] = (float)i;
    h.m.words = h.words;
    h.m.forms = h.forms;
    h.m.idf = (struct bk_idf){.n = n, .hash = h.hash, .weight = h.weight, .other = 0.5f};
    return h;
}

static void half_known_free(struct half_known *h)
{
    bk_strtab_free(h->words);
    bk_strtab_free(h->forms);
    free(h->hash);
    free(h->weight);
}

static void same_array(const void *a, size_t n, const void *b, size_t m, size_t size)
{
    assert_int_equal(n, m);
    if (n)
        assert_memory_equal(a, b, n * size);
}

static void same_input(const struct bk_input *a, const struct bk_input *b)
{
    const struct bk_graph *g = &a->graph, *h = &b->graph;
    const struct bk_item_seq *x = &a->items, *y = &b->items;
    size_t insns = 0;
    same_array(a->words.ids, a->words.n, b->words.ids, b->words.n, sizeof *a->words.ids);
    same_array(g->insns, g->n_nodes, h->insns, h->n_nodes, sizeof *g->insns);
    for (uint32_t i = 0; i < g->n_nodes; i++)
        insns += g->insns[i];
    same_array(g->forms, insns, h->forms, insns, sizeof *g->forms);
    same_array(g->neutral, insns, h->neutral, insns, sizeof *g->neutral);
    same_array(g->edges, g->n_edges, h->edges, h->n_edges, sizeof *g->edges);
    assert_int_equal(g->n_insns, h->n_insns);
    assert_int_equal(g->n_callees, h->n_callees);
    same_array(x->hash, x->n, y->hash, y->n, sizeof *x->hash);
    same_array(x->kind, x->n, y->kind, y->n, sizeof *x->kind);
    same_array(x->weight, x->n, y->weight, y->n, sizeof *x->weight);
}

/* What the functions of a file are to the model, by data set and by decoding; adds up what there was to compare. */
static void compare_inputs(size_t sums[4], void **state, const char *path)
{
    const struct bk_labelled_file label = {
        .path = path, .project = "p", .version = "1", .compiler = "cc", .level = "?"};
    const struct bk_dataset_options keep_all = {.keep_duplicates = true, .min_insns = 1};
    char *file = temp_path(state, "data");
    struct bk_error err = {0};
    struct bk_dataset_info info;
    struct bk_dataset *d;
    struct bk_image_file *img;
    struct bk_functions *f;
    struct bk_decoder *dec;
    const struct bk_body *body;
    if (bk_dataset_build(&info, file, &label, 1, &keep_all, &err))
        fail_msg("%s: %s", path, err.message);
    assert_int_equal(bk_dataset_open(&d, file, &err), BK_OK);
    struct half_known h = half_known(d);
    struct bk_input_reader *r = bk_input_reader_new(&h.m);
    assert_int_equal(bk_image_file_open(&img, path, &err), BK_OK);
    assert_int_equal(bk_functions_find(&f, &img->images[0], &err), BK_OK);
    assert_int_equal(bk_decoder_new(&dec, f, &err), BK_OK);
    uint32_t next = 0;
    for (size_t i = 0; i < f->n; i++) {
        struct bk_inputs made;
        struct bk_input read;
        size_t known, unknown;
        if (next == d->n || d->v[next].addr != f->v[i].addr)
            continue;
        assert_int_equal(bk_decoder_body(&body, dec, i, &err), BK_OK);
        assert_int_equal(bk_input_read(&read, &known, &unknown, r, &img->images[0], body, &err), BK_OK);
        assert_int_equal(bk_inputs_make(&made, d, &next, 1, &h.m, &err), BK_OK);
        same_input(&made.v[0], &read);
        assert_int_equal(made.n_seen, known + unknown);
        assert_int_equal(made.n_unknown, unknown);
        sums[0] += unknown;
        sums[1] += known;
        sums[2] += read.graph.n_edges;
        sums[3] = read.items.n > sums[3] ? read.items.n : sums[3];
        bk_inputs_done(&made);
        next++;
    }
    assert_int_equal(next, d->n);
    bk_decoder_free(dec);
    bk_functions_free(f);
    bk_image_file_close(img);
    bk_input_reader_free(r);
    half_known_free(&h);
    bk_dataset_close(d);
    free(file);
}

static void test_inputs(void **state)
{
    static const char *const files[] = {"items/sample.amd64.o",     "items/sample.arm64.so",
                                        "items/sample.armhf.pic.o", "items/sample.i386.clang.o",
                                        "items/sample.mips64.so",   "cli/kin-armhf.o"};
    size_t sums[4] = {0};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[512];
        snprintf(path, sizeof path, FIXTURES "/../%s", files[i]);
        compare_inputs(sums, state, path);
    }
    assert_true(sums[0] > 100 && sums[1] > 100 && sums[2] > 20 && sums[3] > 3);
    compare_inputs(sums, state, many_items);
    assert_int_equal(sums[3], BK_MAX_SEEN_ITEMS);
}

int main(int argc, char **argv)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, temp_dir_setup, temp_dir_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_learns),       TEST(test_threads),     TEST(test_resume),
        TEST(test_switches),     TEST(test_refuses),     TEST(test_refuses_with_reason),
        TEST(test_refuses_data), TEST(test_unseen_arch), TEST(test_inputs),
    };
    many_items = argc > 1 ? argv[1] : "many_items.o";
    return cmocka_run_group_tests(tests, NULL, NULL);
}
