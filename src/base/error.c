#include "base/base.h"

#include <stdarg.h>
#include <string.h>

const char *bk_strerror(int code)
{
    switch (code) {
#define BK_ERROR_CASE(name, number, text)                                                                              \
    case name:                                                                                                         \
        return text;
        BK_ERRORS(BK_ERROR_CASE)
#undef BK_ERROR_CASE
    default:
        return "unknown error";
    }
}

/* Names and strings of a hostile file end up in messages: no byte of them may end the line or move a terminal. */
static void blank_controls(char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            *s = '?';
}

int bk_fail(struct bk_error *err, int code, uint64_t offset, const char *fmt, ...)
{
    if (err == NULL)
        return code;
    err->code = code;
    err->offset = offset;
    va_list ap;
    va_start(ap, fmt);
    if (vsnprintf(err->message, sizeof err->message, fmt, ap) < 0)
        err->message[0] = '\0';
    va_end(ap);
    blank_controls(err->message);
    return code;
}

void bk_error_clear(struct bk_error *err)
{
    if (err)
        *err = (struct bk_error){.code = BK_OK, .offset = BK_NO_OFFSET};
}

int bk_fail_nomem(struct bk_error *err, size_t size)
{
    return bk_fail(err, BK_ENOMEM, BK_NO_OFFSET, "no memory for %zu bytes", size);
}

/* The last `room - 1` characters of the parts put together, "..." in front when that cuts. */
static void join_tail(char *out, size_t room, const char *const *part, size_t n_parts)
{
    size_t total = 0;
    for (size_t i = 0; i < n_parts; i++)
        total += strlen(part[i]);
    size_t skip = total < room ? 0 : total - (room - 1), pos = 0;
    for (size_t i = 0; i < n_parts; i++) {
        size_t n = strlen(part[i]), cut = skip < n ? skip : n;
        memcpy(out + pos, part[i] + cut, n - cut);
        pos += n - cut;
        skip -= cut;
    }
    out[pos] = '\0';
    if (total >= room)
        memcpy(out, "...", 3);
}

void bk_error_file(struct bk_error *err, const char *path, const char *member)
{
    if (err == NULL)
        return;
    const char *part[] = {path, "(", member, ")"};
    join_tail(err->file, sizeof err->file, part, member ? 4 : 1);
    blank_controls(err->file);
}

char *bk_error_format(char *out, uint64_t size, const struct bk_error *err)
{
    if (size == 0)
        return out;
    const char *message = err->message[0] ? err->message : bk_strerror(err->code);
    const char *colon = err->file[0] ? ": " : "";
    size_t room = size > SIZE_MAX ? SIZE_MAX : (size_t)size;
    if (err->offset == BK_NO_OFFSET)
        snprintf(out, room, "%s%s%s", err->file, colon, message);
    else
        snprintf(out, room, "%s%s%s (at offset 0x%llx)", err->file, colon, message, (unsigned long long)err->offset);
    blank_controls(out);
    return out;
}
