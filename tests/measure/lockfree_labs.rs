//! The labs on locks and lock-free structures: the contenders of the latter pass their checks, and broken ones do not.

use std::collections::VecDeque;
use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};
use std::time::Duration;

use underhood::{
    contenders::{
        bag::{self, Access, Next, PushPop},
        counter,
        pipe::{self, Ends},
        published::{self, Counted, CrossbeamEpoch, Haphazard, Line, Locked, Publish, garbage},
    },
    experiments::{
        stopped::stopped,
        wakeup::{self, Between, wakes},
    },
    lab::{
        Contender, Point, Setting,
        plan::{Mode, Plan},
        sample::AA,
    },
    machine::allowed_cpus,
    measure::{
        handover::relay,
        outcomes::{MANNERS, Manner, OneCpu, PROGRAMS, Program, litmus},
    },
    structures::{
        lockfree::{queue::Queue, snapshot::Snapshot, stack::Stack},
        reclaim::{epoch::Epoch, hazard::Hazard, leak::Leak},
    },
};

type Check = fn() -> Result<(), String>;

#[test]
fn every_contender_passes() {
    fn all<C: AsRef<Contender>>(roster: &[&C]) -> Vec<Contender> {
        roster.iter().map(|c| *(*c).as_ref()).collect()
    }
    let pipes = all(&[
        &pipe::RING,
        &pipe::RTRB,
        &pipe::MPMC,
        &pipe::ARRAY_QUEUE,
        &pipe::STD_CHANNEL,
        &pipe::CROSSBEAM_CHANNEL,
        &pipe::FLUME,
    ]);
    let bags = all(&[
        &bag::SPIN_VEC,
        &bag::SPIN_DEQUE,
        &bag::MPMC,
        &bag::ARRAY_QUEUE,
        &bag::CROSSBEAM_CHANNEL,
        &bag::FLUME,
        &bag::SEG_QUEUE,
        &bag::MUTEX_DEQUE,
        &bag::MUTEX_VEC,
        &bag::CROSSBEAM_TREIBER,
        &bag::QUEUE_EPOCH,
        &bag::QUEUE_HAZARD,
        &bag::STACK_EPOCH,
        &bag::STACK_HAZARD,
    ]);
    let published = all(&[
        &published::RWLOCK_ARC,
        &published::ARC_SWAP,
        &published::ARC_SWAP_CACHE,
        &published::SNAPSHOT_EPOCH,
        &published::SNAPSHOT_HAZARD,
        &published::SNAPSHOT_LEAK,
        &published::CROSSBEAM_EPOCH,
        &published::HAPHAZARD,
    ]);
    let counters =
        all(&[&counter::PER_THREAD, &counter::COUNTER, &counter::CAS_COUNTER, &counter::SHARDED_64]);
    for contender in [pipes, bags, published, counters].concat() {
        let check = contender.check.expect("a library's contender has a check");
        assert_eq!(check(), Ok(()), "{}", contender.id);
    }
}

/// A pipe with one mistake.
struct Broken<const MISTAKE: u8>;
const HOLDS_MORE: u8 = 0;
const SWAPS: u8 = 1;
const LOSES: u8 = 2;

impl<const MISTAKE: u8> Ends for Broken<MISTAKE> {
    const IS: Contender = Contender::new("broken");
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

impl<const STACK: bool> PushPop for BadBag<STACK> {
    const IS: Contender = Contender::new("bad");
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

impl<const TORN: bool> Publish<Line> for BadLine<TORN> {
    const IS: Contender = Contender::new("bad");
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
            line.0[7] = older.0[7];
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
    let epoch = |asleep| garbage::<Snapshot<Counted, Epoch>>(1_000, asleep);
    assert!((count(epoch(true), "garbage_count") - 1_000.0).abs() < 0.5, "a sleeper keeps everything");
    assert!(count(epoch(true), "after_count") < 300.0, "and nothing when it has left");
    assert!(count(epoch(false), "peak_count") < 300.0);
    assert!(count(garbage::<Snapshot<Counted, Hazard>>(1_000, true), "peak_count") < 70.0);
    assert!((count(garbage::<Snapshot<Counted, Leak>>(1_000, false), "garbage_count") - 1_000.0).abs() < 0.5);
    assert!(count(garbage::<CrossbeamEpoch<Counted>>(1_000, true), "garbage_count") > 900.0);
    assert!(count(garbage::<Haphazard<Counted>>(10_000, true), "peak_count") < 2_100.0);
    // Who counts references keeps what is read, and no more.
    assert!((count(garbage::<Locked<Counted>>(1_000, true), "garbage_count") - 1.0).abs() < 0.5);
}

#[test]
fn a_hand_over_needs_two_cpus() {
    let plan = Plan::new(Mode::Smoke, vec![0]);
    let rows = relay(&plan, "", [pipe::line(), pipe::RING.ping_pong()]);
    assert_eq!(rows.iter().map(|r| r.case.as_str()).collect::<Vec<_>>(), ["line", AA, "ring"]);
    assert!(rows.iter().all(|r| r.unmeasured.as_deref() == Some("a hand-over needs two CPUs")), "{rows:?}");
}

#[test]
fn whoever_is_stopped_inside_stops_the_others_behind_a_lock_only() {
    let plan = Plan::new(Mode::Quick, allowed_cpus());
    let kept = |got: Result<underhood::lab::sample::Sample, String>| got.unwrap().values["kept_share"];
    assert!(kept(stopped::<Mutex<VecDeque<u64>>>(&plan)) < 0.01);
    // On a loaded machine the rates scatter; that they go on at all is the point.
    assert!(kept(stopped::<Queue<u64, Hazard>>(&plan)) > 0.05);
    assert!(kept(stopped::<Stack<u64, Epoch>>(&plan)) > 0.05);
}

#[test]
fn litmus_outcomes_that_the_language_forbids_are_never_seen() {
    let cpus = allowed_cpus();
    for Setting { is, value: program } in PROGRAMS {
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
    for Setting { is, value: program } in PROGRAMS {
        let allowed = MANNERS.map(|manner| program.is_allowed(manner.value));
        assert!(allowed[0] >= allowed[1] && allowed[1] >= allowed[2], "{}: {allowed:?}", is.id);
        assert!(!allowed[2] && !allowed[3], "{}: SeqCst leaves an interleaving", is.id);
    }
}

#[test]
fn a_fence_loses_no_wake_up_and_everybody_is_released() {
    for Setting { is, value: between } in wakeup::CASES {
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
