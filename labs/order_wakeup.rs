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
            "Without its fence, a park/unpark handshake loses {value} of the wake-ups that a parked thread waits for, on this CPU.",
            "no_fence",
            "the two sides do not meet at the same moment: here every round makes them meet",
        )
        .not_said(&[
            "How often your program would hang: here every round makes the two sides meet.",
            "That the fence is always needed: if both sides use a read-modify-write on one shared word, it is not.",
            "Anything about wake-ups that the operating system loses: it loses none.",
        ])
        .next(&[
            "Why does it not help if the look at the flag is an Acquire load? (it orders what comes after it, not the store \
             before it)",
            "How would you find the missing fence? (with a model: it reports a deadlock in its first executions; a stress \
             test finds it only by luck)",
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
            "A waiter announces itself, looks at the flag and parks. A setter sets the flag, looks for a waiter and unparks \
             it. Without a fence, what share of the parks would never end?",
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
            "without a fence, Release and Acquire lose wake-ups: at least one in 100,000 parks",
        )
        .claim(at_least(1e-5, "half_fence").cores(2), "a fence on one side is not enough")
        .claim(at_most(0.0, "fence").cores(2), "with a fence on both sides none is lost")
        .claim(at_most(0.0, "seqcst").cores(2), "if all four accesses are SeqCst, none is lost either")
        .because(
            "Each side writes its own word and then loads the other side's word. This is store buffering (lab \
             order_litmus). Without a full fence, both loads may still see the old values. Then the waiter parks and the \
             setter wakes nobody.",
            shown_by(at_most(0.0, "fence").cores(2)),
        )
        .because(
            "A model reports the lost wake-up as a deadlock in its first executions: tests/model/scenarios/wakeup.rs is the \
             same program for loom.",
            source("tests/model/scenarios/wakeup.rs"),
        )
        .because(
            "Here a watchdog wakes the waiters in the end. A wake-up counts as lost if the waiter had decided to park and \
             the setter had decided to wake nobody.",
            source("src/experiments/wakeup.rs"),
        )
        .because(
            "Our own event (src/structures/lock/event.rs) has only one word, so it has no such race.",
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
        .share("lost_share", seen.lost as f64, seen.parked as f64)
        .with("lost_count", seen.lost as f64)
        .share("parked_share", seen.parked as f64, rounds)
        .with("rounds_count", rounds))
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}
