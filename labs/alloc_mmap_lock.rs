//! Which memory call of one thread delays another thread, and what does it cost to take a page away?
//!
//! Run it: `cargo run --release --bin alloc_mmap_lock -- --step`
//!
//! Every bystander meets every antagonist: a probe that only sleeps sees none of this, and would report a calm process.
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
/// Pages that are taken away at once where the price of that is measured.
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
        "While one thread maps 32 MiB with MAP_POPULATE, a thread that maps 64 KiB stood still for {value}; a thread that only \
         faults, for {against}.",
        ratio(("populate", "map"), ("populate", "fault")),
        "the kernel is older than 6.4: a fault then takes mmap_lock too",
    )
    .say(
        "who_waits",
        "Reading /proc/self/smaps in a loop made a thread that maps wait for {value} at worst; beside arithmetic it was {against}.",
        ratio(("smaps", "map"), ("compute", "map")),
        "the process has little memory touched: the kernel walks its pages",
    )
    .say(
        "shootdown",
        "Making 16 pages read-only takes {value} while another thread of the process runs on another CPU, {against} alone: {ratio}.",
        ratio(("mprotect", "running"), ("mprotect", "alone")),
        "the CPU tells the others by an instruction (ARM), or the peer sleeps",
    )
    .not_said(&[
        "How long the wait can become: it grows with the memory worked on; this is 32 MiB, and a maximum of some cycles is no bound.",
        "What an interrupt between CPUs costs on bare metal: in a virtual machine it may be many times dearer.",
        "That the interrupts counted are this process's: the kernel counts them for the machine.",
        "That reading smaps once is harmful: it is read in a loop here.",
    ])
    .next(&[
        "Which lock do mmap and a page fault share? (mmap_lock until 6.3; since 6.4 a fault takes its mapping's own)",
        "Why does one big process suffer where two small ones don't? (mmap_lock and shootdowns are for each address space)",
        "How do you get large buffers without these calls? (pool them, or map once at start)",
        "Why does a JVM or Go release memory from a background thread, in small pieces?",
        "Why does a jHiccup-like probe see nothing? (it neither maps nor faults: probe with what the victim does)",
    ])
    .sources(&[
        "Linux mm/mmap.c, mm/mprotect.c, mm/madvise.c, fs/proc/task_mmu.c: who takes mmap_lock how",
        "Linux commit bebeb3d68b24, mm_populate: populating happens under the read lock",
        "Linux commit 5e31275cc997, per-VMA locks (6.4): a fault takes no mmap_lock",
        "Linux arch/x86/mm/tlb.c, flush_tlb_mm_range; lazy TLB mode: CPUs whose thread sleeps are spared",
        "jemalloc issue 1422: MADV_DONTNEED is dear in KVM guests because of interrupts",
        "A probe that sleeps: jHiccup, https://github.com/giltene/jHiccup",
    ])
}

fn who_waits() -> Step {
    // How much longer a mapper waits beside it than beside arithmetic; what another victim waits, over a mapper.
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
            "One thread maps 32 MiB with MAP_POPULATE and unmaps it. Another, on another CPU, maps and unmaps 64 KiB in a loop. How long does \
             it stand still at worst, in ns?",
            "populate",
            "map",
        )
        .columns(&["wait_p50_ns", "wait_p99_ns", "stalled_share", "runq_max_ns", "cycles_count"])
        .contenders(BESIDE)
        .slice(1.0 / 10.0)
        .over(victims, |plan, p| {
            rows(plan, p.id(), p.value, BESIDE, if plan.is_smoke() { MIB } else { ANTAGONIST })
        })
        .claim(long(10.0, "populate"), "a mapper waits 10 times longer beside MAP_POPULATE")
        .claim(long(3.0, "mprotect"), "a mapper waits 3 times longer beside mprotect")
        .claim(long(5.0, "smaps"), "a mapper waits 5 times longer beside a reader of smaps")
        .claim(at_most(3.0, mapper("pooled")).cores(2), "a pooled buffer delays a mapper by less than 3 times")
        .claim(other("fault"), "beside MAP_POPULATE a fault waits a fifth of that")
        .claim(other("sleep"), "a sleeper sees a fifth of it at most")
        .claim(other("spin"), "a spinner sees a fifth of it at most")
        .because(
            "mmap and munmap change the process's one list of mappings and take mmap_lock for writing. So does mprotect, for as long as it \
             walks the pages.",
            shown_by(long(3.0, "mprotect")),
        )
        .because(
            "MAP_POPULATE and a reader of smaps hold it for reading while they walk, and a writer waits for readers.",
            shown_by(long(5.0, "smaps")),
        )
        .because("A fault takes only its own mapping's lock (since Linux 6.4).", shown_by(other("fault")))
        .because("Arithmetic and sleep take none: such a probe reports a calm process.", shown_by(other("sleep")))
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
            "A thread makes 16 touched pages read-only while another thread of the same process computes on another CPU. How long does that \
             one mprotect take, in ns?",
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
            "beside a running thread mprotect takes twice as long",
        )
        .claim(at_least(1.5, beside("munmap", "running")).cores(2), "so does munmap, 1.5 times")
        .claim(asleep, "a sleeping thread costs less than half more")
        .claim(interrupted, "beside a running thread there is an interrupt for most calls")
        .claim(at_most(0.2, interrupts("alone")).cores(2), "alone there is none for most calls")
        .because(
            "A CPU keeps translations of pages it used. Before a page is taken away, no CPU may still use the old one. So the kernel \
             interrupts every CPU that runs a thread of this process and waits for all of them (x86).",
            shown_by(interrupted),
        )
        .because(
            "A CPU on which the thread sleeps is spared: it flushes when it comes back.",
            shown_by(asleep),
        )
        .because(
            "The price is paid for a call, not for a page, so one large call is cheaper than many small ones.",
            source("Linux arch/x86/mm/tlb.c, flush_tlb_mm_range"),
        )
        .because(
            "/proc/interrupts counts it in its line TLB. A hypervisor that flushes for its guest, or a CPU with an instruction for it, shows \
             no such line or does not count.",
            source("src/experiments/shootdown.rs"),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}
