// Generation: one sequence, its keys and values in a cache.
#include "engine/decode.h"

enum dapt_status dapt_decode_check(const struct dapt_model *model, uint32_t capacity) {
    if (!capacity || capacity > 1u << 24)
        return dapt_fail(DAPT_ERROR_INVALID, "generation: a text of %u tokens: expected 1 to %u",
                         capacity, 1u << 24);
    if (!model->ropes[0].size && capacity > model->max_positions)
        return dapt_fail(DAPT_ERROR_INVALID,
                         "generation: %u tokens with the prompt: the model has positions for %u",
                         capacity, model->max_positions);
    return DAPT_OK;
}

// `count` real tokens in a program of `length`; the others see nothing and write behind the cache.
static enum dapt_status run_chunk(struct dapt_programs *programs, enum dapt_program_kind kind,
                                  uint32_t length, uint32_t capacity, const uint32_t *ids,
                                  uint32_t count, uint32_t position) {
    enum { IDS, POSITIONS, FIRST, LAST, ROWS, INPUTS };
    const struct dapt_model_io *io = dapt_programs_io(programs, kind);
    int32_t rows[INPUTS][DAPT_DECODE_CHUNK], pick = (int32_t)count - 1;
    for (uint32_t i = 0; i < length; i++) {
        bool real = i < count;
        rows[IDS][i] = real ? (int32_t)ids[i] : 0;
        rows[POSITIONS][i] = real ? (int32_t)(position + i) : 0;
        rows[FIRST][i] = 0;
        rows[LAST][i] = real ? (int32_t)(position + i) : -1;
        rows[ROWS][i] = (int32_t)((real ? position : capacity) + i);
    }
    const struct dapt_program_input inputs[] = {
        {io->ids, rows[IDS], length},     {io->positions, rows[POSITIONS], length},
        {io->first, rows[FIRST], length}, {io->last, rows[LAST], length},
        {io->rows, rows[ROWS], length},   {io->pick, &pick, 1}};
    enum dapt_status status = dapt_programs_write(programs, kind, inputs,
                                                  sizeof inputs / sizeof *inputs);
    return status ? status : dapt_programs_run(programs, kind);
}

enum dapt_status dapt_decode(struct dapt_programs *programs, const struct dapt_model *model,
                             uint32_t capacity, const uint32_t *ids, uint32_t count,
                             uint32_t position, float *logits) {
    for (uint32_t i = 0; i < count; i++)
        if (ids[i] >= model->vocab)
            return dapt_fail(
                DAPT_ERROR_INVALID,
                "token id %u: the model has ids 0 to %u; is this the model's own tokenizer?",
                ids[i], model->vocab - 1);
    enum dapt_program_kind kind = DAPT_PROGRAM_DECODE_ONE;
    // The larger program first: the cache that it makes serves both.
    enum dapt_status status = dapt_programs_need(programs, DAPT_PROGRAM_DECODE_CHUNK);
    for (uint32_t done = 0, n; done < count && !status; done += n) {
        kind = count - done == 1 ? DAPT_PROGRAM_DECODE_ONE : DAPT_PROGRAM_DECODE_CHUNK;
        uint32_t length = kind == DAPT_PROGRAM_DECODE_ONE ? 1 : DAPT_DECODE_CHUNK;
        n = count - done < length ? count - done : length;
        status = dapt_programs_need(programs, kind);
        if (!status)
            status = run_chunk(programs, kind, length, capacity, ids + done, n, position + done);
    }
    return status ? status
                  : dapt_programs_result(programs, kind, 0, logits,
                                         (uint64_t)model->vocab * sizeof *logits);
}
