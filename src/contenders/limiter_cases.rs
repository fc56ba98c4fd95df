//! The contenders of `flow_rate_limit`, in the order of its cases, and what each must show first.
use std::hash::RandomState;

use governor::clock::QuantaClock;

use super::{
    limiter::{
        Clocked, Come, Governor, LeakyMeter, Log, Told, Unlimited, check, check_timed, clocked, crowd, solo,
    },
    limiter_keyed::{self, Foldhash, KeyClocked, KeyGovernor},
};
use crate::{
    contenders::gate::Check,
    measure::{cost::Solo, throughput::Crowd},
    structures::flow::{fixed_window::FixedWindow, gcra::Gcra, keyed::Keyed, token_bucket::TokenBucket},
};

/// For one limiter.
pub const CHECKS: &[Check] = &[
    check::<Governor<Told>>,
    check::<Gcra>,
    check::<TokenBucket>,
    check::<LeakyMeter>,
    check::<FixedWindow>,
    check::<Log>,
    check_timed::<Governor<QuantaClock>>,
    check_timed::<Clocked<Gcra>>,
    check_timed::<Clocked<TokenBucket>>,
    check_timed::<Clocked<LeakyMeter>>,
    check_timed::<Clocked<FixedWindow>>,
    check_timed::<Clocked<Log>>,
];

/// For a limit per key.
pub const KEY_CHECKS: &[Check] = &[
    limiter_keyed::check::<KeyGovernor<Foldhash, Told>>,
    limiter_keyed::check::<Keyed<u64, Foldhash>>,
    limiter_keyed::check::<KeyGovernor<RandomState, Told>>,
    limiter_keyed::check::<Keyed<u64>>,
];

/// One thread, one limiter, the time known; governor first.
pub fn told(come: Come) -> [Solo; 7] {
    [
        solo::<Governor<Told>>(come),
        solo::<Gcra>(come),
        solo::<TokenBucket>(come),
        solo::<LeakyMeter>(come),
        solo::<FixedWindow>(come),
        solo::<Log>(come),
        solo::<Unlimited>(come),
    ]
}

/// The same, all passing, and each decision reads the clock.
pub fn timed() -> [Solo; 7] {
    [
        clocked::<Governor<QuantaClock>>(),
        clocked::<Clocked<Gcra>>(),
        clocked::<Clocked<TokenBucket>>(),
        clocked::<Clocked<LeakyMeter>>(),
        clocked::<Clocked<FixedWindow>>(),
        clocked::<Clocked<Log>>(),
        clocked::<Clocked<Unlimited>>(),
    ]
}

/// One thread, a limit for each of `KEYS` keys, the time known, all passing; governor first.
pub fn keys<const KEYS: usize>() -> [Solo; 5] {
    [
        limiter_keyed::solo::<KeyGovernor<Foldhash, Told>, KEYS>(),
        limiter_keyed::solo::<Keyed<u64, Foldhash>, KEYS>(),
        limiter_keyed::solo::<KeyGovernor<RandomState, Told>, KEYS>(),
        limiter_keyed::solo::<Keyed<u64>, KEYS>(),
        limiter_keyed::solo::<Unlimited, KEYS>(),
    ]
}

/// All threads at one limiter, each decision with its clock; the keyed ones with 10,000 keys.
pub fn crowds(come: Come) -> [Crowd; 8] {
    [
        crowd::<Governor<QuantaClock>>(come),
        crowd::<Clocked<Gcra>>(come),
        crowd::<Clocked<TokenBucket>>(come),
        crowd::<Clocked<FixedWindow>>(come),
        crowd::<Clocked<Log>>(come),
        limiter_keyed::crowd::<KeyGovernor<Foldhash, QuantaClock>>("governor_keyed", come),
        limiter_keyed::crowd::<KeyClocked<Foldhash>>("keyed_foldhash", come),
        crowd::<Clocked<Unlimited>>(come),
    ]
}
