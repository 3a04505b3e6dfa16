// Reading a BPE model, and finding out where its words may be cut.
#include <stdio.h>
#include <stdlib.h>

#include "bpe.h"

enum { JOINT_BYTES_MAX = 32 << 20 };

struct merge_text {
    const char *left, *right;
    size_t left_length, right_length;
};

// "a b" or ["a", "b"], into `text`. *skip: a version line of old files.
static enum dapt_status merge_read(const struct dapt_host *host, const cJSON *item, size_t index,
                                   struct hf_text *text, struct merge_text *merge, bool *skip) {
    char where[64];
    snprintf(where, sizeof where, "model BPE, merge %zu", index);
    text->length = 0;
    *skip = false;
    if (cJSON_IsArray(item)) {
        const cJSON *first = item->child, *second = first ? first->next : NULL;
        if (!second || second->next)
            return hf_fail(host, DAPT_ERROR_INVALID, "%s: two strings were expected", where);
        enum dapt_status status = hf_json_text(host, where, first, text);
        merge->left_length = text->length;
        if (status == DAPT_OK) status = hf_json_text(host, where, second, text);
        if (status < 0) return status;
        merge->right_length = text->length - merge->left_length;
        merge->left = text->data;
        merge->right = text->data + merge->left_length;
        return DAPT_OK;
    }
    enum dapt_status status = hf_json_text(host, where, item, text);
    if (status < 0) return status;
    *skip = hf_starts(text->data, text->length, "#version", 8);
    const char *space = memchr(text->data, ' ', text->length);
    size_t at = space ? (size_t)(space - text->data) : 0;
    if (!*skip && (!space || memchr(space + 1, ' ', text->length - at - 1)))
        return hf_fail(host, DAPT_ERROR_INVALID,
                       "%s: two tokens with one space between were expected, got \"%.64s\"", where,
                       text->data);
    merge->left = text->data;
    merge->left_length = at;
    merge->right = text->data + at + 1;
    merge->right_length = text->length - at - 1;
    return DAPT_OK;
}

static void merge_put(struct hf_bpe *bpe, struct hf_merge merge) {
    uint64_t hash = ((uint64_t)merge.left << 32 | merge.right) * UINT64_C(0x9e3779b97f4a7c15);
    uint32_t at = (uint32_t)(hash >> bpe->merge_shift);
    while (bpe->merges[at].left != HF_NONE &&
           (bpe->merges[at].left != merge.left || bpe->merges[at].right != merge.right))
        at = (at + 1) & bpe->merge_mask;
    bpe->merges[at] = merge;  // of a pair that stands twice the last one counts
}

static enum dapt_status merge_resolve(const struct dapt_host *host, const struct hf_bpe *bpe,
                                      size_t index, const struct merge_text *text,
                                      struct hf_text *joined, size_t prefix_chars,
                                      struct hf_merge *merge) {
    const char *names[3] = {text->left, text->right, NULL};
    size_t lengths[3] = {text->left_length, text->right_length, 0};
    uint32_t ids[3];
    if (prefix_chars > text->right_length)
        return hf_fail(host, DAPT_ERROR_INVALID,
                       "model BPE, merge %zu: the second token lacks the prefix \"%.32s\"", index,
                       bpe->prefix.data);
    joined->length = 0;
    if (!hf_text_append(joined, text->left, text->left_length) ||
        !hf_text_append(joined, text->right + prefix_chars, text->right_length - prefix_chars))
        return hf_out_of_memory(host);
    names[2] = joined->length ? joined->data : "";
    lengths[2] = joined->length;
    for (int i = 0; i < 3; i++) {
        ids[i] = hf_vocab_find(bpe->vocab, names[i], lengths[i]);
        if (ids[i] == HF_NONE)
            return hf_fail(host, DAPT_ERROR_INVALID,
                           "model BPE, merge %zu: token \"%.*s\" is not in the vocabulary", index,
                           (int)(lengths[i] < 64 ? lengths[i] : 64), names[i]);
    }
    *merge = (struct hf_merge){ids[0], ids[1], (uint32_t)index, ids[2]};
    return DAPT_OK;
}

static size_t char_count(const struct hf_text *text) {
    size_t count = 0;
    for (size_t i = 0; i < text->length; count++) hf_utf8_next(text->data, &i);
    return count;
}

static enum dapt_status load_merges(const struct dapt_host *host, const cJSON *list,
                                    struct hf_bpe *bpe) {
    struct hf_text text = {0}, joined = {0};
    size_t index = 0, count = 0;
    enum dapt_status status = DAPT_OK;
    if (!cJSON_IsArray(list))
        return hf_fail(host, DAPT_ERROR_INVALID, "model BPE: \"merges\" must be a list");
    for (const cJSON *item = list->child; item; item = item->next) count++;
    uint32_t bits = 4;
    while ((size_t)1 << bits < count * 2) bits++;
    if (bits > 30) return hf_fail(host, DAPT_ERROR_INVALID, "model BPE: too many merges");
    bpe->merge_shift = 64 - bits;
    bpe->merge_mask = (1u << bits) - 1;
    bpe->merges = malloc(((size_t)1 << bits) * sizeof *bpe->merges);
    if (!bpe->merges) return hf_out_of_memory(host);
    for (size_t i = 0; i <= bpe->merge_mask; i++)
        bpe->merges[i].left = bpe->merges[i].right = HF_NONE;
    size_t prefix_chars = char_count(&bpe->prefix);
    for (const cJSON *item = list->child; item && status == DAPT_OK; item = item->next) {
        struct merge_text parts = {0};
        struct hf_merge merge = {0};
        bool skip;
        status = merge_read(host, item, index, &text, &parts, &skip);
        if (status < 0 || skip) continue;
        status = merge_resolve(host, bpe, index++, &parts, &joined, prefix_chars, &merge);
        if (status == DAPT_OK) merge_put(bpe, merge);
    }
    hf_text_free(&text);
    hf_text_free(&joined);
    return status;
}

static enum dapt_status load_chars(const struct dapt_host *host, struct hf_bpe *bpe) {
    const struct hf_vocab *vocab = bpe->vocab;
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t id = 0; id < vocab->size; id++) {
            size_t length, at = 0;
            const char *text = hf_vocab_text(vocab, id, &length);
            if (!text || !length || length > 4) continue;
            uint32_t code = hf_utf8_next(text, &at);
            if (at != length) continue;
            if (pass)
                bpe->chars[code].id = id + 1;
            else if (code >= bpe->char_count)
                bpe->char_count = code + 1;
        }
        if (!pass) bpe->chars = calloc((size_t)bpe->char_count + 1, sizeof *bpe->chars);
        if (!bpe->chars) return hf_out_of_memory(host);
    }
    return DAPT_OK;
}

static void load_bytes(struct hf_bpe *bpe) {
    bpe->all_fallback = bpe->byte_fallback;
    for (unsigned byte = 0; byte < 256; byte++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", byte);
        bpe->fallback[byte] = bpe->byte_fallback ? hf_vocab_find(bpe->vocab, name, 6) : HF_NONE;
        if (bpe->fallback[byte] == HF_NONE) bpe->all_fallback = false;
    }
}

// The last character of a left part and the first of a right part; false when a part is a byte's or
// the unknown token, which stand for text that is not theirs.
static bool joint_of(const struct hf_bpe *bpe, const struct hf_merge *merge, uint32_t *last,
                     uint32_t *first) {
    size_t left_length, right_length, at = 0;
    const char *left = hf_vocab_text(bpe->vocab, merge->left, &left_length);
    const char *right = hf_vocab_text(bpe->vocab, merge->right, &right_length);
    if (merge->left == bpe->unk || merge->right == bpe->unk) return false;
    for (int byte = 0; bpe->byte_fallback && byte < 256; byte++)
        if (merge->left == bpe->fallback[byte] || merge->right == bpe->fallback[byte]) return false;
    if (!left_length || !right_length) return false;
    *first = hf_utf8_next(right, &at);
    at = hf_utf8_before(left, left_length);
    *last = hf_utf8_next(left, &at);
    return true;
}

// Which characters can merges join? Between others, words can be cut: what stands on one side never
// changes what becomes of the other. That makes a document without pre-tokenizer as fast as one
// with.
enum dapt_status hf_bpe_find_joints(struct hf_bpe *bpe, const struct dapt_host *host) {
    size_t lefts = 0, rights = 0;
    uint32_t last, first;
    // ignore_merges asks for the whole word first, and its answers share the cache with those for
    // parts.
    if (bpe->prefix.length || bpe->suffix.length || bpe->ignore_merges) return DAPT_OK;
    for (size_t i = 0; i <= bpe->merge_mask; i++) {
        if (bpe->merges[i].left == HF_NONE) continue;
        if (!joint_of(bpe, &bpe->merges[i], &last, &first)) return DAPT_OK;
        if (last >= bpe->char_count || first >= bpe->char_count)
            continue;  // such characters never become symbols
        if (!bpe->chars[last].left && lefts < UINT16_MAX) bpe->chars[last].left = (uint16_t)++lefts;
        if (!bpe->chars[first].right && rights < UINT16_MAX)
            bpe->chars[first].right = (uint16_t)++rights;
        if (!bpe->chars[last].left || !bpe->chars[first].right) return DAPT_OK;
    }
    size_t bytes = (lefts * rights + 7) / 8;
    if (bytes > JOINT_BYTES_MAX) return DAPT_OK;
    bpe->joints = calloc(bytes + 1, 1);
    bpe->right_count = rights;
    if (!bpe->joints) return hf_out_of_memory(host);
    for (size_t i = 0; i <= bpe->merge_mask; i++) {
        if (bpe->merges[i].left == HF_NONE) continue;
        joint_of(bpe, &bpe->merges[i], &last, &first);
        if (last >= bpe->char_count || first >= bpe->char_count) continue;
        size_t bit = (size_t)(bpe->chars[last].left - 1) * rights + (bpe->chars[first].right - 1);
        bpe->joints[bit >> 3] |= (uint8_t)(1u << (bit & 7));
    }
    bpe->cuttable = true;
    return DAPT_OK;
}

static enum dapt_status load_options(const struct dapt_host *host, const cJSON *model,
                                     struct hf_bpe *bpe) {
    static const char *const keys[] = {
        "type",     "dropout",       "unk_token", "continuing_subword_prefix",
        "fuse_unk", "byte_fallback", "vocab",     "end_of_word_suffix",
        "merges",   "ignore_merges", NULL};
    const cJSON *dropout = hf_json_member(model, "dropout");
    enum dapt_status status = hf_json_only(host, "model BPE", model, keys);
    if (status == DAPT_OK && dropout && !(cJSON_IsNumber(dropout) && dropout->valuedouble == 0))
        status = hf_fail(host, DAPT_ERROR_UNSUPPORTED, "model BPE: \"dropout\" must be null");
    bpe->has_unk = hf_json_member(model, "unk_token") != NULL;
    if (status == DAPT_OK)
        status = hf_json_string(host, "model BPE", model, "unk_token", "", &bpe->unk_token);
    if (status == DAPT_OK)
        status = hf_json_string(host, "model BPE", model, "continuing_subword_prefix", "",
                                &bpe->prefix);
    if (status == DAPT_OK)
        status = hf_json_string(host, "model BPE", model, "end_of_word_suffix", "", &bpe->suffix);
    if (status == DAPT_OK)
        status = hf_json_bool(host, "model BPE", model, "fuse_unk", 0, &bpe->fuse_unk);
    if (status == DAPT_OK)
        status = hf_json_bool(host, "model BPE", model, "byte_fallback", 0, &bpe->byte_fallback);
    if (status == DAPT_OK)
        status = hf_json_bool(host, "model BPE", model, "ignore_merges", 0, &bpe->ignore_merges);
    return status;
}

enum dapt_status hf_bpe_load(const struct dapt_host *host, const cJSON *model,
                             const struct hf_vocab *vocab, struct hf_bpe *bpe) {
    bpe->vocab = vocab;
    bpe->unk = HF_NONE;
    enum dapt_status status = load_options(host, model, bpe);
    if (status == DAPT_OK && bpe->has_unk)
        bpe->unk = hf_vocab_find(vocab, bpe->unk_token.data, bpe->unk_token.length);
    if (status == DAPT_OK) status = load_merges(host, hf_json_member(model, "merges"), bpe);
    if (status == DAPT_OK) status = load_chars(host, bpe);
    if (status == DAPT_OK) load_bytes(bpe);
    return status;
}

bool hf_bpe_use_bytes(struct hf_bpe *bpe) {
    if (bpe->prefix.length || bpe->suffix.length || bpe->byte_fallback) return false;
    for (int byte = 0; byte < 256; byte++) {
        uint32_t code = hf_byte_char((unsigned)byte);
        uint32_t id = code < bpe->char_count ? bpe->chars[code].id : 0;
        bpe->byte_ids[byte] = id ? id - 1 : HF_NONE;
    }
    bpe->bytes = true;
    return true;
}

void hf_bpe_free(struct hf_bpe *bpe) {
    free(bpe->merges);
    free(bpe->chars);
    free(bpe->joints);
    hf_text_free(&bpe->prefix);
    hf_text_free(&bpe->suffix);
    hf_text_free(&bpe->unk_token);
    *bpe = (struct hf_bpe){0};
}
