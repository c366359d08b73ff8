// out[s, b, m, n] = sum over a part of k of a[b, m, k] * b[b, k, n], by strides: a transposed operand is no copy.
// A group of 256 threads computes a tile of 64 x 64, each thread 4 x 4 of it, 16 steps of k at a time.
// Parameters: M, N, K, tiles of m, tiles of n, matrices, length of a part of k; offset, row, column and matrix strides of
// a and of b.
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> o0: array<f32>;

var<workgroup> ta: array<f32, 1024>;
var<workgroup> tb: array<f32, 1024>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) ng: vec3<u32>, @builtin(local_invocation_index) li: u32) {
    let g = wg.x + wg.y * ng.x;
    let M = P[0].x;
    let N = P[0].y;
    let K = P[0].z;
    let tiles = P[0].w * P[1].x;
    let part = g / tiles;
    let batch = part % P[1].y;
    let split = part / P[1].y;
    let m0 = (g % tiles) / P[1].x * 64u;
    let n0 = (g % tiles) % P[1].x * 64u;
    let from_k = split * P[1].z;
    let to_k = min(from_k + P[1].z, K);
    let a0 = P[1].w + batch * P[2].z;
    let b0 = P[2].w + batch * P[3].z;
    let a_rows = P[2].y == 1u;
    let b_rows = P[3].y == 1u;
    let row = li / 16u * 4u;
    let col = li % 16u * 4u;
    var c0 = vec4<f32>();
    var c1 = vec4<f32>();
    var c2 = vec4<f32>();
    var c3 = vec4<f32>();
    for (var k0 = from_k; k0 < to_k; k0 += 16u) {
        for (var q = 0u; q < 4u; q++) {
            let e = li + q * 256u;
            // Neighbouring threads read along the axis of stride one.
            let am = select(e % 64u, e / 16u, a_rows);
            let ak = select(e / 64u, e % 16u, a_rows);
            var x = 0.0;
            if (m0 + am < M && k0 + ak < to_k) {
                x = a[a0 + (m0 + am) * P[2].x + (k0 + ak) * P[2].y];
            }
            ta[ak * 64u + am] = x;
            let bn = select(e / 16u, e % 64u, b_rows);
            let bk = select(e % 16u, e / 64u, b_rows);
            var y = 0.0;
            if (n0 + bn < N && k0 + bk < to_k) {
                y = b[b0 + (k0 + bk) * P[3].x + (n0 + bn) * P[3].y];
            }
            tb[bk * 64u + bn] = y;
        }
        workgroupBarrier();
        for (var k = 0u; k < 1024u; k += 64u) {
            let r = k + row;
            let c = k + col;
            let y = vec4<f32>(tb[c], tb[c + 1u], tb[c + 2u], tb[c + 3u]);
            c0 += ta[r] * y;
            c1 += ta[r + 1u] * y;
            c2 += ta[r + 2u] * y;
            c3 += ta[r + 3u] * y;
        }
        workgroupBarrier();
    }
    if (split * P[1].y + batch >= P[3].w) {
        return;
    }
    let base = (split * P[1].y + batch) * M * N;
    for (var i = 0u; i < 4u; i++) {
        let m = m0 + row + i;
        if (m < M) {
            let c = select(select(c0, c1, i == 1u), select(c2, c3, i == 3u), i > 1u);
            for (var j = 0u; j < 4u; j++) {
                let n = n0 + col + j;
                if (n < N) {
                    o0[base + m * N + n] = c[j];
                }
            }
        }
    }
}
