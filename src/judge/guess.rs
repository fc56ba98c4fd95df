//! A reader's guess against the result, and how well guesses do over time. Pure: records in, sentences and counts out.
//!
//! A number that is a guess stands for the range from half to double of it; whoever knows better gives a range. A truth is the
//! whole interval over launches, so a guess is inside, outside, or it can't be told; what may not be quoted is no truth to hold a
//! guess against.
use crate::{
    judge::{Compared, compare, enough_launches, not_quotable},
    lab::{Lab, Predict, Step, sample::AA},
    record::{Guess, Prediction, Record, find, runs_of},
    words::{escape, number},
};

/// How a guess came out.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Score {
    /// The truth lies inside of the guess.
    Inside,
    /// It lies outside.
    Outside,
    /// Nobody can say, and why.
    CannotTell(String),
}

/// A guess held against its run.
#[derive(Clone, Debug, PartialEq)]
pub struct Reveal {
    /// For the reader: the guess, the result, how many times off.
    pub text: String,
    /// What counts.
    pub score: Score,
    /// How many times off a number was: 1 inside of the range; `None` for choices, and where a zero is involved.
    pub off_ratio: Option<f64>,
}

/// The contenders a reader may choose from: `empty` measures the harness.
pub fn choices(step: &Step) -> Vec<&'static str> {
    step.cases().iter().copied().filter(|c| *c != "empty").collect()
}

/// Understands an answer to the step's question: for a choice its name, a part of it, or its number in [`choices`]; for a number `100`, `1.5 us`,
/// or a range `50..200`, `50 - 200 ns` (a unit behind the range is meant for both ends).
pub fn understood(step: &Step, answer: &str) -> Option<Guess> {
    let answer = answer.trim();
    match step.predict {
        Predict::Best { .. } => {
            let choices = choices(step);
            let by_number = answer.parse::<usize>().ok().and_then(|i| choices.get(i.checked_sub(1)?));
            let plain = |text: &str| text.to_lowercase();
            let called = |c: &&&str| {
                plain(c) == plain(answer) || plain(&super::name::variant(step, c)) == plain(answer)
            };
            // A part of a name is enough, if it is in one name only.
            let mut parts = choices.iter().filter(|c| {
                answer.parse::<f64>().is_err()
                    && !answer.is_empty()
                    && plain(&super::name::variant(step, c)).contains(&plain(answer))
            });
            let only = parts.next().filter(|_| parts.next().is_none());
            by_number.or_else(|| choices.iter().find(called)).or(only).map(|c| Guess::Case((*c).into()))
        }
        Predict::Number { .. } => {
            let ends = ["..", "-", " to "].iter().find_map(|between| answer.split_once(between));
            let Some((from, to)) = ends else {
                return number::read(step.headline, answer).map(Guess::Number);
            };
            let to_value = number::read(step.headline, to)?;
            let unit =
                to.trim().trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '_' | ','));
            let alone = from.trim().ends_with(|c: char| c.is_ascii_digit());
            let from = if alone { format!("{from}{unit}") } else { from.to_string() };
            let from_value = number::read(step.headline, &from)?;
            (from_value <= to_value).then_some(Guess::Range(from_value, to_value))
        }
    }
}

/// What a step asks for: case (empty: which one is best) and parameter.
pub fn asked(step: &Step) -> (&'static str, &'static str) {
    match step.predict {
        Predict::Number { case, param } => (case, param),
        Predict::Best { param } => ("", param),
    }
}

/// Holds a prediction against the records of its run.
pub fn reveal(step: &Step, prediction: &Prediction, records: &[Record]) -> Reveal {
    match &prediction.guess {
        Guess::Number(v) => against_number(prediction, (v / 2.0, v * 2.0), Some(*v), records),
        Guess::Range(lo, hi) => against_number(prediction, (*lo, *hi), None, records),
        Guess::Case(case) => against_best(step, prediction, case, records),
    }
}

fn cannot(text: String, why: impl Into<String>) -> Reveal {
    Reveal { text, score: Score::CannotTell(why.into()), off_ratio: None }
}

fn against_number(p: &Prediction, (lo, hi): (f64, f64), point: Option<f64>, records: &[Record]) -> Reveal {
    let none =
        |why: String| cannot(format!("There is no number to hold your prediction against: {why}."), why);
    let Some(record) = find(records, &p.run, &p.case, &p.param) else {
        return none("the run is not in the store".into());
    };
    let Some(truth) = record.interval_of(&p.value) else {
        return none(escape::line(record.unmeasured().unwrap_or("it was not measured")));
    };
    let said = match point {
        Some(v) => number::value(&p.value, v),
        None => format!("{} to {}", number::value(&p.value, lo), number::value(&p.value, hi)),
    };
    // Not `clamp`, which panics at a range from more to less: whoever made this prediction may have made that, too.
    let nearest = point.unwrap_or_else(|| truth.mid.max(lo).min(hi));
    let off_ratio =
        (nearest > 0.0 && truth.mid > 0.0).then(|| (nearest / truth.mid).max(truth.mid / nearest));
    let was = number::interval(&p.value, &truth);
    let off = match off_ratio {
        None if nearest.total_cmp(&truth.mid).is_eq() => ": exactly".into(),
        // Of zero nothing is a multiple.
        None => String::new(),
        Some(off) => format!(": {off:.1} times off"),
    };
    let mut text = format!("You said {said}, it was {was}{off}.");
    let score = if let Some(why) = not_quotable(record).or_else(|| enough_launches(record, &p.value).err()) {
        text.push_str(&format!(
            " That number may not be quoted, so it does not count: {}.",
            escape::line(&why)
        ));
        Score::CannotTell(why)
    } else if lo <= truth.lo && truth.hi <= hi {
        Score::Inside
    } else if truth.hi < lo || hi < truth.lo {
        Score::Outside
    } else {
        Score::CannotTell("the interval goes beyond the guess".into())
    };
    Reveal { text, score, off_ratio }
}

fn against_best(step: &Step, p: &Prediction, guessed: &str, records: &[Record]) -> Reveal {
    let none = |why: &str| cannot(format!("There is no number to hold your prediction against: {why}."), why);
    let mut row: Vec<(&Record, f64)> = records
        .iter()
        .filter(|r| {
            r.run == p.run && r.step == p.step && r.param == p.param && r.case != AA && r.case != "empty"
        })
        .filter_map(|r| Some((r, r.interval_of(&p.value)?.mid)))
        .collect();
    row.sort_by(|a, b| if more_is_better(&p.value) { b.1.total_cmp(&a.1) } else { a.1.total_cmp(&b.1) });
    let at = super::name::at(step, &p.param);
    let Some((best, _)) = row.first() else { return none("nothing was measured") };
    let guessed_name = super::name::variant(step, guessed);
    let Some((mine, _)) = row.iter().find(|(r, _)| r.case == guessed) else {
        return none(&format!("{guessed_name} was not measured"));
    };
    let best_name = super::name::variant(step, &best.case);
    let doubt = [*mine, *best].into_iter().find_map(not_quotable);
    let (text, score) = if best.case == guessed {
        (format!("You said {guessed_name}{at}, and it was."), Score::Inside)
    } else {
        match compare(step, records, (best, &p.value), (mine, &p.value)) {
            Compared::NoDifference { .. } => (
                format!(
                    "You said {guessed_name}{at}; {best_name} came out first, but no difference is shown between the two."
                ),
                Score::Inside,
            ),
            Compared::Differs { ratio, .. } => {
                let off = ratio.mid.max(1.0 / ratio.mid);
                (
                    format!("You said {guessed_name}{at}; it was {best_name}: {off:.1} times off."),
                    Score::Outside,
                )
            }
            Compared::Cannot(why) => (
                format!(
                    "You said {guessed_name}{at}; {best_name} came out first, but the two cannot be compared: {}.",
                    escape::line(&why)
                ),
                Score::CannotTell(why),
            ),
        }
    };
    match doubt {
        None => Reveal { text, score, off_ratio: None },
        Some(why) => {
            let more = " That may not be quoted, so it does not count: ";
            Reveal {
                text: format!("{text}{more}{}.", escape::line(&why)),
                score: Score::CannotTell(why),
                off_ratio: None,
            }
        }
    }
}

/// The newest run that a guess of this step can be held against; `None` if no run gave a number that may be quoted.
pub fn answerable<'a>(lab: &Lab, step: &Step, records: &'a [Record]) -> Option<&'a str> {
    let usable = |r: &&Record| not_quotable(r).is_none() && enough_launches(r, step.headline).is_ok();
    let (case, param) = asked(step);
    let told = |run: &&str| match step.predict {
        Predict::Number { .. } => find(records, run, case, param).filter(usable).is_some(),
        Predict::Best { .. } => {
            choices(step).iter().all(|c| find(records, run, c, param).filter(usable).is_some())
        }
    };
    runs_of(records, lab.stem, step.name).into_iter().find(told)
}

/// More is better for rates and for the share that was answered. For anything else that is asked so (times), less.
pub fn more_is_better(value: &str) -> bool {
    value.ends_with("_per_s") || value == "answered_after_share"
}

/// How often the truth was inside of the guess.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Tally {
    /// Guesses whose truth lay inside.
    pub inside_count: usize,
    /// Guesses whose truth lay outside.
    pub outside_count: usize,
    /// Guesses that nothing can be said of.
    pub untold_count: usize,
}

impl Tally {
    fn add(&mut self, score: &Score) {
        match score {
            Score::Inside => self.inside_count += 1,
            Score::Outside => self.outside_count += 1,
            Score::CannotTell(_) => self.untold_count += 1,
        }
    }
    /// Guesses that count.
    pub fn told_count(&self) -> usize {
        self.inside_count + self.outside_count
    }
}

/// The tally of each day on which something was predicted, oldest first, and of all days. A step that is gone from the labs cannot be told.
pub fn calibration(
    labs: &[&'static Lab],
    predictions: &[Prediction],
    records: &[Record],
) -> (Vec<(String, Tally)>, Tally) {
    let (mut days, mut all): (Vec<(String, Tally)>, Tally) = (Vec::new(), Tally::default());
    for p in predictions {
        let step =
            labs.iter().find(|l| l.stem == p.lab).and_then(|l| l.steps.iter().find(|s| s.name == p.step));
        let score = step.map_or_else(
            || Score::CannotTell("this version has no such step".into()),
            |step| reveal(step, p, records).score,
        );
        let day = escape::line(p.at.split('T').next().unwrap_or(&p.at));
        if !days.iter().any(|(d, _)| *d == day) {
            days.push((day.clone(), Tally::default()));
        }
        if let Some((_, tally)) = days.iter_mut().find(|(d, _)| *d == day) {
            tally.add(&score);
        }
        all.add(&score);
    }
    days.sort_by(|a, b| a.0.cmp(&b.0));
    (days, all)
}
