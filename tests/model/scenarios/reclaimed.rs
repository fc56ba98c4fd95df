//! Programs for every scheme of reclamation: a shared pointer, readers that follow it, a writer that replaces the node.

use crate::reclaim::{Handle, Reclaim};
use crate::sync::atomic::AtomicPtr;
use crate::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
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
    fn enter(&mut self) {}
    fn protect<T>(&mut self, _place: usize, source: &AtomicPtr<T>) -> *mut T {
        source.load(Acquire)
    }
    fn leave(&mut self) {}
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

/// Looks at the node that `source` points to, under the protection of `place`. Between enter and leave.
pub fn look<H: Handle>(handle: &mut H, place: usize, source: &AtomicPtr<()>) -> usize {
    let node = handle.protect(place, source).cast::<Node>();
    // SAFETY: protected, so alive.
    let value = unsafe { &(*node).value };
    // SAFETY: written before the node was published, and not again before it is freed.
    value.with(|value| unsafe { *value })
}

pub fn read<H: Handle>(handle: &mut H, source: &AtomicPtr<()>) -> usize {
    handle.enter();
    let value = look(handle, 0, source);
    handle.leave();
    value
}

/// Puts a new node in place of the old one, and retires that.
pub fn replace<H: Handle>(handle: &mut H, source: &AtomicPtr<()>, new: *mut ()) {
    handle.enter();
    let old = source.swap(new, AcqRel);
    // SAFETY: unlinked by us; the node's parts may be freed on any thread.
    unsafe { handle.retire(old, free) };
    handle.leave();
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
    asleep.enter();
    let first = asleep.protect(0, &shared.source);
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
    asleep.leave();
    collect(&mut handle);
    assert_eq!(handle.garbage(), 0, "nobody is inside: nothing is kept");
    drop((asleep, handle));
    assert!(shared.domain.handle().is_some(), "a place is given back");
    finish(shared, turns + 1);
}
