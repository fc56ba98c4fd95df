//! Which memory call of one thread delays another thread, and what does it cost to take a page away?
//!
//! Run it: `cargo run --release --bin alloc_mmap_lock -- --step`
//!
//! Every victim runs beside every antagonist. A probe that only sleeps would see none of this and report a calm process.
use std::hint::black_box;

use underhood::{
    experiments::{
        bystander::{Antagonist, rows},
        shootdown::{Call, Peer, shootdown},
        victim::Victim,
    },
    lab::{
        Bench, Bound, Kind, Lab, Setting, Step, at, at_least, at_most, pick, ratio, setting, shown_by, source,
    },
    machine::memory::{self, Mapping},
    measure::latency::repeated,
};

const MIB: usize = 1 << 20;
/// What the antagonists work on.
const ANTAGONIST: usize = 32 * MIB;
/// Pages that one call of step `shootdown` takes away.
const PAGES: usize = 16;

const BESIDE: &[Setting<Antagonist>] = &[
    setting("compute", Antagonist::Compute),
    setting("map_unmap", Antagonist::MapUnmap),
    setting("populate", Antagonist::Populate),
    setting("mprotect", Antagonist::Protect),
    setting("madvise", Antagonist::Forget),
    setting("smaps", Antagonist::Smaps),
    setting("pooled", Antagonist::Pooled),
];
const CALLS: &[Setting<Call>] = &[setting("mprotect", Call::Protect), setting("munmap", Call::Unmap)];

pub(crate) fn lab() -> Lab {
    underhood::lab!(
        "alloc_mmap_lock",
        "Which memory call of one thread delays another thread, and what does it cost to take a page away?"
    )
    .step(who_waits())
    .step(take_away())
    .say(
        "who_waits",
        "While one thread mapped 32 MiB with MAP_POPULATE, a thread that maps 64 KiB waited {value} at worst. A thread that only \
         takes page faults waited {against} at worst. Each is the longest wait of a few cycles.",
        ratio(("populate", "map"), ("populate", "fault")),
        "the kernel is older than 6.4: then a page fault takes mmap_lock for reading, and waits for a thread that maps",
    )
    .say(
        "who_waits",
        "While one thread read /proc/self/smaps in a loop, a thread that maps waited {value} at worst. Beside a thread that only \
         computes, it waited {against} at worst.",
        ratio(("smaps", "map"), ("compute", "map")),
        "the process has touched little memory: the kernel walks the touched pages",
    )
    .say(
        "shootdown",
        "Making 16 pages read-only takes {value} while another thread of the process runs on another CPU. With no other thread it \
         takes {against}: {ratio}.",
        ratio(("mprotect", "running"), ("mprotect", "alone")),
        "the CPU has an instruction that flushes the TLBs of other CPUs (ARM; AMD's INVLPGB), or the other thread sleeps",
    )
    .not_said(&[
        "That the antagonists do equal work: madvise gives back 64 KiB at a time, the others work on 32 MiB at once.",
        "How long the wait can become: it grows with the memory worked on, here 32 MiB. The maximum of some cycles is not an upper \
         bound.",
        "What an interrupt between CPUs costs on bare metal: in a virtual machine it may cost many times as much.",
        "That all counted interrupts come from this process: the kernel counts them for the whole machine.",
        "That reading smaps once is harmful: it is read in a loop here.",
    ])
    .next(&[
        "Which lock do mmap and a page fault share? (mmap_lock until Linux 6.3; since 6.4 a fault takes the lock of its own mapping)",
        "Why does one big process suffer where two small ones don't? (each address space has one mmap_lock and its own TLB shootdowns)",
        "How do you get large buffers without these calls? (pool them, or map once at start)",
        "Why does a JVM or Go release memory from a background thread, in small pieces?",
        "Why does a probe such as jHiccup see nothing? (it sleeps, and neither maps nor faults; a probe must do what the victim does)",
    ])
    .sources(&[
        "Linux mm/mmap.c, mm/mprotect.c, mm/madvise.c, fs/proc/task_mmu.c: who takes mmap_lock how",
        "Linux commit bebeb3d68b24, mm_populate: populating happens under the read lock",
        "Linux commit 5e31275cc997, per-VMA locks (6.4): a fault takes no mmap_lock",
        "Linux arch/x86/mm/tlb.c, flush_tlb_mm_range; lazy TLB mode: CPUs whose thread sleeps are spared",
        "jemalloc issue 1422: MADV_DONTNEED is expensive in KVM guests because of interrupts",
        "A probe that sleeps: jHiccup, https://github.com/giltene/jHiccup",
    ])
}

fn who_waits() -> Step {
    // How much longer a mapper waits beside an antagonist than beside arithmetic; another victim's wait over a mapper's.
    let mapper = |case| ratio((case, "map"), ("compute", "map"));
    let other = |victim| at_most(0.2, ratio(("populate", victim), ("populate", "map"))).cores(2);
    let long = |times, case| -> Bound { at_least(times, mapper(case)).cores(2) };
    let victims = [
        at("fault", Victim::Fault),
        at("map", Victim::Map),
        at("sleep", Victim::Sleep),
        at("spin", Victim::Spin),
    ];
    Step::new("who_waits", Kind::Pause, "wait_max_ns")
        .ask_number(
            "One thread maps 32 MiB with MAP_POPULATE and unmaps it. A second thread, on another CPU, maps and unmaps 64 KiB in a \
             loop. How long does the second thread wait at worst, in ns?",
            "populate",
            "map",
        )
        .columns(&["wait_p50_ns", "wait_p99_ns", "stalled_share", "runq_max_ns", "cycles_count"])
        .contenders(BESIDE)
        .slice(1.0 / 10.0)
        .over(victims, |plan, p| {
            rows(plan, p.id(), p.value, BESIDE, if plan.is_smoke() { MIB } else { ANTAGONIST })
        })
        .claim(
            long(10.0, "populate"),
            "a thread that maps waits at least 10 times as long beside MAP_POPULATE as beside a thread that only computes",
        )
        .claim(
            long(3.0, "mprotect"),
            "a thread that maps waits at least 3 times as long beside mprotect as beside a thread that only computes",
        )
        .claim(
            long(5.0, "smaps"),
            "a thread that maps waits at least 5 times as long beside a reader of smaps as beside a thread that only computes",
        )
        .claim(
            at_most(3.0, mapper("pooled")).cores(2),
            "a thread that maps waits at most 3 times as long beside a user of pooled memory as beside a thread that only computes",
        )
        .claim(
            other("fault"),
            "beside MAP_POPULATE, a thread that faults waits at most a fifth as long as one that maps",
        )
        .claim(
            other("sleep"),
            "beside MAP_POPULATE, a thread that sleeps waits at most a fifth as long as one that maps",
        )
        .claim(
            other("spin"),
            "beside MAP_POPULATE, a thread that computes waits at most a fifth as long as one that maps",
        )
        .because(
            "A process has one list of mappings. mmap and munmap change it, so they take mmap_lock for writing. mprotect also takes \
             it for writing, for as long as it walks the pages.",
            shown_by(long(3.0, "mprotect")),
        )
        .because(
            "MAP_POPULATE and a reader of smaps hold mmap_lock for reading while they walk the pages. A writer waits for readers.",
            shown_by(long(5.0, "smaps")),
        )
        .because(
            "A page fault takes only the lock of its own mapping (since Linux 6.4).",
            shown_by(other("fault")),
        )
        .because(
            "Computing and sleeping take no lock. A probe that spins still loses microseconds to TLB shootdown interrupts (step \
             shootdown). Its 99th percentile shows them, and its longest wait hides them.",
            shown_by(
                at_least(3.0, ratio(pick("madvise", "spin", "wait_p99_ns"), pick("compute", "spin", "wait_p99_ns"))).cores(2),
            ),
        )
        .because(
            "Memory that was mapped once and is used again needs no call, so it delays nobody.",
            shown_by(at_most(3.0, mapper("pooled")).cores(2)),
        )
}

fn take_away() -> Step {
    let beside = |call, peer| ratio((call, peer), (call, "alone"));
    let interrupts = |peer| pick("mprotect", peer, "ipis_per_call_count");
    let asleep = at_most(1.5, beside("mprotect", "asleep")).cores(2);
    let interrupted = at_least(0.5, interrupts("running")).cores(2);
    let peers = [at("alone", Peer::None), at("asleep", Peer::Asleep), at("running", Peer::Running)];
    // What takes the lock, on one thread.
    let map_touch_unmap = || {
        if let Ok(mut memory) = Mapping::lazy(PAGES * memory::page_bytes()) {
            (0..PAGES).for_each(|page| memory.touch(page * memory::page_bytes()));
        }
    };
    Step::new("shootdown", Kind::Single, "call_ns")
        .ask_number(
            "A thread makes 16 touched pages read-only while another thread of the same process computes on another CPU. How \
             long does this call of mprotect take, in ns?",
            "mprotect",
            "running",
        )
        .columns(&["call_p99_ns", "ipis_per_call_count"])
        .slice(1.0 / 3.0)
        .isolated(CALLS, peers, |plan, call, p| {
            let [first, second, ..] = plan.cpus[..] else {
                return Err("needs 2 CPUs: on one, a thread waits for the CPU and not for memory".into());
            };
            memory::room_for(2 * MIB)?;
            let sample = shootdown(call.value, p.value, PAGES, plan.slice, [first, second]);
            let sample = sample.map_err(|why| format!("not possible here: {why}"))?;
            let uncounted = !sample.values.contains_key("ipis_per_call_count");
            Ok(if uncounted { sample.seeing("this kernel does not count TLB shootdowns") } else { sample })
        })
        .bench_also([
            Bench::new("map_unmap", |_| {
                repeated(|| drop(black_box(Mapping::lazy(PAGES * memory::page_bytes()))))
            }),
            Bench::new("map_touch_unmap", move |_| repeated(map_touch_unmap)),
        ])
        .claim(
            at_least(2.0, beside("mprotect", "running")).cores(2),
            "beside a running thread, mprotect takes at least twice as long as alone",
        )
        .claim(
            at_least(1.5, beside("munmap", "running")).cores(2),
            "beside a running thread, munmap takes at least 1.5 times as long as alone",
        )
        .claim(asleep, "beside a sleeping thread, mprotect takes at most 1.5 times as long as alone")
        .claim(interrupted, "beside a running thread, most calls of mprotect cause an interrupt")
        .claim(at_most(0.2, interrupts("alone")).cores(2), "alone, most calls of mprotect cause no interrupt")
        .because(
            "A CPU keeps address translations of the pages that it used (in its TLB). When a page has been unmapped or made \
             read-only, no CPU may use the old translation. So on x86 the kernel interrupts every CPU that runs a thread of \
             this process, and waits for all of them.",
            shown_by(interrupted),
        )
        .because(
            "A CPU on which the thread sleeps is not interrupted. It flushes its TLB when it comes back to the process.",
            shown_by(asleep),
        )
        .because(
            "The cost is per call, not per page. So one large call is cheaper than many small ones.",
            source("Linux arch/x86/mm/tlb.c, flush_tlb_mm_range"),
        )
        .because(
            "/proc/interrupts counts these interrupts in its line TLB. If the hypervisor flushes for its guest, or the CPU has an \
             instruction for it, the line is missing or does not count.",
            source("src/experiments/shootdown.rs"),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}
