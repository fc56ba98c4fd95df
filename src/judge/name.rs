//! What a step's variants, settings and values are called where a person reads them. Records, flags and benches have the ids.
use crate::{
    lab::{Step, sample::AA},
    words::{escape, names, number},
};

/// The name of a case: its contender's, if it has one beside its id.
pub fn variant(step: &Step, case: &str) -> String {
    if case == AA {
        return "baseline again (A/A)".into();
    }
    match step.contenders.iter().find(|c| c.id == case) {
        Some(c) if c.name != c.id => escape::line(c.name),
        _ if step.ours => names::variant(step.name, case),
        _ => names::read(case),
    }
}

/// A parameter, as it may follow a comma or stand alone: `held for 1 us`. Empty if the step has none.
pub fn setting(step: &Step, param: &str) -> String {
    if step.ours { names::setting(step.name, param) } else { names::read(param) }
}

/// `, held for 1 us`, or nothing if there is no parameter.
pub fn at(step: &Step, param: &str) -> String {
    if param.is_empty() { String::new() } else { format!(", {}", setting(step, param)) }
}

/// A case with its parameter: `std Mutex, held for 1 us`.
pub fn cell(step: &Step, case: &str, param: &str) -> String {
    format!("{}{}", variant(step, case), at(step, param))
}

/// What a value is: `operations per second`.
pub fn value(step: &Step, name: &str) -> String {
    if step.ours { names::value(name) } else { number::label(name) }
}
