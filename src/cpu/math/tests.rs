//! Every function against the f64 library, in units of the last place, on each instruction set of the machine.

mod values;

use super::Real;
use crate::base::level::Level;
use crate::cpu::isa::{Avx2, Avx512, Baseline, Isa};

/// A function under test: one generic body, as the executors use it.
trait Op<T> {
    fn call<I: Isa>(x: T) -> T;
}

#[inline(always)]
fn tile<T: Copy, O: Op<T>, I: Isa>(x: &[T], out: &mut [T]) {
    for (y, &x) in out.iter_mut().zip(x) {
        *y = O::call::<I>(x);
    }
}

/// # Safety
/// The machine has AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn tile_avx2<T: Copy, O: Op<T>>(x: &[T], out: &mut [T]) {
    tile::<T, O, Avx2>(x, out);
}

/// # Safety
/// The machine has AVX-512 F, BW, DQ and VL.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn tile_avx512<T: Copy, O: Op<T>>(x: &[T], out: &mut [T]) {
    tile::<T, O, Avx512>(x, out);
}

fn run<T: Copy, O: Op<T>>(level: Level, x: &[T], out: &mut [T]) {
    match level {
        // SAFETY: `levels` offers what the machine has.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { tile_avx2::<T, O>(x, out) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { tile_avx512::<T, O>(x, out) },
        _ => tile::<T, O, Baseline>(x, out),
    }
}

fn levels() -> Vec<Level> {
    let all = [Level::Baseline, Level::Avx2, Level::Avx512];
    all.into_iter().filter(|&l| l <= Level::get()).collect()
}

/// The distance in units of the last place of the exact `want`; beyond every bound if only one is nan or infinite.
fn ulps_32(got: f32, want: f64) -> f64 {
    let near = want as f32;
    if near.is_nan() || got.is_nan() {
        return if near.is_nan() && got.is_nan() { 0.0 } else { f64::MAX };
    }
    if near == got && (near != 0.0 || near.is_sign_negative() == got.is_sign_negative()) {
        return if near.is_infinite() { 0.0 } else { (f64::from(got) - want).abs() / unit_32(near) };
    }
    // One past the largest number is as far as one before it.
    let got =
        if got.is_infinite() { f64::from(f32::MAX.copysign(got)) * (1.0 + 2f64.powi(-24)) } else { f64::from(got) };
    let want = want.clamp(-2f64.powi(128), 2f64.powi(128));
    (got - want).abs() / unit_32(near)
}

fn unit_32(x: f32) -> f64 {
    let e = (x.to_bits() >> 23 & 0xFF).clamp(1, 254) as i32;
    2f64.powi(e - 150)
}

/// Two f64 answers apart, counted in numbers between them.
fn ulps_64(got: f64, want: f64) -> f64 {
    if got.is_nan() && want.is_nan() {
        return 0.0;
    }
    let order = |x: f64| {
        let b = x.to_bits() as i64;
        if b < 0 { i64::MIN.wrapping_sub(b) } else { b }
    };
    (i128::from(order(got)) - i128::from(order(want))).abs() as f64
}

/// A stride through all bit patterns that is odd, so that it visits every exponent and many mantissas; and the numbers
/// next to quarter turns, where a sloppy reduction of angles shows.
fn patterns_32() -> impl Iterator<Item = f32> {
    let quarters = (1..20_861).map(|n| (f64::from(n) * std::f64::consts::FRAC_PI_2) as f32);
    let step = if cfg!(debug_assertions) { 199_999 } else { 1_499 };
    (0..=u32::MAX).step_by(step).map(f32::from_bits).chain(SPECIAL.map(|x| x as f32)).chain(quarters)
}

const SPECIAL: [f64; 20] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    2.0,
    -2.0,
    1e-45,
    -1e-45,
    1e-38,
    -1e-38,
    3e38,
    -3e38,
    88.7,
    -100.0,
    0.75,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::NAN,
];

fn sweep_32<O: Op<f32>>(name: &str, truth: fn(f64) -> f64, bound: f64) {
    let x: Vec<f32> = patterns_32().collect();
    let want: Vec<f64> = x.iter().map(|&x| truth(f64::from(x))).collect();
    let mut out = vec![0.0; x.len()];
    for level in levels() {
        run::<f32, O>(level, &x, &mut out);
        let (mut worst, mut at) = (0.0, 0);
        for i in 0..x.len() {
            let u = ulps_32(out[i], want[i]);
            if u > worst {
                (worst, at) = (u, i);
            }
        }
        println!("f32 {name:10} {level:?}: {worst:.3} at {:e}", x[at]);
        assert!(worst <= bound, "{name} {level:?}: {worst} ulps at {:e}: {:e}, not {:e}", x[at], out[at], want[at]);
    }
}

/// `span` sets the exponents: the arguments are `±2^e (1 + m)` with `|e| <= span`.
fn sweep_64<O: Op<f64>>(name: &str, truth: fn(f64) -> f64, bound: f64, span: i32) {
    let count = if cfg!(debug_assertions) { 10_000 } else { 500_000 };
    let mut state = 1u64;
    let mut x: Vec<f64> = SPECIAL.to_vec();
    x.extend((0..count).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let m = f64::from_bits(0x3FF0_0000_0000_0000 | state >> 12);
        let e = (state >> 3) as i32 % (span + 1);
        if state & 0x400 == 0 { m * 2f64.powi(e) } else { -m * 2f64.powi(e) }
    }));
    let mut out = vec![0.0; x.len()];
    for level in levels() {
        run::<f64, O>(level, &x, &mut out);
        let (mut worst, mut at) = (0.0, 0);
        for i in 0..x.len() {
            let u = ulps_64(out[i], truth(x[i]));
            if u > worst {
                (worst, at) = (u, i);
            }
        }
        println!("f64 {name:10} {level:?}: {worst} at {:e}", x[at]);
        let want = truth(x[at]);
        assert!(worst <= bound, "{name} {level:?}: {worst} apart at {:e}: {:e}, not {:e}", x[at], out[at], want);
    }
}

const NEAR: f64 = <f64 as Real>::TRIG_NEAR;
const NEAR_32: f64 = <f32 as Real>::TRIG_NEAR as f64;

/// One test per line: name, type, function, truth, bound.
macro_rules! table {
    ($($test:ident, $t:ident, $sweep:ident($truth:expr, $bound:expr $(, $more:expr)*), |$x:ident| $call:expr;)*) => {
        $(#[test]
        fn $test() {
            struct Call;
            impl Op<$t> for Call {
                #[inline(always)]
                fn call<I: Isa>($x: $t) -> $t {
                    $call
                }
            }
            $sweep::<Call>(stringify!($test), $truth, $bound $(, $more)*);
        })*
    };
}

fn logistic(x: f64) -> f64 {
    if x < 0.0 { x.exp() / (1.0 + x.exp()) } else { 1.0 / (1.0 + (-x).exp()) }
}

fn softplus(x: f64) -> f64 {
    if x > 0.0 { x + (-x).exp().ln_1p() } else { x.exp().ln_1p() }
}

/// The library's own goes wrong below 1.
fn acosh_truth(x: f64) -> f64 {
    if x < 1.0 { f64::NAN } else { libm::acosh(x) }
}

table! {
    // What single precision computes in its own arithmetic.
    exp, f32, sweep_32(f64::exp, 1.0), |x| Real::exp::<I>(x);
    exp_down, f32, sweep_32(|x| if x < -104.0 || x > 0.0 { 0.0 } else { x.exp() / f32::DOWN }, 1.0),
        |x| if x < -104.0 || x > 0.0 { 0.0 } else { Real::exp_down::<I>(x) };
    exp2, f32, sweep_32(f64::exp2, 1.1), |x| Real::exp2::<I>(x);
    expm1, f32, sweep_32(f64::exp_m1, 1.4), |x| Real::expm1::<I>(x);
    log, f32, sweep_32(f64::ln, 0.9), |x| Real::log::<I>(x);
    log1p, f32, sweep_32(f64::ln_1p, 1.0), |x| Real::log1p::<I>(x);
    tanh, f32, sweep_32(f64::tanh, 1.4), |x| Real::tanh::<I>(x);
    sigmoid, f32, sweep_32(logistic, 1.6), |x| Real::sigmoid::<I>(x);
    softrelu, f32, sweep_32(softplus, 1.9), |x| Real::softrelu::<I>(x);
    erf, f32, sweep_32(libm::erf, 1.7), |x| Real::erf::<I>(x);
    atan, f32, sweep_32(f64::atan, 1.4), |x| Real::atan::<I>(x);
    tan_near, f32, sweep_32(|x| if x.abs() > NEAR_32 { 0.0 } else { x.tan() }, 1.5),
        |x| if x.abs() > NEAR_32 as f32 { 0.0 } else { Real::tan_near::<I>(x) };
    rsqrt, f32, sweep_32(|x| 1.0 / x.sqrt(), 1.5), |x| Real::rsqrt::<I>(x);
    rcbrt, f32, sweep_32(|x| 1.0 / x.cbrt(), 1.5), |x| Real::rcbrt::<I>(x);
    // What it computes in double.
    log2, f32, sweep_32(f64::log2, 0.51), |x| Real::log2::<I>(x);
    log10, f32, sweep_32(f64::log10, 0.51), |x| Real::log10::<I>(x);
    sinh, f32, sweep_32(f64::sinh, 0.51), |x| Real::sinh::<I>(x);
    cosh, f32, sweep_32(f64::cosh, 0.51), |x| Real::cosh::<I>(x);
    asinh, f32, sweep_32(libm::asinh, 0.51), |x| Real::asinh::<I>(x);
    acosh, f32, sweep_32(acosh_truth, 0.51), |x| Real::acosh::<I>(x);
    atanh, f32, sweep_32(libm::atanh, 0.51), |x| Real::atanh::<I>(x);
    sin, f32, sweep_32(f64::sin, 0.6), |x| Real::sin::<I>(x);
    cos, f32, sweep_32(f64::cos, 0.6), |x| Real::cos::<I>(x);
    tan, f32, sweep_32(f64::tan, 0.6), |x| Real::tan::<I>(x);
    sin_near, f32, sweep_32(|x| if x.abs() > NEAR_32 { 0.0 } else { x.sin() }, 1.0),
        |x| if x.abs() > NEAR_32 as f32 { 0.0 } else { Real::sin_near::<I>(x) };
    cos_near, f32, sweep_32(|x| if x.abs() > NEAR_32 { 0.0 } else { x.cos() }, 1.0),
        |x| if x.abs() > NEAR_32 as f32 { 0.0 } else { Real::cos_near::<I>(x) };
    asin, f32, sweep_32(f64::asin, 0.6), |x| Real::asin::<I>(x);
    acos, f32, sweep_32(f64::acos, 0.6), |x| Real::acos::<I>(x);
    atan2_up, f32, sweep_32(|x| f64::atan2(x, 2.5), 0.6), |x| Real::atan2::<I>(x, 2.5);
    atan2_left, f32, sweep_32(|x| f64::atan2(-0.125, x), 0.6), |x| Real::atan2::<I>(-0.125, x);
    cbrt, f32, sweep_32(f64::cbrt, 0.51), |x| Real::cbrt::<I>(x);
    pow_odd, f32, sweep_32(|x| x.powf(3.0), 0.6), |x| Real::powf::<I>(x, 3.0);
    pow_minus, f32, sweep_32(|x| x.powf(-2.0), 0.6), |x| Real::powf::<I>(x, -2.0);
    pow_part, f32, sweep_32(|x| x.powf(f64::from(0.3f32)), 0.6), |x| Real::powf::<I>(x, 0.3);
    pow_of, f32, sweep_32(|y| f64::from(1.7f32).powf(y), 0.6), |y| Real::powf::<I>(1.7, y);
    hypot, f32, sweep_32(|x| x.hypot(3.5), 0.51), |x| Real::hypot::<I>(x, 3.5);
    // Exact ones.
    floor, f32, sweep_32(f64::floor, 0.0), |x| Real::floor::<I>(x);
    ceil, f32, sweep_32(f64::ceil, 0.0), |x| Real::ceil::<I>(x);
    trunc, f32, sweep_32(f64::trunc, 0.0), |x| Real::trunc::<I>(x);
    round, f32, sweep_32(f64::round, 0.0), |x| Real::round::<I>(x);
    rint, f32, sweep_32(f64::round_ties_even, 0.0), |x| Real::rint::<I>(x);
    rint_half_down, f32, sweep_32(|x| (x - 0.5).ceil().copysign(x), 0.0), |x| Real::rint_half_down::<I>(x);

    // Double, against a library that is itself within an ulp.
    exp_64, f64, sweep_64(f64::exp, 1.0, 9), |x| Real::exp::<I>(x);
    // Below, the truth at hand is subnormal.
    exp_down_64, f64, sweep_64(|x| if x < -700.0 || x > 0.0 { 0.0 } else { x.exp() / f64::DOWN }, 1.0, 9),
        |x| if x < -700.0 || x > 0.0 { 0.0 } else { Real::exp_down::<I>(x) };
    exp2_64, f64, sweep_64(f64::exp2, 1.0, 10), |x| Real::exp2::<I>(x);
    expm1_64, f64, sweep_64(f64::exp_m1, 2.0, 9), |x| Real::expm1::<I>(x);
    log_64, f64, sweep_64(f64::ln, 1.0, 1022), |x| Real::log::<I>(x);
    log1p_64, f64, sweep_64(f64::ln_1p, 1.0, 60), |x| Real::log1p::<I>(x);
    tanh_64, f64, sweep_64(f64::tanh, 3.0, 6), |x| Real::tanh::<I>(x);
    sigmoid_64, f64, sweep_64(logistic, 3.0, 9), |x| Real::sigmoid::<I>(x);
    softrelu_64, f64, sweep_64(softplus, 3.0, 9), |x| Real::softrelu::<I>(x);
    sin_64, f64, sweep_64(f64::sin, 1.0, 300), |x| Real::sin::<I>(x);
    cos_64, f64, sweep_64(f64::cos, 1.0, 300), |x| Real::cos::<I>(x);
    sin_near_64, f64, sweep_64(|x| if x.abs() > NEAR { 0.0 } else { x.sin() }, 1.0, 19),
        |x| if x.abs() > NEAR { 0.0 } else { Real::sin_near::<I>(x) };
    cos_near_64, f64, sweep_64(|x| if x.abs() > NEAR { 0.0 } else { x.cos() }, 1.0, 19),
        |x| if x.abs() > NEAR { 0.0 } else { Real::cos_near::<I>(x) };
    floor_64, f64, sweep_64(f64::floor, 0.0, 60), |x| Real::floor::<I>(x);
    ceil_64, f64, sweep_64(f64::ceil, 0.0, 60), |x| Real::ceil::<I>(x);
    round_64, f64, sweep_64(f64::round, 0.0, 60), |x| Real::round::<I>(x);
}

/// The forms of their own that float32 has with AVX-512, whole vectors, rests and splats.
#[cfg(target_arch = "x86_64")]
#[test]
fn wide_forms() {
    use super::wide;
    use crate::ir::{In, Tile};
    if Level::get() < Level::Avx512 {
        return println!("no AVX-512: nothing of it to test");
    }
    let x: Vec<f32> = patterns_32().collect();
    let forms: [(&str, Tile, fn(f64) -> f64, f64); 4] = [
        ("exp", wide::exp, f64::exp, 1.0),
        ("log", wide::log, f64::ln, 0.9),
        ("sigmoid", wide::sigmoid, logistic, 1.6),
        ("tanh", wide::tanh, f64::tanh, 1.4),
    ];
    for (name, tile, truth, bound) in forms {
        let (mut worst, mut at, mut start) = (0.0, 0.0, 0);
        let mut out = [f32::NAN; 100];
        for len in (0..x.len()).map(|k| k % 97) {
            let part = &x[start..(start + len).min(x.len())];
            if start == x.len() {
                break;
            }
            // SAFETY: the input has that many elements, and the output more.
            unsafe {
                tile(&[In { ptr: part.as_ptr().cast(), splat: false }], out.as_mut_ptr().cast(), part.len(), &[])
            };
            for (&x, &got) in part.iter().zip(&out) {
                let u = ulps_32(got, truth(f64::from(x)));
                if u > worst {
                    (worst, at) = (u, x);
                }
            }
            assert!(out[part.len()..].iter().all(|v| v.is_nan()), "{name}: what is behind stays");
            if let Some(&first) = part.first() {
                let want = out[0];
                let mut same = [f32::NAN; 20];
                // SAFETY: one element stands for nineteen.
                unsafe {
                    tile(&[In { ptr: (&raw const first).cast(), splat: true }], same.as_mut_ptr().cast(), 19, &[])
                };
                assert!(same[..19].iter().all(|v| v.to_bits() == want.to_bits() || v.is_nan() && want.is_nan()));
                assert!(same[19].is_nan());
            }
            out.fill(f32::NAN);
            start += part.len();
        }
        println!("wide {name}: {worst:.3} at {at:e}");
        assert!(worst <= bound, "{name}: {worst} ulps at {at:e}");
    }
    let mut out = vec![0.0f32; x.len()];
    for y in [-2.0f32, 0.3, 1.7, 5.0, 61.3, -0.01] {
        let ins = [In { ptr: x.as_ptr().cast(), splat: false }, In { ptr: (&raw const y).cast(), splat: true }];
        // SAFETY: as above.
        unsafe { wide::pow(&ins, out.as_mut_ptr().cast(), x.len()) };
        for (&x, &got) in x.iter().zip(&out) {
            let u = ulps_32(got, f64::from(x).powf(f64::from(y)));
            assert!(u <= 0.6, "{x:e} to the power {y}: {u} ulps");
        }
    }
}
