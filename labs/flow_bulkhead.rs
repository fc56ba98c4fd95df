//! A backend slows tenfold: what keeps the service alive?
//!
//! Run it: `cargo run --release --bin flow_bulkhead -- --step`
use underhood::{
    experiments::service::{
        ADAPTIVE, BREAKER, BULKHEAD, FrontDoor, NOTHING, Outcome, RATE_LIMIT, TOKIO_SEMAPHORE, Times,
        WAITING_LIMIT, outcome, run,
    },
    lab::{
        Bound, Evidence, Kind, Lab, ONCE, Pick, Step, at_least, at_most, between, pick, plan::Plan, ratio,
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
            "Of some 900 requests that come in the 0.9 s in which a backend is ten times slower, a service without a limit answers \
             {against} in time, one for each of the 16 workers; with a bulkhead as wide as the backend {value}: the backend does the \
             same work, but for callers who still wait.",
            ratio("bulkhead", "nothing"),
            "callers give up and the backend is told, so that it drops what nobody waits for",
        )
        .say(
            "slow",
            "A rate limit a fifth above the usual rate lets {value} requests pile up, a bulkhead {against}: the rate did not change, \
             the time of each request did.",
            ratio(inside("rate_limit"), inside("bulkhead")),
            "the limit is set below what the slow backend can do, which wastes the well one",
        )
        .say(
            "door",
            "Passing a bulkhead, in and out, costs {value}; a tokio semaphore's try_acquire {against}.",
            ratio("bulkhead", "tokio_semaphore"),
            "threads meet at it, or somebody waits",
        )
        .not_said(&[
        "How many times as much a bulkhead answers: without a limit only the workers' first requests are in time, however long it lasts, so that \
         the ratio is as large as the window is long, here 0.9 s.",
        "That a bulkhead makes a slow backend faster: it sheds what the backend cannot do, and no more.",
        "That a breaker is worse than a bulkhead: it is for a backend that fails, not for one that is slow and works.",
        "That these settings are right: 16 places, 10 failures, 70 % are what was measured.",
        "Nothing about retries: here nobody retries, and each retry would be one more arrival.",
    ])
        .next(&[
        "Little's law: 1,000 a second at 5 ms, how many are in flight? And at 50 ms?",
        "How wide do you make a bulkhead, if you don't know the backend? (let it find out: AIMD on the latency)",
        "Why is a semaphore that waits no protection? (it only moves the queue to where you don't look)",
        "What else empties the queue? (a deadline that travels with the request; serving the newest first)",
        "After the backend is well again the service stays ill for a while. Why, and what could make it stay so for ever? (retries)",
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
            "1,000 requests a second; a backend with 16 workers that needs 5 ms for each, and for 0.9 s 50 ms. An answer is of use within \
             75 ms. With a bulkhead of 16 places, how many of the some 900 that come while it is slow are answered in time?",
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
            "a bulkhead at least triples what is answered in time",
        )
        .claim(
            at_most(0.5, ratio("rate_limit", "bulkhead")),
            "a rate limit above the usual rate does not: at most half of the bulkhead's",
        )
        .claim(
            at_most(0.5, ratio("waiting_limit", "bulkhead")),
            "nor does a semaphore that waits: at most half, too",
        )
        .claim(
            at_least(0.5, ratio("adaptive", "bulkhead")),
            "a limit that finds itself gets at least half of what the right one gets",
        )
        .claim(
            at_most(0.5, of(INSIDE, "breaker", "nothing")),
            "a breaker keeps at most half as many inside as nothing does",
        )
        .claim(
            at_most(0.2, of("answer_p99_ns", "bulkhead", "nothing")),
            "with a bulkhead the p99 of the answers is at most a fifth",
        )
        .claim(
            at_most(0.5, of("recover_ns", "bulkhead", "nothing")),
            "and the service is well again in at most half the time",
        )
        .claim(
            little("nothing"),
            "Little's law holds in the pile-up: what is counted inside is arrivals times stay, within a tenth",
        )
        .claim(little("bulkhead"), "and behind the bulkhead")
        .because("Little's law: in flight = rate x time.", shown_by(little("rate_limit")))
        .because(
            "A rate limit holds the rate, which never rose. The time rose tenfold and more, so what is in flight does, too. All of it \
             waits in the backend's queue until the answer is of no use.",
            shown_by(at_least(5.0, of(INSIDE, "rate_limit", "bulkhead"))),
        )
        .because(
            "The backend works all the time, on requests whose callers have gone.",
            source("src/experiments/service.rs, `request`"),
        )
        .because(
            "A bulkhead holds what is in flight, so a request that is let in meets an empty queue. See \
             src/structures/flow/bulkhead.rs.",
            shown_by(at_most(16.0, inside("bulkhead"))),
        )
        .because(
            "One that waits in place of refusing is the same queue at another place.",
            shown_by(at_least(0.8, of(INSIDE, "waiting_limit", "nothing"))),
        )
        .because(
            "The adaptive limit begins too wide and cuts itself when answers are late.",
            shown_by(at_least(1.2, of(INSIDE, "adaptive", "bulkhead"))),
        )
        .because(
            "The breaker sees only failures in a row: it lets a queue build up, refuses everybody while it drains, and tries again.",
            shown_by(at_least(2.0, of(INSIDE, "breaker", "bulkhead"))),
        )
        .in_tour()
}

fn door() -> Step {
    const DOORS: [&FrontDoor; 5] = [&TOKIO_SEMAPHORE, &BULKHEAD, &ADAPTIVE, &BREAKER, &RATE_LIMIT];
    Step::new("door", Kind::Single, "op_ns")
        .ask_number(
            "One thread goes in and out, and nobody is in its way. How many ns does a bulkhead take for both?",
            "bulkhead",
            "",
        )
        .contenders(DOORS)
        // Claims of tens of percents need no more.
        .slice(0.5)
        .over(ONCE, |plan, p| cost::solo(plan, p.id(), DOORS.map(FrontDoor::pass)))
        .bench("door/{case}", DOORS, |_, door| cost::timed(&door.pass()))
        .claim(
            at_most(1.2, ratio("bulkhead", "tokio_semaphore")),
            "a bulkhead costs at most 1.2 times a tokio semaphore's try_acquire",
        )
        .claim(at_most(2.0, ratio("adaptive", "bulkhead")), "one that adapts at most twice a bulkhead")
        .claim(
            at_most(0.5, ratio("breaker", "bulkhead")),
            "a closed breaker, which only reads, at most half of a bulkhead",
        )
        .because(
            "To go in and out changes a word twice, and an atomic change is most of the price, whatever it decides.",
            shown_by(at_most(0.8, ratio("rate_limit", "bulkhead"))),
        )
        .because(
            "tokio's permit gives back through a mutex, because somebody may wait and be next.",
            shown_by(at_least(1.2, ratio("tokio_semaphore", "bulkhead"))),
        )
        .because(
            "A closed breaker reads its word going in, and again coming out of a call that went well: nothing to write down.",
            shown_by(at_most(0.9, ratio("breaker", "rate_limit"))),
        )
        .because("A rate limit is passed once and has no way out.", Evidence::None)
        .because("The time is known here: reading a clock costs more than any of them.", Evidence::None)
}

/// What a number needs besides being counted: requests that were sent when they were due.
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
        None => sample.seeing("the service was still ill at the end"),
    }
}

/// What the services behind these doors saw, and the first one's twin.
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
