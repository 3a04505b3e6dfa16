// Text of a page, well-formed as HTML and as XML. Markup is ours and written by dapt_html_put; all
// that comes from a run goes through the others, which escape it.
#ifndef DAPT_REPORT_HTML_H
#define DAPT_REPORT_HTML_H
#include "base/memory.h"

struct dapt_html {
    struct dapt_string text;
    enum dapt_status status;  // of the first failure; nothing is added after it
    unsigned ids;             // that were given
};
// Markup, as it stands: nothing of a run but numbers may be among the arguments.
void dapt_html_put(struct dapt_html *html, const char *format, ...) DAPT_PRINTF(2, 3);
// Escaped; what no page may hold (controls, bytes that are no UTF-8) becomes U+FFFD.
void dapt_html_text(struct dapt_html *html, const char *text);
void dapt_html_format(struct dapt_html *html, const char *format, ...) DAPT_PRINTF(2, 3);
// Escaped between <tag> and </tag>; NULL: a dash.
void dapt_html_element(struct dapt_html *html, const char *tag, const char *text);
// A number with a true minus sign; a dash where it is not finite.
void dapt_html_number(struct dapt_html *html, const char *format, double value);

// A table that scrolls within its box, with its caption as the box's name. Rows are the caller's.
void dapt_html_table(struct dapt_html *html, const char *caption);
void dapt_html_table_end(struct dapt_html *html);
// The row of headers: `columns` ends with NULL, and "#steps" heads a column of numbers.
void dapt_html_columns(struct dapt_html *html, const char *const *columns);
// The same below another row of headers, whose <thead> is open.
void dapt_html_headers(struct dapt_html *html, const char *const *columns);
#endif
