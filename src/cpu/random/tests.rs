//! The streams against values recorded from MXNet 1.9.1 with glibc 2.36, and against themselves.

use super::*;

mod golden;
mod recorded;

/// Calls of each recorded run, one after another on the same streams.
const SIZES: [usize; 8] = [1, 10, 63, 64, 65, 100, 1000, 70_000];

fn draw<T: Default + Clone>(seed: i32, n: usize, law: impl Fn(&mut Mt19937) -> T + Sync) -> Vec<T> {
    let mut out = vec![T::default(); n];
    Streams::new(seed).fill(&mut out, |_, e| law(e));
    out
}

fn unit(seed: i32, n: usize) -> Vec<f32> {
    draw(seed, n, Mt19937::unit_f32)
}

fn at<T: Copy>(all: &[T], places: &[usize]) -> Vec<T> {
    places.iter().map(|&i| all[i]).collect()
}

#[test]
fn seed_forms() {
    let mut streams = Streams::new(0);
    for (with_ctx, order) in [(true, [2, 5, 6, 3, 9, 0, 1, 7, 8, 4]), (false, [2, 5, 0, 4, 9, 1, 8, 7, 3, 6])] {
        streams.fill(&mut [0.0; 500], |_, e| e.unit_f32());
        if with_ctx {
            streams.seed_ctx(5)
        } else {
            streams.seed(5)
        }
        let mut out = [0.0; 3];
        streams.fill(&mut out, |_, e| e.unit_f32());
        assert_eq!(out, [0.8607373, 0.32262024, 0.76622844]);
        assert_eq!(shuffle_1d(streams.single(), 10), order);
    }
    // Seed s + 1 is seed s shifted by 127 engines.
    assert_eq!(unit(3, 128 * 64)[127 * 64..], unit(4, 64));
}

#[test]
fn uniform_can_be_one() {
    // Recorded place: the word there is 0xffffffce.
    let step = streams::step(40_000_000);
    let mut e = Mt19937::new((11_453_656 / step) as u32);
    for _ in 0..11_453_656 % step {
        e.next_u32();
    }
    assert_eq!(e.clone().next_u32(), 0xffff_ffce);
    assert_eq!(e.unit_f32(), 1.0);
}

#[test]
fn dropout_ties() {
    let e = Mt19937::new(5);
    let tie = e.clone().unit_f32();
    assert!(dropout_keep_f32(&mut e.clone(), tie) && !dropout_keep_axes_f32(&mut e.clone(), tie));
    let tie = e.clone().unit_f64() as f32;
    assert!(dropout_keep_f64(&mut e.clone(), tie) && !dropout_keep_axes_f64(&mut e.clone(), tie));
}

#[test]
fn multinomial_odd_input() {
    let mut e = Mt19937::new(0);
    let as_f32 = |x| x as f32;
    assert!(multinomial::<f32>(&mut e, &[], 0, 3, as_f32).is_empty());
    assert!(multinomial(&mut e, &[0.5f32, 0.5], 2, 0, as_f32).is_empty());
    // Recorded: a nan is where the search stops; weights that never reach the number give one past the last.
    assert_eq!(multinomial(Streams::new(12345).single(), &[0.1, f64::NAN, 0.1], 3, 2, as_f32), [1, 1]);
    assert_eq!(multinomial(Streams::new(12345).single(), &[0.1f32, 0.1, 0.1], 3, 2, as_f32), [3, 3]);
}

#[test]
fn slices_equal_single_draws() {
    for n in SIZES.into_iter().chain([7, 623, 624, 625, 1_000_003]) {
        // Odd starts, so that a pair of words straddles two blocks.
        for skip in [0, 1, 5] {
            let fresh = || {
                let mut streams = Streams::new(9);
                streams.fill(&mut vec![0; 64 * skip], |_, e| e.next_u32());
                streams.fill(&mut vec![0; skip], |_, e| e.next_u32());
                streams
            };
            let same = |law: fn(&mut Mt19937) -> f32, slice: fn(&mut Mt19937, &mut [f32])| {
                let (mut one, mut bulk) = (vec![0.0; n], vec![0.0; n]);
                let (mut a, mut b) = (fresh(), fresh());
                a.fill(&mut one, |_, e| law(e));
                b.fill_slices(&mut bulk, slice);
                assert!(one == bulk, "{n} numbers after {skip}");
                // Not a word more or less was used.
                let mut next = [[0; 70], [0; 70]];
                a.fill(&mut next[0], |_, e| e.next_u32());
                b.fill(&mut next[1], |_, e| e.next_u32());
                assert_eq!(next[0], next[1], "after {n} numbers after {skip}");
            };
            same(|e| uniform_f32(e, -1.0, 2.5), |e, out| fill_uniform_f32(e, -1.0, 2.5, out));
            same(|e| normal_f32(e, 0.5, 2.0), |e, out| fill_normal_f32(e, 0.5, 2.0, out));
            same(|e| dropout_keep_f32(e, 0.3).into(), |e, out| fill_dropout_f32(e, 0.3, 1.0, out));
        }
    }
}

#[test]
fn jobs_equal_serial() {
    for n in [0, 1, 64, 65, 1000, 70_000] {
        let mut serial = vec![0.0; n];
        let mut streams = Streams::new(11);
        streams.fill(&mut serial, |i, e| normal_f32(e, i as f32, 1.0));
        let mut parallel = vec![0.0; n];
        let mut others = Streams::new(11);
        std::thread::scope(|scope| {
            let mut jobs = others.jobs(&mut parallel);
            let half = jobs.split_off(jobs.len() / 2);
            // The later half first: order does not matter.
            for jobs in [half, jobs] {
                scope.spawn(move || {
                    for (e, first, part) in jobs {
                        for (i, slot) in part.iter_mut().enumerate() {
                            *slot = normal_f32(e, (first + i) as f32, 1.0);
                        }
                    }
                });
            }
        });
        assert_eq!(serial, parallel);
        assert_eq!(streams.single().next_u32(), others.single().next_u32());
    }
}

#[test]
fn division() {
    for (n, want) in [(0, 1), (1, 1), (64, 64), (65, 33), (100, 50), (1000, 63), (70_000, 69), (10_000_000, 9766)] {
        assert_eq!(streams::step(n), want, "{n}");
    }
}

#[test]
fn odd_parameters_end() {
    let mut e = Mt19937::new(1);
    for x in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, f32::MIN_POSITIVE, -0.5, -0.0, -3.0] {
        for y in [f32::NAN, f32::INFINITY, f32::MAX, -2.0, 0.0, 1.0] {
            gamma_f32(&mut e, x, y);
            gamma_f64(&mut e, x.into(), y.into());
            poisson(&mut e, x);
            negative_binomial(&mut e, x, y);
            generalized_negative_binomial(&mut e, x, y);
            normal_f32(&mut e, x, y);
            exponential_f32(&mut e, x);
        }
    }
    gamma_f64(&mut e, f64::MAX, 1.0);
    // Far beyond the means that `f32` can count, rounding decides; every mean must still end.
    for power in 4..128 {
        for _ in 0..100 {
            let count = poisson(&mut e, 1.37 * 2f32.powi(power - 1));
            assert!(count >= 0.0 || count.is_nan());
        }
    }
    assert_eq!(randint(&mut e, 3, 3), 3);
    assert_eq!(randint(&mut e, 3, 1), 3);
    randint(&mut e, i64::MIN, i64::MAX);
    assert!(shuffle_1d(&mut e, 0).is_empty() && shuffle_rows(&mut e, 1) == [0]);
}

#[test]
fn the_streams_of_the_process() {
    // Other tests may draw from them at the same time, so seed and draw under one lock.
    let drawn = with_streams(|streams| {
        streams.seed(42);
        let mut out = [0.0; 100];
        streams.fill(&mut out, |_, e| e.unit_f32());
        out
    });
    assert_eq!(drawn[..], unit(42, 100));
}
