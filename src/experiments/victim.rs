//! The small operations whose lateness shows who is hurt by another thread's memory calls.
use std::{hint, io, thread, time::Duration};

use crate::machine::memory::{self, Mapping};

/// What the victims map: 64 KiB at a time, or 32 MiB once, page by page.
const MAP_BYTES: usize = 64 << 10;
const FAULT_BYTES: usize = 32 << 20;
/// What a sleeper asks for.
const SLEEP: Duration = Duration::from_millis(1);

/// The operation that is repeated and timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// Maps 64 KiB, touches one page, unmaps: takes mmap_lock for writing twice.
    Map,
    /// First touch of one page of a mapping that stays: a page fault, and nothing else. Giving the pages back is not
    /// timed.
    Fault,
    /// Some hundred nanoseconds of arithmetic: no system call, no fault. Its waits are what any thread suffers.
    Spin,
    /// Sleeps for 1 ms, as a probe that looks for pauses does. Its wait is how much later it wakes up.
    Sleep,
}

/// A victim's operation and what it works on.
pub(super) enum Operation {
    Map { page: usize },
    Fault { memory: Mapping, page: usize, next: usize },
    Spin,
    Sleep,
}

impl Operation {
    pub(super) fn new(victim: Victim) -> io::Result<Self> {
        let page = memory::page_bytes();
        Ok(match victim {
            Victim::Map => Self::Map { page },
            Victim::Fault => {
                // Small pages also keep the kernel from merging this mapping with one of the antagonist's, whose lock
                // it would then share.
                let mut memory = Mapping::lazy(FAULT_BYTES)?;
                memory.small_pages_only();
                Self::Fault { memory, page, next: 0 }
            }
            Victim::Spin => Self::Spin,
            Victim::Sleep => Self::Sleep,
        })
    }

    pub(super) fn run(&mut self) -> io::Result<()> {
        match self {
            Self::Map { page } => {
                let mut memory = Mapping::lazy(MAP_BYTES)?;
                memory.touch(MAP_BYTES.min(*page) - 1);
            }
            Self::Fault { memory, page, next } => {
                memory.touch(*next);
                *next += *page;
            }
            Self::Spin => spin(),
            Self::Sleep => thread::sleep(SLEEP),
        }
        Ok(())
    }

    /// The part of a run that was asked for, and is no wait.
    pub(super) fn asked(&self) -> Duration {
        if matches!(self, Self::Sleep) { SLEEP } else { Duration::ZERO }
    }

    /// What must be done before the next run and is not timed.
    pub(super) fn prepare(&mut self) -> io::Result<()> {
        if let Self::Fault { memory, next, .. } = self
            && *next >= memory.bytes()
        {
            if !memory.forget() {
                return Err(io::ErrorKind::Unsupported.into());
            }
            *next = 0;
        }
        Ok(())
    }
}

/// Some hundred nanoseconds of dependent arithmetic.
pub(super) fn spin() {
    let mut x = 1_u64;
    for _ in 0..300 {
        x = hint::black_box(x.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (x >> 29));
    }
}
