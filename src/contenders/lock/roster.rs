//! Every lock that labs run: the adapter of each, and its place on a roster.
#[cfg(feature = "labs")]
use crossbeam::sync::ShardedLock;

use super::{Empty, Guarded, Lock, lock};
use crate::{
    lab::Contender,
    structures::lock::{
        handoff::Handoff, mcs::Mcs, mutex::Mutex, rwlock::RwLock, rwlock_fair::RwLockFair,
        rwlock_sharded::RwLockSharded, tas::Tas, ticket::Ticket, ttas::Ttas,
    },
};

/// A lock that two readers cannot hold at once: how its guard is taken.
macro_rules! mutex {
    ($name:ident, $ty:ty, $is:expr, |$lock:ident| $take:expr) => {
        impl Guarded for $ty {
            const IS: Contender = $is;
            const SHARED: bool = false;
            fn read<R>(&self, inside: impl FnOnce(&u64) -> R) -> R {
                let $lock = self;
                inside(&$take)
            }
            fn write<R>(&self, inside: impl FnOnce(&mut u64) -> R) -> R {
                let $lock = self;
                inside(&mut $take)
            }
        }
        #[doc = concat!("`", stringify!($ty), "`.")]
        pub static $name: Lock = lock::<$ty>();
    };
}

/// A lock with a read side: how each guard is taken.
macro_rules! rwlock {
    ($name:ident, $ty:ty, $is:expr, |$lock:ident| $read:expr, $write:expr) => {
        impl Guarded for $ty {
            const IS: Contender = $is;
            const SHARED: bool = true;
            fn read<R>(&self, inside: impl FnOnce(&u64) -> R) -> R {
                let $lock = self;
                inside(&$read)
            }
            fn write<R>(&self, inside: impl FnOnce(&mut u64) -> R) -> R {
                let $lock = self;
                inside(&mut $write)
            }
        }
        #[doc = concat!("`", stringify!($ty), "`.")]
        pub static $name: Lock = lock::<$ty>();
    };
}

/// parking_lot's reader-writer lock, read by `read_recursive`: such readers pass a waiting writer.
#[cfg(feature = "parking_lot")]
#[derive(Debug, Default)]
pub struct Recursive(pl012::RwLock<u64>);

const fn named(id: &'static str, name: &'static str) -> Contender {
    Contender::new(id).called(name)
}

#[cfg(feature = "parking_lot")]
const fn of(id: &'static str, name: &'static str, package: &'static str) -> Contender {
    named(id, name).of(package)
}

/// No lock at all: what the loop and the hold cost. It keeps no promise of a lock, so nothing is checked.
pub static EMPTY: Lock = Lock { is: Empty::IS, ..lock::<Empty>() };

mutex!(STD_MUTEX, std::sync::Mutex<u64>, named("std_mutex", "std Mutex"), |l| l
    .lock()
    .expect("no holder panics"));
#[cfg(feature = "parking_lot")]
mutex!(PL012_MUTEX, pl012::Mutex<u64>, of("pl012_mutex", "parking_lot 0.12 Mutex", "pl012"), |l| l.lock());
#[cfg(feature = "parking_lot")]
mutex!(PL013_MUTEX, pl013::Mutex<u64>, of("pl013_mutex", "parking_lot 0.13 Mutex", "pl013"), |l| l.lock());
#[cfg(feature = "parking_lot")]
mutex!(PL012_FAIR, pl012::FairMutex<u64>, of("pl012_fair", "parking_lot 0.12 FairMutex", "pl012"), |l| l
    .lock());
#[cfg(feature = "parking_lot")]
mutex!(PL013_FAIR, pl013::FairMutex<u64>, of("pl013_fair", "parking_lot 0.13 FairMutex", "pl013"), |l| l
    .lock());
// Taken by a thread: tried first, since `blocking_lock` enters a small executor each time; then it blocks, in a fair queue. Must not be
// called on a runtime's own threads.
#[cfg(feature = "labs")]
mutex!(TOKIO_MUTEX, tokio::sync::Mutex<u64>, of("tokio_mutex", "tokio Mutex, by threads", "tokio"), |l| l
    .try_lock()
    .unwrap_or_else(|_| l.blocking_lock()));
#[cfg(feature = "labs")]
mutex!(SPIN_MUTEX, spin::Mutex<u64>, of("spin_mutex", "spin Mutex", "spin"), |l| l.lock());
mutex!(MUTEX, Mutex<u64>, named("mutex", "our Mutex"), |l| l.lock());
mutex!(HANDOFF, Handoff<u64>, named("handoff", "our hand-off mutex"), |l| l.lock());
mutex!(TAS, Tas<u64>, named("tas", "test-and-set"), |l| l.lock());
mutex!(TTAS, Ttas<u64>, named("ttas", "test, then test-and-set"), |l| l.lock());
mutex!(TICKET, Ticket<u64>, named("ticket", "ticket lock"), |l| l.lock());

// MCS keeps its queue node on the caller's stack, so it is entered with a closure.
impl Guarded for Mcs<u64> {
    const IS: Contender = named("mcs", "MCS lock");
    const SHARED: bool = false;
    fn read<R>(&self, inside: impl FnOnce(&u64) -> R) -> R {
        self.with(|v| inside(v))
    }
    fn write<R>(&self, inside: impl FnOnce(&mut u64) -> R) -> R {
        self.with(inside)
    }
}
/// `Mcs<u64>`.
pub static MCS: Lock = lock::<Mcs<u64>>();

rwlock!(
    STD_RWLOCK,
    std::sync::RwLock<u64>,
    named("std_rwlock", "std RwLock"),
    |l| l.read().expect("no holder panics"),
    l.write().expect("no holder panics")
);
#[cfg(feature = "parking_lot")]
rwlock!(
    PL012_RWLOCK,
    pl012::RwLock<u64>,
    of("pl012_rwlock", "parking_lot 0.12 RwLock", "pl012"),
    |l| l.read(),
    l.write()
);
#[cfg(feature = "parking_lot")]
rwlock!(
    PL013_RWLOCK,
    pl013::RwLock<u64>,
    of("pl013_rwlock", "parking_lot 0.13 RwLock", "pl013"),
    |l| l.read(),
    l.write()
);
#[cfg(feature = "parking_lot")]
rwlock!(
    PL012_RECURSIVE,
    Recursive,
    of("pl012_recursive", "parking_lot 0.12 read_recursive", "pl012"),
    |l| l.0.read_recursive(),
    l.0.write()
);
// The same for its reader-writer lock.
#[cfg(feature = "labs")]
rwlock!(
    TOKIO_RWLOCK,
    tokio::sync::RwLock<u64>,
    of("tokio_rwlock", "tokio RwLock, by threads", "tokio"),
    |l| l.try_read().unwrap_or_else(|_| l.blocking_read()),
    l.try_write().unwrap_or_else(|_| l.blocking_write())
);
rwlock!(RWLOCK, RwLock<u64>, named("rwlock", "our RwLock"), |l| l.read(), l.write());
rwlock!(
    RWLOCK_SHARDED,
    RwLockSharded<u64>,
    named("rwlock_sharded", "our RwLock with a slot for each reader"),
    |l| l.read(),
    l.write()
);
rwlock!(RWLOCK_FAIR, RwLockFair<u64>, named("rwlock_fair", "our phase-fair RwLock"), |l| l.read(), l.write());
#[cfg(feature = "labs")]
rwlock!(
    CROSSBEAM_SHARDED,
    ShardedLock<u64>,
    of("crossbeam_sharded", "crossbeam ShardedLock", "crossbeam"),
    |l| l.read().expect("no holder panics"),
    l.write().expect("no holder panics")
);
