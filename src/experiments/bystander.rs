//! What one thread's memory calls do to another thread of the same process.
//!
//! A **slot** runs an antagonist on one CPU and a victim on another. The victim repeats one small operation and times
//! each one; the antagonist repeats its big one for the slot's time, at least once and always to its end, so every
//! slot holds whole cycles and no slot is longer than its time plus one cycle. What the victim waited is split by
//! `/proc/thread-self/schedstat` into run-queue delay (the scheduler ran somebody else) and the rest, which is the
//! antagonist's doing or the machine's.
//!
//! Limits: a closed loop. A stall of 80 ms is one sample, however many operations it kept from happening, so
//! percentiles hardly see it: read the worst wait and the stalled share. Only the victim's own run-queue delay is taken
//! out: if the antagonist loses its CPU while it holds the lock, the victim waits for that too, so its delay is shown
//! beside it.
use std::{
    hint, io,
    sync::atomic::{
        AtomicBool,
        Ordering::{Acquire, Release},
    },
    thread,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use crate::{
    contenders::alloc::{ALIGN, Allocator, Block},
    experiments::victim::{Operation, Victim, spin},
    lab::{
        Setting,
        plan::Plan,
        sample::{AA, Sample},
    },
    machine::{
        memory::{self, Mapping},
        pin_current_thread,
        sched::runq_of_this_thread,
    },
    measure::latency::{difference, histogram, ns, quantile, with_known},
};

/// Waits from here on are split: reading schedstat costs about 1 us, too much for each operation.
const SPLIT_FROM_NS: u64 = 50_000;
/// Between splits the delay is read once in so many operations, so that a split never charges delays of the far past
/// to a wait.
const REFRESH_EVERY: u64 = 256;
/// A net wait from here on counts as a stall.
const STALL_FROM_NS: u64 = 1_000_000;

/// What the other thread does meanwhile.
#[derive(Clone, Copy, Debug)]
pub enum Antagonist {
    /// Arithmetic only: the control. Not an idle CPU, since with a second running thread each unmap of the victim
    /// must interrupt that CPU to flush its TLB, and that price must not be charged to the antagonist's memory calls.
    Compute,
    /// Allocates, touches each page, frees.
    Cycle(&'static Allocator),
    /// Maps with `MAP_POPULATE`, unmaps.
    Populate,
    /// Maps and unmaps, and touches nothing in between.
    MapUnmap,
    /// Makes touched memory read-only and writable again.
    Protect,
    /// Touches memory and gives it back with `MADV_DONTNEED`, 64 KiB at a time.
    Forget,
    /// Reads `/proc/self/smaps`, as monitoring does; the kernel walks all touched pages for it.
    Smaps,
    /// Touches every page of memory that stays: no system call.
    Pooled,
}

/// A row for each antagonist, watched for twice the plan's slice; and one more of the first, the control: the `A/A` row, the
/// smallest difference that a step may claim. See [`watch_all`].
pub fn rows(
    plan: &Plan,
    param: &str,
    victim: Victim,
    all: &[Setting<Antagonist>],
    bytes: usize,
) -> Vec<Sample> {
    let twin = all.first().map(|b| b.as_case(AA));
    let all: Vec<_> = all.iter().copied().chain(twin).collect();
    let cpus = match plan.cpus[..] {
        [first, second, ..] => memory::room_for(2 * bytes).map(|()| [first, second]),
        _ => Err("needs 2 CPUs: on one, the bystander waits for the CPU and not for memory".into()),
    };
    let cpus = match cpus {
        Ok(cpus) => cpus,
        Err(why) => return all.iter().map(|b| Sample::unmeasured(b.id(), param, &why)).collect(),
    };
    let antagonists: Vec<Antagonist> = all.iter().map(|b| b.value).collect();
    let watched = watch_all(victim, &antagonists, bytes, plan.slice, cpus);
    let told = all.iter().zip(watched).map(|(b, watched)| match watched {
        Ok(watched) => watched.sample(b.id(), param),
        Err(why) => Sample::unmeasured(b.id(), param, format!("not possible here: {why}")),
    });
    told.collect()
}

/// What [`Antagonist::Forget`] gives back at a time.
const PIECE: usize = 64 << 10;

/// Watches one victim beside each antagonist for twice `time`: two rounds of slots, the second in reverse order, so
/// that a drift of the machine meets all of them alike. What the system refused is the error of that antagonist
/// alone. See [`Watched::slot`].
pub fn watch_all(
    victim: Victim,
    beside: &[Antagonist],
    bytes: usize,
    time: Duration,
    cpus: [usize; 2],
) -> Vec<io::Result<Watched>> {
    let mut all: Vec<io::Result<Watched>> = beside.iter().map(|_| Ok(Watched::new())).collect();
    for i in (0..beside.len()).chain((0..beside.len()).rev()) {
        if let Ok(watched) = &mut all[i]
            && let Err(why) = watched.slot(victim, beside[i], bytes, time, cpus)
        {
            all[i] = Err(why);
        }
    }
    all
}

/// What a victim suffered over its slots.
#[derive(Debug)]
pub struct Watched {
    /// Waits without run-queue delay, in ns.
    pub net: Histogram<u64>,
    /// The worst of `net`, exactly: the histogram rounds to three digits.
    pub net_max_ns: u64,
    /// The worst wait with everything in it, in ns.
    pub raw_max_ns: u64,
    /// The largest run-queue delay within one wait, in ns.
    pub runq_max_ns: u64,
    /// The victim's run-queue delay in all, in ns; `None` if the kernel does not tell, and then `net` is raw.
    pub runq_ns: Option<u64>,
    /// The antagonist's run-queue delay in all, in ns. `net` does not exclude it: who waits for a lock also waits
    /// while its holder waits for a CPU.
    pub other_runq_ns: Option<u64>,
    /// Time spent in net waits of 1 ms or more, in ns.
    pub stalled_ns: u64,
    /// Time watched, in ns.
    pub wall_ns: u64,
    /// Whole cycles that the antagonist did.
    pub cycles: u64,
    /// Slots.
    pub slots: u64,
    /// Slots in which a thread could not be pinned to its CPU.
    pub unpinned: u64,
}

impl Watched {
    /// Nothing watched yet.
    pub fn new() -> Self {
        Self {
            net: histogram(),
            net_max_ns: 0,
            raw_max_ns: 0,
            runq_max_ns: 0,
            runq_ns: Some(0),
            other_runq_ns: Some(0),
            stalled_ns: 0,
            wall_ns: 0,
            cycles: 0,
            slots: 0,
            unpinned: 0,
        }
    }

    /// Runs one slot: victim on `cpus[0]`, antagonist with blocks of `bytes` on `cpus[1]`. Takes `time` plus at most
    /// one cycle.
    ///
    /// # Errors
    /// What the system said, if one of the two could not do its operation; then the slot must not be used.
    pub fn slot(
        &mut self,
        victim: Victim,
        against: Antagonist,
        bytes: usize,
        time: Duration,
        cpus: [usize; 2],
    ) -> io::Result<()> {
        if let Antagonist::Cycle(allocator) = against {
            allocator.check(memory::page_bytes(), ALIGN).map_err(io::Error::other)?;
        }
        let mut memory = against.prepare(bytes)?;
        let (go, done) = (AtomicBool::new(false), AtomicBool::new(false));
        let (watched, other) = thread::scope(|s| {
            let other = s.spawn(|| {
                // Also set when this thread panics or fails: the victim must never wait for an antagonist that is
                // gone.
                let _end = SetOnDrop(&done);
                let pinned = pin_current_thread(cpus[1]);
                // E1
                while !go.load(Acquire) {
                    if done.load(Acquire) {
                        return Ok((0, pinned, None)); // the victim failed before it began
                    }
                    hint::spin_loop();
                }
                let (runq_ns, begin) = (runq_of_this_thread(), Instant::now());
                let (first, mut cycles) = (runq_ns(), 0);
                while cycles == 0 || begin.elapsed() < time {
                    against.cycle(bytes, &mut memory)?;
                    cycles += 1;
                }
                Ok::<_, io::Error>((cycles, pinned, difference(first, runq_ns())))
            });
            let watcher = s.spawn(|| {
                let _end = SetOnDrop(&done);
                let pinned = pin_current_thread(cpus[0]);
                self.watch(victim, &go, &done).map(|()| pinned)
            });
            (join(watcher), join(other))
        });
        let (victim_pinned, (cycles, other_pinned, other_runq)) = (watched?, other?);
        self.other_runq_ns = self.other_runq_ns.zip(other_runq).map(|(a, b)| a + b);
        self.cycles += cycles;
        self.slots += 1;
        self.unpinned += u64::from(!(victim_pinned && other_pinned));
        Ok(())
    }

    /// Runs `work` once on the calling thread, pinned to `cpus[1]`, while a victim is watched on `cpus[0]`: for work
    /// that must happen on the thread that prepared it. The calling thread stays pinned.
    ///
    /// # Errors
    /// What the system said, if the victim could not do its operation; `work` may not have run then.
    pub fn beside<T>(&mut self, victim: Victim, cpus: [usize; 2], work: impl FnOnce() -> T) -> io::Result<T> {
        let (go, done) = (AtomicBool::new(false), AtomicBool::new(false));
        let pinned = pin_current_thread(cpus[1]);
        let result = thread::scope(|s| {
            let watcher = s.spawn(|| {
                let _end = SetOnDrop(&done);
                let pinned = pin_current_thread(cpus[0]);
                self.watch(victim, &go, &done).map(|()| pinned)
            });
            let _end = SetOnDrop(&done); // also if `work` panics: the victim must not watch for ever
            // E1
            while !go.load(Acquire) && !done.load(Acquire) {
                hint::spin_loop();
            }
            let result = go.load(Acquire).then(work);
            done.store(true, Release); // E2
            join(watcher).map(|victim_pinned| (result, victim_pinned))
        });
        let (result, victim_pinned) = result?;
        self.slots += 1;
        self.unpinned += u64::from(!(pinned && victim_pinned));
        result.ok_or_else(|| io::ErrorKind::Other.into())
    }

    /// Records one wait: `raw` ns by the clock, `runq` of them in a run queue.
    pub fn record(&mut self, raw: u64, runq: u64) {
        let runq = runq.min(raw);
        let net = raw - runq;
        self.net.saturating_record(net);
        self.net_max_ns = self.net_max_ns.max(net);
        self.raw_max_ns = self.raw_max_ns.max(raw);
        self.runq_max_ns = self.runq_max_ns.max(runq);
        if net >= STALL_FROM_NS {
            self.stalled_ns += net;
        }
    }

    /// What was watched, as a sample: waits are net of run-queue delay unless they are called raw.
    pub fn sample(&self, case: &str, param: &str) -> Sample {
        let (wall, ops) = (self.wall_ns.max(1) as f64, self.net.len() as f64);
        let values = [
            ("wait_max_ns", Some(self.net_max_ns as f64)),
            ("wait_p50_ns", quantile(&self.net, 0.5)),
            ("wait_p99_ns", quantile(&self.net, 0.99)),
            ("raw_max_ns", Some(self.raw_max_ns as f64)),
            ("runq_max_ns", self.runq_ns.map(|_| self.runq_max_ns as f64)),
            ("antagonist_runq_share", self.other_runq_ns.map(|r| r as f64 / wall)),
            ("stalled_share", Some(self.stalled_ns as f64 / wall)),
            ("ops_per_s", Some(ops * 1e9 / wall)),
            ("cycles_count", Some(self.cycles as f64)),
        ];
        let mut sample = with_known(Sample::new(case, param), &values);
        sample.receipts.kept_count = Some(self.slots as f64);
        sample.receipts.ops_count = Some(ops);
        // Of the two lanes the one that was worse off.
        let runq = self.runq_ns.zip(self.other_runq_ns).map(|(victim, other)| victim.max(other));
        sample.receipts.runq_share = runq.map(|r| r as f64 / wall);
        if self.runq_ns.is_none() {
            let doubt = "no run-queue delay from this kernel: waits include the scheduler's part";
            sample.doubts.push(doubt.into());
        }
        if self.unpinned > 0 {
            let doubt = "the two threads could not be pinned to two CPUs: they may have shared one";
            sample.doubts.push(doubt.into());
        }
        sample
    }

    fn watch(&mut self, victim: Victim, go: &AtomicBool, done: &AtomicBool) -> io::Result<()> {
        let mut operation = Operation::new(victim)?;
        let runq_ns = runq_of_this_thread();
        for _ in 0..16 {
            operation.run()?; // code, stack and page tables are there before the clock runs
        }
        operation.prepare()?;
        let begin = Instant::now();
        let first = runq_ns();
        let (mut seen, mut n) = (first, 0_u64);
        // E1 go: Release -> the antagonist's Acquire: its first cycle begins after the warm-up is over.
        go.store(true, Release);
        // E2 done: Release -> this Acquire: its last cycle ended before the watching does.
        while !done.load(Acquire) {
            let start = Instant::now();
            operation.run()?;
            let raw = ns(start.elapsed().saturating_sub(operation.asked()));
            n += 1;
            let slow = raw >= SPLIT_FROM_NS;
            let mut waited = 0;
            if slow || n.is_multiple_of(REFRESH_EVERY) {
                let now = runq_ns();
                if let (true, Some(seen), Some(now)) = (slow, seen, now) {
                    waited = now.saturating_sub(seen);
                }
                seen = now;
            }
            self.record(raw, waited);
            operation.prepare()?;
        }
        self.wall_ns += ns(begin.elapsed());
        let spent = difference(first, runq_ns());
        self.runq_ns = self.runq_ns.zip(spent).map(|(a, b)| a + b);
        Ok(())
    }
}

impl Default for Watched {
    fn default() -> Self {
        Self::new()
    }
}

impl Antagonist {
    /// What it works on and keeps from cycle to cycle, every page touched: before anybody is watched.
    fn prepare(self, bytes: usize) -> io::Result<Option<Mapping>> {
        let keeps = matches!(self, Self::Protect | Self::Forget | Self::Smaps | Self::Pooled);
        let mut memory = if keeps { Mapping::lazy(bytes)? } else { return Ok(None) };
        memory.small_pages_only();
        (0..bytes).step_by(memory::page_bytes()).for_each(|at| memory.touch(at));
        Ok(Some(memory))
    }

    /// One whole cycle on blocks of `bytes`.
    fn cycle(self, bytes: usize, memory: &mut Option<Mapping>) -> io::Result<()> {
        let page = memory::page_bytes();
        match (self, memory) {
            (Self::Protect, Some(memory)) => {
                memory.set_writable(false)?;
                memory.set_writable(true)?;
            }
            (Self::Forget, Some(memory)) => {
                for from in (0..bytes).step_by(PIECE) {
                    let piece = PIECE.min(bytes - from);
                    (from..from + piece).step_by(page).for_each(|at| memory.touch(at));
                    if !memory.forget_part(from, piece) {
                        return Err(io::Error::last_os_error());
                    }
                }
            }
            (Self::Pooled, Some(memory)) => (0..bytes).step_by(page).for_each(|at| memory.touch(at)),
            (Self::Smaps, _) => drop(hint::black_box(std::fs::read("/proc/self/smaps")?)),
            _ => return self.anew(bytes, page),
        }
        Ok(())
    }

    /// A cycle that keeps nothing for the next.
    fn anew(self, bytes: usize, page: usize) -> io::Result<()> {
        match self {
            Self::Compute => {
                for _ in 0..100 {
                    spin();
                }
            }
            Self::Cycle(allocator) => {
                let mut block = Block::new(allocator, bytes, ALIGN).map_err(io::Error::other)?;
                hint::black_box(block.touch_every(page));
            }
            Self::Populate => drop(Mapping::populated(bytes)?),
            Self::MapUnmap => drop(Mapping::lazy(bytes)?),
            _ => unreachable!("it keeps memory, which was prepared"),
        }
        Ok(())
    }
}

/// Sets the flag however the thread ends.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Release); // E2
    }
}

/// A panic in one of the threads is a panic here: it is a broken promise inside the house.
fn join<T>(handle: thread::ScopedJoinHandle<'_, T>) -> T {
    handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
