//! A process's memory over time: threads that stay, sizes that drift from round to round, and a few blocks of each round that survive it.
//!
//! In a round every thread gets blocks until it has so many bytes, and frees all but one in so many. What survives is freed some rounds later, by
//! its own thread or by another one. So the bytes that live are soon the same after each round, and what the process holds beyond them is
//! either a cache of free memory, which a purge gives back, or fragmentation, which stays.
//!
//! The lists of blocks are the harness's own memory: they are there, and written, before the first look.
use std::{
    sync::{
        Barrier, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::{self, sleep},
    time::Duration,
};

use crate::{
    contenders::alloc::{ALIGN, Allocator, Block, GLIBC, JEMALLOC, MIMALLOC, SNMALLOC},
    experiments::cycle::tuned,
    lab::{Contender, Setting, sample::Sample},
    machine::memory,
    measure::{
        allocated::{self, given_out_bytes},
        latency::{difference, ns, with_known},
        order::Order as Lot,
        witness::cpu_time,
    },
};

/// What the allocator is told before it serves its first block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Nothing.
    Nothing,
    /// glibc: no more than two arenas.
    TwoArenas,
    /// To give back what is free after every round.
    PurgeEachRound,
    /// jemalloc: what is free goes back at once.
    NoDecay,
}

/// An allocator, and what it is told.
#[derive(Clone, Copy, Debug)]
pub struct Served {
    /// Who serves.
    pub by: &'static Allocator,
    /// What it is told.
    pub told: Advice,
}

const fn row(is: Contender, by: &'static Allocator, told: Advice) -> Setting<Served> {
    Setting { is, value: Served { by, told } }
}

const IS_GLIBC: Contender = Contender::new("glibc").called("glibc malloc");
const IS_MIMALLOC: Contender = Contender::new("mimalloc").of("mimalloc");
const IS_JEMALLOC: Contender = Contender::new("jemalloc").of("tikv-jemallocator");
const IS_SNMALLOC: Contender = Contender::new("snmalloc").of("snmalloc-rs");

/// glibc as it is.
pub const PLAIN: Setting<Served> = row(IS_GLIBC, &GLIBC, Advice::Nothing);
/// glibc with at most two arenas.
pub const TWO_ARENAS: Setting<Served> =
    row(IS_GLIBC.as_case("glibc_two_arenas").called("glibc malloc, 2 arenas"), &GLIBC, Advice::TwoArenas);
/// glibc, and `malloc_trim` after each round.
pub const TRIMMED: Setting<Served> = row(
    IS_GLIBC.as_case("glibc_trimmed").called("glibc malloc, trimmed each round"),
    &GLIBC,
    Advice::PurgeEachRound,
);
/// mimalloc as it is.
pub const MI: Setting<Served> = row(IS_MIMALLOC, &MIMALLOC, Advice::Nothing);
/// jemalloc as it is.
pub const JE: Setting<Served> = row(IS_JEMALLOC, &JEMALLOC, Advice::Nothing);
/// jemalloc with a decay time of 0.
pub const JE_NO_DECAY: Setting<Served> =
    row(IS_JEMALLOC.as_case("jemalloc_no_decay").called("jemalloc, decay 0 s"), &JEMALLOC, Advice::NoDecay);
/// snmalloc as it is.
pub const SN: Setting<Served> = row(IS_SNMALLOC, &SNMALLOC, Advice::Nothing);

/// Which blocks live on when a round ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survivors {
    /// One in so many of each round; another thread frees it some rounds later.
    FreedElsewhere,
    /// The same, but its own thread frees it.
    FreedAtHome,
    /// None: as many bytes as would survive were laid aside before the first round.
    Apart,
    /// One in so many of each round, and nobody ever frees it.
    Leaked,
}

/// What the threads do.
#[derive(Clone, Copy, Debug)]
pub struct Rounds {
    /// Threads; they stay until the end.
    pub threads: usize,
    /// Rounds.
    pub rounds: usize,
    /// Bytes that each thread gets in a round.
    pub bytes: usize,
    /// The smallest block of the first round; the largest is just below twice that.
    pub least: usize,
    /// So much larger are the blocks of each round than those of the one before.
    pub drift: f64,
    /// One block in so many survives.
    pub one_in: usize,
    /// After so many rounds a survivor is freed.
    pub lives: usize,
    /// Which blocks survive.
    pub survivors: Survivors,
    /// For the sizes.
    pub seed: u64,
}

impl Rounds {
    fn slots(&self) -> usize {
        if self.survivors == Survivors::Leaked { self.rounds } else { self.lives }
    }
    /// The smallest block of a round.
    pub fn least_of(&self, round: usize) -> usize {
        let times = self.drift.powi(i32::try_from(round).unwrap_or(i32::MAX));
        // Small enough that no allocator maps a block of its own.
        ((self.least as f64 * times) as usize).clamp(1, 16 << 10)
    }
    /// All bytes of a round.
    pub fn round_bytes(&self) -> usize {
        self.threads * self.bytes
    }
    /// The sizes that a thread asks for in a round: the same for every allocator.
    fn sizes(self, round: usize, thread: usize, bytes: usize) -> impl Iterator<Item = usize> {
        let mut lot = Lot::new(self.seed ^ ((round as u64) << 32) ^ thread as u64);
        let (least, mut left) = (self.least_of(round), bytes);
        std::iter::from_fn(move || {
            let size = (least + lot.below(least)).min(left);
            left -= size;
            (size > 0).then_some(size)
        })
    }
    /// Bytes that a thread lays aside: what survives of it otherwise.
    fn laid_aside(&self) -> usize {
        if self.survivors == Survivors::Apart { self.lives * (self.bytes / self.one_in) } else { 0 }
    }
    fn most_blocks(&self) -> usize {
        let smallest = (0..self.rounds.max(1)).map(|r| self.least_of(r)).min().unwrap_or(1);
        self.bytes / smallest + 2
    }
}

/// What all threads do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Lays aside what lives in place of survivors.
    LayAside,
    /// Frees the survivors of this slot.
    FreeOld(usize),
    /// Gets the blocks of this round.
    Fill(usize),
    /// Keeps some in this slot, frees the others.
    Drain(usize),
    /// Small calls, one after the other, with a pause after each.
    Trickle,
    /// Asks the allocator to give back what is free.
    Purge,
    /// Ends.
    Stop,
}

/// Calls of a trickle on each thread, and the pause after each.
const TRICKLE: usize = 200;
const PAUSE: Duration = Duration::from_micros(200);
/// The size of a small call.
const SMALL: usize = 64;

type Shelf = Vec<Option<Block>>;

/// Threads that stay, and what they share. Between two turns all of them wait.
struct Stayers {
    from: Served,
    load: Rounds,
    turn: Mutex<Turn>,
    begin: Barrier,
    end: Barrier,
    /// Survivors: `slot * threads + thread` that got them.
    shelves: Vec<Mutex<Shelf>>,
    trouble: Mutex<Option<String>>,
    got_count: AtomicU64,
    freed_count: AtomicU64,
    /// CPU time and page faults of the last fill, of all threads together.
    fill_ns: AtomicU64,
    fill_faults: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A list with room for so many, whose memory is there already.
fn written(room: usize) -> Shelf {
    let mut shelf = Vec::new();
    shelf.resize_with(room, || None);
    shelf.clear();
    shelf
}

impl Stayers {
    /// Starts the threads, lets `work` give them turns, and ends them, whatever `work` says.
    fn with<R>(
        from: Served,
        load: Rounds,
        work: impl FnOnce(&Stayers) -> Result<R, String>,
    ) -> Result<R, String> {
        from.by.check(load.least, ALIGN).map_err(|e| e.to_string())?;
        tell(from.told)?;
        // What the check left behind must not be part of the start: a later purge would take it for memory of the rounds.
        from.by.purge();
        let kept = (load.most_blocks() / load.one_in + 2).max(load.laid_aside() / load.least + 2);
        let crew = Stayers {
            from,
            load,
            turn: Mutex::new(Turn::Stop),
            begin: Barrier::new(load.threads + 1),
            end: Barrier::new(load.threads + 1),
            shelves: (0..load.slots() * load.threads).map(|_| Mutex::new(written(kept))).collect(),
            trouble: Mutex::new(None),
            got_count: AtomicU64::new(0),
            freed_count: AtomicU64::new(0),
            fill_ns: AtomicU64::new(0),
            fill_faults: AtomicU64::new(0),
        };
        thread::scope(|s| {
            let crew = &crew;
            let most = load.most_blocks();
            for me in 0..load.threads {
                let mine = written(most);
                s.spawn(move || crew.stay(me, mine));
            }
            let got = work(crew);
            *lock(&crew.turn) = Turn::Stop;
            crew.begin.wait();
            got
        })
    }

    /// One turn of all threads.
    fn all(&self, turn: Turn) -> Result<(), String> {
        *lock(&self.turn) = turn;
        self.begin.wait();
        self.end.wait();
        lock(&self.trouble).take().map_or(Ok(()), Err)
    }

    /// What a thread does from start to end. Nothing in a turn panics, so nobody waits at a barrier for a thread that is gone.
    fn stay(&self, me: usize, mut mine: Shelf) {
        loop {
            self.begin.wait();
            let turn = *lock(&self.turn);
            if turn == Turn::Stop {
                return;
            }
            if let Err(why) = self.take(turn, me, &mut mine) {
                *lock(&self.trouble) = Some(why);
            }
            self.end.wait();
        }
    }

    fn take(&self, turn: Turn, me: usize, mine: &mut Shelf) -> Result<(), String> {
        let Rounds { threads, survivors, .. } = self.load;
        match turn {
            Turn::LayAside => {
                let mut shelf = lock(&self.shelves[me]);
                // Sizes of the middle of the rounds.
                for size in self.load.sizes(self.load.rounds / 2, me, self.load.laid_aside()) {
                    shelf.push(Some(self.get(size)?));
                }
            }
            Turn::FreeOld(slot) => {
                let whose = if survivors == Survivors::FreedElsewhere { (me + 1) % threads } else { me };
                let mut shelf = lock(&self.shelves[slot * threads + whose]);
                self.free(&mut shelf)?;
            }
            Turn::Fill(round) => {
                let (cpu, faults) = (cpu_time(), memory::minor_faults());
                for size in self.load.sizes(round, me, self.load.bytes) {
                    mine.push(Some(self.get(size)?));
                }
                let took = cpu_time().zip(cpu).map(|(after, before)| ns(after.saturating_sub(before)));
                self.fill_ns.fetch_add(took.unwrap_or(0), Relaxed);
                let faults = difference(faults, memory::minor_faults());
                self.fill_faults.fetch_add(faults.unwrap_or(0), Relaxed);
            }
            Turn::Drain(slot) => {
                if survivors != Survivors::Apart {
                    let mut shelf = lock(&self.shelves[slot * threads + me]);
                    shelf.extend(mine.iter_mut().step_by(self.load.one_in).map(Option::take));
                }
                self.free(mine)?;
            }
            Turn::Trickle => {
                for _ in 0..TRICKLE {
                    self.small()?;
                    sleep(PAUSE);
                }
            }
            Turn::Purge => {
                self.from.by.purge();
            }
            Turn::Stop => {}
        }
        Ok(())
    }

    fn get(&self, bytes: usize) -> Result<Block, String> {
        let mut block = Block::new(self.from.by, bytes, ALIGN).map_err(|e| e.to_string())?;
        block.touch_every(memory::page_bytes());
        self.got_count.fetch_add(1, Relaxed);
        Ok(block)
    }

    /// Frees a list, after a look at what its blocks hold.
    fn free(&self, list: &mut Shelf) -> Result<(), String> {
        let (mut freed, mut whole) = (0, true);
        for block in list.drain(..).flatten() {
            whole &= block.holds_touch();
            freed += 1;
        }
        self.freed_count.fetch_add(freed, Relaxed);
        let damaged = || format!("{}: a block does not hold what was written", self.from.by.id());
        if whole { Ok(()) } else { Err(damaged()) }
    }

    fn small(&self) -> Result<(), String> {
        let mut block = Block::new(self.from.by, SMALL, ALIGN).map_err(|e| e.to_string())?;
        block.touch_every(SMALL);
        Ok(())
    }

    /// Bytes and number of the blocks that survived.
    fn live(&self) -> (usize, u64) {
        self.shelves.iter().fold((0, 0), |sum, shelf| {
            lock(shelf).iter().flatten().fold(sum, |(bytes, n), b| (bytes + b.bytes(), n + 1))
        })
    }

    /// One round; says what was resident while all blocks lived.
    fn round(&self, round: usize) -> Result<Option<u64>, String> {
        let slot = round % self.load.slots();
        if round == 0 && self.load.survivors == Survivors::Apart {
            self.all(Turn::LayAside)?;
        }
        if matches!(self.load.survivors, Survivors::FreedElsewhere | Survivors::FreedAtHome) {
            self.all(Turn::FreeOld(slot))?;
        }
        self.fill_ns.store(0, Relaxed);
        self.fill_faults.store(0, Relaxed);
        self.all(Turn::Fill(round))?;
        let full = memory::resident_bytes();
        self.all(Turn::Drain(slot))?;
        if self.from.told == Advice::PurgeEachRound {
            self.from.by.purge();
        }
        Ok(full)
    }

    /// Every thread asks the allocator to give back what is free, and the main thread too.
    fn purge(&self) -> Result<bool, String> {
        self.all(Turn::Purge)?;
        Ok(self.from.by.purge())
    }

    /// The sample, if no block was lost.
    fn sample(&self, values: &[(&str, Option<f64>)]) -> Result<Sample, String> {
        let (got, freed, live) = (self.got_count.load(Relaxed), self.freed_count.load(Relaxed), self.live());
        if got != freed + live.1 {
            return Err(format!("{got} blocks were got, but {freed} were freed and {} live", live.1));
        }
        let mut sample = with_known(Sample::default(), values);
        sample.receipts.ops_count = Some(got as f64);
        sample.doubts = tuned(self.from.by);
        Ok(sample)
    }
}

fn above(base: Option<u64>) -> Option<f64> {
    Some(memory::resident_bytes()?.saturating_sub(base?) as f64)
}

fn over(bytes: Option<f64>, of: f64) -> Option<f64> {
    Some(bytes? / of).filter(|ratio| ratio.is_finite())
}

/// All rounds. Meaningful only in a process that did nothing with this allocator before; so are the others here.
///
/// Values: `rss_per_live_ratio`, resident bytes above the start over the bytes that live, after the last round; `rss_early_ratio`, the same
/// after the first round from which on as many live; `full_growth_ratio`, the most that was resident in the last round over that in the early
/// one; `purged_per_live_ratio` after a purge by all threads; `arenas_count`, of glibc.
///
/// # Errors
/// What the allocator or the system refused; a block that was lost or damaged.
pub fn rounds(from: Served, load: Rounds) -> Result<Sample, String> {
    Stayers::with(from, load, |crew| {
        let base = memory::resident_bytes();
        let early_round = load.lives.min(load.rounds) - 1;
        let (mut early, mut early_full, mut full) = (None, None, None);
        for round in 0..load.rounds {
            full = crew.round(round)?.zip(base).map(|(now, base)| now.saturating_sub(base) as f64);
            if round == early_round {
                (early, early_full) = (over(above(base), crew.live().0 as f64), full);
            }
        }
        let live = crew.live().0 as f64;
        let last = over(above(base), live);
        let purged = if crew.purge()? { over(above(base), live) } else { None };
        let arenas = (from.by.id() == GLIBC.id()).then(arenas_count).flatten();
        crew.sample(&[
            ("rss_per_live_ratio", last),
            ("rss_early_ratio", early),
            ("full_growth_ratio", early_full.and_then(|early| over(full, early))),
            ("purged_per_live_ratio", purged),
            ("live_bytes", Some(live)),
            ("arenas_count", arenas.map(|n| n as f64)),
        ])
    })
}

/// All rounds, then nothing for `wait`, then a trickle of small calls by the threads, then a thread that gets one small block and ends, then a
/// purge by the main thread, then one by all threads.
///
/// Values, each the resident bytes above the start as a share of the most in the last round: `rss_after_share`, `rss_idle_share` (the
/// headline), `rss_trickle_share`, `rss_thread_end_share`, `rss_purged_share`, `rss_all_purged_share`.
///
/// # Errors
/// As [`rounds`].
pub fn idle(from: Served, load: Rounds, wait: Duration) -> Result<Sample, String> {
    Stayers::with(from, load, |crew| {
        let base = memory::resident_bytes();
        let mut full = None;
        for round in 0..load.rounds {
            full = crew.round(round)?;
        }
        let full = full.zip(base).map(|(now, base)| now.saturating_sub(base) as f64);
        let full = full.ok_or("this system does not tell how much memory is resident")?;
        let look = || over(above(base), full);
        let after = look();
        sleep(wait);
        let idle = look();
        crew.all(Turn::Trickle)?;
        let trickle = look();
        let ended = thread::scope(|s| s.spawn(|| crew.small()).join());
        ended.map_err(|_| "a thread panicked")??;
        let thread_end = look();
        let purges = from.by.purge();
        let known = |value: Option<f64>| value.filter(|_| purges);
        let purged = known(look());
        crew.purge()?;
        let all_purged = known(look());
        crew.sample(&[
            ("rss_after_share", after),
            ("rss_idle_share", idle),
            ("rss_trickle_share", trickle),
            ("rss_thread_end_share", thread_end),
            ("rss_purged_share", purged),
            ("rss_all_purged_share", all_purged),
        ])
    })
}

/// All rounds but the last; a purge by all threads, if `purges`; then the last round.
///
/// Values: `block_ns`, the CPU time of the last round's fill for each block, with the first write to its pages; `faults_per_page_count`, page
/// faults in it for each page of memory that was asked for.
///
/// # Errors
/// As [`rounds`]; or the allocator has no way to purge.
pub fn next_burst(from: Served, load: Rounds, purges: bool) -> Result<Sample, String> {
    Stayers::with(from, load, |crew| {
        let last = load.rounds - 1;
        for round in 0..last {
            crew.round(round)?;
        }
        if purges && !crew.purge()? {
            return Err(format!("{} has no function that gives memory back", from.by.id()));
        }
        let before = crew.got_count.load(Relaxed);
        crew.round(last)?;
        let blocks = (crew.got_count.load(Relaxed) - before) as f64;
        let pages = load.round_bytes() as f64 / memory::page_bytes() as f64;
        let cpu = cpu_time().map(|_| crew.fill_ns.load(Relaxed) as f64);
        let faults = memory::minor_faults().map(|_| crew.fill_faults.load(Relaxed) as f64);
        crew.sample(&[("block_ns", over(cpu, blocks)), ("faults_per_page_count", over(faults, pages))])
    })
}

/// All rounds, and what each source of numbers says of the memory that is resident then.
///
/// Values: `given_out_share`, what glibc says it gave out (`mallinfo2`), `live_share`, what our own count says lives, both over the resident
/// bytes above the start; `rss_purged_share`, what is still resident after a purge; `rss_growth_ratio`, resident after the last round over
/// that after half of them.
///
/// # Errors
/// As [`rounds`]; or this system has none of the sources.
pub fn sources(from: Served, load: Rounds) -> Result<Sample, String> {
    Stayers::with(from, load, |crew| {
        let (base, out) = (memory::resident_bytes(), given_out_bytes().ok_or(allocated::UNKNOWN)?);
        let mut half = None;
        for round in 0..load.rounds {
            crew.round(round)?;
            if round + 1 == load.rounds / 2 {
                half = above(base);
            }
        }
        let rss = above(base).ok_or("this system does not tell how much memory is resident")?;
        let given_out = difference(Some(out), given_out_bytes()).map(|bytes| bytes as f64);
        let live = crew.live().0 as f64;
        let purged = if crew.purge()? { above(base) } else { None };
        crew.sample(&[
            ("given_out_share", over(given_out, rss)),
            ("live_share", over(Some(live), rss)),
            ("rss_purged_share", over(purged, rss)),
            ("rss_growth_ratio", half.and_then(|half| over(Some(rss), half))),
            ("rss_bytes", Some(rss)),
        ])
    })
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn tell(told: Advice) -> Result<(), String> {
    match told {
        Advice::Nothing | Advice::PurgeEachRound => Ok(()),
        Advice::TwoArenas => {
            // SAFETY: takes two numbers and changes glibc's own settings under its lock; any thread may call it at any time.
            let done = unsafe { libc::mallopt(libc::M_ARENA_MAX, 2) } == 1;
            if done { Ok(()) } else { Err("mallopt refused a limit of 2 arenas".into()) }
        }
        Advice::NoDecay => no_decay(),
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn tell(told: Advice) -> Result<(), String> {
    match told {
        Advice::Nothing | Advice::PurgeEachRound => Ok(()),
        Advice::TwoArenas => Err("only glibc has a limit on arenas".into()),
        Advice::NoDecay => no_decay(),
    }
}

#[cfg(feature = "jemalloc")]
fn no_decay() -> Result<(), String> {
    use std::{
        ffi::{c_char, c_int, c_void},
        ptr::null_mut,
    };
    unsafe extern "C" {
        fn _rjem_mallctl(
            name: *const c_char,
            old: *mut c_void,
            old_len: *mut usize,
            new: *mut c_void,
            new_len: usize,
        ) -> c_int;
    }
    // For arenas to come, and for those that are there (4096 is MALLCTL_ARENAS_ALL, jemalloc_macros.h).
    let names = [
        c"arenas.dirty_decay_ms",
        c"arenas.muzzy_decay_ms",
        c"arena.0.dirty_decay_ms",
        c"arena.0.muzzy_decay_ms",
    ];
    for name in names {
        let mut never: isize = 0;
        // SAFETY: each of these reads an `ssize_t` from `new` (jemalloc(3)), which is live here and of that size; nothing is asked back.
        let code = unsafe {
            _rjem_mallctl(name.as_ptr(), null_mut(), null_mut(), (&raw mut never).cast(), size_of::<isize>())
        };
        if code != 0 {
            return Err(format!("jemalloc refused {}: error {code}", name.to_string_lossy()));
        }
    }
    Ok(())
}

#[cfg(not(feature = "jemalloc"))]
fn no_decay() -> Result<(), String> {
    Err("jemalloc is not in this build".into())
}

/// How many arenas glibc has; `None` where it does not tell.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn arenas_count() -> Option<usize> {
    let (mut text, mut length) = (std::ptr::null_mut(), 0);
    // SAFETY: both places are live until the stream is closed, below; it writes to them then at the latest.
    let stream = unsafe { libc::open_memstream(&raw mut text, &raw mut length) };
    if stream.is_null() {
        return None;
    }
    // SAFETY: the stream is open and ours; 0 is the only option there is.
    let told = unsafe { libc::malloc_info(0, stream) } == 0;
    // SAFETY: the stream is open, and nobody uses it afterwards.
    let closed = unsafe { libc::fclose(stream) } == 0;
    if text.is_null() {
        return None;
    }
    // SAFETY: a closed memory stream leaves a buffer that ends with a NUL byte (open_memstream(3)); it is ours until it is freed, below.
    let xml = unsafe { std::ffi::CStr::from_ptr(text) }.to_string_lossy().into_owned();
    // SAFETY: open_memstream(3): the caller frees the buffer; no reference to it is left.
    unsafe { libc::free(text.cast()) };
    (told && closed).then(|| xml.matches("<heap nr=").count())
}

/// There is no glibc here.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn arenas_count() -> Option<usize> {
    None
}
