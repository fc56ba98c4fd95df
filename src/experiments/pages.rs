//! Small pages, huge pages, pages that are provided before the first touch: what memory from the kernel costs as a whole,
//! and what a single touch waits.
//!
//! A page of the system (4 KiB, say) costs a fault: enter the kernel, find the page, clear it, map it. A huge page (2 MiB,
//! say) is one fault for 512 of them, and clears them all while one touch waits. Pre-faulting pays inside the call.
use std::{fs, io, path::Path, time::Instant};

use hdrhistogram::Histogram;

use crate::{
    experiments::cycle::Extent,
    lab::sample::Sample,
    machine::memory::{self, Mapping},
    measure::latency::{difference, histogram, ns, quantile, with_known},
};

/// Which pages, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// The system's pages, at their first touch (`MADV_NOHUGEPAGE`).
    Small,
    /// Huge pages at their first touch (`MADV_HUGEPAGE`).
    Huge,
    /// Whatever pages the kernel chooses, inside mmap (`MAP_POPULATE`).
    Populated,
    /// Huge pages, inside a second call (`MADV_HUGEPAGE` and `MADV_POPULATE_WRITE`).
    HugePopulated,
}

impl Pages {
    fn huge(self) -> bool {
        matches!(self, Self::Huge | Self::HugePopulated)
    }

    /// A mapping with such pages.
    ///
    /// # Errors
    /// What the system refused.
    pub fn map(self, bytes: usize) -> io::Result<Mapping> {
        if self == Self::Populated {
            return Mapping::populated(bytes);
        }
        let mut memory = Mapping::lazy(bytes)?;
        if self.huge() {
            memory.huge_pages()?;
        } else {
            // Not an error where it fails: a kernel without huge pages has only small ones.
            memory.small_pages_only();
        }
        if self == Self::HugePopulated {
            memory.populate()?;
        }
        Ok(memory)
    }
}

/// What one round cost: map, touch every page, unmap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// The calls before the first touch, in ns.
    pub call: u64,
    /// One write to each page, in ns.
    pub touch: u64,
    /// munmap, in ns.
    pub unmap: u64,
    /// Minor faults inside the calls.
    pub call_faults: Option<u64>,
    /// Minor faults of the writes.
    pub touch_faults: Option<u64>,
    /// Bytes in huge pages, if asked for.
    pub huge: Option<u64>,
}

impl Round {
    /// The whole round, in ns.
    pub fn total(&self) -> u64 {
        self.call + self.touch + self.unmap
    }
}

/// One round; with a histogram, each touch is timed on its own into it, and the round as a whole is dearer by two looks at
/// the clock a page. With `look`, not timed, the huge pages are counted before munmap.
///
/// # Errors
/// What the system refused.
pub fn round(pages: Pages, bytes: usize, each: Option<&mut Histogram<u64>>, look: bool) -> io::Result<Round> {
    let page = memory::page_bytes();
    let (before, start) = (memory::minor_faults(), Instant::now());
    let mut memory = pages.map(bytes)?;
    let call = ns(start.elapsed());
    let (mapped, start) = (memory::minor_faults(), Instant::now());
    match each {
        None => (0..bytes).step_by(page).for_each(|at| memory.touch(at)),
        Some(histogram) => {
            for at in (0..bytes).step_by(page) {
                let start = Instant::now();
                memory.touch(at);
                histogram.saturating_record(ns(start.elapsed()));
            }
        }
    }
    let touch = ns(start.elapsed());
    let touched = memory::minor_faults();
    let huge = if look { memory.huge_bytes() } else { None };
    let start = Instant::now();
    drop(memory);
    let unmap = ns(start.elapsed());
    let (call_faults, touch_faults) = (difference(before, mapped), difference(mapped, touched));
    Ok(Round { call, touch, unmap, call_faults, touch_faults, huge })
}

/// Rounds for that long, by turns as a whole and touch by touch. The first round is not counted; its pages are looked at.
///
/// Values: `op_ns`, `call_ns`, `touch_ns`, `munmap_ns` of whole rounds, medians; `touch_p50_ns`, `touch_p999_ns`,
/// `touch_max_ns` of single touches in the other rounds; `faults_count` of a round, `touch_faults_count` of them outside
/// of the calls; `huge_share` of the bytes.
///
/// # Errors
/// Why it can't be measured here: the system refused, or gave other pages than it was asked for.
pub fn pages(pages: Pages, bytes: usize, extent: Extent) -> Result<Sample, String> {
    let said = |e: io::Error| refused(pages, &e);
    if pages.huge() {
        possible(Path::new("/"), bytes)?;
    }
    let mut whole: [_; 4] = std::array::from_fn(|_| histogram());
    let mut single = histogram();
    let first = round(pages, bytes, None, true).map_err(said)?;
    let doubt = given(pages, first, bytes)?;
    let (begin, mut count, mut faults, mut touch_faults) = (Instant::now(), 0, Some(0), Some(0));
    while count < extent.least || (count < extent.most && begin.elapsed() < extent.time) {
        let one = round(pages, bytes, None, false).map_err(said)?;
        for (histogram, ns) in whole.iter_mut().zip([one.total(), one.call, one.touch, one.unmap]) {
            histogram.saturating_record(ns);
        }
        touch_faults = touch_faults.zip(one.touch_faults).map(|(a, b)| a + b);
        faults = faults.zip(one.call_faults.zip(one.touch_faults)).map(|(a, (b, c))| a + b + c);
        round(pages, bytes, Some(&mut single), false).map_err(said)?;
        count += 1;
    }
    let median = |i: usize| Some(whole[i].value_at_quantile(0.5) as f64);
    let per_round = |n: Option<u64>| n.map(|n| n as f64 / count as f64);
    let values = [
        ("op_ns", median(0)),
        ("call_ns", median(1)),
        ("touch_ns", median(2)),
        ("munmap_ns", median(3)),
        ("touch_p50_ns", quantile(&single, 0.5)),
        ("touch_p999_ns", quantile(&single, 0.999)),
        ("touch_max_ns", Some(single.max() as f64)),
        ("faults_count", per_round(faults)),
        ("touch_faults_count", per_round(touch_faults)),
        ("huge_share", first.huge.map(|h| (h as f64 / bytes as f64).min(1.0))),
    ];
    let mut sample = with_known(Sample::default(), &values);
    sample.receipts.kept_count = Some(count as f64);
    sample.doubts.extend(doubt);
    Ok(sample)
}

fn refused(pages: Pages, e: &io::Error) -> String {
    match (pages, e.kind()) {
        (Pages::HugePopulated, io::ErrorKind::InvalidInput) => {
            "this kernel can't populate memory by MADV_POPULATE_WRITE (Linux 5.14)".into()
        }
        _ => format!("not possible here: {e}"),
    }
}

/// Why a block of so many bytes can't have huge pages here, by what the kernel says of them below `root`. Where it says
/// nothing, they may be possible: what was given is looked at afterwards.
///
/// # Errors
/// The reason.
pub fn possible(root: &Path, bytes: usize) -> Result<(), String> {
    let folder = root.join("sys/kernel/mm/transparent_hugepage");
    let read = |name| fs::read_to_string(folder.join(name)).unwrap_or_default();
    if read("enabled").contains("[never]") {
        return Err(
            "huge pages are switched off: /sys/kernel/mm/transparent_hugepage/enabled says never".into()
        );
    }
    match read("hpage_pmd_size").trim().parse::<usize>() {
        Ok(huge) if 2 * huge > bytes => {
            Err(format!("a huge page has {} MiB here, and two of them don't fit into the block", huge >> 20))
        }
        _ => Ok(()),
    }
}

/// Whether the pages of a round were those that were asked for: an error if a number would be about others, a doubt if it
/// can't be told or some were others.
///
/// By `AnonHugePages`, else by the faults: huge pages take less than one for eight small pages.
///
/// # Errors
/// What was given instead.
pub fn given(pages: Pages, round: Round, bytes: usize) -> Result<Option<String>, String> {
    let small = (bytes / memory::page_bytes()) as f64;
    let faults = round.call_faults.zip(round.touch_faults).map(|(call, touch)| (call + touch) as f64);
    let share = round.huge.map(|huge| huge as f64 / bytes as f64);
    let percent = |share: f64| format!("{:.0} % of the block", share * 100.0);
    match (pages.huge(), share, faults) {
        (true, Some(share), _) if share < 0.5 => {
            Err(format!("huge pages were asked for, and the kernel gave them for {}", percent(share)))
        }
        (true, Some(share), _) if share < 0.9 => {
            Ok(Some(format!("huge pages were given for {} only", percent(share))))
        }
        (true, None, Some(faults)) if faults > small / 8.0 => {
            Err(format!("huge pages were asked for, and {faults:.0} faults say that small ones were given"))
        }
        (true, None, None) => Ok(Some("this system does not tell whether the pages were huge".into())),
        (false, Some(share), _) if share > 0.1 => {
            let said = format!("the kernel gave huge pages unasked, for {}", percent(share));
            if pages == Pages::Small { Err(said) } else { Ok(Some(said)) }
        }
        _ => Ok(None),
    }
}

/// The first touch of memory that this process never had, and of as much that it had, gave back and mapped again: twice,
/// the cheaper of the two.
///
/// Values: `cold_touch_ns`, `warm_touch_ns`, `cold_faults_count`, `warm_faults_count`.
///
/// Nobody can say of the first that the memory was new to the machine: another process may have had it a moment ago, and
/// in a virtual machine a free page may be with the guest or have gone back to the host. Meaningful in a fresh process.
///
/// # Errors
/// As [`pages`].
pub fn cold_and_warm(pages: Pages, bytes: usize) -> Result<Sample, String> {
    let said = |e: io::Error| refused(pages, &e);
    if pages.huge() {
        possible(Path::new("/"), bytes)?;
    }
    let cold = round(pages, bytes, None, true).map_err(said)?;
    let doubt = given(pages, cold, bytes)?;
    let warm =
        [round(pages, bytes, None, false).map_err(said)?, round(pages, bytes, None, false).map_err(said)?];
    let cheaper = if warm[1].touch < warm[0].touch { warm[1] } else { warm[0] };
    let number = |n: u64| n as f64;
    let values = [
        ("cold_touch_ns", Some(number(cold.touch))),
        ("warm_touch_ns", Some(number(cheaper.touch))),
        ("cold_faults_count", cold.touch_faults.map(number)),
        ("warm_faults_count", cheaper.touch_faults.map(number)),
        ("huge_share", cold.huge.map(|h| (number(h) / bytes as f64).min(1.0))),
    ];
    let mut sample = with_known(Sample::default(), &values);
    sample.doubts.extend(doubt);
    Ok(match reported_from(Path::new("/")) {
        Some(order) => sample.seeing(format!(
            "this guest may hand free memory back to its host, from {} KiB on (free-page reporting): cold memory may be \
             the host's to find",
            (memory::page_bytes() << order) >> 10
        )),
        None => sample,
    })
}

/// The smallest order of free pages that this kernel reports to a host, if it is built to do so (Linux 5.7). Whether a host
/// listens is not visible from inside.
pub fn reported_from(root: &Path) -> Option<u32> {
    let path = root.join("sys/module/page_reporting/parameters/page_reporting_order");
    fs::read_to_string(path).ok()?.trim().parse().ok().filter(|order| *order < 32)
}
