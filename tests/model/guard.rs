//! Notices when loom changes: each work-around in `tests/model/sync.rs` has here the smallest program that shows why it is
//! there. When loom no longer needs it, the test fails and says what to remove.

use super::mutate::{TABLE, Table, World};
use super::sync as ours;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::sync::{Arc, Mutex};

/// loom as it comes.
mod stock {
    pub use loom::sync::atomic;
    pub use loom::thread;
}

/// Every outcome of `program` that loom finds, without any bound.
fn outcomes<T: Ord + Send + 'static>(
    switch_at_shadows: bool,
    program: impl Fn() -> T + Send + Sync + 'static,
) -> BTreeSet<T> {
    outcomes_in(World::default(), switch_at_shadows, program)
}

fn outcomes_in<T: Ord + Send + 'static>(
    world: World,
    switch_at_shadows: bool,
    program: impl Fn() -> T + Send + Sync + 'static,
) -> BTreeSet<T> {
    let file = "no structure".to_owned();
    TABLE.set(Table { threads: 2, switch_at_shadows, file, world, ..Table::default() });
    let found = Arc::new(Mutex::new(BTreeSet::new()));
    let all = Arc::clone(&found);
    let mut model = loom::model::Builder::new();
    (model.preemption_bound, model.max_permutations, model.max_duration) = (None, None, None);
    model.check(move || {
        TABLE.with_borrow_mut(Table::begin_execution);
        ours::shadow::begin_execution();
        let outcome = program();
        all.lock().unwrap().insert(outcome);
    });
    std::mem::take(&mut *found.lock().unwrap())
}

/// The outcomes of one program text on stock loom and on the modelled face; in the text, `m` is the machine.
macro_rules! both {
    ($program:expr) => {{
        let stock = {
            use stock as m;
            outcomes(false, $program)
        };
        let ours = {
            use ours as m;
            outcomes(false, $program)
        };
        (stock, ours)
    }};
}

#[test]
fn redundant_load() {
    // The other thread's load hides main's load from its store: loom never tries the store first.
    let (stock, ours) = both!(|| {
        let word = Arc::new(m::atomic::AtomicUsize::new(0));
        let theirs = Arc::clone(&word);
        let other = m::thread::spawn(move || {
            theirs.load(Relaxed);
            theirs.store(1, Relaxed);
        });
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
    let (stock, ours) = both!(|| {
        let words = Arc::new([0, 0].map(m::atomic::AtomicUsize::new));
        let theirs = Arc::clone(&words);
        let other = m::thread::spawn(move || {
            theirs[0].store(1, SeqCst);
            theirs[1].load(SeqCst)
        });
        words[1].store(1, SeqCst);
        let mine = words[0].load(SeqCst);
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
fn fences() {
    // Main may see `seen` and get through its fence before the other is through its own: then nothing brings it `first`.
    let (stock, ours) = both!(|| {
        let words = Arc::new([0, 0].map(m::atomic::AtomicUsize::new));
        let theirs = Arc::clone(&words);
        let other = m::thread::spawn(move || {
            theirs[0].store(1, Relaxed);
            theirs[1].store(1, Relaxed);
            m::atomic::fence(SeqCst);
        });
        let seen = words[1].load(Relaxed);
        m::atomic::fence(SeqCst);
        let first = words[0].load(Relaxed);
        other.join().unwrap();
        (seen, first)
    });
    let all = BTreeSet::from([(0, 0), (0, 1), (1, 0), (1, 1)]);
    assert_eq!(ours, all, "the modelled fence is no longer a point at which threads switch");
    assert!(
        !stock.contains(&(1, 0)),
        "loom now switches between a store and a fence: remove `meet` from tests/model/sync/shadow.rs"
    );
}

/// Both emulations of SeqCst forbid what the language forbids in store buffering; the one with a fence before each load is too strong
/// where the stores are weaker, and would hide a mistake there. So what holds in both is what counts.
#[test]
fn two_emulations_of_sequential_consistency() {
    use ours::atomic::{AtomicUsize, Ordering};
    let buffering = |store: Ordering| {
        move || {
            let words = Arc::new([0, 0].map(AtomicUsize::new));
            let theirs = Arc::clone(&words);
            let other = ours::thread::spawn(move || {
                theirs[0].store(1, store);
                theirs[1].load(SeqCst)
            });
            words[1].store(1, store);
            let mine = words[0].load(SeqCst);
            (other.join().unwrap(), mine)
        }
    };
    let both_zero = |leading_fence, store| {
        let world = World { leading_fence, ..World::default() };
        outcomes_in(world, false, buffering(store)).contains(&(0, 0))
    };
    assert!(!both_zero(false, SeqCst) && !both_zero(true, SeqCst), "forbidden by the language");
    assert!(both_zero(false, Release), "allowed by the language, and found");
    assert!(!both_zero(true, Release), "allowed by the language, and missed: the price of this emulation");
}

#[test]
fn unpark_without_park() {
    // Main never parks, so the unpark gives it nothing: it may see the flag and still read the old value.
    let (stock, ours) = both!(|| {
        let words = Arc::new([0, 0].map(m::atomic::AtomicUsize::new));
        let theirs = Arc::clone(&words);
        let main = m::thread::current();
        m::thread::spawn(move || {
            theirs[0].store(1, Relaxed);
            main.unpark();
            theirs[1].store(1, Relaxed);
        }); // not joined: loom's unpark would wake main out of the join
        (words[1].load(Relaxed) == 1).then(|| words[0].load(Relaxed))
    });
    assert_eq!(ours, BTreeSet::from([None, Some(0), Some(1)]), "the parker orders memory that it should not");
    assert!(
        !stock.contains(&Some(0)),
        "loom's unpark no longer orders memory by itself (issue 249): use loom's parker in tests/model/sync.rs"
    );
}

#[test]
fn futex() {
    // A wait that finds the word changed returns without having met the waker: no memory order is a gift of the futex.
    let early = outcomes(false, || {
        let words = Arc::new([0, 0, 0].map(ours::atomic::AtomicU32::new));
        let theirs = Arc::clone(&words);
        let other = ours::thread::spawn(move || {
            theirs[0].store(1, Relaxed);
            theirs[1].store(1, Relaxed);
            ours::futex::wake_one(&theirs[1]);
            theirs[2].store(1, Relaxed);
        });
        let seen = (words[2].load(Relaxed) == 1).then(|| {
            ours::futex::wait(&words[1], 0);
            words[0].load(Relaxed)
        });
        other.join().unwrap();
        seen
    });
    assert_eq!(
        early,
        BTreeSet::from([None, Some(0), Some(1)]),
        "the modelled futex orders memory that it should not"
    );
    // Change, then wake: a sleeper is always woken, else loom would find a deadlock here.
    let woken = outcomes(false, || {
        let words = Arc::new([0, 0].map(ours::atomic::AtomicU32::new));
        let theirs = Arc::clone(&words);
        let other = ours::thread::spawn(move || {
            theirs[0].store(1, Relaxed);
            theirs[1].store(1, Release);
            ours::futex::wake_one(&theirs[1]);
        });
        while words[1].load(Acquire) == 0 {
            ours::futex::wait(&words[1], 0);
        }
        let seen = words[0].load(Relaxed);
        other.join().unwrap();
        seen
    });
    assert_eq!(woken, BTreeSet::from([1]), "ordered by the word, not by the futex");
}

/// The shadows stop exploring while they are inspected. That this loses nothing is the one thing about them that isn't
/// obvious, so it is measured: on random programs the outcomes are those of shadows that are ordinary steps.
#[test]
fn shadows_lose_nothing() {
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Load,
        Acquire,
        Store(usize),
        Release(usize),
        Add,
        Exchange,
    }
    fn take(step: Step, word: &ours::atomic::AtomicUsize) -> usize {
        match step {
            Step::Load => word.load(Relaxed),
            Step::Acquire => word.load(Acquire),
            Step::Store(value) => {
                word.store(value, Relaxed);
                0
            }
            Step::Release(value) => {
                word.store(value, Release);
                0
            }
            Step::Add => word.fetch_add(1, AcqRel),
            Step::Exchange => word.compare_exchange(0, 50, AcqRel, Relaxed).unwrap_or_else(|now| 100 + now),
        }
    }
    let mut state: u64 = 1;
    let mut random = move |n: usize| {
        state ^= state << 13; // xorshift64 (Marsaglia 2003)
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as usize % n
    };
    for _ in 0..60 {
        let mut thread = |first: usize| -> Vec<(usize, Step)> {
            let step = |kind, value| match kind {
                0 => Step::Load,
                1 => Step::Acquire,
                2 => Step::Store(value),
                3 => Step::Release(value),
                4 => Step::Add,
                _ => Step::Exchange,
            };
            (0..=random(3)).map(|i| (random(2), step(random(6), first + i))).collect()
        };
        let program = (thread(10), thread(20));
        let run = |switch_at_shadows| {
            let program = program.clone();
            outcomes(switch_at_shadows, move || {
                let words = Arc::new([0, 0].map(ours::atomic::AtomicUsize::new));
                let (mine, theirs) = program.clone();
                let run = |steps: &[(usize, Step)], words: &[ours::atomic::AtomicUsize; 2]| -> Vec<usize> {
                    steps.iter().map(|(word, step)| take(*step, &words[*word])).collect()
                };
                let their_words = Arc::clone(&words);
                let other = ours::thread::spawn(move || run(&theirs, &their_words));
                let seen = run(&mine, &words);
                let theirs = other.join().unwrap();
                (seen, theirs, words[0].load(Relaxed), words[1].load(Relaxed))
            })
        };
        assert_eq!(run(false), run(true), "the program {program:?}");
    }
}
