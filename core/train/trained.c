// What of a model is trained and what is not, told.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "graph/blocks.h"
#include "model/slots.h"
#include "train/setup.h"

enum { EMBEDDINGS, LAYERS, THE_REST, ADAPTERS, GROUPS };

static int group_of(const struct dapt_model *model, size_t parameter) {
    for (size_t i = 0; i < dapt_slots_count(model); i++) {
        if (model->slots[i] != parameter) continue;
        if (i >= DAPT_SLOT_COUNT) return LAYERS;
        return i <= DAPT_SLOT_EMBED_NORM_BIAS ? EMBEDDINGS : THE_REST;
    }
    return ADAPTERS;
}

// "embeddings 1 (16,384), layers 18 (34,560)": tensors and parameters of what is trained, or is not.
static enum dapt_status add_groups(const struct dapt_model *model, bool trained,
                                   struct dapt_string *text) {
    static const char *const names[] = {"embeddings", "layers", "the rest", "adapters"};
    uint64_t tensors[GROUPS] = {0}, counts[GROUPS] = {0};
    enum dapt_status status = DAPT_OK;
    for (size_t i = 0; i < model->parameter_count; i++) {
        if (model->parameters[i].trained != trained) continue;
        tensors[group_of(model, i)]++;
        counts[group_of(model, i)] += model->parameters[i].count;
    }
    for (int g = 0; g < GROUPS && !status; g++) {
        struct dapt_small_text small;
        if (!tensors[g]) continue;
        status = dapt_string_format(text, "%s%s %" PRIu64 " (%s)", text->length ? ", " : "",
                                    names[g], tensors[g], dapt_count_text(counts[g], &small));
    }
    return status;
}

static void tell_groups(const struct dapt_model *model, const struct dapt_reporter *reporter) {
    struct dapt_string trained = {0}, frozen = {0};
    if (!add_groups(model, true, &trained) && !add_groups(model, false, &frozen))
        dapt_report_note(reporter, "trained         tensors (parameters): %s; frozen: %s",
                         trained.length ? trained.data : "none",
                         frozen.length ? frozen.data : "none");
    dapt_string_free(&trained);
    dapt_string_free(&frozen);
}

// What is not trained, layer by layer where they are alike would be long: by the names of its tensors, as
// far as a line goes.
static void tell_frozen(const struct dapt_model *model, const struct dapt_reporter *reporter) {
    char list[160] = "";
    size_t used = 0, tensors = 0, told = 0;
    for (size_t i = 0; i < model->parameter_count; i++) {
        const struct dapt_parameter *p = &model->parameters[i];
        if (p->trained) continue;
        tensors++;
        if (used + strlen(p->name) + 2 >= sizeof list) continue;
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", told++ ? ", " : "",
                                 p->name);
    }
    dapt_report_note(reporter, "frozen          %zu tensors: %s%s", tensors, list,
                     told < tensors ? ", ..." : "");
}

static void tell_adapters(const struct dapt_model *model, const struct dapt_reporter *reporter) {
    const struct dapt_adapters *adapters = model->adapters;
    struct dapt_small_text count;
    dapt_report_note(reporter, "adapters        %s of rank %u, factor %g, on %s%s",
                     dapt_counted_text(adapters->count, "adapter", &count), adapters->rank,
                     (double)adapters->factor, model->folder,
                     adapters->embeddings ? ", with embedding and head" : "");
    const struct dapt_parameter_group *base = dapt_model_base_group(model);
    struct dapt_small_text bytes;
    if (base)
        dapt_report_note(
            reporter,
            "base            %s: %s numbers of its matrices in %s; this run's evaluations "
            "are on that, those of its checkpoints on the base as its folder has it",
            dapt_dtype_name(base->dtype), dapt_count_text(base->count, &count),
            dapt_bytes_text(dapt_dtype_bytes(base->dtype, base->count), &bytes));
}

void dapt_trained_tell(const struct dapt_model *model, const struct dapt_reporter *reporter) {
    tell_groups(model, reporter);
    if (model->adapters)
        tell_adapters(model, reporter);
    else if (dapt_model_trained(model) < model->weight_count)
        tell_frozen(model, reporter);
}
