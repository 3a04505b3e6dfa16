#include "wordpiece.h"

#include <stdlib.h>

// ---------------------------------------------------------------------------- tokens in their order

struct entry {
    const char *text;
    uint32_t length, id;
};

static int by_text(const void *a, const void *b) {
    const struct entry *one = a, *other = b;
    size_t both = one->length < other->length ? one->length : other->length;
    int order = memcmp(one->text, other->text, both);
    return order ? order : (one->length > other->length) - (one->length < other->length);
}

static bool sort_tokens(struct hf_wordpiece *model) {
    const struct hf_vocab *vocab = model->vocab;
    struct entry *entries = malloc(((size_t)vocab->count + 1) * sizeof *entries);
    uint32_t count = 0;
    model->order = malloc(((size_t)vocab->count + 1) * sizeof *model->order);
    for (uint32_t id = 0; entries && id < vocab->size; id++) {
        size_t length;
        const char *text = hf_vocab_text(vocab, id, &length);
        if (text) entries[count++] = (struct entry){text, (uint32_t)length, id};
    }
    if (entries) qsort(entries, count, sizeof *entries, by_text);
    for (uint32_t i = 0; entries && model->order && i < count; i++) model->order[i] = entries[i].id;
    free(entries);
    return entries && model->order;
}

static const struct hf_token *token_at(const struct hf_wordpiece *model, uint32_t place) {
    return &model->vocab->tokens[model->order[place]];
}

// The first place of a stretch, whose tokens have `depth` bytes in common, where the next byte is
// `least` or more. A token that ends there comes before all others.
static uint32_t bound(const struct hf_wordpiece *model, struct hf_stretch in, size_t depth,
                      int least) {
    while (in.begin < in.end) {
        uint32_t middle = in.begin + (in.end - in.begin) / 2;
        const struct hf_token *token = token_at(model, middle);
        const char *text = model->vocab->arena.data + token->offset;
        int byte = token->length > depth ? (unsigned char)text[depth] : -1;
        if (byte < least)
            in.begin = middle + 1;
        else
            in.end = middle;
    }
    return in.begin;
}

static struct hf_stretch narrow(const struct hf_wordpiece *model, struct hf_stretch in,
                                size_t depth, unsigned char byte) {
    in.begin = bound(model, in, depth, byte);
    in.end = bound(model, in, depth, byte + 1);
    return in;
}

static void find_first(struct hf_wordpiece *model) {
    struct hf_stretch in = {0, model->vocab->count};
    for (int inside = 0; inside < 2; inside++) {
        size_t depth = inside ? model->prefix.length : 0;
        for (size_t i = 0; i < depth; i++)
            in = narrow(model, in, i, (unsigned char)model->prefix.data[i]);
        for (unsigned byte = 0; byte < 256; byte++)
            model->first[inside][byte] = narrow(model, in, depth, (unsigned char)byte);
    }
}

// ------------------------------------------------------------------------------------------- loading

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
    if (!sort_tokens(out)) return hf_out_of_memory(host);
    find_first(out);
    return DAPT_OK;
}

void hf_wordpiece_free(struct hf_wordpiece *model) {
    hf_text_free(&model->prefix);
    hf_text_free(&model->unk_token);
    free(model->order);
}

void hf_wordpiece_scratch_free(struct hf_wordpiece_scratch *scratch) {
    hf_words_free(&scratch->words);
}

// ---------------------------------------------------------------------------------------- encoding

// The longest token that begins the text; its end in *end. What can't be the beginning of any token
// is not looked at, so that a long word costs no more than its pieces.
static uint32_t longest_piece(const struct hf_wordpiece *model, bool inside, const char *text,
                              size_t length, size_t *end) {
    struct hf_stretch in = model->first[inside][(unsigned char)text[0]];
    size_t prefix = inside ? model->prefix.length : 0, at = 1;
    uint32_t found = HF_NONE;
    while (in.begin < in.end) {
        const struct hf_token *token = token_at(model, in.begin);
        size_t more = token->length - prefix - at;
        if (more == 0 ||
            (in.end - in.begin == 1 && more <= length - at &&
             !memcmp(model->vocab->arena.data + token->offset + prefix + at, text + at, more))) {
            found = model->order[in.begin];
            *end = at + more;
        }
        if (in.end - in.begin == 1 || at == length) break;
        in = narrow(model, in, prefix + at, (unsigned char)text[at]);
        at++;
    }
    return found;
}

static enum dapt_status compute(const struct hf_wordpiece *model, const struct dapt_host *host,
                                const char *word, size_t length, struct hf_ids *ids) {
    size_t first = ids->count, chars = 0;
    for (size_t i = 0; i < length; i++) chars += ((unsigned char)word[i] & 0xc0) != 0x80;
    bool bad = chars > model->max_chars;
    for (size_t start = 0, end = 0; start < length && !bad; start += end) {
        uint32_t id = longest_piece(model, start > 0, word + start, length - start, &end);
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
    enum dapt_status status = compute(model, host, word, length, ids);
    if (status == DAPT_OK)
        hf_words_put(&scratch->words, word, length, ids->data + start, ids->count - start);
    return status;
}
