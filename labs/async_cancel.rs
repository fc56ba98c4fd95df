//! What is lost when a future is dropped halfway?
//!
//! Run it: `cargo run --release --bin async_cancel -- --step`
use underhood::{
    experiments::cancel::{OPERATIONS, STATES},
    lab::{
        Bench, Claim, Expect, Kind, Lab, Launch, Pick, Predict, Say, Step, pick, plan::Plan, sample::Sample,
    },
};

pub(crate) static LAB: Lab = Lab {
    stem: "async_cancel",
    question: "What is lost when a future is dropped halfway?",
    steps: &[CANCEL],
    says: &[
        Say {
            step: "cancel",
            text: "A read_exact that was dropped after three of eight bytes had come lost {value} of them; a single read lost {against}.",
            of: pick("read_exact", "waiting", "lost_bytes"),
            against: Some(pick("read", "waiting", "lost_bytes")),
            not_true_when: "the future is kept and polled on, for example by reference in select!",
        },
        Say {
            step: "cancel",
            text: "A dropped Mutex::lock loses {value} place in the queue, and no permit.",
            of: pick("mutex_lock", "waiting", "lost_places_count"),
            against: None,
            not_true_when: "nobody else waits, or the future was never polled: then it had no place yet",
        },
    ],
    not_said: &[
        "Nothing about real I/O: read_exact and write_all were cancelled on an in-memory pipe.",
        "Safe to cancel means that nothing is lost; whether your program still makes sense afterwards is another question.",
    ],
    next: &[
        "Why is tokio::select! in a loop the usual place where this happens?",
        "How do you keep the progress of a future that loses a race? (poll it by reference, pinned outside of the loop)",
        "What does JoinHandle::abort drop, and when?",
        "Why can blocking code not be cancelled?",
    ],
    sources: &[
        "tokio 1.54.1: the sections 'Cancel safety' of select! and of each operation's documentation",
        "Yoshua Wuyts, Async Cancellation I, 2021",
    ],
    benches: |_| -> Vec<Bench> { Vec::new() }, // nothing here is a cost
};

const CANCEL: Step = Step {
    name: "cancel",
    ask: "A task waits for a tokio mutex; then its future is dropped and it asks once more. Which of these twelve operations lose nothing, \
          in whichever state they are dropped?",
    predict: Predict::Number { case: "mutex_lock", param: "waiting" },
    kind: Kind::Count,
    cases: &[
        "read_exact",
        "write_all",
        "read",
        "mpsc_recv",
        "recv_two",
        "mpsc_send",
        "mpsc_reserve",
        "oneshot_recv",
        "oneshot_by_ref",
        "mutex_lock",
        "semaphore_acquire",
        "notified",
    ],
    params: &["unpolled", "waiting", "woken"],
    launch: Launch::Together,
    measure: measure_cancel,
    headline: "lost_count",
    columns: &[
        "safe_to_cancel_here_count",
        "lost_bytes",
        "lost_messages_count",
        "lost_places_count",
        "lost_permits_count",
    ],
    claims: &[
        exactly("read_exact loses the bytes it had", pick("read_exact", "waiting", "lost_bytes"), 3.0),
        exactly("a single read loses none", pick("read", "woken", "lost_bytes"), 0.0),
        exactly("recv loses nothing", pick("mpsc_recv", "woken", "lost_count"), 0.0),
        exactly(
            "two recv in one async fn lose the first message",
            pick("recv_two", "waiting", "lost_messages_count"),
            1.0,
        ),
        exactly(
            "send loses its message even if it was never polled",
            pick("mpsc_send", "unpolled", "lost_messages_count"),
            1.0,
        ),
        exactly("reserve does not", pick("mpsc_reserve", "woken", "lost_messages_count"), 0.0),
        exactly("lock loses its place in the queue", pick("mutex_lock", "waiting", "lost_places_count"), 1.0),
        exactly(
            "but no permit: it goes to the next",
            pick("semaphore_acquire", "woken", "lost_permits_count"),
            0.0,
        ),
    ],
    because: "Cancelling is dropping: the locals of the state go, and with them what they were holding. A local can hold bytes that are \
              already out of the stream (read_exact), the count of bytes that are already in it (write_all), a message (send: its argument; \
              recv_two: its first result), or a place in a queue (lock, acquire, notified: the waiter is unlinked, and what it had been \
              given goes to the next). What keeps its progress elsewhere loses nothing. Each cell is a trial: src/experiments/cancel.rs.",
    tour: false,
};

/// A count is whole; its mean over launches is rounded.
const fn exactly(text: &'static str, of: Pick, value: f64) -> Claim {
    Claim { text, of, against: None, expect: Expect::Between(value - 0.001, value + 0.001), cores: 1 }
}

fn measure_cancel(_: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let trial = |case: &str, param: &str| {
        let operation = OPERATIONS.iter().find(|o| o.name == case);
        let state = STATES.iter().find(|(name, _)| *name == param);
        let Some((operation, (_, at))) = operation.zip(state) else {
            return Sample::unmeasured(case, param, "no such operation or state");
        };
        let lost = (operation.trial)(*at);
        let safe = lost.kinds_count() == 0;
        Sample::new(case, param)
            .with("lost_count", lost.kinds_count() as f64)
            .with("safe_to_cancel_here_count", f64::from(u8::from(safe)))
            .with("lost_bytes", lost.bytes as f64)
            .with("lost_messages_count", lost.messages as f64)
            .with("lost_places_count", lost.places as f64)
            .with("lost_permits_count", lost.permits as f64)
    };
    cases.iter().flat_map(|c| params.iter().map(|p| trial(c, p))).collect()
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(&LAB)
}
