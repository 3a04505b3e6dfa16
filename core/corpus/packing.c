// How documents lie in sequences. A pure function of the documents' lengths, so it is computed at
// each opening and not stored.
//
// concatenate: the documents of a group one after another, cut into windows; what is left at the
// end is cut off. documents: a document longer than a sequence is divided into whole sequences and
// a rest. Rests are packed by best fit, longest first: each goes where it leaves the least room.
// Buckets by room and a bit set to find the next one make that linear in practice.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "corpus/internal.h"

// ----------------------------------------------------------- the smallest member not below a value

enum { set_levels = 6 };  // 64^6 exceeds any uint32
struct room_set {
    uint64_t *level[set_levels];
    size_t words[set_levels];
};

static enum dapt_status set_create(struct room_set *set, uint32_t highest) {
    size_t bits = (size_t)highest + 1;
    for (int l = 0; l < set_levels; l++) {
        set->words[l] = bits = (bits + 63) / 64;
        set->level[l] = dapt_alloc(bits, sizeof **set->level);
        if (!set->level[l]) return DAPT_ERROR_MEMORY;
    }
    return DAPT_OK;
}

static void set_free(struct room_set *set) {
    for (int l = 0; l < set_levels; l++) free(set->level[l]);
}

static void set_add(struct room_set *set, size_t value) {
    for (int l = 0; l < set_levels; l++, value /= 64)
        set->level[l][value / 64] |= UINT64_C(1) << value % 64;
}

static void set_remove(struct room_set *set, size_t value) {
    for (int l = 0; l < set_levels; l++, value /= 64)
        if (set->level[l][value / 64] &= ~(UINT64_C(1) << value % 64)) return;
}

static bool set_find(const struct room_set *set, size_t value, size_t *found) {
    int l = 0;
    for (; l < set_levels; l++) {
        size_t word = value / 64;
        uint64_t bits = word < set->words[l] ? set->level[l][word] >> value % 64 : 0;
        if (bits) {
            value += (size_t)__builtin_ctzll(bits);
            break;
        }
        value = word + 1;
    }
    if (l == set_levels) return false;
    while (l--) value = value * 64 + (size_t)__builtin_ctzll(set->level[l][value]);
    *found = value;
    return true;
}

// ----------------------------------------------------------------------------------------- packing

static const uint64_t none = UINT64_MAX;

struct packing {
    uint32_t sequence;
    struct dapt_part *parts;  // of one group, in the order of the documents
    uint64_t count;
    uint64_t *bin;         // of each part
    uint64_t *order;       // the rests, longest first
    uint64_t *next;        // bin with as much room
    uint64_t *head;        // [room] first bin
    uint64_t *length_end;  // [length] place in `order`
    struct room_set rooms;
    uint64_t bins;
};

static void push_bin(struct packing *p, uint64_t bin, size_t room) {
    if (room == 0) return;
    p->next[bin] = p->head[room];
    p->head[room] = bin;
    set_add(&p->rooms, room);
}

static uint64_t pop_bin(struct packing *p, size_t room) {
    uint64_t bin = p->head[room];
    p->head[room] = p->next[bin];
    if (p->head[room] == none) set_remove(&p->rooms, room);
    return bin;
}

static enum dapt_status packing_create(struct packing *p) {
    size_t rooms = (size_t)p->sequence + 2;
    p->bin = dapt_alloc(p->count + 1, sizeof *p->bin);
    p->order = dapt_alloc(p->count + 1, sizeof *p->order);
    p->next = dapt_alloc(p->count + 1, sizeof *p->next);
    p->head = dapt_alloc(rooms, sizeof *p->head);
    p->length_end = dapt_alloc(rooms, sizeof *p->length_end);
    if (!p->bin || !p->order || !p->next || !p->head || !p->length_end) return DAPT_ERROR_MEMORY;
    memset(p->head, 0xff, rooms * sizeof *p->head);
    return set_create(&p->rooms, p->sequence);
}

static void packing_free(struct packing *p) {
    free(p->bin);
    free(p->order);
    free(p->next);
    free(p->head);
    free(p->length_end);
    set_free(&p->rooms);
}

// Parts by falling length, equal ones in the order of the documents.
static void sort_parts(struct packing *p) {
    for (uint64_t i = 0; i < p->count; i++) p->length_end[p->parts[i].length]++;
    uint64_t at = 0;
    for (size_t length = (size_t)p->sequence + 1; length--;) {
        uint64_t count = p->length_end[length];
        p->length_end[length] = at;
        at += count;
    }
    for (uint64_t i = 0; i < p->count; i++) p->order[p->length_end[p->parts[i].length]++] = i;
}

static void place_parts(struct packing *p) {
    for (uint64_t i = 0; i < p->count; i++) {
        size_t length = p->parts[p->order[i]].length, room = p->sequence;
        bool found = set_find(&p->rooms, length, &room);
        uint64_t bin = found ? pop_bin(p, room) : p->bins++;
        p->bin[p->order[i]] = bin;
        push_bin(p, bin, room - length);
    }
}

// Numbers the sequences by the first document in them and lists their parts in the order of the
// documents.
static void list_parts(struct packing *p, struct dapt_plan *plan, uint64_t first_sequence,
                       uint64_t first_part) {
    uint64_t *number = p->next, *start = plan->first_part + first_sequence, sequences = 0;
    memset(number, 0xff, (size_t)p->bins * sizeof *number);
    for (uint64_t i = 0; i < p->count; i++) {
        uint64_t *n = &number[p->bin[i]];
        *n = *n == none ? sequences++ : *n;
        start[*n + 1]++;
    }
    start[0] = first_part;
    for (uint64_t s = 0; s < sequences; s++) start[s + 1] += start[s];
    uint64_t *fill = p->order;  // place of each sequence's next part
    memcpy(fill, start, (size_t)sequences * sizeof *fill);
    for (uint64_t i = 0; i < p->count; i++) plan->parts[fill[number[p->bin[i]]]++] = p->parts[i];
}

static uint64_t document_begin(const struct dapt_shard *shard, uint64_t document) {
    return document ? shard->documents[document - 1].end : 0;
}

static uint64_t count_parts(const struct dapt_shard *shard, uint64_t first, uint64_t end,
                            uint32_t sequence) {
    uint64_t count = 0;
    for (uint64_t d = first; d < end; d++) {
        uint64_t length = shard->documents[d].end - document_begin(shard, d);
        count += length / sequence + (length % sequence != 0);
    }
    return count;
}

static void cut_parts(const struct dapt_shard *shard, uint64_t first, uint64_t end,
                      uint32_t sequence, struct dapt_part *parts, uint64_t *split) {
    for (uint64_t d = first; d < end; d++) {
        uint64_t begin = document_begin(shard, d), stop = shard->documents[d].end;
        *split += stop - begin > sequence;
        for (; begin < stop; parts++) {
            uint32_t length = stop - begin < sequence ? (uint32_t)(stop - begin) : sequence;
            *parts = (struct dapt_part){
                .begin = begin, .length = length, .continues = begin + length < stop};
            begin += length;
        }
    }
}

// Packs the documents [first, end) behind the sequences and parts that the plan holds already.
static enum dapt_status pack_group(const struct dapt_shard *shard, uint64_t first, uint64_t end,
                                   struct dapt_plan *plan, uint64_t *parts,
                                   struct dapt_group *group) {
    struct packing p = {.sequence = plan->sequence,
                        .count = count_parts(shard, first, end, plan->sequence)};
    p.parts = dapt_alloc(p.count + 1, sizeof *p.parts);
    enum dapt_status status = p.parts ? packing_create(&p) : DAPT_ERROR_MEMORY;
    if (!status) {
        cut_parts(shard, first, end, plan->sequence, p.parts, &plan->split);
        sort_parts(&p);
        place_parts(&p);
        list_parts(&p, plan, group->first, *parts);
        *parts += p.count;
        group->count = p.bins;
    }
    packing_free(&p);
    free(p.parts);
    return status;
}

// ------------------------------------------------------------------------------------------ groups

static enum dapt_status check_weights(const struct dapt_data_list *list, bool *all_one) {
    *all_one = true;
    for (size_t e = 0; e < list->count; e++) {
        double weight = list->entries[e].weight;
        if (!(weight > 0 && weight <= 1e6))
            return dapt_fail(DAPT_ERROR_INVALID, "%s: weight %g: more than 0 was expected",
                             list->entries[e].path, weight);
        *all_one = *all_one && weight == 1;
    }
    return DAPT_OK;
}

static uint32_t entry_of(const struct dapt_shard *shard, uint64_t document) {
    return shard->file_entry[shard->documents[document].file];
}

static enum dapt_status plan_groups(const struct dapt_shard *shard,
                                    const struct dapt_data_list *list, bool all_one,
                                    struct dapt_plan *plan) {
    uint64_t documents = shard->counts.documents, parts = 0, document = 0;
    enum dapt_status status = DAPT_OK;
    for (size_t g = 0; g < plan->group_count && !status; g++) {
        struct dapt_group *group = &plan->groups[g];
        uint64_t end = document;
        while (end < documents && (all_one || entry_of(shard, end) == g)) end++;
        *group = (struct dapt_group){.weight = all_one ? 1 : list->entries[g].weight,
                                     .first = plan->sequences};
        uint64_t first_token = document_begin(shard, document),
                 tokens = document_begin(shard, end) - first_token;
        if (plan->packing == DAPT_PACK_DOCUMENTS) {
            status = pack_group(shard, document, end, plan, &parts, group);
            plan->padded += group->count * plan->sequence - tokens;
        } else {
            plan->window[g] = first_token;
            group->count = tokens / plan->sequence;
            plan->cut += tokens % plan->sequence;
        }
        group->drawn = (uint64_t)llround(group->weight * (double)group->count);
        if (group->drawn == 0 && group->count) group->drawn = 1;
        plan->sequences += group->count;
        plan->drawn += group->drawn;
        document = end;
    }
    if (!status && document != documents)
        status = dapt_fail(DAPT_ERROR_INTERNAL, "documents are not in the order of their entries");
    return status;
}

enum dapt_status dapt_plan_create(const struct dapt_shard *shard, const struct dapt_data_list *list,
                                  uint32_t sequence, enum dapt_packing packing,
                                  struct dapt_plan *plan) {
    bool all_one;
    *plan = (struct dapt_plan){.sequence = sequence, .packing = packing};
    enum dapt_status status = check_weights(list, &all_one);
    if (status) return status;
    if (sequence < 2)
        return dapt_fail(DAPT_ERROR_INVALID, "sequences of %u tokens: at least 2 were expected",
                         sequence);
    plan->weighted = !all_one;
    plan->group_count = all_one ? 1 : list->count;
    plan->groups = dapt_alloc(plan->group_count, sizeof *plan->groups);
    plan->window = dapt_alloc(plan->group_count, sizeof *plan->window);
    if (!plan->groups || !plan->window) status = DAPT_ERROR_MEMORY;
    if (!status && packing == DAPT_PACK_DOCUMENTS) {
        uint64_t parts = count_parts(shard, 0, shard->counts.documents, sequence);
        plan->first_part = dapt_alloc(parts + 1, sizeof *plan->first_part);
        plan->parts = dapt_alloc(parts + 1, sizeof *plan->parts);
        status = plan->first_part && plan->parts ? DAPT_OK : DAPT_ERROR_MEMORY;
    }
    if (!status) status = plan_groups(shard, list, all_one, plan);
    if (status) dapt_plan_free(plan);
    return status;
}

void dapt_plan_free(struct dapt_plan *plan) {
    free(plan->groups);
    free(plan->window);
    free(plan->first_part);
    free(plan->parts);
    *plan = (struct dapt_plan){0};
}

uint64_t dapt_plan_eval(const struct dapt_plan *plan, uint64_t index) {
    size_t g = 0;
    while (index >= plan->groups[g].drawn) index -= plan->groups[g++].drawn;
    return plan->groups[g].first + index % plan->groups[g].count;
}
