//! Laws that draw from the single engine: multinomial and shuffle.

use super::Mt19937;

/// Classes drawn for each row of `data` (rows of `classes` weights), `draws` a row, row after row.
///
/// A class is the first whose cumulative weight reaches the uniform number. Weights are not normalised: where a row
/// sums to less than that number, the result is `classes`, one past the last. Sums are made in double; `round` then
/// takes them and the uniform numbers to the precision that MXNet compares in: `f16` for 16-bit data, else `f32`.
pub fn multinomial<T>(
    e: &mut Mt19937,
    data: &[T],
    classes: usize,
    draws: usize,
    round: impl Fn(f64) -> f32,
) -> Vec<usize>
where
    T: Copy + Into<f64>,
{
    if classes == 0 {
        return Vec::new();
    }
    let mut sums = vec![0.0; classes];
    let mut out = Vec::with_capacity(data.len() / classes * draws);
    for row in data.chunks_exact(classes) {
        let mut total = 0.0;
        for (sum, &weight) in sums.iter_mut().zip(row) {
            total += weight.into();
            *sum = round(total);
        }
        out.extend((0..draws).map(|_| first_reaching(&sums, round(f64::from(e.unit_f32())))));
    }
    out
}

/// The order of a shuffled vector: element `i` of the result is element `order[i]` of the input.
pub fn shuffle_1d(e: &mut Mt19937, n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    for i in 1..n {
        order.swap(i, below(e, i + 1));
    }
    order
}

/// The order of shuffled rows. It runs backwards, so one seed gives vectors and matrices different orders.
pub fn shuffle_rows(e: &mut Mt19937, n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        order.swap(i, below(e, i + 1));
    }
    order
}

/// Binary search for the first sum not below `u`. Spelt out because negative weights leave the sums unsorted, and the
/// result then depends on which sums are looked at.
fn first_reaching(sums: &[f32], u: f32) -> usize {
    let (mut first, mut len) = (0, sums.len());
    while len > 0 {
        let half = len / 2;
        if sums[first + half] < u {
            first += half + 1;
            len -= half + 1;
        } else {
            len = half;
        }
    }
    first
}

/// A number below `n`, each as likely: words beyond the last full multiple of `n` are drawn again.
fn below(e: &mut Mt19937, n: usize) -> usize {
    // More than 2³² things would need more than one word; MXNet has no answer there, and neither has the engine.
    let n = u32::try_from(n).unwrap_or(u32::MAX).max(1);
    let size = u32::MAX / n;
    loop {
        let word = e.next_u32();
        if word < size * n {
            return (word / size) as usize;
        }
    }
}
