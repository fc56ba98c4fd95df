//! Which instrument finds which concurrency bug, and after how long?
//!
//! Run it: `cargo run --release --bin order_detect -- --step`
use std::time::Duration;

use underhood::{
    lab::{
        Bound, Contender, Evidence, Kind, Lab, ONCE, Point, Step, What, at, at_least, at_most, pick,
        sample::Sample, shown_by, source,
    },
    measure::order::Order,
};

// The zoo belongs to the tests: the library does not contain a broken twin, and so cannot lend one.
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
const STRUCTURES: [&str; 35] = [
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
    "reclaim/epoch",
    "reclaim/hazard",
    "reclaim/leak",
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
            "With a random pause before each atomic step, an ABA in a lock-free stack is found after {value} rounds of fifty turns on this machine.",
            pick("chaos", "aba", "found_after_count"),
            "the program is larger than two lanes of a few operations: the number is of this program",
        )
        .not_said(&[
        "That what no instrument found is right: each says only where it looked.",
        "How long they take on your program: these are the smallest programs that have the mistake.",
        "That ThreadSanitizer is weak: it is asked for races on plain memory, and most of these mistakes have none.",
    ])
        .next(&[
        "Why does stress miss what chaos finds? (the window is two instructions wide; a pause makes it an operation wide)",
        "What does linearizable mean? (an order of the operations, each between its call and its return, explains every answer)",
        "Which bug can no test on x86 find? (an ordering that x86 gives for free: a model, or an ARM machine)",
        "How do you know that your tests would notice? (mutants: weaken each ordering and see them fail)",
    ])
        .sources(&[
        "J. Wing, C. Gong, Testing and verifying concurrent objects, JPDC 1993; G. Lowe, Testing for linearizability, CCPE 2017",
        "tokio-rs/loom, after B. Norris, B. Demsky, CDSChecker, OOPSLA 2013",
        "K. Serebryany, T. Iskhodzhanov, ThreadSanitizer, WBIA 2009",
        "JetBrains/lincheck: operations in, a verdict and a short history out",
    ])
}

/// One mistake each, as its place in the zoo's list.
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
            "A stack that takes a re-used node for the old one (ABA) is hammered by two threads for a moment; then somebody counts whether \
             anything is lost or came twice. In what share of tries is the mistake found?",
            "stress",
            "aba",
        )
        .columns(&["found_after_count", "rounds_count", "sound_rounds_count", "alarms_count"])
        .contenders(INSTRUMENTS)
        .slice(0.25)
        .over_all(faults(), |plan, faults| {
            // Every fault with every instrument that this process can be, in random order.
            let mut turn: Vec<_> =
                INSTRUMENTS.iter().flat_map(|i| faults.iter().map(move |fault| (i, fault))).collect();
            Order::new(plan.seed ^ (plan.launch as u64) << 32).shuffle(&mut turn);
            turn.into_iter().map(|(i, fault)| i.hunt(fault, plan.slice)).collect()
        })
        .claim(
            never(("stress", "len_from_two_loads")),
            "sums never see a length that the queue never had: nothing is lost",
        )
        .claim(
            never(("chaos", "sharded_fifo")),
            "nor that a queue in two shards is no queue, with pauses or without",
        )
        .claim(
            always(("chaos_linear", "sharded_fifo")).cores(2),
            "a whole history shows it every time",
        )
        .claim(
            always(("chaos", "aba")).cores(2),
            "a random pause at each step brings out the ABA every time",
        )
        .claim(
            never(("chaos", "relaxed_unlock")).cores(2),
            "x86: no run on real threads shows an unlock that is merely Relaxed",
        )
        .because(
            "Stress waits until two threads happen to be at the wrong two steps at once. A pause before each atomic step (chaos) makes \
             that window as wide as a whole operation. It costs a wrapper and finds most races of steps in milliseconds.",
            shown_by(always(("chaos", "check_then_count")).cores(2)),
        )
        .because(
            "What is then asked matters as much. Sums (nothing lost, nothing twice, nothing from nowhere) cannot see an answer that is \
             possible alone and impossible together.",
            shown_by(never(("chaos", "len_from_two_loads"))),
        )
        .because(
            "An order of the operations that explains every answer (linearizability) can. It needs the times of calls and returns, whose \
             recording slows the threads.",
            shown_by(always(("chaos_linear", "len_from_two_loads")).cores(2)),
        )
        .because(
            "An ordering that this CPU does not use shows in none of the four.",
            shown_by(never(("chaos_linear", "relaxed_unlock")).cores(2)),
        )
        .because(
            "The twins are in tests/zoo/. Each ran beside a sound twin, whose alarms are counted.",
            source("tests/zoo/"),
        )
}

fn models() -> Step {
    let checkers = [
        Contender::new("loom").called("loom, sums"),
        Contender::new("loom_linear").called("loom, histories"),
        Contender::new("tsan").called("ThreadSanitizer"),
    ];
    Step::new("models", Kind::Count, "found_share")
        .ask_number(
            "loom runs each program in every order that two preemptions allow, with every value that a load may return. Does it find the ABA \
             when all that is asked is whether the sums come out?",
            "loom",
            "aba",
        )
        .columns(&["executions_count", "sound_executions_count", "alarms_count"])
        .contenders(&checkers)
        .recorded(faults(), "cargo test --test model -- record_zoo --ignored")
        .claim(always(("loom", "relaxed_unlock")), "loom finds the unlock that is merely Relaxed")
        .claim(always(("loom", "aba")), "and the ABA")
        .claim(never(("loom", "sharded_fifo")), "sums miss the sharded queue in a model too")
        .claim(always(("loom_linear", "sharded_fifo")), "histories in a model find it")
        .claim(always(("loom_linear", "len_from_two_loads")), "and the length from two loads")
        .because(
            "A model does not wait for luck. It counts through the interleavings of a small program, and through the old values that \
             Relaxed lets a load return, which x86 never shows.",
            shown_by(always(("loom_linear", "relaxed_unlock"))),
        )
        .because(
            "What it is asked limits it like any other.",
            shown_by(never(("loom", "len_from_two_loads"))),
        )
        .because(
            "Under it the clock of a history must be one of its own words, else it takes two orders of calls for the same.",
            source("tests/zoo/round.rs, `Stage`"),
        )
        .because(
            "ThreadSanitizer looks for something else: two accesses to plain memory without an order between them, in the run that \
             happened. It finds such a race in any program without being told what is right.",
            shown_by(always(("tsan", "relaxed_unlock"))),
        )
        .because(
            "It sees no mistake among atomics.",
            shown_by(never(("tsan", "announce_without_fence"))),
        )
}

fn mutants() -> Step {
    Step::new("mutants", Kind::Count, "killed_share")
        .ask_number(
            "Each memory ordering of each structure here is weakened, one at a time, and its models run again. What share of the mutants is found?",
            "lock/mutex",
            "",
        )
        .columns(&["mutants_count", "killed_count", "reviewed_count", "executions_count"])
        .contenders(&STRUCTURES.map(Contender::new))
        .recorded(ONCE, "cargo test --test model -- record_mutants --ignored")
        .claim(always("lock/mutex"), "every weakened ordering of the mutex is found")
        .claim(always("lockfree/mpmc"), "and of the bounded queue")
        .because(
            "A suite that passes says nothing until it is known to fail. So every ordering in src/structures/ is weakened, every \
             read-modify-write split, every wake-up dropped, and some scenario must object.",
            source("tests/model/mutate.rs"),
        )
        .because(
            "A mutant that survives is either an ordering that was stronger than needed (then the source was weakened) or stands in \
             tests/model/survivors.rs with its reason.",
            source("tests/model/survivors.rs"),
        )
        .because("A structure without a mutant has only Relaxed steps or none of its own.", Evidence::None)
}

/// An instrument that this process can be.
struct Instrument {
    is: Contender,
    trial: fn(fault: usize, time: Duration) -> Sample,
}

/// On one of the two machines, whose types are not the same ones.
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
    instrument!("stress", "stress, sums", stress, Conserved, |_| {}),
    instrument!("stress_linear", "stress, histories", stress, Linear, |_| {}),
    instrument!("chaos", "chaos, sums", chaotic, Conserved, chaotic::sync::chaos::begin),
    instrument!("chaos_linear", "chaos, histories", chaotic, Linear, chaotic::sync::chaos::begin),
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
