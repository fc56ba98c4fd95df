//! .NET itself, where there is one: programs of ours in C# (`src/experiments/dotnet/*.cs`), compiled once by what is found and started as
//! child processes.
//!
//! A runtime is looked for in `UNDERHOOD_DOTNET` (its folder or the program itself), in `target/dotnet` of these sources (where `.ci/dotnet`
//! puts one), in `DOTNET_ROOT`, and on the PATH. The compiler is the SDK of that runtime, else Mono's `mcs` or a `csc` on the PATH. What was
//! compiled is kept in the user's cache folder, under a name made of the sources and of who compiled them.
//!
//! A program says `= name number` for a value and `~ text` for a remark, a line each; `# row` where it has several rows, and `! text` why one
//! has no values. Every other setting of the runtime in the environment
//! (`DOTNET_*`, `COMPlus_*`) is taken out before a program starts, so that a row is what its name says.
use std::{
    collections::BTreeMap,
    env,
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    sync::OnceLock,
    thread,
};

use crate::{
    experiments::jvm,
    lab::{
        Kind, Setting,
        plan::Plan,
        sample::{AA, Sample},
    },
    machine::code,
    measure::order::Order,
};

/// The programs, by file.
pub const SOURCES: &[(&str, &str)] = &[
    ("Awaits.cs", include_str!("dotnet/Awaits.cs")),
    ("Box.cs", include_str!("dotnet/Box.cs")),
    ("Large.cs", include_str!("dotnet/Large.cs")),
    ("Leak.cs", include_str!("dotnet/Leak.cs")),
    ("Locks.cs", include_str!("dotnet/Locks.cs")),
    ("Pool.cs", include_str!("dotnet/Pool.cs")),
    ("Program.cs", include_str!("dotnet/Program.cs")),
];
/// How to get one, in a sentence.
const GET: &str = "install the .NET SDK (https://dot.net), or run .ci/dotnet, or set UNDERHOOD_DOTNET to a runtime's folder";

/// What no lab on .NET says.
pub const NEWER: &str =
    "What a supported version does: these records are of .NET 8.0.4, whose support ended in November 2026.";

/// A runtime that was found, and the compiled programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dotnet {
    dotnet: PathBuf,
    program: PathBuf,
    /// Runtime and compiler, as records name them.
    pub version: String,
}

/// A setting of the runtime for one start: the name of an environment variable without `DOTNET_`, and its value.
pub type Knob = (&'static str, &'static str);

/// All code is compiled fully at its first call, the framework's own too: no tiers, no code that was compiled beforehand, and no profile. So
/// nothing is compiled again in the middle of a measurement.
pub const SETTLED: &[Knob] = &[("TieredCompilation", "0"), ("ReadyToRun", "0")];

/// What a program said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// Its values.
    pub values: BTreeMap<String, f64>,
    /// Its remarks.
    pub seen: Vec<String>,
    /// If it was ended by SIGKILL, as a memory limit does.
    pub killed: bool,
    /// Why it has no values, if it says so.
    pub missing: Option<String>,
}

/// The runtime of this machine, compiled for once in a process; or why there is none, in a sentence.
pub fn here() -> Result<&'static Dotnet, String> {
    static FOUND: OnceLock<Result<Dotnet, String>> = OnceLock::new();
    FOUND.get_or_init(Dotnet::find).as_ref().map_err(Clone::clone)
}

/// What a lab on .NET runs on, for its records.
pub fn version() -> String {
    here().map_or_else(|_| "none".into(), |d| d.version.clone())
}

impl Dotnet {
    fn find() -> Result<Self, String> {
        let dotnet = program(env::var_os("UNDERHOOD_DOTNET").map(PathBuf::from))?;
        let runtimes = ask(&dotnet, &["--list-runtimes"])?;
        let runtime = newest(&runtimes, "Microsoft.NETCore.App")
            .ok_or_else(|| format!("{} has no runtime Microsoft.NETCore.App: {GET}", dotnet.display()))?;
        let sdk = ask(&dotnet, &["--list-sdks"]).ok().and_then(|text| newest(&text, ""));
        let compiler = match &sdk {
            Some(version) => Compiler::Sdk(version.clone()),
            None => compiler()?,
        };
        // What was measured is also decided by the programs: no Rust source says when they change.
        let sources: Vec<u8> =
            SOURCES.iter().flat_map(|(name, text)| [name.as_bytes(), text.as_bytes()].concat()).collect();
        let sources = &format!("{:032x}", code::hash(&sources))[..12];
        let version = format!(".NET {runtime}, compiled by {}, programs {sources}", compiler.name());
        let name = format!("dotnet-{:032x}", code::hash(version.as_bytes()));
        let program = kept(&name, |folder| compiler.compile(&dotnet, folder, &runtime))?;
        Ok(Self { dotnet, program, version })
    }

    /// Runs a program to its end.
    ///
    /// # Errors
    /// In a sentence: what it said before it failed, or that its output is not understood.
    pub fn run(&self, args: &[&str], knobs: &[Knob]) -> Result<Told, String> {
        let rows = self.rows(args, knobs)?;
        rows.into_iter().next().map(|(_, told)| told).ok_or_else(|| "the program said nothing".into())
    }

    /// The same for a program with several rows, by their names; what stands before the first is a row without a name.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn rows(&self, args: &[&str], knobs: &[Knob]) -> Result<Vec<(String, Told)>, String> {
        let mut command = Command::new(&self.dotnet);
        bare(&mut command);
        command.envs(knobs.iter().map(|(name, value)| (format!("DOTNET_{name}"), *value)));
        command.arg("exec").arg(&self.program).args(args).stdin(Stdio::null());
        let out = command.output().map_err(|e| format!("dotnet could not be started: {e}"))?;
        #[cfg(unix)]
        let killed = std::os::unix::process::ExitStatusExt::signal(&out.status) == Some(libc::SIGKILL);
        #[cfg(not(unix))]
        let killed = false;
        let rows = parse(&String::from_utf8_lossy(&out.stdout));
        if killed {
            return Ok(rows?.into_iter().map(|(row, told)| (row, Told { killed, ..told })).collect());
        }
        if !out.status.success() {
            let said = String::from_utf8_lossy(&out.stderr);
            let line = said.lines().find(|l| !l.trim().is_empty()).unwrap_or("without a word");
            return Err(format!("dotnet failed ({}): {line}", out.status));
        }
        rows
    }
}

/// Each row in a process of its own, one after the other in random order, and the first one twice (`A/A`) if what they take is timed: one
/// launch. The runtime is looked for once for all of them.
pub fn turns<T: Copy>(
    plan: &Plan,
    kind: Kind,
    rows: &[Setting<T>],
    one: impl Fn(&T) -> Result<Sample, String>,
) -> Vec<Sample> {
    let twin = rows.first().filter(|_| kind.is_timed()).map(|first| first.as_case(AA));
    let mut turn: Vec<Setting<T>> = rows.iter().copied().chain(twin).collect();
    Order::new(plan.seed ^ (plan.launch as u64) << 32).shuffle(&mut turn);
    let sample = |row: &Setting<T>| match one(&row.value) {
        Ok(sample) => Sample { case: row.id().into(), ..sample },
        Err(why) => Sample::unmeasured(row.id(), "", why),
    };
    turn.iter().map(sample).collect()
}

/// Each row on a thread of its own, all at the same time: for rows that wait, or that only count.
pub fn beside<T: Sync>(
    rows: &[Setting<T>],
    one: impl Fn(&Setting<T>) -> Result<Sample, String> + Sync,
) -> Vec<Sample> {
    let one = &one;
    thread::scope(|scope| {
        let started: Vec<_> = rows.iter().map(|row| (row.id(), scope.spawn(move || one(row)))).collect();
        let ended = started.into_iter().map(|(id, row)| {
            let got = row.join().unwrap_or_else(|_| Err("its thread panicked".into()));
            got.map_or_else(|why| Sample::unmeasured(id, "", why), |s| Sample { case: id.into(), ..s })
        });
        ended.collect()
    })
}

impl Told {
    /// As a sample; a program that said no value is an error.
    ///
    /// # Errors
    /// In a sentence.
    pub fn sample(self) -> Result<Sample, String> {
        if let Some(why) = self.missing {
            return Err(why);
        }
        if self.values.is_empty() {
            let why =
                if self.killed { " before it was killed (SIGKILL, as a memory limit does)" } else { "" };
            return Err(format!("the program said no number{why}"));
        }
        Ok(Sample { values: self.values, seen: self.seen, ..Sample::default() })
    }
}

/// What a program said, row by row: at least one, and the first has no name unless the output begins with a row.
///
/// # Errors
/// In a sentence, if a line of values is not understood.
pub fn parse(text: &str) -> Result<Vec<(String, Told)>, String> {
    let mut rows = vec![(String::new(), Told::default())];
    for line in text.lines() {
        let last = rows.len() - 1;
        let told = &mut rows[last].1;
        if let Some(name) = line.strip_prefix("# ") {
            rows.push((name.into(), Told::default()));
        } else if let Some(why) = line.strip_prefix("! ") {
            told.missing = Some(why.into());
        } else if let Some(rest) = line.strip_prefix("= ") {
            let value = rest
                .split_once(' ')
                .and_then(|(name, value)| Some((name, value.trim().parse::<f64>().ok()?)));
            let (name, value) =
                value.ok_or_else(|| format!("this line of the program is not understood: {line}"))?;
            // The runtime does not know it.
            if value >= 0.0 {
                told.values.insert(name.into(), value);
            }
        } else if let Some(rest) = line.strip_prefix("~ ") {
            told.seen.push(rest.into());
        }
    }
    if rows.len() > 1 && rows[0].1 == Told::default() {
        rows.remove(0);
    }
    Ok(rows)
}

/// The program `dotnet`: the one that was asked for (itself, or its folder), else the first of the usual places.
///
/// # Errors
/// In a sentence: there is none, or none where it was asked for. Another one is not taken in its stead.
pub fn program(asked: Option<PathBuf>) -> Result<PathBuf, String> {
    let name = format!("dotnet{}", env::consts::EXE_SUFFIX);
    if let Some(asked) = asked.filter(|p| !p.as_os_str().is_empty()) {
        let found = [asked.clone(), asked.join(&name)].into_iter().find(|p| p.is_file());
        return found
            .ok_or_else(|| format!("UNDERHOOD_DOTNET names {}, and there is no {name}", asked.display()));
    }
    let mut all = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("target/dotnet").join(&name)];
    all.extend(env::var_os("DOTNET_ROOT").map(|root| Path::new(&root).join(&name)));
    all.extend(jvm::find("dotnet", None, env::var_os("PATH").as_deref()));
    all.into_iter().find(|p| p.is_file()).ok_or_else(|| format!("there is no .NET here: {GET}"))
}

/// Without any setting of the runtime that somebody has in the environment, and without ICU, which is not needed and may be missing.
fn bare(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let sets = |prefix: &str| name.to_str().is_some_and(|n| n.to_ascii_uppercase().starts_with(prefix));
        if sets("DOTNET_") || sets("COMPLUS_") {
            command.env_remove(&name);
        }
    }
    command.env("DOTNET_SYSTEM_GLOBALIZATION_INVARIANT", "1").env("DOTNET_NOLOGO", "1");
    command.env("DOTNET_CLI_TELEMETRY_OPTOUT", "1").env("DOTNET_EnableDiagnostics", "0");
}

fn ask(program: &Path, args: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program);
    bare(&mut command);
    let out = command.args(args).stdin(Stdio::null()).output();
    let out = out.map_err(|e| match e.kind() {
        // The file is there, so it is its loader that is not.
        io::ErrorKind::NotFound if program.is_file() => {
            format!(
                "{} is built for another C library (glibc or musl) than this system has",
                program.display()
            )
        }
        _ => format!("{} could not be started: {e}", program.display()),
    })?;
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&out.stderr);
    Err(format!(
        "{} does not work here: {}",
        program.display(),
        said.lines().next().unwrap_or("without a word")
    ))
}

/// The newest version in such a list: a line each, `NAME VERSION [FOLDER]` or `VERSION [FOLDER]` if the name is empty. A preview comes before
/// the release of the same number.
pub fn newest(list: &str, name: &str) -> Option<String> {
    let versions = list.lines().filter_map(|line| {
        let rest = if name.is_empty() { line } else { line.strip_prefix(name)?.strip_prefix(' ')? };
        let version = rest.split_whitespace().next()?;
        let numbers: Option<Vec<u32>> = version.split(['.', '-']).take(3).map(|n| n.parse().ok()).collect();
        Some((numbers?, !version.contains('-'), version.to_string()))
    });
    versions.max().map(|(.., version)| version)
}

/// Who compiles.
#[derive(Clone, Debug)]
enum Compiler {
    /// The SDK of this version.
    Sdk(String),
    /// A compiler that takes files: its path, and what it calls itself.
    Plain(PathBuf, String),
}

fn compiler() -> Result<Compiler, String> {
    let path = env::var_os("PATH");
    let plain = |name: &str| -> Option<Compiler> {
        let program = jvm::find(name, None, path.as_deref())?;
        let said = Command::new(&program).arg("--version").stdin(Stdio::null()).output().ok()?;
        let said = String::from_utf8_lossy(&said.stdout);
        let version = said.split_whitespace().last().unwrap_or("of an unknown version").to_string();
        Some(Compiler::Plain(program, format!("{name} {version}")))
    };
    let found = plain("mcs").or_else(|| plain("csc"));
    found.ok_or_else(|| format!("there is a .NET runtime, but no C# compiler: {GET}"))
}

impl Compiler {
    fn name(&self) -> String {
        match self {
            Self::Sdk(version) => format!("SDK {version}"),
            Self::Plain(_, name) => name.clone(),
        }
    }

    /// Compiles the sources into `underhood.dll` of this folder, with what the runtime needs to start it.
    fn compile(&self, dotnet: &Path, folder: &Path, runtime: &str) -> Result<(), String> {
        let failed = |e: io::Error| format!("{}: {e}", folder.display());
        for (name, text) in SOURCES {
            fs::write(folder.join(name), text).map_err(failed)?;
        }
        let major = |version: &str| version.split('.').take(2).collect::<Vec<_>>().join(".");
        let mut command = match self {
            // An SDK knows its own framework and older ones; the program then runs on the newest runtime.
            Self::Sdk(version) => {
                fs::write(folder.join("underhood.csproj"), project(&major(version))).map_err(failed)?;
                let mut command = Command::new(dotnet);
                bare(&mut command);
                command.args(["build", "-c", "Release", "-v", "quiet", "-o", "."]);
                command
            }
            Self::Plain(program, _) => {
                let config = folder.join("underhood.runtimeconfig.json");
                fs::write(config, runtime_config(&major(runtime), runtime)).map_err(failed)?;
                let mut command = Command::new(program);
                command.args(["-nologo", "-optimize+", "-out:underhood.dll", "-target:exe"]);
                command.args(SOURCES.iter().map(|(name, _)| name));
                command
            }
        };
        let out = command.current_dir(folder).stdin(Stdio::null()).output();
        let out = out.map_err(|e| format!("the C# compiler could not be started: {e}"))?;
        if out.status.success() && folder.join("underhood.dll").is_file() {
            return Ok(());
        }
        let said = [&out.stdout[..], &out.stderr[..]].concat();
        let said = String::from_utf8_lossy(&said);
        let line = said.lines().find(|l| l.contains("error")).or_else(|| said.lines().next());
        Err(format!("the C# compiler failed: {}", line.unwrap_or("without a word")))
    }
}

fn project(major: &str) -> String {
    format!(
        "<Project Sdk=\"Microsoft.NET.Sdk\"><PropertyGroup><OutputType>Exe</OutputType><TargetFramework>net{major}</TargetFramework>\
         <AssemblyName>underhood</AssemblyName><UseAppHost>false</UseAppHost><InvariantGlobalization>true</InvariantGlobalization>\
         <RollForward>LatestMajor</RollForward><Nullable>disable</Nullable><ImplicitUsings>disable</ImplicitUsings></PropertyGroup></Project>\n"
    )
}

fn runtime_config(major: &str, version: &str) -> String {
    format!(
        "{{\"runtimeOptions\":{{\"tfm\":\"net{major}\",\"framework\":{{\"name\":\"Microsoft.NETCore.App\",\"version\":\"{version}\"}},\
         \"configProperties\":{{\"System.Globalization.Invariant\":true}}}}}}\n"
    )
}

/// The compiled program in the user's cache folder; made if it is not there, in a folder of its own that is then renamed, so that two who
/// compile at once don't meet.
fn kept(name: &str, make: impl Fn(&Path) -> Result<(), String>) -> Result<PathBuf, String> {
    let cache = env::var_os("XDG_CACHE_HOME").filter(|d| Path::new(d).is_absolute()).map(PathBuf::from);
    let home = || env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    // Without a home, a folder of this process's own: a name that others can foresee is no place for programs.
    let root = match cache.or_else(home) {
        Some(cache) => cache.join("underhood"),
        None => jvm::folder_of_our_own("dotnet")?,
    };
    let (folder, program) = (root.join(name), OsStr::new("underhood.dll"));
    if folder.join(program).is_file() {
        return Ok(folder.join(program));
    }
    let failed = |e: io::Error| format!("{}: {e}", root.display());
    let made = root.join(format!("{name}.{}", process::id()));
    fs::create_dir_all(&made).map_err(failed)?;
    let done = make(&made).and_then(|()| match fs::rename(&made, &folder) {
        // Somebody else was faster.
        Err(_) if folder.join(program).is_file() => Ok(()),
        renamed => renamed.map_err(failed),
    });
    if done.is_err() || made.exists() {
        let _ = fs::remove_dir_all(&made);
    }
    done.map(|()| folder.join(program))
}
