//! Kernels of three labs, as other measuring programs take them: a closure that does [`OPS`] operations.
use std::time::Instant;

use underhood::{
    contenders::{collections, limiter, lock},
    measure::cost::Solo,
};

/// Operations of one call, so that what a program adds to each call does not count.
pub const OPS: u64 = 10_000;

/// Lab, step, parameter and case of each kernel: `lab/step/param/case`.
pub const KERNELS: [&str; 7] = [
    "lock_mutex/alone//std_mutex",
    "lock_mutex/alone//pl013_mutex",
    "lock_mutex/alone//tokio_mutex",
    "flow_rate_limit/decide/passing/gcra",
    "flow_rate_limit/decide/passing/governor",
    "collections_cost/small/n_64/vec_scan",
    "collections_cost/small/n_64/hash_siphash",
];

fn solo(id: &str) -> Solo {
    match id.rsplit('/').next() {
        Some("std_mutex") => lock::STD_MUTEX.writes(),
        Some("pl013_mutex") => lock::PL013_MUTEX.writes(),
        Some("tokio_mutex") => lock::TOKIO_MUTEX.writes(),
        Some("gcra") => limiter::GCRA.passing(),
        Some("governor") => limiter::GOVERNOR.passing(),
        Some("vec_scan") => collections::VEC_SCAN.find(64),
        Some("hash_siphash") => collections::HASH_SIPHASH.find(64),
        _ => panic!("there is no kernel {id}"),
    }
}

/// The kernel. With the feature `slower` each call takes 4 % longer.
pub fn kernel(id: &str) -> impl FnMut() + 'static {
    let mut ops = (solo(id).make)();
    move || {
        let begun = Instant::now();
        ops(OPS);
        if cfg!(feature = "slower") {
            let until = begun.elapsed().mul_f64(1.04);
            while begun.elapsed() < until {}
        }
    }
}
