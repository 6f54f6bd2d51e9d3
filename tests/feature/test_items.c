/* Items against the source: tests/fixtures/items/sample.c says above each function which ones it has, and objects,
 * shared objects and executables made of it for every processor have them, the strings and imports no others. */
#include "../base/cmocka_all.h"
#include "feature/feature.h"

#include <stdlib.h>
#include <string.h>

#define MAX_WANTED  8
#define N_FUNCTIONS 19

static uint64_t hash_of(enum bk_item_kind kind, const void *data, size_t size)
{
    return bk_hash64(data, size) + kind * UINT64_C(0x9e3779b97f4a7c15);
}

static uint64_t number_hash(enum bk_item_kind kind, int64_t v)
{
    uint8_t bytes[8];
    for (unsigned i = 0; i < 8; i++)
        bytes[i] = (uint8_t)((uint64_t)v >> (8 * i));
    return hash_of(kind, bytes, sizeof bytes);
}

/* ---- the source ------------------------------------------------------- */

struct wanted {
    char name[16];
    struct bk_item v[MAX_WANTED];
    size_t n;
    bool alone;
};

/* `"text"` with \n, `+displacement`, `immediate` of `bits` or `import`, where *at points; moves on. */
static struct bk_item read_item(char **at, unsigned bits)
{
    char text[64];
    size_t n = 0;
    if (**at == '"') {
        for (++*at; **at != '"'; ++*at) {
            bool newline = (*at)[0] == '\\' && (*at)[1] == 'n';
            *at += newline;
            text[n++] = newline ? '\n' : **at;
        }
        ++*at;
        return (struct bk_item){hash_of(BK_ITEM_STRING, text, n), BK_ITEM_STRING};
    }
    if (strchr("+-0123456789", **at)) {
        enum bk_item_kind kind = **at == '+' ? BK_ITEM_DISPLACEMENT : BK_ITEM_IMMEDIATE;
        int64_t v = strtoll(*at, at, 0);
        return (struct bk_item){number_hash(kind, bits == 32 ? (int32_t)v : v), kind};
    }
    for (; **at != ' '; ++*at)
        text[n++] = **at;
    return (struct bk_item){hash_of(BK_ITEM_IMPORT, text, n), BK_ITEM_IMPORT};
}

/* The functions that the source describes: lines of "/" "* NAME: ITEM ITEM... *" "/". */
static size_t read_source(struct wanted out[N_FUNCTIONS], unsigned bits)
{
    char line[256];
    size_t n = 0;
    FILE *f = fopen(FIXTURES "/sample.c", "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        int used = 0;
        char name[16];
        if (sscanf(line, "/* %15[a-z]: %n", name, &used) != 1 || used == 0 || strcmp(name, "eight") == 0)
            continue;
        assert_true(n < N_FUNCTIONS);
        struct wanted *w = &out[n++];
        memcpy(w->name, name, sizeof name);
        w->n = 0;
        char *alone = strstr(line, "alone */");
        w->alone = alone != NULL;
        for (char *at = line + used; *at != '*' && at != alone;) {
            assert_true(w->n < MAX_WANTED);
            w->v[w->n++] = read_item(&at, bits);
            at += strspn(at, " ");
        }
    }
    fclose(f);
    snprintf(out[n].name, sizeof out[n].name, "eight");
    out[n].alone = false;
    out[n++].n = 0;
    return n;
}

/* ---- the code --------------------------------------------------------- */

struct code {
    struct bk_image_file *file;
    const struct bk_image *img;
    struct bk_functions *functions;
    struct bk_decoder *decoder;
};

static struct code open_code(const char *name)
{
    char path[512];
    struct code c;
    snprintf(path, sizeof path, "%s/%s", FIXTURES, name);
    assert_int_equal(bk_image_file_open(&c.file, path, NULL), BK_OK);
    c.img = &c.file->images[0];
    assert_int_equal(bk_functions_find(&c.functions, c.img, NULL), BK_OK);
    assert_int_equal(bk_decoder_new(&c.decoder, c.functions, NULL), BK_OK);
    return c;
}

static void close_code(struct code *c)
{
    bk_decoder_free(c->decoder);
    bk_functions_free(c->functions);
    bk_image_file_close(c->file);
}

static void read_items(struct bk_items *out, const struct code *c, size_t i)
{
    const struct bk_body *body;
    assert_int_equal(bk_decoder_body(&body, c->decoder, i, NULL), BK_OK);
    assert_int_equal(bk_items_read(out, c->img, body, NULL), BK_OK);
}

static size_t function_named(const struct code *c, const char *name)
{
    for (size_t i = 0; i < c->functions->n; i++)
        for (size_t k = 0; k < c->functions->v[i].n_names; k++)
            if (strcmp(c->functions->v[i].names[k], name) == 0)
                return i;
    fail_msg("no function %s", name);
    return 0;
}

/* ---- tests ------------------------------------------------------------ */

static const char *const files[] = {
    "sample.amd64.clang.o",  "sample.i386.clang.o", "sample.armhf.clang.o", "sample.arm64.clang.o",
    "sample.mipsel.clang.o", "sample.amd64.o",      "sample.armhf.a32.o",   "sample.amd64.pic.o",
    "sample.amd64.so",       "sample.amd64.elf",    "sample.i386.o",        "sample.i386.pic.o",
    "sample.i386.so",        "sample.i386.elf",     "sample.armhf.o",       "sample.armhf.pic.o",
    "sample.armhf.so",       "sample.armhf.elf",    "sample.arm64.o",       "sample.arm64.pic.o",
    "sample.arm64.so",       "sample.arm64.elf",    "sample.mipsel.o",      "sample.mipsel.pic.o",
    "sample.mipsel.so",      "sample.mipsel.elf",   "sample.mips64.pic.o",  "sample.mips64.so",
};
#define N_FILES (sizeof files / sizeof *files)

static bool has(const struct bk_item *v, size_t n, struct bk_item item)
{
    for (size_t i = 0; i < n; i++)
        if (v[i].hash == item.hash && v[i].kind == item.kind)
            return true;
    return false;
}

static void as_the_source_says(void **state)
{
    struct wanted wanted[N_FUNCTIONS];
    struct bk_items items = {0};
    (void)state;
    for (size_t k = 0; k < N_FILES; k++) {
        struct code c = open_code(files[k]);
        bool wide = c.img->arch == BK_ARCH_AMD64 || c.img->arch == BK_ARCH_ARM64 || c.img->arch == BK_ARCH_MIPS64;
        assert_int_equal(read_source(wanted, wide ? 64 : 32), N_FUNCTIONS);
        for (size_t i = 0; i < N_FUNCTIONS; i++) {
            const struct wanted *w = &wanted[i];
            if (c.img->arch == BK_ARCH_MIPS64 && strcmp(w->name, "fourteen") == 0)
                continue; /* takes shifts, which are not followed */
            read_items(&items, &c, function_named(&c, w->name));
            for (size_t j = 0; j < w->n; j++)
                if (!has(items.v, items.n, w->v[j]))
                    fail_msg("%s: %s: item %zu of the source is missing", files[k], w->name, j + 1);
            for (size_t j = 0; j < items.n; j++)
                if ((w->alone || items.v[j].kind >= BK_ITEM_STRING) && !has(w->v, w->n, items.v[j]))
                    fail_msg("%s: %s: item %zu is not in the source", files[k], w->name, j + 1);
        }
        close_code(&c);
    }
    bk_items_done(&items);
}

/* What a decoder and a list were used for before changes nothing. */
static void each_function_by_itself(void **state)
{
    struct bk_items used = {0};
    (void)state;
    for (size_t k = 0; k < N_FILES; k++) {
        struct code c = open_code(files[k]);
        for (size_t round = 0; round < 2; round++)
            for (size_t i = 0; i < c.functions->n; i++) {
                struct code other = open_code(files[k]);
                struct bk_items fresh = {0};
                read_items(&used, &c, i);
                read_items(&fresh, &other, i);
                assert_int_equal(used.n, fresh.n);
                for (size_t j = 0; j < used.n; j++) {
                    assert_true(used.v[j].hash == fresh.v[j].hash && used.v[j].kind == fresh.v[j].kind);
                    assert_true(j == 0 || !has(used.v, j - 1, used.v[j]));
                }
                bk_items_done(&fresh);
                close_code(&other);
            }
        close_code(&c);
    }
    bk_items_done(&used);
}

/* A function of nothing but different constants. */
static void the_first_count(void **state)
{
    enum { N = BK_MAX_ITEMS + 1000 };
    struct bk_operand(*ops)[2] = calloc(N, sizeof *ops);
    struct bk_insn *insns = calloc(N, sizeof *insns);
    struct bk_image img = {.arch = BK_ARCH_AMD64};
    struct bk_function f = {.addr = 0x1000, .size = N};
    struct bk_block block = {0, N};
    struct bk_body body = {
        .function = &f, .arch = BK_ARCH_AMD64, .n_insns = N, .insns = insns, .n_blocks = 1, .blocks = &block};
    struct bk_items items = {0};
    (void)state;
    assert_true(ops && insns);
    for (size_t i = 0; i < N; i++) {
        ops[i][0] = (struct bk_operand){.kind = BK_OP_REG, .reg = "eax", .scale = 1, .size = 4};
        ops[i][1] = (struct bk_operand){.kind = BK_OP_IMM, .value = (int64_t)i + 2, .scale = 1};
        insns[i] =
            (struct bk_insn){.addr = f.addr + i, .mnemonic = "mov", .operands = ops[i], .n_operands = 2, .size = 1};
    }
    assert_int_equal(bk_items_read(&items, &img, &body, NULL), BK_OK);
    assert_int_equal(items.n, BK_MAX_ITEMS);
    for (size_t i = 0; i < items.n; i++)
        assert_true(items.v[i].hash == number_hash(BK_ITEM_IMMEDIATE, (int64_t)i + 2));
    body.n_blocks = body.n_insns = 0;
    assert_int_equal(bk_items_read(&items, &img, &body, NULL), BK_OK);
    assert_int_equal(items.n, 0);
    bk_items_done(&items);
    free(insns);
    free(ops);
}

/* Files with some bytes changed are read to their end, or refused. */
static void damaged_files(void **state)
{
    struct bk_items items = {0};
    struct bk_rng rng;
    size_t n_read = 0;
    (void)state;
    bk_rng_seed(&rng, 5, 0);
    for (size_t k = 0; k < 40 * N_FILES; k++) {
        char path[512];
        struct bk_map map;
        struct code c;
        snprintf(path, sizeof path, "%s/%s", FIXTURES, files[k % N_FILES]);
        assert_int_equal(bk_map_open(&map, path, NULL), BK_OK);
        uint8_t *bytes = malloc(map.size);
        assert_non_null(bytes);
        memcpy(bytes, map.data, map.size);
        for (uint64_t n = 1 + bk_rng_below(&rng, 32); n > 0; n--)
            bytes[64 + bk_rng_below(&rng, map.size - 64)] = (uint8_t)bk_rng_u64(&rng);
        if (bk_image_file_parse(&c.file, path, bytes, map.size, NULL) == BK_OK) {
            c.img = &c.file->images[0];
            assert_int_equal(bk_functions_find(&c.functions, c.img, NULL), BK_OK);
            assert_int_equal(bk_decoder_new(&c.decoder, c.functions, NULL), BK_OK);
            for (size_t i = 0; i < c.functions->n; i++, n_read++)
                read_items(&items, &c, i);
            close_code(&c);
        }
        free(bytes);
        bk_map_close(&map);
    }
    assert_true(n_read > 1000);
    bk_items_done(&items);
}

/* movwne r0, #0x5678; movtne r0, #0x1234 */
static void predicated_halves_join(void **state)
{
    struct bk_operand ops[2][2] = {
        {{.kind = BK_OP_REG, .reg = "r0"}, {.kind = BK_OP_IMM, .value = 0x5678}},
        {{.kind = BK_OP_REG, .reg = "r0"}, {.kind = BK_OP_IMM, .value = 0x1234}},
    };
    struct bk_insn insns[2] = {{.addr = 0x1000, .mnemonic = "movwne", .operands = ops[0], .n_operands = 2, .size = 4},
                               {.addr = 0x1004, .mnemonic = "movtne", .operands = ops[1], .n_operands = 2, .size = 4}};
    struct bk_image img = {.arch = BK_ARCH_ARM};
    struct bk_function f = {.addr = 0x1000, .size = 8, .thumb = true};
    struct bk_block block = {0, 2};
    struct bk_body body = {
        .function = &f, .arch = BK_ARCH_ARM, .n_insns = 2, .insns = insns, .n_blocks = 1, .blocks = &block};
    struct bk_items items = {0};
    (void)state;
    assert_int_equal(bk_items_read(&items, &img, &body, NULL), BK_OK);
    assert_int_equal(items.n, 1);
    assert_true(items.v[0].hash == number_hash(BK_ITEM_IMMEDIATE, 0x12345678));
    bk_items_done(&items);
}

/* The comments of tests/fixtures/items/shifted.arm64.s, which objdump tells too. */
static void shifted_constants_are_whole(void **state)
{
    static const int64_t wanted[] = {0x12000, 0x34000, -0x56000, 0x7800000000, -0x9a000, ~INT64_C(0xbc0000)};
    struct code c = open_code("shifted.arm64.o");
    struct bk_items items = {0};
    (void)state;
    read_items(&items, &c, function_named(&c, "shifted"));
    assert_int_equal(items.n, sizeof wanted / sizeof *wanted);
    for (size_t i = 0; i < items.n; i++)
        if (!has(items.v, items.n, (struct bk_item){number_hash(BK_ITEM_IMMEDIATE, wanted[i]), BK_ITEM_IMMEDIATE}))
            fail_msg("no item %lld", (long long)wanted[i]);
    bk_items_done(&items);
    close_code(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(as_the_source_says),
                                       cmocka_unit_test(each_function_by_itself),
                                       cmocka_unit_test(the_first_count),
                                       cmocka_unit_test(predicated_halves_join),
                                       cmocka_unit_test(shifted_constants_are_whole),
                                       cmocka_unit_test(damaged_files)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
