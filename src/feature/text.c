/* Texts of bounded length, and what a decoder keeps for the readers of its bodies. */
#include "feature/feature_int.h"

#include <string.h>

void bk_text_char(struct bk_text *t, char c)
{
    if (t->p < t->end)
        *t->p++ = c;
    else
        t->cut = true;
}

void bk_text_str(struct bk_text *t, const char *s)
{
    while (*s != '\0')
        bk_text_char(t, *s++);
}

void bk_text_unsigned(struct bk_text *t, uint64_t v, unsigned base)
{
    char digits[20]; /* of 2^64 - 1, the last first */
    unsigned n = 0;
    do {
        digits[n++] = "0123456789abcdef"[v % base];
        v /= base;
    } while (v != 0);
    while (n > 0)
        bk_text_char(t, digits[--n]);
}

size_t bk_text_end(struct bk_text *t, const char *begin)
{
    if (t->cut)
        t->p[-1] = '~';
    *t->p = '\0';
    return (size_t)(t->p - begin);
}

uint32_t *bk_memo_ids(const struct bk_body *body, enum bk_memo_use use, const void *owner)
{
    if (body->memo == NULL || body->memo[use].n == 0)
        return NULL;
    struct bk_memo *memo = &body->memo[use];
    if (memo->owner != owner)
        memset(memo->v, 0, memo->n * sizeof *memo->v);
    memo->owner = owner;
    return memo->v;
}
