//! The mutants that may survive, each with its reason. Reviewed by hand: a survivor that is not here fails the tests, and so
//! does an entry whose mutant is killed, or is no more.
//!
//! There is no class "needless". A survivor is first of all evidence that a scenario is missing: most often one in which a thread comes
//! twice, a handle is dropped and its place taken over, or a third thread collects. An ordering that an edge names stays, whether a
//! scenario needs it or not. It is weakened only by a written argument in the structure's file, over the language's rules: that some bounded
//! search finds nothing is no argument. (Two orderings once were weakened because no mutant of them was killed; both were mistakes.)

/// Why a mutant may survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The mutant behaves like the original wherever it may run.
    Equivalent,
    /// The mutant is wrong, but this model, or its bound, can't show it.
    ToolLimit,
}

/// One mutant that may survive.
#[derive(Clone, Copy, Debug)]
pub struct Survivor {
    /// As in the list of structures: `lock/mutex`.
    pub structure: &'static str,
    /// Part of the source line of the site, enough to tell it from all others; lines move, their text seldom changes.
    pub code: &'static str,
    /// As printed: `Success Acquire -> Relaxed`.
    pub change: &'static str,
    pub class: Class,
    pub reason: &'static str,
}

pub const SURVIVORS: &[Survivor] = &[
    Survivor {
        structure: "lockfree/deque",
        code: "match shared.top.0.compare_exchange(top, top.wrapping_add(1), Release, Relaxed) {",
        change: "Success Release -> Relaxed",
        class: Class::ToolLimit,
        reason: "It keeps the thief's load of the slot before the exchange that lets the owner fill the slot again. To see the lack of it, that \
        load must return a value that is stored after the exchange: load buffering, which the language's text and ARM allow, and \
        neither loom nor RC11 has. All that comes before the load is ordered by the fence already.",
    },
    Survivor {
        structure: "lock/rwlock_fair",
        code: "self.turn.fetch_add(1, Release); // E3",
        change: "ReadModifyWrite split",
        class: Class::ToolLimit,
        reason: "Wakers of one phase never overlap, since one reader leaves last. A waker that stalls between its two halves for two \
        phases would set the turn back to the number that the third writer is about to sleep on; that takes three writers, three \
        last readers and more preemptions than the bound.",
    },
    Survivor {
        structure: "reclaim/epoch",
        code: "match self.epoch.compare_exchange(now, now + 1, Release, Relaxed) {",
        change: "Success split",
        class: Class::ToolLimit,
        reason: "One late store turns the epoch back, which only delays; a node is freed too early when a second collector, late as well,             then sets it far ahead of a reader that announced the low one: two collectors, a writer and a reader, four threads.",
    },
];
