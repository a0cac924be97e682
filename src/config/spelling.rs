//! Words that were mistyped, and what they may have meant.

/// The nearest of `known`, when it is near enough to be meant.
pub(crate) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    // No word is so long; comparing takes memory by its length.
    if word.len() > 200 {
        return None;
    }
    let folded = word.to_lowercase();
    let best = known
        .into_iter()
        .map(|k| (strsim::damerau_levenshtein(&folded, &k.to_lowercase()), k))
        .min()?;
    (best.0 <= 1 + word.chars().count() / 5).then_some(best.1)
}

/// `did you mean …?` and what there is.
pub(crate) fn did_you_mean(word: &str, known: &[&str], list: &str) -> String {
    let all = || {
        if known.is_empty() {
            String::new()
        } else {
            format!("{list}: {}", known.join(", "))
        }
    };
    match nearest(word, known.iter().copied()) {
        Some(near) if list.is_empty() => format!("did you mean \"{near}\"?"),
        // A long list would bury the one word that is meant.
        Some(near) if known.len() > 6 => format!("did you mean \"{near}\"?"),
        Some(near) => format!("did you mean \"{near}\"? {}", all()),
        None if list.is_empty() => String::new(),
        None => all(),
    }
}
