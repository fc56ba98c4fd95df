//! A pool of places for values of one type: a list of the free ones, in the places themselves.
//!
//! # States
//! | `free` | meaning | `take` | drop of a [`Taken`] |
//! |---|---|---|---|
//! | null | every place is taken | a new slab, whose places are all free; then as below | its place is the list |
//! | a place | it is free, and names the next free one | the value goes there; `free` is the next | its place goes to the front |
//!
//! The place that was freed last is taken first: most likely it is still in the cache.
//!
//! # Limits
//! One thread. One size. Slabs are freed with the pool and never before.
//!
//! # Source
//! D. E. Knuth, The Art of Computer Programming, volume 1, section 2.2.3: the list of available space.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::{NonNull, null_mut};

/// Places of the first slab; each further one has twice as many.
const FIRST: usize = 64;

/// A pool. See the [module](self).
pub struct Slots<T> {
    free: Cell<*mut Slot<T>>,
    slabs: RefCell<Vec<(NonNull<Slot<T>>, Layout)>>,
}

/// A value, or the next free place; either begins where the slot begins.
#[repr(C)]
union Slot<T> {
    next: *mut Slot<T>,
    value: ManuallyDrop<T>,
}

/// A value in a place of a pool. Dropping it frees the place.
pub struct Taken<'p, T> {
    slot: NonNull<Slot<T>>,
    home: &'p Slots<T>,
}

impl<T> Slots<T> {
    /// A pool without places: the first value makes some.
    pub const fn new() -> Self {
        Self { free: Cell::new(null_mut()), slabs: RefCell::new(Vec::new()) }
    }

    /// Puts a value into a free place.
    #[inline]
    pub fn take(&self, value: T) -> Taken<'_, T> {
        let slot = NonNull::new(self.free.get()).unwrap_or_else(|| self.grow());
        // SAFETY: a free place of a slab that lives as long as the pool; while free, it holds `next`.
        self.free.set(unsafe { slot.cast::<*mut Slot<T>>().read() });
        // SAFETY: nobody else has the place: it just left the list.
        unsafe { slot.write(Slot { value: ManuallyDrop::new(value) }) };
        Taken { slot, home: self }
    }

    /// A new slab, all of whose places go to the list; the first of them.
    #[cold]
    fn grow(&self) -> NonNull<Slot<T>> {
        let mut slabs = self.slabs.borrow_mut();
        let places = FIRST << slabs.len();
        let layout = Layout::array::<Slot<T>>(places).expect("a slab is far below the address space");
        // SAFETY: a slot has the size of a pointer at least, so the layout's size is not 0.
        let start = unsafe { alloc(layout) }.cast::<Slot<T>>();
        let start = NonNull::new(start).unwrap_or_else(|| handle_alloc_error(layout));
        slabs.push((start, layout));
        for i in (0..places).rev() {
            // SAFETY: `i` is below the number of places in the slab.
            let slot = unsafe { start.add(i) };
            // SAFETY: a place of the new slab, which nobody has.
            unsafe { slot.write(Slot { next: self.free.get() }) };
            self.free.set(slot.as_ptr());
        }
        start
    }

    /// Places that there are, taken or free.
    pub fn places(&self) -> usize {
        self.slabs.borrow().iter().map(|(_, layout)| layout.size() / size_of::<Slot<T>>()).sum()
    }
}

impl<T> Drop for Slots<T> {
    fn drop(&mut self) {
        for (start, layout) in self.slabs.get_mut().drain(..) {
            // SAFETY: from `alloc` with this layout. No `Taken` is left that could be used, since each borrows the pool.
            unsafe { dealloc(start.as_ptr().cast(), layout) }
        }
    }
}

impl<T> Drop for Taken<'_, T> {
    #[inline]
    fn drop(&mut self) {
        /// Frees the place even if the value's drop unwinds.
        struct Back<'a, 'p, T>(&'a Taken<'p, T>);
        impl<T> Drop for Back<'_, '_, T> {
            #[inline]
            fn drop(&mut self) {
                let Taken { slot, home } = self.0;
                // SAFETY: the place is ours until it is in the list, and its value is gone.
                unsafe { slot.write(Slot { next: home.free.get() }) };
                home.free.set(slot.as_ptr());
            }
        }
        let back = Back(self);
        // SAFETY: a taken place holds a value, and it is dropped here only.
        unsafe { back.0.slot.cast::<T>().drop_in_place() };
    }
}

impl<T> Deref for Taken<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: a taken place holds a value, and nobody else has the place.
        unsafe { self.slot.cast::<T>().as_ref() }
    }
}

impl<T> DerefMut for Taken<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above; `&mut self` keeps every other access out.
        unsafe { self.slot.cast::<T>().as_mut() }
    }
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Slots<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots").field("places", &self.places()).finish_non_exhaustive()
    }
}

impl<T: fmt::Debug> fmt::Debug for Taken<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Taken").field(&**self).finish()
    }
}
