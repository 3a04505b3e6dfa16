#include "bpe.h"

// The ids that a word of this text gets when it is a token, or HF_NONE.
static uint32_t whole_word(const struct hf_bpe *bpe, struct hf_bpe_scratch *scratch,
                           const char *word, size_t length, bool *memory) {
    if (!bpe->bytes) return hf_vocab_find(bpe->vocab, word, length);
    if (length > bpe->vocab->longest) return HF_NONE;
    scratch->text.length = 0;
    *memory = hf_text_reserve(&scratch->text, 2 * length);
    if (!*memory) return HF_NONE;
    for (size_t i = 0; i < length; i++)
        scratch->text.length += hf_utf8_put(hf_byte_char((unsigned char)word[i]),
                                            scratch->text.data + scratch->text.length);
    return hf_vocab_find(bpe->vocab, scratch->text.data, scratch->text.length);
}

// The symbols of a word, as Hugging Face tokenizers makes them: an unknown character is held back
// until a known one comes (bytes of byte_fallback don't count as such), and is dropped when there
// is no unknown token.
struct symbols {
    struct hf_ids *out;
    bool pending, memory;
    bool missing_unk;
};

static void add_symbol(const struct hf_bpe *bpe, struct symbols *symbols, uint32_t id) {
    if (symbols->pending && !hf_ids_push(symbols->out, bpe->unk)) symbols->memory = false;
    symbols->pending = false;
    if (!hf_ids_push(symbols->out, id)) symbols->memory = false;
}

static void add_unknown(const struct hf_bpe *bpe, struct symbols *symbols, const char *text,
                        size_t length) {
    if (bpe->byte_fallback) {
        bool all = true;
        for (size_t i = 0; i < length; i++)
            all = all && bpe->fallback[(unsigned char)text[i]] != HF_NONE;
        for (size_t i = 0; all && i < length; i++)
            if (!hf_ids_push(symbols->out, bpe->fallback[(unsigned char)text[i]]))
                symbols->memory = false;
        if (all) return;
    }
    if (!bpe->has_unk) return;
    if (bpe->unk == HF_NONE) symbols->missing_unk = true;
    if (symbols->pending && !bpe->fuse_unk && !hf_ids_push(symbols->out, bpe->unk))
        symbols->memory = false;
    symbols->pending = true;
}

static void char_symbols(const struct hf_bpe *bpe, const char *word, size_t length,
                         struct symbols *symbols) {
    for (size_t i = 0; i < length;) {
        size_t start = i;
        uint32_t code = hf_utf8_next(word, &i);
        uint32_t id = code < bpe->char_count ? bpe->chars[code].id : 0;
        if (id)
            add_symbol(bpe, symbols, id - 1);
        else
            add_unknown(bpe, symbols, word + start, i - start);
    }
}

// With a prefix or suffix, a character's token depends on where it stands.
static void affix_symbols(const struct hf_bpe *bpe, struct hf_text *text, const char *word,
                          size_t length, struct symbols *symbols) {
    for (size_t i = 0; i < length;) {
        size_t start = i;
        hf_utf8_next(word, &i);
        text->length = 0;
        if (start > 0 && !hf_text_append(text, bpe->prefix.data, bpe->prefix.length))
            symbols->memory = false;
        if (!hf_text_append(text, word + start, i - start)) symbols->memory = false;
        if (i == length && !hf_text_append(text, bpe->suffix.data, bpe->suffix.length))
            symbols->memory = false;
        if (!symbols->memory) return;
        uint32_t id = hf_vocab_find(bpe->vocab, text->data, text->length);
        if (id != HF_NONE)
            add_symbol(bpe, symbols, id);
        else
            add_unknown(bpe, symbols, text->data, text->length);
    }
}

static enum dapt_status compute_word(const struct hf_bpe *bpe, const struct dapt_host *host,
                                     struct hf_bpe_scratch *scratch, const char *word,
                                     size_t length, struct hf_ids *ids) {
    struct symbols symbols = {.out = &scratch->symbols, .memory = true};
    scratch->symbols.count = 0;
    if (bpe->bytes) {
        if (!hf_ids_reserve(&scratch->symbols, length)) return hf_out_of_memory(host);
        for (size_t i = 0; i < length; i++) {
            uint32_t id = bpe->byte_ids[(unsigned char)word[i]];
            if (id != HF_NONE)
                add_symbol(bpe, &symbols, id);
            else
                add_unknown(bpe, &symbols, word + i, 1);
        }
    } else if (bpe->prefix.length || bpe->suffix.length) {
        affix_symbols(bpe, &scratch->text, word, length, &symbols);
    } else {
        char_symbols(bpe, word, length, &symbols);
    }
    if (symbols.missing_unk)
        return hf_fail(host, DAPT_ERROR_INVALID,
                       "model BPE: unk_token \"%.64s\" is needed and not in the vocabulary",
                       bpe->unk_token.data);
    if (symbols.pending && !hf_ids_push(&scratch->symbols, bpe->unk)) symbols.memory = false;
    if (!symbols.memory || scratch->symbols.count >= HF_NONE) return hf_out_of_memory(host);
    size_t count = hf_bpe_merge(bpe, scratch, scratch->symbols.data, scratch->symbols.count);
    if (count == SIZE_MAX || !hf_ids_append(ids, scratch->symbols.data, count))
        return hf_out_of_memory(host);
    return DAPT_OK;
}

static enum dapt_status encode_word(const struct hf_bpe *bpe, const struct dapt_host *host,
                                    struct hf_bpe_scratch *scratch, const char *word, size_t length,
                                    struct hf_ids *ids) {
    if (!hf_ids_reserve(ids, HF_WORD_LONG_IDS)) return hf_out_of_memory(host);
    if (length <= HF_WORD_SHORT && hf_words_short(&scratch->words, word, length, ids))
        return DAPT_OK;
    if (hf_words_long(&scratch->words, word, length, ids)) return DAPT_OK;
    size_t start = ids->count;
    enum dapt_status status = compute_word(bpe, host, scratch, word, length, ids);
    if (status == DAPT_OK)
        hf_words_put(&scratch->words, word, length, ids->data + start, ids->count - start);
    return status;
}

// May the word be cut between two characters?
static inline bool can_cut(const struct hf_bpe *bpe, struct hf_char a, struct hf_char b) {
    if (a.id && b.id) {
        if (!a.left || !b.right) return true;
        size_t bit = (size_t)(a.left - 1) * bpe->right_count + (b.right - 1);
        return !(bpe->joints[bit >> 3] >> (bit & 7) & 1);
    }
    return a.id || b.id ||
           bpe->all_fallback;  // unknown characters beside each other may become one
}

static inline struct hf_char char_of(const struct hf_bpe *bpe, uint32_t code) {
    return code < bpe->char_count ? bpe->chars[code] : (struct hf_char){0};
}

static enum dapt_status encode_parts(const struct hf_bpe *bpe, const struct dapt_host *host,
                                     struct hf_bpe_scratch *scratch, const char *word,
                                     size_t length, struct hf_ids *ids) {
    size_t start = 0, at = 0;
    struct hf_char last = char_of(bpe, hf_utf8_next(word, &at));
    while (at < length) {
        size_t here = at;
        struct hf_char next = char_of(bpe, hf_utf8_next(word, &at));
        if (can_cut(bpe, last, next)) {
            enum dapt_status status = encode_word(bpe, host, scratch, word + start, here - start,
                                                  ids);
            if (status < 0) return status;
            start = here;
        }
        last = next;
    }
    return encode_word(bpe, host, scratch, word + start, length - start, ids);
}

enum dapt_status hf_bpe_encode(const struct hf_bpe *bpe, const struct dapt_host *host,
                               struct hf_bpe_scratch *scratch, const char *word, size_t length,
                               struct hf_ids *ids) {
    if (!length) return DAPT_OK;
    if (!scratch->words.shorts && !hf_words_create(&scratch->words)) return hf_out_of_memory(host);
    if (bpe->ignore_merges) {
        if (!hf_ids_reserve(ids, HF_WORD_LONG_IDS)) return hf_out_of_memory(host);
        if (length <= HF_WORD_SHORT && hf_words_short(&scratch->words, word, length, ids))
            return DAPT_OK;
        bool memory = true;
        uint32_t id = whole_word(bpe, scratch, word, length, &memory);
        if (!memory) return hf_out_of_memory(host);
        if (id != HF_NONE) {
            hf_words_put(&scratch->words, word, length, &id, 1);
            return hf_ids_push(ids, id) ? DAPT_OK : hf_out_of_memory(host);
        }
    }
    if (bpe->cuttable && !bpe->bytes) return encode_parts(bpe, host, scratch, word, length, ids);
    return encode_word(bpe, host, scratch, word, length, ids);
}
