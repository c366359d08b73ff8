//! Short rows sorted side by side, one in each lane, by a network of comparators: it takes the same steps whatever the
//! elements are, so nothing is predicted wrongly, and every step is one instruction for all lanes.

use crate::cpu::isa::at_level;
use crate::cpu::turn::turn;

/// Rows side by side: one register of AVX-512 for narrow words; wide ones, which take longer to compare, need two.
pub const LANES: usize = 16;

/// An unsigned integer that is sorted.
pub trait Word: Ord + Copy + Default + Send + Sync + Into<u64> + 'static {
    const MAX: Self;
    /// A key with a position behind it; each takes half of the word.
    fn numbered(key: u64, position: usize) -> Self;
    fn number(self) -> i64;
}

macro_rules! word {
    ($t:ty) => {
        impl Word for $t {
            const MAX: $t = <$t>::MAX;
            #[inline(always)]
            fn numbered(key: u64, position: usize) -> $t {
                (key as $t) << (<$t>::BITS / 2) | position as $t
            }
            #[inline(always)]
            fn number(self) -> i64 {
                (self & (<$t>::MAX >> (<$t>::BITS / 2))) as i64
            }
        }
    };
}
word!(u32);
word!(u64);

/// Sorts up to [`LANES`] rows of `n` words, in a place for all lanes; `space` is working memory, kept from call to call
/// with the same `n`.
pub fn sort_together<W: Word>(rows: &mut [W], n: usize, space: &mut Vec<W>) {
    assert!(rows.len() == n * LANES, "sort: a place for each lane");
    // What is behind the rows stays the largest in every step.
    space.resize(n.next_power_of_two().max(16) * LANES, W::MAX);
    let (row, lanes) = (n as isize, LANES as isize);
    // SAFETY: both hold `n` words of each lane.
    unsafe { turn(rows.as_ptr(), row, space.as_mut_ptr(), lanes, LANES, n) };
    sort_columns::<W>(space.as_chunks_mut().0, n);
    // SAFETY: as above.
    unsafe { turn(space.as_ptr(), lanes, rows.as_mut_ptr(), row, n, LANES) };
}

at_level! {
    /// Merges of runs of 16, which are sorted first. A merge compares the lower half with the upper one mirrored, so that
    /// all comparators put the smaller word first: that is why padding behind the rows does no harm.
    fn sort_columns[W: Word][W](rows: &mut [[W; LANES]], n: usize) {
        if n <= 8 {
            return blocks::<W, 8, true>(&mut rows[..8]);
        }
        let used = n.next_multiple_of(16);
        blocks::<W, 16, true>(&mut rows[..used]);
        let mut run = 16;
        while run < n {
            quarters::<W, true>(rows, n, run / 2);
            let mut distance = run / 4;
            while distance >= 16 {
                quarters::<W, false>(rows, n, distance / 2);
                distance /= 4;
            }
            match distance {
                8 => blocks::<W, 16, false>(&mut rows[..used]),
                _ => blocks::<W, 8, false>(&mut rows[..used]),
            }
            run *= 2;
        }
    }
}

/// Two steps of a merge in one pass, in blocks of four quarters of `len` rows: the first compares halves, the second the
/// quarters of each.
#[inline(always)]
fn quarters<W: Word, const MIRRORED: bool>(rows: &mut [[W; LANES]], n: usize, len: usize) {
    for (i, block) in rows.chunks_exact_mut(4 * len).enumerate() {
        // Without rows in the second quarter there is nothing left to do.
        let count = n.saturating_sub(4 * len * i + len).min(len);
        let (low, high) = block.split_at_mut(2 * len);
        let (a, b) = low.split_at_mut(len);
        let (c, d) = high.split_at_mut(len);
        for i in 0..count {
            let at = if MIRRORED { len - 1 - i } else { i };
            four::<W, MIRRORED>(&mut a[i], &mut b[i], &mut c[at], &mut d[at]);
        }
    }
}

/// The smaller of two words first.
macro_rules! compare {
    ($v:ident: $($i:expr, $j:expr);*) => {
        $(($v[$i], $v[$j]) = ($v[$i].min($v[$j]), $v[$i].max($v[$j]));)*
    };
}

// Loops over lanes hold whole networks, which the compiler turns into one register for each word of a lane.

#[inline(always)]
fn four<W: Word, const MIRRORED: bool>(a: &mut [W; LANES], b: &mut [W; LANES], c: &mut [W; LANES], d: &mut [W; LANES]) {
    for l in 0..LANES {
        let mut v = [a[l], b[l], c[l], d[l]];
        if MIRRORED {
            compare!(v: 0, 3; 1, 2; 0, 1; 2, 3);
        } else {
            compare!(v: 0, 2; 1, 3; 0, 1; 2, 3);
        }
        [a[l], b[l], c[l], d[l]] = v;
    }
}

/// Blocks of `N` rows (8 or 16) sorted, or the last steps of a merge: those inside such blocks.
#[allow(clippy::needless_range_loop)]
#[inline(always)]
fn blocks<W: Word, const N: usize, const SORT: bool>(rows: &mut [[W; LANES]]) {
    for block in rows.as_chunks_mut::<N>().0 {
        for l in 0..LANES {
            let mut v = [W::MAX; N];
            for i in 0..N {
                v[i] = block[i][l];
            }
            if SORT {
                sort_8(&mut v, 0);
                if N == 16 {
                    sort_8(&mut v, 8);
                    compare!(v: 0, 15; 1, 14; 2, 13; 3, 12; 4, 11; 5, 10; 6, 9; 7, 8);
                    merge_8(&mut v, 0);
                    merge_8(&mut v, 8);
                }
            } else {
                if N == 16 {
                    compare!(v: 0, 8; 1, 9; 2, 10; 3, 11; 4, 12; 5, 13; 6, 14; 7, 15);
                    merge_8(&mut v, 8);
                }
                merge_8(&mut v, 0);
            }
            for i in 0..N {
                block[i][l] = v[i];
            }
        }
    }
}

/// The shortest network for eight.
#[inline(always)]
fn sort_8<W: Word>(v: &mut [W], at: usize) {
    let v = &mut v[at..at + 8];
    compare!(v: 0, 2; 1, 3; 4, 6; 5, 7; 0, 4; 1, 5; 2, 6; 3, 7; 0, 1; 2, 3; 4, 5; 6, 7; 2, 4; 3, 5; 1, 4; 3, 6; 1, 2; 3, 4; 5, 6);
}

#[inline(always)]
fn merge_8<W: Word>(v: &mut [W], at: usize) {
    let v = &mut v[at..at + 8];
    compare!(v: 0, 4; 1, 5; 2, 6; 3, 7; 0, 2; 1, 3; 4, 6; 5, 7; 0, 1; 2, 3; 4, 5; 6, 7);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<W: Word + std::fmt::Debug>(word: impl Fn(u64) -> W) {
        let mut state = 1u64;
        let mut space = Vec::new();
        for n in (1..=140).chain([255, 256, 257, 600, 1024]) {
            // Few different ones in some rows, all in others.
            let mut rows: Vec<W> = (0..n * LANES)
                .map(|i| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let wide = state.rotate_right(20);
                    word(if i / n % 2 == 0 { wide } else { wide % 3 })
                })
                .collect();
            let mut want = rows.clone();
            want.chunks_exact_mut(n).for_each(|row| row.sort());
            space.clear();
            sort_together(&mut rows, n, &mut space);
            assert_eq!(rows, want, "rows of {n}");
        }
    }

    #[test]
    fn sorts_any_length() {
        check(|v| v as u32);
        check(|v| v);
    }

    /// A network that sorts all rows of zeros and ones sorts everything.
    #[test]
    fn sorts_zeros_and_ones() {
        for n in 1..=12 {
            let all: Vec<u32> = (0..1u32 << n).collect();
            for masks in all.chunks(LANES) {
                let mut rows = vec![0u32; n * LANES];
                for (row, mask) in rows.chunks_exact_mut(n).zip(masks) {
                    row.iter_mut().enumerate().for_each(|(i, v)| *v = mask >> i & 1);
                }
                sort_together(&mut rows, n, &mut Vec::new());
                assert!(rows.chunks_exact(n).all(|row| row.is_sorted()), "rows of {n}");
            }
        }
    }
}
