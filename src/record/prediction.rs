//! What a reader said before the run: one JSON line a prediction, in a file of its own beside the records.
//!
//! It names what was asked, so that it can be held against its run however the lab changes later; the truth is not in it, but in
//! the records of that run.
use std::{fs, io};

use serde::{Deserialize, Serialize};

use super::{SCHEMA, Store, StoreError, file};

/// The file in the store. With a hyphen, which no lab's name may have: a reader of records leaves it alone.
const FILE: &str = "your-predictions.jsonl";

/// What was guessed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Guess {
    /// One number, in the unit of the value's suffix.
    Number(f64),
    /// From, to.
    Range(f64, f64),
    /// The case that would come out best.
    Case(String),
}

impl Guess {
    /// False for what nobody can have meant: a range from more to less, or a number that is none.
    fn is_sound(&self) -> bool {
        match self {
            Self::Number(v) => v.is_finite(),
            Self::Range(lo, hi) => lo.is_finite() && hi.is_finite() && lo <= hi,
            Self::Case(_) => true,
        }
    }
}

/// A guess, what it answered, and the run it was made for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// As in [`super::Record`].
    pub schema: u32,
    /// When it was made, UTC, RFC 3339.
    pub at: String,
    /// Lab, step, parameter and value that were asked for; `case` is empty where the best case was asked for.
    pub lab: String,
    #[allow(missing_docs, reason = "see `lab`")]
    pub step: String,
    #[allow(missing_docs, reason = "see `lab`")]
    pub case: String,
    #[allow(missing_docs, reason = "see `lab`")]
    pub param: String,
    #[allow(missing_docs, reason = "see `lab`")]
    pub value: String,
    /// The guess.
    pub guess: Guess,
    /// The reader's reason; may be empty.
    pub why: String,
    /// The run that it is held against.
    pub run: String,
    /// False if it was made before the run; true if the quiz asked what the reader remembers of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recalled: bool,
}

impl Store {
    /// Keeps a prediction; safe beside other writers, as [`Store::append`].
    ///
    /// # Errors
    /// If the folder or file cannot be written.
    pub fn predict(&self, prediction: &Prediction) -> Result<(), StoreError> {
        let path = self.dir().join(FILE);
        let at = |action, reason| StoreError { path: path.clone(), action, reason };
        let mut line = serde_json::to_string(prediction).map_err(|e| at("append to", io::Error::other(e)))?;
        line.push('\n');
        fs::create_dir_all(self.dir()).map_err(|e| at("create the folder of", e))?;
        file::append(&path, &line).map_err(|e| at("append to", e))
    }

    /// The predictions in the order in which they were made, and how many lines could not be read (damaged, or of a newer
    /// version). None if there is no file.
    ///
    /// # Errors
    /// If the file is there but cannot be read.
    pub fn predictions(&self) -> Result<(Vec<Prediction>, usize), StoreError> {
        let path = self.dir().join(FILE);
        let bytes = file::read(&path).map_err(|reason| StoreError { path, action: "read", reason })?;
        let bytes = bytes.unwrap_or_default();
        let lines = bytes.split(|b| *b == b'\n').filter(|l| !l.trim_ascii().is_empty());
        let (mut known, mut skipped) = (Vec::new(), 0);
        for line in lines {
            match serde_json::from_slice::<Prediction>(line) {
                Ok(p) if p.schema <= SCHEMA && p.guess.is_sound() => known.push(p),
                _ => skipped += 1,
            }
        }
        Ok((known, skipped))
    }
}
