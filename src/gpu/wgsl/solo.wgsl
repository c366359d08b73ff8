// A row for each thread: what short rows want.
const STEP = 1u;

fn row_of(wg: vec3<u32>, ng: vec3<u32>, li: u32) -> u32 {
    return (wg.x + wg.y * ng.x) * 64u + li;
}

fn first(li: u32) -> u32 {
    return 0u;
}

fn all_sum(li: u32, v: f32) -> f32 {
    return v;
}

fn all_max(li: u32, v: f32) -> f32 {
    return v;
}
