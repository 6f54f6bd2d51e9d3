#ifndef BENCH_NET_SPEED_H
#define BENCH_NET_SPEED_H

/* Measures what `threads` threads of this processor reach at most and prints it as one JSON object. */
void net_peak(unsigned threads);

#endif
