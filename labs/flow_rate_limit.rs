//! Token bucket, leaky bucket, fixed and sliding window: what does each rate limit let through, and what does it cost to ask?
//!
//! Run it: `cargo run --release --bin flow_rate_limit -- --step`
use underhood::{
    contenders::{
        arrivals::{after_idle, long_run_per_s, polite_share, worst_second},
        gate::checked,
        limiter::{self, Come, Governor, LeakyMeter, LeakyQueue, Limit, Log, Rate, Told},
        limiter_cases::{self, CHECKS, KEY_CHECKS},
    },
    lab::{
        Bench, Claim,
        Expect::{self, *},
        Kind, Lab, Launch, Pick, Predict, Say, Step, pick,
        plan::Plan,
        sample::Sample,
    },
    measure::{cost, order::Order, throughput},
    structures::flow::{
        Quota, fixed_window::FixedWindow, gcra::Gcra, keyed::Keyed, token_bucket::TokenBucket,
    },
};

pub(crate) static LAB: Lab = Lab {
    stem: "flow_rate_limit",
    question: "Token bucket, leaky bucket, fixed and sliding window: what does each rate limit let through, and what does it cost to ask?",
    steps: &[TRUTH, FAIR, DECIDE, KEYS, CONTENDED],
    says: &[
        Say {
            step: "truth",
            text: "A token bucket of \"100 per second\" with a burst of 100 lets {value} through in one second; a fixed window lets \
                   {against}.",
            of: TOKENS_100,
            against: Some(pick("fixed_window", "burst_100", "worst_window_count")),
            not_true_when: "the burst is smaller: at most burst + 99 pass, so 109 with a burst of 10 and 100 with a burst of 1",
        },
        Say {
            step: "truth",
            text: "As a queue, the same leaky bucket never lets more than {value} through in a second; the price is that a request may \
                   wait for {against}.",
            of: pick("leaky_queue", "burst_100", "worst_window_count"),
            against: Some(pick("leaky_queue", "burst_100", "wait_max_ns")),
            not_true_when: "the queue is shorter: the wait is its length over the rate",
        },
        Say {
            step: "fair",
            text: "Two clients want 40 and 1,000 of \"100 per second\": behind one shared limit {value} of the polite one's requests pass, \
                   with a limit for each key {against}.",
            of: SHARED_FAIR,
            against: Some(KEYED_FAIR),
            not_true_when: "the greedy one asks at the moments at which tokens drop in: then the polite one gets nothing",
        },
        Say {
            step: "decide",
            text: "A GCRA decision takes {value} when the time is known, {ratio} of what governor takes.",
            of: pick("gcra", "passing", "op_ns"),
            against: Some(pick("governor", "passing", "op_ns")),
            not_true_when: "the clock is read for it (that costs more than the decision), or threads meet at the limiter",
        },
    ],
    not_said: &[
        "That one of them is right: 200 in a second is what a fixed window promises, and a bill is checked against the calendar.",
        "That a queue is kinder: under a flood all of its requests wait, and most clients have given up before their turn.",
        "That a rate protects a backend: it limits what comes in, not what is in there (flow_bulkhead).",
        "What governor costs as such: here it is told the time, or reads its default clock, and everything else is left out.",
    ],
    next: &[
        "Your API allows 100 per second. What is the most that your backend sees in one second? In 10 ms?",
        "Why does a distributed limiter of ten nodes with a tenth each refuse clients that are within their quota?",
        "What does the client do with a refusal? (Retry-After, jitter: a fixed window invites all to the same moment)",
        "When would you delay instead of refuse? Who pays for the delay?",
        "How do you keep a million keys in bounded memory? (an idle key's state is no state)",
    ],
    sources: &[
        "ITU-T I.371, annex A: the generic cell rate algorithm; J. Turner, 1986: the leaky bucket as a meter",
        "RFC 2475, 2.3.3.3: a shaper delays, a dropper discards",
        "governor 0.10.4, src/gcra.rs and src/state/in_memory.rs: a TAT in an AtomicU64",
        "folly, TokenBucket.h: the time at which the bucket was empty, in place of a count",
    ],
    benches,
};

const TOKENS_100: Pick = pick("token_bucket", "burst_100", "worst_window_count");
const SHARED_FAIR: Pick = pick("token_bucket", "random", "polite_share");
const KEYED_FAIR: Pick = pick("keyed", "random", "polite_share");

const fn claim(text: &'static str, of: Pick, against: Option<Pick>, expect: Expect) -> Claim {
    Claim { text, of, against, expect, cores: 1 }
}

/// A claim about threads that meet.
const fn met(text: &'static str, of: Pick, against: Option<Pick>, expect: Expect) -> Claim {
    Claim { cores: 2, ..claim(text, of, against, expect) }
}

const TRUTH: Step = Step {
    name: "truth",
    ask: "The limit is 100 per second, as a token bucket that holds 100. How many requests can pass within one second?",
    predict: Predict::Number { case: "token_bucket", param: "burst_100" },
    kind: Kind::Count,
    cases: &["fixed_window", "sliding_log", "token_bucket", "gcra", "leaky_meter", "leaky_queue", "governor"],
    params: &["burst_100", "burst_10", "burst_1"],
    launch: Launch::Together,
    measure: truth,
    headline: "worst_window_count",
    columns: &["long_run_per_s", "idle_credit_count", "wait_max_ns", "state_bytes"],
    claims: &[
        claim("a full bucket of 100 lets 199 through in one second", TOKENS_100, None, Between(199.0, 199.0)),
        claim(
            "a fixed window lets 200 through in one second: 100 on either side of an edge",
            pick("fixed_window", "burst_100", "worst_window_count"),
            None,
            Between(200.0, 200.0),
        ),
        claim(
            "a sliding log lets exactly 100 through in any second",
            pick("sliding_log", "burst_100", "worst_window_count"),
            None,
            Between(100.0, 100.0),
        ),
        claim(
            "with a burst of 10, GCRA lets 109 through, and nobody loses in the long run",
            pick("gcra", "burst_10", "worst_window_count"),
            None,
            Between(109.0, 109.0),
        ),
        claim(
            "with a burst of 10, GCRA still lets 100 per second through in the long run",
            pick("gcra", "burst_10", "long_run_per_s"),
            None,
            Between(100.0, 100.0),
        ),
        claim(
            "a queue lets no more than 100 through in a second, whatever it holds",
            pick("leaky_queue", "burst_100", "worst_window_count"),
            None,
            AtMost(100.0),
        ),
    ],
    because: "A token bucket promises an average: what was saved while nobody came (the burst) comes on top of what drops in meanwhile, \
              so a second sees burst + 99. A fixed window forgets all at an edge, so two whole quotas meet there. A sliding log forgets \
              each request a second after it came, which is the promise itself, and costs 8 bytes for each of the 100. The meter, \
              GCRA and the token bucket are one algorithm: the same word, read as the time when it will be dry, when the next is due, \
              or when it was empty (src/structures/flow/leaky_bucket.rs, gcra.rs, token_bucket.rs; tests/flow.rs holds them to the same \
              decisions). The queue takes the same requests and lets them leave one by one: it turns a burst into a wait.",
    tour: true,
};

const FAIR: Step = Step {
    name: "fair",
    ask: "Two clients share \"100 per second\". One asks 1,000 times a second, the other 40 times, at random moments. What share of the \
          polite one's requests pass a shared token bucket? (0.5 is half)",
    predict: Predict::Number { case: "token_bucket", param: "random" },
    kind: Kind::Count,
    cases: &["keyed", "token_bucket", "fixed_window", "sliding_log", "leaky_queue"],
    params: &["random", "adversary"],
    launch: Launch::Together,
    measure: fair,
    headline: "polite_share",
    columns: &[],
    claims: &[
        claim(
            "at random moments a shared bucket gives by the share of the asking: 100 of 1,040, a tenth",
            SHARED_FAIR,
            None,
            Between(0.08, 0.11),
        ),
        claim(
            "if the greedy one asks at the moment at which each token drops in, the polite one gets nothing",
            pick("token_bucket", "adversary", "polite_share"),
            None,
            AtMost(0.0),
        ),
        claim(
            "with half the quota for each key, all of the polite client's requests pass",
            KEYED_FAIR,
            None,
            AtLeast(0.999),
        ),
    ],
    because: "A shared limit has no idea who asks: what becomes free goes to whoever asks first. At random that is a share like one's share \
              of the asking, so who asks 25 times as often gets 25 times as much, which teaches clients to retry; and who knows \
              the moment (a fixed window tells it to all) gets everything. A limit per key (src/structures/flow/keyed.rs) gives each its own bucket; \
              it can't lend what the other does not use.",
    tour: false,
};

const DECIDE: Step = Step {
    name: "decide",
    ask: "One thread asks one limiter. How long does a GCRA decision take, in ns, when the time is known already?",
    predict: Predict::Number { case: "gcra", param: "passing" },
    kind: Kind::Single,
    cases: &["governor", "gcra", "token_bucket", "leaky_meter", "fixed_window", "sliding_log", "empty"],
    params: &["passing", "refused", "clocked"],
    launch: Launch::Together,
    measure: decide,
    headline: "op_ns",
    columns: &[],
    claims: &[
        claim(
            "a GCRA decision that passes costs at most 1.2 times governor's",
            pick("gcra", "passing", "op_ns"),
            Some(pick("governor", "passing", "op_ns")),
            AtMost(1.2),
        ),
        claim(
            "a token bucket's, too",
            pick("token_bucket", "passing", "op_ns"),
            Some(pick("governor", "passing", "op_ns")),
            AtMost(1.2),
        ),
        claim(
            "refusing is cheaper than passing: at most 0.7 of it",
            pick("gcra", "refused", "op_ns"),
            Some(pick("gcra", "passing", "op_ns")),
            AtMost(0.7),
        ),
        claim(
            "beside the clock a decision costs next to nothing: at most 1.3 times the clock alone",
            pick("gcra", "clocked", "op_ns"),
            Some(pick("empty", "clocked", "op_ns")),
            AtMost(1.3),
        ),
    ],
    because: "A decision that passes is a load and a compare-exchange on one word; a refusal is the load alone. The exactness of the \
              sliding log is two compare-exchanges and four loads, and the calendar of the fixed window is a division. All of them are \
              small beside reading a clock (`clocked`: governor's default clock, the CPU's counter, for all alike), and partly hidden \
              behind it, since the CPU need not wait for the counter to look at the word. Read the time once per request, hand it on.",
    tour: false,
};

const KEYS: Step = Step {
    name: "keys",
    ask: "A limit for each of 10,000 keys. Which one decides fastest, on one thread?",
    predict: Predict::Best { param: "keys_10000" },
    kind: Kind::Single,
    cases: &["governor", "keyed_foldhash", "governor_siphash", "keyed", "empty"],
    params: &["keys_100", "keys_10000"],
    launch: Launch::Together,
    measure: keys,
    headline: "op_ns",
    columns: &[],
    claims: &[
        claim(
            "with 10,000 keys and the same hasher, ours takes no longer than governor",
            pick("keyed_foldhash", "keys_10000", "op_ns"),
            Some(pick("governor", "keys_10000", "op_ns")),
            AtMost(1.0),
        ),
        claim(
            "std's hasher, which withstands chosen keys, costs something: ours takes at least 1.1 times as long with it",
            pick("keyed", "keys_10000", "op_ns"),
            Some(pick("keyed_foldhash", "keys_10000", "op_ns")),
            AtLeast(1.1),
        ),
    ],
    because: "governor looks the key up in a DashMap: it counts itself into a shard's reader-writer lock, finds the slot, swaps the word \
              there, and counts itself out: three atomic steps. Ours locks a shard's mutex, changes the plain word, unlocks: two. And a \
              table that never grows needs no way to grow (src/structures/flow/keyed.rs). The hash is the rest.",
    tour: false,
};

const CONTENDED: Step = Step {
    name: "contended",
    ask: "All threads ask one limiter, and all pass. Which limiter lets them through fastest?",
    predict: Predict::Best { param: "passing" },
    kind: Kind::Contended,
    cases: &[
        "governor",
        "gcra",
        "token_bucket",
        "fixed_window",
        "sliding_log",
        "governor_keyed",
        "keyed_foldhash",
        "empty",
    ],
    params: &["passing", "refused"],
    launch: Launch::Together,
    measure: contended,
    headline: "ops_per_s",
    columns: &["lane_op_ns", "min_max_share"],
    claims: &[
        met(
            "with all threads at one limiter, GCRA decides at least 0.8 times as often as governor",
            pick("gcra", "passing", "ops_per_s"),
            Some(pick("governor", "passing", "ops_per_s")),
            AtLeast(0.8),
        ),
        met(
            "with 10,000 keys, ours decides at least as often as governor's",
            pick("keyed_foldhash", "passing", "ops_per_s"),
            Some(pick("governor_keyed", "passing", "ops_per_s")),
            AtLeast(1.0),
        ),
        met(
            "refusing is where a limiter must be fast: GCRA refuses at least 1.5 times as often as it lets through",
            pick("gcra", "refused", "ops_per_s"),
            Some(pick("gcra", "passing", "ops_per_s")),
            AtLeast(1.5),
        ),
    ],
    because: "Whoever passes writes the word, so its cache line travels from core to core, and a compare-exchange that lost is tried \
              again. Whoever is refused only reads, and a line that nobody writes is in every core's cache: under a flood the limiter \
              scales just when it has to. Keys spread the writing over many lines. Every lane reads the clock for each decision.",
    tour: false,
};

/// A sample for each case and parameter; what is wrong with a contender is a sample, too.
fn each(cases: &[&str], params: &[&str], one: impl Fn(&str, &str) -> Sample) -> Vec<Sample> {
    params.iter().flat_map(|param| cases.iter().map(|case| one(case, param)).collect::<Vec<_>>()).collect()
}

fn truth(_: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    fn told<L: Limit>(param: &str) -> Sample {
        let burst = param.strip_prefix("burst_").and_then(|n| n.parse().ok()).unwrap_or(100);
        let rate = Rate { burst, ..limiter::HUNDRED };
        let (credit, waits_ns) = after_idle::<L>(rate);
        Sample::new(L::CASE, param)
            .with("worst_window_count", worst_second::<L>(rate) as f64)
            .with("long_run_per_s", long_run_per_s::<L>(rate))
            .with("idle_credit_count", credit as f64)
            .with("wait_max_ns", waits_ns as f64)
            .with("state_bytes", L::new(rate).bytes() as f64)
    }
    each(cases, params, |case, param| match case {
        "fixed_window" => told::<FixedWindow>(param),
        "sliding_log" => told::<Log>(param),
        "token_bucket" => told::<TokenBucket>(param),
        "gcra" => told::<Gcra>(param),
        "leaky_meter" => told::<LeakyMeter>(param),
        "leaky_queue" => told::<LeakyQueue>(param),
        _ => told::<Governor<Told>>(param),
    })
}

fn fair(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    fn shared<L: Limit>(dice: Option<Order>) -> f64 {
        let limiter = L::new(limiter::HUNDRED);
        polite_share(dice, |_, now_ns| limiter.leaves_at_ns(now_ns).is_some())
    }
    each(cases, params, |case, param| {
        let dice = (param == "random").then(|| Order::new(plan.seed));
        let share = match case {
            "token_bucket" => shared::<TokenBucket>(dice),
            "fixed_window" => shared::<FixedWindow>(dice),
            "sliding_log" => shared::<Log>(dice),
            "leaky_queue" => shared::<LeakyQueue>(dice),
            _ => {
                let half = Quota::per_second(50, 50).expect("a sound quota");
                let limiter = Keyed::new(half, 2, 1).expect("a sound size");
                polite_share(dice, |client, now_ns| limiter.admit(&client, now_ns, 1).is_ok())
            }
        };
        Sample::new(case, param).with("polite_share", share)
    })
}

/// A part of a slice for each of the 47 timed rows: 0.4 is a hundred quads of blocks, 0.5 a dozen of windows. Enough for tens of percents.
fn brief(plan: &Plan, part: f64) -> Plan {
    Plan { slice: plan.slice.mul_f64(part), ..plan.clone() }
}

fn decide(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let arms = |param: &str| match param {
        "clocked" => limiter_cases::timed(),
        _ => limiter_cases::told(come(param)),
    };
    checked(CHECKS, cases, params, || {
        params.iter().flat_map(|param| cost::solo(&brief(plan, 0.4), param, &arms(param))).collect()
    })
}

fn come(param: &str) -> Come {
    if param == "refused" { Come::Refused } else { Come::Passing }
}

fn keys(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let arms = |param: &str| match param {
        "keys_100" => limiter_cases::keys::<100>(),
        _ => limiter_cases::keys::<10_000>(),
    };
    checked(KEY_CHECKS, cases, params, || {
        params.iter().flat_map(|param| cost::solo(&brief(plan, 0.4), param, &arms(param))).collect()
    })
}

fn contended(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    checked(&[CHECKS, KEY_CHECKS].concat(), cases, params, || {
        params
            .iter()
            .flat_map(|param| {
                throughput::crowd(&brief(plan, 0.5), param, 0.0, &limiter_cases::crowds(come(param)))
            })
            .collect()
    })
}

fn benches(plan: &Plan) -> Vec<Bench> {
    let arms = || limiter_cases::told(Come::Passing);
    let alone = (0..arms().len()).map(|i| {
        let id = format!("passing/{}", arms()[i].case);
        Bench { id, make: Box::new(move || cost::timed(arms()[i].make)) }
    });
    let crowds = || limiter_cases::crowds(Come::Passing);
    let met = (0..crowds().len()).map(|i| {
        let (plan, id) = (plan.clone(), format!("contended/{}", crowds()[i].case));
        Bench { id, make: Box::new(move || throughput::timed(&plan, 0.0, &crowds()[i])) }
    });
    alone.chain(met).collect()
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(&LAB)
}
