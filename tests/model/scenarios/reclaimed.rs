//! Programs for every scheme of reclamation: a shared pointer, readers that follow it, a writer that replaces the node.

use crate::reclaim::{Handle, Reclaim};
use crate::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use crate::sync::atomic::{AtomicBool, AtomicPtr};
use crate::sync::cell::UnsafeCell;
use crate::sync::thread;
use std::ptr::null_mut;
use std::sync::atomic::AtomicUsize; // std's: a count for the oracle, which must order nothing
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};

/// A value in a cell that is written here and taken apart where it is found: an edge must lie in between.
pub struct Payload<T>(UnsafeCell<Option<T>>);

impl<T> Payload<T> {
    pub fn new(value: T) -> Self {
        let cell = UnsafeCell::new(None);
        // SAFETY: nobody else has it yet. Written here and not above: loom does not count the making as an access.
        cell.with_mut(|cell| unsafe { *cell = Some(value) });
        Self(cell)
    }

    pub fn open(self) -> T {
        self.0.into_inner().expect("written when it was made")
    }
}

/// Between enter and leave: what the structures have as well, but keep to themselves. A scenario forgets none.
pub struct Inside<'h, H: Handle>(&'h mut H);

impl<'h, H: Handle> Inside<'h, H> {
    pub fn new(handle: &'h mut H) -> Self {
        // SAFETY: a scenario's handle is inside only while such a guard borrows it. The guard's drop leaves.
        unsafe { handle.enter() };
        Self(handle)
    }

    /// # Safety
    /// As for [`Handle::protect`]; that the handle is inside is given.
    pub unsafe fn protect<T>(&mut self, place: usize, source: &AtomicPtr<T>) -> *mut T {
        // SAFETY: inside; the rest is the caller's promise.
        unsafe { self.0.protect(place, source) }
    }

    /// # Safety
    /// As for [`Handle::retire`]; that the handle is inside is given.
    pub unsafe fn retire<T>(&mut self, node: *mut T, free: unsafe fn(*mut ())) {
        // SAFETY: inside; the rest is the caller's promise.
        unsafe { self.0.retire(node, free) }
    }
}

impl<H: Handle> Drop for Inside<'_, H> {
    fn drop(&mut self) {
        // SAFETY: entered by `new`; what is protected is followed only while the guard lives.
        unsafe { self.0.leave() };
    }
}

/// A node that notices how often it is freed, and by loom's reckoning when.
struct Node {
    value: UnsafeCell<usize>,
    freed: Arc<Freed>,
}

/// What was freed: counted, and kept until the end, so that a mistake is an access at the wrong time and not a crash.
#[derive(Default)]
struct Freed {
    count: AtomicUsize,
    #[expect(clippy::vec_box, reason = "the address is what a mistaken reader still has")]
    nodes: Mutex<Vec<Box<Node>>>,
}

/// Frees nothing before its end, and has no fence that a structure could live by: shows what the structure's own edges are worth.
/// Not [`crate::reclaim::leak::Leak`], since loom takes what is left behind for a mistake.
pub struct Keep(Mutex<Vec<Kept>>);

/// A handle of [`Keep`].
pub struct KeepHandle<'d>(&'d Keep);

struct Kept(*mut (), unsafe fn(*mut ()));
// SAFETY: `retire`'s caller promised that any thread may free it.
unsafe impl Send for Kept {}

// SAFETY: nothing is freed before the domain is dropped, and then all of it.
unsafe impl Reclaim for Keep {
    const NAME: &'static str = "keep";
    type Handle<'d> = KeepHandle<'d>;
    fn new(_handles: usize) -> Self {
        Self(Mutex::default())
    }
    fn handle(&self) -> Option<KeepHandle<'_>> {
        Some(KeepHandle(self))
    }
}

impl Handle for KeepHandle<'_> {
    unsafe fn enter(&mut self) {}
    unsafe fn protect<T>(&mut self, _place: usize, source: &AtomicPtr<T>) -> *mut T {
        source.load(Acquire)
    }
    unsafe fn leave(&mut self) {}
    unsafe fn retire<T>(&mut self, node: *mut T, free: unsafe fn(*mut ())) {
        self.0.0.lock().unwrap().push(Kept(node.cast(), free)); // std's mutex: it orders nothing in the model
    }
    fn collect(&mut self) {}
    fn garbage(&self) -> usize {
        self.0.0.lock().unwrap().len()
    }
}

impl Drop for Keep {
    fn drop(&mut self) {
        for Kept(node, free) in self.0.get_mut().unwrap().drain(..) {
            // SAFETY: `retire`'s caller promised that it may be done once, while the domain is dropped.
            unsafe { free(node) };
        }
    }
}

/// Frees what a handle has retired as soon as the handle collects, and asks nobody: only for programs in which nobody looks into a node.
/// It has the places' edge and no fence, so it shows whether a structure keeps its promise in [`Handle::retire`]. loom's fences, which
/// are stronger than the language's, would make up for a broken one.
pub struct Early(Box<[EarlyPlace]>);

#[derive(Default)]
struct EarlyPlace {
    taken: Taken,
    garbage: Mutex<Vec<Kept>>, // std's: it orders nothing in the model
}

struct Taken(AtomicBool);

impl Default for Taken {
    fn default() -> Self {
        Self(AtomicBool::new(false))
    }
}

/// A handle of [`Early`].
pub struct EarlyHandle<'d>(&'d EarlyPlace);

impl EarlyPlace {
    fn free(&self) {
        let garbage = std::mem::take(&mut *self.garbage.lock().unwrap());
        for Kept(node, free) in garbage {
            // SAFETY: `retire`'s caller promised that it may be done once; nobody looks into it, as the scheme demands.
            unsafe { free(node) };
        }
    }
}

// SAFETY: as long as nobody looks into a node: nobody protects one. From a retiring to the freeing there is the place's edge.
unsafe impl Reclaim for Early {
    const NAME: &'static str = "early";
    type Handle<'d> = EarlyHandle<'d>;
    fn new(handles: usize) -> Self {
        Self((0..handles).map(|_| EarlyPlace::default()).collect())
    }
    fn handle(&self) -> Option<EarlyHandle<'_>> {
        let free = |p: &&EarlyPlace| p.taken.0.compare_exchange(false, true, Acquire, Relaxed).is_ok();
        self.0.iter().find(free).map(EarlyHandle)
    }
}

impl Handle for EarlyHandle<'_> {
    unsafe fn enter(&mut self) {}
    unsafe fn protect<T>(&mut self, _place: usize, source: &AtomicPtr<T>) -> *mut T {
        source.load(Acquire)
    }
    unsafe fn leave(&mut self) {}
    unsafe fn retire<T>(&mut self, node: *mut T, free: unsafe fn(*mut ())) {
        self.0.garbage.lock().unwrap().push(Kept(node.cast(), free));
    }
    fn collect(&mut self) {
        self.0.free();
    }
    fn garbage(&self) -> usize {
        self.0.garbage.lock().unwrap().len()
    }
}

impl Drop for EarlyHandle<'_> {
    fn drop(&mut self) {
        self.0.taken.0.store(false, Release);
    }
}

impl Drop for Early {
    fn drop(&mut self) {
        self.0.iter().for_each(EarlyPlace::free);
    }
}

/// Enough attempts for a node to get old under every scheme, if nobody is inside.
const ATTEMPTS: usize = 3;

/// A shared pointer, its domain, and how many nodes were freed.
pub struct Shared<R: Reclaim> {
    pub source: AtomicPtr<()>,
    pub domain: R,
    freed: Arc<Freed>,
}

unsafe fn free(node: *mut ()) {
    // SAFETY: made by `node`, and the domain frees a node once.
    let node = unsafe { Box::from_raw(node.cast::<Node>()) };
    // SAFETY: nobody may be reading it: an access for loom, which all readers must be ordered before.
    node.value.with_mut(|value| unsafe { *value = usize::MAX });
    let freed = Arc::clone(&node.freed);
    freed.count.fetch_add(1, SeqCst);
    freed.nodes.lock().unwrap().push(node);
}

impl<R: Reclaim> Shared<R> {
    pub fn new(handles: usize) -> Arc<Self> {
        let freed = Arc::new(Freed::default());
        let shared = Self { source: AtomicPtr::new(null_mut()), domain: R::new(handles), freed };
        shared.source.store(shared.node(0), Relaxed);
        Arc::new(shared)
    }

    pub fn node(&self, value: usize) -> *mut () {
        Box::into_raw(Box::new(Node { value: UnsafeCell::new(value), freed: Arc::clone(&self.freed) })).cast()
    }

    /// Nodes freed so far.
    pub fn freed(&self) -> usize {
        self.freed.count.load(SeqCst)
    }
}

/// Looks at the node that `source` points to, under the protection of `place`.
pub fn look<H: Handle>(inside: &mut Inside<'_, H>, place: usize, source: &AtomicPtr<()>) -> usize {
    // SAFETY: the nodes of a scenario's one source are retired by handles of its one domain.
    let node = unsafe { inside.protect(place, source) }.cast::<Node>();
    // SAFETY: protected, so alive.
    let value = unsafe { &(*node).value };
    // SAFETY: written before the node was published, and not again before it is freed.
    value.with(|value| unsafe { *value })
}

pub fn read<H: Handle>(handle: &mut H, source: &AtomicPtr<()>) -> usize {
    look(&mut Inside::new(handle), 0, source)
}

/// Puts a new node in place of the old one, and retires that.
pub fn replace<H: Handle>(handle: &mut H, source: &AtomicPtr<()>, new: *mut ()) {
    let mut inside = Inside::new(handle);
    let old = source.swap(new, AcqRel);
    // SAFETY: unlinked by us, and made before this, by the exchange; the node's parts may be freed on any thread.
    unsafe { inside.retire(old, free) };
}

pub fn collect<H: Handle>(handle: &mut H) {
    (0..ATTEMPTS).for_each(|_| handle.collect());
}

/// The end: the last node is freed by hand, then the domain with what is left.
pub fn finish<R: Reclaim>(shared: Arc<Shared<R>>, nodes: usize) {
    let shared = Arc::into_inner(shared).expect("all threads are joined");
    let freed = Arc::clone(&shared.freed);
    // SAFETY: linked, so not retired; nobody else is here.
    unsafe { free(shared.source.load(Relaxed)) };
    drop(shared);
    assert_eq!(freed.count.load(SeqCst), nodes, "every node is freed, once");
    let nodes = std::mem::take(&mut *freed.nodes.lock().unwrap()); // they hold `freed` in turn
    drop(nodes);
}

/// A reader reads while the writer replaces, retires and frees.
pub fn reader_inside<R: Reclaim + 'static>(turns: usize) {
    let shared = Shared::<R>::new(2);
    let other = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            let mut handle = shared.domain.handle().expect("there are two");
            let mut newest = 0;
            for _ in 0..turns {
                let value = read(&mut handle, &shared.source);
                assert!(value >= newest && value <= turns, "an older value came back, or none at all");
                newest = value;
            }
        })
    };
    let mut handle = shared.domain.handle().expect("there are two");
    for i in 0..turns {
        replace(&mut handle, &shared.source, shared.node(i + 1));
        collect(&mut handle);
    }
    drop(handle);
    super::join(other);
    finish(shared, turns + 1);
}

/// The writer is done with the epochs' work half done by a third thread.
pub fn helped<R: Reclaim + 'static>(turns: usize) {
    let shared = Shared::<R>::new(3);
    let reader = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            let mut handle = shared.domain.handle().expect("there are three");
            (0..turns).for_each(|_| assert!(read(&mut handle, &shared.source) <= turns));
        })
    };
    let helper = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            let mut handle = shared.domain.handle().expect("there are three");
            (0..turns).for_each(|_| collect(&mut handle));
        })
    };
    let mut handle = shared.domain.handle().expect("there are three");
    for i in 0..turns {
        replace(&mut handle, &shared.source, shared.node(i + 1));
        handle.collect();
    }
    drop(handle);
    super::join(reader);
    super::join(helper);
    finish(shared, turns + 1);
}

/// With a reader asleep inside, so much garbage of so many retired is kept; without, none.
pub fn stalled<R: Reclaim>(turns: usize, kept: fn(retired: usize) -> usize) {
    let shared = Shared::<R>::new(2);
    let mut asleep = shared.domain.handle().expect("there are two");
    let mut handle = shared.domain.handle().expect("there are two");
    assert!(shared.domain.handle().is_none(), "and no third");
    let mut inside = Inside::new(&mut asleep);
    // SAFETY: the nodes of the one source are retired by handles of the one domain.
    let first = unsafe { inside.protect(0, &shared.source) };
    for i in 0..turns {
        replace(&mut handle, &shared.source, shared.node(i + 1));
        collect(&mut handle);
    }
    assert_eq!(handle.garbage(), kept(turns));
    assert_eq!(shared.freed(), turns - kept(turns));
    // SAFETY: protected, so alive.
    let value = unsafe { &(*first.cast::<Node>()).value };
    // SAFETY: not written before the node is freed.
    assert_eq!(value.with(|value| unsafe { *value }), 0, "the node that the sleeper protects is as it was");
    drop(inside);
    collect(&mut handle);
    assert_eq!(handle.garbage(), 0, "nobody is inside: nothing is kept");
    drop((asleep, handle));
    assert!(shared.domain.handle().is_some(), "a place is given back");
    finish(shared, turns + 1);
}

/// A reader leaves and comes again: a late collector sees its second announcement only.
pub fn reader_reenters<R: Reclaim + 'static>(turns: usize) {
    let shared = Shared::<R>::new(2);
    let other = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            let mut handle = shared.domain.handle().expect("there are two");
            for _ in 0..turns {
                handle.collect();
                assert!(read(&mut handle, &shared.source) <= turns, "freed under the reader");
                drop(Inside::new(&mut handle));
            }
        })
    };
    let mut handle = shared.domain.handle().expect("there are two");
    for i in 0..turns {
        replace(&mut handle, &shared.source, shared.node(i + 1));
        (0..2).for_each(|_| handle.collect());
    }
    drop(handle);
    super::join(other);
    finish(shared, turns + 1);
}

/// A writer leaves and comes again: a collector that sees only its second announcement must see what it unlinked before.
pub fn writer_reenters<R: Reclaim + 'static>(turns: usize) {
    let shared = Shared::<R>::new(2);
    let other = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            let mut handle = shared.domain.handle().expect("there are two");
            for _ in 0..turns {
                (0..2).for_each(|_| handle.collect());
                assert!(read(&mut handle, &shared.source) <= turns, "freed under the reader");
            }
        })
    };
    let mut handle = shared.domain.handle().expect("there are two");
    for i in 0..turns {
        replace(&mut handle, &shared.source, shared.node(i + 1));
        drop(Inside::new(&mut handle));
        handle.collect();
    }
    drop(handle);
    super::join(other);
    finish(shared, turns + 1);
}

/// The most general client: a reader, a writer, and one who collects. Each comes twice and drops its handle in between, so that places
/// change hands with what is in them.
fn general<R: Reclaim + 'static>(turns: usize) -> Arc<Shared<R>> {
    let shared = Shared::<R>::new(3);
    let reader = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            for _ in 0..2 * turns {
                let mut handle = shared.domain.handle().expect("there are three");
                assert!(read(&mut handle, &shared.source) <= 2 * turns, "freed under the reader");
            }
        })
    };
    let writer = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            for i in 0..2 * turns {
                let mut handle = shared.domain.handle().expect("there are three");
                replace(&mut handle, &shared.source, shared.node(i + 1));
            }
        })
    };
    for _ in 0..2 * turns {
        collect(&mut shared.domain.handle().expect("there are three"));
    }
    super::join(reader);
    super::join(writer);
    shared
}

/// The most general client of a scheme that frees.
pub fn most_general<R: Reclaim + 'static>(turns: usize) {
    finish(general::<R>(turns), 2 * turns + 1);
}

/// The most general client of one that does not.
pub fn most_general_kept<R: Reclaim + 'static>(turns: usize) {
    assert_eq!(general::<R>(turns).freed(), 0);
}

/// A value that is counted while it lives, and whose drop may unwind.
pub struct Bomb {
    pub alive: Arc<()>,
    pub goes_off: bool,
}

impl Bomb {
    /// Three; the middle one goes off.
    pub fn three(alive: &Arc<()>) -> [Self; 3] {
        [false, true, false].map(|goes_off| Self { alive: Arc::clone(alive), goes_off })
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        if std::mem::take(&mut self.goes_off) {
            super::throw();
        }
    }
}
