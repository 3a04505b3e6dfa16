// dapt blend
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

#define MOST_ALPHAS 1000

struct blend_arguments {
    struct tool_model_arguments common;
    struct tool_list data, alphas, budgets;
    const char *config, *out, *page, *dtype, *source, *packing, *cache;
    uint64_t sequence, batch, max_tokens;
    bool no_special, json;
};

// What the words mean.
struct asked {
    double *alphas;
    size_t alpha_count;
    struct dapt_limit *budget;
    char **names;  // [budget_count]
    size_t budget_count;
    struct tool_sets sets;
};

// ------------------------------------------------------------------------------------------ words

static bool number(const char *text, char end, double *value, const char **rest) {
    char *after;
    *value = strtod(text, &after);
    *rest = after + (*after != '\0');
    return after != text && *after == end && isfinite(*value);
}

static bool add_alpha(struct asked *asked, double alpha) {
    if (asked->alpha_count == MOST_ALPHAS) return false;
    double *alphas = realloc(asked->alphas, (asked->alpha_count + 1) * sizeof *alphas);
    if (!alphas) return false;
    asked->alphas = alphas;
    alphas[asked->alpha_count++] = alpha;
    return true;
}

// "0.3", or "FROM:TO:STEP". What binary fractions add to a decimal one is rounded away, so that the last
// point is the end itself.
static bool parse_alpha(struct asked *asked, const char *word) {
    double from, to, step;
    const char *rest;
    if (number(word, '\0', &from, &rest)) return add_alpha(asked, from);
    if (!number(word, ':', &from, &rest) || !number(rest, ':', &to, &rest) ||
        !number(rest, '\0', &step, &rest) || !(step > 0) || !((to - from) / step < MOST_ALPHAS))
        return false;
    for (int i = 0; from + i * step <= to + step * 1e-6; i++)
        if (!add_alpha(asked, round((from + i * step) * 1e9) / 1e9)) return false;
    return asked->alpha_count > 0;
}

static bool parse_budget(struct asked *asked, const char *word) {
    const char *equals = strchr(word, '='), *rest;
    double bits;
    size_t i = asked->budget_count;
    if (!equals || equals == word || !number(equals + 1, '\0', &bits, &rest) || bits < 0)
        return false;
    asked->names[i] = strndup(word, (size_t)(equals - word));
    asked->budget[i] = (struct dapt_limit){asked->names[i], bits};
    asked->budget_count++;
    return asked->names[i] != NULL;
}

static enum tool_exit parse(const struct blend_arguments *a, struct asked *asked) {
    *asked = (struct asked){.budget = calloc(a->budgets.count + 1, sizeof *asked->budget),
                            .names = calloc(a->budgets.count + 1, sizeof *asked->names)};
    if (!asked->budget || !asked->names) return tool_usage("no memory for the arguments");
    for (size_t i = 0; i < a->alphas.count; i++)
        if (!parse_alpha(asked, a->alphas.items[i]))
            return tool_usage(
                "blend: --alpha is \"%s\", expected a number, or FROM:TO:STEP of at most %d points",
                a->alphas.items[i], MOST_ALPHAS);
    for (size_t i = 0; i < a->budgets.count; i++)
        if (!parse_budget(asked, a->budgets.items[i]))
            return tool_usage("blend: --budget is \"%s\", expected NAME=BITS, as in general=0.05",
                              a->budgets.items[i]);
    return tool_sets_parse("blend", &a->data, &asked->sets);
}

static void release(struct asked *asked) {
    for (size_t i = 0; i < asked->budget_count; i++) free(asked->names[i]);
    free(asked->names);
    free(asked->budget);
    free(asked->alphas);
    tool_sets_free(&asked->sets);
}

// ----------------------------------------------------------------------------------------- output

struct output {
    cJSON *points;  // NULL: a table
    bool begun, masked;
};

static void print_header(const struct dapt_blend_point *point) {
    printf("%-5s", "");
    for (size_t i = 0; i < point->count; i++) {
        char name[48];
        snprintf(name, sizeof name, "%.30s%s", point->evaluations[i].name,
                 i == point->deciding ? " *" : "");
        printf("  %-38s", name);
    }
    printf("\n%-5s", "alpha");
    for (size_t i = 0; i < point->count; i++)
        printf("  %9s %8s  %-18s", "bits/byte", "change", "95 % interval");
    puts(point->budgeted ? "  budget" : "");
}

// One line a point, as it is measured.
static void print_point(const struct dapt_blend_point *point) {
    printf("%-5g", point->alpha);
    for (size_t i = 0; i < point->count; i++) {
        const struct dapt_evaluation *e = &point->evaluations[i];
        char interval[40] = "";
        if (isfinite(e->change_low))
            snprintf(interval, sizeof interval, "%+.4f to %+.4f", e->change_low, e->change_high);
        printf("  %9.4f %+8.4f  %-18s", e->bits_per_byte, e->bits_per_byte - e->bits_before,
               interval);
    }
    puts(!point->budgeted ? "" : point->inside ? "  holds" : "  BROKEN");
    fflush(stdout);
}

static void add_number(cJSON *object, const char *key, double value) {
    if (isfinite(value))
        cJSON_AddNumberToObject(object, key, value);
    else
        cJSON_AddNullToObject(object, key);
}

static void add_point(cJSON *points, const struct dapt_blend_point *point) {
    cJSON *item = cJSON_CreateObject();
    cJSON_AddNumberToObject(item, "alpha", point->alpha);
    cJSON_AddBoolToObject(item, "inside", point->inside);
    cJSON *sets = cJSON_AddObjectToObject(item, "sets");
    for (size_t i = 0; i < point->count; i++) {
        const struct dapt_evaluation *e = &point->evaluations[i];
        cJSON *set = cJSON_AddObjectToObject(sets, e->name);
        cJSON_AddStringToObject(set, "role", e->role);
        add_number(set, "nats_per_token", e->nats_per_token);
        add_number(set, "bits_per_byte", e->bits_per_byte);
        add_number(set, "change", e->bits_per_byte - e->bits_before);
        add_number(set, "low", e->change_low);
        add_number(set, "high", e->change_high);
    }
    cJSON_AddItemToArray(points, item);
}

static void tell_point(void *user, const struct dapt_blend_point *point) {
    struct output *output = user;
    output->masked = point->evaluations[0].masked;
    if (output->points) {
        add_point(output->points, point);
        return;
    }
    if (!output->begun) print_header(point);
    output->begun = true;
    print_point(point);
}

static enum dapt_status print_choice(const struct blend_arguments *a, const struct output *output,
                                     const struct dapt_blended *result) {
    if (output->masked) puts(DAPT_MASKED_FIGURES);
    if (!result->chosen) {
        puts("chosen: none, as no point is inside the budget");
        return DAPT_OK;
    }
    printf("chosen: alpha %g, ", result->alpha);
    puts(result->budgeted ? "the best of the set marked * inside the budget"
                          : "the least sum of the changes of the set marked * and of general sets");
    if (a->out) {
        fputs("written: ", stdout);
        tool_print_plain(stdout, a->out);
        putchar('\n');
    }
    return DAPT_OK;
}

static enum dapt_status print_json(const struct blend_arguments *a, struct output *output,
                                   const struct dapt_blended *result) {
    cJSON *root = cJSON_CreateObject(), *points = output->points;
    output->points = NULL;
    cJSON_AddStringToObject(root, "base", a->common.plain.plain[0]);
    cJSON_AddStringToObject(root, "adapted", a->common.plain.plain[1]);
    cJSON_AddBoolToObject(root, "masked", output->masked);
    cJSON_AddItemToObject(root, "points", points);
    cJSON_AddStringToObject(root, "rule", result->budgeted ? "domain inside budget" : "least sum");
    add_number(root, "chosen", result->chosen ? result->alpha : NAN);
    if (a->out) cJSON_AddStringToObject(root, "written", a->out);
    return tool_print_json(root);
}

static enum dapt_status sweep(const struct blend_arguments *a, const struct asked *asked) {
    struct output output = {.points = a->json ? cJSON_CreateArray() : NULL};
    struct dapt_context *context = NULL;
    struct dapt_blended result;
    const struct dapt_blend_options options = {.evaluate = {.model = tool_model(&a->common),
                                                            .data = asked->sets.data,
                                                            .data_count = asked->sets.count,
                                                            .source = a->source,
                                                            .sequence = (uint32_t)a->sequence,
                                                            .batch = (uint32_t)a->batch,
                                                            .packing = a->packing,
                                                            .no_special = a->no_special,
                                                            .max_tokens = a->max_tokens,
                                                            .cache = a->cache},
                                               .adapted = a->common.plain.plain[1],
                                               .config = a->config,
                                               .alphas = asked->alphas,
                                               .alpha_count = asked->alpha_count,
                                               .budget = asked->budget,
                                               .budget_count = asked->budget_count,
                                               .folder = a->out,
                                               .page = a->page,
                                               .dtype = a->dtype,
                                               .point = tell_point,
                                               .user = &output};
    enum dapt_status status = dapt_context_open(NULL, &context);
    if (!status) status = dapt_blend(context, &options, &result);
    if (!status)
        status = a->json ? print_json(a, &output, &result) : print_choice(a, &output, &result);
    cJSON_Delete(output.points);
    dapt_context_close(&context);
    return status;
}

static enum tool_exit run_blend(void *arguments) {
    const struct blend_arguments *a = arguments;
    struct asked asked;
    enum tool_exit result = parse(a, &asked);
    if (result == TOOL_OK) result = tool_finish(sweep(a, &asked));
    release(&asked);
    return result;
}

#define TEXT(name, argument, help, member) \
    { name, argument, help, TOOL_TEXT, offsetof(struct blend_arguments, member), 0, 0, false }
#define LIST(name, argument, help, member) \
    { name, argument, help, TOOL_LIST, offsetof(struct blend_arguments, member), 0, 0, false }
#define COUNT(name, help, member, least, most) \
    { name, "N", help, TOOL_COUNT, offsetof(struct blend_arguments, member), least, most, false }
#define FLAG(name, help, member) \
    { name, NULL, help, TOOL_FLAG, offsetof(struct blend_arguments, member), 0, 0, false }
static const struct tool_option blend_options[] = {
    LIST("--data", "NAME=PATH",
         "a set: a file, a folder or a glob; its name says what it is for: domain, general, ...",
         data),
    TEXT("--config", "FILE",
         "takes the sets, their roles and the budget of a configuration; default, without --data: "
         "those of the run that ADAPTED belongs to",
         config),
    LIST("--alpha", "A",
         "a point of the sweep, -1 to 2, or FROM:TO:STEP; may be given several times; default: "
         "0:1:0.1",
         alphas),
    LIST("--budget", "NAME=BITS",
         "bits/byte that the sets of a role or name may lose, as in general=0.05; may be given "
         "several times",
         budgets),
    TEXT("--out", "FOLDER", "writes the chosen point as a Hugging Face folder, which is made", out),
    TEXT("--page", "FILE", "writes the curves and the table as one HTML page", page),
    TEXT("--dtype", "NAME",
         "of that folder: float32, bfloat16 or float16; default: as ADAPTED has it, float32 where "
         "BASE has another one",
         dtype),
    FLAG("--json", "prints one JSON object", json),
    COUNT("--sequence",
          "tokens of a sequence; default: as the checkpoint was trained, or the model's most up to "
          "1024",
          sequence, 2, 1 << 24),
    COUNT("--batch", "sequences at a time; default: 8", batch, 1, 65536),
    TEXT("--packing", "HOW", "documents (attention stays in a document) or concatenate", packing),
    FLAG("--no-special", "leaves the tokenizer's template (BOS, ...) out", no_special),
    COUNT("--max-tokens",
          "the first so many tokens of each set, no more (the document that passes them is cut)",
          max_tokens, 1, 1e15),
    TEXT("--source", "ID", "source plugin; default: by looking at the files", source),
    TEXT("--cache", "FOLDER", "folder of token shards", cache),
    {"--tokenizer", "ID", "tokenizer plugin, where the folder does not say which", TOOL_TEXT,
     offsetof(struct tool_model_arguments, tokenizer), 0, 0, false},
    {0},
};

const struct tool_command tool_blend = {
    .name = "blend",
    .plain = "BASE ADAPTED",
    .summary = "the models between a base and what was trained from it: domain against general",
    .notes =
        "At each alpha the weights are BASE + alpha (ADAPTED - BASE), measured on every set "
        "against "
        "BASE, with 95 % intervals of the change (paired bootstrap over documents). ADAPTED is a "
        "model, a checkpoint, a run or RUN/best; of adapters alpha scales what they add to BASE.\n"
        "Chosen is the point with the best domain score inside the budgets; without a budget that "
        "with the least sum of the changes of domain and general, in bits/byte (of several general "
        "sets the mean). The domain is the set of that role (train.best of a configuration), else "
        "the first.",
    .options = blend_options,
    .shared = {tool_device_options},
    .size = sizeof(struct blend_arguments),
    .plain_least = 2,
    .plain_most = 2,
    .run = run_blend,
};
