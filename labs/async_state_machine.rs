//! What does the compiler turn an async fn into?
//!
//! Run it: `cargo run --release --bin async_state_machine -- --step`
use tokio::runtime::Builder;
use underhood::{
    experiments::{
        sizes::{self, ROWS, Row, hold},
        twins::{Driven, TWINS, Twin},
        wakes::{Who, wakes},
    },
    lab::{
        Bound, Kind, Lab, ONCE, Param, Point, Setting, Step, Unit, at, at_least, at_most, between, exactly,
        pick, ratio, sample::Sample, setting, shown_by, source,
    },
    measure::cost::{self, Ops, Solo},
    structures::task::machine::State,
};

pub(crate) fn lab() -> Lab {
    underhood::lab!("async_state_machine", "What does the compiler turn an async fn into?")
        .step(poll_by_poll())
        .step(states())
        .step(who_wakes_whom())
        .step(size_rules())
        .step(cost_of_size())
        .say(
            "size_rules",
            "An async fn that takes a 1 KiB buffer by value makes a future of {value}. With the same \
            buffer as a local variable, the future has {against}. If an argument lives across an await, \
            the compiler stores it twice.",
            ratio("argument", "hold_1024"),
            "the argument is a reference, or is not used after the first await (a drop counts as a use), or rustc has changed the rule",
        )
        .say(
            "poll_by_poll",
            "A hand-written enum with one variant for each await does the same as the compiler's future. It \
            takes {value} polls, and the compiler's future takes {against}.",
            ratio(pick("by_hand", "in_turn", "polls_count"), pick("compiler", "in_turn", "polls_count")),
            "a local is borrowed across an await: then the enum would need a pointer into itself, which the compiler makes safely",
        )
        .say(
            "cost_of_size",
            "Spawning and joining a task whose future has 16,000 bytes takes {value}. If the future is boxed \
            first, it takes {against}.",
            ratio(("inline", "16000"), ("boxed", "16000")),
            "tokio boxes the future itself: above 16,384 bytes in release builds, and above 2,048 in debug \
            builds",
        )
        .not_said(&[
            "Anything about the size of a future with another rustc. The language promises no size, and \
            the recorded sizes name their rustc version.",
            "Anything about the speed of the hand-written enums: only their sizes, polls and results were \
            compared.",
            "That a smaller future means a faster program: step cost_of_size times only a spawn and a join.",
        ])
        .next(&[
            "Why is the compiler's future not Unpin, although the enum is?",
            "What does Pin forbid, and to whom?",
            "Which await points of your handler are safe to cancel? (lab async_cancel)",
            "Why does drop(buffer) before an await not shrink the future, once the buffer was borrowed?",
            "What happens to a wake that comes while the task is being polled?",
        ])
        .sources(&[
            "RFC 2394 (async/await), RFC 2033 (coroutines), the contract of std::task::Waker",
            "rust-lang/rust#62958 (arguments are stored twice), #59087, #108906",
            "tokio 1.54.1: src/runtime/mod.rs (BOX_FUTURE_THRESHOLD)",
        ])
}

/// Drives one side of the twins, and says how many bytes of it are explained.
type Drive = fn(&Twin) -> (Driven, i64);
const SIDES: &[Setting<Drive>] = &[
    setting("compiler", |twin| ((twin.compiler)(), twin.why.bytes())),
    setting("by_hand", |twin| ((twin.by_hand)(), 0)),
];

/// The hand-written twin has the same value as the compiler's future.
fn same(param: &'static str, value: &'static str) -> Bound {
    between(1.0, 1.0, ratio(pick("by_hand", param, value), pick("compiler", param, value)))
}

fn poll_by_poll() -> Step {
    let twice = || between(1.9, 2.1, ratio(("compiler", "given"), ("by_hand", "given")));
    Step::new("poll_by_poll", Kind::Count, "future_bytes")
        .ask_number(
            "An async fn takes a buffer of 128 bytes by value and uses it after an await. Somebody writes \
            the same by hand, as an enum with a variant for each await. How many bytes does the compiler's \
            future have?",
            "compiler",
            "given",
        )
        .columns(&["polls_count", "result_count", "explained_bytes"])
        .each(SIDES, TWINS.map(Twin::point), |_, side, twin| {
            let (driven, explained) = (side.value)(&twin.value);
            Ok(Sample::default()
                .with("future_bytes", driven.bytes as f64)
                .with("polls_count", driven.polls_count() as f64)
                .with("result_count", driven.result as f64)
                .with("explained_bytes", explained as f64))
        })
        .claim(
            same("add", "polls_count"),
            "Without an await, the compiler's future and the enum are polled equally often",
        )
        .claim(same("in_turn", "polls_count"), "With two awaits, they are polled equally often, too")
        .claim(same("counted", "polls_count"), "With an await in a loop, they are polled equally often, too")
        .claim(same("nested", "result_count"), "The compiler's future and the enum return the same result")
        .claim(
            twice(),
            "If an argument is used after the await, the compiler's future is about twice as large as the \
            enum",
        )
        .claim(
            same("add", "future_bytes"),
            "Without an await, and without a niche (an unused value) that could hold the enum's tag, both \
            have the same size",
        )
        .because(
            "An async fn is compiled into a type with a state for each await, and `poll` is a `match` on the \
            state. The enums in src/structures/task/machine.rs are that match, written by hand.",
            shown_by(same("in_turn", "polls_count")),
        )
        .because(
            "The compiler's future and the enum differ in four things: the tag, the arguments, the child \
            future and the padding. The value \"bytes explained\" adds them up. See `Why` in \
            src/experiments/twins.rs.",
            source("src/experiments/twins.rs"),
        )
        .because(
            "The compiler's future keeps its tag (the number of the state) in a byte of its own. The enum \
            can hide its tag in a bool.",
            shown_by(at_least(1.9, ratio(("compiler", "pause"), ("by_hand", "pause")))),
        )
        .because(
            "The compiler's future keeps each argument's place in addition to the local that the \
            argument is moved into.",
            shown_by(twice()),
        )
        .because(
            "The same extra bytes come again for each child future that is awaited.",
            source("src/experiments/twins.rs"),
        )
}

fn states() -> Step {
    /// Each case is the twin by hand after so many polls.
    const POLLS: &[Setting<usize>] =
        &[setting("before", 0), setting("poll_1", 1), setting("poll_2", 2), setting("poll_3", 3)];
    Step::new("states", Kind::Count, "saved_bytes")
        .ask_number(
            "An async fn keeps a buffer of 32 bytes across its first await and a buffer of 48 bytes across \
            its second. How many bytes does it save across the second await?",
            "poll_2",
            "in_turn",
        )
        .columns(&["state_count", "awake_count"])
        .each(POLLS, TWINS.map(Twin::point), |_, polls, twin| {
            let driven = (twin.value.by_hand)();
            let stand = driven.stands[polls.value.min(driven.polls_count())];
            let state = stand.state.ok_or("the hand-written twin does not say which state it is in")?;
            Ok(Sample::default()
                .seeing(told(&state, stand.awake, polls.value == 0))
                .with("saved_bytes", state.saved_bytes as f64)
                .with("state_count", f64::from(state.number))
                .with("awake_count", f64::from(u8::from(stand.awake))))
        })
        .claim(
            between(
                1.0,
                1.0,
                ratio(pick("poll_2", "counted", "state_count"), pick("poll_1", "counted", "state_count")),
            ),
            "A loop comes back to the same state",
        )
        .claim(at_most(0.0, ("poll_3", "in_turn")), "After the end nothing is saved")
        .because(
            "Each row is the state machine after one more poll on our executor \
            (src/structures/task/executor.rs). The row has the number of the state and the bytes of the \
            locals that this state saves. It also says whether the poll woke its own task before it returned \
            Pending.",
            source("src/structures/task/executor.rs"),
        )
        .because(
            "A local that is no longer used after an await is not saved there, so the two buffers share \
            their place. Step size_rules shows what the compiler does: two buffers in blocks of their own \
            are as large as one.",
            source("src/structures/task/machine.rs; step size_rules, two_in_blocks"),
        )
        .because(
            "A state machine that has returned its result is not polled again. Later rows repeat its last \
            state.",
            source("labs/async_state_machine.rs"),
        )
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

fn who_wakes_whom() -> Step {
    const WAKERS: &[Setting<Who>] = &[
        setting("spawn", Who::Spawn),
        setting("ping", Who::Ping),
        setting("pong", Who::Pong),
        setting("yielder", Who::Yielder),
        setting("outside", Who::Outside),
    ];
    let woken = [at("ping", Who::Ping), at("pong", Who::Pong), at("yielder", Who::Yielder)];
    Step::new("who_wakes_whom", Kind::Count, "wakes_count")
        .ask_number(
            "Two tasks, `ping` and `pong`, send a ball to each other ten times. A third task yields ten \
            times. A thread outside sends the first ball. How often does `pong` wake `ping`?",
            "pong",
            "ping",
        )
        .each(WAKERS, woken, |_, waker, woken| {
            let count = wakes(10).get(&(waker.value, woken.value)).copied().unwrap_or_default();
            Ok(Sample::default().with("wakes_count", count))
        })
        .claim(exactly(10.0, ("pong", "ping")), "pong wakes ping ten times")
        .claim(exactly(10.0, ("yielder", "yielder")), "the task that yields wakes itself ten times")
        .claim(exactly(1.0, ("outside", "ping")), "the ball from outside wakes ping once")
        .because(
            "Before a future returns Pending, it gives its waker to whatever will wake it: the other task \
            (through the channel) or another thread. A yield wakes its own task and returns Pending.",
            shown_by(exactly(10.0, ("yielder", "yielder"))),
        )
        .because(
            "The executor does nothing until the waker is used.",
            source("src/structures/task/executor.rs"),
        )
        .because(
            "After each poll the lab looks for new tasks in the executor's list. Nothing else was running, \
            so the polled task has woken them. The thread outside is joined before the next poll.",
            source("src/experiments/wakes.rs"),
        )
}

fn size_rules() -> Step {
    /// So many times the size of a future that holds a kilobyte.
    fn times(case: &'static str, least: f64, most: f64) -> Bound {
        between(least, most, ratio(case, "hold_1024"))
    }
    Step::new("size_rules", Kind::Count, "future_bytes")
        .ask_number(
            "A buffer of 1,024 bytes is a local that lives across an await. It is borrowed, then \
            drop(buffer) is called, and only then comes the await. How large is the future?",
            "dropped_borrowed",
            "",
        )
        .columns(&["known_bytes", "changed_count"])
        .each(&ROWS, ONCE, |_, row, _| size(row))
        .claim(times("dropped_borrowed", 0.99, 1.01), "drop() saves nothing if the buffer was ever borrowed")
        .claim(times("in_block", 0.0, 0.05), "a block that ends before the await saves the whole buffer")
        .claim(
            times("argument", 1.95, 2.05),
            "an argument by value that is used after the await is stored twice",
        )
        .claim(
            times("forwarded", 2.95, 3.05),
            "an async fn that only forwards such an argument adds one more copy",
        )
        .claim(times("forwarded_twice", 3.95, 4.05), "a second async fn that forwards it adds another copy")
        .claim(times("forwarded_plainly", 1.95, 2.05), "a plain fn that returns the future adds nothing")
        .claim(times("wrapped", 1.95, 2.05), "a future that is passed as an argument is stored twice, too")
        .claim(times("nested_twice", 1.0, 1.01), "awaiting a child future costs a byte or two for each layer")
        .claim(
            times("one_after_another", 1.0, 1.01),
            "three awaits of equal child futures, one after the other, take as much space as one",
        )
        .claim(times("joined", 2.0, 2.1), "join! of two futures is as large as both together")
        .claim(times("cold_branch", 3.9, 4.1), "a branch that is never taken counts in full")
        .claim(
            times("cold_branch_boxed", 0.0, 0.05),
            "a boxed branch that is never taken costs almost nothing",
        )
        .claim(
            exactly(0.0, pick("all_rules", "", "changed_count")),
            "no size has changed since the rustc version that is on record",
        )
        .because(
            "A future is as large as its largest state. A state holds every value that the compiler \
            considers alive there.",
            shown_by(times("two_in_blocks", 1.0, 1.01)),
        )
        .because(
            "Once a local was borrowed, the compiler keeps it until the end of its scope, since it does not \
            prove that the borrow ended. So drop() does not help, but a block does. A buffer that was never \
            borrowed is gone after drop().",
            shown_by(times("dropped_untouched", 0.0, 0.05)),
        )
        .because(
            "The future captures its arguments. A captured argument does not share its place with the local \
            that it is moved into (rust#62958). So each layer that takes the buffer by value adds a copy.",
            source("rust-lang/rust#62958"),
        )
        .because(
            "The rules and the recorded sizes for each version of rustc are in src/experiments/sizes.rs. A \
            size that differs is reported as changed.",
            source("src/experiments/sizes.rs"),
        )
}

fn size(row: &Row) -> Result<Sample, String> {
    let minor = sizes::rustc_minor().filter(|_| cfg!(target_pointer_width = "64"));
    let minor = minor.ok_or("the sizes on record are of rustc 1.x on 64 bits")?;
    let pairs = row.rules.iter().map(|rule| ((rule.bytes)(), rule.known_bytes(minor)));
    let (bytes, known): (Vec<usize>, Vec<usize>) = pairs.unzip();
    let changed = bytes.iter().zip(&known).filter(|(bytes, known)| bytes != known).count();
    Ok(Sample::default()
        .with("future_bytes", bytes.iter().sum::<usize>() as f64)
        .with("known_bytes", known.iter().sum::<usize>() as f64)
        .with("changed_count", changed as f64))
}

/// The limits in tokio's source, which it does not export.
const TOKIO_BOXES_ABOVE_BYTES: f64 = if cfg!(debug_assertions) { 2048.0 } else { 16384.0 };

/// A future that holds so many bytes, spawned and joined.
#[derive(Clone, Copy)]
struct Held {
    spawn_join: fn(boxed: bool) -> Ops,
    bytes: fn() -> usize,
}

const fn held<const N: usize>(id: &'static str) -> Point<Held> {
    let value = Held { spawn_join: spawn_join::<N>, bytes: || size_of_val(&hold::<N>()) };
    Point { param: Param { id, amount: Some((N as f64, Unit::Bytes)) }, value }
}

const HELD: [Point<Held>; 6] = [
    held::<64>("64"),
    held::<1024>("1024"),
    held::<8192>("8192"),
    held::<16000>("16000"),
    held::<17000>("17000"),
    held::<65536>("65536"),
];

/// Whether it is boxed first.
const BOXES: &[Setting<bool>] = &[setting("inline", false), setting("boxed", true)];

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

fn solo(held: Held, boxes: &Setting<bool>) -> Solo {
    let boxed = boxes.value;
    Solo::new(boxes.id(), move || (held.spawn_join)(boxed))
}

fn cost_of_size() -> Step {
    let cliff = || at_least(1.3, ratio(("inline", "16000"), ("inline", "17000")));
    let cured = || at_most(0.8, ratio(("boxed", "16000"), ("inline", "16000")));
    let step = Step::new("cost_of_size", Kind::Single, "op_ns")
        .ask_number(
            "Two futures are spawned with tokio::spawn and joined: one of 16,000 bytes and one of 17,000. \
            Which takes longer, and how many ns does the smaller one take?",
            "inline",
            "16000",
        )
        .columns(&["future_bytes", "tokio_boxes_above_bytes"])
        .contenders(BOXES)
        .over(HELD, |plan, held| {
            let mut samples = cost::solo(plan, held.id(), BOXES.iter().map(|b| solo(held.value, b)));
            for sample in samples.iter_mut().filter(|s| s.unmeasured.is_none()) {
                // Every other row, the A/A row too, is of the first case.
                let boxed = BOXES.iter().any(|b| b.value && b.id() == sample.case);
                let bytes = if boxed { size_of::<Box<()>>() } else { (held.value.bytes)() };
                sample.values.insert("future_bytes".into(), bytes as f64);
                sample.values.insert("tokio_boxes_above_bytes".into(), TOKIO_BOXES_ABOVE_BYTES);
            }
            samples
        })
        .claim(
            cliff(),
            "A future just below tokio's limit for boxing costs at least 1.3 times as much as one just above \
            it",
        )
        .claim(cured(), "With Box::pin, the future just below the limit costs at most 0.8 times as much")
        .claim(
            at_least(0.95, ratio(("boxed", "64"), ("inline", "64"))),
            "Below a kilobyte boxing gains nothing: it costs at least 0.95 times as much",
        )
        .because(
            "A future is a value. Until it is pinned in its task, it is moved: from the call, through spawn, \
            into the task's allocation. Each move copies all of its bytes, used or not.",
            shown_by(at_least(1.5, ratio(("inline", "8192"), ("inline", "64")))),
        )
        .because(
            "If the future is boxed first, only the eight bytes of a pointer are moved.",
            shown_by(cured()),
        )
        .because(
            "tokio itself boxes futures above 16,384 bytes in release builds (2,048 in debug builds). So the \
            cost drops there, and a larger future can be cheaper.",
            shown_by(cliff()),
        );
    HELD.into_iter().fold(step, |step, held| {
        let id = format!("spawn_join/{{case}}/{}", held.id());
        step.bench(&id, BOXES, move |_, boxes| cost::timed(&solo(held.value, boxes)))
    })
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}
