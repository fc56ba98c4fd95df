//! What does a permit cost, and who is served first?
//!
//! Run it: `cargo run --release --bin lock_semaphore -- --step`
use underhood::{
    contenders::{
        gate::{Check, checked},
        semaphore::{Permitted, buffer, check, handover, head_of_line, starved},
    },
    lab::{Bench, Claim, Expect, Kind, Lab, Launch, Predict, Say, Step, pick, plan::Plan, sample::Sample},
    measure::{
        cost::{self, Ops, Solo},
        order::Order,
        throughput::Apart,
    },
    record::AA,
    structures::lock::semaphore::{Barging, Fifo},
};

type Tokio = tokio::sync::Semaphore;

const CASES: &[&str] = &["barging", "fifo", "tokio"];

pub(crate) static LAB: Lab = Lab {
    stem: "lock_semaphore",
    question: "What does a permit cost, and who is served first?",
    steps: &[
        Step {
            name: "alone",
            ask: "One thread, nobody waits: on which semaphore is it cheapest to give a permit (\"post\")?",
            predict: Predict::Best { param: "post" },
            kind: Kind::Single,
            cases: CASES,
            params: &["post", "take_give", "refused"],
            launch: Launch::Together,
            measure: alone,
            headline: "op_ns",
            columns: &[],
            claims: &[
                Claim {
                    text: "tokio's post costs at least 1.5 times ours: it takes a mutex to look for waiting tasks",
                    of: pick("tokio", "post", "op_ns"),
                    against: Some(pick("barging", "post", "op_ns")),
                    expect: Expect::AtLeast(1.5),
                    cores: 1,
                },
                Claim {
                    text: "order costs nothing where nobody waits: fifo takes at most 1.2 times what barging takes",
                    of: pick("fifo", "take_give", "op_ns"),
                    against: Some(pick("barging", "take_give", "op_ns")),
                    expect: Expect::AtMost(1.2),
                    cores: 1,
                },
                Claim {
                    text: "a refusal is a look: at most half of taking and giving",
                    of: pick("barging", "refused", "op_ns"),
                    against: Some(pick("barging", "take_give", "op_ns")),
                    expect: Expect::AtMost(0.5),
                    cores: 1,
                },
            ],
            because: "A permit is a number in a word: taking is one compare-exchange, giving one addition, and only who finds somebody waiting \
                      does more. A semaphore is a mutex that counts, without an owner: whoever has seen an event may give. See `release` \
                      in src/structures/lock/semaphore.rs.",
            tour: false,
        },
        Step {
            name: "handover",
            ask: "A thread sleeps on an empty semaphore. How many ns from the post until it has the permit?",
            predict: Predict::Number { case: "barging", param: "asleep" },
            kind: Kind::Tail,
            cases: CASES,
            params: &["ping_pong", "asleep"],
            launch: Launch::Together,
            measure: handed,
            headline: "handover_p50_ns",
            columns: &["handover_p99_ns"],
            claims: &[
                Claim {
                    text: "a thread that has gone to sleep gets its permit at least 2 us after the post: that is the wake-up",
                    of: pick("barging", "asleep", "handover_p50_ns"),
                    against: None,
                    expect: Expect::AtLeast(2_000.0),
                    cores: 2,
                },
                Claim {
                    text: "on two CPUs a partner that still spins gets it at least 3 times as fast",
                    of: pick("barging", "asleep", "handover_p50_ns"),
                    against: Some(pick("barging", "ping_pong", "handover_p50_ns")),
                    expect: Expect::AtLeast(3.0),
                    cores: 2,
                },
            ],
            because: "Before it sleeps a waiting thread looks again for a few microseconds. If the partner answers within that, a hand-over is the \
                      journey of a cache line; if not, it is a system call here, a wake-up there, and whatever an idle CPU takes to come \
                      back. tokio's semaphore does not spin: its tasks have better things to do, so a thread that blocks on it parks at once.",
            tour: false,
        },
        Step {
            name: "buffer",
            ask: "Four producers and four consumers share a buffer of 16 places, kept by two semaphores. Which semaphore lets through the most?",
            predict: Predict::Best { param: "4x4" },
            kind: Kind::Tail,
            cases: CASES,
            params: &["1x1", "4x1", "1x4", "4x4"],
            launch: Launch::Together,
            measure: buffered,
            headline: "ops_per_s",
            columns: &["switches_per_op_count", "min_max_share"],
            claims: &[
                Claim {
                    text: "with one producer and one consumer, barging lets through at least 1.5 times what order of arrival does",
                    of: pick("barging", "1x1", "ops_per_s"),
                    against: Some(pick("fifo", "1x1", "ops_per_s")),
                    expect: Expect::AtLeast(1.5),
                    cores: 2,
                },
                Claim {
                    text: "with four producers for one consumer, barging switches threads more often for each item than order of arrival does",
                    of: pick("barging", "4x1", "switches_per_op_count"),
                    against: Some(pick("fifo", "4x1", "switches_per_op_count")),
                    expect: Expect::AtLeast(1.0),
                    cores: 2,
                },
            ],
            because: "In order of arrival a permit that is given while somebody waits is his, though he sleeps: it is idle until he is up, and \
                      whoever comes meanwhile queues behind him (a convoy). Barging lets whoever runs take it. With several waiting for \
                      one, that has its own price: a give wakes a thread, somebody else has the permit by then, and it goes \
                      back to sleep: switches for nothing. Which of the two costs more, this table says and no rule does.",
            tour: false,
        },
        Step {
            name: "head_of_line",
            ask: "Four of eight permits are free. Somebody waits for eight; then a hundred requests for one permit come. Which share of them is served before the large one, in order of arrival (0 to 1)?",
            predict: Predict::Number { case: "fifo", param: "" },
            kind: Kind::Count,
            cases: CASES,
            params: &[""],
            launch: Launch::Together,
            measure: in_line,
            headline: "small_served_share",
            columns: &[],
            claims: &[
                Claim {
                    text: "in order of arrival none of the small requests is served, although four permits are free",
                    of: pick("fifo", "", "small_served_share"),
                    against: None,
                    expect: Expect::AtMost(0.0),
                    cores: 1,
                },
                Claim {
                    text: "nor with tokio, which is documented to be fair",
                    of: pick("tokio", "", "small_served_share"),
                    against: None,
                    expect: Expect::AtMost(0.0),
                    cores: 1,
                },
                Claim {
                    text: "a barging semaphore serves them all",
                    of: pick("barging", "", "small_served_share"),
                    against: None,
                    expect: Expect::AtLeast(1.0),
                    cores: 1,
                },
            ],
            because: "Head-of-line blocking: the large request has claimed the four free permits and waits for four more, and nobody passes it. The \
                      permits are idle and the queue grows: fairness is bought with utilisation. One acquire_many(all) (a \
                      configuration reload, a shutdown) stops a service for as long as its slowest request takes.",
            tour: true,
        },
        Step {
            name: "starved",
            ask: "Eight threads take one of eight permits over and over. Which share of the requests for all eight is served within 50 ms by a barging semaphore (0 to 1)?",
            predict: Predict::Number { case: "barging", param: "" },
            kind: Kind::Chance,
            cases: CASES,
            params: &[""],
            launch: Launch::Together,
            measure: large,
            headline: "large_served_share",
            columns: &["overtaken_count"],
            claims: &[
                Claim {
                    text: "with barging the large request is never served in time",
                    of: pick("barging", "", "large_served_share"),
                    against: None,
                    expect: Expect::AtMost(0.0),
                    cores: 1,
                },
                Claim {
                    text: "in order of arrival it always is",
                    of: pick("fifo", "", "large_served_share"),
                    against: None,
                    expect: Expect::AtLeast(1.0),
                    cores: 1,
                },
                Claim {
                    text: "and fewer small ones pass it than there are threads",
                    of: pick("fifo", "", "overtaken_count"),
                    against: None,
                    expect: Expect::AtMost(8.0),
                    cores: 1,
                },
            ],
            because: "The other side of the same coin: eight permits are never free at one moment while eight threads take each of them back at once. \
                      Without a line, a request starves that needs more than usually lies around. A semaphore of weighted permits has to \
                      choose: idle permits, or starved large requests.",
            tour: false,
        },
    ],
    says: &[
        Say {
            step: "head_of_line",
            text: "Behind one waiting request for all eight permits, {value} of a hundred small requests were served by a semaphore in order of arrival, although four permits were free; a barging one served {against}.",
            of: pick("fifo", "", "small_served_share"),
            against: Some(pick("barging", "", "small_served_share")),
            not_true_when: "all requests are for one permit: then nobody blocks the line for longer than a hold",
        },
        Say {
            step: "handover",
            text: "A post reaches a sleeping thread after {value}, one that still spins after {against}.",
            of: pick("barging", "asleep", "handover_p50_ns"),
            against: Some(pick("barging", "ping_pong", "handover_p50_ns")),
            not_true_when: "both share a CPU: then every hand-over is a context switch",
        },
        Say {
            step: "alone",
            text: "To give a permit that nobody waits for takes {value}; tokio's semaphore takes {against}.",
            of: pick("barging", "post", "op_ns"),
            against: Some(pick("tokio", "post", "op_ns")),
            not_true_when: "somebody waits: then it is a system call",
        },
    ],
    not_said: &[
        "That the two expectations of the buffer step were foretold: they were written after a first look at a run. Only later runs test them.",
        "That tokio's semaphore is slow: it is for tasks, and here threads park on it.",
        "That fairness is good or bad: it costs utilisation, and its absence costs the large and the unlucky.",
        "Anything about LIFO wake-ups: none of these serves the last comer first.",
    ],
    next: &[
        "What is the difference between a mutex and a binary semaphore? (the owner: no priority inheritance, no check of who unlocks)",
        "How would you let small requests pass a large one without starving it? (ageing; a limit on how often it is passed)",
        "What protects a backend: a semaphore or a rate? (lab flow_rate_limit)",
    ],
    sources: &[
        "E. W. Dijkstra, EWD 123, 1965: P and V",
        "D. P. Reed, R. K. Kanodia, \"Synchronization with Eventcounts and Sequencers\", CACM 1979",
        "tokio::sync::Semaphore, documentation: fair, \"even if the number of permits requested is small\"",
        "M. Blasgen et al., \"The Convoy Phenomenon\", ACM SIGOPS OSR 1979",
    ],
    benches,
};

/// A contender, and what it is asked to do at a parameter.
type Run = (&'static str, fn(&Plan, &str) -> Sample);

/// Every contender at every parameter, and the baseline once more (`A/A`), in random order.
fn turns(plan: &Plan, share: f64, cases: &[&str], params: &[&str], runs: &[Run]) -> Vec<Sample> {
    let plan = Plan { slice: plan.slice.mul_f64(share), ..plan.clone() };
    sound(cases, params, || {
        let mut order = Order::new(plan.seed ^ (plan.launch as u64) << 32);
        let all = || std::iter::once((AA, runs[0].1)).chain(runs.iter().copied());
        let mut turn: Vec<(&str, Run)> =
            params.iter().flat_map(|p| all().map(move |run| (*p, run))).collect();
        order.shuffle(&mut turn);
        turn.iter().map(|(p, (case, run))| Sample { case: (*case).into(), ..run(&plan, p) }).collect()
    })
}

fn handed(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    turns(plan, 0.3, cases, params, &named(handover::<Barging>, handover::<Fifo>, handover::<Tokio>))
}

fn buffered(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    turns(plan, 0.3, cases, params, &named(buffer::<Barging>, buffer::<Fifo>, buffer::<Tokio>))
}

fn in_line(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    turns(
        plan,
        1.0,
        cases,
        params,
        &named(head_of_line::<Barging>, head_of_line::<Fifo>, head_of_line::<Tokio>),
    )
}

fn large(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    turns(plan, 1.0, cases, params, &named(starved::<Barging>, starved::<Fifo>, starved::<Tokio>))
}

/// In the order of [`CASES`].
fn named(
    barging: fn(&Plan, &str) -> Sample,
    fifo: fn(&Plan, &str) -> Sample,
    tokio: fn(&Plan, &str) -> Sample,
) -> [Run; 3] {
    [(Barging::CASE, barging), (Fifo::CASE, fifo), (Tokio::CASE, tokio)]
}

fn alone(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let plan = Plan { slice: plan.slice.mul_f64(0.4), ..plan.clone() };
    sound(cases, params, || params.iter().flat_map(|p| cost::solo(&plan, p, &arms(p))).collect())
}

fn arms(param: &str) -> [Solo; 3] {
    fn one<S: Permitted>(param: &str) -> Solo {
        let make = match param {
            "post" => posts::<S>,
            "take_give" => pairs::<S>,
            _ => refusals::<S>,
        };
        Solo { case: S::CASE, make }
    }
    [one::<Barging>(param), one::<Fifo>(param), one::<Tokio>(param)]
}

/// What was given is taken back at once in the end, for the count must not run over: one operation in a million.
fn posts<S: Permitted>() -> Ops {
    const MOST: u64 = 1 << 20;
    let s = Box::new(Apart(S::with(0)));
    Box::new(move |n| {
        let mut left = n;
        while left > 0 {
            let now = left.min(MOST);
            (0..now).for_each(|_| s.0.give(1));
            assert!(s.0.try_take(u32::try_from(now).unwrap_or(0)), "what was given is there");
            left -= now;
        }
    })
}

fn pairs<S: Permitted>() -> Ops {
    let s = Box::new(Apart(S::with(1)));
    Box::new(move |n| {
        for _ in 0..n {
            s.0.take(1);
            s.0.give(1);
        }
    })
}

fn refusals<S: Permitted>() -> Ops {
    let s = Box::new(Apart(S::with(0)));
    Box::new(move |n| {
        for _ in 0..n {
            std::hint::black_box(s.0.try_take(1));
        }
    })
}

/// No contender is timed before it has shown that it does what its name says.
fn sound(cases: &[&str], params: &[&str], measure: impl FnOnce() -> Vec<Sample>) -> Vec<Sample> {
    let checks: [Check; 3] = [check::<Barging>, check::<Fifo>, check::<Tokio>];
    checked(&checks, cases, params, measure)
}

fn benches(_: &Plan) -> Vec<Bench> {
    let solo = |param: &'static str| {
        (0..3).map(move |i| Bench {
            id: format!("{param}/{}", CASES[i]),
            make: Box::new(move || cost::timed(arms(param)[i].make)),
        })
    };
    solo("post").chain(solo("take_give")).collect()
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(&LAB)
}
