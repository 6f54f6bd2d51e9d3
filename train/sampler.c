/* sampler: batches of several functions of each of several labels. */
#include "learn.h"

#include <stdlib.h>
#include <string.h>

/* A function among those of its label: who has the same words stands beside it. */
struct entry {
    uint32_t begin; /* of its label in the group */
    uint32_t at;
    uint64_t words;
};

static int by_words(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    if (x->words != y->words)
        return x->words < y->words ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

/* The labels with two unlike functions. */
static int find_labels(struct bk_sampler *s, struct bk_error *err)
{
    const struct bk_group *g = s->group;
    struct entry *e = bk_calloc(g->n + 1, sizeof *e);
    s->v = bk_calloc(g->n + 1, sizeof *s->v);
    s->begin = bk_calloc(g->n / 2 + 1, sizeof *s->begin);
    if (!e || !s->v || !s->begin) {
        free(e);
        return bk_fail_nomem(err, g->n * sizeof *e);
    }
    for (size_t k = 0; k < g->n; k++) {
        const struct bk_data_func *f = &s->d->v[g->v[k]];
        e[k] = (struct entry){g->begin[k], (uint32_t)k, bk_hash64(f->words, f->n_words * sizeof *f->words)};
    }
    qsort(e, g->n, sizeof *e, by_words);
    for (size_t i = 0, j; i < g->n; i = j) {
        uint32_t n = s->begin[s->n_labels];
        for (j = i; j < g->n && e[j].begin == e[i].begin; j++)
            if (j == i || e[j].words != e[j - 1].words)
                s->v[n++] = e[j].at;
        if (n - s->begin[s->n_labels] > 1)
            s->begin[++s->n_labels] = n;
    }
    free(e);
    if (s->n_labels > 1)
        return BK_OK;
    return bk_fail(err, BK_EINVAL, BK_NO_OFFSET,
                   "of %zu functions to train on %zu labels have two of unlike words, and 2 such labels are the least",
                   g->n, s->n_labels);
}

static uint32_t id_of(struct bk_strtab *t, const void *what, size_t size, bool *room)
{
    uint32_t id = bk_strtab_intern(t, what, size);
    *room &= id != BK_STR_NONE;
    return id;
}

/* Small numbers for the projects of labels and the builds of files. */
static int number_builds(struct bk_sampler *s, struct bk_error *err)
{
    const struct bk_dataset *d = s->d;
    struct bk_strtab *projects = bk_strtab_new(), *strings = bk_strtab_new();
    s->project = bk_calloc(s->n_labels, sizeof *s->project);
    s->axis = bk_calloc(d->n_files, sizeof *s->axis);
    bool room = projects && strings && s->project && s->axis;
    for (size_t l = 0; room && l < s->n_labels; l++) {
        const struct bk_data_func *f = &d->v[s->group->v[s->v[s->begin[l]]]];
        s->project[l] = id_of(projects, &d->labels[f->label].project_key, sizeof(uint64_t), &room);
    }
    for (size_t i = 0; room && i < d->n_files; i++) {
        const struct bk_data_file *f = &d->files[i];
        s->axis[i][0] = (uint32_t)f->arch;
        s->axis[i][1] = id_of(strings, f->compiler, strlen(f->compiler), &room);
        s->axis[i][2] = id_of(strings, f->level, strlen(f->level), &room);
    }
    s->taken = room ? bk_calloc(bk_strtab_count(projects), sizeof *s->taken) : NULL;
    s->n_projects = room ? bk_strtab_count(projects) : 0;
    bk_strtab_free(projects);
    bk_strtab_free(strings);
    return s->taken ? BK_OK : bk_fail_nomem(err, d->n_files * sizeof *s->axis);
}

/* The length of passes and epochs, and room for what they draw. */
static int measure(struct bk_sampler *s, uint64_t epoch_functions, struct bk_error *err)
{
    size_t largest = 0, functions = 0; /* functions: of a pass */
    for (size_t l = 0; l < s->n_labels; l++) {
        size_t n = s->begin[l + 1] - s->begin[l];
        largest = n > largest ? n : largest;
        functions += n < s->opt.functions ? n : s->opt.functions;
    }
    s->pass_batches = s->n_labels / s->opt.labels + (s->n_labels % s->opt.labels != 0);
    const uint64_t whole = epoch_functions / functions, rest = epoch_functions % functions;
    s->epoch_batches = whole * s->pass_batches + (rest * s->pass_batches + functions - 1) / functions;
    if (!epoch_functions)
        s->epoch_batches = s->pass_batches;

    size_t room = functions / s->opt.labels < s->opt.functions ? functions : s->opt.labels * s->opt.functions;
    s->order = bk_calloc(s->n_labels, sizeof *s->order);
    s->rest = bk_calloc(largest, sizeof *s->rest);
    s->func = bk_calloc(room, sizeof *s->func);
    s->label = bk_calloc(room, sizeof *s->label);
    s->pass = UINT64_MAX;
    return s->order && s->rest && s->func && s->label ? BK_OK : bk_fail_nomem(err, room * sizeof *s->func);
}

int bk_sampler_init(struct bk_sampler *out, const struct bk_dataset *d, const struct bk_group *g,
                    const struct bk_sampler_options *opt, struct bk_error *err)
{
    *out = (struct bk_sampler){.d = d, .group = g, .opt = *opt};
    if (opt->labels < 2 || opt->functions < 2 || !(opt->cross_from >= 0 && opt->cross_from <= 1) ||
        !(opt->cross_to >= 0 && opt->cross_to <= 1))
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET,
                       "train: a batch has at least 2 labels x 2 functions, and cross lies in [0, 1]");
    int rc = find_labels(out, err);
    if (!rc)
        rc = number_builds(out, err);
    if (!rc)
        rc = measure(out, opt->epoch_functions, err);
    if (rc)
        bk_sampler_done(out);
    return rc;
}

void bk_sampler_done(struct bk_sampler *s)
{
    if (!s)
        return;
    free(s->begin);
    free(s->v);
    free(s->project);
    free(s->axis);
    free(s->taken);
    free(s->order);
    free(s->rest);
    free(s->func);
    free(s->label);
    *s = (struct bk_sampler){0};
}

/* Where batch `index` of a pass begins in its order. */
static size_t batch_begin(const struct bk_sampler *s, size_t index)
{
    return index * s->n_labels / s->pass_batches;
}

/* Shuffles the labels, then fetches from later batches what a batch cannot take of a project that already has half of it. */
static void lay_out(struct bk_sampler *s, uint64_t pass)
{
    struct bk_rng rng;
    for (uint32_t l = 0; l < s->n_labels; l++)
        s->order[l] = l;
    bk_rng_seed(&rng, s->opt.seed, BK_STREAM_PASS + pass);
    bk_rng_shuffle_u32(&rng, s->order, s->n_labels);
    for (size_t b = 0; b < s->pass_batches; b++) {
        const size_t first = batch_begin(s, b), end = batch_begin(s, b + 1), half = (end - first + 1) / 2;
        memset(s->taken, 0, s->n_projects * sizeof *s->taken);
        for (size_t i = first, j = first; i < end; i++) {
            j = j < i ? i : j;
            while (j < s->n_labels && s->taken[s->project[s->order[j]]] >= half)
                j++;
            if (j < s->n_labels) {
                uint32_t label = s->order[j];
                s->order[j] = s->order[i];
                s->order[i] = label;
            }
            s->taken[s->project[s->order[i]]]++;
        }
    }
    s->pass = pass;
}

static const uint32_t *axis_of(const struct bk_sampler *s, uint32_t position)
{
    return s->axis[s->d->v[s->group->v[position]].file];
}

/* Moves the functions that differ along an axis from all drawn ones to the front of rest[0, n). Returns their number; n: there is none. */
static size_t narrow(struct bk_sampler *s, size_t n, const uint32_t *drawn, size_t n_drawn, unsigned axis)
{
    size_t n_new = 0;
    for (size_t i = 0; i < n; i++) {
        const uint32_t candidate = s->rest[i];
        size_t k = 0;
        while (k < n_drawn && axis_of(s, drawn[k])[axis] != axis_of(s, candidate)[axis])
            k++;
        if (k < n_drawn)
            continue;
        s->rest[i] = s->rest[n_new];
        s->rest[n_new++] = candidate;
    }
    return n_new ? n_new : n;
}

static void draw_label(struct bk_sampler *s, uint32_t label, double cross, struct bk_rng *rng)
{
    uint32_t *drawn = s->func + s->n;
    size_t left = s->begin[label + 1] - s->begin[label], n_drawn = 0;
    memcpy(s->rest, s->v + s->begin[label], left * sizeof *s->rest);
    for (; left && n_drawn < s->opt.functions; n_drawn++) {
        size_t n = left;
        for (unsigned axis = 0; n_drawn && axis < 3; axis++)
            if (bk_rng_unit(rng) < cross)
                n = narrow(s, n, drawn, n_drawn, axis);
        size_t k = (size_t)bk_rng_below(rng, n);
        drawn[n_drawn] = s->rest[k];
        s->label[s->n + n_drawn] = s->d->v[s->group->v[s->rest[k]]].label;
        s->rest[k] = s->rest[--left];
    }
    s->n += n_drawn;
}

void bk_sampler_draw(struct bk_sampler *s, unsigned epoch, uint64_t batch)
{
    const struct bk_sampler_options *o = &s->opt;
    const double progress = epoch + 1 < o->epochs ? (double)epoch / (o->epochs - 1) : 1;
    const double cross = o->cross_from + (o->cross_to - o->cross_from) * progress;
    const uint64_t number = epoch * s->epoch_batches + batch;
    const size_t index = (size_t)(number % s->pass_batches);
    struct bk_rng rng;
    if (s->pass != number / s->pass_batches)
        lay_out(s, number / s->pass_batches);
    bk_rng_seed(&rng, o->seed, BK_STREAM_BATCH + number);
    s->n = 0;
    for (size_t i = batch_begin(s, index); i < batch_begin(s, index + 1); i++)
        draw_label(s, s->order[i], cross, &rng);
}
