//! `underhood try`: a workload of your own, given as data (a **shape**), measured and answered like a lab.
//!
//! A shape becomes a lab whose steps are built at run time; its children, its records and every other command then know it by its name,
//! `try_lock_1a2b3c4d`. The shape itself stands in the facts of each of its records, so that `verify` can measure it again.
pub mod column;
pub mod given;
mod posed;
pub mod reply;
pub mod subject;

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use clap::{Args, Parser};

pub use self::posed::{AXES, AxisPoint, ORDER, Setting, axis_points, lab, points};
use self::{
    given::{Given, Shape, ShapeError, TRY, Way},
    subject::{SUBJECTS, Subject},
};
use super::{
    Outcome,
    args::{Common, Run, slice},
    out::{End, Out},
    ready,
    run::{self, Measured, Partial, Workplace},
};
use crate::{
    lab::{Lab, Origin, plan::Plan},
    machine::allowed_cpus,
    record::{Record, Store},
};

/// The shape that this process and its children are about, as its text. A child is started without words, so it is handed on like this.
const SHAPE: &str = "UNDERHOOD_SHAPE";
/// The fact of a record that holds its shape.
pub const FACT: &str = "shape";

/// Flags of `try`.
#[derive(Clone, Debug, Default, Args)]
#[group(skip)]
pub(super) struct Flags {
    /// What to try: a subject (lock, map, counter ...), a file with a shape, or the name of a shape that --list shows
    what: Option<String>,
    /// How many threads use it; 4x means four for each CPU [default: the CPUs allowed]
    #[arg(long, value_name = "N")]
    threads: Option<String>,
    /// How many locks there are; a thread picks one for each operation [default: 1]
    #[arg(long, value_name = "N")]
    locks: Option<String>,
    /// The share of operations that only read: 95%
    #[arg(long, value_name = "SHARE", value_delimiter = ',', allow_hyphen_values = true)]
    reads: Vec<String>,
    /// How long a lock is held: 300ns, exp:300ns (exponential), or a file.csv of measured values
    #[arg(long, value_name = "TIME", value_delimiter = ',', allow_hyphen_values = true)]
    hold: Vec<String>,
    /// How long a thread stays away before it comes again, given like --hold [default: 0ns]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    think: Option<String>,
    /// How often each key of a map is used: uniform, zipf (a few keys often) or one_key
    #[arg(long, value_name = "SKEW")]
    skew: Option<String>,
    /// Measure only these locks, maps ...: --list names them, and the first is the baseline [default: the usual ones]
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    with: Vec<String>,
    /// How: loop (threads come again and again), windows (they do nothing else), alone (one thread) [default: the subject's first]
    #[arg(long, value_name = "WAY")]
    way: Option<String>,
    /// Hold and think times, and the share of reads, from a CSV with columns hold_ns, think_ns and op
    #[arg(long, value_name = "FILE")]
    from_trace: Option<PathBuf>,
    /// Measure other hold times, shares of reads and thread counts too [default: with two contenders]
    #[arg(long)]
    axes: bool,
    /// The subjects, their contenders, and the shapes that come with this program
    #[arg(long, conflicts_with_all = ["what", "print"])]
    list: bool,
    /// Print the file of a shape that comes with this program
    #[arg(long, value_name = "NAME", conflicts_with = "what")]
    print: Option<String>,
    /// A few milliseconds a case: shows that everything runs, and nothing else
    #[arg(long)]
    smoke: bool,
    /// Launches: fresh processes that measure each contender; the interval is over these
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    launches: Option<u64>,
    /// Measured time for each contender in a launch
    #[arg(long, value_name = "TIME", value_parser = slice)]
    slice: Option<Duration>,
    /// Seed of random orders
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Measure although the machine is unfit; the numbers are never quotable
    #[arg(long)]
    anyway: bool,
}

/// The words behind `cargo run -- ` of a record's command, for `verify`.
#[derive(Parser)]
#[command(name = "underhood", no_binary_name = true)]
enum Words {
    /// The only command that a shape's record names.
    Try {
        #[command(flatten)]
        flags: Box<Flags>,
    },
}

/// A shape that comes with this program.
#[derive(Clone, Copy, Debug)]
pub struct Shipped {
    /// What `underhood try` calls it.
    pub name: &'static str,
    /// Its file.
    pub text: &'static str,
}

macro_rules! shipped {
    ($($name:literal),+ $(,)?) => {
        &[$(Shipped { name: $name, text: include_str!(concat!("../../../labs/shapes/", $name, ".toml")) }),+]
    };
}

/// The shapes that come with this program: `labs/shapes/`.
pub const SHIPPED: &[Shipped] = shipped![
    "service",
    "lock_mutex_alone",
    "lock_mutex_crowd",
    "lock_rwlock_readers",
    "lock_rwlock_mix",
    "lock_readers_distributed",
    "lock_spin_within",
    "cache_scaling_counter",
    "lockfree_map_mix",
    "lockfree_map_alone",
    "lockfree_queue_alone",
    "lockfree_stack_alone",
    "lockfree_ring_shared",
    "lockfree_snapshot_publish_rate",
    "lockfree_snapshot_alone",
    "lock_semaphore_alone",
    "flow_rate_limit_contended",
];

impl From<ShapeError> for End {
    fn from(e: ShapeError) -> Self {
        Self::Usage(e.to_string())
    }
}

/// The lab of the shape that was handed to this process, if one was.
pub(super) fn handed(labs: &[&'static Lab]) -> Option<&'static Lab> {
    known(&Shape::of(&env::var(SHAPE).ok()?)?, labs)
}

/// The lab of a shape, in the name of the program with these labs.
fn known(shape: &Shape, labs: &[&'static Lab]) -> Option<&'static Lab> {
    let foreign = labs.iter().map(|l| l.origin).find(|o| o.package != env!("CARGO_PKG_NAME"));
    let lab = posed::lab(shape, foreign.unwrap_or(Origin::ours("")))?;
    Some(Box::leak(Box::new(lab)))
}

/// The labs of all shapes that a store has records of, by name.
pub(super) fn stored(store: &Store, labs: &[&'static Lab]) -> Vec<&'static Lab> {
    let Ok(entries) = std::fs::read_dir(store.dir()) else { return Vec::new() };
    let names =
        entries.filter_map(|e| Some(e.ok()?.file_name().to_str()?.strip_suffix(".jsonl")?.to_string()));
    let mut names: Vec<String> = names.filter(|n| n.starts_with(TRY)).collect();
    names.sort();
    let shape = |name: &String| store.load(name).ok()?.records.iter().rev().find_map(of_record);
    names.iter().filter_map(|name| known(&shape(name)?, labs).filter(|lab| lab.stem == name)).collect()
}

/// The shape of a record, if it is of one.
pub fn of_record(record: &Record) -> Option<Shape> {
    Shape::of(record.machine.facts.get(FACT)?).filter(|shape| shape.stem() == record.lab)
}

/// The plan and the flags that a record's command stands for.
pub(super) fn again(old: &Record, shape: &Shape) -> Option<(Run, Plan)> {
    let words = old.command.split_once(" -- ")?.1;
    let Words::Try { flags } = Words::try_parse_from(words.split_whitespace()).ok()?;
    let run = flags.run();
    let mut plan = flags.plan(&run, shape);
    if old.step == AXES {
        plan = axes_plan(&plan);
    }
    Some((run, plan))
}

/// The process that put the shape into the environment: a variable that comes from elsewhere is not believed.
const BY: &str = "UNDERHOOD_SHAPE_BY";
/// Linux allows 128 KiB for one variable.
const LONGEST: usize = 120 << 10;

/// Starting anew keeps the number of the process where there is `exec`.
fn by() -> String {
    if cfg!(unix) { std::process::id().to_string() } else { "the program itself".into() }
}

fn was_handed() -> bool {
    env::var(BY).is_ok_and(|of| of == by())
}

/// Starts this program anew with the shape in its environment, unless it is there already.
pub(super) fn hand_on(shape: &Shape) -> Result<(), End> {
    let text = shape.text();
    if was_handed() && env::var(SHAPE).is_ok_and(|t| t == text) {
        return Ok(());
    }
    if text.len() > LONGEST {
        let why = "the measured columns are too long to hand on: give fewer of them";
        return Err(End::Usage(why.into()));
    }
    let failed = |e: std::io::Error| End::Failed(format!("this program can't start itself: {e}"));
    let mut command = Command::new(env::current_exe().map_err(failed)?);
    command.args(env::args_os().skip(1)).env(SHAPE, text).env(BY, by());
    #[cfg(unix)]
    return Err(failed(std::os::unix::process::CommandExt::exec(&mut command)));
    #[cfg(not(unix))]
    {
        let status = command.status().map_err(failed)?;
        std::process::exit(status.code().unwrap_or(1))
    }
}

impl Flags {
    fn run(&self) -> Run {
        Run {
            smoke: self.smoke,
            launches: self.launches,
            slice: self.slice,
            seed: self.seed,
            anyway: self.anyway,
            ..Run::default()
        }
    }

    fn plan(&self, run: &Run, shape: &Shape) -> Plan {
        let mut plan = run.plan();
        plan.threads = shape.threads;
        if self.slice.is_none() && !plan.is_smoke() {
            plan.slice = SLICE;
        }
        plan
    }

    /// What was asked, from all of its sources.
    fn shape(&self, store: &Store) -> Result<Shape, End> {
        let mut given = match self.what.as_deref() {
            None if self.from_trace.is_some() => Given::default(),
            None => {
                let example =
                    "underhood try lock --threads 8 --reads 95% --hold 300ns --think 1us --locks 64";
                return Err(End::Usage(format!("say what to try, such as `{example}`; --list shows all")));
            }
            Some(what) if what.starts_with(TRY) => {
                let of_store = store.load(what)?.records.iter().rev().find_map(of_record);
                let shape = of_store.ok_or_else(|| {
                    End::Usage(format!("no record of {what} is in {}", store.dir().display()))
                })?;
                return if self.said().is_empty() {
                    Ok(shape)
                } else {
                    Err(End::Usage(format!("{what} is a stored shape; other flags can't change it")))
                };
            }
            Some(what) => source(what)?,
        };
        for (key, words) in self.said() {
            given.say(key, words)?;
        }
        if let Some(trace) = &self.from_trace {
            given.trace(trace)?;
        }
        if self.axes {
            given.axes = Some(true);
        }
        Ok(given.shape(allowed_cpus().len())?)
    }

    /// The words about the workload, by key.
    fn said(&self) -> Vec<(&'static str, Vec<String>)> {
        let one = |word: &Option<String>| word.iter().cloned().collect::<Vec<_>>();
        let all = [
            ("way", one(&self.way)),
            ("threads", one(&self.threads)),
            ("locks", one(&self.locks)),
            ("reads", self.reads.clone()),
            ("hold", self.hold.clone()),
            ("think", one(&self.think)),
            ("skew", one(&self.skew)),
            ("with", self.with.clone()),
        ];
        all.into_iter().filter(|(_, words)| !words.is_empty()).collect()
    }
}

/// What a word stands for: a subject, a shape that comes with the program, or a file.
fn source(what: &str) -> Result<Given, ShapeError> {
    if let Some(subject) = SUBJECTS.iter().find(|s| s.name() == what) {
        let mut given = Given::default();
        given.say("subject", vec![subject.name().into()])?;
        return Ok(given);
    }
    if let Some(shipped) = SHIPPED.iter().find(|s| s.name == what) {
        return Given::toml(shipped.text);
    }
    if what.ends_with(".toml") || Path::new(what).exists() {
        return Given::file(Path::new(what));
    }
    let known = SUBJECTS.iter().map(|s| s.name()).chain(SHIPPED.iter().map(|s| s.name));
    let known = known.map(ToString::to_string).collect();
    Err(ShapeError::Unknown { what: "subject, shape or file", name: what.into(), known })
}

/// Measured time for each contender in a launch: two contenders and their axes are done in half a minute, all of them in one and a half.
const SLICE: Duration = Duration::from_millis(400);
/// The same for each point of the axes, of which there are about ten.
const AXIS_SLICE: Duration = Duration::from_millis(60);
/// An interval needs so many, and the points are many.
const AXIS_LAUNCHES: usize = 3;

fn axes_plan(plan: &Plan) -> Plan {
    let slice = if plan.is_smoke() { plan.slice } else { plan.slice.min(AXIS_SLICE) };
    Plan { launches: plan.launches.min(AXIS_LAUNCHES), slice, ..plan.clone() }
}

/// A turn of all threads at one lock must fit into the slice several times.
fn check_length(shape: &Shape, plan: &Plan) -> Result<(), ShapeError> {
    let slice = if plan.is_smoke() { SLICE } else { plan.slice };
    let each = shape.hold.iter().map(|h| h.mean_ns()).fold(0.0, f64::max);
    let all_ns = shape.threads as f64 * each + shape.think.mean_ns();
    if shape.way != Way::Alone && all_ns > slice.as_secs_f64() * 1e9 {
        let shown = |ns: f64| crate::words::number::value("ns", ns);
        return Err(given::value(
            "hold",
            &shown(each),
            &format!(
                "a turn of all {} threads takes {}, longer than the slice of {}; shorten it or give --slice",
                shape.threads,
                shown(all_ns),
                humantime::format_duration(slice)
            ),
        ));
    }
    Ok(())
}

/// `underhood try`.
pub(super) fn try_it(
    flags: &Flags,
    labs: &[&'static Lab],
    common: &Common,
    out: &mut Out,
) -> Result<Outcome, End> {
    if flags.list {
        return list(out);
    }
    if let Some(name) = &flags.print {
        let found = SHIPPED.iter().find(|s| s.name == name).ok_or_else(|| ShapeError::Unknown {
            what: "shape",
            name: name.clone(),
            known: SHIPPED.iter().map(|s| s.name.to_string()).collect(),
        })?;
        return out.raw(found.text.as_bytes());
    }
    let store = ready::store(common)?;
    // What was read once is not read again: a trace may be long, and this process was started with its shape.
    let shape = match handed(labs).filter(|_| was_handed()).and_then(|_| Shape::of(&env::var(SHAPE).ok()?)) {
        Some(shape) => shape,
        None => flags.shape(&store)?,
    };
    let run = flags.run();
    let plan = flags.plan(&run, &shape);
    check_length(&shape, &plan)?;
    hand_on(&shape)?;
    let lab = handed(labs).ok_or_else(|| End::Failed("this build has no contender of that name".into()))?;
    measure(&shape, lab, &run, &plan, &store, out)
}

fn measure(
    shape: &Shape,
    lab: &'static Lab,
    run: &Run,
    plan: &Plan,
    store: &Store,
    out: &mut Out,
) -> Result<Outcome, End> {
    let mut machine = ready::machine(plan, out)?;
    machine.facts.insert(FACT.into(), shape.text());
    ready::try_keeping(store, lab, out);
    out.heading(lab.question)?;
    let (mut all, mut kept): (Vec<Record>, Result<(), End>) = (Vec::new(), Ok(()));
    let mut worst = Outcome::Quotable;
    for step in &lab.steps {
        let plan = if step.name == AXES { axes_plan(plan) } else { plan.clone() };
        let place = Workplace { run, plan: &plan, machine: &machine, store };
        if let Some(why) = place.refusal(step) {
            out.prose(
                "refused: ",
                &format!(
                    "this machine cannot show it now: {why} (--anyway measures all the same, never quotable)"
                ),
            )?;
            out.json(&serde_json::json!({ "lab": lab.stem, "step": step.name, "refused": why }))?;
            if step.name == ORDER {
                worst = Outcome::Unfit;
                break;
            }
            continue;
        }
        let Measured { records, whole, kept: stored } = place.measure(lab, step, Partial::Keep, out)?;
        kept = kept.and(stored.map_err(End::from));
        for record in &records {
            out.json(record)?;
        }
        if !whole {
            kept?;
            return Err(End::Interrupted);
        }
        // The axes only place the answer.
        if step.name == ORDER {
            worst = worst.max(run::outcome(step, &records));
        }
        all.extend(records);
    }
    if all.is_empty() {
        return Ok(worst);
    }
    let answer = reply::answer(shape, lab, &all, plan.cpus.len());
    tell(&answer, lab, out)?;
    // Shown first, so that a full disk costs the record but not the result.
    if let Err(End::Failed(why)) = kept {
        out.warn(&why);
        return Ok(Outcome::Failed);
    }
    Ok(worst)
}

fn tell(answer: &reply::Answer, lab: &Lab, out: &mut Out) -> Result<(), End> {
    out.prose("", &answer.first)?;
    answer.ranking.iter().try_for_each(|line| out.say(line))?;
    answer.limits.iter().try_for_each(|line| out.prose("", line))?;
    for (title, lines) in
        [("Waits:", &answer.waits), ("Break-even:", &answer.break_even), ("How sure:", &answer.sure)]
    {
        if !lines.is_empty() {
            out.say(format!("\n{title}"))?;
            lines.iter().try_for_each(|line| out.prose("  ", line.trim_start()))?;
        }
    }
    out.say("")?;
    out.prose("Say: ", &answer.aloud)?;
    out.prose(
        "",
        &format!("Kept as {}: `underhood show`, `quote` and `report` know it by that name.", lab.stem),
    )?;
    out.json(&serde_json::json!({ "lab": lab.stem, "answer": answer }))
}

/// `underhood try --list`.
fn list(out: &mut Out) -> Result<Outcome, End> {
    for subject in SUBJECTS {
        let ids = |subject: &Subject| subject.members().iter().map(|m| m.is().id).collect::<Vec<_>>();
        out.say(format!("{:<10} keys: {}", subject.name(), subject.keys().join(", ")))?;
        out.prose("           contenders: ", &ids(subject).join(", "))?;
        out.json(&serde_json::json!({ "subject": subject.name(), "keys": subject.keys(), "contenders": ids(subject) }))?;
    }
    out.say("\nShapes (`underhood try NAME` measures one, `underhood try --print NAME` prints its file):")?;
    // A build without our labs lacks some subjects.
    let cpus = allowed_cpus().len();
    for shipped in SHIPPED.iter().filter(|s| Given::toml(s.text).and_then(|g| g.shape(cpus)).is_ok()) {
        let about = shipped.text.lines().next().unwrap_or_default().trim_start_matches("# ");
        out.prose(&format!("  {:<32}", shipped.name), about)?;
        out.json(&serde_json::json!({ "shape": shipped.name, "about": about }))?;
    }
    Ok(Outcome::Quotable)
}
