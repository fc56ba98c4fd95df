//! `underhood audit`: each flaw is found where it is and not where it isn't, the recorder notes what happened, and bad input is named.
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Barrier,
    thread,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use underhood::evidence::{
    self, Benchmark, Recorder,
    flaws::{Audited, audit_all},
};

fn underhood(words: &[&str]) -> (Option<i32>, String, String) {
    let mut c = Command::new(env!("CARGO_BIN_EXE_underhood"));
    c.arg("audit").args(words).stdin(Stdio::null());
    let Output { status, stdout, stderr } = c.output().expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.code(), text(stdout), text(stderr))
}

fn read(path: &Path) -> Vec<Benchmark> {
    let (found, unread) = evidence::read(&[path.to_path_buf()]);
    assert!(unread.is_empty(), "{unread:?}");
    found
}

fn audited(path: &Path) -> Vec<Audited> {
    read(path).iter().flat_map(audit_all).collect()
}

/// The names of all flaws in these files.
fn flaws(path: &Path) -> Vec<&'static str> {
    audited(path).iter().flat_map(|a| &a.flaws).map(|f| f.mistake.id()).collect()
}

/// Scatters by less than 1 %, and the same each time.
fn about(value: f64, i: usize) -> f64 {
    value * (1.0 + 0.0008 * ((i * 37) % 11) as f64)
}

/// Samples of criterion: iterations, and ns for all of them.
type Samples = Vec<(f64, f64)>;

/// As many iterations in each sample.
fn flat(n: usize, ops: f64, op_ns: impl Fn(usize) -> f64) -> Samples {
    (0..n).map(|i| (ops, about(ops * op_ns(i), i))).collect()
}

/// More iterations from sample to sample, and a cost of each sample.
fn linear(ops: f64, op_ns: f64, once_ns: f64) -> Samples {
    (1..=100).map(|i| (ops * i as f64, about(ops * i as f64 * op_ns + once_ns, i))).collect()
}

/// What criterion writes, in a folder of its own.
struct Criterion(TempDir);

impl Criterion {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
    fn one(samples: &Samples) -> Self {
        Self::new().with("lock", "mutex", samples)
    }
    fn new_of(&self, group: &str, function: &str) -> PathBuf {
        self.0.path().join(group).join(function).join("new")
    }
    fn with(self, group: &str, function: &str, samples: &Samples) -> Self {
        let new = self.new_of(group, function);
        fs::create_dir_all(&new).unwrap();
        let (iters, times): (Vec<f64>, Vec<f64>) = samples.iter().copied().unzip();
        let sample = json!({ "sampling_mode": "Linear", "iters": iters, "times": times });
        fs::write(new.join("sample.json"), sample.to_string()).unwrap();
        let id = json!({ "group_id": group, "function_id": function, "value_str": null, "throughput": null,
            "full_id": format!("{group}/{function}"), "directory_name": format!("{group}/{function}"), "title": group });
        fs::write(new.join("benchmark.json"), id.to_string()).unwrap();
        self
    }
    /// What criterion prints.
    fn printed(self, op_ns: f64) -> Self {
        let estimate = json!({ "confidence_interval": { "confidence_level": 0.95, "lower_bound": op_ns, "upper_bound": op_ns },
            "point_estimate": op_ns, "standard_error": 0.0 });
        let all = json!({ "mean": estimate, "median": estimate, "median_abs_dev": estimate, "slope": null, "std_dev": estimate });
        fs::write(self.new_of("lock", "mutex").join("estimates.json"), all.to_string()).unwrap();
        self
    }
    fn written_at(&self, function: &str, seconds: u64) {
        let file = fs::File::options().append(true).open(self.new_of("lock", function).join("sample.json"));
        file.unwrap()
            .set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds))
            .unwrap();
    }
    fn flaws(&self) -> Vec<&'static str> {
        flaws(self.0.path())
    }
}

fn sound() -> Samples {
    linear(1000.0, 12.0, 0.0)
}

#[test]
fn nothing_is_found_in_a_sound_benchmark() {
    assert!(Criterion::one(&sound()).printed(12.05).flaws().is_empty());
    assert!(Criterion::one(&flat(100, 500.0, |_| 90.0)).flaws().is_empty());
}

#[test]
fn few_samples_are_a_flaw_if_they_leave_the_median_open() {
    let wide = flat(8, 1e4, |i| 10.0 + i as f64);
    assert_eq!(Criterion::one(&wide).flaws(), ["few_samples"]);
    assert_eq!(Criterion::one(&flat(3, 1e4, |_| 10.0)).flaws(), ["few_samples"]);
    let tight = Criterion::one(&flat(10, 1e4, |_| 10.0));
    assert!(tight.flaws().is_empty());
    assert!(audited(tight.0.path())[0].open.iter().any(|o| o.contains("two groups and drift")));
}

#[test]
fn samples_as_short_as_the_clock_are_a_flaw() {
    assert_eq!(Criterion::one(&flat(100, 1.0, |_| 80.0)).flaws(), ["short_samples"]);
    let zero: Samples = vec![(1000.0, 0.0); 100];
    assert_eq!(Criterion::one(&zero).flaws(), ["short_samples"]);
    let steps: Samples = (0..100).map(|i| (100.0, if i % 3 == 0 { 2000.0 } else { 2100.0 })).collect();
    assert_eq!(Criterion::one(&steps).flaws(), ["short_samples"]);
}

#[test]
fn an_operation_that_takes_no_time_is_a_flaw() {
    assert_eq!(Criterion::one(&linear(1e5, 0.25, 0.0)).flaws(), ["work_removed"]);
    assert!(Criterion::one(&linear(1e5, 1.0, 0.0)).flaws().is_empty());
}

#[test]
fn two_groups_of_samples_are_a_flaw_and_a_few_slow_ones_are_none() {
    let two = flat(100, 1e4, |i| if i % 5 < 3 { 10.0 } else { 20.0 });
    assert_eq!(Criterion::one(&two).flaws(), ["two_groups"]);
    let odd = flat(100, 1e4, |i| if i % 33 == 32 { 20.0 } else { 10.0 });
    assert!(Criterion::one(&odd).flaws().is_empty());
}

#[test]
fn a_drift_is_a_flaw() {
    assert_eq!(Criterion::one(&flat(100, 1e4, |i| 10.0 + 0.05 * i as f64)).flaws(), ["drift"]);
    assert!(Criterion::one(&flat(100, 1e4, |i| 10.0 + 0.005 * i as f64)).flaws().is_empty());
}

#[test]
fn a_cost_of_each_sample_is_told_from_a_drift() {
    let fixed = Criterion::one(&linear(10.0, 100.0, 50_000.0));
    assert_eq!(fixed.flaws(), ["fixed_cost"]);
    let seen = &audited(fixed.0.path())[0].flaws[0].seen;
    // 50 us were put in.
    assert!(seen.contains("about 50.") || seen.contains("about 49."), "{seen}");
    // The same lengths, and an operation that gets dearer with time.
    let drift: Samples = (1..=100).map(|i| (10.0 * i as f64, 10.0 * i as f64 * (100.0 + i as f64))).collect();
    assert_eq!(Criterion::one(&drift).flaws(), ["drift"]);
    // A fixed cost, and in the last third something that makes each operation dearer, by more than the fixed cost explains.
    let op_ns = |i: usize| 100.0 + 300.0 / i as f64 + if i > 66 { 45.0 } else { 0.0 };
    let cold: Samples = (1..=100).map(|i| (10.0 * i as f64, 10.0 * i as f64 * op_ns(i))).collect();
    assert_eq!(Criterion::one(&cold).flaws(), ["drift"]);
}

#[test]
fn a_printed_number_apart_from_the_median_is_a_flaw() {
    assert_eq!(Criterion::one(&sound()).printed(15.0).flaws(), ["printed_apart"]);
    assert!(Criterion::one(&sound()).printed(12.5).flaws().is_empty());
}

#[test]
fn cases_one_after_the_other_are_a_flaw_if_the_times_of_the_files_show_it() {
    let both = Criterion::one(&sound()).with("lock", "spin", &sound());
    // Each took 0.06 s.
    both.written_at("mutex", 0);
    both.written_at("spin", 5);
    assert_eq!(both.flaws(), ["fixed_order"]);
    // As in a copy of the folder.
    both.written_at("spin", 0);
    assert!(both.flaws().is_empty());
    let side_by_side = audited(both.0.path()).pop().unwrap();
    assert!(side_by_side.open.iter().any(|o| o.contains("took turns")), "{side_by_side:?}");
}

/// A run of the recorder's file.
struct Run {
    lines: Vec<Value>,
    now: u64,
}

/// From and to, as shares of the sample.
type Spans<'a> = &'a [(f64, f64)];
const BOTH: Spans = &[(0.01, 0.99), (0.02, 0.98)];
const SAMPLE_NS: u64 = 1_000_000;

impl Run {
    fn new() -> Self {
        let head = json!({ "underhood_audit": 1, "benchmark": "counter", "at_unix_s": 1, "clock_ns": 25.0 });
        Self { lines: vec![head], now: 0 }
    }
    /// A sample whose threads each do so many operations; `change` alters its line.
    fn sample(&mut self, case: &str, lanes: Spans, ops: u64, change: impl FnOnce(&mut Value)) {
        let i = self.lines.len();
        let took = about(SAMPLE_NS as f64, i);
        let start = self.now + SAMPLE_NS;
        let at = |share: f64| (start as f64 + took * share) as u64;
        let lanes =
            lanes.iter().map(|(from, to)| json!({ "from_ns": at(*from), "to_ns": at(*to), "ops": ops }));
        let mut line = json!({ "case": case, "start_ns": start, "stop_ns": at(1.0), "lanes": lanes.collect::<Vec<_>>() });
        change(&mut line);
        self.now = start + 2 * SAMPLE_NS;
        self.lines.push(line);
    }
    /// Twenty-five of them.
    fn samples(mut self, case: &str, lanes: Spans, ops: u64, change: impl Fn(&mut Value)) -> Self {
        (0..25).for_each(|_| self.sample(case, lanes, ops, &change));
        self
    }
    fn text(&self) -> String {
        self.lines.iter().map(|l| format!("{l}\n")).collect()
    }
    fn flaws(&self) -> Vec<&'static str> {
        of_text(&self.text())
    }
}

fn of_text(text: &str) -> Vec<&'static str> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.audit.jsonl"), text).unwrap();
    flaws(dir.path())
}

fn as_it_is(_: &mut Value) {}

#[test]
fn clocks_and_threads_of_the_recorder_are_judged() {
    let with = |lanes| Run::new().samples("mutex", lanes, 1000, as_it_is).flaws();
    assert!(with(BOTH).is_empty());
    assert_eq!(with(&[(0.5, 0.9), (0.5, 0.9)]), ["thread_start_timed"]);
    assert_eq!(with(&[(-0.9, 1.0), (-0.9, 1.0)]), ["clock_read_late"]);
    assert_eq!(with(&[(0.0, 0.5), (0.5, 1.0)]), ["no_overlap"]);
}

#[test]
fn operations_that_did_nothing_are_a_flaw() {
    let did = |did: u64| {
        let change = |line: &mut Value| line["lanes"][0]["did"] = json!(did);
        Run::new().samples("mutex", BOTH, 1000, change).flaws()
    };
    assert_eq!(did(800), ["result_dropped"]);
    assert!(did(1000).is_empty());
}

#[test]
fn a_drop_within_the_timing_is_a_flaw_and_one_after_it_is_none() {
    let dropped = |after_ns: u64, took_ns: u64| {
        let change = move |line: &mut Value| {
            let at = line["start_ns"].as_u64().unwrap() + after_ns;
            line["drops"] = json!([{ "at_ns": at, "took_ns": took_ns }]);
        };
        Run::new().samples("mutex", BOTH, 1000, change).flaws()
    };
    assert_eq!(dropped(500_000, 300_000), ["drop_timed"]);
    assert!(dropped(500_000, 30_000).is_empty());
    assert!(dropped(1_500_000, 300_000).is_empty());
}

#[test]
fn a_loop_that_costs_more_than_what_is_in_it_is_a_flaw() {
    let with = |harness_ops: u64| {
        let empty = |line: &mut Value| line["harness"] = json!(true);
        Run::new().samples("empty", BOTH, harness_ops, empty).samples("mutex", BOTH, 1000, as_it_is).flaws()
    };
    assert_eq!(with(1_500), ["harness_dominates"]);
    assert!(with(20_000).is_empty());
}

/// Samples of two cases in turns.
fn in_turns(change: impl Fn(&mut Value)) -> Run {
    let mut run = Run::new();
    for _ in 0..25 {
        run.sample("mutex", BOTH, 1000, as_it_is);
        run.sample("spin", BOTH, 1000, &change);
    }
    run
}

#[test]
fn unequal_work_is_a_flaw() {
    let with = |units: u64| {
        let mut run = in_turns(|line| line["lanes"][0]["work"] = json!(units));
        for line in run.lines.iter_mut().filter(|l| l["case"] == "mutex") {
            line["lanes"][0]["work"] = json!(1000);
        }
        run.flaws()
    };
    assert_eq!(with(2000), ["unequal_work"]);
    assert!(with(1000).is_empty());
}

#[test]
fn a_fixed_order_is_a_flaw_until_a_run_has_another() {
    let blocks = |first: &str, second: &str| {
        Run::new().samples(first, BOTH, 1000, as_it_is).samples(second, BOTH, 1000, as_it_is)
    };
    assert_eq!(blocks("mutex", "spin").flaws(), ["fixed_order"]);
    let text = |a: &Run, b: &Run| a.text() + &b.text();
    let (there, back) = (blocks("mutex", "spin"), blocks("spin", "mutex"));
    assert_eq!(of_text(&text(&there, &there)), ["fixed_order"]);
    assert!(of_text(&text(&there, &back)).is_empty());
    assert!(in_turns(as_it_is).flaws().is_empty());
}

#[test]
fn runs_that_disagree_are_a_flaw() {
    let run = |ops| Run::new().samples("mutex", BOTH, ops, as_it_is).text();
    assert_eq!(of_text(&(run(1000) + &run(1200))), ["runs_differ"]);
    assert!(of_text(&(run(1000) + &run(1010))).is_empty());
}

#[test]
fn the_warm_up_of_criterion_is_left_out() {
    let mut run = Run::new();
    // The same time for fewer operations: with these the first third would seem slow.
    (0..12).for_each(|i| run.sample("mutex", BOTH, 1 << i, as_it_is));
    let run = run.samples("mutex", BOTH, 1000, as_it_is);
    assert!(run.flaws().is_empty(), "{:?}", run.flaws());
}

#[test]
fn the_recorder_finds_two_threads_that_never_ran_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sum.audit.jsonl");
    let recorder = Recorder::new("sum");
    for _ in 0..7 {
        let sample = recorder.case("one after the other").sample();
        sample.start();
        for _ in 0..2 {
            // The second thread is started when the first has ended.
            thread::scope(|s| {
                s.spawn(|| {
                    let lane = sample.lane();
                    let sum: u64 = (0..1000).map(std::hint::black_box).sum();
                    lane.used(&sum).done(1000);
                });
            });
        }
        sample.stop();
    }
    assert_eq!(recorder.append(&file).unwrap(), 7);
    let found = flaws(&file);
    assert!(found.contains(&"no_overlap"), "{found:?}");
    let (code, out, err) = underhood(&[file.to_str().unwrap()]);
    assert_eq!(code, Some(3), "{err}");
    let words = out.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "sum / one after the other",
        "7 samples of 2000 operations by 2 threads",
        "Flaw: no overlap: all threads were at work at once in 0 % of the time.",
        "What to do: Let the threads wait for each other",
        "Not judged: ",
        "whether the operations did what they were for (it does not call `did`)",
    ] {
        assert!(words.contains(part), "{part} is missing: {words}");
    }
    assert!(!words.contains("(it does not call `used`)"), "{words}");
}

#[test]
fn the_recorder_notes_who_was_there_at_once_what_was_dropped_and_each_run() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sum.audit.jsonl");
    let recorder = Recorder::new("sum");
    for _ in 0..2 {
        let (sample, all_there) = (recorder.case("together").sample(), Barrier::new(2));
        let inside = sample.watch(vec![1u8; 100]);
        let outside = sample.watch(vec![1u8; 100]);
        assert_eq!(inside.len(), 100);
        sample.start();
        thread::scope(|s| {
            for _ in 0..2 {
                s.spawn(|| {
                    let lane = sample.lane();
                    all_there.wait();
                    lane.did(9).work(20).done(10);
                });
            }
        });
        drop(inside);
        sample.stop();
        assert_eq!(outside.into_inner().len(), 100);
        drop(sample);
        assert_eq!(recorder.append(&file).unwrap(), 1);
    }
    assert_eq!(recorder.append(&file).unwrap(), 0, "nothing is written twice");
    let benchmark = read(&file).remove(0);
    assert_eq!(benchmark.name, "sum");
    let samples = &benchmark.cases[0].samples;
    assert_eq!(samples.iter().map(|s| s.run).collect::<Vec<_>>(), [0, 1]);
    for sample in samples {
        let (begun, over) =
            (sample.lanes.iter().map(|l| l.from_ns).max(), sample.lanes.iter().map(|l| l.to_ns).min());
        assert!(begun <= over, "each was there before the other had ended: {sample:?}");
        assert_eq!(
            sample.lanes.iter().map(|l| (l.ops, l.did, l.work)).collect::<Vec<_>>(),
            [(10, Some(9), Some(20)); 2]
        );
        assert!(sample.drop_ns.is_some_and(|ns| ns <= sample.took_ns), "{sample:?}");
    }
    // A sample that was never stopped is none.
    recorder.case("unfinished").sample().start();
    assert_eq!(recorder.append(&file).unwrap(), 0);
    let took = recorder.case("alone").time(10, thread::yield_now);
    assert_eq!(recorder.append(&file).unwrap(), 1);
    let alone = read(&file).remove(0).cases.remove(1);
    assert_eq!(alone.samples[0].took_ns as u128, took.as_nanos());
    assert_eq!(alone.samples[0].lanes.len(), 1);
}

#[test]
fn the_exit_code_and_json_say_what_was_found() {
    let sound_one = Criterion::one(&sound());
    let dir = sound_one.0.path().to_str().unwrap();
    let (code, out, err) = underhood(&[dir]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("lock / mutex") && out.contains("No flaw found."), "{out}");
    let drifting = Criterion::one(&flat(100, 1e4, |i| 10.0 + 0.05 * i as f64));
    let (code, out, err) = underhood(&[dir, drifting.0.path().to_str().unwrap(), "--json"]);
    assert_eq!(code, Some(3), "{err}");
    let lines: Vec<Value> = out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let found: Vec<&Value> = lines.iter().filter_map(|l| l["flaws"].get(0)).collect();
    assert!(found.iter().any(|f| f["flaw"] == "drift" && f["do"].is_string()), "{out}");
    assert!(lines.iter().all(|l| l["not_judged"].is_array() && l["looked_at"].is_string()), "{out}");
}

#[test]
fn help_and_readme_name_the_command() {
    let (code, out, _) = underhood(&["--help"]);
    assert_eq!(code, Some(0));
    for part in [
        "Exit codes: 0 no flaw found, 1 something can't be read, 2 usage, 3 flaws found",
        "target/criterion",
        "--json",
    ] {
        assert!(out.contains(part), "{part} is missing: {out}");
    }
    assert_eq!(underhood(&["--nonsense"]).0, Some(2));
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    assert!(readme.contains("cargo run --release -- audit"), "the README shows it");
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_is_audited() {
    let good =
        json!({ "sampling_mode": "Flat", "iters": [100.0, 100.0], "times": [5000.0, 5000.0] }).to_string();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sample.json");
    let path = file.to_str().unwrap();
    for (text, why) in [
        ("", "it is empty"),
        (" \n", "it is empty"),
        ("not json", "line 1"),
        (&good[..30], "EOF"),
        (&good.replace("[5000.0,", "[-5.0,"), "sample 1 took -5 ns, which is no time"),
        (&good.replace("[5000.0,", "[NaN,"), "line 1"),
        (&good.replace("[5000.0,", "[null,"), "null"),
        (&good.replace("[5000.0,", "[1e999,"), "out of range"),
        (&good.replace("[100.0,", "[0.0,"), "sample 1 has 0 iterations"),
        (&good.replace("[5000.0,5000.0]", "[5000.0]"), "2 numbers of iterations and 1 times"),
        ("{\"iters\":[],\"times\":[]}", "no samples"),
    ] {
        fs::write(&file, text).unwrap();
        let (code, out, err) = underhood(&[path]);
        assert_eq!(code, Some(1), "{text}: {out}{err}");
        assert!(err.contains(why) && err.contains(path), "{text}: {err}");
    }
    fs::write(&file, [0xff, 0xfe, b'{']).unwrap();
    assert!(underhood(&[path]).2.contains("not UTF-8"));
    let sound_one = Criterion::one(&sound());
    let (code, out, err) = underhood(&[path, sound_one.0.path().to_str().unwrap(), "/no/such/folder"]);
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(out.contains("lock / mutex") && err.contains("/no/such/folder"), "{out}{err}");
    let empty = tempfile::tempdir().unwrap();
    let (code, _, err) = underhood(&[empty.path().to_str().unwrap()]);
    assert!(code == Some(1) && err.contains("no new/sample.json"), "{err}");
    // A file beside the samples counts too.
    fs::write(sound_one.new_of("lock", "mutex").join("estimates.json"), "{").unwrap();
    let (code, _, err) = underhood(&[sound_one.0.path().to_str().unwrap()]);
    assert!(code == Some(1) && err.contains("estimates.json"), "{err}");
}

#[test]
fn a_damaged_file_of_the_recorder_is_named_with_its_line() {
    let good = Run::new().samples("mutex", BOTH, 1000, as_it_is).text();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.jsonl");
    let cut = &good[..good.len() - 20];
    let turned = good.replacen("\"from_ns\":", "\"from_ns\":9", 1);
    for (text, why) in [
        (cut, "line 26: "),
        ("{\"case\":\"a\"}\n", "line 1: it does not begin a run of the recorder"),
        (&good.replacen("audit\":1", "audit\":9", 1), "line 1: it has the format 9"),
        (&good.replacen("25.0", "-25.0", 1), "line 1: a reading of the clock took -25 ns"),
        (&good.replacen("\"stop_ns\":", "\"stop_ns\":-", 1), "line 2: "),
        (&turned, "line 2: a thread ends before it begins"),
        (&good.replacen("\"start_ns\":", "\"start_ns\":9", 1), "line 2: the clock stops before it starts"),
        (&format!("{good}{}", good.replacen("counter", "other", 1)), "line 27: 'other' is another benchmark"),
        (good.lines().next().unwrap(), "no samples"),
    ] {
        fs::write(&file, text).unwrap();
        let (code, out, err) = underhood(&[file.to_str().unwrap()]);
        assert_eq!(code, Some(1), "{why}: {out}{err}");
        assert!(err.contains(why), "{why}: {err}");
    }
}

#[test]
fn long_files_pipes_and_names_with_escapes_do_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let huge = dir.path().join("huge.jsonl");
    fs::File::create(&huge).unwrap().set_len(1 << 33).unwrap();
    let (code, _, err) = underhood(&[huge.to_str().unwrap()]);
    assert!(code == Some(1) && err.contains("larger than 64 MiB"), "{err}");
    let named = Criterion::new().with("a\u{1b}[31m", "b", &flat(3, 1e4, |_| 10.0)).with(
        "a\u{1b}[31m",
        "c\u{7}",
        &sound(),
    );
    let (code, out, err) = underhood(&[named.0.path().to_str().unwrap()]);
    assert_eq!(code, Some(3), "{err}");
    assert!(!out.contains('\u{1b}') && !out.contains('\u{7}'), "{out:?}");
    assert!(out.contains("\\u{1b}[31m / b"), "{out}");
    #[cfg(unix)]
    {
        let pipe = dir.path().join("pipe.audit.jsonl");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for path in [pipe.as_path(), dir.path()] {
            let (code, _, err) = underhood(&[path.to_str().unwrap()]);
            assert!(code == Some(1) && err.contains("it is a named pipe, not a file"), "{err}");
        }
        let turning = dir.path().join("turning");
        std::os::unix::fs::symlink(dir.path(), turning).unwrap();
        assert_eq!(underhood(&[dir.path().to_str().unwrap()]).0, Some(1), "a link in a circle has an end");
    }
}
