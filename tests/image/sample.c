/* Built by the native compiler; test_elf compares what Binkin reads of it with what readelf prints. */
#include <stdio.h>

int sample_table[4] = {1, 2, 3, 4};
static int counter;
int sample_global(int x);
__thread int per_thread;

__attribute__((noinline)) static int sample_static(int x)
{
    return x * 3 + counter++ + per_thread;
}

__attribute__((noinline)) int sample_global(int x)
{
    return sample_static(x) + sample_table[x & 3];
}

int sample_alias(int x) __attribute__((alias("sample_global")));
int sample_weak(int x);

__attribute__((weak, section(".text.elsewhere"))) int sample_weak(int x)
{
    return sample_alias(x) - 1;
}

int main(int argc, char **argv)
{
    (void)argv;
    return printf("%d\n", sample_weak(argc)) < 0;
}
