#include "json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILE_MAX = 256 << 20 };

enum dapt_status hf_file_read(const struct dapt_host *host, const char *path_z,
                              struct hf_text *text) {
    struct dapt_input *input = host->open_input(host, path_z);
    if (!input) return DAPT_ERROR_IO;
    enum dapt_status status = DAPT_OK;
    for (;;) {
        if (!hf_text_reserve(text, (1 << 16) + 1)) {
            status = hf_out_of_memory(host);
            break;
        }
        int64_t got = host->read_input(input, text->data + text->length,
                                       text->capacity - text->length - 1);
        if (got < 0) status = DAPT_ERROR_IO;
        if (got <= 0) break;
        text->length += (size_t)got;
        if (text->length > FILE_MAX) {
            status = hf_fail(host, DAPT_ERROR_INVALID,
                             "%.300s has more than %d MiB; a tokenizer's file was expected", path_z,
                             FILE_MAX >> 20);
            break;
        }
    }
    host->close_input(input);
    return status;
}

// Writes every \u0000 as C0 80, in place: cJSON's strings end at a NUL.
static void hide_zeros(struct hf_text *text) {
    char *in = text->data, *out = text->data, *end = in + text->length;
    if (!memmem(in, text->length, "\\u0000", 6)) return;
    while (in < end) {
        if (*in != '\\' || end - in < 2) {
            *out++ = *in++;
        } else if (end - in >= 6 && !memcmp(in, "\\u0000", 6)) {
            *out++ = '\xc0';
            *out++ = '\x80';
            in += 6;
        } else {
            *out++ = *in++;
            *out++ = *in++;
        }
    }
    text->length = (size_t)(out - text->data);
}

enum dapt_status hf_json_read(const struct dapt_host *host, const char *path_z, cJSON **json) {
    struct hf_text text = {0};
    size_t ascii;
    const char *stop = NULL;
    *json = NULL;
    enum dapt_status status = hf_file_read(host, path_z, &text);
    if (status < 0) goto done;
    size_t valid = hf_utf8_valid(text.data, text.length, &ascii);
    if (valid < text.length) {
        status = hf_fail(host, DAPT_ERROR_INVALID,
                         "%.300s is not valid UTF-8 at byte %zu; JSON was expected", path_z, valid);
        goto done;
    }
    if (memchr(text.data, 0, text.length)) {
        status = hf_fail(host, DAPT_ERROR_INVALID, "%.300s holds a NUL byte; JSON was expected",
                         path_z);
        goto done;
    }
    hide_zeros(&text);
    text.data[text.length] = 0;  // hf_file_read left room
    *json = cJSON_ParseWithLengthOpts(text.data, text.length + 1, &stop, true);
    if (!*json) {
        size_t at = stop && stop >= text.data ? (size_t)(stop - text.data) : 0, line = 1;
        for (size_t i = 0; i < at && i < text.length; i++) line += text.data[i] == '\n';
        status = hf_fail(host, DAPT_ERROR_INVALID,
                         "%.300s is not valid JSON, near byte %zu (line %zu)", path_z, at, line);
    } else if (!cJSON_IsObject(*json)) {
        status = hf_fail(host, DAPT_ERROR_INVALID, "%.300s: a JSON object was expected", path_z);
        cJSON_Delete(*json);
        *json = NULL;
    }
done:
    hf_text_free(&text);
    return status;
}

enum dapt_status hf_json_beside(const struct dapt_host *host, const char *folder_z,
                                const char *name_z, cJSON **json) {
    struct hf_text path = {0};
    enum dapt_status status = DAPT_OK;
    *json = NULL;
    if (!hf_path_join(&path, folder_z, name_z))
        status = hf_out_of_memory(host);
    else if (!access(path.data, F_OK))
        status = hf_json_read(host, path.data, json);
    hf_text_free(&path);
    return status;
}

const cJSON *hf_json_member(const cJSON *object, const char *key) {
    const cJSON *member = cJSON_GetObjectItemCaseSensitive(object, key);
    return member && !cJSON_IsNull(member) ? member : NULL;
}

enum dapt_status hf_json_text(const struct dapt_host *host, const char *where, const cJSON *string,
                              struct hf_text *text) {
    if (!cJSON_IsString(string) || !string->valuestring)
        return hf_fail(host, DAPT_ERROR_INVALID, "%s: a string was expected", where);
    const char *p = string->valuestring;
    size_t left = strlen(p);
    if (!hf_text_reserve(text, left + 1)) return hf_out_of_memory(host);
    while (left) {
        const char *zero = memmem(p, left, "\xc0\x80", 2);
        size_t part = zero ? (size_t)(zero - p) : left;
        hf_text_append(text, p, part);
        if (!zero) break;
        hf_text_append(text, "", 1);
        p = zero + 2;
        left -= part + 2;
    }
    text->data[text->length] = 0;
    return DAPT_OK;
}

enum dapt_status hf_json_string(const struct dapt_host *host, const char *where,
                                const cJSON *object, const char *key, const char *fallback_z,
                                struct hf_text *text) {
    char place[160];
    const cJSON *member = hf_json_member(object, key);
    text->length = 0;
    snprintf(place, sizeof place, "%.100s, \"%s\"", where, key);
    if (member) return hf_json_text(host, place, member, text);
    if (!fallback_z)
        return hf_fail(host, DAPT_ERROR_INVALID, "%s is missing; a string was expected", place);
    if (!hf_text_append(text, fallback_z, strlen(fallback_z) + 1)) return hf_out_of_memory(host);
    text->length--;
    return DAPT_OK;
}

enum dapt_status hf_json_bool(const struct dapt_host *host, const char *where, const cJSON *object,
                              const char *key, int fallback, bool *value) {
    const cJSON *member = hf_json_member(object, key);
    if (!member && fallback < 0)
        return hf_fail(host, DAPT_ERROR_INVALID,
                       "%s, \"%s\" is missing; true or false was expected", where, key);
    if (member && !cJSON_IsBool(member))
        return hf_fail(host, DAPT_ERROR_INVALID, "%s, \"%s\": true or false was expected", where,
                       key);
    *value = member ? cJSON_IsTrue(member) : fallback > 0;
    return DAPT_OK;
}

enum dapt_status hf_json_uint(const struct dapt_host *host, const char *where, const cJSON *value,
                              uint32_t limit, uint32_t *number) {
    double d = cJSON_IsNumber(value) ? value->valuedouble : -1;
    if (!(d >= 0 && d < limit) || d != (double)(uint32_t)d)
        return hf_fail(host, DAPT_ERROR_INVALID, "%s: an integer from 0 to %u was expected", where,
                       limit - 1);
    *number = (uint32_t)d;
    return DAPT_OK;
}

enum dapt_status hf_json_only(const struct dapt_host *host, const char *where, const cJSON *object,
                              const char *const *keys) {
    if (!cJSON_IsObject(object))
        return hf_fail(host, DAPT_ERROR_INVALID, "%s: an object was expected", where);
    for (const cJSON *member = object->child; member; member = member->next) {
        const char *const *key = keys;
        while (*key && strcmp(*key, member->string)) key++;
        if (!*key)
            return hf_fail(host, DAPT_ERROR_UNSUPPORTED, "%s: option \"%.80s\" is not supported",
                           where, member->string);
        for (const cJSON *later = member->next; later; later = later->next)
            if (!strcmp(later->string, member->string))
                return hf_fail(host, DAPT_ERROR_INVALID, "%s: \"%.80s\" stands twice", where,
                               member->string);
    }
    return DAPT_OK;
}

enum dapt_status hf_json_type(const struct dapt_host *host, const char *where, const cJSON *object,
                              const char **type) {
    if (!cJSON_IsObject(object))
        return hf_fail(host, DAPT_ERROR_INVALID, "%s: an object was expected", where);
    const cJSON *member = hf_json_member(object, "type");
    if (!cJSON_IsString(member))
        return hf_fail(host, DAPT_ERROR_INVALID, "%s: \"type\" is missing", where);
    *type = member->valuestring;
    return DAPT_OK;
}
