//! How would you keep the presence of 100 million users?
//!
//! Run it: `cargo run --release --bin flow_presence -- --step`
//!
//! One structure in each child process: what it weighs is the resident memory that it added, and a heap that another one left
//! behind would hide that.
use underhood::{
    contenders::map::{OneLock, Sharded},
    experiments::presence::{self, Papaya, Presence, Slab},
    lab::{
        Bench, Claim,
        Expect::{self, *},
        Kind, Lab, Launch, Pick, Predict, Say, Step, pick,
        plan::{Mode, Plan},
        sample::{Sample, each},
    },
    measure::throughput,
};

const ALL: f64 = 100e6;
/// What a structure may weigh: all of 4 million users fit, of 100 million the slab only.
const BOUND_BYTES: u64 = 1 << 30;

pub(crate) static LAB: Lab = Lab {
    stem: "flow_presence",
    question: "How would you keep the presence of 100 million users?",
    steps: &[WEIGHT, BEATS],
    says: &[
        Say {
            step: "weight",
            text: "Kept as 8 bytes each in one slab, 100 million users take {value}; in a hash map filled like the one measured they would \
                   take {against}.",
            of: pick("slab", "100M", ALL_BYTES),
            against: Some(pick("one_lock", "1M", ALL_BYTES)),
            not_true_when: "users have no dense numbers: the directory that hands them out weighs as much as a map, unless the \
                            connection remembers the number",
        },
        Say {
            step: "weight",
            text: "From 900,000 to 1,000,000 users a hash map grows from {against} to {value} a user: {ratio}.",
            of: pick("one_lock", "1M", "user_bytes"),
            against: Some(pick("one_lock", "900k", "user_bytes")),
            not_true_when: "the map is made with its final capacity, or has another growth rule",
        },
        Say {
            step: "beats",
            text: "With {threads} threads and 4 million users, a slab of atomics takes {value}; a map behind one lock takes {against}: \
                   {ratio}.",
            of: pick("slab", "4M", "ops_per_s"),
            against: Some(pick("one_lock", "4M", "ops_per_s")),
            not_true_when: "a beat comes over a socket of its own: then the system call that reads it is the larger cost",
        },
    ],
    not_said: &[
        "That one machine serves 100 million users: their connections, at some KiB of kernel memory each, are hundreds of GiB.",
        "That the maps take 100 million: their weight is extrapolated from what was measured, as full as that table was.",
        "Anything of lookups, of users that come and go, or of time-outs: the beats are for known users only.",
        "Which map is the best in general: 4-byte keys, 8-byte values, std's hasher.",
    ],
    next: &[
        "100 million users beat every 30 s: how many a second is that, and what share of this machine? (3.3 million)",
        "How do you find who went offline without walking 100 million numbers? (a wheel of buckets by second, or a walk in slices)",
        "How do you tell the friends? (that is the expensive part: each change goes to all who watch; push to those online, pull else)",
        "How do you split it over machines? (by user; a beat needs one machine, a friends list asks many)",
        "What does the machine do when one table doubles? (see collections_worst: one insert moves all entries)",
    ],
    sources: &[
        "hashbrown, capacity_to_buckets: a power of two of buckets, at most 7/8 full",
        "papaya 0.2: each entry is a node of its own; a put allocates a new one and retires the old one",
    ],
    benches,
};

const ALL_BYTES: &str = "hundred_million_bytes";

const fn claim(text: &'static str, of: Pick, against: Pick, expect: Expect) -> Claim {
    Claim { text, of, against: Some(against), expect, cores: 1 }
}

const WEIGHT: Step = Step {
    name: "weight",
    ask: "A user's state is one number of 8 bytes, under a key of 4. How many bytes of memory does a user take in a std HashMap of one \
          million?",
    predict: Predict::Number { case: "one_lock", param: "1M" },
    kind: Kind::Count,
    cases: &["one_lock", "sharded_16", "papaya", "slab"],
    params: &["900k", "1M", "100M"],
    launch: Launch::Isolated,
    measure: weight,
    headline: "user_bytes",
    columns: &[ALL_BYTES, "added_bytes"],
    claims: &[
        claim(
            "100,000 users more double the map: at least 1.5 times the bytes for each",
            pick("one_lock", "1M", "user_bytes"),
            pick("one_lock", "900k", "user_bytes"),
            AtLeast(1.5),
        ),
        claim(
            "the lock-free map weighs at least 1.3 times the locked one: each entry is an allocation",
            pick("papaya", "1M", "user_bytes"),
            pick("one_lock", "1M", "user_bytes"),
            AtLeast(1.3),
        ),
        Claim {
            text: "100 million users take 800 MB in a slab, to a twentieth",
            of: pick("slab", "100M", "added_bytes"),
            against: None,
            expect: Between(7.9 * ALL, 8.4 * ALL),
            cores: 1,
        },
    ],
    because: "A hash map of this kind has a power of two of places and keeps one in eight free, so between two doublings it is from 7/16 to 7/8 \
              full: a user's share of it differs by two, and the moment of doubling is the largest memory of all. What the user needs is \
              8 bytes; the key, the padding to 16, the control byte and the empty places are the rest. The lock-free map pays a \
              pointer, a header and an allocation for every user. A slab pays nothing but needs dense numbers. Open \
              src/experiments/presence.rs.",
    tour: false,
};

const BEATS: Step = Step {
    name: "beats",
    ask: "All threads beat for random users out of 4 million. Which structure takes the most?",
    predict: Predict::Best { param: "4M" },
    kind: Kind::Contended,
    cases: &["one_lock", "sharded_16", "papaya", "slab"],
    params: &["1M", "4M"],
    launch: Launch::Isolated,
    measure: beats,
    headline: "ops_per_s",
    columns: &["lane_op_ns", "min_max_share", "user_bytes"],
    claims: &[
        Claim {
            cores: 2,
            ..claim(
                "with 4 million users, 16 locks take at least 1.3 times as much as one",
                pick("sharded_16", "4M", "ops_per_s"),
                pick("one_lock", "4M", "ops_per_s"),
                AtLeast(1.3),
            )
        },
        Claim {
            cores: 2,
            ..claim(
                "a slab takes at least 5 times as much as one lock",
                pick("slab", "4M", "ops_per_s"),
                pick("one_lock", "4M", "ops_per_s"),
                AtLeast(5.0),
            )
        },
        Claim {
            cores: 2,
            ..claim(
                "lock-free is no cure for writes: the lock-free map takes at most what 16 locks take",
                pick("papaya", "4M", "ops_per_s"),
                pick("sharded_16", "4M", "ops_per_s"),
                AtMost(1.0),
            )
        },
    ],
    because: "At these sizes nobody waits for a lock so much as for memory: each beat is for another user, whose line is in no cache. \
              Under one lock these waits stand in a queue, one after the other; with 16 locks as many can wait at once as there \
              are cores. A slab's store does not even wait: the core goes on to the next user while the line is fetched. The lock-free map's beat is an \
              allocation, a swap and a retirement. Open src/experiments/presence.rs.",
    tour: false,
};

/// The users that a parameter names.
fn users(plan: &Plan, param: &str) -> u32 {
    let all = match param {
        "900k" => 900_000,
        "1M" => 1_000_000,
        "4M" => 4_000_000,
        _ => 100_000_000,
    };
    if plan.is_smoke() { all / 1_000 } else { all }
}

fn weight(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    fn one<P: Presence>(plan: &Plan, param: &str) -> Result<Sample, String> {
        let users = users(plan, param);
        let weighed = presence::weigh::<P>(users, plan.threads, BOUND_BYTES)?;
        let user_bytes = weighed.user_bytes.ok_or("this system does not tell what is resident")?;
        Ok(Sample::new(P::CASE, param)
            .with("user_bytes", user_bytes)
            .with("added_bytes", user_bytes * f64::from(users))
            .with(ALL_BYTES, user_bytes * ALL))
    }
    each(cases, params, |case, param| match case {
        "one_lock" => one::<OneLock>(plan, param),
        "sharded_16" => one::<Sharded>(plan, param),
        "papaya" => one::<Papaya>(plan, param),
        _ => one::<Slab>(plan, param),
    })
}

fn beats(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    fn one<P: Presence>(plan: &Plan, param: &str) -> Result<Sample, String> {
        if plan.mode == Mode::Quick && param == "4M" {
            return Err("filling it with 4 million users takes longer than a quick run".into());
        }
        presence::check::<P>()?;
        let users = users(plan, param);
        let weighed = presence::weigh::<P>(users, plan.threads, BOUND_BYTES)?;
        let arm = presence::beats(&weighed.state, users, plan.seed);
        // The twin that the engine adds works on the same structure; the A/A row comes from a second process.
        let mut sample = throughput::crowd(plan, param, 0.0, &[arm]).swap_remove(0);
        if let Some(bytes) = weighed.user_bytes.filter(|_| sample.unmeasured.is_none()) {
            sample = sample.with("user_bytes", bytes);
        }
        Ok(sample)
    }
    each(cases, params, |case, param| match case {
        "one_lock" => one::<OneLock>(plan, param),
        "sharded_16" => one::<Sharded>(plan, param),
        "papaya" => one::<Papaya>(plan, param),
        _ => one::<Slab>(plan, param),
    })
}

/// A small state that fits into a cache: the cost of the structure itself.
fn benches(plan: &Plan) -> Vec<Bench> {
    fn one<P: Presence>(plan: &Plan) -> Bench {
        let plan = plan.clone();
        let make = move || {
            let weighed = presence::weigh::<P>(10_000, 1, BOUND_BYTES).expect("10,000 users fit");
            throughput::timed(&plan, 0.0, &presence::beats(&weighed.state, 10_000, plan.seed))
        };
        Bench { id: format!("beat_10k/{}", P::CASE), make: Box::new(make) }
    }
    vec![one::<OneLock>(plan), one::<Sharded>(plan), one::<Papaya>(plan), one::<Slab>(plan)]
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(&LAB)
}
