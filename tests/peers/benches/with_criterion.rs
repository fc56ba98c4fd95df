//! The kernels under criterion.
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};

fn kernels(c: &mut Criterion) {
    for id in peers::KERNELS {
        let mut kernel = peers::kernel(id);
        c.bench_function(&id.replace('/', "."), |b| b.iter(&mut kernel));
    }
}

criterion_group! {
    name = all;
    config = Criterion::default().without_plots().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = kernels
}
criterion_main!(all);
