//! Bodies of webhooks: a JSON tree whose strings are templates. No value can break the JSON or add
//! a key.

use std::collections::HashMap;
use std::sync::Arc;

use handlebars::{Context, Handlebars, Template};
use serde_json::{Map, Value};

use super::{TemplateProblem, compile_problem, context, helpers, lint, problem, render_capped};
use crate::model::Message;

/// A JSON tree whose strings are compiled templates. Their values are plain text.
#[derive(Clone, Debug)]
pub struct Body {
    registry: Arc<Handlebars<'static>>,
    tree: BodyNode,
    source: Value,
}

impl PartialEq for Body {
    /// Bodies are equal if their sources are.
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

#[derive(Clone, Debug)]
enum BodyNode {
    Leaf(Value),
    Text(String),
    List(Vec<BodyNode>),
    Map(Vec<(String, BodyNode)>),
}

impl Body {
    /// Compiles every string.
    ///
    /// # Errors
    /// Fails with all problems at once; `file` is the place in the tree: `body.blocks.0.text`.
    pub fn compile(tree: &Value) -> Result<Self, Vec<TemplateProblem>> {
        let mut registry = Handlebars::new();
        // The values become JSON strings, which serde escapes; markup has no meaning here.
        registry.register_escape_fn(str::to_owned);
        helpers::register(&mut registry);
        let mut problems = Vec::new();
        let source = tree.clone();
        let tree = node(tree, "body", &mut registry, &mut problems);
        if problems.is_empty() {
            Ok(Self {
                registry: Arc::new(registry),
                tree,
                source,
            })
        } else {
            Err(problems)
        }
    }

    /// Renders every string of the tree. A string that fails to render is empty.
    #[must_use]
    pub fn render(&self, message: &Message) -> Value {
        let mut names = context::of(&message.about);
        context::add_texts(&mut names, message);
        self.value(&self.tree, &Context::from(names))
    }

    fn value(&self, node: &BodyNode, context: &Context) -> Value {
        match node {
            BodyNode::Leaf(value) => value.clone(),
            BodyNode::Text(name) => render_capped(&self.registry, name, context)
                .unwrap_or_default()
                .into(),
            BodyNode::List(items) => items.iter().map(|item| self.value(item, context)).collect(),
            BodyNode::Map(entries) => {
                let entries = entries
                    // Keys are never templates, so no value can add one.
                    .iter()
                    .map(|(key, item)| (key.clone(), self.value(item, context)));
                Value::Object(entries.collect::<Map<_, _>>())
            }
        }
    }
}

fn node(
    tree: &Value,
    at: &str,
    registry: &mut Handlebars<'static>,
    problems: &mut Vec<TemplateProblem>,
) -> BodyNode {
    match tree {
        Value::String(source) => {
            match Template::compile(source) {
                Ok(template) => {
                    let part = lint::TemplatePart {
                        file: at.to_owned(),
                        line: 0,
                        template,
                    };
                    // A body is a template of its own, without the partials of the files.
                    let none = HashMap::new();
                    let mut lint = lint::Lint::new(&none);
                    lint.check(&part);
                    problems.extend(lint.findings().into_iter().map(problem));
                    registry.register_template(at, part.template);
                }
                Err(error) => problems.push(compile_problem(at, 0, &error)),
            }
            // Rendering never starts if there are problems, so the node may stand for a broken
            // template, too.
            BodyNode::Text(at.to_owned())
        }
        Value::Array(items) => BodyNode::List(
            items
                .iter()
                .enumerate()
                .map(|(i, item)| node(item, &format!("{at}.{i}"), registry, problems))
                .collect(),
        ),
        Value::Object(map) => BodyNode::Map(
            map.iter()
                .map(|(key, item)| {
                    (
                        key.clone(),
                        node(item, &format!("{at}.{key}"), registry, problems),
                    )
                })
                .collect(),
        ),
        other => BodyNode::Leaf(other.clone()),
    }
}
