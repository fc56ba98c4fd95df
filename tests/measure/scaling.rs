//! The law is recovered where it holds, and refuses where it is not determined.
use underhood::{
    measure::order::Order,
    stats::scaling::{POINTS, fit},
};

/// Throughput by the law itself.
fn law(n: f64, rate: f64, serial: f64, crosstalk: f64) -> f64 {
    rate * n / (1.0 + serial * (n - 1.0) + crosstalk * n * (n - 1.0))
}

fn points(counts: &[u32], serial: f64, crosstalk: f64) -> Vec<(f64, f64)> {
    counts.iter().map(|n| (f64::from(*n), law(f64::from(*n), 1e6, serial, crosstalk))).collect()
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-6 * b.abs().max(1e-6)
}

#[test]
fn an_exact_law_is_recovered() {
    for (serial, crosstalk) in [(0.0, 0.0), (0.2, 0.0), (0.05, 0.002), (0.9, 0.05)] {
        let fit = fit(&points(&[1, 2, 3, 4, 6, 8], serial, crosstalk)).unwrap();
        assert!(near(1.0 + fit.serial_share(), 1.0 + serial), "{fit:?}");
        assert!(near(1.0 + fit.crosstalk_share(), 1.0 + crosstalk), "{fit:?}");
        let ahead = fit.at(16.0).unwrap();
        assert!(near(ahead.mid, law(16.0, 1e6, serial, crosstalk)), "{ahead:?}");
        if crosstalk > 0.0 {
            assert!(near(fit.peak().unwrap(), ((1.0 - serial) / crosstalk).sqrt()));
        }
    }
}

#[test]
fn too_few_thread_counts_are_refused() {
    for counts in [&[1, 2][..], &[1, 2, 3], &[1, 2, 2, 2, 1, 3]] {
        let why = fit(&points(counts, 0.1, 0.01)).unwrap_err();
        assert!(why.contains("do not determine"), "{why}");
    }
    assert_eq!(POINTS, 4);
    assert!(fit(&points(&[1, 2, 3, 4], 0.1, 0.01)).is_ok());
    assert!(fit(&[]).is_err());
}

#[test]
fn what_is_no_throughput_is_refused() {
    for bad in [(0.0, 1.0), (2.0, 0.0), (2.0, -1.0), (2.0, f64::NAN), (f64::INFINITY, 1.0)] {
        let mut p = points(&[1, 2, 3, 4, 5], 0.1, 0.01);
        p.push(bad);
        assert!(fit(&p).is_err(), "{bad:?}");
    }
}

#[test]
fn noise_widens_the_interval_until_it_refuses() {
    let noisy = |noise: f64, seed: u64| -> Vec<(f64, f64)> {
        let mut order = Order::new(seed);
        points(&[1, 2, 3, 4, 6, 8], 0.1, 0.005)
            .into_iter()
            .map(|(n, x)| (n, x * (1.0 + noise * (order.below(2001) as f64 / 1000.0 - 1.0))))
            .collect()
    };
    let truth = law(16.0, 1e6, 0.1, 0.005);
    let (mut told, mut held) = (0, 0);
    for seed in 0..200 {
        if let Ok(i) = fit(&noisy(0.01, seed)).unwrap().at(16.0) {
            told += 1;
            held += usize::from(i.lo <= truth && truth <= i.hi);
        }
    }
    assert!(told >= 150, "one per cent of noise is no reason to refuse: {told}");
    assert!(held * 100 >= told * 88, "a 95 % interval holds the truth: {held} of {told}");
    let refused = (0..200).filter(|s| fit(&noisy(0.4, *s)).unwrap().at(16.0).is_err()).count();
    assert!(refused >= 150, "forty per cent of noise determines nothing: {refused}");
    assert!(fit(&noisy(0.3, 1)).unwrap().peak().is_err());
}

#[test]
fn far_forecasts_are_refused() {
    let fit = fit(&points(&[1, 2, 3, 4], 0.1, 0.01)).unwrap();
    assert!(fit.at(8.0).is_ok());
    assert!(fit.at(9.0).unwrap_err().contains("more than"));
}
