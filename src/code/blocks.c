/* Instructions -> basic blocks, edges, callees. */
#include "code/code_int.h"

#include <stdlib.h>

/* Where a branch to `addr` arrives, SIZE_MAX outside the instructions. A target just behind a lock prefix is the locked instruction
 * (the C library jumps over the prefix when there is one thread only). */
static size_t arrival(const struct bk_decoder *d, uint64_t addr)
{
    if (addr < d->begin || addr >= d->end)
        return SIZE_MAX;
    size_t i = bk_decoder_insn_at(d, addr);
    if (i == SIZE_MAX && d->body.arch == BK_ARCH_AMD64 && addr > d->begin && addr - d->begin < d->avail &&
        d->data[addr - d->begin - 1] == 0xf0)
        i = bk_decoder_insn_at(d, addr - 1);
    return i;
}

static void mark_leaders(struct bk_decoder *d)
{
    for (size_t i = 0; i < d->insns.n; i++) {
        struct bk_insn *insn = &d->insns.v[i];
        if ((insn->flags & (BK_INSN_JUMP | BK_INSN_TARGET)) == (BK_INSN_JUMP | BK_INSN_TARGET)) {
            size_t to = arrival(d, insn->target);
            if (to != SIZE_MAX)
                d->insns.v[to].flags |= INSN_LEADER;
        }
    }
    for (size_t k = 0; k < d->cases.n; k++) {
        size_t to = arrival(d, d->cases.v[k].to);
        if (to != SIZE_MAX)
            d->insns.v[to].flags |= INSN_LEADER;
    }
}

/* Whether control never reaches the instruction behind i by itself. */
static bool ends_flow(const struct bk_insn *v, size_t i)
{
    const struct bk_insn *last = &v[i];
    if (last->flags & INSN_GAP)
        return true;
    if (i > 0 && (v[i - 1].flags & BK_INSN_DELAY)) /* i is the delay slot */
        last = &v[i - 1];
    else if (last->flags & BK_INSN_DELAY)
        return false; /* the delay slot is still to come */
    return (last->flags & (BK_INSN_JUMP | BK_INSN_RET | BK_INSN_STOP)) && !(last->flags & BK_INSN_COND);
}

/* The first instruction of the run of padding at the function's end. */
static size_t trailing_padding(const struct bk_decoder *d)
{
    const struct bk_insn *v = d->insns.v;
    size_t i = d->insns.n;
    while (i > 0 && (v[i - 1].flags & INSN_PAD) && !(v[i - 1].flags & INSN_LEADER))
        i--;
    if (i > 0 && (v[i - 1].flags & BK_INSN_DELAY)) /* its delay slot is no padding */
        i++;
    return i;
}

/* Padding: nops (and int3) that no branch goes to, behind an instruction that never continues or up to the function's end. It
 * counts as data; a function that is nothing else keeps it. */
static void drop_padding(struct bk_decoder *d)
{
    struct bk_insn *v = d->insns.v;
    size_t tail = trailing_padding(d), n = 0;
    if (tail == 0)
        return;
    bool dead = false;
    for (size_t i = 0; i < d->insns.n; i++) {
        bool pad = (v[i].flags & INSN_PAD) && !(v[i].flags & INSN_LEADER);
        if (i >= tail || (dead && pad)) {
            d->body.bytes_code -= v[i].size;
            d->body.bytes_data += v[i].size;
            v[n - 1].flags |= INSN_GAP;
            dead = true;
            continue;
        }
        v[n] = v[i];
        dead = ends_flow(v, n);
        n++;
    }
    d->insns.n = n;
}

/* Whether instruction i + 1 begins a block. */
static bool ends_block(const struct bk_insn *v, size_t n, size_t i)
{
    if (i + 1 == n || (v[i].flags & INSN_GAP) || (v[i + 1].flags & INSN_LEADER))
        return true;
    const uint16_t ends = BK_INSN_JUMP | BK_INSN_RET | BK_INSN_STOP;
    if (i > 0 && (v[i - 1].flags & BK_INSN_DELAY) && !(v[i].flags & INSN_LEADER))
        return (v[i - 1].flags & ends) != 0;
    return (v[i].flags & ends) && !(v[i].flags & BK_INSN_DELAY);
}

static bool make_blocks(struct bk_decoder *d)
{
    uint32_t first = 0;
    for (size_t i = 0; i < d->insns.n; i++) {
        if (!ends_block(d->insns.v, d->insns.n, i))
            continue;
        if (!BK_GROW(d->blocks))
            return false;
        d->blocks.v[d->blocks.n++] = (struct bk_block){first, (uint32_t)(i + 1 - first)};
        first = (uint32_t)(i + 1);
    }
    return true;
}

static uint32_t block_of(const struct bk_decoder *d, size_t insn)
{
    size_t lo = 0, hi = d->blocks.n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (d->blocks.v[mid].first <= insn)
            lo = mid + 1;
        else
            hi = mid;
    }
    return (uint32_t)(lo - 1);
}

static bool push_edge(struct bk_decoder *d, size_t from, uint32_t to, enum bk_edge_kind kind)
{
    if (!BK_GROW(d->edges))
        return false;
    d->edges.v[d->edges.n++] = (struct bk_edge){(uint32_t)from, to, kind};
    return true;
}

static bool push_edge_to(struct bk_decoder *d, size_t from, uint64_t addr, enum bk_edge_kind kind)
{
    size_t to = arrival(d, addr);
    return to == SIZE_MAX || push_edge(d, from, block_of(d, to), kind);
}

static int compare_edges(const void *pa, const void *pb)
{
    const struct bk_edge *a = pa, *b = pb;
    if (a->from != b->from)
        return a->from < b->from ? -1 : 1;
    if (a->to != b->to)
        return a->to < b->to ? -1 : 1;
    return a->kind < b->kind ? -1 : a->kind > b->kind;
}

/* Sorts the edges; of those between the same blocks the first kind stays. */
static void sort_edges(struct bk_decoder *d)
{
    struct bk_edge *v = d->edges.v;
    if (d->edges.n == 0)
        return;
    qsort(v, d->edges.n, sizeof *v, compare_edges);
    size_t n = 1;
    for (size_t i = 1; i < d->edges.n; i++)
        if (v[i].from != v[n - 1].from || v[i].to != v[n - 1].to)
            v[n++] = v[i];
    d->edges.n = n;
}

/* The instruction that decides where block b goes. */
static const struct bk_insn *decider(const struct bk_decoder *d, const struct bk_block *b)
{
    const struct bk_insn *last = &d->insns.v[b->first + b->n - 1];
    return b->n > 1 && (last[-1].flags & BK_INSN_DELAY) ? last - 1 : last;
}

static bool make_edges(struct bk_decoder *d)
{
    size_t next_case = 0; /* cases stand in the order of their jumps */
    for (size_t b = 0; b < d->blocks.n; b++) {
        const struct bk_block *block = &d->blocks.v[b];
        const struct bk_insn *end = decider(d, block), *last = &d->insns.v[block->first + block->n - 1];
        bool leaves = end->flags & (BK_INSN_JUMP | BK_INSN_RET | BK_INSN_STOP), jumps = end->flags & BK_INSN_JUMP;
        bool perhaps = end->flags & BK_INSN_COND;
        if (jumps && (end->flags & BK_INSN_TARGET) &&
            !push_edge_to(d, b, end->target, perhaps ? BK_EDGE_TAKEN : BK_EDGE_JUMP))
            return false;
        for (; next_case < d->cases.n && d->cases.v[next_case].from <= end->addr; next_case++)
            if (d->cases.v[next_case].from == end->addr && !push_edge_to(d, b, d->cases.v[next_case].to, BK_EDGE_CASE))
                return false;
        bool falls = (!leaves || perhaps) && !(last->flags & INSN_GAP);
        if (falls && b + 1 < d->blocks.n &&
            !push_edge(d, b, (uint32_t)(b + 1), jumps ? BK_EDGE_NOT_TAKEN : BK_EDGE_FALL))
            return false;
    }
    sort_edges(d);
    return true;
}

static int compare_u64(const void *pa, const void *pb)
{
    uint64_t a = *(const uint64_t *)pa, b = *(const uint64_t *)pb;
    return a < b ? -1 : a > b;
}

static bool is_callee(const struct bk_decoder *d, const struct bk_insn *insn)
{
    if (!(insn->flags & BK_INSN_TARGET))
        return false;
    if (insn->flags & BK_INSN_CALL) /* a call of the next instruction only reads the program counter */
        return insn->target != insn->addr + insn->size;
    bool inside = insn->target >= d->begin && insn->target < d->end;
    return !inside && !bk_in_piece(d->functions, insn->target);
}

static bool make_callees(struct bk_decoder *d)
{
    for (size_t i = 0; i < d->insns.n; i++) {
        if (!is_callee(d, &d->insns.v[i]))
            continue;
        if (!BK_GROW(d->callees))
            return false;
        d->callees.v[d->callees.n++] = d->insns.v[i].target;
    }
    if (d->callees.n == 0)
        return true;
    qsort(d->callees.v, d->callees.n, sizeof *d->callees.v, compare_u64);
    size_t n = 1;
    for (size_t i = 1; i < d->callees.n; i++)
        if (d->callees.v[i] != d->callees.v[n - 1])
            d->callees.v[n++] = d->callees.v[i];
    d->callees.n = n;
    return true;
}

bool bk_blocks_build(struct bk_decoder *d)
{
    mark_leaders(d);
    drop_padding(d);
    if (!make_blocks(d) || !make_edges(d) || !make_callees(d))
        return false;
    for (size_t i = 0; i < d->insns.n; i++)
        d->insns.v[i].flags &= (uint16_t) ~(INSN_PAD | INSN_GAP | INSN_LEADER);
    return true;
}
