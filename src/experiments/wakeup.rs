//! A hand-made event in two words, with and without what keeps it from losing wake-ups.
//!
//! The waiter announces itself, looks whether the event has happened, and parks if not. The setter makes it happen, looks whether somebody has
//! announced itself, and unparks. Each writes its own word, then looks at the other's: store buffering. If both looks come before the other's
//! write is seen, the waiter parks and nobody wakes it.
use std::{
    hint::black_box,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::*, fence},
    thread,
    time::{Duration, Instant},
};

use crate::{
    lab::{Setting, setting},
    machine::pin_current_thread,
    measure::{handover::until, order::Order, outcomes::OneCpu, throughput::Apart},
};

/// What stands between the write and the look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Between {
    /// Nothing: Release and Acquire, which order neither of the two.
    Nothing,
    /// A SeqCst fence on both sides.
    Fence,
    /// Nothing, but all four accesses are SeqCst.
    SeqCst,
    /// A SeqCst fence on the waiter's side only.
    HalfFence,
}

/// Every case.
pub const CASES: [Setting<Between>; 4] = [
    setting("no_fence", Between::Nothing),
    setting("half_fence", Between::HalfFence),
    setting("fence", Between::Fence),
    setting("seqcst", Between::SeqCst),
];

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wakes {
    /// Rounds: the event happened once in each.
    pub rounds: u64,
    /// The waiter found it unset and parked.
    pub parked: u64,
    /// Of them, those that nobody would have woken.
    pub lost: u64,
}

/// The watchdog: whoever is lost sleeps no longer.
const RELEASE: Duration = Duration::from_millis(2);
/// Empty turns, about a ns each where the compiler optimises: a hand-over or two.
const LONGEST_DELAY: usize = 128;

#[derive(Debug, Default)]
struct Event {
    awaited: Apart<AtomicBool>,
    set: Apart<AtomicBool>,
}

impl Event {
    /// The waiter's side up to the park: whether it would park. E1 set's Release -> the look's Acquire: what came before the event.
    #[inline]
    fn announce(&self, between: Between) -> bool {
        let (write, look) = if between == Between::SeqCst { (SeqCst, SeqCst) } else { (Release, Acquire) };
        self.awaited.0.store(true, write);
        if matches!(between, Between::Fence | Between::HalfFence) {
            fence(SeqCst); // F against the setter's: one of the two looks sees the other's write
        }
        !self.set.0.load(look) // E1
    }

    /// The setter's side up to the unpark: whether it would wake somebody.
    #[inline]
    fn happen(&self, between: Between) -> bool {
        let (write, look) = if between == Between::SeqCst { (SeqCst, SeqCst) } else { (Release, Acquire) };
        self.set.0.store(true, write); // E1
        if between == Between::Fence {
            fence(SeqCst); // F
        }
        self.awaited.0.load(look)
    }
}

/// Two pinned threads, round after round for about so long: one waits for the event, the other makes it happen.
///
/// # Errors
/// With one CPU.
pub fn wakes(between: Between, cpus: &[usize], time: Duration) -> Result<Wakes, OneCpu> {
    let [first, second, ..] = *cpus else { return Err(OneCpu) };
    let event = Event::default();
    let (here, over, woke) = (AtomicUsize::new(0), AtomicBool::new(false), AtomicBool::new(false));
    // E2 each thread's Release of `here` -> the other's Acquire: what was written before the meeting.
    let meet = |round: &mut usize| {
        *round += 2;
        here.fetch_add(1, AcqRel);
        until(|| (here.load(Acquire) >= *round).then_some(()));
    };
    Ok(thread::scope(|s| {
        let waiter = s.spawn(|| {
            pin_current_thread(first);
            let (mut round, mut seen) = (0, Wakes::default());
            let mut order = Order::new(1);
            let started = Instant::now();
            loop {
                event.awaited.0.store(false, Relaxed);
                event.set.0.store(false, Relaxed);
                over.store(started.elapsed() >= time, Relaxed);
                meet(&mut round);
                if over.load(Relaxed) {
                    return seen;
                }
                // The two leave the meeting at nearly the same time, whoever came last a little earlier: so at times the one, at times the other.
                (0..order.below(LONGEST_DELAY)).for_each(|i| _ = black_box(i));
                let parks = event.announce(between);
                if parks {
                    // A token of an earlier round may be left: a park may always return for no reason. What counts is decided already.
                    thread::park_timeout(RELEASE);
                }
                meet(&mut round);
                seen.rounds += 1;
                seen.parked += u64::from(parks);
                seen.lost += u64::from(parks && !woke.load(Relaxed));
            }
        });
        let thread = waiter.thread().clone();
        s.spawn({
            let (event, woke, over, meet) = (&event, &woke, &over, &meet);
            move || {
                pin_current_thread(second);
                let mut round = 0;
                loop {
                    meet(&mut round);
                    if over.load(Relaxed) {
                        return;
                    }
                    let wakes = event.happen(between);
                    woke.store(wakes, Relaxed);
                    if wakes {
                        thread.unpark();
                    }
                    meet(&mut round);
                }
            }
        });
        waiter.join().expect("a waiter does not panic")
    }))
}
