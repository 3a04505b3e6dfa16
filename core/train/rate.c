// The learning rate's peak where none is given.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/json.h"
#include "train/setup.h"

// Models are pretrained at a peak that falls with their size: 6e-4 at 125 M parameters, 1.2e-4 at 6.7 G,
// a power of -0.4 (Brown et al. 2020, table 2.1; Biderman et al. 2023, table 1, alike). Continued at that
// peak they learn the new text fastest and forget most (Gupta et al. 2023; Ibrahim et al. 2024): a third
// of it is the default here. What counts is the number that is trained: with adapters of a 300th of the
// parameters the rule gives the ten times larger rate that serves them best (Schulman et al. 2025;
// Biderman et al. 2024).
//
// Small models are beyond the table: 1e-3 at most. New weights have nothing to forget, and get all of it.
static double peak_of(uint64_t trained, bool continued) {
    char text[32];
    double peak = fmin(2e-4 * pow(125e6 / (double)(trained ? trained : 1), 0.4), 1e-3);
    snprintf(text, sizeof text, "%.1e", continued ? peak : 3 * peak);
    return strtod(text, NULL);
}

enum dapt_status dapt_rate_set(struct dapt_config *config, double peak) {
    char text[32];
    struct dapt_json *value;
    snprintf(text, sizeof text, "%.15g", peak);
    enum dapt_status status = dapt_json_parse("train.schedule.peak", text, strlen(text), &value);
    if (!status) status = dapt_json_set(config->json, "train.schedule.peak", value);
    if (!status) config->train.schedule.options = dapt_json_find(config->json, "train.schedule");
    return status;
}

bool dapt_rate_given(const struct dapt_config *config) {
    return dapt_json_member(config->train.schedule.options, "peak") != NULL;
}

enum dapt_status dapt_rate_choose(struct dapt_config *config, const struct dapt_model *model,
                                  const struct dapt_option *option,
                                  const struct dapt_reporter *reporter) {
    struct dapt_small_text count;
    while (option && option->name && strcmp(option->name, "peak") != 0) option++;
    bool asks = option && option->name && option->type == DAPT_OPTION_NUMBER &&
                option->default_value && strcmp(option->default_value, "0") == 0;
    if (!asks || dapt_rate_given(config)) return DAPT_OK;
    uint64_t trained = dapt_model_trained(model);
    double peak = peak_of(trained, config->model);
    dapt_report_note(reporter,
                     "learning rate   %g at its peak, as none is given: %swhat models of %s "
                     "parameters are pretrained at%s",
                     peak, config->model ? "a third of " : "", dapt_count_text(trained, &count),
                     trained < model->weight_count ? " (only those count that are trained)" : "");
    return dapt_rate_set(config, peak);
}
