// The CPU backend: what its files share.
//
// A program becomes an array of jobs, one for each op, in order. A job holds resolved pointers, its
// grid of tasks and its sizes of scratch; to run it is one or more parallel loops over tasks.
// The order of every sum follows from shapes alone, never from the number of threads: any thread
// count gives the same bits. So do task grids, but where several have the same order of sums.
//
// The files of kernels (the ops) are compiled once for each instruction set and each dtype of
// activations, with one table of ops each; the best instruction set for the processor is chosen
// when a device is opened.
#ifndef DAPT_CPU_H
#define DAPT_CPU_H
#include <stdatomic.h>

#include "common/fail.h"
#include "common/integers.h"
#include "dapt/backend.h"

// ----------------------------------------------------------------------------------------- threads

// A thread pool that shares the tasks of one loop at a time. The caller takes part and never waits
// for a thread that has not taken a task: on a busy machine it does the work itself.
struct pool;
typedef void (*pool_work)(void *context, int64_t task, unsigned thread);

enum dapt_status pool_create(const struct dapt_host *host, unsigned threads, struct pool **pool);
void pool_destroy(struct pool **pool);
// Calls work(context, task, thread) for tasks 0 .. tasks-1, in no order, thread < the size of the
// pool; returns when all are done. One caller at a time.
void pool_run(struct pool *pool, int64_t tasks, pool_work work, void *context);
// Makes this thread treat denormal numbers as 0 (the threads of the pool always do); with the mode
// that it returned, restores the state before.
#define POOL_FLUSH UINT32_MAX
unsigned pool_flush_denormals(unsigned mode);
unsigned pool_processors(void);  // that this process may use, at least 1

// -------------------------------------------------------------------------------------------- jobs

// An operand in memory: rows x inner x cols; neighbours in rows lie `stride` elements apart, the
// rest is dense. Rank 1: rows x 1 x 1; rank 2: rows x 1 x cols. data NULL: not there.
struct view {
    union {
        float *f;
        int32_t *i;
        void *p;
    } data;
    int64_t rows, inner, cols, stride;
    enum dapt_dtype dtype;
};
static inline void *view_at(const struct view *v, int64_t row, int64_t col) {
    return (uint8_t *)v->data.f + (size_t)(row * v->stride + col) * dtype_size(v->dtype);
}

struct job;
struct dapt_device;

// How an op runs here. prepare() fills the job's grid and scratch sizes, run() executes it.
struct op_row {
    void (*prepare)(struct job *job);
    void (*run)(struct job *job);
};

struct job {
    const struct op_row *row;
    struct dapt_device *device;
    struct dapt_op op;
    struct view in[DAPT_OP_INPUTS], out[DAPT_OP_OUTPUTS];
    // The grid; its meaning is the op's own: mostly blocks of rows (step[0] each) times blocks of
    // columns (step[1]).
    int64_t step[3], count[3], tasks;
    bool flag;
    // Bytes of scratch for the whole job, and for each thread. Contents are undefined at the start.
    size_t shared, private;
    // For one run() at a time: what its loops hand to their tasks.
    int64_t at, length;
    const void *extra;
};

void job_loop(struct job *job, int64_t tasks,
              void (*work)(struct job *job, int64_t task, unsigned thread));
void *job_shared(const struct job *job);                    // 64-byte aligned
void *job_private(const struct job *job, unsigned thread);  // 64-byte aligned

// One table for each instruction set and dtype of activations; rows by opcode. Ops without
// activations are in those of float32 alone.
typedef const struct op_row *const op_table[DAPT_OP_COUNT];
extern op_table cpu_ops_base, cpu_ops_base_f16, cpu_ops_base_bf16;
extern op_table cpu_ops_avx2, cpu_ops_avx2_f16, cpu_ops_avx2_bf16;
extern op_table cpu_ops_avx512, cpu_ops_avx512_f16, cpu_ops_avx512_bf16;

// -------------------------------------------------------------------------------------- the device

// What multiplies bfloat16 and adds in float32.
enum unit { UNIT_NONE, UNIT_AVX512_BF16, UNIT_AMX };

struct dapt_buffer {
    uint8_t *data;
    uint64_t size, mapped;  // bytes asked for; bytes mapped
};

struct dapt_device {
    const struct dapt_host *host;
    struct pool *pool;
    unsigned threads;
    const op_table *const *ops;  // by dtype of activations
    uint64_t memory, used;       // bytes of the machine; of the buffers made so far
    // Scratch: shared bytes, then private bytes for each thread. One job runs at a time, so all
    // share it.
    uint8_t *scratch;
    size_t shared, private;
    enum unit unit;
    uint8_t *unit_workspace;  // for each thread; NULL: no unit
    uint64_t loops;           // run so far
};

// Zeroed pages; NULL when there are none.
void *cpu_map(uint64_t size, uint64_t *mapped);
void cpu_unmap(void *data, uint64_t mapped);
enum dapt_status cpu_scratch(struct dapt_device *device, size_t shared, size_t private);

// GEMM: c [M,N] = op(a) [M,K] op(b) [K,N] + beta * c, row-major, on the calling thread alone. beta
// is 0 (c is not read) or 1.
struct blas_matrix {
    const void *data;
    int64_t stride;
    bool transposed;
    enum dapt_dtype dtype;  // any float type for a unit; float32 for the BLAS
};
void blas_multiply(int64_t m, int64_t n, int64_t k, struct blas_matrix a, struct blas_matrix b,
                   float beta, float *c, int64_t c_stride);
// The same on a unit of x86 that multiplies bfloat16, with a and b rounded to `operands`, where
// unit_takes() these dtypes. `workspace`: unit_workspace() bytes, 64-byte aligned, one for each
// thread, opened once. `loop`: a number above 0, the same one only while no a changes: what was
// packed of it is used again.
enum unit unit_available(void);
size_t unit_workspace(void);
void unit_workspace_open(void *workspace);
bool unit_takes(enum unit unit, enum dapt_dtype operands, enum dapt_dtype a, enum dapt_dtype b);
void unit_multiply(enum unit unit, void *workspace, uint64_t loop, enum dapt_dtype operands,
                   int64_t m, int64_t n, int64_t k, struct blas_matrix a, struct blas_matrix b,
                   float beta, float *c, int64_t c_stride);
// Whether job_multiply() takes a and b of these dtypes and rounds them to `operands`; float32
// always.
bool job_takes(const struct job *job, enum dapt_dtype operands, enum dapt_dtype a,
               enum dapt_dtype b);
// The better of the two on this device, chosen by dtypes and shape. What a loop's tasks multiply
// with as a, none of them changes after that.
void job_multiply(const struct job *job, unsigned thread, enum dapt_dtype operands, int64_t m,
                  int64_t n, int64_t k, struct blas_matrix a, struct blas_matrix b, float beta,
                  float *c, int64_t c_stride);
void blas_single_thread(void);  // before the first use

// The row of an op by the dtype of its activations; NULL: these kernels do not take its dtypes.
const struct op_row *cpu_op_row(const struct dapt_device *device,
                                const struct dapt_program *program, const struct dapt_op *op);
enum dapt_status cpu_program_compile(struct dapt_device *device, const struct dapt_program *program,
                                     struct dapt_buffer *const *buffers,
                                     struct dapt_executable **executable);
void cpu_program_destroy(struct dapt_device *device, struct dapt_executable *executable);
enum dapt_status cpu_program_run(struct dapt_device *device, struct dapt_executable *executable);
enum dapt_status cpu_timings(struct dapt_device *device, struct dapt_executable *executable,
                             uint64_t *nanoseconds);

#endif
