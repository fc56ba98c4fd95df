//! Notices when loom changes: each work-around in `tests/model/sync.rs` has here the smallest program that shows why it is
//! there. When loom no longer needs it, the test fails and says what to remove.

use super::mutate::{TABLE, Table};
use super::sync;
use loom::sync::atomic::{AtomicBool, AtomicUsize};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::{Arc, Mutex};

/// Every outcome of `program` that loom finds.
fn outcomes<T: Ord + Send + 'static>(program: fn() -> T) -> BTreeSet<T> {
    TABLE.set(Table { threads: 2, file: "no structure".to_owned(), ..Table::default() });
    let found = Arc::new(Mutex::new(BTreeSet::new()));
    let all = Arc::clone(&found);
    loom::model::Builder::new().check(move || {
        TABLE.with_borrow_mut(Table::begin_execution);
        let outcome = program();
        all.lock().unwrap().insert(outcome);
    });
    Arc::into_inner(found).expect("loom is done").into_inner().unwrap()
}

#[test]
fn redundant_load() {
    // The other thread's load hides main's load from its store: loom never tries the store first.
    let stock = outcomes(|| {
        let word = Arc::new(AtomicUsize::new(0));
        let other = {
            let word = Arc::clone(&word);
            loom::thread::spawn(move || {
                word.load(Relaxed);
                word.store(1, Relaxed);
            })
        };
        let seen = word.load(Relaxed);
        other.join().unwrap();
        seen
    });
    let ours = outcomes(|| {
        let word = Arc::new(sync::atomic::AtomicUsize::new(0));
        let other = {
            let word = Arc::clone(&word);
            sync::thread::spawn(move || {
                word.load(Relaxed);
                word.store(1, Relaxed);
            })
        };
        let seen = word.load(Relaxed);
        other.join().unwrap();
        seen
    });
    assert_eq!(ours, BTreeSet::from([0, 1]), "the shadow words no longer make loom see every execution");
    assert_eq!(
        stock,
        BTreeSet::from([0]),
        "loom now explores a store after a redundant load (issues 166, 392): remove `Shadows` from tests/model/sync.rs"
    );
}

#[test]
fn sequentially_consistent_accesses() {
    // Store buffering: with SeqCst throughout, the language forbids that both threads read 0.
    let stock = outcomes(|| {
        let words = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
        let other = {
            let words = Arc::clone(&words);
            loom::thread::spawn(move || {
                words.0.store(1, SeqCst);
                words.1.load(SeqCst)
            })
        };
        words.1.store(1, SeqCst);
        let mine = words.0.load(SeqCst);
        (other.join().unwrap(), mine)
    });
    let ours = outcomes(|| {
        let words = Arc::new((sync::atomic::AtomicUsize::new(0), sync::atomic::AtomicUsize::new(0)));
        let other = {
            let words = Arc::clone(&words);
            sync::thread::spawn(move || {
                words.0.store(1, SeqCst);
                words.1.load(SeqCst)
            })
        };
        words.1.store(1, SeqCst);
        let mine = words.0.load(SeqCst);
        (other.join().unwrap(), mine)
    });
    assert_eq!(
        ours,
        BTreeSet::from([(0, 1), (1, 0), (1, 1)]),
        "the trailing fence no longer gives SeqCst its order"
    );
    assert!(
        stock.contains(&(0, 0)),
        "loom now orders SeqCst accesses (issue 180): remove `trailing_fence` from tests/model/sync.rs"
    );
}

#[test]
fn unpark_orders_nothing_by_itself() {
    // Main never parks, so the unpark gives it nothing: it may see the flag and still read the old value.
    let stock = outcomes(|| {
        let words = Arc::new((AtomicUsize::new(0), AtomicBool::new(false)));
        let main = loom::thread::current();
        let others = Arc::clone(&words);
        loom::thread::spawn(move || {
            others.0.store(1, Relaxed);
            main.unpark();
            others.1.store(true, Relaxed);
        }); // not joined: the unpark would wake main out of the join
        words.1.load(Relaxed).then(|| words.0.load(Relaxed))
    });
    let ours = outcomes(|| {
        let words = Arc::new((sync::atomic::AtomicUsize::new(0), sync::atomic::AtomicBool::new(false)));
        let main = sync::thread::current();
        let others = Arc::clone(&words);
        sync::thread::spawn(move || {
            others.0.store(1, Relaxed);
            main.unpark();
            others.1.store(true, Relaxed);
        });
        words.1.load(Relaxed).then(|| words.0.load(Relaxed))
    });
    assert_eq!(ours, BTreeSet::from([None, Some(0), Some(1)]), "the parker orders memory that it should not");
    assert!(
        !stock.contains(&Some(0)),
        "loom's unpark no longer orders memory by itself (issue 249): use loom's parker in tests/model/sync.rs"
    );
}

#[test]
fn modelled_futex() {
    // Change, then wake: the sleeper is always woken (else loom finds a deadlock), and gets no memory order as a gift.
    let seen = outcomes(|| {
        let words = Arc::new((sync::atomic::AtomicUsize::new(0), sync::atomic::AtomicU32::new(0)));
        let other = {
            let words = Arc::clone(&words);
            sync::thread::spawn(move || {
                words.0.store(1, Relaxed);
                words.1.store(1, Relaxed);
                sync::futex::wake_one(&words.1);
            })
        };
        sync::futex::wait(&words.1, 0);
        let seen = words.0.load(Relaxed);
        other.join().unwrap();
        seen
    });
    assert_eq!(seen, BTreeSet::from([0, 1]), "0: returned without sleeping, nothing ordered; 1: woken");
    let ordered = outcomes(|| {
        let words = Arc::new((sync::atomic::AtomicUsize::new(0), sync::atomic::AtomicU32::new(0)));
        let other = {
            let words = Arc::clone(&words);
            sync::thread::spawn(move || {
                words.0.store(1, Relaxed);
                words.1.store(1, Release);
                sync::futex::wake_one(&words.1);
            })
        };
        while words.1.load(Acquire) == 0 {
            sync::futex::wait(&words.1, 0);
        }
        let seen = words.0.load(Relaxed);
        other.join().unwrap();
        seen
    });
    assert_eq!(ordered, BTreeSet::from([1]), "ordered by the word, not by the futex");
}
