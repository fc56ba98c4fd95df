//! Who gets a turn on an async task's thread?
//!
//! Run it: `cargo run --release --bin async_fairness -- --step`
use std::time::Duration;

use underhood::{
    experiments::{
        branches::{LOOKING, Looking, SecondBranch, Waits, beside_flood},
        budget::{Beside, TAKINGS, TIMED, Taking, beside_timer, turns},
        fused::{FUSED, ROUNDS, Tried, tries},
    },
    lab::{
        Kind, Lab, Pick, Point, Setting, Step, at, at_least, at_most, between, count, exactly, pick, ratio,
        sample::{Sample, Side},
        shown_by, source,
    },
    measure::{
        lateness::{Lateness, in_turn},
        work,
    },
};

pub(crate) fn lab() -> Lab {
    underhood::lab!("async_fairness", "Who gets a turn on an async task's thread?")
        .step(budget())
        .step(timer())
        .step(biased())
        .step(one_task())
        .say(
            "budget",
            "On a runtime of one thread, a task reads a tokio channel that is never empty. It takes {value} \
            items on average for each turn of another task: first 256 items, then two turns of the other \
            task. If it takes 32 items at a time, it takes 32 times as many ({against}).",
            ratio(pick("recv", "items_100k", ""), pick("recv_many", "items_100k", "")),
            "the channel uses no budget, as in most crates not built on tokio, or the task runs in \
            unconstrained. Then the other task gets no turn until the reading task stops",
        )
        .say(
            "biased",
            "For 80 ms the first branch of a biased select! is always ready. During that time the timer in \
            the second branch never gets its turn, so it is {value} late on average. With the default order \
            it is {against} late.",
            ratio(("biased", "timer_80ms"), ("random", "timer_80ms")),
            "the first branch is sometimes not ready",
        )
        .say(
            "one_task",
            "One task runs two branches in a join!. The first holds a DashMap guard while it locks a tokio \
            mutex that nobody else wants. The second writes to the same map entry. With 8 workers {value} of \
            the runs hung, in round 129. With the guard dropped before the await, {against} hung.",
            ratio(("joined", "workers_8"), ("released", "workers_8")),
            "the task waits for something else before it has used its 128 units of budget, or the second \
            branch only tries the lock",
        )
        .not_said(&[
            "That the budget limits time. It counts awaits, no matter how much work lies between two awaits.",
            "That more worker threads avoid this. Another worker can steal a task, but not one branch of a \
            task.",
            "Anything about a source that is almost always ready.",
            "Anything about the cost of the budget: it was not measured.",
            "That every guard held across an await causes a hang. Here the other branch wants the same entry \
            in each round.",
        ])
        .next(&[
            "Why does an await that is ready at once not give the thread back?",
            "What does yield_now do that waking your own task does not? (the runtime looks at its timers \
            first)",
            "How can your own future use the budget? (task::coop::cooperative, poll_proceed)",
            "When is biased right? (when the first branch is rare and must win, such as a shutdown)",
            "Why is one task for each subsystem safer than one join! for all of them?",
        ])
        .sources(&[
            "tokio 1.54.1, src/task/coop/mod.rs: a budget of 128; src/runtime/context.rs (`defer`): a task \
            without budget waits until the driver was polled",
            "tokio 1.54.1, src/macros/select.rs: without budget the whole select! is pending; src/macros/join.rs (fairness)",
            "tokio 1.54.1, src/sync/mpsc/chan.rs (`recv_many`): one unit for each call",
            "kguardian-dev/kguardian#1343: a DashMap guard over an await, and try_join! around eight subsystems",
            "stratum-mining/sv2-apps#800, #801: a biased select! whose first branch is always ready",
        ])
}

fn budget() -> Step {
    const ITEMS: [Point<usize>; 2] = [count("items_10k", 10_240), count("items_100k", 102_400)];
    let of = |case| pick(case, "items_100k", "");
    let no_turn = |case| exactly(0.0, pick(case, "items_100k", "turns_count"));
    let one_budget = |case| between(126.0, 130.0, of(case));
    Step::new("budget", Kind::Count, "per_turn_count")
        .ask_number(
            "A runtime has one thread. One task awaits items from a tokio channel that is never empty, one \
            item at a time. Another task is always ready. How many items does the first task take for each \
            turn of the other?",
            "recv",
            "items_100k",
        )
        .columns(&["between_max_count", "turns_count", "taken_count"])
        .each(&TAKINGS, ITEMS, |plan, how, items| {
            let seen = turns(how.value, if plan.is_smoke() { items.value / 10 } else { items.value } as u64)?;
            let sample = Sample::default()
                .with("between_max_count", seen.between_max_count as f64)
                .with("turns_count", seen.turns_count as f64)
                .with("taken_count", seen.taken_count as f64);
            Ok(match seen.turns_count {
                0 => sample.bounded("per_turn_count", seen.taken_count as f64, Side::AtLeast),
                turns => sample.with("per_turn_count", seen.until_last_count as f64 / turns as f64),
            })
        })
        .claim(
            one_budget("recv"),
            "a task that takes one item at a time takes 128 items for each turn of the other task",
        )
        .claim(
            between(31.0, 33.0, ratio(of("recv_many"), of("recv"))),
            "a task that takes 32 items at a time takes 32 times as many items for each turn",
        )
        .claim(
            no_turn("unconstrained"),
            "if the reader runs in unconstrained, the other task gets no turn until all 102,400 items are \
            taken",
        )
        .claim(
            no_turn("foreign"),
            "if the queue is not tokio's and has an item every time, the other task gets no turn either",
        )
        .claim(
            one_budget("consuming"),
            "if the reader of that queue uses budget after each item, it takes 128 items for each turn again",
        )
        .because(
            "An await that is ready at once goes on at once. It does not give the thread back.",
            shown_by(no_turn("foreign")),
        )
        .because(
            "Each time tokio polls a task, it gives the task a new budget. Each await of a tokio type uses \
            one unit if it is ready. When no units are left, such an await returns Pending, even if its item \
            is ready.",
            shown_by(no_turn("unconstrained")),
        )
        .because(
            "The budget counts awaits, not items.",
            shown_by(at_least(30.0, ratio(of("recv_many"), of("recv")))),
        )
        .because(
            "A future from another crate uses no budget, unless its caller does.",
            shown_by(one_budget("consuming")),
        )
        .because(
            "The reader uses up two budgets in a row, and then the other task gets two turns. Both tasks \
            wait in one list until the runtime has looked at its timers. The runtime then wakes the last \
            task in the list first.",
            source("tokio 1.54.1, src/runtime/scheduler/defer.rs (`wake`)"),
        )
        .in_tour()
}

fn timer() -> Step {
    const WINDOWS: [Point<Duration>; 2] =
        [at("for_20ms", Duration::from_millis(20)), at("for_80ms", Duration::from_millis(80))];
    let grows = |case| at_least(2.0, ratio((case, "for_80ms"), (case, "for_20ms")));
    let beside = |case| ratio((case, "for_80ms"), ("nobody", "for_80ms"));
    Step::new("timer", Kind::Tail, "late_mean_ns")
        .ask_number(
            "A runtime has one thread. For 80 ms a task reads a queue that is never empty and does not use \
            tokio's budget. Each item takes 5 us. Another task has a timer that is due every 5 ms. How many \
            ns late is the timer on average?",
            "foreign",
            "for_80ms",
        )
        .columns(&["late_max_ns", "ticks_count", "taken_count"])
        .contenders(&TIMED)
        .over_all(WINDOWS, |plan, windows| {
            let (ns_per_iteration, smoke) = (work::ns_per_iteration(), plan.is_smoke());
            let run = |how: &Setting<Taking>, window: &Duration| {
                beside_timer(how.value, if smoke { *window / 10 } else { *window }, ns_per_iteration)
            };
            in_turn(plan, 1, &TIMED, windows, run, |_, _, seen| beside_sample(&seen))
        })
        .claim(
            at_most(3.0, beside("recv")),
            "next to a reader of a tokio channel, the timer is at most 3 times as late as without a reader",
        )
        .claim(
            grows("unconstrained"),
            "next to a reader in unconstrained, the timer gets later the longer the reader runs",
        )
        .claim(
            grows("foreign"),
            "next to a reader of a queue without a budget, the timer also gets later the longer the reader \
            runs",
        )
        .claim(
            at_least(3.0, ratio(("recv_many", "for_80ms"), ("recv", "for_80ms"))),
            "if the reader takes 32 items at a time, the timer is at least 3 times as late as with one at a \
            time",
        )
        .claim(
            at_most(3.0, beside("consuming")),
            "if the reader of the queue without a budget uses budget itself, the timer is at most 3 times as \
            late as without a reader",
        )
        .because(
            "The thread that reads must also look at the timers. It does that when no task is ready, or after some number of polls.",
            shown_by(grows("foreign")),
        )
        .because(
            "A task that yields or runs out of budget is not ready again until the runtime has looked at the \
            timers.",
            shown_by(at_most(3.0, beside("yielding"))),
        )
        .because(
            "The budget counts awaits. With 32 items per await, 128 awaits take 32 times as long.",
            shown_by(at_least(3.0, ratio(("recv_many", "for_80ms"), ("recv", "for_80ms")))),
        )
}

/// Adds the mean lateness, since a starved timer has too few ticks for percentiles.
fn late(sample: Sample, late: &Lateness) -> Result<Sample, String> {
    let ticks = late.samples_count() as f64;
    let max = late.max_ns().ok_or("nothing was due")?;
    Ok(sample
        .with("late_mean_ns", late.total_ns() / ticks)
        .with("late_max_ns", max)
        .with("ticks_count", ticks))
}

fn beside_sample(seen: &[Beside]) -> Result<Sample, String> {
    let [seen] = seen else { return Err("one run is one sample".into()) };
    late(Sample::default().with("taken_count", seen.taken_count as f64), &seen.late)
}

fn biased() -> Step {
    type Second = (Waits, Duration);
    const SECONDS: [Point<Second>; 3] = [
        at("timer_20ms", (Waits::Timer, Duration::from_millis(20))),
        at("timer_80ms", (Waits::Timer, Duration::from_millis(80))),
        at("message_80ms", (Waits::Message, Duration::from_millis(80))),
    ];
    let against_biased = |case, param| at_most(0.34, ratio((case, param), ("biased", param)));
    let served = |param| exactly(0.0, pick("biased", param, "served_count"));
    let yields = || at_most(0.75, ratio(("quota_yield", "timer_80ms"), ("quota", "timer_80ms")));
    Step::new("biased", Kind::Tail, "late_mean_ns")
        .ask_number(
            "A loop runs a biased select! on a runtime of one thread. For 80 ms the first branch always has \
            a message, and each message takes 50 us. The second branch is a timer that is due every 5 ms. \
            How many ns late is the timer on average?",
            "biased",
            "timer_80ms",
        )
        .columns(&["late_max_ns", "served_count", "messages_count", "turns_count"])
        .contenders(&LOOKING)
        .over_all(SECONDS, |plan, seconds| {
            let (ns_per_iteration, smoke) = (work::ns_per_iteration(), plan.is_smoke());
            let run = |how: &Setting<Looking>, (waits, window): &Second| {
                beside_flood(how.value, *waits, if smoke { *window / 10 } else { *window }, ns_per_iteration)
            };
            in_turn(plan, 1, &LOOKING, seconds, run, |_, _, seen| flooded(&seen))
        })
        .claim(served("timer_80ms"), "with biased, the timer branch does not run once in 80 ms")
        .claim(
            served("message_80ms"),
            "with biased, a message in the second branch is not taken once in 80 ms either",
        )
        .claim(
            against_biased("random", "timer_80ms"),
            "in the default order the timer is at most a third as late as with biased",
        )
        .claim(
            against_biased("quota", "timer_80ms"),
            "with biased and at most 32 messages in a row, the timer is at most a third as late, too",
        )
        .claim(
            against_biased("quota", "message_80ms"),
            "with at most 32 messages in a row, a message in the second branch is at most a third as late \
             as without that limit",
        )
        .claim(
            at_most(0.5, ratio(("random", "message_80ms"), ("quota", "message_80ms"))),
            "in the default order a message waits at most half as long as with at most 32 messages in a row",
        )
        .claim(
            yields(),
            "if the task also yields after 32 messages in a row, the timer is at most three \
            quarters as late as without the yield",
        )
        .because(
            "select! takes the first branch that is ready. With biased it looks at the branches in the order \
            of the source text. So the second branch waits until the first one is not ready.",
            shown_by(against_biased("flood_last", "timer_80ms")),
        )
        .because(
            "The budget does not help. It gives turns to other tasks, and then the same task goes on with \
            its first branch.",
            shown_by(at_least(5.0, pick("biased", "timer_80ms", "turns_count"))),
        )
        .because(
            "By default select! chooses a random order each time. So if both branches are ready, each wins \
            half of the time on average.",
            shown_by(at_most(0.1, ratio(("random", "message_80ms"), ("biased", "message_80ms")))),
        )
        .because(
            "A timer needs one more thing: the thread must look at its timers. It does that only when the \
            task gives the thread back. In any order that happens once in 128 messages.",
            shown_by(yields()),
        )
}

fn flooded(seen: &[SecondBranch]) -> Result<Sample, String> {
    let [seen] = seen else { return Err("one run is one sample".into()) };
    let sample = Sample::default()
        .with("served_count", seen.served_count as f64)
        .with("messages_count", seen.messages_count as f64)
        .with("turns_count", seen.turns_count as f64);
    late(sample, &seen.late)
}

/// Runs of each row in one launch, all started at once.
const TRIES: usize = 8;

fn one_task() -> Step {
    const WORKERS: [Point<usize>; 3] = [count("workers_1", 1), count("workers_2", 2), count("workers_8", 8)];
    let hangs = |case, param| at_least(0.8, (case, param));
    let ends = |case| at_most(0.2, (case, "workers_8"));
    let done = |case| -> Pick { pick(case, "workers_8", "done_count") };
    Step::new("one_task", Kind::Count, "hung_share")
        .ask_number(
            "One task runs two branches in a join!, for 1,000 rounds. The first branch holds a DashMap guard \
            while it locks a tokio mutex that is always free. The second branch writes to the same entry. \
            The runtime has 8 workers. What share of the runs hangs?",
            "joined",
            "workers_8",
        )
        .columns(&["done_count"])
        .each(&FUSED, WORKERS, |plan, how, workers| {
            let (many, ms) = if plan.is_smoke() { (1, 20) } else { (TRIES, 60) };
            tried(&tries(how.value, workers.value, many, Duration::from_millis(ms))?)
        })
        .claim(hangs("joined", "workers_1"), "with one worker at least four fifths of the runs hang")
        .claim(hangs("joined", "workers_8"), "with eight workers at least four fifths of the runs hang, too")
        .claim(
            hangs("try_joined", "workers_8"),
            "with try_join! and eight workers at least four fifths hang, too",
        )
        .claim(exactly(128.0, done("joined")), "a run with join! completes 128 rounds before it hangs")
        .claim(
            exactly(64.0, done("two_awaits")),
            "with two awaits in each round, a run completes 64 rounds before it hangs",
        )
        .claim(ends("released"), "if the guard is dropped before the await, at most a fifth of the runs hang")
        .claim(
            ends("awaited"),
            "with tokio's RwLock in place of the map's lock, at most a fifth of the runs hang, too",
        )
        .because(
            "The mutex is always free. So its await can be pending for one reason only: the task has used up \
            its budget. That happens in round 129.",
            shown_by(ends("unconstrained")),
        )
        .because(
            "Then join! polls the second branch while the first still holds the guard. The second branch \
            waits for that guard and blocks the thread.",
            shown_by(ends("released")),
        )
        .because(
            "Both branches belong to one task, so the first branch is never polled again. Other workers \
            can run other tasks, but not a part of this one.",
            shown_by(hangs("joined", "workers_8")),
        )
        .because(
            "With a lock that awaits, the second branch returns Pending and does not block the thread. So \
            the first branch goes on.",
            shown_by(exactly(ROUNDS as f64, done("awaited"))),
        )
        .because(
            "The round in which a run hangs depends on what else the task awaits. So a program may pass \
            its tests and hang later.",
            shown_by(between(0.45, 0.55, ratio(done("two_awaits"), done("joined")))),
        )
        .because(
            "DashMap's guard is Send although its lock blocks. So the compiler lets a spawned task hold it \
            across an await.",
            source("dashmap 6.2.1, src/mapref/one.rs"),
        )
}

fn tried(seen: &[Tried]) -> Result<Sample, String> {
    let hung = seen.iter().filter(|one| one.hung).count();
    if let Some(one) =
        seen.iter().find(|one| !one.hung && (one.done_count, one.writes_count) != (ROUNDS, ROUNDS))
    {
        return Err(format!("a try ended after {} rounds and {} writes", one.done_count, one.writes_count));
    }
    let done: u64 = seen.iter().map(|one| one.done_count).sum();
    Ok(Sample::default()
        .share("hung_share", hung as f64, seen.len() as f64)
        .with("done_count", done as f64 / seen.len().max(1) as f64))
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}
