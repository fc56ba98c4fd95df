//! The adapter checks pass every contender and catch broken ones.
use std::sync::{
    Mutex, RwLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use underhood::{
    contenders::lock::{Guarded, check, check_work},
    structures::lock,
};

#[test]
fn every_contender_passes() {
    type Check = fn() -> Result<(), String>;
    let checks: [(&str, Check); 19] = [
        ("std_mutex", check::<Mutex<u64>>),
        ("std_rwlock", check::<RwLock<u64>>),
        ("pl013_mutex", check::<pl013::Mutex<u64>>),
        ("pl013_rwlock", check::<pl013::RwLock<u64>>),
        ("mutex", check::<lock::mutex::Mutex<u64>>),
        ("rwlock", check::<lock::rwlock::RwLock<u64>>),
        ("tas", check::<lock::tas::Tas<u64>>),
        ("ttas", check::<lock::ttas::Ttas<u64>>),
        ("ticket", check::<lock::ticket::Ticket<u64>>),
        ("mcs", check::<lock::mcs::Mcs<u64>>),
        ("handoff", check::<lock::handoff::Handoff<u64>>),
        ("rwlock_fair", check::<lock::rwlock_fair::RwLockFair<u64>>),
        ("spin_mutex", check::<spin::Mutex<u64>>),
        ("rwlock_sharded", check::<lock::rwlock_sharded::RwLockSharded<u64>>),
        ("crossbeam_sharded", check::<crossbeam::sync::ShardedLock<u64>>),
        ("pl012_rwlock", check::<pl012::RwLock<u64>>),
        ("pl012_mutex", check::<pl012::Mutex<u64>>),
        ("pl012_fair", check::<pl012::FairMutex<u64>>),
        ("pl013_fair", check::<pl013::FairMutex<u64>>),
    ];
    for (name, check) in checks {
        assert_eq!(check(), Ok(()), "{name}");
    }
}

/// The mistake that stood in a well-known benchmark for nine years.
#[derive(Default)]
struct ReadTakesWriteLock(RwLock<u64>);
impl Guarded for ReadTakesWriteLock {
    const CASE: &'static str = "read_takes_write_lock";
    const SHARED: bool = true;
    fn read<R>(&self, inside: impl FnOnce(&u64) -> R) -> R {
        inside(&self.0.write().unwrap())
    }
    fn write<R>(&self, inside: impl FnOnce(&mut u64) -> R) -> R {
        inside(&mut self.0.write().unwrap())
    }
}

#[test]
fn an_exclusive_read_lock_is_caught() {
    // The check waits ten seconds for the second reader before it gives up: on a loaded machine a slow reader is no exclusive one.
    let why = check::<ReadTakesWriteLock>().expect_err("readers exclude each other");
    assert!(why.contains("cannot be inside at once"), "{why}");
}

/// Forgets that it is shared.
#[derive(Default)]
struct CalledExclusive(RwLock<u64>);
impl Guarded for CalledExclusive {
    const CASE: &'static str = "called_exclusive";
    const SHARED: bool = false;
    fn read<R>(&self, inside: impl FnOnce(&u64) -> R) -> R {
        inside(&self.0.read().unwrap())
    }
    fn write<R>(&self, inside: impl FnOnce(&mut u64) -> R) -> R {
        inside(&mut self.0.write().unwrap())
    }
}

#[test]
fn a_shared_lock_called_exclusive_is_caught() {
    let why = check::<CalledExclusive>().expect_err("readers meet");
    assert!(why.contains("can be inside at once"), "{why}");
}

/// Writes a copy and stores it back: no lock.
#[derive(Default)]
struct NoLock(AtomicU64);
impl Guarded for NoLock {
    const CASE: &'static str = "no_lock";
    const SHARED: bool = true;
    fn read<R>(&self, inside: impl FnOnce(&u64) -> R) -> R {
        inside(&self.0.load(Relaxed))
    }
    fn write<R>(&self, inside: impl FnOnce(&mut u64) -> R) -> R {
        let mut copy = self.0.load(Relaxed);
        let r = inside(&mut copy);
        self.0.store(copy, Relaxed);
        r
    }
}

#[test]
fn no_lock_is_caught() {
    let why = check::<NoLock>().expect_err("nothing excludes anybody");
    assert!(why.contains("reader got in beside a writer"), "{why}");
}

/// Readers are kept out by writers, and writers by nobody.
#[derive(Default)]
struct OpenToWriters(RwLock<()>, NoLock);
impl Guarded for OpenToWriters {
    const CASE: &'static str = "open_to_writers";
    const SHARED: bool = false;
    fn read<R>(&self, inside: impl FnOnce(&u64) -> R) -> R {
        let _alone = self.0.write().unwrap();
        self.1.read(inside)
    }
    fn write<R>(&self, inside: impl FnOnce(&mut u64) -> R) -> R {
        let _beside_others = self.0.read().unwrap();
        self.1.write(inside)
    }
}

#[test]
fn writers_that_meet_are_caught() {
    let why = check::<OpenToWriters>().expect_err("writers meet");
    assert!(why.contains("two writers met"), "{why}");
}

/// Every other write does nothing.
#[derive(Default)]
struct LazyWriter(Mutex<(u64, bool)>);
impl Guarded for LazyWriter {
    const CASE: &'static str = "lazy_writer";
    const SHARED: bool = false;
    fn read<R>(&self, inside: impl FnOnce(&u64) -> R) -> R {
        inside(&self.0.lock().unwrap().0)
    }
    fn write<R>(&self, inside: impl FnOnce(&mut u64) -> R) -> R {
        let mut held = self.0.lock().unwrap();
        held.1 = !held.1;
        let (mut copy, real) = (held.0, held.1);
        let r = inside(&mut copy);
        if real {
            held.0 = copy;
        }
        r
    }
}

#[test]
fn unequal_work_is_caught() {
    for percent in [0, 50, 99, 100] {
        assert_eq!(check_work::<Mutex<u64>>(percent), Ok(()), "{percent}");
    }
    let why = check_work::<LazyWriter>(50).expect_err("half of its writes do nothing");
    assert!(why.contains("writes arrived"), "{why}");
}
