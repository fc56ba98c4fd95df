//! How often is a wake-up lost when one fence is missing?
//!
//! Run it: `cargo run --release --bin order_wakeup -- --step`
use underhood::{
    experiments::wakeup::{CASES, Wakes, wakes},
    lab::{Kind, Lab, ONCE, Step, at_least, at_most, sample::Sample, shown_by, source},
    measure::outcomes::by_lot,
};

pub(crate) fn lab() -> Lab {
    underhood::lab!("order_wakeup", "How often is a wake-up lost when one fence is missing?")
        .step(event())
        .say(
            "event",
            "Without its fence, a park/unpark handshake loses {value} of its wake-ups on this CPU.",
            "no_fence",
            "the two sides do not meet: the share is of rounds in which they were made to",
        )
        .not_said(&[
            "How often your program would hang: here the two sides are made to meet in every round.",
            "That the fence is needed if either side uses a read-modify-write on one shared word: then it is not.",
            "Anything about a wake-up lost by the operating system: none is.",
        ])
        .next(&[
            "Why does Acquire on the look not help? (it orders what comes after it, not the store before it)",
            "How would you find it? (a model: it says deadlock in its first executions; stress finds it by luck)",
            "How do you get rid of the two words? (one state word, changed by compare-and-exchange: src/structures/lock/event.rs)",
        ])
        .sources(&[
            "tokio-rs/tokio#1788: the same handshake in its scheduler",
            "apache/brpc#3539: a waiter count read Relaxed after the signal",
            "smol-rs/event-listener#139: two fast paths removed since a model showed lost notifications",
        ])
}

fn event() -> Step {
    Step::new("event", Kind::Chance, "lost_share")
        .ask_number(
            "A waiter announces itself, looks, parks; a setter sets, looks, unparks. No fence. In what share of rounds does the waiter sleep for ever?",
            "no_fence",
            "",
        )
        .columns(&["lost_count", "parked_share", "rounds_count"])
        .contenders(&CASES)
        .over_all(ONCE, |plan, points| {
            by_lot(plan, &CASES, points, |case, ()| {
                sample(wakes(case.value, &plan.cpus, plan.slice).map_err(|e| e.to_string())?)
            })
        })
        .claim(
            at_least(1e-5, "no_fence").cores(2),
            "without a fence, Release and Acquire lose wake-ups: at least one in 100,000 rounds",
        )
        .claim(at_least(1e-5, "half_fence").cores(2), "a fence on one side is not enough")
        .claim(at_most(0.0, "fence").cores(2), "with a fence on both sides none is lost")
        .claim(at_most(0.0, "seqcst").cores(2), "nor if all four accesses are SeqCst")
        .because(
            "Each side writes its own word and then looks at the other's, which is store buffering (lab order_litmus). \
             Without a full fence both looks may come before the other's write is seen. Then the waiter parks and the setter wakes nobody.",
            shown_by(at_most(0.0, "fence").cores(2)),
        )
        .because(
            "A model calls it a deadlock in its first executions: tests/model/scenarios/wakeup.rs is the same program for loom.",
            source("tests/model/scenarios/wakeup.rs"),
        )
        .because(
            "The waiters here are released by a watchdog, and what counts is what both sides had decided.",
            source("src/experiments/wakeup.rs"),
        )
        .because(
            "Our own event (src/structures/lock/event.rs) has one word, and so no such race.",
            source("src/structures/lock/event.rs"),
        )
}

fn sample(seen: Wakes) -> Result<Sample, String> {
    let rounds = seen.rounds as f64;
    if seen.parked == 0 || seen.parked == seen.rounds {
        let Wakes { parked, rounds, .. } = seen;
        return Err(format!("the two sides never met: the waiter parked in {parked} of {rounds} rounds"));
    }
    Ok(Sample::default()
        .with("lost_share", seen.lost as f64 / rounds)
        .with("lost_count", seen.lost as f64)
        .with("parked_share", seen.parked as f64 / rounds)
        .with("rounds_count", rounds))
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}
