//! Keys for maps, drawn before the measurement: which key comes next must cost the same for every contender, and must not
//! depend on how many threads there are.
//!
//! Known generators that mix by a linear congruence visit keys in a few fixed strides, give each thread keys of its own, and let the
//! share of hits drift with time and threads. Here the draws are independent, the hot keys are the same for all threads, and the
//! share of hits is set by the caller and counted by the lanes.
use crate::measure::order::Order;

/// How unevenly keys are asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Skew {
    /// Each key as often as any other.
    Uniform,
    /// The r-th most popular key with a weight of `1 / r^s` (Zipf's law); `s` about 1 is what caches see.
    Zipf(f64),
    /// Always the same key.
    OneKey,
}

/// Draws `count` keys of `0..keys`. Which keys are hot depends on `keys` alone; the order of draws on the seed.
///
/// # Panics
/// If `keys` is 0.
pub fn draw(skew: Skew, keys: u32, count: usize, seed: u64) -> Vec<u32> {
    assert!(keys > 0, "there is a key to draw");
    // Popular keys lie scattered, not side by side: else they would share cache lines and shards.
    let mut key_of_rank: Vec<u32> = (0..keys).collect();
    Order::new(u64::from(keys)).shuffle(&mut key_of_rank);
    let mut order = Order::new(seed);
    let mut below_one = || (order.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
    match skew {
        Skew::OneKey => vec![key_of_rank[0]; count],
        Skew::Uniform => {
            let mut order = Order::new(seed);
            (0..count).map(|_| key_of_rank[order.below(key_of_rank.len())]).collect()
        }
        Skew::Zipf(s) => {
            let mut sum = 0.0;
            let cumulated: Vec<f64> = (1..=keys)
                .map(|rank| {
                    sum += f64::from(rank).powf(-s);
                    sum
                })
                .collect();
            (0..count)
                .map(|_| {
                    let at = below_one() * sum;
                    let rank = cumulated.partition_point(|c| *c <= at);
                    key_of_rank[rank.min(key_of_rank.len() - 1)]
                })
                .collect()
        }
    }
}
