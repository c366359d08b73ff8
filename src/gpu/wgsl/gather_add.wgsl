// The same as add_rows with a thread for each result, which looks through all i: more work, but also for short rows.
// Parameters: elements of the result, length of a row, first i, end of i, 1 to put instead of add.
@group(0) @binding(1) var<storage, read> data: array<f32>;
@group(0) @binding(2) var<storage, read> index: array<i32>;
@group(0) @binding(3) var<storage, read_write> o0: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) ng: vec3<u32>, @builtin(local_invocation_index) li: u32) {
    let at = (wg.x + wg.y * ng.x) * 64u + li;
    if (at >= P[0].x) {
        return;
    }
    let row = i32(at / P[0].y);
    let j = at % P[0].y;
    var sum = o0[at];
    for (var i = P[0].z; i < P[0].w; i++) {
        if (index[i] == row) {
            let v = data[i * P[0].y + j];
            sum = select(sum + v, v, P[1].x == 1u);
        }
    }
    o0[at] = sum;
}
