//! Which candidate executions each model allows.
//!
//! The models as sets of axioms over relations, written from the papers:
//! - RC11: O. Lahav, V. Vafeiadis, J. Kang, C.-K. Hur, D. Dreyer, Repairing Sequential Consistency in C/C++11, PLDI 2017.
//! - C++20, as far as RC11's way of writing it goes: RC11 without its rule that no value comes out of thin air (`sb` and `rf` may form a cycle, so
//!   load buffering is allowed), and with C++20's shorter release sequences (a later plain store of the same thread is not in one). Values that
//!   nothing writes unless it has read them first are not tried: the standard asks compilers not to make such.
//! - TSO: P. Sewell, S. Sarkar, S. Owens, F. Zappa Nardelli, M. Myreen, x86-TSO, CACM 2010, in the axiomatic form of J. Alglave, L. Maranget,
//!   M. Tautschnig, Herding Cats, TOPLAS 2014: all but store-then-load stays in order, unless a fence or a locked instruction stands between.
//! - SC: one order of all.
//!
//! Names are those of the papers: `sb` is the order within threads, `rf` leads from a write to its reads, `mo` orders the writes to a word, `rb`
//! leads from a read to the writes after the one it read.
use super::{
    executions::{Execution, FIRST},
    program::Strength,
    relation::{Relation, each},
    thread_runs::{Event, Kind},
};

/// The relations that all models speak of.
pub(super) struct Relations {
    len: usize,
    sb: Relation,
    rf: Relation,
    mo: Relation,
    rb: Relation,
    /// From the read of a read-modify-write to its write.
    rmw: Relation,
    same_word: Relation,
    same_thread: Relation,
    reads: u64,
    writes: u64,
    fences: u64,
}

fn mask(events: &[Event], is: impl Fn(&Event) -> bool) -> u64 {
    events.iter().enumerate().filter(|(_, e)| is(e)).fold(0, |m, (i, _)| m | 1 << i)
}

impl Relations {
    pub(super) fn of(x: &Execution) -> Self {
        let len = x.events.len();
        let empty = Relation::empty(len);
        let (mut sb, mut rf, mut mo, mut rb) = (empty, empty, empty, empty);
        let (mut rmw, mut same_word, mut same_thread) = (empty, empty, empty);
        for i in 0..len {
            for j in 0..len {
                let (a, b) = (x.thread[i], x.thread[j]);
                if a != FIRST && a == b {
                    same_thread.add(i, j);
                }
                if (a == FIRST && b != FIRST) || (a != FIRST && a == b && i < j) {
                    sb.add(i, j);
                }
                let accesses = x.events[i].kind != Kind::Fence && x.events[j].kind != Kind::Fence;
                if accesses && x.events[i].word == x.events[j].word {
                    same_word.add(i, j);
                }
            }
            if x.events[i].joined {
                rmw.add(i - 1, i);
            }
        }
        for order in &x.order {
            let mut after = 0;
            for write in order.iter().rev() {
                mo.add_all(*write, after);
                after |= 1 << write;
            }
        }
        let reads = mask(&x.events, |e| e.kind == Kind::Read);
        for read in each(reads) {
            let source = x.source[read];
            rf.add(source, read);
            rb.add_all(read, mo.of(source));
        }
        let writes = mask(&x.events, |e| e.kind == Kind::Write);
        let fences = mask(&x.events, |e| e.kind == Kind::Fence);
        Self { len, sb, rf, mo, rb, rmw, same_word, same_thread, reads, writes, fences }
    }

    /// One order of all. No machine fails a compare-and-exchange that could succeed.
    pub(super) fn is_sc(&self, x: &Execution) -> bool {
        !x.events.iter().any(|e| e.spurious) && !self.sb.or(&self.rf).or(&self.mo).or(&self.rb).has_cycle()
    }

    /// x86. A SeqCst store is an exchange there, as compilers make it, and a weak compare-and-exchange is a strong one.
    pub(super) fn is_tso(&self, x: &Execution) -> bool {
        if x.events.iter().any(|e| e.spurious) {
            return false;
        }
        let locked = mask(&x.events, |e| e.joined || (e.kind == Kind::Write && e.order == Strength::SeqCst));
        let full = mask(&x.events, |e| e.kind == Kind::Fence && e.order == Strength::SeqCst);
        let locked_reads = each(locked & mask(&x.events, |e| e.joined)).fold(0, |m, i| m | 1 << (i - 1));
        let (po, accesses) = (self.sb.and(&self.same_thread), self.reads | self.writes);
        let fenced = po.within(u64::MAX, full).then(&po.within(full, u64::MAX));
        let relaxed = po.within(self.writes & !locked, self.reads & !locked_reads);
        let kept = po.without(&relaxed).within(accesses, accesses).or(&fenced);
        let rfe = self.rf.without(&self.same_thread);
        !kept.or(&rfe).or(&self.mo).or(&self.rb).has_cycle()
    }

    /// RC11's rule that no value comes out of thin air.
    pub(super) fn has_no_thin_air(&self) -> bool {
        !self.sb.or(&self.rf).has_cycle()
    }

    /// `hb` where all axioms hold but that on thin air. `long` takes RC11's release sequences, else C++20's.
    pub(super) fn happens_before(&self, x: &Execution, long: bool) -> Option<Relation> {
        let Self { len, sb, rf, mo, rb, rmw, same_word, reads, writes, fences, .. } = self;
        let (all, identity) = (u64::MAX, |of| Relation::identity(*len, of));
        let atomic = mask(&x.events, |e| e.order >= Strength::Relaxed);
        let releasing = mask(&x.events, |e| e.kind != Kind::Read && e.order.releases());
        let acquiring = mask(&x.events, |e| e.kind != Kind::Write && e.order.acquires());
        let seq_cst = mask(&x.events, |e| e.order == Strength::SeqCst);
        let head = if long {
            sb.and(same_word).or_same().within(*writes, writes & atomic)
        } else {
            identity(writes & atomic)
        };
        let rs = head.then(&rf.then(rmw).closure().or_same());
        let from = identity(releasing & writes).or(&sb.within(releasing & fences, *writes));
        let to = identity(acquiring & reads).or(&sb.within(reads & atomic, acquiring & fences));
        let sw = from.then(&rs).then(rf).within(all, reads & atomic).then(&to);
        let hb = sb.or(&sw).closure();
        let eco = rf.or(mo).or(rb).closure();
        if hb.then(&eco.or_same()).is_reflexive_somewhere() {
            return None;
        }
        let elsewhere = sb.without(same_word);
        let scb = sb.or(&elsewhere.then(&hb).then(&elsewhere)).or(&hb.and(same_word)).or(mo).or(rb);
        let (accesses, full) = (seq_cst & !fences, seq_cst & fences);
        let left = identity(accesses).or(&hb.or_same().within(full, all));
        let right = identity(accesses).or(&hb.or_same().within(all, full));
        let base = left.then(&scb).then(&right);
        let between_fences = hb.or(&hb.then(&eco).then(&hb)).within(full, full);
        (!base.or(&between_fences).has_cycle()).then_some(hb)
    }

    /// Whether two threads touch a word unordered, one of them writing and one of them not atomic.
    pub(super) fn has_race(&self, x: &Execution, hb: &Relation) -> bool {
        let plain = |i: usize| x.events[i].order == Strength::Plain;
        let own = (0..self.len).filter(|i| x.thread[*i] != FIRST);
        own.clone().any(|i| {
            own.clone().any(|j| {
                x.thread[i] != x.thread[j]
                    && self.same_word.has(i, j)
                    && (self.writes >> i | self.writes >> j) & 1 == 1
                    && (plain(i) || plain(j))
                    && !hb.has(i, j)
                    && !hb.has(j, i)
            })
        })
    }
}
