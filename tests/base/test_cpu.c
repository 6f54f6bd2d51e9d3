/* The choice of an instruction set, against cpuid and xgetbv read by hand. */
#include "base/base.h"
#include "cmocka_all.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>

/* Intel SDM volume 1, 14.3, 14.5.3 and 15.2 to 15.4. */
static enum bk_cpu by_hand(void)
{
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE) || !(c & bit_FMA) || !(c & bit_F16C))
        return BK_CPU_PLAIN;
    unsigned saved, high;
    __asm__ volatile("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
    if ((saved & 0x06) != 0x06 || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & bit_AVX2))
        return BK_CPU_PLAIN;
    const unsigned wanted = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
    return (saved & 0xe6) == 0xe6 && (b & wanted) == wanted ? BK_CPU_AVX512 : BK_CPU_AVX2;
}
#else
static enum bk_cpu by_hand(void)
{
    return BK_CPU_PLAIN;
}
#endif

/* What a fresh process says under BINKIN_CPU = `wish`. Nothing here asks bk_cpu() in this process: it remembers. */
static int under(const char *wish)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (wish ? setenv("BINKIN_CPU", wish, 1) : unsetenv("BINKIN_CPU"))
            _exit(100);
        enum bk_cpu first = bk_cpu();
        unsetenv("BINKIN_CPU");
        _exit(bk_cpu() == first ? (int)first : 101);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void as_the_processor_says(void **state)
{
    (void)state;
    assert_int_equal(under(NULL), by_hand());
    const char *expected = getenv("BINKIN_CPU_EXPECTED"); /* tools/test-cpus knows which processor it emulates */
    if (expected)
        assert_string_equal(bk_cpu_name(by_hand()), expected);
}

static void environment_lowers(void **state)
{
    (void)state;
    const int best = by_hand();
    assert_int_equal(under("plain"), BK_CPU_PLAIN);
    assert_int_equal(under("avx2"), best < BK_CPU_AVX2 ? best : BK_CPU_AVX2);
    assert_int_equal(under("avx512"), best);
    static const char *const others[] = {"", "sse", "PLAIN", "plain ", "avx", "avx2,avx512"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_int_equal(under(others[i]), best);
}

static void a_wish_never_raises(void **state)
{
    (void)state;
    for (enum bk_cpu best = BK_CPU_PLAIN; best <= BK_CPU_AVX512; best++) {
        assert_int_equal(bk_cpu_lower(best, NULL), best);
        for (enum bk_cpu wish = BK_CPU_PLAIN; wish <= BK_CPU_AVX512; wish++)
            assert_int_equal(bk_cpu_lower(best, bk_cpu_name(wish)), wish < best ? wish : best);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_the_processor_says),
        cmocka_unit_test(environment_lowers),
        cmocka_unit_test(a_wish_never_raises),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
