//! The error function, the gamma function and their kin.

use super::exp::exp_mid;
use super::{Fused, poly};
use crate::cpu::isa::Isa;
use std::f64::consts::PI;

/// A polynomial up to 1; beyond, `1 - e^q(x)` with `q` near `log erfc`, so that what matters is absolute error only.
#[inline(always)]
pub(super) fn erf_32<I: Isa>(x: f32) -> f32 {
    let a = x.abs();
    let z = x * x;
    let p = poly::<_, I, _>(
        z,
        [0.128_379_17, -0.376_126_26, 0.112_836, -0.026_854_403, 0.005_189_445, -0.000_801_994_76, 7.885_847e-5],
    );
    let near = x.fma::<I>(p, x);

    // Beyond 4 the answer rounds to 1.
    let w = if a > 4.0 { 4.0 } else { a };
    let q = poly::<_, I, _>(
        w,
        [
            -0.000_332_695_78,
            -1.127_122_5,
            -0.638_093_6,
            -0.103_147_924,
            0.021_856_291,
            -0.002_951_871_4,
            0.000_186_776_41,
        ],
    );
    let far = (1.0 - exp_mid::<I>(q)).copysign(x);
    if a < 1.0 { near } else { far }
}

/// Newton's method of third order on whichever of erf and erfc keeps the bits of `1 - |y|`.
pub(super) fn erfinv(y: f64) -> f64 {
    let a = y.abs();
    if a >= 1.0 || a.is_nan() {
        return if a == 1.0 { f64::INFINITY.copysign(y) } else { f64::NAN };
    }
    let slope = PI.sqrt() / 2.0;
    if a < 1.0e-9 {
        return y * slope;
    }
    // A closed form within 0.5 % of the answer to start from.
    let l = ((1.0 - a) * (1.0 + a)).ln();
    let h = 2.0 / (PI * 0.147) + 0.5 * l;
    let mut x = ((h * h - l / 0.147).sqrt() - h).sqrt();
    for _ in 0..3 {
        let miss = if a < 0.5 { libm::erf(x) - a } else { (1.0 - a) - libm::erfc(x) };
        let step = miss * slope * (x * x).exp();
        x -= step / (1.0 + x * step);
    }
    x.copysign(y)
}

pub(super) fn gamma(x: f64) -> f64 {
    libm::tgamma(x)
}

pub(super) fn lgamma(x: f64) -> f64 {
    libm::lgamma_r(x).0
}

/// `B_2k` for the asymptotic series.
const BERNOULLI: [f64; 12] = [
    1.0 / 6.0,
    -1.0 / 30.0,
    1.0 / 42.0,
    -1.0 / 30.0,
    5.0 / 66.0,
    -691.0 / 2730.0,
    7.0 / 6.0,
    -3617.0 / 510.0,
    43867.0 / 798.0,
    -174611.0 / 330.0,
    854513.0 / 138.0,
    -236364091.0 / 2730.0,
];

/// The logarithmic derivative of gamma; nan at its poles.
pub(super) fn digamma(x: f64) -> f64 {
    if x <= 0.0 {
        let f = x - x.floor();
        if f == 0.0 || x == f64::NEG_INFINITY {
            return f64::NAN;
        }
        // Reflection, with the angle taken from the nearest integer so that it keeps its bits.
        let d = x - x.round();
        return digamma(1.0 - x) - PI / (PI * d).tan();
    }
    let (mut x, mut sum) = (x, 0.0);
    while x < 12.0 {
        sum += 1.0 / x;
        x += 1.0;
    }
    let z = 1.0 / (x * x);
    let mut series = 0.0;
    for (k, b) in BERNOULLI[..8].iter().enumerate().rev() {
        series = (series + b / (2 * k + 2) as f64) * z;
    }
    x.ln() - 0.5 / x - series - sum
}

/// The `n`-th derivative of digamma, `(-1)^(n+1) n! sum 1 / (x + k)^(n+1)`; nan at the poles, and meant for `n <= 170`.
pub(super) fn polygamma(n: u32, x: f64) -> f64 {
    if n == 0 {
        return digamma(x);
    }
    let s = n as i32 + 1;
    let sum = if x > 0.0 || x.is_nan() {
        zeta(s, x)
    } else {
        let m = -x.floor();
        let (f, g) = (x + m, -(x + (m - 1.0)));
        if f == 0.0 || m == f64::INFINITY {
            return f64::NAN;
        }
        // The terms right of zero, and those left of it mirrored.
        let mirrored = zeta(s, g) - zeta(s, 1.0 - x);
        zeta(s, f) + if s % 2 == 0 { mirrored } else { -mirrored }
    };
    let factorial: f64 = (1..=n).map(f64::from).product();
    if n % 2 == 1 { factorial * sum } else { -(factorial * sum) }
}

/// `sum 1 / (a + k)^s` over `k >= 0`, for `a > 0`: terms until `a` is large, then Euler and Maclaurin.
fn zeta(s: i32, a: f64) -> f64 {
    if a == f64::INFINITY {
        return 0.0;
    }
    let (mut a, mut sum) = (a, 0.0);
    let far = 12.0 + 0.5 * f64::from(s);
    while a < far {
        sum += a.powi(-s);
        a += 1.0;
    }
    let last = a.powi(-s);
    let s = f64::from(s);
    sum += last * a / (s - 1.0) + 0.5 * last;
    // The k-th term is B_2k / (2k)! * s (s+1) … (s+2k-2) / a^(s+2k-1).
    let mut factor = 0.5 * s * last / a;
    for (k, b) in BERNOULLI.iter().enumerate() {
        sum += b * factor;
        let k = 2.0 * k as f64 + 2.0;
        factor *= (s + k - 1.0) * (s + k) / ((k + 1.0) * (k + 2.0)) / (a * a);
    }
    sum
}
