//! Which read-lock pattern deadlocks on which lock?
//!
//! Run it: `cargo run --release --bin lock_deadlock -- --step`
use std::{hint::black_box, ops::Deref, sync::mpsc, thread, time::Duration};

use underhood::{
    lab::{
        Bench, Claim, Expect, Kind, Lab, Launch, Pick, Predict, Say, Step, pick, plan::Plan, sample::Sample,
    },
    measure::{
        cost::{self, Ops},
        deadlock::{Actor, Mode::*, Role, Seen, watch, words},
    },
    structures::lock,
};

pub(crate) static LAB: Lab = Lab {
    stem: "lock_deadlock",
    question: "Which read-lock pattern deadlocks on which lock?",
    steps: &[READ_TWICE, TWO_LOCKS, CALL_OUT],
    says: &[
        Say {
            step: "read_twice",
            text: "A thread that read-locks std's RwLock twice hangs if a writer comes in between: it did in {value} of {launches} tries, forced so that the writer is there.",
            of: pick("std_rwlock", "writer_waits", "deadlocked_share"),
            against: None,
            not_true_when: "the system's RwLock is another one (std leaves the policy open), or the second read is a recursive one",
        },
        Say {
            step: "call_out",
            text: "A guard in the head of a match lives until its end: locking again in an arm hung in {value} of {launches} tries.",
            of: pick("match_head", "std_mutex", "deadlocked_share"),
            against: None,
            not_true_when: "the value is copied out first; for `if let ... else` it also depends on the edition (2021: hangs, 2024: does not)",
        },
    ],
    not_said: &[
        "How likely it is in your program: here the schedule is forced, so that it happens each time or never.",
        "That a lock that did not hang is safe: it was asked this one question, in this one order.",
    ],
    next: &[
        "Why would anybody build a lock that prefers writers? (else a stream of readers keeps the writer out for ever)",
        "How do you find it in production? (all threads asleep: thread dump, then who holds what; parking_lot has a deadlock_detection feature)",
        "What else breaks a cycle: an order of locks, try_lock and give back, a time limit, one lock instead of two.",
    ],
    sources: &[
        "std::sync::RwLock and Mutex: what locking twice does is left open (documentation of `read` and `lock`)",
        "parking_lot 0.13.0 CHANGELOG: read_recursive became the type RecursiveRwLock",
        "Amanieu/parking_lot#212, tokio-rs/tokio#2849: the same surprise, reported",
        "Coffman, Elphick, Shoshani, System Deadlocks, Computing Surveys 3(2), 1971",
        "Rust edition guide 2024: scope of temporaries in `if let`",
    ],
    benches,
};

const READ_TWICE: Step = Step {
    name: "read_twice",
    ask: "A thread holds a read lock and asks for a second one on the same lock, while a writer waits. In what share of the tries \
          does std's RwLock hang? (0 to 1)",
    predict: Predict::Number { case: "std_rwlock", param: "writer_waits" },
    kind: Kind::Count,
    cases: &[
        "std_rwlock",
        "pl012_rwlock",
        "pl012_recursive",
        "pl013_rwlock",
        "pl013_recursive",
        "tokio_rwlock",
        "rwlock",
    ],
    params: &["writer_waits", "no_writer"],
    launch: Launch::Isolated,
    measure: read_twice,
    headline: "deadlocked_share",
    columns: &["waits_count"],
    claims: &[
        hangs(
            "std's RwLock hangs when a writer waits between the two reads",
            pick("std_rwlock", "writer_waits", "deadlocked_share"),
        ),
        hangs("so does parking_lot's", pick("pl013_rwlock", "writer_waits", "deadlocked_share")),
        hangs("so does tokio's, a fair queue", pick("tokio_rwlock", "writer_waits", "deadlocked_share")),
        hangs("so does ours", pick("rwlock", "writer_waits", "deadlocked_share")),
        passes(
            "without a writer the same code never hangs: so tests do not find it",
            pick("std_rwlock", "no_writer", "deadlocked_share"),
        ),
        passes(
            "a recursive read of parking_lot 0.12 passes the writer by",
            pick("pl012_recursive", "writer_waits", "deadlocked_share"),
        ),
        passes(
            "so does the RecursiveRwLock of parking_lot 0.13",
            pick("pl013_recursive", "writer_waits", "deadlocked_share"),
        ),
    ],
    because: "The lock was never held by anybody but the reader. The second read waits for the writer, because a waiting writer bars \
              new readers (else readers could keep it out for ever); the writer waits for the first read. Neither side can tell a \
              new reader from one that is inside already: the word counts readers, it does not name them (`readers` in \
              src/structures/lock/rwlock.rs). A recursive read is let in past the writer, at the price of the writer's starvation.",
    tour: false,
};

const TWO_LOCKS: Step = Step {
    name: "two_locks",
    ask: "Two threads lock two mutexes, in opposite order, and each has its first. In what share of the tries do they hang if one of them \
          uses try_lock and gives its own lock back when that fails? (0 to 1)",
    predict: Predict::Number { case: "try_and_give_back", param: "std_mutex" },
    kind: Kind::Count,
    cases: &["opposite_order", "same_order", "try_and_give_back"],
    params: &["std_mutex", "pl013_mutex", "mutex"],
    launch: Launch::Isolated,
    measure: two_locks,
    headline: "deadlocked_share",
    columns: &["waits_count"],
    claims: &[
        hangs("opposite order hangs", pick("opposite_order", "std_mutex", "deadlocked_share")),
        passes("the same order does not", pick("same_order", "std_mutex", "deadlocked_share")),
        passes(
            "nor does one thread that gives back what it has",
            pick("try_and_give_back", "std_mutex", "deadlocked_share"),
        ),
    ],
    because: "A deadlock needs four things at once: exclusion, holding one while waiting for another, no taking away, and a cycle. An \
              order of the locks removes the cycle; giving back removes the holding. No mutex notices by itself: each thread sleeps on a \
              word that only the other would change.",
    tour: false,
};

const CALL_OUT: Step = Step {
    name: "call_out",
    ask: "`match *m.lock() { 0 => m.lock(), .. }` with std's Mutex: in what share of the tries does it hang? (0 to 1)",
    predict: Predict::Number { case: "match_head", param: "std_mutex" },
    kind: Kind::Count,
    cases: &["guard_in_let", "match_head", "if_let_else", "copied_out", "wait_under_lock"],
    params: &["std_mutex", "pl013_mutex", "mutex"],
    launch: Launch::Isolated,
    measure: call_out,
    headline: "deadlocked_share",
    columns: &["waits_count"],
    claims: &[
        hangs(
            "a guard held over a call that locks again",
            pick("guard_in_let", "std_mutex", "deadlocked_share"),
        ),
        hangs(
            "the guard in a match's head lives as long",
            pick("match_head", "std_mutex", "deadlocked_share"),
        ),
        hangs(
            "waiting under the lock for a thread that needs the lock",
            pick("wait_under_lock", "std_mutex", "deadlocked_share"),
        ),
        passes(
            "in edition 2024 the guard in the head of `if let` is gone in the else",
            pick("if_let_else", "std_mutex", "deadlocked_share"),
        ),
        passes("copying the value out ends the guard", pick("copied_out", "std_mutex", "deadlocked_share")),
    ],
    because: "A guard gives back at the end of its scope, and a temporary's scope is longer than it looks: to the end of a match; to the end of \
              the `let` statement; in `if let`, to the end of the else before edition 2024, and before the else since. Locking \
              again from the same thread is a wait for oneself. The cure is one for all: finish with the guard (copy out, drop) before \
              calling anything that you do not know.",
    tour: false,
};

/// Every try hung.
const fn hangs(text: &'static str, of: Pick) -> Claim {
    Claim { text, of, against: None, expect: Expect::AtLeast(1.0), cores: 1 }
}

/// No try did.
const fn passes(text: &'static str, of: Pick) -> Claim {
    Claim { text, of, against: None, expect: Expect::AtMost(0.0), cores: 1 }
}

/// Far longer than a forced schedule needs, and shorter than the watchdog of the whole child.
const PATIENCE: Duration = Duration::from_secs(15);

const THE_LOCK: &str = "the lock";
const LEFT: &str = "the left lock";
const RIGHT: &str = "the right lock";

/// One try in this process, with threads that may stay behind: the process ends soon after.
fn sample(case: &str, param: &str, roles: Vec<Role>) -> Sample {
    let (names, seen) = watch(roles, PATIENCE);
    match seen {
        Seen::Finished => Sample::new(case, param).with("deadlocked_share", 0.0).with("waits_count", 0.0),
        Seen::Deadlocked { cycle } => Sample::new(case, param)
            .with("deadlocked_share", 1.0)
            .with("waits_count", cycle.len() as f64)
            .seeing(words(&names, &cycle)),
        Seen::Unclear(why) => Sample::unmeasured(case, param, why),
    }
}

fn role(name: &'static str, does: impl FnOnce(&Actor) + Send + 'static) -> Role {
    (name, Box::new(does))
}

/// What threads in a deadlock share can never be freed.
fn forever<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

fn each(cases: &[&str], params: &[&str], one: fn(&str, &str) -> Vec<Role>) -> Vec<Sample> {
    params.iter().flat_map(|p| cases.iter().map(move |c| sample(c, p, one(c, p)))).collect()
}

fn read_twice(_: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    each(cases, params, |case, param| {
        let writer = param == "writer_waits";
        match case {
            "pl012_rwlock" => {
                let l = forever(pl012::RwLock::new(()));
                twice(writer, || l.read(), || l.read(), || l.write())
            }
            "pl012_recursive" => {
                let l = forever(pl012::RwLock::new(()));
                twice(writer, || l.read(), || l.read_recursive(), || l.write())
            }
            "pl013_rwlock" => {
                let l = forever(pl013::RwLock::new(()));
                twice(writer, || l.read(), || l.read(), || l.write())
            }
            "pl013_recursive" => {
                let l = forever(pl013::RecursiveRwLock::new(()));
                twice(writer, || l.read(), || l.read(), || l.write())
            }
            "tokio_rwlock" => {
                let l = forever(tokio::sync::RwLock::new(()));
                twice(writer, || l.blocking_read(), || l.blocking_read(), || l.blocking_write())
            }
            "rwlock" => {
                let l = forever(lock::rwlock::RwLock::new(()));
                twice(writer, || l.read(), || l.read(), || l.write())
            }
            _ => {
                let l = forever(std::sync::RwLock::new(()));
                twice(writer, || l.read(), || l.read(), || l.write())
            }
        }
    })
}

/// A reader that reads twice; the writer, if there is one, comes in between.
fn twice<R, S, W>(
    writer: bool,
    read: impl FnOnce() -> R + Send + 'static,
    again: impl FnOnce() -> S + Send + 'static,
    write: impl FnOnce() -> W + Send + 'static,
) -> Vec<Role> {
    let mut roles = vec![role("the reader", move |me| {
        let _outer = me.take(THE_LOCK, Shared, read);
        if writer {
            me.until_waits("the writer", THE_LOCK);
        }
        let _inner = me.take(THE_LOCK, Shared, again);
    })];
    if writer {
        roles.push(role("the writer", move |me| {
            me.until_had("the reader", THE_LOCK);
            let _guard = me.take(THE_LOCK, Exclusive, write);
        }));
    }
    roles
}

/// What the cases with a mutex need of one; plain functions, since guards differ in type.
struct Mutual<M: 'static, G> {
    new: fn() -> M,
    lock: fn(&'static M) -> G,
    try_lock: fn(&'static M) -> Option<G>,
}

type StdMutex = std::sync::Mutex<u64>;
type StdGuard = std::sync::MutexGuard<'static, u64>;

const STD: Mutual<StdMutex, StdGuard> = Mutual {
    new: || StdMutex::new(0),
    lock: |m| m.lock().expect("no holder panics"),
    try_lock: |m| m.try_lock().ok(),
};
const PL013: Mutual<pl013::Mutex<u64>, pl013::MutexGuard<'static, u64>> =
    Mutual { new: || pl013::Mutex::new(0), lock: |m| m.lock(), try_lock: |m| m.try_lock() };
const OURS: Mutual<lock::mutex::Mutex<u64>, lock::mutex::MutexGuard<'static, u64>> =
    Mutual { new: || lock::mutex::Mutex::new(0), lock: |m| m.lock(), try_lock: |m| m.try_lock() };

fn two_locks(_: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    each(cases, params, |case, param| match param {
        "pl013_mutex" => two(case, &PL013),
        "mutex" => two(case, &OURS),
        _ => two(case, &STD),
    })
}

fn two<M: Sync, G: 'static>(case: &str, m: &Mutual<M, G>) -> Vec<Role> {
    let (left, right, lock, try_lock) = (forever((m.new)()), forever((m.new)()), m.lock, m.try_lock);
    let left_first = role("the first thread", move |me| {
        let _left = me.take(LEFT, Exclusive, || lock(left));
        me.until_had("the second thread", RIGHT);
        let _right = me.take(RIGHT, Exclusive, || lock(right));
    });
    let second = match case {
        "opposite_order" => role("the second thread", move |me| {
            let _right = me.take(RIGHT, Exclusive, || lock(right));
            me.until_had("the first thread", LEFT);
            let _left = me.take(LEFT, Exclusive, || lock(left));
        }),
        "try_and_give_back" => role("the second thread", move |me| {
            loop {
                let right = me.take(RIGHT, Exclusive, || lock(right));
                // By now the first thread holds the left lock and cannot give it back: the first try always fails.
                me.until_had("the first thread", LEFT);
                if me.try_take(LEFT, Exclusive, || try_lock(left)).is_some() {
                    break;
                }
                drop(right);
                thread::yield_now();
            }
        }),
        _ => {
            let first = role("the first thread", move |me| {
                let _left = me.take(LEFT, Exclusive, || lock(left));
                me.until_waits("the second thread", LEFT);
                let _right = me.take(RIGHT, Exclusive, || lock(right));
            });
            let second = role("the second thread", move |me| {
                me.until_had("the first thread", LEFT);
                let _left = me.take(LEFT, Exclusive, || lock(left));
                let _right = me.take(RIGHT, Exclusive, || lock(right));
            });
            return vec![first, second];
        }
    };
    vec![left_first, second]
}

fn call_out(_: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    each(cases, params, |case, param| match param {
        "pl013_mutex" => call(case, &PL013),
        "mutex" => call(case, &OURS),
        _ => call(case, &STD),
    })
}

/// The value is 0, so that every head below leads to the place that locks again.
fn call<M: Sync, G: Deref<Target = u64> + 'static>(case: &str, m: &Mutual<M, G>) -> Vec<Role> {
    let (m, lock) = (forever((m.new)()), m.lock);
    let again = move |me: &Actor| drop(me.take(THE_LOCK, Exclusive, || lock(m)));
    let take = move || lock(m);
    if case == "wait_under_lock" {
        let (tell, told) = mpsc::channel::<()>();
        let asker = role("the asker", move |me| {
            me.until_had("the helper", "the answer");
            let _guard = me.take(THE_LOCK, Exclusive, take);
            let _ = me.take("the answer", Exclusive, || told.recv());
        });
        let helper = role("the helper", move |me| {
            let answer = me.take("the answer", Exclusive, || tell);
            me.until_had("the asker", THE_LOCK);
            again(me);
            let _ = answer.get().send(());
        });
        return vec![asker, helper];
    }
    type Does<G> = fn(&Actor, &dyn Fn() -> G, &dyn Fn(&Actor));
    let does: Does<G> = match case {
        "match_head" => |me, take, again| match **me.take(THE_LOCK, Exclusive, take).get() {
            0 => again(me),
            n => count(n),
        },
        "if_let_else" => |me, take, again| {
            if let n @ 1.. = **me.take(THE_LOCK, Exclusive, take).get() {
                count(n);
            } else {
                again(me);
            }
        },
        "copied_out" => |me, take, again| {
            let n = **me.take(THE_LOCK, Exclusive, take).get();
            if n == 0 {
                again(me);
            }
        },
        _ => |me, take, again| {
            let guard = me.take(THE_LOCK, Exclusive, take);
            if **guard.get() == 0 {
                again(me);
            }
        },
    };
    vec![role("the thread", move |me| does(me, &take, &again))]
}

/// Keeps a read from being thought away.
fn count(n: u64) {
    black_box(n);
}

/// What the remedy costs where nobody waits: a read beside a recursive read. A hang is no bench.
fn benches(_: &Plan) -> Vec<Bench> {
    fn plain() -> Ops {
        let l = pl013::RwLock::new(0u64);
        Box::new(move |n| (0..n).for_each(|_| count(*l.read())))
    }
    fn recursive() -> Ops {
        let l = pl013::RecursiveRwLock::new(0u64);
        Box::new(move |n| (0..n).for_each(|_| count(*l.read())))
    }
    vec![
        Bench { id: "read/pl013_rwlock".into(), make: Box::new(|| cost::timed(plain)) },
        Bench { id: "read/pl013_recursive".into(), make: Box::new(|| cost::timed(recursive)) },
    ]
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(&LAB)
}
