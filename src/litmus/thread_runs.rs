//! Every run of one thread, when each read may return any of the values that its word may hold.
use super::program::{Change, Memory, Step, Strength, Thread, Value, When, walk};

/// What a thread does to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Write,
    Fence,
}

/// One access or fence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    pub(super) kind: Kind,
    /// 0 for a fence.
    pub(super) word: usize,
    pub(super) value: Value,
    pub(super) order: Strength,
    /// A write that is one step with the read before it.
    pub(super) joined: bool,
    /// The read of a read-modify-write that could have written and, being weak, did not.
    pub(super) spurious: bool,
}

/// A run of a thread.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) events: Vec<Event>,
    pub(super) regs: Vec<Value>,
}

/// Plays the choices of a script, and the first one where the script has ended.
struct Oracle<'a> {
    /// The values that each word may hold.
    values: &'a [Vec<Value>],
    /// Which of how many, at each choice.
    script: &'a mut Vec<(usize, usize)>,
    next: usize,
    events: Vec<Event>,
}

impl Oracle<'_> {
    fn choose(&mut self, of: usize) -> usize {
        if self.next == self.script.len() {
            self.script.push((0, of));
        }
        self.next += 1;
        self.script[self.next - 1].0
    }

    fn read(&mut self, word: usize) -> Value {
        let which = self.choose(self.values[word].len());
        self.values[word][which]
    }

    fn push(&mut self, kind: Kind, word: usize, value: Value, order: Strength, joined: bool) {
        self.events.push(Event { kind, word, value, order, joined, spurious: false });
    }
}

impl Memory for Oracle<'_> {
    fn words(&self) -> usize {
        self.values.len()
    }

    fn load(&mut self, word: usize, order: Strength) -> Value {
        let value = self.read(word);
        self.push(Kind::Read, word, value, order, false);
        value
    }

    fn store(&mut self, word: usize, value: Value, order: Strength) {
        self.push(Kind::Write, word, value, order, false);
    }

    fn change(&mut self, word: usize, change: &Change<Value>) -> Option<(Value, bool)> {
        let read = self.read(word);
        let could = change.written(read);
        let written = could.filter(|_| !change.weak || self.choose(2) == 0);
        let Some(new) = written else {
            let (order, spurious) = (change.failure, could.is_some());
            self.events.push(Event { kind: Kind::Read, word, value: read, order, joined: false, spurious });
            return (!matches!(change.when, When::Await(_))).then_some((read, false));
        };
        // Of an order on both, the read has the Acquire and the write the Release.
        let (of_read, of_write) = match change.order {
            Strength::Acquire => (Strength::Acquire, Strength::Relaxed),
            Strength::Release => (Strength::Relaxed, Strength::Release),
            Strength::AcqRel => (Strength::Acquire, Strength::Release),
            both => (both, both),
        };
        self.push(Kind::Read, word, read, of_read, false);
        self.push(Kind::Write, word, new, of_write, true);
        Some((read, true))
    }

    fn fence(&mut self, order: Strength) {
        if order > Strength::Relaxed {
            self.push(Kind::Fence, 0, 0, order, false);
        }
    }
}

/// All runs of a thread that end. `None` if there are more than `most`.
pub(super) fn runs(thread: &Thread, values: &[Vec<Value>], most: usize) -> Option<Vec<Run>> {
    let (mut all, mut script) = (Vec::new(), Vec::new());
    loop {
        let mut regs = thread.initial.clone();
        let mut oracle = Oracle { values, script: &mut script, next: 0, events: Vec::new() };
        let ended = walk(&thread.steps, &mut regs, &mut oracle);
        if ended {
            all.push(Run { events: oracle.events, regs });
            if all.len() > most {
                return None;
            }
        }
        // The next script: the last choice that has another one takes it.
        while script.last().is_some_and(|(which, of)| which + 1 == *of) {
            script.pop();
        }
        match script.last_mut() {
            Some((which, _)) => *which += 1,
            None => return Some(all),
        }
    }
}

/// The most values of one word that are tried.
const VALUES: usize = 24;

/// The values that each word may hold: those at first, and whatever the threads write when they read such values. A value passes through each
/// write of a test once at most, so there are as many rounds as writes. False if there were more values than are tried.
pub(super) fn values(threads: &[Thread], first: &[Value], most: usize) -> (Vec<Vec<Value>>, bool) {
    let mut values: Vec<Vec<Value>> = first.iter().map(|v| vec![*v]).collect();
    let writes = |s: &&Step| matches!(s, Step::Store { .. } | Step::Change { .. });
    let rounds = threads.iter().flat_map(|t| &t.steps).filter(writes).count();
    for _ in 0..=rounds {
        let mut more = false;
        for thread in threads {
            let Some(all) = runs(thread, &values, most) else { return (values, false) };
            for event in all.iter().flat_map(|r| &r.events).filter(|e| e.kind == Kind::Write) {
                let known = &mut values[event.word];
                if !known.contains(&event.value) {
                    if known.len() == VALUES {
                        return (values, false);
                    }
                    known.push(event.value);
                    more = true;
                }
            }
        }
        if !more {
            break;
        }
    }
    (values, true)
}
