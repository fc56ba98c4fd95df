//! How often is a wake-up lost when one fence is missing?
//!
//! Run it: `cargo run --release --bin order_wakeup -- --step`
use underhood::{
    experiments::wakeup::{CASES, Wakes, wakes},
    lab::{Bench, Claim, Expect, Kind, Lab, Launch, Predict, Say, Step, pick, plan::Plan, sample::Sample},
    measure::order::Order,
};

const NEVER: Expect = Expect::AtMost(0.0);

const fn lost(text: &'static str, case: &'static str, expect: Expect) -> Claim {
    Claim { text, of: pick(case, "", "lost_share"), against: None, expect, cores: 2 }
}

pub(crate) static LAB: Lab = Lab {
    stem: "order_wakeup",
    question: "How often is a wake-up lost when one fence is missing?",
    steps: &[Step {
        name: "event",
        ask: "A waiter announces itself, looks, parks; a setter sets, looks, unparks. No fence. In what share of rounds does the waiter sleep for ever?",
        predict: Predict::Number { case: "no_fence", param: "" },
        kind: Kind::Chance,
        cases: &["no_fence", "half_fence", "fence", "seqcst"],
        params: &[""],
        launch: Launch::Together,
        measure: count,
        headline: "lost_share",
        columns: &["lost_count", "parked_share", "rounds_count"],
        claims: &[
            lost(
                "without a fence, Release and Acquire lose wake-ups: at least one in 100,000 rounds",
                "no_fence",
                Expect::AtLeast(1e-5),
            ),
            lost("a fence on one side is not enough", "half_fence", Expect::AtLeast(1e-5)),
            lost("with a fence on both sides none is lost", "fence", NEVER),
            lost("nor if all four accesses are SeqCst", "seqcst", NEVER),
        ],
        because: "Each side writes its own word and then looks at the other's, which is store buffering (lab order_litmus): without a full fence both \
                  looks may come before the other's write is seen. Then the waiter parks and the setter wakes nobody. A model \
                  calls it a deadlock in its first executions: tests/model/scenarios/wakeup.rs is the same program for loom. The waiters here are released by a watchdog, and what counts is what both sides had decided. Our own event \
                  (src/structures/lock/event.rs) has one word, and so no such race.",
        tour: false,
    }],
    says: &[Say {
        step: "event",
        text: "Without its fence, a park/unpark handshake loses {value} of its wake-ups on this CPU.",
        of: pick("no_fence", "", "lost_share"),
        against: None,
        not_true_when: "the two sides do not meet: the share is of rounds in which they were made to",
    }],
    not_said: &[
        "How often your program would hang: here the two sides are made to meet in every round.",
        "That the fence is needed if either side uses a read-modify-write on one shared word: then it is not.",
        "Anything about a wake-up lost by the operating system: none is.",
    ],
    next: &[
        "Why does Acquire on the look not help? (it orders what comes after it, not the store before it)",
        "How would you find it? (a model: it says deadlock in its first executions; stress finds it by luck)",
        "How do you get rid of the two words? (one state word, changed by compare-and-exchange: src/structures/lock/event.rs)",
    ],
    sources: &[
        "tokio-rs/tokio#1788: the same handshake in its scheduler",
        "apache/brpc#3539: a waiter count read Relaxed after the signal",
        "smol-rs/event-listener#139: two fast paths removed since a model showed lost notifications",
    ],
    benches,
};

fn count(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let mut turn: Vec<(&str, &str)> =
        cases.iter().flat_map(|c| params.iter().map(move |p| (*c, *p))).collect();
    Order::new(plan.seed ^ (plan.launch as u64) << 32).shuffle(&mut turn);
    let one = |(case, param): (&str, &str)| {
        let between = CASES.iter().find(|c| c.0 == case).expect("the step names cases").1;
        match wakes(between, &plan.cpus, plan.slice) {
            Ok(seen) => sample(case, param, seen),
            Err(why) => Sample::unmeasured(case, param, why.to_string()),
        }
    };
    turn.into_iter().map(one).collect()
}

fn sample(case: &str, param: &str, seen: Wakes) -> Sample {
    let rounds = seen.rounds as f64;
    if seen.parked == 0 || seen.parked == seen.rounds {
        let why = format!(
            "the two sides never met: the waiter parked in {} of {} rounds",
            seen.parked, seen.rounds
        );
        return Sample::unmeasured(case, param, why);
    }
    Sample::new(case, param)
        .with("lost_share", seen.lost as f64 / rounds)
        .with("lost_count", seen.lost as f64)
        .with("parked_share", seen.parked as f64 / rounds)
        .with("rounds_count", rounds)
}

fn benches(_plan: &Plan) -> Vec<Bench> {
    Vec::new() // shares of outcomes, not times
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(&LAB)
}
