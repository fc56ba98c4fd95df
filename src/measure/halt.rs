//! Stops one thread of this process wherever it happens to be, and lets it go on.
//!
//! A signal is sent to that thread; its handler sleeps until it is told to go on. So the thread is stopped between two instructions that
//! nobody chose, in our code or in a crate's, as the scheduler may stop it at any time; it holds what it held and uses no CPU.
//!
//! Why not `SIGSTOP` (it stops the whole process) or ptrace (it needs a second process and a permission that containers do not give).
//! Linux only. The signal is `SIGURG`: one that comes late, when nobody listens any more, is ignored by default.
//!
//! A stopped thread is always released: when its guard is dropped, and by the handler itself after a few seconds.
use std::time::{Duration, Instant};

use crate::measure::witness::ThreadId;

/// The thread is stopped; dropping it lets the thread go on.
#[derive(Debug)]
pub struct Halted {
    ticket: u32,
    /// The address of the instruction at which it was stopped; `None` where that is not known.
    place: Option<usize>,
    _alone: std::sync::MutexGuard<'static, ()>,
}

/// A thread that does not answer for so long has ended, or sits in the kernel.
const PATIENCE: Duration = Duration::from_secs(5);

/// Stops a thread of this process, and returns when it stands still. One at a time: a second caller waits.
///
/// # Errors
/// Where there are no such signals, or the thread has ended or did not stop in time (it is told to go on if it stops later).
pub fn halt(thread: ThreadId) -> Result<Halted, String> {
    let alone = sys::ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let ticket = sys::ask(thread)?;
    let since = Instant::now();
    while !sys::is_stopped(ticket) {
        if since.elapsed() > PATIENCE {
            sys::release(ticket);
            return Err("a thread that was signalled did not stop".into());
        }
        std::thread::yield_now();
    }
    Ok(Halted { ticket, place: sys::place(), _alone: alone })
}

impl Halted {
    /// True if it was stopped inside the C library: in its allocator, or in a system call; `None` if that cannot be told.
    pub fn in_c_library(&self) -> Option<bool> {
        sys::in_c_library(self.place?)
    }
}

impl Drop for Halted {
    fn drop(&mut self) {
        sys::release(self.ticket);
    }
}

#[cfg(target_os = "linux")]
mod sys {
    use std::{
        ffi::{CStr, c_int, c_void},
        mem::MaybeUninit,
        ptr,
        sync::{
            Mutex, OnceLock,
            atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::*},
        },
    };

    use super::ThreadId;

    pub(super) static ALONE: Mutex<()> = Mutex::new(());
    /// The stop that is asked for: its number in the upper half, in the lower the thread, so that a signal that comes late, after its stop was
    /// given up, answers for no other thread's. E1 its Release -> the handler's Acquire: what was done before it was asked for.
    static ASKED: AtomicU64 = AtomicU64::new(0);
    /// The last stop that was answered. E2 the handler's Release -> the Acquire of `is_stopped`: the place, and all that the thread did before.
    static STOPPED: AtomicU32 = AtomicU32::new(0);
    /// Stops up to this number are over. E3 `release`'s Release -> the handler's Acquire: what was done meanwhile.
    static OVER: AtomicU32 = AtomicU32::new(0);
    static PLACE: AtomicUsize = AtomicUsize::new(0);

    /// The handler looks again at least so often, and goes on by itself after so many looks.
    const LOOK_NS: i64 = 100_000_000;
    const MOST_LOOKS: u32 = 50;

    /// Only what is async-signal-safe: atomics, the futex system call, and errno put back.
    extern "C" fn handler(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
        let [ticket, thread] = halves(ASKED.load(Acquire)); // E1
        // SAFETY: gettid takes no argument and cannot fail.
        if unsafe { libc::gettid() }.cast_unsigned() != thread {
            return;
        }
        // SAFETY: the place of this thread's errno, valid while it runs.
        let errno = unsafe { libc::__errno_location() };
        // SAFETY: as above.
        let before = unsafe { errno.read() };
        PLACE.store(counter_of(context), Relaxed); // by E2
        STOPPED.store(ticket, Release); // E2
        for _ in 0..MOST_LOOKS {
            let over = OVER.load(Acquire); // E3
            if over >= ticket {
                break;
            }
            let wait = libc::timespec { tv_sec: 0, tv_nsec: LOOK_NS };
            // SAFETY: a futex wait reads the word, which is static, and the time, which outlives the call. It returns early if the word
            // is no longer what was seen.
            unsafe {
                libc::syscall(
                    libc::SYS_futex,
                    OVER.as_ptr(),
                    libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
                    over,
                    &raw const wait,
                )
            };
        }
        // SAFETY: as above.
        unsafe { errno.write(before) };
    }

    /// The upper and the lower half.
    fn halves(word: u64) -> [u32; 2] {
        [word >> 32, word & u64::from(u32::MAX)].map(|half| u32::try_from(half).unwrap_or(u32::MAX))
    }

    /// The instruction at which the thread was interrupted; 0 where it is not known how to ask.
    fn counter_of(context: *mut c_void) -> usize {
        // SAFETY: the kernel gives a handler that is installed with SA_SIGINFO a pointer to the interrupted context.
        let Some(context) = (unsafe { context.cast::<libc::ucontext_t>().as_ref() }) else { return 0 };
        #[cfg(target_arch = "x86_64")]
        let counter = usize::try_from(context.uc_mcontext.gregs[libc::REG_RIP as usize]).unwrap_or(0);
        #[cfg(target_arch = "aarch64")]
        let counter = usize::try_from(context.uc_mcontext.pc).unwrap_or(0);
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let counter = {
            let _ = context;
            0
        };
        counter
    }

    /// Installs the handler, once.
    fn install() -> bool {
        static INSTALLED: OnceLock<bool> = OnceLock::new();
        *INSTALLED.get_or_init(|| {
            let mut action = MaybeUninit::<libc::sigaction>::zeroed();
            // SAFETY: all zero is a sigaction: the default action, no flags, an empty mask.
            let action = unsafe { action.assume_init_mut() };
            action.sa_sigaction = handler as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
            // SAFETY: the action is whole, its handler does only what a handler may, and the old action is not asked for.
            unsafe { libc::sigaction(libc::SIGURG, action, ptr::null_mut()) == 0 }
        })
    }

    /// Sends the signal; the number of the stop.
    pub(super) fn ask(thread: ThreadId) -> Result<u32, String> {
        if !install() {
            return Err("the system accepts no handler for SIGURG".into());
        }
        let ticket = halves(ASKED.load(Relaxed))[0] + 1; // under ALONE
        ASKED.store(u64::from(ticket) << 32 | u64::from(thread.id().cast_unsigned()), Release); // E1
        // SAFETY: takes nothing and cannot fail.
        let process = unsafe { libc::getpid() };
        // SAFETY: numbers only; a thread that has ended is an error.
        let failed = unsafe { libc::syscall(libc::SYS_tgkill, process, thread.id(), libc::SIGURG) } != 0;
        if failed {
            release(ticket);
            return Err("the thread that was to be stopped has ended".into());
        }
        Ok(ticket)
    }

    pub(super) fn is_stopped(ticket: u32) -> bool {
        STOPPED.load(Acquire) == ticket // E2
    }

    pub(super) fn release(ticket: u32) {
        OVER.store(ticket, Release); // E3
        // SAFETY: a wake touches nothing but the kernel's queue for this static word.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                OVER.as_ptr(),
                libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
                i32::MAX,
            )
        };
    }

    pub(super) fn place() -> Option<usize> {
        Some(PLACE.load(Relaxed)).filter(|place| *place != 0) // by E2
    }

    pub(super) fn in_c_library(place: usize) -> Option<bool> {
        let mut info = MaybeUninit::<libc::Dl_info>::zeroed();
        // SAFETY: any address may be asked for; `info` is ours to fill.
        let found = unsafe { libc::dladdr(place as *const c_void, info.as_mut_ptr()) } != 0;
        // SAFETY: all zero is a Dl_info, and so is what was filled in.
        let info = unsafe { info.assume_init() };
        if !found || info.dli_fname.is_null() {
            return None;
        }
        // SAFETY: the loader's own string, which stays as long as the library is loaded.
        let file = unsafe { CStr::from_ptr(info.dli_fname) }.to_string_lossy().into_owned();
        let name = file.rsplit('/').next().unwrap_or_default();
        Some(name.starts_with("libc.") || name.starts_with("libc-") || name.starts_with("ld-"))
    }
}

#[cfg(not(target_os = "linux"))]
mod sys {
    use super::ThreadId;
    pub(super) static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

    pub(super) fn ask(_: ThreadId) -> Result<u32, String> {
        Err("threads are stopped by a Linux signal here; this system is another".into())
    }
    pub(super) fn is_stopped(_: u32) -> bool {
        true
    }
    pub(super) fn release(_: u32) {}
    pub(super) fn place() -> Option<usize> {
        None
    }
    pub(super) fn in_c_library(_: usize) -> Option<bool> {
        None
    }
}
