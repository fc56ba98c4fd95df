//! Who is online: one number for each user (when it was last seen), four ways to keep it, and what each weighs.
//!
//! All are keyed by a dense number of the user. Maps would take any key; the slab needs dense numbers, which somebody must hand
//! out: that directory is not measured here.
use std::{
    collections::HashMap,
    hint::black_box,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use crossbeam_utils::CachePadded;

use crate::{
    lab::Contender,
    machine::memory::{Room, resident_bytes},
    measure::{
        order::Order,
        throughput::{Apart, Crowd, Lane},
    },
};

/// One std mutex around one std map from users to when they were last seen.
pub type OneLock = Mutex<HashMap<u32, AtomicU64>>;

/// Sixteen of them; the user's low bits say which, so that nothing is hashed twice.
#[derive(Debug, Default)]
pub struct Sharded([CachePadded<OneLock>; 16]);

/// The lock-free map.
pub type Papaya = papaya::HashMap<u32, AtomicU64>;

/// When a new user was last seen. Not 0: memory that is only ever zero costs the kernel nothing, and a slab of zeros weighed 4 KiB.
pub const CREATED: u64 = 1;

/// A number for each user. In all of them a beat is the same work: find the user's word, store into it. Relaxed: the word carries no other data.
pub trait Presence: Send + Sync + 'static {
    /// Who it is.
    const IS: Contender;
    /// No user needs more than this while it is being filled: to refuse before memory is short. Bytes.
    const MOST_USER_BYTES: u64;
    /// All users `0..users`, last seen at [`CREATED`]. Grows as a service's state does: users come one after the other, from as many
    /// threads as given.
    fn with(users: u32, threads: u32) -> Self;
    /// A user says that it is there. Known users only.
    fn beat(&self, user: u32, now: u64);
    /// When that user was last seen; `None` for an unknown one.
    fn last_seen(&self, user: u32) -> Option<u64>;
}

/// Fills a map by its ordinary growth.
fn filled<M: Default + Sync>(users: u32, threads: u32, put: impl Fn(&M, u32) + Sync) -> M {
    let map = M::default();
    thread::scope(|s| {
        for thread in 0..threads {
            let (map, put) = (&map, &put);
            s.spawn(move || (thread..users).step_by(threads as usize).for_each(|user| put(map, user)));
        }
    });
    map
}

fn locked(map: &OneLock) -> MutexGuard<'_, HashMap<u32, AtomicU64>> {
    map.lock().expect("no holder panics")
}

fn beat_locked(map: &OneLock, user: u32, now: u64) {
    if let Some(seen) = locked(map).get(&user) {
        seen.store(now, Relaxed);
    }
}

impl Presence for OneLock {
    const IS: Contender = Contender::new("one_lock").called("std HashMap, one lock");
    // 17 bytes a place, places for twice the users, and while it grows the half as large table before it.
    const MOST_USER_BYTES: u64 = 64;
    fn with(users: u32, _: u32) -> Self {
        // More threads would only stand in line.
        filled(users, 1, |map: &Self, user| _ = locked(map).insert(user, AtomicU64::new(CREATED)))
    }
    fn beat(&self, user: u32, now: u64) {
        beat_locked(self, user, now);
    }
    fn last_seen(&self, user: u32) -> Option<u64> {
        Some(locked(self).get(&user)?.load(Relaxed))
    }
}

impl Sharded {
    fn shard(&self, user: u32) -> &OneLock {
        &self.0[user as usize % self.0.len()]
    }
}

impl Presence for Sharded {
    const IS: Contender = Contender::new("sharded_16").called("std HashMap, 16 locks");
    const MOST_USER_BYTES: u64 = 64;
    fn with(users: u32, threads: u32) -> Self {
        filled(users, threads, |map: &Self, user| {
            _ = locked(map.shard(user)).insert(user, AtomicU64::new(CREATED));
        })
    }
    fn beat(&self, user: u32, now: u64) {
        beat_locked(self.shard(user), user, now);
    }
    fn last_seen(&self, user: u32) -> Option<u64> {
        Some(locked(self.shard(user)).get(&user)?.load(Relaxed))
    }
}

impl Presence for Papaya {
    const IS: Contender = Contender::new("papaya").of("papaya");
    // A node of 32 bytes in its allocation, and while the table grows up to four new and two old places of 9 bytes. Seen: 54 to 59, also while it grew.
    const MOST_USER_BYTES: u64 = 96;
    fn with(users: u32, threads: u32) -> Self {
        filled(users, threads, |map: &Self, user| _ = map.pin().insert(user, AtomicU64::new(CREATED)))
    }
    fn beat(&self, user: u32, now: u64) {
        if let Some(seen) = self.pin().get(&user) {
            seen.store(now, Relaxed);
        }
    }
    fn last_seen(&self, user: u32) -> Option<u64> {
        Some(self.pin().get(&user)?.load(Relaxed))
    }
}

/// An atomic number for each user, side by side. Wait-free: a beat is one store. Relaxed: the number carries no other data.
#[derive(Debug)]
pub struct Slab(Box<[AtomicU64]>);

impl Presence for Slab {
    const IS: Contender = Contender::new("slab").called("slab of atomics");
    const MOST_USER_BYTES: u64 = 8;
    fn with(users: u32, _: u32) -> Self {
        Self((0..users).map(|_| AtomicU64::new(CREATED)).collect())
    }
    fn beat(&self, user: u32, now: u64) {
        self.0[user as usize].store(now, Relaxed);
    }
    fn last_seen(&self, user: u32) -> Option<u64> {
        self.0.get(user as usize).map(|seen| seen.load(Relaxed))
    }
}

/// Bytes that a table of hashbrown (std's `HashMap`) takes for so many entries of `entry` bytes by its growth rule: a power of two of
/// places, at most 7/8 of them used, one control byte a place. From 8 entries on. Source: hashbrown, `capacity_to_buckets`.
pub fn table_bytes(entries: u64, entry: u64) -> u64 {
    (entries * 8).div_ceil(7).next_power_of_two() * (entry + 1)
}

/// A filled structure: what it weighs, and what is done with it.
#[derive(Debug)]
pub struct Filled {
    /// Resident memory that it added, divided by the users. Bytes; `None` where the system does not tell.
    pub user_bytes: Option<f64>,
    /// Lanes that beat for random users of this one structure: no two instances, since one may be most of the memory.
    pub beats: Crowd,
}

/// A structure as a contender.
#[derive(Clone, Copy, Debug)]
pub struct Keeper {
    is: Contender,
    fill: fn(u32, usize, u64, u64) -> Result<Filled, String>,
}

const fn keeper<P: Presence>() -> Keeper {
    Keeper { is: P::IS.checked(check::<P>), fill: fill::<P> }
}

/// [`OneLock`].
pub static ONE_LOCK: Keeper = keeper::<OneLock>();
/// [`Sharded`].
pub static SHARDED: Keeper = keeper::<Sharded>();
/// [`Papaya`].
pub static PAPAYA: Keeper = keeper::<Papaya>();
/// [`Slab`].
pub static SLAB: Keeper = keeper::<Slab>();

impl AsRef<Contender> for Keeper {
    fn as_ref(&self) -> &Contender {
        &self.is
    }
}

impl Keeper {
    /// Fills it with `users`, unless that could take more than `bound_bytes` or than there is. The seed is that of the beats.
    ///
    /// # Errors
    /// A sentence that says how much it would take.
    pub fn fill(&self, users: u32, threads: usize, bound_bytes: u64, seed: u64) -> Result<Filled, String> {
        (self.fill)(users, threads, bound_bytes, seed)
    }
}

fn fill<P: Presence>(users: u32, threads: usize, bound_bytes: u64, seed: u64) -> Result<Filled, String> {
    let need = u64::from(users) * P::MOST_USER_BYTES;
    if need > bound_bytes {
        return Err(format!(
            "may take {} MiB, and this lab keeps below {} MiB",
            need >> 20,
            bound_bytes >> 20
        ));
    }
    if let Some(why) = Room::now().refusal(need) {
        return Err(why);
    }
    let before = resident_bytes();
    let state = Arc::new(Apart(P::with(users, u32::try_from(threads).unwrap_or(1))));
    let added = before.zip(resident_bytes()).map(|(b, a)| a.saturating_sub(b) as f64);
    let user_bytes = added.map(|bytes| bytes / f64::from(users.max(1)));
    Ok(Filled { user_bytes, beats: beats(state, users, seed) })
}

fn beats<P: Presence>(state: Arc<Apart<P>>, users: u32, seed: u64) -> Crowd {
    let make = move |lanes: usize| {
        let lane = |lane: usize| {
            let state = Arc::clone(&state);
            let mut order = Order::new(seed ^ (lane as u64) << 32);
            let mut now = 0;
            Box::new(Apart(move |n: u32, _: u32| {
                for _ in 0..n {
                    now += 1;
                    // Drawn as it goes: a table of draws would be small enough to keep its users in the cache.
                    let user = ((order.next_u64() >> 32) * u64::from(users)) >> 32;
                    state.0.beat(user as u32, now);
                }
            })) as Lane
        };
        (0..lanes).map(lane).collect()
    };
    Crowd::new(P::IS.id, make)
}

/// What a structure must show before it is timed: it knows its users and no other, and loses no beat of threads that meet.
///
/// # Errors
/// A sentence that names the contender and the broken promise.
pub fn check<P: Presence>() -> Result<(), String> {
    const USERS: u32 = 2_000;
    let state = P::with(USERS, 2);
    if let Some(user) = (0..USERS).find(|user| state.last_seen(*user) != Some(CREATED)) {
        return Err(format!("{}: a new user {user} was seen at {:?}", P::IS.id, state.last_seen(user)));
    }
    thread::scope(|s| {
        for thread in 0..2 {
            let state = &state;
            s.spawn(move || {
                (thread..USERS).step_by(2).for_each(|user| state.beat(user, u64::from(user) + 7))
            });
        }
    });
    let wrong = (0..USERS).find(|user| state.last_seen(*user) != Some(u64::from(*user) + 7));
    match (wrong, black_box(state.last_seen(USERS))) {
        (Some(user), _) => Err(format!("{}: a beat of user {user} is lost", P::IS.id)),
        (None, Some(_)) => Err(format!("{}: it knows a user who does not exist", P::IS.id)),
        (None, None) => Ok(()),
    }
}
