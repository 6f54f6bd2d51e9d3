/* dataset_items: the items of functions in the data-set file. doc/format.md, "Data sets", is the spec. As in dataset_file.c the reader
 * takes nothing on trust. */
#include "dataset_int.h"

#include <stdlib.h>

enum { ITEMS, ITEM_IDS, ITEM_COUNTS };
const char *const bk_item_entry_names[BK_ITEM_ENTRIES] = {"items", "item_ids", "item_counts"};

#define ITEM_ROW 9 /* bytes */

/* ---- writing ------------------------------------------------------------ */

/* Items are numbered in the order in which kept functions use them. One hash is one item. */
static void encode_function(struct bk_bytes *e, struct bk_strtab *hashes, const struct bk_item *v, size_t n)
{
    bk_put_u32(&e[ITEM_COUNTS], (uint32_t)n);
    for (size_t i = 0; i < n; i++) {
        uint32_t next = bk_strtab_count(hashes);
        uint32_t id = bk_strtab_intern(hashes, (const char *)&v[i].hash, sizeof v[i].hash);
        if (id == next) {
            uint8_t kind = (uint8_t)v[i].kind;
            bk_put_u64(&e[ITEMS], v[i].hash);
            bk_put(&e[ITEMS], &kind, 1);
        }
        bk_put_u32(&e[ITEM_IDS], id);
        e[ITEMS].failed |= id == BK_STR_NONE;
    }
}

void bk_item_encode(struct bk_bytes entries[BK_ITEM_ENTRIES], struct bk_dataset_info *info, const struct data_out *o)
{
    struct bk_strtab *hashes = bk_strtab_new();
    if (!hashes) {
        entries[ITEMS].failed = true;
        return;
    }
    for (size_t i = 0; i < o->funcs.n; i++) {
        const struct out_func *f = &o->funcs.v[i];
        if (f->dropped)
            continue;
        encode_function(entries, hashes, f->n_items ? o->items.v + f->items : NULL, f->n_items);
        info->n_with_items += f->n_items > 0;
    }
    info->has_items = true;
    info->n_items = bk_strtab_count(hashes);
    bk_strtab_free(hashes);
}

/* ---- reading ------------------------------------------------------------ */

/* The distinct items. */
static int read_items(struct bk_dataset *d, struct bk_item_owner *o, const struct bk_pack *p, struct bk_error *err)
{
    const char *entry = bk_item_entry_names[ITEMS];
    struct bk_cursor c;
    int rc = bk_data_rows(&c, p, entry, ITEM_ROW, &d->n_items, err);
    if (rc)
        return rc;
    size_t n = d->n_items;
    uint64_t *sorted = bk_calloc(n + 1, sizeof *sorted);
    o->items = bk_calloc(n + 1, sizeof *o->items);
    if (!sorted || !o->items) {
        free(sorted);
        return bk_fail_nomem(err, n * sizeof *o->items);
    }
    bool known = true;
    for (size_t i = 0; i < n; i++) {
        sorted[i] = bk_read_u64(&c);
        uint8_t kind = bk_read_u8(&c);
        known &= kind < BK_ITEM_KINDS;
        o->items[i] = (struct bk_item){sorted[i], (enum bk_item_kind)kind};
    }
    bool twice = bk_data_distinct(sorted, n) != n;
    free(sorted);
    if (!known)
        return bk_data_bad(err, entry, "a kind that is not there");
    return twice ? bk_data_bad(err, entry, "an item stands there twice") : BK_OK;
}

/* Gives the functions their parts of the ids. `last[item]`: the number, from 1, of the last function that has it; all 0. */
static int share_ids(struct bk_dataset *d, struct bk_data_func *funcs, const uint32_t *ids, const uint32_t *counts,
                     uint32_t *last, struct bk_error *err)
{
    for (size_t i = 0; i < d->n; ids += counts[i++]) {
        if (counts[i] > BK_DATA_MAX_ITEMS)
            return bk_data_bad(err, bk_item_entry_names[ITEM_COUNTS], "more than a function may have");
        for (size_t k = 0; k < counts[i]; k++) {
            if (last[ids[k]] == i + 1)
                return bk_data_bad(err, bk_item_entry_names[ITEM_IDS], "a function has an item twice");
            last[ids[k]] = (uint32_t)i + 1;
        }
        funcs[i].n_items = counts[i];
        funcs[i].items = ids;
        d->info.n_with_items += counts[i] > 0;
    }
    return BK_OK;
}

int bk_item_read(struct bk_dataset *d, struct bk_data_func *funcs, struct bk_item_owner *o, const struct bk_pack *p,
                 struct bk_error *err)
{
    uint32_t *counts = NULL;
    int rc = read_items(d, o, p, err);
    if (rc)
        return rc;
    rc = bk_data_lists(&o->ids, &counts, p, bk_item_entry_names[ITEM_IDS], bk_item_entry_names[ITEM_COUNTS], d->n,
                       d->n_items, err);
    uint32_t *last = rc ? NULL : bk_calloc(d->n_items + 1, sizeof *last);
    if (!rc)
        rc = last ? share_ids(d, funcs, o->ids, counts, last, err) : bk_fail_nomem(err, d->n_items * sizeof *last);
    free(last);
    free(counts);
    d->items = o->items;
    d->info.n_items = d->n_items;
    return rc;
}

void bk_item_owner_done(struct bk_item_owner *o)
{
    free(o->items);
    free(o->ids);
}
