#include "infer/task.h"

#include <stdlib.h>
#include <string.h>

#include "infer/records.h"

#define EXAMPLE "{\"context\": \"...\", \"choices\": [\"...\", \"...\"], \"answer\": 0}"

const char *const dapt_task_kind_names[DAPT_TASK_KINDS] = {[DAPT_TASK_CHOICE] = "multiple_choice",
                                                           [DAPT_TASK_CLOZE] = "cloze",
                                                           [DAPT_TASK_ROLLING] = "rolling"};
static const char *const marks[DAPT_TASK_KINDS] = {[DAPT_TASK_CHOICE] = "choices",
                                                   [DAPT_TASK_CLOZE] = "continuation",
                                                   [DAPT_TASK_ROLLING] = "text"};

struct reader {
    struct dapt_session *session;
    struct dapt_task *task;
    uint32_t length;
    struct dapt_string begin;      // what the tokenizer's first token reads as
    struct dapt_string text;       // context and continuation
    struct dapt_ids given, whole;  // the context's ids; those of the text
};

// ---------------------------------------------------------------------------------------- encoding

// A text that already begins with the beginning-of-text token gets no second one.
static enum dapt_status encode(struct reader *r, const char *text, size_t length, bool open,
                               struct dapt_ids *ids) {
    bool begun = r->begin.length > 0 && length >= r->begin.length &&
                 memcmp(text, r->begin.data, r->begin.length) == 0;
    if (open && !begun) return dapt_session_encode_open(r->session, text, length, ids);
    ids->count = 0;
    return dapt_tokenizer_encode(r->session->tokenizer, text, length,
                                 begun ? 0 : DAPT_ENCODE_SPECIAL, ids);
}

static enum dapt_status need_first(const struct reader *r, const struct dapt_json *value,
                                   uint32_t *first) {
    int64_t id = dapt_session_first(r->session);
    if (id < 0)
        return dapt_json_fail(value,
                              "nothing stands before it, and the tokenizer has neither a "
                              "beginning-of-text nor an end-of-text token");
    *first = (uint32_t)id;
    return DAPT_OK;
}

static enum dapt_status add_ids(struct dapt_ids *ids, const uint32_t *more, size_t count) {
    enum dapt_status status = dapt_grow(&ids->ids, &ids->capacity, ids->count + count,
                                        sizeof *ids->ids);
    if (status) return status;
    if (count) memcpy(ids->ids + ids->count, more, count * sizeof *more);
    ids->count += count;
    return DAPT_OK;
}

// A request for ids [count] given ids [given]; what has no room is left out from the front.
static enum dapt_status add_request(struct reader *r, const uint32_t *given, size_t given_count,
                                    const uint32_t *ids, size_t count) {
    struct dapt_task *task = r->task;
    size_t cut = given_count + count > (size_t)r->length + 1 ? given_count + count - r->length - 1
                                                             : 0;
    task->cut += cut > 0;
    enum dapt_status status = dapt_grow(&task->requests, &task->request_capacity,
                                        task->request_count + 1, sizeof *task->requests);
    size_t begin = task->ids.count;
    if (!status) status = add_ids(&task->ids, given + cut, given_count - cut);
    if (!status) status = add_ids(&task->ids, ids, count);
    if (status) return status;
    task->requests[task->request_count++] = (struct dapt_request){
        .begin = begin, .count = (uint32_t)(task->ids.count - begin), .scored = (uint32_t)count};
    return DAPT_OK;
}

// The ids of the whole text, divided behind as many as the context alone has. `value`: the
// continuation, for messages.
static enum dapt_status add_pair(struct reader *r, const struct dapt_json *value,
                                 const char *context, const char *delimiter,
                                 const char *continuation) {
    size_t length = strlen(context), space;
    r->text.length = 0;
    enum dapt_status status = dapt_string_format(&r->text, "%s%s%s", context, delimiter,
                                                 continuation);
    while ((space = dapt_space_last(context, length))) length -= space;
    const struct dapt_ids *given = &r->given, *whole = &r->whole;
    size_t from = r->given.count = r->whole.count = 0;
    if (!status && length > 0) {
        status = encode(r, r->text.data, r->text.length, true, &r->whole);
        if (!status) status = encode(r, context, length, true, &r->given);
        from = given->count;
    } else if (!status) {
        status = dapt_tokenizer_encode(r->session->tokenizer, r->text.data, r->text.length, 0,
                                       &r->whole);
    }
    if (!status && given->count == 0) {
        uint32_t first = 0;
        status = need_first(r, value, &first);
        from = !status && whole->count > 0 && whole->ids[0] == first;
        if (!status) status = add_ids(&r->given, &first, 1);
    }
    if (status) return status;
    if (whole->count <= from)
        return dapt_json_fail(value,
                              "gives no token of its own: the tokenizer joins it to the context");
    size_t count = whole->count - from;
    if (count > r->length)
        return dapt_json_fail(value, "has %zu tokens, expected at most the model's %u", count,
                              r->length);
    return add_request(r, given->ids, given->count, whole->ids + from, count);
}

// -------------------------------------------------------------------------------- kinds of records

static uint32_t letters(const char *text) {
    uint32_t count = 0;
    for (; *text; text++) count += ((unsigned char)*text & 0xc0) != 0x80;
    return count;
}

static enum dapt_status take_choices(struct reader *r, const struct dapt_json *record,
                                     struct dapt_task_record *made) {
    const struct dapt_json *choices, *index;
    const char *context, *delimiter = " ";
    int64_t answer;
    enum dapt_status status = dapt_record_string(record, "context", true, &context);
    if (!status) status = dapt_json_need(record, "choices", DAPT_JSON_ARRAY, &choices);
    if (!status) status = dapt_json_need(record, "answer", DAPT_JSON_NUMBER, &index);
    if (!status) status = dapt_json_get_string(record, "target_delimiter", &delimiter);
    if (status) return status;
    if (dapt_json_count(choices) == 0)
        return dapt_json_fail(choices, "is empty, expected texts to choose from");
    status = dapt_json_integer(index, 0, (int64_t)dapt_json_count(choices) - 1, &answer);
    for (size_t i = 0; i < dapt_json_count(choices) && !status; i++) {
        const struct dapt_json *choice = dapt_json_at(choices, i);
        const char *text;
        status = dapt_json_string(choice, &text);
        if (!status && !text[0]) status = dapt_json_fail(choice, "is empty, expected a text");
        if (!status) status = add_pair(r, choice, context, delimiter, text);
        if (status) break;
        struct dapt_request *request = &r->task->requests[r->task->request_count - 1];
        request->letters = letters(text);
        request->bytes = (uint32_t)strlen(text);
    }
    if (!status) made->answer = (uint32_t)answer;
    return status;
}

static enum dapt_status take_cloze(struct reader *r, const struct dapt_json *record,
                                   struct dapt_task_record *made) {
    const char *context, *continuation, *delimiter = "";
    enum dapt_status status = dapt_record_string(record, "context", true, &context);
    if (!status) status = dapt_record_string(record, "continuation", false, &continuation);
    if (!status) status = dapt_json_get_string(record, "target_delimiter", &delimiter);
    (void)made;
    return status ? status
                  : add_pair(r, dapt_json_member(record, "continuation"), context, delimiter,
                             continuation);
}

// As many words as splitting at whitespace gives, empty ones at the ends with them.
static uint64_t words(const char *text) {
    uint64_t count = 1;
    bool space = false;
    for (size_t size; *text; text += size ? size : 1) {
        size = dapt_space_first(text);
        count += size > 0 && !space;
        space = size > 0;
    }
    return count;
}

// Windows of `length` ids, each given the one before it; the last one reaches back as far as it
// can.
static enum dapt_status take_text(struct reader *r, const struct dapt_json *record,
                                  struct dapt_task_record *made) {
    const char *text;
    uint32_t first;
    enum dapt_status status = dapt_record_string(record, "text", false, &text);
    const struct dapt_json *value = dapt_json_member(record, "text");
    if (!status) status = need_first(r, value, &first);
    if (!status) status = encode(r, text, strlen(text), false, &r->whole);
    if (status) return status;
    const uint32_t *ids = r->whole.ids;
    size_t all = r->whole.count, end = all < r->length ? all : r->length, count = end;
    if (all > 0) status = add_request(r, &first, 1, ids, end);
    while (end < all && !status) {
        count = all - end < r->length ? all - end : r->length;
        end += count;
        size_t given = (size_t)r->length + 1 - count;
        status = add_request(r, ids + end - count - given, given, ids + end - count, count);
    }
    made->words = words(text);
    made->bytes = strlen(text);
    return status;
}

// ----------------------------------------------------------------------------------------- reading

static enum dapt_status record_kind(const struct dapt_json *record, enum dapt_task_kind *kind) {
    for (int k = 0; k < DAPT_TASK_KINDS; k++) {
        *kind = (enum dapt_task_kind)k;
        if (dapt_json_member(record, marks[k])) return DAPT_OK;
    }
    return dapt_json_fail(record,
                          "has none of \"choices\" (with \"context\", \"answer\"), "
                          "\"continuation\" (with \"context\") and \"text\"");
}

static enum dapt_status take(void *user, const struct dapt_json *record) {
    static enum dapt_status (*const takes[DAPT_TASK_KINDS])(
        struct reader *, const struct dapt_json *, struct dapt_task_record *) = {
        [DAPT_TASK_CHOICE] = take_choices,
        [DAPT_TASK_CLOZE] = take_cloze,
        [DAPT_TASK_ROLLING] = take_text};
    struct reader *r = user;
    struct dapt_task *task = r->task;
    struct dapt_task_record made = {.first = task->request_count};
    enum dapt_task_kind kind;
    enum dapt_status status = record_kind(record, &kind);
    if (!status && task->record_count == 0) task->kind = kind;
    if (!status && task->kind != kind)
        status = dapt_json_fail(record, "has \"%s\", expected \"%s\" as in the records before",
                                marks[kind], marks[task->kind]);
    if (!status) status = takes[kind](r, record, &made);
    made.count = task->request_count - made.first;
    if (!status)
        status = dapt_grow(&task->records, &task->record_capacity, task->record_count + 1,
                           sizeof *task->records);
    if (!status) task->records[task->record_count++] = made;
    return status;
}

enum dapt_status dapt_task_read(struct dapt_session *session, const char *path, uint64_t limit,
                                uint32_t length, struct dapt_task *task) {
    struct reader r = {.session = session, .task = task, .length = length};
    int64_t first = dapt_session_first(session);
    uint32_t id = (uint32_t)first;
    *task = (struct dapt_task){.path = path};
    enum dapt_status status = DAPT_OK;
    if (first >= 0) status = dapt_tokenizer_decode(session->tokenizer, &id, 1, 0, &r.begin);
    if (!status) status = dapt_records_read(path, limit, EXAMPLE, take, &r);
    dapt_string_free(&r.begin);
    dapt_string_free(&r.text);
    dapt_ids_free(&r.given);
    dapt_ids_free(&r.whole);
    return status;
}

void dapt_task_close(struct dapt_task *task) {
    dapt_ids_free(&task->ids);
    free(task->requests);
    free(task->records);
    *task = (struct dapt_task){0};
}
