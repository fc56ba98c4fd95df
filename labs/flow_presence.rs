//! How would you keep the presence of 100 million users?
//!
//! Run it: `cargo run --release --bin flow_presence -- --step`
//!
//! One structure in each child process: what it weighs is the resident memory that it added, and a heap that another one left
//! behind would hide that.
use underhood::{
    experiments::presence::{Keeper, ONE_LOCK, PAPAYA, SHARDED, SLAB},
    lab::{
        Evidence, Kind, Lab, Step, at_least, at_most, between, count, pick,
        plan::{Mode, Plan},
        ratio,
        sample::Sample,
        shown_by, source,
    },
    measure::throughput,
};

const ALL: f64 = 100e6;
/// What a structure may weigh: all of 4 million users fit, of 100 million the slab only.
const BOUND_BYTES: u64 = 1 << 30;
const ALL_BYTES: &str = "hundred_million_bytes";
const KEEPERS: &[&Keeper] = &[&ONE_LOCK, &SHARDED, &PAPAYA, &SLAB];

pub(crate) fn lab() -> Lab {
    underhood::lab!("flow_presence", "How would you keep the presence of 100 million users?")
        .step(weight())
        .step(beats())
        .say(
            "weight",
            "Kept as 8 bytes each in one slab, 100 million users take {value}; in a hash map filled like the one measured they would \
             take {against}.",
            ratio(pick("slab", "100M", ALL_BYTES), pick("one_lock", "1M", ALL_BYTES)),
            "users have no dense numbers: the directory that hands them out weighs as much as a map, unless the connection remembers \
             the number",
        )
        .say(
            "weight",
            "From 900,000 to 1,000,000 users a hash map grows from {against} to {value} a user: {ratio}.",
            ratio(("one_lock", "1M"), ("one_lock", "900k")),
            "the map is made with its final capacity, or has another growth rule",
        )
        .say(
            "beats",
            "With {threads} threads and 4 million users, a slab of atomics takes {value}; a map behind one lock takes {against}: \
             {ratio}.",
            ratio(("slab", "4M"), ("one_lock", "4M")),
            "a beat comes over a socket of its own: then the system call that reads it is the larger cost",
        )
        .not_said(&[
        "That one machine serves 100 million users: their connections, at some KiB of kernel memory each, are hundreds of GiB.",
        "That the maps take 100 million: their weight is extrapolated from what was measured, as full as that table was.",
        "Anything of lookups, of users that come and go, or of time-outs: the beats are for known users only.",
        "Which map is the best in general: 4-byte keys, 8-byte values, std's hasher.",
    ])
        .next(&[
        "100 million users beat every 30 s: how many a second is that, and what share of this machine? (3.3 million)",
        "How do you find who went offline without walking 100 million numbers? (a wheel of buckets by second, or a walk in slices)",
        "How do you tell the friends? (that is the expensive part: each change goes to all who watch; push to those online, pull else)",
        "How do you split it over machines? (by user; a beat needs one machine, a friends list asks many)",
        "What does the machine do when one table doubles? (see collections_worst: one insert moves all entries)",
    ])
        .sources(&[
        "hashbrown, capacity_to_buckets: a power of two of buckets, at most 7/8 full",
        "papaya 0.2: each entry is a node of its own; a put allocates a new one and retires the old one",
    ])
}

/// So many users, or a thousandth of them where only a smoke run is wanted.
fn users(plan: &Plan, all: usize) -> u32 {
    u32::try_from(if plan.is_smoke() { all / 1_000 } else { all }).expect("at most 100 million")
}

fn weight() -> Step {
    let users_of = [count("900k", 900_000), count("1M", 1_000_000), count("100M", 100_000_000)];
    Step::new("weight", Kind::Count, "user_bytes")
        .withdrawn("the figure for 100 million users carries the load factor of one million over a doubling; the map's own growth rule gives another")
        .ask_number(
            "A user's state is one number of 8 bytes, under a key of 4. How many bytes of memory does a user take in a std HashMap of one \
             million?",
            "one_lock",
            "1M",
        )
        .columns(&[ALL_BYTES, "added_bytes"])
        // A check before would leave memory behind that the structure then need not add.
        .check_after()
        .isolated(KEEPERS, users_of, |plan, keeper, all| {
            let users = users(plan, all.value);
            let filled = keeper.fill(users, plan.threads, BOUND_BYTES, plan.seed)?;
            let user_bytes = filled.user_bytes.ok_or("this system does not tell what is resident")?;
            Ok(Sample::default()
                .with("user_bytes", user_bytes)
                .with("added_bytes", user_bytes * f64::from(users))
                .with(ALL_BYTES, user_bytes * ALL))
        })
        .claim(
            at_least(1.5, ratio(("one_lock", "1M"), ("one_lock", "900k"))),
            "100,000 users more double the map: at least 1.5 times the bytes for each",
        )
        .claim(
            at_least(1.3, ratio(("papaya", "1M"), ("one_lock", "1M"))),
            "the lock-free map weighs at least 1.3 times the locked one: each entry is an allocation",
        )
        .claim(
            between(7.9 * ALL, 8.4 * ALL, pick("slab", "100M", "added_bytes")),
            "100 million users take 800 MB in a slab, to a twentieth",
        )
        .because(
            "A hash map of this kind has a power of two of places and keeps one in eight free. So between two doublings it is from 7/16 to 7/8 full, \
             and a user's share of it differs by two. The moment of doubling is the largest memory of all.",
            shown_by(at_least(1.5, ratio(("sharded_16", "1M"), ("sharded_16", "900k")))),
        )
        .because(
            "What the user needs is 8 bytes. The key, the padding to 16, the control byte and the empty places are the rest.",
            shown_by(at_least(2.0, ratio(("one_lock", "900k"), ("slab", "900k")))),
        )
        .because(
            "The lock-free map pays a pointer, a header and an allocation for every user.",
            shown_by(at_least(4.0, ratio(("papaya", "1M"), ("slab", "1M")))),
        )
        .because(
            "A slab pays nothing but needs dense numbers. See src/experiments/presence.rs.",
            shown_by(between(7.9, 8.4, ("slab", "1M"))),
        )
}

fn beats() -> Step {
    const LARGE: usize = 4_000_000;
    Step::new("beats", Kind::Contended, "ops_per_s")
        .withdrawn("the slab stores into a word and the maps allocate for each beat: not the same work")
        .ask_best("All threads beat for random users out of 4 million. Which structure takes the most?", "4M")
        .columns(&["lane_op_ns", "min_max_share", "user_bytes"])
        .isolated(KEEPERS, [count("1M", 1_000_000), count("4M", LARGE)], |plan, keeper, all| {
            if plan.mode == Mode::Quick && all.value == LARGE {
                return Err("filling it with 4 million users takes longer than a quick run".into());
            }
            let filled = keeper.fill(users(plan, all.value), plan.threads, BOUND_BYTES, plan.seed)?;
            // The twin that the engine adds works on the same structure; the A/A row comes from a second process.
            let sample = throughput::crowd(plan, all.id(), 0.0, [filled.beats]).swap_remove(0);
            Ok(match filled.user_bytes.filter(|_| sample.unmeasured.is_none()) {
                Some(bytes) => sample.with("user_bytes", bytes),
                None => sample,
            })
        })
        // A small state that fits into a cache: the cost of the structure itself.
        .bench("beat_10k/{case}", KEEPERS, |plan, keeper| {
            let filled = keeper.fill(10_000, 1, BOUND_BYTES, plan.seed).expect("10,000 users fit");
            throughput::timed(plan, 0.0, &filled.beats)
        })
        .claim(
            at_least(1.3, ratio(("sharded_16", "4M"), ("one_lock", "4M"))).cores(2),
            "with 4 million users, 16 locks take at least 1.3 times as much as one",
        )
        .claim(
            at_least(5.0, ratio(("slab", "4M"), ("one_lock", "4M"))).cores(2),
            "a slab takes at least 5 times as much as one lock",
        )
        .claim(
            at_most(1.0, ratio(("papaya", "4M"), ("sharded_16", "4M"))).cores(2),
            "lock-free is no cure for writes: the lock-free map takes at most what 16 locks take",
        )
        .because(
            "At these sizes nobody waits for a lock so much as for memory: each beat is for another user, whose line is in no cache.",
            Evidence::None,
        )
        .because(
            "Under one lock these waits stand in a queue, one after the other. With 16 locks as many can wait at once as there are cores.",
            shown_by(at_least(1.3, ratio(("sharded_16", "1M"), ("one_lock", "1M"))).cores(2)),
        )
        .because(
            "A slab's store does not even wait: the core goes on to the next user while the line is fetched.",
            shown_by(at_least(5.0, ratio(("slab", "4M"), ("sharded_16", "4M"))).cores(2)),
        )
        .because(
            "The lock-free map's beat is an allocation, a swap and a retirement. See src/experiments/presence.rs.",
            source("papaya 0.2: a put allocates a new node and retires the old one"),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}
