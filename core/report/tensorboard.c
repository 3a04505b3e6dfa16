// A record is the length of its data, 8 bytes, the checksum of those, the data, their checksum; all
// little-endian. The data is an Event in protobuf's encoding, of which a scalar needs few fields:
//
//   Event    1 wall_time (double)   2 step (varint)   3 file_version (text)   5 summary (message)
//   Summary  1 value (message, repeated)
//   Value    1 tag (text)           2 simple_value (float)
#include "report/tensorboard.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/files.h"

#define LONGEST_TAG 512

// ---------------------------------------------------------------------------------------- encoding

// CRC-32C, turned and shifted, so that a checksum of data that holds checksums stays a good one.
static uint32_t checksum(const char *data, size_t length) {
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < length; i++) {
        crc ^= (unsigned char)data[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
    }
    crc = ~crc;
    return (crc >> 15 | crc << 17) + 0xa282ead8;
}

static char *put_bytes(char *to, uint64_t value, int count) {
    for (int i = 0; i < count; i++) *to++ = (char)(value >> 8 * i & 0xff);
    return to;
}

static char *put_varint(char *to, uint64_t value) {
    for (; value >= 0x80; value >>= 7) *to++ = (char)((value & 0x7f) | 0x80);
    *to++ = (char)value;
    return to;
}

enum wire { VARINT = 0, DOUBLE = 1, BYTES = 2, FLOAT = 5 };

static char *put_key(char *to, unsigned field, enum wire wire) {
    return put_varint(to, field << 3 | (unsigned)wire);
}

static char *put_double(char *to, unsigned field, double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return put_bytes(put_key(to, field, DOUBLE), bits, 8);
}

static char *put_float(char *to, unsigned field, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return put_bytes(put_key(to, field, FLOAT), bits, 4);
}

static char *put_data(char *to, unsigned field, const char *data, size_t length) {
    to = put_varint(put_key(to, field, BYTES), length);
    memcpy(to, data, length);
    return to + length;
}

// ------------------------------------------------------------------------------------------ events

struct events {
    struct dapt_string text;
    enum dapt_status status;
};

static void add_record(struct events *events, const char *data, size_t length) {
    char head[12], tail[4];
    put_bytes(head, length, 8);
    put_bytes(head + 8, checksum(head, 8), 4);
    put_bytes(tail, checksum(data, length), 4);
    struct dapt_string *text = &events->text;
    if (!events->status) events->status = dapt_string_add(text, head, sizeof head);
    if (!events->status) events->status = dapt_string_add(text, data, length);
    if (!events->status) events->status = dapt_string_add(text, tail, sizeof tail);
}

static void add_version(struct events *events, double time) {
    static const char version[] = "brain.Event:2";
    char event[64];
    char *end = put_double(event, 1, isfinite(time) ? time : 0);
    add_record(events, event, (size_t)(put_data(end, 3, version, sizeof version - 1) - event));
}

static void add_scalar(struct events *events, double time, double step, const char *tag,
                       double value) {
    char one[LONGEST_TAG + 32], summary[LONGEST_TAG + 48], event[LONGEST_TAG + 96];
    size_t length = strlen(tag);
    if (!isfinite(value) || length > LONGEST_TAG) return;
    char *end = put_float(put_data(one, 1, tag, length), 2, (float)value);
    char *whole = put_data(summary, 1, one, (size_t)(end - one));
    end = put_double(event, 1, isfinite(time) ? time : 0);
    end = put_varint(put_key(end, 2, VARINT), (uint64_t)step);
    end = put_data(end, 5, summary, (size_t)(whole - summary));
    add_record(events, event, (size_t)(end - event));
}

static void add_steps(struct events *events, const struct dapt_run *run) {
    double tokens = dapt_run_number(run->start, "tokens_per_step");
    for (size_t i = 0; i < run->step_count; i++) {
        const struct dapt_run_step *s = &run->steps[i];
        const struct {
            const char *tag;
            double value;
        } scalars[] = {{"train/loss", s->loss},
                       {"train/gradient_norm", s->norm},
                       {"train/learning_rate", s->rate},
                       {"train/tokens_per_second", s->seconds > 0 ? tokens / s->seconds : NAN}};
        for (size_t k = 0; k < sizeof scalars / sizeof *scalars; k++)
            add_scalar(events, s->time, s->step, scalars[k].tag, scalars[k].value);
    }
    for (size_t i = 0; i < run->share_count; i++)
        add_scalar(events, run->shares[i].time, run->shares[i].step, "train/replay_share",
                   run->shares[i].share);
}

static void add_set(struct events *events, const struct dapt_run_set *set) {
    for (size_t i = 0; i < set->count; i++) {
        const struct dapt_run_entry *e = &set->entries[i];
        const struct {
            const char *name;
            double value;
        } scalars[] = {
            {"nats_per_token", e->nats},          {"perplexity", e->perplexity},
            {"bits_per_byte", e->bits},           {"bits_per_byte_change", e->change},
            {"bits_per_byte_change_low", e->low}, {"bits_per_byte_change_high", e->high}};
        for (size_t k = 0; k < sizeof scalars / sizeof *scalars; k++) {
            char tag[LONGEST_TAG];
            snprintf(tag, sizeof tag, "%s/%.400s", scalars[k].name, set->name);
            add_scalar(events, e->time, e->step, tag, scalars[k].value);
        }
    }
}

enum dapt_status dapt_tensorboard_write(const struct dapt_run *run, const char *folder) {
    struct dapt_arena arena = {0};
    struct events events = {0};
    double began = run->step_count  ? run->steps[0].time
                   : run->set_count ? run->sets[0].entries[0].time
                                    : NAN;
    add_version(&events, began);
    add_steps(&events, run);
    for (size_t i = 0; i < run->set_count; i++) add_set(&events, &run->sets[i]);
    char *own = dapt_path_join(&arena, folder, run->name);
    char *path = own ? dapt_arena_format(&arena, "%s/events.out.tfevents.%010.0f.dapt", own,
                                         isfinite(began) ? floor(began) : 0)
                     : NULL;
    enum dapt_status status = path ? events.status : DAPT_ERROR_MEMORY;
    if (!status) status = dapt_mkdirs(own);
    if (!status) status = dapt_file_write(path, events.text.data, events.text.length);
    dapt_string_free(&events.text);
    dapt_arena_free(&arena);
    return status;
}
