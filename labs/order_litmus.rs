//! Which reorderings does this CPU show, and which does the language allow?
//!
//! Run it: `cargo run --release --bin order_litmus -- --step`
use underhood::{
    lab::{
        Bound, Kind, Lab, Setting, Step, at_least, at_most, pick, ratio, sample::Sample, shown_by, source,
    },
    measure::outcomes::{MANNERS, PROGRAMS, Program, Tally, by_lot, litmus},
};

const SB: &[Setting<Program>] = &[PROGRAMS[0]];
const OTHERS: &[Setting<Program>] = &[PROGRAMS[1], PROGRAMS[2], PROGRAMS[3], PROGRAMS[4], PROGRAMS[5]];
/// To say "never", each launch needs this many instances in which the threads demonstrably met. A run of five launches then has a hundred
/// or more. If none of these shows the outcome, its share is likely below 3 in 100 (the rule of three).
const LEAST_MET: u64 = 20;

pub(crate) fn lab() -> Lab {
    underhood::lab!("order_litmus", "Which reorderings does this CPU show, and which does the language allow?")
        .step(store_then_load())
        .step(all())
        .say(
            "store_then_load",
            "Two threads each store to a word of their own and then load the other's. With Release and Acquire both loads \
             may still see the old value (store buffering): on this CPU that happened {value} times in {against} tries.",
            ratio(("sb", "rel_acq"), pick("sb", "rel_acq", "samples_count")),
            "the two do not run at the same time: then the later one sees what the other has stored",
        )
        .not_said(&[
            "That an outcome that was never seen is impossible: only the language's memory model can say that, and another \
             CPU may show the outcome.",
            "How likely a reordering is, here or in your program. In most tries the threads did not demonstrably meet, so \
             the count also depends on how often they met.",
            "That Relaxed is safe on x86: the compiler reorders as well, and the next machine is an ARM.",
        ])
        .next(&[
            "Which reordering breaks a lock that is written without SeqCst? (store buffering, in Peterson's lock)",
            "Why is the compare-and-exchange loop of a lock not affected? (a read-modify-write empties the store buffer on \
             x86)",
            "Which tool would you use to prove it? (a model of the language: loom, GenMC, herd7; not a stress test)",
        ])
        .sources(&[
            "J. Alglave, L. Maranget, M. Tautschnig, Herding Cats, TOPLAS 2014: the programs and their models",
            "openjdk/jcstress: outcomes graded beforehand as acceptable, interesting, forbidden",
            "C++20 [atomics.order], as Rust's std::sync::atomic takes it over",
            "tokio-rs/loom#180: SeqCst accesses are modelled as AcqRel",
        ])
}

/// Seen once is enough. No share is claimed, because it depends on how often the harness lets the threads meet.
fn seen(case: &'static str, param: &'static str) -> Bound {
    at_least(1.0, (case, param)).cores(2)
}

fn never(case: &'static str, param: &'static str) -> Bound {
    at_most(0.0, (case, param)).cores(2)
}

/// Each program in each manner, and how often the outcome in question was seen.
fn counted(name: &'static str, programs: &'static [Setting<Program>]) -> Step {
    Step::new(name, Kind::Chance, "weak_count")
        .columns(&["met_count", "samples_count"])
        .contenders(programs)
        .over_all(MANNERS, move |plan, manners| {
            by_lot(plan, programs, manners, |program, manner| {
                let tally = litmus(program.value, *manner, &plan.cpus, plan.slice / 3);
                sample(tally.map_err(|e| e.to_string())?, program.value.is_allowed(*manner))
            })
        })
}

fn store_then_load() -> Step {
    counted("store_then_load", SB)
        .ask_number(
            "One thread runs x = 1; r0 = y, and another y = 1; r1 = x, all with Release and Acquire. In a few million runs, \
             how often do both read 0?",
            "sb",
            "rel_acq",
        )
        .claim(seen("sb", "relaxed"), "interesting: both read 0 with Relaxed; the language allows it")
        .claim(
            seen("sb", "rel_acq"),
            "interesting: both read 0 with Release and Acquire as well, since these do not order a store before a later \
             load",
        )
        .claim(never("sb", "seqcst"), "forbidden: both never read 0 if all accesses are SeqCst")
        .claim(never("sb", "fence"), "forbidden: both never read 0 with a SeqCst fence between the store and the load")
        .because(
            "A store waits in the core's store buffer until the cache line is there. The load after it does not wait. So each \
             thread can read the old value of the other's word, on every common CPU, x86 included. A full fence waits until \
             the buffer is empty. With a fence, this never happened.",
            shown_by(never("sb", "fence")),
        )
        .because(
            "Store buffering is the only reordering that x86 shows. It is the reason for the pattern \"announce, fence, look\" \
             in Peterson's lock, park and unpark (lab order_wakeup) and hazard pointers.",
            source("J. Alglave, L. Maranget, M. Tautschnig, Herding Cats, TOPLAS 2014"),
        )
        .because("A SeqCst store compiles to an instruction that empties the store buffer.", shown_by(never("sb", "seqcst")))
        .because(
            "loom treats SeqCst accesses as Release and Acquire, so it wrongly reports this outcome for them (its issue \
             180). It does model SeqCst fences. See `part` in src/measure/outcomes.rs.",
            source("tokio-rs/loom#180"),
        )
        .in_tour()
}

fn all() -> Step {
    counted("all", OTHERS)
        .ask_number(
            "Which other outcomes that the language allows does this CPU show? For example, how often is a message's flag \
             seen before its text?",
            "mp",
            "relaxed",
        )
        .claim(
            never("mp", "relaxed"),
            "x86: the flag is never seen before the text, though Relaxed allows it",
        )
        .claim(never("mp", "rel_acq"), "forbidden: with Release and Acquire, no CPU ever shows the flag before the text")
        .claim(
            never("lb", "relaxed"),
            "x86: two threads that each load and then store never both see the other's store, though Relaxed allows it",
        )
        .claim(
            never("corr", "relaxed"),
            "forbidden: two loads of one word never see a new value and then an old one, even with Relaxed",
        )
        .claim(
            never("two_writes", "rel_acq"),
            "x86: the two stores of each thread take effect in order, though Release allows both first stores to end up \
             last",
        )
        .claim(
            never("iriw", "rel_acq").cores(4),
            "x86: two readers agree which write came first, though Release and Acquire allow that they don't",
        )
        .claim(never("iriw", "seqcst").cores(4), "forbidden: with SeqCst the two readers agree on every CPU")
        .because(
            "The compiler may still do what x86 forbids, and ARM or POWER CPUs do show it.",
            source("J. Alglave, L. Maranget, M. Tautschnig, Herding Cats, TOPLAS 2014"),
        )
        .because(
            "A program that relies on the order of x86 is wrong in the language. It is right on this machine until it is \
             recompiled: \"never seen in millions of runs\" is no proof.",
            source("C++20 [atomics.order], as Rust's std::sync::atomic takes it over"),
        )
        .because(
            "The models explore what the language allows. With Relaxed, loom finds message passing (MP), store buffering \
             (SB) and the two disagreeing readers (IRIW). It does not model load buffering (LB), so it never shows that.",
            source("tests/model/scenarios; tokio-rs/loom, README: Relaxed load buffering is not modelled"),
        )
        .because(
            "met_count says how often both threads demonstrably were in the same instance at the same time. Without it, \
             \"never\" means nothing. Below twenty in a launch, the lab says nothing.",
            source("src/measure/outcomes.rs"),
        )
}

/// The counts, and beside them what the language says.
fn sample(tally: Tally, allowed: bool) -> Result<Sample, String> {
    // Seen once is a proof. Not seen in a few meetings shows nothing.
    if tally.weak == 0 && tally.met < LEAST_MET {
        return Err(format!(
            "not seen, but the threads demonstrably met in only {} of {} instances: fewer than {LEAST_MET}",
            tally.met, tally.samples
        ));
    }
    Ok(Sample::default()
        .with("weak_count", tally.weak as f64)
        .with("met_count", tally.met as f64)
        .with("samples_count", tally.samples as f64)
        .seeing(match (allowed, tally.weak > 0) {
            (true, true) => "the language allows it, and this CPU shows it",
            (true, false) => "the language allows it; not seen on this CPU",
            (false, false) => "the language forbids it, and it was not seen",
            (false, true) => "FORBIDDEN by the language, and seen: a broken compiler, CPU, or harness",
        }))
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}
