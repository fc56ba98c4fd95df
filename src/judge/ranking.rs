//! Who comes first in a run, by how much, and where along an axis the order turns. Pure: records in, places out.
use crate::{
    judge::{Compared, compare, enough_launches, guess::more_is_better, not_quotable},
    lab::{Step, sample::AA},
    record::{Record, aa_band, find},
    stats::Interval,
};

/// A contender in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Place<'a> {
    /// Its record.
    pub record: &'a Record,
    /// Its headline.
    pub value: Interval,
    /// Against the first; `None` for the first itself.
    pub against_first: Option<Compared>,
    /// From 1. Who is not shown to differ from the first shares its place.
    pub place: usize,
}

/// All contenders of a run at a parameter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ranking<'a> {
    /// From first to last, by the middle of their intervals.
    pub places: Vec<Place<'a>>,
    /// Those without a number, and why.
    pub absent: Vec<(&'a str, String)>,
    /// The smallest difference that the run may claim, as a logarithm; `None` without an A/A row.
    pub band: Option<f64>,
    /// Why no place may be quoted: the first doubt of the first.
    pub doubt: Option<String>,
}

/// Ranks the contenders of a run by the step's headline. The empty loop is no contender.
pub fn rank<'a>(step: &Step, records: &'a [Record], run: &str, param: &str) -> Ranking<'a> {
    let value = step.headline;
    let (mut places, mut absent): (Vec<Place<'a>>, Vec<_>) = (Vec::new(), Vec::new());
    for case in step.cases().into_iter().filter(|c| *c != AA && *c != "empty") {
        let Some(record) = find(records, run, case, param) else { continue };
        match (enough_launches(record, value), record.interval_of(value)) {
            (Ok(()), Some(interval)) => {
                places.push(Place { record, value: interval, against_first: None, place: 1 });
            }
            (Err(why), _) => absent.push((record.case.as_str(), why)),
            (Ok(()), None) => absent.push((record.case.as_str(), format!("`{value}` gives no interval"))),
        }
    }
    let ahead = |a: &Place<'_>, b: &Place<'_>| b.value.mid.total_cmp(&a.value.mid);
    places.sort_by(|a, b| if more_is_better(value) { ahead(a, b) } else { ahead(b, a) });
    if let Some(first) = places.first().map(|p| p.record) {
        for place in &mut places[1..] {
            place.against_first = Some(compare(step, records, (place.record, value), (first, value)));
        }
    }
    for (i, place) in places.iter_mut().enumerate() {
        let is_first = matches!(place.against_first, None | Some(Compared::NoDifference { .. }));
        place.place = if is_first { 1 } else { i + 1 };
    }
    let doubt = places.first().and_then(|p| not_quotable(p.record));
    Ranking { places, absent, band: aa_band(records, run, param, value), doubt }
}

impl Ranking<'_> {
    /// Those that share the first place.
    pub fn firsts(&self) -> impl Iterator<Item = &Place<'_>> {
        self.places.iter().filter(|p| p.place == 1)
    }
}

/// Two contenders at one point of an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Along {
    /// Where.
    pub at: f64,
    /// The first one's headline over the other's.
    pub ratio: f64,
    /// Whether they were shown to differ there.
    pub shown: bool,
}

/// Where the order of two contenders turns along an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BreakEven {
    /// The first one's value is the larger one above this, and the smaller one below.
    Above(f64),
    /// The first one's value is the larger one below this, and the smaller one above.
    Below(f64),
    /// It is the larger one at every point where a difference was shown; so many points, and of how many.
    Larger(usize, usize),
    /// It is the smaller one at every point where a difference was shown.
    Smaller(usize, usize),
    /// At no point was a difference shown.
    NotShown,
    /// The order turns more than once.
    Often,
}

/// Finds the break-even between the two shown points around it: the logarithm of the ratio is taken for linear there, in the logarithm of
/// the axis or (`linear`) in the axis itself.
pub fn break_even(points: &[Along], linear: bool) -> BreakEven {
    let mut shown: Vec<&Along> = points.iter().filter(|p| p.shown && p.ratio > 0.0).collect();
    shown.sort_by(|a, b| a.at.total_cmp(&b.at));
    let turns: Vec<[&Along; 2]> =
        shown.windows(2).filter(|w| (w[0].ratio > 1.0) != (w[1].ratio > 1.0)).map(|w| [w[0], w[1]]).collect();
    match (&turns[..], shown.first()) {
        (_, None) => BreakEven::NotShown,
        ([], Some(first)) if first.ratio > 1.0 => BreakEven::Larger(shown.len(), points.len()),
        ([], Some(_)) => BreakEven::Smaller(shown.len(), points.len()),
        ([[a, b]], _) => {
            let share = a.ratio.ln() / (a.ratio.ln() - b.ratio.ln());
            let between = |a: f64, b: f64| a + share * (b - a);
            // Nothing at all is far below any time that can be asked for, and has no logarithm.
            let log = |at: f64| at.max(1.0).ln();
            let at = if linear { between(a.at, b.at) } else { between(log(a.at), log(b.at)).exp() };
            if b.ratio > 1.0 { BreakEven::Above(at) } else { BreakEven::Below(at) }
        }
        _ => BreakEven::Often,
    }
}
