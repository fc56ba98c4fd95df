//! How do I scale past a lock-contention bottleneck?
//!
//! Run it: `cargo run --release --bin cache_scaling -- --step`
use std::sync::Arc;

use underhood::{
    contenders::{
        counter::{BATCHED_64, CAS_LOOP, Counter, FETCH_ADD, MUTEX, PER_THREAD, SHARDED_8},
        map::{DASHMAP, Hits, ONE_LOCK, PAPAYA, SHARDED_16, SharedMap},
    },
    lab::{
        Kind, Lab, ONCE, Point, Step, at, at_least, at_most, between, pick, plan::Plan, ratio,
        sample::Sample, shown_by, source,
    },
    measure::{keys::Skew, throughput},
    record::AA,
    stats::scaling,
};

const COUNTERS: &[&Counter] = &[&MUTEX, &FETCH_ADD, &CAS_LOOP, &SHARDED_8, &PER_THREAD, &BATCHED_64];
const MAPS: &[&SharedMap] = &[&ONE_LOCK, &SHARDED_16, &DASHMAP, &PAPAYA];
/// Windows of 2 ms, and many cases: half of a case's time holds enough of them.
const PART: f64 = 0.5;

pub(crate) fn lab() -> Lab {
    underhood::lab!("cache_scaling", "How do I scale past a lock-contention bottleneck?")
        .step(counter())
        .step(map())
        .step(law())
        .say(
            "counter",
            "{threads} threads only add to a counter. With a number for each thread they do {value}, with \
            one mutex {against}: {ratio}.",
            ratio(("per_thread", "adds_only"), ("mutex", "adds_only")),
            "the sum is read often, or the count must be exact at a given moment",
        )
        .say(
            "map",
            "{threads} threads all want one hot key of a map. With 16 locks the map does {value}, with one \
            lock {against}: {ratio}.",
            ratio(("sharded_16", "one_key"), ("one_lock", "one_key")),
            "all keys are used equally often. Then sharding is worth its cost",
        )
        .not_said(&[
            "Which map is the best. This is one workload: 8,192 small keys, one put in ten operations, no \
            new keys, no growth, std's hasher.",
            "What happens with more threads than were measured, if the step law refuses to say it.",
            "Anything about memory. A page of counters for each thread is a cost, too.",
        ])
        .next(&[
            "How do you find the contended line or lock first? (perf c2c, perf lock, off-CPU time)",
            "What if the sum must be exact? (then all additions have one order, and go through one cache \
            line)",
            "What would you try before sharding? (hold the lock for a shorter time, read a snapshot, work \
            per thread and merge)",
        ])
        .sources(&[
            "perfbook, chapter 5 (Counting): statistical, per-thread and limit counters; one hot key turns a \
            sharded table into a global lock",
            "N. Gunther, Guerrilla Capacity Planning, Springer 2007: the Universal Scalability Law",
            "crossbeam-rs/crossbeam#1254: one shared length counter cost 3.6x at 64 threads",
            "jonhoo/bustle: its key generator visits two slowly moving positions, and its share of hits drifts with the threads",
        ])
}

fn counter() -> Step {
    // One operation reads after so many; 0: none reads.
    let reads = [at("adds_only", 0), at("reads_every_10", 10), at("reads_every_2", 2)];
    Step::new("counter", Kind::Contended, "ops_per_s")
        .ask_best(
            "All threads add to one counter, and every second operation reads it. Which of six counters does \
            the most operations per second?",
            "reads_every_2",
        )
        .columns(&["lane_op_ns", "min_max_share"])
        .contenders(COUNTERS)
        .slice(PART)
        .over(reads, |plan, every| {
            throughput::crowd(plan, every.id(), 0.0, COUNTERS.iter().map(|c| c.crowd(every.value)))
        })
        .bench("counter/{case}", COUNTERS.iter().copied(), |plan, c| throughput::timed(plan, 0.0, &c.crowd(0)))
        .claim(
            at_least(5.0, ratio(("per_thread", "adds_only"), ("mutex", "adds_only"))).cores(2),
            "with additions only, a number for each thread does at least 5 times as many operations as a \
            mutex",
        )
        .claim(
            at_least(2.0, ratio(("per_thread", "adds_only"), ("fetch_add", "adds_only"))).cores(2),
            "lock-free is not the cure: a number for each thread does at least twice as many additions as fetch_add on one line",
        )
        .claim(
            at_most(1.0, ratio(("cas_loop", "adds_only"), ("fetch_add", "adds_only"))).cores(2),
            "a compare-and-swap loop does fewer additions than fetch_add",
        )
        .claim(
            at_most(0.5, ratio(("per_thread", "reads_every_2"), ("per_thread", "adds_only"))).cores(2),
            "the reader pays: if every second operation reads, a number for each thread does at most half as \
            many operations",
        )
        .because(
            "All threads write one cache line, and only one core can have it at a time.",
            // The same instruction, on eight lines.
            shown_by(at_least(2.0, ratio(("sharded_8", "adds_only"), ("fetch_add", "adds_only"))).cores(2)),
        )
        .because(
            "With a number for each thread, each line stays with its writer. The reader pays: it must fetch \
            every one of these lines.",
            shown_by(
                at_most(0.5, ratio(("sharded_8", "reads_every_2"), ("sharded_8", "adds_only"))).cores(2),
            ),
        )
        .because(
            "With batches, readers look at one number. It is up to 63 additions per thread behind.",
            shown_by(
                at_least(0.5, ratio(("batched_64", "reads_every_2"), ("batched_64", "adds_only"))).cores(2),
            ),
        )
        .because(
            "The compare-and-swap loop fetches the line to read it, and then fetches it again to write \
            it. A loop that begins with a guess of the value, and not with a load, fetches the line once.",
            source("lab lockfree_counter, step crowd: cas_guess"),
        )
}

const ZIPF: Skew = Skew::Zipf(0.99);
const PUTS_PERCENT: usize = 10;

fn map() -> Step {
    let skews = [at("uniform", Skew::Uniform), at("zipf", ZIPF), at("one_key", Skew::OneKey)];
    Step::new("map", Kind::Contended, "ops_per_s")
        .ask_best(
            "In a map, one operation in ten writes. All threads want the same key. Which map does the most \
            operations per second?",
            "one_key",
        )
        .columns(&["hit_share", "lane_op_ns", "min_max_share"])
        .contenders(MAPS)
        .slice(PART)
        .over(skews, mapping)
        .bench("map_zipf/{case}", MAPS.iter().copied(), |plan, m| {
            throughput::timed(plan, 0.0, &m.crowd(ZIPF, PUTS_PERCENT, &Arc::default()))
        })
        .claim(
            at_least(1.5, ratio(("sharded_16", "uniform"), ("one_lock", "uniform"))).cores(2),
            "with uniform keys, 16 locks do at least 1.5 times as many operations as one lock",
        )
        .claim(
            at_most(1.2, ratio(("sharded_16", "one_key"), ("one_lock", "one_key"))).cores(2),
            "with one hot key, the map of 16 locks does at most 1.2 times as many operations as one lock",
        )
        .because(
            "Sharding spreads the keys over the locks. So it spreads the waiting only as evenly as the keys \
            are used.",
            shown_by(at_most(0.8, ratio(("sharded_16", "one_key"), ("sharded_16", "uniform"))).cores(2)),
        )
        .because(
            "Under Zipf's law the hottest of the 8,192 keys gets a tenth of the operations. The others spread \
            over all locks. So 16 locks do more operations than with one hot key.",
            shown_by(at_least(1.5, ratio(("sharded_16", "zipf"), ("sharded_16", "one_key"))).cores(2)),
        )
        .because(
            "The share of hits is set to 8 in 10 and counted. If this share changed with the number of \
            threads, each run would measure another workload. See `steps` in src/contenders/map.rs.",
            shown_by(between(0.77, 0.83, pick("papaya", "zipf", "hit_share"))),
        )
}

fn mapping(plan: &Plan, skew: &Point<Skew>) -> Vec<Sample> {
    let tallies: Vec<Arc<Hits>> = MAPS.iter().map(|_| Arc::default()).collect();
    let crowds = MAPS.iter().zip(&tallies).map(|(m, tally)| m.crowd(skew.value, PUTS_PERCENT, tally));
    let hits = |case: &str| {
        // The A/A row is of the baseline once more.
        let own = if case == AA { 0 } else { MAPS.iter().position(|m| m.as_ref().id == case)? };
        tallies[own].share()
    };
    let with_hits = |row: Sample| match hits(&row.case) {
        Some(share) if row.unmeasured.is_none() => row.with("hit_share", share),
        _ => row,
    };
    throughput::crowd(plan, skew.id(), 0.0, crowds).into_iter().map(with_hits).collect()
}

fn law() -> Step {
    const SOME: &[&Counter] = &[&MUTEX, &FETCH_ADD, &SHARDED_8, &PER_THREAD];
    Step::new("law", Kind::Contended, "at_double_per_s")
        .ask_number(
            "How many operations a second would one shared fetch_add do on a machine like this one with twice the CPUs?",
            "fetch_add",
            "",
        )
        .columns(&["low_per_s", "high_per_s", "serial_share", "crosstalk_share", "peak_count"])
        .contenders(SOME)
        .slice(PART)
        .over(ONCE, |plan, _| {
            let rates = rates(plan, SOME);
            let one = |c: &&Counter| {
                let id = c.as_ref().id;
                let ahead = rates.as_ref().map_err(Clone::clone).and_then(|rates| ahead(plan, id, rates));
                ahead.unwrap_or_else(|why| Sample::unmeasured(id, "", format!("refused: {why}")))
            };
            SOME.iter().map(one).collect()
        })
        .claim(
            at_least(0.1, pick("fetch_add", "", "serial_share")).cores(4),
            "one shared fetch_add has a serial share of at least a tenth",
        )
        .claim(
            at_most(0.05, pick("per_thread", "", "serial_share")).cores(4),
            "a number for each thread has a serial share of at most a twentieth",
        )
        .because(
            "The Universal Scalability Law has three unknowns: the speed of one thread, the serial share, \
            and the cost of each pair of threads.",
            source("N. Gunther, Guerrilla Capacity Planning, Springer 2007"),
        )
        .because(
            "The law fits two or three points exactly, whatever they are, so such a fit proves nothing. An \
            error shows only from four thread counts on, and two cores never give four. See `fit` in \
            src/stats/scaling.rs.",
            source("src/stats/scaling.rs"),
        )
        .because(
            "If the step refuses to give a number, this machine can't tell.",
            source("src/stats/scaling.rs"),
        )
}

/// Thread counts up to the CPUs allowed: 1, 2, 3, 4, 6, 8, 12, ... Beyond the CPUs the law is about something else.
fn counts(cpus: usize) -> Vec<usize> {
    let steps = (0..).map(|i: usize| (2 + i % 2) << (i / 2));
    let mut counts: Vec<usize> =
        std::iter::once(1).chain(steps).take_while(|n| *n < cpus).chain([cpus]).collect();
    counts.dedup();
    counts
}

/// The rows of each thread count, where there are enough of them for the law.
fn rates(plan: &Plan, counters: &[&Counter]) -> Result<Vec<(f64, Vec<Sample>)>, String> {
    let (cpus, counts) = (plan.cpus.len(), counts(plan.cpus.len()));
    if counts.len() < scaling::POINTS {
        let (have, need) = (counts.len(), scaling::POINTS);
        return Err(format!(
            "{cpus} CPUs give {have} thread counts, and the law's three unknowns need {need}"
        ));
    }
    let at = |threads: usize| {
        throughput::crowd(&Plan { threads, ..plan.clone() }, "", 0.0, counters.iter().map(|c| c.crowd(0)))
    };
    Ok(counts.into_iter().map(|n| (n as f64, at(n))).collect())
}

/// What the law says of this case at twice the CPUs.
fn ahead(plan: &Plan, case: &str, rates: &[(f64, Vec<Sample>)]) -> Result<Sample, String> {
    let rate = |rows: &[Sample]| {
        rows.iter().find(|r| r.case == case).and_then(|r| r.values.get("ops_per_s").copied())
    };
    let points: Vec<(f64, f64)> = rates.iter().filter_map(|(n, rows)| Some((*n, rate(rows)?))).collect();
    let fit = scaling::fit(&points)?;
    let ahead = fit.at(2.0 * plan.cpus.len() as f64)?;
    let s = Sample::new(case, "")
        .with("at_double_per_s", ahead.mid)
        .with("low_per_s", ahead.lo)
        .with("high_per_s", ahead.hi)
        .with("serial_share", fit.serial_share())
        .with("crosstalk_share", fit.crosstalk_share());
    Ok(match fit.peak() {
        Ok(threads) => s.with("peak_count", threads),
        Err(why) => s.seeing(why),
    })
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}
