/* schedule: how fast a step learns. */
#include "learn.h"

#include <math.h>

double bk_rate_cosine(double rate, uint64_t step, uint64_t steps, uint64_t warmup)
{
    const double pi = 3.14159265358979323846, floor = 0.01;
    if (step <= warmup)
        return rate * (double)step / (double)warmup;
    const double past = step < steps ? (double)(step - warmup) / (double)(steps - warmup) : 1;
    return rate * (floor + (1 - floor) * (1 + cos(pi * past)) / 2);
}
