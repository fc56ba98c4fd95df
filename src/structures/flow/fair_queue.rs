//! A queue of queues: each tenant has a short line of its own, and the lines are served in turn, each by its weight.
//!
//! Deficit round robin: a tenant whose turn comes is credited its weight times the quantum, and is served as long as the credit pays
//! for the request at the head of its line; what is left is kept for its next turn, unless the line is empty. So a tenant that
//! asks too often waits behind itself, and what the others leave over goes to whoever has something waiting.
//!
//! # States of a tenant
//! | its line | in the round | credit | `push` | `pop`, when its turn comes |
//! |---|---|---|---|---|
//! | empty | no | 0 | joins at the end of the round | - |
//! | waiting | yes | below the cost of its head | joins the line, or [`Full`] | credits it; serves, or lets the next have its turn |
//! | waiting | yes | enough | the same | serves |
//!
//! # Limits
//! Not for several threads at once: whoever dispatches owns it, or puts a lock around it. Between two tenants that both wait all the
//! time, what they were served (in cost, divided by weight) never differs by more than one turn of each and the costliest request.
//! `pop` takes constant time if a quantum pays for the costliest request; otherwise it goes round until somebody's credit does. A line
//! is bounded, so a tenant waits at most for the round times its place in its own line. Memory: [`bytes`](FairQueue::bytes); lines keep
//! the room that they once had. Never panics, but for a tenant that there is not.
//!
//! # Source
//! M. Shreedhar, G. Varghese, "Efficient Fair Queuing using Deficit Round Robin" (SIGCOMM 1995).

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;

/// Queues of many tenants, served fairly. Policy and limits: see the [module](self).
pub struct FairQueue<T> {
    tenants: Box<[Tenant<T>]>,
    /// Tenants with something waiting; the first one has its turn.
    round: VecDeque<u32>,
    /// The first of the round has got its credit for this turn.
    credited: bool,
    quantum: u32,
    longest: usize,
    waiting: usize,
}

struct Tenant<T> {
    line: VecDeque<(u32, T)>,
    credit: u64,
    weight: u32,
}

/// Why there is no such queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadQueue {
    /// No tenant, or more than 2^32 - 1.
    Tenants,
    /// A quantum of zero serves nobody.
    NoQuantum,
    /// A line of no place refuses everything.
    NoPlace,
    /// A weight of zero would keep a tenant waiting for ever.
    NoWeight,
}

impl fmt::Display for BadQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tenants => "tenants must be 1 to 4,294,967,295",
            Self::NoQuantum => "a quantum of zero serves nobody",
            Self::NoPlace => "a line without a place refuses everything",
            Self::NoWeight => "a weight of zero is never served",
        })
    }
}
impl Error for BadQueue {}

/// The tenant's line is full: it waits for itself. The others are not concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this tenant's line is full")
    }
}
impl Error for Full {}

impl<T> FairQueue<T> {
    /// Lines of at most `longest` requests, one for each weight; a turn is worth `quantum` times the weight, in units of cost.
    ///
    /// # Errors
    /// [`BadQueue`].
    pub fn new(weights: &[u32], quantum: u32, longest: usize) -> Result<Self, BadQueue> {
        if weights.is_empty() || u32::try_from(weights.len()).is_err() {
            return Err(BadQueue::Tenants);
        }
        if quantum == 0 {
            return Err(BadQueue::NoQuantum);
        }
        if longest == 0 {
            return Err(BadQueue::NoPlace);
        }
        if weights.contains(&0) {
            return Err(BadQueue::NoWeight);
        }
        let tenant = |weight: &u32| Tenant { line: VecDeque::new(), credit: 0, weight: *weight };
        Ok(Self {
            tenants: weights.iter().map(tenant).collect(),
            round: VecDeque::new(),
            credited: false,
            quantum,
            longest,
            waiting: 0,
        })
    }

    /// Puts a request of that cost at the end of its tenant's line.
    ///
    /// # Errors
    /// [`Full`].
    ///
    /// # Panics
    /// If there is no such tenant.
    #[inline]
    pub fn push(&mut self, tenant: u32, cost: u32, request: T) -> Result<(), Full> {
        let line = &mut self.tenants[tenant as usize].line;
        if line.len() == self.longest {
            return Err(Full);
        }
        if line.is_empty() {
            self.round.push_back(tenant);
        }
        line.push_back((cost, request));
        self.waiting += 1;
        Ok(())
    }

    /// The request to be served next, and whose it is.
    #[inline]
    pub fn pop(&mut self) -> Option<(u32, T)> {
        loop {
            let turn = *self.round.front()?;
            let tenant = &mut self.tenants[turn as usize];
            if !self.credited {
                tenant.credit =
                    tenant.credit.saturating_add(u64::from(self.quantum) * u64::from(tenant.weight));
                self.credited = true;
            }
            match tenant.line.pop_front_if(|(cost, _)| u64::from(*cost) <= tenant.credit) {
                Some((cost, request)) => {
                    tenant.credit -= u64::from(cost);
                    self.waiting -= 1;
                    if tenant.line.is_empty() {
                        tenant.credit = 0; // credit is for those who wait; saved up, it would be a burst later
                        self.round.pop_front();
                        self.credited = false;
                    }
                    return Some((turn, request));
                }
                None => {
                    self.round.rotate_left(1);
                    self.credited = false;
                }
            }
        }
    }

    /// Requests that wait, of all tenants.
    pub fn len(&self) -> usize {
        self.waiting
    }

    /// True if nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Bytes that it takes, with the room in the lines, without what requests own on the heap.
    pub fn bytes(&self) -> usize {
        let lines: usize = self.tenants.iter().map(|t| t.line.capacity() * size_of::<(u32, T)>()).sum();
        size_of::<Self>()
            + self.tenants.len() * size_of::<Tenant<T>>()
            + lines
            + self.round.capacity() * size_of::<u32>()
    }
}

impl<T> fmt::Debug for FairQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FairQueue").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}
