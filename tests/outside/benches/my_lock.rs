//! The same lab under criterion.
#[path = "../src/my_lock.rs"]
mod my_lock;

use criterion::{Criterion, criterion_group, criterion_main};
use underhood::prelude::plan_here;

fn benches(c: &mut Criterion) {
    let (lab, plan) = (my_lock::my_lab(), plan_here());
    for bench in lab.benches() {
        let id = format!("{}/{}", lab.stem, bench.id);
        c.bench_function(&id, |b| b.iter_custom(bench.make(&plan)));
    }
}

criterion_group!(all, benches);
criterion_main!(all);
