/* Puts right the checksums of a container file, so that a fuzzer gets past them to what a reader does with the entries. */
#ifndef BK_FUZZ_SEAL_PACK_H
#define BK_FUZZ_SEAL_PACK_H

#include "base/base.h"

#include <string.h>

static inline void seal_u64(uint8_t *at, uint64_t x)
{
    for (int i = 0; i < 8; i++)
        at[i] = (uint8_t)(x >> (8 * i));
}

/* Offsets as in doc/format.md, "The container". What does not look like a container is left alone. */
static inline void seal_pack(uint8_t *data, size_t size)
{
    enum { HEADER = 40, ENTRY = 56, MAX_ENTRIES = 64 };
    struct bk_cursor c = bk_cursor_at(data, size, 16, false);
    uint32_t n = bk_read_u32(&c);
    if (c.failed || n > MAX_ENTRIES || size < HEADER + (size_t)n * ENTRY)
        return;
    seal_u64(data + 24, size);
    for (uint32_t i = 0; i < n; i++) {
        uint8_t *entry = data + HEADER + (size_t)i * ENTRY;
        c = bk_cursor_at(data, size, (size_t)(entry - data) + 32, false);
        uint64_t offset = bk_read_u64(&c), bytes = bk_read_u64(&c);
        if (bk_range_inside(offset, bytes, size))
            seal_u64(entry + 48, bk_hash64(data + offset, (size_t)bytes));
    }
    seal_u64(data + 32, 0);
    seal_u64(data + 32, bk_hash64(data, HEADER + (size_t)n * ENTRY));
}

#endif
