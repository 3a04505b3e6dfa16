#include "report/report.h"

#include <string.h>

#include "base/files.h"
#include "report/page.h"
#include "report/tensorboard.h"

// Runs of one name, of different folders, are told apart by a number: "mine (2)".
static enum dapt_status name_apart(struct dapt_run *runs, size_t last) {
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

static enum dapt_status read_runs(const char *const *paths, struct dapt_run *runs, size_t *count) {
    enum dapt_status status = DAPT_OK;
    for (; !status && paths[*count]; ++*count) {
        if (*count == DAPT_REPORT_RUNS)
            return dapt_fail(DAPT_ERROR_INVALID, "%s: a report shows at most %d runs",
                             paths[*count], DAPT_REPORT_RUNS);
        struct dapt_run *run = &runs[*count];
        status = dapt_run_read(paths[*count], run);
        if (!status) status = name_apart(runs, *count);
        if (!status && run->damaged)
            dapt_log(DAPT_LOG_WARNING, "%s/metrics.jsonl:%zu: is no event; lines left out: %zu",
                     run->path, run->damaged_line, run->damaged);
    }
    return status;
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
