//! `test`: runs the tests in the config, in virtual time.

use super::{Failure, out};
use crate::config::Config;
use crate::trial;

pub(super) fn run(config: &Config) -> Result<(), Failure> {
    let templates = config
        .load_templates()
        .map_err(|problems| Failure::config(&problems))?;
    let file = super::replay::place(config);
    if config.tests.is_empty() {
        out(&format!(
            "{file} has no `tests:`; README.md (Tuning the noise) shows one\n"
        ));
        return Ok(());
    }
    // A failed test does not stop the others: one run shows all failures.
    let mut failed = 0;
    for case in &config.tests {
        let outcome = trial::run(case, &config.rules, &templates, &file, &|| false);
        match outcome.failure {
            None => out(&format!("ok      {}\n", outcome.name)),
            Some(failure) => {
                failed += 1;
                out(&format!(
                    "FAILED  {} (line {})\n{failure}",
                    outcome.name, outcome.line
                ));
            }
        }
    }
    out(&format!(
        "{} passed, {failed} failed\n",
        config.tests.len() - failed
    ));
    if failed > 0 {
        Err(Failure {
            text: String::new(),
            code: 4,
        })
    } else {
        Ok(())
    }
}
