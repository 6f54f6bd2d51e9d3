/* model_open MODEL N [cold]: opens a model N times and prints the milliseconds of each. cold: its file is dropped from the page cache
 * before. */
#include "model/model.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool drop(const char *path)
{
    int fd = open(path, O_RDONLY);
    bool done = fd >= 0 && posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0;
    if (fd >= 0)
        close(fd);
    return done;
}

int main(int argc, char **argv)
{
    bool cold = argc == 4 && strcmp(argv[3], "cold") == 0;
    if (argc != 3 && !cold) {
        fputs("usage: model_open MODEL N [cold]\n", stderr);
        return 2;
    }
    for (int n = atoi(argv[2]); n > 0; n--) {
        struct bk_model *m;
        struct bk_error err;
        if (cold && !drop(argv[1])) {
            perror(argv[1]);
            return 1;
        }
        double start = bk_now();
        if (bk_model_open(&m, argv[1], &err)) {
            fprintf(stderr, "%s\n", err.message);
            return 1;
        }
        printf("%.4f\n", (bk_now() - start) * 1e3);
        bk_model_close(m);
    }
    return 0;
}
