// out[k, d] = on where d is the index k, else off. INDEX is the type of indices. Parameters: elements, depth, on, off.
@group(0) @binding(1) var<storage, read> index: array<INDEX>;
@group(0) @binding(2) var<storage, read_write> o0: array<u32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) ng: vec3<u32>, @builtin(local_invocation_index) li: u32) {
    let i = (wg.x + wg.y * ng.x) * 256u + li;
    if (i < P[0].x) {
        let k = WHOLE(index[i / P[0].y]);
        o0[i] = select(P[0].w, P[0].z, k == i32(i % P[0].y));
    }
}
