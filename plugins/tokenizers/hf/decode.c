#include "decode.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 16, STEPS_MAX = 256 };

struct step;
typedef enum dapt_status (*step_run)(const struct step *step, const struct dapt_host *host,
                                     struct hf_decode_scratch *scratch,
                                     const struct hf_token_texts *in, struct hf_token_texts *out);
struct step {
    step_run run;
    // Replace, Strip, Metaspace's mark, WordPiece's prefix, BPEDecoder's suffix
    struct hf_text content;
    struct hf_regex *regex;
    uint32_t start, stop;  // Strip: at most so many characters
    bool cleanup;          // WordPiece
    bool drop_first;       // Metaspace: marks of the first token vanish
};

struct hf_decoder {
    struct step steps[STEPS_MAX];
    size_t count;
};

bool hf_token_texts_add(struct hf_token_texts *list, const char *text, size_t length) {
    if (!hf_grow(&list->spans, &list->capacity, list->count + 1, sizeof *list->spans)) return false;
    size_t start = list->text.length;
    if (!hf_text_append(&list->text, text, length)) return false;
    list->spans[list->count++] = (struct hf_span){start, length};
    return true;
}

// Closes a token whose text was appended from `start` on.
static bool token_end(struct hf_token_texts *list, size_t start) {
    if (!hf_grow(&list->spans, &list->capacity, list->count + 1, sizeof *list->spans)) return false;
    list->spans[list->count++] = (struct hf_span){start, list->text.length - start};
    return true;
}

static const char *text_of(const struct hf_token_texts *list, size_t i) {
    return list->text.data ? list->text.data + list->spans[i].start : "";
}

static enum dapt_status run_byte_level(const struct step *step, const struct dapt_host *host,
                                       struct hf_decode_scratch *scratch,
                                       const struct hf_token_texts *in,
                                       struct hf_token_texts *out) {
    (void)step;
    struct hf_text *bytes = &scratch->bytes;
    bytes->length = 0;
    if (!hf_text_reserve(bytes, in->text.length + 1)) return hf_out_of_memory(host);
    for (size_t i = 0; i < in->count; i++) {
        const char *text = text_of(in, i);
        size_t start = bytes->length, length = in->spans[i].length;
        for (size_t at = 0; at < length;) {
            int byte = hf_char_byte(hf_utf8_next(text, &at));
            if (byte < 0) {  // one foreign character: the token is plain text
                bytes->length = start;
                hf_text_append(bytes, text, length);
                break;
            }
            bytes->data[bytes->length++] = (char)byte;
        }
    }
    if (!hf_utf8_lossy(bytes->data, bytes->length, &out->text) || !token_end(out, 0))
        return hf_out_of_memory(host);
    return DAPT_OK;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// The byte of "<0xNN>", or -1.
static int byte_token(const char *text, size_t length) {
    if (length != 6 || memcmp(text, "<0x", 3) || text[5] != '>') return -1;
    int high = text[3] == '+' ? 0 : hex_digit(text[3]), low = hex_digit(text[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

// Bytes gathered so far become one token of text, or as many U+FFFD as there are bytes.
static bool flush_bytes(struct hf_text *bytes, struct hf_token_texts *out) {
    size_t ascii, count = bytes->length;
    bool good = true;
    if (!count) return true;
    if (hf_utf8_valid(bytes->data, count, &ascii) == count) {
        good = hf_token_texts_add(out, bytes->data, count);
    } else {
        for (size_t i = 0; i < count && good; i++)
            good = hf_token_texts_add(out, "\xef\xbf\xbd", 3);
    }
    bytes->length = 0;
    return good;
}

static enum dapt_status run_byte_fallback(const struct step *step, const struct dapt_host *host,
                                          struct hf_decode_scratch *scratch,
                                          const struct hf_token_texts *in,
                                          struct hf_token_texts *out) {
    (void)step;
    struct hf_text *bytes = &scratch->bytes;
    bool good = true;
    bytes->length = 0;
    for (size_t i = 0; i < in->count && good; i++) {
        int value = byte_token(text_of(in, i), in->spans[i].length);
        char byte = (char)value;
        if (value >= 0)
            good = hf_text_append(bytes, &byte, 1);
        else
            good = flush_bytes(bytes, out) &&
                   hf_token_texts_add(out, text_of(in, i), in->spans[i].length);
    }
    return good && flush_bytes(bytes, out) ? DAPT_OK : hf_out_of_memory(host);
}

static enum dapt_status run_fuse(const struct step *step, const struct dapt_host *host,
                                 struct hf_decode_scratch *scratch, const struct hf_token_texts *in,
                                 struct hf_token_texts *out) {
    (void)step;
    (void)scratch;
    for (size_t i = 0; i < in->count; i++)
        if (!hf_text_append(&out->text, text_of(in, i), in->spans[i].length))
            return hf_out_of_memory(host);
    return token_end(out, 0) ? DAPT_OK : hf_out_of_memory(host);
}

static enum dapt_status run_replace(const struct step *step, const struct dapt_host *host,
                                    struct hf_decode_scratch *scratch,
                                    const struct hf_token_texts *in, struct hf_token_texts *out) {
    for (size_t i = 0; i < in->count; i++) {
        size_t start = out->text.length;
        bool changed = false;
        enum dapt_status status = hf_replace(step->regex, scratch->matcher, host, text_of(in, i),
                                             in->spans[i].length, &step->content, &out->text,
                                             &changed);
        if (status < 0) return status;
        if (!changed && !hf_text_append(&out->text, text_of(in, i), in->spans[i].length))
            return hf_out_of_memory(host);
        if (!token_end(out, start)) return hf_out_of_memory(host);
    }
    return DAPT_OK;
}

static enum dapt_status run_strip(const struct step *step, const struct dapt_host *host,
                                  struct hf_decode_scratch *scratch,
                                  const struct hf_token_texts *in, struct hf_token_texts *out) {
    (void)scratch;
    const struct hf_text *c = &step->content;
    for (size_t i = 0; i < in->count; i++) {
        const char *text = text_of(in, i);
        size_t start = 0, end = in->spans[i].length;
        for (uint32_t k = 0;
             k < step->start && hf_starts(text + start, end - start, c->data, c->length); k++)
            start += c->length;
        for (uint32_t k = 0; k < step->stop && end - start >= c->length &&
                             !memcmp(text + end - c->length, c->data, c->length);
             k++)
            end -= c->length;
        if (!hf_token_texts_add(out, text + start, end - start)) return hf_out_of_memory(host);
    }
    return DAPT_OK;
}

// Appends the text with each `from` replaced; `from` is not empty.
static bool replace_all(const char *text, size_t length, const char *from, size_t from_length,
                        const char *to, size_t to_length, struct hf_text *out) {
    while (length) {
        const char *hit = memmem(text, length, from, from_length);
        size_t part = hit ? (size_t)(hit - text) : length;
        if (!hf_text_append(out, text, part)) return false;
        if (!hit) return true;
        if (!hf_text_append(out, to, to_length)) return false;
        text += part + from_length;
        length -= part + from_length;
    }
    return true;
}

static enum dapt_status run_metaspace(const struct step *step, const struct dapt_host *host,
                                      struct hf_decode_scratch *scratch,
                                      const struct hf_token_texts *in, struct hf_token_texts *out) {
    (void)scratch;
    for (size_t i = 0; i < in->count; i++) {
        size_t start = out->text.length;
        if (!replace_all(text_of(in, i), in->spans[i].length, step->content.data,
                         step->content.length, " ", i == 0 && step->drop_first ? 0 : 1,
                         &out->text) ||
            !token_end(out, start))
            return hf_out_of_memory(host);
    }
    return DAPT_OK;
}

static enum dapt_status run_bpe(const struct step *step, const struct dapt_host *host,
                                struct hf_decode_scratch *scratch, const struct hf_token_texts *in,
                                struct hf_token_texts *out) {
    (void)scratch;
    for (size_t i = 0; i < in->count; i++) {
        size_t start = out->text.length;
        if (!replace_all(text_of(in, i), in->spans[i].length, step->content.data,
                         step->content.length, " ", i + 1 < in->count, &out->text) ||
            !token_end(out, start))
            return hf_out_of_memory(host);
    }
    return DAPT_OK;
}

// The clean-up of English tokenization, in this order.
static const char *const cleanups[][2] = {{" .", "."},     {" ?", "?"},           {" !", "!"},
                                          {" ,", ","},     {" ' ", "'"},          {" n't", "n't"},
                                          {" 'm", "'m"},   {" do not", " don't"}, {" 's", "'s"},
                                          {" 've", "'ve"}, {" 're", "'re"}};

static bool clean_up(struct hf_text *token, struct hf_text *spare) {
    for (size_t i = 0; i < sizeof cleanups / sizeof *cleanups; i++) {
        spare->length = 0;
        if (!replace_all(token->data, token->length, cleanups[i][0], strlen(cleanups[i][0]),
                         cleanups[i][1], strlen(cleanups[i][1]), spare))
            return false;
        struct hf_text swap = *token;
        *token = *spare;
        *spare = swap;
    }
    return true;
}

static enum dapt_status run_wordpiece(const struct step *step, const struct dapt_host *host,
                                      struct hf_decode_scratch *scratch,
                                      const struct hf_token_texts *in, struct hf_token_texts *out) {
    struct hf_text token = {0}, *spare = &scratch->bytes;
    bool good = true;
    for (size_t i = 0; i < in->count && good; i++) {
        const char *text = text_of(in, i);
        size_t length = in->spans[i].length, cut = 0;
        token.length = 0;
        if (i && hf_starts(text, length, step->content.data, step->content.length))
            cut = step->content.length;
        else if (i)
            good = hf_text_append(&token, " ", 1);
        good = good && hf_text_append(&token, text + cut, length - cut);
        if (step->cleanup) good = good && clean_up(&token, spare);
        good = good && hf_token_texts_add(out, token.length ? token.data : "", token.length);
    }
    hf_text_free(&token);
    return good ? DAPT_OK : hf_out_of_memory(host);
}

// Loading.

struct loader {
    const struct dapt_host *host;
    const char *where;
    const cJSON *object;
};

static enum dapt_status load_replace(const struct loader *l, struct step *step) {
    struct hf_text pattern = {0};
    bool literal;
    enum dapt_status status = hf_pattern_load(l->host, l->where, l->object, &pattern, &literal,
                                              &step->regex);
    if (status == DAPT_OK)
        status = hf_json_string(l->host, l->where, l->object, "content", NULL, &step->content);
    hf_text_free(&pattern);
    return status;
}

static enum dapt_status one_char(const struct loader *l, const char *key, const char *fallback,
                                 struct hf_text *text) {
    size_t at = 0;
    enum dapt_status status = hf_json_string(l->host, l->where, l->object, key, fallback, text);
    if (status < 0) return status;
    if (text->length) hf_utf8_next(text->data, &at);
    if (!at || at != text->length)
        return hf_fail(l->host, DAPT_ERROR_INVALID, "%s: \"%s\" must be one character", l->where,
                       key);
    return DAPT_OK;
}

static enum dapt_status load_strip(const struct loader *l, struct step *step) {
    enum dapt_status status = one_char(l, "content", NULL, &step->content);
    if (status == DAPT_OK)
        status = hf_json_uint(l->host, "decoder Strip, \"start\"",
                              hf_json_member(l->object, "start"), HF_NONE, &step->start);
    if (status == DAPT_OK)
        status = hf_json_uint(l->host, "decoder Strip, \"stop\"", hf_json_member(l->object, "stop"),
                              HF_NONE, &step->stop);
    return status;
}

static enum dapt_status load_metaspace(const struct loader *l, struct step *step) {
    const cJSON *scheme = hf_json_member(l->object, "prepend_scheme");
    bool add_prefix = true;
    enum dapt_status status = one_char(l, "replacement", "\xe2\x96\x81", &step->content);
    if (status == DAPT_OK)
        status = hf_json_bool(l->host, l->where, l->object, "add_prefix_space", 1, &add_prefix);
    if (status < 0) return status;
    const char *name = cJSON_IsString(scheme) ? scheme->valuestring
                       : scheme               ? ""
                       : add_prefix           ? "always"
                                              : "never";
    if (strcmp(name, "always") && strcmp(name, "first") && strcmp(name, "never"))
        return hf_fail(l->host, DAPT_ERROR_UNSUPPORTED,
                       "%s: \"prepend_scheme\" must be \"always\", \"first\" or \"never\"",
                       l->where);
    step->drop_first = strcmp(name, "never") != 0;
    return DAPT_OK;
}

static enum dapt_status load_wordpiece(const struct loader *l, struct step *step) {
    enum dapt_status status = hf_json_string(l->host, l->where, l->object, "prefix", "##",
                                             &step->content);
    if (status == DAPT_OK)
        status = hf_json_bool(l->host, l->where, l->object, "cleanup", 1, &step->cleanup);
    return status;
}

static enum dapt_status load_bpe(const struct loader *l, struct step *step) {
    enum dapt_status status = hf_json_string(l->host, l->where, l->object, "suffix", "</w>",
                                             &step->content);
    if (status == DAPT_OK && !step->content.length)
        return hf_fail(l->host, DAPT_ERROR_UNSUPPORTED, "%s: an empty \"suffix\" is not supported",
                       l->where);
    return status;
}

static const struct {
    const char *type;
    step_run run;
    enum dapt_status (*load)(const struct loader *l, struct step *step);
    const char *keys[8];
} types[] = {
    {"ByteLevel", run_byte_level, NULL, {"type", "add_prefix_space", "trim_offsets", "use_regex"}},
    {"ByteFallback", run_byte_fallback, NULL, {"type"}},
    {"Fuse", run_fuse, NULL, {"type"}},
    {"Replace", run_replace, load_replace, {"type", "pattern", "content"}},
    {"Strip", run_strip, load_strip, {"type", "content", "start", "stop"}},
    {"Metaspace",
     run_metaspace,
     load_metaspace,
     {"type", "replacement", "prepend_scheme", "split", "add_prefix_space", "str_rep"}},
    {"WordPiece", run_wordpiece, load_wordpiece, {"type", "prefix", "cleanup"}},
    {"BPEDecoder", run_bpe, load_bpe, {"type", "suffix"}},
};

static enum dapt_status load(const struct dapt_host *host, const cJSON *object, int depth,
                             struct hf_decoder *decoder) {
    static const char *const sequence_keys[] = {"type", "decoders", NULL};
    const char *type;
    char where[96];
    enum dapt_status status = hf_json_type(host, "decoder", object, &type);
    if (status < 0) return status;
    snprintf(where, sizeof where, "decoder %.64s", type);
    if (!strcmp(type, "Sequence")) {
        const cJSON *list = hf_json_member(object, "decoders"), *item;
        if (!cJSON_IsArray(list))
            return hf_fail(host, DAPT_ERROR_INVALID, "%s: \"decoders\" must be a list", where);
        if (depth >= DEPTH_MAX)
            return hf_fail(host, DAPT_ERROR_INVALID, "decoders are nested too deep");
        status = hf_json_only(host, where, object, sequence_keys);
        for (item = list->child; item && status == DAPT_OK; item = item->next)
            status = load(host, item, depth + 1, decoder);
        return status;
    }
    if (decoder->count >= STEPS_MAX)
        return hf_fail(host, DAPT_ERROR_INVALID, "more than %d decoders", STEPS_MAX);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(type, types[i].type)) continue;
        struct step *step = &decoder->steps[decoder->count++];
        struct loader loader = {host, where, object};
        step->run = types[i].run;
        status = hf_json_only(host, where, object, types[i].keys);
        return status == DAPT_OK && types[i].load ? types[i].load(&loader, step) : status;
    }
    return hf_fail(host, DAPT_ERROR_UNSUPPORTED, "decoder \"%.64s\" is not supported", type);
}

enum dapt_status hf_decoder_load(const struct dapt_host *host, const cJSON *object,
                                 struct hf_decoder **decoder) {
    *decoder = NULL;
    if (!object || cJSON_IsNull(object)) return DAPT_OK;
    struct hf_decoder *loaded = calloc(1, sizeof *loaded);
    if (!loaded) return hf_out_of_memory(host);
    enum dapt_status status = load(host, object, 0, loaded);
    if (status < 0) {
        hf_decoder_free(loaded);
        loaded = NULL;
    }
    *decoder = loaded;
    return status;
}

void hf_decoder_free(struct hf_decoder *decoder) {
    if (!decoder) return;
    for (size_t i = 0; i < decoder->count; i++) {
        hf_text_free(&decoder->steps[i].content);
        hf_regex_free(decoder->steps[i].regex);
    }
    free(decoder);
}

enum dapt_status hf_decode(const struct hf_decoder *decoder, const struct dapt_host *host,
                           struct hf_decode_scratch *scratch, const struct hf_text **out) {
    int now = 0;
    for (size_t i = 0; decoder && i < decoder->count; i++) {
        struct hf_token_texts *target = &scratch->lists[!now];
        target->count = 0;
        target->text.length = 0;
        enum dapt_status status = decoder->steps[i].run(&decoder->steps[i], host, scratch,
                                                        &scratch->lists[now], target);
        if (status < 0) return status;
        now = !now;
    }
    if (!decoder) {
        const struct hf_token_texts *in = &scratch->lists[0];
        scratch->bytes.length = 0;
        for (size_t i = 0; i < in->count; i++)
            if ((i && !hf_text_append(&scratch->bytes, " ", 1)) ||
                !hf_text_append(&scratch->bytes, text_of(in, i), in->spans[i].length))
                return hf_out_of_memory(host);
        *out = &scratch->bytes;
        return DAPT_OK;
    }
    *out = &scratch->lists[now].text;
    return DAPT_OK;
}

void hf_decode_scratch_free(struct hf_decode_scratch *scratch) {
    for (int i = 0; i < 2; i++) {
        hf_text_free(&scratch->lists[i].text);
        free(scratch->lists[i].spans);
        scratch->lists[i] = (struct hf_token_texts){0};
    }
    hf_text_free(&scratch->bytes);
}
