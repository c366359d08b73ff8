// Softmax along an axis, and its logarithm. Parameters: rows, length, inner length, scale, whether the logarithm.
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> o0: array<f32>;

fn run(wg: vec3<u32>, ng: vec3<u32>, li: u32) {
    let row = row_of(wg, ng, li);
    let inside = row < P[0].x;
    let n = select(0u, P[0].y, inside);
    let inner = P[0].z;
    let scale = bitcast<f32>(P[0].w);
    let at = row / inner * P[0].y * inner + row % inner;
    var top = -oxg_inf();
    for (var j = first(li); j < n; j += STEP) {
        top = oxg_max(top, x[at + j * inner] * scale);
    }
    top = all_max(li, top);
    var sum = 0.0;
    for (var j = first(li); j < n; j += STEP) {
        sum += oxg_exp(x[at + j * inner] * scale - top);
    }
    sum = all_sum(li, sum);
    let log_sum = oxg_log(sum);
    let log = P[1].x == 1u;
    for (var j = first(li); j < n; j += STEP) {
        let v = x[at + j * inner] * scale - top;
        if (log) {
            o0[at + j * inner] = v - log_sum;
        } else {
            o0[at + j * inner] = oxg_exp(v) / sum;
        }
    }
}
