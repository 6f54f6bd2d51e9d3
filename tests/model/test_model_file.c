/* The model file and embedding: binary16 over all its values, what is saved is what is opened, every lie in a file is refused, and
 * vectors depend on nothing but the function. argv[1]: fuzz/corpus/model. */
#include "../base/temp_dir.h"
#include "model/model.h"

#include <math.h>

static const char *old_files;

/* ---- binary16 --------------------------------------------------------- */

/* By the definition of the format, not by its bits. */
static double half_value(unsigned h)
{
    unsigned e = h >> 10 & 31, m = h & 1023;
    double x = e == 31 ? (m ? NAN : INFINITY) : e ? ldexp(1024 + m, (int)e - 25) : ldexp(m, -24);
    return h & 0x8000 ? -x : x;
}

static void test_half_all_values(void **state)
{
    (void)state;
    for (unsigned h = 0; h < 65536; h++) {
        float x = bk_half_to_float((uint16_t)h);
        double want = half_value(h);
        if (isnan(want)) {
            assert_true(isnan(x) && isnan(bk_half_to_float(bk_half_from_float(x))));
            continue;
        }
        assert_true((double)x == want && !signbit(x) == !signbit(want));
        assert_int_equal(bk_half_from_float(x), h);
    }
}

/* Between each value and the next: the middle goes to the even one, a hair beside it to the nearer. */
static void test_half_rounding(void **state)
{
    (void)state;
    for (unsigned h = 0; h < 0x7c00; h++) {
        double next = h == 0x7bff ? 65536 : half_value(h + 1);
        float middle = (float)((half_value(h) + next) / 2);
        unsigned even = h & 1 ? h + 1 : h;
        assert_int_equal(bk_half_from_float(middle), even);
        assert_int_equal(bk_half_from_float(nextafterf(middle, 0)), h);
        assert_int_equal(bk_half_from_float(nextafterf(middle, INFINITY)), h + 1);
        assert_int_equal(bk_half_from_float(-middle), even | 0x8000);
    }
    assert_int_equal(bk_half_from_float(1e30f), 0x7c00);
    assert_int_equal(bk_half_from_float(-INFINITY), 0xfc00);
    assert_int_equal(bk_half_from_float(1e-30f), 0);
}

/* ---- a small model ----------------------------------------------------- */

#define N_WORDS 30
#define N_ITEMS 4

struct small {
    struct bk_model m;
    struct bk_strtab *words, *forms;
    float *vectors, *params;
};

static void small_params(struct small *s)
{
    struct bk_rng rng;
    bk_rng_seed(&rng, 5, 4);
    free(s->params);
    s->m.params = s->params = calloc(bk_encoder_n_params(&s->m.cfg), sizeof *s->params);
    bk_encoder_init(s->params, &s->m.cfg, &rng);
    struct bk_tensor t[BK_ENCODER_MAX_TENSORS];
    for (size_t k = bk_encoder_tensors(t, &s->m.cfg); k-- > 0;)
        if (strcmp(t[k].name, "sketch.kinds") == 0) /* which begin alike */
            for (size_t i = 0; i < t[k].rows; i++)
                s->params[t[k].offset + i] = (float)(i + 1);
}

/* aff behind "compat:" gives the form of SAFE's program. */
static struct small small_new(const char *aff)
{
    struct small s = {0};
    struct bk_rng rng;
    struct bk_error err;
    bk_rng_seed(&rng, 4, 4);
    strcpy(s.m.kind, "mffa");
    assert_true(bk_encoder_config_default(&s.m.cfg, "mffa"));
    s.m.cfg.attention = false; /* a file of one branch says nothing of it */
    s.m.cfg.net = (struct bk_net_config){.d = 6, .u = 4, .a = 5, .r = 2, .e = 7, .n = 3, .max_insns = 12};
    s.m.cfg.net.compat_safe = strncmp(aff, "compat:", 7) == 0;
    assert_int_equal(bk_net_config_set_aff(&s.m.cfg.net, aff + (s.m.cfg.net.compat_safe ? 7 : 0), &err), BK_OK);
    s.m.archs = 1u << BK_ARCH_AMD64 | 1u << BK_ARCH_ARM;
    s.words = bk_strtab_new();
    const char *first[] = {"", "X_UNK", "A_UNK"};
    for (size_t i = 0; i < N_WORDS; i++) {
        char word[16];
        snprintf(word, sizeof word, "X_w%zu", i);
        const char *w = i < 3 ? first[i] : word;
        assert_int_equal(bk_strtab_intern(s.words, w, strlen(w)), i);
    }
    s.vectors = calloc(N_WORDS * s.m.cfg.net.d, sizeof *s.vectors);
    for (size_t i = s.m.cfg.net.d; i < N_WORDS * s.m.cfg.net.d; i++)
        s.vectors[i] = (float)(bk_rng_unit(&rng) - 0.5);
    s.params = calloc(bk_net_n_params(&s.m.cfg.net), sizeof *s.params);
    bk_net_init(s.params, &s.m.cfg.net, &rng);
    s.m.words = s.words;
    s.m.word_vectors = s.vectors;
    s.m.params = s.params;
    s.m.provenance = "{\"seed\":4}";
    s.m.split_by = 1;
    s.m.split_parts[0] = 8;
    s.m.split_parts[1] = 1;
    s.m.split_parts[2] = 2;
    s.m.split_seed = 0x123456789abcdefULL;
    s.m.dataset_hash = 0xfedcba9876543210ULL;
    return s;
}

/* Of kind graph or fused, with some of its branches. */
static struct small small_of(const char *kind, const char *branches, bool attention)
{
    static const char *const forms[] = {"", "N_ret", "N_move_r,r", "X_ret", "X_mov_r8,r8", "X_mov_r4,r4", "A_bl_i"};
    static const uint64_t hash[N_ITEMS] = {3, 0x0123456789abcdef, 0x8000000000000000, UINT64_MAX};
    static const float weight[N_ITEMS] = {1.25f, 7.5f, 2.0f, 3.3f};
    struct small s = small_new("none");
    struct bk_encoder_config *c = &s.m.cfg;
    snprintf(s.m.kind, sizeof s.m.kind, "%s", kind);
    c->branches = bk_branches_parse(branches);
    c->attention = attention;
    if (!bk_encoder_has(c, BK_BRANCH_SEQUENCE)) {
        c->net = (struct bk_net_config){0};
        s.m.words = NULL;
        s.m.word_vectors = NULL;
    }
    if (bk_encoder_has(c, BK_BRANCH_GRAPH)) {
        c->graph = (struct bk_graph_config){.forms = 7, .s = 5, .rounds = 2, .a = 3, .r = 2, .n = 4, .max_nodes = 9};
        s.m.forms = s.forms = bk_strtab_new();
        for (size_t i = 0; i < 7; i++)
            assert_int_equal(bk_strtab_intern(s.forms, forms[i], strlen(forms[i])), i);
    }
    if (bk_encoder_has(c, BK_BRANCH_SKETCH)) {
        c->sketch = 8;
        s.m.idf = (struct bk_idf){.n = N_ITEMS, .hash = hash, .weight = weight, .other = 9.75f};
    }
    small_params(&s);
    return s;
}

static void small_free(struct small *s)
{
    bk_strtab_free(s->words);
    bk_strtab_free(s->forms);
    free(s->vectors);
    free(s->params);
}

/* ---- saving and opening -------------------------------------------------- */

static void same_texts(const struct bk_strtab *a, const struct bk_strtab *b)
{
    assert_int_equal(!a, !b);
    for (uint32_t i = 0; a && i < bk_strtab_count(a); i++)
        assert_string_equal(bk_strtab_str(a, i), bk_strtab_str(b, i));
    assert_true(!a || bk_strtab_count(a) == bk_strtab_count(b));
}

static float as_stored(float x, bool half)
{
    return half ? bk_half_to_float(bk_half_from_float(x)) : x;
}

static void check_same(const struct bk_model *a, const struct bk_model *b, bool half)
{
    assert_string_equal(a->kind, b->kind);
    assert_true(a->cfg.branches == b->cfg.branches && a->cfg.attention == b->cfg.attention);
    assert_memory_equal(&a->cfg.net, &b->cfg.net, sizeof a->cfg.net);
    assert_memory_equal(&a->cfg.graph, &b->cfg.graph, sizeof a->cfg.graph);
    assert_int_equal(a->cfg.sketch, b->cfg.sketch);
    assert_int_equal(a->archs, b->archs);
    assert_string_equal(a->provenance, b->provenance);
    assert_int_equal(a->split_by, b->split_by);
    assert_memory_equal(a->split_parts, b->split_parts, sizeof a->split_parts);
    assert_true(a->split_seed == b->split_seed && a->dataset_hash == b->dataset_hash);
    struct bk_error err;
    same_texts(a->words, b->words);
    same_texts(a->forms, b->forms);
    for (uint32_t i = 0; a->words && i < N_WORDS; i++) {
        float x[16], y[16];
        assert_int_equal(bk_model_vectors(x, a, &i, 1, &err), BK_OK);
        assert_int_equal(bk_model_vectors(y, b, &i, 1, &err), BK_OK);
        for (size_t k = 0; k < a->cfg.net.d; k++)
            assert_true(as_stored(x[k], half) == y[k]);
    }
    assert_int_equal(a->idf.n, b->idf.n);
    for (size_t i = 0; i < a->idf.n; i++)
        assert_true(a->idf.hash[i] == b->idf.hash[i] && as_stored(a->idf.weight[i], half) == b->idf.weight[i]);
    assert_true(as_stored(a->idf.other, half) == b->idf.other);
    for (size_t i = 0; i < bk_encoder_n_params(&a->cfg); i++)
        assert_true(as_stored(a->params[i], half) == b->params[i]);
}

static void test_round_trip(void **state)
{
    const char *affs[] = {"none", "p", "q", "residual+scale+norm+linear", "compat:p", "compat:none+norm"};
    char *path = temp_path(state, "m");
    for (size_t i = 0; i < 6; i++)
        for (int half = 0; half < 2; half++) {
            struct small s = small_new(affs[i]);
            struct bk_model *m;
            struct bk_error err;
            assert_int_equal(bk_model_save(&s.m, path, half, &err), BK_OK);
            assert_int_equal(bk_model_open(&m, path, &err), BK_OK);
            check_same(&s.m, m, half);
            assert_true(m->hash != 0);
            bk_model_close(m);
            small_free(&s);
        }
    bk_model_close(NULL);
    free(path);
}

/* ---- calibration --------------------------------------------------------- */

static struct bk_calibration some_calibration(void)
{
    struct bk_calibration c = {0};
    c.v[2] = (struct bk_calibration_class){
        .n = 3, .score = {-0.5F, 0.25F, 0.75F}, .tail = {1, 0.25F, 0.0625F}, .odds = {-4, -4, 2.5F}};
    c.v[9] = (struct bk_calibration_class){.n = 2, .score = {0, 1}, .tail = {1, 0.5F}, .odds = {0, 1}};
    return c;
}

/* Beside all other entries, as they are; a second one takes the place of the first. */
static void test_calibration_round_trip(void **state)
{
    struct small s = small_new("none");
    struct bk_calibration c = some_calibration();
    struct bk_model *m;
    struct bk_error err;
    char *path = temp_path(state, "m"), *plain = temp_path(state, "plain");
    for (int half = 0; half < 2; half++) {
        assert_int_equal(bk_model_save(&s.m, path, half, &err), BK_OK);
        assert_int_equal(bk_model_open(&m, path, &err), BK_OK);
        assert_null(m->calibration);
        for (int twice = 0; twice < 2; twice++) {
            uint64_t hash = m->hash;
            c.v[2].odds[2] += 1;
            assert_int_equal(bk_model_save_calibrated(m, &c, path, &err), BK_OK);
            bk_model_close(m);
            assert_int_equal(bk_model_open(&m, path, &err), BK_OK);
            assert_memory_equal(m->calibration, &c, sizeof c);
            assert_true(m->hash != hash);
            check_same(&s.m, m, half);
        }
        assert_int_equal(bk_model_save(m, plain, half, &err), BK_OK);
        bk_model_close(m);
        assert_int_equal(bk_model_open(&m, plain, &err), BK_OK);
        assert_null(m->calibration); /* it was that of another file */
        c.v[2].tail[1] = 1;
        assert_int_equal(bk_model_save_calibrated(m, &c, plain, &err), BK_EFORMAT);
        c.v[2].tail[1] = 0.25F;
        bk_model_close(m);
    }
    free(path);
    free(plain);
    small_free(&s);
}

static void test_calibration_by_hand(void **state)
{
    (void)state;
    struct bk_calibration c = some_calibration();
    c.v[1] = (struct bk_calibration_class){
        .n = 5, .score = {0, 0.1F, 0.2F, 0.3F, 0.4F}, .tail = {1, 0.5F, 0.25F, 0.125F, 0.1F}, .odds = {0}};
    assert_true(fabs(bk_calibration_tail(&c, 1, 0.7F) - 0.02) < 1e-6); /* on the chord of the last four: 1/5 in 0.3 */
    const struct {
        float score;
        double tail, probability; /* in a pool of 11 */
    } want[] = {{-1, 1, 1 / (1 + 10 * exp(4))},
                {-0.5F, 1, 1 / (1 + 10 * exp(4))},
                {-0.125F, 0.5, 1 / (1 + 10 * exp(4))},
                {0.25F, 0.25, 1 / (1 + 10 * exp(4))},
                {0.5F, 0.125, 1 / (1 + 10 * exp(4))},
                {0.75F, 0.0625, 1 / (1 + 10 * exp(-2.5))},
                {1, exp2(-4 - 0.8), 1 / (1 + 10 * exp(-2.5))}}; /* the chord of all knots: 4 halvings over 1.25 */
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        assert_true(fabs(bk_calibration_tail(&c, 2, want[i].score) - want[i].tail) < 1e-6);
        assert_true(fabs(bk_calibration_probability(&c, 2, want[i].score, 11) - want[i].probability) < 1e-6);
        assert_true(bk_calibration_probability(&c, 2, want[i].score, 1) == 1);
    }
    assert_true(isnan(bk_calibration_tail(&c, 0, 1)) && isnan(bk_calibration_probability(&c, 0, 1, 2)));
    assert_true(bk_calibration_score(0.9999998F) == 1 && bk_calibration_score(1.5F) == 1);
    assert_true(bk_calibration_score(NAN) == -1 && bk_calibration_score(-INFINITY) == -1);
    assert_int_equal(bk_calibration_class(BK_ARCH_AMD64, BK_ARCH_I386, 70, 9), 2);
    assert_int_equal(bk_calibration_class(BK_ARCH_ARM64, BK_ARCH_ARM, 1, 4), 0);
    assert_int_equal(bk_calibration_class(BK_ARCH_ARM64, BK_ARCH_MIPS, 50, 500), 9);
    assert_int_equal(bk_calibration_class(BK_ARCH_AMD64, BK_ARCH_MIPS64, 49, 2), 6);
}

static void test_save_refuses(void **state)
{
    struct small s = small_new("none");
    struct bk_error err;
    char *path = temp_path(state, "m");
    float old = s.params[3];
    s.params[3] = NAN;
    assert_int_equal(bk_model_save(&s.m, path, false, &err), BK_EINVAL);
    s.params[3] = 70000;
    assert_int_equal(bk_model_save(&s.m, path, true, &err), BK_ELIMIT);
    s.params[3] = old;
    s.m.provenance = "[]";
    assert_int_equal(bk_model_save(&s.m, path, false, &err), BK_EINVAL);
    s.m.provenance = "{}";
    s.m.archs = 0;
    assert_int_equal(bk_model_save(&s.m, path, false, &err), BK_EINVAL);
    assert_int_equal(temp_dir_count(*state), 0);
    small_free(&s);
    free(path);
}

static void test_cut_off(void **state)
{
    struct small s = small_new("none");
    struct bk_error err;
    struct bk_model *m;
    char *path = temp_path(state, "m");
    assert_int_equal(bk_model_save(&s.m, path, true, &err), BK_OK);
    size_t size;
    uint8_t *bytes = read_file(path, &size);
    for (size_t i = 0; i < size; i++) {
        uint8_t *part = malloc(i + 1);
        memcpy(part, bytes, i);
        assert_int_not_equal(bk_model_open_bytes(&m, part, i, &err), BK_OK);
        assert_null(m);
        free(part);
    }
    assert_int_equal(bk_model_open(&m, (*(struct temp_dir **)state)->path, &err), BK_EIO);
    free(bytes);
    free(path);
    small_free(&s);
}

static uint64_t get_number(const uint8_t *p, int n)
{
    uint64_t v = 0;
    while (n-- > 0)
        v = v << 8 | p[n];
    return v;
}

static void put_number(uint8_t *p, uint64_t v, int n)
{
    for (; n-- > 0; v >>= 8)
        *p++ = (uint8_t)v;
}

#define HEADER 40 /* bytes of a pack's header, */
#define ENTRY  56 /* and of an entry of its directory */

/* Writes the model at `from` again with entry `name` replaced (data NULL: left out) and opens that. By hand: a pack's own
 * writer waits for the disk, which hundreds of files would feel. */
static int change(struct bk_model **out, void **state, const char *from, const char *name, const void *data,
                  size_t size, struct bk_error *err)
{
    char *path = temp_path(state, "changed");
    size_t n_old;
    uint8_t *old = read_file(from, &n_old), *new = calloc(1, n_old + size + 64);
    size_t n = get_number(old + 16, 4), kept = n - (data == NULL), at = HEADER + kept * ENTRY, k = 0, replaced = 0;
    memcpy(new, old, HEADER);
    for (size_t i = 0; i < n; i++) {
        const uint8_t *entry = old + HEADER + i * ENTRY, *bytes = old + get_number(entry + 32, 8);
        size_t n_bytes = get_number(entry + 40, 8);
        if (strcmp((const char *)entry, name) == 0) {
            replaced++;
            if (!data)
                continue;
            bytes = data;
            n_bytes = size;
        }
        at = (at + 63) & ~(size_t)63;
        memcpy(new + at, bytes, n_bytes);
        uint8_t *to = new + HEADER + k++ *ENTRY;
        memcpy(to, entry, 32);
        put_number(to + 32, at, 8);
        put_number(to + 40, n_bytes, 8);
        put_number(to + 48, bk_hash64(bytes, n_bytes), 8);
        at += n_bytes;
    }
    assert_int_equal(replaced, 1);
    put_number(new + 16, kept, 4);
    put_number(new + 24, at, 8);
    put_number(new + 32, 0, 8);
    put_number(new + 32, bk_hash64(new, HEADER + kept * ENTRY), 8);
    FILE *f = fopen(path, "wb");
    assert_true(f && fwrite(new, 1, at, f) == at && fclose(f) == 0);
    free(old);
    free(new);
    int rc = bk_model_open(out, path, err);
    free(path);
    return rc;
}

static int open_with(void **state, const char *from, const char *name, const void *data, size_t size,
                     struct bk_error *err)
{
    struct bk_model *m;
    int rc = change(&m, state, from, name, data, size, err);
    bk_model_close(m);
    return rc;
}

static void test_lies_in_config(void **state)
{
    /* "safe\0" version "mffa\0" "none\0" "amd64,armhf\0" then d u a r e n max_insns ... */
    static const struct {
        size_t at;
        const char *bytes;
        size_t n;
        int code;
        const char *says;
    } lies[] = {
        {0, "fase", 4, BK_EMISMATCH, "fase/1"},    {5, "\2\0\0\0", 4, BK_EMISMATCH, "safe/2"},
        {9, "gnns", 4, BK_EFORMAT, "gnns"},        {14, "nope", 4, BK_EFORMAT, "nope"},
        {19, "amd65", 5, BK_EFORMAT, "amd65"},     {24, "\0", 1, BK_EFORMAT, NULL}, /* shifts all that follows */
        {31, "\7", 1, BK_EFORMAT, "word_vectors"}, {31, "\0", 1, BK_EFORMAT, NULL},
        {34, "\xff", 1, BK_EFORMAT, NULL},         {35, "\3", 1, BK_EFORMAT, NULL}, /* odd U */
        {39, "\6", 1, BK_EFORMAT, "net."},         {47, "\xff\xff\xff\xff", 4, BK_EFORMAT, NULL},
        {55, "\0", 1, BK_EFORMAT, NULL}, /* sees no words */
    };
    struct small s = small_new("none");
    struct bk_error err;
    char *path = temp_path(state, "m");
    assert_int_equal(bk_model_save(&s.m, path, false, &err), BK_OK);
    struct bk_pack *p;
    struct bk_cursor c;
    assert_int_equal(bk_pack_open(&p, path, "modl", 1, &err), BK_OK);
    assert_int_equal(bk_pack_entry(&c, p, "config", &err), BK_OK);
    assert_int_equal(open_with(state, path, "config", c.data, c.size, &err), BK_OK);
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        uint8_t buf[256];
        memcpy(buf, c.data, c.size);
        memcpy(buf + lies[i].at, lies[i].bytes, lies[i].n);
        int rc = open_with(state, path, "config", buf, c.size, &err);
        assert_int_equal(rc, lies[i].code);
        assert_int_equal(err.code, rc);
        assert_non_null(strstr(err.file, "changed"));
        if (lies[i].says && !strstr(err.message, lies[i].says))
            fail_msg("%zu: \"%s\" does not say %s", i, err.message, lies[i].says);
    }
    for (size_t n = 0; n < c.size; n++)
        assert_int_equal(open_with(state, path, "config", c.data, n, &err), BK_EFORMAT);
    bk_pack_close(p);
    small_free(&s);
    free(path);
}

static void test_lies_in_entries(void **state)
{
    struct small s = small_new("none");
    struct bk_error err;
    char *path = temp_path(state, "m");
    assert_int_equal(bk_model_save(&s.m, path, false, &err), BK_OK);
    const char *all[] = {"config", "vocabulary", "word_vectors", "provenance", "net.attention.ws1"};
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(open_with(state, path, all[i], NULL, 0, &err), BK_EFORMAT);
        assert_non_null(strstr(err.message, all[i]));
        assert_int_equal(open_with(state, path, all[i], "\1\2\3", 3, &err), BK_EFORMAT);
    }
    size_t n = s.m.cfg.net.a * s.m.cfg.net.u;
    float *w = calloc(N_WORDS, s.m.cfg.net.d * sizeof *w);
    assert_int_equal(open_with(state, path, "net.attention.ws1", w, n * 4, &err), BK_OK);
    assert_int_equal(open_with(state, path, "net.attention.ws1", w, n * 2, &err), BK_OK);
    assert_int_equal(open_with(state, path, "net.attention.ws1", w, n * 4 + 4, &err), BK_EFORMAT);
    w[5] = INFINITY;
    assert_int_equal(open_with(state, path, "net.attention.ws1", w, n * 4, &err), BK_EFORMAT);
    assert_non_null(strstr(err.message, "number 5 is not finite"));
    w[5] = 1;
    assert_int_equal(open_with(state, path, "word_vectors", w, N_WORDS * s.m.cfg.net.d * 4, &err), BK_EFORMAT);
    assert_non_null(strstr(err.message, "padding"));
    free(w);
    assert_int_equal(open_with(state, path, "provenance", "{\"a\":1} ", 8, &err), BK_OK);
    assert_int_equal(open_with(state, path, "provenance", "{\"a\":1}x", 8, &err), BK_EFORMAT);
    assert_int_equal(open_with(state, path, "provenance", "{\"a\":1}\0", 8, &err), BK_EFORMAT);
    assert_int_equal(open_with(state, path, "provenance", "{\"a\":\"\xff\"}", 9, &err), BK_EFORMAT);
    small_free(&s);
    free(path);
}

/* A program that knows version 1 alone would take the wrong way through such a network: it must refuse it. */
static void test_compat(void **state)
{
    char *path = temp_path(state, "m");
    struct bk_error err;
    struct bk_pack *p;
    for (int compat = 0; compat < 2; compat++) {
        struct small s = small_new(compat ? "compat:none" : "none");
        assert_int_equal(bk_model_save(&s.m, path, false, &err), BK_OK);
        assert_int_equal(bk_pack_open(&p, path, "modl", 1, &err), compat ? BK_EUNSUPPORTED : BK_OK);
        bk_pack_close(p);
        small_free(&s);
    }
    assert_int_equal(open_with(state, path, "compat", "safe", 5, &err), BK_OK);
    assert_int_equal(open_with(state, path, "compat", "safe", 4, &err), BK_EFORMAT);
    assert_non_null(strstr(err.message, "compat"));
    assert_int_equal(open_with(state, path, "compat", "safe\0", 6, &err), BK_EFORMAT);
    assert_int_equal(open_with(state, path, "compat", "gemini", 7, &err), BK_EFORMAT);
    assert_int_equal(open_with(state, path, "compat", "", 0, &err), BK_EFORMAT);
    assert_int_equal(open_with(state, path, "net.dense.wo2.right.bias", NULL, 0, &err), BK_EFORMAT);
    free(path);
}

/* u32 classes, then of each u32 n and n scores, tails, odds. */
static void test_lies_in_calibration(void **state)
{
    struct small s = small_new("none");
    const struct bk_calibration c = some_calibration();
    struct bk_model *m;
    struct bk_error err;
    char *path = temp_path(state, "m");
    assert_int_equal(bk_model_save(&s.m, path, false, &err), BK_OK);
    assert_int_equal(bk_model_open(&m, path, &err), BK_OK);
    assert_int_equal(bk_model_save_calibrated(m, &c, path, &err), BK_OK);
    bk_model_close(m);
    struct bk_pack *p;
    struct bk_cursor entry;
    assert_int_equal(bk_pack_open(&p, path, "modl", 1, &err), BK_OK);
    assert_int_equal(bk_pack_entry(&entry, p, "calibration", &err), BK_OK);
    assert_int_equal(entry.size, 4 + 10 * 4 + 5 * 12);
    enum { N2 = 12, SCORE = 16, TAIL = 28, ODDS = 40 }; /* of class 2 */
    const float nan = NAN, huge = 101, big = 2, half = 0.5F, low = -9, zero = 0;
    const uint32_t n[] = {9, 33, 1, UINT32_MAX};
    const struct {
        size_t at;
        const void *bytes;
    } lies[] = {{0, &n[0]},        {N2, &n[1]},       {N2, &n[2]},       {N2, &n[3]},      {SCORE, &nan},
                {SCORE, &half},    {SCORE + 8, &big}, {TAIL, &big},      {TAIL + 4, &big}, {TAIL + 8, &half},
                {TAIL + 8, &zero}, {ODDS, &nan},      {ODDS + 8, &huge}, {ODDS + 4, &low}, {ODDS, &zero}};
    uint8_t buf[128] = {0};
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        memcpy(buf, entry.data, entry.size);
        memcpy(buf + lies[i].at, lies[i].bytes, 4);
        if (open_with(state, path, "calibration", buf, entry.size, &err) != BK_EFORMAT)
            fail_msg("lie %zu is taken", i);
        assert_non_null(strstr(err.message, "calibration: "));
    }
    memcpy(buf, entry.data, entry.size);
    for (size_t i = 0; i < entry.size + 4; i++)
        assert_int_equal(open_with(state, path, "calibration", buf, i, &err), i == entry.size ? BK_OK : BK_EFORMAT);
    bk_pack_close(p);
    free(path);
    small_free(&s);
}

/* ---- models of several branches ------------------------------------------- */

static const struct {
    const char *kind, *branches;
} several[] = {{"graph", "graph,sketch"},          {"graph", "graph"},           {"graph", "sketch"},
               {"fused", "sequence,graph,sketch"}, {"fused", "sequence,sketch"}, {"fused", "sequence"}};
enum { SEVERAL = sizeof several / sizeof *several };

/* A program that knows version 2 would look for words in it. */
static void test_branches_round_trip(void **state)
{
    char *path = temp_path(state, "m");
    for (size_t i = 0; i < 2 * SEVERAL; i++)
        for (int half = 0; half < 2; half++) {
            struct small s = small_of(several[i / 2].kind, several[i / 2].branches, i % 2);
            struct bk_model *m;
            struct bk_pack *p;
            struct bk_error err;
            assert_int_equal(bk_model_save(&s.m, path, half, &err), BK_OK);
            assert_int_equal(bk_model_open(&m, path, &err), BK_OK);
            check_same(&s.m, m, half);
            assert_int_equal(bk_pack_open(&p, path, "modl", 2, &err), BK_EUNSUPPORTED);
            bk_model_close(m);
            small_free(&s);
        }
    free(path);
}

/* Of items that are there their weight, else the other one. */
static void test_idf(void **state)
{
    struct small s = small_of("graph", "sketch", true);
    const struct bk_idf *idf = &s.m.idf, empty = {.other = 4};
    (void)state;
    for (size_t i = 0; i < N_ITEMS; i++)
        assert_true(bk_idf_of(idf, idf->hash[i]) == idf->weight[i]);
    const uint64_t others[] = {0, 2, 4, 0x0123456789abcdee, 0x8000000000000001, UINT64_MAX - 1};
    for (size_t i = 0; i < 6; i++)
        assert_true(bk_idf_of(idf, others[i]) == 9.75f);
    assert_true(bk_idf_of(&empty, 3) == 4);
    small_free(&s);
}

static void assert_says(const struct bk_error *err, const char *says)
{
    if (!strstr(err->message, says))
        fail_msg("\"%s\" does not say %s", err->message, says);
}

/* branches, hidden, attention, forms s rounds a r n max_nodes, sketch */
static void test_lies_in_encoder(void **state)
{
    static const struct {
        size_t number;
        uint32_t value;
        const char *says;
    } lies[] = {{0, 0, "branches"},
                {0, 8, "branches"},
                {0, 0xffffffff, "branches"},
                {0, 7, "branches 0x7 are not some of those of kind graph"},
                {1, 256, "hidden"},
                {2, 2, "encoder"},
                {3, 0, "forms"},
                {3, 8, "forms: 7 of them, 8 in the configuration"},
                {3, 0xffffffff, "forms"},
                {4, 0, NULL},
                {4, 0xffffffff, NULL},
                {4, 6, "net.graph.table"},
                {5, 0xffffffff, NULL},
                {6, 0xffffffff, NULL},
                {7, 0xffffffff, NULL},
                {8, 0xffffffff, NULL},
                {9, 0, NULL},
                {10, 0, "sketch"},
                {10, 7, "sketch"},
                {10, 0xfffffffe, "sketch"},
                {10, 10, "net.join.attention"}};
    struct small s = small_of("graph", "graph,sketch", true);
    struct bk_error err;
    struct bk_pack *p;
    struct bk_cursor c;
    char *path = temp_path(state, "m");
    uint8_t buf[48] = {0};
    assert_int_equal(bk_model_save(&s.m, path, false, &err), BK_OK);
    assert_int_equal(bk_pack_open(&p, path, "modl", 3, &err), BK_OK);
    assert_int_equal(bk_pack_entry(&c, p, "encoder", &err), BK_OK);
    assert_int_equal(c.size, 44);
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        memcpy(buf, c.data, 44);
        put_number(buf + 4 * lies[i].number, lies[i].value, 4);
        assert_int_equal(open_with(state, path, "encoder", buf, 44, &err), BK_EFORMAT);
        assert_int_equal(err.code, BK_EFORMAT);
        assert_non_null(strstr(err.file, "changed"));
        if (lies[i].says)
            assert_says(&err, lies[i].says);
    }
    memcpy(buf, c.data, 44);
    assert_int_equal(open_with(state, path, "encoder", buf, 44, &err), BK_OK);
    for (size_t n = 0; n <= 48; n++)
        if (n != 44) {
            assert_int_equal(open_with(state, path, "encoder", buf, n, &err), BK_EFORMAT);
            assert_says(&err, "encoder");
        }
    bk_pack_close(p);
    small_free(&s);
    free(path);
}

static void test_lies_in_branches(void **state)
{
    static const char *const needed[] = {"encoder",
                                         "forms",
                                         "items",
                                         "items.idf",
                                         "net.graph.table",
                                         "net.graph.cell.gate",
                                         "net.sketch.kinds",
                                         "net.join.attention.bias"};
    struct small s = small_of("graph", "graph,sketch", true);
    struct bk_error err;
    char *path = temp_path(state, "m");
    uint8_t hash[8 * N_ITEMS], weight[4 * N_ITEMS + 8] = {0};
    assert_int_equal(bk_model_save(&s.m, path, false, &err), BK_OK);
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
        assert_int_equal(open_with(state, path, needed[i], NULL, 0, &err), BK_EFORMAT);
        assert_says(&err, needed[i]);
    }
    assert_int_equal(open_with(state, path, "forms.index", NULL, 0, &err),
                     BK_OK); /* it is made anew, as that of words */
    assert_int_equal(open_with(state, path, "forms", "\3\0\0\0\0N_ret\0X ret", 17, &err), BK_EFORMAT);
    for (size_t i = 0; i < N_ITEMS; i++)
        put_number(hash + 8 * i, s.m.idf.hash[i], 8);
    assert_int_equal(open_with(state, path, "items", hash, 8 * N_ITEMS, &err), BK_OK);
    put_number(hash + 8, 3, 8); /* twice the same */
    assert_int_equal(open_with(state, path, "items", hash, 8 * N_ITEMS, &err), BK_EFORMAT);
    assert_says(&err, "items: not in their order at 1");
    put_number(hash + 8, s.m.idf.hash[1], 8);
    put_number(hash + 24, 5, 8);
    assert_int_equal(open_with(state, path, "items", hash, 8 * N_ITEMS, &err), BK_EFORMAT);
    assert_says(&err, "items: not in their order at 3");
    assert_int_equal(open_with(state, path, "items", hash, 8 * N_ITEMS - 8, &err), BK_EFORMAT);
    assert_says(&err, "items.idf");
    assert_int_equal(open_with(state, path, "items", hash, 8 * N_ITEMS - 3, &err), BK_EFORMAT);
    assert_says(&err, "items: 29 bytes");
    assert_int_equal(open_with(state, path, "items.idf", weight, 4 * N_ITEMS + 4, &err), BK_OK);
    assert_int_equal(open_with(state, path, "items.idf", weight, 4 * N_ITEMS, &err), BK_EFORMAT);
    assert_int_equal(open_with(state, path, "items.idf", weight, 4 * N_ITEMS + 8, &err), BK_EFORMAT);
    put_number(weight + 4 * N_ITEMS, 0x7f800000, 4);
    assert_int_equal(open_with(state, path, "items.idf", weight, 4 * N_ITEMS + 4, &err), BK_EFORMAT);
    assert_says(&err, "items.idf: number 4 is not finite");
    small_free(&s);
    free(path);
}

/* A kind and its entries belong together. */
static void test_other_kind(void **state)
{
    static const struct {
        const char *kind, *branches, *as, *says;
    } lies[] = {{"graph", "graph,sketch", "safe", NULL},
                {"fused", "sequence,graph,sketch", "graph", "branches 0x7 are not some of those of kind graph"},
                {"graph", "graph,sketch", "gnnnn", "\"gnnnn\" is not known"}};
    char *path = temp_path(state, "m");
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        struct small s = small_of(lies[i].kind, lies[i].branches, true);
        struct bk_error err;
        struct bk_pack *p;
        struct bk_cursor c;
        uint8_t buf[256];
        const size_t length = strlen(lies[i].as), was = strlen(lies[i].kind);
        assert_int_equal(bk_model_save(&s.m, path, false, &err), BK_OK);
        assert_int_equal(bk_pack_open(&p, path, "modl", 3, &err), BK_OK);
        assert_int_equal(bk_pack_entry(&c, p, "config", &err), BK_OK);
        memcpy(buf, c.data, 9);
        memcpy(buf + 9, lies[i].as, length);
        memcpy(buf + 9 + length, c.data + 9 + was, c.size - 9 - was);
        assert_int_equal(open_with(state, path, "config", buf, c.size - was + length, &err), BK_EFORMAT);
        if (lies[i].says)
            assert_says(&err, lies[i].says);
        bk_pack_close(p);
        small_free(&s);
    }
    free(path);
}

static void test_lies_in_vocabulary(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
        uint32_t words; /* 0: refused */
    } v[] = {
        {"\3\0\0\0\0X_UNK\0X_a", 15, 3},
        {"\3\0\0\0\0X_UNK\0X_a", 14, 0},   /* no NUL */
        {"\3\0\0\0\0X_UNK\0X_a\0", 16, 0}, /* a byte left over */
        {"\3\0\0\0\0X_a\0X_a", 13, 0},
        {"\3\0\0\0\0X_a\0", 10, 0},
        {"\3\0\0\0X_b\0X_UNK\0X_a", 18, 0}, /* no padding */
        {"\2\0\0\0\0X a", 9, 0},
        {"\2\0\0\0\0X\033[m", 10, 0},
        {"\377\377\377\377\0X_a", 9, 0},
        {"\0\0\0\0", 4, 0},
        {"\0\0\0", 3, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
        struct bk_strtab *t;
        struct bk_error err;
        int rc = bk_vocabulary_read(&t, bk_cursor_at((const uint8_t *)v[i].bytes, v[i].n, 0, false), &err);
        assert_int_equal(rc, v[i].words ? BK_OK : BK_EFORMAT);
        if (v[i].words)
            assert_int_equal(bk_strtab_count(t), v[i].words);
        bk_strtab_free(t);
    }
}

/* Files that earlier programs wrote: no-index is of version 1.0, none-float of 1.1. */
static void test_old_files(void **state)
{
    static const char *const names[] = {"no-index", "none-float"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        char path[512];
        struct bk_model *m;
        struct bk_error err;
        snprintf(path, sizeof path, "%s/%s", old_files, names[i]);
        assert_int_equal(bk_model_open(&m, path, &err), BK_OK);
        assert_string_equal(m->kind, "mffa");
        assert_int_equal(m->cfg.branches, 1u << BK_BRANCH_SEQUENCE);
        assert_true(m->words && !m->forms && m->idf.n == 0);
        bk_model_close(m);
    }
}

/* What a file of version 1.0 lacks: its words are the same. */
static void test_no_index(void **state)
{
    struct small s = small_new("none");
    struct bk_error err;
    struct bk_model *m;
    char *path = temp_path(state, "m");
    assert_int_equal(bk_model_save(&s.m, path, false, &err), BK_OK);
    assert_int_equal(change(&m, state, path, "vocabulary.index", NULL, 0, &err), BK_OK);
    check_same(&s.m, m, false);
    bk_model_close(m);
    small_free(&s);
    free(path);
}

/* An index that is right for words that are none, or for fewer of them. */
static void test_index_of_other_words(void **state)
{
    static char long_word[13 + BK_WORD_MAX + 1] = "\0X_UNK\0A_UNK";
    memset(long_word + 13, 'a', BK_WORD_MAX);
    static const struct {
        const char *words, *says;
        uint32_t n;
        size_t size;
    } lies[] = {
        {"\0X_UNK\0A_UNK", "30 words, 3 in its index", 3, 13},
        {"\0X_UNK\0A_UNK\0X a", "words are words", 4, 17},
        {"\0X_UNK\0A_UNK\0X\033[m", "words are words", 4, 18},
        {"\0X_UNK\0A_UNK\0X\377", "words are words", 4, 16},
        {"X_pad\0X_UNK\0A_UNK", "words are words", 3, 18},
        {"\0X_UNK", "no word A_UNK", 2, 7},
        {"", "0 words", 0, 0},
        {long_word, "words are words", 4, 13 + BK_WORD_MAX + 1},
    };
    struct small s = small_new("none");
    struct bk_error err;
    char *path = temp_path(state, "m"), *changed = temp_path(state, "changed"), *indexed = temp_path(state, "indexed");
    assert_int_equal(bk_model_save(&s.m, path, false, &err), BK_OK);
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        struct bk_strtab *t = bk_strtab_new();
        for (size_t at = 0; at < lies[i].size; at += strlen(lies[i].words + at) + 1)
            bk_strtab_intern(t, lies[i].words + at, strlen(lies[i].words + at));
        uint8_t *index, words[4 + sizeof long_word] = {i ? (uint8_t)lies[i].n : N_WORDS};
        size_t size;
        assert_int_equal(bk_strtab_index(&index, &size, t, &err), BK_OK);
        memcpy(words + 4, lies[i].words, lies[i].size);
        assert_int_equal(open_with(state, path, "vocabulary.index", index, size, &err), BK_EFORMAT);
        assert_int_equal(rename(changed, indexed), 0);
        assert_int_equal(open_with(state, indexed, "vocabulary", words, 4 + lies[i].size, &err), BK_EFORMAT);
        if (!strstr(err.message, lies[i].says))
            fail_msg("%zu: \"%s\" does not say %s", i, err.message, lies[i].says);
        free(index);
        bk_strtab_free(t);
    }
    small_free(&s);
    free(path);
    free(changed);
    free(indexed);
}

/* Rows by id, of a file and of memory; a number that is not finite is an error of the rows that are asked for. */
static void test_vectors(void **state)
{
    struct small s = small_new("none");
    struct bk_error err;
    struct bk_model *m;
    char *path = temp_path(state, "m");
    const uint32_t ids[] = {7, 0, 29, 7}, bad[] = {3, N_WORDS}, five = 5, six = 6;
    size_t d = s.m.cfg.net.d, n = N_WORDS * d;
    float out[4 * 6], *w = calloc(n, sizeof *w);
    uint8_t *half = calloc(n, 2);
    for (size_t i = d; i < n; i++) {
        uint16_t h = bk_half_from_float((float)i * 0.01f);
        w[i] = bk_half_to_float(h);
        half[2 * i] = (uint8_t)h;
        half[2 * i + 1] = (uint8_t)(h >> 8);
    }
    assert_int_equal(bk_model_save(&s.m, path, false, &err), BK_OK);
    for (int how = 0; how < 2; how++) {
        assert_int_equal(change(&m, state, path, "word_vectors", how ? half : (uint8_t *)w, n * (how ? 2 : 4), &err),
                         BK_OK);
        assert_int_equal(bk_model_vectors(out, m, ids, 4, &err), BK_OK);
        for (size_t i = 0; i < 4; i++)
            assert_memory_equal(out + i * d, w + ids[i] * d, d * sizeof *w);
        assert_int_equal(bk_model_vectors(out, m, bad, 2, &err), BK_EINVAL);
        bk_model_close(m);
    }
    w[5 * d + 2] = NAN;
    half[(5 * d + 5) * 2 + 1] = 0x7c;
    for (int how = 0; how < 2; how++) {
        assert_int_equal(change(&m, state, path, "word_vectors", how ? half : (uint8_t *)w, n * (how ? 2 : 4), &err),
                         BK_OK);
        assert_int_equal(bk_model_vectors(out, m, &six, 1, &err), BK_OK);
        assert_int_equal(bk_model_vectors(out, m, &five, 1, &err), BK_EFORMAT);
        assert_non_null(strstr(err.message, "word 5"));
        bk_model_close(m);
    }
    s.vectors[5 * d] = INFINITY;
    assert_int_equal(bk_model_vectors(out, &s.m, &six, 1, &err), BK_OK);
    assert_int_equal(bk_model_vectors(out, &s.m, &five, 1, &err), BK_EFORMAT);
    assert_int_equal(bk_model_vectors(out, &s.m, bad, 2, &err), BK_EINVAL);
    assert_int_equal(bk_model_save(&s.m, path, false, &err), BK_EINVAL);
    free(w);
    free(half);
    small_free(&s);
    free(path);
}

/* All halves through a file: eight at a time or one by one, whatever is thought of subnormal floats. */
static void test_vectors_all_halves(void **state)
{
    struct small s = small_new("none");
    struct bk_error err;
    struct bk_model *m;
    char *path = temp_path(state, "m");
    size_t d = s.m.cfg.net.d = 2261; /* 29 rows hold them all */
    free(s.vectors);
    s.m.word_vectors = s.vectors = calloc(N_WORDS * d, sizeof *s.vectors);
    free(s.params);
    s.m.params = s.params = calloc(bk_net_n_params(&s.m.cfg.net), sizeof *s.params);
    unsigned fpu = bk_fpu_flush_denormals();
    for (unsigned h = 0; h < 65536; h++)
        s.vectors[d + h] = bk_half_to_float((uint16_t)((h & 0x7c00) == 0x7c00 ? 0 : h));
    assert_int_equal(bk_model_save(&s.m, path, true, &err), BK_OK);
    assert_int_equal(bk_model_open(&m, path, &err), BK_OK);
    float *out = malloc(d * sizeof *out);
    for (uint32_t id = 1; id < N_WORDS; id++) {
        assert_int_equal(bk_model_vectors(out, m, &id, 1, &err), BK_OK);
        assert_memory_equal(out, s.vectors + id * d, d * sizeof *out);
    }
    free(out);
    bk_model_close(m);
    bk_fpu_restore(fpu);
    small_free(&s);
    free(path);
}

/* ---- embedding ------------------------------------------------------------- */

#define N_FUNCS 333

struct inputs {
    uint32_t ids[N_FUNCS][40];
    struct bk_input v[N_FUNCS];
};

static struct inputs *inputs_new(void)
{
    struct inputs *in = calloc(1, sizeof *in);
    struct bk_rng rng;
    bk_rng_seed(&rng, 8, 8);
    for (size_t i = 0; i < N_FUNCS; i++) {
        in->v[i].words = (struct bk_seq){in->ids[i], bk_rng_below(&rng, 20)};
        for (size_t k = 0; k < 40; k++)
            in->ids[i][k] = 1 + (uint32_t)bk_rng_below(&rng, N_WORDS - 1);
    }
    for (size_t k = 0; k < 7; k++)
        in->ids[101][k] = in->ids[7][k]; /* 101 repeats 7 */
    in->v[7].words.n = in->v[101].words.n = 7;
    in->v[9].words.n = 0;
    return in;
}

static void count_progress(void *ctx, size_t done, size_t total)
{
    size_t *last = ctx;
    assert_true(done > *last && done <= total);
    *last = done;
    if (done == total)
        last[1]++;
}

static void test_embed(void **state)
{
    (void)state;
    struct small s = small_new("none");
    struct inputs *in = inputs_new();
    struct bk_error err;
    size_t o = bk_net_outputs(&s.m.cfg.net), progress[2] = {0, 0};
    float *out = calloc(N_FUNCS, o * sizeof *out), *again = calloc(N_FUNCS, o * sizeof *again), alone[16];
    assert_int_equal(bk_model_embed(out, &s.m, in->v, N_FUNCS, BK_FULL, 1, count_progress, progress, &err), BK_OK);
    assert_int_equal(progress[1], 1);
    for (unsigned threads = 1; threads <= 3; threads++) {
        assert_int_equal(bk_model_embed(again, &s.m, in->v, N_FUNCS, BK_FULL, threads, NULL, NULL, &err), BK_OK);
        assert_memory_equal(again, out, N_FUNCS * o * sizeof *out);
    }
    assert_memory_equal(out + 7 * o, out + 101 * o, o * sizeof *out);
    struct bk_pass *pass;
    struct bk_prepared *w;
    assert_int_equal(bk_pass_new(&pass, &s.m.cfg.net, &err), BK_OK);
    assert_int_equal(bk_prepared_new(&w, &s.m.cfg.net, BK_FULL, false, &err), BK_OK);
    bk_prepare(w, s.params, 1);
    for (size_t i = 0; i < N_FUNCS; i++) {
        assert_int_equal(
            bk_pass_forward(pass, alone, w, s.vectors, N_WORDS, &in->v[i].words, 1, false, NULL, NULL, &err), BK_OK);
        double norm = 0;
        for (size_t k = 0; k < o; k++)
            norm += (double)alone[k] * alone[k];
        assert_true(in->v[i].words.n == 0 ? norm == 0 : norm > 0);
        for (size_t k = 0; k < o; k++)
            assert_true(fabs(out[i * o + k] - (norm > 0 ? alone[k] / sqrt(norm) : 0)) < 1e-5);
        assert_int_equal(bk_model_embed(alone, &s.m, &in->v[i], 1, BK_FULL, 1, NULL, NULL, &err), BK_OK);
        assert_memory_equal(alone, out + i * o, o * sizeof *out);
    }
    bk_pass_free(pass);
    bk_prepared_free(w);
    assert_int_equal(bk_model_embed(NULL, &s.m, NULL, 0, BK_FULL, 1, NULL, NULL, &err), BK_OK);
    in->ids[3][0] = N_WORDS;
    in->v[3].words.n = 5;
    assert_int_equal(bk_model_embed(again, &s.m, in->v, N_FUNCS, BK_FULL, 2, NULL, NULL, &err), BK_EINVAL);
    free(out);
    free(again);
    free(in);
    small_free(&s);
}

/* The clean form enters a pair with its unit vector on either side, that of SAFE's program with what its two heads give; its unit vector is
 * that of the left one. */
static void test_embed_pairs(void **state)
{
    (void)state;
    for (int compat = 0; compat < 2; compat++) {
        struct small s = small_new(compat ? "compat:none" : "none");
        struct inputs *in = inputs_new();
        struct bk_error err;
        struct bk_pass *pass;
        struct bk_prepared *w;
        size_t o = bk_net_outputs(&s.m.cfg.net);
        float *unit = calloc(N_FUNCS, o * sizeof *unit), *pairs = calloc(N_FUNCS, 2 * o * sizeof *pairs), alone[16];
        assert_int_equal(bk_model_embed(unit, &s.m, in->v, N_FUNCS, BK_FULL, 2, NULL, NULL, &err), BK_OK);
        assert_int_equal(bk_model_embed_pairs(pairs, &s.m, in->v, N_FUNCS, BK_FULL, 2, NULL, NULL, &err), BK_OK);
        assert_int_equal(bk_pass_new(&pass, &s.m.cfg.net, &err), BK_OK);
        assert_int_equal(bk_prepared_new(&w, &s.m.cfg.net, BK_FULL, false, &err), BK_OK);
        bk_prepare(w, s.params, 1);
        for (size_t i = 0; i < N_FUNCS; i++) {
            const float *left = pairs + 2 * i * o, *right = left + o;
            double norm = 0;
            for (size_t k = 0; k < o; k++)
                norm += (double)left[k] * (double)left[k];
            for (size_t k = 0; k < o; k++)
                assert_true(fabs((double)unit[i * o + k] - (norm > 0 ? left[k] / sqrt(norm) : 0)) < 1e-6);
            assert_int_equal(
                bk_pass_forward(pass, alone, w, s.vectors, N_WORDS, &in->v[i].words, 1, false, NULL, NULL, &err),
                BK_OK);
            assert_memory_equal(left, compat ? alone : unit + i * o, o * sizeof *left);
            assert_memory_equal(right, compat ? alone + o : unit + i * o, o * sizeof *right);
        }
        bk_pass_free(pass);
        bk_prepared_free(w);
        free(unit);
        free(pairs);
        free(in);
        small_free(&s);
    }
}

/* In eight bits the vectors are nearly the same, and as independent of threads and neighbours. */
static void test_embed_int8(void **state)
{
    (void)state;
    struct small s = small_new("none");
    struct inputs *in = inputs_new();
    struct bk_error err;
    size_t o = bk_net_outputs(&s.m.cfg.net);
    float *full = calloc(N_FUNCS, o * sizeof *full), *out = calloc(N_FUNCS, o * sizeof *out), alone[16];
    assert_int_equal(bk_model_embed(full, &s.m, in->v, N_FUNCS, BK_FULL, 2, NULL, NULL, &err), BK_OK);
    assert_int_equal(bk_model_embed(out, &s.m, in->v, N_FUNCS, BK_INT8, 2, NULL, NULL, &err), BK_OK);
    for (size_t i = 0; i < N_FUNCS; i++) {
        double cosine = 0;
        for (size_t k = 0; k < o; k++)
            cosine += (double)full[i * o + k] * (double)out[i * o + k];
        assert_true(in->v[i].words.n == 0 ? cosine == 0 : cosine > 0.999);
        assert_int_equal(bk_model_embed(alone, &s.m, &in->v[i], 1, BK_INT8, 1, NULL, NULL, &err), BK_OK);
        assert_memory_equal(alone, out + i * o, o * sizeof *out);
    }
    assert_memory_not_equal(full, out, N_FUNCS * o * sizeof *out);
    free(full);
    free(out);
    free(in);
    small_free(&s);
}

/* Words beyond max_insns are not seen, not even to tell two functions apart. */
static void test_embed_cut(void **state)
{
    (void)state;
    struct small s = small_new("none");
    struct inputs *in = inputs_new();
    struct bk_error err;
    size_t o = bk_net_outputs(&s.m.cfg.net);
    memcpy(in->ids[1], in->ids[0], 12 * sizeof(uint32_t));
    in->v[0].words.n = 12;
    in->v[1].words.n = 40;
    float out[2 * 16];
    assert_int_equal(bk_model_embed(out, &s.m, in->v, 2, BK_FULL, 1, NULL, NULL, &err), BK_OK);
    assert_memory_equal(out, out + o, o * sizeof *out);
    free(in);
    small_free(&s);
}

/* One function in as many ways as a graph or fused model can tell functions apart: v[0], and what is changed of it in the others. */
enum { WAYS = 14 };
struct ways {
    uint32_t ids[2][3], forms[2][4], neutral[2][4];
    uint16_t insns[2][2];
    struct bk_graph_edge edges[3][2];
    uint64_t hash[2][2];
    uint8_t kind[2][2];
    float weight[2];
    struct bk_input v[WAYS];
};

static struct ways *ways_new(void)
{
    struct ways *w = calloc(1, sizeof *w);
    *w = (struct ways){.ids = {{3, 4, 5}, {3, 4, 6}},
                       .forms = {{3, 4, 5, 6}, {3, 4, BK_STR_NONE, 6}},
                       .neutral = {{1, 2, 2, 1}, {1, 2, 2, 2}},
                       .insns = {{1, 3}, {2, 2}},
                       .edges = {{{0, 1, BK_EDGE_FALL}, {1, 0, BK_EDGE_TAKEN}},
                                 {{0, 1, BK_EDGE_JUMP}, {1, 0, BK_EDGE_TAKEN}},
                                 {{0, 1, BK_EDGE_FALL}, {1, 1, BK_EDGE_TAKEN}}},
                       .hash = {{3, 1234567890123}, {3, 0x8000000000000000}},
                       .kind = {{0, 1}, {0, 3}},
                       .weight = {1.25f, 9.75f}};
    for (size_t i = 0; i < WAYS; i++)
        w->v[i] = (struct bk_input){.words = {w->ids[0], 3},
                                    .graph = {.n_nodes = 2,
                                              .n_edges = 2,
                                              .insns = w->insns[0],
                                              .forms = w->forms[0],
                                              .neutral = w->neutral[0],
                                              .edges = w->edges[0],
                                              .n_insns = 4,
                                              .n_callees = 1},
                                    .items = {w->hash[0], w->kind[0], w->weight, 2}};
    w->v[1].graph.forms = w->forms[1];
    w->v[2].graph.neutral = w->neutral[1];
    w->v[3].graph.insns = w->insns[1];
    w->v[4].graph.edges = w->edges[1];
    w->v[5].graph.edges = w->edges[2];
    w->v[6].graph.n_edges = 1;
    w->v[7].graph.n_insns = 5;
    w->v[8].graph.n_callees = 2;
    w->v[9].items.hash = w->hash[1];
    w->v[10].items.kind = w->kind[1];
    w->v[11].items.n = 1;
    w->v[12].words.ids = w->ids[1];
    w->v[13].graph.n_nodes = 1;
    w->v[13].graph.n_edges = 0;
    return w;
}

/* Functions that differ in anything that the model looks at have vectors of their own, equal ones the same; all of unit length, and the
 * same alone, in any order and on any number of threads. */
static void test_embed_branches(void **state)
{
    enum { N = 20 * WAYS };
    (void)state;
    for (size_t k = 0; k < SEVERAL; k++) {
        struct small s = small_of(several[k].kind, several[k].branches, true);
        struct ways *w = ways_new();
        struct bk_input *in = calloc(N, sizeof *in);
        struct bk_error err;
        const size_t o = bk_encoder_outputs(&s.m.cfg);
        float *out = calloc(N, o * sizeof *out), alone[32], first[32];
        const bool graph = bk_encoder_has(&s.m.cfg, BK_BRANCH_GRAPH),
                   sketch = bk_encoder_has(&s.m.cfg, BK_BRANCH_SKETCH),
                   words = bk_encoder_has(&s.m.cfg, BK_BRANCH_SEQUENCE);
        for (size_t i = 0; i < N; i++)
            in[i] = w->v[i * 5 % WAYS];
        for (unsigned threads = 1; threads <= 3; threads++) {
            assert_int_equal(bk_model_embed(out, &s.m, in, N, BK_FULL, threads, NULL, NULL, &err), BK_OK);
            for (size_t i = 0; i < N; i++) {
                const size_t way = i * 5 % WAYS;
                double length = 0;
                assert_int_equal(bk_model_embed(alone, &s.m, &w->v[way], 1, BK_FULL, 1, NULL, NULL, &err), BK_OK);
                assert_memory_equal(alone, out + i * o, o * sizeof *out);
                for (size_t j = 0; j < o; j++)
                    length += (double)alone[j] * (double)alone[j];
                assert_true(fabs(length - 1) < 1e-5);
                if (way == 0)
                    memcpy(first, alone, o * sizeof *alone);
                else
                    assert_int_equal(memcmp(first, alone, o * sizeof *alone) != 0, way <= 8 || way == 13 ? graph
                                                                                   : way == 12           ? words
                                                                                                         : sketch);
            }
        }
        float *brief = calloc(N, o * sizeof *brief); /* eight bits are of the sequence branch alone */
        assert_int_equal(bk_model_embed(brief, &s.m, in, N, BK_INT8, 2, NULL, NULL, &err), BK_OK);
        assert_int_equal(memcmp(brief, out, N * o * sizeof *out) != 0, words);
        for (size_t i = 0; i < N; i++) {
            double cosine = 0;
            for (size_t j = 0; j < o; j++)
                cosine += (double)brief[i * o + j] * (double)out[i * o + j];
            assert_true(cosine > 0.999);
        }
        free(brief);
        const struct bk_input nothing = {0};
        assert_int_equal(bk_model_embed(alone, &s.m, &nothing, 1, BK_FULL, 1, NULL, NULL, &err), BK_OK);
        for (size_t j = 0; j < o; j++)
            assert_true(alone[j] == 0);
        free(out);
        free(in);
        free(w);
        small_free(&s);
    }
}

/* Weights that overflow on the way give an error, not a vector that compares with nothing. */
static void test_embed_overflow(void **state)
{
    (void)state;
    for (int compat = 0; compat < 2; compat++) {
        struct small s = small_new(compat ? "compat:p" : "p");
        struct inputs *in = inputs_new();
        struct bk_error err;
        for (size_t i = 0; i < bk_net_n_params(&s.m.cfg.net); i++)
            s.params[i] = 3e38f;
        float *out = calloc(N_FUNCS, 2 * bk_net_outputs(&s.m.cfg.net) * sizeof *out);
        assert_int_equal(bk_model_embed(out, &s.m, in->v, N_FUNCS, BK_FULL, 2, NULL, NULL, &err), BK_EFORMAT);
        assert_int_equal(bk_model_embed_pairs(out, &s.m, in->v, N_FUNCS, BK_FULL, 2, NULL, NULL, &err), BK_EFORMAT);
        free(out);
        free(in);
        small_free(&s);
    }
}

int main(int argc, char **argv)
{
#define IN_DIR(f) cmocka_unit_test_setup_teardown(f, temp_dir_setup, temp_dir_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_half_all_values),
        cmocka_unit_test(test_half_rounding),
        IN_DIR(test_round_trip),
        IN_DIR(test_save_refuses),
        IN_DIR(test_cut_off),
        IN_DIR(test_lies_in_config),
        IN_DIR(test_lies_in_entries),
        IN_DIR(test_lies_in_calibration),
        IN_DIR(test_calibration_round_trip),
        cmocka_unit_test(test_calibration_by_hand),
        IN_DIR(test_compat),
        IN_DIR(test_branches_round_trip),
        cmocka_unit_test(test_idf),
        IN_DIR(test_lies_in_encoder),
        IN_DIR(test_lies_in_branches),
        IN_DIR(test_other_kind),
        cmocka_unit_test(test_lies_in_vocabulary),
        cmocka_unit_test(test_old_files),
        IN_DIR(test_no_index),
        IN_DIR(test_index_of_other_words),
        IN_DIR(test_vectors),
        IN_DIR(test_vectors_all_halves),
        cmocka_unit_test(test_embed),
        cmocka_unit_test(test_embed_pairs),
        cmocka_unit_test(test_embed_int8),
        cmocka_unit_test(test_embed_cut),
        cmocka_unit_test(test_embed_branches),
        cmocka_unit_test(test_embed_overflow),
    };
    old_files = argc > 1 ? argv[1] : ".";
    return cmocka_run_group_tests(tests, NULL, NULL);
}
