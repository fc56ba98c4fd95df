//! Which read-lock pattern deadlocks on which lock?
//!
//! Run it: `cargo run --release --bin lock_deadlock -- --step`
use std::{hint::black_box, ops::Deref, sync::mpsc, thread, time::Duration};

use underhood::{
    lab::{
        Bound, Kind, Lab, Point, Setting, Step, at, at_least, at_most, sample::Sample, setting, shown_by,
        source,
    },
    measure::{
        cost::{self, Ops, Solo},
        deadlock::{Actor, Mode::*, Role, Seen, role, watch, words},
    },
    structures::lock,
};

pub(crate) fn lab() -> Lab {
    underhood::lab!("lock_deadlock", "Which read-lock pattern deadlocks on which lock?")
        .step(read_twice())
        .step(two_locks())
        .step(call_out())
        .say(
            "read_twice",
            "A thread that read-locks std's RwLock twice hangs if a writer comes in between. It hung in {value} of \
             {launches} tries, and each try forced the writer to be there.",
            ("std_rwlock", "writer_waits"),
            "std's RwLock has another policy on that system (std leaves the policy open), or the second read is a recursive \
             one",
        )
        .say(
            "call_out",
            "A guard in the head of a `match` lives until the end of the `match`. Locking again in an arm hung in \
             {value} of {launches} tries.",
            ("match_head", "std_mutex"),
            "the value is copied out first; for `if let ... else` it also depends on the edition (2021: hangs, 2024: does not)",
        )
        .not_said(&[
            "How likely a deadlock is in your program: here the schedule is forced, so that it happens each time or never.",
            "That a lock that did not hang is safe: it was tried in one order of events only.",
        ])
        .next(&[
            "Why would anybody build a lock that prefers writers? (else a stream of readers keeps the writer out for ever)",
            "How do you find a deadlock in production? (if all threads sleep, take a thread dump and see who holds which \
             lock; parking_lot has a deadlock_detection feature)",
            "What else breaks a cycle? (an order of the locks, try_lock and release, a time limit, one lock instead of two)",
        ])
        .sources(&[
            "std::sync::RwLock and Mutex: what locking twice does is left open (documentation of `read` and `lock`)",
            "parking_lot 0.13.0 CHANGELOG: read_recursive became the type RecursiveRwLock",
            "Amanieu/parking_lot#212, tokio-rs/tokio#2849: the same surprise, reported",
            "Coffman, Elphick, Shoshani, System Deadlocks, Computing Surveys 3(2), 1971",
            "Rust edition guide 2024: scope of temporaries in `if let`",
        ])
}

/// Every try hung.
fn hangs(case: &'static str, param: &'static str) -> Bound {
    at_least(1.0, (case, param))
}

/// No try did.
fn passes(case: &'static str, param: &'static str) -> Bound {
    at_most(0.0, (case, param))
}

const THE_LOCK: &str = "the lock";
const LEFT: &str = "the left lock";
const RIGHT: &str = "the right lock";

/// One try in this process, with threads that may stay behind: the process ends soon after.
fn tried(roles: Vec<Role>) -> Result<Sample, String> {
    /// Far longer than a forced schedule needs, and shorter than the watchdog of the whole child.
    const PATIENCE: Duration = Duration::from_secs(15);
    let (names, seen) = watch(roles, PATIENCE);
    let sample = |share, waits| Sample::default().with("deadlocked_share", share).with("waits_count", waits);
    match seen {
        Seen::Finished => Ok(sample(0.0, 0.0)),
        Seen::Deadlocked { cycle } => Ok(sample(1.0, cycle.len() as f64).seeing(words(&names, &cycle))),
        Seen::Unclear(why) => Err(why),
    }
}

/// Threads in a deadlock never end, so what they share can never be freed.
fn forever<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

/// A lock, and how it is read, read again and written.
macro_rules! read_twice {
    ($id:literal, $new:expr, $read:ident, $again:ident, $write:ident) => {
        setting($id, |writer| {
            let l = forever($new);
            twice(writer, || l.$read(), || l.$again(), || l.$write())
        })
    };
}

/// Makes the roles of a reader and, if there is one, a writer.
type Reads = fn(writer: bool) -> Vec<Role>;

/// What a reader and, if there is one, a writer do.
static READS: [Setting<Reads>; 7] = [
    read_twice!("std_rwlock", std::sync::RwLock::new(()), read, read, write),
    read_twice!("pl012_rwlock", pl012::RwLock::new(()), read, read, write),
    read_twice!("pl012_recursive", pl012::RwLock::new(()), read, read_recursive, write),
    read_twice!("pl013_rwlock", pl013::RwLock::new(()), read, read, write),
    read_twice!("pl013_recursive", pl013::RecursiveRwLock::new(()), read, read, write),
    read_twice!("tokio_rwlock", tokio::sync::RwLock::new(()), blocking_read, blocking_read, blocking_write),
    read_twice!("rwlock", lock::rwlock::RwLock::new(()), read, read, write),
];

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

fn read_twice() -> Step {
    /// What the remedy costs where nobody waits: a read beside a recursive read. A hang is no bench.
    static REMEDY: [Setting<fn() -> Ops>; 2] = [
        setting("pl013_rwlock", || {
            let l = pl013::RwLock::new(0u64);
            Box::new(move |n| (0..n).for_each(|_| count(*l.read())))
        }),
        setting("pl013_recursive", || {
            let l = pl013::RecursiveRwLock::new(0u64);
            Box::new(move |n| (0..n).for_each(|_| count(*l.read())))
        }),
    ];
    Step::new("read_twice", Kind::Count, "deadlocked_share")
        .ask_number(
            "A thread holds a read lock and asks for a second one on the same lock, while a writer waits. In what share of the tries \
             does std's RwLock hang? (0 to 1)",
            "std_rwlock",
            "writer_waits",
        )
        .columns(&["waits_count"])
        .isolated(&READS, [at("writer_waits", true), at("no_writer", false)], |_, case, writer| {
            tried((case.value)(writer.value))
        })
        .bench("read/{case}", &REMEDY, |_, case| cost::timed(&Solo::new(case.id(), case.value)))
        .claim(
            hangs("std_rwlock", "writer_waits"),
            "std's RwLock hangs when a writer waits between the two reads",
        )
        .claim(hangs("pl013_rwlock", "writer_waits"), "parking_lot 0.13's RwLock hangs in the same way")
        .claim(hangs("tokio_rwlock", "writer_waits"), "tokio's RwLock, which is a fair queue, hangs in the same way")
        .claim(hangs("rwlock", "writer_waits"), "our RwLock hangs in the same way")
        .claim(
            passes("std_rwlock", "no_writer"),
            "without a writer the same code never hangs, so tests do not find it",
        )
        .claim(
            passes("pl012_recursive", "writer_waits"),
            "a recursive read of parking_lot 0.12 overtakes the waiting writer",
        )
        .claim(
            passes("pl013_recursive", "writer_waits"),
            "a second read of parking_lot 0.13's RecursiveRwLock overtakes the waiting writer, too",
        )
        .because(
            "Only the reader ever held the lock. The second read waits for the writer, because a waiting writer keeps \
             new readers out. Without that rule readers could keep the writer out for ever.",
            // The same code without the writer.
            shown_by(passes("rwlock", "no_writer")),
        )
        .because(
            "The lock cannot tell a new reader from one that is already inside. The lock word counts readers, but does \
             not say which threads they are (`readers` in src/structures/lock/rwlock.rs).",
            source("src/structures/lock/rwlock.rs"),
        )
        .because(
            "A recursive read overtakes the waiting writer. The price is that the writer can starve.",
            shown_by(passes("pl012_recursive", "writer_waits")),
        )
}

/// What the cases need of a mutex. Plain functions, since each mutex has a guard type of its own.
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

/// How two threads lock two mutexes.
#[derive(Clone, Copy)]
enum Order {
    Opposite,
    Same,
    /// In opposite order, and the second thread releases its first lock when it cannot have the other.
    TryAndGiveBack,
}

static ORDERS: [Setting<Order>; 3] = [
    setting("opposite_order", Order::Opposite),
    setting("same_order", Order::Same),
    setting("try_and_give_back", Order::TryAndGiveBack),
];

fn two_locks() -> Step {
    type Two = fn(Order) -> Vec<Role>;
    let mutexes: [Point<Two>; 3] = [
        at("std_mutex", |order| two(order, &STD)),
        at("pl013_mutex", |order| two(order, &PL013)),
        at("mutex", |order| two(order, &OURS)),
    ];
    Step::new("two_locks", Kind::Count, "deadlocked_share")
        .ask_number(
            "Two threads lock two mutexes in opposite order, and each holds its first one. One of them takes the second \
             with try_lock, and releases its first if that fails. In what share of the tries do they hang? (0 to 1)",
            "try_and_give_back",
            "std_mutex",
        )
        .columns(&["waits_count"])
        .isolated(&ORDERS, mutexes, |_, case, mutex| tried((mutex.value)(case.value)))
        .claim(hangs("opposite_order", "std_mutex"), "two threads hang if they lock in opposite order")
        .claim(passes("same_order", "std_mutex"), "two threads do not hang if they lock in the same order")
        .claim(
            passes("try_and_give_back", "std_mutex"),
            "two threads do not hang if one of them releases its lock when try_lock fails",
        )
        .because(
            "A deadlock needs four things at once: mutual exclusion, hold and wait, no preemption, and a circular wait.",
            source("Coffman, Elphick, Shoshani, Computing Surveys 3(2), 1971"),
        )
        .because(
            "If all threads lock in the same order, there is no circular wait.",
            shown_by(passes("same_order", "mutex")),
        )
        .because(
            "A thread that releases its lock when try_lock fails does not hold and wait.",
            shown_by(passes("try_and_give_back", "mutex")),
        )
        .because(
            "No mutex notices a deadlock by itself. Each thread sleeps on a word that only the other thread would change.",
            shown_by(hangs("opposite_order", "pl013_mutex")),
        )
}

fn two<M: Sync, G: 'static>(order: Order, m: &Mutual<M, G>) -> Vec<Role> {
    let (left, right, lock, try_lock) = (forever((m.new)()), forever((m.new)()), m.lock, m.try_lock);
    let first = role("the first thread", move |me| {
        let _left = me.take(LEFT, Exclusive, || lock(left));
        match order {
            Order::Opposite | Order::TryAndGiveBack => me.until_had("the second thread", RIGHT),
            Order::Same => me.until_waits("the second thread", LEFT),
        }
        let _right = me.take(RIGHT, Exclusive, || lock(right));
    });
    let second = role("the second thread", move |me| match order {
        Order::Opposite => {
            let _right = me.take(RIGHT, Exclusive, || lock(right));
            me.until_had("the first thread", LEFT);
            let _left = me.take(LEFT, Exclusive, || lock(left));
        }
        Order::TryAndGiveBack => loop {
            let right = me.take(RIGHT, Exclusive, || lock(right));
            // By now the first thread holds the left lock and cannot release it: the first try always fails.
            me.until_had("the first thread", LEFT);
            if me.try_take(LEFT, Exclusive, || try_lock(left)).is_some() {
                break;
            }
            drop(right);
            thread::yield_now();
        },
        Order::Same => {
            me.until_had("the first thread", LEFT);
            let _left = me.take(LEFT, Exclusive, || lock(left));
            let _right = me.take(RIGHT, Exclusive, || lock(right));
        }
    });
    vec![first, second]
}

/// The ways in which a thread locks again while it may still hold the lock.
#[derive(Clone, Copy)]
enum Call {
    GuardInLet,
    MatchHead,
    IfLetElse,
    CopiedOut,
    WaitUnderLock,
}

static CALLS: [Setting<Call>; 5] = [
    setting("guard_in_let", Call::GuardInLet),
    setting("match_head", Call::MatchHead),
    setting("if_let_else", Call::IfLetElse),
    setting("copied_out", Call::CopiedOut),
    setting("wait_under_lock", Call::WaitUnderLock),
];

fn call_out() -> Step {
    type CallOut = fn(Call) -> Vec<Role>;
    let mutexes: [Point<CallOut>; 3] = [
        at("std_mutex", |how| call(how, &STD)),
        at("pl013_mutex", |how| call(how, &PL013)),
        at("mutex", |how| call(how, &OURS)),
    ];
    Step::new("call_out", Kind::Count, "deadlocked_share")
        .ask_number(
            "`match *m.lock() { 0 => m.lock(), .. }` with std's Mutex: in what share of the tries does it hang? (0 to 1)",
            "match_head",
            "std_mutex",
        )
        .columns(&["waits_count"])
        .isolated(&CALLS, mutexes, |_, case, mutex| tried((mutex.value)(case.value)))
        .claim(hangs("guard_in_let", "std_mutex"), "a try hangs if a guard is held during a call that locks again")
        .claim(
            hangs("match_head", "std_mutex"),
            "a try hangs if the guard is in the head of a `match`, where it lives until the end",
        )
        .claim(
            hangs("wait_under_lock", "std_mutex"),
            "a try hangs if a thread holds the lock and waits for a thread that needs the lock",
        )
        .claim(
            passes("if_let_else", "std_mutex"),
            "a try does not hang in the else of an `if let`: edition 2024 drops the guard in its head before the else",
        )
        .claim(
            passes("copied_out", "std_mutex"),
            "a try does not hang if the value is copied out first, since that ends the guard",
        )
        .because(
            "A guard releases the lock at the end of its scope. The scope of a temporary is longer than it looks: to the \
             end of the `match`, or of the `let` statement.",
            shown_by(hangs("match_head", "mutex")),
        )
        .because(
            "In an `if let`, the guard lived to the end of the else before edition 2024. Since edition 2024 it is dropped before the else.",
            source("Rust edition guide 2024: scope of temporaries in `if let`"),
        )
        .because(
            "One cure fits all cases: copy the value out or drop the guard before you call code that you do not know.",
            shown_by(passes("copied_out", "mutex")),
        )
}

/// The value is 0, so that every condition below leads to the place that locks again.
fn call<M: Sync, G: Deref<Target = u64> + 'static>(how: Call, m: &Mutual<M, G>) -> Vec<Role> {
    let (m, lock) = (forever((m.new)()), m.lock);
    let again = move |me: &Actor| drop(me.take(THE_LOCK, Exclusive, || lock(m)));
    let take = move || lock(m);
    type Does<G> = fn(&Actor, &dyn Fn() -> G, &dyn Fn(&Actor));
    let does: Does<G> = match how {
        Call::GuardInLet => |me, take, again| {
            let guard = me.take(THE_LOCK, Exclusive, take);
            if **guard.get() == 0 {
                again(me);
            }
        },
        Call::MatchHead => |me, take, again| match **me.take(THE_LOCK, Exclusive, take).get() {
            0 => again(me),
            n => count(n),
        },
        Call::IfLetElse => |me, take, again| {
            if let n @ 1.. = **me.take(THE_LOCK, Exclusive, take).get() {
                count(n);
            } else {
                again(me);
            }
        },
        Call::CopiedOut => |me, take, again| {
            let n = **me.take(THE_LOCK, Exclusive, take).get();
            if n == 0 {
                again(me);
            }
        },
        Call::WaitUnderLock => {
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
    };
    vec![role("the thread", move |me| does(me, &take, &again))]
}

/// Keeps the compiler from removing a read.
fn count(n: u64) {
    black_box(n);
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}
