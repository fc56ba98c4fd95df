//! `cargo bench labs`: every case of every lab under criterion, with ids `labs/<lab>/<case>[/<param>]`.
//!
//! Criterion is here for its statistics and its history, for comparisons of before and after. It runs cases one after the other, so ratios
//! between contenders belong to the labs, which pair them.
#![allow(
    clippy::print_stderr,
    reason = "the bench main talks to a person; results are criterion's and go to stdout"
)]
#[path = "../labs/all.rs"]
mod all;

use std::{cell::Cell, process::ExitCode, time::Duration};

use criterion::Criterion;
use underhood::{
    lab::plan::{Mode, Plan},
    machine::{Machine, allowed_cpus},
};

const WARM_UP: Duration = Duration::from_millis(100);
const MEASURE: Duration = Duration::from_millis(350);
const SAMPLES: usize = 20;

fn main() -> ExitCode {
    let plan = Plan::new(Mode::Default, allowed_cpus());
    let measuring = std::env::args().any(|a| a == "--bench") && !std::env::args().any(|a| a == "--list");
    let benches: Vec<_> = all::labs()
        .iter()
        .flat_map(|lab| lab.benches().map(|b| (format!("labs/{}/{}", lab.stem, b.id), b)))
        .collect();
    if measuring {
        let mut machine = Machine::read();
        machine.examine(Duration::from_secs(2), &mut |_| {});
        eprintln!("{}", underhood::show::check::grades(&machine));
        // Criterion itself takes about as long again for analysis and for samples that overrun.
        let budget = (WARM_UP + MEASURE).mul_f64(1.2) * u32::try_from(benches.len()).unwrap_or(u32::MAX);
        eprintln!(
            "{} benches, at most about {:.0} s in all; a filter takes fewer\n",
            benches.len(),
            budget.as_secs_f64()
        );
    }
    let mut criterion = Criterion::default()
        .without_plots()
        .warm_up_time(WARM_UP)
        .measurement_time(MEASURE)
        .sample_size(SAMPLES)
        .nresamples(5_000)
        .configure_from_args();
    let ran = Cell::new(0);
    for (id, bench) in &benches {
        criterion.bench_function(id, |b| {
            ran.set(ran.get() + 1);
            let mut timed = bench.make(&plan);
            b.iter_custom(&mut timed);
        });
    }
    criterion.final_summary();
    // Criterion takes a filter that matches nothing for success; a typo should not look like one.
    if measuring && ran.get() == 0 {
        eprintln!("no bench matched; the ids are:");
        for (id, _) in &benches {
            eprintln!("  {id}");
        }
        return ExitCode::from(2);
    }
    ExitCode::SUCCESS
}
