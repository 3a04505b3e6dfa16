// GGUF, the files of llama.cpp: metadata (key, type, value), a list of tensors, their data.
// Versions 2 and 3, little-endian, one file. Files are not trusted: every length and range is
// checked when one is opened.
#ifndef DAPT_FORMAT_GGUF_H
#define DAPT_FORMAT_GGUF_H
#include "base/files.h"
#include "format/quantize.h"

enum dapt_gguf_kind {  // as in files
    DAPT_GGUF_U8,
    DAPT_GGUF_I8,
    DAPT_GGUF_U16,
    DAPT_GGUF_I16,
    DAPT_GGUF_U32,
    DAPT_GGUF_I32,
    DAPT_GGUF_F32,
    DAPT_GGUF_BOOL,
    DAPT_GGUF_STRING,
    DAPT_GGUF_ARRAY,
    DAPT_GGUF_U64,
    DAPT_GGUF_I64,
    DAPT_GGUF_F64,
    DAPT_GGUF_KINDS
};

// Strings are UTF-8, NUL-terminated, and live with the file.
struct dapt_gguf_value {
    const char *key;           // "llama.block_count"
    enum dapt_gguf_kind kind;  // of the elements of an array
    bool array;                // none is inside of another
    uint64_t count;            // 1 where it is no array
    const uint8_t *data;       // of numbers; not aligned
    const char *const *texts;  // [count] of strings; else NULL
};

#define DAPT_GGUF_MAX_RANK 4
struct dapt_gguf_tensor {
    const char *name;  // "blk.0.attn_q.weight"
    const struct dapt_block_type *type;
    uint32_t rank;
    uint64_t
        shape[DAPT_GGUF_MAX_RANK];  // outermost first, as in safetensors; files have it reversed
    uint64_t count;                 // elements
    const uint8_t *data;            // in the map
};

struct dapt_gguf;
enum dapt_status dapt_gguf_open(const char *path, struct dapt_gguf **file);
void dapt_gguf_close(struct dapt_gguf **file);  // NULL inside is fine
const char *dapt_gguf_path(const struct dapt_gguf *file);

size_t dapt_gguf_value_count(const struct dapt_gguf *file);
const struct dapt_gguf_value *dapt_gguf_value_at(const struct dapt_gguf *file, size_t index);
const struct dapt_gguf_value *dapt_gguf_value(const struct dapt_gguf *file,
                                              const char *key);  // NULL: none
size_t dapt_gguf_tensor_count(const struct dapt_gguf *file);
const struct dapt_gguf_tensor *dapt_gguf_tensor_at(const struct dapt_gguf *file, size_t index);
const struct dapt_gguf_tensor *dapt_gguf_tensor(const struct dapt_gguf *file,
                                                const char *name);  // NULL: none

// A value that is no array; one that is absent leaves the result as it was. An error names file and
// key.
enum dapt_status dapt_gguf_get_integer(const struct dapt_gguf *file, const char *key,
                                       int64_t minimum, int64_t maximum, int64_t *result);
enum dapt_status dapt_gguf_get_real(const struct dapt_gguf *file, const char *key, double minimum,
                                    double maximum, double *result);
enum dapt_status dapt_gguf_get_bool(const struct dapt_gguf *file, const char *key, bool *result);
enum dapt_status dapt_gguf_get_string(const struct dapt_gguf *file, const char *key,
                                      const char **result);
// Element `index` of a value of numbers (a bool: 0 or 1); integers beyond 2^53 are rounded.
double dapt_gguf_number(const struct dapt_gguf_value *value, uint64_t index);

// Writing. Metadata is collected first; of it only the first failure is kept, which dapt_gguf_write
// returns. A zeroed struct is empty.
struct dapt_gguf_metadata {
    struct dapt_string bytes;
    uint64_t count;
    enum dapt_status status;
};
void dapt_gguf_put_u32(struct dapt_gguf_metadata *m, const char *key, uint32_t value);
void dapt_gguf_put_f32(struct dapt_gguf_metadata *m, const char *key, float value);
void dapt_gguf_put_bool(struct dapt_gguf_metadata *m, const char *key, bool value);
void dapt_gguf_put_string(struct dapt_gguf_metadata *m, const char *key, const char *text);
void dapt_gguf_put_strings(struct dapt_gguf_metadata *m, const char *key, const char *const *texts,
                           uint64_t count);
// `kind`: of numbers of four bytes.
void dapt_gguf_put_numbers(struct dapt_gguf_metadata *m, const char *key, enum dapt_gguf_kind kind,
                           const void *numbers, uint64_t count);
void dapt_gguf_metadata_free(struct dapt_gguf_metadata *m);

struct dapt_gguf_entry {
    const char *name;
    const struct dapt_block_type *type;  // one with `encode`; its length divides the last dimension
    uint32_t rank;
    uint64_t shape[DAPT_GGUF_MAX_RANK];  // outermost first
};
// Fills values with elements [begin, begin + count) of tensor `index`.
typedef enum dapt_status (*dapt_gguf_produce)(void *context, size_t index, uint64_t begin,
                                              uint64_t count, float *values);
// Writes the whole file atomically, in bounded memory.
enum dapt_status dapt_gguf_write(const char *path, const struct dapt_gguf_metadata *metadata,
                                 const struct dapt_gguf_entry *entries, size_t count,
                                 dapt_gguf_produce produce, void *context);
#endif
