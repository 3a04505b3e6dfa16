#include "report/report.h"

#include <string.h>

#include "base/files.h"
#include "report/page.h"
#include "report/tensorboard.h"

// Whether runs of that name have other names, of their own, so far up.
static bool apart(struct dapt_run *runs, size_t count, const char *name, size_t above,
                  const char **parts) {
    for (size_t r = 0; r < count; r++) {
        if (strcmp(runs[r].name, name) != 0) continue;
        parts[r] = dapt_run_part(&runs[r], above);
        if (!parts[r] || !*parts[r]) return false;
        for (size_t i = 0; i < count; i++)
            if (i != r && strcmp(parts[r], i < r && parts[i] ? parts[i] : runs[i].name) == 0)
                return false;
    }
    return true;
}

// Runs of one name get that of the nearest folders above them in which they differ: many
// configurations say "run".
static void name_by_folder(struct dapt_run *runs, size_t count, const char *name) {
    for (size_t above = 1; above < 16; above++) {
        const char *parts[DAPT_REPORT_RUNS] = {0};
        if (!apart(runs, count, name, above, parts)) continue;
        for (size_t i = 0; i < count; i++)
            if (parts[i]) runs[i].name = parts[i];
        return;
    }
}

// Those that are alike still, such as one run twice, get a number: "mine (2)".
static enum dapt_status number_apart(struct dapt_run *runs, size_t last) {
    const char *name = runs[last].name;
    for (size_t i = 0, number = 2; i < last; i++) {
        if (strcmp(runs[i].name, name) != 0) continue;
        name = dapt_arena_format(&runs[last].arena, "%s (%zu)", runs[last].name, number++);
        if (!name) return DAPT_ERROR_MEMORY;
        i = (size_t)-1;  // from the beginning: the number may be taken too
    }
    runs[last].name = name;
    return DAPT_OK;
}

static enum dapt_status name_apart(struct dapt_run *runs, size_t count) {
    enum dapt_status status = DAPT_OK;
    for (size_t r = 0; r < count; r++) {
        size_t alike = 0;
        for (size_t i = 0; i < count; i++) alike += strcmp(runs[i].name, runs[r].name) == 0;
        if (alike > 1) name_by_folder(runs, count, runs[r].name);
    }
    for (size_t r = 1; !status && r < count; r++) status = number_apart(runs, r);
    return status;
}

static enum dapt_status read_runs(const char *const *paths, struct dapt_run *runs, size_t *count) {
    enum dapt_status status = DAPT_OK;
    for (; !status && paths[*count]; ++*count) {
        if (*count == DAPT_REPORT_RUNS)
            return dapt_fail(DAPT_ERROR_INVALID, "%s: a report shows at most %d runs",
                             paths[*count], DAPT_REPORT_RUNS);
        struct dapt_run *run = &runs[*count];
        status = dapt_run_read(paths[*count], run);
        if (!status && run->damaged)
            dapt_log(DAPT_LOG_WARNING, "%s/metrics.jsonl:%zu: is no event; lines left out: %zu",
                     run->path, run->damaged_line, run->damaged);
    }
    return status ? status : name_apart(runs, *count);
}

enum dapt_status dapt_report_page(const char *const *paths, const char *output,
                                  const char *tensorboard) {
    struct dapt_run runs[DAPT_REPORT_RUNS] = {0};
    struct dapt_page page = {.runs = runs};
    enum dapt_status status = read_runs(paths, runs, &page.count);
    if (!status) dapt_page_write(&page);
    if (!status) status = page.html.status;
    if (!status) status = dapt_file_write(output, page.html.text.data, page.html.text.length);
    for (size_t r = 0; tensorboard && !status && r < page.count; r++)
        status = dapt_tensorboard_write(&runs[r], tensorboard);
    for (size_t r = 0; r < DAPT_REPORT_RUNS; r++) dapt_run_free(&runs[r]);
    dapt_string_free(&page.html.text);
    dapt_arena_free(&page.arena);
    return status;
}
