/* baseline: scores that need no training, from counts of words, opcodes and immediates. */
#include "judge.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- features of a function ------------------------------------------------ */

struct features {
    const struct bk_dataset *d;
    bool immediates;
    uint32_t *of_word; /* the feature a word counts as, BK_STR_NONE: none; NULL: words are not looked at */
    uint32_t n_words;  /* features of words: those of immediates follow */
    uint32_t n;
    uint32_t *v; /* of one function, as they come; room for the longest one */
};

static void features_done(struct features *f)
{
    free(f->of_word);
    free(f->v);
}

/* One feature for each mnemonic, whatever architecture has it. */
static int number_opcodes(struct features *f, struct bk_error *err)
{
    struct bk_strtab *opcodes = bk_strtab_new();
    bool room = opcodes != NULL;
    for (uint32_t w = 0; room && w < bk_strtab_count(f->d->words); w++) {
        const char *name;
        size_t len = bk_word_opcode(&name, bk_strtab_str(f->d->words, w));
        f->of_word[w] = len ? bk_strtab_intern(opcodes, name, len) : BK_STR_NONE;
        room = !len || f->of_word[w] != BK_STR_NONE;
    }
    f->n_words = room ? bk_strtab_count(opcodes) : 0;
    bk_strtab_free(opcodes);
    return room ? BK_OK : bk_fail_nomem(err, bk_strtab_count(f->d->words) * sizeof *f->of_word);
}

static int features_init(struct features *f, const struct bk_dataset *d, enum bk_baseline baseline,
                         struct bk_error *err)
{
    *f = (struct features){.d = d,
                           .immediates = baseline == BK_BASELINE_TFIDF_IMMEDIATES || baseline == BK_BASELINE_TFIDF};
    if (f->immediates && !d->has_immediates)
        return bk_fail(err, BK_EMISMATCH, BK_NO_OFFSET,
                       "the data set says nothing of immediates, which %s needs: build it anew",
                       bk_baseline_name(baseline));
    size_t longest = 0;
    for (size_t i = 0; i < d->n; i++) {
        size_t len = d->v[i].n_words + (f->immediates ? d->v[i].n_immediates : 0);
        longest = len > longest ? len : longest;
    }
    f->v = bk_calloc(longest + 1, sizeof *f->v);
    uint32_t n_words = bk_strtab_count(d->words);
    f->of_word = baseline != BK_BASELINE_TFIDF_IMMEDIATES ? bk_calloc((size_t)n_words + 1, sizeof *f->of_word) : NULL;
    if (!f->v || (!f->of_word && baseline != BK_BASELINE_TFIDF_IMMEDIATES))
        return bk_fail_nomem(err, n_words * sizeof *f->of_word);
    int rc = BK_OK;
    if (baseline == BK_BASELINE_TFIDF_OPCODES || baseline == BK_BASELINE_TFIDF) {
        rc = number_opcodes(f, err);
    } else if (f->of_word) {
        f->n_words = n_words;
        for (uint32_t w = 0; w < n_words; w++)
            f->of_word[w] = w;
    }
    f->n = f->n_words + (f->immediates ? (uint32_t)d->n_immediates : 0);
    return rc;
}

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* The features of function `i`, rising, into f->v; returns how many. */
static size_t list(struct features *f, size_t i)
{
    const struct bk_data_func *func = &f->d->v[i];
    size_t n = 0;
    for (size_t k = 0; f->of_word && k < func->n_words; k++)
        if (f->of_word[func->words[k]] != BK_STR_NONE)
            f->v[n++] = f->of_word[func->words[k]];
    for (size_t k = 0; f->immediates && k < func->n_immediates; k++)
        f->v[n++] = f->n_words + func->immediates[k];
    qsort(f->v, n, sizeof *f->v, by_number);
    return n;
}

static size_t run_length(const uint32_t *v, size_t n, size_t at)
{
    size_t same = 1;
    while (at + same < n && v[at + same] == v[at])
        same++;
    return same;
}

/* ---- rows ------------------------------------------------------------------ */

/* ln((1 + N) / (1 + df)) + 1 of each feature over the training part, over the whole set where that is empty. */
static int inverse_frequencies(double **out, struct features *f, const struct bk_trial *t, struct bk_error *err)
{
    double *idf = *out = bk_calloc((size_t)f->n + 1, sizeof *idf);
    if (!idf)
        return bk_fail_nomem(err, f->n * sizeof *idf);
    size_t n_train = 0, n = 0;
    for (size_t i = 0; i < f->d->n; i++)
        n_train += t->part[i] == BK_PART_TRAIN;
    for (size_t i = 0; i < f->d->n; i++) {
        if (n_train && t->part[i] != BK_PART_TRAIN)
            continue;
        n++;
        size_t len = list(f, i);
        for (size_t k = 0; k < len; k += run_length(f->v, len, k))
            idf[f->v[k]]++;
    }
    for (size_t k = 0; k < f->n; k++)
        idf[k] = log((1 + (double)n) / (1 + idf[k])) + 1;
    return BK_OK;
}

/* The row of the features in f->v: plain counts where there is no idf. Returns its end. */
static size_t write_row(struct bk_rows *r, size_t at, const struct features *f, size_t len, const double *idf)
{
    size_t begin = at;
    double squares = 0;
    for (size_t k = 0, tf; k < len; k += tf, at++) {
        tf = run_length(f->v, len, k);
        double w = idf ? (1 + log((double)tf)) * idf[f->v[k]] : (double)tf;
        r->feature[at] = f->v[k];
        r->weight[at] = (float)w;
        squares += w * w;
    }
    for (size_t k = begin; k < at; k++)
        r->weight[k] = (float)((double)r->weight[k] / sqrt(squares));
    return at;
}

static int make_rows(struct bk_rows *r, struct features *f, const struct bk_trial *t, const double *idf,
                     struct bk_error *err)
{
    size_t total = 0;
    for (size_t k = 0; k < t->g.n; k++)
        total += list(f, t->g.v[k]);
    r->n = t->g.n;
    r->n_features = f->n;
    r->begin = bk_calloc(r->n + 1, sizeof *r->begin);
    r->feature = bk_calloc(total + 1, sizeof *r->feature);
    r->weight = bk_calloc(total + 1, sizeof *r->weight);
    if (!r->begin || !r->feature || !r->weight)
        return bk_fail_nomem(err, total * 8);
    for (size_t k = 0; k < t->g.n; k++)
        r->begin[k + 1] = write_row(r, r->begin[k], f, list(f, t->g.v[k]), idf);
    return BK_OK;
}

int bk_rows_new(struct bk_rows **out, const struct bk_trial *t, enum bk_baseline baseline, struct bk_error *err)
{
    struct features f;
    double *idf = NULL;
    struct bk_rows *r = bk_calloc(1, sizeof *r);
    int rc = features_init(&f, t->d, baseline, err);
    if (!rc && !r)
        rc = bk_fail_nomem(err, sizeof *r);
    if (!rc && baseline != BK_BASELINE_COUNTS)
        rc = inverse_frequencies(&idf, &f, t, err);
    if (!rc)
        rc = make_rows(r, &f, t, idf, err);
    features_done(&f);
    free(idf);
    if (rc) {
        bk_rows_free(r);
        r = NULL;
    }
    *out = r;
    return rc;
}

void bk_rows_free(struct bk_rows *r)
{
    if (!r)
        return;
    free(r->begin);
    free(r->feature);
    free(r->weight);
    free(r);
}

/* ---- MinHash --------------------------------------------------------------- */

/* Broder 1997: the share of equal minima estimates the Jaccard index of two sets. */
struct minhash {
    const struct bk_trial *t;
    const uint64_t *word; /* hash of each word */
    uint64_t factor[BK_MINHASHES], addend[BK_MINHASHES];
    uint32_t *out;
};

static void sign(void *ctx, size_t item, unsigned worker)
{
    (void)worker;
    const struct minhash *m = ctx;
    const struct bk_data_func *f = &m->t->d->v[m->t->g.v[item]];
    uint32_t *least = m->out + item * BK_MINHASHES;
    memset(least, 0xff, BK_MINHASHES * sizeof *least);
    for (size_t i = 0; i < f->n_words; i++) {
        uint64_t h = m->word[f->words[i]];
        for (size_t k = 0; k < BK_MINHASHES; k++) {
            uint32_t x =
                (uint32_t)((h * m->factor[k] + m->addend[k]) >> 32); /* multiply-add-shift: one hash, many functions */
            least[k] = x < least[k] ? x : least[k];
        }
    }
}

int bk_minhash(uint32_t **out, const struct bk_trial *t, unsigned threads, struct bk_error *err)
{
    uint32_t n_words = bk_strtab_count(t->d->words);
    size_t size;
    uint64_t *word = bk_calloc((size_t)n_words + 1, sizeof *word);
    struct minhash m = {.t = t, .word = word};
    *out = m.out = bk_mul_size(&size, t->g.n, BK_MINHASHES) ? bk_calloc(size + 1, sizeof *m.out) : NULL;
    int rc = word && m.out ? BK_OK : bk_fail_nomem(err, t->g.n * BK_MINHASHES * sizeof *m.out);
    for (uint32_t w = 0; !rc && w < n_words; w++)
        word[w] = bk_hash64(bk_strtab_str(t->d->words, w), bk_strtab_len(t->d->words, w));
    if (!rc) {
        struct bk_rng rng;
        bk_rng_seed(&rng, 1, BK_STREAM_MINHASH);
        for (size_t k = 0; k < BK_MINHASHES; k++) {
            m.factor[k] = bk_rng_u64(&rng) | 1;
            m.addend[k] = bk_rng_u64(&rng);
        }
        bk_par_for(t->g.n, threads, sign, &m);
    }
    free(word);
    return rc;
}
