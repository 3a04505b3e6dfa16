// metrics.jsonl: one JSON object an event, append-only.
//
// Every object has "event" and "time" (UTC); event.c is the table of the others. A killed run leaves lines of steps after its last checkpoint; a
// "resume" event with "step" then says where the course went on: lines of later steps that stand
// above it belong to the attempt that was lost.
#ifndef DAPT_TRAIN_METRICS_H
#define DAPT_TRAIN_METRICS_H
#include <cjson/cJSON.h>

#include "base/memory.h"
#include "host/json_tree.h"

struct dapt_metrics;
// Opens (or makes) the file for appending. A last line without its end, left by a power cut, is
// taken off.
enum dapt_status dapt_metrics_open(const char *path, struct dapt_metrics **metrics);
void dapt_metrics_close(struct dapt_metrics **metrics);
// A new object with "event" and "time"; NULL: no memory.
cJSON *dapt_metrics_event(const char *event);
// Writes one line in one piece. `object` is taken over, also on failure; NULL is reported as a lack
// of memory.
enum dapt_status dapt_metrics_add(struct dapt_metrics *metrics, cJSON *object);
// What was added is on the disk then. NULL: nothing was.
enum dapt_status dapt_metrics_sync(struct dapt_metrics *metrics);
#endif
