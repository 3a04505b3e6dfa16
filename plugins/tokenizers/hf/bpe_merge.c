// The joining itself: always the pair with the lowest rank, of equal ones the leftmost. Short words
// are searched again after each join; long ones go through a heap whose entries may be out of date.
#include <stdlib.h>
#include <string.h>

#include "bpe.h"

enum { SHORT_MAX = 48 };

struct hf_bpe_node {
    uint32_t id;
    uint32_t previous, next;  // HF_NONE: the end
    bool gone;
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

// The heap: rank in the upper half, place in the lower one, four children a node.
static void sift_down(uint64_t *heap, size_t count, size_t at) {
    uint64_t moved = heap[at];
    for (;;) {
        size_t child = 4 * at + 1, best = child;
        if (child >= count) break;
        size_t end = child + 4 < count ? child + 4 : count;
        for (size_t i = child + 1; i < end; i++) best = heap[i] < heap[best] ? i : best;
        if (heap[best] >= moved) break;
        heap[at] = heap[best];
        at = best;
    }
    heap[at] = moved;
}

static void sift_up(uint64_t *heap, size_t at) {
    uint64_t moved = heap[at];
    while (at > 0 && moved < heap[(at - 1) / 4]) {
        heap[at] = heap[(at - 1) / 4];
        at = (at - 1) / 4;
    }
    heap[at] = moved;
}

// A join takes one entry and adds at most two, and there are fewer joins than symbols: 2 * count
// entries are enough.
static void push_pair(const struct hf_bpe *bpe, struct hf_bpe_scratch *scratch, size_t *heaped,
                      uint32_t at) {
    const struct hf_bpe_node *left = &scratch->nodes[at];
    if (left->next == HF_NONE) return;
    const struct hf_merge *merge = hf_bpe_find(bpe, left->id, scratch->nodes[left->next].id);
    if (!merge) return;
    scratch->heap[*heaped] = (uint64_t)merge->rank << 32 | at;
    sift_up(scratch->heap, (*heaped)++);
}

static bool nodes_fill(const struct hf_bpe *bpe, struct hf_bpe_scratch *scratch,
                       const uint32_t *symbols, size_t count, size_t *heaped) {
    if (!hf_grow(&scratch->nodes, &scratch->node_capacity, count, sizeof *scratch->nodes) ||
        !hf_grow(&scratch->heap, &scratch->heap_capacity, 2 * count, sizeof *scratch->heap))
        return false;
    for (size_t i = 0; i < count; i++) {
        bool last = i + 1 == count;
        scratch->nodes[i] = (struct hf_bpe_node){.id = symbols[i],
                                                 .previous = i ? (uint32_t)i - 1 : HF_NONE,
                                                 .next = last ? HF_NONE : (uint32_t)i + 1};
        const struct hf_merge *merge = last ? NULL : hf_bpe_find(bpe, symbols[i], symbols[i + 1]);
        if (merge) scratch->heap[(*heaped)++] = (uint64_t)merge->rank << 32 | i;
    }
    for (size_t i = *heaped / 4 + 1; i-- > 0;)
        if (i < *heaped) sift_down(scratch->heap, *heaped, i);
    return true;
}

static size_t merge_long(const struct hf_bpe *bpe, struct hf_bpe_scratch *scratch,
                         uint32_t *symbols, size_t count) {
    size_t heaped = 0, left = 0;
    if (!nodes_fill(bpe, scratch, symbols, count, &heaped)) return SIZE_MAX;
    struct hf_bpe_node *nodes = scratch->nodes;
    while (heaped) {
        uint64_t top = scratch->heap[0];
        uint32_t at = (uint32_t)top;
        scratch->heap[0] = scratch->heap[--heaped];
        if (heaped) sift_down(scratch->heap, heaped, 0);
        struct hf_bpe_node *node = &nodes[at];
        if (node->gone || node->next == HF_NONE) continue;
        struct hf_bpe_node *right = &nodes[node->next];
        const struct hf_merge *merge = hf_bpe_find(bpe, node->id, right->id);
        if (!merge || merge->rank != top >> 32) continue;  // the pair that was here is gone
        node->id = merge->id;
        node->next = right->next;
        right->gone = true;
        if (right->next != HF_NONE) nodes[right->next].previous = at;
        push_pair(bpe, scratch, &heaped, at);
        if (node->previous != HF_NONE) push_pair(bpe, scratch, &heaped, node->previous);
    }
    for (uint32_t at = 0; at != HF_NONE; at = nodes[at].next) symbols[left++] = nodes[at].id;
    return left;
}

size_t hf_bpe_merge(const struct hf_bpe *bpe, struct hf_bpe_scratch *scratch, uint32_t *symbols,
                    size_t count) {
    if (count < 2) return count;
    return count <= SHORT_MAX ? merge_short(bpe, symbols, count)
                              : merge_long(bpe, scratch, symbols, count);
}

void hf_bpe_scratch_free(struct hf_bpe_scratch *scratch) {
    hf_words_free(&scratch->words);
    hf_ids_free(&scratch->symbols);
    hf_text_free(&scratch->text);
    free(scratch->nodes);
    free(scratch->heap);
    *scratch = (struct hf_bpe_scratch){0};
}
