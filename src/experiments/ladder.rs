//! How far away memory is: loads that follow one another through a working set of known size, and what a program can do about the distance.
//!
//! A chase is a cycle through cache lines: each line says which one is next, so a load can't begin before the one before has ended. In random
//! order no prefetcher can guess the next line. In the order of addresses it can.
use std::{
    alloc::{Layout, alloc, dealloc, handle_alloc_error},
    fs,
    hint::black_box,
    path::Path,
    ptr::NonNull,
    rc::Rc,
};

use crate::{
    experiments::pages,
    lab::{plan::Plan, sample::Sample},
    machine::{facts::cpu_list, memory, pin_current_thread},
    measure::{
        cost::{self, Ops, Solo},
        order::Order,
    },
};

/// Bytes of a line, and of the steps of a chase.
pub const LINE: usize = 64;

/// A cache line that says which one is next.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub struct Line {
    next: u32,
}

/// Which pages a working set lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// The system's own (4 KiB, say).
    Small,
    /// Huge ones where the kernel has them (`MADV_HUGEPAGE`), and no number where it gives others.
    Huge,
}

/// Lines from the allocator, at a boundary of huge pages; all of them are written when it is made.
#[derive(Debug)]
pub struct Lines {
    start: NonNull<Line>,
    count: usize,
}

/// Where a huge page begins, on x86-64 and on most aarch64 kernels.
const HUGE: usize = 2 << 20;

impl Lines {
    fn layout(count: usize) -> Layout {
        Layout::from_size_align(count * LINE, HUGE).expect("a working set is smaller than the address space")
    }

    /// So many lines, each its own next.
    ///
    /// # Errors
    /// There is no room, or the kernel gave other pages than these.
    ///
    /// # Panics
    /// If `count` is 0 or more than 2^32.
    pub fn new(count: usize, backing: Backing) -> Result<Self, String> {
        assert!(count > 0 && u32::try_from(count - 1).is_ok(), "lines are counted in 32 bits");
        let bytes = count * LINE;
        memory::room_for(bytes)?;
        if backing == Backing::Huge {
            pages::possible(Path::new("/"), bytes)?;
        }
        let layout = Self::layout(count);
        // SAFETY: the layout has a size, since there is at least one line.
        let raw = unsafe { alloc(layout) };
        let Some(start) = NonNull::new(raw.cast::<Line>()) else { handle_alloc_error(layout) };
        advise(start, bytes, backing);
        for i in 0..count {
            let next = u32::try_from(i).expect("asserted above");
            // SAFETY: `i` is below the count, so the place is inside the allocation.
            let place = unsafe { start.add(i) };
            // SAFETY: the place is ours alone, aligned to a line, and nothing is there to be dropped.
            unsafe { place.write(Line { next }) };
        }
        let lines = Self { start, count };
        match (backing, lines.huge_share()) {
            (Backing::Huge, Some(share)) if share < 0.9 => {
                Err(format!("huge pages were asked for, and the kernel gave them for {:.0} %", share * 100.0))
            }
            (Backing::Small, Some(share)) if share > 0.1 => Err(format!(
                "small pages were asked for, and the kernel gave huge ones for {:.0} %",
                share * 100.0
            )),
            _ => Ok(lines),
        }
    }

    /// The share of its bytes that lie in huge pages, where that can be told and a huge page fits.
    pub fn huge_share(&self) -> Option<f64> {
        let bytes = self.count * LINE;
        if bytes < 2 * HUGE {
            return None;
        }
        let from = self.start.addr().get();
        let huge = memory::parse_huge(&fs::read_to_string("/proc/self/smaps").ok()?, from, from + bytes)?;
        Some((huge as f64 / bytes as f64).min(1.0))
    }

    /// All of them.
    pub fn all(&self) -> &[Line] {
        // SAFETY: `new` has written `count` lines from `start` on; they live as long as this, and nobody else has them.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.count) }
    }

    fn all_mut(&mut self) -> &mut [Line] {
        // SAFETY: as in `all`, and `&mut self` is the only way to them.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.count) }
    }

    /// Makes one cycle of the lines at these places, in this order.
    ///
    /// # Panics
    /// If a place is no line.
    pub fn link(&mut self, order: &[u32]) {
        let lines = self.all_mut();
        let nexts = order.iter().skip(1).chain(order.first());
        for (place, next) in order.iter().zip(nexts) {
            lines[*place as usize].next = *next;
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        // SAFETY: it came from `alloc` with this layout, and is given back once.
        unsafe { dealloc(self.start.as_ptr().cast(), Self::layout(self.count)) };
    }
}

/// Says to the kernel which pages are wanted. What it gave is looked at afterwards.
fn advise(start: NonNull<Line>, bytes: usize, backing: Backing) {
    #[cfg(target_os = "linux")]
    {
        let advice = if backing == Backing::Huge { libc::MADV_HUGEPAGE } else { libc::MADV_NOHUGEPAGE };
        // Whole pages only: what lies beside the block belongs to the allocator.
        let whole = bytes & !(memory::page_bytes() - 1);
        // SAFETY: the range is inside one allocation of ours, from a page's beginning; this advice leaves the bytes alone.
        let _ = unsafe { libc::madvise(start.as_ptr().cast(), whole, advice) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (start, bytes, backing);
}

/// Places 0 to `count` in random order.
pub fn shuffled(count: usize, seed: u64) -> Vec<u32> {
    let mut places: Vec<u32> = (0..u32::try_from(count).expect("lines are counted in 32 bits")).collect();
    Order::new(seed).shuffle(&mut places);
    places
}

/// How many lines a walk visits until it is back at `from`; `None` if it does not come back within as many steps as there are lines.
pub fn lap(lines: &[Line], from: u32) -> Option<usize> {
    let mut at = from;
    for step in 1..=lines.len() {
        at = lines[at as usize].next;
        if at == from {
            return Some(step);
        }
    }
    None
}

/// How a chase goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From line to line in random order.
    Random,
    /// From line to line in the order of addresses.
    InOrder,
    /// In random order, four chases by turns, none of which waits for the others.
    FourAtOnce,
}

/// Where a working set lies, by the machine's own caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Half of the first-level data cache.
    L1,
    /// Half of the second level.
    L2,
    /// An eighth of the last level, which others use as well, or twice the second.
    L3,
    /// Four times the last level.
    Memory,
}

/// The data caches of a CPU, in bytes, from the first level to the last.
pub fn caches(root: &Path, cpu: usize) -> Vec<usize> {
    let folder = root.join(format!("sys/devices/system/cpu/cpu{cpu}/cache"));
    let read = |index: usize, name: &str| {
        fs::read_to_string(folder.join(format!("index{index}/{name}"))).ok().map(|t| t.trim().to_string())
    };
    let mut found: Vec<(u32, usize)> = (0..8)
        .filter(|i| read(*i, "type").is_some_and(|t| t != "Instruction"))
        .filter_map(|i| {
            let (level, size) = (read(i, "level")?.parse().ok()?, read(i, "size")?);
            let (digits, unit) =
                size.split_at(size.find(|c: char| !c.is_ascii_digit()).unwrap_or(size.len()));
            let scale = match unit {
                "" => 1,
                "K" => 1 << 10,
                "M" => 1 << 20,
                _ => return None,
            };
            Some((level, digits.parse::<usize>().ok()? * scale))
        })
        .collect();
    found.sort_unstable();
    found.into_iter().map(|(_, bytes)| bytes).collect()
}

/// More than this is not built for a number.
const LARGEST: usize = 1 << 30;

/// The size of a working set at this level of these caches.
///
/// # Errors
/// The machine does not say what its caches are, or they are too large.
pub fn size(level: Level, caches: &[usize]) -> Result<usize, String> {
    let [l1, l2, .., last] = caches[..] else {
        return Err("the system does not tell the sizes of three levels of caches".into());
    };
    let bytes = match level {
        Level::L1 => l1 / 2,
        Level::L2 => l2 / 2,
        Level::L3 => (last / 8).max(2 * l2),
        Level::Memory => last * 4,
    };
    if level == Level::L3 && bytes > last / 2 {
        return Err("half of the last level is not twice the second: nothing would come from it alone".into());
    }
    if bytes > LARGEST { Err(format!("it would take {} MiB", bytes >> 20)) } else { Ok(bytes) }
}

/// Chases a working set at this level. Values: `op_ns`, a load; `set_bytes`, what the loads of one lap touch; `huge_share` of it.
///
/// # Errors
/// Why it can't be measured here.
pub fn chase(plan: &Plan, way: Way, level: Level) -> Result<Sample, String> {
    let bytes = if plan.is_smoke() && level == Level::Memory {
        4 << 20
    } else {
        size(level, &caches(Path::new("/"), plan.cpus[0]))?
    };
    let count = bytes / LINE;
    // So that distance is not mixed with what translating addresses takes; the working sets of the first levels are smaller than a huge page.
    let huge = bytes >= 2 * HUGE && pages::possible(Path::new("/"), bytes).is_ok();
    let backing = if huge { Backing::Huge } else { Backing::Small };
    let places = |seed| match way {
        Way::InOrder => (0..u32::try_from(count).expect("at most 2^24 lines")).collect(),
        Way::Random | Way::FourAtOnce => shuffled(count, seed),
    };
    let mut seed = plan.seed ^ (plan.launch as u64) << 32;
    let mut make = || -> Result<(Lines, Vec<u32>), String> {
        seed += 1;
        let (mut lines, order) = (Lines::new(count, backing)?, places(seed));
        lines.link(&order);
        match lap(lines.all(), order[0]) {
            Some(visited) if visited == count => Ok((lines, order)),
            other => Err(format!("a lap visits {other:?} lines and not {count}")),
        }
    };
    timed(plan, &mut make, way == Way::FourAtOnce).map(|s| s.with("set_bytes", (count * LINE) as f64))
}

/// Times loads through a cycle and its twin.
fn timed(
    plan: &Plan,
    make: &mut dyn FnMut() -> Result<(Lines, Vec<u32>), String>,
    four: bool,
) -> Result<Sample, String> {
    // Both instances are made before either is timed, so that what fails can say why.
    let made = Rc::new(std::cell::RefCell::new(vec![make()?, make()?]));
    let huge = made.borrow()[0].0.huge_share();
    let solo = Solo::new("chase", move || {
        let (lines, order) = made.borrow_mut().pop().expect("made once, and once more for the twin");
        if four { four_at_once(lines, &order) } else { one(lines, order[0]) }
    });
    let sample = cost::solo(plan, "", [solo]).swap_remove(0);
    match sample.unmeasured {
        Some(why) => Err(why),
        None => Ok(match huge {
            Some(share) => sample.with("huge_share", share),
            None => sample,
        }),
    }
}

fn one(lines: Lines, from: u32) -> Ops {
    let mut last = from;
    Box::new(move |n| {
        let (lines, mut at) = (lines.all(), last);
        for _ in 0..n {
            at = lines[at as usize].next;
        }
        last = black_box(at);
    })
}

fn four_at_once(lines: Lines, order: &[u32]) -> Ops {
    let mut last = [0, 1, 2, 3].map(|i| order[order.len() / 4 * i]);
    Box::new(move |n| {
        let (lines, mut at) = (lines.all(), last);
        for _ in 0..n / 4 {
            at = at.map(|at| lines[at as usize].next);
        }
        (0..n % 4).for_each(|_| at[0] = lines[at[0] as usize].next);
        last = black_box(at);
    })
}

/// How lines lie in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// Side by side, in small pages.
    Packed,
    /// One in each small page.
    Small,
    /// One in each stretch as long as a small page, in huge pages.
    Huge,
}

/// Chases so many lines in random order, packed or one to a small page's length. All three load as many lines: only how many pages they lie in
/// differs. Values: `op_ns`; `set_bytes`, what the loads touch; `span_bytes`, the address space that they lie in.
///
/// # Errors
/// Why it can't be measured here.
pub fn reach(plan: &Plan, spread: Spread, count: usize) -> Result<Sample, String> {
    let page = if spread == Spread::Packed { LINE } else { memory::page_bytes() };
    let per_page = page / LINE;
    let backing = if spread == Spread::Huge { Backing::Huge } else { Backing::Small };
    let mut seed = plan.seed ^ (plan.launch as u64) << 32;
    let mut make = || -> Result<(Lines, Vec<u32>), String> {
        seed += 1;
        let mut dice = Order::new(seed);
        let mut lines = Lines::new(count * per_page, backing)?;
        // Somewhere in its page: at the same place in all, they would share a few sets of the cache.
        let places: Vec<u32> = shuffled(count, seed)
            .into_iter()
            .map(|p| {
                p * u32::try_from(per_page).expect("lines of a page")
                    + u32::try_from(dice.below(per_page)).expect("a line of a page")
            })
            .collect();
        lines.link(&places);
        match lap(lines.all(), places[0]) {
            Some(visited) if visited == count => Ok((lines, places)),
            other => Err(format!("a lap visits {other:?} lines and not {count}")),
        }
    };
    let sample = timed(plan, &mut make, false)?;
    Ok(sample.with("set_bytes", (count * LINE) as f64).with("span_bytes", (count * page) as f64))
}

/// The allowed CPUs of each NUMA node that has some, by node.
pub fn nodes(root: &Path, allowed: &[usize]) -> Vec<(usize, Vec<usize>)> {
    let Ok(folder) = fs::read_dir(root.join("sys/devices/system/node")) else { return Vec::new() };
    let mut found: Vec<(usize, Vec<usize>)> = folder
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let node = entry.file_name().to_str()?.strip_prefix("node")?.parse().ok()?;
            let mut cpus = cpu_list(fs::read_to_string(entry.path().join("cpulist")).ok()?.trim())?;
            cpus.retain(|cpu| allowed.contains(cpu));
            (!cpus.is_empty()).then_some((node, cpus))
        })
        .collect();
    found.sort_unstable();
    found
}

/// The share of a mapping's pages that lie on this node, by the text of `/proc/self/numa_maps`; `None` if it has no such mapping.
pub fn on_node(text: &str, start: usize, node: usize) -> Option<f64> {
    let name = format!("N{node}=");
    let line = text.lines().filter_map(|l| {
        let (at, rest) = l.split_once(' ')?;
        Some((usize::from_str_radix(at, 16).ok()?, rest))
    });
    // The last one that begins at the block or before it holds the block.
    let (_, rest) = line.filter(|(at, _)| *at <= start).max_by_key(|(at, _)| *at)?;
    let pages = |word: &str| word.split_once('=').and_then(|(_, n)| n.parse::<f64>().ok());
    let all: f64 = rest
        .split(' ')
        .filter(|w| w.starts_with('N') && w[1..].starts_with(|c: char| c.is_ascii_digit()))
        .filter_map(pages)
        .sum();
    let here: f64 = rest.split(' ').filter(|w| w.starts_with(&name)).filter_map(pages).sum();
    (all > 0.0).then_some(here / all)
}

/// Chases memory that a CPU of the same node touched first, or one of another node. Value: `op_ns`, a load; `on_node_share`, the share of the
/// pages that lie on the node meant.
///
/// # Errors
/// There is one node, or the memory did not come from where it should.
pub fn node(plan: &Plan, remote: bool) -> Result<Sample, String> {
    let nodes = nodes(Path::new("/"), &plan.cpus);
    let [(mine, _), (other, others), ..] = &nodes[..] else {
        return Err("the CPUs that this process may use are on one NUMA node: all memory is as near".into());
    };
    // `cost::solo` runs on the plan's first CPU, which need not be on the first node.
    let at_home =
        nodes.iter().find(|(_, cpus)| cpus.contains(&plan.cpus[0])).map_or(*mine, |(node, _)| *node);
    let far = if at_home == *other { (*mine, nodes[0].1[0]) } else { (*other, others[0]) };
    let (wanted, toucher) = if remote { far } else { (at_home, plan.cpus[0]) };
    let count = size(Level::Memory, &caches(Path::new("/"), plan.cpus[0]))? / LINE;
    let mut seed = plan.seed ^ (plan.launch as u64) << 32;
    let mut shares = Vec::new();
    let mut make = || -> Result<(Lines, Vec<u32>), String> {
        seed += 1;
        if !pin_current_thread(toucher) {
            return Err("the thread could not be pinned".into());
        }
        let (mut lines, order) = (Lines::new(count, Backing::Small)?, shuffled(count, seed));
        lines.link(&order);
        let maps = fs::read_to_string("/proc/self/numa_maps").unwrap_or_default();
        match on_node(&maps, lines.start.addr().get(), wanted) {
            Some(share) if share < 0.9 => {
                return Err(format!(
                    "{:.0} % of the pages lie on node {wanted}, where all should",
                    share * 100.0
                ));
            }
            Some(share) => shares.push(share),
            None => return Err("the system does not tell on which node memory lies".into()),
        }
        Ok((lines, order))
    };
    let sample = timed(plan, &mut make, false)?;
    Ok(sample.with("on_node_share", shares.iter().copied().fold(1.0, f64::min)))
}

/// A sum over bytes of which half count: by a branch or without, sorted or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Branch {
    /// The bytes are in order.
    pub sorted: bool,
    /// Whether a byte counts is decided by a branch, or by arithmetic.
    pub branches: bool,
}

/// So many bytes: more than a branch predictor can learn by heart.
const BYTES: usize = 1 << 20;

impl Branch {
    /// Random bytes, the same for all, as this one has them.
    pub fn bytes(self) -> Vec<u8> {
        let mut dice = Order::new(7);
        let mut bytes: Vec<u8> = (0..BYTES).map(|_| dice.next_u64().to_le_bytes()[0]).collect();
        if self.sorted {
            bytes.sort_unstable();
        }
        bytes
    }

    /// Adds up the bytes from 128 on.
    #[inline]
    pub fn sum(self, bytes: &[u8]) -> u64 {
        let mut sum = 0u64;
        if self.branches {
            for byte in bytes {
                if *byte >= 128 {
                    black_box(()); // keeps the compiler from making a conditional move of the branch
                    sum += u64::from(*byte);
                }
            }
        } else {
            for byte in bytes {
                black_box(()); // and here from adding up sixteen bytes at once
                sum += u64::from(*byte) * u64::from(*byte >= 128);
            }
        }
        sum
    }

    /// An operation is one byte.
    pub fn ops(self) -> Ops {
        let bytes = self.bytes();
        let mut at = 0;
        Box::new(move |n| {
            let mut left = usize::try_from(n).expect("a count of bytes");
            while left > 0 {
                let now = left.min(bytes.len() - at);
                black_box(self.sum(&bytes[at..at + now]));
                at = (at + now) % bytes.len();
                left -= now;
            }
        })
    }
}

/// Sixteen fields of four bytes: a line.
pub const FIELDS: usize = 16;

/// How records lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout16 {
    /// Record after record.
    Structs,
    /// Field after field, each for all records.
    Arrays,
}

/// Adds up one field of so many records, or all fields, and begins anew after the last one.
pub type Summing = Box<dyn FnMut(u64) -> u64>;

/// This many records in this layout. A record is an operation.
pub fn fields(layout: Layout16, all: bool, records: usize) -> Summing {
    let value =
        |record: usize, field: usize| u32::try_from((record * 7 + field) % 1_000).expect("below 1,000");
    match layout {
        Layout16::Structs => {
            let table: Vec<[u32; FIELDS]> =
                (0..records).map(|r| std::array::from_fn(|f| value(r, f))).collect();
            match all {
                true => summing(records, move |r| whole(|f| table[r][f])),
                false => summing(records, move |r| u64::from(table[r][0])),
            }
        }
        Layout16::Arrays => {
            let used = if all { FIELDS } else { 1 };
            let table: Vec<Vec<u32>> =
                (0..used).map(|f| (0..records).map(|r| value(r, f)).collect()).collect();
            match all {
                true => summing(records, move |r| whole(|f| table[f][r])),
                false => summing(records, move |r| u64::from(table[0][r])),
            }
        }
    }
}

fn whole(field: impl Fn(usize) -> u32) -> u64 {
    (0..FIELDS).map(|f| u64::from(field(f))).sum()
}

fn summing(records: usize, record: impl Fn(usize) -> u64 + 'static) -> Summing {
    let mut last = 0;
    Box::new(move |n| {
        let (mut sum, mut at) = (0u64, last);
        for _ in 0..n {
            sum += record(at);
            black_box(()); // one record at a time: else neighbouring fields would be added up sixteen at once
            at = if at + 1 == records { 0 } else { at + 1 };
        }
        last = at;
        sum
    })
}

/// That the layouts hold the same records.
///
/// # Errors
/// Their sums differ.
pub fn check_fields() -> Result<(), String> {
    const RECORDS: usize = 100;
    for all in [false, true] {
        let [structs, arrays] =
            [Layout16::Structs, Layout16::Arrays].map(|layout| fields(layout, all, RECORDS)(RECORDS as u64));
        if structs != arrays {
            return Err(format!("structs add up to {structs}, arrays to {arrays}"));
        }
    }
    Ok(())
}

/// That all four sums over the bytes are the same.
///
/// # Errors
/// They differ.
pub fn check_branches() -> Result<(), String> {
    let ways = [(true, true), (false, true), (true, false), (false, false)];
    let sums = ways.map(|(sorted, branches)| {
        let way = Branch { sorted, branches };
        way.sum(&way.bytes())
    });
    if sums.iter().all(|sum| *sum == sums[0]) { Ok(()) } else { Err(format!("the sums differ: {sums:?}")) }
}
