//! Which instrument finds which concurrency bug, and after how long?
//!
//! Run it: `cargo run --release --bin order_detect -- --step`
use std::time::Duration;

use underhood::{
    lab::{
        Bound, Contender, Kind, Lab, ONCE, Point, Step, What, at, at_least, at_most, pick, sample::Sample,
        shown_by, source,
    },
    measure::order::Order,
};

// The zoo of broken programs belongs to the tests: the library contains no broken code, so this lab cannot get it there.
#[path = "../tests/zoo/lab.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    clippy::duplicate_mod,
    reason = "the tests' own files, on two machines, for what the lab uses of them"
)]
mod zoo;

use zoo::{chaotic, stress};

/// Every structure with ordering mutants, as `tests/model/scenarios/mod.rs` lists them.
const STRUCTURES: [&str; 37] = [
    "lock/mutex",
    "lock/rwlock",
    "task/executor",
    "task/machine",
    "lockfree/counter",
    "lockfree/mpmc",
    "lockfree/ring",
    "lockfree/queue",
    "lockfree/snapshot",
    "lockfree/stack",
    "lockfree/deque",
    "reclaim/epoch",
    "reclaim/hazard",
    "reclaim/leak",
    "alloc/inbox",
    "reclaim/place",
    "lock/seqlock",
    "lock/tas",
    "lock/ttas",
    "lock/ticket",
    "lock/mcs",
    "lock/semaphore",
    "lock/rwlock_sharded",
    "lock/handoff",
    "lock/rwlock_fair",
    "lock/event",
    "lock/condvar",
    "flow/adaptive",
    "flow/bulkhead",
    "flow/circuit_breaker",
    "flow/fixed_window",
    "flow/gcra",
    "flow/keyed",
    "flow/leaky_bucket",
    "flow/sliding_log",
    "flow/token_bucket",
    "managed/safepoint",
];

pub(crate) fn lab() -> Lab {
    underhood::lab!("order_detect", "Which instrument finds which concurrency bug, and after how long?")
        .step(threads())
        .step(models())
        .step(mutants())
        .say(
            "threads",
            "With a random pause before each atomic step, an ABA mistake in a lock-free stack is found after {value} rounds of \
             fifty turns here.",
            pick("chaos", "aba", "found_after_count"),
            "the program is larger than two threads with a few operations each: the number is for this program",
        )
        .not_said(&[
        "That a program is right if no instrument finds a mistake: each instrument looks only at some executions.",
        "How long they take on your program: these are the smallest programs that have the mistake.",
        "That ThreadSanitizer is weak: it looks for races on plain memory, and in about half of these mistakes it finds none.",
    ])
        .next(&[
        "Why does stress miss what chaos finds? (the window is two instructions wide; a pause makes it an operation wide)",
        "What does linearizable mean? (an order of the operations, each between its call and its return, explains every answer)",
        "Which bug can no test on x86 find? (a missing ordering that x86 gives for free: a model or an ARM machine finds \
         it)",
        "How do you know that your tests would notice? (mutants: weaken each ordering and see them fail)",
    ])
        .sources(&[
        "J. Wing, C. Gong, Testing and verifying concurrent objects, JPDC 1993; G. Lowe, Testing for linearizability, CCPE 2017",
        "tokio-rs/loom, after B. Norris, B. Demsky, CDSChecker, OOPSLA 2013",
        "K. Serebryany, T. Iskhodzhanov, ThreadSanitizer, WBIA 2009",
        "JetBrains/lincheck: operations in, a verdict and a short history out",
    ])
}

/// One setting for each mistake: its place in the zoo's list.
fn faults() -> impl Iterator<Item = Point<usize>> {
    stress::machine::faults::FAULTS.iter().enumerate().map(|(i, fault)| at(fault.name, i))
}

fn never(what: impl Into<What>) -> Bound {
    at_most(0.0, what)
}

fn always(what: impl Into<What>) -> Bound {
    at_least(1.0, what)
}

fn threads() -> Step {
    Step::new("threads", Kind::Chance, "found_share")
        .ask_number(
            "Two threads push and pop for a moment on a stack that takes a re-used node for the old one (ABA). A check then \
             counts whether any value is lost or came twice. What share of the tries finds the mistake?",
            "stress",
            "aba",
        )
        .columns(&["found_after_count", "rounds_count", "sound_rounds_count", "alarms_count"])
        .contenders(INSTRUMENTS)
        .slice(0.25)
        .over_all(faults(), |plan, faults| {
            // Every fault with every instrument that this process can run, in random order.
            let mut turn: Vec<_> =
                INSTRUMENTS.iter().flat_map(|i| faults.iter().map(move |fault| (i, fault))).collect();
            Order::new(plan.seed ^ (plan.launch as u64) << 32).shuffle(&mut turn);
            turn.into_iter().map(|(i, fault)| i.hunt(fault, plan.slice)).collect()
        })
        .claim(
            never(("stress", "len_from_two_loads")),
            "a check of sums never finds a wrong length of a queue, because no value is lost",
        )
        .claim(
            never(("chaos", "sharded_fifo")),
            "a check of sums never finds that a queue in two shards is not FIFO, with pauses or without",
        )
        .claim(
            always(("chaos_linear", "sharded_fifo")).cores(2),
            "a check of the whole history finds the sharded queue every time",
        )
        .claim(
            always(("chaos", "aba")).cores(2),
            "with a random pause at each atomic step, the ABA is found every time",
        )
        .claim(
            never(("chaos", "relaxed_unlock")).cores(2),
            "x86: no run on real threads finds an unlock that is only Relaxed",
        )
        .because(
            "A stress test waits until two threads happen to be at the wrong two steps at once. A pause before each atomic \
             step (chaos) makes that window as wide as a whole operation. It costs a wrapper around the atomics, and finds \
             most such races in milliseconds.",
            shown_by(always(("chaos", "check_then_count")).cores(2)),
        )
        .because(
            "What the test then checks matters as much. Sums check that no value is lost, comes twice or comes from nowhere. \
             They cannot find answers that are possible one by one, but impossible together.",
            shown_by(never(("chaos", "len_from_two_loads"))),
        )
        .because(
            "A check for linearizability can find them. It looks for an order of the operations that explains every answer. \
             It needs the times of all calls and returns, and recording them slows the threads.",
            shown_by(always(("chaos_linear", "len_from_two_loads")).cores(2)),
        )
        .because(
            "If this CPU gives an ordering for free, none of the four instruments finds out that the code lacks it.",
            shown_by(never(("chaos_linear", "relaxed_unlock")).cores(2)),
        )
        .because(
            "The broken programs are in tests/zoo/. Each ran beside a correct twin, and alarms on that twin are counted.",
            source("tests/zoo/"),
        )
}

fn models() -> Step {
    let checkers = [
        Contender::new("loom").called("loom, sums checked"),
        Contender::new("loom_linear").called("loom, histories checked"),
        Contender::new("tsan").called("ThreadSanitizer"),
    ];
    Step::new("models", Kind::Count, "found_share")
        .ask_number(
            "loom runs each program in every order that two preemptions allow, with every value that a load may return. \
             Does it find the ABA (1) or not (0), if the test only checks sums?",
            "loom",
            "aba",
        )
        .columns(&["executions_count", "sound_executions_count", "alarms_count"])
        .contenders(&checkers)
        .recorded(faults(), "cargo test --test model -- record_zoo --ignored")
        .claim(always(("loom", "relaxed_unlock")), "loom finds the unlock that is only Relaxed")
        .claim(always(("loom", "aba")), "loom finds the ABA")
        .claim(never(("loom", "sharded_fifo")), "a check of sums misses the sharded queue in a model too")
        .claim(always(("loom_linear", "sharded_fifo")), "a check of histories in a model finds the sharded queue")
        .claim(
            always(("loom_linear", "len_from_two_loads")),
            "a check of histories in a model also finds the length from two loads",
        )
        .because(
            "A model does not wait for luck. It goes through the interleavings of a small program, and through the old \
             values that a Relaxed load may return. x86 never shows those values.",
            shown_by(always(("loom_linear", "relaxed_unlock"))),
        )
        .because(
            "Like any other instrument, a model finds only what the test checks.",
            shown_by(never(("loom", "len_from_two_loads"))),
        )
        .because(
            "In a model, the clock of a history must be one of the model's own atomic words. Otherwise the model takes two \
             different orders of calls for the same one.",
            source("tests/zoo/round.rs, `Stage`"),
        )
        .because(
            "ThreadSanitizer looks for something else: two accesses to plain memory without an order between them, in the run that \
             happened. It finds such a race in any program without being told what is right.",
            shown_by(always(("tsan", "relaxed_unlock"))),
        )
        .because(
            "ThreadSanitizer finds no mistake that involves only atomics.",
            shown_by(never(("tsan", "announce_without_fence"))),
        )
}

fn mutants() -> Step {
    Step::new("mutants", Kind::Count, "killed_share")
        .ask_number(
            "Each memory ordering of each structure here is weakened, one at a time, and its models run again. What share \
             of the mutants of the mutex is found?",
            "lock/mutex",
            "",
        )
        .columns(&["mutants_count", "killed_count", "reviewed_count", "executions_count"])
        .contenders(&STRUCTURES.map(Contender::new))
        .recorded(ONCE, "cargo test --test model -- record_mutants --ignored")
        .claim(always("lock/mutex"), "every weakened ordering of the mutex is found")
        .claim(always("lockfree/mpmc"), "every weakened ordering of the bounded queue is found")
        .because(
            "A test suite that passes says little unless it is known that it can fail. So every ordering in src/structures/ is \
             weakened, every read-modify-write is split, and every wake-up is dropped. Some scenario must then fail.",
            source("tests/model/mutate.rs"),
        )
        .because(
            "A mutant may survive because the ordering was stronger than needed: then the source was weakened. Every other \
             survivor is listed in tests/model/survivors.rs with its reason.",
            source("tests/model/survivors.rs"),
        )
}

/// An instrument that this process can run.
struct Instrument {
    is: Contender,
    trial: fn(fault: usize, time: Duration) -> Sample,
}

/// An instrument on one of the two machines (`stress`, `chaotic`), whose types differ.
macro_rules! instrument {
    ($id:literal, $name:literal, $machine:ident, $oracle:ident, $begin:expr) => {
        Instrument {
            is: Contender::new($id).called($name),
            trial: |fault, time| {
                use $machine::machine::{
                    faults::FAULTS,
                    round::{Oracle, trial},
                };
                let t = trial(&FAULTS[fault], Oracle::$oracle, time, $begin);
                let is = |so| f64::from(u8::from(so));
                let mut sample = Sample::default()
                    .with("found_share", is(t.found))
                    .with("rounds_count", t.rounds as f64)
                    .with("sound_rounds_count", t.sound_rounds as f64)
                    .with("alarms_count", is(t.alarm));
                if t.found {
                    // The time is in the record and not on the page: unlike a count it depends on who else is running.
                    let after_ns = t.took.as_nanos() as f64;
                    sample = sample.with("found_after_count", t.rounds as f64).with("after_ns", after_ns);
                }
                if t.alarm {
                    let rounds = t.sound_rounds;
                    sample.doubts.push(format!("a false alarm: the sound twin failed in round {rounds}"));
                }
                sample
            },
        }
    };
}

const INSTRUMENTS: &[Instrument] = &[
    instrument!("stress", "stress test, sums checked", stress, Conserved, |_| {}),
    instrument!("stress_linear", "stress test, histories checked", stress, Linear, |_| {}),
    instrument!("chaos", "chaos test, sums checked", chaotic, Conserved, chaotic::sync::chaos::begin),
    instrument!(
        "chaos_linear",
        "chaos test, histories checked",
        chaotic,
        Linear,
        chaotic::sync::chaos::begin
    ),
];

impl AsRef<Contender> for Instrument {
    fn as_ref(&self) -> &Contender {
        &self.is
    }
}

impl Instrument {
    fn hunt(&self, fault: &Point<usize>, time: Duration) -> Sample {
        let sample = (self.trial)(fault.value, time);
        Sample { case: self.is.id.into(), param: fault.id().into(), ..sample }
    }
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}
