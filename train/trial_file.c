/* trial_file: a trial as JSON Lines, so that others can ask the same; doc/format.md. */
#include "judge.h"

#include <ctype.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT 1

/* ---- writing ------------------------------------------------------------- */

/* A u64 is a string of 16 digits: JSON readers keep no more than 53 bits of a number. */
static json_t *hex(uint64_t v)
{
    char text[17];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)v);
    return json_string(text);
}

static json_t *header(const struct bk_trial *t)
{
    const struct bk_trial_options *o = &t->opt;
    json_t *axes = json_object();
    for (enum bk_axis a = 0; a < BK_AXIS_COUNT; a++)
        if (t->axes[a].asked)
            json_object_set_new(axes, bk_axis_name(a), json_integer((json_int_t)t->axes[a].n));
    return json_pack("{s:i, s:o, s:{s:s, s:[i, i, i], s:o}, s:s, s:I, s:s, s:b, s:o, s:I, s:I, s:o}", "binkin_trial",
                     FORMAT, "dataset", hex(t->d->info.hash), "split", "by", bk_split_name(o->split.by), "parts",
                     (int)o->split.train, (int)o->split.validation, (int)o->split.test, "seed", hex(o->split.seed),
                     "part", o->validation ? "validation" : "test", "min_blocks", (json_int_t)o->min_blocks,
                     "identical", bk_identical_name(o->identical), "unseen", o->unseen, "seed", hex(o->seed), "queries",
                     (json_int_t)o->queries, "pairs", (json_int_t)o->pairs, "axes", axes);
}

int bk_trial_save(const struct bk_trial *t, const char *path, struct bk_error *err)
{
    bk_error_clear(err);
    struct bk_save *save;
    int rc = bk_save_open(&save, path, err);
    if (rc)
        return rc;
    json_t *head = header(t);
    char *text = head ? json_dumps(head, JSON_COMPACT) : NULL;
    json_decref(head);
    if (!text) {
        bk_save_abort(save);
        return bk_fail_nomem(err, 1024);
    }
    FILE *f = bk_save_stream(save);
    fprintf(f, "%s\n", text);
    free(text);
    for (enum bk_axis a = 0; a < BK_AXIS_COUNT; a++)
        for (size_t i = 0; i < t->axes[a].n; i++) {
            const struct bk_anchor *v = &t->axes[a].v[i];
            fprintf(f, "{\"axis\":\"%s\",\"query\":\"%016llx\",\"match\":\"%016llx\"}\n", bk_axis_name(a),
                    (unsigned long long)t->d->v[t->g.v[v->query]].key,
                    (unsigned long long)t->d->v[t->g.v[v->match]].key);
        }
    return bk_save_commit(save, err);
}

/* ---- reading ------------------------------------------------------------- */

struct keyed {
    uint64_t key;
    uint32_t at;
};

struct head {
    struct bk_trial_options opt;
    uint64_t dataset;
    size_t n[BK_AXIS_COUNT]; /* lines of each axis */
};

struct reader {
    const char *p, *end; /* what is not read yet */
    size_t line;         /* of the last one read, from 1 */
    struct keyed *keys;  /* the trial's functions by key */
    struct bk_trial *t;
};

/* The next line as an object, NULL at the end; BK_EFORMAT for what is none. */
static int next(json_t **out, struct reader *r, struct bk_error *err)
{
    *out = NULL;
    if (r->p == r->end)
        return BK_OK;
    const char *nl = memchr(r->p, '\n', (size_t)(r->end - r->p));
    size_t len = (size_t)((nl ? nl : r->end) - r->p);
    json_error_t e;
    r->line++;
    *out = json_loadb(r->p, len, JSON_REJECT_DUPLICATES, &e);
    r->p = nl ? nl + 1 : r->end;
    if (*out && json_is_object(*out))
        return BK_OK;
    json_decref(*out);
    *out = NULL;
    return bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, "line %zu: no JSON object", r->line);
}

static bool read_hex(uint64_t *out, const json_t *s)
{
    const char *text = json_string_value(s);
    if (!text || strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16)
        return false;
    *out = strtoull(text, NULL, 16);
    return true;
}

static bool read_size(size_t *out, json_int_t v)
{
    *out = (size_t)v;
    return v >= 1 && v <= UINT32_MAX;
}

static bool read_axes(struct head *h, json_t *axes)
{
    const char *name;
    json_t *n;
    json_object_foreach(axes, name, n)
    {
        enum bk_axis a;
        if (!bk_axis_parse(&a, name) || json_integer_value(n) < 0)
            return false;
        h->opt.axes |= 1u << a;
        h->n[a] = (size_t)json_integer_value(n);
    }
    return h->opt.axes != 0;
}

static bool read_split(struct bk_split *out, const char *by, const json_int_t parts[3], const json_t *seed)
{
    for (unsigned i = 0; i < 3; i++)
        if (parts[i] < 0 || parts[i] > 1000000)
            return false;
    *out = (struct bk_split){0, (unsigned)parts[0], (unsigned)parts[1], (unsigned)parts[2], 0};
    return bk_split_parse(&out->by, by) && read_hex(&out->seed, seed);
}

static int read_head(struct head *h, json_t *j, struct bk_error *err)
{
    struct bk_trial_options *o = &h->opt;
    int format, unseen;
    const char *by, *part, *identical;
    json_int_t parts[3], blocks, queries, pairs;
    json_t *hash, *split_seed, *seed, *axes;
    size_t min_blocks;
    *h = (struct head){0};
    if (json_unpack(j, "{s:i}", "binkin_trial", &format))
        return bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, "line 1: not the head of a trial");
    if (format != FORMAT)
        return bk_fail(err, BK_EUNSUPPORTED, BK_NO_OFFSET, "a trial of format %d, this program reads %d", format,
                       FORMAT);
    bool good = !json_unpack(j, "{s:o, s:{s:s, s:[I, I, I], s:o}, s:s, s:I, s:s, s:b, s:o, s:I, s:I, s:o}", "dataset",
                             &hash, "split", "by", &by, "parts", &parts[0], &parts[1], &parts[2], "seed", &split_seed,
                             "part", &part, "min_blocks", &blocks, "identical", &identical, "unseen", &unseen, "seed",
                             &seed, "queries", &queries, "pairs", &pairs, "axes", &axes) &&
                read_hex(&h->dataset, hash) && read_split(&o->split, by, parts, split_seed) &&
                read_size(&min_blocks, blocks) && bk_identical_parse(&o->identical, identical) &&
                read_hex(&o->seed, seed) && read_size(&o->queries, queries) && read_size(&o->pairs, pairs) &&
                read_axes(h, axes);
    if (!good || (strcmp(part, "test") != 0 && strcmp(part, "validation") != 0))
        return bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, "line 1: a field of the head is missing or out of range");
    o->validation = strcmp(part, "validation") == 0;
    o->unseen = unseen;
    o->min_blocks = (uint32_t)min_blocks;
    return BK_OK;
}

static int by_key(const void *a, const void *b)
{
    uint64_t x = ((const struct keyed *)a)->key, y = ((const struct keyed *)b)->key;
    return (x > y) - (x < y);
}

static int make_keys(struct reader *r, struct bk_error *err)
{
    const struct bk_trial *t = r->t;
    r->keys = bk_calloc(t->g.n + 1, sizeof *r->keys);
    if (!r->keys)
        return bk_fail_nomem(err, t->g.n * sizeof *r->keys);
    for (size_t k = 0; k < t->g.n; k++)
        r->keys[k] = (struct keyed){t->d->v[t->g.v[k]].key, (uint32_t)k};
    qsort(r->keys, t->g.n, sizeof *r->keys, by_key);
    return BK_OK;
}

static bool find(uint32_t *out, const struct reader *r, const json_t *text)
{
    struct keyed wanted = {0};
    if (!read_hex(&wanted.key, text))
        return false;
    const struct keyed *found = bsearch(&wanted, r->keys, r->t->g.n, sizeof wanted, by_key);
    *out = found ? found->at : 0;
    return found;
}

static int add_anchor(struct reader *r, const json_t *j, struct bk_error *err)
{
    const char *name = json_string_value(json_object_get(j, "axis"));
    enum bk_axis axis;
    struct bk_anchor a = {0};
    if (!name || !bk_axis_parse(&axis, name) || !r->t->axes[axis].asked)
        return bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, "line %zu: no axis of the head", r->line);
    if (!find(&a.query, r, json_object_get(j, "query")) || !find(&a.match, r, json_object_get(j, "match")))
        return bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, "line %zu: names no function of the part", r->line);
    a.n_wrong = (uint32_t)bk_trial_n_wrong(r->t, axis, a.query);
    if (!a.n_wrong || !bk_trial_matches(r->t, axis, a.query, a.match))
        return bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, "line %zu: no query and right answer of axis %s", r->line, name);
    struct bk_trial_axis *x = &r->t->axes[axis];
    if (!bk_grow(&x->v, &x->cap, x->n + 1, sizeof *x->v))
        return bk_fail_nomem(err, x->n * sizeof *x->v);
    x->v[x->n++] = a;
    return BK_OK;
}

static int read_lines(struct reader *r, const struct head *h, struct bk_error *err)
{
    json_t *j;
    int rc = BK_OK;
    while (!rc && !(rc = next(&j, r, err)) && j) {
        rc = add_anchor(r, j, err);
        json_decref(j);
    }
    for (enum bk_axis a = 0; a < BK_AXIS_COUNT && !rc; a++)
        if (r->t->axes[a].n != h->n[a])
            rc = bk_fail(err, BK_ETRUNCATED, BK_NO_OFFSET, "%zu lines of axis %s, the head says %zu", r->t->axes[a].n,
                         bk_axis_name(a), h->n[a]);
    return rc;
}

static int read_trial(struct reader *r, const struct bk_dataset *d, struct bk_error *err)
{
    json_t *j;
    struct head h;
    int rc = next(&j, r, err);
    if (!rc)
        rc = read_head(&h, j, err);
    json_decref(j);
    if (!rc && h.dataset != d->info.hash)
        rc = bk_fail(err, BK_EMISMATCH, BK_NO_OFFSET, "drawn from another data set (%016llx, this is %016llx)",
                     (unsigned long long)h.dataset, (unsigned long long)d->info.hash);
    if (!rc)
        rc = bk_trial_new(&r->t, d, &h.opt, err);
    if (!rc)
        rc = make_keys(r, err);
    return rc ? rc : read_lines(r, &h, err);
}

int bk_trial_load_bytes(struct bk_trial **out, const uint8_t *data, size_t size, const struct bk_dataset *d,
                        struct bk_error *err)
{
    *out = NULL;
    struct reader r = {.p = (const char *)data, .end = (const char *)data + size};
    int rc = read_trial(&r, d, err);
    free(r.keys);
    if (rc)
        bk_trial_free(r.t);
    else
        *out = r.t;
    return rc;
}

int bk_trial_load(struct bk_trial **out, const char *path, const struct bk_dataset *d, struct bk_error *err)
{
    bk_error_clear(err);
    *out = NULL;
    struct bk_map map;
    int rc = bk_map_open(&map, path, err);
    if (!rc) {
        rc = bk_trial_load_bytes(out, map.data, map.size, d, err);
        bk_map_close(&map);
    }
    if (rc)
        bk_error_file(err, path, NULL);
    return rc;
}
