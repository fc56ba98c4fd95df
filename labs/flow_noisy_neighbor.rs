//! One of 10,000 tenants misbehaves: what do the others notice?
//!
//! Run it: `cargo run --release --bin flow_noisy_neighbor -- --step`
//!
//! The first step runs in virtual time. It simulates one server with a service time of 50 us and gives the same numbers for a seed on
//! any machine. The second step measures what each way of letting requests in costs here.
use underhood::{
    experiments::tenants::{Entrance, FAIR_QUEUE, GLOBAL_LIMIT, Load, SHARED_QUEUE, TENANT_LIMIT},
    lab::{
        Kind, Lab, ONCE, Step, at, at_least, at_most, between, pick, ratio, sample::Sample, shown_by, source,
    },
    measure::cost,
};

const P99: &str = "others_p99_ns";
const SHED: &str = "others_shed_share";
const FRONTS: &[&Entrance] = &[&SHARED_QUEUE, &GLOBAL_LIMIT, &TENANT_LIMIT, &FAIR_QUEUE];

pub(crate) fn lab() -> Lab {
    underhood::lab!("flow_noisy_neighbor", "One of 10,000 tenants misbehaves: what do the others notice?")
        .step(others())
        .step(cost())
        .say(
            "others",
            "A server gets a million requests a minute. Then one tenant alone asks for as much as the whole server can do. With one shared \
             queue that holds a second of work, {against} of the others' requests are rejected. With a fair queue, the p99 of those that \
             are served is {value} (simulated).",
            ratio(("fair_queue", "one_noisy"), pick("shared_queue", "one_noisy", SHED)),
            "a tenant can use many names, or the bottleneck is a resource that has no queue",
        )
        .say(
            "others",
            "A limit on the sum of all requests protects the server and not the tenants. It refuses {value} of the requests of the tenants \
             that behave (simulated).",
            pick("global_limit", "one_noisy", SHED),
            "the limit is far above what the server can do: then the full queue refuses requests instead, a second later",
        )
        .say(
            "cost",
            "The fair queue costs {value} per request here, the shared queue {against}: {ratio}.",
            ratio("fair_queue", "shared_queue"),
            "several threads take requests from the queue: both queues then need a lock, and its cost hides the difference",
        )
        .not_said(&[
        "That the wait of one second is a finding: it is the shared queue's 20,000 places times 50 us, and both were chosen here. In a \
         shorter queue requests wait less, and more are refused.",
        "What happened to requests that were refused: every percentile is of the requests that were served.",
        "That a real service behaves like this one: its service time varies, its arrivals come in bursts, its clients retry.",
        "That limits of 400 requests a minute, or queues of 4 requests for each tenant, are the right numbers: they are what was \
         simulated.",
        "That fairness by tenant is fairness by work: here every request costs the same.",
    ])
        .next(&[
        "What if all tenants double their load at once? (the limits of all tenants add up to more than three times what the server can \
         do: see \"all at double load\")",
        "How do you set a tenant's limit when most use a tenth of it? (sell more than the server can do, hold a reserve, refuse by \
         priority)",
        "Where do you keep the state of 10 million tenants? (idle tenants need none: see the limit per key in flow_rate_limit)",
        "How do several servers share one tenant's limit? (split it, or count in one place and react late)",
        "What do clients do when they are refused? (they retry: so tell them when, and let them back off with jitter)",
        "What do you count for each tenant: the requests that came, or what they cost you?",
    ])
        .sources(&[
        "M. Shreedhar, G. Varghese, \"Efficient Fair Queuing using Deficit Round Robin\" (SIGCOMM 1995)",
        "A. Demers, S. Keshav, S. Shenker, \"Analysis and Simulation of a Fair Queueing Algorithm\" (SIGCOMM 1989)",
        "L. Kleinrock, Queueing Systems, vol. 1 (1975): a Poisson stream before a server of constant time (M/D/1)",
    ])
}

fn others() -> Step {
    let loads = [at("calm", Load::Calm), at("one_noisy", Load::OneNoisy), at("all_double", Load::AllDouble)];
    Step::new("others", Kind::Count, P99)
        .ask_number(
            "10,000 tenants send a million requests a minute to a server that could do a fifth more. One tenant sends 20,000 a \
             second on top. All wait in one shared queue of 20,000 places. How many ns is the 99th percentile of the time until \
             the others get their answer?",
            "shared_queue",
            "one_noisy",
        )
        .columns(&[SHED, "noisy_per_s", "used_share", "tenant_bytes"])
        .each(FRONTS, loads, |plan, front, load| {
            let seconds = if plan.is_smoke() { 0.2 } else { 20.0 };
            // Other arrivals in each launch: the interval is over those.
            let seed = plan.seed ^ (plan.launch as u64) << 32;
            let o = front.serve(load.value, seconds, seed);
            let o = o.ok_or("too few requests for a 99th percentile")?;
            Ok(Sample::default()
                .with(P99, o.others_p99_ns)
                .with(SHED, o.others_shed_share)
                .with("noisy_per_s", o.noisy_per_s)
                .with("used_share", o.used_share)
                .with("tenant_bytes", o.tenant_bytes))
        })
        .claim(
            at_most(0.01, ratio(("fair_queue", "one_noisy"), ("shared_queue", "one_noisy"))),
            "in a fair queue the others' p99 is at most a hundredth of that in the shared queue",
        )
        .claim(
            at_least(0.3, pick("global_limit", "one_noisy", SHED)),
            "a limit on the sum refuses at least 30 % of the others' requests",
        )
        .claim(
            at_most(0.001, pick("tenant_limit", "one_noisy", SHED)),
            "a limit for each tenant refuses at most 0.1 % of the others' requests",
        )
        .claim(
            at_least(
                100.0,
                ratio(
                    pick("fair_queue", "one_noisy", "noisy_per_s"),
                    pick("tenant_limit", "one_noisy", "noisy_per_s"),
                ),
            ),
            "a limit for each tenant leaves capacity idle: with the fair queue the noisy tenant gets at least 100 times as much",
        )
        .claim(
            between(0.9, 1.1, ratio(("tenant_limit", "all_double"), ("shared_queue", "all_double"))),
            "if all tenants double their load at once, a limit for each tenant is no better than none",
        )
        .because(
            "A full queue of 20,000 requests is a second of work. Every request that comes in waits for all of it, no matter who filled \
             it.",
            shown_by(at_least(0.9e9, ("shared_queue", "one_noisy"))),
        )
        .because(
            "A limit on the sum keeps the queue short by refusing requests at random. More than half of the requests are the noisy \
             tenant's, but nearly half of the refused ones are not.",
            shown_by(at_least(5_000.0, pick("global_limit", "one_noisy", "noisy_per_s"))),
        )
        .because(
            "A limit for each tenant refuses the right tenant. But it must be set without knowing what the others do, so the capacity that \
             they leave idle is lost.",
            shown_by(at_most(0.9, pick("tenant_limit", "one_noisy", "used_share"))),
        )
        .because(
            "If all tenants double their load, a limit for each tenant refuses nothing.",
            shown_by(between(
                0.99,
                1.01,
                ratio(pick("tenant_limit", "all_double", SHED), pick("shared_queue", "all_double", SHED)),
            )),
        )
        .because(
            "A fair queue has no rate limit at all. The noisy tenant waits behind its own requests and gets exactly the capacity that is \
             left over.",
            shown_by(at_least(0.99, pick("fair_queue", "one_noisy", "used_share"))),
        )
        .because(
            "A fair queue decides the order, and limits only how many requests of a tenant wait: 4 here. If all tenants ask for too much, \
             their places fill up, and those that are served wait long. So it needs a limit on the sum as well. See \
             src/structures/flow/fair_queue.rs and src/experiments/tenants.rs.",
            shown_by(at_least(1.0e9, ("fair_queue", "all_double"))),
        )
}

fn cost() -> Step {
    Step::new("cost", Kind::Single, "op_ns")
        .ask_number(
            "A request of a random tenant, one of 10,000, is let in and then taken by the server. How many ns does that cost with a fair \
             queue?",
            "fair_queue",
            "",
        )
        .contenders(FRONTS)
        .over(ONCE, |plan, p| cost::solo(plan, p.id(), FRONTS.iter().map(|front| front.through())))
        .bench("through/{case}", FRONTS, |_, front| cost::timed(&front.through()))
        .claim(
            at_most(10.0, ratio("fair_queue", "shared_queue")),
            "a fair queue costs at most 10 times as much as the shared queue",
        )
        .claim(
            at_most(2.0, ratio("fair_queue", "tenant_limit")),
            "a fair queue costs at most twice as much as a limit for each tenant, which hashes, locks and searches",
        )
        .because(
            "One queue for all, and the limit on the sum, keep no state for a single tenant.",
            shown_by(at_most(2.0, ratio("global_limit", "shared_queue"))),
        )
        .because(
            "The limit for each tenant touches one place in memory, but it hashes the key and takes a lock. It may be called by many \
             threads, and for keys that are not known in advance.",
            source("src/structures/flow/keyed.rs"),
        )
        .because(
            "The fair queue gets the tenant's number and belongs to one thread. But it touches two places in memory: the tenant's state, \
             and the tenant's queue, which is a separate allocation.",
            source("src/structures/flow/fair_queue.rs; src/experiments/tenants.rs, `through`"),
        )
        .because(
            "In the fair queue, 10,000 tenants take about 1.1 MB. A second-level cache of 512 KiB, as on the measured machine, holds less \
             than half of that.",
            source("step others, column tenant_bytes"),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}
