#include "host/config_hints.h"

#include <string.h>

#include "base/files.h"
#include "host/config_fields.h"
#include "host/json.h"

// -------------------------------------------------------------------------------- names of others

static const struct {
    const char *name, *key;
} others[] = {
    {"lr", "train.schedule.peak"},
    {"learning_rate", "train.schedule.peak"},
    {"max_lr", "train.schedule.peak"},
    {"peak_lr", "train.schedule.peak"},
    {"peak", "train.schedule.peak"},
    {"min_lr", "train.schedule.floor"},
    {"warmup", "train.schedule.warmup"},
    {"warmup_ratio", "train.schedule.warmup"},
    {"warmup_steps", "train.schedule.warmup"},
    {"scheduler", "train.schedule"},
    {"lr_scheduler", "train.schedule"},
    {"lr_scheduler_type", "train.schedule.plugin"},
    {"max_steps", "train.steps"},
    {"max_tokens", "train.tokens"},
    {"num_epochs", "train.epochs"},
    {"num_train_epochs", "train.epochs"},
    {"batch_size", "train.batch"},
    {"train_batch_size", "train.batch"},
    {"micro_batch_size", "train.micro_batch"},
    {"per_device_train_batch_size", "train.micro_batch"},
    {"gradient_accumulation_steps", "train.micro_batch"},
    {"sequence_len", "data.sequence"},
    {"sequence_length", "data.sequence"},
    {"seq_len", "data.sequence"},
    {"max_seq_length", "data.sequence"},
    {"max_length", "data.sequence"},
    {"context_length", "data.sequence"},
    {"cutoff_len", "data.sequence"},
    {"block_size", "data.sequence"},
    {"weight_decay", "train.optimizer.weight_decay"},
    {"adam_beta1", "train.optimizer.betas"},
    {"adam_beta2", "train.optimizer.betas"},
    {"adam_epsilon", "train.optimizer.eps"},
    {"max_grad_norm", "train.clip"},
    {"grad_clip", "train.clip"},
    {"gradient_clipping", "train.clip"},
    {"gradient_checkpointing", "train.recompute"},
    {"eval_steps", "train.evaluate_every"},
    {"eval_every", "train.evaluate_every"},
    {"save_steps", "train.checkpoint_every"},
    {"save_total_limit", "train.keep"},
    {"lora_r", "train.lora.rank"},
    {"lora_rank", "train.lora.rank"},
    {"r", "train.lora.rank"},
    {"lora_alpha", "train.lora.alpha"},
    {"lora_dropout", "train.lora.dropout"},
    {"lora_target_modules", "train.lora.targets"},
    {"target_modules", "train.lora.targets"},
    {"use_rslora", "train.lora.rslora"},
    {"model_name_or_path", "model"},
    {"base_model", "model"},
    {"output_dir", "run"},
    {"train_file", "data.domain"},
    {"datasets", "data.domain"},
    {"dataset", "data.domain"},
    {"validation_file", "data.eval"},
    {"kind", NULL},  // of what, its group says
};

const char *dapt_config_hint(const char *name) {
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (strcmp(others[i].name, name) == 0) return others[i].key;
    for (const struct dapt_field *field = dapt_fields; field->path; field++) {
        const char *dot = strrchr(field->path, '.');
        if (dot && strcmp(dot + 1, name) == 0) return field->path;
    }
    return NULL;
}

// ------------------------------------------------------------------------------- formats of others

static bool ends_in(const char *path, const char *ending) {
    size_t length = strlen(path), tail = strlen(ending);
    return length > tail && strcmp(path + length - tail, ending) == 0;
}

// "yaml", "toml", or NULL: by the file's ending, else by what follows the first name in it.
static const char *format_of(const char *path, const char *text) {
    if (ends_in(path, ".yaml") || ends_in(path, ".yml")) return "yaml";
    if (ends_in(path, ".toml")) return "toml";
    while (*text == '#') {
        text += strcspn(text, "\n");
        text += strspn(text, "\r\n");
    }
    if (strncmp(text, "---", 3) == 0) return "yaml";
    const char *name = text + (*text == '[');
    size_t length = strspn(name,
                           "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                           "_-.");
    if (length == 0) return NULL;
    if (*text == '[') return name[length] == ']' ? "toml" : NULL;
    const char *mark = name + length + strspn(name + length, " ");
    return *mark == ':' ? "yaml" : *mark == '=' ? "toml" : NULL;
}

enum dapt_status dapt_config_hint_format(enum dapt_status status, const char *path) {
    struct dapt_string text = {0}, reason = {0};
    if (status != DAPT_ERROR_INVALID || dapt_string_format(&reason, "%s", dapt_error()))
        return status;
    const char *format = dapt_file_read(path, DAPT_JSON_LIMIT, &text) ? NULL
                                                                      : format_of(path, text.data);
    const char *first = text.data ? text.data + strspn(text.data, " \t\r\n") : "";
    if (format && *first != '{') {
        bool yaml = strcmp(format, "yaml") == 0;
        dapt_fail(
            status,
            "%s; it looks like %s, a configuration is JSON: python3 -c 'import json, sys, %s; "
            "print(json.dumps(%s(sys.stdin.read())))' <%s >my.json",
            reason.data, yaml ? "YAML" : "TOML", yaml ? "yaml" : "tomllib",
            yaml ? "yaml.safe_load" : "tomllib.loads", path);
    } else {
        dapt_fail(status, "%s", reason.data);
    }
    dapt_string_free(&reason);
    dapt_string_free(&text);
    return status;
}
