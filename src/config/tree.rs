//! rules.yaml as written: a tree whose every node knows its place and its source text.

/// Where something stands, in characters; line and column from 1, 0 for nowhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct At {
    pub(super) line: u64,
    pub(super) column: u64,
    pub(super) width: usize,
}

impl At {
    /// The beginning of the file.
    pub(super) const START: Self = Self {
        line: 1,
        column: 1,
        width: 1,
    };
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) at: At,
    /// Its bytes in the text; empty where they are not known.
    pub(super) span: std::ops::Range<usize>,
    pub(super) tree: Tree,
}

#[derive(Clone, Debug)]
pub(super) enum Tree {
    Null,
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

/// A value as its author wrote it: `no` is the text "no", `007` is "007", whatever YAML makes of
/// them.
#[derive(Clone, Debug)]
pub(super) struct Scalar {
    pub(super) text: String,
    pub(super) kind: Plain,
}

/// What YAML makes of an unquoted scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plain {
    Text,
    Number,
    Bool,
}

impl Node {
    /// Its text, where it is a scalar.
    pub(super) fn scalar(&self) -> Option<&Scalar> {
        match &self.tree {
            Tree::Scalar(scalar) => Some(scalar),
            Tree::Null | Tree::List(_) | Tree::Map(_) => None,
        }
    }

    /// As JSON: numbers, `true` and `false` are such, everything else is text.
    pub(super) fn json(&self) -> serde_json::Value {
        use serde_json::Value;
        match &self.tree {
            Tree::Null => Value::Null,
            Tree::Scalar(Scalar {
                text,
                kind: Plain::Text,
            }) => Value::String(text.clone()),
            Tree::Scalar(Scalar { text, .. }) => {
                serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone()))
            }
            Tree::List(items) => items.iter().map(Self::json).collect(),
            Tree::Map(entries) => Value::Object(
                entries
                    .iter()
                    .filter_map(|(k, v)| Some((k.scalar()?.text.clone(), v.json())))
                    .collect(),
            ),
        }
    }

    /// What it is, for people.
    pub(super) fn describe(&self) -> &'static str {
        match &self.tree {
            Tree::Null => "nothing",
            Tree::Scalar(_) => "a single value",
            Tree::List(_) => "a list",
            Tree::Map(_) => "a map",
        }
    }
}
