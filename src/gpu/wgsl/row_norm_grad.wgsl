// The gradient of row_norm: with a = head * gamma and u = (x - mean) / dev, (a - mean(a) - u * mean(a * u)) / dev.
// Parameters: rows, length.
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> means: array<f32>;
@group(0) @binding(3) var<storage, read> stds: array<f32>;
@group(0) @binding(4) var<storage, read> head: array<f32>;
@group(0) @binding(5) var<storage, read> gamma: array<f32>;
@group(0) @binding(6) var<storage, read_write> o0: array<f32>;

fn run(wg: vec3<u32>, ng: vec3<u32>, li: u32) {
    let row = row_of(wg, ng, li);
    let inside = row < P[0].x;
    let n = select(0u, P[0].y, inside);
    let at = row * P[0].y;
    let mean = means[select(0u, row, inside)];
    let dev = stds[select(0u, row, inside)];
    var sum = 0.0;
    var dot = 0.0;
    for (var j = first(li); j < n; j += STEP) {
        let a = head[at + j] * gamma[j];
        sum += a;
        dot += a * ((x[at + j] - mean) / dev);
    }
    sum = all_sum(li, sum) / f32(P[0].y);
    dot = all_sum(li, dot) / f32(P[0].y);
    for (var j = first(li); j < n; j += STEP) {
        let u = (x[at + j] - mean) / dev;
        o0[at + j] = (head[at + j] * gamma[j] - sum - u * dot) / dev;
    }
}
