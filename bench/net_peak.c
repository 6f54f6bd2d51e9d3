/* The ceilings that net_speed is held against: multiply-adds that never leave the registers, in float and in eight bits, and
 * the matrix product of a BLAS where the build found one. */
#include "base/base.h"
#include "net_speed.h"
#include "peak.h"

#include <stdlib.h>
#ifdef BENCH_OPENBLAS
#include <cblas.h>
#endif

#define STRING_(x) #x
#define STRING(x)  STRING_(x)
#ifdef __clang__
#define COMPILER "clang " STRING(__clang_major__) "." STRING(__clang_minor__)
#else
#define COMPILER "gcc " __VERSION__
#endif

enum {
    SIZE = 2048, /* of the matrices */
    ROUNDS = 5
};

/* The best of some rounds: a ceiling is what was ever reached. */
static double best_rate(peak_fn *fn, unsigned threads)
{
    double best = 0;
    for (int i = 0; i < ROUNDS; i++) {
        double r = peak_rate(fn, threads);
        best = r > best ? r : best;
    }
    return best;
}

#ifdef BENCH_OPENBLAS
static double sgemm(unsigned threads)
{
    size_t n = (size_t)SIZE * SIZE;
    double best = 0;
    float *a = bk_calloc(n, sizeof *a), *b = bk_calloc(n, sizeof *b), *c = bk_calloc(n, sizeof *c);
    openblas_set_num_threads((int)threads);
    for (size_t i = 0; a && b && i < n; i++) {
        a[i] = (float)(i % 7) - 3;
        b[i] = (float)(i % 5) - 2;
    }
    for (int i = 0; a && b && c && i <= ROUNDS; i++) {
        double begun = bk_now();
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, SIZE, SIZE, SIZE, 1, a, SIZE, b, SIZE, 0, c, SIZE);
        double r = 2.0 * SIZE * SIZE * SIZE / (bk_now() - begun) / 1e9;
        best = r > best ? r : best;
    }
    free(a);
    free(b);
    free(c);
    return best;
}
#endif

void net_peak(unsigned threads)
{
    threads = bk_par_threads(threads);
    printf("{\"job\":\"peak\",\"threads\":%u,\"kernels\":\"%s\",\"compiler\":\"%s\"", threads, bk_cpu_name(bk_cpu()),
           COMPILER);
    printf(",\"fma_gflops\":%.1f", best_rate(peak_float(), threads));
    if (peak_int8())
        printf(",\"int8_gops\":%.1f", best_rate(peak_int8(), threads));
#ifdef BENCH_OPENBLAS
    printf(",\"sgemm_gflops\":%.1f,\"blas\":\"%s\"", sgemm(threads), openblas_get_config());
#endif
    printf("}\n");
}
