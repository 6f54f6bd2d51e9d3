/* match: for each function of A the nearest in B.
 *
 *     match A B
 */
#include <binkin.h>

#include <stdio.h>

static const char *name_of(const struct bk_binary *b, size_t i)
{
    struct bk_function_info f;
    bk_binary_function(&f, b, i);
    return f.name ? f.name : "(no name)";
}

int main(int argc, char **argv)
{
    struct bk_model *model = NULL;
    struct bk_binary *a = NULL, *b = NULL;
    struct bk_matches *m = NULL;
    struct bk_error err;
    if (argc != 3) {
        fprintf(stderr, "usage: match A B\n");
        return 2;
    }
    struct bk_match_options opt = {.k = 1, .min_blocks = 5};
    int rc = bk_model_load(&model, NULL, &err);
    if (!rc)
        rc = bk_binary_open(&a, argv[1], &err);
    if (!rc)
        rc = bk_binary_open(&b, argv[2], &err);
    if (!rc)
        rc = bk_match(&m, model, a, b, &opt, &err);
    for (size_t i = 0; !rc && i < m->n; i++)
        printf("%s\t%.4f\t%s\n", name_of(a, m->v[i].query), (double)m->v[i].score, name_of(b, m->v[i].answer));
    if (rc) {
        char line[600];
        fprintf(stderr, "match: %s\n", bk_error_format(line, sizeof line, &err));
    }
    bk_matches_free(m);
    bk_binary_close(a);
    bk_binary_close(b);
    bk_model_free(model);
    return rc ? 2 : 0;
}
