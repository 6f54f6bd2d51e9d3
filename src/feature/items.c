/* The items of a function as a set, and the walk through its blocks.
 *
 * Most processors need several instructions to make one address or constant, so the values of registers are followed
 * (items_track.c) in one pass in the order of addresses. A block that nothing falls into begins with the registers
 * of the first block that jumps to it from before. */
#include "feature/items_int.h"

#include <stdlib.h>
#include <string.h>

/* Blocks whose registers are kept until they begin, those jumped to last: a function of many blocks takes no more
 * memory than one of few. */
#define N_SAVED 64

struct bk_items_scratch {
    struct {
        uint32_t *v; /* numbers of items by hash, + 1, in `n`, a power of two, of `cap` */
        size_t n, cap;
    } slots;
    uint32_t saved_block[N_SAVED]; /* by block modulo N_SAVED; 0: none */
    struct registers saved[N_SAVED];
};

void bk_items_done(struct bk_items *items)
{
    if (items == NULL)
        return;
    if (items->scratch)
        free(items->scratch->slots.v);
    free(items->scratch);
    free(items->v);
    *items = (struct bk_items){0};
}

/* ---- the set ---------------------------------------------------------- */

static size_t slot_of(const struct bk_items *s, uint64_t hash)
{
    size_t mask = s->scratch->slots.n - 1, at = (size_t)hash & mask;
    while (s->scratch->slots.v[at] != 0 && s->v[s->scratch->slots.v[at] - 1].hash != hash)
        at = (at + 1) & mask;
    return at;
}

static bool resize(struct bk_items *s, size_t n)
{
    struct bk_items_scratch *x = s->scratch;
    if (!bk_grow(&x->slots.v, &x->slots.cap, n, sizeof *x->slots.v))
        return false;
    x->slots.n = n;
    memset(x->slots.v, 0, n * sizeof *x->slots.v);
    for (size_t i = 0; i < s->n; i++)
        x->slots.v[slot_of(s, s->v[i].hash)] = (uint32_t)i + 1;
    return true;
}

static bool add(struct bk_items *s, struct bk_item item)
{
    size_t at = slot_of(s, item.hash);
    if (s->scratch->slots.v[at] != 0 || s->n == BK_MAX_ITEMS)
        return true;
    if (!BK_GROW(*s))
        return false;
    s->v[s->n++] = item;
    s->scratch->slots.v[at] = (uint32_t)s->n;
    return 2 * s->n < s->scratch->slots.n || resize(s, 2 * s->scratch->slots.n);
}

void bk_item_add(struct tracker *t, enum bk_item_kind kind, const void *data, size_t size)
{
    struct bk_item item = {bk_hash64(data, size) + kind * BK_ITEM_SALT, kind};
    t->no_memory = t->no_memory || !add(t->out, item);
}

static bool begin(struct bk_items *s)
{
    if (s->scratch == NULL)
        s->scratch = bk_calloc(1, sizeof *s->scratch);
    if (s->scratch == NULL)
        return false;
    s->n = 0;
    memset(s->scratch->saved_block, 0, sizeof s->scratch->saved_block);
    return resize(s, 128);
}

/* ---- blocks ----------------------------------------------------------- */

/* Whether control never falls out of block `i`. */
static bool leaves(const struct bk_body *body, size_t i)
{
    const struct bk_block *b = &body->blocks[i];
    const struct bk_insn *last = &body->insns[b->first + b->n - 1];
    if (b->n > 1 && (last[-1].flags & BK_INSN_DELAY))
        last--;
    return (last->flags & (BK_INSN_JUMP | BK_INSN_RET | BK_INSN_STOP)) && !(last->flags & BK_INSN_COND);
}

/* Goes on with other registers. What is pending in both is still the same; the global pointer, once known, holds
 * everywhere. */
static void go_on_with(struct tracker *t, const struct registers *r)
{
    for (uint64_t m = t->regs.live | r->live; m != 0; m &= m - 1) {
        unsigned n = (unsigned)__builtin_ctzll(m);
        const struct value *now = &t->regs.v[n], *v = &r->v[n];
        bool same = (now->pending && v->pending && now->v == v->v) || (n == t->isa->gp && v->known < NUMBER);
        if (!same)
            bk_track_put(t, n, *v);
    }
}

/* Goes on behind a block that control has left, where nothing tells from where: with the registers that it began
 * with, but for what became known in those that calls leave alone, which hold it for long. */
static void go_back_to(struct tracker *t, struct registers *r)
{
    for (uint64_t m = t->regs.live & t->isa->kept; m != 0; m &= m - 1) {
        unsigned n = (unsigned)__builtin_ctzll(m);
        if (r->v[n].known < NUMBER && t->regs.v[n].known > r->v[n].known)
            r->v[n] = t->regs.v[n];
    }
    for (uint64_t m = r->live; m != 0; m &= m - 1) {
        unsigned n = (unsigned)__builtin_ctzll(m);
        r->v[n].pending = r->v[n].pending && t->regs.v[n].pending;
    }
    go_on_with(t, r);
}

/* Keeps the registers for the later blocks that edges `first` to `end` of this one jump to and nothing falls into. */
static void save(struct tracker *t, size_t first, size_t end)
{
    struct bk_items_scratch *s = t->out->scratch;
    for (size_t i = first; i < end; i++) {
        const struct bk_edge *e = &t->body->edges[i];
        uint32_t *holder = &s->saved_block[e->to % N_SAVED];
        if (e->to <= e->from + 1 || *holder == e->to || !leaves(t->body, e->to - 1))
            continue;
        *holder = e->to;
        s->saved[e->to % N_SAVED] = t->regs;
    }
}

static void walk_block(struct tracker *t, const struct bk_block *b)
{
    for (uint32_t i = 0; i < b->n; i++) {
        t->insn = &t->body->insns[b->first + i];
        bk_track_insn(t);
    }
}

static void walk(struct tracker *t)
{
    const struct bk_body *body = t->body;
    struct bk_items_scratch *s = t->out->scratch;
    struct registers before;
    size_t edge = 0;
    for (size_t i = 0; i < body->n_blocks && !t->no_memory; i++) {
        size_t first = edge, next = (i + 1) % N_SAVED;
        bool left = leaves(body, i);
        while (edge < body->n_edges && body->edges[edge].from == i)
            edge++;
        if (left)
            before = t->regs;
        walk_block(t, &body->blocks[i]);
        save(t, first, edge);
        if (left && s->saved_block[next] == i + 1)
            go_on_with(t, &s->saved[next]);
        else if (left)
            go_back_to(t, &before);
    }
}

int bk_items_read(struct bk_items *out, const struct bk_image *img, const struct bk_body *body, struct bk_error *err)
{
    struct tracker t = {.out = out, .img = img, .body = body, .isa = bk_item_isa(body->arch)};
    t.no_memory = !begin(out);
    bk_track_begin(&t);
    walk(&t);
    bk_track_end(&t);
    return t.no_memory ? bk_fail_nomem(err, (out->cap + 1) * sizeof *out->v) : BK_OK;
}
