#include "device/select.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/memory.h"
#include "base/nearest.h"
#include "base/threads.h"
#include "host/module.h"

#define UUID_PART 8  // characters of a UUID that may stand for it

// ----------------------------------------------------------------------------------------- listing

// The k-th backend among the modules, or NULL.
static const struct dapt_backend *backend_at(const struct dapt_modules *modules, size_t k) {
    for (size_t i = 0; i < dapt_modules_count(modules); i++) {
        struct dapt_module_info info;
        dapt_modules_at(modules, i, &info);
        if (strcmp(info.kind, DAPT_BACKEND_KIND) == 0 && k-- == 0)
            return dapt_modules_backend(modules, info.id);
    }
    return NULL;
}

static bool list_backend(const struct dapt_backend *backend, dapt_each_device each, void *user) {
    uint32_t count = 0;
    bool more = true;
    if (backend->device_count(dapt_host(), &count) != DAPT_OK)
        return each(user, backend->name, 0, NULL, dapt_error());
    for (uint32_t i = 0; more && i < count; i++) {
        struct dapt_device_info info = {0};
        bool known = backend->device_info(dapt_host(), i, &info) == DAPT_OK;
        more = each(user, backend->name, i, known ? &info : NULL, known ? NULL : dapt_error());
    }
    return more;
}

void dapt_list_devices(const struct dapt_modules *modules, dapt_each_device each, void *user) {
    const struct dapt_backend *backend;
    for (size_t k = 0; (backend = backend_at(modules, k)); k++)
        if (!list_backend(backend, each, user)) break;
}

// ---------------------------------------------------------------------------------------- choosing

struct candidate {
    const char *backend;
    uint32_t index;
    struct dapt_device_info info;
};
struct choice {
    struct candidate *all;
    size_t count, capacity;
    struct dapt_string obstacles;  // why backends offer nothing
    enum dapt_status status;
};

static bool collect(void *user, const char *backend, uint32_t index,
                    const struct dapt_device_info *info, const char *error) {
    struct choice *c = user;
    if (!info) {
        c->status = dapt_string_format(&c->obstacles, "%s%s", c->obstacles.length ? "; " : "",
                                       error);
    } else {
        c->status = dapt_grow(&c->all, &c->capacity, c->count + 1, sizeof *c->all);
        if (!c->status) c->all[c->count++] = (struct candidate){backend, index, *info};
    }
    return !c->status;
}

// How much a device promises; 0: it is taken only when it was asked for.
static int rank(const struct candidate *c) {
    static const int ranks[] = {
        [DAPT_DEVICE_SOFTWARE] = 0,   [DAPT_DEVICE_CPU] = 1,      [DAPT_DEVICE_VIRTUAL] = 2,
        [DAPT_DEVICE_INTEGRATED] = 3, [DAPT_DEVICE_DISCRETE] = 4,
    };
    return (size_t)c->info.kind < sizeof ranks / sizeof ranks[0] ? ranks[c->info.kind] : 0;
}

// The best of those with this number (-1: any number); NULL: there is none.
static const struct candidate *best(const struct choice *c, int64_t number, bool software) {
    const struct candidate *found = NULL;
    for (size_t i = 0; i < c->count; i++) {
        const struct candidate *each = &c->all[i];
        if ((number >= 0 && each->index != number) || (!software && rank(each) == 0)) continue;
        if (!found || rank(each) > rank(found)) found = each;
    }
    return found;
}

// The devices like `first` in their order, taken by the processes of this machine in turn.
static const struct candidate *in_turn(const struct choice *c, const struct candidate *first,
                                       const struct dapt_device_wish *wish) {
    uint32_t count = 0, wanted;
    for (size_t i = 0; i < c->count; i++) count += rank(&c->all[i]) == rank(first);
    wanted = wish->local_rank % count;
    if (wish->local_size > count && first->info.kind != DAPT_DEVICE_CPU)
        dapt_log(DAPT_LOG_WARNING, "%" PRIu32 " ranks of this machine share %" PRIu32 " %s: %s",
                 wish->local_size, count, count == 1 ? "device" : "devices", first->info.name);
    for (size_t i = 0; i < c->count; i++)
        if (rank(&c->all[i]) == rank(first) && wanted-- == 0) return &c->all[i];
    return first;
}

static bool is_uuid(const struct candidate *c, const char *text) {
    return strcasecmp(c->info.uuid, text) == 0;
}
// "vulkan 0", or "vulkan".
static bool is_listed(const struct candidate *c, const char *text) {
    char listed[64];
    snprintf(listed, sizeof listed, "%.40s %" PRIu32, c->backend, c->index);
    return strcasecmp(c->backend, text) == 0 || strcasecmp(listed, text) == 0;
}
static bool is_name(const struct candidate *c, const char *text) {
    return strcasecmp(c->info.name, text) == 0;
}
static bool is_part(const struct candidate *c, const char *text) {
    size_t length = strlen(text);
    return strcasestr(c->info.name, text) ||
           (length >= UUID_PART && strncasecmp(c->info.uuid, text, length) == 0);
}

// "cpu 0 NAME, vulkan 0 NAME": all of them, or those for which `fits` says yes.
static enum dapt_status fail_listing(const struct choice *c, const char *what, const char *lead,
                                     bool (*fits)(const struct candidate *c, const char *text),
                                     const char *text) {
    struct dapt_string list = {0};
    for (size_t i = 0; i < c->count; i++) {
        const struct candidate *each = &c->all[i];
        if (!fits || fits(each, text))
            dapt_string_format(&list, "%s%s %" PRIu32 " %s", list.length ? ", " : "", each->backend,
                               each->index, each->info.name);
    }
    enum dapt_status status = dapt_fail(
        DAPT_ERROR_INVALID, "%s (%s%s%s%s)", what, lead, list.length ? list.data : "none",
        c->obstacles.length ? "; " : "", c->obstacles.length ? c->obstacles.data : "");
    dapt_string_free(&list);
    return status;
}

// The device's name, or the word of one, that `text` may be a slip for; NULL: none.
static const char *guess_name(const struct choice *c, const char *text, struct dapt_arena *arena) {
    const char *names[128] = {0};
    size_t count = 0, room = sizeof names / sizeof names[0] - 1;
    for (size_t i = 0; i < c->count && count < room; i++) {
        const char *name = c->all[i].info.name;
        names[count++] = name;
        for (const char *word = name; *word && count < room;) {
            size_t length = strcspn(word, " ()");
            char *copy = length > 2 ? dapt_arena_copy(arena, word, length) : NULL;
            if (copy) names[count++] = copy;
            word += length + strspn(word + length, " ()");
        }
    }
    return dapt_nearest(text, names);
}

// By what its user calls it. NULL, and the reason recorded, unless exactly one is meant.
static const struct candidate *called(const struct choice *c, const char *text) {
    static bool (*const rules[])(const struct candidate *, const char *) = {is_uuid, is_listed,
                                                                            is_name, is_part};
    char what[320];
    for (size_t r = 0; r < sizeof rules / sizeof rules[0]; r++) {
        const struct candidate *found = NULL;
        size_t count = 0;
        for (size_t i = 0; i < c->count; i++) {
            if (!rules[r](&c->all[i], text)) continue;
            found = &c->all[i];
            count++;
        }
        if (count == 1) return found;
        if (count > 1) {
            snprintf(what, sizeof what, "device \"%.200s\" fits several", text);
            fail_listing(c, what, "which one, by backend and number or by UUID? ", rules[r], text);
            return NULL;
        }
    }
    struct dapt_arena arena = {0};
    const char *guess = guess_name(c, text, &arena);
    snprintf(what, sizeof what, "no device \"%.120s\" was found%s%.120s%s", text,
             guess ? ", did you mean \"" : "", guess ? guess : "", guess ? "\"?" : "");
    fail_listing(c, what, "there are: ", NULL, NULL);
    dapt_arena_free(&arena);
    return NULL;
}

// The number that a text is, or -1. One of three digits or more may also be a name's: "4090".
static int64_t number_of(const char *text) {
    size_t digits = strspn(text, "0123456789");
    return digits > 0 && digits < 9 && text[digits] == '\0' ? strtol(text, NULL, 10) : -1;
}

// `any`: no backend was named. NULL, and the reason recorded, where nothing can be taken.
static const struct candidate *choose(const struct choice *c, const char *text, bool any) {
    int64_t number = text ? number_of(text) : -1;
    if (!text || number >= 0) {
        const struct candidate *found = best(c, number, !any);
        if (found) return found;
        if (!text || best(c, number, true)) {
            fail_listing(c, "no device is used unless it is named",
                         "name one or its backend; there are: ", NULL, NULL);
            return NULL;
        }
    }
    if (number < 0 || number >= 100) return called(c, text);
    char what[64];
    snprintf(what, sizeof what, "no device has the number %" PRIi64, number);
    fail_listing(c, what, "there are: ", NULL, NULL);
    return NULL;
}

// Said once: it is about the machine, not about one command.
static void tell_fallback(const struct choice *c) {
    static atomic_flag told = ATOMIC_FLAG_INIT;
    struct dapt_string why = {0};
    for (size_t i = 0; i < c->count; i++)
        if (c->all[i].info.kind == DAPT_DEVICE_SOFTWARE)
            dapt_string_format(&why,
                               "%s%s %" PRIu32
                               ", %s, is a software device, taken only when "
                               "named",
                               why.length ? "; " : "", c->all[i].backend, c->all[i].index,
                               c->all[i].info.name);
    if (c->obstacles.length)
        dapt_string_format(&why, "%s%s", why.length ? "; " : "", c->obstacles.data);
    if (why.length && !atomic_flag_test_and_set(&told))
        dapt_log(DAPT_LOG_INFO, "no GPU was found, the cpu computes: %s", why.data);
    dapt_string_free(&why);
}

enum dapt_status dapt_select_device(const struct dapt_modules *modules,
                                    const struct dapt_device_wish *wish,
                                    struct dapt_device_handle **device) {
    bool any = !wish->backend || strcmp(wish->backend, "auto") == 0;
    struct choice c = {0};
    const struct dapt_backend *backend = NULL;
    const struct candidate *found = NULL;
    *device = NULL;
    if (any) {
        dapt_list_devices(modules, collect, &c);
    } else {
        backend = dapt_modules_backend(modules, wish->backend);
        if (!backend) return DAPT_ERROR_INVALID;
        list_backend(backend, collect, &c);
        if (!c.status && !c.count && c.obstacles.length)
            c.status = dapt_fail(DAPT_ERROR_UNSUPPORTED, "%s", c.obstacles.data);
    }
    const char *text = wish->device && *wish->device ? wish->device : NULL;
    if (!c.status && !(found = choose(&c, text, any))) c.status = DAPT_ERROR_INVALID;
    if (found && !text && wish->local_size > 1) found = in_turn(&c, found, wish);
    if (found) {
        if (any && !text && !wish->quiet && found->info.kind == DAPT_DEVICE_CPU) tell_fallback(&c);
        backend = dapt_modules_backend(modules, found->backend);
        // Only the core looks at what a container may use of its machine's processors.
        struct dapt_device_options options = {
            .threads = wish->threads ? wish->threads : dapt_processors_shared(wish->local_size),
            .host_moments = wish->host_moments};
        c.status = dapt_device_open(dapt_host(), backend, found->index, &options, device);
    }
    dapt_string_free(&c.obstacles);
    free(c.all);
    return c.status;
}
