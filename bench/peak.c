#include "peak.h"
#include "base/base.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

enum {
    CHAINS = 12,     /* more than latency times ports, so that no multiply-add waits for another */
    STEPS = 2000000, /* some milliseconds */
    TURNS = 20       /* a thread in the mean; who has a slower core takes fewer, as it would of real work */
};

/* The loop's counting takes turns from the multiply-adds. */
#ifdef __clang__
#define UNROLL_TWO _Pragma("clang loop unroll_count(2)")
#else
#define UNROLL_TWO _Pragma("GCC unroll 2")
#endif

static volatile float sink;

#ifdef __x86_64__
__attribute__((target("avx512f"))) static double fma_avx512(void)
{
    __m512 sum[CHAINS], a = _mm512_set1_ps(0.999f), b = _mm512_set1_ps(0.001f);
    for (int k = 0; k < CHAINS; k++)
        sum[k] = _mm512_set1_ps((float)k);
    UNROLL_TWO
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
    UNROLL_TWO
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
    UNROLL_TWO
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
#endif

/* Four numbers a vector: NEON, or what x86-64 has without FMA. */
typedef float four __attribute__((vector_size(16)));
static double mul_add(void)
{
    four sum[CHAINS], a = {0.999f, 0.999f, 0.999f, 0.999f}, b = {0.001f, 0.001f, 0.001f, 0.001f};
    for (int k = 0; k < CHAINS; k++)
        sum[k] = b * (float)k;
    UNROLL_TWO
    for (int i = 0; i < STEPS; i++) {
#pragma GCC unroll 12
        for (int k = 0; k < CHAINS; k++)
            sum[k] = sum[k] * a + b;
    }
    for (int k = 1; k < CHAINS; k++)
        sum[0] += sum[k];
    sink = sum[0][0];
    return 2.0 * 4 * CHAINS * STEPS;
}

peak_fn *peak_float(void)
{
#ifdef __x86_64__
    if (bk_cpu() == BK_CPU_AVX512)
        return fma_avx512;
    if (bk_cpu() == BK_CPU_AVX2)
        return fma_avx2;
#endif
    return mul_add;
}

peak_fn *peak_int8(void)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx512vnni"))
        return dot_int8;
#endif
    return NULL;
}

struct work {
    peak_fn *fn;
    double *done;
};

static void one_turn(void *ctx, size_t item, unsigned worker)
{
    const struct work *w = ctx;
    (void)worker;
    w->done[item] = w->fn();
}

double peak_rate(peak_fn *fn, unsigned threads)
{
    static double done[256 * TURNS]; /* as many threads as bk_par_for has */
    double sum = 0, begun = bk_now();
    bk_par_for((size_t)threads * TURNS, threads, one_turn, &(struct work){fn, done});
    const double seconds = bk_now() - begun;
    for (unsigned i = 0; i < threads * TURNS; i++)
        sum += done[i];
    return sum / seconds / 1e9;
}
