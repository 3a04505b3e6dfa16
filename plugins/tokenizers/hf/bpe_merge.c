// The joining itself: always the pair with the lowest rank, of equal ones the leftmost. Short words are searched again
// after each join; long ones go through a heap whose entries may be out of date.
#include <stdlib.h>
#include <string.h>

#include "bpe.h"

enum { SHORT_MAX = 48 };

struct hf_bpe_node {
    uint32_t id;
    uint32_t previous, next;  // HF_NONE: the end
    bool gone;
};

struct hf_bpe_candidate {
    uint32_t rank, at, id;
};

static size_t merge_short(const struct hf_bpe *bpe, uint32_t *symbols, size_t count) {
    const struct hf_merge *pairs[SHORT_MAX];
    for (size_t i = 0; i + 1 < count; i++) pairs[i] = hf_bpe_find(bpe, symbols[i], symbols[i + 1]);
    while (count > 1) {
        uint32_t best_rank = HF_NONE;
        size_t best = 0;
        for (size_t i = 0; i + 1 < count; i++)
            if (pairs[i] && pairs[i]->rank < best_rank) {
                best_rank = pairs[i]->rank;
                best = i;
            }
        if (best_rank == HF_NONE) break;
        symbols[best] = pairs[best]->id;
        count--;
        memmove(symbols + best + 1, symbols + best + 2, (count - best - 1) * sizeof *symbols);
        if (best + 1 < count) {
            memmove(pairs + best + 1, pairs + best + 2, (count - best - 2) * sizeof *pairs);
            pairs[best] = hf_bpe_find(bpe, symbols[best], symbols[best + 1]);
        }
        if (best > 0) pairs[best - 1] = hf_bpe_find(bpe, symbols[best - 1], symbols[best]);
    }
    return count;
}

static inline bool before(const struct hf_bpe_candidate *a, const struct hf_bpe_candidate *b) {
    return a->rank < b->rank || (a->rank == b->rank && a->at < b->at);
}

static void sift_down(struct hf_bpe_candidate *heap, size_t count, size_t at) {
    struct hf_bpe_candidate moved = heap[at];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= count) break;
        if (child + 1 < count && before(&heap[child + 1], &heap[child])) child++;
        if (!before(&heap[child], &moved)) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
}

static bool heap_push(struct hf_bpe_scratch *scratch, size_t *count, struct hf_bpe_candidate added) {
    if (!hf_grow(&scratch->heap, &scratch->heap_capacity, *count + 1, sizeof added)) return false;
    struct hf_bpe_candidate *heap = scratch->heap;
    size_t at = (*count)++;
    while (at > 0 && before(&added, &heap[(at - 1) / 2])) {
        heap[at] = heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap[at] = added;
    return true;
}

static bool push_pair(const struct hf_bpe *bpe, struct hf_bpe_scratch *scratch, size_t *count, uint32_t at) {
    const struct hf_bpe_node *left = &scratch->nodes[at];
    if (left->next == HF_NONE) return true;
    const struct hf_merge *merge = hf_bpe_find(bpe, left->id, scratch->nodes[left->next].id);
    return !merge || heap_push(scratch, count, (struct hf_bpe_candidate){merge->rank, at, merge->id});
}

static bool nodes_fill(const struct hf_bpe *bpe, struct hf_bpe_scratch *scratch, const uint32_t *symbols, size_t count,
                       size_t *heaped) {
    if (!hf_grow(&scratch->nodes, &scratch->node_capacity, count, sizeof *scratch->nodes)) return false;
    for (size_t i = 0; i < count; i++)
        scratch->nodes[i] = (struct hf_bpe_node){.id = symbols[i],
                                                 .previous = i ? (uint32_t)i - 1 : HF_NONE,
                                                 .next = i + 1 < count ? (uint32_t)i + 1 : HF_NONE};
    for (size_t i = 0; i + 1 < count; i++) {
        const struct hf_merge *merge = hf_bpe_find(bpe, symbols[i], symbols[i + 1]);
        if (!merge) continue;
        if (!hf_grow(&scratch->heap, &scratch->heap_capacity, *heaped + 1, sizeof *scratch->heap)) return false;
        scratch->heap[(*heaped)++] = (struct hf_bpe_candidate){merge->rank, (uint32_t)i, merge->id};
    }
    for (size_t i = *heaped / 2; i-- > 0;) sift_down(scratch->heap, *heaped, i);
    return true;
}

static size_t merge_long(const struct hf_bpe *bpe, struct hf_bpe_scratch *scratch, uint32_t *symbols, size_t count) {
    size_t heaped = 0, left = 0;
    if (!nodes_fill(bpe, scratch, symbols, count, &heaped)) return SIZE_MAX;
    struct hf_bpe_node *nodes = scratch->nodes;
    while (heaped) {
        struct hf_bpe_candidate top = scratch->heap[0];
        scratch->heap[0] = scratch->heap[--heaped];
        if (heaped) sift_down(scratch->heap, heaped, 0);
        struct hf_bpe_node *node = &nodes[top.at];
        if (node->gone || node->next == HF_NONE) continue;
        struct hf_bpe_node *right = &nodes[node->next];
        const struct hf_merge *merge = hf_bpe_find(bpe, node->id, right->id);
        if (!merge || merge->id != top.id) continue;  // the pair that was here is gone
        node->id = top.id;
        node->next = right->next;
        right->gone = true;
        if (right->next != HF_NONE) nodes[right->next].previous = top.at;
        if (!push_pair(bpe, scratch, &heaped, top.at)) return SIZE_MAX;
        if (node->previous != HF_NONE && !push_pair(bpe, scratch, &heaped, node->previous)) return SIZE_MAX;
    }
    for (uint32_t at = 0; at != HF_NONE; at = nodes[at].next) symbols[left++] = nodes[at].id;
    return left;
}

size_t hf_bpe_merge(const struct hf_bpe *bpe, struct hf_bpe_scratch *scratch, uint32_t *symbols, size_t count) {
    if (count < 2) return count;
    return count <= SHORT_MAX ? merge_short(bpe, symbols, count) : merge_long(bpe, scratch, symbols, count);
}

void hf_bpe_scratch_free(struct hf_bpe_scratch *scratch) {
    hf_words_free(&scratch->words);
    hf_ids_free(&scratch->symbols);
    hf_text_free(&scratch->text);
    free(scratch->nodes);
    free(scratch->heap);
    *scratch = (struct hf_bpe_scratch){0};
}
