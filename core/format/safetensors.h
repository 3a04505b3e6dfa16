// safetensors: 8 bytes of header length (little-endian), a JSON header, raw little-endian data. One
// file, or shards named by model.safetensors.index.json. Files are not trusted: every range is
// checked (inside, not overlapping, size = shape x dtype).
#ifndef DAPT_FORMAT_SAFETENSORS_H
#define DAPT_FORMAT_SAFETENSORS_H
#include "base/files.h"

enum dapt_file_dtype {
    DAPT_FILE_F64,
    DAPT_FILE_F32,
    DAPT_FILE_F16,
    DAPT_FILE_BF16,
    DAPT_FILE_I64,
    DAPT_FILE_I32,
    DAPT_FILE_I16,
    DAPT_FILE_I8,
    DAPT_FILE_U8,
    DAPT_FILE_BOOL,
    DAPT_FILE_U64,
    DAPT_FILE_U32,
    DAPT_FILE_U16,
    DAPT_FILE_DTYPE_COUNT
};
const char *dapt_file_dtype_name(enum dapt_file_dtype dtype);  // "F32"
size_t dapt_file_dtype_size(enum dapt_file_dtype dtype);       // bytes

#define DAPT_FILE_MAX_RANK 8
struct dapt_file_tensor {
    const char *name;
    enum dapt_file_dtype dtype;
    uint32_t rank;  // 0: a scalar
    uint64_t shape[DAPT_FILE_MAX_RANK];
    uint64_t count;    // elements
    const void *data;  // in the map; not aligned
    const char *file;  // for messages
    bool unlisted;     // in a file that an index names, but not named by the index itself
};

struct dapt_safetensors;  // one or several mapped files
// `path`: a .safetensors file, an index.json, or a folder that holds model.safetensors or
// model.safetensors.index.json.
enum dapt_status dapt_safetensors_open(const char *path, struct dapt_safetensors **file);
void dapt_safetensors_close(struct dapt_safetensors **file);
size_t dapt_safetensors_count(const struct dapt_safetensors *file);
// In file order.
const struct dapt_file_tensor *dapt_safetensors_at(const struct dapt_safetensors *file,
                                                   size_t index);
// NULL: none.
const struct dapt_file_tensor *dapt_safetensors_find(const struct dapt_safetensors *file,
                                                     const char *name);
const char *dapt_safetensors_metadata(const struct dapt_safetensors *file, const char *key);

// Elements [begin, begin + count) as float (F32, F16, BF16, F64) or int64 (I64, I32); other types
// are refused by name.
enum dapt_status dapt_file_tensor_floats(const struct dapt_file_tensor *tensor, uint64_t begin,
                                         uint64_t count, float *out);
enum dapt_status dapt_file_tensor_ints(const struct dapt_file_tensor *tensor, uint64_t begin,
                                       uint64_t count, int64_t *out);

// Writing. Tensors are described first, then their data is produced one after another in bounded
// memory: `produce` fills `bytes` with [begin, begin + size) of tensor `index` in the file's dtype
// (rounded to nearest even). `shard_size` > 0: split as transformers does (greedy in order,
// model-00001-of-0000N.safetensors + index with total_size); and wherever an entry says so. Files
// are written atomically.
struct dapt_file_entry {
    const char *name;
    enum dapt_file_dtype dtype;
    uint32_t rank;
    uint64_t shape[DAPT_FILE_MAX_RANK];
    bool new_file;  // it begins the next shard
};
typedef enum dapt_status (*dapt_file_produce)(void *context, size_t index, uint64_t begin,
                                              uint64_t size, void *bytes);
enum dapt_status dapt_safetensors_write(const char *folder, const char *stem,
                                        const struct dapt_file_entry *entries, size_t count,
                                        const char *const *metadata /* key, value, ..., NULL */,
                                        uint64_t shard_size, dapt_file_produce produce,
                                        void *context);
// Whether all are finite: DAPT_ERROR_INVALID names the tensor and the first element that is not, counted
// from `first`.
enum dapt_status dapt_check_finite(const char *tensor, uint64_t first, const float *values,
                                   uint64_t count);
// Whether float16 has room for all; `advice`: what to do where it has not.
enum dapt_status dapt_check_half(const char *tensor, uint64_t first, const float *values,
                                 uint64_t count, const char *advice);
// Rounds floats, in place, to what a file dtype (F32, F16, BF16) holds of them. What float16 has no room
// for becomes infinite.
enum dapt_status dapt_floats_round(float *values, uint64_t count, enum dapt_file_dtype dtype);
// Numbers as files hold them to floats (F32, F16, BF16, F64); DAPT_END, nothing recorded: another dtype.
enum dapt_status dapt_floats_from_file(const void *in, uint64_t count, enum dapt_file_dtype dtype,
                                       float *out);
// IEEE 754 binary16, rounded to nearest even.
float dapt_float_of_half(uint16_t half);
uint16_t dapt_half_of_float(float value);
// Rounds floats to a file dtype (F32, F16, BF16).
enum dapt_status dapt_floats_to_file(const float *in, uint64_t count, enum dapt_file_dtype dtype,
                                     void *out);
#endif
