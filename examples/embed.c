/* embed: the score of two functions, by hand: the inner product of their vectors.
 *
 *     embed FILE FUNCTION FUNCTION
 */
#include <binkin.h>

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    struct bk_model *model = NULL;
    struct bk_binary *b = NULL;
    struct bk_error err;
    struct bk_model_info info;
    size_t f[2];
    if (argc != 4) {
        fprintf(stderr, "usage: embed FILE FUNCTION FUNCTION\n");
        return 2;
    }
    int rc = bk_model_load(&model, NULL, &err); /* NULL: the default model, or $BINKIN_MODEL */
    if (!rc)
        rc = bk_binary_open(&b, argv[1], &err);
    for (int i = 0; i < 2 && !rc; i++)
        rc = bk_binary_find(&f[i], NULL, b, argv[2 + i], &err);
    if (!rc) {
        bk_model_describe(&info, model);
        float *v = malloc(2 * info.dim * sizeof *v);
        float score = 0;
        if (v)
            rc = bk_embed(v, NULL, model, b, f, 2, NULL, &err);
        for (size_t k = 0; v && !rc && k < info.dim; k++)
            score += v[k] * v[info.dim + k];
        if (v && !rc)
            printf("%zu numbers each, score %.4f\n", info.dim, (double)score);
        free(v);
    }
    if (rc) {
        char line[600];
        fprintf(stderr, "embed: %s\n", bk_error_format(line, sizeof line, &err));
    }
    bk_binary_close(b);
    bk_model_free(model);
    return rc ? 2 : 0;
}
