//! loom on the litmus tests of `tests/litmus/`: the outcomes that it finds against those that RC11 allows.
//!
//! The same steps that the checker tries and that `underhood litmus` runs, here on loom's atomics. Each difference is in a list with its reason;
//! one that is not, or is no more, fails.
use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use loom::{
    sync::atomic::{AtomicI64, Ordering, Ordering::*, fence},
    thread,
};
use underhood::litmus::{
    STEPS, check,
    program::{Change, Item, Memory, Op, Outcomes, Strength, Test, Value, When, walk},
    read,
};

/// Where loom and RC11 differ.
struct Difference {
    test: &'static str,
    /// Found by loom, and forbidden.
    more: &'static [&'static str],
    /// Allowed, and not found by loom.
    fewer: &'static [&'static str],
    reason: &'static str,
}

const ACQ_REL: &str = "loom plays SeqCst accesses as Release and Acquire (tokio-rs/loom#180)";
const TORN: &str =
    "loom lets a store come between the read and the write of a read-modify-write (tokio-rs/loom#254, #389)";

const MISSED: &str = "a thread's own load hides from loom that another one's store could come before it (tokio-rs/loom#166, #392)";

/// Reviewed by hand.
const DIFFERENCES: &[Difference] = &[
    Difference { test: "2+2w_seq_cst", more: &["x=1 y=1"], fewer: &[], reason: ACQ_REL },
    Difference {
        test: "cas_weak",
        more: &[],
        fewer: &["0:r0=0"],
        reason: "no compare-and-exchange of loom fails without cause",
    },
    Difference { test: "iriw_seq_cst", more: &["2:r0=1 2:r1=0 3:r0=1 3:r1=0"], fewer: &[], reason: ACQ_REL },
    Difference { test: "load_then_store", more: &[], fewer: &["0:r0=0 1:r0=1"], reason: MISSED },
    Difference { test: "peterson_seq_cst", more: &["0:in=1 1:in=1"], fewer: &[], reason: ACQ_REL },
    Difference { test: "rmw_store", more: &["1:r0=0 x=2"], fewer: &[], reason: TORN },
    Difference { test: "sb_seq_cst", more: &["0:r0=0 1:r0=0"], fewer: &[], reason: ACQ_REL },
    Difference {
        test: "store_release_sequence",
        more: &["1:r0=2 1:r1=0"],
        fewer: &[],
        reason: "loom has the release sequences of C++20, which a later store of the same thread ends",
    },
];

struct Words(Arc<Vec<AtomicI64>>);

fn atomic(order: Strength) -> Ordering {
    match order {
        Strength::Plain | Strength::Relaxed => Relaxed,
        Strength::Acquire => Acquire,
        Strength::Release => Release,
        Strength::AcqRel => AcqRel,
        Strength::SeqCst => SeqCst,
    }
}

impl Memory for Words {
    fn words(&self) -> usize {
        self.0.len()
    }
    fn load(&mut self, word: usize, order: Strength) -> Value {
        self.0[word].load(atomic(order))
    }
    fn store(&mut self, word: usize, value: Value, order: Strength) {
        self.0[word].store(value, atomic(order));
    }
    fn change(&mut self, word: usize, change: &Change<Value>) -> Option<(Value, bool)> {
        let (word, order, failure) = (&self.0[word], atomic(change.order), atomic(change.failure));
        let once = |expected| {
            let new = change.written(expected)?;
            let done = word.compare_exchange(expected, new, order, failure);
            Some(done.map_or_else(|read| (read, false), |read| (read, true)))
        };
        match change.when {
            When::Always => match change.op {
                None => Some((word.swap(change.operand, order), true)),
                Some(Op::Add) => Some((word.fetch_add(change.operand, order), true)),
                other => panic!("{other:?} is not needed by these tests"),
            },
            When::Equal(expected) => once(expected),
            When::Await(expected) => loop {
                let tried = once(expected)?;
                if tried.1 {
                    return Some(tried);
                }
                thread::yield_now();
            },
            When::Differs(_) => panic!("not needed by these tests"),
        }
    }
    fn fence(&mut self, order: Strength) {
        if order > Strength::Relaxed {
            fence(atomic(order));
        }
    }
}

/// The outcomes that loom finds. The last thread of the test is loom's first.
fn found(test: &Test) -> Outcomes {
    let found = Arc::new(Mutex::new(BTreeSet::new()));
    let (test, into) = (Arc::new(test.clone()), Arc::clone(&found));
    let mut model = loom::model::Builder::new();
    // Four threads without a bound take hours.
    model.preemption_bound = (test.threads.len() > 3).then_some(2);
    model.check(move || {
        let words = Arc::new(test.words.iter().map(|w| AtomicI64::new(w.initial)).collect::<Vec<_>>());
        let play = |thread: usize| {
            let (test, mut words) = (Arc::clone(&test), Words(Arc::clone(&words)));
            move || {
                let of = &test.threads[thread];
                let mut regs = of.initial.clone();
                assert!(walk(&of.steps, &mut regs, &mut words), "no thread of these tests gets stuck");
                regs
            }
        };
        let last = test.threads.len() - 1;
        let others: Vec<_> = (0..last).map(|t| thread::spawn(play(t))).collect();
        let own = play(last)();
        let mut regs: Vec<Vec<Value>> = others.into_iter().map(|t| t.join().expect("it ends")).collect();
        regs.push(own);
        let value = |item: &Item| match *item {
            Item::Reg(thread, reg) => regs[thread][reg],
            Item::Word(word) => words[word].load(SeqCst),
        };
        let outcome = test.items.iter().map(value).collect();
        into.lock().expect("no holder panics").insert(outcome);
    });
    let outcomes = found.lock().expect("no holder panics");
    outcomes.clone()
}

#[test]
fn loom_finds_what_rc11_allows_or_a_reason_says_why_not() {
    let mut complaints = Vec::new();
    let folder = crate::root().join("tests/litmus");
    let mut files: Vec<_> =
        fs::read_dir(folder).expect("it is there").map(|e| e.expect("a file").path()).collect();
    files.sort();
    let mut unused: BTreeSet<&str> = DIFFERENCES.iter().map(|d| d.test).collect();
    for file in &files {
        let test = read(&fs::read_to_string(file).expect("it can be read")).expect("a test");
        let allowed = check(&test, STEPS, &|| false);
        assert!(allowed.complete, "{}", test.name);
        let found = found(&test);
        let shown = |set: BTreeSet<&Vec<Value>>| set.iter().map(|o| test.outcome(o)).collect::<Vec<_>>();
        let more = shown(found.difference(&allowed.rc11).collect());
        let fewer = shown(allowed.rc11.difference(&found).collect());
        let known = DIFFERENCES.iter().find(|d| d.test == test.name);
        let expected = known.map_or((&[][..], &[][..]), |d| (d.more, d.fewer));
        unused.remove(test.name.as_str());
        if more != expected.0 || fewer != expected.1 {
            complaints.push(format!("{}: more {more:?}, fewer {fewer:?}", test.name));
        }
        if let Some(Difference { reason, .. }) = known {
            println!("{:24} {more:?} more, {fewer:?} fewer: {reason}", test.name);
        }
    }
    assert!(unused.is_empty(), "no such tests: {unused:?}");
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}
