/* Speed of the network on real functions; bench/torch_peer.py is its peer and reads the same file.
 *
 *   net_speed dump FUNCS [FILE]              the functions of a binary (libcrypto.so.3) as word ids -> FUNCS
 *   net_speed JOB FUNCS THREADS SECONDS      one timed round; JOB is embed, embed-int8, train or latency
 *   net_speed peak THREADS                   what the processor can do at most
 *
 * FUNCS, little-endian: u32 functions, u32 words of the vocabulary V, u32 numbers of a word vector D; u32 length of each
 * function; the ids of all, u32; V x D f32 word vectors. $BINKIN_MODEL, or else the default model, gives vocabulary and weights.
 *
 * useful_gflops counts what the network asks for and nothing that an implementation adds (no padding, no row twice), two
 * operations a product:
 *   a word      2 2 (U/2)(3U/2)  recurrence, both ways  +  2 (U A + A R + R U)  attention  +  2 U N  SFF, the half of h
 *   a function  2 (R U E + E N)
 *   a distinct word  2 D (3U + N)  what of GRU and SFF depends on the word alone: once for all that share the weights, that is for the
 *               job when embedding, for the batch when training
 * Training is three times that; two times for distinct words, whose vectors are frozen. */
#include "net_speed.h"
#include "model/model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    POOL = 4096, /* functions that dump takes */
    BATCH = 250, /* functions of a training step: 125 and a partner of each, so 250 pairs */
    SHARD = 64,  /* of which a worker takes so many, as train/train.c does */
    N_SHARDS = (BATCH + SHARD - 1) / SHARD,
    LATENCY_FUNCS = 64 /* of full length, asked in turn */
};

static const char *const default_file = "/usr/lib/x86_64-linux-gnu/libcrypto.so.3";

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "net_speed: %s\n", what);
    exit(2);
}

static void check(int rc, const struct bk_error *err)
{
    if (rc)
        die(err->message);
}

static void *must(void *p)
{
    if (!p)
        die("out of memory");
    return p;
}

static struct bk_model *open_model(void)
{
    const char *path = getenv("BINKIN_MODEL");
    struct bk_model *m;
    struct bk_error err;
    check(bk_model_open(&m, path && *path ? path : BENCH_MODEL, &err), &err);
    if (!m->words) {
        fputs("net_speed: BINKIN_MODEL names no model of words\n", stderr);
        exit(1);
    }
    return m;
}

/* ---- dump ------------------------------------------------------------------ */

struct functions {
    size_t n, cap;
    struct bk_seq *v;
};

static void read_image(struct functions *out, const struct bk_image *img, const struct bk_model *m)
{
    struct bk_functions *f;
    struct bk_decoder *d;
    struct bk_word_seq words = {0};
    struct bk_error err;
    check(bk_functions_find(&f, img, &err), &err);
    check(bk_decoder_new(&d, f, &err), &err);
    for (size_t i = 0; i < f->n; i++) {
        const struct bk_body *body;
        check(bk_decoder_body(&body, d, i, &err), &err);
        check(bk_word_seq_find(&words, m->words, body, m->cfg.net.max_insns, &err), &err);
        if (words.n == 0)
            continue;
        uint32_t *ids = must(bk_calloc(words.n, sizeof *ids));
        memcpy(ids, words.v, words.n * sizeof *ids);
        if (!BK_GROW(*out))
            die("out of memory");
        out->v[out->n++] = (struct bk_seq){ids, words.n};
    }
    bk_word_seq_done(&words);
    bk_decoder_free(d);
    bk_functions_free(f);
}

static int by_content(const void *x, const void *y)
{
    const struct bk_seq *a = x, *b = y;
    if (a->n != b->n)
        return a->n < b->n ? -1 : 1;
    return memcmp(a->ids, b->ids, a->n * sizeof *a->ids);
}

/* The distinct ones in front, as a random order by seed 1. */
static uint32_t *choose(struct functions *f, size_t *n)
{
    size_t unique = 0;
    qsort(f->v, f->n, sizeof *f->v, by_content);
    uint32_t *order = must(bk_calloc(f->n + 1, sizeof *order));
    for (uint32_t i = 0; i < f->n; i++)
        if (i == 0 || by_content(&f->v[i - 1], &f->v[i]))
            order[unique++] = i;
    struct bk_rng rng;
    bk_rng_seed(&rng, 1, 0);
    bk_rng_shuffle_u32(&rng, order, unique);
    *n = unique < POOL ? unique : POOL;
    return order;
}

static void put_u32(FILE *f, uint32_t x)
{
    for (int i = 0; i < 4; i++)
        putc((int)(x >> 8 * i & 0xff), f);
}

static void dump(const char *path, const char *binary)
{
    struct bk_model *m = open_model();
    struct bk_image_file *file;
    struct bk_save *save;
    struct bk_error err;
    struct functions all = {0};
    check(bk_image_file_open(&file, binary, &err), &err);
    for (size_t i = 0; i < file->n_images; i++)
        read_image(&all, &file->images[i], m);
    size_t n, words = 0;
    uint32_t *order = choose(&all, &n), v = bk_strtab_count(m->words);
    check(bk_save_open(&save, path, &err), &err);
    FILE *out = bk_save_stream(save);
    put_u32(out, (uint32_t)n);
    put_u32(out, v);
    put_u32(out, m->cfg.net.d);
    for (size_t i = 0; i < n; i++) {
        put_u32(out, (uint32_t)all.v[order[i]].n);
        words += all.v[order[i]].n;
    }
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < all.v[order[i]].n; k++)
            put_u32(out, all.v[order[i]].ids[k]);
    float *row = must(bk_calloc(m->cfg.net.d, sizeof *row));
    for (uint32_t i = 0; i < v; i++) {
        check(bk_model_vectors(row, m, &i, 1, &err), &err);
        for (size_t k = 0; k < m->cfg.net.d; k++) {
            uint32_t bits;
            memcpy(&bits, &row[k], sizeof bits);
            put_u32(out, bits);
        }
    }
    check(bk_save_commit(save, &err), &err);
    fprintf(stderr, "%zu functions of %zu, %.1f words each\n", n, all.n, (double)words / (double)n);
    free(row);
    free(order);
    for (size_t i = 0; i < all.n; i++)
        free((void *)(uintptr_t)all.v[i].ids);
    free(all.v);
    bk_image_file_close(file);
    bk_model_close(m);
}

/* ---- what all jobs share ------------------------------------------------------ */

struct input {
    size_t n, n_words; /* functions; vocabulary */
    uint32_t d;
    struct bk_seq *seqs;
    struct bk_input *v; /* the same as inputs of a model */
    uint32_t *ids;
    float *words;
};

static void input_open(struct input *in, const char *path)
{
    struct bk_map map;
    struct bk_error err;
    size_t sum = 0;
    check(bk_map_open(&map, path, &err), &err);
    struct bk_cursor c = bk_cursor_at(map.data, map.size, 0, false);
    in->n = bk_read_u32(&c);
    in->n_words = bk_read_u32(&c);
    in->d = bk_read_u32(&c);
    if (c.failed || !bk_range_inside(c.pos, 4 * (uint64_t)in->n, map.size) || in->n == 0)
        die("not a file that dump writes");
    in->seqs = must(bk_calloc(in->n, sizeof *in->seqs));
    for (size_t i = 0; i < in->n; i++)
        sum += in->seqs[i].n = bk_read_u32(&c);
    if (map.size - c.pos != 4 * ((uint64_t)sum + (uint64_t)in->n_words * in->d))
        die("not a file that dump writes");
    in->ids = must(bk_calloc(sum + 1, sizeof *in->ids));
    for (size_t i = 0; i < sum; i++)
        in->ids[i] = bk_read_u32(&c);
    in->v = must(bk_calloc(in->n, sizeof *in->v));
    for (size_t i = 0, at = 0; i < in->n; at += in->seqs[i++].n) {
        in->seqs[i].ids = in->ids + at;
        in->v[i].words = in->seqs[i];
    }
    in->words = must(bk_alloc_large((size_t)in->n_words * in->d, sizeof *in->words));
    for (size_t i = 0; i < (size_t)in->n_words * in->d; i++) {
        uint32_t bits = bk_read_u32(&c);
        memcpy(&in->words[i], &bits, sizeof bits);
    }
    bk_map_close(&map);
}

static void input_done(struct input *in)
{
    free(in->seqs);
    free(in->v);
    free(in->ids);
    free(in->words);
}

struct work {           /* useful operations of some functions */
    double shared, own; /* of distinct words; of words and functions */
};

static struct work useful(const struct bk_net_config *c, const struct bk_seq *seqs, size_t n, size_t n_words)
{
    double u = c->u,
           word = 2 * 2 * (u / 2) * (3 * u / 2) + 2 * (u * c->a + (double)c->a * c->r + c->r * u) + 2 * u * c->n;
    double function = 2 * (c->r * u * c->e + (double)c->e * c->n), distinct = 2.0 * c->d * (3 * u + c->n);
    struct work w = {0};
    bool *seen = must(bk_calloc(n_words, sizeof *seen));
    for (size_t i = 0; i < n; i++) {
        w.own += function + word * (double)seqs[i].n;
        for (size_t k = 0; k < seqs[i].n; k++) {
            uint32_t id = seqs[i].ids[k];
            if (id >= n_words)
                die("a word that is not in the vocabulary");
            w.shared += seen[id] ? 0 : distinct;
            seen[id] = true;
        }
    }
    free(seen);
    return w;
}

/* `more` is further members of the object, "" or ",...". */
static void report(const char *job, size_t functions, double seconds, double operations, const char *more)
{
    printf("{\"job\":\"%s\",\"functions\":%zu,\"seconds\":%.4f,\"per_second\":%.1f,\"useful_gflops\":%.1f%s}\n", job,
           functions, seconds, (double)functions / seconds, operations / seconds / 1e9, more);
}

/* ---- embed, latency ----------------------------------------------------------- */

static struct bk_model *model_of(const struct input *in)
{
    struct bk_model *m = open_model();
    if (bk_strtab_count(m->words) != in->n_words || m->cfg.net.d != in->d)
        die("the functions were written with another model");
    return m;
}

static void embed_in(const struct input *in, enum bk_precision precision, unsigned threads, double seconds)
{
    struct bk_model *m = model_of(in);
    struct bk_error err;
    float *out = must(bk_calloc(in->n * bk_net_outputs(&m->cfg.net), sizeof *out));
    check(bk_model_embed(out, m, in->v, in->n, precision, threads, NULL, NULL, &err),
          &err); /* the first touches the pages */
    size_t done = 0;
    double begun = bk_now();
    do {
        check(bk_model_embed(out, m, in->v, in->n, precision, threads, NULL, NULL, &err), &err);
        done++;
    } while (bk_now() - begun < seconds);
    double spent = bk_now() - begun;
    struct work w = useful(&m->cfg.net, in->seqs, in->n, in->n_words);
    report(precision == BK_INT8 ? "embed-int8" : "embed", done * in->n, spent, (double)done * (w.own + w.shared), "");
    free(out);
    bk_model_close(m);
}

static void embed(const struct input *in, unsigned threads, double seconds)
{
    embed_in(in, BK_FULL, threads, seconds);
}

static void embed_int8(const struct input *in, unsigned threads, double seconds)
{
    embed_in(in, BK_INT8, threads, seconds);
}

static int by_value(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return a < b ? -1 : a > b;
}

static void latency(const struct input *in, unsigned threads, double seconds)
{
    enum { MAX_TIMES = 100000 };
    struct bk_model *m = model_of(in);
    struct bk_error err;
    struct bk_input longest[LATENCY_FUNCS];
    size_t n = 0, done = 0;
    for (size_t i = 0; i < in->n && n < LATENCY_FUNCS; i++)
        if (in->seqs[i].n == m->cfg.net.max_insns)
            longest[n++] = in->v[i];
    if (n == 0)
        die("no function of full length");
    double *times = must(bk_calloc(MAX_TIMES, sizeof *times)), operations = 0;
    float *out = must(bk_calloc(bk_net_outputs(&m->cfg.net), sizeof *out));
    for (size_t i = 0; i < n; i++) {
        struct work w = useful(&m->cfg.net, &longest[i].words, 1, in->n_words);
        operations += (w.own + w.shared) / (double)n;
        check(bk_model_embed(out, m, &longest[i], 1, BK_FULL, threads, NULL, NULL, &err), &err);
    }
    for (double begun = bk_now(); done < MAX_TIMES && (done < n || bk_now() - begun < seconds); done++) {
        double t = bk_now();
        check(bk_model_embed(out, m, &longest[done % n], 1, BK_FULL, threads, NULL, NULL, &err), &err);
        times[done] = bk_now() - t;
    }
    qsort(times, done, sizeof *times, by_value);
    double median = times[done / 2];
    char more[64];
    snprintf(more, sizeof more, ",\"ms\":%.4f,\"times\":%zu", 1e3 * median, done);
    report("latency", 1, median, operations, more);
    free(times);
    free(out);
    bk_model_close(m);
}

/* ---- train -------------------------------------------------------------------- */

struct shard {
    struct bk_pass *pass;
    bk_real *grads, *f, *df;
    struct bk_seq seq[SHARD];
    uint32_t at[SHARD]; /* which functions of the batch */
    size_t n;
    double penalty;
    int rc;
    struct bk_error err;
};

struct trainer {
    const struct input *in;
    struct bk_net_config cfg;
    size_t n_params, o;
    struct bk_prepared *prepared;
    bk_real *params, *m, *v, *f, *df, *grads[N_SHARDS];
    struct shard shard[N_SHARDS];
    uint32_t left[BATCH], right[BATCH];
    int8_t y[BATCH];
    double penalty_scale, loss;
    uint64_t step;
};

static int longest_first(const void *x, const void *y, void *ctx)
{
    const struct bk_seq *batch = ctx;
    uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;
    size_t na = batch[a].n, nb = batch[b].n;
    return na != nb ? (na < nb) - (na > nb) : (a > b) - (a < b);
}

static void deal(struct trainer *t, const struct bk_seq *batch)
{
    uint32_t order[BATCH];
    for (uint32_t i = 0; i < BATCH; i++)
        order[i] = i;
    qsort_r(order, BATCH, sizeof *order, longest_first, (void *)(uintptr_t)batch);
    for (size_t i = 0; i < N_SHARDS; i++)
        t->shard[i].n = 0;
    for (size_t i = 0; i < BATCH; i++) {
        struct shard *s = &t->shard[i % N_SHARDS];
        s->at[s->n] = order[i];
        s->seq[s->n++] = batch[order[i]];
    }
}

static void forward(void *ctx, size_t item, unsigned worker)
{
    struct trainer *t = ctx;
    struct shard *s = &t->shard[item];
    (void)worker;
    s->rc = bk_pass_forward(s->pass, s->f, t->prepared, t->in->words, t->in->n_words, s->seq, s->n, true, NULL,
                            &s->penalty, &s->err);
    for (size_t i = 0; i < s->n && !s->rc; i++)
        memcpy(t->f + s->at[i] * t->o, s->f + i * t->o, t->o * sizeof *t->f);
}

static void backward(void *ctx, size_t item, unsigned worker)
{
    struct trainer *t = ctx;
    struct shard *s = &t->shard[item];
    (void)worker;
    for (size_t i = 0; i < s->n; i++)
        memcpy(s->df + i * t->o, t->df + s->at[i] * t->o, t->o * sizeof *t->df);
    bk_pass_backward(s->pass, s->grads, NULL, t->prepared, s->df, t->penalty_scale);
}

static void adam(void *ctx, size_t item, unsigned worker)
{
    struct trainer *t = ctx;
    size_t from = item * BK_ADAM_RANGE, n = t->n_params - from;
    (void)worker;
    bk_adam(t->params, t->m, t->v, t->grads, N_SHARDS, from, n < BK_ADAM_RANGE ? n : BK_ADAM_RANGE, t->step, 0.001);
}

static void train_batch(struct trainer *t, unsigned threads)
{
    size_t n_batches = t->in->n / BATCH;
    double squares = 0;
    deal(t, t->in->seqs + t->step % n_batches * BATCH);
    bk_prepare(t->prepared, t->params, threads);
    bk_par_for(N_SHARDS, threads, forward, t);
    for (size_t i = 0; i < N_SHARDS; i++) {
        check(t->shard[i].rc, &t->shard[i].err);
        squares += t->shard[i].penalty;
    }
    t->penalty_scale = squares > 0 ? 0.5 / sqrt(squares) : 0;
    memset(t->df, 0, BATCH * t->o * sizeof *t->df);
    t->loss = bk_cosine_loss(t->df, NULL, t->f, t->o, t->left, t->right, t->y, BATCH) + sqrt(squares);
    bk_par_for(N_SHARDS, threads, backward, t);
    t->step++;
    bk_par_for((t->n_params + BK_ADAM_RANGE - 1) / BK_ADAM_RANGE, threads, adam, t);
}

static void train(const struct input *in, unsigned threads, double seconds)
{
    enum { ANCHORS = BATCH / 2 };
    struct trainer *t = must(bk_calloc(1, sizeof *t));
    struct bk_error err;
    struct bk_rng rng;
    t->in = in;
    if (!bk_net_config_default(&t->cfg, "mffa") || t->cfg.d != in->d || in->n < BATCH)
        die("too few functions, or word vectors of another size");
    t->n_params = bk_net_n_params(&t->cfg);
    t->o = bk_net_outputs(&t->cfg);
    t->params = must(bk_calloc(t->n_params, sizeof *t->params));
    t->m = must(bk_calloc(t->n_params, sizeof *t->m));
    t->v = must(bk_calloc(t->n_params, sizeof *t->v));
    t->f = must(bk_calloc(BATCH * t->o, sizeof *t->f));
    t->df = must(bk_calloc(BATCH * t->o, sizeof *t->df));
    bk_rng_seed(&rng, 1, 0);
    bk_net_init(t->params, &t->cfg, &rng);
    check(bk_prepared_new(&t->prepared, &t->cfg, BK_FULL, true, &err), &err);
    for (size_t i = 0; i < N_SHARDS; i++) {
        struct shard *s = &t->shard[i];
        check(bk_pass_new(&s->pass, &t->cfg, &err), &err);
        s->grads = t->grads[i] = must(bk_calloc(t->n_params, sizeof *s->grads));
        s->f = must(bk_calloc(SHARD * t->o, sizeof *s->f));
        s->df = must(bk_calloc(SHARD * t->o, sizeof *s->df));
    }
    for (uint32_t i = 0; i < ANCHORS; i++) {
        t->left[i] = t->left[ANCHORS + i] = i;
        t->right[i] = ANCHORS + i;
        t->right[ANCHORS + i] = ANCHORS + (i + 1) % ANCHORS;
        t->y[i] = 1;
        t->y[ANCHORS + i] = -1;
    }
    double batch_operations = 0;
    size_t n_batches = in->n / BATCH;
    for (size_t i = 0; i < n_batches; i++) {
        struct work w = useful(&t->cfg, in->seqs + i * BATCH, BATCH, in->n_words);
        batch_operations += (3 * w.own + 2 * w.shared) / (double)n_batches;
    }
    bk_fpu_flush_denormals();
    train_batch(t, threads); /* grows the scratch */
    t->step = 0;
    size_t done = 0;
    double begun = bk_now();
    /* Whole rounds: every batch as often as the others. */
    do {
        for (size_t i = 0; i < n_batches; i++)
            train_batch(t, threads);
        done += n_batches;
    } while (bk_now() - begun < seconds);
    double spent = bk_now() - begun;
    char more[64];
    snprintf(more, sizeof more, ",\"loss\":%.2f", t->loss);
    report("train", done * BATCH, spent, (double)done * batch_operations, more);
    for (size_t i = 0; i < N_SHARDS; i++) {
        bk_pass_free(t->shard[i].pass);
        free(t->shard[i].grads);
        free(t->shard[i].f);
        free(t->shard[i].df);
    }
    free(t->params);
    bk_prepared_free(t->prepared);
    free(t->m);
    free(t->v);
    free(t->f);
    free(t->df);
    free(t);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(const struct input *in, unsigned threads, double seconds);
    } jobs[] = {{"embed", embed}, {"embed-int8", embed_int8}, {"train", train}, {"latency", latency}};
    if ((argc == 3 || argc == 4) && strcmp(argv[1], "dump") == 0) {
        dump(argv[2], argc == 4 ? argv[3] : default_file);
        return 0;
    }
    if (argc == 3 && strcmp(argv[1], "peak") == 0) {
        net_peak((unsigned)atoi(argv[2]));
        return 0;
    }
    for (size_t i = 0; argc == 5 && i < sizeof jobs / sizeof *jobs; i++) {
        if (strcmp(argv[1], jobs[i].name) != 0)
            continue;
        struct input in;
        input_open(&in, argv[2]);
        jobs[i].run(&in, (unsigned)atoi(argv[3]), strtod(argv[4], NULL));
        input_done(&in);
        return 0;
    }
    fprintf(
        stderr,
        "usage: net_speed dump FUNCS [FILE] | embed|embed-int8|train|latency FUNCS THREADS SECONDS | peak THREADS\n");
    return 2;
}
