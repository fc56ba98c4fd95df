//! Why do threads that share no variable slow each other down?
//!
//! Run it: `cargo run --release --bin cache_line -- --step`
use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use crossbeam::utils::CachePadded;
use underhood::{
    lab::{
        Kind, Lab, ONCE, Setting, Step, at, at_least, at_most, between, pick, plan::Plan, ratio,
        sample::Sample, setting, shown_by, source,
    },
    measure::throughput::{self, Apart, Crowd, Lane},
    stats,
};

pub(crate) fn lab() -> Lab {
    underhood::lab!("cache_line", "Why do threads that share no variable slow each other down?")
        .step(padding())
        .step(interference())
        .step(alignment())
        .say(
            "padding",
            "{threads} threads each add to a counter of their own. With the counters side by side they do \
            {value}, with the counters a page apart {against}: {ratio}.",
            ratio("apart_8", "apart_4096"),
            "the threads share a core (then they share its cache), or they do much other work between two \
            additions",
        )
        .say(
            "interference",
            "On this machine threads stop disturbing each other when their data lie {value} apart.",
            "adds",
            "the processor is another one: distances of 64, 128 and 256 bytes all exist",
        )
        .not_said(&[
            "That padding makes a program faster. Here the threads do nothing but add. First find the \
            contended cache line (perf c2c).",
            "Anything about threads on two hyper-threads of one core: they share the line without moving it.",
            "Anything about more sockets: there the line travels further, and the ratio grows.",
        ])
        .next(&[
            "How would you find false sharing in a running program? (perf c2c: loads that hit modified lines of others)",
            "Why not pad everything? (fewer objects fit in the cache: measure both)",
            "What if the threads share the counter on purpose? (lab cache_scaling)",
        ])
        .sources(&[
            "crossbeam-utils 0.8, cache_padded.rs: 128 on x86-64, aarch64, powerpc64; 256 on s390x; 64 or 32 elsewhere",
            "Intel Optimization Reference Manual: spatial (adjacent line) prefetcher",
            "crossbeam-rs/crossbeam#1020 and #1026: false sharing found with perf c2c",
            "C++17 hardware_destructive_interference_size: the same constant, and the same doubt about it",
        ])
}

/// Bytes from one thread's counter to the next one's; the first, a page, is the baseline.
static STRIDES: [Setting<usize>; 7] = [
    setting("apart_4096", 4096),
    setting("apart_8", 8),
    setting("apart_16", 16),
    setting("apart_32", 32),
    setting("apart_64", 64),
    setting("apart_128", 128),
    setting("apart_256", 256),
];

/// Where the counters of two threads lie in a page of their own.
static PLACES: [Setting<[usize; 2]>; 5] = [
    setting("far", [0, 2048]),
    setting("same_line", [0, 8]),
    setting("line_pair", [0, 64]),
    setting("next_pair", [64, 128]),
    setting("two_lines", [0, 128]),
];

/// A window is 2 ms: half of a case's time holds enough of them, and there are many cases.
const PART: f64 = 0.5;

fn padding() -> Step {
    Step::new("padding", Kind::Contended, "ops_per_s")
        .ask_best(
            "Each thread adds to a counter of its own, and no thread reads the counter of another. How far \
            apart must the counters lie to be fastest?",
            "",
        )
        .columns(&["lane_op_ns", "min_max_share"])
        .contenders(&STRIDES)
        .slice(PART)
        .over(ONCE, |plan, p| at_strides(plan, p.id(), Does::Adds))
        .bench("padding/{case}", &STRIDES, |plan, s| throughput::timed(plan, 0.0, &strided(s, Does::Adds)))
        .claim(
            at_most(0.5, ratio("apart_8", "apart_4096")).cores(2),
            "counters side by side do at most half as many additions as counters a page apart",
        )
        .claim(
            at_most(0.5, ratio("apart_32", "apart_4096")).cores(2),
            "with half a line of padding, the counters also do at most half as many additions as a page \
             apart",
        )
        .claim(
            at_least(0.9, ratio("apart_128", "apart_4096")).cores(2),
            "128 bytes apart, the counters do at least 0.9 times as many additions as a page apart",
        )
        .because(
            "Cores do not share variables, they share cache lines. To write a word, a core needs the whole \
            line for itself. So it takes the line from the core that had it.",
            shown_by(at_most(0.5, ratio("apart_16", "apart_256")).cores(2)),
        )
        .because(
            "If two counters are in one line, the line moves back and forth between the cores, as if both \
            threads used one counter. A core does several additions before the line is taken away: lab \
            lockfree_counter counts them.",
            source("lab lockfree_counter, step crowd: adds_in_a_row_count"),
        )
}

static WAYS: [Setting<Does>; 2] = [setting("adds", Does::Adds), setting("stores", Does::Stores)];

fn interference() -> Step {
    Step::new("interference", Kind::Contended, "interference_bytes")
        .ask_number(
            "At what distance, in bytes, do the counters stop disturbing each other on this machine?",
            "adds",
            "",
        )
        .columns(&["constant_bytes", "padding_ratio", "slowest_share"])
        .slice(PART)
        .each(&WAYS, ONCE, |plan, way, _| plateau(plan, way.value))
        .claim(between(64.0, 128.0, "adds").cores(2), "the interference size is 64 or 128 bytes")
        .claim(
            at_least(1.0, pick("adds", "", "padding_ratio")).cores(2),
            "crossbeam's CachePadded is wide enough for this machine",
        )
        .because(
            "This distance is measured, not looked up. It is the smallest distance from which on the \
            counters do at least 0.9 times as many additions as a page apart.",
            source("`plateau_from` in src/stats/mod.rs"),
        )
        .because(
            "The constant is the padding of CachePadded: 128 on x86-64 and aarch64. Some of these processors \
            fetch lines in pairs or have lines of 128 bytes. The padding ratio is the constant divided by \
            the measured distance.",
            source("crossbeam-utils 0.8, cache_padded.rs"),
        )
}

fn alignment() -> Step {
    Step::new("alignment", Kind::Contended, "ops_per_s")
        .ask_best(
            "One thread writes its counter. The other thread only reads its own counter, which nobody \
            writes. Which placement of the two counters is fastest?",
            "one_writes",
        )
        .columns(&["lane_op_ns", "min_max_share"])
        .contenders(&PLACES)
        .slice(PART)
        .over([at("both_write", Does::Adds), at("one_writes", Does::Reads)], |plan, second| {
            alone_refused(plan, second.id(), PLACES.iter().map(|p| placed(p, second.value)).collect())
        })
        .claim(
            at_most(0.5, ratio(("same_line", "both_write"), ("far", "both_write"))).cores(2),
            "both counters in one struct that is aligned to a line do at most half as many additions as \
             2,048 bytes apart",
        )
        .claim(
            at_most(0.5, ratio(("same_line", "one_writes"), ("far", "one_writes"))).cores(2),
            "a reader is slowed down as well, though nobody writes what it reads: at most half as many \
            operations as 2,048 bytes apart",
        )
        .claim(
            at_least(0.9, ratio(("next_pair", "both_write"), ("far", "both_write"))).cores(2),
            "on neighbouring lines that are not in the same pair, the counters do at least 0.9 times as \
            many additions as 2,048 bytes apart",
        )
        .because(
            "Alignment says where a value begins, not what else is in its line. A struct aligned to 64 may \
            hold two hot fields in one line.",
            shown_by(at_most(0.5, ratio(("same_line", "both_write"), ("two_lines", "both_write"))).cores(2)),
        )
        .because(
            "An adjacent-line prefetcher (x86) fetches a line together with its neighbour in the same \
            aligned pair of 128 bytes. One row has both counters in such a pair. Another row has them as \
            near, but in two pairs. If these rows differ, the prefetcher is the cause.",
            source("Intel Optimization Reference Manual: spatial (adjacent line) prefetcher"),
        )
        .because(
            "The cure is padding to the interference size, on both sides.",
            shown_by(at_least(0.9, ratio(("two_lines", "one_writes"), ("far", "one_writes"))).cores(2)),
        )
}

/// A block of counters that begins at a page: where it lies in the page decides what is measured.
#[derive(Debug)]
struct Page {
    words: Vec<AtomicU64>,
    first: usize,
}

const PAGE: usize = 4096;
const WORD: usize = size_of::<AtomicU64>();

impl Page {
    fn new(bytes: usize) -> Arc<Self> {
        let words: Vec<AtomicU64> = (0..(bytes + PAGE) / WORD).map(|_| AtomicU64::new(0)).collect();
        let first = words.as_ptr().align_offset(PAGE);
        assert!(first * WORD < PAGE, "a page begins within a page's length");
        Arc::new(Self { words, first })
    }
    fn at(&self, byte: usize) -> &AtomicU64 {
        &self.words[self.first + byte / WORD]
    }
}

/// What a lane does with its word.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Does {
    Adds,
    Stores,
    Reads,
}

fn lane(page: Arc<Page>, byte: usize, does: Does) -> Lane {
    Box::new(Apart(move |n, _| {
        let word = page.at(byte);
        for i in 0..n {
            match does {
                Does::Adds => drop_it(word.fetch_add(1, Relaxed)),
                // The value passes through a box, or a thousand stores would become one.
                Does::Stores => word.store(black_box(u64::from(i)), Relaxed),
                Does::Reads => drop_it(word.load(Relaxed)),
            }
        }
    }))
}

fn drop_it(n: u64) {
    black_box(n);
}

/// Each lane's word at a fixed distance from the last one's.
fn strided(stride: &Setting<usize>, does: Does) -> Crowd {
    let (id, stride) = (stride.id(), stride.value);
    Crowd::new(id, move |threads| {
        let page = Page::new(threads * stride + WORD);
        (0..threads).map(|i| lane(page.clone(), i * stride, does)).collect()
    })
}

/// Two lanes to a page; more lanes use more pages. In each page the first lane writes; the second as well, or it reads.
fn placed(place: &Setting<[usize; 2]>, second: Does) -> Crowd {
    let bytes = place.value;
    Crowd::new(place.id(), move |threads| {
        let page = Page::new(threads.div_ceil(2) * PAGE);
        let does = [Does::Adds, second];
        (0..threads).map(|i| lane(page.clone(), i / 2 * PAGE + bytes[i % 2], does[i % 2])).collect()
    })
}

fn at_strides(plan: &Plan, param: &str, does: Does) -> Vec<Sample> {
    alone_refused(plan, param, STRIDES.iter().map(|s| strided(s, does)).collect())
}

/// One thread has nobody to disturb it: the question needs two.
fn alone_refused(plan: &Plan, param: &str, arms: Vec<Crowd>) -> Vec<Sample> {
    if plan.threads < 2 {
        let why = "one thread has nobody to share a line with";
        return arms.iter().map(|a| Sample::unmeasured(a.case, param, why)).collect();
    }
    throughput::crowd(plan, param, 0.0, arms)
}

/// Finds the step in each launch anew. It has no A/A row: a size is found among six, and is not compared.
fn plateau(plan: &Plan, does: Does) -> Result<Sample, String> {
    /// Of what the counters do a page apart: below this they disturb each other. Well outside of an A/A row, well above half.
    const UNDISTURBED: f64 = 0.9;
    let rows = at_strides(plan, "", does);
    if let Some(why) = rows.iter().find_map(|r| r.unmeasured.clone()) {
        return Err(why);
    }
    let rate =
        |stride: &Setting<usize>| rows.iter().find(|r| r.case == stride.id()).map(|r| r.values["ops_per_s"]);
    let far = rate(&STRIDES[0]).unwrap_or(f64::NAN);
    let points: Vec<(f64, f64)> =
        STRIDES[1..].iter().filter_map(|s| Some((s.value as f64, rate(s)? / far))).collect();
    let constant = align_of::<CachePadded<u8>>() as f64;
    let slowest = points.iter().map(|p| p.1).fold(f64::INFINITY, f64::min);
    match stats::plateau_from(&points, UNDISTURBED) {
        Some(bytes) => {
            let mut s = Sample::default()
                .with("interference_bytes", bytes)
                .with("constant_bytes", constant)
                .with("padding_ratio", constant / bytes)
                .with("slowest_share", slowest);
            s.receipts = rows[0].receipts.clone();
            Ok(s)
        }
        None if slowest >= UNDISTURBED => {
            Err("no distance disturbs the threads: do they run on two hyper-threads of one core?".into())
        }
        None => Err("even 256 bytes apart they disturb each other".into()),
    }
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}
