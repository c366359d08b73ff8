// out[at + i . steps] = data[from + i . strides]: between two strided views of up to six axes, as bits.
// Parameters: elements, from, at; six lengths, six strides, six steps.
@group(0) @binding(1) var<storage, read> data: array<u32>;
@group(0) @binding(2) var<storage, read_write> o0: array<u32>;

fn word(w: u32) -> u32 {
    return P[w / 4u][w % 4u];
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) ng: vec3<u32>, @builtin(local_invocation_index) li: u32) {
    let i = (wg.x + wg.y * ng.x) * 256u + li;
    if (i >= P[0].x) {
        return;
    }
    var rest = i;
    var begin = P[0].y;
    var at = P[0].z;
    for (var axis = 6u; axis > 0u; axis--) {
        let n = word(axis + 3u);
        let k = rest % n;
        rest = rest / n;
        begin += k * word(axis + 9u);
        at += k * word(axis + 15u);
    }
    o0[at] = data[begin];
}
