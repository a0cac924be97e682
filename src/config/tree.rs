//! rules.yaml as written: a tree whose every node knows its place and its source text.

/// Where something stands, in characters; line and column from 1, 0 for nowhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) line: u64,
    pub(crate) column: u64,
    pub(crate) width: usize,
}

impl At {
    /// The beginning of the file.
    pub(crate) const START: Self = Self {
        line: 1,
        column: 1,
        width: 1,
    };
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) at: At,
    /// Its bytes in the text; empty where they are not known.
    pub(crate) span: std::ops::Range<usize>,
    pub(crate) tree: Tree,
}

#[derive(Clone, Debug)]
pub(crate) enum Tree {
    Null,
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

/// A value as its author wrote it: `no` is the text "no", `007` is "007", whatever YAML makes of
/// them.
#[derive(Clone, Debug)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    pub(crate) kind: Plain,
}

/// What YAML makes of an unquoted scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plain {
    Text,
    Number,
    Bool,
}

impl Node {
    /// Its text, where it is a scalar.
    pub(crate) fn scalar(&self) -> Option<&Scalar> {
        match &self.tree {
            Tree::Scalar(scalar) => Some(scalar),
            Tree::Null | Tree::List(_) | Tree::Map(_) => None,
        }
    }

    /// As JSON: numbers, `true` and `false` are such, everything else is text.
    pub(crate) fn json(&self) -> serde_json::Value {
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
    pub(crate) fn describe(&self) -> &'static str {
        match &self.tree {
            Tree::Null => "nothing",
            Tree::Scalar(_) => "a single value",
            Tree::List(_) => "a list",
            Tree::Map(_) => "a map",
        }
    }
}
