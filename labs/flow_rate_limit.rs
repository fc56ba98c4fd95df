//! Token bucket, leaky bucket, fixed and sliding window: what does each rate limit let through, and what does it cost to ask?
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
        Evidence, Kind, Lab, Step, at, at_least, at_most, between, count, exactly, pick, ratio,
        sample::Sample, shown_by, source,
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
        "Token bucket, leaky bucket, fixed and sliding window: what does each rate limit let through, and what does it cost to ask?"
    )
        .step(truth())
        .step(fair())
        .step(decide())
        .step(keys())
        .step(contended())
        .say(
            "truth",
            "A token bucket of \"100 per second\" with a burst of 100 lets {value} through in one second; a fixed window lets \
             {against}.",
            ratio(("token_bucket", "burst_100"), ("fixed_window", "burst_100")),
            "the burst is smaller: at most burst + 99 pass, so 109 with a burst of 10 and 100 with a burst of 1",
        )
        .say(
            "truth",
            "As a queue, the same leaky bucket never lets more than {value} through in a second; the price is that a request may \
             wait for {against}.",
            ratio(("leaky_queue", "burst_100"), pick("leaky_queue", "burst_100", "wait_max_ns")),
            "the queue is shorter: the wait is its length over the rate",
        )
        .say(
            "fair",
            "Two clients want 40 and 1,000 of \"100 per second\": behind one shared limit {value} of the polite one's requests pass, \
             with a limit for each key {against}.",
            ratio(("token_bucket", "random"), ("keyed", "random")),
            "the greedy one asks at the moments at which tokens drop in: then the polite one gets nothing",
        )
        .say(
            "decide",
            "A GCRA decision takes {value} when the time is known, {ratio} of what governor takes.",
            ratio(("gcra", "passing"), ("governor", "passing")),
            "the clock is read for it (that costs more than the decision), or threads meet at the limiter",
        )
        .not_said(&[
        "That one of them is right: 200 in a second is what a fixed window promises, and a bill is checked against the calendar.",
        "That a queue is kinder: under a flood all of its requests wait, and most clients have given up before their turn.",
        "That a rate protects a backend: it limits what comes in, not what is in there (flow_bulkhead).",
        "What governor costs as such: here it is told the time, or reads its default clock, and everything else is left out.",
    ])
        .next(&[
        "Your API allows 100 per second. What is the most that your backend sees in one second? In 10 ms?",
        "Why does a distributed limiter of ten nodes with a tenth each refuse clients that are within their quota?",
        "What does the client do with a refusal? (Retry-After, jitter: a fixed window invites all to the same moment)",
        "When would you delay instead of refuse? Who pays for the delay?",
        "How do you keep a million keys in bounded memory? (an idle key's state is no state)",
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
            "a fixed window lets 200 through in one second: 100 on either side of an edge",
        )
        .claim(
            exactly(100.0, ("sliding_log", "burst_100")),
            "a sliding log lets exactly 100 through in any second",
        )
        .claim(
            exactly(109.0, ("gcra", "burst_10")),
            "with a burst of 10, GCRA lets 109 through, and nobody loses in the long run",
        )
        .claim(
            exactly(100.0, pick("gcra", "burst_10", "long_run_per_s")),
            "with a burst of 10, GCRA still lets 100 per second through in the long run",
        )
        .claim(
            at_most(100.0, ("leaky_queue", "burst_100")),
            "a queue lets no more than 100 through in a second, whatever it holds",
        )
        .because(
            "A token bucket promises an average. What was saved while nobody came (the burst) comes on top of what drops in meanwhile, \
             so a second sees burst + 99.",
            shown_by(exactly(100.0, ("token_bucket", "burst_1"))),
        )
        .because(
            "A fixed window forgets all at an edge, so two whole quotas meet there.",
            shown_by(exactly(2.0, ratio(("fixed_window", "burst_100"), ("sliding_log", "burst_100")))),
        )
        .because(
            "A sliding log forgets each request a second after it came, which is the promise itself. It costs 8 bytes for each of \
             the 100.",
            shown_by(at_least(800.0, pick("sliding_log", "burst_100", "state_bytes"))),
        )
        .because(
            "The meter, GCRA and the token bucket are one algorithm on the same word. It is read as the time when it will be dry, \
             when the next is due, or when it was empty. Tests hold them to the same decisions.",
            source("src/structures/flow/leaky_bucket.rs, gcra.rs, token_bucket.rs; tests/structures/flows.rs"),
        )
        .because(
            "The queue takes the same requests and lets them leave one by one: it turns a burst into a wait.",
            shown_by(at_least(0.9e9, pick("leaky_queue", "burst_100", "wait_max_ns"))),
        )
        .in_tour()
}

fn fair() -> Step {
    let limiters = || [&TOKEN_BUCKET, &FIXED_WINDOW, &SLIDING_LOG, &LEAKY_QUEUE];
    // Whether the clients come at random moments: the other greedy one is an adversary.
    let manners = [at("random", true), at("adversary", false)];
    Step::new("fair", Kind::Count, "polite_share")
        .ask_number(
            "Two clients share \"100 per second\". One asks 1,000 times a second, the other 40 times, at random moments. What share of the \
             polite one's requests pass a shared token bucket? (0.5 is half)",
            "token_bucket",
            "random",
        )
        .contenders(once(KEYED.as_ref()).chain(limiters().map(AsRef::as_ref)))
        .over(manners, move |plan, random| {
            let dice = || random.value.then(|| Order::new(plan.seed));
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
            "at random moments a shared bucket gives by the share of the asking: 100 of 1,040, a tenth",
        )
        .claim(
            at_most(0.0, ("token_bucket", "adversary")),
            "if the greedy one asks at the moment at which each token drops in, the polite one gets nothing",
        )
        .claim(
            at_least(0.999, ("keyed", "random")),
            "with half the quota for each key, all of the polite client's requests pass",
        )
        .because(
            "A shared limit has no idea who asks: what becomes free goes to whoever asks first.",
            Evidence::None,
        )
        .because(
            "At random that is a share like one's share of the asking. A client that asks 25 times as often gets 25 times as much, \
             which teaches clients to retry.",
            shown_by(between(0.08, 0.11, ("fixed_window", "random"))),
        )
        .because(
            "A client that knows the moment gets everything, and a fixed window tells it to all.",
            shown_by(at_most(0.0, ("fixed_window", "adversary"))),
        )
        .because(
            "A limit per key gives each its own bucket.",
            shown_by(at_least(0.999, ("keyed", "adversary"))),
        )
        .because("It can't lend what the other does not use.", source("src/structures/flow/keyed.rs"))
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
            "One thread asks one limiter. How long does a GCRA decision take, in ns, when the time is known already?",
            "gcra",
            "passing",
        )
        .contenders(LIMITS)
        // A hundred quads of blocks: enough for tens of percents.
        .slice(0.4)
        .over(asked, |plan, ask| cost::solo(plan, ask.id(), LIMITS.map(ask.value)))
        .bench("passing/{case}", LIMITS, |_, limit| cost::timed(&limit.passing()))
        .claim(
            at_most(1.2, ratio(("gcra", "passing"), ("governor", "passing"))),
            "a GCRA decision that passes costs at most 1.2 times governor's",
        )
        .claim(
            at_most(1.2, ratio(("token_bucket", "passing"), ("governor", "passing"))),
            "a token bucket's, too",
        )
        .claim(
            at_most(0.7, ratio(("gcra", "refused"), ("gcra", "passing"))),
            "refusing is cheaper than passing: at most 0.7 of it",
        )
        .claim(
            at_most(1.3, ratio(("gcra", "clocked"), ("empty", "clocked"))),
            "beside the clock a decision costs next to nothing: at most 1.3 times the clock alone",
        )
        .because(
            "A decision that passes is a load and a compare-exchange on one word; a refusal is the load alone.",
            shown_by(at_most(0.7, ratio(("token_bucket", "refused"), ("token_bucket", "passing")))),
        )
        .because(
            "The exactness of the sliding log is two compare-exchanges and four loads.",
            shown_by(at_least(1.5, ratio(("sliding_log", "passing"), ("gcra", "passing")))),
        )
        .because(
            "The calendar of the fixed window is a division.",
            shown_by(at_least(1.2, ratio(("fixed_window", "refused"), ("gcra", "refused")))),
        )
        .because(
            "All of them are small beside reading a clock. (`clocked`: governor's default clock, the CPU's counter, for all alike.) \
             They are partly hidden behind it: \
             the CPU need not wait for the counter to look at the word. Read the time once \
             per request, hand it on.",
            shown_by(at_most(1.3, ratio(("sliding_log", "clocked"), ("empty", "clocked")))),
        )
}

fn keys() -> Step {
    let limiters = || [&KEY_GOVERNOR, &KEYED_FOLDHASH, &KEY_GOVERNOR_SIPHASH, &KEYED, &KEY_UNLIMITED];
    Step::new("keys", Kind::Single, "op_ns")
        .ask_best("A limit for each of 10,000 keys. Which one decides fastest, on one thread?", "keys_10000")
        .contenders(limiters())
        .slice(0.4)
        .over([count("keys_100", 100), count("keys_10000", 10_000)], move |plan, keys| {
            cost::solo(plan, keys.id(), limiters().map(|l| l.passing(keys.value)))
        })
        .claim(
            at_most(1.0, ratio(("keyed_foldhash", "keys_10000"), ("governor", "keys_10000"))),
            "with 10,000 keys and the same hasher, ours takes no longer than governor",
        )
        .claim(
            at_least(1.1, ratio(("keyed", "keys_10000"), ("keyed_foldhash", "keys_10000"))),
            "std's hasher, which withstands chosen keys, costs something: ours takes at least 1.1 times as long with it",
        )
        .because(
            "governor looks the key up in a DashMap. It counts itself into a shard's reader-writer lock, finds the slot, swaps the word \
             there, and counts itself out: three atomic steps.",
            Evidence::None,
        )
        .because(
            "Ours locks a shard's mutex, changes the plain word, unlocks: two. And a table that never grows needs no way to grow.",
            source("src/structures/flow/keyed.rs"),
        )
        .because(
            "The hash is the rest.",
            shown_by(at_least(1.1, ratio(("governor_siphash", "keys_10000"), ("governor", "keys_10000")))),
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
            "with 10,000 keys, ours decides at least as often as governor's",
        )
        .claim(
            at_least(1.5, ratio(("gcra", "refused"), ("gcra", "passing"))).cores(2),
            "refusing is where a limiter must be fast: GCRA refuses at least 1.5 times as often as it lets through",
        )
        .because(
            "Whoever passes writes the word, so its cache line travels from core to core, and a compare-exchange that lost is tried \
             again.",
            shown_by(at_least(2.0, ratio(("empty", "passing"), ("gcra", "passing"))).cores(2)),
        )
        .because(
            "Whoever is refused only reads, and a line that nobody writes is in every core's cache. So under a flood \
             the limiter scales just when it has to.",
            shown_by(at_least(0.8, ratio(("gcra", "refused"), ("empty", "refused"))).cores(2)),
        )
        .because(
            "Keys spread the writing over many lines.",
            shown_by(at_least(1.1, ratio(("keyed_foldhash", "passing"), ("gcra", "passing"))).cores(2)),
        )
        .because("Every lane reads the clock for each decision.", Evidence::None)
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}
