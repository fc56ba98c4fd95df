//! How many threads should a pool have?
//!
//! Run it: `cargo run --release --bin async_pool -- --step`
use std::time::Duration;

use underhood::{
    experiments::{
        at_once::{Calls, WAYS, calls},
        backlog::{Backlog, LINES, Line, backlog},
        pool_full::{POOL, VICTIMS, Victim, answers},
        pool_size::{FORMULA, Job, SIZES, Size, formula, jobs_per_s, optimum},
    },
    lab::{
        Kind, Lab, Pick, Point, Setting, Step, at, at_least, at_most, between, count, pick, plan::Plan,
        ratio, sample::Sample, share, shown_by, source,
    },
    machine::allowed_cpus,
    measure::{
        latency::{quantile, with_known},
        lateness::in_turn,
        work,
    },
    record::AA,
    stats,
};

/// How often each case is measured in one launch, in random order.
const ROUNDS: usize = 2;

pub(crate) fn lab() -> Lab {
    underhood::lab!("async_pool", "How many threads should a pool have?")
        .step(size())
        .step(blocking())
        .step(channel())
        .step(burst())
        .say(
            "size",
            "Jobs of 2 ms wait for nine tenths of their time. A pool with as many threads as CPUs reached \
            {against} of the throughput of the best size tried (16 threads for each CPU). A pool with N x (1 \
            + W/C) threads reached {value}. N is the number of CPUs, W the waiting time and C the computing \
            time.",
            ratio(best("formula", "wait_90"), best("n", "wait_90")),
            "the jobs wait for one resource that serves only a few at a time, such as a lock or a database \
            with ten connections",
        )
        .say(
            "blocking",
            "All 4 threads of tokio's blocking pool were busy with jobs of 10 ms, so one ended every 2.5 ms. \
            tokio::fs::metadata then took {value} at the median instead of {against}.",
            ratio(("fs", "busy_4"), ("fs", "busy_0")),
            "a thread of the pool is free. By default the pool may have 512 threads, and it takes that many \
            jobs at once to fill it",
        )
        .say(
            "channel",
            "A producer makes an item every 0.1 ms, and its consumer sleeps 0.2 ms for each item. After \
            160 ms the oldest item in an unbounded channel is {value} old. In a channel with 64 places \
            the oldest item is at most {against} old, counted from the moment it was made. But then the \
            producer falls behind.",
            ratio(("unbounded", "160ms"), ("waiting", "160ms")),
            "the consumer keeps up on average, or the delay of the producer counts as well. Then only the \
            memory is bounded",
        )
        .say(
            "burst",
            "A process makes 10,000 calls with 16 KiB each to a backend that serves 256 at a time. If all \
            calls start at once, the process grows by {value}. With 256 at a time it grows by {against}.",
            ratio(pick("at_once", "", PEAK), pick("permit_first", "", PEAK)),
            "a call holds no memory while it waits",
        )
        .not_said(&[
            "That the formula gives the best size. It gives the size at which the CPUs are just busy, if no thread ever waits for a CPU.",
            "What a pool does to its backend. Here a job waits in a sleep, and any number of jobs can sleep \
            at the same time.",
            "Which size is best for latency: only throughput was measured.",
            "That a bounded channel makes anything faster: the producer waits, or items are dropped.",
            "How a metric shows a full pool: tokio's blocking_queue_depth needs the build flag \
            tokio_unstable.",
            "Anything about a CPU quota: N is the number of CPUs that the process may use.",
        ])
        .next(&[
            "How do you find W/C in production? (compare the CPU time of the pool with the time that it is \
            busy)",
            "Why may too many threads lower the throughput of a database? (they contend for locks and \
            caches, unlike the sleeping jobs here)",
            "What uses tokio's blocking pool without asking you? (tokio::fs, DNS lookups, stdin)",
            "What does a full queue do to the caller? (it waits, gets an error, or gets nothing: decide this \
            beforehand)",
            "Why take the permit before the spawn? (else the queue of tasks has no bound)",
        ])
        .sources(&[
            "B. Goetz et al., Java Concurrency in Practice (2006), 8.2: N x U x (1 + W/C)",
            "tokio 1.54.1, src/runtime/blocking/pool.rs: a FIFO queue, max_blocking_threads 512 by default",
            "tokio 1.54.1, src/fs/mod.rs (`asyncify`) and src/net/addr.rs: files and names are looked up by the blocking pool",
            "MystenLabs/sui#3572: take the permit before the spawn",
        ])
}

const BEST: &str = "of_best_share";

const fn best(case: &'static str, param: &'static str) -> Pick {
    pick(case, param, BEST)
}

fn size() -> Step {
    const WAITS: [Point<f64>; 3] = [share("wait_0", 0.0), share("wait_50", 0.5), share("wait_90", 0.9)];
    let where_said = |param| between(0.5, 2.0, pick(FORMULA, param, "optimum_ratio"));
    Step::new("size", Kind::Tail, "jobs_per_s")
        .ask_number(
            "Jobs take 2 ms, of which they wait nine tenths. How many jobs per second does a pool with as \
             many threads as CPUs run?",
            "n",
            "wait_90",
        )
        .columns(&["threads_count", BEST, "optimum_count", "optimum_ratio"])
        .contenders(&SIZES)
        .slice(0.08)
        .slice_at_least(Duration::from_millis(20))
        .over_all(WAITS, sizes)
        .claim(
            where_said("wait_50"),
            "if jobs wait half of their time, the smallest pool with nine tenths of the best throughput has \
            half to twice the formula's size",
        )
        .claim(where_said("wait_90"), "the same holds if jobs wait nine tenths of their time")
        .claim(
            at_most(0.25, best("n", "wait_90")),
            "if jobs wait nine tenths of their time, a pool of N threads reaches at most a quarter of the \
            best throughput",
        )
        .claim(
            at_least(0.85, best("n", "wait_0")),
            "if jobs only compute, a pool of N threads reaches at least 85 % of the best throughput",
        )
        .claim(
            at_least(0.8, best("n16", "wait_0")),
            "if jobs only compute, a pool of 16 N threads loses at most a fifth of the best throughput",
        )
        .because(
            "A thread that waits leaves its CPU to other threads. If jobs wait as much as here, it takes \
            more threads than CPUs to keep the CPUs busy.",
            shown_by(at_least(2.0, ratio(("n4", "wait_90"), ("n", "wait_90")))),
        )
        .because(
            "Once the CPUs are busy, more threads add nothing.",
            shown_by(at_most(1.2, ratio(("n16", "wait_50"), ("n4", "wait_50")))),
        )
        .because(
            "Jobs that only compute gain nothing from more threads than CPUs, not even from one more.",
            shown_by(between(0.8, 1.2, ratio(("n_plus_1", "wait_0"), ("n", "wait_0")))),
        )
        .because(
            "The formula assumes that the waits of the threads never coincide. By chance they do, and then a \
            CPU is idle. So more threads than the formula says still help. Of the sizes tried, the next \
            larger one did better for jobs that wait half of their time.",
            shown_by(at_least(1.0, pick(FORMULA, "wait_50", "optimum_ratio"))),
        )
        .in_tour()
}

/// All sizes at all shares of waiting, and for each row its share of the best throughput.
fn sizes(plan: &Plan, points: &[Point<f64>]) -> Vec<Sample> {
    let (cpus, ns_per_iteration) = (allowed_cpus().len(), work::ns_per_iteration());
    let seed = plan.seed ^ (plan.launch as u64) << 32;
    let run = |size: &Setting<Size>, wait: &f64| {
        let threads = (size.value)(cpus, *wait);
        Ok((threads, jobs_per_s(threads, Job::new(*wait, ns_per_iteration), plan.slice, seed)?))
    };
    let sum = |_: &Setting<Size>, _: &f64, seen: Vec<(usize, f64)>| {
        let jobs: Vec<f64> = seen.iter().map(|(_, jobs)| *jobs).collect();
        let jobs = stats::median(&jobs).ok_or("nothing was run")?;
        Ok(Sample::default().with("jobs_per_s", jobs).with("threads_count", seen[0].0 as f64))
    };
    let mut samples = in_turn(plan, ROUNDS, &SIZES, points, run, sum);
    for point in points {
        let jobs = |s: &Sample| s.values.get("jobs_per_s").copied();
        let rows: Vec<(usize, f64)> = samples
            .iter()
            .filter(|s| s.param == point.id() && s.case != AA)
            .filter_map(|s| SIZES.iter().find(|size| size.id() == s.case).zip(jobs(s)))
            .map(|(size, jobs)| ((size.value)(cpus, point.value), jobs))
            .collect();
        let most = rows.iter().map(|(_, jobs)| *jobs).fold(0.0, f64::max);
        for sample in samples.iter_mut().filter(|s| s.param == point.id()) {
            if let Some(jobs) = jobs(sample).filter(|_| most > 0.0) {
                sample.values.insert(BEST.into(), jobs / most);
            }
            if let Some(threads) = optimum(&rows).filter(|_| sample.case == FORMULA) {
                let said = formula(cpus, point.value) as f64;
                sample.values.insert("optimum_count".into(), threads as f64);
                sample.values.insert("optimum_ratio".into(), threads as f64 / said);
            }
        }
    }
    samples
}

fn blocking() -> Step {
    const BUSY: [Point<usize>; 3] = [count("busy_0", 0), count("busy_4", POOL), count("busy_8", 2 * POOL)];
    let stalls = |least, case| at_least(least, ratio((case, "busy_4"), (case, "busy_0")));
    Step::new("blocking", Kind::Tail, "took_p50_ns")
        .ask_number(
            "tokio's blocking pool has 4 threads, and 4 jobs that sleep 10 ms each keep them busy, over and over. Another task asks \
             tokio::fs for the size of a file. How many ns does that take, at the median?",
            "fs",
            "busy_4",
        )
        .columns(&["took_max_ns", "answers_count"])
        .contenders(&VICTIMS)
        .slice(0.24)
        .over_all(BUSY, |plan, points| {
            let slice = plan.slice;
            let run = |victim: &Victim, busy: &usize| {
                answers(victim.value, *busy, slice)
            };
            in_turn(plan, 1, &VICTIMS, points, run, |_, _, seen| took(&seen))
        })
        .claim(
            stalls(5.0, "fs"),
            "with a full pool, tokio::fs::metadata takes at least 5 times as long at the median as with an \
            empty one",
        )
        .claim(
            at_most(0.2, ratio(("fs_one_more", "busy_4"), ("fs", "busy_4"))),
            "with one more thread in the pool, tokio::fs::metadata takes at most a fifth of the time with \
             the full pool",
        )
        .claim(stalls(3.0, "lookup"), "a name lookup uses the same pool: with a full pool it takes at least \
            3 times as long")
        .claim(
            at_least(1.5, ratio(("fs", "busy_8"), ("fs", "busy_4"))),
            "with twice as many jobs, half of them in the queue, tokio::fs::metadata takes at least 1.5 \
            times as long",
        )
        .because(
            "tokio::fs::metadata hands its call to the blocking pool, where a thread makes the system call. \
            The call waits behind all jobs that are already in the queue.",
            shown_by(at_most(0.2, ratio(("fs_one_more", "busy_4"), ("fs", "busy_4")))),
        )
        .because(
            "The cause is neither the disk nor the worker: std::fs, called on the worker, asks for the same \
            file and does not wait.",
            shown_by(at_most(3.0, ratio(("std_fs", "busy_4"), ("std_fs", "busy_0")))),
        )
}

fn took(seen: &[Vec<f64>]) -> Result<Sample, String> {
    let all = seen.concat();
    let p50 = stats::median(&all).ok_or("no answer came")?;
    let max = all.iter().copied().fold(0.0, f64::max);
    Ok(Sample::default()
        .with("took_p50_ns", p50)
        .with("took_max_ns", max)
        .with("answers_count", all.len() as f64))
}

fn channel() -> Step {
    const TIMES: [Point<Duration>; 2] =
        [at("40ms", Duration::from_millis(40)), at("160ms", Duration::from_millis(160))];
    let late = |case| pick(case, "160ms", "producer_late_ns");
    let held = |case| pick(case, "160ms", "held_bytes");
    Step::new("channel", Kind::Tail, "age_max_ns")
        .ask_number(
            "A producer makes an item every 0.1 ms, and its consumer sleeps 0.2 ms for each item. Between \
            them is an unbounded channel. After 160 ms, how many ns old is the oldest item in the channel?",
            "unbounded",
            "160ms",
        )
        .columns(&["held_bytes", "producer_late_ns", "shed_share", "taken_count"])
        .contenders(&LINES)
        .over_all(TIMES, |plan, points| {
            let run = |line: &Line, time: &Duration| {
                backlog(line.value, if plan.is_smoke() { *time / 10 } else { *time })
            };
            in_turn(plan, 1, &LINES, points, run, |_, _, seen| queued(&seen))
        })
        .claim(
            at_least(2.0, ratio(("unbounded", "160ms"), ("unbounded", "40ms"))),
            "in an unbounded channel the oldest item is at least twice as old after 160 ms as after 40 ms",
        )
        .claim(
            at_most(0.5, ratio(("waiting", "160ms"), ("unbounded", "160ms"))),
            "in a channel of 64 places the oldest item is at most half as old after 160 ms as in an \
            unbounded one",
        )
        .claim(
            at_least(5.0, ratio(held("unbounded"), held("waiting"))),
            "after 160 ms the unbounded channel holds at least 5 times as much memory as the bounded one",
        )
        .claim(
            at_least(5.0, ratio(late("waiting"), late("unbounded"))),
            "the producer of the bounded channel is at least 5 times as late with its own work",
        )
        .because(
            "The longer the program runs, the older the items get, since each item waits for all items \
            before it. If the consumer keeps up, this does not happen.",
            shown_by(at_most(0.2, ratio(("kept_up", "160ms"), ("unbounded", "160ms")))),
        )
        .because(
            "A bounded channel also limits the age, because at most 64 items are ahead of a new one.",
            shown_by(at_most(1.5, ratio(("waiting", "160ms"), ("waiting", "40ms")))),
        )
        .because(
            "The item waits less and the producer waits more. This is back-pressure: the wait moves to the \
            producer, which can do something about it.",
            shown_by(at_least(5.0, ratio(late("waiting"), late("shedding")))),
        )
        .because(
            "A producer that can't wait drops items. Then the items stay young and the producer is on time, \
            but a part of the work is not done.",
            shown_by(at_least(0.2, pick("shedding", "160ms", "shed_share"))),
        )
}

fn queued(seen: &[Backlog]) -> Result<Sample, String> {
    let [seen] = seen else { return Err("one run is one sample".into()) };
    let sample = Sample::default()
        .with("age_max_ns", seen.age_max_ns)
        .with("producer_late_ns", seen.producer_late_ns)
        .with("taken_count", seen.taken_count as f64)
        .share("shed_share", seen.shed_count as f64, seen.made_count as f64);
    Ok(with_known(sample, &[("held_bytes", seen.held_bytes.map(|b| b as f64))]))
}

const PEAK: &str = "peak_bytes";

fn burst() -> Step {
    let of = |value| move |case| pick(case, "", value);
    let (peak, total, started) = (of(PEAK), of("total_ns"), of("started_max_count"));
    Step::new("burst", Kind::Tail, "call_p99_ns")
        .ask_number(
            "10,000 calls are started at once. Each call uses 16 KiB and asks a backend that serves 256 \
            calls at a time and needs 1 ms for each. How many ns is the p99 of a call, from its start to its \
            answer?",
            "at_once",
            "",
        )
        .columns(&[PEAK, "total_ns", "started_max_count"])
        .isolated(&WAYS, [count("10k", 10_000)], |plan, way, many| {
            let many = if plan.is_smoke() { many.value / 10 } else { many.value };
            called(&calls(way.value, many)?, many)
        })
        .claim(
            at_most(0.25, ratio("permit_first", "at_once")),
            "with 256 calls at a time, the p99 of a call is at most a quarter, not counting its wait for the \
            permit",
        )
        .claim(
            at_most(0.25, ratio(peak("permit_first"), peak("at_once"))),
            "with 256 calls at a time, the process grows by at most a quarter as much",
        )
        .claim(
            at_most(1.3, ratio(total("permit_first"), total("at_once"))),
            "with 256 calls at a time, all calls together take at most 1.3 times as long",
        )
        .claim(
            at_most(1.0, ratio(peak("permit_first"), peak("permit_inside"))),
            "taking the permit before the task is created needs no more memory than taking it inside the task",
        )
        .because(
            "The backend serves 256 calls at a time, whatever the client does. Calls that start too early \
            wait in its queue and keep their memory.",
            shown_by(at_least(1_000.0, started("at_once"))),
        )
        .because(
            "A limit lets calls wait before they start, when a call is only an index and holds no memory.",
            shown_by(at_most(256.0, started("permit_first"))),
        )
        .because(
            "If each task is created at once and takes its permit inside, the number of buffers is limited, \
            but the number of tasks is not.",
            shown_by(at_most(0.5, ratio(peak("permit_inside"), peak("at_once")))),
        )
        .because(
            "If only the backend's speed counted, both ways would take equally long. The difference comes \
            from this process: calls that start at once first touch all of their memory.",
            source("src/experiments/at_once.rs, `call`"),
        )
}

fn called(seen: &Calls, many: usize) -> Result<Sample, String> {
    if seen.answered_count != many {
        return Err(format!("{} of {many} calls were answered", seen.answered_count));
    }
    let p99 = quantile(&seen.took, 0.99).ok_or("too few calls for a 99th percentile")?;
    let sample = Sample::default()
        .with("call_p99_ns", p99)
        .with("total_ns", seen.wall.as_secs_f64() * 1e9)
        .with("started_max_count", seen.started_max_count as f64);
    Ok(with_known(sample, &[(PEAK, seen.peak_bytes.map(|b| b as f64))]))
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}
