//! Powers of e of whole vectors against float64.

use super::{Plain, Powers};
use crate::base::Level;
use crate::cpu::isa::{Baseline, Isa};
use crate::cpu::math::Real;

/// # Safety
/// The CPU has what `V` needs.
#[inline(always)]
unsafe fn powers<I: Isa, V: Powers>(x: &[V::A], y: &mut [V::A]) {
    for (x, y) in x.chunks_exact(V::LANES).zip(y.chunks_exact_mut(V::LANES)) {
        // SAFETY: both chunks are a vector long.
        unsafe { V::get(x.as_ptr()).exp_down::<I>().put(y.as_mut_ptr()) };
    }
}

mod x86 {
    use super::powers;
    use crate::cpu::isa::{Avx2, Avx512};
    use crate::cpu::lanes::Powers;

    /// # Safety
    /// The CPU has AVX2 and FMA.
    #[target_feature(enable = "avx2,fma,bmi2")]
    pub unsafe fn avx2<V: Powers>(x: &[V::A], y: &mut [V::A]) {
        // SAFETY: as the caller says.
        unsafe { powers::<Avx2, V>(x, y) }
    }
    /// # Safety
    /// The CPU has AVX-512 F, BW, DQ and VL.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi2")]
    pub unsafe fn avx512<V: Powers>(x: &[V::A], y: &mut [V::A]) {
        // SAFETY: as the caller says.
        unsafe { powers::<Avx512, V>(x, y) }
    }
}

type Run<T> = unsafe fn(&[T], &mut [T]);

/// The vectors of this machine, by name.
fn vectors<T: Real, P: Powers<A = T>>(more: &[(Level, &'static str, Run<T>)]) -> Vec<(&'static str, Run<T>)> {
    let there = more.iter().filter(|(level, ..)| *level <= Level::get()).map(|&(_, name, run)| (name, run));
    let plain: Run<T> = powers::<Baseline, P>;
    std::iter::once(("plain", plain)).chain(there).collect()
}

#[test]
fn powers_of_float32_are_within_a_unit_of_the_last_place() {
    use super::x86::{S8, S16};
    let x: Vec<f32> = (0..0x42D0_0000u32).step_by(1009).map(|bits| -f32::from_bits(bits)).collect();
    let x = &x[..x.len() / 16 * 16];
    let mut y = vec![0.0f32; x.len()];
    for (name, run) in vectors::<f32, Plain<f32, 8>>(&[
        (Level::Avx2, "S8", x86::avx2::<S8>),
        (Level::Avx512, "S16", x86::avx512::<S16>),
    ]) {
        // SAFETY: only vectors that this machine has are asked for.
        unsafe { run(x, &mut y) };
        // Where products and sums are rounded apart, a little more.
        let most = if name == "plain" { 1.2 } else { 1.0 };
        for (&x, &y) in x.iter().zip(&y) {
            let exact = f64::from(x).exp() / f32::DOWN;
            let ulp = f64::from((exact as f32).next_up()) - f64::from(exact as f32);
            assert!((f64::from(y) - exact).abs() <= most * ulp, "{name}: 2^64 e^{x:e} is {exact:e}, got {y:e}");
        }
        let corners = [f32::NEG_INFINITY, -1e30, -104.0, -0.0, 0.0, 1e-7, f32::NAN, f32::MIN, -1.0, -2.0, -3.0, -4.0];
        let mut x = [-1.0; 16];
        x[..corners.len()].copy_from_slice(&corners);
        let mut y = [0.0; 16];
        // SAFETY: as above.
        unsafe { run(&x, &mut y) };
        let scaled = y.map(|y| y * f32::DOWN as f32);
        assert_eq!(scaled[..5], [0.0, 0.0, 0.0, 1.0, 1.0], "{name}");
        assert!((scaled[5] - 1.0).abs() < 3e-7 && scaled[6].is_nan() && scaled[7] == 0.0, "{name}: {scaled:?}");
    }
}

#[test]
fn powers_of_float64_are_within_a_unit_of_the_last_place() {
    use super::x86::{D4, D8};
    let x: Vec<f64> = (0..7000 * 16).map(|i| -f64::from(i) / 160.1).collect();
    let mut y = vec![0.0f64; x.len()];
    for (name, run) in
        vectors::<f64, Plain<f64, 4>>(&[(Level::Avx2, "D4", x86::avx2::<D4>), (Level::Avx512, "D8", x86::avx512::<D8>)])
    {
        // SAFETY: only vectors that this machine has are asked for.
        unsafe { run(&x, &mut y) };
        for (&x, &y) in x.iter().zip(&y) {
            let exact = x.exp() / f64::DOWN;
            assert!(
                (y - exact).abs() <= 1.01 * (exact.next_up() - exact),
                "{name}: 2^512 e^{x:e} is {exact:e}, got {y:e}"
            );
        }
    }
}
