// The tokenizer "hf": reads the tokenizer.json of Hugging Face models, or the files of older ones,
// and gives the ids that their library gives. Text that is not valid UTF-8 is read with U+FFFD for
// each ill-formed sequence.
#include <stdlib.h>

#include "tokenizer.h"

static void handle_close(void *opaque) {
    struct hf_handle *handle = opaque;
    if (!handle) return;
    hf_normalize_scratch_free(&handle->normalize);
    hf_pretokenize_scratch_free(&handle->pretokenize);
    hf_bpe_scratch_free(&handle->bpe);
    hf_wordpiece_scratch_free(&handle->wordpiece);
    hf_decode_scratch_free(&handle->decode);
    hf_text_free(&handle->lossy);
    hf_text_free(&handle->spaced);
    hf_ids_free(&handle->ids);
    hf_matcher_free(handle->matcher);
    hf_tables_release(handle->tables);
    free(handle);
}

// Takes over one reference of the tables, also when it fails.
static enum dapt_status handle_create(const struct dapt_host *host, struct hf_tables *tables,
                                      void **out) {
    struct hf_handle *handle = calloc(1, sizeof *handle);
    *out = NULL;
    if (!handle) {
        hf_tables_release(tables);
        return hf_out_of_memory(host);
    }
    handle->host = host;
    handle->tables = tables;
    handle->matcher = hf_matcher_create();
    if (!handle->matcher) {
        handle_close(handle);
        return hf_out_of_memory(host);
    }
    handle->normalize.matcher = handle->pretokenize.matcher = handle->decode.matcher =
        handle->matcher;
    *out = handle;
    return DAPT_OK;
}

static enum dapt_status tokenizer_open(const struct dapt_host *host,
                                       const struct dapt_options *options, const char *path_z,
                                       void **handle) {
    struct hf_tables *tables;
    (void)options;
    *handle = NULL;
    enum dapt_status status = hf_tables_load(host, path_z, &tables);
    return status < 0 ? status : handle_create(host, tables, handle);
}

static enum dapt_status tokenizer_share(void *opaque, void **other) {
    struct hf_handle *handle = opaque;
    atomic_fetch_add(&handle->tables->references, 1);
    return handle_create(handle->host, handle->tables, other);
}

static uint32_t tokenizer_vocab_size(void *opaque) {
    return ((struct hf_handle *)opaque)->tables->size;
}

static int64_t tokenizer_special_id(void *opaque, enum dapt_special which) {
    return (unsigned)which < 4 ? ((struct hf_handle *)opaque)->tables->special[which] : -1;
}

static enum dapt_status tokenizer_encode(void *opaque, const char *text, size_t length,
                                         uint32_t flags, dapt_emit_ids emit, void *context) {
    struct hf_sink sink = {.emit = emit, .context = context};
    return hf_encode(opaque, text, length, flags & DAPT_ENCODE_SPECIAL, &sink);
}

// Ids that no token has are left out, as the library does.
static enum dapt_status tokenizer_decode(void *opaque, const uint32_t *ids, size_t count,
                                         uint32_t flags, dapt_emit_text emit, void *context) {
    struct hf_handle *handle = opaque;
    const struct hf_tables *tables = handle->tables;
    struct hf_token_texts *list = &handle->decode.lists[0];
    const struct hf_text *out;
    list->count = 0;
    list->text.length = 0;
    for (size_t i = 0; i < count; i++) {
        size_t length;
        const struct hf_added_token *token = hf_added_at(&tables->added, ids[i]);
        const char *text = token ? tables->added.shown.data + token->shown.start
                                 : hf_vocab_text(&tables->vocab, ids[i], &length);
        if (token) length = token->shown.length;
        if (token && token->skipped && (flags & DAPT_DECODE_SKIP_SPECIAL)) continue;
        if (text && !hf_token_texts_add(list, text, length)) return hf_out_of_memory(handle->host);
    }
    enum dapt_status status = hf_decode(tables->decoder, handle->host, &handle->decode, &out);
    if (status == DAPT_OK && out->length) emit(context, out->data, out->length);
    return status;
}

static const struct dapt_tokenizer_1 tokenizer = {
    .open = tokenizer_open,
    .share = tokenizer_share,
    .vocab_size = tokenizer_vocab_size,
    .special_id = tokenizer_special_id,
    .encode = tokenizer_encode,
    .decode = tokenizer_decode,
    .close = handle_close,
};

static const struct dapt_plugin_descriptor descriptors[] = {{
    .kind = DAPT_TOKENIZER_1,
    .id = "hf",
    .version = "1.0.0",
    .summary = "tokenizer.json of Hugging Face models: BPE and WordPiece",
    .implementation = &tokenizer,
}};

DAPT_EXPORT const struct dapt_plugin_entry dapt_plugin_entry = {
    .abi = DAPT_PLUGIN_ABI,
    .count = sizeof descriptors / sizeof *descriptors,
    .descriptors = descriptors};
