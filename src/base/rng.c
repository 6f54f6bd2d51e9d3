#include "base/base.h"

static uint64_t rotl(uint64_t x, unsigned k)
{
    return x << k | x >> (64 - k);
}

/* SplitMix64 (Steele, Lea, Flood 2014): turns any word, 0 among them, into well-mixed ones. */
static uint64_t splitmix64(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

void bk_rng_seed(struct bk_rng *r, uint64_t seed, uint64_t stream)
{
    uint64_t state = splitmix64(&seed) ^ stream; /* near seeds with near streams must not meet */
    for (int i = 0; i < 4; i++)
        r->s[i] = splitmix64(&state);
}

/* xoshiro256** 1.0 (Blackman, Vigna 2021) */
uint64_t bk_rng_u64(struct bk_rng *r)
{
    uint64_t *s = r->s, result = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

uint64_t bk_rng_below(struct bk_rng *r, uint64_t n)
{
    /* x - x % n begins a run of n words; one that does not fit below 2^64 is the short run at the end: draw again. */
    uint64_t x, rest;
    do {
        x = bk_rng_u64(r);
        rest = x % n;
    } while (x - rest > UINT64_MAX - (n - 1));
    return rest;
}

double bk_rng_unit(struct bk_rng *r)
{
    return (double)(bk_rng_u64(r) >> 11) * 0x1p-53;
}

void bk_rng_shuffle_u32(struct bk_rng *r, uint32_t *v, size_t n)
{
    for (; n > 1; n--) { /* Fisher-Yates */
        size_t j = (size_t)bk_rng_below(r, n);
        uint32_t t = v[n - 1];
        v[n - 1] = v[j];
        v[j] = t;
    }
}
