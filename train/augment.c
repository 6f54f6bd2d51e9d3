/* augment: a function with parts of it hidden. */
#include "learn.h"

void bk_augment_seed(struct bk_rng *rng, uint64_t seed, uint32_t step, uint32_t function)
{
    bk_rng_seed(rng, seed, BK_STREAM_AUGMENT + ((uint64_t)step << 32) + function);
}

void bk_mask_forms(uint32_t *forms, size_t n, double p, struct bk_rng *rng)
{
    for (size_t i = 0; i < n; i++)
        if (bk_rng_unit(rng) < p)
            forms[i] = BK_STR_NONE;
}

void bk_mask_blocks(uint32_t *forms, uint32_t *neutral, const uint16_t *block_insns, size_t n_blocks, double p,
                    struct bk_rng *rng)
{
    for (size_t b = 0, at = 0; b < n_blocks; at += block_insns[b++]) {
        const size_t hidden = bk_rng_unit(rng) < p ? block_insns[b] : 0;
        for (size_t i = at; i < at + hidden; i++)
            forms[i] = neutral[i] = BK_STR_NONE;
    }
}

size_t bk_drop_items(uint32_t *items, size_t n, double p, struct bk_rng *rng)
{
    size_t left = 0;
    for (size_t i = 0; i < n; i++)
        if (bk_rng_unit(rng) >= p)
            items[left++] = items[i];
    return left;
}
