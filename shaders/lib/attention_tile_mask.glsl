// The mask of a tile of BR x BC scores: of queries in rows or, BY_KEY, in columns.
#extension GL_KHR_memory_scope_semantics : require
// The scope of atomics: by default it is the device, for which the Vulkan memory model, enabled with
// matrix units, needs one more feature.
#define IN_WORKGROUP gl_ScopeWorkgroup, gl_StorageSemanticsNone, gl_SemanticsRelaxed
#ifdef BY_KEY                                        // rows of a tile are keys, columns queries
const uint QUERIES = BC, KEYS = BR;
#else
const uint QUERIES = BR, KEYS = BC;
#endif
shared int key_begin[QUERIES], key_end[QUERIES];     // the mask of each query of the tile
shared int any_begin, any_end;                       // the keys that any query of the tile sees
shared int all_begin, all_end;                       // the keys that all of them see
shared bool poisoned;                                // v is not finite somewhere, where it may be masked

// The masks of queries [query0, query0 + QUERIES) to shared memory, their union and intersection.
void load_mask(Indices first, Indices last, uint sequence, uint queries, uint query0, uint keys) {
    barrier();
    if (gl_LocalInvocationID.x == 0) {
        any_begin = all_end = int(keys);
        any_end = all_begin = 0;
        poisoned = false;
    }
    barrier();
    for (uint i = gl_LocalInvocationID.x; i < QUERIES; i += WIDTH) {
        ivec2 seen = ivec2(0);
        if (query0 + i < queries) seen = visible_keys(first, last, sequence * queries + query0 + i, keys);
        key_begin[i] = seen.x;
        key_end[i] = seen.y;
        if (seen.x < seen.y) {
            atomicMin(any_begin, seen.x, IN_WORKGROUP);
            atomicMax(any_end, seen.y, IN_WORKGROUP);
        }
        atomicMax(all_begin, seen.x, IN_WORKGROUP);
        atomicMin(all_end, seen.y, IN_WORKGROUP);
    }
    barrier();
}
// Whether some query of the tile does not see some of the keys [key0, key0 + KEYS).
bool is_masked(uint key0) {
    return int(key0) < all_begin || int(key0 + KEYS) > all_end;
}
// Whether row r and column c of a tile, whose keys begin with key0, see each other.
bool sees(uint r, uint c, uint key0) {
#ifdef BY_KEY
    return int(key0 + r) >= key_begin[c] && int(key0 + r) < key_end[c];
#else
    return int(key0 + c) >= key_begin[r] && int(key0 + c) < key_end[r];
#endif
}
