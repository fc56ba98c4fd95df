//! What does a thread cost, and what a task?
//!
//! Run it: `cargo run --release --bin os_cost -- --step`
use std::time::Duration;

use underhood::{
    experiments::{
        crossing::{CLOCK, CLOCK_CALL, Call, FUNCTION, PARENT},
        idle::{IDLERS, Idle, MILLION, idle},
        pass::{PARK, PIPE, Pass, Passed, Place, SPIN, TASKS},
        spawn::{BOXED, POOLED, SMALL_STACK, Start, Starts, TASK, THREAD},
    },
    lab::{
        Kind, Lab, ONCE, Point, Setting, Step, at, at_least, at_most, between, count, pick, plan::Plan,
        ratio, sample::Sample, shown_by, source,
    },
    measure::{cost, latency::with_known, lateness::in_turn},
    stats,
};

/// How often each case is measured in a launch, in a random order.
const ROUNDS: usize = 3;

pub(crate) fn lab() -> Lab {
    underhood::lab!("os_cost", "What does a thread cost, and what a task?")
        .step(start())
        .step(memory())
        .step(switch())
        .step(call())
        .say(
            "start",
            "To start an OS thread and wait for its end takes {value}. A tokio task on the same thread takes {against}.",
            ratio("thread", "task"),
            "the thread comes from a pool, or the task must be sent to another thread that sleeps",
        )
        .say(
            "memory",
            "Each of a thousand idle OS threads takes {value} of the process's memory. A stack in the kernel (16 KiB on x86-64) comes on \
             top. Each of a thousand idle tokio tasks takes {against}.",
            ratio(("thread", "1k"), ("task", "1k")),
            "the threads have used their stacks: a page that was touched once stays. With many more tasks, each takes about half. The \
             memory that the process needs only once then hardly counts",
        )
        .say(
            "switch",
            "Two threads on two CPUs send a number to each other and back. The round trip takes {value} if they park, \
             {against} if they spin.",
            ratio(("park", "two_cpus"), ("spin", "two_cpus")),
            "the partner answers before the waiting thread has gone to sleep, or both share a CPU",
        )
        .say(
            "switch",
            "On one CPU, two threads that park send a number there and back in {value}. Two tokio tasks on one worker take {against}.",
            ratio(("park", "one_cpu"), ("tasks", "one_cpu")),
            "a task must wake a sleeping worker. With two workers that was rare here",
        )
        .say(
            "call",
            "Reading the clock takes {value} without entering the kernel and {against} by a system call.",
            ratio("clock", "clock_call"),
            "the clock source can't be read by a program, as on some virtual machines: then both enter the kernel",
        )
        .not_said(&[
            "What a busy thread costs: these threads start, sleep or send a number, and do nothing else.",
            "What the kernel keeps for a thread beyond its stack. The column \"kernel stack\" comes from a sum for the whole machine, and \
             other programs start threads, too.",
            "What a switch costs when the other thread has pushed data out of the caches: here both threads touch only a few cache lines.",
            "How many threads or tasks fit: the lab stops at half of each limit and at 512 MiB, to leave enough for other programs.",
            "Anything about sockets, processes or priorities.",
        ])
        .next(&[
            "Why do 10,000 threads with 2 MiB stacks not need 20 GB? (address space, not memory: a page is there when it is touched)",
            "How many threads can a process have at most, and what sets that limit? (ulimit -u, pids.max, vm.max_map_count, \
             kernel.pid_max)",
            "Why does a wake-up on another CPU cost more than on this one? (the other CPU sleeps: an interrupt must wake it)",
            "How do goroutines and Java's virtual threads grow their stacks? (by copying, or by chunks on the heap)",
            "When is spinning right? (when the answer comes sooner than a switch takes, and the partner has a CPU of its own)",
        ])
        .sources(&[
            "Linux, man pages: pthread_create(3), futex(2), vdso(7), getrusage(2), sched_yield(2)",
            "Linux, Documentation/admin-guide/sysctl: vm.max_map_count, kernel.threads-max, kernel.pid_max",
            "tokio 1.54.1, src/runtime/task/core.rs: the future, the header and the trailer of a task are one allocation",
            "std::thread::Builder::stack_size, documentation: 2 MiB unless told otherwise",
        ])
}

fn start() -> Step {
    const WAYS: &[Setting<Start>] = &[THREAD, SMALL_STACK, POOLED, TASK, BOXED];
    let switches = |case| pick(case, "", "switches_per_start_count");
    Step::new("start", Kind::Tail, "start_ns")
        .ask_number(
            "A program starts an OS thread that does nothing, and joins it, again and again. How many ns pass from one start to the next?",
            "thread",
            "",
        )
        .columns(&["switches_per_start_count", "starts_count"])
        .contenders(WAYS)
        .slice(0.5)
        .over_all(ONCE, |plan, points| {
            let slice = plan.slice / ROUNDS as u32;
            in_turn(plan, ROUNDS, WAYS, points, |way, ()| (way.value)(slice), |_, (), seen| started(&seen))
        })
        .claim(
            at_least(10.0, ratio("thread", "task")),
            "from start to end, an OS thread costs at least 10 times as much as a task",
        )
        .claim(
            at_least(1.2, ratio("thread", "pooled")),
            "an OS thread costs at least 1.2 times as much as a job for a pool thread, which also needs a wake-up",
        )
        .claim(
            at_most(20.0, ratio("task", "boxed")),
            "a task costs at most 20 times as much as the call of a boxed closure",
        )
        .because(
            "A thread runs on its own, so the thread that waits for it goes to sleep. That is at least one context switch there and one \
             back. A pool thread has that cost, too.",
            shown_by(at_least(0.5, switches("thread"))),
        )
        .because(
            "A task is polled by the thread that waits for it, so nobody sleeps. (This runtime has neither timers nor sockets to look at.)",
            shown_by(at_most(0.05, switches("task"))),
        )
        .because(
            "The size of the stack makes no difference. Only address space is set aside, and glibc keeps the stacks of threads that have \
             ended for new threads.",
            shown_by(between(0.5, 2.0, ratio("small_stack", "thread"))),
        )
        .because(
            "The remaining difference to a pool thread is the cost of creating and ending the thread: clone, thread-local storage, exit.",
            source("pthread_create(3), clone(2)"),
        )
        .in_tour()
}

fn started(seen: &[Starts]) -> Result<Sample, String> {
    let each = |value: fn(&Starts) -> Option<f64>| {
        let per: Option<Vec<f64>> = seen.iter().map(|s| Some(value(s)? / s.starts_count as f64)).collect();
        per.and_then(|per| stats::median(&per))
    };
    let ns = each(|s| Some(s.wall.as_secs_f64() * 1e9)).ok_or("nothing was started")?;
    let starts: u64 = seen.iter().map(|s| s.starts_count).sum();
    let sample = Sample::default().with("start_ns", ns).with("starts_count", starts as f64);
    let switches = each(|s| Some(s.switches_count? as f64));
    Ok(with_known(sample, &[("switches_per_start_count", switches)]))
}

fn memory() -> Step {
    Step::new("memory", Kind::Count, "each_bytes")
        .ask_number(
            "A thousand OS threads are started with the usual stack of 2 MiB and go to sleep. How many bytes of resident memory does each \
             take?",
            "thread",
            "1k",
        )
        .columns(&["idle_count", "kernel_stack_bytes"])
        .isolated(&IDLERS, [count("1k", 1_000), count("1M", MILLION)], |plan, what, wanted| {
            let wanted = if plan.is_smoke() { wanted.value / 100 } else { wanted.value };
            Ok(weighed(&idle(what.value, wanted)?))
        })
        .claim(
            at_most(64.0 * 1024.0, ("thread", "1k")),
            "an idle thread takes at most 64 KiB of memory, though its stack is 2 MiB",
        )
        .claim(
            at_least(10.0, ratio(("thread", "1k"), ("task", "1k"))),
            "an idle thread takes at least 10 times as much memory as an idle task",
        )
        .claim(
            at_least(MILLION as f64, pick("task", "1M", "idle_count")),
            "a million idle tasks fit into 512 MiB and into a quarter of the memory that is free here",
        )
        .claim(
            between(0.5, 2.0, ratio(("task", "1M"), ("task", "1k"))),
            "a task takes about as much memory among a million as among a thousand: half to twice",
        )
        .because(
            "A stack is only address space. The pages that were touched take memory: a thread that has used 64 KiB once keeps \
             them.",
            shown_by(at_least(3.0, ratio(("used_thread", "1k"), ("thread", "1k")))),
        )
        .because(
            "A task that waits has no stack of its own. It consists of a header and its future, and the future holds what lives across the \
             await.",
            shown_by(at_least(2.0, ratio(("buffer_task", "1k"), ("task", "1k")))),
        )
        .because(
            "A thread has a stack in the kernel as well, 16 KiB on x86-64, which a process's resident memory does not count.",
            source("Linux, arch/x86/include/asm/page_64_types.h: THREAD_SIZE; /proc/meminfo: KernelStack"),
        )
}

fn weighed(idle: &Idle) -> Sample {
    let each = |bytes: u64| bytes as f64 / idle.idle_count as f64;
    let sample =
        Sample::default().with("each_bytes", each(idle.bytes)).with("idle_count", idle.idle_count as f64);
    let sample = with_known(sample, &[("kernel_stack_bytes", idle.kernel_stack_bytes.map(each))]);
    match &idle.ended {
        Some(why) => sample.seeing(format!("ended early: {why}")),
        None => sample,
    }
}

fn switch() -> Step {
    const WAYS: &[Setting<Pass>] = &[PARK, PIPE, SPIN, TASKS];
    const PLACES: [Point<bool>; 2] = [at("one_cpu", false), at("two_cpus", true)];
    let switches = |case, param| pick(case, param, "switches_per_round_count");
    Step::new("switch", Kind::Tail, "round_ns")
        .ask_number(
            "Two threads on two CPUs wake each other in turn by park and unpark. How many ns does a round trip take?",
            "park",
            "two_cpus",
        )
        .columns(&["switches_per_round_count", "rounds_count"])
        .contenders(WAYS)
        .slice(0.3)
        .over_all(PLACES, |plan, points| {
            let slice = plan.slice / ROUNDS as u32;
            let pass = |way: &Setting<Pass>, two: &bool| (way.value)(place(plan, *two)?, slice);
            in_turn(plan, ROUNDS, WAYS, points, pass, |_, _, seen| passed(&seen))
        })
        .claim(
            at_least(5.0, ratio(("park", "two_cpus"), ("spin", "two_cpus"))).cores(2),
            "on two CPUs, a round trip by parking takes at least 5 times as long as by spinning",
        )
        .claim(
            at_least(5.0, ratio(("park", "one_cpu"), ("tasks", "one_cpu"))),
            "on one CPU, two threads that park take at least 5 times as long as two tasks of one worker",
        )
        .claim(
            at_most(0.8, ratio(("park", "one_cpu"), ("park", "two_cpus"))).cores(2),
            "threads that park are faster on one CPU than on two: at most 0.8 of the time",
        )
        .claim(
            between(0.5, 3.0, ratio(("pipe", "one_cpu"), ("park", "one_cpu"))),
            "on one CPU, a pipe takes 0.5 to 3 times as long as park and unpark",
        )
        .because(
            "A thread that parks gives its CPU to another thread. That is one context switch there, and one back.",
            shown_by(at_least(1.5, switches("park", "one_cpu"))),
        )
        .because(
            "Two tasks of one worker are two entries in a queue. The worker's thread goes from one task to the other by a return and a \
             call.",
            shown_by(at_most(0.1, switches("tasks", "one_cpu"))),
        )
        .because(
            "With a CPU each, spinning threads never leave their CPUs. In a round trip, two cache lines go from CPU to CPU several times: \
             to be read, emptied and written again.",
            shown_by(at_most(0.1, switches("spin", "two_cpus")).cores(2)),
        )
        .because(
            "On two CPUs, the CPU of the thread that waits has nothing else to run and goes idle. Waking that CPU takes an interrupt and \
             some time.",
            shown_by(at_least(1.25, ratio(("park", "two_cpus"), ("park", "one_cpu"))).cores(2)),
        )
}

fn place(plan: &Plan, two: bool) -> Result<Place, String> {
    match plan.cpus[..] {
        [first, second, ..] if two => Ok([first, second]),
        [first, ..] if !two => Ok([first, first]),
        _ => Err("two CPUs are needed".into()),
    }
}

fn passed(seen: &[Passed]) -> Result<Sample, String> {
    if let Some(wrong) = seen.iter().find(|p| p.right_count != p.rounds_count) {
        return Err(format!("of {} numbers {} came back right", wrong.rounds_count, wrong.right_count));
    }
    let each = |value: fn(&Passed) -> Option<f64>| {
        let per: Option<Vec<f64>> = seen.iter().map(|p| Some(value(p)? / p.rounds_count as f64)).collect();
        per.and_then(|per| stats::median(&per))
    };
    let ns = each(|p| Some(p.wall.as_secs_f64() * 1e9)).ok_or("no round trip was made")?;
    let rounds: u64 = seen.iter().map(|p| p.rounds_count).sum();
    let sample = Sample::default().with("round_ns", ns).with("rounds_count", rounds as f64);
    let switches = each(|p| Some(p.switches_count? as f64));
    Ok(with_known(sample, &[("switches_per_round_count", switches)]))
}

fn call() -> Step {
    const CALLS: [&Call; 4] = [&FUNCTION, &CLOCK, &CLOCK_CALL, &PARENT];
    Step::new("call", Kind::Single, "op_ns")
        .ask_number(
            "getppid asks the kernel for a number that it has at hand. How many ns does the call take?",
            "getppid",
            "",
        )
        .contenders(CALLS)
        .slice(0.4)
        .slice_at_least(Duration::from_millis(60))
        .over(ONCE, |plan, p| cost::solo(plan, p.id(), CALLS.map(Call::solo)))
        .bench("call/{case}", CALLS, |_, call| cost::timed(&call.solo()))
        .claim(
            at_least(20.0, ratio("getppid", "function")),
            "the cheapest system call costs at least 20 times as much as a function call",
        )
        .claim(
            at_most(0.5, ratio("clock", "clock_call")),
            "reading the clock without the kernel costs at most half as much as reading it by a system call",
        )
        .because(
            "The kernel maps a page of code (vDSO) into each program. The clock is read there, from a counter of the CPU and a few numbers \
             that the kernel keeps up to date. By the system call the same clock costs much more.",
            shown_by(at_least(2.0, ratio("clock_call", "clock"))),
        )
        .because(
            "getppid only enters the kernel, reads a number and leaves. So its cost is the cost of entering and leaving. Protection \
             against attacks on speculative execution raises that cost.",
            source("vdso(7), getpid(2); Linux, Documentation/admin-guide/hw-vuln"),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}
