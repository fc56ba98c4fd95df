//! What a program would keep in plain memory, in an atomic word: a race on it is a wrong answer, as on any other word.

use super::sync::atomic::AtomicU64;
use super::sync::atomic::Ordering::Relaxed;

pub struct Plain(AtomicU64);

impl Plain {
    pub fn new(value: u64) -> Self {
        Self(AtomicU64::new(value))
    }
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }
}
