//! `when`: an expression for conditions that a map cannot express.
//!
//! The language is Jinja's, as in Ansible's `when`. Everything that could run for long or grow
//! large is left out: there are no functions and no methods, only a few filters, and fuel limits
//! the rest.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use minijinja::value::{Enumerator, Object, ObjectRepr, Value};
use minijinja::{
    Environment, Error, ErrorKind, Expression, State, UndefinedBehavior, filters, tests as known,
};
use regex::Regex;
use serde_json::Value as Json;

use super::pattern::compile;
use crate::model::{Event, Field, normal};

/// Maximum cost of an expression: about one fuel per instruction, and one per 64 bytes of text
/// searched. That is enough to search the largest event a few times.
const FUEL: u64 = 60_000;

/// Maximum length of an expression.
const MAX_LENGTH: usize = 4_000;

/// Maximum length of a text that is searched for a pattern.
const MAX_SEARCHED: usize = 16 << 10;

const FILTERS: &[&str] = &[
    "abs", "default", "first", "float", "int", "last", "length", "lower", "trim", "upper",
];

const TESTS: &[&str] = &[
    "boolean",
    "defined",
    "endingwith",
    "false",
    "in",
    "integer",
    "mapping",
    "matching",
    "none",
    "number",
    "search",
    "sequence",
    "startingwith",
    "string",
    "true",
    "undefined",
];

/// A compiled expression.
#[derive(Clone)]
pub struct When {
    text: Arc<str>,
    expression: Arc<Expression<'static, 'static>>,
    /// The fields it names; `None` is `event`.
    names: Vec<(&'static str, Option<Field>)>,
}

/// The reason an expression cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WhenProblem {
    /// The message, one line.
    pub message: String,
    /// The part of the text it is about, in bytes.
    pub range: Option<Range<usize>>,
    /// The unknown word, and the known ones.
    pub unknown: Option<(String, Vec<&'static str>)>,
}

impl fmt::Debug for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("When").field(&self.text).finish()
    }
}

impl When {
    /// Compiles an expression.
    ///
    /// # Errors
    /// Fails with what is wrong, and where.
    pub fn compile(text: &str) -> Result<Self, WhenProblem> {
        let wrong = |message: &str, range| WhenProblem {
            message: message.to_owned(),
            range,
            unknown: None,
        };
        if text.len() > MAX_LENGTH {
            return Err(wrong(
                &format!("it is longer than {MAX_LENGTH} characters"),
                None,
            ));
        }
        // Ansible users know the braces from templates, so this gets an error of its own.
        let braces = ["{{", "}}", "{%"].iter().find_map(|mark| text.find(mark));
        if let Some(at) = braces {
            return Err(wrong(
                "it is an expression already: write it without {{ }}",
                Some(at..at + 2),
            ));
        }
        let tokens = tokens(text);
        // The text as written is compiled first: errors must point into it.
        let expression = environment()
            .compile_expression_owned(text.to_owned())
            .map_err(|error| {
                let message = error
                    .detail()
                    .map_or_else(|| error.kind().to_string(), str::to_owned);
                WhenProblem {
                    message,
                    range: error.range().filter(|range| range.end <= text.len()),
                    unknown: None,
                }
            })?;
        lint(text, &tokens)?;
        let guarded = guard(text, &tokens);
        // Only fields that are named are computed for each event.
        let mut used: Vec<String> = expression.undeclared_variables(false).into_iter().collect();
        used.sort_unstable();
        let mut names = Vec::new();
        for name in used {
            if name == "event" {
                names.push(("event", None));
            } else if let Some((word, field)) =
                Field::NAMED.into_iter().find(|(word, _)| *word == name)
            {
                names.push((word, Some(field)));
            } else {
                let known = Field::NAMED
                    .iter()
                    .map(|(word, _)| *word)
                    .chain(["event"])
                    .collect();
                return Err(WhenProblem {
                    message: format!("events have no field `{name}`"),
                    range: variable(text, &tokens, &name),
                    unknown: Some((name, known)),
                });
            }
        }
        // The guards are an addition of ours: if they break the syntax, the plain expression still
        // works.
        let expression = environment()
            .compile_expression_owned(guarded)
            .unwrap_or(expression);
        Ok(Self {
            text: text.into(),
            expression: Arc::new(expression),
            names,
        })
    }

    /// Returns the text as written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns whether it holds for the event.
    ///
    /// # Errors
    /// Fails with one line if it cannot be evaluated for this event, which counts as no match.
    pub fn holds(&self, event: &Event) -> Result<bool, String> {
        let context: BTreeMap<&str, Value> = self
            .names
            .iter()
            // A missing field stays undefined, so that `is defined` works.
            .filter_map(|(name, field)| match field {
                Some(field) => Some((*name, Value::from(value(event, field)?))),
                None => Some((*name, view(&event.raw, &event.raw, Vec::new()))),
            })
            .collect();
        match self.expression.eval(context) {
            Ok(value) => Ok(value.is_true()),
            Err(error) if error.kind() == ErrorKind::OutOfFuel => {
                Err("it takes too long for this event".to_owned())
            }
            Err(error) => Err(error
                .detail()
                .map_or_else(|| error.kind().to_string(), str::to_owned)),
        }
    }
}

/// Returns the value of a word; `None` if the event lacks it.
fn value(event: &Event, field: &Field) -> Option<String> {
    let text = match field {
        Field::Text => event.text.clone().unwrap_or_default(),
        Field::Reason => event.reasons.join(", "),
        other => event.label(other),
    };
    (!text.is_empty()).then_some(text)
}

/// The filter that rejects missing values.
const GIVEN: &str = "_given";

/// Adds a filter to fields on either side of `<` and `>` that rejects missing values. Jinja orders
/// a missing value before everything, so that `event.uptime < 60` would hold for every event
/// without it.
fn guard(text: &str, tokens: &[WhenToken<'_>]) -> String {
    let at = |index: usize| tokens.get(index).map_or("", |token| token.text);
    let is_word = |index: usize| tokens.get(index).is_some_and(WhenToken::is_word);
    let mut ends: Vec<usize> = Vec::new();
    for index in (0..tokens.len()).filter(|index| ["<", ">"].contains(&at(*index))) {
        let left = index
            .checked_sub(1)
            .filter(|left| is_word(*left) || ["]", ")"].contains(&at(*left)));
        let first = index + if at(index + 1) == "=" { 2 } else { 1 };
        // All parts of `event.a["b"]`, or of a bracket, belong to the operand.
        let mut next = first;
        while is_word(next) || (at(next) == "." && next > first) || ["(", "["].contains(&at(next)) {
            next = if ["(", "["].contains(&at(next)) {
                after_brackets(tokens, next)
            } else {
                next + 1
            };
            // Two words in a row end the operand, as in `x and y`.
            if is_word(next) && at(next - 1) != "." {
                break;
            }
        }
        let right = Some(next)
            .filter(|next| *next > first && at(*next) != "|")
            .map(|next| next - 1);
        ends.extend(
            [left, right]
                .into_iter()
                .flatten()
                .filter_map(|end| Some(tokens.get(end)?.at.end)),
        );
    }
    let mut guarded = text.to_owned();
    ends.sort_unstable();
    ends.dedup();
    // Insertions from the end keep the earlier positions valid.
    for end in ends.into_iter().rev() {
        guarded.insert_str(end, &format!("|{GIVEN}"));
    }
    guarded
}

/// Returns the last item like Jinja's filter, but without a walk over all of them.
fn last(value: &Value) -> Value {
    if let Some(text) = value.as_str() {
        return text
            .chars()
            .next_back()
            .map_or(Value::UNDEFINED, Value::from);
    }
    let index = value.len().and_then(|len| len.checked_sub(1));
    index
        .and_then(|index| value.get_item_by_index(index).ok())
        .unwrap_or(Value::UNDEFINED)
}

/// Returns the token after the bracket that closes this one.
fn after_brackets(tokens: &[WhenToken<'_>], open: usize) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        // Brackets may be nested; the outermost one decides.
        if depth == 0 {
            return index + 1;
        }
    }
    tokens.len()
}

fn given(value: Value) -> Result<Value, Error> {
    if value.is_undefined() {
        return Err(Error::new(
            ErrorKind::UndefinedError,
            "it orders by a field the event does not have",
        ));
    }
    Ok(value)
}

fn environment() -> &'static Environment<'static> {
    // Building it takes longer than most expressions, and it never changes.
    static ENVIRONMENT: OnceLock<Environment<'static>> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| {
        let mut env = Environment::empty();
        // As in Ansible, everything below a missing value is missing.
        env.set_undefined_behavior(UndefinedBehavior::Chainable);
        env.set_fuel(Some(FUEL));
        env.add_filter(GIVEN, given);
        env.add_filter("abs", filters::abs);
        env.add_filter("default", filters::default);
        env.add_filter("first", filters::first);
        env.add_filter("float", filters::float);
        env.add_filter("int", filters::int);
        env.add_filter("last", last);
        env.add_filter("length", filters::length);
        env.add_filter("lower", filters::lower);
        env.add_filter("trim", filters::trim);
        env.add_filter("upper", filters::upper);
        env.add_test("boolean", known::is_boolean);
        env.add_test("defined", known::is_defined);
        env.add_test("endingwith", known::is_endingwith);
        env.add_test("false", known::is_false);
        env.add_test("in", known::is_in);
        env.add_test("integer", known::is_integer);
        env.add_test("mapping", known::is_mapping);
        env.add_test("matching", is_matching);
        env.add_test("none", known::is_none);
        env.add_test("number", known::is_number);
        env.add_test("search", is_matching);
        env.add_test("sequence", known::is_sequence);
        env.add_test("startingwith", known::is_startingwith);
        env.add_test("string", known::is_string);
        env.add_test("true", known::is_true);
        env.add_test("undefined", known::is_undefined);
        env
    })
}

/// `x is matching("…")`: the regular expression is found anywhere, like `/…/` in `match`.
fn is_matching(state: &State<'_, '_>, value: &Value, pattern: &str) -> Result<bool, Error> {
    let Some(text) = value.as_str() else {
        return Ok(false);
    };
    if text.len() > MAX_SEARCHED {
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            "the text is too long to look for a pattern in it",
        ));
    }
    // A pattern may visit each character many times.
    state.consume_fuel(text.len() as u64 + 8)?;
    let regex =
        cached(&normal(pattern)).map_err(|wrong| Error::new(ErrorKind::InvalidOperation, wrong))?;
    Ok(regex.is_match(&normal(text)))
}

/// Returns a compiled pattern from the cache. Patterns are nearly always literals in the file, so
/// there are few.
fn cached(pattern: &str) -> Result<Regex, String> {
    const MOST: usize = 256;
    static CACHE: OnceLock<Mutex<HashMap<String, Regex>>> = OnceLock::new();
    if pattern.len() > MAX_LENGTH {
        return Err("the regular expression is too long".to_owned());
    }
    // A panic elsewhere cannot leave the map half changed.
    let mut cache = CACHE
        .get_or_init(Mutex::default)
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if let Some(regex) = cache.get(pattern) {
        return Ok(regex.clone());
    }
    let regex = compile(pattern)?;
    // Only patterns built from events can fill the cache; starting over is cheaper than tracking
    // their age.
    if cache.len() >= MOST {
        cache.clear();
    }
    cache.insert(pattern.to_owned(), regex.clone());
    Ok(regex)
}

/// A part of an event's JSON, converted to a value only when an expression uses it.
#[derive(Debug)]
struct View {
    root: Arc<Json>,
    path: Vec<PathStep>,
}

#[derive(Clone, Debug)]
enum PathStep {
    Key(String),
    Item(usize),
}

/// Returns `here`, which is at `path` below `root`, as a value.
fn view(root: &Arc<Json>, here: &Json, path: Vec<PathStep>) -> Value {
    match here {
        // Mist sends null for a field without a value.
        Json::Null => Value::UNDEFINED,
        Json::Bool(flag) => Value::from(*flag),
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(n), ..) => Value::from(n),
            (_, Some(n), _) => Value::from(n),
            (.., n) => n.map_or(Value::UNDEFINED, Value::from),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(_) | Json::Object(_) => Value::from_object(View {
            root: Arc::clone(root),
            path,
        }),
    }
}

impl View {
    fn here(&self) -> &Json {
        let step = |at: &Json, step: &PathStep| match step {
            PathStep::Key(key) => at.get(key).is_some(),
            PathStep::Item(index) => at.get(index).is_some(),
        };
        self.path.iter().fold(&*self.root, |at, next| match next {
            PathStep::Key(key) if step(at, next) => at.get(key).unwrap_or(at),
            PathStep::Item(index) if step(at, next) => at.get(index).unwrap_or(at),
            PathStep::Key(_) | PathStep::Item(_) => at,
        })
    }
}

impl Object for View {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        if self.here().is_array() {
            ObjectRepr::Seq
        } else {
            ObjectRepr::Map
        }
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let step = match (key.as_str(), key.as_usize()) {
            (Some(key), _) => PathStep::Key(key.to_owned()),
            (None, Some(index)) => PathStep::Item(index),
            (None, None) => return None,
        };
        let found = match &step {
            PathStep::Key(key) => self.here().get(key),
            PathStep::Item(index) => self.here().get(index),
        }?;
        let path = [self.path.as_slice(), &[step]].concat();
        // A null in the event counts as missing.
        Some(view(&self.root, found, path)).filter(|value| !value.is_undefined())
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        match self.here() {
            Json::Array(items) => Some(items.len()),
            Json::Object(map) => Some(map.len()),
            _ => None,
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        match self.here() {
            Json::Array(items) => Enumerator::Seq(items.len()),
            Json::Object(map) => {
                Enumerator::Values(map.keys().map(|key| Value::from(key.as_str())).collect())
            }
            _ => Enumerator::Empty,
        }
    }
}

/// A word, a string or a sign of an expression.
struct WhenToken<'t> {
    text: &'t str,
    at: Range<usize>,
}

impl WhenToken<'_> {
    fn is_word(&self) -> bool {
        self.text
            .starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

fn tokens(text: &str) -> Vec<WhenToken<'_>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..)
        && let Some(first) = rest.chars().next()
    {
        // A quoted text is one token: words in it are not fields.
        let length = match first {
            '"' | '\'' => {
                let mut escaped = false;
                let end = rest.char_indices().skip(1).find(|(_, c)| {
                    let ends = *c == first && !escaped;
                    escaped = *c == '\\' && !escaped;
                    ends
                });
                end.map_or(rest.len(), |(end, _)| end + 1)
            }
            c if c.is_alphanumeric() || c == '_' => rest
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        // Positions must match the text, so white space is skipped and not removed.
        if !first.is_whitespace() {
            found.push(WhenToken {
                text: rest.get(..length).unwrap_or_default(),
                at: at..at + length,
            });
        }
        at += length;
    }
    found
}

/// Checks for mistakes that would otherwise appear only with an event: unknown filters, tests and
/// methods, and invalid patterns.
fn lint(text: &str, tokens: &[WhenToken<'_>]) -> Result<(), WhenProblem> {
    let at = |index: usize| tokens.get(index).map_or("", |token| token.text);
    let unknown = |what: &str, token: &WhenToken<'_>, known: &[&'static str]| WhenProblem {
        message: format!("there is no {what} `{}`", token.text),
        range: Some(token.at.clone()),
        unknown: Some((token.text.to_owned(), known.to_vec())),
    };
    for (index, token) in tokens.iter().enumerate() {
        let before = index.checked_sub(1).map_or("", at);
        // `is not defined` is a test, too.
        let test = (before == "is" || (before == "not" && index >= 2 && at(index - 2) == "is"))
            && token.text != "not";
        if before == "|" && token.is_word() && !FILTERS.contains(&token.text) {
            return Err(unknown("filter", token, FILTERS));
        }
        if test && token.is_word() && !TESTS.contains(&token.text) {
            return Err(unknown("test", token, TESTS));
        }
        if before == "." && token.is_word() && at(index + 1) == "(" {
            return Err(WhenProblem {
                message: format!(
                    "there are no methods: `{}` is a test or a filter, if anything",
                    token.text
                ),
                range: Some(token.at.clone()),
                unknown: None,
            });
        }
        if test && ["matching", "search"].contains(&token.text) {
            let next = if at(index + 1) == "(" {
                index + 2
            } else {
                index + 1
            };
            pattern(text, tokens.get(next))?;
        }
    }
    Ok(())
}

/// Checks a pattern that is written as a literal.
fn pattern(text: &str, token: Option<&WhenToken<'_>>) -> Result<(), WhenProblem> {
    let Some(token) = token.filter(|token| token.text.starts_with(['"', '\''])) else {
        return Ok(());
    };
    // Only the engine knows the text after its escapes.
    let literal = text.get(token.at.clone()).unwrap_or_default();
    let value = environment()
        .compile_expression(literal)
        .and_then(|expression| expression.eval(Value::UNDEFINED));
    match value.as_ref().map(|value| value.as_str().map(cached)) {
        Ok(Some(Err(message))) => Err(WhenProblem {
            message,
            range: Some(token.at.clone()),
            unknown: None,
        }),
        _ => Ok(()),
    }
}

fn variable(text: &str, tokens: &[WhenToken<'_>], name: &str) -> Option<Range<usize>> {
    let attribute = |token: &WhenToken<'_>| {
        text.get(..token.at.start)
            .is_some_and(|head| head.trim_end().ends_with('.'))
    };
    tokens
        .iter()
        .find(|token| token.text == name && !attribute(token))
        .map(|token| token.at.clone())
}

#[cfg(test)]
mod tests;
