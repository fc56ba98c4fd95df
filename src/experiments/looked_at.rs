//! Steps with a look at the clock after each operation, which several labs have: see [`worst`].
use crate::{
    contenders::bag::{Bag, singly},
    lab::{Contender, Kind, Step, at, at_least, at_most, pick, ratio, shown_by, source},
    measure::{throughput::Crowd, worst},
};

/// The longest operation with a thread, and with four, for each CPU.
pub fn longest<C: AsRef<Contender> + Sync>(
    roster: &'static [&'static C],
    lanes: impl Fn(&C) -> Crowd + Send + Sync + 'static,
) -> Step {
    Step::new("worst", Kind::Tail, "op_max_ns")
        .columns(&["op_p99_ns", "halted_share", "halt_max_ns", "jain_share", "min_max_share", "ops_per_s"])
        .contenders(roster)
        .slice(1.0 / 4.0)
        .over([at("1x_threads", 1), at("4x_threads", 4)], move |plan, times| {
            worst::at_times(plan, times, roster.iter().map(|c| lanes(c)))
        })
        .because(
            "Each operation ends with a look at the clock, so the rates are of another workload than in the other steps.",
            source("src/measure/worst.rs"),
        )
}

/// A bag behind a mutex, one behind a spin lock, which stands for all that do not sleep, ours without a lock, and a crate's.
pub fn halts(bags: &'static [&Bag; 4]) -> Step {
    let [mutex, spin, free, _] = bags.map(|bag| AsRef::<Contender>::as_ref(bag).id);
    let longest = || at_least(1e6, pick(free, "4x_threads", "op_max_ns")).cores(2);
    Step::new("worst", Kind::Tail, "halted_share")
        .ask_number(
            "Four threads for each CPU. For what share of the time does nobody finish anything, behind a spin lock?",
            spin,
            "4x_threads",
        )
        .columns(&[
            "op_max_ns",
            "op_p99_ns",
            "halt_max_ns",
            "jain_share",
            "min_max_share",
            "failed_ratio",
            "ops_per_s",
        ])
        .contenders(bags)
        .slice(1.0 / 4.0)
        .over([at("1x_threads", 1), at("2x_threads", 2), at("4x_threads", 4)], |plan, times| {
            singly(plan, times, bags)
        })
        .claim(
            at_least(0.1, (spin, "4x_threads")).cores(2),
            "a preempted holder of a spin lock stops everybody: with four threads a CPU for at least a tenth of the time",
        )
        .claim(
            at_most(0.01, (free, "4x_threads")).cores(2),
            "a lock-free loser stops only itself: for at most a hundredth of the time nobody gets on",
        )
        .claim(
            at_most(0.1, (mutex, "4x_threads")).cores(2),
            "a mutex that sleeps gives the holder a CPU: at most a tenth",
        )
        .claim(
            longest(),
            "lock-free does not mean soon: the worst operation waits for the turns of others, at least a millisecond",
        )
        .because(
            "Each operation ends with a look at the clock, so the rates are of another workload than in crowd.",
            source("src/measure/worst.rs"),
        )
        .because(
            "A thread that is preempted has a gap; where the gaps of all threads overlap, nobody got on.",
            source("`common` in src/measure/worst.rs"),
        )
        .because(
            "Behind a spin lock the others use up their turns looking at a lock whose holder has none. Behind a mutex they sleep, and the \
             holder runs again at once.",
            shown_by(at_least(10.0, ratio((spin, "4x_threads"), (mutex, "4x_threads"))).cores(2)),
        )
        .because(
            "Without a lock, a preempted thread leaves nothing locked: its own exchange fails later and is tried again. The others still \
             stand still whenever they all wait for a CPU or for the allocator.",
            source("`common` in src/measure/worst.rs"),
        )
        .because(
            "For one operation it makes no difference: a thread that has no CPU waits.",
            shown_by(longest()),
        )
}
