// Folders of adapters as peft writes and reads them: adapter_config.json beside
// adapter_model.safetensors, whose names are those of the base's modules behind "base_model.model.".
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/families.h"
#include "model/slots.h"
#include "model/weights.h"

#define TENSORS "adapter_model.safetensors"
#define A_END ".lora_A.weight"
#define B_END ".lora_B.weight"

static bool holds(const char *folder, const char *file) {
    struct dapt_arena arena = {0};
    char *path = dapt_path_join(&arena, folder, file);
    bool there = path && dapt_is_file(path);
    dapt_arena_free(&arena);
    return there;
}

bool dapt_adapters_in(const char *folder) {
    return holds(folder, DAPT_ADAPTER_CONFIG);
}

// ---------------------------------------------------------------------------- adapter_config.json

// What is read below, what the tensors say themselves, and what changes nothing that is computed. All
// other members must say nothing.
static const char *const known[] = {
    "base_model_name_or_path",
    "bias",
    "fan_in_fan_out",
    "init_lora_weights",
    "lora_alpha",
    "modules_to_save",
    "peft_type",
    "r",
    "use_rslora",
    "exclude_modules",
    "layers_pattern",
    "layers_to_transform",
    "target_modules",
    "auto_mapping",
    "eva_config",
    "inference_mode",
    "lora_dropout",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
    "ensure_weight_tying",
    "save_embedding_layers",
    NULL,
};

static bool says_nothing(const struct dapt_json *value) {
    bool truth = true;
    double number = 1;
    const char *text = "";
    switch (dapt_json_kind(value)) {
    case DAPT_JSON_BOOL: return dapt_json_bool(value, &truth) == DAPT_OK && !truth;
    case DAPT_JSON_NUMBER: return dapt_json_number(value, &number) == DAPT_OK && number == 0;
    case DAPT_JSON_STRING: return dapt_json_string(value, &text) == DAPT_OK && !*text;
    default: return dapt_json_count(value) == 0;
    }
}

static enum dapt_status refuse_others(const struct dapt_json *config) {
    for (size_t i = 0; i < dapt_json_count(config); i++) {
        const struct dapt_json *member = dapt_json_at(config, i);
        size_t k = 0;
        while (known[k] && strcmp(known[k], dapt_json_name(member)) != 0) k++;
        if (!known[k] && !says_nothing(member))
            return dapt_json_fail_name(member,
                                       "changes what is computed and is not built: expected it "
                                       "to be absent, null or empty");
    }
    return DAPT_OK;
}

static enum dapt_status need_text(const struct dapt_json *config, const char *key,
                                  const char *wanted) {
    const char *text = wanted;
    enum dapt_status status = dapt_json_get_string(config, key, &text);
    if (!status && strcmp(text, wanted) != 0)
        status = dapt_json_fail(dapt_json_member(config, key), "is \"%.32s\", expected \"%s\"",
                                text, wanted);
    return status;
}

// Some ways of beginning change the base's weights, which are then another model's.
static enum dapt_status check_init(const struct dapt_json *config) {
    static const char *const fine[] = {"gaussian", "eva", "orthogonal", "true", "false"};
    const struct dapt_json *init = dapt_json_member(config, "init_lora_weights");
    const char *text = fine[0];
    if (dapt_json_kind(init) == DAPT_JSON_STRING) dapt_json_string(init, &text);
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++)
        if (strcmp(text, fine[i]) == 0) return DAPT_OK;
    return dapt_json_fail(init,
                          "\"%.32s\" changes the weights of the base: convert the adapters with "
                          "peft first",
                          text);
}

static enum dapt_status read_config(const struct dapt_json *config, const struct dapt_model *m,
                                    struct dapt_lora *lora) {
    int64_t rank = 8;
    bool swapped = m->family->input_major;
    *lora = (struct dapt_lora){.alpha = 8};
    enum dapt_status status = need_text(config, "peft_type", "LORA");
    if (!status) status = need_text(config, "bias", "none");
    if (!status) status = check_init(config);
    if (!status) status = refuse_others(config);
    if (!status) status = dapt_json_get_integer(config, "r", 1, 65536, &rank);
    if (!status) status = dapt_json_get_real(config, "lora_alpha", 1e-6, 1e6, &lora->alpha);
    if (!status) status = dapt_json_get_bool(config, "use_rslora", &lora->rslora);
    if (!status) status = dapt_json_get_bool(config, "fan_in_fan_out", &swapped);
    if (!status && swapped && !m->family->input_major)
        status = dapt_json_fail(dapt_json_member(config, "fan_in_fan_out"),
                                "is true, but the matrices of a %s model are [out, in]: expected "
                                "false",
                                m->family->type);
    lora->rank = (uint32_t)rank;
    return status;
}

// ------------------------------------------------------------------------------------------- base

static enum dapt_status find_base(struct dapt_arena *arena, const char *folder,
                                  const struct dapt_json *config, const char *wish,
                                  const char **base) {
    const struct dapt_json *value;
    const char *named = wish;
    enum dapt_status status = DAPT_OK;
    if (!wish) status = dapt_json_need(config, "base_model_name_or_path", DAPT_JSON_STRING, &value);
    if (!status && !wish) status = dapt_json_string(value, &named);
    if (status) return status;
    *base = wish ? wish : dapt_path_join(arena, folder, named);
    if (!*base) return DAPT_ERROR_MEMORY;
    if (!dapt_is_dir(*base)) {
        if (wish) return dapt_model_missing(wish, "the base of adapters");
        return dapt_json_fail(value,
                              "\"%s\" is no folder here: say where the base model lies by --base "
                              "FOLDER, in a configuration by \"base\"; one of the Hugging Face hub "
                              "comes by: hf download ID --local-dir FOLDER",
                              named);
    }
    if (!dapt_adapters_in(*base)) return DAPT_OK;
    return dapt_fail(
        DAPT_ERROR_INVALID,
        "%s: the base of adapters holds adapters itself: merge them first (dapt merge)", *base);
}

static enum dapt_status read_json(struct dapt_arena *arena, const char *folder,
                                  struct dapt_json **config) {
    char *path = dapt_path_join(arena, folder, DAPT_ADAPTER_CONFIG);
    return path ? dapt_json_read(path, DAPT_JSON_LIMIT, config) : DAPT_ERROR_MEMORY;
}

enum dapt_status dapt_model_tokenizer(struct dapt_arena *arena, const char *folder,
                                      const char *base, const char **tokenizer) {
    static const char *const marks[] = {"tokenizer.json", "tokenizer.model", "vocab.txt",
                                        "vocab.json"};
    struct dapt_json *config = NULL;
    *tokenizer = folder;
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (holds(folder, marks[i])) return DAPT_OK;
    if (!dapt_adapters_in(folder)) return DAPT_OK;
    enum dapt_status status = read_json(arena, folder, &config);
    if (!status) status = find_base(arena, folder, config, base, tokenizer);
    dapt_json_free(&config);
    return status;
}

// ---------------------------------------------------------------------------------------- tensors

static enum dapt_status open_tensors(const char *folder, struct dapt_safetensors **file) {
    struct dapt_arena arena = {0};
    char *path = dapt_path_join(&arena, folder, TENSORS);
    enum dapt_status status = path ? DAPT_OK : DAPT_ERROR_MEMORY;
    if (!status && !dapt_is_file(path))
        status = dapt_fail(DAPT_ERROR_INVALID, "%s: holds no %s, which holds the adapters", folder,
                           TENSORS);
    if (!status) status = dapt_safetensors_open(path, file);
    dapt_arena_free(&arena);
    return status;
}

// The name without what stands before all of them.
static const char *inner_name(const struct dapt_file_tensor *t) {
    size_t length = strlen(DAPT_ADAPTER_PREFIX);
    return strncmp(t->name, DAPT_ADAPTER_PREFIX, length) == 0 ? t->name + length : t->name;
}

// The slot of the matrix whose adapter the tensor is a part of; DAPT_NONE: none.
static size_t adapted_slot(const struct dapt_model *m, const struct dapt_file_tensor *t) {
    char name[512];
    size_t length = strlen(t->name) - strlen(A_END);
    int stem = (int)(length - (size_t)(inner_name(t) - t->name));
    if (stem < 0 || stem > 480) return DAPT_NONE;
    snprintf(name, sizeof name, "%.*s.weight", stem, inner_name(t));
    const struct dapt_parameter *w = dapt_weights_find(m, name, m->parameter_count);
    for (size_t i = DAPT_SLOT_COUNT; w && i < dapt_slots_count(m); i++)
        if (m->slots[i] == (uint32_t)(w - m->parameters)) return w->rank == 2 ? i : DAPT_NONE;
    return DAPT_NONE;
}

static bool is_embedding(const struct dapt_model *m, const struct dapt_file_tensor *t) {
    const struct dapt_parameter *p = dapt_weights_find(m, inner_name(t), m->parameter_count);
    size_t index = p ? (size_t)(p - m->parameters) : m->parameter_count;
    return p && (index == m->slots[DAPT_SLOT_EMBED] || index == m->slots[DAPT_SLOT_HEAD]);
}

// Which matrices have adapters is what the tensors are named; whether embedding and head come along.
static enum dapt_status read_targets(const struct dapt_model *m,
                                     const struct dapt_safetensors *file, bool *targets,
                                     size_t *embeddings) {
    for (size_t i = 0; i < dapt_safetensors_count(file); i++) {
        const struct dapt_file_tensor *t = dapt_safetensors_at(file, i);
        bool part = dapt_weights_ends(t->name, A_END) || dapt_weights_ends(t->name, B_END);
        size_t slot = part ? adapted_slot(m, t) : DAPT_NONE;
        if (slot != DAPT_NONE)
            targets[slot] = true;
        else if (!part && is_embedding(m, t))
            ++*embeddings;
        else
            return dapt_fail(DAPT_ERROR_INVALID,
                             "%s: tensor %s belongs to no matrix of the layers of this %s model "
                             "(nor is it an embedding or a head): such adapters are not built",
                             t->file, t->name, m->family->type);
    }
    return DAPT_OK;
}

// peft keeps two of a tied embedding and head that it trains: one without the other is no tied model.
static enum dapt_status check_tied(const struct dapt_model *m, const struct dapt_json *config,
                                   size_t embeddings) {
    const struct dapt_json *saved = dapt_json_member(config, "modules_to_save");
    if (!m->tied || embeddings != 1 || !dapt_json_count(saved)) return DAPT_OK;
    return dapt_json_fail(saved,
                          "one of embedding and head alone, which config.json of the base ties: "
                          "expected both or neither");
}

// Two copies of a tied matrix must be the same: otherwise one would be lost.
static enum dapt_status check_twins(const struct dapt_file_tensor *a,
                                    const struct dapt_file_tensor *b) {
    if (a->dtype == b->dtype && a->count == b->count &&
        memcmp(a->data, b->data, a->count * dapt_file_dtype_size(a->dtype)) == 0)
        return DAPT_OK;
    return dapt_fail(DAPT_ERROR_INVALID,
                     "%s: %s and %s differ, but config.json of the base says that they are tied",
                     a->file, a->name, b->name);
}

// Takes an open file's tensors as the model's; `put` NULL: only checks that they fit.
static enum dapt_status take_tensors(const struct dapt_model *m, const char *folder,
                                     const struct dapt_safetensors *file, dapt_weights_put put,
                                     void *context) {
    const struct dapt_file_tensor **source = dapt_alloc(m->parameter_count, sizeof *source);
    float *piece = dapt_alloc_aligned(DAPT_WEIGHTS_PIECE, sizeof *piece);
    enum dapt_status status = source && piece ? DAPT_OK : DAPT_ERROR_MEMORY;
    for (size_t i = 0; !status && i < dapt_safetensors_count(file); i++) {
        const struct dapt_file_tensor *t = dapt_safetensors_at(file, i);
        const struct dapt_parameter *p = dapt_weights_find(m, inner_name(t), m->parameter_count);
        const struct dapt_file_tensor *twin = p ? source[p - m->parameters] : NULL;
        if (!p || !dapt_weights_written(m, p))
            status = dapt_fail(DAPT_ERROR_INVALID, "%s: tensor %s: the run has no such adapter",
                               t->file, t->name);
        else
            status = twin ? check_twins(twin, t) : dapt_weights_take(p, t, piece, put, context);
        if (!status) source[p - m->parameters] = t;
    }
    for (size_t i = 0; !status && i < m->parameter_count; i++)
        if (!source[i] && m->parameters[i].group == DAPT_GROUP_ADAPTERS)
            status = dapt_fail(DAPT_ERROR_INVALID, "%s/%s: tensor %s%s is missing", folder, TENSORS,
                               DAPT_ADAPTER_PREFIX, m->parameters[i].name);
    free(source);
    free(piece);
    return status;
}

static enum dapt_status add_adapters(struct dapt_model *m, const char *folder,
                                     const struct dapt_json *config) {
    struct dapt_arena arena = {0};
    struct dapt_safetensors *file = NULL;
    struct dapt_lora lora;
    size_t embeddings = 0;
    bool *targets = dapt_arena_alloc(&arena, dapt_slots_count(m));
    enum dapt_status status = targets ? read_config(config, m, &lora) : DAPT_ERROR_MEMORY;
    if (!status) status = open_tensors(folder, &file);
    if (!status) status = read_targets(m, file, targets, &embeddings);
    if (!status) status = check_tied(m, config, embeddings);
    if (!status) status = dapt_adapters_add(m, &lora, targets);
    if (!status && !m->adapters->count)
        status = dapt_fail(DAPT_ERROR_INVALID, "%s/%s: holds no adapters", folder, TENSORS);
    if (!status && embeddings) dapt_adapters_own_embeddings(m, 0);
    if (!status && !(m->adapters->folder = dapt_arena_copy(&m->arena, folder, strlen(folder))))
        status = DAPT_ERROR_MEMORY;
    // Their numbers come later: what does not fit is told now.
    if (!status) status = take_tensors(m, folder, file, NULL, NULL);
    dapt_safetensors_close(&file);
    dapt_arena_free(&arena);
    return status;
}

enum dapt_status dapt_model_open_on(const char *folder, const char *base,
                                    struct dapt_model **model) {
    struct dapt_arena arena = {0};
    struct dapt_json *config = NULL;
    const char *found;
    *model = NULL;
    if (!dapt_adapters_in(folder)) {
        if (!base || !dapt_is_dir(folder)) return dapt_model_open_whole(folder, model);
        return dapt_fail(DAPT_ERROR_INVALID,
                         "%s: a base was named (%s), but it holds no adapters (%s)", folder, base,
                         DAPT_ADAPTER_CONFIG);
    }
    enum dapt_status status = read_json(&arena, folder, &config);
    if (!status) status = find_base(&arena, folder, config, base, &found);
    if (!status) status = dapt_model_open_whole(found, model);
    if (!status) status = add_adapters(*model, folder, config);
    if (status) dapt_model_close(model);
    dapt_json_free(&config);
    dapt_arena_free(&arena);
    return status;
}

enum dapt_status dapt_adapters_load(const struct dapt_model *m, const char *folder,
                                    dapt_weights_put put, void *context) {
    struct dapt_safetensors *file = NULL;
    enum dapt_status status = open_tensors(folder, &file);
    if (!status) status = take_tensors(m, folder, file, put, context);
    dapt_safetensors_close(&file);
    return status;
}

// ---------------------------------------------------------------------------------------- writing

// The name of a module: that of its weight without the end.
static int module_length(const char *name) {
    return (int)(strlen(name) - (dapt_weights_ends(name, ".weight") ? strlen(".weight") : 0));
}

// What comes behind the layer's number in the name of a module: the same in all layers.
static const char *module_end(const struct dapt_model *m, size_t slot) {
    const char *name = m->family->names[slot % DAPT_SLOT_COUNT], *mark = strstr(name, "%u.");
    return mark ? mark + strlen("%u.") : name;
}

static bool adapted(const struct dapt_model *m, size_t slot) {
    return m->adapters->a[slot] != DAPT_NONE;
}

// Whether the module's name has an end that is one of those with adapters.
static bool end_matches(const struct dapt_model *m, const char *name) {
    size_t length = (size_t)module_length(name);
    for (size_t i = DAPT_SLOT_COUNT; i < dapt_slots_count(m); i++) {
        if (!adapted(m, i)) continue;
        const char *end = module_end(m, i);
        size_t tail = (size_t)module_length(end);
        if (length > tail && name[length - tail - 1] == '.' &&
            memcmp(name + length - tail, end, tail) == 0)
            return true;
    }
    return false;
}

// Whether ends of names alone say which matrices have adapters.
static bool ends_suffice(const struct dapt_model *m) {
    for (size_t i = 0; i < dapt_slots_count(m); i++)
        if (m->slots[i] != DAPT_NONE &&
            adapted(m, i) != end_matches(m, m->parameters[m->slots[i]].name))
            return false;
    return true;
}

static enum dapt_status write_targets(const struct dapt_model *m, struct dapt_string *out) {
    bool ends = ends_suffice(m);
    size_t last = ends ? 2 : (size_t)m->layers + 1, count = 0;
    enum dapt_status status = dapt_string_format(out, "  \"target_modules\": [");
    for (size_t i = DAPT_SLOT_COUNT; i < last * DAPT_SLOT_COUNT && !status; i++) {
        if (!adapted(m, i)) continue;
        const char *name = ends ? module_end(m, i) : m->parameters[m->slots[i]].name;
        status = dapt_string_format(out, "%s\"%.*s\"", count++ ? ", " : "", module_length(name),
                                    name);
    }
    return status ? status : dapt_string_format(out, "],\n");
}

static enum dapt_status write_saved(const struct dapt_model *m, struct dapt_string *out) {
    struct dapt_arena arena = {0};
    const char *embed = m->parameters[m->slots[DAPT_SLOT_EMBED]].name,
               *head = dapt_weights_head(m, &arena);
    enum dapt_status status = head ? DAPT_OK : DAPT_ERROR_MEMORY;
    if (!status && m->adapters->embeddings)
        status = dapt_string_format(out, "  \"modules_to_save\": [\"%.*s\", \"%.*s\"],\n",
                                    module_length(embed), embed, module_length(head), head);
    else if (!status)
        status = dapt_string_format(out, "  \"modules_to_save\": null,\n");
    dapt_arena_free(&arena);
    return status;
}

enum dapt_status dapt_adapters_write_config(const struct dapt_model *m, const char *path) {
    char base[PATH_MAX];
    struct dapt_string text = {0};
    if (!realpath(m->folder, base)) return dapt_fail_errno("%s", m->folder);
    enum dapt_status status = dapt_string_format(&text, "{\n  \"base_model_name_or_path\": ");
    if (!status) status = dapt_json_write_string(&text, base);
    if (!status)
        status = dapt_string_format(
            &text,
            ",\n  \"bias\": \"none\",\n  \"fan_in_fan_out\": %s,\n  \"inference_mode\": true,\n"
            "  \"init_lora_weights\": true,\n  \"lora_alpha\": ",
            m->family->input_major ? "true" : "false");
    if (!status) status = dapt_json_write_number(&text, (double)m->adapters->alpha);
    if (!status) status = dapt_string_format(&text, ",\n  \"lora_dropout\": ");
    if (!status) status = dapt_json_write_number(&text, m->adapters->dropout);
    if (!status) status = dapt_string_format(&text, ",\n");
    if (!status) status = write_saved(m, &text);
    if (!status)
        status = dapt_string_format(&text, "  \"peft_type\": \"LORA\",\n  \"r\": %u,\n",
                                    m->adapters->rank);
    if (!status) status = write_targets(m, &text);
    if (!status)
        status = dapt_string_format(
            &text, "  \"task_type\": %s,\n  \"use_dora\": false,\n  \"use_rslora\": %s\n}\n",
            m->masked ? "null" : "\"CAUSAL_LM\"", m->adapters->rslora ? "true" : "false");
    if (!status) status = dapt_file_write(path, text.data, text.length);
    dapt_string_free(&text);
    return status;
}
