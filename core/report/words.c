// The headline: one sentence with what training gained on the domain, and what it cost elsewhere.
#include <math.h>

#include "report/page.h"

// As the terminal says it: what the fourth decimal does not show is no change.
enum verdict { UNKNOWN, BETTER, WORSE, UNSURE };

static enum verdict judge(const struct dapt_run_entry *e) {
    if (!isfinite(e->change)) return UNKNOWN;
    bool interval = isfinite(e->low) && isfinite(e->high);
    if (fabs(e->change) < 5e-5 || (interval && e->low <= 0 && e->high >= 0)) return UNSURE;
    return e->change < 0 ? BETTER : WORSE;
}

// What came of a set since step 0; of one that was evaluated there only, nothing.
static struct dapt_run_entry outcome(const struct dapt_run_set *set) {
    struct dapt_run_entry e = dapt_run_last(set);
    if (e.step == 0) e.change = NAN;
    return e;
}

// "0.1269 bits/byte on stories (95 % interval 0.1124 to 0.1431)": in the direction of the verdict.
static void put_amount(struct dapt_html *html, const struct dapt_run_entry *e, const char *unit) {
    dapt_html_put(html, "<b>%.4f%s</b>", fabs(e->change), unit);
}

static void put_interval(struct dapt_html *html, const struct dapt_run_entry *e, const char *what) {
    double sign = judge(e) == BETTER ? -1 : 1;
    if (!isfinite(e->low) || !isfinite(e->high)) return;
    dapt_html_put(html, " (%s", what);
    dapt_html_number(html, "%.4f", sign < 0 ? -e->high : e->low);
    dapt_html_put(html, " to ");
    dapt_html_number(html, "%.4f", sign < 0 ? -e->low : e->high);
    dapt_html_put(html, ")");
}

static void put_name(struct dapt_html *html, const char *name) {
    dapt_html_element(html, "i", name);
}

// Who did it: "Training", or how far it came.
static void put_subject(struct dapt_html *html, const struct dapt_run *run) {
    double done = dapt_run_done(run), planned = dapt_run_planned(run);
    const char *const begins[] = {[DAPT_RUN_EMPTY] = "At",
                                  [DAPT_RUN_GOING] = "At",
                                  [DAPT_RUN_STOPPED] = "Stopped at",
                                  [DAPT_RUN_FAILED] = "Failed at",
                                  [DAPT_RUN_DONE] = "Ended at"};
    if (run->state == DAPT_RUN_DONE && (done >= planned)) {
        dapt_html_put(html, "Training");
        return;
    }
    dapt_html_put(html, "%s step %.0f", begins[run->state], done);
    if (planned > 0) dapt_html_put(html, " of %.0f", planned);
    dapt_html_put(html, ", training");
    if (run->state == DAPT_RUN_GOING) dapt_html_put(html, " so far");
}

static void put_gain(struct dapt_html *html, const struct dapt_run_set *set) {
    struct dapt_run_entry e = outcome(set);
    static const char interval[] = "95 % interval ";
    switch (judge(&e)) {
    case BETTER:
        dapt_html_put(html, " gained ");
        put_amount(html, &e, " bits/byte");
        dapt_html_put(html, " on ");
        put_name(html, set->name);
        break;
    case WORSE:
        dapt_html_put(html, " made ");
        put_name(html, set->name);
        dapt_html_put(html, " worse by ");
        put_amount(html, &e, " bits/byte");
        break;
    default:
        dapt_html_put(html, " changed ");
        put_name(html, set->name);
        dapt_html_put(html, " by no amount that is sure, ");
        dapt_html_number(html, "%+.4f", e.change);
        dapt_html_put(html, " bits/byte");
    }
    put_interval(html, &e, interval);
}

// The others of that verdict, told one after another. Returns how many.
static size_t put_others(struct dapt_html *html, const struct dapt_run *run, enum verdict verdict,
                         const char *before, const char *between) {
    const struct dapt_run_set *domain = dapt_run_domain(run);
    size_t count = 0;
    for (size_t i = 0; i < run->set_count; i++) {
        const struct dapt_run_set *set = &run->sets[i];
        struct dapt_run_entry e = outcome(set);
        if (set == domain || judge(&e) != verdict) continue;
        dapt_html_put(html, "%s", count++ ? between : before);
        if (verdict == WORSE) {
            put_amount(html, &e, count == 1 ? " bits/byte" : "");
            dapt_html_put(html, " on ");
            put_name(html, set->name);
        } else {
            put_name(html, set->name);
            dapt_html_put(html, verdict == BETTER ? " became better by " : " stayed as it was, ");
            dapt_html_number(html, verdict == BETTER ? "%.4f" : "%+.4f",
                             verdict == BETTER ? -e.change : e.change);
        }
        put_interval(html, &e, "");
    }
    return count;
}

static void put_sentence(struct dapt_html *html, const struct dapt_run *run) {
    const struct dapt_run_set *domain = dapt_run_domain(run);
    struct dapt_run_entry e = {0};
    if (domain) e = outcome(domain);
    if (run->state == DAPT_RUN_EMPTY && !run->step_count && !domain) {
        dapt_html_put(html, "Nothing has been told of this run yet.");
        return;
    }
    if (!domain || judge(&e) == UNKNOWN) {
        put_subject(html, run);
        dapt_html_put(
            html, domain ? " has no figures after the first step: neither gain nor cost is known."
                         : " was not evaluated on any text: neither gain nor cost is known.");
        return;
    }
    put_subject(html, run);
    put_gain(html, domain);
    if (run->set_count == 1) {
        dapt_html_put(html, "; what it cost elsewhere was not measured.");
        return;
    }
    if (!put_others(html, run, WORSE, " and cost ", ", "))
        dapt_html_put(html, " and cost nothing that shows elsewhere");
    put_others(html, run, BETTER, "; ", ", ");
    put_others(html, run, UNSURE, "; ", ", ");
    dapt_html_put(html, ".");
}

void dapt_page_headline(struct dapt_html *html, const struct dapt_run *run) {
    put_sentence(html, run);
    if (run->state != DAPT_RUN_FAILED) return;
    const char *reason = run->happenings[run->happening_count - 1].text;
    dapt_html_put(html, " It failed: ");
    dapt_html_text(html, reason ? reason : "no reason was told");
    dapt_html_put(html, ".");
}

void dapt_page_state(struct dapt_html *html, const struct dapt_run *run) {
    double done = dapt_run_done(run), planned = dapt_run_planned(run);
    static const char *const states[] = {
        [DAPT_RUN_EMPTY] = "nothing was told",
        [DAPT_RUN_GOING] = "under way, or killed",
        [DAPT_RUN_STOPPED] = "stopped on request",
        [DAPT_RUN_FAILED] = "failed",
        [DAPT_RUN_DONE] = "done",
    };
    dapt_html_put(html, "%s", states[run->state]);
    if (run->state == DAPT_RUN_EMPTY) return;
    dapt_html_put(html, ", step %.0f", done);
    if (planned > 0) dapt_html_put(html, " of %.0f", planned);
}
