//! The command line, as clap sees it.
use std::{
    ffi::OsStr,
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, builder::PossibleValuesParser};

use super::{benchmarks, shape};
use crate::{
    lab::{
        Lab,
        plan::{Mode, Plan},
    },
    machine::allowed_cpus,
    words::escape,
};

/// A workbench for concurrency and memory internals: predict, measure on your own machine, quote the number.
#[derive(Debug, Parser)]
#[command(name = "underhood", version = VERSION, after_help = EXITS)]
pub(super) struct Top {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

/// One lab.
#[derive(Debug, Parser)]
#[command(version = VERSION, after_help = EXITS)]
#[group(skip)]
pub(super) struct Single {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(flatten)]
    pub(super) run: Run,
}

/// One lab whose cases can be traced.
#[derive(Debug, Parser)]
#[command(version = VERSION, after_help = EXITS)]
pub(super) struct Traced {
    #[command(flatten)]
    pub(super) own: Single,
    /// Measure nothing: play each case once and write who did what and when, for ui.perfetto.dev
    #[arg(long, value_name = "FILE")]
    pub(super) trace: Option<PathBuf>,
}

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (code ", env!("UNDERHOOD_SHORT"), ")");
const EXITS: &str = "Exit codes: 0 quotable, 1 failed, 2 usage, 3 measured but not quotable, 4 machine unfit, 130 interrupted.";
const TRIED: &str = "Example: underhood try lock --threads 8 --reads 95% --hold 300ns --think 1us --locks 64
As a file: `underhood try shape.toml`, with lines such as hold = \"300ns\". --print shows one to begin with.";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// From a question to a number you may quote, in about a minute (the default)
    Tour,
    /// What this machine is, and what it is fit to show
    Check {
        /// Check the method: measure the baseline against itself (A/A) twenty times, and a known difference of 4 %
        #[arg(long)]
        calibrate: bool,
    },
    /// The labs, their questions, and how far you are
    List,
    /// Interview questions that contain these words, and the steps that answer them: `underhood find async blocking`
    Find {
        /// A question must contain all of them
        #[arg(required = true)]
        words: Vec<String>,
    },
    /// Step through the next lab that is not done
    Next {
        #[command(flatten)]
        run: Run,
    },
    /// The questions in random order, with your own numbers as model answers, and how good your guesses are
    Quiz {
        /// Only these labs
        labs: Vec<String>,
        /// How many questions [default: all]
        #[arg(long, value_name = "N")]
        count: Option<usize>,
        /// The same seed asks in the same order [default: a new one each time]
        #[arg(long, value_name = "N")]
        seed: Option<u64>,
    },
    /// Run labs: measure, judge, explain
    Run {
        /// The labs
        #[arg(required = true)]
        labs: Vec<String>,
        #[command(flatten)]
        run: Run,
    },
    /// Your own case: describe a workload, and learn which lock, map or queue does it best
    #[command(after_help = TRIED)]
    Try {
        #[command(flatten)]
        flags: Box<shape::Flags>,
    },
    /// Your own benchmark: what is wrong with it, found in criterion's results or in what a recorder noted
    #[command(after_help = benchmarks::EXITS)]
    Audit(benchmarks::Audit),
    /// Measure labs in turn, again and again, so that numbers come from several sessions
    Soak {
        /// Only these labs
        labs: Vec<String>,
        /// Stop after this time, such as 2h or 30m
        #[arg(long = "for", value_name = "TIME", default_value = "2h", value_parser = humantime::parse_duration)]
        time: std::time::Duration,
        /// Stop when every step has this many sessions
        #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
        sessions: u64,
        #[command(flatten)]
        run: Run,
    },
    /// The newest tables of a lab, from the store
    Show {
        /// The lab
        lab: String,
    },
    /// The sentence to say, with its number, interval and conditions; --all adds what they will ask next
    Quote {
        /// The lab
        lab: String,
    },
    /// Measure a record again: does it agree?
    Verify {
        /// The record's id, or the beginning of it; `quote` prints ids
        id: String,
    },
    /// Everything in the store as one HTML page that needs no network
    Report {
        /// Only these labs, in full
        labs: Vec<String>,
        /// Where to write it; - is stdout [default: report.html beside the records]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Two stores side by side: two machines, two builds, before and after
    Compare {
        /// The folder of the first store
        a: PathBuf,
        /// The folder of the second; a ratio is B divided by A
        b: PathBuf,
        /// Compare even if the two are too different, or not quotable
        #[arg(long)]
        anyway: bool,
    },
    /// Litmus tests from files: what the language allows, what x86 allows, and what this CPU shows
    ///
    /// Reads C11 as herd7 does, the Linux kernel's C without RCU's grace periods, and x86 in Intel's and AT&T's order of operands. RC11 and
    /// x86-TSO judge every candidate execution. This CPU runs the tests that have no more threads than it has CPUs. An outcome that a model forbids
    /// and this CPU shows is an alarm: exit code 1. If a stated verdict disagrees, the output names it. That is no failure, since the verdict may
    /// be for another model. This command does not use loom; our tests compare loom's outcomes.
    Litmus(Litmus),
    /// The records for other programs: as a deck of cards, Markdown, a table, or JSON lines (--json)
    Export {
        /// Only these labs
        labs: Vec<String>,
        #[command(flatten)]
        form: Form,
        /// Where to write it; - is stdout [default: stdout]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Write a new lab into the sources of this program: a file that runs, and the lines that other files need for it
    NewLab {
        /// Its name, a subject and a word: lock_price
        name: String,
        /// The folder of the sources
        #[arg(long, value_name = "DIR", default_value = ".")]
        dir: PathBuf,
    },
    /// Completions for a shell: to stdout
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// The manual page, in roff: to stdout
    Man,
    /// Write the measured blocks of NOTES.md from the store, or check them against the records committed beside it
    ///
    /// Without --check this changes files of the repository and names each: the cited records, the blocks of NOTES.md, and the table of
    /// labs in the README.md beside it. Where the store has a newer run of a step, complete and quotable, its records replace those cited.
    /// A quick or smoke run is cited only for a step that has no default or full run.
    Notes {
        /// Change nothing; fail if text and records disagree
        #[arg(long)]
        check: bool,
        /// The notes
        #[arg(long, default_value = "NOTES.md")]
        file: PathBuf,
        /// The folder of the records that the notes cite
        #[arg(long, default_value = "tests/records")]
        records: PathBuf,
    },
}

/// What `litmus` reads, and for how long it runs.
#[derive(Clone, Debug, Args)]
pub(super) struct Litmus {
    /// Files, and folders with files that end in .litmus
    #[arg(required = true, value_name = "FILE|DIR")]
    pub(super) paths: Vec<PathBuf>,
    /// More verdicts to compare with, one a row: `path,1` if the condition can be met, `path,0` if not
    ///
    /// They are taken as RC11's for C11 tests and TSO's for x86 tests. A row belongs to the file whose path ends with the row's path.
    #[arg(long, value_name = "FILE")]
    pub(super) verdicts: Option<PathBuf>,
    /// How long each test runs on this CPU; 0s for not at all [default: 500ms for one file, 20ms each for several]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(super) time: Option<Duration>,
    /// A row for each test and each file that cannot be read, however many
    #[arg(long)]
    pub(super) all: bool,
}

/// How `export` writes; JSON is a flag of every command.
#[derive(Clone, Debug, Args)]
#[group(multiple = false)]
pub(super) struct Form {
    /// Cards for Anki (a CSV file with its headers): what may be quoted, with the machine on the back
    #[arg(long)]
    pub(super) anki: bool,
    /// The tables and sentences of the newest quotable runs
    #[arg(long)]
    pub(super) md: bool,
    /// A row for each value of each record
    #[arg(long)]
    pub(super) csv: bool,
}

impl Form {
    pub(super) fn count(&self) -> usize {
        [self.anki, self.md, self.csv].into_iter().filter(|on| *on).count()
    }
}

/// Flags of every command.
#[derive(Clone, Debug, Args)]
pub(super) struct Common {
    /// Where records live [default: $UNDERHOOD_STORE, else target/underhood in the repository, else your data folder]
    #[arg(long, global = true, value_name = "DIR")]
    pub(super) store: Option<PathBuf>,
    /// One JSON value a line instead of text
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// No tables and no moving lines: sentences, for screen readers and logs
    #[arg(long, global = true)]
    pub(super) plain: bool,
    /// Everything: all columns, the baseline against itself (A/A), outliers, versions
    #[arg(long, global = true)]
    pub(super) all: bool,
}

/// Flags of a run.
#[derive(Clone, Debug, Default, Args)]
#[group(skip)]
pub(super) struct Run {
    /// Step through: predict, run, see, understand
    #[arg(long)]
    pub(super) step: bool,
    /// Three launches, short slices
    #[arg(long, conflicts_with_all = ["full", "smoke"])]
    pub(super) quick: bool,
    /// Ten launches, long slices
    #[arg(long, conflicts_with = "smoke")]
    pub(super) full: bool,
    /// A few milliseconds a case: shows that everything runs, and nothing else
    #[arg(long)]
    pub(super) smoke: bool,
    /// Threads of a contended case [default: the CPUs allowed]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=4096))]
    pub(super) threads: Option<u64>,
    /// Launches: fresh processes that measure each case; the interval is over these
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(super) launches: Option<u64>,
    /// Measured time for each case and parameter in a launch
    #[arg(long, value_name = "TIME", value_parser = slice)]
    pub(super) slice: Option<Duration>,
    /// Seed of random orders and keys
    #[arg(long, value_name = "N")]
    pub(super) seed: Option<u64>,
    /// Only these steps
    #[arg(long, value_name = "STEP", value_delimiter = ',')]
    pub(super) only: Vec<String>,
    /// Your prediction of a step, if the program can't ask you: STEP=GUESS, or "STEP=GUESS: because ..."
    #[arg(long, value_name = "STEP=GUESS")]
    pub(super) guess: Vec<String>,
    /// Measure although the machine is unfit; the numbers are never quotable
    #[arg(long)]
    pub(super) anyway: bool,
}

pub(super) fn slice(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|e| format!("{e} (write 200ms, 1s)"))?;
    let bounds = Duration::from_millis(1)..=Duration::from_secs(60);
    if bounds.contains(&time) { Ok(time) } else { Err("a slice is between 1ms and 60s".into()) }
}

/// Parses the command line of `underhood`. `tried` are the shapes that the store knows.
pub(super) fn parse(labs: &[&'static Lab], tried: &[&'static Lab]) -> Top {
    read(command(labs, tried))
}

/// The words of the command line. If they are not understood, or ask for help, the program says so and ends here.
pub(super) fn read<T: FromArgMatches>(command: clap::Command) -> T {
    let understood = command.try_get_matches().and_then(|words| T::from_arg_matches(&words));
    understood.unwrap_or_else(|e| {
        // What was typed is quoted in the answer: it must not reach the terminal as anything but text.
        let harmless = |word: &OsStr| escape::message(&word.to_string_lossy()) == word.to_string_lossy();
        let said = if std::env::args_os().all(|word| harmless(&word)) {
            e.print().and_then(|()| io::stdout().flush())
        } else {
            io::stderr().write_all(escape::message(&e.render().to_string()).as_bytes())
        };
        // Help that went nowhere is none; who stopped reading it has had enough.
        let lost = said.is_err_and(|e| e.kind() != io::ErrorKind::BrokenPipe) && !e.use_stderr();
        std::process::exit(if lost { 1 } else { e.exit_code() })
    })
}

/// The store that the command line names, before the rest of it is understood.
pub(super) fn store_named() -> Option<PathBuf> {
    let matches = Top::command().ignore_errors(true).try_get_matches().ok()?;
    matches.try_get_one::<PathBuf>("store").ok()?.cloned()
}

/// The command line with the names of the labs, so that a wrong one is answered with the nearest, and a shell completes them. What only
/// tells knows the shapes too.
pub(super) fn command(labs: &[&'static Lab], tried: &[&'static Lab]) -> clap::Command {
    let stems: Vec<&'static str> = labs.iter().map(|l| l.stem).collect();
    let known = || PossibleValuesParser::new(stems.clone());
    let told = || PossibleValuesParser::new(stems.iter().copied().chain(tried.iter().map(|l| l.stem)));
    Top::command()
        .mut_subcommand("run", |c| c.mut_arg("labs", |a| a.value_parser(known())))
        .mut_subcommand("soak", |c| c.mut_arg("labs", |a| a.value_parser(known())))
        .mut_subcommand("quiz", |c| c.mut_arg("labs", |a| a.value_parser(known())))
        .mut_subcommand("export", |c| c.mut_arg("labs", |a| a.value_parser(told())))
        .mut_subcommand("report", |c| c.mut_arg("labs", |a| a.value_parser(told())))
        .mut_subcommand("show", |c| c.mut_arg("lab", |a| a.value_parser(told())))
        .mut_subcommand("quote", |c| c.mut_arg("lab", |a| a.value_parser(told())))
}

impl Run {
    pub(super) fn plan(&self) -> Plan {
        let mode = match (self.quick, self.full, self.smoke) {
            (true, ..) => Mode::Quick,
            (_, true, _) => Mode::Full,
            (_, _, true) => Mode::Smoke,
            _ => Mode::Default,
        };
        let mut plan = Plan::new(mode, allowed_cpus());
        let count = |n: u64| usize::try_from(n).expect("clap bounds it");
        plan.threads = self.threads.map_or(plan.threads, count);
        plan.launches = self.launches.map_or(plan.launches, count);
        plan.slice = self.slice.unwrap_or(plan.slice);
        plan.seed = self.seed.unwrap_or(plan.seed);
        plan.anyway = self.anyway;
        plan
    }

    /// The flags that repeat this run of this step.
    pub(super) fn command(&self, lab: &Lab, step: &str) -> String {
        let mut words = vec![lab.command_for(step)];
        for (on, flag) in [
            (self.quick, "--quick"),
            (self.full, "--full"),
            (self.smoke, "--smoke"),
            (self.anyway, "--anyway"),
        ] {
            if on {
                words.push(flag.into());
            }
        }
        for (value, flag) in
            [(self.threads, "--threads"), (self.launches, "--launches"), (self.seed, "--seed")]
        {
            words.extend(value.map(|v| format!("{flag} {v}")));
        }
        words.extend(
            self.slice
                .map(|s| format!("--slice {}", humantime::format_duration(s).to_string().replace(' ', ""))),
        );
        words.join(" ")
    }
}
