// GEMM by CBLAS, always on the calling thread: the ops divide the work themselves.
#include <cblas.h>
#include <dlfcn.h>

#include "cpu.h"

void blas_single_thread(void) {
    // OpenBLAS's and BLIS's own names; another CBLAS that runs threads of its own still gives
    // correct results.
    static const char *const names[] = {"openblas_set_num_threads", "bli_thread_set_num_threads"};
    for (int i = 0; i < 2; i++) {
        union {
            void *object;
            void (*call)(int);
        } symbol = {.object = dlsym(RTLD_DEFAULT, names[i])};
        if (symbol.object != NULL) symbol.call(1);
    }
}

void blas_multiply(int64_t m, int64_t n, int64_t k, struct blas_matrix a, struct blas_matrix b,
                   float beta, float *c, int64_t c_stride) {
    cblas_sgemm(CblasRowMajor, a.transposed ? CblasTrans : CblasNoTrans,
                b.transposed ? CblasTrans : CblasNoTrans, (int)m, (int)n, (int)k, 1.0f, a.data,
                (int)a.stride, b.data, (int)b.stride, beta, c, (int)c_stride);
}
