// The gradient of softmax from its output y and the head g: scale * y * (g - sum(y * g)), or for the logarithm
// scale * (g - exp(y) * sum(g)). Parameters: rows, length, inner length, scale, whether the logarithm.
@group(0) @binding(1) var<storage, read> y: array<f32>;
@group(0) @binding(2) var<storage, read> g: array<f32>;
@group(0) @binding(3) var<storage, read_write> o0: array<f32>;

fn run(wg: vec3<u32>, ng: vec3<u32>, li: u32) {
    let row = row_of(wg, ng, li);
    let inside = row < P[0].x;
    let n = select(0u, P[0].y, inside);
    let inner = P[0].z;
    let scale = bitcast<f32>(P[0].w);
    let log = P[1].x == 1u;
    let at = row / inner * P[0].y * inner + row % inner;
    var sum = 0.0;
    for (var j = first(li); j < n; j += STEP) {
        let i = at + j * inner;
        if (log) {
            sum += g[i];
        } else {
            sum += y[i] * g[i];
        }
    }
    sum = all_sum(li, sum);
    for (var j = first(li); j < n; j += STEP) {
        let i = at + j * inner;
        if (log) {
            o0[i] = (g[i] - oxg_exp(y[i]) * sum) * scale;
        } else {
            o0[i] = y[i] * (g[i] - sum) * scale;
        }
    }
}
