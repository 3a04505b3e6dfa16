// Operands of a matmul that are rounded to a 16-bit float type, as matrix units would take them.
layout(constant_id = 17) const uint OPERANDS = F32;

// What memory holds as `type`.
float round_operand(float x, uint type) {
    if (OPERANDS == F32 || OPERANDS == type) return x;
    return uintBitsToFloat(from_half(to_half(floatBitsToUint(x), OPERANDS), OPERANDS));
}
vec4 round_operand(vec4 v, uint type) {
    return vec4(round_operand(v.x, type), round_operand(v.y, type), round_operand(v.z, type), round_operand(v.w, type));
}
