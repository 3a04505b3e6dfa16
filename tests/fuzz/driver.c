// Runs a target without libFuzzer: every seed, then mutations of the seeds, the same ones each time.
//
//   TARGET FOLDER [EXECUTIONS]     TARGET FILE
//
// An input that ends the program is kept as ./fuzz-crash.
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/files.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

#define MOST (256u << 10)  // bytes of an input
#define SEEDS 256

static struct dapt_string seeds[SEEDS];
static size_t seed_count;
static uint8_t input[MOST], spare[MOST];
static size_t input_size;

static void keep(void) {
    static const char said[] = "the input is kept as fuzz-crash\n";
    int fd = open("fuzz-crash", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ssize_t written = write(fd, input, input_size) + write(2, said, sizeof said - 1);
    (void)written;
    close(fd);
}

static void on_signal(int number) {
    keep();
    signal(number, SIG_DFL);
    raise(number);
}

// xorshift64*, Vigna, "An experimental exploration of Marsaglia's xorshift generators", 2016.
static uint64_t random_below(uint64_t bound) {
    static uint64_t state = 0x9e3779b97f4a7c15u;
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (state * 0x2545f4914f6cdd1du >> 16) % bound;
}

// Puts `size` bytes at `from` in the place of `gone` bytes at `at`.
static void replace(size_t at, size_t gone, const void *from, size_t size) {
    if (input_size - gone + size > MOST) return;
    if (size) memcpy(spare, from, size);
    memmove(input + at + size, input + at + gone, input_size - at - gone);
    if (size) memcpy(input + at, spare, size);
    input_size = input_size - gone + size;
}

static void mutate(void) {
    static const char *const words[] = {
        "0",    "-1",     "1e999", "18446744073709551616", "4294967295", "null", "[]",   "{}",
        "\"\"", "\\ud8",  "\xff",  "\xef\xbb\xbf",         "NaN",        "true", "[[[[", "\\",
        "\n",   "{\"a\":"};
    size_t at = random_below(input_size + 1), rest = input_size - at, length = 0;
    const struct dapt_string *other = &seeds[random_below(seed_count)];
    if (rest) length = 1 + random_below(rest < 16 ? rest : random_below(4) ? 16 : rest);
    switch (random_below(8)) {
    case 0:
        if (rest) input[at] ^= (uint8_t)(1u << random_below(8));
        break;
    case 1:
        if (rest) input[at] = (uint8_t)random_below(256);
        break;
    case 2: replace(at, length, NULL, 0); break;
    case 3: replace(at, 0, input + at, length); break;
    case 4: {
        const char *word = words[random_below(sizeof words / sizeof *words)];
        replace(at, random_below(2) ? length : 0, word, strlen(word));
        break;
    }
    case 5:  // a number of the file's own, another one or a limit
        if (rest >= 8) {
            const uint64_t limits[] = {0, UINT64_MAX, 1ull << 63, UINT32_MAX, input_size, 1};
            memcpy(input + at, &limits[random_below(6)], random_below(2) ? 8 : 4);
        }
        break;
    case 6:
        if (other->length) {
            size_t begin = random_below(other->length),
                   most = other->length - begin < 64 ? other->length - begin : 64;
            replace(at, random_below(2) ? length : 0, other->data + begin, random_below(most + 1));
        }
        break;
    default: input_size = at; break;
    }
}

static void run(void) {
    // A copy of the very size, so that a read beyond the end is seen.
    uint8_t *copy = malloc(input_size ? input_size : 1);
    if (!copy) abort();
    memcpy(copy, input, input_size);
    LLVMFuzzerTestOneInput(copy, input_size);
    free(copy);
}

static void add_seed(const char *path) {
    if (seed_count == SEEDS) return;
    if (dapt_file_read(path, MOST, &seeds[seed_count])) {
        fprintf(stderr, "%s\n", dapt_error());
        exit(1);
    }
    seed_count++;
}

int main(int argc, char **argv) {
    struct dapt_arena arena = {0};
    struct dapt_paths names = {0};
    unsigned long executions = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
    if (argc < 2) return fprintf(stderr, "usage: %s SEEDS [EXECUTIONS]\n", argv[0]), 2;
    for (int i = 0; i < 3; i++) signal((int[]){SIGABRT, SIGSEGV, SIGBUS}[i], on_signal);
    if (__sanitizer_set_death_callback) __sanitizer_set_death_callback(keep);
    if (dapt_is_dir(argv[1])) {
        if (dapt_list_folder(&arena, argv[1], &names)) return fprintf(stderr, "%s\n", dapt_error());
        for (size_t i = 0; i < names.count; i++)
            add_seed(dapt_path_join(&arena, argv[1], names.paths[i]));
    } else {
        add_seed(argv[1]);
    }
    if (seed_count == 0) return fprintf(stderr, "%s: holds no seed\n", argv[1]), 1;
    for (unsigned long i = 0; i < seed_count + executions; i++) {
        const struct dapt_string *seed = &seeds[i < seed_count ? i : random_below(seed_count)];
        memcpy(input, seed->data ? seed->data : "", seed->length);
        input_size = seed->length;
        for (uint64_t n = i < seed_count ? 0 : 1 + random_below(6); n--;) mutate();
        run();
        if (i + 1 == seed_count && fuzz_accepted() == 0)
            return fprintf(stderr, "%s: no seed is taken\n", argv[1]), 1;
    }
    for (size_t i = 0; i < seed_count; i++) dapt_string_free(&seeds[i]);
    dapt_arena_free(&arena);
    printf("%zu seeds, %lu mutations, %zu times taken\n", seed_count, executions, fuzz_accepted());
    return 0;
}
