#include "base/base.h"

#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

static const char *const names[] = {[BK_CPU_PLAIN] = "plain", [BK_CPU_AVX2] = "avx2", [BK_CPU_AVX512] = "avx512"};

const char *bk_cpu_name(enum bk_cpu cpu)
{
    return names[cpu];
}

enum bk_cpu bk_cpu_lower(enum bk_cpu best, const char *wish)
{
    for (enum bk_cpu cpu = BK_CPU_PLAIN; wish && cpu < best; cpu++)
        if (!strcmp(wish, names[cpu]))
            return cpu;
    return best;
}

#if defined(__x86_64__)
/* clang 14 does not know the name. */
static bool has_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#endif

/* __builtin_cpu_supports asks both cpuid and, by xgetbv, what the operating system saves of the registers. */
static enum bk_cpu detect(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c()) {
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
            return BK_CPU_AVX512;
        return BK_CPU_AVX2;
    }
#endif
    return BK_CPU_PLAIN;
}

enum bk_cpu bk_cpu(void)
{
    /* Whoever comes at the same time finds the same. */
    static int known = -1;
    int cpu = __atomic_load_n(&known, __ATOMIC_RELAXED);
    if (cpu < 0) {
        cpu = (int)bk_cpu_lower(detect(), getenv("BINKIN_CPU"));
        __atomic_store_n(&known, cpu, __ATOMIC_RELAXED);
    }
    return (enum bk_cpu)cpu;
}
