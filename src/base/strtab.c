#include "base/base.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_SLOTS 64 /* a power of two, as every later size */

struct string {
    uint64_t hash;
    const char *s; /* in the arena, NUL-terminated */
    size_t n;
};

struct bk_strtab {
    struct bk_arena *arena;
    struct {
        struct string *v;
        size_t n, cap;
    } strings;       /* by id */
    uint32_t *slots; /* ids by open addressing with linear probing, BK_STR_NONE: free; at most half full */
    size_t n_slots;
};

struct bk_strtab *bk_strtab_new(void)
{
    struct bk_strtab *t = calloc(1, sizeof *t);
    if (t == NULL)
        return NULL;
    t->arena = bk_arena_new();
    t->slots = malloc(FIRST_SLOTS * sizeof *t->slots);
    if (t->arena == NULL || t->slots == NULL) {
        bk_strtab_free(t);
        return NULL;
    }
    memset(t->slots, 0xff, FIRST_SLOTS * sizeof *t->slots);
    t->n_slots = FIRST_SLOTS;
    return t;
}

void bk_strtab_free(struct bk_strtab *t)
{
    if (t == NULL)
        return;
    bk_arena_free(t->arena);
    free(t->strings.v);
    free(t->slots);
    free(t);
}

/* The slot that holds `s`, or the free one where it belongs. */
static size_t find_slot(const struct bk_strtab *t, uint64_t hash, const char *s, size_t n)
{
    size_t i = (size_t)hash & (t->n_slots - 1);
    for (; t->slots[i] != BK_STR_NONE; i = (i + 1) & (t->n_slots - 1)) {
        const struct string *have = &t->strings.v[t->slots[i]];
        if (have->hash == hash && have->n == n && (n == 0 || memcmp(have->s, s, n) == 0))
            break;
    }
    return i;
}

static bool double_slots(struct bk_strtab *t)
{
    size_t n_slots, bytes;
    if (!bk_mul_size(&n_slots, t->n_slots, 2) || !bk_mul_size(&bytes, n_slots, sizeof *t->slots))
        return false;
    uint32_t *slots = malloc(bytes);
    if (slots == NULL)
        return false;
    memset(slots, 0xff, bytes);
    for (size_t id = 0; id < t->strings.n; id++) {
        size_t i = (size_t)t->strings.v[id].hash & (n_slots - 1);
        while (slots[i] != BK_STR_NONE)
            i = (i + 1) & (n_slots - 1);
        slots[i] = (uint32_t)id;
    }
    free(t->slots);
    t->slots = slots;
    t->n_slots = n_slots;
    return true;
}

uint32_t bk_strtab_intern(struct bk_strtab *t, const char *s, size_t n)
{
    uint64_t hash = bk_hash64(s, n);
    size_t i = find_slot(t, hash, s, n);
    if (t->slots[i] != BK_STR_NONE)
        return t->slots[i];
    if (t->strings.n >= UINT32_MAX - 1 || !BK_GROW(t->strings))
        return BK_STR_NONE;
    if (t->strings.n >= t->n_slots / 2) {
        if (!double_slots(t))
            return BK_STR_NONE;
        i = find_slot(t, hash, s, n);
    }
    const char *copy = bk_arena_strndup(t->arena, s, n);
    if (copy == NULL)
        return BK_STR_NONE;
    t->strings.v[t->strings.n] = (struct string){hash, copy, n};
    return t->slots[i] = (uint32_t)t->strings.n++;
}

uint32_t bk_strtab_find(const struct bk_strtab *t, const char *s, size_t n)
{
    return t->slots[find_slot(t, bk_hash64(s, n), s, n)];
}

const char *bk_strtab_str(const struct bk_strtab *t, uint32_t id)
{
    return id < t->strings.n ? t->strings.v[id].s : NULL;
}

uint32_t bk_strtab_count(const struct bk_strtab *t)
{
    return (uint32_t)t->strings.n;
}
