//! The adapter checks pass every contender and catch broken ones.
use std::sync::{
    Mutex, RwLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use underhood::{
    contenders::lock::{
        CROSSBEAM_SHARDED, EMPTY, Guarded, HANDOFF, MCS, MUTEX, PL012_FAIR, PL012_MUTEX, PL012_RWLOCK,
        PL013_FAIR, PL013_MUTEX, PL013_RWLOCK, RWLOCK, RWLOCK_FAIR, RWLOCK_SHARDED, SPIN_MUTEX, STD_MUTEX,
        STD_RWLOCK, TAS, TICKET, TOKIO_MUTEX, TTAS, check, check_work,
    },
    lab::Contender,
};

#[test]
fn every_contender_passes() {
    let all = [
        &STD_MUTEX,
        &STD_RWLOCK,
        &PL013_MUTEX,
        &PL013_RWLOCK,
        &MUTEX,
        &RWLOCK,
        &TAS,
        &TTAS,
        &TICKET,
        &MCS,
        &HANDOFF,
        &RWLOCK_FAIR,
        &SPIN_MUTEX,
        &RWLOCK_SHARDED,
        &CROSSBEAM_SHARDED,
        &PL012_RWLOCK,
        &PL012_MUTEX,
        &PL012_FAIR,
        &PL013_FAIR,
        &TOKIO_MUTEX,
    ];
    for is in all.map(|lock| lock.as_ref()) {
        assert_eq!(is.check.map(|check| check()), Some(Ok(())), "{}", is.id);
    }
    // No lock at all would fail any check, and is run all the same.
    assert!(EMPTY.as_ref().check.is_none());
}

/// The mistake that stood in a well-known benchmark for nine years.
#[derive(Default)]
struct ReadTakesWriteLock(RwLock<u64>);
impl Guarded for ReadTakesWriteLock {
    const IS: Contender = Contender::new("read_takes_write_lock");
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
    const IS: Contender = Contender::new("called_exclusive");
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
    const IS: Contender = Contender::new("no_lock");
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
    const IS: Contender = Contender::new("open_to_writers");
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
    const IS: Contender = Contender::new("lazy_writer");
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
