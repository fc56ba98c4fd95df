//! The managed heap: graphs survive every collector, the safepoint lets go whom it should, errors are values. No time is asserted.
//!
//! No libtest here (`harness = false`): MMTk allows one heap a process, so each scenario runs in a child, which is this very program.
#![allow(clippy::print_stdout, reason = "stands in for libtest's closing line")]
mod chains;
mod threads;

use std::{
    env,
    io::Read,
    process::{Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use chains::shuffle_chains;
use threads::*;
use underhood::heap::{Collector, Config, Heap, HeapError, Kind, LargeBudget, Mutator, OutOfMemory, Root};

const MIB: usize = 1 << 20;
/// Far beyond what a sound child needs; only a hang gets there.
const PATIENCE: Duration = Duration::from_secs(120);

type Scenario = (&'static str, &'static [Collector], fn(Collector));

const MOVING: &[Collector] = &[
    Collector::SemiSpace,
    Collector::GenCopy,
    Collector::GenImmix,
    Collector::MarkCompact,
    Collector::Compressor,
];
const GENERATIONAL: &[Collector] = &[Collector::GenCopy, Collector::GenImmix, Collector::StickyImmix];
const IMMIX: &[Collector] = &[Collector::Immix];
const SCENARIOS: &[Scenario] = &[
    ("a_graph_survives", &Collector::ALL, a_graph_survives),
    (
        "a_graph_survives_two_workers",
        &[Collector::GenImmix, Collector::ConcurrentImmix],
        a_graph_survives_two_workers,
    ),
    ("roots_follow_objects_that_move", MOVING, roots_follow_objects_that_move),
    ("an_old_object_keeps_a_young_one", GENERATIONAL, an_old_object_keeps_a_young_one),
    (
        "a_reference_hidden_while_marking_is_found",
        &[Collector::ConcurrentImmix],
        a_reference_hidden_while_marking_is_found,
    ),
    ("large_objects_stay_and_go", &Collector::ALL, large_objects_stay_and_go),
    ("an_empty_heap_can_be_collected", &Collector::ALL, an_empty_heap_can_be_collected),
    (
        "a_full_heap_is_an_error",
        &[Collector::Immix, Collector::GenImmix, Collector::MarkSweep],
        a_full_heap_is_an_error,
    ),
    ("mutators_come_and_go", &Collector::ALL, mutators_come_and_go),
    ("a_mutator_detaches_while_a_collection_waits", IMMIX, a_mutator_detaches_while_a_collection_waits),
    ("a_blocked_mutator_holds_nobody_up", &[Collector::SemiSpace], a_blocked_mutator_holds_nobody_up),
    ("a_mutator_that_panics_leaves", IMMIX, a_mutator_that_panics_leaves),
    (
        "the_watchdog_names_a_mutator_that_does_not_poll",
        IMMIX,
        the_watchdog_names_a_mutator_that_does_not_poll,
    ),
    (
        "a_budget_for_large_objects_collects_everything",
        &[Collector::GenImmix],
        a_budget_for_large_objects_collects_everything,
    ),
    ("a_heap_is_made_once", IMMIX, a_heap_is_made_once),
    ("a_root_is_for_its_own_mutator", IMMIX, a_root_is_for_its_own_mutator),
    ("a_setting_may_be_refused", IMMIX, a_setting_may_be_refused),
    ("too_little_memory_is_said_beforehand", IMMIX, too_little_memory_is_said_beforehand),
    ("a_limit_of_addresses_is_explained", IMMIX, a_limit_of_addresses_is_explained),
    ("addresses_are_reserved_and_not_charged", &Collector::ALL, addresses_are_reserved_and_not_charged),
];

/// In a child's environment: which scenario, and which collector.
const ERRAND: &str = "UNDERHOOD_TEST_MANAGED";

fn main() -> ExitCode {
    if let Ok(errand) = env::var(ERRAND) {
        let (name, collector) = errand.split_once('/').expect("scenario/collector");
        let collector = Collector::ALL.into_iter().find(|c| c.name() == collector).expect("a collector");
        let (_, _, run) = SCENARIOS.iter().find(|(n, ..)| *n == name).expect("a scenario");
        run(collector);
        return ExitCode::SUCCESS;
    }
    // `cargo test NAME` hands the name on; flags are libtest's and mean nothing here.
    let filter = env::args().skip(1).find(|a| !a.starts_with('-')).unwrap_or_default();
    let (mut passed, mut failed) = (0, 0);
    for (name, collectors, _) in SCENARIOS {
        for collector in *collectors {
            let title = format!("{name}/{}", collector.name());
            if !title.contains(&filter) {
                continue;
            }
            match child(&title) {
                Ok(()) => passed += 1,
                Err(why) => {
                    failed += 1;
                    println!("{title} FAILED: {why}");
                }
            }
        }
    }
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "test result: {result}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out"
    );
    ExitCode::from(u8::from(failed > 0))
}

fn child(errand: &str) -> Result<(), String> {
    let exe = env::current_exe().map_err(|e| e.to_string())?;
    let mut command = if errand.starts_with("a_limit_of_addresses") {
        let mut shell = Command::new("sh");
        shell.args(["-c", "ulimit -v 4000000 && exec \"$0\""]).arg(exe);
        shell
    } else {
        Command::new(exe)
    };
    let mut child = command.env(ERRAND, errand).stderr(Stdio::piped()).spawn().map_err(|e| e.to_string())?;
    let mut pipe = child.stderr.take().expect("piped");
    let words = thread::spawn(move || {
        let mut words = String::new();
        let _ = pipe.read_to_string(&mut words);
        words
    });
    let until = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait().map_err(|e| e.to_string())? {
            Some(status) => break Some(status),
            None if Instant::now() > until => {
                let _ = child.kill();
                let _ = child.wait();
                break None;
            }
            None => thread::sleep(Duration::from_millis(2)),
        }
    };
    let words = words.join().unwrap_or_default();
    match status {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(format!("{status}\n{words}")),
        None => Err(format!("hung\n{words}")),
    }
}

// ---- what the scenarios share

fn heap(collector: Collector, heap_bytes: usize) -> &'static Heap {
    Heap::start(Config::new(collector, heap_bytes)).expect("a heap of this size fits here")
}

/// Runs on a mutator thread of its own; a collection that does not end fails the test.
fn on(heap: &'static Heap, work: impl FnOnce(&mut Mutator) + Send + 'static) {
    heap.run(PATIENCE / 2, work).expect("every collection ends");
}

fn count(heap: &Heap, kind: Kind) -> usize {
    heap.pauses().iter().filter(|p| p.kind == kind).count()
}

/// Garbage of that many bytes in all. In two sizes: an Immix space fills the gaps between old objects only with objects of less than
/// a line (256 bytes).
fn litter(mutator: &mut Mutator, bytes: usize) {
    for _ in 0..bytes / 640 {
        drop(mutator.alloc(2, 104).expect("garbage is collected"));
        drop(mutator.alloc(2, 488).expect("garbage is collected"));
    }
}

/// Allocates garbage until that many more pauses have been.
fn litter_until(mutator: &mut Mutator, pauses: usize) {
    let goal = mutator.heap().pauses().len() + pauses;
    while mutator.heap().pauses().len() < goal {
        litter(mutator, MIB);
    }
}

// ---- scenarios

fn a_graph_survives(collector: Collector) {
    let heap = heap(collector, 24 * MIB);
    on(heap, |m| shuffle_chains(m, 7, 6000));
    assert!(heap.pauses().len() >= 6, "there were collections to survive");
    if collector == Collector::ConcurrentImmix {
        assert!(count(heap, Kind::FinalMark) > 0, "some of them marked while the program ran");
    }
}

fn a_graph_survives_two_workers(collector: Collector) {
    let heap = Heap::start(Config { workers: 2, ..Config::new(collector, 24 * MIB) }).expect("a heap");
    on(heap, |m| shuffle_chains(m, 11, 3000));
    assert!(heap.pauses().len() >= 3);
}

fn roots_follow_objects_that_move(collector: Collector) {
    let heap = heap(collector, 24 * MIB);
    on(heap, |m| {
        // The object in front of it dies, so a compacting collector has where to move it.
        let hole = m.alloc(0, 4000).expect("room");
        let root = m.alloc(0, 64).expect("room");
        m.payload_mut(&root).fill(42);
        let before = m.payload(m.at(&root)).as_ptr();
        drop(hole);
        m.collect();
        let after = m.payload(m.at(&root));
        assert!(after.iter().all(|&b| b == 42), "the payload came along");
        assert_ne!(before, after.as_ptr(), "the object moved, and its root knows where");
    });
}

fn an_old_object_keeps_a_young_one(collector: Collector) {
    let heap = heap(collector, 24 * MIB);
    on(heap, |m| {
        let old = m.alloc(64, 0).expect("room");
        m.collect();
        for i in 0..64 {
            // Known to the old object alone: without the write barrier a young collection would not find it.
            let young = m.alloc(0, 100).expect("room");
            m.payload_mut(&young).fill(i as u8);
            m.store(m.at(&old), i, Some(m.at(&young)));
        }
        litter_until(m, 3);
        for i in 0..64 {
            let young = m.load(m.at(&old), i).expect("it was stored");
            assert!(m.payload(young).iter().all(|&b| b == i as u8), "the young object is what it was");
        }
    });
    assert!(count(heap, Kind::Young) >= 1, "there was a young collection: {:?}", heap.pauses());
}

/// While the collector marks, references move from where it has not looked yet to where it looks no more: roots are read once, at the
/// beginning. Without the barrier before each write, what they refer to would be freed.
fn a_reference_hidden_while_marking_is_found(collector: Collector) {
    const LEAVES: u32 = 4000;
    let heap = heap(collector, 32 * MIB);
    on(heap, |m| {
        let table = m.alloc(LEAVES, 0).expect("room");
        for cycle in 0..4u8 {
            for i in 0..LEAVES {
                let holder = m.alloc(1, 0).expect("room");
                let leaf = m.alloc(0, 500).expect("room");
                m.payload_mut(&leaf).fill(cycle);
                m.store(m.at(&holder), 0, Some(m.at(&leaf)));
                m.store(m.at(&table), i, Some(m.at(&holder)));
            }
            // Objects that were allocated while it marks count as alive; these are older.
            while m.heap().pauses().last().map(|p| p.kind) != Some(Kind::InitialMark) {
                litter(m, 64 << 10);
            }
            let hidden: Vec<Root> = (0..LEAVES)
                .map(|i| {
                    let holder = m.load(m.at(&table), i).expect("it was stored");
                    let leaf = m.hold(m.load(holder, 0).expect("it was stored"));
                    m.store(holder, 0, None);
                    leaf
                })
                .collect();
            litter_until(m, 1); // the marking ends
            litter(m, 32 * MIB); // and what it freed is used again
            assert!(
                hidden.iter().all(|leaf| m.payload(m.at(leaf)).iter().all(|&b| b == cycle)),
                "what a root held is what it was"
            );
        }
    });
    assert!(count(heap, Kind::FinalMark) >= 4);
}

fn large_objects_stay_and_go(collector: Collector) {
    let heap = heap(collector, 48 * MIB);
    on(heap, |m| {
        let large = (m.heap().large_bytes() + 3 * MIB) as u32;
        let kept = m.alloc(1, large).expect("room");
        let leaf = m.alloc(0, 8).expect("room");
        m.payload_mut(&leaf).fill(9);
        m.store(m.at(&kept), 0, Some(m.at(&leaf)));
        drop(leaf);
        m.payload_mut(&kept).fill(77);
        let at = m.payload(m.at(&kept)).as_ptr();
        // Ten times the heap, all in all: the garbage must have gone.
        for _ in 0..480 * MIB / large as usize {
            let garbage = m.alloc(0, large).expect("large garbage is collected");
            let last = *m.payload(m.at(&garbage)).last().expect("it has bytes");
            assert_eq!(last, 0, "memory that is used again is cleared");
            *m.payload_mut(&garbage).last_mut().expect("it has bytes") = 255;
        }
        let kept = m.at(&kept);
        assert_eq!(at, m.payload(kept).as_ptr(), "a large object never moves");
        assert!(m.payload(kept).iter().all(|&b| b == 77));
        let leaf = m.load(kept, 0).expect("stored");
        assert!(m.payload(leaf).iter().all(|&b| b == 9), "what only it refers to lives");
    });
    assert!(!heap.pauses().is_empty());
}

fn an_empty_heap_can_be_collected(collector: Collector) {
    let heap = heap(collector, 16 * MIB);
    on(heap, |m| (0..3).for_each(|_| m.collect())); // before there was an object
    on(heap, |m| litter(m, MIB)); // everything dies
    on(heap, |m| {
        m.collect();
        shuffle_chains(m, 5, 300);
    });
}

fn a_full_heap_is_an_error(collector: Collector) {
    let heap = heap(collector, 16 * MIB);
    on(heap, |m| {
        let too_big = m.alloc(0, 40 << 20);
        assert!(
            matches!(too_big, Err(OutOfMemory { object_bytes, heap_bytes }) if object_bytes > 40 << 20 && heap_bytes == 16 * MIB)
        );
        for payload in [1000, 100_000] {
            let mut chain: Option<Root> = None;
            let mut length = 0;
            let error = loop {
                match m.alloc(1, payload) {
                    Ok(node) => {
                        m.payload_mut(&node).fill(5);
                        m.store(m.at(&node), 0, chain.as_ref().map(|c| m.at(c)));
                        (chain, length) = (Some(node), length + 1);
                    }
                    Err(e) => break e,
                }
                assert!(length < 16 * MIB / payload as usize, "a heap holds no more than its size");
            };
            assert!(
                error.object_bytes >= payload as usize && error.to_string().contains("16 MiB"),
                "{error}"
            );
            assert!(length > 2 * MIB / payload as usize, "and a good part of it: {length}");
            let mut node = chain.as_ref().map(|c| m.at(c));
            let mut found = 0;
            while let Some(here) = node {
                assert!(m.payload(here).iter().all(|&b| b == 5));
                (node, found) = (m.load(here, 0), found + 1);
            }
            assert_eq!(found, length, "what was there before the error is still there");
            drop(chain);
            litter(m, 4 * MIB); // and when it has gone, there is room again
        }
    });
}

fn a_budget_for_large_objects_collects_everything(collector: Collector) {
    let budget = LargeBudget { threshold_bytes: 85_000, budget_bytes: 8 * MIB };
    let heap = Heap::start(Config { large_budget: Some(budget), ..Config::new(collector, 128 * MIB) })
        .expect("a heap");
    let churn = |payload: u32| {
        let before = count(heap, Kind::Full);
        on(heap, move |m| {
            (0..64 * MIB / payload as usize).for_each(|_| drop(m.alloc(0, payload).expect("room")))
        });
        count(heap, Kind::Full) - before
    };
    assert_eq!(churn(80_000), 0, "objects below the threshold are freed in young collections or not at all");
    // An object and its header are a little over 1 MiB, so the eighth since the last collection exceeds the budget.
    assert_eq!(churn(1 << 20), 8, "64 MiB in large objects pass a budget of 8 MiB eight times");
}

fn a_heap_is_made_once(collector: Collector) {
    let heap = heap(collector, 16 * MIB);
    assert_eq!(Heap::start(Config::new(collector, 16 * MIB)).err(), Some(HeapError::Started));
    let m = heap.attach().expect("a mutator");
    assert_eq!(heap.attach().err(), Some(HeapError::Attached));
    m.detach();
    assert!(heap.attach().is_ok(), "again, once it has left");
    assert_eq!(heap.config().collector, collector);
    assert!(heap.large_bytes() > 4096 && heap.large_bytes() < MIB);
}

fn a_root_is_for_its_own_mutator(collector: Collector) {
    let heap = heap(collector, 16 * MIB);
    let mut first = heap.attach().expect("a mutator");
    let root = first.alloc(0, 8).expect("room");
    first.detach();
    let second = heap.attach().expect("a mutator");
    let use_it = std::panic::AssertUnwindSafe(|| second.payload(second.at(&root)).len());
    assert!(std::panic::catch_unwind(use_it).is_err(), "its object may be gone");
}

fn a_setting_may_be_refused(collector: Collector) {
    let error = Heap::start(Config { workers: 0, ..Config::new(collector, 16 * MIB) })
        .expect_err("a collector needs a thread");
    assert!(error.to_string().contains("threads = 0"), "{error}");
}

fn too_little_memory_is_said_beforehand(collector: Collector) {
    if underhood::machine::memory::Room::now().available_bytes.is_none() {
        return; // this system doesn't tell
    }
    let error = Heap::start(Config::new(collector, 1 << 44)).expect_err("nobody has 16 TiB");
    assert!(matches!(error, HeapError::Memory { .. }), "{error}");
    assert!(error.to_string().contains("MiB are available"), "{error}");
    heap(collector, 16 * MIB); // and the one try of this process is not used up
}

fn a_limit_of_addresses_is_explained(collector: Collector) {
    let error = Heap::start(Config::new(collector, 16 * MIB)).expect_err("the limit forbids it");
    assert!(matches!(error, HeapError::Addresses { .. }), "{error}");
    assert!(error.to_string().contains("ulimit -v unlimited"), "says what to do: {error}");
}

/// What strict overcommit (`vm.overcommit_memory` = 2) would charge: private memory that may be written. It ignores MAP_NORESERVE, so that
/// flag is not asked for. The 15 TiB of addresses must not be among it, or no heap could be made there.
fn addresses_are_reserved_and_not_charged(collector: Collector) {
    let before = charged_and_mapped();
    let heap = Heap::start(Config::new(collector, 64 * MIB)).expect("a heap");
    let mut m = heap.attach().expect("the only mutator");
    let kept: Vec<Root> = (0..8).map(|_| m.alloc(0, 1 << 20).expect("8 of 64 MiB")).collect();
    let Some(((charged_before, _), (charged, mapped))) = before.zip(charged_and_mapped()) else {
        return; // no /proc/self/smaps: nothing to look at
    };
    drop(kept);
    assert!(mapped > 10 << 40, "{mapped} bytes of addresses: is MMTk another one?");
    let more = charged.saturating_sub(charged_before);
    assert!((8 << 20..1 << 30).contains(&more), "{more} bytes would be charged for a heap of 64 MiB");
}

/// Bytes of private writable mappings, and of all.
fn charged_and_mapped() -> Option<(u64, u64)> {
    let text = std::fs::read_to_string("/proc/self/smaps").ok()?;
    let (mut charged, mut mapped, mut counts) = (0, 0, false);
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("Size:"), Some(kib)) => {
                let bytes = kib.parse::<u64>().ok()? * 1024;
                mapped += bytes;
                charged += if counts { bytes } else { 0 };
            }
            (Some(range), Some(rights)) if range.contains('-') && !range.ends_with(':') => {
                counts = rights.contains('w') && rights.ends_with('p');
            }
            _ => {}
        }
    }
    Some((charged, mapped))
}
