// What the passes of attention share: tiles of SIDE x SIDE scores, 128 invocations a tile.
// Invocation (x, y) of 16 x 8 has rows y + 8 i and columns x + 16 j of a tile, and columns x + 16 j
// of what is as wide as a head.
//
// Which keys a query sees: max(first, last - window + 1) <= key <= last, as range (from, to) with
// to exclusive.
layout(constant_id = 2) const uint SIZE = 64;      // of a head
layout(constant_id = 3) const uint HEADS = 1;      // of queries
layout(constant_id = 4) const uint GROUPS = 1;     // heads of keys
layout(constant_id = 5) const uint WINDOW = 0;
layout(constant_id = 6) const bool CAPPED = false;

const uint SIDE = 32, ACROSS = 16, DOWN = 8, INVOCATIONS = ACROSS * DOWN;
const uint TILE_ROWS = SIDE / DOWN, TILE_COLS = SIDE / ACROSS;
const uint WIDE = (SIZE + ACROSS - 1) / ACROSS;    // columns of a head that an invocation has
const uint DEPTH = SIZE < 16 ? SIZE : 16;          // of a head at a time, for scores
const uint ROW = SIDE + 1;
const uint SCORES = TILE_ROWS * TILE_COLS, SUMS = TILE_ROWS * WIDE;   // what an invocation has of each

shared float stage[2 * DEPTH * ROW];
shared float weights[SIDE * ROW];                  // [row][column] of a tile
shared int range_from[SIDE], range_to[SIDE];
shared int tile_from, tile_to;                     // what any of them sees
shared int every_from, every_to;                   // what every one sees

// Rows of one head of one sequence: element (r, d) is at base + r * stride + d.
struct Rows { uint base, stride, count; };

Rows rows_of(uint sequence, uint rows, uint stride, uint head) {
    return Rows(sequence * rows * stride + head * SIZE, stride, rows);
}

// The ranges of queries [row, row + SIDE) to shared memory, what they span and what they share.
void load_ranges(Indices first, Indices last, uint sequence, uint queries, uint row, uint keys) {
    uint lane = gl_LocalInvocationID.x;
    barrier();
    if (lane < SIDE) {
        int from = 0, to = 0;
        if (row + lane < queries) {
            uint n = sequence * queries + row + lane;
            from = max(first.at[n], 0);
            to = last.at[n] + 1;
            if (WINDOW > 0) from = max(from, to - int(WINDOW));
            to = min(to, int(keys));
        }
        range_from[lane] = from;
        range_to[lane] = max(from, to);
    }
    barrier();
    if (lane == 0) {
        int from = int(keys), to = 0, most = 0, least = int(keys);
        for (uint i = 0; i < SIDE && row + i < queries; i++) {
            most = max(most, range_from[i]);
            least = min(least, range_to[i]);
            if (range_from[i] < range_to[i]) {
                from = min(from, range_from[i]);
                to = max(to, range_to[i]);
            }
        }
        tile_from = from;
        tile_to = to;
        every_from = most;
        every_to = least;
    }
    barrier();
}

// tile = a[row_a + r] . b[row_b + c], rows beyond the end as zeros.
void multiply(Inputs a, Rows of_a, uint row_a, Inputs b, Rows of_b, uint row_b, out float tile[SCORES]) {
    uint x = gl_LocalInvocationID.x % ACROSS, y = gl_LocalInvocationID.x / ACROSS;
    [[unroll]] for (uint i = 0; i < SCORES; i++) tile[i] = 0.0;
    for (uint depth = 0; depth < SIZE; depth += DEPTH) {
        barrier();
        for (uint i = gl_LocalInvocationID.x; i < SIDE * DEPTH; i += INVOCATIONS) {
            uint r = i / DEPTH, d = i % DEPTH;
            bool deep = depth + d < SIZE;
            bool in_a = deep && row_a + r < of_a.count, in_b = deep && row_b + r < of_b.count;
            stage[d * ROW + r] = in_a ? a.at[of_a.base + (row_a + r) * of_a.stride + depth + d] : 0.0;
            stage[(DEPTH + d) * ROW + r] = in_b ? b.at[of_b.base + (row_b + r) * of_b.stride + depth + d] : 0.0;
        }
        barrier();
        for (uint d = 0; d < DEPTH; d++) {
            float right[TILE_COLS];
            [[unroll]] for (uint j = 0; j < TILE_COLS; j++) right[j] = stage[(DEPTH + d) * ROW + x + j * ACROSS];
            [[unroll]] for (uint i = 0; i < TILE_ROWS; i++) {
                float left = stage[d * ROW + y + i * DOWN];
                [[unroll]] for (uint j = 0; j < TILE_COLS; j++) tile[i * TILE_COLS + j] += left * right[j];
            }
        }
    }
}

// The tile to shared memory, for all to read after it returns.
void share(float tile[SCORES]) {
    uint x = gl_LocalInvocationID.x % ACROSS, y = gl_LocalInvocationID.x / ACROSS;
    barrier();
    [[unroll]] for (uint i = 0; i < TILE_ROWS; i++)
        [[unroll]] for (uint j = 0; j < TILE_COLS; j++)
            weights[(y + i * DOWN) * ROW + x + j * ACROSS] = tile[i * TILE_COLS + j];
    barrier();
}

// sum += weights v, v being rows [row, row + SIDE) of `of`. `masked`: keys that a query does not see
// count nothing even where v is no number; else their weight is 0.
void accumulate(Inputs v, Rows of, uint row, bool masked, inout float sum[SUMS]) {
    uint x = gl_LocalInvocationID.x % ACROSS, y = gl_LocalInvocationID.x / ACROSS;
    uint count = min(SIDE, of.count - row);
    for (uint k = 0; k < count; k++) {
        float left[TILE_ROWS];
        [[unroll]] for (uint i = 0; i < TILE_ROWS; i++) left[i] = weights[(y + i * DOWN) * ROW + k];
        [[unroll]] for (uint j = 0; j < WIDE; j++) {
            uint d = x + j * ACROSS;
            float right = d < SIZE ? v.at[of.base + (row + k) * of.stride + d] : 0.0;
            if (masked && !finite(right)) {
                int key = int(row + k);
                [[unroll]] for (uint i = 0; i < TILE_ROWS; i++) {
                    uint r = y + i * DOWN;
                    if (key >= range_from[r] && key < range_to[r]) sum[i * WIDE + j] += left[i] * right;
                }
                continue;
            }
            [[unroll]] for (uint i = 0; i < TILE_ROWS; i++) sum[i * WIDE + j] += left[i] * right;
        }
    }
}

void store(Floats to, Rows of, uint row, float sum[SUMS]) {
    uint x = gl_LocalInvocationID.x % ACROSS, y = gl_LocalInvocationID.x / ACROSS;
    [[unroll]] for (uint i = 0; i < TILE_ROWS; i++)
        [[unroll]] for (uint j = 0; j < WIDE; j++) {
            uint r = row + y + i * DOWN, d = x + j * ACROSS;
            if (r < of.count && d < SIZE) to.at[of.base + r * of.stride + d] = sum[i * WIDE + j];
        }
}
