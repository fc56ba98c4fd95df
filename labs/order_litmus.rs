//! Which reorderings does this CPU show, and which does the language allow?
//!
//! Run it: `cargo run --release --bin order_litmus -- --step`
use underhood::{
    lab::{Bench, Claim, Expect, Kind, Lab, Launch, Predict, Say, Step, pick, plan::Plan, sample::Sample},
    measure::{
        order::Order,
        outcomes::{MANNERS, PROGRAMS, Tally, litmus},
    },
};

const PARAMS: &[&str] = &["relaxed", "rel_acq", "seqcst", "fence"];
const NEVER: Expect = Expect::AtMost(0.0);
/// Once is enough. No share: how often it is seen depends on how often the harness lets the threads meet.
const SEEN: Expect = Expect::AtLeast(1.0);
/// "Never" needs so many instances in each launch in which the threads demonstrably met. That is a hundred or more in a run of five launches, of
/// which likely less than 3 in 100 hide the outcome (the rule of three).
const LEAST_MET: u64 = 20;

const fn outcome(text: &'static str, case: &'static str, param: &'static str, expect: Expect) -> Claim {
    Claim { text, of: pick(case, param, "weak_count"), against: None, expect, cores: 2 }
}

pub(crate) static LAB: Lab = Lab {
    stem: "order_litmus",
    question: "Which reorderings does this CPU show, and which does the language allow?",
    steps: &[
        Step {
            name: "store_then_load",
            ask: "x = 1; r0 = y beside y = 1; r1 = x, all with Release and Acquire, a few million times. How often do both read 0?",
            predict: Predict::Number { case: "sb", param: "rel_acq" },
            kind: Kind::Chance,
            cases: &["sb"],
            params: PARAMS,
            launch: Launch::Together,
            measure: count,
            headline: "weak_count",
            columns: &["met_count", "samples_count"],
            claims: &[
                outcome(
                    "interesting: both read 0 with Relaxed; the language allows it",
                    "sb",
                    "relaxed",
                    SEEN,
                ),
                outcome(
                    "interesting: with Release and Acquire as well, which order no store before a load",
                    "sb",
                    "rel_acq",
                    SEEN,
                ),
                outcome("forbidden: never if all are SeqCst", "sb", "seqcst", NEVER),
                outcome("forbidden: never with a SeqCst fence in between", "sb", "fence", NEVER),
            ],
            because: "A store waits in the core's store buffer until the line is there; the load after it does not wait. So each thread can read the \
                      old value of the other's word, on every common CPU, x86 included. It is the one reordering that x86 shows, and the reason \
                      for every \"announce, fence, look\": Peterson's lock, park and unpark (lab order_wakeup), hazard pointers. SeqCst compiles to \
                      a store that empties the buffer; loom treats SeqCst accesses as Release and Acquire and reports this one falsely (its issue \
                      180), and knows the fence. See `part` in src/measure/outcomes.rs.",
            tour: true,
        },
        Step {
            name: "all",
            ask: "Which other outcomes that the language allows does this CPU show? Here: a message whose flag is seen before its text.",
            predict: Predict::Number { case: "mp", param: "relaxed" },
            kind: Kind::Chance,
            cases: &["mp", "lb", "corr", "two_writes", "iriw"],
            params: PARAMS,
            launch: Launch::Together,
            measure: count,
            headline: "weak_count",
            columns: &["met_count", "samples_count"],
            claims: &[
                outcome(
                    "x86: the flag is never seen before the text, though Relaxed allows it",
                    "mp",
                    "relaxed",
                    NEVER,
                ),
                outcome("forbidden: nor with Release and Acquire, anywhere", "mp", "rel_acq", NEVER),
                outcome(
                    "x86: no load sees a store that comes after it in the other thread, though Relaxed allows it",
                    "lb",
                    "relaxed",
                    NEVER,
                ),
                outcome("forbidden: one word never goes back, even with Relaxed", "corr", "relaxed", NEVER),
                outcome(
                    "x86: two stores of each thread are seen in order, though Release allows both first ones to be last",
                    "two_writes",
                    "rel_acq",
                    NEVER,
                ),
                outcome(
                    "x86: two readers agree which write came first, though Release and Acquire allow that they don't",
                    "iriw",
                    "rel_acq",
                    NEVER,
                ),
                outcome("forbidden: with SeqCst they agree anywhere", "iriw", "seqcst", NEVER),
            ],
            because: "What x86 forbids, the compiler may still do, and ARM or POWER do show. A program that relies on it is wrong in the language and right \
                      on this machine, until it is recompiled: \"never seen in millions of runs\" is no proof. The models explore what the language \
                      allows: loom finds MP, SB, IRIW with Relaxed; it never shows LB, which it does not model. met_count says how often both threads \
                      demonstrably were in one instance: without it, \"never\" means nothing, and below twenty in a launch nothing is said.",
            tour: false,
        },
    ],
    says: &[Say {
        step: "store_then_load",
        text: "With Release and Acquire, two threads that each store and then look at the other's word have both missed it on this CPU: seen {value} \
               times in {against} tries.",
        of: pick("sb", "rel_acq", "weak_count"),
        against: Some(pick("sb", "rel_acq", "samples_count")),
        not_true_when: "the two do not run at the same time: then each sees what the other has stored",
    }],
    not_said: &[
        "That an outcome never seen is impossible: only the language's model says that, and another CPU may show it.",
        "How likely a reordering is, here or in your program: in nearly all tries one thread is done before the other begins, and the count says how \
         often they met as much as what the CPU does.",
        "That Relaxed is safe on x86: the compiler reorders as well, and the next machine is an ARM.",
    ],
    next: &[
        "Which of them breaks a lock written without SeqCst? (Peterson's: store buffering)",
        "Why is the compare-and-exchange loop of a lock not affected? (a read-modify-write empties the buffer on x86)",
        "Which tool would you use to prove it? (a model of the language: loom, GenMC, herd7; not a stress test)",
    ],
    sources: &[
        "J. Alglave, L. Maranget, M. Tautschnig, Herding Cats, TOPLAS 2014: the programs and their models",
        "openjdk/jcstress: outcomes graded beforehand as acceptable, interesting, forbidden",
        "C++20 [atomics.order], as Rust's std::sync::atomic takes it over",
        "tokio-rs/loom#180: SeqCst accesses are modelled as AcqRel",
    ],
    benches,
};

/// Every case at every parameter, in random order.
fn count(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let mut turn: Vec<(&str, &str)> =
        cases.iter().flat_map(|c| params.iter().map(move |p| (*c, *p))).collect();
    Order::new(plan.seed ^ (plan.launch as u64) << 32).shuffle(&mut turn);
    let one = |(case, param): (&str, &str)| {
        let program = PROGRAMS.iter().find(|p| p.0 == case).expect("the step names programs").1;
        let manner = MANNERS.iter().find(|m| m.0 == param).expect("the step names manners").1;
        match litmus(program, manner, &plan.cpus, plan.slice / 3) {
            Ok(tally) => sample(case, param, tally, program.is_allowed(manner)),
            Err(why) => Sample::unmeasured(case, param, why.to_string()),
        }
    };
    turn.into_iter().map(one).collect()
}

/// The counts, and beside them what the language says.
fn sample(case: &str, param: &str, tally: Tally, allowed: bool) -> Sample {
    // One sight is a proof; none in a few meetings is nothing.
    if tally.weak == 0 && tally.met < LEAST_MET {
        let why = format!(
            "not seen, but the threads demonstrably met in only {} of {} instances: fewer than {LEAST_MET}",
            tally.met, tally.samples
        );
        return Sample::unmeasured(case, param, why);
    }
    Sample::new(case, param)
        .with("weak_count", tally.weak as f64)
        .with("met_count", tally.met as f64)
        .with("samples_count", tally.samples as f64)
        .seeing(match (allowed, tally.weak > 0) {
            (true, true) => "the language allows it, and this CPU shows it",
            (true, false) => "the language allows it; not seen on this CPU",
            (false, false) => "the language forbids it, and it was not seen",
            (false, true) => "FORBIDDEN by the language, and seen: a broken compiler, CPU, or harness",
        })
}

fn benches(_plan: &Plan) -> Vec<Bench> {
    Vec::new() // outcomes are counted, not timed
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(&LAB)
}
