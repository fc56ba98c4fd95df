//! What an adversary gets out of a rate limit, on a clock of its own: counted, not sampled, so the numbers are exact.
//!
//! Requests come at whole milliseconds of the adversary's time, and at each as many as pass; the limiters here change what they would
//! say only at multiples of a millisecond from the first request, or at an edge of the calendar, and the attacks begin on, between and
//! just before such edges. So nothing passes in between that is missed.
use super::limiter::{Limit, Rate};
use crate::measure::order::Order;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

/// Asks as often as it passes at `now_ns`; when each may leave goes to `left`. Refused: the end. Bounded, in case nothing is refused.
fn take_all<L: Limit>(limiter: &L, now_ns: u64, left: &mut Vec<u64>) {
    const ENOUGH: usize = 100_000;
    left.extend((0..ENOUGH).map_while(|_| limiter.leaves_at_ns(now_ns)));
}

/// The most that leave in any half-open second, of the worst attack: idle until a moment on, between or 1 ns before edges of the
/// calendar, then as much as passes for three seconds.
pub fn worst_second<L: Limit>(rate: Rate) -> usize {
    let starts = [0, SECOND / 2, SECOND - MS, SECOND - 1, SECOND, 10 * SECOND - 1];
    let attack = |start: u64| {
        let (limiter, mut left) = (L::new(rate), Vec::new());
        (0..3_000).for_each(|ms| take_all(&limiter, start + ms * MS, &mut left));
        most_within(&left, SECOND)
    };
    starts.into_iter().map(attack).max().unwrap_or(0)
}

/// The most of these (ascending) that lie in a half-open window of this length.
pub fn most_within(times: &[u64], window: u64) -> usize {
    let mut from = 0;
    let counts = times.iter().enumerate().map(|(i, time)| {
        while times[from] + window <= *time {
            from += 1;
        }
        i + 1 - from
    });
    counts.max().unwrap_or(0)
}

/// How many leave per second of a flood, after the first second, over 100 seconds.
pub fn long_run_per_s<L: Limit>(rate: Rate) -> f64 {
    let (limiter, mut left) = (L::new(rate), Vec::new());
    (0..102_000).for_each(|ms| take_all(&limiter, ms * MS, &mut left));
    let counted = left.iter().filter(|t| (SECOND..101 * SECOND).contains(*t)).count();
    counted as f64 / 100.0
}

/// After ten idle seconds: how many leave at one moment, and how long the last of those that are taken waits, in ns.
pub fn after_idle<L: Limit>(rate: Rate) -> (usize, u64) {
    let (limiter, mut left) = (L::new(rate), Vec::new());
    let now_ns = 10 * SECOND;
    take_all(&limiter, now_ns, &mut left);
    let waits_ns = left.iter().max().map_or(0, |last| last - now_ns);
    (most_within(&left, 1), waits_ns)
}

/// What a limit really lets through.
#[derive(Clone, Copy, Debug)]
pub struct Truth {
    /// As [`worst_second`].
    pub worst_second: usize,
    /// As [`long_run_per_s`].
    pub long_run_per_s: f64,
    /// How many leave at one moment after ten idle seconds.
    pub credit: usize,
    /// How long the last of those that are taken then waits.
    pub waits_ns: u64,
    /// Bytes of state.
    pub state_bytes: usize,
}

/// All of it.
pub fn truth<L: Limit>(rate: Rate) -> Truth {
    let (credit, waits_ns) = after_idle::<L>(rate);
    let (worst_second, long_run_per_s) = (worst_second::<L>(rate), long_run_per_s::<L>(rate));
    Truth { worst_second, long_run_per_s, credit, waits_ns, state_bytes: L::new(rate).bytes() }
}

/// The clients of [`polite_share`], as keys.
pub const GREEDY: u64 = 0;
/// As [`GREEDY`].
pub const POLITE: u64 = 1;

/// The share of a polite client's requests that pass beside a greedy one, over 100 seconds after the first. The polite one sends 40 a
/// second, less than half of what "100 per second" has. `passes` is asked with client and time.
///
/// With dice, both come at random moments (exponential gaps), the greedy one a thousand times a second. Without, the greedy one is an
/// adversary: it asks at each ms, which is the very moment at which something becomes free, until it is refused; and the polite one half
/// a ms later, every 25 ms.
pub fn polite_share(mut dice: Option<Order>, passes: impl Fn(u64, u64) -> bool) -> f64 {
    let is_random = dice.is_some();
    let mut gap = |mean_ns: u64| match &mut dice {
        Some(dice) => exponential(dice, mean_ns),
        None => mean_ns,
    };
    let (mut greedy_ns, mut polite_ns) = (gap(MS), gap(25 * MS) + MS / 2);
    let (mut asked, mut passed) = (0u32, 0u32);
    loop {
        let now_ns = greedy_ns.min(polite_ns);
        if now_ns >= 101 * SECOND {
            return f64::from(passed) / f64::from(asked);
        }
        if polite_ns <= greedy_ns {
            let passes = passes(POLITE, now_ns);
            if now_ns >= SECOND {
                asked += 1;
                passed += u32::from(passes);
            }
            polite_ns += gap(25 * MS);
        } else {
            let tries = if is_random { 1 } else { 1_000 }; // bounded, in case nothing is refused
            (0..tries).find(|_| !passes(GREEDY, now_ns));
            greedy_ns += gap(MS);
        }
    }
}

/// A random gap of a stream without memory, in whole ns.
pub fn exponential(dice: &mut Order, mean_ns: u64) -> u64 {
    let uniform = ((dice.next_u64() >> 11) as f64 + 1.0) / (1u64 << 53) as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at most 37 times the mean, and not negative"
    )]
    let gap_ns = (-uniform.ln() * mean_ns as f64) as u64;
    gap_ns
}
