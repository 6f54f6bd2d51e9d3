/* Runs a fuzz target once over every file of the folders given, as a test in TAP: what a fuzzer once found stays found. */
#include "base/base.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int is_input(const struct dirent *d)
{
    return d->d_name[0] != '.';
}

static bool replay(const char *path, const char *name, size_t number)
{
    struct bk_map map;
    struct bk_error err = {0};
    if (bk_map_open(&map, path, &err) != BK_OK) {
        printf("not ok %zu - %s: %s\n", number, name, err.message);
        return false;
    }
    LLVMFuzzerTestOneInput(map.data, map.size);
    bk_map_close(&map);
    printf("ok %zu - %s\n", number, name);
    fflush(stdout); /* a crash in the next one names its predecessor */
    return true;
}

int main(int argc, char **argv)
{
    size_t n = 0;
    bool good = true;
    for (int i = 1; i < argc; i++) {
        struct dirent **v;
        int count = scandir(argv[i], &v, is_input, alphasort);
        if (count < 0) {
            printf("Bail out! cannot read %s\n", argv[i]);
            return 1;
        }
        for (int k = 0; k < count; k++) {
            char *path;
            if (asprintf(&path, "%s/%s", argv[i], v[k]->d_name) < 0)
                return 1;
            good &= replay(path, v[k]->d_name, ++n);
            free(path);
            free(v[k]);
        }
        free(v);
    }
    printf("1..%zu\n", n);
    return good && n > 0 ? 0 : 1;
}
