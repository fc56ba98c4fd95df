//! The labs that compare allocators: bursts, hand-overs, what is given back; every claim can be held and refuted.
//! Shapes, counts and invariants; never a time.
use crate::all::{alloc_compare, alloc_mmap_lock};

use std::{collections::BTreeSet, time::Duration};

use underhood::{
    contenders::alloc::here,
    experiments::{
        burst::{BURST, Burst, crowd, faults_per_block},
        bystander::{Antagonist, Watched, watch_all},
        ended::{Threads, ended},
        handed::handed,
        returned::{Keep, Load, returned},
        shootdown::{Call, Peer, parse_tlb, shootdown},
        victim::Victim,
    },
    lab::{
        Lab, Step,
        plan::{Mode, Plan},
    },
    machine::{allowed_cpus, memory::Mapping},
};

fn labs() -> [Lab; 2] {
    [alloc_compare::lab(), alloc_mmap_lock::lab()]
}

fn two_cpus() -> Option<[usize; 2]> {
    if let [first, second, ..] = allowed_cpus()[..] { Some([first, second]) } else { None }
}

#[test]
fn a_burst_is_full_or_empty() {
    for &allocator in here() {
        let mut burst = Burst::new(allocator, 100);
        assert_eq!(burst.drain(), 0);
        burst.fill();
        burst.fill();
        burst.use_all();
        assert_eq!(burst.drain(), BURST, "{}: filling a full burst adds nothing", allocator.id());
        assert_eq!((crowd(allocator, 100).make)(3).len(), 3, "a lane for each thread");
        if let Some(faults) = faults_per_block(allocator, 16) {
            assert!(faults < 1.0, "{}: {faults} faults for each of some small blocks", allocator.id());
        }
    }
}

#[test]
fn lists_travel_both_ways_and_every_block_is_freed() {
    let Some(cpus) = two_cpus() else { return };
    for &allocator in here() {
        for away in [false, true] {
            let sample = handed(allocator, 256, away, Duration::from_millis(5), cpus);
            let ops = sample.receipts.ops_count.unwrap();
            assert!(ops >= BURST as f64 && ops % BURST as f64 == 0.0, "{sample:?}");
            if sample.unmeasured.is_none() {
                let pair = sample.values["malloc_ns"] + sample.values["free_ns"];
                assert!((sample.values["pair_ns"] - pair).abs() < 1e-6, "{sample:?}");
                let bursts = ops / BURST as f64;
                assert!(sample.receipts.kept_count.unwrap() <= bursts, "no list is freed twice: {sample:?}");
            }
        }
    }
}

#[test]
fn what_stays_is_what_was_asked_for() {
    let stay = |keep: Keep| (0..64).filter(|n| keep.stays(*n, 64)).collect::<Vec<_>>();
    assert!(stay(Keep::Nothing).is_empty());
    assert_eq!(stay(Keep::Last), [63]);
    assert_eq!(stay(Keep::OneIn(16)), [0, 16, 32, 48]);
    let cpus = two_cpus(); // asked once: afterwards this thread is pinned to one
    for &allocator in here() {
        for (keep, live) in [(Keep::Nothing, 0.0), (Keep::Last, 1.0 / 64.0), (Keep::OneIn(16), 1.0 / 16.0)] {
            let load = Load { bytes: 16 << 10, count: 64, keep, idle: None, cpus };
            let sample = returned(allocator, load).unwrap();
            assert!((sample.values["live_share"] - live).abs() < 1e-9, "{sample:?}");
            assert!(!sample.values.contains_key("rss_idle_share"), "it was not asked again: {sample:?}");
            let purges = allocator.purge();
            assert_eq!(sample.values.contains_key("purge_ns"), purges, "absent, not zero: {sample:?}");
            let waits = sample.values.contains_key("purge_wait_max_ns");
            assert_eq!(waits, purges && cpus.is_some(), "{sample:?}");
        }
    }
}

#[test]
fn blocks_outlive_their_threads() {
    for &allocator in here() {
        for at_once in [false, true] {
            let threads = Threads { count: 3, blocks: 5, bytes: 16 << 10, at_once };
            let sample = ended(allocator, threads).unwrap();
            assert_eq!(sample.receipts.ops_count, Some(15.0));
            assert_eq!(sample.values.contains_key("end_ns"), !at_once, "a crowd waits for CPUs: {sample:?}");
            assert!(sample.values["malloc_ns"] > 0.0 && sample.values["free_ns"] > 0.0, "{sample:?}");
            let told = sample.values.contains_key("rss_full_share");
            assert_eq!(
                sample.values.contains_key("rss_purged_share"),
                told && allocator.purge(),
                "{sample:?}"
            );
        }
    }
    let huge = Threads { count: 2, blocks: 1, bytes: 1 << 46, at_once: true };
    assert!(ended(here().next().unwrap(), huge).is_err(), "64 TiB are refused");
}

#[test]
fn on_one_cpu_nobody_is_watched_and_the_purge_still_happens() {
    let glibc = here().next().unwrap();
    let load = Load { bytes: 4096, count: 16, keep: Keep::Last, idle: Some(Duration::ZERO), cpus: None };
    let sample = returned(glibc, load).unwrap();
    assert!(sample.values["purge_ns"] > 0.0 && !sample.values.contains_key("calm_wait_max_ns"), "{sample:?}");
    let plan = Plan::new(Mode::Smoke, vec![0]);
    let samples = step("elsewhere").run(&plan, &["mimalloc"], &["away"]);
    assert!(samples[0].unmeasured.as_deref().is_some_and(|why| why.contains("2 CPUs")), "{samples:?}");
}

#[test]
fn a_watch_ends_when_the_work_does_even_by_a_panic() {
    let Some(cpus) = two_cpus() else { return };
    let mut watched = Watched::new();
    assert_eq!(watched.beside(Victim::Map, cpus, || 7).unwrap(), 7);
    assert_eq!(watched.slots, 1);
    let broken =
        std::panic::catch_unwind(|| Watched::new().beside(Victim::Spin, cpus, || panic!("the work failed")));
    assert!(broken.is_err());
}

#[test]
fn every_antagonist_does_whole_cycles_beside_every_victim() {
    use Antagonist::{Compute, Forget, MapUnmap, Pooled, Populate, Protect, Smaps};
    let Some(cpus) = two_cpus() else { return };
    let beside = [Compute, MapUnmap, Populate, Protect, Forget, Smaps, Pooled];
    for victim in [Victim::Fault, Victim::Map, Victim::Sleep, Victim::Spin] {
        for (watched, antagonist) in
            watch_all(victim, &beside, 1 << 20, Duration::ZERO, cpus).into_iter().zip(beside)
        {
            // Only Linux has all of them.
            assert!(watched.is_ok() || !cfg!(target_os = "linux"), "{victim:?} {antagonist:?} {watched:?}");
            if let Ok(watched) = watched {
                assert!(watched.cycles >= watched.slots && watched.slots == 2, "{watched:?}");
            }
        }
    }
}

#[test]
fn a_page_can_be_taken_away_and_used_again() {
    let Some(cpus) = two_cpus() else { return };
    for call in [Call::Unmap, Call::Protect] {
        for peer in [Peer::None, Peer::Asleep, Peer::Running] {
            let sample = shootdown(call, peer, 2, Duration::from_millis(1), cpus).unwrap();
            assert!(sample.values["call_ns"] > 0.0 && sample.receipts.kept_count >= Some(1.0), "{sample:?}");
        }
    }
    let mut memory = Mapping::lazy(1 << 16).unwrap();
    memory.set_writable(false).unwrap();
    assert!(std::panic::catch_unwind(move || memory.touch(0)).is_err(), "no signal, but a panic");
    let mut memory = Mapping::lazy(1 << 16).unwrap();
    assert!(std::panic::catch_unwind(move || memory.forget_part(1 << 15, (1 << 15) + 1)).is_err());
}

#[test]
fn the_kernels_count_of_shootdowns_is_read() {
    let text = "           CPU0       CPU1\n  0:         10          0   IO-APIC   2-edge      timer\n\
                TLB:       1200         34   TLB shootdowns\nTRM:          0          0   Thermal event interrupts\n";
    assert_eq!(parse_tlb(text), Some(1234));
    assert_eq!(parse_tlb("IPI0:  5  6  Rescheduling interrupts\n"), None);
    assert_eq!(parse_tlb("TLB:   TLB shootdowns\n"), None);
}

#[test]
fn every_step_answers_every_pair_and_says_what_is_not_there() {
    let plan = Plan::new(Mode::Smoke, allowed_cpus());
    for step in labs().into_iter().flat_map(|lab| lab.steps) {
        let (cases, params) = (step.cases(), step.params());
        let samples = step.run(&plan, &cases, &params);
        let pairs: Vec<_> = samples.iter().map(|s| (s.case.as_str(), s.param.as_str())).collect();
        let unique: BTreeSet<_> = pairs.iter().copied().collect();
        assert_eq!(unique.len(), pairs.len(), "{}: a pair was answered twice", step.name);
        for case in &cases {
            assert!(params.iter().all(|p| unique.contains(&(*case, *p))), "{} {case}", step.name);
        }
        for sample in samples.iter().filter(|s| s.unmeasured.is_none()) {
            assert!(sample.values.contains_key(step.headline), "{} {sample:?}", step.name);
            assert!(sample.values.values().all(|v| v.is_finite() && *v >= 0.0), "{sample:?}");
        }
    }
}

fn step(name: &str) -> Step {
    labs().into_iter().flat_map(|lab| lab.steps).find(|s| s.name == name).unwrap()
}
