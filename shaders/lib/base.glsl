// What every shader includes: memory by address, the shape of the workgroup in constants 0 and 1,
// safe functions of floats. The constants of a shader itself begin at 2; its push constants are
// addresses first, then 32-bit words, 128 bytes at most.
//
// Letters of shapes, as in dapt/backend.h: N rows (batch x time), C channels, V vocabulary, H
// heads, G key heads, D head size, P positions; M, N, K of a matmul. Tensors are row-major;
// stride_x is the distance of rows of x in elements.
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_control_flow_attributes : require

layout(local_size_x_id = 0, local_size_y_id = 1) in;
layout(constant_id = 0) const uint WIDTH = 1;
layout(constant_id = 1) const uint HEIGHT = 1;

layout(buffer_reference, std430, buffer_reference_align = 4) buffer Floats { float at[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) readonly buffer Inputs { float at[]; };
// Loads and stores of a vec4, where address and stride are multiples of 16 bytes.
layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer Inputs4 { vec4 at[]; };
layout(buffer_reference, std430, buffer_reference_align = 16) buffer Floats4 { vec4 at[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) readonly buffer Indices { int at[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) buffer Words { uint at[]; };

// The part of `count` elements that is this workgroup's, in one piece: [x, y).
uvec2 range_of(uint count) {
    uint all = gl_NumWorkGroups.x * WIDTH, part = (count + all - 1) / all * WIDTH, begin = gl_WorkGroupID.x * part;
    return uvec2(begin, min(begin + part, count));
}

#define MINUS_INFINITY uintBitsToFloat(0xff800000u)

bool finite(float x) {
    return (floatBitsToUint(x) & 0x7f800000u) != 0x7f800000u;
}

bool is_nan(float x) {
    return (floatBitsToUint(x) & 0x7fffffffu) > 0x7f800000u;
}

// exp and log that keep NaN: the built-in functions need not.
float safe_exp(float x) {
    return is_nan(x) ? x : exp(x);
}
float safe_log(float x) {
    return is_nan(x) ? x : log(x);
}
// The built-in tanh may overflow for large arguments and cancel for small ones.
float safe_tanh(float x) {
    float t = safe_exp(-2.0 * abs(x)), square = x * x;
    float small = x * (1.0 - square * (0.33333333 - square * (0.13333333 - square * (0.053968254 - square * 0.021869489))));
    return square < 0.0625 ? small : sign(x) * (1.0 - t) / (1.0 + t);
}

float softcap(float x, float cap) {
    return cap > 0.0 ? cap * safe_tanh(x / cap) : x;
}
// d softcap / dx, from what softcap() returned.
float softcap_grad(float capped, float cap) {
    float t = capped / cap;
    return cap > 0.0 ? 1.0 - t * t : 1.0;
}
