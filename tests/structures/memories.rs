//! Memory by hand: no two values share a place, each place is aligned, and what is given back is used again.
use std::{
    alloc::{GlobalAlloc, Layout},
    cell::{Cell, RefCell},
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Mutex,
    thread,
};
use underhood::structures::alloc::{
    bump::Bump,
    inbox::Link,
    slots::Slots,
    small::{LARGEST, Small},
};

/// The same numbers in every run.
fn lots(mut state: u64) -> impl FnMut(u64) -> u64 {
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    }
}

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([u8; 64]);

#[test]
fn values_in_an_arena_keep_their_places_until_the_reset() {
    let mut arena = Bump::new();
    let mut below = lots(3);
    for round in 0..20 {
        let (mut bytes, mut words, mut lines) = (Vec::new(), Vec::new(), Vec::new());
        let mut taken: BTreeMap<usize, usize> = BTreeMap::new();
        for n in 0..1_000_u64 {
            let (at, size) = match below(3) {
                0 => {
                    bytes.push((&*arena.alloc(n as u8), n as u8));
                    (&raw const *bytes.last().unwrap().0 as usize, 1)
                }
                1 => {
                    words.push((&*arena.alloc(n), n));
                    let at = &raw const *words.last().unwrap().0 as usize;
                    assert_eq!(at % align_of::<u64>(), 0);
                    (at, 8)
                }
                _ => {
                    lines.push((&*arena.alloc(Line([n as u8; 64])), n as u8));
                    let at = &raw const *lines.last().unwrap().0 as usize;
                    assert_eq!(at % 64, 0);
                    (at, 64)
                }
            };
            let before = taken.range(..at + size).next_back();
            assert!(before.is_none_or(|(from, size)| from + size <= at), "round {round}: two share a place");
            taken.insert(at, size);
        }
        assert!(bytes.iter().all(|(kept, n)| **kept == *n));
        assert!(words.iter().all(|(kept, n)| **kept == *n));
        assert!(lines.iter().all(|(kept, n)| kept.0 == [*n; 64]));
        arena.reset();
    }
}

#[test]
fn an_arena_keeps_its_largest_chunk_and_grows_no_further() {
    let mut arena = Bump::new();
    assert_eq!(arena.chunk_bytes(), 0);
    (0..10_000_u64).for_each(|n| assert_eq!(*arena.alloc(n), n));
    assert!(arena.chunk_bytes() >= 80_000);
    arena.reset();
    let kept = arena.chunk_bytes();
    assert!(kept >= 40_000, "the newest chunk holds half of all at least");
    for _ in 0..100 {
        (0..kept as u64 / 8).for_each(|n| assert_eq!(*arena.alloc(n), n));
        assert_eq!(arena.chunk_bytes(), kept);
        arena.reset();
    }
    // Larger than twice the last chunk.
    let large = arena.alloc([7_u8; 200_000]);
    assert!(large.iter().all(|byte| *byte == 7));
    arena.alloc(());
}

#[test]
fn a_pool_hands_out_each_place_once_and_uses_it_again() {
    let pool = Slots::new();
    let mut below = lots(5);
    let mut held = Vec::new();
    let mut most = 0;
    for n in 0..20_000_u64 {
        if below(2) == 0 || held.is_empty() {
            held.push((pool.take(n), n));
            most = most.max(held.len());
        } else {
            let (taken, n) = held.swap_remove(below(held.len() as u64) as usize);
            assert_eq!(*taken, n);
        }
    }
    assert!(held.iter().all(|(taken, n)| **taken == *n), "two share a place");
    let places = pool.places();
    assert!(places >= most && places < 2 * most + 64, "{places} places for {most}");
    held.clear();
    held.extend((0..places as u64).map(|n| (pool.take(n), n)));
    assert_eq!(pool.places(), places, "a place that was freed is free");
    let one_more = pool.take(0);
    assert!(pool.places() > places);
    drop(one_more);
}

#[test]
fn a_pool_drops_its_values_once_and_frees_the_place_of_one_whose_drop_unwinds() {
    struct Counts<'a>(&'a Cell<u32>, bool);
    impl Drop for Counts<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
            if self.1 {
                resume_unwind(Box::new("a bomb"));
            }
        }
    }
    let drops = Cell::new(0);
    let pool = Slots::new();
    let first = pool.take(Counts(&drops, false));
    let place = &raw const *first;
    drop(first);
    assert_eq!(drops.get(), 1);
    let bomb = pool.take(Counts(&drops, true));
    assert_eq!(&raw const *bomb, place, "what was freed last is taken first");
    assert!(catch_unwind(AssertUnwindSafe(|| drop(bomb))).is_err());
    assert_eq!(drops.get(), 2);
    assert_eq!(&raw const *pool.take(Counts(&drops, false)), place);
}

/// The allocator is one for the whole process: tests that count its spans run one after the other.
static ALONE: Mutex<()> = Mutex::new(());

/// A block of [`Small`] that knows what was written into it.
struct Filled {
    at: *mut u8,
    layout: Layout,
    byte: u8,
}

// SAFETY: any thread may use and free a block that it has alone.
unsafe impl Send for Filled {}

impl Filled {
    fn new(bytes: usize, align: usize, byte: u8) -> Self {
        let layout = Layout::from_size_align(bytes, align).unwrap();
        // SAFETY: the size is not 0.
        let at = unsafe { Small.alloc(layout) };
        assert!(!at.is_null() && at.addr().is_multiple_of(align), "{layout:?} at {at:?}");
        // SAFETY: a block of that many bytes, ours.
        unsafe { at.write_bytes(byte, bytes) };
        Self { at, layout, byte }
    }

    fn is_whole(&self) -> bool {
        // SAFETY: all bytes were written by `new`.
        let bytes = unsafe { std::slice::from_raw_parts(self.at, self.layout.size()) };
        bytes.iter().all(|byte| *byte == self.byte)
    }

    /// Where it begins, and where it ends.
    fn place(&self) -> (usize, usize) {
        (self.at.addr(), self.at.addr() + self.layout.size())
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        assert!(self.is_whole(), "a block of {:?} was written by another one", self.layout);
        // SAFETY: from `alloc` with this layout, and dropped once.
        unsafe { Small.dealloc(self.at, self.layout) }
    }
}

fn overlaps(blocks: &[Filled]) -> bool {
    let mut places: Vec<_> = blocks.iter().map(Filled::place).collect();
    places.sort_unstable();
    places.windows(2).any(|pair| pair[0].1 > pair[1].0)
}

#[test]
fn random_blocks_of_our_malloc_do_not_overlap_and_are_aligned() {
    let _alone = ALONE.lock();
    let mut below = lots(7);
    let mut held: Vec<Filled> = Vec::new();
    for n in 0..30_000_u64 {
        if held.is_empty() || below(100) < if n % 6_000 < 3_000 { 60 } else { 40 } {
            // Also sizes and alignments that go to the system's allocator.
            let most = if below(10) == 0 { 5_000 } else { LARGEST as u64 };
            let bytes = 1 + below(most) as usize;
            held.push(Filled::new(bytes, 1 << below(8), n as u8));
        } else {
            drop(held.swap_remove(below(held.len() as u64) as usize));
        }
        if n % 1_000 == 0 {
            assert!(!overlaps(&held), "after {n} steps");
        }
    }
    assert!(!overlaps(&held));
}

#[test]
fn each_size_has_a_block_that_is_large_enough_and_not_much_larger() {
    for bytes in 1..=LARGEST {
        let block = Small.block_bytes(Layout::from_size_align(bytes, 16).unwrap()).unwrap();
        assert!(block >= bytes && block.is_multiple_of(16), "{bytes}: {block}");
        assert!(block <= bytes + 15.max(bytes / 4), "{bytes}: {block}");
    }
    assert_eq!(Small.block_bytes(Layout::from_size_align(LARGEST + 1, 1).unwrap()), None);
    assert_eq!(Small.block_bytes(Layout::from_size_align(8, 32).unwrap()), None);
    assert!(size_of::<Link>() <= 16, "the smallest block has room for a link");
}

/// Some of each size.
fn some(of: usize) -> Vec<Filled> {
    (0..of).map(|n| Filled::new(1 + n * 37 % LARGEST, 8, n as u8)).collect()
}

#[test]
fn what_another_thread_frees_comes_back_to_its_heap() {
    let _alone = ALONE.lock();
    // In a thread of its own, which so has a heap to itself as long as it runs.
    let owner = || {
        drop(some(5_000));
        let before = Small.span_bytes();
        for _ in 0..10 {
            let blocks = some(5_000);
            assert!(!overlaps(&blocks));
            thread::spawn(move || drop(blocks)).join().unwrap();
        }
        assert_eq!(Small.span_bytes(), before, "all that was freed was used again");
    };
    thread::spawn(owner).join().unwrap();
}

#[test]
fn the_heap_of_a_thread_that_ended_serves_the_next_one() {
    let _alone = ALONE.lock();
    let run = || thread::spawn(|| some(2_000)).join().unwrap();
    drop(run());
    let before = Small.span_bytes();
    let (mut rounds, mut taken) = (0, 0);
    while rounds < 100 {
        let blocks = run();
        taken += blocks.iter().map(|block| block.layout.size()).sum::<usize>();
        rounds += 1;
    }
    // The threads of other tests end meanwhile, so a few heaps may be waiting that must grow first. A new heap for each thread would take
    // all of it.
    let grown = Small.span_bytes() - before;
    assert!(grown < taken / 4, "{grown} new bytes for {taken} that {rounds} threads had one after the other");
}

#[test]
fn many_threads_get_and_free_each_others_blocks() {
    let _alone = ALONE.lock();
    let shelf: Mutex<Vec<Filled>> = Mutex::new(Vec::new());
    thread::scope(|s| {
        for seed in 1..5 {
            let shelf = &shelf;
            s.spawn(move || {
                let mut below = lots(seed);
                for n in 0..5_000_u64 {
                    let block = Filled::new(1 + below(LARGEST as u64) as usize, 16, n as u8);
                    let mut all = shelf.lock().unwrap();
                    all.push(block);
                    let i = below(all.len() as u64) as usize;
                    // Freed after the lock is: so two threads free at once.
                    let another = (below(3) > 0).then(|| all.swap_remove(i));
                    drop(all);
                    drop(another);
                }
            });
        }
    });
    assert!(!overlaps(&shelf.into_inner().unwrap()));
}

thread_local! {
    static LATE: RefCell<Vec<Filled>> = const { RefCell::new(Vec::new()) };
}

#[test]
fn a_thread_that_is_ending_may_still_get_and_free() {
    let _alone = ALONE.lock();
    struct Last;
    impl Drop for Last {
        fn drop(&mut self) {
            // Whether this thread has still a heap depends on the order of the destructors.
            assert!(!overlaps(&some(100)));
        }
    }
    thread_local! {
        static BEFORE: Last = const { Last };
        static AFTER: Last = const { Last };
    }
    let ends = thread::spawn(|| {
        BEFORE.with(|_| ());
        LATE.with_borrow_mut(|late| late.extend(some(100)));
        AFTER.with(|_| ());
    });
    ends.join().unwrap();
}
