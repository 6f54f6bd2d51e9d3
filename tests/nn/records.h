/* Reader of the records in tests/fixtures/net (layout in make_golden.py there), and how numbers are compared with them; for tests alone. */
#ifndef BK_TEST_RECORDS_H
#define BK_TEST_RECORDS_H

#include "base/base.h"

struct golden {
    struct bk_map map;
};

void golden_open(struct golden *g, const char *path);
void golden_close(struct golden *g);
/* The `count` numbers of a record, on the heap; NULL when it is not there. */
double *golden_find(const struct golden *g, size_t *count, const char *fmt, ...) BK_PRINTF(3, 4);

/* |a - b| <= tol * (1 + |b|), or the test fails and says which. */
void assert_near(double a, double b, double tol, const char *what, size_t index);

#endif
