//! Why does the same code take longer an hour later?
//!
//! Run it: `cargo run --release --bin os_shared_core -- --step`
use std::hint::black_box;

use underhood::{
    contenders::lock::STD_MUTEX,
    experiments::ladder,
    lab::{Contender, Kind, Lab, ONCE, Setting, Step, at_least, at_most, pick, ratio, shown_by, source},
    measure::cost::{self, Ops, Solo},
};

pub(crate) fn lab() -> Lab {
    underhood::lab!("os_shared_core", "Why does the same code take longer an hour later?")
        .step(work())
        .say(
            "work",
            "To allocate and free 64 bytes takes {against} if the thread has the core to itself. It takes {value} while somebody else uses the \
            core's other hardware thread.",
            shared("allocate"),
            "the other thread is idle or waits for memory. How much it takes depends on what it does",
        )
        .not_said(&[
            "Who shares the core. In a virtual machine the other hardware thread may belong to another guest, and nothing shows whose it is.",
            "How long the sum takes: another build of the same code took twice as long for it, in both states.",
            "That all differences between sessions come from this. The host also moves virtual CPUs, and others use the caches and the memory.",
            "How the core is shared with a thread that does something known: here nobody chose what the others do. And that every operation \
             suffers as much: before the first run we expected 1.2 times for the mutex, and it was 1.13.",
        ])
        .next(&[
            "Your service needs twice the CPU time per request at noon. The code is the same, and no time is stolen. What do you look at?",
            "Does a machine with hyperthreading have twice the cores? (no: two threads share the execution units and the caches of one)",
            "When does a second thread on the same core cost almost nothing? (when each waits: a chain of dependent steps, or memory)",
        ])
        .sources(&[
            "AMD, Software Optimization Guide for the AMD Family 19h Processors (56665): what two threads of a core share",
            "A. Fog, The microarchitecture of Intel, AMD and VIA CPUs: multithreading",
            "src/measure/own_core.rs: how it is seen",
        ])
}

/// With the core shared against with the core alone.
fn shared(case: &'static str) -> underhood::lab::What {
    ratio(pick(case, "", "op_shared_ns"), pick(case, "", "op_ns"))
}

/// Steps of a generator, each of which needs the one before.
fn chain() -> Ops {
    let mut x = 0x9e37_79b9_7f4a_7c15_u64;
    Box::new(move |n| {
        for _ in 0..n {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
        }
        black_box(x);
    })
}

/// Sums over 4 KiB.
fn sum() -> Ops {
    let numbers: Vec<u32> = (0..1_024).collect();
    Box::new(move |n| {
        for _ in 0..n {
            black_box(black_box(&numbers).iter().fold(0_u32, |sum, x| sum.wrapping_add(*x)));
        }
    })
}

/// Loads through 256 KiB, each of which says where the next one is.
fn chase() -> Ops {
    let order = ladder::shuffled(1 << 16, 1);
    let mut next = vec![0_u32; order.len()];
    for (from, to) in order.iter().zip(order.iter().cycle().skip(1)) {
        next[*from as usize] = *to;
    }
    let mut at = 0_u32;
    Box::new(move |n| {
        for _ in 0..n {
            at = next[at as usize];
        }
        black_box(at);
    })
}

/// Blocks of 64 bytes, each freed at once.
fn allocate() -> Ops {
    Box::new(|n| (0..n).for_each(|_| drop(black_box(Box::new([0_u8; 64])))))
}

const fn named(id: &'static str, name: &'static str, value: fn() -> Ops) -> Setting<fn() -> Ops> {
    Setting { is: Contender::new(id).called(name), value }
}

static KERNELS: [Setting<fn() -> Ops>; 4] = [
    named("chain", "steps that wait for each other", chain),
    named("sum", "a sum of 1,024 numbers", sum),
    named("chase", "loads through 256 KiB", chase),
    named("allocate", "allocate and free 64 bytes", allocate),
];

fn work() -> Step {
    let solos = || {
        let kernels = KERNELS.iter().map(|k| Solo::new(k.id(), k.value));
        kernels.chain([STD_MUTEX.writes()])
    };
    Step::new("work", Kind::Single, "op_ns")
        .ask_number(
            "A thread has a core to itself. It allocates 64 bytes and frees them. How many ns does it take?",
            "allocate",
            "",
        )
        .contenders(KERNELS.iter().map(|k| &k.is).chain([STD_MUTEX.as_ref()]))
        .columns(&["op_shared_ns"])
        .over(ONCE, move |plan, p| cost::solo(plan, p.id(), solos()))
        .claim(
            at_least(1.2, shared("allocate")),
            "with the core shared, an allocation and its free take at least 1.2 times as long",
        )
        .claim(at_least(1.2, shared("sum")), "with the core shared, a sum takes at least 1.2 times as long")
        .claim(
            at_most(1.15, shared("chain")),
            "with the core shared, steps that wait for each other take at most 1.15 times as long",
        )
        .because(
            "Two hardware threads of a core share what executes instructions. A sum keeps it busy, so two of them get in each other's way. A \
            chain of steps leaves most of it idle, whether the core is shared or not.",
            shown_by(at_most(1.15, shared("chain"))),
        )
        .because(
            "They share the caches too, so loads that miss the first level take longer. Or others fill the caches that all cores share: this \
             row can't tell the two apart.",
            shown_by(at_least(1.15, shared("chase"))),
        )
        .because(
            "About once a millisecond the lab looks at the core: how many additions that don't depend on each other it does in one cycle. With the \
            core to itself a thread does more of them than with the core shared. The looks decide which measurements count as shared; the measured \
            times never do.",
            source("`Looks::whole` in src/measure/own_core.rs"),
        )
        .because(
            "The frequency is not the cause. Steps that wait for each other take nearly as long in both states; a slower clock would make them \
            longer, too.",
            shown_by(at_most(1.15, shared("chain"))),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}
