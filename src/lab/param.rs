//! Parameters: a value with its unit and its id in the records, so that no lab parses a name to find out how long a hold is.

/// What an amount counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Nanoseconds.
    Ns,
    /// Bytes.
    Bytes,
    /// Things: threads, elements, keys.
    Count,
    /// A part of a whole, 0 to 1.
    Share,
}

/// One parameter of a step, as readers and records see it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Param {
    /// Names it in records; `""` if the step has none. Never changed once there are records.
    pub id: &'static str,
    /// How much, where it is an amount.
    pub amount: Option<(f64, Unit)>,
}

/// A parameter, and what the step's own code gets for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point<T> {
    /// As readers and records see it.
    pub param: Param,
    /// As the code sees it.
    pub value: T,
}

impl<T> Point<T> {
    /// Its id in records.
    pub const fn id(&self) -> &'static str {
        self.param.id
    }
}

/// A setting that is not an amount.
pub const fn at<T>(id: &'static str, value: T) -> Point<T> {
    Point { param: Param { id, amount: None }, value }
}

/// For a step without a parameter.
pub const ONCE: [Point<()>; 1] = [at("", ())];

/// A time in nanoseconds.
pub const fn ns(id: &'static str, value: f64) -> Point<f64> {
    Point { param: Param { id, amount: Some((value, Unit::Ns)) }, value }
}

/// A share, 0 to 1.
pub const fn share(id: &'static str, value: f64) -> Point<f64> {
    Point { param: Param { id, amount: Some((value, Unit::Share)) }, value }
}

/// A size in bytes.
pub const fn bytes(id: &'static str, value: usize) -> Point<usize> {
    Point { param: Param { id, amount: Some((value as f64, Unit::Bytes)) }, value }
}

/// A number of things.
pub const fn count(id: &'static str, value: usize) -> Point<usize> {
    Point { param: Param { id, amount: Some((value as f64, Unit::Count)) }, value }
}
