//! The labs on locks and lock-free structures: the contenders of the latter pass their checks, and broken ones do not.

use std::collections::VecDeque;
use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};
use std::time::Duration;

use underhood::{
    contenders::{
        bag::{self, Access, Bag, Next},
        counter,
        pipe::{self, Pipe},
        published::{self, Cached, Counted, CrossbeamEpoch, Haphazard, Line, Locked, Published, garbage},
        treiber::Treiber,
    },
    experiments::{
        stopped::stopped,
        wakeup::{self, Between, wakes},
    },
    lab::{
        Arm, Point,
        plan::{Mode, Plan},
    },
    machine::allowed_cpus,
    measure::{
        handover::relay,
        outcomes::{MANNERS, Manner, OneCpu, PROGRAMS, Program, litmus},
    },
    record::AA,
    structures::{
        lockfree::{self, queue::Queue, snapshot::Snapshot, stack::Stack},
        reclaim::{epoch::Epoch, hazard::Hazard, leak::Leak},
    },
};

type Check = fn() -> Result<(), String>;

#[test]
fn every_contender_passes() {
    let pipes: [(&str, Check); 7] = [
        ("ring", pipe::check::<pipe::Ring>),
        ("rtrb", pipe::check::<pipe::Rtrb>),
        ("mpmc", pipe::check::<pipe::OurMpmc>),
        ("array_queue", pipe::check::<pipe::Array>),
        ("std_channel", pipe::check::<pipe::StdChannel>),
        ("crossbeam_channel", pipe::check::<pipe::CrossbeamChannel>),
        ("flume", pipe::check::<pipe::FlumeChannel>),
    ];
    let bags: [(&str, Check); 13] = [
        ("spin_vec", bag::check::<bag::SpinVec>),
        ("spin_deque", bag::check::<bag::SpinDeque>),
        ("mpmc", bag::check::<underhood::structures::lockfree::mpmc::Mpmc<u64>>),
        ("array_queue", bag::check::<crossbeam::queue::ArrayQueue<u64>>),
        ("crossbeam_channel", bag::check::<bag::Crossbeam>),
        ("flume", bag::check::<bag::Flume>),
        ("seg_queue", bag::check::<crossbeam::queue::SegQueue<u64>>),
        ("mutex_deque", bag::check::<Mutex<VecDeque<u64>>>),
        ("mutex_vec", bag::check::<Mutex<Vec<u64>>>),
        ("crossbeam_treiber", bag::check::<Treiber>),
        ("queue_hazard", bag::check::<Queue<u64, Hazard>>),
        ("stack_epoch", bag::check::<Stack<u64, Epoch>>),
        ("stack_hazard", bag::check::<Stack<u64, Hazard>>),
    ];
    let published: [(&str, Check); 8] = [
        ("rwlock_arc", published::check::<Locked<Line>>),
        ("arc_swap", published::check::<arc_swap::ArcSwap<Line>>),
        ("arc_swap_cache", published::check::<Cached<Line>>),
        ("snapshot_epoch", published::check::<Snapshot<Line, Epoch>>),
        ("snapshot_hazard", published::check::<Snapshot<Line, Hazard>>),
        ("snapshot_leak", published::check::<Snapshot<Line, Leak>>),
        ("crossbeam_epoch", published::check::<CrossbeamEpoch<Line>>),
        ("haphazard", published::check::<Haphazard<Line>>),
    ];
    let counters: [(&str, Check); 4] = [
        ("per_thread", counter::check::<counter::PerThread>),
        ("counter", counter::check::<lockfree::counter::Counter>),
        ("cas_counter", counter::check::<lockfree::counter::CasCounter>),
        ("sharded_64", counter::check::<lockfree::counter::Sharded>),
    ];
    for (name, check) in pipes.into_iter().chain(bags).chain(published).chain(counters) {
        assert_eq!(check(), Ok(()), "{name}");
    }
}

/// A pipe with one mistake.
struct Broken<const MISTAKE: u8>;
const HOLDS_MORE: u8 = 0;
const SWAPS: u8 = 1;
const LOSES: u8 = 2;

impl<const MISTAKE: u8> Pipe for Broken<MISTAKE> {
    const CASE: &'static str = "broken";
    type Tx = (crossbeam::channel::Sender<u64>, Option<u64>);
    type Rx = crossbeam::channel::Receiver<u64>;
    fn pair(capacity: usize) -> (Self::Tx, Self::Rx) {
        let (tx, rx) = crossbeam::channel::bounded(capacity + usize::from(MISTAKE == HOLDS_MORE));
        ((tx, None), rx)
    }
    fn push((tx, _): &mut Self::Tx, value: u64) -> bool {
        let value = match (MISTAKE, value) {
            (LOSES, 77) => return true,
            (SWAPS, 77 | 78) => 155 - value,
            _ => value,
        };
        tx.try_send(value).is_ok()
    }
    fn pop(rx: &mut Self::Rx) -> Option<u64> {
        rx.try_recv().ok()
    }
}

#[test]
fn broken_pipes_are_caught() {
    for (check, what) in [
        (pipe::check::<Broken<HOLDS_MORE>> as Check, "it holds 5"),
        (pipe::check::<Broken<SWAPS>>, "78 came out where 77 was next"),
        (pipe::check::<Broken<LOSES>>, "78 came out where 77 was next"),
    ] {
        let why = check().expect_err("it is broken");
        assert!(why.contains(what), "{why}");
    }
}

/// A stack that says that it is a queue, or that finds nothing now and then.
struct BadBag<const STACK: bool>(Mutex<Vec<u64>>, AtomicU64);

impl<const STACK: bool> Bag for BadBag<STACK> {
    const CASE: &'static str = "bad";
    const NEXT: Next = if STACK { Next::Oldest } else { Next::Newest };
    type Access = &'static Self;
    fn new(_: usize) -> Self {
        Self(Mutex::default(), AtomicU64::new(0))
    }
    fn access(&'static self) -> &'static Self {
        self
    }
}

impl<const STACK: bool> Access for &'static BadBag<STACK> {
    fn push(&mut self, value: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(value);
    }
    fn pop(&mut self) -> Option<u64> {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if self.1.fetch_add(1, Relaxed) == 99 { None } else { values.pop() }
    }
}

#[test]
fn broken_bags_are_caught() {
    let order = bag::check::<BadBag<true>>().expect_err("it is a stack");
    assert!(order.contains("[2, 1, 0] came out"), "{order}");
    let empty = bag::check::<BadBag<false>>().expect_err("it is not always empty");
    assert!(empty.contains("found nothing"), "{empty}");
}

/// A published value that a reader sees torn, or that its own publisher does not see.
struct BadLine<const TORN: bool>(Mutex<(Line, Line)>);

impl<const TORN: bool> Published<Line> for BadLine<TORN> {
    const CASE: &'static str = "bad";
    type Access = &'static Self;
    fn new(value: Line, _: usize) -> Self {
        Self(Mutex::new((value, value)))
    }
    fn access(&'static self) -> &'static Self {
        self
    }
}

impl<const TORN: bool> published::Access<Line> for &'static BadLine<TORN> {
    fn read<U>(&mut self, look: impl FnOnce(&Line) -> U) -> U {
        let (mut line, older) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if TORN {
            line[7] = older[7];
        }
        look(if TORN { &line } else { &older })
    }
    fn publish(&mut self, value: Line) {
        let mut both = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *both = (value, both.0);
    }
}

#[test]
fn broken_snapshots_are_caught() {
    let own = published::check::<BadLine<false>>().expect_err("it is one behind");
    assert!(own.contains("published 1 and reads 0"), "{own}");
    let torn = published::check::<BadLine<true>>().expect_err("it is torn");
    assert!(torn.contains("half of one value"), "{torn}");
}

#[test]
fn garbage_is_counted_exactly() {
    let count = |sample: underhood::lab::sample::Sample, name: &str| sample.values[name];
    let epoch = |asleep| garbage::<Snapshot<Counted, Epoch>>("", 1_000, asleep);
    assert!((count(epoch(true), "garbage_count") - 1_000.0).abs() < 0.5, "a sleeper keeps everything");
    assert!(count(epoch(true), "after_count") < 300.0, "and nothing when it has left");
    assert!(count(epoch(false), "peak_count") < 300.0);
    assert!(count(garbage::<Snapshot<Counted, Hazard>>("", 1_000, true), "peak_count") < 70.0);
    assert!(
        (count(garbage::<Snapshot<Counted, Leak>>("", 1_000, false), "garbage_count") - 1_000.0).abs() < 0.5
    );
    assert!(count(garbage::<CrossbeamEpoch<Counted>>("", 1_000, true), "garbage_count") > 900.0);
    assert!(count(garbage::<Haphazard<Counted>>("", 10_000, true), "peak_count") < 2_100.0);
    // Who counts references keeps what is read, and no more.
    assert!((count(garbage::<Locked<Counted>>("", 1_000, true), "garbage_count") - 1.0).abs() < 0.5);
}

#[test]
fn a_hand_over_needs_two_cpus() {
    let plan = Plan::new(Mode::Smoke, vec![0]);
    let rows = relay(&plan, "", &[pipe::line(), pipe::ping_pong::<pipe::Ring>()]);
    assert_eq!(rows.iter().map(|r| r.case.as_str()).collect::<Vec<_>>(), ["line", AA, "ring"]);
    assert!(rows.iter().all(|r| r.unmeasured.as_deref() == Some("a hand-over needs two CPUs")), "{rows:?}");
}

#[test]
fn whoever_is_stopped_inside_stops_the_others_behind_a_lock_only() {
    let plan = Plan::new(Mode::Quick, allowed_cpus());
    let kept = |sample: underhood::lab::sample::Sample| sample.values["kept_share"];
    assert!(kept(stopped::<Mutex<VecDeque<u64>>>(&plan, "")) < 0.01);
    // On a loaded machine the rates scatter; that they go on at all is the point.
    assert!(kept(stopped::<Queue<u64, Hazard>>(&plan, "")) > 0.05);
    assert!(kept(stopped::<Stack<u64, Epoch>>(&plan, "")) > 0.05);
}

#[test]
fn litmus_outcomes_that_the_language_forbids_are_never_seen() {
    let cpus = allowed_cpus();
    for Arm { is, value: program } in PROGRAMS {
        for Point { param, value: manner } in MANNERS {
            match litmus(program, manner, &cpus, Duration::from_millis(10)) {
                Ok(tally) => {
                    assert!(
                        tally.samples > 0 && tally.weak <= tally.met && tally.met <= tally.samples,
                        "{tally:?}"
                    );
                    assert!(
                        program.is_allowed(manner) || tally.weak == 0,
                        "{}, {}: {tally:?}",
                        is.id,
                        param.id
                    );
                }
                Err(OneCpu) => assert_eq!(cpus.len(), 1),
            }
        }
    }
    assert_eq!(litmus(Program::Sb, Manner::Relaxed, &cpus[..1], Duration::ZERO), Err(OneCpu));
}

#[test]
fn weaker_orderings_forbid_no_more() {
    for Arm { is, value: program } in PROGRAMS {
        let allowed = MANNERS.map(|manner| program.is_allowed(manner.value));
        assert!(allowed[0] >= allowed[1] && allowed[1] >= allowed[2], "{}: {allowed:?}", is.id);
        assert!(!allowed[2] && !allowed[3], "{}: SeqCst leaves an interleaving", is.id);
    }
}

#[test]
fn a_fence_loses_no_wake_up_and_everybody_is_released() {
    for Arm { is, value: between } in wakeup::CASES {
        let name = is.id;
        match wakes(between, &allowed_cpus(), Duration::from_millis(50)) {
            Ok(seen) => {
                assert!(
                    seen.rounds > 0 && seen.lost <= seen.parked && seen.parked <= seen.rounds,
                    "{name}: {seen:?}"
                );
                let sound = matches!(between, Between::Fence | Between::SeqCst);
                assert!(!sound || seen.lost == 0, "{name}: {seen:?}");
            }
            Err(OneCpu) => assert_eq!(allowed_cpus().len(), 1),
        }
    }
}
