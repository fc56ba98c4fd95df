//! TLB shootdown: what it costs to take pages away while another thread of the process runs on another CPU.
//!
//! A CPU keeps translations in its TLB, and no other CPU can look into it (x86) or clear it. So whoever unmaps or
//! protects pages interrupts every CPU on which a thread of the same process runs, and waits for the answers. ARM
//! tells the other CPUs by an instruction, without interrupts.
use std::{
    fs, io,
    sync::atomic::{
        AtomicBool,
        Ordering::{Acquire, Relaxed, Release},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    experiments::victim::spin,
    lab::sample::Sample,
    machine::{
        memory::{self, Mapping},
        pin_current_thread,
        sched::runq_of_this_thread,
    },
    measure::latency::{difference, histogram, ns, quantile, with_known},
};

/// How a page is taken away. Only this call is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// munmap(2) of pages that were touched.
    Unmap,
    /// mprotect(2) of touched pages to read-only; making them writable again needs no flush and is not timed.
    Protect,
}

/// The other thread of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// There is none.
    None,
    /// It sleeps: its CPU runs somebody else or idles.
    Asleep,
    /// It computes.
    Running,
}

/// Takes `pages` pages away again and again for that time, on `cpus[0]`, with the peer on `cpus[1]`; the calling
/// thread stays pinned.
///
/// Values: `call_ns` (median), `call_p99_ns`, and `ipis_per_call_count`: interrupts for TLB shootdowns on the whole
/// machine over the calls made, so other processes' are among them; absent where the kernel does not count them.
///
/// # Errors
/// What the system refused.
pub fn shootdown(
    call: Call,
    peer: Peer,
    pages: usize,
    time: Duration,
    cpus: [usize; 2],
) -> io::Result<Sample> {
    let (stop, ready) = (AtomicBool::new(false), AtomicBool::new(peer == Peer::None));
    thread::scope(|s| {
        let other = (peer != Peer::None).then(|| {
            s.spawn(|| {
                let pinned = pin_current_thread(cpus[1]);
                let runq_ns = runq_of_this_thread();
                let before = runq_ns();
                // E1 ready: Release -> the caller's Acquire: the peer is on its CPU before the first call is timed.
                ready.store(true, Release);
                // Relaxed: nothing but the word itself is told.
                while !stop.load(Relaxed) {
                    match peer {
                        Peer::Running => spin(),
                        _ => thread::park(),
                    }
                }
                (pinned, difference(before, runq_ns()))
            })
        });
        let pinned = pin_current_thread(cpus[0]);
        while !ready.load(Acquire) {
            thread::yield_now(); // E1
        }
        if peer == Peer::Asleep {
            thread::sleep(Duration::from_millis(1)); // until it parks
        }
        let begin = Instant::now();
        let taken = take_away(call, pages, time);
        stop.store(true, Relaxed);
        if let Some(other) = &other {
            other.thread().unpark();
        }
        let told = other.map(|o| o.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        let mut sample = taken?;
        let (peer_pinned, peer_waited) = told.unwrap_or((true, None));
        // A running peer that waits for its CPU does not run, and then nobody need be interrupted.
        if let (Peer::Running, Some(waited)) = (peer, peer_waited) {
            let share = waited as f64 / ns(begin.elapsed()).max(1) as f64;
            sample.receipts.runq_share = sample.receipts.runq_share.map(|own| own.max(share));
        }
        if !(pinned && peer_pinned) {
            sample.doubts.push("the two threads could not be pinned to two CPUs".into());
        }
        Ok(sample)
    })
}

fn take_away(call: Call, pages: usize, time: Duration) -> io::Result<Sample> {
    let page = memory::page_bytes();
    let fresh = || {
        let mut memory = Mapping::lazy(pages * page)?;
        memory.small_pages_only(); // one huge page would be one translation
        Ok::<_, io::Error>(memory)
    };
    let mut took = histogram();
    let mut memory = fresh()?;
    let mut once = || {
        (0..pages).for_each(|n| memory.touch(n * page));
        match call {
            Call::Unmap => {
                let old = std::mem::replace(&mut memory, fresh()?);
                let start = Instant::now();
                drop(old);
                Ok(start.elapsed())
            }
            Call::Protect => {
                let start = Instant::now();
                memory.set_writable(false)?;
                let elapsed = start.elapsed();
                memory.set_writable(true)?;
                Ok::<_, io::Error>(elapsed)
            }
        }
    };
    for _ in 0..16 {
        once()?;
    }
    let runq_ns = runq_of_this_thread();
    let (waited, before, begin) = (runq_ns(), tlb_interrupts(), Instant::now());
    while took.is_empty() || begin.elapsed() < time {
        took.saturating_record(ns(once()?));
    }
    let wall = ns(begin.elapsed()).max(1) as f64;
    let (ipis, waited) = (difference(before, tlb_interrupts()), difference(waited, runq_ns()));
    let calls = took.len() as f64;
    let values = [
        ("call_ns", Some(took.value_at_quantile(0.5) as f64)),
        ("call_p99_ns", quantile(&took, 0.99)),
        ("ipis_per_call_count", ipis.map(|n| n as f64 / calls)),
    ];
    let mut sample = with_known(Sample::default(), &values);
    sample.receipts.kept_count = Some(calls);
    sample.receipts.runq_share = waited.map(|w| w as f64 / wall);
    Ok(sample)
}

/// Interrupts for TLB shootdowns so far, of all CPUs; `None` where the kernel does not count them.
pub fn tlb_interrupts() -> Option<u64> {
    parse_tlb(&fs::read_to_string("/proc/interrupts").ok()?)
}

/// The sum of the line `TLB:` of `/proc/interrupts`, one number a CPU.
pub fn parse_tlb(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.trim_start().strip_prefix("TLB:"))?;
    let counts: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
    (!counts.is_empty()).then(|| counts.iter().sum())
}
