// Operands of a matmul that are rounded to a 16-bit float type, as matrix units would take them.
#include "half.glsl"
layout(constant_id = 17) const uint OPERANDS = F32;

float round_operand(float x) {
    return OPERANDS == F32 ? x : uintBitsToFloat(from_half(to_half(floatBitsToUint(x), OPERANDS), OPERANDS));
}
vec4 round_operand(vec4 v) {
    return vec4(round_operand(v.x), round_operand(v.y), round_operand(v.z), round_operand(v.w));
}
