//! The first few elements of a row in sorted order, found in one pass that keeps the best so far.

use crate::cpu::isa::at_level;
use crate::cpu::network::Word;
use crate::cpu::order::Key;
use crate::cpu::pool;

/// The most that are looked for in this way.
pub const FEW: usize = 32;
/// Elements that are asked at once whether one of them is better than the last of the best.
const BLOCK: usize = 64;

/// The shortest row in which `k` are looked for in this way: both the changes and what each costs grow with `k`.
pub fn few_from(k: usize) -> usize {
    3 * k * k + 64
}

/// The best so far: keys in order, of equal ones the earlier first, and where they are.
struct Best<W> {
    keys: [W; FEW],
    places: [u32; FEW],
    len: usize,
}

impl<W: Word> Best<W> {
    fn new() -> Self {
        Best { keys: [W::MAX; FEW], places: [0; FEW], len: 0 }
    }
    /// Puts a key behind those that are not larger. Of `k` keys the last one falls out, which must be larger.
    #[inline(always)]
    fn insert(&mut self, k: usize, key: W, place: u32) {
        let mut i = if self.len < k { self.len } else { k - 1 };
        self.len = i + 1;
        while i > 0 && self.keys[i - 1] > key {
            (self.keys[i], self.places[i]) = (self.keys[i - 1], self.places[i - 1]);
            i -= 1;
        }
        (self.keys[i], self.places[i]) = (key, place);
    }
}

at_level! {
    /// The `k` best of a row whose first element has the number `first`; none where they change so often, as in a row
    /// that gets better and better, that sorting costs less.
    fn best[T: Key][T](row: &[T], k: usize, descending: bool, first: usize) -> Option<Best<T::Bits>> {
        let mut best = Best::new();
        let start = k.min(row.len());
        for (i, v) in row[..start].iter().enumerate() {
            best.insert(k, v.bits(descending), (first + i) as u32);
        }
        let mut last = best.keys[start - 1];
        let mut budget = (row.len() / 16 + 8 * k) as isize;
        let mut keys = [T::Bits::MAX; BLOCK];
        for (b, block) in row[start..].chunks(BLOCK).enumerate() {
            let mut least = T::Bits::MAX;
            for (key, v) in keys.iter_mut().zip(block) {
                *key = v.bits(descending);
                least = least.min(*key);
            }
            if least >= last {
                continue;
            }
            for (i, &key) in keys[..block.len()].iter().enumerate() {
                if key < last {
                    best.insert(k, key, (first + start + b * BLOCK + i) as u32);
                    last = best.keys[k - 1];
                    budget -= 1;
                }
            }
            if budget < 0 {
                return None;
            }
        }
        Some(best)
    }
}

/// The positions of the first elements of a row in sorted order, as many as there is room for; false where another way
/// takes less time. A row that is alone is shared by the threads.
pub fn find_few<T: Key>(row: &[T], descending: bool, alone: bool, out: &mut [i64]) -> bool {
    let k = out.len();
    let pieces = if alone { (row.len() / pool::GRAIN).clamp(1, 4 * pool::threads()) } else { 1 };
    let found = if pieces == 1 || pool::threads() == 1 {
        best(row, k, descending, 0)
    } else {
        let size = row.len().div_ceil(pieces);
        let mut parts: Vec<Option<Best<T::Bits>>> = (0..pieces).map(|_| None).collect();
        pool::each(parts.iter_mut().zip(row.chunks(size)).enumerate().collect(), |(i, (part, row))| {
            *part = best(row, k, descending, i * size);
        });
        parts.into_iter().reduce(|a, b| Some(join(k, a?, b?))).flatten()
    };
    let Some(found) = found else { return false };
    out.iter_mut().zip(found.places).for_each(|(o, place)| *o = place as i64);
    true
}

/// The best of two pieces of a row, of which `a` is the earlier one.
fn join<W: Word>(k: usize, mut a: Best<W>, b: Best<W>) -> Best<W> {
    for (&key, &place) in b.keys[..b.len].iter().zip(&b.places) {
        if a.len < k || key < a.keys[k - 1] {
            a.insert(k, key, place);
        }
    }
    a
}
