//! Who may cross threads: checked when this file is compiled. And the forms that every lock has.
use std::{cell::Cell, marker::PhantomData, rc::Rc, sync::MutexGuard as StdGuard};

use underhood::structures::{
    flow::bulkhead::{Bulkhead, Pass},
    lock::{
        condvar::Condvar,
        event::Event,
        guard::{Exclusive, ExclusiveGuard, ReadGuard, Shared, WriteGuard},
        handoff,
        mcs::Mcs,
        mutex::{Mutex, MutexGuard},
        rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard},
        rwlock_fair, rwlock_sharded,
        semaphore::{Barging, Fifo, Permits},
        seqlock::{SeqLock, Words},
        tas, ticket, ttas,
    },
    task::executor::{Executor, TaskId},
};

/// `Send` but not `Sync`.
type Sends = Cell<u8>;
/// `Sync` but not `Send`.
type Shares = StdGuard<'static, u8>;
/// Neither.
type Stays = Rc<u8>;

fn send<T: ?Sized + Send>() {}
fn sync<T: ?Sized + Sync>() {}

/// Fails to compile if the type has the trait: then two impls would fit.
macro_rules! is_not {
    ($trait:ident: $($type:ty),+ $(,)?) => {
        $({
            trait Ambiguous<A> {
                fn here() {}
            }
            impl<T: ?Sized> Ambiguous<()> for T {}
            struct Has;
            impl<T: ?Sized + $trait> Ambiguous<Has> for T {}
            let _ = <$type as Ambiguous<_>>::here;
        })+
    };
}

#[test]
fn locks_move_and_are_shared_as_their_values_allow() {
    send::<Mutex<Sends>>();
    sync::<Mutex<Sends>>();
    is_not!(Send: Mutex<Shares>, Mutex<Stays>);
    is_not!(Sync: Mutex<Shares>, Mutex<Stays>);
    send::<Mcs<Sends>>();
    sync::<Mcs<Sends>>();
    is_not!(Send: Mcs<Shares>, Mcs<Stays>);
    is_not!(Sync: Mcs<Shares>, Mcs<Stays>);
    send::<Exclusive<tas::Raw, Sends>>();
    sync::<Exclusive<tas::Raw, Sends>>();
    sync::<Exclusive<ttas::Raw, Sends>>();
    sync::<Exclusive<ticket::Raw, Sends>>();
    sync::<Exclusive<handoff::Raw, Sends>>();
    is_not!(Send: Exclusive<tas::Raw, Shares>, Exclusive<tas::Raw, Stays>);
    is_not!(Sync: Exclusive<tas::Raw, Shares>, Exclusive<handoff::Raw, Stays>, Exclusive<Sends, u8>);
    // Readers are inside together, so the value must stand to be shared as well.
    send::<RwLock<Sends>>();
    sync::<RwLock<u8>>();
    is_not!(Send: RwLock<Shares>);
    is_not!(Sync: RwLock<Sends>, RwLock<Shares>, RwLock<Stays>);
    send::<Shared<rwlock_fair::Raw, Sends>>();
    sync::<Shared<rwlock_fair::Raw, u8>>();
    sync::<Shared<rwlock_sharded::Raw, u8>>();
    is_not!(Send: Shared<rwlock_sharded::Raw, Shares>);
    is_not!(Sync: Shared<rwlock_fair::Raw, Sends>, Shared<rwlock_sharded::Raw, Shares>, Shared<Sends, u8>);
    // What is put in by one thread is taken out by another.
    send::<SeqLock<Word<Sends>, 1>>();
    sync::<SeqLock<Word<Sends>, 1>>();
    is_not!(Send: SeqLock<Word<Shares>, 1>);
    is_not!(Sync: SeqLock<Word<Shares>, 1>);
    send::<(Event, Condvar, Fifo, Barging, Bulkhead)>();
    sync::<(Event, Condvar, Fifo, Barging, Bulkhead)>();
}

struct Word<T>(PhantomData<T>);

impl<T> Copy for Word<T> {}
impl<T> Clone for Word<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Words<1> for Word<T> {
    fn to_words(self) -> [u64; 1] {
        [0]
    }
    fn from_words(_: [u64; 1]) -> Self {
        Self(PhantomData)
    }
}

#[test]
fn guards_stay_where_they_were_taken_and_are_shared_as_references_are() {
    is_not!(Send:
        MutexGuard<'static, u8>,
        RwLockReadGuard<'static, u8>,
        RwLockWriteGuard<'static, u8>,
        ExclusiveGuard<'static, tas::Raw, u8>,
        ExclusiveGuard<'static, ttas::Raw, u8>,
        ExclusiveGuard<'static, ticket::Raw, u8>,
        ExclusiveGuard<'static, handoff::Raw, u8>,
        ReadGuard<'static, rwlock_fair::Raw, u8>,
        WriteGuard<'static, rwlock_fair::Raw, u8>,
        ReadGuard<'static, rwlock_sharded::Raw, u8>,
        WriteGuard<'static, rwlock_sharded::Raw, u8>,
    );
    sync::<MutexGuard<'static, Shares>>();
    sync::<RwLockReadGuard<'static, Shares>>();
    sync::<RwLockWriteGuard<'static, Shares>>();
    is_not!(Sync:
        MutexGuard<'static, Sends>,
        RwLockReadGuard<'static, Sends>,
        RwLockWriteGuard<'static, Sends>,
        ExclusiveGuard<'static, tas::Raw, Sends>,
        ReadGuard<'static, rwlock_fair::Raw, Sends>,
        WriteGuard<'static, rwlock_sharded::Raw, Sends>,
    );
    // Permits are not tied to threads.
    send::<(Permits<'static, Fifo>, Permits<'static, Barging>, Pass<'static>)>();
    sync::<(Permits<'static, Fifo>, Permits<'static, Barging>, Pass<'static>)>();
}

#[test]
fn an_executor_stays_and_its_wakers_travel() {
    is_not!(Send: Executor);
    is_not!(Sync: Executor);
    send::<(TaskId, std::task::Waker)>();
    sync::<(TaskId, std::task::Waker)>();
}

static COUNT: Mutex<u8> = Mutex::new(0);
static TABLE: RwLock<[u8; 2]> = RwLock::new([0; 2]);
static QUEUE: Mcs<u8> = Mcs::new(0);
static DONE: Event = Event::new();
static WOKEN: Condvar = Condvar::new();

#[test]
fn what_can_be_is_made_in_a_constant() {
    *COUNT.lock() += 1;
    TABLE.write()[0] += 1;
    QUEUE.with(|n| *n += 1);
    DONE.set();
    WOKEN.notify_all();
    assert_eq!((*COUNT.lock(), TABLE.read()[0], QUEUE.with(|n| *n), DONE.is_set()), (1, 1, 1, true));
}

#[test]
fn values_without_a_size_and_from_values() {
    let slice: &Mutex<[u8]> = &Mutex::new([1, 2, 3]);
    slice.lock()[0] = 7;
    assert_eq!(*slice.lock(), [7, 2, 3]);
    let boxed: Box<Mutex<dyn Fn() -> u8 + Send>> = Box::new(Mutex::new(|| 5));
    assert_eq!((boxed.lock())(), 5);
    let slice: &RwLock<[u8]> = &RwLock::new([1, 2, 3]);
    slice.write()[0] = 7;
    assert_eq!(slice.read()[0], 7);
    let slice: &Mcs<[u8]> = &Mcs::new([1, 2, 3]);
    assert_eq!(slice.with(|s| s.len()), 3);
    let mut slice: Box<Exclusive<ticket::Raw, [u8]>> = Box::new(ticket::Ticket::new([1, 2]));
    slice.get_mut()[1] = 9;
    assert_eq!((slice.lock()[1], format!("{slice:?}")), (9, "Exclusive { .. }".to_owned()));
    let slice: &Shared<rwlock_fair::Raw, [u8]> = &rwlock_fair::RwLockFair::new([1, 2]);
    assert_eq!(slice.read().len(), 2);
    assert_eq!(Mutex::from(3).into_inner() + RwLock::from(4).into_inner() + Mcs::from(5).into_inner(), 12);
    assert_eq!(*tas::Tas::from(3).lock() + *rwlock_sharded::RwLockSharded::from(4).read(), 7);
    assert_eq!(*Mutex::<u8>::default().lock() + *RwLock::<u8>::default().read(), 0);
    let mutex = Mutex::new(1);
    let guard = mutex.lock();
    assert!(std::ptr::eq(MutexGuard::mutex(&guard), &mutex));
}
