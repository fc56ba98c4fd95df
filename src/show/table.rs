//! One step of one run: as a table, or as sentences.
//!
//! A row that may not be quoted is marked in words and by a number; the doubt stands below under that number. Odd launches are
//! named, never left out. A ratio that does not clear the A/A row is "no difference shown".
use anstyle::{AnsiColor, Style};
use comfy_table::{
    Cell, ColumnConstraint, ContentArrangement, ContentLineStyle, LineStyle, Table, TableStyle, Width,
};

use super::{Look, wrap};
use crate::words::{
    escape,
    number::{self, band},
};
use crate::{
    judge::{Compared, Finding, Verdict, compare, not_quotable},
    lab::{Lab, Step, sample::AA},
    record::{Record, aa_band, find, runs_of},
    stats::median,
};

/// Shows the newest run of a step. Ends with a line end; says so if there is no run.
pub fn table(lab: &Lab, step: &Step, records: &[Record], look: Look) -> String {
    let Some(run) = runs_of(records, lab.stem, step.name).first().copied() else {
        return format!("{} / {}: not measured yet\n", lab.stem, step.name);
    };
    let (rows, absent) = folded(rows(step, records, run));
    let mut doubts = Doubts::default();
    let body = if look.plain {
        rows.iter().map(|r| sentences(step, records, r)).collect()
    } else {
        grid(step, records, &rows, &mut doubts, look)
    };
    let mut out = title(lab, step, &rows, look);
    out.push_str(&body);
    out.push_str(&floor(step, records, run, look));
    for (i, text) in doubts.texts.iter().enumerate() {
        let mark = format!("{:>3}  ", i + 1);
        out.push_str(&format!("{mark}{}\n", wrap(text, look.width, mark.len(), mark.len())));
    }
    for text in absent {
        out.push_str(&format!("{}\n", wrap(&text, look.width, 0, 2)));
    }
    out
}

/// The findings of a step, a paragraph each: verdict, claim, numbers; and the reason, where a claim did not hold. What is not shown
/// for one and the same reason is one paragraph, a line a claim.
pub fn findings(findings: &[Finding], look: Look) -> String {
    let mut out = String::new();
    let mut groups: Vec<Vec<&Finding>> = Vec::new();
    for finding in findings {
        let alike = |f: &Finding| {
            f.verdict == Verdict::NotShown && f.verdict == finding.verdict && f.why == finding.why
        };
        match groups.iter_mut().find(|group| !look.plain && alike(group[0])) {
            Some(group) => group.push(finding),
            None => groups.push(vec![finding]),
        }
    }
    for group in groups {
        let color = match group[0].verdict {
            Verdict::Held => AnsiColor::Green,
            Verdict::Refuted => AnsiColor::Red,
            Verdict::NotShown => AnsiColor::Yellow,
        };
        let words = group[0].verdict.words();
        let mut lines: Vec<String> = group.iter().map(|f| claim(f, look)).collect();
        let why = format!("({})", escape::line(&group[0].why));
        match &mut lines[..] {
            [_] if group[0].verdict == Verdict::Held => {}
            [one] => one.push_str(&format!(" {why}")),
            all => {
                all.iter_mut().for_each(|line| line.truncate(line.trim_end_matches(':').len()));
                lines.push(why);
            }
        }
        if look.plain {
            out.push_str(&format!("{words}: {}\n", lines[0]));
            continue;
        }
        let mut before = look.paint(Style::new().bold().fg_color(Some(color.into())), words)
            + &" ".repeat(16 - words.len());
        for line in lines {
            out.push_str(&format!("{before}{}\n", wrap(&line, look.width, 16, 16)));
            before = " ".repeat(16);
        }
    }
    out
}

fn claim(finding: &Finding, look: Look) -> String {
    let numbers = finding.numbers.map(|n| match look.plain {
        true => number::words(finding.value, &n),
        false => number::interval(finding.value, &n),
    });
    let numbers = numbers.map_or(String::new(), |n| format!(" {n}."));
    format!("{}:{numbers}", finding.claim.trim_end_matches('.'))
}

/// The rows that say something, and a sentence on the rest: a contender that has no value at any parameter, always for the
/// same reason (it is not in this build, it does not exist on this system), is no row of a table. The baseline stays, and so does
/// whatever failed for more than one reason.
pub(super) fn folded(rows: Vec<&Record>) -> (Vec<&Record>, Vec<String>) {
    let mut absent: Vec<(String, Vec<&str>)> = Vec::new();
    for case in rows.iter().filter(|r| r.case != AA && r.case != r.baseline).map(|r| r.case.as_str()) {
        let whys: Vec<Option<&str>> =
            rows.iter().filter(|r| r.case == case).map(|r| r.unmeasured()).collect();
        let [Some(why), _, ..] = whys[..] else { continue };
        if whys.iter().any(|w| *w != Some(why)) || absent.iter().any(|(_, cases)| cases.contains(&case)) {
            continue;
        }
        match absent.iter_mut().find(|(known, _)| known == why) {
            Some((_, cases)) => cases.push(case),
            None => absent.push((why.into(), vec![case])),
        }
    }
    let is_absent = |r: &&Record| absent.iter().any(|(_, cases)| cases.contains(&r.case.as_str()));
    let rows = rows.iter().copied().filter(|r| !is_absent(r)).collect();
    let sentence = |(why, cases): &(String, Vec<&str>)| {
        format!("Not measured: {} ({}).", escape::line(&cases.join(", ")), escape::line(why))
    };
    (rows, absent.iter().map(sentence).collect())
}

/// The run's records in the order of the step's parameters and cases, A/A last; records that the step does not know (any
/// more) follow as they were stored.
pub(super) fn rows<'a>(step: &Step, records: &'a [Record], run: &str) -> Vec<&'a Record> {
    let place = |names: &[&str], name: &str| names.iter().position(|n| *n == name).unwrap_or(usize::MAX);
    let (params, cases) = (step.params(), step.cases());
    let mut rows: Vec<&Record> = records.iter().filter(|r| r.run == run).collect();
    rows.sort_by_key(|r| (place(&params, &r.param), r.case == AA, place(&cases, &r.case)));
    rows
}

fn title(lab: &Lab, step: &Step, rows: &[&Record], look: Look) -> String {
    let Some(first) = rows.first() else { return String::new() };
    let launches = rows.iter().map(|r| r.launches.len()).max().unwrap_or(0);
    let name = format!("{} / {}", lab.stem, step.name);
    let threads = format!("{} thread{}", first.threads, if first.threads == 1 { "" } else { "s" });
    let how = match launches {
        1 => "1 launch, so there are no intervals".into(),
        n => format!("{n} launches, 95 % intervals over launches"),
    };
    let rest = format!(
        ": {threads}, {how}, ratios against {}. Run {}, {}.",
        escape::line(&first.baseline),
        escape::line(&first.run),
        escape::line(&first.at)
    );
    let rest = wrap(&rest, look.width, name.len(), 0);
    format!("{}{rest}\n", look.paint(Style::new().bold(), &name))
}

/// Numbered doubts, each text once.
#[derive(Default)]
pub(super) struct Doubts {
    pub(super) texts: Vec<String>,
}

impl Doubts {
    pub(super) fn number(&mut self, text: String) -> usize {
        let known = self.texts.iter().position(|t| *t == text);
        known.unwrap_or_else(|| {
            self.texts.push(text);
            self.texts.len() - 1
        }) + 1
    }
}

fn grid(step: &Step, records: &[Record], rows: &[&Record], doubts: &mut Doubts, look: Look) -> String {
    let with_param = rows.iter().any(|r| !r.param.is_empty());
    let mut lines = vec![vec!["case".to_string(), number::label(step.headline), "ratio".into()]];
    if with_param {
        lines[0].insert(0, "at".into());
    }
    lines[0].extend(step.columns.iter().map(|name| number::label(name)));
    lines[0].push("note".into());
    let mut barred = false;
    for r in rows {
        let mut notes: Vec<usize> = Vec::new();
        let mut mark = "";
        if r.unmeasured().is_some() || !r.quotable {
            mark = "! ";
            barred = true;
            notes.extend(reasons(r).into_iter().map(|text| doubts.number(text)));
        }
        notes.extend(remarks(r).into_iter().map(|text| doubts.number(text)));
        let (ratio, why) = ratio_cell(step, records, r);
        notes.extend(why.map(|text| doubts.number(text)));
        let headline = match r.interval_of(step.headline) {
            Some(i) => number::interval(step.headline, &i),
            None => "unmeasured".into(),
        };
        let mut cells = vec![escape::line(&r.case), headline, ratio];
        if with_param {
            cells.insert(0, escape::line(&r.param));
        }
        let column = |name: &&str| r.interval_of(name).map_or("-".into(), |i| number::value(name, i.mid));
        cells.extend(step.columns.iter().map(column));
        let notes: Vec<String> = notes.iter().map(ToString::to_string).collect();
        cells.push(format!("{mark}{}", notes.join(" ")));
        lines.push(cells);
    }
    let mut out = aligned(&lines, look.width);
    if barred {
        let style = Style::new().bold().fg_color(Some(AnsiColor::Yellow.into()));
        out.push_str(&look.paint(style, "! not quotable, for the reasons with these numbers:"));
        out.push('\n');
    }
    out
}

/// A column is not made narrower than its longest word, up to this: a name that somebody made absurdly long is broken.
const WORD: usize = 20;

/// Cells in columns, the first line as heading, broken at spaces where the terminal is too narrow.
fn aligned(lines: &[Vec<String>], width: usize) -> String {
    let mut table = Table::new();
    table.load_style(
        TableStyle::new()
            .header_separator(LineStyle::none().fill('-').junction(' '))
            .content_lines(ContentLineStyle::none().junction(' ')),
    );
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
    table.set_header(lines[0].iter().map(Cell::new).collect::<Vec<_>>());
    for line in &lines[1..] {
        table.add_row(line.iter().map(Cell::new).collect::<Vec<_>>());
    }
    // Two spaces between columns where there is room for them.
    let natural: usize = table.column_max_content_widths().iter().map(|w| usize::from(*w)).sum();
    let gap = u16::from(natural + 2 * lines[0].len() <= width);
    for (i, column) in table.column_iter_mut().enumerate() {
        let words = lines.iter().filter_map(|line| line.get(i)).flat_map(|cell| cell.split(' '));
        let longest = words.map(|w| w.chars().count()).max().unwrap_or(0).min(WORD);
        column.set_padding((0, gap));
        let least = u16::try_from(longest).unwrap_or(u16::MAX) + gap;
        column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(least)));
    }
    let mut out = table.trim_fmt();
    out.push('\n');
    out
}

/// Why a row may not be quoted: all doubts, not only the first.
pub(super) fn reasons(r: &Record) -> Vec<String> {
    if r.doubts.is_empty() || r.unmeasured().is_some() {
        return not_quotable(r).map(|why| escape::line(&why)).into_iter().collect();
    }
    r.doubts.iter().map(|d| escape::line(d)).collect()
}

/// What a reader should know of the launches behind a number: what was seen in them, those that failed, and those that are odd.
pub(super) fn remarks(r: &Record) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for what in r.launches.iter().flat_map(|s| &s.seen).map(|what| escape::line(what)) {
        if !out.contains(&what) {
            out.push(what);
        }
    }
    let all = r.launches.len();
    let failed: Vec<&str> = r.launches.iter().filter_map(|s| s.unmeasured.as_deref()).collect();
    if let (Some(why), None) = (failed.first(), r.unmeasured()) {
        out.push(format!("{} of {all} launches could not be measured: {}", failed.len(), escape::line(why)));
    }
    let mid = median(&r.values(&r.headline));
    for launch in &r.odd_launches {
        let value = r.launches.get(*launch).and_then(|s| s.values.get(&r.headline));
        if let (Some(value), Some(mid)) = (value, mid) {
            out.push(format!(
                "launch {} of {all} is odd and was kept: {}, the median is {}",
                launch + 1,
                number::value(&r.headline, *value),
                number::value(&r.headline, mid)
            ));
        }
    }
    out
}

/// The headline against the baseline's at the same parameter; `None` for the baseline itself.
pub(super) fn against_baseline(step: &Step, records: &[Record], r: &Record) -> Option<Compared> {
    if r.case == r.baseline {
        return None;
    }
    let Some(baseline) = find(records, &r.run, &r.baseline, &r.param) else {
        return Some(Compared::Cannot(format!("the run has no baseline {}", r.baseline)));
    };
    Some(compare(step, records, (r, step.headline), (baseline, step.headline)))
}

/// The text of the cell, and a remark if the ratio could not be had for a reason that the row does not show yet.
pub(super) fn ratio_cell(step: &Step, records: &[Record], r: &Record) -> (String, Option<String>) {
    match against_baseline(step, records, r) {
        None => ("baseline".into(), None),
        Some(Compared::Differs { ratio, .. }) => (number::interval("ratio", &ratio), None),
        // The A/A row is what "no difference" is measured by, so it shows its number.
        Some(Compared::NoDifference { ratio, .. }) if r.case == AA => {
            (number::interval("ratio", &ratio), None)
        }
        Some(Compared::NoDifference { .. }) => ("no difference shown".into(), None),
        Some(Compared::Cannot(_)) if r.unmeasured().is_some() || r.launches.len() < 2 => ("-".into(), None),
        Some(Compared::Cannot(why)) => ("-".into(), Some(no_ratio(step, &why))),
    }
}

/// Why there is no ratio to the baseline.
pub(super) fn no_ratio(step: &Step, why: &str) -> String {
    match why.starts_with("no ratio") {
        true => format!("no ratio: `{}` of the baseline is not positive", number::label(step.headline)),
        false => format!("no ratio: {}", escape::line(why)),
    }
}

/// The smallest difference that the run may claim, at each parameter.
fn floor(step: &Step, records: &[Record], run: &str, look: Look) -> String {
    let bands: Vec<String> = step
        .params()
        .into_iter()
        .filter_map(|param| {
            Some(format!("{}{}", band(aa_band(records, run, param, step.headline)?), crate::words::at(param)))
        })
        .collect();
    if bands.is_empty() {
        return String::new();
    }
    let text = format!("A/A: the smallest difference that this run may claim is {}.", bands.join(", "));
    format!("{}\n", wrap(&text, look.width, 0, 5))
}

/// A row as sentences.
fn sentences(step: &Step, records: &[Record], r: &Record) -> String {
    let name = format!("{}{}", escape::line(&r.case), crate::words::at(&r.param));
    let mut out = match r.interval_of(step.headline) {
        Some(i) => format!("{name}: {} {}.", number::label(step.headline), number::words(step.headline, &i)),
        None => format!("{name}: unmeasured."),
    };
    let baseline = escape::line(&r.baseline);
    match against_baseline(step, records, r) {
        None => out.push_str(" It is the baseline."),
        Some(Compared::Differs { ratio, .. }) => {
            out.push_str(&format!(" Ratio to {baseline}: {}.", number::words("ratio", &ratio)));
        }
        Some(Compared::NoDifference { .. }) if r.case != AA => {
            out.push_str(&format!(" No difference to {baseline} shown."));
        }
        Some(Compared::NoDifference { ratio, .. }) => {
            out.push_str(&format!(" The baseline against itself: {}.", number::words("ratio", &ratio)));
        }
        Some(Compared::Cannot(why)) => {
            out.push_str(&format!(" N{}.", &no_ratio(step, &why)[1..]));
        }
    }
    for name in &step.columns {
        if let Some(i) = r.interval_of(name) {
            out.push_str(&format!(" {}: {}.", number::label(name), number::value(name, i.mid)));
        }
    }
    if r.unmeasured().is_some() || !r.quotable {
        out.push_str(&format!(" Not quotable: {}.", reasons(r).join("; ")));
    }
    for remark in remarks(r) {
        out.push_str(&format!(" {}{}.", remark[..1].to_uppercase(), &remark[1..]));
    }
    out.push('\n');
    out
}
