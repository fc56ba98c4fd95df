//! A service with many tenants, one of which misbehaves, in virtual time: four front doors before one server.
//!
//! The server takes 50 us for each request, whoever's it is; 10,000 tenants together ask a million times a minute, which leaves a sixth
//! of it idle. Arrivals are independent (Poisson), the same for every front door. Nothing here waits for a real clock: a
//! number depends on the seed and on nothing else.
use std::{
    collections::VecDeque,
    hash::{BuildHasherDefault, DefaultHasher},
};

use crate::{
    lab::Contender,
    measure::{
        cost::{Ops, Solo},
        latency,
        order::Order,
    },
    structures::flow::{Quota, fair_queue::FairQueue, gcra::Gcra, keyed::Keyed},
};

/// Tenants; the misbehaving one is number 0.
pub const TENANTS: u32 = 10_000;
const NOISY: u32 = 0;
const SECOND: f64 = 1e9;
/// What all polite tenants together ask for, per second: a million a minute.
const POLITE_PER_S: f64 = 1e6 / 60.0;
/// What the server needs for a request.
const SERVICE_NS: u64 = 50_000;
/// What the misbehaving tenant asks for, per second: all that the server can do.
const NOISY_PER_S: f64 = SECOND / SERVICE_NS as f64;
/// Requests that wait in a common queue at most: a second of work.
const COMMON: usize = 20_000;
/// Requests of one tenant that wait at most.
const EACH: usize = 4;

/// Decides who comes in, and who is next.
pub trait Front {
    /// Who it is.
    const IS: Contender;
    /// With nobody inside.
    fn new() -> Self;
    /// A request comes; false if it is refused.
    fn offer(&mut self, tenant: u32, now_ns: u64) -> bool;
    /// Whom the server takes next, and when that request came.
    fn next(&mut self) -> Option<(u32, u64)>;
    /// Bytes of its state.
    fn bytes(&self) -> usize;
}

/// One queue for all, first come, first served; refuses when it is full.
#[derive(Debug, Default)]
pub struct SharedQueue(VecDeque<(u32, u64)>);

impl Front for SharedQueue {
    const IS: Contender = Contender::new("shared_queue").called("one queue for all");
    fn new() -> Self {
        Self::default()
    }
    fn offer(&mut self, tenant: u32, now_ns: u64) -> bool {
        let room = self.0.len() < COMMON;
        if room {
            self.0.push_back((tenant, now_ns));
        }
        room
    }
    fn next(&mut self) -> Option<(u32, u64)> {
        self.0.pop_front()
    }
    fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<(u32, u64)>()
    }
}

/// A rate limit on the sum, at nine tenths of what the server can do, before the same queue.
#[derive(Debug)]
pub struct GlobalLimit(Gcra, SharedQueue);

impl Front for GlobalLimit {
    const IS: Contender = Contender::new("global_limit").called("limit on the sum");
    fn new() -> Self {
        let quota = Quota::per_second(18_000, 180).expect("a rate and a burst of 10 ms");
        Self(Gcra::new(quota), SharedQueue::new())
    }
    fn offer(&mut self, tenant: u32, now_ns: u64) -> bool {
        self.0.admit(now_ns, 1).is_ok() && self.1.offer(tenant, now_ns)
    }
    fn next(&mut self) -> Option<(u32, u64)> {
        self.1.next()
    }
    fn bytes(&self) -> usize {
        size_of::<Gcra>() + self.1.bytes()
    }
}

/// A rate limit for each tenant, at four times what a tenant asks for on average, before the same queue.
#[derive(Debug)]
pub struct TenantLimit(Keyed<u32, BuildHasherDefault<DefaultHasher>>, SharedQueue);

impl Front for TenantLimit {
    const IS: Contender = Contender::new("tenant_limit").called("limit for each tenant");
    fn new() -> Self {
        let quota = Quota::new(400, 60_000_000_000, 10).expect("400 a minute and a burst of 10");
        // A fixed hasher, so that a run can be repeated; a service would take std's, which nobody can foresee.
        let keyed = Keyed::with_hasher(quota, TENANTS as usize, 16, BuildHasherDefault::default());
        Self(keyed.expect("a size"), SharedQueue::new())
    }
    fn offer(&mut self, tenant: u32, now_ns: u64) -> bool {
        self.0.admit(&tenant, now_ns, 1).is_ok() && self.1.offer(tenant, now_ns)
    }
    fn next(&mut self) -> Option<(u32, u64)> {
        self.1.next()
    }
    fn bytes(&self) -> usize {
        self.0.table_bytes() + self.1.bytes()
    }
}

/// A short line for each tenant, served in turn.
#[derive(Debug)]
pub struct Fair(FairQueue<u64>);

impl Front for Fair {
    const IS: Contender = Contender::new("fair_queue").called("our fair queue");
    fn new() -> Self {
        Self(FairQueue::new(&vec![1; TENANTS as usize], 1, EACH).expect("lines with places"))
    }
    fn offer(&mut self, tenant: u32, now_ns: u64) -> bool {
        self.0.push(tenant, 1, now_ns).is_ok()
    }
    fn next(&mut self) -> Option<(u32, u64)> {
        self.0.pop()
    }
    fn bytes(&self) -> usize {
        self.0.bytes()
    }
}

/// A front door as a contender.
#[derive(Clone, Copy, Debug)]
pub struct Entrance {
    is: Contender,
    serve: fn(Load, f64, u64) -> Option<Outcome>,
    through: fn() -> Ops,
}

const fn entrance<F: Front + 'static>() -> Entrance {
    Entrance { is: F::IS.checked(check::<F>), serve: serve::<F>, through: through::<F> }
}

/// [`SharedQueue`].
pub static SHARED_QUEUE: Entrance = entrance::<SharedQueue>();
/// [`GlobalLimit`].
pub static GLOBAL_LIMIT: Entrance = entrance::<GlobalLimit>();
/// [`TenantLimit`].
pub static TENANT_LIMIT: Entrance = entrance::<TenantLimit>();
/// [`Fair`].
pub static FAIR_QUEUE: Entrance = entrance::<Fair>();

impl AsRef<Contender> for Entrance {
    fn as_ref(&self) -> &Contender {
        &self.is
    }
}

impl Entrance {
    /// Under a load for so many virtual seconds, as [`serve`].
    pub fn serve(&self, load: Load, seconds: f64, seed: u64) -> Option<Outcome> {
        (self.serve)(load, seconds, seed)
    }
    /// One operation: a request of a random tenant comes, is let in, and is taken. At the usual pace, so that nobody is refused.
    pub fn through(&self) -> Solo {
        Solo::new(self.is.id, self.through)
    }
}

/// Who asks for how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Everybody behaves.
    Calm,
    /// Tenant 0 asks for as much as the server can do, on top.
    OneNoisy,
    /// Everybody asks for twice as much as usual.
    AllDouble,
}

/// What came of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// From arrival to the end of the service, of the polite tenants' requests that were served: the 99th percentile.
    pub others_p99_ns: f64,
    /// Of the polite tenants' requests, the share that was refused.
    pub others_shed_share: f64,
    /// Requests of tenant 0 that were served, per second.
    pub noisy_per_s: f64,
    /// Of the time, the share in which the server worked.
    pub used_share: f64,
    /// Bytes of the front door's state for each tenant, at the end.
    pub tenant_bytes: f64,
}

/// The time to the next arrival of a Poisson process, in ns.
fn gap_ns(order: &mut Order, per_s: f64) -> f64 {
    // (0, 1]: the logarithm of 0 would be a request that never comes.
    let u = ((order.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64;
    -u.ln() / per_s * SECOND
}

/// What is left out at the start, in virtual seconds: a shared queue needs up to 1.5 s to fill, and until then it refuses nobody.
const WARM_UP: f64 = 2.0;

/// Runs a front door under a load for so many virtual seconds, after 2 that don't count. `None` if that is too short for a 99th percentile.
pub fn serve<F: Front>(load: Load, seconds: f64, seed: u64) -> Option<Outcome> {
    let mut front = F::new();
    let mut order = Order::new(seed);
    let polite_per_s = if load == Load::AllDouble { 2.0 * POLITE_PER_S } else { POLITE_PER_S };
    let (from_ns, end) = ((WARM_UP * SECOND) as u64, (WARM_UP + seconds) * SECOND);
    let mut polite_at = gap_ns(&mut order, polite_per_s);
    let mut noisy_at = if load == Load::OneNoisy { gap_ns(&mut order, NOISY_PER_S) } else { f64::INFINITY };
    let (mut free_at, mut busy_ns) = (0_u64, 0_u64);
    let (mut asked, mut shed, mut noisy, mut took) = (0_u64, 0_u64, 0_u64, latency::histogram());
    loop {
        let at = polite_at.min(noisy_at);
        let now_ns = at.min(end) as u64;
        // First everything that the server begins before this moment.
        while free_at <= now_ns {
            let Some((tenant, came_ns)) = front.next() else { break };
            free_at = free_at.max(came_ns) + SERVICE_NS;
            if free_at <= from_ns {
                continue;
            }
            busy_ns += SERVICE_NS;
            if tenant == NOISY {
                noisy += 1;
            } else if came_ns >= from_ns {
                took.saturating_record(free_at - came_ns);
            }
        }
        if at >= end {
            break;
        }
        if polite_at <= noisy_at {
            let tenant = order.below(TENANTS as usize) as u32;
            let came = front.offer(tenant, now_ns);
            if tenant != NOISY && now_ns >= from_ns {
                asked += 1;
                shed += u64::from(!came);
            }
            polite_at += gap_ns(&mut order, polite_per_s);
        } else {
            front.offer(NOISY, now_ns);
            noisy_at += gap_ns(&mut order, NOISY_PER_S);
        }
    }
    Some(Outcome {
        others_p99_ns: latency::quantile(&took, 0.99)?,
        others_shed_share: shed as f64 / asked.max(1) as f64,
        noisy_per_s: noisy as f64 / seconds,
        used_share: busy_ns as f64 / (seconds * SECOND),
        tenant_bytes: front.bytes() as f64 / f64::from(TENANTS),
    })
}

fn through<F: Front + 'static>() -> Ops {
    let (mut front, mut order, mut now_ns) = (F::new(), Order::new(1), 0);
    Box::new(move |n| {
        for _ in 0..n {
            now_ns += (SECOND / POLITE_PER_S) as u64;
            front.offer(order.below(TENANTS as usize) as u32, now_ns);
            std::hint::black_box(front.next());
        }
    })
}

/// What a front door must show before it is timed: at the usual pace everybody comes in, in order, and out again.
///
/// # Errors
/// A sentence that names the contender and the broken promise.
pub fn check<F: Front>() -> Result<(), String> {
    let (mut front, mut order, mut now_ns) = (F::new(), Order::new(1), 0);
    for request in 0..100_000 {
        now_ns += (SECOND / POLITE_PER_S) as u64;
        let tenant = order.below(TENANTS as usize) as u32;
        if !front.offer(tenant, now_ns) {
            return Err(format!("{}: refuses request {request} of a tenant that behaves", F::IS.id));
        }
        if front.next() != Some((tenant, now_ns)) {
            return Err(format!("{}: request {request} comes out as another", F::IS.id));
        }
    }
    match front.next() {
        None => Ok(()),
        Some(_) => Err(format!("{}: a request comes out that nobody made", F::IS.id)),
    }
}
