//! What is lost when a future is dropped halfway?
//!
//! Run it: `cargo run --release --bin async_cancel -- --step`
use underhood::{
    experiments::cancel::{OPERATIONS, STATES},
    lab::{Bound, Kind, Lab, Step, exactly, pick, ratio, sample::Sample, shown_by},
};

pub(crate) fn lab() -> Lab {
    underhood::lab!("async_cancel", "What is lost when a future is dropped halfway?")
        .step(cancel())
        .say(
            "cancel",
            "A read_exact was dropped after three of its eight bytes had arrived, and it lost {value} of them. A single read lost \
             {against}.",
            ratio(pick("read_exact", "waiting", "lost_bytes"), pick("read", "waiting", "lost_bytes")),
            "the future is kept and polled again, for example by reference in select!",
        )
        .say(
            "cancel",
            "A dropped Mutex::lock future loses {value} place in the queue, and no permit.",
            pick("mutex_lock", "waiting", "lost_places_count"),
            "nobody else waits, or the future was never polled: then it had no place yet",
        )
        .not_said(&[
            "Anything about real I/O: read_exact and write_all were cancelled on an in-memory pipe.",
            "That your program is still correct afterwards: safe to cancel means only that nothing is lost.",
        ])
        .next(&[
            "Why is tokio::select! in a loop the usual place where this happens?",
            "How do you keep the progress of a future that loses a race? (poll it by reference, pinned outside of the loop)",
            "What does JoinHandle::abort drop, and when?",
            "Why can blocking code not be cancelled?",
        ])
        .sources(&[
            "tokio 1.54.1: the sections 'Cancel safety' of select! and of each operation's documentation",
            "Yoshua Wuyts, Async Cancellation I, 2021",
        ])
}

/// Exactly `count` things are lost, of the kind that `value` counts.
fn loses(count: f64, case: &'static str, param: &'static str, value: &'static str) -> Bound {
    exactly(count, pick(case, param, value))
}

fn cancel() -> Step {
    Step::new("cancel", Kind::Count, "lost_count")
        .ask_number(
            "A task waits for a tokio mutex. Then its lock future is dropped, and the task asks for the lock again. How many things \
             does it lose? (A message, some bytes, a place in a queue and a permit count as one each.)",
            "mutex_lock",
            "waiting",
        )
        .columns(&[
            "safe_to_cancel_here_count",
            "lost_bytes",
            "lost_messages_count",
            "lost_places_count",
            "lost_permits_count",
        ])
        .each(&OPERATIONS, STATES, |_, trial, at| {
            let lost = (trial.value)(at.value);
            let kinds = lost.kinds_count();
            Ok(Sample::default()
                .with("lost_count", kinds as f64)
                .with("safe_to_cancel_here_count", f64::from(u8::from(kinds == 0)))
                .with("lost_bytes", lost.bytes as f64)
                .with("lost_messages_count", lost.messages as f64)
                .with("lost_places_count", lost.places as f64)
                .with("lost_permits_count", lost.permits as f64))
        })
        .claim(
            loses(3.0, "read_exact", "waiting", "lost_bytes"),
            "read_exact loses the bytes that it had read",
        )
        .claim(loses(0.0, "read", "woken", "lost_bytes"), "a single read loses no bytes")
        .claim(loses(0.0, "mpsc_recv", "woken", "lost_count"), "recv loses nothing")
        .claim(
            loses(1.0, "recv_two", "waiting", "lost_messages_count"),
            "two recv in one async fn lose the first message",
        )
        .claim(
            loses(1.0, "mpsc_send", "unpolled", "lost_messages_count"),
            "send loses its message even if it was never polled",
        )
        .claim(
            loses(1.0, "mpsc_reserve", "waiting", "lost_places_count"),
            "reserve loses its place in the queue, as lock does",
        )
        .claim(loses(1.0, "mutex_lock", "waiting", "lost_places_count"), "lock loses its place in the queue")
        .claim(
            loses(0.0, "semaphore_acquire", "woken", "lost_permits_count"),
            "acquire loses no permit: the permit goes to the next waiter",
        )
        .because(
            "Cancelling a future means dropping it, with all that it holds. A read_exact that was never polled has read nothing yet, \
             so it loses nothing.",
            shown_by(loses(0.0, "read_exact", "unpolled", "lost_bytes")),
        )
        .because(
            "read_exact counts the bytes that it has read, and keeps the count inside its future. After the drop the bytes are \
             still in the caller's buffer, but the count is gone.",
            shown_by(loses(3.0, "read_exact", "waiting", "lost_bytes")),
        )
        .because(
            "write_all counts the bytes that it has written in the same way.",
            shown_by(loses(5.0, "write_all", "waiting", "lost_bytes")),
        )
        .because(
            "A future can own something before its first poll: send holds its message from the start.",
            shown_by(loses(1.0, "mpsc_send", "unpolled", "lost_messages_count")),
        )
        .because(
            "A future can also receive a message and then wait for another: the future with two recv holds the first message.",
            shown_by(loses(1.0, "recv_two", "waiting", "lost_messages_count")),
        )
        .because(
            "A future can hold a place in a queue (lock, acquire, notified). When the future is dropped, it leaves the queue. \
             If it already had a permit or a notification, that goes to the next waiter.",
            shown_by(loses(1.0, "notified", "waiting", "lost_places_count")),
        )
        .because(
            "A future that keeps its progress outside of itself loses nothing. Each cell of the table is one trial: \
             src/experiments/cancel.rs.",
            shown_by(loses(0.0, "oneshot_by_ref", "woken", "lost_count")),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}
