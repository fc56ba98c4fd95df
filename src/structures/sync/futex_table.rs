//! Sleep until a word may have changed, where there is no futex: a table of condition variables, found by the word's address.
//!
//! The contract is that of `futex_linux.rs`. The price against it: a std mutex per call, words that share a bucket wake each
//! other, and [`wake_one`] wakes all (with a shared bucket, "one" might be the wrong one). Right, not fast: the timings of
//! our own locks mean little on such a system. The chaos tests run on this table, so that it is exercised on Linux too.

use super::time::Deadline;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

struct Bucket {
    lock: Mutex<()>,
    woken: Condvar,
}

const BUCKET_BITS: u32 = 6;
static BUCKETS: [Bucket; 1 << BUCKET_BITS] =
    [const { Bucket { lock: Mutex::new(()), woken: Condvar::new() } }; 1 << BUCKET_BITS];

/// Sleeps while `word` holds `expected`; returns at once if it does not, and now and then for no reason.
pub fn wait(word: &AtomicU32, expected: u32) {
    let bucket = bucket(word);
    let held = hold(bucket);
    // Relaxed: a waker takes the bucket's lock after its change, so whoever comes after it sees the change; and whoever comes
    // before it is already on the condition variable when the waker signals.
    if word.load(Relaxed) == expected {
        drop(bucket.woken.wait(held));
    }
}

/// As [`wait`], but no longer than until `deadline`: false if that has come.
pub fn wait_until(word: &AtomicU32, expected: u32, deadline: &Deadline) -> bool {
    let bucket = bucket(word);
    let held = hold(bucket);
    let left = deadline.left();
    if !left.is_zero() && word.load(Relaxed) == expected {
        drop(bucket.woken.wait_timeout(held, left)); // Relaxed in the line above: as in `wait`
    }
    !deadline.left().is_zero()
}

/// Wakes at least one thread that sleeps on `word`, if there is one.
pub fn wake_one(word: &AtomicU32) {
    wake_all(word);
}

/// Wakes every thread that sleeps on `word`.
pub fn wake_all(word: &AtomicU32) {
    let bucket = bucket(word);
    drop(hold(bucket));
    bucket.woken.notify_all();
}

fn bucket(word: &AtomicU32) -> &'static Bucket {
    // Fibonacci hashing (Knuth, TAOCP 3, 6.4): neighbouring addresses land far apart, and the top bits are the best ones.
    let address = std::ptr::from_ref(word).addr() as u64;
    &BUCKETS[(address.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (u64::BITS - BUCKET_BITS)) as usize]
}

fn hold(bucket: &Bucket) -> MutexGuard<'_, ()> {
    bucket.lock.lock().unwrap_or_else(PoisonError::into_inner) // the lock guards no data that a panic could leave half done
}
