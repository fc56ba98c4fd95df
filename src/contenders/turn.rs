//! More mutexes under the trait of [`crate::contenders::lock`]: those that differ in whom they let in.
use crate::{
    contenders::lock::Guarded,
    measure::{
        acquire::{Contender, Enter},
        throughput::Apart,
    },
};

impl Guarded for pl012::Mutex<u64> {
    const CASE: &'static str = "pl012_mutex";
    const SHARED: bool = false;
    fn read<R>(&self, inside: impl FnOnce(&u64) -> R) -> R {
        inside(&self.lock())
    }
    fn write<R>(&self, inside: impl FnOnce(&mut u64) -> R) -> R {
        inside(&mut self.lock())
    }
}

impl Guarded for pl012::FairMutex<u64> {
    const CASE: &'static str = "pl012_fair";
    const SHARED: bool = false;
    fn read<R>(&self, inside: impl FnOnce(&u64) -> R) -> R {
        inside(&self.lock())
    }
    fn write<R>(&self, inside: impl FnOnce(&mut u64) -> R) -> R {
        inside(&mut self.lock())
    }
}

impl Guarded for pl013::FairMutex<u64> {
    const CASE: &'static str = "pl013_fair";
    const SHARED: bool = false;
    fn read<R>(&self, inside: impl FnOnce(&u64) -> R) -> R {
        inside(&self.lock())
    }
    fn write<R>(&self, inside: impl FnOnce(&mut u64) -> R) -> R {
        inside(&mut self.lock())
    }
}

/// The async mutex of tokio, taken by a thread that blocks: a fair queue. Must not be called on a runtime's own threads.
impl Guarded for tokio::sync::Mutex<u64> {
    const CASE: &'static str = "tokio_mutex";
    const SHARED: bool = false;
    fn read<R>(&self, inside: impl FnOnce(&u64) -> R) -> R {
        inside(&self.blocking_lock())
    }
    fn write<R>(&self, inside: impl FnOnce(&mut u64) -> R) -> R {
        inside(&mut self.blocking_lock())
    }
}

/// A lock's name, and how to make a fresh one that is entered for writing.
pub fn contender<L: Guarded>() -> Contender {
    (L::CASE, enter::<L>)
}

/// A fresh lock, to be entered for writing.
pub fn enter<L: Guarded>() -> Enter {
    let lock = Apart(L::default());
    Box::new(move |inside| lock.0.write(|_| inside()))
}
