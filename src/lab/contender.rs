//! A contender: named once, and everything that runs it hangs on that one name.
//!
//! A subject (locks, queues, maps ...) has a struct of its own with a [`Contender`] and one function for each way to run it, made by one
//! generic function. A **roster** is a list of these: `const LOCKS: &[&Lock] = &[&STD_MUTEX, &PARKING_LOT_13_MUTEX]`. Steps,
//! checks and benches take a roster, so none of them can pair a name with another contender's code.

/// What a contender must show before it is timed, or a sentence that names it and what it did instead.
pub type Check = fn() -> Result<(), String>;

/// Who it is.
#[derive(Clone, Copy, Debug)]
pub struct Contender {
    /// Names the case in records and bench ids: short, `snake_case`, never changed once there are records.
    pub id: &'static str,
    /// The name that people know: `parking_lot 0.13 Mutex`.
    pub name: &'static str,
    /// The crate it comes from, as `Cargo.toml` names it; empty for std's, for ours, and for what is no library.
    pub package: &'static str,
    /// What it must show before it is timed.
    pub check: Option<Check>,
}

impl Contender {
    /// One that is known by its id alone.
    pub const fn new(id: &'static str) -> Self {
        Self { id, name: id, package: "", check: None }
    }
    /// The same under the name that people know.
    #[must_use]
    pub const fn called(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }
    /// The same, from a crate.
    #[must_use]
    pub const fn of(mut self, package: &'static str) -> Self {
        self.package = package;
        self
    }
    /// The same, with a check that comes before every measurement.
    #[must_use]
    pub const fn checked(mut self, check: Check) -> Self {
        self.check = Some(check);
        self
    }
    /// The same code under another id, for a row that differs in its setting.
    #[must_use]
    pub const fn as_case(mut self, id: &'static str) -> Self {
        self.id = id;
        self
    }
}

impl AsRef<Contender> for Contender {
    fn as_ref(&self) -> &Contender {
        self
    }
}

impl PartialEq for Contender {
    /// Two are the same if their ids are.
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

/// A contender that is a setting of an experiment: the code is the same, what it is told differs. What [`Point`](super::Point) is for a
/// parameter.
#[derive(Clone, Copy, Debug)]
pub struct Setting<T> {
    /// Who it is.
    pub is: Contender,
    /// What the experiment is told.
    pub value: T,
}

impl<T> AsRef<Contender> for Setting<T> {
    fn as_ref(&self) -> &Contender {
        &self.is
    }
}

impl<T> Setting<T> {
    /// Names it in records.
    pub const fn id(&self) -> &'static str {
        self.is.id
    }
    /// The same under another id.
    #[must_use]
    pub const fn as_case(mut self, id: &'static str) -> Self
    where
        T: Copy,
    {
        self.is = self.is.as_case(id);
        self
    }
}

/// A setting under this id.
pub const fn setting<T>(id: &'static str, value: T) -> Setting<T> {
    Setting { is: Contender::new(id), value }
}
