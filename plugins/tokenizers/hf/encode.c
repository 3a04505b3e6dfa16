// From text to ids: added tokens are found first, what is between is normalized, cut and handed to
// the model.
#include "tokenizer.h"

enum { EMIT_AT = 1 << 14 };

static bool hand_over(struct hf_handle *handle, struct hf_sink *sink, size_t at_least) {
    if (handle->ids.count >= at_least && handle->ids.count) {
        if (!sink->emit(sink->context, handle->ids.data, handle->ids.count)) sink->stopped = true;
        handle->ids.count = 0;
    }
    return !sink->stopped;
}

static enum dapt_status encode_word(struct hf_handle *handle, const char *word, size_t length) {
    const struct hf_tables *tables = handle->tables;
    if (tables->model == HF_MODEL_BPE)
        return hf_bpe_encode(&tables->bpe, handle->host, &handle->bpe, word, length, &handle->ids);
    return hf_wordpiece_encode(&tables->wordpiece, handle->host, &handle->wordpiece, word, length,
                               &handle->ids);
}

// The way of most byte-level tokenizers: cut and encode in one go, nothing written down between.
static enum dapt_status encode_fast(struct hf_handle *handle, const char *text, size_t length,
                                    struct hf_sink *sink) {
    hf_splitter split = handle->tables->split;
    if (handle->tables->prefix_space && text[0] != ' ') {
        handle->spaced.length = 0;
        if (!hf_text_append(&handle->spaced, " ", 1) ||
            !hf_text_append(&handle->spaced, text, length))
            return hf_out_of_memory(handle->host);
        text = handle->spaced.data;
        length++;
    }
    for (size_t i = 0; i < length && !sink->stopped;) {
        size_t end = split(text, i, length);
        enum dapt_status status = hf_bpe_encode(&handle->tables->bpe, handle->host, &handle->bpe,
                                                text + i, end - i, &handle->ids);
        if (status < 0) return status;
        if (handle->ids.count >= EMIT_AT) hand_over(handle, sink, EMIT_AT);
        i = end;
    }
    return DAPT_OK;
}

// A normalized part without added tokens; `first`: it begins the text.
static enum dapt_status encode_plain(struct hf_handle *handle, const char *text, size_t length,
                                     bool first, struct hf_sink *sink) {
    const struct hf_pieces *pieces = NULL;
    if (!length) return DAPT_OK;
    if (handle->tables->split) return encode_fast(handle, text, length, sink);
    enum dapt_status status = hf_pretokenize(handle->tables->pretokenizer, handle->host,
                                             &handle->pretokenize, text, length, first, &text,
                                             &pieces);
    if (status < 0) return status;
    for (size_t i = 0; i < pieces->count && status == DAPT_OK && !sink->stopped; i++) {
        status = encode_word(handle, text + pieces->items[i].start, pieces->items[i].length);
        if (status == DAPT_OK) hand_over(handle, sink, EMIT_AT);
    }
    return status;
}

typedef enum dapt_status (*encode_part)(struct hf_handle *handle, const char *text, size_t length,
                                        bool first, struct hf_sink *sink);

// Gives added tokens their ids, and what is between to `part`.
static enum dapt_status encode_around(struct hf_handle *handle, const struct hf_added_trie *trie,
                                      const char *text, size_t length, bool first, encode_part part,
                                      struct hf_sink *sink) {
    size_t search = 0, done = 0, start, stop;
    uint32_t id;
    enum dapt_status status = DAPT_OK;
    while (!sink->stopped && hf_added_next(&handle->tables->added, trie, text, length, &search,
                                           done, &start, &stop, &id)) {
        if (start > done)
            status = part(handle, text + done, start - done, first && done == 0, sink);
        if (status < 0) return status;
        if (!hf_ids_push(&handle->ids, id)) return hf_out_of_memory(handle->host);
        done = stop;
    }
    if (done < length && !sink->stopped)
        status = part(handle, text + done, length - done, first && done == 0, sink);
    return status;
}

static enum dapt_status encode_raw(struct hf_handle *handle, const char *text, size_t length,
                                   bool first, struct hf_sink *sink) {
    enum dapt_status status = hf_normalize(handle->tables->normalizer, handle->host,
                                           &handle->normalize, text, length, &text, &length);
    if (status < 0) return status;
    first = first && !handle->normalize.head_lost;
    return encode_around(handle, &handle->tables->added.normalized, text, length, first,
                         encode_plain, sink);
}

enum dapt_status hf_encode(struct hf_handle *handle, const char *text, size_t length, bool special,
                           struct hf_sink *sink) {
    const struct hf_tables *tables = handle->tables;
    size_t ascii;
    handle->ids.count = 0;
    if (length && hf_utf8_valid(text, length, &ascii) < length) {
        handle->lossy.length = 0;
        if (!hf_utf8_lossy(text, length, &handle->lossy)) return hf_out_of_memory(handle->host);
        text = handle->lossy.data;
        length = handle->lossy.length;
    }
    if (special &&
        !hf_ids_append(&handle->ids, tables->post.before.data, tables->post.before.count))
        return hf_out_of_memory(handle->host);
    enum dapt_status status = encode_around(handle, &tables->added.raw, text, length, true,
                                            encode_raw, sink);
    if (status < 0) return status;
    if (special && !hf_ids_append(&handle->ids, tables->post.after.data, tables->post.after.count))
        return hf_out_of_memory(handle->host);
    if (!sink->stopped) hand_over(handle, sink, 0);
    return DAPT_OK;
}
