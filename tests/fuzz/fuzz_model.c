// config.json of a model.
#include <stdlib.h>

#include "fuzz.h"
#include "model/model.h"
#include "base/hash.h"

#define POSITIONS 8

static void use(const struct dapt_model *model) {
    fuzz_accept();
    struct dapt_hash hash;
    struct dapt_string text = {0};
    FUZZ_CHECK(dapt_model_hash(model, &hash) == DAPT_OK);
    FUZZ_CHECK(model->layers > 0 && model->hidden > 0 && model->vocab > 0);
    dapt_model_flops(model, 128);
    for (size_t i = 0; i < model->parameter_count; i++) {
        const struct dapt_parameter *p = &model->parameters[i];
        FUZZ_CHECK(p->count > 0 && p->offset + p->count <= model->flat_count);
    }
    for (int i = 0; i < DAPT_ROPES; i++) {
        const struct dapt_rope *rope = &model->ropes[i];
        float *table = rope->size ? calloc((size_t)POSITIONS * rope->size, sizeof *table) : NULL;
        if (table) dapt_rope_table(rope, POSITIONS, rope->size, table);
        free(table);
    }
    for (uint32_t l = 0; l < model->layers; l++) FUZZ_CHECK(model->rope_of[l] < DAPT_ROPES);
    FUZZ_CHECK(dapt_json_write(model->config, &text) == DAPT_OK);
    dapt_string_free(&text);
}

void fuzz_one(const uint8_t *data, size_t size) {
    struct dapt_json *json;
    struct dapt_model *model = NULL;
    if (dapt_json_parse("config.json", (const char *)data, size, &json)) return;
    if (dapt_model_from_json(json, &model) == DAPT_OK) use(model);
    dapt_model_close(&model);
}
