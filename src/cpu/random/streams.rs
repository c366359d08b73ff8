//! The two generator resources of the process, and how a call divides its draws.

use super::Mt19937;

/// Engines among which the draws of one call are divided.
const ENGINES: usize = 1024;
/// Draws below which a call does not use one more engine.
const PER_ENGINE: usize = 64;
/// What MXNet multiplies the user's seed by. Seed `s + 1` is therefore seed `s` shifted by 127 engines.
const SEED_STEP: u32 = 127;

/// MXNet's CPU generators: 1,024 engines for element by element laws, and a single one for multinomial and shuffle.
pub struct Streams {
    base: u32,
    /// The engines used so far. Calls always use the first ones, so this grows at its end, and a new seed clears it.
    engines: Vec<Mt19937>,
    single: Mt19937,
}

/// A part of a call: an engine, the index of the first element that it draws, and those elements.
pub type Job<'a, T> = (&'a mut Mt19937, usize, &'a mut [T]);

impl Streams {
    /// The streams after `mx.random.seed(seed)`.
    pub fn new(seed: i32) -> Self {
        let base = base(seed);
        Streams { base, engines: Vec::new(), single: Mt19937::new(base) }
    }

    /// `mx.random.seed(seed)`. Takes constant time: engines are seeded when they are used.
    pub fn seed(&mut self, seed: i32) {
        self.base = base(seed);
        self.engines.clear();
        self.single = Mt19937::new(self.base);
    }

    /// `mx.random.seed(seed, ctx=…)`: the single engine then takes the seed itself, not its multiple.
    pub fn seed_ctx(&mut self, seed: i32) {
        self.seed(seed);
        self.single = Mt19937::new(seed as u32);
    }

    /// The single engine: multinomial and shuffle draw from it.
    pub fn single(&mut self) -> &mut Mt19937 {
        &mut self.single
    }

    /// Divides `out` among the engines. The jobs are independent: run them in any order, on any thread.
    /// A job must draw its elements in order.
    pub fn jobs<'a, T>(&'a mut self, out: &'a mut [T]) -> Vec<Job<'a, T>> {
        self.parts(out).collect()
    }

    /// Fills `out` with `draw(element, engine)`, one job after another.
    pub fn fill<T, F>(&mut self, out: &mut [T], draw: F)
    where
        F: Fn(usize, &mut Mt19937) -> T + Sync,
    {
        for (engine, first, part) in self.parts(out) {
            for (i, slot) in part.iter_mut().enumerate() {
                *slot = draw(first + i, engine);
            }
        }
    }

    /// Fills `out` with a law for whole slices, such as [`fill_uniform_f32`](super::fill_uniform_f32).
    pub fn fill_slices<T>(&mut self, out: &mut [T], draw: impl Fn(&mut Mt19937, &mut [T])) {
        for (engine, _, part) in self.parts(out) {
            draw(engine, part);
        }
    }

    fn parts<'a, T>(&'a mut self, out: &'a mut [T]) -> impl Iterator<Item = Job<'a, T>> {
        let step = step(out.len());
        let used = out.len().div_ceil(step);
        if self.engines.len() < used {
            // Room for all at once: an untouched page costs nothing, and moving engines does.
            self.engines.reserve_exact(ENGINES - self.engines.len());
        }
        for k in self.engines.len()..used {
            self.engines.push(Mt19937::new(self.base.wrapping_add(k as u32)));
        }
        self.engines.iter_mut().zip(out.chunks_mut(step)).enumerate().map(move |(k, (e, part))| (e, k * step, part))
    }
}

/// How many draws of a call of `n` each engine takes.
pub(super) fn step(n: usize) -> usize {
    let engines = n.div_ceil(PER_ENGINE).clamp(1, ENGINES);
    n.div_ceil(engines).max(1)
}

fn base(seed: i32) -> u32 {
    (seed as u32).wrapping_mul(SEED_STEP)
}
