//! Single values that the conventions of MXNet and IEEE 754 fix.

use super::super::{Real, near};
use crate::cpu::isa::Baseline;

type B = Baseline;

/// `==`, but nan is itself and the zeros differ.
fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

#[test]
fn powers_follow_ieee() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let cases =
        [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, -3.0, 1e-40, 3e38, -3e38, 16_777_217.0, inf, -inf, nan];
    for x in cases {
        for y in cases {
            // The double power is right to 29 more bits, so one rounding leaves no room.
            let want = f64::from(x).powf(f64::from(y)) as f32;
            let got = Real::powf::<B>(x, y);
            assert!(same(got, want), "{x}^{y}: {got}, not {want}");
        }
    }
}

#[test]
fn angles_cover_the_plane() {
    let cases = [0.0, -0.0, 1.0, -1.0, 1e-45, -1e-45, 3e38, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    for y in cases {
        for x in cases {
            let want = f64::from(y).atan2(f64::from(x)) as f32;
            let got = Real::atan2::<B>(y, x);
            assert!(same(got, want), "atan2({y}, {x}): {got}, not {want}");
        }
    }
}

#[test]
fn remainders_take_the_divisors_sign() {
    let inf = f32::INFINITY;
    let cases =
        [(-7.0, 3.0, 2.0), (7.0, -3.0, -2.0), (5.5, -3.0, -0.5), (4.0, 0.0, 0.0), (5.0, inf, 5.0), (-5.0, inf, inf)];
    for (a, b, want) in cases {
        assert_eq!(Real::rem_floor::<B>(a, b), want, "{a} % {b}");
    }
    assert!(Real::rem_floor::<B>(inf, 3.0f32).is_nan());
}

#[test]
fn signs_zeros_and_nans() {
    let nan = f32::NAN;
    assert!(same(Real::sign(nan), 0.0) && same(Real::sign(-0.0f32), 0.0) && Real::sign(-3.0f32) == -1.0);
    assert!(Real::max(nan, 1.0).is_nan() && Real::max(1.0, nan).is_nan() && Real::min(nan, 1.0).is_nan());
    assert!(same(Real::max(0.0, -0.0f32), -0.0) && same(Real::min(-0.0, 0.0f32), 0.0));
    let halves: Vec<f32> = [0.5, 1.5, 2.5, -0.5, -1.5].iter().map(|&x| Real::rint_half_down::<B>(x)).collect();
    assert_eq!(halves, [0.0, 1.0, 2.0, -1.0, -2.0]);
    assert!(near(&[1.0f64, -5.0, f64::NAN]) && !near(&[1.0f64, 1e9]));
    assert_eq!(Real::exp::<B>(-100f32), 3.8e-44);
}

#[test]
fn gamma_and_its_kin() {
    let close = |got: f64, want: f64| assert!((got - want).abs() <= 4e-15 * want.abs(), "{got}, not {want}");
    assert!(Real::gamma::<B>(-1f32).is_nan() && Real::gamma::<B>(0f32) == f32::INFINITY);
    close(Real::gamma::<B>(5.5f64), 52.34277778455352);
    close(Real::lgamma::<B>(-2.5f64), -0.05624371649767405);
    close(Real::digamma::<B>(1f64), -0.5772156649015329);
    close(Real::digamma::<B>(-2.3f64), 3.3173231575618227);
    close(Real::polygamma::<B>(1, 1f64), 1.6449340668482264);
    close(Real::polygamma::<B>(1, -2.3f64), 14.725912160961292);
    close(Real::polygamma::<B>(2, 0.25f64), -129.32773993753693);
    close(Real::polygamma::<B>(3, -0.7f64), 768.1313523268526);
    assert!(Real::digamma::<B>(-3f64).is_nan() && Real::polygamma::<B>(2, 0f64).is_nan());
}

#[test]
fn erfinv_undoes_erf() {
    assert!(Real::erfinv::<B>(2f32).is_nan() && Real::erfinv::<B>(-1f32) == f32::NEG_INFINITY);
    for i in -560..=560 {
        let x = f64::from(i) / 100.0;
        let back = Real::erfinv::<B>(libm::erf(x));
        // An ulp of erf(x) is worth this much of x.
        let slack = 2e-16 * (x * x).exp() + 1e-15 * x.abs();
        assert!((back - x).abs() <= slack, "{x}: {back}");
    }
}

/// The float nearest to an odd multiple of a quarter turn, and others from both windows of the reduction.
#[test]
fn hardest_angles() {
    let hardest = 16_367_173.0 * 2f32.powi(72);
    for x in [hardest, -hardest, 2f32.powi(80), 2f32.powi(81), 2f32.powi(127), f32::MAX] {
        let (sin, cos) = (f64::from(x).sin() as f32, f64::from(x).cos() as f32);
        let near = |got: f32, want: f32| (got.to_bits() as i32 - want.to_bits() as i32).abs() <= 1;
        assert!(near(Real::sin::<B>(x), sin), "sin({x:e}): {:e}, not {sin:e}", Real::sin::<B>(x));
        assert!(near(Real::cos::<B>(x), cos), "cos({x:e}): {:e}, not {cos:e}", Real::cos::<B>(x));
    }
}
