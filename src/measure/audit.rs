//! What is wrong with a benchmark, found in what it measured. Pure functions: evidence in, named flaws out.
//!
//! The limits are coarse on purpose: a flaw that is named must be plain to see, and a sound benchmark on a loaded machine must
//! not be accused.

/// One timed sample: when the benchmark's clock ran, and when each lane really worked; ns on one clock.
#[derive(Clone, Debug, PartialEq)]
pub struct Timed {
    /// From where to where the result was taken.
    pub clock: (f64, f64),
    /// First and last moment of each lane's work.
    pub lanes: Vec<(f64, f64)>,
}

/// What was noted while a benchmark ran. What is empty or `None` was not looked at, and accuses nobody.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// Samples of one contended case.
    pub timed: Vec<Timed>,
    /// Contender, and units of work that one of its operations did.
    pub work_per_op: Vec<(&'static str, f64)>,
    /// For a lock that is called shared: whether two readers were inside at once when they could.
    pub readers_met: Option<bool>,
    /// What an operation costs without the thing under test, over what it costs with it.
    pub harness_share: Option<f64>,
    /// Operations counted, and those of them that did what they were for.
    pub effective: Option<(u64, u64)>,
    /// Threads, and the share of gets that found something.
    pub hits: Vec<(usize, f64)>,
    /// Keys that were asked for, and keys that the map is said to be tested with.
    pub keys: Option<(u64, u64)>,
}

/// A named mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Flaw {
    /// The clock ran while threads were being started and joined.
    ThreadStartTimed,
    /// The clock was read after the work had begun.
    ClockReadLate,
    /// The threads ran one after the other.
    NoOverlap,
    /// Contenders did different work per operation.
    UnequalWork,
    /// A lock called shared lets one reader in at a time.
    ExclusiveRead,
    /// The harness costs more than what it measures (a shared index, a generator in the loop).
    HarnessDominates,
    /// Operations that did nothing were counted: their result was dropped.
    ResultDropped,
    /// The share of hits depends on the number of threads: each count measures another workload.
    HitsMove,
    /// A map of many keys was asked for one.
    OneKey,
}

/// In this share of the timed interval at least, some lane must have been at work.
const AT_WORK: f64 = 0.8;
/// At most this share of the work may lie before the clock.
const EARLY: f64 = 0.1;
/// Lanes must have been at work side by side for this share of the time from the first start to the last end.
const OVERLAP: f64 = 0.5;
/// Contenders may differ by this much in work.
const WORK: f64 = 0.01;
/// The harness may cost at most this share of what is measured.
const HARNESS: f64 = 0.5;
/// Share of operations that must have done what they were for.
const EFFECTIVE: f64 = 0.99;
/// The share of hits may move by so much from one thread count to another.
const HITS: f64 = 0.02;

/// All flaws that the evidence shows, each with what was seen.
pub fn audit(evidence: &Evidence) -> Vec<(Flaw, String)> {
    let mut flaws = Vec::new();
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    if let Some(share) = typical(&evidence.timed, at_work).filter(|s| *s < AT_WORK) {
        flaws.push((
            Flaw::ThreadStartTimed,
            format!(
                "thread start timed: some thread was at work in {} of the time on the clock",
                percent(share)
            ),
        ));
    }
    if let Some(share) = typical(&evidence.timed, early).filter(|s| *s > EARLY) {
        flaws.push((
            Flaw::ClockReadLate,
            format!("clock read late: {} of the work was done before it was read", percent(share)),
        ));
    }
    if let Some(share) = typical(&evidence.timed, overlap).filter(|s| *s < OVERLAP) {
        flaws.push((
            Flaw::NoOverlap,
            format!("no overlap: all threads were at work at once in {} of the time", percent(share)),
        ));
    }
    let by_work = |a: &&(&str, f64), b: &&(&str, f64)| a.1.total_cmp(&b.1);
    let works = || evidence.work_per_op.iter();
    if let (Some((little, least)), Some((much, most))) = (works().min_by(by_work), works().max_by(by_work))
        && most - least > WORK * most
    {
        let what = format!("unequal work: an operation of {much} does {most}, one of {little} does {least}");
        flaws.push((Flaw::UnequalWork, what));
    }
    if evidence.readers_met == Some(false) {
        let what = "exclusive read: two readers of a lock called shared were never inside at once";
        flaws.push((Flaw::ExclusiveRead, what.into()));
    }
    if let Some(share) = evidence.harness_share.filter(|s| *s > HARNESS) {
        let what = format!("the harness is what was measured: it costs {} of an operation", percent(share));
        flaws.push((Flaw::HarnessDominates, what));
    }
    if let Some((counted, did)) = evidence.effective
        && (did as f64) < EFFECTIVE * counted as f64
    {
        let what =
            format!("result dropped: {did} of {counted} operations that were counted did what they were for");
        flaws.push((Flaw::ResultDropped, what));
    }
    let shares = || evidence.hits.iter().map(|h| h.1);
    let (least, most) = (shares().fold(f64::INFINITY, f64::min), shares().fold(0.0, f64::max));
    if most - least > HITS {
        let all: Vec<String> =
            evidence.hits.iter().map(|(n, s)| format!("{} with {n}", percent(*s))).collect();
        let what = format!("the hit ratio moves with the threads: {}", all.join(", "));
        flaws.push((Flaw::HitsMove, what));
    }
    if let Some((1, said)) = evidence.keys.filter(|k| k.1 > 1) {
        let what = format!("a map of one key: 1 of the {said} keys was asked for");
        flaws.push((Flaw::OneKey, what));
    }
    flaws
}

/// The median over samples.
fn typical(timed: &[Timed], share: fn(&Timed) -> Option<f64>) -> Option<f64> {
    crate::stats::median(&timed.iter().filter_map(share).collect::<Vec<_>>())
}

/// Share of the clock's interval in which at least one lane worked.
fn at_work(t: &Timed) -> Option<f64> {
    let (from, to) = t.clock;
    let mut lanes: Vec<(f64, f64)> =
        t.lanes.iter().map(|(a, b)| (a.clamp(from, to.max(from)), b.clamp(from, to.max(from)))).collect();
    lanes.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut covered, mut until) = (0.0, from);
    for (a, b) in lanes {
        covered += (b - a.max(until)).max(0.0);
        until = until.max(b);
    }
    // Work that was all before the clock is another flaw.
    let any = t.lanes.iter().any(|(_, b)| *b > from);
    (to > from && any).then(|| covered / (to - from))
}

/// Share of the lanes' time that lies before the clock's start.
fn early(t: &Timed) -> Option<f64> {
    let all: f64 = t.lanes.iter().map(|(a, b)| b - a).sum();
    let before: f64 = t.lanes.iter().map(|(a, b)| (b.min(t.clock.0) - a).max(0.0)).sum();
    (all > 0.0).then(|| before / all)
}

/// Time with all lanes at work, as share of the time from the first start to the last end.
fn overlap(t: &Timed) -> Option<f64> {
    let ends = |pick: fn(&(f64, f64)) -> f64| t.lanes.iter().map(pick);
    let (first, last) = (ends(|l| l.0).fold(f64::INFINITY, f64::min), ends(|l| l.1).fold(0.0, f64::max));
    let (begun, over) = (ends(|l| l.0).fold(0.0, f64::max), ends(|l| l.1).fold(f64::INFINITY, f64::min));
    (t.lanes.len() > 1 && last > first).then(|| (over - begun).max(0.0) / (last - first))
}
