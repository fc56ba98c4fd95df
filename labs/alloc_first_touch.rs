//! Where is the pause of a large allocation: the call, the first touch, the free, or a bystander?
//!
//! Run it: `cargo run --release --bin alloc_first_touch -- --step`
//!
//! Each size of `who_pays` has a process of its own, since an allocator remembers: glibc raises its mmap threshold to
//! the size of each mapped block that it frees, so a run that begins with 16 MiB and one that begins with 1 MiB
//! report different results.
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
/// From this size on, one warm cycle is enough in a launch: it takes 65,536 faults.
const BIG: usize = 256 * MIB;
/// What the rest of the process may need while a block is held.
const MARGIN: usize = 64 * MIB;
/// How long the process sleeps before its resident memory is read once more. Far below mimalloc's purge delay of 1 s.
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
        "The call malloc(256 MiB) takes {against}. The first writes to all of its pages take {value}, {ratio} as long. So timing \
         malloc alone misses the pause.",
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
        "While one thread mapped 64 MiB with MAP_POPULATE, a thread that maps and unmaps 64 KiB waited {value} at worst. Beside a \
         thread that only computes, it waited {against} at worst.",
        ratio(("populate", "map"), ("compute", "map")),
        "the waiting thread makes no mapping calls: then it takes no mmap_lock",
    )
    .not_said(&[
        "That mimalloc is faster: it saves time because it does not give memory back. Its first block takes page faults too, \
         and its RSS (resident memory) stays high.",
        "That fewer page faults always take less time. mimalloc asks for pages of 2 MiB, and the kernel must find and clear \
         each of them whole. For its first block of 64 MiB, 33 such faults took less time than glibc's 16,385. For 256 MiB, \
         mimalloc's 129 faults took more time than glibc's 65,537.",
        "How much memory comes back later: the process idles for only 5 ms, and mimalloc's purge delay is 1 s (see alloc_over_time).",
        "What a page fault costs on bare metal: it costs more in a virtual machine.",
        "That 16 MiB are always cheap with glibc: they become cheap only after the second block of that size, and only on the \
         main thread.",
        "That the longest wait depends on the kernel alone: it grows with the size of the block. The longest of a few cycles is \
         no upper bound either.",
    ])
    .next(&[
        "Why does calloc of 256 MiB return at once, but not calloc of 16 MiB? (a kept block must be cleared: alloc_growth)",
        "Would you pre-fault with MAP_POPULATE? Who waits then?",
        "When is a buffer pool worth it? (above the size from which the allocator gives memory back: alloc_cliff)",
        "What do transparent huge pages change? (fewer page faults, each more expensive: alloc_pages)",
        "When does a program with a managed heap pay the same costs? (in the allocating call, which clears large objects)",
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
        // History matters, and criterion runs everything in one process. The lab's own numbers come from a fresh process for each size.
        // One size is below and one is above glibc's largest threshold.
        .bench("{case}/1MiB", alloc::here(), |_, a| cycles(a, MIB))
        .bench("{case}/64MiB", alloc::here(), |_, a| cycles(a, 64 * MIB))
        .bench_also([
            Bench::new("pool/1MiB", |_| pooled(MIB)),
            Bench::new("pool/64MiB", |_| pooled(64 * MIB)),
        ])
        .claim(
            at_least(100.0, ratio(pick("glibc", "256MiB", "touch_ns"), call)),
            "256 MiB, glibc: the touch takes at least 100 times as long as the call",
        )
        .claim(
            at_least(10.0, ratio(pick("glibc", "256MiB", "free_ns"), call)),
            "256 MiB, glibc: the free takes at least 10 times as long as the call",
        )
        .claim(
            at_least(10.0, ratio(("glibc", "64MiB"), ("glibc", "16MiB"))),
            "glibc: a later round of 64 MiB takes at least 10 times as long as one of 16 MiB",
        )
        .claim(
            at_most(0.1, ratio(("mimalloc", "64MiB"), ("glibc", "64MiB"))),
            "64 MiB, later rounds: mimalloc takes at most a tenth of the time of glibc",
        )
        .claim(
            at_least(10.0, ratio(("jemalloc", "16MiB"), ("mimalloc", "16MiB"))),
            "16 MiB, later rounds: jemalloc takes at least 10 times as long as mimalloc",
        )
        .claim(at_least(0.5, holds("mimalloc")), "mimalloc still holds at least half of a freed 64 MiB block")
        .claim(at_most(0.1, holds("glibc")), "glibc holds at most a tenth of a freed 64 MiB block")
        .claim(
            at_most(0.2, pick("mimalloc", "64MiB", "rss_purged_share")),
            "after a purge, mimalloc holds at most a fifth of a freed 64 MiB block",
        )
        .claim(
            at_least(10.0, parts("purge_ns", "free_ns")),
            "mimalloc: the purge of a 64 MiB block takes at least 10 times as long as its free",
        )
        .because(
            "malloc of a large block is one mmap: the kernel reserves an address range and provides no memory. So the call takes \
             microseconds at any size.",
            shown_by(at_most(0.01, pick("glibc", "256MiB", "call_share"))),
        )
        .because(
            "The first write to each page causes a page fault: the kernel finds a page, clears it and maps it. 256 MiB take 65,536 \
             faults.",
            source("Linux mm/memory.c, do_anonymous_page"),
        )
        .because(
            "Above 32 MiB, glibc's free calls munmap, which gives every page back. The next block takes all the page faults again.",
            shown_by(at_least(32.0, faults("glibc", "64MiB"))),
        )
        .because(
            "Below 32 MiB, the first free raises the mmap threshold. The following blocks come from the heap, and their memory stays \
             there.",
            shown_by(at_most(1.0, faults("glibc", "16MiB"))),
        )
        .because(
            "mimalloc keeps the memory of a freed block, so the next block takes no page faults.",
            shown_by(at_most(1.0, faults("mimalloc", "64MiB"))),
        )
        .because(
            "The price is the memory that mimalloc holds. Its first block took page faults too, and a later purge pays for the frees.",
            shown_by(at_least(10.0, parts("purge_ns", "free_ns"))),
        )
        .because(
            "jemalloc serves blocks above 8 MiB from an arena that gives them back at once.",
            source("jemalloc(3), opt.oversize_threshold"),
        )
        .because("snmalloc keeps all of the memory.", shown_by(at_least(0.5, holds("snmalloc"))))
        .because(
            "Call, touch and free are timed separately, and their sum is checked against the whole round. In the code they are \
             Block::new, touch_every and drop.",
            source("src/contenders/alloc/block.rs"),
        )
        .in_tour()
}

fn bystander() -> Step {
    Step::new("bystander", Kind::Pause, "wait_max_ns")
        .ask_number(
            "One thread maps 64 MiB with MAP_POPULATE and unmaps it. A second thread, on another CPU, maps and unmaps 64 KiB in a \
             loop. How long does the second thread wait at worst, in ns?",
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
            "a thread that maps waits at least 10 times as long beside MAP_POPULATE as beside a thread that only computes",
        )
        .claim(
            at_most(0.2, ratio(("populate", "fault"), ("populate", "map"))).cores(2),
            "beside MAP_POPULATE, a thread that faults waits at most a fifth as long as one that maps",
        )
        .claim(
            at_most(0.5, ratio(("glibc", "map"), ("populate", "map"))).cores(2),
            "if the other thread touches its pages instead of populating them, a thread that maps waits at most half as long",
        )
        .because(
            "A process has one list of mappings. mmap and munmap change it, so they take mmap_lock for writing.",
            source("Linux mm/mmap.c"),
        )
        .because(
            "MAP_POPULATE holds mmap_lock for reading while it provides all of its pages, so a writer waits until the last page is \
             there. munmap also frees its pages with the lock held for reading.",
            shown_by(at_least(0.5, pick("populate", "map", "stalled_share")).cores(2)),
        )
        .because(
            "Since Linux 6.4, a page fault takes only the lock of its own mapping. So a thread that only faults hardly waits. (Before, it \
             took mmap_lock for reading, and waited for a thread that maps.)",
            shown_by(at_most(0.1, pick("populate", "fault", "stalled_share")).cores(2)),
        )
        .because(
            "For the same reason, a thread that touches its pages one by one delays a mapping thread less than MAP_POPULATE does.",
            shown_by(at_most(0.5, pick("glibc", "map", "stalled_share")).cores(2)),
        )
        .because(
            "The lab alloc_mmap_lock has more victims and more antagonists. To see how a victim is watched, read Victim, Antagonist \
             and Watched::slot.",
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

/// Two buffers that were touched once and are kept, behind a lock as in a service's pool. Rent one, touch its pages, return it.
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
