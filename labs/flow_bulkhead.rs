//! A backend slows tenfold: what keeps the service alive?
//!
//! Run it: `cargo run --release --bin flow_bulkhead -- --step`
use underhood::{
    experiments::service::{
        ADAPTIVE, BREAKER, BULKHEAD, FrontDoor, NOTHING, Outcome, RATE_LIMIT, TOKIO_SEMAPHORE, Times,
        WAITING_LIMIT, outcome, run,
    },
    lab::{
        Bound, Kind, Lab, ONCE, Pick, Step, at_least, at_most, between, pick, plan::Plan, ratio,
        sample::Sample, shown_by, source,
    },
    measure::{cost, lateness::Lateness},
    record::AA,
};

pub(crate) fn lab() -> Lab {
    underhood::lab!("flow_bulkhead", "A backend slows tenfold: what keeps the service alive?")
        .step(slow())
        .step(door())
        .say(
            "slow",
            "1,000 requests arrive each second, with a deadline of 75 ms. For 0.9 s the backend takes 50 ms for each instead of 5. About \
             900 requests arrive in that time. A service without a limit answers {against} of them in time. With at most 16 in flight (a \
             bulkhead) it answers {value}.",
            ratio("bulkhead", "nothing"),
            "callers that give up tell the backend, so that it drops requests that nobody waits for",
        )
        .say(
            "slow",
            "A rate limit a fifth above the usual rate lets {value} requests pile up, a bulkhead {against}. The rate did not change, but \
             each request took longer.",
            ratio(inside("rate_limit"), inside("bulkhead")),
            "the rate limit is below what the slow backend can do. But such a limit wastes most of a healthy backend",
        )
        .say(
            "door",
            "Entering and leaving a bulkhead costs {value}. With a tokio semaphore's try_acquire it costs {against}.",
            ratio("bulkhead", "tokio_semaphore"),
            "several threads use it at once, or a task waits for a permit",
        )
        .not_said(&[
        "How many times as many requests a bulkhead answers in general. Without a limit only the first request of each worker is in time, \
         so the ratio grows with the slow time (here 0.9 s).",
        "That a bulkhead makes a slow backend faster: it only refuses what the backend cannot do.",
        "That a breaker is worse than a bulkhead: a breaker is for a backend that fails, not for one that is slow but works.",
        "That these settings are the right ones: 16 places, a breaker that opens after 10 failures, and an adaptive limit that cuts itself \
         to 70 %. Others were not measured.",
        "Anything about retries: here nobody retries, and each retry would be one more arrival.",
    ])
        .next(&[
        "Little's law: 1,000 requests come per second, and each takes 5 ms. How many are in flight? And at 50 ms?",
        "How many places do you give a bulkhead, if you don't know the backend? (let it adapt to the latency: additive increase, \
         multiplicative decrease, AIMD)",
        "Why does a semaphore that makes requests wait protect nothing? (it only moves the queue to where you don't look)",
        "What else empties the queue? (a deadline that travels with the request; serving the newest first)",
        "After the backend has recovered, the service stays slow for a while. Why, and what could keep it slow for ever? (retries)",
    ])
        .sources(&[
        "M. Nygard, Release It! (2nd ed., 2018): bulkheads, circuit breakers, shedding load",
        "J. D. C. Little, A proof for the queuing formula L = lambda W (Operations Research 9, 1961)",
        "N. Bronson et al., Metastable failures in distributed systems (HotOS 2021)",
        "Netflix concurrency-limits, AIMDLimit; tower 0.5, src/limit/concurrency: a limit that waits",
    ])
}

const GOOD: &str = "in_time_count";
const INSIDE: &str = "inside_max_count";

const fn inside(case: &'static str) -> Pick {
    pick(case, "", INSIDE)
}

fn little(case: &'static str) -> Bound {
    between(0.9, 1.1, pick(case, "", "little_ratio"))
}

fn slow() -> Step {
    const DOORS: [&FrontDoor; 6] = [&NOTHING, &RATE_LIMIT, &WAITING_LIMIT, &BULKHEAD, &ADAPTIVE, &BREAKER];
    let of = |value, case, against| ratio(pick(case, "", value), pick(against, "", value));
    Step::new("slow", Kind::Tail, GOOD)
        .ask_number(
            "1,000 requests come per second. A backend with 16 workers needs 5 ms for each, but for 0.9 s it needs 50 ms. An answer is \
             useful only within 75 ms. About 900 requests come while the backend is slow. With a bulkhead of 16 places, how many of them \
             are answered in time?",
            "bulkhead",
            "",
        )
        .columns(&[
            "asked_count",
            "answer_p50_ns",
            "answer_p99_ns",
            INSIDE,
            "little_ratio",
            "shed_share",
            "recover_ns",
        ])
        .contenders(DOORS)
        .over(ONCE, |plan, _| served(plan, &DOORS))
        .claim(
            at_least(3.0, ratio("bulkhead", "nothing")),
            "a bulkhead at least triples the number of answers in time",
        )
        .claim(
            at_most(0.5, ratio("rate_limit", "bulkhead")),
            "a rate limit above the usual rate gives at most half as many answers in time as the bulkhead",
        )
        .claim(
            at_most(0.5, ratio("waiting_limit", "bulkhead")),
            "a semaphore that makes requests wait gives at most half as many answers in time, too",
        )
        .claim(
            at_least(0.5, ratio("adaptive", "bulkhead")),
            "a limit that adapts by itself gives at least half as many answers in time as a bulkhead of the right size",
        )
        .claim(
            at_most(0.5, of(INSIDE, "breaker", "nothing")),
            "with a breaker, at most half as many requests are in flight at the peak as without a limit",
        )
        .claim(
            at_most(0.2, of("answer_p99_ns", "bulkhead", "nothing")),
            "with a bulkhead, the p99 of the answer times is at most a fifth of that without a limit",
        )
        .claim(
            at_most(0.5, of("recover_ns", "bulkhead", "nothing")),
            "with a bulkhead, the service recovers in at most half of the time that it takes without a limit",
        )
        .because("Little's law: requests in flight = arrivals per second x seconds that each takes.", shown_by(little("rate_limit")))
        .because(
            "A rate limit limits the rate, and the rate never rose. But at 50 ms a request, 16 workers can do only 320 of the 1,000 requests \
             of a second. The others pile up in the backend's queue until their answers come too late.",
            shown_by(at_least(5.0, of(INSIDE, "rate_limit", "bulkhead"))),
        )
        .because(
            "The backend is busy all the time, but with requests whose callers have given up.",
            source("src/experiments/service.rs, `request`"),
        )
        .because(
            "A bulkhead limits how many requests are in flight, so a request that is let in finds an empty queue. See \
             src/structures/flow/bulkhead.rs.",
            shown_by(at_most(16.0, inside("bulkhead"))),
        )
        .because(
            "A semaphore that makes requests wait, instead of refusing them, is the same queue in another place.",
            shown_by(at_least(0.8, of(INSIDE, "waiting_limit", "nothing"))),
        )
        .because(
            "The adaptive limit starts too high and goes down when answers are late.",
            shown_by(at_least(1.2, of(INSIDE, "adaptive", "bulkhead"))),
        )
        .because(
            "The breaker opens only after several failures in a row, and until then a queue builds up. Then it refuses everybody while the \
             queue drains, and tries again.",
            shown_by(at_least(2.0, of(INSIDE, "breaker", "bulkhead"))),
        )
        .in_tour()
}

fn door() -> Step {
    const DOORS: [&FrontDoor; 5] = [&TOKIO_SEMAPHORE, &BULKHEAD, &ADAPTIVE, &BREAKER, &RATE_LIMIT];
    Step::new("door", Kind::Single, "op_ns")
        .ask_number(
            "One thread enters a bulkhead and leaves it, without contention. How many ns do both take together?",
            "bulkhead",
            "",
        )
        .contenders(DOORS)
        // Claims of tens of percent need no more.
        .slice(0.5)
        .over(ONCE, |plan, p| cost::solo(plan, p.id(), DOORS.map(FrontDoor::pass)))
        .bench("door/{case}", DOORS, |_, door| cost::timed(&door.pass()))
        .claim(
            at_most(1.2, ratio("bulkhead", "tokio_semaphore")),
            "a bulkhead costs at most 1.2 times a tokio semaphore's try_acquire",
        )
        .claim(at_most(2.0, ratio("adaptive", "bulkhead")), "a limit that adapts by itself costs at most twice as much as a bulkhead")
        .claim(
            at_most(0.5, ratio("breaker", "bulkhead")),
            "a closed breaker, which only reads, costs at most half as much as a bulkhead",
        )
        .because(
            "Entering and leaving a bulkhead are two atomic changes of a word. The changes are most of the cost, not the decision.",
            shown_by(at_most(0.8, ratio("rate_limit", "bulkhead"))),
        )
        .because(
            "A tokio permit is given back under a mutex, because another task may be waiting for it.",
            shown_by(at_least(1.2, ratio("tokio_semaphore", "bulkhead"))),
        )
        .because(
            "A closed breaker reads its word when a call begins, and again when the call has succeeded. It has nothing to write.",
            source("src/structures/flow/circuit_breaker.rs"),
        )
}

/// A reason to doubt the numbers: requests that were sent much later than they were due.
fn doubts(times: &Times, late: &Lateness) -> Option<String> {
    let late_ns = late.exceeded_by_permille_ns(10).or_else(|| late.max_ns())?;
    let most_ns = times.deadline_ns() as f64 / 15.0;
    (late_ns > most_ns).then(|| format!("requests were sent up to {:.1} ms late", late_ns / 1e6))
}

fn sample(case: &str, o: &Outcome) -> Sample {
    let mut sample = Sample::new(case, "")
        .with(GOOD, o.in_time_count)
        .with("asked_count", o.asked_count)
        .with("shed_share", o.shed_share)
        .with("inside_mean_count", o.inside_mean_count)
        .with(INSIDE, o.inside_max_count);
    sample.values.extend(o.answer.values("answer"));
    sample.values.extend(o.little_ratio.map(|ratio| ("little_ratio".into(), ratio)));
    match o.recover_ns {
        Some(ns) => sample.with("recover_ns", ns),
        None => sample.seeing("the service had not recovered by the end"),
    }
}

/// The results of the services behind these doors, and of a second copy of the first one (the A/A row).
fn served(plan: &Plan, doors: &[&FrontDoor]) -> Vec<Sample> {
    let times = if plan.is_smoke() { Times::SMOKE } else { Times::REAL };
    let ids = doors.iter().map(|door| door.as_ref().id).chain([AA]);
    let doors = [doors, &doors[..1]].concat();
    // Other arrivals in each launch: the interval is over those, too.
    match run(&doors, times, plan.seed ^ (plan.launch as u64) << 32) {
        Err(why) => ids.map(|id| Sample::unmeasured(id, "", &why)).collect(),
        Ok((seen, late)) => {
            let doubt = doubts(&times, &late);
            let row = |(id, seen)| {
                let mut sample = sample(id, &outcome(&times, seen));
                sample.doubts.extend(doubt.clone());
                sample
            };
            ids.zip(&seen).map(row).collect()
        }
    }
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}
