// out[i, j] = data[index[i], j]. Elements are moved as bits. Parameters: elements, length of a row.
@group(0) @binding(1) var<storage, read> data: array<u32>;
@group(0) @binding(2) var<storage, read> index: array<i32>;
@group(0) @binding(3) var<storage, read_write> o0: array<u32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) ng: vec3<u32>, @builtin(local_invocation_index) li: u32) {
    let i = (wg.x + wg.y * ng.x) * 256u + li;
    if (i < P[0].x) {
        o0[i] = data[u32(index[i / P[0].y]) * P[0].y + i % P[0].y];
    }
}
