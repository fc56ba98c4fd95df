//! Who may cross to another thread, checked by the compiler: the largest family of soundness bugs in concurrent crates is an
//! `unsafe impl Send` or `Sync` without the right bound (62 of 74 advisories that a search of rustsec.org for races finds).
//!
//! A wall is a constant, so a wrong bound does not compile. The last test sees to it that every public type has its walls.

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::rc::Rc;
use underhood::structures::alloc::{
    bump::Bump,
    inbox::{Inbox, Link},
    slots::{Slots, Taken},
    small::Small,
};
use underhood::structures::flow::adaptive::{Adaptive, AdaptiveSettings, Permit};
use underhood::structures::flow::bulkhead::{Bulkhead, Full, NoPlaces, Pass};
use underhood::structures::flow::circuit_breaker::{BreakerSettings, Call, CircuitBreaker, Refused, State};
use underhood::structures::flow::fair_queue::{self, BadQueue, FairQueue};
use underhood::structures::flow::fixed_window::FixedWindow;
use underhood::structures::flow::gcra::Gcra;
use underhood::structures::flow::keyed::{BadSize, Keyed, KeyedRefusal};
use underhood::structures::flow::leaky_bucket::LeakyBucket;
use underhood::structures::flow::sliding_log::SlidingLog;
use underhood::structures::flow::token_bucket::TokenBucket;
use underhood::structures::flow::{BadSettings, Quota, QuotaError, Refusal, WindowError};
use underhood::structures::lock::condvar::{Condvar, TimedOut};
use underhood::structures::lock::event::Event;
use underhood::structures::lock::guard::{Exclusive, ExclusiveGuard, ReadGuard, Shared, WriteGuard};
use underhood::structures::lock::mutex::{Mutex, MutexGuard};
use underhood::structures::lock::rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use underhood::structures::lock::semaphore::{Barging, Fifo, Permits, TooManyPermits};
use underhood::structures::lock::{
    handoff, mcs::Mcs, rwlock_fair, rwlock_sharded, seqlock::SeqLock, tas, ticket, ttas,
};
use underhood::structures::lockfree::{
    counter,
    deque::{Owner, Steal, Stealer},
    mpmc::Mpmc,
    queue::{Queue, QueueHandle},
    ring::{Consumer, Producer},
    snapshot::{Snapshot, SnapshotHandle},
    stack::{Stack, StackHandle},
};
use underhood::structures::reclaim::{
    epoch::{Epoch, EpochHandle},
    hazard::{Hazard, HazardHandle},
    leak::{Leak, LeakHandle},
};
use underhood::structures::task::executor::{Executor, Polled, TaskId};
use underhood::structures::task::machine;

/// Whether a type implements a trait, as a constant, without a compile error if it does not.
///
/// The inherent constant exists only where the bound holds, and then hides the trait's constant of the same name; elsewhere
/// the trait's is all there is. (The technique of the `impls` crate.)
macro_rules! is {
    ($type:ty: $bound:path) => {{
        struct Probe<T: ?Sized>(std::marker::PhantomData<T>);
        #[allow(dead_code, reason = "unused where the bound holds")]
        trait Otherwise {
            const YES: bool = false;
        }
        impl<T: ?Sized> Otherwise for Probe<T> {}
        #[allow(dead_code, reason = "unused where the bound does not hold")]
        impl<T: ?Sized + $bound> Probe<T> {
            const YES: bool = true;
        }
        <Probe<$type>>::YES
    }};
}

/// May be sent, not shared.
type SendOnly = Cell<u32>;
/// May be shared, not sent.
type SyncOnly = std::sync::MutexGuard<'static, u32>;
/// Neither.
type Neither = Rc<u32>;

// The probe itself, on types whose answer is known.
const _: () = {
    assert!(is!(u32: Send) && is!(u32: Sync));
    assert!(is!(SendOnly: Send) && !is!(SendOnly: Sync));
    assert!(!is!(SyncOnly: Send) && is!(SyncOnly: Sync));
    assert!(!is!(Neither: Send) && !is!(Neither: Sync));
};

// A mutex lends its value to one thread at a time: what may be sent may be shared in it.
const _: () = {
    assert!(is!(Mutex<u32>: Send) && is!(Mutex<u32>: Sync));
    assert!(is!(Mutex<SendOnly>: Send) && is!(Mutex<SendOnly>: Sync));
    assert!(!is!(Mutex<SyncOnly>: Send) && !is!(Mutex<SyncOnly>: Sync));
    assert!(!is!(Mutex<Neither>: Send) && !is!(Mutex<Neither>: Sync));
    assert!(!is!(MutexGuard<'static, u32>: Send) && is!(MutexGuard<'static, u32>: Sync));
    assert!(!is!(MutexGuard<'static, SendOnly>: Send) && !is!(MutexGuard<'static, SendOnly>: Sync));
    assert!(!is!(MutexGuard<'static, SyncOnly>: Send) && is!(MutexGuard<'static, SyncOnly>: Sync));
};

// An arena and a pool belong to one thread, which nobody can see in their types but by these walls.
const _: () = {
    assert!(!is!(Bump: Send) && !is!(Bump: Sync));
    assert!(!is!(Slots<u32>: Send) && !is!(Slots<u32>: Sync));
    assert!(!is!(Taken<'static, u32>: Send) && !is!(Taken<'static, u32>: Sync));
};

// An inbox is for all threads; a link is a pointer, and goes where its block goes. The allocator has no state in its value.
const _: () = {
    assert!(is!(Inbox: Send) && is!(Inbox: Sync));
    assert!(!is!(Link: Send) && !is!(Link: Sync));
    assert!(is!(Small: Send) && is!(Small: Sync));
};

// The machines are as mobile as the locals that they save.
const _: () = {
    assert!(is!(machine::Turn: Send) && is!(machine::Turn: Sync));
    assert!(is!(machine::Add: Send) && is!(machine::Add: Sync));
    assert!(is!(machine::Pause: Send) && is!(machine::Pause: Sync));
    assert!(is!(machine::Hold: Send) && is!(machine::Hold: Sync));
    assert!(is!(machine::InTurn: Send) && is!(machine::InTurn: Sync));
    assert!(is!(machine::Counted: Send) && is!(machine::Counted: Sync));
    assert!(is!(machine::Nested: Send) && is!(machine::Nested: Sync));
    assert!(is!(machine::Given: Send) && is!(machine::Given: Sync));
};

// One thread steps an executor, whose tasks need not be `Send`; wakers may be anywhere.
const _: () = {
    assert!(!is!(Executor: Send) && !is!(Executor: Sync));
    assert!(is!(TaskId: Send) && is!(TaskId: Sync));
    assert!(is!(Polled: Send) && is!(Polled: Sync));
};

// The spin locks share one guard, which must be as narrow as a mutex's.
const _: () = {
    assert!(is!(tas::Raw: Send) && is!(tas::Raw: Sync) && is!(ttas::Raw: Send) && is!(ttas::Raw: Sync));
    assert!(is!(ticket::Raw: Send) && is!(ticket::Raw: Sync));
    assert!(is!(tas::Held<'static>: Send) && is!(tas::Held<'static>: Sync));
    assert!(is!(ttas::Held<'static>: Send) && is!(ttas::Held<'static>: Sync));
    assert!(is!(ticket::Held<'static>: Send) && is!(ticket::Held<'static>: Sync));
    assert!(is!(Exclusive<tas::Raw, SendOnly>: Send) && is!(Exclusive<tas::Raw, SendOnly>: Sync));
    assert!(!is!(Exclusive<tas::Raw, SyncOnly>: Sync) && !is!(Exclusive<tas::Raw, Neither>: Send));
    assert!(!is!(ExclusiveGuard<'static, tas::Raw, u32>: Send));
    assert!(!is!(ExclusiveGuard<'static, tas::Raw, SendOnly>: Sync));
};

// The fair locks use the same guards.
const _: () = {
    assert!(is!(handoff::Raw: Send) && is!(handoff::Raw: Sync));
    assert!(is!(handoff::Held<'static>: Send) && is!(handoff::Held<'static>: Sync));
    assert!(is!(rwlock_fair::Raw: Send) && is!(rwlock_fair::Raw: Sync));
    assert!(is!(rwlock_fair::Reading<'static>: Send) && is!(rwlock_fair::Reading<'static>: Sync));
    assert!(is!(rwlock_fair::Writing<'static>: Send) && is!(rwlock_fair::Writing<'static>: Sync));
};

// A queue lock lends its value like a mutex; a sequence lock hands out copies.
const _: () = {
    assert!(is!(Mcs<u32>: Send) && is!(Mcs<u32>: Sync));
    assert!(is!(Mcs<SendOnly>: Sync) && !is!(Mcs<SyncOnly>: Sync) && !is!(Mcs<Neither>: Send));
    assert!(is!(SeqLock<u32, 1>: Send) && is!(SeqLock<u32, 1>: Sync));
    assert!(is!(counter::Counter: Send) && is!(counter::Counter: Sync));
    assert!(is!(counter::CasCounter: Send) && is!(counter::CasCounter: Sync));
    assert!(is!(counter::Sharded: Send) && is!(counter::Sharded: Sync));
};

// A queue moves its values: what may be sent may be sent through it.
const _: () = {
    assert!(is!(Mpmc<SendOnly>: Send) && is!(Mpmc<SendOnly>: Sync));
    assert!(!is!(Mpmc<SyncOnly>: Send) && !is!(Mpmc<SyncOnly>: Sync));
    assert!(is!(Producer<SendOnly>: Send) && !is!(Producer<Neither>: Send) && !is!(Producer<Neither>: Sync));
    assert!(is!(Consumer<SendOnly>: Send) && !is!(Consumer<Neither>: Send) && !is!(Consumer<Neither>: Sync));
};

const _: () = {
    assert!(is!(Queue<SendOnly, Epoch>: Send) && is!(Queue<SendOnly, Epoch>: Sync));
    assert!(!is!(Queue<SyncOnly, Epoch>: Send) && !is!(Queue<SyncOnly, Epoch>: Sync));
    assert!(is!(QueueHandle<'static, SendOnly, Epoch>: Send) && !is!(QueueHandle<'static, u32, Epoch>: Sync));
    assert!(!is!(QueueHandle<'static, SyncOnly, Epoch>: Send));
    assert!(is!(Stack<SendOnly, Hazard>: Send) && is!(Stack<SendOnly, Hazard>: Sync));
    assert!(!is!(Stack<SyncOnly, Hazard>: Send) && !is!(Stack<SyncOnly, Hazard>: Sync));
    assert!(
        is!(StackHandle<'static, SendOnly, Hazard>: Send) && !is!(StackHandle<'static, u32, Hazard>: Sync)
    );
    assert!(!is!(StackHandle<'static, u32, Leak>: Sync));
    assert!(!is!(StackHandle<'static, SyncOnly, Hazard>: Send));
};

// A snapshot lends its value to several at a time, and drops it on any thread: it takes both.
const _: () = {
    assert!(is!(Snapshot<u32, Epoch>: Send) && is!(Snapshot<u32, Epoch>: Sync));
    assert!(is!(Snapshot<SendOnly, Epoch>: Send) && !is!(Snapshot<SendOnly, Epoch>: Sync));
    assert!(!is!(Snapshot<SyncOnly, Epoch>: Send) && !is!(Snapshot<SyncOnly, Epoch>: Sync));
    assert!(
        is!(SnapshotHandle<'static, u32, Epoch>: Send) && !is!(SnapshotHandle<'static, u32, Epoch>: Sync)
    );
    assert!(!is!(SnapshotHandle<'static, SendOnly, Epoch>: Send));
    assert!(!is!(SnapshotHandle<'static, SyncOnly, Epoch>: Send));
};

// Domains hold nodes without their types; who retires one has promised that any thread may free it. A handle may move to another
// thread, but a shared one would be two threads in one place.
const _: () = {
    assert!(is!(Epoch: Send) && is!(Epoch: Sync) && is!(EpochHandle<'static>: Send));
    assert!(!is!(EpochHandle<'static>: Sync));
    assert!(is!(Hazard: Send) && is!(Hazard: Sync) && is!(HazardHandle<'static>: Send));
    assert!(!is!(HazardHandle<'static>: Sync));
    assert!(is!(Leak: Send) && is!(Leak: Sync) && is!(LeakHandle: Send) && !is!(LeakHandle: Sync));
};

// A reader-writer lock also lends it to several at a time: it takes both to be shared.
const _: () = {
    assert!(is!(RwLock<u32>: Send) && is!(RwLock<u32>: Sync));
    assert!(is!(RwLock<SendOnly>: Send) && !is!(RwLock<SendOnly>: Sync));
    assert!(!is!(RwLock<SyncOnly>: Send) && !is!(RwLock<SyncOnly>: Sync));
    assert!(!is!(RwLock<Neither>: Send) && !is!(RwLock<Neither>: Sync));
    assert!(!is!(RwLockReadGuard<'static, u32>: Send) && is!(RwLockReadGuard<'static, u32>: Sync));
    assert!(!is!(RwLockReadGuard<'static, SendOnly>: Send) && !is!(RwLockReadGuard<'static, SendOnly>: Sync));
    assert!(!is!(RwLockWriteGuard<'static, u32>: Send) && is!(RwLockWriteGuard<'static, u32>: Sync));
    assert!(
        !is!(RwLockWriteGuard<'static, SendOnly>: Send) && !is!(RwLockWriteGuard<'static, SendOnly>: Sync)
    );
};

// The same for the locks that share their guards; and a writer of the sharded one holds a mutex, so it stays where it is.
const _: () = {
    assert!(is!(rwlock_sharded::Raw: Send) && is!(rwlock_sharded::Raw: Sync));
    assert!(is!(rwlock_sharded::Reading<'static>: Send) && is!(rwlock_sharded::Reading<'static>: Sync));
    assert!(!is!(rwlock_sharded::Writing<'static>: Send) && is!(rwlock_sharded::Writing<'static>: Sync));
    assert!(is!(Shared<rwlock_sharded::Raw, u32>: Send) && is!(Shared<rwlock_sharded::Raw, u32>: Sync));
    assert!(
        is!(Shared<rwlock_sharded::Raw, SendOnly>: Send) && !is!(Shared<rwlock_sharded::Raw, SendOnly>: Sync)
    );
    assert!(
        !is!(Shared<rwlock_sharded::Raw, SyncOnly>: Sync) && !is!(Shared<rwlock_sharded::Raw, Neither>: Send)
    );
    assert!(!is!(Shared<SendOnly, u32>: Sync) && !is!(Exclusive<SendOnly, u32>: Sync));
    assert!(!is!(ReadGuard<'static, rwlock_sharded::Raw, u32>: Send));
    assert!(!is!(ReadGuard<'static, rwlock_sharded::Raw, SendOnly>: Sync));
    assert!(!is!(WriteGuard<'static, rwlock_sharded::Raw, u32>: Send));
    assert!(!is!(WriteGuard<'static, rwlock_sharded::Raw, SendOnly>: Sync));
};

// Permits and events guard no value: whoever ends what another began may be anywhere.
const _: () = {
    assert!(is!(Fifo: Send) && is!(Fifo: Sync));
    assert!(is!(Barging: Send) && is!(Barging: Sync));
    assert!(is!(TooManyPermits: Send) && is!(TooManyPermits: Sync));
    assert!(is!(Condvar: Send) && is!(Condvar: Sync));
    assert!(is!(TimedOut: Send) && is!(TimedOut: Sync));
    assert!(is!(Event: Send) && is!(Event: Sync));
    assert!(is!(Permits<'static, Fifo>: Send) && is!(Permits<'static, Fifo>: Sync));
};

// Limits are shared by everybody, and a permit may go to the thread that ends what another began. No unsafe impl made them so.
const _: () = {
    assert!(is!(Quota: Send) && is!(Quota: Sync));
    assert!(is!(QuotaError: Send) && is!(QuotaError: Sync));
    assert!(is!(WindowError: Send) && is!(WindowError: Sync));
    assert!(is!(Refusal: Send) && is!(Refusal: Sync));
    assert!(is!(BadSettings: Send) && is!(BadSettings: Sync));
    assert!(is!(Gcra: Send) && is!(Gcra: Sync));
    assert!(is!(TokenBucket: Send) && is!(TokenBucket: Sync));
    assert!(is!(LeakyBucket: Send) && is!(LeakyBucket: Sync));
    assert!(is!(FixedWindow: Send) && is!(FixedWindow: Sync));
    assert!(is!(SlidingLog: Send) && is!(SlidingLog: Sync));
    assert!(is!(Bulkhead: Send) && is!(Bulkhead: Sync));
    assert!(is!(Pass<'static>: Send) && is!(Pass<'static>: Sync));
    assert!(is!(NoPlaces: Send) && is!(NoPlaces: Sync));
    assert!(is!(Full: Send) && is!(Full: Sync));
    assert!(is!(Adaptive: Send) && is!(Adaptive: Sync));
    assert!(is!(AdaptiveSettings: Send) && is!(AdaptiveSettings: Sync));
    assert!(is!(Permit<'static>: Send) && is!(Permit<'static>: Sync));
    assert!(is!(CircuitBreaker: Send) && is!(CircuitBreaker: Sync));
    assert!(is!(BreakerSettings: Send) && is!(BreakerSettings: Sync));
    assert!(is!(Call<'static>: Send) && is!(Call<'static>: Sync));
    assert!(is!(Refused: Send) && is!(Refused: Sync));
    assert!(is!(State: Send) && is!(State: Sync));
    assert!(is!(BadSize: Send) && is!(BadSize: Sync));
    assert!(is!(KeyedRefusal: Send) && is!(KeyedRefusal: Sync));
};

// A limit per key compares and drops keys in whatever thread asks: they must be sendable, and need not be shareable.
const _: () = {
    assert!(is!(Keyed<u32>: Send) && is!(Keyed<u32>: Sync));
    assert!(is!(Keyed<SendOnly>: Send) && is!(Keyed<SendOnly>: Sync));
    assert!(is!(FairQueue<SendOnly>: Send) && is!(FairQueue<SyncOnly>: Sync));
    assert!(!is!(FairQueue<Neither>: Send) && !is!(FairQueue<Neither>: Sync));
    assert!(is!(BadQueue: Send) && is!(BadQueue: Sync));
    assert!(is!(fair_queue::Full: Send) && is!(fair_queue::Full: Sync));
    assert!(!is!(Keyed<SyncOnly>: Send) && !is!(Keyed<SyncOnly>: Sync));
    assert!(!is!(Keyed<Neither>: Send) && !is!(Keyed<Neither>: Sync));
};

// Tasks move from the owner to a thief: they must be sendable, and need not be shareable. One thread owns, many steal.
const _: () = {
    assert!(is!(Owner<u32>: Send) && !is!(Owner<u32>: Sync));
    assert!(is!(Owner<SendOnly>: Send) && !is!(Owner<SyncOnly>: Send) && !is!(Owner<Neither>: Send));
    assert!(is!(Stealer<SendOnly>: Send) && is!(Stealer<SendOnly>: Sync));
    assert!(!is!(Stealer<SyncOnly>: Send) && !is!(Stealer<SyncOnly>: Sync));
    assert!(!is!(Stealer<Neither>: Send) && !is!(Stealer<Neither>: Sync));
    assert!(is!(Steal<SendOnly>: Send) && !is!(Steal<SendOnly>: Sync));
    assert!(!is!(Steal<SyncOnly>: Send) && is!(Steal<SyncOnly>: Sync));
};

/// Every public type of the structures has a wall on each trait in this file, for it or against it.
#[test]
fn every_public_type_has_its_walls() {
    let here = include_str!("walls.rs");
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/structures");
    let mut checked = 0;
    for room in ["alloc", "lock", "lockfree", "reclaim", "task", "flow"] {
        let files = fs::read_dir(src.join(room)).unwrap_or_else(|e| panic!("{room}: {e}"));
        for file in files {
            let file = file.unwrap().path();
            let stem = file.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
            for line in fs::read_to_string(&file).unwrap().lines() {
                let Some(rest) =
                    ["pub struct ", "pub enum "].iter().find_map(|start| line.strip_prefix(start))
                else {
                    continue;
                };
                let name = rest.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
                for bound in [": Send)", ": Sync)"] {
                    let wall = |line: &&str| {
                        line.split("is!(").skip(1).any(|wall| {
                            // Common names are qualified by their file.
                            let bare =
                                wall.strip_prefix(stem).and_then(|w| w.strip_prefix("::")).unwrap_or(wall);
                            bare.strip_prefix(name).is_some_and(|after| after.starts_with(['<', ':']))
                                && wall.contains(bound)
                        })
                    };
                    assert!(
                        here.lines().any(|line| wall(&line)),
                        "{}: `{name}{bound}` has no wall",
                        file.display()
                    );
                }
                checked += 1;
            }
        }
    }
    assert!(checked >= 5, "only {checked} public types found: the search is broken");
}
