// The parts of a report. Each writes what its runs have to say, and nothing where they have
// nothing.
#ifndef DAPT_REPORT_PAGE_H
#define DAPT_REPORT_PAGE_H
#include "report/html.h"
#include "report/run.h"

#define DAPT_REPORT_RUNS 8  // side by side

struct dapt_page {
    struct dapt_html html;
    struct dapt_arena arena;
    const struct dapt_run *runs;
    size_t count;
};
// Fills page->html with the whole page.
void dapt_page_write(struct dapt_page *page);
// The beginning of a page, to its open <title>; and on from there to its open <body>.
void dapt_page_head(struct dapt_html *html);
void dapt_page_body(struct dapt_html *html);
// Whether a run before the r-th has a set of this name: what is told by set was told with that one.
bool dapt_page_told(const struct dapt_page *page, size_t r, const char *set);

// words.c: what a run gained and cost, in one sentence; how far it came.
void dapt_page_headline(struct dapt_html *html, const struct dapt_run *run);
void dapt_page_state(struct dapt_html *html, const struct dapt_run *run);

// figures.c
void dapt_page_changes(struct dapt_page *page);
void dapt_page_curves(struct dapt_page *page);

// tables.c
void dapt_page_overview(struct dapt_page *page);
void dapt_page_ledger(struct dapt_page *page);
void dapt_page_data(struct dapt_page *page);
void dapt_page_checkpoints(struct dapt_page *page);
void dapt_page_happenings(struct dapt_page *page);
// The caption of a table of one run: with the run's name where there are several.
const char *dapt_page_caption(struct dapt_page *page, const struct dapt_run *run,
                              const char *caption);
// A header for `first`, then one for each run's name.
void dapt_page_run_columns(struct dapt_page *page, const char *first);
// A cell of what text there is; one of a number.
void dapt_page_cell(struct dapt_html *html, const char *text);
void dapt_page_number(struct dapt_html *html, const char *format, double value);

// settings.c
void dapt_page_certificate(struct dapt_page *page);
void dapt_page_configuration(struct dapt_page *page);
#endif
