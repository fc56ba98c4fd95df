//! The report that a reader of the source asks for: of each ordering the one that is written, the weakest that passes, and the
//! execution that breaks the next weaker one, a column for each thread.

use super::children::{End, run};
use super::explore::Order;
use super::mutate::{Change, Role, Shown, Site, World, mutants};
use super::scenarios::{self, Structure};
use std::env;
use std::fs;
use std::path::Path;

/// The structures that the words of the command line name (`ticket`, `lock/ticket`), or else `UNDERHOOD_MODEL_ONLY`; all if
/// neither names one. The test harness takes the same words for names of tests, of which none is called like a structure.
pub fn wanted() -> Vec<&'static Structure> {
    let mut words: Vec<String> = env::args().skip(1).collect();
    words.extend(env::var("UNDERHOOD_MODEL_ONLY"));
    let named = |s: &&Structure| words.iter().any(|w| w == s.path || s.path.ends_with(&format!("/{w}")));
    let some: Vec<_> = scenarios::ALL.iter().filter(named).collect();
    if some.is_empty() { scenarios::ALL.iter().collect() } else { some }
}

/// Prints one structure.
pub fn orders(s: &Structure) {
    let path = crate::root().join(crate::scenarios::source(s.path));
    let source = fs::read_to_string(path).expect("the structure's source");
    let source: Vec<&str> = source.lines().map(str::trim).collect();
    let order =
        |scenario, mutant, told| Order { structure: s.path, scenario, world: World::default(), mutant, told };
    println!("\n{}: written, the weakest that passes, and what breaks the next weaker one", s.path);
    for (site, written) in run(&[order(None, None, false)]).remove(0).sites {
        if matches!(site.role, Role::Wait | Role::WakeOne | Role::WakeAll | Role::Unpark) {
            continue; // no ordering
        }
        let changes: Vec<Change> =
            mutants(site, written).into_iter().filter(|change| matches!(change, Change::To(_))).collect();
        let orders: Vec<Order> = changes.iter().map(|c| order(None, Some((site, *c)), false)).collect();
        let answers = run(&orders);
        // The mildest change comes first: the weakest that passes is the last of those that do.
        let passes = answers.iter().rposition(|a| matches!(a.end, End::Passed));
        let weakest = passes.map_or(format!("{written:?}"), |i| to(changes[i]));
        let code = source.get(site.line as usize - 1).copied().unwrap_or_default();
        println!("\n  {:4} {code}", site.line);
        println!("       {:?}: {written:?} is written, {weakest} is the weakest that passes", site.role);
        let broken = changes.iter().zip(&answers).skip(passes.map_or(0, |i| i + 1));
        match broken.into_iter().next() {
            None => println!("       nothing is weaker"),
            Some((change, answer)) => {
                println!("       {}", Shown(site, written, *change));
                let End::Failed { scenario, .. } = &answer.end else {
                    println!("       over the time limit");
                    continue;
                };
                show(s, site, *change, scenario, &order);
            }
        }
    }
}

fn to(change: Change) -> String {
    match change {
        Change::To(weaker) => format!("{weaker:?}"),
        other => format!("{other:?}"),
    }
}

/// Runs the mutant once more, in the scenario that it failed, and shows the execution.
fn show(
    s: &Structure,
    site: Site,
    change: Change,
    scenario: &str,
    order: &dyn Fn(Option<&'static str>, Option<(Site, Change)>, bool) -> Order,
) {
    let Some(scenario) = s.scenarios.iter().find(|one| one.name == scenario) else {
        println!("       it crashed: there is no execution to show");
        return;
    };
    let answer = run(&[order(Some(scenario.name), Some((site, change)), true)]).remove(0);
    if let End::Failed { message, .. } = &answer.end {
        println!("       fails {} ({}) in execution {}:", scenario.name, scenario.oracle, answer.executions);
        print!("{}", columns(&answer.steps, scenario.threads));
        println!("         => {}", message.chars().take(100).collect::<String>());
    }
}

/// Steps from top to bottom as they happened, each under its thread; only the last ones, if there are many.
pub fn columns(steps: &[(usize, String)], threads: usize) -> String {
    const LAST: usize = 40;
    const MARGIN: usize = 9;
    let width = steps.iter().map(|(_, what)| what.chars().count()).max().unwrap_or(0).clamp(10, 60) + 2;
    let mut text = " ".repeat(MARGIN);
    for thread in 0..threads {
        let name = if thread == 0 { "main".to_owned() } else { format!("thread {thread}") };
        text += &format!("{name:width$}");
    }
    text = text.trim_end().to_owned() + "\n";
    let skipped = steps.len().saturating_sub(LAST);
    if skipped > 0 {
        text += &format!("{}... {skipped} steps before\n", " ".repeat(MARGIN));
    }
    for (thread, what) in &steps[skipped..] {
        text += &format!("{}{what}\n", " ".repeat(MARGIN + thread * width));
    }
    text
}
