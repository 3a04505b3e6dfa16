// The tables: what the runs are, the ledger, data, checkpoints, and what happened.
#include <math.h>
#include <string.h>

#include "base/small_text.h"
#include "dapt/dapt.h"
#include "report/page.h"

#define HAPPENINGS 200  // rows that are shown of a run

const char *dapt_page_caption(struct dapt_page *page, const struct dapt_run *run,
                              const char *caption) {
    if (page->count == 1) return caption;
    const char *text = dapt_arena_format(&page->arena, "%s: %s", run->name, caption);
    return text ? text : caption;
}

void dapt_page_run_columns(struct dapt_page *page, const char *first) {
    const char *columns[DAPT_REPORT_RUNS + 2] = {first};
    for (size_t r = 0; r < page->count; r++) columns[r + 1] = page->runs[r].name;
    dapt_html_columns(&page->html, columns);
}

void dapt_page_cell(struct dapt_html *html, const char *text) {
    dapt_html_element(html, "td", text);
}

void dapt_page_number(struct dapt_html *html, const char *format, double value) {
    dapt_html_put(html, "<td class=\"n\">");
    dapt_html_number(html, format, value);
    dapt_html_put(html, "</td>");
}

static bool is_count(double value) {
    return value >= 0 && value < 1e18;
}

static void put_count(struct dapt_html *html, double value) {
    struct dapt_small_text text;
    dapt_html_text(html, is_count(value) ? dapt_count_text((uint64_t)value, &text) : "–");
}

static void put_bytes(struct dapt_html *html, double value) {
    struct dapt_small_text text;
    dapt_html_text(html, is_count(value) ? dapt_bytes_text((uint64_t)value, &text) : "–");
}

static void put_seconds(struct dapt_html *html, double value) {
    struct dapt_small_text text;
    dapt_html_text(html, isfinite(value) ? dapt_duration_text(value, &text) : "–");
}

static void count_cell(struct dapt_html *html, double value) {
    dapt_html_put(html, "<td class=\"n\">");
    put_count(html, value);
    dapt_html_put(html, "</td>");
}

// As it was recorded, "2026-11-25T10:00:00.000Z", to the second.
static void put_time(struct dapt_html *html, const char *time) {
    if (!time || strlen(time) < 19 || time[10] != 'T') {
        dapt_html_text(html, time ? time : "–");
        return;
    }
    dapt_html_put(html, "<time datetime=\"");
    dapt_html_text(html, time);
    dapt_html_put(html, "\">");
    dapt_html_format(html, "%.10s %.8s", time, time + 11);
    dapt_html_put(html, "</time>");
}

// ---------------------------------------------------------------------------------------- overview

static void put_text_of(struct dapt_html *html, const struct dapt_run *run, const char *name) {
    const char *text = dapt_run_text(run->start, name);
    dapt_html_text(html, text ? text : "–");
}
static void put_device(struct dapt_html *html, const struct dapt_run *run) {
    double threads = dapt_run_number(run->start, "threads");
    put_text_of(html, run, "device");
    dapt_html_put(html, ", ");
    put_text_of(html, run, "backend");
    if (threads > 1) dapt_html_format(html, ", %.0f threads", threads);
}
static void put_precision(struct dapt_html *html, const struct dapt_run *run) {
    put_text_of(html, run, "precision");
}
static void put_began(struct dapt_html *html, const struct dapt_run *run) {
    put_time(html, run->began);
}
static void put_ended(struct dapt_html *html, const struct dapt_run *run) {
    put_time(html, run->ended);
}
static void put_version(struct dapt_html *html, const struct dapt_run *run) {
    put_text_of(html, run, "version");
}
static void put_family(struct dapt_html *html, const struct dapt_run *run) {
    put_text_of(html, run, "family");
}
static void put_objective(struct dapt_html *html, const struct dapt_run *run) {
    put_text_of(html, run, "objective");
}
static void put_parameters(struct dapt_html *html, const struct dapt_run *run) {
    double all = dapt_run_number(run->start, "parameters"),
           trained = dapt_run_number(run->start, "trained_parameters");
    put_count(html, all);
    if (!isfinite(trained) || trained == all) return;
    dapt_html_put(html, ", trained ");
    put_count(html, trained);
}
static void put_memory(struct dapt_html *html, const struct dapt_run *run) {
    put_bytes(html, dapt_run_number(run->start, "memory"));
}
static void put_batch(struct dapt_html *html, const struct dapt_run *run) {
    put_count(html, dapt_run_number(run->start, "tokens_per_step"));
}
static void put_tokens(struct dapt_html *html, const struct dapt_run *run) {
    put_count(html, dapt_run_number(run->end, "tokens"));
}
static void put_skipped(struct dapt_html *html, const struct dapt_run *run) {
    put_count(html, dapt_run_number(run->end, "skipped"));
}
static void put_training(struct dapt_html *html, const struct dapt_run *run) {
    put_seconds(html, dapt_run_number(run->end, "train_seconds"));
}
static void put_speed(struct dapt_html *html, const struct dapt_run *run) {
    put_count(html, dapt_run_number(run->end, "tokens_per_second"));
}
static void put_best(struct dapt_html *html, const struct dapt_run *run) {
    dapt_html_text(html, run->best ? run->best : "–");
}
static void put_path(struct dapt_html *html, const struct dapt_run *run) {
    dapt_html_element(html, "code", run->path);
}
static void put_lost(struct dapt_html *html, const struct dapt_run *run) {
    put_count(html, (double)run->lost);
}
static void put_damaged(struct dapt_html *html, const struct dapt_run *run) {
    put_count(html, (double)run->damaged);
    if (run->damaged) dapt_html_put(html, ", the first is line %zu", run->damaged_line);
}

static const struct fact {
    const char *name;
    void (*put)(struct dapt_html *html, const struct dapt_run *run);
} facts[] = {
    {"State", dapt_page_state},
    {"Began (UTC)", put_began},
    {"Last told (UTC)", put_ended},
    {"Model family", put_family},
    {"Parameters", put_parameters},
    {"Objective", put_objective},
    {"Device", put_device},
    {"Precision", put_precision},
    {"Memory on the device", put_memory},
    {"Tokens a step", put_batch},
    {"Tokens trained on", put_tokens},
    {"Throughput at the end, tokens/s", put_speed},
    {"Time in steps", put_training},
    {"Steps skipped", put_skipped},
    {"Best checkpoint", put_best},
    {"dapt", put_version},
    {"Folder", put_path},
};
// Told only where there are some.
static const struct fact trouble[] = {
    {"Lines of attempts that were lost", put_lost},
    {"Lines that could not be read", put_damaged},
};

static void put_fact(struct dapt_page *page, const struct fact *fact) {
    dapt_html_put(&page->html, "<tr>");
    dapt_html_element(&page->html, "th scope=\"row\"", fact->name);
    for (size_t r = 0; r < page->count; r++) {
        dapt_html_put(&page->html, "<td class=\"v\">");
        fact->put(&page->html, &page->runs[r]);
        dapt_html_put(&page->html, "</td>");
    }
    dapt_html_put(&page->html, "</tr>\n");
}

void dapt_page_overview(struct dapt_page *page) {
    size_t lost = 0, damaged = 0;
    for (size_t r = 0; r < page->count; r++) {
        lost += page->runs[r].lost;
        damaged += page->runs[r].damaged;
    }
    dapt_html_table(&page->html, "The model, the device, and how far it came");
    dapt_page_run_columns(page, "Run");
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++) put_fact(page, &facts[i]);
    if (lost) put_fact(page, &trouble[0]);
    if (damaged) put_fact(page, &trouble[1]);
    dapt_html_table_end(&page->html);
}

// ------------------------------------------------------------------------------------------ ledger

static void put_span(struct dapt_html *html, const struct dapt_run_entry *e) {
    if (!isfinite(e->low) || !isfinite(e->high)) {
        dapt_html_put(html, "–");
        return;
    }
    dapt_html_number(html, "%+.4f", e->low);
    dapt_html_put(html, " to ");
    dapt_html_number(html, "%+.4f", e->high);
}

static void perplexity_cell(struct dapt_html *html, double value) {
    char text[16];
    dapt_html_element(html, "td class=\"n\"",
                      isfinite(value) ? dapt_text_perplexity(value, text) : "–");
}

static void put_set(struct dapt_html *html, const struct dapt_run_set *set) {
    struct dapt_run_entry before = dapt_run_first(set), after = dapt_run_last(set);
    dapt_html_put(html, "<tr>");
    dapt_html_element(html, "th scope=\"row\"", set->name);
    dapt_page_cell(html, set->role);
    dapt_page_number(html, "%.4f", before.bits);
    dapt_page_number(html, "%.4f", after.bits);
    dapt_html_put(html, "<td class=\"n\"><b>");
    dapt_html_number(html, "%+.4f", after.change);
    dapt_html_put(html, "</b></td><td class=\"n\">");
    put_span(html, &after);
    dapt_html_put(html, "</td>");
    dapt_page_number(html, "%+.4f", set->budget);
    dapt_page_number(html, "%.4f", before.nats);
    dapt_page_number(html, "%.4f", after.nats);
    perplexity_cell(html, before.perplexity);
    perplexity_cell(html, after.perplexity);
    count_cell(html, set->documents);
    count_cell(html, set->scored);
    dapt_html_put(html, "</tr>\n");
}

// Two rows of headers: what is measured, and of it before and after.
static void put_one_ledger(struct dapt_page *page) {
    static const char *const columns[] = {
        "Set",     "role",   "#before", "#after", "#change",    "#95 % interval", "#budget",
        "#before", "#after", "#before", "#after", "#documents", "#tokens",        NULL};
    const struct dapt_run *run = &page->runs[0];
    dapt_html_table(&page->html, "Each set before the first step and at its last evaluation");
    dapt_html_put(&page->html,
                  "<colgroup span=\"2\"/><colgroup span=\"5\"/><colgroup span=\"2\"/>"
                  "<colgroup span=\"2\"/><colgroup span=\"2\"/>\n<thead class=\"groups\"><tr><td "
                  "colspan=\"2\"></td><th colspan=\"5\" scope=\"colgroup\">bits/byte</th><th "
                  "colspan=\"2\" scope=\"colgroup\">nats/token</th><th colspan=\"2\" "
                  "scope=\"colgroup\">perplexity</th><th colspan=\"2\" "
                  "scope=\"colgroup\">scored</th></tr>");
    dapt_html_headers(&page->html, columns);
    for (size_t i = 0; i < run->set_count; i++) put_set(&page->html, &run->sets[i]);
    dapt_html_table_end(&page->html);
}

static void put_compared(struct dapt_html *html, const struct dapt_run_set *set) {
    if (!set) {
        dapt_html_put(html, "<td class=\"c\">–</td>");
        return;
    }
    struct dapt_run_entry before = dapt_run_first(set), after = dapt_run_last(set);
    dapt_html_put(html, "<td class=\"c\"><b>");
    dapt_html_number(html, "%+.4f", after.change);
    dapt_html_put(html, "</b>");
    if (isfinite(after.low)) {
        dapt_html_put(html, "<br/>");
        put_span(html, &after);
    }
    dapt_html_put(html, "<br/><small>");
    dapt_html_number(html, "%.4f", before.bits);
    dapt_html_put(html, " → ");
    dapt_html_number(html, "%.4f", after.bits);
    dapt_html_format(html, ", step %.0f", after.step);
    dapt_html_put(html, "</small></td>");
}

static void put_ledgers(struct dapt_page *page) {
    dapt_html_table(&page->html,
                    "Change in bits/byte since step 0, 95 % interval, before and after");
    dapt_page_run_columns(page, "Set");
    for (size_t r = 0; r < page->count; r++) {
        for (size_t i = 0; i < page->runs[r].set_count; i++) {
            const char *name = page->runs[r].sets[i].name;
            if (dapt_page_told(page, r, name)) continue;
            dapt_html_put(&page->html, "<tr>");
            dapt_html_element(&page->html, "th scope=\"row\"", name);
            for (size_t k = 0; k < page->count; k++)
                put_compared(&page->html, dapt_run_find_set(&page->runs[k], name));
            dapt_html_put(&page->html, "</tr>\n");
        }
    }
    dapt_html_table_end(&page->html);
}

static bool any_interval(const struct dapt_page *page) {
    for (size_t r = 0; r < page->count; r++)
        for (size_t i = 0; i < page->runs[r].set_count; i++)
            if (isfinite(dapt_run_last(&page->runs[r].sets[i]).low)) return true;
    return false;
}

void dapt_page_ledger(struct dapt_page *page) {
    size_t sets = 0;
    bool masked = false;
    for (size_t r = 0; r < page->count; r++) {
        sets += page->runs[r].set_count;
        for (size_t i = 0; i < page->runs[r].set_count; i++)
            masked = masked || page->runs[r].sets[i].masked;
        if (page->runs[r].ledger.problem) {
            dapt_html_put(&page->html, "<p class=\"note\">The ledger cannot be read: ");
            dapt_html_text(&page->html, page->runs[r].ledger.problem);
            dapt_html_put(&page->html, "</p>\n");
        }
    }
    if (!sets) {
        dapt_html_put(&page->html, "<p class=\"note\">No set was evaluated.</p>\n");
        return;
    }
    dapt_html_put(&page->html, "<div class=\"plots\">\n");
    dapt_page_changes(page);
    dapt_html_put(&page->html, "</div>\n");
    page->count == 1 ? put_one_ledger(page) : put_ledgers(page);
    dapt_html_put(&page->html,
                  "<p class=\"note\">bits/byte tells what a byte of held-out text costs "
                  "the model: a change below zero is better.%s%s%s</p>\n",
                  any_interval(page) ? " Intervals are drawn over documents."
                                     : " No intervals are recorded: how much of a change is "
                                       "chance is not known.",
                  masked ? " " : "", masked ? DAPT_MASKED_FIGURES : "");
}

// -------------------------------------------------------------------------------------------- data

// Passes are told by "domain", or by entry, "domain[0]".
static void put_passes(struct dapt_html *html, const struct dapt_run *run, const char *corpus) {
    size_t length = strlen(corpus), count = 0;
    dapt_html_put(html, "<td class=\"n\">");
    for (size_t i = 0; i < run->pass_count; i++) {
        const struct dapt_run_pass *pass = &run->passes[i];
        if (strncmp(pass->source, corpus, length) != 0) continue;
        if (pass->source[length] != '\0' && pass->source[length] != '[') continue;
        if (count++) dapt_html_put(html, ", ");
        dapt_html_number(html, "%.3g", pass->passes);
    }
    dapt_html_put(html, count ? "</td>" : "–</td>");
}

static void put_corpus(struct dapt_html *html, const struct dapt_run *run,
                       const struct dapt_json *corpus) {
    static const char *const counts[] = {"tokens", "sequences", "skipped", "cut"};
    const char *name = dapt_json_name(corpus);
    dapt_html_put(html, "<tr>");
    dapt_html_element(html, "th scope=\"row\"", name);
    count_cell(html, dapt_run_number(corpus, "files"));
    count_cell(html, dapt_run_number(corpus, "documents"));
    dapt_html_put(html, "<td class=\"n\">");
    put_bytes(html, dapt_run_number(corpus, "bytes"));
    dapt_html_put(html, "</td>");
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        count_cell(html, dapt_run_number(corpus, counts[i]));
    put_passes(html, run, name);
    dapt_html_put(html, "</tr>\n");
}

void dapt_page_data(struct dapt_page *page) {
    static const char *const columns[] = {
        "Corpus", "files",     "documents",          "text",
        "tokens", "sequences", "documents left out", "tokens cut off",
        "passes", NULL};
    for (size_t r = 0; r < page->count; r++) {
        const struct dapt_run *run = &page->runs[r];
        const struct dapt_json *corpora = dapt_json_member(run->start, "corpora");
        size_t count = dapt_json_kind(corpora) == DAPT_JSON_OBJECT ? dapt_json_count(corpora) : 0;
        if (!count) continue;
        dapt_html_table(&page->html, dapt_page_caption(page, run, "What was read"));
        dapt_html_columns(&page->html, columns);
        for (size_t i = 0; i < count; i++) put_corpus(&page->html, run, dapt_json_at(corpora, i));
        dapt_html_table_end(&page->html);
    }
}

// ------------------------------------------------------------------------- checkpoints, happenings

static bool is_named(const char *mark, const char *name) {
    return mark && strcmp(mark, name) == 0;
}

static void put_checkpoint(struct dapt_html *html, const struct dapt_run *run,
                           const struct dapt_run_checkpoint *c) {
    bool best = is_named(run->best, c->name), latest = is_named(run->latest, c->name);
    dapt_html_put(html, "<tr>");
    dapt_html_element(html, "th scope=\"row\"", c->name);
    count_cell(html, c->step);
    dapt_html_put(html, "<td>%s%s%s</td><td>%s</td><td>%s</td><td class=\"n\">", best ? "best" : "",
                  best && latest ? ", " : "", latest ? "latest" : "", c->best ? "yes" : "no",
                  c->kept ? "kept" : "removed");
    put_seconds(html, c->seconds);
    dapt_html_put(html, "</td></tr>\n");
}

void dapt_page_checkpoints(struct dapt_page *page) {
    static const char *const columns[] = {"Checkpoint",    "#step",       "is now", "best so far",
                                          "in the folder", "#written in", NULL};
    for (size_t r = 0; r < page->count; r++) {
        const struct dapt_run *run = &page->runs[r];
        if (!run->checkpoint_count) continue;
        dapt_html_table(&page->html, dapt_page_caption(page, run, "Checkpoints that were written"));
        dapt_html_columns(&page->html, columns);
        for (size_t i = 0; i < run->checkpoint_count; i++)
            put_checkpoint(&page->html, run, &run->checkpoints[i]);
        dapt_html_table_end(&page->html);
    }
}

void dapt_page_happenings(struct dapt_page *page) {
    static const char *const columns[] = {"Time (UTC)", "#step", "event", "what was told", NULL};
    for (size_t r = 0; r < page->count; r++) {
        const struct dapt_run *run = &page->runs[r];
        if (!run->happening_count) continue;
        dapt_html_table(&page->html, dapt_page_caption(page, run, "What happened"));
        dapt_html_columns(&page->html, columns);
        for (size_t i = 0; i < run->happening_count && i < HAPPENINGS; i++) {
            const struct dapt_run_happening *h = &run->happenings[i];
            dapt_html_put(&page->html, "<tr><th scope=\"row\">");
            put_time(&page->html, h->time);
            dapt_html_put(&page->html, "</th>");
            count_cell(&page->html, h->step);
            dapt_page_cell(&page->html, h->event);
            dapt_html_element(&page->html, "td class=\"w\"", h->text ? h->text : "");
            dapt_html_put(&page->html, "</tr>\n");
        }
        dapt_html_table_end(&page->html);
        if (run->happening_count > HAPPENINGS)
            dapt_html_put(&page->html, "<p class=\"note\">%zu more are in metrics.jsonl.</p>\n",
                          run->happening_count - HAPPENINGS);
    }
}
