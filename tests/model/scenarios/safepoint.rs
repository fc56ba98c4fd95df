//! What the safepoint protocol must do in every execution, and wrong versions of it that must be found out.

use super::{Scenario, Structure};
use crate::managed::safepoint::Safepoint;
use crate::sync::atomic::AtomicU32;
use crate::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::sync::cell::UnsafeCell;
use crate::sync::{futex, thread};
use std::sync::Arc;

pub const SCENARIOS: &[Scenario] = &scenarios::<Safepoint>();

/// The same protocol, written once more with a switch for each mistake. The first makes none and must pass: so the others fail
/// because of their mistake, and not because they are another program.
pub const TWINS: &[(Structure, bool)] = &[
    (Structure { path: "twin/safepoint/sound", scenarios: &scenarios::<Twin<SOUND>>() }, true),
    (Structure { path: "twin/safepoint/missed_wake_up", scenarios: &scenarios::<Twin<MISSED>>() }, false),
    (Structure { path: "twin/safepoint/unheard_leaver", scenarios: &scenarios::<Twin<UNHEARD>>() }, false),
    (
        Structure { path: "twin/safepoint/slipped_into_a_stop", scenarios: &scenarios::<Twin<SLIPPED_IN>>() },
        false,
    ),
    (
        Structure {
            path: "twin/safepoint/slipped_past_its_stop",
            scenarios: &scenarios::<Twin<SLIPPED_PAST>>(),
        },
        false,
    ),
];

const fn scenarios<S: Meeting>() -> [Scenario; 4] {
    [
        Scenario {
            name: "stop",
            oracle: "a mutator and a collector are never in the heap at once, each sees what the other wrote, nobody sleeps on",
            threads: 2,
            bound: Some(3),
            run: stop::<S>,
        },
        Scenario {
            name: "two_mutators",
            oracle: "the collector waits for both, and wakes both",
            threads: 3,
            bound: Some(2),
            run: two_mutators::<S>,
        },
        Scenario {
            name: "asked",
            oracle: "a mutator that asked for a collection goes on after it, not before and not into the next one",
            threads: 2,
            bound: Some(2),
            run: asked::<S>,
        },
        Scenario {
            name: "outside",
            oracle: "the collector does not wait for a mutator that has left, which comes back only after the stop",
            threads: 2,
            bound: Some(3),
            run: outside::<S>,
        },
    ]
}

/// The protocol, whichever version.
pub trait Meeting: Send + Sync + 'static {
    fn new() -> Self;
    fn enter(&self);
    fn leave(&self);
    fn poll(&self) -> bool;
    fn pause(&self);
    fn sit_out(&self);
    fn stop(&self);
    fn resume(&self);
    fn running(&self) -> u32;
}

impl Meeting for Safepoint {
    fn new() -> Self {
        Self::new()
    }
    fn enter(&self) {
        self.enter();
    }
    fn leave(&self) {
        self.leave();
    }
    fn poll(&self) -> bool {
        self.poll()
    }
    fn pause(&self) {
        self.pause();
    }
    fn sit_out(&self) {
        self.sit_out();
    }
    fn stop(&self) {
        self.stop();
    }
    fn resume(&self) {
        self.resume();
    }
    fn running(&self) -> u32 {
        self.running()
    }
}

/// A heap of one object per mutator, and what the collector counts. The collector touches everything, a mutator only its own: so
/// whoever is inside when he should not be is an unordered access.
struct World<S> {
    point: S,
    objects: [UnsafeCell<usize>; 2],
    collections: UnsafeCell<usize>,
    /// How many mutators have asked for a collection.
    asked: AtomicU32,
}

// SAFETY: the safepoint, if it is right, keeps the accesses apart; if it is not, the cell notices.
unsafe impl<S: Meeting> Sync for World<S> {}
// SAFETY: plain numbers.
unsafe impl<S: Meeting> Send for World<S> {}

impl<S: Meeting> World<S> {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            point: S::new(),
            objects: [UnsafeCell::new(0), UnsafeCell::new(0)],
            collections: UnsafeCell::new(0),
            asked: AtomicU32::new(0),
        })
    }

    /// A mutator writes to its object.
    fn write(&self, mutator: usize) {
        let mut object = self.objects[mutator].get_mut();
        // SAFETY: the mutator runs, so the collector does not; see `World`.
        unsafe { *object.deref_mut() += 1 };
    }

    /// How many collections a running mutator sees.
    fn seen(&self) -> usize {
        let collections = self.collections.get();
        // SAFETY: the mutator runs, so the collector, which alone writes here, does not.
        unsafe { *collections.deref() }
    }

    /// The collector stops the world and writes to everything.
    fn collect(&self) {
        self.point.stop();
        for object in &self.objects {
            let mut object = object.get_mut();
            // SAFETY: no mutator runs.
            unsafe { *object.deref_mut() += 1000 };
        }
        {
            let mut collections = self.collections.get_mut();
            // SAFETY: no mutator runs.
            unsafe { *collections.deref_mut() += 1 };
        }
        self.point.resume();
    }

    /// A running mutator asks for a collection and waits for it.
    fn ask(&self) {
        self.asked.fetch_add(1, Release);
        futex::wake_one(&self.asked);
        self.point.sit_out();
    }

    /// The collector waits until that many have asked.
    fn hear(&self, mutators: u32) {
        loop {
            let asked = self.asked.load(Acquire);
            if asked >= mutators {
                return;
            }
            futex::wait(&self.asked, asked);
        }
    }

    /// A mutator that does its work in a few pieces.
    fn work(&self, mutator: usize, turns: usize) {
        self.point.enter();
        for _ in 0..turns {
            self.write(mutator);
            if self.point.poll() {
                self.point.pause();
            }
            self.write(mutator);
        }
        self.point.leave();
    }

    /// Nobody is left: nothing was lost.
    fn check(self: Arc<Self>, collections: usize, writes: [usize; 2]) {
        let mut world = Arc::into_inner(self).expect("the others are gone");
        assert_eq!(*world.collections.exclusive(), collections, "a collection is lost");
        for (object, writes) in world.objects.iter_mut().zip(writes) {
            assert_eq!(*object.exclusive(), 1000 * collections + writes, "a write is lost");
        }
    }
}

fn mutator<S: Meeting>(
    world: &Arc<World<S>>,
    work: impl FnOnce(&World<S>) + Send + 'static,
) -> thread::JoinHandle<()> {
    let world = Arc::clone(world);
    thread::spawn(move || work(&world))
}

fn stop<S: Meeting>(turns: usize) {
    let world = World::<S>::new();
    let other = mutator(&world, move |w| w.work(0, turns));
    (0..turns).for_each(|_| world.collect());
    other.join().unwrap();
    world.check(turns, [2 * turns, 0]);
}

fn two_mutators<S: Meeting>(turns: usize) {
    let world = World::<S>::new();
    let others = [0, 1].map(|i| mutator(&world, move |w| w.work(i, turns)));
    (0..turns).for_each(|_| world.collect());
    others.into_iter().for_each(|other| other.join().unwrap());
    world.check(turns, [2 * turns; 2]);
}

fn asked<S: Meeting>(turns: usize) {
    let world = World::<S>::new();
    let other = mutator(&world, move |w| {
        w.point.enter();
        for _ in 0..turns {
            w.write(0);
            let before = w.seen();
            w.ask();
            assert!(w.seen() > before, "went on before the collection that it asked for");
            w.write(0);
        }
        w.point.leave();
    });
    for turn in 0..turns {
        world.hear(u32::try_from(turn).unwrap() + 1);
        world.collect();
        world.collect(); // back to back: the mutator may get to run in between, or not
    }
    other.join().unwrap();
    world.check(2 * turns, [2 * turns, 0]);
}

fn outside<S: Meeting>(turns: usize) {
    let world = World::<S>::new();
    assert_eq!(world.point.running(), 0);
    world.point.enter();
    assert_eq!(world.point.running(), 1, "it counts itself");
    world.write(1);
    let collector = mutator(&world, move |w| (0..turns).for_each(|_| w.collect()));
    for _ in 0..turns {
        world.point.leave();
        // Here it would sleep, or read a file.
        world.point.enter();
        world.write(1);
    }
    world.point.leave();
    collector.join().unwrap();
    world.check(turns, [0, turns + 1]);
}

const SOUND: u32 = 0;
/// The bell is rung before the phase is raised: who hears it and looks at once finds the stop still on, and sleeps for good.
const MISSED: u32 = 1;
/// The last mutator to leave does not wake the collector.
const UNHEARD: u32 = 2;
/// "May I run?" and "I run" are two steps: a stop fits in between.
const SLIPPED_IN: u32 = 3;
/// Who asked for a collection waits until there is no stop, instead of until its stop is over.
const SLIPPED_PAST: u32 = 4;

/// The protocol with a mistake.
struct Twin<const MISTAKE: u32> {
    state: AtomicU32,
    bell: AtomicU32,
}

const STEP: u32 = 1 << 16;

impl<const MISTAKE: u32> Twin<MISTAKE> {
    fn enter_when(&self, ready: impl Fn(u32) -> bool) {
        loop {
            let bell = self.bell.load(Acquire);
            let state = self.state.load(Relaxed);
            if !ready(state) {
                futex::wait(&self.bell, bell);
            } else if MISTAKE == SLIPPED_IN {
                self.state.fetch_add(1, Acquire);
                return;
            } else if self.state.compare_exchange(state, state + 1, Acquire, Relaxed).is_ok() {
                return;
            }
        }
    }
    fn leave_at(&self) -> u32 {
        let before = self.state.fetch_sub(1, Release);
        if before & STEP != 0 && before & (STEP - 1) == 1 && MISTAKE != UNHEARD {
            futex::wake_one(&self.state);
        }
        before
    }
}

impl<const MISTAKE: u32> Meeting for Twin<MISTAKE> {
    fn new() -> Self {
        Self { state: AtomicU32::new(0), bell: AtomicU32::new(0) }
    }
    fn enter(&self) {
        self.enter_when(|state| state & STEP == 0);
    }
    fn leave(&self) {
        self.leave_at();
    }
    fn poll(&self) -> bool {
        self.state.load(Relaxed) & STEP != 0
    }
    fn pause(&self) {
        self.leave();
        self.enter();
    }
    fn sit_out(&self) {
        let over = ((self.leave_at() >> 16) | 1) + 1;
        self.enter_when(|state| state & STEP == 0 && (MISTAKE == SLIPPED_PAST || state >> 16 >= over));
    }
    fn stop(&self) {
        self.state.fetch_add(STEP, Relaxed);
        loop {
            let state = self.state.load(Acquire);
            if state & (STEP - 1) == 0 {
                return;
            }
            futex::wait(&self.state, state);
        }
    }
    fn running(&self) -> u32 {
        self.state.load(Relaxed) & (STEP - 1)
    }
    fn resume(&self) {
        if MISTAKE == MISSED {
            self.bell.fetch_add(1, Release);
            futex::wake_all(&self.bell);
        }
        self.state.fetch_add(STEP, Release);
        if MISTAKE != MISSED {
            self.bell.fetch_add(1, Release);
            futex::wake_all(&self.bell);
        }
    }
}
