//! Whether threads wait for each other for ever, seen from outside, and who waits for whom.
//!
//! Each thread under watch notes on a board what it wants, holds and gives back: one line before an acquisition and one after. The
//! watcher never touches the locks. It calls a deadlock what shows all three signs for a while: nobody writes a line, the kernel says
//! that every unfinished thread sleeps (and switched to nothing else), and the lines have a cycle of waits. Threads that are
//! merely slow show none of them; a wait without a cycle is never called a deadlock.
//!
//! Threads in a deadlock cannot be ended. They are left behind, and end with the process: run this in a child
//! ([`crate::lab::Launch::Isolated`]), on locks that nobody else uses.
//!
//! Source of the cycle: the wait-for graph of Coffman, Elphick, Shoshani, "System Deadlocks", Computing Surveys 3(2), 1971.
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use crate::measure::witness::{self, ThreadId};

/// How a lock is wanted or held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// With others of its kind.
    Shared,
    /// Alone.
    Exclusive,
}

/// How far an acquisition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Asked for, not got.
    Wants,
    /// Got, not given back.
    Holds,
    /// Given back.
    Gone,
}

/// One acquisition, as its thread noted it. On a board they are in the order in which they were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The thread, as index into the board's names.
    pub who: usize,
    /// The lock's name.
    pub lock: &'static str,
    /// How it is wanted.
    pub mode: Mode,
    /// How far it is.
    pub state: State,
}

/// One thread that waits for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Who waits.
    pub who: usize,
    /// For which lock.
    pub lock: &'static str,
    /// How it is wanted.
    pub mode: Mode,
    /// For whom.
    pub whom: usize,
    /// How the other has it; `None` if the other only waits as well, and is served first.
    pub held: Option<Mode>,
}

/// Who waits for whom, by what the threads noted. A request waits for every holder that it cannot be beside; if there is none,
/// nothing explains its wait but a queue, and it waits for the earlier requests that it cannot be beside.
pub fn waits(requests: &[Request]) -> Vec<Wait> {
    let excludes = |a: Mode, b: Mode| a == Mode::Exclusive || b == Mode::Exclusive;
    let mut out = Vec::new();
    for (i, r) in requests.iter().enumerate().filter(|(_, r)| r.state == State::Wants) {
        let others = |state: State| {
            let same = requests.iter().enumerate().filter(move |(_, o)| o.lock == r.lock && o.state == state);
            same.filter(move |(j, o)| *j != i && excludes(r.mode, o.mode))
        };
        let wait = |o: &Request, held| Wait { who: r.who, lock: r.lock, mode: r.mode, whom: o.who, held };
        let before = out.len();
        out.extend(others(State::Holds).map(|(_, o)| wait(o, Some(o.mode))));
        if out.len() == before {
            out.extend(others(State::Wants).filter(|(j, _)| *j < i).map(|(_, o)| wait(o, None)));
        }
    }
    out
}

/// The first cycle among waits, in order of waiting; empty if there is none.
pub fn cycle(waits: &[Wait]) -> Vec<Wait> {
    fn walk(waits: &[Wait], path: &mut Vec<Wait>, at: usize, home: usize) -> bool {
        for w in waits.iter().filter(|w| w.who == at) {
            if path.iter().any(|p| p.who == w.who) {
                continue;
            }
            path.push(*w);
            if w.whom == home || walk(waits, path, w.whom, home) {
                return true;
            }
            path.pop();
        }
        false
    }
    for w in waits {
        let mut path = Vec::new();
        if walk(waits, &mut path, w.who, w.who) {
            // Told from the thread that was named first, so that the same knot is the same sentence each time.
            let first = (0..path.len()).min_by_key(|i| path[*i].who).unwrap_or(0);
            path.rotate_left(first);
            return path;
        }
    }
    Vec::new()
}

/// A cycle as a sentence without its full stop.
pub fn words(names: &[&str], cycle: &[Wait]) -> String {
    let how = |mode| match mode {
        Mode::Shared => "to read",
        Mode::Exclusive => "alone",
    };
    let one = |w: &Wait| {
        let (who, whom) = (names[w.who], if w.who == w.whom { "itself" } else { names[w.whom] });
        let why = match w.held {
            Some(Mode::Shared) => format!("{whom}, which reads"),
            Some(Mode::Exclusive) => format!("{whom}, which holds it"),
            None => format!("{whom}, which asked before and waits too"),
        };
        format!("{who} wants {} {} and waits for {why}", w.lock, how(w.mode))
    };
    cycle.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// What became of the threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// All came to their end.
    Finished,
    /// They wait for each other, as the cycle says.
    Deadlocked {
        /// Who waits for whom.
        cycle: Vec<Wait>,
    },
    /// The schedule that the case needs did not come about, a thread panicked, or they stand still without a cycle.
    Unclear(String),
}

/// A thread under watch: its name, and what it does.
pub type Role = (&'static str, Box<dyn FnOnce(&Actor) + Send>);

/// A thread of this name that does this.
pub fn role(name: &'static str, does: impl FnOnce(&Actor) + Send + 'static) -> Role {
    (name, Box::new(does))
}

/// No sign of life for so long, where the kernel can confirm that all sleep.
const STILL: Duration = Duration::from_millis(60);
/// The same where it cannot.
const STILL_UNCONFIRMED: Duration = Duration::from_secs(1);
/// Looks that must all find a thread asleep before it counts as parked: spinning locks nap before they park.
const LOOKS: u32 = 4;
/// The same where the kernel cannot say.
const LOOKS_UNCONFIRMED: u32 = 100;
const LOOK: Duration = Duration::from_millis(1);

#[derive(Debug, Default)]
struct Lines {
    requests: Vec<Request>,
    ids: Vec<Option<ThreadId>>,
    finished: Vec<bool>,
    /// Why the result means nothing.
    spoilt: Option<String>,
    /// Grows with every line.
    version: u64,
}

#[derive(Debug)]
struct Board {
    names: Vec<&'static str>,
    lines: Mutex<Lines>,
    patience: Duration,
}

impl Board {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        // A thread that panicked while it wrote has still written whole lines.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn write<R>(&self, change: impl FnOnce(&mut Lines) -> R) -> R {
        let mut lines = self.lines();
        lines.version += 1;
        change(&mut lines)
    }
}

/// A thread's own pen: it notes what it does, and can wait until another thread is where the case needs it.
#[derive(Debug)]
pub struct Actor {
    me: usize,
    board: Arc<Board>,
}

/// What was acquired; giving it back is noted.
#[derive(Debug)]
pub struct Held<'a, G> {
    guard: Option<G>,
    line: usize,
    board: &'a Board,
}

impl<G> Held<'_, G> {
    /// What `acquire` gave.
    pub fn get(&self) -> &G {
        self.guard.as_ref().expect("the guard leaves only when this does")
    }
}

impl<G> Drop for Held<'_, G> {
    fn drop(&mut self) {
        drop(self.guard.take());
        self.board.write(|l| l.requests[self.line].state = State::Gone);
    }
}

impl Actor {
    /// Acquires a lock and notes it. `acquire` blocks until it has the lock, and what it returns is the guard.
    pub fn take<G>(&self, lock: &'static str, mode: Mode, acquire: impl FnOnce() -> G) -> Held<'_, G> {
        let line = self.board.write(|l| {
            l.requests.push(Request { who: self.me, lock, mode, state: State::Wants });
            l.requests.len() - 1
        });
        let guard = Some(acquire());
        self.board.write(|l| l.requests[line].state = State::Holds);
        Held { guard, line, board: &self.board }
    }

    /// Tries to acquire a lock and notes only success, since a failed try waits for nobody.
    pub fn try_take<G>(
        &self,
        lock: &'static str,
        mode: Mode,
        acquire: impl FnOnce() -> Option<G>,
    ) -> Option<Held<'_, G>> {
        let guard = Some(acquire()?);
        let line = self.board.write(|l| {
            l.requests.push(Request { who: self.me, lock, mode, state: State::Holds });
            l.requests.len() - 1
        });
        Some(Held { guard, line, board: &self.board })
    }

    /// Waits until the other thread has had the lock.
    pub fn until_had(&self, other: &'static str, lock: &'static str) {
        self.until(other, lock, |states, _| states.iter().any(|s| *s != State::Wants));
    }

    /// Waits until the other thread waits for the lock, and, where the kernel can say, sleeps.
    pub fn until_waits(&self, other: &'static str, lock: &'static str) {
        let (mut asleep, mut unconfirmed) = (0, 0);
        self.until(other, lock, |states, id| {
            let waits = states.last() == Some(&State::Wants);
            match id.and_then(witness::sleeps) {
                Some(true) if waits => asleep += 1,
                None if waits => unconfirmed += 1,
                _ => (asleep, unconfirmed) = (0, 0),
            }
            asleep >= LOOKS || unconfirmed >= LOOKS_UNCONFIRMED
        });
    }

    fn until(
        &self,
        other: &'static str,
        lock: &'static str,
        mut there: impl FnMut(&[State], Option<ThreadId>) -> bool,
    ) {
        let who = self.board.names.iter().position(|n| *n == other);
        let deadline = Instant::now() + self.board.patience;
        while Instant::now() < deadline {
            let (states, id) = {
                let lines = self.board.lines();
                let theirs = lines.requests.iter().filter(|r| Some(r.who) == who && r.lock == lock);
                let id = who.and_then(|w| lines.ids.get(w).copied().flatten());
                (theirs.map(|r| r.state).collect::<Vec<_>>(), id)
            };
            if there(&states, id) {
                return;
            }
            thread::sleep(LOOK);
        }
        let me = self.board.names[self.me];
        self.board.write(|l| {
            l.spoilt = Some(format!("{me} waited in vain for {other} to be at {lock}"));
        });
    }
}

/// Starts the threads and watches them until they are done, deadlocked, or `patience` is over. A deadlock is called after
/// 60 ms of standstill (a second where the kernel cannot say whether a thread sleeps).
pub fn watch(roles: Vec<Role>, patience: Duration) -> (Vec<&'static str>, Seen) {
    let names: Vec<&'static str> = roles.iter().map(|(name, _)| *name).collect();
    let lines =
        Lines { ids: vec![None; names.len()], finished: vec![false; names.len()], ..Lines::default() };
    let board = Arc::new(Board { names: names.clone(), lines: Mutex::new(lines), patience });
    for (me, (name, role)) in roles.into_iter().enumerate() {
        let actor = Actor { me, board: board.clone() };
        let started = thread::Builder::new().name(name.into()).spawn(move || {
            let _end = End { me, board: actor.board.clone() };
            actor.board.write(|l| l.ids[me] = Some(witness::this_thread()));
            role(&actor);
        });
        if let Err(e) = started {
            return (names, Seen::Unclear(format!("a thread could not be started: {e}")));
        }
    }
    let seen = look(&board, patience);
    (names, seen)
}

/// Notes that a thread is at its end, also if it panicked.
struct End {
    me: usize,
    board: Arc<Board>,
}

impl Drop for End {
    fn drop(&mut self) {
        let name = self.board.names[self.me];
        self.board.write(|l| {
            l.finished[self.me] = true;
            if thread::panicking() {
                l.spoilt = Some(format!("{name} panicked"));
            }
        });
    }
}

fn look(board: &Board, patience: Duration) -> Seen {
    let started = Instant::now();
    let (mut since, mut last) = (Instant::now(), None);
    loop {
        let (requests, now, ids, done) = {
            let l = board.lines();
            let unfinished: Vec<Option<ThreadId>> =
                l.ids.iter().zip(&l.finished).filter(|(_, done)| !**done).map(|(id, _)| *id).collect();
            if let Some(why) = l.spoilt.clone() {
                return Seen::Unclear(why);
            }
            (l.requests.clone(), l.version, unfinished, l.finished.iter().all(|d| *d))
        };
        if done {
            return Seen::Finished;
        }
        let asleep: Vec<Option<bool>> = ids.iter().map(|id| id.and_then(witness::sleeps)).collect();
        let switches: Vec<Option<u64>> = ids.iter().map(|id| id.and_then(witness::switches)).collect();
        let sight = Some((now, switches));
        if last != sight || asleep.contains(&Some(false)) {
            (since, last) = (Instant::now(), sight);
        }
        let still = if asleep.contains(&None) { STILL_UNCONFIRMED } else { STILL };
        if since.elapsed() >= still {
            let cycle = cycle(&waits(&requests));
            if !cycle.is_empty() {
                return Seen::Deadlocked { cycle };
            }
        }
        if started.elapsed() > patience {
            return Seen::Unclear("they stand still, and no cycle of waits explains it".into());
        }
        thread::sleep(2 * LOOK);
    }
}
