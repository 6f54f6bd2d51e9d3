#include "records.h"
#include "../base/cmocka_all.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void assert_near(double a, double b, double tol, const char *what, size_t index)
{
    if (!(fabs(a - b) <= tol * (1 + fabs(b))))
        fail_msg("%s [%zu]: %.17g, expected %.17g", what, index, a, b);
}

void golden_open(struct golden *g, const char *path)
{
    struct bk_error err;
    assert_int_equal(bk_map_open(&g->map, path, &err), BK_OK);
}

void golden_close(struct golden *g)
{
    bk_map_close(&g->map);
}

double *golden_find(const struct golden *g, size_t *count, const char *fmt, ...)
{
    char name[64];
    va_list args;
    va_start(args, fmt);
    vsnprintf(name, sizeof name, fmt, args);
    va_end(args);
    struct bk_cursor c = bk_cursor_at(g->map.data, g->map.size, 0, false);
    while (c.pos < c.size) {
        const char *found = (const char *)bk_read_bytes(&c, sizeof name);
        size_t n = bk_read_u32(&c);
        assert_false(c.failed);
        if (strncmp(found, name, sizeof name) != 0) {
            assert_non_null(bk_read_bytes(&c, n * 8));
            continue;
        }
        double *v = bk_calloc(n + 1, sizeof *v);
        assert_non_null(v);
        for (size_t i = 0; i < n; i++) {
            uint64_t bits = bk_read_u64(&c);
            memcpy(&v[i], &bits, sizeof bits);
        }
        assert_false(c.failed);
        *count = n;
        return v;
    }
    return NULL;
}
