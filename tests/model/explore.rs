//! The child: explores scenarios in a process of its own and says on stdout what it found.
//!
//! A process of its own, because a deadlock that loom finds while a modelled thread unwinds aborts, because a mutant of a
//! pointer structure may crash, and because an exploration may have to be ended from outside.
//!
//! Its order comes in the environment, its answer is lines that begin with `@`:
//! `@site line column role ordering`, `@tricky` if the world may play a trick, `@passed scenario executions`, `@failed scenario executions message`, and before the last,
//! if it was asked for, `@step thread what` for each step of the execution that failed, and `@drawn line` for a history.

use super::mutate::{Change, Role, Site, Step, TABLE, Table, Whim, World};
use super::scenarios::{self, Scenario};
use std::env;
use std::panic;
use std::process;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a child is to explore.
#[derive(Clone, Debug)]
pub struct Order {
    pub structure: &'static str,
    /// `None`: one scenario after the other, until one fails.
    pub scenario: Option<&'static str>,
    pub world: World,
    pub mutant: Option<(Site, Change)>,
    /// The failing execution is to be told step by step.
    pub told: bool,
}

const STRUCTURE: &str = "UNDERHOOD_MODEL_STRUCTURE";
const SCENARIO: &str = "UNDERHOOD_MODEL_SCENARIO";
const WORLD: &str = "UNDERHOOD_MODEL_WORLD";
const MUTANT: &str = "UNDERHOOD_MODEL_MUTANT";
const TOLD: &str = "UNDERHOOD_MODEL_TOLD";
/// Unlike the others, this one is the user's.
pub const BOUND: &str = "UNDERHOOD_MODEL_BOUND";

pub const ROLES: [Role; 10] = [
    Role::Load,
    Role::Store,
    Role::ReadModifyWrite,
    Role::Success,
    Role::Failure,
    Role::Fence,
    Role::Wait,
    Role::WakeOne,
    Role::WakeAll,
    Role::Unpark,
];
pub const ORDERINGS: [Ordering; 5] =
    [Ordering::Relaxed, Ordering::Acquire, Ordering::Release, Ordering::AcqRel, Ordering::SeqCst];

/// Any value of these small enums, back from its `Debug` text.
pub fn parse<T: Copy + std::fmt::Debug>(all: &[T], text: &str) -> T {
    *all.iter().find(|value| format!("{value:?}") == text).unwrap_or_else(|| panic!("no such value: {text}"))
}

impl Order {
    /// The order as environment variables.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let mut vars = vec![(STRUCTURE, self.structure.to_owned())];
        vars.extend(self.scenario.map(|name| (SCENARIO, name.to_owned())));
        if self.world != World::default() {
            let world = match self.world {
                World { leading_fence: true, .. } => "leading",
                World { whim: Whim::First, .. } => "hostile",
                World { whim: Whim::Second, .. } => "hostile later",
            };
            vars.push((WORLD, world.to_owned()));
        }
        if self.told {
            vars.push((TOLD, "step by step".to_owned()));
        }
        if let Some((Site { line, column, role }, change)) = self.mutant {
            vars.push((MUTANT, format!("{line} {column} {role:?} {change:?}")));
        }
        vars
    }

    fn from_environment() -> Option<Self> {
        let structure = env::var(STRUCTURE).ok()?;
        let structure = scenarios::find(&structure).expect("a structure with scenarios");
        let scenario = env::var(SCENARIO).ok().map(|name| {
            structure.scenarios.iter().find(|s| s.name == name).expect("a scenario of the structure").name
        });
        let is = |world: &str| env::var(WORLD).is_ok_and(|value| value == world);
        let mutant = env::var(MUTANT).ok().map(|text| {
            let mut words = text.splitn(4, ' ');
            let mut word = || words.next().expect("four words");
            let (line, column) = (word().parse().expect("a line"), word().parse().expect("a column"));
            let site = Site { line, column, role: parse(&ROLES, word()) };
            let changes =
                ORDERINGS.map(Change::To).into_iter().chain([Change::Split, Change::Drop, Change::One]);
            (site, parse(&changes.collect::<Vec<_>>(), word()))
        });
        let world = match (is("hostile"), is("hostile later")) {
            (true, _) => World::hostile(Whim::First),
            (_, true) => World::hostile(Whim::Second),
            _ => World { leading_fence: is("leading"), ..World::default() },
        };
        Some(Self { structure: structure.path, scenario, world, mutant, told: env::var(TOLD).is_ok() })
    }
}

/// How many preemptions are explored in a scenario that has a bound; `UNDERHOOD_MODEL_BOUND` sets another one than its own.
pub fn bound(scenario: &Scenario) -> Option<usize> {
    let wanted = env::var(BOUND).ok().map(|text| text.parse().expect("UNDERHOOD_MODEL_BOUND is a number"));
    scenario.bound.map(|bound| wanted.unwrap_or(bound))
}

static EXECUTIONS: AtomicUsize = AtomicUsize::new(0);
static NOW: Mutex<&str> = Mutex::new("");

fn told(step: &Step) {
    println!("@step {} {}", step.thread, step.what);
}

/// Does what the environment says; returns only if it says nothing.
pub fn child() {
    let Some(order) = Order::from_environment() else { return };
    panic::set_hook(Box::new(|info| {
        let message = info.payload_as_str().unwrap_or("a panic without a message");
        let (message, drawn) = message.split_once("\nlane ").unwrap_or((message, ""));
        if !drawn.is_empty() {
            format!("lane {drawn}").lines().for_each(|line| println!("@drawn {line}"));
        }
        let message: Vec<_> = message.split_whitespace().collect();
        let now = NOW.lock().map_or("?", |now| *now);
        // Not while the table is in use, which is where the scenario's own mistakes panic.
        let _ = TABLE.with(|t| t.try_borrow().map(|t| t.trace.iter().flatten().for_each(told)));
        println!("@failed {now} {} {}", EXECUTIONS.load(Ordering::Relaxed), message.join(" "));
        process::exit(0); // before anything unwinds
    }));
    let structure = scenarios::find(order.structure).expect("checked when parsed");
    for scenario in structure.scenarios.iter().filter(|s| order.scenario.is_none_or(|name| s.name == name)) {
        *NOW.lock().expect("one thread") = scenario.name;
        let table = Table {
            file: crate::scenarios::source(structure.path),
            mutant: order.mutant,
            world: order.world,
            trace: order.told.then(Vec::new),
            ..Table::default()
        };
        let table = explore(scenario, table);
        for (site, written) in &table.seen {
            println!("@site {} {} {:?} {written:?}", site.line, site.column, site.role);
        }
        if table.tricky {
            println!("@tricky");
        }
        println!("@passed {} {}", scenario.name, EXECUTIONS.load(Ordering::Relaxed));
    }
    process::exit(0);
}

fn explore(scenario: &'static Scenario, table: Table) -> Table {
    EXECUTIONS.store(0, Ordering::Relaxed);
    TABLE.set(Table { threads: scenario.threads, ..table });
    let mut model = loom::model::Builder::new();
    // Every limit set here, so that no LOOM_* variable of the caller ends a search early and calls it a success.
    model.preemption_bound = bound(scenario);
    model.max_branches = 5_000;
    model.max_permutations = None;
    model.max_duration = None;
    model.checkpoint_file = None;
    model.check(|| {
        EXECUTIONS.fetch_add(1, Ordering::Relaxed);
        TABLE.with_borrow_mut(Table::begin_execution);
        super::sync::shadow::begin_execution();
        (scenario.run)(1);
    });
    TABLE.take()
}
