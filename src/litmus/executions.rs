//! Candidate executions of a whole test: a run of each thread, a write for each read, an order of the writes to each word.
//!
//! Only candidates that are coherent word by word are built: every model here demands that. A thread sees the writes to one word in one order,
//! and a read-modify-write follows directly on the write that it read.
use super::{
    program::{Item, Outcome, Test, Value},
    relation::MOST,
    thread_runs::{Event, Kind, Run, runs, values},
};

/// How much may be tried, and whether somebody wants it to end.
pub(super) struct Budget<'a> {
    pub(super) left: u64,
    pub(super) stop: &'a dyn Fn() -> bool,
}

impl Budget<'_> {
    /// False once all is spent.
    fn spend(&mut self, how_much: u64) -> bool {
        self.left = self.left.saturating_sub(how_much);
        if (self.stop)() {
            self.left = 0;
        }
        self.left > 0
    }
}

/// To judge a candidate takes as long as so many steps towards one.
const JUDGING: u64 = 50;

/// The thread of the first writes.
pub(super) const FIRST: usize = usize::MAX;

/// A candidate. The first events are the first writes to the words, in the order of the words.
pub(super) struct Execution {
    pub(super) events: Vec<Event>,
    /// The thread of each event.
    pub(super) thread: Vec<usize>,
    /// For each read, the write that it reads.
    pub(super) source: Vec<usize>,
    /// For each word, its writes in order.
    pub(super) order: Vec<Vec<usize>>,
}

/// What looks at the candidates.
pub(super) trait Judge {
    /// Nothing more is to be learnt from executions that end so.
    fn is_settled(&self, outcome: &Outcome) -> bool;
    /// Looks at one.
    fn judge(&mut self, execution: &Execution, outcome: Outcome);
}

/// The most runs of one thread.
const RUNS: usize = 4096;

/// Shows every candidate to the judge. False if something was left out.
pub(super) fn explore(test: &Test, budget: &mut Budget<'_>, judge: &mut impl Judge) -> bool {
    let first: Vec<Value> = test.words.iter().map(|w| w.initial).collect();
    let (values, mut whole) = values(&test.threads, &first, RUNS);
    let mut all = Vec::new();
    for thread in &test.threads {
        let Some(runs) = runs(thread, &values, RUNS) else { return false };
        all.push(runs);
    }
    // A pair of word and value is a bit.
    let pairs: Vec<(usize, Value)> =
        values.iter().enumerate().flat_map(|(w, v)| v.iter().map(move |v| (w, *v))).collect();
    if pairs.len() > 128 {
        return false;
    }
    let bit = |e: &Event| pairs.iter().position(|p| *p == (e.word, e.value)).map_or(0, |i| 1_u128 << i);
    let mask = |r: &Run, kind| r.events.iter().filter(|e| e.kind == kind).fold(0, |m, e| m | bit(e));
    let masks: Vec<Vec<(u128, u128)>> = all
        .iter()
        .map(|runs| runs.iter().map(|r| (mask(r, Kind::Read), mask(r, Kind::Write))).collect())
        .collect();
    let of_first =
        pairs.iter().enumerate().filter(|(_, (w, v))| first[*w] == *v).fold(0, |m, (i, _)| m | 1 << i);
    // What the threads from here on can write at best.
    let mut later = vec![0; all.len() + 1];
    for t in (0..all.len()).rev() {
        later[t] = masks[t].iter().fold(later[t + 1], |m, (_, writes)| m | writes);
    }
    let mut search =
        Search { test, all: &all, masks: &masks, later: &later, budget, judge, chosen: Vec::new() };
    whole &= search.threads(0, of_first);
    whole
}

struct Search<'a, 'b, J> {
    test: &'a Test,
    all: &'a [Vec<Run>],
    /// What each run reads and writes.
    masks: &'a [Vec<(u128, u128)>],
    later: &'a [u128],
    budget: &'a mut Budget<'b>,
    judge: &'a mut J,
    chosen: Vec<usize>,
}

impl<J: Judge> Search<'_, '_, J> {
    /// Chooses a run for each thread from this one on. False if the budget is spent.
    fn threads(&mut self, reads: u128, writes: u128) -> bool {
        let t = self.chosen.len();
        if t == self.all.len() {
            return self.combination();
        }
        for (i, (needs, gives)) in self.masks[t].iter().enumerate() {
            let (reads, writes) = (reads | needs, writes | gives);
            if reads & !(writes | self.later[t + 1]) != 0 {
                continue;
            }
            self.chosen.push(i);
            let go_on = self.budget.spend(1) && self.threads(reads, writes);
            self.chosen.pop();
            if !go_on {
                return false;
            }
        }
        true
    }

    /// One run of each thread.
    fn combination(&mut self) -> bool {
        let chosen: Vec<&Run> = self.chosen.iter().enumerate().map(|(t, i)| &self.all[t][*i]).collect();
        let only_registers = self.test.items.iter().all(|i| matches!(i, Item::Reg(..)));
        if only_registers && self.judge.is_settled(&outcome(self.test, &chosen, &[])) {
            return true;
        }
        let (mut events, mut thread) = (Vec::new(), Vec::new());
        for (word, of) in self.test.words.iter().enumerate() {
            let order = super::program::Strength::Plain;
            events.push(Event {
                kind: Kind::Write,
                word,
                value: of.initial,
                order,
                joined: false,
                spurious: false,
            });
            thread.push(FIRST);
        }
        for (t, run) in chosen.iter().enumerate() {
            events.extend(&run.events);
            thread.resize(events.len(), t);
        }
        if events.len() > MOST {
            return false;
        }
        let reads: Vec<usize> = (0..events.len()).filter(|i| events[*i].kind == Kind::Read).collect();
        let sources: Vec<Vec<usize>> = reads.iter().map(|r| sources(&events, &thread, *r)).collect();
        let mut execution = Execution {
            source: vec![0; events.len()],
            order: vec![Vec::new(); self.test.words.len()],
            events,
            thread,
        };
        let at = Reads { chosen: &chosen, reads: &reads, sources: &sources };
        self.sources(&at, 0, &mut execution)
    }

    /// Chooses a write for each read from this one on.
    fn sources(&mut self, at: &Reads<'_>, next: usize, x: &mut Execution) -> bool {
        let Some(read) = at.reads.get(next).copied() else {
            return self.orders(at.chosen, x);
        };
        let joined = is_joined(&x.events, read);
        for source in &at.sources[next] {
            // Two read-modify-writes cannot follow directly on one write.
            let taken = joined
                && at.reads[..next].iter().any(|r| x.source[*r] == *source && is_joined(&x.events, *r));
            if taken {
                continue;
            }
            x.source[read] = *source;
            if !self.budget.spend(1) || !self.sources(at, next + 1, x) {
                return false;
            }
        }
        true
    }

    /// Every product of the coherent orders of each word.
    fn orders(&mut self, chosen: &[&Run], x: &mut Execution) -> bool {
        let words = self.test.words.len();
        let mut orders = Vec::with_capacity(words);
        for word in 0..words {
            let of_word = coherent(x, word, self.budget);
            if of_word.is_empty() {
                return self.budget.left > 0;
            }
            orders.push(of_word);
        }
        let mut which = vec![0; words];
        loop {
            for (word, i) in which.iter().enumerate() {
                x.order[word].clone_from(&orders[word][*i]);
            }
            let last: Vec<Value> = x.order.iter().map(|o| x.events[o[o.len() - 1]].value).collect();
            let outcome = outcome(self.test, chosen, &last);
            let mut cost = 1;
            if !self.judge.is_settled(&outcome) {
                self.judge.judge(x, outcome);
                cost = JUDGING;
            }
            if !self.budget.spend(cost) {
                return false;
            }
            let Some(word) = (0..words).find(|w| which[*w] + 1 < orders[*w].len()) else { return true };
            which[word] += 1;
            which[..word].fill(0);
        }
    }
}

/// The reads of a combination, and what each may read.
struct Reads<'a> {
    chosen: &'a [&'a Run],
    reads: &'a [usize],
    sources: &'a [Vec<usize>],
}

fn outcome(test: &Test, chosen: &[&Run], last: &[Value]) -> Outcome {
    let value = |item: &Item| match *item {
        Item::Reg(thread, reg) => chosen[thread].regs[reg],
        Item::Word(word) => last[word],
    };
    test.items.iter().map(value).collect()
}

/// Whether a read is one step with the write behind it.
fn is_joined(events: &[Event], read: usize) -> bool {
    events.get(read + 1).is_some_and(|e| e.joined)
}

/// The writes of this value to this word that the read may read: none of its own thread that comes later or that another one of its thread
/// has covered.
fn sources(events: &[Event], thread: &[usize], read: usize) -> Vec<usize> {
    let writes = |i: usize| events[i].kind == Kind::Write && events[i].word == events[read].word;
    let own_last = (0..read).rev().find(|i| writes(*i) && thread[*i] == thread[read]);
    let may = |i: usize| match thread[i] {
        FIRST => own_last.is_none(),
        t if t == thread[read] => Some(i) == own_last,
        _ => true,
    };
    (0..events.len()).filter(|i| writes(*i) && may(*i) && events[*i].value == events[read].value).collect()
}

/// The orders of the writes to a word that each thread can live with.
fn coherent(x: &Execution, word: usize, budget: &mut Budget<'_>) -> Vec<Vec<usize>> {
    let here: Vec<usize> = (0..x.events.len())
        .filter(|i| x.events[*i].kind != Kind::Fence && x.events[*i].word == word)
        .collect();
    let writes: Vec<usize> = here.iter().copied().filter(|i| x.events[*i].kind == Kind::Write).collect();
    let (mut found, mut order) = (Vec::new(), vec![writes[0]]);
    extend(x, &here, &writes[1..], &mut order, &mut found, budget);
    found
}

fn extend(
    x: &Execution,
    here: &[usize],
    writes: &[usize],
    order: &mut Vec<usize>,
    found: &mut Vec<Vec<usize>>,
    budget: &mut Budget<'_>,
) {
    if order.len() == writes.len() + 1 {
        if suits(x, here, order) {
            found.push(order.clone());
        }
        return;
    }
    let last = order[order.len() - 1];
    // The read-modify-write that read the last one comes next.
    let must = writes.iter().copied().find(|w| x.events[*w].joined && x.source[*w - 1] == last);
    for write in writes.iter().copied() {
        let joined = x.events[write].joined;
        let in_turn = must.map_or(!joined, |m| m == write);
        let earlier = |w: &&usize| x.thread[**w] == x.thread[write] && **w < write;
        let ready = !order.contains(&write) && writes.iter().filter(earlier).all(|w| order.contains(w));
        if in_turn && ready && budget.spend(1) {
            order.push(write);
            extend(x, here, writes, order, found, budget);
            order.pop();
        }
    }
}

/// Whether no thread goes back in this order.
fn suits(x: &Execution, here: &[usize], order: &[usize]) -> bool {
    let place = |write: usize| order.iter().position(|w| *w == write).unwrap_or(0);
    let (mut thread, mut seen) = (FIRST, 0);
    here.iter().copied().filter(|i| x.thread[*i] != FIRST).all(|i| {
        if x.thread[i] != thread {
            (thread, seen) = (x.thread[i], 0);
        }
        let is_write = x.events[i].kind == Kind::Write;
        let at = place(if is_write { i } else { x.source[i] });
        let forward = if is_write { at > seen } else { at >= seen };
        seen = at;
        forward
    })
}
