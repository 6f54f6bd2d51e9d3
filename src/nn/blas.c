/* The only user of cblas, and the choice of the vector kernels. */
#include "nn/nn_int.h"

#include <cblas.h>

void bk_blas_single_thread(void)
{
    if (openblas_get_num_threads() != 1)
        openblas_set_num_threads(1);
}

const char *bk_blas_describe(void)
{
    return openblas_get_config();
}

void bk_gemm(enum bk_op ta, enum bk_op tb, size_t m, size_t n, size_t k, bk_real alpha, const bk_real *a, size_t lda,
             const bk_real *b, size_t ldb, bk_real beta, bk_real *c, size_t ldc)
{
    enum CBLAS_TRANSPOSE ca = ta == BK_T ? CblasTrans : CblasNoTrans, cb = tb == BK_T ? CblasTrans : CblasNoTrans;
    if (m == 0 || n == 0)
        return;
#ifdef BK_REAL_DOUBLE
    cblas_dgemm(CblasRowMajor, ca, cb, (blasint)m, (blasint)n, (blasint)k, alpha, a, (blasint)lda, b, (blasint)ldb,
                beta, c, (blasint)ldc);
#else
    cblas_sgemm(CblasRowMajor, ca, cb, (blasint)m, (blasint)n, (blasint)k, alpha, a, (blasint)lda, b, (blasint)ldb,
                beta, c, (blasint)ldc);
#endif
}

const struct bk_kernels *bk_kernels(void)
{
#ifdef BK_NN_X86
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        return &bk_kernels_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return &bk_kernels_avx2;
#endif
    return &bk_kernels_base;
}

void bk_exp(bk_real *y, const bk_real *x, size_t n)
{
    bk_kernels()->exp(y, x, n);
}

void bk_tanh(bk_real *y, const bk_real *x, size_t n)
{
    bk_kernels()->tanh(y, x, n);
}

void bk_sigmoid(bk_real *y, const bk_real *x, size_t n)
{
    bk_kernels()->sigmoid(y, x, n);
}
