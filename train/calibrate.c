/* calibrate: what scores of a model are worth, fitted on the validation part and judged on a trial. */
#include "judge.h"

#include <math.h>
#include <stdlib.h>

#define DEFAULT_PAIRS ((size_t)1 << 23)
#define LEAST_WRONG   1000  /* wrong pairs of a class that is fitted, */
#define LEAST_TAIL    8     /* and of these behind its last knot */
#define LEAST_RIGHT   8     /* right pairs of a class */
#define PARTNERS      16    /* right pairs drawn of each function that has one */
#define CHUNK         16384 /* wrong pairs of one random stream */
#define MOST_TRIES    10000 /* draws for one pair of a class, on the mean */

/* ---- one class ------------------------------------------------------------- */

static int by_score(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void round_and_sort(float *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        v[i] = bk_calibration_score(v[i]);
    qsort(v, n, sizeof *v, by_score);
}

static void add_knot(struct bk_calibration_class *c, const float *wrong, size_t n, size_t at)
{
    c->score[c->n] = wrong[at];
    c->tail[c->n++] = (float)((double)(n - at) / (double)n);
}

/* A knot where the tail has halved since the one before, and at the last score that enough pairs reach. */
static void make_knots(struct bk_calibration_class *c, const float *wrong, size_t n)
{
    size_t last = 0;
    for (size_t i = 0; i < n && n - i >= LEAST_TAIL; i++) {
        if (i && wrong[i] == wrong[i - 1])
            continue;
        last = i;
        if (!c->n || (c->n + 1 < BK_CALIBRATION_KNOTS && (double)(n - i) <= (double)c->tail[c->n - 1] * (double)n / 2))
            add_knot(c, wrong, n, i);
    }
    if (wrong[last] > c->score[c->n - 1])
        add_knot(c, wrong, n, last);
}

/* Between knots the ratio of the two densities, made to rise. Half a right pair more in each keeps any from being impossible. */
static void make_odds(struct bk_calibration_class *c, const float *right, size_t n, double prior)
{
    double ratio[BK_CALIBRATION_KNOTS], mass[BK_CALIBRATION_KNOTS];
    size_t at = 0;
    for (uint32_t k = 0; k < c->n; k++) {
        bool end = k + 1 == c->n;
        size_t first = at;
        while (at < n && (end || right[at] < c->score[k + 1]))
            at++;
        mass[k] = (double)c->tail[k] - (end ? 0 : (double)c->tail[k + 1]);
        ratio[k] = ((double)(at - first) + 0.5) / ((double)n + 0.5 * c->n) / mass[k];
    }
    bk_metric_isotonic(ratio, mass, c->n);
    for (uint32_t k = 0; k < c->n; k++)
        c->odds[k] = (float)log(prior * ratio[k]);
}

void bk_calibration_fit(struct bk_calibration_class *out, float *wrong, size_t n_wrong, float *right, size_t n_right,
                        double prior)
{
    *out = (struct bk_calibration_class){0};
    round_and_sort(wrong, n_wrong);
    round_and_sort(right, n_right);
    if (n_wrong < LEAST_WRONG || n_right < LEAST_RIGHT)
        return;
    make_knots(out, wrong, n_wrong);
    if (out->n < 2)
        *out = (struct bk_calibration_class){0};
    else
        make_odds(out, right, n_right, prior);
}

/* ---- pairs ----------------------------------------------------------------- */

struct right_pair {
    float score;
    uint32_t cls;
};

struct drawing {
    const struct bk_trial *t; /* the validation part, no axis */
    const struct bk_scorer *scorer;
    uint64_t seed;
    uint32_t *order;                        /* positions in the group, by size class */
    size_t begin[BK_CALIBRATION_SIZES + 1]; /* where in `order` each size begins */
    double n_pairs[BK_CALIBRATION_CLASSES]; /* wrong pairs that there are */
    struct right_pair *right; /* PARTNERS of each function of the group; cls: none where it has no partner */
    float *wrong;             /* of one class */
    size_t n_wrong, cls;
};

static const struct bk_data_func *function_at(const struct drawing *w, size_t k)
{
    return &w->t->d->v[w->t->g.v[k]];
}

static size_t pair_class(const struct drawing *w, size_t a, size_t b)
{
    const struct bk_group *g = &w->t->g;
    return bk_calibration_class(bk_data_arch(w->t->d, g->v[a]), bk_data_arch(w->t->d, g->v[b]),
                                function_at(w, a)->n_blocks, function_at(w, b)->n_blocks);
}

static float score_of(const struct drawing *w, size_t a, size_t b)
{
    float score;
    uint32_t other = (uint32_t)b;
    bk_scorer_scores(&score, w->scorer, NULL, (uint32_t)a, &other, 1);
    return score;
}

typedef uint32_t counts[BK_CALIBRATION_SIZES][BK_ARCH_COUNT]; /* functions */

/* Adds `sign` times the unordered pairs of each class. */
static void add_pairs(double out[BK_CALIBRATION_CLASSES], counts n, double sign)
{
    for (size_t s = 0; s < BK_CALIBRATION_SIZES; s++)
        for (size_t a = 0; a < BK_ARCH_COUNT; a++)
            for (size_t b = 0; n[s][a] && b < BK_ARCH_COUNT; b++) {
                size_t cls = bk_arch_related((enum bk_arch)a, (enum bk_arch)b) ? s : BK_CALIBRATION_SIZES + s;
                double larger = 0, equal = (double)n[s][b] - (a == b);
                for (size_t l = s + 1; l < BK_CALIBRATION_SIZES; l++)
                    larger += n[l][b];
                out[cls] += sign * n[s][a] * (larger + equal / 2);
            }
}

/* All pairs without those of one label. */
static void count_wrong(struct drawing *w)
{
    const struct bk_group *g = &w->t->g;
    counts all = {{0}};
    for (size_t first = 0; first < g->n; first = g->end[first]) {
        counts label = {{0}};
        for (size_t k = first; k < g->end[first]; k++) {
            size_t s = bk_size_class(function_at(w, k)->n_blocks), a = bk_data_arch(w->t->d, g->v[k]);
            all[s][a]++;
            label[s][a]++;
        }
        add_pairs(w->n_pairs, label, -1);
    }
    add_pairs(w->n_pairs, all, 1);
}

static void draw_right(void *ctx, size_t k, unsigned worker)
{
    (void)worker;
    struct drawing *w = ctx;
    struct bk_rng rng;
    bk_rng_seed(&rng, w->seed, ((uint64_t)k + 1) << 32 | BK_STREAM_RIGHT);
    for (size_t i = 0; i < PARTNERS; i++) {
        size_t partner = bk_group_similar(&w->t->g, k, &rng);
        w->right[k * PARTNERS + i] =
            partner == SIZE_MAX ? (struct right_pair){0, BK_CALIBRATION_CLASSES}
                                : (struct right_pair){score_of(w, k, partner), (uint32_t)pair_class(w, k, partner)};
    }
}

/* Each unordered pair of the class is as likely: the smaller function, or the first of two of one size, and one that follows. */
static void draw_wrong(void *ctx, size_t chunk, unsigned worker)
{
    (void)worker;
    struct drawing *w = ctx;
    size_t size = w->cls % BK_CALIBRATION_SIZES, from = w->begin[size], n = w->begin[size + 1] - from;
    size_t end = (chunk + 1) * CHUNK < w->n_wrong ? (chunk + 1) * CHUNK : w->n_wrong;
    struct bk_rng rng;
    bk_rng_seed(&rng, w->seed, ((uint64_t)chunk * BK_CALIBRATION_CLASSES + w->cls + 1) << 32 | BK_STREAM_WRONG);
    for (size_t i = chunk * CHUNK; i < end;) {
        size_t x = from + bk_rng_below(&rng, n), y = from + bk_rng_below(&rng, w->t->g.n - from);
        uint32_t a = w->order[x], b = w->order[y];
        if (x < y && function_at(w, a)->label != function_at(w, b)->label && pair_class(w, a, b) == w->cls)
            w->wrong[i++] = score_of(w, a, b);
    }
}

/* ---- all classes ------------------------------------------------------------- */

static int drawing_init(struct drawing *w, size_t pairs, struct bk_error *err)
{
    size_t n = w->t->g.n, at = 0;
    w->order = bk_calloc(n + 1, sizeof *w->order);
    w->right = bk_calloc(n + 1, PARTNERS * sizeof *w->right);
    w->wrong = bk_calloc(pairs, sizeof *w->wrong);
    if (!w->order || !w->right || !w->wrong)
        return bk_fail_nomem(err, pairs * sizeof *w->wrong);
    for (size_t s = 0; s < BK_CALIBRATION_SIZES; s++) {
        w->begin[s] = at;
        for (size_t k = 0; k < n; k++)
            if (bk_size_class(function_at(w, k)->n_blocks) == s)
                w->order[at++] = (uint32_t)k;
    }
    w->begin[BK_CALIBRATION_SIZES] = at;
    count_wrong(w);
    return BK_OK;
}

static void drawing_done(struct drawing *w)
{
    free(w->order);
    free(w->right);
    free(w->wrong);
}

/* How many pairs of class w->cls are drawn: none where they are few, or too hard to find among the others. */
static size_t wanted(const struct drawing *w, size_t pairs)
{
    size_t from = w->begin[w->cls % BK_CALIBRATION_SIZES], end = w->begin[w->cls % BK_CALIBRATION_SIZES + 1];
    double n = w->n_pairs[w->cls], tries = (double)(end - from) * (double)(w->t->g.n - from);
    if (n < LEAST_WRONG || tries > n * MOST_TRIES)
        return 0;
    return n < (double)pairs ? (size_t)n : pairs;
}

/* How much oftener right pairs are of the class than wrong ones, among those of as many families. */
static double class_prior(const struct drawing *w, const size_t n_right[BK_CALIBRATION_CLASSES])
{
    size_t first = w->cls - w->cls % BK_CALIBRATION_SIZES;
    double right = 0, wrong = 0;
    for (size_t c = first; c < first + BK_CALIBRATION_SIZES; c++) {
        right += (double)n_right[c];
        wrong += w->n_pairs[c];
    }
    return (double)n_right[w->cls] / right / (w->n_pairs[w->cls] / wrong);
}

static int fit(struct bk_calibration *out, struct bk_calibrate_report *report, struct drawing *w, size_t pairs,
               const struct bk_calibrate_options *opt, struct bk_error *err)
{
    size_t n = w->t->g.n * PARTNERS, n_right[BK_CALIBRATION_CLASSES + 1] = {0}, fitted = 0;
    float *right = bk_calloc(n + 1, sizeof *right);
    if (!right)
        return bk_fail_nomem(err, n * sizeof *right);
    bk_par_for(w->t->g.n, opt->threads, draw_right, w);
    for (size_t i = 0; i < n; i++)
        n_right[w->right[i].cls]++;
    for (w->cls = 0; w->cls < BK_CALIBRATION_CLASSES; w->cls++) {
        struct bk_calibration_class *k = &out->v[w->cls];
        size_t kept = 0;
        for (size_t i = 0; i < n; i++)
            if (w->right[i].cls == w->cls)
                right[kept++] = w->right[i].score;
        w->n_wrong = wanted(w, pairs);
        if (opt->progress)
            opt->progress(opt->ctx, "fitting", w->cls, BK_CALIBRATION_CLASSES);
        bk_par_for((w->n_wrong + CHUNK - 1) / CHUNK, opt->threads, draw_wrong, w);
        bk_calibration_fit(k, w->wrong, w->n_wrong, right, kept, w->n_wrong && kept ? class_prior(w, n_right) : 1);
        fitted += k->n > 0;
        report->classes[w->cls / BK_CALIBRATION_SIZES][w->cls % BK_CALIBRATION_SIZES] = (struct bk_calibrate_class){
            .wrong = w->n_wrong, .right = kept, .fitted = k->n > 0, .rarest = k->n ? (double)k->tail[k->n - 1] : 1};
    }
    free(right);
    return fitted ? BK_OK
                  : bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "no class of %zu functions has enough pairs", n / PARTNERS);
}

int bk_calibrate(struct bk_calibrate_report *report, const char *out_path, const struct bk_model *m,
                 const struct bk_dataset *d, const struct bk_calibrate_options *opt, struct bk_error *err)
{
    bk_error_clear(err);
    *report = (struct bk_calibrate_report){0};
    struct bk_trial_options ask = {.split = opt->split, .validation = true, .seed = opt->seed};
    struct bk_judge_options judge = {.threads = opt->threads, .progress = opt->progress, .ctx = opt->ctx};
    struct bk_calibration c = {0};
    struct bk_trial *t = NULL;
    struct bk_scorer scorer = {0};
    size_t pairs = opt->pairs ? opt->pairs : DEFAULT_PAIRS;
    int rc = BK_OK;
    if (bk_encoder_sides(&m->cfg) > 1)
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET,
                       "the two sides of the model's pairs differ: its scores are no cosines");
    if (!ask.split.train && !ask.split.validation && !ask.split.test)
        rc = bk_model_split(&ask.split, m, d, err);
    if (!rc)
        rc = bk_trial_new(&t, d, &ask, err);
    if (!rc)
        rc = bk_scorer_init(&scorer, t, &(struct bk_subject){.model = m}, &judge, err);
    if (!rc) {
        struct drawing w = {.t = t, .scorer = &scorer, .seed = opt->seed};
        report->n_functions = t->g.n;
        rc = drawing_init(&w, pairs, err);
        if (!rc)
            rc = fit(&c, report, &w, pairs, opt, err);
        drawing_done(&w);
    }
    bk_scorer_done(&scorer);
    bk_trial_free(t);
    return rc ? rc : bk_model_save_calibrated(m, &c, out_path, err);
}

/* ---- judging ----------------------------------------------------------------- */

static const double false_steps[BK_FALSE_STEPS] = {0.001, 0.01, 0.1, 1, 10};

struct worth { /* one candidate of one query */
    struct bk_calibrated c;
    float score;
    bool calibrated;
};

struct judging {
    const struct bk_trial *t;
    const struct bk_model *m;
    const struct bk_scorer *scorer;
    enum bk_axis axis;
    size_t pool, first, n; /* queries of the axis that are looked at together */
    struct worth *v;       /* n x pool, the right answer last; unset for a query with too few candidates */
    uint32_t **members;    /* pool, of a thread */
    float **scores;
    bool **related;
};

static void ask(void *ctx, size_t item, unsigned worker)
{
    struct judging *j = ctx;
    const struct bk_anchor *anchor = &j->t->axes[j->axis].v[j->first + item];
    const struct bk_dataset *d = j->t->d;
    uint32_t *members = j->members[worker], query = j->t->g.v[anchor->query];
    if (anchor->n_wrong < j->pool - 1)
        return;
    bk_trial_wrong(members, j->pool - 1, j->t, j->axis, anchor->query, j->related[worker]);
    members[j->pool - 1] = anchor->match;
    bk_scorer_scores(j->scores[worker], j->scorer, NULL, anchor->query, members, j->pool);
    for (size_t i = 0; i < j->pool; i++) {
        struct worth *w = &j->v[item * j->pool + i];
        uint32_t other = j->t->g.v[members[i]];
        w->score = j->scores[worker][i];
        w->calibrated = bk_calibrated(&w->c, j->m, bk_data_arch(d, query), bk_data_arch(d, other), d->v[query].n_blocks,
                                      d->v[other].n_blocks, w->score, j->pool);
    }
}

/* The candidates of one query, the last of them right. A wrong one of the right one's score is as good. */
static void add_query(struct bk_calibration_judged *out, const struct worth *v, size_t pool)
{
    size_t best = 0;
    for (size_t i = 0; i < pool; i++) {
        bool right = i + 1 == pool;
        best = v[i].score > v[best].score ? i : best;
        if (!v[i].calibrated) {
            out->n_uncalibrated++;
            continue;
        }
        bk_reliability_add(&out->pairs, v[i].c.probability, right);
        for (size_t k = 0; k < BK_FALSE_STEPS; k++)
            out->observed[k] += !right && v[i].c.expected_false <= false_steps[k];
    }
    if (v[best].calibrated)
        bk_reliability_add(&out->best, v[best].c.probability, best + 1 == pool);
    out->queries++;
}

/* Queries whose pools are in memory at a time. */
#define TOGETHER 64

static void judge_axis(struct bk_calibration_judged *out, struct judging *j, unsigned threads)
{
    size_t total = bk_trial_queries(j->t, j->axis);
    for (j->first = 0; j->first < total; j->first += TOGETHER) {
        j->n = total - j->first < TOGETHER ? total - j->first : TOGETHER;
        bk_par_for(j->n, threads, ask, j);
        for (size_t i = 0; i < j->n; i++)
            if (j->t->axes[j->axis].v[j->first + i].n_wrong >= j->pool - 1)
                add_query(out, j->v + i * j->pool, j->pool);
    }
    bk_reliability_end(&out->pairs);
    bk_reliability_end(&out->best);
    for (size_t k = 0; k < BK_FALSE_STEPS; k++) {
        out->expected[k] = false_steps[k];
        out->observed[k] /= out->queries ? (double)out->queries : 1;
    }
}

static void judging_done(struct judging *j, unsigned threads)
{
    for (unsigned i = 0; i < threads; i++) {
        free(j->members ? j->members[i] : NULL);
        free(j->scores ? j->scores[i] : NULL);
        free(j->related ? j->related[i] : NULL);
    }
    free(j->members);
    free(j->scores);
    free(j->related);
    free(j->v);
}

static int judging_init(struct judging *j, unsigned threads, struct bk_error *err)
{
    j->v = bk_calloc(TOGETHER, j->pool * sizeof *j->v);
    j->members = bk_calloc(threads, sizeof *j->members);
    j->scores = bk_calloc(threads, sizeof *j->scores);
    j->related = bk_calloc(threads, sizeof *j->related);
    bool room = j->v && j->members && j->scores && j->related;
    for (unsigned i = 0; room && i < threads; i++) {
        j->members[i] = bk_calloc(j->pool, sizeof **j->members);
        j->scores[i] = bk_calloc(j->pool, sizeof **j->scores);
        j->related[i] = bk_calloc(j->t->n_builds + 1, sizeof **j->related);
        room = j->members[i] && j->scores[i] && j->related[i];
    }
    return room ? BK_OK : bk_fail_nomem(err, TOGETHER * j->pool * sizeof *j->v);
}

int bk_judge_calibration(struct bk_calibration_judged out[BK_AXIS_COUNT], const struct bk_trial *t,
                         const struct bk_model *m, size_t pool, unsigned threads, struct bk_error *err)
{
    bk_error_clear(err);
    struct bk_judge_options opt = {.threads = threads};
    struct bk_scorer scorer = {0};
    struct judging j = {.t = t, .m = m, .scorer = &scorer, .pool = pool};
    threads = bk_par_threads(threads);
    if (!m->calibration)
        return bk_fail(err, BK_EMISMATCH, BK_NO_OFFSET, "the model has no calibration");
    if (pool < 2 || pool > t->g.n)
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "a pool of %zu among %zu functions", pool, t->g.n);
    int rc = judging_init(&j, threads, err);
    if (!rc)
        rc = bk_scorer_init(&scorer, t, &(struct bk_subject){.model = m}, &opt, err);
    for (enum bk_axis a = 0; a < BK_AXIS_COUNT && !rc; a++) {
        out[a] = (struct bk_calibration_judged){0};
        j.axis = a;
        judge_axis(&out[a], &j, threads);
    }
    bk_scorer_done(&scorer);
    judging_done(&j, threads);
    return rc;
}
