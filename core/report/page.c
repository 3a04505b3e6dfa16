// The page: its head, the headline, and the sections in their order.
#include "report/page.h"

#include "dapt/dapt.h"
#include "report/plot.h"
#include "report/style.h"

static bool has_corpora(const struct dapt_run *run) {
    return dapt_json_count(dapt_json_member(run->start, "corpora")) > 0;
}
static bool has_steps(const struct dapt_run *run) {
    return run->step_count > 0 || run->set_count > 0;
}
static bool has_checkpoints(const struct dapt_run *run) {
    return run->checkpoint_count > 0;
}
static bool has_happenings(const struct dapt_run *run) {
    return run->happening_count > 0;
}
static bool has_started(const struct dapt_run *run) {
    return run->start || run->device.root || run->device.problem;
}

static const struct {
    const char *id, *title;
    bool (*has)(
        const struct dapt_run *run);  // NULL: any run; else there is none where no run has it
    void (*write)(struct dapt_page *page);
} sections[] = {
    {"ledger", "Gained and paid", NULL, dapt_page_ledger},
    {"runs", "What was run", NULL, dapt_page_overview},
    {"course", "The course", has_steps, dapt_page_curves},
    {"data", "Data", has_corpora, dapt_page_data},
    {"checkpoints", "Checkpoints", has_checkpoints, dapt_page_checkpoints},
    {"events", "Events", has_happenings, dapt_page_happenings},
    {"device", "Parity certificate", has_started, dapt_page_certificate},
    {"configuration", "Configuration", NULL, dapt_page_configuration},
};

static void put_title(struct dapt_page *page) {
    for (size_t r = 0; r < page->count; r++) {
        if (r) dapt_html_put(&page->html, r + 1 < page->count ? ", " : " and ");
        dapt_html_text(&page->html, page->runs[r].name);
    }
}

void dapt_page_head(struct dapt_html *html) {
    // Nothing is fetched and nothing runs, whatever a run's texts say.
    dapt_html_put(html,
                  "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
                  "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
                  "style-src 'unsafe-inline'\"/>\n"
                  "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
                  "<meta name=\"color-scheme\" content=\"light dark\"/>\n<title>");
}

void dapt_page_body(struct dapt_html *html) {
    dapt_html_put(html, "</title>\n<style>\n");
    for (const char *const *line = dapt_report_style; *line; line++)
        dapt_html_put(html, "%s\n", *line);
    dapt_html_put(html, "</style>\n</head>\n<body>\n");
}

static void put_headlines(struct dapt_page *page) {
    struct dapt_html *html = &page->html;
    if (page->count == 1) {
        dapt_html_put(html, "<p class=\"headline\">");
        dapt_page_headline(html, &page->runs[0]);
        dapt_html_put(html, "</p>\n");
        return;
    }
    dapt_html_put(html, "<dl class=\"headlines\">\n");
    for (size_t r = 0; r < page->count; r++) {
        dapt_html_put(html, "<dt>");
        dapt_plot_swatch(html, (unsigned)r, DAPT_PLOT_MARKED);
        dapt_html_text(html, page->runs[r].name);
        dapt_html_put(html, "</dt><dd>");
        dapt_page_headline(html, &page->runs[r]);
        dapt_html_put(html, "</dd>\n");
    }
    dapt_html_put(html, "</dl>\n");
}

static bool any_has(const struct dapt_page *page, bool (*has)(const struct dapt_run *run)) {
    for (size_t r = 0; r < page->count; r++)
        if (!has || has(&page->runs[r])) return true;
    return false;
}

bool dapt_page_told(const struct dapt_page *page, size_t r, const char *set) {
    for (size_t k = 0; k < r; k++)
        if (dapt_run_find_set(&page->runs[k], set)) return true;
    return false;
}

void dapt_page_write(struct dapt_page *page) {
    struct dapt_html *html = &page->html;
    dapt_page_head(html);
    put_title(page);
    dapt_html_put(html, " – dapt report");
    dapt_page_body(html);
    dapt_html_put(html, "<header>\n<p class=\"kind\">Training report</p>\n<h1>");
    put_title(page);
    dapt_html_put(html, "</h1>\n");
    put_headlines(page);
    dapt_html_put(html, "</header>\n<main>\n");
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++) {
        if (!any_has(page, sections[i].has)) continue;
        dapt_html_put(html, "<section aria-labelledby=\"%s\">\n<h2 id=\"%s\">%s</h2>\n",
                      sections[i].id, sections[i].id, sections[i].title);
        sections[i].write(page);
        dapt_html_put(html, "</section>\n");
    }
    dapt_html_put(html,
                  "</main>\n<footer><p>Written by dapt %s from what the run recorded; all "
                  "times are UTC.</p></footer>\n</body>\n</html>\n",
                  dapt_version());
}
