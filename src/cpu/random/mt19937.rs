//! One 32-bit Mersenne Twister: the engine under every stream.

/// Words in the state, and so in one block of outputs.
pub(super) const BLOCK: usize = 624;
/// Distance to the word that a new word is mixed with.
const SHIFT: usize = 397;

/// A 32-bit Mersenne Twister, seeded with one integer.
///
/// `new` only notes the seed. The state is filled when the first word is asked for: a thousand engines cost nothing
/// until they are used, and the thread that uses an engine also pays for seeding it.
#[derive(Clone, Debug)]
pub struct Mt19937 {
    state: [u32; BLOCK],
    /// The next word of `state` to hand out; `BLOCK` when all are spent.
    next: usize,
    /// `state` holds a block; until then only `state[0]` counts, and it is the seed.
    seeded: bool,
}

impl Mt19937 {
    pub fn new(seed: u32) -> Self {
        let mut state = [0; BLOCK];
        state[0] = seed;
        Mt19937 { state, next: BLOCK, seeded: false }
    }

    /// The next output.
    #[inline]
    pub fn next_u32(&mut self) -> u32 {
        if self.next >= BLOCK {
            self.refill();
        }
        let word = self.state[self.next];
        self.next += 1;
        temper(word)
    }

    /// A `f32` in [0, 1], **1 included**: words from `u32::MAX - 127` on round up to it, as in MXNet.
    #[inline]
    pub fn unit_f32(&mut self) -> f32 {
        unit_f32(self.next_u32())
    }

    /// A `f64` in [0, 1] from two words, the low one first.
    #[inline]
    pub fn unit_f64(&mut self) -> f64 {
        let low = f64::from(self.next_u32());
        let high = f64::from(self.next_u32());
        (low + high * WORDS) / (WORDS * WORDS)
    }

    /// Fills `out` with a function of one output each. The loop is one that the compiler vectorises.
    #[inline(always)]
    pub(super) fn map_words<T>(&mut self, mut out: &mut [T], f: impl Fn(u32) -> T) {
        while !out.is_empty() {
            let words = self.take(out.len());
            let (head, tail) = out.split_at_mut(words.len());
            for (o, &word) in head.iter_mut().zip(words) {
                *o = f(temper(word));
            }
            out = tail;
        }
    }

    /// The rest of the block, at most `n` words and at least one (of `n`), not yet tempered.
    #[inline]
    pub(super) fn take(&mut self, n: usize) -> &[u32] {
        if self.next >= BLOCK {
            self.refill();
        }
        let start = self.next;
        self.next = start.saturating_add(n).min(BLOCK);
        &self.state[start..self.next]
    }

    /// The words of the block that are left, at least one, not yet tempered: to look at before some are taken.
    #[inline]
    pub(super) fn rest(&mut self) -> &[u32] {
        if self.next >= BLOCK {
            self.refill();
        }
        &self.state[self.next..]
    }

    #[cold]
    #[inline(never)]
    fn refill(&mut self) {
        if !self.seeded {
            expand(&mut self.state);
            self.seeded = true;
        }
        twist(&mut self.state);
        self.next = 0;
    }
}

/// 2³².
const WORDS: f64 = 4_294_967_296.0;

#[inline(always)]
pub(super) fn unit_f32(word: u32) -> f32 {
    word as f32 * (1.0 / WORDS) as f32
}

/// Makes an output of a word of the state.
#[inline(always)]
pub(super) fn temper(mut word: u32) -> u32 {
    word ^= word >> 11;
    word ^= (word << 7) & 0x9d2c_5680;
    word ^= (word << 15) & 0xefc6_0000;
    word ^ (word >> 18)
}

/// Spreads the seed in `state[0]` over the state.
fn expand(state: &mut [u32; BLOCK]) {
    let mut word = state[0];
    for (i, slot) in (1u32..).zip(&mut state[1..]) {
        word = (word ^ (word >> 30)).wrapping_mul(1_812_433_253).wrapping_add(i);
        *slot = word;
    }
}

super::bulk::widest! {
/// Replaces the state by the next block. Three ranges, so that no index needs a modulo and each loop vectorises.
fn twist(state: &mut [u32; BLOCK]) {
    for i in 0..BLOCK - SHIFT {
        state[i] = mix(state[i], state[i + 1], state[i + SHIFT]);
    }
    for i in BLOCK - SHIFT..BLOCK - 1 {
        state[i] = mix(state[i], state[i + 1], state[i + SHIFT - BLOCK]);
    }
    state[BLOCK - 1] = mix(state[BLOCK - 1], state[0], state[SHIFT - 1]);
}
}

#[inline(always)]
fn mix(high: u32, low: u32, far: u32) -> u32 {
    let joined = (high & 0x8000_0000) | (low & 0x7fff_ffff);
    // All ones for an odd word: a mask instead of a branch.
    far ^ (joined >> 1) ^ ((low & 1).wrapping_neg() & 0x9908_b0df)
}
