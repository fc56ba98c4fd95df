//! Whom does a reader-writer lock let in first? One thread of one kind against a crowd of the other: a writer among readers, a reader among
//! writers.
use std::{
    sync::atomic::{
        AtomicBool, AtomicU64, AtomicUsize,
        Ordering::{Relaxed, SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    contenders::lock::Lock,
    lab::sample::{Sample, Side},
    measure::order::Order,
    stats,
};

/// Threads of the crowd. Their holds overlap, so that the lock is hardly ever free of them.
pub const CROWD: usize = 3;
/// How long the crowd holds, asleep: no CPU is short, and a loaded machine shows the same.
pub const HOLD: Duration = Duration::from_millis(1);
/// How long the lone thread stays away between two turns: at random between these, so that it does not march in step with the holds.
const AWAY: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(3)];

/// Who is alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lone {
    /// One writer among readers.
    Writer,
    /// One reader among writers.
    Reader,
}

/// The lone thread comes again and again for that long, against [`CROWD`] threads that come back at once. When the time is over the crowd
/// leaves, so the lone thread always gets its last turn; that wait counts too. If the end cut it short, it is a bound from below.
///
/// Values: `overtakes_count`, entries of the crowd between asking and entering, for each turn of the lone thread; `wait_p50_ns` and
/// `wait_max_ns` of its waits; `others_max_ns`, the longest wait in the crowd; `turns_count`.
pub fn lone(lock: &Lock, who: Lone, time: Duration, seed: u64, param: &str) -> Sample {
    let (enter, over) = (lock.door(), AtomicBool::new(false));
    let (entered, there, longest) = (AtomicU64::new(0), AtomicUsize::new(0), AtomicU64::new(0));
    let mut waits = Vec::new();
    let (mut overtakes, mut is_cut) = (0, false);
    thread::scope(|s| {
        for i in 0..CROWD {
            let (enter, over, entered, there, longest) = (&enter, &over, &entered, &there, &longest);
            s.spawn(move || {
                // One after the other, so that their holds overlap and do not coincide.
                thread::sleep(HOLD * u32::try_from(i).unwrap_or(0) / u32::try_from(CROWD).unwrap_or(1));
                let mut is_first = true;
                while !over.load(Relaxed) {
                    let asked = Instant::now();
                    enter(who == Lone::Reader, &mut || {
                        longest.fetch_max(ns(asked.elapsed()), Relaxed);
                        entered.fetch_add(1, SeqCst);
                        if std::mem::take(&mut is_first) {
                            there.fetch_add(1, SeqCst);
                        }
                        thread::sleep(HOLD);
                    });
                }
            });
        }
        // A crowd of writers may starve one of its own: so not for ever.
        let patience = Instant::now() + 10 * HOLD;
        while there.load(SeqCst) < CROWD && Instant::now() < patience {
            thread::yield_now();
        }
        let lone = s.spawn(|| {
            let until = Instant::now() + time;
            let (mut waits, mut overtakes, mut is_cut) = (Vec::new(), 0, false);
            let mut dice = Order::new(seed);
            while Instant::now() < until {
                let (before, asked) = (entered.load(SeqCst), Instant::now());
                let (mut waited, mut since) = (0, before);
                enter(who == Lone::Writer, &mut || {
                    waited = ns(asked.elapsed());
                    since = entered.load(SeqCst);
                    is_cut = Instant::now() >= until;
                });
                waits.push(waited as f64);
                overtakes += since - before;
                let [least, most] = AWAY;
                thread::sleep(least + (most - least) * u32::try_from(dice.below(1_000)).unwrap_or(0) / 1_000);
            }
            (waits, overtakes, is_cut)
        });
        thread::sleep(time);
        over.store(true, Relaxed);
        (waits, overtakes, is_cut) = lone.join().expect("the lone thread does not panic");
    });
    let turns = waits.len() as f64;
    let longest_wait = waits.iter().copied().fold(0.0, f64::max);
    let median = stats::median(&waits).unwrap_or_default();
    let cut =
        |sample: Sample, name: &str, value: f64| match is_cut && waits.last().is_some_and(|w| value >= *w) {
            true => sample.bounded(name, value, Side::AtLeast),
            false => sample.with(name, value),
        };
    let sample = Sample::new(lock.as_ref().id, param)
        .with("overtakes_count", overtakes as f64 / turns)
        .with("others_max_ns", longest.load(Relaxed) as f64)
        .with("turns_count", turns);
    cut(cut(sample, "wait_p50_ns", median), "wait_max_ns", longest_wait)
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
