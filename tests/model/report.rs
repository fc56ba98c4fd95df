//! One structure: its scenarios, then its mutants, printed as they are judged.

use super::children::{Answer, End, run};
use super::explore::{Order, bound};
use super::mutate::{Change, Role, Shown, Site, Whim, World, mutants};
use super::scenarios::{Scenario, Structure};
use super::survivors::{SURVIVORS, Survivor};
use super::verdict::{self, Fate, Outcome, class, excuse};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// What became of a structure's mutants.
pub struct Score {
    pub path: &'static str,
    pub outcomes: Vec<Outcome>,
    /// Executions of its scenarios, as written and with each mutant.
    pub executions: usize,
    pub took: Duration,
    /// Everything that is not as it should be.
    pub complaints: Vec<String>,
}

impl Score {
    pub fn killed(&self) -> usize {
        self.outcomes.iter().filter(|o| o.fate == Fate::Killed).count()
    }

    /// The survivors that have a reason.
    pub fn reviewed(&self) -> Vec<(&Outcome, &'static Survivor)> {
        let survivors = self.outcomes.iter().filter(|o| o.fate == Fate::Survived);
        survivors.filter_map(|o| Some((o, excuse(self.path, o, SURVIVORS)?))).collect()
    }
}

/// The score of all, in a few lines that a test run shows whether it passes or not.
pub fn summary(scores: &[Score]) {
    let sum = |f: fn(&Score) -> usize| scores.iter().map(f).sum::<usize>();
    let (mutants, killed) = (sum(|s| s.outcomes.len()), sum(Score::killed));
    let mut text = format!(
        "\nmutation score: {killed} of {mutants} mutants of {} structures killed, in {} executions\n",
        scores.len(),
        sum(|s| s.executions)
    );
    for score in scores {
        for (outcome, excuse) in score.reviewed() {
            let (path, change, class) = (score.path, &outcome.change, class(excuse.class));
            text +=
                &format!("  survives ({class}): {path}: `{}`, {change}: {}\n", outcome.code, excuse.reason);
        }
    }
    let mut slowest: Vec<&Score> = scores.iter().collect();
    slowest.sort_by_key(|s| std::cmp::Reverse(s.took));
    let slowest: Vec<String> = slowest
        .iter()
        .take(3)
        .map(|s| format!("{} {:.1} s, {} executions", s.path, s.took.as_secs_f64(), s.executions))
        .collect();
    text += &format!("  longest: {}\n", slowest.join("; "));
    // Past the capture of the test harness, which would show it only of a test that fails.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Explores, prints and scores.
pub fn structure(s: &Structure) -> Score {
    let started = Instant::now();
    let path = crate::root().join(crate::scenarios::source(s.path));
    let source = fs::read_to_string(path).expect("the structure's source");
    let source: Vec<&str> = source.lines().map(str::trim).collect();
    println!("\n{}", s.path);
    let (outcomes, executions, complaints) = match scenarios(s) {
        Err(failures) => (Vec::new(), 0, failures),
        Ok((sites, as_written)) => {
            let mut complaints = unreached(s, &source, &sites);
            complaints.extend(other_emulation(s, &sites));
            let (outcomes, executions) = weakened(s, &source, &sites);
            complaints.extend(verdict::complaints(s.path, &outcomes, SURVIVORS));
            (outcomes, as_written + executions, complaints)
        }
    };
    Score { path: s.path, outcomes, executions, took: started.elapsed(), complaints }
}

/// Every scenario, in a friendly world, and in two hostile ones if it has a step at which they differ; the sites they reached and the
/// executions, or what failed.
fn scenarios(s: &Structure) -> Result<(BTreeMap<Site, Ordering>, usize), Vec<String>> {
    let order = |scenario: &Scenario, world| Order {
        structure: s.path,
        scenario: Some(scenario.name),
        world,
        mutant: None,
        told: false,
    };
    let all: Vec<Order> = s.scenarios.iter().map(|c| order(c, World::default())).collect();
    let friendly = run(&all);
    let whims = [
        (Whim::First, ", with spurious wake-ups and CAS failures on the first visit to each place"),
        (Whim::Second, ", with spurious wake-ups and CAS failures on the second visit to each place"),
    ];
    let tricky: Vec<usize> = (0..all.len()).filter(|i| friendly[*i].tricky).collect();
    let hostile: Vec<Order> = tricky
        .iter()
        .flat_map(|i| whims.map(|(whim, _)| order(&s.scenarios[*i], World::hostile(whim))))
        .collect();
    let unfriendly_answers = run(&hostile);
    let mut unfriendly: BTreeMap<usize, &[Answer]> =
        tricky.into_iter().zip(unfriendly_answers.chunks(whims.len())).collect();
    let mut failures = Vec::new();
    for (i, (scenario, answer)) in s.scenarios.iter().zip(&friendly).enumerate() {
        let hostile = unfriendly.remove(&i).unwrap_or_default();
        let worlds = std::iter::once("").chain(whims.map(|(_, words)| words));
        for (world, answer) in worlds.zip(std::iter::once(answer).chain(hostile)) {
            let what = format!("{}, scenario {}{world}", s.path, scenario.name);
            match &answer.end {
                End::Passed => {}
                End::Failed { message, .. } => {
                    failures.push(format!("{what}: failed in execution {}: {message}", answer.executions));
                }
                End::TimedOut => {
                    failures.push(format!("{what}: over the time limit: make it smaller, or bound it"))
                }
            }
        }
        let search = match bound(scenario) {
            None => "complete".to_owned(),
            Some(bound) => format!("explored up to {bound} preemptions"),
        };
        let (friendly, hostile) = (answer.executions, hostile.iter().map(|a| a.executions).sum::<usize>());
        println!(
            "  {:20} {friendly:>7} + {hostile:>6} executions, {search}: {}",
            scenario.name, scenario.oracle
        );
    }
    if !failures.is_empty() {
        return Err(failures);
    }
    let answers: Vec<Answer> = friendly.into_iter().chain(unfriendly_answers).collect();
    let executions = answers.iter().map(|a| a.executions).sum();
    Ok((answers.into_iter().flat_map(|a| a.sites).collect(), executions))
}

/// A structure with a SeqCst access must stand under the other emulation of it as well: see the head of `sync.rs`.
fn other_emulation(s: &Structure, sites: &BTreeMap<Site, Ordering>) -> Vec<String> {
    if !sites.iter().any(|(site, written)| *written == Ordering::SeqCst && site.role != Role::Fence) {
        return Vec::new();
    }
    let world = World { leading_fence: true, ..World::default() };
    let order = Order { structure: s.path, scenario: None, world, mutant: None, told: false };
    match run(&[order]).remove(0).end {
        End::Passed => Vec::new(),
        end => vec![format!("{}: with a fence before each SeqCst load: {end:?}", s.path)],
    }
}

/// An atomic step that no scenario reaches has no mutants: it must not count as proven.
fn unreached(s: &Structure, source: &[&str], sites: &BTreeMap<Site, Ordering>) -> Vec<String> {
    const STEPS: [&str; 12] = [
        ".load(",
        ".store(",
        ".swap(",
        ".compare_exchange(",
        ".compare_exchange_weak(",
        ".fetch_",
        "fence(",
        "futex::wait(",
        "futex::wait_until(",
        "futex::wake_one(",
        "futex::wake_all(",
        ".unpark(",
    ];
    let mut complaints = Vec::new();
    for (code, line) in source.iter().zip(1..) {
        let is_step = !code.starts_with("//") && STEPS.iter().any(|step| code.contains(step));
        if is_step && !sites.keys().any(|site| site.line == line) {
            complaints.push(format!(
                "{}:{line}: `{code}` is reached by no scenario",
                crate::scenarios::source(s.path)
            ));
        }
    }
    complaints
}

/// Every mutant of every site, each against all scenarios until one kills it; and the executions.
fn weakened(s: &Structure, source: &[&str], sites: &BTreeMap<Site, Ordering>) -> (Vec<Outcome>, usize) {
    let all: Vec<(Site, Ordering, Change)> = sites
        .iter()
        .flat_map(|(site, written)| {
            mutants(*site, *written).into_iter().map(|change| (*site, *written, change))
        })
        .collect();
    let orders: Vec<Order> = all
        .iter()
        .map(|(site, _, change)| Order {
            structure: s.path,
            scenario: None,
            world: World::default(),
            mutant: Some((*site, *change)),
            told: false,
        })
        .collect();
    let (mut outcomes, mut executions) = (Vec::new(), 0);
    for ((site, written, change), answer) in all.iter().zip(run(&orders)) {
        executions += answer.executions;
        let outcome = outcome(source, *site, *written, *change, &answer);
        println!("  {}", line(s, *site, &outcome, &answer));
        outcomes.push(outcome);
    }
    let count = |fate| outcomes.iter().filter(|o| o.fate == fate).count();
    println!(
        "  {}: {} sites, {} mutants, {} killed, {} survived, {} undecided",
        s.path,
        sites.len(),
        outcomes.len(),
        count(Fate::Killed),
        count(Fate::Survived),
        count(Fate::Undecided)
    );
    (outcomes, executions)
}

fn outcome(source: &[&str], site: Site, written: Ordering, change: Change, answer: &Answer) -> Outcome {
    Outcome {
        code: source.get(site.line as usize - 1).copied().unwrap_or_default().to_owned(),
        change: Shown(site, written, change).to_string(),
        fate: match answer.end {
            End::Passed => Fate::Survived,
            End::Failed { .. } => Fate::Killed,
            End::TimedOut => Fate::Undecided,
        },
    }
}

fn line(s: &Structure, site: Site, outcome: &Outcome, answer: &Answer) -> String {
    let how = match &answer.end {
        End::Failed { scenario, message } => {
            format!("{scenario}: {}", message.chars().take(60).collect::<String>())
        }
        End::TimedOut => String::new(),
        End::Passed => match excuse(s.path, outcome, SURVIVORS) {
            Some(excuse) => format!("{}: {}", class(excuse.class), excuse.reason),
            None => "no reason listed".to_owned(),
        },
    };
    let fate = match outcome.fate {
        Fate::Killed => "killed",
        Fate::Survived => "SURVIVED",
        Fate::Undecided => "UNDECIDED",
    };
    let place = format!("{}.rs:{}", s.path, site.line);
    format!("{fate:9} {place:18} {:36} {:>7} executions  {how}", outcome.change, answer.executions)
}
