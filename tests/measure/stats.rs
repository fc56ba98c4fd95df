//! Intervals, ratios, odd launches: known values, edges, and the coverage of the interval.
use underhood::stats::*;

fn near(a: f64, b: f64, within: f64) -> bool {
    (a - b).abs() <= within
}

/// Integral of Student's density from 0 to `q`, by Simpson's rule; independent of the table in the crate.
fn student_half(q: f64, df: f64) -> f64 {
    // Gamma((df + 1) / 2) / Gamma(df / 2) by the recurrence from df = 1 and df = 2.
    let mut k = if df as u64 % 2 == 1 { 1.0 } else { 2.0 };
    let mut gammas =
        if k < 1.5 { 1.0 / std::f64::consts::PI.sqrt() } else { std::f64::consts::PI.sqrt() / 2.0 };
    while k < df {
        gammas *= (k + 1.0) / k;
        k += 2.0;
    }
    let c = gammas / (df * std::f64::consts::PI).sqrt();
    let density = |t: f64| c * (1.0 + t * t / df).powf(-(df + 1.0) / 2.0);
    let n = 20_000;
    let h = q / f64::from(n);
    let inner: f64 = (1..n).map(|i| density(h * f64::from(i)) * if i % 2 == 1 { 4.0 } else { 2.0 }).sum();
    (density(0.0) + inner + density(q)) * h / 3.0
}

#[test]
fn the_quantiles_leave_five_percent_outside() {
    for df in 1..=60 {
        let inside = 2.0 * student_half(t_95(df), df as f64);
        assert!(near(inside, 0.95, 1.5e-4), "df {df}: {inside}");
    }
    assert!(near(t_95(1_000_000), 1.959_964, 1e-4));
}

#[test]
fn the_interval_of_the_sleep_data_is_the_one_in_the_textbooks() {
    // Student 1908, table of Cushny and Peebles: ten patients, hours of sleep gained by one drug over the other.
    // Mean 1.58, 95 % interval 0.70 to 2.46. Holds a zero, so it is computed without logarithms.
    let gained = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4];
    let i = over_launches(&gained).unwrap();
    assert!(near(i.mid, 1.58, 1e-9) && near(i.lo, 0.700_1, 1e-3) && near(i.hi, 2.459_9, 1e-3), "{i:?}");
    assert_eq!(i.n, 10);
}

/// One launch of five was throttled at its start: the share is small, and not less than nothing.
#[test]
fn what_is_never_negative_has_no_interval_below_zero() {
    let i = over_launches(&[0.0, 0.0, 0.33, 0.0, 0.0]).unwrap();
    assert!(
        near(i.mid, 0.066, 1e-9) && near(i.lo, 0.0, 1e-12) && near(i.hi, 0.066 + 2.776 * 0.066, 1e-9),
        "{i:?}"
    );
    let difference = over_launches(&[-0.1, 0.0, 0.33]).unwrap();
    assert!(difference.lo < -0.4, "{difference:?}");
}

#[test]
fn positive_values_are_averaged_on_logarithms() {
    // Decimal logarithms 0, 1, 2: mean 1, deviation 1, half width 4.303 / sqrt(3).
    let i = over_launches(&[1.0, 10.0, 100.0]).unwrap();
    let half = 4.303 / 3f64.sqrt();
    assert!(near(i.mid, 10.0, 1e-9), "{i:?}");
    assert!(near(i.hi.log10(), 1.0 + half, 1e-9) && near(i.lo.log10(), 1.0 - half, 1e-9), "{i:?}");
    assert!(i.lo > 0.0);
    // So that a ratio and its inverse agree.
    let inverse = over_launches(&[1.0, 0.1, 0.01]).unwrap();
    assert!(near(inverse.lo * i.hi, 1.0, 1e-9) && near(inverse.hi * i.lo, 1.0, 1e-9));
}

/// A count that is the same in every launch is that count to the last bit, else a claim of exactly 199 would be refuted.
#[test]
fn equal_values_are_their_own_interval() {
    for value in [199.0, 0.1, 0.0, -3.0] {
        let i = over_launches(&[value; 7]).unwrap();
        assert_eq!(
            (i.mid.to_bits(), i.lo.to_bits(), i.hi.to_bits(), i.n),
            (value.to_bits(), value.to_bits(), value.to_bits(), 7)
        );
    }
    let i = paired(&[199.0; 5], &[199.0; 5]).unwrap();
    assert_eq!(i.mid.to_bits(), 1f64.to_bits());
}

#[test]
fn one_launch_has_no_width_and_bad_values_have_no_interval() {
    assert_eq!(over_launches(&[7.5]), Some(Interval { mid: 7.5, lo: 7.5, hi: 7.5, n: 1 }));
    assert_eq!(over_launches(&[]), None);
    assert_eq!(over_launches(&[1.0, f64::NAN]), None);
    assert_eq!(over_launches(&[1.0, f64::INFINITY]), None);
    assert_eq!(over_launches(&[1e-300, 1e300]), None, "an end beyond all numbers");
    let same = over_launches(&[3.0, 3.0, 3.0]).unwrap();
    assert!(near(same.lo, 3.0, 1e-12) && near(same.hi, 3.0, 1e-12));
}

#[test]
fn pairing_takes_out_what_a_launch_shares() {
    // The launches differ by a factor of three, the contenders by 4 % in each of them.
    let b = [10.0, 20.0, 30.0, 15.0, 12.0];
    let a = b.map(|v| v * 1.04);
    let ratio = paired(&a, &b).unwrap();
    assert!(
        near(ratio.mid, 1.04, 1e-9) && near(ratio.lo, 1.04, 1e-9) && near(ratio.hi, 1.04, 1e-9),
        "{ratio:?}"
    );
    assert!(over_launches(&a).unwrap().lo < over_launches(&b).unwrap().hi, "unpaired they overlap");
    assert_eq!(paired(&[1.0, 2.0], &[1.0, 0.0]), None, "no launch is left out because of its value");
    assert_eq!(paired(&[1.0], &[f64::NAN]), None);
    assert_eq!(paired(&[], &[]), None);
    assert!(paired(&[0.0, 0.1], &[1.0, 1.0]).is_some(), "a numerator may be zero");
}

#[test]
#[should_panic(expected = "pairs need two of each")]
fn unequal_lengths_are_no_pairs() {
    let _ = paired(&[1.0], &[1.0, 2.0]);
}

#[test]
fn medians_and_deviations() {
    assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
    assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    assert_eq!(median(&[]), None);
    assert_eq!(median(&[1.0, f64::NAN]), None);
    assert_eq!(mad(&[1.0, 1.0, 2.0, 2.0, 4.0, 6.0, 9.0]), Some(1.0));
}

#[test]
fn an_odd_launch_is_far_off_and_visibly_so() {
    // The launch of the reference trials: 20.1 ns among 16.8 ns.
    assert_eq!(odd(&[16.80, 16.81, 20.12, 16.79, 16.80]), [2]);
    assert_eq!(odd(&[16.8, 17.0, 17.9, 16.2, 16.5]), [0; 0], "ordinary scatter");
    assert_eq!(odd(&[1.0, 1.0, 1.0, 1.0, 1.005]), [0; 0], "far in deviations (0), but invisible");
    assert_eq!(odd(&[1.0, 1.0, 1.0, 1.0, 1.02]), [4], "a deviation of 0 leaves the share to decide");
    assert_eq!(odd(&[0.0, 0.0, 0.0, 0.0, 3.0]), [4], "a median of 0 as well");
    assert_eq!(odd(&[0.0, 0.0, 0.0]), [0; 0]);
    assert_eq!(odd(&[1.0, 100.0]), [0; 0], "of two, nobody knows which");
    assert_eq!(odd(&[]), [0; 0]);
}

#[test]
fn a_percentile_needs_ten_samples_beyond_it() {
    let cases = [
        (0, None),
        (19, None),
        (20, Some(50.0)),
        (99, Some(50.0)),
        (100, Some(90.0)),
        (999, Some(95.0)),
        (1_000, Some(99.0)),
        (9_999, Some(99.0)),
        (10_000, Some(99.9)),
        (1_000_000, Some(99.999)),
        (u64::MAX, Some(99.999)),
    ];
    for (count, highest) in cases {
        assert_eq!(highest_percentile(count), highest, "{count} samples");
    }
}

#[test]
fn fairness_runs_from_one_share_to_equal_shares() {
    assert_eq!(jain(&[5.0, 5.0, 5.0, 5.0]), Some(1.0));
    assert_eq!(jain(&[5.0, 0.0, 0.0, 0.0]), Some(0.25));
    assert_eq!(jain(&[0.0, 0.0]), None);
    assert_eq!(jain(&[]), None);
}

/// Deterministic normal numbers: splitmix64 and the Box-Muller transform.
struct Normal(u64);

impl Normal {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
    fn next(&mut self) -> f64 {
        let (u, v) = (1.0 - self.uniform(), self.uniform());
        (-2.0 * u.ln()).sqrt() * (2.0 * std::f64::consts::PI * v).cos()
    }
}

/// How often, of 4000 sets of launches, the interval holds the truth.
fn coverage(launches: usize, truth: f64, mut one: impl FnMut(&mut Normal) -> f64) -> f64 {
    let mut normal = Normal(7);
    let sets = 4_000;
    let held = (0..sets).filter(|_| {
        let values: Vec<f64> = (0..launches).map(|_| one(&mut normal)).collect();
        let i = over_launches(&values).unwrap();
        i.lo <= truth && truth <= i.hi
    });
    held.count() as f64 / f64::from(sets)
}

#[test]
fn nineteen_of_twenty_intervals_hold_the_truth() {
    // Binomial deviation of 4000 trials: 0.34 %. Four of them either way.
    for launches in [3, 5, 10] {
        // Far below 0, so that no set is all positive by chance: see the limit of `over_launches`.
        let linear = coverage(launches, -100.0, |n| n.next() - 100.0);
        let ratio = coverage(launches, 1.0, |n| (0.06 * n.next()).exp());
        assert!(near(linear, 0.95, 0.014), "{launches} launches, linear: {linear}");
        assert!(near(ratio, 0.95, 0.014), "{launches} launches, ratios: {ratio}");
    }
}

#[test]
fn a_plateau_begins_behind_the_last_point_below() {
    use underhood::stats::plateau_from;
    let curve = |ys: [f64; 4]| -> Vec<(f64, f64)> { [8.0, 64.0, 128.0, 256.0].into_iter().zip(ys).collect() };
    assert_eq!(plateau_from(&curve([0.2, 0.99, 1.0, 1.01]), 0.9), Some(64.0));
    assert_eq!(plateau_from(&curve([0.2, 0.7, 1.0, 1.0]), 0.9), Some(128.0));
    assert_eq!(
        plateau_from(&curve([0.2, 1.0, 0.3, 1.0]), 0.9),
        Some(256.0),
        "one good point below is not a plateau"
    );
    assert_eq!(plateau_from(&curve([1.0; 4]), 0.9), None, "no step");
    assert_eq!(plateau_from(&curve([0.2; 4]), 0.9), None, "no plateau");
    assert_eq!(plateau_from(&curve([0.2, 1.0, 1.0, f64::NAN]), 0.9), None);
    let mut shuffled = curve([0.2, 0.2, 1.0, 1.0]);
    shuffled.reverse();
    assert_eq!(plateau_from(&shuffled, 0.9), Some(128.0));
    assert_eq!(plateau_from(&[], 0.9), None);
}

#[test]
fn a_fit_finds_what_the_numbers_were_made_of() {
    use underhood::stats::fit;
    let rows: Vec<[f64; 3]> =
        (0..5).flat_map(|i| (0..4).map(move |j| [1.0, f64::from(i) * 1e5, f64::from(j) * 300.0])).collect();
    let made: Vec<f64> = rows.iter().map(|[_, a, b]| 17_000.0 + 41.0 * a + 120.0 * b).collect();
    let [base, a, b] = fit(&rows, &made).unwrap();
    assert!(near(base, 17_000.0, 1e-3) && near(a, 41.0, 1e-6) && near(b, 120.0, 1e-6), "{base} {a} {b}");

    // Noise of 1 % of each value: the small ones still say what they know, since differences count relative to them.
    let mut normal = Normal(3);
    let noisy: Vec<f64> = made.iter().map(|y| y * (1.0 + 0.01 * normal.next())).collect();
    let [base, a, b] = fit(&rows, &noisy).unwrap();
    assert!(near(base, 17_000.0, 600.0) && near(a, 41.0, 1.0) && near(b, 120.0, 12.0), "{base} {a} {b}");

    assert_eq!(fit(&rows[..2], &made[..2]), None, "fewer rows than coefficients");
    assert_eq!(fit(&rows, &made[1..]), None, "a row without a value");
    assert_eq!(fit(&[[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]], &[1.0, 2.0, 3.0]), None, "nothing varies");
    assert_eq!(fit(&[[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]], &[1.0, 2.0, 3.0]), None, "they vary together");
    assert_eq!(fit(&[[1.0], [1.0]], &[1.0, 0.0]), None, "no share of nothing");
    assert_eq!(fit(&[[1.0], [1.0]], &[1.0, f64::NAN]), None);
    assert_eq!(fit::<1>(&[], &[]), None);
}

#[test]
fn the_next_session_falls_into_its_bracket() {
    use underhood::stats::next_value;
    let mut normal = Normal(7);
    let rate = |n: usize, prior: Option<(f64, usize)>, normal: &mut Normal| {
        let inside = (0..4_000).filter(|_| {
            let past: Vec<f64> = (0..n).map(|_| (0.1 * normal.next()).exp()).collect();
            let next = (0.1 * normal.next()).exp();
            next_value(&past, prior).is_some_and(|i| i.lo <= next && next <= i.hi)
        });
        inside.count() as f64 / 4_000.0
    };
    for n in [2, 3, 5] {
        assert!(near(rate(n, None, &mut normal), 0.95, 0.014), "{n} sessions");
        assert!(rate(n, Some((0.01, 4)), &mut normal) > 0.94, "{n} sessions, and what sessions usually do");
    }
    // The bracket of a mean holds the mean, not the next value.
    let i = next_value(&[1.0, 1.1, 0.9], None).unwrap();
    let mean = over_launches(&[1.0, 1.1, 0.9]).unwrap();
    assert!(i.lo < mean.lo && mean.hi < i.hi && near(i.mid, mean.mid, 1e-12));
    assert_eq!(
        next_value(&[5.0, 5.0, 5.0], Some((0.01, 4))).map(|i| (i.lo, i.hi)),
        Some((5.0, 5.0)),
        "a count"
    );
    assert_eq!(next_value(&[], None), None);
}

#[test]
fn a_share_has_a_binomial_interval() {
    use underhood::stats::wilson;
    let of = |hits, tries| wilson(hits, tries).map(|i| (i.lo, i.hi)).unwrap();
    // Newcombe, Statistics in Medicine 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29, by Wilson without a correction.
    for (hits, tries, lo, hi) in [
        (81.0, 263.0, 0.2553, 0.3662),
        (15.0, 148.0, 0.0624, 0.1605),
        (0.0, 20.0, 0.0, 0.1611),
        (1.0, 29.0, 0.0061, 0.1718),
    ] {
        let (a, b) = of(hits, tries);
        assert!(near(a, lo, 5e-5) && near(b, hi, 5e-5), "{hits} of {tries}: {a} {b}");
    }
    assert!(near(of(5.0, 5.0).0, 0.5655, 5e-5), "five of five are not every time");
    assert_eq!(wilson(1.0, 0.0), None);
    assert_eq!(wilson(3.0, 2.0), None);
}

#[test]
fn two_groups_are_two_numbers_and_noise_is_one() {
    use underhood::stats::modes::two;
    // What three labs showed: milliseconds, millions a second, nanoseconds.
    let [low, high] = two(&[73.0, 6.0, 90.0, 6.2, 6.1]).expect("two groups");
    assert_eq!((low.count, high.count), (3, 2));
    assert!(near(low.middle, 6.1, 1e-9) && near(high.middle, 81.5, 1e-9));
    assert!(two(&[6.0, 6.9, 14.2, 14.3, 6.5]).is_some());
    assert!(two(&[16.0, 16.1, 44.0, 44.2, 44.1]).is_some());
    // One odd value is no group, a drift is none, a small step is none.
    assert_eq!(two(&[1.0, 1.01, 0.99, 1.0, 5.0]), None);
    assert_eq!(two(&[1.0, 1.4, 2.0, 2.8, 4.0]), None);
    assert_eq!(two(&[1.0, 1.0, 1.2, 1.2, 1.2]), None);
    assert_eq!(two(&[0.0, 0.0, 5.0, 5.0]), None, "no logarithm");
    assert_eq!(two(&[]), None);
    let mut normal = Normal(5);
    let found = (0..1_000).filter(|_| {
        let values: Vec<f64> = (0..5).map(|_| (0.3 * normal.next()).exp()).collect();
        two(&values).is_some()
    });
    assert!(found.count() < 50, "noise is seldom taken for two groups");
}
