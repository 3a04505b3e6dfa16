// GEMM on x86's matrix unit (AMX), float32 in and out: c [M,N] = op(a) [M,K] op(b) [K,N] + beta c.
//
// The unit multiplies bfloat16 and adds in float32. A float32 is exactly the sum of three bfloat16:
// its leading eight bits, the next eight and the last eight. Of the nine products of two such sums
// the six largest are taken; the others are below 2^-22 of the whole, as the roundings of a float32
// product are. Infinity comes out as NaN.
//
// Blocks of a and b are packed for the unit: a tile of a is 16 rows x 16 pairs of elements along K,
// a tile of b 16 pairs x 16 columns. The unit may sum pairs in any order, so element k is paired
// with element k + 16. The microkernel (kernel_32) keeps 32 x 32 of c in the unit's registers.
#include <immintrin.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cpu.h"

#define TILE 16    // rows, and columns of 32 bits, of one tile
#define TILE_K 32  // bfloat16 in a row of a tile: its elements of K
#define PARTS 3    // bfloat16 of a float32
#define TILE_VALUES (TILE * TILE_K)
// A block of op(a) and one of op(b) stay in the L2 cache, 32 rows and 32 columns of them in the L1.
#define BLOCK_M 512
#define BLOCK_N 256
#define BLOCK_K 128

// Packed blocks: [row of op(a) or column of op(b) / 16][k / 32][part][tile].
struct workspace {
    _Alignas(64) uint16_t a[BLOCK_M * BLOCK_K * PARTS];
    _Alignas(64) uint16_t b[BLOCK_N * BLOCK_K * PARTS];
    _Alignas(64) float edge[2 * TILE * 2 * TILE];
};

size_t amx_workspace(void) {
    return sizeof(struct workspace);
}

bool amx_available(void) {
#if defined(__linux__) && defined(SYS_arch_prctl)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx512bf16") || !__builtin_cpu_supports("avx512bw")) return false;
    unsigned eax, ebx, ecx, edx;
    __asm__ volatile("cpuid" : "=a"(eax), "=b"(ebx), "=c"(ecx), "=d"(edx) : "a"(7), "c"(0));
    if ((edx >> 24 & 1) == 0 || (edx >> 22 & 1) == 0) return false;  // AMX-TILE, AMX-BF16
    // The system saves the registers only of processes that asked for it: ARCH_REQ_XCOMP_PERM,
    // XFEATURE_XTILEDATA.
    return syscall(SYS_arch_prctl, 0x1023, 18) == 0;
#else
    return false;
#endif
}

// ----------------------------------------------------------------------------------------- packing

static inline void transpose(__m512 v[16]) {
    __m512 t[16];
    for (int i = 0; i < 16; i += 4) {
        __m512 a = _mm512_unpacklo_ps(v[i], v[i + 1]), b = _mm512_unpackhi_ps(v[i], v[i + 1]);
        __m512 c = _mm512_unpacklo_ps(v[i + 2], v[i + 3]),
               d = _mm512_unpackhi_ps(v[i + 2], v[i + 3]);
        t[i] = _mm512_shuffle_ps(a, c, 0x44), t[i + 1] = _mm512_shuffle_ps(a, c, 0xee);
        t[i + 2] = _mm512_shuffle_ps(b, d, 0x44), t[i + 3] = _mm512_shuffle_ps(b, d, 0xee);
    }
    for (int i = 0; i < 4; i++) {
        __m512 a = _mm512_shuffle_f32x4(t[i], t[i + 4], 0x88),
               b = _mm512_shuffle_f32x4(t[i], t[i + 4], 0xdd);
        __m512 c = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0x88),
               d = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0xdd);
        v[i] = _mm512_shuffle_f32x4(a, c, 0x88), v[i + 8] = _mm512_shuffle_f32x4(a, c, 0xdd);
        v[i + 4] = _mm512_shuffle_f32x4(b, d, 0x88), v[i + 12] = _mm512_shuffle_f32x4(b, d, 0xdd);
    }
}

static inline __mmask16 mask_of(int64_t count) {
    return count >= 16 ? 0xffff : (__mmask16)((1u << count) - 1);
}

// The 16 x 16 block that begins at `from`, `rows` x `cols` of it there, the rest 0; or its
// transpose.
static inline __attribute__((always_inline)) void load_block(const float *from, int64_t stride,
                                                             int64_t rows, int64_t cols,
                                                             bool transposed, __m512 v[16]) {
    if (rows >= 16 && cols >= 16) {
        for (int i = 0; i < 16; i++) v[i] = _mm512_loadu_ps(from + i * stride);
    } else {
        __mmask16 mask = mask_of(cols);
        for (int i = 0; i < 16; i++)
            v[i] = i < rows ? _mm512_maskz_loadu_ps(mask, from + i * stride) : _mm512_setzero_ps();
    }
    if (transposed) transpose(v);
}

// The leading bfloat16 of each value, in its upper half; *v becomes the rest.
static inline __m512i take_bf16(__m512 *v) {
    __m512i top = _mm512_and_si512(_mm512_castps_si512(*v), _mm512_set1_epi32((int)0xffff0000u));
    *v = _mm512_sub_ps(*v, _mm512_castsi512_ps(top));
    return top;
}

// 16 rows (or columns) of 16 values each in `low` and `high`: paired, split into the parts of a
// tile.
static inline __attribute__((always_inline)) void store_tile(__m512 low[16], __m512 high[16],
                                                             uint16_t *to) {
    for (int i = 0; i < 16; i++) {
        for (int part = 0; part < PARTS - 1; part++) {
            __m512i first = take_bf16(&low[i]), second = take_bf16(&high[i]);
            _mm512_store_si512(to + part * TILE_VALUES + i * TILE_K,
                               _mm512_or_si512(second, _mm512_srli_epi32(first, 16)));
        }
        __m512i first = _mm512_castps_si512(low[i]),
                second = _mm512_castps_si512(high[i]);  // eight bits at most are left
        _mm512_store_si512(to + (PARTS - 1) * TILE_VALUES + i * TILE_K,
                           _mm512_or_si512(second, _mm512_srli_epi32(first, 16)));
    }
}

// Packs x [mn,k]: op(a), or op(b) transposed. `k_major`: memory is contiguous along k. `is_a`: a
// tile has its rows along mn and its pairs as columns; else the other way round.
static inline __attribute__((always_inline)) void pack(const float *x, int64_t stride, int64_t mn,
                                                       int64_t k, bool k_major, bool is_a,
                                                       uint16_t *to) {
    int64_t steps = ceil_div(k, TILE_K), tiles = ceil_div(mn, TILE) * steps;
    for (int64_t i = 0; i < tiles; i++) {
        // In the order of memory: mn runs fastest where memory is contiguous along mn.
        int64_t mn_tile = k_major ? i / steps : i % (tiles / steps),
                step = k_major ? i % steps : i / (tiles / steps);
        int64_t mn_left = mn - mn_tile * TILE, k_low = k - step * TILE_K, k_high = k_low - TILE;
        const float *from = x + (k_major ? mn_tile * TILE * stride + step * TILE_K
                                         : step * TILE_K * stride + mn_tile * TILE);
        __m512 low[16], high[16];
        load_block(from, stride, k_major ? mn_left : k_low, k_major ? k_low : mn_left,
                   k_major != is_a, low);
        from += k_major ? TILE : TILE * stride;
        if (k_high > 0)
            load_block(from, stride, k_major ? mn_left : k_high, k_major ? k_high : mn_left,
                       k_major != is_a, high);
        else
            for (int r = 0; r < 16; r++) high[r] = _mm512_setzero_ps();
        store_tile(low, high, to + (mn_tile * steps + step) * PARTS * TILE_VALUES);
    }
}

static void pack_a(struct blas_matrix a, int64_t rows, int64_t k, uint16_t *to) {
    if (a.transposed)
        pack(a.data, a.stride, rows, k, false, true, to);
    else
        pack(a.data, a.stride, rows, k, true, true, to);
}
static void pack_b(struct blas_matrix b, int64_t k, int64_t cols, uint16_t *to) {
    if (b.transposed)
        pack(b.data, b.stride, cols, k, true, false, to);
    else
        pack(b.data, b.stride, cols, k, false, false, to);
}

// ----------------------------------------------------------------------------------------- kernels

struct tile_config {
    uint8_t palette, start, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

// One part of `a` (tiles 4, 5 hold it) times one part of b (6, 7): c is tiles 0 .. 3.
#define LOAD_A(part)                            \
    _tile_loadd(4, a + (part)*TILE_VALUES, 64); \
    _tile_loadd(5, a + row_step + (part)*TILE_VALUES, 64)
#define LOAD_B(part)                            \
    _tile_loadd(6, b + (part)*TILE_VALUES, 64); \
    _tile_loadd(7, b + row_step + (part)*TILE_VALUES, 64)
#define MULTIPLY(pair)                                     \
    _tile_dpbf16ps(0, 4, 6);                               \
    prefetch_lines(next + (pair)*8 * TILE_K);              \
    _tile_dpbf16ps(1, 4, 7);                               \
    prefetch_lines(next + (pair)*8 * TILE_K + 4 * TILE_K); \
    _tile_dpbf16ps(2, 5, 6);                               \
    prefetch_lines(next + row_step + (pair)*8 * TILE_K);   \
    _tile_dpbf16ps(3, 5, 7);                               \
    prefetch_lines(next + row_step + (pair)*8 * TILE_K + 4 * TILE_K)

static inline void prefetch_lines(const uint16_t *p) {
    for (int i = 0; i < 4; i++) _mm_prefetch((const char *)(p + i * TILE_K), _MM_HINT_T0);
}

// The microkernel: 32 x 32 of c, `steps` tiles along K. row_step: values between neighbouring rows
// of tiles of a, columns of tiles of b.
static void kernel_32(const uint16_t *a, const uint16_t *b, int64_t steps, int64_t row_step,
                      bool add, float *c, int64_t stride) {
    size_t bytes = (size_t)stride * sizeof *c;
    const uint16_t *below = a + 2 * row_step;
    if (add) {
        _tile_loadd(0, c, bytes);
        _tile_loadd(1, c + TILE, bytes);
        _tile_loadd(2, c + TILE * stride, bytes);
        _tile_loadd(3, c + TILE * stride + TILE, bytes);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int64_t i = 0; i < steps; i++, a += PARTS * TILE_VALUES, b += PARTS * TILE_VALUES) {
        // b is in the L1 cache; the next tiles of a, then of the 32 rows below, are prefetched
        // while the unit works.
        const uint16_t *next = i + 1 < steps ? a + PARTS * TILE_VALUES : below;
        // From the smallest product to the largest, with one operand changed at a time.
        LOAD_A(2);
        LOAD_B(0);
        MULTIPLY(0);
        LOAD_A(1);
        MULTIPLY(1);
        LOAD_B(1);
        MULTIPLY(2);
        LOAD_A(0);
        MULTIPLY(3);
        LOAD_B(2);
        MULTIPLY(4);
        LOAD_B(0);
        MULTIPLY(5);
    }
    _tile_stored(0, c, bytes);
    _tile_stored(1, c + TILE, bytes);
    _tile_stored(2, c + TILE * stride, bytes);
    _tile_stored(3, c + TILE * stride + TILE, bytes);
}

// The same at the edge of c, where fewer than 32 rows or columns are left.
static void kernel_edge(const uint16_t *a, const uint16_t *b, int64_t steps, int64_t row_step,
                        bool add, float *c, int64_t stride, int64_t rows, int64_t cols,
                        float *edge) {
    const int64_t width = 2 * TILE;
    for (int64_t i = 0; add && i < rows; i++)
        memcpy(edge + i * width, c + i * stride, (size_t)cols * sizeof *c);
    kernel_32(a, b, steps, row_step, add, edge, width);
    for (int64_t i = 0; i < rows; i++)
        memcpy(c + i * stride, edge + i * width, (size_t)cols * sizeof *c);
}

// All of a block of op(a) by a block of op(b).
static void macrokernel(struct workspace *w, int64_t rows, int64_t cols, int64_t k, bool add,
                        float *c, int64_t stride) {
    int64_t steps = ceil_div(k, TILE_K), row_step = steps * PARTS * TILE_VALUES;
    for (int64_t j = 0; j < cols; j += 2 * TILE)
        for (int64_t i = 0; i < rows; i += 2 * TILE) {
            const uint16_t *a = w->a + i / TILE * row_step, *b = w->b + j / TILE * row_step;
            float *to = c + i * stride + j;
            if (rows - i >= 2 * TILE && cols - j >= 2 * TILE)
                kernel_32(a, b, steps, row_step, add, to, stride);
            else
                kernel_edge(a, b, steps, row_step, add, to, stride, min_i64(2 * TILE, rows - i),
                            min_i64(2 * TILE, cols - j), w->edge);
        }
}

// op(x) from row `row` and column `col` on.
static struct blas_matrix slice(struct blas_matrix x, int64_t row, int64_t col) {
    x.data += x.transposed ? col * x.stride + row : row * x.stride + col;
    return x;
}

void amx_multiply(void *workspace, int64_t m, int64_t n, int64_t k, struct blas_matrix a,
                  struct blas_matrix b, float beta, float *c, int64_t c_stride) {
    struct workspace *w = workspace;
    struct tile_config config = {.palette = 1};
    for (int i = 0; i < 8; i++) config.row_bytes[i] = 64, config.rows[i] = TILE;
    _tile_loadconfig(&config);
    // Equal steps: every block along K reads and writes c once, so a short last one would cost as
    // much.
    int64_t step = ceil_div(ceil_div(k, ceil_div(k, BLOCK_K)), TILE_K) * TILE_K;
    for (int64_t row = 0; row < m; row += BLOCK_M)
        for (int64_t k0 = 0; k0 < k; k0 += step) {
            int64_t rows = min_i64(BLOCK_M, m - row), k_size = min_i64(step, k - k0);
            pack_a(slice(a, row, k0), rows, k_size, w->a);
            for (int64_t col = 0; col < n; col += BLOCK_N) {
                int64_t cols = min_i64(BLOCK_N, n - col);
                pack_b(slice(b, k0, col), k_size, cols, w->b);
                macrokernel(w, rows, cols, k_size, k0 > 0 || beta != 0.0f, c + row * c_stride + col,
                            c_stride);
            }
        }
    _tile_release();
}
