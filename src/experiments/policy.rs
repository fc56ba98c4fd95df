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

use crate::{contenders::lock::Lock, lab::sample::Sample, stats};

/// Threads of the crowd. Their holds overlap, so that the lock is hardly ever free of them.
pub const CROWD: usize = 3;
/// How long the crowd holds, asleep: no CPU is short, and a loaded machine shows the same.
pub const HOLD: Duration = Duration::from_millis(1);
/// How long the lone thread stays away between two turns.
const AWAY: Duration = Duration::from_millis(2);

/// Who is alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lone {
    /// One writer among readers.
    Writer,
    /// One reader among writers.
    Reader,
}

/// The lone thread comes again and again for that long, against [`CROWD`] threads that come back at once. When the time is over the crowd
/// leaves, so the lone thread always gets its last turn; that wait counts too, and was cut short.
///
/// Values: `overtakes_count`, entries of the crowd between asking and entering, for each turn of the lone thread; `wait_p50_ns` and
/// `wait_max_ns` of its waits; `others_max_ns`, the longest wait in the crowd; `turns_count`.
pub fn lone(lock: &Lock, who: Lone, time: Duration, param: &str) -> Sample {
    let (enter, over) = (lock.door(), AtomicBool::new(false));
    let (entered, there, longest) = (AtomicU64::new(0), AtomicUsize::new(0), AtomicU64::new(0));
    let mut waits = Vec::new();
    let mut overtakes = 0;
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
            let (mut waits, mut overtakes) = (Vec::new(), 0);
            while Instant::now() < until {
                let (before, asked) = (entered.load(SeqCst), Instant::now());
                let (mut waited, mut since) = (0, before);
                enter(who == Lone::Writer, &mut || {
                    waited = ns(asked.elapsed());
                    since = entered.load(SeqCst);
                });
                waits.push(waited as f64);
                overtakes += since - before;
                thread::sleep(AWAY);
            }
            (waits, overtakes)
        });
        thread::sleep(time);
        over.store(true, Relaxed);
        (waits, overtakes) = lone.join().expect("the lone thread does not panic");
    });
    let turns = waits.len() as f64;
    Sample::new(lock.as_ref().id, param)
        .with("overtakes_count", overtakes as f64 / turns)
        .with("wait_p50_ns", stats::median(&waits).unwrap_or_default())
        .with("wait_max_ns", waits.iter().copied().fold(0.0, f64::max))
        .with("others_max_ns", longest.load(Relaxed) as f64)
        .with("turns_count", turns)
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
