//! What people type into the search, and what is found by it.

use foghorn::history::words::{Key, fits, of, terms};
use foghorn::model::{Name, Seq, normal};
use foghorn::source::{self, Arrival, ParsedItem};
use foghorn::store::Term;
use serde_json::json;

use super::NOW;

pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let asked = terms(&text);
    assert!(asked.len() <= text.len());
    for term in &asked {
        let Term::Begins(word) = term else {
            panic!("only filters ask for whole words: {term:?}")
        };
        assert!(!word.is_empty() && word.chars().count() <= 40, "{word:?}");
        assert!(
            word.chars().all(char::is_alphanumeric),
            "{word:?} could mean a filter"
        );
    }
    // Filters do not depend on how a name is written, and are nothing one can type.
    assert_eq!(Key::Site.word(&text), Key::Site.word(&format!(" {text} ")));
    assert_ne!(Key::Site.word(&text), Key::Device.word(&text));

    let body = json!({"topic": "device-events", "events": [{"type": "AP_X", "device_name": text, "text": text}]});
    for parsed in source::parse(&Arrival::new(
        &Name::new("mist"),
        Seq(1),
        NOW,
        body.to_string().as_bytes(),
    )) {
        let ParsedItem::Event(event) = parsed else {
            continue;
        };
        let words = of(&event, &["rule".into()]);
        assert!(
            words.len() <= 64 && words.iter().all(|word| word.chars().count() <= 41),
            "{words:?}"
        );
        if words.len() < 64 && text.len() < 2_000 {
            // What looks the same is the same word: nobody types what cannot be seen.
            let seen = normal(&text);
            let typed = seen
                .split(|c: char| !c.is_alphanumeric())
                .filter(|word| !word.is_empty());
            for word in typed.take(16) {
                assert!(
                    fits(&words, &terms(word)),
                    "{word:?} is not found among {words:?}"
                );
            }
        }
    }
}
