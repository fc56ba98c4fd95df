//! The sentence that may be quoted, with everything a sceptic asks for; or why there is none.
use super::{bounded, origin, wrap};
use crate::words::{escape, number};
use crate::{
    judge::{
        Compared, Reason, Support, compare, enough_launches, name, not_quotable, smallest, unequal_work,
    },
    lab::{Kind, Lab, Launch, Pick, Say, Step},
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
/// with when it is not true, why, where it was measured and how to repeat it, in at most twelve lines.
///
/// A sentence is carried by a run if both of its records are quotable, enough launches measured them, contenders did equal
/// work, and the A/A row is there. Where the ratio does not clear the A/A row, the sentence becomes that no difference was
/// shown: a result as quotable as any, unless the A/A row itself is apart by more than a quarter. A sentence without `{ratio}` may also be about a count against none: to 0 there is no ratio.
pub fn quote(lab: &Lab, records: &[Record]) -> Quote {
    render(lab, records, false)
}

/// The same with all that a sceptic asks: every sentence that is carried, grade, build, versions, what may not be said.
pub fn in_full(lab: &Lab, records: &[Record]) -> Quote {
    render(lab, records, true)
}

/// Lines of a quote that is not in full.
const MOST_LINES: usize = 12;

fn render(lab: &Lab, records: &[Record], full: bool) -> Quote {
    let mut page = Page::default();
    if full {
        page.put("Question", lab.question);
    }
    let carried = match carried(lab, records) {
        Ok(carried) => carried,
        Err((step, why)) => {
            page.put("Say", "nothing: not quotable here.");
            page.put("Because", &escape::line(&why));
            let newest = runs_of(records, lab.stem, step).first().copied();
            if let Some(r) = records.iter().find(|r| Some(r.run.as_str()) == newest) {
                page.put("Grade", &origin::grade(&r.machine, r.kind));
                if full {
                    page.put("Machine", &origin::machine(&r.machine));
                    page.put("Measured", &escape::line(&r.at));
                }
            }
            page.put("Measure", &lab.command());
            return Quote { text: page.text, quotable: false, ids: Vec::new() };
        }
    };
    let (say, best) = &carried[0];
    let mut ids: Vec<String> = Vec::new();
    let quoted = if full { &carried[..] } else { &carried[..1] };
    for id in quoted.iter().flat_map(|(_, s)| s.records.iter()).map(|r| escape::line(&r.id)) {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    let step = lab.steps.iter().find(|s| s.name == say.step);
    if !full {
        page.put("Say", &best.text);
        page.put("Not true when", clause(say));
        let mut below = Page::default();
        below.put("Measured", &measured(best.records[0]));
        below.put(if ids.len() == 1 { "Record" } else { "Records" }, &ids.join(", "));
        below.put("Repeat", &escape::line(&best.records[0].command));
        let room = MOST_LINES.saturating_sub(page.lines() + below.lines());
        if let Some(why) = step.and_then(|step| reason_within(lab, step, say, records, room)) {
            page.put("Why", &why);
        }
        page.text.push_str(&below.text);
        return Quote { text: page.text, quotable: true, ids };
    }
    let facts = origin_of(say, best);
    page.put("Say", &best.text);
    for (label, text) in &facts {
        page.put(label, text);
    }
    if let Some(step) = step {
        page.put("Why", &crate::judge::why(lab, step, records));
    }
    // Another sentence may come from another run, machine or build: whatever differs is said again.
    for (also, sentence) in &carried[1..] {
        page.put("Also", &sentence.text);
        for (label, text) in origin_of(also, sentence).iter().filter(|fact| !facts.contains(fact)) {
            page.put(label, text);
        }
    }
    page.list("What these numbers do not show", &lab.not_said);
    page.list("They will ask next", &lab.next);
    Quote { text: page.text, quotable: true, ids }
}

/// Machine, day and sessions in a line.
fn measured(r: &Record) -> String {
    let sessions = r.pooled.as_ref().map_or_else(|| "one session".into(), |p| p.words());
    format!("{}; {}; {sessions}", origin::machine(&r.machine), origin::day(r))
}

/// The reasons for a sentence, in so many lines: those that these numbers support, and of these first the ones whose evidence are the rows
/// that the sentence is about. What does not fit ends it; of the first reason the first sentences are better than none.
fn reason_within(lab: &Lab, step: &Step, say: &Say, records: &[Record], room: usize) -> Option<String> {
    let mut all = crate::judge::explain(lab, step, records);
    if all.iter().any(|r| r.support == Support::Measured) {
        all.retain(|r| r.support == Support::Measured);
    }
    let rows = |pick: &Pick| (pick.case, pick.param);
    let about: Vec<_> = [Some(say.of), say.against].into_iter().flatten().map(|p| rows(&p)).collect();
    // Rows of the sentence that are not in the evidence; its settings that are not; and rows of the evidence that are not in the sentence.
    let distance = |r: &Reason| {
        let asked: Vec<_> =
            r.measured.iter().flat_map(|(bound, _)| bound.picks()).map(|p| rows(&p)).collect();
        let missing = about.iter().filter(|row| !asked.contains(row)).count();
        let elsewhere =
            about.iter().filter(|(_, param)| asked.iter().all(|(_, other)| other != param)).count();
        (missing, elsewhere, asked.iter().filter(|row| !about.contains(row)).count())
    };
    all.sort_by_key(distance);
    let mut said = String::new();
    let fits = |said: &str| {
        let mut page = Page::default();
        page.put("Why", said.trim());
        page.lines() <= room
    };
    for reason in &all {
        let mut text = match reason.support {
            Support::Measured => reason.text.to_string(),
            _ => reason.words(),
        };
        if said.contains(&text) {
            continue;
        }
        // "But" goes on from a reason that does not stand here.
        if let Some(rest) = text.strip_prefix("But ").filter(|_| said.is_empty()) {
            text = rest.chars().take(1).flat_map(char::to_uppercase).chain(rest.chars().skip(1)).collect();
        }
        if fits(&format!("{said} {text}")) {
            said = format!("{said} {text}");
            continue;
        }
        if said.is_empty() {
            for sentence in text.split_inclusive(". ") {
                if !fits(&format!("{said}{sentence}")) {
                    break;
                }
                said.push_str(sentence);
            }
        }
        break;
    }
    Some(said.trim().to_string()).filter(|said| !said.is_empty())
}

/// The sentences that the records carry, best first and at least one; else the step of the first sentence and why it is not.
pub(super) fn carried<'a>(
    lab: &'a Lab,
    records: &'a [Record],
) -> Result<Vec<(&'a Say, Sentence<'a>)>, (&'static str, String)> {
    carried_as(lab, records, number::interval)
}

fn carried_as<'a, 'r>(
    lab: &'a Lab,
    records: &'r [Record],
    printed: Printed,
) -> Result<Vec<(&'a Say, Sentence<'r>)>, (&'static str, String)> {
    let mut carried = Vec::new();
    let mut refused = None;
    for say in &lab.says {
        match newest(lab, say, records, printed) {
            Ok(sentence) => carried.push((say, sentence)),
            Err(why) => refused = refused.or(Some((say.step, why))),
        }
    }
    if carried.is_empty() {
        return Err(refused.unwrap_or(("", "the lab has no sentence to say".into())));
    }
    // That no difference is shown may be said, but says less. What the lab is known for, the step of the tour, comes first of the others; the
    // sort keeps the order of equals.
    let known = lab.steps.iter().find(|s| s.tour).map(|s| s.name);
    let is_known = |say: &Say| Some(say.step) == known;
    carried.sort_by_key(|(say, sentence)| (!sentence.differs, !is_known(say)));
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
                    "{}; a bracket says where another session's value will fall, in 95 of 100 cases",
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
    fn lines(&self) -> usize {
        self.text.lines().count()
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

/// How a number stands in a sentence: by the name of its value.
type Printed = fn(&str, &Interval) -> String;

/// As one would say it aloud: the middle alone. What was the same every time keeps all of its digits.
fn spoken(name: &str, i: &Interval) -> String {
    let same = i.n > 1 && i.lo.to_bits() == i.hi.to_bits();
    if same { number::interval(name, i) } else { number::value(name, i.mid) }
}

/// The sentences that the records carry, as one would say them aloud: without brackets. Best first and at least one, each with its condition.
pub(super) fn aloud<'a>(lab: &'a Lab, records: &[Record]) -> Result<Vec<(&'a Say, String)>, String> {
    let carried = carried_as(lab, records, spoken).map_err(|(_, why)| why)?;
    Ok(carried.into_iter().map(|(say, sentence)| (say, sentence.text)).collect())
}

/// The best sentence as one would say it aloud, and when it is not true.
///
/// # Errors
/// Why there is none, in a clause.
pub fn best_aloud(lab: &Lab, records: &[Record]) -> Result<(String, &'static str), String> {
    let said = aloud(lab, records)?;
    let (say, text) = &said[0];
    Ok((text.clone(), clause(say)))
}

/// The best sentence about one step that these records carry, as one would say it aloud.
pub fn of_step(lab: &Lab, step: &Step, records: &[Record]) -> Option<String> {
    let mut says = lab.says.iter().filter(|s| s.step == step.name);
    says.find_map(|say| newest(lab, say, records, spoken).ok()).map(|sentence| sentence.text)
}

/// The sentence by the newest run that carries it, or why the newest run does not.
fn newest<'a>(lab: &Lab, say: &Say, records: &'a [Record], printed: Printed) -> Result<Sentence<'a>, String> {
    let Some(step) = lab.steps.iter().find(|s| s.name == say.step) else {
        return Err(format!("the lab has no step {}", say.step));
    };
    if let Some(why) = step.withdrawn {
        return Err(format!("withdrawn: {why}"));
    }
    let mut first_refusal = None;
    for run in runs_of(records, lab.stem, step.name) {
        match sentence(step, say, records, run, printed) {
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
    printed: Printed,
) -> Result<Sentence<'a>, String> {
    let of = quotable(step, records, run, &say.of)?;
    let value = bounded(of, say.of.value, printed(say.of.value, &shown(step, of, say.of.value)?));
    let launches = of.values(say.of.value).len().to_string();
    let mut text = say
        .text
        .replace("{threads}", &of.threads.to_string())
        .replace("{launches}", &launches)
        .replace("{value}", &value);
    let Some(pick) = say.against else {
        return Ok(Sentence { text: in_state(text, of), records: vec![of], differs: true });
    };
    let against = quotable(step, records, run, &pick)?;
    let other = bounded(against, pick.value, printed(pick.value, &shown(step, against, pick.value)?));
    text = text.replace("{against}", &other);
    let compared = compare(step, records, (of, say.of.value), (against, pick.value));
    let without_ratio = !say.text.contains("{ratio}") && against_none(step, (of, &say.of), (against, &pick));
    let differs = without_ratio || matches!(compared, Compared::Differs { .. });
    match &compared {
        Compared::Cannot(_) if without_ratio => {}
        Compared::Cannot(why) => return Err(why.clone()),
        Compared::Differs { ratio, .. } => {
            text = text.replace("{ratio}", &printed("ratio", ratio));
        }
        Compared::NoDifference { ratio, .. } => {
            let blind = smallest(&compared).unwrap_or(f64::INFINITY);
            if blind > COARSE {
                return Err(format!(
                    "the run is too noisy: it could not have shown a difference under {}",
                    number::band(blind)
                ));
            }
            let name = |p: &Pick| name::cell(step, p.case, p.param);
            let (label, against_label) = (name::value(step, say.of.value), name::value(step, pick.value));
            let what = if label == against_label { label } else { format!("{label} and {against_label}") };
            let exact = [shown(step, of, say.of.value)?, shown(step, against, pick.value)?];
            let same = exact.iter().all(|i| [i.lo, i.hi].iter().all(|end| (end - exact[0].mid).abs() < 1e-9));
            text = if same && [say.of.value, pick.value].iter().all(|v| v.ends_with("_count")) {
                // Each launch counted the same: noise hides nothing.
                format!(
                    "There is no difference in {what}: {value} for \"{}\" and for \"{}\".",
                    name(&say.of),
                    name(&pick)
                )
            } else {
                format!(
                    "This machine shows no difference in {what} between \"{}\" ({value}) and \"{}\" ({other}): ratio {}. This run could \
                     not have shown a difference under {}.",
                    name(&say.of),
                    name(&pick),
                    printed("ratio", ratio),
                    number::band(blind)
                )
            };
        }
    }
    let records = if std::ptr::eq(of, against) { vec![of] } else { vec![of, against] };
    Ok(Sentence { text: in_state(text, of), records, differs })
}

/// The sentence with the state of the machine that it is about, where the sessions met more than one.
fn in_state(text: String, of: &Record) -> String {
    let state = of.pooled.as_ref().and_then(|pool| pool.state);
    match state.filter(|_| matches!(of.kind, Kind::Contended | Kind::Single)) {
        None => text,
        Some(state) => format!("{} ({}).", text.trim_end_matches('.'), state.met.words()),
    }
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

fn quotable<'a>(step: &Step, records: &'a [Record], run: &str, pick: &Pick) -> Result<&'a Record, String> {
    let missing = || format!("the run has no case {}", name::cell(step, pick.case, pick.param));
    let record = find(records, run, pick.case, pick.param).ok_or_else(missing)?;
    not_quotable(record).map_or(Ok(record), Err)
}

/// A value that may be said has an interval.
fn shown(step: &Step, record: &Record, value: &str) -> Result<Interval, String> {
    enough_launches(record, value)?;
    record.interval_of(value).ok_or_else(|| {
        format!("{} of {} gives no interval", name::value(step, value), name::variant(step, &record.case))
    })
}
