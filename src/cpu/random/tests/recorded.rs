//! Checksums of runs of eight calls, of 1 to 70,000 numbers, for three seeds.

use super::*;

/// Without the large call: for laws that work through `tan`, where another glibc may round one draw in a million
/// differently, and for shuffle.
const SMALL: &[usize] = SIZES.split_at(7).0;
const SEEDS: [i32; 3] = [0, 42, -1];

/// Sum of all bits, each value weighted by its place.
fn checksum(bits: impl IntoIterator<Item = u64>) -> u64 {
    (0u64..).zip(bits).fold(0, |sum, (i, bits)| sum.wrapping_add(bits.wrapping_mul(2 * i + 1)))
}

/// Draws `sizes` numbers in turn for each seed and compares the checksums.
#[track_caller]
fn recorded(sizes: &[usize], want: [u64; 3], draw: impl Fn(&mut Mt19937) -> u64 + Sync) {
    let got = SEEDS.map(|seed| {
        let mut streams = Streams::new(seed);
        checksum(sizes.iter().flat_map(|&n| {
            let mut out = vec![0; n];
            streams.fill(&mut out, |_, e| draw(e));
            out
        }))
    });
    assert_eq!(got, want, "got {got:#018x?}");
}

fn bits32(x: f32) -> u64 {
    u64::from(x.to_bits())
}

#[test]
fn uniform() {
    let want = [0x87e12f4e9c7ef81f, 0x874f5ac8c942897b, 0x87b6208a1233b816];
    recorded(&SIZES, want, |e| bits32(uniform_f32(e, -2.0, 3.0)));
    let want = [0x25a4b7d1d1d83000, 0x517653b394170f02, 0x9a638f0cd44087de];
    recorded(&SIZES, want, |e| uniform_f64(e, -0.1f32, 0.3).to_bits());
    // Elements of `f64` parameter arrays keep their precision.
    let want = [0.13713784660667305, 0.23770629770263932, 0.243178247995932];
    assert_eq!(draw(0, 3, |e| uniform_f64(e, -0.1f64, 0.3)), want);
}

#[test]
#[cfg_attr(not(target_env = "gnu"), ignore = "needs glibc's logarithm")]
fn normal_and_exponential() {
    let (loc, scale) = (0.1f32, 0.7f32);
    let want = [0x8d1577687dc1bcd6, 0x8d6c990ef0543077, 0x8d71697cbee8dd50];
    recorded(&SIZES, want, |e| bits32(normal_f32(e, loc, scale)));
    let want = [0xcf9b13119a8823e8, 0x318d889e83a395db, 0x1ae802d0b3d77f2a];
    recorded(&SIZES, want, |e| normal_f64(e, loc.into(), scale.into()).to_bits());
    let lam = (1.0 / 0.7) as f32;
    let want = [0x4a56873926e689a1, 0x4a5648c3a96e58a7, 0x4a5618b10a9bc8ca];
    recorded(&SIZES, want, |e| bits32(exponential_f32(e, lam)));
    let want = [0x1bcb5af1190b2079, 0xd7b9b5d361b75090, 0x22dc29aac0029072];
    recorded(&SIZES, want, |e| exponential_f64(e, lam.into()).to_bits());
}

#[test]
#[cfg_attr(not(target_env = "gnu"), ignore = "needs glibc's logarithm and power")]
fn gamma() {
    let beta = 0.7f32;
    let want = [0x4b577bb07516c571, 0x4b59f545177f2b4f, 0x4b57c32aa86b7260];
    recorded(&SIZES, want, |e| bits32(gamma_f32(e, 2.3, beta)));
    let want = [0x47da5c1611e912a9, 0x47db3c0bbbd423d8, 0x47dad0992a4fab08];
    recorded(&SIZES, want, |e| bits32(gamma_f32(e, 0.3, beta)));
    let want = [0xc921e228755dd99b, 0x2f355981b3a46e8b, 0xcf55a117b49bd0ca];
    recorded(&SIZES, want, |e| gamma_f64(e, 2.3f32.into(), beta.into()).to_bits());
    let want = [0xbd7f440cf282c17d, 0xf3fa34ee2049900d, 0xb3922a2af3e99fb1];
    recorded(&SIZES, want, |e| gamma_f64(e, 0.3f32.into(), beta.into()).to_bits());
}

#[test]
#[cfg_attr(not(target_env = "gnu"), ignore = "needs glibc's exponential, logarithm and tangent")]
fn counts() {
    recorded(SMALL, [0x000660ac43400000, 0x00065eeb64700000, 0x00066826e8400000], |e| bits32(poisson(e, 4.0)));
    recorded(SMALL, [0x0006abd218180000, 0x0006ab7149980000, 0x0006abd1ac840000], |e| bits32(poisson(e, 30.0)));
    recorded(SMALL, [0x00070196479c5000, 0x0007018cb661f000, 0x00070193ae1f4000], |e| bits32(poisson(e, 3000.0)));
    let want = [0x00060fa79c700000, 0x0006226c21c00000, 0x00060d1e5a900000];
    recorded(SMALL, want, |e| bits32(negative_binomial(e, 3.0, 0.4)));
    let want = [0x00051f133a200000, 0x0005438ec8900000, 0x0005155dce000000];
    recorded(SMALL, want, |e| bits32(generalized_negative_binomial(e, 2.0, 0.3)));
}

/// Draws whose acceptance hangs on the last bit of the ratio, found among 25 million.
#[test]
#[cfg_attr(not(target_env = "gnu"), ignore = "needs glibc's exponential, logarithm and tangent")]
fn rare_roundings() {
    for (seed, draw, want) in [(2024 * 127 + 271, 1111, 23.0), (11 * 127 + 840, 9659, 25.0)] {
        let mut e = Mt19937::new(seed);
        for _ in 0..draw {
            poisson(&mut e, 30.0);
        }
        assert_eq!(poisson(&mut e, 30.0), want);
    }
}

#[test]
fn randint_and_dropout() {
    let want = [0xffffffe5d3ea367f, 0xffffffe5f632ff7b, 0xffffffe5cc3f01d9];
    recorded(&SIZES, want, |e| randint(e, -50, 7) as u64);
    let want = [0x002101623a8872b4, 0xfff0e292c11fea8e, 0x00992487c4e2c7a4];
    recorded(&SIZES, want, |e| randint(e, i32::MIN.into(), i32::MAX.into()) as u64);
    let keep = 1.0 - 0.3f32;
    let want = [0x347c974e13800000, 0x34775e607c800000, 0x34aa7c55fd800000];
    recorded(&SIZES, want, |e| bits32(dropout_keep_f32(e, keep).into()));
    let want = [0x0670000000000000, 0xa5a0000000000000, 0xf960000000000000];
    recorded(&SIZES, want, |e| f64::from(u8::from(dropout_keep_f64(e, keep))).to_bits());
}

#[test]
fn orders() {
    type Shuffle = fn(&mut Mt19937, usize) -> Vec<usize>;
    let cases: [(Shuffle, bool, [u64; 3]); 4] = [
        (shuffle_1d, false, [0x30489f92, 0x305ab8ea, 0x2ff566ee]),
        (shuffle_rows, false, [0x2fd3e376, 0x30026568, 0x30453bc6]),
        (shuffle_1d, true, [0x30489f92, 0x2fd7746e, 0x2fb10b48]),
        (shuffle_rows, true, [0x2fd3e376, 0x30b2d3b2, 0x3036da8e]),
    ];
    for (shuffle, with_ctx, want) in cases {
        let got = SEEDS.map(|seed| {
            let mut streams = Streams::new(seed);
            if with_ctx {
                streams.seed_ctx(seed);
            }
            checksum(SMALL.iter().flat_map(|&n| shuffle(streams.single(), n)).map(|i| i as u64))
        });
        assert_eq!(got, want, "got {got:#x?}");
    }
}

#[test]
fn classes() {
    // Rows that sum to less than one, so that some results are one past the last class.
    let data: Vec<f32> = (0..120).map(|i| (1 + (i / 40 * 37 + i % 40 * 11) % 64) as f32 / 2048.0).collect();
    let check = |want: [u64; 3], round: fn(f64) -> f32| {
        let got = SEEDS.map(|seed| {
            let drawn = multinomial(Streams::new(seed).single(), &data, 40, 500, round);
            assert_eq!((drawn.len(), drawn.iter().max()), (1500, Some(&40)));
            checksum(drawn.into_iter().map(|class| class as u64))
        });
        assert_eq!(got, want, "got {got:#x?}");
    };
    check([0x39e2bc7, 0x3b82ec8, 0x3a5211c], |x| x as f32);
    // As an `f16`: eleven bits, from 2⁻¹⁴ down fewer.
    check([0x39e0db2, 0x3b8146e, 0x3a4f475], |x| {
        let unit = 2f64.powi((x.log2().floor() as i32).max(-14) - 10);
        ((x / unit).round_ties_even() * unit) as f32
    });
}
