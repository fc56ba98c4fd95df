//! Counts that start near their limit: one more is refused and changes nothing, and what wraps goes on.
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
};

use underhood::lock::semaphore::{Barging, Fifo, MAX_PERMITS, Semaphore, TooManyPermits};

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
