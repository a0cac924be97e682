//! Checks of templates before any event: unknown names, helpers and partials, and cycles.

use std::collections::{BTreeSet, HashMap};

use handlebars::Template;
use handlebars::template::{HelperTemplate, Parameter, TemplateElement};

use super::{context, helpers};

/// A compiled part of a template file.
pub(super) struct TemplatePart {
    /// The file it comes from.
    pub(super) file: String,
    /// Number of lines of the file before it.
    pub(super) line: usize,
    /// The part.
    pub(super) template: Template,
}

/// A problem: place, text and advice.
pub(super) type Finding = (String, usize, usize, String, Option<String>);

/// The meaning of `this` at a place in a template.
#[derive(Clone)]
enum Scope {
    /// The documented names.
    Root,
    /// An item with exactly these names.
    Fields(&'static [&'static str]),
    /// A part of the event, about which nothing is known.
    Open,
}

pub(super) struct Lint<'a> {
    partials: &'a HashMap<String, TemplatePart>,
    findings: BTreeSet<Finding>,
    /// The partials around the present place, outermost first.
    within: Vec<String>,
    /// Number of partials inlined so far. It is limited, since templates could include each other
    /// exponentially.
    inlined: usize,
}

/// The scopes of the enclosing blocks, innermost last, and the names added by blocks and partial
/// calls.
#[derive(Clone)]
struct Scopes {
    scopes: Vec<Scope>,
    added: Vec<String>,
}

impl<'a> Lint<'a> {
    pub(super) fn new(partials: &'a HashMap<String, TemplatePart>) -> Self {
        Self {
            partials,
            findings: BTreeSet::new(),
            within: Vec::new(),
            inlined: 0,
        }
    }

    /// Checks a part that is rendered with the documented names.
    pub(super) fn check(&mut self, part: &TemplatePart) {
        self.walk(
            part,
            &part.template,
            &Scopes {
                scopes: vec![Scope::Root],
                added: Vec::new(),
            },
        );
    }

    /// Checks the partial of this name, as [`Lint::check`] does a part.
    pub(super) fn check_partial(&mut self, name: &str, part: &TemplatePart) {
        self.within.push(name.to_owned());
        self.check(part);
        self.within.pop();
    }

    pub(super) fn findings(self) -> BTreeSet<Finding> {
        self.findings
    }

    fn walk(&mut self, part: &TemplatePart, template: &Template, names: &Scopes) {
        for (i, element) in template.elements.iter().enumerate() {
            // Handlebars keeps the positions apart from the elements.
            let at = template.mapping.get(i).map_or((1, 1), |m| (m.0, m.1));
            match element {
                TemplateElement::RawString(_) | TemplateElement::Comment(_) => {}
                TemplateElement::Expression(tag) | TemplateElement::HelperBlock(tag) => {
                    self.tag(part, at, tag, names)
                }
                TemplateElement::HtmlExpression(_) => self.find(
                    part,
                    at,
                    "`{{{` and `{{&` are not allowed: what an event says could then write markup"
                        .to_owned(),
                    Some("write `{{`".to_owned()),
                ),
                TemplateElement::PartialExpression(call) => {
                    // Arguments of a partial are names within it, and are evaluated outside of it.
                    let added: Vec<String> = call.hash.keys().cloned().collect();
                    for value in call.hash.values() {
                        self.parameter(part, at, value, names);
                    }
                    let mut inside = names.clone();
                    inside.added.extend(added);
                    if let Some(subject) = call.params.first() {
                        self.parameter(part, at, subject, names);
                        inside.scopes.push(scope_of(subject, names, false));
                    }
                    self.partial(part, at, call.name.as_name(), &inside);
                }
                TemplateElement::PartialBlock(_)
                | TemplateElement::DecoratorExpression(_)
                | TemplateElement::DecoratorBlock(_) => {
                    self.find(
                        part,
                        at,
                        "partial blocks and decorators are not supported".to_owned(),
                        None,
                    );
                }
                _ => self.find(part, at, "this is not supported".to_owned(), None),
            }
        }
    }

    fn tag(
        &mut self,
        part: &TemplatePart,
        at: (usize, usize),
        tag: &HelperTemplate,
        names: &Scopes,
    ) {
        let name = tag.name.as_name().unwrap_or_default();
        // A tag without arguments may be a field as well as a helper.
        if !tag.block
            && tag.params.is_empty()
            && tag.hash.is_empty()
            && !helpers::KNOWN.contains(&name)
        {
            return self.parameter(part, at, &tag.name, names);
        }
        if !helpers::KNOWN.contains(&name) {
            self.find(
                part,
                at,
                format!("`{name}` is not a helper"),
                suggestion(name, &helpers::KNOWN),
            );
        } else if tag.params.is_empty() {
            self.find(part, at, format!("`{name}` needs a value"), None);
        }
        for value in tag.params.iter().chain(tag.hash.values()) {
            self.parameter(part, at, value, names);
        }
        let mut inside = names.clone();
        // Only these two change the meaning of `this`.
        if matches!(name, "each" | "with") {
            let scope = tag.params.first().map_or(Scope::Open, |subject| {
                scope_of(subject, names, name == "each")
            });
            inside.scopes.push(scope);
            match &tag.block_param {
                Some(handlebars::template::BlockParam::Single(one)) => {
                    inside.added.extend(one.as_name().map(str::to_owned))
                }
                Some(handlebars::template::BlockParam::Pair((one, two))) => {
                    inside.added.extend(
                        [one, two]
                            .into_iter()
                            .filter_map(|p| p.as_name().map(str::to_owned)),
                    );
                }
                _ => {}
            }
        }
        if let Some(template) = &tag.template {
            self.walk(part, template, &inside);
        }
        if let Some(inverse) = &tag.inverse {
            // The branch of `else` has the names of the outer block.
            self.walk(part, inverse, names);
        }
    }

    fn parameter(
        &mut self,
        part: &TemplatePart,
        at: (usize, usize),
        parameter: &Parameter,
        names: &Scopes,
    ) {
        match parameter {
            Parameter::Literal(_) => {}
            // An expression in an expression is checked like a tag of its own.
            Parameter::Subexpression(sub) => match sub.as_element() {
                TemplateElement::Expression(tag) => self.tag(part, at, tag, names),
                _ => self.find(part, at, "this is not supported".to_owned(), None),
            },
            named => {
                let path = named.as_name().unwrap_or_default();
                if let Some((name, known)) = unknown(path, names) {
                    self.find(
                        part,
                        at,
                        format!("`{name}` is not a name templates know"),
                        suggestion(&name, known),
                    );
                }
            }
        }
    }

    fn partial(
        &mut self,
        part: &TemplatePart,
        at: (usize, usize),
        name: Option<&str>,
        names: &Scopes,
    ) {
        let Some(name) = name else {
            return self.find(
                part,
                at,
                "a partial's name must be written out".to_owned(),
                None,
            );
        };
        let Some(partial) = self.partials.get(name) else {
            let known: Vec<&str> = self.partials.keys().map(String::as_str).collect();
            return self.find(
                part,
                at,
                format!("there is no partial `{name}`"),
                suggestion(name, &known),
            );
        };
        // The check must stop here: following the circle would never end.
        if self.within.iter().any(|outer| outer == name) {
            return self.find(
                part,
                at,
                format!("the partial `{name}` includes itself"),
                None,
            );
        }
        // Without a circle the number of calls may still double with each level.
        self.inlined += 1;
        if self.inlined > 2_000 {
            return self.find(
                part,
                at,
                "partials include each other too often".to_owned(),
                None,
            );
        }
        self.within.push(name.to_owned());
        self.walk(partial, &partial.template, names);
        self.within.pop();
    }

    fn find(
        &mut self,
        part: &TemplatePart,
        (line, column): (usize, usize),
        what: String,
        help: Option<String>,
    ) {
        self.findings
            .insert((part.file.clone(), part.line + line, column, what, help));
    }
}

/// Returns the scope of a path: that of an item, or that of the value itself.
fn scope_of(subject: &Parameter, names: &Scopes, item: bool) -> Scope {
    let path = subject.as_name().unwrap_or_default();
    // `../` and `@root` only say where to look; the name decides the scope.
    match path
        .trim_start_matches("../")
        .trim_start_matches("@root/")
        .trim_start_matches("@root.")
    {
        "subjects" | "ended" | "lasting" | "remaining" | "behind" | "behind_back"
        | "behind_dark"
            if item =>
        {
            Scope::Fields(&context::SUBJECT)
        }
        "collected" if !item => Scope::Fields(&context::COLLECTED),
        "collected.items" if item => Scope::Fields(&context::ITEM),
        "group" if item => Scope::Fields(&context::GROUP),
        "this" | "." => names.scopes.last().cloned().unwrap_or(Scope::Open),
        _ => Scope::Open,
    }
}

/// Returns the first name of a path that is unknown there, and the known ones.
fn unknown(path: &str, names: &Scopes) -> Option<(String, &'static [&'static str])> {
    let mut up = 0;
    let mut rest = path;
    while let Some(tail) = rest.strip_prefix("../") {
        up += 1;
        rest = tail;
    }
    let mut scope = names
        .scopes
        .iter()
        .rev()
        .nth(up)
        .cloned()
        .unwrap_or(Scope::Root);
    // `@root` leaves all blocks; other names with `@` belong to Handlebars.
    if let Some(tail) = rest.strip_prefix("@root") {
        scope = Scope::Root;
        rest = tail.trim_start_matches(['.', '/']);
    } else if rest.starts_with('@') {
        return None;
    }
    rest = rest
        .strip_prefix("this.")
        .or_else(|| rest.strip_prefix("this/"))
        .or_else(|| rest.strip_prefix("./"))
        .unwrap_or(rest);
    let first = rest.split(['.', '/']).next().unwrap_or_default();
    let first = first.trim_start_matches('[').trim_end_matches(']');
    if matches!(first, "" | "this") || names.added.iter().any(|added| added == first) {
        return None;
    }
    let known: &'static [&'static str] = match scope {
        Scope::Open => return None,
        Scope::Root => &context::NAMES,
        Scope::Fields(fields) => fields,
    };
    if !known.contains(&first) {
        return Some((first.to_owned(), known));
    }
    // `collected` is the only name whose own fields are documented, too.
    let second = rest
        .split(['.', '/'])
        .nth(1)
        .filter(|_| first == "collected" && known.contains(&"collected"))?;
    (!context::COLLECTED.contains(&second)).then(|| (second.to_owned(), &context::COLLECTED[..]))
}

/// Returns the nearest known word, or all of them if none is near.
fn suggestion(word: &str, known: &[&str]) -> Option<String> {
    let near = known
        .iter()
        .map(|k| (strsim::damerau_levenshtein(word, k), k))
        .min()?;
    if near.0 <= 2.max(word.len() / 3) {
        return Some(format!("did you mean `{}`?", near.1));
    }
    let mut all = known.to_vec();
    all.sort_unstable();
    Some(format!("known: {}", all.join(", ")))
}
