//! Why does a condition variable need a loop and a mutex, and whom should it wake?
//!
//! Run it: `cargo run --release --bin lock_condvar -- --step`
use std::time::Duration;

use underhood::{
    contenders::{
        blocking::QUEUES,
        condvar::{Ours, ParkingLot, Std},
    },
    experiments::woken::{Condition, Moment, Notify, OURS, PL013, STD, Why, condition},
    lab::{
        Contender, Kind, Lab, Point, Setting, Step, What, at, at_least, at_most, count, pick, plan::Plan,
        ratio, sample::Sample, shown_by, source,
    },
    measure::order::Order,
    record::AA,
};

pub(crate) fn lab() -> Lab {
    underhood::lab!(
        "lock_condvar",
        "Why does a condition variable need a loop and a mutex, and whom should it wake?"
    )
    .step(herd())
    .step(queue())
    .step(handover())
    .step(without_loop())
    .step(without_mutex())
    .say(
        "herd",
        "16 threads wait for items that come 200 us apart. For each item, std's notify_all wakes {value} threads for nothing, notify_one {against}.",
        ratio(("std_all", "w_16"), ("std_one", "w_16")),
        "every waiting thread has something to do, or some are still awake from the last item",
    )
    .say(
        "without_loop",
        "Another thread takes the item before the woken consumer runs. With `if` around the wait, the consumer finds an \
         empty queue in {value} of its rounds. With `while` that cannot happen ({against}).",
        ratio(("if_std", "stolen"), ("while_std", "stolen")),
        "there is one consumer, and nobody else takes anything",
    )
    .say(
        "without_mutex",
        "A thread checks a flag, and begins to wait 1 us later. Another thread sets the flag without the mutex, within 3 us of \
         that check. {value} of the notifications are lost. With the mutex, {against} are lost.",
        ratio(("outside_std", "pause_1us"), ("inside_std", "pause_1us")),
        "hardly any time passes between the check and the wait: then next to none are lost",
    )
    .say(
        "handover",
        "A thread sleeps on std's condition variable, and is notified after the unlock. It runs {value} after the change \
         that it waits for.",
        ("std", "after"),
        "the thread has not gone to sleep yet, or its CPU is busy",
    )
    .say(
        "queue",
        "One thread puts values into a queue of 16 places, and one takes them out. With two of std's condition variables \
         {against} pass, through crossbeam's bounded channel {value}.",
        ratio(("crossbeam_channel", "1x1"), ("two_std", "1x1")),
        "the work for each value takes longer than a wake-up",
    )
    .not_said(&[
        "That a spurious wake-up never comes. None came here, but a signal handler or another system may cause one.",
        "That `if` is safe with one consumer: the next change of the program may add a second one.",
        "That notify_one is always right: if waiting threads wait for different things, it may wake one that can't go on.",
        "That a lost notification is rare: it is as likely as a change between the check and the wait.",
    ])
    .next(&[
        "Why does the wait need the mutex? (the wait unlocks it and falls asleep in one step, as seen by every thread that \
         locks the mutex later)",
        "When must you call notify_all? (if threads wait for different things, or one change lets several go on)",
        "Your queue has one condition variable and notify_one. How does it hang? (a put wakes another thread that wants to put)",
        "How does a waiting thread learn that the queue is closed? (a flag behind the same mutex, and notify_all)",
    ])
    .sources(&[
        "C. A. R. Hoare, \"Monitors: An Operating System Structuring Concept\", CACM 1974: a signal that hands the monitor over",
        "B. W. Lampson, D. D. Redell, \"Experience with Processes and Monitors in Mesa\", CACM 1980: a notify is a hint, so look again",
        "POSIX.1-2017, pthread_cond_wait: spurious wakeups may occur; pthread_cond_signal: with or without the mutex",
        "parking_lot 0.13.0, src/condvar.rs and src/raw_condvar.rs: waiting threads move to the mutex's queue",
        "crossbeam-channel 0.5, src/flavors/array.rs",
    ])
}

/// The same condition variable under another id, with a setting.
const fn told<T: Copy>(
    id: &'static str,
    name: &'static str,
    of: Condition,
    value: T,
) -> Setting<(Condition, T)> {
    Setting { is: of.is.as_case(id).called(name), value: (of, value) }
}

static HERDS: [Setting<(Condition, Notify)>; 6] = [
    told("std_one", "std, notify_one", condition::<Std>(), Notify::One),
    told("std_all", "std, notify_all", condition::<Std>(), Notify::All),
    told("pl013_one", "parking_lot 0.13, notify_one", condition::<ParkingLot>(), Notify::One),
    told("pl013_all", "parking_lot 0.13, notify_all", condition::<ParkingLot>(), Notify::All),
    told("ours_one", "ours, notify_one", condition::<Ours>(), Notify::One),
    told("ours_all", "ours, notify_all", condition::<Ours>(), Notify::All),
];

fn herd() -> Step {
    let waiters = [count("w_1", 1), count("w_4", 4), count("w_16", 16)];
    let switches = |case| pick(case, "w_16", "switches_per_op_count");
    Step::new("herd", Kind::Chance, "wasted_per_op_count")
        .ask_number(
            "16 threads wait for items, and every 200 us one item comes. With notify_all, how many threads does an item wake for nothing?",
            "std_all",
            "w_16",
        )
        .columns(&["switches_per_op_count"])
        .slice(0.2)
        .each(&HERDS, waiters, |plan, how, waiters| how.value.0.herd(plan, waiters.value, how.value.1))
        .claim(
            at_least(10.0, ("std_all", "w_16")),
            "of 16 waiting threads, notify_all wakes at least 10 for nothing (15 if all were asleep again)",
        )
        .claim(at_most(0.1, ("std_one", "w_16")), "notify_one wakes at most one thread for nothing in 10 items")
        .claim(
            at_most(0.1, ("pl013_one", "w_16")),
            "parking_lot's notify_one wakes at most one thread for nothing in 10 items, too",
        )
        .claim(
            at_least(5.0, ratio(switches("std_all"), switches("std_one"))),
            "notify_all causes at least 5 times as many context switches for each item",
        )
        .claim(
            at_most(1.2, ratio(switches("pl013_all"), switches("std_all"))),
            "parking_lot's notify_all causes at most 1.2 times as many context switches as std's",
        )
        .because(
            "A condition variable does not know what its threads wait for. notify_all wakes them all, one gets the item, and the others look, \
             find nothing and sleep again. With one waiting thread both calls are the same.",
            shown_by(at_most(0.1, ("std_all", "w_1"))),
        )
        .because(
            "Each thread that wakes up for nothing sleeps again, and that is one more context switch.",
            shown_by(at_least(5.0, ratio(switches("ours_all"), switches("ours_one")))),
        )
        .because(
            "parking_lot wakes one thread and moves the others to the queue of the mutex. They wake one after the other, \
             and each still checks for itself. Here that took no fewer switches.",
            source("parking_lot 0.13.0, src/raw_condvar.rs: unpark_requeue"),
        )
}

fn queue() -> Step {
    let crowds = [at("1x1", (1, 1)), at("2x2", (2, 2))];
    let switches = |case, param| pick(case, param, "switches_per_op_count");
    Step::new("queue", Kind::Tail, "ops_per_s")
        .ask_best("One thread puts values into a queue of 16 places, and another takes them out. Which queue lets through the most?", "1x1")
        .columns(&["switches_per_op_count", "min_max_share"])
        .contenders(&QUEUES)
        .slice(0.2)
        .over_all(crowds, |plan, points| {
            turns(plan, &QUEUES, points, |queue, p| queue.passes(plan, p.value.0, p.value.1))
        })
        .claim(
            at_least(2.0, ratio(("crossbeam_channel", "1x1"), ("two_std", "1x1"))).cores(2),
            "crossbeam's channel (no mutex around the values, a short spin) lets through at least twice as many as two of \
             std's condition variables",
        )
        .claim(
            at_least(1.1, ratio(("counted_std", "1x1"), ("two_std", "1x1"))).cores(2),
            "a queue that notifies only if somebody waits lets through at least 1.1 times as many as one that always notifies",
        )
        .claim(
            at_most(1.0, ratio(("one_std", "2x2"), ("two_std", "2x2"))).cores(2),
            "with two threads at each end, one condition variable lets through no more than two condition variables do",
        )
        .because(
            "With one thread at each end, threads seldom sleep. With two of std's condition variables, no launch had more than \
             one sleep in 50 values. Each value pays for a mutex that both ends write, and for a notification. crossbeam's \
             channel has neither, and its threads sleep even less often.",
            shown_by(
                at_most(0.5, ratio(switches("crossbeam_channel", "1x1"), switches("two_std", "1x1"))).cores(2),
            ),
        )
        .because(
            "std's notify_one makes a system call even if nobody waits. A count of the waiting threads, kept under the mutex \
             that is held anyway, saves that call. But then the other end sleeps more often, so the gain may be small.",
            shown_by(at_least(1.1, ratio(("counted_ours", "1x1"), ("two_ours", "1x1"))).cores(2)),
        )
        .because(
            "parking_lot keeps a pointer for the same purpose: it is null if nobody waits.",
            source("parking_lot 0.13.0, src/raw_condvar.rs: notify_one"),
        )
        .because(
            "With one condition variable for both ends, notify_all wakes threads that still can't go on.",
            shown_by(at_least(1.0, ratio(switches("one_std", "2x2"), switches("two_std", "2x2"))).cores(2)),
        )
}

const CONDITIONS: [&Condition; 3] = [&STD, &PL013, &OURS];

/// How long the mutex is held after the change, where it is held.
const HELD: Duration = Duration::from_micros(50);

fn handover() -> Step {
    let moment = |under, held| Moment { under, held };
    let moments = [
        at("after", moment(false, Duration::ZERO)),
        at("under", moment(true, Duration::ZERO)),
        at("after_50us", moment(false, HELD)),
        at("under_50us", moment(true, HELD)),
    ];
    let twice = |case| -> What {
        let switches = |param| pick(case, param, "switches_per_op_count");
        ratio(switches("under_50us"), switches("after_50us"))
    };
    Step::new("handover", Kind::Tail, "handover_p50_ns")
        .ask_number(
            "A thread sleeps on std's condition variable. Another thread makes the change, unlocks and then notifies. \
             How many ns pass from the change until the sleeper runs?",
            "std",
            "after",
        )
        .columns(&["switches_per_op_count"])
        .contenders(CONDITIONS)
        .slice(0.2)
        .over_all(moments, |plan, points| turns(plan, &CONDITIONS, points, |c, p| c.handed(plan, p.value)))
        .claim(
            at_least(2_000.0, ("std", "after")).cores(2),
            "std's thread runs at least 2 us after the change: the wake-up takes that long",
        )
        .claim(
            at_most(1.5, ratio(("std", "under"), ("std", "after"))).cores(2),
            "notifying under the mutex, just before the unlock, takes at most 1.5 times as long as after the unlock",
        )
        .claim(
            at_least(1.5, twice("std")).cores(2),
            "if the mutex is held for 50 us after the notification, std's thread makes at least 1.5 times as many context switches",
        )
        .claim(
            at_most(1.2, twice("pl013")).cores(2),
            "if the mutex is held for 50 us after the notification, parking_lot's thread makes at most 1.2 times as many \
             context switches",
        )
        .because(
            "A woken thread needs the mutex before its wait returns. If the mutex is held long enough, the thread wakes, \
             finds the mutex held and sleeps again (\"hurry up and wait\").",
            shown_by(at_least(1.5, twice("ours")).cores(2)),
        )
        .because(
            "If the unlock follows at once, the mutex is free before the thread is awake, so the order hardly matters.",
            shown_by(at_most(1.5, ratio(("ours", "under"), ("ours", "after"))).cores(2)),
        )
        .because(
            "parking_lot checks whether the mutex is held. If it is, parking_lot moves the thread to the mutex's queue \
             instead of waking it. The unlock then wakes the thread, once.",
            shown_by(at_most(1.2, twice("pl013")).cores(2)),
        )
}

static LOOPS: [Setting<(Condition, bool)>; 6] = [
    told("if_std", "std, if around the wait", condition::<Std>(), false),
    told("while_std", "std, while around the wait", condition::<Std>(), true),
    told("if_pl013", "parking_lot 0.13, if around the wait", condition::<ParkingLot>(), false),
    told("while_pl013", "parking_lot 0.13, while around the wait", condition::<ParkingLot>(), true),
    told("if_ours", "ours, if around the wait", condition::<Ours>(), false),
    told("while_ours", "ours, while around the wait", condition::<Ours>(), true),
];

fn without_loop() -> Step {
    let whys = [at("stolen", Why::Stolen), at("quiet", Why::Quiet)];
    Step::new("without_loop", Kind::Chance, "empty_share")
        .ask_number(
            "A consumer is notified of an item, and another thread takes the item at once. With `if` around the wait, in \
             what share of its rounds does the consumer find an empty queue? (0 to 1)",
            "if_std",
            "stolen",
        )
        .slice(0.15)
        .each(&LOOPS, whys, |plan, how, why| how.value.0.emptied(plan, how.value.1, why.value))
        .claim(at_least(0.5, ("if_std", "stolen")), "with `if`, std's consumer finds an empty queue in at least half of its rounds")
        .claim(
            at_least(0.5, ("if_pl013", "stolen")),
            "with `if`, parking_lot's consumer finds an empty queue in at least half of its rounds, although its documentation \
             rules out spurious wake-ups",
        )
        .claim(
            at_most(0.01, ("while_std", "stolen")),
            "with `while`, std's consumer finds an empty queue in at most 1 of 100 rounds",
        )
        .claim(at_most(0.02, ("if_std", "quiet")),"if nobody notifies, at most 2 in 100 waits end early (spurious wake-ups)")
        .because(
            "A notification says that something has changed. It does not say that the change still holds. The woken thread \
             must first get the mutex. A thread that is already running can get it sooner (a stolen wake-up).",
            source("B. W. Lampson, D. D. Redell, CACM 1980: a notify is a hint"),
        )
        .because(
            "The loop is needed for that, far more than for spurious wake-ups. If nobody stole the item or notified, hardly \
             any wait ended early.",
            shown_by(at_most(0.02, ("if_ours", "quiet"))),
        )
        .because(
            "With the loop, a stolen item only means another wait. (The loop cannot end at an empty queue, so this only \
             checks the experiment.)",
            shown_by(at_most(0.01, ("while_ours", "stolen"))),
        )
}

static GUARDS: [Setting<(Condition, bool)>; 6] = [
    told("outside_std", "change without the mutex, std", condition::<Std>(), false),
    told("inside_std", "change with the mutex, std", condition::<Std>(), true),
    told("outside_pl013", "change without the mutex, parking_lot 0.13", condition::<ParkingLot>(), false),
    told("inside_pl013", "change with the mutex, parking_lot 0.13", condition::<ParkingLot>(), true),
    told("outside_ours", "change without the mutex, ours", condition::<Ours>(), false),
    told("inside_ours", "change with the mutex, ours", condition::<Ours>(), true),
];

fn without_mutex() -> Step {
    let pauses = [at("no_pause", Duration::ZERO), at("pause_1us", Duration::from_micros(1))];
    Step::new("without_mutex", Kind::Chance, "lost_share")
        .ask_number(
            "A thread checks an atomic flag, and begins to wait 1 us later. Another thread sets the flag and notifies, without \
             the mutex, within 3 us of that check. In what share of the rounds does the first thread miss that and sleep on? \
             (0 to 1)",
            "outside_std",
            "pause_1us",
        )
        .slice(0.2)
        .each(&GUARDS, pauses, |plan, how, pause| how.value.0.missed(plan, how.value.1, pause.value))
        .claim(
            at_least(0.05, ("outside_std", "pause_1us")).cores(2),
            "with 1 us between the check and the wait, at least 5 in 100 notifications are lost",
        )
        .claim(at_most(0.01, ("inside_std", "pause_1us")).cores(2), "if the flag is set with the mutex held, at most 1 in 100 is lost")
        .claim(at_most(0.01, ("inside_pl013", "pause_1us")).cores(2), "with parking_lot's mutex held, at most 1 in 100 is lost too")
        .because(
            "The notification came between the check and the wait, when nobody waited yet. A condition variable does not \
             store a notification, so it was lost. An atomic flag does not help: the check and the wait are two steps.",
            shown_by(at_least(0.05, ("outside_ours", "pause_1us")).cores(2)),
        )
        .because(
            "The mutex joins the two into one step. The other thread can change the flag only before the check, or once the \
             first thread waits.",
            shown_by(at_most(0.01, ("inside_ours", "pause_1us")).cores(2)),
        )
        .because(
            "The mutex need not be held during the notification. It must be held during the change.",
            source("POSIX.1-2017, pthread_cond_signal"),
        )
}

/// Every contender at every parameter, and the baseline once more (`A/A`), in random order.
fn turns<C: AsRef<Contender>, T>(
    plan: &Plan,
    all: &[C],
    points: &[Point<T>],
    one: impl Fn(&C, &Point<T>) -> Result<Sample, String>,
) -> Vec<Sample> {
    let rows = || all.first().map(|c| (c, AA)).into_iter().chain(all.iter().map(|c| (c, c.as_ref().id)));
    let mut turn: Vec<_> = points.iter().flat_map(|p| rows().map(move |(c, case)| (p, c, case))).collect();
    Order::new(plan.seed ^ (plan.launch as u64) << 32).shuffle(&mut turn);
    let row = |(p, c, case): (&Point<T>, &C, &str)| match one(c, p) {
        Ok(sample) => Sample { case: case.into(), param: p.id().into(), ..sample },
        Err(why) => Sample::unmeasured(case, p.id(), why),
    };
    turn.into_iter().map(row).collect()
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}
