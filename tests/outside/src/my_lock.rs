//! Is a lock that I wrote myself as fast as std's?
use std::{
    cell::UnsafeCell,
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering::*},
};

use underhood::prelude::{lock::*, *};

/// A spin lock that gives up its turn while it waits.
#[derive(Default)]
struct MyLock(AtomicBool, UnsafeCell<u64>);

// SAFETY: the number is touched only between taking the flag and giving it back.
unsafe impl Sync for MyLock {}

impl Guarded for MyLock {
    const IS: Contender = Contender::new("my_lock").called("my lock");
    const SHARED: bool = false;
    fn read<R>(&self, inside: impl FnOnce(&u64) -> R) -> R {
        self.write(|value| inside(value))
    }
    fn write<R>(&self, inside: impl FnOnce(&mut u64) -> R) -> R {
        while self.0.swap(true, Acquire) {
            std::thread::yield_now();
        }
        // SAFETY: the flag was taken, so nobody else is here.
        let result = inside(unsafe { &mut *self.1.get() });
        self.0.store(false, Release);
        result
    }
}

static MY_LOCK: Lock = lock::<MyLock>();
const LOCKS: &[&Lock] = &[&STD_MUTEX, &PL013_MUTEX, &MY_LOCK];

pub(crate) fn my_lab() -> Lab {
    let alone = Step::new("alone", Kind::Single, "op_ns")
        .ask_best("One thread locks and unlocks. Which lock is cheapest?", "")
        .contenders(LOCKS)
        .over(ONCE, |plan, p| cost::solo(plan, p.id(), LOCKS.iter().map(|l| l.writes())))
        .bench("alone/{case}", LOCKS.iter().copied(), |_, l| cost::timed(&l.writes()))
        .claim(at_most(1.1, ratio("my_lock", "std_mutex")), "alone, my lock costs at most 1.1 times std's");
    let crowd = Step::new("crowd", Kind::Contended, "ops_per_s")
        .ask_best("All threads lock and unlock. Which lock lets through the most?", "hold_100ns")
        .contenders(LOCKS)
        .over([ns("hold_100ns", 100.0)], |plan, hold| {
            throughput::crowd(plan, hold.id(), hold.value, LOCKS.iter().map(|l| l.crowd(0)))
        })
        .claim(
            at_least(0.9, ratio("my_lock", "std_mutex")).cores(2),
            "it lets through at least 0.9 of what std's does",
        );
    underhood::lab!("my_lock", "Is a lock that I wrote myself as fast as std's?").step(alone).step(crowd).say(
        "alone",
        "Alone, my lock takes {value}, std's Mutex {against}.",
        ratio("my_lock", "std_mutex"),
        "another thread wants the lock too",
    )
}

#[allow(dead_code, reason = "not used where the bench includes this file")]
fn main() -> ExitCode {
    // Then `my_lock try lock --with std_mutex,my_lock --hold 300ns` measures it under any workload.
    underhood::prelude::contend(&[&MY_LOCK]);
    underhood::prelude::main(vec![my_lab()])
}
