//! Keys of rules.yaml: what one is called, the shape of its value, and what it means. Whoever owns a
//! key declares it so: the reader, the JSON Schema and the docs are made from that.

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
    /// A text that nobody may see.
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
    /// One or many texts that nobody may see.
    Secrets,
    /// Field to test.
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
    /// A key with its value's shape and its meaning.
    #[must_use]
    pub const fn new(name: &'static str, shape: Shape, doc: &'static str) -> Self {
        Self { name, shape, doc }
    }
}

impl Shape {
    /// Returns true for a value of a known kind that anybody may see.
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
