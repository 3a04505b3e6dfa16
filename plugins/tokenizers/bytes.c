// The tokenizer "bytes": a byte is an id. Ids 0..255 are the bytes themselves and 256 ends a text
// (DAPT_SPECIAL_EOS, "<|endoftext|>" when decoded); there is no other special token. It needs no
// file: `path` is not looked at. With DAPT_ENCODE_SPECIAL, 256 follows the text. Any bytes may be
// encoded, valid UTF-8 or not, and come back the same.
#include <stdlib.h>
#include <string.h>

#include "dapt/plugin.h"

enum { END_OF_TEXT = 256, VOCAB_SIZE = 257, CHUNK = 4096 };
static const char end_text[] = "<|endoftext|>";

struct bytes {
    const struct dapt_host *host;
};

static enum dapt_status bytes_open(const struct dapt_host *host, const struct dapt_options *options,
                                   const char *path_z, void **handle) {
    struct bytes *bytes = malloc(sizeof *bytes);
    (void)options;
    (void)path_z;
    *handle = bytes;
    if (!bytes) return host->fail(host, DAPT_ERROR_MEMORY, "out of memory in the tokenizer");
    bytes->host = host;
    return DAPT_OK;
}

static enum dapt_status bytes_share(void *handle, void **other) {
    return bytes_open(((struct bytes *)handle)->host, NULL, "", other);
}

static uint32_t bytes_vocab_size(void *handle) {
    (void)handle;
    return VOCAB_SIZE;
}

static int64_t bytes_special_id(void *handle, enum dapt_special which) {
    (void)handle;
    return which == DAPT_SPECIAL_EOS ? END_OF_TEXT : -1;
}

static enum dapt_status bytes_encode(void *handle, const char *text, size_t length, uint32_t flags,
                                     dapt_emit_ids emit, void *context) {
    uint32_t ids[CHUNK];
    (void)handle;
    while (length) {
        size_t count = length < CHUNK ? length : CHUNK;
        for (size_t i = 0; i < count; i++) ids[i] = (unsigned char)text[i];
        if (!emit(context, ids, count)) return DAPT_OK;
        text += count;
        length -= count;
    }
    ids[0] = END_OF_TEXT;
    if (flags & DAPT_ENCODE_SPECIAL) emit(context, ids, 1);
    return DAPT_OK;
}

static enum dapt_status bytes_decode(void *handle, const uint32_t *ids, size_t count,
                                     uint32_t flags, dapt_emit_text emit, void *context) {
    char text[CHUNK];
    size_t filled = 0;
    (void)handle;
    for (size_t i = 0; i < count; i++) {
        if (filled + sizeof end_text > sizeof text) {
            if (!emit(context, text, filled)) return DAPT_OK;
            filled = 0;
        }
        if (ids[i] < END_OF_TEXT) {
            text[filled++] = (char)ids[i];
        } else if (ids[i] == END_OF_TEXT && !(flags & DAPT_DECODE_SKIP_SPECIAL)) {
            memcpy(text + filled, end_text, sizeof end_text - 1);
            filled += sizeof end_text - 1;
        }  // others are no ids of this tokenizer and are left out
    }
    if (filled) emit(context, text, filled);
    return DAPT_OK;
}

static void bytes_close(void *handle) {
    free(handle);
}

static const struct dapt_tokenizer_1 tokenizer = {
    .open = bytes_open,
    .share = bytes_share,
    .vocab_size = bytes_vocab_size,
    .special_id = bytes_special_id,
    .encode = bytes_encode,
    .decode = bytes_decode,
    .close = bytes_close,
};

static const struct dapt_plugin_descriptor descriptors[] = {{
    .kind = DAPT_TOKENIZER_1,
    .id = "bytes",
    .version = "1.0.0",
    .summary = "a byte is an id; 256 ends a text",
    .implementation = &tokenizer,
}};

DAPT_EXPORT const struct dapt_plugin_entry dapt_plugin_entry = {
    .abi = DAPT_PLUGIN_ABI,
    .count = sizeof descriptors / sizeof *descriptors,
    .descriptors = descriptors};
