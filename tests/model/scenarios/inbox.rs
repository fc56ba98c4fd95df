//! What a list of freed blocks must do in every execution: each block comes out once, with what its thread did to it.

use super::{Scenario, join};
use crate::alloc::inbox::{Inbox, Link};
use crate::sync::cell::UnsafeCell;
use crate::sync::thread;
use std::ptr::NonNull;
use std::sync::Arc;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "pushes",
        oracle: "two threads push while one takes: each block comes out once, whole, and each thread's newest first",
        threads: 3,
        bound: Some(2),
        run: pushes,
    },
    Scenario {
        name: "again",
        oracle: "a block that was taken is pushed again beside another push, and none is lost or twice",
        threads: 2,
        bound: None,
        run: again,
    },
];

/// A block with something in it.
#[repr(C)]
struct Block {
    link: Link,
    value: UnsafeCell<usize>,
}

struct Shared {
    inbox: Inbox,
    blocks: Vec<Block>,
}

// SAFETY: a block is touched by the thread that pushes it and then by the one that takes it. Whether the inbox orders the two is what loom looks at.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

impl Shared {
    fn new(blocks: usize) -> Arc<Self> {
        let block = |_| Block { link: Link::new(std::ptr::null_mut()), value: UnsafeCell::new(usize::MAX) };
        Arc::new(Self { inbox: Inbox::new(), blocks: (0..blocks).map(block).collect() })
    }

    /// Writes into a block that nobody else has, and pushes it.
    fn push(&self, i: usize) {
        let block = &self.blocks[i];
        // SAFETY: no other thread has this block now.
        block.value.with_mut(|value| unsafe { *value = i });
        // SAFETY: the blocks live as long as `self`, and this thread has it alone.
        unsafe { self.inbox.push(NonNull::from(block).cast()) };
    }

    /// What is in the inbox, newest first.
    fn take(&self) -> Vec<usize> {
        let (mut link, mut out) = (self.inbox.take(), Vec::new());
        while let Some(block) = NonNull::new(link.cast::<Block>()) {
            // SAFETY: only blocks of `self` are pushed, and the chain belongs to whoever took it.
            let block = unsafe { block.as_ref() };
            link = block.link.next();
            // SAFETY: as above.
            out.push(block.value.with(|value| unsafe { *value }));
        }
        out
    }
}

fn pushes(turns: usize) {
    let shared = Shared::new(2 * turns);
    let others = [0, 1].map(|who| {
        let shared = Arc::clone(&shared);
        thread::spawn(move || (0..turns).for_each(|i| shared.push(who * turns + i)))
    });
    let mut seen = Vec::new();
    let mut take = || {
        let chain = shared.take();
        for mine in [0..turns, turns..2 * turns] {
            let newest_first: Vec<usize> = chain.iter().copied().filter(|i| mine.contains(i)).collect();
            assert!(newest_first.is_sorted_by(|a, b| a > b), "{chain:?}");
        }
        seen.extend(chain);
    };
    (0..turns).for_each(|_| take());
    others.into_iter().for_each(join);
    take();
    seen.sort_unstable();
    assert!(seen.iter().copied().eq(0..2 * turns), "{seen:?}");
}

fn again(turns: usize) {
    let shared = Shared::new(turns + 1);
    shared.push(turns);
    let other = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || (0..turns).for_each(|i| shared.push(i)))
    };
    for _ in 0..turns {
        for i in shared.take() {
            shared.push(i);
        }
    }
    join(other);
    let mut seen = shared.take();
    seen.sort_unstable();
    assert!(seen.iter().copied().eq(0..=turns), "{seen:?}");
}
