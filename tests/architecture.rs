//! The floors of ARCHITECTURE.md, held by a test: a module uses only floors below its own.
//!
//! Reads every file under `src/`, takes out comments and literals, and collects the top-level
//! modules each file names (`crate::x`, `crate::{x, y}`, and `super::x` where `super` is the
//! crate's root). Unit tests inside `src/` count too: a test that needs a floor above belongs in
//! `tests/`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Every top-level module and its floor. A new module needs a line here.
const FLOORS: &[(u8, &[&str])] = &[
    (0, &["model"]),
    (
        1,
        &[
            "clock", "rules", "render", "pacing", "metrics", "links", "password", "notify", "wire",
            "worker",
        ],
    ),
    (2, &["engine", "source", "destination", "store", "simulate"]),
    (
        3,
        &[
            "config",
            "fold",
            "history",
            "follower",
            "judge",
            "dispatcher",
            "replay",
            "diff",
            "tune",
            "explain",
            "trial",
            "web",
        ],
    ),
    (4, &["rulebook"]),
    (5, &["app"]),
    (6, &["cli"]),
];

/// Neighbours on one floor that may look at each other, and why.
const NEIGHBOURS: &[(&str, &str)] = &[
    ("render", "links"),     // a message's links
    ("web", "follower"),     // what it published: the silences in force
    ("pacing", "clock"),     // the limiters run on our clock
    ("follower", "fold"),    // the fold, fed by the live journal
    ("judge", "fold"),       // the fold it restores
    ("judge", "follower"),   // what it commits
    ("history", "fold"),     // what the fold concluded
    ("follower", "history"), // what became of the events it folds
    ("judge", "history"),    // the same, by steps
    ("web", "judge"),        // in its tests: who fills the archive that is asked
    ("web", "history"),      // pages of it
    ("web", "fold"),         // what compiles journaled rules, for explaining
    ("web", "explain"),      // what was decided about an event
    ("replay", "fold"),      // the same fold, fed by a file or the stored journal
    ("tune", "fold"),        // the same fold, again and again under changed rules
    ("tune", "replay"),      // a POST is replay's word
    ("tune", "diff"),        // what a change costs is what a comparison finds
    ("trial", "fold"),       // the same fold, fed by `tests:`
    ("explain", "fold"),     // the same fold, kept to be asked
    ("trial", "explain"),    // a failing case says how it came to that
    ("trial", "config"),     // the test cases are config's words
    ("web", "dispatcher"),   // /readyz shows the state of destinations
];

/// The only modules that may know the settings file. The rest take what was resolved from it as
/// plain values.
const KNOW_CONFIG: &[&str] = &["config", "trial", "rulebook", "app", "cli"];

/// One file's look at a module.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Look {
    file: String,
    from: String,
    to: String,
}

fn floor(module: &str) -> Option<u8> {
    FLOORS
        .iter()
        .find(|(_, modules)| modules.contains(&module))
        .map(|(floor, _)| *floor)
}

/// Why this look is not allowed; `None` when it is.
fn objection(Look { file, from, to }: &Look) -> Option<String> {
    if from == to {
        return None;
    }
    let (Some(above), Some(below)) = (floor(from), floor(to)) else {
        let stranger = if floor(from).is_none() { from } else { to };
        return Some(format!(
            "src/{file}: module `{stranger}` has no floor: give it one in tests/architecture.rs"
        ));
    };
    if to == "config" && !KNOW_CONFIG.contains(&from.as_str()) {
        return Some(format!(
            "src/{file}: `{from}` uses `config`; only {} may",
            KNOW_CONFIG.join(", ")
        ));
    }
    let neighbours = above == below && NEIGHBOURS.contains(&(from.as_str(), to.as_str()));
    if below < above || neighbours {
        return None;
    }
    Some(format!(
        "src/{file}: `{from}` (floor {above}) uses `{to}` (floor {below})"
    ))
}

/// The modules a file names. `file` is its path below `src/`, with `/`.
fn looks(file: &str, text: &str) -> BTreeSet<Look> {
    let from = file.split(['/', '.']).next().unwrap_or_default();
    let words = words(text);
    let mut found = BTreeSet::new();
    for start in 0..words.len() {
        let rest = words.get(start..).unwrap_or_default();
        let Some(named) = after_root(file, rest) else {
            continue;
        };
        for to in firsts(named) {
            found.insert(Look {
                file: file.to_owned(),
                from: from.to_owned(),
                to,
            });
        }
    }
    found
}

/// The words after the crate's root and its `::`, where `words` begins with a path from the root.
fn after_root<'a, 'w>(file: &str, words: &'a [&'w str]) -> Option<&'a [&'w str]> {
    if let ["crate", "::", rest @ ..] = words {
        return Some(rest);
    }
    // `super` once per level; a file at the top of its module is one level below the root.
    let inner = file
        .strip_suffix("/mod.rs")
        .or_else(|| file.strip_suffix(".rs"))
        .unwrap_or(file);
    let mut rest = words;
    for _ in inner.split('/') {
        let ["super", "::", further @ ..] = rest else {
            return None;
        };
        rest = further;
    }
    // Inside an inline module this is one level off: then it names no module of ours.
    rest.first()
        .is_some_and(|word| *word == "{" || floor(word).is_some())
        .then_some(rest)
}

/// The first name of a path, or of each path of a `{group}`; constants and types of the root are
/// not modules.
fn firsts(words: &[&str]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut depth = 0_usize;
    let mut at_start = true;
    for word in words {
        match *word {
            "{" => {
                depth += 1;
                at_start |= depth == 1;
            }
            "}" => depth = depth.saturating_sub(1),
            "," => at_start = depth == 1,
            name if at_start => {
                at_start = false;
                if name.starts_with(|c: char| c.is_ascii_lowercase()) && name != "self" {
                    found.insert(name.to_owned());
                }
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    found
}

/// Names, `::`, and single signs, without comments, literals and spaces.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if let Some(skip) = silent(rest) {
            skip
        } else if first.is_alphanumeric() || first == '_' {
            rest.find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        let (word, further) = rest.split_at(length);
        if silent(rest).is_none() && !first.is_whitespace() {
            words.push(word);
        }
        rest = further;
    }
    words
}

/// How long the comment or literal is that begins here, if one does.
fn silent(text: &str) -> Option<usize> {
    let until = |from: usize, end: &str| {
        text.get(from..)
            .and_then(|rest| rest.find(end))
            .map_or(text.len(), |at| from + at + end.len())
    };
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Some(until(2, "*/"));
    }
    let raw = text.strip_prefix("br").or_else(|| text.strip_prefix('r'));
    if let Some(raw) = raw {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw.get(hashes..).is_some_and(|rest| rest.starts_with('"')) {
            let from = text.len() - raw.len() + hashes + 1;
            return Some(until(from, &format!("\"{}", "#".repeat(hashes))));
        }
    }
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if !escaped && c == quote {
            return Some(at + 1);
        }
        // A lifetime, not a character: `'a,` `'static>`. A character is closed after one sign, or
        // after an escape.
        if quote == '\''
            && !escaped
            && c != '\\'
            && !text
                .get(at + c.len_utf8()..)
                .is_some_and(|rest| rest.starts_with('\''))
        {
            return None;
        }
        if quote == '\'' && escaped && matches!(c, 'u' | 'x') {
            return Some(until(at, "'"));
        }
        escaped = c == '\\' && !escaped;
    }
    None
}

/// Every `.rs` file below `src/` with its text, by path.
fn sources() -> std::io::Result<BTreeMap<String, String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = BTreeMap::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let file = path
                    .strip_prefix(&root)
                    .unwrap_or(&path)
                    .to_string_lossy()
                    .replace('\\', "/");
                found.insert(file, std::fs::read_to_string(&path)?);
            }
        }
    }
    Ok(found)
}

#[test]
fn a_module_uses_only_floors_below_its_own() {
    let sources = sources().expect("src/ can be read");
    let inside: Vec<_> = sources
        .iter()
        .filter(|(file, _)| !matches!(file.as_str(), "lib.rs" | "main.rs"))
        .collect();
    let modules: BTreeSet<_> = inside
        .iter()
        .filter_map(|(file, _)| file.split(['/', '.']).next())
        .collect();
    let looks: BTreeSet<_> = inside
        .iter()
        .flat_map(|(file, text)| looks(file, text))
        .collect();

    let homeless: Vec<_> = modules
        .iter()
        .filter(|module| floor(module).is_none())
        .collect();
    assert!(
        homeless.is_empty(),
        "modules without a floor in tests/architecture.rs: {homeless:?}"
    );
    let objections: Vec<_> = looks.iter().filter_map(objection).collect();
    assert!(objections.is_empty(), "\n{}\n", objections.join("\n"));

    // Seen enough to mean something.
    assert!(modules.len() >= 12, "only {modules:?}");
    assert!(looks.len() >= 60, "only {} looks", looks.len());
    for (from, to) in [
        ("engine", "rules"),
        ("judge", "store"),
        ("cli", "config"),
        ("fold", "source"),
    ] {
        assert!(
            looks.iter().any(|look| look.from == from && look.to == to),
            "`{from}` no longer uses `{to}`?"
        );
    }
}

#[test]
fn only_wire_makes_a_client_for_calls_to_the_outside() {
    let sources = sources().expect("src/ can be read");
    let makes = |text: &str| {
        let words = words(text);
        let client = |three: &[&str]| matches!(three, ["Client", "::", "new" | "builder"]);
        words.windows(3).any(client) || words.contains(&"ClientBuilder")
    };
    let files = sources.iter().filter(|(_, text)| makes(text));
    let files: Vec<_> = files.map(|(file, _)| file.as_str()).collect();
    assert_eq!(files, ["wire/mod.rs"]);
}

#[test]
fn only_the_table_of_kinds_and_their_files_name_a_kind_of_destination() {
    let sources = sources().expect("src/ can be read");
    let kinds = ["\"slack\"", "\"teams\"", "\"webhook\"", "\"console\""];
    let names = |file: &str, text: &str| {
        // Unit tests come last in a file.
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let named = kinds.iter().filter(|kind| code.contains(**kind)).count();
        named > 0 && !file.starts_with("destination/") && !file.ends_with("tests.rs")
    };
    let files = sources.iter().filter(|(file, text)| names(file, text));
    let files: Vec<_> = files.map(|(file, _)| file.as_str()).collect();
    // What URLs that are secrets have in them; the console, where the file defines no destination.
    assert_eq!(files, ["config/redact/comments.rs", "config/settings.rs"]);
}

#[test]
fn only_one_line_beside_the_store_names_sqlite() {
    let sources = sources().expect("src/ can be read");
    let named: BTreeSet<_> = sources
        .iter()
        // Tests inside `src/` need some store.
        .filter(|(file, _)| !file.starts_with("store/sqlite/") && !file.ends_with("tests.rs"))
        .flat_map(|(file, text)| {
            let lines = text.lines().map(words);
            let names = |line: &Vec<&str>| {
                let is_it = |word: &&str| word.to_lowercase().contains("sqlite");
                line.iter().any(is_it)
            };
            lines.filter(names).map(move |line| (file, line.join(" ")))
        })
        .map(|(file, line)| format!("{file}: {line}"))
        .collect();
    let named: Vec<_> = named.iter().map(String::as_str).collect();
    let [app, store] = named.as_slice() else {
        panic!("SQLite is named in {named:#?}");
    };
    assert!(
        app.starts_with("app/backend.rs: pub use crate :: store :: sqlite ::"),
        "{app}"
    );
    assert_eq!(*store, "store/mod.rs: pub mod sqlite ;");
}

#[test]
fn only_the_source_names_a_kind_of_source() {
    let sources = sources().expect("src/ can be read");
    let named: Vec<_> = sources
        .iter()
        // The simulator makes one kind's traffic.
        .filter(|(file, _)| !file.starts_with("source/") && !file.starts_with("simulate/"))
        .filter(|(file, _)| !file.ends_with("tests.rs") && !file.contains("/tests/"))
        .flat_map(|(file, text)| {
            let lines = names_a_kind(text);
            lines.into_iter().map(move |line| format!("{file}: {line}"))
        })
        .collect();
    assert!(named.is_empty(), "\n{}\n", named.join("\n"));
}

/// The lines outside comments and unit tests that name a kind of source, in code or in a text.
fn names_a_kind(text: &str) -> Vec<&str> {
    let mut parts = text.split("#[cfg(test)]\n");
    let mut product = vec![parts.next().unwrap_or_default()];
    let is_tests = |part: &&str| {
        part.lines()
            .next()
            .is_some_and(|l| l.ends_with("mod tests {"))
    };
    product.extend(parts.take_while(|part| !is_tests(part)));
    let is_it = |line: &&str| {
        let code = line.split("// ").next().unwrap_or_default();
        let mut words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
        !line.trim_start().starts_with("//")
            && words.any(|word| foghorn::source::WORDS.contains(&word))
    };
    let lines = product.into_iter().flat_map(str::lines);
    lines.filter(is_it).collect()
}

#[test]
fn the_binary_knows_only_the_command_line() {
    let sources = sources().expect("src/ can be read");
    let words = words(&sources["main.rs"]).join(" ");
    let named: BTreeSet<_> = words
        .match_indices("foghorn :: ")
        .map(|(at, found)| words[at + found.len()..].split(' ').next())
        .collect();
    assert_eq!(named, BTreeSet::from([Some("cli")]));
}

#[test]
fn planted_faults_are_found() {
    let objections = |file: &str, text: &str| {
        looks(file, text)
            .iter()
            .filter_map(objection)
            .collect::<Vec<_>>()
    };
    // upward, in each way of writing it
    for text in [
        "use crate::web::State;",
        "use crate::{model::Event, web::{State, ops}};",
        "use crate::{\n    model::{Event, Name},\n    web,\n};",
        "fn f(state: &crate::web::State) {}",
        "/* \" */ const A: &str = \"//\"; use crate::web;",
        "fn f<'a>(c: char, s: &'a str) { c == '\"'; crate::web::g(r#\"a\"b\"#) }",
        "const Q: char = '\\''; const U: char = '\\u{1F600}'; use crate::web;",
    ] {
        assert_eq!(
            objections("engine/judge.rs", text),
            ["src/engine/judge.rs: `engine` (floor 2) uses `web` (floor 3)"],
            "{text}"
        );
    }
    assert_eq!(
        objections("engine/judge.rs", "use super::super::web;").len(),
        1
    );
    assert_eq!(
        objections("engine/mod.rs", "use super::{model, web};").len(),
        1
    );
    // sideways
    assert_eq!(
        objections("source/mist/mod.rs", "use crate::store::Store;").len(),
        1
    );
    assert_eq!(objections("fold.rs", "use crate::judge::Judge;").len(), 1);
    // a kind of source
    for line in [
        "use crate::source::mist::catalogue;",
        "let source = Name::new(\"mist\");",
        "const PORTAL: &str = \"manage.mist.com\";",
    ] {
        let text = format!("/// `mist`\n{line}\n#[cfg(test)]\nmod tests {{\n\"mist\"");
        assert_eq!(names_a_kind(&text), [line]);
    }
    // the settings, and a module nobody placed
    assert_eq!(
        objections("dispatcher.rs", "use crate::config::Config;"),
        [
            "src/dispatcher.rs: `dispatcher` uses `config`; only config, trial, rulebook, app, cli may"
        ]
    );
    assert_eq!(objections("engine/mod.rs", "use crate::utils::x;").len(), 1);
    assert_eq!(objections("utils.rs", "use crate::model::Name;").len(), 1);
}

#[test]
fn what_is_allowed_passes() {
    let objections = |file: &str, text: &str| {
        looks(file, text)
            .iter()
            .filter_map(objection)
            .collect::<Vec<_>>()
    };
    for (file, text) in [
        (
            "engine/judge.rs",
            "use crate::{model::Event, rules::Rule}; use super::window; use super::super::model;",
        ),
        (
            "engine/mod.rs",
            "//! Fed by [`crate::judge`].\n/// See crate::web.\n/* crate::web */ mod judge;",
        ),
        (
            "engine/mod.rs",
            "const A: &str = \"crate::web\"; const B: &str = r##\"use crate::web;\"##;",
        ),
        (
            "engine/mod.rs",
            "const A: &str = r#\"a\" crate::web \"b\"#; const B: &str = \"\\\" crate::web\";",
        ),
        (
            "engine/mod.rs",
            "use crate::engine::window; use crate::Root; mod tests { use super::*; use super::gate; }",
        ),
        ("judge.rs", "use crate::fold::Fold;"),
        ("app.rs", "use crate::{clock, config, store, web};"),
    ] {
        assert_eq!(
            objections(file, text),
            Vec::<String>::new(),
            "{file}: {text}"
        );
    }
}

#[test]
fn security_md_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    ["src", "tests"]
        .iter()
        .for_each(|folder| gather(&root.join(folder), &mut files));
    let code: String = files
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let text = fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let named: Vec<&str> = text
        .split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|word| word.strip_prefix("test:"))
        .collect();
    assert!(named.len() > 40, "only {} tests are named", named.len());
    let rows = text
        .lines()
        .filter(|line| line.starts_with("| ") && line.matches(" | ").count() == 2);
    let held = rows
        .filter(|row| !row.starts_with("| threat"))
        .inspect(|row| assert!(row.contains("`test:"), "{row}"));
    assert!(held.count() > 20, "the tables are not read");
    for name in named.into_iter().filter(|name| *name != "name") {
        let exists =
            code.contains(&format!("fn {name}(")) || code.contains(&format!("describe(\"{name}\""));
        assert!(exists, "SECURITY.md names `{name}`: there is no such test");
    }
}

/// Adds every file of Rust and of the page's tests below a folder.
fn gather(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
    {
        if entry.is_dir() && !entry.ends_with("node_modules") {
            gather(&entry, files);
        } else if entry
            .extension()
            .is_some_and(|kind| kind == "rs" || kind == "mjs")
        {
            files.push(entry);
        }
    }
}

/// The module path of a file below `src/`: `web/api/mod.rs` is `web::api`.
fn module_of(file: &str) -> Vec<&str> {
    let path = file
        .strip_suffix("/mod.rs")
        .or_else(|| file.strip_suffix(".rs"))
        .unwrap_or(file);
    path.split('/').collect()
}

/// Every path that `words` name from `here` on, as absolute module paths that may end in an item.
fn named_paths(here: &[&str], words: &[&str]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let starts_path = at == 0 || words.get(at - 1) != Some(&"::");
        let base = match *word {
            "crate" => Vec::new(),
            "self" => here.to_vec(),
            "super" => here.get(..here.len() - 1).unwrap_or_default().to_vec(),
            _ => continue,
        };
        if starts_path && words.get(at + 1) == Some(&"::") {
            let base = base.into_iter().map(str::to_owned).collect();
            expand(base, words.get(at + 2..).unwrap_or_default(), &mut found);
        }
    }
    found
}

/// Adds the paths that begin with `base` and go on with `words`, one for each name of a `{group}`.
/// Returns the number of words read.
fn expand(mut base: Vec<String>, words: &[&str], found: &mut Vec<Vec<String>>) -> usize {
    let mut at = 0;
    while let Some(word) = words.get(at) {
        match *word {
            "super" => drop(base.pop()),
            "{" => {
                at += 1;
                while words.get(at).is_some_and(|word| *word != "}") {
                    at += expand(base.clone(), words.get(at..).unwrap_or_default(), found);
                    at += usize::from(words.get(at) == Some(&","));
                }
                return at + 1;
            }
            "self" => {}
            name if name.starts_with(|c: char| c.is_alphabetic() || c == '_') => {
                base.push(name.to_owned());
            }
            _ => {
                found.push(base);
                return at.max(1);
            }
        }
        at += 1;
        if words.get(at) != Some(&"::") {
            break;
        }
        at += 1;
    }
    found.push(base);
    // `as another` belongs to the name.
    at + if words.get(at) == Some(&"as") { 2 } else { 0 }
}

/// The circles of files that use each other, parents and children of each other left out.
fn circles(sources: &BTreeMap<String, String>) -> Vec<BTreeSet<String>> {
    let files: BTreeMap<Vec<&str>, &str> = sources
        .keys()
        .map(|file| (module_of(file), file.as_str()))
        .collect();
    let mut uses: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (file, text) in sources {
        let here = module_of(file);
        for path in named_paths(&here, &words(text)) {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            let target = (1..=path.len())
                .rev()
                .filter_map(|length| path.get(..length))
                .find_map(|target| Some((target, *files.get(target)?)));
            let Some((target, used)) = target else {
                continue;
            };
            if !here.starts_with(target) && !target.starts_with(&here) {
                uses.entry(file).or_default().insert(used);
            }
        }
    }
    let reach = |from: &str| {
        let mut reached: BTreeSet<&str> = BTreeSet::new();
        let mut open = vec![from];
        while let Some(file) = open.pop() {
            for next in uses.get(file).into_iter().flatten() {
                if reached.insert(next) {
                    open.push(next);
                }
            }
        }
        reached
    };
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        uses.keys().map(|file| (*file, reach(file))).collect();
    let mut found: Vec<BTreeSet<String>> = reached
        .iter()
        .filter(|(file, reaches)| reaches.contains(*file))
        .map(|(file, reaches)| {
            let back = |other: &&&str| reached.get(**other).is_some_and(|r| r.contains(file));
            reaches
                .iter()
                .filter(back)
                .map(|f| (*f).to_owned())
                .collect()
        })
        .collect();
    found.sort();
    found.dedup();
    found
}

#[test]
fn files_use_each_other_in_no_circle() {
    let sources = sources().expect("src/ can be read");
    // Still to be opened; a circle that is gone leaves the list.
    let known = [
        ["engine/clues.rs", "engine/open.rs"],
        ["engine/past.rs", "engine/reload.rs"],
        ["source/mist/alarm.rs", "source/mist/normal.rs"],
        ["store/sqlite/files.rs", "store/sqlite/log.rs"],
    ];
    let known: Vec<BTreeSet<String>> = known
        .iter()
        .map(|files| files.iter().map(|file| (*file).to_owned()).collect())
        .collect();
    assert_eq!(circles(&sources), known, "files that use each other");
}

#[test]
fn a_planted_circle_is_found() {
    let tree = |files: &[(&str, &str)]| -> BTreeMap<String, String> {
        let owned = |(file, text): &(&str, &str)| ((*file).to_owned(), (*text).to_owned());
        files.iter().map(owned).collect()
    };
    let circle = |files: &[(&str, &str)]| circles(&tree(files)).len();
    let parent_and_child = [
        ("web/mod.rs", "mod a; use self::a::X;"),
        ("web/a.rs", "use super::Y; use crate::web;"),
    ];
    assert_eq!(circle(&parent_and_child), 0);
    let one_way = [
        (
            "web/a.rs",
            "use super::b::{X, Y as Z}; use crate::model::T;",
        ),
        ("web/b.rs", "use super::c::W; // use super::a::X"),
        ("web/c.rs", "const A: &str = \"crate::web::a::X\";"),
    ];
    assert_eq!(circle(&one_way), 0);
    for back in [
        "use super::a::X;",
        "fn f(x: &crate::web::a::X) {}",
        "use super::{c::{V, W}, a};",
        "use crate::{model::T, web::{c::W, a::X}};",
    ] {
        let files = [
            ("web/a.rs", "use super::b::Y;"),
            ("web/b.rs", back),
            ("web/c.rs", ""),
        ];
        assert_eq!(circle(&files), 1, "{back}");
    }
}
