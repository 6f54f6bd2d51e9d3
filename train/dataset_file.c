/* dataset_file: the data-set file, written and read. doc/format.md, "Data sets", is the spec.
 *
 * A writer and the reader of each entry stand side by side. The reader takes nothing on trust: every count is checked
 * against the bytes that are there before anything is allocated, every number against what it points into. */
#include "dataset_int.h"

#include <stdlib.h>
#include <string.h>

#define FILE_ROW  40 /* bytes */
#define LABEL_ROW 8
#define FUNC_ROW  32

/* Entry "info": u32 token version, u32 0, these as u64, then the name of the token rules with its NUL. X(field of bk_dataset_info) */
#define INFO_FIELDS(X)                                                                                                 \
    X(n_files)                                                                                                         \
    X(n_failed_files)                                                                                                  \
    X(n_functions)                                                                                                     \
    X(n_duplicates)                                                                                                    \
    X(n_unnamed)                                                                                                       \
    X(n_short)                                                                                                         \
    X(n_labels)                                                                                                        \
    X(n_merged)                                                                                                        \
    X(n_shared)                                                                                                        \
    X(n_words)                                                                                                         \
    X(n_word_total)                                                                                                    \
    X(n_partial)                                                                                                       \
    X(bytes_bad)

/* ---- bytes out ---------------------------------------------------------- */

void bk_put(struct bk_bytes *b, const void *data, size_t n)
{
    size_t need;
    if (b->failed || !bk_add_size(&need, b->n, n) || !bk_grow((void **)&b->v, &b->cap, need, 1)) {
        b->failed = true;
        return;
    }
    memcpy(b->v + b->n, data, n);
    b->n = need;
}

void bk_put_u16(struct bk_bytes *b, uint16_t x)
{
    uint8_t v[2] = {(uint8_t)x, (uint8_t)(x >> 8)};
    bk_put(b, v, sizeof v);
}

void bk_put_u32(struct bk_bytes *b, uint32_t x)
{
    uint8_t v[4] = {(uint8_t)x, (uint8_t)(x >> 8), (uint8_t)(x >> 16), (uint8_t)(x >> 24)};
    bk_put(b, v, sizeof v);
}

void bk_put_u64(struct bk_bytes *b, uint64_t x)
{
    bk_put_u32(b, (uint32_t)x);
    bk_put_u32(b, (uint32_t)(x >> 32));
}

static void put_strings(struct bk_bytes *b, const struct bk_strtab *t)
{
    for (uint32_t i = 0; i < bk_strtab_count(t); i++) {
        const char *s = bk_strtab_str(t, i);
        bk_put(b, s, strlen(s) + 1);
    }
}

/* ---- writing ------------------------------------------------------------ */

enum {
    E_INFO,
    E_WORDS,
    E_STRINGS,
    E_FILES,
    E_LABELS,
    E_FUNCTIONS,
    E_IDS,
    E_SOURCES,
    E_IMMEDIATES,
    E_IMMEDIATE_COUNTS,
    E_IMMEDIATE_IDS,
    E_GRAPH,                              /* the first of those that dataset_graph.c makes */
    E_ITEMS = E_GRAPH + BK_GRAPH_ENTRIES, /* likewise of dataset_items.c */
    N_ENTRIES = E_ITEMS + BK_ITEM_ENTRIES
};
static const char *const entry_names[E_GRAPH] = {"info",         "words", "strings", "files",      "labels",
                                                 "functions",    "ids",   "sources", "immediates", "immediate_counts",
                                                 "immediate_ids"};

static const char *entry_name(int i)
{
    if (i >= E_ITEMS)
        return bk_item_entry_names[i - E_ITEMS];
    return i < E_GRAPH ? entry_names[i] : bk_graph_entry_names[i - E_GRAPH];
}

/* State of one writing: labels and strings are numbered anew, in the order in which kept functions use them. */
struct writing {
    const struct data_out *out;
    struct bk_dataset_info *info;
    struct bk_strtab *strings, *immediates; /* values as their 8 bytes */
    struct bk_strtab *sources;              /* (project, source) as their 8 bytes: to be counted */
    uint32_t *label;                        /* new number of each label, BK_STR_NONE when not used yet */
    struct bk_bytes entries[N_ENTRIES];
};

static uint32_t restring(struct writing *w, uint32_t old)
{
    if (old == BK_STR_NONE)
        return old;
    const char *s = bk_strtab_str(w->out->strings, old);
    uint32_t id = bk_strtab_intern(w->strings, s, strlen(s));
    w->entries[E_STRINGS].failed |= id == BK_STR_NONE;
    return id;
}

static void encode_files(struct writing *w)
{
    struct bk_bytes *b = &w->entries[E_FILES];
    for (size_t i = 0; i < w->out->files.n; i++) {
        const struct out_file *f = &w->out->files.v[i];
        const uint32_t texts[] = {f->path, f->member, f->project, f->version, f->compiler, f->level, f->arch};
        for (size_t k = 0; k < sizeof texts / sizeof *texts; k++)
            bk_put_u32(b, restring(w, texts[k]));
        bk_put_u32(b, 0);
        bk_put_u64(b, f->hash);
    }
}

static uint32_t encode_label(struct writing *w, uint32_t label)
{
    const struct out_label *l = &w->out->labels.v[label];
    if (w->label[label] == BK_STR_NONE) {
        uint32_t project = restring(w, l->project), name = restring(w, l->name), source = restring(w, l->source);
        w->label[label] = (uint32_t)w->info->n_labels++;
        bk_put_u32(&w->entries[E_LABELS], project);
        bk_put_u32(&w->entries[E_LABELS], name);
        bk_put_u32(&w->entries[E_SOURCES], source);
        if (source != BK_STR_NONE) {
            const uint32_t file[2] = {project, source};
            w->entries[E_SOURCES].failed |=
                bk_strtab_intern(w->sources, (const char *)file, sizeof file) == BK_STR_NONE;
            w->info->n_with_source++;
        }
    }
    return w->label[label];
}

/* Values are numbered in the order in which kept functions use them. */
static void encode_immediates(struct writing *w, const struct out_func *f)
{
    bk_put_u32(&w->entries[E_IMMEDIATE_COUNTS], f->n_immediates);
    w->info->n_with_immediates += f->n_immediates > 0;
    for (size_t i = 0; i < f->n_immediates; i++) {
        const int64_t *value = &w->out->immediates.v[f->immediates + i];
        uint32_t next = bk_strtab_count(w->immediates);
        uint32_t id = bk_strtab_intern(w->immediates, (const char *)value, sizeof *value);
        if (id == next)
            bk_put_u64(&w->entries[E_IMMEDIATES], (uint64_t)*value);
        bk_put_u32(&w->entries[E_IMMEDIATE_IDS], id);
        w->entries[E_IMMEDIATES].failed |= id == BK_STR_NONE;
    }
}

static void encode_functions(struct writing *w)
{
    struct bk_bytes *b = &w->entries[E_FUNCTIONS];
    for (size_t i = 0; i < w->out->funcs.n; i++) {
        const struct out_func *f = &w->out->funcs.v[i];
        if (f->dropped)
            continue;
        bk_put_u32(b, encode_label(w, f->label));
        bk_put_u32(b, f->file);
        bk_put_u32(b, restring(w, f->name));
        bk_put_u32(b, f->n_blocks);
        bk_put_u32(b, f->n_insns);
        bk_put_u32(b, f->n_words);
        bk_put_u64(b, f->addr);
        for (size_t k = 0; k < f->n_words; k++)
            bk_put_u32(&w->entries[E_IDS], w->out->words.ids.v[f->ids + k]);
        w->info->n_word_total += f->n_words;
        encode_immediates(w, f);
    }
    w->info->has_immediates = true;
    w->info->n_immediates = bk_strtab_count(w->immediates);
    w->info->n_sources = bk_strtab_count(w->sources);
}

static void encode_info(struct writing *w)
{
    struct bk_bytes *b = &w->entries[E_INFO];
    bk_put_u32(b, BK_TOKENS_VERSION);
    bk_put_u32(b, 0);
#define PUT_FIELD(field) bk_put_u64(b, w->info->field);
    INFO_FIELDS(PUT_FIELD)
#undef PUT_FIELD
    bk_put(b, BK_TOKENS_NAME, sizeof BK_TOKENS_NAME);
}

static int write_pack(const struct writing *w, const char *path, struct bk_error *err)
{
    struct bk_pack_writer *pack;
    int rc = bk_pack_create(&pack, path, "data", BK_DATA_MAJOR, BK_DATA_MINOR, err);
    if (rc)
        return rc;
    for (int i = 0; i < N_ENTRIES && !rc; i++)
        rc = bk_pack_add(pack, entry_name(i), w->entries[i].v, w->entries[i].n, err);
    if (rc) {
        bk_pack_abort(pack);
        return rc;
    }
    rc = bk_pack_commit(pack, err);
    if (rc)
        return rc;
    struct bk_pack *back;
    rc = bk_pack_open(&back, path, "data", BK_DATA_MAJOR, err);
    if (rc)
        return rc;
    w->info->hash = bk_pack_hash(back);
    bk_pack_close(back);
    return BK_OK;
}

int bk_data_write(struct bk_dataset_info *info, const char *path, const struct data_out *o, struct bk_error *err)
{
    struct writing w = {.out = o,
                        .info = info,
                        .strings = bk_strtab_new(),
                        .immediates = bk_strtab_new(),
                        .sources = bk_strtab_new(),
                        .label = bk_calloc(o->labels.n + 1, 4)};
    bool failed = !w.strings || !w.immediates || !w.sources || !w.label;
    info->n_words = bk_strtab_count(o->words.table);
    if (!failed) {
        memset(w.label, 0xff, o->labels.n * sizeof *w.label);
        encode_files(&w);
        encode_functions(&w);
        bk_graph_encode(&w.entries[E_GRAPH], info, o);
        bk_item_encode(&w.entries[E_ITEMS], info, o);
        encode_info(&w);
        put_strings(&w.entries[E_WORDS], o->words.table);
        put_strings(&w.entries[E_STRINGS], w.strings);
    }
    size_t size = 0;
    for (int i = 0; i < N_ENTRIES; i++) {
        failed |= w.entries[i].failed;
        size += w.entries[i].n;
    }
    int rc = failed ? bk_fail_nomem(err, size) : write_pack(&w, path, err);
    for (int i = 0; i < N_ENTRIES; i++)
        free(w.entries[i].v);
    free(w.label);
    bk_strtab_free(w.strings);
    bk_strtab_free(w.immediates);
    bk_strtab_free(w.sources);
    return rc;
}

/* ---- reading ------------------------------------------------------------ */

/* What a bk_dataset owns. */
struct owner {
    struct bk_strtab *words, *strings;
    struct bk_data_file *files;
    struct bk_data_label *labels;
    struct bk_data_func *funcs;
    uint32_t *ids, *immediate_ids;
    int64_t *immediates;
    struct bk_graph_owner graph;
    struct bk_item_owner items;
};

int bk_data_bad(struct bk_error *err, const char *entry, const char *what)
{
    return bk_fail(err, BK_EFORMAT, BK_NO_OFFSET, "data set, entry \"%s\": %s", entry, what);
}

static int read_info(struct bk_dataset_info *info, const struct bk_pack *p, struct bk_error *err)
{
    struct bk_cursor c;
    int rc = bk_pack_entry(&c, p, "info", err);
    if (rc)
        return rc;
    uint32_t version = bk_read_u32(&c);
    bk_read_u32(&c);
    uint64_t v;
    bool fits = true;
#define GET_FIELD(field)                                                                                               \
    v = bk_read_u64(&c);                                                                                               \
    fits &= v <= SIZE_MAX / 64;                                                                                        \
    info->field = (size_t)v;
    INFO_FIELDS(GET_FIELD)
#undef GET_FIELD
    const char *tokens = bk_read_str(&c);
    if (c.failed)
        return bk_data_bad(err, "info", "cut off");
    if (strcmp(tokens, BK_TOKENS_NAME) != 0 || version != BK_TOKENS_VERSION)
        return bk_fail(err, BK_EMISMATCH, BK_NO_OFFSET, "data set of token rules %.32s/%u, this program has %s/%u",
                       tokens, version, BK_TOKENS_NAME, BK_TOKENS_VERSION);
    if (!fits || !info->n_functions || info->n_functions >= UINT32_MAX)
        return bk_data_bad(err, "info", "absurd counts");
    info->hash = bk_pack_hash(p);
    return BK_OK;
}

/* Every string of an entry, each once, of `min` to `max` bytes without its NUL. */
int bk_data_strings(struct bk_strtab *t, const struct bk_pack *p, const char *entry, size_t min, size_t max,
                    struct bk_error *err)
{
    struct bk_cursor c;
    int rc = bk_pack_entry(&c, p, entry, err);
    if (rc)
        return rc;
    while (c.pos < c.size) {
        uint32_t next = bk_strtab_count(t);
        const char *s = bk_read_str(&c);
        if (!s)
            return bk_data_bad(err, entry, "the last string has no end");
        size_t n = strlen(s);
        if (n < min || n > max)
            return bk_data_bad(err, entry, "a string is too long or empty");
        uint32_t id = bk_strtab_intern(t, s, n);
        if (id == BK_STR_NONE)
            return bk_fail_nomem(err, n);
        if (id != next)
            return bk_data_bad(err, entry, "a string stands there twice");
    }
    return BK_OK;
}

/* A cursor over an entry of `n` rows; the division keeps a hostile `n` from ever being allocated. */
int bk_data_rows(struct bk_cursor *c, const struct bk_pack *p, const char *entry, size_t row, size_t *n,
                 struct bk_error *err)
{
    int rc = bk_pack_entry(c, p, entry, err);
    if (rc)
        return rc;
    *n = c->size / row;
    if (c->size % row || *n >= UINT32_MAX)
        return bk_data_bad(err, entry, "its size is no whole number of rows");
    return BK_OK;
}

static const char *string_at(const struct owner *o, uint32_t id)
{
    return id < bk_strtab_count(o->strings) ? bk_strtab_str(o->strings, id) : NULL;
}

static int read_files(struct bk_dataset *d, struct owner *o, const struct bk_pack *p, struct bk_error *err)
{
    struct bk_cursor c;
    int rc = bk_data_rows(&c, p, "files", FILE_ROW, &d->n_files, err);
    if (rc)
        return rc;
    o->files = bk_calloc(d->n_files + 1, sizeof *o->files);
    if (!o->files)
        return bk_fail_nomem(err, d->n_files * sizeof *o->files);
    for (size_t i = 0; i < d->n_files; i++) {
        struct bk_data_file *f = &o->files[i];
        f->path = string_at(o, bk_read_u32(&c));
        uint32_t member = bk_read_u32(&c);
        f->member = member == BK_STR_NONE ? NULL : string_at(o, member);
        f->project = string_at(o, bk_read_u32(&c));
        f->version = string_at(o, bk_read_u32(&c));
        f->compiler = string_at(o, bk_read_u32(&c));
        f->level = string_at(o, bk_read_u32(&c));
        const char *arch = string_at(o, bk_read_u32(&c));
        bk_read_u32(&c);
        f->hash = bk_read_u64(&c);
        if (!f->path || (!f->member && member != BK_STR_NONE) || !f->project || !f->version || !f->compiler ||
            !f->level || !arch)
            return bk_data_bad(err, "files", "a string that is not there");
        f->arch = bk_arch_parse(arch);
        if (f->arch == BK_ARCH_NONE)
            return bk_data_bad(err, "files", "an unknown architecture");
    }
    return BK_OK;
}

/* A key that is the same on every processor. */
static uint64_t hash_u64s(const uint64_t *v, size_t n)
{
    uint8_t bytes[24];
    for (size_t i = 0; i < 8 * n; i++)
        bytes[i] = (uint8_t)(v[i / 8] >> (8 * (i % 8)));
    return bk_hash64(bytes, 8 * n);
}

static int by_key(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

size_t bk_data_distinct(uint64_t *keys, size_t n)
{
    size_t distinct = n > 0;
    qsort(keys, n, sizeof *keys, by_key);
    for (size_t i = 1; i < n; i++)
        distinct += keys[i] != keys[i - 1];
    return distinct;
}

/* Two labels of one project and name would let one source function stand on both sides of a split. */
static int check_labels(const struct bk_data_label *labels, size_t n, struct bk_error *err)
{
    uint64_t *keys = bk_calloc(n + 1, sizeof *keys);
    if (!keys)
        return bk_fail_nomem(err, n * sizeof *keys);
    for (size_t i = 0; i < n; i++)
        keys[i] = labels[i].key;
    bool twice = bk_data_distinct(keys, n) != n;
    free(keys);
    return twice ? bk_data_bad(err, "labels", "a label stands there twice") : BK_OK;
}

static int read_labels(struct bk_dataset *d, struct owner *o, const struct bk_pack *p, struct bk_error *err)
{
    struct bk_cursor c;
    int rc = bk_data_rows(&c, p, "labels", LABEL_ROW, &d->n_labels, err);
    if (rc)
        return rc;
    if (d->n_labels != d->info.n_labels)
        return bk_data_bad(err, "labels", "another number of labels than \"info\" says");
    o->labels = bk_calloc(d->n_labels + 1, sizeof *o->labels);
    if (!o->labels)
        return bk_fail_nomem(err, d->n_labels * sizeof *o->labels);
    for (size_t i = 0; i < d->n_labels; i++) {
        struct bk_data_label *l = &o->labels[i];
        l->project = string_at(o, bk_read_u32(&c));
        l->name = string_at(o, bk_read_u32(&c));
        if (!l->project || !l->name)
            return bk_data_bad(err, "labels", "a string that is not there");
        l->project_key = bk_hash64(l->project, strlen(l->project));
        uint64_t parts[2] = {l->project_key, bk_hash64(l->name, strlen(l->name))};
        l->key = hash_u64s(parts, 2);
        l->source_key = l->key;
    }
    return check_labels(o->labels, d->n_labels, err);
}

bool bk_data_has(const struct bk_pack *p, const char *entry)
{
    struct bk_cursor c;
    return bk_pack_entry(&c, p, entry, NULL) == BK_OK;
}

static int read_sources(struct bk_dataset *d, struct owner *o, const struct bk_pack *p, struct bk_error *err)
{
    struct bk_cursor c;
    size_t n;
    if (!bk_data_has(p, "sources"))
        return BK_OK;
    int rc = bk_data_rows(&c, p, "sources", 4, &n, err);
    if (rc)
        return rc;
    if (n != d->n_labels)
        return bk_data_bad(err, "sources", "another number than there are labels");
    uint64_t *keys = bk_calloc(n + 1, sizeof *keys);
    if (!keys)
        return bk_fail_nomem(err, n * sizeof *keys);
    for (size_t i = 0; i < n && !rc; i++) {
        struct bk_data_label *l = &o->labels[i];
        uint32_t id = bk_read_u32(&c);
        l->source = string_at(o, id);
        if (l->source) {
            /* the third part keeps it from ever being the key of a label */
            uint64_t parts[3] = {l->project_key, bk_hash64(l->source, strlen(l->source)), 0};
            keys[d->info.n_with_source++] = l->source_key = hash_u64s(parts, 3);
        } else if (id != BK_STR_NONE) {
            rc = bk_data_bad(err, "sources", "a string that is not there");
        }
    }
    d->info.n_sources = bk_data_distinct(keys, d->info.n_with_source);
    free(keys);
    return rc;
}

static uint64_t function_key(const struct bk_data_file *f, uint64_t addr)
{
    uint64_t parts[3] = {f->hash, f->member ? bk_hash64(f->member, strlen(f->member)) : 0, addr};
    return hash_u64s(parts, 3);
}

/* The functions but for their word pointers; *n_ids becomes the sum of their n_words. */
static int read_functions(struct bk_dataset *d, struct owner *o, size_t *n_ids, const struct bk_pack *p,
                          struct bk_error *err)
{
    struct bk_cursor c;
    int rc = bk_data_rows(&c, p, "functions", FUNC_ROW, &d->n, err);
    if (rc)
        return rc;
    if (d->n != d->info.n_functions)
        return bk_data_bad(err, "functions", "another number of functions than \"info\" says");
    o->funcs = bk_calloc(d->n, sizeof *o->funcs);
    if (!o->funcs)
        return bk_fail_nomem(err, d->n * sizeof *o->funcs);
    *n_ids = 0;
    for (size_t i = 0; i < d->n; i++) {
        struct bk_data_func *f = &o->funcs[i];
        f->label = bk_read_u32(&c);
        f->file = bk_read_u32(&c);
        f->name = string_at(o, bk_read_u32(&c));
        f->n_blocks = bk_read_u32(&c);
        f->n_insns = bk_read_u32(&c);
        f->n_words = bk_read_u32(&c);
        f->addr = bk_read_u64(&c);
        if (f->label >= d->n_labels || f->file >= d->n_files || !f->name)
            return bk_data_bad(err, "functions", "a label, file or name that is not there");
        if (o->labels[f->label].project != o->files[f->file].project) /* strings are there once */
            return bk_data_bad(err, "functions", "its file is of another project than its label");
        if (i && f->file < f[-1].file)
            return bk_data_bad(err, "functions", "not in the order of the files");
        if (!f->n_words || f->n_words > BK_DATA_MAX_WORDS || f->n_words > f->n_insns)
            return bk_data_bad(err, "functions", "absurd number of words");
        f->key = function_key(&o->files[f->file], f->addr);
        *n_ids += f->n_words;
    }
    return BK_OK;
}

static int read_ids(struct bk_dataset *d, struct owner *o, size_t n_ids, const struct bk_pack *p, struct bk_error *err)
{
    struct bk_cursor c;
    int rc = bk_pack_entry(&c, p, "ids", err);
    if (rc)
        return rc;
    if (c.size % 4 || c.size / 4 != n_ids || n_ids != d->info.n_word_total)
        return bk_data_bad(err, "ids", "another number of words than the functions have");
    o->ids = bk_calloc(n_ids, sizeof *o->ids);
    if (!o->ids)
        return bk_fail_nomem(err, n_ids * sizeof *o->ids);
    uint32_t n_words = bk_strtab_count(o->words);
    for (size_t i = 0; i < n_ids; i++) {
        o->ids[i] = bk_read_u32(&c);
        if (o->ids[i] >= n_words)
            return bk_data_bad(err, "ids", "a word that is not there");
    }
    const uint32_t *at = o->ids;
    for (size_t i = 0; i < d->n; i++) {
        o->funcs[i].words = at;
        at += o->funcs[i].n_words;
    }
    return BK_OK;
}

/* The distinct values. */
static int read_immediates(struct bk_dataset *d, struct owner *o, const struct bk_pack *p, struct bk_error *err)
{
    struct bk_cursor c;
    int rc = bk_data_rows(&c, p, "immediates", 8, &d->n_immediates, err);
    if (rc)
        return rc;
    size_t n = d->n_immediates;
    uint64_t *sorted = bk_calloc(n + 1, sizeof *sorted);
    o->immediates = bk_calloc(n + 1, sizeof *o->immediates);
    if (!sorted || !o->immediates) {
        free(sorted);
        return bk_fail_nomem(err, n * sizeof *sorted);
    }
    for (size_t i = 0; i < n; i++)
        o->immediates[i] = (int64_t)(sorted[i] = bk_read_u64(&c));
    bool twice = bk_data_distinct(sorted, n) != n;
    free(sorted);
    return twice ? bk_data_bad(err, "immediates", "a value stands there twice") : BK_OK;
}

static int read_ids_below(uint32_t *out, size_t n, size_t limit, struct bk_cursor *c, const char *entry,
                          struct bk_error *err)
{
    for (size_t i = 0; i < n; i++) {
        out[i] = bk_read_u32(c);
        if (out[i] >= limit)
            return bk_data_bad(err, entry, "a number of what is not there");
    }
    return BK_OK;
}

int bk_data_lists(uint32_t **ids, uint32_t **counts, const struct bk_pack *p, const char *ids_entry,
                  const char *counts_entry, size_t n, size_t limit, struct bk_error *err)
{
    struct bk_cursor count, id;
    size_t n_counts, n_ids, left;
    int rc = bk_data_rows(&count, p, counts_entry, 4, &n_counts, err);
    if (!rc)
        rc = bk_data_rows(&id, p, ids_entry, 4, &n_ids, err);
    if (rc)
        return rc;
    if (n_counts != n)
        return bk_data_bad(err, counts_entry, "another number than there are functions");
    *ids = bk_calloc(n_ids + 1, sizeof **ids);
    *counts = bk_calloc(n + 1, sizeof **counts);
    if (!*ids || !*counts)
        return bk_fail_nomem(err, n_ids * sizeof **ids);
    left = n_ids;
    for (size_t i = 0; i < n; left -= (*counts)[i++]) {
        (*counts)[i] = bk_read_u32(&count);
        if ((*counts)[i] > left)
            return bk_data_bad(err, counts_entry, "more than there are numbers");
    }
    if (left > 0)
        return bk_data_bad(err, ids_entry, "more than the functions have");
    return read_ids_below(*ids, n_ids, limit, &id, ids_entry, err);
}

/* Which of them each function has. */
static int read_immediate_ids(struct bk_dataset *d, struct owner *o, const struct bk_pack *p, struct bk_error *err)
{
    uint32_t *counts = NULL;
    int rc =
        bk_data_lists(&o->immediate_ids, &counts, p, "immediate_ids", "immediate_counts", d->n, d->n_immediates, err);
    const uint32_t *at = o->immediate_ids;
    for (size_t i = 0; i < d->n && !rc; at += counts[i++]) {
        o->funcs[i].n_immediates = counts[i];
        o->funcs[i].immediates = at;
        d->info.n_with_immediates += counts[i] > 0;
    }
    free(counts);
    return rc;
}

static int read_all(struct bk_dataset *d, struct owner *o, const struct bk_pack *p, struct bk_error *err)
{
    o->words = bk_strtab_new();
    o->strings = bk_strtab_new();
    if (!o->words || !o->strings)
        return bk_fail_nomem(err, sizeof *o);
    size_t n_ids = 0;
    int rc = read_info(&d->info, p, err);
    if (!rc)
        rc = bk_data_strings(o->words, p, "words", 1, BK_WORD_MAX - 1, err);
    if (!rc && bk_strtab_count(o->words) != d->info.n_words)
        rc = bk_data_bad(err, "words", "another number of words than \"info\" says");
    if (!rc)
        rc = bk_data_strings(o->strings, p, "strings", 0, SIZE_MAX, err);
    if (!rc)
        rc = read_files(d, o, p, err);
    if (!rc)
        rc = read_labels(d, o, p, err);
    if (!rc)
        rc = read_sources(d, o, p, err);
    if (!rc)
        rc = read_functions(d, o, &n_ids, p, err);
    if (!rc)
        rc = read_ids(d, o, n_ids, p, err);
    d->has_immediates = d->info.has_immediates = bk_data_has(p, "immediates");
    if (!rc && d->has_immediates)
        rc = read_immediates(d, o, p, err);
    if (!rc && d->has_immediates)
        rc = read_immediate_ids(d, o, p, err);
    d->info.n_immediates = d->n_immediates;
    d->has_graph = d->info.has_graph = bk_data_has(p, "forms");
    if (!rc && d->has_graph)
        rc = bk_graph_read(d, o->funcs, &o->graph, p, err);
    d->has_items = d->info.has_items = bk_data_has(p, "items");
    if (!rc && d->has_items)
        rc = bk_item_read(d, o->funcs, &o->items, p, err);
    return rc;
}

/* Takes nothing of `p` along. */
static int dataset_new(struct bk_dataset **out, const struct bk_pack *p, struct bk_error *err)
{
    struct bk_dataset *d = calloc(1, sizeof *d);
    struct owner *o = calloc(1, sizeof *o);
    if (!d || !o) {
        free(d);
        free(o);
        return bk_fail_nomem(err, sizeof *d);
    }
    d->owner = o;
    int rc = read_all(d, o, p, err);
    if (rc) {
        bk_dataset_close(d);
        return rc;
    }
    d->words = o->words;
    d->files = o->files;
    d->labels = o->labels;
    d->v = o->funcs;
    d->immediates = o->immediates;
    *out = d;
    return BK_OK;
}

int bk_dataset_open(struct bk_dataset **out, const char *path, struct bk_error *err)
{
    bk_error_clear(err);
    *out = NULL;
    struct bk_pack *p;
    int rc = bk_pack_open(&p, path, "data", BK_DATA_MAJOR, err);
    if (rc)
        return rc;
    rc = dataset_new(out, p, err);
    if (rc)
        bk_error_file(err, path, NULL);
    bk_pack_close(p);
    return rc;
}

int bk_dataset_open_bytes(struct bk_dataset **out, const uint8_t *data, size_t size, struct bk_error *err)
{
    *out = NULL;
    struct bk_pack *p;
    int rc = bk_pack_open_bytes(&p, data, size, "data", BK_DATA_MAJOR, err);
    if (rc)
        return rc;
    rc = dataset_new(out, p, err);
    bk_pack_close(p);
    return rc;
}

void bk_dataset_close(struct bk_dataset *d)
{
    if (!d)
        return;
    struct owner *o = d->owner;
    bk_strtab_free(o->words);
    bk_strtab_free(o->strings);
    free(o->files);
    free(o->labels);
    free(o->funcs);
    free(o->ids);
    free(o->immediates);
    free(o->immediate_ids);
    bk_graph_owner_done(&o->graph);
    bk_item_owner_done(&o->items);
    free(o);
    free(d);
}

void bk_dataset_describe(struct bk_dataset_info *out, const struct bk_dataset *d)
{
    *out = d->info;
}
