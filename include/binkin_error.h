/* Errors of every Binkin call, public and internal.
 *
 * A call that can fail returns BK_OK (0) or one negative BK_E* code and, where
 * its last argument is a `struct bk_error *`, fills it in. The pointer may be
 * NULL; the struct belongs to the caller and needs no release. The library
 * never prints, exits or aborts on what a file contains. */
#ifndef BINKIN_ERROR_H
#define BINKIN_ERROR_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define BK_API               __attribute__((visibility("default")))
#define BK_MUST_CHECK        __attribute__((warn_unused_result))
#define BK_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define BK_API
#define BK_MUST_CHECK
#define BK_PRINTF(fmt, args)
#endif

/* X(name, code, text) */
#define BK_ERRORS(X)                                                                                                   \
    X(BK_OK, 0, "success")                                                                                             \
    X(BK_EIO, -1, "the system could not read or write")                                                                \
    X(BK_ENOMEM, -2, "out of memory")                                                                                  \
    X(BK_EFORMAT, -3, "not in the expected format")                                                                    \
    X(BK_ETRUNCATED, -4, "cut off")                                                                                    \
    X(BK_EUNSUPPORTED, -5, "not supported")                                                                            \
    X(BK_ENOTFOUND, -6, "not found")                                                                                   \
    X(BK_EINVAL, -7, "invalid argument")                                                                               \
    X(BK_EMISMATCH, -8, "made for something else")                                                                     \
    X(BK_ELIMIT, -9, "over a limit")                                                                                   \
    X(BK_ECANCELLED, -10, "cancelled")

enum {
#define BK_ERROR_ENUM(name, code, text) name = (code),
    BK_ERRORS(BK_ERROR_ENUM)
#undef BK_ERROR_ENUM
};

/* Value of bk_error.offset where no byte of a file is to blame. */
#define BK_NO_OFFSET UINT64_MAX

struct bk_error {
    int code;          /* BK_E* */
    uint64_t offset;   /* bytes from the start of the file, or BK_NO_OFFSET */
    char file[256];    /* path, "archive(member)" for a member; may be empty, cut with "..." in front */
    char message[256]; /* the cause, in one line without the file's name */
};

/* The X-macro's text of a code; "unknown error" for any other number. */
BK_API const char *bk_strerror(int code);

/* Writes "file: message (at offset 0x..)" as one line without newline into
 * `out` (at most `size` bytes with the NUL) and returns `out`. */
BK_API char *bk_error_format(char *out, uint64_t size, const struct bk_error *err);

#ifdef __cplusplus
}
#endif
#endif
