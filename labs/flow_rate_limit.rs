//! Token bucket, leaky bucket, fixed and sliding window: what does each rate limit let through, and what does a decision cost?
//!
//! Run it: `cargo run --release --bin flow_rate_limit -- --step`
use std::iter::once;

use underhood::{
    contenders::{
        arrivals,
        limiter::{
            Come, FIXED_WINDOW, GCRA, GOVERNOR, HUNDRED, LEAKY_METER, LEAKY_QUEUE, Limiter, Rate,
            SLIDING_LOG, Shared, TOKEN_BUCKET, UNLIMITED,
        },
        limiter_keyed::{
            KEY_GOVERNOR, KEY_GOVERNOR_SIPHASH, KEY_UNLIMITED, KEYED, KEYED_FOLDHASH, SHARED_KEY_GOVERNOR,
            SHARED_KEYED_FOLDHASH,
        },
    },
    lab::{
        Kind, Lab, Step, at, at_least, at_most, between, count, exactly, pick, ratio, sample::Sample,
        shown_by, source,
    },
    measure::{
        cost::{self, Solo},
        order::Order,
        throughput,
    },
    structures::flow::{Quota, keyed::Keyed},
};

pub(crate) fn lab() -> Lab {
    underhood::lab!(
        "flow_rate_limit",
        "Token bucket, leaky bucket, fixed and sliding window: what does each rate limit let through, and what does a decision cost?"
    )
        .step(truth())
        .step(fair())
        .step(decide())
        .step(keys())
        .step(contended())
        .say(
            "truth",
            "A token bucket of \"100 per second\" with a burst of 100 can let {value} requests through within one second. A fixed window \
             can let {against} through. With either, twice the rate is possible.",
            ratio(("token_bucket", "burst_100"), ("fixed_window", "burst_100")),
            "the burst of the token bucket is smaller: at most burst + 99 pass (109 with a burst of 10, 100 with a burst of 1)",
        )
        .say(
            "truth",
            "A leaky bucket that is used as a queue never lets more than {value} requests through in a second. The price is that a request \
             may wait for {against}.",
            ratio(("leaky_queue", "burst_100"), pick("leaky_queue", "burst_100", "wait_max_ns")),
            "the queue is shorter: the longest wait is its length divided by the rate",
        )
        .say(
            "fair",
            "Two clients share \"100 per second\". The polite one asks 40 times a second, the greedy one 1,000 times. With one shared \
             limit, {value} of the polite client's requests pass. With a limit for each client, {against} pass.",
            ratio(("token_bucket", "random"), ("keyed", "random")),
            "the greedy client asks exactly when each token drops in: then the polite client gets nothing from a shared limit",
        )
        .say(
            "decide",
            "A decision of our GCRA (generic cell rate algorithm) takes {value} if the caller already knows the time. That is {ratio} of \
             the time of the crate governor, which uses GCRA, too.",
            ratio(("gcra", "passing"), ("governor", "passing")),
            "the clock must be read for the decision (that costs more than the decision), or several threads use the limiter at once",
        )
        .not_said(&[
        "That one of them is right and the others are wrong. A fixed window keeps its promise when it lets 200 through in a second. For a \
         bill, which counts by the calendar, it is the right limit.",
        "That a queue is kinder to clients: in a flood all of its requests wait, and most clients have given up before their turn.",
        "That a rate limit protects a backend: it limits how many requests come in per second, not how many are in flight (see \
         flow_bulkhead).",
        "What governor costs in a whole program: here it is given the time or reads its default clock, and everything else is left out.",
    ])
        .next(&[
        "Your API allows 100 per second. What is the most that your backend sees in one second? In 10 ms?",
        "Ten nodes share one limit, and each enforces a tenth of it. Why do they refuse clients that are within their quota?",
        "What does the client do after a refusal? (wait as Retry-After says, plus jitter: with a fixed window all clients come back at the \
         same moment)",
        "When would you delay instead of refuse? Who pays for the delay?",
        "How do you keep a million keys in bounded memory? (an idle key needs no state)",
    ])
        .sources(&[
        "ITU-T I.371, annex A: the generic cell rate algorithm; J. Turner, 1986: the leaky bucket as a meter",
        "RFC 2475, 2.3.3.3: a shaper delays, a dropper discards",
        "governor 0.10.4, src/gcra.rs and src/state/in_memory.rs: a TAT in an AtomicU64",
        "folly, TokenBucket.h: the time at which the bucket was empty, in place of a count",
    ])
}

fn truth() -> Step {
    const LIMITS: &[&Limiter] =
        &[&FIXED_WINDOW, &SLIDING_LOG, &TOKEN_BUCKET, &GCRA, &LEAKY_METER, &LEAKY_QUEUE, &GOVERNOR];
    let bursts = [count("burst_100", 100), count("burst_10", 10), count("burst_1", 1)];
    Step::new("truth", Kind::Count, "worst_window_count")
        .ask_number(
            "The limit is 100 per second, as a token bucket that holds 100. How many requests can pass within one second?",
            "token_bucket",
            "burst_100",
        )
        .columns(&["long_run_per_s", "idle_credit_count", "wait_max_ns", "state_bytes"])
        .each(LIMITS, bursts, |_, limit, burst| {
            let burst = u32::try_from(burst.value).map_err(|e| e.to_string())?;
            let truth = limit.truth(Rate { burst, ..HUNDRED });
            Ok(Sample::default()
                .with("worst_window_count", truth.worst_second as f64)
                .with("long_run_per_s", truth.long_run_per_s)
                .with("idle_credit_count", truth.credit as f64)
                .with("wait_max_ns", truth.waits_ns as f64)
                .with("state_bytes", truth.state_bytes as f64))
        })
        .claim(
            exactly(199.0, ("token_bucket", "burst_100")),
            "a full bucket of 100 lets 199 through in one second",
        )
        .claim(
            exactly(200.0, ("fixed_window", "burst_100")),
            "a fixed window lets 200 through in one second: 100 on either side of the edge between two windows",
        )
        .claim(
            exactly(100.0, ("sliding_log", "burst_100")),
            "a sliding log lets exactly 100 through in any second",
        )
        .claim(
            exactly(109.0, ("gcra", "burst_10")),
            "with a burst of 10, GCRA lets 109 through in one second",
        )
        .claim(
            exactly(100.0, pick("gcra", "burst_10", "long_run_per_s")),
            "with a burst of 10, GCRA still lets 100 per second through in the long run",
        )
        .claim(
            at_most(100.0, ("leaky_queue", "burst_100")),
            "a leaky bucket used as a queue lets no more than 100 through in a second, however many wait in it",
        )
        .because(
            "A token bucket promises an average rate. Tokens that were saved while nobody came (the burst) are added to those that drop in \
             during the second. So up to burst + 99 requests pass in one second.",
            shown_by(exactly(100.0, ("token_bucket", "burst_1"))),
        )
        .because(
            "A fixed window starts to count from zero at each edge. So two whole quotas can pass around one edge.",
            shown_by(exactly(2.0, ratio(("fixed_window", "burst_100"), ("sliding_log", "burst_100")))),
        )
        .because(
            "A sliding log counts each request for exactly one second, and that is what the limit promises. It costs 8 bytes for each of \
             the 100 requests.",
            shown_by(at_least(800.0, pick("sliding_log", "burst_100", "state_bytes"))),
        )
        .because(
            "The leaky bucket as a meter, GCRA and the token bucket are the same algorithm: each keeps one time in one word. For the meter \
             it is when the bucket will be dry, for GCRA when the next request is due. For the token bucket it is when the bucket was \
             empty. Tests check that they decide alike.",
            source("src/structures/flow/leaky_bucket.rs, gcra.rs, token_bucket.rs; tests/structures/flows.rs"),
        )
        .because(
            "The leaky bucket as a queue accepts the same requests and lets them leave one by one. So a burst becomes a wait.",
            shown_by(at_least(0.9e9, pick("leaky_queue", "burst_100", "wait_max_ns"))),
        )
        .in_tour()
}

fn fair() -> Step {
    let limiters = || [&TOKEN_BUCKET, &FIXED_WINDOW, &SLIDING_LOG, &LEAKY_QUEUE];
    // Whether the clients come at random moments. If not, the greedy client picks the worst moments for the other.
    let manners = [at("random", true), at("adversary", false)];
    Step::new("fair", Kind::Count, "polite_share")
        .ask_number(
            "Two clients share \"100 per second\". The greedy one asks 1,000 times a second, the polite one 40 times, at random moments. \
             What share of the polite client's requests pass a shared token bucket? (0.5 is half)",
            "token_bucket",
            "random",
        )
        .contenders(once(KEYED.as_ref()).chain(limiters().map(AsRef::as_ref)))
        .over(manners, move |plan, random| {
            let dice = || random.value.then(|| Order::new(plan.seed ^ (plan.launch as u64) << 32));
            let half = Quota::per_second(50, 50).expect("a sound quota");
            let keyed = Keyed::new(half, 2, 1).expect("a sound size");
            let keyed =
                arrivals::polite_share(dice(), |client, now_ns| keyed.admit(&client, now_ns, 1).is_ok());
            let shared = limiters().map(|l| (l.as_ref().id, l.polite_share(dice())));
            once((KEYED.as_ref().id, keyed))
                .chain(shared)
                .map(|(id, share)| Sample::new(id, random.id()).with("polite_share", share))
                .collect()
        })
        .claim(
            between(0.08, 0.11, ("token_bucket", "random")),
            "at random moments a shared bucket lets an equal share of each client's requests through: 100 of 1,040, about a \
             tenth",
        )
        .claim(
            at_most(0.0, ("token_bucket", "adversary")),
            "if the greedy client asks exactly when each token drops in, the polite client gets nothing",
        )
        .claim(
            at_least(0.999, ("keyed", "random")),
            "with half the quota for each client, all of the polite client's requests pass",
        )
        .because(
            "A shared limit does not know who asks. A token that becomes free goes to the next request, no matter who sent it.",
            source("src/contenders/arrivals.rs"),
        )
        .because(
            "At random moments, each client gets a share of the quota that equals its share of the requests. A client that asks 25 times \
             as often gets 25 times as much. That teaches clients to retry.",
            shown_by(between(0.08, 0.11, ("fixed_window", "random"))),
        )
        .because(
            "A client that knows when quota becomes free gets all of it. With a fixed window, everybody knows that moment.",
            shown_by(at_most(0.0, ("fixed_window", "adversary"))),
        )
        .because(
            "A limit per key gives each client a bucket of its own.",
            shown_by(at_least(0.999, ("keyed", "adversary"))),
        )
        .because("But a limit per key can't lend one client what another does not use.", source("src/structures/flow/keyed.rs"))
}

fn decide() -> Step {
    const LIMITS: [&Limiter; 7] =
        [&GOVERNOR, &GCRA, &TOKEN_BUCKET, &LEAKY_METER, &FIXED_WINDOW, &SLIDING_LOG, &UNLIMITED];
    type Ask = fn(&Limiter) -> Solo;
    let asked = [
        at("passing", Limiter::passing as Ask),
        at("refused", Limiter::refused),
        at("clocked", Limiter::clocked),
    ];
    Step::new("decide", Kind::Single, "op_ns")
        .ask_number(
            "One thread asks one limiter and already knows the time. How many ns does a GCRA decision take?",
            "gcra",
            "passing",
        )
        .contenders(LIMITS)
        // A hundred quads of blocks: enough to show differences of tens of percent.
        .slice(0.4)
        .over(asked, |plan, ask| cost::solo(plan, ask.id(), LIMITS.map(ask.value)))
        .bench("passing/{case}", LIMITS, |_, limit| cost::timed(&limit.passing()))
        .claim(
            at_most(1.2, ratio(("gcra", "passing"), ("governor", "passing"))),
            "a GCRA decision that passes costs at most 1.2 times governor's",
        )
        .claim(
            at_most(1.2, ratio(("token_bucket", "passing"), ("governor", "passing"))),
            "a token bucket's decision that passes costs at most 1.2 times governor's, too",
        )
        .claim(
            at_most(0.7, ratio(("gcra", "refused"), ("gcra", "passing"))),
            "a refusal by GCRA is cheaper than a pass: at most 0.7 of the time",
        )
        .claim(
            at_most(1.3, ratio(("gcra", "clocked"), ("empty", "clocked"))),
            "a GCRA decision costs little compared with the clock: both together take at most 1.3 times as long as the clock alone",
        )
        .because(
            "A decision that passes is a load and a compare-exchange on one word. A refusal is the load alone.",
            shown_by(at_most(0.7, ratio(("token_bucket", "refused"), ("token_bucket", "passing")))),
        )
        .because(
            "The sliding log pays for its exactness with two compare-exchanges and four loads.",
            shown_by(at_least(1.5, ratio(("sliding_log", "passing"), ("gcra", "passing")))),
        )
        .because(
            "The fixed window needs a division to find out which window it is in.",
            shown_by(at_least(1.2, ratio(("fixed_window", "refused"), ("gcra", "refused")))),
        )
        .because(
            "A bucket's decision is cheap compared with reading a clock. In the rows \"all pass, clock read\", every limiter \
             uses governor's default clock, the CPU's counter. The decision and the clock partly overlap, since the CPU can \
             read the limiter's word before the counter has answered. So read the time once per request and pass it on.",
            shown_by(at_most(1.3, ratio(("token_bucket", "clocked"), ("empty", "clocked")))),
        )
        .because(
            "The sliding log adds more to the clock than a bucket does.",
            shown_by(at_least(1.1, ratio(("sliding_log", "clocked"), ("token_bucket", "clocked")))),
        )
}

fn keys() -> Step {
    let limiters = || [&KEY_GOVERNOR, &KEYED_FOLDHASH, &KEY_GOVERNOR_SIPHASH, &KEYED, &KEY_UNLIMITED];
    Step::new("keys", Kind::Single, "op_ns")
        .ask_best("Each of 10,000 keys has a limit of its own. Which limiter decides fastest, on one thread?", "keys_10000")
        .contenders(limiters())
        .slice(0.4)
        .over([count("keys_100", 100), count("keys_10000", 10_000)], move |plan, keys| {
            cost::solo(plan, keys.id(), limiters().map(|l| l.passing(keys.value)))
        })
        .claim(
            at_most(1.0, ratio(("keyed_foldhash", "keys_10000"), ("governor", "keys_10000"))),
            "with 10,000 keys and the same hasher, our limit per key takes no longer than governor's",
        )
        .claim(
            at_least(1.1, ratio(("keyed", "keys_10000"), ("keyed_foldhash", "keys_10000"))),
            "std's hasher withstands chosen keys, but it costs time: with it our limit per key takes at least 1.1 times as long",
        )
        .because(
            "governor looks the key up in a DashMap. It takes a shard's reader-writer lock as a reader, finds the slot, swaps the word \
             there and releases the lock. These are three atomic operations.",
            source("governor 0.10.4, src/state/keyed/dashmap.rs; dashmap 6"),
        )
        .because(
            "Our limiter locks a shard's mutex, changes a plain word and unlocks. These are two atomic operations. And its \
             table never grows, so it needs no code for that. With 100 keys our limiter is the faster one.",
            shown_by(at_most(0.9, ratio(("keyed_foldhash", "keys_100"), ("governor", "keys_100")))),
        )
        .because(
            "With 10,000 keys our limiter is the slower one. The number of atomic operations does not explain that, and no row here shows \
             the reason.",
            shown_by(at_least(1.5, ratio(("keyed_foldhash", "keys_10000"), ("governor", "keys_10000")))),
        )
        .because(
            "With std's SipHash, governor takes at least twice as long as with foldhash. So the hasher matters as much as all the rest.",
            shown_by(at_least(2.0, ratio(("governor_siphash", "keys_10000"), ("governor", "keys_10000")))),
        )
}

fn contended() -> Step {
    const LIMITS: [&Shared; 8] = [
        &GOVERNOR.shared,
        &GCRA.shared,
        &TOKEN_BUCKET.shared,
        &FIXED_WINDOW.shared,
        &SLIDING_LOG.shared,
        &SHARED_KEY_GOVERNOR,
        &SHARED_KEYED_FOLDHASH,
        &UNLIMITED.shared,
    ];
    Step::new("contended", Kind::Contended, "ops_per_s")
        .ask_best("All threads ask one limiter, and all pass. Which limiter lets them through fastest?", "passing")
        .columns(&["lane_op_ns", "min_max_share"])
        .contenders(LIMITS)
        // A dozen quads of windows.
        .slice(0.5)
        .over([at("passing", Come::Passing), at("refused", Come::Refused)], |plan, come| {
            throughput::crowd(plan, come.id(), 0.0, LIMITS.map(|l| l.crowd(come.value)))
        })
        .bench("contended/{case}", LIMITS, |plan, limit| {
            throughput::timed(plan, 0.0, &limit.crowd(Come::Passing))
        })
        .claim(
            at_least(0.8, ratio(("gcra", "passing"), ("governor", "passing"))).cores(2),
            "with all threads at one limiter, GCRA decides at least 0.8 times as often as governor",
        )
        .claim(
            at_least(1.0, ratio(("keyed_foldhash", "passing"), ("governor_keyed", "passing"))).cores(2),
            "with 10,000 keys, our limit per key decides at least as often as governor's",
        )
        .claim(
            at_least(1.5, ratio(("gcra", "refused"), ("gcra", "passing"))).cores(2),
            "a limiter must be fastest when it refuses: GCRA refuses at least 1.5 times as many requests per second as it lets through",
        )
        .because(
            "A request that passes writes the limiter's word, so the cache line moves from core to core. A compare-exchange that fails is \
             tried again.",
            shown_by(at_least(2.0, ratio(("empty", "passing"), ("gcra", "passing"))).cores(2)),
        )
        .because(
            "A request that is refused only reads, and a cache line that nobody writes stays in every core's cache. So the \
             limiter scales in a flood of requests, when that matters most.",
            shown_by(at_least(0.8, ratio(("gcra", "refused"), ("empty", "refused"))).cores(2)),
        )
        .because(
            "With a limit per key, the writes go to many different cache lines. But each decision also hashes the key, \
             searches a table and takes a lock. So here a limit per key lets fewer requests through than one limit for all.",
            shown_by(at_most(1.0, ratio(("keyed_foldhash", "passing"), ("gcra", "passing"))).cores(2)),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}
