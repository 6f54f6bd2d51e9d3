/* walk: lists the functions of a file, and the words of the one that is named.
 *
 *     walk FILE [FUNCTION]
 */
#include <binkin.h>

#include <inttypes.h>
#include <stdio.h>

static int trouble(const struct bk_error *err)
{
    char line[600];
    fprintf(stderr, "walk: %s\n", bk_error_format(line, sizeof line, err));
    return 2;
}

static int print_word(void *ctx, uint64_t addr, const char *word, size_t block)
{
    (void)ctx;
    printf("  block %zu  0x%" PRIx64 "  %s\n", block, addr, word);
    return BK_OK; /* anything else would end the walk and be returned */
}

int main(int argc, char **argv)
{
    struct bk_binary *b;
    struct bk_error err;
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: walk FILE [FUNCTION]\n");
        return 2;
    }
    if (bk_binary_open(&b, argv[1], &err))
        return trouble(&err);
    int rc = BK_OK;
    size_t i;
    if (argc == 3) {
        rc = bk_binary_find(&i, NULL, b, argv[2], &err);
        if (!rc)
            rc = bk_binary_words(b, i, print_word, NULL, &err);
    }
    for (i = 0; argc == 2 && !rc && i < bk_binary_n_functions(b); i++) {
        struct bk_function_info f;
        struct bk_function_stats s;
        bk_binary_function(&f, b, i);
        rc = bk_binary_stats(&s, b, i, 1, 1, &err);
        if (!rc)
            printf("0x%" PRIx64 " %" PRIu64 " bytes, %zu blocks, %zu instructions: %s\n", f.addr, f.size, s.n_blocks,
                   s.n_insns, f.name ? f.name : "(no name)");
    }
    bk_binary_close(b);
    return rc ? trouble(&err) : 0;
}
