// What the passes of attention with one row an invocation share. Loops over keys and queries are
// the same for all; what they load is clamped, as Mesa's rasteriser makes such loads once more when
// a loop is over.
layout(constant_id = 2) const uint SIZE = 64;      // of a head
layout(constant_id = 3) const uint HEADS = 1;      // of queries
layout(constant_id = 4) const uint GROUPS = 1;     // heads of keys
layout(constant_id = 5) const uint WINDOW = 0;
layout(constant_id = 6) const bool CAPPED = false;
layout(constant_id = 7) const uint KEYS = 8;       // at a time

// The keys that query row n sees: [x, y).
ivec2 range(Indices first, Indices last, uint n, uint keys) {
    int from = max(first.at[n], 0), to = last.at[n] + 1;
    if (WINDOW > 0) from = max(from, to - int(WINDOW));
    return ivec2(from, max(from, min(to, int(keys))));
}

// The keys that any query of this workgroup sees: [x, y).
ivec2 span(Indices first, Indices last, uint sequence, uint queries, uint keys) {
    ivec2 all = ivec2(int(keys), 0);
    uint begin = gl_WorkGroupID.x * WIDTH, end = min(begin + WIDTH, queries);
    for (uint i = begin; i < end; i++) {
        ivec2 r = range(first, last, sequence * queries + min(i, end - 1), keys);
        if (r.x < r.y) all = ivec2(min(all.x, r.x), max(all.y, r.y));
    }
    return all;
}
