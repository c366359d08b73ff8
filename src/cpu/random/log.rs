//! The logarithm of float32 as glibc computes it, so that normal draws are MXNet's to the last bit.
//!
//! The recipe is that of Arm's optimized routines (`logf`), which glibc has used since 2.27: `x = 2^k z` with `z` close to
//! a point `c` of a table, and `ln x = k ln 2 + ln c + ln(1 + r)` with `r = z / c - 1`, all in float64. Where the CPU has
//! fused multiply-add glibc uses it in the same places. Figures are those of the tables published there.

use crate::base::Level;

/// `1 / c` and `ln c` of sixteen points.
const POINTS: [(f64, f64); 16] = [
    (f64::from_bits(0x3ff661ec79f8f3be), f64::from_bits(0xbfd57bf7808caade)),
    (f64::from_bits(0x3ff571ed4aaf883d), f64::from_bits(0xbfd2bef0a7c06ddb)),
    (f64::from_bits(0x3ff49539f0f010b0), f64::from_bits(0xbfd01eae7f513a67)),
    (f64::from_bits(0x3ff3c995b0b80385), f64::from_bits(0xbfcb31d8a68224e9)),
    (f64::from_bits(0x3ff30d190c8864a5), f64::from_bits(0xbfc6574f0ac07758)),
    (f64::from_bits(0x3ff25e227b0b8ea0), f64::from_bits(0xbfc1aa2bc79c8100)),
    (f64::from_bits(0x3ff1bb4a4a1a343f), f64::from_bits(0xbfba4e76ce8c0e5e)),
    (f64::from_bits(0x3ff12358f08ae5ba), f64::from_bits(0xbfb1973c5a611ccc)),
    (f64::from_bits(0x3ff0953f419900a7), f64::from_bits(0xbfa252f438e10c1e)),
    (1.0, 0.0),
    (f64::from_bits(0x3fee608cfd9a47ac), f64::from_bits(0x3faaa5aa5df25984)),
    (f64::from_bits(0x3feca4b31f026aa0), f64::from_bits(0x3fbc5e53aa362eb4)),
    (f64::from_bits(0x3feb2036576afce6), f64::from_bits(0x3fc526e57720db08)),
    (f64::from_bits(0x3fe9c2d163a1aa2d), f64::from_bits(0x3fcbc2860d224770)),
    (f64::from_bits(0x3fe886e6037841ed), f64::from_bits(0x3fd1058bc8a07ee1)),
    (f64::from_bits(0x3fe767dcf5534862), f64::from_bits(0x3fd4043057b6ee09)),
];
/// Of `ln(1 + r)` from the square of `r` on, highest power first.
const POLYNOMIAL: [f64; 3] =
    [f64::from_bits(0xbfd00ea348b88334), f64::from_bits(0x3fd5575b0be00b6a), f64::from_bits(0xbfdffffef20a4123)];
/// Just below the point where the table begins, as the bits of a float32.
const BEGIN: u32 = 0x3f33_0000;

/// `ln x` of a positive, normal number.
#[inline(always)]
#[cfg_attr(
    not(target_arch = "x86_64"),
    expect(dead_code, reason = "fused multiply-add is asked for at run time there")
)]
fn log(x: f32) -> f32 {
    let from = x.to_bits().wrapping_sub(BEGIN);
    let (inverse, start) = POINTS[(from >> 19 & 15) as usize];
    let k = f64::from(from as i32 >> 23);
    let z = f64::from(f32::from_bits(x.to_bits().wrapping_sub(from & 0xff80_0000)));
    let r = z.mul_add(inverse, -1.0);
    let square = r * r;
    let [a, b, c] = POLYNOMIAL;
    let tail = a.mul_add(square, b.mul_add(r, c));
    tail.mul_add(square, k.mul_add(std::f64::consts::LN_2, start) + r) as f32
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,bmi2")]
fn avx2(out: &mut [f32], x: &[f32]) {
    out.iter_mut().zip(x).for_each(|(o, &x)| *o = log(x));
}

/// [`log`] of eight numbers: both halves of the table lie in registers, and the same operations are done in each lane.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi2")]
fn avx512(out: &mut [f32], x: &[f32]) {
    use std::arch::x86_64::*;
    static COLUMNS: [[f64; 16]; 2] = {
        let mut columns = [[0.0; 16]; 2];
        let mut i = 0;
        while i < 16 {
            (columns[0][i], columns[1][i]) = POINTS[i];
            i += 1;
        }
        columns
    };
    let (outs, out_rest) = out.as_chunks_mut::<8>();
    let (xs, x_rest) = x.as_chunks::<8>();
    // SAFETY: the columns have sixteen numbers, the chunks eight each.
    unsafe {
        let [inverses, starts] = [0, 1].map(|c| {
            let column = COLUMNS[c].as_ptr();
            (_mm512_loadu_pd(column), _mm512_loadu_pd(column.add(8)))
        });
        let (begin, high) = (_mm256_set1_epi32(BEGIN as i32), _mm256_set1_epi32(0xff80_0000u32 as i32));
        let [a, b, c] = POLYNOMIAL.map(|p| _mm512_set1_pd(p));
        let (ln_2, minus_one) = (_mm512_set1_pd(std::f64::consts::LN_2), _mm512_set1_pd(-1.0));
        for (out, x) in outs.iter_mut().zip(xs) {
            let bits = _mm256_loadu_si256(x.as_ptr().cast());
            let from = _mm256_sub_epi32(bits, begin);
            // The low four bits say which point.
            let point = _mm512_cvtepi32_epi64(_mm256_srli_epi32::<19>(from));
            let inverse = _mm512_permutex2var_pd(inverses.0, point, inverses.1);
            let start = _mm512_permutex2var_pd(starts.0, point, starts.1);
            let k = _mm512_cvtepi32_pd(_mm256_srai_epi32::<23>(from));
            let z = _mm512_cvtps_pd(_mm256_castsi256_ps(_mm256_sub_epi32(bits, _mm256_and_si256(from, high))));
            let r = _mm512_fmadd_pd(z, inverse, minus_one);
            let square = _mm512_mul_pd(r, r);
            let tail = _mm512_fmadd_pd(a, square, _mm512_fmadd_pd(b, r, c));
            let y = _mm512_fmadd_pd(tail, square, _mm512_add_pd(_mm512_fmadd_pd(k, ln_2, start), r));
            _mm256_storeu_ps(out.as_mut_ptr(), _mm512_cvtpd_ps(y));
        }
    }
    out_rest.iter_mut().zip(x_rest).for_each(|(o, &x)| *o = log(x));
}

/// The logarithms of positive, normal numbers.
pub fn logs(out: &mut [f32], x: &[f32]) {
    match Level::get() {
        // SAFETY: the level says that the CPU has the instruction set.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { avx512(out, x) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { avx2(out, x) },
        _ => out.iter_mut().zip(x).for_each(|(o, x)| *o = x.ln()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On glibc the library's own function says what is right. `OXGRAD_ALL=1` tries every number up to one.
    #[test]
    #[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
    fn as_glibc() {
        let step = if std::env::var_os("OXGRAD_ALL").is_some() { 1 } else { 997 };
        let (mut x, mut out) = (vec![0f32; 1 << 12], vec![0f32; 1 << 12]);
        let mut bits = f32::MIN_POSITIVE.to_bits();
        while bits <= 1f32.to_bits() {
            let next = |i: usize| f32::from_bits((bits + i as u32 * step).min(1f32.to_bits()));
            x.iter_mut().enumerate().for_each(|(i, x)| *x = next(i));
            logs(&mut out, &x);
            for (x, y) in x.iter().zip(&out) {
                assert_eq!(y.to_bits(), x.ln().to_bits(), "ln {x:?} ({:#x})", x.to_bits());
            }
            bits += step << 12;
        }
    }
}
