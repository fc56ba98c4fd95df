//! Sleep until a word may have changed, by the kernel's futex (`man 2 futex`).
//!
//! The contract, on every face: [`wait`] sleeps only if the word still holds `expected` when the kernel looks, and that look
//! and falling asleep are one step against [`wake_one`] and [`wake_all`]. So "change the word, then wake" never loses a
//! sleeper. `wait` may also return for no reason at all: callers look again in a loop. **No memory ordering** may be taken
//! from any of the three: it comes from the atomics around them.

use super::atomic::AtomicU32;
use super::time::Deadline;
use std::ptr;

/// Sleeps while `word` holds `expected`; returns at once if it does not, and now and then for no reason.
///
/// Every error of the call (the word differs, a signal came) means "look again", which the caller does anyway.
pub fn wait(word: &AtomicU32, expected: u32) {
    call(word, libc::FUTEX_WAIT, expected, ptr::null());
}

/// As [`wait`], but no longer than until `deadline`: false if that has come. A wake-up may have been spent on a call that returns
/// false, if it came at the same time; so whoever gives up looks at the word once more, and does not leave a lock free while others
/// sleep.
pub fn wait_until(word: &AtomicU32, expected: u32, deadline: &Deadline) -> bool {
    let left = deadline.left();
    if left.is_zero() {
        return false;
    }
    // More seconds than the kernel counts are as good as for ever: the wait may end early, and the caller looks again.
    let seconds = libc::time_t::try_from(left.as_secs().min(i32::MAX as u64)).unwrap_or(i32::MAX.into());
    let timeout = libc::timespec { tv_sec: seconds, tv_nsec: left.subsec_nanos() as libc::c_long };
    call(word, libc::FUTEX_WAIT, expected, &raw const timeout);
    !deadline.left().is_zero()
}

/// Wakes one thread that sleeps on `word`, if there is one. The kernel takes them in the order of their going to sleep
/// (higher real-time priorities first).
pub fn wake_one(word: &AtomicU32) {
    call(word, libc::FUTEX_WAKE, 1, ptr::null());
}

/// Wakes every thread that sleeps on `word`.
pub fn wake_all(word: &AtomicU32) {
    call(word, libc::FUTEX_WAKE, i32::MAX.cast_unsigned(), ptr::null());
}

/// `timeout` is null, or points to a live value.
fn call(word: &AtomicU32, operation: libc::c_int, value: u32, timeout: *const libc::timespec) {
    // PRIVATE: the word is not shared with another process, so the kernel need not look up the page behind the address.
    let operation = operation | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the address is that of a live, aligned u32 (it is borrowed for the whole call); FUTEX_WAIT only reads it, by an
    // atomic load, and FUTEX_WAKE only uses it as a key; a null timeout means none, another one is a live timespec of one of the two
    // callers above, and only read. No other memory is touched.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, value, timeout) };
}
