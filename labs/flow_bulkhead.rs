//! A backend slows tenfold: what keeps the service alive?
//!
//! Run it: `cargo run --release --bin flow_bulkhead -- --step`
use underhood::{
    experiments::service::{DOORS, Outcome, Times, check_doors, doors, outcome, run},
    lab::{
        Bench, Claim,
        Expect::{self, *},
        Kind, Lab, Launch, Pick, Predict, Say, Step, pick,
        plan::Plan,
        sample::Sample,
    },
    measure::{
        cost::{self, Solo},
        lateness::Lateness,
    },
    record::AA,
};

pub(crate) static LAB: Lab = Lab {
    stem: "flow_bulkhead",
    question: "A backend slows tenfold: what keeps the service alive?",
    steps: &[SLOW, DOOR],
    says: &[
        Say {
            step: "slow",
            text: "Of some 900 requests that come in the 0.9 s in which a backend is ten times slower, a service without a limit answers \
                   {against} in time, one for each of the 16 workers; with a bulkhead as wide as the backend {value}: the backend does the \
                   same work, but for callers who still wait.",
            of: pick("bulkhead", "", GOOD),
            against: Some(pick("nothing", "", GOOD)),
            not_true_when: "callers give up and the backend is told, so that it drops what nobody waits for",
        },
        Say {
            step: "slow",
            text: "A rate limit a fifth above the usual rate lets {value} requests pile up, a bulkhead {against}: the rate did not change, \
                   the time of each request did.",
            of: pick("rate_limit", "", INSIDE),
            against: Some(pick("bulkhead", "", INSIDE)),
            not_true_when: "the limit is set below what the slow backend can do, which wastes the well one",
        },
        Say {
            step: "door",
            text: "Passing a bulkhead, in and out, costs {value}; a tokio semaphore's try_acquire {against}.",
            of: pick("bulkhead", "", "op_ns"),
            against: Some(pick("tokio_semaphore", "", "op_ns")),
            not_true_when: "threads meet at it, or somebody waits",
        },
    ],
    not_said: &[
        "How many times as much a bulkhead answers: without a limit only the workers' first requests are in time, however long it lasts, so that \
         the ratio is as large as the window is long, here 0.9 s.",
        "That a bulkhead makes a slow backend faster: it sheds what the backend cannot do, and no more.",
        "That a breaker is worse than a bulkhead: it is for a backend that fails, not for one that is slow and works.",
        "That these settings are right: 16 places, 10 failures, 70 % are what was measured.",
        "Nothing about retries: here nobody retries, and each retry would be one more arrival.",
    ],
    next: &[
        "Little's law: 1,000 a second at 5 ms, how many are in flight? And at 50 ms?",
        "How wide do you make a bulkhead, if you don't know the backend? (let it find out: AIMD on the latency)",
        "Why is a semaphore that waits no protection? (it only moves the queue to where you don't look)",
        "What else empties the queue? (a deadline that travels with the request; serving the newest first)",
        "After the backend is well again the service stays ill for a while. Why, and what could make it stay so for ever? (retries)",
    ],
    sources: &[
        "M. Nygard, Release It! (2nd ed., 2018): bulkheads, circuit breakers, shedding load",
        "J. D. C. Little, A proof for the queuing formula L = lambda W (Operations Research 9, 1961)",
        "N. Bronson et al., Metastable failures in distributed systems (HotOS 2021)",
        "Netflix concurrency-limits, AIMDLimit; tower 0.5, src/limit/concurrency: a limit that waits",
    ],
    benches,
};

const GOOD: &str = "in_time_count";
const INSIDE: &str = "inside_max_count";

const fn claim(text: &'static str, of: Pick, against: Option<Pick>, expect: Expect) -> Claim {
    Claim { text, of, against, expect, cores: 1 }
}

/// A claim about two doors.
const fn beside(
    text: &'static str,
    case: &'static str,
    against: &'static str,
    value: &'static str,
    expect: Expect,
) -> Claim {
    claim(text, pick(case, "", value), Some(pick(against, "", value)), expect)
}

const SLOW: Step = Step {
    name: "slow",
    ask: "1,000 requests a second; a backend with 16 workers that needs 5 ms for each, and for 0.9 s 50 ms. An answer is of use within 75 ms. \
          With a bulkhead of 16 places, how many of the some 900 that come while it is slow are answered in time?",
    predict: Predict::Number { case: "bulkhead", param: "" },
    kind: Kind::Tail,
    cases: &["nothing", "rate_limit", "waiting_limit", "bulkhead", "adaptive", "breaker"],
    params: &[""],
    launch: Launch::Together,
    measure: slow,
    headline: GOOD,
    columns: &[
        "asked_count",
        "answer_p50_ns",
        "answer_p99_ns",
        INSIDE,
        "little_ratio",
        "shed_share",
        "recover_ns",
    ],
    claims: &[
        beside(
            "a bulkhead at least triples what is answered in time",
            "bulkhead",
            "nothing",
            GOOD,
            AtLeast(3.0),
        ),
        beside(
            "a rate limit above the usual rate does not: at most half of the bulkhead's",
            "rate_limit",
            "bulkhead",
            GOOD,
            AtMost(0.5),
        ),
        beside(
            "nor does a semaphore that waits: at most half, too",
            "waiting_limit",
            "bulkhead",
            GOOD,
            AtMost(0.5),
        ),
        beside(
            "a limit that finds itself gets at least half of what the right one gets",
            "adaptive",
            "bulkhead",
            GOOD,
            AtLeast(0.5),
        ),
        beside(
            "a breaker keeps at most half as many inside as nothing does",
            "breaker",
            "nothing",
            INSIDE,
            AtMost(0.5),
        ),
        beside(
            "with a bulkhead the p99 of the answers is at most a fifth",
            "bulkhead",
            "nothing",
            "answer_p99_ns",
            AtMost(0.2),
        ),
        beside(
            "and the service is well again in at most half the time",
            "bulkhead",
            "nothing",
            "recover_ns",
            AtMost(0.5),
        ),
        claim(
            "Little's law holds in the pile-up: what is counted inside is arrivals times stay, within a tenth",
            pick("nothing", "", "little_ratio"),
            None,
            Between(0.9, 1.1),
        ),
        claim("and behind the bulkhead", pick("bulkhead", "", "little_ratio"), None, Between(0.9, 1.1)),
    ],
    because: "Little's law: in flight = rate x time. A rate limit holds the rate, which never rose; the time rose tenfold and more, so what is in \
              flight does, and all of it waits in the backend's queue until the answer is of no use. The backend works all the time, on \
              requests whose callers have gone. A bulkhead holds what is in flight, so who is let in meets an empty queue. One that \
              waits in place of refusing is the same queue at another place. The adaptive limit begins too wide and cuts itself \
              when answers are late. The breaker sees only failures in a row: it lets a queue build up, refuses everybody while it drains, and tries \
              again. Open src/experiments/service.rs, `request`, and src/structures/flow/bulkhead.rs.",
    tour: true,
};

const DOOR: Step = Step {
    name: "door",
    ask: "One thread goes in and out, and nobody is in its way. How many ns does a bulkhead take for both?",
    predict: Predict::Number { case: "bulkhead", param: "" },
    kind: Kind::Single,
    cases: &["tokio_semaphore", "bulkhead", "adaptive", "breaker", "rate_limit"],
    params: &[""],
    launch: Launch::Together,
    measure: door,
    headline: "op_ns",
    columns: &[],
    claims: &[
        beside(
            "a bulkhead costs at most 1.2 times a tokio semaphore's try_acquire",
            "bulkhead",
            "tokio_semaphore",
            "op_ns",
            AtMost(1.2),
        ),
        beside("one that adapts at most twice a bulkhead", "adaptive", "bulkhead", "op_ns", AtMost(2.0)),
        beside(
            "a closed breaker, which only reads, at most half of a bulkhead",
            "breaker",
            "bulkhead",
            "op_ns",
            AtMost(0.5),
        ),
    ],
    because: "Who goes in and out changes a word twice, and an atomic change is most of the price, whatever it decides. tokio's permit gives back \
              through a mutex, because somebody may wait and be next. A closed breaker reads its word going in, and again coming out of a \
              call that went well: nothing to write down. A rate limit is passed once and has no way out. The time is known here: reading a \
              clock costs more than any of them.",
    tour: false,
};

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

fn slow(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let times = if plan.is_smoke() { Times::SMOKE } else { Times::REAL };
    let rows = || cases.iter().copied().chain([AA]);
    // Other arrivals in each launch: the interval is over those, too.
    let (seen, late) = match run(times, plan.seed ^ (plan.launch as u64) << 32) {
        Ok(seen) => seen,
        Err(why) => {
            return rows()
                .flat_map(|c| params.iter().map(move |p| (c, p)))
                .map(|(c, p)| Sample::unmeasured(c, p, &why))
                .collect();
        }
    };
    let doubt = doubts(&times, &late);
    let row = |case: &str| {
        let door = if case == AA { "twin" } else { case };
        let Some(which) = DOORS.iter().position(|name| *name == door) else {
            return Sample::unmeasured(case, "", "there is no such door");
        };
        let mut sample = sample(case, &outcome(&times, &seen[which]));
        sample.doubts.extend(doubt.clone());
        sample
    };
    rows().map(row).collect()
}

fn door(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let brief = Plan { slice: plan.slice / 2, ..plan.clone() }; // claims of tens of percents need no more
    match check_doors() {
        Ok(()) => params.iter().flat_map(|param| cost::solo(&brief, param, &doors())).collect(),
        Err(why) => cases.iter().map(|case| Sample::unmeasured(case, "", &why)).collect(),
    }
}

fn benches(_: &Plan) -> Vec<Bench> {
    let bench =
        |arm: Solo| Bench { id: format!("door/{}", arm.case), make: Box::new(move || cost::timed(arm.make)) };
    doors().into_iter().map(bench).collect()
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(&LAB)
}
