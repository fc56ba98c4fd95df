//! A history as text: a line for each lane, time from left to right, each operation from its call to its return.
//!
//! ```text
//! lane 0 |put 1-|       |put 2-|
//! lane 1    |take=none-------|   |take=2|
//! ```

use super::check::Event;
use super::spec::Shown;

pub fn draw(history: &[Event]) -> String {
    let mut moments: Vec<u64> = history.iter().flat_map(|e| [e.call, e.ret]).collect();
    moments.sort_unstable();
    let rank = |moment| moments.binary_search(&moment).expect("it is one of them");
    // A column for each moment, as far right as the labels between two moments need.
    let mut columns = vec![0; moments.len()];
    for i in 1..moments.len() {
        let ended = history.iter().find(|e| rank(e.ret) == i);
        let room = ended.map_or(0, |e| columns[rank(e.call)] + Shown(e.op, e.out).to_string().len() + 1);
        columns[i] = room.max(columns[i - 1] + 2);
    }
    let lanes = history.iter().map(|e| e.lane + 1).max().unwrap_or(0);
    let mut text = String::new();
    for lane in 0..lanes {
        let mut line = format!("lane {lane} ");
        let margin = line.len();
        let mut mine: Vec<&Event> = history.iter().filter(|e| e.lane == lane).collect();
        mine.sort_by_key(|e| e.call);
        for e in mine {
            let (from, to) = (margin + columns[rank(e.call)], margin + columns[rank(e.ret)]);
            line.extend(std::iter::repeat_n(' ', from.saturating_sub(line.len())));
            line.push('|');
            line += &Shown(e.op, e.out).to_string();
            line.extend(std::iter::repeat_n('-', to.saturating_sub(line.len())));
            line.push('|');
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}
