//! The report: one page, complete in itself, harmless, within its size, and linked in all its parts.
use std::{collections::BTreeSet, fs, path::Path, process::Command};

use crate::{all::labs, common::*};
use underhood::{
    lab::{
        Lab, Predict,
        sample::{AA, Sample},
    },
    record::{Guess, Lane, Picture, Prediction, Record, Store},
    show::report::{Kept, MOST_BYTES},
    words::escape,
};

/// The page of records alone.
fn report(labs: &[&Lab], records: &[Record], remark: Option<&str>) -> String {
    underhood::show::report::report(labs, &Kept { records, remark, ..Kept::default() })
}

/// The values of an attribute, quoted or not.
fn values<'a>(page: &'a str, attribute: &str) -> Vec<&'a str> {
    let starts = page.match_indices(attribute).map(|(at, _)| &page[at + attribute.len()..]);
    starts
        .map(|rest| match rest.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next().unwrap(),
            None => rest.split([' ', '>']).next().unwrap(),
        })
        .collect()
}

fn demo() -> String {
    let records = [reads_run("2026-11-25"), touch_run("2026-11-26")].concat();
    report(&[lab()], &records, None)
}

/// A record of every row of every step of every lab, with every column, as a full run would give it; not measured.
fn full(run: &str) -> Vec<Record> {
    let mut out = Vec::new();
    for lab in labs() {
        for step in &lab.steps {
            let rows = step
                .params()
                .into_iter()
                .flat_map(|p| step.cases().into_iter().chain([AA]).map(move |c| (c, p)));
            for (i, (case, param)) in rows.enumerate() {
                let mut r = draft(step, run, case, param, &around(1e3 * (i + 1) as f64));
                r.lab = lab.stem.into();
                r.command = format!("cargo run --release --bin {} -- --only {}", lab.stem, step.name);
                for sample in &mut r.launches {
                    sample.values.extend(step.columns.iter().map(|name| ((*name).to_string(), 123.4)));
                }
                out.push(r.seal());
            }
        }
    }
    out
}

#[test]
fn the_page_needs_nothing_but_itself() {
    let page = demo();
    assert!(page.starts_with("<!DOCTYPE html><html lang=\"en\">"), "{}", &page[..80]);
    for word in ["http:", "https:", "//", "src=", "url(", "@import", "<img", "<iframe", "@font-face"] {
        let at = page.find(word);
        assert!(at.is_none(), "{word}: {}", &page[at.unwrap()..(at.unwrap() + 60).min(page.len())]);
    }
    assert!(page.contains("default-src 'none'"), "and its policy forbids the rest");
    assert_eq!(page.matches("<script").count(), 1);
    // Without a script everything is there; only the buttons that need one are hidden until it runs.
    assert_eq!(page.matches("<button").count(), page.matches("hidden data-copy").count());
    assert_eq!(demo(), page, "the same records give the same bytes");
}

#[test]
fn the_page_says_what_the_records_say() {
    let page = demo();
    for words in [
        "When is a reader-writer lock better than a mutex?",
        "+ held",
        "Example CPU 3000, 2 of 2 CPUs",
        "fit for contended throughput: 2 spinners did 1.98 times the work of one",
        "Every number on this page may be quoted",
        "the rwlock does 3.15x",
        "Not true when</b> somebody writes",
        "cargo run --release --bin demo_lock",
        "Reader-writer locks are faster.",
        "What if one in a hundred writes?",
        "no difference shown",
    ] {
        assert!(page.contains(words), "the page lacks '{words}'");
    }
    // Titles state a finding; two parameters give two charts of dots, and no line.
    assert!(page.contains("<figcaption>Operations per second: highest is "), "{page}");
    assert!(!page.contains("class=\"plot\""));
    // The answer stands in the index, before the labs, the machine and what may not be quoted.
    let place = |words: &str| page.find(words).unwrap_or_else(|| panic!("the page lacks '{words}'"));
    let order =
        ["id=\"answers\"", "<section id=\"demo_lock\"", "The machine", "What may not be quoted"].map(place);
    assert!(order.is_sorted(), "{order:?}");
}

#[test]
fn what_may_not_be_quoted_is_marked_and_explained() {
    let mut records = reads_run("2026-11-25");
    records[4] = changed(&records[4], |r| {
        r.quotable = false;
        r.doubts = vec!["other programs used 41 % of the CPUs".into()];
    });
    records[1] = changed(&records[1], |r| {
        let gone = |_: &Sample| Sample::unmeasured("rwlock", "0 ns", "the lanes did not run at once");
        r.launches = r.launches.iter().map(gone).collect();
        r.quotable = false;
    });
    let page = report(&[lab()], &records, Some("skipped lines of the store: 3 damaged"));
    for words in [
        "demo_lock.reads</a>: 2 of 6 numbers: ",
        "RwLock was not measured: the lanes did not run at once (and 1 other reason)",
        "Say nothing yet: </b>",
        "skipped lines of the store: 3 damaged.",
        "Not measured yet: ",
        "? not shown here",
        "not quotable.",
    ] {
        assert!(page.contains(words), "the page lacks '{words}'");
    }
    assert!(!page.contains("Every number on this page may be quoted"));
    assert!(page.contains("class=\"i q\""), "its interval is dashed");
    assert!(page.contains("RwLock</span><b>5.20 [5.15, 5.25] M/s !</b>"), "and said");
}

#[test]
fn every_link_leads_somewhere_on_the_page() {
    let records = [reads_run("2026-11-25"), touch_run("2026-11-26")].concat();
    let page = report(&[lab()], &records, None);
    let ids = values(&page, " id=");
    let unique: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(ids.len(), unique.len(), "an id twice: {ids:?}");
    let named = values(&page, " href=").into_iter().filter_map(|h| h.strip_prefix('#'));
    let labelled = values(&page, " aria-labelledby=").into_iter().flat_map(|ids| ids.split(' '));
    let named = named.chain(values(&page, " data-copy=")).chain(labelled);
    for target in named {
        assert!(unique.contains(target), "nothing has the id {target}");
    }
    assert!(unique.contains("demo_lock") && unique.contains("demo_lock.reads"));
    for r in &records {
        assert!(unique.contains(format!("r{}", r.id).as_str()), "no deep link to the record of {}", r.case);
    }
}

#[test]
fn every_chart_has_a_title_an_alternative_and_a_table() {
    let records = full("2026-11-25");
    let lab = labs().iter().find(|l| l.stem == "lock_rwlock").unwrap();
    let page = report(&[lab], &records, None);
    assert!(page.contains("class=\"plot\""), "a step over many parameters is drawn as lines");
    let figures: Vec<&str> = page.split("<figure>").skip(1).collect();
    assert!(figures.len() > lab.steps.len(), "{} charts", figures.len());
    for figure in figures {
        let figure = figure.split("</figure>").next().unwrap();
        let title =
            figure.strip_prefix("<figcaption>").expect("the title comes first").split('<').next().unwrap();
        assert!(title.len() > 5, "{title}");
        let drawings = figure.matches("role=\"img\"").count();
        assert!(drawings >= 1 || figure.contains("class=\"heat\""), "{figure}");
        // Each drawing has a title and a description of its own, and both are found by their ids.
        let labelled = values(figure, "aria-labelledby=");
        assert_eq!(labelled.len(), drawings, "{figure}");
        for id in labelled.iter().flat_map(|ids| ids.split(' ')) {
            assert!(page.contains(&format!(" id=\"{id}\">")), "{id}");
        }
        assert_eq!(figure.matches("<desc ").count(), drawings);
        assert!(figure.contains("<p class=\"key\">"), "the key says what is drawn: {figure}");
    }
    assert_eq!(page.matches("<summary>Table: ").count(), lab.steps.len());
}

/// A page of records that have this text wherever a record has text.
fn full_of(text: &str, runs_too: bool) -> String {
    let mut records = [reads_run("2026-11-25"), touch_run("2026-11-26")].concat();
    for (i, r) in records.iter_mut().enumerate() {
        *r = changed(r, |r| {
            r.command = text.into();
            r.at = format!("2026-11-25T{text}");
            r.machine.facts.insert("cpu".into(), text.into());
            r.machine.facts.insert("versions".into(), text.into());
            for grade in r.machine.grades.values_mut() {
                grade.reason = text.into();
            }
            if i % 2 == 1 {
                r.quotable = false;
                r.doubts = vec![text.into()];
                r.launches[0].unmeasured = Some(text.into());
            }
            if i == 3 {
                r.case = text.into();
                r.param = text.into();
            }
            if runs_too {
                r.run = text.into();
            }
        });
    }
    report(&[lab()], &records, Some(text))
}

#[test]
fn an_axis_says_once_what_its_settings_share() {
    let page = report(&labs().iter().collect::<Vec<_>>(), &full("2026-11-25 10:00 1"), None);
    // "future of 64 bytes", "future of 1,024 bytes" ... would not fit beside each other on a phone.
    let title = "<p class=\"xt\">future of … bytes</p>";
    let at = page.find(title).expect(title);
    let axis = &page[page[..at].rfind("<div class=\"x\">").unwrap()..at];
    assert!(
        axis.starts_with("<div class=\"x\"><span class=\"lo\">64</span><span class=\"\">1,024</span>"),
        "{axis}"
    );
    assert!(!axis.contains("bytes"), "{axis}");
    // Settings that share nothing keep all their words.
    assert!(page.contains("<span class=\"lo\">as many threads as CPUs</span>"));
}

#[test]
fn strings_that_mean_harm_stay_strings() {
    let harm = "\"><script>alert(1)</script><img src=x onerror='x()'>&lt;\u{202e}\u{1b}[31m`x`";
    for runs_too in [false, true] {
        let (page, tame) = (full_of(harm, runs_too), full_of("some words", runs_too));
        assert!(page.contains("&gt;&lt;script&gt;alert(1)"), "it is shown as what it is");
        assert_eq!(page.matches("<script").count(), 1, "ours");
        assert!(!page.contains("<img") && !page.contains(['\u{202e}', '\u{1b}']));
        // Neither a tag nor an attribute more than with harmless words in the same places.
        for mark in ['<', '"'] {
            assert_eq!(page.matches(mark).count(), tame.matches(mark).count(), "{mark} from a record");
        }
    }
}

#[test]
fn a_page_of_everything_stays_within_its_size() {
    let records = full("2026-11-25");
    let page = report(&labs().iter().collect::<Vec<_>>(), &records, None);
    assert!(
        page.len() <= MOST_BYTES,
        "{} bytes from {} records of {} labs",
        page.len(),
        records.len(),
        labs().len()
    );
    for lab in labs() {
        assert!(page.contains(&format!("<section id=\"{}\"", lab.stem)), "{} is missing", lab.stem);
        for step in &lab.steps {
            assert!(
                page.contains(&format!("id=\"{}.{}\"", lab.stem, step.name)),
                "{}/{} is missing",
                lab.stem,
                step.name
            );
        }
    }
    // What was left out is said.
    let one = &labs()[0];
    let small = report(&[one], &records, None);
    assert_eq!(small.contains("for the size of the page"), small.len() > MOST_BYTES);
}

#[test]
fn ten_thousand_records_give_the_page_of_the_newest_runs() {
    let mut records: Vec<Record> = Vec::new();
    for i in 0..1250 {
        let run = format!("2026-{:04}-{:02}", i, i % 28 + 1);
        records.extend(reads_run("2026-11-10").iter().chain(&touch_run("2026-11-10")).map(|r| {
            let mut r = r.clone();
            r.run.clone_from(&run);
            r.at = format!("2026-11-25T00:{:02}:{:02}Z", i / 60, i % 60);
            r
        }));
    }
    assert_eq!(records.len(), 10_000);
    let page = report(&[lab()], &records, None);
    assert!(page.contains("9992 records of other runs are in the store"), "{}", &page[page.len() - 2000..]);
    assert!(page.contains("run 2026-1249-"), "the newest");
    let one = report(&[lab()], &records[9_992..], None);
    assert!(page.len() < one.len() + 200, "the number of records does not show in the size");
}

fn underhood(store: &Path) -> Command {
    let mut c = Command::new(env!("CARGO_BIN_EXE_underhood"));
    c.arg("--store").arg(store).arg("report").env_remove("UNDERHOOD_STORE");
    c
}

#[test]
fn the_command_writes_the_page_where_it_is_told() {
    let store = tempfile::tempdir().unwrap();
    let none = underhood(store.path()).output().unwrap();
    assert_eq!(none.status.code(), Some(1), "an empty store");
    assert!(String::from_utf8_lossy(&none.stderr).contains("no records in"), "{none:?}");

    fs::write(store.path().join("lock_mutex.jsonl"), "{\"schema\":7,\"id\":\"x\"}\n").unwrap();
    let newer = underhood(store.path()).output().unwrap();
    assert_eq!(newer.status.code(), Some(1), "a store of a newer version");
    let why = String::from_utf8_lossy(&newer.stderr);
    assert!(why.contains("can be shown") && why.contains("newer") && !why.contains("make some"), "{why}");

    // The records that the notes cite are a store, too.
    let notes = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/records");
    for entry in fs::read_dir(notes).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, store.path().join(path.file_name().unwrap())).unwrap();
    }
    let usual = underhood(store.path()).output().unwrap();
    assert_eq!(usual.status.code(), Some(0), "{usual:?}");
    let page = fs::read_to_string(store.path().join("report.html")).unwrap();
    assert!(page.len() <= MOST_BYTES && page.ends_with("</html>"), "{} bytes", page.len());

    let stdout = underhood(store.path()).args(["-o", "-"]).output().unwrap();
    assert_eq!(String::from_utf8(stdout.stdout).unwrap(), page, "and nothing else");
    let json =
        underhood(store.path()).args(["--json", "-o"]).arg(store.path().join("b.html")).output().unwrap();
    let said: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(said["bytes"], page.len());

    let nowhere = store.path().join("no/such/folder/report.html");
    let failed = underhood(store.path()).arg("-o").arg(&nowhere).output().unwrap();
    assert_eq!(failed.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&failed.stderr).contains("cannot write"), "{failed:?}");
}

/// The words of a text, without its numbers, of more than two letters.
fn words_of(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_alphabetic()).filter(|w| w.len() > 2).collect()
}

/// `.ci/pictures` writes the text of each picture in the README beside it. Numbers come and go with the records; a word that is gone means
/// that the picture shows another program.
#[test]
fn the_pictures_in_the_readme_show_what_the_product_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let store = tempfile::tempdir().unwrap();
    for lab in ["async_starvation", "lock_rwlock"] {
        let file = format!("{lab}.jsonl");
        fs::copy(root.join("tests/records").join(&file), store.path().join(&file)).unwrap();
    }
    let said = |words: &[&str]| {
        let mut c = Command::new(env!("CARGO_BIN_EXE_underhood"));
        let done = c.args(words).arg("--store").arg(store.path()).env("COLUMNS", "80").output().unwrap();
        String::from_utf8(done.stdout).unwrap()
    };
    let step = said(&["show", "async_starvation"]);
    let page = said(&["report", "lock_rwlock", "-o", "-"]);
    for (picture, now) in [("step", step), ("report", page)] {
        let shown = fs::read_to_string(root.join(format!(".github/pictures/{picture}.txt"))).unwrap();
        let (shown, now) = (words_of(&shown), words_of(&now));
        assert!(shown.len() > 50, "{picture}: {shown:?}");
        let gone: Vec<_> = shown.difference(&now).collect();
        assert!(gone.is_empty(), "make the pictures anew with .ci/pictures: {picture}.png has {gone:?}");
    }
}

/// A kept picture, hostile in all its text.
#[test]
fn a_trace_is_drawn_as_lanes_and_its_text_is_harmless() {
    let step = reads();
    let lane = |name: &str, task, marks: &str| Lane { name: name.into(), task, marks: marks.into() };
    let asked = match step.predict {
        Predict::Number { case, param } => format!("{case} {param}"),
        Predict::Best { param } => format!("{} {param}", step.baseline()),
    };
    let picture = Picture {
        step: step.name.into(),
        name: asked,
        length_ns: 2_000_000,
        lanes: vec![
            lane("worker 0 <script>", false, "....######"),
            lane("victim \u{202e} 1", true, "==--------"),
            lane("<b>", true, "\"><svg onload=x>"),
        ],
    };
    let pictures = [(lab().stem, vec![picture])];
    let records = reads_run("2026-11-25");
    let kept = Kept { records: &records, pictures: &pictures, ..Kept::default() };
    let page = underhood::show::report::report(&[lab()], &kept);
    assert!(
        page.contains("worker 0 &lt;script&gt; is blocked 60 % of the time, and victim"),
        "the title says what is seen"
    );
    assert!(page.contains("is ready and waits 80 %"));
    assert!(page.contains("<path class=b d=\"M4 0h6v12h-6z\"/>"), "six columns of a call that blocks");
    for bad in ["<script>alert", "<svg onload", "\u{202e}", "<b>\"<"] {
        assert!(!page.contains(bad), "{bad:?}");
    }
}

#[test]
fn pictures_are_kept_beside_the_records_and_a_damaged_file_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path());
    let picture = |step: &str, marks: &str| Picture {
        step: step.into(),
        name: "a b".into(),
        length_ns: 1,
        lanes: vec![Lane { name: "x".into(), task: false, marks: marks.into() }],
    };
    assert!(store.pictures("demo").unwrap().is_empty(), "none is no error");
    store.keep_pictures("demo", &[picture("one", "."), picture("two", ".")]).unwrap();
    store.keep_pictures("demo", &[picture("two", "#")]).unwrap();
    let kept = store.pictures("demo").unwrap();
    assert_eq!(
        kept,
        [picture("one", "."), picture("two", "#")],
        "a step that was not traced again keeps its own"
    );
    fs::write(folder.path().join("demo.pictures.json"), "{").unwrap();
    assert!(store.pictures("demo").unwrap_err().to_string().contains("demo.pictures.json"));
    assert!(store.load_all().unwrap().records.is_empty(), "and it is no file of records");
    assert!(store.keep_pictures("../x", &[]).is_err());
}

#[test]
fn a_delay_is_drawn_over_its_percentiles() {
    let lab = labs().iter().find(|l| l.stem == "lock_mutex").unwrap();
    let mut records: Vec<Record> = full("run").into_iter().filter(|r| r.lab == lab.stem).collect();
    let draws = |records: &[Record]| {
        report(&[lab], records, None).contains("Wait, 4 threads for each CPU, from the median to the longest")
    };
    assert!(draws(&records));
    for r in &mut records {
        r.launches.iter_mut().for_each(|s| s.values.retain(|name, _| name != "wait_p99_ns"));
    }
    assert!(!draws(&records), "two points are no curve");
}

#[test]
fn a_prediction_stands_beside_its_result() {
    let records = touch_run("2026-11-26");
    let made = |run: &str, why: &str| Prediction {
        schema: 1,
        at: "2026-11-26T09:00:00Z".into(),
        lab: lab().stem.into(),
        step: touch().name.into(),
        case: String::new(),
        param: String::new(),
        value: touch().headline.into(),
        guess: Guess::Case("call".into()),
        why: why.into(),
        recalled: false,
        run: run.into(),
    };
    let run = records[0].run.as_str();
    let predictions = [made(run, "<i>it is first</i>."), made("a run that is gone", "lost")];
    let kept = Kept { records: &records, predictions: &predictions, ..Kept::default() };
    let page = underhood::show::report::report(&[lab()], &kept);
    assert!(page.contains("<b>Your prediction: </b>You said call"), "{page}");
    assert!(page.contains("Your reason was: &lt;i&gt;it is first&lt;/i&gt;."), "{page}");
    assert!(!page.contains("lost"), "without its run it has no result");
}

#[test]
fn a_grid_of_parameters_is_drawn_as_a_phase_diagram() {
    let lab = labs().iter().find(|l| l.stem == "lock_readers").unwrap();
    let all: Vec<Record> = full("run").into_iter().filter(|r| r.lab == lab.stem).collect();
    // The A/A row as a quiet machine gives it: what the baseline gave.
    let twin = |r: &Record| {
        all.iter().find(|b| b.step == r.step && b.param == r.param && b.case == r.baseline).unwrap()
    };
    let quiet = |r: &Record| {
        if r.case == AA { changed(r, |r| r.launches = twin(r).launches.clone()) } else { r.clone() }
    };
    let records: Vec<Record> = all.iter().map(quiet).collect();
    let page = report(&[lab], &records, None);
    // The made-up rates grow from row to row, so every contender beats the baseline that stands before it.
    assert!(
        page.contains(
            "operations per second: parking_lot 0.13 RwLock wins in 9 of 9 cells, parking_lot 0.13 Mutex in 0"
        ),
        "{page}"
    );
    assert_eq!(
        page.matches("<table class=\"heat\">").count(),
        2,
        "one for each contender of the one step with a grid"
    );
    let cells = page.matches("<td class=\"hc\">").count();
    assert_eq!(cells, 18, "each with its number");
}

#[test]
fn a_whole_is_drawn_with_its_parts() {
    let lab = labs().iter().find(|l| l.stem == "gc_pause").unwrap();
    let mut records: Vec<Record> = full("run").into_iter().filter(|r| r.lab == lab.stem).collect();
    for r in records.iter_mut().filter(|r| r.step == "ledger") {
        *r = changed(r, |r| {
            for s in &mut r.launches {
                s.values.insert("lost_share".into(), 0.5);
                for (name, share) in
                    [("stopped", 0.8), ("throttled", 0.0), ("runq", 0.2), ("faults", 0.0), ("rest", 0.0)]
                {
                    s.values.insert(format!("lost_{name}_share"), share);
                }
            }
        });
    }
    let page = report(&[lab], &records, None);
    assert!(page.contains("50 %, of that stopped 80 %, runq 20 %"), "{page}");
    assert!(page.contains("<i class=\"s0\" style=\"width:80.0%\">"), "{page}");
}

#[test]
fn escapes_keep_what_is_harmless() {
    assert_eq!(escape::line("parking_lot 0.13 (Zürich, 東京)"), "parking_lot 0.13 (Zürich, 東京)");
    assert_eq!(escape::line("a\tb\u{1b}\u{200b}"), "a\\tb\\u{1b}\\u{200b}");
    assert_eq!(escape::line(&"x".repeat(400)).len(), 303);
    // Of the same meaning for a program, and harmless at a terminal.
    let json = escape::json(&serde_json::to_string("a\u{202e}b\u{e0041}\u{9b}ü").unwrap());
    assert_eq!(json, "\"a\\u202eb\\udb40\\udc41\\u009bü\"");
    assert_eq!(serde_json::from_str::<String>(&json).unwrap(), "a\u{202e}b\u{e0041}\u{9b}ü");
    assert_eq!(escape::markdown("a|b <i> `c` *d* & \\"), "a\\|b &lt;i&gt; \\`c\\` \\*d\\* &amp; \\\\");
}
