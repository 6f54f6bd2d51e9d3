/* nn: the arithmetic of the networks over packed batches. */
#ifndef BK_NN_H
#define BK_NN_H

#include "base/base.h"

#ifdef BK_REAL_DOUBLE /* the test build that checks gradients */
typedef double bk_real;
#else
typedef float bk_real;
#endif

#endif
