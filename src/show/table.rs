//! One step of one run: as a table, or as sentences.
//!
//! A row that may not be quoted is marked in words and by a number; the doubt stands below under that number. Odd launches are
//! named, never left out. A ratio that does not clear the A/A row is "no difference shown".
use anstyle::{AnsiColor, Style};
use comfy_table::{
    Cell, ColumnConstraint, ContentArrangement, ContentLineStyle, LineStyle, Table, TableStyle, Width,
};

use super::{Look, capital, wrap};
use crate::words::{
    escape, names,
    number::{self, band},
};
use crate::{
    judge::{Compared, Finding, Verdict, compare, name, not_quotable, power},
    lab::{Kind, Lab, Step, sample::AA},
    record::{Record, aa_band, find, runs_of},
    stats::median,
};

/// Shows the newest run of a step. Ends with a line end; says so if there is no run.
pub fn table(lab: &Lab, step: &Step, records: &[Record], look: Look) -> String {
    let Some(run) = runs_of(records, lab.stem, step.name).first().copied() else {
        return format!("{} / {}: not measured yet\n", lab.stem, step.name);
    };
    let (rows, absent) = folded(step, rows(step, records, run));
    // The line on the smallest difference says what the A/A rows say.
    let mut shown = rows.clone();
    shown.retain(|r| look.all || r.case != AA);
    let mut doubts = Doubts::default();
    let body = if look.plain {
        shown.iter().map(|r| sentences(step, records, r, look)).collect()
    } else {
        grid(step, records, &shown, &mut doubts, look)
    };
    let mut out = title(lab, step, &rows, look);
    out.push_str(&body);
    out.push_str(&floor(step, records, run, look));
    let most = if look.all { doubts.texts.len() } else { MOST_DOUBTS };
    for (i, text) in doubts.texts.iter().enumerate().take(most) {
        let mark = format!("{:>3}  ", i + 1);
        out.push_str(&format!("{mark}{}\n", wrap(text, look.width, mark.len(), mark.len())));
    }
    if let Some(more @ 1..) = doubts.texts.len().checked_sub(most) {
        out.push_str(&format!("     and {more} more: --all\n"));
    }
    for text in absent {
        out.push_str(&format!("{}\n", wrap(&text, look.width, 0, 2)));
    }
    out
}

/// Remarks below a table that are shown unasked.
const MOST_DOUBTS: usize = 4;

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
pub(super) fn folded<'a>(step: &Step, rows: Vec<&'a Record>) -> (Vec<&'a Record>, Vec<String>) {
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
        let cases: Vec<String> = cases.iter().map(|case| name::variant(step, case)).collect();
        format!("Not measured: {} ({}).", cases.join(", "), escape::line(why))
    };
    (rows, absent.iter().map(sentence).collect())
}

/// The run's records in the order of the step's parameters and cases, A/A last; records that the step does not know (any
/// more) follow as they were stored.
pub(super) fn rows<'a>(step: &Step, records: &'a [Record], run: &str) -> Vec<&'a Record> {
    let place = |names: &[&str], name: &str| names.iter().position(|n| *n == name).unwrap_or(usize::MAX);
    let (params, cases) = (step.params(), step.cases());
    let mut rows: Vec<&Record> = records.iter().filter(|r| r.run == run && r.step == step.name).collect();
    rows.sort_by_key(|r| (place(&params, &r.param), r.case == AA, place(&cases, &r.case)));
    rows
}

fn title(lab: &Lab, step: &Step, rows: &[&Record], look: Look) -> String {
    let Some(first) = rows.first() else { return String::new() };
    let launches = rows.iter().map(|r| r.launches.len()).max().unwrap_or(0);
    let name = format!("{} / {}", lab.stem, step.name);
    // Elsewhere a step decides by itself how many it starts.
    let threads = match (first.kind, first.threads) {
        (Kind::Contended | Kind::Tail, 1) => "1 thread, ".into(),
        (Kind::Contended | Kind::Tail, n) => format!("{n} threads, "),
        _ => String::new(),
    };
    let how = match launches {
        1 => "1 launch, so there are no intervals".into(),
        n if first.pooled.is_some() => {
            format!("{n} sessions, a bracket says where another session's value will fall")
        }
        n => format!("{n} launches, 95 % intervals over launches"),
    };
    let run = if look.all {
        format!(" Run {}, {}.", escape::line(&first.run), escape::line(&first.at))
    } else {
        String::new()
    };
    let rest = format!(": {threads}{how}, ratios against {}.{run}", name::variant(step, &first.baseline));
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
    let columns: &[&str] = if look.all { &step.columns } else { &[] };
    let mut lines = vec![vec![String::new(), name::value(step, step.headline), "ratio".into()]];
    lines[0].extend(columns.iter().map(|value| name::value(step, value)));
    lines[0].push(String::new());
    let mut barred = false;
    for (i, r) in rows.iter().enumerate() {
        // A setting stands above its rows.
        if with_param && (i == 0 || rows[i - 1].param != r.param) {
            let mut line = vec![String::new(); lines[0].len()];
            line[0] = format!("{}:", name::setting(step, &r.param));
            lines.push(line);
        }
        let mut notes: Vec<usize> = Vec::new();
        let mut mark = "";
        if r.unmeasured().is_some() || !r.quotable {
            mark = "! ";
            barred = true;
            let why = reasons(r);
            let most = if look.all { why.len() } else { 1 };
            notes.extend(why.into_iter().take(most).map(|text| doubts.number(text)));
        }
        notes.extend(remarks(r, look.all).into_iter().map(|text| doubts.number(text)));
        let (ratio, why) = ratio_cell(step, records, r);
        notes.extend(why.map(|text| doubts.number(text)));
        let indent = if with_param { "  " } else { "" };
        let headline = super::shown(r, step.headline);
        let mut cells = vec![format!("{indent}{}", name::variant(step, &r.case)), headline, ratio];
        let column = |name: &&str| r.interval_of(name).map_or("-".into(), |i| number::value(name, i.mid));
        cells.extend(columns.iter().map(column));
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
        return not_quotable(r).map(|why| without_id(r, &why)).into_iter().collect();
    }
    r.doubts.iter().map(|d| without_id(r, d)).collect()
}

/// A reason as the measurement gave it, without the id of the row that it stands at; the id of another contender becomes words.
fn without_id(r: &Record, why: &str) -> String {
    let text = escape::line(why).replace(&format!("{}: ", escape::line(&r.case)), "");
    let word = |word: &str| match word.strip_suffix(':') {
        Some(id) if id.contains('_') => format!("{}:", names::read(id)),
        _ => word.to_string(),
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// What a reader should know of the launches behind a number: what was seen in them, those that failed, and with `odd` those that lie apart.
pub(super) fn remarks(r: &Record, odd: bool) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for what in r.launches.iter().flat_map(|s| &s.seen).map(|what| escape::line(what)) {
        if !what.is_empty() && !out.contains(&what) {
            out.push(what);
        }
    }
    let all = r.launches.len();
    let failed: Vec<&str> = r.launches.iter().filter_map(|s| s.unmeasured.as_deref()).collect();
    if let (Some(why), None) = (failed.first(), r.unmeasured()) {
        out.push(match r.pooled {
            // A pool's launches are sessions.
            Some(_) => format!("{} of {all} sessions left out: {}", failed.len(), without_id(r, why)),
            None => {
                format!("{} of {all} launches could not be measured: {}", failed.len(), without_id(r, why))
            }
        });
    }
    let mid = median(&r.values(&r.headline));
    for launch in r.odd_launches.iter().filter(|_| odd) {
        let value = r.launches.get(*launch).and_then(|s| s.values.get(&r.headline));
        if let (Some(value), Some(mid)) = (value, mid) {
            out.push(format!(
                "launch {} of {all} is an outlier, and is included: {}; the median is {}",
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
        return Some(Compared::Cannot(format!(
            "the run has no baseline {}",
            name::variant(step, &r.baseline)
        )));
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
        true => format!("no ratio: {} of the baseline is not positive", name::value(step, step.headline)),
        false => format!("no ratio: {}", escape::line(why)),
    }
}

/// The smallest difference that the run can show, at each parameter; and how far the baseline seems to differ from itself.
fn floor(step: &Step, records: &[Record], run: &str, look: Look) -> String {
    let at_each = |of: &dyn Fn(&str) -> Option<String>| {
        let params = step.params().into_iter();
        let each = params.filter_map(|param| Some(format!("{}{}", of(param)?, name::at(step, param))));
        each.collect::<Vec<_>>().join("; ")
    };
    let power = at_each(&|param| power(step, records, run, param).map(number::smallest));
    let twin = at_each(&|param| aa_band(records, run, param, step.headline).map(band));
    let mut out = String::new();
    for (text, each) in [
        ("This run can show a difference from the baseline", power),
        ("The baseline measured twice (A/A) differs from itself by up to", twin),
    ] {
        if !each.is_empty() {
            out.push_str(&format!("{}\n", wrap(&format!("{text} {each}."), look.width, 0, 2)));
        }
    }
    out
}

/// A row as sentences.
fn sentences(step: &Step, records: &[Record], r: &Record, look: Look) -> String {
    let name = name::cell(step, &r.case, &r.param);
    let mut out = match r.interval_of(step.headline) {
        Some(i) => {
            format!("{name}: {} {}.", name::value(step, step.headline), number::words(step.headline, &i))
        }
        None => format!("{name}: unmeasured."),
    };
    let baseline = name::variant(step, &r.baseline);
    match against_baseline(step, records, r) {
        None => out.push_str(" It is the baseline."),
        Some(Compared::Differs { ratio, .. }) => {
            out.push_str(&format!(" Ratio to {baseline}: {}.", number::words("ratio", &ratio)));
        }
        Some(Compared::NoDifference { .. }) if r.case != AA => {
            out.push_str(&format!(" No difference from {baseline} shown."));
        }
        Some(Compared::NoDifference { ratio, .. }) => {
            out.push_str(&format!(" The baseline against itself: {}.", number::words("ratio", &ratio)));
        }
        Some(Compared::Cannot(why)) => {
            out.push_str(&format!(" {}.", capital(&no_ratio(step, &why))));
        }
    }
    for value in step.columns.iter().filter(|_| look.all) {
        if let Some(i) = r.interval_of(value) {
            out.push_str(&format!(" {}: {}.", name::value(step, value), number::value(value, i.mid)));
        }
    }
    if r.unmeasured().is_some() || !r.quotable {
        out.push_str(&format!(" Not quotable: {}.", reasons(r).join("; ")));
    }
    for remark in remarks(r, look.all) {
        out.push_str(&format!(" {}.", capital(&remark)));
    }
    out.push('\n');
    out
}
