//! The limits that a control group (a container, a systemd slice) puts on this process.
//!
//! Which file holds a limit depends on which hierarchy manages the controller, and that is decided controller by controller:
//! a machine may have a cgroup2 mount and still manage CPU and memory through v1 (hybrid). To go by the mount's existence
//! is the bug of cloudfoundry/dotnet-core-buildpack pull request 1317. So: `/proc/self/cgroup` says which hierarchy a controller is in,
//! `/proc/self/mountinfo` where that is mounted and from which of its folders on. A limit of any parent binds as well,
//! so the smallest on the way up counts.
//!
//! Source of the file formats: kernel documentation, admin-guide/cgroup-v2 and admin-guide/cgroup-v1; proc(5) for mountinfo.
use std::{
    fs,
    path::{Component, Path, PathBuf},
};

/// What one controller allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// No file could be found or understood.
    Unknown,
    /// There is a group, and it has no limit.
    None,
    /// At most this much: CPUs' worth of time, or bytes.
    At(f64),
}

/// The limits of this process's group and all of its parents.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// `v1`, `v2`, `hybrid`, `none` (a kernel without groups, or another system) or `unknown` (no mount of what manages CPU and
    /// memory here, whatever else is mounted).
    pub flavour: &'static str,
    /// CPU time per wall time, in CPUs: 0.5 is 50 ms in every 100 ms.
    pub cpu_cores: Limit,
    /// Bytes.
    pub memory_bytes: Limit,
}

/// From this on a v1 memory limit means "none": the kernel writes the largest number of pages that fits in an i64, which
/// is a little below 2^63 and depends on the page size.
const V1_NO_LIMIT_BYTES: f64 = (1_u64 << 62) as f64;

/// Reads the limits under `root` ("/" for this machine; a recorded tree in tests). Never fails.
pub fn limits(root: &Path) -> Limits {
    let Some((groups, mounts)) = read(root) else {
        return Limits { flavour: "none", cpu_cores: Limit::Unknown, memory_bytes: Limit::Unknown };
    };
    let v1 = mounts.iter().any(|m| !m.unified && m.controllers.iter().any(|c| c == "cpu" || c == "memory"));
    let v2 = mounts.iter().any(|m| m.unified);
    // A container that mounts v2 only, on a machine whose controllers are v1's: what limits us is out of sight.
    let hidden = !v1 && ["cpu", "memory"].iter().any(|c| group(&groups, c).is_some());
    let flavour = match (v1, v2 && !hidden) {
        (true, true) => "hybrid",
        (true, false) => "v1",
        (false, true) => "v2",
        (false, false) => "unknown",
    };
    let limit = |controller, v1: fn(&Path) -> Level, v2: fn(&Path) -> Level| match place(
        &groups, &mounts, controller,
    ) {
        Some(place) => smallest(root, &place, if place.unified { v2 } else { v1 }),
        None => Limit::Unknown,
    };
    Limits {
        flavour,
        cpu_cores: limit("cpu", cpu_v1, cpu_v2),
        memory_bytes: limit("memory", memory_v1, memory_v2),
    }
}

/// How many more bytes this process may use: the smallest `limit - used` of its group and all parents; `None` if there is no
/// limit or it can't be told. Used means used less the inactive file cache, since that can be dropped at once (as Kubernetes
/// counts it). Reads under `root` as [`limits`] does.
pub fn memory_left_bytes(root: &Path) -> Option<u64> {
    let (groups, mounts) = read(root)?;
    let place = place(&groups, &mounts, "memory")?;
    place.folders(root).iter().filter_map(|folder| left_in(folder, place.unified)).min()
}

fn left_in(folder: &Path, unified: bool) -> Option<u64> {
    let text = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let number = |name: &str| text(name)?.trim().parse::<u64>().ok();
    let limit = match (if unified { memory_v2 } else { memory_v1 })(folder) {
        Level::Is(Limit::At(bytes)) => bytes as u64,
        _ => return None,
    };
    let used = number(if unified { "memory.current" } else { "memory.usage_in_bytes" })?;
    let stat = text("memory.stat").unwrap_or_default();
    let cache = ["total_inactive_file ", "inactive_file "]
        .iter()
        .find_map(|key| stat.lines().find_map(|l| l.strip_prefix(key))?.trim().parse::<u64>().ok());
    Some(limit.saturating_sub(used.saturating_sub(cache.unwrap_or(0))))
}

/// Where a controller's files for this process lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// True for v2.
    pub unified: bool,
    /// From the mount point down to the process's own folder, under `root`; never empty.
    pub folders: Vec<PathBuf>,
}

/// The folders of a controller (`cpu` or `memory`) that bind this process; `None` if they can't be found.
pub fn home(root: &Path, controller: &str) -> Option<Home> {
    let (groups, mounts) = read(root)?;
    let place = place(&groups, &mounts, controller)?;
    Some(Home { unified: place.unified, folders: place.folders(root) })
}

fn read(root: &Path) -> Option<(String, Vec<Mount>)> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    Some((groups, mounts(&fs::read_to_string(root.join("proc/self/mountinfo")).unwrap_or_default())))
}

/// A mounted hierarchy.
struct Mount {
    unified: bool,
    controllers: Vec<String>,
    /// The folder of the hierarchy that is seen at `point`: "/" unless the container sees only its own part.
    top: PathBuf,
    point: PathBuf,
}

fn mounts(mountinfo: &str) -> Vec<Mount> {
    let parse = |line: &str| {
        // id parent device root point options [tags] - type source options-of-the-filesystem
        let (front, back) = line.split_once(" - ")?;
        let front: Vec<&str> = front.split(' ').collect();
        let mut back = back.split(' ');
        let unified = match back.next()? {
            "cgroup" => false,
            "cgroup2" => true,
            _ => return None,
        };
        let controllers = back.nth(1).unwrap_or("").split(',').map(str::to_string).collect();
        Some(Mount { unified, controllers, top: unescape(front.get(3)?), point: unescape(front.get(4)?) })
    };
    mountinfo.lines().filter_map(parse).collect()
}

/// mountinfo writes space, tab, newline and backslash as octal.
fn unescape(text: &str) -> PathBuf {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\").into()
}

/// Where a controller's files for this process lie: in `point`, and from there down through `below`.
struct Place<'a> {
    controller: &'a str,
    unified: bool,
    point: PathBuf,
    below: Vec<PathBuf>,
}

/// The path in the line of `/proc/self/cgroup` that has this controller; that of the unified hierarchy has none, `""`.
fn group(groups: &str, wanted: &str) -> Option<PathBuf> {
    // number:controllers:path
    let parts = |line: &'_ str| {
        let mut parts = line.splitn(3, ':').skip(1);
        Some((parts.next()?.to_string(), PathBuf::from(parts.next()?)))
    };
    let mut lines = groups.lines().filter_map(parts);
    lines.find(|(names, _)| names.split(',').any(|name| name == wanted)).map(|(_, path)| path)
}

fn place<'a>(groups: &str, mounts: &[Mount], controller: &'a str) -> Option<Place<'a>> {
    // Of several mounts of one hierarchy, one that shows our folder; of several such, the last, since it may hide the others.
    let mount = |path: PathBuf, is_it: &dyn Fn(&Mount) -> bool| {
        let mount = mounts.iter().filter(|m| is_it(m)).max_by_key(|m| path.starts_with(&m.top))?;
        Some((mount, path))
    };
    let v1 = |m: &Mount| !m.unified && m.controllers.iter().any(|c| c == controller);
    // A controller with a line of its own is v1's, mounted or not: v2 has it only if there is none.
    let (mount, path) = match group(groups, controller) {
        Some(path) => mount(path, &v1)?,
        None => mount(group(groups, "")?, &|m| m.unified)?,
    };
    // A group outside of what is mounted (another cgroup namespace) cannot be reached: the mount's own folder is then the
    // nearest that binds us. The same holds for the "/../x" that a namespace shows for a process moved out of it.
    let below = path.strip_prefix(&mount.top).unwrap_or(Path::new(""));
    let plain = below.components().all(|c| matches!(c, Component::Normal(_)));
    let below = if plain { below.iter().map(PathBuf::from).collect() } else { Vec::new() };
    Some(Place { controller, unified: mount.unified, point: mount.point.clone(), below })
}

impl Place<'_> {
    /// From the mount point down to the process's own folder.
    fn folders(&self, root: &Path) -> Vec<PathBuf> {
        let mut folder = root.join(self.point.strip_prefix("/").unwrap_or(&self.point));
        let mut folders = vec![folder.clone()];
        for name in &self.below {
            folder.push(name);
            folders.push(folder.clone());
        }
        folders
    }
}

/// What one folder says.
enum Level {
    /// No such file: the hierarchy's root has none, or the controller is not switched on here.
    Absent,
    /// A file that is not understood.
    Garbage,
    Is(Limit),
}

/// The smallest limit from the mount point down to the process's own folder.
fn smallest(root: &Path, place: &Place, read: fn(&Path) -> Level) -> Limit {
    let mut known = false;
    let mut garbage = false;
    let mut least = f64::INFINITY;
    for folder in place.folders(root) {
        match read(&folder) {
            Level::Absent => {
                // A v2 root has no limit files at all, but it lists its controllers; in a hybrid the list lacks ours.
                known |= if place.unified {
                    let listed = fs::read_to_string(folder.join("cgroup.controllers")).unwrap_or_default();
                    listed.split_whitespace().any(|c| c == place.controller)
                } else {
                    folder.join("cgroup.procs").exists()
                };
            }
            Level::Garbage => garbage = true,
            Level::Is(Limit::At(x)) => least = least.min(x),
            Level::Is(_) => known = true,
        }
    }
    match (least.is_finite(), garbage, known) {
        // A limit that was found binds, whatever an unreadable folder may add to it.
        (true, _, _) => Limit::At(least),
        (false, false, true) => Limit::None,
        _ => Limit::Unknown,
    }
}

fn file(folder: &Path, name: &str, parse: impl Fn(&str) -> Option<Limit>) -> Level {
    match fs::read_to_string(folder.join(name)) {
        Err(_) => Level::Absent,
        Ok(text) => parse(text.trim()).map_or(Level::Garbage, Level::Is),
    }
}

/// `quota / period`, both in us.
fn cores(quota: &str, period: &str) -> Option<Limit> {
    let period: f64 = period.trim().parse().ok().filter(|p| *p > 0.0)?;
    let quota: f64 = quota.trim().parse().ok().filter(|q| *q > 0.0)?;
    Some(Limit::At(quota / period))
}

fn cpu_v2(folder: &Path) -> Level {
    file(folder, "cpu.max", |text| {
        let (quota, period) = text.split_once(' ').unwrap_or((text, "100000"));
        if quota == "max" { Some(Limit::None) } else { cores(quota, period) }
    })
}

fn cpu_v1(folder: &Path) -> Level {
    file(folder, "cpu.cfs_quota_us", |quota| {
        // -1 is "none"; 0 and below never come from a kernel otherwise.
        if quota == "-1" {
            return Some(Limit::None);
        }
        cores(quota, &fs::read_to_string(folder.join("cpu.cfs_period_us")).ok()?)
    })
}

fn memory_v2(folder: &Path) -> Level {
    file(folder, "memory.max", |text| match text {
        "max" => Some(Limit::None),
        bytes => bytes.parse::<u64>().ok().map(|b| Limit::At(b as f64)),
    })
}

fn memory_v1(folder: &Path) -> Level {
    file(folder, "memory.limit_in_bytes", |text| {
        let bytes = text.parse::<u64>().ok()? as f64;
        Some(if bytes >= V1_NO_LIMIT_BYTES { Limit::None } else { Limit::At(bytes) })
    })
}
