// Elements one by one or, PAIRED, two neighbours at a time: those of a word where rows of all 16-bit
// operands begin with a word and end with one. The second of one that has no neighbour is 0.
const uint UNIT = PAIRED ? 2 : 1;   // `index` is a multiple of it

#define LOAD_UNIT(x, type, index)                                   \
    (!PAIRED ? vec2(LOAD(x, type, index), 0.0)                      \
             : type == F32 ? vec2(LOAD(x, type, index), LOAD(x, type, (index) + 1)) : unpack_word(x.at[(index) / 2], type))

void store_unit(Words x, uint type, uint index, vec2 v) {
    if (PAIRED && type != F32) {
        x.at[index / 2] = pack_word(v, type);
    } else {
        store(x, type, index, v.x);
        if (PAIRED) store(x, type, index + 1, v.y);
    }
}
