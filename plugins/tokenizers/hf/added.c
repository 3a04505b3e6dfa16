#include "added.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONTENT_MAX = 4096 };

static bool node_add(struct hf_added_trie *trie, unsigned char byte, uint32_t *node) {
    if (!hf_grow(&trie->nodes, &trie->capacity, trie->count + 1, sizeof *trie->nodes)) return false;
    *node = (uint32_t)trie->count++;
    trie->nodes[*node] = (struct hf_added_node){.token = HF_NONE, .byte = byte};
    return true;
}

static uint32_t child_of(const struct hf_added_trie *trie, uint32_t node, unsigned char byte) {
    if (!node) return trie->roots[byte];
    uint32_t child = trie->nodes[node].child;
    while (child && trie->nodes[child].byte != byte) child = trie->nodes[child].sibling;
    return child;
}

static bool trie_add(struct hf_added_trie *trie, const char *text, size_t length, uint32_t token) {
    uint32_t node = 0;
    if (!trie->count && !node_add(trie, 0, &node)) return false;  // the root
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)text[i];
        uint32_t child = child_of(trie, node, byte);
        if (!child) {
            if (!node_add(trie, byte, &child)) return false;
            if (node) {
                trie->nodes[child].sibling = trie->nodes[node].child;
                trie->nodes[node].child = child;
            } else {
                trie->roots[byte] = child;
            }
        }
        node = child;
    }
    if (trie->nodes[node].token == HF_NONE)
        trie->nodes[node].token = token;  // of equal texts the first one counts
    return true;
}

static void trie_finish(struct hf_added_trie *trie) {
    int firsts = 0;
    trie->empty = true;
    for (int byte = 0; byte < 256; byte++) {
        if (!trie->roots[byte]) continue;
        trie->empty = false;
        trie->only = firsts++ ? -1 : byte;
    }
}

static bool trie_find(const struct hf_added_trie *trie, const char *text, size_t length,
                      size_t from, size_t *start, size_t *stop, uint32_t *token) {
    for (size_t i = from; i < length; i++) {
        if (trie->only >= 0) {
            const char *hit = memchr(text + i, trie->only, length - i);
            if (!hit) return false;
            i = (size_t)(hit - text);
        }
        uint32_t node = trie->roots[(unsigned char)text[i]];
        size_t end = 0;
        for (size_t at = i + 1; node; at++) {
            if (trie->nodes[node].token != HF_NONE) {
                *token = trie->nodes[node].token;
                end = at;
            }
            if (at == length) break;
            node = child_of(trie, node, (unsigned char)text[at]);
        }
        if (end) {
            *start = i;
            *stop = end;
            return true;
        }
    }
    return false;
}

static bool is_word_before(const char *text, size_t at) {
    size_t start = hf_utf8_before(text, at);
    return hf_class(hf_utf8_next(text, &start)) & HF_WORD;
}

bool hf_added_next(const struct hf_added *added, const struct hf_added_trie *trie, const char *text,
                   size_t length, size_t *search, size_t done, size_t *start, size_t *stop,
                   uint32_t *id) {
    uint32_t index;
    if (trie->empty) return false;
    while (trie_find(trie, text, length, *search, start, stop, &index)) {
        const struct hf_added_token *token = &added->tokens[index];
        *search = *stop;
        if (token->single_word) {
            size_t at = *stop;
            if (*start > 0 && is_word_before(text, *start)) continue;
            if (at < length && (hf_class(hf_utf8_next(text, &at)) & HF_WORD)) continue;
        }
        while (token->lstrip && *start > done) {
            size_t before = hf_utf8_before(text, *start), at = before;
            if (!(hf_class(hf_utf8_next(text, &at)) & HF_SPACE)) break;
            *start = before;
        }
        while (token->rstrip && *stop < length) {
            size_t at = *stop;
            if (!(hf_class(hf_utf8_next(text, &at)) & HF_SPACE)) break;
            *stop = at;
        }
        *id = token->id;
        return true;
    }
    return false;
}

// The id that Hugging Face tokenizers gives: the model's, or the next free one.
static uint32_t expected_id(const struct hf_added *added, const struct hf_vocab *vocab,
                            const char *text, size_t length) {
    uint32_t id = hf_vocab_find(vocab, text, length);
    if (id != HF_NONE) return id;
    if (added->texts.size > vocab->count || (!vocab->count && added->count))
        return added->texts.size;
    return vocab->count;
}

static enum dapt_status load_token(const struct dapt_host *host, const cJSON *object,
                                   const struct hf_vocab *vocab, struct hf_text *content,
                                   struct hf_added *added) {
    static const char *const keys[] = {"id",     "content",    "single_word", "lstrip",
                                       "rstrip", "normalized", "special",     NULL};
    struct hf_added_token token = {0};
    char where[96];
    enum dapt_status status = hf_json_only(host, "added_tokens", object, keys);
    if (status == DAPT_OK)
        status = hf_json_string(host, "added_tokens", object, "content", NULL, content);
    if (status < 0) return status;
    snprintf(where, sizeof where, "added token \"%.64s\"", content->data);
    uint32_t expected = token.id = expected_id(added, vocab, content->data, content->length);
    const cJSON *id = hf_json_member(object, "id");
    if (id) status = hf_json_uint(host, where, id, HF_MAX_ID, &token.id);
    if (status == DAPT_OK)
        status = hf_json_bool(host, where, object, "single_word", -1, &token.single_word);
    if (status == DAPT_OK) status = hf_json_bool(host, where, object, "lstrip", -1, &token.lstrip);
    if (status == DAPT_OK) status = hf_json_bool(host, where, object, "rstrip", -1, &token.rstrip);
    if (status == DAPT_OK)
        status = hf_json_bool(host, where, object, "normalized", -1, &token.normalized);
    if (status == DAPT_OK)
        status = hf_json_bool(host, where, object, "special", -1, &token.special);
    if (status < 0) return status;
    if (!content->length || content->length > CONTENT_MAX)
        return hf_fail(host, DAPT_ERROR_INVALID, "%s: 1 to %d bytes of content were expected",
                       where, CONTENT_MAX);
    if (id && token.id != expected)
        return hf_fail(host, DAPT_ERROR_INVALID, "%s has id %u; the vocabulary gives it %u", where,
                       token.id, expected);
    status = hf_vocab_add(host, &added->texts, content->data, content->length, token.id);
    if (status < 0) return status;
    if (!hf_grow(&added->tokens, &added->capacity, added->count + 1, sizeof *added->tokens))
        return hf_out_of_memory(host);
    added->tokens[added->count++] = token;
    return DAPT_OK;
}

// A token that is normalized is searched for, and decodes to, its normalized text. It is "special"
// to the decoder only when that text is the one of a special token: so does Hugging Face
// tokenizers.
static enum dapt_status trie_token(const struct dapt_host *host,
                                   const struct hf_normalizer *normalizer,
                                   struct hf_normalize_scratch *scratch, struct hf_added *added,
                                   size_t index) {
    struct hf_added_token *token = &added->tokens[index];
    size_t length;
    const char *text = hf_vocab_text(&added->texts, token->id, &length);
    if (token->normalized) {
        enum dapt_status status = hf_normalize(normalizer, host, scratch, text, length, &text,
                                               &length);
        if (status < 0) return status;
        if (!length)
            return hf_fail(host, DAPT_ERROR_UNSUPPORTED,
                           "the added token with id %u is empty when normalized", token->id);
    }
    token->shown = (struct hf_span){added->shown.length, length};
    uint32_t named = hf_vocab_find(&added->texts, text, length);
    token->skipped = named != HF_NONE && added->tokens[added->by_id[named]].special;
    struct hf_added_trie *trie = token->normalized ? &added->normalized : &added->raw;
    if (!hf_text_append(&added->shown, text, length) ||
        !trie_add(trie, text, length, (uint32_t)index))
        return hf_out_of_memory(host);
    return DAPT_OK;
}

static bool index_ids(struct hf_added *added) {
    added->by_id = malloc(((size_t)added->texts.size + 1) * sizeof *added->by_id);
    if (!added->by_id) return false;
    for (uint32_t id = 0; id < added->texts.size; id++) added->by_id[id] = HF_NONE;
    for (size_t i = 0; i < added->count; i++) added->by_id[added->tokens[i].id] = (uint32_t)i;
    return true;
}

enum dapt_status hf_added_load(const struct dapt_host *host, const cJSON *list,
                               const struct hf_vocab *vocab, const struct hf_normalizer *normalizer,
                               struct hf_normalize_scratch *scratch, struct hf_added *added) {
    struct hf_text content = {0};
    enum dapt_status status = DAPT_OK;
    if (list && !cJSON_IsArray(list))
        return hf_fail(host, DAPT_ERROR_INVALID, "\"added_tokens\" must be a list");
    for (const cJSON *item = list ? list->child : NULL; item && status == DAPT_OK;
         item = item->next)
        status = load_token(host, item, vocab, &content, added);
    hf_text_free(&content);
    if (status == DAPT_OK && !index_ids(added)) status = hf_out_of_memory(host);
    // Special tokens come first where two have the same text when normalized.
    for (int special = 1; special >= 0; special--)
        for (size_t i = 0; i < added->count && status == DAPT_OK; i++)
            if (added->tokens[i].special == special)
                status = trie_token(host, normalizer, scratch, added, i);
    trie_finish(&added->raw);
    trie_finish(&added->normalized);
    return status;
}

void hf_added_free(struct hf_added *added) {
    free(added->tokens);
    free(added->by_id);
    free(added->raw.nodes);
    free(added->normalized.nodes);
    hf_text_free(&added->shown);
    hf_vocab_free(&added->texts);
    *added = (struct hf_added){0};
}

const struct hf_added_token *hf_added_at(const struct hf_added *added, uint32_t id) {
    uint32_t index = id < added->texts.size ? added->by_id[id] : HF_NONE;
    return index == HF_NONE ? NULL : &added->tokens[index];
}
