//! A small seeded generator for random orders. Repeatable from [`crate::lab::plan::Plan::seed`]; not for secrets.

/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): one addition and a mixing function, every seed is good.
#[derive(Clone, Debug)]
pub struct Order(u64);

impl Order {
    /// A generator for this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..n`; the bias of the modulo is below 2^-32 for the small `n` used here.
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "nothing is below 0");
        usize::try_from(self.next_u64() % n as u64).expect("a remainder of a usize fits a usize")
    }

    /// Puts a slice into random order (Fisher-Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}
