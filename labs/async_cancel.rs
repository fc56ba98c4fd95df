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
            "A read_exact that was dropped after three of eight bytes had come lost {value} of them; a single read lost {against}.",
            ratio(pick("read_exact", "waiting", "lost_bytes"), pick("read", "waiting", "lost_bytes")),
            "the future is kept and polled on, for example by reference in select!",
        )
        .say(
            "cancel",
            "A dropped Mutex::lock loses {value} place in the queue, and no permit.",
            pick("mutex_lock", "waiting", "lost_places_count"),
            "nobody else waits, or the future was never polled: then it had no place yet",
        )
        .not_said(&[
            "Nothing about real I/O: read_exact and write_all were cancelled on an in-memory pipe.",
            "Safe to cancel means that nothing is lost; whether your program still makes sense afterwards is another question.",
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

/// So many of what a value counts.
fn loses(count: f64, case: &'static str, param: &'static str, value: &'static str) -> Bound {
    exactly(count, pick(case, param, value))
}

fn cancel() -> Step {
    Step::new("cancel", Kind::Count, "lost_count")
        .ask_number(
            "A task waits for a tokio mutex; then its future is dropped and it asks once more. Which of these twelve operations lose nothing, \
             in whichever state they are dropped?",
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
        .claim(loses(3.0, "read_exact", "waiting", "lost_bytes"), "read_exact loses the bytes it had")
        .claim(loses(0.0, "read", "woken", "lost_bytes"), "a single read loses none")
        .claim(loses(0.0, "mpsc_recv", "woken", "lost_count"), "recv loses nothing")
        .claim(
            loses(1.0, "recv_two", "waiting", "lost_messages_count"),
            "two recv in one async fn lose the first message",
        )
        .claim(
            loses(1.0, "mpsc_send", "unpolled", "lost_messages_count"),
            "send loses its message even if it was never polled",
        )
        .claim(loses(0.0, "mpsc_reserve", "woken", "lost_messages_count"), "reserve does not")
        .claim(loses(1.0, "mutex_lock", "waiting", "lost_places_count"), "lock loses its place in the queue")
        .claim(
            loses(0.0, "semaphore_acquire", "woken", "lost_permits_count"),
            "but no permit: it goes to the next",
        )
        .because(
            "Cancelling is dropping: the locals of the state go, and with them what they were holding.",
            shown_by(loses(0.0, "read_exact", "unpolled", "lost_bytes")),
        )
        .because(
            "A local can hold bytes that are already out of the stream (read_exact).",
            shown_by(loses(3.0, "read_exact", "waiting", "lost_bytes")),
        )
        .because(
            "It can hold the count of bytes that are already in the stream (write_all).",
            shown_by(loses(5.0, "write_all", "waiting", "lost_bytes")),
        )
        .because(
            "It can hold a message: send has it as its argument, recv_two as its first result.",
            shown_by(loses(1.0, "recv_two", "waiting", "lost_messages_count")),
        )
        .because(
            "It can hold a place in a queue (lock, acquire, notified). The waiter is unlinked, and what it had been given goes to the next.",
            shown_by(loses(1.0, "notified", "waiting", "lost_places_count")),
        )
        .because(
            "What keeps its progress elsewhere loses nothing. Each cell is a trial: src/experiments/cancel.rs.",
            shown_by(loses(0.0, "oneshot_by_ref", "woken", "lost_count")),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}
