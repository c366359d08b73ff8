// A row for each group of 256 threads: sums and extremes go through workgroup memory, in an order that never changes.
const STEP = 256u;
var<workgroup> part: array<f32, 256>;

fn row_of(wg: vec3<u32>, ng: vec3<u32>, li: u32) -> u32 {
    return wg.x + wg.y * ng.x;
}

fn first(li: u32) -> u32 {
    return li;
}

fn all_sum(li: u32, v: f32) -> f32 {
    part[li] = v;
    workgroupBarrier();
    for (var w = 128u; w > 0u; w >>= 1u) {
        if (li < w) {
            part[li] = part[li] + part[li + w];
        }
        workgroupBarrier();
    }
    let total = part[0];
    workgroupBarrier();
    return total;
}

fn all_max(li: u32, v: f32) -> f32 {
    part[li] = v;
    workgroupBarrier();
    for (var w = 128u; w > 0u; w >>= 1u) {
        if (li < w) {
            part[li] = oxg_max(part[li], part[li + w]);
        }
        workgroupBarrier();
    }
    let top = part[0];
    workgroupBarrier();
    return top;
}
