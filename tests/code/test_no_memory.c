/* Decoders where the heap gives out: at every point of the way BK_ENOMEM or the right bodies. */
#include "fixture.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { BLOCK = 3000, ROOM = 24 << 20, MAX_BLOCKS = 2 * ROOM / BLOCK };

struct full {
    void *block[MAX_BLOCKS]; /* of BLOCK bytes, and then of less and less */
    size_t n, n_large;
    struct rlimit before;
};

static size_t address_space(void)
{
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%lu", &pages), 1);
    fclose(f);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* Takes all there is; false where the system does not hold the program to its limit. */
static bool fill(struct full *h)
{
    size_t now = address_space();
    h->n = 0;
    assert_int_equal(getrlimit(RLIMIT_AS, &h->before), 0);
    struct rlimit less = {now + ROOM, h->before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_AS, &less), 0);
    for (size_t size = BLOCK; size >= 16; size = size == BLOCK ? 1024 : size / 2) {
        while (h->n < MAX_BLOCKS && (h->block[h->n] = malloc(size)))
            h->n++;
        if (size == BLOCK)
            h->n_large = h->n;
    }
    return h->n < MAX_BLOCKS;
}

static void release(struct full *h)
{
    setrlimit(RLIMIT_AS, &h->before);
    for (size_t i = 0; i < h->n; i++)
        free(h->block[i]);
}

/* What of the bodies the want of memory could change. */
static int read_bodies(uint64_t *sum, const struct bk_functions *fs, struct bk_error *err)
{
    struct bk_decoder *d;
    int rc = bk_decoder_new(&d, fs, err);
    *sum = 0;
    for (size_t i = 0; i < fs->n && !rc; i++) {
        const struct bk_body *body;
        rc = bk_decoder_body(&body, d, i, err);
        for (size_t k = 0; !rc && k < body->n_insns; k++)
            *sum = *sum * 31 + body->insns[k].size + body->insns[k].n_operands * 7u +
                   (unsigned char)body->insns[k].mnemonic[0] * 13u;
    }
    bk_decoder_free(d);
    return rc;
}

/* The room left grows block by block until all goes well. */
static void test_heap_full(void **state)
{
    const char *names[] = {"amd64.elf", "i386.elf", "arm64.elf", "armhf-t32.elf", "mips.elf"};
    static struct full h;
    (void)state;
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        struct fixture f;
        struct bk_error err;
        uint64_t want, sum = 0;
        fixture_open(&f, names[k]);
        assert_int_equal(read_bodies(&want, f.functions, &err), BK_OK);
        bool enforced = fill(&h);
        int rc = BK_ENOMEM, refused = 0;
        for (size_t left = h.n_large; enforced && left > 0 && rc == BK_ENOMEM; refused++) {
            rc = read_bodies(&sum, f.functions, &err);
            if (rc == BK_ENOMEM && !strstr(err.message, " bytes"))
                rc = BK_EINVAL; /* nothing can be printed before there is memory again */
            free(h.block[--left]);
            h.block[left] = NULL;
        }
        release(&h);
        if (enforced) {
            assert_int_equal(rc, BK_OK);
            assert_true(refused > 10 && sum == want);
        }
        fixture_close(&f);
    }
}

int main(int argc, char **argv)
{
    fixture_dir = argc > 1 ? argv[1] : ".";
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_heap_full)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
