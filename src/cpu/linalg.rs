//! Factorizations of one small square or wide matrix, row by row in float64. `None` where the matrix has none.

/// The lower factor of a symmetric positive definite matrix, from its lower triangle; zeros above.
pub fn cholesky(a: &mut [f64], n: usize) -> Option<()> {
    for i in 0..n {
        for j in 0..=i {
            let dot: f64 = (0..j).map(|k| a[i * n + k] * a[j * n + k]).sum();
            let rest = a[i * n + j] - dot;
            if i != j {
                a[i * n + j] = rest / a[j * n + j];
            } else if rest > 0.0 {
                a[i * n + i] = rest.sqrt();
            } else {
                return None;
            }
        }
        a[i * n + i + 1..(i + 1) * n].fill(0.0);
    }
    Some(())
}

/// Solves `op(T) x = b` in place for each of the `m` columns of `b`, where `T` is triangular and `op` may transpose.
pub fn solve_triangular(t: &[f64], n: usize, lower: bool, transpose: bool, b: &mut [f64], m: usize) {
    let at = |i: usize, j: usize| if transpose { t[j * n + i] } else { t[i * n + j] };
    for step in 0..n {
        // From the row that has one unknown to the one that has all.
        let (i, known) = if lower != transpose { (step, 0..step) } else { (n - 1 - step, n - step..n) };
        for k in known {
            let factor = at(i, k);
            for c in 0..m {
                b[i * m + c] -= factor * b[k * m + c];
            }
        }
        let pivot = at(i, i);
        b[i * m..(i + 1) * m].iter_mut().for_each(|v| *v /= pivot);
    }
}

/// The factors of a matrix with its rows exchanged, in place, and the order of rows with its sign.
pub fn lu(a: &mut [f64], n: usize) -> (Vec<usize>, f64) {
    let (mut order, mut sign): (Vec<usize>, f64) = ((0..n).collect(), 1.0);
    for k in 0..n {
        let best = (k..n).max_by(|&i, &j| a[i * n + k].abs().total_cmp(&a[j * n + k].abs())).unwrap_or(k);
        if best != k {
            (0..n).for_each(|c| a.swap(best * n + c, k * n + c));
            order.swap(best, k);
            sign = -sign;
        }
        if a[k * n + k] == 0.0 {
            continue;
        }
        for i in k + 1..n {
            let factor = a[i * n + k] / a[k * n + k];
            a[i * n + k] = factor;
            for c in k + 1..n {
                a[i * n + c] -= factor * a[k * n + c];
            }
        }
    }
    (order, sign)
}

/// The inverse of a matrix; `None` where it is singular.
pub fn inverse(a: &[f64], n: usize) -> Option<Vec<f64>> {
    let mut f = a.to_vec();
    let (order, _) = lu(&mut f, n);
    if (0..n).any(|i| f[i * n + i] == 0.0 || !f[i * n + i].is_finite()) {
        return None;
    }
    let mut out = vec![0.0; n * n];
    order.iter().enumerate().for_each(|(i, &from)| out[i * n + from] = 1.0);
    // The lower factor has ones on its diagonal.
    for i in 0..n {
        for k in 0..i {
            for c in 0..n {
                out[i * n + c] -= f[i * n + k] * out[k * n + c];
            }
        }
    }
    solve_triangular(&f, n, false, false, &mut out, n);
    Some(out)
}

/// Sign and logarithm of the absolute value of a determinant.
pub fn log_det(a: &[f64], n: usize) -> (f64, f64) {
    let mut f = a.to_vec();
    let (_, sign) = lu(&mut f, n);
    let diagonal = (0..n).map(|i| f[i * n + i]);
    let sign = diagonal.clone().fold(sign, |s, d| if d == 0.0 { s * 0.0 } else { s * d.signum() });
    (sign, diagonal.map(|d| d.abs().ln()).sum())
}

/// The determinant of a matrix.
pub fn det(a: &[f64], n: usize) -> f64 {
    let mut f = a.to_vec();
    let (_, sign) = lu(&mut f, n);
    (0..n).fold(sign, |product, i| product * f[i * n + i])
}

/// `A = L Q` of `m` rows of length `n >= m`: `L` lower triangular, rows of `Q` orthonormal. By reflections of the rows.
pub fn lq(a: &[f64], m: usize, n: usize) -> (Vec<f64>, Vec<f64>) {
    let mut r = a.to_vec();
    let mut reflectors: Vec<Vec<f64>> = Vec::with_capacity(m);
    let reflect = |row: &mut [f64], v: &[f64]| {
        let twice = 2.0 * row.iter().zip(v).map(|(a, b)| a * b).sum::<f64>();
        row.iter_mut().zip(v).for_each(|(a, b)| *a -= twice * b);
    };
    for i in 0..m {
        let mut v = r[i * n..(i + 1) * n].to_vec();
        v[..i].fill(0.0);
        let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        v[i] += norm.copysign(v[i]);
        let length = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        if length > 0.0 {
            v.iter_mut().for_each(|x| *x /= length);
        }
        (i..m).for_each(|k| reflect(&mut r[k * n..(k + 1) * n], &v));
        reflectors.push(v);
    }
    let mut q = vec![0.0; m * n];
    for i in 0..m {
        q[i * n + i] = 1.0;
        reflectors.iter().rev().for_each(|v| reflect(&mut q[i * n..(i + 1) * n], v));
    }
    let l = (0..m * m).map(|k| if k % m <= k / m { r[k / m * n + k % m] } else { 0.0 }).collect();
    (q, l)
}

/// Eigenvectors, as rows, and eigenvalues in rising order of a symmetric matrix, from its lower triangle. By rotations,
/// which keep small eigenvalues exact.
pub fn eigen(a: &[f64], n: usize) -> (Vec<f64>, Vec<f64>) {
    let mut a: Vec<f64> = (0..n * n).map(|k| a[(k / n).max(k % n) * n + (k / n).min(k % n)]).collect();
    let mut u = vec![0.0; n * n];
    (0..n).for_each(|i| u[i * n + i] = 1.0);
    for _ in 0..60 {
        let off: f64 = (0..n * n).filter(|k| k / n != k % n).map(|k| a[k] * a[k]).sum();
        let whole: f64 = a.iter().map(|v| v * v).sum();
        // Also where something is nan.
        if !(off > whole * 1e-33) {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                if a[p * n + q] == 0.0 {
                    continue;
                }
                let theta = (a[q * n + q] - a[p * n + p]) / (2.0 * a[p * n + q]);
                let t = theta.signum() / (theta.abs() + theta.hypot(1.0));
                let c = 1.0 / t.hypot(1.0);
                let s = t * c;
                for k in 0..n {
                    let (x, y) = (a[k * n + p], a[k * n + q]);
                    (a[k * n + p], a[k * n + q]) = (c * x - s * y, s * x + c * y);
                }
                for k in 0..n {
                    let (x, y) = (a[p * n + k], a[q * n + k]);
                    (a[p * n + k], a[q * n + k]) = (c * x - s * y, s * x + c * y);
                    let (x, y) = (u[p * n + k], u[q * n + k]);
                    (u[p * n + k], u[q * n + k]) = (c * x - s * y, s * x + c * y);
                }
            }
        }
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| a[i * n + i].total_cmp(&a[j * n + j]));
    let rows = order.iter().flat_map(|&i| u[i * n..(i + 1) * n].iter().copied()).collect();
    (rows, order.iter().map(|&i| a[i * n + i]).collect())
}
