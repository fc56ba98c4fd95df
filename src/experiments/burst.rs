//! Bursts of small blocks: the pattern that shows what an allocator's thread cache holds, and what lies behind it.
//!
//! One malloc followed by one free is the pattern most benchmarks use, and it shows the best case only: the block that
//! was freed last is handed out again, from a list that every allocator has. A burst of [`BURST`] blocks is more than
//! glibc's thread cache keeps of a size (7 blocks up to 2.41, 16 later: malloc/malloc.c, TCACHE_FILL_COUNT), so the
//! bins of the arena and their lock are part of it.
use crate::{
    contenders::alloc::{ALIGN, Allocator, Block},
    machine::memory,
    measure::{
        cost::Solo,
        throughput::{Apart, Crowd, Lane},
    },
};

/// Blocks in a burst.
pub const BURST: usize = 64;

/// Some blocks of one size, all alive or none.
#[derive(Debug)]
pub struct Burst {
    from: &'static Allocator,
    bytes: usize,
    blocks: Vec<Block>,
}

impl Burst {
    /// No blocks yet. The list that will hold them comes from the global allocator, once.
    pub fn new(from: &'static Allocator, bytes: usize) -> Self {
        Self { from, bytes, blocks: Vec::with_capacity(BURST) }
    }

    /// Gets blocks until there are [`BURST`], and writes the first and the last byte of each.
    ///
    /// # Panics
    /// If the allocator refuses: a burst is of a size that it has served before.
    pub fn fill(&mut self) {
        while self.blocks.len() < BURST {
            self.add();
        }
    }

    fn add(&mut self) {
        let mut block = Block::new(self.from, self.bytes, ALIGN).expect("a burst is a few MiB at most");
        block.touch_every(self.bytes);
        self.blocks.push(block);
    }

    /// Writes the first and the last byte of each, as somebody does who was handed the blocks.
    pub fn use_all(&mut self) {
        for block in &mut self.blocks {
            block.touch_every(self.bytes);
        }
    }

    /// Frees all, the oldest first. Returns how many there were.
    pub fn drain(&mut self) -> usize {
        let count = self.blocks.len();
        self.blocks.clear();
        count
    }
}

/// A contender whose lanes fill and drain a burst of their own: they share the allocator and nothing else. The hold is
/// not used. One operation is a block: a lane tells how far it is after some operations, and that many whole bursts of large
/// blocks would last longer than a window.
pub fn crowd(from: &'static Allocator, bytes: usize) -> Crowd {
    let lane = move || {
        let mut burst = Burst::new(from, bytes);
        Box::new(Apart(move |n: u32, _: u32| {
            for _ in 0..n {
                burst.add();
                if burst.blocks.len() == BURST {
                    burst.drain();
                }
            }
        })) as Lane
    };
    Crowd::new(from.id(), move |threads| (0..threads).map(|_| lane()).collect())
}

/// A contender of [`crate::measure::cost`]. One operation is a whole burst.
pub fn solo(from: &'static Allocator, bytes: usize) -> Solo {
    Solo::new(from.id(), move || {
        let mut burst = Burst::new(from, bytes);
        Box::new(move |n| {
            for _ in 0..n {
                burst.fill();
                burst.drain();
            }
        })
    })
}

/// Minor faults for each block, over 100 bursts after 20 to warm up; `None` where faults are not counted.
pub fn faults_per_block(from: &'static Allocator, bytes: usize) -> Option<f64> {
    const BURSTS: usize = 100;
    let mut burst = Burst::new(from, bytes);
    let mut run = |bursts| {
        for _ in 0..bursts {
            burst.fill();
            burst.drain();
        }
    };
    run(20);
    let before = memory::minor_faults()?;
    run(BURSTS);
    let faults = memory::minor_faults()?.saturating_sub(before);
    Some(faults as f64 / (BURSTS * BURST) as f64)
}
