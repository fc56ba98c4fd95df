//! The spin locks, the fair locks and the locks with distributed readers under [`Guarded`]: ours, and the crates that do the same.
use crate::contenders::lock::Guarded;
use crate::structures::lock::{
    handoff::Handoff, mcs::Mcs, rwlock_fair::RwLockFair, rwlock_sharded::RwLockSharded, tas::Tas,
    ticket::Ticket, ttas::Ttas,
};
use crossbeam::sync::ShardedLock;

impl Guarded for Tas<u64> {
    const CASE: &'static str = "tas";
    const SHARED: bool = false;
    fn read<R>(&self, inside: impl FnOnce(&u64) -> R) -> R {
        inside(&self.lock())
    }
    fn write<R>(&self, inside: impl FnOnce(&mut u64) -> R) -> R {
        inside(&mut self.lock())
    }
}

impl Guarded for Ttas<u64> {
    const CASE: &'static str = "ttas";
    const SHARED: bool = false;
    fn read<R>(&self, inside: impl FnOnce(&u64) -> R) -> R {
        inside(&self.lock())
    }
    fn write<R>(&self, inside: impl FnOnce(&mut u64) -> R) -> R {
        inside(&mut self.lock())
    }
}

impl Guarded for Ticket<u64> {
    const CASE: &'static str = "ticket";
    const SHARED: bool = false;
    fn read<R>(&self, inside: impl FnOnce(&u64) -> R) -> R {
        inside(&self.lock())
    }
    fn write<R>(&self, inside: impl FnOnce(&mut u64) -> R) -> R {
        inside(&mut self.lock())
    }
}

impl Guarded for Mcs<u64> {
    const CASE: &'static str = "mcs";
    const SHARED: bool = false;
    fn read<R>(&self, inside: impl FnOnce(&u64) -> R) -> R {
        self.with(|v| inside(v))
    }
    fn write<R>(&self, inside: impl FnOnce(&mut u64) -> R) -> R {
        self.with(inside)
    }
}

impl Guarded for Handoff<u64> {
    const CASE: &'static str = "handoff";
    const SHARED: bool = false;
    fn read<R>(&self, inside: impl FnOnce(&u64) -> R) -> R {
        inside(&self.lock())
    }
    fn write<R>(&self, inside: impl FnOnce(&mut u64) -> R) -> R {
        inside(&mut self.lock())
    }
}

impl Guarded for spin::Mutex<u64> {
    const CASE: &'static str = "spin_mutex";
    const SHARED: bool = false;
    fn read<R>(&self, inside: impl FnOnce(&u64) -> R) -> R {
        inside(&self.lock())
    }
    fn write<R>(&self, inside: impl FnOnce(&mut u64) -> R) -> R {
        inside(&mut self.lock())
    }
}

impl Guarded for pl012::RwLock<u64> {
    const CASE: &'static str = "pl012_rwlock";
    const SHARED: bool = true;
    fn read<R>(&self, inside: impl FnOnce(&u64) -> R) -> R {
        inside(&self.read())
    }
    fn write<R>(&self, inside: impl FnOnce(&mut u64) -> R) -> R {
        inside(&mut self.write())
    }
}

impl Guarded for RwLockSharded<u64> {
    const CASE: &'static str = "rwlock_sharded";
    const SHARED: bool = true;
    fn read<R>(&self, inside: impl FnOnce(&u64) -> R) -> R {
        inside(&self.read())
    }
    fn write<R>(&self, inside: impl FnOnce(&mut u64) -> R) -> R {
        inside(&mut self.write())
    }
}

impl Guarded for RwLockFair<u64> {
    const CASE: &'static str = "rwlock_fair";
    const SHARED: bool = true;
    fn read<R>(&self, inside: impl FnOnce(&u64) -> R) -> R {
        inside(&self.read())
    }
    fn write<R>(&self, inside: impl FnOnce(&mut u64) -> R) -> R {
        inside(&mut self.write())
    }
}

impl Guarded for ShardedLock<u64> {
    const CASE: &'static str = "crossbeam_sharded";
    const SHARED: bool = true;
    fn read<R>(&self, inside: impl FnOnce(&u64) -> R) -> R {
        inside(&self.read().expect("no holder panics"))
    }
    fn write<R>(&self, inside: impl FnOnce(&mut u64) -> R) -> R {
        inside(&mut self.write().expect("no holder panics"))
    }
}
