/* Data sets of small real objects: labelled.c at two levels, a stripped shared object of it, an archive, and this test itself.
 * argv: object -O0, object -O2, stripped shared object, archive of both objects. */
#include "../base/temp_dir.h"
#include "dataset_int.h"

static struct {
    const char *self, *o0, *o2, *stripped, *archive;
} path;

static struct bk_labelled_file labelled(const char *file, const char *level)
{
    return (struct bk_labelled_file){
        .path = file, .project = "words", .version = "1.0", .compiler = "cc", .level = level};
}

struct heard { /* what the trouble callback was told */
    size_t n;
    struct bk_error first, last;
};

static void hear(void *ctx, const struct bk_error *e)
{
    struct heard *h = ctx;
    if (!h->n++)
        h->first = *e;
    h->last = *e;
}

/* Builds and opens; `info` may be NULL. */
static struct bk_dataset *build(void **state, struct bk_dataset_info *info, const struct bk_labelled_file *files,
                                size_t n, struct bk_dataset_options opt)
{
    char *out = temp_path(state, "data");
    struct bk_dataset_info own;
    struct bk_error err = {0};
    if (bk_dataset_build(info ? info : &own, out, files, n, &opt, &err))
        fail_msg("%s: %s", err.file, err.message);
    struct bk_dataset *d;
    if (bk_dataset_open(&d, out, &err))
        fail_msg("%s: %s", err.file, err.message);
    free(out);
    return d;
}

/* The n-th function of this full name, NULL: there is none. */
static const struct bk_data_func *find(const struct bk_dataset *d, const char *name, size_t nth)
{
    for (size_t i = 0; i < d->n; i++)
        if (!strcmp(d->v[i].name, name) && !nth--)
            return &d->v[i];
    return NULL;
}

static const char *label_of(const struct bk_dataset *d, const struct bk_data_func *f)
{
    return d->labels[f->label].name;
}

static const char *const source_names[] = {"count_words", "twin_one", "twin_two",       "half_of",
                                           "nothing",     "hidden",   "sum_of_squares", "long_one"};
#define N_SOURCE (sizeof source_names / sizeof *source_names)

static void assert_same_info(const struct bk_dataset_info *a, const struct bk_dataset_info *b)
{
    const size_t pairs[][2] = {
        {a->n_files, b->n_files},
        {a->n_failed_files, b->n_failed_files},
        {a->n_functions, b->n_functions},
        {a->n_duplicates, b->n_duplicates},
        {a->n_unnamed, b->n_unnamed},
        {a->n_short, b->n_short},
        {a->n_labels, b->n_labels},
        {a->n_merged, b->n_merged},
        {a->n_shared, b->n_shared},
        {a->n_words, b->n_words},
        {a->n_word_total, b->n_word_total},
        {a->n_partial, b->n_partial},
        {a->bytes_bad, b->bytes_bad},
        {a->has_immediates, b->has_immediates},
        {a->n_immediates, b->n_immediates},
        {a->n_with_immediates, b->n_with_immediates},
        {a->has_graph, b->has_graph},
        {a->n_forms, b->n_forms},
        {a->n_edges, b->n_edges},
        {a->has_items, b->has_items},
        {a->n_items, b->n_items},
        {a->n_with_items, b->n_with_items},
        {a->n_sources, b->n_sources},
        {a->n_with_source, b->n_with_source},
        {a->hash, b->hash},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        assert_int_equal(pairs[i][0], pairs[i][1]);
}

static void every_function_with_its_label(void **state)
{
    struct bk_labelled_file files[] = {labelled(path.o0, "O0"), labelled(path.o2, "O2")};
    struct bk_dataset_info info, read;
    struct bk_dataset *d = build(state, &info, files, 2, (struct bk_dataset_options){0});
    bk_dataset_describe(&read, d);
    assert_same_info(&info, &read);
    assert_int_equal(info.n_files, 2);
    assert_int_equal(info.n_failed_files, 0);
    assert_int_equal(info.n_functions, 2 * N_SOURCE);
    assert_int_equal(info.n_labels, N_SOURCE);
    assert_int_equal(info.n_duplicates + info.n_unnamed + info.n_short, 0);
    assert_int_equal(info.n_merged, 1); /* the alias */
    assert_int_equal(info.n_shared, 4); /* the twins at both levels */
    assert_int_equal(info.bytes_bad, 0);
    for (size_t s = 0; s < N_SOURCE; s++) {
        bool clone = !strcmp(source_names[s], "half_of");
        const struct bk_data_func *a = find(d, clone ? "half_of.constprop.0" : source_names[s], 0),
                                  *b = find(d, clone ? "half_of.constprop.0" : source_names[s], 1);
        if (!strcmp(source_names[s], "count_words") && !a) { /* the shorter name comes first */
            a = find(d, "also_counts_words", 0);
            b = find(d, "also_counts_words", 1);
        }
        assert_non_null(a);
        assert_non_null(b);
        assert_string_equal(label_of(d, a), source_names[s]);
        assert_int_equal(a->label, b->label);
        assert_string_equal(d->files[a->file].level, "O0");
        assert_string_equal(d->files[b->file].level, "O2");
        assert_string_equal(d->files[b->file].path, path.o2);
        assert_true(a->key != b->key);
    }
    assert_string_equal(d->labels[0].project, "words");
    assert_string_equal(d->files[1].version, "1.0");
    assert_string_equal(d->files[1].compiler, "cc");
    assert_null(d->files[1].member);
    for (size_t i = 0; i < d->n; i++)
        assert_null(strstr(d->v[i].name, "cold"));
    bk_dataset_close(d);
}

static void words_and_immediates_are_those_of_the_code(void **state)
{
    struct bk_labelled_file file = labelled(path.o2, "O2");
    struct bk_dataset *d = build(state, NULL, &file, 1, (struct bk_dataset_options){0});
    struct bk_image_file *img;
    struct bk_functions *f;
    struct bk_decoder *dec;
    assert_int_equal(bk_image_file_open(&img, path.o2, NULL), BK_OK);
    assert_int_equal(bk_functions_find(&f, &img->images[0], NULL), BK_OK);
    assert_int_equal(bk_decoder_new(&dec, f, NULL), BK_OK);
    assert_int_equal(d->n, f->n);
    uint64_t total = 0;
    for (size_t i = 0; i < f->n; i++) {
        const struct bk_body *body;
        assert_int_equal(bk_decoder_body(&body, dec, i, NULL), BK_OK);
        const struct bk_data_func *df = &d->v[i];
        assert_int_equal(df->addr, f->v[i].addr);
        assert_int_equal(df->n_blocks, body->n_blocks);
        assert_int_equal(df->n_insns, body->n_insns);
        assert_int_equal(df->n_words, body->n_insns < BK_DATA_MAX_WORDS ? body->n_insns : BK_DATA_MAX_WORDS);
        for (size_t k = 0; k < df->n_words; k++) {
            char word[BK_WORD_MAX];
            bk_word_write(word, body->arch, &body->insns[k]);
            assert_string_equal(bk_strtab_str(d->words, df->words[k]), word);
        }
        size_t at = 0;
        for (size_t k = 0; k < df->n_words; k++) {
            int64_t values[BK_MAX_OPERANDS];
            size_t n = bk_insn_immediates(values, &img->images[0], &body->insns[k]);
            for (size_t v = 0; v < n; v++, at++) {
                assert_true(at < df->n_immediates);
                assert_true(d->immediates[df->immediates[at]] == values[v]);
            }
        }
        assert_int_equal(at, df->n_immediates);
        total += df->n_words;
    }
    assert_true(find(d, "long_one", 0)->n_insns > BK_DATA_MAX_WORDS);
    assert_int_equal(d->info.n_word_total, total);
    assert_int_equal(d->info.n_words, bk_strtab_count(d->words));
    bk_decoder_free(dec);
    bk_functions_free(f);
    bk_image_file_close(img);
    bk_dataset_close(d);
}

static void check_graph(const struct bk_dataset *d, const struct bk_data_func *f, const struct bk_body *body)
{
    for (size_t k = 0; k < f->n_words; k++) {
        char form[BK_FORM_MAX], neutral[BK_FORM_MAX];
        bk_form_write(form, body->arch, &body->insns[k]);
        bk_form_neutral(neutral, form);
        assert_string_equal(bk_strtab_str(d->forms, f->forms[k]), form);
        assert_string_equal(bk_strtab_str(d->neutral_forms, d->neutral[f->forms[k]]), neutral);
    }
    size_t first = 0, edge = 0;
    for (size_t k = 0; k < f->n_kept_blocks; first += f->block_words[k++]) {
        assert_int_equal(body->blocks[k].first, first);
        assert_int_equal(f->block_words[k],
                         body->blocks[k].n < f->n_words - first ? body->blocks[k].n : f->n_words - first);
    }
    assert_int_equal(first, f->n_words); /* so the last block that begins among the words is there */
    for (size_t k = 0; k < body->n_edges; k++) {
        const struct bk_edge *e = &body->edges[k];
        if (e->from >= f->n_kept_blocks || e->to >= f->n_kept_blocks)
            continue;
        assert_true(edge < f->n_edges && f->edges[edge].from == e->from && f->edges[edge].to == e->to &&
                    f->edges[edge].kind == e->kind);
        edge++;
    }
    assert_int_equal(edge, f->n_edges);
    assert_int_equal(f->n_callees, body->n_callees);
}

static void check_items(struct bk_items *items, const struct bk_dataset *d, const struct bk_data_func *f,
                        const struct bk_image *img, const struct bk_body *body)
{
    assert_int_equal(bk_items_read(items, img, body, NULL), BK_OK);
    assert_int_equal(f->n_items, items->n);
    for (size_t k = 0; k < items->n; k++) {
        assert_true(d->items[f->items[k]].hash == items->v[k].hash);
        assert_int_equal(d->items[f->items[k]].kind, items->v[k].kind);
    }
}

/* This program, whose functions call each other; callers are counted here from every function's own list. */
static void graphs_and_items_are_those_of_the_code(void **state)
{
    struct bk_labelled_file file = labelled(path.self, "?");
    struct bk_dataset *d = build(state, NULL, &file, 1, (struct bk_dataset_options){0});
    struct bk_image_file *img;
    struct bk_functions *f;
    struct bk_decoder *dec;
    const struct bk_body *body;
    struct bk_items items = {0};
    assert_int_equal(bk_image_file_open(&img, path.self, NULL), BK_OK);
    assert_int_equal(bk_functions_find(&f, &img->images[0], NULL), BK_OK);
    assert_int_equal(bk_decoder_new(&dec, f, NULL), BK_OK);
    size_t *callers = calloc(f->n, sizeof *callers), next = 0, called = 0, edges = 0, branches = 0;
    for (size_t i = 0; i < f->n; i++) {
        assert_int_equal(bk_decoder_body(&body, dec, i, NULL), BK_OK);
        for (size_t k = 0; k < body->n_callees; k++)
            for (size_t to = 0; to < f->n; to++)
                callers[to] += f->v[to].addr == body->callees[k];
    }
    assert_true(d->has_graph);
    for (size_t i = 0; i < f->n; i++) {
        if (next == d->n || d->v[next].addr != f->v[i].addr)
            continue;
        const struct bk_data_func *df = &d->v[next++];
        assert_int_equal(bk_decoder_body(&body, dec, i, NULL), BK_OK);
        check_graph(d, df, body);
        check_items(&items, d, df, &img->images[0], body);
        assert_int_equal(df->n_callers, callers[i]);
        called += df->n_callers > 1;
        edges += df->n_edges;
        for (size_t k = 0; k < df->n_edges; k++)
            branches += df->edges[k].kind == BK_EDGE_TAKEN;
    }
    assert_int_equal(next, d->n);
    assert_int_equal(edges, d->info.n_edges);
    assert_true(called > 10 && branches > 100);
    bk_items_done(&items);
    free(callers);
    bk_decoder_free(dec);
    bk_functions_free(f);
    bk_image_file_close(img);
    bk_dataset_close(d);
}

/* What makes callers and callees: tests/fixtures/train/calls.s. */
static void calls_are_counted(void **state)
{
    static const struct {
        const char *name;
        uint32_t n_callees, n_callers;
    } expected[] = {{"callee", 0, 3}, {"caller", 3, 1}, {"tail", 2, 0}};
    struct bk_labelled_file file = labelled(FIXTURES "/calls.o", "?");
    struct bk_dataset_info info;
    struct bk_dataset *d = build(state, &info, &file, 1, (struct bk_dataset_options){0});
    assert_int_equal(info.n_unnamed, 1); /* calls too */
    assert_int_equal(d->n, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(d->v[i].name, expected[i].name);
        assert_int_equal(d->v[i].n_callees, expected[i].n_callees);
        assert_int_equal(d->v[i].n_callers, expected[i].n_callers);
    }
    bk_dataset_close(d);
}

static void forms_are_numbered(void **state)
{
    struct bk_labelled_file files[] = {labelled(path.o0, "O0"), labelled(path.archive, "?")};
    struct bk_dataset *d = build(state, NULL, files, 2, (struct bk_dataset_options){0});
    size_t next = 0;
    bool cut = false;
    for (size_t i = 0; i < d->n; i++) {
        const struct bk_data_func *f = &d->v[i];
        cut |= f->n_words < f->n_insns;
        for (size_t k = 0; k < f->n_words; k++) { /* numbered as they are first used, and all are */
            assert_true(f->forms[k] <= next);
            next += f->forms[k] == next;
        }
    }
    assert_true(cut);
    assert_int_equal(next, d->info.n_forms);
    assert_int_equal(next, bk_strtab_count(d->forms));
    assert_true(bk_strtab_count(d->neutral_forms) > 5 && bk_strtab_count(d->neutral_forms) < next);
    bk_dataset_close(d);
}

static void immediates_are_numbered(void **state)
{
    struct bk_labelled_file files[] = {labelled(path.o0, "O0"), labelled(path.archive, "?")};
    struct bk_dataset *d = build(state, NULL, files, 2, (struct bk_dataset_options){0});
    size_t next = 0, with = 0;
    assert_true(d->has_immediates && d->n_immediates > 3);
    for (size_t i = 0; i < d->n; i++) {
        with += d->v[i].n_immediates > 0;
        for (size_t k = 0; k < d->v[i].n_immediates; k++) { /* numbered as they are first used, and all are */
            assert_true(d->v[i].immediates[k] <= next);
            next += d->v[i].immediates[k] == next;
        }
    }
    assert_int_equal(next, d->n_immediates);
    assert_int_equal(with, d->info.n_with_immediates);
    for (size_t i = 0; i < d->n_immediates; i++)
        for (size_t k = 0; k < i; k++)
            assert_true(d->immediates[i] != d->immediates[k]);
    bk_dataset_close(d);
}

static void items_are_numbered(void **state)
{
    struct bk_labelled_file files[] = {labelled(path.self, "?"), labelled(path.archive, "?")};
    struct bk_dataset *d = build(state, NULL, files, 2, (struct bk_dataset_options){0});
    size_t next = 0, with = 0, of_kind[BK_ITEM_KINDS] = {0};
    for (size_t i = 0; i < d->n; i++) {
        with += d->v[i].n_items > 0;
        for (size_t k = 0; k < d->v[i].n_items; k++) { /* numbered as they are first used, and all are */
            assert_true(d->v[i].items[k] <= next);
            next += d->v[i].items[k] == next;
            of_kind[d->items[d->v[i].items[k]].kind]++;
        }
    }
    assert_int_equal(next, d->n_items);
    assert_int_equal(with, d->info.n_with_items);
    for (size_t i = 0; i < BK_ITEM_KINDS; i++)
        assert_true(of_kind[i] > 10);
    for (size_t i = 0; i < d->n_items; i++)
        for (size_t k = 0; k < i; k++)
            assert_true(d->items[i].hash != d->items[k].hash);
    bk_dataset_close(d);
}

static uint64_t constant_hash(uint64_t x)
{
    uint8_t bytes[8] = {(uint8_t)x, (uint8_t)(x >> 8)};
    return bk_hash64(bytes, sizeof bytes) + BK_ITEM_IMMEDIATE * BK_ITEM_SALT;
}

/* tests/fixtures/train/items.s: 1,200 constants from 2 on, none, and the last and the first of them. */
static void many_items_are_cut(void **state)
{
    struct bk_labelled_file file = labelled(FIXTURES "/items.o", "?");
    struct bk_dataset *d = build(state, NULL, &file, 1, (struct bk_dataset_options){0});
    assert_int_equal(d->n, 3);
    assert_int_equal(d->n_items, BK_DATA_MAX_ITEMS + 1);
    assert_int_equal(d->v[0].n_items, BK_DATA_MAX_ITEMS);
    for (uint32_t i = 0; i < BK_DATA_MAX_ITEMS; i++) {
        assert_int_equal(d->v[0].items[i], i);
        assert_true(d->items[i].hash == constant_hash(i + 2) && d->items[i].kind == BK_ITEM_IMMEDIATE);
    }
    assert_int_equal(d->v[1].n_items, 0);
    assert_int_equal(d->v[2].n_items, 2);
    assert_int_equal(d->v[2].items[0], BK_DATA_MAX_ITEMS);
    assert_true(d->items[BK_DATA_MAX_ITEMS].hash == constant_hash(1201));
    assert_int_equal(d->v[2].items[1], 0);
    bk_dataset_close(d);
}

/* The source file of the label that this function has. */
static const char *source_of(const struct bk_dataset *d, const char *name)
{
    const struct bk_data_func *f = find(d, name, 0);
    assert_non_null(f);
    return d->labels[f->label].source;
}

/* Objects have one; a linked program only for local symbols. */
static void source_files_are_known(void **state)
{
    struct bk_labelled_file files[] = {labelled(path.o0, "O0"), labelled(path.archive, "O2"), labelled(path.self, "?")};
    files[2].project = "tests";
    struct bk_dataset_info info;
    struct bk_dataset *d = build(state, &info, files, 2, (struct bk_dataset_options){0});
    for (size_t i = 0; i < d->n_labels; i++) {
        assert_string_equal(d->labels[i].source, "labelled");
        assert_true(d->labels[i].source_key == d->labels[0].source_key && d->labels[i].key != d->labels[0].source_key);
    }
    assert_int_equal(info.n_sources, 1);
    assert_int_equal(info.n_with_source, info.n_labels);
    bk_dataset_close(d);
    files[1].project = "other";
    d = build(state, &info, files, 3, (struct bk_dataset_options){0});
    assert_string_equal(source_of(d, "shares_add_up"), "test_dataset");
    assert_null(source_of(d, "main"));
    const struct bk_data_label *m = &d->labels[find(d, "main", 0)->label];
    assert_true(m->source_key == m->key);
    assert_true(d->labels[find(d, "nothing", 0)->label].source_key !=
                d->labels[find(d, "nothing", 2)->label].source_key); /* projects apart */
    assert_true(info.n_sources >= 3 && info.n_with_source < info.n_labels);
    bk_dataset_close(d);
}

/* The object -O0 with another text in the place of its source file's name, `symbol`, as `name`. */
static void source_is(void **state, const char *symbol, const char *name, const char *expected)
{
    size_t size;
    char *out = temp_path(state, name);
    uint8_t *object = read_file(path.o0, &size), *at = memmem(object, size, "labelled.c", 11);
    assert_non_null(at);
    memset(at, 0, 10);
    memcpy(at, symbol, strlen(symbol));
    write_file(out, object, size);
    struct bk_labelled_file file = labelled(out, "O0");
    struct bk_dataset *d = build(state, NULL, &file, 1, (struct bk_dataset_options){0});
    const char *source = d->labels[0].source;
    if (expected)
        assert_string_equal(source, expected);
    else
        assert_null(source);
    bk_dataset_close(d);
    free(object);
    free(out);
}

/* What makes two names of one file: the symbol, the member, folders, endings, prefixes of automake. */
static void source_files_are_spelled_one_way(void **state)
{
    source_is(state, "bar.c", "x.o", "bar");
    source_is(state, "a/bar.cc", "x.o", "bar");
    source_is(state, "", "bar.o", "bar");
    source_is(state, "", "bar.pic.lo", "bar");
    source_is(state, "", "libfoo_la-bar.o", "bar");
    source_is(state, "", "libfoo-lib-bar.x-y.o", "bar");
    source_is(state, "foo-bar.c", "x.o", "bar");
    source_is(state, "", "bar-.o", "bar-");
    source_is(state, "<art>", "bar.o", NULL);
    source_is(state, "", ".o", NULL);
}

static void wrong_labels_are_refused(void **state)
{
    struct bk_labelled_file files[] = {labelled(path.o0, "O0"), labelled(path.archive, "O2"), labelled(path.o2, "O2")};
    struct bk_dataset_info info;
    struct heard heard = {0};
    struct bk_dataset_options opt = {.trouble = hear, .trouble_ctx = &heard};
    files[0].arch = "mips64el";
    files[1].arch = "vax";
    struct bk_dataset *d = build(state, &info, files, 3, opt);
    const char *own = bk_arch_name(bk_data_arch(d, 0));
    assert_int_equal(info.n_failed_files, 2);
    assert_int_equal(info.n_functions, N_SOURCE);
    assert_int_equal(heard.n, 2);
    assert_int_equal(heard.first.code, BK_EMISMATCH);
    assert_string_equal(heard.first.file, path.o0);
    assert_non_null(strstr(heard.first.message, "label says mips64el"));
    assert_non_null(strstr(heard.last.file, "labelled.a(")); /* the member */
    bk_dataset_close(d);
    files[0].arch = files[1].arch = own;
    files[1].sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    heard = (struct heard){0};
    d = build(state, &info, files, 3, opt);
    assert_int_equal(info.n_failed_files, 1);
    assert_string_equal(heard.first.file, path.archive);
    assert_non_null(strstr(heard.first.message, "SHA-256"));
    bk_dataset_close(d);
}

static void shares_add_up(void **state)
{
    struct bk_labelled_file files[] = {labelled(path.o2, "O2"), labelled(path.o0, "O0"), labelled(path.o2, "O2")};
    files[2].project = "a";
    struct bk_dataset *d = build(state, NULL, files, 3, (struct bk_dataset_options){0});
    struct bk_dataset_share *v;
    size_t n;
    assert_int_equal(bk_dataset_shares(&v, &n, d, BK_DATASET_LEVEL, NULL), BK_OK);
    assert_int_equal(n, 2);
    assert_true(!strcmp(v[0].value, "O0") && v[0].n_functions == N_SOURCE && v[0].n_labels == N_SOURCE);
    assert_true(!strcmp(v[1].value, "O2") && v[1].n_functions == 2 * N_SOURCE && v[1].n_labels == 2 * N_SOURCE);
    free(v);
    assert_int_equal(bk_dataset_shares(&v, &n, d, BK_DATASET_PROJECT, NULL), BK_OK);
    assert_int_equal(n, 2);
    assert_true(!strcmp(v[0].value, "a") && v[0].n_functions == N_SOURCE && v[0].n_labels == N_SOURCE);
    assert_true(!strcmp(v[1].value, "words") && v[1].n_functions == 2 * N_SOURCE && v[1].n_labels == N_SOURCE);
    free(v);
    assert_int_equal(bk_dataset_shares(&v, &n, d, BK_DATASET_COMPILER, NULL), BK_OK);
    assert_true(n == 1 && !strcmp(v[0].value, "cc") && v[0].n_functions == d->n);
    free(v);
    assert_int_equal(bk_dataset_shares(&v, &n, d, BK_DATASET_ARCH, NULL), BK_OK);
    assert_true(n == 1 && !strcmp(v[0].value, bk_arch_name(d->files[0].arch)));
    free(v);
    bk_dataset_close(d);
}

/* Files that older versions wrote of three.c beside them (gcc 12 -O1). */
static void format_1_1_is_read(void **state)
{
    (void)state;
    struct bk_dataset *d;
    struct bk_dataset_info info;
    assert_int_equal(bk_dataset_open(&d, FIXTURES "/format-1.1.data", NULL), BK_OK);
    bk_dataset_describe(&info, d);
    assert_int_equal(d->n, 3);
    assert_int_equal(d->n_immediates, 5);
    assert_true(d->has_immediates && info.has_immediates && info.n_with_source == 3);
    assert_true(!d->has_graph && !info.has_graph && info.n_forms == 0 && !d->forms && !d->neutral);
    assert_true(!d->has_items && !info.has_items && d->n_items == 0 && d->v[0].n_items == 0 && !d->items);
    for (size_t i = 0; i < d->n; i++)
        assert_true(!d->v[i].forms && d->v[i].n_kept_blocks == 0 && d->v[i].n_edges == 0 && d->v[i].n_callers == 0);
    bk_dataset_close(d);
}

static void format_1_0_is_read(void **state)
{
    (void)state;
    struct bk_dataset *d;
    struct bk_dataset_info info;
    assert_int_equal(bk_dataset_open(&d, FIXTURES "/format-1.0.data", NULL), BK_OK);
    bk_dataset_describe(&info, d);
    assert_int_equal(d->n, 3);
    assert_string_equal(label_of(d, &d->v[1]), "three");
    assert_string_equal(bk_strtab_str(d->words, d->v[1].words[0]), "X_imul_eax,edi,0x3e8");
    assert_true(!d->has_immediates && !info.has_immediates && d->n_immediates == 0 && info.n_with_source == 0);
    for (size_t i = 0; i < d->n; i++) {
        const struct bk_data_label *l = &d->labels[d->v[i].label];
        assert_true(d->v[i].n_immediates == 0 && !l->source && l->source_key == l->key);
    }
    bk_dataset_close(d);
}

static void duplicates_are_kept_once(void **state)
{
    struct bk_labelled_file files[] = {labelled(path.o2, "O2"), labelled(path.o2, "O2"), labelled(path.o0, "O0")};
    files[1].version = "1.1";
    struct bk_dataset_info info;
    struct bk_dataset *d = build(state, &info, files, 3, (struct bk_dataset_options){0});
    assert_int_equal(info.n_functions, 2 * N_SOURCE);
    assert_int_equal(info.n_duplicates, N_SOURCE);
    for (size_t i = 0; i < d->n; i++)
        assert_string_equal(d->files[d->v[i].file].version, "1.0"); /* the first stays */
    bk_dataset_close(d);
    d = build(state, &info, files, 3, (struct bk_dataset_options){.keep_duplicates = true});
    assert_int_equal(info.n_functions, 3 * N_SOURCE);
    assert_int_equal(info.n_duplicates, 0);
    assert_true(find(d, "nothing", 0)->key == find(d, "nothing", 1)->key); /* one binary function */
    bk_dataset_close(d);
    files[1].project = "other"; /* another project's function is another function */
    d = build(state, &info, files, 3, (struct bk_dataset_options){0});
    assert_int_equal(info.n_functions, 3 * N_SOURCE);
    assert_int_equal(info.n_labels, 2 * N_SOURCE);
    assert_int_equal(info.n_merged, 2);
    assert_int_equal(info.n_shared, 2 * N_SOURCE + 2);
    bk_dataset_close(d);
}

static void short_and_unnamed_are_counted(void **state)
{
    struct bk_labelled_file files[] = {labelled(path.stripped, "O2"), labelled(path.o0, "O0")};
    struct bk_dataset_info info;
    struct bk_dataset *d = build(state, &info, files, 2, (struct bk_dataset_options){.min_insns = 30});
    assert_true(info.n_unnamed > 0); /* hidden() at least */
    assert_non_null(find(d, "long_one", 0));
    assert_null(find(d, "nothing", 0));
    assert_true(info.n_short >= 8);
    for (size_t i = 0; i < d->n; i++)
        assert_true(d->v[i].n_insns >= 30 && d->v[i].name[0]);
    bk_dataset_close(d);
}

static void archives_give_their_members(void **state)
{
    struct bk_labelled_file file = labelled(path.archive, "mixed");
    struct bk_dataset_info info;
    struct bk_dataset *d = build(state, &info, &file, 1, (struct bk_dataset_options){0});
    assert_int_equal(info.n_functions, 2 * N_SOURCE);
    assert_int_equal(d->n_files, 2);
    assert_non_null(d->files[0].member);
    assert_true(strcmp(d->files[0].member, d->files[1].member) != 0);
    assert_true(d->files[0].hash == d->files[1].hash);
    for (size_t i = 0; i < d->n; i++) /* members share addresses, functions still differ */
        for (size_t j = 0; j < i; j++)
            assert_true(d->v[i].key != d->v[j].key);
    bk_dataset_close(d);
}

static void same_bytes_for_any_threads(void **state)
{
    struct bk_labelled_file files[] = {labelled(path.self, "?"), labelled(path.o0, "O0"), labelled(path.archive, "?")};
    char *out = temp_path(state, "data");
    uint8_t *first = NULL;
    size_t first_size = 0;
    for (unsigned threads = 1; threads <= 4; threads++) {
        struct bk_dataset_info info;
        struct bk_dataset_options opt = {.threads = threads};
        assert_int_equal(bk_dataset_build(&info, out, files, 3, &opt, NULL), BK_OK);
        assert_int_equal(info.n_failed_files, 0);
        assert_true(info.n_functions > 100 && info.n_forms > 50 && info.n_edges > 500 && info.n_items > 500);
        size_t size;
        uint8_t *bytes = read_file(out, &size);
        if (first) {
            assert_int_equal(size, first_size);
            assert_memory_equal(bytes, first, size);
            free(bytes);
        } else {
            first = bytes;
            first_size = size;
        }
    }
    free(first);
    free(out);
}

static void a_bad_file_does_not_stop_the_rest(void **state)
{
    char *text = temp_path(state, "text"), *cut = temp_path(state, "cut"), *missing = temp_path(state, "missing");
    write_file(text, "int main;\n", 10);
    size_t size;
    uint8_t *object = read_file(path.o0, &size);
    write_file(cut, object, 48);
    free(object);
    struct bk_labelled_file files[] = {labelled(missing, "O0"), labelled(path.o0, "O0"), labelled(text, "O0"),
                                       labelled(cut, "O0")};
    struct heard heard = {0};
    struct bk_dataset_info info;
    struct bk_dataset_options opt = {.trouble = hear, .trouble_ctx = &heard};
    struct bk_dataset *d = build(state, &info, files, 4, opt);
    assert_int_equal(info.n_failed_files, 3);
    assert_int_equal(info.n_functions, N_SOURCE);
    assert_int_equal(heard.n, 3);
    assert_int_equal(heard.first.code, BK_EIO);
    assert_string_equal(heard.first.file, missing);
    assert_string_equal(heard.last.file, cut);
    assert_true(heard.last.message[0] != 0);
    bk_dataset_close(d);

    char *out = temp_path(state, "none");
    files[1].path = text;
    struct bk_error err;
    assert_int_equal(bk_dataset_build(&info, out, files, 4, &opt, &err), BK_ENOTFOUND);
    assert_non_null(strstr(err.message, "4 of 4 files failed"));
    assert_int_equal(access(out, F_OK), -1);
    files[1].project = NULL;
    assert_int_equal(bk_dataset_build(&info, out, files, 4, &opt, &err), BK_EINVAL);
    free(out);
    free(text);
    free(cut);
    free(missing);
}

/* ---- the reader ---------------------------------------------------------- */

static const char *const entries[] = {
    "info",    "words",      "strings",       "files",      "labels",   "functions",   "ids",   "immediate_counts",
    "sources", "immediates", "immediate_ids", "forms",      "form_ids", "block_words", "edges", "edge_counts",
    "degrees", "items",      "item_ids",      "item_counts"};
#define N_ENTRIES 20

/* Bytes of the entries of a good file; written back with one of them changed. */
struct parts {
    uint8_t *v[N_ENTRIES];
    size_t n[N_ENTRIES];
};

static struct parts take_apart(void **state)
{
    struct bk_labelled_file files[] = {labelled(path.o0, "O0"), labelled(path.archive, "O2")};
    char *out = temp_path(state, "good");
    struct bk_dataset_info info;
    assert_int_equal(bk_dataset_build(&info, out, files, 2, NULL, NULL), BK_OK);
    struct bk_pack *p;
    assert_int_equal(bk_pack_open(&p, out, "data", BK_DATA_MAJOR, NULL), BK_OK);
    struct parts parts;
    for (size_t i = 0; i < N_ENTRIES; i++) {
        struct bk_cursor c;
        assert_int_equal(bk_pack_entry(&c, p, entries[i], NULL), BK_OK);
        parts.v[i] = malloc(c.size + 64);
        parts.n[i] = c.size;
        memcpy(parts.v[i], c.data, c.size);
    }
    bk_pack_close(p);
    free(out);
    return parts;
}

static void parts_free(struct parts *p)
{
    for (size_t i = 0; i < N_ENTRIES; i++)
        free(p->v[i]);
}

static void set_u32(uint8_t *at, uint32_t x)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(x >> (8 * i));
}

static uint32_t get_u32(const uint8_t *at)
{
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static void set_u64(uint8_t *at, uint64_t x)
{
    set_u32(at, (uint32_t)x);
    set_u32(at + 4, (uint32_t)(x >> 32));
}

#define HEADER 40
#define ENTRY  56

/* These parts as a file, put together as doc/format.md says; `without` of them left out (N_ENTRIES: none). free() it. */
static uint8_t *put_together(size_t *size, const struct parts *p, size_t without)
{
    size_t n = 0, end = (HEADER + N_ENTRIES * ENTRY + 63) / 64 * 64, room = end;
    for (size_t i = 0; i < N_ENTRIES; i++)
        room += p->n[i] + 64;
    uint8_t *file = calloc(1, room);
    memcpy(file, "BINKIN\r\ndata\1\0\0\0", 16);
    for (size_t i = 0; i < N_ENTRIES; i++) {
        if (i == without)
            continue;
        uint8_t *entry = file + HEADER + n++ * ENTRY;
        end = (end + 63) / 64 * 64;
        memcpy(file + end, p->v[i], p->n[i]);
        memcpy(entry, entries[i], strlen(entries[i]));
        set_u64(entry + 32, end);
        set_u64(entry + 40, p->n[i]);
        set_u64(entry + 48, bk_hash64(p->v[i], p->n[i]));
        end += p->n[i];
    }
    set_u32(file + 16, (uint32_t)n);
    set_u64(file + 24, end);
    set_u64(file + 32, bk_hash64(file, HEADER + n * ENTRY));
    *size = end;
    return file;
}

static int open_parts(const struct parts *p, size_t without)
{
    size_t size;
    uint8_t *file = put_together(&size, p, without);
    struct bk_dataset *d;
    int rc = bk_dataset_open_bytes(&d, file, size, NULL);
    bk_dataset_close(d);
    free(file);
    return rc;
}

enum {
    INFO,
    WORDS,
    STRINGS,
    FILES,
    LABELS,
    FUNCTIONS,
    IDS,
    COUNTS,
    SOURCES,
    IMMEDIATES,
    IMMEDIATE_IDS,
    FORMS,
    FORM_IDS,
    BLOCK_WORDS,
    EDGES,
    EDGE_COUNTS,
    DEGREES,
    ITEMS,
    ITEM_IDS,
    ITEM_COUNTS
};

static void wrong_sizes_are_refused(void **state)
{
    struct parts p = take_apart(state);
    assert_int_equal(open_parts(&p, N_ENTRIES), BK_OK);
    for (size_t i = 0; i < N_ENTRIES; i++) {
        bool newer = i == SOURCES || i == IMMEDIATES || i == FORMS || i == ITEMS; /* than 1.0 or 1.1 */
        assert_int_equal(open_parts(&p, i), newer ? BK_OK : BK_EFORMAT);
        const size_t cuts[] = {1, 4, 8, 32, 40, p.n[i]};
        size_t whole = p.n[i];
        for (size_t c = 0; c < sizeof cuts / sizeof *cuts; c++) {
            p.n[i] = whole > cuts[c] ? whole - cuts[c] : 0;
            assert_int_equal(open_parts(&p, N_ENTRIES), BK_EFORMAT);
        }
        memset(p.v[i] + whole, 0, 64);
        for (size_t more = 1; more <= 64 && i != INFO && i != FILES && i != STRINGS; more *= 4) {
            p.n[i] = whole + more;
            assert_int_equal(open_parts(&p, N_ENTRIES), BK_EFORMAT);
        }
        p.n[i] = whole;
    }
    parts_free(&p);
}

/* Numbers that point elsewhere. X(entry, row size, position in the row): out of range there must be refused. */
static void wrong_numbers_are_refused(void **state)
{
    static const struct {
        int entry;
        size_t row, at;
    } fields[] = {{FILES, 40, 0},      {FILES, 40, 8},        {FILES, 40, 12},    {FILES, 40, 16},
                  {FILES, 40, 20},     {FILES, 40, 24},       {LABELS, 8, 0},     {LABELS, 8, 4},
                  {FUNCTIONS, 32, 0},  {FUNCTIONS, 32, 4},    {FUNCTIONS, 32, 8}, {FUNCTIONS, 32, 20},
                  {FUNCTIONS, 32, 16}, {IDS, 4, 0},           {INFO, 4, 24},      {INFO, 4, 28},
                  {COUNTS, 4, 0},      {IMMEDIATE_IDS, 4, 0}, {FORM_IDS, 4, 0},   {BLOCK_WORDS, 4, 0},
                  {EDGES, 4, 0},       {EDGE_COUNTS, 4, 0},   {ITEM_IDS, 4, 0},   {ITEM_COUNTS, 4, 0}};
    struct parts p = take_apart(state);
    for (size_t f = 0; f < sizeof fields / sizeof *fields; f++) {
        int e = fields[f].entry;
        size_t rows = e == INFO ? 1 : p.n[e] / fields[f].row, step = rows > 12 ? rows / 12 : 1;
        for (size_t row = 0; row < rows; row += step) {
            uint8_t *at = p.v[e] + row * fields[f].row + fields[f].at;
            uint32_t good = get_u32(at);
            static const uint32_t values[] = {0xffffffff, 0x7fffffff, 0x10000000};
            for (size_t v = 0; v < 3; v++) {
                set_u32(at, values[v]);
                int rc = open_parts(&p, N_ENTRIES);
                /* n_insns may be anything from n_words up */
                bool free_field = e == FUNCTIONS && fields[f].at == 16;
                assert_int_equal(rc, free_field ? BK_OK : BK_EFORMAT);
            }
            if (e == FUNCTIONS && fields[f].at >= 16) { /* words: none; fewer instructions than words */
                set_u32(at, 0);
                assert_int_equal(open_parts(&p, N_ENTRIES), BK_EFORMAT);
            }
            set_u32(at, good);
        }
    }
    parts_free(&p);
}

static void wrong_immediates_are_refused(void **state)
{
    struct parts p = take_apart(state);
    uint8_t *source = p.v[SOURCES];
    uint32_t good = get_u32(source);
    set_u32(source, 0x7fffffff);
    assert_int_equal(open_parts(&p, N_ENTRIES), BK_EFORMAT);
    set_u32(source, 0xffffffff); /* not known */
    assert_int_equal(open_parts(&p, N_ENTRIES), BK_OK);
    set_u32(source, good);
    memcpy(p.v[IMMEDIATES], p.v[IMMEDIATES] + 8, 8); /* a value twice */
    assert_int_equal(open_parts(&p, N_ENTRIES), BK_EFORMAT);
    parts_free(&p);
    p = take_apart(state);
    set_u32(p.v[COUNTS], get_u32(p.v[COUNTS]) - 1); /* one number too many */
    assert_int_equal(open_parts(&p, N_ENTRIES), BK_EFORMAT);
    parts_free(&p);
}

static void wrong_items_are_refused(void **state)
{
    struct parts p = take_apart(state);
    assert_true(get_u32(p.v[ITEM_COUNTS]) > 1 && p.n[ITEMS] > 18);
    uint8_t good[9];
    memcpy(good, p.v[ITEMS], 9);
    p.v[ITEMS][0] ^= 1; /* another hash is another item */
    assert_int_equal(open_parts(&p, N_ENTRIES), BK_OK);
    p.v[ITEMS][8] = BK_ITEM_KINDS;
    assert_int_equal(open_parts(&p, N_ENTRIES), BK_EFORMAT);
    memcpy(p.v[ITEMS], p.v[ITEMS] + 9, 8); /* a hash twice, of whatever kind */
    p.v[ITEMS][8] = (uint8_t)(p.v[ITEMS][17] ^ 1);
    assert_int_equal(open_parts(&p, N_ENTRIES), BK_EFORMAT);
    memcpy(p.v[ITEMS], good, 9);
    set_u32(p.v[ITEM_IDS], get_u32(p.v[ITEM_IDS] + 4)); /* a function has an item twice */
    assert_int_equal(open_parts(&p, N_ENTRIES), BK_EFORMAT);
    set_u32(p.v[ITEM_IDS], 0);
    set_u32(p.v[ITEM_COUNTS], get_u32(p.v[ITEM_COUNTS]) - 1); /* one number too many */
    assert_int_equal(open_parts(&p, N_ENTRIES), BK_EFORMAT);
    parts_free(&p);
}

/* The first function with `n` items of its own. */
static int open_with_items(void **state, uint32_t n)
{
    struct parts p = take_apart(state), changed = p;
    uint32_t n_functions = (uint32_t)(p.n[ITEM_COUNTS] / 4);
    changed.v[ITEMS] = calloc(n, 9);
    changed.v[ITEM_IDS] = calloc(n, 4);
    changed.v[ITEM_COUNTS] = calloc(n_functions, 4);
    changed.n[ITEMS] = 9 * n;
    changed.n[ITEM_IDS] = 4 * n;
    set_u32(changed.v[ITEM_COUNTS], n);
    for (uint32_t i = 0; i < n; i++) {
        set_u32(changed.v[ITEMS] + 9 * i, i);
        set_u32(changed.v[ITEM_IDS] + 4 * i, i);
    }
    int rc = open_parts(&changed, N_ENTRIES);
    free(changed.v[ITEMS]);
    free(changed.v[ITEM_IDS]);
    free(changed.v[ITEM_COUNTS]);
    parts_free(&p);
    return rc;
}

static void a_function_has_a_thousand_items_at_most(void **state)
{
    assert_int_equal(open_with_items(state, BK_DATA_MAX_ITEMS), BK_OK);
    assert_int_equal(open_with_items(state, BK_DATA_MAX_ITEMS + 1), BK_EFORMAT);
}

static void set_u16(uint8_t *at, uint32_t x)
{
    at[0] = (uint8_t)x;
    at[1] = (uint8_t)(x >> 8);
}

static uint32_t get_u16(const uint8_t *at)
{
    return at[0] | (uint32_t)at[1] << 8;
}

/* A u16 of an entry changed for one opening. */
static int open_with_u16(struct parts *p, int entry, size_t at, uint32_t x)
{
    uint32_t good = get_u16(p->v[entry] + at);
    set_u16(p->v[entry] + at, x);
    int rc = open_parts(p, N_ENTRIES);
    set_u16(p->v[entry] + at, good);
    return rc;
}

/* Words that move between blocks, of the first two blocks of the first function with two. */
static void wrong_blocks_are_refused(void **state)
{
    struct parts p = take_apart(state);
    const uint8_t *row = p.v[FUNCTIONS];
    uint8_t *v = p.v[BLOCK_WORDS];
    for (; get_u16(v) == get_u32(row + 20); row += 32)
        v += 2;
    uint32_t first = get_u16(v), second = get_u16(v + 2);
    set_u16(v, first + 1);
    assert_int_equal(open_parts(&p, N_ENTRIES), BK_EFORMAT); /* too many words */
    set_u16(v, first - 1);
    assert_int_equal(open_parts(&p, N_ENTRIES), BK_EFORMAT);
    set_u16(v + 2, second + 1); /* the same number in all */
    assert_int_equal(open_parts(&p, N_ENTRIES), first > 1 ? BK_OK : BK_EFORMAT);
    set_u16(v, 0); /* all of them in the second */
    set_u16(v + 2, first + second);
    assert_int_equal(open_parts(&p, N_ENTRIES), BK_EFORMAT);
    set_u16(v, first + second); /* one block with the words of two */
    memmove(v + 2, v + 4, p.n[BLOCK_WORDS] - (size_t)(v + 4 - p.v[BLOCK_WORDS]));
    p.n[BLOCK_WORDS] -= 2;
    assert_int_equal(open_parts(&p, N_ENTRIES), BK_EFORMAT);
    parts_free(&p);
}

/* A function has as many blocks as it says, unless some are not kept. */
static void wrong_numbers_of_blocks_are_refused(void **state)
{
    struct parts p = take_apart(state);
    size_t n_cut = 0;
    for (uint8_t *row = p.v[FUNCTIONS]; row < p.v[FUNCTIONS] + p.n[FUNCTIONS]; row += 32) {
        bool cut = get_u32(row + 16) > get_u32(row + 20);
        uint32_t n = get_u32(row + 12);
        n_cut += cut;
        set_u32(row + 12, n + 1);
        assert_int_equal(open_parts(&p, N_ENTRIES), cut ? BK_OK : BK_EFORMAT);
        set_u32(row + 12, 0);
        assert_int_equal(open_parts(&p, N_ENTRIES), BK_EFORMAT);
        set_u32(row + 12, n);
    }
    assert_true(n_cut > 0);
    parts_free(&p);
}

static void wrong_edges_are_refused(void **state)
{
    struct parts p = take_apart(state);
    uint8_t *v = p.v[EDGES];
    size_t function = 0, blocks = 0; /* the first function with edges: its number of blocks */
    for (; get_u32(p.v[EDGE_COUNTS] + 4 * function) < 2; function++)
        ;
    blocks = get_u32(p.v[FUNCTIONS] + 32 * function + 12);
    uint32_t from = get_u16(v) & 0xfff, kind = get_u16(v) >> 12;
    assert_int_equal(open_with_u16(&p, EDGES, 0, from | (kind ^ 1) << 12), BK_OK);
    assert_int_equal(open_with_u16(&p, EDGES, 0, from | BK_EDGE_KINDS << 12), BK_EFORMAT);
    size_t last = 4 * (get_u32(p.v[EDGE_COUNTS] + 4 * function) - 1); /* so that it is in its order */
    assert_int_equal(open_with_u16(&p, EDGES, last, (uint32_t)blocks - 1), BK_OK);
    assert_int_equal(open_with_u16(&p, EDGES, last, (uint32_t)blocks), BK_EFORMAT);
    assert_int_equal(open_with_u16(&p, EDGES, 2, (uint32_t)blocks), BK_EFORMAT);
    uint8_t edge[4];
    memcpy(edge, v, 4);
    memcpy(v, v + 4, 4); /* twice */
    assert_int_equal(open_parts(&p, N_ENTRIES), BK_EFORMAT);
    memcpy(v + 4, edge, 4); /* in the wrong order */
    assert_int_equal(open_parts(&p, N_ENTRIES), BK_EFORMAT);
    memcpy(v, edge, 4);
    parts_free(&p);
    p = take_apart(state);
    set_u32(p.v[EDGE_COUNTS] + 4 * function, get_u32(p.v[EDGE_COUNTS] + 4 * function) - 1); /* one left over */
    assert_int_equal(open_parts(&p, N_ENTRIES), BK_EFORMAT);
    parts_free(&p);
}

/* A data set of one architecture whose `n` forms are each used once, as a builder would hand it over. */
static void write_forms(const char *out, uint32_t n)
{
    struct bk_dataset_info info = {.n_files = 1};
    struct data_out o = {.strings = bk_strtab_new(), .words.table = bk_strtab_new(), .forms.table = bk_strtab_new()};
    size_t n_funcs = (n + BK_DATA_MAX_WORDS - 1) / BK_DATA_MAX_WORDS;
    struct out_file file = {.path = bk_strtab_intern(o.strings, "amd64", 5), .member = BK_STR_NONE};
    struct out_label label = {.source = BK_STR_NONE};
    o.files.v = &file;
    o.labels.v = &label;
    o.files.n = o.labels.n = 1;
    o.funcs.v = calloc(n_funcs, sizeof *o.funcs.v);
    o.words.ids.v = calloc(n, sizeof *o.words.ids.v);
    o.forms.ids.v = calloc(n, sizeof *o.forms.ids.v);
    o.graphs.blocks.v = calloc(n_funcs, sizeof *o.graphs.blocks.v);
    bk_strtab_intern(o.words.table, "X_ret", 5);
    bk_strtab_intern(o.forms.table, "X_unused", 8); /* has no number in the file */
    for (uint32_t i = 0; i < n; i++) {
        char form[16];
        int len = snprintf(form, sizeof form, "X_%u", n - i);
        o.forms.ids.v[i] = bk_strtab_intern(o.forms.table, form, (size_t)len);
    }
    for (size_t i = 0; i < n_funcs; i++) {
        uint32_t first = (uint32_t)i * BK_DATA_MAX_WORDS, left = n - first;
        uint32_t words = left < BK_DATA_MAX_WORDS ? left : BK_DATA_MAX_WORDS;
        o.funcs.v[i] = (struct out_func){.source = BK_STR_NONE,
                                         .n_blocks = 1,
                                         .n_insns = words,
                                         .n_words = words,
                                         .n_kept_blocks = 1,
                                         .ids = first,
                                         .blocks = i,
                                         .addr = i};
        o.graphs.blocks.v[i] = (uint16_t)words;
    }
    info.n_functions = o.funcs.n = n_funcs;
    struct bk_error err;
    if (bk_data_write(&info, out, &o, &err))
        fail_msg("%s", err.message);
    assert_int_equal(info.n_forms, n);
    bk_strtab_free(o.strings);
    bk_strtab_free(o.words.table);
    bk_strtab_free(o.forms.table);
    free(o.funcs.v);
    free(o.words.ids.v);
    free(o.forms.ids.v);
    free(o.graphs.blocks.v);
}

/* Two bytes a number as long as they do. */
static void many_forms_take_four_bytes(void **state)
{
    char *out = temp_path(state, "forms");
    for (uint32_t n = 65535; n <= 65537; n++) {
        struct bk_dataset *d;
        struct bk_pack *p;
        struct bk_cursor c;
        write_forms(out, n);
        assert_int_equal(bk_pack_open(&p, out, "data", BK_DATA_MAJOR, NULL), BK_OK);
        assert_int_equal(bk_pack_entry(&c, p, "form_ids", NULL), BK_OK);
        assert_int_equal(c.size, n <= 65536 ? 2 * n : 4 * n);
        bk_pack_close(p);
        assert_int_equal(bk_dataset_open(&d, out, NULL), BK_OK);
        uint32_t next = 0;
        for (size_t i = 0; i < d->n; i++)
            for (size_t k = 0; k < d->v[i].n_words; k++, next++) {
                assert_int_equal(d->v[i].forms[k], next);
                assert_int_equal(strtoul(bk_strtab_str(d->forms, next) + 2, NULL, 10), n - next);
            }
        assert_int_equal(next, n);
        bk_dataset_close(d);
    }
    free(out);
}

static void contradictions_are_refused(void **state)
{
    struct parts p = take_apart(state);
    /* a label twice: one source function on both sides of a split */
    uint8_t first[8];
    memcpy(first, p.v[LABELS], 8);
    memcpy(p.v[LABELS], p.v[LABELS] + 8, 8);
    assert_int_equal(open_parts(&p, N_ENTRIES), BK_EFORMAT);
    /* a label of another project than the files have */
    memcpy(p.v[LABELS], first, 8);
    set_u32(p.v[LABELS], get_u32(first + 4));
    assert_int_equal(open_parts(&p, N_ENTRIES), BK_EFORMAT);
    memcpy(p.v[LABELS], first, 8);
    /* files out of order */
    set_u32(p.v[FUNCTIONS] + 4, 1);
    assert_int_equal(open_parts(&p, N_ENTRIES), BK_EFORMAT);
    set_u32(p.v[FUNCTIONS] + 4, 0);
    /* a word without its end, an architecture unknown */
    p.v[WORDS][p.n[WORDS] - 1] = 'x';
    assert_int_equal(open_parts(&p, N_ENTRIES), BK_EFORMAT);
    p.v[WORDS][p.n[WORDS] - 1] = 0;
    set_u32(p.v[FILES] + 24, get_u32(p.v[FILES]));
    assert_int_equal(open_parts(&p, N_ENTRIES), BK_EFORMAT);
    set_u32(p.v[FILES] + 24, 6);
    /* other token rules are no damage but a mismatch */
    set_u32(p.v[INFO], BK_TOKENS_VERSION + 1);
    size_t size;
    uint8_t *file = put_together(&size, &p, N_ENTRIES);
    struct bk_dataset *d;
    struct bk_error err;
    assert_int_equal(bk_dataset_open_bytes(&d, file, size, &err), BK_EMISMATCH);
    assert_string_equal(err.message, "data set of token rules safe/2, this program has safe/1");
    free(file);
    set_u32(p.v[INFO], BK_TOKENS_VERSION);
    p.v[INFO][p.n[INFO] - 2] ^= 1;
    assert_int_equal(open_parts(&p, N_ENTRIES), BK_EMISMATCH);
    parts_free(&p);
}

/* Opens `parts` with another text in front of entry `e` after its first `skip` bytes are cut off. */
static int open_with_front(const struct parts *p, int e, const char *text, size_t n, size_t skip)
{
    struct parts changed = *p;
    changed.n[e] = n + p->n[e] - skip;
    changed.v[e] = malloc(changed.n[e]);
    memcpy(changed.v[e], text, n);
    memcpy(changed.v[e] + n, p->v[e] + skip, p->n[e] - skip);
    int rc = open_parts(&changed, N_ENTRIES);
    free(changed.v[e]);
    return rc;
}

static void bad_strings_are_refused(void **state)
{
    struct parts p = take_apart(state);
    size_t first = strlen((char *)p.v[WORDS]) + 1;
    char word[BK_WORD_MAX + 1];
    memset(word, 'x', sizeof word);
    word[BK_WORD_MAX - 1] = 0;
    assert_int_equal(open_with_front(&p, WORDS, word, BK_WORD_MAX, first), BK_OK);
    word[BK_WORD_MAX - 1] = 'x';
    word[BK_WORD_MAX] = 0;
    assert_int_equal(open_with_front(&p, WORDS, word, BK_WORD_MAX + 1, first), BK_EFORMAT);
    assert_int_equal(open_with_front(&p, WORDS, "", 1, first), BK_EFORMAT);
    first = strlen((char *)p.v[FORMS]) + 1;
    word[BK_FORM_MAX - 1] = 0;
    assert_int_equal(open_with_front(&p, FORMS, word, BK_FORM_MAX, first), BK_OK);
    word[BK_FORM_MAX - 1] = 'x';
    assert_int_equal(open_with_front(&p, FORMS, word, BK_FORM_MAX + 1, first), BK_EFORMAT);
    assert_int_equal(open_with_front(&p, FORMS, "", 1, first), BK_EFORMAT);
    /* one more string at the end that nothing uses: new, and there already */
    char *strings = (char *)p.v[STRINGS];
    size_t whole = p.n[STRINGS];
    memcpy(strings + whole, "no such string", 15);
    p.n[STRINGS] = whole + 15;
    assert_int_equal(open_parts(&p, N_ENTRIES), BK_OK);
    memcpy(strings + whole, "words", 6); /* the project */
    p.n[STRINGS] = whole + 6;
    assert_int_equal(open_parts(&p, N_ENTRIES), BK_EFORMAT);
    parts_free(&p);
}

/* Word counts that fit the words that are there, but not a function. In a file without a graph, which would have to fit too. */
static void absurd_word_counts_are_refused(void **state)
{
    struct parts p = take_apart(state);
    uint8_t *row = p.v[FUNCTIONS], *total = p.v[INFO] + 8 + 8 * 10;
    while (get_u32(row + 20) != BK_DATA_MAX_WORDS)
        row += 32;
    set_u32(row + 20, BK_DATA_MAX_WORDS + 1);
    memset(p.v[IDS] + p.n[IDS], 0, 4);
    p.n[IDS] += 4;
    set_u32(total, get_u32(total) + 1);
    assert_int_equal(open_parts(&p, FORMS), BK_EFORMAT);
    set_u32(row + 20, BK_DATA_MAX_WORDS);
    row = p.v[FUNCTIONS];
    assert_true(get_u32(row + 20) < BK_DATA_MAX_WORDS);
    set_u32(row + 16, BK_DATA_MAX_WORDS);
    set_u32(row + 20, get_u32(row + 20) + 1);
    assert_int_equal(open_parts(&p, FORMS), BK_OK); /* so it was the limit that refused */
    set_u32(row + 32 + 16, BK_DATA_MAX_WORDS);
    set_u32(row + 32 + 20, get_u32(row + 20) + get_u32(row + 32 + 20));
    set_u32(row + 20, 0);
    assert_int_equal(open_parts(&p, FORMS), BK_EFORMAT);
    parts_free(&p);
}

static void an_error_names_the_file(void **state)
{
    struct parts p = take_apart(state);
    size_t size;
    uint8_t *file = put_together(&size, &p, FILES);
    char *out = temp_path(state, "bad");
    write_file(out, file, size);
    struct bk_dataset *d;
    struct bk_error err;
    assert_int_equal(bk_dataset_open(&d, out, &err), BK_EFORMAT);
    assert_string_equal(err.file, out);
    assert_string_equal(err.message, "no entry \"files\"");
    free(out);
    free(file);
    parts_free(&p);
}

/* Every length short of the whole, and each byte of the head and some of the rest flipped. */
static void damaged_files_are_refused(void **state)
{
    struct parts p = take_apart(state);
    size_t size;
    uint8_t *bytes = put_together(&size, &p, N_ENTRIES);
    parts_free(&p);
    struct bk_dataset *d;
    assert_int_equal(bk_dataset_open_bytes(&d, bytes, size, NULL), BK_OK);
    bk_dataset_close(d);
    for (size_t n = 0; n < size; n += n < 600 ? 1 : 97) {
        uint8_t *exact = malloc(n ? n : 1); /* so that a read past the end is seen */
        memcpy(exact, bytes, n);
        assert_true(bk_dataset_open_bytes(&d, exact, n, NULL) < 0);
        assert_null(d);
        free(exact);
    }
    for (size_t i = 0; i < HEADER + N_ENTRIES * ENTRY; i++) {
        bytes[i] ^= 0x41;
        assert_true(bk_dataset_open_bytes(&d, bytes, size, NULL) < 0);
        bytes[i] ^= 0x41;
    }
    free(bytes);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, temp_dir_setup, temp_dir_teardown)

int main(int argc, char **argv)
{
    if (argc != 5)
        return 2;
    path.self = argv[0];
    path.o0 = argv[1];
    path.o2 = argv[2];
    path.stripped = argv[3];
    path.archive = argv[4];
    const struct CMUnitTest tests[] = {TEST(every_function_with_its_label),
                                       TEST(words_and_immediates_are_those_of_the_code),
                                       TEST(immediates_are_numbered),
                                       TEST(source_files_are_known),
                                       TEST(source_files_are_spelled_one_way),
                                       TEST(wrong_labels_are_refused),
                                       TEST(shares_add_up),
                                       TEST(graphs_and_items_are_those_of_the_code),
                                       TEST(calls_are_counted),
                                       TEST(forms_are_numbered),
                                       TEST(items_are_numbered),
                                       TEST(many_items_are_cut),
                                       TEST(wrong_items_are_refused),
                                       TEST(a_function_has_a_thousand_items_at_most),
                                       TEST(many_forms_take_four_bytes),
                                       TEST(wrong_blocks_are_refused),
                                       TEST(wrong_numbers_of_blocks_are_refused),
                                       TEST(wrong_edges_are_refused),
                                       TEST(format_1_0_is_read),
                                       TEST(format_1_1_is_read),
                                       TEST(wrong_immediates_are_refused),
                                       TEST(duplicates_are_kept_once),
                                       TEST(short_and_unnamed_are_counted),
                                       TEST(archives_give_their_members),
                                       TEST(same_bytes_for_any_threads),
                                       TEST(a_bad_file_does_not_stop_the_rest),
                                       TEST(wrong_sizes_are_refused),
                                       TEST(wrong_numbers_are_refused),
                                       TEST(contradictions_are_refused),
                                       TEST(bad_strings_are_refused),
                                       TEST(absurd_word_counts_are_refused),
                                       TEST(an_error_names_the_file),
                                       TEST(damaged_files_are_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
