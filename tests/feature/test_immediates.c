/* The immediates of functions against the assembler's source: tests/fixtures/feature/immediates-*.s say behind "#=" (or "//=", "@=") which
 * ones a line has; the objects and the executable made of it, in which what a relocation wrote is an address, have the same. */
#include "../base/cmocka_all.h"
#include "feature/feature.h"

#include <stdlib.h>
#include <string.h>

#define MAX_VALUES 64

/* Those that the source names, in its order. */
static size_t read_source(int64_t out[MAX_VALUES], const char *name)
{
    char path[512], line[256];
    size_t n = 0;
    snprintf(path, sizeof path, "%s/%s", FIXTURES, name);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    for (size_t number = 1; fgets(line, sizeof line, f); number++) {
        char *at = number > 2 ? strstr(line, "= ") : NULL; /* the head explains the sign */
        for (at = at ? at + 2 : NULL; at && *at && *at != '\n';) {
            assert_true(n < MAX_VALUES);
            out[n++] = strtoll(at, &at, 0);
        }
    }
    fclose(f);
    return n;
}

/* Those of all functions of the file, by address. */
static size_t read_code(int64_t out[MAX_VALUES], const char *name)
{
    char path[512];
    size_t n = 0;
    struct bk_image_file *file;
    struct bk_functions *functions;
    struct bk_decoder *decoder;
    snprintf(path, sizeof path, "%s/%s", FIXTURES, name);
    assert_int_equal(bk_image_file_open(&file, path, NULL), BK_OK);
    assert_int_equal(bk_functions_find(&functions, &file->images[0], NULL), BK_OK);
    assert_int_equal(bk_decoder_new(&decoder, functions, NULL), BK_OK);
    for (size_t i = 0; i < functions->n; i++) {
        const struct bk_body *body;
        assert_int_equal(bk_decoder_body(&body, decoder, i, NULL), BK_OK);
        for (size_t k = 0; k < body->n_insns; k++) {
            assert_true(n + BK_MAX_OPERANDS <= MAX_VALUES);
            n += bk_insn_immediates(out + n, &file->images[0], &body->insns[k]);
        }
    }
    bk_decoder_free(decoder);
    bk_functions_free(functions);
    bk_image_file_close(file);
    return n;
}

static void as_the_source_says(void **state)
{
    static const char *const pairs[][2] = {{"immediates-amd64.s", "immediates-amd64.o"},
                                           {"immediates-amd64.s", "immediates-amd64.elf"},
                                           {"immediates-arm64.s", "immediates-arm64.o"},
                                           {"immediates-armhf.s", "immediates-armhf.o"}};
    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        int64_t want[MAX_VALUES], got[MAX_VALUES];
        size_t n = read_source(want, pairs[i][0]), n_got = read_code(got, pairs[i][1]);
        for (size_t k = 0; k < n && k < n_got; k++)
            if (got[k] != want[k])
                fail_msg("%s: immediate %zu is %lld, not %lld", pairs[i][1], k, (long long)got[k], (long long)want[k]);
        assert_int_equal(n_got, n);
        assert_true(n > 5);
    }
}

/* mov eax, 0x2000 where a section is: an address in an executable that cannot move, a number in one that can. */
static void only_fixed_addresses_are_addresses(void **state)
{
    struct bk_section section = {.name = ".data", .addr = 0x1000, .size = 0x2000, .alloc = true};
    struct bk_span span = {0x1000, 0x3000, 0};
    struct bk_image img = {.arch = BK_ARCH_AMD64,
                           .kind = BK_IMAGE_EXEC,
                           .n_sections = 1,
                           .sections = &section,
                           .n_spans = 1,
                           .spans = &span};
    struct bk_operand ops[2] = {{.kind = BK_OP_REG, .reg = "eax"}, {.kind = BK_OP_IMM, .value = 0x2000}};
    struct bk_insn insn = {.mnemonic = "mov", .operands = ops, .n_operands = 2, .size = 5};
    int64_t out[BK_MAX_OPERANDS];
    (void)state;
    assert_int_equal(bk_insn_immediates(out, &img, &insn), 1);
    assert_int_equal(out[0], 0x2000);
    img.fixed = true;
    assert_int_equal(bk_insn_immediates(out, &img, &insn), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(as_the_source_says),
                                       cmocka_unit_test(only_fixed_addresses_are_addresses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
