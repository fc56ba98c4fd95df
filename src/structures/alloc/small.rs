//! A small `malloc`: size classes, a heap for each thread, and an inbox in each heap for what other threads free.
//!
//! # How it works
//! Memory comes in spans of 64 KiB that begin at multiples of 64 KiB. A span holds blocks of one size class and belongs to one heap for
//! ever; both stand at its start. So the address of a block, rounded down, tells whose it is and how large: a block has no header.
//!
//! | a block is | who changes that |
//! |---|---|
//! | fresh: behind the part of the newest span of its class that was ever used | `alloc`, by its heap's thread |
//! | taken | `dealloc`, by any thread |
//! | free, in its heap's list of its class | `alloc`, by its heap's thread |
//! | free, in its heap's [`Inbox`]: another thread freed it | the heap's thread takes all of them when a list is empty |
//!
//! `alloc` looks at the list, then at the fresh part, then takes the inbox, and at last asks for a span.
//!
//! A thread gets a heap at its first `alloc`. When it ends, the heap waits for the next thread that has none.
//!
//! # Edges
//! - The inbox's **E1**: what the freeing thread did with a block comes before what the next owner of the block does.
//! - **E2** the mutex of `SHARED`: what a thread did with a heap comes before what the next thread does that gets it.
//!
//! # Limits
//! Sizes up to 1 KiB with alignments up to 16; all others go to the system's allocator. A span is never given back, and never changes its
//! class: a program that needs 1 GiB of one size once holds it for ever. A heap that waits for a thread may hold free blocks meanwhile. To
//! align a span, the system's allocator loses up to two pages. The inbox is looked at only when a list is empty. Double frees and writes
//! past the end are not noticed. It can't be the program's global allocator: its own bookkeeping uses that one.
//!
//! # Source
//! J. Evans, "A Scalable Concurrent malloc(3) Implementation for FreeBSD" (2006): size classes, four for each doubling; D. Leijen et al.,
//! "Mimalloc" (2019): aligned segments, a list for the owner and one for others.

use super::inbox::{Inbox, Link};
use crate::structures::sync::cell::UnsafeCell;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr::{self, NonNull, null_mut};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The allocator. All values of it are the same one. See the [module](self).
#[derive(Clone, Copy, Debug, Default)]
pub struct Small;

/// The largest size that it serves itself.
pub const LARGEST: usize = 1024;
/// All its blocks are aligned to this.
const ALIGNED: usize = 16;
/// Size and alignment of a span.
const SPAN_BYTES: usize = 64 << 10;
/// What stands at the start of a span, rounded up to a cache line so that blocks of 64 bytes have one each.
const HEAD_BYTES: usize = 64;

/// Multiples of 16 up to 128, then four for each doubling.
const SIZES: [usize; 20] =
    [16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 896, 1024];

/// The class for each number of 16-byte units.
const CLASS_OF: [u8; LARGEST / ALIGNED + 1] = {
    let mut table = [0; LARGEST / ALIGNED + 1];
    let (mut units, mut class) = (0, 0);
    while units < table.len() {
        if units * ALIGNED > SIZES[class as usize] {
            class += 1;
        }
        table[units] = class;
        units += 1;
    }
    table
};

/// At the start of each span; never changed once it is written.
#[derive(Clone, Copy)]
struct Span {
    owner: &'static Heap,
    class: usize,
}

/// One thread's, until it ends. Never freed.
struct Heap {
    inbox: Inbox,
    mine: UnsafeCell<Mine>,
}

/// What only the heap's thread touches.
struct Mine {
    /// The free blocks of each class.
    free: [*mut Link; SIZES.len()],
    /// Of each class: the first block that was never used, and how many there are from it on.
    fresh: [(*mut u8, usize); SIZES.len()],
}

// SAFETY: `inbox` is made for all threads. `mine` is touched by the thread alone that has the heap in `MINE`, or took it from `SHARED` for
// one call; it is in one of these places at a time, and E2 orders what two threads do with it.
unsafe impl Sync for Heap {}

/// What threads share besides the inboxes.
struct Shared {
    /// Heaps whose threads have ended.
    waiting: Vec<&'static Heap>,
    spans_count: usize,
}

static SHARED: Mutex<Shared> = Mutex::new(Shared { waiting: Vec::new(), spans_count: 0 });

thread_local! {
    /// The heap of this thread. It has no destructor, so it can be read as long as the thread runs.
    static MINE: Cell<Option<&'static Heap>> = const { Cell::new(None) };
    static END: End = const { End };
}

/// Lets the heap wait for another thread when this one ends.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        if let Some(heap) = MINE.take() {
            shared().waiting.push(heap);
        }
    }
}

fn shared() -> MutexGuard<'static, Shared> {
    // E2. Nothing that is done under it can unwind halfway.
    SHARED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The class that serves this layout, if one does.
#[inline]
fn class_of(layout: Layout) -> Option<usize> {
    let units = layout.size().div_ceil(ALIGNED);
    (layout.align() <= ALIGNED).then(|| CLASS_OF.get(units).copied().map(usize::from)).flatten()
}

/// What stands at the start of the span in which this block lies.
///
/// # Safety
/// The block came from a [`Heap`].
#[inline]
unsafe fn span_of(block: *mut u8) -> Span {
    let start = block.map_addr(|address| address & !(SPAN_BYTES - 1)).cast::<Span>();
    // SAFETY: the caller's: so a span lies there, and its start was written before its first block was handed out.
    unsafe { start.read() }
}

impl Heap {
    fn new() -> Self {
        let mine = Mine { free: [null_mut(); SIZES.len()], fresh: [(null_mut(), 0); SIZES.len()] };
        Self { inbox: Inbox::new(), mine: UnsafeCell::new(mine) }
    }

    /// A block of this class; null if the system has no more memory.
    ///
    /// # Safety
    /// The calling thread has this heap.
    #[inline]
    unsafe fn get(&'static self, class: usize) -> *mut u8 {
        self.mine.with_mut(|mine| {
            // SAFETY: the caller's: nobody else touches `mine`, and nothing below calls back.
            let mine = unsafe { &mut *mine };
            if mine.free[class].is_null() {
                if mine.fresh[class].1 > 0 {
                    return mine.unused(class);
                }
                self.refill(mine, class);
            }
            if mine.free[class].is_null() { mine.unused(class) } else { mine.pop(class) }
        })
    }

    /// Sorts what others freed into the lists. If none of it is of this class, gets a span.
    #[cold]
    fn refill(&'static self, mine: &mut Mine, class: usize) {
        let mut link = self.inbox.take();
        while let Some(block) = NonNull::new(link) {
            // SAFETY: the chain is ours since we took it (E1), and its links are alive: they are free blocks.
            link = unsafe { block.as_ref() }.next();
            // SAFETY: only blocks of this heap come into its inbox.
            let span = unsafe { span_of(block.as_ptr().cast()) };
            // SAFETY: a free block of that class, which is in no list.
            unsafe { mine.push(span.class, block) };
        }
        if mine.free[class].is_null() {
            mine.fresh[class] = self.span(class);
        }
    }

    /// A new span of this class: its first block, and how many there are; none if the system has no more memory.
    fn span(&'static self, class: usize) -> (*mut u8, usize) {
        const SPAN: Layout = match Layout::from_size_align(SPAN_BYTES, SPAN_BYTES) {
            Ok(layout) => layout,
            Err(_) => panic!("the size is a power of two"),
        };
        // SAFETY: the layout has a size.
        let start = unsafe { System.alloc(SPAN) };
        if start.is_null() {
            return (null_mut(), 0);
        }
        // SAFETY: the new span's own bytes, aligned; the head fits into HEAD_BYTES.
        unsafe { start.cast::<Span>().write(Span { owner: self, class }) };
        shared().spans_count += 1;
        // SAFETY: within the span.
        let first = unsafe { start.add(HEAD_BYTES) };
        (first, (SPAN_BYTES - HEAD_BYTES) / SIZES[class])
    }
}

impl Mine {
    /// Takes a block from the list, which is not empty.
    #[inline]
    fn pop(&mut self, class: usize) -> *mut u8 {
        let block = self.free[class];
        // SAFETY: not null, as the caller has seen; a free block, which begins with a link.
        self.free[class] = unsafe { &*block }.next();
        block.cast()
    }

    /// Takes the first block that was never used; null if there is none.
    fn unused(&mut self, class: usize) -> *mut u8 {
        let (block, left) = self.fresh[class];
        if left == 0 {
            return null_mut();
        }
        // SAFETY: `left` blocks lie from here on in the span, so the next one begins in it or just behind it.
        let next = unsafe { block.add(SIZES[class]) };
        self.fresh[class] = (next, left - 1);
        block
    }

    /// Puts a block into the list.
    ///
    /// # Safety
    /// A block of this heap and class, which nobody has and which is in no list.
    #[inline]
    unsafe fn push(&mut self, class: usize, block: NonNull<Link>) {
        // SAFETY: the caller's; the smallest block has room for a link and is aligned for it.
        unsafe { block.write(Link::new(self.free[class])) };
        self.free[class] = block.as_ptr();
    }
}

impl Small {
    /// Bytes of all spans that there are. They only become more.
    pub fn span_bytes(self) -> usize {
        shared().spans_count * SPAN_BYTES
    }

    /// The size of the block that serves this layout; `None` if the system's allocator does.
    pub fn block_bytes(self, layout: Layout) -> Option<usize> {
        class_of(layout).map(|class| SIZES[class])
    }

    /// The first block of a thread: it gets a heap. Also each block of a thread that is ending, which has none any more.
    #[cold]
    fn first(class: usize) -> *mut u8 {
        let waiting = shared().waiting.pop();
        let heap = waiting.unwrap_or_else(|| Box::leak(Box::new(Heap::new())));
        if END.try_with(|_| ()).is_ok() {
            MINE.set(Some(heap));
            // SAFETY: it was waiting, or is new, and now it is ours.
            return unsafe { heap.get(class) };
        }
        // SAFETY: as above, until it waits again.
        let block = unsafe { heap.get(class) };
        shared().waiting.push(heap);
        block
    }
}

// SAFETY: a block is as large and aligned as its class, which is at least what was asked for; it lies in no other block, and comes back to
// a list only by `dealloc`. No function unwinds.
unsafe impl GlobalAlloc for Small {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match (class_of(layout), MINE.get()) {
            // SAFETY: `MINE` is this thread's heap.
            (Some(class), Some(heap)) => unsafe { heap.get(class) },
            (Some(class), None) => Self::first(class),
            // SAFETY: the caller's promises are the same there.
            (None, _) => unsafe { System.alloc(layout) },
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some(class) = class_of(layout) else {
            // SAFETY: `alloc` gave this layout to the system's allocator.
            return unsafe { System.dealloc(block, layout) };
        };
        // SAFETY: `alloc` took it from a heap, for this layout.
        let owner = unsafe { span_of(block) }.owner;
        // SAFETY: never null: the caller got it from `alloc`, which succeeded.
        let link = unsafe { NonNull::new_unchecked(block.cast::<Link>()) };
        if MINE.get().is_some_and(|mine| ptr::eq(mine, owner)) {
            owner.mine.with_mut(|mine| {
                // SAFETY: the heap is this thread's, and nothing below calls back.
                let mine = unsafe { &mut *mine };
                // SAFETY: the caller gives the block up, and the owner is this heap.
                unsafe { mine.push(class, link) };
            });
        } else {
            // SAFETY: the caller gives the block up; it has room for a link and is aligned for it.
            unsafe { link.write(Link::new(null_mut())) };
            // SAFETY: nobody else has the block, and spans live for ever.
            unsafe { owner.inbox.push(link) };
        }
    }
}
