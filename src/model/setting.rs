//! Keys of rules.yaml: name, shape of the value, and meaning. The module that uses a key declares
//! it; the reader, the JSON Schema and the docs are generated from the declarations.

/// One key of a map in rules.yaml.
#[derive(Clone, Copy)]
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// Shape of its value.
    pub shape: Shape,
    /// Meaning, in one line.
    pub doc: &'static str,
}

/// Shape of a value in rules.yaml.
#[derive(Clone, Copy)]
pub enum Shape {
    /// One text.
    Text,
    /// A text that must not be shown.
    Secret,
    /// True or false.
    Flag,
    /// A duration.
    Duration,
    /// A duration, or `never`.
    DurationOrNever,
    /// A number of bytes.
    Size,
    /// A number, at least 1.
    Count,
    /// One of these words.
    Word(&'static [&'static str]),
    /// One field of an event.
    Field,
    /// One or many fields.
    Fields,
    /// One or many texts.
    Texts,
    /// One or many texts that must not be shown.
    Secrets,
    /// A map of fields and tests.
    Match,
    /// A match, or `never`.
    Resolve,
    /// These keys.
    Map(&'static [Setting]),
    /// A list of maps of these keys.
    ListOf(&'static [Setting]),
    /// Names to maps of these keys.
    Named(&'static [Setting]),
    /// Names to texts.
    Headers,
    /// A map of anything.
    Open,
    /// Anything.
    Any,
    /// Any of these.
    Either(&'static [Shape]),
    /// A list of these.
    List(&'static Shape),
    /// Names to these.
    Each(&'static Shape),
}

impl Setting {
    /// Creates a key from its name, the shape of its value and its meaning.
    #[must_use]
    pub const fn new(name: &'static str, shape: Shape, doc: &'static str) -> Self {
        Self { name, shape, doc }
    }
}

impl Shape {
    /// Returns whether it is a value of a known kind that may be shown.
    #[must_use]
    pub const fn is_plain(self) -> bool {
        matches!(
            self,
            Self::Text
                | Self::Flag
                | Self::Duration
                | Self::DurationOrNever
                | Self::Size
                | Self::Count
                | Self::Word(_)
                | Self::Field
                | Self::Fields
                | Self::Texts
        )
    }
}
