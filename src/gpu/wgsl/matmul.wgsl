// out[s, b, m, n] = sum over a part of k of a[b, m, k] * b[b, k, n], by strides: a transposed operand is no copy.
// A group of 256 threads computes a tile of 64 x 64, or SIDE x SIDE of those: 16 steps of k at a time, each thread 4 x 4 of
// every one. What comes next is read while the products run. A line with PART, HALF or LANE is printed for each of them,
// and the lines of a step four times.
// Parameters: M, N, K, tiles of m, tiles of n, matrices, length of a part of k; offset, row, column and matrix strides of
// a and of b.
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> o0: array<f32>;

// Vectors of a step of k in a tile.
const WIDE = 16u * SIDE;
// Vector `v` of step `k` is at `k * WIDE + (v ^ k)`: neither axis meets one memory bank again and again.
var<workgroup> ta: array<vec4<f32>, 256u * SIDE>;
var<workgroup> tb: array<vec4<f32>, 256u * SIDE>;

// Four elements of `a` down a column, and of `b` along a row; zeros outside.
fn a4(at: u32, m: u32, k: u32, to_k: u32) -> vec4<f32> {
    let by = P[2].x;
    let i = at + m * by + k * P[2].y;
    var v = vec4<f32>();
    if (k < to_k) {
        if (m + 3u < P[0].x) {
            return vec4<f32>(a[i], a[i + by], a[i + 2u * by], a[i + 3u * by]);
        }
        for (var j = 0u; j < 4u && m + j < P[0].x; j++) {
            v[j] = a[i + j * by];
        }
    }
    return v;
}

fn b4(at: u32, n: u32, k: u32, to_k: u32) -> vec4<f32> {
    let by = P[3].y;
    let i = at + k * P[3].x + n * by;
    var v = vec4<f32>();
    if (k < to_k) {
        if (n + 3u < P[0].y) {
            return vec4<f32>(b[i], b[i + by], b[i + 2u * by], b[i + 3u * by]);
        }
        for (var j = 0u; j < 4u && n + j < P[0].y; j++) {
            v[j] = b[i + j * by];
        }
    }
    return v;
}

fn put(base: u32, m: u32, n: u32, v: vec4<f32>) {
    if (m < P[0].x) {
        for (var j = 0u; j < 4u && n + j < P[0].y; j++) {
            o0[base + m * P[0].y + n + j] = v[j];
        }
    }
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) ng: vec3<u32>, @builtin(local_invocation_index) li: u32) {
    let g = wg.x + wg.y * ng.x;
    let tiles = P[0].w * P[1].x;
    let part = g / tiles;
    let batch = part % P[1].y;
    let split = part / P[1].y;
    let m0 = (g % tiles) / P[1].x * 64u * SIDE;
    let n0 = (g % tiles) % P[1].x * 64u * SIDE;
    let from_k = split * P[1].z;
    let to_k = min(from_k + P[1].z, P[0].z);
    let a0 = P[1].w + batch * P[2].z;
    let b0 = P[2].w + batch * P[3].z;
    // Neighbouring threads read along the axis of stride one.
    let along_k = P[2].y == 1u;
    let along_n = P[3].y == 1u;
    let akPART = select((li + PARTu * 256u) / WIDE, li % 16u, along_k);
    let amPART = select((li + PARTu * 256u) % WIDE, (li + PARTu * 256u) / 16u, along_k);
    let bkPART = select(li % 16u, (li + PARTu * 256u) / WIDE, along_n);
    let bnPART = select((li + PARTu * 256u) / 16u, (li + PARTu * 256u) % WIDE, along_n);
    let row = li / 16u;
    let col = li % 16u;
    var cPART_LANE_HALF = vec4<f32>();
    var xPART = a4(a0, m0 + amPART * 4u, from_k + akPART, to_k);
    var yPART = b4(b0, n0 + bnPART * 4u, from_k + bkPART, to_k);
    for (var k0 = from_k; k0 < to_k; k0 += 16u) {
        ta[akPART * WIDE + (amPART ^ akPART)] = xPART;
        tb[bkPART * WIDE + (bnPART ^ bkPART)] = yPART;
        workgroupBarrier();
        xPART = a4(a0, m0 + amPART * 4u, k0 + 16u + akPART, to_k);
        yPART = b4(b0, n0 + bnPART * 4u, k0 + 16u + bkPART, to_k);
        for (var k = 0u; k < 16u; k += 4u) {
// STEPS
            let tSTEP = (k + STEPu) * WIDE;
            let pSTEP_PART = ta[tSTEP + PARTu * 16u + (row ^ (k + STEPu))];
            let qSTEP_PART = tb[tSTEP + PARTu * 16u + (col ^ (k + STEPu))];
            cPART_LANE_HALF += pSTEP_PART.LANE * qSTEP_HALF;
// END
        }
        workgroupBarrier();
    }
    if (split * P[1].y + batch >= P[3].w) {
        return;
    }
    let base = (split * P[1].y + batch) * P[0].x * P[0].y;
    put(base, m0 + PARTu * 64u + row * 4u, n0 + HALFu * 64u + col * 4u, cPART_x_HALF);
    put(base, m0 + PARTu * 64u + row * 4u + 1u, n0 + HALFu * 64u + col * 4u, cPART_y_HALF);
    put(base, m0 + PARTu * 64u + row * 4u + 2u, n0 + HALFu * 64u + col * 4u, cPART_z_HALF);
    put(base, m0 + PARTu * 64u + row * 4u + 3u, n0 + HALFu * 64u + col * 4u, cPART_w_HALF);
}
