//! Tells the processor what memory will be read soon, so that it is fetched while something else is done.

/// The bytes that a processor fetches at a time.
const LINE_BYTES: usize = 64;
/// Bits of an address that tell where; those above it are free on every processor that prefetches here.
const ADDRESS_BITS: u32 = 48;

/// Has the processor fetch all of a value. It changes nothing but the time that
/// the next reading takes, and on processors that cannot be told so, not even that.
#[inline]
pub fn prefetch<T>(value: &T) {
    Ahead::of(value).fetch();
}

/// Where a value stands in memory, kept to have it fetched later without reading what points at it. It may be outdated:
/// what is fetched then is of no use, and does no harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ahead(u64);

impl Ahead {
    /// Nothing to be fetched.
    pub const NOTHING: Self = Self(0);

    /// A value.
    #[inline]
    pub fn of<T>(value: &T) -> Self {
        let start = std::ptr::from_ref(value).addr();
        // From the line it begins in to the one it ends in: it may begin anywhere in its first.
        let within_line = start % LINE_BYTES;
        let lines = (within_line + size_of::<T>()).div_ceil(LINE_BYTES) as u64;
        let address = (start - within_line) as u64 & ((1 << ADDRESS_BITS) - 1);
        Self(address | lines << ADDRESS_BITS)
    }

    /// Has the processor fetch it.
    #[inline]
    #[cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "there is no safe way yet to ask for a prefetch"))]
    pub fn fetch(self) {
        #[cfg(target_arch = "x86_64")]
        for line in 0..self.0 >> ADDRESS_BITS {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let address = (self.0 & ((1 << ADDRESS_BITS) - 1)) + line * LINE_BYTES as u64;
            let address = std::ptr::without_provenance::<i8>(usize::try_from(address).unwrap_or(0));
            // SAFETY: a prefetch reads nothing, and faults on no address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(address) };
        }
    }
}
