#include "post.h"

#include <stdio.h>
#include <string.h>

enum { DEPTH_MAX = 16, IDS_MAX = 4096 };

// Puts one more layer around what is there.
static enum dapt_status wrap(const struct dapt_host *host, struct hf_post *post,
                             const struct hf_ids *before, const struct hf_ids *after) {
    struct hf_ids joined = {0};
    bool good = hf_ids_append(&joined, before->data, before->count) &&
                hf_ids_append(&joined, post->before.data, post->before.count);
    if (!good || !hf_ids_append(&post->after, after->data, after->count)) {
        hf_ids_free(&joined);
        return hf_out_of_memory(host);
    }
    hf_ids_free(&post->before);
    post->before = joined;
    if (post->before.count > IDS_MAX || post->after.count > IDS_MAX)
        return hf_fail(host, DAPT_ERROR_INVALID,
                       "post_processor: more than %d special tokens around a text", IDS_MAX);
    return DAPT_OK;
}

static enum dapt_status special_ids(const struct dapt_host *host, const cJSON *specials,
                                    const cJSON *piece, uint32_t limit, struct hf_ids *ids) {
    const cJSON *name = hf_json_member(piece, "id");
    const cJSON *entry = cJSON_IsString(name) ? hf_json_member(specials, name->valuestring) : NULL;
    const cJSON *list = hf_json_member(entry, "ids");
    if (!cJSON_IsArray(list))
        return hf_fail(host, DAPT_ERROR_INVALID,
                       "post_processor TemplateProcessing: no ids for special token \"%.64s\"",
                       cJSON_IsString(name) ? name->valuestring : "?");
    for (const cJSON *item = list->child; item; item = item->next) {
        uint32_t id;
        enum dapt_status status = hf_json_uint(
            host, "post_processor TemplateProcessing, special token's id", item, limit, &id);
        if (status < 0) return status;
        if (!hf_ids_push(ids, id)) return hf_out_of_memory(host);
    }
    return DAPT_OK;
}

static enum dapt_status load_template(const struct dapt_host *host, const cJSON *object,
                                      uint32_t limit, struct hf_post *post) {
    static const char *const keys[] = {"type", "single", "pair", "special_tokens", NULL};
    struct hf_ids sides[2] = {{0}, {0}};
    int side = 0;
    const cJSON *single = hf_json_member(object, "single"),
                *specials = hf_json_member(object, "special_tokens");
    enum dapt_status status = hf_json_only(host, "post_processor TemplateProcessing", object, keys);
    if (status == DAPT_OK && !cJSON_IsArray(single))
        status = hf_fail(host, DAPT_ERROR_INVALID,
                         "post_processor TemplateProcessing: \"single\" must be a list");
    for (const cJSON *piece = single ? single->child : NULL; piece && status == DAPT_OK;
         piece = piece->next) {
        const cJSON *special = hf_json_member(piece, "SpecialToken"),
                    *sequence = hf_json_member(piece, "Sequence");
        const cJSON *id = hf_json_member(sequence, "id");
        if (special)
            status = special_ids(host, specials, special, limit, &sides[side]);
        else if (cJSON_IsString(id) && !strcmp(id->valuestring, "A") && side++ == 0)
            continue;
        else
            status = hf_fail(host, DAPT_ERROR_UNSUPPORTED,
                             "post_processor TemplateProcessing: special tokens and one sequence "
                             "\"A\" were expected in "
                             "\"single\"");
    }
    if (status == DAPT_OK && !side)
        status = hf_fail(host, DAPT_ERROR_UNSUPPORTED,
                         "post_processor TemplateProcessing: no sequence \"A\" in \"single\"");
    if (status == DAPT_OK) status = wrap(host, post, &sides[0], &sides[1]);
    hf_ids_free(&sides[0]);
    hf_ids_free(&sides[1]);
    return status;
}

// "sep" and "cls": [token, id].
static enum dapt_status load_pair(const struct dapt_host *host, const cJSON *object,
                                  const char *where, uint32_t limit, struct hf_post *post) {
    static const char *const names[2] = {"cls", "sep"};
    static const char *const keys[] = {"type", "sep", "cls", "trim_offsets", "add_prefix_space",
                                       NULL};
    struct hf_ids sides[2] = {{0}, {0}};
    enum dapt_status status = hf_json_only(host, where, object, keys);
    for (int i = 0; i < 2 && status == DAPT_OK; i++) {
        const cJSON *member = hf_json_member(object, names[i]);
        const cJSON *number = cJSON_IsArray(member) && member->child ? member->child->next : NULL;
        char place[128];
        uint32_t id = 0;
        snprintf(place, sizeof place, "%.90s, \"%s\": [token, id]", where, names[i]);
        status = hf_json_uint(host, place, number, limit, &id);
        if (status == DAPT_OK && !hf_ids_push(&sides[i], id)) status = hf_out_of_memory(host);
    }
    if (status == DAPT_OK) status = wrap(host, post, &sides[0], &sides[1]);
    hf_ids_free(&sides[0]);
    hf_ids_free(&sides[1]);
    return status;
}

static enum dapt_status load(const struct dapt_host *host, const cJSON *object, int depth,
                             uint32_t limit, struct hf_post *post) {
    const char *type;
    enum dapt_status status = hf_json_type(host, "post_processor", object, &type);
    if (status < 0) return status;
    if (!strcmp(type, "Sequence")) {
        static const char *const keys[] = {"type", "processors", NULL};
        const cJSON *list = hf_json_member(object, "processors");
        if (depth >= DEPTH_MAX)
            return hf_fail(host, DAPT_ERROR_INVALID, "post-processors are nested too deep");
        status = hf_json_only(host, "post_processor Sequence", object, keys);
        if (status == DAPT_OK && !cJSON_IsArray(list))
            status = hf_fail(host, DAPT_ERROR_INVALID,
                             "post_processor Sequence: \"processors\" must be a list");
        for (const cJSON *item = list ? list->child : NULL; item && status == DAPT_OK;
             item = item->next)
            status = load(host, item, depth + 1, limit, post);
        return status;
    }
    if (!strcmp(type, "TemplateProcessing")) return load_template(host, object, limit, post);
    if (!strcmp(type, "BertProcessing") || !strcmp(type, "RobertaProcessing"))
        return load_pair(
            host, object,
            type[0] == 'B' ? "post_processor BertProcessing" : "post_processor RobertaProcessing",
            limit, post);
    if (!strcmp(type, "ByteLevel")) return DAPT_OK;  // about offsets alone
    return hf_fail(host, DAPT_ERROR_UNSUPPORTED, "post_processor \"%.64s\" is not supported", type);
}

enum dapt_status hf_post_load(const struct dapt_host *host, const cJSON *object, uint32_t limit,
                              struct hf_post *post) {
    if (!object || cJSON_IsNull(object)) return DAPT_OK;
    return load(host, object, 0, limit, post);
}

void hf_post_free(struct hf_post *post) {
    hf_ids_free(&post->before);
    hf_ids_free(&post->after);
}
