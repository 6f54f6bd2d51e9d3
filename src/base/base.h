/* base: what every other room stands on. Errors, checked sizes, arena, byte
 * cursor, mapped files, growable arrays, random numbers, threads, containers.
 * Includes libc and include/binkin_error.h only (and xxhash inside pack.c). */
#ifndef BK_BASE_H
#define BK_BASE_H

#include "binkin_error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* ---- errors ---------------------------------------------------------- */

/* Fills `err` (NULL allowed) and returns `code`, so that a failing call is
 * `return bk_fail(err, BK_EFORMAT, off, "section %u ...", i);`. Leaves
 * err->file untouched: the room that knows the path calls bk_error_file(). */
int bk_fail(struct bk_error *err, int code, uint64_t offset, const char *fmt, ...) BK_PRINTF(4, 5);
/* Sets err->file to `path`, or to "path(member)" when member is not NULL. */
void bk_error_file(struct bk_error *err, const char *path, const char *member);
/* No error, no file: public calls begin with this, since a caller's struct may hold anything. NULL allowed. */
void bk_error_clear(struct bk_error *err);
/* bk_fail for an allocation of `size` bytes. */
int bk_fail_nomem(struct bk_error *err, size_t size);

/* ---- checked sizes: true and the result in *out, or false on overflow -- */

static inline bool bk_add_size(size_t *out, size_t a, size_t b)
{
    return !__builtin_add_overflow(a, b, out);
}
static inline bool bk_mul_size(size_t *out, size_t a, size_t b)
{
    return !__builtin_mul_overflow(a, b, out);
}
/* Whether the range [offset, offset + size) lies inside `total` bytes. */
static inline bool bk_range_inside(uint64_t offset, uint64_t size, uint64_t total)
{
    return offset <= total && size <= total - offset;
}
/* calloc with the product checked; NULL when it does not fit. */
void *bk_calloc(size_t n, size_t size);
/* n * size bytes of anything, for large arrays filled at once: in large pages where the system has them, aligned to 64 bytes.
 * free() ends it. */
void *bk_alloc_large(size_t n, size_t size);

/* Makes room for one more element of a heap array {T *v; size_t n, cap}: grows by half, keeps `v` on
 * failure. if (!BK_GROW(a)) return bk_fail_nomem(...); a.v[a.n++] = x; */
#define BK_GROW(a) bk_grow(&(a).v, &(a).cap, (a).n + 1, sizeof *(a).v)
bool bk_grow(void *v, size_t *cap, size_t need, size_t elem); /* v: the address of a T * */

/* ---- arena: many small objects with one life ------------------------- */

struct bk_arena;                     /* not thread-safe; zero-filled memory, 16-byte aligned */
struct bk_arena *bk_arena_new(void); /* NULL: no memory */
void bk_arena_free(struct bk_arena *a);
/* Keeps the memory for reuse, forgets the contents. */
void bk_arena_reset(struct bk_arena *a);
void *bk_arena_alloc(struct bk_arena *a, size_t n, size_t size); /* n * size checked; NULL: no memory */
char *bk_arena_strndup(struct bk_arena *a, const char *s, size_t n);
char *bk_arena_printf(struct bk_arena *a, const char *fmt, ...) BK_PRINTF(2, 3);

/* ---- byte cursor: the only way bytes of a file become numbers --------- */

/* Reads past the end give 0 and set `failed`, which sticks: read a whole
 * record, then test once. */
struct bk_cursor {
    const uint8_t *data; /* borrowed */
    size_t size, pos;
    bool big_endian, failed;
};
struct bk_cursor bk_cursor_at(const uint8_t *data, size_t size, size_t pos, bool big_endian);
uint8_t bk_read_u8(struct bk_cursor *c);
uint16_t bk_read_u16(struct bk_cursor *c);
uint32_t bk_read_u32(struct bk_cursor *c);
uint64_t bk_read_u64(struct bk_cursor *c);
uint64_t bk_read_uleb(struct bk_cursor *c); /* more than 64 bits sets failed */
int64_t bk_read_sleb(struct bk_cursor *c);
/* `n` bytes in place, or NULL and failed. */
const uint8_t *bk_read_bytes(struct bk_cursor *c, size_t n);
/* A NUL-terminated string in place, or NULL and failed when no NUL follows. */
const char *bk_read_str(struct bk_cursor *c);

/* ---- files ----------------------------------------------------------- */

/* A whole file, read-only. Regular files are mapped; a directory, a device or a missing file is an error. */
struct bk_map {
    const uint8_t *data;
    size_t size;
};
BK_MUST_CHECK int bk_map_open(struct bk_map *out, const char *path, struct bk_error *err);
void bk_map_close(struct bk_map *m);

/* A file written whole or not at all: temp file beside `path`, fsync, rename. */
struct bk_save;
BK_MUST_CHECK int bk_save_open(struct bk_save **out, const char *path, struct bk_error *err);
FILE *bk_save_stream(struct bk_save *s);
/* Frees `s` either way; on failure the old file still stands. */
BK_MUST_CHECK int bk_save_commit(struct bk_save *s, struct bk_error *err);
void bk_save_abort(struct bk_save *s); /* NULL allowed */

/* ---- random numbers: state is passed in, never global ----------------- */

struct bk_rng {
    uint64_t s[4]; /* xoshiro256**; plain words so that a checkpoint can hold them */
};
/* `stream` separates uses of one seed (shuffling, initial weights, ...). */
void bk_rng_seed(struct bk_rng *r, uint64_t seed, uint64_t stream);
uint64_t bk_rng_u64(struct bk_rng *r);
uint64_t bk_rng_below(struct bk_rng *r, uint64_t n); /* unbiased, n > 0 */
double bk_rng_unit(struct bk_rng *r);                /* [0, 1) */
void bk_rng_shuffle_u32(struct bk_rng *r, uint32_t *v, size_t n);

/* ---- threads: the only user of pthreads ------------------------------- */

/* Calls fn(ctx, item, worker) once for each item in [0, n), in any order, on
 * up to `threads` threads (0: one per usable core), worker < threads. Item i must write only
 * what belongs to item i or, as scratch, to `worker`. Returns when all are done. */
typedef void bk_par_fn(void *ctx, size_t item, unsigned worker);
void bk_par_for(size_t n, unsigned threads, bk_par_fn *fn, void *ctx);
unsigned bk_par_threads(unsigned asked); /* what 0 means here; otherwise `asked`, at most 256 */

/* Runs `fn` until it has once said true, however many threads ask; they wait for it. For what is prepared at first use:
 * libraries that do so without a lock, and the weights of a model. Returns what `fn` said. */
struct bk_once {
    int done; /* zero-initialised */
};
bool bk_once(struct bk_once *once, bool (*fn)(void *ctx), void *ctx);

/* Sets flush-to-zero and denormals-are-zero on the calling thread and returns the state before, for
 * bk_fpu_restore; a no-op where the processor has neither. Workers of bk_par_for run under the caller's state. */
unsigned bk_fpu_flush_denormals(void);
void bk_fpu_restore(unsigned state);

double bk_now(void); /* seconds, monotonic */

/* ---- processor: which of the kernels compiled for several instruction sets may run ---- */

/* Each set contains those before it. AVX2 means AVX2, FMA and F16C; AVX512 means F, BW, DQ and VL beside them. */
enum bk_cpu { BK_CPU_PLAIN, BK_CPU_AVX2, BK_CPU_AVX512 };
/* The best set that processor and operating system have, or a lower one that the environment's BINKIN_CPU
 * (plain, avx2, avx512) asks for. One answer for the life of the process. */
enum bk_cpu bk_cpu(void);
const char *bk_cpu_name(enum bk_cpu cpu); /* as in BINKIN_CPU; static */
/* `wish`, the text of BINKIN_CPU or NULL, lowers `best` and never raises it; any other text changes nothing. */
enum bk_cpu bk_cpu_lower(enum bk_cpu best, const char *wish);

/* ---- pack: the container file of models, data sets, vectors, checkpoints -- */

/* Little-endian. Header: 8 bytes magic "BINKIN\r\n", 4-byte kind ("modl",
 * "data", "word", "ckpt"), u16 major, u16 minor, u32 entry count, u32 0, u64 file size, u64
 * XXH3 of header (this field 0) and directory. Directory entry: 32-byte name (NUL-padded), u64 offset,
 * u64 size, u64 XXH3 of the bytes. Entries begin at multiples of 64. doc/format.md is the
 * spec. Entries lie in the order of the directory and do not overlap; names of 1 to 31 bytes occur once; at most 4096 entries.
 * Unknown entries are ignored; another kind or a newer major is refused. */
struct bk_pack_writer;
BK_MUST_CHECK int bk_pack_create(struct bk_pack_writer **out, const char *path, const char kind[4], unsigned major,
                                 unsigned minor, struct bk_error *err);
/* Copies nothing: `data` must live until commit. */
BK_MUST_CHECK int bk_pack_add(struct bk_pack_writer *w, const char *name, const void *data, size_t size,
                              struct bk_error *err);
BK_MUST_CHECK int bk_pack_commit(struct bk_pack_writer *w, struct bk_error *err); /* frees w either way */
void bk_pack_abort(struct bk_pack_writer *w);

struct bk_pack;
/* A writer of the kind and version of `p` with all its entries but `except`; `p` must live until commit. */
BK_MUST_CHECK int bk_pack_copy(struct bk_pack_writer **out, const struct bk_pack *p, const char *path,
                               const char *except, struct bk_error *err);
/* Maps and checks `path`: magic, kind, major <= `major`, directory inside the file, every checksum. */
BK_MUST_CHECK int bk_pack_open(struct bk_pack **out, const char *path, const char kind[4], unsigned major,
                               struct bk_error *err);
/* The same over bytes that the caller keeps alive; for tests and fuzzing. */
BK_MUST_CHECK int bk_pack_open_bytes(struct bk_pack **out, const uint8_t *data, size_t size, const char kind[4],
                                     unsigned major, struct bk_error *err);
void bk_pack_close(struct bk_pack *p);
/* A cursor over one entry; BK_EFORMAT names a missing one. Entry bytes stay valid until close. */
BK_MUST_CHECK int bk_pack_entry(struct bk_cursor *out, const struct bk_pack *p, const char *name, struct bk_error *err);
/* The checksum in the header, which covers kind, version and every entry's checksum: names a file's whole content. */
uint64_t bk_pack_hash(const struct bk_pack *p);

uint64_t bk_hash64(const void *data, size_t size); /* XXH3-64 */

/* ---- string table: words to dense ids -------------------------------- */

struct bk_strtab; /* ids 0, 1, 2, ... in order of first intern; at most UINT32_MAX - 1 strings */
#define BK_STR_NONE UINT32_MAX
struct bk_strtab *bk_strtab_new(void); /* NULL: no memory */
void bk_strtab_free(struct bk_strtab *t);
/* The id of `s` (`n` bytes, need not end in NUL), added when new; BK_STR_NONE: no memory. */
uint32_t bk_strtab_intern(struct bk_strtab *t, const char *s, size_t n);
/* The id of `s`, BK_STR_NONE when it is not there. Thread-safe while nobody interns. */
uint32_t bk_strtab_find(const struct bk_strtab *t, const char *s, size_t n);
const char *bk_strtab_str(const struct bk_strtab *t, uint32_t id); /* NUL-terminated, valid until free */
size_t bk_strtab_len(const struct bk_strtab *t, uint32_t id);      /* bytes before its NUL */
uint32_t bk_strtab_count(const struct bk_strtab *t);

/* A table over bytes of a file, which the caller keeps until free: nothing is copied, and it takes no new strings. `strings`: each
 * with its NUL, in order of id. `index`: u32 number, u32 slots (the smallest power of two from 4 of which they take two thirds or
 * less); for each string u32 where it ends, behind its NUL; for each slot u32 upper half of the string's XXH3-64 and u32 id, BK_STR_NONE: free. A
 * string is in the first free slot from the one of its lower bits on. BK_EFORMAT unless each string is found once. */
BK_MUST_CHECK int bk_strtab_open(struct bk_strtab **out, struct bk_cursor strings, struct bk_cursor index,
                                 struct bk_error *err);
/* That index of `t`, on the heap; no string may hold a NUL. */
BK_MUST_CHECK int bk_strtab_index(uint8_t **out, size_t *size, const struct bk_strtab *t, struct bk_error *err);

#endif
