//! A setting of an experiment as a contender: the code is the same, what it is told differs.
use crate::lab::Contender;

/// A setting, and its place on a roster.
#[derive(Clone, Copy, Debug)]
pub struct Setting<T> {
    is: Contender,
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
