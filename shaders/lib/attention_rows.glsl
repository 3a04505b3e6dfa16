// How attention holds q, k, v, y and their gradients in memory: as float32, or, where STORAGE16 is
// defined, as 16-bit floats of TYPE in whole words. Arithmetic is in float32 for all.
#ifdef STORAGE16
#define WHOLE_WORDS
#include "storage.glsl"
#ifndef TYPE_ID
#define TYPE_ID 8
#endif
layout(constant_id = TYPE_ID) const uint TYPE = F16;
#define InputRows InputWords
#define InputRows4 InputWords2
#define Rows4Out Words2
#define RowsOut Words
// Element base + d, base even; vec4 `index`; and their stores.
#define AT(x, base, d) half_of(x.at[(base) / 2 + (d) / 2], d, TYPE)
#define AT4(x, index) unpack_words(x.at[index], TYPE)
#define PUT4(x, index, v) x.at[index] = pack_words(v, TYPE)
#define PUT_ROW(x, base, v) \
    [[unroll]] for (uint d = 0; d < D; d += 2) x.at[(base) / 2 + d / 2] = pack_word(vec2(v[d], v[d + 1]), TYPE)
#else
#define InputRows Inputs
#define InputRows4 Inputs4
#define Rows4Out Floats4
#define RowsOut Floats
#define AT(x, base, d) x.at[(base) + (d)]
#define AT4(x, index) x.at[index]
#define PUT4(x, index, v) x.at[index] = v
#define PUT_ROW(x, base, v) [[unroll]] for (uint d = 0; d < D; d++) x.at[(base) + d] = v[d]
#endif
