//! How the system's allocator treats large blocks.
#![allow(unsafe_code)] // a call into the C library

/// Keeps large blocks when they are freed, for the next layer or step to take: a network's activations are freed and asked for
/// again at once, and giving them back to the system each time costs more than a third of a training step.
///
/// Nothing is done where the allocator is not glibc's.
pub fn keep_large_blocks() {
    #[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
    {
        // SAFETY: mallopt takes two numbers; no other thread runs yet.
        unsafe {
            libc::mallopt(libc::M_MMAP_MAX, 0);
            libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
            libc::mallopt(libc::M_TOP_PAD, 1 << 26);
        }
    }
}
