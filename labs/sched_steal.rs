//! Why does a work-stealing deque give its owner the newest task and a thief the oldest?
//!
//! Run it: `cargo run --release --bin sched_steal -- --step`
use underhood::{
    experiments::{
        steal::{BLOCKINGS, Blocking, ORDERS, Takes, Worked, behind, tree},
        thieves::{CROSSBEAM, DEQUE, MUTEX, Rob, Robbed, SEGMENTS},
    },
    lab::{
        Kind, Lab, ONCE, Pick, Setting, Step, at, at_least, at_most, between, pick, ratio, sample::Sample,
        shown_by, source,
    },
    measure::lateness::in_turn,
    stats,
};

/// How often each case is measured in a launch, in a random order.
const ROUNDS: usize = 3;
const DEQUES: &[Setting<Rob>] = &[DEQUE, CROSSBEAM, MUTEX, SEGMENTS];
/// The root of the tree, as a Fibonacci number: 21,891 tasks. A smoke run has 609.
const SIZES: [u32; 2] = [20, 13];

pub(crate) fn lab() -> Lab {
    underhood::lab!(
        "sched_steal",
        "Why does a work-stealing deque give its owner the newest task and a thief the oldest?"
    )
    .step(order())
    .step(deques())
    .step(blocking())
    .say(
        "order",
        "{threads} workers ran a tree of 21,891 tasks, each with its own queue. With thieves that take the oldest task it \
         needed {value} steals. With thieves that take the newest it needed {against}.",
        ratio(steals("newest_oldest"), steals("newest_newest")),
        "the tasks do not create other tasks: then every steal brings one task, whichever end it comes from",
    )
    .say(
        "order",
        "{threads} workers ran a tree of 21,891 tasks. With owners that take their newest task first, the longest queue held {value} tasks. \
         With owners that take their oldest, it held {against}.",
        ratio(("newest_oldest", ""), ("oldest_oldest", "")),
        "the tasks come from outside, at a rate that the workers can't choose",
    )
    .say(
        "deques",
        "An owner with no thief pushes 16 items and takes them back. An item takes {value} with our deque, and {against} with a deque \
         behind a mutex, the loop included.",
        ratio(("deque", "alone"), ("mutex_deque", "alone")),
        "the owner computes between two items: then a difference of some ns does not show",
    )
    .say(
        "blocking",
        "One of {threads} workers blocks for 20 ms, and 100 short tasks wait in its queue. Without stealing the last of them begins \
         after {value}, with stealing after {against}.",
        ratio("no_stealing", "stealing"),
        "all workers block, or the other workers sleep and nobody wakes them",
    )
    .not_said(&[
        "That every runtime does so. Go and tokio take the oldest task from their own queue, and run the newest first only from a slot for \
         one task. So old tasks wait less.",
        "What a thief gains by taking half of a queue at once, as in Go and tokio.",
        "What it costs to wake a worker that sleeps. Here idle workers look again and again.",
        "That the order makes this tree faster: with two workers all three orders took the same time. A task takes about 0.7 us here; with \
         smaller ones, steals and locks would show.",
        "Equal work with thieves: a slower queue loses more of its items, and the owner makes a new box for each.",
        "How a growing deque behaves: ours is bounded, and it holds 64 items here.",
        "Anything about more than 8 workers: the lab uses at most 8 CPUs.",
    ])
    .next(&[
        "Why can the owner pop without an atomic exchange while there are two items or more? (the fence: either the owner \
         sees the thief's top, or the thief sees the owner's bottom)",
        "What are G, M and P in Go? (a goroutine, a thread, and a place with a queue of its own; a thread needs a place to run)",
        "What does Go do with the queue of a thread that blocks in a system call? (another thread gets the place and its queue)",
        "How does an idle worker go to sleep without missing a task? (lab order_wakeup)",
        "Why does one blocking task in tokio delay others, although there is stealing? (lab async_starvation)",
    ])
    .sources(&[
        "D. Chase, Y. Lev, Dynamic Circular Work-Stealing Deque, SPAA 2005",
        "N. M. Lê, A. Pop, A. Cohen, F. Zappa Nardelli, Correct and Efficient Work-Stealing for Weak Memory Models, PPoPP 2013",
        "R. Blumofe, C. Leiserson, Scheduling Multithreaded Computations by Work Stealing, J. ACM 46 (1999)",
        "Go, src/runtime/proc.go: runqput, runqsteal, handoffp; tokio 1.54.1, runtime/scheduler/multi_thread/queue.rs",
    ])
}

fn steals(case: &'static str) -> Pick {
    pick(case, "", "steals_count")
}

fn order() -> Step {
    Step::new("order", Kind::Tail, "longest_count")
        .ask_number(
            "A task computes for less than a microsecond and creates two smaller ones, down to a tree of 21,891 tasks. A worker \
             for each CPU (at most 8) has its own queue. Each takes the oldest task, of its own queue or else of another's. \
             How many tasks wait in one queue at most?",
            "oldest_oldest",
            "",
        )
        .columns(&["steals_count", "task_ns", "tasks_count"])
        .contenders(&ORDERS)
        .over_all(ONCE, |plan, points| {
            let size = SIZES[usize::from(plan.is_smoke())];
            let run = |order: &Setting<Takes>, (): &()| tree(order.value, size, &plan.cpus);
            in_turn(plan, ROUNDS, &ORDERS, points, run, |_, (), seen| grown(&seen))
        })
        .claim(
            at_least(4.0, ratio(steals("newest_newest"), steals("newest_oldest"))).cores(2),
            "thieves that take the newest task steal at least 4 times as often as thieves that take the oldest",
        )
        .claim(
            at_least(10.0, ratio(("oldest_oldest", ""), ("newest_oldest", ""))).cores(2),
            "if the owner takes its oldest task, its queue becomes at least 10 times as long as if it takes its newest",
        )
        .because(
            "The oldest task in a queue is nearest to the root and stands for the largest part of the tree. A thief that gets \
             it is busy for long and seldom comes back.",
            shown_by(at_least(4.0, ratio(steals("newest_newest"), steals("newest_oldest"))).cores(2)),
        )
        .because(
            "Both rules are needed. An owner that takes its oldest task uses up the large ones itself. Then only small \
             ones are left for a thief.",
            shown_by(at_least(5.0, ratio(steals("oldest_oldest"), steals("newest_oldest"))).cores(2)),
        )
        .because(
            "An owner that takes its newest task goes down into the tree before it goes across. Then only the siblings of one \
             path wait. An owner that takes its oldest goes across, and a whole level waits.",
            source("R. Blumofe, C. Leiserson, Scheduling Multithreaded Computations by Work Stealing, 1999: the bound on space"),
        )
}

fn grown(seen: &[Worked]) -> Result<Sample, String> {
    Ok(Sample::default()
        .with("longest_count", middle(seen, |w| w.longest_count as f64)?)
        .with("steals_count", middle(seen, |w| w.steals_count as f64)?)
        .with("task_ns", middle(seen, |w| w.wall.as_secs_f64() * 1e9 / w.tasks_count as f64)?)
        .with("tasks_count", middle(seen, |w| w.tasks_count as f64)?))
}

fn middle<T>(seen: &[T], value: impl Fn(&T) -> f64) -> Result<f64, String> {
    stats::median(&seen.iter().map(value).collect::<Vec<_>>()).ok_or_else(|| "nothing was run".into())
}

fn deques() -> Step {
    Step::new("deques", Kind::Tail, "item_ns")
        .ask_number(
            "An owner pushes 16 items onto our work-stealing deque and takes them back, again and again, and nobody steals. How \
             many ns does an item take?",
            "deque",
            "alone",
        )
        .columns(&["stolen_share"])
        .contenders(DEQUES)
        .slice(0.2)
        .over_all([at("alone", false), at("thieves", true)], |plan, points| {
            let slice = plan.slice / ROUNDS as u32;
            let run = |way: &Setting<Rob>, thieves: &bool| (way.value)(&plan.cpus, *thieves, slice)?.whole();
            in_turn(plan, ROUNDS, DEQUES, points, run, |_, _, seen| robbed(&seen))
        })
        .claim(
            at_most(1.5, ratio(("deque", "alone"), ("crossbeam_deque", "alone"))),
            "with no thief, an item takes at most 1.5 times as long through our deque as through crossbeam's",
        )
        .claim(
            at_most(1.0, ratio(("deque", "alone"), ("mutex_deque", "alone"))),
            "with no thief, an item takes at most as long through our deque as through a deque behind a mutex",
        )
        .claim(
            at_least(1.5, ratio(("mutex_deque", "thieves"), ("deque", "thieves"))).cores(2),
            "with a thief on each other CPU, which looks about once a microsecond, an item through the deque behind a mutex takes at least 1.5 times as long",
        )
        .because(
            "The owner's push is two stores. Its pop needs a fence, and an atomic exchange only for the last item. A mutex needs \
             an exchange for each operation and one more to unlock.",
            source("src/structures/lockfree/deque.rs"),
        )
        .because(
            "Thieves cost the owner even where they need no lock: they read the words that the owner writes, and those cache \
             lines move between the cores. The owner also makes a new box for each item that was stolen, here about one in a hundred.",
            shown_by(at_least(1.05, ratio(("deque", "thieves"), ("deque", "alone"))).cores(2)),
        )
}

fn robbed(seen: &[Robbed]) -> Result<Sample, String> {
    let sum = |of: fn(&Robbed) -> u64| seen.iter().map(of).sum::<u64>() as f64;
    Ok(Sample::default()
        .with("item_ns", middle(seen, |r| r.wall.as_secs_f64() * 1e9 / r.items_count as f64)?)
        .share("stolen_share", sum(|r| r.stolen_count), sum(|r| r.items_count)))
}

fn blocking() -> Step {
    Step::new("blocking", Kind::Tail, "wait_max_ns")
        .ask_number(
            "A worker gets a task that blocks for 20 ms, and 100 short tasks wait in its queue. There is a worker for each CPU (at least \
             2, at most 8), and the other workers steal. After how many ns does the last of the 100 tasks begin?",
            "stealing",
            "",
        )
        .columns(&["stolen_share"])
        .contenders(&BLOCKINGS)
        .over_all(ONCE, |plan, points| {
            let run = |case: &Blocking, (): &()| behind(case.value, &plan.cpus);
            in_turn(plan, ROUNDS, &BLOCKINGS, points, run, |_, (), seen| waited(&seen))
        })
        .claim(
            at_most(0.5, ratio("stealing", "no_stealing")),
            "with stealing, the longest wait is at most half of that without",
        )
        .claim(
            between(0.5, 2.0, ratio("one_queue", "stealing")),
            "with one queue for all, the longest wait is half to twice that with stealing",
        )
        .because(
            "The other workers take what the blocked one has: nearly all of its tasks.",
            shown_by(at_least(0.9, pick("stealing", "", "stolen_share"))),
        )
        .because(
            "Stealing needs a worker that is free. If every worker has a task that blocks, the other tasks wait until a block ends.",
            shown_by(at_least(0.8, ratio("all_block", "no_stealing"))),
        )
        .because(
            "So a runtime does more: when a thread blocks in a system call, Go gives its queue to another thread. tokio does so \
             only where the program says block_in_place.",
            source("Go, src/runtime/proc.go: handoffp, retake; tokio 1.54.1, task::block_in_place"),
        )
}

fn waited(seen: &[Worked]) -> Result<Sample, String> {
    let sum = |of: fn(&Worked) -> u64| seen.iter().map(of).sum::<u64>() as f64;
    Ok(Sample::default().with("wait_max_ns", middle(seen, |w| w.waited.as_secs_f64() * 1e9)?).share(
        "stolen_share",
        sum(|w| w.steals_count),
        sum(|w| w.tasks_count),
    ))
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}
