//! Memory from a pool: fresh pages cost several times the arithmetic done on them, so freed blocks are kept and reused.
//!
//! Blocks of one size class are interchangeable. Small blocks live in a list per thread (no lock), large ones in a list
//! for the process, up to a byte cap. Data of up to [`INLINE`] bytes sits in the buffer's own allocation.

use crate::base::dtype::Element;
use crate::base::error::{Error, Result};
use std::alloc::{GlobalAlloc, Layout, System};
use std::any::Any;
use std::cell::{RefCell, UnsafeCell};
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
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
        let mut place = Arc::<Buffer>::new_uninit();
        let Some(buffer) = Arc::get_mut(&mut place) else { unreachable!("a new block has one owner") };
        if bytes <= INLINE {
            let header = buffer.as_mut_ptr();
            // SAFETY: the block is allocated and nobody else sees it; the inline bytes may stay uninitialised.
            unsafe {
                (&raw mut (*header).heap).write(std::ptr::null_mut());
                (&raw mut (*header).bytes).write(bytes);
                (&raw mut (*header).owner).write(Owner::Inline);
            }
        } else {
            buffer.write(Buffer::new(bytes)?);
        }
        // SAFETY: every field was written on either way.
        let mut shared = unsafe { place.assume_init() };
        match Arc::get_mut(&mut shared) {
            Some(buffer) => fill(buffer),
            None => unreachable!("a new block has one owner"),
        }
        Ok(shared)
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

static TAKEN: AtomicU64 = AtomicU64::new(0);
static REUSED: AtomicU64 = AtomicU64::new(0);
static LIVE: AtomicUsize = AtomicUsize::new(0);
static KEPT: AtomicUsize = AtomicUsize::new(0);

struct Local(RefCell<Vec<Vec<NonNull<u8>>>>);

impl Drop for Local {
    fn drop(&mut self) {
        for (class, list) in self.0.borrow_mut().iter_mut().enumerate() {
            list.drain(..).for_each(|ptr| release(class, ptr));
        }
    }
}

thread_local! {
    static LOCAL: Local = const { Local(RefCell::new(Vec::new())) };
}

struct Shared(Vec<Vec<NonNull<u8>>>);
// SAFETY: the blocks in the list are free; the mutex around it hands each to one thread.
unsafe impl Send for Shared {}

fn shared() -> std::sync::MutexGuard<'static, Shared> {
    static SHARED: OnceLock<Mutex<Shared>> = OnceLock::new();
    let pool = SHARED.get_or_init(|| Mutex::new(Shared(vec![Vec::new(); CLASSES])));
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
    TAKEN.fetch_add(1, Relaxed);
    LIVE.fetch_add(bytes, Relaxed);
    let kept = if bytes <= LOCAL_MAX {
        LOCAL.try_with(|l| l.0.borrow_mut().get_mut(class).and_then(Vec::pop)).ok().flatten()
    } else {
        shared().0[class].pop()
    };
    match kept {
        Some(ptr) => {
            REUSED.fetch_add(1, Relaxed);
            KEPT.fetch_sub(bytes, Relaxed);
            Ok(ptr)
        }
        None => fresh(class).inspect_err(|_| {
            LIVE.fetch_sub(bytes, Relaxed);
        }),
    }
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
    LIVE.fetch_sub(bytes, Relaxed);
    if bytes <= LOCAL_MAX {
        let kept = LOCAL.try_with(|local| {
            let mut lists = local.0.borrow_mut();
            if lists.is_empty() {
                lists.resize(CLASSES, Vec::new());
            }
            let list = &mut lists[class];
            let room = list.len() < LOCAL_KEEP;
            if room {
                list.push(ptr);
                KEPT.fetch_add(bytes, Relaxed);
            }
            room
        });
        if !matches!(kept, Ok(true)) {
            free(class, ptr);
        }
    } else if KEPT.load(Relaxed) + bytes <= cap() {
        KEPT.fetch_add(bytes, Relaxed);
        shared().0[class].push(ptr);
    } else {
        free(class, ptr);
    }
}

fn release(class: usize, ptr: NonNull<u8>) {
    KEPT.fetch_sub(class_bytes(class), Relaxed);
    free(class, ptr);
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
    let blocks: Vec<_> = shared().0.iter_mut().map(std::mem::take).collect();
    for (class, list) in blocks.into_iter().enumerate() {
        list.into_iter().for_each(|ptr| release(class, ptr));
    }
    let _ = LOCAL.try_with(|local| {
        for (class, list) in local.0.borrow_mut().iter_mut().enumerate() {
            list.drain(..).for_each(|ptr| release(class, ptr));
        }
    });
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
    Stats {
        taken: TAKEN.load(Relaxed),
        reused: REUSED.load(Relaxed),
        live_bytes: LIVE.load(Relaxed),
        kept_bytes: KEPT.load(Relaxed),
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
