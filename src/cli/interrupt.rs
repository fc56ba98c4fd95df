//! What a signal does: SIGINT (Ctrl-C), SIGTERM, SIGHUP (the terminal is gone).
//!
//! | when | first | second |
//! |---|---|---|
//! | while a step is measured and kept | ends the children; what is complete is kept; then 130 | ends the program |
//! | at any other time | ends the program with 130 | |
//! | it was ignored when the program began (`nohup`) | nothing | nothing |
//!
//! A file that is being written is written to its end in any case.
use std::{
    io::{self, IsTerminal, Write},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use super::out::End;
use crate::record::{Record, Store, StoreError, file};

/// Set by a signal while something is measured; whoever measures looks at it between children, and ends them.
pub(super) static STOP: AtomicBool = AtomicBool::new(false);

#[derive(Debug)]
struct State {
    measuring: bool,
    /// Records that this process has put into the store.
    stored: usize,
}

/// One lock for both sides: a signal is either seen by the measurement, or it ends the program; there is no moment between the two.
static STATE: Mutex<State> = Mutex::new(State { measuring: false, stored: 0 });

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A step is being measured and kept, until this is dropped.
#[derive(Debug)]
pub(super) struct Measuring(());

impl Measuring {
    pub(super) fn begin() -> Self {
        state().measuring = true;
        Self(())
    }

    /// Puts records into the store, and counts them.
    pub(super) fn keep(&self, store: &Store, records: &[Record]) -> Result<(), StoreError> {
        store.append(records)?;
        state().stored += records.len();
        Ok(())
    }
}

impl Drop for Measuring {
    fn drop(&mut self) {
        state().measuring = false;
    }
}

/// What an interrupted program says.
pub(super) fn words() -> String {
    match state().stored {
        0 => "interrupted; nothing of it is stored".into(),
        1 => "interrupted; the record so far is in the store".into(),
        n => format!("interrupted; the {n} records so far are in the store"),
    }
}

/// From here on signals do what the table says.
pub(super) fn listen() -> Result<(), End> {
    let failed = |e: &dyn std::fmt::Display| End::Failed(format!("cannot listen for Ctrl-C: {e}"));
    let ignored = Ignored::hold();
    let set = ctrlc::set_handler(|| {
        let state = state();
        if state.measuring && !STOP.swap(true, Relaxed) {
            return;
        }
        drop(state);
        let _whole = file::undisturbed();
        let mut err = io::stderr();
        let clear = if err.is_terminal() { "\r\x1b[2K" } else { "" };
        // If stderr is gone too there is nobody left to tell.
        let _ = writeln!(err, "{clear}underhood: {}", words());
        std::process::exit(130);
    });
    ignored.restore();
    set.map_err(|e| failed(&e))
}

/// The signals that whoever started this program wants it to ignore. The handler is set for all of them at once, so these are held back
/// meanwhile, and ignored again afterwards.
struct Ignored {
    #[cfg(unix)]
    signals: Vec<libc::c_int>,
    #[cfg(unix)]
    before: libc::sigset_t,
}

#[cfg(unix)]
impl Ignored {
    fn hold() -> Self {
        let is_ignored = |signal: &libc::c_int| {
            let mut now = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
            // SAFETY: a null action changes nothing; `now` is a valid place for the present one.
            let rc = unsafe { libc::sigaction(*signal, std::ptr::null(), now.as_mut_ptr()) };
            // SAFETY: zeroed, hence a valid sigaction (numbers and an optional pointer) even if the call had failed.
            let now = unsafe { now.assume_init() };
            rc == 0 && now.sa_sigaction == libc::SIG_IGN
        };
        let signals: Vec<libc::c_int> =
            [libc::SIGINT, libc::SIGTERM, libc::SIGHUP].into_iter().filter(is_ignored).collect();
        // A write beyond a limit of file size is an error to report, and by default it is a death without a word.
        // SAFETY: ignoring a signal installs no code of ours.
        unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
        let mut held = std::mem::MaybeUninit::<libc::sigset_t>::zeroed();
        // SAFETY: `held` is a valid place for a set, which the call fills.
        unsafe { libc::sigemptyset(held.as_mut_ptr()) };
        // SAFETY: zeroed and filled.
        let mut held = unsafe { held.assume_init() };
        for signal in &signals {
            // SAFETY: `held` is a valid set, and these are signals.
            unsafe { libc::sigaddset(&raw mut held, *signal) };
        }
        let mut before = held;
        // SAFETY: both sets are valid; only this thread's mask changes.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const held, &raw mut before) };
        Self { signals, before }
    }

    fn restore(self) {
        for signal in &self.signals {
            // SAFETY: ignoring a signal installs no code of ours; one that came meanwhile is forgotten.
            unsafe { libc::signal(*signal, libc::SIG_IGN) };
        }
        // SAFETY: the set is the one that this thread had.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, std::ptr::null_mut()) };
    }
}

#[cfg(not(unix))]
impl Ignored {
    fn hold() -> Self {
        Self {}
    }
    fn restore(self) {}
}
