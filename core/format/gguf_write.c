// Writing GGUF, version 3: metadata, the list of tensors, their data, in bounded memory.
#include <stdlib.h>
#include <string.h>

#include "format/gguf.h"

#define ALIGNMENT 32
#define PIECE ((uint64_t)1 << 18)  // elements encoded at a time; a multiple of every block's length

// ---------------------------------------------------------------------------------------- metadata

static void add(struct dapt_gguf_metadata *m, const void *data, size_t size) {
    if (!m->status) m->status = dapt_string_add(&m->bytes, data, size);
}

static void add_string(struct dapt_gguf_metadata *m, const char *text) {
    uint64_t length = strlen(text);
    add(m, &length, sizeof length);
    add(m, text, length);
}

static void begin(struct dapt_gguf_metadata *m, const char *key, enum dapt_gguf_kind kind) {
    uint32_t number = kind;
    add_string(m, key);
    add(m, &number, sizeof number);
    m->count++;
}

static void begin_array(struct dapt_gguf_metadata *m, const char *key, enum dapt_gguf_kind kind,
                        uint64_t count) {
    uint32_t number = kind;
    begin(m, key, DAPT_GGUF_ARRAY);
    add(m, &number, sizeof number);
    add(m, &count, sizeof count);
}

void dapt_gguf_put_u32(struct dapt_gguf_metadata *m, const char *key, uint32_t value) {
    begin(m, key, DAPT_GGUF_U32);
    add(m, &value, sizeof value);
}

void dapt_gguf_put_f32(struct dapt_gguf_metadata *m, const char *key, float value) {
    begin(m, key, DAPT_GGUF_F32);
    add(m, &value, sizeof value);
}

void dapt_gguf_put_bool(struct dapt_gguf_metadata *m, const char *key, bool value) {
    uint8_t byte = value;
    begin(m, key, DAPT_GGUF_BOOL);
    add(m, &byte, sizeof byte);
}

void dapt_gguf_put_string(struct dapt_gguf_metadata *m, const char *key, const char *text) {
    begin(m, key, DAPT_GGUF_STRING);
    add_string(m, text);
}

void dapt_gguf_put_strings(struct dapt_gguf_metadata *m, const char *key, const char *const *texts,
                           uint64_t count) {
    begin_array(m, key, DAPT_GGUF_STRING, count);
    for (uint64_t i = 0; i < count; i++) add_string(m, texts[i]);
}

void dapt_gguf_put_numbers(struct dapt_gguf_metadata *m, const char *key, enum dapt_gguf_kind kind,
                           const void *numbers, uint64_t count) {
    begin_array(m, key, kind, count);
    add(m, numbers, (size_t)count * 4);
}

void dapt_gguf_metadata_free(struct dapt_gguf_metadata *m) {
    dapt_string_free(&m->bytes);
    *m = (struct dapt_gguf_metadata){.count = 0};
}

// ---------------------------------------------------------------------------------------- the file

static uint64_t elements(const struct dapt_gguf_entry *e) {
    uint64_t count = 1;
    for (uint32_t i = 0; i < e->rank; i++) count *= e->shape[i];
    return count;
}

static uint64_t aligned(uint64_t size) {
    return (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

// All that comes before the data, padded.
static enum dapt_status make_head(const struct dapt_gguf_metadata *metadata,
                                  const struct dapt_gguf_entry *entries, size_t count,
                                  struct dapt_gguf_metadata *head) {
    static const uint8_t zeros[ALIGNMENT];
    const uint32_t version = 3;
    uint64_t tensors = count, offset = 0;
    head->status = metadata->status;
    add(head, "GGUF", 4);
    add(head, &version, sizeof version);
    add(head, &tensors, sizeof tensors);
    add(head, &metadata->count, sizeof metadata->count);
    add(head, metadata->bytes.data, metadata->bytes.length);
    for (size_t i = 0; i < count; i++) {
        const struct dapt_gguf_entry *e = &entries[i];
        add_string(head, e->name);
        add(head, &e->rank, sizeof e->rank);
        for (uint32_t d = e->rank; d-- > 0;) add(head, &e->shape[d], sizeof e->shape[d]);
        add(head, &e->type->id, sizeof e->type->id);
        add(head, &offset, sizeof offset);
        offset += aligned(dapt_blocks_size(e->type, elements(e)));
    }
    add(head, zeros, (size_t)(aligned(head->bytes.length) - head->bytes.length));
    return head->status;
}

static enum dapt_status write_tensor(struct dapt_writer *writer, const struct dapt_gguf_entry *e,
                                     size_t index, dapt_gguf_produce produce, void *context,
                                     float *values, uint8_t *bytes) {
    static const uint8_t zeros[ALIGNMENT];
    uint64_t count = elements(e), size = dapt_blocks_size(e->type, count);
    enum dapt_status status = DAPT_OK;
    for (uint64_t at = 0; at < count && !status; at += PIECE) {
        uint64_t n = count - at < PIECE ? count - at : PIECE;
        status = produce(context, index, at, n, values);
        if (!status) {
            e->type->encode(values, n / e->type->length, bytes);
            status = dapt_writer_write(writer, bytes, dapt_blocks_size(e->type, n));
        }
    }
    return status ? status : dapt_writer_write(writer, zeros, aligned(size) - size);
}

enum dapt_status dapt_gguf_write(const char *path, const struct dapt_gguf_metadata *metadata,
                                 const struct dapt_gguf_entry *entries, size_t count,
                                 dapt_gguf_produce produce, void *context) {
    struct dapt_gguf_metadata head = {0};
    struct dapt_writer *writer = NULL;
    float *values = dapt_alloc_aligned(PIECE, sizeof *values);
    uint8_t *bytes = dapt_alloc_aligned(PIECE, 4);
    enum dapt_status status = values && bytes ? DAPT_OK : DAPT_ERROR_MEMORY;
    if (!status) status = make_head(metadata, entries, count, &head);
    if (!status) status = dapt_writer_open(path, &writer);
    if (!status) status = dapt_writer_write(writer, head.bytes.data, head.bytes.length);
    for (size_t i = 0; i < count && !status; i++)
        status = write_tensor(writer, &entries[i], i, produce, context, values, bytes);
    if (!status) status = dapt_writer_commit(&writer);
    dapt_writer_abort(&writer);
    dapt_gguf_metadata_free(&head);
    free(bytes);
    free(values);
    return status;
}
