//! Counts that start near their limit: one more is refused and changes nothing, and what wraps goes on.
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::Duration,
};

use underhood::structures::lock::{
    event::Event,
    rwlock::RwLock,
    rwlock_fair::RwLockFair,
    rwlock_sharded::RwLockSharded,
    semaphore::{Barging, Fifo, MAX_PERMITS, Semaphore, TooManyPermits},
    seqlock::SeqLock,
};
use underhood::structures::lockfree::counter::Sharded;

/// The message of the panic that `f` must end in.
fn panics<R>(f: impl FnOnce() -> R) -> String {
    let panic = catch_unwind(AssertUnwindSafe(|| drop(f()))).expect_err("it is over the limit");
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).expect("a message").to_owned()
}

fn full<S: Semaphore>() {
    let semaphore = S::new(MAX_PERMITS - 1);
    semaphore.release(1);
    let too_many = |change| TooManyPermits { available: MAX_PERMITS.into(), change: i64::from(change) };
    for more in [1, 2, MAX_PERMITS, u32::MAX] {
        assert_eq!(semaphore.try_release(more), Err(too_many(more)));
        assert_eq!(panics(|| semaphore.release(more)), too_many(more).to_string());
        assert_eq!(semaphore.available(), MAX_PERMITS, "a refused release changes nothing");
    }
    assert!(panics(|| semaphore.acquire_many(MAX_PERMITS + 1)).contains("beyond the most"));
    assert!(semaphore.try_acquire_many(MAX_PERMITS + 1).is_none());
    assert_eq!(semaphore.available(), MAX_PERMITS, "a refused request changes nothing");
    let all = semaphore.acquire_many(MAX_PERMITS);
    assert_eq!(semaphore.available(), 0);
    drop(all);
    assert_eq!(semaphore.available(), MAX_PERMITS);
    assert!(panics(|| S::new(MAX_PERMITS + 1)).contains("beyond the most"));
}

#[test]
fn a_full_semaphore_takes_no_more_permits() {
    full::<Fifo>();
    full::<Barging>();
}

/// What is given back has no room if others have released too many meanwhile: the drop says so.
#[test]
fn permits_that_have_no_room_panic_when_dropped() {
    let semaphore = Barging::new(MAX_PERMITS);
    let permit = semaphore.acquire();
    semaphore.release(1);
    assert!(panics(|| drop(permit)).contains("beyond the most"));
    assert_eq!(semaphore.available(), MAX_PERMITS);
}

/// An empty semaphore lets nobody in, however many are asked for.
#[test]
fn a_request_for_more_than_the_most_is_refused_at_once() {
    for count in [MAX_PERMITS + 1, 3_000_000_000, u32::MAX] {
        assert!(panics(|| Fifo::new(0).acquire_many(count).forget()).contains("beyond the most"));
        assert!(panics(|| Barging::new(0).acquire_many(count).forget()).contains("beyond the most"));
    }
}

#[test]
fn no_more_permits_are_missing_than_are_counted() {
    let semaphore = Arc::new(Fifo::new(0));
    let all = {
        let semaphore = Arc::clone(&semaphore);
        thread::spawn(move || semaphore.acquire_many(MAX_PERMITS).forget())
    };
    while semaphore.try_acquire_many(0).is_some() {
        thread::yield_now(); // until it waits: below zero not even none can be taken
    }
    assert!(panics(|| semaphore.acquire()).contains("beyond the most"));
    semaphore.release(MAX_PERMITS);
    all.join().unwrap();
    assert_eq!(semaphore.available(), 0, "the refused one took nothing");
}

/// The numbers of the line run over the end of 32 bits while somebody waits, by single permits and by all at once.
#[test]
fn the_numbers_of_a_line_wrap() {
    for granted in [u64::from(u32::MAX) - 2, u64::from(u32::MAX), u64::MAX - 1] {
        let semaphore = Arc::new(Fifo::starting_at(0, granted));
        for count in [1, 2, 3, MAX_PERMITS, MAX_PERMITS, MAX_PERMITS, 1] {
            let other = Arc::clone(&semaphore);
            let other = thread::spawn(move || other.acquire_many(count).forget());
            semaphore.release(count);
            other.join().unwrap();
            assert_eq!(semaphore.available(), 0);
        }
    }
    let semaphore = Arc::new(Barging::starting_at(0, 0, u32::MAX));
    for _ in 0..3 {
        let other = Arc::clone(&semaphore);
        let other = thread::spawn(move || other.acquire().forget());
        semaphore.release(1);
        other.join().unwrap();
    }
}

/// One more waiting thread would run over the end of the word.
#[test]
fn a_semaphore_counts_its_waiting_threads() {
    let semaphore = Barging::starting_at(0, i32::MAX.cast_unsigned(), 0);
    assert!(panics(|| semaphore.acquire()).contains("2^31 - 1 threads wait"));
    semaphore.release(1);
    drop(semaphore.acquire());
    assert_eq!(semaphore.available(), 1);
}

#[test]
fn one_reader_more_than_a_lock_counts_is_refused() {
    let lock = RwLock::new(7);
    let inside: Vec<_> = (0..65_535).map(|_| lock.read()).collect();
    assert!(lock.try_read().is_none() && lock.try_write().is_none());
    assert!(panics(|| lock.read()).contains("65,535 readers"));
    assert!(panics(|| lock.try_read_for(Duration::MAX)).contains("65,535 readers"));
    drop(inside);
    assert_eq!(*lock.write(), 7, "all have left, and the refused ones were not counted");

    let lock = RwLockFair::new(7);
    let inside: Vec<_> = (0..16_383).map(|_| lock.read()).collect();
    assert!(lock.try_read().is_none() && lock.try_write().is_none());
    assert!(panics(|| lock.read()).contains("16,383 readers"));
    drop(inside);
    assert_eq!(*lock.write(), 7, "as above");

    let lock = RwLockSharded::starting_at(7, (1 << 30) - 2);
    let last = lock.read();
    assert!(lock.try_read().is_none() && lock.try_write().is_none());
    assert!(panics(|| lock.read()).contains("2^30 - 1 readers"));
    drop(last);
    assert_eq!(*lock.try_read().expect("there is room for one again"), 7);
}

/// One that waits counts as one that is inside: it will be.
#[test]
fn a_fair_lock_counts_waiting_readers_with_those_inside() {
    static WRITTEN: Event = Event::new();
    let lock: &'static RwLockFair<u8> = Box::leak(Box::new(RwLockFair::new(7)));
    let inside: Vec<_> = (0..16_382).map(|_| lock.read()).collect();
    let writer = thread::spawn(|| {
        *lock.write() = 8;
        WRITTEN.set();
    });
    while lock.try_read().is_some() {
        thread::yield_now(); // until the writer waits for those inside
    }
    let last = thread::spawn(|| *lock.read());
    // The last reader waits with the writer; one more is refused, once it has counted itself.
    thread::sleep(Duration::from_millis(50));
    assert!(panics(|| lock.read()).contains("16,383 readers"));
    assert!(!WRITTEN.is_set());
    drop(inside);
    writer.join().unwrap();
    assert_eq!((last.join().unwrap(), *lock.read()), (8, 8));
}

#[test]
fn one_waiting_writer_more_than_a_lock_counts_is_refused() {
    let lock = RwLock::starting_at(7, 16_383, 0);
    let inside = lock.try_write();
    assert!(inside.is_none(), "others wait");
    // The lock is handed to writers, so one enters; then there is one place in the line again, and none behind it.
    let inside = lock.write();
    assert!(panics(|| lock.write()).contains("16,383 writers"));
    assert!(panics(|| lock.try_write_for(Duration::ZERO)).contains("16,383 writers"));
    drop(inside);

    let lock = RwLock::starting_at(7, 16_382, 0);
    let inside = lock.write();
    assert!(lock.try_write_for(Duration::from_millis(1)).is_none(), "it counts itself, and gives up");
    assert!(lock.try_write_for(Duration::from_millis(1)).is_none(), "and was taken out of the count");
    drop(inside);
}

#[test]
fn more_slots_than_there_are_numbers_are_refused() {
    let too_many = usize::MAX / 2 + 2;
    assert!(panics(|| RwLockSharded::with_slots(0, too_many)).contains("a power of two"));
    assert!(panics(|| Sharded::new(too_many)).contains("a power of two"));
}

/// It would wait for itself, for ever.
#[test]
fn an_update_inside_an_update_is_refused() {
    let lock = SeqLock::<u64, 1>::new(1);
    let inside = |f: &dyn Fn()| {
        panics(|| {
            lock.update(|value| {
                f();
                value + 1
            });
        })
    };
    for refused in
        [inside(&|| _ = lock.read()), inside(&|| lock.write(5)), inside(&|| lock.update(|v| v + 1))]
    {
        assert!(refused.contains("waits for itself"), "{refused}");
        assert_eq!(lock.read(), 1, "the value is as it was, and the lock is free");
    }
    lock.update(|value| {
        assert!(lock.try_read().is_none(), "this one only says no");
        value + 1
    });
    // Another lock, or another thread, is no matter.
    let other = SeqLock::<u64, 1>::new(1);
    lock.update(|value| {
        other.update(|v| v + 1);
        value + other.read()
    });
    assert_eq!((lock.read(), other.read()), (4, 2));
    let lock = Arc::new(lock);
    let waits = lock.clone();
    lock.update(|value| {
        let other = thread::spawn(move || waits.read());
        thread::sleep(Duration::from_millis(10)); // it waits, and does not panic
        assert!(!other.is_finished());
        value
    });
}
