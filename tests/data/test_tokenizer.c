// A tokenizer for tests: a byte is an id, shifted by an option; 256 begins and 257 ends a text. A
// text with "BREAK" fails. With the option `mask`, "[MASK]" alone is 258.
#include <stdlib.h>
#include <string.h>

#include "dapt/plugin.h"

static const struct dapt_option options_table[] = {
    {.name = "vocab", .type = DAPT_OPTION_INTEGER, .default_value = "300", .help = "ids"},
    {.name = "shift",
     .type = DAPT_OPTION_INTEGER,
     .default_value = "0",
     .help = "added to each byte's id, from 258 on"},
    {.name = "eos",
     .type = DAPT_OPTION_BOOL,
     .default_value = "true",
     .help = "has an end of text"},
    {.name = "mask",
     .type = DAPT_OPTION_BOOL,
     .default_value = "false",
     .help = "has a mask token"},
    {.name = "wild",
     .type = DAPT_OPTION_BOOL,
     .default_value = "false",
     .help = "gives ids beyond its vocabulary"},
    {0},
};

struct handle {
    const struct dapt_host *host;
    uint32_t vocab, shift;
    bool eos, wild, mask;
};

static enum dapt_status tokenizer_open(const struct dapt_host *host,
                                       const struct dapt_options *options, const char *path_z,
                                       void **handle) {
    (void)path_z;
    struct handle *h = calloc(1, sizeof *h);
    if (!h) return host->fail(host, DAPT_ERROR_MEMORY, "no memory");
    *h = (struct handle){host,
                         (uint32_t)host->option_integer(options, "vocab"),
                         (uint32_t)host->option_integer(options, "shift"),
                         host->option_bool(options, "eos"),
                         host->option_bool(options, "wild"),
                         host->option_bool(options, "mask")};
    *handle = h;
    return DAPT_OK;
}

static enum dapt_status tokenizer_share(void *handle, void **other) {
    struct handle *h = malloc(sizeof *h);
    if (!h) return DAPT_ERROR_MEMORY;
    *h = *(struct handle *)handle;
    *other = h;
    return DAPT_OK;
}

static uint32_t tokenizer_vocab_size(void *handle) {
    return ((struct handle *)handle)->vocab;
}

static int64_t tokenizer_special_id(void *handle, enum dapt_special which) {
    return which == DAPT_SPECIAL_BOS                                     ? 256
           : which == DAPT_SPECIAL_EOS && ((struct handle *)handle)->eos ? 257
                                                                         : -1;
}

static enum dapt_status tokenizer_encode(void *handle, const char *text, size_t length,
                                         uint32_t flags, dapt_emit_ids emit, void *context) {
    const struct handle *h = handle;
    uint32_t run[64];
    if (flags & DAPT_ENCODE_SPECIAL && !emit(context, &(uint32_t){256}, 1))
        return DAPT_ERROR_MEMORY;
    if (h->mask && length == 6 && memcmp(text, "[MASK]", 6) == 0)
        return emit(context, &(uint32_t){258}, 1) ? DAPT_OK : DAPT_ERROR_MEMORY;
    for (size_t i = 0; i < length;) {
        size_t count = 0;
        for (; i < length && count < 64; i++)
            run[count++] = h->wild ? h->vocab
                                   : (unsigned char)text[i] + (h->shift ? h->shift + 258 : 0);
        if (!emit(context, run, count)) return DAPT_ERROR_MEMORY;
    }
    if (memmem(text, length, "BREAK", 5))
        return h->host->fail(h->host, DAPT_ERROR_INVALID, "does not like this text");
    return DAPT_OK;
}

static enum dapt_status tokenizer_decode(void *handle, const uint32_t *ids, size_t count,
                                         uint32_t flags, dapt_emit_text emit, void *context) {
    (void)handle;
    (void)flags;
    for (size_t i = 0; i < count; i++)
        if (ids[i] < 256 && !emit(context, &(char){(char)ids[i]}, 1)) break;
    return DAPT_OK;
}

static const struct dapt_tokenizer_1 tokenizer = {tokenizer_open,
                                                  tokenizer_share,
                                                  tokenizer_vocab_size,
                                                  tokenizer_special_id,
                                                  tokenizer_encode,
                                                  tokenizer_decode,
                                                  free};

static const struct dapt_plugin_descriptor descriptors[] = {{
    .kind = DAPT_TOKENIZER_1,
    .id = "test-bytes",
    .version = "1",
    .summary = "bytes, for tests",
    .options = options_table,
    .implementation = &tokenizer,
}};

DAPT_EXPORT const struct dapt_plugin_entry dapt_plugin_entry = {DAPT_PLUGIN_ABI, 1, descriptors};
