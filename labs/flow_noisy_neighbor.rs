//! One of 10,000 tenants misbehaves: what do the others notice?
//!
//! Run it: `cargo run --release --bin flow_noisy_neighbor -- --step`
//!
//! The first step runs in virtual time: it is a simulation of one server with a service time of 50 us, exact for its seed, the same on any
//! machine. The second measures what the front doors cost here.
use underhood::{
    experiments::tenants::{Entrance, FAIR_QUEUE, GLOBAL_LIMIT, Load, SHARED_QUEUE, TENANT_LIMIT},
    lab::{
        Evidence, Kind, Lab, ONCE, Step, at, at_least, at_most, between, pick, ratio, sample::Sample,
        shown_by, source,
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
            "At a million requests a minute, one tenant that asks for all the server can do makes the others wait for the whole queue of \
             one second if it is shared, and {against} of their requests find it full; in a fair queue the p99 of those served is \
             {value} (simulated).",
            ratio(("fair_queue", "one_noisy"), pick("shared_queue", "one_noisy", SHED)),
            "tenants can take many names, or the time goes into something that no queue stands before",
        )
        .say(
            "others",
            "A limit on the sum protects the server and not the tenants: it refuses {value} of the requests of those who behave \
             (simulated).",
            pick("global_limit", "one_noisy", SHED),
            "the limit is far above what the server can do: then the queue refuses instead, a second later",
        )
        .say(
            "cost",
            "The fair queue costs {value} a request here, the shared one {against}: {ratio}.",
            ratio("fair_queue", "shared_queue"),
            "several threads dispatch: both then need a lock, and its cost hides the difference",
        )
        .not_said(&[
        "That a second was measured: it is the shared queue's 20,000 places times 50 us, both chosen here. A shorter queue makes them wait less and \
         refuses more.",
        "What became of those who were refused: every percentile is of the requests that were served.",
        "That a real service behaves like this one: its service time varies, its arrivals come in bursts, its clients retry.",
        "That 400 a minute or lines of 4 are the right numbers: they are what was simulated.",
        "That fairness by tenant is fairness by work: here every request costs the same.",
    ])
        .next(&[
        "What if all tenants double at once? (the limits of each add up to four times the server: see the last column)",
        "How do you set a tenant's limit when most use a tenth of it? (sell the sum, hold a reserve, shed by priority)",
        "Where do you keep 10 million tenants' state? (idle ones need none: see the keyed limiter)",
        "How do several servers share one tenant's limit? (split it, or count centrally and be late)",
        "What do clients do when refused? (retry: so say when, and let them back off with jitter)",
        "Whose requests do you count: those that came, or what they cost you?",
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
            "A million requests a minute from 10,000 tenants, on a server that could do a fifth more. One tenant asks for 20,000 a second \
             on top. In one shared queue of 20,000 places, how long does the 99th percentile of the others' requests take, in ns?",
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
            "in a fair queue the others' p99 is at most a hundredth",
        )
        .claim(
            at_least(0.3, pick("global_limit", "one_noisy", SHED)),
            "a limit on the sum refuses at least 30 % of the others' requests",
        )
        .claim(
            at_most(0.001, pick("tenant_limit", "one_noisy", SHED)),
            "a limit for each tenant refuses at most 0.1 % of them",
        )
        .claim(
            at_least(
                100.0,
                ratio(
                    pick("fair_queue", "one_noisy", "noisy_per_s"),
                    pick("tenant_limit", "one_noisy", "noisy_per_s"),
                ),
            ),
            "it leaves idle what the fair queue gives away: the noisy tenant gets at least 100 times as much there",
        )
        .claim(
            between(0.9, 1.1, ratio(("tenant_limit", "all_double"), ("shared_queue", "all_double"))),
            "if all double at once, a limit for each tenant is no better than none",
        )
        .because(
            "A full queue of 20,000 requests is a second of work. Whoever comes in waits for all of it, whoever filled it.",
            shown_by(at_least(0.9e9, ("shared_queue", "one_noisy"))),
        )
        .because(
            "A limit on the sum keeps the queue short by refusing at random. More than half of what comes is the noisy tenant's, and \
             nearly half of what is refused is not.",
            shown_by(at_least(5_000.0, pick("global_limit", "one_noisy", "noisy_per_s"))),
        )
        .because(
            "A limit for each tenant refuses the right one, but must be set without knowing the others: what they leave idle is lost.",
            shown_by(at_most(0.9, pick("tenant_limit", "one_noisy", "used_share"))),
        )
        .because(
            "If all double, it never says no.",
            shown_by(between(
                0.99,
                1.01,
                ratio(pick("tenant_limit", "all_double", SHED), pick("shared_queue", "all_double", SHED)),
            )),
        )
        .because(
            "A fair queue knows no rate at all: the noisy tenant waits behind itself and gets exactly what is left over.",
            shown_by(at_least(0.99, pick("fair_queue", "one_noisy", "used_share"))),
        )
        .because(
            "It orders, it does not limit: with everybody too busy it needs a bound on the sum beside it. See \
             src/structures/flow/fair_queue.rs and src/experiments/tenants.rs.",
            shown_by(at_least(1.0e9, ("fair_queue", "all_double"))),
        )
}

fn cost() -> Step {
    Step::new("cost", Kind::Single, "op_ns")
        .ask_number(
            "A request of a random tenant out of 10,000 passes the front door and is taken. How many ns does that cost with a fair queue?",
            "fair_queue",
            "",
        )
        .contenders(FRONTS)
        .over(ONCE, |plan, p| cost::solo(plan, p.id(), FRONTS.iter().map(|front| front.through())))
        .bench("through/{case}", FRONTS, |_, front| cost::timed(&front.through()))
        .claim(
            at_most(10.0, ratio("fair_queue", "shared_queue")),
            "a fair queue costs at most 10 times the shared one",
        )
        .claim(
            at_most(2.0, ratio("fair_queue", "tenant_limit")),
            "and at most twice a limit for each tenant, which hashes, locks and searches",
        )
        .because(
            "The first two never touch anything of a tenant's.",
            shown_by(at_most(2.0, ratio("global_limit", "shared_queue"))),
        )
        .because(
            "The keyed limiter touches one place, but hashes its key and takes a lock. It may be called by many threads and for \
             keys that nobody listed.",
            source("src/structures/flow/keyed.rs"),
        )
        .because(
            "The fair queue is told a number and belongs to one thread. But it goes to two places: the tenant, and its line, which is an \
             allocation of its own.",
            source("src/structures/flow/fair_queue.rs; src/experiments/tenants.rs, `through`"),
        )
        .because(
            "10,000 tenants fit into a second-level cache. Ten million would not, and then the misses are the cost.",
            Evidence::None,
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}
