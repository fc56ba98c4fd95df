//! What the system says of itself, read from files under a root folder.
//!
//! Every fact has an answer, and an answer that cannot be had is "unknown": a blank would look like "none".
//! Source of the file formats: proc(5), and the kernel's Documentation/ABI and admin-guide.
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use crate::machine::{
    allowed_cpus,
    cgroup::{self, Limit},
};

/// The word for a fact that cannot be had.
pub const UNKNOWN: &str = "unknown";

/// The facts that files under `root` tell ("/" for this machine). Never fails; on a system without /proc and /sys nearly
/// everything is "unknown".
pub fn facts(root: &Path) -> BTreeMap<String, String> {
    let limits = cgroup::limits(root);
    let meminfo = read(root, "proc/meminfo").unwrap_or_default();
    let kib = |key| field(&meminfo, key).and_then(|v| v.strip_suffix(" kB")?.trim().parse::<u64>().ok());
    let bytes = |key| kib(key).map(|k| (k * 1024).to_string());
    let limit = |limit, digits| match limit {
        Limit::Unknown => None,
        Limit::None => Some("none".to_string()),
        Limit::At(x) => Some(trimmed(x, digits)),
    };
    let sys_cpu = "sys/devices/system/cpu";
    [
        ("os", Some(os(root))),
        ("kernel", read(root, "proc/sys/kernel/osrelease")),
        ("cpu", cpu(root)),
        ("cpus_online", count(root, &format!("{sys_cpu}/online"))),
        ("smt", smt(root)),
        ("caches", caches(root)),
        ("cache_line_bytes", read(root, &format!("{sys_cpu}/cpu0/cache/index0/coherency_line_size"))),
        ("numa_nodes", count(root, "sys/devices/system/node/online")),
        ("governor", governor(root)),
        ("turbo", turbo(root)),
        ("hypervisor", hypervisor(root)),
        ("container", Some(container(root))),
        ("cgroup", Some(limits.flavour.to_string())),
        ("cpu_limit", limit(limits.cpu_cores, 3)),
        ("memory_limit_bytes", limit(limits.memory_bytes, 0)),
        ("memory_bytes", bytes("MemTotal")),
        ("swap_bytes", bytes("SwapTotal")),
        ("thp", read(root, "sys/kernel/mm/transparent_hugepage/enabled").and_then(|t| chosen(&t))),
        ("aslr", aslr(root)),
        ("clocksource", read(root, "sys/devices/system/clocksource/clocksource0/current_clocksource")),
        ("autogroup", read(root, "proc/sys/kernel/sched_autogroup_enabled").and_then(|t| on_off(&t))),
        ("free_page_reporting", free_page_reporting(root)),
    ]
    .map(|(key, value)| (key.to_string(), value.unwrap_or_else(|| UNKNOWN.to_string())))
    .into()
}

/// Adds what no file tells: the affinity mask, the C library, the hypervisor's name in CPUID, a sign in the environment.
pub(super) fn ask_live(facts: &mut BTreeMap<String, String>) {
    let cpus = allowed_cpus();
    facts.insert("cpus_allowed".into(), format!("{} ({})", cpus.len(), ranges(&cpus)));
    facts.insert("libc".into(), libc_version().unwrap_or_else(|| UNKNOWN.to_string()));
    if let Some(name) = cpuid_hypervisor() {
        facts.insert("hypervisor".into(), name);
    }
    // A pod may hide every file of the cluster, but not this variable.
    let container = facts.entry("container".into()).or_default();
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() && !container.contains("kubernetes") {
        *container =
            if container == "none" { "kubernetes".into() } else { format!("{container}, kubernetes") };
    }
}

/// The trimmed text of a file; `None` if there is none or nothing in it.
fn read(root: &Path, path: &str) -> Option<String> {
    let text = fs::read_to_string(root.join(path)).ok()?;
    Some(text.trim().to_string()).filter(|t| !t.is_empty())
}

/// The first `key : value` or `key: value`.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.find(|(k, _)| k.trim() == key).map(|(_, value)| value.trim()).filter(|v| !v.is_empty())
}

/// Up to that many decimals, without trailing zeroes.
fn trimmed(x: f64, digits: usize) -> String {
    let text = format!("{x:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
}

/// The word in brackets.
fn chosen(text: &str) -> Option<String> {
    Some(text.split_once('[')?.1.split_once(']')?.0.to_string())
}

fn on_off(text: &str) -> Option<String> {
    match text.trim() {
        "0" => Some("off".into()),
        "1" => Some("on".into()),
        _ => None,
    }
}

/// The members of a kernel list such as `0-3,8`; `None` for anything else.
pub fn cpu_list(text: &str) -> Option<Vec<usize>> {
    let mut all = BTreeSet::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        // The kernel knows no larger number; a garbled file must not fill the memory.
        if last >= 1 << 16 {
            return None;
        }
        all.extend(first..=last);
    }
    Some(all.into_iter().collect())
}

/// The kernel's short form of an ascending list: `0-3,8`.
pub fn ranges(cpus: &[usize]) -> String {
    let parts = cpus.chunk_by(|a, b| a + 1 == *b).map(|run| match run {
        [one] => one.to_string(),
        _ => format!("{}-{}", run[0], run[run.len() - 1]),
    });
    parts.collect::<Vec<_>>().join(",")
}

fn count(root: &Path, path: &str) -> Option<String> {
    Some(cpu_list(&read(root, path)?)?.len().to_string())
}

fn os(root: &Path) -> String {
    let release = read(root, "etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|l| l.strip_prefix("PRETTY_NAME=")).map(|n| n.trim_matches('"'));
    [Some(std::env::consts::OS), name].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn cpu(root: &Path) -> Option<String> {
    let info = read(root, "proc/cpuinfo")?;
    let named = ["model name", "cpu model", "Processor", "uarch"].iter().find_map(|key| field(&info, key));
    // 64-bit ARM gives numbers only.
    let arm = || {
        Some(format!("implementer {} part {}", field(&info, "CPU implementer")?, field(&info, "CPU part")?))
    };
    named.map(str::to_string).or_else(arm)
}

fn smt(root: &Path) -> Option<String> {
    let control = read(root, "sys/devices/system/cpu/smt/control");
    match (read(root, "sys/devices/system/cpu/smt/active").as_deref(), control.as_deref()) {
        (Some("1"), _) => Some("on".into()),
        // A guest may be told so although its CPUs are two faces of one core.
        (_, Some("notsupported" | "notimplemented")) => Some("none shown".into()),
        (Some("0"), _) => Some("off".into()),
        _ => None,
    }
}

/// `L1d 32K, L2 1024K, L3 32768K (cpus 0-1)` as the first CPU sees them.
fn caches(root: &Path) -> Option<String> {
    let mut found = Vec::new();
    for index in 0..8 {
        let get = |name| read(root, &format!("sys/devices/system/cpu/cpu0/cache/index{index}/{name}"));
        let (Some(level), Some(kind), Some(size)) = (get("level"), get("type"), get("size")) else {
            continue;
        };
        let suffix = match kind.as_str() {
            "Data" => "d",
            "Unified" => "",
            _ => continue,
        };
        let shared = get("shared_cpu_list").filter(|l| l.contains(['-', ',']));
        found.push(format!(
            "L{level}{suffix} {size}{}",
            shared.map_or(String::new(), |l| format!(" (cpus {l})"))
        ));
    }
    (!found.is_empty()).then(|| found.join(", "))
}

/// Of all frequency policies; several if they differ.
fn governor(root: &Path) -> Option<String> {
    let policies = fs::read_dir(root.join("sys/devices/system/cpu/cpufreq")).ok()?;
    let names = policies.flatten().filter_map(|p| read(&p.path(), "scaling_governor"));
    let names: BTreeSet<String> = names.collect();
    (!names.is_empty()).then(|| names.into_iter().collect::<Vec<_>>().join(", "))
}

fn turbo(root: &Path) -> Option<String> {
    let boost = || on_off(&read(root, "sys/devices/system/cpu/cpufreq/boost")?);
    let no_turbo = read(root, "sys/devices/system/cpu/intel_pstate/no_turbo");
    no_turbo.map(|t| if t == "0" { "on".to_string() } else { "off".to_string() }).or_else(boost)
}

/// From files; on x86-64 `ask_live` overrides it with what CPUID says.
fn hypervisor(root: &Path) -> Option<String> {
    if let Some(kind) = read(root, "sys/hypervisor/type") {
        return Some(kind);
    }
    let dmi = ["sys_vendor", "product_name"]
        .map(|n| read(root, &format!("sys/class/dmi/id/{n}")).unwrap_or_default());
    let dmi = dmi.join(" ");
    let names = [
        "QEMU",
        "KVM",
        "VMware",
        "VirtualBox",
        "Virtual Machine",
        "Amazon EC2",
        "Google Compute",
        "Xen",
        "Parallels",
    ];
    if let Some(name) = names.iter().find(|n| dmi.contains(**n) && !dmi.contains("metal")) {
        return Some((*name).to_string());
    }
    let clock =
        read(root, "sys/devices/system/clocksource/clocksource0/available_clocksource").unwrap_or_default();
    if let Some(name) = ["kvm", "hyperv", "xen"].iter().find(|n| clock.contains(**n)) {
        return Some((*name).to_string());
    }
    // On x86 the flag is there whenever a hypervisor is; other CPUs have no such flag, so its absence says nothing.
    let info = read(root, "proc/cpuinfo")?;
    let flags = field(&info, "flags")?;
    Some(if flags.split(' ').any(|f| f == "hypervisor") { "yes, no name given" } else { "none" }.to_string())
}

/// The signs of a container, or "none". A sign is no proof: a machine may have been made from a container's image.
fn container(root: &Path) -> String {
    let groups = read(root, "proc/self/cgroup").unwrap_or_default();
    let systemd = read(root, "run/systemd/container").unwrap_or_default();
    let exists = |path: &str| root.join(path).exists();
    let hints = |names: &[&str]| names.iter().any(|n| groups.contains(n) || systemd.contains(n));
    let signs = [
        ("docker", exists(".dockerenv") || hints(&["docker"])),
        ("podman", exists("run/.containerenv") || hints(&["libpod", "podman"])),
        ("kubernetes", exists("var/run/secrets/kubernetes.io") || hints(&["kubepods"])),
        ("lxc", hints(&["lxc"])),
        ("nspawn", hints(&["nspawn"])),
        ("containerd", hints(&["containerd"])),
    ];
    let found: Vec<&str> = signs.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect();
    if found.is_empty() { "none".into() } else { found.join(", ") }
}

/// Layout randomisation of this process: the switch of the system, unless `setarch -R` has turned it off for the process.
fn aslr(root: &Path) -> Option<String> {
    const ADDR_NO_RANDOMIZE: u32 = 0x0004_0000; // personality(2)
    let own = read(root, "proc/self/personality").and_then(|t| u32::from_str_radix(&t, 16).ok());
    if own.is_some_and(|p| p & ADDR_NO_RANDOMIZE != 0) {
        return Some("off for this process".into());
    }
    match read(root, "proc/sys/kernel/randomize_va_space")?.as_str() {
        "0" => Some("off".into()),
        "1" => Some("on, without the heap".into()),
        "2" => Some("on".into()),
        _ => None,
    }
}

/// Whether a guest gives free pages back to its host, which makes the next first touch of them much dearer: bit 5 of
/// the virtio balloon's features (virtio 1.2, 5.5.3). "none" where the bus shows no balloon.
fn free_page_reporting(root: &Path) -> Option<String> {
    const BALLOON: &str = "0x0005";
    let devices = fs::read_dir(root.join("sys/bus/virtio/devices")).ok()?;
    let balloon = devices.flatten().find(|d| read(&d.path(), "device").as_deref() == Some(BALLOON));
    let Some(balloon) = balloon else { return Some("none".into()) };
    let bit = read(&balloon.path(), "features")?.chars().nth(5)?;
    on_off(&bit.to_string())
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn libc_version() -> Option<String> {
    // SAFETY: the function takes nothing and returns a pointer to a static string of the C library.
    let text = unsafe { libc::gnu_get_libc_version() };
    // SAFETY: not null, ends with a zero byte, and is never freed or changed.
    let text = unsafe { std::ffi::CStr::from_ptr(text) };
    Some(format!("glibc {}", text.to_str().ok()?))
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn libc_version() -> Option<String> {
    cfg!(target_env = "musl").then(|| "musl".to_string())
}

/// What CPUID says: bit 31 of leaf 1's ECX is set under any hypervisor, and leaf 0x4000_0000 spells its name in 12 bytes.
#[cfg(target_arch = "x86_64")]
fn cpuid_hypervisor() -> Option<String> {
    use std::arch::x86_64::__cpuid;
    if __cpuid(1).ecx >> 31 == 0 {
        return Some("none".into());
    }
    let leaf = __cpuid(0x4000_0000);
    let bytes: Vec<u8> = [leaf.ebx, leaf.ecx, leaf.edx].into_iter().flat_map(u32::to_le_bytes).collect();
    let text = String::from_utf8_lossy(&bytes).trim_matches(['\0', ' ']).to_string();
    Some(match text.as_str() {
        "" => return None,
        "KVMKVMKVM" => "KVM".into(),
        "Microsoft Hv" => "Hyper-V".into(),
        "VMwareVMware" => "VMware".into(),
        "XenVMMXenVMM" => "Xen".into(),
        "TCGTCGTCGTCG" => "QEMU without KVM".into(),
        "VBoxVBoxVBox" => "VirtualBox".into(),
        _ => text,
    })
}

#[cfg(not(target_arch = "x86_64"))]
fn cpuid_hypervisor() -> Option<String> {
    None
}
