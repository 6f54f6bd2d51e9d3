/* What dataset.c (building) hands to dataset_file.c, dataset_graph.c and dataset_items.c (the file and its reader). */
#ifndef BK_DATASET_INT_H
#define BK_DATASET_INT_H

#include "train.h"

struct u32s {
    uint32_t *v;
    size_t n, cap;
};

struct i64s {
    int64_t *v;
    size_t n, cap;
};

struct item_list {
    struct bk_item *v;
    size_t n, cap;
};

/* Words or forms: distinct texts, and their numbers, function after function. */
struct texts {
    struct bk_strtab *table;
    struct u32s ids;
};

struct out_file { /* strings by id */
    uint32_t path, member, project, version, compiler, level, arch;
    uint64_t hash;
};

struct out_func {
    uint32_t label, name, file;
    uint32_t source; /* string id of its source file, BK_STR_NONE: not known */
    uint32_t n_blocks, n_insns, n_words, n_immediates, n_items, n_kept_blocks, n_edges, n_callees, n_callers;
    uint64_t addr, bytes_bad;
    uint64_t hash;        /* of all its words as text */
    size_t ids;           /* its n_words ids begin here in words.ids and forms.ids of data_out */
    size_t immediates;    /* its n_immediates values begin here in data_out.immediates */
    size_t items;         /* likewise n_items in items */
    size_t blocks, edges; /* likewise n_kept_blocks and n_edges in graphs */
    bool dropped;
};

struct out_label { /* strings by id */
    uint32_t project, name;
    uint32_t source; /* BK_STR_NONE: not known */
};

/* A data set on its way to a file. Functions are in their final order, the dropped ones still among them. */
struct data_out {
    struct bk_strtab *strings;
    struct texts words, forms;
    struct {
        struct out_file *v;
        size_t n, cap;
    } files;
    struct {
        struct out_func *v;
        size_t n, cap;
    } funcs;
    struct i64s immediates;
    struct item_list items;
    struct bk_graph_seq graphs;
    struct {
        struct out_label *v; /* by label; only those that a kept function has are written */
        size_t n, cap;
    } labels;
};

/* ---- a file to build from (labelled.c) ------------------------------------ */

/* Opens a file that is what its labels say. On failure nothing is left open, and the error names the file. */
BK_MUST_CHECK int bk_labelled_open(struct bk_map *map, struct bk_image_file **file, const struct bk_labelled_file *in,
                                   struct bk_error *err);

/* ---- the file ------------------------------------------------------------- */

/* Writes the kept functions and counts what is written of labels, words, immediates, items and sources into `info`, whose other
 * counts go into the file; info->hash is the file's. */
BK_MUST_CHECK int bk_data_write(struct bk_dataset_info *info, const char *path, const struct data_out *o,
                                struct bk_error *err);

/* ---- bytes of entries ---------------------------------------------------- */

struct bk_bytes {
    uint8_t *v;
    size_t n, cap;
    bool failed; /* no memory; sticks */
};
void bk_put(struct bk_bytes *b, const void *data, size_t n);
void bk_put_u16(struct bk_bytes *b, uint16_t x);
void bk_put_u32(struct bk_bytes *b, uint32_t x);
void bk_put_u64(struct bk_bytes *b, uint64_t x);

/* BK_EFORMAT: entry "...": what. */
int bk_data_bad(struct bk_error *err, const char *entry, const char *what);
/* A cursor over an entry of rows of `row` bytes, and their number. */
int bk_data_rows(struct bk_cursor *c, const struct bk_pack *p, const char *entry, size_t row, size_t *n,
                 struct bk_error *err);
/* Strings that end in NUL, each of min .. max bytes and none there twice, into an empty table. */
int bk_data_strings(struct bk_strtab *t, const struct bk_pack *p, const char *entry, size_t min, size_t max,
                    struct bk_error *err);

/* A list of numbers below `limit` for each of `n` functions: entry `ids` has them, function after function, entry `counts` says how
 * many each. Both on the heap of the caller, also on failure. */
BK_MUST_CHECK int bk_data_lists(uint32_t **ids, uint32_t **counts, const struct bk_pack *p, const char *ids_entry,
                                const char *counts_entry, size_t n, size_t limit, struct bk_error *err);
/* Whether an entry is there that older formats have not. */
bool bk_data_has(const struct bk_pack *p, const char *entry);
/* Sorts `keys`; how many distinct ones there are. */
size_t bk_data_distinct(uint64_t *keys, size_t n);

/* ---- forms, blocks, edges and calls (dataset_graph.c) ---------------------- */

#define BK_GRAPH_ENTRIES 6
extern const char *const bk_graph_entry_names[BK_GRAPH_ENTRIES];
/* The entries of the kept functions, in the order of the names. A failure shows in the entries. */
void bk_graph_encode(struct bk_bytes entries[BK_GRAPH_ENTRIES], struct bk_dataset_info *info, const struct data_out *o);

/* What a bk_dataset owns of it. */
struct bk_graph_owner {
    struct bk_strtab *forms, *neutral_forms;
    uint32_t *neutral, *form_ids;
    uint16_t *block_words;
    struct bk_graph_edge *edges;
};
/* Reads them into the functions, whose other fields are there, and into `d`. */
BK_MUST_CHECK int bk_graph_read(struct bk_dataset *d, struct bk_data_func *funcs, struct bk_graph_owner *o,
                                const struct bk_pack *p, struct bk_error *err);
void bk_graph_owner_done(struct bk_graph_owner *o);

/* ---- items (dataset_items.c), in the manner of graphs ----------------------- */

#define BK_ITEM_ENTRIES 3
extern const char *const bk_item_entry_names[BK_ITEM_ENTRIES];
void bk_item_encode(struct bk_bytes entries[BK_ITEM_ENTRIES], struct bk_dataset_info *info, const struct data_out *o);

struct bk_item_owner {
    struct bk_item *items;
    uint32_t *ids;
};
BK_MUST_CHECK int bk_item_read(struct bk_dataset *d, struct bk_data_func *funcs, struct bk_item_owner *o,
                               const struct bk_pack *p, struct bk_error *err);
void bk_item_owner_done(struct bk_item_owner *o);

#endif
