//! One round with a twin: two lanes, each on a thread of its own (the caller's is one), then what is left, then a verdict.

use super::check::{Event, linearize};
use super::faults::{Fault, Object};
use super::spec::{Op, Out, Spec};
use super::sync::atomic::AtomicU64;
use super::sync::atomic::Ordering::AcqRel;
use super::sync::thread::spawn;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// What is asked of the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oracle {
    /// Does the sum come out: nothing lost, nothing twice, nothing that nobody put in?
    Conserved,
    /// Is there an order of the operations that explains every answer?
    Linear,
}

/// How a round is run.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    pub oracle: Oracle,
    /// How often each lane does its part.
    pub turns: usize,
    /// On real threads the lanes wait for each other, and pause between operations. A model needs neither.
    pub real: bool,
}

impl Manner {
    /// On real threads: as much as a history can have, or many more turns where there is none.
    pub fn real(oracle: Oracle) -> Self {
        Self { oracle, turns: if oracle == Oracle::Linear { 4 } else { 50 }, real: true }
    }

    /// In a model: each part once.
    pub fn modelled(oracle: Oracle) -> Self {
        Self { oracle, turns: 1, real: false }
    }
}

/// One round; its history, if the oracle objects to it.
pub fn round(fault: &Fault, make: fn() -> Box<dyn Object>, manner: Manner, seed: u64) -> Option<Vec<Event>> {
    let history = record(fault, make, manner, seed);
    let sound = match manner.oracle {
        Oracle::Conserved => conserved(fault.spec, &history),
        Oracle::Linear => linearize(fault.spec, &history).is_some(),
    };
    (!sound).then_some(history)
}

struct Stage {
    object: Box<dyn Object>,
    /// Of the machine, so that a model knows that the order of calls matters. It orders memory: an operation that returned is
    /// over for whoever calls after it. Not used where nobody asks for times, since it may hide a missing order.
    clock: AtomicU64,
    arrived: AtomicUsize,
    timed: bool,
}

impl Stage {
    fn event(&self, lane: usize, op: Op) -> Option<Event> {
        let now = || if self.timed { self.clock.fetch_add(1, AcqRel) } else { 0 };
        let call = now();
        let out = self.object.act(lane, op);
        let ret = now();
        out.map(|out| Event { lane, call, ret, op, out })
    }

    fn meet(&self) {
        self.arrived.fetch_add(1, SeqCst);
        for turn in 0.. {
            if self.arrived.load(SeqCst) == 2 {
                return;
            }
            if turn > 500 {
                std::thread::yield_now();
            }
            std::hint::spin_loop();
        }
    }
}

fn record(fault: &Fault, make: fn() -> Box<dyn Object>, manner: Manner, seed: u64) -> Vec<Event> {
    let inside = fault.first.len() as u64;
    let stage = Arc::new(Stage {
        object: make(),
        clock: AtomicU64::new(2 * inside),
        arrived: AtomicUsize::new(0),
        timed: manner.oracle == Oracle::Linear,
    });
    let part = move |stage: &Stage, lane: usize, ops: &[Op]| -> Vec<Event> {
        if manner.real {
            stage.meet();
        }
        let mut value = inside + 1 + lane as u64;
        let mut events = Vec::with_capacity(manner.turns * ops.len());
        for turn in 0..manner.turns as u64 {
            for op in ops {
                let op = match *op {
                    Op::Put(_) => Op::Put(value),
                    Op::Write(_) => Op::Write(value),
                    other => other,
                };
                value += 2; // the lanes' values differ
                if manner.real {
                    // Without a pause whole lanes would run one after the other.
                    let pause = (seed ^ (value * 37) ^ (turn * 11)) % 64;
                    (0..pause).for_each(|_| std::hint::spin_loop());
                }
                events.extend(stage.event(lane, op));
            }
        }
        events
    };
    let (theirs, lanes) = (Arc::clone(&stage), fault.lanes);
    let other = spawn(move || part(&theirs, 1, lanes[1]));
    let mine = part(&stage, 0, lanes[0]);
    let others = other.join().unwrap_or_else(|panic| resume_unwind(panic));
    let put_before = |(i, value): (u64, &u64)| Event {
        lane: 0,
        call: 2 * i,
        ret: 2 * i + 1,
        op: Op::Put(*value),
        out: Out::Done,
    };
    let mut history: Vec<Event> = (0..).zip(fault.first).map(put_before).collect();
    history.extend(mine);
    history.extend(others);
    if matches!(fault.spec, Spec::Fifo(_) | Spec::Lifo) {
        // Never more than were put in: a broken list may be a circle.
        for _ in 0..=history.len() {
            let event = stage.event(0, Op::Take);
            history.extend(event);
            if event.is_none_or(|e| e.out == Out::Nothing) {
                break;
            }
        }
    } else {
        history.extend(stage.event(0, Op::Read));
    }
    history
}

/// Whether the sums come out, whatever the order of the operations was.
pub fn conserved(spec: Spec, history: &[Event]) -> bool {
    let count = |op: fn(&Op) -> bool, out: Out| history.iter().filter(|e| op(&e.op) && e.out == out).count();
    let last = history.last().map(|e| e.out);
    match spec {
        Spec::Fifo(_) | Spec::Lifo | Spec::Deque(_) => {
            let put = history.iter().filter(|e| e.out == Out::Done).filter_map(|e| match e.op {
                Op::Put(value) => Some(value),
                _ => None,
            });
            let takes = history.iter().filter(|e| matches!(e.op, Op::Take | Op::Steal));
            let taken = takes.filter_map(|e| match e.out {
                Out::Value(value) => Some(value),
                _ => None,
            });
            let (mut put, mut taken): (Vec<u64>, Vec<u64>) = (put.collect(), taken.collect());
            put.sort_unstable();
            taken.sort_unstable();
            put == taken
        }
        Spec::Counter | Spec::Sum => {
            let added = history.iter().filter_map(|e| match e.op {
                Op::Add(n) => Some(n),
                _ => None,
            });
            last == Some(Out::Value(added.sum()))
        }
        Spec::Register => history.iter().filter(|e| e.op == Op::Read).all(|e| match e.out {
            Out::Value(value) => value == 0 || history.iter().any(|w| w.op == Op::Write(value)),
            _ => false,
        }),
        Spec::Permits(all) => {
            let taken = count(|op| *op == Op::Take, Out::Done) as u64;
            let given = count(|op| matches!(op, Op::Put(_)), Out::Done) as u64;
            last == Some(Out::Value(all + given - taken))
        }
    }
}

/// How a search ended.
#[derive(Clone, Debug)]
pub struct Hunt {
    pub rounds: u64,
    pub took: Duration,
    /// The history that the oracle objects to.
    pub found: Option<Vec<Event>>,
}

/// Round after round until one fails, or `rounds` are through, or the time is up. `begin` gets the seed of each round.
pub fn hunt(
    fault: &Fault,
    make: fn() -> Box<dyn Object>,
    manner: Manner,
    (rounds, time): (u64, Duration),
    begin: fn(u64),
) -> Hunt {
    let started = Instant::now();
    let mut done = 0;
    let mut found = None;
    while found.is_none() && done < rounds && (done == 0 || started.elapsed() < time) {
        done += 1;
        begin(done);
        found = round(fault, make, manner, done);
    }
    Hunt { rounds: done, took: started.elapsed(), found }
}

/// What became of one fault on this machine.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    pub found: bool,
    pub rounds: u64,
    pub took: Duration,
    /// The sound twin's rounds, and whether one of them raised an alarm.
    pub sound_rounds: u64,
    pub alarm: bool,
}

/// Hunts the broken twin of a fault for `time`, then the sound one for half of that.
pub fn trial(fault: &Fault, oracle: Oracle, time: Duration, begin: fn(u64)) -> Trial {
    let manner = Manner::real(oracle);
    let broken = hunt(fault, fault.broken, manner, (u64::MAX, time), begin);
    let sound = hunt(fault, fault.sound, manner, (u64::MAX, time / 2), begin);
    Trial {
        found: broken.found.is_some(),
        rounds: broken.rounds,
        took: broken.took,
        sound_rounds: sound.rounds,
        alarm: sound.found.is_some(),
    }
}
