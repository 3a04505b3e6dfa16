// Files that are no text, or text with a structure that no source here reads: what they are and how to
// make text of them.
#ifndef DAPT_CORPUS_FOREIGN_H
#define DAPT_CORPUS_FOREIGN_H
#include <stdbool.h>
#include <stddef.h>

struct dapt_foreign {
    const char *what;  // "a PDF"
    const char *how;   // what to do, to follow a ';'
    bool text;         // text all the same: who wants its marks, too, may have them
};
// NULL: nothing of the kind. `head`: the first bytes, decompressed. `path`: for endings, without that of a
// compression.
const struct dapt_foreign *dapt_foreign_find(const char *path, const void *head, size_t size);
#endif
