//! How would you keep the presence (who is online) of 100 million users?
//!
//! Run it: `cargo run --release --bin flow_presence -- --step`
//!
//! Each structure runs in a child process of its own. Its size is the resident memory that it adds, and a heap that another structure
//! left behind would hide that.
use underhood::{
    experiments::presence::{Keeper, ONE_LOCK, PAPAYA, SHARDED, SLAB, table_bytes},
    lab::{
        Kind, Lab, Step, at_least, between, count, pick,
        plan::{Mode, Plan},
        ratio,
        sample::Sample,
        shown_by,
    },
    measure::throughput,
};

const ALL: f64 = 100e6;
/// How much memory a structure may take. With 4 million users all structures fit, with 100 million only the slab.
const BOUND_BYTES: u64 = 1 << 30;
const KEEPERS: &[&Keeper] = &[&ONE_LOCK, &SHARDED, &PAPAYA, &SLAB];

pub(crate) fn lab() -> Lab {
    underhood::lab!("flow_presence", "How would you keep the presence (who is online) of 100 million users?")
        .step(weight())
        .step(beats())
        .say(
            "weight",
            "Kept as 8 bytes each in one slab (an array with a place for each user number), 100 million users take {value} in \
             all.",
            pick("slab", "100M", "added_bytes"),
            "users have no dense numbers. A directory that gives each user a number takes as much memory as a map, unless each connection \
             remembers its number",
        )
        .say(
            "weight",
            "When a hash map goes from 900,000 to 1,000,000 users, its memory for each user grows from {against} to {value}: {ratio}.",
            ratio(("one_lock", "1M"), ("one_lock", "900k")),
            "the map is created with its final capacity, or grows by another rule",
        )
        .say(
            "beats",
            "{threads} threads record heartbeats of 4 million users, and each heartbeat stores one word. A slab handles \
             {value}, a map behind one lock {against}: {ratio}.",
            ratio(("slab", "4M"), ("one_lock", "4M")),
            "each heartbeat comes over a socket of its own: then the system call that reads it is the larger cost",
        )
        .not_said(&[
        "That one machine serves 100 million users: their connections, at some KiB of kernel memory each, are hundreds of GiB.",
        "That a map of 100 million users was measured: by the same growth rule it has 2^27 slots of 17 bytes, 2.1 GiB.",
        "Anything about lookups, users that come and go, or time-outs: all heartbeats are for known users.",
        "Which map is the best in general: here keys have 4 bytes, values have 8 bytes, and the hasher is std's.",
    ])
        .next(&[
        "100 million users send a heartbeat every 30 s. How many are that per second, and what share of this machine do they need? (3.3 \
         million)",
        "How do you find who went offline without walking 100 million numbers? (a wheel of buckets by second, or a walk in slices)",
        "How do you tell a user's friends? (this is the expensive part: each change goes to all who watch. Push it to those online, and \
         let the others pull it)",
        "How do you split the users over machines? (by user: a heartbeat needs one machine, a list of friends asks many)",
        "What does the machine do when one table doubles? (see collections_worst: one insert moves all entries)",
    ])
        .sources(&[
        "hashbrown, capacity_to_buckets: a power of two of buckets, at most 7/8 full",
        "papaya 0.2: each entry is a node of its own",
    ])
}

/// This many users, or a thousandth of them in a smoke run.
fn users(plan: &Plan, all: usize) -> u32 {
    u32::try_from(if plan.is_smoke() { all / 1_000 } else { all }).expect("at most 100 million")
}

fn weight() -> Step {
    let users_of = [count("900k", 900_000), count("1M", 1_000_000), count("100M", 100_000_000)];
    Step::new("weight", Kind::Count, "user_bytes")
        .ask_number(
            "A user's state is one number of 8 bytes, under a key of 4 bytes. How many bytes of memory does a user take in a std HashMap \
             of one million users?",
            "one_lock",
            "1M",
        )
        .columns(&["rule_ratio", "added_bytes"])
        // A check before the measurement would leave freed memory behind. The structure would reuse it instead of adding memory.
        .check_after()
        .isolated(KEEPERS, users_of, |plan, keeper, all| {
            let users = users(plan, all.value);
            let filled = keeper.fill(users, plan.threads, BOUND_BYTES, plan.seed)?;
            let user_bytes = filled.user_bytes.ok_or("this system does not tell what is resident")?;
            let added = user_bytes * f64::from(users);
            let sample = Sample::default().with("user_bytes", user_bytes).with("added_bytes", added);
            Ok(match keeper.as_ref().id {
                "one_lock" => sample.with("rule_ratio", added / table_bytes(u64::from(users), 16) as f64),
                _ => sample,
            })
        })
        .claim(
            at_least(1.5, ratio(("one_lock", "1M"), ("one_lock", "900k"))),
            "100,000 more users double the size of the map: each user takes at least 1.5 times as many bytes",
        )
        .claim(
            at_least(1.3, ratio(("papaya", "1M"), ("one_lock", "1M"))),
            "the lock-free map takes at least 1.3 times as much memory as the map with one lock: each entry is an allocation",
        )
        .claim(
            between(7.9 * ALL, 8.4 * ALL, pick("slab", "100M", "added_bytes")),
            "100 million users take 800 MB in a slab, to within a twentieth",
        )
        .claim(
            between(0.9, 1.1, pick("one_lock", "1M", "rule_ratio")),
            "the map takes the memory that its growth rule says, to within a tenth: a power of two of slots, 17 bytes each",
        )
        .because(
            "The number of slots in such a hash map is a power of two, and at least one slot in eight stays free. So between two doublings \
             the map is from 7/16 to 7/8 full, and the memory for each user varies by a factor of two. The map takes the most memory at \
             the moment of doubling.",
            shown_by(at_least(1.5, ratio(("sharded_16", "1M"), ("sharded_16", "900k")))),
        )
        .because(
            "The state of a user needs 8 bytes. The rest is the key, the padding to 16 bytes, the control byte and the empty slots.",
            shown_by(at_least(2.0, ratio(("one_lock", "900k"), ("slab", "900k")))),
        )
        .because(
            "The lock-free map needs a pointer, a header and an allocation for every user.",
            shown_by(at_least(4.0, ratio(("papaya", "1M"), ("slab", "1M")))),
        )
        .because(
            "A slab has no such extra cost, but it needs dense numbers. See src/experiments/presence.rs.",
            shown_by(between(7.9, 8.4, ("slab", "1M"))),
        )
}

fn beats() -> Step {
    const LARGE: usize = 4_000_000;
    Step::new("beats", Kind::Contended, "ops_per_s")
        .ask_best("All threads record heartbeats of random users out of 4 million. Which structure handles the most per second?", "4M")
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
            "with 4 million users, a map with 16 locks handles at least 1.3 times as many heartbeats as a map with one lock",
        )
        .claim(
            at_least(5.0, ratio(("slab", "4M"), ("one_lock", "4M"))).cores(2),
            "a slab handles at least 5 times as many heartbeats as a map with one lock",
        )
        .claim(
            at_least(0.5, ratio(("papaya", "4M"), ("sharded_16", "4M"))).cores(2),
            "if a heartbeat only stores into an existing word, the lock-free map handles at least half as many as the map with 16 locks",
        )
        .because(
            "Each heartbeat is for a random user. The more users there are, the more of their cache lines come from a farther cache or from \
             memory.",
            shown_by(at_least(1.1, ratio(("slab", "1M"), ("slab", "4M"))).cores(2)),
        )
        .because(
            "Under one lock, only one thread at a time looks up a user. The others wait, and handing over the lock takes time, too. With 16 \
             locks, threads seldom meet. (With two threads, working side by side gives a factor of two at most. The rest is less waiting.)",
            shown_by(at_least(2.0, ratio(("sharded_16", "1M"), ("one_lock", "1M"))).cores(2)),
        )
        .because(
            "In the slab a heartbeat is one store, without a lookup. The core goes on to the next users while cache lines are fetched. It \
             waits only if too many stores are under way.",
            shown_by(at_least(2.0, ratio(("slab", "4M"), ("papaya", "4M"))).cores(2)),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}
