//! The kernels under tango: this build against another, call by call in turn.
use tango_bench::{IntoBenchmarks, benchmark_fn, tango_benchmarks};

fn kernels() -> impl IntoBenchmarks {
    peers::KERNELS.map(|id| benchmark_fn(id, move |b| b.iter(peers::kernel(id))))
}

tango_benchmarks!(kernels());
