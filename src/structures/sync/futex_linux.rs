//! Sleep until a word may have changed, by the kernel's futex (`man 2 futex`).
//!
//! The contract, on every face: [`wait`] sleeps only if the word still holds `expected` when the kernel looks, and that look
//! and falling asleep are one step against [`wake_one`] and [`wake_all`]. So "change the word, then wake" never loses a
//! sleeper. `wait` may also return for no reason at all: callers look again in a loop. **No memory ordering** may be taken
//! from any of the three: it comes from the atomics around them.

use super::atomic::AtomicU32;

/// Sleeps while `word` holds `expected`; returns at once if it does not, and now and then for no reason.
///
/// Every error of the call (the word differs, a signal came) means "look again", which the caller does anyway.
pub fn wait(word: &AtomicU32, expected: u32) {
    call(word, libc::FUTEX_WAIT, expected);
}

/// Wakes one thread that sleeps on `word`, if there is one. The kernel takes them in the order of their going to sleep
/// (higher real-time priorities first).
pub fn wake_one(word: &AtomicU32) {
    call(word, libc::FUTEX_WAKE, 1);
}

/// Wakes every thread that sleeps on `word`.
pub fn wake_all(word: &AtomicU32) {
    call(word, libc::FUTEX_WAKE, i32::MAX.cast_unsigned());
}

fn call(word: &AtomicU32, operation: libc::c_int, value: u32) {
    // PRIVATE: the word is not shared with another process, so the kernel need not look up the page behind the address.
    let operation = operation | libc::FUTEX_PRIVATE_FLAG;
    let no_timeout = std::ptr::null::<libc::timespec>();
    // SAFETY: the address is that of a live, aligned u32 (it is borrowed for the whole call); FUTEX_WAIT only reads it, by an
    // atomic load, and FUTEX_WAKE only uses it as a key; a null timeout means none. No other memory is touched.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, value, no_timeout) };
}
