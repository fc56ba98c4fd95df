//! Guesses: understood, held against made-up runs, counted over time; and the picture that shows them.
use crate::common::*;
use underhood::{
    judge::guess::{self, Score},
    lab::{Evidence, Mechanism, Predict, Step, at, sample::AA},
    record::{Guess, Prediction, Record},
    show::{Look, picture},
};

/// [`touch`] asks for the best case; this one for a number.
fn number() -> Step {
    altered(touch(), |s| s.predict = Predict::Number { case: "touch", param: "" })
}

fn said(step: &Step, guess: Guess, run: &str) -> Prediction {
    let (case, param) = guess::asked(step);
    Prediction {
        schema: 1,
        at: "2026-11-02T09:00:00Z".into(),
        lab: lab().stem.into(),
        step: step.name.into(),
        case: case.into(),
        param: param.into(),
        value: step.headline.into(),
        guess,
        why: String::new(),
        run: run.into(),
        recalled: false,
    }
}

#[test]
fn answers_are_understood_as_people_write_them() {
    let number_step = number();
    let number = |text| guess::understood(&number_step, text);
    for (text, want) in [
        ("100", Guess::Number(100.0)),
        ("1.5 us", Guess::Number(1500.0)),
        ("1.5us", Guess::Number(1500.0)),
        ("1_000,000", Guess::Number(1e6)),
        ("1e6", Guess::Number(1e6)),
        ("2 S", Guess::Number(2e9)),
        ("0", Guess::Number(0.0)),
        ("50..200", Guess::Range(50.0, 200.0)),
        ("50 - 200 us", Guess::Range(50e3, 200e3)),
        ("50 ns to 2 ms", Guess::Range(50.0, 2e6)),
    ] {
        assert_eq!(number(text), Some(want), "{text:?}");
    }
    for text in ["", "fast", "-5", "NaN", "inf", "5 apples", "200..50", "..", "1e999", "100 ns ns", "5e"] {
        assert_eq!(number(text), None, "{text:?}");
    }
    let rate = altered(&number_step, |s| s.headline = HEADLINE);
    assert_eq!(guess::understood(&rate, "2.5M"), Some(Guess::Number(2.5e6)));
    assert_eq!(guess::understood(&rate, "2.5 M/s"), Some(Guess::Number(2.5e6)));
    let share = altered(&number_step, |s| s.headline = "hung_share");
    assert_eq!(guess::understood(&share, "30 %"), Some(Guess::Number(0.3)));
    assert_eq!(guess::understood(&share, "0.3"), Some(Guess::Number(0.3)));
    let choice = |text| guess::understood(touch(), text);
    assert_eq!(choice("2"), Some(Guess::Case("touch".into())));
    assert_eq!(choice(" call "), Some(Guess::Case("call".into())));
    for text in ["0", "3", "-1", "both", "touch()"] {
        assert_eq!(choice(text), None, "{text:?}");
    }
}

#[test]
fn a_number_is_inside_outside_or_cannot_be_told() {
    // 440 us, give or take one per cent.
    let records = touch_run("run-02");
    let reveal = |guess| guess::reveal(&number(), &said(&number(), guess, "run-02"), &records);
    for (guess, score, off) in [
        (Guess::Number(440e3), Score::Inside, 1.0),
        (Guess::Number(300e3), Score::Inside, 1.47),
        (Guess::Number(110e3), Score::Outside, 4.0),
        (Guess::Number(4.4e6), Score::Outside, 10.0),
        (Guess::Range(400e3, 500e3), Score::Inside, 1.0),
        (Guess::Range(500e3, 600e3), Score::Outside, 1.14),
    ] {
        let got = reveal(guess.clone());
        assert_eq!(got.score, score, "{guess:?}: {}", got.text);
        assert!((got.off_ratio.unwrap() - off).abs() < 0.01, "{guess:?}: {}", got.text);
        assert!(got.text.contains("times off"), "{}", got.text);
    }
    // The edge of the range lies within the interval.
    assert!(matches!(reveal(Guess::Range(440e3, 500e3)).score, Score::CannotTell(_)));
    // From zero no factor leads anywhere, and it is no panic either.
    let zero = reveal(Guess::Number(0.0));
    assert_eq!((zero.score, zero.off_ratio), (Score::Outside, None));
}

#[test]
fn what_may_not_be_quoted_counts_for_nobody() {
    let doubted: Vec<_> = touch_run("run-02")
        .iter()
        .map(|r| {
            changed(r, |r| {
                r.quotable = false;
                r.doubts = vec!["a smoke run".into()];
            })
        })
        .collect();
    for (step, guess) in [
        (&number(), Guess::Number(440e3)),
        (&number(), Guess::Number(1.0)),
        (touch(), Guess::Case("call".into())),
    ] {
        let got = guess::reveal(step, &said(step, guess, "run-02"), &doubted);
        assert_eq!(got.score, Score::CannotTell("a smoke run".into()), "{}", got.text);
        assert!(got.text.contains("You said") && got.text.contains("a smoke run"), "{}", got.text);
    }
    for records in [vec![], reads_run("run-01")] {
        let got = guess::reveal(&number(), &said(&number(), Guess::Number(1.0), "run-02"), &records);
        assert!(matches!(got.score, Score::CannotTell(_)), "{}", got.text);
        assert!(got.text.contains("no number"), "{}", got.text);
    }
}

#[test]
fn a_choice_is_wrong_only_where_another_is_shown_better() {
    let records = reads_run("run-01");
    let at = |param, case: &str| {
        let step = altered(reads(), |s| s.predict = Predict::Best { param });
        guess::reveal(&step, &said(&step, Guess::Case(case.into()), "run-01"), &records)
    };
    assert_eq!(at("400 ns", "rwlock").score, Score::Inside);
    let wrong = at("400 ns", "mutex");
    assert_eq!(wrong.score, Score::Outside);
    assert!(wrong.text.contains("it was RwLock: 3.2 times off"), "{}", wrong.text);
    // At 0 ns the two differ by less than the run can show.
    for case in ["mutex", "rwlock"] {
        assert_eq!(at("0 ns", case).score, Score::Inside, "{}", at("0 ns", case).text);
    }
    // Of durations less is better.
    let pause = |case: &str| {
        guess::reveal(touch(), &said(touch(), Guess::Case(case.into()), "run-02"), &touch_run("run-02")).score
    };
    assert_eq!((pause("call"), pause("touch")), (Score::Inside, Score::Outside));
    assert!(matches!(pause("gone"), Score::CannotTell(_)));
}

#[test]
fn calibration_counts_days() {
    let mut records = touch_run("run-02");
    records.extend(reads_run("run-01"));
    let on =
        |day: &str, guess| Prediction { at: format!("{day}T09:00:00Z"), ..said(touch(), guess, "run-02") };
    let (right, wrong) = (Guess::Case("call".into()), Guess::Case("touch".into()));
    let gone = Prediction { step: "gone".into(), ..on("2026-11-03", right.clone()) };
    let said = [on("2026-11-03", right.clone()), on("2026-11-02", wrong), on("2026-11-03", right), gone];
    let (days, all) = guess::calibration(&[lab()], &said, &records);
    let counts: Vec<_> =
        days.iter().map(|(day, t)| (day.as_str(), t.inside_count, t.outside_count, t.untold_count)).collect();
    assert_eq!(counts, [("2026-11-02", 0, 1, 0), ("2026-11-03", 2, 0, 1)]);
    assert_eq!((all.inside_count, all.told_count(), all.untold_count), (2, 3, 1));
}

#[test]
fn a_picture_has_a_row_for_each_case_and_the_guess_beside_its_own() {
    let records = touch_run("run-02");
    let guess = said(&number(), Guess::Range(20e3, 100e3), "run-02");
    let text = picture::picture(lab(), &number(), &records, Some(&guess), Look::default());
    let rows: Vec<&str> = text.lines().filter(|l| l.contains('|')).collect();
    assert_eq!(rows.len(), 3, "{text}");
    assert!(rows[0].contains("call") && rows[1].contains("touch") && rows[2].contains("you"), "{text}");
    // The slow case stands to the right of the fast one, and the guess between them.
    let column = |row: &str, mark: char| row.split('|').nth(1).unwrap().find(mark).unwrap();
    assert!(
        column(rows[0], 'o') < column(rows[2], '?') && column(rows[2], '?') < column(rows[1], 'o'),
        "{text}"
    );
    assert!(text.starts_with("pause (log scale; o middle"), "{text}");
    assert!(text.lines().last().unwrap().contains(" us"), "round values below the axis: {text}");
    // Sentences for screen readers; the A/A row is no contender; no difference is claimed where none is shown.
    let plain = Look { plain: true, ..Look::default() };
    let text = picture::picture(lab(), reads(), &reads_run("run-01"), None, plain);
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(
        text.contains("0 ns: no difference is shown") && !text.contains('|') && !text.contains(AA),
        "{text}"
    );
    assert_eq!(picture::picture(lab(), reads(), &[], None, plain), "");
}

#[test]
fn a_grid_of_parameters_gets_a_map_of_who_wins_where() {
    let params =
        ["0_many", "0_some", "0_few", "1us_many", "1us_some", "1us_few", "9us_many", "9us_some", "9us_few"];
    let step = altered(reads(), |s| s.params = params.map(|id| at(id, ()).param).into());
    let cells = |of: fn(usize) -> f64, case: &str| -> Vec<Record> {
        (step
            .params()
            .iter()
            .enumerate()
            .map(|(i, p)| record(&step, "run-01", case, p, &around(of(i) * 1e6))))
        .collect()
    };
    // The rwlock is ahead in the last three cells, behind in the first three, and the same between.
    let shared = |i: usize| [0.5, 1.0, 2.0][i / 3];
    let records = [cells(|_| 1.0, "mutex"), cells(shared, "rwlock"), cells(|_| 1.0, AA)].concat();
    let plain = Look { plain: true, ..Look::default() };
    for look in [Look::default(), plain] {
        let text = picture::picture(lab(), &step, &records, None, look);
        let map: Vec<&str> = text.lines().skip_while(|l| !l.contains("many    some    few")).collect();
        assert_eq!(
            map[1..4],
            ["0    A 2.0x  A 2.0x  A 2.0x", "1us  .       .       .", "9us  B 2.0x  B 2.0x  B 2.0x"]
        );
        assert!(map[4].starts_with("A Mutex, B RwLock; "), "{text}");
    }
    // A cell without a value is no victory, and what is no grid has no map.
    let missing: Vec<Record> = records
        .iter()
        .filter(|r| (r.case.as_str(), r.param.as_str()) != ("rwlock", "9us_few"))
        .cloned()
        .collect();
    let text = picture::picture(lab(), &step, &missing, None, plain);
    assert!(text.contains("9us  B 2.0x  B 2.0x  ?\n"), "{text}");
    let text = picture::picture(lab(), &altered(&step, |s| s.params.truncate(8)), &records, None, plain);
    assert!(!text.contains("A Mutex, B RwLock"), "{text}");
}

#[test]
fn a_picture_survives_odd_values_and_names() {
    for values in [vec![0.0, 0.0], vec![-3.0, 5.0], vec![1.0], vec![1e-300, 1e300], vec![7.0, 7.0]] {
        let hostile = "a\u{1b}[31m|very long name of a case that goes on and on";
        let r = changed(&record(touch(), "run-02", hostile, "\u{202e}", &values), |_| {});
        for width in [0, 40, 200] {
            let text = picture::picture(
                lab(),
                touch(),
                std::slice::from_ref(&r),
                None,
                Look { width, ..Look::default() },
            );
            assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{values:?}: {text}");
        }
    }
}

#[test]
fn places_are_found_by_the_name_that_the_explanation_gives() {
    let step = altered(reads(), |s| {
        s.because = vec![Mechanism {
            text: "See `lock` in src/structures/lock/mutex.rs, and src/gone.rs.",
            evidence: Evidence::Source("a made-up source"),
        }];
    });
    let read = |path: &str| match path {
        "labs/demo_lock.rs" => Some("//! q\n\n  name: \"reads\",\n".to_string()),
        "src/structures/lock/mutex.rs" => Some("fn lock_slow() {}\nfn lock() {}\n".to_string()),
        _ => None,
    };
    assert_eq!(
        picture::places(lab(), &step, read),
        ["labs/demo_lock.rs:3 (the step)", "src/structures/lock/mutex.rs:2 (lock)", "src/gone.rs"]
    );
}
