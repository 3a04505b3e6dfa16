// The configuration for people and other programs: resolved, as help, as JSON Schema.
#include <string.h>

#include "host/config_fields.h"
#include "host/json.h"
#include "host/loader.h"

// Goes through the table as a tree of objects. `leaf` appends one field's value; nothing appended leaves the field out.
struct tree {
    struct dapt_string *out;
    enum dapt_status (*leaf)(const void *context, const struct dapt_field *field,
                             struct dapt_string *out);
    const void *context;
    bool schema;  // groups are wrapped as JSON Schema has them
};

static enum dapt_status add_member(struct tree *tree, const char *name, size_t length, int depth,
                                   bool *first, const char *value) {
    enum dapt_status status = dapt_string_format(tree->out, "%s\n%*s\"%.*s\": %s",
                                                 *first ? "" : ",", depth * 2, "", (int)length,
                                                 name, value);
    *first = false;
    return status;
}

static enum dapt_status add_group(struct tree *tree, const struct dapt_field **next, size_t skip,
                                  int depth);

static enum dapt_status add_leaf(struct tree *tree, const struct dapt_field *field, size_t skip,
                                 int depth, bool *first) {
    struct dapt_string value = {0};
    enum dapt_status status = tree->leaf(tree->context, field, &value);
    const char *name = field->path + skip;
    if (!status && value.length)
        status = add_member(tree, name, strlen(name), depth, first, value.data);
    dapt_string_free(&value);
    return status;
}

static bool same_group(const struct dapt_field *a, const struct dapt_field *b, size_t length) {
    return a->path && strncmp(a->path, b->path, length) == 0;
}

// What stands around the members of a group in the schema. "backend" may also be the name alone.
static enum dapt_status open_schema(struct tree *tree, const struct dapt_field *group,
                                    size_t skip) {
    const char *either = skip && strncmp(group->path, "backend.", skip) == 0
                             ? "\"anyOf\": [{\"type\": \"string\"}, {"
                             : "";
    enum dapt_status status = dapt_string_format(
        tree->out, "{%s\"type\": \"object\", \"additionalProperties\": false, ", either);
    bool any = false;
    for (const struct dapt_field *field = group; !status && same_group(field, group, skip);
         field++) {
        if (!field->required) continue;
        const char *name = field->path + skip;
        status = dapt_string_format(tree->out, "%s\"%.*s\"", any ? ", " : "\"required\": [",
                                    (int)strcspn(name, "."), name);
        any = true;
    }
    if (!status && any) status = dapt_string_format(tree->out, "], ");
    return status ? status : dapt_string_format(tree->out, "\"properties\": {");
}

static enum dapt_status close_schema(struct tree *tree, const struct dapt_field *group,
                                     size_t skip) {
    return dapt_string_format(tree->out,
                              skip && strncmp(group->path, "backend.", skip) == 0 ? "}}]}" : "}}");
}

// All rows that share the first `skip` bytes of *next; rows of a group stand together in the table.
static enum dapt_status add_group(struct tree *tree, const struct dapt_field **next, size_t skip,
                                  int depth) {
    const struct dapt_field *group = *next;
    enum dapt_status status = tree->schema ? open_schema(tree, group, skip)
                                           : dapt_string_add(tree->out, "{", 1);
    for (bool first = true; !status && same_group(*next, group, skip);) {
        const char *name = (*next)->path + skip;
        size_t length = strcspn(name, ".");
        if (!name[length]) {
            status = add_leaf(tree, (*next)++, skip, depth, &first);
        } else {
            status = add_member(tree, name, length, depth, &first, "");
            if (!status) status = add_group(tree, next, skip + length + 1, depth + 1);
        }
    }
    if (!status) status = dapt_string_format(tree->out, "\n%*s", (depth - 1) * 2, "");
    if (status) return status;
    return tree->schema ? close_schema(tree, group, skip) : dapt_string_add(tree->out, "}", 1);
}

static enum dapt_status leaf_value(const void *context, const struct dapt_field *field,
                                   struct dapt_string *out) {
    return dapt_field_forms[field->type].write(context, field, out);
}

enum dapt_status dapt_config_write(const struct dapt_config *config, struct dapt_string *json) {
    struct tree tree = {.out = json, .leaf = leaf_value, .context = config};
    const struct dapt_field *next = dapt_fields;
    enum dapt_status status = add_group(&tree, &next, 0, 1);
    return status ? status : dapt_string_add(json, "\n", 1);
}

// --------------------------------------------------------------------------------------------------------------- schema

static bool has_range(const struct dapt_field *field) {
    return field->minimum < field->maximum;
}

static enum dapt_status leaf_schema(const void *context, const struct dapt_field *field,
                                    struct dapt_string *out) {
    (void)context;
    enum dapt_status status = dapt_string_format(
        out, "{%s, \"description\": ", dapt_field_forms[field->type].schema);
    if (!status) status = dapt_json_write_string(out, field->help);
    if (!status && has_range(field)) {
        status = dapt_string_format(out, ", \"minimum\": %.17g, \"maximum\": %.17g", field->minimum,
                                    field->maximum);
    }
    for (size_t i = 0; !status && field->choices && field->choices[i]; i++) {
        status = dapt_string_format(out, "%s\"%s\"%s", i ? ", " : ", \"enum\": [",
                                    field->choices[i], field->choices[i + 1] ? "" : "]");
    }
    if (!status && field->fallback)
        status = dapt_string_format(out, ", \"default\": %s", field->fallback);
    return status ? status : dapt_string_add(out, "}", 1);
}

void dapt_config_schema(FILE *out) {
    static const char head[] =
        "{\"$schema\": \"https://json-schema.org/draft/2020-12/schema\", \"title\": "
        "\"configuration of a dapt run\",\n"
        "\"$ref\": \"#/$defs/config\", \"$defs\": {\n"
        "\"entry\": {\"anyOf\": [{\"type\": \"string\", \"minLength\": 1}, {\"type\": \"object\", "
        "\"required\": [\"path\"], "
        "\"properties\": {\"path\": {\"type\": \"string\", \"minLength\": 1}, \"source\": "
        "{\"type\": \"string\"}, "
        "\"weight\": {\"type\": \"number\", \"exclusiveMinimum\": 0, \"maximum\": 1e6, "
        "\"description\": "
        "\"multiplies how much the entry brings by its own size (2: all of it twice a pass, 0.5: "
        "half); "
        "it is no share\"}, \"role\": {\"type\": \"string\", \"minLength\": 1}}}]},\n"
        "\"list\": {\"anyOf\": [{\"$ref\": \"#/$defs/entry\"}, "
        "{\"type\": \"array\", \"minItems\": 1, \"items\": {\"$ref\": "
        "\"#/$defs/entry\"}}]},\n\"config\": ";
    struct dapt_string text = {0};
    struct tree tree = {.out = &text, .leaf = leaf_schema, .schema = true};
    const struct dapt_field *next = dapt_fields;
    if (add_group(&tree, &next, 0, 1) == DAPT_OK) fprintf(out, "%s%s}}\n", head, text.data);
    dapt_string_free(&text);
}

// ----------------------------------------------------------------------------------------------------------------- help

// "integer from 1 to 9", of a key or an option. No range where the two are equal.
static void print_type(FILE *out, const char *type, double minimum, double maximum) {
    fputs(type, out);
    if (minimum >= maximum) return;
    if (maximum >= 1e12)
        fprintf(out, " of at least %.10g", minimum);
    else
        fprintf(out, " from %.10g to %.10g", minimum, maximum);
}

static void print_choices(FILE *out, const struct dapt_field *field) {
    struct dapt_string text = {0};
    if (dapt_field_choices(field, &text) == DAPT_OK) fputs(text.data, out);
    dapt_string_free(&text);
}

static void print_options(FILE *out, const struct dapt_option *option) {
    static const char *const types[] = {[DAPT_OPTION_STRING] = "string",
                                        [DAPT_OPTION_NUMBER] = "number",
                                        [DAPT_OPTION_INTEGER] = "integer",
                                        [DAPT_OPTION_BOOL] = "true or false"};
    for (; option && option->name; option++) {
        fprintf(out, "        %-10s  ", option->name);
        print_type(out, types[option->type], option->minimum, option->maximum);
        if (!option->default_value)
            fputs(", required", out);
        else if (*option->default_value)
            fprintf(out, ", default %s", option->default_value);
        fprintf(out, ": %s\n", option->help ? option->help : "");
    }
}

// The plugins that a key of this type may name, and what they may be told there.
static void print_plugins(FILE *out, const struct dapt_modules *modules,
                          enum dapt_field_type type) {
    static const char *const kinds[DAPT_FIELD_TYPE_COUNT] = {
        [DAPT_FIELD_TOKENIZER] = DAPT_TOKENIZER_1,
        [DAPT_FIELD_SCHEDULE] = DAPT_SCHEDULE_1,
        [DAPT_FIELD_DATA] = DAPT_SOURCE_1,
    };
    if (!kinds[type]) return;
    const struct dapt_plugin_descriptor *plugin, *next = dapt_modules_each(modules, kinds[type], 0);
    for (size_t k = 0; (plugin = next); k++) {
        next = dapt_modules_each(modules, kinds[type], k + 1);
        fprintf(out, "    \"%s\": %s\n", plugin->id, plugin->summary ? plugin->summary : "");
        // Neighbours that share a table share its lines.
        if (!next || next->options != plugin->options) print_options(out, plugin->options);
    }
}

void dapt_config_help(FILE *out, const struct dapt_modules *modules) {
    fputs(
        "The keys of a configuration, a JSON file. Relative paths start at the file's folder, "
        "those given with --set KEY=VALUE too; ~/ is the home folder. Unknown keys and wrong types "
        "are errors.\n",
        out);
    bool told[DAPT_FIELD_TYPE_COUNT] = {false};
    for (const struct dapt_field *field = dapt_fields; field->path; field++) {
        fprintf(out, "\n%s: ", field->path);
        if (field->choices)
            print_choices(out, field);
        else
            print_type(out, dapt_field_forms[field->type].name, field->minimum, field->maximum);
        if (field->required) fputs(", required", out);
        if (field->fallback && strcmp(field->fallback, "{}") != 0)
            fprintf(out, ", default %s", field->fallback);
        fprintf(out, "\n    %s\n", field->help);
        if (modules && !told[field->type]) print_plugins(out, modules, field->type);
        told[field->type] = true;
    }
}
