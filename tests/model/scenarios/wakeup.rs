//! The park and unpark handshake of `src/experiments/wakeup.rs`, with its fences and with one or both of them missing: what lab `order_wakeup` counts
//! on real threads, a model calls a deadlock.

use super::{Scenario, Structure, join};
use crate::sync::atomic::Ordering::{Acquire, Release, SeqCst};
use crate::sync::atomic::{AtomicBool, fence};
use crate::sync::thread;
use std::sync::Arc;

/// Each twin, and whether it is sound.
pub const TWINS: &[(Structure, bool)] = &[
    (Structure { path: "twin/wakeup/both_fences", scenarios: &[scenario(once::<true, true>)] }, true),
    (Structure { path: "twin/wakeup/waiter_fence_only", scenarios: &[scenario(once::<true, false>)] }, false),
    (Structure { path: "twin/wakeup/setter_fence_only", scenarios: &[scenario(once::<false, true>)] }, false),
    (Structure { path: "twin/wakeup/no_fence", scenarios: &[scenario(once::<false, false>)] }, false),
];

const fn scenario(run: fn(usize)) -> Scenario {
    Scenario { name: "once", oracle: "nobody sleeps on after the event", threads: 2, bound: None, run }
}

/// One round: main waits, another thread makes it happen.
fn once<const WAITER: bool, const SETTER: bool>(_turns: usize) {
    let words = Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
    let (theirs, waiter) = (Arc::clone(&words), thread::current());
    let other = thread::spawn(move || {
        let [awaited, set] = &*theirs;
        set.store(true, Release);
        if SETTER {
            fence(SeqCst);
        }
        if awaited.load(Acquire) {
            waiter.unpark();
        }
    });
    let [awaited, set] = &*words;
    awaited.store(true, Release);
    if WAITER {
        fence(SeqCst);
    }
    while !set.load(Acquire) {
        thread::park();
    }
    join(other);
}
