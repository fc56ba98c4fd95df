//! Whether a thread has its core to itself.
//!
//! Two hardware threads of a core share what executes instructions. On a rented machine the other one may belong to somebody else's virtual
//! machine, which nothing in the guest shows. Hardly any time is stolen, the CPU's speed is the same, and yet an allocation and its free take
//! 45 ns instead of 25, an uncontended mutex 6.4 instead of 5.5. It changes within seconds and lasts for minutes, so two sessions disagree
//! about most numbers at once.
//!
//! How to see it: run additions that do not depend on each other, and a chain of additions in which each needs the one before. The chain takes
//! one cycle for each, shared or not. The others fill the core, if it is ours. (AMD EPYC of the third generation: 3.4 to 3.9 for each
//! cycle with the core to itself, 1.9 to 3.2 beside another thread.)
use std::time::Instant;

/// A look that shows less than this share of the best one is at a shared core.
pub const SAME: f64 = 0.92;
/// Additions without a chain, a part of a look: about 2 us.
const FREE: u64 = 16_384;
/// Additions in a chain.
const CHAINED: u64 = 4_096;
/// Parts of a look.
const PARTS: usize = 3;

/// What one look saw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    /// Time of an addition that waits for nothing, in ns.
    pub free_ns: f64,
    /// Time of one in a chain: a cycle, in ns.
    pub cycle_ns: f64,
}

/// Looks now; takes about 10 us. `None` where nobody has written it for this processor. An interruption makes a look slower, never faster.
pub fn look() -> Option<Look> {
    let mut look = Look { free_ns: 0.0, cycle_ns: f64::INFINITY };
    for _ in 0..PARTS {
        let t = Instant::now();
        add_freely()?;
        look.free_ns += t.elapsed().as_secs_f64() * 1e9 / (FREE as f64 * PARTS as f64);
        let t = Instant::now();
        add_in_a_chain()?;
        look.cycle_ns = look.cycle_ns.min(t.elapsed().as_secs_f64() * 1e9 / CHAINED as f64);
    }
    Some(look).filter(|l| l.free_ns > 0.0 && l.cycle_ns > 0.0)
}

/// The looks of a launch: one before each block, which is whatever was measured until the next look, and one after the last.
#[derive(Debug)]
pub struct Looks(Vec<Look>);

impl Looks {
    /// `None` if any of them was impossible.
    pub fn new(looks: &[Option<Look>]) -> Option<Self> {
        looks.iter().copied().collect::<Option<Vec<_>>>().map(Self)
    }

    /// For each block, whether it had the core to itself: the looks before and after it are near the best one of all.
    ///
    /// If the core was shared during the whole launch, this cannot be seen here: only other launches can show it. A slower clock looks the same.
    pub fn whole(&self) -> Vec<bool> {
        let best = self.0.iter().map(|l| l.free_ns).fold(f64::INFINITY, f64::min);
        self.0.windows(2).map(|two| two.iter().all(|look| SAME * look.free_ns <= best)).collect()
    }

    /// How many additions that don't wait for each other the core did in one cycle before this block. A cycle is that of the fastest chain,
    /// since a shared core delays a chain a little, too.
    pub fn additions_per_cycle(&self, block: usize) -> f64 {
        self.0.iter().map(|l| l.cycle_ns).fold(f64::INFINITY, f64::min) / self.0[block].free_ns
    }
}

#[cfg(target_arch = "x86_64")]
fn add_freely() -> Option<()> {
    // SAFETY: adds to registers and counts one of them down to zero; touches neither memory nor the stack.
    unsafe {
        std::arch::asm!(
            "2:",
            ".rept 8",
            "add {0}, 1", "add {1}, 1", "add {2}, 1", "add {3}, 1",
            "add {4}, 1", "add {5}, 1", "add {6}, 1", "add {7}, 1",
            ".endr",
            "dec {n}",
            "jnz 2b",
            inout(reg) 0_u64 => _, inout(reg) 0_u64 => _, inout(reg) 0_u64 => _, inout(reg) 0_u64 => _,
            inout(reg) 0_u64 => _, inout(reg) 0_u64 => _, inout(reg) 0_u64 => _, inout(reg) 0_u64 => _,
            n = inout(reg) FREE / 64 => _,
            options(nomem, nostack),
        );
    }
    Some(())
}

#[cfg(target_arch = "x86_64")]
fn add_in_a_chain() -> Option<()> {
    // SAFETY: as above.
    unsafe {
        std::arch::asm!(
            "2:", ".rept 64", "add {a}, 1", ".endr", "dec {n}", "jnz 2b",
            a = inout(reg) 0_u64 => _,
            n = inout(reg) CHAINED / 64 => _,
            options(nomem, nostack),
        );
    }
    Some(())
}

#[cfg(target_arch = "aarch64")]
fn add_freely() -> Option<()> {
    // SAFETY: adds to registers and counts one of them down to zero; touches neither memory nor the stack.
    unsafe {
        std::arch::asm!(
            "2:",
            ".rept 8",
            "add {0}, {0}, #1", "add {1}, {1}, #1", "add {2}, {2}, #1", "add {3}, {3}, #1",
            "add {4}, {4}, #1", "add {5}, {5}, #1", "add {6}, {6}, #1", "add {7}, {7}, #1",
            ".endr",
            "subs {n}, {n}, #1",
            "b.ne 2b",
            inout(reg) 0_u64 => _, inout(reg) 0_u64 => _, inout(reg) 0_u64 => _, inout(reg) 0_u64 => _,
            inout(reg) 0_u64 => _, inout(reg) 0_u64 => _, inout(reg) 0_u64 => _, inout(reg) 0_u64 => _,
            n = inout(reg) FREE / 64 => _,
            options(nomem, nostack),
        );
    }
    Some(())
}

#[cfg(target_arch = "aarch64")]
fn add_in_a_chain() -> Option<()> {
    // SAFETY: as above.
    unsafe {
        std::arch::asm!(
            "2:", ".rept 64", "add {a}, {a}, #1", ".endr", "subs {n}, {n}, #1", "b.ne 2b",
            a = inout(reg) 0_u64 => _,
            n = inout(reg) CHAINED / 64 => _,
            options(nomem, nostack),
        );
    }
    Some(())
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn add_freely() -> Option<()> {
    None
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn add_in_a_chain() -> Option<()> {
    None
}
