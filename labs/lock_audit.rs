//! What is wrong with this benchmark?
//!
//! Run it: `cargo run --release --bin lock_audit -- --step`
use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use underhood::{
    experiments::traps::{TRAPS, Trap},
    lab::{Bench, Bound, Evidence, Kind, Lab, ONCE, Step, at_least, at_most, pick, sample::Sample, source},
    measure::audit::audit,
};

pub(crate) fn lab() -> Lab {
    underhood::lab!("lock_audit", "What is wrong with this benchmark?")
        .step(gallery())
        .say(
            "gallery",
            "A contended benchmark with threads that are started for each sample: an audit of when clock and threads ran found {value} flaws.",
            "thread_start_timed",
            "the work is so long that the start of a thread does not count, and the threads meet",
        )
        .not_said(&[
            "That a benchmark in which nothing is found is right: it was asked these nine questions.",
            "Anything about the locks in these benchmarks: their numbers are wrong by design, and are not shown.",
        ])
        .next(&[
            "Which of them can still happen with criterion? (all: it has no threads of its own; iter_custom leaves the clock to you)",
            "What would you note in your own benchmark, so that somebody else can audit it?",
            "How does a closed loop hide waits? (coordinated omission: the one that waits asks no more)",
        ])
        .sources(&[
            "parking_lot benchmark/src/rwlock.rs before #486: a write lock for \"read\", for nine years",
            "bytecodealliance/wasmtime#4398, ARM-software/synchronization-benchmarks#66: threads that did not overlap",
            "jonhoo/bustle 0.5.1: the share of hits moves with the threads; xacrimon/dashmap#306: a map of one key",
            "xacrimon/conc-map-bench#11: an exclusive get for reads; DataDog/dd-trace-java#11988: a shared index",
        ])
}

fn gallery() -> Step {
    Step::new("gallery", Kind::Count, "flaws_count")
        .ask_number(
            "Ten lock benchmarks; nine make one mistake each, the last is sound. How many flaws are found in the sound one?",
            "sound",
            "",
        )
        .columns(&["caught_share"])
        .each(&TRAPS, ONCE, |_, trap, _| Ok(audited(trap)))
        .bench_also([clock("clock/per_call", 1), clock("clock/per_1000", 1_000)])
        .claim(caught("thread_start_timed"), "the clock that also times the start of the threads is caught")
        .claim(caught("clock_after_barrier"), "the clock that is read late, after a barrier, is caught")
        .claim(caught("one_after_the_other"), "threads that never meet are caught")
        .claim(caught("clone_in_one_arm"), "unequal work is caught")
        .claim(caught("write_lock_as_read"), "a read lock that is a write lock is caught")
        .claim(caught("shared_index"), "a shared index in the loop is caught")
        .claim(caught("try_lock_uncounted"), "operations that did nothing, and were counted, are caught")
        .claim(caught("keys_per_thread"), "a hit ratio that moves with the threads is caught")
        .claim(caught("one_key_map"), "a map of one key is caught")
        .claim(at_most(0.0, "sound"), "and nothing is found in the sound benchmark")
        .because(
            "None of the nine fails, and each prints a number. What gives them away is never the number, but what else was noted. That is \
             when the clock ran and when the threads worked, how much an operation did, and whether readers met. It is also what the loop \
             costs without the lock, how much of what was counted happened, and which keys were asked for.",
            source("src/measure/audit.rs"),
        )
        .because(
            "Read each in src/experiments/traps.rs, and what catches it in src/measure/audit.rs.",
            source("src/experiments/traps.rs, src/measure/audit.rs"),
        )
        .because(
            "A benchmark that notes none of this cannot be audited, which is a finding too.",
            Evidence::None,
        )
}

fn caught(case: &'static str) -> Bound {
    at_least(1.0, pick(case, "", "caught_share"))
}

/// Runs a benchmark and audits it. `caught_share` is 1 if the mistake that it makes was named, and not given for the sound one.
fn audited(trap: &Trap) -> Sample {
    let found = audit(&(trap.run)());
    let mut s = Sample::default().with("flaws_count", found.len() as f64);
    if let Some(own) = trap.flaw {
        s = s.with("caught_share", f64::from(u8::from(found.iter().any(|(flaw, _)| *flaw == own))));
    }
    // The kinds only: the figures differ from launch to launch, and would each be a remark of its own.
    found.iter().fold(s, |s, (_, what)| s.seeing(what.split(':').next().unwrap_or(what)))
}

/// One flaw on purpose, for criterion: an operation so short that the clock is what is measured. Look at `per_call`, then at `per_1000`.
fn clock(id: &str, at_once: u64) -> Bench {
    Bench::new(id, move |_| {
        let m = Mutex::new(0u64);
        Box::new(move |n| {
            let mut spent = Duration::ZERO;
            let mut left = n;
            while left > 0 {
                let now = left.min(at_once);
                let t = Instant::now();
                (0..now).for_each(|_| *m.lock().expect("no holder panics") += 1);
                spent += t.elapsed();
                left -= now;
            }
            spent
        })
    })
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}
