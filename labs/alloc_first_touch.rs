//! Where is the pause of a large allocation: the call, the first touch, the free, or a bystander?
//!
//! Run it: `cargo run --release --bin alloc_first_touch -- --step`
//!
//! Each size of `who_pays` has a process of its own, since an allocator remembers: glibc raises its mmap threshold to
//! the size of each mapped block that it frees, so a run that begins with 16 MiB and one that begins with 1 MiB
//! report different worlds.
use std::{sync::Mutex, time::Duration};

use underhood::{
    contenders::alloc::{self, ALIGN, ALLOCATORS, Allocator, Block, GLIBC},
    experiments::{
        bystander::{Antagonist, rows},
        cycle::{Cycles, Extent, cycle},
        victim::Victim,
    },
    lab::{
        Bench, Kind, Lab, Setting, Step, Timed, at, at_least, at_most, bytes, pick, ratio, setting, shown_by,
        source,
    },
    machine::memory,
    measure::latency::repeated,
};

const MIB: usize = 1 << 20;
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

const BESIDE: [Setting<Antagonist>; 3] = [
    setting("compute", Antagonist::Compute),
    setting("glibc", Antagonist::Cycle(&GLIBC)),
    setting("populate", Antagonist::Populate),
];

pub(crate) fn lab() -> Lab {
    underhood::lab!(
        "alloc_first_touch",
        "Where is the pause of a large allocation: the call, the first touch, the free, or a bystander?"
    )
    .step(who_pays())
    .step(bystander())
    .say(
        "who_pays",
        "malloc(256 MiB) itself takes {against}; the first write to each page takes {value}, {ratio} \
         times as long. The pause has moved out of the call that everybody measures.",
        ratio(pick("glibc", "256MiB", "touch_ns"), pick("glibc", "256MiB", "call_ns")),
        "the allocator kept the memory of an earlier block (mimalloc, or glibc below its mmap threshold)",
    )
    .say(
        "who_pays",
        "Allocating, touching and freeing 64 MiB again and again costs {value} a round with glibc and \
         {against} with mimalloc, which keeps the memory.",
        ratio(("glibc", "64MiB"), ("mimalloc", "64MiB")),
        "M_MMAP_THRESHOLD is set, or the process can't afford to keep the memory",
    )
    .say(
        "bystander",
        "A thread that only maps and unmaps 64 KiB stood still for {value} while another thread mapped 64 \
         MiB with MAP_POPULATE; without it, for {against} at worst.",
        ratio(("populate", "map"), ("compute", "map")),
        "the bystander asks the kernel for no mapping: it then takes no mmap_lock",
    )
    .not_said(&[
        "That mimalloc is faster: it is as fast as memory that is never given back. Its first block pays too; its RSS stays.",
        "That 33 faults are cheaper than 16,385: mimalloc asks for 2 MiB pages, and each must be found and cleared whole.",
        "How much memory comes back later: the idle moment is 5 ms, mimalloc's purge delay is 1 s, and a purge needs a call.",
        "What a fault costs on bare metal: a virtual machine makes it dearer.",
        "That 16 MiB are always cheap with glibc: only after the second block of that size, on the main thread.",
        "The largest wait as a property of the kernel: it grows with the block, and a maximum of a few cycles is no bound.",
    ])
    .next(&[
        "Why does calloc of 256 MiB return at once, and of 16 MiB not? (a kept block is cleared: alloc_growth)",
        "Would you pre-fault with MAP_POPULATE? Who waits then?",
        "When is a buffer pool worth it? (above the size from which the allocator gives memory back: alloc_cliff)",
        "What do transparent huge pages change? (fewer and dearer faults: alloc_pages)",
        "How does a managed heap move the same costs? (it clears large objects in the allocating call)",
    ])
    .sources(&[
        "mallopt(3), M_MMAP_THRESHOLD: the dynamic threshold and its cap of 4 * 1024 * 1024 * sizeof(long)",
        "glibc malloc/malloc.c: sysmalloc, munmap_chunk, DEFAULT_MMAP_THRESHOLD_MAX",
        "mimalloc, https://microsoft.github.io/mimalloc/environment.html: MIMALLOC_PURGE_DELAY",
        "jemalloc(3): opt.oversize_threshold",
        "mimalloc 3.3 src/prim/unix/prim.c: MADV_HUGEPAGE on what it maps; src/arena.c: when it purges",
        "Linux mm/memory.c do_anonymous_page; mm/mmap.c and mm/vma.c: munmap zaps pages under mmap_lock held for reading (since 4.20)",
        "Linux commit bebeb3d68b24, mm_populate: populating happens after the write lock was released, so under the read lock",
        "Linux commit 5e31275cc997, per-VMA locks (6.4): a fault takes no mmap_lock",
        "Idea of a control beside the measurement: jHiccup, https://github.com/giltene/jHiccup",
    ])
}

fn who_pays() -> Step {
    let call = pick("glibc", "256MiB", "call_ns");
    let parts = |of, against| ratio(pick("mimalloc", "64MiB", of), pick("mimalloc", "64MiB", against));
    let holds = |case| pick(case, "64MiB", "rss_after_share");
    let faults = |case, param| pick(case, param, "faults_per_cycle_count");
    Step::new("who_pays", Kind::Single, "cycle_ns")
        .ask_number(
            "You malloc 64 MiB with glibc, write one byte to each page, and free it, again and again. How long does \
             one round take, in ns?",
            "glibc",
            "64MiB",
        )
        .columns(&[
            "call_ns",
            "touch_ns",
            "free_ns",
            "faults_per_cycle_count",
            "cold_cycle_ns",
            "rss_after_bytes",
            "purge_ns",
            "rss_purged_bytes",
        ])
        .slice(1.0 / 4.0)
        .isolated(
            ALLOCATORS,
            [bytes("16MiB", 16 * MIB), bytes("64MiB", 64 * MIB), bytes("256MiB", 256 * MIB)],
            |plan, allocator, p| {
                let bytes = p.value;
                memory::room_for(2 * bytes)?;
                let idle = if plan.is_smoke() { Duration::ZERO } else { IDLE };
                let least = if plan.is_smoke() || bytes >= BIG { 1 } else { 2 };
                let extent = Extent { time: plan.slice, least, most: MOST_CYCLES, idle };
                let cycles = Cycles::measure(allocator, bytes, extent).map_err(|e| e.to_string())?;
                if cycles.count > 4 && cycles.resident.is_some_and(|r| r > (2 * bytes + MARGIN) as u64) {
                    return Err(format!(
                        "{} holds more than two blocks after the last free: blocks were not freed",
                        allocator.id()
                    ));
                }
                Ok(cycles.sample())
            },
        )
        // History matters, and criterion runs all in one process: the lab's own numbers come from a fresh process for each size. Below
        // and above glibc's largest threshold.
        .bench("{case}/1MiB", alloc::here(), |_, a| cycles(a, MIB))
        .bench("{case}/64MiB", alloc::here(), |_, a| cycles(a, 64 * MIB))
        .bench_also([
            Bench::new("pool/1MiB", |_| pooled(MIB)),
            Bench::new("pool/64MiB", |_| pooled(64 * MIB)),
        ])
        .claim(
            at_least(100.0, ratio(pick("glibc", "256MiB", "touch_ns"), call)),
            "256 MiB, glibc: the touch costs 100 times the call",
        )
        .claim(
            at_least(10.0, ratio(pick("glibc", "256MiB", "free_ns"), call)),
            "256 MiB, glibc: the free costs 10 times the call",
        )
        .claim(
            at_least(10.0, ratio(("glibc", "64MiB"), ("glibc", "16MiB"))),
            "glibc: warm 64 MiB cost 10 times warm 16 MiB",
        )
        .claim(
            at_most(0.1, ratio(("mimalloc", "64MiB"), ("glibc", "64MiB"))),
            "warm 64 MiB: mimalloc takes a tenth of glibc",
        )
        .claim(
            at_least(10.0, ratio(("jemalloc", "16MiB"), ("mimalloc", "16MiB"))),
            "warm 16 MiB: jemalloc takes 10 times mimalloc",
        )
        .claim(at_least(0.5, holds("mimalloc")), "mimalloc still holds half of a freed 64 MiB block")
        .claim(at_most(0.1, holds("glibc")), "glibc holds at most a tenth of a freed 64 MiB block")
        .claim(
            at_most(0.2, pick("mimalloc", "64MiB", "rss_purged_share")),
            "after a purge mimalloc holds at most a fifth of it",
        )
        .claim(at_least(10.0, parts("purge_ns", "free_ns")), "that purge costs 10 times the free it makes up for")
        .because(
            "malloc of a large block is one mmap: the kernel notes an address range and provides no memory. So the \
             call takes microseconds at any size.",
            shown_by(at_most(0.01, pick("glibc", "256MiB", "call_share"))),
        )
        .because(
            "The first write to each page is a fault, in which the kernel finds a page, clears it and maps it: 65,536 faults for 256 MiB.",
            source("Linux mm/memory.c, do_anonymous_page"),
        )
        .because(
            "Above 32 MiB glibc's free is munmap, which gives every page back, and the next block pays again.",
            shown_by(at_least(32.0, faults("glibc", "64MiB"))),
        )
        .because(
            "Below, the first free raises the threshold, and the following blocks come from the heap and stay there.",
            shown_by(at_most(1.0, faults("glibc", "16MiB"))),
        )
        .because(
            "mimalloc keeps what it got: its purge waits 1 s, and for the owner's next call.",
            shown_by(at_most(1.0, faults("mimalloc", "64MiB"))),
        )
        .because(
            "Its price is the memory that it holds. Its first block paid too, and whoever purges later pays for the frees.",
            shown_by(at_least(10.0, parts("purge_ns", "free_ns"))),
        )
        .because(
            "jemalloc serves blocks above 8 MiB from an arena that gives them back at once.",
            source("jemalloc(3), opt.oversize_threshold"),
        )
        .because("snmalloc keeps all.", shown_by(at_least(0.5, holds("snmalloc"))))
        .because(
            "Call, touch and free are timed apart, and checked against the whole. Block::new, touch_every and drop are the three parts.",
            source("src/contenders/alloc/block.rs"),
        )
        .in_tour()
}

fn bystander() -> Step {
    Step::new("bystander", Kind::Pause, "wait_max_ns")
        .ask_number(
            "One thread maps 64 MiB with MAP_POPULATE and unmaps it. Another thread, on another CPU, maps and unmaps \
             64 KiB in a loop. How long does it stand still at worst, in ns?",
            "populate",
            "map",
        )
        .columns(&["wait_p50_ns", "wait_p99_ns", "stalled_share", "raw_max_ns", "runq_max_ns", "cycles_count"])
        .contenders(&BESIDE)
        .slice(1.0 / 6.0)
        .over([at("map", Victim::Map), at("fault", Victim::Fault)], |plan, p| {
            let bytes = if plan.is_smoke() { 4 * MIB } else { ANTAGONIST };
            rows(plan, p.id(), p.value, &BESIDE, bytes)
        })
        .claim(
            at_least(10.0, ratio(("populate", "map"), ("compute", "map"))).cores(2),
            "mapping waits 10 times longer beside MAP_POPULATE",
        )
        .claim(
            at_most(0.2, ratio(("populate", "fault"), ("populate", "map"))).cores(2),
            "beside it, faulting waits a fifth of that at most",
        )
        .claim(
            at_most(0.5, ratio(("glibc", "map"), ("populate", "map"))).cores(2),
            "touching instead of populating halves the mapper's wait",
        )
        .because(
            "mmap and munmap change the process's one list of mappings and take mmap_lock for writing.",
            source("Linux mm/mmap.c"),
        )
        .because(
            "MAP_POPULATE provides all its pages under the same lock held for reading, so a writer waits until the last page is there. \
             munmap frees its pages under the read lock too.",
            shown_by(at_least(0.5, pick("populate", "map", "stalled_share")).cores(2)),
        )
        .because(
            "A fault takes only the lock of its own mapping (since Linux 6.4; before, mmap_lock for reading, which other readers do not \
             hinder). So a thread that only faults hardly notices.",
            shown_by(at_most(0.1, pick("populate", "fault", "stalled_share")).cores(2)),
        )
        .because(
            "For the same reason a thread that touches page by page leaves gaps.",
            shown_by(at_most(0.5, pick("glibc", "map", "stalled_share")).cores(2)),
        )
        .because(
            "More victims and more antagonists are in the lab alloc_mmap_lock. How one is watched: Victim, Antagonist, Watched::slot.",
            source("src/experiments/bystander.rs"),
        )
}

fn cycles(allocator: &'static Allocator, bytes: usize) -> Timed {
    repeated(move || {
        cycle(allocator, bytes).expect("64 MiB are not refused");
    })
}

fn pooled(bytes: usize) -> Timed {
    let pool = Pool::new(bytes);
    repeated(move || pool.cycle())
}

/// Buffers that were touched once and are kept: two of them, under a lock as a pool of a service is. Rent one, touch its pages, return it.
struct Pool(Mutex<Vec<Block>>);

impl Pool {
    fn new(bytes: usize) -> Self {
        let from = alloc::here().next().expect("mimalloc is always there");
        let block = || Block::new(from, bytes, ALIGN).expect("64 MiB are not refused");
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
    underhood::cli::lab_main(lab)
}
