//! What is wrong with this benchmark?
//!
//! Run it: `cargo run --release --bin lock_audit -- --step`
use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use underhood::{
    experiments::traps::{TRAPS, Trap},
    lab::{Bench, Bound, Kind, Lab, ONCE, Step, at_least, at_most, pick, sample::Sample, source},
    measure::audit::audit,
};

pub(crate) fn lab() -> Lab {
    underhood::lab!("lock_audit", "What is wrong with this benchmark?")
        .step(gallery())
        .say(
            "gallery",
            "A contended benchmark starts its threads anew for each sample. An audit looks at when the clock and the threads \
             ran, and finds {value} mistakes.",
            "thread_start_timed",
            "the work takes much longer than starting a thread, and the threads run at the same time",
        )
        .not_said(&[
            "That a benchmark is right if the audit finds nothing: it looks for these nine mistakes only.",
            "Anything about the locks in these benchmarks: their numbers are wrong by design, and are not shown.",
        ])
        .next(&[
            "Which of these mistakes can still happen with criterion? (all: criterion has no threads of its own, and \
             iter_custom leaves the clock to you)",
            "What would your own benchmark have to record, so that somebody else can audit it?",
            "How does a closed loop hide waits? (coordinated omission: a client that waits sends no further request)",
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
            "Of ten lock benchmarks nine have mistakes, and the last is sound. How many mistakes does the audit find in \
             the sound one?",
            "sound",
            "",
        )
        .columns(&["caught_share"])
        .each(&TRAPS, ONCE, |_, trap, _| Ok(audited(trap)))
        .bench_also([clock("clock/per_call", 1), clock("clock/per_1000", 1_000)])
        .claim(caught("thread_start_timed"), "the clock that also times the start of the threads is caught")
        .claim(caught("clock_after_barrier"), "the clock that is read late, after a barrier, is caught")
        .claim(caught("one_after_the_other"), "threads that never run at the same time are caught")
        .claim(caught("clone_in_one_arm"), "unequal work is caught")
        .claim(caught("write_lock_as_read"), "a read lock that is a write lock is caught")
        .claim(caught("shared_index"), "an index that all threads share in the loop is caught")
        .claim(caught("try_lock_uncounted"), "operations that did nothing but were counted are caught")
        .claim(caught("keys_per_thread"), "a hit ratio that changes with the number of threads is caught")
        .claim(caught("one_key_map"), "a map that is asked for only one key is caught")
        .claim(at_most(0.0, "sound"), "nothing is found in the sound benchmark")
        .because(
            "Each of the wrong benchmarks runs and prints a plausible number. The number never shows the mistake, but \
             other records do. They tell when the clock ran, when the threads worked and how much an operation did. They \
             also tell whether two readers were inside at once, what the loop costs without the lock, and which keys \
             were asked for.",
            source("src/measure/audit.rs"),
        )
        .because(
            "The benchmarks are in src/experiments/traps.rs, and the audit is in src/measure/audit.rs.",
            source("src/experiments/traps.rs, src/measure/audit.rs"),
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
    // Only the kind of a mistake: the figures differ from launch to launch, and each would be a remark of its own.
    found.iter().fold(s, |s, (_, what)| s.seeing(what.split(':').next().unwrap_or(what)))
}

/// A deliberate mistake, for criterion: the operation is so short that mostly the clock is measured. Compare `per_call` with `per_1000`.
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
