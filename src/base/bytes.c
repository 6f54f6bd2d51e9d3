#include "base/base.h"

#include <string.h>

struct bk_cursor bk_cursor_at(const uint8_t *data, size_t size, size_t pos, bool big_endian)
{
    static const uint8_t nothing[1] = {0};
    struct bk_cursor c = {data ? data : nothing, data ? size : 0, pos, big_endian, false};
    if (pos > c.size) {
        c.pos = c.size;
        c.failed = true;
    }
    return c;
}

const uint8_t *bk_read_bytes(struct bk_cursor *c, size_t n)
{
    if (c->failed || n > c->size - c->pos) {
        c->failed = true;
        return NULL;
    }
    const uint8_t *p = c->data + c->pos;
    c->pos += n;
    return p;
}

static uint64_t read_number(struct bk_cursor *c, unsigned n)
{
    const uint8_t *p = bk_read_bytes(c, n);
    if (p == NULL)
        return 0;
    uint64_t v = 0;
    for (unsigned i = 0; i < n; i++)
        v = v << 8 | p[c->big_endian ? i : n - 1 - i];
    return v;
}

uint8_t bk_read_u8(struct bk_cursor *c)
{
    return (uint8_t)read_number(c, 1);
}
uint16_t bk_read_u16(struct bk_cursor *c)
{
    return (uint16_t)read_number(c, 2);
}
uint32_t bk_read_u32(struct bk_cursor *c)
{
    return (uint32_t)read_number(c, 4);
}
uint64_t bk_read_u64(struct bk_cursor *c)
{
    return read_number(c, 8);
}

/* LEB128 (DWARF 5, 7.6). A longer form than needed is legal; bits beyond the 64th must repeat the sign, which for an
 * unsigned number is 0. The upper bits of a short signed number are filled in from its last byte. */
static uint64_t read_leb(struct bk_cursor *c, bool is_signed)
{
    uint64_t v = 0;
    unsigned shift = 0;
    for (;;) {
        const uint8_t *p = bk_read_bytes(c, 1);
        if (p == NULL)
            return 0;
        unsigned bits = *p & 0x7f;
        if (shift < 63) {
            v |= (uint64_t)bits << shift;
        } else {
            if (shift == 63)
                v |= (uint64_t)(bits & 1) << 63;
            unsigned sign = is_signed && v >> 63 ? 0x7f : 0;
            if (bits != (shift == 63 && !is_signed ? (bits & 1) : sign)) {
                c->failed = true;
                return 0;
            }
        }
        shift += shift < 70 ? 7 : 0;
        if (!(*p & 0x80)) {
            if (is_signed && shift < 64 && (bits & 0x40))
                v |= UINT64_MAX << shift;
            return v;
        }
    }
}

uint64_t bk_read_uleb(struct bk_cursor *c)
{
    return read_leb(c, false);
}

int64_t bk_read_sleb(struct bk_cursor *c)
{
    uint64_t v = read_leb(c, true);
    int64_t out;
    memcpy(&out, &v, sizeof out);
    return out;
}

const char *bk_read_str(struct bk_cursor *c)
{
    const uint8_t *end = c->failed ? NULL : memchr(c->data + c->pos, 0, c->size - c->pos);
    if (end == NULL) {
        c->failed = true;
        return NULL;
    }
    const char *s = (const char *)c->data + c->pos;
    c->pos = (size_t)(end - c->data) + 1;
    return s;
}
