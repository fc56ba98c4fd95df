//! What it costs to ask the kernel: a system call, a clock that the kernel lets a program read by itself (vDSO), and a plain function.
use std::{hint::black_box, time::Instant};

use crate::{
    lab::{Check, Contender},
    measure::cost::{Ops, Solo},
};

/// A call, as a contender.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    is: Contender,
    make: fn() -> Ops,
}

impl AsRef<Contender> for Call {
    fn as_ref(&self) -> &Contender {
        &self.is
    }
}

impl Call {
    /// To be timed.
    pub fn solo(&self) -> Solo {
        Solo::new(self.is.id, self.make)
    }
}

const fn call(id: &'static str, name: &'static str, check: Check, make: fn() -> Ops) -> Call {
    Call { is: Contender::new(id).called(name).checked(check), make }
}

/// A function that is not inlined.
pub static FUNCTION: Call = call("function", "a function", || Ok(()), || repeated(|x| black_box(plain(x))));

/// The clock, as a program reads it: on Linux by code that the kernel has mapped into it.
pub static CLOCK: Call = call(
    "clock",
    "clock, by vDSO",
    || Ok(()),
    || {
        repeated(|x| {
            black_box(Instant::now());
            x
        })
    },
);

/// The same clock, asked by a system call.
pub static CLOCK_CALL: Call = call(
    "clock_call",
    "clock, by system call",
    || agrees(monotonic_ns),
    || repeated(|x| x ^ monotonic_ns().unwrap_or_default()),
);

/// Who the parent process is: a system call that does next to nothing.
pub static PARENT: Call = call("getppid", "getppid", is_parent, || repeated(|x| x ^ u64::from(parent_id())));

fn repeated(mut one: impl FnMut(u64) -> u64 + 'static) -> Ops {
    Box::new(move |n| {
        let mut x = n;
        for _ in 0..n {
            x = one(x);
        }
        black_box(x);
    })
}

#[inline(never)]
fn plain(x: u64) -> u64 {
    x.rotate_left(7) ^ 0x9e37
}

fn parent_id() -> u32 {
    #[cfg(unix)]
    return std::os::unix::process::parent_id();
    #[cfg(not(unix))]
    0
}

fn is_parent() -> Result<(), String> {
    match parent_id() {
        0 if cfg!(not(unix)) => Err("this system has no getppid".into()),
        _ => Ok(()),
    }
}

/// What a clock must show before it is timed: it goes forward, and at about the pace of the clock that the program reads.
///
/// # Errors
/// In a sentence.
pub fn agrees(clock: impl Fn() -> Option<u64>) -> Result<(), String> {
    let (began, from) = (Instant::now(), clock());
    std::thread::sleep(std::time::Duration::from_millis(2));
    let (to, most) = (clock(), began.elapsed());
    let (Some(from), Some(to)) = (from, to) else {
        return Err("this system has no such clock, or no such call".into());
    };
    let went = to.saturating_sub(from);
    let fits = went >= 2_000_000 && u128::from(went) <= most.as_nanos();
    fits.then_some(()).ok_or_else(|| format!("the clock went {went} ns while {} ns passed", most.as_nanos()))
}

/// CLOCK_MONOTONIC by a system call; `None` where there is none.
fn monotonic_ns() -> Option<u64> {
    #[cfg(target_os = "linux")]
    {
        let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the kernel writes a timespec to `t`, which is valid and outlives the call.
        let rc = unsafe { libc::syscall(libc::SYS_clock_gettime, libc::CLOCK_MONOTONIC, &raw mut t) };
        let seconds = u64::try_from(t.tv_sec).ok()?;
        (rc == 0).then_some(seconds * 1_000_000_000 + u64::try_from(t.tv_nsec).ok()?)
    }
    #[cfg(not(target_os = "linux"))]
    None
}
