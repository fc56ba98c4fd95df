//! Places and break-evens on made-up records.
use crate::common::*;
use underhood::{
    judge::ranking::{Along, BreakEven, break_even, rank},
    record::{AA, Record},
};

fn run(mutex: &[f64], rwlock: &[f64]) -> Vec<Record> {
    let wobble = [1.0, 1.02, 0.98, 1.01, 0.99];
    let twin: Vec<f64> = mutex.iter().zip(wobble.iter().cycle()).map(|(v, w)| v * w).collect();
    vec![
        record(reads(), "run-01", "mutex", "0 ns", mutex),
        record(reads(), "run-01", "rwlock", "0 ns", rwlock),
        record(reads(), "run-01", AA, "0 ns", &twin),
    ]
}

fn times(values: &[f64], factor: f64) -> Vec<f64> {
    values.iter().zip([1.0, 1.002, 0.998, 1.001, 0.999]).map(|(v, w)| v * factor * w).collect()
}

#[test]
fn a_difference_that_is_shown_has_places_of_its_own() {
    let base = around(100.0);
    let records = run(&base, &times(&base, 3.0));
    let ranking = rank(reads(), &records, "run-01", "0 ns");
    let places: Vec<(&str, usize)> =
        ranking.places.iter().map(|p| (p.record.case.as_str(), p.place)).collect();
    assert_eq!(places, [("rwlock", 1), ("mutex", 2)]);
    assert!(ranking.band.is_some_and(|b| b > 0.0));
    assert_eq!(ranking.firsts().count(), 1);
}

#[test]
fn what_does_not_clear_the_band_shares_the_place() {
    let base = around(100.0);
    let records = run(&base, &times(&base, 1.01));
    let ranking = rank(reads(), &records, "run-01", "0 ns");
    assert_eq!(ranking.places.iter().map(|p| p.place).collect::<Vec<_>>(), [1, 1]);
}

#[test]
fn without_an_a_a_row_nobody_shares_and_nobody_is_compared() {
    let base = around(100.0);
    let records = &run(&base, &times(&base, 1.01))[..2];
    let ranking = rank(reads(), records, "run-01", "0 ns");
    assert_eq!(ranking.band, None);
    assert_eq!(ranking.firsts().count(), 1, "{:?}", ranking.places);
}

#[test]
fn a_contender_without_a_number_has_no_place() {
    let base = around(100.0);
    let records = run(&base, &base[..1]);
    let ranking = rank(reads(), &records, "run-01", "0 ns");
    assert_eq!(ranking.places.len(), 1);
    assert_eq!(ranking.absent.len(), 1);
    assert!(rank(reads(), &[], "run-01", "0 ns").places.is_empty());
}

fn along(points: &[(f64, f64, bool)]) -> Vec<Along> {
    points.iter().map(|&(at, ratio, shown)| Along { at, ratio, shown }).collect()
}

#[test]
fn the_break_even_lies_where_the_ratio_passes_one() {
    let near = |found: BreakEven, at: f64| match found {
        BreakEven::Above(x) | BreakEven::Below(x) => (x / at - 1.0).abs() < 0.01,
        _ => false,
    };
    // Half and double, a decade apart on both sides: in the middle of the logarithms.
    let points = along(&[(10.0, 0.5, true), (1000.0, 2.0, true)]);
    let found = break_even(&points, false);
    assert!(matches!(found, BreakEven::Above(_)) && near(found, 100.0), "{found:?}");
    assert!(near(break_even(&points, true), 505.0), "linear");
    let found = break_even(&along(&[(1000.0, 0.5, true), (10.0, 2.0, true)]), false);
    assert!(matches!(found, BreakEven::Below(_)) && near(found, 100.0), "in any order: {found:?}");
    // A point at which no difference was shown decides nothing.
    let found = break_even(&along(&[(10.0, 0.5, true), (50.0, 1.2, false), (1000.0, 2.0, true)]), false);
    assert!(near(found, 100.0), "{found:?}");
    // No hold at all has no logarithm.
    assert!(near(break_even(&along(&[(0.0, 0.5, true), (100.0, 2.0, true)]), false), 10.0));
}

#[test]
fn without_a_turn_there_is_no_break_even() {
    let found = |points: &[(f64, f64, bool)]| break_even(&along(points), false);
    assert_eq!(found(&[(1.0, 2.0, true), (9.0, 1.1, false), (10.0, 3.0, true)]), BreakEven::Larger(2, 3));
    assert_eq!(found(&[(1.0, 0.5, true)]), BreakEven::Smaller(1, 1));
    assert_eq!(found(&[(1.0, 0.5, false), (2.0, 2.0, false)]), BreakEven::NotShown);
    assert_eq!(found(&[]), BreakEven::NotShown);
    assert_eq!(found(&[(1.0, 0.5, true), (2.0, 2.0, true), (3.0, 0.5, true)]), BreakEven::Often);
}
