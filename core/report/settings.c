// The configuration, key by key, and the certificate of the device.
#include <stdlib.h>
#include <string.h>

#include "report/page.h"

#define KEYS 2000  // of a configuration; one of ours has some tens

// ----------------------------------------------------------------------------------- configuration

struct setting {
    const char *key;
    const char *values[DAPT_REPORT_RUNS];  // NULL: not there
};
struct settings {
    struct setting *list;
    size_t count, capacity;
};

static struct setting *need_setting(struct settings *all, const char *key) {
    for (size_t i = 0; i < all->count; i++)
        if (strcmp(all->list[i].key, key) == 0) return &all->list[i];
    if (all->count == KEYS ||
        dapt_grow(&all->list, &all->capacity, all->count + 1, sizeof *all->list))
        return NULL;
    all->list[all->count] = (struct setting){.key = key};
    return &all->list[all->count++];
}

static const char *value_text(struct dapt_page *page, const struct dapt_json *value) {
    struct dapt_string text = {0};
    const char *plain = NULL;
    if (dapt_json_kind(value) == DAPT_JSON_STRING && !dapt_json_string(value, &plain)) return plain;
    if (!dapt_json_write(value, &text))
        plain = dapt_arena_copy(&page->arena, text.data, text.length);
    dapt_string_free(&text);
    return plain;
}

// Members that are objects give keys of several parts: "train.schedule.peak".
static void flatten(struct dapt_page *page, size_t run, const struct dapt_json *value,
                    const char *key, struct settings *all) {
    if (dapt_json_kind(value) == DAPT_JSON_OBJECT && dapt_json_count(value) > 0) {
        for (size_t i = 0; i < dapt_json_count(value) && all->count < KEYS; i++) {
            const struct dapt_json *member = dapt_json_at(value, i);
            const char *name = dapt_arena_format(&page->arena, "%s%s%s", key, *key ? "." : "",
                                                 dapt_json_name(member));
            if (name) flatten(page, run, member, name, all);
        }
        return;
    }
    struct setting *setting = need_setting(all, key);
    if (setting) setting->values[run] = value_text(page, value);
}

static bool differs(const struct dapt_page *page, const struct setting *setting) {
    const char *first = setting->values[0] ? setting->values[0] : "";
    for (size_t r = 1; r < page->count; r++)
        if (strcmp(first, setting->values[r] ? setting->values[r] : "") != 0) return true;
    return false;
}

static void put_settings(struct dapt_page *page, const struct settings *all, const char *caption,
                         bool different) {
    dapt_html_table(&page->html, caption);
    dapt_page_run_columns(page, "Key");
    for (size_t i = 0; i < all->count; i++) {
        if (different && !differs(page, &all->list[i])) continue;
        dapt_html_put(&page->html, "<tr>");
        dapt_html_element(&page->html, "th scope=\"row\"", all->list[i].key);
        for (size_t r = 0; r < page->count; r++)
            dapt_page_cell(&page->html, all->list[i].values[r]);
        dapt_html_put(&page->html, "</tr>\n");
    }
    dapt_html_table_end(&page->html);
}

static void put_problem(struct dapt_page *page, const struct dapt_run *run,
                        const struct dapt_run_file *file, const char *name) {
    if (file->root) return;
    dapt_html_put(&page->html, "<p class=\"note\">");
    dapt_html_text(&page->html, file->problem ? file->problem : run->name);
    dapt_html_put(&page->html, file->problem ? "</p>\n" : " has no %s.</p>\n", name);
}

void dapt_page_configuration(struct dapt_page *page) {
    struct settings all = {0};
    size_t different = 0;
    for (size_t r = 0; r < page->count; r++) {
        const struct dapt_run_file *file = &page->runs[r].config;
        if (file->root) flatten(page, r, file->root, "", &all);
        put_problem(page, &page->runs[r], file, "config.json");
    }
    for (size_t i = 0; i < all.count; i++) different += differs(page, &all.list[i]);
    if (different) put_settings(page, &all, "Where the configurations differ", true);
    if (page->count > 1 && all.count && !different)
        dapt_html_put(&page->html, "<p class=\"note\">The configurations do not differ.</p>\n");
    if (all.count) put_settings(page, &all, "Every key, defaults written out", false);
    free(all.list);
}

// ------------------------------------------------------------------------------------- certificate

static void put_row(struct dapt_html *html, const struct dapt_json *row) {
    dapt_html_put(html, "<tr>");
    dapt_html_element(html, "th scope=\"row\"", dapt_run_text(row, "name"));
    dapt_page_cell(html, dapt_run_text(row, "what"));
    dapt_page_number(html, "%.0f", dapt_run_number(row, "cases"));
    dapt_page_number(html, "%.3e", dapt_run_number(row, "error"));
    dapt_page_number(html, "%.0e", dapt_run_number(row, "tolerance"));
    dapt_html_put(html, "<td>%s</td></tr>\n", dapt_run_flag(row, "ok") ? "ok" : "<b>OFF</b>");
}

static void put_certificate(struct dapt_page *page, const struct dapt_run *run) {
    static const char *const columns[] = {"Operation", "what",    "#cases", "#rel. error",
                                          "#at most",  "verdict", NULL};
    const struct dapt_json *root = run->device.root, *rows = dapt_json_member(root, "rows");
    const char *device = dapt_run_text(root, "device"), *driver = dapt_run_text(root, "driver");
    dapt_html_table(&page->html, dapt_page_caption(page, run, "The device compared with the cpu"));
    dapt_html_columns(&page->html, columns);
    for (size_t i = 0; i < dapt_json_count(rows); i++) put_row(&page->html, dapt_json_at(rows, i));
    dapt_html_table_end(&page->html);
    dapt_html_put(&page->html, "<p class=\"note\">");
    dapt_html_text(&page->html, device ? device : "a device without a name");
    dapt_html_put(&page->html, ", driver ");
    dapt_html_text(&page->html, driver ? driver : "not known");
    dapt_html_put(&page->html, ".</p>\n");
}

void dapt_page_certificate(struct dapt_page *page) {
    for (size_t r = 0; r < page->count; r++) {
        const struct dapt_run *run = &page->runs[r];
        const char *backend = dapt_run_text(run->start, "backend");
        if (run->device.root) {
            put_certificate(page, run);
        } else if (!run->device.problem && backend && strcmp(backend, "cpu") == 0) {
            dapt_html_put(&page->html, "<p class=\"note\">");
            dapt_html_text(&page->html, run->name);
            dapt_html_put(&page->html,
                          " was computed by the cpu, which devices are compared with.</p>\n");
        } else {
            put_problem(page, run, &run->device, "device.json");
        }
    }
}
