//! What the kernel says about this process's memory, how much room there is, and mappings without an allocator
//! between.
//!
//! Linux first: elsewhere a question that can't be answered gives `None`, never 0.
use std::{fs, io::Read as _, path::Path};

use crate::machine::cgroup;

/// The size of a page in bytes.
pub fn page_bytes() -> usize {
    sys::page_bytes()
}

/// Minor faults (a page had to be provided, nothing had to be read from a disk) of this thread so far; of the process
/// where the system counts no threads (macOS). Source: getrusage(2).
pub fn minor_faults() -> Option<u64> {
    sys::minor_faults()
}

/// Memory of this process that is in RAM, in bytes. The page tables are counted where the kernel does that
/// (`smaps_rollup`, Linux 4.14): the cheaper counter in `statm` may be off by some hundred KiB a CPU on kernels from
/// 6.2 to 6.15. Costs up to milliseconds and holds mmap_lock, so it is never called inside a timed part.
pub fn resident_bytes() -> Option<u64> {
    // Without the heap: a buffer that lands on top of it and stays in a cache of freed pieces would pin what is being looked at.
    let mut buffer = [0; 4096];
    let rollup = read_into("/proc/self/smaps_rollup", &mut buffer).and_then(|t| field_kib(t, "Rss:"));
    rollup.or_else(|| {
        read_into("/proc/self/statm", &mut buffer).and_then(|t| parse_statm(t, page_bytes() as u64))
    })
}

/// The beginning of a file, as far as it fits.
fn read_into<'a>(path: &str, buffer: &'a mut [u8]) -> Option<&'a str> {
    let mut file = fs::File::open(path).ok()?;
    let mut length = 0;
    while let Ok(more @ 1..) = file.read(&mut buffer[length..]) {
        length += more;
    }
    std::str::from_utf8(&buffer[..length]).ok()
}

/// Most memory of this process that was in RAM at once, in bytes (`VmHWM`); a little late, as all of the cheap counters are.
pub fn peak_bytes() -> Option<u64> {
    field_kib(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// Resident bytes from the text of `/proc/<pid>/statm`: the second number, in pages.
pub fn parse_statm(text: &str, page: u64) -> Option<u64> {
    text.split_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(page)
}

/// The value of a line `<name> <number> kB`, in bytes, from `/proc/meminfo` or `smaps_rollup`. `name` includes the
/// colon.
pub fn field_kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The sum of `AnonHugePages` of the mappings that overlap with the addresses `from..to`, in bytes, from the text of
/// `/proc/self/smaps`; `None` if there is none.
pub fn parse_huge(text: &str, from: usize, to: usize) -> Option<u64> {
    let range = |line: &str| {
        let (start, end) = line.split_whitespace().next()?.split_once('-')?;
        Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
    };
    let (mut inside, mut sum) = (false, None);
    for line in text.lines() {
        if let Some((start, end)) = range(line) {
            inside = start < to && from < end;
        } else if let Some(bytes) = field_kib(line, "AnonHugePages:").filter(|_| inside) {
            sum = Some(sum.unwrap_or(0) + bytes);
        }
    }
    sum
}

/// True on the main thread, the only one that glibc serves from the brk heap; `None` if that can't be told.
pub fn on_main_thread() -> Option<bool> {
    let path = fs::read_link("/proc/thread-self").ok()?;
    let mut parts = path.to_str()?.split('/');
    let (pid, tid) = (parts.next()?, parts.next_back()?);
    Some(pid == tid)
}

/// From now on this process gets no huge pages that it did not have before. False where the system has no such switch. Source: prctl(2),
/// PR_SET_THP_DISABLE.
pub fn without_huge_pages() -> bool {
    #[cfg(target_os = "linux")]
    // SAFETY: PR_SET_THP_DISABLE takes numbers and touches no memory of ours.
    return unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) } == 0;
    #[cfg(not(target_os = "linux"))]
    false
}

/// How many more bytes this process may use before the machine or its cgroup runs out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// `MemAvailable` of `/proc/meminfo`.
    pub available_bytes: Option<u64>,
    /// The tightest memory limit of the cgroup and its parents, less what is used and can't be dropped at once.
    pub limit_left_bytes: Option<u64>,
}

impl Room {
    /// Asks the kernel.
    pub fn now() -> Self {
        let available = fs::read_to_string("/proc/meminfo").ok().and_then(|t| field_kib(&t, "MemAvailable:"));
        Self { available_bytes: available, limit_left_bytes: cgroup::memory_left_bytes(Path::new("/")) }
    }

    /// Why `need` bytes must not be touched here, or `None` if they may (or nothing is known).
    pub fn refusal(&self, need: u64) -> Option<String> {
        let mib = |b: u64| b.div_ceil(1 << 20);
        let told = [
            (self.available_bytes, "are available on this machine"),
            (self.limit_left_bytes, "are left below this cgroup's memory limit"),
        ];
        told.iter().find_map(|(room, what)| {
            let room = (*room)?;
            (room < need).then(|| format!("needs {} MiB, but only {} MiB {what}", mib(need), room >> 20))
        })
    }
}

/// So much the rest of a process may need while an experiment holds its blocks.
const MARGIN: usize = 64 << 20;

/// Whether an experiment may hold so many bytes here at once.
///
/// # Errors
/// Why not, in a sentence.
pub fn room_for(bytes: usize) -> Result<(), String> {
    Room::now().refusal(bytes.saturating_add(MARGIN) as u64).map_or(Ok(()), Err)
}

/// Anonymous private memory straight from the kernel; dropping it unmaps it.
#[derive(Debug)]
pub struct Mapping {
    start: std::ptr::NonNull<u8>,
    bytes: usize,
    writable: bool,
}

// SAFETY: a mapping owns its pages, and munmap, mprotect and madvise may be called by any thread of the process.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Address space only: each page is provided at its first touch.
    ///
    /// # Errors
    /// What mmap(2) said, or `Unsupported` where there is no mmap.
    pub fn lazy(bytes: usize) -> std::io::Result<Self> {
        Ok(Self { start: sys::map(bytes, false)?, bytes, writable: true })
    }

    /// With every page provided inside the call (`MAP_POPULATE`, Linux only).
    ///
    /// # Errors
    /// As [`Mapping::lazy`].
    pub fn populated(bytes: usize) -> std::io::Result<Self> {
        Ok(Self { start: sys::map(bytes, true)?, bytes, writable: true })
    }

    /// Its size in bytes, as asked for.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Asks for small pages only, so that each first touch of a page is a fault of its own. True if the kernel
    /// agreed.
    pub fn small_pages_only(&mut self) -> bool {
        sys::never_huge(self.start, self.bytes)
    }

    /// Asks for huge pages wherever a whole one fits (transparent huge pages).
    ///
    /// # Errors
    /// What the system said: the kernel is built without them, or has none.
    pub fn huge_pages(&mut self) -> std::io::Result<()> {
        sys::huge(self.start, self.bytes)
    }

    /// Provides every page, writable, inside the call (`MADV_POPULATE_WRITE`, Linux 5.14).
    ///
    /// # Errors
    /// What the system said; `InvalidInput` from an older kernel.
    pub fn populate(&mut self) -> std::io::Result<()> {
        sys::populate(self.start, self.bytes)
    }

    /// How many of its bytes are in huge pages, by `AnonHugePages` of `/proc/self/smaps`; `None` where that can't be
    /// told. The kernel may have merged a neighbour with it, which then counts too. Costs up to milliseconds and holds
    /// mmap_lock.
    pub fn huge_bytes(&self) -> Option<u64> {
        let from = self.start.addr().get();
        parse_huge(&fs::read_to_string("/proc/self/smaps").ok()?, from, from + self.bytes)
    }

    /// Gives all pages back and keeps the address space, so that the next touch of each page faults again. True if
    /// the kernel agreed.
    pub fn forget(&mut self) -> bool {
        self.forget_part(0, self.bytes)
    }

    /// The same with a part of it; `from` must be at a page.
    ///
    /// # Panics
    /// If the part is not inside.
    pub fn forget_part(&mut self, from: usize, bytes: usize) -> bool {
        let inside = from.checked_add(bytes).is_some_and(|end| end <= self.bytes);
        assert!(inside, "{bytes} bytes from {from} are not inside {} bytes", self.bytes);
        // SAFETY: the assertion keeps the result inside the mapping, or at its end.
        sys::forget(unsafe { self.start.add(from) }, bytes)
    }

    /// Makes all of it read-only, or writable again (mprotect(2)). Without change of protection it costs little.
    ///
    /// # Errors
    /// What the system said; the mapping then counts as read-only.
    pub fn set_writable(&mut self, writable: bool) -> std::io::Result<()> {
        self.writable = false;
        sys::protect(self.start, self.bytes, writable)?;
        self.writable = writable;
        Ok(())
    }

    /// Writes one byte. The write is volatile: nobody reads it, and it must happen.
    ///
    /// # Panics
    /// If `offset` is outside, or the mapping is read-only.
    pub fn touch(&mut self, offset: usize) {
        assert!(self.writable, "a touch of a read-only mapping");
        assert!(offset < self.bytes, "a touch at {offset} is outside of {} bytes", self.bytes);
        // SAFETY: the assertion keeps the result inside the mapping.
        let place = unsafe { self.start.add(offset) };
        // SAFETY: the mapping is readable and, as asserted, writable, ours alone (`&mut self`), and mapped until drop.
        unsafe { place.write_volatile(1) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        sys::unmap(self.start, self.bytes);
    }
}

#[cfg(unix)]
mod sys {
    use std::{io, ptr::NonNull};

    #[cfg(target_os = "linux")]
    const WHO: libc::c_int = libc::RUSAGE_THREAD;
    #[cfg(not(target_os = "linux"))]
    const WHO: libc::c_int = libc::RUSAGE_SELF;

    pub(super) fn page_bytes() -> usize {
        // SAFETY: takes a number, returns a number.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        usize::try_from(page).ok().filter(|p| p.is_power_of_two()).unwrap_or(4096)
    }

    pub(super) fn minor_faults() -> Option<u64> {
        let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: the pointer is to a live, writable rusage, which the call fills.
        let failed = unsafe { libc::getrusage(WHO, usage.as_mut_ptr()) } != 0;
        // SAFETY: rusage is plain numbers, for which all bits zero are valid.
        let usage = unsafe { usage.assume_init() };
        (!failed).then_some(usage.ru_minflt).and_then(|n| u64::try_from(n).ok())
    }

    pub(super) fn map(bytes: usize, populate: bool) -> io::Result<NonNull<u8>> {
        #[cfg(target_os = "linux")]
        let extra = if populate { libc::MAP_POPULATE } else { 0 };
        #[cfg(not(target_os = "linux"))]
        let extra = if populate { return Err(io::ErrorKind::Unsupported.into()) } else { 0 };
        let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANON | extra);
        // SAFETY: a fresh anonymous mapping at a place of the kernel's choice touches no memory that anybody has.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes, prot, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(start.cast()).ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    pub(super) fn unmap(start: NonNull<u8>, bytes: usize) {
        // SAFETY: only `Mapping::drop` calls this, once, with what `map` returned: the mapping is whole, and no
        // reference into it is left. It fails only for arguments that were never mapped, so there is nothing to do
        // about a failure.
        let _ = unsafe { libc::munmap(start.as_ptr().cast(), bytes) };
    }

    pub(super) fn protect(start: NonNull<u8>, bytes: usize, writable: bool) -> io::Result<()> {
        let prot = libc::PROT_READ | if writable { libc::PROT_WRITE } else { 0 };
        // SAFETY: start and size are those of a live mapping that the caller holds by `&mut`, so nobody writes to it
        // meanwhile; the bytes stay as they are.
        let failed = unsafe { libc::mprotect(start.as_ptr().cast(), bytes, prot) } != 0;
        if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Linux only: elsewhere the advice may leave the pages where they are, and nothing would fault again.
    #[cfg(target_os = "linux")]
    pub(super) fn forget(start: NonNull<u8>, bytes: usize) -> bool {
        // SAFETY: start and size are a live mapping, or a part of one, that the caller holds by `&mut`; the bytes become 0, and
        // no reference to them exists.
        unsafe { libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_DONTNEED) == 0 }
    }
    #[cfg(not(target_os = "linux"))]
    pub(super) fn forget(_: NonNull<u8>, _: usize) -> bool {
        false
    }

    #[cfg(target_os = "linux")]
    pub(super) fn never_huge(start: NonNull<u8>, bytes: usize) -> bool {
        // SAFETY: as in `forget`; this advice leaves the bytes alone.
        unsafe { libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_NOHUGEPAGE) == 0 }
    }
    #[cfg(not(target_os = "linux"))]
    pub(super) fn never_huge(_: NonNull<u8>, _: usize) -> bool {
        false
    }

    #[cfg(target_os = "linux")]
    pub(super) fn huge(start: NonNull<u8>, bytes: usize) -> io::Result<()> {
        // SAFETY: as in `forget`; this advice leaves the bytes alone.
        let failed = unsafe { libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE) } != 0;
        if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
    #[cfg(not(target_os = "linux"))]
    pub(super) fn huge(_: NonNull<u8>, _: usize) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    #[cfg(target_os = "linux")]
    pub(super) fn populate(start: NonNull<u8>, bytes: usize) -> io::Result<()> {
        const MADV_POPULATE_WRITE: libc::c_int = 23; // not in every libc's headers
        // SAFETY: as in `forget`; this advice writes nothing: it faults as a write would, and leaves the bytes alone.
        let failed = unsafe { libc::madvise(start.as_ptr().cast(), bytes, MADV_POPULATE_WRITE) } != 0;
        if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
    #[cfg(not(target_os = "linux"))]
    pub(super) fn populate(_: NonNull<u8>, _: usize) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(not(unix))]
mod sys {
    use std::{io, ptr::NonNull};

    pub(super) fn page_bytes() -> usize {
        4096
    }
    pub(super) fn minor_faults() -> Option<u64> {
        None
    }
    pub(super) fn map(_: usize, _: bool) -> io::Result<NonNull<u8>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    pub(super) fn unmap(_: NonNull<u8>, _: usize) {}
    pub(super) fn protect(_: NonNull<u8>, _: usize, _: bool) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    pub(super) fn forget(_: NonNull<u8>, _: usize) -> bool {
        false
    }
    pub(super) fn never_huge(_: NonNull<u8>, _: usize) -> bool {
        false
    }
    pub(super) fn huge(_: NonNull<u8>, _: usize) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    pub(super) fn populate(_: NonNull<u8>, _: usize) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
