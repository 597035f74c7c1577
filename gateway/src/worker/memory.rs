//! Memory that falls again: what a crowd's sessions took is given back to the operating system.

/// Has the allocator return the pages that nothing is left on.
///
/// Sessions come and go in any order, so what stays lies between what has gone, and glibc by itself
/// returns only what is free at the end of a heap. Takes about a millisecond for 100 MB, so it is for
/// the moment after many have left. Other allocators do it by themselves.
#[allow(unsafe_code, reason = "the C library's own call, which nothing wraps")]
pub(super) fn trim() {
    // SAFETY: `malloc_trim` takes no pointer, and may be called from any thread at any time.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    unsafe {
        libc::malloc_trim(0);
    }
}
