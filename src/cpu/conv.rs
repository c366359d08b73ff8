//! Convolution as a matrix product with unfolded windows, and pooling. Space has three axes here; fewer are padded with ones
//! in front.

use crate::base::Element;
use crate::cpu::dot::Product;
use crate::cpu::gemm::Mat;
use crate::cpu::map::Shared;
use crate::cpu::pool;

pub type Space = [usize; 3];

/// How windows lie over space.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Windows {
    pub size: Space,
    pub out: Space,
    pub kernel: Space,
    pub stride: Space,
    pub dilate: Space,
    pub pad: Space,
}

fn product(s: Space) -> usize {
    s.iter().product()
}

impl Windows {
    pub fn points(&self) -> usize {
        product(self.size)
    }
    pub fn places(&self) -> usize {
        product(self.out)
    }
    pub fn taps(&self) -> usize {
        product(self.kernel)
    }
    /// Whether each window is one point and they come in order: nothing to unfold.
    fn plain(&self) -> bool {
        self.taps() == 1 && self.stride == [1; 3] && self.pad == [0; 3]
    }
    /// The coordinate that tap `k` of window `o` reads along an axis.
    fn at(&self, axis: usize, o: usize, k: usize) -> Option<usize> {
        let i = (o * self.stride[axis] + k * self.dilate[axis]).checked_sub(self.pad[axis])?;
        (i < self.size[axis]).then_some(i)
    }
    /// Calls `f(place, first, point, step, len)` for each run of places `from..to` where tap `k` reads points: `len` places
    /// from `place` on read from `point` on, by `step`; `f(place, None, …)` where they read padding.
    fn runs(&self, k: Space, from: usize, to: usize, mut f: impl FnMut(usize, Option<usize>, usize)) {
        let [_, oh, ow] = self.out;
        let (stride, shift) = (self.stride[2], k[2] * self.dilate[2]);
        // Columns whose tap lies inside.
        let first = self.pad[2].saturating_sub(shift).div_ceil(stride).min(ow);
        let last = match (self.size[2] + self.pad[2]).checked_sub(shift) {
            Some(room) if room > 0 => ((room - 1) / stride + 1).min(ow).max(first),
            _ => first,
        };
        let mut place = from;
        while place < to {
            let (row, col) = (place / ow, place % ow);
            let end = (ow - col).min(to - place) + col;
            let line = self.at(0, row / oh, k[0]).zip(self.at(1, row % oh, k[1]));
            let base = row * ow;
            match line {
                None => f(place, None, end - col),
                Some((d, h)) => {
                    let (a, b) = (first.clamp(col, end), last.clamp(col, end));
                    if a > col {
                        f(place, None, a - col);
                    }
                    if b > a {
                        let w = a * stride + shift - self.pad[2];
                        f(base + a, Some((d * self.size[1] + h) * self.size[2] + w), b - a);
                    }
                    if end > b.max(a) {
                        f(base + b.max(a), None, end - b.max(a));
                    }
                }
            }
            place = base + end;
        }
    }
    fn each_tap(&self, mut f: impl FnMut(usize, Space)) {
        let [_, kh, kw] = self.kernel;
        (0..self.taps()).for_each(|t| f(t, [t / (kh * kw), t / kw % kh, t % kw]));
    }

    /// Row `c * taps + t` of `cols` gets what tap `t` of channel `c` reads at places `from..to`.
    fn unfold<T: Element>(&self, x: &[T], channels: usize, from: usize, to: usize, cols: &mut [T]) {
        let (width, points, taps) = (to - from, self.points(), self.taps());
        for c in 0..channels {
            let x = &x[c * points..(c + 1) * points];
            self.each_tap(|t, k| {
                let row = &mut cols[(c * taps + t) * width..][..width];
                self.runs(k, from, to, |place, point, len| {
                    let to = &mut row[place - from..place - from + len];
                    match point {
                        None => to.fill(T::default()),
                        Some(p) if self.stride[2] == 1 => to.copy_from_slice(&x[p..p + len]),
                        Some(p) => to.iter_mut().zip(x[p..].iter().step_by(self.stride[2])).for_each(|(t, &v)| *t = v),
                    }
                });
            });
        }
    }

    /// The transpose of [`unfold`](Windows::unfold): adds rows of `cols` to the points they were read from.
    fn fold<T: Element + std::ops::Add<Output = T>>(
        &self,
        cols: &[T],
        channels: usize,
        from: usize,
        to: usize,
        x: &mut [T],
    ) {
        let (width, points, taps) = (to - from, self.points(), self.taps());
        for c in 0..channels {
            let x = &mut x[c * points..(c + 1) * points];
            self.each_tap(|t, k| {
                let row = &cols[(c * taps + t) * width..][..width];
                self.runs(k, from, to, |place, point, len| {
                    if let Some(p) = point {
                        let row = &row[place - from..place - from + len];
                        row.iter().zip(x[p..].iter_mut().step_by(self.stride[2])).for_each(|(&v, x)| *x = *x + v);
                    }
                });
            });
        }
    }
}

/// The sizes of a convolution: samples, groups, and channels in and out of each group.
#[derive(Clone, Copy, Debug)]
pub struct Conv {
    pub n: usize,
    pub groups: usize,
    pub c: usize,
    pub f: usize,
    pub windows: Windows,
}

/// Element types of convolutions.
pub trait Real: Product + std::ops::Add<Output = Self> {}
impl Real for f32 {}
impl Real for f64 {}

/// Bytes of unfolded windows that are made at a time: they stay in the second-level cache.
const COLS: usize = 512 << 10;

impl Conv {
    fn taps(&self) -> usize {
        self.c * self.windows.taps()
    }
    /// How many places are unfolded at a time.
    fn block<T>(&self) -> usize {
        (COLS / (size_of::<T>() * self.taps().max(1))).max(64).min(self.windows.places().max(1))
    }
    fn check<T>(&self, x: &[T], w: &[T], y: &[T]) {
        let Conv { n, groups, c, f, windows } = *self;
        let whole = x.len() == n * groups * c * windows.points()
            && w.len() == groups * f * self.taps()
            && y.len() == n * groups * f * windows.places();
        assert!(whole, "conv: the sizes describe the operands");
    }
    /// Runs `f(image, threads)` for each group of each sample: side by side where there are enough.
    fn images(&self, f: impl Fn(usize, usize) + Sync) {
        let images = self.n * self.groups;
        let work = self.f * self.taps() * self.windows.places();
        if images >= pool::threads() && images > 1 {
            pool::split(images, (32usize << 10).div_ceil(work.max(1)), |from, to| (from..to).for_each(|i| f(i, 1)));
        } else if work < 64 << 10 || pool::threads() == 1 {
            (0..images).for_each(|i| f(i, 1));
        } else {
            (0..images).for_each(|i| f(i, pool::threads()));
        }
    }

    /// `y = x ⋆ w`.
    pub fn forward<T: Real>(&self, x: &[T], w: &[T], y: &mut [T]) {
        self.check(x, w, y);
        let (win, taps, places, points) = (self.windows, self.taps(), self.windows.places(), self.windows.points());
        if y.is_empty() {
            return;
        }
        if taps == 0 {
            return y.fill(T::default());
        }
        let shared = Shared(y.as_mut_ptr());
        self.images(|i, threads| {
            let x = &x[i * self.c * points..][..self.c * points];
            let w = &w[i % self.groups * self.f * taps..][..self.f * taps];
            let y = shared.get().wrapping_add(i * self.f * places);
            let block = if win.plain() { places } else { self.block::<T>() };
            let mut cols = vec![T::default(); if win.plain() { 0 } else { taps * block }];
            for from in (0..places).step_by(block) {
                let to = (from + block).min(places);
                let b = if win.plain() {
                    Mat { ptr: x.as_ptr(), row: points as isize, col: 1 }
                } else {
                    win.unfold(x, self.c, from, to, &mut cols);
                    Mat { ptr: cols.as_ptr(), row: (to - from) as isize, col: 1 }
                };
                let a = Mat { ptr: w.as_ptr(), row: taps as isize, col: 1 };
                // SAFETY: `a` is the group's weights, `b` the unfolded block, and image `i` writes its own part of `y`.
                unsafe {
                    T::gemm(self.f, to - from, taps, a, b, y.wrapping_add(from), places as isize, false, threads)
                };
            }
        });
    }

    /// The gradient with respect to `x` of a gradient `y`; a convolution transposed.
    pub fn backward_data<T: Real>(&self, y: &[T], w: &[T], x: &mut [T]) {
        self.check(x, w, y);
        let (win, taps, places, points) = (self.windows, self.taps(), self.windows.places(), self.windows.points());
        x.fill(T::default());
        if self.f == 0 || x.is_empty() || places == 0 {
            return;
        }
        let shared = Shared(x.as_mut_ptr());
        self.images(|i, threads| {
            let y = &y[i * self.f * places..][..self.f * places];
            let w = &w[i % self.groups * self.f * taps..][..self.f * taps];
            // SAFETY: image `i` has this part of `x` to itself.
            let x = unsafe {
                std::slice::from_raw_parts_mut(shared.get().wrapping_add(i * self.c * points), self.c * points)
            };
            let block = self.block::<T>();
            let mut cols = vec![T::default(); taps * block];
            for from in (0..places).step_by(block) {
                let width = block.min(places - from);
                let a = Mat { ptr: w.as_ptr(), row: 1, col: taps as isize };
                let b = Mat { ptr: y[from..].as_ptr(), row: places as isize, col: 1 };
                // SAFETY: `a` is the group's weights turned, `b` a block of columns of `y`, and `cols` has room.
                unsafe { T::gemm(taps, width, self.f, a, b, cols.as_mut_ptr(), width as isize, false, threads) };
                win.fold(&cols, self.c, from, from + width, x);
            }
        });
    }

    /// The gradient with respect to `w` of a gradient `y`.
    pub fn backward_weight<T: Real>(&self, x: &[T], y: &[T], w: &mut [T]) {
        self.check(x, w, y);
        let (win, taps, places, points) = (self.windows, self.taps(), self.windows.places(), self.windows.points());
        w.fill(T::default());
        if w.is_empty() || places == 0 {
            return;
        }
        let block = self.block::<T>();
        let threads = if self.f * taps * block < 64 << 10 { 1 } else { pool::threads() };
        let mut cols = vec![T::default(); taps * block];
        let mut run = |threads: usize| {
            for i in 0..self.n * self.groups {
                let x = &x[i * self.c * points..][..self.c * points];
                let y = &y[i * self.f * places..][..self.f * places];
                let w = &mut w[i % self.groups * self.f * taps..][..self.f * taps];
                for from in (0..places).step_by(block) {
                    let width = block.min(places - from);
                    win.unfold(x, self.c, from, from + width, &mut cols);
                    let a = Mat { ptr: y[from..].as_ptr(), row: places as isize, col: 1 };
                    let b = Mat { ptr: cols.as_ptr(), row: 1, col: width as isize };
                    // SAFETY: `a` is a block of columns of `y`, `b` the unfolded block turned, and `w` the group's weights.
                    unsafe { T::gemm(self.f, taps, width, a, b, w.as_mut_ptr(), taps as isize, true, threads) };
                }
            }
        };
        run(threads);
    }
}

// ---- pooling --------------------------------------------------------------------------------------------------------

impl Windows {
    /// The points that a window covers along an axis.
    fn span(&self, axis: usize, o: usize) -> std::ops::Range<usize> {
        let start = o * self.stride[axis];
        let from = start.saturating_sub(self.pad[axis]).min(self.size[axis]);
        let to = (start + self.kernel[axis]).saturating_sub(self.pad[axis]).min(self.size[axis]);
        from..to.max(from)
    }
    /// For each place, the number of points of its window, counted inside the array or inside the padded array.
    pub fn counts(&self, padded: bool) -> Vec<usize> {
        let along = |axis: usize, o: usize| {
            if !padded {
                return self.span(axis, o).len();
            }
            let start = o * self.stride[axis];
            (start + self.kernel[axis]).min(self.size[axis] + 2 * self.pad[axis]).saturating_sub(start)
        };
        let [od, oh, ow] = self.out;
        let mut out = Vec::with_capacity(od * oh * ow);
        for d in 0..od {
            for h in 0..oh {
                out.extend((0..ow).map(|w| along(0, d) * along(1, h) * along(2, w)));
            }
        }
        out
    }
    /// Runs `f(plane, out)` for each plane of `out`, in parallel.
    fn planes<T: Send>(&self, out: &mut [T], size: usize, f: impl Fn(usize, &mut [T]) + Sync) {
        let planes = out.len().checked_div(size).unwrap_or(0);
        let shared = Shared(out.as_mut_ptr());
        let work = self.places() * self.taps();
        pool::split(planes, pool::GRAIN.div_ceil(work.max(1)), |from, to| {
            for plane in from..to {
                // SAFETY: each plane is inside `out` and handed out once.
                f(plane, unsafe { std::slice::from_raw_parts_mut(shared.get().wrapping_add(plane * size), size) });
            }
        });
    }

    /// For each window its largest point (a nan counts as largest), the first of equals; -1 where it covers none.
    pub fn largest<T: Element>(&self, x: &[T], index: &mut [i64]) {
        let (points, places) = (self.points(), self.places());
        assert_eq!(x.len() * places, index.len() * points, "pooling: planes of one number");
        self.planes(index, places, |plane, index| {
            let x = &x[plane * points..][..points];
            let mut best = vec![T::default(); places];
            index.fill(-1);
            self.each_tap(|_, k| {
                self.runs(k, 0, places, |place, point, len| {
                    let Some(from) = point else { return };
                    let run = best[place..place + len].iter_mut().zip(&mut index[place..place + len]);
                    for ((best, index), p) in run.zip((from..).step_by(self.stride[2])) {
                        let v = x[p];
                        // A nan is not equal to itself.
                        #[allow(clippy::eq_op)]
                        if (v > *best) | (*index < 0) | ((v != v) & (*best == *best)) {
                            (*best, *index) = (v, p as i64);
                        }
                    }
                });
            });
        });
    }
    /// The points that `index` names, `none` for -1.
    pub fn gather<T: Element>(&self, x: &[T], index: &[i64], none: T, out: &mut [T]) {
        let (points, places) = (self.points(), self.places());
        assert!(x.len() * places == out.len() * points && index.len() == out.len(), "pooling: planes of one number");
        self.planes(out, places, |plane, out| {
            let (x, index) = (&x[plane * points..][..points], &index[plane * places..][..places]);
            out.iter_mut().zip(index).for_each(|(o, &i)| *o = x.get(i as usize).copied().unwrap_or(none));
        });
    }
    /// The transpose of [`gather`](Windows::gather): adds each value to the point that `index` names.
    pub fn scatter<T: Element + std::ops::Add<Output = T>>(&self, y: &[T], index: &[i64], out: &mut [T]) {
        let (points, places) = (self.points(), self.places());
        assert!(y.len() * points == out.len() * places && index.len() == y.len(), "pooling: planes of one number");
        self.planes(out, points, |plane, out| {
            out.fill(T::default());
            let (y, index) = (&y[plane * places..][..places], &index[plane * places..][..places]);
            for (&y, &i) in y.iter().zip(index) {
                if let Some(o) = out.get_mut(i as usize) {
                    *o = *o + y;
                }
            }
        });
    }
    /// The sum over each window.
    pub fn sum<T: Element + std::ops::Add<Output = T>>(&self, x: &[T], out: &mut [T]) {
        let (points, places) = (self.points(), self.places());
        assert_eq!(x.len() * places, out.len() * points, "pooling: planes of one number");
        self.planes(out, places, |plane, out| {
            let x = &x[plane * points..][..points];
            out.fill(T::default());
            self.each_tap(|_, k| {
                self.runs(k, 0, places, |place, point, len| {
                    if let Some(p) = point {
                        let run = out[place..place + len].iter_mut().zip(x[p..].iter().step_by(self.stride[2]));
                        run.for_each(|(o, &v)| *o = *o + v);
                    }
                });
            });
        });
    }
    fn fold_plane<T: Element + std::ops::Add<Output = T>>(&self, y: &[T], out: &mut [T]) {
        self.each_tap(|_, k| {
            self.runs(k, 0, y.len(), |place, point, len| {
                if let Some(p) = point {
                    let run = y[place..place + len].iter().zip(out[p..].iter_mut().step_by(self.stride[2]));
                    run.for_each(|(&v, o)| *o = *o + v);
                }
            });
        });
    }
    /// The transpose of [`sum`](Windows::sum): each value to every point of its window.
    pub fn spread<T: Element + std::ops::Add<Output = T>>(&self, y: &[T], out: &mut [T]) {
        let (points, places) = (self.points(), self.places());
        assert_eq!(y.len() * points, out.len() * places, "pooling: planes of one number");
        self.planes(out, points, |plane, out| {
            out.fill(T::default());
            self.fold_plane(&y[plane * places..][..places], out);
        });
    }
}
