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
    lab::{Bench, Claim, Expect, Kind, Lab, Launch, Predict, Say, Step, pick, plan::Plan, sample::Sample},
    measure::throughput::{self, Apart, Crowd, Lane},
    stats,
};

/// Bytes from one thread's counter to the next one's; the first, a page, is the baseline.
const STRIDES: &[(&str, usize)] = &[
    ("apart_4096", 4096),
    ("apart_8", 8),
    ("apart_16", 16),
    ("apart_32", 32),
    ("apart_64", 64),
    ("apart_128", 128),
    ("apart_256", 256),
];

/// Where the counters of two threads lie in a page of their own.
const PLACES: &[(&str, [usize; 2])] = &[
    ("far", [0, 2048]),
    ("same_line", [0, 8]),
    ("line_pair", [0, 64]),
    ("next_pair", [64, 128]),
    ("two_lines", [0, 128]),
];

pub(crate) static LAB: Lab = Lab {
    stem: "cache_line",
    question: "Why do threads that share no variable slow each other down?",
    steps: &[
        Step {
            name: "padding",
            ask: "Each thread adds to a counter of its own, and nobody reads another's. How far apart must the counters lie to be fastest?",
            predict: Predict::Best { param: "" },
            kind: Kind::Contended,
            cases: &["apart_4096", "apart_8", "apart_16", "apart_32", "apart_64", "apart_128", "apart_256"],
            params: &[""],
            launch: Launch::Together,
            measure: padding,
            headline: "ops_per_s",
            columns: &["lane_op_ns", "min_max_share"],
            claims: &[
                Claim {
                    text: "counters side by side do at most half as many additions as counters a page apart",
                    of: pick("apart_8", "", "ops_per_s"),
                    against: Some(pick("apart_4096", "", "ops_per_s")),
                    expect: Expect::AtMost(0.5),
                    cores: 2,
                },
                Claim {
                    text: "half a line of padding helps nothing: at most half as many, too",
                    of: pick("apart_32", "", "ops_per_s"),
                    against: Some(pick("apart_4096", "", "ops_per_s")),
                    expect: Expect::AtMost(0.5),
                    cores: 2,
                },
                Claim {
                    text: "128 bytes apart they do at least 0.9 times as many",
                    of: pick("apart_128", "", "ops_per_s"),
                    against: Some(pick("apart_4096", "", "ops_per_s")),
                    expect: Expect::AtLeast(0.9),
                    cores: 2,
                },
            ],
            because: "Cores do not share variables, they share lines. To write a word, a core needs the whole line to itself, so it takes it \
                      from whoever had it; two counters in one line make it travel with every addition, exactly as if both threads \
                      used the same counter. The program is free of races and of locks, and pays for both.",
            tour: false,
        },
        Step {
            name: "interference",
            ask: "At what distance, in bytes, do the counters stop to disturb each other on this machine?",
            predict: Predict::Number { case: "adds", param: "" },
            kind: Kind::Contended,
            cases: &["adds", "stores"],
            params: &[""],
            launch: Launch::Together,
            measure: interference,
            headline: "interference_bytes",
            columns: &["constant_bytes", "padding_ratio", "slowest_share"],
            claims: &[
                Claim {
                    text: "the interference size is 64 to 256 bytes",
                    of: pick("adds", "", "interference_bytes"),
                    against: None,
                    expect: Expect::Between(64.0, 256.0),
                    cores: 2,
                },
                Claim {
                    text: "crossbeam's CachePadded is wide enough for this machine",
                    of: pick("adds", "", "padding_ratio"),
                    against: None,
                    expect: Expect::AtLeast(1.0),
                    cores: 2,
                },
            ],
            because: "The step is found, not looked up: the smallest distance from which on the counters do at least 0.9 times of what they do \
                      a page apart. The constant is what CachePadded uses on this architecture, and the padding ratio how often the step fits into it: 128 on x86-64 and \
                      aarch64, since some of their cores fetch lines in pairs or have lines of 128. What is wider than the \
                      step is a precaution for other machines, and costs memory on this one.",
            tour: false,
        },
        Step {
            name: "alignment",
            ask: "One thread writes its counter, the other only reads its own, which nobody writes. Which place is fastest?",
            predict: Predict::Best { param: "one_writes" },
            kind: Kind::Contended,
            cases: &["far", "same_line", "line_pair", "next_pair", "two_lines"],
            params: &["both_write", "one_writes"],
            launch: Launch::Together,
            measure: alignment,
            headline: "ops_per_s",
            columns: &["lane_op_ns", "min_max_share"],
            claims: &[
                Claim {
                    text: "a struct that is aligned to a line, with both counters in it, is no help: at most half",
                    of: pick("same_line", "both_write", "ops_per_s"),
                    against: Some(pick("far", "both_write", "ops_per_s")),
                    expect: Expect::AtMost(0.5),
                    cores: 2,
                },
                Claim {
                    text: "a reader suffers as well, though nobody writes what it reads: at most half",
                    of: pick("same_line", "one_writes", "ops_per_s"),
                    against: Some(pick("far", "one_writes", "ops_per_s")),
                    expect: Expect::AtMost(0.5),
                    cores: 2,
                },
                Claim {
                    text: "on the next line, but not in the same pair of lines, they do at least 0.9 times as many",
                    of: pick("next_pair", "both_write", "ops_per_s"),
                    against: Some(pick("far", "both_write", "ops_per_s")),
                    expect: Expect::AtLeast(0.9),
                    cores: 2,
                },
            ],
            because: "Alignment says where a thing begins, not who else is there. A struct aligned to 64 may hold two hot fields in one line; a \
                      counter on a line of its own has a neighbour on the next one, which an adjacent-line prefetcher (x86) fetches with it: \
                      line_pair is in one aligned pair of 128 bytes, next_pair is as near and is not. Where the two differ, the \
                      prefetcher is what you see. The cure is padding to the interference size, on both sides.",
            tour: false,
        },
    ],
    says: &[
        Say {
            step: "padding",
            text: "With {threads} threads that each add to a counter of their own, counters side by side do {value}; a page apart {against}: {ratio}.",
            of: pick("apart_8", "", "ops_per_s"),
            against: Some(pick("apart_4096", "", "ops_per_s")),
            not_true_when: "the threads share a core (then they share its cache), or do much else between two additions",
        },
        Say {
            step: "interference",
            text: "On this machine threads stop to disturb each other when their data lie {value} apart.",
            of: pick("adds", "", "interference_bytes"),
            against: None,
            not_true_when: "the processor is another one: 64, 128 and 256 all exist",
        },
    ],
    not_said: &[
        "That padding makes a program faster: here nothing is done but adding. Find the line first (perf c2c).",
        "Anything about threads on two hyper-threads of one core: they share the line without moving it.",
        "Anything about more sockets: there the line travels further, and the ratio grows.",
    ],
    next: &[
        "How would you find false sharing in a running program? (perf c2c: loads that hit modified lines of others)",
        "Why is padding everything no answer? (fewer objects per cache: measure both)",
        "What if the threads share the counter on purpose? (lab cache_scaling)",
    ],
    sources: &[
        "crossbeam-utils 0.8, cache_padded.rs: 128 on x86-64, aarch64, powerpc64; 256 on s390x; 64 or 32 elsewhere",
        "Intel Optimization Reference Manual: spatial (adjacent line) prefetcher",
        "crossbeam-rs/crossbeam#1020 and #1026: false sharing found with perf c2c",
        "C++17 hardware_destructive_interference_size: the same constant, and the same doubt about it",
    ],
    benches,
};

/// Of what the counters do a page apart: below this they disturb each other. Well outside of an A/A row, well above half.
const UNDISTURBED: f64 = 0.9;

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
fn strided(i: usize, does: Does) -> Crowd {
    let (case, stride) = STRIDES[i];
    let make = move |threads: usize| {
        let page = Page::new(threads * stride + WORD);
        (0..threads).map(|i| lane(page.clone(), i * stride, does)).collect()
    };
    Crowd { case, make: Box::new(make) }
}

/// Two lanes to a page; more lanes use more pages. In each page the first lane writes; the second as well, or it reads.
fn placed(i: usize, second: Does) -> Crowd {
    let (case, bytes) = PLACES[i];
    let make = move |threads: usize| {
        let page = Page::new(threads.div_ceil(2) * PAGE);
        let does = [Does::Adds, second];
        (0..threads).map(|i| lane(page.clone(), i / 2 * PAGE + bytes[i % 2], does[i % 2])).collect()
    };
    Crowd { case, make: Box::new(make) }
}

/// A window is 2 ms: half of a case's time holds enough of them, and there are many cases.
fn half(plan: &Plan) -> Plan {
    Plan { slice: plan.slice / 2, ..plan.clone() }
}

fn padding(plan: &Plan, _: &[&str], params: &[&str]) -> Vec<Sample> {
    let arms: Vec<Crowd> = (0..STRIDES.len()).map(|i| strided(i, Does::Adds)).collect();
    params.iter().flat_map(|p| alone_refused(plan, p, &arms)).collect()
}

fn alignment(plan: &Plan, _: &[&str], params: &[&str]) -> Vec<Sample> {
    let arms = |param: &str| -> Vec<Crowd> {
        let second = if param == "one_writes" { Does::Reads } else { Does::Adds };
        (0..PLACES.len()).map(|i| placed(i, second)).collect()
    };
    params.iter().flat_map(|p| alone_refused(plan, p, &arms(p))).collect()
}

/// One thread has nobody to disturb it: the question needs two.
fn alone_refused(plan: &Plan, param: &str, arms: &[Crowd]) -> Vec<Sample> {
    if plan.threads < 2 {
        let why = "one thread has nobody to share a line with";
        return arms.iter().map(|a| Sample::unmeasured(a.case, param, why)).collect();
    }
    throughput::crowd(&half(plan), param, 0.0, arms)
}

/// Finds the step in each launch anew. It has no A/A row: a size is found among six, and is not compared.
fn interference(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let find = |case: &str, param: &str| {
        let does = if case == "stores" { Does::Stores } else { Does::Adds };
        let arms: Vec<Crowd> = (0..STRIDES.len()).map(|i| strided(i, does)).collect();
        let rows = alone_refused(plan, param, &arms);
        if let Some(why) = rows.iter().find_map(|r| r.unmeasured.clone()) {
            return Sample::unmeasured(case, param, why);
        }
        let rate = |name: &str| rows.iter().find(|r| r.case == name).map(|r| r.values["ops_per_s"]);
        let far = rate(STRIDES[0].0).unwrap_or(f64::NAN);
        let points: Vec<(f64, f64)> = STRIDES[1..]
            .iter()
            .filter_map(|(name, stride)| Some((*stride as f64, rate(name)? / far)))
            .collect();
        let constant = align_of::<CachePadded<u8>>() as f64;
        let slowest = points.iter().map(|p| p.1).fold(f64::INFINITY, f64::min);
        match stats::plateau_from(&points, UNDISTURBED) {
            Some(bytes) => {
                let mut s = Sample::new(case, param)
                    .with("interference_bytes", bytes)
                    .with("constant_bytes", constant)
                    .with("padding_ratio", constant / bytes)
                    .with("slowest_share", slowest);
                s.receipts = rows[0].receipts.clone();
                s
            }
            None if slowest >= UNDISTURBED => Sample::unmeasured(
                case,
                param,
                "no distance disturbs the threads: do they run on two hyper-threads of one core?",
            ),
            None => Sample::unmeasured(case, param, "even 256 bytes apart they disturb each other"),
        }
    };
    params.iter().flat_map(|p| cases.iter().map(move |c| find(c, p))).collect()
}

fn benches(plan: &Plan) -> Vec<Bench> {
    let bench = |i: usize| {
        let plan = plan.clone();
        let id = format!("padding/{}", STRIDES[i].0);
        Bench { id, make: Box::new(move || throughput::timed(&plan, 0.0, &strided(i, Does::Adds))) }
    };
    (0..STRIDES.len()).map(bench).collect()
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(&LAB)
}
