//! A reader-writer lock in one word that counts its readers and its waiting writers; a waiting writer bars new readers.
//!
//! # States
//! The word holds four things: `readers` inside (n), a `WRITER` inside (W), `waiting` writers (w), and whether readers may
//! sleep (S). S is only ever set while W or w is.
//!
//! | W | n | w | meaning | a reader | a writer | whoever leaves last |
//! |---|---|---|---|---|---|---|
//! | 0 | 0 | 0 | free | enters | enters | - |
//! | 0 | n | 0 | being read | enters | counts itself in w, sleeps | nothing to do |
//! | 0 | n | w | being read, writers wait | sets S, sleeps | counts itself in w, sleeps | wakes one writer |
//! | 1 | 0 | 0 | being written | sets S, sleeps | counts itself in w, sleeps | to free; if S, wakes all readers |
//! | 1 | 0 | w | being written, writers wait | sets S, sleeps | counts itself in w, sleeps | keeps w and S, wakes one writer |
//! | 0 | 0 | w | handed to the writers | sets S, sleeps | enters | - |
//!
//! A writer whose time is over tries once more, then takes itself out of w; if it was the last that barred the readers, it wakes them. It
//! passes no wake-up on: while it can't enter, somebody is inside, who wakes the next writer on leaving.
//!
//! Readers sleep on the word itself. Writers sleep on a second word, `turn`, which counts their wake-ups; so each kind is
//! woken apart, and a writer that was about to fall asleep while it was being woken sees that its turn came.
//!
//! # Edges
//! - **E1** write unlock's Release -> read or write lock's Acquire: carries the value.
//! - **E2** read unlock's Release -> write lock's Acquire: the reading is over before the writing starts. Readers who leave
//!   one after the other hand it on: each leaves by a read-modify-write, which continues the release sequence.
//! - **E3** the waker's Release on `turn` -> the waiting writer's Acquire on `turn`: a writer that sees the new turn also sees
//!   the word as it was freed, so it doesn't fall asleep on the new turn over an old "held".
//!
//! # Limits
//! Prefers writers: once a writer has counted itself, no stream of readers keeps it out. Until then each reader that comes or goes can
//! make its compare-exchange fail. A stream of writers keeps readers out; among writers, a running one overtakes a woken one. **Reading twice from one thread can deadlock**: a writer that comes in
//! between waits for the first read, and bars the second. There is no upgrade from reading to writing. No poisoning. At most
//! 65,535 readers at once and 16,383 waiting writers; one more panics. A writer that sleeps through exactly 2^32 turns
//! between its look and its sleep would miss its wake-up. 8 bytes beside the value.
//!
//! # Source
//! The words and policy follow from M. Bos, "Rust Atomics and Locks" (2023), chapter 9, and the futex lock of Rust's std;
//! counting the waiting writers exactly, in the word, is ours: it makes "may readers enter?" and "whom do I wake?" one look.

use crate::structures::sync::atomic::AtomicU32;
use crate::structures::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::structures::sync::cell::{ConstPtr, MutPtr, UnsafeCell};
use crate::structures::sync::time::Deadline;
use crate::structures::sync::{constructor, futex, hint};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

/// Many readers or one writer: a value that threads may look at together, or change alone.
///
/// Uncontended: one load and one compare-exchange to read, one subtraction to leave; one compare-exchange each way to write;
/// no system call. Readers still write to the lock's cache line, twice per read. Policy and limits: see the [module](self).
pub struct RwLock<T: ?Sized> {
    raw: Raw,
    value: UnsafeCell<T>,
}

/// The lock without its value.
struct Raw {
    /// From the lowest bit: 16 bits `readers`, 1 bit S, 1 bit W, 14 bits `waiting`.
    state: AtomicU32,
    /// How often a writer was woken, modulo 2^32; what waiting writers sleep on.
    turn: AtomicU32,
}

const READER: u32 = 1;
const READERS: u32 = 0xFFFF;
const READERS_SLEEP: u32 = 1 << 16;
const WRITER: u32 = 1 << 17;
const WAITING_ONE: u32 = 1 << 18;
const WAITING: u32 = !(WAITING_ONE - 1);

/// May a reader enter? S needs no test: it is never set without W or w.
fn readable(state: u32) -> bool {
    state & (WRITER | WAITING) == 0
}

/// May a writer enter?
fn writable(state: u32) -> bool {
    state & (WRITER | READERS) == 0
}

impl<T: Default> Default for RwLock<T> {
    /// An unlocked lock around the default value.
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for RwLock<T> {
    /// An unlocked lock around `value`.
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T> RwLock<T> {
    constructor! {
        /// An unlocked lock around `value`.
        pub fn new(value: T) -> Self {
            Self::starting_at(value, 0, 0)
        }
    }

    constructor! {
        /// As if so many writers waited already, and so many were woken before: for tests of the limits.
        #[doc(hidden)]
        pub fn starting_at(value: T, waiting: u32, turn: u32) -> Self {
            let raw = Raw { state: AtomicU32::new(waiting * WAITING_ONE), turn: AtomicU32::new(turn) };
            Self { raw, value: UnsafeCell::new(value) }
        }
    }

    /// The value, the lock being given up.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Waits until nobody writes and no writer waits, and keeps writers out until the guard is dropped.
    ///
    /// # Panics
    /// With 65,535 readers inside. Called by a thread that holds a guard already, it may never return.
    #[inline]
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        if !self.raw.try_read() {
            self.raw.read_contended(None);
        }
        self.read_guard()
    }

    /// As [`read`](Self::read), but gives up when it has waited so long. May wait longer, never shorter.
    ///
    /// # Panics
    /// With 65,535 readers inside.
    #[inline]
    pub fn try_read_for(&self, timeout: Duration) -> Option<RwLockReadGuard<'_, T>> {
        (self.raw.try_read() || self.raw.read_contended(Some(&Deadline::after(timeout))))
            .then(|| self.read_guard())
    }

    /// Reads if nobody writes and no writer waits at this moment; never waits.
    #[inline]
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        self.raw.try_read().then(|| self.read_guard())
    }

    /// Waits until nobody is inside, and keeps everybody else out until the guard is dropped.
    ///
    /// # Panics
    /// With 16,383 writers waiting. Called by a thread that holds a guard already, it never returns.
    #[inline]
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        if !self.raw.try_write() {
            self.raw.write_contended(None);
        }
        self.write_guard()
    }

    /// As [`write`](Self::write), but gives up when it has waited so long. May wait longer, never shorter. While it waits it bars
    /// readers, as any writer.
    ///
    /// # Panics
    /// With 16,383 writers waiting.
    #[inline]
    pub fn try_write_for(&self, timeout: Duration) -> Option<RwLockWriteGuard<'_, T>> {
        (self.raw.try_write() || self.raw.write_contended(Some(&Deadline::after(timeout))))
            .then(|| self.write_guard())
    }

    /// Writes if nobody is inside and nobody waits at this moment; never waits.
    #[inline]
    pub fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        self.raw.try_write().then(|| self.write_guard())
    }

    /// The value without locking: `&mut self` excludes everybody else.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.exclusive()
    }

    /// Call with the lock held for reading.
    #[inline]
    fn read_guard(&self) -> RwLockReadGuard<'_, T> {
        let held = HeldForReading(&self.raw);
        RwLockReadGuard { value: self.value.get(), _held: held }
    }

    /// Call with the lock held for writing.
    #[inline]
    fn write_guard(&self) -> RwLockWriteGuard<'_, T> {
        let held = HeldForWriting(&self.raw);
        RwLockWriteGuard { value: self.value.get_mut(), _held: held }
    }
}

impl Raw {
    /// False only if a writer is inside or waits, or the count is full: a race with another reader is tried again.
    #[inline]
    fn try_read(&self) -> bool {
        let mut state = self.state.load(Relaxed);
        while readable(state) && state != READERS {
            match self.state.compare_exchange_weak(state, state + READER, Acquire, Relaxed) {
                Ok(_) => return true, // E1
                Err(now) => state = now,
            }
        }
        false
    }

    /// False if the deadline came first.
    #[cold]
    fn read_contended(&self, deadline: Option<&Deadline>) -> bool {
        self.spin_until(readable);
        let mut in_time = true;
        while !self.try_read() {
            if !in_time {
                return false; // S may be left behind: one wake-up too many
            }
            let state = self.state.load(Relaxed);
            assert!(state != READERS, "65,535 readers hold this lock; a guard may have been leaked");
            if readable(state) {
                continue; // the writer left between the two looks
            }
            let asleep = state | READERS_SLEEP;
            // Set S in the same step that finds the lock barred, else the writer could leave without waking us. Relaxed:
            // S carries nothing but itself, and the sleep compares the word with the one that has S in it.
            if state == asleep || self.state.compare_exchange(state, asleep, Relaxed, Relaxed).is_ok() {
                in_time = sleep(&self.state, asleep, deadline);
            }
        }
        true
    }

    #[inline]
    fn unlock_read(&self) {
        let left = self.state.fetch_sub(READER, Release) - READER; // E2
        if left & READERS == 0 && left & WAITING != 0 {
            self.wake_writer();
        }
    }

    #[inline]
    fn try_write(&self) -> bool {
        self.state.compare_exchange(0, WRITER, Acquire, Relaxed).is_ok() // E1, E2
    }

    /// False if the deadline came first.
    #[cold]
    fn write_contended(&self, deadline: Option<&Deadline>) -> bool {
        self.spin_until(writable);
        let mut in_time = true;
        let mut counted = 0; // what we have added to `waiting`: nothing, then one
        let mut state = self.state.load(Relaxed);
        loop {
            if writable(state) {
                match self.state.compare_exchange(state, state - counted + WRITER, Acquire, Relaxed) {
                    Ok(_) => return true, // E1, E2
                    Err(now) => state = now,
                }
                continue;
            }
            if !in_time {
                // Counted, since we have slept. Readers that nobody else bars enter now. Relaxed: it carries nothing, and hands E1
                // and E2 on, being a read-modify-write.
                let barred = (state - WAITING_ONE) & (WRITER | WAITING) != 0;
                let left = if barred { state - WAITING_ONE } else { state & READERS };
                match self.state.compare_exchange(state, left, Relaxed, Relaxed) {
                    Ok(_) => {
                        if !barred && state & READERS_SLEEP != 0 {
                            futex::wake_all(&self.state);
                        }
                        return false;
                    }
                    Err(now) => state = now,
                }
                continue;
            }
            if counted == 0 {
                assert!(state & WAITING != WAITING, "16,383 writers wait for this lock");
                // Count ourselves in the same step that finds the lock held: from here on whoever leaves last wakes a writer.
                match self.state.compare_exchange(state, state + WAITING_ONE, Relaxed, Relaxed) {
                    Ok(_) => counted = WAITING_ONE,
                    Err(now) => {
                        state = now;
                        continue;
                    }
                }
            }
            // First the turn, then the state: a wake-up after the first look changes the turn, and the sleep is refused.
            let turn = self.turn.load(Acquire); // E3
            state = self.state.load(Relaxed);
            if !writable(state) {
                in_time = sleep(&self.turn, turn, deadline);
                state = self.state.load(Relaxed);
            }
        }
    }

    #[inline]
    fn unlock_write(&self) {
        if self.state.compare_exchange(WRITER, 0, Release, Relaxed).is_err() {
            self.unlock_write_contended(); // E1 in the line above, or in there
        }
    }

    #[cold]
    fn unlock_write_contended(&self) {
        // One step frees the lock and decides for whom: with writers waiting, readers stay barred; with none, S goes too.
        let mut state = self.state.load(Relaxed);
        loop {
            let next = if state & WAITING != 0 { state - WRITER } else { 0 };
            match self.state.compare_exchange_weak(state, next, Release, Relaxed) {
                Ok(_) => break, // E1
                Err(now) => state = now,
            }
        }
        if state & WAITING != 0 {
            self.wake_writer();
        } else if state & READERS_SLEEP != 0 {
            futex::wake_all(&self.state);
        }
    }

    #[cold]
    fn wake_writer(&self) {
        self.turn.fetch_add(1, Release); // E3
        futex::wake_one(&self.turn);
    }

    fn spin_until(&self, ready: fn(u32) -> bool) {
        for _ in 0..hint::SPIN_LIMIT {
            let state = self.state.load(Relaxed);
            if ready(state) || state & (READERS_SLEEP | WAITING) != 0 {
                return; // free; or others sleep already: the wait is long, and spinning would only delay the holder
            }
            hint::spin_loop();
        }
    }
}

/// Sleeps; false if the deadline has come.
fn sleep(word: &AtomicU32, expected: u32, deadline: Option<&Deadline>) -> bool {
    match deadline {
        None => {
            futex::wait(word, expected);
            true
        }
        Some(deadline) => futex::wait_until(word, expected, deadline),
    }
}

/// The right to look at the value of an [`RwLock`], together with other readers; dropping it leaves the lock.
///
/// Not `Send`: the labs tell hold times by thread, so a lock is released where it was taken.
#[must_use = "a guard that is dropped at once protects nothing"]
pub struct RwLockReadGuard<'a, T: ?Sized> {
    // Fields are dropped in this order: the access to the value ends, then the lock is left.
    value: ConstPtr<T>,
    _held: HeldForReading<'a>,
}

/// The right to change the value of an [`RwLock`], alone; dropping it unlocks, also when a panic unwinds.
///
/// Not `Send`: the labs tell hold times by thread, so a lock is released where it was taken.
#[must_use = "a guard that is dropped at once protects nothing"]
pub struct RwLockWriteGuard<'a, T: ?Sized> {
    // Fields are dropped in this order: the access to the value ends, then the lock is released.
    value: MutPtr<T>,
    _held: HeldForWriting<'a>,
}

struct HeldForReading<'a>(&'a Raw);
struct HeldForWriting<'a>(&'a Raw);

impl Drop for HeldForReading<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.unlock_read();
    }
}

impl Drop for HeldForWriting<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.unlock_write();
    }
}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard borrows the lock, so the cell is alive; the lock is held for reading until after `value` is
        // dropped, so nobody writes to the cell.
        unsafe { self.value.deref() }
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard borrows the lock, so the cell is alive; the lock is held for writing until after `value` is
        // dropped, so nobody else reaches the cell; `&self` lets only readers share this guard.
        unsafe { self.value.deref() }
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and `&mut self` leaves no other user of this guard.
        unsafe { self.value.deref_mut() }
    }
}

// SAFETY: writers get the value one thread at a time, which is a move to that thread: `T: Send`; readers hold `&T` at once
// in several threads: `T: Sync`.
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}
// SAFETY: a shared guard gives out `&T` and nothing more.
unsafe impl<T: ?Sized + Sync> Sync for RwLockReadGuard<'_, T> {}
// SAFETY: a shared guard gives out `&T` and nothing more.
unsafe impl<T: ?Sized + Sync> Sync for RwLockWriteGuard<'_, T> {}

impl<T: ?Sized> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RwLock { .. }") // without the value: printing must neither wait nor disturb a measurement
    }
}
impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
