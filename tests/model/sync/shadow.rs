//! Shadow words: what loom must be told so that neither a redundant load nor a fence hides an execution. See the head of `sync.rs`.

use super::{mutate::TABLE, thread};
use loom::sync::Arc;
use std::cell::UnsafeCell;

/// One loom `Arc` per thread.
pub struct Shadows(Vec<UnsafeCell<Arc<()>>>);

// SAFETY: all modelled threads are coroutines of one OS thread.
unsafe impl Send for Shadows {}
// SAFETY: as above.
unsafe impl Sync for Shadows {}

impl Default for Shadows {
    fn default() -> Self {
        let threads = TABLE.with_borrow(|t| t.threads);
        Self((0..threads).map(|_| UnsafeCell::new(Arc::new(()))).collect())
    }
}

impl Shadows {
    /// This thread reads the word, by `access`.
    pub fn read<R>(&self, access: impl FnOnce() -> R) -> R {
        self.around(access, |shadow, me| shadow == me)
    }

    /// This thread writes the word, by `access`.
    pub fn write<R>(&self, access: impl FnOnce() -> R) -> R {
        self.around(access, |shadow, me| shadow != me)
    }

    fn around<R>(&self, access: impl FnOnce() -> R, touched: fn(usize, usize) -> bool) -> R {
        let me = thread::index();
        let inspect = || {
            for (_, shadow) in self.0.iter().enumerate().filter(|(i, _)| touched(*i, me)) {
                // SAFETY: `get_mut` uses the reference only after its last switch to another coroutine.
                let _ = Arc::get_mut(unsafe { &mut *shadow.get() });
            }
        };
        if TABLE.with_borrow(|t| t.switch_at_shadows) {
            inspect();
            return access();
        }
        let result = access();
        loom::stop_exploring();
        inspect();
        loom::explore();
        result
    }
}

/// One loom `Arc` for all fences of an execution.
struct Fences(UnsafeCell<Arc<()>>);

// SAFETY: all modelled threads are coroutines of one OS thread.
unsafe impl Sync for Fences {}

loom::lazy_static! {
    static ref FENCES: Fences = Fences(UnsafeCell::new(Arc::new(())));
}

/// Call at the start of each execution, before the first thread is spawned: to make the `Arc` later would order memory.
pub fn begin_execution() {
    let _: &Fences = &FENCES;
}

/// This thread is about to do a SeqCst fence: others may come in between, and do theirs first.
pub fn meet() {
    // SAFETY: `get_mut` uses the reference only after its last switch to another coroutine.
    let _ = Arc::get_mut(unsafe { &mut *FENCES.0.get() });
}
