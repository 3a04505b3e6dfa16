#include "wordpiece.h"

enum dapt_status hf_wordpiece_load(const struct dapt_host *host, const cJSON *model,
                                   const struct hf_vocab *vocab, struct hf_wordpiece *out) {
    static const char *const keys[] = {
        "type",  "unk_token", "continuing_subword_prefix", "max_input_chars_per_word",
        "vocab", NULL};
    const char *where = "model WordPiece";
    const cJSON *max_chars = hf_json_member(model, "max_input_chars_per_word");
    enum dapt_status status = hf_json_only(host, where, model, keys);
    out->vocab = vocab;
    out->max_chars = 100;
    if (status == DAPT_OK)
        status = hf_json_string(host, where, model, "unk_token", "[UNK]", &out->unk_token);
    if (status == DAPT_OK)
        status = hf_json_string(host, where, model, "continuing_subword_prefix", "##",
                                &out->prefix);
    if (status == DAPT_OK && max_chars)
        status = hf_json_uint(host, "model WordPiece, \"max_input_chars_per_word\"", max_chars,
                              1u << 20, &out->max_chars);
    if (status < 0) return status;
    out->unk = hf_vocab_find(vocab, out->unk_token.data, out->unk_token.length);
    return DAPT_OK;
}

void hf_wordpiece_free(struct hf_wordpiece *model) {
    hf_text_free(&model->prefix);
    hf_text_free(&model->unk_token);
}

void hf_wordpiece_scratch_free(struct hf_wordpiece_scratch *scratch) {
    hf_words_free(&scratch->words);
    hf_text_free(&scratch->text);
}

// The longest token at word[start..]; its end in *end.
static uint32_t longest_piece(const struct hf_wordpiece *model, const struct hf_text *prefixed,
                              const char *word, size_t start, size_t length, size_t *end) {
    size_t affix = start ? model->prefix.length : 0;
    size_t most = model->vocab->longest > affix ? model->vocab->longest - affix : 0;
    size_t at = length - start > most ? start + most : length;
    while (at < length && ((unsigned char)word[at] & 0xc0) == 0x80) at--;
    // `prefixed` is the prefix and then the word: behind a start, the prefix must stand right
    // before it.
    for (; at > start; at = hf_utf8_before(word, at)) {
        const char *text = start ? prefixed->data : word;
        size_t size = start ? affix + at - start : at;
        uint32_t id = hf_vocab_find(model->vocab, text, size);
        if (id != HF_NONE) {
            *end = at;
            return id;
        }
    }
    return HF_NONE;
}

static enum dapt_status compute(const struct hf_wordpiece *model, const struct dapt_host *host,
                                struct hf_text *text, const char *word, size_t length,
                                struct hf_ids *ids) {
    size_t first = ids->count, chars = 0;
    for (size_t i = 0; i < length; i++) chars += ((unsigned char)word[i] & 0xc0) != 0x80;
    bool bad = chars > model->max_chars;
    for (size_t start = 0, end = 0; start < length && !bad; start = end) {
        if (start) {
            size_t rest = length - start < model->vocab->longest ? length - start
                                                                 : model->vocab->longest;
            text->length = 0;
            if (!hf_text_append(text, model->prefix.data, model->prefix.length) ||
                !hf_text_append(text, word + start, rest))
                return hf_out_of_memory(host);
        }
        uint32_t id = longest_piece(model, text, word, start, length, &end);
        bad = id == HF_NONE;
        if (!bad && !hf_ids_push(ids, id)) return hf_out_of_memory(host);
    }
    if (!bad) return DAPT_OK;
    ids->count = first;
    if (model->unk == HF_NONE)
        return hf_fail(host, DAPT_ERROR_INVALID,
                       "model WordPiece: unk_token \"%.64s\" is needed and not in the vocabulary",
                       model->unk_token.data);
    return hf_ids_push(ids, model->unk) ? DAPT_OK : hf_out_of_memory(host);
}

enum dapt_status hf_wordpiece_encode(const struct hf_wordpiece *model, const struct dapt_host *host,
                                     struct hf_wordpiece_scratch *scratch, const char *word,
                                     size_t length, struct hf_ids *ids) {
    if (!length) return DAPT_OK;
    if (!scratch->words.shorts && !hf_words_create(&scratch->words)) return hf_out_of_memory(host);
    if (!hf_ids_reserve(ids, HF_WORD_LONG_IDS)) return hf_out_of_memory(host);
    if (length <= HF_WORD_SHORT && hf_words_short(&scratch->words, word, length, ids))
        return DAPT_OK;
    if (hf_words_long(&scratch->words, word, length, ids)) return DAPT_OK;
    size_t start = ids->count;
    enum dapt_status status = compute(model, host, &scratch->text, word, length, ids);
    if (status == DAPT_OK)
        hf_words_put(&scratch->words, word, length, ids->data + start, ids->count - start);
    return status;
}
