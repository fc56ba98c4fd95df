//! Which memory call of one thread delays another thread, and what does it cost to take a page away?
//!
//! Run it: `cargo run --release --bin alloc_mmap_lock -- --step`
//!
//! Every bystander meets every antagonist: a probe that only sleeps sees none of this, and would report a calm process.
use underhood::{
    experiments::{
        bystander::{Antagonist, watch_all},
        shootdown::{Call, Peer, shootdown},
        victim::Victim,
    },
    lab::{
        Bench, Claim,
        Expect::{self, *},
        Kind, Lab, Launch, Pick, Predict, Say, Step, pick,
        plan::Plan,
        sample::Sample,
    },
    machine::memory::{self, Mapping},
    measure::cost::{self, Ops},
    record::AA,
};

const MIB: usize = 1 << 20;
/// What the antagonists work on.
const ANTAGONIST: usize = 32 * MIB;
/// Pages that are taken away at once where the price of that is measured.
const PAGES: usize = 16;

pub(crate) static LAB: Lab = Lab {
    stem: "alloc_mmap_lock",
    question: "Which memory call of one thread delays another thread, and what does it cost to take a page away?",
    steps: &[WHO_WAITS, SHOOTDOWN],
    says: &[
        Say {
            step: "who_waits",
            text: "While one thread maps 32 MiB with MAP_POPULATE, a thread that maps 64 KiB stood still for {value}; a thread that only \
                   faults, for {against}.",
            of: map("populate"),
            against: Some(wait("populate", "fault")),
            not_true_when: "the kernel is older than 6.4: a fault then takes mmap_lock too",
        },
        Say {
            step: "who_waits",
            text: "Reading /proc/self/smaps in a loop made a thread that maps wait for {value} at worst; beside arithmetic it was {against}.",
            of: map("smaps"),
            against: Some(map("compute")),
            not_true_when: "the process has little memory touched: the kernel walks its pages",
        },
        Say {
            step: "shootdown",
            text: "Making 16 pages read-only takes {value} while another thread of the process runs on another CPU, {against} alone: {ratio}.",
            of: pick("mprotect", "running", CALL),
            against: Some(pick("mprotect", "alone", CALL)),
            not_true_when: "the CPU tells the others by an instruction (ARM), or the peer sleeps",
        },
    ],
    not_said: &[
        "How long the wait can become: it grows with the memory worked on; this is 32 MiB, and a maximum of some cycles is no bound.",
        "What an interrupt between CPUs costs on bare metal: in a virtual machine it may be many times dearer.",
        "That the interrupts counted are this process's: the kernel counts them for the machine.",
        "That reading smaps once is harmful: it is read in a loop here.",
    ],
    next: &[
        "Which lock do mmap and a page fault share? (mmap_lock until 6.3; since 6.4 a fault takes its mapping's own)",
        "Why does one big process suffer where two small ones don't? (mmap_lock and shootdowns are for each address space)",
        "How do you get large buffers without these calls? (pool them, or map once at start)",
        "Why does a JVM or Go release memory from a background thread, in small pieces?",
        "Why does a jHiccup-like probe see nothing? (it neither maps nor faults: probe with what the victim does)",
    ],
    sources: &[
        "Linux mm/mmap.c, mm/mprotect.c, mm/madvise.c, fs/proc/task_mmu.c: who takes mmap_lock how",
        "Linux commit bebeb3d68b24, mm_populate: populating happens under the read lock",
        "Linux commit 5e31275cc997, per-VMA locks (6.4): a fault takes no mmap_lock",
        "Linux arch/x86/mm/tlb.c, flush_tlb_mm_range; lazy TLB mode: CPUs whose thread sleeps are spared",
        "jemalloc issue 1422: MADV_DONTNEED is dear in KVM guests because of interrupts",
        "A probe that sleeps: jHiccup, https://github.com/giltene/jHiccup",
    ],
    benches,
};

const WAIT: &str = "wait_max_ns";
const CALL: &str = "call_ns";
const IPIS: &str = "ipis_per_call_count";

const fn wait(case: &'static str, param: &'static str) -> Pick {
    pick(case, param, WAIT)
}

const fn map(case: &'static str) -> Pick {
    wait(case, "map")
}

const fn claim(text: &'static str, of: Pick, against: Option<Pick>, expect: Expect) -> Claim {
    Claim { text, of, against, expect, cores: 2 }
}

const WHO_WAITS: Step = Step {
    name: "who_waits",
    ask: "One thread maps 32 MiB with MAP_POPULATE and unmaps it. Another, on another CPU, maps and unmaps 64 KiB in a loop. How long does \
          it stand still at worst, in ns?",
    predict: Predict::Number { case: "populate", param: "map" },
    kind: Kind::Pause,
    cases: &["compute", "map_unmap", "populate", "mprotect", "madvise", "smaps", "pooled"],
    params: &["fault", "map", "sleep", "spin"],
    launch: Launch::Together,
    measure: who_waits,
    headline: WAIT,
    columns: &["wait_p50_ns", "wait_p99_ns", "stalled_share", "runq_max_ns", "cycles_count"],
    claims: &[
        claim(
            "a mapper waits 10 times longer beside MAP_POPULATE",
            map("populate"),
            Some(map("compute")),
            AtLeast(10.0),
        ),
        claim(
            "a mapper waits 3 times longer beside mprotect",
            map("mprotect"),
            Some(map("compute")),
            AtLeast(3.0),
        ),
        claim(
            "a mapper waits 5 times longer beside a reader of smaps",
            map("smaps"),
            Some(map("compute")),
            AtLeast(5.0),
        ),
        claim(
            "a pooled buffer delays a mapper by less than 3 times",
            map("pooled"),
            Some(map("compute")),
            AtMost(3.0),
        ),
        claim(
            "beside MAP_POPULATE a fault waits a fifth of that",
            wait("populate", "fault"),
            Some(map("populate")),
            AtMost(0.2),
        ),
        claim(
            "a sleeper sees a fifth of it at most",
            wait("populate", "sleep"),
            Some(map("populate")),
            AtMost(0.2),
        ),
        claim(
            "a spinner sees a fifth of it at most",
            wait("populate", "spin"),
            Some(map("populate")),
            AtMost(0.2),
        ),
    ],
    because: "mmap and munmap change the process's one list of mappings and take mmap_lock for writing; so does mprotect, for as long as it \
              walks the pages. MAP_POPULATE and a reader of smaps hold it for reading while they walk, and a writer waits for readers. A \
              fault takes only its own mapping's lock (since Linux 6.4), arithmetic and sleep take none: such a probe reports a calm \
              process. Memory that was mapped once and is used again needs no call, so it delays nobody. Open src/experiments/bystander.rs.",
    tour: false,
};

const SHOOTDOWN: Step = Step {
    name: "shootdown",
    ask: "A thread makes 16 touched pages read-only while another thread of the same process computes on another CPU. How long does that \
          one mprotect take, in ns?",
    predict: Predict::Number { case: "mprotect", param: "running" },
    kind: Kind::Single,
    cases: &["mprotect", "munmap"],
    params: &["alone", "asleep", "running"],
    launch: Launch::Isolated,
    measure: take_away,
    headline: CALL,
    columns: &["call_p99_ns", IPIS],
    claims: &[
        claim(
            "beside a running thread mprotect takes twice as long",
            pick("mprotect", "running", CALL),
            Some(pick("mprotect", "alone", CALL)),
            AtLeast(2.0),
        ),
        claim(
            "so does munmap, 1.5 times",
            pick("munmap", "running", CALL),
            Some(pick("munmap", "alone", CALL)),
            AtLeast(1.5),
        ),
        claim(
            "a sleeping thread costs less than half more",
            pick("mprotect", "asleep", CALL),
            Some(pick("mprotect", "alone", CALL)),
            AtMost(1.5),
        ),
        claim(
            "beside a running thread there is an interrupt for most calls",
            pick("mprotect", "running", IPIS),
            None,
            AtLeast(0.5),
        ),
        claim("alone there is none for most calls", pick("mprotect", "alone", IPIS), None, AtMost(0.2)),
    ],
    because: "A CPU keeps translations of pages it used. Who takes a page away must be sure that no CPU still uses the old one, so the kernel \
              interrupts every CPU that runs a thread of this process and waits for all of them (x86). A CPU on which the thread sleeps is \
              spared: it flushes when it comes back. The price is paid for a call, not for a page, so one large call is cheaper than many \
              small ones. /proc/interrupts counts it in its line TLB; a hypervisor that flushes for its guest, or a CPU with an \
              instruction for it, shows no such line or does not count. Open src/experiments/shootdown.rs.",
    tour: false,
};

fn who_waits(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    // The control runs twice: the second time as the A/A row, the smallest difference that the step may claim.
    let arms: Vec<&str> = cases.iter().copied().chain(cases.contains(&"compute").then_some(AA)).collect();
    let bytes = if plan.is_smoke() { MIB } else { ANTAGONIST };
    let one = |param: &&str| -> Vec<Sample> {
        let cpus = match two(plan, bytes) {
            Ok(cpus) => cpus,
            Err(why) => return arms.iter().map(|arm| Sample::unmeasured(arm, param, &why)).collect(),
        };
        let victim = match *param {
            "fault" => Victim::Fault,
            "map" => Victim::Map,
            "sleep" => Victim::Sleep,
            _ => Victim::Spin,
        };
        let known: Vec<(&str, Antagonist)> =
            arms.iter().filter_map(|arm| Some((*arm, named(arm)?))).collect();
        let beside: Vec<Antagonist> = known.iter().map(|(_, antagonist)| *antagonist).collect();
        let watched = watch_all(victim, &beside, bytes, plan.slice / 10, cpus);
        let told = known.iter().zip(watched).map(|((arm, _), watched)| match watched {
            Ok(watched) => watched.sample(arm, param),
            Err(why) => Sample::unmeasured(arm, param, format!("not possible here: {why}")),
        });
        let unknown = arms.iter().filter(|arm| named(arm).is_none());
        told.chain(unknown.map(|arm| Sample::unmeasured(arm, param, format!("there is no {arm}")))).collect()
    };
    params.iter().flat_map(one).collect()
}

fn named(case: &str) -> Option<Antagonist> {
    Some(match case {
        "compute" | AA => Antagonist::Compute,
        "map_unmap" => Antagonist::MapUnmap,
        "populate" => Antagonist::Populate,
        "mprotect" => Antagonist::Protect,
        "madvise" => Antagonist::Forget,
        "smaps" => Antagonist::Smaps,
        "pooled" => Antagonist::Pooled,
        _ => return None,
    })
}

fn two(plan: &Plan, bytes: usize) -> Result<[usize; 2], String> {
    let [first, second, ..] = plan.cpus[..] else {
        return Err("needs 2 CPUs: on one, a thread waits for the CPU and not for memory".into());
    };
    memory::Room::now().refusal((2 * bytes + 64 * MIB) as u64).map_or(Ok([first, second]), Err)
}

fn take_away(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let one = |case: &str, param: &str| -> Result<Sample, String> {
        let call = match case {
            "mprotect" => Call::Protect,
            "munmap" => Call::Unmap,
            _ => return Err(format!("there is no {case}")),
        };
        let peer = match param {
            "alone" => Peer::None,
            "asleep" => Peer::Asleep,
            _ => Peer::Running,
        };
        let cpus = two(plan, MIB)?;
        let sample = shootdown(call, peer, PAGES, plan.slice / 3, cpus);
        let sample = sample.map_err(|why| format!("not possible here: {why}"))?;
        let uncounted = !sample.values.contains_key(IPIS);
        let sample = Sample { case: case.into(), param: param.into(), ..sample };
        Ok(if uncounted { sample.seeing("this kernel does not count TLB shootdowns") } else { sample })
    };
    let pairs = cases.iter().flat_map(|case| params.iter().map(move |param| (*case, *param)));
    pairs
        .map(|(case, param)| one(case, param).unwrap_or_else(|why| Sample::unmeasured(case, param, why)))
        .collect()
}

/// The calls that take the lock, on one thread.
fn benches(_: &Plan) -> Vec<Bench> {
    fn map_unmap() -> Ops {
        Box::new(|n| {
            (0..n).for_each(|_| drop(std::hint::black_box(Mapping::lazy(PAGES * memory::page_bytes()))))
        })
    }
    fn map_touch_unmap() -> Ops {
        Box::new(|n| {
            for _ in 0..n {
                if let Ok(mut memory) = Mapping::lazy(PAGES * memory::page_bytes()) {
                    (0..PAGES).for_each(|page| memory.touch(page * memory::page_bytes()));
                }
            }
        })
    }
    let bench =
        |id: &str, make: fn() -> Ops| Bench { id: id.into(), make: Box::new(move || cost::timed(make)) };
    vec![bench("map_unmap", map_unmap), bench("map_touch_unmap", map_touch_unmap)]
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(&LAB)
}
