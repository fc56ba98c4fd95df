//! The safepoint protocol: how a collector stops every running mutator, and how they go on.
//!
//! A mutator counts as *running* between [`enter`](Safepoint::enter) and [`leave`](Safepoint::leave). The collector
//! raises the phase to odd ("stop") and waits until nobody runs. Running mutators look at the phase now and then
//! ([`poll`](Safepoint::poll)); whoever sees "stop" leaves, and enters again when the phase is even. A thread that
//! sleeps or calls out of the heap has left beforehand, so the collector does not wait for it.
//!
//! # States
//! `state` holds the phase (upper half) and how many mutators run (lower half). In one word, so that "may I run?" and
//! "I run" are one step: a mutator can never start on the strength of a phase that is over.
//!
//! | phase | running | meaning | a mutator that enters | the last one that leaves | the collector |
//! |---|---|---|---|---|---|
//! | even | n | the program runs | counts itself | nothing to do | may raise the phase |
//! | odd | n > 0 | a stop was asked for | sleeps on `bell` | wakes the collector | sleeps on `state` |
//! | odd | 0 | the world has stopped | sleeps on `bell` | - | works, then raises the phase |
//!
//! The phase counts stops: it also tells a mutator that asked for a collection whether *its* collection is over
//! ([`sit_out`](Safepoint::sit_out)). Waiting for "no stop now" instead would let it slip through, since at first the
//! collector has not even asked for the stop.
//!
//! # Edges
//! - **E1** leave's Release -> stop's Acquire: carries what the mutator wrote to the heap and to its roots. Each leave
//!   is a read-modify-write, so all of them are in the release sequence that the collector's last look reads from.
//! - **E2** resume's Release -> enter's Acquire: carries what the collector wrote, moved objects and updated roots.
//! - **E3** resume's Release on `bell` -> the waiter's Acquire on `bell`: a mutator that sees the new bell also sees the
//!   even phase, so it does not fall asleep on the new bell over an old "stop".
//!
//! # Limits
//! One collector at a time. At most 65,535 running mutators. A stop lasts as long as its slowest mutator takes to poll.
//! The phase wraps after 65,536 steps: a mutator in `sit_out` that gets no CPU for 16,384 whole collections could wait
//! for one more. 8 bytes. `new` is not `const` (the modelled atomics can't be).
//!
//! # Source
//! Cooperative safepoints are what every managed runtime does: R. Jones, A. Hosking, E. Moss, "The Garbage Collection
//! Handbook" (2nd ed. 2023), 11.6 "GC safe-points and mutator suspension". The even and odd phase is a seqlock's.

use crate::structures::sync::atomic::AtomicU32;
use crate::structures::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::structures::sync::futex;

/// The meeting point of one collector and any number of mutators. See the [module](self).
pub struct Safepoint {
    /// `phase << 16 | running`: the table above.
    state: AtomicU32,
    /// Rung (incremented) at the end of each stop; the place to sleep, and nothing else.
    bell: AtomicU32,
}

/// One step of the phase. An odd phase means stop.
const STEP: u32 = 1 << 16;
const RUNNING: u32 = STEP - 1;

const fn phase(state: u32) -> u32 {
    state >> 16
}
const fn stopping(state: u32) -> bool {
    state & STEP != 0
}

impl Safepoint {
    /// Nobody runs, no stop is asked for.
    #[allow(clippy::new_without_default, reason = "a model makes its own; nobody needs a default")]
    pub fn new() -> Self {
        Self { state: AtomicU32::new(0), bell: AtomicU32::new(0) }
    }

    /// Starts to run as a mutator; waits while a stop is asked for or lasts.
    ///
    /// # Panics
    /// If 65,535 mutators run already.
    pub fn enter(&self) {
        self.enter_when(|state| !stopping(state));
    }

    /// Stops running: the thread must not touch the heap until it [enters](Self::enter) again.
    pub fn leave(&self) {
        self.leave_at();
    }

    /// True if the calling mutator should [`pause`](Self::pause). A relaxed load: it costs next to nothing and may be a
    /// little late, which only makes the stop a little longer.
    #[inline(always)]
    pub fn poll(&self) -> bool {
        stopping(self.state.load(Relaxed))
    }

    /// Lets a stop happen, if one is asked for.
    #[cold]
    pub fn pause(&self) {
        self.leave();
        self.enter();
    }

    /// Lets the *next* stop happen, and returns only when it is over: for a mutator that has just asked for a
    /// collection which the collector does not know of yet. Never returns if there is no such stop.
    #[cold]
    pub fn sit_out(&self) {
        // Taken from the very step that leaves: while this mutator ran, no stop could end, so the next odd phase to end
        // is the one that was asked for.
        let over = (phase(self.leave_at()) | 1) + 1;
        // Even, and not before `over`; the phases in question wrap at 16 bits.
        self.enter_when(|state| !stopping(state) && (phase(state).wrapping_sub(over) & RUNNING) < STEP / 2);
    }

    /// Asks for a stop and waits until no mutator runs. For the collector.
    ///
    /// # Panics
    /// If a stop was asked for already.
    pub fn stop(&self) {
        // Relaxed: the request carries no data. What mutators wrote comes with the load below (E1).
        let before = self.state.fetch_add(STEP, Relaxed);
        assert!(!stopping(before), "one collector at a time");
        loop {
            let state = self.state.load(Acquire); // E1
            if state & RUNNING == 0 {
                return;
            }
            futex::wait(&self.state, state);
        }
    }

    /// Ends the stop. For the collector that asked for it.
    ///
    /// # Panics
    /// If no stop lasts.
    pub fn resume(&self) {
        // Loads and stores, not read-modify-writes: while the world stands still nobody else writes to either word.
        let (state, bell) = (self.state.load(Relaxed), self.bell.load(Relaxed));
        assert!(stopping(state) && state & RUNNING == 0, "there is no stop to end");
        // First the phase, then the bell: the other way round a mutator could hear the bell, find the stop still on, and
        // sleep for good.
        self.state.store(state.wrapping_add(STEP), Release); // E2
        self.bell.store(bell.wrapping_add(1), Release); // E3
        futex::wake_all(&self.bell);
    }

    /// How many mutators run at this moment: with a stop asked for, those that have not polled yet.
    pub fn running(&self) -> u32 {
        self.state.load(Relaxed) & RUNNING
    }

    /// Counts the caller as running as soon as `ready` says so.
    fn enter_when(&self, ready: impl Fn(u32) -> bool) {
        loop {
            let bell = self.bell.load(Acquire); // E3
            let state = self.state.load(Relaxed);
            if !ready(state) {
                futex::wait(&self.bell, bell);
                continue;
            }
            assert!(state & RUNNING < RUNNING, "more mutators than the safepoint can count");
            // The whole word is compared, so the phase that `ready` liked still holds in the step that counts us.
            if self.state.compare_exchange(state, state + 1, Acquire, Relaxed).is_ok() {
                return; // E2
            }
        }
    }

    /// Leaves; the state just before.
    fn leave_at(&self) -> u32 {
        let before = self.state.fetch_sub(1, Release); // E1
        if stopping(before) && before & RUNNING == 1 {
            futex::wake_one(&self.state);
        }
        before
    }
}

impl std::fmt::Debug for Safepoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Safepoint").field("stopping", &self.poll()).field("running", &self.running()).finish()
    }
}
