//! Findings of doctor, and their format.

use std::fmt::Write as _;

/// Severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CheckStatus {
    /// No problem.
    Ok,
    /// Works, but deserves attention.
    Warning,
    /// Does not work.
    Problem,
}

/// Result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CheckResult {
    pub(super) mark: CheckStatus,
    check: String,
    what: String,
    /// Advice; empty if nothing needs to be done.
    help: String,
}

impl CheckResult {
    pub(super) fn ok(check: &str, what: impl Into<String>) -> Self {
        Self::new(CheckStatus::Ok, check, what, "")
    }

    pub(super) fn warning(check: &str, what: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(CheckStatus::Warning, check, what, help)
    }

    pub(super) fn problem(check: &str, what: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(CheckStatus::Problem, check, what, help)
    }

    pub(super) fn new(
        mark: CheckStatus,
        check: &str,
        what: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self {
            mark,
            check: check.to_owned(),
            what: what.into(),
            help: help.into(),
        }
    }
}

/// Returns the highest severity.
pub(super) fn worst(findings: &[CheckResult]) -> CheckStatus {
    findings
        .iter()
        .map(|finding| finding.mark)
        .max()
        .unwrap_or(CheckStatus::Ok)
}

/// Formats the findings: one line each, the advice below it, and the totals at the end.
pub(super) fn print(findings: &[CheckResult]) -> String {
    let mut text = String::new();
    for CheckResult {
        mark,
        check,
        what,
        help,
    } in findings
    {
        let mark = match mark {
            CheckStatus::Ok => "ok",
            CheckStatus::Warning => "warning",
            CheckStatus::Problem => "PROBLEM",
        };
        let _ = writeln!(text, "{mark:<8} {check}: {what}");
        // Advice may have several lines, for example two alternatives.
        for line in help.lines() {
            let _ = writeln!(text, "         = {line}");
        }
    }
    let count = |mark| {
        findings
            .iter()
            .filter(|finding| finding.mark == mark)
            .count() as u64
    };
    let (problems, warnings) = (count(CheckStatus::Problem), count(CheckStatus::Warning));
    let plural = crate::model::plural;
    let _ = match (problems, warnings) {
        (0, 0) => writeln!(text, "no problems found"),
        (0, _) => writeln!(text, "{}", plural(warnings, "warning")),
        (_, 0) => writeln!(text, "{}", plural(problems, "problem")),
        _ => writeln!(
            text,
            "{}, {}",
            plural(problems, "problem"),
            plural(warnings, "warning")
        ),
    };
    text
}
