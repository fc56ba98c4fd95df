//! The sentence that may be quoted, with everything a sceptic asks for; or why there is none.
use super::{origin, wrap};
use crate::words::{escape, number};
use crate::{
    judge::{Compared, compare, enough_launches, not_quotable, unequal_work},
    lab::{Lab, Launch, Pick, Say, Step},
    record::{Record, find, ratio, runs_of},
    stats::Interval,
};

/// What `underhood quote` prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// For people; ends with a line end.
    pub text: String,
    /// True if there is a sentence: exit code 0, else 3.
    pub quotable: bool,
    /// The ids of the records behind the sentences, for `underhood verify`.
    pub ids: Vec<String>,
}

/// A sentence with its numbers filled in.
pub(super) struct Sentence<'a> {
    pub(super) text: String,
    /// The record behind `{value}`, then the one behind `{against}` if that is another.
    pub(super) records: Vec<&'a Record>,
    /// False if it says that no difference was shown.
    differs: bool,
}

/// Above this band (25 %, as a logarithm) "no difference" says more about the run than about the contenders.
const COARSE: f64 = 0.223;
/// Columns of the text; labels take the first 15.
const WIDTH: usize = 80;
const LABEL: usize = 15;

/// The quote of a lab: of the sentences that it may say, best first, the first one that a run carries, by the newest such run;
/// then the others that are carried, those that show no difference last.
///
/// A sentence is carried by a run if both of its records are quotable, enough launches measured them, contenders did equal
/// work, and the A/A row is there. Where the ratio does not clear the A/A row, the sentence becomes that no difference was
/// shown: a result as quotable as any, unless the A/A row itself is apart by more than a quarter. A sentence without `{ratio}` may also be about a count against none: to 0 there is no ratio.
pub fn quote(lab: &Lab, records: &[Record]) -> Quote {
    render(lab, records, false)
}

/// The same for one page of several labs: the first sentence with what makes it quotable, and without the rest of its dossier.
pub fn brief(lab: &Lab, records: &[Record]) -> Quote {
    render(lab, records, true)
}

/// What [`brief`] shows of [`origin_of`].
const BRIEF: [&str; 5] = ["Not true when", "Grade", "Record", "Records", "Repeat"];

fn render(lab: &Lab, records: &[Record], brief: bool) -> Quote {
    let mut page = Page::default();
    if !brief {
        page.put("Question", lab.question);
    }
    let carried = match carried(lab, records) {
        Ok(carried) => carried,
        Err((step, why)) => {
            page.put("Say", "nothing: not quotable here.");
            page.put("Why", &escape::line(&why));
            let newest = runs_of(records, lab.stem, step).first().copied();
            if let Some(r) = records.iter().find(|r| Some(r.run.as_str()) == newest) {
                page.put("Grade", &origin::grade(&r.machine, r.kind));
                if !brief {
                    page.put("Machine", &origin::machine(&r.machine));
                    page.put("Measured", &escape::line(&r.at));
                }
            }
            page.put("Measure", &lab.command());
            return Quote { text: page.text, quotable: false, ids: Vec::new() };
        }
    };
    let shown = if brief { &carried[..1] } else { &carried[..] };
    let (say, best) = &shown[0];
    let mut facts = origin_of(say, best);
    facts.retain(|(label, _)| !brief || BRIEF.contains(label));
    page.put("Say", &best.text);
    for (label, text) in &facts {
        page.put(label, text);
    }
    if let Some(step) = lab.steps.iter().find(|s| s.name == say.step).filter(|_| !brief) {
        page.put("Why", &escape::line(&crate::judge::why(lab, step, records)));
    }
    // Another sentence may come from another run, machine or build: whatever differs is said again.
    for (also, sentence) in &shown[1..] {
        page.put("Also", &sentence.text);
        for (label, text) in origin_of(also, sentence).iter().filter(|fact| !facts.contains(fact)) {
            page.put(label, text);
        }
    }
    let mut ids: Vec<String> = Vec::new();
    for id in shown.iter().flat_map(|(_, s)| s.records.iter()).map(|r| escape::line(&r.id)) {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    if !brief {
        page.list("What these numbers do not allow anybody to say", &lab.not_said);
        page.list("They will ask next", &lab.next);
    }
    Quote { text: page.text, quotable: true, ids }
}

/// The sentences that the records carry, best first and at least one; else the step of the first sentence and why it is not.
pub(super) fn carried<'a>(
    lab: &'a Lab,
    records: &'a [Record],
) -> Result<Vec<(&'a Say, Sentence<'a>)>, (&'static str, String)> {
    let mut carried = Vec::new();
    let mut refused = None;
    for say in &lab.says {
        match newest(lab, say, records) {
            Ok(sentence) => carried.push((say, sentence)),
            Err(why) => refused = refused.or(Some((say.step, why))),
        }
    }
    if carried.is_empty() {
        return Err(refused.unwrap_or(("", "the lab has no sentence to say".into())));
    }
    // That no difference is shown may be said, but says less; the sort keeps the order of equals.
    carried.sort_by_key(|(_, sentence)| !sentence.differs);
    Ok(carried)
}

/// What a sceptic asks about a sentence, by label.
pub(super) fn origin_of(say: &Say, sentence: &Sentence<'_>) -> Vec<(&'static str, String)> {
    let r = sentence.records[0];
    let ids: Vec<String> = sentence.records.iter().map(|r| escape::line(&r.id)).collect();
    let launches = r.values(say.of.value).len();
    vec![
        ("Not true when", clause(say).to_string()),
        match &r.pooled {
            Some(pool) => (
                "Sessions",
                format!(
                    "{}; a bracket says where another session's value will fall, in 95 of 100",
                    pool.words()
                ),
            ),
            None => (
                "Sessions",
                format!(
                    "one, of {launches} launches; brackets are 95 % intervals over these launches, and another session may fall outside \
                     (`underhood soak` measures more)"
                ),
            ),
        },
        ("Grade", origin::grade(&r.machine, r.kind)),
        ("Machine", origin::machine(&r.machine)),
        ("Measured", escape::line(&r.at)),
        ("Build", origin::build(&r.machine)),
        ("Versions", origin::versions(&r.machine)),
        (if ids.len() == 1 { "Record" } else { "Records" }, ids.join(", ")),
        ("Repeat", escape::line(&r.command)),
    ]
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn put(&mut self, label: &str, text: &str) {
        self.text.push_str(&format!("{label:<LABEL$}{}\n", wrap(text, WIDTH, LABEL, LABEL)));
    }
    fn list(&mut self, heading: &str, items: &[&str]) {
        if !items.is_empty() {
            self.text.push_str(&format!("{heading}\n"));
        }
        for item in items {
            self.text.push_str(&format!("  - {}\n", wrap(item, WIDTH, 4, 4)));
        }
    }
}

/// The condition without the "when" that some conditions start with.
pub(super) fn clause(say: &Say) -> &'static str {
    say.not_true_when.strip_prefix("when ").unwrap_or(say.not_true_when)
}

/// The sentence by the newest run that carries it, or why the newest run does not.
fn newest<'a>(lab: &Lab, say: &Say, records: &'a [Record]) -> Result<Sentence<'a>, String> {
    let Some(step) = lab.steps.iter().find(|s| s.name == say.step) else {
        return Err(format!("the lab has no step {}", say.step));
    };
    if let Some(why) = step.withdrawn {
        return Err(format!("withdrawn: {why}"));
    }
    let mut first_refusal = None;
    for run in runs_of(records, lab.stem, step.name) {
        match sentence(step, say, records, run) {
            Ok(sentence) => return Ok(sentence),
            Err(why) => first_refusal = first_refusal.or(Some(why)),
        }
    }
    Err(first_refusal.unwrap_or_else(|| "not measured yet".into()))
}

/// The sentence by one run, or why the run does not carry it.
pub(super) fn sentence<'a>(
    step: &Step,
    say: &Say,
    records: &'a [Record],
    run: &str,
) -> Result<Sentence<'a>, String> {
    let of = quotable(records, run, &say.of)?;
    let value = number::interval(say.of.value, &shown(of, say.of.value)?);
    let launches = of.values(say.of.value).len().to_string();
    let mut text = say
        .text
        .replace("{threads}", &of.threads.to_string())
        .replace("{launches}", &launches)
        .replace("{value}", &value);
    let Some(pick) = say.against else {
        return Ok(Sentence { text, records: vec![of], differs: true });
    };
    let against = quotable(records, run, &pick)?;
    let other = number::interval(pick.value, &shown(against, pick.value)?);
    text = text.replace("{against}", &other);
    let compared = compare(step, records, (of, say.of.value), (against, pick.value));
    let without_ratio = !say.text.contains("{ratio}") && against_none(step, (of, &say.of), (against, &pick));
    let differs = without_ratio || matches!(compared, Compared::Differs { .. });
    match compared {
        Compared::Cannot(_) if without_ratio => {}
        Compared::Cannot(why) => return Err(why),
        Compared::Differs { ratio, .. } => {
            text = text.replace("{ratio}", &number::interval("ratio", &ratio));
        }
        Compared::NoDifference { band, .. } if band > COARSE => {
            return Err(format!(
                "too noisy to say: it could not have shown a difference under {}",
                number::band(band)
            ));
        }
        Compared::NoDifference { ratio, band } => {
            text = format!(
                "Between {}{} and {}{} this machine shows no difference in {}: {value} and {other}, ratio {}; this run \
                 could not have shown one under {}.",
                say.of.case,
                crate::words::at(say.of.param),
                pick.case,
                crate::words::at(pick.param),
                number::label(say.of.value),
                number::interval("ratio", &ratio),
                number::band(band)
            );
        }
    }
    let records = if std::ptr::eq(of, against) { vec![of] } else { vec![of, against] };
    Ok(Sentence { text, records, differs })
}

/// True if there is no ratio because the other is 0, and the two differ all the same. Only where no A/A row is asked for: a small
/// time against 0 may be noise, a count may not.
fn against_none(step: &Step, (of, a): (&Record, &Pick), (other, b): (&Record, &Pick)) -> bool {
    let exact = !step.kind.is_timed() || step.launch != Launch::Together;
    let equal_work = of.param != other.param || unequal_work([of, other]).is_none();
    let apart = of.interval_of(a.value).zip(other.interval_of(b.value));
    let apart = apart.is_some_and(|(of, other)| of.lo > other.hi || of.hi < other.lo);
    exact && equal_work && apart && ratio(of, a.value, other, b.value).is_none()
}

fn quotable<'a>(records: &'a [Record], run: &str, pick: &Pick) -> Result<&'a Record, String> {
    let missing = || format!("the run has no case {}{}", pick.case, crate::words::at(pick.param));
    let record = find(records, run, pick.case, pick.param).ok_or_else(missing)?;
    not_quotable(record).map_or(Ok(record), Err)
}

/// A value that may be said has an interval.
fn shown(record: &Record, value: &str) -> Result<Interval, String> {
    enough_launches(record, value)?;
    record.interval_of(value).ok_or_else(|| format!("`{value}` of {} gives no interval", record.case))
}
