/* i2v: word vectors by skip-gram with negative sampling (Mikolov et al. 2013, "Distributed Representations of Words and Phrases",
 * and the word2vec program) over the instruction words of functions.
 *
 * Every processor family is a stream of its own. A stream is cut into rounds of SHARDS slices; the slices of a round train side by
 * side, each on its own copy of the matrices, and after the round the copies are merged row by row. Slices and merging
 * are the same for any number of threads, and so is the result. */
#include "learn.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define SHARDS      4
#define LANES       16 /* rows are padded to a multiple: a dot product has the same 16 partial sums on any processor */
#define END_WORDS   5  /* end-of-function words after each function */
#define MIN_STRETCH 1000 /* words of a slice, at least */
#define MAX_STREAMS 8
#define MAX_DIM     4096
#define LARGE_PAGE  (2u << 20)
#define SIGMOID_MAX 6.0f /* beyond it the sigmoid is 0 or 1, as in word2vec */
#define SIGMOID_N   1024
#define FEW_HITS    64

/* ---- the stream: which functions and words are read ----------------------- */

struct alias { /* Vose's alias method: draws a word in O(1) */
    float keep;
    uint32_t self, other; /* words */
};

/* The words of one prefix letter. */
struct stream {
    char prefix;
    enum bk_arch arch;     /* the first one present */
    uint32_t unknown, end; /* ids in the vocabulary */
    size_t n_funcs;
    uint32_t *funcs;  /* read in this order, shuffled for each epoch */
    size_t *bounds;   /* slice q is funcs[bounds[q] .. bounds[q + 1]) */
    uint64_t n_words; /* with the end words */
    size_t n_ids;
    uint32_t *ids; /* of its vocabulary */
    struct alias *alias;
};

struct i2v {
    const struct bk_dataset *d;
    struct bk_i2v_options opt; /* defaults filled in */
    struct bk_vectors file;
    uint32_t *map; /* data set id -> vocabulary id */
    size_t n_streams;
    struct stream stream[MAX_STREAMS];
    float *keep; /* by vocabulary id: chance to survive subsampling */
    uint64_t n_words;

    size_t v, stride; /* rows, floats of a row */
    size_t n_rounds;  /* of an epoch */
    unsigned epoch;
    size_t round;
    float *base[2];            /* input and output vectors */
    float *copy[SHARDS][2];    /* the same, of each shard */
    uint32_t *hits[SHARDS][2]; /* how often the round touched each row */
    float sigmoid[SIGMOID_N + 1];
    double covered[FEW_HITS];    /* of the round's rate */
    struct bk_word_seq *scratch; /* words of one slice, by item */
    bool *failed;                /* by item: no memory for it */
};

static int by_content(const void *x, const void *y, void *ctx)
{
    const struct bk_dataset *d = ctx;
    uint32_t i = *(const uint32_t *)x, j = *(const uint32_t *)y;
    const struct bk_data_func *a = &d->v[i], *b = &d->v[j];
    int pa = bk_word_prefix(bk_data_arch(d, i)), pb = bk_word_prefix(bk_data_arch(d, j));
    if (pa != pb)
        return pa - pb;
    if (a->n_words != b->n_words)
        return a->n_words < b->n_words ? -1 : 1;
    int c = memcmp(a->words, b->words, a->n_words * sizeof *a->words);
    return c ? c : (i > j) - (i < j);
}

static int by_number(const void *x, const void *y)
{
    uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;
    return (a > b) - (a < b);
}

static bool same_words(const struct bk_dataset *d, uint32_t i, uint32_t j)
{
    const struct bk_data_func *a = &d->v[i], *b = &d->v[j];
    return bk_word_prefix(bk_data_arch(d, i)) == bk_word_prefix(bk_data_arch(d, j)) && a->n_words == b->n_words &&
           memcmp(a->words, b->words, a->n_words * sizeof *a->words) == 0;
}

/* The stream of a function's words, made when it is the first of its prefix. */
static struct stream *stream_of(struct i2v *t, enum bk_arch arch)
{
    char prefix = bk_word_prefix(arch);
    for (size_t k = 0; k < t->n_streams; k++)
        if (t->stream[k].prefix == prefix)
            return &t->stream[k];
    struct stream *s = &t->stream[t->n_streams++];
    s->prefix = prefix;
    s->arch = arch;
    return s;
}

/* Chooses the functions: the training part, equal word sequences once, in the order of the data set. */
static int choose_functions(struct i2v *t, struct bk_error *err)
{
    const struct bk_dataset *d = t->d;
    size_t n = 0, kept = 0;
    uint32_t *all = bk_calloc(d->n ? d->n : 1, sizeof *all);
    uint8_t *part = bk_calloc(d->n ? d->n : 1, 1);
    int rc = all && part ? BK_OK : bk_fail_nomem(err, d->n * sizeof *all);
    if (!rc && t->opt.split)
        rc = bk_split_parts(part, d, t->opt.split, err);
    for (size_t i = 0; i < d->n && !rc; i++)
        if (part[i] == BK_PART_TRAIN) {
            all[n++] = (uint32_t)i;
            t->file.archs |= 1u << bk_data_arch(d, i);
        }
    if (!rc && n == 0)
        rc = bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "no function to read words from");
    if (!rc) {
        qsort_r(all, n, sizeof *all, by_content, (void *)(uintptr_t)d);
        for (size_t i = 0; i < n; i++)
            if (kept == 0 || !same_words(d, all[kept - 1], all[i]))
                all[kept++] = all[i];
        qsort(all, kept, sizeof *all, by_number);
        for (int a = BK_ARCH_NONE + 1; a < BK_ARCH_COUNT; a++) /* streams in the order of architectures */
            if (t->file.archs >> a & 1)
                stream_of(t, a);
    }
    for (size_t k = 0; k < t->n_streams && !rc; k++) {
        t->stream[k].funcs = bk_calloc(kept, sizeof(uint32_t));
        if (!t->stream[k].funcs)
            rc = bk_fail_nomem(err, kept * sizeof(uint32_t));
    }
    for (size_t i = 0; i < kept && !rc; i++) {
        struct stream *s = stream_of(t, bk_data_arch(d, all[i]));
        s->funcs[s->n_funcs++] = all[i];
        s->n_words += d->v[all[i]].n_words + END_WORDS;
    }
    free(all);
    free(part);
    return rc;
}

/* ---- the vocabulary -------------------------------------------------------- */

struct candidate {
    const char *word;
    uint64_t count;
    uint32_t id; /* of the data set; BK_STR_NONE: an end word */
};

static int by_count(const void *x, const void *y)
{
    const struct candidate *a = x, *b = y;
    if (a->count != b->count)
        return a->count > b->count ? -1 : 1;
    return strcmp(a->word, b->word);
}

static uint32_t intern(struct bk_strtab *t, const char *word)
{
    return bk_strtab_intern(t, word, strlen(word));
}

/* Interns padding, unknown words and the chosen candidates, and maps the data set's ids. */
static int fill_vocabulary(struct i2v *t, const struct candidate *c, size_t n, struct bk_error *err)
{
    struct bk_strtab *words = t->file.words = bk_strtab_new();
    bool good = words && intern(words, "") == 0;
    for (size_t k = 0; k < t->n_streams && good; k++) {
        t->stream[k].unknown = t->stream[k].end = intern(words, bk_word_unknown(t->stream[k].arch));
        good = t->stream[k].unknown != BK_STR_NONE;
    }
    for (size_t i = 0; i < n && good; i++) {
        uint32_t id = intern(words, c[i].word);
        good = id != BK_STR_NONE;
        if (c[i].id != BK_STR_NONE)
            t->map[c[i].id] = id;
        else
            for (size_t k = 0; k < t->n_streams; k++)
                if (t->stream[k].prefix == c[i].word[0])
                    t->stream[k].end = id;
    }
    if (!good)
        return bk_fail_nomem(err, n);
    t->v = bk_strtab_count(words);
    t->file.counts = bk_calloc(t->v, sizeof *t->file.counts);
    return t->file.counts ? BK_OK : bk_fail_nomem(err, t->v * sizeof *t->file.counts);
}

/* Adds up how often the stream holds each word of the vocabulary; words left out count as the unknown one. */
static void count_vocabulary(struct i2v *t)
{
    for (size_t k = 0; k < t->n_streams; k++) {
        const struct stream *s = &t->stream[k];
        for (size_t i = 0; i < s->n_funcs; i++) {
            const struct bk_data_func *f = &t->d->v[s->funcs[i]];
            for (size_t w = 0; w < f->n_words; w++) {
                uint32_t id = t->map[f->words[w]];
                t->file.counts[id != BK_STR_NONE ? id : s->unknown]++;
            }
        }
        t->file.counts[s->end] += END_WORDS * (uint64_t)s->n_funcs;
        t->n_words += s->n_words;
    }
}

static int build_vocabulary(struct i2v *t, struct bk_error *err)
{
    size_t n_ids = bk_strtab_count(t->d->words), n = 0;
    uint64_t *count = bk_calloc(n_ids + 1, sizeof *count);
    struct candidate *c = bk_calloc(n_ids + MAX_STREAMS, sizeof *c);
    t->map = bk_calloc(n_ids + 1, sizeof *t->map);
    int rc = count && c && t->map ? BK_OK : bk_fail_nomem(err, n_ids * sizeof *c);
    if (!rc) {
        memset(t->map, 0xff, n_ids * sizeof *t->map); /* BK_STR_NONE */
        for (size_t k = 0; k < t->n_streams; k++) {
            const struct stream *s = &t->stream[k];
            for (size_t i = 0; i < s->n_funcs; i++)
                for (size_t w = 0; w < t->d->v[s->funcs[i]].n_words; w++)
                    count[t->d->v[s->funcs[i]].words[w]]++;
            uint64_t n_end = END_WORDS * (uint64_t)s->n_funcs;
            if (n_end >= t->opt.min_count)
                c[n++] = (struct candidate){bk_word_end(s->arch), n_end, BK_STR_NONE};
        }
        for (size_t i = 0; i < n_ids; i++)
            if (count[i] >= t->opt.min_count)
                c[n++] = (struct candidate){bk_strtab_str(t->d->words, (uint32_t)i), count[i], (uint32_t)i};
        qsort(c, n, sizeof *c, by_count);
        if (t->opt.max_words && n > t->opt.max_words)
            n = t->opt.max_words;
        rc = fill_vocabulary(t, c, n, err);
        if (!rc)
            count_vocabulary(t);
    }
    free(count);
    free(c);
    return rc;
}

/* The noise of a stream: its words with counts to the power of 0.75. */
static int build_noise(struct i2v *t, struct stream *s, struct bk_error *err)
{
    for (size_t i = 1; i < t->v; i++)
        s->n_ids += t->file.counts[i] && bk_strtab_str(t->file.words, (uint32_t)i)[0] == s->prefix;
    s->ids = bk_calloc(s->n_ids, sizeof *s->ids);
    s->alias = bk_calloc(s->n_ids, sizeof *s->alias);
    double *p = bk_calloc(s->n_ids, sizeof *p), sum = 0;
    uint32_t *todo = bk_calloc(s->n_ids, sizeof *todo); /* small ones from the left, large ones from the right */
    int rc = s->ids && s->alias && p && todo ? BK_OK : bk_fail_nomem(err, s->n_ids * sizeof *p);
    if (!rc) {
        size_t n = 0, small = 0, large = s->n_ids;
        for (size_t i = 1; i < t->v; i++)
            if (t->file.counts[i] && bk_strtab_str(t->file.words, (uint32_t)i)[0] == s->prefix) {
                s->ids[n] = (uint32_t)i;
                sum += p[n++] = pow((double)t->file.counts[i], 0.75);
            }
        for (size_t i = 0; i < n; i++) {
            p[i] *= (double)n / sum;
            s->alias[i] = (struct alias){1, s->ids[i], s->ids[i]};
            if (p[i] < 1)
                todo[small++] = (uint32_t)i;
            else
                todo[--large] = (uint32_t)i;
        }
        while (small > 0 && large < n) {
            uint32_t a = todo[--small], b = todo[large];
            s->alias[a] = (struct alias){(float)p[a], s->ids[a], s->ids[b]};
            p[b] -= 1 - p[a];
            if (p[b] < 1) {
                large++;
                todo[small++] = b;
            }
        }
    }
    free(p);
    free(todo);
    return rc;
}

/* word2vec's rule: a word of share f of its stream stays with chance sqrt(s / f) + s / f. */
static int build_subsampling(struct i2v *t, struct bk_error *err)
{
    t->keep = bk_calloc(t->v, sizeof *t->keep);
    if (!t->keep)
        return bk_fail_nomem(err, t->v * sizeof *t->keep);
    for (size_t k = 0; k < t->n_streams; k++) {
        const struct stream *s = &t->stream[k];
        for (size_t i = 0; i < s->n_ids; i++) {
            double share = (double)t->file.counts[s->ids[i]] / (double)s->n_words, ratio = t->opt.subsample / share;
            t->keep[s->ids[i]] = t->opt.subsample < 0 ? 1 : (float)(sqrt(ratio) + ratio);
        }
    }
    return BK_OK;
}

/* ---- one slice ------------------------------------------------------------- */

#define CONTEXTS 16 /* of a group, at most */
#define TARGETS  6  /* of a step */

/* Contexts of one centre word against the centre word and noise words, all at once. The noise is shared by the contexts, after Ji,
 * Satish, Li, Dubey 2016, "Parallelizing Word2Vec in Shared and Distributed Memory": each row is fetched once for all of them. */
struct group {
    size_t n_in;
    float *in[CONTEXTS];   /* CONTEXTS is even: a step may fill up to an even number */
    float *out[TARGETS];   /* where there are fewer, `nothing` of the slice */
    float weight[TARGETS]; /* how often it was drawn; 0 where there is none */
    float label;           /* of out[0]; the others are noise */
};

typedef float four __attribute__((vector_size(4 * sizeof(float))));

/* From the LANES partial sums of each product to the step of its pair, four at a time; `n` contexts, an even number. */
static inline __attribute__((always_inline)) void find_steps(float *step, const float *part, size_t n,
                                                             const struct group *g, float rate, const float *sigmoid)
{
    for (size_t i = 0; i < n * TARGETS; i += 4) {
        four r[4];
        for (size_t j = 0; j < 4; j++) {
            const four *q = (const four *)(part + (i + j) * LANES);
            r[j] = (q[0] + q[2]) + (q[1] + q[3]);
        }
        /* each product's two halves added: a0 b0 a1 b1, then those two */
        four ab = __builtin_shufflevector(r[0], r[1], 0, 4, 1, 5) + __builtin_shufflevector(r[0], r[1], 2, 6, 3, 7);
        four cd = __builtin_shufflevector(r[2], r[3], 0, 4, 1, 5) + __builtin_shufflevector(r[2], r[3], 2, 6, 3, 7);
        *(four *)(step + i) = __builtin_shufflevector(ab, cd, 0, 1, 4, 5) + __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
    }
    for (size_t c = 0; c < n; c++)
        for (size_t k = 0; k < TARGETS; k++) {
            float f = step[c * TARGETS + k];
            f = f < SIGMOID_MAX ? f : SIGMOID_MAX; /* also where it is no number: saving refuses the vectors then */
            f = f > -SIGMOID_MAX ? f : -SIGMOID_MAX;
            float p = sigmoid[(int)((f + SIGMOID_MAX) * (SIGMOID_N / (2 * SIGMOID_MAX)))];
            step[c * TARGETS + k] = ((k == 0 ? g->label : 0) - p) * (rate * g->weight[k]);
        }
}

static void fill_sigmoid(float sigmoid[SIGMOID_N + 1])
{
    sigmoid[0] = 0;
    for (size_t i = 1; i < SIGMOID_N; i++) /* at the middle of each step */
        sigmoid[i] =
            (float)(1 / (1 + exp(-(((double)i + 0.5) * 2 * (double)SIGMOID_MAX / SIGMOID_N - (double)SIGMOID_MAX))));
    sigmoid[SIGMOID_N] = 1;
}

typedef void step_fn(struct group *g, size_t stride, float rate, const float *sigmoid);

#define STEP step_any
#define STEP_TARGET
#define WIDTH  4
#define PAIRED 1
#include "i2v_step.h"

#if defined(__x86_64__)
#define STEP        step_avx2
#define STEP_TARGET __attribute__((target("avx2")))
#define WIDTH       8
#define PAIRED      1
#include "i2v_step.h"

#define STEP        step_avx512
#define STEP_TARGET __attribute__((target("avx512f,avx512vl,avx512dq,avx512bw")))
#define WIDTH       16
#define PAIRED      2
#include "i2v_step.h"

static step_fn *fastest_step(void)
{
    enum bk_cpu cpu = bk_cpu();
    return cpu >= BK_CPU_AVX512 ? step_avx512 : cpu >= BK_CPU_AVX2 ? step_avx2 : step_any;
}
#else
static step_fn *fastest_step(void)
{
    return step_any;
}
#endif

static uint32_t draw_noise(const struct stream *s, struct bk_rng *rng)
{
    uint64_t r = bk_rng_u64(rng);
    size_t i = (size_t)((r >> 32) * s->n_ids >> 32);
    const struct alias *a = &s->alias[i];
    return (float)(r & 0xffffff) * 0x1p-24f < a->keep ? a->self : a->other;
}

/* The words of functions [first, last) that survive subsampling. */
static bool read_slice(struct bk_word_seq *out, const struct i2v *t, const struct stream *s, size_t first, size_t last,
                       struct bk_rng *rng)
{
    out->n = 0;
    for (size_t i = first; i < last; i++) {
        const struct bk_data_func *f = &t->d->v[s->funcs[i]];
        if (!bk_grow((void **)&out->v, &out->cap, out->n + f->n_words + END_WORDS, sizeof *out->v))
            return false;
        for (size_t w = 0; w < f->n_words + END_WORDS; w++) {
            uint32_t id = w < f->n_words ? t->map[f->words[w]] : s->end;
            if (id == BK_STR_NONE)
                id = s->unknown;
            if (t->keep[id] >= 1 || bk_rng_unit(rng) < t->keep[id])
                out->v[out->n++] = id;
        }
    }
    return true;
}

/* What is trained for one centre word. Drawn one word ahead, so that its rows are on their way from memory. */
struct plan {
    uint32_t centre;
    size_t from, at, to; /* contexts are words [from, to) without `at` */
    size_t n;
    uint32_t noise[64];
    float weight[64];
};

/* The slice under way. */
struct slice {
    struct i2v *t;
    const struct stream *s;
    const struct bk_word_seq *words;
    float *in, *out;
    uint32_t *hits_in, *hits_out;
    struct bk_rng rng;
    float *nothing; /* a row of zeros */
};

static void fetch_row(const float *row, size_t stride)
{
    for (size_t i = 0; i < stride; i += 16)
        __builtin_prefetch(row + i, 1);
}

static void draw_targets(struct plan *p, struct slice *x)
{
    p->noise[0] = p->centre;
    p->weight[0] = 1;
    p->n = 1;
    for (size_t k = 0; k < x->t->opt.negatives; k++) {
        uint32_t id = draw_noise(x->s, &x->rng);
        size_t j = 0;
        while (j < p->n && p->noise[j] != id)
            j++;
        if (j == p->n) {
            p->noise[p->n] = id;
            p->weight[p->n++] = 1;
            fetch_row(x->out + id * x->t->stride, x->t->stride);
        } else if (j > 0) {
            p->weight[j]++;
        }
    }
}

static void make_plan(struct plan *p, struct slice *x, size_t i)
{
    size_t window = x->t->opt.window, reach = window - bk_rng_below(&x->rng, window);
    p->centre = x->words->v[i];
    p->at = i;
    p->from = i > reach ? i - reach : 0;
    p->to = i + reach < x->words->n ? i + reach + 1 : x->words->n;
    draw_targets(p, x);
    fetch_row(x->out + p->centre * x->t->stride, x->t->stride);
    if (p->to > p->from)
        fetch_row(x->in + x->words->v[p->to - 1] * x->t->stride, x->t->stride);
}

static void train_plan(struct plan *p, struct slice *x, step_fn *step, float rate)
{
    size_t stride = x->t->stride;
    struct group g;
    for (size_t c = p->from; c < p->to;) {
        g.n_in = 0;
        for (; c < p->to && g.n_in < CONTEXTS; c++)
            if (c != p->at) {
                x->hits_in[x->words->v[c]]++;
                g.in[g.n_in++] = x->in + x->words->v[c] * stride;
            }
        if (g.n_in == 0)
            break;
        for (size_t first = 0; first < p->n; first += TARGETS) {
            for (size_t k = 0; k < TARGETS; k++) {
                bool is = first + k < p->n;
                g.out[k] = is ? x->out + p->noise[first + k] * stride : x->nothing;
                g.weight[k] = is ? p->weight[first + k] : 0;
                if (is)
                    x->hits_out[p->noise[first + k]] += (uint32_t)(g.n_in * (size_t)g.weight[k]);
            }
            g.label = first == 0;
            step(&g, stride, rate, x->t->sigmoid);
        }
    }
}

static void train_slice(void *ctx, size_t item, unsigned worker)
{
    struct i2v *t = ctx;
    (void)worker;
    size_t shard = item % SHARDS, q = t->round * SHARDS + shard;
    const struct stream *s = &t->stream[item / SHARDS];
    struct bk_word_seq *words = &t->scratch[item];
    _Alignas(64) float nothing[MAX_DIM + LANES];
    struct slice x = {t,     s,      words, t->copy[shard][0], t->copy[shard][1], t->hits[shard][0], t->hits[shard][1],
                      {{0}}, nothing};
    struct plan plan[2];
    memset(nothing, 0, t->stride * sizeof *nothing);
    bk_rng_seed(&x.rng, t->opt.seed,
                BK_STREAM_SLICE + (t->epoch * t->n_rounds * SHARDS + q) * MAX_STREAMS + item / SHARDS);
    t->failed[item] = !read_slice(words, t, s, s->bounds[q], s->bounds[q + 1], &x.rng);
    if (t->failed[item])
        return;
    step_fn *step = fastest_step();
    if (words->n > 0)
        make_plan(&plan[0], &x, 0);
    for (size_t i = 0; i < words->n; i++) {
        double done =
            (t->epoch + ((double)t->round + (double)i / (double)words->n) / (double)t->n_rounds) / t->opt.epochs;
        if (i + 1 < words->n)
            make_plan(&plan[(i + 1) % 2], &x, i + 1);
        train_plan(&plan[i % 2], &x, step, (float)(t->opt.rate * (done < 0.9999 ? 1 - done : 1e-4)));
    }
}

/* ---- merging the shards ----------------------------------------------------- */

#define MERGE_ROWS 256

static double share_covered(const struct i2v *t, uint32_t hits, double rate)
{
    return hits < FEW_HITS ? t->covered[hits] : -expm1(-rate * hits);
}

/* Adds the moves of a row's copies, scaled so that rows touched seldom add up (as if one had trained after the other) and rows
 * touched often are averaged (each copy is close to where the row settles). With a pull of `rate` a touch, c touches cover
 * the share 1 - exp(-rate c) of the way; the scale makes the sum cover what all touches in one copy would. */
static void merge_row(struct i2v *t, size_t which, size_t row, double rate)
{
    double sum = 0, total = 0;
    float *base = t->base[which] + row * t->stride;
    size_t n = 0;
    const float *moved[SHARDS]; /* the copies that were touched; the others are as the base */
    for (int s = 0; s < SHARDS; s++) {
        uint32_t hits = t->hits[s][which][row];
        if (hits == 0)
            continue;
        sum += share_covered(t, hits, rate);
        total += hits;
        moved[n++] = t->copy[s][which] + row * t->stride;
        t->hits[s][which][row] = 0;
    }
    if (n == 0)
        return;
    float scale = n > 1 ? (float)(-expm1(-rate * total) / sum) : 1, move[MAX_DIM + LANES];
    for (size_t i = 0; i < t->stride; i++)
        move[i] = moved[0][i] - base[i];
    for (size_t k = 1; k < n; k++)
        for (size_t i = 0; i < t->stride; i++)
            move[i] += moved[k][i] - base[i];
    for (size_t i = 0; i < t->stride; i++)
        base[i] += scale * move[i];
    for (int s = 0; s < SHARDS; s++)
        memcpy(t->copy[s][which] + row * t->stride, base, t->stride * sizeof *base);
}

static double rate_of_round(const struct i2v *t)
{
    double done = (t->epoch + (t->round + 0.5) / (double)t->n_rounds) / t->opt.epochs;
    return t->opt.rate * (done < 0.9999 ? 1 - done : 1e-4);
}

static void merge_rows(void *ctx, size_t item, unsigned worker)
{
    struct i2v *t = ctx;
    (void)worker;
    double rate = rate_of_round(t);
    for (size_t r = item * MERGE_ROWS; r < (item + 1) * MERGE_ROWS && r < 2 * t->v; r++)
        merge_row(t, r / t->v, r % t->v, rate);
}

/* ---- the whole ---------------------------------------------------------------- */

static float *new_matrix(const struct i2v *t)
{
    size_t n;
    if (!bk_mul_size(&n, t->v, t->stride * sizeof(float)))
        return NULL;
    float *m = n <= SIZE_MAX - LARGE_PAGE ? aligned_alloc(LARGE_PAGE, (n / LARGE_PAGE + 1) * LARGE_PAGE) : NULL;
    if (m) {
        (void)madvise(m, (n / LARGE_PAGE + 1) * LARGE_PAGE, MADV_HUGEPAGE); /* rows are met at random */
        memset(m, 0, n);
    }
    return m;
}

static int start(struct i2v *t, struct bk_error *err)
{
    size_t stretch = t->v / 4 > MIN_STRETCH ? t->v / 4 : MIN_STRETCH, items = t->n_streams * SHARDS;
    t->stride = (t->opt.dim + LANES - 1) / LANES * LANES;
    t->n_rounds = (size_t)(t->n_words / (stretch * SHARDS)) + 1;
    for (size_t k = 0; k < t->n_streams; k++) {
        t->stream[k].bounds = bk_calloc(t->n_rounds * SHARDS + 1, sizeof(size_t));
        if (!t->stream[k].bounds)
            return bk_fail_nomem(err, t->n_rounds * SHARDS * sizeof(size_t));
    }
    t->scratch = bk_calloc(items, sizeof *t->scratch);
    t->failed = bk_calloc(items, sizeof *t->failed);
    bool good = t->scratch && t->failed;
    for (int m = 0; m < 2; m++) {
        good = (t->base[m] = new_matrix(t)) && good;
        for (int s = 0; s < SHARDS; s++) {
            good = (t->copy[s][m] = new_matrix(t)) && good;
            good = (t->hits[s][m] = bk_calloc(t->v, sizeof(uint32_t))) && good;
        }
    }
    if (!good)
        return bk_fail_nomem(err, t->v * t->stride * sizeof(float) * 2 * (SHARDS + 1));
    struct bk_rng rng;
    bk_rng_seed(&rng, t->opt.seed, BK_STREAM_VECTORS);
    for (size_t i = 1; i < t->v; i++)
        for (size_t k = 0; k < t->opt.dim; k++)
            t->base[0][i * t->stride + k] = (float)((bk_rng_unit(&rng) - 0.5) / t->opt.dim);
    for (int s = 0; s < SHARDS; s++)
        memcpy(t->copy[s][0], t->base[0], t->v * t->stride * sizeof(float));
    fill_sigmoid(t->sigmoid);
    return BK_OK;
}

/* Shuffles a stream for the epoch and cuts it into slices of about as many words. */
static void deal_slices(struct i2v *t, struct stream *s, size_t k)
{
    struct bk_rng rng;
    size_t n_slices = t->n_rounds * SHARDS, q = 0;
    uint64_t words = 0;
    bk_rng_seed(&rng, t->opt.seed, BK_STREAM_SHUFFLE + t->epoch * MAX_STREAMS + k);
    bk_rng_shuffle_u32(&rng, s->funcs, s->n_funcs);
    for (size_t i = 0; i < s->n_funcs; i++) {
        while (q < n_slices && words * n_slices >= q * s->n_words)
            s->bounds[q++] = i;
        words += t->d->v[s->funcs[i]].n_words + END_WORDS;
    }
    while (q <= n_slices)
        s->bounds[q++] = s->n_funcs;
}

static int run(struct i2v *t, double begun, struct bk_error *err)
{
    size_t items = t->n_streams * SHARDS, rounds = 0, all_rounds = t->n_rounds * t->opt.epochs;
    unsigned fpu = bk_fpu_flush_denormals();
    int rc = BK_OK;
    if (t->opt.progress)
        t->opt.progress(t->opt.progress_ctx, "vocabulary built", 0, (size_t)t->n_words * t->opt.epochs);
    for (t->epoch = 0; t->epoch < t->opt.epochs && !rc; t->epoch++) {
        for (size_t k = 0; k < t->n_streams; k++)
            deal_slices(t, &t->stream[k], k);
        for (t->round = 0; t->round < t->n_rounds && !rc; t->round++) {
            bk_par_for(items, t->opt.threads, train_slice, t);
            for (uint32_t h = 0; h < FEW_HITS; h++)
                t->covered[h] = -expm1(-rate_of_round(t) * h);
            bk_par_for((2 * t->v + MERGE_ROWS - 1) / MERGE_ROWS, t->opt.threads, merge_rows, t);
            for (size_t i = 0; i < items && !rc; i++)
                if (t->failed[i])
                    rc = bk_fail_nomem(err, t->scratch[i].cap);
            if (t->opt.progress) {
                char what[64];
                double done = (double)++rounds / (double)all_rounds * (double)t->n_words * t->opt.epochs;
                snprintf(what, sizeof what, "%.0f words/s", done / (bk_now() - begun));
                t->opt.progress(t->opt.progress_ctx, what, (size_t)done, (size_t)t->n_words * t->opt.epochs);
            }
        }
    }
    bk_fpu_restore(fpu);
    return rc;
}

static int finish(struct i2v *t, const char *path, struct bk_error *err)
{
    struct bk_vectors *f = &t->file;
    size_t n_funcs = 0;
    f->dim = t->opt.dim;
    f->v = bk_calloc(t->v, f->dim * sizeof *f->v);
    if (!f->v)
        return bk_fail_nomem(err, t->v * f->dim * sizeof *f->v);
    for (size_t i = 0; i < t->v; i++)
        memcpy(f->v + i * f->dim, t->base[0] + i * t->stride, f->dim * sizeof *f->v);
    for (size_t k = 0; k < t->n_streams; k++)
        n_funcs += t->stream[k].n_funcs;
    f->all_functions = !t->opt.split;
    if (t->opt.split)
        f->split = *t->opt.split;
    f->dataset_hash = t->d->info.hash;
    json_t *j = json_pack("{si si si si si si sf sf sI sI sI}", "dim", (int)t->opt.dim, "window", (int)t->opt.window,
                          "min_count", (int)t->opt.min_count, "max_words", (int)t->opt.max_words, "negatives",
                          (int)t->opt.negatives, "epochs", (int)t->opt.epochs, "rate", t->opt.rate, "subsample",
                          t->opt.subsample, "seed", (json_int_t)t->opt.seed, "functions", (json_int_t)n_funcs,
                          "words_read", (json_int_t)(t->n_words * t->opt.epochs));
    f->options = j ? json_dumps(j, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(j);
    if (!f->options)
        return bk_fail_nomem(err, 256);
    return bk_vectors_save(f, path, err);
}

static void release(struct i2v *t)
{
    for (size_t k = 0; k < t->n_streams; k++) {
        free(t->stream[k].funcs);
        free(t->stream[k].bounds);
        free(t->stream[k].ids);
        free(t->stream[k].alias);
        for (size_t s = 0; t->scratch && s < SHARDS; s++)
            bk_word_seq_done(&t->scratch[k * SHARDS + s]);
    }
    for (int m = 0; m < 2; m++) {
        free(t->base[m]);
        for (int s = 0; s < SHARDS; s++) {
            free(t->copy[s][m]);
            free(t->hits[s][m]);
        }
    }
    free(t->scratch);
    free(t->failed);
    free(t->keep);
    free(t->map);
    bk_vectors_done(&t->file);
    free(t);
}

static int fill_options(struct bk_i2v_options *o, const struct bk_i2v_options *opt, struct bk_error *err)
{
    *o = opt ? *opt : (struct bk_i2v_options){0};
    o->dim = o->dim ? o->dim : 100;
    o->window = o->window ? o->window : 8;
    o->min_count = o->min_count ? o->min_count : 8;
    o->negatives = o->negatives ? o->negatives : 5;
    o->epochs = o->epochs ? o->epochs : 5;
    o->rate = o->rate != 0 ? o->rate : 0.025;
    o->subsample = o->subsample != 0 ? o->subsample : 1e-3;
    if (o->dim > MAX_DIM || o->window > 1000 || o->negatives > 63 || o->epochs > 100000 ||
        !(o->rate > 0 && o->rate < 1) || !(o->subsample < 1))
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET,
                       "i2v: dim up to %d, window 1000, 63 negatives, 100000 epochs, rate and subsample below 1",
                       MAX_DIM);
    return BK_OK;
}

int bk_i2v_train(struct bk_i2v_report *report, const char *out_path, const struct bk_dataset *d,
                 const struct bk_i2v_options *opt, struct bk_error *err)
{
    bk_error_clear(err);
    double begun = bk_now();
    struct i2v *t = calloc(1, sizeof *t);
    if (!t)
        return bk_fail_nomem(err, sizeof *t);
    t->d = d;
    int rc = fill_options(&t->opt, opt, err);
    if (!rc)
        rc = choose_functions(t, err);
    if (!rc)
        rc = build_vocabulary(t, err);
    for (size_t k = 0; k < t->n_streams && !rc; k++)
        rc = build_noise(t, &t->stream[k], err);
    if (!rc)
        rc = build_subsampling(t, err);
    if (!rc)
        rc = start(t, err);
    if (!rc)
        rc = run(t, begun, err);
    if (!rc)
        rc = finish(t, out_path, err);
    if (!rc && report) {
        *report = (struct bk_i2v_report){t->v, t->n_words * t->opt.epochs, bk_now() - begun, 0};
        report->words_per_second = (double)report->words_read / (report->seconds > 0 ? report->seconds : 1e-9);
    }
    release(t);
    return rc;
}
