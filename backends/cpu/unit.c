// GEMM on x86's units that multiply bfloat16 and add in float32: c [M,N] = op(a) [M,K] op(b) [K,N]
// + beta c, c in float32. The units are AMX, whose registers hold tiles, or the vector instructions
// of AVX512-BF16.
//
// What is multiplied is bfloat16 (rounded to it as it is packed), or it is cut into parts that are:
// float32 is exactly the sum of three bfloat16, its leading eight bits, the next eight and the last
// eight. Of the nine products of two such sums the six largest are taken; the others are below
// 2^-22 of the whole, as the roundings of a float32 product are. float16 is the sum of two, and all
// four products are taken. Infinity comes out as NaN where there are parts.
//
// Blocks of a and b are packed: a tile of a is 16 rows x 16 pairs of elements along K, a tile of b
// 16 pairs x 16 columns. The unit may sum pairs in any order; both tiles pair alike: element k with
// k + 16 where there are parts, else k with k + 1, as they lie in memory. The microkernel keeps
// 32 x 32 of c in AMX's registers, or 16 x 16 in vectors.
#include <immintrin.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cpu.h"

#define TILE 16    // rows, and columns of 32 bits, of one tile
#define TILE_K 32  // bfloat16 in a row of a tile: its elements of K
#define TILE_VALUES (TILE * TILE_K)
// A block of op(b) and 32 rows of one of op(a) stay in the L2 cache. They are long along K: c is
// read and written once for each block, and seldom lies in a cache.
#define BLOCK_M 512
#define BLOCK_N 256
#define BLOCK_K 576
#define MAX_PARTS 3

// What block of op(a) a workspace holds, packed: `loop` of the call that it was packed for.
struct packed {
    struct blas_matrix x;
    int64_t rows, k;
    int parts;
    uint64_t loop;
};

// Packed blocks: [row of op(a) or column of op(b) / 16][k / 32][part][tile].
struct workspace {
    struct packed packed;
    _Alignas(64) uint16_t a[BLOCK_M * BLOCK_K * MAX_PARTS];
    _Alignas(64) uint16_t b[BLOCK_N * BLOCK_K * MAX_PARTS];
    _Alignas(64) float edge[2 * TILE * 2 * TILE];
};

size_t unit_workspace(void) {
    return sizeof(struct workspace);
}

void unit_workspace_open(void *workspace) {
    ((struct workspace *)workspace)->packed = (struct packed){.loop = 0};
}

static bool amx_available(void) {
#if defined(__linux__) && defined(SYS_arch_prctl)
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

enum unit unit_available(void) {
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx512bf16") || !__builtin_cpu_supports("avx512bw"))
        return UNIT_NONE;
    return amx_available() ? UNIT_AMX : UNIT_AVX512_BF16;
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

static inline __m512 load_half(const uint16_t *from, __mmask16 mask, enum dapt_dtype dtype) {
    __m256i half = _mm256_maskz_loadu_epi16(mask, from);
    return dtype == DAPT_F16
               ? _mm512_cvtph_ps(half)
               : _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

// The 16 x 16 block that begins at element `at` of `data`, `rows` x `cols` of it there, the rest 0;
// or its transpose.
static inline __attribute__((always_inline)) void load_block(const void *data, int64_t at,
                                                             enum dapt_dtype dtype, int64_t stride,
                                                             int64_t rows, int64_t cols,
                                                             bool transposed, __m512 v[16]) {
    const float *from = (const float *)data + at;
    if (dtype != DAPT_F32) {
        const uint16_t *half = (const uint16_t *)data + at;
        for (int i = 0; i < 16; i++)
            v[i] = i < rows ? load_half(half + i * stride, mask_of(cols), dtype)
                            : _mm512_setzero_ps();
    } else if (rows >= 16 && cols >= 16) {
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

static inline __m512 round_f16(__m512 v) {
    return _mm512_cvtph_ps(_mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

// 16 rows (or columns) of 16 values each in `low` and `high`: paired, split into the parts of a
// tile.
static inline __attribute__((always_inline)) void store_parts(const int parts, __m512 low[16],
                                                              __m512 high[16], uint16_t *to) {
    for (int i = 0; i < 16; i++) {
        if (parts == 2) low[i] = round_f16(low[i]), high[i] = round_f16(high[i]);
        for (int part = 0; part < parts - 1; part++) {
            __m512i first = take_bf16(&low[i]), second = take_bf16(&high[i]);
            _mm512_store_si512(to + part * TILE_VALUES + i * TILE_K,
                               _mm512_or_si512(second, _mm512_srli_epi32(first, 16)));
        }
        __m512i first = _mm512_castps_si512(low[i]),
                second = _mm512_castps_si512(high[i]);  // eight bits at most are left
        _mm512_store_si512(to + (parts - 1) * TILE_VALUES + i * TILE_K,
                           _mm512_or_si512(second, _mm512_srli_epi32(first, 16)));
    }
}

// 32 elements along k, rounded: 16 pairs.
static inline __m512i load_pairs(const void *data, int64_t at, enum dapt_dtype dtype,
                                 int64_t count) {
    uint32_t mask = count >= 32 ? UINT32_MAX : (1u << count) - 1;
    if (dtype == DAPT_BF16) return _mm512_maskz_loadu_epi16(mask, (const uint16_t *)data + at);
    const float *from = (const float *)data + at;
    __m512 low = _mm512_maskz_loadu_ps((__mmask16)mask, from),
           high = _mm512_maskz_loadu_ps((__mmask16)(mask >> 16), from + 16);
    return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}

// The first `count` (at most 16) elements of two neighbours along k, rounded: 16 pairs. second: is
// there.
static inline __m512i zip_pairs(const void *data, int64_t at, enum dapt_dtype dtype, int64_t stride,
                                int64_t count, bool second) {
    static const uint16_t order[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                       21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                       11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    __mmask16 first = mask_of(count), other = second ? first : 0;
    __m512i both;
    if (dtype == DAPT_BF16) {
        const uint16_t *from = (const uint16_t *)data + at;
        both = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_maskz_loadu_epi16(first, from)),
                                  _mm256_maskz_loadu_epi16(other, from + (second ? stride : 0)), 1);
    } else {
        const float *from = (const float *)data + at;
        both = (__m512i)_mm512_cvtne2ps_pbh(
            _mm512_maskz_loadu_ps(other, from + (second ? stride : 0)),
            _mm512_maskz_loadu_ps(first, from));
    }
    return _mm512_permutexvar_epi16(_mm512_loadu_si512(order), both);
}

// One tile of bfloat16: `mn` x `k` of it there, the rest 0.
static inline __attribute__((always_inline)) void pack_pairs(const void *data, int64_t at,
                                                             enum dapt_dtype dtype, int64_t stride,
                                                             int64_t mn, int64_t k, bool k_major,
                                                             bool transposed, uint16_t *to) {
    __m512 v[16];
    for (int i = 0; i < 16; i++) {
        if (k_major)
            v[i] = i < mn ? _mm512_castsi512_ps(load_pairs(data, at + i * stride, dtype, k))
                          : _mm512_setzero_ps();
        else
            v[i] = 2 * i < k ? _mm512_castsi512_ps(zip_pairs(data, at + 2 * i * stride, dtype,
                                                             stride, mn, 2 * i + 1 < k))
                             : _mm512_setzero_ps();
    }
    if (transposed) transpose(v);
    for (int i = 0; i < 16; i++) _mm512_store_ps((float *)(void *)to + i * TILE, v[i]);
}

// Packs x [mn,k]: op(a), or op(b) transposed. `k_major`: memory is contiguous along k. `is_a`: a
// tile has its rows along mn and its pairs as columns; else the other way round.
static inline __attribute__((always_inline)) void pack(const int parts, struct blas_matrix x,
                                                       int64_t mn, int64_t k, bool k_major,
                                                       bool is_a, enum dapt_dtype dtype,
                                                       uint16_t *to) {
    int64_t steps = ceil_div(k, TILE_K), tiles = ceil_div(mn, TILE) * steps, stride = x.stride;
    for (int64_t i = 0; i < tiles; i++) {
        // In the order of memory: mn runs fastest where memory is contiguous along mn.
        int64_t mn_tile = k_major ? i / steps : i % (tiles / steps),
                step = k_major ? i % steps : i / (tiles / steps);
        int64_t mn_left = mn - mn_tile * TILE, k_low = k - step * TILE_K, k_high = k_low - TILE;
        int64_t at = k_major ? mn_tile * TILE * stride + step * TILE_K
                             : step * TILE_K * stride + mn_tile * TILE;
        uint16_t *tile = to + (mn_tile * steps + step) * parts * TILE_VALUES;
        if (parts == 1) {
            pack_pairs(x.data, at, dtype, stride, mn_left, k_low, k_major, k_major != is_a, tile);
            continue;
        }
        __m512 low[16], high[16];
        load_block(x.data, at, dtype, stride, k_major ? mn_left : k_low, k_major ? k_low : mn_left,
                   k_major != is_a, low);
        at += k_major ? TILE : TILE * stride;
        if (k_high > 0)
            load_block(x.data, at, dtype, stride, k_major ? mn_left : k_high,
                       k_major ? k_high : mn_left, k_major != is_a, high);
        else
            for (int r = 0; r < 16; r++) high[r] = _mm512_setzero_ps();
        store_parts(parts, low, high, tile);
    }
}

static inline __attribute__((always_inline)) void pack_any(const int parts, struct blas_matrix x,
                                                           int64_t mn, int64_t k, bool k_major,
                                                           bool is_a, uint16_t *to) {
    if (parts > 1)
        pack(parts, x, mn, k, k_major, is_a, x.dtype, to);
    else if (x.dtype == DAPT_BF16)
        pack(parts, x, mn, k, k_major, is_a, DAPT_BF16, to);
    else
        pack(parts, x, mn, k, k_major, is_a, DAPT_F32, to);
}

static inline __attribute__((always_inline)) void pack_a(const int parts, struct blas_matrix a,
                                                         int64_t rows, int64_t k, uint16_t *to) {
    if (a.transposed)
        pack_any(parts, a, rows, k, false, true, to);
    else
        pack_any(parts, a, rows, k, true, true, to);
}
static inline __attribute__((always_inline)) void pack_b(const int parts, struct blas_matrix b,
                                                         int64_t k, int64_t cols, uint16_t *to) {
    if (b.transposed)
        pack_any(parts, b, cols, k, true, false, to);
    else
        pack_any(parts, b, cols, k, false, false, to);
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
// The same of the only part.
#define MULTIPLY_ONE                              \
    _tile_dpbf16ps(0, 4, 6);                      \
    prefetch_lines(next);                         \
    prefetch_lines(next + 4 * TILE_K);            \
    _tile_dpbf16ps(1, 4, 7);                      \
    prefetch_lines(next + 8 * TILE_K);            \
    prefetch_lines(next + 12 * TILE_K);           \
    _tile_dpbf16ps(2, 5, 6);                      \
    prefetch_lines(next + row_step);              \
    prefetch_lines(next + row_step + 4 * TILE_K); \
    _tile_dpbf16ps(3, 5, 7);                      \
    prefetch_lines(next + row_step + 8 * TILE_K); \
    prefetch_lines(next + row_step + 12 * TILE_K)

static inline void prefetch_lines(const uint16_t *p) {
    for (int i = 0; i < 4; i++) _mm_prefetch((const char *)(p + i * TILE_K), _MM_HINT_T0);
}

// The microkernel: 32 x 32 of c, `steps` tiles along K. row_step: values between neighbouring rows
// of tiles of a, columns of tiles of b.
static inline __attribute__((always_inline)) void kernel_32(const int parts, const uint16_t *a,
                                                            const uint16_t *b, int64_t steps,
                                                            int64_t row_step, bool add, float *c,
                                                            int64_t stride) {
    size_t bytes = (size_t)stride * sizeof *c;
    const uint16_t *beside = b + 2 * row_step;
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
    for (int64_t i = 0; i < steps; i++, a += parts * TILE_VALUES, b += parts * TILE_VALUES) {
        // The next tiles of b, then of the 32 columns beside, are prefetched while the unit works.
        const uint16_t *next = i + 1 < steps ? b + parts * TILE_VALUES : beside;
        // From the smallest product to the largest, with one operand changed at a time.
        if (parts == 1) {
            LOAD_A(0);
            LOAD_B(0);
            MULTIPLY_ONE;
            continue;
        }
        if (parts == 2) {
            LOAD_A(1);
            LOAD_B(1);
            MULTIPLY(0);
            LOAD_B(0);
            MULTIPLY(1);
            LOAD_A(0);
            LOAD_B(1);
            MULTIPLY(2);
            LOAD_B(0);
            MULTIPLY(3);
            continue;
        }
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

// The same by vectors, of one part: 16 x 16 of c at a time.
static void kernel_16(const uint16_t *a, const uint16_t *b, int64_t steps, bool add, float *c,
                      int64_t stride) {
    __m512 sum[TILE];
    for (int i = 0; i < TILE; i++)
        sum[i] = add ? _mm512_loadu_ps(c + i * stride) : _mm512_setzero_ps();
    for (int64_t step = 0; step < steps; step++, a += TILE_VALUES, b += TILE_VALUES)
        for (int pair = 0; pair < TILE; pair++) {
            __m512bh columns = (__m512bh)_mm512_load_si512(b + pair * TILE_K);
            for (int i = 0; i < TILE; i++) {
                int32_t row;
                memcpy(&row, a + i * TILE_K + 2 * pair, sizeof row);
                sum[i] = _mm512_dpbf16_ps(sum[i], (__m512bh)_mm512_set1_epi32(row), columns);
            }
        }
    for (int i = 0; i < TILE; i++) _mm512_storeu_ps(c + i * stride, sum[i]);
}
static void vector_32(const uint16_t *a, const uint16_t *b, int64_t steps, int64_t row_step,
                      bool add, float *c, int64_t stride) {
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++)
            kernel_16(a + i * row_step, b + j * row_step, steps, add,
                      c + i * TILE * stride + j * TILE, stride);
}

// 32 x 32 of c on a unit, in so many parts.
typedef void (*kernel)(const uint16_t *a, const uint16_t *b, int64_t steps, int64_t row_step,
                       bool add, float *c, int64_t stride);
static void amx_1(const uint16_t *a, const uint16_t *b, int64_t steps, int64_t row_step, bool add,
                  float *c, int64_t stride) {
    kernel_32(1, a, b, steps, row_step, add, c, stride);
}
static void amx_2(const uint16_t *a, const uint16_t *b, int64_t steps, int64_t row_step, bool add,
                  float *c, int64_t stride) {
    kernel_32(2, a, b, steps, row_step, add, c, stride);
}
static void amx_3(const uint16_t *a, const uint16_t *b, int64_t steps, int64_t row_step, bool add,
                  float *c, int64_t stride) {
    kernel_32(3, a, b, steps, row_step, add, c, stride);
}

// The same at the edge of c, where fewer than 32 rows or columns are left.
static void kernel_edge(kernel run, const uint16_t *a, const uint16_t *b, int64_t steps,
                        int64_t row_step, bool add, float *c, int64_t stride, int64_t rows,
                        int64_t cols, float *edge) {
    const int64_t width = 2 * TILE;
    for (int64_t i = 0; add && i < rows; i++)
        memcpy(edge + i * width, c + i * stride, (size_t)cols * sizeof *c);
    run(a, b, steps, row_step, add, edge, width);
    for (int64_t i = 0; i < rows; i++)
        memcpy(c + i * stride, edge + i * width, (size_t)cols * sizeof *c);
}

// All of a block of op(a) by a block of op(b).
static void macrokernel(kernel run, int parts, struct workspace *w, int64_t rows, int64_t cols,
                        int64_t k, bool add, float *c, int64_t stride) {
    int64_t steps = ceil_div(k, TILE_K), row_step = steps * parts * TILE_VALUES;
    for (int64_t i = 0; i < rows; i += 2 * TILE)
        for (int64_t j = 0; j < cols; j += 2 * TILE) {
            const uint16_t *a = w->a + i / TILE * row_step, *b = w->b + j / TILE * row_step;
            float *to = c + i * stride + j;
            if (rows - i >= 2 * TILE && cols - j >= 2 * TILE)
                run(a, b, steps, row_step, add, to, stride);
            else
                kernel_edge(run, a, b, steps, row_step, add, to, stride,
                            min_i64(2 * TILE, rows - i), min_i64(2 * TILE, cols - j), w->edge);
        }
}

// op(x) from row `row` and column `col` on.
static struct blas_matrix slice(struct blas_matrix x, int64_t row, int64_t col) {
    int64_t at = x.transposed ? col * x.stride + row : row * x.stride + col;
    x.data = (const uint8_t *)x.data + at * dtype_size(x.dtype);
    return x;
}

// Packs a block of op(a), unless it is the one that the workspace holds: neighbouring tiles of a
// product share it.
static inline __attribute__((always_inline)) void pack_new_a(const int parts, struct workspace *w,
                                                             uint64_t loop, struct blas_matrix x,
                                                             int64_t rows, int64_t k) {
    const struct packed *p = &w->packed;
    if (p->loop == loop && p->x.data == x.data && p->x.stride == x.stride &&
        p->x.transposed == x.transposed && p->x.dtype == x.dtype && p->rows == rows && p->k == k &&
        p->parts == parts)
        return;
    pack_a(parts, x, rows, k, w->a);
    w->packed = (struct packed){x, rows, k, parts, loop};
}

static inline __attribute__((always_inline)) void multiply(
    const int parts, kernel run, struct workspace *w, uint64_t loop, int64_t m, int64_t n,
    int64_t k, struct blas_matrix a, struct blas_matrix b, float beta, float *c, int64_t c_stride) {
    // Equal steps: every block along K reads and writes c once, so a short last one would cost as
    // much.
    int64_t step = ceil_div(ceil_div(k, ceil_div(k, BLOCK_K)), TILE_K) * TILE_K;
    for (int64_t row = 0; row < m; row += BLOCK_M)
        for (int64_t k0 = 0; k0 < k; k0 += step) {
            int64_t rows = min_i64(BLOCK_M, m - row), k_size = min_i64(step, k - k0);
            pack_new_a(parts, w, loop, slice(a, row, k0), rows, k_size);
            for (int64_t col = 0; col < n; col += BLOCK_N) {
                int64_t cols = min_i64(BLOCK_N, n - col);
                pack_b(parts, slice(b, k0, col), k_size, cols, w->b);
                macrokernel(run, parts, w, rows, cols, k_size, k0 > 0 || beta != 0.0f,
                            c + row * c_stride + col, c_stride);
            }
        }
}

bool unit_takes(enum unit unit, enum dapt_dtype operands, enum dapt_dtype a, enum dapt_dtype b) {
    if (unit == UNIT_NONE || (unit == UNIT_AVX512_BF16 && operands != DAPT_BF16)) return false;
    return operands == DAPT_F32 ||
           ((a == DAPT_F32 || a == operands) && (b == DAPT_F32 || b == operands));
}

void unit_multiply(enum unit unit, void *workspace, uint64_t loop, enum dapt_dtype operands,
                   int64_t m, int64_t n, int64_t k, struct blas_matrix a, struct blas_matrix b,
                   float beta, float *c, int64_t c_stride) {
    if (unit == UNIT_AVX512_BF16) {
        multiply(1, vector_32, workspace, loop, m, n, k, a, b, beta, c, c_stride);
        return;
    }
    struct tile_config config = {.palette = 1};
    for (int i = 0; i < 8; i++) config.row_bytes[i] = 64, config.rows[i] = TILE;
    _tile_loadconfig(&config);
    switch (operands) {
    case DAPT_BF16: multiply(1, amx_1, workspace, loop, m, n, k, a, b, beta, c, c_stride); break;
    case DAPT_F16: multiply(2, amx_2, workspace, loop, m, n, k, a, b, beta, c, c_stride); break;
    default: multiply(3, amx_3, workspace, loop, m, n, k, a, b, beta, c, c_stride); break;
    }
    _tile_release();
}
