//! Where is the pause of a large allocation: the call, the first touch, the free, or a bystander?
//!
//! Run it: `cargo run --release --bin alloc_first_touch -- --step`
//!
//! Each size of `who_pays` has a process of its own, since an allocator remembers: glibc raises its mmap threshold to
//! the size of each mapped block that it frees, so a run that begins with 16 MiB and one that begins with 1 MiB
//! report different worlds.
use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use underhood::{
    contenders::alloc::{ALIGN, ALLOCATORS, Allocator, Block},
    experiments::{
        bystander::{Antagonist, watch_all},
        cycle::{Cycles, Extent, cycle},
        victim::Victim,
    },
    lab::{
        Bench, Claim,
        Expect::{self, *},
        Kind, Lab, Launch, Pick, Predict, Say, Step, Timed, pick,
        plan::Plan,
        sample::{Sample, each},
    },
    machine::memory,
    record::AA,
};

const MIB: usize = 1 << 20;
const SIZES: &[&str] = &["16MiB", "64MiB", "256MiB"];
/// From here on one warm cycle is enough in a launch: it is 65,536 faults long.
const BIG: usize = 256 * MIB;
/// What the rest of the process may need while a block is held.
const MARGIN: usize = 64 * MIB;
/// How long the process sleeps before it is asked once more what it holds. Far below mimalloc's purge delay of 1 s.
const IDLE: Duration = Duration::from_millis(5);
/// Enough for a p99, and small blocks are done in milliseconds.
const MOST_CYCLES: u64 = 2_000;
/// What the antagonist works on: 64 MiB a cycle, so that a slot of tens of milliseconds holds whole cycles.
const ANTAGONIST: usize = 64 * MIB;

pub(crate) static LAB: Lab = Lab {
    stem: "alloc_first_touch",
    question: "Where is the pause of a large allocation: the call, the first touch, the free, or a bystander?",
    steps: &[WHO_PAYS, BYSTANDER],
    says: &[
        Say {
            step: "who_pays",
            text: "malloc(256 MiB) itself takes {against}; the first write to each page takes {value}, {ratio} \
                   times as long. The pause has moved out of the call that everybody measures.",
            of: TOUCH,
            against: Some(CALL),
            not_true_when: "the allocator kept the memory of an earlier block (mimalloc, or glibc below its mmap \
                            threshold)",
        },
        Say {
            step: "who_pays",
            text: "Allocating, touching and freeing 64 MiB again and again costs {value} a round with glibc and \
                   {against} with mimalloc, which keeps the memory.",
            of: GLIBC_64,
            against: Some(MIMALLOC_64),
            not_true_when: "M_MMAP_THRESHOLD is set, or the process can't afford to keep the memory",
        },
        Say {
            step: "bystander",
            text: "A thread that only maps and unmaps 64 KiB stood still for {value} while another thread mapped 64 \
                   MiB with MAP_POPULATE; without it, for {against} at worst.",
            of: MAP,
            against: Some(CALM),
            not_true_when: "the bystander asks the kernel for no mapping: it then takes no mmap_lock",
        },
    ],
    not_said: &[
        "That mimalloc is faster: it is as fast as memory that is never given back. Its first block pays too; its RSS stays.",
        "That 33 faults are cheaper than 16,385: mimalloc asks for 2 MiB pages, and each must be found and cleared whole.",
        "How much memory comes back later: the idle moment is 5 ms, mimalloc's purge delay is 1 s, and a purge needs a call.",
        "What a fault costs on bare metal: a virtual machine makes it dearer.",
        "That 16 MiB are always cheap with glibc: only after the second block of that size, on the main thread.",
        "The largest wait as a property of the kernel: it grows with the block, and a maximum of a few cycles is no bound.",
    ],
    next: &[
        "Why does calloc of 256 MiB return at once, and of 16 MiB not? (a kept block is cleared: alloc_growth)",
        "Would you pre-fault with MAP_POPULATE? Who waits then?",
        "When is a buffer pool worth it? (above the size from which the allocator gives memory back: alloc_cliff)",
        "What do transparent huge pages change? (fewer and dearer faults: alloc_pages)",
        "How does a managed heap move the same costs? (it clears large objects in the allocating call)",
    ],
    sources: &[
        "mallopt(3), M_MMAP_THRESHOLD: the dynamic threshold and its cap of 4 * 1024 * 1024 * sizeof(long)",
        "glibc malloc/malloc.c: sysmalloc, munmap_chunk, DEFAULT_MMAP_THRESHOLD_MAX",
        "mimalloc, https://microsoft.github.io/mimalloc/environment.html: MIMALLOC_PURGE_DELAY",
        "jemalloc(3): opt.oversize_threshold",
        "mimalloc 3.3 src/prim/unix/prim.c: MADV_HUGEPAGE on what it maps; src/arena.c: when it purges",
        "Linux mm/memory.c do_anonymous_page; mm/mmap.c and mm/vma.c: munmap zaps pages under mmap_lock held for reading (since 4.20)",
        "Linux commit bebeb3d68b24, mm_populate: populating happens after the write lock was released, so under the read lock",
        "Linux commit 5e31275cc997, per-VMA locks (6.4): a fault takes no mmap_lock",
        "Idea of a control beside the measurement: jHiccup, https://github.com/giltene/jHiccup",
    ],
    benches,
};

const fn glibc(param: &'static str, value: &'static str) -> Pick {
    pick("glibc", param, value)
}

const TOUCH: Pick = glibc("256MiB", "touch_ns");
const CALL: Pick = glibc("256MiB", "call_ns");
const FREE: Pick = glibc("256MiB", "free_ns");
const GLIBC_16: Pick = glibc("16MiB", "cycle_ns");
const GLIBC_64: Pick = glibc("64MiB", "cycle_ns");
const GLIBC_HOLDS: Pick = glibc("64MiB", "rss_after_share");
const MIMALLOC_64: Pick = pick("mimalloc", "64MiB", "cycle_ns");
const JEMALLOC_16: Pick = pick("jemalloc", "16MiB", "cycle_ns");
const MIMALLOC_16: Pick = pick("mimalloc", "16MiB", "cycle_ns");
const MIMALLOC_HOLDS: Pick = pick("mimalloc", "64MiB", "rss_after_share");
const MIMALLOC_PURGED: Pick = pick("mimalloc", "64MiB", "rss_purged_share");
const PURGE: Pick = pick("mimalloc", "64MiB", "purge_ns");
const MIMALLOC_FREE: Pick = pick("mimalloc", "64MiB", "free_ns");
const CALM: Pick = pick("compute", "map", "wait_max_ns");
const MAP: Pick = pick("populate", "map", "wait_max_ns");
const FAULT: Pick = pick("populate", "fault", "wait_max_ns");
const TOUCHED: Pick = glibc("map", "wait_max_ns");

const fn claim(cores: usize, expect: Expect, text: &'static str, of: Pick, against: Option<Pick>) -> Claim {
    Claim { text, of, against, expect, cores }
}

const WHO_PAYS: Step = Step {
    name: "who_pays",
    ask: "You malloc 64 MiB with glibc, write one byte to each page, and free it, again and again. How long does \
          one round take, in ns?",
    predict: Predict::Number { case: "glibc", param: "64MiB" },
    kind: Kind::Single,
    cases: &["glibc", "mimalloc", "jemalloc", "snmalloc"],
    params: SIZES,
    launch: Launch::Isolated,
    measure: who_pays,
    headline: "cycle_ns",
    columns: &[
        "call_ns",
        "touch_ns",
        "free_ns",
        "faults_per_cycle_count",
        "cold_cycle_ns",
        "rss_after_bytes",
        "purge_ns",
        "rss_purged_bytes",
    ],
    claims: &[
        claim(1, AtLeast(100.0), "256 MiB, glibc: the touch costs 100 times the call", TOUCH, Some(CALL)),
        claim(1, AtLeast(10.0), "256 MiB, glibc: the free costs 10 times the call", FREE, Some(CALL)),
        claim(1, AtLeast(10.0), "glibc: warm 64 MiB cost 10 times warm 16 MiB", GLIBC_64, Some(GLIBC_16)),
        claim(1, AtMost(0.1), "warm 64 MiB: mimalloc takes a tenth of glibc", MIMALLOC_64, Some(GLIBC_64)),
        claim(
            1,
            AtLeast(10.0),
            "warm 16 MiB: jemalloc takes 10 times mimalloc",
            JEMALLOC_16,
            Some(MIMALLOC_16),
        ),
        claim(1, AtLeast(0.5), "mimalloc still holds half of a freed 64 MiB block", MIMALLOC_HOLDS, None),
        claim(1, AtMost(0.1), "glibc holds at most a tenth of a freed 64 MiB block", GLIBC_HOLDS, None),
        claim(1, AtMost(0.2), "after a purge mimalloc holds at most a fifth of it", MIMALLOC_PURGED, None),
        claim(
            1,
            AtLeast(10.0),
            "that purge costs 10 times the free it makes up for",
            PURGE,
            Some(MIMALLOC_FREE),
        ),
    ],
    because: "malloc of a large block is one mmap: the kernel notes an address range and provides no memory, so the \
              call takes microseconds at any size. The first write to each page is a fault, in which the kernel \
              finds a page, clears it and maps it (Linux mm/memory.c, do_anonymous_page): 65,536 faults for 256 \
              MiB. Above 32 MiB glibc's free is munmap, which gives every page back, and the next block pays again \
              (glibc malloc/malloc.c, munmap_chunk). Below, the first free raises the threshold, and the following \
              blocks come from the heap and stay there. mimalloc keeps what it got (its purge waits 1 s, and for \
              the owner's next call); its price is the memory it holds, its first block \
              paid too, and whoever purges later pays for the frees. jemalloc serves blocks above 8 MiB from an arena that gives them \
              back at once (opt.oversize_threshold); snmalloc keeps all. Call, touch and free are timed apart, and checked against \
              the whole. Open src/contenders/alloc/block.rs: Block::new, touch_every and drop are the three parts.",
    tour: true,
};

const BYSTANDER: Step = Step {
    name: "bystander",
    ask: "One thread maps 64 MiB with MAP_POPULATE and unmaps it. Another thread, on another CPU, maps and unmaps \
          64 KiB in a loop. How long does it stand still at worst, in ns?",
    predict: Predict::Number { case: "populate", param: "map" },
    kind: Kind::Pause,
    cases: &["compute", "glibc", "populate"],
    params: &["map", "fault"],
    launch: Launch::Together,
    measure: bystander,
    headline: "wait_max_ns",
    columns: &["wait_p50_ns", "wait_p99_ns", "stalled_share", "raw_max_ns", "runq_max_ns", "cycles_count"],
    claims: &[
        claim(2, AtLeast(10.0), "mapping waits 10 times longer beside MAP_POPULATE", MAP, Some(CALM)),
        claim(2, AtMost(0.2), "beside it, faulting waits a fifth of that at most", FAULT, Some(MAP)),
        claim(2, AtMost(0.5), "touching instead of populating halves the mapper's wait", TOUCHED, Some(MAP)),
    ],
    because: "mmap and munmap change the process's one list of mappings and take mmap_lock for writing. \
              MAP_POPULATE provides all its pages under the same lock held for reading, so a writer waits until the \
              last page is there; munmap frees its pages under the read lock too. A fault takes only the lock of \
              its own mapping (since Linux 6.4; before, mmap_lock for reading, which other readers do not hinder), \
              so a thread that touches page by page leaves gaps, and a thread that only faults hardly notices. \
              More victims and more antagonists: lab alloc_mmap_lock. Open src/experiments/bystander.rs: Victim, Antagonist, Watched::slot.",
    tour: false,
};

fn who_pays(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    each(cases, params, |case, param| {
        let bytes = bytes_of(param);
        let allocator = ready(case, 2 * bytes)?;
        let idle = if plan.is_smoke() { Duration::ZERO } else { IDLE };
        let least = if plan.is_smoke() || bytes >= BIG { 1 } else { 2 };
        let extent = Extent { time: plan.slice / 4, least, most: MOST_CYCLES, idle };
        let cycles = Cycles::measure(allocator, bytes, extent).map_err(|e| e.to_string())?;
        if cycles.count > 4 && cycles.resident.is_some_and(|r| r > (2 * bytes + MARGIN) as u64) {
            return Err(format!(
                "{case} holds more than two blocks after the last free: blocks were not freed"
            ));
        }
        Ok(cycles.sample(param))
    })
}

fn bystander(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    // The control runs twice: the second time as the A/A row, the smallest difference that the step may claim.
    let arms: Vec<&str> = cases.iter().copied().chain(cases.contains(&"compute").then_some(AA)).collect();
    let bytes = if plan.is_smoke() { 4 * MIB } else { ANTAGONIST };
    let cpus = match plan.cpus[..] {
        [victim, other, ..] => room(bytes).map(|()| [victim, other]),
        _ => Err("needs 2 CPUs: on one, the bystander waits for the CPU and not for memory".into()),
    };
    let watched = params.iter().flat_map(|param| match &cpus {
        Ok(cpus) => bystander_one(plan, &arms, param, bytes, *cpus),
        Err(why) => arms.iter().map(|arm| Sample::unmeasured(arm, param, why)).collect(),
    });
    watched.collect()
}

fn bystander_one(plan: &Plan, arms: &[&str], param: &str, bytes: usize, cpus: [usize; 2]) -> Vec<Sample> {
    let victim = match param {
        "map" => Victim::Map,
        _ => Victim::Fault,
    };
    let (arms, missing): (Vec<&str>, Vec<&str>) =
        arms.iter().partition(|arm| **arm != "glibc" || Allocator::named("glibc").is_some());
    let antagonist = |arm: &&str| match (*arm, Allocator::named(arm)) {
        ("populate", _) => Antagonist::Populate,
        (_, Some(allocator)) => Antagonist::Cycle(allocator),
        _ => Antagonist::Compute,
    };
    let beside: Vec<Antagonist> = arms.iter().map(antagonist).collect();
    let watched = watch_all(victim, &beside, bytes, plan.slice / 6, cpus);
    let told = arms.iter().zip(watched).map(|(arm, watched)| match watched {
        Ok(watched) => watched.sample(arm, param),
        Err(why) => Sample::unmeasured(arm, param, format!("not possible here: {why}")),
    });
    told.chain(
        missing.iter().filter_map(|arm| Some(Sample::unmeasured(arm, param, Allocator::find(arm).err()?))),
    )
    .collect()
}

/// The allocator, if it exists here and there is room for `bytes`.
fn ready(case: &str, bytes: usize) -> Result<&'static Allocator, String> {
    room(bytes)?;
    Allocator::find(case)
}

fn room(bytes: usize) -> Result<(), String> {
    memory::Room::now().refusal((bytes + MARGIN) as u64).map_or(Ok(()), Err)
}

fn bytes_of(param: &str) -> usize {
    let (number, unit) = param.split_at(param.find(|c: char| !c.is_ascii_digit()).unwrap_or(param.len()));
    number.parse::<usize>().unwrap_or(0) * if unit == "KiB" { 1 << 10 } else { MIB }
}

/// Whole warm cycles below and above glibc's largest threshold, and the same with a pool: rent a buffer, touch its pages,
/// return it. History matters: criterion runs all in one process. The lab's own numbers come from a fresh process for each
/// size.
fn benches(_: &Plan) -> Vec<Bench> {
    let bench = |(allocator, size): (Option<&'static Allocator>, &'static str)| {
        let bytes = bytes_of(size);
        let make = move || -> Timed {
            let run: Box<dyn Fn()> = match allocator {
                Some(allocator) => Box::new(move || {
                    cycle(allocator, bytes).expect("64 MiB are not refused");
                }),
                None => {
                    let pool = Pool::new(bytes);
                    Box::new(move || pool.cycle())
                }
            };
            Box::new(move |iters| {
                let start = Instant::now();
                (0..iters).for_each(|_| run());
                start.elapsed()
            })
        };
        Bench { id: format!("{}/{size}", allocator.map_or("pool", |a| a.name)), make: Box::new(make) }
    };
    let contenders = ALLOCATORS.iter().map(Some).chain([None]);
    contenders.flat_map(|a| ["1MiB", "64MiB"].map(|size| (a, size))).map(bench).collect()
}

/// Buffers that were touched once and are kept: two of them, under a lock as a pool of a service is.
struct Pool(Mutex<Vec<Block>>);

impl Pool {
    fn new(bytes: usize) -> Self {
        let block = || Block::new(&ALLOCATORS[0], bytes, ALIGN).expect("64 MiB are not refused");
        Self(Mutex::new(vec![block(), block()]))
    }

    fn cycle(&self) {
        let rented = self.0.lock().expect("nobody panics with the lock").pop();
        let mut block = rented.expect("one is rented at a time");
        block.touch_every(memory::page_bytes());
        self.0.lock().expect("nobody panics with the lock").push(block);
    }
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(&LAB)
}
