//! A hold time or think time: a dependent chain of multiplies that touches no memory.
//!
//! The time asked for is a request. What is printed is the time achieved: labs run the same work without a lock
//! (the `empty` case) in the same lanes and report that.
use std::{hint::black_box, time::Instant};

/// Runs `iterations` dependent multiplies: about 1 ns each, and no other effect.
#[inline(always)]
pub fn spin(iterations: u32) {
    black_box(chain(u64::from(iterations) | 1, iterations));
}

/// The chain of multiplies itself. Feed one call's result to the next where the time must be linear in the count: otherwise a
/// processor overlaps the end of one call with the beginning of the next.
#[inline(always)]
pub fn chain(mut x: u64, iterations: u32) -> u64 {
    for _ in 0..iterations {
        // The shift keeps the compiler from folding the multiplies into a power.
        x = (x ^ (x >> 7)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    x
}

/// How long one iteration of [`spin()`] takes on this thread now, in ns: the 25th percentile of 31 short probes, so that an
/// interruption does not count.
pub fn ns_per_iteration() -> f64 {
    const ITERATIONS: u32 = 20_000;
    let mut probes: Vec<f64> = (0..31)
        .map(|_| {
            let t = Instant::now();
            spin(black_box(ITERATIONS));
            t.elapsed().as_secs_f64() * 1e9 / f64::from(ITERATIONS)
        })
        .collect();
    probes.sort_by(f64::total_cmp);
    probes[7].max(1e-3)
}

/// Iterations for about this many ns.
pub fn iterations(ns: f64, ns_per_iteration: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to the range of u32"
    )]
    let n = (ns / ns_per_iteration).round().clamp(0.0, f64::from(u32::MAX)) as u32;
    n
}
