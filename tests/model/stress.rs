//! Runs scenarios on real threads, round after round, and says how to repeat a round that failed.

use super::scenarios;
use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Far above what a round takes on a slow machine: it is there so that a lost wake-up fails a test and does not hang it.
const LIMIT: Duration = Duration::from_secs(60);

/// The number in environment variable `name`, or `default`. Decimal.
pub fn number(name: &str, default: u64) -> u64 {
    env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// Every scenario, `rounds` times, each thread repeating its part `turns` times. Before each round, `begin` gets its seed.
pub fn every_scenario(rounds: u64, turns: usize, first_seed: u64, begin: fn(u64)) {
    for structure in scenarios::ALL {
        for scenario in structure.scenarios {
            for seed in (0..rounds).map(|round| first_seed.wrapping_add(round)) {
                if let Err(why) = round(seed, begin, move || (scenario.run)(turns)) {
                    panic!("{}, {} ({}): seed {seed}: {why}", structure.path, scenario.name, scenario.oracle);
                }
            }
        }
    }
}

/// One run of `program`; an error if it panics or does not end.
pub fn round(seed: u64, begin: fn(u64), program: impl Fn() + Send + 'static) -> Result<(), String> {
    let (sender, receiver) = mpsc::channel();
    let worker = thread::spawn(move || {
        begin(seed);
        let end = catch_unwind(AssertUnwindSafe(program));
        let _ = sender.send(()); // nobody listens any more if we are over the limit
        end.unwrap_or_else(|panic| resume_unwind(panic));
    });
    if receiver.recv_timeout(LIMIT).is_err() {
        return Err(format!("still running after {LIMIT:?}: a lost wake-up or a deadlock")); // the threads are given up
    }
    worker.join().map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("a panic without a message")
            .to_owned()
    })
}
