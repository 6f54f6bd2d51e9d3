/* What the files of feature share. */
#ifndef BK_FEATURE_INT_H
#define BK_FEATURE_INT_H

#include "feature/feature.h"

/* A text being written. What no longer fits is dropped, `p` goes no further than `end`. */
struct bk_text {
    char *p, *end; /* end: where the NUL stands at the latest */
    bool cut;
};
void bk_text_char(struct bk_text *t, char c);
void bk_text_str(struct bk_text *t, const char *s);
void bk_text_unsigned(struct bk_text *t, uint64_t v, unsigned base); /* base 2 .. 16, at most 20 digits */
/* Sets the NUL, and '~' before it where something was dropped. The length of the text that began at `begin`. */
size_t bk_text_end(struct bk_text *t, const char *begin);

/* What the body's decoder keeps for the table `owner`: by key of an instruction, id + 1. NULL: nothing. */
uint32_t *bk_memo_ids(const struct bk_body *body, enum bk_memo_use use, const void *owner);

#endif
