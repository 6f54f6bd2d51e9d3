/* How many operations the processor can do at most: multiply-adds that never leave the registers. */
#ifndef BENCH_PEAK_H
#define BENCH_PEAK_H

typedef double peak_fn(void); /* some milliseconds of work; returns operations done */
/* In float, by the set that bk_cpu() names. */
peak_fn *peak_float(void);
/* In eight bits; NULL where the processor has no such instruction. */
peak_fn *peak_int8(void);
/* Billions of operations a second, over a tenth of a second or so. */
double peak_rate(peak_fn *fn, unsigned threads);

#endif
