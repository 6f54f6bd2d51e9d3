/* What is around the functions of a side, from their bodies: calls become numbers of functions and imports, across the members of an
 * archive too, as a linker would join them. */
#include "binkin_int.h"

#include <stdlib.h>
#include <string.h>

struct call {
    size_t function;  /* of the binary, or SIZE_MAX: */
    const char *name; /* an import */
};

struct bk_around_function {
    struct call *calls; /* in the arenas, as the items */
    uint64_t *items;    /* hashes, ascending */
    size_t n_calls, n_items;
};

int bk_around_init(struct around *x, const struct bk_binary *b, unsigned threads, struct bk_error *err)
{
    unsigned n_workers = bk_par_threads(threads);
    size_t n = bk_binary_n_functions(b);
    *x = (struct around){.b = b, .n_workers = n_workers};
    x->of = bk_calloc(n, sizeof *x->of);
    x->arena = bk_calloc(n_workers, sizeof *x->arena);
    x->scratch = bk_calloc(n_workers, sizeof *x->scratch);
    bool fine = x->of && x->arena && x->scratch;
    for (unsigned k = 0; k < n_workers && fine; k++)
        fine = (x->arena[k] = bk_arena_new()) != NULL;
    return fine ? BK_OK : bk_fail_nomem(err, n * sizeof *x->of);
}

void bk_around_done(struct around *x)
{
    for (unsigned k = 0; k < x->n_workers; k++) {
        if (x->arena)
            bk_arena_free(x->arena[k]);
        if (x->scratch)
            bk_items_done(&x->scratch[k]);
    }
    free(x->of);
    free(x->arena);
    free(x->scratch);
}

/* ---- one body ----------------------------------------------------------- */

static int by_hash(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Names of imports are calls, which count by themselves. */
static int keep_items(struct bk_around_function *f, struct bk_arena *arena, const struct bk_items *items,
                      struct bk_error *err)
{
    f->items = bk_arena_alloc(arena, items->n, sizeof *f->items);
    if (!f->items)
        return bk_fail_nomem(err, items->n * sizeof *f->items);
    for (size_t i = 0; i < items->n; i++)
        if (items->v[i].kind != BK_ITEM_IMPORT)
            f->items[f->n_items++] = items->v[i].hash;
    if (f->n_items > 0)
        qsort(f->items, f->n_items, sizeof *f->items, by_hash);
    return BK_OK;
}

int bk_around_body(void *ctx, size_t i, unsigned worker, const struct bk_body *body, struct bk_error *err)
{
    struct around *x = ctx;
    struct bk_around_function *f = &x->of[i];
    size_t m = member_of(x->b, i);
    const struct bk_functions *fs = x->b->members[m];
    f->calls = bk_arena_alloc(x->arena[worker], body->n_callees, sizeof *f->calls);
    if (!f->calls)
        return bk_fail_nomem(err, body->n_callees * sizeof *f->calls);
    for (size_t k = 0; k < body->n_callees; k++) {
        uint64_t addr = bk_image_forward(fs->image, body->callees[k]);
        size_t at = bk_functions_at(fs, addr);
        const struct bk_import *import = bk_image_import_at(fs->image, addr);
        struct call c = {at == SIZE_MAX ? SIZE_MAX : x->b->first[m] + at, import ? import->name : NULL};
        if (c.function != SIZE_MAX || c.name)
            f->calls[f->n_calls++] = c;
    }
    int rc = bk_items_read(&x->scratch[worker], fs->image, body, err);
    return rc ? rc : keep_items(f, x->arena[worker], &x->scratch[worker], err);
}

/* ---- the side ------------------------------------------------------------- */

/* Global functions of an archive by name, which its members call one another by. */
struct definitions {
    struct bk_strtab *names;
    struct {
        size_t *v; /* function of each name */
        size_t n, cap;
    } list;
};

static void definitions_done(struct definitions *d)
{
    bk_strtab_free(d->names);
    free(d->list.v);
}

static int define(struct definitions *d, const char *name, size_t function, struct bk_error *err)
{
    uint32_t id = bk_strtab_intern(d->names, name, strlen(name));
    if (id == BK_STR_NONE || !BK_GROW(d->list))
        return bk_fail_nomem(err, d->list.n * sizeof *d->list.v);
    if (id == d->list.n) /* new: of several definitions the first */
        d->list.v[d->list.n++] = function;
    return BK_OK;
}

static int definitions_read(struct definitions *d, const struct bk_binary *b, struct bk_error *err)
{
    int rc = BK_OK;
    *d = (struct definitions){.names = bk_strtab_new()};
    if (!d->names)
        return bk_fail_nomem(err, sizeof *d);
    for (size_t m = 0; m < n_members(b); m++) {
        const struct bk_image *img = &b->file->images[m];
        for (size_t i = 0; i < img->n_symbols && img->kind == BK_IMAGE_OBJECT && !rc; i++) {
            const struct bk_symbol *s = &img->symbols[i];
            size_t at = s->kind == BK_SYM_FUNC && s->global ? bk_functions_at(b->members[m], s->addr) : SIZE_MAX;
            if (at != SIZE_MAX)
                rc = define(d, s->name, b->first[m] + at, err);
        }
    }
    return rc;
}

/* Numbers of the functions that take part: BK_MATCH_NONE for the others. */
static uint32_t *numbers_of(const struct bk_binary *b, const size_t *list, size_t n)
{
    size_t total = bk_binary_n_functions(b);
    uint32_t *number = bk_calloc(total, sizeof *number);
    for (size_t i = 0; number && i < total; i++)
        number[i] = BK_MATCH_NONE;
    for (size_t i = 0; number && i < n; i++)
        number[list[i]] = (uint32_t)i;
    return number;
}

/* The node that a call leads to; BK_MATCH_NONE: one that takes no part. */
static int call_node(uint32_t *node, const struct call *c, const struct definitions *d, const uint32_t *number,
                     size_t n, struct bk_strtab *imports, struct bk_error *err)
{
    size_t function = c->function;
    if (function == SIZE_MAX) {
        uint32_t id = bk_strtab_find(d->names, c->name, strlen(c->name));
        function = id == BK_STR_NONE ? SIZE_MAX : d->list.v[id];
    }
    if (function != SIZE_MAX) {
        *node = number[function];
        return BK_OK;
    }
    uint32_t id = bk_strtab_intern(imports, c->name, strlen(c->name));
    if (id == BK_STR_NONE || id >= BK_MATCH_NONE - n)
        return bk_fail(err, BK_ELIMIT, BK_NO_OFFSET, "too many functions and imports");
    *node = (uint32_t)n + id;
    return BK_OK;
}

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* Ascending, each once; how many are left. */
static size_t distinct(uint32_t *v, size_t n)
{
    size_t kept = 0;
    if (n > 0)
        qsort(v, n, sizeof *v, by_number);
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || v[kept - 1] != v[i])
            v[kept++] = v[i];
    return kept;
}

static int fill_side(struct bk_match_side *s, const struct around *x, const size_t *list, const uint32_t *number,
                     const struct definitions *d, struct bk_strtab *imports, struct bk_error *err)
{
    for (size_t i = 0; i < s->n; i++) {
        const struct bk_around_function *f = &x->of[list[i]];
        uint32_t *calls = s->calls + s->first_call[i], node = BK_MATCH_NONE;
        size_t n_calls = 0;
        for (size_t k = 0; k < f->n_calls; k++) {
            int rc = call_node(&node, &f->calls[k], d, number, s->n, imports, err);
            if (rc)
                return rc;
            if (node != BK_MATCH_NONE && node != i) /* that it calls itself its own match would prove */
                calls[n_calls++] = node;
        }
        s->first_call[i + 1] = s->first_call[i] + distinct(calls, n_calls);
        s->first_item[i + 1] = s->first_item[i] + f->n_items;
        if (f->n_items > 0)
            memcpy(s->items + s->first_item[i], f->items, f->n_items * sizeof *f->items);
        s->image[i] = (uint32_t)member_of(x->b, list[i]);
    }
    return BK_OK;
}

int bk_around_side(struct bk_match_side *out, const struct around *x, const size_t *list, size_t n,
                   struct bk_strtab *imports, struct bk_error *err)
{
    size_t n_calls = 0, n_items = 0;
    for (size_t i = 0; i < n; i++) {
        n_calls += x->of[list[i]].n_calls;
        n_items += x->of[list[i]].n_items;
    }
    *out = (struct bk_match_side){
        .n = n,
        .image = bk_calloc(n, sizeof *out->image),
        .first_call = bk_calloc(n + 1, sizeof *out->first_call),
        .calls = bk_calloc(n_calls, sizeof *out->calls),
        .first_item = bk_calloc(n + 1, sizeof *out->first_item),
        .items = bk_calloc(n_items, sizeof *out->items),
    };
    struct definitions d = {0};
    uint32_t *number = numbers_of(x->b, list, n);
    bool fine = out->image && out->first_call && out->calls && out->first_item && out->items && number;
    int rc = fine ? definitions_read(&d, x->b, err) : bk_fail_nomem(err, n_items * sizeof *out->items);
    if (!rc)
        rc = fill_side(out, x, list, number, &d, imports, err);
    definitions_done(&d);
    free(number);
    return rc;
}

void bk_around_side_done(struct bk_match_side *s)
{
    free(s->image);
    free(s->first_call);
    free(s->calls);
    free(s->first_item);
    free(s->items);
}
