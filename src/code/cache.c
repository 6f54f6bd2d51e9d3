/* Instructions met before. Machine code repeats: nine of ten instructions of a program are found here and not decoded anew.
 *
 * A key holds the whole encoding but for a field that counts from the instruction's own address; encodings are prefix-free, so
 * equal keys are equal instructions. What an architecture's file says of a key is held against the disassembler
 * when an instruction comes in: one of another size, or whose moving value is not where it should be, stays out. */
#include "code/code_int.h"

#include <stdlib.h>
#include <string.h>

/* Bounds the time where a hostile file makes all keys fall together: what finds no room among so many slots stays out. */
#define MAX_PROBES 8

static size_t hash(const struct insn_key *k)
{
    uint64_t h = (k->lo ^ (k->hi << 29 | k->hi >> 35)) * UINT64_C(0x9e3779b97f4a7c15);
    h ^= h >> 32;
    h *= UINT64_C(0xd6e8feb86659fd93);
    return (size_t)(h >> 32);
}

const struct cached *bk_cache_find(const struct insn_cache *c, const struct insn_key *k)
{
    if (c->n_slots == 0)
        return NULL;
    for (size_t i = hash(k), end = i + MAX_PROBES; i < end; i++) {
        uint32_t key = c->slots[i & (c->n_slots - 1)];
        if (key == 0)
            return NULL;
        const struct cached *e = &c->entries.v[key - 1];
        if (e->lo == k->lo && e->hi == k->hi)
            return e;
    }
    return NULL;
}

static bool take_slot(struct insn_cache *c, const struct insn_key *k, uint32_t key)
{
    for (size_t i = hash(k), end = i + MAX_PROBES; i < end; i++) {
        uint32_t *slot = &c->slots[i & (c->n_slots - 1)];
        if (*slot != 0)
            continue;
        *slot = key;
        return true;
    }
    return false;
}

static bool double_slots(struct insn_cache *c)
{
    size_t n = c->n_slots ? 2 * c->n_slots : 1024;
    uint32_t *slots = bk_calloc(n, sizeof *slots);
    if (!slots)
        return false;
    free(c->slots);
    c->slots = slots;
    c->n_slots = n;
    for (size_t i = 0; i < c->entries.n; i++) {
        const struct cached *e = &c->entries.v[i];
        take_slot(c, &(struct insn_key){.lo = e->lo, .hi = e->hi}, (uint32_t)(i + 1));
    }
    return true;
}

/* Finds the operand that holds the key's value, counted from 1; 0: none moves. False: not as the key says. */
static bool find_moving(uint8_t *out, const struct insn_key *k, const struct bk_insn *insn)
{
    unsigned n_mem = 0;
    *out = 0;
    switch (k->moves) {
    case MOVES_NOT:
        return !(insn->flags & BK_INSN_TARGET);
    case MOVES_LAST:
        *out = insn->n_operands;
        if (*out == 0 || ((insn->flags & BK_INSN_TARGET) && insn->target != k->target))
            return false;
        return insn->operands[*out - 1].kind == BK_OP_IMM && insn->operands[*out - 1].value == k->value;
    case MOVES_DISP:
        for (uint8_t i = 0; i < insn->n_operands; i++) {
            if (insn->operands[i].kind != BK_OP_MEM)
                continue;
            n_mem++;
            *out = i + 1;
        }
        return n_mem == 1 && insn->operands[*out - 1].value == k->value && !(insn->flags & BK_INSN_TARGET);
    }
    return false;
}

uint32_t bk_cache_add(struct insn_cache *c, const struct insn_key *k, const struct reading *r)
{
    const struct bk_insn *insn = r->insn;
    struct cached e = {.lo = k->lo,
                       .hi = k->hi,
                       .mnemonic = insn->mnemonic,
                       .flags = insn->flags,
                       .size = insn->size,
                       .n_operands = insn->n_operands,
                       .literal_size = (uint8_t)r->literal_size};
    if (c->entries.n >= c->max || insn->size != k->size || !find_moving(&e.moving, k, insn))
        return 0;
    if (r->literal_size > 0 && k->moves == MOVES_LAST && r->literal != (uint64_t)k->value)
        return 0;
    e.literal = (uint32_t)(r->literal - LITERAL_BASE(insn->addr));
    if (2 * c->entries.n >= c->n_slots && !double_slots(c))
        return 0;
    if (!BK_GROW(c->entries) || (!c->arena && !(c->arena = bk_arena_new())))
        return 0;
    struct bk_operand *operands = bk_arena_alloc(c->arena, e.n_operands, sizeof *operands);
    if (!operands || !take_slot(c, k, (uint32_t)(c->entries.n + 1)))
        return 0;
    if (e.n_operands > 0)
        memcpy(operands, insn->operands, e.n_operands * sizeof *operands);
    e.operands = operands;
    c->entries.v[c->entries.n++] = e;
    return (uint32_t)c->entries.n;
}

void bk_cache_done(struct insn_cache *c)
{
    free(c->slots);
    free(c->entries.v);
    bk_arena_free(c->arena);
}
