/* The ceilings that net_speed is held against: multiply-adds that never leave the registers, in float and in eight bits, and
 * the matrix product of a BLAS where the build found one. */
#include "base/base.h"
#include "net_speed.h"

#include <stdlib.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif
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
    CHAINS = 12,      /* more than latency times ports, so that no multiply-add waits for another */
    STEPS = 30000000, /* a loop of some tenths of a second */
    SIZE = 2048,      /* of the matrices */
    ROUNDS = 5
};

static volatile float sink;

#ifdef __x86_64__
__attribute__((target("avx512f"))) static double fma_avx512(void)
{
    __m512 sum[CHAINS], a = _mm512_set1_ps(0.999f), b = _mm512_set1_ps(0.001f);
    for (int k = 0; k < CHAINS; k++)
        sum[k] = _mm512_set1_ps((float)k);
    for (int i = 0; i < STEPS; i++) {
#pragma GCC unroll 12
        for (int k = 0; k < CHAINS; k++)
            sum[k] = _mm512_fmadd_ps(sum[k], a, b);
    }
    for (int k = 1; k < CHAINS; k++)
        sum[0] = _mm512_add_ps(sum[0], sum[k]);
    sink = _mm512_cvtss_f32(sum[0]);
    return 2.0 * 16 * CHAINS * STEPS;
}

__attribute__((target("avx2,fma"))) static double fma_avx2(void)
{
    __m256 sum[CHAINS], a = _mm256_set1_ps(0.999f), b = _mm256_set1_ps(0.001f);
    for (int k = 0; k < CHAINS; k++)
        sum[k] = _mm256_set1_ps((float)k);
    for (int i = 0; i < STEPS; i++) {
#pragma GCC unroll 12
        for (int k = 0; k < CHAINS; k++)
            sum[k] = _mm256_fmadd_ps(sum[k], a, b);
    }
    for (int k = 1; k < CHAINS; k++)
        sum[0] = _mm256_add_ps(sum[0], sum[k]);
    sink = _mm256_cvtss_f32(sum[0]);
    return 2.0 * 8 * CHAINS * STEPS;
}

__attribute__((target("avx512f,avx512vnni"))) static double dot_int8(void)
{
    __m512i sum[CHAINS], a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(-1);
    for (int k = 0; k < CHAINS; k++)
        sum[k] = _mm512_set1_epi32(k);
    for (int i = 0; i < STEPS; i++) {
#pragma GCC unroll 12
        for (int k = 0; k < CHAINS; k++)
            sum[k] = _mm512_dpbusd_epi32(sum[k], a, b);
    }
    for (int k = 1; k < CHAINS; k++)
        sum[0] = _mm512_add_epi32(sum[0], sum[k]);
    sink = (float)_mm_cvtsi128_si32(_mm512_castsi512_si128(sum[0]));
    return 2.0 * 64 * CHAINS * STEPS;
}

typedef double work_fn(void); /* operations done */

static void work_item(void *ctx, size_t item, unsigned worker)
{
    work_fn *const *fn = ctx;
    (void)item;
    (void)worker;
    (*fn)();
}

/* Billions of operations a second, the best of some rounds: a ceiling is what was ever reached. */
static double rate(work_fn *fn, unsigned threads)
{
    double best = 0, operations = threads * fn();
    for (int i = 0; i < ROUNDS; i++) {
        double begun = bk_now();
        bk_par_for(threads, threads, work_item, &fn);
        double r = operations / (bk_now() - begun) / 1e9;
        best = r > best ? r : best;
    }
    return best;
}
#endif

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
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx512f"))
        printf(",\"fma_gflops\":%.1f", rate(fma_avx512, threads));
    else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        printf(",\"fma_gflops\":%.1f", rate(fma_avx2, threads));
    if (__builtin_cpu_supports("avx512vnni"))
        printf(",\"int8_gops\":%.1f", rate(dot_int8, threads));
#endif
#ifdef BENCH_OPENBLAS
    printf(",\"sgemm_gflops\":%.1f,\"blas\":\"%s\"", sgemm(threads), openblas_get_config());
#endif
    printf("}\n");
}
