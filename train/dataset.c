/* dataset: labelled binaries -> data-set file. dataset_file.c writes and reads the file; doc/format.md is the spec.
 *
 * Functions are decoded in parallel, each worker giving words its own numbers; the numbers of the file are then given in
 * the order of the functions, so that the bytes do not depend on the number of threads. */
#include "dataset_int.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK 8192 /* functions decoded between two merges: bounds the memory of the workers */

struct u64s {
    uint64_t *v;
    size_t n, cap;
};

/* Words or forms as one thread numbers them: the table lives for the whole build, the ids are those of the chunk's functions. */
struct local {
    struct texts own;
    struct u32s global; /* by own id: the data set's id, or BK_STR_NONE; merging makes it as long as the table */
};

/* Scratch of one thread. */
struct worker {
    struct bk_decoder *decoder; /* of the image at hand */
    struct local words, forms;
    struct u64s hashes;     /* by own id of a word: its hash */
    struct i64s immediates; /* of the chunk's functions, end to end */
    struct item_list items; /* likewise */
    struct bk_graph_seq graphs;
    struct u64s callees;  /* likewise */
    uint64_t *hash_line;  /* hashes of one function's words */
    size_t hash_line_cap; /* numbers */
    struct bk_word_seq word_seq;
    struct bk_form_seq form_seq;
    struct bk_items item_set;
};

/* What a worker says about one function. */
struct slot {
    int rc;
    unsigned worker;
    uint32_t n_blocks, n_insns, n_words, n_immediates, n_items, n_kept_blocks, n_edges, n_callees;
    size_t ids, immediates, items, blocks, edges, callees; /* where they begin in the worker's */
    uint64_t bytes_bad, hash;
};

struct build {
    const struct bk_dataset_options *opt;
    struct bk_dataset_info *info;
    struct data_out out;
    struct bk_strtab *label_keys; /* "project:name", project as a number */
    struct u32s callers;          /* by function of the image at hand: how many functions of it call it */
    struct u32s parent;           /* union-find over label_keys = out.labels; the root is the one met first */
    unsigned threads;
    struct worker *workers;
    struct slot slots[CHUNK];
};

/* ---- labels ------------------------------------------------------------ */

static uint32_t root_of(struct build *b, uint32_t label)
{
    uint32_t *parent = b->parent.v;
    while (parent[label] != label) {
        parent[label] = parent[parent[label]];
        label = parent[label];
    }
    return label;
}

static void join(struct build *b, uint32_t x, uint32_t y)
{
    x = root_of(b, x);
    y = root_of(b, y);
    uint32_t root = x < y ? x : y;
    b->parent.v[x] = b->parent.v[y] = root;
    b->info->n_merged += x != y;
}

static bool push(struct u32s *a, uint32_t x)
{
    if (!BK_GROW(*a))
        return false;
    a->v[a->n++] = x;
    return true;
}

/* The label key of a name, new or known; BK_STR_NONE: no memory. */
static uint32_t label_of(struct build *b, uint32_t project, const char *name, size_t n)
{
    char head[16];
    size_t head_len = (size_t)snprintf(head, sizeof head, "%u:", project);
    char *key = malloc(head_len + n);
    if (!key)
        return BK_STR_NONE;
    memcpy(key, head, head_len);
    memcpy(key + head_len, name, n);
    uint32_t before = bk_strtab_count(b->label_keys);
    uint32_t id = bk_strtab_intern(b->label_keys, key, head_len + n);
    free(key);
    if (id != before)
        return id;
    uint32_t text = bk_strtab_intern(b->out.strings, name, n);
    if (text == BK_STR_NONE || !push(&b->parent, id) || !BK_GROW(b->out.labels))
        return BK_STR_NONE;
    b->out.labels.v[b->out.labels.n++] = (struct out_label){project, text, BK_STR_NONE};
    return id;
}

/* Joins the labels of all names of a function and returns the first. */
static uint32_t labels_of(struct build *b, uint32_t project, const struct bk_function *f)
{
    uint32_t first = BK_STR_NONE;
    for (size_t i = 0; i < f->n_names; i++) {
        uint32_t id = label_of(b, project, f->names[i], bk_source_name_len(f->names[i]));
        if (id == BK_STR_NONE)
            return BK_STR_NONE;
        if (first == BK_STR_NONE)
            first = id;
        else
            join(b, first, id);
    }
    return first;
}

/* ---- lists ------------------------------------------------------------- */

static bool copy(void *v, size_t *n, const void *from, size_t first, size_t count, size_t size)
{
    if (count > 0)
        memcpy((char *)v + *n * size, (const char *)from + first * size, count * size);
    *n += count;
    return true;
}

/* Appends from[first .. first + count), things as the list has them. False: no memory. */
#define APPEND(list, from, first, count)                                                                               \
    (bk_grow(&(list).v, &(list).cap, (list).n + (count), sizeof *(list).v) &&                                          \
     copy((list).v, &(list).n, from, first, count, sizeof *(list).v))

/* ---- decoding, in parallel --------------------------------------------- */

struct chunk {
    struct build *build;
    size_t first; /* function of slot 0 */
    size_t min_insns;
    const struct bk_functions *functions;
};

/* Hash of the whole word sequence, of words as text. */
static bool hash_words(uint64_t *out, struct worker *w)
{
    const struct bk_strtab *words = w->words.own.table;
    const struct bk_word_seq *seq = &w->word_seq;
    while (w->hashes.n < bk_strtab_count(words)) {
        if (!BK_GROW(w->hashes))
            return false;
        const char *s = bk_strtab_str(words, (uint32_t)w->hashes.n);
        w->hashes.v[w->hashes.n++] = bk_hash64(s, strlen(s));
    }
    if (!bk_grow((void **)&w->hash_line, &w->hash_line_cap, seq->n, sizeof *w->hash_line))
        return false;
    for (size_t i = 0; i < seq->n; i++)
        w->hash_line[i] = w->hashes.v[seq->v[i]];
    *out = bk_hash64(w->hash_line, seq->n * sizeof *w->hash_line);
    return true;
}

static int note_immediates(struct slot *s, struct worker *w, const struct bk_image *img, const struct bk_body *body)
{
    s->immediates = w->immediates.n;
    for (size_t i = 0; i < s->n_words; i++) {
        if (!bk_grow(&w->immediates.v, &w->immediates.cap, w->immediates.n + BK_MAX_OPERANDS, sizeof *w->immediates.v))
            return BK_ENOMEM;
        w->immediates.n += bk_insn_immediates(w->immediates.v + w->immediates.n, img, &body->insns[i]);
    }
    s->n_immediates = (uint32_t)(w->immediates.n - s->immediates);
    return BK_OK;
}

static int note_graph(struct slot *s, struct worker *w, const struct bk_body *body)
{
    struct bk_graph_seq *g = &w->graphs;
    s->blocks = g->blocks.n;
    s->edges = g->edges.n;
    int rc = bk_graph_seq_add(g, body, s->n_words, NULL);
    s->n_kept_blocks = (uint32_t)(g->blocks.n - s->blocks);
    s->n_edges = (uint32_t)(g->edges.n - s->edges);
    return rc;
}

static int note_items(struct slot *s, struct worker *w, const struct bk_image *img, const struct bk_body *body)
{
    int rc = bk_items_read(&w->item_set, img, body, NULL);
    if (rc)
        return rc;
    s->items = w->items.n;
    s->n_items = w->item_set.n < BK_DATA_MAX_ITEMS ? (uint32_t)w->item_set.n : BK_DATA_MAX_ITEMS;
    return APPEND(w->items, w->item_set.v, 0, s->n_items) ? BK_OK : BK_ENOMEM;
}

static int note_callees(struct slot *s, struct worker *w, const struct bk_body *body)
{
    s->callees = w->callees.n;
    s->n_callees = (uint32_t)body->n_callees;
    return APPEND(w->callees, body->callees, 0, body->n_callees) ? BK_OK : BK_ENOMEM;
}

/* Words and forms, and what hangs on them. */
static int note_words(struct slot *s, struct worker *w, const struct bk_image *img, const struct bk_body *body)
{
    int rc = bk_word_seq_intern(&w->word_seq, w->words.own.table, body, 0, NULL);
    if (rc)
        return rc;
    if (!hash_words(&s->hash, w))
        return BK_ENOMEM;
    s->n_words = w->word_seq.n < BK_DATA_MAX_WORDS ? (uint32_t)w->word_seq.n : BK_DATA_MAX_WORDS;
    rc = bk_form_seq_intern(&w->form_seq, w->forms.own.table, body, s->n_words, NULL);
    if (rc)
        return rc;
    s->ids = w->words.own.ids.n;
    if (!APPEND(w->words.own.ids, w->word_seq.v, 0, s->n_words) ||
        !APPEND(w->forms.own.ids, w->form_seq.v, 0, s->n_words))
        return BK_ENOMEM;
    rc = note_immediates(s, w, img, body);
    if (!rc)
        rc = note_items(s, w, img, body);
    return rc ? rc : note_graph(s, w, body);
}

static int decode(struct slot *s, struct worker *w, const struct bk_functions *f, size_t function, size_t min_insns)
{
    const struct bk_body *body;
    int rc = bk_decoder_body(&body, w->decoder, function, NULL);
    if (rc)
        return rc;
    s->n_insns = (uint32_t)body->n_insns;
    s->n_blocks = (uint32_t)body->n_blocks;
    s->bytes_bad = body->bytes_bad;
    rc = note_callees(s, w, body);
    bool kept = f->v[function].n_names > 0 && body->n_insns >= min_insns;
    return rc || !kept ? rc : note_words(s, w, f->image, body);
}

static void decode_item(void *ctx, size_t item, unsigned worker)
{
    struct chunk *c = ctx;
    struct slot *s = &c->build->slots[item];
    *s = (struct slot){.worker = worker};
    s->rc = decode(s, &c->build->workers[worker], c->functions, c->first + item, c->min_insns);
}

/* ---- merging, in the order of the functions ----------------------------- */

/* Appends `n` ids of a worker's to the data set's, numbering new texts. */
static int merge_ids(struct texts *out, struct local *in, size_t first, size_t n, struct bk_error *err)
{
    while (in->global.n < bk_strtab_count(in->own.table))
        if (!push(&in->global, BK_STR_NONE))
            return bk_fail_nomem(err, in->global.n * sizeof *in->global.v);
    for (size_t i = first; i < first + n; i++) {
        uint32_t local = in->own.ids.v[i], *global = &in->global.v[local];
        const char *text = bk_strtab_str(in->own.table, local);
        if (*global == BK_STR_NONE)
            *global = bk_strtab_intern(out->table, text, strlen(text));
        if (*global == BK_STR_NONE || !push(&out->ids, *global))
            return bk_fail_nomem(err, out->ids.n * sizeof *out->ids.v);
    }
    return BK_OK;
}

/* Counts the function as a caller of each function of its image that it calls. */
static void merge_calls(struct build *b, const struct slot *s, const struct bk_functions *f)
{
    for (size_t i = 0; i < s->n_callees; i++) {
        uint64_t callee = b->workers[s->worker].callees.v[s->callees + i];
        size_t to = bk_functions_at(f, callee);
        if (to != SIZE_MAX && f->v[to].addr == callee)
            b->callers.v[to]++;
    }
}

/* Appends what needs no numbers of the data set's. */
static int merge_lists(struct build *b, const struct slot *s, struct bk_error *err)
{
    struct data_out *o = &b->out;
    const struct worker *in = &b->workers[s->worker];
    bool ok = APPEND(o->immediates, in->immediates.v, s->immediates, s->n_immediates) &&
              APPEND(o->items, in->items.v, s->items, s->n_items) &&
              APPEND(o->graphs.blocks, in->graphs.blocks.v, s->blocks, s->n_kept_blocks) &&
              APPEND(o->graphs.edges, in->graphs.edges.v, s->edges, s->n_edges);
    return ok ? BK_OK : bk_fail_nomem(err, o->items.n * sizeof *o->items.v);
}

/* What a symbol table or the name of an object says of the source file, in a form that does not depend on who built it:
 * without folders, what stands from the first '.' on, and what stands up to the last '-' before it (automake's libfoo_la-bar.o
 * is bar.c). Unlike files may become one by it, never one file two. Empty: no file ("<artificial>" of a compiler). */
static const char *source_stem(size_t *n, const char *name)
{
    const char *slash = strrchr(name, '/'), *base = slash ? slash + 1 : name;
    *n = *name == '<' ? 0 : strcspn(base, ".");
    const char *dash = memrchr(base, '-', *n);
    if (dash && dash + 1 < base + *n) {
        *n -= (size_t)(dash + 1 - base);
        base = dash + 1;
    }
    return base;
}

/* Its id; BK_STR_NONE when nothing tells it. *failed: no memory. */
static uint32_t source_of(bool *failed, struct build *b, const struct bk_image *img, const struct bk_function *f)
{
    const char *name = f->file;
    if (!name && (img->member || img->kind == BK_IMAGE_OBJECT))
        name = img->member ? img->member : img->path;
    size_t n = 0;
    const char *stem = name ? source_stem(&n, name) : NULL;
    if (n == 0)
        return BK_STR_NONE;
    uint32_t id = bk_strtab_intern(b->out.strings, stem, n);
    *failed |= id == BK_STR_NONE;
    return id;
}

static int merge_slot(struct build *b, const struct slot *s, const struct bk_image *img, const struct bk_function *f,
                      size_t min_insns, struct bk_error *err)
{
    if (s->rc)
        return bk_fail(err, s->rc, BK_NO_OFFSET, "function %s: %s", f->n_names ? f->names[0] : "?", bk_strerror(s->rc));
    if (!f->n_names || !bk_source_name_len(f->names[0])) {
        b->info->n_unnamed++;
        return BK_OK;
    }
    struct data_out *o = &b->out;
    uint32_t file = (uint32_t)o->files.n - 1;
    uint32_t label = labels_of(b, o->files.v[file].project, f);
    uint32_t name = bk_strtab_intern(o->strings, f->names[0], strlen(f->names[0]));
    bool failed = false;
    uint32_t source = source_of(&failed, b, img, f);
    if (failed || label == BK_STR_NONE || name == BK_STR_NONE || !BK_GROW(o->funcs))
        return bk_fail_nomem(err, o->funcs.n * sizeof *o->funcs.v);
    if (s->n_insns < min_insns) {
        b->info->n_short++;
        return BK_OK;
    }
    if (o->funcs.n == UINT32_MAX)
        return bk_fail(err, BK_ELIMIT, BK_NO_OFFSET, "over %u functions", UINT32_MAX);
    o->funcs.v[o->funcs.n++] = (struct out_func){.label = label,
                                                 .name = name,
                                                 .file = file,
                                                 .source = source,
                                                 .n_blocks = s->n_blocks,
                                                 .n_insns = s->n_insns,
                                                 .n_words = s->n_words,
                                                 .n_immediates = s->n_immediates,
                                                 .n_items = s->n_items,
                                                 .n_kept_blocks = s->n_kept_blocks,
                                                 .n_edges = s->n_edges,
                                                 .n_callees = s->n_callees,
                                                 .addr = f->addr,
                                                 .ids = o->words.ids.n,
                                                 .immediates = o->immediates.n,
                                                 .items = o->items.n,
                                                 .blocks = o->graphs.blocks.n,
                                                 .edges = o->graphs.edges.n,
                                                 .hash = s->hash,
                                                 .bytes_bad = s->bytes_bad};
    struct worker *w = &b->workers[s->worker];
    int rc = merge_ids(&o->words, &w->words, s->ids, s->n_words, err);
    if (!rc)
        rc = merge_ids(&o->forms, &w->forms, s->ids, s->n_words, err);
    return rc ? rc : merge_lists(b, s, err);
}

/* ---- images and files -------------------------------------------------- */

static void trouble(const struct build *b, const struct bk_error *e)
{
    if (b->opt->trouble)
        b->opt->trouble(b->opt->trouble_ctx, e);
}

static void empty_chunk(struct worker *w)
{
    w->words.own.ids.n = w->forms.own.ids.n = w->immediates.n = w->items.n = w->callees.n = 0;
    w->graphs.blocks.n = w->graphs.edges.n = 0;
}

static int add_functions(struct build *b, const struct bk_functions *f, struct bk_error *err)
{
    size_t first = b->out.funcs.n;
    if (!bk_grow(&b->callers.v, &b->callers.cap, f->n, sizeof *b->callers.v))
        return bk_fail_nomem(err, f->n * sizeof *b->callers.v);
    if (f->n > 0)
        memset(b->callers.v, 0, f->n * sizeof *b->callers.v);
    struct chunk c = {.build = b, .functions = f, .min_insns = b->opt->min_insns ? b->opt->min_insns : 1};
    for (; c.first < f->n; c.first += CHUNK) {
        size_t n = f->n - c.first < CHUNK ? f->n - c.first : CHUNK;
        for (unsigned i = 0; i < b->threads; i++)
            empty_chunk(&b->workers[i]);
        bk_par_for(n, b->threads, decode_item, &c);
        for (size_t i = 0; i < n; i++) {
            int rc = merge_slot(b, &b->slots[i], f->image, &f->v[c.first + i], c.min_insns, err);
            if (rc)
                return rc;
            merge_calls(b, &b->slots[i], f);
        }
    }
    for (size_t i = first; i < b->out.funcs.n; i++)
        b->out.funcs.v[i].n_callers = b->callers.v[bk_functions_at(f, b->out.funcs.v[i].addr)];
    return BK_OK;
}

static uint32_t text_id(struct build *b, const char *s)
{
    return bk_strtab_intern(b->out.strings, s, strlen(s));
}

/* Opens the file's row of the image; functions that follow are the image's. */
static int add_row(struct build *b, const struct bk_labelled_file *in, const struct bk_image *img, uint64_t hash,
                   struct bk_error *err)
{
    struct data_out *o = &b->out;
    if (!BK_GROW(o->files))
        return bk_fail_nomem(err, o->files.n * sizeof *o->files.v);
    struct out_file row = {.path = text_id(b, in->path),
                           .member = img->member ? text_id(b, img->member) : BK_STR_NONE,
                           .project = text_id(b, in->project),
                           .version = text_id(b, in->version ? in->version : ""),
                           .compiler = text_id(b, in->compiler ? in->compiler : ""),
                           .level = text_id(b, in->level ? in->level : ""),
                           .arch = text_id(b, bk_arch_name(img->arch)),
                           .hash = hash};
    if (row.path == BK_STR_NONE || (img->member && row.member == BK_STR_NONE) || row.project == BK_STR_NONE ||
        row.version == BK_STR_NONE || row.compiler == BK_STR_NONE || row.level == BK_STR_NONE ||
        row.arch == BK_STR_NONE)
        return bk_fail_nomem(err, strlen(in->path));
    o->files.v[o->files.n++] = row;
    return BK_OK;
}

/* *used says whether functions of the image could be looked at; what kept them from it goes to the trouble callback. */
static int add_image(bool *used, struct build *b, const struct bk_labelled_file *in, const struct bk_image *img,
                     uint64_t hash, struct bk_error *err)
{
    struct bk_functions *f = NULL;
    struct bk_error e = {.offset = BK_NO_OFFSET};
    int rc = bk_functions_find(&f, img, &e);
    for (unsigned i = 0; i < b->threads && !rc; i++)
        rc = bk_decoder_new(&b->workers[i].decoder, f, &e);
    if (rc) {
        bk_error_file(&e, in->path, img->member);
        if (rc == BK_ENOMEM && err)
            *err = e;
        else
            trouble(b, &e);
        rc = rc == BK_ENOMEM ? rc : BK_OK;
    } else {
        *used = true;
        rc = add_row(b, in, img, hash, err);
        if (!rc)
            rc = add_functions(b, f, err);
    }
    for (unsigned i = 0; i < b->threads; i++) {
        bk_decoder_free(b->workers[i].decoder);
        b->workers[i].decoder = NULL;
    }
    bk_functions_free(f);
    return rc;
}

static int add_file(struct build *b, const struct bk_labelled_file *in, struct bk_error *err)
{
    struct bk_map map;
    struct bk_image_file *file;
    struct bk_error e = {.offset = BK_NO_OFFSET};
    bool used = false;
    int rc = bk_labelled_open(&map, &file, in, &e);
    if (rc) {
        trouble(b, &e);
        b->info->n_failed_files++;
        return BK_OK;
    }
    for (size_t i = 0; i < file->n_troubles; i++)
        trouble(b, &file->troubles[i]);
    uint64_t hash = bk_hash64(map.data, map.size);
    for (size_t i = 0; i < file->n_images && !rc; i++)
        rc = add_image(&used, b, in, &file->images[i], hash, err);
    b->info->n_failed_files += !used && !rc;
    bk_image_file_close(file);
    bk_map_close(&map);
    return rc;
}

/* ---- labels settled, duplicates dropped --------------------------------- */

/* Like words together, of these like labels, in the order of the functions. */
struct sorted_func {
    uint64_t hash;
    uint32_t label, index;
};

static int by_words(const void *a, const void *b)
{
    const struct sorted_func *x = a, *y = b;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    if (x->label != y->label)
        return x->label < y->label ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

/* Hashes were equal; this looks at the words. */
static bool same_words(const struct data_out *o, const struct out_func *x, const struct out_func *y)
{
    return x->n_insns == y->n_insns && x->n_words == y->n_words &&
           !memcmp(o->words.ids.v + x->ids, o->words.ids.v + y->ids, x->n_words * sizeof *o->words.ids.v);
}

static int settle(struct build *b, struct bk_error *err)
{
    struct data_out *o = &b->out;
    struct sorted_func *v = bk_calloc(o->funcs.n + 1, sizeof *v);
    if (!v)
        return bk_fail_nomem(err, o->funcs.n * sizeof *v);
    for (size_t i = 0; i < o->funcs.n; i++) {
        struct out_label *label = &o->labels.v[o->funcs.v[i].label = root_of(b, o->funcs.v[i].label)];
        label->source = label->source == BK_STR_NONE ? o->funcs.v[i].source : label->source;
        v[i] = (struct sorted_func){o->funcs.v[i].hash, o->funcs.v[i].label, (uint32_t)i};
    }
    qsort(v, o->funcs.n, sizeof *v, by_words);
    for (size_t first = 0, end; first < o->funcs.n; first = end) {
        size_t n_labels = 1, n_kept = 1, kept = first;
        for (end = first + 1; end < o->funcs.n && v[end].hash == v[first].hash; end++) {
            struct out_func *f = &o->funcs.v[v[end].index];
            if (v[end].label != v[kept].label) {
                n_labels++;
                kept = end;
            } else if (!b->opt->keep_duplicates && same_words(o, &o->funcs.v[v[kept].index], f)) {
                f->dropped = true;
                b->info->n_duplicates++;
                continue;
            }
            n_kept++;
        }
        b->info->n_shared += n_labels > 1 ? n_kept : 0;
    }
    free(v);
    for (size_t i = 0; i < o->funcs.n; i++) {
        const struct out_func *f = &o->funcs.v[i];
        b->info->n_functions += !f->dropped;
        b->info->n_partial += !f->dropped && f->bytes_bad;
        b->info->bytes_bad += f->dropped ? 0 : f->bytes_bad;
    }
    return BK_OK;
}

/* ---- the whole --------------------------------------------------------- */

static void texts_done(struct texts *t)
{
    bk_strtab_free(t->table);
    free(t->ids.v);
}

static void local_done(struct local *l)
{
    texts_done(&l->own);
    free(l->global.v);
}

static void build_free(struct build *b)
{
    for (unsigned i = 0; i < b->threads && b->workers; i++) {
        struct worker *w = &b->workers[i];
        local_done(&w->words);
        local_done(&w->forms);
        bk_graph_seq_done(&w->graphs);
        free(w->hashes.v);
        free(w->immediates.v);
        free(w->items.v);
        free(w->callees.v);
        free(w->hash_line);
        bk_word_seq_done(&w->word_seq);
        bk_form_seq_done(&w->form_seq);
        bk_items_done(&w->item_set);
    }
    free(b->workers);
    bk_strtab_free(b->label_keys);
    bk_strtab_free(b->out.strings);
    texts_done(&b->out.words);
    texts_done(&b->out.forms);
    bk_graph_seq_done(&b->out.graphs);
    free(b->callers.v);
    free(b->parent.v);
    free(b->out.files.v);
    free(b->out.funcs.v);
    free(b->out.immediates.v);
    free(b->out.items.v);
    free(b->out.labels.v);
    free(b);
}

static bool new_table(struct texts *t)
{
    t->table = bk_strtab_new();
    return t->table != NULL;
}

static struct build *build_new(const struct bk_dataset_options *opt, struct bk_dataset_info *info)
{
    struct build *b = calloc(1, sizeof *b);
    if (!b)
        return NULL;
    b->opt = opt;
    b->info = info;
    b->threads = bk_par_threads(opt->threads);
    b->label_keys = bk_strtab_new();
    b->out.strings = bk_strtab_new();
    b->workers = bk_calloc(b->threads, sizeof *b->workers);
    bool ok = b->label_keys && b->out.strings && b->workers && new_table(&b->out.words) && new_table(&b->out.forms);
    for (unsigned i = 0; ok && i < b->threads; i++)
        ok = new_table(&b->workers[i].words.own) && new_table(&b->workers[i].forms.own);
    if (ok)
        return b;
    build_free(b);
    return NULL;
}

static int build_run(struct build *b, const char *out_path, const struct bk_labelled_file *files, size_t n,
                     struct bk_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (b->opt->progress)
            b->opt->progress(b->opt->progress_ctx, files[i].path, i, n);
        int rc = add_file(b, &files[i], err);
        if (rc)
            return rc;
    }
    if (b->opt->progress)
        b->opt->progress(b->opt->progress_ctx, out_path, n, n);
    int rc = settle(b, err);
    if (rc)
        return rc;
    if (!b->info->n_functions)
        return bk_fail(err, BK_ENOTFOUND, BK_NO_OFFSET,
                       "no function for a data set: %zu of %zu files failed, %zu functions had no name, %zu were short",
                       b->info->n_failed_files, n, b->info->n_unnamed, b->info->n_short);
    return bk_data_write(b->info, out_path, &b->out, err);
}

int bk_dataset_build(struct bk_dataset_info *info, const char *out_path, const struct bk_labelled_file *files, size_t n,
                     const struct bk_dataset_options *opt, struct bk_error *err)
{
    struct bk_dataset_options defaults = {0};
    bk_error_clear(err);
    *info = (struct bk_dataset_info){.n_files = n};
    for (size_t i = 0; i < n; i++)
        if (!files[i].path || !files[i].project)
            return bk_fail(err, BK_EINVAL, BK_NO_OFFSET, "labelled file %zu has no %s", i,
                           files[i].path ? "project" : "path");
    struct build *b = build_new(opt ? opt : &defaults, info);
    if (!b)
        return bk_fail_nomem(err, sizeof *b);
    int rc = build_run(b, out_path, files, n, err);
    build_free(b);
    return rc;
}
