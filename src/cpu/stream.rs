//! Stores that go past the caches. A result larger than the caches is not there any more when it is read, and an ordinary
//! store reads each line before it writes it: two transfers where one is needed.

/// Bytes of a result from which it is stored past the caches.
pub const STREAM: usize = 16 << 20;

/// Copies `bytes` bytes past the caches. [`finish`] orders them before what the thread does next.
///
/// # Safety
/// `src` is readable and `dst` writable for `bytes` bytes, and they do not overlap.
#[inline]
pub unsafe fn copy(src: *const u8, dst: *mut u8, bytes: usize) {
    // SAFETY: as the caller says; vectors lie inside both ranges, and are aligned at the destination.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::*;
            // A line that is written in two halves by different calls is sent twice: the ends go through the cache.
            let head = dst.align_offset(64).min(bytes);
            let lines = (bytes - head) / 64;
            std::ptr::copy_nonoverlapping(src, dst, head);
            let (from, to) = (src.add(head).cast::<__m128i>(), dst.add(head).cast::<__m128i>());
            for i in 0..lines {
                let (from, to) = (from.add(4 * i), to.add(4 * i));
                let line = [
                    _mm_loadu_si128(from),
                    _mm_loadu_si128(from.add(1)),
                    _mm_loadu_si128(from.add(2)),
                    _mm_loadu_si128(from.add(3)),
                ];
                line.into_iter().enumerate().for_each(|(k, v)| _mm_stream_si128(to.add(k), v));
            }
            let done = head + 64 * lines;
            std::ptr::copy_nonoverlapping(src.add(done), dst.add(done), bytes - done);
        }
        #[cfg(not(target_arch = "x86_64"))]
        std::ptr::copy_nonoverlapping(src, dst, bytes);
    }
}

/// Makes what this thread has copied visible to whoever synchronises with it.
#[inline]
pub fn finish() {
    // SAFETY: every x86-64 CPU has the instruction.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::x86_64::_mm_sfence()
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_byte_at_any_alignment() {
        let src: Vec<u8> = (0..700).map(|i| i as u8).collect();
        for (from, to) in (0..70).flat_map(|a| [(0, a), (a, 0), (a, a / 2)]) {
            for len in [0, 1, 15, 63, 64, 65, 130, 500] {
                let mut dst = vec![255u8; 700];
                // SAFETY: both vectors hold the range.
                unsafe { super::copy(src.as_ptr().add(from), dst.as_mut_ptr().add(to), len) };
                super::finish();
                assert_eq!(dst[to..to + len], src[from..from + len]);
                assert!(dst[..to].iter().chain(&dst[to + len..]).all(|&b| b == 255));
            }
        }
    }
}
