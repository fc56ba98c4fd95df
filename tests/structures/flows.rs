//! Flow control against slow exact models: any sequence of arrivals, any clock. And the edges: zero, overflow, a clock that steps back.
//!
//! The models keep the whole history and look at all of it for each decision; they share no formula with the structures. A failure
//! names its seed; `UNDERHOOD_FLOW_SEED` runs that one alone, `UNDERHOOD_FLOW_RUNS` sets how many (default 2,000).

mod edges;
mod fair_queue;
mod in_flight;
mod keyed;
mod models;
mod rates;
mod retries;
mod rivals;
mod service;
mod tenants;

use underhood::measure::order::Order;

/// Runs a property for many seeds.
fn for_seeds(property: impl Fn(&mut Order)) {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seeds = match number("UNDERHOOD_FLOW_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("UNDERHOOD_FLOW_RUNS").unwrap_or(2_000),
    };
    for seed in seeds {
        let told = Told(seed);
        property(&mut Order::new(seed));
        std::mem::forget(told);
    }
}

/// Says which seed it was when a property panics.
struct Told(u64);

impl Drop for Told {
    #[allow(clippy::print_stderr, reason = "a failed test says how to repeat it")]
    fn drop(&mut self) {
        eprintln!("failed with UNDERHOOD_FLOW_SEED={}", self.0);
    }
}

/// A clock that stands, creeps, jumps to just before and just after whole units, or far; and, if wanted, steps back.
struct Clock {
    now_ns: u64,
    unit_ns: u64,
    back: bool,
}

impl Clock {
    fn new(unit_ns: u64, back: bool) -> Self {
        Self { now_ns: 0, unit_ns, back }
    }

    fn tick(&mut self, dice: &mut Order) -> u64 {
        let step = match dice.below(8) {
            0..3 => 0,
            3 => 1,
            4 => dice.below(2 * self.unit_ns as usize + 1) as u64,
            5 => self.unit_ns.saturating_sub(1),
            6 => self.unit_ns,
            _ => self.unit_ns * dice.below(20) as u64 + 1,
        };
        let backwards = self.back && dice.below(6) == 0;
        self.now_ns = if backwards { self.now_ns.saturating_sub(step) } else { self.now_ns + step };
        self.now_ns
    }
}
