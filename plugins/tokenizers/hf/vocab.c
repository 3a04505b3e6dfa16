#include "vocab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool slots_grow(struct hf_vocab *vocab) {
    uint32_t size = vocab->slots ? (vocab->mask + 1) * 2 : 1024;
    uint32_t *slots = calloc(size, sizeof *slots);
    if (!slots) return false;
    free(vocab->slots);
    vocab->slots = slots;
    vocab->mask = size - 1;
    for (uint32_t id = 0; id < vocab->size; id++) {
        const struct hf_token *token = &vocab->tokens[id];
        if (token->length == HF_NONE) continue;
        uint32_t at = (uint32_t)hf_hash(vocab->arena.data + token->offset, token->length) &
                      vocab->mask;
        while (slots[at]) at = (at + 1) & vocab->mask;
        slots[at] = id + 1;
    }
    return true;
}

// The slot that holds this text, or the free one where it would go.
static uint32_t slot_of(const struct hf_vocab *vocab, const char *text, size_t length) {
    uint32_t at = (uint32_t)hf_hash(text, length) & vocab->mask;
    while (vocab->slots[at]) {
        const struct hf_token *token = &vocab->tokens[vocab->slots[at] - 1];
        if (token->length == length && !memcmp(vocab->arena.data + token->offset, text, length))
            break;
        at = (at + 1) & vocab->mask;
    }
    return at;
}

enum dapt_status hf_vocab_add(const struct dapt_host *host, struct hf_vocab *vocab,
                              const char *text, size_t length, uint32_t id) {
    int shown = length < 80 ? (int)length : 80;
    if (id >= HF_MAX_ID)
        return hf_fail(host, DAPT_ERROR_INVALID,
                       "token \"%.*s\" has id %u; at most %u was expected", shown, text, id,
                       HF_MAX_ID - 1);
    if (!vocab->slots || vocab->count + 1 > vocab->mask / 2)
        if (!slots_grow(vocab)) return hf_out_of_memory(host);
    uint32_t slot = slot_of(vocab, text, length);
    if (vocab->slots[slot])
        return hf_fail(host, DAPT_ERROR_INVALID,
                       "token \"%.*s\" stands twice in the vocabulary (ids %u and %u)", shown, text,
                       vocab->slots[slot] - 1, id);
    if (!hf_grow(&vocab->tokens, &vocab->capacity, (size_t)id + 1, sizeof *vocab->tokens))
        return hf_out_of_memory(host);
    while (vocab->size <= id) vocab->tokens[vocab->size++].length = HF_NONE;
    if (vocab->tokens[id].length != HF_NONE)
        return hf_fail(host, DAPT_ERROR_INVALID, "tokens \"%.*s\" and \"%.*s\" have the same id %u",
                       (int)(vocab->tokens[id].length < 80 ? vocab->tokens[id].length : 80),
                       vocab->arena.data + vocab->tokens[id].offset, shown, text, id);
    vocab->tokens[id] = (struct hf_token){(uint32_t)vocab->arena.length, (uint32_t)length};
    if (!hf_text_append(&vocab->arena, text, length)) return hf_out_of_memory(host);
    if (!vocab->arena.data && !hf_text_reserve(&vocab->arena, 1)) return hf_out_of_memory(host);
    if (length > vocab->longest) vocab->longest = (uint32_t)length;
    vocab->slots[slot] = id + 1;
    vocab->count++;
    return DAPT_OK;
}

enum dapt_status hf_vocab_load(const struct dapt_host *host, const cJSON *object,
                               struct hf_vocab *vocab) {
    struct hf_text text = {0};
    enum dapt_status status = DAPT_OK;
    if (!cJSON_IsObject(object))
        return hf_fail(host, DAPT_ERROR_INVALID,
                       "model, \"vocab\": an object of token: id was expected");
    for (const cJSON *item = object->child; item && status == DAPT_OK; item = item->next) {
        char where[128];
        uint32_t id = 0;
        snprintf(where, sizeof where, "id of token \"%.80s\"", item->string);
        status = hf_json_uint(host, where, item, HF_MAX_ID, &id);
        if (status < 0) break;
        cJSON key = {.type = cJSON_String, .valuestring = item->string};
        text.length = 0;
        status = hf_json_text(host, where, &key, &text);
        if (status == DAPT_OK) status = hf_vocab_add(host, vocab, text.data, text.length, id);
    }
    hf_text_free(&text);
    return status;
}

uint32_t hf_vocab_find(const struct hf_vocab *vocab, const char *text, size_t length) {
    if (!vocab->slots || length > vocab->longest) return HF_NONE;
    uint32_t slot = slot_of(vocab, text, length);
    return vocab->slots[slot] ? vocab->slots[slot] - 1 : HF_NONE;
}

const char *hf_vocab_text(const struct hf_vocab *vocab, uint32_t id, size_t *length) {
    if (id >= vocab->size || vocab->tokens[id].length == HF_NONE) return NULL;
    *length = vocab->tokens[id].length;
    return vocab->arena.data + vocab->tokens[id].offset;
}

void hf_vocab_free(struct hf_vocab *vocab) {
    hf_text_free(&vocab->arena);
    free(vocab->tokens);
    free(vocab->slots);
    *vocab = (struct hf_vocab){0};
}
