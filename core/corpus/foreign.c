#include "corpus/foreign.h"

#include <string.h>
#include <strings.h>

struct view {
    const char *path;
    const unsigned char *data;
    size_t size;
    const unsigned char *first;  // the first byte that is no space
    size_t left;                 // from there on
};

static bool begins(const struct view *v, const char *text) {
    size_t length = strlen(text);
    return v->left >= length && strncasecmp((const char *)v->first, text, length) == 0;
}

static bool magic(const struct view *v, const char *bytes, size_t length) {
    return v->size >= length && memcmp(v->data, bytes, length) == 0;
}

static bool ends(const struct view *v, const char *ending) {
    size_t length = strlen(v->path), wanted = strlen(ending);
    return length >= wanted && strcasecmp(v->path + length - wanted, ending) == 0;
}

// Every other byte, from `odd` on, is nearly always zero, as in UTF-16 of Latin letters without a mark.
static bool half_zero(const struct view *v, size_t odd) {
    size_t zeros = 0, others = 0, pairs = v->size / 2 < 512 ? v->size / 2 : 512;
    for (size_t i = 0; i < pairs; i++) {
        zeros += v->data[2 * i + odd] == 0;
        others += v->data[2 * i + 1 - odd] == 0;
    }
    return pairs >= 8 && zeros * 10 > pairs * 9 && others * 10 < pairs;
}

static bool is_utf32(const struct view *v) {
    return magic(v, "\xff\xfe\0\0", 4) || magic(v, "\0\0\xfe\xff", 4);
}
static bool is_utf16(const struct view *v) {
    return magic(v, "\xff\xfe", 2) || magic(v, "\xfe\xff", 2);
}
// Without a mark, iconv has to be told the order of the bytes.
static bool is_utf16le(const struct view *v) {
    return half_zero(v, 1);
}
static bool is_utf16be(const struct view *v) {
    return half_zero(v, 0);
}
static bool is_pdf(const struct view *v) {
    return begins(v, "%PDF-");
}
static bool is_rtf(const struct view *v) {
    return begins(v, "{\\rtf");
}
static bool is_zip(const struct view *v) {
    return magic(v, "PK\3\4", 4) || magic(v, "PK\5\6", 4);
}
static bool is_office(const struct view *v) {
    return magic(v, "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 8);
}
static bool is_parquet(const struct view *v) {
    return magic(v, "PAR1", 4);
}
static bool is_sqlite(const struct view *v) {
    return magic(v, "SQLite format 3", 16);
}
static bool is_packed(const struct view *v) {
    return magic(v, "\x1f\x8b\x08", 3) || magic(v, "\x28\xb5\x2f\xfd", 4) ||
           magic(v,
                 "\xfd"
                 "7zXZ",
                 5) ||
           (magic(v, "BZh", 3) && memchr(v->data, 0, v->size));
}
static bool is_binary(const struct view *v) {
    return v->size && memchr(v->data, 0, v->size);
}
static bool is_warc(const struct view *v) {
    return begins(v, "WARC/1");
}
static bool is_html(const struct view *v) {
    return begins(v, "<!doctype html") || begins(v, "<html") || ends(v, ".html") || ends(v, ".htm");
}
static bool is_xml(const struct view *v) {
    return begins(v, "<?xml") || ends(v, ".xml") || ends(v, ".svg");
}
static bool is_letter(unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
// Without a prolog: begins with a tag, and closes a few of them (one after a doctype or a comment). A
// text may begin with "<3" or "<stdio.h>", and may hold tags further on; Markdown may begin with tags.
static bool is_markup(const struct view *v) {
    if (ends(v, ".md") || ends(v, ".markdown")) return false;
    bool declared = begins(v, "<!doctype") || begins(v, "<!--");
    if (!declared && !(v->left > 1 && v->first[0] == '<' && is_letter(v->first[1]))) return false;
    size_t closed = 0;
    for (size_t i = 0; i + 2 < v->left; i++)
        closed += v->first[i] == '<' && v->first[i + 1] == '/' && is_letter(v->first[i + 2]);
    return closed >= (declared ? 1 : 3);
}
// An array of objects or texts, not a text that begins with a bracket.
static bool is_array(const struct view *v) {
    if (v->left == 0 || v->first[0] != '[') return false;
    size_t i = 1;
    while (i < v->left && memchr(" \t\r\n", v->first[i], 4)) i++;
    return i < v->left && (v->first[i] == '{' || (v->first[i] == '"' && ends(v, ".json")));
}
// A brace, a name and a colon, and the line ends before the brace closes.
static bool is_object(const struct view *v) {
    if (v->left == 0 || v->first[0] != '{' || ends(v, ".jsonl")) return false;
    const unsigned char *line = memchr(v->first, '\n', v->left);
    size_t i = 1, length = line ? (size_t)(line - v->first) : v->left;
    while (i < v->left && memchr(" \t\r\n", v->first[i], 4)) i++;
    if (!line || i >= v->left || v->first[i] != '"') return false;
    while (length && memchr(" \t\r", v->first[length - 1], 3)) length--;
    return length == 0 || v->first[length - 1] != '}';
}

enum { LEAST_RECORDS = 3 };  // fewer lines that are alike may be so by chance

// The separators of the record at `at`, quoted ones left out; none precedes a space, as commas of a
// sentence do. Moves `at` behind the record; false where its end is not seen.
static bool count_separators(const struct view *v, size_t *at, char separator, size_t *count) {
    bool quoted = false;
    *count = 0;
    for (size_t i = *at; i < v->left; i++) {
        unsigned char c = v->first[i], next = i + 1 < v->left ? v->first[i + 1] : '\n';
        if (c == '"') quoted = !quoted;
        if (quoted) continue;
        *count += c == (unsigned char)separator && next != ' ';
        if (c != '\n') continue;
        *at = i + 1;
        return true;
    }
    return false;
}

// A line of names: none is empty or long, and where there are only two, none has a space or a full stop,
// lest a glossary or an indented text be taken for a table.
static bool is_heading(const struct view *v, char separator) {
    size_t length = 0, count = 1;
    bool plain = true;
    for (size_t i = 0; i < v->left; i++) {
        unsigned char c = v->first[i];
        if (c == '\r') continue;
        if (c == '\n' || c == (unsigned char)separator) {
            if (length == 0 || length > 40) return false;
            if (c == '\n') return count > 2 || (count == 2 && plain);
            length = 0;
            count++;
        } else {
            length++;
            plain = plain && c != ' ' && c != '.';
        }
    }
    return false;
}

// By content: a heading, and records of as many fields.
static bool has_columns(const struct view *v, char separator) {
    size_t at = 0, wanted = 0, count = 0, records = 0;
    if (!is_heading(v, separator)) return false;
    for (; count_separators(v, &at, separator, &count); records++) {
        if (records == 0) wanted = count;
        if (count == 0 || count != wanted) return false;
    }
    return records >= LEAST_RECORDS;
}
static bool is_table(const struct view *v) {
    return ends(v, ".csv") || ends(v, ".tsv") || has_columns(v, ',') || has_columns(v, '\t') ||
           has_columns(v, ';');
}
static bool is_notebook(const struct view *v) {
    return ends(v, ".ipynb");
}
static bool is_mail(const struct view *v) {
    return ends(v, ".mbox");
}
static bool is_yaml(const struct view *v) {
    return ends(v, ".yaml") || ends(v, ".yml");
}

// clang-format off
static const struct {
    bool (*is)(const struct view *v);
    struct dapt_foreign told;
} formats[] = {
    {is_utf32, {"UTF-32 text", "convert it: iconv -f UTF-32 -t UTF-8 FILE > FILE.txt", false}},
    {is_utf16, {"UTF-16 text", "convert it: iconv -f UTF-16 -t UTF-8 FILE > FILE.txt", false}},
    {is_utf16le, {"UTF-16 text", "convert it: iconv -f UTF-16LE -t UTF-8 FILE > FILE.txt", false}},
    {is_utf16be, {"UTF-16 text", "convert it: iconv -f UTF-16BE -t UTF-8 FILE > FILE.txt", false}},
    {is_pdf, {"a PDF", "take its text: pdftotext FILE FILE.txt", false}},
    {is_rtf, {"RTF", "take its text: pandoc -f rtf -t plain FILE -o FILE.txt", true}},
    {is_zip, {"a ZIP archive, as DOCX, ODT and EPUB are", "unpack it, or take its text: pandoc -t plain FILE -o FILE.txt", false}},
    {is_office, {"an older Office document", "take its text: libreoffice --convert-to txt FILE", false}},
    {is_parquet, {"Parquet", "make JSON Lines of it: python3 -c 'import pandas; pandas.read_parquet(\"FILE\").to_json(\"FILE.jsonl\", orient=\"records\", lines=True)'", false}},
    {is_sqlite, {"an SQLite database", "make JSON Lines of a table: sqlite3 FILE '.mode json' 'select * from TABLE' | jq -c '.[]' > FILE.jsonl", false}},
    {is_packed, {"compressed twice", "undo one of the two", false}},
    {is_warc, {"a web archive (WARC)", "take its text with a tool of its own, or write a source plugin (plugins/README.md)", false}},
    {is_binary, {"binary: it holds NUL bytes", "text was expected, as UTF-8", false}},
    {is_html, {"HTML", "take its text: pandoc -f html -t plain FILE -o FILE.txt", true}},
    {is_xml, {"XML", "take its text, or write a source plugin for it (plugins/README.md)", true}},
    {is_markup, {"markup (HTML or XML)", "take its text: pandoc -f html -t plain FILE -o FILE.txt", true}},
    {is_array, {"one JSON array", "make JSON Lines of it: jq -c '.[]' FILE > FILE.jsonl", true}},
    {is_notebook, {"a notebook", "take its text: jupyter nbconvert --to markdown FILE", true}},
    {is_object, {"a JSON object over several lines", "make JSON Lines of it: jq -c . FILE > FILE.jsonl", true}},
    {is_table, {"a table of comma- or tab-separated values", "make JSON Lines of it: python3 -c 'import pandas; pandas.read_csv(\"FILE\").to_json(\"FILE.jsonl\", orient=\"records\", lines=True)'", true}},
    {is_mail, {"a mailbox", "take its text, or write a source plugin for it (plugins/README.md)", true}},
    {is_yaml, {"YAML", "take its text out of it", true}},
};
// clang-format on

const struct dapt_foreign *dapt_foreign_find(const char *path, const void *head, size_t size) {
    struct view v = {.path = path, .data = head, .size = size, .first = head, .left = size};
    if (size >= 3 && memcmp(head, "\xef\xbb\xbf", 3) == 0) v.first += 3, v.left -= 3;
    while (v.left && memchr(" \t\r\n", *v.first, 4)) v.first++, v.left--;
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
        if (formats[i].is(&v)) return &formats[i].told;
    return NULL;
}
