//! Small values that are copied out: every contender passes its check, broken ones do not, and a lane that disturbs is not counted.
use std::sync::{
    Arc, Mutex,
    atomic::{
        AtomicU64,
        Ordering::{Relaxed, SeqCst},
    },
};
use std::{array, thread};

use underhood::{
    contenders::copied::{
        ARC_SWAP, Bare, Copied, PL013_RWLOCK, RWLOCK, SEQLOCK, SEQLOCK_CRATE, STD_MUTEX, Tally, check,
        counting_retries, read_counting,
    },
    lab::{
        Contender,
        plan::{Mode, Plan},
    },
    machine::allowed_cpus,
    measure::throughput::{Apart, Crowd, Lane, beside},
    structures::lock,
};

type Ours<const N: usize> = lock::seqlock::SeqLock<[u64; N], N>;

#[test]
fn every_contender_passes() {
    for is in [&SEQLOCK, &SEQLOCK_CRATE, &ARC_SWAP, &RWLOCK, &PL013_RWLOCK, &STD_MUTEX].map(|v| v.as_ref()) {
        assert_eq!(is.check.map(|check| check()), Some(Ok(())), "{}", is.id);
    }
}

/// Words that nothing protects, with room for a reader between two of them.
struct Torn(Bare<4>);
impl Copied<4> for Torn {
    const IS: Contender = Contender::new("torn");
    fn new(value: [u64; 4]) -> Self {
        Self(Bare::new(value))
    }
    fn read(&self) -> [u64; 4] {
        self.0.read()
    }
    fn write(&self, value: [u64; 4]) {
        let old = self.0.read();
        self.0.write([value[0], value[1], old[2], old[3]]);
        thread::yield_now();
        self.0.write(value);
    }
}

#[test]
fn a_torn_copy_is_caught() {
    let why = check::<Torn, 4>().expect_err("half of it is old for as long as a yield takes");
    assert!(why.contains("half of one value and half of another"), "{why}");
}

/// Whoever reads twice as often as the value is written sees it go back.
struct Back(Mutex<[u64; 1]>, AtomicU64);
impl Copied<1> for Back {
    const IS: Contender = Contender::new("back");
    fn new(value: [u64; 1]) -> Self {
        Self(Mutex::new(value), AtomicU64::new(0))
    }
    fn read(&self) -> [u64; 1] {
        let [newest] = *self.0.lock().unwrap();
        let stale = self.1.fetch_add(1, Relaxed) % 2;
        [newest.saturating_sub(stale)]
    }
    fn write(&self, value: [u64; 1]) {
        *self.0.lock().unwrap() = value;
    }
}

/// Never stores.
struct Lazy;
impl Copied<1> for Lazy {
    const IS: Contender = Contender::new("lazy");
    fn new(_: [u64; 1]) -> Self {
        Self
    }
    fn read(&self) -> [u64; 1] {
        [0]
    }
    fn write(&self, _: [u64; 1]) {}
}

#[test]
fn a_value_that_comes_back_or_never_arrives_is_caught() {
    let why = check::<Back, 1>().expect_err("every second read is one behind");
    assert!(why.contains("came back") || why.contains("wrote"), "{why}");
    let why = check::<Lazy, 1>().expect_err("nothing is written");
    assert!(why.contains("a thread wrote 1 and reads [0]"), "{why}");
}

#[test]
fn a_sequence_lock_tells_its_retries() {
    let lock = Ours::<4>::new([7; 4]);
    assert_eq!(read_counting(&lock), ([7; 4], 0), "nobody is in the way");
    // From inside of a write no copy can be had, and a try says so instead of waiting.
    lock.update(|value| {
        assert_eq!(lock.try_read(), None);
        value.map(|word| word + 1)
    });
    assert_eq!(read_counting(&lock), ([8; 4], 0));
}

fn plan() -> Plan {
    Plan::new(Mode::Smoke, allowed_cpus())
}

#[test]
fn a_tally_adds_up_over_lanes() {
    let tally = Arc::new(Tally::default());
    assert_eq!((tally.reads_per_write(), tally.retries()), (None, None));
    let mut lanes = (SEQLOCK.beside_writer(0.0, &tally).make)(3);
    // The first writes once, however much it is asked for.
    for (lane, asked) in lanes.iter_mut().zip([50, 10, 30]) {
        (lane.0)(asked, 0);
    }
    assert_eq!(tally.reads_per_write(), Some(40.0));
    assert_eq!(tally.retries(), Some((0.0, 0)), "timed lanes do not count them");
    let tally = Arc::new(Tally::default());
    for lane in &mut (counting_retries::<4>(0.0, &tally).make)(2) {
        (lane.0)(10, 0);
    }
    assert_eq!(
        (tally.reads_per_write(), tally.retries()),
        (Some(10.0), Some((0.0, 0))),
        "nobody was in the way"
    );
}

/// Lanes that count into their own places.
fn counting(case: &'static str, done: Arc<[AtomicU64; 64]>) -> Crowd {
    let make = move |threads: usize| {
        let lane = |i: usize| {
            let done = done.clone();
            Box::new(Apart(move |n: u32, _: u32| {
                (0..n).for_each(|_| {
                    done[i].fetch_add(1, SeqCst);
                });
            })) as Lane
        };
        (0..threads).map(lane).collect()
    };
    Crowd::new(case, make)
}

#[test]
fn the_lane_that_disturbs_runs_and_is_not_counted() {
    let done: Arc<[AtomicU64; 64]> = Arc::new(array::from_fn(|_| AtomicU64::new(0)));
    let threads = plan().threads.clamp(2, 8);
    let slice = std::time::Duration::from_millis(60);
    let rows = beside(&Plan { threads, slice, ..plan() }, "p", &[counting("a", done.clone())]);
    let all: Vec<u64> = done.iter().map(|d| d.load(SeqCst)).collect();
    let measured = rows.iter().filter(|r| r.unmeasured.is_none()).count();
    assert!(
        measured == 0 || all[..threads].iter().all(|n| *n > 0),
        "a window counts if every lane ran: {all:?}"
    );
    let counted: u64 = all[1..].iter().sum();
    for row in rows.iter().filter(|r| r.unmeasured.is_none()) {
        let ops = row.receipts.ops_count.expect("what was done");
        assert!(ops <= counted as f64, "{ops} of {counted}: {row:?}");
        assert!(!row.values.contains_key("hold_ns"), "nobody holds: {row:?}");
    }
    let alone = beside(&Plan { threads: 1, ..plan() }, "p", &[counting("a", done)]);
    assert!(alone.iter().all(|r| r.unmeasured.as_deref().is_some_and(|w| w.contains("nobody"))), "{alone:?}");
}
