#include "base/base.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define HEADER_SIZE 40u
#define ENTRY_SIZE  56u
#define NAME_SIZE   32u
#define ALIGN       64u
/* A real file has some dozens; the limit keeps the search for equal names short on a hostile one. */
#define MAX_ENTRIES 4096u

static const char magic[8] = {'B', 'I', 'N', 'K', 'I', 'N', '\r', '\n'};

struct entry {
    char name[NAME_SIZE]; /* NUL-padded, at least one NUL */
    const uint8_t *data;
    uint64_t offset, size;
};

struct entries {
    struct entry *v;
    size_t n, cap;
};

uint64_t bk_hash64(const void *data, size_t size)
{
    return XXH3_64bits(data, size);
}

static const struct entry *find_entry(const struct entries *e, const char *name)
{
    for (size_t i = 0; i < e->n; i++)
        if (strcmp(e->v[i].name, name) == 0)
            return &e->v[i];
    return NULL;
}

/* ---- writing ---------------------------------------------------------- */

struct bk_pack_writer {
    struct bk_save *save;
    char *path;
    char kind[4];
    unsigned major, minor;
    struct entries entries;
};

int bk_pack_create(struct bk_pack_writer **out, const char *path, const char kind[4], unsigned major, unsigned minor,
                   struct bk_error *err)
{
    *out = NULL;
    if (major > UINT16_MAX || minor > UINT16_MAX)
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "version %u.%u does not fit its field", major, minor);
    struct bk_pack_writer *w = calloc(1, sizeof *w);
    if (w == NULL)
        return bk_fail_nomem(err, sizeof *w);
    memcpy(w->kind, kind, sizeof w->kind);
    w->major = major;
    w->minor = minor;
    w->path = strdup(path);
    int rc = w->path ? bk_save_open(&w->save, path, err) : bk_fail_nomem(err, strlen(path));
    if (rc) {
        bk_pack_abort(w);
        return rc;
    }
    *out = w;
    return BK_OK;
}

void bk_pack_abort(struct bk_pack_writer *w)
{
    if (w == NULL)
        return;
    bk_save_abort(w->save);
    free(w->path);
    free(w->entries.v);
    free(w);
}

int bk_pack_add(struct bk_pack_writer *w, const char *name, const void *data, size_t size, struct bk_error *err)
{
    size_t n = strlen(name);
    if (n == 0 || n >= NAME_SIZE)
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "entry name \"%s\" is not of 1 to 31 bytes", name);
    if (find_entry(&w->entries, name))
        return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "entry \"%s\" is there already", name);
    if (w->entries.n == MAX_ENTRIES)
        return bk_fail(err, BK_ELIMIT, BK_NO_OFFSET, "more than %u entries", MAX_ENTRIES);
    if (!BK_GROW(w->entries))
        return bk_fail_nomem(err, sizeof *w->entries.v);
    struct entry *e = &w->entries.v[w->entries.n++];
    *e = (struct entry){.data = data, .size = size};
    memcpy(e->name, name, n);
    return BK_OK;
}

static uint8_t *put(uint8_t *p, uint64_t v, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        *p++ = (uint8_t)(v >> 8 * i);
    return p;
}

static uint64_t align_up(uint64_t v)
{
    return (v + ALIGN - 1) / ALIGN * ALIGN;
}

/* Header and directory of `w` into `out`, HEADER_SIZE + n * ENTRY_SIZE bytes; gives each entry its place. */
static void lay_out(struct bk_pack_writer *w, uint8_t *out, size_t size)
{
    uint64_t end = size;
    uint8_t *p = out + HEADER_SIZE;
    for (size_t i = 0; i < w->entries.n; i++) {
        struct entry *e = &w->entries.v[i];
        e->offset = align_up(end);
        end = e->offset + e->size;
        memcpy(p, e->name, NAME_SIZE);
        p = put(p + NAME_SIZE, e->offset, 8);
        p = put(p, e->size, 8);
        p = put(p, bk_hash64(e->data, (size_t)e->size), 8);
    }
    memcpy(out, magic, 8);
    memcpy(out + 8, w->kind, 4);
    p = put(out + 12, w->major, 2);
    p = put(p, w->minor, 2);
    p = put(p, w->entries.n, 4);
    p = put(p, 0, 4);
    p = put(p, end, 8);
    memset(p, 0, 8);
    put(p, bk_hash64(out, size), 8);
}

int bk_pack_commit(struct bk_pack_writer *w, struct bk_error *err)
{
    size_t size = HEADER_SIZE + w->entries.n * ENTRY_SIZE;
    uint8_t *head = malloc(size);
    if (head == NULL) {
        bk_error_file(err, w->path, NULL);
        bk_pack_abort(w);
        return bk_fail_nomem(err, size);
    }
    lay_out(w, head, size);
    static const uint8_t zeros[ALIGN] = {0};
    FILE *f = bk_save_stream(w->save);
    fwrite(head, 1, size, f); /* the stream remembers a failure, bk_save_commit asks it */
    uint64_t at = size;
    for (size_t i = 0; i < w->entries.n; i++) {
        const struct entry *e = &w->entries.v[i];
        fwrite(zeros, 1, (size_t)(e->offset - at), f);
        if (e->size)
            fwrite(e->data, 1, (size_t)e->size, f);
        at = e->offset + e->size;
    }
    free(head);
    int rc = bk_save_commit(w->save, err);
    w->save = NULL;
    bk_pack_abort(w);
    return rc;
}

/* ---- reading ---------------------------------------------------------- */

struct bk_pack {
    struct bk_map map; /* of bk_pack_open; empty over the caller's bytes */
    char *path;        /* NULL over the caller's bytes */
    const uint8_t *data;
    char kind[4];
    unsigned major, minor;
    uint64_t hash;
    struct entries entries; /* in order of offset, apart from each other */
};

void bk_pack_close(struct bk_pack *p)
{
    if (p == NULL)
        return;
    bk_map_close(&p->map);
    free(p->path);
    free(p->entries.v);
    free(p);
}

/* XXH3 of the first `size` bytes with the checksum field taken as 0. */
static bool head_hash(uint64_t *out, const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size);
    if (copy == NULL)
        return false;
    memcpy(copy, data, size);
    memset(copy + HEADER_SIZE - 8, 0, 8);
    *out = bk_hash64(copy, size);
    free(copy);
    return true;
}

static int check_header(struct bk_pack *p, size_t *count, const uint8_t *data, size_t size, const char kind[4],
                        unsigned major, struct bk_error *err)
{
    struct bk_cursor c = bk_cursor_at(data, size, 0, false);
    const uint8_t *m = bk_read_bytes(&c, 8), *k = bk_read_bytes(&c, 4);
    if (m == NULL || memcmp(m, magic, 8) != 0)
        return bk_fail(err, BK_EFORMAT, 0, "not a Binkin file");
    unsigned file_major = bk_read_u16(&c), file_minor = bk_read_u16(&c);
    uint32_t n = bk_read_u32(&c), reserved = bk_read_u32(&c);
    uint64_t file_size = bk_read_u64(&c);
    p->hash = bk_read_u64(&c);
    if (c.failed)
        return bk_fail(err, BK_ETRUNCATED, size, "the file ends inside its header");
    if (memcmp(k, kind, 4) != 0)
        return bk_fail(err, BK_EMISMATCH, 8, "a \"%.4s\" file where a \"%.4s\" file is needed", (const char *)k, kind);
    if (file_major > major)
        return bk_fail(err, BK_EUNSUPPORTED, 12, "format version %u.%u; this program reads up to %u", file_major,
                       file_minor, major);
    if (file_size > size)
        return bk_fail(err, BK_ETRUNCATED, size, "the file has %zu of %llu bytes", size, (unsigned long long)file_size);
    if (file_size < size)
        return bk_fail(err, BK_EFORMAT, file_size, "bytes after the end of the file");
    if (reserved != 0)
        return bk_fail(err, BK_EFORMAT, 20, "reserved field is not 0");
    if (n > MAX_ENTRIES)
        return bk_fail(err, BK_ELIMIT, 16, "%u entries, at most %u are read", (unsigned)n, MAX_ENTRIES);
    if ((size - HEADER_SIZE) / ENTRY_SIZE < n)
        return bk_fail(err, BK_EFORMAT, 16, "the file is too short for %u entries", (unsigned)n);
    memcpy(p->kind, k, sizeof p->kind);
    p->major = file_major;
    p->minor = file_minor;
    *count = n;
    return BK_OK;
}

/* Entries follow each other without overlap: checksums then cost one pass over the file, whatever it claims. */
static int read_entry(struct bk_pack *p, struct bk_cursor *c, uint64_t *end, struct bk_error *err)
{
    uint64_t at = c->pos;
    struct entry e = {0};
    memcpy(e.name, bk_read_bytes(c, NAME_SIZE), NAME_SIZE);
    e.offset = bk_read_u64(c);
    e.size = bk_read_u64(c);
    uint64_t sum = bk_read_u64(c);
    size_t n = strnlen(e.name, NAME_SIZE);
    if (n == 0 || n == NAME_SIZE)
        return bk_fail(err, BK_EFORMAT, at, "entry without a proper name");
    for (size_t i = n; i < NAME_SIZE; i++)
        if (e.name[i])
            return bk_fail(err, BK_EFORMAT, at, "entry name is not padded with NUL");
    if (find_entry(&p->entries, e.name))
        return bk_fail(err, BK_EFORMAT, at, "a second entry \"%s\"", e.name);
    if (e.offset % ALIGN || e.offset < *end || !bk_range_inside(e.offset, e.size, c->size))
        return bk_fail(err, BK_EFORMAT, at, "entry \"%s\" does not lie where an entry may", e.name);
    e.data = p->data + e.offset;
    if (bk_hash64(e.data, (size_t)e.size) != sum)
        return bk_fail(err, BK_EFORMAT, e.offset, "entry \"%s\" is damaged (checksum)", e.name);
    *end = e.offset + e.size;
    p->entries.v[p->entries.n++] = e;
    return BK_OK;
}

static int read_directory(struct bk_pack *p, const uint8_t *data, size_t size, const char kind[4], unsigned major,
                          struct bk_error *err)
{
    size_t count = 0;
    int rc = check_header(p, &count, data, size, kind, major, err);
    if (rc)
        return rc;
    size_t head = HEADER_SIZE + count * ENTRY_SIZE;
    uint64_t hash, end = head;
    if (!head_hash(&hash, data, head))
        return bk_fail_nomem(err, head);
    if (hash != p->hash)
        return bk_fail(err, BK_EFORMAT, HEADER_SIZE - 8, "the directory is damaged (checksum)");
    p->data = data;
    p->entries.v = bk_calloc(count, sizeof *p->entries.v);
    if (p->entries.v == NULL)
        return bk_fail_nomem(err, count * sizeof *p->entries.v);
    struct bk_cursor c = bk_cursor_at(data, size, HEADER_SIZE, false);
    while (p->entries.n < count)
        if ((rc = read_entry(p, &c, &end, err)))
            return rc;
    return BK_OK;
}

int bk_pack_open_bytes(struct bk_pack **out, const uint8_t *data, size_t size, const char kind[4], unsigned major,
                       struct bk_error *err)
{
    *out = NULL;
    struct bk_pack *p = calloc(1, sizeof *p);
    if (p == NULL)
        return bk_fail_nomem(err, sizeof *p);
    int rc = read_directory(p, data, size, kind, major, err);
    if (rc) {
        bk_pack_close(p);
        return rc;
    }
    *out = p;
    return BK_OK;
}

int bk_pack_open(struct bk_pack **out, const char *path, const char kind[4], unsigned major, struct bk_error *err)
{
    *out = NULL;
    struct bk_map map;
    int rc = bk_map_open(&map, path, err);
    if (rc)
        return rc;
    struct bk_pack *p;
    rc = bk_pack_open_bytes(&p, map.data, map.size, kind, major, err);
    if (rc) {
        bk_error_file(err, path, NULL);
        bk_map_close(&map);
        return rc;
    }
    p->map = map;
    p->path = strdup(path);
    if (p->path == NULL) {
        bk_pack_close(p);
        return bk_fail_nomem(err, strlen(path) + 1);
    }
    *out = p;
    return BK_OK;
}

int bk_pack_entry(struct bk_cursor *out, const struct bk_pack *p, const char *name, struct bk_error *err)
{
    const struct entry *e = find_entry(&p->entries, name);
    if (e == NULL) {
        *out = bk_cursor_at(NULL, 0, 0, false);
        if (p->path)
            bk_error_file(err, p->path, NULL);
        return bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, "no entry \"%s\"", name);
    }
    *out = bk_cursor_at(e->data, (size_t)e->size, 0, false);
    return BK_OK;
}

uint64_t bk_pack_hash(const struct bk_pack *p)
{
    return p->hash;
}

int bk_pack_copy(struct bk_pack_writer **out, const struct bk_pack *p, const char *path, const char *except,
                 struct bk_error *err)
{
    int rc = bk_pack_create(out, path, p->kind, p->major, p->minor, err);
    for (size_t i = 0; i < p->entries.n && !rc; i++) {
        const struct entry *e = &p->entries.v[i];
        if (strcmp(e->name, except) != 0)
            rc = bk_pack_add(*out, e->name, e->data, (size_t)e->size, err);
    }
    if (rc) {
        bk_pack_abort(*out);
        *out = NULL;
    }
    return rc;
}
