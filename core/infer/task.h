// A task: records of a JSON Lines file, and the texts whose likelihood a model is asked for.
#ifndef DAPT_INFER_TASK_H
#define DAPT_INFER_TASK_H
#include "infer/forward.h"
#include "infer/session.h"

// How records are scored, and by which key a record says so.
enum dapt_task_kind {
    DAPT_TASK_CHOICE,   // "choices": which of them is the likeliest after "context"
    DAPT_TASK_CLOZE,    // "continuation": how likely, and whether greedy, after "context"
    DAPT_TASK_ROLLING,  // "text": how likely, all of it
    DAPT_TASK_KINDS
};
extern const char *const dapt_task_kind_names[DAPT_TASK_KINDS];  // "multiple_choice", ...

// One likelihood that is asked for.
struct dapt_request {
    size_t begin;             // of its ids, scored ones last, in dapt_task.ids
    uint32_t count;           // of them, at least 2
    uint32_t scored;          // the last so many are what is asked for, the others what it is given
    uint32_t letters, bytes;  // of a choice: its characters and bytes
};
struct dapt_task_record {
    size_t first, count;    // requests
    uint32_t answer;        // choice: which of them is right
    uint64_t words, bytes;  // rolling: of the text
};
struct dapt_task {
    const char *path;
    enum dapt_task_kind kind;
    struct dapt_ids ids;  // of all requests, one behind the other
    struct dapt_request *requests;
    struct dapt_task_record *records;
    size_t request_count, record_count;
    size_t request_capacity, record_capacity;
    uint64_t cut;  // requests whose beginning the model has no positions for
};

// Reads the first `limit` records (0: all) and encodes them with the session's tokenizer, by the
// conventions of EleutherAI's lm-evaluation-harness 0.4.13; a request has at most `length` + 1 ids:
// longer ones lose their beginning. `path` outlives the task. Half-read tasks are closed too.
enum dapt_status dapt_task_read(struct dapt_session *session, const char *path, uint64_t limit,
                                uint32_t length, struct dapt_task *task);
void dapt_task_close(struct dapt_task *task);  // a zeroed struct is fine
#endif
