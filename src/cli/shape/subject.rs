//! What can be tried: each subject with its contenders, the keys that its shapes have, and the ways in which it can be measured.
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use super::given::{ShapeError, Way};
#[cfg(feature = "labs")]
use crate::contenders::{
    bag::{self, Bag},
    counter::{self, Counter},
    limiter::{self, Shared},
    limiter_keyed,
    map::{self, SharedMap},
    published::{self, Published},
    semaphore::{self, Semaphore},
};
use crate::{
    contenders::lock::{self, Lock},
    lab::Contender,
};

/// What is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// Mutexes and reader-writer locks.
    Lock,
    /// Maps that threads share.
    #[cfg(feature = "labs")]
    Map,
    /// Counters.
    #[cfg(feature = "labs")]
    Counter,
    /// Queues without a bound.
    #[cfg(feature = "labs")]
    Queue,
    /// Stacks.
    #[cfg(feature = "labs")]
    Stack,
    /// Bounded queues and channels for many threads.
    #[cfg(feature = "labs")]
    Channel,
    /// Values that are replaced as a whole.
    #[cfg(feature = "labs")]
    Snapshot,
    /// Rate limiters.
    #[cfg(feature = "labs")]
    Limiter,
    /// Semaphores.
    #[cfg(feature = "labs")]
    Semaphore,
}

/// One contender of a subject.
#[derive(Clone, Copy, Debug)]
pub enum Member {
    /// Of [`Subject::Lock`].
    Lock(&'static Lock),
    /// Of [`Subject::Map`].
    #[cfg(feature = "labs")]
    Map(&'static SharedMap),
    /// Of [`Subject::Counter`].
    #[cfg(feature = "labs")]
    Counter(&'static Counter),
    /// Of [`Subject::Queue`], [`Subject::Stack`] and [`Subject::Channel`].
    #[cfg(feature = "labs")]
    Bag(&'static Bag),
    /// Of [`Subject::Snapshot`].
    #[cfg(feature = "labs")]
    Published(&'static Published),
    /// Of [`Subject::Limiter`].
    #[cfg(feature = "labs")]
    Limiter(&'static Shared),
    /// Of [`Subject::Semaphore`].
    #[cfg(feature = "labs")]
    Semaphore(&'static Semaphore),
}

impl Member {
    /// Who it is.
    pub fn is(self) -> Contender {
        match self {
            Self::Lock(lock) => *lock.as_ref(),
            #[cfg(feature = "labs")]
            Self::Map(map) => *map.as_ref(),
            #[cfg(feature = "labs")]
            Self::Counter(counter) => *counter.as_ref(),
            #[cfg(feature = "labs")]
            Self::Bag(bag) => *bag.as_ref(),
            #[cfg(feature = "labs")]
            Self::Published(value) => *value.as_ref(),
            #[cfg(feature = "labs")]
            Self::Limiter(limiter) => *limiter.as_ref(),
            #[cfg(feature = "labs")]
            Self::Semaphore(semaphore) => *semaphore.as_ref(),
        }
    }
}

/// Locks of a crate outside.
static MORE: Mutex<Vec<&'static Lock>> = Mutex::new(Vec::new());

/// Locks of your own join `underhood try`: said before [`main`](crate::prelude::main), they stand beside std's, parking_lot's and ours.
///
/// # Panics
/// If one of them has the id of another lock: records would not tell the two apart.
pub fn contend(locks: &[&'static Lock]) {
    for lock in locks {
        let id = AsRef::<Contender>::as_ref(*lock).id;
        let taken = Subject::Lock.members().iter().any(|m| m.is().id == id);
        assert!(!taken, "{id} is the id of another lock already");
        MORE.lock().expect("nobody panics with it").push(lock);
    }
}

fn more() -> Vec<&'static Lock> {
    MORE.lock().expect("nobody panics with it").clone()
}

/// All subjects of this build.
pub const SUBJECTS: &[Subject] = &[
    Subject::Lock,
    #[cfg(feature = "labs")]
    Subject::Map,
    #[cfg(feature = "labs")]
    Subject::Counter,
    #[cfg(feature = "labs")]
    Subject::Queue,
    #[cfg(feature = "labs")]
    Subject::Stack,
    #[cfg(feature = "labs")]
    Subject::Channel,
    #[cfg(feature = "labs")]
    Subject::Snapshot,
    #[cfg(feature = "labs")]
    Subject::Limiter,
    #[cfg(feature = "labs")]
    Subject::Semaphore,
];

impl Subject {
    /// As a shape gives it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            #[cfg(feature = "labs")]
            Self::Map => "map",
            #[cfg(feature = "labs")]
            Self::Counter => "counter",
            #[cfg(feature = "labs")]
            Self::Queue => "queue",
            #[cfg(feature = "labs")]
            Self::Stack => "stack",
            #[cfg(feature = "labs")]
            Self::Channel => "channel",
            #[cfg(feature = "labs")]
            Self::Snapshot => "snapshot",
            #[cfg(feature = "labs")]
            Self::Limiter => "limiter",
            #[cfg(feature = "labs")]
            Self::Semaphore => "semaphore",
        }
    }

    /// The subject of this name.
    ///
    /// # Errors
    /// If there is none.
    pub fn read(name: &str) -> Result<Self, ShapeError> {
        SUBJECTS.iter().copied().find(|s| s.name() == name).ok_or_else(|| ShapeError::Unknown {
            what: "subject",
            name: name.into(),
            known: SUBJECTS.iter().map(|s| s.name().to_string()).collect(),
        })
    }

    /// What a question asks of it.
    pub(super) fn which(self) -> &'static str {
        match self {
            Self::Lock => "which lock?",
            #[cfg(feature = "labs")]
            Self::Map => "which map?",
            #[cfg(feature = "labs")]
            Self::Counter => "which counter?",
            #[cfg(feature = "labs")]
            Self::Queue => "which queue?",
            #[cfg(feature = "labs")]
            Self::Stack => "which stack?",
            #[cfg(feature = "labs")]
            Self::Channel => "which channel?",
            #[cfg(feature = "labs")]
            Self::Snapshot => "which snapshot?",
            #[cfg(feature = "labs")]
            Self::Limiter => "which limiter?",
            #[cfg(feature = "labs")]
            Self::Semaphore => "which semaphore?",
        }
    }

    /// The keys that its shapes have.
    pub fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Lock => {
                &["subject", "way", "threads", "locks", "reads", "hold", "think", "with", "reproduces"]
            }
            #[cfg(feature = "labs")]
            Self::Map => &["subject", "way", "threads", "reads", "skew", "with", "reproduces"],
            #[cfg(feature = "labs")]
            Self::Counter | Self::Snapshot => &["subject", "way", "threads", "reads", "with", "reproduces"],
            #[cfg(feature = "labs")]
            Self::Queue | Self::Stack | Self::Channel | Self::Limiter | Self::Semaphore => {
                &["subject", "way", "threads", "with", "reproduces"]
            }
        }
    }

    /// The ways in which it can be measured, the usual one first.
    pub fn ways(self) -> &'static [Way] {
        match self {
            Self::Lock => &[Way::Loop, Way::Windows, Way::Alone],
            #[cfg(feature = "labs")]
            Self::Semaphore => &[Way::Alone],
            #[cfg(feature = "labs")]
            Self::Limiter => &[Way::Windows],
            #[cfg(feature = "labs")]
            _ => &[Way::Windows, Way::Alone],
        }
    }

    /// The share of reads if none is given.
    pub(super) fn default_reads(self) -> f64 {
        match self {
            #[cfg(feature = "labs")]
            Self::Map | Self::Snapshot => 0.9,
            _ => 0.0,
        }
    }

    /// Whether these shares of reads can be had: some lanes count operations instead of rolling dice.
    #[cfg(feature = "labs")]
    pub(super) fn fits(self, reads: &[f64]) -> Result<(), ShapeError> {
        for share in reads {
            let why = match self {
                Self::Map if each_percent(*share).is_none() => {
                    "as many insertions as removals, each a whole percent: write 100%, 98%, 90%"
                }
                Self::Counter if every(*share).is_none() => "every n-th operation reads: write 0%, 10%, 50%",
                Self::Snapshot if every(1.0 - *share).is_none() => {
                    "every n-th operation publishes: write 100%, 99.9%, 90%"
                }
                _ => continue,
            };
            return Err(super::given::value("reads", &crate::words::number::value("share", *share), why));
        }
        Ok(())
    }

    /// A lock rolls dice, so every share can be had.
    #[cfg(not(feature = "labs"))]
    pub(super) fn fits(self, _reads: &[f64]) -> Result<(), ShapeError> {
        Ok(())
    }

    /// How often each key is wanted, where it has keys.
    pub(super) fn skew(self, given: Option<&str>) -> Result<Option<String>, ShapeError> {
        #[cfg(feature = "labs")]
        if self == Self::Map {
            let name = given.unwrap_or("zipf");
            let known: Vec<String> = SKEWS.iter().map(|(name, _)| name.to_string()).collect();
            if !known.iter().any(|k| k == name) {
                return Err(ShapeError::Unknown { what: "skew", name: name.into(), known });
            }
            return Ok(Some(name.into()));
        }
        let _ = given;
        Ok(None)
    }

    /// All contenders that can be named.
    pub fn members(self) -> Vec<Member> {
        match self {
            Self::Lock => {
                let all = mutexes().into_iter().chain(rwlocks()).chain(spinning()).chain(more());
                all.map(Member::Lock).collect()
            }
            #[cfg(feature = "labs")]
            Self::Map => MAPS.map(Member::Map).to_vec(),
            #[cfg(feature = "labs")]
            Self::Counter => COUNTERS.map(Member::Counter).to_vec(),
            #[cfg(feature = "labs")]
            Self::Queue => QUEUES.map(Member::Bag).to_vec(),
            #[cfg(feature = "labs")]
            Self::Stack => STACKS.map(Member::Bag).to_vec(),
            #[cfg(feature = "labs")]
            Self::Channel => CHANNELS.map(Member::Bag).to_vec(),
            #[cfg(feature = "labs")]
            Self::Snapshot => SNAPSHOTS.map(Member::Published).to_vec(),
            #[cfg(feature = "labs")]
            Self::Limiter => LIMITERS.map(Member::Limiter).to_vec(),
            #[cfg(feature = "labs")]
            Self::Semaphore => SEMAPHORES.map(Member::Semaphore).to_vec(),
        }
    }

    /// Those that run if none is named: without spinning locks, which keep a CPU busy while they wait, and without reader-writer locks
    /// where nobody reads.
    pub(super) fn usual(self, reads: &[f64]) -> Vec<String> {
        let ids = |all: Vec<Member>| all.iter().map(|m| m.is().id.to_string()).collect();
        if self != Self::Lock {
            return ids(self.members());
        }
        let readers = if reads.iter().any(|r| *r > 0.0) { rwlocks() } else { Vec::new() };
        ids(mutexes().into_iter().chain(readers).chain(more()).map(Member::Lock).collect())
    }
}

fn mutexes() -> Vec<&'static Lock> {
    vec![
        &lock::STD_MUTEX,
        #[cfg(feature = "parking_lot")]
        &lock::PL012_MUTEX,
        #[cfg(feature = "parking_lot")]
        &lock::PL013_MUTEX,
        &lock::MUTEX,
        &lock::HANDOFF,
        #[cfg(feature = "parking_lot")]
        &lock::PL012_FAIR,
        #[cfg(feature = "parking_lot")]
        &lock::PL013_FAIR,
        #[cfg(feature = "labs")]
        &lock::TOKIO_MUTEX,
    ]
}

fn rwlocks() -> Vec<&'static Lock> {
    vec![
        &lock::STD_RWLOCK,
        #[cfg(feature = "parking_lot")]
        &lock::PL012_RWLOCK,
        #[cfg(feature = "parking_lot")]
        &lock::PL013_RWLOCK,
        &lock::RWLOCK,
        &lock::RWLOCK_FAIR,
        &lock::RWLOCK_SHARDED,
        #[cfg(feature = "labs")]
        &lock::CROSSBEAM_SHARDED,
        #[cfg(feature = "labs")]
        &lock::TOKIO_RWLOCK,
    ]
}

fn spinning() -> Vec<&'static Lock> {
    vec![
        &lock::TAS,
        &lock::TTAS,
        &lock::TICKET,
        &lock::MCS,
        #[cfg(feature = "labs")]
        &lock::SPIN_MUTEX,
        &lock::EMPTY,
    ]
}

#[cfg(feature = "labs")]
static MAPS: [&SharedMap; 6] =
    [&map::ONE_LOCK, &map::ONE_RWLOCK, &map::SHARDED_16, &map::DASHMAP_6, &map::PAPAYA_0_2, &map::SCC_3];
#[cfg(feature = "labs")]
static COUNTERS: [&Counter; 6] = [
    &counter::MUTEX,
    &counter::FETCH_ADD,
    &counter::CAS_LOOP,
    &counter::SHARDED_8,
    &counter::PER_THREAD,
    &counter::BATCHED_64,
];
#[cfg(feature = "labs")]
static QUEUES: [&Bag; 4] = [&bag::MUTEX_DEQUE, &bag::QUEUE_EPOCH, &bag::QUEUE_HAZARD, &bag::SEG_QUEUE];
#[cfg(feature = "labs")]
static STACKS: [&Bag; 4] = [&bag::MUTEX_VEC, &bag::STACK_EPOCH, &bag::STACK_HAZARD, &bag::CROSSBEAM_TREIBER];
#[cfg(feature = "labs")]
static CHANNELS: [&Bag; 4] = [&bag::ARRAY_QUEUE, &bag::MPMC, &bag::CROSSBEAM_CHANNEL, &bag::FLUME];
#[cfg(feature = "labs")]
static SNAPSHOTS: [&Published; 6] = [
    &published::RWLOCK_ARC,
    &published::RWLOCK,
    &published::ARC_SWAP,
    &published::ARC_SWAP_CACHE,
    &published::SNAPSHOT_EPOCH,
    &published::SNAPSHOT_HAZARD,
];
#[cfg(feature = "labs")]
static LIMITERS: [&Shared; 8] = [
    &limiter::GOVERNOR.shared,
    &limiter::GCRA.shared,
    &limiter::TOKEN_BUCKET.shared,
    &limiter::FIXED_WINDOW.shared,
    &limiter::SLIDING_LOG.shared,
    &limiter_keyed::SHARED_KEY_GOVERNOR,
    &limiter_keyed::SHARED_KEYED_FOLDHASH,
    &limiter::UNLIMITED.shared,
];
#[cfg(feature = "labs")]
static SEMAPHORES: [&Semaphore; 3] = [&semaphore::BARGING, &semaphore::FIFO, &semaphore::TOKIO];

/// How often each key of a map is wanted.
#[cfg(feature = "labs")]
pub(super) const SKEWS: [(&str, crate::measure::keys::Skew); 3] = [
    ("uniform", crate::measure::keys::Skew::Uniform),
    ("zipf", crate::measure::keys::Skew::Zipf(0.99)),
    ("one_key", crate::measure::keys::Skew::OneKey),
];

/// The whole percents of insertions, and as many of removals, beside so many reads.
#[cfg(feature = "labs")]
pub(super) fn each_percent(reads: f64) -> Option<usize> {
    whole((1.0 - reads) * 50.0)
}

/// Every so many operations make this share; 0 is none. `None` if no count does.
#[cfg(feature = "labs")]
pub(super) fn every(share: f64) -> Option<u32> {
    if share < 1e-9 {
        return Some(0);
    }
    whole(1.0 / share).and_then(|n| u32::try_from(n).ok())
}

/// The whole number that this is, within the rounding of a percentage.
pub(super) fn whole(x: f64) -> Option<usize> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "shares are between 0 and 1")]
    let near = x.round() as usize;
    ((x - near as f64).abs() < 1e-6 * x.max(1.0)).then_some(near)
}
