//! Which reorderings does this CPU show, and which does the language allow?
//!
//! Run it: `cargo run --release --bin order_litmus -- --step`
use underhood::{
    lab::{
        Bound, Evidence, Kind, Lab, Setting, Step, at_least, at_most, pick, ratio, sample::Sample, shown_by,
        source,
    },
    measure::outcomes::{MANNERS, PROGRAMS, Program, Tally, by_lot, litmus},
};

const SB: &[Setting<Program>] = &[PROGRAMS[0]];
const OTHERS: &[Setting<Program>] = &[PROGRAMS[1], PROGRAMS[2], PROGRAMS[3], PROGRAMS[4], PROGRAMS[5]];
/// "Never" needs so many instances in each launch in which the threads demonstrably met. That is a hundred or more in a run of five launches, of
/// which likely less than 3 in 100 hide the outcome (the rule of three).
const LEAST_MET: u64 = 20;

pub(crate) fn lab() -> Lab {
    underhood::lab!("order_litmus", "Which reorderings does this CPU show, and which does the language allow?")
        .step(store_then_load())
        .step(all())
        .say(
            "store_then_load",
            "With Release and Acquire, two threads that each store and then look at the other's word have both missed it on this CPU: seen {value} \
             times in {against} tries.",
            ratio(("sb", "rel_acq"), pick("sb", "rel_acq", "samples_count")),
            "the two do not run at the same time: then each sees what the other has stored",
        )
        .not_said(&[
            "That an outcome never seen is impossible: only the language's model says that, and another CPU may show it.",
            "How likely a reordering is, here or in your program: in nearly all tries one thread is done before the other begins, and the count says how \
             often they met as much as what the CPU does.",
            "That Relaxed is safe on x86: the compiler reorders as well, and the next machine is an ARM.",
        ])
        .next(&[
            "Which of them breaks a lock written without SeqCst? (Peterson's: store buffering)",
            "Why is the compare-and-exchange loop of a lock not affected? (a read-modify-write empties the buffer on x86)",
            "Which tool would you use to prove it? (a model of the language: loom, GenMC, herd7; not a stress test)",
        ])
        .sources(&[
            "J. Alglave, L. Maranget, M. Tautschnig, Herding Cats, TOPLAS 2014: the programs and their models",
            "openjdk/jcstress: outcomes graded beforehand as acceptable, interesting, forbidden",
            "C++20 [atomics.order], as Rust's std::sync::atomic takes it over",
            "tokio-rs/loom#180: SeqCst accesses are modelled as AcqRel",
        ])
}

/// Once is enough. No share: how often it is seen depends on how often the harness lets the threads meet.
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
            "x = 1; r0 = y beside y = 1; r1 = x, all with Release and Acquire, a few million times. How often do both read 0?",
            "sb",
            "rel_acq",
        )
        .claim(seen("sb", "relaxed"), "interesting: both read 0 with Relaxed; the language allows it")
        .claim(
            seen("sb", "rel_acq"),
            "interesting: with Release and Acquire as well, which order no store before a load",
        )
        .claim(never("sb", "seqcst"), "forbidden: never if all are SeqCst")
        .claim(never("sb", "fence"), "forbidden: never with a SeqCst fence in between")
        .because(
            "A store waits in the core's store buffer until the line is there; the load after it does not wait. \
             So each thread can read the old value of the other's word, on every common CPU, x86 included.",
            shown_by(never("sb", "fence")),
        )
        .because(
            "It is the one reordering that x86 shows, and the reason for every \"announce, fence, look\": \
             Peterson's lock, park and unpark (lab order_wakeup), hazard pointers.",
            source("J. Alglave, L. Maranget, M. Tautschnig, Herding Cats, TOPLAS 2014"),
        )
        .because("SeqCst compiles to a store that empties the buffer.", shown_by(never("sb", "seqcst")))
        .because(
            "loom treats SeqCst accesses as Release and Acquire and reports this one falsely (its issue 180), and knows the fence. \
             See `part` in src/measure/outcomes.rs.",
            source("tokio-rs/loom#180"),
        )
        .in_tour()
}

fn all() -> Step {
    counted("all", OTHERS)
        .ask_number(
            "Which other outcomes that the language allows does this CPU show? Here: a message whose flag is seen before its text.",
            "mp",
            "relaxed",
        )
        .claim(
            never("mp", "relaxed"),
            "x86: the flag is never seen before the text, though Relaxed allows it",
        )
        .claim(never("mp", "rel_acq"), "forbidden: nor with Release and Acquire, anywhere")
        .claim(
            never("lb", "relaxed"),
            "x86: no load sees a store that comes after it in the other thread, though Relaxed allows it",
        )
        .claim(never("corr", "relaxed"), "forbidden: one word never goes back, even with Relaxed")
        .claim(
            never("two_writes", "rel_acq"),
            "x86: two stores of each thread are seen in order, though Release allows both first ones to be last",
        )
        .claim(
            never("iriw", "rel_acq"),
            "x86: two readers agree which write came first, though Release and Acquire allow that they don't",
        )
        .claim(never("iriw", "seqcst"), "forbidden: with SeqCst they agree anywhere")
        .because(
            "What x86 forbids, the compiler may still do, and ARM or POWER do show.",
            source("J. Alglave, L. Maranget, M. Tautschnig, Herding Cats, TOPLAS 2014"),
        )
        .because(
            "A program that relies on it is wrong in the language and right on this machine, until it is recompiled: \
             \"never seen in millions of runs\" is no proof.",
            Evidence::None,
        )
        .because(
            "The models explore what the language allows: loom finds MP, SB, IRIW with Relaxed; it never shows LB, which it does not model.",
            Evidence::None,
        )
        .because(
            "met_count says how often both threads demonstrably were in one instance: without it, \"never\" means nothing, \
             and below twenty in a launch nothing is said.",
            source("src/measure/outcomes.rs"),
        )
}

/// The counts, and beside them what the language says.
fn sample(tally: Tally, allowed: bool) -> Result<Sample, String> {
    // One sight is a proof; none in a few meetings is nothing.
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
