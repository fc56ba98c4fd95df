//! Who else used the CPUs: recorded readings, and one live neighbour.
use underhood::machine::during::{Reading, Ticks, shares, ticks};

const BEFORE: &str = "cpu  300 0 300 900 0 0 0 0 0 0\n\
    cpu0 100 0 100 300 0 0 0 0 0 0\ncpu1 100 0 100 300 0 0 0 0 0 0\ncpu10 100 0 100 300 0 0 0 0 0 0\nintr 5\n";
const TICK_NS: f64 = 1e7;

fn reading(text: &str, cpus: &[usize], own_ticks: f64) -> Reading {
    Reading { ticks: ticks(text, cpus), own_ns: Some(own_ticks * TICK_NS) }
}

#[test]
fn only_the_watched_cpus_count() {
    assert_eq!(ticks(BEFORE, &[0, 1]), Some(Ticks { busy: 400, steal: 0, total: 1000 }));
    assert_eq!(ticks(BEFORE, &[1]), Some(Ticks { busy: 200, steal: 0, total: 500 }));
    assert_eq!(ticks(BEFORE, &[7]), None);
    for junk in ["", "cpu0\n", "cpu0 a b c d\n", "cpux 1 2 3 4 5 6 7 8\n", "cpu0 1 2\n"] {
        assert_eq!(ticks(junk, &[0]), None, "{junk:?}");
    }
}

#[test]
fn guest_time_is_not_counted_twice_and_waiting_for_a_disk_is_idle() {
    // user nice system idle iowait irq softirq steal guest guest_nice
    let all = Ticks { busy: 1 + 2 + 4 + 32 + 64, steal: 128, total: 255 };
    assert_eq!(ticks("cpu0 1 2 4 8 16 32 64 128 1 1\n", &[0]), Some(all));
}

#[test]
fn own_work_is_taken_off_and_the_rest_is_others() {
    // 100 ticks a CPU; CPU 0 all busy, CPU 1 half, 10 stolen there.
    let after = "cpu0 180 0 120 300 0 0 0 0\ncpu1 140 0 110 340 0 0 0 10\n";
    let a = reading(BEFORE, &[0, 1], 5.0);
    let near = |x: f64, y: f64| (x - y).abs() < 1e-9;
    let found = shares(&a, &reading(after, &[0, 1], 105.0), TICK_NS);
    assert!(near(found["others_busy_share"], 50.0 / 200.0), "{found:?}");
    assert!(near(found["steal_share"], 10.0 / 200.0));
    // A busy loop of 50 more ticks on CPU 1 in mid-run is seen as what it is.
    let busier = "cpu0 180 0 120 300 0 0 0 0\ncpu1 190 0 110 290 0 0 0 10\n";
    let found = shares(&a, &reading(busier, &[0, 1], 105.0), TICK_NS);
    assert!(near(found["others_busy_share"], 100.0 / 200.0), "{found:?}");
    // Sampled ticks may fall short of exact own time; that is zero others, not fewer.
    let found = shares(&a, &reading(after, &[0, 1], 165.0), TICK_NS);
    assert!(near(found["others_busy_share"], 0.0));
}

#[test]
fn what_cannot_be_known_is_absent() {
    let a = reading(BEFORE, &[0, 1], 0.0);
    assert!(shares(&a, &a, TICK_NS).is_empty(), "no time has passed");
    assert!(shares(&Reading::default(), &a, TICK_NS).is_empty(), "no /proc before");
    assert!(shares(&a, &Reading::default(), TICK_NS).is_empty(), "no /proc after");
    let offline = reading(BEFORE, &[0], 0.0);
    assert!(shares(&a, &offline, TICK_NS).is_empty(), "a CPU went away");
    let no_rusage =
        Reading { own_ns: None, ..reading("cpu0 180 0 120 300\ncpu1 140 0 110 350\n", &[0, 1], 0.0) };
    let found = shares(&a, &no_rusage, TICK_NS);
    assert!(found.contains_key("steal_share") && !found.contains_key("others_busy_share"));
}

/// A neighbour that starts in mid-run. Whether it or somebody else gets the CPU, it is not ours.
#[cfg(target_os = "linux")]
#[test]
fn a_busy_neighbour_shows_and_so_does_a_child_that_is_not_yet_waited_for() {
    use std::{process::Command, thread::sleep, time::Duration};
    use underhood::machine::Watchful;

    let watch = Watchful::start();
    let mut neighbour = Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
    sleep(Duration::from_millis(600));
    let found = watch.finish();
    neighbour.kill().unwrap();
    neighbour.wait().unwrap();
    // One of n CPUs was asked for all the time; a quarter of that leaves room for the loop's start and a CPU quota.
    let n = underhood::machine::allowed_cpus().len() as f64;
    if let Some(share) = found.get("others_busy_share") {
        assert!(*share > 0.25 / n, "{found:?}");
    }
}
