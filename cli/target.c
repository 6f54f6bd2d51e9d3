/* Targets: FILE, FILE:NAME, FILE:0xADDR and, in an archive, FILE:MEMBER:NAME. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

/* Cuts `text` (a copy) behind the longest path that exists; what follows, or NULL when there is nothing to cut. */
static char *cut_function(char *text)
{
    if (exists(text))
        return NULL;
    for (char *colon = strrchr(text, ':'); colon && colon > text;) {
        *colon = 0;
        if (exists(text))
            return colon + 1;
        char *before = strrchr(text, ':');
        *colon = ':';
        colon = before;
    }
    return NULL;
}

static bool select_functions(struct cli_target *t, const char *what)
{
    size_t total = bk_binary_n_functions(t->binary);
    struct bk_error err = {0};
    t->whole = !what;
    if (what) {
        size_t first;
        if (bk_binary_find(&first, &t->n, t->binary, what, &err)) {
            cli_trouble(&err);
            return false;
        }
    } else {
        t->n = total;
    }
    t->functions = calloc(t->n ? t->n : 1, sizeof *t->functions);
    if (!t->functions) {
        cli_complain("out of memory");
        return false;
    }
    if (what)
        bk_binary_find_all(t->functions, t->n, t->binary, what);
    for (size_t i = 0; !what && i < total; i++)
        t->functions[i] = i;
    return true;
}

bool cli_target_open_second(struct cli_target *t, const struct cli_target *first, const char *text, int *status)
{
    struct bk_error err = {0};
    *t = (struct cli_target){0};
    char *path = strdup(text), *what = path ? cut_function(path) : NULL;
    bool ok = path != NULL;
    if (!path)
        cli_complain("out of memory");
    t->borrowed = ok && first && first->binary && strcmp(bk_binary_path(first->binary), path) == 0;
    if (t->borrowed) {
        t->binary = first->binary;
    } else if (ok && bk_binary_open(&t->binary, path, &err)) {
        cli_trouble(&err);
        ok = false;
    }
    for (size_t i = 0; ok && !t->borrowed && i < bk_binary_n_troubles(t->binary); i++)
        *status = cli_trouble(bk_binary_trouble(t->binary, i));
    if (ok && !select_functions(t, what)) {
        cli_target_close(t);
        ok = false;
    }
    free(path);
    if (!ok)
        *status = EXIT_TROUBLE;
    return ok;
}

bool cli_target_open(struct cli_target *t, const char *text, int *status)
{
    return cli_target_open_second(t, NULL, text, status);
}

void cli_target_close(struct cli_target *t)
{
    free(t->functions);
    if (!t->borrowed)
        bk_binary_close(t->binary);
    *t = (struct cli_target){0};
}
