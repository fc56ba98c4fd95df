//! Numbers as people read them: the unit comes from the suffix of the value's name, the digits from the interval.
//!
//! | suffix | shown as |
//! |---|---|
//! | `_ns` | `57 ns`, `1.38 ms` (ns, us, ms, s) |
//! | `_per_s` | `23.0 M/s` |
//! | `_bytes` | `256 MiB` |
//! | `_share` | `41 %`, below a hundredth of that `2 per million` |
//! | `_ratio` | `1.04x`, `105 thousand times`, `1/3570` |
//! | anything else | `1234`, `23.0 M` |
//!
//! Never more than six digits, and few zeros: nobody reads `0.00028x` or `105745x`. ASCII only: `us`, not the Greek letter, since some consoles and fonts have none.
use crate::stats::Interval;

/// Factor and symbol of a unit, from small to large.
type Scale = &'static [(f64, &'static str)];

const NS: Scale = &[(1.0, " ns"), (1e3, " us"), (1e6, " ms"), (1e9, " s")];
const PER_S: Scale = &[(1.0, "/s"), (1e3, " k/s"), (1e6, " M/s"), (1e9, " G/s")];
const BYTES: Scale = &[(1.0, " B"), (1024.0, " KiB"), (1_048_576.0, " MiB"), (1_073_741_824.0, " GiB")];
const SHARE: Scale = &[(0.01, " %")];
const RATIO: Scale = &[(1.0, "x")];
const PLAIN: Scale = &[(1.0, ""), (1e6, " M"), (1e9, " G")];

const UNITS: [(&str, Scale); 5] =
    [("ns", NS), ("per_s", PER_S), ("bytes", BYTES), ("share", SHARE), ("ratio", RATIO)];

/// Further words for units that people type.
const SPOKEN: [(Scale, &str, f64); 22] = [
    (NS, "\u{b5}s", 1e3),
    (NS, "\u{3bc}s", 1e3),
    (NS, "sec", 1e9),
    (NS, "seconds", 1e9),
    (NS, "min", 60e9),
    (PER_S, "k", 1e3),
    (PER_S, "thousand", 1e3),
    (PER_S, "million", 1e6),
    (BYTES, "bytes", 1.0),
    (BYTES, "k", 1024.0),
    (BYTES, "kb", 1e3),
    (BYTES, "m", 1_048_576.0),
    (BYTES, "mb", 1e6),
    (BYTES, "gb", 1e9),
    (SHARE, "percent", 0.01),
    (RATIO, "times", 1.0),
    (PLAIN, "k", 1e3),
    (PLAIN, "thousand", 1e3),
    (PLAIN, "million", 1e6),
    (PLAIN, "x", 1.0),
    (PLAIN, "times", 1.0),
    (PLAIN, "billion", 1e9),
];

/// Significant digits where no interval says how many there are.
const DIGITS: i32 = 3;
/// No more digits than this, however narrow the interval: the sixth is far below what any clock here resolves.
const MOST_DIGITS: i32 = 6;
/// No more decimals than this, however small the number.
const MOST_DECIMALS: i32 = 12;

/// Shares and ratios beyond these have a unit of their own; see [`unit`] and [`is_fraction`].
const SMALL_SHARE: f64 = 1e-4;
const LARGE_RATIO: f64 = 9_999.5;
const SMALL_RATIO: f64 = 0.01;

/// Splits a name into what is measured and its unit: `op_ns` is `op` in ns, and `ns` alone is a unit, too.
fn split(name: &str) -> (&str, Scale) {
    for (unit, scale) in UNITS {
        if let Some(rest) = name.strip_suffix(unit)
            && (rest.is_empty() || rest.ends_with('_'))
        {
            return (rest.trim_end_matches('_'), scale);
        }
    }
    (name, PLAIN)
}

/// True for the symbol of a unit, alone or before a mark: a line is not broken before it.
pub fn is_unit(word: &str) -> bool {
    let word = word.trim_end_matches(['.', ',', ';', ')']);
    UNITS.iter().flat_map(|(_, scale)| scale.iter()).any(|(_, symbol)| symbol.strip_prefix(' ') == Some(word))
}

/// What a value is, without its unit, which stands with each number: `op_ns` is `time per operation`, `wait_p99_ns` is `99th percentile of
/// wait`.
pub fn label(name: &str) -> String {
    super::names::by_name(name)
}

/// The name without its unit; a name that is nothing but a unit stays.
pub(super) fn without_unit(name: &str) -> &str {
    let (what, _) = split(name);
    if what.is_empty() { name } else { what }
}

/// A value alone, with three significant digits; digits before the point are never rounded away.
pub fn value(name: &str, value: f64) -> String {
    let scale = split(name).1;
    if !value.is_finite() {
        return "not a number".into();
    }
    if is_fraction(scale, value) {
        return format!("1/{}", rounded(1.0 / value));
    }
    let (factor, symbol) = unit(scale, value);
    format!("{}{symbol}", alone(value / factor))
}

/// A small ratio is read as a part: `1/3570`.
fn is_fraction(scale: Scale, value: f64) -> bool {
    scale == RATIO && value > 0.0 && value < SMALL_RATIO
}

/// Three digits, the others before the point as zeros.
fn rounded(v: f64) -> String {
    alone(format!("{v:.*e}", DIGITS as usize - 1).parse().unwrap_or(v))
}

/// Reads a number as people write it, in the unit of the value's name unless another of its units follows: for `op_ns` both `1500`
/// and `1.5 us`; for a rate `2.5M`; for a share `0.3` and `30 %`. `_` and `,` group digits. `None` if it is no such number, or negative.
pub fn read(name: &str, text: &str) -> Option<f64> {
    let text = text.trim();
    let end =
        text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '_' | ','))).unwrap_or(text.len());
    // `1e6`: an exponent is a part of the number.
    let exponent = text[end..].strip_prefix('e').map_or(0, |rest| {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits > 0 { digits + 1 } else { 0 }
    });
    let (number, unit) = text.split_at(end + exponent);
    let number: f64 = number.replace(['_', ','], "").parse().ok()?;
    let bare = |symbol: &str| symbol.trim().trim_end_matches("/s").trim().to_ascii_lowercase();
    let unit = unit.trim();
    let scale = split(name).1;
    let also = || {
        SPOKEN.iter().find(|(of, word, _)| *of == scale && *word == bare(unit)).map(|(.., factor)| *factor)
    };
    let factor = match unit {
        "" => 1.0,
        _ => scale
            .iter()
            .find(|(_, symbol)| bare(symbol) == bare(unit))
            .map(|(factor, _)| *factor)
            .or_else(also)?,
    };
    Some(number * factor).filter(|v| v.is_finite())
}

/// A value with its interval, with as many digits as make the interval visible: `12.3 [12.1, 12.5] ns`.
///
/// A single launch has no interval: `12.3 ns (1 launch)`. Where all launches said the very same there is none to show: `100 %`. An
/// interval over more than a factor of ten is given a unit for each end: `1.20 ms [900 us, 30.0 ms]`.
pub fn interval(name: &str, i: &Interval) -> String {
    match parts(name, i) {
        Parts::One => format!("{} (1 launch)", value(name, i.mid)),
        Parts::Same => exact(name, i.mid),
        Parts::Close(mid, symbol) => format!("{mid}{symbol}"),
        Parts::Wide => format!("{} [{}, {}]", value(name, i.mid), value(name, i.lo), value(name, i.hi)),
        // The sign of a ratio belongs to the number: `1.04x [1.03, 1.05]`.
        Parts::Alike([mid, lo, hi], "x") => format!("{mid}x [{lo}, {hi}]"),
        Parts::Alike([mid, lo, hi], symbol) => format!("{mid} [{lo}, {hi}]{symbol}"),
    }
}

/// What every launch agreed on. A size that is no whole KiB is then known to the byte: `33,550,313 B`.
fn exact(name: &str, v: f64) -> String {
    let whole = v.fract().abs() <= 0.0 && (v / 1024.0).fract().abs() > 0.0;
    if !(whole && split(name).1 == BYTES && (1024.0..1e15).contains(&v)) {
        return value(name, v);
    }
    let digits = format!("{v:.0}");
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text + " B"
}

/// The same as words, for screen readers: `12.3 ns, between 12.1 ns and 12.5 ns`.
pub fn words(name: &str, i: &Interval) -> String {
    let (mid, lo, hi) = match parts(name, i) {
        Parts::One => return format!("{} in a single launch", spoken(&value(name, i.mid))),
        Parts::Same => return format!("{} in every launch", spoken(&exact(name, i.mid))),
        Parts::Close(mid, symbol) => {
            return format!("{}, to the last digit", spoken(&format!("{mid}{symbol}")));
        }
        Parts::Wide => (value(name, i.mid), value(name, i.lo), value(name, i.hi)),
        Parts::Alike([mid, lo, hi], s) => (format!("{mid}{s}"), format!("{lo}{s}"), format!("{hi}{s}")),
    };
    format!("{}, between {} and {}", spoken(&mid), spoken(&lo), spoken(&hi))
}

/// A band of [`crate::record::aa_band`] as the share it stands for: `3.1 %`, and never less than `0.01 %`, since it is read as a bound.
pub fn band(band: f64) -> String {
    let percent = (band.exp() - 1.0).max(0.000_1) * 100.0;
    format!("{:.*} %", decimals_for(percent, 2), percent)
}

/// The smallest difference that can be shown, given as a logarithm: `of 3.0 % or more`; or that not even a factor of ten would show.
pub fn smallest(power: f64) -> String {
    if power < std::f64::consts::LN_10 {
        format!("of {} or more", band(power))
    } else {
        "only if it is more than tenfold".into()
    }
}

/// `x` after a number is read as a letter.
fn spoken(number: &str) -> String {
    number.strip_suffix('x').map_or_else(|| number.to_string(), |n| format!("{n} times"))
}

enum Parts {
    /// One launch.
    One,
    /// All launches said the same.
    Same,
    /// The ends differ in no digit that is shown.
    Close(String, &'static str),
    /// The ends are too far apart for one unit.
    Wide,
    /// Middle, lower and upper end in the unit of the middle.
    Alike([String; 3], &'static str),
}

fn parts(name: &str, i: &Interval) -> Parts {
    let ends = [i.mid, i.lo, i.hi];
    if i.n < 2 {
        return Parts::One;
    }
    if !ends.iter().all(|v| v.is_finite()) || (i.lo > 0.0 && i.hi / i.lo > 10.0) {
        return Parts::Wide;
    }
    // A middle of 0 has no size of its own; then the ends decide the unit.
    let size = if i.mid == 0.0 { i.lo.abs().max(i.hi.abs()) } else { i.mid };
    let scale = split(name).1;
    let (before, ends, symbol) = if i.lo > 0.0 && is_fraction(scale, i.mid) {
        ("1/", ends.map(|v| 1.0 / v), "")
    } else {
        let (factor, symbol) = unit(scale, size);
        ("", ends.map(|v| v / factor), symbol)
    };
    let half = (ends[2] - ends[1]).abs() / 2.0;
    // Below the precision of the arithmetic there is no width.
    if half <= 1e-12 * ends[0].abs().max(ends[1].abs()) {
        return Parts::Same;
    }
    // The last digit is worth at most half of the half width, so that the two ends never look alike. The small number keeps a half
    // width of exactly 0.2 from asking for one more digit because of binary fractions.
    let by_width = (-(half / 2.0).log10() - 1e-6).ceil().clamp(0.0, f64::from(MOST_DECIMALS));
    let by_size = if i.lo > 0.0 { decimals_for(ends[0], 2) } else { 0 };
    let largest = ends.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
    let decimals = by_size.max(by_width as usize).min(decimals_for(largest, MOST_DIGITS));
    let texts = ends.map(|v| format!("{before}{v:.decimals$}"));
    if texts[1] == texts[2] {
        let [mid, ..] = texts;
        return Parts::Close(mid, symbol);
    }
    Parts::Alike(texts, symbol)
}

/// The largest unit in which the number is not below 1, also after rounding: 999.9 ns is 1.00 us. Percents and times are units for
/// two decades below and four above 1, not only for what is not below 1.
fn unit(scale: Scale, value: f64) -> (f64, &'static str) {
    if scale == SHARE && value != 0.0 && value.abs() < SMALL_SHARE {
        return (1e-6, " per million");
    }
    if scale == RATIO && value.abs() >= LARGE_RATIO {
        return (1e3, " thousand times");
    }
    let fits = |(factor, _): &&(f64, &str)| value.abs() / factor >= 0.9995;
    *scale.iter().rev().find(fits).unwrap_or(&scale[0])
}

/// Three digits, but none after the point if the number is whole.
fn alone(v: f64) -> String {
    // With a tolerance: 0.41 / 0.01 is not 41 in binary. Adding 0 turns -0 into 0.
    let whole = (v - v.round()).abs() <= 1e-9 * v.abs();
    if whole { format!("{:.0}", v.round() + 0.0) } else { format!("{:.*}", decimals_for(v, DIGITS), v) }
}

/// Decimals that give a number this many significant digits after rounding: 0.9997 with three is 1.00, not 1.000.
fn decimals_for(v: f64, digits: i32) -> usize {
    let precision = usize::try_from(digits - 1).unwrap_or(0);
    let scientific = format!("{v:.precision$e}");
    let magnitude: i32 = scientific.split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0);
    usize::try_from((digits - 1 - magnitude).clamp(0, MOST_DECIMALS)).unwrap_or(0)
}
