#include "report/report.h"

#include <string.h>

#include "base/files.h"
#include "report/page.h"

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
    return status;
}

enum dapt_status dapt_report_page(const char *const *paths, const char *output) {
    struct dapt_run runs[DAPT_REPORT_RUNS] = {0};
    struct dapt_page page = {.runs = runs};
    enum dapt_status status = read_runs(paths, runs, &page.count);
    if (!status) dapt_page_write(&page);
    if (!status) status = page.html.status;
    if (!status) status = dapt_file_write(output, page.html.text.data, page.html.text.length);
    for (size_t r = 0; r < DAPT_REPORT_RUNS; r++) dapt_run_free(&runs[r]);
    dapt_string_free(&page.html.text);
    dapt_arena_free(&page.arena);
    return status;
}
