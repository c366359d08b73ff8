@group(0) @binding(0) var<uniform> P: array<vec4<u32>, 32>;
@group(0) @binding(1) var<storage, read> b0: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> o0: array<vec4<f32>>;

fn body(r0: f32) -> f32 {
    let r1: f32 = r0 + bitcast<f32>(P[0].z);
    return r1;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) ng: vec3<u32>, @builtin(local_invocation_index) li: u32) {
    let i = (wg.x + wg.y * ng.x) * 256u + li;
    if (i >= P[0].x) {
        return;
    }
    let v0 = b0[i + P[0].y];
    let qx = body(v0.x);
    let qy = body(v0.y);
    let qz = body(v0.z);
    let qw = body(v0.w);
    o0[i] = vec4<f32>(qx, qy, qz, qw);
}
