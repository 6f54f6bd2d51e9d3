/* cmocka wants these in front of it. */
#ifndef BK_TEST_CMOCKA_ALL_H
#define BK_TEST_CMOCKA_ALL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
