//! `check`: reports all problems (printed while loading), and with `--explain` every implied
//! setting.

use super::{Failure, out};
use crate::config::{self, Config};
use crate::model::plural;

pub(super) fn run(config: &Config, explain: bool) -> Result<(), Failure> {
    if explain {
        out(&config::explain(config));
        return Ok(());
    }
    let place = super::replay::place(config);
    let mut warnings = config.warnings.len() as u64;
    // Rules without a test are valid, so this warning exists only here and not in the loader.
    if config.tests.is_empty() {
        warnings += 1;
        super::err(format!(
            "{place}: warning: no rule has a test\n   = write `tests:`, as in docs/rules.md; `foghorn test` runs them"
        ));
    }
    let warned = if warnings == 0 {
        String::new()
    } else {
        format!(", {}", plural(warnings, "warning"))
    };
    let (rules, tests) = (config.rules.rules().len() as u64, config.tests.len() as u64);
    let (rules, tests) = (plural(rules, "rule"), plural(tests, "test"));
    let names: Vec<&str> = config
        .destinations
        .iter()
        .map(|d| d.name.as_str())
        .collect();
    out(&format!(
        "{place}: no problems{warned}. {rules}, {tests}; destinations: {}.\n",
        names.join(", ")
    ));
    Ok(())
}
