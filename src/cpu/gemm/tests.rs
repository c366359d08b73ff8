//! Products against doubles, within the bound for any order of summation.

use super::*;

/// Values that repeat with no short period.
fn fill<T>(n: usize, seed: usize, from: impl Fn(f64) -> T) -> Vec<T> {
    (0..n).map(|i| from(((i * 7919 + seed * 104_729) % 1009) as f64 / 1009.0 - 0.5)).collect()
}

/// Against a product in doubles, within the bound for any order of summation: `(k + 2) · eps · Σ|a·b|`.
macro_rules! check {
    ($name:ident, $t:ty, $gemm:path) => {
        fn $name(
            m: usize,
            n: usize,
            k: usize,
            ta: bool,
            tb: bool,
            tc: bool,
            gap: usize,
            accumulate: bool,
            threads: usize,
        ) {
            let strides = |r: usize, c: usize, t: bool| if t { (gap, gap * r + 1) } else { (gap * c + 1, gap) };
            let from = |x: f64| x as $t;
            let (a, b) = (fill(gap * m * k + m + k + 9, 1, from), fill(gap * n * k + n + k + 9, 2, from));
            let before = fill(gap * m * n + m + n + 9, 3, from);
            let mut c = before.clone();
            let ((ar, ac), (br, bc), (cr, cc)) = (strides(m, k, ta), strides(k, n, tb), strides(m, n, tc));
            let am = Mat { ptr: a.as_ptr(), row: ar as isize, col: ac as isize };
            let bm = Mat { ptr: b.as_ptr(), row: br as isize, col: bc as isize };
            // SAFETY: the vectors hold the views.
            unsafe { $gemm(m, n, k, am, bm, c.as_mut_ptr(), cr as isize, cc as isize, accumulate, threads) };
            let mut want: Vec<(f64, f64)> = before.iter().map(|&x| (x as f64, 0.0)).collect();
            for i in 0..m {
                for j in 0..n {
                    let w = &mut want[i * cr + j * cc];
                    *w = if accumulate { (w.0, w.0.abs()) } else { (0.0, 0.0) };
                    for l in 0..k {
                        let x = a[i * ar + l * ac] as f64 * b[l * br + j * bc] as f64;
                        *w = (w.0 + x, w.1 + x.abs());
                    }
                }
            }
            // Elements between those of C have a bound of zero: they must not be touched.
            let eps = <$t>::EPSILON as f64 * (k + 2) as f64;
            for (i, (&got, &(want, size))) in c.iter().zip(&want).enumerate() {
                let ok = (got as f64 - want).abs() <= eps * size;
                assert!(ok, "{m}×{n}×{k} {ta} {tb} {tc} gap {gap} add {accumulate} at {i}: {got} {want}");
            }
        }
    };
}
check!(check_f32, f32, gemm_f32);
check!(check_f64, f64, gemm_f64);

#[rustfmt::skip]
const SHAPES: &[[usize; 3]] = &[
    [0, 3, 3], [3, 0, 3], [3, 3, 0], [0, 0, 0], [1, 1, 0], [1, 1, 1], [1, 1, 70], [1, 33, 1], [17, 1, 1], [1, 40, 9],
    [70, 1, 300], [1, 70, 131], [2, 2, 2], [3, 5, 7], [8, 8, 8], [14, 32, 5], [15, 33, 17], [16, 16, 16],
    [29, 31, 400], [13, 300, 20], [70, 65, 64], [100, 17, 390], [61, 530, 33],
    // A few columns beside a long `k`, and the last columns of a tile.
    [37, 2, 70], [66, 3, 101], [39, 4, 130], [70, 5, 161], [35, 7, 230], [33, 8, 260], [8, 34, 257], [40, 36, 20],
    [45, 40, 19], [31, 9, 40],
];

#[test]
fn agrees_with_a_plain_product() {
    for &[m, n, k] in SHAPES {
        for form in 0..16 {
            let (ta, tb, tc, add) = (form & 1 > 0, form & 2 > 0, form & 4 > 0, form & 8 > 0);
            for gap in [1, 2] {
                check_f32(m, n, k, ta, tb, tc, gap, add, 2);
                check_f64(m, n, k, ta, tb, tc, gap, add, 1);
            }
        }
    }
}

#[test]
fn large_products_and_vectors() {
    check_f32(350, 300, 800, false, false, false, 1, false, 1);
    check_f32(350, 300, 800, true, true, false, 1, true, 3);
    check_f64(40, 2100, 20, false, true, false, 1, false, 2);
    check_f64(700, 130, 390, true, false, false, 1, false, 2);
    check_f32(50, 1100, 401, false, false, false, 1, true, 2);
    check_f64(60, 530, 780, false, false, false, 1, false, 2);
    check_f32(3000, 1, 200, false, false, false, 1, false, 2);
    check_f32(3000, 1, 200, true, false, false, 2, true, 2);
}

#[test]
fn threads_do_not_change_a_bit() {
    // Rectangles of C, rows of few columns, a column, pieces of `k`.
    for (m, n, k) in [(150, 170, 900), (403, 5, 700), (1003, 1, 300), (20, 20, 20_000)] {
        one_result(m, n, k);
    }
}

fn one_result(m: usize, n: usize, k: usize) {
    let (a, b) = (fill(m * k, 1, |x| x as f32), fill(k * n, 2, |x| x as f32));
    let run = |threads| {
        let mut c = vec![0.0f32; m * n];
        let (am, bm) =
            (Mat { ptr: a.as_ptr(), row: k as isize, col: 1 }, Mat { ptr: b.as_ptr(), row: n as isize, col: 1 });
        // SAFETY: the vectors hold the views.
        unsafe { gemm_f32(m, n, k, am, bm, c.as_mut_ptr(), n as isize, 1, false, threads) };
        c
    };
    assert!(run(1) == run(2) && run(1) == run(5));
}

#[test]
fn reversed_and_shared_views() {
    // A is walked backwards; B has zero strides, so every element is the same.
    let (a, two, mut c) = ([1.0f32, 2.0, 3.0, 4.0], [2.0f32], [0.0f32; 4]);
    let (am, bm) = (Mat { ptr: &a[3], row: -2, col: -1 }, Mat { ptr: two.as_ptr(), row: 0, col: 0 });
    // SAFETY: the arrays hold the views.
    unsafe { gemm_f32(2, 2, 2, am, bm, c.as_mut_ptr(), 2, 1, false, 1) };
    assert_eq!(c, [14.0, 14.0, 6.0, 6.0]);
}

#[test]
fn large_reversed_and_shared_views() {
    // Past `SMALL`: A is walked backwards, every row of B is the same.
    let s = 60;
    let (a, b, mut c) = (fill(s * s, 1, |x| x), fill(s, 2, |x| x), vec![0.0; s * s]);
    let (am, bm) = (Mat { ptr: &a[s * s - 1], row: -(s as isize), col: -1 }, Mat { ptr: b.as_ptr(), row: 0, col: 1 });
    // SAFETY: the vectors hold the views; C is walked backwards too.
    unsafe { gemm_f64(s, s, s, am, bm, &mut c[s * s - 1], -(s as isize), -1, false, 2) };
    for (i, c) in c.chunks(s).enumerate() {
        let row: f64 = a[i * s..(i + 1) * s].iter().sum();
        assert!((0..s).all(|j| (c[j] - row * b[s - 1 - j]).abs() < 1e-12));
    }
}

#[test]
fn batches_agree_with_single_products() {
    for (batch, m, n, k) in
        [(0, 2, 2, 2), (1, 5, 6, 7), (300, 9, 10, 11), (3, 100, 90, 80), (50, 1, 20, 900), (4, 2, 2, 0)]
    {
        let (a, b) = (fill(batch * m * k, 1, |x| x), fill(k * n, 2, |x| x));
        let (mut c, mut want) = (vec![7.0; batch * m * n], vec![7.0; batch * m * n]);
        let (am, bm) =
            (Mat { ptr: a.as_ptr(), row: k as isize, col: 1 }, Mat { ptr: b.as_ptr(), row: n as isize, col: 1 });
        let steps = [(m * k) as isize, 0, (m * n) as isize];
        // SAFETY: the vectors hold the views.
        unsafe {
            batch_gemm(batch, steps, m, n, k, am, bm, c.as_mut_ptr(), n as isize, 1, false, 2);
            for i in 0..batch {
                let am = Mat { ptr: a[i * m * k..].as_ptr(), ..am };
                gemm_f64(m, n, k, am, bm, want[i * m * n..].as_mut_ptr(), n as isize, 1, false, 1);
            }
        }
        assert_eq!(c, want);
    }
}
