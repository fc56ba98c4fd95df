//! The heap of this process: how it is made, and what it tells of itself.
use std::{
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use mmtk::{BarrierSelector, MMTK, MMTKBuilder, memory_manager, util::VMThread};

use super::{
    binding::{Thread, Vm},
    mutator::Mutator,
    pauses::{Overdue, Pause, Pauses},
    room,
    workers::Workers,
};
use crate::machine::allowed_cpus;
use crate::structures::safepoint::Safepoint;

/// Which algorithm manages the heap: MMTk's "plans".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collector {
    /// Copies the living from one half of the heap to the other.
    SemiSpace,
    /// Copies young objects out of a nursery; the old ones live in a `SemiSpace`.
    GenCopy,
    /// Copies young objects out of a nursery; the old ones live in an `Immix` space.
    GenImmix,
    /// Generational without a copying nursery: marks that stay ("sticky") tell the old from the young.
    StickyImmix,
    /// Marks, frees whole lines of 256 bytes, and moves objects when fragmentation is worth it.
    Immix,
    /// Immix that marks while the program runs (snapshot at the beginning), with two short pauses.
    ConcurrentImmix,
    /// Marks and sweeps; never moves.
    MarkSweep,
    /// Marks, then slides the living together (Lisp 2).
    MarkCompact,
    /// Marks, then slides the living together with a bitmap (Compressor).
    Compressor,
}

impl Collector {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::SemiSpace,
        Self::GenCopy,
        Self::GenImmix,
        Self::StickyImmix,
        Self::Immix,
        Self::ConcurrentImmix,
        Self::MarkSweep,
        Self::MarkCompact,
        Self::Compressor,
    ];

    /// As MMTk spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SemiSpace => "SemiSpace",
            Self::GenCopy => "GenCopy",
            Self::GenImmix => "GenImmix",
            Self::StickyImmix => "StickyImmix",
            Self::Immix => "Immix",
            Self::ConcurrentImmix => "ConcurrentImmix",
            Self::MarkSweep => "MarkSweep",
            Self::MarkCompact => "MarkCompact",
            Self::Compressor => "Compressor",
        }
    }
}

/// How .NET decides that large objects are worth a full collection: not when the heap is full, but whenever this much has
/// been allocated in large objects since the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LargeBudget {
    /// From this size on an object counts as large. .NET: 85,000.
    pub threshold_bytes: usize,
    /// A full collection each time this much was allocated in such objects.
    pub budget_bytes: usize,
}

/// What heap to make. There is no default size, on purpose: half of the *physical* memory, MMTk's own default, ignores the
/// container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The algorithm.
    pub collector: Collector,
    /// Size of the heap. The process occupies up to an eighth more.
    pub heap_bytes: usize,
    /// Collector threads. One by default: with two, MMTk 0.33 can starve a worker on a busy machine, so that a pause of
    /// milliseconds takes seconds (its scheduler wakes all workers and retakes its mutex before the other one ran).
    pub workers: usize,
    /// Size of the nursery of a generational collector; `None` for MMTk's choice.
    pub nursery_bytes: Option<usize>,
    /// .NET's rule for large objects; `None` for none.
    pub large_budget: Option<LargeBudget>,
    /// Keep the n-th collector thread on the n-th CPU that is allowed (in turn, if there are more threads). Left alone, the scheduler
    /// puts two of them on one CPU for some milliseconds now and then, as it does with any threads.
    pub pinned: bool,
    /// Make the heap even where there is not memory enough for it, and be killed when it is full: for whoever shows that.
    pub past_limit: bool,
}

impl Config {
    /// One worker where the scheduler likes, MMTk's nursery, no budget, within the memory that there is.
    pub fn new(collector: Collector, heap_bytes: usize) -> Self {
        Self {
            collector,
            heap_bytes,
            workers: 1,
            nursery_bytes: None,
            large_budget: None,
            pinned: false,
            past_limit: false,
        }
    }
}

/// Why there is no heap, or no mutator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeapError {
    /// This process has had its heap: MMTk can be started once in a process. Start a child.
    Started,
    /// MMTk's addresses cannot be reserved.
    Addresses {
        /// In a clause, with what to do.
        why: String,
    },
    /// There is not enough memory: on the machine, or below the limit of a container.
    Memory {
        /// In a clause, with the numbers.
        why: String,
    },
    /// MMTk does not take this setting.
    Setting {
        /// Its name and value.
        what: String,
    },
    /// This thread is a mutator already: two on one thread would wait for each other for ever.
    Attached,
}

impl fmt::Display for HeapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started => write!(f, "this process has a managed heap already, and MMTk allows one"),
            Self::Addresses { why } => write!(f, "a managed heap reserves 15 TiB of addresses, and {why}"),
            Self::Memory { why } => write!(f, "the managed heap {why}"),
            Self::Setting { what } => write!(f, "MMTk does not accept {what}"),
            Self::Attached => write!(f, "this thread is a mutator already"),
        }
    }
}
impl std::error::Error for HeapError {}

/// The managed heap of this process.
pub struct Heap {
    pub(super) mmtk: Box<MMTK<Vm>>,
    pub(super) config: Config,
    pub(super) safepoint: Safepoint,
    /// The mutators that there are. Changed only by running mutators, so never while the world stands still.
    pub(super) threads: Mutex<Vec<Arc<Thread>>>,
    pub(super) workers: Workers,
    /// Where each collector thread stays; empty if they may go where they like.
    pub(super) worker_cpus: Vec<usize>,
    pub(super) pauses: Pauses,
    /// Objects of this size or more go to the large-object space.
    pub(super) large_bytes: usize,
    pub(super) barrier: BarrierSelector,
    /// Allocated in objects above the budget's threshold since the last collection it caused.
    pub(super) large_since: AtomicUsize,
    /// The address of an object that lives for ever, or 0: see [`Heap::keep_one`].
    pub(super) keeper: AtomicUsize,
}

static HEAP: OnceLock<Heap> = OnceLock::new();

impl Heap {
    /// Makes the heap of this process and starts the collector threads.
    ///
    /// # Errors
    /// [`HeapError`], with nothing reserved or started, except that a setting which MMTk refuses uses up the one try.
    pub fn start(config: Config) -> Result<&'static Self, HeapError> {
        static TRIED: AtomicBool = AtomicBool::new(false);
        if config.past_limit { room::reservable() } else { room::possible(config.heap_bytes) }?;
        if TRIED.swap(true, Relaxed) {
            return Err(HeapError::Started);
        }
        // Not `MMTKBuilder::new`, which lets MMTK_* in the environment change what is measured.
        let mut builder = MMTKBuilder::new_no_env_vars();
        let mut set = |name: &str, value: String| match builder.set_option(name, &value) {
            true => Ok(()),
            false => Err(HeapError::Setting { what: format!("{name} = {value}") }),
        };
        set("plan", config.collector.name().into())?;
        set("gc_trigger", format!("FixedHeapSize:{}", config.heap_bytes))?;
        set("threads", config.workers.to_string())?;
        if let Some(bytes) = config.nursery_bytes {
            set("nursery", format!("Fixed:{bytes}"))?;
        }
        let mmtk = memory_manager::mmtk_init::<Vm>(&builder);
        let limits = mmtk.get_plan().constraints();
        let (large_bytes, barrier) = (limits.max_non_los_default_alloc_bytes, limits.barrier);
        let heap = HEAP.get_or_init(|| Self {
            mmtk,
            config,
            safepoint: Safepoint::new(),
            threads: Mutex::new(Vec::new()),
            workers: Workers::new(),
            worker_cpus: if config.pinned { allowed_cpus() } else { Vec::new() },
            pauses: Pauses::new(),
            large_bytes,
            barrier,
            large_since: AtomicUsize::new(0),
            keeper: AtomicUsize::new(0),
        });
        memory_manager::initialize_collection(&heap.mmtk, VMThread::UNINITIALIZED);
        if config.collector == Collector::MarkCompact {
            heap.keep_one()?;
        }
        Ok(heap)
    }

    /// Lets one small object live for ever: MMTk 0.33's MarkCompact takes the end of the last live object for the end of its space,
    /// and after a collection in which nothing lived it goes on at address 0.
    fn keep_one(&'static self) -> Result<(), HeapError> {
        let mut mutator = self.attach()?;
        let root =
            mutator.alloc(0, 8).map_err(|e| HeapError::Setting { what: format!("gc_trigger: {e}") })?;
        // Still running, so no collection comes between the root and its successor.
        self.keeper.store(mutator.at(&root).object.to_raw_address().as_usize(), Relaxed);
        Ok(())
    }

    /// The heap, for MMTk's callbacks, which get no pointer to it.
    pub(super) fn get() -> &'static Self {
        HEAP.get().expect("MMTk calls back only after the heap was made")
    }

    /// Makes the calling thread a mutator; waits while a collection is under way.
    ///
    /// # Errors
    /// [`HeapError::Attached`] if it is one already.
    pub fn attach(&'static self) -> Result<Mutator, HeapError> {
        Mutator::attach(self)
    }

    /// Runs `work` as a mutator on a thread of its own and waits for it, but not for a collection that does not end.
    ///
    /// # Errors
    /// [`Overdue`] if a collection took longer than `bound`. The thread is left as it hangs: this process has no further
    /// use, and should report and end.
    ///
    /// # Panics
    /// If `work` does.
    pub fn run<R: Send + 'static>(
        &'static self,
        bound: Duration,
        work: impl FnOnce(&mut Mutator) -> R + Send + 'static,
    ) -> Result<R, Overdue> {
        let (tell, told) = mpsc::channel();
        let worker = thread::spawn(move || {
            let mut mutator = self.attach().expect("a new thread is not a mutator yet");
            let result = work(&mut mutator);
            mutator.detach();
            let _ = tell.send(result);
        });
        loop {
            match told.recv_timeout(Duration::from_millis(20)) {
                Ok(result) => return Ok(result),
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(overdue) = self.overdue(bound) {
                        return Err(overdue);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => match worker.join() {
                    Err(panic) => std::panic::resume_unwind(panic),
                    Ok(()) => unreachable!("the thread sends before it ends"),
                },
            }
        }
    }

    /// When it was made: the times of its pauses count from here.
    pub fn born(&self) -> Instant {
        self.pauses.born()
    }

    /// All pauses so far, oldest first.
    pub fn pauses(&self) -> Vec<Pause> {
        self.pauses.done()
    }

    /// How many there are.
    pub fn pauses_count(&self) -> usize {
        self.pauses.count()
    }

    /// The watchdog: the collection under way, if it was asked for longer ago than `bound`. Any thread may ask.
    pub fn overdue(&self, bound: Duration) -> Option<Overdue> {
        self.pauses.overdue(bound, self.safepoint.running())
    }

    /// Objects of this size or more live in the large-object space: never moved, whole pages each.
    pub fn large_bytes(&self) -> usize {
        self.large_bytes
    }

    /// What the heap was made as.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Bytes in use, in whole pages: the living, the dead that were not collected yet, and what fragmentation costs.
    pub fn used_bytes(&self) -> usize {
        memory_manager::used_bytes(&self.mmtk)
    }

    pub(super) fn known(&self) -> Vec<Arc<Thread>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Heap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heap")
            .field("config", &self.config)
            .field("safepoint", &self.safepoint)
            .finish_non_exhaustive()
    }
}
