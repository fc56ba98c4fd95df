//! The experiment of lab `async_channels`: nothing is lost, doubled or out of order, and wake-ups are those that the room gives. No time is
//! asserted.
use underhood::{
    experiments::channels::{
        ASYNC_CHANNEL, ASYNC_CHANNEL_VERSION, AsyncChannel, FLUME, Flume, Job, KANAL, KANAL_VERSION, Kanal,
        Place, ROWS, Run, SIZES, Seen, TOKIO, Tally, Tokio, UNBOUNDED, UNCONSTRAINED, Unbounded, taken,
    },
    lab::Setting,
    machine::{allowed_cpus, built},
};

const ITEMS: usize = 4_096;

fn job() -> Job {
    let cpus = allowed_cpus();
    let cpus = (cpus[0], cpus.get(1).copied());
    Job { place: Place::OneWorker, producers: 1, places: 16, bytes: 8, items: ITEMS, cpus }
}

fn ran(row: &Setting<Run>, job: &Job) -> Seen {
    (row.value)(job).unwrap_or_else(|why| panic!("{}, {job:?}: {why}", row.id()))
}

#[test]
fn every_channel_delivers_every_item_of_every_size() {
    for row in ROWS {
        row.is.check.unwrap()().unwrap_or_else(|why| panic!("{}: {why}", row.id()));
        for bytes in SIZES {
            assert_eq!(ran(&row, &Job { bytes, ..job() }).items, ITEMS as u64);
        }
    }
}

#[test]
fn every_place_delivers_what_many_senders_send() {
    for place in [Place::OneWorker, Place::TwoWorkers, Place::TwoThreads, Place::TwoAwake] {
        for row in [TOKIO, UNBOUNDED, FLUME, ASYNC_CHANNEL, KANAL] {
            for places in [1, 16] {
                let job = Job { place, places, producers: 8, items: 1_024, ..job() };
                if place != Place::OneWorker && job.cpus.1.is_none() {
                    assert_eq!((row.value)(&job), Err("two threads at once need two CPUs".into()));
                    continue;
                }
                let seen = ran(&row, &job);
                assert_eq!(seen.items, 1_024);
                let crossed = match place {
                    Place::OneWorker => 0..=0,
                    Place::TwoWorkers => 0..=1_024,
                    Place::TwoThreads | Place::TwoAwake => 1_024..=1_024,
                };
                assert!(crossed.contains(&seen.crossed), "{}, {place:?}: {seen:?}", row.id());
            }
        }
    }
}

#[test]
fn a_bounded_channel_takes_what_it_has_room_for() {
    for places in [1, 16, 1_024] {
        let tries = 2 * places as u64;
        assert_eq!(taken::<Tokio>(places, tries), places as u64);
        assert_eq!(taken::<Flume>(places, tries), places as u64);
        assert_eq!(taken::<AsyncChannel>(places, tries), places as u64);
        assert_eq!(taken::<Kanal>(places, tries), places as u64);
        assert_eq!(taken::<Unbounded>(places, tries), tries);
    }
}

/// One thread runs one task after the other, so these counts are the same on every machine.
#[test]
fn on_one_worker_more_room_means_fewer_wake_ups() {
    let wakes = |row: &Setting<Run>, places| ran(row, &Job { places, ..job() }).wakes as f64 / ITEMS as f64;
    for row in [TOKIO, FLUME, ASYNC_CHANNEL, KANAL] {
        let [one, some, many] = [1, 16, 1_024].map(|places| wakes(&row, places));
        assert!(one > 3.0 * some && some > 3.0 * many, "{}: {one}, {some}, {many}", row.id());
    }
    assert!((1.9..=2.1).contains(&wakes(&TOKIO, 1)), "sender and receiver, for each item");
    assert!((1.9..=2.1).contains(&wakes(&ASYNC_CHANNEL, 1)), "the same");
    assert!(wakes(&FLUME, 1) < 1.1 && wakes(&KANAL, 1) < 1.1, "a waiting sender leaves its item there");
    assert!(wakes(&UNCONSTRAINED, 1_024) < wakes(&TOKIO, 1_024) / 2.0, "without the budget");
    assert!((wakes(&UNBOUNDED, 1) - wakes(&UNBOUNDED, 1_024)).abs() < 1e-9, "the room is no matter");
}

#[test]
fn on_one_worker_eight_senders_wake_each_other_more_often() {
    let wakes = |producers| ran(&TOKIO, &Job { producers, ..job() }).wakes;
    assert!(wakes(8) > 2 * wakes(1));
}

/// Items of two words: the first is the header, and the second is one more.
fn item(sender: u64, number: u64, lane: u64) -> [u64; 2] {
    let header = sender << 56 | number;
    [header | lane << 48, header + 1]
}

#[test]
fn a_receiver_notices_what_a_broken_channel_would_do() {
    let got = |items: &[[u64; 2]]| {
        let mut tally = Tally::new(2);
        items.iter().try_for_each(|words| tally.take(words, 1))?;
        tally.crossed(2, 2)
    };
    let all = [item(0, 0, 1), item(1, 0, 2), item(1, 1, 2), item(0, 1, 1)];
    assert_eq!(got(&all), Ok(2), "two came from another thread");
    assert!(got(&all[..3]).is_err(), "the last is lost");
    assert!(got(&all[1..]).is_err(), "the first is lost");
    assert!(got(&[all[0], all[0], all[1], all[2]]).is_err(), "one came twice");
    assert!(got(&[all[3], all[0], all[1], all[2]]).is_err(), "out of order");
    assert!(got(&[all[0], all[1], all[2], item(2, 0, 1)]).is_err(), "nobody sent it");
    let damaged = [all[3][0], all[3][1] ^ 1];
    assert!(got(&[all[0], all[1], all[2], damaged]).is_err(), "a word is wrong");
}

#[test]
fn channels_are_named_with_the_versions_that_are_built() {
    for (row, package, version) in
        [(ASYNC_CHANNEL, "async-channel", ASYNC_CHANNEL_VERSION), (KANAL, "kanal", KANAL_VERSION)]
    {
        assert_eq!(built::version_of(package).as_deref(), Some(version));
        assert_eq!(row.is.package, package);
        assert!(row.is.name.ends_with(version));
    }
}
