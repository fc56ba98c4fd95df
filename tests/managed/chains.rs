//! Graphs that are told by a seed, changed by lot, and compared with what they should be.
use underhood::heap::{Collector, Mutator, Root};

use super::{litter, litter_until};

struct Lot(u64);

impl Lot {
    /// xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators" (2016).
    fn draw(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
    fn below(&mut self, n: usize) -> usize {
        (self.draw() % n as u64) as usize
    }
}

fn filled(seed: u64, len: usize) -> impl Iterator<Item = u8> {
    let mut lot = Lot(seed | 1);
    (0..len).map(move |_| (lot.draw() >> 56) as u8)
}

/// A chain of objects, told by its seed: how long it is, and what each object holds.
struct Chain;

impl Chain {
    fn lengths(seed: u64, large: usize) -> Vec<usize> {
        let mut lot = Lot(seed.wrapping_mul(0x9E37_79B9) | 1);
        let length = 1 + lot.below(6);
        (0..length)
            .map(|_| if lot.below(40) == 0 { large + lot.below(5000) } else { lot.below(200) })
            .collect()
    }
    fn build(m: &mut Mutator, seed: u64) -> Root {
        let large = m.heap().large_bytes();
        let mut next: Option<Root> = None;
        for (i, len) in Self::lengths(seed, large).into_iter().enumerate() {
            let node = m.alloc(2, len as u32).expect("room for a chain");
            m.payload_mut(&node).iter_mut().zip(filled(seed + i as u64, len)).for_each(|(b, f)| *b = f);
            m.store(m.at(&node), 1, next.as_ref().map(|n| m.at(n)));
            next = Some(node);
        }
        next.expect("a chain has an object")
    }
    /// Reads it all again, from the head, which was built last.
    fn check(m: &Mutator, table: &Root, slot: u32, seed: u64) {
        let lengths = Self::lengths(seed, m.heap().large_bytes());
        let mut node = m.load(m.at(table), slot);
        for (i, &len) in lengths.iter().enumerate().rev() {
            let here = node.expect("the chain is as long as it was built");
            let same = m.payload(here).iter().copied().eq(filled(seed + i as u64, len));
            assert!(same, "object {i} of chain {seed:x} holds what was written");
            assert!(m.load(here, 0).is_none(), "an empty slot stays empty");
            node = m.load(here, 1);
        }
        assert!(node.is_none(), "and no longer");
    }
}

/// A collection. A concurrent collector answers a request with a full pause, so it gets garbage instead, and marks.
pub(crate) fn force(m: &mut Mutator) {
    match m.heap().config().collector {
        Collector::ConcurrentImmix => litter_until(m, 1),
        _ => m.collect(),
    }
}

/// Changes a table of chains by lot, with the same changes in ordinary memory beside it, and compares.
pub(crate) fn shuffle_chains(m: &mut Mutator, seed: u64, rounds: usize) {
    const SLOTS: usize = 300;
    let mut lot = Lot(seed);
    let table = m.alloc(SLOTS as u32, 0).expect("room for the table");
    let mut beside: Vec<Option<u64>> = vec![None; SLOTS];
    for round in 0..rounds {
        let (a, b) = (lot.below(SLOTS), lot.below(SLOTS));
        match lot.below(8) {
            0 => {
                m.store(m.at(&table), a as u32, None);
                beside[a] = None;
            }
            1 => {
                // The only reference to a chain moves from one place to another, across a safepoint, held by nothing but a root.
                let chain = m.load(m.at(&table), a as u32).map(|c| m.hold(c));
                m.store(m.at(&table), a as u32, None);
                m.poll();
                m.store(m.at(&table), b as u32, chain.as_ref().map(|c| m.at(c)));
                beside[b] = beside[a].take();
            }
            2 => {
                // Two places share a chain.
                m.store(m.at(&table), b as u32, m.load(m.at(&table), a as u32));
                beside[b] = beside[a];
            }
            3 => litter(m, 16 << 10),
            _ => {
                let seed = lot.draw() >> 8;
                let chain = Chain::build(m, seed);
                m.store(m.at(&table), a as u32, Some(m.at(&chain)));
                beside[a] = Some(seed);
            }
        }
        if round % 1000 == 999 {
            force(m);
        }
        if let Some(seed) = beside[b] {
            Chain::check(m, &table, b as u32, seed);
        }
    }
    for (slot, seed) in beside.into_iter().enumerate() {
        match seed {
            Some(seed) => Chain::check(m, &table, slot as u32, seed),
            None => assert!(m.load(m.at(&table), slot as u32).is_none()),
        }
    }
}
