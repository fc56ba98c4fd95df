//! The mutation table: which atomic step of the structure under test is to be weakened in this run, and how.
//!
//! Every method of the modelled face is `#[track_caller]`, so the place of the call names the step: no macro, no
//! registration, nothing in the structure's source. loom runs all modelled threads as coroutines of the one thread that
//! called `check`, so a plain thread-local is seen by the whole model.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::Location;
use std::sync::atomic::Ordering::{self, AcqRel, Acquire, Relaxed, Release, SeqCst};

/// What a step does. One compare-exchange has two roles, since it has two orderings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Load,
    Store,
    ReadModifyWrite,
    Success,
    Failure,
    Fence,
    Wait,
    WakeOne,
    WakeAll,
    Unpark,
}

/// A step in the source file of the structure under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Site {
    pub line: u32,
    pub column: u32,
    pub role: Role,
}

/// One weakening of one site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Another ordering; for a fence, `Relaxed` means no fence at all.
    To(Ordering),
    /// The read-modify-write becomes a load and a store, between which others may run.
    Split,
    /// A wake-up is not sent.
    Drop,
    /// A wake-up for all goes to one.
    One,
}

/// What the world may do at any time, and a right structure must stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct World {
    /// Futex waits return at once, as a futex may: `whim` says which.
    pub spurious_wake: bool,
    /// Weak compare-exchanges fail though the value is the expected one, likewise.
    pub spurious_failure: bool,
    /// Which of its visits to a step go wrong for whoever comes there.
    pub whim: Whim,
    /// The second way to give SeqCst accesses their order: a fence before each SeqCst load, too.
    pub leading_fence: bool,
}

impl World {
    /// Waits and weak compare-exchanges go wrong.
    pub fn hostile(whim: Whim) -> Self {
        Self { spurious_wake: true, spurious_failure: true, whim, ..Self::default() }
    }
}

/// Which visit of an execution to a wait or a weak compare-exchange goes wrong, counted for each place in the source. Not all of them:
/// then nobody would get on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Whim {
    /// The first.
    #[default]
    First,
    /// The second: the first went as it should.
    Second,
}

/// The table for one exploration.
#[derive(Default)]
pub struct Table {
    /// The end of the path of the structure under test, `src/structures/lock/mutex.rs`. Steps in other files are never sites.
    pub file: String,
    /// Threads of the scenario, main included: how many shadows each word needs.
    pub threads: usize,
    /// Shadows are inspected before the access, as steps at which threads may switch: many more executions, no more
    /// outcomes. For one guard test.
    pub switch_at_shadows: bool,
    pub mutant: Option<(Site, Change)>,
    pub world: World,
    /// Every site that some execution reached, with its ordering as written (`Relaxed` where there is none).
    pub seen: BTreeMap<Site, Ordering>,
    /// Per execution: threads spawned so far, and visits to the places at which the world plays tricks.
    pub spawned: usize,
    pub visits: BTreeMap<(&'static str, u32, u32), usize>,
    /// Some execution came to a step at which the world may play a trick.
    pub tricky: bool,
    /// The steps of this execution, if somebody wants to see it.
    pub trace: Option<Vec<Step>>,
}

/// One atomic step as it happened.
pub struct Step {
    pub thread: usize,
    /// `mutex:51 load Acquire: 1 (old)`
    pub what: String,
}

thread_local! {
    pub static TABLE: RefCell<Table> = RefCell::default();
}

impl Table {
    /// Call at the start of each execution.
    pub fn begin_execution(&mut self) {
        self.spawned = 0;
        self.visits.clear();
        self.trace.iter_mut().for_each(Vec::clear);
    }
}

/// Notes the site, and says what the mutant of this run does to it.
fn visit(at: &'static Location<'static>, role: Role, written: Ordering) -> Option<Change> {
    TABLE.with_borrow_mut(|t| {
        if !at.file().ends_with(&t.file) {
            return None;
        }
        let site = Site { line: at.line(), column: at.column(), role };
        t.seen.entry(site).or_insert(written);
        t.mutant.and_then(|(mutated, change)| (mutated == site).then_some(change))
    })
}

/// Writes a step of this execution down, if somebody wants to see it. Steps of the tests' own files are not of interest.
pub fn note(at: &'static Location<'static>, thread: usize, what: impl FnOnce() -> String) {
    TABLE.with_borrow_mut(|t| {
        let Some(trace) = t.trace.as_mut().filter(|_| at.file().contains("src/")) else { return };
        let stem = at.file().rsplit('/').next().unwrap_or_default().trim_end_matches(".rs");
        trace.push(Step { thread, what: format!("{stem}:{} {}", at.line(), what()) });
    });
}

/// The ordering to use, and whether to split the step in two.
pub fn order(at: &'static Location<'static>, role: Role, written: Ordering) -> (Ordering, bool) {
    match visit(at, role, written) {
        Some(Change::To(weaker)) => (weaker, false),
        Some(Change::Split) => (written, true),
        _ => (written, false),
    }
}

/// What becomes of a wait or a wake-up.
pub fn signal(at: &'static Location<'static>, role: Role) -> Option<Change> {
    visit(at, role, Relaxed)
}

/// Whether the world plays this trick on this visit to the step that asks.
#[track_caller]
pub fn trick(which: fn(&mut World) -> &mut bool) -> bool {
    let at = Location::caller();
    TABLE.with_borrow_mut(|t| {
        t.tricky = true;
        let visit = t.visits.entry((at.file(), at.line(), at.column())).or_default();
        *visit += 1;
        let due = match t.world.whim {
            Whim::First => 1,
            Whim::Second => 2,
        };
        *which(&mut t.world) && *visit == due
    })
}

/// Whether a SeqCst load has a fence before it in this run.
pub fn leading_fence() -> bool {
    TABLE.with_borrow(|t| t.world.leading_fence)
}

/// Every weakening of a site, the mildest first.
pub fn mutants(site: Site, written: Ordering) -> Vec<Change> {
    let mut changes: Vec<Change> = weaker(site.role, written).iter().copied().map(Change::To).collect();
    match site.role {
        Role::ReadModifyWrite | Role::Success => changes.push(Change::Split),
        Role::WakeAll => changes.extend([Change::One, Change::Drop]),
        Role::WakeOne | Role::Unpark => changes.push(Change::Drop),
        Role::Load | Role::Store | Role::Failure | Role::Fence | Role::Wait => {}
    }
    changes
}

/// Every strictly weaker ordering that the language allows in this role.
fn weaker(role: Role, written: Ordering) -> &'static [Ordering] {
    match (role, written) {
        (_, Acquire | Release) => &[Relaxed],
        (_, AcqRel) => &[Acquire, Release, Relaxed],
        (Role::Load | Role::Failure, SeqCst) => &[Acquire, Relaxed],
        (Role::Store, SeqCst) => &[Release, Relaxed],
        (_, SeqCst) => &[AcqRel, Acquire, Release, Relaxed],
        _ => &[],
    }
}

/// The load of a split read-modify-write.
pub fn load_half(o: Ordering) -> Ordering {
    match o {
        AcqRel => Acquire,
        Release => Relaxed,
        same => same,
    }
}

/// The store of a split read-modify-write.
pub fn store_half(o: Ordering) -> Ordering {
    match o {
        AcqRel => Release,
        Acquire => Relaxed,
        same => same,
    }
}

/// What a mutant changes, `Success Acquire -> Relaxed`, as the report prints it and the survivor list names it.
pub struct Shown(pub Site, pub Ordering, pub Change);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shown(site, written, change) = self;
        write!(f, "{:?} ", site.role)?;
        match change {
            Change::To(Relaxed) if site.role == Role::Fence => write!(f, "{written:?} -> none"),
            Change::To(weaker) => write!(f, "{written:?} -> {weaker:?}"),
            Change::Split => write!(f, "split"),
            Change::Drop => write!(f, "dropped"),
            Change::One => write!(f, "wakes one"),
        }
    }
}
