//! One of 10,000 tenants misbehaves: what do the others notice?
//!
//! Run it: `cargo run --release --bin flow_noisy_neighbor -- --step`
//!
//! The first step runs in virtual time: it is a simulation of one server with a service time of 50 us, exact for its seed, the same on any
//! machine. The second measures what the front doors cost here.
use underhood::{
    contenders::gate::{Check, checked},
    experiments::tenants::{Fair, Front, GlobalLimit, Load, SharedQueue, TenantLimit, check, serve, through},
    lab::{
        Bench, Claim,
        Expect::{self, *},
        Kind, Lab, Launch, Pick, Predict, Say, Step, pick,
        plan::Plan,
        sample::Sample,
    },
    measure::cost::{self, Solo},
};

pub(crate) static LAB: Lab = Lab {
    stem: "flow_noisy_neighbor",
    question: "One of 10,000 tenants misbehaves: what do the others notice?",
    steps: &[OTHERS, COST],
    says: &[
        Say {
            step: "others",
            text: "At a million requests a minute, one tenant that asks for all the server can do makes the others wait for the whole queue of one \
                   second if it is shared, and {against} of their requests find it full; in a fair queue the p99 of those served is {value} \
                   (simulated).",
            of: FAIR,
            against: Some(pick("shared_queue", "one_noisy", SHED)),
            not_true_when: "tenants can take many names, or the time goes into something that no queue stands before",
        },
        Say {
            step: "others",
            text: "A limit on the sum protects the server and not the tenants: it refuses {value} of the requests of those who behave \
                   (simulated).",
            of: GLOBAL_SHED,
            against: None,
            not_true_when: "the limit is far above what the server can do: then the queue refuses instead, a second later",
        },
        Say {
            step: "cost",
            text: "The fair queue costs {value} a request here, the shared one {against}: {ratio}.",
            of: pick("fair_queue", "", "op_ns"),
            against: Some(pick("shared_queue", "", "op_ns")),
            not_true_when: "several threads dispatch: both then need a lock, and its cost hides the difference",
        },
    ],
    not_said: &[
        "That a second was measured: it is the shared queue's 20,000 places times 50 us, both chosen here. A shorter queue makes them wait less and \
         refuses more.",
        "What became of those who were refused: every percentile is of the requests that were served.",
        "That a real service behaves like this one: its service time varies, its arrivals come in bursts, its clients retry.",
        "That 400 a minute or lines of 4 are the right numbers: they are what was simulated.",
        "That fairness by tenant is fairness by work: here every request costs the same.",
    ],
    next: &[
        "What if all tenants double at once? (the limits of each add up to four times the server: see the last column)",
        "How do you set a tenant's limit when most use a tenth of it? (sell the sum, hold a reserve, shed by priority)",
        "Where do you keep 10 million tenants' state? (idle ones need none: see the keyed limiter)",
        "How do several servers share one tenant's limit? (split it, or count centrally and be late)",
        "What do clients do when refused? (retry: so say when, and let them back off with jitter)",
        "Whose requests do you count: those that came, or what they cost you?",
    ],
    sources: &[
        "M. Shreedhar, G. Varghese, \"Efficient Fair Queuing using Deficit Round Robin\" (SIGCOMM 1995)",
        "A. Demers, S. Keshav, S. Shenker, \"Analysis and Simulation of a Fair Queueing Algorithm\" (SIGCOMM 1989)",
        "L. Kleinrock, Queueing Systems, vol. 1 (1975): a Poisson stream before a server of constant time (M/D/1)",
    ],
    benches,
};

const P99: &str = "others_p99_ns";
const SHED: &str = "others_shed_share";
const SHARED: Pick = pick("shared_queue", "one_noisy", P99);
const FAIR: Pick = pick("fair_queue", "one_noisy", P99);
const GLOBAL_SHED: Pick = pick("global_limit", "one_noisy", SHED);

const fn claim(text: &'static str, of: Pick, against: Option<Pick>, expect: Expect) -> Claim {
    Claim { text, of, against, expect, cores: 1 }
}

const OTHERS: Step = Step {
    name: "others",
    ask: "A million requests a minute from 10,000 tenants, on a server that could do a fifth more. One tenant asks for 20,000 a second \
          on top. In one shared queue of 20,000 places, how long does the 99th percentile of the others' requests take, in ns?",
    predict: Predict::Number { case: "shared_queue", param: "one_noisy" },
    kind: Kind::Count,
    cases: &["shared_queue", "global_limit", "tenant_limit", "fair_queue"],
    params: &["calm", "one_noisy", "all_double"],
    launch: Launch::Together,
    measure: others,
    headline: P99,
    columns: &[SHED, "noisy_per_s", "used_share", "tenant_bytes"],
    claims: &[
        claim("in a fair queue the others' p99 is at most a hundredth", FAIR, Some(SHARED), AtMost(0.01)),
        claim(
            "a limit on the sum refuses at least 30 % of the others' requests",
            GLOBAL_SHED,
            None,
            AtLeast(0.3),
        ),
        claim(
            "a limit for each tenant refuses at most 0.1 % of them",
            pick("tenant_limit", "one_noisy", SHED),
            None,
            AtMost(0.001),
        ),
        claim(
            "it leaves idle what the fair queue gives away: the noisy tenant gets at least 100 times as much there",
            pick("fair_queue", "one_noisy", "noisy_per_s"),
            Some(pick("tenant_limit", "one_noisy", "noisy_per_s")),
            AtLeast(100.0),
        ),
        claim(
            "if all double at once, a limit for each tenant is no better than none",
            pick("tenant_limit", "all_double", P99),
            Some(pick("shared_queue", "all_double", P99)),
            Between(0.9, 1.1),
        ),
    ],
    because: "A full queue of 20,000 requests is a second of work, and who comes in waits for all of it, whoever filled it. A limit on the sum \
              keeps the queue short by refusing at random: more than half of what comes is the noisy tenant's, and nearly half of \
              what is refused is not. A limit for each tenant refuses the right one, but must be set without knowing the others: what \
              they leave idle is lost, and if all double it never says no. A fair queue knows no rate at all: the noisy tenant waits behind \
              itself and gets exactly what is left over. It orders, it does not limit: with everybody too busy it needs a bound on the sum \
              beside it. Open src/structures/flow/fair_queue.rs and src/experiments/tenants.rs.",
    tour: false,
};

const COST: Step = Step {
    name: "cost",
    ask: "A request of a random tenant out of 10,000 passes the front door and is taken. How many ns does that cost with a fair queue?",
    predict: Predict::Number { case: "fair_queue", param: "" },
    kind: Kind::Single,
    cases: &["shared_queue", "global_limit", "tenant_limit", "fair_queue"],
    params: &[""],
    launch: Launch::Together,
    measure: cost,
    headline: "op_ns",
    columns: &[],
    claims: &[
        claim(
            "a fair queue costs at most 10 times the shared one",
            pick("fair_queue", "", "op_ns"),
            Some(pick("shared_queue", "", "op_ns")),
            AtMost(10.0),
        ),
        claim(
            "and at most twice a limit for each tenant, which hashes, locks and searches",
            pick("fair_queue", "", "op_ns"),
            Some(pick("tenant_limit", "", "op_ns")),
            AtMost(2.0),
        ),
    ],
    because: "The first two never touch anything of a tenant's. The keyed limiter touches one place, but hashes its key and takes a lock, because \
              it may be called by many threads and for keys that nobody listed. The fair queue is told a number and belongs to one \
              thread, but goes to two places: the tenant, and its line, which is an allocation of its own. 10,000 tenants fit into a \
              second-level cache; ten million would not, and then the misses are the cost. Open src/experiments/tenants.rs, `through`.",
    tour: false,
};

const CHECKS: &[Check] = &[check::<SharedQueue>, check::<GlobalLimit>, check::<TenantLimit>, check::<Fair>];

fn others(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let seconds = if plan.is_smoke() { 0.2 } else { 20.0 };
    let seed = plan.seed ^ (plan.launch as u64) << 32; // other arrivals in each launch: the interval is over those
    let one = |case: &str, param: &str| {
        let load = match param {
            "calm" => Load::Calm,
            "one_noisy" => Load::OneNoisy,
            _ => Load::AllDouble,
        };
        let outcome = match case {
            "shared_queue" => serve::<SharedQueue>(load, seconds, seed),
            "global_limit" => serve::<GlobalLimit>(load, seconds, seed),
            "tenant_limit" => serve::<TenantLimit>(load, seconds, seed),
            _ => serve::<Fair>(load, seconds, seed),
        };
        match outcome {
            Some(o) => Sample::new(case, param)
                .with(P99, o.others_p99_ns)
                .with(SHED, o.others_shed_share)
                .with("noisy_per_s", o.noisy_per_s)
                .with("used_share", o.used_share)
                .with("tenant_bytes", o.tenant_bytes),
            None => Sample::unmeasured(case, param, "too few requests for a 99th percentile"),
        }
    };
    let pairs = || params.iter().flat_map(|p| cases.iter().map(move |c| (*c, *p)));
    checked(CHECKS, cases, params, || pairs().map(|(c, p)| one(c, p)).collect())
}

fn arms() -> [Solo; 4] {
    [
        Solo { case: SharedQueue::CASE, make: through::<SharedQueue> },
        Solo { case: GlobalLimit::CASE, make: through::<GlobalLimit> },
        Solo { case: TenantLimit::CASE, make: through::<TenantLimit> },
        Solo { case: Fair::CASE, make: through::<Fair> },
    ]
}

fn cost(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    checked(CHECKS, cases, params, || params.iter().flat_map(|p| cost::solo(plan, p, &arms())).collect())
}

fn benches(_: &Plan) -> Vec<Bench> {
    let bench = |arm: Solo| Bench {
        id: format!("through/{}", arm.case),
        make: Box::new(move || cost::timed(arm.make)),
    };
    arms().into_iter().map(bench).collect()
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(&LAB)
}
