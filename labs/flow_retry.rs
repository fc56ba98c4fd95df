//! Does a service come back after an overload, if clients retry?
//!
//! Run it: `cargo run --release --bin flow_retry -- --step`
//!
//! All steps run in virtual time. They are simulations that give the same numbers for a seed on any machine. Launches differ in the
//! arrivals.
use underhood::{
    experiments::{
        hedge::{HEDGES, Hedge, hedged},
        retries::{DISCIPLINES, Discipline, NO_RETRY, Outcome, POLICIES, RETRY_3, Story, conserved, retries},
        utilised::{SHAPES, formula_ns, utilised},
    },
    lab::{
        Kind, Lab, Point, Step, at, at_least, at_most, between, pick,
        plan::Plan,
        ratio,
        sample::{Sample, Side},
        share, shown_by, source,
    },
    measure::latency::{quantile, with_known},
};

const AFTER: &str = "answered_after_share";
const OFFERED: &str = "after_offered_ratio";
const WASTED: &str = "after_wasted_share";
const RECOVER: &str = "recover_ns";

pub(crate) fn lab() -> Lab {
    underhood::lab!("flow_retry", "Does a service come back after an overload, if clients retry?")
        .step(storm())
        .step(queue())
        .step(hedge())
        .step(busy())
        .say(
            "storm",
            "A backend is 70 % busy and has a queue of 2,000 places (2 s of work). For 5 s it is ten times slower. Clients give up after \
             100 ms. If they retry up to 3 times without a pause, {value} of the requests in the next 50 s are answered. Without retries \
             it is {against} (simulated).",
            ratio(("retry_3", "load_70"), ("no_retry", "load_70")),
            "the queue is so short that its work is done before clients give up, or the backend can serve every retry. Other seeds move \
             the shares by a percent or so",
        )
        .say(
            "storm",
            "After an overload of 5 s, exponential back-off with jitter does not bring the service back: {value} of the later requests are \
             answered. With retries limited to 10 % of the requests, {against} are answered (simulated, 70 % busy).",
            ratio(("jitter", "load_70"), ("budget", "load_70")),
            "the pauses between retries are longer than the rest of the outage, or clients stop retrying",
        )
        .say(
            "queue",
            "Clients retry 3 times without a pause. If the same backend serves the newest request first, it answers {value} of the \
             requests after the slow time. With the oldest first it answers {against} (simulated, 70 % busy).",
            ratio(("lifo", "retry_3"), ("fifo", "retry_3")),
            "clients wait for as long as it takes: then the oldest request starves",
        )
        .say(
            "hedge",
            "Ten replicas are 30 % busy, and each takes 20 times as long for one in a hundred requests that it serves. If an answer takes \
             longer than the p95, a second replica is asked. This lowers the p99 from {against} to {value} (simulated).",
            ratio(("hedged", "load_30"), ("one", "load_30")),
            "the request itself is slow wherever it goes, or all replicas are slow together. Other seeds move the p99 by about a tenth",
        )
        .say(
            "busy",
            "At 95 % busy, sixteen workers with one queue take {value} on average for a request of 1 ms. One worker takes {against} \
             (simulated).",
            ratio(("workers_16", "u95"), ("random", "u95")),
            "requests come in bursts that are larger than the number of workers",
        )
        .not_said(&[
            "That a real service behaves like this one: there the time for a request depends on the load, clients differ, and retries come \
             in layers.",
            "That these settings are the right ones: only 100 ms, 2,000 places, 20 failures and 10 % were simulated.",
            "That retries are wrong: where the backend has spare capacity they repair single failures. Here nothing fails by itself.",
            "That the service never comes back: it was watched for 50 s after the slow time.",
            "What a breaker for each client does: all clients here share one.",
        ])
        .next(&[
            "At which load is a service with 3 retries safe? (four tries must fit, so below a quarter of what it can do. This is \
             calculated, not simulated)",
            "Three layers retry 3 times each. How many tries reach the database? (4 x 4 x 4 = 64: retry in one layer)",
            "How do you bring the service back by hand? (reject requests until the rest and their retries fit, or empty the queue)",
            "A queue serves the oldest first and drops requests that have timed out. Why does that not help? (the next request is about to \
             time out)",
            "What does the backend tell the client to do? (Retry-After; a deadline that travels with the request)",
            "Where is the knee of the curve of time against load? (there is none: choose the longest time that you accept, and \
             read off the load)",
        ])
        .sources(&[
            "N. Bronson et al., Metastable failures in distributed systems (HotOS 2021)",
            "M. Brooker, Exponential backoff and jitter (AWS Architecture Blog, 2015): full jitter",
            "Google, Site Reliability Engineering (2016), ch. 22: retry budgets of 10 %",
            "RFC 8289 (2018): CoDel; B. Maurer, Fail at scale (ACM Queue 2015): controlled delay, last in first out",
            "J. Dean, L. A. Barroso, The tail at scale (CACM 2013): hedged requests",
            "L. Kleinrock, Queueing Systems, vol. 1 (1975): M/M/1, M/D/1, M/M/m",
        ])
}

/// The load, as a share of what the backend can do, and the story.
type Case = (f64, Story);

fn storm() -> Step {
    const CASES: [Point<Case>; 3] = [
        at("load_40", (0.4, Story::REAL)),
        at("load_70", (0.7, Story::REAL)),
        at("no_cause", (0.7, Story::NO_CAUSE)),
    ];
    let of = |case, value| pick(case, "load_70", value);
    Step::new("storm", Kind::Count, AFTER)
        .ask_number(
            "A backend is 70 % busy. For 5 s it is ten times slower, then it works as before. Clients give up after 100 ms and retry \
             without a pause, up to 3 times. What share of the requests in the following 50 s is answered? (0 to 1)",
            "retry_3",
            "load_70",
        )
        .columns(&[RECOVER, "slow_share", OFFERED, WASTED, "held_share"])
        .each(&POLICIES, CASES, |plan, policy, case| {
            let (load, story) = case.value;
            told(plan, &retries(length(plan, story), load, policy.value, Discipline::Fifo, seed(plan)))
        })
        .claim(
            at_most(0.1, ("retry_3", "load_70")),
            "at 70 % busy, with 3 retries without a pause, at most a tenth of the requests after the slow time are answered",
        )
        .claim(
            at_least(0.8, ("no_retry", "load_70")),
            "at 70 % busy, without retries, at least 80 % of the requests after the slow time are answered",
        )
        .claim(
            at_most(0.1, ("jitter", "load_70")),
            "back-off with jitter does not help: at most a tenth are answered",
        )
        .claim(
            at_least(0.7, ("budget", "load_70")),
            "a budget of 10 % for retries helps: at least 70 % are answered",
        )
        .claim(
            at_least(0.8, ("breaker", "load_70")),
            "a breaker helps, too: at least 80 % are answered",
        )
        .claim(
            at_least(0.5, ("retry_1", "load_40")),
            "at 40 % busy, one retry does no lasting harm: at least half are answered",
        )
        .claim(
            at_most(0.1, ("retry_3", "load_40")),
            "at 40 % busy, three retries do lasting harm: at most a tenth are answered",
        )
        .claim(
            at_least(0.6, ("given_up", "load_70")),
            "if clients stop all retries 10 s after the slow time, the service recovers: at least 60 % are answered",
        )
        .because(
            "The load alone does not explain it. Without the slow time, the same clients at the same load are all served, with retries or \
             without.",
            shown_by(at_least(0.99, ("retry_3", "no_cause"))),
        )
        .because(
            "In the 50 s after the slow time, the same requests cause at least twice as many tries as they would without it.",
            shown_by(at_least(2.0, ratio(of("retry_3", OFFERED), pick("retry_3", "no_cause", OFFERED)))),
        )
        .because(
            "Retries keep the backend overloaded. When they stop, the backend recovers by itself.",
            shown_by(at_least(0.6, ("given_up", "load_70"))),
        )
        .because(
            "While the overload lasts, nearly all work is for clients that have given up.",
            shown_by(at_least(0.9, of("retry_3", WASTED))),
        )
        .because(
            "Back-off and jitter delay the tries but remove none of them. During all of the 50 s the backend is asked for more than it can \
             do.",
            shown_by(at_least(1.5, of("jitter", OFFERED))),
        )
        .because(
            "With a budget the tries stay below what the backend can do.",
            shown_by(at_most(0.95, of("budget", OFFERED))),
        )
        .because(
            "A breaker holds requests back until the backend answers again. So the tries stay below what the backend can do, too.",
            shown_by(at_most(0.95, of("breaker", OFFERED))),
        )
        .because(
            "An overload that keeps itself going after its cause is gone is called a metastable failure.",
            source("N. Bronson et al., Metastable failures in distributed systems (HotOS 2021)"),
        )
        .in_tour()
}

fn seed(plan: &Plan) -> u64 {
    plan.seed ^ (plan.launch as u64) << 32
}

fn length(plan: &Plan, story: Story) -> Story {
    if plan.is_smoke() { Story { after_s: story.after_s / 10, ..story } } else { story }
}

fn told(plan: &Plan, seen: &Outcome) -> Result<Sample, String> {
    conserved(seen)?;
    let part = |count: u64, of: u64| count as f64 / of.max(1) as f64;
    let sample = Sample::default()
        .with(AFTER, seen.after_share)
        .with("slow_share", seen.slow_share)
        .with(OFFERED, seen.after_offered_ratio)
        .with(WASTED, seen.after_wasted_share)
        .with("held_share", part(seen.held_count, seen.asked_count))
        .with("dropped_share", part(seen.dropped_count, seen.tries_count));
    let watched_s = length(plan, Story::REAL).after_s;
    Ok(match seen.recover_s {
        Some(seconds) => sample.with(RECOVER, seconds as f64 * 1e9),
        None => sample
            .bounded(RECOVER, watched_s as f64 * 1e9, Side::AtLeast)
            .seeing("it had not come back when the run ended"),
    })
}

fn queue() -> Step {
    let policies = [at("no_retry", NO_RETRY), at("retry_3", RETRY_3)];
    let of = |case, value| pick(case, "retry_3", value);
    Step::new("queue", Kind::Count, AFTER)
        .ask_best(
            "The same backend is 70 % busy before and after the slow time. Clients retry 3 times without a pause. Which order of service \
             answers most of the requests in the 50 s after the slow time?",
            "retry_3",
        )
        .columns(&[RECOVER, "slow_share", OFFERED, WASTED, "dropped_share"])
        .each(&DISCIPLINES, policies, |plan, discipline, policy| {
            let story = length(plan, Story::REAL);
            told(plan, &retries(story, 0.7, policy.value, discipline.value, seed(plan)))
        })
        .claim(
            at_least(0.9, ("lifo", "retry_3")),
            "with the newest first and 3 retries, at least nine tenths are answered",
        )
        .claim(
            at_least(0.9, ("lifo", "no_retry")),
            "with the newest first and without retries, at least nine tenths are answered, too",
        )
        .claim(
            at_most(0.1, ("fifo", "retry_3")),
            "with the oldest first, at most a tenth are answered",
        )
        .claim(
            at_most(0.5, ("deadline", "retry_3")),
            "dropping requests that have waited longer than the client waits is not enough: at most half are answered",
        )
        .claim(
            at_least(0.9, ("half", "retry_3")),
            "dropping requests that have waited half as long is enough: at least nine tenths are answered",
        )
        .claim(
            at_most(0.5, ("codel", "retry_3")),
            "CoDel (controlled delay) as networks use it answers at most half",
        )
        .claim(
            at_least(0.9, ("controlled", "retry_3")),
            "controlled delay as services use it, which is CoDel for requests, answers at least nine tenths",
        )
        .because(
            "In a full queue, the client of the oldest request has already given up. Serving that request is wasted work.",
            shown_by(at_least(0.9, of("fifo", WASTED))),
        )
        .because(
            "A server that takes the newest request serves clients that still wait. It works on the old requests only when there are no \
             newer ones.",
            shown_by(at_most(0.5, of("lifo", WASTED))),
        )
        .because(
            "A queue that drops only timed-out requests then serves one that is about to time out. It must drop requests earlier, to leave \
             enough time for the work itself.",
            shown_by(at_least(1.1, ratio(of("deadline", WASTED), of("half", WASTED)))),
        )
        .because(
            "CoDel drops faster and faster: its rate grows with the square root of the number of drops. This suits senders that slow down. \
             These clients do not slow down.",
            source("RFC 8289, section 5.4"),
        )
}

fn hedge() -> Step {
    let loads = [share("load_30", 0.3), share("load_90", 0.9)];
    let added = |case, param| pick(case, param, "added_share");
    Step::new("hedge", Kind::Count, "took_p99_ns")
        .ask_number(
            "Ten replicas are 30 % busy. They take 1 ms for a request, and 20 ms for one in a hundred. If there is no answer within the \
             p95, a second replica is asked. How many ns is the p99 then?",
            "hedged",
            "load_30",
        )
        .columns(&["took_p50_ns", "added_share", "used_share", "cancelled_share"])
        .each(&HEDGES, loads, |plan, kind, load| {
            let requests = if plan.is_smoke() { 4_000 } else { 200_000 };
            let (load, seed) = (load.value, seed(plan));
            // A run of other requests, without hedging, tells when a request counts as late.
            let calm = hedged(Hedge::Never, load, requests, 0, seed ^ 0x5eed);
            let late_ns = calm.took.value_at_quantile(0.95);
            let seen = hedged(kind.value, load, requests, late_ns, seed);
            let p99 = quantile(&seen.took, 0.99).ok_or("too few requests for a 99th percentile")?;
            let part = |count: u64| count as f64 / seen.asked_count as f64;
            let sample = Sample::default()
                .with("took_p99_ns", p99)
                .with("added_share", part(seen.served_count) - 1.0)
                .with("cancelled_share", part(seen.cancelled_count))
                .with("used_share", seen.used_share);
            Ok(with_known(sample, &[("took_p50_ns", quantile(&seen.took, 0.5))]))
        })
        .claim(
            at_most(0.6, ratio(("hedged", "load_30"), ("one", "load_30"))),
            "at 30 % busy, a second request after the p95 lowers the p99 to at most 0.6 times its value",
        )
        .claim(
            at_most(0.1, added("hedged", "load_30")),
            "at 30 % busy, the second requests add at most a tenth to the work",
        )
        .claim(
            at_most(1.0, ratio(("hedged", "load_30"), ("twice", "load_30"))),
            "at 30 % busy, the p99 with a second request after the p95 is no worse than with two requests at once",
        )
        .claim(
            at_least(3.0, ratio(("hedged", "load_90"), ("one", "load_90"))),
            "at 90 % busy the same rule makes the p99 at least 3 times as long",
        )
        .claim(
            at_least(3.0, ratio(("twice", "load_90"), ("one", "load_90"))),
            "at 90 % busy, asking two replicas at once makes the p99 at least 3 times as long (the longer the run, the longer the p99)",
        )
        .because(
            "A second replica helps if the first one is unlucky: it takes long for this request, or for one before it in the queue. At the \
             p99 most requests are late for that reason.",
            shown_by(at_most(0.6, ratio(("twice", "load_30"), ("one", "load_30")))),
        )
        .because(
            "Only one request in twenty is later than the p95, so the price is small.",
            shown_by(at_most(0.25, ratio(added("hedged", "load_30"), added("twice", "load_30")))),
        )
        .because(
            "The second requests go to the same replicas. If the replicas are busy nearly all the time, more requests become late, and \
             these are sent twice as well. This is a retry storm of its own.",
            shown_by(at_least(0.3, added("hedged", "load_90"))),
        )
        .because(
            "A budget of one second request for every ten requests limits the harm, but does not end it. At 90 % busy the p99 stays above \
             that of a single request.",
            shown_by(at_most(0.2, ratio(("hedged_budget", "load_90"), ("hedged", "load_90")))),
        )
        .because(
            "It helps to cancel the other copy of the request while that copy still waits in a queue. Then almost no work is added.",
            shown_by(at_most(1.0, ratio(("hedged_cancel", "load_90"), ("one", "load_90")))),
        )
}

fn busy() -> Step {
    let shares =
        [share("u50", 0.5), share("u80", 0.8), share("u90", 0.9), share("u95", 0.95), share("u99", 0.99)];
    let error = |case, param| pick(case, param, "formula_ratio");
    Step::new("busy", Kind::Count, "mean_ns")
        .ask_number(
            "One worker takes 1 ms for a request on average. Requests come at random and keep the worker busy 95 % of the time. How many \
             ns does a request take on average, including its wait?",
            "random",
            "u95",
        )
        .columns(&["took_p99_ns", "formula_ns", "formula_ratio", "used_share"])
        .each(&SHAPES, shares, |plan, shape, busy| {
            let requests = if plan.is_smoke() { 20_000 } else { 1_000_000 };
            let seen = utilised(shape.value, busy.value, requests, seed(plan));
            let formula = formula_ns(busy.value);
            let sample = Sample::default()
                .with("mean_ns", seen.mean_ns)
                .with("formula_ns", formula)
                .with("formula_ratio", seen.mean_ns / formula)
                .with("used_share", seen.used_share);
            Ok(with_known(sample, &[("took_p99_ns", quantile(&seen.took, 0.99))]))
        })
        .claim(
            at_most(1.0, ratio(("workers_16", "u90"), ("random", "u50"))),
            "16 workers with one queue take no longer at 90 % busy than one worker at 50 %",
        )
        .claim(
            at_most(0.2, ratio(("workers_16", "u95"), ("random", "u95"))),
            "at 95 % busy, 16 workers take at most a fifth of the time that one worker takes",
        )
        .claim(
            at_least(3.0, error("bursts", "u80")),
            "if requests come ten at a time, the time at 80 % busy is at least three times what the M/M/1 formula says",
        )
        .claim(
            at_most(0.7, error("constant", "u95")),
            "if all requests take the same time, the time at 95 % busy is at most 0.7 of what the M/M/1 formula says",
        )
        .because(
            "For random arrivals and random service times (M/M/1), the formula is service time / (1 - busy share). The simulation agrees \
             with it.",
            shown_by(between(0.8, 1.25, error("random", "u90"))),
        )
        .because(
            "Requests wait because of chance: several come at once, or one takes long. If all take the same time, half of the wait is \
             gone.",
            shown_by(between(0.4, 0.7, ratio(("constant", "u95"), ("random", "u95")))),
        )
        .because(
            "With several workers, a long request holds up one worker and not the whole queue.",
            shown_by(at_most(0.2, ratio(("workers_16", "u95"), ("random", "u95")))),
        )
        .because(
            "At 99 % busy, a long queue takes tens of thousands of requests to go away. A run of a million requests is short for that. So \
             the formula and the run may differ by a third.",
            shown_by(between(0.5, 2.0, error("random", "u99"))),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}
