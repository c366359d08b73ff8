// out[index[i], j] += data[i, j] for i in a range, in that order: a thread owns a column, so the sum never depends on
// timing and needs no atomics. Parameters: length of a row, first i, end of i, 1 to put instead of add.
@group(0) @binding(1) var<storage, read> data: array<f32>;
@group(0) @binding(2) var<storage, read> index: array<i32>;
@group(0) @binding(3) var<storage, read_write> o0: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) ng: vec3<u32>, @builtin(local_invocation_index) li: u32) {
    let j = (wg.x + wg.y * ng.x) * 64u + li;
    let row = P[0].x;
    if (j >= row) {
        return;
    }
    for (var i = P[0].y; i < P[0].z; i++) {
        let at = u32(index[i]) * row + j;
        let v = data[i * row + j];
        if (P[0].w == 1u) {
            o0[at] = v;
        } else {
            o0[at] += v;
        }
    }
}
