#include "base/base.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_SLOTS 64 /* a power of two, as every later size */

struct string {
    uint64_t hash;
    const char *s; /* in the arena, NUL-terminated */
    size_t n;
};

/* Somebody's bytes, checked by bk_strtab_open. */
struct index {
    const uint8_t *strings; /* one after the other, each with its NUL */
    const uint8_t *ends;    /* u32 for each: where the next one begins */
    const uint8_t *slots;   /* n_slots times u32 tag, u32 id */
    uint32_t n, n_slots;    /* n_slots: a power of two */
};

struct bk_strtab {
    struct bk_arena *arena;
    struct {
        struct string *v;
        size_t n, cap;
    } strings;       /* by id */
    uint32_t *slots; /* ids by open addressing with linear probing, BK_STR_NONE: free; at most half full */
    size_t n_slots;
    struct index index; /* strings NULL: not over an index */
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
    assert(t->index.strings == NULL);
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

/* ---- over an index ------------------------------------------------------ */

#define INDEX_HEAD 8u
/* Slots that a search looks at. With a third of them free the longest run is near 14 ln(slots), so honest strings need no
 * more, and a made-up index cannot make reading it quadratic. */
#define INDEX_SEARCH 1024u

static uint32_t get_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint8_t *put_u32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        *p++ = (uint8_t)(v >> 8 * i);
    return p;
}

/* Where string `id` begins; `id` may be their number. */
static uint32_t begin_of(const struct index *x, uint32_t id)
{
    return id ? get_u32(x->ends + 4 * (size_t)(id - 1)) : 0;
}

static uint32_t find_indexed(const struct index *x, const char *s, size_t n)
{
    uint64_t hash = bk_hash64(s, n);
    uint32_t mask = x->n_slots - 1, tag = (uint32_t)(hash >> 32);
    for (uint32_t k = 0; k < INDEX_SEARCH; k++) {
        const uint8_t *slot = x->slots + 8 * (size_t)(((uint32_t)hash + k) & mask);
        uint32_t id = get_u32(slot + 4);
        if (id == BK_STR_NONE)
            return id;
        if (get_u32(slot) != tag)
            continue;
        uint32_t begin = begin_of(x, id);
        if (begin_of(x, id + 1) - begin - 1 == n && (n == 0 || memcmp(x->strings + begin, s, n) == 0))
            return id;
    }
    return BK_STR_NONE;
}

/* The smallest power of two that leaves a third of the slots free; 0: more strings than an index can have. */
static uint32_t index_slots(uint32_t n)
{
    uint32_t slots = 4;
    while (slots && slots / 3 * 2 < n)
        slots *= 2;
    return slots;
}

/* That the strings end where the index says, and nowhere else. */
static bool check_ends(const struct index *x, size_t size)
{
    size_t n_nul = 0;
    for (size_t i = 0; i < size; i++)
        n_nul += x->strings[i] == 0;
    uint32_t begin = 0;
    for (uint32_t id = 0; id < x->n; id++) {
        uint32_t end = begin_of(x, id + 1);
        if (end <= begin || end > size || x->strings[end - 1] != 0)
            return false;
        begin = end;
    }
    return begin == size && n_nul == x->n;
}

/* That every slot in use holds the id of a string. */
static bool check_slots(const struct index *x)
{
    bool inside = true;
    for (uint32_t i = 0; i < x->n_slots; i++) {
        uint32_t id = get_u32(x->slots + 8 * (size_t)i + 4);
        inside &= (id < x->n) | (id == BK_STR_NONE);
    }
    return inside;
}

int bk_strtab_open(struct bk_strtab **out, struct bk_cursor strings, struct bk_cursor index, struct bk_error *err)
{
    *out = NULL;
    struct index x = {.strings = strings.data, .n = bk_read_u32(&index), .n_slots = bk_read_u32(&index)};
    size_t size = INDEX_HEAD + 4 * (size_t)x.n + 8 * (size_t)x.n_slots;
    if (index.failed || x.n_slots != index_slots(x.n) || x.n_slots == 0 || size != index.size ||
        strings.size > UINT32_MAX)
        return bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, "string index: %zu bytes for %u strings", index.size, x.n);
    x.ends = bk_read_bytes(&index, 4 * (size_t)x.n);
    x.slots = bk_read_bytes(&index, 8 * (size_t)x.n_slots);
    if (!x.strings || !check_ends(&x, strings.size))
        return bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, "string index: strings do not end where it says");
    if (!check_slots(&x))
        return bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, "string index: a slot holds no string of the %u", x.n);
    for (uint32_t id = 0; id < x.n; id++) {
        const char *s = (const char *)x.strings + begin_of(&x, id);
        uint32_t found = find_indexed(&x, s, begin_of(&x, id + 1) - begin_of(&x, id) - 1);
        if (found == BK_STR_NONE)
            return bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, "string index: string %u is not found by it", id);
        if (found != id)
            return bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, "string index: strings %u and %u are one", id, found);
    }
    struct bk_strtab *t = calloc(1, sizeof *t);
    if (t == NULL)
        return bk_fail_nomem(err, sizeof *t);
    t->index = x;
    *out = t;
    return BK_OK;
}

static int fail_string(uint8_t **out, uint32_t id, struct bk_error *err)
{
    free(*out);
    *out = NULL;
    return bk_fail(err, BK_ELIMIT, BK_NO_OFFSET, "string %u is none that an index can have", id);
}

int bk_strtab_index(uint8_t **out, size_t *size, const struct bk_strtab *t, struct bk_error *err)
{
    uint32_t n = bk_strtab_count(t), n_slots = index_slots(n), end = 0;
    if (n_slots == 0)
        return bk_fail(err, BK_ELIMIT, BK_NO_OFFSET, "%u strings are too many for an index", n);
    *size = INDEX_HEAD + 4 * (size_t)n + 8 * (size_t)n_slots;
    uint8_t *p = *out = malloc(*size);
    if (p == NULL)
        return bk_fail_nomem(err, *size);
    p = put_u32(put_u32(p, n), n_slots);
    uint8_t *slots = p + 4 * (size_t)n;
    for (uint32_t i = 0; i < n_slots; i++)
        put_u32(put_u32(slots + 8 * (size_t)i, 0), BK_STR_NONE);
    for (uint32_t id = 0; id < n; id++) {
        const char *s = bk_strtab_str(t, id);
        size_t len = bk_strtab_len(t, id);
        if (len >= UINT32_MAX - end || memchr(s, 0, len))
            return fail_string(out, id, err);
        uint64_t hash = bk_hash64(s, len);
        uint8_t *slot = slots;
        for (uint32_t k = 0; k < INDEX_SEARCH; k++) {
            slot = slots + 8 * (size_t)(((uint32_t)hash + k) & (n_slots - 1));
            if (get_u32(slot + 4) == BK_STR_NONE)
                break;
        }
        if (get_u32(slot + 4) != BK_STR_NONE)
            return fail_string(out, id, err);
        put_u32(put_u32(slot, (uint32_t)(hash >> 32)), id);
        p = put_u32(p, end += (uint32_t)len + 1);
    }
    return BK_OK;
}

/* ---- lookup ------------------------------------------------------------- */

uint32_t bk_strtab_find(const struct bk_strtab *t, const char *s, size_t n)
{
    if (t->index.strings)
        return find_indexed(&t->index, s, n);
    return t->slots[find_slot(t, bk_hash64(s, n), s, n)];
}

const char *bk_strtab_str(const struct bk_strtab *t, uint32_t id)
{
    if (id >= bk_strtab_count(t))
        return NULL;
    return t->index.strings ? (const char *)t->index.strings + begin_of(&t->index, id) : t->strings.v[id].s;
}

size_t bk_strtab_len(const struct bk_strtab *t, uint32_t id)
{
    if (id >= bk_strtab_count(t))
        return 0;
    return t->index.strings ? begin_of(&t->index, id + 1) - begin_of(&t->index, id) - 1 : t->strings.v[id].n;
}

uint32_t bk_strtab_count(const struct bk_strtab *t)
{
    return t->index.strings ? t->index.n : (uint32_t)t->strings.n;
}
