//! What does the compiler turn an async fn into?
//!
//! Run it: `cargo run --release --bin async_state_machine -- --step`
use tokio::runtime::Builder;
use underhood::{
    experiments::{
        sizes::{self, RULES, hold},
        twins::{Driven, TWINS},
        wakes::wakes,
    },
    lab::{
        Bench, Claim, Expect, Kind, Lab, Launch, Pick, Predict, Say, Step, pick, plan::Plan, sample::Sample,
    },
    measure::cost::{self, Ops, Solo},
    structures::task::machine::State,
};

pub(crate) static LAB: Lab = Lab {
    stem: "async_state_machine",
    question: "What does the compiler turn an async fn into?",
    steps: &[POLL_BY_POLL, STATES_STEP, WHO_WAKES_WHOM, SIZE_RULES, COST_OF_SIZE],
    says: &[
        Say {
            step: "size_rules",
            text: "A 1 KiB argument by value makes a future of {value}, against {against} for the same buffer as a local: the compiler \
                   stores an argument that is used after an await twice.",
            of: pick("argument", "", "future_bytes"),
            against: Some(pick("hold_1024", "", "future_bytes")),
            not_true_when: "the argument is a reference, is not used after an await, or a later rustc has changed the rule",
        },
        Say {
            step: "poll_by_poll",
            text: "An enum with one variant per await does what the compiler's future does, in {value} polls as against {against}.",
            of: pick("by_hand", "in_turn", "polls_count"),
            against: Some(pick("compiler", "in_turn", "polls_count")),
            not_true_when: "a local is borrowed across an await: then the enum would need a pointer into itself, which the compiler makes safely",
        },
        Say {
            step: "cost_of_size",
            text: "Spawning and joining a task whose future has 16,000 bytes takes {value}, against {against} if it is boxed first.",
            of: pick("inline", "16000", "op_ns"),
            against: Some(pick("boxed", "16000", "op_ns")),
            not_true_when: "tokio boxes it by itself: above 16,384 bytes in release builds, 2,048 in debug builds",
        },
    ],
    not_said: &[
        "Nothing about the size of a future under another rustc: the language promises none, and the catalogue names its version.",
        "Nothing about speed: the twins are no faster, only readable. And not that a smaller future is a faster program.",
    ],
    next: &[
        "Why is the compiler's future not Unpin, and the enum is?",
        "What does Pin forbid, and to whom?",
        "Which await points of your handler are safe to cancel? (lab async_cancel)",
        "Why does drop(buffer) before an await not shrink the future?",
        "What happens to a wake that comes while the task is being polled?",
    ],
    sources: &[
        "RFC 2394 (async/await), RFC 2033 (coroutines), the contract of std::task::Waker",
        "rust-lang/rust#62958 (arguments are stored twice), #59087, #108906",
        "tokio 1.54.1: src/runtime/mod.rs (BOX_FUTURE_THRESHOLD)",
    ],
    benches,
};

const NAMES: &[&str] = &["add", "pause", "hold", "in_turn", "counted", "nested", "given"];

const POLL_BY_POLL: Step = Step {
    name: "poll_by_poll",
    ask: "An async fn takes a buffer of 128 bytes by value and uses it after an await. Somebody writes the same as an enum with a \
          variant for each await. How many bytes has the compiler's future?",
    predict: Predict::Number { case: "compiler", param: "given" },
    kind: Kind::Count,
    cases: &["compiler", "by_hand"],
    params: NAMES,
    launch: Launch::Together,
    measure: measure_twins,
    headline: "future_bytes",
    columns: &["polls_count", "result_count", "explained_bytes"],
    claims: &[
        same("Without an await, the two are polled equally often", "add", "polls_count"),
        same("With two awaits too", "in_turn", "polls_count"),
        same("With an await in a loop too", "counted", "polls_count"),
        same("They return the same", "nested", "result_count"),
        claim(
            "The compiler's is about twice as large where an argument is used after the await",
            pick("compiler", "given", "future_bytes"),
            Some(pick("by_hand", "given", "future_bytes")),
            Expect::Between(1.9, 2.1),
        ),
        same("Without await and without niche there is no difference", "add", "future_bytes"),
    ],
    because: "An async fn is compiled into a type with a state for each await, and `poll` is a `match` on the state: the twins in \
              src/structures/task/machine.rs are that match, written out. Three things make the compiler's larger, and `explained_bytes` adds \
              them up: its tag has a byte of its own where an enum hides it in a bool; arguments keep their place beside the locals \
              they are moved into; and the same again for each awaited child. See `Why` in src/experiments/twins.rs.",
    tour: false,
};

const STATES_STEP: Step = Step {
    name: "states",
    ask: "An async fn with a buffer of 32 bytes across its first await and one of 48 across its second: how many bytes does it save \
          at the second?",
    predict: Predict::Number { case: "poll_2", param: "in_turn" },
    kind: Kind::Count,
    cases: &["before", "poll_1", "poll_2", "poll_3"],
    params: NAMES,
    launch: Launch::Together,
    measure: measure_states,
    headline: "saved_bytes",
    columns: &["state_count", "awake_count"],
    claims: &[
        claim(
            "At the second await only the second buffer is saved, with what was computed from the first: 48 to 64 bytes",
            pick("poll_2", "in_turn", "saved_bytes"),
            None,
            Expect::Between(48.0, 64.0),
        ),
        claim(
            "A loop comes back to the same state",
            pick("poll_2", "counted", "state_count"),
            Some(pick("poll_1", "counted", "state_count")),
            Expect::Between(1.0, 1.0),
        ),
        claim(
            "After the end nothing is saved",
            pick("poll_3", "in_turn", "saved_bytes"),
            None,
            Expect::AtMost(0.0),
        ),
    ],
    because: "Each row is the machine after one more poll on our executor (src/structures/task/executor.rs): the number of its state, the bytes of \
              the locals that this state saves, and whether the poll had woken its own task by the time it returned Pending. A local \
              that is dead at an await is in no variant, so the two buffers share their place. Once the machine has returned it is \
              polled no more; later rows repeat where it stands.",
    tour: false,
};

const WHO_WAKES_WHOM: Step = Step {
    name: "who_wakes_whom",
    ask: "Two tasks throw a ball to each other ten times, a third yields ten times, and a thread outside throws in the ball. How \
          often does `pong` wake `ping`?",
    predict: Predict::Number { case: "pong", param: "ping" },
    kind: Kind::Count,
    cases: &["spawn", "ping", "pong", "yielder", "outside"],
    params: &["ping", "pong", "yielder"],
    launch: Launch::Together,
    measure: measure_wakes,
    headline: "wakes_count",
    columns: &[],
    claims: &[
        exactly("ping is woken by pong, ten times", pick("pong", "ping", "wakes_count"), 10.0),
        exactly("the one that yields wakes itself", pick("yielder", "yielder", "wakes_count"), 10.0),
        exactly("the ball from outside is one wake", pick("outside", "ping", "wakes_count"), 1.0),
    ],
    because: "A pending future has left its waker with whoever will know more: the other task (through the channel), itself (a yield \
              wakes its own task and returns Pending), or another thread. The executor does nothing until somebody uses it. After each \
              poll the lab looks at who is new in the executor's list: nobody else was running, so the polled task has woken them; and \
              the thread outside is joined before the next poll.",
    tour: false,
};

const SIZE_RULES: Step = Step {
    name: "size_rules",
    ask: "A buffer of 1,024 bytes is a local that lives across an await. It is borrowed, then drop(buffer) is called, and only then comes \
          the await. How large is the future?",
    predict: Predict::Number { case: "dropped_borrowed", param: "" },
    kind: Kind::Count,
    cases: &sizes::NAMES,
    params: &[""],
    launch: Launch::Together,
    measure: measure_rules,
    headline: "future_bytes",
    columns: &["known_bytes", "changed_count"],
    claims: &[
        times("drop() saves nothing if the buffer was ever borrowed", "dropped_borrowed", 0.99, 1.01),
        times("a block does", "in_block", 0.0, 0.05),
        times("an argument by value that is used after the await is there twice", "argument", 1.95, 2.05),
        times("an async fn that only forwards it adds it once more", "forwarded", 2.95, 3.05),
        times("and again", "forwarded_twice", 3.95, 4.05),
        times("a plain fn that returns the future adds nothing", "forwarded_plainly", 1.95, 2.05),
        times("a future as an argument is doubled as well", "wrapped", 1.95, 2.05),
        times("awaiting a child costs a byte or two a layer", "nested_twice", 1.0, 1.01),
        times("three awaits of the same child are as large as one", "one_after_another", 1.0, 1.01),
        times("join! of two is as large as both", "joined", 2.0, 2.1),
        times("a branch that is never taken counts in full", "cold_branch", 3.9, 4.1),
        times("unless it is boxed", "cold_branch_boxed", 0.0, 0.05),
        exactly(
            "no rule has changed since the rustc that is on record",
            pick("all_rules", "", "changed_count"),
            0.0,
        ),
    ],
    because: "A future is as large as its largest state, and a state holds what the compiler believes to be alive there. A borrow makes it \
              believe so until the end of the scope, since it does not prove that the borrow ended; so drop() does not help, a block does. \
              Arguments are captures, and captures do not share their place with the locals they are moved into (rust#62958), so each \
              layer that takes the buffer by value adds a copy. The rules and the sizes on record are in src/experiments/sizes.rs, keyed by the \
              version of rustc; a size that differs is reported as changed.",
    tour: false,
};

const COST_OF_SIZE: Step = Step {
    name: "cost_of_size",
    ask: "tokio::spawn of a future of 16,000 bytes, and of one of 17,000: which takes longer, spawn and join together?",
    predict: Predict::Number { case: "inline", param: "16000" },
    kind: Kind::Single,
    cases: &["inline", "boxed"],
    params: &["64", "1024", "8192", "16000", "17000", "65536"],
    launch: Launch::Together,
    measure: measure_cost,
    headline: "op_ns",
    columns: &["future_bytes", "tokio_boxes_above_bytes"],
    claims: &[
        claim(
            "Just below tokio's limit a large future costs at least 1.3 times as much as one just above it",
            pick("inline", "16000", "op_ns"),
            Some(pick("inline", "17000", "op_ns")),
            Expect::AtLeast(1.3),
        ),
        claim(
            "Box::pin cures it: at most 0.8 times",
            pick("boxed", "16000", "op_ns"),
            Some(pick("inline", "16000", "op_ns")),
            Expect::AtMost(0.8),
        ),
        claim(
            "Below a kilobyte boxing gains nothing: at least 0.95 times",
            pick("boxed", "64", "op_ns"),
            Some(pick("inline", "64", "op_ns")),
            Expect::AtLeast(0.95),
        ),
    ],
    because: "A future is a value: until it is pinned in its task it is moved, from the call through spawn into the task's allocation, and \
              each move copies all of its bytes, used or not. Boxed first, eight bytes are moved. tokio does it by itself above 16,384 bytes in \
              release builds (2,048 in debug builds), so the curve has a cliff downwards there: a larger future can be cheaper.",
    tour: false,
};

const fn claim(text: &'static str, of: Pick, against: Option<Pick>, expect: Expect) -> Claim {
    Claim { text, of, against, expect, cores: 1 }
}

/// A count is whole; its mean over launches is rounded.
const fn exactly(text: &'static str, of: Pick, value: f64) -> Claim {
    claim(text, of, None, Expect::Between(value - 0.001, value + 0.001))
}

/// The same of the twin as of the compiler's.
const fn same(text: &'static str, param: &'static str, value: &'static str) -> Claim {
    claim(
        text,
        pick("by_hand", param, value),
        Some(pick("compiler", param, value)),
        Expect::Between(1.0, 1.0),
    )
}

/// So many times the size of a future that holds a kilobyte.
const fn times(text: &'static str, case: &'static str, least: f64, most: f64) -> Claim {
    let base = Some(pick("hold_1024", "", "future_bytes"));
    claim(text, pick(case, "", "future_bytes"), base, Expect::Between(least, most))
}

/// A sample for each case and parameter.
fn each(cases: &[&str], params: &[&str], sample: impl Fn(&str, &str) -> Sample) -> Vec<Sample> {
    cases.iter().flat_map(|c| params.iter().map(|p| sample(c, p))).collect()
}

fn driven(case: &str, param: &str) -> Option<(Driven, i64)> {
    let twin = TWINS.iter().find(|t| t.name == param)?;
    let drive = if case == "compiler" { twin.compiler } else { twin.by_hand };
    Some((drive(), if case == "compiler" { twin.why.bytes() } else { 0 }))
}

fn measure_twins(_: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    each(cases, params, |case, param| match driven(case, param) {
        None => Sample::unmeasured(case, param, "no such twin"),
        Some((driven, explained)) => Sample::new(case, param)
            .with("future_bytes", driven.bytes as f64)
            .with("polls_count", driven.polls_count() as f64)
            .with("result_count", driven.result as f64)
            .with("explained_bytes", explained as f64),
    })
}

fn measure_states(_: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    each(cases, params, |case, param| {
        let poll = case.strip_prefix("poll_").map_or(Some(0), |n| n.parse().ok());
        let stand = driven("by_hand", param).zip(poll).and_then(|((driven, _), poll)| {
            let last = driven.stands.len() - 1;
            let stand = driven.stands[last.min(poll)];
            Some((stand.state?, stand.awake))
        });
        match stand {
            None => Sample::unmeasured(case, param, "no such twin"),
            Some((state, awake)) => Sample::new(case, param)
                .seeing(told(&state, awake, case == "before"))
                .with("saved_bytes", state.saved_bytes as f64)
                .with("state_count", f64::from(state.number))
                .with("awake_count", f64::from(u8::from(awake))),
        }
    })
}

/// The state in words, for the notes under the table.
fn told(state: &State, awake: bool, spawned: bool) -> String {
    let saved = if state.saved.is_empty() { "nothing".into() } else { state.saved.join(", ") };
    let woken = match (awake, spawned) {
        (true, true) => "woken by spawn",
        (true, false) => "woken by its own poll",
        (false, _) => "woken by nobody",
    };
    format!("state {}, saves {saved}; {woken}", state.number)
}

fn measure_wakes(_: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let wakes = wakes(10);
    each(cases, params, |case, param| {
        let count = wakes.get(&(case, param)).copied().unwrap_or_default();
        Sample::new(case, param).with("wakes_count", count)
    })
}

fn measure_rules(_: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let Some(minor) = sizes::rustc_minor().filter(|_| cfg!(target_pointer_width = "64")) else {
        return each(cases, params, |case, param| {
            Sample::unmeasured(case, param, "the sizes on record are of rustc 1.x on 64 bits")
        });
    };
    let changed = |bytes: usize, known: usize| f64::from(u8::from(bytes != known));
    each(cases, params, |case, param| match RULES.iter().find(|r| r.name == case) {
        Some(rule) => {
            let (bytes, known) = ((rule.bytes)(), rule.known_bytes(minor));
            Sample::new(case, param)
                .with("future_bytes", bytes as f64)
                .with("known_bytes", known as f64)
                .with("changed_count", changed(bytes, known))
        }
        None => {
            let of =
                |bytes: fn(&sizes::Rule, u32) -> usize| RULES.iter().map(|r| bytes(r, minor)).sum::<usize>();
            let all = RULES.iter().map(|r| changed((r.bytes)(), r.known_bytes(minor))).sum();
            Sample::new(case, param)
                .with("future_bytes", of(|r, _| (r.bytes)()) as f64)
                .with("known_bytes", of(|r, minor| r.known_bytes(minor)) as f64)
                .with("changed_count", all)
        }
    })
}

/// The limits in tokio's source, which it does not export.
const TOKIO_BOXES_ABOVE_BYTES: f64 = if cfg!(debug_assertions) { 2048.0 } else { 16384.0 };

/// Spawns and joins tasks on a runtime of this one thread.
fn spawn_join<const N: usize>(boxed: bool) -> Ops {
    let runtime = Builder::new_current_thread().build().expect("a runtime without drivers needs nothing");
    Box::new(move |n| {
        runtime.block_on(async {
            for _ in 0..n {
                let task =
                    if boxed { tokio::spawn(Box::pin(hold::<N>())) } else { tokio::spawn(hold::<N>()) };
                std::hint::black_box(task.await.expect("nothing to panic"));
            }
        });
    })
}

fn arms<const N: usize>() -> ([Solo; 2], usize) {
    let arms = [
        Solo { case: "inline", make: || spawn_join::<N>(false) },
        Solo { case: "boxed", make: || spawn_join::<N>(true) },
    ];
    (arms, size_of_val(&hold::<N>()))
}

fn arms_of(param: &str) -> Option<([Solo; 2], usize)> {
    match param {
        "64" => Some(arms::<64>()),
        "1024" => Some(arms::<1024>()),
        "8192" => Some(arms::<8192>()),
        "16000" => Some(arms::<16000>()),
        "17000" => Some(arms::<17000>()),
        "65536" => Some(arms::<65536>()),
        _ => None,
    }
}

fn measure_cost(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let at = |param: &&str| match arms_of(param) {
        None => cases.iter().map(|c| Sample::unmeasured(c, param, "no such size")).collect(),
        Some((arms, bytes)) => {
            let mut samples = cost::solo(plan, param, &arms);
            for sample in samples.iter_mut().filter(|s| s.unmeasured.is_none()) {
                let inline = sample.case != "boxed";
                let future_bytes = if inline { bytes } else { size_of::<Box<()>>() };
                sample.values.insert("future_bytes".into(), future_bytes as f64);
                sample.values.insert("tokio_boxes_above_bytes".into(), TOKIO_BOXES_ABOVE_BYTES);
            }
            samples
        }
    };
    params.iter().flat_map(at).collect()
}

fn benches(_: &Plan) -> Vec<Bench> {
    let of = |param: &'static str| {
        [0, 1].map(|arm| Bench {
            id: format!("spawn_join/{}/{param}", ["inline", "boxed"][arm]),
            make: Box::new(move || cost::timed(arms_of(param).expect("one of the step's sizes").0[arm].make)),
        })
    };
    COST_OF_SIZE.params.iter().flat_map(|p| of(p)).collect()
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(&LAB)
}
