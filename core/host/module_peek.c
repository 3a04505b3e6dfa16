// Reads a module's ABI version from its file: the symbol table, the entry's address, the four bytes there.
#include <elf.h>
#include <link.h>
#include <string.h>

#include "base/files.h"
#include "host/module.h"

const struct dapt_module_form dapt_module_forms[DAPT_MODULE_TYPE_COUNT] = {
    [DAPT_MODULE_PLUGIN] = {"plugin", "dapt_plugin_entry", sizeof(struct dapt_plugin_entry),
                            DAPT_PLUGIN_ABI},
    [DAPT_MODULE_BACKEND] = {"backend", "dapt_backend_entry", sizeof(struct dapt_backend_entry),
                             DAPT_BACKEND_ABI},
    [DAPT_MODULE_COMM] = {"comm", "dapt_comm_entry", sizeof(struct dapt_comm_entry), DAPT_COMM_ABI},
};

struct image {
    const char *path;
    struct dapt_map map;
    const ElfW(Ehdr) * header;
};

// `count` things of `size` bytes at `offset`, NULL when they don't lie in the file or not where such things can be read.
static const void *part(const struct image *image, uint64_t offset, uint64_t count, uint64_t size,
                        uint64_t align) {
    uint64_t bytes, end;
    if (__builtin_mul_overflow(count, size, &bytes) || __builtin_add_overflow(offset, bytes, &end))
        return NULL;
    if (end > image->map.size || offset % align != 0) return NULL;
    return image->map.data + offset;
}

static enum dapt_status refuse(const struct image *image, const char *reason) {
    return dapt_fail(DAPT_ERROR_INVALID, "%s: %s", image->path, reason);
}

static enum dapt_status check_header(struct image *image) {
    const uint8_t *id = image->map.data;
    if (image->map.size < EI_NIDENT || memcmp(id, ELFMAG, SELFMAG) != 0)
        return refuse(image, "is not a shared object (ELF)");
    const unsigned char class = sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32;
    const uint16_t one = 1;
    const unsigned char order = *(const unsigned char *)&one ? ELFDATA2LSB : ELFDATA2MSB;
    if (id[EI_CLASS] != class || id[EI_DATA] != order)
        return refuse(image, "was built for another kind of machine");
    image->header = part(image, 0, 1, sizeof *image->header, 1);
    if (!image->header) return refuse(image, "is truncated");
    if (image->header->e_type != ET_DYN)
        return refuse(image, "is an ELF file, but not a shared object");
    if (image->header->e_shentsize != sizeof(ElfW(Shdr)) ||
        image->header->e_phentsize != sizeof(ElfW(Phdr))) {
        return refuse(image, "is damaged: its header tables have an unknown form");
    }
    return DAPT_OK;
}

// The dynamic symbol table and the names that belong to it.
static enum dapt_status find_symbols(const struct image *image, const ElfW(Sym) * *symbols,
                                     size_t *count, const char **names, size_t *names_size) {
    const ElfW(Ehdr) *header = image->header;
    const ElfW(Shdr) *sections = part(image, header->e_shoff, header->e_shnum, sizeof *sections,
                                      _Alignof(ElfW(Shdr)));
    if (!sections || header->e_shnum == 0)
        return refuse(image, "is truncated or has no section table");
    for (size_t i = 0; i < header->e_shnum; i++) {
        const ElfW(Shdr) *section = &sections[i];
        if (section->sh_type != SHT_DYNSYM || section->sh_link >= header->e_shnum) continue;
        const ElfW(Shdr) *strings = &sections[section->sh_link];
        *count = section->sh_size / sizeof **symbols;
        *symbols = part(image, section->sh_offset, *count, sizeof **symbols, _Alignof(ElfW(Sym)));
        *names_size = strings->sh_size;
        *names = part(image, strings->sh_offset, *names_size, 1, 1);
        if (*symbols && *names && *names_size > 0 && (*names)[*names_size - 1] == '\0')
            return DAPT_OK;
        return refuse(image, "is damaged: its symbol table does not lie in the file");
    }
    return refuse(image, "has no table of dynamic symbols");
}

// Whether all of the file that dlopen() will map is there: what is cut off would end the program when it
// is touched.
static enum dapt_status check_segments(const struct image *image) {
    const ElfW(Ehdr) *header = image->header;
    const ElfW(Phdr) *segments = part(image, header->e_phoff, header->e_phnum, sizeof *segments,
                                      _Alignof(ElfW(Phdr)));
    if (!segments) return refuse(image, "is truncated");
    for (size_t i = 0; i < header->e_phnum; i++)
        if (segments[i].p_type == PT_LOAD && segments[i].p_filesz > 0 &&
            !part(image, segments[i].p_offset, segments[i].p_filesz, 1, 1))
            return refuse(image, "is truncated: parts of it lie beyond the end of the file");
    return DAPT_OK;
}

// The file's bytes at an address of the loaded module.
static const void *at_address(const struct image *image, uint64_t address, size_t size) {
    const ElfW(Ehdr) *header = image->header;
    const ElfW(Phdr) *segments = part(image, header->e_phoff, header->e_phnum, sizeof *segments,
                                      _Alignof(ElfW(Phdr)));
    for (size_t i = 0; segments && i < header->e_phnum; i++) {
        const ElfW(Phdr) *segment = &segments[i];
        if (segment->p_type != PT_LOAD || address < segment->p_vaddr) continue;
        uint64_t within = address - segment->p_vaddr;
        if (within < segment->p_filesz && segment->p_filesz - within >= size) {
            uint64_t offset;
            if (__builtin_add_overflow((uint64_t)segment->p_offset, within, &offset)) return NULL;
            return part(image, offset, size, 1, 1);
        }
    }
    return NULL;
}

static enum dapt_status find_entry(const struct image *image, enum dapt_module_type *type,
                                   uint32_t *abi) {
    const ElfW(Sym) *symbols = NULL;
    const char *names = NULL;
    size_t count = 0, names_size = 0;
    enum dapt_status status = find_symbols(image, &symbols, &count, &names, &names_size);
    if (status) return status;
    for (size_t i = 0; i < count; i++) {
        if (symbols[i].st_shndx == SHN_UNDEF || symbols[i].st_name >= names_size) continue;
        for (int t = 0; t < DAPT_MODULE_TYPE_COUNT; t++) {
            if (strcmp(names + symbols[i].st_name, dapt_module_forms[t].symbol) != 0) continue;
            size_t size = dapt_module_forms[t].entry_size;
            const void *bytes = at_address(image, symbols[i].st_value, size);
            bool object = (symbols[i].st_info & 0xf) == STT_OBJECT && symbols[i].st_size >= size;
            if (!object || !bytes)
                return refuse(image, "is damaged: its entry symbol is not a table in the file");
            *type = (enum dapt_module_type)t;
            memcpy(abi, bytes, sizeof *abi);
            return DAPT_OK;
        }
    }
    return refuse(image,
                  "is not a module of dapt: it exports none of dapt_plugin_entry, "
                  "dapt_backend_entry, dapt_comm_entry");
}

enum dapt_status dapt_module_peek(const char *path, enum dapt_module_type *type, uint32_t *abi) {
    struct image image = {.path = path};
    enum dapt_status status = dapt_map_open(path, &image.map);
    if (status) return status;
    status = check_header(&image);
    if (!status) status = find_entry(&image, type, abi);
    if (!status) status = check_segments(&image);
    dapt_map_close(&image.map);
    return status;
}
