//! Threads that end while their blocks live on: what their heaps leave behind, and whether anybody uses it again.
//!
//! A thread gets blocks, hands them to the thread that started it, and ends; when all have ended, that one frees the
//! blocks. Whatever a dead thread's cache or heap still holds is then nobody's. Two generations do the same: memory of the
//! first that the second can't use is lost. Pattern after mleak in mimalloc-bench,
//! <https://github.com/daanx/mimalloc-bench>.
use std::{
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use crate::{
    contenders::alloc::{ALIGN, Allocator, Block},
    experiments::cycle::tuned,
    lab::sample::Sample,
    machine::memory,
    measure::latency::{ns, with_known},
    stats,
};

/// What the threads do.
#[derive(Clone, Copy, Debug)]
pub struct Threads {
    /// How many in a generation.
    pub count: usize,
    /// Blocks of each.
    pub blocks: usize,
    /// Bytes of a block.
    pub bytes: usize,
    /// All live before the first ends; else each ends before the next begins.
    pub at_once: bool,
}

/// What a generation left behind.
struct Generation {
    full: Option<u64>,
    after: Option<u64>,
    /// Of a block, with its first writes.
    malloc_ns: f64,
    /// Of a block, freed when its thread has ended.
    free_ns: f64,
    /// From a thread's last look at the clock until the one that waits for it runs again. Absent where threads end in a
    /// crowd: then they wait for a CPU.
    end_ns: Option<f64>,
}

/// Runs two generations of threads. Meaningful only in a process that did nothing with this allocator before.
///
/// Values: `rss_full_share` while all blocks live and their threads are gone, `rss_after_share` when they are freed,
/// `rss_purged_share` after a purge by the calling thread (absent where there is none): resident bytes above the start, as
/// share of what was allocated; the first generation's. `rss_again_ratio`: the most that was resident in the second, over
/// the first. `malloc_ns`, `free_ns` for a block, `end_ns` for the end of a thread: the start of a thread is not in it.
///
/// # Errors
/// What the allocator refused; a block that does not hold what was written; a thread that could not be started.
pub fn ended(allocator: &'static Allocator, threads: Threads) -> Result<Sample, String> {
    allocator.check(threads.bytes, ALIGN).map_err(|e| e.to_string())?;
    let all = (threads.count * threads.blocks * threads.bytes) as f64;
    // The lists' own pages and a thread's stack are part of the start: a first thread, and room for all blocks.
    let mut blocks: Vec<Block> = Vec::with_capacity(threads.count * threads.blocks);
    thread::spawn(|| ()).join().map_err(|_| "a thread that does nothing panicked")?;
    let base = memory::resident_bytes();
    let first = generation(allocator, threads, &mut blocks, base)?;
    let second = generation(allocator, threads, &mut blocks, base)?;
    let purged = allocator.purge().then(|| above(base)).flatten();
    let share = |bytes: Option<u64>| bytes.map(|b| b as f64 / all);
    let values = [
        ("rss_full_share", share(first.full)),
        ("rss_after_share", share(first.after)),
        ("rss_purged_share", share(purged)),
        ("rss_again_ratio", second.full.zip(first.full).map(|(b, a)| b as f64 / a.max(1) as f64)),
        ("malloc_ns", Some(first.malloc_ns)),
        ("free_ns", Some(first.free_ns)),
        ("end_ns", first.end_ns),
    ];
    let mut sample = with_known(Sample::default(), &values);
    sample.receipts.ops_count = Some((threads.count * threads.blocks) as f64);
    sample.doubts = tuned(allocator);
    Ok(sample)
}

/// A thread's blocks, how long it took to get them, and its last look at the clock.
type Told = (Vec<Result<Block, String>>, Duration, Instant);

fn generation(
    allocator: &'static Allocator,
    threads: Threads,
    blocks: &mut Vec<Block>,
    base: Option<u64>,
) -> Result<Generation, String> {
    let all_live = Barrier::new(if threads.at_once { threads.count } else { 1 });
    let (mut malloc_ns, mut end_ns) = (Vec::new(), Vec::new());
    let work = || -> Told {
        let start = Instant::now();
        let mut mine = Vec::with_capacity(threads.blocks);
        for _ in 0..threads.blocks {
            let block = Block::new(allocator, threads.bytes, ALIGN).map_err(|e| e.to_string());
            mine.push(block.map(|mut b| {
                b.touch_every(memory::page_bytes());
                b
            }));
        }
        let took = start.elapsed();
        // Reached whatever was refused above: nobody waits for a thread that gave up.
        all_live.wait();
        (mine, took, Instant::now())
    };
    thread::scope(|s| -> Result<(), String> {
        let mut take = |running: thread::ScopedJoinHandle<'_, Told>| {
            let (mine, took, last) = running.join().map_err(|_| "a thread panicked".to_string())?;
            end_ns.push(ns(last.elapsed()) as f64);
            malloc_ns.push(ns(took) as f64 / threads.blocks as f64);
            mine.into_iter().try_for_each(|block| block.map(|b| blocks.push(b)))
        };
        if threads.at_once {
            let running: Vec<_> = (0..threads.count).map(|_| s.spawn(work)).collect();
            return running.into_iter().try_for_each(&mut take);
        }
        (0..threads.count).try_for_each(|_| take(s.spawn(work)))
    })?;
    let full = above(base);
    if blocks.iter().any(|b| !b.holds_touch()) {
        return Err(format!("{}: a block does not hold what its thread wrote", allocator.id()));
    }
    let (count, start) = (blocks.len(), Instant::now());
    blocks.clear();
    let free_ns = ns(start.elapsed()) as f64 / count.max(1) as f64;
    let mid = |all: &[f64]| stats::median(all).unwrap_or_default();
    Ok(Generation {
        full,
        after: above(base),
        malloc_ns: mid(&malloc_ns),
        free_ns,
        end_ns: (!threads.at_once).then(|| mid(&end_ns)),
    })
}

fn above(base: Option<u64>) -> Option<u64> {
    Some(memory::resident_bytes()?.saturating_sub(base?))
}
