//! The size of a block from which on an allocator gives it back to the kernel and faults its pages in anew each time: found
//! to the byte, by counting faults; and how what was freed before moves it.
use std::time::Instant;

use crate::{
    contenders::alloc::{ALIGN, Allocator, Block, BlockError, fix_mmap_threshold},
    experiments::cycle::{Extent, cycle, doubts},
    lab::sample::Sample,
    machine::memory,
    measure::latency::{difference, histogram, with_known},
};

/// A block is touched at so many places to see whether its pages are there: spread over all of it, so that each is a page of
/// its own, a huge one too from 128 MiB on.
const PLACES: usize = 64;
/// From so many faults on, the pages were not there. Fewer may be the harness's own.
const ANEW: u64 = 4;

/// True if the third round at this size still takes faults; `None` if faults are not counted here. The purge makes it
/// independent of what was probed before (a heap that has grown serves larger blocks), two rounds settle glibc's threshold.
/// A round touches 64 places, spread over the block, and not all pages: which pages are kept is decided by the block's size alone, and the
/// search would spend its time on faults.
///
/// # Errors
/// [`BlockError`], if the allocator refuses.
pub fn faults_anew(allocator: &'static Allocator, bytes: usize) -> Result<Option<bool>, BlockError> {
    let step = (bytes / PLACES).max(memory::page_bytes());
    let round = || Block::new(allocator, bytes, ALIGN).map(|mut block| block.touch_every(step));
    allocator.purge();
    round()?;
    round()?;
    let before = memory::minor_faults();
    round()?;
    Ok(difference(before, memory::minor_faults()).map(|faults| faults >= ANEW))
}

/// Median of so many whole cycles after a purge and two to settle, in ns.
///
/// # Errors
/// [`BlockError`], if the allocator refuses.
///
/// # Panics
/// If `rounds` is 0.
pub fn settled_ns(allocator: &'static Allocator, bytes: usize, rounds: usize) -> Result<u64, BlockError> {
    allocator.purge();
    cycle(allocator, bytes)?;
    cycle(allocator, bytes)?;
    let mut totals =
        (0..rounds).map(|_| Ok(cycle(allocator, bytes)?.total())).collect::<Result<Vec<_>, _>>()?;
    totals.sort_unstable();
    Ok(totals[rounds / 2])
}

/// Where something turns from false to true between two whole numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The last false one and, next to it, the first true one.
    Between(usize, usize),
    /// It is false at the highest too.
    Never,
    /// It is true at the lowest already.
    Always,
}

/// A cliff must make a cycle dearer by this factor: else it is where the count of faults changes for another reason.
const DEARER: f64 = 1.5;

/// Bisects the whole numbers from `low` to `high` for the place where `above` turns from false to true. Of several such
/// places it finds one.
///
/// # Errors
/// Whatever `above` says.
pub fn boundary<E>(
    low: usize,
    high: usize,
    mut above: impl FnMut(usize) -> Result<bool, E>,
) -> Result<Turn, E> {
    if above(low)? {
        return Ok(Turn::Always);
    }
    if low >= high || !above(high)? {
        return Ok(Turn::Never);
    }
    let (mut low, mut high) = (low, high);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        *if above(middle)? { &mut high } else { &mut low } = middle;
    }
    Ok(Turn::Between(low, high))
}

/// Searches the bytes from `low` to `high`, and compares the last block that is kept with the first that is not.
///
/// Values: `kept_bytes`, the largest block whose pages stay (0 if none does, `high` if all do, which is then said in a
/// remark); where there is a cliff, `cliff_bytes`, one more; `below_ns` and `above_ns`, a settled cycle on either side;
/// `dearer_ratio` of the two.
///
/// # Errors
/// Why it can't be found here.
pub fn cliff(
    allocator: &'static Allocator,
    [low, high]: [usize; 2],
    rounds: usize,
) -> Result<Sample, String> {
    let said = |e: BlockError| e.to_string();
    allocator.check(memory::page_bytes(), ALIGN).map_err(said)?;
    let above = |bytes| {
        let anew = faults_anew(allocator, bytes).map_err(said)?;
        anew.ok_or_else(|| "this system does not count faults".to_string())
    };
    let sample = Sample::default();
    let mut sample = match boundary(low, high, above)? {
        Turn::Between(kept, cliff) => {
            let time = |bytes| settled_ns(allocator, bytes, rounds).map(|ns| ns as f64).map_err(said);
            let (below, above) = (time(kept)?, time(cliff)?);
            if above < DEARER * below {
                return Err(format!(
                    "no cliff found: between {kept} and {cliff} bytes the faults change but the cost does not, so faults come and go \
                     with the size and halving finds no edge"
                ));
            }
            sample
                .with("kept_bytes", kept as f64)
                .with("cliff_bytes", cliff as f64)
                .with("below_ns", below)
                .with("above_ns", above)
                .with("dearer_ratio", above / below.max(1.0))
                .seeing(format!(
                    "{} keeps a block of {kept} bytes, and gives one of {cliff} back",
                    allocator.id()
                ))
        }
        Turn::Never => sample.with("kept_bytes", high as f64).seeing(format!(
            "{} has no cliff up to {} MiB: it keeps them all",
            allocator.id(),
            high >> 20
        )),
        Turn::Always => sample.with("kept_bytes", 0.0).seeing(format!(
            "{} gives back {} KiB already, each time",
            allocator.id(),
            low >> 10
        )),
    };
    sample.doubts = doubts(allocator);
    if !allocator.purge() {
        sample.doubts.push(format!(
            "{} gives nothing back on demand: a probe may find what an earlier one left",
            allocator.id()
        ));
    }
    Ok(sample)
}

/// What happened in the process before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// Nothing of that kind.
    Nothing,
    /// So many blocks of so many bytes were got, touched and freed, one after the other.
    Freed {
        /// Of one.
        bytes: usize,
        /// Blocks.
        count: usize,
    },
    /// `mallopt(M_MMAP_THRESHOLD)` was called with so many bytes.
    Threshold(usize),
}

impl Before {
    /// So many times smaller where a run is smaller as a whole; a threshold stays what it is.
    #[must_use]
    pub const fn scaled(self, times: usize) -> Self {
        match self {
            Self::Freed { bytes, count } => Self::Freed { bytes: bytes / times, count },
            other => other,
        }
    }
}

/// Cycles of one size after that. Meaningful only in a process of its own.
///
/// Values: `first_faults_count`, `second_faults_count`, minor faults in the first and second cycle;
/// `faults_per_cycle_count` in those after them; `first_cycle_ns`, and `cycle_ns`, the median of those after the second.
///
/// # Errors
/// What the allocator refused; or that the system does not have the knob, or does not count faults.
pub fn history(
    allocator: &'static Allocator,
    before: Before,
    bytes: usize,
    extent: Extent,
) -> Result<Sample, String> {
    let said = |e: BlockError| e.to_string();
    let mut cycles = histogram();
    cycles.reset(); // written before the first cycle, and freed after the last: it is a block like the others
    allocator.check(memory::page_bytes(), ALIGN).map_err(said)?;
    match before {
        Before::Nothing => {}
        Before::Freed { bytes, count } => {
            for _ in 0..count {
                cycle(allocator, bytes).map_err(said)?;
            }
        }
        Before::Threshold(bytes) => fix_mmap_threshold(bytes)?,
    }
    let counted = || {
        let before = memory::minor_faults();
        let parts = cycle(allocator, bytes).map_err(said)?;
        Ok::<_, String>((parts.total(), difference(before, memory::minor_faults())))
    };
    let (first, second) = (counted()?, counted()?);
    let (seen, begin) = (memory::minor_faults(), Instant::now());
    while cycles.len() < extent.least || (cycles.len() < extent.most && begin.elapsed() < extent.time) {
        let parts = cycle(allocator, bytes).map_err(said)?;
        cycles.saturating_record(parts.total());
    }
    let faults = difference(seen, memory::minor_faults()).ok_or("this system does not count faults")?;
    let number = |n: u64| Some(n as f64);
    let values = [
        ("first_faults_count", first.1.and_then(number)),
        ("second_faults_count", second.1.and_then(number)),
        ("faults_per_cycle_count", Some(faults as f64 / cycles.len() as f64)),
        ("first_cycle_ns", number(first.0)),
        ("cycle_ns", number(cycles.value_at_quantile(0.5))),
    ];
    let mut sample = with_known(Sample::default(), &values);
    sample.receipts.kept_count = Some(cycles.len() as f64);
    sample.doubts = doubts(allocator);
    Ok(sample)
}
