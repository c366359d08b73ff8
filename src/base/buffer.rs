//! Memory from a pool: fresh pages cost several times the arithmetic done on them, so freed blocks are kept and reused.
//!
//! Blocks of one size class are interchangeable. Small blocks live in a list per thread (no lock), large ones in a list
//! for the process, up to a byte cap. Data of up to [`INLINE`] bytes sits in the buffer's own allocation.

use crate::base::dtype::Element;
use crate::base::error::{Error, Result};
use std::alloc::{GlobalAlloc, Layout, System};
use std::any::Any;
use std::cell::{Cell, RefCell, UnsafeCell};
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};

/// Bytes kept inside the buffer object itself.
pub const INLINE: usize = 64;
const ALIGN: usize = 64;
const HUGE_PAGE: usize = 2 << 20;
/// Blocks up to this size go to the thread's own lists.
const LOCAL_MAX: usize = 64 << 10;
/// How many blocks of one class a thread keeps.
const LOCAL_KEEP: usize = 64;
const CLASSES: usize = 4 * 64;

// 16 is what the allocator gives anyway; more would take its slow path.
#[repr(align(16))]
struct Inline(UnsafeCell<MaybeUninit<[u8; INLINE]>>);

enum Owner {
    Inline,
    Pool(u16),
    /// Memory of somebody else (a NumPy array, a DLPack tensor), kept alive by the boxed value.
    Foreign(#[allow(dead_code)] Box<dyn Any + Send + Sync>),
}

/// A block of memory. Shared through `Arc`; only a sole owner may write.
pub struct Buffer {
    heap: *mut u8,
    bytes: usize,
    owner: Owner,
    inline: Inline,
}

// SAFETY: the memory is plain bytes owned by the buffer (or by the foreign owner, itself Send + Sync); writes happen
// only while one owner holds it, which the callers establish with `Arc::get_mut` or before sharing it.
unsafe impl Send for Buffer {}
// SAFETY: as above.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// Uninitialised memory for `bytes` bytes, aligned to 64.
    #[inline]
    pub fn new(bytes: usize) -> Result<Buffer> {
        let inline = Inline(UnsafeCell::new(MaybeUninit::uninit()));
        if bytes <= INLINE {
            return Ok(Buffer { heap: std::ptr::null_mut(), bytes, owner: Owner::Inline, inline });
        }
        let class = class_of(bytes).ok_or_else(|| Error::memory(bytes))?;
        let heap = take(class)?.as_ptr();
        Ok(Buffer { heap, bytes, owner: Owner::Pool(class as u16), inline })
    }

    /// A shared block of `bytes` bytes that `fill` has written. Built where it stays: small results are made so often
    /// that moving one costs more than computing it.
    #[inline(always)]
    pub fn build(bytes: usize, fill: impl FnOnce(&mut Buffer)) -> Result<Arc<Buffer>> {
        let (heap, owner) = if bytes <= INLINE {
            (std::ptr::null_mut(), Owner::Inline)
        } else {
            let class = class_of(bytes).ok_or_else(|| Error::memory(bytes))?;
            (take(class)?.as_ptr(), Owner::Pool(class as u16))
        };
        let place = Arc::new(MaybeUninit::<Buffer>::uninit());
        let buffer = Arc::as_ptr(&place).cast_mut().cast::<Buffer>();
        // SAFETY: the block is allocated and nobody else sees it; every field is written but the inline bytes, which may
        // stay uninitialised. It is shared only after `fill` has let go of it.
        unsafe {
            (&raw mut (*buffer).heap).write(heap);
            (&raw mut (*buffer).bytes).write(bytes);
            (&raw mut (*buffer).owner).write(owner);
            let shared = place.assume_init();
            fill(&mut *buffer);
            Ok(shared)
        }
    }

    /// Memory that `owner` keeps alive and valid for `bytes` bytes.
    ///
    /// # Safety
    /// `ptr` must be valid for reads and writes of `bytes` bytes as long as `owner` lives.
    pub unsafe fn foreign(ptr: *mut u8, bytes: usize, owner: Box<dyn Any + Send + Sync>) -> Buffer {
        Buffer {
            heap: ptr,
            bytes,
            owner: Owner::Foreign(owner),
            inline: Inline(UnsafeCell::new(MaybeUninit::uninit())),
        }
    }

    #[inline]
    pub fn ptr(&self) -> *mut u8 {
        match self.owner {
            Owner::Inline => self.inline.0.get() as *mut u8,
            _ => self.heap,
        }
    }
    /// Elements `offset..offset + len`. The bytes of a block that was never written are arbitrary, and every pattern is
    /// a valid element.
    #[inline]
    pub fn slice<T: Element>(&self, offset: usize, len: usize) -> &[T] {
        self.check::<T>(offset, len);
        // SAFETY: the range lies inside the block, which is aligned (foreign memory: checked), and all element
        // types are plain data.
        unsafe { std::slice::from_raw_parts(self.ptr().cast::<T>().add(offset), len) }
    }
    /// Elements `offset..offset + len`, to write.
    #[inline]
    pub fn slice_mut<T: Element>(&mut self, offset: usize, len: usize) -> &mut [T] {
        self.check::<T>(offset, len);
        // SAFETY: as in `slice`; the exclusive borrow makes it the only view.
        unsafe { std::slice::from_raw_parts_mut(self.ptr().cast::<T>().add(offset), len) }
    }
    #[inline]
    fn check<T>(&self, offset: usize, len: usize) {
        let end = offset.checked_add(len).and_then(|e| e.checked_mul(size_of::<T>()));
        assert!(end.is_some_and(|e| e <= self.bytes), "buffer: elements {offset}+{len} of {} bytes", self.bytes);
        assert!(self.ptr().cast::<T>().is_aligned(), "buffer: unaligned memory");
    }
    #[inline]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
    /// Whether the memory belongs to somebody else, who may see writes.
    pub fn is_foreign(&self) -> bool {
        matches!(self.owner, Owner::Foreign(_))
    }
}

impl Drop for Buffer {
    #[inline]
    fn drop(&mut self) {
        if let Owner::Pool(class) = self.owner
            && let Some(ptr) = NonNull::new(self.heap)
        {
            give(class as usize, ptr);
        }
    }
}

/// Size classes: four steps to each power of two, so at most a fifth of a block is unused.
fn class_of(bytes: usize) -> Option<usize> {
    let bytes = bytes.max(ALIGN);
    if bytes > isize::MAX as usize / 2 {
        return None;
    }
    let log = usize::BITS as usize - 1 - bytes.leading_zeros() as usize;
    let step = 1usize << (log - 2);
    let quarter = (bytes - (1 << log)).div_ceil(step);
    Some(log * 4 + quarter)
}

fn class_bytes(class: usize) -> usize {
    let (log, quarter) = (class / 4, class % 4);
    (1usize << log) + quarter * (1usize << (log - 2))
}

fn block_layout(class: usize) -> Option<Layout> {
    let bytes = class_bytes(class);
    Layout::from_size_align(bytes, if bytes >= 2 * HUGE_PAGE { HUGE_PAGE } else { ALIGN }).ok()
}

/// Counts of one thread, which alone writes them: counting together would make threads wait for a shared cache line. A
/// block may be freed by another thread than took it, so that only the sum over threads has a meaning.
#[derive(Default)]
struct Counts {
    taken: AtomicUsize,
    reused: AtomicUsize,
    live: AtomicUsize,
    kept: AtomicUsize,
}

#[inline]
fn bump(count: &AtomicUsize, by: usize) {
    count.store(count.load(Relaxed).wrapping_add(by), Relaxed);
}

/// Kept in the list that threads share.
static KEPT: AtomicUsize = AtomicUsize::new(0);

/// The blocks that a thread keeps, and its counts, which are handed on when it ends.
struct Local {
    lists: RefCell<Vec<Vec<NonNull<u8>>>>,
    counts: Cell<Option<&'static Counts>>,
}

impl Local {
    #[inline]
    fn pop(&self, class: usize, bytes: usize) -> Option<NonNull<u8>> {
        let counts = self.counts.get()?;
        let ptr = self.lists.borrow_mut().get_mut(class)?.pop()?;
        bump(&counts.taken, 1);
        bump(&counts.reused, 1);
        bump(&counts.live, bytes);
        bump(&counts.kept, bytes.wrapping_neg());
        Some(ptr)
    }
    /// Whether there was room.
    #[inline]
    fn push(&self, class: usize, bytes: usize, ptr: NonNull<u8>) -> bool {
        let mut lists = self.lists.borrow_mut();
        let (Some(counts), Some(list)) = (self.counts.get(), lists.get_mut(class)) else { return false };
        let room = list.len() < LOCAL_KEEP;
        if room {
            list.push(ptr);
            bump(&counts.live, bytes.wrapping_neg());
            bump(&counts.kept, bytes);
        }
        room
    }
    fn counts(&self) -> &'static Counts {
        self.counts.get().unwrap_or_else(|| {
            let mut shared = shared();
            let counts = shared.idle.pop().unwrap_or_else(|| {
                let new: &'static Counts = Box::leak(Box::default());
                shared.counts.push(new);
                new
            });
            drop(shared);
            self.counts.set(Some(counts));
            self.lists.borrow_mut().resize(CLASSES, Vec::new());
            counts
        })
    }
    fn empty(&self) {
        for (class, list) in self.lists.borrow_mut().iter_mut().enumerate() {
            for ptr in list.drain(..) {
                self.counts.get().iter().for_each(|c| bump(&c.kept, class_bytes(class).wrapping_neg()));
                free(class, ptr);
            }
        }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.empty();
        if let Some(counts) = self.counts.take() {
            shared().idle.push(counts);
        }
    }
}

thread_local! {
    static LOCAL: Local = const { Local { lists: RefCell::new(Vec::new()), counts: Cell::new(None) } };
}

/// Counts something in this thread. One that is ending has no counts of its own any more and borrows some.
#[cold]
fn count(f: impl Fn(&Counts)) {
    if LOCAL.try_with(|local| f(local.counts())).is_err() {
        let mut shared = shared();
        let counts = shared.idle.pop().unwrap_or_else(|| Box::leak(Box::default()));
        f(counts);
        if !shared.counts.iter().any(|c| std::ptr::eq(*c, counts)) {
            shared.counts.push(counts);
        }
        shared.idle.push(counts);
    }
}

/// What threads share: large blocks, and the counts of all of them.
struct Shared {
    lists: Vec<Vec<NonNull<u8>>>,
    counts: Vec<&'static Counts>,
    /// Of threads that have ended.
    idle: Vec<&'static Counts>,
}
// SAFETY: the blocks in the list are free; the mutex around it hands each to one thread.
unsafe impl Send for Shared {}

fn shared() -> std::sync::MutexGuard<'static, Shared> {
    static SHARED: OnceLock<Mutex<Shared>> = OnceLock::new();
    let pool = SHARED
        .get_or_init(|| Mutex::new(Shared { lists: vec![Vec::new(); CLASSES], counts: Vec::new(), idle: Vec::new() }));
    pool.lock().unwrap_or_else(|poison| poison.into_inner())
}

/// Asks the system for memory and gives it back: for those who are about to fill a vector, which would end the process
/// where there is not enough.
pub fn probe(bytes: usize) -> Result<()> {
    Buffer::new(bytes).map(drop)
}

/// Holds the list that threads share while the process forks.
pub fn hold() -> Box<dyn Any> {
    Box::new(shared())
}

#[inline]
fn take(class: usize) -> Result<NonNull<u8>> {
    let bytes = class_bytes(class);
    if bytes <= LOCAL_MAX
        && let Ok(Some(ptr)) = LOCAL.try_with(|local| local.pop(class, bytes))
    {
        return Ok(ptr);
    }
    take_other(class, bytes)
}

/// A block that this thread does not keep.
#[cold]
fn take_other(class: usize, bytes: usize) -> Result<NonNull<u8>> {
    let kept = if bytes > LOCAL_MAX { shared().lists[class].pop() } else { None };
    let reused = kept.is_some() as usize;
    let ptr = match kept {
        Some(ptr) => {
            KEPT.fetch_sub(bytes, Relaxed);
            ptr
        }
        None => fresh(class)?,
    };
    count(|counts| {
        bump(&counts.taken, 1);
        bump(&counts.reused, reused);
        bump(&counts.live, bytes);
    });
    Ok(ptr)
}

#[cold]
fn fresh(class: usize) -> Result<NonNull<u8>> {
    let layout = block_layout(class).ok_or_else(|| Error::memory(class_bytes(class)))?;
    // SAFETY: the layout has a non-zero size.
    let mut ptr = NonNull::new(unsafe { System.alloc(layout) });
    if ptr.is_none() {
        empty_cache();
        // SAFETY: as above.
        ptr = NonNull::new(unsafe { System.alloc(layout) });
    }
    let ptr = ptr.ok_or_else(|| Error::memory(layout.size()))?;
    #[cfg(target_os = "linux")]
    if layout.size() >= 2 * HUGE_PAGE {
        // SAFETY: the range was just allocated, aligned to huge pages; the call is advice and may fail harmlessly.
        unsafe { libc::madvise(ptr.as_ptr().cast(), layout.size() & !(HUGE_PAGE - 1), libc::MADV_HUGEPAGE) };
    }
    Ok(ptr)
}

#[inline]
fn give(class: usize, ptr: NonNull<u8>) {
    let bytes = class_bytes(class);
    if bytes > LOCAL_MAX || !matches!(LOCAL.try_with(|local| local.push(class, bytes, ptr)), Ok(true)) {
        give_other(class, bytes, ptr);
    }
}

/// Frees a block, or keeps a large one where others can take it.
#[cold]
fn give_other(class: usize, bytes: usize, ptr: NonNull<u8>) {
    count(|counts| bump(&counts.live, bytes.wrapping_neg()));
    if bytes > LOCAL_MAX && KEPT.load(Relaxed) + bytes <= cap() {
        KEPT.fetch_add(bytes, Relaxed);
        shared().lists[class].push(ptr);
    } else {
        free(class, ptr);
    }
}

fn free(class: usize, ptr: NonNull<u8>) {
    if let Some(layout) = block_layout(class) {
        // SAFETY: the block came from `alloc` with the layout of this class.
        unsafe { System.dealloc(ptr.as_ptr(), layout) };
    }
}

/// The most bytes kept for reuse: `OXGRAD_POOL_MB`, 1024 by default.
pub fn cap() -> usize {
    static CAP: OnceLock<usize> = OnceLock::new();
    *CAP.get_or_init(|| {
        let mb = std::env::var("OXGRAD_POOL_MB").ok().and_then(|v| v.parse().ok()).unwrap_or(1024usize);
        mb.saturating_mul(1 << 20)
    })
}

/// Gives the kept blocks back to the system: all large ones, and the calling thread's small ones.
pub fn empty_cache() {
    let blocks: Vec<_> = shared().lists.iter_mut().map(std::mem::take).collect();
    for (class, list) in blocks.into_iter().enumerate() {
        for ptr in list {
            KEPT.fetch_sub(class_bytes(class), Relaxed);
            free(class, ptr);
        }
    }
    let _ = LOCAL.try_with(Local::empty);
}

/// Counts since the start, and bytes now.
#[derive(Clone, Copy, Debug)]
pub struct Stats {
    pub taken: u64,
    pub reused: u64,
    pub live_bytes: usize,
    pub kept_bytes: usize,
}

pub fn stats() -> Stats {
    let shared = shared();
    let sum = |of: fn(&Counts) -> &AtomicUsize| {
        shared.counts.iter().fold(0usize, |sum, counts| sum.wrapping_add(of(counts).load(Relaxed)))
    };
    Stats {
        taken: sum(|c| &c.taken) as u64,
        reused: sum(|c| &c.reused) as u64,
        live_bytes: sum(|c| &c.live),
        kept_bytes: sum(|c| &c.kept).wrapping_add(KEPT.load(Relaxed)),
    }
}

/// A shared value, made where it stays.
#[inline(always)]
pub fn placed<T>(make: impl FnOnce() -> T) -> Arc<T> {
    let place = Arc::new(MaybeUninit::<T>::uninit());
    // SAFETY: nobody else has the handle yet, and the value is written before it counts as one.
    unsafe {
        Arc::as_ptr(&place).cast_mut().cast::<T>().write(make());
        place.assume_init()
    }
}

/// The allocator of the extension module: an op on few elements makes and drops a handful of small blocks.
#[cfg(feature = "python")]
pub struct Allocator;

// SAFETY: mimalloc's own functions, each with the size and alignment that it was asked for. Its blocks are aligned to 16
// bytes from 16 bytes on and to 8 below, so that the detour for alignment is for what needs more.
#[cfg(feature = "python")]
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        // SAFETY: the caller gives a layout of some size.
        unsafe {
            match align <= 8 || align == 16 && size >= 16 {
                true => libmimalloc_sys::mi_malloc(size).cast(),
                false => libmimalloc_sys::mi_malloc_aligned(size, align).cast(),
            }
        }
    }
    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { libmimalloc_sys::mi_zalloc_aligned(layout.size(), layout.align()).cast() }
    }
    #[inline]
    unsafe fn dealloc(&self, ptr: *mut u8, _layout: Layout) {
        // SAFETY: the block came from one of these functions.
        unsafe { libmimalloc_sys::mi_free(ptr.cast()) };
    }
    #[inline]
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        unsafe { libmimalloc_sys::mi_realloc_aligned(ptr.cast(), size, layout.align()).cast() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_cover_and_waste_little() {
        for bytes in (65..5000).chain([1 << 20, (1 << 20) + 1, 40_000_000]) {
            let size = class_bytes(class_of(bytes).unwrap());
            assert!(size >= bytes && size <= bytes + bytes / 4 + 16, "{bytes} -> {size}");
        }
        assert!(class_of(usize::MAX).is_none());
    }

    #[test]
    fn a_freed_block_comes_back() {
        let first = Buffer::new(1000).unwrap();
        let ptr = first.ptr();
        drop(first);
        assert_eq!(Buffer::new(1000).unwrap().ptr(), ptr);
    }

    #[test]
    fn impossible_sizes_are_errors() {
        assert_eq!(Buffer::new(usize::MAX).err().unwrap().kind, crate::base::Kind::Memory);
        assert_eq!(Buffer::new(1 << 60).err().unwrap().kind, crate::base::Kind::Memory);
    }
}
