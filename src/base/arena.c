#include "base/base.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ARENA_ALIGN       16
#define ARENA_FIRST_BLOCK 4096
#define ARENA_LAST_BLOCK  (1u << 20)

void *bk_calloc(size_t n, size_t size)
{
    size_t total;
    if (!bk_mul_size(&total, n, size))
        return NULL;
    return calloc(1, total ? total : 1); /* never NULL for nothing: NULL means no memory */
}

#define LARGE_PAGE ((size_t)2 << 20)

void *bk_alloc_large(size_t n, size_t size)
{
    size_t total;
    void *p = NULL;
    if (!bk_mul_size(&total, n, size) || posix_memalign(&p, total < LARGE_PAGE ? 64 : LARGE_PAGE, total ? total : 1))
        return NULL;
    if (total >= LARGE_PAGE && madvise(p, total / LARGE_PAGE * LARGE_PAGE, MADV_HUGEPAGE)) {
        /* a system without them: small pages do */
    }
    return p;
}

bool bk_grow(void *v, size_t *cap, size_t need, size_t elem)
{
    if (need <= *cap)
        return true;
    size_t want = *cap < 8 ? 8 : *cap + *cap / 2, bytes;
    if (want < need)
        want = need;
    if (!bk_mul_size(&bytes, want, elem))
        return false;
    void *p;
    memcpy(&p, v, sizeof p); /* `v` is the address of a T *, which no void ** may alias */
    p = realloc(p, bytes);
    if (p == NULL)
        return false;
    memcpy(v, &p, sizeof p);
    *cap = want;
    return true;
}

struct block {
    struct block *next;
    size_t cap, used; /* bytes of data */
    alignas(ARENA_ALIGN) unsigned char data[];
};

struct bk_arena {
    struct block *first, *current; /* blocks after `current` are empty, kept by a reset */
    size_t next_size;
};

struct bk_arena *bk_arena_new(void)
{
    struct bk_arena *a = calloc(1, sizeof *a);
    if (a)
        a->next_size = ARENA_FIRST_BLOCK;
    return a;
}

void bk_arena_free(struct bk_arena *a)
{
    if (a == NULL)
        return;
    for (struct block *b = a->first, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    free(a);
}

void bk_arena_reset(struct bk_arena *a)
{
    for (struct block *b = a->first; b; b = b->next)
        b->used = 0;
    a->current = a->first;
}

/* Puts a block with room for `size` bytes after the current one and makes it current. */
static bool arena_add_block(struct bk_arena *a, size_t size)
{
    size_t cap = size > a->next_size ? size : a->next_size, bytes;
    if (!bk_add_size(&bytes, cap, sizeof(struct block)))
        return false;
    struct block *b = malloc(bytes);
    if (b == NULL)
        return false;
    b->cap = cap;
    b->used = 0;
    struct block **link = a->current ? &a->current->next : &a->first;
    b->next = a->current ? *link : NULL;
    *link = b;
    a->current = b;
    if (a->next_size < ARENA_LAST_BLOCK)
        a->next_size *= 2;
    return true;
}

void *bk_arena_alloc(struct bk_arena *a, size_t n, size_t size)
{
    size_t bytes;
    if (!bk_mul_size(&bytes, n, size) || !bk_add_size(&bytes, bytes, ARENA_ALIGN - 1))
        return NULL;
    bytes &= ~(size_t)(ARENA_ALIGN - 1);
    if (bytes == 0)
        bytes = ARENA_ALIGN;
    while (a->current && a->current->cap - a->current->used < bytes && a->current->next)
        a->current = a->current->next;
    if ((a->current == NULL || a->current->cap - a->current->used < bytes) && !arena_add_block(a, bytes))
        return NULL;
    void *p = a->current->data + a->current->used;
    a->current->used += bytes;
    return memset(p, 0, bytes);
}

char *bk_arena_strndup(struct bk_arena *a, const char *s, size_t n)
{
    size_t size;
    if (!bk_add_size(&size, n, 1))
        return NULL;
    char *p = bk_arena_alloc(a, size, 1);
    if (p && n)
        memcpy(p, s, n);
    return p;
}

char *bk_arena_printf(struct bk_arena *a, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0)
        return NULL;
    char *p = bk_arena_alloc(a, (size_t)n + 1, 1);
    if (p == NULL)
        return NULL;
    va_start(ap, fmt);
    vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return p;
}
