/* trial: what is asked of every subject, drawn from the data set alone. */
#include "judge.h"

#include <stdlib.h>
#include <string.h>

#define DEFAULT_QUERIES 1000
#define DEFAULT_PAIRS   20000

/* ---- builds -------------------------------------------------------------- */

bool bk_build_related(enum bk_axis axis, const struct bk_build *a, const struct bk_build *b)
{
    bool version = a->project != b->project || a->version == b->version;
    bool compiler = a->compiler == b->compiler, level = a->level == b->level;
    bool family = bk_arch_related((enum bk_arch)a->arch, (enum bk_arch)b->arch);
    switch (axis) {
    case BK_AXIS_XO:
        return a->arch == b->arch && compiler && version && !level;
    case BK_AXIS_XC:
        return a->arch == b->arch && version && !compiler;
    case BK_AXIS_XB: /* the two of a family differ in their word size */
        return family && a->arch != b->arch && compiler && level && version;
    case BK_AXIS_XA:
        return !family && compiler && level && version;
    default:
        return true;
    }
}

static uint32_t label_id(struct bk_strtab *strings, const char *s)
{
    return bk_strtab_intern(strings, s, strlen(s));
}

/* The builds of the set's files, and into `of_file` which of them each file is. */
static int find_builds(struct bk_trial *t, uint32_t *of_file, struct bk_error *err)
{
    const struct bk_dataset *d = t->d;
    struct bk_strtab *strings = bk_strtab_new(), *builds = bk_strtab_new();
    t->builds = bk_calloc(d->n_files + 1, sizeof *t->builds);
    bool room = strings && builds && t->builds;
    for (size_t i = 0; room && i < d->n_files; i++) {
        const struct bk_data_file *f = &d->files[i];
        struct bk_build b = {(uint32_t)f->arch, label_id(strings, f->compiler), label_id(strings, f->level),
                             label_id(strings, f->project), label_id(strings, f->version)};
        of_file[i] = bk_strtab_intern(builds, (const char *)&b, sizeof b);
        room = b.compiler != BK_STR_NONE && b.level != BK_STR_NONE && b.project != BK_STR_NONE &&
               b.version != BK_STR_NONE && of_file[i] != BK_STR_NONE;
        if (room)
            t->builds[of_file[i]] = b;
    }
    t->n_builds = room ? bk_strtab_count(builds) : 0;
    bk_strtab_free(strings);
    bk_strtab_free(builds);
    return room ? BK_OK : bk_fail_nomem(err, d->n_files * sizeof *t->builds);
}

static int set_builds(struct bk_trial *t, struct bk_error *err)
{
    uint32_t *of_file = bk_calloc(t->d->n_files + 1, sizeof *of_file);
    t->build = bk_calloc(t->g.n + 1, sizeof *t->build);
    int rc = of_file && t->build ? find_builds(t, of_file, err) : bk_fail_nomem(err, t->g.n * sizeof *t->build);
    for (size_t k = 0; !rc && k < t->g.n; k++)
        t->build[k] = of_file[t->d->v[t->g.v[k]].file];
    free(of_file);
    return rc;
}

/* ---- filters ------------------------------------------------------------- */

struct named { /* a function by a hash of it */
    uint64_t hash;
    uint32_t i;
};

static int by_hash(const void *a, const void *b)
{
    const struct named *x = a, *y = b;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return (x->i > y->i) - (x->i < y->i);
}

static uint64_t words_hash(const struct bk_data_func *f)
{
    return bk_hash64(f->words, f->n_words * sizeof *f->words);
}

/* Leaves out functions of the judged part whose words stand in the training part. */
static int leave_out_seen(struct bk_trial *t, enum bk_part judged, struct bk_error *err)
{
    const struct bk_dataset *d = t->d;
    struct named *v = bk_calloc(d->n + 1, sizeof *v);
    if (!v)
        return bk_fail_nomem(err, d->n * sizeof *v);
    for (size_t i = 0; i < d->n; i++)
        v[i] = (struct named){words_hash(&d->v[i]), (uint32_t)i};
    qsort(v, d->n, sizeof *v, by_hash);
    for (size_t first = 0, end; first < d->n; first = end) {
        bool seen = false;
        for (end = first; end < d->n && v[end].hash == v[first].hash; end++)
            seen |= t->part[v[end].i] == BK_PART_TRAIN;
        for (size_t k = first; seen && k < end; k++) {
            bool judge = t->part[v[k].i] == judged && d->v[v[k].i].n_blocks >= t->opt.min_blocks;
            t->n_seen += judge;
            t->part[v[k].i] = judge ? BK_PART_NONE : t->part[v[k].i];
        }
    }
    free(v);
    return BK_OK;
}

/* Leaves out what stands in the set more than once: a key must name one function. */
static int leave_out_twice(struct bk_trial *t, enum bk_part judged, struct bk_error *err)
{
    const struct bk_dataset *d = t->d;
    struct named *v = bk_calloc(d->n + 1, sizeof *v);
    if (!v)
        return bk_fail_nomem(err, d->n * sizeof *v);
    size_t n = 0;
    for (size_t i = 0; i < d->n; i++)
        if (t->part[i] == judged && d->v[i].n_blocks >= t->opt.min_blocks)
            v[n++] = (struct named){d->v[i].key, (uint32_t)i};
    qsort(v, n, sizeof *v, by_hash);
    for (size_t k = 1; k < n; k++) {
        if (v[k].hash != v[k - 1].hash)
            continue;
        t->part[v[k].i] = BK_PART_NONE;
        t->n_twice++;
    }
    free(v);
    return BK_OK;
}

/* What `identical` compares. A mnemonic counts without its architecture. */
static int hash_sequences(struct bk_trial *t, struct bk_error *err)
{
    const struct bk_dataset *d = t->d;
    uint32_t n_words = bk_strtab_count(d->words);
    uint64_t *opcode = bk_calloc((size_t)n_words + 1, sizeof *opcode), seq[BK_DATA_MAX_WORDS];
    t->sequence = bk_calloc(t->g.n + 1, sizeof *t->sequence);
    if (!opcode || !t->sequence) {
        free(opcode);
        return bk_fail_nomem(err, t->g.n * sizeof *t->sequence);
    }
    for (uint32_t w = 0; w < n_words; w++) {
        const char *name;
        size_t len = bk_word_opcode(&name, bk_strtab_str(d->words, w));
        opcode[w] = bk_hash64(name, len);
    }
    for (size_t k = 0; k < t->g.n; k++) {
        const struct bk_data_func *f = &d->v[t->g.v[k]];
        for (size_t i = 0; i < f->n_words; i++)
            seq[i] = opcode[f->words[i]];
        t->sequence[k] =
            t->opt.identical == BK_IDENTICAL_WORDS ? words_hash(f) : bk_hash64(seq, f->n_words * sizeof *seq);
    }
    free(opcode);
    return BK_OK;
}

/* ---- right and wrong answers --------------------------------------------- */

bool bk_trial_matches(const struct bk_trial *t, enum bk_axis axis, size_t query, size_t match)
{
    return query != match && match >= t->g.begin[query] && match < t->g.end[query] &&
           bk_build_related(axis, &t->builds[t->build[query]], &t->builds[t->build[match]]) &&
           !(t->sequence && t->sequence[query] == t->sequence[match]);
}

static int count_related(struct bk_trial *t, enum bk_axis axis, struct bk_error *err)
{
    size_t *count = bk_calloc(t->n_builds + 1, sizeof *count), *total = bk_calloc(t->n_builds + 1, sizeof *total);
    t->axes[axis].total = total;
    if (!count || !total) {
        free(count);
        return bk_fail_nomem(err, 2 * t->n_builds * sizeof *count);
    }
    for (size_t k = 0; k < t->g.n; k++)
        count[t->build[k]]++;
    for (size_t a = 0; a < t->n_builds; a++)
        for (size_t b = 0; b < t->n_builds; b++)
            total[a] += bk_build_related(axis, &t->builds[a], &t->builds[b]) ? count[b] : 0;
    free(count);
    return BK_OK;
}

size_t bk_trial_n_wrong(const struct bk_trial *t, enum bk_axis axis, size_t query)
{
    const struct bk_build *build = &t->builds[t->build[query]];
    size_t n = t->axes[axis].total[t->build[query]];
    for (size_t k = t->g.begin[query]; k < t->g.end[query]; k++)
        n -= bk_build_related(axis, build, &t->builds[t->build[k]]);
    return n;
}

static size_t count_matches(const struct bk_trial *t, enum bk_axis axis, size_t query)
{
    size_t n = 0;
    for (size_t k = t->g.begin[query]; k < t->g.end[query]; k++)
        n += bk_trial_matches(t, axis, query, k);
    return n;
}

static uint32_t nth_match(const struct bk_trial *t, enum bk_axis axis, size_t query, size_t nth)
{
    size_t k = t->g.begin[query];
    while (!bk_trial_matches(t, axis, query, k) || nth-- > 0)
        k++;
    return (uint32_t)k;
}

void bk_trial_wrong(uint32_t *out, size_t n, const struct bk_trial *t, enum bk_axis axis, size_t query, bool *related)
{
    for (size_t b = 0; b < t->n_builds; b++)
        related[b] = bk_build_related(axis, &t->builds[t->build[query]], &t->builds[b]);
    size_t at = t->ring_at[query];
    for (size_t got = 0; got < n;) {
        at = at + 1 < t->g.n ? at + 1 : 0;
        uint32_t who = t->ring[at];
        if ((who < t->g.begin[query] || who >= t->g.end[query]) && related[t->build[who]])
            out[got++] = who;
    }
}

static int make_ring(struct bk_trial *t, struct bk_error *err)
{
    struct named *v = bk_calloc(t->g.n + 1, sizeof *v);
    t->ring = bk_calloc(t->g.n + 1, sizeof *t->ring);
    t->ring_at = bk_calloc(t->g.n + 1, sizeof *t->ring_at);
    if (!v || !t->ring || !t->ring_at) {
        free(v);
        return bk_fail_nomem(err, t->g.n * sizeof *v);
    }
    for (size_t k = 0; k < t->g.n; k++)
        v[k] = (struct named){bk_key_rank(t->opt.seed, t->d->v[t->g.v[k]].key), (uint32_t)k};
    qsort(v, t->g.n, sizeof *v, by_hash);
    for (size_t i = 0; i < t->g.n; i++) {
        t->ring[i] = v[i].i;
        t->ring_at[v[i].i] = (uint32_t)i;
    }
    free(v);
    return BK_OK;
}

/* ---- the whole ----------------------------------------------------------- */

static void set_options(struct bk_trial *t, const struct bk_trial_options *opt)
{
    t->opt = *opt;
    t->opt.axes = opt->axes ? opt->axes : 1u << BK_AXIS_XM;
    t->opt.queries = opt->queries ? opt->queries : DEFAULT_QUERIES;
    t->opt.pairs = opt->pairs ? opt->pairs : DEFAULT_PAIRS;
    t->opt.min_blocks = opt->min_blocks ? opt->min_blocks : 1;
    for (unsigned a = 0; a < BK_AXIS_COUNT; a++)
        t->axes[a].asked = t->opt.axes >> a & 1;
}

/* The functions that are judged, in groups. */
static int set_group(struct bk_trial *t, struct bk_error *err)
{
    const struct bk_dataset *d = t->d;
    enum bk_part judged = t->opt.validation ? BK_PART_VALIDATION : BK_PART_TEST;
    t->part = bk_calloc(d->n + 1, 1);
    int rc = t->part ? bk_split_parts(t->part, d, &t->opt.split, err) : bk_fail_nomem(err, d->n);
    if (!rc)
        rc = leave_out_twice(t, judged, err);
    if (!rc && t->opt.unseen)
        rc = leave_out_seen(t, judged, err);
    if (!rc)
        rc = bk_group_init(&t->g, d, t->part, judged, t->opt.min_blocks, err);
    if (!rc && t->g.n_labels < 2)
        rc = bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "the %s part has %zu functions of %zu labels",
                     t->opt.validation ? "validation" : "test", t->g.n, t->g.n_labels);
    return rc;
}

static int set_axis(struct bk_trial *t, enum bk_axis axis, struct bk_error *err)
{
    int rc = count_related(t, axis, err);
    for (size_t k = 0; !rc && k < t->g.n; k++)
        t->axes[axis].n_matched += count_matches(t, axis, k) && bk_trial_n_wrong(t, axis, k);
    return rc;
}

int bk_trial_new(struct bk_trial **out, const struct bk_dataset *d, const struct bk_trial_options *opt,
                 struct bk_error *err)
{
    *out = NULL;
    struct bk_trial *t = bk_calloc(1, sizeof *t);
    if (!t)
        return bk_fail_nomem(err, sizeof *t);
    t->d = d;
    set_options(t, opt);
    int rc = set_group(t, err);
    if (!rc)
        rc = set_builds(t, err);
    if (!rc)
        rc = make_ring(t, err);
    if (!rc && t->opt.identical != BK_IDENTICAL_KEEP)
        rc = hash_sequences(t, err);
    for (enum bk_axis a = 0; a < BK_AXIS_COUNT && !rc; a++)
        if (t->axes[a].asked)
            rc = set_axis(t, a, err);
    if (rc) {
        bk_trial_free(t);
        return rc;
    }
    *out = t;
    return BK_OK;
}

/* Queries in random order, each with one of its right answers. */
static int draw_axis(struct bk_trial *t, enum bk_axis axis, struct bk_error *err)
{
    struct bk_trial_axis *x = &t->axes[axis];
    size_t pairs = t->opt.pairs / 2 + t->opt.pairs % 2, want = pairs > t->opt.queries ? pairs : t->opt.queries;
    want = want < x->n_matched ? want : x->n_matched;
    uint32_t *order = bk_calloc(t->g.n + 1, sizeof *order);
    x->v = bk_calloc(want + 1, sizeof *x->v);
    if (!order || !x->v) {
        free(order);
        return bk_fail_nomem(err, t->g.n * sizeof *order);
    }
    for (size_t k = 0; k < t->g.n; k++)
        order[k] = (uint32_t)k;
    struct bk_rng rng;
    bk_rng_seed(&rng, t->opt.seed, (uint64_t)BK_STREAM_QUERIES + axis);
    bk_rng_shuffle_u32(&rng, order, t->g.n);
    for (size_t i = 0; x->n < want; i++) {
        size_t matches = count_matches(t, axis, order[i]), n_wrong = bk_trial_n_wrong(t, axis, order[i]);
        if (!matches || !n_wrong)
            continue;
        uint32_t match = nth_match(t, axis, order[i], bk_rng_below(&rng, matches));
        x->v[x->n++] = (struct bk_anchor){order[i], match, (uint32_t)n_wrong};
    }
    free(order);
    return BK_OK;
}

int bk_trial_draw(struct bk_trial **out, const struct bk_dataset *d, const struct bk_trial_options *opt,
                  struct bk_error *err)
{
    bk_error_clear(err);
    int rc = bk_trial_new(out, d, opt, err);
    for (enum bk_axis a = 0; a < BK_AXIS_COUNT && !rc; a++)
        if ((*out)->axes[a].asked)
            rc = draw_axis(*out, a, err);
    if (rc) {
        bk_trial_free(*out);
        *out = NULL;
    }
    return rc;
}

void bk_trial_free(struct bk_trial *t)
{
    if (!t)
        return;
    for (size_t a = 0; a < BK_AXIS_COUNT; a++) {
        free(t->axes[a].total);
        free(t->axes[a].v);
    }
    bk_group_done(&t->g);
    free(t->part);
    free(t->build);
    free(t->builds);
    free(t->ring);
    free(t->ring_at);
    free(t->sequence);
    free(t);
}

void bk_trial_describe(struct bk_trial_info *out, const struct bk_trial *t)
{
    *out = (struct bk_trial_info){.options = t->opt, .n_functions = t->g.n, .n_seen = t->n_seen, .n_twice = t->n_twice};
    for (enum bk_axis a = 0; a < BK_AXIS_COUNT; a++)
        out->axes[a] = (struct bk_trial_axis_info){t->axes[a].asked, t->axes[a].n_matched, bk_trial_queries(t, a),
                                                   2 * t->axes[a].n};
}

int bk_model_split(struct bk_split *out, const struct bk_model *m, const struct bk_dataset *d, struct bk_error *err)
{
    bk_error_clear(err);
    if (m->dataset_hash != d->info.hash)
        return bk_fail(err, BK_EMISMATCH, BK_NO_OFFSET,
                       "the model was trained on another data set (%016llx, this is %016llx): name a split",
                       (unsigned long long)m->dataset_hash, (unsigned long long)d->info.hash);
    *out = (struct bk_split){(enum bk_split_by)m->split_by, m->split_parts[0], m->split_parts[1], m->split_parts[2],
                             m->split_seed};
    return BK_OK;
}
