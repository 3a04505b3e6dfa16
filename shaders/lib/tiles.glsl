// How matmul shaders with tiles load four neighbours of an operand: as memory holds them, four words
// of float32 or two of 16-bit elements, so that loads of a step can be under way while the last one's
// are multiplied.

vec4 values_of(uvec4 raw, uint type) {
    if (type == F32) return uintBitsToFloat(raw);
    return unpack_words(raw.xy, type);
}
// Those where `inside` does not hold become 0.
uvec4 mask_of(uvec4 raw, uint type, bvec4 inside) {
    uvec4 mask = mix(uvec4(0u), uvec4(0xffffffffu), inside);
    if (type != F32) mask.xy = (mask.xz & 0xffffu) | (mask.yw & 0xffff0000u);
    return raw & mask;
}
// Of four 16-bit elements, each in the lower half of a word.
uvec4 join_halves(uvec4 v) {
    return uvec4(v.x | v.y << 16, v.z | v.w << 16, 0u, 0u);
}
