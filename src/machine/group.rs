//! A control group of our own: one limit, for one child process, gone afterwards.
//!
//! v1: a folder below our own. v2: the kernel wants processes only in leaves, so a folder below the nearest parent that hands
//! the controller on (`cgroup.subtree_control`); only where nothing limits us on the way, since a sibling of our own folder
//! would escape that limit.
//!
//! A process that is killed removes nothing. So a group is named after its maker, by number and time of birth (a number alone is given
//! to somebody else sooner or later), and [`sweep`] removes those whose maker is gone. [`Group::create`] sweeps first, and so
//! does whoever starts children ([`crate::measure::launch::run`]).
//!
//! Limit: makers in another pid namespace that share this folder look dead. Their groups survive a sweep while a process is in
//! them, which is all but the moment between making and entering.
//!
//! Source of the file formats: kernel documentation, admin-guide/cgroup-v2 and admin-guide/cgroup-v1.
use std::{
    fmt, fs,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    process, thread,
    time::Duration,
};

use super::cgroup::{self, Home, Limit};

const NAME: &str = "underhood-";

/// What a group limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// CPU time in us that all its threads together get in each period of so many us.
    Cpu {
        /// CPU time for each period.
        quota_us: u64,
        /// The kernel takes 1 ms to 1 s.
        period_us: u64,
    },
    /// Memory; swap is forbidden where the kernel can.
    Memory {
        /// Anonymous memory, page cache and page tables together.
        bytes: u64,
    },
}

/// A line to write into a file of a group.
struct Write {
    file: &'static str,
    text: String,
    /// Whether the group is of no use without it.
    needed: bool,
}

impl Bound {
    fn controller(self) -> &'static str {
        match self {
            Self::Cpu { .. } => "cpu",
            Self::Memory { .. } => "memory",
        }
    }

    fn writes(self, unified: bool) -> Vec<Write> {
        let needed = |file, text: String| Write { file, text, needed: true };
        let if_it_can = |file, text: String| Write { file, text, needed: false };
        match (self, unified) {
            (Self::Cpu { quota_us, period_us }, true) => {
                vec![needed("cpu.max", format!("{quota_us} {period_us}"))]
            }
            (Self::Cpu { quota_us, period_us }, false) => vec![
                needed("cpu.cfs_period_us", period_us.to_string()),
                needed("cpu.cfs_quota_us", quota_us.to_string()),
            ],
            (Self::Memory { bytes }, true) => {
                vec![needed("memory.max", bytes.to_string()), if_it_can("memory.swap.max", "0".into())]
            }
            // Memory and swap together may not be less than memory, so that is written second.
            (Self::Memory { bytes }, false) => vec![
                needed("memory.limit_in_bytes", bytes.to_string()),
                if_it_can("memory.memsw.limit_in_bytes", bytes.to_string()),
            ],
        }
    }
}

/// Why no group could be made, and what would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// A clause.
    pub why: String,
    /// True if the process is already limited, so that it had better be observed than limited.
    pub limited: bool,
    /// The commands that make such a group and put a shell into it, for somebody with the rights; empty where none would help.
    pub commands: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no control group can be made: {}", self.why)?;
        if self.commands.is_empty() { Ok(()) } else { write!(f, "; as root: {}", self.commands) }
    }
}

/// What the kernel counted in a group; `None` where it does not count that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Periods in which a thread of the group wanted to run.
    pub periods_count: Option<u64>,
    /// Those in which the quota ran out.
    pub throttled_count: Option<u64>,
    /// Time for which it stood still because of that, in ns; summed over CPUs.
    pub throttled_ns: Option<u64>,
    /// Processes killed for want of memory.
    pub oom_kills_count: Option<u64>,
    /// Times that the memory limit was met (v1: failcnt; v2: `max` of memory.events).
    pub limit_hits_count: Option<u64>,
    /// Most memory that was used at once.
    pub peak_bytes: Option<u64>,
}

impl Counted {
    /// How much the counters have grown since `earlier`; the peak is taken as it is.
    pub fn since(&self, earlier: &Self) -> Self {
        let grown = |now: Option<u64>, then: Option<u64>| now.zip(then).map(|(a, b)| a.saturating_sub(b));
        Self {
            periods_count: grown(self.periods_count, earlier.periods_count),
            throttled_count: grown(self.throttled_count, earlier.throttled_count),
            throttled_ns: grown(self.throttled_ns, earlier.throttled_ns),
            oom_kills_count: grown(self.oom_kills_count, earlier.oom_kills_count),
            limit_hits_count: grown(self.limit_hits_count, earlier.limit_hits_count),
            peak_bytes: self.peak_bytes,
        }
    }
}

/// A group that this process made; dropping it removes it.
#[derive(Debug)]
pub struct Group {
    folder: PathBuf,
    unified: bool,
}

impl Group {
    /// Makes a group with this limit under `root` ("/" for this machine), after removing what dead processes left behind. One of
    /// each kind at a time for a process.
    ///
    /// # Errors
    /// [`Refused`]; nothing is left behind then.
    pub fn create(root: &Path, bound: Bound) -> Result<Self, Refused> {
        sweep(root);
        let controller = bound.controller();
        let refused = |why: String| Refused { why, limited: false, commands: String::new() };
        let Some(home) = cgroup::home(root, controller) else {
            return Err(refused(format!("the hierarchy of the controller {controller} is not mounted here")));
        };
        let Some(born) = born(root, process::id()) else {
            return Err(refused("without /proc nobody could tell later whose group it was".into()));
        };
        let limits = cgroup::limits(root);
        let limit = if controller == "cpu" { limits.cpu_cores } else { limits.memory_bytes };
        let limited = matches!(limit, Limit::At(_));
        // Below a v1 folder its limit binds as well, so nothing is escaped there.
        if home.unified && limited {
            return Err(Refused { limited, ..refused("this process is limited already".into()) });
        }
        let Some(parent) = parent(&home, controller) else {
            return Err(refused(format!("no parent hands on the controller {controller}")));
        };
        let folder = parent.join(format!("{NAME}{}-{born}-{controller}", process::id()));
        let failed = |what: &str, e: &io::Error| Refused {
            why: format!("{what}: {e}"),
            limited,
            commands: commands(&parent, bound, home.unified),
        };
        fs::create_dir(&folder).map_err(|e| failed("mkdir", &e))?;
        let group = Self { folder, unified: home.unified };
        for Write { file, text, needed } in bound.writes(home.unified) {
            match write(&group.folder.join(file), &text) {
                Err(e) if needed && limited && e.kind() == io::ErrorKind::InvalidInput => {
                    return Err(failed(&format!("{file}: more than what limits this process already"), &e));
                }
                Err(e) if needed => return Err(failed(file, &e)),
                _ => (),
            }
        }
        Ok(group)
    }

    /// Where it is: what [`enter`] needs.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// For somebody who could make this group and may not enter it.
    pub fn refused_to_others(&self, bound: Bound) -> Refused {
        let parent = self.folder.parent().unwrap_or(Path::new("/"));
        Refused { why: String::new(), limited: false, commands: commands(parent, bound, self.unified) }
    }

    /// What the kernel has counted so far.
    pub fn counted(&self) -> Counted {
        counted(&self.folder, self.unified)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A process that was killed is in its group until it has been taken apart, which takes a moment.
        for _ in 0..200 {
            match fs::remove_dir(&self.folder) {
                Err(e) if e.kind() == io::ErrorKind::ResourceBusy => thread::sleep(Duration::from_millis(5)),
                _ => return,
            }
        }
    }
}

/// Never creates a file, as `fs::write` would where the kernel lacks it.
fn write(path: &Path, text: &str) -> io::Result<()> {
    io::Write::write_all(&mut fs::OpenOptions::new().write(true).open(path)?, text.as_bytes())
}

/// Puts the calling process, with all its threads, into the group at `folder`.
///
/// # Errors
/// What the kernel says: a folder may be ours to make groups in, and the way into them still forbidden (v2 asks for rights on the
/// common parent).
pub fn enter(folder: &Path) -> io::Result<()> {
    write(&folder.join("cgroup.procs"), "0")
}

/// In which folder a group can be made.
fn parent(home: &Home, controller: &str) -> Option<PathBuf> {
    if !home.unified {
        return home.folders.last().cloned();
    }
    let hands_on = |folder: &&PathBuf| {
        let list = fs::read_to_string(folder.join("cgroup.subtree_control")).unwrap_or_default();
        list.split_whitespace().any(|c| c == controller)
    };
    home.folders.iter().rev().find(hands_on).cloned()
}

fn commands(parent: &Path, bound: Bound, unified: bool) -> String {
    let mut all = vec![format!("cd {}", parent.display()), "mkdir box".into()];
    let needed = bound.writes(unified).into_iter().filter(|w| w.needed);
    all.extend(needed.map(|w| format!("echo '{}' > box/{}", w.text, w.file)));
    all.push("echo $$ > box/cgroup.procs".into());
    all.join(" && ")
}

/// What the kernel has counted in the group that this process is in now; nothing where it cannot be found.
pub fn counted_here(root: &Path, controller: &str) -> Counted {
    let Some(home) = cgroup::home(root, controller) else { return Counted::default() };
    home.folders.last().map_or_else(Counted::default, |folder| counted(folder, home.unified))
}

/// Reads the counters of a group's folder.
pub fn counted(folder: &Path, unified: bool) -> Counted {
    let text = |file: &str| fs::read_to_string(folder.join(file)).unwrap_or_default();
    let number = |file: &str| text(file).trim().parse().ok();
    let cpu = text("cpu.stat");
    let events = text(if unified { "memory.events" } else { "memory.oom_control" });
    Counted {
        periods_count: field(&cpu, "nr_periods"),
        throttled_count: field(&cpu, "nr_throttled"),
        throttled_ns: throttled_ns(&cpu, unified),
        oom_kills_count: field(&events, "oom_kill"),
        limit_hits_count: if unified { field(&events, "max") } else { number("memory.failcnt") },
        peak_bytes: number(if unified { "memory.peak" } else { "memory.max_usage_in_bytes" }),
    }
}

/// The throttled time of the group that a process is in, and of its parents, since a quota of any of them binds. Kept open: a reading
/// costs two system calls for each level.
#[derive(Debug)]
pub struct ThrottledClock {
    files: Vec<fs::File>,
    unified: bool,
}

impl ThrottledClock {
    /// Of the group that this process is in now; `None` where the kernel does not count.
    pub fn here(root: &Path) -> Option<Self> {
        let home = cgroup::home(root, "cpu")?;
        let open = |folder: &PathBuf| fs::File::open(folder.join("cpu.stat")).ok();
        let files = home.folders.iter().filter_map(open);
        let files: Vec<_> = files.filter(|file| read_throttled_ns(file, home.unified).is_some()).collect();
        (!files.is_empty()).then_some(Self { files, unified: home.unified })
    }

    /// Time for which the group stood still so far, in ns, all CPUs together. The kernel adds to it when the group goes on.
    pub fn read_ns(&self) -> Option<u64> {
        self.files.iter().map(|file| read_throttled_ns(file, self.unified)).sum()
    }
}

fn read_throttled_ns(mut file: &fs::File, unified: bool) -> Option<u64> {
    let mut text = [0; 1024];
    file.seek(SeekFrom::Start(0)).ok()?;
    let n = file.read(&mut text).ok()?;
    throttled_ns(std::str::from_utf8(&text[..n]).ok()?, unified)
}

/// v1 counts ns, v2 us: the same file name, another unit.
fn throttled_ns(stat: &str, unified: bool) -> Option<u64> {
    match unified {
        true => field(stat, "throttled_usec").map(|us| us.saturating_mul(1000)),
        false => field(stat, "throttled_time"),
    }
}

/// The number behind a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        if words.next()? == name { words.next()?.parse().ok() } else { None }
    })
}

/// Removes the groups that processes of this program made and did not live to remove; how many it removed. A group in use
/// cannot be removed, by anybody: the kernel says no.
pub fn sweep(root: &Path) -> usize {
    let places = ["cpu", "memory"].into_iter().filter_map(|c| parent(&cgroup::home(root, c)?, c));
    let mut folders: Vec<PathBuf> =
        places.flat_map(fs::read_dir).flatten().flatten().map(|e| e.path()).collect();
    folders.retain(|folder| {
        maker(folder).is_some_and(|(pid, then)| born(root, pid).is_none_or(|birth| birth != then))
    });
    folders.iter().filter(|folder| fs::remove_dir(folder).is_ok()).count()
}

/// Number and time of birth of the process that made a group of this name.
fn maker(folder: &Path) -> Option<(u32, u64)> {
    let mut parts = folder.file_name()?.to_str()?.strip_prefix(NAME)?.split('-');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// When a process began, in the kernel's ticks since the machine did: field 22 of `/proc/<pid>/stat`, counted from behind the name,
/// which may hold anything. `None` if it has ended, which a zombie has: in a container whose first process reaps nobody it stays for ever.
fn born(root: &Path, pid: u32) -> Option<u64> {
    let text = fs::read_to_string(root.join(format!("proc/{pid}/stat"))).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let ended = matches!(fields.next()?, "Z" | "X");
    if ended { None } else { fields.nth(18)?.parse().ok() }
}
