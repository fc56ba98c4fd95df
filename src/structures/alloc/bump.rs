//! A bump arena: a value gets its place by moving a pointer, and all places are given back at once.
//!
//! # States
//! | `next`, `end` | meaning | `alloc` |
//! |---|---|---|
//! | room for the value between them | the usual case | the value goes to `next`, which moves behind it |
//! | no room, or no chunk yet | full | a new chunk, at least twice as large as the last; then as above |
//!
//! `reset` frees all chunks but the newest, which is the largest, and begins again at its start.
//!
//! # Limits
//! One thread. No value is freed alone, and none is dropped: only `Copy` types, which have nothing to drop. What is left at the end of a
//! chunk is lost until the reset.
//!
//! # Source
//! D. R. Hanson, "Fast allocation and deallocation of memory based on object lifetimes" (1990).

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::ptr::NonNull;

/// The first chunk: a page, on most machines.
const FIRST_BYTES: usize = 4096;

/// An arena. See the [module](self).
pub struct Bump {
    /// The first byte that nobody has. In the newest chunk, or just behind it.
    next: Cell<NonNull<u8>>,
    /// Just behind the newest chunk.
    end: Cell<NonNull<u8>>,
    /// The newest is the last.
    chunks: RefCell<Vec<Chunk>>,
}

/// Memory of the global allocator.
struct Chunk {
    start: NonNull<u8>,
    layout: Layout,
}

impl Chunk {
    fn new(bytes: usize) -> Self {
        let layout = Layout::from_size_align(bytes, 16).expect("a chunk is far below the address space");
        // SAFETY: a chunk has at least FIRST_BYTES bytes, so the layout's size is not 0.
        let start = unsafe { alloc(layout) };
        Self { start: NonNull::new(start).unwrap_or_else(|| handle_alloc_error(layout)), layout }
    }

    fn end(&self) -> NonNull<u8> {
        // SAFETY: the chunk's own bytes, up to the place just behind them.
        unsafe { self.start.add(self.layout.size()) }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // SAFETY: `start` came from `alloc` with this layout, and a chunk is dropped once.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

impl Bump {
    /// An arena without a chunk: the first value makes one.
    pub const fn new() -> Self {
        let nowhere = NonNull::dangling();
        Self { next: Cell::new(nowhere), end: Cell::new(nowhere), chunks: RefCell::new(Vec::new()) }
    }

    /// Puts a value into the arena, where it stays until the reset.
    #[inline]
    #[expect(clippy::mut_from_ref, reason = "each call hands out another place")]
    pub fn alloc<T: Copy>(&self, value: T) -> &mut T {
        let mut place = self.place(Layout::new::<T>()).cast::<T>();
        // SAFETY: aligned, as large as a T, and in nobody's hands: see `place`.
        unsafe { place.write(value) };
        // SAFETY: written just now. It is handed out once; its chunk lives until `reset` or drop, which need the arena alone.
        unsafe { place.as_mut() }
    }

    /// A place that nobody has, aligned and in the newest chunk (a value without a size may get any aligned place).
    #[inline]
    fn place(&self, layout: Layout) -> NonNull<u8> {
        loop {
            let next = self.next.get();
            let pad = next.addr().get().wrapping_neg() & (layout.align() - 1);
            let left = self.end.get().addr().get() - next.addr().get();
            if layout.size() <= left.saturating_sub(pad) && pad <= left {
                // SAFETY: `pad` and the value fit between `next` and `end`, which are of one chunk (or equal, and then both are 0).
                let place = unsafe { next.add(pad) };
                // SAFETY: as above.
                self.next.set(unsafe { place.add(layout.size()) });
                return place;
            }
            self.grow(layout);
        }
    }

    #[cold]
    fn grow(&self, layout: Layout) {
        let mut chunks = self.chunks.borrow_mut();
        let double = chunks.last().map_or(FIRST_BYTES, |last| 2 * last.layout.size());
        // With room to align the value in it.
        let chunk = Chunk::new(double.max(layout.size() + layout.align()));
        self.next.set(chunk.start);
        self.end.set(chunk.end());
        chunks.push(chunk);
    }

    /// Gives all places back: nothing in the arena is borrowed any more. The largest chunk is kept.
    #[inline]
    pub fn reset(&mut self) {
        let chunks = self.chunks.get_mut();
        if chunks.len() > 1 {
            chunks.drain(..chunks.len() - 1);
        }
        if let Some(newest) = chunks.last() {
            self.next.set(newest.start);
        }
    }

    /// Bytes of all chunks.
    pub fn chunk_bytes(&self) -> usize {
        self.chunks.borrow().iter().map(|chunk| chunk.layout.size()).sum()
    }
}

impl Default for Bump {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Bump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bump").field("chunk_bytes", &self.chunk_bytes()).finish_non_exhaustive()
    }
}
