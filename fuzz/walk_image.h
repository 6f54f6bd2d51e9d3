/* Looks at everything an opened file offers, so that a bad pointer or length shows. */
#ifndef BK_FUZZ_WALK_IMAGE_H
#define BK_FUZZ_WALK_IMAGE_H

#include "image/image.h"

#include <stdlib.h>
#include <string.h>

static volatile size_t walk_sum; /* keeps the compiler from leaving the reading out */

static inline size_t walk_image(const struct bk_image *img)
{
    size_t sum = 0, avail;
    enum bk_mark_kind mark;
    for (size_t i = 0; i < img->n_sections; i++) {
        const struct bk_section *s = &img->sections[i];
        for (uint64_t k = 0; s->data && k < s->size; k += 1 + s->size / 64)
            sum += s->data[k];
        sum += s->data && s->size > 0 ? s->data[s->size - 1] : 0;
        sum += strlen(s->name);
    }
    for (size_t i = 0; i < img->n_symbols; i++) {
        const struct bk_symbol *s = &img->symbols[i];
        const uint8_t *bytes = bk_image_bytes(img, s->addr, &avail);
        sum += bytes ? bytes[0] + bytes[avail - 1] : 0;
        sum += bk_image_mark_at(&mark, img, s->addr);
        sum += (size_t)s->name[0];
        if (s->name[0] == '\0' || (i > 0 && s[-1].addr > s->addr))
            abort();
    }
    for (size_t i = 0; i < img->n_unwinds; i++) {
        const struct bk_section *s = bk_image_section_at(img, img->unwinds[i].addr);
        if (s == NULL || !s->exec || (i > 0 && img->unwinds[i - 1].addr >= img->unwinds[i].addr))
            abort();
    }
    for (size_t i = 0; i < img->n_imports; i++) {
        sum += strlen(img->imports[i].name);
        if (img->imports[i].name[0] == '\0' || (i > 0 && img->imports[i - 1].addr >= img->imports[i].addr))
            abort();
    }
    for (size_t i = 1; i < img->n_forwards; i++)
        if (img->forwards[i - 1].addr >= img->forwards[i].addr)
            abort();
    return sum;
}

/* Parses from a block of its own size; the answer must be an image or an error with a cause. */
static inline void walk_file(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    struct bk_image_file *f;
    struct bk_error err = {0};
    if (copy == NULL)
        return;
    if (size > 0)
        memcpy(copy, data, size);
    if (bk_image_file_parse(&f, "fuzz", copy, size, &err) == BK_OK)
        for (size_t i = 0; i < f->n_images; i++)
            walk_sum += walk_image(&f->images[i]);
    else if (f != NULL || err.message[0] == '\0' || err.file[0] == '\0' ||
             (err.offset != BK_NO_OFFSET && err.offset > size))
        abort();
    bk_image_file_close(f);
    free(copy);
}

#endif
