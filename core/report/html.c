#include "report/html.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

static void add(struct dapt_html *html, const char *text, size_t length) {
    if (!html->status) html->status = dapt_string_add(&html->text, text, length);
}

static void add_literal(struct dapt_html *html, const char *text) {
    add(html, text, strlen(text));
}

void dapt_html_put(struct dapt_html *html, const char *format, ...) {
    char text[2048];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (!html->status && (length < 0 || (size_t)length >= sizeof text))
        html->status = dapt_fail(DAPT_ERROR_INTERNAL, "a piece of a page is too long");
    if (!html->status) add(html, text, (size_t)length);
}

static const char *entity_of(unsigned char c) {
    switch (c) {
    case '&': return "&amp;";
    case '<': return "&lt;";
    case '>': return "&gt;";
    case '"': return "&quot;";
    case '\'': return "&#39;";
    case '\t':
    case '\n': return NULL;
    default: return c < 0x20 || c == 0x7f ? "\xef\xbf\xbd" : NULL;
    }
}

void dapt_html_text(struct dapt_html *html, const char *text) {
    size_t left = strlen(text);
    while (left > 0) {
        size_t good = dapt_utf8_check(text, left), from = 0;
        for (size_t i = 0; i < good; i++) {
            // U+FFFE and U+FFFF are characters of UTF-8, but of no page.
            bool none = i + 2 < good && memcmp(text + i, "\xef\xbf", 2) == 0 &&
                        (unsigned char)text[i + 2] >= 0xbe;
            const char *entity = none ? "\xef\xbf\xbd" : entity_of((unsigned char)text[i]);
            if (!entity) continue;
            add(html, text + from, i - from);
            add_literal(html, entity);
            i += none ? 2 : 0;
            from = i + 1;
        }
        add(html, text + from, good - from);
        if (good < left) add_literal(html, "\xef\xbf\xbd");
        size_t taken = good < left ? good + 1 : good;
        text += taken;
        left -= taken;
    }
}

void dapt_html_format(struct dapt_html *html, const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    dapt_html_text(html, text);
}

void dapt_html_element(struct dapt_html *html, const char *tag, const char *text) {
    dapt_html_put(html, "<%s>", tag);
    dapt_html_text(html, text ? text : "–");
    dapt_html_put(html, "</%.*s>", (int)strcspn(tag, " "), tag);
}

void dapt_html_number(struct dapt_html *html, const char *format, double value) {
    char text[64];
    if (!isfinite(value)) {
        add_literal(html, "–");
        return;
    }
    snprintf(text, sizeof text, format, value);
    for (const char *at = text; *at; at++) {
        if (*at == '-')
            add_literal(html, "−");
        else
            add(html, at, 1);
    }
}

// ------------------------------------------------------------------------------------------ tables

void dapt_html_table(struct dapt_html *html, const char *caption) {
    unsigned id = ++html->ids;
    // A box that scrolls must be within reach of the keyboard.
    dapt_html_put(html,
                  "<div class=\"box\" role=\"region\" tabindex=\"0\" aria-labelledby=\"c%u\">"
                  "<table>\n<caption><span id=\"c%u\">",
                  id, id);
    dapt_html_text(html, caption);
    dapt_html_put(html, "</span></caption>\n");
}

void dapt_html_table_end(struct dapt_html *html) {
    dapt_html_put(html, "</tbody></table></div>\n");
}

void dapt_html_headers(struct dapt_html *html, const char *const *columns) {
    dapt_html_put(html, "<tr>");
    for (; *columns; columns++) {
        bool number = **columns == '#';
        dapt_html_element(html, number ? "th scope=\"col\" class=\"n\"" : "th scope=\"col\"",
                          *columns + number);
    }
    dapt_html_put(html, "</tr></thead>\n<tbody>\n");
}

void dapt_html_columns(struct dapt_html *html, const char *const *columns) {
    dapt_html_put(html, "<thead>");
    dapt_html_headers(html, columns);
}
