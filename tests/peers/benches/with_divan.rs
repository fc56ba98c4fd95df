//! The kernels under divan.
fn main() {
    divan::main();
}

#[divan::bench(args = peers::KERNELS, min_time = 1)]
fn kernels(bencher: divan::Bencher, id: &str) {
    let mut kernel = peers::kernel(id);
    bencher.bench_local(&mut kernel);
}
