//! Verdicts that come with a test: a `Result:`, `RC11:` or `TSO:` comment, herd7's output beside the file, or a list of rows `path,0` and `path,1`.
use std::{fmt, path::Path};

use super::{
    condition::Condition,
    program::{Dialect, Outcomes},
};

/// How often the claim of a test is true in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observation {
    /// In no execution.
    Never,
    /// In some.
    Sometimes,
    /// In each.
    Always,
}

impl Observation {
    /// What a set of outcomes says.
    pub fn of(outcomes: &Outcomes, condition: &Condition) -> Self {
        let counted = || outcomes.iter().filter(|o| condition.filter.holds(o));
        let holds = |o: &&Vec<i64>| condition.claim.holds(o);
        match (counted().any(|o| holds(&o)), counted().all(|o| holds(&o))) {
            (false, _) => Self::Never,
            (true, false) => Self::Sometimes,
            (true, true) => Self::Always,
        }
    }

    fn read(word: &str) -> Option<Self> {
        match word.trim_matches(|c: char| !c.is_alphabetic()).to_lowercase().as_str() {
            "never" => Some(Self::Never),
            "sometimes" => Some(Self::Sometimes),
            "always" => Some(Self::Always),
            _ => None,
        }
    }
}

impl fmt::Display for Observation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Never => "never",
            Self::Sometimes => "sometimes",
            Self::Always => "always",
        })
    }
}

/// The model that a stated verdict speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// C11's, repaired.
    Rc11,
    /// x86's.
    Tso,
    /// The Linux kernel's, which we do not have.
    Kernel,
}

impl By {
    /// The model of a dialect.
    pub fn of(dialect: Dialect) -> Self {
        match dialect {
            Dialect::C11 => Self::Rc11,
            Dialect::Kernel => Self::Kernel,
            Dialect::X86 => Self::Tso,
        }
    }
}

/// A verdict that somebody states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stated {
    /// Of which model.
    pub by: By,
    /// What it says.
    pub says: Says,
}

/// What a stated verdict says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// How often the claim is true.
    Claim(Observation),
    /// Whether the whole condition is met.
    Condition(bool),
}

impl Stated {
    /// Whether a complete set of outcomes agrees.
    pub fn agrees(&self, outcomes: &Outcomes, condition: &Condition) -> bool {
        match self.says {
            Says::Claim(said) => Observation::of(outcomes, condition) == said,
            Says::Condition(met) => {
                let mut counted = outcomes.iter().filter(|o| condition.filter.holds(o));
                condition.is_met(counted.any(|o| condition.asks_for(o))) == met
            }
        }
    }

    /// Whether it says that the outcome in question never happens.
    pub fn forbids(&self, condition: &Condition) -> bool {
        use super::condition::Quantifier::Forall;
        match self.says {
            Says::Claim(Observation::Never) => condition.quantifier != Forall,
            Says::Claim(Observation::Always) => condition.quantifier == Forall,
            Says::Claim(Observation::Sometimes) => false,
            Says::Condition(met) => condition.is_met(true) != met,
        }
    }
}

/// The verdicts in the comments of a file: `RC11: Never`, `TSO: Sometimes`; and `Result: Never`, which is how the kernel's tests state theirs.
pub fn in_comments(text: &str, dialect: Dialect) -> Vec<Stated> {
    let after = |key: &str| {
        let found = text.lines().find_map(|line| line.split_once(key).map(|(_, rest)| rest))?;
        Observation::read(found.split_whitespace().next()?)
    };
    let stated = |by, says: Option<Observation>| says.map(|o| Stated { by, says: Says::Claim(o) });
    let own = stated(By::of(dialect), after("Result:"));
    own.into_iter().chain(stated(By::Rc11, after("RC11:"))).chain(stated(By::Tso, after("TSO:"))).collect()
}

/// The verdict in herd7's output: `Observation SB Sometimes 1 3`.
pub fn in_output(text: &str, dialect: Dialect) -> Option<Stated> {
    let line = text.lines().find_map(|l| l.trim().strip_prefix("Observation "))?;
    let says = line.split_whitespace().find_map(Observation::read)?;
    Some(Stated { by: By::of(dialect), says: Says::Claim(says) })
}

/// Rows `path,0` (the condition is not met) and `path,1` (it is).
#[derive(Clone, Debug, Default)]
pub struct List(Vec<(Vec<String>, bool)>);

/// A row that is none, by its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadRow(pub usize);

impl fmt::Display for BadRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: no row 'path,0' or 'path,1'", self.0)
    }
}

impl std::error::Error for BadRow {}

impl List {
    /// Reads rows; empty lines and lines that begin with # do not count.
    ///
    /// # Errors
    /// At the first line that is no row.
    pub fn read(text: &str) -> Result<Self, BadRow> {
        let mut rows = Vec::new();
        for (i, line) in text.lines().enumerate().map(|(i, l)| (i, l.trim())) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (path, met) = match line.rsplit_once(',').map(|(path, met)| (path, met.trim())) {
                Some((path, "0")) => (path, false),
                Some((path, "1")) => (path, true),
                _ => return Err(BadRow(i + 1)),
            };
            rows.push((path.trim().split('/').map(str::to_string).collect(), met));
        }
        Ok(Self(rows))
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True without rows.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the list says of this file. Its row's path need only end as the file's does, or begin further up: the row that shares most counts.
    pub fn of(&self, path: &Path, dialect: Dialect) -> Option<Stated> {
        let own: Vec<String> = path.iter().map(|p| p.to_string_lossy().into_owned()).collect();
        let shared =
            |row: &[String]| row.iter().rev().zip(own.iter().rev()).take_while(|(a, b)| a == b).count();
        let best = self.0.iter().max_by_key(|(row, _)| shared(row)).filter(|(row, _)| shared(row) > 0)?;
        Some(Stated { by: By::of(dialect), says: Says::Condition(best.1) })
    }
}
