#include "image/image_int.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* ---- names ------------------------------------------------------------ */

const char *bk_arch_name(enum bk_arch arch)
{
    switch (arch) {
#define ARCH_CASE(id, name, bits)                                                                                      \
    case id:                                                                                                           \
        return name;
        BK_ARCHS(ARCH_CASE)
#undef ARCH_CASE
    default:
        return "none";
    }
}

enum bk_arch bk_arch_parse(const char *name)
{
#define ARCH_TEST(id, spelled, bits)                                                                                   \
    if (strcmp(name, spelled) == 0)                                                                                    \
        return id;
    BK_ARCHS(ARCH_TEST)
#undef ARCH_TEST
    return BK_ARCH_NONE;
}

bool bk_arch_related(enum bk_arch a, enum bk_arch b)
{
    static const enum bk_arch eldest[BK_ARCH_COUNT] = {
        [BK_ARCH_AMD64] = BK_ARCH_I386, [BK_ARCH_I386] = BK_ARCH_I386, [BK_ARCH_ARM] = BK_ARCH_ARM,
        [BK_ARCH_ARM64] = BK_ARCH_ARM,  [BK_ARCH_MIPS] = BK_ARCH_MIPS, [BK_ARCH_MIPS64] = BK_ARCH_MIPS,
    };
    return eldest[a] == eldest[b];
}

/* ---- formats ---------------------------------------------------------- */

static int refuse_thin(struct image_reader *rd, const struct image_source *src, struct bk_error *err)
{
    (void)rd;
    return bk_fail(err, BK_EUNSUPPORTED, src->base,
                   "a thin archive, whose members are in files of their own: give those");
}

static const struct image_format {
    const char *name, *magic;
    size_t magic_size;
    image_parser *parse;
    bool holds_objects; /* an archive */
} formats[] = {
    {"ELF", "\177ELF", 4, bk_image_parse_elf, false},
    {"ar archive", "!<arch>\n", 8, bk_image_parse_archive, true},
    {"thin archive", "!<thin>\n", 8, refuse_thin, true},
};

int bk_image_parse_any(struct image_reader *rd, const struct image_source *src, struct bk_error *err)
{
    if (src->size == 0)
        return bk_fail(err, BK_EFORMAT, src->base, "empty");
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        const struct image_format *f = &formats[i];
        size_t n = src->size < f->magic_size ? src->size : f->magic_size;
        if (memcmp(src->data, f->magic, n) != 0)
            continue;
        if (n < f->magic_size)
            return bk_fail(err, BK_ETRUNCATED, src->base + n, "cut off within the magic bytes of an %s", f->name);
        if (src->member && f->holds_objects)
            return bk_fail(err, BK_EUNSUPPORTED, src->base, "an archive within an archive");
        return f->parse(rd, src, err);
    }
    return bk_fail(err, BK_EFORMAT, src->base, "neither an ELF file nor an ar archive of them");
}

/* ---- troubles --------------------------------------------------------- */

void bk_image_trouble_error(struct image_reader *rd, const struct image_source *src, const struct bk_error *e)
{
    if (rd->troubles.n == BK_MAX_TROUBLES || !BK_GROW(rd->troubles)) {
        rd->n_more_troubles++;
        return;
    }
    struct bk_error *t = &rd->troubles.v[rd->troubles.n++];
    *t = *e;
    bk_error_file(t, rd->path, src->member);
}

void bk_image_trouble(struct image_reader *rd, const struct image_source *src, int code, uint64_t offset,
                      const char *fmt, ...)
{
    if (rd->troubles.n == BK_MAX_TROUBLES) {
        rd->n_more_troubles++;
        return;
    }
    char text[sizeof((struct bk_error *)0)->message];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    struct bk_error e = {0};
    bk_fail(&e, code, offset == BK_NO_OFFSET ? offset : src->base + offset, "%s", n < 0 ? "" : text);
    bk_image_trouble_error(rd, src, &e);
}

/* With more troubles than places the last place counts the rest. */
static void close_troubles(struct image_reader *rd)
{
    if (rd->n_more_troubles == 0 || rd->troubles.n == 0)
        return;
    struct bk_error *last = &rd->troubles.v[rd->troubles.n - 1];
    bk_fail(last, last->code, BK_NO_OFFSET, "and %zu more troubles", rd->n_more_troubles + 1);
    bk_error_file(last, rd->path, NULL);
}

/* ---- open and close --------------------------------------------------- */

struct image_file {
    struct bk_image_file pub; /* first: close gets a pointer to it */
    struct bk_arena *arena;
    struct bk_map map; /* data NULL: the caller's bytes */
    struct bk_image *images;
    struct bk_error *troubles;
};

static int fail_whole(struct image_reader *rd, int rc, struct bk_error *e, struct bk_error *err)
{
    bk_error_file(e, rd->path, NULL);
    if (err)
        *err = *e;
    return rc;
}

/* What to say of an archive none of whose members could be used: the first member's trouble. */
static int no_image(const struct image_reader *rd, struct bk_error *e)
{
    if (rd->troubles.n == 0)
        return bk_fail(e, BK_EFORMAT, BK_NO_OFFSET, "an archive without members");
    *e = rd->troubles.v[0];
    return e->code;
}

int bk_image_file_parse(struct bk_image_file **out, const char *path, const uint8_t *data, size_t size,
                        struct bk_error *err)
{
    *out = NULL;
    struct image_file *f = bk_calloc(1, sizeof *f);
    struct bk_arena *arena = bk_arena_new();
    struct image_reader rd = {.arena = arena};
    struct bk_error e = {0};
    if (arena)
        rd.path = bk_arena_strndup(arena, path, strlen(path));
    if (f == NULL || rd.path == NULL) {
        bk_arena_free(arena);
        free(f);
        bk_error_file(err, path, NULL);
        return bk_fail_nomem(err, sizeof *f);
    }
    int rc = bk_image_parse_any(&rd, &(struct image_source){NULL, data, size, 0}, &e);
    if (rc != BK_OK) {
        fail_whole(&rd, rc, &e, err);
    } else if (rd.images.n == 0) {
        rc = no_image(&rd, &e);
        if (e.file[0] == '\0')
            bk_error_file(&e, path, NULL);
        if (err)
            *err = e;
    }
    f->arena = arena;
    f->images = rd.images.v;
    f->troubles = rd.troubles.v;
    if (rc != BK_OK) {
        bk_image_file_close(&f->pub);
        return rc;
    }
    close_troubles(&rd);
    f->pub = (struct bk_image_file){rd.path, rd.images.n, rd.images.v, rd.troubles.n, rd.troubles.v};
    *out = &f->pub;
    return BK_OK;
}

int bk_image_file_open(struct bk_image_file **out, const char *path, struct bk_error *err)
{
    struct bk_map map;
    *out = NULL;
    int rc = bk_map_open(&map, path, err);
    if (rc != BK_OK)
        return rc;
    rc = bk_image_file_parse(out, path, map.data, map.size, err);
    if (rc != BK_OK)
        bk_map_close(&map);
    else
        ((struct image_file *)*out)->map = map;
    return rc;
}

void bk_image_file_close(struct bk_image_file *pub)
{
    if (pub == NULL)
        return;
    struct image_file *f = (struct image_file *)pub;
    if (f->map.data)
        bk_map_close(&f->map);
    bk_arena_free(f->arena);
    free(f->images);
    free(f->troubles);
    free(f);
}

/* ---- lookups ---------------------------------------------------------- */

static int span_order(const void *a, const void *b)
{
    const struct bk_span *x = a, *y = b;
    if (x->addr != y->addr)
        return x->addr < y->addr ? -1 : 1;
    return x->section < y->section ? -1 : x->section > y->section;
}

/* Cuts sorted ranges so that none overlap, the earlier keeping what it has; returns how many are left. */
static size_t cut_overlaps(struct bk_span *v, size_t n)
{
    size_t kept = 0;
    uint64_t end = 0;
    for (size_t i = 0; i < n; i++) {
        struct bk_span s = v[i];
        if (s.addr < end)
            s.addr = end;
        if (s.addr >= s.end)
            continue;
        end = s.end;
        v[kept++] = s;
    }
    return kept;
}

static size_t collect_spans(struct bk_span *out, const struct bk_image *img, bool exec)
{
    size_t n = 0;
    for (size_t i = 0; i < img->n_sections; i++) {
        const struct bk_section *s = &img->sections[i];
        if (!s->alloc || s->exec != exec || s->size == 0)
            continue;
        uint64_t end = s->addr + s->size < s->addr ? UINT64_MAX : s->addr + s->size;
        out[n++] = (struct bk_span){s->addr, end, (uint32_t)i};
    }
    if (n > 0)
        qsort(out, n, sizeof *out, span_order);
    return cut_overlaps(out, n);
}

int bk_image_index_sections(struct image_reader *rd, struct bk_image *img, struct bk_error *err)
{
    struct bk_span *v = bk_arena_alloc(rd->arena, img->n_sections, sizeof *v);
    if (v == NULL)
        return bk_fail_nomem(err, img->n_sections * sizeof *v);
    img->n_code_spans = collect_spans(v, img, true);
    img->n_spans = img->n_code_spans + collect_spans(v + img->n_code_spans, img, false);
    img->spans = v;
    return BK_OK;
}

static const struct bk_span *span_at(const struct bk_span *v, size_t n, uint64_t addr)
{
    size_t low = 0, high = n; /* v[low - 1].addr <= addr < v[high].addr */
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (v[mid].addr <= addr)
            low = mid + 1;
        else
            high = mid;
    }
    return low > 0 && addr < v[low - 1].end ? &v[low - 1] : NULL;
}

const struct bk_section *bk_image_section_at(const struct bk_image *img, uint64_t addr)
{
    const struct bk_span *s = span_at(img->spans, img->n_code_spans, addr);
    if (s == NULL)
        s = span_at(img->spans + img->n_code_spans, img->n_spans - img->n_code_spans, addr);
    return s ? &img->sections[s->section] : NULL;
}

bool bk_image_mark_at(enum bk_mark_kind *out, const struct bk_image *img, uint64_t addr)
{
    const struct bk_section *s = bk_image_section_at(img, addr);
    size_t low = 0, high = img->n_marks;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (img->marks[mid].addr <= addr)
            low = mid + 1;
        else
            high = mid;
    }
    if (s == NULL || low == 0 || img->marks[low - 1].addr < s->addr)
        return false;
    *out = img->marks[low - 1].kind;
    return true;
}

const uint8_t *bk_image_bytes(const struct bk_image *img, uint64_t addr, size_t *avail)
{
    const struct bk_section *s = bk_image_section_at(img, addr);
    *avail = 0;
    if (s == NULL || s->data == NULL)
        return NULL;
    *avail = (size_t)(s->size - (addr - s->addr));
    return s->data + (addr - s->addr);
}
