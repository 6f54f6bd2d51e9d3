/* ar archives, as GNU and BSD tools write them. A member header is 60 bytes of text: name 16, date 12, owner 6,
 * group 6, mode 8, size 10 (decimal), end mark 2; members begin at even offsets. */
#include "image/image_int.h"

#include <string.h>

#define MAGIC_SIZE  8
#define HEADER_SIZE 60

/* Decimal digits with blanks behind; false for anything else. */
static bool read_decimal(uint64_t *out, const uint8_t *s, size_t n)
{
    uint64_t v = 0;
    size_t i = 0;
    for (; i < n && s[i] >= '0' && s[i] <= '9'; i++)
        v = v * 10 + (s[i] - '0'); /* at most 15 digits: no overflow */
    size_t digits = i;
    while (i < n && s[i] == ' ')
        i++;
    *out = v;
    return digits > 0 && i == n;
}

struct archive {
    struct image_reader *rd;
    const struct image_source *src;
    const uint8_t *long_names; /* GNU "//" member */
    size_t long_names_size;
};

/* One member: where its bytes are once a BSD long name in front of them is taken off. */
struct member {
    size_t header, data, size;
    const uint8_t *name;
    size_t name_size;
};

static bool name_is(const struct member *m, const char *s)
{
    return m->name_size == strlen(s) && memcmp(m->name, s, m->name_size) == 0;
}

/* Index members of both dialects: symbol tables and the table of long names. */
static bool is_index(struct archive *a, const struct member *m)
{
    if (name_is(m, "//")) {
        a->long_names = a->src->data + m->data;
        a->long_names_size = m->size;
        return true;
    }
    return name_is(m, "/") || name_is(m, "/SYM64/") || name_is(m, "__.SYMDEF") || name_is(m, "__.SYMDEF SORTED") ||
           name_is(m, "__.SYMDEF_64") || name_is(m, "__.SYMDEF_64 SORTED");
}

/* "#1/N": the name is the first N bytes of the data, padded with NULs. */
static bool take_bsd_name(struct archive *a, struct member *m, uint64_t n)
{
    if (n > m->size)
        return false;
    m->name = a->src->data + m->data;
    m->name_size = strnlen((const char *)m->name, (size_t)n);
    m->data += (size_t)n;
    m->size -= (size_t)n;
    return true;
}

/* "/N": the name begins at N of the "//" member and ends at "/\n", or at "\n". */
static bool take_gnu_name(struct archive *a, struct member *m, uint64_t at)
{
    if (at >= a->long_names_size)
        return false;
    const uint8_t *s = a->long_names + at;
    size_t room = a->long_names_size - (size_t)at;
    const uint8_t *end = memchr(s, '\n', room < 4096 ? room : 4096);
    if (end == NULL)
        return false;
    m->name = s;
    m->name_size = (size_t)(end - s);
    if (m->name_size > 0 && s[m->name_size - 1] == '/')
        m->name_size--;
    return true;
}

/* Settles the member's name from the 16 bytes of its header; false when it points nowhere. */
static bool find_name(struct archive *a, struct member *m)
{
    uint64_t n;
    const uint8_t *field = a->src->data + m->header;
    if (memcmp(field, "#1/", 3) == 0 && read_decimal(&n, field + 3, 13))
        return take_bsd_name(a, m, n);
    if (field[0] == '/' && read_decimal(&n, field + 1, 15))
        return take_gnu_name(a, m, n);
    m->name = field;
    m->name_size = 16;
    while (m->name_size > 0 && field[m->name_size - 1] == ' ')
        m->name_size--;
    if (m->name_size > 1 && field[0] != '/' && field[m->name_size - 1] == '/')
        m->name_size--;
    return true;
}

static int read_member(struct archive *a, const struct member *m, struct bk_error *err)
{
    struct image_source part = {.data = a->src->data + m->data, .size = m->size, .base = a->src->base + m->data};
    size_t kept = m->name_size < 255 ? m->name_size : 255; /* longer than any file name */
    part.member = bk_arena_strndup(a->rd->arena, (const char *)m->name, kept);
    if (part.member == NULL)
        return bk_fail_nomem(err, kept);
    struct bk_error e = {0};
    int rc = bk_image_parse_any(a->rd, &part, &e);
    if (rc == BK_ENOMEM) {
        *err = e;
        return rc;
    }
    if (rc != BK_OK)
        bk_image_trouble_error(a->rd, &part, &e);
    return BK_OK;
}

int bk_image_parse_archive(struct image_reader *rd, const struct image_source *src, struct bk_error *err)
{
    struct archive a = {.rd = rd, .src = src};
    size_t pos = MAGIC_SIZE;
    while (pos < src->size) {
        struct member m = {.header = pos, .data = pos + HEADER_SIZE};
        const uint8_t *h = src->data + pos;
        uint64_t size;
        if (src->size - pos < HEADER_SIZE) {
            bk_image_trouble(rd, src, BK_ETRUNCATED, pos, "cut off within the header of a member");
            break;
        }
        if (h[58] != '`' || h[59] != '\n' || !read_decimal(&size, h + 48, 10)) {
            bk_image_trouble(rd, src, BK_EFORMAT, pos, "not the header of an archive member; the rest is not read");
            break;
        }
        if (!bk_range_inside(m.data, size, src->size)) {
            bk_image_trouble(rd, src, BK_ETRUNCATED, pos, "a member of %llu bytes runs past the end of the file",
                             (unsigned long long)size);
            break;
        }
        m.size = (size_t)size;
        pos = m.data + m.size + (m.size & 1);
        if (!find_name(&a, &m)) {
            bk_image_trouble(rd, src, BK_EFORMAT, m.header, "a member's name points outside the table of long names");
            continue;
        }
        if (is_index(&a, &m))
            continue;
        int rc = read_member(&a, &m, err);
        if (rc != BK_OK)
            return rc;
    }
    return bk_image_mark_inside(rd, err);
}
