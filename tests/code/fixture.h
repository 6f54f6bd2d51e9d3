/* Opening what tests/fixtures/code holds, and the properties every decoded body has. */
#ifndef BK_TEST_CODE_FIXTURE_H
#define BK_TEST_CODE_FIXTURE_H

#include "../base/cmocka_all.h"
#include "code/code.h"

extern const char *fixture_dir; /* set by main() */

struct fixture {
    struct bk_image_file *file;
    const struct bk_image *image; /* the first */
    struct bk_functions *functions;
    struct bk_decoder *decoder;
};
void fixture_open(struct fixture *f, const char *name);
void fixture_close(struct fixture *f);
const struct bk_body *fixture_body(struct fixture *f, size_t i);
/* The function of this name, or SIZE_MAX. */
size_t fixture_find(const struct fixture *f, const char *name);

/* Bytes add up; instructions do not overlap; blocks partition them; edges are sorted, distinct, point at blocks, and
 * every branch inside the function has one. Fails the test with the place. */
void check_body(const struct bk_body *body);

#endif
