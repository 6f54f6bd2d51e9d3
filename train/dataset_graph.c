/* dataset_graph: what a graph model sees, in the data-set file: forms, basic blocks, edges, calls. doc/format.md, "Data sets", is the
 * spec. As in dataset_file.c the reader takes nothing on trust. */
#include "dataset_int.h"

#include <stdlib.h>
#include <string.h>

enum { FORMS, FORM_IDS, BLOCK_WORDS, EDGES, EDGE_COUNTS, DEGREES };
const char *const bk_graph_entry_names[BK_GRAPH_ENTRIES] = {"forms", "form_ids",    "block_words",
                                                            "edges", "edge_counts", "degrees"};

#define SHORT_FORMS 65536 /* numbers of up to so many forms take two bytes each */
#define KIND_SHIFT  12    /* an edge's first number: block and, from this bit on, kind */
#define DEGREES_ROW 8     /* bytes */

/* ---- writing ------------------------------------------------------------ */

/* Numbers the forms in the order in which kept functions use them; number[id] becomes the new number of a form. */
static void encode_forms(struct bk_bytes *forms, uint32_t *number, size_t *n, const struct data_out *o)
{
    memset(number, 0xff, bk_strtab_count(o->forms.table) * sizeof *number);
    for (size_t i = 0; i < o->funcs.n; i++) {
        const struct out_func *f = &o->funcs.v[i];
        for (size_t k = 0; k < f->n_words && !f->dropped; k++) {
            uint32_t id = o->forms.ids.v[f->ids + k];
            if (number[id] != BK_STR_NONE)
                continue;
            const char *form = bk_strtab_str(o->forms.table, id);
            bk_put(forms, form, strlen(form) + 1);
            number[id] = (uint32_t)(*n)++;
        }
    }
}

static void encode_function(struct bk_bytes *e, const struct data_out *o, const struct out_func *f,
                            const uint32_t *number, bool brief)
{
    for (size_t k = 0; k < f->n_words; k++) {
        uint32_t form = number[o->forms.ids.v[f->ids + k]];
        if (brief)
            bk_put_u16(&e[FORM_IDS], (uint16_t)form);
        else
            bk_put_u32(&e[FORM_IDS], form);
    }
    for (size_t k = 0; k < f->n_kept_blocks; k++)
        bk_put_u16(&e[BLOCK_WORDS], o->graphs.blocks.v[f->blocks + k]);
    for (size_t k = 0; k < f->n_edges; k++) {
        const struct bk_graph_edge *edge = &o->graphs.edges.v[f->edges + k];
        bk_put_u16(&e[EDGES], (uint16_t)(edge->from | edge->kind << KIND_SHIFT));
        bk_put_u16(&e[EDGES], edge->to);
    }
    bk_put_u32(&e[EDGE_COUNTS], f->n_edges);
    bk_put_u32(&e[DEGREES], f->n_callees);
    bk_put_u32(&e[DEGREES], f->n_callers);
}

void bk_graph_encode(struct bk_bytes entries[BK_GRAPH_ENTRIES], struct bk_dataset_info *info, const struct data_out *o)
{
    uint32_t *number = bk_calloc(bk_strtab_count(o->forms.table) + (size_t)1, sizeof *number);
    if (!number) {
        entries[FORMS].failed = true;
        return;
    }
    info->has_graph = true;
    encode_forms(&entries[FORMS], number, &info->n_forms, o);
    for (size_t i = 0; i < o->funcs.n; i++) {
        if (o->funcs.v[i].dropped)
            continue;
        encode_function(entries, o, &o->funcs.v[i], number, info->n_forms <= SHORT_FORMS);
        info->n_edges += o->funcs.v[i].n_edges;
    }
    free(number);
}

/* ---- reading ------------------------------------------------------------ */

/* The forms, and what they are without their processor. */
static int read_forms(struct bk_dataset *d, struct bk_graph_owner *o, const struct bk_pack *p, struct bk_error *err)
{
    o->forms = bk_strtab_new();
    o->neutral_forms = bk_strtab_new();
    if (!o->forms || !o->neutral_forms)
        return bk_fail_nomem(err, sizeof *o);
    int rc = bk_data_strings(o->forms, p, bk_graph_entry_names[FORMS], 1, BK_FORM_MAX - 1, err);
    if (rc)
        return rc;
    uint32_t n = bk_strtab_count(o->forms);
    o->neutral = bk_calloc(n + (size_t)1, sizeof *o->neutral);
    if (!o->neutral)
        return bk_fail_nomem(err, n * sizeof *o->neutral);
    for (uint32_t i = 0; i < n; i++) {
        char neutral[BK_FORM_MAX];
        size_t len = bk_form_neutral(neutral, bk_strtab_str(o->forms, i));
        o->neutral[i] = bk_strtab_intern(o->neutral_forms, neutral, len);
        if (o->neutral[i] == BK_STR_NONE)
            return bk_fail_nomem(err, len);
    }
    d->info.n_forms = n;
    d->forms = o->forms;
    d->neutral_forms = o->neutral_forms;
    d->neutral = o->neutral;
    return BK_OK;
}

static int read_form_ids(struct bk_dataset *d, struct bk_data_func *funcs, struct bk_graph_owner *o,
                         const struct bk_pack *p, struct bk_error *err)
{
    const char *entry = bk_graph_entry_names[FORM_IDS];
    bool brief = d->info.n_forms <= SHORT_FORMS;
    struct bk_cursor c;
    size_t n;
    int rc = bk_data_rows(&c, p, entry, brief ? 2 : 4, &n, err);
    if (rc)
        return rc;
    if (n != d->info.n_word_total)
        return bk_data_bad(err, entry, "another number than there are words");
    o->form_ids = bk_calloc(n + 1, sizeof *o->form_ids);
    if (!o->form_ids)
        return bk_fail_nomem(err, n * sizeof *o->form_ids);
    for (size_t i = 0; i < n; i++) {
        o->form_ids[i] = brief ? bk_read_u16(&c) : bk_read_u32(&c);
        if (o->form_ids[i] >= d->info.n_forms)
            return bk_data_bad(err, entry, "a form that is not there");
    }
    const uint32_t *at = o->form_ids;
    for (size_t i = 0; i < d->n; i++) {
        funcs[i].forms = at;
        at += funcs[i].n_words;
    }
    return BK_OK;
}

/* Takes as many blocks as the function's words fill, of `left` there are. */
static int take_blocks(struct bk_data_func *f, const uint16_t *v, size_t left, struct bk_error *err)
{
    const char *entry = bk_graph_entry_names[BLOCK_WORDS];
    size_t words = 0, n = 0;
    while (words < f->n_words) {
        if (n == left)
            return bk_data_bad(err, entry, "fewer blocks than the words need");
        if (v[n] == 0 || v[n] > f->n_words - words)
            return bk_data_bad(err, entry, "a block with no words, or with more than are left");
        words += v[n++];
    }
    if (n > f->n_blocks || (f->n_words == f->n_insns && n != f->n_blocks))
        return bk_data_bad(err, entry, "another number of blocks than the function has");
    f->block_words = v;
    f->n_kept_blocks = (uint32_t)n;
    return BK_OK;
}

static int read_blocks(const struct bk_dataset *d, struct bk_data_func *funcs, struct bk_graph_owner *o,
                       const struct bk_pack *p, struct bk_error *err)
{
    const char *entry = bk_graph_entry_names[BLOCK_WORDS];
    struct bk_cursor c;
    size_t n, at = 0;
    int rc = bk_data_rows(&c, p, entry, 2, &n, err);
    if (rc)
        return rc;
    o->block_words = bk_calloc(n + 1, sizeof *o->block_words);
    if (!o->block_words)
        return bk_fail_nomem(err, n * sizeof *o->block_words);
    for (size_t i = 0; i < n; i++)
        o->block_words[i] = bk_read_u16(&c);
    for (size_t i = 0; i < d->n && !rc; i++) {
        rc = take_blocks(&funcs[i], o->block_words + at, n - at, err);
        at += funcs[i].n_kept_blocks;
    }
    return rc || at == n ? rc : bk_data_bad(err, entry, "more blocks than the functions have");
}

/* The `n` edges of a function lie inside its kept blocks and are sorted. */
static int check_edges(const struct bk_data_func *f, struct bk_error *err)
{
    const char *entry = bk_graph_entry_names[EDGES];
    for (size_t i = 0; i < f->n_edges; i++) {
        const struct bk_graph_edge *e = &f->edges[i];
        if (e->from >= f->n_kept_blocks || e->to >= f->n_kept_blocks || e->kind >= BK_EDGE_KINDS)
            return bk_data_bad(err, entry, "a block or kind that is not there");
        if (i > 0 && (e->from < e[-1].from || (e->from == e[-1].from && e->to <= e[-1].to)))
            return bk_data_bad(err, entry, "not in their order, or twice");
    }
    return BK_OK;
}

static int read_edges(struct bk_dataset *d, struct bk_data_func *funcs, struct bk_graph_owner *o,
                      const struct bk_pack *p, struct bk_error *err)
{
    struct bk_cursor counts, c;
    size_t n_counts, n, at = 0;
    int rc = bk_data_rows(&counts, p, bk_graph_entry_names[EDGE_COUNTS], 4, &n_counts, err);
    if (!rc)
        rc = bk_data_rows(&c, p, bk_graph_entry_names[EDGES], 4, &n, err);
    if (rc)
        return rc;
    if (n_counts != d->n)
        return bk_data_bad(err, bk_graph_entry_names[EDGE_COUNTS], "another number than there are functions");
    o->edges = bk_calloc(n + 1, sizeof *o->edges);
    if (!o->edges)
        return bk_fail_nomem(err, n * sizeof *o->edges);
    for (size_t i = 0; i < n; i++) {
        uint16_t first = bk_read_u16(&c);
        o->edges[i] = (struct bk_graph_edge){first & ((1u << KIND_SHIFT) - 1), bk_read_u16(&c), first >> KIND_SHIFT};
    }
    for (size_t i = 0; i < d->n && !rc; i++) {
        funcs[i].n_edges = bk_read_u32(&counts);
        funcs[i].edges = o->edges + at;
        if (funcs[i].n_edges > n - at)
            return bk_data_bad(err, bk_graph_entry_names[EDGE_COUNTS], "more than there are edges");
        at += funcs[i].n_edges;
        rc = check_edges(&funcs[i], err);
    }
    d->info.n_edges = n;
    return rc || at == n ? rc : bk_data_bad(err, bk_graph_entry_names[EDGES], "more than the functions have");
}

static int read_degrees(const struct bk_dataset *d, struct bk_data_func *funcs, const struct bk_pack *p,
                        struct bk_error *err)
{
    struct bk_cursor c;
    size_t n;
    int rc = bk_data_rows(&c, p, bk_graph_entry_names[DEGREES], DEGREES_ROW, &n, err);
    if (rc)
        return rc;
    if (n != d->n)
        return bk_data_bad(err, bk_graph_entry_names[DEGREES], "another number than there are functions");
    for (size_t i = 0; i < n; i++) {
        funcs[i].n_callees = bk_read_u32(&c);
        funcs[i].n_callers = bk_read_u32(&c);
    }
    return BK_OK;
}

int bk_graph_read(struct bk_dataset *d, struct bk_data_func *funcs, struct bk_graph_owner *o, const struct bk_pack *p,
                  struct bk_error *err)
{
    int rc = read_forms(d, o, p, err);
    if (!rc)
        rc = read_form_ids(d, funcs, o, p, err);
    if (!rc)
        rc = read_blocks(d, funcs, o, p, err);
    if (!rc)
        rc = read_edges(d, funcs, o, p, err);
    return rc ? rc : read_degrees(d, funcs, p, err);
}

void bk_graph_owner_done(struct bk_graph_owner *o)
{
    bk_strtab_free(o->forms);
    bk_strtab_free(o->neutral_forms);
    free(o->neutral);
    free(o->form_ids);
    free(o->block_words);
    free(o->edges);
}
