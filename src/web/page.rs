//! The live page: embedded files, with a policy that forbids foreign code. The page reads its data
//! from `/api/v1`, so without permission it shows only a login form.

use base64::Engine as _;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use warp::reply::Response;

use super::ops::named;
use super::{Refused, State, reading};
use crate::store::Store;

/// Content security policy: scripts and styles only from here and never inline, requests only to
/// here, no embedding in frames.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

/// All files: name below `/page/`, media type and content.
const FILES: &[(&str, &str, &str)] = &[
    ("acts.js", SCRIPT, include_str!("page/acts.js")),
    ("api.js", SCRIPT, include_str!("page/api.js")),
    ("app.js", SCRIPT, include_str!("page/app.js")),
    ("bar.js", SCRIPT, include_str!("page/bar.js")),
    ("chart.js", SCRIPT, include_str!("page/chart.js")),
    ("chat.js", SCRIPT, include_str!("page/chat.js")),
    ("diff.js", SCRIPT, include_str!("page/diff.js")),
    ("dom.js", SCRIPT, include_str!("page/dom.js")),
    ("elapsed.js", SCRIPT, include_str!("page/elapsed.js")),
    ("event.js", SCRIPT, include_str!("page/event.js")),
    ("fates.js", SCRIPT, include_str!("page/fates.js")),
    ("filter.js", SCRIPT, include_str!("page/filter.js")),
    ("icon.svg", IMAGE, include_str!("page/icon.svg")),
    ("index.html", HTML, include_str!("page/index.html")),
    ("json.js", SCRIPT, include_str!("page/json.js")),
    ("live.js", SCRIPT, include_str!("page/live.js")),
    ("login.js", SCRIPT, include_str!("page/login.js")),
    ("markup.js", SCRIPT, include_str!("page/markup.js")),
    ("message.js", SCRIPT, include_str!("page/message.js")),
    ("noise.js", SCRIPT, include_str!("page/noise.js")),
    ("now.js", SCRIPT, include_str!("page/now.js")),
    ("pieces.js", SCRIPT, include_str!("page/pieces.js")),
    ("rows.js", SCRIPT, include_str!("page/rows.js")),
    ("rules.js", SCRIPT, include_str!("page/rules.js")),
    ("shared.js", SCRIPT, include_str!("page/shared.js")),
    ("silences.js", SCRIPT, include_str!("page/silences.js")),
    ("style.css", CSS, include_str!("page/style.css")),
    ("tally.js", SCRIPT, include_str!("page/tally.js")),
    ("text.js", SCRIPT, include_str!("page/text.js")),
    ("time.js", SCRIPT, include_str!("page/time.js")),
    ("tune.js", SCRIPT, include_str!("page/tune.js")),
    ("views.css", CSS, include_str!("page/views.css")),
    ("yaml.js", SCRIPT, include_str!("page/yaml.js")),
];

/// One file, ready to be sent.
#[derive(Clone, Debug)]
struct Asset {
    name: &'static str,
    kind: &'static str,
    body: Bytes,
    tag: HeaderValue,
}

/// Returns the routes: the page at `/`, its files below `/page`.
pub(super) fn routes<S: Store>(state: &State<S>) -> BoxedFilter<(Response,)> {
    let assets: std::sync::Arc<[Asset]> = FILES.iter().filter_map(asset).collect();
    let page = warp::path::end().map(|| "index.html".to_owned());
    let part = warp::path("page")
        .and(warp::path::param::<String>())
        .and(warp::path::end());
    page.or(part)
        .unify()
        .and(warp::method().and_then(reading))
        .and(named(state))
        .and(warp::header::headers_cloned())
        .and_then(move |name: String, (), (), headers: HeaderMap| {
            let found = assets.iter().find(|asset| asset.name == name).cloned();
            async move {
                let asset = found.ok_or_else(|| warp::Rejection::from(Refused::NOT_FOUND))?;
                Ok::<_, warp::Rejection>(send(&asset, &headers))
            }
        })
        .boxed()
}

fn asset(&(name, kind, body): &(&'static str, &'static str, &'static str)) -> Option<Asset> {
    // The hash covers the body as sent, so a change of a comment alone keeps cached files valid.
    let body = if kind == SCRIPT {
        Bytes::from(without_comments(body))
    } else {
        Bytes::from_static(body.as_bytes())
    };
    let hash = Sha256::digest(&body);
    let tag = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(hash.get(..12)?);
    Some(Asset {
        name,
        kind,
        body,
        tag: HeaderValue::from_str(&format!("\"{tag}\"")).ok()?,
    })
}

/// Removes the comments of a script, a fifth of its size. Lines keep their numbers, so browser
/// errors name the line in the source. Only comments at the beginning of a line are removed; a
/// string of a script must not continue on a line that looks like one.
fn without_comments(script: &str) -> String {
    let mut out = String::with_capacity(script.len());
    let mut inside = false;
    for line in script.lines() {
        let text = line.trim_start();
        if inside || text.starts_with("/*") {
            let code = text.split_once("*/").map(|(_, code)| code.trim());
            inside = code.is_none();
            out.push_str(code.unwrap_or_default());
        } else if !text.starts_with("//") {
            out.push_str(line);
        }
        out.push('\n');
    }
    out
}

/// Returns the file, or 304 if the browser has it. Browsers always ask, so that an upgrade never
/// mixes old and new files.
fn send(asset: &Asset, headers: &HeaderMap) -> Response {
    let known = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let tag = asset.tag.to_str().unwrap_or_default();
    // Browsers and proxies may send several tags, or mark a tag as weak.
    let same = known
        .flat_map(|value| value.split(','))
        .any(|one| one.trim().trim_start_matches("W/") == tag);
    let mut response = Response::new(if same {
        "".into()
    } else {
        asset.body.clone().into()
    });
    if same {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let sent = response.headers_mut();
    sent.insert(header::ETAG, asset.tag.clone());
    for (name, value) in [
        (header::CONTENT_TYPE, asset.kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        sent.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> &'static str {
        FILES
            .iter()
            .find(|(known, ..)| *known == name)
            .map(|(.., body)| *body)
            .unwrap()
    }

    /// The texts between these two marks.
    fn between<'a>(text: &'a str, from: &'a str, to: char) -> impl Iterator<Item = &'a str> {
        text.split(from)
            .skip(1)
            .filter_map(move |rest| rest.split(to).next())
    }

    #[test]
    fn every_file_there_is_is_built_in() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/web/page");
        let mut there: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|f| f.unwrap().file_name().into_string().unwrap())
            .collect();
        there.sort_unstable();
        assert_eq!(
            there,
            FILES.iter().map(|(name, ..)| *name).collect::<Vec<_>>()
        );
    }

    #[test]
    fn what_the_page_asks_for_is_there() {
        let index = file("index.html");
        let mut asked: Vec<&str> = between(index, "href=\"page/", '"')
            .chain(between(index, "src=\"page/", '"'))
            .collect();
        assert_eq!(asked.len(), 3, "{asked:?}");
        for &(name, kind, body) in FILES {
            if kind == SCRIPT {
                let named: Vec<&str> = between(body, "from \"./", '"')
                    .chain(between(body, "import(\"./", '"'))
                    .collect();
                assert!(named.iter().all(|module| *module != name));
                asked.extend(named);
            }
        }
        asked.extend(["views.css", "shared.js"]);
        for name in asked {
            file(name);
        }
    }

    #[test]
    fn the_first_view_is_small() {
        let mut first = vec!["index.html", "style.css", "icon.svg", "app.js", "live.js"];
        let mut next = 0;
        while let Some(name) = first.get(next).copied() {
            first.extend(
                between(file(name), "from \"./", '"')
                    .filter(|m| !first.contains(m))
                    .collect::<Vec<_>>(),
            );
            next += 1;
        }
        let sent = |name: &&str| FILES.iter().filter_map(asset).find(|a| a.name == *name);
        let bytes: usize = first.iter().filter_map(sent).map(|a| a.body.len()).sum();
        assert!(bytes < 70_000, "{bytes} bytes in {first:?}");
    }

    #[test]
    fn scripts_are_sent_without_comments() {
        let script = "// head\n/** Text. @param {A} a */\nf(a); // why\n  /* one\n   * two */ g();\n\"//\";\n";
        assert_eq!(
            without_comments(script),
            "\n\nf(a); // why\n\ng();\n\"//\";\n"
        );
    }

    #[test]
    fn nothing_makes_markup_of_text_and_nothing_is_inline() {
        for (name, _, body) in FILES {
            for auth in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "DOMParser",
                "eval(",
                "Function(",
                "srcdoc",
            ] {
                assert!(!body.contains(auth), "{name} has {auth}");
            }
            assert!(
                !body.contains("style=\"") && !body.contains("setAttribute(\"style\""),
                "{name} has an inline style"
            );
            let outside = between(body, "https://", ' ').chain(between(body, "http://www.", ' '));
            let outside: Vec<&str> = outside
                .filter(|url| !url.starts_with("w3.org/2000/svg"))
                .collect();
            assert!(outside.is_empty(), "{name} names {outside:?}");
        }
        assert_eq!(
            between(file("index.html"), "<script", '>').collect::<Vec<_>>(),
            [" type=\"module\" src=\"page/app.js\""]
        );
        assert!(!file("index.html").contains("<style"));
    }
}
