//! `check`: every problem at once (printed while loading), and with `--explain` every implied setting.

use super::{Failure, out};
use crate::config::{self, Config};

pub(super) fn run(config: &Config, explain: bool) -> Result<(), Failure> {
    if explain {
        out(&config::explain(config));
        return Ok(());
    }
    let place = config.path.as_ref().map_or_else(|| "the built-in rules".to_owned(), |path| path.display().to_string());
    let (rules, tests) = (config.rules.rules().len(), config.tests.len());
    let names: Vec<&str> = config.destinations.iter().map(|d| d.name.as_str()).collect();
    out(&format!("{place}: no problems. {rules} rules, {tests} tests; tells {}.\n", names.join(", ")));
    Ok(())
}
