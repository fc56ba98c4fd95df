//! Which async channel is fastest, and what does each item cost in wake-ups?
//!
//! Run it: `cargo run --release --bin async_channels -- --step`
use std::time::Duration;

use underhood::{
    experiments::channels::{
        ASYNC_CHANNEL, BOXED, DIRECT, FLUME, JOB, Job, KANAL, Place, Run, SLEEPS, TOKIO, UNBOUNDED,
        UNCONSTRAINED, WAKES, samples,
    },
    lab::{
        Kind, Lab, Param, Point, Setting, Step, at, at_least, at_most, bytes, count, pick, ratio, shown_by,
    },
};

const WITH_UNBOUNDED: &[Setting<Run>] = &[TOKIO, FLUME, ASYNC_CHANNEL, KANAL, UNBOUNDED];
const ROOMS: &[Setting<Run>] = &[TOKIO, FLUME, ASYNC_CHANNEL, KANAL, UNBOUNDED, UNCONSTRAINED];
const LOADS: &[Setting<Run>] = &[TOKIO, FLUME, ASYNC_CHANNEL, KANAL, BOXED, DIRECT];

pub(crate) fn lab() -> Lab {
    underhood::lab!(
        "async_channels",
        "Which async channel is fastest, and what does each item cost in wake-ups?"
    )
    .step(place())
    .step(capacity())
    .step(payload())
    .step(senders())
    .say(
        "place",
        "An item of 8 bytes goes through a tokio channel with room for 16. It takes {value} if both tasks are on \
        one worker. If each task has a thread of its own, it takes {against}.",
        ratio(("tokio", "one_worker"), ("tokio", "two_threads")),
        "the tasks do so much work for each item that the channel does not show, or the room is much larger",
    )
    .say(
        "capacity",
        "On one worker, a tokio channel with room for 16 items moved {ratio} as many items per second as one with \
        room for one item.",
        ratio(("tokio", "room_16"), ("tokio", "room_1")),
        "the tasks run on several threads, or the receiver takes much longer for an item than a wake-up takes",
    )
    .say(
        "senders",
        "On one worker and with room for 16 items, 8 senders that never pause need {value} wake-ups per item \
        through a tokio channel. One sender needs {against}.",
        ratio(pick("tokio", "s8_one", WAKES), pick("tokio", "s1_one", WAKES)),
        "the channel is rarely full, so that no sender waits",
    )
    .not_said(&[
        "What a real program gains: here the tasks do nothing but send and receive.",
        "How long an item waits in the channel: see lab async_pool, step channel.",
        "Anything about several receivers: tokio's channel has only one.",
        "What an unbounded channel costs in memory. Here it may hold all items of a run at once, up to 16 MiB.",
        "That the scheduler of a runtime with two workers always does what it did here. It depends on what else \
        runs there.",
        "How many wake calls a channel makes. A task that is woken twice before it runs counts once.",
    ])
    .next(&[
        "Bounded or unbounded? (lab async_pool, step channel)",
        "How do you take several items per wake-up? (recv_many, or a Vec as the item)",
        "What is lost when a send or a receive is cancelled? (lab async_cancel)",
        "Why can a channel without tokio's budget starve other tasks? (lab async_fairness)",
        "How would you keep a sender and its receiver on one thread? (a LocalSet, or a runtime per core)",
    ])
    .sources(&[
        "tokio 1.54.1, src/sync/mpsc/bounded.rs and src/sync/batch_semaphore.rs: a permit for each place",
        "tokio 1.54.1, src/runtime/scheduler/multi_thread/worker.rs (`schedule_local`): the LIFO slot",
        "flume 0.12, src/lib.rs (`pull_pending`); kanal 0.1.1, src/future.rs; async-channel 2.5.0, src/lib.rs",
    ])
}

fn place() -> Step {
    let on = |place| Job { place, ..JOB };
    let points = [
        at("one_worker", on(Place::OneWorker)),
        at("two_workers", on(Place::TwoWorkers)),
        at("two_threads", on(Place::TwoThreads)),
        at("two_awake", on(Place::TwoAwake)),
    ];
    let apart = |case| at_least(2.0, ratio((case, "two_threads"), (case, "one_worker"))).cores(2);
    step("place", "item_ns", WITH_UNBOUNDED, &points)
        .ask_best(
            "A task sends items of 8 bytes to another task, through a channel with room for 16. Both tasks are on \
            one worker thread. Which channel takes the least time per item?",
            "one_worker",
        )
        .columns(&[WAKES, SLEEPS, "crossed_share"])
        .claim(
            apart("tokio"),
            "with a thread for each side, an item through tokio's channel takes at least twice as long as on one \
            worker",
        )
        .claim(apart("flume"), "with a thread for each side, an item through flume takes at least twice as long, too")
        .claim(apart("kanal"), "with a thread for each side, an item through kanal takes at least twice as long, too")
        .claim(
            at_most(1.0, ratio(("kanal", "one_worker"), ("tokio", "one_worker"))),
            "on one worker, an item through kanal takes at most as long as through tokio's channel",
        )
        .because(
            "On one worker a wake-up only puts the other task into the list of the same thread. The thread does not \
            sleep.",
            shown_by(at_most(0.01, pick("tokio", "one_worker", SLEEPS))),
        )
        .because(
            "With a thread for each side, a thread without work sleeps in the kernel, and the other side must wake \
            it. This takes much longer than the channel. If both threads stay awake, an item is cheaper.",
            shown_by(at_most(0.7, ratio(("tokio", "two_awake"), ("tokio", "two_threads"))).cores(2)),
        )
        .because(
            "Even if no thread sleeps, an item to another core costs more, since the cache lines of the channel move \
            between the cores.",
            shown_by(at_least(1.3, ratio(("tokio", "two_awake"), ("tokio", "one_worker"))).cores(2)),
        )
        .because(
            "On a runtime of two workers, a worker runs a task that it has just woken itself next. The other worker \
            can't steal that task. So a sender and its receiver often share a worker.",
            shown_by(at_most(0.5, pick("tokio", "two_workers", "crossed_share")).cores(2)),
        )
        .in_tour()
}

fn capacity() -> Step {
    let room = |id, places| sized(count(id, places).param, Job { places, ..JOB });
    let points = [room("room_1", 1), room("room_16", 16), room("room_1024", 1024)];
    let gain = |case| ratio((case, "room_16"), (case, "room_1"));
    let wakes = |case, room| pick(case, room, WAKES);
    step("capacity", "items_per_s", ROOMS, &points)
        .ask_number(
            "On one worker thread, a task sends items to another task through a tokio channel. The channel has room \
            for one item. How many items arrive per second?",
            "tokio",
            "room_1",
        )
        .columns(&["item_ns", WAKES])
        .claim(
            at_least(2.0, gain("tokio")),
            "a tokio channel with room for 16 moves at least twice as many items as one with room for one",
        )
        .claim(
            at_most(2.0, ratio(("tokio", "room_1024"), ("tokio", "room_16"))),
            "room for 1,024 instead of 16 gains at most a factor of 2",
        )
        .claim(
            at_least(1.5, wakes("tokio", "room_1")),
            "with room for one item, each item takes at least 1.5 wake-ups through tokio's channel",
        )
        .because(
            "With room for one item, the sender stops after each item and the receiver finds nothing more. So each \
            of them is woken for each item.",
            shown_by(at_least(1.5, wakes("tokio", "room_1"))),
        )
        .because(
            "With more room, the sender fills the channel before it stops, and one wake-up serves many items.",
            shown_by(at_most(0.25, wakes("tokio", "room_16"))),
        )
        .because(
            "The wait for room is what costs. A sender of an unbounded channel never waits, whatever the setting.",
            shown_by(at_least(2.0, ratio(("unbounded", "room_1"), ("tokio", "room_1")))),
        )
        .because(
            "tokio's budget ends a task's turn after 128 items. Without it, the tasks stop much more rarely if there \
            is room for 1,024.",
            shown_by(at_least(2.0, ratio(wakes("tokio", "room_1024"), wakes("unconstrained", "room_1024")))),
        )
        .because(
            "In flume and kanal a waiting sender leaves its item with the channel, and the receiver takes it from \
            there. So room for one item is in fact room for two.",
            shown_by(at_most(0.75, ratio(wakes("flume", "room_1"), wakes("tokio", "room_1")))),
        )
}

fn payload() -> Step {
    let of = |id, size| sized(bytes(id, size).param, Job { bytes: size, ..JOB });
    let points = [of("item_8", 8), of("item_64", 64), of("item_1024", 1024)];
    let grows = |case| ratio((case, "item_1024"), (case, "item_8"));
    let part = |case, size| pick(case, size, "channel_ns");
    step("payload", "item_ns", LOADS, &points)
        .ask_number(
            "On one worker thread, a task writes an item of 1 KiB, sends it through a tokio channel with room for \
            16, and another task reads it. How many ns does that take per item?",
            "tokio",
            "item_1024",
        )
        .columns(&["channel_ns", WAKES])
        .claim(at_least(2.0, grows("tokio")), "an item of 1 KiB takes at least twice as long as one of 8 bytes")
        .claim(
            at_most(1.6, ratio(("tokio", "item_64"), ("tokio", "item_8"))),
            "an item of 64 bytes takes at most 1.6 times as long as one of 8 bytes",
        )
        .claim(
            at_least(1.1, ratio(("boxed", "item_8"), ("tokio", "item_8"))),
            "for items of 8 bytes a Box makes it at least a tenth slower",
        )
        .because(
            "The channel copies an item into its memory and out again, so its own part grows with the size, too. \
            What is left without a channel, the writing and reading, is taken off here.",
            shown_by(at_least(1.5, ratio(part("tokio", "item_1024"), part("tokio", "item_8")))),
        )
}

fn senders() -> Step {
    let from = |producers, place| Job { producers, place, ..JOB };
    let points = [
        at("s1_one", from(1, Place::OneWorker)),
        at("s8_one", from(8, Place::OneWorker)),
        at("s8_workers", from(8, Place::TwoWorkers)),
        at("s8_threads", from(8, Place::TwoThreads)),
    ];
    let wakes = |case| ratio(pick(case, "s8_one", WAKES), pick(case, "s1_one", WAKES));
    step("senders", "item_ns", WITH_UNBOUNDED, &points)
        .ask_number(
            "Eight tasks send items of 8 bytes to one task through a tokio channel with room for 16. All are on one \
            worker thread and never pause. How many ns does an item take?",
            "tokio",
            "s8_one",
        )
        .columns(&[WAKES, SLEEPS, "crossed_share"])
        .claim(
            at_least(2.0, wakes("tokio")),
            "on one worker, 8 senders need at least twice as many wake-ups per item as one",
        )
        .claim(
            at_most(4.0, ratio(("tokio", "s8_one"), ("tokio", "s1_one"))),
            "on one worker, an item of 8 senders takes at most 4 times as long as an item of one",
        )
        .because(
            "A place that gets free goes to the sender that has waited longest. With 8 senders, many items have to \
            wake one.",
            shown_by(at_least(0.25, pick("tokio", "s8_one", WAKES))),
        )
        .because(
            "If a sender never has to wait, 8 senders need hardly any wake-ups.",
            shown_by(at_most(0.1, pick("unbounded", "s8_one", WAKES))),
        )
}

fn sized(param: Param, value: Job) -> Point<Job> {
    Point { param, value }
}

fn step(
    name: &'static str,
    headline: &'static str,
    rows: &'static [Setting<Run>],
    points: &[Point<Job>],
) -> Step {
    Step::new(name, Kind::Tail, headline)
        .contenders(rows)
        .slice(0.03)
        .slice_at_least(Duration::from_millis(3))
        .over_all(points.to_vec(), move |plan, points| samples(plan, rows, points))
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}
